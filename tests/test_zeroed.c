/* SPDX-License-Identifier: MIT
 *
 * tests/test_zeroed.c: pages that are known to be zero
 */
#include "frame_fixture.h"


static bool
is_zero(const struct mmk_frame *frame)
{
	const uint64_t *words = mmk_frame_ptr(&phys, frame);

	for (size_t i = 0; i < MMK_PAGE_BYTES / 8; i++)
		if (words[i] != 0)
			return false;
	return true;
}

static void
dirty(const struct mmk_frame *frame)
{
	memset(mmk_frame_ptr(&phys, frame), 0xa5, MMK_PAGE_BYTES);
}

static struct mmk_frame *
take(unsigned flags)
{
	struct mmk_frame *frame;

	cr_assert_eq(mmk_frame_alloc(&phys, 0, flags, MMK_USE_ANON, &frame),
	    MMK_OK);
	return frame;
}

Test(zeroed, a_page_that_its_owner_cleared_is_not_cleared_again)
{
	struct mmk_frame *frame, *again;

	boot_spans(8 * MIB, NULL, 0, 0);
	frame = take(MMK_ALLOC_ZERO);
	cr_assert_eq(mmk_frame_unref_zero(&phys, frame), 0u);
	again = take(0);
	cr_assert_neq(again, frame, "who does not need it does not get it");
	dirty(again);
	(void)mmk_frame_unref(&phys, again);
	again = take(MMK_ALLOC_ZERO);
	cr_assert_eq(again, frame);
	cr_assert(is_zero(again));
	(void)mmk_frame_unref(&phys, again);
	fini();
}

Test(zeroed, an_idle_cpu_clears_as_many_as_it_keeps)
{
	struct mmk_frame *frames[MMK_CACHE_ZEROES];
	uint64_t nr_free;

	boot_spans(8 * MIB, NULL, 0, 0);
	nr_free = stats().nr_free_pages;
	cr_assert_eq(mmk_frame_zero_some(&phys, 10), 10u);
	cr_assert_eq(mmk_frame_zero_some(&phys, 1000), MMK_CACHE_ZEROES - 10);
	sim_fail_at(0);
	cr_assert_eq(mmk_frame_zero_some(&phys, 1), 0u);
	cr_assert_eq(sim_fail_count(), 0u, "nor is one taken and cleared");
	cr_assert_eq(stats().nr_free_pages, nr_free, "they are free");
	cr_assert(mmk_phys_check(&phys));
	for (unsigned i = 0; i < MMK_CACHE_ZEROES; i++) {
		frames[i] = take(MMK_ALLOC_ZERO);
		cr_assert(is_zero(frames[i]));
	}
	for (unsigned i = 0; i < MMK_CACHE_ZEROES; i++)
		(void)mmk_frame_unref(&phys, frames[i]);
	fini();
}

Test(zeroed, a_full_shelf_takes_no_more)
{
	struct mmk_frame *frames[MMK_CACHE_ZEROES + 1], *again;
	unsigned last = MMK_CACHE_ZEROES;

	boot_spans(8 * MIB, NULL, 0, 0);
	for (unsigned i = 0; i <= last; i++)
		frames[i] = take(MMK_ALLOC_ZERO);
	for (unsigned i = 0; i <= last; i++)
		cr_assert_eq(mmk_frame_unref_zero(&phys, frames[i]), 0u);
	cr_assert(mmk_phys_check(&phys));
	again = take(0);
	cr_assert_eq(again, frames[last], "it is free as any other");
	(void)mmk_frame_unref(&phys, again);
	fini();
}

/* They are nobody's: the last page of the machine is one of them. */
Test(zeroed, whoever_needs_memory_gets_them_as_well)
{
	static struct mmk_frame *frames[4096];
	unsigned nr = 0;

	boot_spans(8 * MIB, NULL, 0, 0);
	cr_assert_eq(mmk_frame_zero_some(&phys, 20), 20u);
	while (mmk_frame_alloc(&phys, 0, 0, MMK_USE_ANON, &frames[nr]) ==
	    MMK_OK)
		nr++;
	cr_assert_eq(stats().nr_free_pages, 0u);
	cr_assert_eq(mmk_frame_zero_some(&phys, 20), 0u);
	while (nr > 0)
		(void)mmk_frame_unref(&phys, frames[--nr]);
	fini();
}

Test(zeroed, only_the_last_reference_to_a_plain_page_counts)
{
	struct mmk_frame *frame, *large;

	boot_spans(8 * MIB, NULL, 0, 0);
	frame = take(MMK_ALLOC_ZERO);
	mmk_frame_ref(&phys, frame);
	cr_assert_eq(mmk_frame_unref_zero(&phys, frame), 1u);
	dirty(frame);
	(void)mmk_frame_unref(&phys, frame);
	cr_assert_eq(mmk_frame_alloc(&phys, 3, MMK_ALLOC_ZERO, MMK_USE_ANON,
	                 &large), MMK_OK);
	cr_assert_eq(mmk_frame_unref_zero(&phys, large), 0u);
	frame = take(MMK_ALLOC_ZERO);
	cr_assert(is_zero(frame));
	(void)mmk_frame_unref(&phys, frame);
	fini();
}

/* Whatever is asked to be zero is, whoever had it before. */
Test(zeroed, random_steps_never_show_anything_but_zeros)
{
	struct mmk_frame *held[40] = { NULL };
	uint64_t state = mmk_test_seed();

	boot_spans(4 * MIB, NULL, 0, 0);
	for (unsigned n = 0; n < mmk_test_steps(20000); n++) {
		uint64_t r = mmk_test_random(&state);
		unsigned i = (unsigned)(r % 40);
		unsigned order = (r >> 8) % 4 == 0 ? 2 : 0;
		unsigned flags = (r >> 16) % 2 == 0 ? MMK_ALLOC_ZERO : 0;

		if ((r >> 24) % 8 == 0)
			(void)mmk_frame_zero_some(&phys, (r >> 32) % 8);
		if (held[i] == NULL) {
			if (mmk_frame_alloc(&phys, order, flags, MMK_USE_ANON,
			        &held[i]) != MMK_OK)
				continue;
			cr_assert(flags == 0 || is_zero(held[i]));
			if ((r >> 40) % 2 == 0 || flags == 0)
				dirty(held[i]);
		} else {
			if (is_zero(held[i]) && held[i]->order == 0)
				(void)mmk_frame_unref_zero(&phys, held[i]);
			else
				(void)mmk_frame_unref(&phys, held[i]);
			held[i] = NULL;
		}
		if ((r >> 48) % 64 == 0)
			mmk_phys_drain(&phys);
	}
	for (unsigned i = 0; i < 40; i++)
		if (held[i] != NULL)
			(void)mmk_frame_unref(&phys, held[i]);
	fini();
}
