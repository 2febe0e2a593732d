/* SPDX-License-Identifier: MIT
 *
 * examples/kernel/user/user.h: a program's view of this kernel
 */
#ifndef USER_H
#define USER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../syscalls.h"

#ifndef MMKIT_PAGE_SHIFT /* else as the kernel was built */
#define MMKIT_PAGE_SHIFT 12
#endif
#define PAGE_BYTES ((uint64_t)1 << MMKIT_PAGE_SHIFT)

#define PROT_NONE 0u
#define PROT_READ 1u
#define PROT_WRITE 2u
#define PROT_EXEC 4u
#define MAP_SHARED 1u
#define MAP_PRIVATE 2u
#define MAP_FIXED 4u
#define MAP_STACK 0x20u

/* crt_*.S */
uint64_t syscall6(uint64_t nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
    uint64_t e);
/* A function that returns 42 and may be copied; where code was just written. */
extern const unsigned char code_42[], code_42_end[];
void code_written(volatile unsigned char *start, volatile unsigned char *end);
int main(void);

#endif /* USER_H */
