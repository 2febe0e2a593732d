/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_LIBC_TIME_H
#define KERNEL_LIBC_TIME_H

struct timespec {
	long tv_sec, tv_nsec;
};

int nanosleep(const struct timespec *wanted, struct timespec *left);

#endif
