/* SPDX-License-Identifier: MIT
 *
 * tests/pool_cases.h: what a pool with caches promises, whether a cache has a
 * lock or belongs to its CPU. Included by one test module for each.
 */
#ifndef MMKIT_TESTS_POOL_CASES_H
#define MMKIT_TESTS_POOL_CASES_H

#include "pool_fixture.h"

TestSuite(pool_cache, .init = setup, .fini = fini);
TestSuite(pool_cache_bugs, .init = setup);
TestSuite(pool_cache_threads, .init = setup, .fini = fini);

Test(pool_cache, items_are_apart_and_numbers_are_exact)
{
	enum { NR = 300 };
	unsigned char *items[NR];

	for (unsigned i = 0; i < NR; i++) {
		struct mmk_pool_stats s;

		items[i] = get();
		memset(items[i], (int)i & 0xff, ITEM_BYTES);
		s = stats();
		cr_assert_eq(s.nr_used, i + 1);
		cr_assert_eq(s.nr_used + s.nr_cached + s.nr_free,
		    s.nr_slabs * pool.slabs.items_per_slab);
		cr_assert_leq(s.nr_cached, FULL);
	}
	cr_assert_eq(stats().slab_bytes,
	    stats().nr_slabs * MMK_PAGE_BYTES << pool.slabs.order);
	cr_assert_eq(stats().cache_bytes, sizeof(struct mmk_pool_cache));
	cr_assert(mmk_pool_check(&pool));
	for (unsigned i = 0; i < NR; i++)
		for (unsigned b = 0; b < ITEM_BYTES; b++)
			cr_assert_eq(items[i][b], i & 0xff);
	put_many((void **)items, NR);
	cr_assert_eq(stats().nr_used, 0);
	cr_assert_gt(stats().nr_cached, 2 * FULL, "here and in the depot");
	cr_assert_leq(stats().nr_cached, 3 * FULL);
}

Test(pool_cache, items_taken_in_a_row_lie_in_a_row)
{
	char *before = get();

	for (unsigned i = 1; i < 40; i++) {
		char *item = get();

		cr_assert_eq(item - before, pool.slabs.stride_bytes);
		before = item;
	}
	for (unsigned i = 0; i < 40; i++, before -= pool.slabs.stride_bytes)
		mmk_pool_free(&pool, before);
}

Test(pool_cache, around_a_boundary_slabs_are_left_alone)
{
	void *items[2 * FULL];
	uint64_t nr_taken;

	get_many(items, 1 + FULL); /* the first made the cache; it is empty */
	put_many(items, FULL);     /* and full */
	nr_taken = pool.slabs.nr_taken;
	for (unsigned i = 0; i < 20; i++) {
		void *more[FULL];

		get_many(more, i % FULL);
		mmk_pool_free(&pool, items[FULL]);
		put_many(more, i % FULL);
		items[FULL] = get();
		cr_assert_eq(pool.slabs.nr_taken, nr_taken);
	}
	mmk_pool_free(&pool, items[FULL]);
}

Test(pool_cache, the_depot_takes_from_one_cpu_and_gives_to_another)
{
	void *items[4 * FULL];
	uint64_t nr_taken, nr_cached;

	sim_set_cpu(1);
	mmk_pool_free(&pool, get());
	mmk_pool_drain(&pool);
	sim_set_cpu(0);
	get_many(items, 4 * FULL);
	nr_cached = stats().nr_cached;
	cr_assert_leq(nr_cached, FULL);
	cr_assert_eq(pool.nr_caches, 2);
	sim_set_cpu(1);
	put_many(items, 4 * FULL);
	cr_assert_eq(pool.nr_full, 2, "one magazine in the depot for each CPU");
	cr_assert(mmk_pool_check(&pool));
	nr_taken = pool.slabs.nr_taken;
	sim_set_cpu(0);
	get_many(items, 2 * FULL + (unsigned)nr_cached);
	cr_assert_eq(pool.nr_full, 0);
	cr_assert_eq(pool.slabs.nr_taken, nr_taken, "no slab was asked");
	cr_assert(mmk_pool_check(&pool));
	put_many(items, 2 * FULL + (unsigned)nr_cached);
}

Test(pool_cache, without_memory_for_a_cache_there_is_none)
{
	void *item;

	sim_fail_at(3); /* 1 the item, 2 its slab, 3 the slab of caches */
	item = get();
	cr_assert_eq(sim_fail_count(), 3);
	cr_assert_eq(pool.nr_caches, 0);
	cr_assert(mmk_pool_check(&pool));
	mmk_pool_free(&pool, item);
	cr_assert_eq(stats().nr_cached, 0);
	cr_assert_eq(pool.slabs.nr_taken, 0);
	item = get();
	cr_assert_eq(pool.nr_caches, 0, "frames are taken only when it grows");
	mmk_pool_free(&pool, item);
	mmk_pool_drain(&pool);
	mmk_pool_free(&pool, get());
	cr_assert_eq(pool.nr_caches, 1);
}

Test(pool_cache, drain_gives_back_what_it_can)
{
	void *items[NR_CPUS][2 * FULL];

	for (unsigned cpu = 0; cpu < NR_CPUS; cpu++) {
		sim_set_cpu(cpu);
		get_many(items[cpu], 2 * FULL);
	}
	for (unsigned cpu = 0; cpu < NR_CPUS; cpu++) {
		sim_set_cpu(cpu);
		put_many(items[cpu], 2 * FULL);
	}
	cr_assert_geq(stats().nr_cached, NR_CPUS * FULL);
	mmk_pool_drain(&pool);
	cr_assert(mmk_pool_check(&pool));
#if MMK_CPU_IS_EXCLUSIVE
	cr_assert_eq(pool.nr_full, 0);
	cr_assert_eq(pool.caches[NR_CPUS - 1]->nr_loaded, 0);
	cr_assert_eq(pool.caches[NR_CPUS - 1]->nr_previous, 0);
	cr_assert_gt(stats().nr_cached, 0, "of the others");
	for (unsigned cpu = 0; cpu < NR_CPUS - 1; cpu++) {
		sim_set_cpu(cpu);
		get_many(items[cpu], 2 * FULL + 1 - FULL);
		cr_assert_eq(pool.caches[cpu]->is_drain_wanted, 0);
		put_many(items[cpu], 2 * FULL + 1 - FULL);
		mmk_pool_drain(&pool);
	}
#endif
	cr_assert_eq(stats().nr_cached, 0);
	cr_assert_eq(stats().nr_slabs, 0);
}

Test(pool_cache, drain_leaves_used_items_alone)
{
	void *items[100];

	get_many(items, 100);
	memset(items[50], 7, ITEM_BYTES);
	mmk_pool_drain(&pool);
	cr_assert_eq(stats().nr_used, 100);
	cr_assert_eq(stats().nr_cached, 0);
	cr_assert_eq(*(unsigned char *)items[50], 7);
	put_many(items, 100);
}

Test(pool_cache, every_allocation_may_fail_and_changes_nothing)
{
	uint64_t k;

	for (k = 1;; k++) {
		struct mmk_pool_stats before = { 0 };
		void *items[200];
		unsigned nr = 0;

		mmk_pool_drain(&pool);
		sim_fail_at(k);
		while (nr < 200) {
			before = stats();
			items[nr] = mmk_pool_alloc(&pool);
			if (items[nr] == NULL)
				break;
			nr++;
		}
		sim_fail_at(0);
		if (nr < 200) {
			cr_assert_eq(stats().nr_slabs, before.nr_slabs);
			cr_assert_eq(stats().nr_used, before.nr_used);
		}
		cr_assert(mmk_pool_check(&pool));
		put_many(items, nr);
		if (nr == 200 && k > 10)
			break;
	}
	cr_assert_gt(k, 200, "items and frames both fail");
}

/* ---- when memory is out -------------------------------------------------- */

Test(pool_no_memory, cached_items_of_other_cpus_are_found)
{
	void *chain, *items[2 * FULL], *more[2 * FULL];
	uint64_t nr, nr_found = 0;

	boot((uint64_t)1 << 20, 128);
	for (unsigned cpu = 0; cpu < 2; cpu++) {
		sim_set_cpu(cpu);
		mmk_pool_free(&pool, get());
		mmk_pool_drain(&pool);
		/* Of its frames too, which nobody else can take. */
		mmk_phys_drain(&phys);
	}
	chain = get_all(&nr);
	cr_assert_geq(nr,
	    230 * MMK_PAGE_BYTES / pool.slabs.stride_bytes * 9 / 10);
	cr_assert_eq(stats().nr_used, nr);
	for (unsigned i = 0; i < 2 * FULL; i++) {
		items[i] = chain;
		chain = *(void **)chain;
	}
	sim_set_cpu(1);
	put_many(items, 2 * FULL);
	sim_set_cpu(0);
	while (nr_found < 2 * FULL &&
	    (more[nr_found] = mmk_pool_alloc(&pool)) != NULL)
		nr_found++;
	if (MMK_CPU_IS_EXCLUSIVE) {
		cr_assert_eq(nr_found, 0, "out of reach");
		cr_assert_eq(pool.caches[1]->is_drain_wanted, 1);
		sim_set_cpu(1);
		for (nr_found = 0; nr_found < 2 * FULL; nr_found++)
			more[nr_found] = get();
	}
	cr_assert_eq(nr_found, 2 * FULL);
	cr_assert_null(mmk_pool_alloc(&pool));
	cr_assert(mmk_pool_check(&pool));
	put_many(more, 2 * FULL);
	put_all(chain);
	fini();
}

Test(pool_no_memory, the_depot_is_looked_into)
{
	void *chain, *item;
	uint64_t nr;

	boot((uint64_t)1 << 20, 128);
	mmk_pool_free(&pool, get());
	sim_set_cpu(1);
	mmk_pool_free(&pool, get());
	chain = get_all(&nr);
	for (unsigned i = 0; i < 3 * FULL; i++) {
		item = chain;
		chain = *(void **)item;
		mmk_pool_free(&pool, item);
	}
	cr_assert_eq(pool.nr_full, 1);
	sim_set_cpu(0);
	item = get();
	mmk_pool_free(&pool, item);
	put_all(chain);
	fini();
}

/* ---- who pays ------------------------------------------------------------ */

static uint64_t paid_pages, limit_pages;

static enum mmk_err
charge(void *ctx, uint64_t nr_pages)
{
	cr_assert_eq(ctx, &paid_pages);
	cr_assert_not(sim_lock_is_held(&pool.slabs.lock));
	if (paid_pages + nr_pages > limit_pages)
		return MMK_ERR_LIMIT;
	paid_pages += nr_pages;
	return MMK_OK;
}

static void
uncharge(void *ctx, uint64_t nr_pages)
{
	cr_assert_eq(ctx, &paid_pages);
	cr_assert_not(sim_lock_is_held(&pool.slabs.lock));
	cr_assert_geq(paid_pages, nr_pages);
	paid_pages -= nr_pages;
}

Test(pool_cache, slabs_are_paid_for_and_paid_back)
{
	static const struct mmk_slab_payer payer = { charge, uncharge,
		&paid_pages };
	uint64_t nr, nr_again;
	void *chain;

	paid_pages = 0;
	limit_pages = 7;
	mmk_pool_set_payer(&pool, &payer);
	chain = get_all(&nr);
	cr_assert_eq(paid_pages << MMK_PAGE_SHIFT, stats().slab_bytes);
	cr_assert_eq(stats().nr_slabs,
	    limit_pages >> pool.slabs.order);
	cr_assert_eq(nr, stats().nr_slabs * pool.slabs.items_per_slab);
	put_all(chain);
	cr_assert_eq(paid_pages << MMK_PAGE_SHIFT, stats().slab_bytes);
	mmk_pool_drain(&pool);
	cr_assert_eq(paid_pages, 0);
	/* A frame that fails after it was paid for. */
	sim_fail_at(2);
	cr_assert_null(mmk_pool_alloc(&pool));
	sim_fail_at(0);
	cr_assert_eq(paid_pages, 0);
	put_all(get_all(&nr_again));
	cr_assert_eq(nr_again, nr);
}

/* Somebody else on this CPU is quicker: while we wait to be charged. */
static void *quicker;

static enum mmk_err
charge_late(void *ctx, uint64_t nr_pages)
{
	static bool is_inside;

	(void)nr_pages;
	if (!is_inside) {
		is_inside = true;
		quicker = mmk_pool_alloc(ctx);
		is_inside = false;
	}
	return MMK_OK;
}

static void
uncharge_nothing(void *ctx, uint64_t nr_pages)
{
	(void)ctx;
	(void)nr_pages;
}

Test(pool_cache, of_two_who_make_a_cache_one_gives_it_back)
{
	static const struct mmk_slab_payer payer = { charge_late,
		uncharge_nothing, &pool };
	void *item;

	mmk_pool_set_payer(&pool, &payer);
	item = get();
	cr_assert_not_null(quicker);
	cr_assert_neq(item, quicker);
	cr_assert_eq(pool.nr_caches, 1);
	cr_assert_eq(mmk_pool_nr_used(&cache_pool), 1);
	cr_assert(mmk_pool_check(&pool));
	mmk_pool_free(&pool, item);
	mmk_pool_free(&pool, quicker);
}

/* The first word of a free item, behind the checker's back. */
static uintptr_t
peek(void *item)
{
	sim_checker_forget(item, sizeof(mmk_word));
	return *(mmk_word *)item;
}

static void
poke(void *item, uintptr_t value)
{
	sim_checker_forget(item, sizeof(mmk_word));
	*(mmk_word *)item = value;
}

/* ---- audit --------------------------------------------------------------- */

Test(pool_cache, check_sees_a_planted_fault)
{
	void *items[4 * FULL], *sentinel = get();
	struct mmk_pool_cache *cache;
	char *last;

	get_many(items, 4 * FULL);
	put_many(items, 4 * FULL);
	mmk_pool_free(&pool, get());
	cache = pool.caches[0];
	cr_assert_gt(cache->nr_loaded, 0);
	cr_assert_gt(cache->nr_previous, 0);
	cr_assert_gt(pool.nr_full, 0);
#define PLANT(field, value)                                   \
	do {                                                  \
		__typeof__(field) keep = (field);             \
		(field) = (value);                            \
		cr_assert_not(mmk_pool_check(&pool), #field); \
		(field) = keep;                               \
		cr_assert(mmk_pool_check(&pool), #field);     \
	} while (0)
	PLANT(cache->loaded->items[0], cache->previous->items[0]);
	PLANT(cache->loaded->items[0], cache->loaded->items[1]);
	PLANT(cache->loaded->items[0], pool.full->items[2]);
	PLANT(cache->loaded->items[0], sentinel);
	PLANT(cache->nr_loaded, FULL + 1);
	PLANT(cache->nr_previous, cache->nr_previous - 1);
	PLANT(cache->previous, cache->loaded);
	PLANT(pool.nr_full, pool.nr_full + 1);
	PLANT(pool.full, NULL);
	PLANT(pool.nr_caches, 2);
	PLANT(pool.slabs.nr_taken, pool.slabs.nr_taken + 1);
#undef PLANT
	poke(cache->loaded->items[0], peek(cache->loaded->items[0]) ^ 1);
	cr_assert_not(mmk_pool_check(&pool), "a cookie in a magazine");
	poke(cache->loaded->items[0], peek(cache->loaded->items[0]) ^ 1);
	cr_assert(mmk_pool_check(&pool));
	/* The last item of the slab never left it. */
	last = (char *)sentinel +
	    (pool.slabs.items_per_slab - 1) * pool.slabs.stride_bytes;
	poke(last, peek(last) ^ 1);
	cr_assert_not(mmk_pool_check(&pool), "a cookie in a slab");
	poke(last, peek(last) ^ 1);
	cr_assert(mmk_pool_check(&pool));
	mmk_pool_free(&pool, sentinel);
}

/* ---- an oracle, on every CPU in turn ------------------------------------- */

enum { LIVE = 500 };

static struct {
	unsigned char *items[LIVE];
	unsigned nr;
} live;

static void
prop_alloc(size_t bytes, uint64_t *seed)
{
	unsigned char *item;

	sim_fail_at(mmk_test_random(seed) % 16 == 0 ? 1 : 0);
	item = mmk_pool_alloc(&pool);
	sim_fail_at(0);
	if (item == NULL)
		return;
	for (unsigned i = 0; i < live.nr; i++)
		cr_assert(item + bytes <= live.items[i] ||
		    live.items[i] + bytes <= item);
	item[0] = (unsigned char)((uintptr_t)item >> 4);
	item[bytes - 1] = item[0];
	live.items[live.nr++] = item;
}

static void
prop_free(size_t bytes, uint64_t *seed)
{
	unsigned i = (unsigned)(mmk_test_random(seed) % live.nr);
	unsigned char *item = live.items[i];

	cr_assert_eq(item[0], (unsigned char)((uintptr_t)item >> 4));
	cr_assert_eq(item[bytes - 1], item[0]);
	mmk_pool_free(&pool, item);
	live.items[i] = live.items[--live.nr];
}

static void
prop_one_size(size_t bytes)
{
	uint64_t seed = mmk_test_seed() + bytes;
	unsigned grow_percent = 55;

	boot((uint64_t)4 << 20, bytes);
	live.nr = 0;
	for (unsigned step = 0; step < mmk_test_steps(4000); step++) {
		if (mmk_test_random(&seed) % 64 == 0) {
			sim_set_cpu((unsigned)mmk_test_random(&seed) % NR_CPUS);
			grow_percent = mmk_test_random(&seed) % 2 ? 70 : 30;
		}
		if (mmk_test_random(&seed) % 256 == 0)
			mmk_pool_drain(&pool);
		if (live.nr < LIVE &&
		    mmk_test_random(&seed) % 100 < grow_percent)
			prop_alloc(bytes, &seed);
		else if (live.nr > 0)
			prop_free(bytes, &seed);
		cr_assert_eq(mmk_pool_nr_used(&pool), live.nr);
		if (step % 32 == 0)
			cr_assert(mmk_pool_check(&pool), "size %zu step %u",
			    bytes, step);
	}
	while (live.nr > 0)
		prop_free(bytes, &seed);
	fini();
}

Test(pool_cache_prop, items_never_overlap_and_keep_their_bytes)
{
	static const size_t sizes[] = { 1, 16, 24, 64, 272, 1000, 4000 };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		prop_one_size(sizes[i]);
}

/* ---- bugs ---------------------------------------------------------------- */

Test(pool_cache_bugs, double_free_into_a_magazine_traps, .signal = SIGABRT)
{
	void *item = get();

	mmk_pool_free(&pool, item);
	mmk_pool_free(&pool, item);
}

Test(pool_cache_bugs, double_free_on_another_cpu_traps, .signal = SIGABRT)
{
	void *item = get();

	mmk_pool_free(&pool, item);
	sim_set_cpu(1);
	mmk_pool_free(&pool, item);
}

Test(pool_cache_bugs, double_free_of_an_item_in_the_depot_traps,
    .signal = SIGABRT)
{
	void *items[4 * FULL];

	get_many(items, 4 * FULL);
	put_many(items, 4 * FULL);
	if (pool.nr_full == 1)
		mmk_pool_free(&pool, pool.full->items[3]);
}

Test(pool_cache_bugs, double_free_after_a_drain_traps, .signal = SIGABRT)
{
	void *item = get();

	(void)get(); /* keeps the slab */
	mmk_pool_free(&pool, item);
	mmk_pool_drain(&pool);
	mmk_pool_free(&pool, item);
}

Test(pool_cache_bugs, free_of_an_item_never_handed_out_traps,
    .signal = SIGABRT)
{
	mmk_pool_free(&pool, (char *)get() + 20 * ITEM_BYTES);
}

Test(pool_cache_bugs, double_free_that_a_write_hid_traps_when_it_goes_out,
    .signal = SIGABRT)
{
	void **item = get();

	mmk_pool_free(&pool, item);
	poke(item, 0);
	sim_checker_forget(item, ITEM_BYTES);
	mmk_pool_free(&pool, item);
	(void)get();
	(void)get();
}

Test(pool_cache_bugs, a_write_after_free_to_the_first_word_traps,
    .signal = SIGABRT)
{
	void **item = get();

	mmk_pool_free(&pool, item);
	poke(item, 0);
	(void)get();
}

Test(pool_cache_bugs, free_of_an_interior_pointer_traps, .signal = SIGABRT)
{
	mmk_pool_free(&pool, (char *)get() + 16);
}

Test(pool_cache_bugs, free_into_the_wrong_pool_traps, .signal = SIGABRT)
{
	struct mmk_pool other;

	mmk_pool_init(&other, &phys, "others", ITEM_BYTES);
	mmk_pool_free(&other, get());
}

Test(pool_cache_bugs, fini_with_items_out_traps, .signal = SIGABRT)
{
	(void)get();
	mmk_pool_fini(&pool);
}

Test(pool_cache_bugs, caches_of_caches_trap, .signal = SIGABRT)
{
	struct mmk_pool other;

	mmk_pool_init(&other, &phys, "others", ITEM_BYTES);
	mmk_pool_use_caches(&other, &pool);
}

/* ---- threads: each is one CPU -------------------------------------------- */

enum { SLOTS = 64 };

/* [a] items on their way from one thread to another, or NULL */
static uint64_t *slots[SLOTS];

static void *
hammer(void *arg)
{
	unsigned cpu = (unsigned)(uintptr_t)arg;
	uint64_t seed = mmk_test_seed() * 17 + cpu;

	sim_set_cpu(cpu);
	for (unsigned step = 0; step < mmk_test_steps(20000); step++) {
		uint64_t random = mmk_test_random(&seed);
		uint64_t *item = NULL;

		/* Phases, so that magazines fill up and run empty. */
		if (random % 100 < ((step >> 8) & 1 ? 20u : 80u)) {
			item = mmk_pool_alloc(&pool);
			if (item != NULL)
				*item = (uintptr_t)item;
		}
		item = __atomic_exchange_n(&slots[random / 100 % SLOTS], item,
		    __ATOMIC_ACQ_REL);
		if (item != NULL)
			cr_assert_eq(*item, (uintptr_t)item);
		mmk_pool_free(&pool, item);
		if (random / 1000 % 1000 == 0)
			mmk_pool_drain(&pool);
	}
	return NULL;
}

static void
run_threads(unsigned nr_threads)
{
	pthread_t threads[NR_CPUS];

	for (uintptr_t i = 0; i < nr_threads; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, hammer,
		                 (void *)i),
		    0);
	for (unsigned i = 0; i < nr_threads; i++)
		cr_assert_eq(pthread_join(threads[i], NULL), 0);
	for (unsigned i = 0; i < SLOTS; i++) {
		mmk_pool_free(&pool, slots[i]);
		slots[i] = NULL;
	}
	cr_assert_eq(mmk_pool_nr_used(&pool), 0);
}

Test(pool_cache_threads, two_hand_items_over)
{
	run_threads(2);
}

Test(pool_cache_threads, four_hand_items_over)
{
	run_threads(4);
}

/* Two pages of items, one of caches: most allocations fail. */
Test(pool_no_memory, four_threads_lose_nothing)
{
	uint64_t nr, nr_again;
	void *chain;
	struct mmk_frame *frame, *frames = NULL;

	boot((uint64_t)1 << 20, 256);
	for (unsigned cpu = 0; cpu < NR_CPUS; cpu++) {
		sim_set_cpu(cpu);
		mmk_pool_free(&pool, get());
	}
	mmk_pool_drain(&pool);
	chain = get();
	while (mmk_frame_alloc(&phys, 0, 0, MMK_USE_KERNEL, &frame) == MMK_OK) {
		frame->owner = frames;
		frames = frame;
	}
	mmk_pool_free(&pool, chain);
	put_all(get_all(&nr));
	cr_assert_leq(nr, 4 * MMK_PAGE_BYTES / 256);
	run_threads(4);
	for (unsigned cpu = 0; MMK_CPU_IS_EXCLUSIVE && cpu < NR_CPUS; cpu++) {
		sim_set_cpu(cpu);
		mmk_pool_drain(&pool);
	}
	put_all(get_all(&nr_again));
	while (frames != NULL) {
		frame = frames;
		frames = frame->owner;
		(void)mmk_frame_unref(&phys, frame);
	}
	fini();
}

#endif
