/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_LIBC_FNMATCH_H
#define KERNEL_LIBC_FNMATCH_H

/* '*' only. */
int fnmatch(const char *pattern, const char *text, int flags);

#endif
