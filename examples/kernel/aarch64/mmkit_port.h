/* SPDX-License-Identifier: MIT
 * All that mmkit asks of this kernel on aarch64. */
#ifndef KERNEL_MMKIT_PORT_H
#define KERNEL_MMKIT_PORT_H

#define MMKIT_PORT_VERSION 1
#ifndef MMKIT_PAGE_SHIFT
#define MMKIT_PAGE_SHIFT 12 /* or 14, or 16: as the kernel was built */
#endif

#include "machine.h"

#define MMKIT_CPU_MAX 8
#define MMKIT_PHYS_TO_PTR(pa) ((void *)((pa) + DIRECT_VA))
#define MMKIT_PTR_TO_PHYS(ptr) ((uint64_t)(ptr)-DIRECT_VA)
#define MMKIT_PANIC(msg) kernel_panic(msg)
#define MMKIT_LOG(text) kernel_log(text)
#define MMKIT_CPU_COUNT() arch_cpu_count()
#define MMKIT_CPU_ID() arch_cpu_id()
#define MMKIT_CPU_RELAX() arch_cpu_relax()
#define MMKIT_CLOCK_NS() machine_clock_ns()
/* Interrupts here call no mmkit, and threads are not preempted. */
#define MMKIT_CPU_ENTER() ((uintptr_t)0)
#define MMKIT_CPU_LEAVE(state) ((void)(state))

#define MMKIT_PMAP_H "../../ports/aarch64/mmkit_pmap.h"
#define MMKIT_KERNEL_ROOT_PA MMKIT_PTR_TO_PHYS(aarch64_nowhere)

#endif
