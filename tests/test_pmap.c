/* SPDX-License-Identifier: MIT
 *
 * tests/test_pmap.c: translations, on both formats of page tables, seen
 * through the TLBs of the simulated machine
 */
#include <criterion/criterion.h>

#include <pthread.h>
#include <signal.h>

#include "pmap_fixture.h"

/* ---- one address space ------------------------------------------------- */

TEST_FORMATS(an_entered_page_can_be_loaded_and_queried)
{
	struct mmk_frame *frame = new_frame_with(77);
	struct mmk_translation found;

	activate(0, 0);
	cr_assert_eq(load(0, VA), UINT64_MAX);
	enter(0, VA, frame, RWU | MMK_PMAP_SOFT);
	cr_assert_eq(load(0, VA), 77);
	cr_assert(mmk_pmap_query(&pmaps[0], VA + 123, &found));
	cr_assert_eq(found.va, VA);
	cr_assert_eq(found.pa, pa_of(frame));
	cr_assert_eq(found.flags & ~MMK_PMAP_ACCESSED, RWU | MMK_PMAP_SOFT);
	cr_assert_eq(frame->mapped, 1);
	cr_assert_eq(pmaps[0].nr_pages, 1);
	cr_assert_eq(pmaps[0].nr_tracked, 1);
	cr_assert_eq(pmaps[0].nr_tables, sys.shape.nr_levels);
	cr_assert(check_all());
	remove_now(0, VA, VA + PAGE);
	cr_assert_eq(frame->mapped, 0);
	cr_assert_eq(pmaps[0].nr_tables, 1);
	cr_assert_eq(used(MMK_USE_TABLE), NR_PMAPS);
	mmk_frame_unref(&phys, frame);
}

TEST_FORMATS(bad_arguments_are_refused_and_change_nothing)
{
	mmk_pa pa = pa_of(pmaps[1].root);
	mmk_va limit = mmk_pt_va_limit(&sys.shape);
	mmk_pa pa_limit = UINT64_C(1) << sys.shape.pa_bits;
	struct mmk_pmap *pmap = &pmaps[0];

	cr_assert_eq(mmk_pmap_enter(pmap, VA + 1, pa, R), MMK_ERR_INVAL);
	cr_assert_eq(mmk_pmap_enter(pmap, VA, pa + 8, R), MMK_ERR_INVAL);
	cr_assert_eq(mmk_pmap_enter(pmap, limit, pa, R), MMK_ERR_INVAL);
	cr_assert_eq(mmk_pmap_enter(pmap, (mmk_va)0 - PAGE, pa, R),
	    MMK_ERR_INVAL);
	cr_assert_eq(mmk_pmap_enter(pmap, VA, pa_limit, R), MMK_ERR_INVAL);
	cr_assert_eq(mmk_pmap_enter(pmap, VA, pa, R | 0x800), MMK_ERR_INVAL);
	cr_assert_eq(mmk_pmap_enter(pmap, VA, pa, 0), MMK_ERR_INVAL);
	cr_assert_eq(mmk_pmap_enter(pmap, VA, pa, U), MMK_ERR_INVAL);
	cr_assert_eq(pmap->nr_pages, 0);
	cr_assert_eq(pmap->nr_tables, 1);
	cr_assert(check_all());
	cr_assert_eq(mmk_pmap_enter(pmap, limit - PAGE, pa_limit - PAGE, R),
	    MMK_OK);
	cr_assert_eq(pmap->nr_tracked, 0);
}

TEST_FORMATS(shapes_that_make_no_table_are_refused)
{
	struct mmk_pmap_sys other;
	struct mmk_pt_shape good = sys.shape, shape = good;

	shape.page_shift ^= 4;
	cr_assert_eq(mmk_pmap_sys_init(&other, &phys, &shape), MMK_ERR_INVAL);
	shape = good;
	shape.nr_levels = 6;
	cr_assert_eq(mmk_pmap_sys_init(&other, &phys, &shape), MMK_ERR_INVAL);
	shape.nr_levels = 1;
	cr_assert_eq(mmk_pmap_sys_init(&other, &phys, &shape), MMK_ERR_INVAL);
	shape = good;
	shape.va_bits = 63;
	cr_assert_eq(mmk_pmap_sys_init(&other, &phys, &shape), MMK_ERR_INVAL);
	shape = good;
	shape.pa_bits = 53;
	cr_assert_eq(mmk_pmap_sys_init(&other, &phys, &shape), MMK_ERR_INVAL);
}

/* x86_64's indices are all as wide, and a leaf in its upper tables is a fault. */
TEST_FORMATS(shapes_that_x86_64_would_walk_another_way_are_refused)
{
	struct mmk_pmap_sys other;
	struct mmk_pt_shape good = sys.shape, shape = good;

	if (is_arm())
		return;
	shape.leaf_level_max = 3;
	cr_assert_eq(mmk_pmap_sys_init(&other, &phys, &shape), MMK_ERR_INVAL);
	shape = good;
	shape.va_bits--;
	cr_assert_eq(mmk_pmap_sys_init(&other, &phys, &shape), MMK_ERR_INVAL);
	shape = good;
	shape.nr_levels = 5; /* the top table would have no upper half */
	shape.va_bits = 48;
	cr_assert_eq(mmk_pmap_sys_init(&other, &phys, &shape), MMK_ERR_INVAL);
	shape.nr_levels = 3;
	shape.va_bits = 39;
	cr_assert_eq(mmk_pmap_sys_init(&other, &phys, &shape), MMK_ERR_INVAL);
}

/* Arm's hardware counts the levels itself, and takes 52 bits at most. */
TEST_FORMATS(shapes_that_arm_would_walk_another_way_are_refused)
{
	struct mmk_pmap_sys other;
	struct mmk_pt_shape good = sys.shape, shape = good;

	if (!is_arm())
		return;
	shape.leaf_level_max = 4;
	cr_assert_eq(mmk_pmap_sys_init(&other, &phys, &shape), MMK_ERR_INVAL);
	shape = good;
	shape.va_bits = (uint8_t)(good.va_bits - (MMK_PAGE_SHIFT - 3));
	cr_assert_eq(mmk_pmap_sys_init(&other, &phys, &shape), MMK_ERR_INVAL);
	shape.nr_levels--;
	cr_assert_eq(mmk_pmap_sys_init(&other, &phys, &shape), MMK_OK);
	mmk_pmap_sys_fini(&other);
	shape = good;
	shape.va_bits = 53;
	cr_assert_eq(mmk_pmap_sys_init(&other, &phys, &shape), MMK_ERR_INVAL);
	shape.nr_levels++;
	cr_assert_eq(mmk_pmap_sys_init(&other, &phys, &shape), MMK_ERR_INVAL);
}

TEST_FORMATS(write_or_execute_grants_what_the_hardware_cannot_withhold)
{
	struct mmk_frame *frame = new_frame(0);

	enter(0, VA, frame, W | U);
	cr_assert_eq(flags_at(0, VA), RWU);
	enter(0, VA + PAGE, frame, X | U);
	cr_assert_eq(flags_at(0, VA + PAGE), is_arm() ? X | U : R | X | U);
	enter(0, VA + 2 * PAGE, frame, X);
	cr_assert_eq(flags_at(0, VA + 2 * PAGE), R | X);
	remove_now(0, VA, VA + 3 * PAGE);
	mmk_frame_unref(&phys, frame);
}

/* For every k: the k-th allocation of an enter fails, and nothing is left. */
TEST_FORMATS(an_enter_that_runs_out_of_memory_changes_nothing)
{
	struct mmk_frame *frame = new_frame(0);
	struct mmk_frame *other = new_frame(0);
	unsigned nr_failed = 0;

	enter(0, 0, other, RWU);
	for (unsigned k = 1;; k++) {
		uint64_t nr_tables = used(MMK_USE_TABLE);
		enum mmk_err err;

		mmk_pool_drain(&sys.rmap_pool);
		sim_fail_at(k);
		err = mmk_pmap_enter(&pmaps[0], VA, pa_of(frame), RWU);
		sim_fail_at(0);
		cr_assert(check_all());
		if (err == MMK_OK)
			break;
		nr_failed++;
		cr_assert_eq(err, MMK_ERR_NOMEM);
		cr_assert_eq(flags_at(0, VA), 0);
		cr_assert_eq(frame->mapped, 0);
		cr_assert_eq(frame->translations, NULL);
		cr_assert_eq(used(MMK_USE_TABLE), nr_tables);
		cr_assert_eq(mmk_pool_nr_used(&sys.rmap_pool), 1);
	}
	cr_assert_geq(nr_failed, 3, "tables and an entry: %u", nr_failed);
	for (unsigned k = 1;; k++) { /* replacing: the old stays */
		enum mmk_err err;

		sim_fail_at(k);
		err = mmk_pmap_enter(&pmaps[0], VA, pa_of(other), R | U);
		sim_fail_at(0);
		if (err == MMK_OK)
			break;
		cr_assert_eq(err, MMK_ERR_NOMEM);
		cr_assert_eq(flags_at(0, VA), RWU);
		cr_assert_eq(frame->mapped, 1);
		cr_assert(check_all());
	}
	cr_assert_eq(frame->mapped, 0);
	cr_assert_eq(other->mapped, 2);
	remove_now(0, 0, VA + PAGE);
	mmk_frame_unref(&phys, frame);
	mmk_frame_unref(&phys, other);
}

TEST_FORMATS(a_pmap_without_memory_for_its_root_is_not_made)
{
	struct mmk_pmap pmap;

	sim_fail_at(1);
	cr_assert_eq(mmk_pmap_init(&pmap, &sys, NULL), MMK_ERR_NOMEM);
	sim_fail_at(0);
	cr_assert_eq(used(MMK_USE_TABLE), NR_PMAPS);
}

/* Break before make: the machine would report an entry changed while cached. */
TEST_FORMATS(another_page_at_the_same_address_is_seen_at_once_by_every_cpu)
{
	struct mmk_frame *frame = new_frame_with(1);
	struct mmk_frame *other = new_frame_with(2);

	activate(0, 0);
	activate(0, 1);
	enter(0, VA, frame, RWU | MMK_PMAP_WIRED);
	cr_assert(store(0, VA, 3));
	cr_assert_eq(load(1, VA), 3);
	enter(0, VA, other, R | U);
	cr_assert_eq(load(0, VA), 2);
	cr_assert_eq(load(1, VA), 2);
	cr_assert_eq(frame->mapped, 0);
	cr_assert((frame->flags & MMK_FRAME_MODIFIED) != 0);
	cr_assert_eq(other->mapped, 1);
	cr_assert_eq(pmaps[0].nr_wired, 0);
	cr_assert_eq(pmaps[0].nr_tables, sys.shape.nr_levels);
	cr_assert_eq(sys.nr_shootdowns, !mmk_pt_is_broadcast(&sys.shape));
	cr_assert(check_all());
	remove_now(0, VA, VA + PAGE);
	mmk_frame_unref(&phys, frame);
	mmk_frame_unref(&phys, other);
}

TEST_FORMATS(raising_rights_needs_no_flush_and_lowering_gets_one)
{
	struct mmk_frame *frame = new_frame(0);
	uint64_t nr_flushes;

	activate(0, 0);
	enter(0, VA, frame, R | U | MMK_PMAP_ACCESSED);
	cr_assert_eq(load(0, VA), 0);
	cr_assert(!store(0, VA, 1));
	nr_flushes = sys.nr_flushes;
	enter(0, VA, frame, RWU | MMK_PMAP_MODIFIED);
	cr_assert_eq(sys.nr_flushes, nr_flushes);
	cr_assert(store(0, VA, 1));
	cr_assert_eq(sys.nr_flushes, nr_flushes);
	enter(0, VA, frame, R | U);
	cr_assert_eq(sys.nr_flushes, nr_flushes + 1);
	cr_assert(!store(0, VA, 2));
	cr_assert_eq(flags_at(0, VA),
	    R | U | MMK_PMAP_ACCESSED | MMK_PMAP_MODIFIED);
	cr_assert_eq(frame->mapped, 1);
	remove_now(0, VA, VA + PAGE);
	mmk_frame_unref(&phys, frame);
}

TEST_FORMATS(the_kind_of_memory_changes_only_through_nothing)
{
	struct mmk_frame *frame = new_frame(0);

	activate(0, 0);
	enter(0, VA, frame, RWU);
	cr_assert(store(0, VA, 1));
	enter(0, VA, frame, RWU | MMK_PMAP_DEVICE);
	cr_assert_eq(load(0, VA), 1); /* no violation on aarch64 */
	cr_assert((flags_at(0, VA) & MMK_PMAP_DEVICE) != 0);
	enter(0, VA, frame, RWU | MMK_PMAP_UNTRACKED);
	cr_assert_eq(frame->mapped, 0);
	cr_assert_eq(pmaps[0].nr_tracked, 0);
	cr_assert(check_all());
	enter(0, VA, frame, RWU);
	cr_assert_eq(frame->mapped, 1);
	cr_assert(check_all());
	remove_now(0, VA, VA + PAGE);
	mmk_frame_unref(&phys, frame);
}

TEST_FORMATS(foreign_and_untracked_pages_are_not_in_the_reverse_map)
{
	struct mmk_frame *frame = new_frame(0);
	struct mmk_pmap *pmap;
	mmk_va va;

	cr_assert_eq(mmk_pmap_enter(&pmaps[0], VA, FOREIGN,
	                 RWU | MMK_PMAP_DEVICE),
	    MMK_OK);
	enter(0, VA + PAGE, frame, RWU | MMK_PMAP_UNTRACKED);
	cr_assert_eq(flags_at(0, VA),
	    RWU | MMK_PMAP_DEVICE | MMK_PMAP_UNTRACKED);
	cr_assert_eq(frame->mapped, 0);
	cr_assert(!mmk_page_translation(&sys, frame, 0, &pmap, &va));
	cr_assert_eq(pmaps[0].nr_pages, 2);
	cr_assert_eq(pmaps[0].nr_tracked, 0);
	mmk_page_remove_all(&sys, frame);
	cr_assert_eq(pmaps[0].nr_pages, 2);
	cr_assert(check_all());
	remove_now(0, VA, VA + 2 * PAGE);
	mmk_frame_unref(&phys, frame);
}

TEST_FORMATS(the_pages_of_a_large_frame_are_tracked_at_its_head)
{
	struct mmk_frame *head = new_frame(2);
	struct mmk_pmap *pmap = NULL;
	uint64_t nr_done = 0;
	mmk_va va = 0;

	cr_assert_eq(mmk_pmap_enter_run(&pmaps[0], VA, pa_of(head), 4, RWU,
	                 &nr_done),
	    MMK_OK);
	cr_assert_eq(nr_done, 4);
	cr_assert_eq(head->mapped, 4);
	cr_assert(mmk_page_translation(&sys, head, 3, &pmap, &va));
	cr_assert_eq(pmap, &pmaps[0]);
	cr_assert_eq(va, VA + 3 * PAGE);
	cr_assert(!mmk_page_translation(&sys, head, 4, &pmap, &va));
	cr_assert(mmk_rmap_check(&sys, head));
	mmk_page_remove_all(&sys, head);
	cr_assert_eq(pmaps[0].nr_pages, 0);
	mmk_frame_unref(&phys, head);
}

TEST_FORMATS(a_run_stops_at_the_first_failure_and_says_where)
{
	mmk_va near_end = mmk_pt_va_limit(&sys.shape) - 2 * PAGE;
	uint64_t nr_done = 99;

	cr_assert_eq(mmk_pmap_enter_run(&pmaps[0], near_end, FOREIGN, 3, RWU,
	                 &nr_done),
	    MMK_ERR_INVAL);
	cr_assert_eq(nr_done, 2);
	cr_assert_eq(pmaps[0].nr_pages, 2);
}

/* 2^31 are too many to make: the frame says that they are there. */
TEST_FORMATS(a_frame_with_2_31_translations_gets_no_more)
{
	struct mmk_frame *frame = new_frame(0);
	uint64_t nr_done = 99;

	frame->mapped = 1u << 31;
	cr_assert_eq(mmk_pmap_enter(&pmaps[0], VA, pa_of(frame), RWU),
	    MMK_ERR_LIMIT);
	cr_assert_eq(mmk_pmap_enter_run(&pmaps[0], VA, pa_of(frame), 1, RWU,
	                 &nr_done),
	    MMK_ERR_LIMIT);
	cr_assert_eq(nr_done, 0);
	frame->mapped = 0;
	cr_assert_eq(pmaps[0].nr_tables, 1);
	cr_assert_eq(pmaps[0].nr_pages, 0);
	cr_assert(check_all());
	enter(0, VA, frame, RWU);
	mmk_page_remove_all(&sys, frame);
	mmk_frame_unref(&phys, frame);
}

TEST_FORMATS(next_finds_every_translation_in_order)
{
	const mmk_va vas[] = { 0, PAGE, table_bytes(1) - PAGE, table_bytes(1),
		8 * table_bytes(2) - PAGE,
		mmk_pt_va_limit(&sys.shape) - PAGE };
	struct mmk_translation found;
	mmk_va va = 0;

	for (unsigned i = 0; i < 6; i++)
		cr_assert_eq(mmk_pmap_enter(&pmaps[0], vas[i], FOREIGN, R),
		    MMK_OK);
	for (unsigned i = 0; i < 6; i++) {
		cr_assert(mmk_pmap_next(&pmaps[0], va, UINT64_MAX, &found));
		cr_assert_eq(found.va, vas[i]);
		va = found.va + PAGE;
	}
	cr_assert(!mmk_pmap_next(&pmaps[0], va, UINT64_MAX, &found));
	cr_assert(!mmk_pmap_next(&pmaps[0], 2 * PAGE, vas[2], &found));
	cr_assert(!mmk_pmap_query(&pmaps[0], UINT64_MAX, &found));
}

TEST_FORMATS(protect_lowers_and_never_raises)
{
	struct mmk_frame *frame = new_frame(0);

	activate(0, 0);
	enter(0, VA, frame, RWU);
	enter(0, VA + PAGE, frame, R | U);
	enter(0, VA + 2 * PAGE, frame, RWU);
	cr_assert(store(0, VA, 1));
	mmk_pmap_protect(&pmaps[0], VA, VA + 2 * PAGE, R | X, &gather);
	mmk_gather_finish(&gather);
	cr_assert(!store(0, VA, 2));
	cr_assert_eq(load(0, VA), 1);
	cr_assert_eq(flags_at(0, VA) & MMK_PROT_ALL, R);
	cr_assert((flags_at(0, VA) & MMK_PMAP_MODIFIED) != 0);
	mmk_pmap_protect(&pmaps[0], VA, VA + 2 * PAGE, R | W, &gather);
	mmk_gather_finish(&gather);
	cr_assert(!store(0, VA, 2));
	cr_assert(store(0, VA + 2 * PAGE, 3));
	mmk_pmap_protect(&pmaps[0], VA, VA + PAGE, MMK_PROT_NONE, &gather);
	mmk_gather_finish(&gather);
	cr_assert_eq(load(0, VA), UINT64_MAX);
	cr_assert_eq(pmaps[0].nr_pages, 2);
	cr_assert(check_all());
	remove_now(0, VA, VA + 3 * PAGE);
	mmk_frame_unref(&phys, frame);
}

TEST_FORMATS(protect_to_rights_that_leave_nothing_removes)
{
	struct mmk_frame *frame = new_frame(0);

	enter(0, VA, frame, R | U);
	enter(0, VA + PAGE, frame, R | X | U);
	mmk_pmap_protect(&pmaps[0], VA, VA + 2 * PAGE, X, &gather);
	mmk_gather_finish(&gather);
	cr_assert_eq(flags_at(0, VA), is_arm() ? 0 : R | U);
	cr_assert_eq(flags_at(0, VA + PAGE), is_arm() ? X | U : R | X | U);
	cr_assert(check_all());
	remove_now(0, VA, VA + 2 * PAGE);
	cr_assert_eq(frame->mapped, 0);
	mmk_frame_unref(&phys, frame);
}

TEST_FORMATS(wired_pages_are_counted_until_unwired_or_removed)
{
	struct mmk_frame *frame = new_frame(0);

	enter(0, VA, frame, RWU | MMK_PMAP_WIRED);
	enter(0, VA + PAGE, frame, RWU | MMK_PMAP_WIRED);
	cr_assert_eq(pmaps[0].nr_wired, 2);
	mmk_pmap_unwire(&pmaps[0], VA);
	mmk_pmap_unwire(&pmaps[0], VA);
	mmk_pmap_unwire(&pmaps[0], VA + 5 * PAGE);
	cr_assert_eq(pmaps[0].nr_wired, 1);
	cr_assert_eq(flags_at(0, VA), RWU);
	enter(0, VA, frame, RWU | MMK_PMAP_WIRED);
	cr_assert_eq(pmaps[0].nr_wired, 2);
	cr_assert(check_all());
	remove_now(0, VA, VA + 2 * PAGE);
	cr_assert_eq(pmaps[0].nr_wired, 0);
	mmk_frame_unref(&phys, frame);
}

TEST_FORMATS(emulate_mends_only_what_the_translation_grants)
{
	struct mmk_frame *frame = new_frame(0);

	cr_assert(!mmk_pmap_emulate(&pmaps[0], VA, R));
	enter(0, VA, frame, R | U);
	cr_assert(mmk_pmap_emulate(&pmaps[0], VA + 8, R | U));
	cr_assert((flags_at(0, VA) & MMK_PMAP_ACCESSED) != 0);
	cr_assert(!mmk_pmap_emulate(&pmaps[0], VA, W));
	cr_assert((flags_at(0, VA) & MMK_PMAP_MODIFIED) == 0);
	enter(0, VA, frame, R | W);
	cr_assert(!mmk_pmap_emulate(&pmaps[0], VA, R | U));
	cr_assert(mmk_pmap_emulate(&pmaps[0], VA, W));
	cr_assert((flags_at(0, VA) & MMK_PMAP_MODIFIED) != 0);
	cr_assert(!mmk_pmap_emulate(&pmaps[0], UINT64_MAX, R));
	remove_now(0, VA, VA + PAGE);
	mmk_frame_unref(&phys, frame);
}

/* ---- the gather -------------------------------------------------------- */

/* A missing flush is a stale read here: before the finish there is one. */
TEST_FORMATS(what_a_gather_holds_is_reachable_until_finished_and_not_after)
{
	struct mmk_frame *frame = new_frame_with(5);

	activate(0, 0);
	activate(0, 1);
	enter(0, VA, frame, RWU);
	cr_assert_eq(load(0, VA), 5);
	cr_assert_eq(load(1, VA), 5);
	mmk_pmap_remove(&pmaps[0], VA, VA + PAGE, &gather);
	cr_assert_eq(load(1, VA), 5, "a TLB that never forgets forgot");
	cr_assert_eq(used(MMK_USE_TABLE),
	    NR_PMAPS + sys.shape.nr_levels - 1u);
	mmk_gather_finish(&gather);
	mmk_frame_unref(&phys, frame);
	cr_assert_eq(load(0, VA), UINT64_MAX);
	cr_assert_eq(load(1, VA), UINT64_MAX);
	cr_assert_eq(used(MMK_USE_TABLE), NR_PMAPS);
}

TEST_FORMATS(a_gather_goes_from_one_pmap_to_the_next_and_back)
{
	struct mmk_frame *frames[80];
	uint64_t nr_used = used(MMK_USE_KERNEL);

	for (unsigned space = 0; space < 2; space++) {
		activate(space, space);
		for (unsigned i = 0; i < 40; i++) {
			struct mmk_frame *frame = new_frame_with(i);

			enter(space, VA + i * PAGE, frame, RWU);
			cr_assert_eq(load(space, VA + i * PAGE), i);
		}
	}
	for (unsigned i = 0; i < 80; i++) {
		mmk_va va = VA + i / 2 * PAGE;
		struct mmk_translation found;

		cr_assert(mmk_pmap_query(&pmaps[i % 2], va, &found));
		mmk_pmap_remove(&pmaps[i % 2], va, va + PAGE, &gather);
		frames[i] = mmk_frame_of_pa(&phys, found.pa);
	}
	mmk_gather_finish(&gather);
	for (unsigned i = 0; i < 80; i++)
		mmk_frame_unref(&phys, frames[i]);
	cr_assert_eq(used(MMK_USE_KERNEL), nr_used);
	cr_assert_eq(load(0, VA), UINT64_MAX);
	cr_assert_eq(load(1, VA + 39 * PAGE), UINT64_MAX);
	cr_assert_eq(pmaps[0].nr_tables, 1);
}

TEST_FORMATS(a_pmap_no_cpu_has_used_is_never_flushed)
{
	struct mmk_frame *frame = new_frame(0);
	uint64_t nr_flushes = sys.nr_flushes;

	enter(0, VA, frame, RWU);
	enter(0, VA, frame, R | U);
	mmk_page_remove_all(&sys, frame);
	cr_assert_eq(sys.nr_flushes, nr_flushes);
	cr_assert_eq(sys.nr_shootdowns, 0);
	mmk_frame_unref(&phys, frame);
}

TEST_FORMATS(only_cpus_that_may_hold_translations_are_asked)
{
	bool is_broadcast = mmk_pt_is_broadcast(&sys.shape);
	struct mmk_frame *frame;
	uint64_t nr_flushes;

	if (has_tags())
		return; /* test_tag.c */
	frame = new_frame(0);
	activate(0, 1);
	enter(0, VA, frame, RWU);
	cr_assert_eq(load(1, VA), 0);
	nr_flushes = sys.nr_flushes;
	enter(0, VA, frame, R | U);
	cr_assert_eq(sys.nr_flushes, nr_flushes + is_broadcast,
	    "CPU 0 never had it");
	cr_assert_eq(sys.nr_shootdowns, !is_broadcast);
	cr_assert(!store(1, VA, 1));
	sim_set_cpu(1);
	mmk_pmap_deactivate(&pmaps[0], 1);
	sim_set_cpu(0);
	cr_assert_eq(sim_tlb_count(1), 0);
	nr_flushes = sys.nr_flushes;
	remove_now(0, VA, VA + PAGE);
	cr_assert_eq(sys.nr_flushes, nr_flushes, "nobody has it");
	cr_assert_eq(sys.nr_shootdowns, !is_broadcast);
	mmk_frame_unref(&phys, frame);
}

/* ---- by page ----------------------------------------------------------- */

static void
every_translation_of_a_page_is_findable(void)
{
	struct mmk_frame *frame = new_frame(0);
	unsigned seen = 0;

	for (unsigned i = 0; i < NR_PMAPS; i++)
		enter(i, VA + i * PAGE, frame, R | U);
	for (unsigned nth = 0; nth < NR_PMAPS; nth++) {
		struct mmk_pmap *pmap = NULL;
		mmk_va va = 0;

		cr_assert(mmk_page_translation(&sys, frame, nth, &pmap, &va));
		cr_assert_eq(va, VA + (mmk_va)(pmap - pmaps) * PAGE);
		seen |= 1u << (pmap - pmaps);
	}
	cr_assert_eq(seen, (1u << NR_PMAPS) - 1);
	cr_assert(mmk_rmap_check(&sys, frame));
	mmk_page_remove_all(&sys, frame);
	cr_assert_eq(frame->mapped, 0);
	mmk_frame_unref(&phys, frame);
}

Test(pmap, S2_8_every_translation_of_a_page_is_findable)
{
	on_every_format(every_translation_of_a_page_is_findable);
}

/* One page in five maps at different addresses, twice in one of them. */
static void
one_call_removes_a_page_from_all_maps(void)
{
	struct mmk_frame *frame = new_frame_with(8);
	struct mmk_frame *other = new_frame_with(9);
	struct mmk_frame *unmapped = new_frame(0);
	struct mmk_pmap fifth;
	mmk_va far = UINT64_C(0x400000000000);

	cr_assert_eq(mmk_pmap_init(&fifth, &sys, NULL), MMK_OK);
	activate(0, 0);
	activate(3, 1);
	for (unsigned i = 0; i < NR_PMAPS; i++) {
		enter(i, VA + i * PAGE, frame, RWU);
		enter(i, VA + 100 * PAGE, other, RWU);
	}
	enter(3, far, frame, R | U);
	cr_assert_eq(mmk_pmap_enter(&fifth, VA, pa_of(frame), RWU), MMK_OK);
	cr_assert_eq(frame->mapped, 6);
	cr_assert(store(0, VA, 8));
	cr_assert_eq(load(1, VA + 3 * PAGE), 8);
	cr_assert_eq(load(1, far), 8);
	mmk_page_remove_all(&sys, unmapped);
	cr_assert_eq(frame->mapped, 6);
	mmk_page_remove_all(&sys, frame);
	cr_assert_eq(frame->mapped, 0);
	cr_assert_eq(load(0, VA), UINT64_MAX);
	cr_assert_eq(load(1, VA + 3 * PAGE), UINT64_MAX);
	cr_assert_eq(load(1, far), UINT64_MAX);
	for (unsigned i = 0; i < NR_PMAPS; i++) {
		cr_assert_eq(flags_at(i, VA + i * PAGE), 0);
		cr_assert_eq(flags_at(i, VA + 100 * PAGE) & RWU, RWU);
	}
	cr_assert_eq(load(0, VA + 100 * PAGE), 9);
	cr_assert(mmk_page_is_modified(&sys, frame));
	cr_assert_eq(fifth.nr_pages, 0);
	cr_assert_eq(fifth.nr_tables, 1);
	cr_assert(check_all());
	mmk_pmap_fini(&fifth);
	mmk_page_remove_all(&sys, other);
	mmk_frame_unref(&phys, frame);
	mmk_frame_unref(&phys, other);
	mmk_frame_unref(&phys, unmapped);
}

Test(pmap, S2_19_one_call_removes_a_page_from_all_maps)
{
	on_every_format(one_call_removes_a_page_from_all_maps);
}

static void
equal_addresses_in_two_pmaps_are_independent(void)
{
	struct mmk_frame *frame = new_frame_with(1);
	struct mmk_frame *other = new_frame_with(2);

	activate(0, 0);
	activate(1, 1);
	enter(0, VA, frame, RWU);
	enter(1, VA, other, R | U);
	cr_assert_eq(load(0, VA), 1);
	cr_assert_eq(load(1, VA), 2);
	cr_assert(!store(1, VA, 3));
	cr_assert(store(0, VA, 4));
	cr_assert_eq(load(1, VA), 2);
	remove_now(0, VA, VA + PAGE);
	cr_assert_eq(load(0, VA), UINT64_MAX);
	cr_assert_eq(load(1, VA), 2);
	remove_now(1, VA, VA + PAGE);
	mmk_frame_unref(&phys, frame);
	mmk_frame_unref(&phys, other);
}

Test(pmap, S4_14_equal_addresses_in_two_pmaps_are_independent)
{
	on_every_format(equal_addresses_in_two_pmaps_are_independent);
}

/* More translations than one batch of the page operations holds. */
TEST_FORMATS(page_operations_reach_translations_beyond_one_batch)
{
	struct mmk_frame *frame = new_frame(0);

	activate(0, 0);
	for (unsigned i = 0; i < 45; i++) {
		enter(0, VA + i * PAGE, frame, RWU);
		cr_assert(store(0, VA + i * PAGE, i));
	}
	cr_assert(mmk_page_clear_modified(&sys, frame));
	cr_assert(!mmk_page_is_modified(&sys, frame));
	mmk_page_write_protect(&sys, frame);
	for (unsigned i = 0; i < 45; i++)
		cr_assert(!store(0, VA + i * PAGE, i));
	mmk_page_remove_all(&sys, frame);
	cr_assert_eq(pmaps[0].nr_pages, 0);
	cr_assert_eq(frame->mapped, 0);
	cr_assert(check_all());
	mmk_frame_unref(&phys, frame);
}

TEST_FORMATS(modified_is_exact_and_outlives_the_mapping)
{
	struct mmk_frame *frame = new_frame(0);

	activate(0, 0);
	enter(0, VA, frame, RWU);
	cr_assert(!mmk_page_is_modified(&sys, frame));
	cr_assert_eq(load(0, VA), 0);
	cr_assert(!mmk_page_is_modified(&sys, frame));
	cr_assert(mmk_page_is_referenced(&sys, frame));
	cr_assert(store(0, VA, 1));
	cr_assert(mmk_page_is_modified(&sys, frame));
	cr_assert(mmk_page_clear_modified(&sys, frame));
	cr_assert(!mmk_page_clear_modified(&sys, frame));
	cr_assert(store(0, VA, 2)); /* a cached dirty entry would hide it */
	cr_assert(mmk_page_is_modified(&sys, frame));
	mmk_page_write_protect(&sys, frame);
	cr_assert(mmk_page_is_modified(&sys, frame));
	remove_now(0, VA, VA + PAGE);
	cr_assert(mmk_page_is_modified(&sys, frame));
	cr_assert(mmk_page_clear_modified(&sys, frame));
	cr_assert(!mmk_page_is_modified(&sys, frame));
	cr_assert(mmk_page_clear_referenced(&sys, frame));
	cr_assert(!mmk_page_is_referenced(&sys, frame));
	enter(0, VA, frame, RWU);
	cr_assert_eq(load(0, VA), 2);
	cr_assert(mmk_page_clear_referenced(&sys, frame));
	cr_assert_eq(load(0, VA), 2);
	cr_assert(mmk_page_is_referenced(&sys, frame));
	remove_now(0, VA, VA + PAGE);
	mmk_frame_unref(&phys, frame);
}

/* ---- others who come between ------------------------------------------- */

/* What another CPU does once a page is gone and no lock is held. */
static struct {
	bool is_done;
	uint64_t nr_pages; /* fewer than these are left */
	mmk_pa pa;
	mmk_va va;
} between;

static bool
has_moment_come(void)
{
	bool is_locked = MMKIT_LOCK_HELD(&pmaps[0].lock);

	for (unsigned i = 0; i < MMK_RMAP_BUCKETS; i++)
		is_locked = is_locked || MMKIT_LOCK_HELD(&sys.rmap_locks[i]);
	if (is_locked || between.is_done ||
	    pmaps[0].nr_pages >= between.nr_pages)
		return false;
	between.is_done = true;
	return true;
}

static void
enter_between(void *ctx)
{
	(void)ctx;
	if (has_moment_come())
		cr_assert_eq(mmk_pmap_enter(&pmaps[0], between.va, between.pa,
		                 R | U),
		    MMK_OK);
}

TEST_FORMATS(an_enter_that_loses_a_race_for_its_place_displaces_the_winner)
{
	struct mmk_frame *frame = new_frame_with(1);
	struct mmk_frame *other = new_frame_with(2);
	struct mmk_frame *winner = new_frame_with(3);

	activate(0, 0);
	enter(0, VA, frame, RWU);
	cr_assert_eq(load(0, VA), 1);
	between.is_done = false;
	between.nr_pages = 1;
	between.pa = pa_of(winner);
	between.va = VA;
	sim_on_yield(enter_between, NULL);
	enter(0, VA, other, RWU);
	sim_on_yield(NULL, NULL);
	cr_assert(between.is_done);
	cr_assert_eq(load(0, VA), 2);
	cr_assert_eq(frame->mapped, 0);
	cr_assert_eq(winner->mapped, 0);
	cr_assert_eq(other->mapped, 1);
	cr_assert(check_all());
	remove_now(0, VA, VA + PAGE);
	cr_assert_eq(pmaps[0].nr_tables, 1);
	mmk_frame_unref(&phys, frame);
	mmk_frame_unref(&phys, other);
	mmk_frame_unref(&phys, winner);
}

static void
remove_between(void *ctx)
{
	struct mmk_gather own;

	(void)ctx;
	if (!has_moment_come())
		return;
	mmk_gather_init(&own, &sys);
	mmk_pmap_remove(&pmaps[0], between.va, between.va + PAGE, &own);
	mmk_gather_finish(&own);
}

/* The last neighbour goes meanwhile, and no memory is left for a new table. */
TEST_FORMATS(a_displaced_page_keeps_its_table_for_the_next_one)
{
	struct mmk_frame *frame = new_frame_with(1);
	struct mmk_frame *other = new_frame_with(2);

	activate(0, 0);
	enter(0, VA, frame, RWU);
	enter(0, VA + PAGE, frame, RWU);
	cr_assert_eq(load(0, VA), 1);
	between.is_done = false;
	between.nr_pages = 2;
	between.va = VA + PAGE;
	sim_on_yield(remove_between, NULL);
	sim_fail_at(2);
	enter(0, VA, other, RWU);
	sim_fail_at(0);
	sim_on_yield(NULL, NULL);
	cr_assert(between.is_done);
	cr_assert_eq(load(0, VA), 2);
	cr_assert_eq(pmaps[0].nr_pages, 1);
	cr_assert_eq(pmaps[0].nr_tables, sys.shape.nr_levels);
	cr_assert(check_all());
	remove_now(0, VA, VA + PAGE);
	mmk_frame_unref(&phys, frame);
	mmk_frame_unref(&phys, other);
}

/* The machine reports a table freed while a translation made through it is
 * cached: here one that an unfinished gather has still to flush. The page lies
 * far from the gather's: one of the same bucket would wait for it. */
TEST_FORMATS(a_page_operation_may_take_the_table_of_an_unfinished_gather)
{
	struct mmk_frame *frame = new_frame_with(1), *spare[16], *other;

	for (size_t i = 0; i < 16; i++)
		spare[i] = new_frame_with(0);
	other = new_frame_with(2);
	activate(0, 0);
	enter(0, VA, frame, RWU);
	enter(0, VA + 9 * PAGE, other, RWU);
	cr_assert_eq(load(0, VA), 1);
	cr_assert_eq(load(0, VA + 9 * PAGE), 2);
	mmk_pmap_remove(&pmaps[0], VA, VA + PAGE, &gather);
	mmk_page_remove_all(&sys, other);
	cr_assert_eq(pmaps[0].nr_tables, 1);
	mmk_gather_finish(&gather);
	mmk_frame_unref(&phys, frame);
	mmk_frame_unref(&phys, other);
	for (size_t i = 0; i < 16; i++)
		mmk_frame_unref(&phys, spare[i]);
}

static void *
write_for_ever(void *stop)
{
	uint64_t word = 0;

	sim_set_cpu(1);
	while (!__atomic_load_n((bool *)stop, __ATOMIC_ACQUIRE))
		(void)store(1, VA, ++word);
	return NULL;
}

/* Change the entry many times, while the hardware may set its dirty bit. */
static void
toggle_soft(const struct mmk_frame *frame, unsigned nr_times)
{
	for (unsigned k = 0; k < nr_times; k++)
		enter(0, VA, frame, RWU | (k % 2 != 0 ? MMK_PMAP_SOFT : 0));
}

/*
 * While a CPU writes, its page is cleaned, changed and protected. After each
 * cleaning the page is copied: what the copy lacks must show as modified.
 */
TEST_FORMATS(no_write_is_lost_while_another_cpu_sets_dirty_bits)
{
	struct mmk_frame *frame = new_frame(0);
	const uint64_t *word = (const uint64_t *)mmk_frame_ptr(&phys, frame);
	bool stop = false;
	pthread_t thread;

	enter(0, VA, frame, RWU);
	activate(0, 1);
	cr_assert_eq(pthread_create(&thread, NULL, write_for_ever, &stop), 0);
	for (unsigned i = mmk_test_steps(20000); i-- > 0;) {
		uint64_t copy;

		(void)mmk_page_clear_modified(&sys, frame);
		copy = __atomic_load_n(word, __ATOMIC_ACQUIRE);
		toggle_soft(frame, i / 2 % 8);
		if (i % 2 == 0)
			enter(0, VA, frame, R | U);
		else
			remove_now(0, VA, VA + PAGE);
		if (__atomic_load_n(word, __ATOMIC_ACQUIRE) != copy)
			cr_assert(mmk_page_is_modified(&sys, frame));
		enter(0, VA, frame, RWU);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	cr_assert(check_all());
	remove_now(0, VA, VA + PAGE);
	mmk_frame_unref(&phys, frame);
}

/* ---- check finds damage ------------------------------------------------ */

TEST_FORMATS(check_notices_wrong_counts_and_lost_entries)
{
	struct mmk_frame *frame = new_frame(0);
	uint64_t *counts[] = { &pmaps[0].nr_pages, &pmaps[0].nr_tracked,
		&pmaps[0].nr_wired, &pmaps[0].nr_tables };
	void *list;

	enter(0, VA, frame, RWU);
	for (unsigned i = 0; i < 4; i++) {
		++*counts[i];
		cr_assert(!mmk_pmap_check(&pmaps[0]), "count %u", i);
		--*counts[i];
	}
	pmaps[0].root->mapped++;
	cr_assert(!mmk_pmap_check(&pmaps[0]));
	pmaps[0].root->mapped--;
	list = frame->translations;
	frame->translations = NULL;
	cr_assert(!mmk_pmap_check(&pmaps[0]));
	cr_assert(!mmk_rmap_check(&sys, frame));
	frame->translations = list;
	frame->mapped++;
	cr_assert(!mmk_rmap_check(&sys, frame));
	frame->mapped--;
	cr_assert(mmk_pmap_check(&pmaps[0]));
	cr_assert(mmk_rmap_check(&sys, frame));
	remove_now(0, VA, VA + PAGE);
	mmk_frame_unref(&phys, frame);
}

/* ---- what a caller must not do ----------------------------------------- */

TestSuite(pmap_bugs, .init = boot_first);

Test(pmap_bugs, fini_with_a_translation_left, .signal = SIGABRT)
{
	cr_assert_eq(mmk_pmap_enter(&pmaps[0], VA, FOREIGN, R), MMK_OK);
	mmk_pmap_fini(&pmaps[0]);
}

Test(pmap_bugs, fini_while_active_on_a_cpu, .signal = SIGABRT)
{
	mmk_pmap_activate(&pmaps[0], 0);
	mmk_pmap_fini(&pmaps[0]);
}

Test(pmap_bugs, remove_of_an_unaligned_start, .signal = SIGABRT)
{
	mmk_pmap_remove(&pmaps[0], VA + 1, VA + PAGE, &gather);
}

Test(pmap_bugs, remove_of_an_unaligned_end, .signal = SIGABRT)
{
	mmk_pmap_remove(&pmaps[0], VA, VA + 1, &gather);
}

Test(pmap_bugs, remove_of_a_range_that_ends_before_it_starts, .signal = SIGABRT)
{
	mmk_pmap_remove(&pmaps[0], VA, VA - PAGE, &gather);
}

Test(pmap_bugs, protect_of_an_unaligned_range, .signal = SIGABRT)
{
	mmk_pmap_protect(&pmaps[0], VA + 1, VA + PAGE, R, &gather);
}

Test(pmap_bugs, protect_of_a_range_that_ends_too_early, .signal = SIGABRT)
{
	mmk_pmap_protect(&pmaps[0], VA, VA - PAGE, R, &gather);
}

Test(pmap_bugs, protect_with_flags_that_are_no_rights, .signal = SIGABRT)
{
	mmk_pmap_protect(&pmaps[0], VA, VA + PAGE, R | U, &gather);
}

Test(pmap_bugs, a_gather_of_another_machine, .signal = SIGABRT)
{
	struct mmk_pmap_sys other;

	cr_assert_eq(mmk_pmap_sys_init(&other, &phys, sim_shape()), MMK_OK);
	mmk_gather_init(&gather, &other);
	mmk_pmap_remove(&pmaps[0], VA, VA + PAGE, &gather);
}

Test(pmap_bugs, activate_on_a_cpu_that_cannot_be, .signal = SIGABRT)
{
	mmk_pmap_activate(&pmaps[0], MMKIT_CPU_MAX);
}
