/* SPDX-License-Identifier: MIT
 *
 * tests/test_dirty.c: the hardware writes to a page's entry while mmkit does
 *
 * WHAT    CPU 1 has a clean, writable page. CPU 0 does something to its
 *         translation, and right before its n-th atomic update CPU 1 stores to
 *         the page: the hardware sets the entry's dirty bit between mmkit's
 *         look and its change. For every n. Whatever was stored, somebody must
 *         know that the page was modified.
 */
#include "super_fixture.h"

static struct {
	unsigned nr, at;  /* updates passed; the one to come before */
	bool is_met;
	bool is_stored;
	mmk_va va;
	struct mmk_frame *frame, *other;
	bool was_modified; /* what the operation says */
	unsigned marks;    /* that the entry has to begin with */
} race;

static void
store_between(void *ctx)
{
	uint64_t word = 77;

	(void)ctx;
	if (race.nr++ != race.at)
		return;
	race.is_met = true;
	race.is_stored = sim_store(1, race.va, &word, 8) == 0;
}

/* ---- what is done meanwhile -------------------------------------------------- */

static void
do_remove(void)
{
	remove_now(0, race.va, race.va + PAGE);
}

static void
do_protect(void)
{
	protect_now(0, race.va, race.va + PAGE, MMK_PROT_READ);
}

static void
do_remove_all(void)
{
	mmk_page_remove_all(&sys, race.frame);
}

static void
do_write_protect(void)
{
	mmk_page_write_protect(&sys, race.frame);
}

static void
do_clear_modified(void)
{
	race.was_modified = mmk_page_clear_modified(&sys, race.frame);
}

static void
do_clear_referenced(void)
{
	(void)mmk_page_clear_referenced(&sys, race.frame);
}

static void
do_lower(void)
{
	enter(0, race.va, race.frame, R | U);
}

static void
do_replace(void)
{
	enter(0, race.va, race.other, RWU);
}

/* What is a part of a large leaf is split off first. */
static void
do_remove_neighbour(void)
{
	remove_now(0, race.va + PAGE, race.va + 2 * PAGE);
}

static void
do_protect_neighbour(void)
{
	protect_now(0, race.va + PAGE, race.va + 3 * PAGE, MMK_PROT_READ);
}

static void
do_promote(void)
{
	(void)!mmk_pmap_promote(&pmaps[0], race.va);
}

/* ---- races ---------------------------------------------------------------------- */

/* Once with the store before update number `at`; false: there is none. */
static bool
run(void (*op)(void), unsigned order, bool is_run, unsigned at)
{
	uint64_t nr_pages = (uint64_t)1 << order;
	uint64_t word;

	race.frame = new_frame(order);
	race.other = new_frame(0);
	race.va = BVA;
	race.nr = 0;
	race.at = at;
	race.is_met = false;
	race.is_stored = false;
	race.was_modified = false;
	if (is_run)
		enter_run(0, BVA, pa_of(race.frame), nr_pages,
		    RWU | race.marks);
	else
		for (uint64_t i = 0; i < nr_pages; i++)
			cr_assert_eq(mmk_pmap_enter(&pmaps[0], BVA + i * PAGE,
			    pa_of(race.frame) + i * PAGE, RWU | race.marks),
			    MMK_OK);
	cr_assert_eq(sim_load(1, race.va, &word, 8), 0);
	sim_on_fault(NULL, NULL); /* the hook runs under locks */
	sim_on_update(store_between, NULL);
	op();
	sim_on_update(NULL, NULL);
	sim_on_fault(mend, NULL);
	if (race.is_stored) {
		cr_assert_eq(*(uint64_t *)mmk_frame_ptr(&phys, race.frame), 77);
		cr_assert(race.was_modified ||
		    mmk_page_is_modified(&sys, race.frame),
		    "what was stored before update %u is forgotten", at);
	}
	remove_now(0, BVA, BVA + nr_pages * PAGE);
	cr_assert(!race.is_stored || race.was_modified ||
	    mmk_page_is_modified(&sys, race.frame));
	(void)mmk_frame_unref(&phys, race.frame);
	(void)mmk_frame_unref(&phys, race.other);
	return race.is_met;
}

static void
race_on_all(void (*op)(void), unsigned order, bool is_run)
{
	for (size_t i = 0; i < NR_FORMATS; i++) {
		unsigned nr_stored = 0;
		unsigned at = 0;

		boot(&large_formats[i]);
		activate(0, 1);
		sim_set_cpu(0);
		while (run(op, order, is_run, at)) {
			at++;
			nr_stored += race.is_stored;
		}
		cr_assert(nr_stored > 0 || !sys.shape.hw_modified);
		halt();
	}
}

Test(dirty, a_page_is_removed)
{
	race_on_all(do_remove, 0, false);
	race_on_all(do_remove_all, 0, false);
}

Test(dirty, a_page_is_protected)
{
	race_on_all(do_protect, 0, false);
	race_on_all(do_write_protect, 0, false);
	race_on_all(do_lower, 0, false);
}

Test(dirty, marks_are_cleared)
{
	race.marks = MMK_PMAP_ACCESSED | MMK_PMAP_MODIFIED;
	race_on_all(do_clear_modified, 0, false);
	race_on_all(do_clear_referenced, 0, false);
	race.marks = MMK_PMAP_ACCESSED;
	race_on_all(do_clear_referenced, 0, false);
	race.marks = 0;
}

Test(dirty, a_page_is_replaced)
{
	race_on_all(do_replace, 0, false);
}

Test(dirty, a_superpage_is_split)
{
	race_on_all(do_remove_neighbour, BLOCK_ORDER, true);
	race_on_all(do_protect_neighbour, BLOCK_ORDER, true);
}

Test(dirty, a_superpage_is_formed)
{
	race_on_all(do_promote, BLOCK_ORDER, false);
}

Test(dirty, a_superpage_loses_its_marks)
{
	race.marks = MMK_PMAP_ACCESSED | MMK_PMAP_MODIFIED;
	race_on_all(do_clear_modified, BLOCK_ORDER, true);
	race_on_all(do_write_protect, BLOCK_ORDER, true);
	race_on_all(do_remove_all, BLOCK_ORDER, true);
	race.marks = 0;
}
