/* SPDX-License-Identifier: MIT
 *
 * tests/bench/mmkit_port.h: mmkit with nothing between it and its RAM: default
 * locks and atomics, no checker, no simulated CPU. What is timed is mmkit.
 */
#ifndef BENCH_MMKIT_PORT_H
#define BENCH_MMKIT_PORT_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#ifdef __cplusplus
extern "C" {
#endif
extern unsigned char *bench_ram;
#ifdef __cplusplus
}
#endif

#define MMKIT_PORT_VERSION 1
#define MMKIT_PAGE_SHIFT 12
#define MMKIT_PHYS_TO_PTR(pa) ((void *)(bench_ram + (pa)))
#define MMKIT_PTR_TO_PHYS(ptr) \
	((uint64_t)((const unsigned char *)(ptr) - bench_ram))
#define MMKIT_PANIC(msg) (fputs(msg "\n", stderr), abort())
#define MMKIT_CPU_COUNT() 2u
#ifdef BENCH_THREADS
extern _Thread_local unsigned bench_cpu;
#define MMKIT_CPU_ID() bench_cpu
#else
#define MMKIT_CPU_ID() 0u
#endif
#ifdef BENCH_EXCLUSIVE
#define MMKIT_CPU_ENTER() ((uintptr_t)0)
#define MMKIT_CPU_LEAVE(state) ((void)(state))
#endif
#define MMKIT_CPU_MAX 64
#define MMKIT_TLB_SHOOTDOWN(pmap, start_va, end_va) \
	((void)(pmap), (void)(start_va), (void)(end_va))

#endif
