/* SPDX-License-Identifier: MIT
 *
 * tests/test_pool_options.c: mmkit/kva/pool.h with redzones and poisoning
 *
 * The implementation is compiled once more, private to this file. A checker
 * would see these writes first, so it is told to look away: what is tested is
 * a kernel without one, and without the assertions of MMKIT_DEBUG.
 */
#undef MMKIT_DEBUG
#define MMKIT_STATIC
#define MMKIT_POOL_REDZONE 24
#define MMKIT_POOL_POISON 1

#include "pool_cases.h"

TestSuite(pool_options, .init = setup, .fini = fini);
TestSuite(pool_options_bugs, .init = setup);

static void
write_unseen(void *item, size_t offset_bytes, int byte)
{
	unsigned char *at = (unsigned char *)item + offset_bytes;

	sim_checker_forget(at, 1);
	*at = (unsigned char)byte;
}

Test(pool_options, items_are_apart_by_the_redzone)
{
	char *items[2] = { get(), get() };

	cr_assert_geq(items[1] - items[0], ITEM_BYTES + MMKIT_POOL_REDZONE);
	put_many((void **)items, 2);
}

/* The multiplication that stands for a division is exact. */
Test(pool_options, every_offset_knows_its_item)
{
	struct mmk_slabs s;

	for (size_t bytes = 1; bytes <= MMK_PAGE_BYTES - MMK_SLAB_HEADER_BYTES;
	     bytes += bytes < 200 ? 5 : 137) {
		mmk_slabs_init(&s, &phys, "shape", bytes);
		cr_assert_leq(s.first_bytes +
		    s.items_per_slab * s.stride_bytes, s.mask + 1);
		for (size_t at = 0; at <= s.mask; at++) {
			uint64_t i = mmk__slab_index(&s, at);

			if (at >= s.first_bytes)
				cr_assert_eq(i, (at - s.first_bytes) /
				    s.stride_bytes);
			else
				cr_assert(i >= s.items_per_slab ||
				    i * s.stride_bytes + s.first_bytes != at);
		}
	}
}

Test(pool_options, every_byte_of_an_item_may_be_written)
{
	void *items[100];

	for (unsigned round = 0; round < 3; round++) {
		get_many(items, 100);
		for (unsigned i = 0; i < 100; i++)
			memset(items[i], 0xff, ITEM_BYTES);
		put_many(items, 100);
		mmk_pool_drain(&pool);
	}
}

Test(pool_options_bugs, a_free_after_the_slab_went_back_traps,
    .signal = SIGABRT)
{
	char *item = get();

	mmk_pool_free(&pool, item);
	mmk_pool_drain(&pool);
	cr_assert_eq(stats().nr_slabs, 0);
	sim_checker_forget(item - pool.slabs.first_bytes, MMK_PAGE_BYTES);
	item[0] = (char)~item[0]; /* somebody else uses the frame */
	mmk_pool_free(&pool, item);
}

Test(pool_options_bugs, a_free_of_memory_that_is_no_slab_traps,
    .signal = SIGABRT)
{
	struct mmk_frame *frame = NULL;

	cr_assert_eq(mmk_frame_alloc(&phys, 0, MMK_ALLOC_ZERO, MMK_USE_KERNEL,
	                 &frame),
	    MMK_OK);
	mmk_pool_free(&pool, (char *)mmk_frame_ptr(&phys, frame) +
	    pool.slabs.first_bytes);
}

Test(pool_options_bugs, one_byte_too_far_traps, .signal = SIGABRT)
{
	void *item = get();

	write_unseen(item, ITEM_BYTES, 0);
	mmk_pool_free(&pool, item);
}

Test(pool_options_bugs, the_last_byte_of_the_redzone_counts, .signal = SIGABRT)
{
	void *item = get();

	write_unseen(item, ITEM_BYTES + MMKIT_POOL_REDZONE - 1, 0);
	mmk_pool_free(&pool, item);
}

Test(pool_options_bugs, a_write_into_the_redzone_while_free_traps_later,
    .signal = SIGABRT)
{
	void *item = get();

	mmk_pool_free(&pool, item);
	write_unseen(item, ITEM_BYTES + 3, 0);
	mmk_pool_free(&pool, get());
}

Test(pool_options_bugs, a_write_after_free_traps, .signal = SIGABRT)
{
	void *item = get();

	mmk_pool_free(&pool, item);
	write_unseen(item, 20, 1);
	(void)get();
}

Test(pool_options_bugs, a_write_after_free_to_the_last_byte_traps,
    .signal = SIGABRT)
{
	void *item = get();

	mmk_pool_free(&pool, item);
	write_unseen(item, ITEM_BYTES - 1, 1);
	(void)get();
}

Test(pool_options_bugs, a_write_after_the_item_left_its_magazine_traps,
    .signal = SIGABRT)
{
	void *item = get();

	(void)get(); /* keeps the slab */
	mmk_pool_free(&pool, item);
	mmk_pool_drain(&pool);
	write_unseen(item, 40, 1);
	(void)get();
}

Test(pool_options_bugs, a_write_before_the_first_use_traps, .signal = SIGABRT)
{
	void *item = get();

	write_unseen(item, 5 * pool.slabs.stride_bytes + 9, 1);
	for (unsigned i = 0; i < 10; i++)
		(void)get();
}
