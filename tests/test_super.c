/* SPDX-License-Identifier: MIT
 *
 * tests/test_super.c: superpages: entered, split, joined, and what is kept of
 * them meanwhile, seen through the TLBs of the simulated machine
 */
#include <criterion/criterion.h>

#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "super_fixture.h"

/* ---- entered ------------------------------------------------------------- */

TEST_LARGE(a_run_that_fits_is_one_leaf)
{
	struct mmk_frame *block = new_frame(BLOCK_ORDER);
	struct mmk_translation found;
	struct mmk_pmap *pmap;
	mmk_va va;

	enter_run(0, BVA, pa_of(block), NR, RWU);
	cr_assert(mmk_pmap_query(&pmaps[0], BVA + 7 * PAGE + 5, &found));
	cr_assert_eq(found.va, BVA + 7 * PAGE);
	cr_assert_eq(found.pa, pa_of(block) + 7 * PAGE);
	cr_assert_eq(found.nr_pages, NR);
	cr_assert_eq(pmaps[0].nr_pages, NR);
	cr_assert_eq(pmaps[0].nr_tracked, NR);
	cr_assert_eq(pmaps[0].nr_tables, sys.shape.nr_levels - 1u);
	cr_assert_eq(pmaps[0].nr_reserved, 1);
	cr_assert_eq(block->mapped, NR);
	cr_assert(mmk_page_translation(&sys, block, NR - 1, &pmap, &va));
	cr_assert_eq(va, BVA + (NR - 1) * PAGE);
	cr_assert(!mmk_page_translation(&sys, block, NR, &pmap, &va));
	cr_assert(mmk_rmap_check(&sys, block));
	cr_assert(check_all());
	activate(0, 0);
	for (unsigned i = 0; i < NR; i += 73) {
		cr_assert(store(0, BVA + i * PAGE, i));
		cr_assert_eq(load(0, BVA + i * PAGE), i);
	}
	cr_assert_eq(sim_tlb_count(0), 1);
	remove_now(0, BVA, BVA + LARGE);
	cr_assert_eq(load(0, BVA), UINT64_MAX);
	cr_assert_eq(block->mapped, 0);
	cr_assert(mmk_page_is_modified(&sys, block));
	cr_assert_eq(used(MMK_USE_TABLE), NR_PMAPS);
	mmk_frame_unref(&phys, block);
}

/* Alignment of either address, length, and frames decide. */
TEST_LARGE(a_run_that_does_not_fit_is_pages)
{
	struct mmk_frame *block = new_frame(BLOCK_ORDER + 1);
	mmk_pa pa = pa_of(block);

	enter_run(0, BVA + PAGE, pa, NR, RWU);
	cr_assert_eq(level_at(0, BVA + PAGE, pa), 0);
	enter_run(1, BVA, pa + PAGE, NR, RWU);
	cr_assert_eq(level_at(1, BVA, pa + PAGE), 0);
	enter_run(2, BVA, pa, NR - 1, RWU);
	cr_assert_eq(level_at(2, BVA, pa), 0);
	/* A page, a leaf, pages: the middle fits. */
	enter_run(3, BVA + LARGE - PAGE, pa + LARGE - PAGE, NR + 1, RWU);
	cr_assert_eq(level_at(3, BVA + LARGE - PAGE, pa + LARGE - PAGE), 0);
	cr_assert_eq(level_at(3, BVA + LARGE, pa + LARGE), 1);
	cr_assert_eq(block->mapped, 4 * NR);
	cr_assert(check_all());
	cr_assert(mmk_rmap_check(&sys, block));
	mmk_page_remove_all(&sys, block);
	cr_assert_eq(block->mapped, 0);
	mmk_frame_unref(&phys, block);
}

/* Where NR of the frames lie side by side, aligned. */
static mmk_pa
neighbours(struct mmk_frame **frames, unsigned nr)
{
	unsigned found[8] = { 0 };

	for (unsigned i = 0; i < nr; i++) {
		unsigned block = (unsigned)(pa_of(frames[i]) / LARGE % 8);

		if (++found[block] == NR)
			return pa_of(frames[i]) & ~(mmk_pa)(LARGE - 1);
	}
	cr_assert(false, "no NR neighbours");
	return 0;
}

/* What is done to all translations of a frame is done to whole leaves. */
TEST_LARGE(a_tracked_leaf_lies_within_one_frame)
{
	struct mmk_frame *frames[4 * NR];
	mmk_pa pa;

	for (unsigned i = 0; i < 4 * NR; i++)
		frames[i] = new_frame(0);
	pa = neighbours(frames, 4 * NR);
	enter_run(0, BVA, pa, NR, RWU);
	cr_assert_eq(level_at(0, BVA, pa), 0);
	enter_run(1, BVA, pa, NR, RWU | MMK_PMAP_UNTRACKED);
	cr_assert_eq(level_at(1, BVA, pa), 1);
	for (unsigned i = 0; i < NR; i++)
		cr_assert_eq(mmk_frame_of_pa(&phys, pa + i * PAGE)->mapped, 1);
	cr_assert(!mmk_pmap_promote(&pmaps[0], BVA));
	cr_assert(check_all());
	remove_now(0, BVA, BVA + LARGE);
	remove_now(1, BVA, BVA + LARGE);
	for (unsigned i = 0; i < 4 * NR; i++)
		mmk_frame_unref(&phys, frames[i]);
}

TEST_LARGE(a_shape_without_large_leaves_gets_none)
{
	struct mmk_frame *block = new_frame(BLOCK_ORDER);

	sys.shape.leaf_level_max = 0;
	enter_run(0, BVA, pa_of(block), NR, RWU);
	cr_assert_eq(level_at(0, BVA, pa_of(block)), 0);
	cr_assert(!mmk_pmap_promote(&pmaps[0], BVA));
	cr_assert_eq(pmaps[0].nr_pages, NR);
	cr_assert(check_all());
	remove_now(0, BVA, BVA + LARGE);
	mmk_frame_unref(&phys, block);
}

/* For every k: the k-th allocation fails; a prefix is there, nothing is lost. */
TEST_LARGE(a_run_without_memory_leaves_a_prefix)
{
	struct mmk_frame *block = new_frame(BLOCK_ORDER + 1);
	mmk_va start_va = BVA - 2 * PAGE;
	uint64_t nr_tables = used(MMK_USE_TABLE);
	bool was_refused = false, is_over = false;

	for (unsigned k = 1; !is_over; k++) {
		uint64_t nr_done = 99;
		enum mmk_err err;

		mmk_pool_drain(&sys.rmap_pool);
		mmk_phys_drain(&phys);
		sim_fail_at(k);
		err = mmk_pmap_enter_run(&pmaps[0], start_va,
		    pa_of(block) + LARGE - 2 * PAGE, NR + 2, RWU, &nr_done);
		is_over = err == MMK_OK && level_at(0, BVA,
		                               pa_of(block) + LARGE) == 1;
		sim_fail_at(0);
		cr_assert(err == MMK_OK || err == MMK_ERR_NOMEM);
		cr_assert_eq(pmaps[0].nr_pages, nr_done);
		cr_assert_eq(block->mapped, nr_done);
		was_refused = was_refused || err != MMK_OK;
		for (uint64_t i = 0; i < nr_done; i++)
			cr_assert_leq(level_at(0, start_va + i * PAGE,
			                  pa_of(block) + LARGE + (i - 2) * PAGE),
			    1);
		cr_assert(check_all());
		cr_assert(mmk_rmap_check(&sys, block));
		remove_now(0, start_va, BVA + LARGE);
		cr_assert_eq(used(MMK_USE_TABLE), nr_tables);
	}
	cr_assert(was_refused);
	mmk_frame_unref(&phys, block);
}

/* ---- split --------------------------------------------------------------- */

/* Neither can fail: nothing is allocated. */
TEST_LARGE(a_part_can_be_removed_and_protected_without_memory)
{
	struct mmk_frame *block = new_frame(BLOCK_ORDER);
	mmk_va at = BVA + 5 * PAGE;

	activate(0, 0);
	activate(0, 1);
	enter_run(0, BVA, pa_of(block), NR, RWU);
	cr_assert(store(0, at + PAGE, 6));
	cr_assert_eq(load(1, at), 0);
	sim_fail_at(1);
	remove_now(0, at, at + PAGE);
	cr_assert_eq(load(0, at), UINT64_MAX);
	cr_assert_eq(load(1, at), UINT64_MAX);
	cr_assert_eq(load(1, at + PAGE), 6);
	cr_assert_eq(level_at(0, at - PAGE, pa_of(block) + 4 * PAGE), 0);
	cr_assert_eq(pmaps[0].nr_pages, NR - 1);
	cr_assert_eq(pmaps[0].nr_reserved, 0);
	cr_assert_eq(block->mapped, NR - 1);
	protect_now(0, at + PAGE, at + 2 * PAGE, MMK_PROT_READ);
	cr_assert(!store(0, at + PAGE, 7));
	cr_assert(store(0, at + 2 * PAGE, 7));
	sim_fail_at(0);
	cr_assert(check_all());
	cr_assert(mmk_rmap_check(&sys, block));
	mmk_page_remove_all(&sys, block);
	cr_assert_eq(load(1, at + PAGE), UINT64_MAX);
	cr_assert_eq(used(MMK_USE_TABLE), NR_PMAPS);
	mmk_frame_unref(&phys, block);
}

TEST_LARGE(protecting_a_part_splits_only_if_something_is_taken)
{
	struct mmk_frame *block = new_frame(BLOCK_ORDER);

	activate(0, 0);
	enter_run(0, BVA, pa_of(block), NR, R | U);
	protect_now(0, BVA, BVA + PAGE, R | W);
	cr_assert_eq(level_at(0, BVA, pa_of(block)), 1);
	enter_run(0, BVA, pa_of(block), NR, RWU);
	cr_assert_eq(level_at(0, BVA, pa_of(block)), 1, "changed in place");
	cr_assert(store(0, BVA, 1));
	protect_now(0, BVA, BVA + LARGE, R);
	cr_assert_eq(level_at(0, BVA, pa_of(block)), 1);
	cr_assert(!store(0, BVA, 2));
	enter_run(0, BVA, pa_of(block), NR, RWU);
	protect_now(0, BVA + LARGE - PAGE, BVA + LARGE, R);
	cr_assert_eq(level_at(0, BVA, pa_of(block)), 0);
	cr_assert(store(0, BVA, 2));
	cr_assert(!store(0, BVA + LARGE - PAGE, 2));
	cr_assert_eq(pmaps[0].nr_pages, NR);
	cr_assert(check_all());
	mmk_page_remove_all(&sys, block);
	mmk_frame_unref(&phys, block);
}

/* What a page was, each of its pages is: nothing dirty is lost. */
TEST_LARGE(a_split_keeps_all_flags_on_every_page)
{
	struct mmk_frame *block = new_frame(BLOCK_ORDER);
	unsigned flags = RWU | MMK_PMAP_WIRED | MMK_PMAP_SOFT;

	activate(0, 0);
	enter_run(0, BVA, pa_of(block), NR, flags);
	cr_assert_eq(pmaps[0].nr_wired, NR);
	cr_assert(store(0, BVA + 3 * PAGE, 1));
	remove_now(0, BVA + 100 * PAGE, BVA + 101 * PAGE);
	for (unsigned i = 0; i < NR; i++)
		cr_assert_eq(flags_at(0, BVA + i * PAGE), i == 100 ? 0
		        : flags | MMK_PMAP_ACCESSED | MMK_PMAP_MODIFIED);
	cr_assert_eq(pmaps[0].nr_wired, NR - 1);
	block->flags &= (uint16_t)~MMK_FRAME_MODIFIED;
	cr_assert(mmk_page_is_modified(&sys, block));
	mmk_page_remove_all(&sys, block);
	mmk_frame_unref(&phys, block);
}

/* One page more, with other rights, or of another frame: only it changes. */
TEST_LARGE(entering_a_page_within_a_leaf_splits_it)
{
	struct mmk_frame *block = new_frame(BLOCK_ORDER);
	struct mmk_frame *other = new_frame_with(77);
	mmk_pa pa = pa_of(block);

	activate(0, 0);
	activate(0, 1);
	enter_run(0, BVA, pa, NR, R | U);
	cr_assert_eq(load(0, BVA), 0);
	cr_assert_eq(mmk_pmap_enter(&pmaps[0], BVA + PAGE, pa + PAGE, R | U),
	    MMK_OK);
	cr_assert_eq(level_at(0, BVA, pa), 1, "nothing was to change");
	cr_assert_eq(load(1, BVA + 3 * PAGE), 0, "cached there");
	cr_assert_eq(mmk_pmap_enter(&pmaps[0], BVA + PAGE, pa + PAGE, RWU),
	    MMK_OK);
	cr_assert_eq(level_at(0, BVA, pa), 0);
	cr_assert(store(0, BVA + PAGE, 1));
	cr_assert(!store(0, BVA, 1));
	cr_assert(check_all());
	remove_now(0, BVA, BVA + LARGE);
	enter_run(0, BVA, pa, NR, RWU);
	cr_assert_eq(load(0, BVA + 2 * PAGE), 0);
	enter(0, BVA + 2 * PAGE, other, RWU);
	cr_assert_eq(load(0, BVA + 2 * PAGE), 77);
	cr_assert_eq(load(0, BVA + PAGE), 1);
	cr_assert_eq(block->mapped, NR - 1);
	cr_assert(check_all());
	remove_now(0, BVA, BVA + LARGE);
	mmk_frame_unref(&phys, block);
	mmk_frame_unref(&phys, other);
}

TEST_LARGE(unwiring_a_page_of_a_wired_leaf_splits_it)
{
	struct mmk_frame *block = new_frame(BLOCK_ORDER);

	enter_run(0, BVA, pa_of(block), NR, RWU);
	mmk_pmap_unwire(&pmaps[0], BVA);
	cr_assert_eq(level_at(0, BVA, pa_of(block)), 1);
	enter_run(0, BVA, pa_of(block), NR, RWU | MMK_PMAP_WIRED);
	cr_assert_eq(level_at(0, BVA, pa_of(block)), 1);
	cr_assert_eq(pmaps[0].nr_wired, NR);
	mmk_pmap_unwire(&pmaps[0], BVA + PAGE);
	cr_assert_eq(pmaps[0].nr_wired, NR - 1);
	cr_assert_eq(flags_at(0, BVA + PAGE) & MMK_PMAP_WIRED, 0);
	cr_assert_neq(flags_at(0, BVA) & MMK_PMAP_WIRED, 0);
	cr_assert(check_all());
	remove_now(0, BVA, BVA + LARGE);
	mmk_frame_unref(&phys, block);
}

#if MMKIT_PAGE_SHIFT == 12 /* others have no leaf of level 2 */
/* A leaf of 1 GiB keeps what it takes to split it to the last page. */
TEST_LARGE(the_largest_leaf_is_split_level_by_level)
{
	mmk_va va = UINT64_C(8) << 30;
	mmk_pa pa = UINT64_C(64) << 30;
	struct mmk_pmap *pmap = &pmaps[0];

	cr_assert_eq(mmk_pmap_kenter(pmap, va, pa, NR * NR, RWU), MMK_OK);
	cr_assert_eq(level_at(0, va + 3 * LARGE + PAGE,
	                 pa + 3 * LARGE + PAGE),
	    2);
	cr_assert_eq(pmap->nr_pages, NR * NR);
	cr_assert_eq(pmap->nr_reserved, NR + 1);
	cr_assert_eq(pmap->nr_wired, NR * NR);
	cr_assert(check_all());
	sim_fail_at(1);
	protect_now(0, va + LARGE - PAGE, va + LARGE, R);
	cr_assert_eq(level_at(0, va, pa), 0);
	cr_assert_eq(level_at(0, va + LARGE, pa + LARGE), 1);
	cr_assert_eq(pmap->nr_reserved, NR - 1);
	cr_assert(check_all());
	mmk_pmap_kremove(pmap, va + 5 * LARGE + PAGE, 1);
	cr_assert_eq(pmap->nr_reserved, NR - 2);
	cr_assert_eq(pmap->nr_pages, NR * NR - 1);
	cr_assert(check_all());
	mmk_pmap_kremove(pmap, va, NR * NR);
	sim_fail_at(0);
	cr_assert_eq(pmap->nr_tables, 1);
	cr_assert_eq(pmap->nr_wired, 0);
	cr_assert_eq(used(MMK_USE_TABLE), NR_PMAPS);
}
#endif

/* ---- joined -------------------------------------------------------------- */

TEST_LARGE(a_full_table_is_joined_and_keeps_what_it_knew)
{
	struct mmk_frame *block = new_frame(BLOCK_ORDER);
	mmk_pa pa = pa_of(block);

	activate(0, 0);
	activate(0, 1);
	for (unsigned i = 0; i < NR; i++)
		cr_assert_eq(mmk_pmap_enter(&pmaps[0], BVA + i * PAGE,
		                 pa + i * PAGE, RWU),
		    MMK_OK);
	cr_assert_eq(level_at(0, BVA, pa), 0);
	cr_assert(store(0, BVA + 9 * PAGE, 9));
	cr_assert_eq(load(1, BVA + 10 * PAGE), 0);
	sim_fail_at(1);
	cr_assert(mmk_pmap_promote(&pmaps[0], BVA + 400 * PAGE + 1));
	sim_fail_at(0);
	cr_assert(mmk_pmap_promote(&pmaps[0], BVA), "again");
	cr_assert_eq(level_at(0, BVA, pa), 1);
	cr_assert_eq(flags_at(0, BVA),
	    RWU | MMK_PMAP_ACCESSED | MMK_PMAP_MODIFIED);
	cr_assert_eq(block->mapped, NR);
	cr_assert_eq(pmaps[0].nr_reserved, 1);
	cr_assert_eq(pmaps[0].nr_tables, sys.shape.nr_levels - 1u);
	cr_assert_eq(load(1, BVA + 9 * PAGE), 9);
	cr_assert_eq(load(0, BVA + 11 * PAGE), 0);
	cr_assert(check_all());
	cr_assert(mmk_rmap_check(&sys, block));
	cr_assert(mmk_page_is_modified(&sys, block));
	remove_now(0, BVA, BVA + PAGE);
	cr_assert_eq(level_at(0, BVA + PAGE, pa + PAGE), 0);
	remove_now(0, BVA, BVA + LARGE);
	cr_assert_eq(used(MMK_USE_TABLE), NR_PMAPS);
	mmk_frame_unref(&phys, block);
}

TEST_LARGE(what_cannot_be_joined_is_left_alone)
{
	struct mmk_frame *block = new_frame(BLOCK_ORDER);
	struct mmk_frame *other = new_frame(0);
	mmk_pa pa = pa_of(block);
	struct mmk_pmap *pmap = &pmaps[0];

	cr_assert(!mmk_pmap_promote(pmap, BVA), "nothing there");
	cr_assert(!mmk_pmap_promote(pmap, UINT64_MAX), "nowhere");
	enter_run(0, BVA, pa, NR, RWU);
	remove_now(0, BVA + PAGE, BVA + 2 * PAGE);
	cr_assert(!mmk_pmap_promote(pmap, BVA), "a hole");
	cr_assert_eq(mmk_pmap_enter(pmap, BVA + PAGE, pa + PAGE, R | U),
	    MMK_OK);
	cr_assert(!mmk_pmap_promote(pmap, BVA), "other rights");
	enter(0, BVA + PAGE, other, RWU);
	cr_assert(!mmk_pmap_promote(pmap, BVA), "another frame");
	cr_assert_eq(mmk_pmap_enter(pmap, BVA + PAGE, pa + PAGE,
	                 RWU | MMK_PMAP_UNTRACKED),
	    MMK_OK);
	cr_assert(!mmk_pmap_promote(pmap, BVA), "untracked");
	cr_assert_eq(pmap->nr_reserved, 0);
	cr_assert(check_all());
	cr_assert_eq(mmk_pmap_enter(pmap, BVA + PAGE, pa + PAGE, RWU), MMK_OK);
	cr_assert(mmk_pmap_promote(pmap, BVA));
	remove_now(0, BVA, BVA + LARGE);
	mmk_frame_unref(&phys, block);
	mmk_frame_unref(&phys, other);
}

/* A run over what is there: the same, less of it, something else, a leaf. */
TEST_LARGE(a_run_replaces_what_is_there)
{
	struct mmk_frame *block = new_frame(BLOCK_ORDER);
	struct mmk_frame *second = new_frame(BLOCK_ORDER);
	struct mmk_frame *other = new_frame_with(5);

	activate(0, 0);
	enter_run(0, BVA + PAGE, pa_of(block) + PAGE, 5, R | U);
	enter(0, BVA + 9 * PAGE, other, RWU);
	cr_assert_eq(load(0, BVA + 9 * PAGE), 5);
	cr_assert_eq(load(0, BVA + PAGE), 0);
	enter_run(0, BVA, pa_of(block), NR, RWU);
	cr_assert_eq(level_at(0, BVA, pa_of(block)), 1);
	cr_assert_eq(other->mapped, 0);
	cr_assert(store(0, BVA + 9 * PAGE, 6));
	cr_assert_eq(load(0, BVA + PAGE), 0);
	enter_run(0, BVA, pa_of(second), NR, RWU);
	cr_assert_eq(level_at(0, BVA, pa_of(second)), 1);
	cr_assert_eq(block->mapped, 0);
	cr_assert_eq(load(0, BVA + 9 * PAGE), 0);
	cr_assert(mmk_page_is_modified(&sys, block));
	enter_run(0, BVA, pa_of(block), 16, RWU);
	cr_assert_eq(load(0, BVA + 9 * PAGE), 6);
	cr_assert_eq(level_at(0, BVA + 16 * PAGE, pa_of(second) + 16 * PAGE),
	    0);
	cr_assert(check_all());
	cr_assert_eq(pmaps[0].nr_reserved, 0);
	remove_now(0, BVA, BVA + LARGE);
	mmk_frame_unref(&phys, block);
	mmk_frame_unref(&phys, second);
	mmk_frame_unref(&phys, other);
}

/* ---- by page ------------------------------------------------------------- */

/* A leaf in one pmap, pages in another, at address 0 with its start cut off. */
TEST_LARGE(page_operations_reach_leaves_of_every_size)
{
	struct mmk_frame *block = new_frame(BLOCK_ORDER);
	mmk_pa pa = pa_of(block);

	activate(0, 0);
	activate(1, 1);
	enter_run(0, BVA, pa, NR, RWU);
	enter_run(1, 0, pa + 100 * PAGE, 20, RWU);
	enter_run(1, BVA, pa, NR, RWU);
	cr_assert_eq(block->mapped, 2 * NR + 20);
	cr_assert(mmk_rmap_check(&sys, block));
	cr_assert(!mmk_page_is_modified(&sys, block));
	cr_assert(store(1, 3 * PAGE, 1));
	cr_assert(mmk_page_clear_modified(&sys, block));
	cr_assert(!mmk_page_clear_modified(&sys, block));
	cr_assert(store(0, BVA + 103 * PAGE, 2));
	cr_assert(store(1, 3 * PAGE, 3));
	cr_assert(mmk_page_clear_modified(&sys, block));
	cr_assert(mmk_page_clear_referenced(&sys, block));
	cr_assert(!mmk_page_is_referenced(&sys, block));
	for (unsigned i = 0; i < 20; i++)
		cr_assert(store(1, i * PAGE, 3));
	mmk_page_write_protect(&sys, block);
	cr_assert(!store(0, BVA + 103 * PAGE, 4));
	for (unsigned i = 0; i < 20; i++)
		cr_assert(!store(1, i * PAGE, 4));
	cr_assert_eq(load(0, BVA + 103 * PAGE), 3);
	cr_assert_eq(level_at(0, BVA, pa), 1, "whole");
	mmk_page_remove_all(&sys, block);
	cr_assert_eq(load(0, BVA + 103 * PAGE), UINT64_MAX);
	cr_assert_eq(load(1, 3 * PAGE), UINT64_MAX);
	cr_assert_eq(pmaps[0].nr_pages + pmaps[1].nr_pages, 0);
	cr_assert_eq(used(MMK_USE_TABLE), NR_PMAPS);
	cr_assert(check_all());
	mmk_frame_unref(&phys, block);
}

/* Side by side they share one entry, wherever else the frame is translated. */
TEST_LARGE(pages_of_a_large_frame_share_an_entry)
{
	struct mmk_frame *block = new_frame(BLOCK_ORDER);
	mmk_pa pa = pa_of(block);

	for (unsigned i = 0; i < NR; i++)
		cr_assert_eq(mmk_pmap_enter(&pmaps[0], VA + i * PAGE,
		                 pa + i * PAGE, RWU),
		    MMK_OK);
	cr_assert_eq(mmk_pool_nr_used(&sys.rmap_pool), 1);
	enter_run(0, BVA + LARGE, pa, 3, RWU);
	cr_assert_eq(mmk_pool_nr_used(&sys.rmap_pool), 2);
	cr_assert_eq(block->mapped, NR + 3);
	cr_assert(mmk_rmap_check(&sys, block));
	for (unsigned i = NR; i-- > 0;)
		remove_now(0, VA + i * PAGE, VA + (i + 1) * PAGE);
	cr_assert_eq(mmk_pool_nr_used(&sys.rmap_pool), 1);
	cr_assert_eq(block->mapped, 3);
	remove_now(0, BVA + LARGE, BVA + LARGE + 3 * PAGE);
	cr_assert_eq(mmk_pool_nr_used(&sys.rmap_pool), 0);
	mmk_frame_unref(&phys, block);
}

/* ---- who pays ------------------------------------------------------------ */

static struct {
	uint64_t nr_charged, nr_allowed;
} purse;

static enum mmk_err
purse_charge(void *ctx, uint64_t nr_pages)
{
	(void)ctx;
	if (purse.nr_charged + nr_pages > purse.nr_allowed)
		return MMK_ERR_LIMIT;
	purse.nr_charged += nr_pages;
	return MMK_OK;
}

static void
purse_uncharge(void *ctx, uint64_t nr_pages)
{
	(void)ctx;
	cr_assert_geq(purse.nr_charged, nr_pages);
	purse.nr_charged -= nr_pages;
}

static const struct mmk_slab_payer payer = { purse_charge, purse_uncharge,
	NULL };

TEST_LARGE(tables_are_paid_for_and_no_money_is_no_memory)
{
	struct mmk_frame *block = new_frame(BLOCK_ORDER);
	struct mmk_pmap *pmap = &pmaps[0];
	uint64_t nr_done, nr_levels = sys.shape.nr_levels;

	purse.nr_charged = 0;
	purse.nr_allowed = 0;
	cr_assert_eq(mmk_pmap_set_payer(pmap, &payer), MMK_ERR_NOMEM);
	cr_assert_null(pmap->payer);
	for (purse.nr_allowed = 1; purse.nr_allowed < nr_levels;
	     purse.nr_allowed++) {
		if (pmap->payer == NULL)
			cr_assert_eq(mmk_pmap_set_payer(pmap, &payer), MMK_OK);
		cr_assert_eq(mmk_pmap_enter(pmap, VA, pa_of(block), RWU),
		    MMK_ERR_NOMEM);
		cr_assert_eq(purse.nr_charged, 1);
		cr_assert_eq(pmap->nr_tables, 1);
		cr_assert_eq(block->mapped, 0);
		cr_assert(check_all());
	}
	cr_assert_eq(mmk_pmap_enter(pmap, VA, pa_of(block), RWU), MMK_OK);
	cr_assert_eq(purse.nr_charged, nr_levels);
	remove_now(0, VA, VA + PAGE);
	cr_assert_eq(purse.nr_charged, 1);
	/* A leaf with its reserve takes as many as pages would. */
	enter_run(0, BVA, pa_of(block), NR, RWU);
	cr_assert_eq(level_at(0, BVA, pa_of(block)), 1);
	cr_assert_eq(purse.nr_charged, nr_levels);
	cr_assert_eq(mmk_pmap_enter_run(pmap, 0, pa_of(block), NR, RWU,
	                 &nr_done),
	    MMK_ERR_NOMEM);
	cr_assert_eq(nr_done, 0);
	mmk_page_remove_all(&sys, block);
	cr_assert_eq(purse.nr_charged, 1);
	enter_run(0, BVA, pa_of(block), NR, RWU);
	remove_now(0, BVA + PAGE, BVA + 2 * PAGE);
	cr_assert_eq(purse.nr_charged, nr_levels);
	remove_now(0, BVA, BVA + LARGE);
	cr_assert_eq(purse.nr_charged, 1);
	mmk_pmap_fini(pmap);
	cr_assert_eq(purse.nr_charged, 0);
	cr_assert_eq(mmk_pmap_init(pmap, &sys, NULL), MMK_OK);
	mmk_frame_unref(&phys, block);
}

/* ---- for the kernel, and forgetting -------------------------------------- */

TEST_LARGE(kernel_pages_are_entered_all_or_none)
{
	struct mmk_frame *block = new_frame(BLOCK_ORDER);
	mmk_va va = BVA - 3 * PAGE;
	unsigned flags = R | W | MMK_PMAP_WIRED | MMK_PMAP_UNTRACKED |
	    MMK_PMAP_ACCESSED | MMK_PMAP_MODIFIED;
	enum mmk_err err = MMK_ERR_NOMEM;

	for (unsigned k = 1; err != MMK_OK; k++) {
		mmk_phys_drain(&phys);
		sim_fail_at(k);
		err = mmk_pmap_kenter(&pmaps[0], va, pa_of(block) + PAGE, 7,
		    R | W);
		sim_fail_at(0);
		if (err == MMK_OK)
			break;
		cr_assert_eq(err, MMK_ERR_NOMEM);
		cr_assert_eq(pmaps[0].nr_pages, 0);
		cr_assert_eq(used(MMK_USE_TABLE), NR_PMAPS);
	}
	cr_assert_eq(flags_at(0, va), flags);
	cr_assert_eq(block->mapped, 0);
	cr_assert_eq(pmaps[0].nr_wired, 7);
	cr_assert_eq(mmk_pmap_kenter(&pmaps[0], 1, pa_of(block), 1, R),
	    MMK_ERR_INVAL);
	mmk_pmap_kremove(&pmaps[0], va, 7);
	cr_assert_eq(pmaps[0].nr_pages, 0);
	cr_assert_eq(used(MMK_USE_TABLE), NR_PMAPS);
	mmk_frame_unref(&phys, block);
}

TEST_LARGE(collect_forgets_what_may_be_forgotten)
{
	struct mmk_frame *block = new_frame(BLOCK_ORDER);
	mmk_pa pa = pa_of(block);
	struct mmk_pmap *pmap = &pmaps[0];

	activate(0, 0);
	enter_run(0, BVA, pa, NR, RWU);
	enter_run(0, BVA + LARGE, pa, 4, RWU);
	enter_run(0, BVA + LARGE, pa, 1, RWU | MMK_PMAP_WIRED);
	enter_run(0, BVA + LARGE + PAGE, pa + PAGE, 1, RWU | MMK_PMAP_SOFT);
	cr_assert(store(0, BVA, 1));
	mmk_pmap_collect(pmap, BVA + PAGE, BVA + LARGE, 0, &gather);
	mmk_gather_finish(&gather);
	cr_assert_eq(pmap->nr_pages, NR + 4, "only whole leaves");
	mmk_pmap_collect(pmap, 0, mmk_pt_va_limit(&sys.shape), MMK_PMAP_SOFT,
	    &gather);
	mmk_gather_finish(&gather);
	cr_assert_eq(pmap->nr_pages, 2);
	cr_assert_eq(pmap->nr_reserved, 0);
	cr_assert_eq(load(0, BVA), UINT64_MAX);
	cr_assert_eq(load(0, BVA + LARGE), 1);
	cr_assert(mmk_page_is_modified(&sys, block));
	mmk_pmap_collect(pmap, 0, mmk_pt_va_limit(&sys.shape), 0, &gather);
	mmk_gather_finish(&gather);
	cr_assert_eq(pmap->nr_pages, 1);
	cr_assert(check_all());
	remove_now(0, BVA + LARGE, BVA + LARGE + PAGE);
	mmk_frame_unref(&phys, block);
}

/* ---- at the same time ---------------------------------------------------- */

static struct {
	struct mmk_frame *block;
	bool stop; /* atomic */
	uint64_t nr_faults;
} race;

/* Reads and writes pages of a leaf that somebody splits and joins. */
static void *
use_for_ever(void *ctx)
{
	uint64_t word = 0;

	(void)ctx;
	sim_set_cpu(1);
	while (!__atomic_load_n(&race.stop, __ATOMIC_ACQUIRE)) {
		mmk_va va = BVA + (1 + ++word % (NR - 1)) * PAGE;

		race.nr_faults += !store(1, va, word);
		race.nr_faults += load(1, va) != word;
	}
	return NULL;
}

static void
with_a_user(void (*body)(void))
{
	unsigned nr_rounds = mmk_test_steps(150);
	pthread_t thread;

	race.block = new_frame(BLOCK_ORDER);
	race.stop = false;
	sim_forbid_stale_hits(false); /* until the flush they are no fault */
	race.nr_faults = 0;
	enter_run(0, BVA, pa_of(race.block), NR, RWU);
	activate(0, 0);
	activate(0, 1);
	cr_assert_eq(pthread_create(&thread, NULL, use_for_ever, NULL), 0);
	while (nr_rounds-- > 0)
		body();
	__atomic_store_n(&race.stop, true, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	cr_assert_eq(race.nr_faults, 0);
	cr_assert(check_all());
	remove_now(0, BVA, BVA + LARGE);
	mmk_frame_unref(&phys, race.block);
}

static void
split_and_join(void)
{
	protect_now(0, BVA, BVA + PAGE, R);
	cr_assert_eq(level_at(0, BVA, pa_of(race.block)), 0);
	enter_run(0, BVA, pa_of(race.block), 1, RWU);
	(void)mmk_pmap_promote(&pmaps[0], BVA);
	cr_assert_eq(level_at(0, BVA, pa_of(race.block)), 1);
}

/* The hole between a leaf and a table is nobody's fault. */
TEST_LARGE(nobody_misses_a_page_while_its_leaf_is_split_and_joined)
{
	with_a_user(split_and_join);
}

/* After each cleaning, what was written since is modified, whatever the leaf. */
static void
split_clean_and_join(void)
{
	const uint64_t *words =
	    (const uint64_t *)mmk_frame_ptr(&phys, race.block);
	uint64_t sum = 0, now = 0;

	(void)mmk_page_clear_modified(&sys, race.block);
	for (unsigned i = 1; i < NR; i++)
		sum += __atomic_load_n(&words[i * NR], __ATOMIC_ACQUIRE);
	split_and_join();
	for (unsigned i = 1; i < NR; i++)
		now += __atomic_load_n(&words[i * NR], __ATOMIC_ACQUIRE);
	if (now != sum)
		cr_assert(mmk_page_is_modified(&sys, race.block));
}

TEST_LARGE(no_write_is_lost_while_leaves_are_split_and_joined)
{
	with_a_user(split_clean_and_join);
}

/* The other CPU may take the leaf, or its bits, away as often as we fault. */
static void
store_at_last(unsigned cpu, mmk_va va, uint64_t word)
{
	uint64_t found;
	int result;

	do
		result = sim_store(cpu, va, &word, sizeof word);
	while (result == SIM_STUCK);
	cr_assert_eq(result, 0, "%d", result);
	do
		result = sim_load(cpu, va, &found, sizeof found);
	while (result == SIM_STUCK);
	cr_assert_eq(result, 0, "%d", result);
	cr_assert_eq(found, word);
}

/* Two threads, each with its own part of one leaf, and page operations. */
static void *
change_parts(void *ctx)
{
	unsigned cpu = (unsigned)(uintptr_t)ctx;
	mmk_va va = BVA + (cpu * 200 + 10) * PAGE;
	mmk_pa pa = pa_of(race.block) + (va - BVA);
	struct mmk_gather own;
	uint64_t nr_done;

	sim_set_cpu(cpu);
	mmk_gather_init(&own, &sys);
	for (unsigned i = mmk_test_steps(150); i-- > 0;) {
		mmk_pmap_remove(&pmaps[0], va, va + 3 * PAGE, &own);
		mmk_gather_finish(&own);
		cr_assert_eq(load(cpu, va + PAGE), UINT64_MAX);
		cr_assert_eq(mmk_pmap_enter_run(&pmaps[0], va, pa, 3, RWU,
		                 &nr_done),
		    MMK_OK);
		store_at_last(cpu, va + PAGE, i);
		(void)mmk_pmap_promote(&pmaps[0], va);
		(void)mmk_page_clear_modified(&sys, race.block);
		cr_assert(mmk_rmap_check(&sys, race.block));
	}
	return NULL;
}

TEST_LARGE(two_cpus_change_parts_of_one_leaf)
{
	pthread_t thread;

	race.block = new_frame(BLOCK_ORDER);
	sim_forbid_stale_hits(false);
	activate(0, 0);
	activate(0, 1);
	enter_run(0, BVA, pa_of(race.block), NR, RWU);
	cr_assert_eq(pthread_create(&thread, NULL, change_parts,
	                 (void *)(uintptr_t)1),
	    0);
	(void)change_parts(NULL);
	pthread_join(thread, NULL);
	sim_set_cpu(0);
	cr_assert_eq(pmaps[0].nr_pages, NR);
	cr_assert_eq(race.block->mapped, NR);
	cr_assert(check_all());
	mmk_page_remove_all(&sys, race.block);
	cr_assert_eq(used(MMK_USE_TABLE), NR_PMAPS);
	mmk_frame_unref(&phys, race.block);
}

/* ---- others who come between --------------------------------------------- */

/* The same index in every table but the top one. */
#define TWIN(top) ((top) * table_bytes(3) + \
    5 * (table_bytes(2) + table_bytes(1) + PAGE))

static struct {
	pthread_t thread;
	bool is_started;
} other_cpu;

static void *
remove_all_on_cpu_1(void *ctx)
{
	(void)ctx;
	sim_set_cpu(1);
	cr_assert(mmk_page_is_modified(&sys, race.block));
	mmk_page_remove_all(&sys, race.block);
	return NULL;
}

/* The leaf is neither there nor is it gone: another CPU wants it now. */
static void
start_when_changing(void *ctx)
{
	const struct timespec moment = { 0, 3000000 };

	(void)ctx;
	if (MMKIT_ATOMIC_LOAD(&pmaps[0].is_changing) == 0 ||
	    __atomic_exchange_n(&other_cpu.is_started, true, __ATOMIC_ACQ_REL))
		return;
	cr_assert_eq(pthread_create(&other_cpu.thread, NULL,
	                 remove_all_on_cpu_1, NULL),
	    0);
	nanosleep(&moment, NULL);
	cr_assert_eq(race.block->mapped, NR, "it waits");
}

TEST_LARGE(page_operations_wait_for_a_leaf_that_is_changing)
{
	race.block = new_frame(BLOCK_ORDER);
	activate(0, 0);
	enter_run(0, BVA, pa_of(race.block), NR, RWU);
	cr_assert(store(0, BVA + PAGE, 1));
	other_cpu.is_started = false;
	sim_on_yield(start_when_changing, NULL);
	protect_now(0, BVA, BVA + PAGE, R);
	cr_assert(__atomic_load_n(&other_cpu.is_started, __ATOMIC_ACQUIRE));
	pthread_join(other_cpu.thread, NULL);
	sim_on_yield(NULL, NULL);
	cr_assert_eq(race.block->mapped, 0);
	cr_assert_eq(pmaps[0].nr_pages, 0);
	cr_assert_eq(load(0, BVA + PAGE), UINT64_MAX);
	cr_assert(check_all());
	mmk_frame_unref(&phys, race.block);
}

static struct {
	unsigned countdown; /* moments without a lock */
	struct mmk_frame *frame;
} twin;

/* Another CPU removes the page, and a twin of it gets its tables. */
static void
replace_by_twin(void *ctx)
{
	struct mmk_gather own;

	(void)ctx;
	if (MMKIT_LOCK_HELD(&pmaps[0].lock) || twin.countdown == 0 ||
	    --twin.countdown > 0)
		return;
	for (unsigned i = 0; i < MMK_RMAP_BUCKETS; i++)
		if (MMKIT_LOCK_HELD(&sys.rmap_locks[i]))
			return;
	mmk_gather_init(&own, &sys);
	mmk_pmap_remove(&pmaps[0], TWIN(1), TWIN(1) + PAGE, &own);
	mmk_gather_finish(&own);
	enter(0, TWIN(0), twin.frame, RWU);
}

TEST_LARGE(a_path_is_not_followed_when_its_tables_have_gone)
{
	twin.frame = new_frame(1);
	for (unsigned k = 1; k < 12; k++) {
		cr_assert_eq(mmk_pmap_enter(&pmaps[0], TWIN(1),
		                 pa_of(twin.frame) + PAGE, RWU),
		    MMK_OK);
		twin.countdown = k;
		sim_on_yield(replace_by_twin, NULL);
		remove_now(0, TWIN(1), TWIN(1) + PAGE);
		sim_on_yield(NULL, NULL);
		cr_assert_eq(flags_at(0, TWIN(1)), 0);
		cr_assert(check_all());
		cr_assert(mmk_rmap_check(&sys, twin.frame));
		cr_assert_eq(pmaps[0].nr_pages, twin.frame->mapped);
		remove_now(0, TWIN(0), TWIN(0) + PAGE);
	}
	mmk_frame_unref(&phys, twin.frame);
}

/* ---- check finds damage -------------------------------------------------- */

TEST_LARGE(check_notices_a_wrong_reserve)
{
	struct mmk_frame *block = new_frame(BLOCK_ORDER);
	uint32_t chain;

	enter_run(0, BVA, pa_of(block), NR, RWU);
	chain = pmaps[0].reserve;
	pmaps[0].reserve = 0;
	cr_assert(!mmk_pmap_check(&pmaps[0]));
	pmaps[0].nr_reserved--;
	cr_assert(!mmk_pmap_check(&pmaps[0]));
	pmaps[0].nr_reserved++;
	pmaps[0].reserve = chain;
	block->mapped--;
	cr_assert(!mmk_rmap_check(&sys, block));
	block->mapped++;
	cr_assert(mmk_rmap_check(&sys, block));
	cr_assert(check_all());
	remove_now(0, BVA, BVA + LARGE);
	mmk_frame_unref(&phys, block);
}
