/* SPDX-License-Identifier: MIT
 *
 * tests/bench/frame/fa_mmkit.h: mmkit's frame allocator behind the contract of
 * fa.h, and its own port header
 *
 * RAM is a range of addresses that nobody reads or writes: mmkit looks at
 * descriptors only. A thread plays a CPU, so what belongs to one CPU needs no
 * lock: MMKIT_CPU_ENTER is nothing. With FA_MMKIT_LOCKED the caches are locked,
 * as in a kernel that gives no MMKIT_CPU_ENTER. Assertions stay on, NDEBUG or
 * not. A kernel knows a frame by the pointer to its descriptor; its number here
 * is that pointer less the first one's.
 */
#ifndef FA_MMKIT_H
#define FA_MMKIT_H

#include <stdbool.h>
#include "fa.h"

#ifdef FA_MMKIT_LOCKED
#define FA_NAME "mmkit-locked"
#else
#define FA_NAME "mmkit"
#endif
#define FA_MAX_ORDER 18
#define FA_MT 1

static uintptr_t fa_ram;
static __thread unsigned fa_cpu;

#define MMKIT_PORT_VERSION 1
#define MMKIT_PAGE_SHIFT 12
#define MMKIT_CPU_MAX 2
#define MMKIT_CPU_COUNT() 2u
#define MMKIT_CPU_ID() fa_cpu
#define MMKIT_PHYS_TO_PTR(pa) ((void *)(fa_ram + (uintptr_t)(pa)))
#define MMKIT_PTR_TO_PHYS(ptr) ((uint64_t)((uintptr_t)(ptr) - fa_ram))
#define MMKIT_PANIC(msg) (puts(msg), abort())
#define MMKIT_CPU_RELAX() __builtin_ia32_pause()
#ifndef FA_MMKIT_LOCKED
#define MMKIT_CPU_ENTER() ((uintptr_t)0)
#define MMKIT_CPU_LEAVE(state) ((void)(state))
#endif
/* This file again, which is then empty. */
#define MMKIT_PORT_H __FILE__
#define MMKIT_STATIC
#include "mmkit/phys/frame.h"

static struct mmk_phys fa_phys;
static void *fa_meta;
static size_t fa_ram_bytes;

static void
fa_init(size_t nr_frames, int nr_cores)
{
	struct mmk_phys_span span;
	struct mmk_phys_config config = { .spans = &span, .nr_spans = 1 };

	(void)nr_cores;
	fa_ram_bytes = nr_frames << MMKIT_PAGE_SHIFT;
	fa_ram = (uintptr_t)mmap(NULL, fa_ram_bytes, PROT_NONE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	span.start_pa = 0;
	span.end_pa = fa_ram_bytes;
	config.meta_bytes = mmk_phys_meta_bytes(&span, 1);
	config.meta = fa_meta = big_alloc(config.meta_bytes);
	if (mmk_phys_init(&fa_phys, &config) != MMK_OK)
		abort();
}

static void
fa_fini(void)
{
	munmap(fa_meta, fa_phys.meta_bytes);
	munmap((void *)fa_ram, fa_ram_bytes);
}

static inline __attribute__((always_inline)) int64_t
fa_alloc(int core, unsigned order)
{
	struct mmk_frame *frame;

	fa_cpu = (unsigned)core;
	if (mmk_frame_alloc(&fa_phys, order, 0, MMK_USE_KERNEL, &frame) !=
	    MMK_OK)
		return -1;
	return (char *)frame - (char *)fa_phys.table.frames;
}

static inline __attribute__((always_inline)) void
fa_free(int core, int64_t frame, unsigned order)
{
	(void)order;
	fa_cpu = (unsigned)core;
	(void)mmk_frame_unref(&fa_phys, (struct mmk_frame *)(void *)
	    ((char *)fa_phys.table.frames + frame));
}

static size_t
fa_meta_bytes(void)
{
	return fa_phys.meta_bytes + sizeof(fa_phys);
}

static void
fa_drain(void)
{
	mmk_phys_drain(&fa_phys);
}
#endif
