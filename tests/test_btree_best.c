/* SPDX-License-Identifier: MIT
 *
 * tests/test_btree_best.c: the contract of mmkit/base/btree_best.h, by example
 * and by oracle
 */
#include <signal.h>

#include <mmkit/base/btree_best.h>

#include "btree_oracle.h"

/* The node is not at the start, so that an offset forgotten is noticed. */
struct item {
	uint64_t padding[3];
	struct mmk_treap_node node;
};

static struct mmk_btree_best best;

static void
best_setup(void)
{
	setup();
	mmk_btree_best_init(&best, &memory, offsetof(struct item, node));
}

static void
best_put(uint64_t start, uint64_t last)
{
	struct item *item = (struct item *)malloc(sizeof(*item));
	enum mmk_err want =
	    known_overlaps(start, last) ? MMK_ERR_EXIST : MMK_OK;

	cr_assert_eq(mmk_btree_best_insert(&best, start, last, item), want,
	    "MMK_SEED=%llu", (unsigned long long)start_seed);
	if (want == MMK_OK)
		known_insert(start, last, item);
	else
		free(item);
}

static void
best_take(unsigned i)
{
	cr_assert_eq(mmk_btree_best_erase(&best, known[i].start),
	    known[i].value, "MMK_SEED=%llu", (unsigned long long)start_seed);
	free(known[i].value);
	known_erase(i);
}

/* Without memory, as nothing here may need any. */
static void
best_teardown(void)
{
	fail_all = true;
	while (nr_known > 0)
		best_take(nr_known / 2);
	cr_assert_eq(best.by_bytes.nr_nodes, 1, "one gap, the whole");
	cr_assert(mmk_btree_best_check(&best));
	mmk_btree_best_fini(&best);
	cr_assert_eq(nr_nodes, 0, "every node is given back");
}

TestSuite(btree_best, .init = best_setup, .fini = best_teardown);
TestSuite(btree_best_bugs, .init = best_setup);

static void
assert_best(const struct want *want)
{
	uint64_t expected = 12345, start = 12345;
	bool fits = oracle_gap(BEST, want, &expected);
	enum mmk_err err = mmk_btree_best_find(&best, want->bytes, want->align,
	    want->lo, want->last, &start);

	cr_assert_eq(err, fits ? MMK_OK : MMK_ERR_NOSPACE,
	    "bytes %llx align %llx in [%llx, %llx], MMK_SEED=%llu",
	    (unsigned long long)want->bytes, (unsigned long long)want->align,
	    (unsigned long long)want->lo, (unsigned long long)want->last,
	    (unsigned long long)start_seed);
	cr_assert_eq(start, expected,
	    "bytes %llx align %llx in [%llx, %llx]: %llx, not %llx, MMK_SEED=%llu",
	    (unsigned long long)want->bytes, (unsigned long long)want->align,
	    (unsigned long long)want->lo, (unsigned long long)want->last,
	    (unsigned long long)start, (unsigned long long)expected,
	    (unsigned long long)start_seed);
}

Test(btree_best, an_empty_tree_is_one_gap)
{
	static const struct want wants[] = {
		{ 1, 1, 0, TOP },
		{ TOP, 1, 0, TOP },
		{ TOP, 2, 0, TOP },
		{ TOP, 1, 2, TOP },
		{ TOP - 1, 2, 1, TOP },
		{ ((uint64_t)1 << 63) + 1, (uint64_t)1 << 63, 1, TOP },
		{ 1, 4096, TOP - 4094, TOP },
		{ 1, 1, 6, 5 },
		{ 2, 1, TOP, TOP },
		{ 5, 1, 0, 3 },
	};

	for (size_t i = 0; i < sizeof(wants) / sizeof(wants[0]); i++)
		assert_best(&wants[i]);
}

Test(btree_best, the_smallest_gap_that_serves)
{
	uint64_t start;

	best_put(10, 19);
	best_put(24, 29);
	best_put(40, 49);
	cr_assert_eq(mmk_btree_best_find(&best, 3, 1, 0, 100, &start), MMK_OK);
	cr_assert_eq(start, 20, "four free addresses are the fewest");
	cr_assert_eq(mmk_btree_best_find(&best, 3, 1, 0, 52, &start), MMK_OK);
	cr_assert_eq(start, 50, "three, cut by the window, are fewer");
	cr_assert_eq(mmk_btree_best_find(&best, 3, 8, 0, TOP, &start), MMK_OK);
	cr_assert_eq(start, 0, "the four have no multiple of 8 with room");
}

Test(btree_best, the_lowest_of_equals)
{
	uint64_t start;

	for (unsigned i = 0; i < 200; i++)
		best_put(5 + i * 20, 5 + i * 20 + 9);
	cr_assert_eq(mmk_btree_best_find(&best, 7, 1, 5, 3985, &start),
	    MMK_OK);
	cr_assert_eq(start, 15);
	cr_assert_eq(mmk_btree_best_find(&best, 7, 1, 17, 3985, &start),
	    MMK_OK);
	cr_assert_eq(start, 17, "the eight that the window leaves of a gap");
}

Test(btree_best, one_range_may_cover_everything)
{
	uint64_t start = 7;

	best_put(0, TOP);
	best_put(5, 5); /* must answer EXIST */
	cr_assert_eq(mmk_btree_best_find(&best, 1, 1, 0, TOP, &start),
	    MMK_ERR_NOSPACE);
	cr_assert_eq(start, 7, "untouched on error");
	cr_assert_eq(best.by_bytes.nr_nodes, 0);
	cr_assert(mmk_btree_best_check(&best));
}

Test(btree_best, a_start_that_is_not_one_takes_nothing)
{
	best_put(10, 19);
	cr_assert_eq(mmk_btree_best_erase(&best, 11), NULL);
	cr_assert_eq(mmk_btree_best_erase(&best, 9), NULL);
	cr_assert(mmk_btree_best_check(&best));
}

/* Each insert of many fails once; the tree and its index stay what they were. */
Test(btree_best, an_insert_without_memory_changes_nothing)
{
	struct item spare;
	unsigned nr_failed = 0;

	for (uint64_t i = 0; i < 2000; i++) {
		uint64_t nr_gaps = best.by_bytes.nr_nodes;

		fail_all = true;
		if (mmk_btree_best_insert(&best, i * 3, i * 3, &spare) ==
		    MMK_OK) {
			cr_assert_eq(mmk_btree_best_erase(&best, i * 3),
			    &spare);
		} else {
			nr_failed++;
			cr_assert(mmk_btree_best_check(&best));
		}
		cr_assert_eq(best.by_bytes.nr_nodes, nr_gaps);
		fail_all = false;
		best_put(i * 3, i * 3);
	}
	cr_assert_gt(nr_failed, 10);
}

/* Grow or shrink the i-th range, as far as its neighbours let it. */
static void
best_resize(unsigned i, uint64_t *seed)
{
	struct item *item = (struct item *)known[i].value;
	uint64_t floor = i > 0 ? known[i - 1].last + 1 : TOP - 3000;
	uint64_t ceiling = i + 1 < nr_known ? known[i + 1].start - 1 : TOP;
	uint64_t start = floor +
	    mmk_test_random(seed) % (known[i].last - floor + 1);
	uint64_t last = ceiling - mmk_test_random(seed) % (ceiling - start + 1);

	mmk_btree_best_resize(&best, known[i].start, start, last);
	known_erase(i);
	known_insert(start, last, item);
}

/* At the very top of the addresses; ranges of every size, often adjacent. */
Test(btree_best, prop_agrees_with_a_search_of_every_gap)
{
	uint64_t seed = start_seed;
	unsigned nr_steps = mmk_test_steps(20000);

	for (unsigned step = 0; step < nr_steps; step++) {
		uint64_t start = TOP - mmk_test_random(&seed) % 2000;
		uint64_t room = TOP - start;
		uint64_t last = start +
		    mmk_test_random(&seed) % (room < 9 ? room + 1 : 9);
		struct want want = { mmk_test_random(&seed) % 12 + 1,
			(uint64_t)1 << mmk_test_random(&seed) % 4,
			TOP - mmk_test_random(&seed) % 2500,
			TOP - mmk_test_random(&seed) % 1000 };
		unsigned act = mmk_test_random(&seed) % 16;

		if (act < (step / 3000 % 2 ? 4u : 9u))
			best_put(start, last);
		else if (nr_known > 0 && act < 14)
			best_take((unsigned)(start % nr_known));
		else if (nr_known > 0)
			best_resize((unsigned)(start % nr_known), &seed);
		assert_best(&want);
		if (step % 16 == 0)
			cr_assert(mmk_btree_best_check(&best),
			    "MMK_SEED=%llu step %u",
			    (unsigned long long)start_seed, step);
	}
}

/* Of 4,000 gaps that are all wide enough, the lowest of the 15 narrowest. */
Test(btree_best, the_narrowest_of_many)
{
	uint64_t start;

	for (uint64_t i = 0; i < 4000; i++)
		best_put(100000 + i * 1000, 100000 + i * 1000 + (i & 255));
	cr_assert_eq(mmk_btree_best_find(&best, 744, 1, 0, TOP, &start),
	    MMK_OK);
	cr_assert_eq(start, 100000 + 255 * 1000 + 256);
}

Test(btree_best_bugs, no_bytes_trap, .signal = SIGABRT)
{
	uint64_t start;

	(void)!mmk_btree_best_find(&best, 0, 1, 0, 9, &start);
}

Test(btree_best_bugs, an_alignment_of_6_traps, .signal = SIGABRT)
{
	uint64_t start;

	(void)!mmk_btree_best_find(&best, 1, 6, 0, 9, &start);
}

Test(btree_best_bugs, resizing_what_is_not_there_traps, .signal = SIGABRT)
{
	best_put(10, 19);
	mmk_btree_best_resize(&best, 11, 12, 13);
}
