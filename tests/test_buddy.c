/* SPDX-License-Identifier: MIT
 *
 * tests/test_buddy.c: the contract of mmkit/phys/buddy.h, by example, against
 * a map with a byte for each page, and what becomes of large blocks.
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "mmkit/phys/buddy.h"
#include "ports/sim/sim.h"
#include "prop.h"

/* A zone over pages that nobody touches: no RAM is needed behind them. */
static struct mmk_frame_table table;
static struct mmk_buddy buddy;
static void *meta;

static void
make(mmk_pfn first_pfn, mmk_pfn end_pfn, mmk_pfn zone_first, mmk_pfn zone_end)
{
	struct mmk_phys_span span = { mmk_pa_of_pfn(first_pfn),
		mmk_pa_of_pfn(end_pfn) };
	struct mmk_phys_map map = { &span, 1, NULL, 0 };
	struct mmk_frame_plan plan;

	sim_boot(NULL);
	mmk_frame_table_plan(&map, &plan);
	meta = malloc(plan.bytes);
	mmk_frame_table_build(&table, &plan, &map, meta, false);
	mmk_buddy_init(&buddy, &table, 0, zone_first, zone_end, "zone");
}

static bool
check(void)
{
	return mmk_buddy_check(&buddy);
}

static uint64_t
nr_blocks(unsigned order)
{
	uint64_t counts[MMK_NR_ORDERS] = { 0 };

	mmk_buddy_count(&buddy, counts);
	return counts[order];
}

static struct mmk_frame *
take(unsigned order)
{
	struct mmk_frame *frame;

	MMKIT_LOCK(&buddy.lock);
	frame = mmk_buddy_take_locked(&buddy, order);
	MMKIT_UNLOCK(&buddy.lock);
	return frame;
}

static void
give(struct mmk_frame *frame, unsigned order)
{
	MMKIT_LOCK(&buddy.lock);
	mmk_buddy_give_locked(&buddy, frame, order);
	MMKIT_UNLOCK(&buddy.lock);
}

static mmk_pfn
pfn_of(const struct mmk_frame *frame)
{
	return mmk_frame_table_pfn(&table, frame);
}

static void
setup(void)
{
	make(0, 1024, 0, 1024);
	mmk_buddy_give_run(&buddy, 0, 1024);
}

static void
fini(void)
{
	cr_assert(check());
	sim_shutdown();
	free(meta);
}

TestSuite(buddy, .init = setup, .fini = fini);
TestSuite(buddy_bugs, .init = setup);

Test(buddy, a_run_becomes_the_largest_blocks)
{
	cr_assert_eq(buddy.nr_free_pages, 1024);
	cr_assert_eq(nr_blocks(10), 1);
	cr_assert(check());
}

Test(buddy_map, any_run_becomes_aligned_blocks, .fini = fini)
{
	make(5, 1000, 5, 1000);
	mmk_buddy_give_run(&buddy, 5, 5);
	cr_assert_eq(buddy.nr_free_pages, 0);
	mmk_buddy_give_run(&buddy, 5, 1000);
	cr_assert_eq(buddy.nr_free_pages, 995);
	cr_assert(check());
	/* 5 | 6-7 | 8.. | 16.. | 32.. | 64.. | 128.. | 256.. | 512-767 ... */
	cr_assert_eq(nr_blocks(0), 1);
	cr_assert_eq(nr_blocks(8), 2);
	cr_assert_eq(nr_blocks(9), 0);
}

Test(buddy, take_splits_and_give_merges)
{
	struct mmk_frame *a = take(0), *b = take(0);

	cr_assert_eq(pfn_of(a), 0);
	cr_assert_eq(pfn_of(b), 1);
	cr_assert_eq(a->order, 0);
	cr_assert_eq(a->flags, MMK_FRAME_HEAD);
	cr_assert_eq(buddy.nr_free_pages, 1022);
	for (unsigned order = 1; order < 10; order++)
		cr_assert_eq(nr_blocks(order), 1);
	cr_assert(check());
	give(a, 0);
	cr_assert_eq(nr_blocks(0), 1);
	cr_assert(check());
	give(b, 0);
	cr_assert_eq(nr_blocks(10), 1);
	cr_assert_eq(a->flags, 0);
	cr_assert_eq(b->flags, 0);
}

Test(buddy, take_says_NULL_when_no_block_is_large_enough)
{
	struct mmk_frame *a;

	cr_assert_null(take(11));
	cr_assert_null(take(MMK_MAX_ORDER));
	a = take(0);
	cr_assert_null(take(10));
	cr_assert_not_null(take(9));
	give(a, 0);
	cr_assert_null(take(10));
	cr_assert_not_null(take(9));
	cr_assert_null(take(0));
	cr_assert_eq(buddy.nr_free_pages, 0);
}

Test(buddy_map, blocks_reach_a_gigabyte_and_cross_sections, .fini = fini)
{
	mmk_pfn pages = (uint64_t)1 << MMK_MAX_ORDER;
	struct mmk_frame *all, *one;

	make(pages, 3 * pages, pages, 3 * pages);
	mmk_buddy_give_run(&buddy, pages, 3 * pages);
	cr_assert_eq(nr_blocks(MMK_MAX_ORDER), 2,
	    "two of the largest are not merged");
	all = take(MMK_MAX_ORDER);
	cr_assert_eq(pfn_of(all), pages);
	one = take(0);
	cr_assert_eq(pfn_of(one), 2 * pages, "lowest address first");
	cr_assert(check());
	give(all, MMK_MAX_ORDER);
	give(one, 0);
	cr_assert_eq(nr_blocks(MMK_MAX_ORDER), 2);
}

Test(buddy_map, blocks_never_merge_across_the_end_of_a_zone, .fini = fini)
{
	struct mmk_buddy other;
	uint64_t counts[MMK_NR_ORDERS] = { 0 };

	/* The limit cuts every block in two. */
	make(0, 1024, 0, 448);
	mmk_buddy_init(&other, &table, 1, 448, 1024, "other");
	mmk_buddy_give_run(&other, 448, 1024);
	mmk_buddy_give_run(&buddy, 0, 448);
	cr_assert_eq(buddy.nr_free_pages, 448);
	cr_assert_eq(other.nr_free_pages, 576);
	cr_assert(mmk_buddy_check(&other));
	mmk_buddy_count(&other, counts);
	cr_assert_eq(counts[6], 1);
	cr_assert_eq(counts[9], 1);
	for (unsigned i = 0; i < 448; i++) {
		struct mmk_frame *frame = take(0);

		cr_assert_not_null(frame);
		cr_assert_lt(pfn_of(frame), 448);
	}
	cr_assert_null(take(0));
	for (unsigned i = 0; i < 448; i++)
		give(mmk_frame_table_lookup(&table, i), 0);
	cr_assert(check());
	cr_assert(mmk_buddy_check(&other));
	cr_assert_eq(other.nr_free_pages, 576);
}

Test(buddy_map, a_hole_is_no_buddy, .fini = fini)
{
	struct mmk_phys_span spans[] = {
		{ 0, mmk_pa_of_pfn(96) },
		{ mmk_pa_of_pfn(97), mmk_pa_of_pfn(128) },
	};
	struct mmk_phys_map map = { spans, 2, NULL, 0 };
	struct mmk_frame_plan plan;

	sim_boot(NULL);
	mmk_frame_table_plan(&map, &plan);
	meta = malloc(plan.bytes);
	mmk_frame_table_build(&table, &plan, &map, meta, false);
	mmk_buddy_init(&buddy, &table, 0, 0, 128, "zone");
	mmk_buddy_give_run(&buddy, 97, 128);
	mmk_buddy_give_run(&buddy, 0, 96);
	cr_assert_eq(buddy.nr_free_pages, 127);
	for (unsigned i = 0; i < 127; i++)
		cr_assert_neq(pfn_of(take(0)), 96);
	cr_assert_null(take(0));
	mmk_buddy_give_run(&buddy, 0, 96);
}

Test(buddy, check_sees_a_planted_fault)
{
	struct mmk_granule *part = &table.granules[0];
	struct mmk_granule *whole = &table.granules[1];

	/* Granule 0 has one page less, 1 is a block of order 6. */
	cr_assert_eq(pfn_of(take(0)), 0);
#define PLANT(field, value)                       \
	do {                                      \
		__typeof__(field) keep = (field); \
		(field) = (value);                \
		cr_assert_not(check(), #field);   \
		(field) = keep;                   \
		cr_assert(check());               \
	} while (0)
	PLANT(part->free, part->free & ~(uint64_t)4);
	PLANT(part->free, 0);
	PLANT(part->free, UINT64_MAX);
	PLANT(part->list, 4);
	PLANT(part->zone, 1);
	PLANT(part->prev, 9);
	PLANT(part->next, 5);
	PLANT(part->next, UINT32_MAX);
	PLANT(whole->free, 1);
	PLANT(whole->list, 7);
	PLANT(whole->first_pfn, 65);
	PLANT(buddy.orders, 0);
	PLANT(buddy.regions[5], 0);
	PLANT(buddy.regions[9], UINT64_MAX);
	PLANT(buddy.lists[0], 0);
	PLANT(buddy.nr_free_pages, 1);
	PLANT(buddy.end_pfn, 512);
#undef PLANT
}

/* ---- properties ---------------------------------------------------------- */

enum { PAGES = 2048, FIRST = 64, LAST = 1999 };

struct model {
	uint64_t seed, start_seed;
	unsigned step, nr_held;
	unsigned char is_taken[PAGES];
	struct mmk_frame *held[PAGES];
};

static void
model_mark(struct model *m, mmk_pfn pfn, unsigned order, unsigned char to)
{
	for (mmk_pfn i = pfn; i < pfn + (1u << order); i++) {
		cr_assert_neq(m->is_taken[i], to,
		    "MMK_SEED=%llu step %u page %u",
		    (unsigned long long)m->start_seed, m->step, (unsigned)i);
		m->is_taken[i] = to;
	}
}

static bool
model_has(const struct model *m, unsigned order)
{
	for (unsigned p = 0; p < PAGES; p += 1u << order)
		if (memchr(&m->is_taken[p], 1, 1u << order) == NULL)
			return true;
	return false;
}

static void
model_step(struct model *m)
{
	unsigned order = (unsigned)(mmk_test_random(&m->seed) % 9);
	struct mmk_frame *frame;

	if (mmk_test_random(&m->seed) % 2 == 0) {
		order = order > 5 ? 0 : order;
		frame = take(order);
		cr_assert_eq(frame != NULL, model_has(m, order),
		    "MMK_SEED=%llu step %u order %u",
		    (unsigned long long)m->start_seed, m->step, order);
		if (frame == NULL)
			return;
		cr_assert_eq(pfn_of(frame) % (1u << order), 0);
		cr_assert_eq(frame->order, order);
		model_mark(m, pfn_of(frame), order, 1);
		m->held[m->nr_held++] = frame;
	} else if (m->nr_held > 0) {
		unsigned i = (unsigned)(mmk_test_random(&m->seed) % m->nr_held);

		frame = m->held[i];
		m->held[i] = m->held[--m->nr_held];
		model_mark(m, pfn_of(frame), frame->order, 0);
		give(frame, frame->order);
	}
}

Test(buddy_map, prop_agrees_with_a_byte_for_each_page, .fini = fini)
{
	static struct model m;
	uint64_t start[MMK_NR_ORDERS] = { 0 }, end[MMK_NR_ORDERS] = { 0 };

	memset(&m, 0, sizeof(m));
	memset(m.is_taken, 1, PAGES);
	memset(&m.is_taken[FIRST], 0, LAST - FIRST);
	m.seed = m.start_seed = mmk_test_seed();
	make(0, PAGES, FIRST, LAST);
	mmk_buddy_give_run(&buddy, FIRST, LAST);
	mmk_buddy_count(&buddy, start);
	for (m.step = 0; m.step < mmk_test_steps(20000); m.step++) {
		model_step(&m);
		if (m.step % 8 == 0)
			cr_assert(check(), "MMK_SEED=%llu step %u",
			    (unsigned long long)m.start_seed, m.step);
	}
	while (m.nr_held > 0) {
		struct mmk_frame *frame = m.held[--m.nr_held];

		give(frame, frame->order);
	}
	cr_assert(check());
	mmk_buddy_count(&buddy, end);
	cr_assert_eq(memcmp(start, end, sizeof(start)), 0, "all merged again");
}

/*
 * Half of memory is in use, one page here and there; pages come and go. With
 * one list per order no large block would ever be whole again.
 */
Test(buddy_map, prop_large_blocks_come_back_under_churn, .fini = fini)
{
	enum { CHURN_PAGES = 1 << 15 };
	static struct mmk_frame *held[CHURN_PAGES];
	uint64_t seed = mmk_test_seed(), nr_large = 0;
	unsigned nr = 0;

	make(0, CHURN_PAGES, 0, CHURN_PAGES);
	mmk_buddy_give_run(&buddy, 0, CHURN_PAGES);
	while ((held[nr] = take(0)) != NULL)
		if (++nr == CHURN_PAGES)
			break;
	for (unsigned i = 0; i < CHURN_PAGES / 2; i++) {
		unsigned at = (unsigned)(mmk_test_random(&seed) % nr);

		give(held[at], 0);
		held[at] = held[--nr];
	}
	for (unsigned order = 9; order <= MMK_MAX_ORDER; order++)
		nr_large += nr_blocks(order);
	cr_assert_eq(nr_large, 0, "a random half leaves nothing large");
	for (unsigned i = 0; i < 10 * CHURN_PAGES; i++) {
		unsigned at = (unsigned)(mmk_test_random(&seed) % nr);

		give(held[at], 0);
		held[at] = take(0);
	}
	for (unsigned order = 9; order <= MMK_MAX_ORDER; order++)
		nr_large += nr_blocks(order) << (order - 9);
	cr_log_info("%llu of 32 large blocks are whole again",
	    (unsigned long long)nr_large);
	cr_assert_geq(nr_large, 24, "MMK_SEED=%llu",
	    (unsigned long long)mmk_test_seed());
	while (nr > 0)
		give(held[--nr], 0);
}

/* ---- bugs ---------------------------------------------------------------- */

Test(buddy_map, no_superpage_is_broken_while_a_smaller_block_will_do,
    .fini = fini)
{
	struct mmk_frame *frame;

	/* A superpage below, and a piece of one in the last region. */
	make(0, 1 << 15, 0, 1 << 15);
	mmk_buddy_give_run(&buddy, 0, 512);
	mmk_buddy_give_run(&buddy, (1 << 15) - 256, 1 << 15);
	for (unsigned i = 0; i < 64; i++) {
		frame = take(i % 3);
		cr_assert_geq(pfn_of(frame), (1 << 15) - 256);
	}
	cr_assert(check());
	cr_assert_eq(nr_blocks(9), 1);
}

/* ---- claim --------------------------------------------------------------- */

static bool
claim(mmk_pfn first_pfn, mmk_pfn end_pfn)
{
	bool claimed;

	MMKIT_LOCK(&buddy.lock);
	claimed = mmk_buddy_claim_locked(&buddy, first_pfn, end_pfn);
	MMKIT_UNLOCK(&buddy.lock);
	return claimed;
}

Test(buddy, claim_takes_exactly_these_pages)
{
	cr_assert(claim(5, 300));
	cr_assert(check());
	cr_assert_eq(buddy.nr_free_pages, 1024 - 295);
	for (mmk_pfn pfn = 0; pfn < 1024; pfn++) {
		struct mmk_frame *f = mmk_frame_table_lookup(&table, pfn);

		if (pfn < 5 || pfn >= 300)
			continue;
		cr_assert_eq(f->flags, MMK_FRAME_HEAD);
		cr_assert_eq(f->order, 0);
	}
	for (mmk_pfn pfn = 299; pfn >= 5; pfn--)
		give(mmk_frame_table_lookup(&table, pfn), 0);
	cr_assert(check());
	cr_assert_eq(nr_blocks(10), 1, "all merged again");
}

Test(buddy, claim_fails_on_a_page_that_is_not_free)
{
	struct mmk_buddy before;

	cr_assert(claim(700, 1024));
	cr_assert(claim(200, 202));
	before = buddy;
	cr_assert_not(claim(0, 201), "ends in a held page");
	cr_assert_not(claim(201, 300), "starts in one");
	cr_assert_not(claim(100, 700), "has them in the middle");
	cr_assert_not(claim(600, 701), "ends beyond the free ones");
	cr_assert_not(claim(1000, 1030), "ends beyond the zone");
	cr_assert_not(claim(2000, 2001), "outside");
	cr_assert_eq(memcmp(before.free, buddy.free, sizeof(before.free)), 0);
	cr_assert_eq(before.nr_free_pages, buddy.nr_free_pages);
	cr_assert(check());
}

Test(buddy, claim_fails_inside_a_taken_block)
{
	struct mmk_frame *f;

	f = take(4);
	cr_assert_not(claim(pfn_of(f) + 3, pfn_of(f) + 4));
	cr_assert_not(claim(pfn_of(f), pfn_of(f) + 1));
	cr_assert(claim(pfn_of(f) + 16, pfn_of(f) + 17), "its mate");
	cr_assert(check());
}

/* Random claims against a map with a byte for each page. */
Test(buddy, prop_claim_agrees_with_a_byte_for_each_page)
{
	bool is_free[1024];
	uint64_t seed = mmk_test_seed();

	memset(is_free, true, sizeof(is_free));
	for (unsigned i = 0; i < mmk_test_steps(2000); i++) {
		mmk_pfn first = mmk_test_random(&seed) % 1024;
		mmk_pfn end = first + 1 + mmk_test_random(&seed) % 64;
		bool may = end <= 1024;

		for (mmk_pfn p = first; may && p < end; p++)
			may = is_free[p];
		cr_assert_eq(claim(first, end), may);
		for (mmk_pfn p = first; may && p < end; p++)
			is_free[p] = false;
		for (unsigned k = 0; k < 16; k++) {
			first = mmk_test_random(&seed) % 1024;
			if (is_free[first])
				continue;
			give(mmk_frame_table_lookup(&table, first), 0);
			is_free[first] = true;
		}
		cr_assert(check());
	}
}

Test(buddy_bugs, take_without_the_lock_traps, .signal = SIGABRT)
{
	(void)mmk_buddy_take_locked(&buddy, 0);
}

Test(buddy_bugs, give_without_the_lock_traps, .signal = SIGABRT)
{
	mmk_buddy_give_locked(&buddy, take(0), 0);
}

Test(buddy_bugs, take_beyond_the_largest_order_traps, .signal = SIGABRT)
{
	(void)take(MMK_MAX_ORDER + 1);
}

Test(buddy_bugs, give_of_an_unaligned_block_traps, .signal = SIGABRT)
{
	(void)take(0);
	give(take(0), 1);
}

Test(buddy_bugs, give_outside_the_zone_traps, .signal = SIGABRT)
{
	buddy.end_pfn = 512;
	give(&table.frames[600], 0);
}

Test(buddy_bugs, run_outside_the_zone_traps, .signal = SIGABRT)
{
	mmk_buddy_give_run(&buddy, 1000, 1025);
}
