/* SPDX-License-Identifier: MIT
 *
 * tests/canary/canary.c: tests that are wrong on purpose
 *
 * WHAT    Each one must fail under the gate named in its comment, and with the
 *         words that tests/canary/run looks for. A gate that lets its canary
 *         live would let a real fault live too. The last ones are right, and
 *         must pass everywhere: a gate that fails everything proves nothing.
 */
#include <criterion/criterion.h>

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "mmkit/kva/pool.h"
#include "ports/sim/sim.h"

/* Keep the compiler from seeing through a fault. */
static void *volatile seen;
static volatile size_t eight = 8;
static volatile int shift_bits = 40;
static volatile int sink;

/* every runner */
Test(canary, a_false_assertion)
{
	cr_assert_eq(eight, 9, "canary: %d is not 9", (int)eight);
}

/* valgrind, asan */
Test(canary, a_leak)
{
	seen = malloc(eight * 3);
	cr_assert_not_null(seen);
	memset(seen, 1, eight);
	seen = NULL;
}

/* valgrind, asan */
Test(canary, a_heap_overrun)
{
	volatile char *block = seen = malloc(eight);

	cr_assert_not_null(seen);
	sink = block[eight];
	free(seen);
}

/* valgrind */
Test(canary, an_uninitialised_read)
{
	volatile int *block = seen = malloc(eight);

	cr_assert_not_null(seen);
	if (block[1] == 12345)
		sink = 1;
	free(seen);
}

static struct mmk_phys phys;
static struct mmk_pool cache_pool, pool;

static void
boot(void)
{
	const struct sim_config machine = { .ram_bytes = 4u << 20 };
	struct mmk_phys_config config = { 0 };

	sim_boot(&machine);
	config.spans = sim_spans(&config.nr_spans);
	cr_assert_eq(mmk_phys_init(&phys, &config), MMK_OK);
	mmk_pool_init_caches(&cache_pool, &phys);
	mmk_pool_init(&pool, &phys, "canary", 48);
	mmk_pool_use_caches(&pool, &cache_pool);
}

/* valgrind, asan: through the port's poisoning */
Test(canary, an_overrun_in_a_pool)
{
	volatile int *item;

	boot();
	item = mmk_pool_alloc(&pool);
	cr_assert_not_null(item);
	sink = item[12];
}

/* valgrind, asan: the item lies in a magazine */
Test(canary, a_use_after_free_in_a_pool)
{
	volatile int *item;

	boot();
	item = mmk_pool_alloc(&pool);
	cr_assert_not_null(item);
	item[0] = 1;
	mmk_pool_free(&pool, (void *)(uintptr_t)item);
	sink = item[0];
}

/* valgrind, asan */
Test(canary, a_use_after_free_of_a_frame)
{
	struct mmk_frame *frame;
	volatile unsigned char *page;

	boot();
	cr_assert_eq(mmk_frame_alloc(&phys, 0, MMK_ALLOC_ZERO,
	                 MMK_USE_KERNEL, &frame),
	    MMK_OK);
	page = MMKIT_PHYS_TO_PTR(mmk_frame_pa(&phys, frame));
	page[7] = 1;
	(void)mmk_frame_unref(&phys, frame);
	sink = page[7];
}

static int shared;

static void *
race(void *unused)
{
	for (int i = 0; i < 1000; i++)
		shared++;
	return unused;
}

/* tsan */
Test(canary_threads, a_data_race)
{
	pthread_t thread;

	cr_assert_eq(pthread_create(&thread, NULL, race, NULL), 0);
	race(NULL);
	pthread_join(thread, NULL);
}

/* asan, by way of ubsan */
Test(canary, a_shift_too_far)
{
	sink = 1 << shift_bits;
}

/* asan, by way of ubsan */
Test(canary, a_signed_overflow)
{
	sink = (int)(0x7ffffff8 + (int)eight);
}

/* every runner */
Test(canary, a_panic)
{
	MMKIT_PANIC("canary: panic");
}

/* every runner: a test whose abort never comes */
Test(canary_bugs, an_abort_that_does_not_come, .signal = SIGABRT)
{
	sink = 1;
}

Test(canary, nothing_wrong)
{
	cr_assert_eq(eight, 8);
}

/* The pool and the frame again, used as they should be. */
Test(canary, nothing_wrong_in_a_pool)
{
	volatile int *item;

	boot();
	item = mmk_pool_alloc(&pool);
	cr_assert_not_null(item);
	item[0] = 1;
	sink = item[0];
	mmk_pool_free(&pool, (void *)(uintptr_t)item);
}
