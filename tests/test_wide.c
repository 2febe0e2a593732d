/* SPDX-License-Identifier: MIT
 *
 * tests/test_wide.c: the edges of addresses, on every format of page tables
 *
 * WHAT    The last page below each limit, physical and virtual, is a page like
 *         any other; the first one beyond is refused, and nothing has changed.
 *         With RAM above 2^51 or 2^50 the high bits are in tables, leaves and
 *         blocks, as the walker of the manual reads them.
 */
#include "pmap_fixture.h"

#include "../ports/sim/walk.h"

#include <string.h>

/* Test(wide, name) whose body runs on every format. */
#define TEST_WIDE(name)                     \
	static void wide_##name(void);      \
	Test(wide, name)                    \
	{                                   \
		on_every_format(wide_##name); \
	}                                   \
	static void wide_##name(void)

static mmk_va
va_limit(void)
{
	mmk_va end_va = (mmk_va)1 << (sys.shape.va_bits - (is_arm() ? 0 : 1));

	cr_assert_eq(mmk_pt_va_limit(&sys.shape), end_va);
	return end_va;
}

static mmk_pa
pa_limit(void)
{
	return (mmk_pa)1 << sys.shape.pa_bits;
}

static struct sim_walk
walk(mmk_va va)
{
	struct sim_walk_request request = { .root_pa = pa_of(pmaps[0].root),
		.va = va, .is_user = true, .is_probe = true };
	struct sim_walk found;

	sim_walk(&request, &found);
	cr_assert_null(found.malformed, "%s", found.malformed);
	return found;
}

/* To the end. Where the hardware does not mark an entry as used, it stops there
 * for that only. */
static struct sim_walk
good_walk(mmk_va va)
{
	struct sim_walk found = walk(va);

	if (found.fault == SIM_FAULT_ACCESS_FLAG && !sys.shape.hw_accessed)
		return found;
	cr_assert_eq(found.fault, SIM_FAULT_NONE, "%s",
	    sim_fault_name(found.fault));
	return found;
}

/* Nothing is entered, and nothing of memory is gone. */
static void
check_nothing(void)
{
	cr_assert_eq(pmaps[0].nr_pages, 0);
	cr_assert_eq(pmaps[0].nr_tables, 1);
	cr_assert_eq(pmaps[0].nr_reserved, 0);
	cr_assert_eq(used(MMK_USE_TABLE), NR_PMAPS);
	cr_assert(check_all());
}

static void
check_refused(mmk_va va, mmk_pa pa)
{
	uint64_t nr_done = 99;

	cr_assert_eq(mmk_pmap_enter(&pmaps[0], va, pa, RWU), MMK_ERR_INVAL);
	cr_assert_eq(mmk_pmap_enter_run(&pmaps[0], va, pa, 3, RWU, &nr_done),
	    MMK_ERR_INVAL);
	cr_assert_eq(nr_done, 0);
	cr_assert_eq(mmk_pmap_kenter(&pmaps[0], va, pa, 3, R | W),
	    MMK_ERR_INVAL);
	check_nothing();
}

TEST_WIDE(a_physical_address_beyond_the_width_is_refused)
{
	for (unsigned bit = sys.shape.pa_bits; bit < 64; bit++) {
		check_refused(VA, (mmk_pa)1 << bit);
		check_refused(VA, ((mmk_pa)1 << bit) + FOREIGN);
	}
	check_refused(VA, (mmk_pa)0 - PAGE);
}

TEST_WIDE(a_virtual_address_beyond_the_limit_is_refused)
{
	struct mmk_translation found;

	for (mmk_va va = va_limit(); va != 0; va <<= 1) {
		check_refused(va, FOREIGN);
		check_refused(va + PAGE, FOREIGN);
		cr_assert(!mmk_pmap_query(&pmaps[0], va, &found));
		cr_assert(!mmk_pmap_emulate(&pmaps[0], va, R | U));
		mmk_pmap_unwire(&pmaps[0], va);
		cr_assert_neq(walk(va).fault, SIM_FAULT_NONE);
	}
	check_refused((mmk_va)0 - PAGE, FOREIGN);
	cr_assert(!mmk_pmap_query(&pmaps[0], UINT64_MAX, &found));
	cr_assert(!mmk_pmap_next(&pmaps[0], va_limit(), UINT64_MAX, &found));
}

TEST_WIDE(an_address_that_is_not_aligned_is_refused)
{
	for (mmk_va bit = 1; bit < PAGE; bit <<= 1) {
		check_refused(VA + bit, FOREIGN);
		check_refused(VA, FOREIGN + bit);
		check_refused(va_limit() - bit, FOREIGN);
		check_refused(VA, pa_limit() - bit);
	}
}

/* A run that does not end where either kind of address does; kenter: all or
 * nothing. */
TEST_WIDE(a_run_beyond_a_limit_stops_there_or_leaves_nothing)
{
	mmk_va end_va = va_limit();
	mmk_pa end_pa = pa_limit();
	uint64_t nr_done = 0;

	cr_assert_eq(mmk_pmap_kenter(&pmaps[0], end_va - 2 * PAGE, FOREIGN, 3,
	                 R), MMK_ERR_INVAL);
	check_nothing();
	cr_assert_eq(mmk_pmap_kenter(&pmaps[0], VA, end_pa - 2 * PAGE, 3, R),
	    MMK_ERR_INVAL);
	check_nothing();
	cr_assert_eq(mmk_pmap_kenter(&pmaps[0], end_va - 2 * PAGE, FOREIGN,
	                 UINT64_MAX / PAGE, R), MMK_ERR_INVAL);
	check_nothing();
	cr_assert_eq(mmk_pmap_enter_run(&pmaps[0], VA, end_pa - 2 * PAGE, 3, R,
	                 &nr_done), MMK_ERR_INVAL);
	cr_assert_eq(nr_done, 2);
	cr_assert_eq(pmaps[0].nr_pages, 2);
	cr_assert_eq(good_walk(VA + PAGE).pa, end_pa - PAGE);
	remove_now(0, VA, VA + 3 * PAGE);
	check_nothing();
}

TEST_WIDE(the_last_page_below_each_limit_works)
{
	mmk_va last_va = va_limit() - PAGE;
	struct mmk_frame *frame = new_frame_with(4711);
	struct mmk_translation found;

	activate(0, 0);
	enter(0, last_va, frame, RWU);
	cr_assert_eq(load(0, last_va), 4711);
	cr_assert(store(0, last_va + PAGE - 8, 12));
	cr_assert_eq(good_walk(last_va).pa, pa_of(frame));
	cr_assert(mmk_pmap_query(&pmaps[0], last_va + PAGE - 1, &found));
	cr_assert_eq(found.va, last_va);
	cr_assert_eq(found.pa, pa_of(frame));
	cr_assert((found.flags & MMK_PMAP_MODIFIED) != 0);
	mmk_pmap_protect(&pmaps[0], last_va, last_va + PAGE, R, &gather);
	mmk_gather_finish(&gather);
	cr_assert(!store(0, last_va, 13));
	mmk_page_remove_all(&sys, frame);
	cr_assert_eq(load(0, last_va), UINT64_MAX);
	mmk_frame_unref(&phys, frame);
	cr_assert_eq(mmk_pmap_enter(&pmaps[0], last_va, pa_limit() - PAGE,
	                 RWU), MMK_OK);
	cr_assert_eq(good_walk(last_va + 5).pa, pa_limit() - PAGE + 5);
	cr_assert(mmk_pmap_query(&pmaps[0], last_va, &found));
	cr_assert_eq(found.pa, pa_limit() - PAGE);
	remove_now(0, 0, va_limit());
	check_nothing();
}

/* Each bit of a physical address alone, and all others. */
TEST_WIDE(every_bit_of_a_physical_address_is_in_its_leaf)
{
	mmk_pa all = pa_limit() - PAGE;
	struct mmk_translation found;

	for (unsigned bit = MMK_PAGE_SHIFT; bit < sys.shape.pa_bits; bit++) {
		mmk_pa pas[2] = { (mmk_pa)1 << bit, all & ~((mmk_pa)1 << bit) };

		for (unsigned i = 0; i < 2; i++) {
			cr_assert_eq(mmk_pmap_enter(&pmaps[0], VA, pas[i],
			                 RWU | MMK_PMAP_UNTRACKED), MMK_OK);
			cr_assert_eq(good_walk(VA).pa, pas[i]);
			cr_assert(mmk_pmap_query(&pmaps[0], VA, &found));
			cr_assert_eq(found.pa, pas[i]);
			cr_assert_eq(found.flags & ~MMK_PMAP_ACCESSED,
			    RWU | MMK_PMAP_UNTRACKED);
			remove_now(0, VA, VA + PAGE);
		}
	}
	check_nothing();
}

/* From one end of the top table to the other, and to no entry beyond. */
TEST_WIDE(the_top_table_has_as_many_entries_as_the_address_has_room_for)
{
	mmk_va span_bytes = table_bytes(sys.shape.nr_levels - 1u);
	uint64_t nr_entries = va_limit() / span_bytes;
	uint64_t *top = (uint64_t *)mmk_frame_ptr(&phys, pmaps[0].root);
	uint64_t nr_used = 0;

	if (is_arm() && sys.shape.va_bits == 52)
		cr_assert_eq(nr_entries, MMK_PAGE_SHIFT == 12 ? 16
		        : MMK_PAGE_SHIFT == 14                ? 32
		                                              : 1024);
	for (uint64_t i = 0; i < nr_entries; i = i * 2 + 1) {
		mmk_va va = i * span_bytes + VA % span_bytes;

		cr_assert_eq(mmk_pmap_enter(&pmaps[0], va, FOREIGN, RWU),
		    MMK_OK);
		cr_assert_eq(good_walk(va).entry_pas[0],
		    pa_of(pmaps[0].root) + i * 8);
		cr_assert_eq(good_walk(va).pa, FOREIGN);
		nr_used++;
	}
	cr_assert_eq(pmaps[0].nr_pages, nr_used);
	for (uint64_t i = 0; i < PAGE / 8; i++)
		nr_used -= top[i] != 0;
	cr_assert_eq(nr_used, 0);
	cr_assert(check_all());
	remove_now(0, 0, va_limit());
	check_nothing();
}

/* Where RAM is high, so are the tables; the walk goes through their entries. */
TEST_WIDE(the_high_bits_of_ram_are_in_every_table)
{
	mmk_pa base_pa = sim_spans(&(size_t){ 0 })->start_pa;
	struct mmk_frame *frame = new_frame_with(99);
	struct sim_walk found;

	activate(0, 0);
	enter(0, VA, frame, RWU);
	cr_assert_eq(load(0, VA), 99);
	found = good_walk(VA);
	cr_assert_eq(found.nr_entries, sys.shape.nr_levels);
	for (unsigned i = 0; i < found.nr_entries; i++)
		cr_assert_geq(found.entry_pas[i], base_pa);
	cr_assert_geq(found.pa, base_pa);
	cr_assert_eq(sim_cpu_root(0), pa_of(pmaps[0].root));
	if (sys.shape.va_bits == 52 || sys.shape.va_bits == 57)
		cr_assert_neq(base_pa >> 48, 0);
	remove_now(0, VA, VA + PAGE);
	mmk_frame_unref(&phys, frame);
}

/* One block, as high as there are addresses, on both sides. */
TEST_WIDE(the_high_bits_of_an_address_are_in_a_block)
{
	mmk_va bytes = table_bytes(1), va = va_limit() - bytes;
	mmk_pa pa = pa_limit() - bytes;
	struct mmk_translation found;
	uint64_t nr_done;

	cr_assert_eq(mmk_pmap_enter_run(&pmaps[0], va, pa, bytes / PAGE,
	                 RWU | MMK_PMAP_DEVICE, &nr_done), MMK_OK);
	cr_assert_eq(pmaps[0].nr_pages, bytes / PAGE);
	cr_assert(mmk_pmap_query(&pmaps[0], va_limit() - PAGE, &found));
	cr_assert_eq(found.nr_pages, bytes / PAGE);
	cr_assert_eq(found.pa, pa_limit() - PAGE);
	cr_assert_eq(good_walk(va).level, 1);
	cr_assert_eq(good_walk(va).pa, pa);
	cr_assert_eq(good_walk(va_limit() - 1).pa, pa_limit() - 1);
	/* Split, all of it but one page stays. */
	remove_now(0, va + PAGE, va + 2 * PAGE);
	cr_assert_eq(pmaps[0].nr_pages, bytes / PAGE - 1);
	cr_assert_eq(good_walk(va).pa, pa);
	cr_assert_eq(good_walk(va_limit() - PAGE).pa, pa_limit() - PAGE);
	cr_assert_eq(good_walk(va_limit() - PAGE).level, 0);
	cr_assert_eq(walk(va + PAGE).fault, SIM_FAULT_NOT_PRESENT);
	cr_assert(check_all());
	remove_now(0, va, va_limit());
	check_nothing();
}

/* In place of a table at each level that may have blocks: as the backend spells
 * one the walker reads it. */
TEST_WIDE(the_largest_blocks_are_read_as_they_are_spelled)
{
	struct mmk_pt_shape shape = sys.shape;
	unsigned level = 1, level_max = is_arm() ? shape.nr_levels : 3;

	enter(0, VA, pmaps[1].root, RWU);
	for (; level < level_max; level++) {
		mmk_pa pa = pa_limit() - table_bytes(level);
		struct sim_walk found = good_walk(VA);
		uint64_t *slot = (uint64_t *)sim_phys_to_ptr(
		    found.entry_pas[shape.nr_levels - 1u - level]);
		uint64_t table = *slot;

		shape.leaf_level_max = (uint8_t)level;
		if (!mmk_pt_is_known(&shape))
			break;
		*slot = mmk_pt_make_leaf(&shape, level, pa, RWU);
		found = good_walk(VA);
		cr_assert_eq(found.level, level);
		cr_assert_eq(found.pa, pa + VA % table_bytes(level));
		cr_assert_eq(mmk_pt_pa(&shape, level, *slot), pa);
		*slot = table;
	}
	if (is_arm())
		cr_assert_eq(level - 1, (MMK_PAGE_SHIFT == 12 ? 2u : 1u) +
		        (shape.pa_bits == 52));
	remove_now(0, VA, VA + PAGE);
}
