/* SPDX-License-Identifier: MIT
 *
 * tests/test_btree.c: the contract of mmkit/base/btree.h, by example and by
 * oracle; test_btree_gap.c has the searches for free space
 */
#include <signal.h>

#include "btree_oracle.h"

TestSuite(btree, .init = setup, .fini = teardown);
TestSuite(btree_bugs, .init = setup);

/* ---- find ---------------------------------------------------------------- */

Test(btree, empty_tree_finds_nothing_and_leaves_out_alone)
{
	struct mmk_range range = { 1, 2, &range };
	struct mmk_btree_cursor cursor;

	cr_assert(!mmk_btree_find(&tree, 0, &range));
	cr_assert(!mmk_btree_find_ge(&tree, 0, &range));
	cr_assert(!mmk_btree_find_le(&tree, TOP, &range));
	cr_assert(!mmk_btree_find_above(&tree, 0, &range));
	cr_assert(!mmk_btree_seek(&tree, 0, &cursor, &range));
	cr_assert(!mmk_btree_next(&cursor, &range));
	cr_assert(!mmk_btree_prev(&cursor, &range));
	cr_assert_eq(range.start, 1);
	cr_assert_eq(range.last, 2);
	cr_assert_eq(range.value, (void *)&range);
	cr_assert_null(mmk_btree_erase(&tree, 0));
	cr_assert(mmk_btree_check(&tree));
}

Test(btree, find_answers_inside_and_at_both_ends_only)
{
	struct mmk_range range;

	put(FOUR_GIB + 10, FOUR_GIB + 19);
	cr_assert(!mmk_btree_find(&tree, FOUR_GIB + 9, &range));
	cr_assert(mmk_btree_find(&tree, FOUR_GIB + 10, &range));
	cr_assert(mmk_btree_find(&tree, FOUR_GIB + 19, &range));
	cr_assert(!mmk_btree_find(&tree, FOUR_GIB + 20, &range));
	cr_assert(!mmk_btree_find(&tree, 10, &range), "no truncation");
	cr_assert(mmk_btree_find_ge(&tree, 0, &range));
	cr_assert(!mmk_btree_find_ge(&tree, FOUR_GIB + 20, &range));
	cr_assert(mmk_btree_find_le(&tree, TOP, &range));
	cr_assert(!mmk_btree_find_le(&tree, FOUR_GIB + 9, &range));
	assert_range(&range, 0);
}

Test(btree, first_and_last_address_are_addresses_like_any_other)
{
	struct mmk_range range;

	put(0, 0);
	put(TOP, TOP);
	cr_assert(mmk_btree_find(&tree, 0, &range));
	assert_range(&range, 0);
	cr_assert(mmk_btree_find(&tree, TOP, &range));
	assert_range(&range, 1);
	assert_same();
	cr_assert(!mmk_btree_find_above(&tree, TOP, &range));
}

Test(btree, one_range_may_cover_everything)
{
	struct mmk_range range;
	uint64_t start = 7;

	put(0, TOP);
	cr_assert(mmk_btree_find(&tree, FOUR_GIB, &range));
	assert_range(&range, 0);
	put(5, 5); /* must answer EXIST */
	cr_assert_eq(nr_known, 1);
	cr_assert_eq(mmk_btree_gap_lowest(&tree, 1, 1, 0, TOP, &start),
	    MMK_ERR_NOSPACE);
	cr_assert_eq(mmk_btree_gap_highest(&tree, 1, 1, 0, TOP, &start),
	    MMK_ERR_NOSPACE);
	cr_assert_eq(start, 7, "untouched on error");
	assert_same();
}

Test(btree, next_stays_at_the_end)
{
	struct mmk_btree_cursor cursor;
	struct mmk_range range;

	build(300, 0, 10);
	cr_assert(mmk_btree_seek(&tree, 2985, &cursor, &range));
	assert_range(&range, 298);
	cr_assert(mmk_btree_next(&cursor, &range));
	for (int i = 0; i < 3; i++)
		cr_assert(!mmk_btree_next(&cursor, &range));
	assert_range(&range, 299);
	cr_assert(!mmk_btree_seek(&tree, 3000, &cursor, &range));
	cr_assert(!mmk_btree_next(&cursor, &range));
}

Test(btree, prev_goes_down_from_any_place_and_stays_at_the_lowest)
{
	struct mmk_btree_cursor cursor;
	struct mmk_range range = { 1, 2, &range };

	build(300, 0, 10);
	cr_assert(!mmk_btree_seek(&tree, 3000, &cursor, &range));
	cr_assert(mmk_btree_prev(&cursor, &range));
	assert_range(&range, 299);
	cr_assert(mmk_btree_seek(&tree, 15, &cursor, &range));
	assert_range(&range, 1);
	cr_assert(mmk_btree_prev(&cursor, &range));
	for (int i = 0; i < 3; i++)
		cr_assert(!mmk_btree_prev(&cursor, &range));
	assert_range(&range, 0);
	cr_assert(mmk_btree_next(&cursor, &range));
	assert_range(&range, 1);
	/* To and fro over every border between two leaves. */
	for (unsigned i = 1; i + 1 < 300; i++) {
		cr_assert(mmk_btree_next(&cursor, &range));
		assert_range(&range, i + 1);
		cr_assert(mmk_btree_prev(&cursor, &range));
		assert_range(&range, i);
		cr_assert(mmk_btree_next(&cursor, &range));
	}
}

/* ---- what the btree of physmem got wrong --------------------------------- */

/* Its order was a difference cut to an int, and start + size wrapped. */
Test(btree, B1_b_far_addresses_are_in_order_and_the_top_does_not_wrap)
{
	for (unsigned bit = 0; bit < 64; bit++)
		put((uint64_t)1 << bit, (uint64_t)1 << bit);
	for (unsigned bit = 31; bit < 64; bit++)
		put(TOP - ((uint64_t)1 << bit) + 1,
		    TOP - ((uint64_t)1 << bit) + 1);
	for (uint64_t far = 1; far < 40; far++)
		put(far * ((uint64_t)1 << 31) * 3 + 7,
		    far * ((uint64_t)1 << 31) * 3 + 7);
	put(TOP - 4095, TOP);
	assert_same();
	put(TOP, TOP); /* must answer EXIST */
	put(TOP - 9000, TOP - 4095);
	put(TOP - 9000, TOP - 4096);
	assert_same();
	while (nr_known > 0)
		take(nr_known / 2);
}

/* A number that changes with every word the tree has written. */
static uint64_t
sum_of_memory(void)
{
	uint64_t sum = tree.nr_ranges + tree.version + tree.height +
	    (uintptr_t)tree.root + (uintptr_t)tree.reserve;

	for (unsigned i = 0; i < nr_nodes; i++) {
		const struct mmk_btree_node *node = nodes[i];

		sum = sum * 31 + node->nr + node->level;
		for (unsigned k = 0; k < 40; k++)
			sum = sum * 31 + node->last[k];
		for (unsigned k = 0; k < node->nr; k++)
			sum = (sum * 31 + node->mark[k]) * 31 +
			    (uintptr_t)node->ptr[k];
	}
	return sum;
}

/* Its find turned the tree, so that readers could not share. */
Test(btree, B1_c_reading_writes_nothing)
{
	uint64_t seed = start_seed;
	struct mmk_btree_cursor cursor;
	struct mmk_range range;

	while (nr_known < 3000) {
		uint64_t start = mmk_test_random(&seed) % 100000 * 8;

		put(start, start + 3);
	}
	uint64_t sum = sum_of_memory();
	for (unsigned i = 0; i < 20000; i++) {
		uint64_t addr = mmk_test_random(&seed) % 1000000, start;

		(void)mmk_btree_find(&tree, addr, &range);
		(void)mmk_btree_find_le(&tree, addr, &range);
		(void)!mmk_btree_gap_lowest(&tree, 100, 4, addr, TOP, &start);
		(void)!mmk_btree_gap_highest(&tree, 100, 4, 0, addr, &start);
		if (!mmk_btree_seek(&tree, addr, &cursor, &range))
			continue;
		(void)mmk_btree_next(&cursor, &range);
		(void)mmk_btree_prev(&cursor, &range);
	}
	cr_assert_eq(sum_of_memory(), sum);
}

/* ---- insert, erase, resize ----------------------------------------------- */

Test(btree, insert_over_an_existing_range_fails_and_changes_nothing)
{
	build(500, 1000, 20);
	unsigned nr_allocs_before = nr_allocs;
	for (uint64_t start = 5000; start < 5040; start++)
		for (uint64_t bytes = 1; bytes < 50; bytes += 12)
			if (known_overlaps(start, start + bytes - 1))
				put(start, start + bytes - 1);
	put(0, TOP);
	put(0, 1000);
	put(1000 + 499 * 20 + 9, TOP);
	cr_assert_eq(nr_known, 500);
	cr_assert_eq(nr_allocs, nr_allocs_before, "nothing was allocated");
	assert_same();
}

Test(btree, erase_takes_only_the_exact_start)
{
	put(10, 19);
	cr_assert_null(mmk_btree_erase(&tree, 9));
	cr_assert_null(mmk_btree_erase(&tree, 11));
	cr_assert_null(mmk_btree_erase(&tree, 19));
	cr_assert_null(mmk_btree_erase(&tree, 20));
	assert_same();
	take(0);
	assert_same();
	cr_assert_eq(nr_nodes, 0, "an empty tree holds no memory");
}

Test(btree, built_and_erased_in_every_order)
{
	enum { NR = 1500 };

	for (unsigned order = 0; order < 4; order++) {
		for (unsigned i = 0; i < NR; i++) {
			uint64_t at = order & 1 ? NR - 1 - i : i;

			put(at * 16, at * 16 + at % 16);
		}
		assert_same();
		fail_all = true;
		while (nr_known > 0) {
			take(order & 2 ? nr_known - 1 : 0);
			if (nr_known % 64 == 0)
				assert_same();
		}
		fail_all = false;
		cr_assert_eq(nr_nodes, 0);
	}
}

Test(btree, insert_allocates_at_most_a_node_per_level_and_a_root)
{
	uint64_t seed = start_seed;

	for (unsigned i = 0; i < 20000; i++) {
		unsigned height = tree.height, nr_before = nr_allocs;
		uint64_t start = mmk_test_random(&seed);

		put(start, start);
		cr_assert_leq(nr_allocs - nr_before, height + 1);
	}
}

Test(btree, resize_moves_both_ends_up_to_the_neighbours)
{
	build(400, 100, 30);
	for (unsigned i = 0; i < nr_known; i++) {
		uint64_t start = i == 0 ? 0 : known[i - 1].last + 1;
		uint64_t last = i + 1 == nr_known ? TOP :
		    known[i + 1].start - 1;

		mmk_btree_resize(&tree, known[i].start, start, last);
		known[i].start = start;
		known[i].last = last;
		cr_assert(mmk_btree_check(&tree));
		mmk_btree_resize(&tree, start, last, last);
		known[i].start = last;
		cr_assert(mmk_btree_check(&tree));
	}
	assert_same();
}

Test(btree, ascending_build_costs_at_most_28_bytes_a_range)
{
	build(20000, 0, 10);
	cr_assert_leq(nr_nodes * MMK_BTREE_NODE_BYTES, 20000 * 28,
	    "%u nodes", nr_nodes);
}

Test(btree, random_build_costs_at_most_34_bytes_a_range)
{
	uint64_t seed = start_seed;

	while (nr_known < 20000) {
		uint64_t start = mmk_test_random(&seed);

		put(start, start);
	}
	cr_assert_leq(nr_nodes * MMK_BTREE_NODE_BYTES, 20000 * 34,
	    "%u nodes, MMK_SEED=%llu", nr_nodes,
	    (unsigned long long)start_seed);
}

/* ---- memory that fails --------------------------------------------------- */

Test(btree, insert_without_memory_fails_and_changes_nothing)
{
	fail_all = true;
	cr_assert_eq(mmk_btree_insert(&tree, 1, 1, &tree), MMK_ERR_NOMEM);
	cr_assert(mmk_btree_check(&tree));
	cr_assert_eq(tree.height, 0);
	fail_all = false;
	/* Each insert into a growing tree, with its k-th node failing. */
	for (unsigned i = 0; i < mmk_test_steps(3000); i++) {
		uint64_t start = i % 2 ? (uint64_t)i * 8 : TOP - i * 8;

		for (unsigned k = 1;; k++) {
			unsigned nr_before = nr_nodes;

			fail_at = k;
			enum mmk_err err = mmk_btree_insert(&tree, start,
			    start, &tree);
			if (err == MMK_OK)
				break;
			cr_assert_eq(err, MMK_ERR_NOMEM);
			cr_assert_eq(nr_nodes, nr_before);
			cr_assert_eq(tree.nr_ranges, nr_known);
			if (k > 1 || i % 16 == 0)
				assert_same();
		}
		fail_at = 0;
		known_insert(start, start, &tree);
	}
	assert_same();
}

Test(btree, reserve_without_memory_fails_and_changes_nothing)
{
	build(1000, 0, 16);
	for (unsigned k = 1;; k++) {
		unsigned nr_before = nr_nodes;

		fail_at = k;
		enum mmk_err err = mmk_btree_reserve(&tree, 7);
		if (err == MMK_OK) {
			cr_assert_gt(k, 7);
			break;
		}
		cr_assert_eq(err, MMK_ERR_NOMEM);
		cr_assert_eq(nr_nodes, nr_before);
		cr_assert_eq(tree.nr_reserved, 0);
		cr_assert_eq(tree.nr_promised, 0);
		assert_same();
	}
	fail_at = 0;
	fail_all = true;
	cr_assert_eq(mmk_btree_reserve(&tree, 7), MMK_OK, "already there");
	cr_assert_eq(mmk_btree_reserve(&tree, 3), MMK_OK);
	cr_assert_eq(tree.nr_promised, 7, "the larger promise stands");
	cr_assert_eq(mmk_btree_reserve(&tree, UINT32_MAX), MMK_ERR_NOMEM);
	assert_same();
}

Test(btree, reserve_of_nothing_allocates_nothing)
{
	fail_all = true;
	cr_assert_eq(mmk_btree_reserve(&tree, 0), MMK_OK);
	cr_assert_eq(nr_allocs, 0);
}

Test(btree, unreserve_gives_every_spare_node_back)
{
	build(50, 0, 16);
	unsigned nr_before = nr_nodes;
	cr_assert_eq(mmk_btree_reserve(&tree, 9), MMK_OK);
	cr_assert_gt(nr_nodes, nr_before);
	mmk_btree_unreserve(&tree);
	cr_assert_eq(nr_nodes, nr_before);
	cr_assert_eq(tree.nr_promised, 0);
	assert_same();
}

/*
 * Promise, then no memory at all: every promised insert works, with erasing
 * in between, in trees of all sizes, random or with every leaf filled up.
 */
Test(btree, prop_promised_inserts_never_fail)
{
	uint64_t seed = start_seed;

	for (unsigned round = 0; round < mmk_test_steps(600); round++) {
		unsigned nr = (unsigned)(mmk_test_random(&seed) % 64) + 1;
		uint64_t span = 1000 + mmk_test_random(&seed) % 100000;

		cr_assert_eq(mmk_btree_reserve(&tree, nr), MMK_OK);
		fail_all = true;
		while (nr > 0) {
			uint64_t start = mmk_test_random(&seed) % span;
			unsigned nr_before = nr_known;

			if (mmk_test_random(&seed) % 4 == 0 && nr_known > 0)
				take((unsigned)(start % nr_known));
			nr_before = nr_known;
			put(start, start);
			nr -= nr_known - nr_before;
			cr_assert_eq(tree.nr_promised, nr);
			if (nr_known > span / 2)
				take((unsigned)(start % nr_known));
		}
		fail_all = false;
		cr_assert(mmk_btree_check(&tree), "MMK_SEED=%llu round %u",
		    (unsigned long long)start_seed, round);
		if (mmk_test_random(&seed) % 4 == 0)
			mmk_btree_unreserve(&tree);
		while (round % 50 == 49 && nr_known > 0)
			take((unsigned)(mmk_test_random(&seed) % nr_known));
	}
	assert_same();
}

/* In order, so that now and then every node on the way is full. */
Test(btree, promise_covers_a_split_of_every_level)
{
	uint64_t start = 0;

	for (unsigned i = 0; i < mmk_test_steps(12000); i++) {
		unsigned nr = i % 4 == 3 ? 3 : 1;

		cr_assert_eq(mmk_btree_reserve(&tree, nr), MMK_OK);
		cr_assert_leq(tree.nr_reserved, nr * (tree.height + 1));
		fail_all = true;
		for (; nr > 0; nr--, start += 8)
			put(start, start);
		fail_all = false;
		mmk_btree_unreserve(&tree);
	}
	assert_same();
}

Test(btree, promise_outlives_a_tree_that_empties_in_between)
{
	for (unsigned nr = 1; nr < 200; nr += 9) {
		cr_assert_eq(mmk_btree_reserve(&tree, nr), MMK_OK);
		fail_all = true;
		for (unsigned i = 0; i < nr; i++) {
			put(i * 2, i * 2);
			if (i % 40 == 3)
				while (nr_known > 0)
					take(nr_known - 1);
		}
		while (nr_known > 0)
			take(0);
		fail_all = false;
		mmk_btree_unreserve(&tree);
		cr_assert_eq(nr_nodes, 0);
	}
}

Test(btree, fork_sized_promise_needs_little_more_than_the_tree)
{
	cr_assert_eq(mmk_btree_reserve(&tree, 10000), MMK_OK);
	cr_assert_leq(nr_nodes, 10000 / 8, "%u nodes", nr_nodes);
	fail_all = true;
	build(10000, 0, 32);
}

/* ---- the whole, against the oracle --------------------------------------- */

/* Addresses gather at 0, above 2^32 and below 2^64, so that they collide. */
static uint64_t
random_addr(uint64_t *seed)
{
	uint64_t offset = mmk_test_random(seed) % 6000;

	switch (mmk_test_random(seed) % 8) {
	case 0:
		return mmk_test_random(seed);
	case 1:
	case 2:
		return TOP - offset;
	case 3:
	case 4:
		return offset;
	default:
		return 5 * FOUR_GIB - 3000 + offset;
	}
}

static uint64_t
random_last(uint64_t *seed, uint64_t start)
{
	uint64_t bytes = mmk_test_random(seed) % 9;

	if (mmk_test_random(seed) % 64 == 0)
		bytes = mmk_test_random(seed) % 3000;
	return bytes > TOP - start ? TOP : start + bytes;
}

static void
random_resize(uint64_t *seed)
{
	unsigned i = (unsigned)(mmk_test_random(seed) % nr_known);
	uint64_t lo = i > 0 ? known[i - 1].last + 1 : 0;
	uint64_t hi = i + 1 < nr_known ? known[i + 1].start - 1 : TOP;
	uint64_t below = known[i].start - lo, above = hi - known[i].start;
	uint64_t start = known[i].start -
	    (below > 0 ? mmk_test_random(seed) % (below % 64 + 1) : 0);
	uint64_t last = known[i].start +
	    (above > 0 ? mmk_test_random(seed) % (above % 64 + 1) : 0);

	if (mmk_test_random(seed) % 2)
		start = known[i].start;
	mmk_btree_resize(&tree, known[i].start, start, last);
	known[i].start = start;
	known[i].last = last;
}

static void
random_find(uint64_t *seed)
{
	uint64_t addr = random_addr(seed);
	unsigned i = known_ge(addr);
	bool inside = i < nr_known && known[i].start <= addr;
	bool below = inside || i > 0;
	struct mmk_range range;

	cr_assert_eq(mmk_btree_find(&tree, addr, &range), inside);
	if (inside)
		assert_range(&range, i);
	cr_assert_eq(mmk_btree_find_ge(&tree, addr, &range), i < nr_known);
	if (i < nr_known)
		assert_range(&range, i);
	cr_assert_eq(mmk_btree_find_le(&tree, addr, &range), below);
	if (below)
		assert_range(&range, inside ? i : i - 1);
	if (i == nr_known)
		return;
	struct mmk_btree_cursor cursor;
	cr_assert(mmk_btree_seek(&tree, addr, &cursor, &range));
	assert_range(&range, i);
	cr_assert_eq(mmk_btree_prev(&cursor, &range), i > 0);
	assert_range(&range, i > 0 ? i - 1 : i);
	if (i > 0)
		cr_assert(mmk_btree_next(&cursor, &range));
	cr_assert_eq(mmk_btree_next(&cursor, &range), i + 1 < nr_known);
	cr_assert_eq(mmk_btree_find_above(&tree, known[i].last, &range),
	    i + 1 < nr_known);
	if (i + 1 < nr_known)
		assert_range(&range, i + 1);
}

static void
random_gap(uint64_t *seed)
{
	struct want want = {
		.bytes = mmk_test_random(seed) % 40 + 1,
		.align = (uint64_t)1 << mmk_test_random(seed) % 6,
		.lo = random_addr(seed),
		.last = random_addr(seed),
	};

	if (mmk_test_random(seed) % 8 == 0)
		want.bytes = mmk_test_random(seed) | 1;
	if (mmk_test_random(seed) % 8 == 0)
		want.align = (uint64_t)1 << mmk_test_random(seed) % 64;
	if (mmk_test_random(seed) % 4 == 0)
		want.lo = 0;
	if (mmk_test_random(seed) % 4 == 0)
		want.last = TOP;
	if (want.lo > want.last && mmk_test_random(seed) % 8 != 0) {
		uint64_t swap = want.lo;

		want.lo = want.last;
		want.last = swap;
	}
	assert_gaps(&want);
}

/* `percent` of the changes are inserts. */
static void
random_step(uint64_t *seed, unsigned percent)
{
	unsigned what = (unsigned)(mmk_test_random(seed) % 10);

	if (what < 2)
		random_find(seed);
	else if (what == 2)
		random_gap(seed);
	else if (what == 3 && nr_known > 0)
		random_resize(seed);
	else if (mmk_test_random(seed) % 100 < percent) {
		uint64_t start = random_addr(seed);

		put(start, random_last(seed, start));
	} else if (nr_known > 0)
		take((unsigned)(mmk_test_random(seed) % nr_known));
	else
		cr_assert_null(mmk_btree_erase(&tree, random_addr(seed)));
}

Test(btree, S1_T_random_operations_agree_with_a_sorted_array)
{
	static const unsigned percents[] = { 85, 20, 60, 95, 50, 5 };
	uint64_t seed = start_seed;
	unsigned nr_steps = mmk_test_steps(100000);

	for (unsigned step = 0; step < nr_steps; step++) {
		unsigned phase = (unsigned)((uint64_t)step * 12 / nr_steps % 6);

		random_step(&seed, percents[phase]);
		if (step % 8 == 0 || nr_known < 50)
			cr_assert(mmk_btree_check(&tree),
			    "MMK_SEED=%llu step %u",
			    (unsigned long long)start_seed, step);
		if (step % 512 == 0)
			assert_same();
	}
	assert_same();
}

/* Four levels and more: splits and joins above the leaves' parents. */
Test(btree, prop_large_trees_agree_with_a_sorted_array)
{
	uint64_t seed = start_seed;
	unsigned nr_steps = mmk_test_steps(60000);

	for (unsigned step = 0; step < nr_steps; step++) {
		uint64_t start = mmk_test_random(&seed);
		bool growing = step < nr_steps / 2;

		if (mmk_test_random(&seed) % 16 < (growing ? 15u : 1u))
			put(start, start);
		else if (nr_known > 0)
			take((unsigned)(start % nr_known));
		if (step % 1000 == 0)
			assert_same();
	}
	assert_same();
}

/* ---- check --------------------------------------------------------------- */

/* A node as it lies in memory: what check() is there to doubt. */
struct raw_node {
	uint64_t last[40], mark[39];
	uint32_t nr, level;
	void *ptr[39];
};

/* Break one word, see that check() notices, and mend it. */
#define ASSERT_NOTICED(word, broken)                                        \
	do {                                                                \
		__typeof__(word) kept = (word);                             \
		(word) = (broken);                                          \
		cr_assert(!mmk_btree_check(&tree), #word " = " #broken);    \
		(word) = kept;                                              \
		cr_assert(mmk_btree_check(&tree));                          \
	} while (0)

Test(btree, check_notices_every_broken_invariant)
{
	unsigned nr_inner = 0;

	build(2000, 100, 20);
	for (unsigned i = 0; i < nr_nodes; i++) {
		struct raw_node *node = nodes[i];
		unsigned nr = node->nr;

		ASSERT_NOTICED(node->nr, nr - 1);
		ASSERT_NOTICED(node->nr, 40);
		ASSERT_NOTICED(node->level, node->level + 1);
		ASSERT_NOTICED(node->ptr[nr - 1], NULL);
		ASSERT_NOTICED(node->last[0], node->last[1]);
		if (node != (void *)tree.root)
			ASSERT_NOTICED(node->last[nr - 1],
			    node->last[nr - 1] + 1);
		ASSERT_NOTICED(node->last[nr], TOP - 1);
		if (node->level > 0)
			ASSERT_NOTICED(node->mark[0], node->mark[0] + 1);
		else
			ASSERT_NOTICED(node->mark[1], node->last[0]);
		nr_inner += node->level > 0;
	}
	cr_assert_gt(nr_inner, 1);
	ASSERT_NOTICED(tree.nr_ranges, 1999);
	ASSERT_NOTICED(tree.height, tree.height + 1);
	ASSERT_NOTICED(tree.nr_reserved, 1);
}

/* ---- misuse -------------------------------------------------------------- */

Test(btree_bugs, insert_of_a_range_that_ends_before_it_starts_traps,
    .signal = SIGABRT)
{
	(void)!mmk_btree_insert(&tree, 2, 1, &tree);
}

Test(btree_bugs, insert_of_no_value_traps, .signal = SIGABRT)
{
	(void)!mmk_btree_insert(&tree, 1, 2, NULL);
}

Test(btree_bugs, fini_with_ranges_traps, .signal = SIGABRT)
{
	put(1, 2);
	mmk_btree_fini(&tree);
}

Test(btree_bugs, resize_of_nothing_in_an_empty_tree_traps, .signal = SIGABRT)
{
	mmk_btree_resize(&tree, 1, 1, 2);
}

Test(btree_bugs, resize_of_an_address_inside_a_range_traps, .signal = SIGABRT)
{
	put(1, 2);
	mmk_btree_resize(&tree, 2, 2, 2);
}

Test(btree_bugs, resize_to_ends_in_the_wrong_order_traps, .signal = SIGABRT)
{
	put(1, 2);
	mmk_btree_resize(&tree, 1, 2, 1);
}

Test(btree_bugs, resize_onto_the_range_above_traps, .signal = SIGABRT)
{
	build(100, 0, 20);
	for (unsigned i = 0; i < 98; i++) { /* up to the ends of leaves */
		mmk_btree_resize(&tree, known[i].start, known[i].start,
		    known[i + 1].start - 1);
	}
	mmk_btree_resize(&tree, known[98].start, known[98].start,
	    known[99].start);
}

Test(btree_bugs, resize_over_the_range_above_traps, .signal = SIGABRT)
{
	build(2, 0, 20);
	mmk_btree_resize(&tree, 0, 100, 200);
}

Test(btree_bugs, resize_onto_the_range_below_traps, .signal = SIGABRT)
{
	build(2, 0, 20);
	mmk_btree_resize(&tree, 20, 9, 29);
}
