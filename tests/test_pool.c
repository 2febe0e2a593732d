/* SPDX-License-Identifier: MIT
 *
 * tests/test_pool.c: the contract of mmkit/kva/pool.h
 */
#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "mmkit/kva/pool.h"
#include "mmkit/phys/census.h"
#include "ports/sim/sim.h"
#include "prop.h"

static struct mmk_phys phys;
static struct mmk_pool pool;

static void
boot_ram(uint64_t ram_bytes)
{
	struct sim_config machine = { .ram_bytes = ram_bytes, .nr_cpus = 4 };
	struct mmk_phys_config config = { 0 };

	sim_boot(&machine);
	sim_set_cpu(0);
	config.spans = sim_spans(&config.nr_spans);
	cr_assert_eq(mmk_phys_init(&phys, &config), MMK_OK);
}

static uint64_t
used_pages(void)
{
	struct mmk_phys_stats stats;

	mmk_phys_stats_read(&phys, &stats);
	return stats.nr_used_pages[MMK_USE_POOL];
}

static void
setup(void)
{
	boot_ram((uint64_t)8 << 20);
	mmk_pool_init(&pool, &phys, "things", 48);
}

static void
fini_ram(void)
{
	cr_assert_eq(used_pages(), 0);
	cr_assert(mmk_phys_check(&phys));
	mmk_phys_fini(&phys);
	sim_shutdown();
}

static void
fini(void)
{
	sim_fail_at(0);
	cr_assert(mmk_pool_check(&pool));
	mmk_pool_fini(&pool);
	fini_ram();
}

static void *
get(void)
{
	void *item = mmk_pool_alloc(&pool);

	cr_assert_not_null(item);
	return item;
}

TestSuite(pool, .init = setup, .fini = fini);
TestSuite(pool_bugs, .init = setup);
TestSuite(pool_threads, .init = setup, .fini = fini);

Test(pool, init_allocates_nothing)
{
	cr_assert_eq(used_pages(), 0);
	cr_assert_eq(pool.slabs.item_bytes, 48);
	cr_assert_eq(mmk_pool_nr_used(&pool), 0);
	cr_assert(mmk_pool_check(&pool));
}

Test(pool, items_are_aligned_apart_and_writable)
{
	enum { NR = 300 };
	unsigned char *items[NR];

	for (unsigned i = 0; i < NR; i++) {
		items[i] = get();
		cr_assert_eq((uintptr_t)items[i] % MMK_POOL_ALIGN_BYTES, 0);
		memset(items[i], (int)i & 0xff, 48);
	}
	cr_assert_eq(mmk_pool_nr_used(&pool), NR);
	cr_assert(mmk_pool_check(&pool));
	for (unsigned i = 0; i < NR; i++)
		for (unsigned b = 0; b < 48; b++)
			cr_assert_eq(items[i][b], i & 0xff);
	for (unsigned i = 0; i < NR; i++)
		mmk_pool_free(&pool, items[i]);
	cr_assert_eq(mmk_pool_nr_used(&pool), 0);
}

Test(pool, free_of_NULL_does_nothing)
{
	mmk_pool_free(&pool, NULL);
	cr_assert_eq(mmk_pool_nr_used(&pool), 0);
}

Test(pool, frames_of_slabs_say_so)
{
	void *item = get();
	struct mmk_frame *frame =
	    mmk_frame_of_pa(&phys, MMKIT_PTR_TO_PHYS(item));

	cr_assert_eq(frame->use, MMK_USE_POOL);
	cr_assert_eq(frame->owner, (void *)&pool);
	mmk_pool_free(&pool, item);
}

Test(pool, one_empty_slab_is_kept_and_drain_gives_it_back)
{
	enum { NR = 1000 };
	void *items[NR];

	for (unsigned i = 0; i < NR; i++)
		items[i] = get();
	cr_assert_geq(used_pages(), 10);
	for (unsigned i = 0; i < NR; i++) {
		mmk_pool_free(&pool, items[i]);
		if (i % 50 == 0)
			cr_assert(mmk_pool_check(&pool));
	}
	cr_assert_eq(used_pages(), (uint64_t)1 << pool.slabs.order);
	cr_assert_eq(pool.slabs.nr_slabs, 1);
	mmk_pool_free(&pool, get());
	cr_assert_eq(pool.slabs.nr_slabs, 1, "the kept slab is used again");
	mmk_pool_drain(&pool);
	cr_assert_eq(used_pages(), 0);
	mmk_pool_drain(&pool);
	cr_assert_eq(pool.slabs.nr_slabs, 0);
}

Test(pool, drain_leaves_slabs_with_items_alone)
{
	void *item = get();

	memset(item, 7, 48);
	mmk_pool_drain(&pool);
	cr_assert_eq(pool.slabs.nr_slabs, 1);
	cr_assert_eq(*(unsigned char *)item, 7);
	mmk_pool_free(&pool, item);
}

Test(pool, every_allocation_may_fail_and_changes_nothing)
{
	uint64_t nr_slabs, nr_used, k;

	for (k = 1;; k++) {
		void *items[200];
		unsigned nr = 0;

		mmk_pool_drain(&pool);
		sim_fail_at(k);
		while (nr < 200) {
			nr_slabs = pool.slabs.nr_slabs;
			nr_used = mmk_pool_nr_used(&pool);
			items[nr] = mmk_pool_alloc(&pool);
			if (items[nr] == NULL)
				break;
			nr++;
		}
		sim_fail_at(0);
		if (nr < 200) {
			cr_assert_eq(pool.slabs.nr_slabs, nr_slabs);
			cr_assert_eq(mmk_pool_nr_used(&pool), nr_used);
		}
		cr_assert(mmk_pool_check(&pool));
		for (unsigned i = 0; i < nr; i++)
			mmk_pool_free(&pool, items[i]);
		if (nr == 200)
			break;
	}
	cr_assert_gt(k, 200, "items and frames both fail");
}

Test(pool_sizes, no_memory_is_NULL_until_something_is_freed)
{
	void *chain = NULL, *item;
	uint64_t nr = 0;

	boot_ram((uint64_t)1 << 20);
	mmk_pool_init(&pool, &phys, "things", 128);
	while ((item = mmk_pool_alloc(&pool)) != NULL) {
		*(void **)item = chain;
		chain = item;
		nr++;
	}
	cr_assert_geq(nr, 240 * 4096 / 128 * 9 / 10);
	cr_assert_eq(mmk_pool_nr_used(&pool), nr);
	cr_assert_null(mmk_pool_alloc(&pool));
	cr_assert(mmk_pool_check(&pool));
	item = chain;
	chain = *(void **)item;
	mmk_pool_free(&pool, item);
	cr_assert_eq(mmk_pool_alloc(&pool), item);
	mmk_pool_free(&pool, item);
	while (chain != NULL) {
		item = chain;
		chain = *(void **)item;
		mmk_pool_free(&pool, item);
	}
	fini();
}

Test(pool_sizes, slabs_waste_little_at_every_size)
{
	boot_ram((uint64_t)8 << 20);
	for (size_t bytes = 1; bytes <= MMK_PAGE_BYTES - MMK_POOL_HEADER_BYTES;
	     bytes += bytes < 600 ? 1 : 61) {
		void *items[3];

		mmk_pool_init(&pool, &phys, "things", bytes);
		cr_assert_geq(pool.slabs.items_per_slab, 1);
		cr_assert_leq(pool.slabs.first_bytes +
		        pool.slabs.items_per_slab * pool.slabs.stride_bytes,
		    MMK_PAGE_BYTES << pool.slabs.order);
		if (bytes >= 16 && bytes <= MMK_PAGE_BYTES / 8)
			cr_assert_geq(pool.slabs.items_per_slab * bytes * 10,
			    (MMK_PAGE_BYTES << pool.slabs.order) * 5,
			    "%zu bytes", bytes);
		for (unsigned i = 0; i < 3; i++) {
			items[i] = get();
			memset(items[i], 1, bytes);
		}
		for (unsigned i = 0; i < 3; i++)
			mmk_pool_free(&pool, items[i]);
		cr_assert(mmk_pool_check(&pool));
		mmk_pool_fini(&pool);
	}
	fini_ram();
}

Test(pool, check_sees_a_planted_fault)
{
	void *item = get();
	struct mmk_frame *frame =
	    mmk_frame_of_pa(&phys, MMKIT_PTR_TO_PHYS(item));
	struct mmk_link *link = mmk_list_first(&pool.slabs.partial);

#define PLANT(field, value)                                   \
	do {                                                  \
		__typeof__(field) keep = (field);             \
		(field) = (value);                            \
		cr_assert_not(mmk_pool_check(&pool), #field); \
		(field) = keep;                               \
		cr_assert(mmk_pool_check(&pool));             \
	} while (0)
	PLANT(pool.slabs.nr_taken, 2);
	PLANT(pool.slabs.nr_slabs, 2);
	PLANT(frame->owner, NULL);
	PLANT(frame->use, MMK_USE_KERNEL);
	PLANT(frame->order, 7);
	PLANT(link->prev, link);
#undef PLANT
	mmk_pool_free(&pool, item);
}

/* ---- properties ---------------------------------------------------------- */

enum { LIVE = 400 };

static void
prop_one_size(size_t bytes)
{
	static unsigned char *live[LIVE];
	uint64_t seed = mmk_test_seed() + bytes, start_seed = seed;
	unsigned nr = 0;

	mmk_pool_init(&pool, &phys, "things", bytes);
	for (unsigned step = 0; step < mmk_test_steps(3000); step++) {
		if (nr < LIVE && mmk_test_random(&seed) % 100 < 55) {
			unsigned char *item;

			sim_fail_at(mmk_test_random(&seed) % 16 == 0 ? 1 : 0);
			item = mmk_pool_alloc(&pool);
			if (item == NULL)
				continue;
			for (unsigned i = 0; i < nr; i++)
				cr_assert(item + bytes <= live[i] ||
				        live[i] + bytes <= item,
				    "MMK_SEED=%llu size %zu step %u",
				    (unsigned long long)start_seed, bytes,
				    step);
			item[0] = (unsigned char)((uintptr_t)item >> 4);
			item[bytes - 1] = item[0];
			live[nr++] = item;
		} else if (nr > 0) {
			unsigned i = (unsigned)(mmk_test_random(&seed) % nr);
			unsigned char *item = live[i];

			cr_assert_eq(item[0],
			    (unsigned char)((uintptr_t)item >> 4));
			cr_assert_eq(item[bytes - 1], item[0]);
			mmk_pool_free(&pool, item);
			live[i] = live[--nr];
		}
		cr_assert_eq(mmk_pool_nr_used(&pool), nr);
		if (step % 32 == 0)
			cr_assert(mmk_pool_check(&pool),
			    "MMK_SEED=%llu size %zu step %u",
			    (unsigned long long)start_seed, bytes, step);
	}
	sim_fail_at(0);
	while (nr > 0)
		mmk_pool_free(&pool, live[--nr]);
	cr_assert(mmk_pool_check(&pool));
	mmk_pool_fini(&pool);
	cr_assert_eq(used_pages(), 0);
}

Test(pool_sizes, prop_items_never_overlap_and_keep_their_bytes)
{
	static const size_t sizes[] = { 1, 16, 24, 40, 56, 200, 512, 1000, 2048,
		4000 };

	boot_ram((uint64_t)8 << 20);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		prop_one_size(sizes[i]);
	fini_ram();
}

/* ---- bugs ---------------------------------------------------------------- */

Test(pool_bugs, double_free_traps, .signal = SIGABRT)
{
	void *item = get();

	(void)get(); /* keeps the slab */
	mmk_pool_free(&pool, item);
	mmk_pool_free(&pool, item);
}

Test(pool_bugs, double_free_of_the_last_item_traps, .signal = SIGABRT)
{
	void *item = get();

	mmk_pool_free(&pool, item);
	mmk_pool_free(&pool, item);
}

Test(pool_bugs, double_free_after_the_slab_went_back_traps, .signal = SIGABRT)
{
	void *item = get();

	mmk_pool_free(&pool, item);
	mmk_pool_drain(&pool);
	mmk_pool_free(&pool, item);
}

Test(pool_bugs, free_of_an_interior_pointer_traps, .signal = SIGABRT)
{
	mmk_pool_free(&pool, (char *)get() + 16);
}

Test(pool_bugs, free_of_the_slab_header_traps, .signal = SIGABRT)
{
	uintptr_t slab = (uintptr_t)get();

	mmk_pool_free(&pool, (void *)(slab & ~(uintptr_t)MMK_PAGE_MASK));
}

Test(pool_bugs, free_into_the_wrong_pool_traps, .signal = SIGABRT)
{
	struct mmk_pool other;

	mmk_pool_init(&other, &phys, "others", 48);
	mmk_pool_free(&other, get());
}

Test(pool_bugs, free_of_a_frame_that_is_no_slab_traps, .signal = SIGABRT)
{
	struct mmk_frame *frame = NULL;

	cr_assert_eq(mmk_frame_alloc(&phys, 0, 0, MMK_USE_KERNEL, &frame),
	    MMK_OK);
	mmk_pool_free(&pool, (char *)mmk_frame_ptr(&phys, frame) + 64);
}

Test(pool_bugs, free_of_memory_outside_RAM_traps, .signal = SIGABRT)
{
	uint64_t local[6];

	mmk_pool_free(&pool, local);
}

Test(pool_bugs, fini_with_items_out_traps, .signal = SIGABRT)
{
	(void)get();
	mmk_pool_fini(&pool);
}

Test(pool_bugs, items_of_no_bytes_trap, .signal = SIGABRT)
{
	mmk_pool_init(&pool, &phys, "things", 0);
}

Test(pool_bugs, items_as_large_as_a_page_trap, .signal = SIGABRT)
{
	mmk_pool_init(&pool, &phys, "things", MMK_PAGE_BYTES);
}

/* ---- threads ------------------------------------------------------------- */

static void *
hammer(void *arg)
{
	uint64_t id = (uint64_t)(uintptr_t)arg, *live[32] = { NULL };
	uint64_t seed = mmk_test_seed() * 17 + id;

	sim_set_cpu((unsigned)id);
	for (unsigned step = 0; step < mmk_test_steps(20000); step++) {
		uint64_t **slot = &live[mmk_test_random(&seed) % 32];

		if (*slot == NULL) {
			*slot = mmk_pool_alloc(&pool);
			if (*slot != NULL)
				**slot = id;
		} else {
			cr_assert_eq(**slot, id);
			mmk_pool_free(&pool, *slot);
			*slot = NULL;
		}
	}
	for (unsigned i = 0; i < 32; i++)
		mmk_pool_free(&pool, live[i]);
	return NULL;
}

Test(pool_threads, allocate_and_free_at_once)
{
	pthread_t threads[2];

	for (uintptr_t i = 0; i < 2; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, hammer,
		                 (void *)(i + 1)),
		    0);
	for (unsigned i = 0; i < 2; i++)
		cr_assert_eq(pthread_join(threads[i], NULL), 0);
	cr_assert_eq(mmk_pool_nr_used(&pool), 0);
}
