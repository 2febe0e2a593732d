/* SPDX-License-Identifier: MIT
 *
 * tests/test_btree_gap.c: the contract of mmkit/base/btree_gap.h, by example
 * and by oracle
 */
#include <signal.h>

#include "btree_oracle.h"

TestSuite(btree_gap, .init = setup, .fini = teardown);
TestSuite(btree_gap_bugs, .init = setup);

Test(btree_gap, gap_in_an_empty_tree_is_everything)
{
	static const struct want wants[] = {
		{ 1, 1, 0, TOP },
		{ TOP, 1, 0, TOP },
		{ TOP, 2, 0, TOP },
		{ TOP, 1, 1, TOP },
		{ TOP, 1, 2, TOP },
		{ TOP - 1, 2, 1, TOP },
		{ (uint64_t)1 << 63, (uint64_t)1 << 63, 1, TOP },
		{ ((uint64_t)1 << 63) + 1, (uint64_t)1 << 63, 1, TOP },
		{ 1, 4096, TOP - 4094, TOP },
		{ 1, 4096, TOP - 4095, TOP },
		{ 1, 1, 6, 5 },
		{ 1, 1, TOP, 0 },
		{ 1, 1, TOP, TOP },
		{ 2, 1, TOP, TOP },
		{ 5, 1, 0, 3 },
	};

	for (size_t i = 0; i < sizeof(wants) / sizeof(wants[0]); i++)
		assert_gaps(&wants[i]);
}

Test(btree_gap, gaps_between_and_around_ranges)
{
	uint64_t start;

	put(10, 19);
	put(24, 29);
	put(40, 49);
	cr_assert_eq(mmk_btree_gap_lowest(&tree, 4, 1, 0, 100, &start), MMK_OK);
	cr_assert_eq(start, 0);
	cr_assert_eq(mmk_btree_gap_lowest(&tree, 4, 1, 7, 100, &start), MMK_OK);
	cr_assert_eq(start, 20);
	cr_assert_eq(mmk_btree_gap_lowest(&tree, 4, 8, 9, 100, &start), MMK_OK);
	cr_assert_eq(start, 32, "past the gap with no aligned place");
	cr_assert_eq(mmk_btree_gap_highest(&tree, 4, 1, 0, 100, &start),
	    MMK_OK);
	cr_assert_eq(start, 97);
	cr_assert_eq(mmk_btree_gap_highest(&tree, 4, 1, 0, 49, &start), MMK_OK);
	cr_assert_eq(start, 36);
}

/* Ranges that touch at every step: gaps of 0 and leaves that end anywhere. */
Test(btree_gap, prop_adjacent_ranges_agree_with_a_sorted_array)
{
	uint64_t seed = start_seed;
	unsigned nr_steps = mmk_test_steps(30000);

	for (unsigned step = 0; step < nr_steps; step++) {
		uint64_t start = TOP - mmk_test_random(&seed) % 2000;
		struct want want = { mmk_test_random(&seed) % 4 + 1,
			(uint64_t)1 << mmk_test_random(&seed) % 3, TOP - 2500,
			TOP - mmk_test_random(&seed) % 2000 };

		if (mmk_test_random(&seed) % 16 < (step / 5000 % 2 ? 6u : 11u))
			put(start, start);
		else if (nr_known > 0)
			take((unsigned)(start % nr_known));
		assert_gaps(&want);
		cr_assert(mmk_btree_check(&tree), "MMK_SEED=%llu step %u",
		    (unsigned long long)start_seed, step);
	}
	assert_same();
}

Test(btree_gap_bugs, gap_of_no_bytes_traps, .signal = SIGABRT)
{
	uint64_t start;

	(void)!mmk_btree_gap_lowest(&tree, 0, 1, 0, 9, &start);
}

Test(btree_gap_bugs, highest_gap_of_no_bytes_traps, .signal = SIGABRT)
{
	uint64_t start;

	(void)!mmk_btree_gap_highest(&tree, 0, 1, 0, 9, &start);
}

Test(btree_gap_bugs, gap_alignment_of_0_traps, .signal = SIGABRT)
{
	uint64_t start;

	(void)!mmk_btree_gap_lowest(&tree, 1, 0, 0, 9, &start);
}

Test(btree_gap_bugs, highest_gap_alignment_of_3_traps, .signal = SIGABRT)
{
	uint64_t start;

	(void)!mmk_btree_gap_highest(&tree, 1, 3, 0, 9, &start);
}
