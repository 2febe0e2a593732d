/* SPDX-License-Identifier: MIT
 *
 * tests/super_fixture.h: machines with room for superpages, on every format
 */
#ifndef MMKIT_TESTS_SUPER_FIXTURE_H
#define MMKIT_TESTS_SUPER_FIXTURE_H

#include "pmap_fixture.h"

#define NR ((unsigned)(PAGE / 8)) /* pages of a table: of a leaf of level 1 */
#define LARGE (NR * PAGE)
#define BLOCK_ORDER (MMK_PAGE_SHIFT - 3u)
#define BVA (UINT64_C(0x1234) * LARGE) /* where a block fits */

#define LARGE_RAM_BYTES (8 * LARGE)
static const struct sim_config large_formats[] = {
#ifdef SIM_ARCH_HERE /* the machine is real: tests/kernel */
	{ .ram_bytes = LARGE_RAM_BYTES, .nr_cpus = 2, .arch = SIM_ARCH_HERE },
#else
#if MMKIT_PAGE_SHIFT == 12
	{ .ram_bytes = LARGE_RAM_BYTES, .nr_cpus = 2, .arch = SIM_ARCH_X86_64 },
	{ .ram_bytes = LARGE_RAM_BYTES, .nr_cpus = 2, .arch = SIM_ARCH_X86_64,
	    .nr_levels = 5 },
	{ .ram_bytes = LARGE_RAM_BYTES, .nr_cpus = 2, .arch = SIM_ARCH_X86_64,
	    .tag_bits = 12 },
#endif
	{ .ram_bytes = LARGE_RAM_BYTES, .nr_cpus = 2,
	    .arch = SIM_ARCH_AARCH64, .caches_denials = true },
	{ .ram_bytes = LARGE_RAM_BYTES, .nr_cpus = 2,
	    .arch = SIM_ARCH_AARCH64, .caches_denials = true,
	    .software_ad = true },
	{ .ram_bytes = LARGE_RAM_BYTES, .nr_cpus = 2,
	    .arch = SIM_ARCH_AARCH64, .caches_denials = true, .tag_bits = 8 },
	{ .ram_bytes = LARGE_RAM_BYTES, .nr_cpus = 2,
	    .arch = SIM_ARCH_AARCH64, .caches_denials = true,
	    .wide_addresses = true, .base_pa = HIGH_A },
	{ .ram_bytes = LARGE_RAM_BYTES, .nr_cpus = 2,
	    .arch = SIM_ARCH_AARCH64, .caches_denials = true, .tag_bits = 8,
	    .wide_addresses = true, .base_pa = HIGH_B },
#endif
};
MMK_STATIC_ASSERT(sizeof large_formats == sizeof formats, "as many");

static inline void
on_large_formats(void (*body)(void))
{
	for (size_t i = 0; i < NR_FORMATS; i++) {
		boot(&large_formats[i]);
		sim_forbid_stale_hits(true);
		body();
		halt();
	}
}

#define TEST_LARGE(name)                 \
	static void large_##name(void);  \
	Test(super, name)                \
	{                                \
		on_large_formats(large_##name); \
	}                                \
	static void large_##name(void)

static inline void
enter_run(unsigned space, mmk_va va, mmk_pa pa, uint64_t nr_pages,
    unsigned flags)
{
	uint64_t nr_done = 0;

	cr_assert_eq(mmk_pmap_enter_run(&pmaps[space], va, pa, nr_pages, flags,
	                 &nr_done),
	    MMK_OK);
	cr_assert_eq(nr_done, nr_pages);
}

static inline void
protect_now(unsigned space, mmk_va start_va, mmk_va end_va, unsigned prot)
{
	mmk_pmap_protect(&pmaps[space], start_va, end_va, prot, &gather);
	mmk_gather_finish(&gather);
}

/* Of the leaf that translates va, to pa if at all: the level; 9: none. */
static inline unsigned
level_at(unsigned space, mmk_va va, mmk_pa pa)
{
	struct mmk_translation found;

	if (!mmk_pmap_query(&pmaps[space], va, &found))
		return 9;
	cr_assert_eq(found.va, va);
	cr_assert_eq(found.pa, pa);
	return found.nr_pages < NR ? 0 : found.nr_pages == NR ? 1 : 2;
}

#endif
