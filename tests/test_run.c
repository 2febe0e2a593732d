/* SPDX-License-Identifier: MIT
 *
 * tests/test_run.c: contiguous pages of any number, in any window
 */
#include <pthread.h>

#include "frame_fixture.h"
#include "mmkit/phys/run.h"

#define NR_RAM_PAGES mmk_pages_of_bytes(16 * MIB)
#define LOW_PA (4 * MIB)

static void
boot_low(void)
{
	boot_spans(16 * MIB, NULL, 0, LOW_PA);
}

TestSuite(run, .init = boot_low, .fini = fini);

static struct mmk_frame *
page(mmk_pfn pfn)
{
	return mmk_frame_of_pa(&phys, mmk_pa_of_pfn(pfn));
}

static uint64_t
nr_free(void)
{
	mmk_phys_drain(&phys);
	return stats().nr_free_pages;
}

/* The run is what was asked for; it is given back. */
static void
take_and_give(const struct mmk_run_request *request)
{
	uint64_t before = nr_free();
	mmk_pfn first = 0;

	cr_assert_eq(mmk_run_alloc(&phys, request, &first), MMK_OK);
	cr_assert_eq(nr_free(), before - request->nr_pages);
	cr_assert(mmk_phys_check(&phys));
	if (request->align_pages != 0)
		cr_assert_eq(first % request->align_pages, 0);
	if (request->boundary_pages != 0)
		cr_assert_eq(first / request->boundary_pages,
		    (first + request->nr_pages - 1) / request->boundary_pages);
	cr_assert_geq(mmk_pa_of_pfn(first), request->lo_pa);
	if (request->limit_pa != 0)
		cr_assert_leq(mmk_pa_of_pfn(first + request->nr_pages),
		    request->limit_pa);
	for (uint64_t i = 0; i < request->nr_pages; i++) {
		struct mmk_frame *frame = page(first + i);

		cr_assert(mmk_frame_is_held(frame));
		cr_assert_eq(mmk_frame_pa(&phys, frame),
		    mmk_pa_of_pfn(first + i));
		cr_assert_eq(frame->order, 0);
		cr_assert_eq(frame->refs, 1);
		cr_assert_eq(frame->use, request->use);
		if ((request->flags & MMK_ALLOC_ZERO) != 0)
			cr_assert_eq(*(uint64_t *)mmk_frame_ptr(&phys, frame),
			    0);
		memset(mmk_frame_ptr(&phys, frame), 0xa5, MMK_PAGE_BYTES);
	}
	mmk_run_free(&phys, first, request->nr_pages);
	cr_assert_eq(nr_free(), before);
	cr_assert(mmk_phys_check(&phys));
}

Test(run, any_number_of_pages_comes_in_a_row)
{
	for (uint64_t nr = 1; nr < 200; nr += nr / 7 + 1) {
		struct mmk_run_request request = { .nr_pages = nr,
			.use = MMK_USE_KERNEL };

		take_and_give(&request);
		request.flags = MMK_ALLOC_ZERO;
		take_and_give(&request);
		request.flags = MMK_ALLOC_LOW;
		take_and_give(&request);
	}
}

Test(run, alignment_boundary_and_window_are_kept)
{
	uint64_t seed = mmk_test_seed();

	for (unsigned n = mmk_test_steps(300); n > 0; n--) {
		uint64_t r = mmk_test_random(&seed);
		struct mmk_run_request request = {
			.nr_pages = 1 + r % 60,
			.align_pages = (uint64_t)1 << (r >> 8) % 8,
			.boundary_pages = (r >> 16) % 3 == 0
			    ? 0 : (uint64_t)64 << (r >> 20) % 4,
			.lo_pa = (r >> 24) % 4 * MIB + (r >> 32) % 9000,
			.use = MMK_USE_KERNEL };

		if ((r >> 40) % 2 == 0)
			request.limit_pa = request.lo_pa + 2 * MIB + 77;
		take_and_give(&request);
	}
}

Test(run, zone_low_is_spared_while_there_is_other_memory)
{
	struct mmk_run_request request = { .nr_pages = 5,
		.use = MMK_USE_KERNEL };
	mmk_pfn first;

	cr_assert_eq(mmk_run_alloc(&phys, &request, &first), MMK_OK);
	cr_assert_geq(mmk_pa_of_pfn(first), LOW_PA);
	mmk_run_free(&phys, first, 5);
}

Test(run, a_run_may_cross_from_one_zone_to_the_next)
{
	struct mmk_run_request request = { .nr_pages = 9,
		.lo_pa = LOW_PA - 4 * MMK_PAGE_BYTES,
		.limit_pa = LOW_PA + 5 * MMK_PAGE_BYTES,
		.use = MMK_USE_KERNEL };

	take_and_give(&request);
}

Test(run, all_free_memory_of_a_zone_is_one_run)
{
	struct mmk_run_request request = {
		.nr_pages = mmk_pages_of_bytes(LOW_PA),
		.flags = MMK_ALLOC_LOW, .use = MMK_USE_KERNEL };

	take_and_give(&request);
}

Test(run, a_run_that_is_not_there_is_refused_and_nothing_changes)
{
	struct mmk_run_request request = { .nr_pages = 3,
		.flags = MMK_ALLOC_LOW, .use = MMK_USE_KERNEL };
	struct mmk_frame *held[2048];
	unsigned nr = 0;
	uint64_t before;
	mmk_pfn first = 77;

	/* Two free pages, one held, two free, ... */
	while (nr < 2048 && mmk_frame_alloc(&phys, 0, MMK_ALLOC_LOW,
	    MMK_USE_KERNEL, &held[nr]) == MMK_OK)
		nr++;
	for (unsigned i = 0; i < nr; i++)
		if (mmk_frame_table_pfn(&phys.table, held[i]) % 3 != 0) {
			put(held[i]);
			held[i] = NULL;
		}
	before = nr_free();
	cr_assert_eq(mmk_run_alloc(&phys, &request, &first), MMK_ERR_NOSPACE);
	cr_assert_eq(first, 77);
	cr_assert_eq(nr_free(), before);
	request.nr_pages = 2;
	cr_assert_eq(mmk_run_alloc(&phys, &request, &first), MMK_OK);
	cr_assert_lt(mmk_pa_of_pfn(first + 1), LOW_PA);
	mmk_run_free(&phys, first, 2);
	for (unsigned i = 0; i < nr; i++)
		if (held[i] != NULL)
			put(held[i]);
}

Test(run, bad_requests_are_refused)
{
	const struct mmk_run_request good = { .nr_pages = 4,
		.use = MMK_USE_KERNEL };
	struct mmk_run_request bad[10];
	mmk_pfn first = 77;

	for (unsigned i = 0; i < 10; i++)
		bad[i] = good;
	bad[0].nr_pages = 0;
	bad[1].align_pages = 3;
	bad[2].boundary_pages = 3;
	bad[3].boundary_pages = 2;
	bad[4].lo_pa = 8 * MIB;
	bad[4].limit_pa = 8 * MIB;
	bad[5].flags = MMK_ALLOC_RETAINED;
	bad[6].flags = MMK_ALLOC_MOVABLE;
	bad[7].use = MMK_USE_FREE;
	bad[8].use = MMK_USE_META;
	bad[9].use = MMK_USE_MAX;
	for (unsigned i = 0; i < 10; i++)
		cr_assert_eq(mmk_run_alloc(&phys, &bad[i], &first),
		    MMK_ERR_INVAL, "request %u", i);
	cr_assert_eq(first, 77);
}

Test(run, requests_at_the_edge_of_arithmetic_end)
{
	struct mmk_run_request request = { .nr_pages = UINT64_MAX,
		.use = MMK_USE_KERNEL };
	mmk_pfn first;

	cr_assert_eq(mmk_run_alloc(&phys, &request, &first), MMK_ERR_NOSPACE);
	request.nr_pages = 3;
	request.align_pages = (uint64_t)1 << 63;
	request.lo_pa = MMK_PAGE_BYTES;
	cr_assert_eq(mmk_run_alloc(&phys, &request, &first), MMK_ERR_NOSPACE);
	request.align_pages = 0;
	request.lo_pa = UINT64_MAX;
	cr_assert_eq(mmk_run_alloc(&phys, &request, &first), MMK_ERR_NOSPACE);
	request.lo_pa = 0;
	request.limit_pa = UINT64_MAX;
	take_and_give(&request);
}

Test(run, an_allocation_that_fails_changes_nothing)
{
	struct mmk_run_request request = { .nr_pages = 3,
		.use = MMK_USE_KERNEL };
	uint64_t before = nr_free();
	mmk_pfn first = 77;

	sim_fail_at(1);
	cr_assert_eq(mmk_run_alloc(&phys, &request, &first), MMK_ERR_NOMEM);
	sim_fail_at(0);
	cr_assert_eq(first, 77);
	cr_assert_eq(nr_free(), before);
}

Test(run, pages_of_a_run_can_be_given_up_one_by_one)
{
	struct mmk_run_request request = { .nr_pages = 8,
		.use = MMK_USE_KERNEL };
	uint64_t before = nr_free();
	mmk_pfn first;

	cr_assert_eq(mmk_run_alloc(&phys, &request, &first), MMK_OK);
	mmk_run_free(&phys, first + 3, 2);
	cr_assert_eq(nr_free(), before - 6);
	cr_assert_not(mmk_frame_is_held(page(first + 3)));
	cr_assert(mmk_frame_is_held(page(first + 5)));
	mmk_run_free(&phys, first, 3);
	mmk_run_free(&phys, first + 5, 3);
	cr_assert_eq(nr_free(), before);
}

/* RAM far apart: the search jumps over what is not there. */
Test(run_holes, the_search_passes_over_holes)
{
	const struct mmk_phys_span spans[] = {
		{ 1 * MIB, 2 * MIB }, { 3 * MIB, 5 * MIB },
		{ 512 * MIB, 516 * MIB },
	};
	struct mmk_run_request request = {
		.nr_pages = mmk_pages_of_bytes(2 * MIB) + 1,
		.use = MMK_USE_KERNEL };
	mmk_pfn first;

	boot_spans(516 * MIB, spans, 3, 0);
	cr_assert_eq(mmk_run_alloc(&phys, &request, &first), MMK_OK);
	cr_assert_geq(mmk_pa_of_pfn(first), 512 * MIB);
	mmk_run_free(&phys, first, request.nr_pages);
	request.limit_pa = 512 * MIB;
	cr_assert_eq(mmk_run_alloc(&phys, &request, &first), MMK_ERR_NOSPACE);
	fini();
}

/* Random frames and runs; a map of who has which page is the oracle. */
Test(run, prop_runs_and_frames_agree_with_a_page_map)
{
	uint64_t seed = mmk_test_seed();
	static unsigned char owner[16 * 1024 * 1024 >> 12];
	struct { mmk_pfn first; uint64_t nr; bool is_run; } has[60] = { 0 };

	memset(owner, 0, sizeof owner);
	for (unsigned n = mmk_test_steps(4000); n > 0; n--) {
		uint64_t r = mmk_test_random(&seed);
		unsigned i = (unsigned)(r % 60);
		struct mmk_frame *frame;

		if (has[i].nr != 0) {
			for (uint64_t k = 0; k < has[i].nr; k++) {
				mmk_pfn pfn = has[i].first + k;

				cr_assert_eq(owner[pfn], i + 1);
				cr_assert_eq(*(uint64_t *)MMKIT_PHYS_TO_PTR(
				    mmk_pa_of_pfn(pfn)), pfn * 61 + i);
				owner[pfn] = 0;
			}
			if (has[i].is_run)
				mmk_run_free(&phys, has[i].first, has[i].nr);
			else
				put(page(has[i].first));
			has[i].nr = 0;
			continue;
		}
		has[i].is_run = (r >> 8) % 2 == 0;
		if (has[i].is_run) {
			struct mmk_run_request request = {
				.nr_pages = 1 + (r >> 16) % 90,
				.align_pages = (r >> 28) % 2 * 4,
				.flags = (r >> 30) % 4 == 0 ? MMK_ALLOC_LOW : 0,
				.use = MMK_USE_KERNEL };

			if (mmk_run_alloc(&phys, &request, &has[i].first) !=
			    MMK_OK)
				continue;
			has[i].nr = request.nr_pages;
		} else {
			if (mmk_frame_alloc(&phys, (unsigned)(r >> 16) % 7, 0,
			    MMK_USE_KERNEL, &frame) != MMK_OK)
				continue;
			has[i].first = mmk_frame_table_pfn(&phys.table, frame);
			has[i].nr = mmk_frame_nr_pages(frame);
		}
		for (uint64_t k = 0; k < has[i].nr; k++) {
			mmk_pfn pfn = has[i].first + k;

			cr_assert_eq(owner[pfn], 0, "page %llu given twice",
			    (unsigned long long)pfn);
			owner[pfn] = (unsigned char)(i + 1);
			*(uint64_t *)MMKIT_PHYS_TO_PTR(mmk_pa_of_pfn(pfn)) =
			    pfn * 61 + i;
		}
		if (n % 64 == 0)
			cr_assert(mmk_phys_check(&phys));
	}
	for (unsigned i = 0; i < 60; i++)
		if (has[i].nr != 0 && has[i].is_run)
			mmk_run_free(&phys, has[i].first, has[i].nr);
		else if (has[i].nr != 0)
			put(page(has[i].first));
}

TestSuite(run_bugs, .init = boot_low);

Test(run_bugs, freeing_a_run_twice_traps, .signal = SIGABRT)
{
	struct mmk_run_request request = { .nr_pages = 3,
		.use = MMK_USE_KERNEL };
	mmk_pfn first;

	cr_assert_eq(mmk_run_alloc(&phys, &request, &first), MMK_OK);
	mmk_run_free(&phys, first, 3);
	mmk_run_free(&phys, first, 3);
}

/* ---- several CPUs ------------------------------------------------------ */

TestSuite(run_threads, .init = boot_low, .fini = fini);

static void *
hammer(void *arg)
{
	unsigned cpu = (unsigned)(uintptr_t)arg;
	uint64_t seed = mmk_test_seed() + cpu;
	struct mmk_frame *frame;

	sim_set_cpu(cpu);
	for (unsigned n = mmk_test_steps(400); n > 0; n--) {
		uint64_t r = mmk_test_random(&seed);
		struct mmk_run_request request = { .nr_pages = 1 + r % 40,
			.lo_pa = LOW_PA - MIB, .limit_pa = LOW_PA + MIB,
			.use = MMK_USE_KERNEL };
		mmk_pfn first;
		bool has_run = mmk_run_alloc(&phys, &request, &first) == MMK_OK;

		for (uint64_t k = 0; has_run && k < request.nr_pages; k++)
			*(uint64_t *)MMKIT_PHYS_TO_PTR(
			    mmk_pa_of_pfn(first + k)) = cpu;
		if (mmk_frame_alloc(&phys, (r >> 8) % 3, (r >> 12) % 2 != 0
		    ? MMK_ALLOC_LOW : 0, MMK_USE_KERNEL, &frame) == MMK_OK)
			put(frame);
		for (uint64_t k = 0; has_run && k < request.nr_pages; k++)
			cr_assert_eq(*(uint64_t *)MMKIT_PHYS_TO_PTR(
			    mmk_pa_of_pfn(first + k)), cpu);
		if (has_run)
			mmk_run_free(&phys, first, request.nr_pages);
	}
	return NULL;
}

Test(run_threads, runs_and_frames_at_once_on_several_cpus)
{
	pthread_t threads[NR_CPUS];

	for (uintptr_t i = 0; i < NR_CPUS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, hammer,
		    (void *)i), 0);
	for (unsigned i = 0; i < NR_CPUS; i++)
		cr_assert_eq(pthread_join(threads[i], NULL), 0);
}
