/* SPDX-License-Identifier: MIT
 *
 * examples/kernel/syscalls.h: what user programs may ask of this kernel. A
 * result above -4096, as an unsigned number, is minus an enum mmk_err.
 */
#ifndef KERNEL_SYSCALLS_H
#define KERNEL_SYSCALLS_H

#define SYS_EXIT 0     /* status */
#define SYS_WRITE 1    /* text, bytes */
#define SYS_FORK 2     /* 0 in the child, its number in the parent */
#define SYS_WAIT 3     /* any child: its number << 32 | its status */
#define SYS_MMAP 4     /* va, bytes, prot, flags: anonymous memory */
#define SYS_MUNMAP 5   /* va, bytes */
#define SYS_MPROTECT 6 /* va, bytes, prot */
#define SYS_MREMAP 7   /* va, old bytes, new bytes, flags, new va */
#define SYS_DISCARD 8  /* va, bytes */
#define SYS_YIELD 9
#define SYS_CPU 10     /* the CPU one is on */
#define SYS_FREE 11    /* pages that are free */
#define NR_SYSCALLS 12

/* The status of a process that was killed: its fault's mmk_err is added. */
#define STATUS_KILLED 256u

#endif /* KERNEL_SYSCALLS_H */
