/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_LIBC_SCHED_H
#define KERNEL_LIBC_SCHED_H

int sched_yield(void);

#endif
