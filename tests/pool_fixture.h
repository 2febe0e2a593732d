/* SPDX-License-Identifier: MIT
 *
 * tests/pool_fixture.h: a pool with caches on a machine of four CPUs
 */
#ifndef MMKIT_TESTS_POOL_FIXTURE_H
#define MMKIT_TESTS_POOL_FIXTURE_H

#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "mmkit/kva/pool.h"
#include "mmkit/phys/census.h"
#include "ports/sim/sim.h"
#include "prop.h"

#define NR_CPUS 4u
#define ITEM_BYTES 48u
#define FULL MMK_MAGAZINE_ITEMS

static struct mmk_phys phys;
static struct mmk_pool cache_pool, pool;

static inline void
boot(uint64_t ram_bytes, size_t item_bytes)
{
	struct sim_config machine = { .ram_bytes = ram_bytes,
		.nr_cpus = NR_CPUS };
	struct mmk_phys_config config = { 0 };

	sim_boot(&machine);
	sim_set_cpu(0);
	config.spans = sim_spans(&config.nr_spans);
	cr_assert_eq(mmk_phys_init(&phys, &config), MMK_OK);
	mmk_pool_init_caches(&cache_pool, &phys);
	mmk_pool_init(&pool, &phys, "things", item_bytes);
	mmk_pool_use_caches(&pool, &cache_pool);
}

static inline void
setup(void)
{
	boot((uint64_t)8 << 20, ITEM_BYTES);
}

static inline struct mmk_pool_stats
stats(void)
{
	struct mmk_pool_stats s;

	mmk_pool_stats_read(&pool, &s);
	return s;
}

static inline uint64_t
used_pages(void)
{
	struct mmk_phys_stats s;

	mmk_phys_stats_read(&phys, &s);
	return s.nr_used_pages[MMK_USE_POOL];
}

static inline void
fini(void)
{
	sim_fail_at(0);
	cr_assert(mmk_pool_check(&pool));
	cr_assert(mmk_pool_check(&cache_pool));
	mmk_pool_fini(&pool);
	cr_assert_eq(mmk_pool_nr_used(&cache_pool), 0);
	mmk_pool_fini(&cache_pool);
	cr_assert_eq(used_pages(), 0);
	cr_assert(mmk_phys_check(&phys));
	mmk_phys_fini(&phys);
	sim_shutdown();
}

static inline void *
get(void)
{
	void *item = mmk_pool_alloc(&pool);

	cr_assert_not_null(item);
	return item;
}

static inline void
get_many(void **items, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++)
		items[i] = get();
}

static inline void
put_many(void **items, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++)
		mmk_pool_free(&pool, items[i]);
}

/* All that memory can give, chained through the items. */
static inline void *
get_all(uint64_t *nr_out)
{
	void *chain = NULL, *item;

	*nr_out = 0;
	while ((item = mmk_pool_alloc(&pool)) != NULL) {
		*(void **)item = chain;
		chain = item;
		++*nr_out;
	}
	return chain;
}

static inline void
put_all(void *chain)
{
	while (chain != NULL) {
		void *next = *(void **)chain;

		mmk_pool_free(&pool, chain);
		chain = next;
	}
}

#endif
