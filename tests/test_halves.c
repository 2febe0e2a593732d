/* SPDX-License-Identifier: MIT
 *
 * tests/test_halves.c: the kernel's pmap, the upper half, beside those of
 * programs
 */
#include <signal.h>

#include "intrude.h"
#include "super_fixture.h"

#include <pthread.h>
#include <string.h>

/* Above the start, by a whole group, and by tables of their own. */
#define KVA (kernel->base_va + (UINT64_C(0x2345678a000) & ~(uint64_t)(PAGE - 1)))
#define LAST (kernel->end_va - PAGE)

/* Test(halves, name), on every format, with a pmap of the kernel-> */
#define TEST_HALVES(name)                 \
	static void body_of_##name(void); \
	Test(halves, name)                \
	{                                 \
		has_kernel = true;        \
		on_every_format(body_of_##name); \
		has_kernel = false;       \
	}                                 \
	static void body_of_##name(void)

/* The same on machines with room for superpages. */
#define TEST_LARGE_HALVES(name)           \
	static void large_##name(void);   \
	Test(halves, name)                \
	{                                 \
		has_kernel = true;        \
		on_large_formats(large_##name); \
		has_kernel = false;       \
	}                                 \
	static void large_##name(void)

/* The CPU goes from one program's pmap to another's; NR_PMAPS: to none. */
static void
switch_to(unsigned cpu, unsigned space)
{
	sim_set_cpu(cpu);
	for (unsigned i = 0; i < NR_PMAPS; i++)
		if ((pmaps[i].cpus.words[0] >> cpu & 1) != 0)
			mmk_pmap_deactivate(&pmaps[i], cpu);
	if (space < NR_PMAPS)
		mmk_pmap_activate(&pmaps[space], cpu);
	sim_set_cpu(0);
}

TEST_HALVES(where_it_begins_and_ends)
{
	mmk_va limit_va = mmk_pt_va_limit(&sys.shape);

	cr_assert_eq(kernel->base_va, 0 - limit_va);
	cr_assert_eq(kernel->end_va, 0 - PAGE);
	cr_assert_eq(pmaps[0].base_va, 0);
	cr_assert_eq(pmaps[0].end_va, limit_va);
	cr_assert(mmk_pmap_covers(kernel, kernel->base_va));
	cr_assert(mmk_pmap_covers(kernel, LAST));
	cr_assert(!mmk_pmap_covers(kernel, kernel->end_va));
	cr_assert(!mmk_pmap_covers(kernel, UINT64_MAX));
	cr_assert(!mmk_pmap_covers(kernel, 0));
	cr_assert(!mmk_pmap_covers(kernel, kernel->base_va - 1));
	cr_assert(mmk_pmap_covers(&pmaps[0], 0));
	cr_assert(!mmk_pmap_covers(&pmaps[0], limit_va));
	cr_assert(!mmk_pmap_covers(&pmaps[0], kernel->base_va));
	cr_assert_eq(kernel->tag, 0);
	cr_assert_eq(sys.kernel, kernel);
	cr_assert_eq(kernel->nr_tables, is_arm() ? 1 : 257);
}

/* From every program, from none, and after a switch; a program sees nothing. */
TEST_HALVES(seen_from_every_space)
{
	mmk_va places[] = { kernel->base_va, KVA, LAST };

	sim_forbid_stale_hits(true);
	for (unsigned i = 0; i < 3; i++) {
		struct mmk_frame *frame = new_frame_with(7000 + i);

		for (unsigned cpu = 0; cpu < 2; cpu++)
			cr_assert_eq(kernel_load(cpu, places[i]), UINT64_MAX);
		enter(KERNEL, places[i], frame, R | W);
		cr_assert_eq((flags_at(KERNEL, places[i]) & MMK_PMAP_GLOBAL) != 0,
		    (sys.shape.features & MMK_PT_GLOBAL) != 0);
		for (unsigned space = 0; space <= NR_PMAPS; space++) {
			switch_to(0, space);
			switch_to(1, NR_PMAPS - space);
			for (unsigned cpu = 0; cpu < 2; cpu++) {
				cr_assert_eq(kernel_load(cpu, places[i]),
				    7000 + i);
				cr_assert_eq(load(cpu, places[i]), UINT64_MAX);
			}
		}
		cr_assert(kernel_store(1, places[i], 8000 + i));
		cr_assert_eq(kernel_load(0, places[i]), 8000 + i);
		cr_assert(mmk_page_is_modified(&sys, frame));
		cr_assert(check_all());
		remove_now(KERNEL, places[i], places[i] + PAGE);
		for (unsigned cpu = 0; cpu < 2; cpu++)
			cr_assert_eq(kernel_load(cpu, places[i]), UINT64_MAX);
		(void)mmk_frame_unref(&phys, frame);
	}
}

static void
see_from_every_space(void)
{
	body_of_seen_from_every_space();
}

/* Leaves are filed under the tag of the moment, too, if there are no global. */
Test(halves, seen_from_every_space_without_global)
{
	has_kernel = true;
	features_off = MMK_PT_GLOBAL;
	on_every_format(see_from_every_space);
	features_off = 0;
	has_kernel = false;
}

/*
 * A page is entered where the table has just gone, and its going is not flushed
 * yet: a CPU that remembers the old table must not fault for that.
 */
static void
enter_where_a_table_went(bool is_run)
{
	struct mmk_frame *frame = new_frame_with(50);
	struct sim_counters before, after;

	enter(KERNEL, KVA, frame, R);
	for (unsigned cpu = 0; cpu < 2; cpu++)
		cr_assert_eq(kernel_load(cpu, KVA), 50);
	mmk_pmap_remove(kernel, KVA, KVA + PAGE, &gather);
	if (is_run)
		cr_assert_eq(mmk_pmap_kenter(kernel, KVA + PAGE, pa_of(frame),
		                 1, R),
		    MMK_OK);
	else
		enter(KERNEL, KVA + PAGE, frame, R | MMK_PMAP_ACCESSED);
	sim_counters(&before);
	cr_assert_eq(kernel_load(1, KVA + PAGE), 50);
	sim_counters(&after);
	cr_assert_eq(after.nr_faults, before.nr_faults);
	mmk_gather_finish(&gather);
	if (is_run)
		mmk_pmap_kremove(kernel, KVA + PAGE, 1);
	else
		remove_now(KERNEL, KVA + PAGE, KVA + 2 * PAGE);
	(void)mmk_frame_unref(&phys, frame);
}

TEST_HALVES(entering_where_a_table_went_is_no_fault)
{
	enter_where_a_table_went(false);
	enter_where_a_table_went(true);
}

/* The handler's own stack is among them: no fault may be for want of a mark. */
TEST_HALVES(kenter_sets_the_marks)
{
	const unsigned seen = MMK_PMAP_ACCESSED | MMK_PMAP_MODIFIED;

	cr_assert_eq(mmk_pmap_kenter(kernel, KVA, PAGE, 1, R | W), MMK_OK);
	cr_assert_eq(mmk_pmap_kenter(kernel, KVA + PAGE, PAGE, 1, R), MMK_OK);
	cr_assert_eq(flags_at(KERNEL, KVA) & seen, seen);
	cr_assert_eq(flags_at(KERNEL, KVA + PAGE) & seen, MMK_PMAP_ACCESSED);
	mmk_pmap_kremove(kernel, KVA, 2);
}

TEST_HALVES(leaves_are_global_and_the_kernels)
{
	struct mmk_frame *frame = new_frame(0);

	enter(KERNEL, KVA, frame, R | X);
	cr_assert_eq(flags_at(KERNEL, KVA),
	    R | X | MMK_PMAP_GLOBAL);
	cr_assert_eq(mmk_pmap_enter(kernel, KVA, pa_of(frame),
	                 R | W | MMK_PMAP_GLOBAL),
	    MMK_OK);
	cr_assert_eq(flags_at(KERNEL, KVA), R | W | MMK_PMAP_GLOBAL);
	cr_assert_eq(mmk_pmap_kenter(kernel, KVA + PAGE, FOREIGN & ~(PAGE - 1),
	                 1, R | MMK_PMAP_DEVICE),
	    MMK_OK);
	cr_assert_eq(flags_at(KERNEL, KVA + PAGE),
	    R | MMK_PMAP_DEVICE | MMK_PMAP_GLOBAL | MMK_PMAP_WIRED |
	        MMK_PMAP_UNTRACKED | MMK_PMAP_ACCESSED);
	remove_now(KERNEL, KVA, KVA + 2 * PAGE);
	(void)mmk_frame_unref(&phys, frame);
}

/* ---- what is refused --------------------------------------------------------- */

struct counts {
	uint64_t nr_pages, nr_tables, nr_reserved, nr_used;
};

static struct counts
count(unsigned space)
{
	struct counts now;

	memset(&now, 0, sizeof now);
	now.nr_pages = pmaps[space].nr_pages;
	now.nr_tables = pmaps[space].nr_tables;
	now.nr_reserved = pmaps[space].nr_reserved;
	now.nr_used = used(MMK_USE_TABLE);
	return now;
}

static bool
is_as(unsigned space, const struct counts *before)
{
	struct counts now = count(space);

	return memcmp(&now, before, sizeof now) == 0 &&
	    mmk_pmap_check(&pmaps[space]);
}

/* By each way in: INVAL, and nothing changed. */
static void
refused(unsigned space, mmk_va va, mmk_pa pa, unsigned flags)
{
	struct counts before = count(space);
	struct mmk_translation found;
	uint64_t nr_done = 99;

	cr_assert_eq(mmk_pmap_enter(&pmaps[space], va, pa, flags),
	    MMK_ERR_INVAL);
	cr_assert_eq(mmk_pmap_enter_run(&pmaps[space], va, pa, 2, flags,
	                 &nr_done),
	    MMK_ERR_INVAL);
	cr_assert_eq(nr_done, 0);
	cr_assert_eq(mmk_pmap_kenter(&pmaps[space], va, pa, 2, flags),
	    MMK_ERR_INVAL);
	cr_assert(!mmk_pmap_query(&pmaps[space], va, &found));
	cr_assert(is_as(space, &before));
}

TEST_HALVES(what_is_refused)
{
	mmk_va limit_va = mmk_pt_va_limit(&sys.shape);
	struct mmk_frame *frame = new_frame(0);
	mmk_pa pa = pa_of(frame);

	refused(KERNEL, KVA, pa, R | U);
	refused(KERNEL, KVA, pa, R | U | MMK_PMAP_GLOBAL);
	refused(KERNEL, KVA, pa, R | MMK_PMAP_KEY(1));
	refused(KERNEL, KVA, pa, 0);
	refused(KERNEL, KVA + 1, pa, R);
	refused(KERNEL, KVA, pa + 8, R);
	refused(KERNEL, KVA, (mmk_pa)1 << sys.shape.pa_bits, R);
	refused(KERNEL, 0, pa, R);
	refused(KERNEL, VA, pa, R);
	refused(KERNEL, limit_va - PAGE, pa, R);
	refused(KERNEL, limit_va, pa, R);
	refused(KERNEL, kernel->base_va - PAGE, pa, R);
	refused(KERNEL, kernel->end_va, pa, R); /* the last page */
	for (unsigned space = 0; space < 2; space++) {
		refused(space, KVA, pa, R);
		refused(space, KVA, pa, R | U);
		refused(space, kernel->base_va, pa, R);
		refused(space, LAST, pa, R);
		refused(space, kernel->end_va, pa, R);
		refused(space, limit_va, pa, R | U);
	}
	(void)mmk_frame_unref(&phys, frame);
}

/* They go as far as they can, or, all or nothing, nowhere. */
TEST_HALVES(runs_beyond_the_end)
{
	const uint64_t lengths[] = { 3, 4, 100, 2 * NR,
		UINT64_MAX / PAGE + 1, UINT64_MAX - 1, UINT64_MAX };
	struct mmk_frame *frame = new_frame(2);

	for (unsigned i = 0; i < 7; i++) {
		struct counts before = count(KERNEL), before_0 = count(0);
		uint64_t nr_done = 0;

		cr_assert_eq(mmk_pmap_kenter(kernel, LAST - PAGE, pa_of(frame),
		                 lengths[i], R),
		    MMK_ERR_INVAL);
		cr_assert(is_as(KERNEL, &before));
		cr_assert_eq(mmk_pmap_enter_run(kernel, LAST - PAGE,
		                 pa_of(frame), lengths[i], R, &nr_done),
		    MMK_ERR_INVAL);
		cr_assert_eq(nr_done, 2);
		cr_assert_eq(kernel->nr_pages, 2);
		cr_assert_eq(flags_at(KERNEL, kernel->end_va), 0);
		remove_now(KERNEL, LAST - PAGE, kernel->end_va);
		cr_assert(is_as(KERNEL, &before));
		cr_assert_eq(mmk_pmap_enter_run(&pmaps[0],
		                 pmaps[0].end_va - 2 * PAGE, pa_of(frame),
		                 lengths[i], R | U, &nr_done),
		    MMK_ERR_INVAL);
		cr_assert_eq(nr_done, 2);
		remove_now(0, pmaps[0].end_va - 2 * PAGE, pmaps[0].end_va);
		cr_assert(is_as(0, &before_0));
	}
	cr_assert_eq(mmk_pmap_kenter(kernel, LAST - PAGE, pa_of(frame), 2, R),
	    MMK_OK);
	mmk_pmap_kremove(kernel, LAST - PAGE, 2);
	(void)mmk_frame_unref(&phys, frame);
}

/* Ranges of the other half have nothing in them, and change nothing. */
TEST_HALVES(ranges_of_the_other_half)
{
	struct mmk_frame *frame = new_frame(0);
	struct mmk_translation found;

	enter(KERNEL, KVA, frame, R | W);
	enter(KERNEL, LAST, frame, R | W);
	enter(0, VA, frame, RWU);
	remove_now(KERNEL, 0, kernel->base_va);
	remove_now(0, pmaps[0].end_va, 0 - PAGE);
	mmk_pmap_protect(kernel, 0, pmaps[0].end_va, R, &gather);
	mmk_pmap_protect(&pmaps[0], kernel->base_va, kernel->end_va, R,
	    &gather);
	mmk_pmap_collect(kernel, 0, pmaps[0].end_va, 0, &gather);
	mmk_gather_finish(&gather);
	mmk_pmap_unwire(kernel, VA);
	cr_assert(!mmk_pmap_promote(kernel, VA));
	cr_assert(!mmk_pmap_emulate(kernel, VA, R));
	cr_assert(!mmk_pmap_emulate(&pmaps[0], KVA, R));
	cr_assert(!mmk_pmap_query(&pmaps[0], KVA, &found));
	cr_assert(!mmk_pmap_query(kernel, UINT64_MAX, &found));
	cr_assert(!mmk_pmap_next(kernel, 0, kernel->base_va, &found));
	cr_assert(!mmk_pmap_next(&pmaps[0], VA + PAGE, UINT64_MAX, &found));
	cr_assert(mmk_pmap_next(kernel, 0, UINT64_MAX, &found));
	cr_assert_eq(found.va, KVA);
	cr_assert(mmk_pmap_next(kernel, KVA + PAGE, UINT64_MAX, &found));
	cr_assert_eq(found.va, LAST);
	cr_assert(!mmk_pmap_next(kernel, kernel->end_va, UINT64_MAX, &found));
	cr_assert_eq(flags_at(KERNEL, KVA) & W, W);
	cr_assert_eq(flags_at(0, VA) & W, W);
	remove_now(KERNEL, 0, UINT64_MAX - PAGE + 1);
	remove_now(0, VA, VA + PAGE);
	cr_assert_eq(kernel->nr_pages, 0);
	(void)mmk_frame_unref(&phys, frame);
}

/* ---- without memory ------------------------------------------------------------ */

static void
init_fails(void)
{
	uint64_t nr_used, k = 0;
	enum mmk_err err;

	for (unsigned i = 0; i < NR_PMAPS; i++)
		mmk_pmap_fini(&pmaps[i]);
	nr_used = used(MMK_USE_TABLE);
	do {
		cr_assert_eq(used(MMK_USE_TABLE), nr_used);
		cr_assert_null(sys.kernel);
		sim_fail_at(++k);
		err = mmk_pmap_init_kernel(kernel, &sys, NULL);
		sim_fail_at(0);
		cr_assert(err == MMK_OK || err == MMK_ERR_NOMEM);
	} while (err != MMK_OK);
	cr_assert_geq(k, is_arm() ? 2 : 258);
	cr_assert(mmk_pmap_check(kernel));
	nr_used = used(MMK_USE_TABLE);
	sim_fail_at(1);
	cr_assert_eq(mmk_pmap_init(&pmaps[0], &sys, NULL), MMK_ERR_NOMEM);
	sim_fail_at(0);
	cr_assert_eq(used(MMK_USE_TABLE), nr_used);
	cr_assert_eq(mmk_pmap_init(&pmaps[0], &sys, NULL), MMK_OK);
	cr_assert(mmk_pmap_check(&pmaps[0]));
	mmk_pmap_fini(&pmaps[0]);
	mmk_pmap_fini(kernel);
	cr_assert_null(sys.kernel);
	for (unsigned i = 0; i < NR_PMAPS; i++)
		cr_assert_eq(mmk_pmap_init(&pmaps[i], &sys, NULL), MMK_OK);
}

Test(halves, init_without_memory)
{
	on_every_format(init_fails);
}

/* Amid pages of other tables, at the very end. */
TEST_HALVES(kenter_without_memory)
{
	uint64_t nr_pages = NR + 40 < 600 ? NR + 40 : 60, k = 0;
	mmk_va va = kernel->end_va - nr_pages * PAGE;
	struct counts before = count(KERNEL);
	enum mmk_err err;

	do {
		cr_assert(is_as(KERNEL, &before));
		sim_fail_at(++k);
		err = mmk_pmap_kenter(kernel, va, FOREIGN & ~(PAGE - 1),
		    nr_pages, R);
		sim_fail_at(0);
		cr_assert(err == MMK_OK || err == MMK_ERR_NOMEM);
	} while (err != MMK_OK);
	cr_assert_gt(k, 1);
	cr_assert_eq(kernel->nr_pages, nr_pages);
	cr_assert(mmk_pmap_check(kernel));
	mmk_pmap_kremove(kernel, va, nr_pages);
	cr_assert_eq(kernel->nr_tables, before.nr_tables);
}

/* Tables are paid for, those that stay too. */
static uint64_t nr_paid, nr_credit;

static enum mmk_err
purse_charge(void *ctx, uint64_t nr_pages)
{
	(void)ctx;
	if (nr_paid + nr_pages > nr_credit)
		return MMK_ERR_LIMIT;
	nr_paid += nr_pages;
	return MMK_OK;
}

static void
purse_uncharge(void *ctx, uint64_t nr_pages)
{
	(void)ctx;
	nr_paid -= nr_pages;
}

static const struct mmk_slab_payer payer = { purse_charge, purse_uncharge,
	NULL };

TEST_HALVES(somebody_pays)
{
	struct mmk_frame *frame = new_frame(0);
	uint64_t nr_tables = kernel->nr_tables;

	nr_paid = 0;
	nr_credit = nr_tables - 1;
	cr_assert_eq(mmk_pmap_set_payer(kernel, &payer), MMK_ERR_NOMEM);
	cr_assert_null(kernel->payer);
	nr_credit = nr_tables;
	cr_assert_eq(mmk_pmap_set_payer(kernel, &payer), MMK_OK);
	cr_assert_eq(nr_paid, nr_tables);
	cr_assert_eq(mmk_pmap_enter(kernel, KVA, pa_of(frame), R),
	    MMK_ERR_NOMEM);
	nr_credit = nr_tables + 10;
	enter(KERNEL, KVA, frame, R);
	cr_assert_eq(nr_paid, kernel->nr_tables);
	remove_now(KERNEL, KVA, KVA + PAGE);
	cr_assert_eq(nr_paid, nr_tables);
	(void)mmk_frame_unref(&phys, frame);
}

Test(halves, the_kernels_tables_are_given_back_to_who_paid)
{
	has_kernel = true;
	for (size_t i = 0; i < NR_FORMATS; i++) {
		boot(&formats[i]);
		nr_paid = 0;
		nr_credit = 1000;
		cr_assert_eq(mmk_pmap_set_payer(kernel, &payer), MMK_OK);
		halt();
		cr_assert_eq(nr_paid, 0);
	}
	has_kernel = false;
}

/* ---- what TLBs keep -------------------------------------------------------------- */

/*
 * Walks of the kernel's half leave upper entries under the tag of the moment. A
 * table that goes while the CPU is elsewhere must be forgotten under all.
 */
TEST_HALVES(upper_entries_under_every_tag)
{
	struct mmk_frame *first = new_frame_with(1), *second;

	sim_forbid_stale_hits(true);
	for (unsigned space = 0; space <= NR_PMAPS; space++) {
		enter(KERNEL, KVA, first, R);
		switch_to(0, space);
		switch_to(1, space);
		for (unsigned cpu = 0; cpu < 2; cpu++) {
			cr_assert_eq(kernel_load(cpu, KVA), 1);
			/* Only upper entries lead there. */
			cr_assert_eq(kernel_load(cpu, KVA + PAGE), UINT64_MAX);
		}
		switch_to(0, (space + 1) % (NR_PMAPS + 1));
		switch_to(1, (space + 2) % (NR_PMAPS + 1));
		remove_now(KERNEL, KVA, KVA + PAGE);
		cr_assert_eq(kernel->nr_tables, is_arm() ? 1 : 257);
		/* Tables again, not the same ones. */
		second = new_frame_with(2);
		enter(0, VA, second, RWU);
		enter(KERNEL, KVA + PAGE, second, R);
		switch_to(0, space);
		switch_to(1, space);
		for (unsigned cpu = 0; cpu < 2; cpu++) {
			cr_assert_eq(kernel_load(cpu, KVA), UINT64_MAX);
			cr_assert_eq(kernel_load(cpu, KVA + PAGE), 2);
		}
		remove_now(KERNEL, KVA + PAGE, KVA + 2 * PAGE);
		remove_now(0, VA, VA + PAGE);
		(void)mmk_frame_unref(&phys, second);
	}
	(void)mmk_frame_unref(&phys, first);
}

/* A program's root goes; what the kernel's code used through it stays good. */
TEST_HALVES(programs_come_and_go)
{
	struct mmk_frame *frame = new_frame_with(5), *later;
	struct mmk_pmap passing;

	sim_forbid_stale_hits(true);
	enter(KERNEL, KVA, frame, R | W);
	switch_to(0, NR_PMAPS);
	for (unsigned i = 0; i < 3; i++) {
		cr_assert_eq(mmk_pmap_init(&passing, &sys, NULL), MMK_OK);
		mmk_pmap_activate(&passing, 0);
		cr_assert_eq(kernel_load(0, KVA), 5);
		later = new_frame_with(6);
		enter(KERNEL, LAST, later, R);
		cr_assert_eq(kernel_load(0, LAST), 6);
		cr_assert(mmk_pmap_check(&passing));
		mmk_pmap_deactivate(&passing, 0);
		mmk_pmap_fini(&passing);
		cr_assert_eq(kernel_load(0, KVA), 5);
		cr_assert_eq(kernel_load(0, LAST), 6);
		remove_now(KERNEL, LAST, LAST + PAGE);
		(void)mmk_frame_unref(&phys, later);
		cr_assert_eq(kernel_load(0, LAST), UINT64_MAX);
	}
	remove_now(KERNEL, KVA, KVA + PAGE);
	(void)mmk_frame_unref(&phys, frame);
}

/* A CPU that went offline has nothing, and is not asked. */
TEST_HALVES(a_cpu_goes_and_comes)
{
	struct mmk_frame *frame = new_frame_with(3);
	uint64_t nr_shootdowns;

	sim_forbid_stale_hits(true);
	enter(KERNEL, KVA, frame, R);
	switch_to(1, 2);
	cr_assert_eq(kernel_load(1, KVA), 3);
	switch_to(1, NR_PMAPS);
	sim_set_cpu(1);
	mmk_pmap_deactivate(kernel, 1);
	sim_set_cpu(0);
	cr_assert_eq(sim_tlb_count(1), 0);
	cr_assert_eq(sim_upper_count(1), 0);
	cr_assert_eq(kernel_load(1, KVA), UINT64_MAX);
	nr_shootdowns = sys.nr_shootdowns;
	cr_assert_eq(kernel_load(0, KVA), 3);
	remove_now(KERNEL, KVA, KVA + PAGE);
	cr_assert_eq(sys.nr_shootdowns, nr_shootdowns);
	enter(KERNEL, KVA, frame, R);
	sim_set_cpu(1);
	mmk_pmap_activate(kernel, 1);
	sim_set_cpu(0);
	cr_assert_eq(kernel_load(1, KVA), 3);
	remove_now(KERNEL, KVA, KVA + PAGE);
	cr_assert_eq(kernel_load(1, KVA), UINT64_MAX);
	(void)mmk_frame_unref(&phys, frame);
}

/* Addresses of neither half, and the last page, are nobody's. */
TEST_HALVES(nothing_is_between_the_halves)
{
	struct mmk_frame *frame = new_frame_with(4);

	enter(KERNEL, kernel->base_va, frame, R);
	enter(0, pmaps[0].end_va - PAGE, frame, RWU);
	switch_to(0, 0);
	cr_assert_eq(kernel_load(0, kernel->base_va), 4);
	cr_assert_eq(load(0, pmaps[0].end_va - PAGE), 4);
	cr_assert_eq(kernel_load(0, kernel->end_va), UINT64_MAX);
	cr_assert_eq(kernel_load(0, pmaps[0].end_va), UINT64_MAX);
	/* The same index, but no sign, or half of it. */
	if (sys.shape.va_bits < 57) {
		mmk_va sign_va = (mmk_va)1 << 60;

		cr_assert_eq(kernel_load(0, kernel->base_va ^ sign_va),
		    UINT64_MAX);
		cr_assert_eq(kernel_load(0, kernel->base_va &
		                 (((mmk_va)1 << sys.shape.va_bits) - 1)),
		    UINT64_MAX);
	}
	remove_now(KERNEL, kernel->base_va, kernel->base_va + PAGE);
	remove_now(0, pmaps[0].end_va - PAGE, pmaps[0].end_va);
	(void)mmk_frame_unref(&phys, frame);
}

/* ---- through the frame ------------------------------------------------------------ */

TEST_HALVES(one_frame_in_both_halves)
{
	struct mmk_frame *frame = new_frame_with(9);
	struct mmk_pmap *pmap;
	mmk_va va;

	sim_forbid_stale_hits(true);
	enter(KERNEL, LAST, frame, R | W);
	enter(1, VA, frame, RWU);
	switch_to(0, 1);
	switch_to(1, 2);
	cr_assert_eq(frame->mapped, 2);
	cr_assert(!mmk_page_is_modified(&sys, frame));
	cr_assert(kernel_store(1, LAST, 10));
	cr_assert_eq(load(0, VA), 10);
	cr_assert(mmk_page_clear_modified(&sys, frame));
	cr_assert(kernel_store(0, LAST, 11));
	cr_assert(mmk_page_is_modified(&sys, frame));
	mmk_page_write_protect(&sys, frame);
	cr_assert(!kernel_store(0, LAST, 12));
	cr_assert(!kernel_store(1, LAST, 12));
	cr_assert(!store(0, VA, 12));
	cr_assert(mmk_rmap_check(&sys, frame));
	remove_now(1, VA, VA + PAGE);
	cr_assert(mmk_page_translation(&sys, frame, 0, &pmap, &va));
	cr_assert(pmap == kernel && va == LAST);
	cr_assert_eq(kernel_load(1, LAST), 11);
	mmk_page_remove_all(&sys, frame);
	cr_assert_eq(kernel_load(0, LAST), UINT64_MAX);
	cr_assert_eq(kernel_load(1, LAST), UINT64_MAX);
	cr_assert_eq(kernel->nr_tables, is_arm() ? 1 : 257);
	(void)mmk_frame_unref(&phys, frame);
}

/* The first pages of a large frame; the others would be beyond the end. */
TEST_HALVES(a_frame_across_the_end)
{
	struct mmk_frame *frame = new_frame(3);
	uint64_t nr_done;

	sim_forbid_stale_hits(true);
	for (uint64_t nr_pages = 1; nr_pages < 8; nr_pages++) {
		mmk_va va = kernel->end_va - nr_pages * PAGE;

		cr_assert_eq(mmk_pmap_enter_run(kernel, va, pa_of(frame),
		                 nr_pages, R | W, &nr_done),
		    MMK_OK);
		cr_assert_eq(frame->mapped, nr_pages);
		cr_assert(kernel_store(1, LAST, nr_pages));
		cr_assert_eq(kernel_load(0, va), nr_pages == 1 ? 1 : 0);
		cr_assert(mmk_page_clear_modified(&sys, frame));
		cr_assert(mmk_rmap_check(&sys, frame) && check_all());
		mmk_page_write_protect(&sys, frame);
		cr_assert(!kernel_store(1, LAST, 0));
		mmk_page_remove_all(&sys, frame);
		cr_assert_eq(kernel->nr_pages, 0);
		cr_assert_eq(kernel_load(0, LAST), UINT64_MAX);
		cr_assert(kernel->nr_tables == (is_arm() ? 1 : 257));
		*(uint64_t *)MMKIT_PHYS_TO_PTR(
		    pa_of(frame) + (nr_pages - 1) * PAGE) = 0;
	}
	(void)mmk_frame_unref(&phys, frame);
}

#if MMKIT_PAGE_SHIFT < 16 /* eight leaves of 512 MiB are much */
/* ---- superpages, to the very end ---------------------------------------------------- */

/* All of a superpage but the page that is never there; then all that may be. */
TEST_LARGE_HALVES(superpages_end_before_the_last)
{
	struct mmk_frame *block = new_frame(BLOCK_ORDER + 1);
	mmk_va va = 0 - 2 * (mmk_va)LARGE;
	uint64_t nr_pages = 2 * NR - 1, nr_done = 0;

	*(uint64_t *)mmk_frame_ptr(&phys, block) = 77;
	cr_assert_eq(mmk_pmap_enter_run(kernel, va, pa_of(block), nr_pages + 1,
	                 R | W, &nr_done),
	    MMK_ERR_INVAL);
	cr_assert_eq(nr_done, nr_pages);
	cr_assert_eq(kernel->nr_pages, nr_pages);
	cr_assert_eq(level_at(KERNEL, va, pa_of(block)), 1);
	cr_assert_eq(level_at(KERNEL, va + LARGE, pa_of(block) + LARGE), 0);
	cr_assert_eq(level_at(KERNEL, LAST, pa_of(block) + 2 * LARGE -
	                 2 * PAGE),
	    0);
	cr_assert_eq(flags_at(KERNEL, kernel->end_va), 0);
	cr_assert(!mmk_pmap_promote(kernel, LAST));
	cr_assert(mmk_pmap_promote(kernel, va));
	cr_assert(check_all());
	for (unsigned cpu = 0; cpu < 2; cpu++) {
		cr_assert_eq(kernel_load(cpu, va), 77);
		cr_assert(kernel_store(cpu, LAST, 78));
		cr_assert_eq(kernel_load(cpu, kernel->end_va), UINT64_MAX);
	}
	cr_assert(mmk_page_clear_modified(&sys, block));
	protect_now(KERNEL, va + PAGE, LAST, R);
	cr_assert(!kernel_store(1, LAST - PAGE, 1));
	cr_assert(kernel_store(1, LAST, 1) && kernel_store(1, va, 79));
	cr_assert(mmk_rmap_check(&sys, block) && check_all());
	mmk_page_remove_all(&sys, block);
	cr_assert_eq(kernel->nr_pages, 0);
	cr_assert_eq(kernel_load(0, va), UINT64_MAX);
	cr_assert_eq(kernel_load(1, LAST), UINT64_MAX);
	cr_assert_eq(kernel->nr_tables, is_arm() ? 1 : 257);
	(void)mmk_frame_unref(&phys, block);
}

/* All RAM at one place, as kernels have it: the most in superpages. */
TEST_LARGE_HALVES(a_direct_map)
{
	mmk_va direct_va = kernel->base_va + (mmk_va)LARGE * 8;
	uint64_t nr_pages = LARGE_RAM_BYTES / PAGE;
	struct mmk_frame *frame = new_frame_with(99);
	mmk_pa base_pa = sim_ram.base_pa;
	mmk_va va = direct_va + (pa_of(frame) - base_pa);

	cr_assert_eq(mmk_pmap_kenter(kernel, direct_va, base_pa, nr_pages,
	                 R | W),
	    MMK_OK);
	cr_assert_eq(level_at(KERNEL, direct_va, base_pa), 1);
	for (unsigned space = 0; space <= NR_PMAPS; space++) {
		switch_to(0, space);
		cr_assert_eq(kernel_load(0, va), 99);
		cr_assert_eq(load(0, va), UINT64_MAX);
	}
	mmk_pmap_kremove(kernel, direct_va, nr_pages);
	cr_assert_eq(kernel_load(0, va), UINT64_MAX);
	(void)mmk_frame_unref(&phys, frame);
}

/*
 * Others may stand on pages that are there, with nowhere to take a fault: who
 * enters the last page beside them empties no entry. It is joined by whoever asks.
 */
TEST_LARGE_HALVES(entering_beside_joins_nothing)
{
	mmk_va va = kernel->base_va + (mmk_va)LARGE * 8, end_va = va + LARGE;
	mmk_pa pa = (mmk_pa)LARGE * 4;
	uint64_t nr_flushes;

	cr_assert_eq(mmk_pmap_kenter(kernel, va, pa, NR - 1, R | W), MMK_OK);
	nr_flushes = sys.nr_flushes;
	cr_assert_eq(mmk_pmap_kenter(kernel, end_va - PAGE, pa + LARGE - PAGE,
	                 1, R | W), MMK_OK);
	cr_assert_eq(sys.nr_flushes, nr_flushes);
	cr_assert_eq(level_at(KERNEL, va, pa), 0);
	cr_assert(check_all());
	cr_assert(mmk_pmap_promote(kernel, va));
	cr_assert_eq(level_at(KERNEL, va, pa), 1);
	mmk_pmap_kremove(kernel, va, NR);
}

#if MMKIT_PAGE_SHIFT == 12
/* 1 GiB in the first table below the root; without a page it is 2 MiB and 4K. */
TEST_LARGE_HALVES(the_largest_leaf)
{
	mmk_va va = kernel->base_va + table_bytes(2);
	uint64_t nr_tables = kernel->nr_tables;
	mmk_pa pa = table_bytes(2);

	cr_assert_eq(mmk_pmap_kenter(kernel, va, pa, NR * NR, R | W), MMK_OK);
	cr_assert_eq(level_at(KERNEL, va + PAGE, pa + PAGE), 2);
	mmk_pmap_kremove(kernel, va + LARGE + PAGE, 1);
	cr_assert_eq(kernel->nr_pages, NR * NR - 1);
	cr_assert_eq(level_at(KERNEL, va, pa), 1);
	cr_assert_eq(level_at(KERNEL, va + LARGE, pa + LARGE), 0);
	cr_assert_eq(flags_at(KERNEL, va + LARGE + PAGE), 0);
	cr_assert(check_all());
	mmk_pmap_kremove(kernel, va, NR * NR);
	cr_assert_eq(kernel->nr_tables, nr_tables);
	cr_assert_eq(kernel->nr_reserved, 0);
}
#endif
#endif

/* ---- at the worst moment --------------------------------------------------------------- */

/* No lock is held, and KVA is empty. */
static bool
is_quiet(void)
{
	return !sim_lock_is_held(&kernel->lock) && intrude_is_quiet(&sys) &&
	    flags_at(KERNEL, KVA) == 0;
}

static void
settle_and_look(void)
{
	sim_set_cpu(1);
	mmk_pmap_settle(kernel);
	cr_assert_eq(kernel_load(1, KVA), UINT64_MAX);
	sim_set_cpu(0);
}

static void
remove_neighbour(void)
{
	struct mmk_gather own;

	sim_set_cpu(1);
	mmk_gather_init(&own, &sys);
	mmk_pmap_remove(kernel, KVA + PAGE, KVA + 2 * PAGE, &own);
	mmk_gather_finish(&own);
	sim_set_cpu(0);
}

/* KVA is taken by a page operation, and not flushed yet. */
static void
between(void (*what)(void))
{
	struct mmk_frame *frame = new_frame_with(1), *next = new_frame_with(2);

	sim_forbid_stale_hits(true);
	enter(KERNEL, KVA, frame, R);
	enter(KERNEL, KVA + PAGE, next, R);
	for (unsigned cpu = 0; cpu < 2; cpu++) {
		switch_to(cpu, cpu);
		cr_assert_eq(kernel_load(cpu, KVA), 1);
		cr_assert_eq(kernel_load(cpu, KVA + PAGE), 2);
	}
	intrude_when(is_quiet, what);
	mmk_page_remove_all(&sys, frame);
	intrude_end();
	remove_now(KERNEL, KVA, KVA + 2 * PAGE);
	(void)mmk_frame_unref(&phys, frame);
	(void)mmk_frame_unref(&phys, next);
}

TEST_HALVES(settle_reaches_the_upper_half)
{
	between(settle_and_look);
}

TEST_HALVES(a_table_goes_while_a_flush_is_to_come)
{
	between(remove_neighbour);
}

/* ---- several CPUs ------------------------------------------------------------------------ */

#define NR_THREADS 4u
#define NR_SLOTS 8u /* of each thread that changes the kernel's half */
#define NR_ROUNDS 300u

static mmk_va
slot_va(unsigned slot)
{
	return slot % 2 == 0 ? LAST - slot * PAGE : KVA + slot * table_bytes(1);
}

/* What it may see: its own page, or nothing. */
static void
look(unsigned cpu, unsigned slot)
{
	uint64_t word = kernel_load(cpu, slot_va(slot));

	cr_assert(word == UINT64_MAX || word == slot + 1);
}

/* Threads 0 and 1: programs come and go, and see what the kernel has now. */
static void
run_programs(unsigned cpu, uint64_t *random)
{
	struct mmk_pmap own;

	cr_assert_eq(mmk_pmap_init(&own, &sys, NULL), MMK_OK);
	for (unsigned i = 0; i < 8; i++) {
		struct mmk_pmap *pmap = i % 3 == 2 ? &own : &pmaps[i % 3];

		mmk_pmap_activate(pmap, cpu);
		for (unsigned k = 0; k < 4; k++)
			look(cpu, mmk_test_random(random) >> 20 &
			        (2 * NR_SLOTS - 1));
		mmk_pmap_deactivate(pmap, cpu);
	}
	mmk_pmap_fini(&own);
}

/* Threads 2 and 3: a page comes, is used, and goes, by one way or another. */
static void
change_kernel(unsigned cpu, uint64_t *random)
{
	unsigned slot = (cpu - 2) * NR_SLOTS +
	    (unsigned)(mmk_test_random(random) >> 20 & (NR_SLOTS - 1));
	struct mmk_frame *frame = new_frame_with(slot + 1);
	struct mmk_gather own;

	cr_assert_eq(mmk_pmap_enter(kernel, slot_va(slot), pa_of(frame),
	                 R | W),
	    MMK_OK);
	cr_assert_eq(kernel_load(cpu, slot_va(slot)), slot + 1);
	if (mmk_test_random(random) >> 20 & 1)
		mmk_page_remove_all(&sys, frame);
	mmk_gather_init(&own, &sys);
	mmk_pmap_remove(kernel, slot_va(slot), slot_va(slot) + PAGE, &own);
	mmk_gather_finish(&own);
	mmk_pmap_settle(kernel);
	*(uint64_t *)mmk_frame_ptr(&phys, frame) = 0;
	(void)mmk_frame_unref(&phys, frame);
}

static void *
run_thread(void *arg)
{
	unsigned cpu = (unsigned)(uintptr_t)arg;
	uint64_t random = mmk_test_seed() * 77 + cpu;

	sim_set_cpu(cpu);
	for (unsigned i = 0; i < mmk_test_steps(NR_ROUNDS); i++)
		if (cpu < 2)
			run_programs(cpu, &random);
		else
			change_kernel(cpu, &random);
	return NULL;
}

Test(halves, several_cpus)
{
	has_kernel = true;
	for (size_t i = 0; i < NR_FORMATS; i++) {
		struct sim_config config = formats[i];
		pthread_t threads[NR_THREADS];

		config.nr_cpus = NR_THREADS;
		boot(&config);
		sim_delay_ipis(3, mmk_test_seed());
		for (unsigned cpu = 0; cpu < NR_THREADS; cpu++)
			cr_assert_eq(pthread_create(&threads[cpu], NULL,
			                 run_thread, (void *)(uintptr_t)cpu),
			    0);
		for (unsigned cpu = 0; cpu < NR_THREADS; cpu++)
			pthread_join(threads[cpu], NULL);
		cr_assert_eq(kernel->nr_pages, 0);
		halt();
	}
	has_kernel = false;
}

/* ---- the audit, and what only a bug does ------------------------------------------------- */

TEST_HALVES(check_sees_what_is_wrong)
{
	uint64_t *slots = (uint64_t *)MMKIT_PHYS_TO_PTR(kernel->root_pa);
	struct mmk_frame *table;
	uint64_t pte;

	if (is_arm())
		return;
	pte = slots[300];
	table = mmk_frame_of_pa(&phys,
	    mmk_pt_pa(&sys.shape, sys.shape.nr_levels - 1u, pte));
	cr_assert(mmk_pmap_check(kernel));
	table->mapped = 0; /* it would go with the next leaf */
	cr_assert(!mmk_pmap_check(kernel));
	table->mapped = 2;
	cr_assert(!mmk_pmap_check(kernel));
	table->mapped = 1;
	slots[300] = 0;
	cr_assert(!mmk_pmap_check(kernel));
	slots[300] = pte;
	cr_assert(mmk_pmap_check(kernel));
	slots = (uint64_t *)MMKIT_PHYS_TO_PTR(pmaps[1].root_pa);
	slots[300] = slots[299];
	cr_assert(!mmk_pmap_check(&pmaps[1]));
	slots[300] = pte & ~UINT64_C(1);
	cr_assert(!mmk_pmap_check(&pmaps[1]));
	slots[300] = pte;
	cr_assert(mmk_pmap_check(&pmaps[1]));
}

TestSuite(halves_bugs, .init = boot_first_with_kernel);

Test(halves_bugs, two_kernels, .signal = SIGABRT)
{
	static struct mmk_pmap second;

	(void)!mmk_pmap_init_kernel(&second, &sys, NULL);
}

Test(halves_bugs, fini_of_an_active_kernel, .signal = SIGABRT)
{
	mmk_pmap_fini(kernel);
}

#if MMKIT_PAGE_SHIFT == 12
/* This CPU would have the kernel's entries, and nobody would ask it. */
Test(halves_bugs, a_program_before_the_kernel, .signal = SIGABRT)
{
	mmk_pmap_deactivate(kernel, 0);
	mmk_pmap_activate(&pmaps[0], 0);
}
#endif
