/* SPDX-License-Identifier: MIT
 *
 * tests/kernel/port.h: the kernel's own port header, and what tests add: they
 * make allocations fail, and run between two steps
 */
#ifndef KERNEL_TESTS_PORT_H
#define KERNEL_TESTS_PORT_H

#include KERNEL_PORT_H

#include <stdbool.h>
#include <stdint.h>

bool sim_fail_point(void);
void sim_yield_point(void);
void sim_preempt_disable(void);
void sim_preempt_enable(void);
uint64_t sim_clock_ns(void);

#define MMKIT_FAIL_POINT() sim_fail_point()
#undef MMKIT_CLOCK_NS
#define MMKIT_CLOCK_NS() sim_clock_ns()
#define MMKIT_YIELD_POINT() sim_yield_point()
/* A test may put its thread on another CPU at a yield point. */
#define MMKIT_PREEMPT_DISABLE() sim_preempt_disable()
#define MMKIT_PREEMPT_ENABLE() sim_preempt_enable()
/* Tests count who holds what, so every cache must be open to every CPU. */
#undef MMKIT_CPU_ENTER
#undef MMKIT_CPU_LEAVE
#undef MMKIT_PMAP_H
#define MMKIT_PMAP_H "tests/kernel/pmap.h"

/* The one format of page tables that tests run on. */
#ifdef __x86_64__
#define SIM_ARCH_HERE SIM_ARCH_X86_64
#else
#define SIM_ARCH_HERE SIM_ARCH_AARCH64
#endif
/* What tests take from ports/sim/mmkit_port.h. Whether it is this thread that
 * holds a lock, the kernel's locks do not know; tests assert that it is not. */
#define sim_lock_is_held(l) ((void)(l), false)
#define sim_phys_to_ptr(pa) MMKIT_PHYS_TO_PTR(pa)

#endif /* KERNEL_TESTS_PORT_H */
