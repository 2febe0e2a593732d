/* SPDX-License-Identifier: MIT
 *
 * tests/test_lazy.c: descriptors that are not there until they are needed
 */
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "frame_fixture.h"
#include "mmkit/phys/run.h"

/* TSan and Valgrind keep a record of every byte that is mapped. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define __SANITIZE_THREAD__
#endif
#endif
#ifdef __SANITIZE_THREAD__
#define IS_CHECKED 1
#elif __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#define IS_CHECKED RUNNING_ON_VALGRIND
#else
#define IS_CHECKED 0
#endif

#define TIB ((uint64_t)1 << 40)
#define SECTION_BYTES (MMK_SECTION_PAGES << MMK_PAGE_SHIFT)

static struct mmk_phys_config config;

static uint64_t
now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Pages of the metadata that are there. */
static uint64_t
nr_resident(void)
{
	uint64_t bytes = config.meta_bytes, nr = 0;
	long page = sysconf(_SC_PAGESIZE);
	static unsigned char in_core[1 << 16];

	for (uint64_t at = 0; at < bytes; at += sizeof(in_core) * (uint64_t)page) {
		uint64_t left = mmk_min(bytes - at,
		    sizeof(in_core) * (uint64_t)page);

		cr_assert_eq(mincore((char *)config.meta + at, left, in_core), 0);
		for (uint64_t i = 0; i < (left + (uint64_t)page - 1) /
		         (uint64_t)page; i++)
			nr += in_core[i] & 1;
	}
	return nr;
}

static void
boot_lazy(uint64_t ram_bytes, const struct mmk_phys_span *spans,
    size_t nr_spans)
{
	struct sim_config machine = { .ram_bytes = ram_bytes,
		.nr_cpus = NR_CPUS };

	sim_boot(&machine);
	sim_set_cpu(0);
	(void)memset(&config, 0, sizeof(config));
	config.spans = spans;
	config.nr_spans = nr_spans;
	config.meta_bytes = mmk_phys_config_meta_bytes(&config);
	config.meta = mmap(NULL, config.meta_bytes, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	cr_assert(config.meta != MAP_FAILED);
	config.meta_is_zero = true;
}

static void
fini_lazy(void)
{
	fini();
	(void)munmap(config.meta, config.meta_bytes);
}

static bool
has_room(uint64_t bytes)
{
	void *ptr;

	if (IS_CHECKED || mmk_test_steps(100) < 100)
		return false;
	ptr = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return ptr != MAP_FAILED && munmap(ptr, bytes) == 0;
}

/* A GiB with holes: sections that are full, and some that are not. */
static const struct mmk_phys_span ragged[] = {
	{ 5 * MMK_PAGE_BYTES, SECTION_BYTES + 3 * MIB },
	{ SECTION_BYTES + 4 * MIB, 6 * SECTION_BYTES + 64 * MIB },
};
#define RAGGED_BYTES (8 * SECTION_BYTES)

Test(lazy, a_tebibyte_is_taken_over_at_once)
{
	const struct mmk_phys_span all = { 0, TIB };
	struct mmk_frame *frame, *first, *last;
	uint64_t ns, before;

	if (!has_room(TIB))
		return; /* a checker has the addresses */
	boot_lazy(TIB, &all, 1);
	ns = now_ns();
	cr_assert_eq(mmk_phys_init(&phys, &config), MMK_OK);
	ns = now_ns() - ns;
	before = nr_resident();
	printf("1 TiB: init %.2f ms, %llu of %llu pages of metadata are there\n",
	    (double)ns / 1e6, (unsigned long long)before,
	    (unsigned long long)(mmk_pages_round_up(config.meta_bytes)));
	cr_assert_lt(before, 100);
	cr_assert_eq(stats().nr_free_pages, TIB >> MMK_PAGE_SHIFT);

	frame = get(0, 0);
	put(frame);
	frame = get(ORDER_2M, 0);
	put(frame);
	cr_assert_lt(nr_resident(), before + 100);

	/* Every address of RAM has an answer, needed or not. */
	first = mmk_frame_of_pa(&phys, 0);
	last = mmk_frame_of_pa(&phys, TIB - 1);
	cr_assert(first != NULL && last != NULL);
	cr_assert(!mmk_frame_is_held(first) && !mmk_frame_is_held(last));
	cr_assert_eq(mmk_frame_pa(&phys, first), 0);
	cr_assert_eq(mmk_frame_pa(&phys, last), TIB - MMK_PAGE_BYTES);
	cr_assert_eq(mmk_frame_of_pa(&phys, TIB), NULL);
	cr_assert_lt(nr_resident(), before + 110);
	fini_lazy();
}

Test(lazy, all_of_ram_can_be_had_and_comes_back)
{
	uint64_t nr, nr_pages;
	struct mmk_frame *chain;

	boot_lazy(RAGGED_BYTES, ragged, 2);
	cr_assert_eq(mmk_phys_init(&phys, &config), MMK_OK);
	cr_assert(mmk_phys_check(&phys));
	nr_pages = stats().nr_pages;
	cr_assert_eq(stats().nr_free_pages, nr_pages);
	for (unsigned round = 0; round < mmk_test_steps(2); round++) {
		chain = take_all(0, &nr);
		cr_assert_eq(nr, nr_pages);
		cr_assert_eq(stats().nr_free_pages, 0);
		cr_assert(mmk_phys_check(&phys));
		put_all(chain);
	}
	mmk_phys_drain(&phys);
	fini_lazy();
}

Test(lazy, large_blocks_wake_as_many_sections_as_they_need)
{
	unsigned order = MMK_SECTION_ORDER + 1;
	struct mmk_frame *a, *b;

	if (MMK_MAX_ORDER < MMK_SECTION_ORDER + 1)
		return;
	boot_lazy(RAGGED_BYTES, ragged, 2);
	cr_assert_eq(mmk_phys_init(&phys, &config), MMK_OK);
	a = get(order, 0);
	b = get(order, 0);
	cr_assert(mmk_phys_check(&phys));
	cr_assert_neq(a, b);
	put(a);
	put(b);
	fini_lazy();
}

/* Whatever wakes in between, the numbers and the addresses are right. */
Test(lazy, prop_numbers_and_addresses_are_right_whatever_wakes)
{
	struct mmk_frame *held[64] = { NULL };
	uint64_t nr_held = 0, nr_pages, seed = mmk_test_seed();

	boot_lazy(RAGGED_BYTES, ragged, 2);
	config.low_limit_pa = 2 * SECTION_BYTES + 64 * MIB;
	cr_assert_eq(mmk_phys_init(&phys, &config), MMK_OK);
	nr_pages = stats().nr_pages;
	for (unsigned step = 0; step < mmk_test_steps(2000); step++) {
		unsigned i = (unsigned)(mmk_test_random(&seed) % 64);
		unsigned order = (unsigned)(mmk_test_random(&seed) %
		    (MMK_SUPERPAGE_ORDER + 3));
		unsigned flags = mmk_test_random(&seed) % 3 == 0 ? MMK_ALLOC_LOW : 0;

		if (held[i] != NULL) {
			nr_held -= mmk_frame_nr_pages(held[i]);
			put(held[i]);
			held[i] = NULL;
		} else if (mmk_frame_alloc(&phys, order, flags, MMK_USE_KERNEL,
		               &held[i]) == MMK_OK) {
			mmk_pa pa = mmk_frame_pa(&phys, held[i]);

			nr_held += (uint64_t)1 << order;
			cr_assert_eq(mmk_frame_of_pa(&phys, pa), held[i]);
			cr_assert(flags == 0 || pa < config.low_limit_pa);
		} else {
			held[i] = NULL;
		}
		cr_assert_eq(stats().nr_free_pages, nr_pages - nr_held);
	}
	cr_assert(mmk_phys_check(&phys));
	for (unsigned i = 0; i < 64; i++)
		if (held[i] != NULL)
			put(held[i]);
	fini_lazy();
}

/* A place is asked for by address: it wakes, whatever is below it sleeps. */
Test(lazy, a_run_in_a_window_wakes_what_is_there)
{
	struct mmk_run_request request = { .nr_pages = 13,
		.use = MMK_USE_KERNEL, .lo_pa = 4 * SECTION_BYTES,
		.limit_pa = 4 * SECTION_BYTES + 16 * MIB };
	struct mmk_phys_region regions[7];
	mmk_pfn first;

	boot_lazy(RAGGED_BYTES, ragged, 2);
	cr_assert_eq(mmk_phys_init(&phys, &config), MMK_OK);
	cr_assert_eq(mmk_run_alloc(&phys, &request, &first), MMK_OK);
	cr_assert(mmk_pa_of_pfn(first) >= request.lo_pa);
	cr_assert(mmk_pa_of_pfn(first + 13) <= request.limit_pa);
	cr_assert(mmk_phys_check(&phys));
	mmk_phys_regions_read(&phys, 7, regions);
	cr_assert_eq(regions[5].nr_free_pages, regions[5].nr_pages);
	mmk_run_free(&phys, first, 13);
	fini_lazy();
}

/* ---- threads ------------------------------------------------------------- */

enum { WAKERS_MAX = 4, WAKER_BLOCKS = 24 };

/* Takes what wakes, asks for places, and looks at what may be about to. */
static void *
waker(void *arg)
{
	uint64_t id = (uint64_t)(uintptr_t)arg;
	uint64_t seed = mmk_test_seed() * 31 + id;
	struct mmk_frame *held[WAKER_BLOCKS] = { NULL };
	struct mmk_phys_region regions[5];

	sim_set_cpu((unsigned)id);
	for (unsigned i = 0; i < WAKER_BLOCKS; i++) {
		mmk_pa pa = mmk_test_random(&seed) % (6 * SECTION_BYTES);
		struct mmk_frame *other = mmk_frame_of_pa(&phys, pa);

		if (other != NULL)
			cr_assert_leq(mmk_frame_pa(&phys, other), pa);
		if (mmk_frame_alloc(&phys, i % 6 == 0 ? 0 : ORDER_2M + 3, 0,
		        MMK_USE_KERNEL, &held[i]) != MMK_OK) {
			held[i] = NULL;
			continue;
		}
		pa = mmk_frame_pa(&phys, held[i]);
		cr_assert_eq(mmk_frame_of_pa(&phys, pa), held[i]);
		*(uint64_t *)mmk_frame_ptr(&phys, held[i]) = id;
		if (i % 8 == 0)
			mmk_phys_regions_read(&phys, 5, regions);
	}
	for (unsigned i = 0; i < WAKER_BLOCKS; i++) {
		if (held[i] == NULL)
			continue;
		cr_assert_eq(*(uint64_t *)mmk_frame_ptr(&phys, held[i]), id);
		put(held[i]);
	}
	return NULL;
}

static void
wake_with(unsigned nr_threads)
{
	pthread_t threads[WAKERS_MAX];

	boot_lazy(RAGGED_BYTES, ragged, 2);
	config.low_limit_pa = 2 * SECTION_BYTES + 64 * MIB;
	cr_assert_eq(mmk_phys_init(&phys, &config), MMK_OK);
	for (uintptr_t i = 0; i < nr_threads; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, waker,
		                 (void *)i),
		    0);
	for (unsigned i = 0; i < nr_threads; i++)
		cr_assert_eq(pthread_join(threads[i], NULL), 0);
	fini_lazy();
}

Test(lazy_threads, two_cpus_wake_sections_at_once)
{
	wake_with(2);
}

Test(lazy_threads, four_cpus_wake_sections_at_once)
{
	wake_with(4);
}

/* The address of each page is found while nothing of it is written. */
Test(lazy, every_page_has_its_address_while_it_sleeps)
{
	static const struct mmk_phys_span far[] = {
		{ SECTION_BYTES, 2 * SECTION_BYTES },
		{ 5 * SECTION_BYTES + 9 * MIB, 6 * SECTION_BYTES },
		{ 7 * SECTION_BYTES, 8 * SECTION_BYTES },
	};

	boot_lazy(RAGGED_BYTES, far, 3);
	cr_assert_eq(mmk_phys_init(&phys, &config), MMK_OK);
	for (unsigned i = 0; i < 3; i++)
		for (mmk_pa pa = far[i].start_pa; pa < far[i].end_pa;
		     pa += 7 * MMK_PAGE_BYTES)
			cr_assert_eq(mmk_frame_pa(&phys,
			                 mmk_frame_of_pa(&phys, pa)),
			    pa);
	fini_lazy();
}

Test(lazy, memory_of_its_own_is_not_known_to_be_zero)
{
	boot_lazy(RAGGED_BYTES, ragged, 2);
	config.spans = ragged;
	(void)munmap(config.meta, config.meta_bytes);
	config.meta = NULL;
	cr_assert_eq(mmk_phys_init(&phys, &config), MMK_ERR_INVAL);
	sim_shutdown();
}
