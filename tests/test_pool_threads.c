/* SPDX-License-Identifier: MIT
 *
 * tests/test_pool_threads.c: mmkit/kva/pool.h with a lock for each CPU's cache
 */
#include "pool_cases.h"

static uint64_t *handed[2];

/* Two threads that take themselves for the same CPU. */
static void *
same_cpu(void *arg)
{
	uint64_t id = (uint64_t)(uintptr_t)arg, *mine[40] = { NULL };
	uint64_t seed = mmk_test_seed() * 13 + id;

	for (unsigned step = 0; step < mmk_test_steps(10000); step++) {
		uint64_t **slot = &mine[mmk_test_random(&seed) % 40];

		if (*slot == NULL) {
			*slot = mmk_pool_alloc(&pool);
			if (*slot != NULL)
				**slot = id;
		} else {
			cr_assert_eq(**slot, id);
			mmk_pool_free(&pool, *slot);
			*slot = NULL;
		}
		if (step % 64 == 0)
			sim_set_cpu((unsigned)(mmk_test_random(&seed) % 2));
	}
	for (unsigned i = 0; i < 40; i++)
		mmk_pool_free(&pool, mine[i]);
	handed[id - 1] = get();
	return NULL;
}

Test(pool_cache_threads, threads_that_move_share_a_cache)
{
	pthread_t threads[2];

	for (uintptr_t i = 0; i < 2; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, same_cpu,
		                 (void *)(i + 1)),
		    0);
	for (unsigned i = 0; i < 2; i++)
		cr_assert_eq(pthread_join(threads[i], NULL), 0);
	cr_assert_eq(mmk_pool_nr_used(&pool), 2);
	put_many((void **)handed, 2);
}
