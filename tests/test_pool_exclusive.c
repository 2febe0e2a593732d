/* SPDX-License-Identifier: MIT
 *
 * tests/test_pool_exclusive.c: mmkit/kva/pool.h for a kernel with
 * MMKIT_CPU_ENTER and _LEAVE
 *
 * The implementation is compiled once more, private to this file. One thread
 * is one CPU, so the pair has nothing to do but to be counted.
 */
#define MMKIT_STATIC
#define MMKIT_CPU_ENTER() enter_cpu()
#define MMKIT_CPU_LEAVE(state) leave_cpu(state)

#include <stdint.h>

static _Thread_local uintptr_t enter_depth;

static inline uintptr_t
enter_cpu(void)
{
	return enter_depth++;
}

/* Whoever comes in must go out the same way. */
static inline void
leave_cpu(uintptr_t state)
{
	if (--enter_depth != state)
		__builtin_trap();
}

#include "pool_cases.h"

Test(pool_cache, the_cpu_is_left_as_often_as_entered)
{
	void *items[100];

	get_many(items, 100);
	put_many(items, 100);
	mmk_pool_drain(&pool);
	cr_assert_eq(enter_depth, 0);
	cr_assert(MMK_CPU_IS_EXCLUSIVE);
}

Test(pool_cache, a_cpu_that_was_asked_empties_its_cache_at_an_exchange)
{
	void *items[4 * FULL];

	get_many(items, 4 * FULL);
	put_many(items + 2 * FULL + 1, 2 * FULL - 1);
	sim_set_cpu(1);
	mmk_pool_drain(&pool); /* asks CPU 0 */
	sim_set_cpu(0);
	cr_assert_gt(stats().nr_cached, FULL);
	put_many(items, FULL);
	cr_assert_eq(pool.caches[0]->is_drain_wanted, 0);
	cr_assert_leq(stats().nr_cached, FULL);
	put_many(items + FULL, FULL + 1);
}
