/* SPDX-License-Identifier: MIT
 *
 * examples/kernel/x86_64/machine.h: what the files of this folder, and the port
 * header, share
 */
#ifndef KERNEL_MACHINE_H
#define KERNEL_MACHINE_H

#include "../arch.h"

/* All of RAM. */
#define DIRECT_VA UINT64_C(0xffff800000000000)
#define KERNEL_VA UINT64_C(0xffffffff80000000)

struct mmk_pmap;

/* The top table of the kernel alone. */
extern uint64_t kernel_root_pa;

void arch_shootdown(struct mmk_pmap *pmap, uint64_t start_va, uint64_t end_va);
void kernel_panic(const char *text) __attribute__((noreturn));
void kernel_log(const char *text);

#endif /* KERNEL_MACHINE_H */
