/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_LIBC_STDLIB_H
#define KERNEL_LIBC_STDLIB_H

#include <stddef.h>

void *malloc(size_t bytes);
void *calloc(size_t nr, size_t bytes);
void *realloc(void *ptr, size_t bytes);
void free(void *ptr);
void *aligned_alloc(size_t alignment, size_t bytes);
char *getenv(const char *name);
unsigned long strtoul(const char *text, char **end, int base);
unsigned long long strtoull(const char *text, char **end, int base);
void abort(void) __attribute__((noreturn));
void exit(int status) __attribute__((noreturn));
void qsort(void *base, size_t nr, size_t bytes,
    int (*compare)(const void *, const void *));

#endif
