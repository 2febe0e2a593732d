/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_LIBC_SETJMP_H
#define KERNEL_LIBC_SETJMP_H

typedef unsigned long jmp_buf[16];

int setjmp(jmp_buf buf) __attribute__((returns_twice));
void longjmp(jmp_buf buf, int value) __attribute__((noreturn));

#endif
