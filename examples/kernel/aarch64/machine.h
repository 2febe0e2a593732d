/* SPDX-License-Identifier: MIT
 *
 * examples/kernel/aarch64/machine.h: what the files of this folder, and the
 * port header, share
 */
#ifndef KERNEL_MACHINE_H
#define KERNEL_MACHINE_H

#include "../arch.h"

/* All of RAM, and devices: physical 0 is here. */
#define DIRECT_VA UINT64_C(0xffff000000000000)

/* A table of zeros, which TTBR0 has while no pmap is active. */
extern char aarch64_nowhere[]; /* boot.S */

/* As trap.S stores it. */
struct arch_frame {
	uint64_t x[31];
	uint64_t sp, pc, pstate;
};

void aarch64_main(uint64_t device_tree_pa);
void aarch64_cpu_main(unsigned cpu);
void aarch64_trap(struct arch_frame *frame, unsigned vector);
void kernel_main(void);
void kernel_panic(const char *text) __attribute__((noreturn));
void kernel_log(const char *text);

uint64_t machine_clock_ns(void);

#endif /* KERNEL_MACHINE_H */
