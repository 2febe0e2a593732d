/* SPDX-License-Identifier: MIT
 *
 * tests/test_bitmap.c: the contract of mmkit/base/bitmap.h, by example, and by
 * oracle: an array of bools
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>

#include <mmkit/base/bitmap.h>

#include "prop.h"

enum { NBITS = 200 }; /* three words and a partial one */
static uint64_t words[MMK_BITMAP_WORDS(NBITS) + 1];
static struct mmk_bitmap bm;

static void
setup(void)
{
	memset(words, 0xff, sizeof(words));
	mmk_bitmap_init(&bm, words, NBITS);
}
TestSuite(bitmap, .init = setup);
TestSuite(bitmap_bugs, .init = setup);

Test(bitmap, words_hold_their_bits)
{
	cr_assert_eq(MMK_BITMAP_WORDS(1), 1);
	cr_assert_eq(MMK_BITMAP_WORDS(64), 1);
	cr_assert_eq(MMK_BITMAP_WORDS(65), 2);
}

Test(bitmap, init_clears_every_bit_and_no_word_more)
{
	for (size_t bit = 0; bit < NBITS; bit++)
		cr_assert(!mmk_bitmap_test(&bm, bit));
	cr_assert_eq(words[MMK_BITMAP_WORDS(NBITS)], UINT64_MAX);
}

Test(bitmap, take_and_free_change_their_run_only)
{
	mmk_bitmap_take(&bm, 60, 70);
	for (size_t bit = 0; bit < NBITS; bit++)
		cr_assert_eq(mmk_bitmap_test(&bm, bit), bit >= 60 && bit < 130);
	mmk_bitmap_free(&bm, 63, 2);
	for (size_t bit = 0; bit < NBITS; bit++)
		cr_assert_eq(mmk_bitmap_test(&bm, bit),
		    bit >= 60 && bit < 130 && bit != 63 && bit != 64);
	mmk_bitmap_take(&bm, NBITS, 0);
}

Test(bitmap, find_run_on_empty_map_gives_bit_0)
{
	size_t first = 99;

	cr_assert_eq(mmk_bitmap_find_run(&bm, NBITS, 1, &first), MMK_OK);
	cr_assert_eq(first, 0);
}

Test(bitmap, find_run_never_reaches_past_nbits)
{
	size_t first = 99;

	mmk_bitmap_take(&bm, 0, NBITS - 1);
	cr_assert_eq(mmk_bitmap_find_run(&bm, 2, 1, &first), MMK_ERR_NOSPACE);
	cr_assert_eq(first, 99, "untouched on error");
	cr_assert_eq(mmk_bitmap_find_run(&bm, 1, 1, &first), MMK_OK);
	cr_assert_eq(first, NBITS - 1);
}

Test(bitmap, find_run_of_more_than_there_is_finds_nothing)
{
	size_t first = 99;

	cr_assert_eq(mmk_bitmap_find_run(&bm, NBITS + 1, 1, &first),
	    MMK_ERR_NOSPACE);
	cr_assert_eq(mmk_bitmap_find_run(&bm, SIZE_MAX, 1, &first),
	    MMK_ERR_NOSPACE);
	mmk_bitmap_take(&bm, 0, 1);
	cr_assert_eq(mmk_bitmap_find_run(&bm, 1, ((size_t)SIZE_MAX >> 2) + 1,
	                 &first),
	    MMK_ERR_NOSPACE, "only bit 0 is aligned");
	cr_assert_eq(first, 99, "untouched on error");
}

/* Oracle: the same contract, written the slow and obvious way. */
static size_t
oracle_find_run(const bool *taken, size_t nbits, size_t align_bits)
{
	for (size_t first = 0; first + nbits <= NBITS; first += align_bits) {
		size_t n = 0;

		while (n < nbits && !taken[first + n])
			n++;
		if (n == nbits)
			return first;
	}
	return SIZE_MAX;
}

Test(bitmap, prop_agrees_with_oracle)
{
	uint64_t start_seed = mmk_test_seed(), seed = start_seed;
	bool taken[NBITS] = { false };

	for (unsigned step = 0; step < mmk_test_steps(20000); step++) {
		size_t nbits = mmk_test_random(&seed) % 70 + 1;
		size_t align_bits = (size_t)1 << mmk_test_random(&seed) % 7;
		size_t first = SIZE_MAX;
		size_t want = oracle_find_run(taken, nbits, align_bits);
		enum mmk_err err =
		    mmk_bitmap_find_run(&bm, nbits, align_bits, &first);

		cr_assert_eq(err, want != SIZE_MAX ? MMK_OK : MMK_ERR_NOSPACE,
		    "MMK_SEED=%llu step %u", (unsigned long long)start_seed,
		    step);
		cr_assert_eq(first, want, "MMK_SEED=%llu step %u",
		    (unsigned long long)start_seed, step);
		if (err == MMK_OK) {
			mmk_bitmap_take(&bm, first, nbits);
			for (size_t i = 0; i < nbits; i++)
				taken[first + i] = true;
		}
		for (size_t bit = mmk_test_random(&seed) % NBITS, n = 0;
		     bit < NBITS && n < 40; bit++, n++)
			if (taken[bit]) {
				mmk_bitmap_free(&bm, bit, 1);
				taken[bit] = false;
			}
		for (size_t bit = 0; bit < NBITS; bit++)
			cr_assert_eq(mmk_bitmap_test(&bm, bit), taken[bit],
			    "MMK_SEED=%llu step %u",
			    (unsigned long long)start_seed, step);
	}
}

Test(bitmap_bugs, take_twice_traps, .signal = SIGABRT)
{
	mmk_bitmap_take(&bm, 7, 1);
	mmk_bitmap_take(&bm, 7, 1);
}

Test(bitmap_bugs, free_of_a_free_bit_traps, .signal = SIGABRT)
{
	mmk_bitmap_take(&bm, 7, 1);
	mmk_bitmap_free(&bm, 7, 2);
}

Test(bitmap_bugs, take_past_the_end_traps, .signal = SIGABRT)
{
	mmk_bitmap_take(&bm, NBITS - 1, 2);
}

Test(bitmap_bugs, take_of_a_wrapping_run_traps, .signal = SIGABRT)
{
	mmk_bitmap_take(&bm, 1, SIZE_MAX);
}

Test(bitmap_bugs, free_past_the_end_traps, .signal = SIGABRT)
{
	mmk_bitmap_free(&bm, NBITS + 1, 0);
}

Test(bitmap_bugs, test_past_the_end_traps, .signal = SIGABRT)
{
	(void)!mmk_bitmap_test(&bm, NBITS);
}

Test(bitmap_bugs, init_of_no_bits_traps, .signal = SIGABRT)
{
	mmk_bitmap_init(&bm, words, 0);
}

Test(bitmap_bugs, init_of_too_many_bits_traps, .signal = SIGABRT)
{
	mmk_bitmap_init(&bm, words, SIZE_MAX);
}

Test(bitmap_bugs, find_run_of_no_bits_traps, .signal = SIGABRT)
{
	size_t first;

	(void)!mmk_bitmap_find_run(&bm, 0, 1, &first);
}

Test(bitmap_bugs, find_run_with_an_alignment_of_3_traps, .signal = SIGABRT)
{
	size_t first;

	(void)!mmk_bitmap_find_run(&bm, 1, 3, &first);
}

Test(bitmap_bugs, find_run_with_too_large_an_alignment_traps,
    .signal = SIGABRT)
{
	size_t first;

	(void)!mmk_bitmap_find_run(&bm, 1, (size_t)SIZE_MAX / 2 + 1, &first);
}
