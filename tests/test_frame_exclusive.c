/* SPDX-License-Identifier: MIT
 *
 * tests/test_frame_exclusive.c: frames where the port gives MMKIT_CPU_ENTER, so
 * that what belongs to a CPU has no lock. The allocator is compiled here, into
 * this file; the machine sees that no two threads are on one CPU.
 */
#define SIM_CPU_EXCLUSIVE
#define MMKIT_STATIC
#include <pthread.h>

#include "frame_fixture.h"

MMK_STATIC_ASSERT(MMK_CPU_IS_EXCLUSIVE, "or this file tests nothing");

TestSuite(frame_exclusive, .init = boot);
TestSuite(frame_exclusive_bugs, .init = boot);

/* Every CPU empties its own arrays: nobody else can. */
static void
fini_all(void)
{
	for (unsigned cpu = 0; cpu < NR_CPUS; cpu++) {
		sim_set_cpu(cpu);
		mmk_phys_drain(&phys);
	}
	cr_assert_eq(stats().nr_cached_pages, 0);
	fini();
}

Test(frame_exclusive, a_drain_is_a_request_to_the_others)
{
	sim_set_cpu(1);
	put(get(0, 0));
	put(get(2, 0));
	put(get(ORDER_2M, 0));
	cr_assert_gt(stats().nr_cached_pages, (uint64_t)1 << ORDER_2M);
	sim_set_cpu(0);
	mmk_phys_drain(&phys);
	cr_assert_gt(stats().nr_cached_pages, (uint64_t)1 << ORDER_2M,
	    "CPU 1 has not been asked yet");
	sim_set_cpu(1);
	put(get(0, 0)); /* its next free honours it, and keeps that one page */
	cr_assert_eq(stats().nr_cached_pages, 1);
	cr_assert(mmk_phys_check(&phys));
	fini_all();
}

Test(frame_exclusive, an_empty_array_honours_the_request_too)
{
	struct mmk_frame *frames[MMK_CACHE_BATCH + 1];

	put(get(1, 0));
	sim_set_cpu(1);
	mmk_phys_drain(&phys);
	sim_set_cpu(0);
	for (unsigned i = 0; i <= MMK_CACHE_BATCH; i++)
		frames[i] = get(0, 0);
	cr_assert_lt(stats().nr_cached_pages, 2 * MMK_CACHE_BATCH,
	    "the blocks of order 1 went, a batch of pages came");
	for (unsigned i = 0; i <= MMK_CACHE_BATCH; i++)
		put(frames[i]);
	cr_assert(mmk_phys_check(&phys));
	fini_all();
}

Test(frame_exclusive, no_memory_may_mean_that_another_CPU_has_some)
{
	struct mmk_frame *chain, *last = NULL;
	uint64_t nr, nr_kept;

	sim_set_cpu(1);
	put(get(0, 0));
	nr_kept = stats().nr_cached_pages;
	sim_set_cpu(0);
	chain = take_all(0, &nr);
	cr_assert_eq(stats().nr_free_pages, nr_kept);
	cr_assert_eq(mmk_frame_alloc(&phys, 0, 0, MMK_USE_KERNEL, &last),
	    MMK_ERR_NOMEM);
	cr_assert_null(last);
	sim_set_cpu(1);
	put(get(0, 0)); /* it was asked: all but this page goes back */
	sim_set_cpu(0);
	cr_assert_eq(stats().nr_cached_pages, 1);
	last = get(0, 0);
	put(last);
	put_all(chain);
	fini_all();
}

Test(frame_exclusive, peak_is_exact_on_one_cpu)
{
	struct mmk_frame *frames[300];
	uint64_t base = stats().peak_used_pages;

	for (unsigned n = 1; n <= 300; n += 23) {
		for (unsigned i = 0; i < n; i++)
			frames[i] = get(i % 4, 0);
		for (unsigned i = 0; i < n; i++)
			put(frames[i]);
		cr_assert_eq(stats().peak_used_pages,
		    base + n / 4 * 15 + (1u << n % 4) - 1);
	}
	fini_all();
}

/* A page has one owner at a time, whatever CPU takes and gives it. */
Test(frame_exclusive, prop_agrees_with_a_map_of_owners)
{
	enum { NR_LIVE = 300, NR_PAGES = 4096 };
	static struct mmk_frame *live[NR_LIVE];
	static unsigned char taken[NR_PAGES];
	uint64_t seed = mmk_test_seed();
	unsigned nr = 0;

	memset(taken, 0, sizeof(taken));
	for (unsigned step = 0; step < mmk_test_steps(30000); step++) {
		unsigned order = (unsigned)(mmk_test_random(&seed) % 11);
		mmk_pfn pfn;

		sim_set_cpu((unsigned)(mmk_test_random(&seed) % NR_CPUS));
		order = order > 6 ? (order == 10 ? 9 : 0) : order;
		if (mmk_test_random(&seed) % 2 == 0 && nr < NR_LIVE) {
			if (mmk_frame_alloc(&phys, order, 0, MMK_USE_ANON,
			        &live[nr]) != MMK_OK)
				continue;
			pfn = mmk_pfn_of_pa(mmk_frame_pa(&phys, live[nr]));
			for (uint64_t i = 0; i < 1u << order; i++)
				cr_assert_eq(taken[pfn + i]++, 0,
				    "MMK_SEED step %u", step);
			cr_assert_eq(pfn % (1u << order), 0);
			nr++;
		} else if (nr > 0) {
			unsigned at = (unsigned)(mmk_test_random(&seed) % nr);
			struct mmk_frame *frame = live[at];

			pfn = mmk_pfn_of_pa(mmk_frame_pa(&phys, frame));
			memset(&taken[pfn], 0, mmk_frame_nr_pages(frame));
			put(frame);
			live[at] = live[--nr];
		}
		if (step % 64 == 0)
			mmk_phys_drain(&phys);
		if (step % 16 == 0)
			cr_assert(mmk_phys_check(&phys), "step %u", step);
	}
	while (nr > 0)
		put(live[--nr]);
	fini_all();
}

Test(frame_exclusive_bugs, a_double_free_traps, .signal = SIGABRT)
{
	struct mmk_frame *frame = get(0, 0);

	put(frame);
	put(frame);
}

Test(frame_exclusive_bugs, a_double_free_of_a_superpage_traps,
    .signal = SIGABRT)
{
	struct mmk_frame *frame = get(ORDER_2M, 0);

	put(frame);
	put(frame);
}

/* ---- threads ------------------------------------------------------------- */

enum { THREAD_LIVE = 24, THREADS_MAX = 4 };

static struct mmk_frame *shared_frame;
static struct mmk_frame *handed[THREADS_MAX]; /* [a] from one to the next */

/* Each stamps what it holds; some frames are freed by another CPU. */
static void *
hammer(void *arg)
{
	unsigned id = (unsigned)(uintptr_t)arg;
	uint64_t seed = mmk_test_seed() * 31 + id;
	struct mmk_frame *live[THREAD_LIVE] = { NULL }, *frame;

	sim_set_cpu(id);
	for (unsigned step = 0; step < mmk_test_steps(20000); step++) {
		unsigned order = (unsigned)(mmk_test_random(&seed) % 12);
		unsigned at = (unsigned)(mmk_test_random(&seed) % THREAD_LIVE);

		mmk_frame_ref(&phys, shared_frame);
		if (live[at] == NULL) {
			if (mmk_frame_alloc(&phys, order > 5 ? 0 : order, 0,
			        MMK_USE_ANON, &live[at]) == MMK_OK)
				*(uint64_t *)mmk_frame_ptr(&phys, live[at]) =
				    id;
		} else {
			cr_assert_eq(
			    *(uint64_t *)mmk_frame_ptr(&phys, live[at]), id);
			frame = __atomic_exchange_n(
			    &handed[(id + 1) % THREADS_MAX], live[at],
			    __ATOMIC_ACQ_REL);
			live[at] = NULL;
			if (frame != NULL)
				put(frame);
		}
		frame = __atomic_exchange_n(&handed[id], NULL,
		    __ATOMIC_ACQ_REL);
		if (frame != NULL)
			put(frame);
		if (step % 256 == 0)
			mmk_phys_drain(&phys);
		if (step % 64 == 0)
			(void)stats();
		cr_assert_gt(mmk_frame_unref(&phys, shared_frame), 0);
	}
	for (unsigned i = 0; i < THREAD_LIVE; i++)
		if (live[i] != NULL)
			put(live[i]);
	return NULL;
}

static void
hammer_with(unsigned nr_threads)
{
	pthread_t threads[THREADS_MAX];

	sim_set_cpu(0);
	shared_frame = get(0, 0);
	for (unsigned i = 0; i < nr_threads; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, hammer,
		                 (void *)(uintptr_t)i), 0);
	for (unsigned i = 0; i < nr_threads; i++)
		cr_assert_eq(pthread_join(threads[i], NULL), 0);
	for (unsigned i = 0; i < THREADS_MAX; i++) {
		if (handed[i] != NULL)
			put(handed[i]);
		handed[i] = NULL;
	}
	cr_assert_eq(shared_frame->refs, 1);
	put(shared_frame);
	fini_all();
}

Test(frame_exclusive, two_cpus_at_once)
{
	hammer_with(2);
}

Test(frame_exclusive, four_cpus_at_once)
{
	hammer_with(4);
}
