/* SPDX-License-Identifier: MIT
 *
 * tests/test_halves.c: the kernel's pmap, the upper half, beside those of
 * programs
 */
#include "pmap_fixture.h"

/* Above the start, by a whole group, and by tables of their own. */
#define KVA (kernel.base_va + (UINT64_C(0x2345678a000) & ~(uint64_t)(PAGE - 1)))
#define LAST (kernel.end_va - PAGE)

/* Test(halves, name), on every format, with a pmap of the kernel. */
#define TEST_HALVES(name)                 \
	static void body_of_##name(void); \
	Test(halves, name)                \
	{                                 \
		has_kernel = true;        \
		on_every_format(body_of_##name); \
		has_kernel = false;       \
	}                                 \
	static void body_of_##name(void)

/* What the kernel's code sees on this CPU. */
static uint64_t
kernel_load(unsigned cpu, mmk_va va)
{
	uint64_t word;

	sim_cpu_set_user(cpu, false);
	word = load(cpu, va);
	sim_cpu_set_user(cpu, true);
	return word;
}

static bool
kernel_store(unsigned cpu, mmk_va va, uint64_t word)
{
	bool is_done;

	sim_cpu_set_user(cpu, false);
	is_done = store(cpu, va, word);
	sim_cpu_set_user(cpu, true);
	return is_done;
}

static void
kernel_enter(mmk_va va, const struct mmk_frame *frame, unsigned flags)
{
	cr_assert_eq(mmk_pmap_enter(&kernel, va, pa_of(frame), flags), MMK_OK);
}

static void
kernel_remove(mmk_va start_va, mmk_va end_va)
{
	mmk_pmap_remove(&kernel, start_va, end_va, &gather);
	mmk_gather_finish(&gather);
}

/* The CPU goes from one program's pmap to another's; NR_PMAPS: to none. */
static void
switch_to(unsigned cpu, unsigned space)
{
	sim_set_cpu(cpu);
	for (unsigned i = 0; i < NR_PMAPS; i++)
		if ((pmaps[i].cpus.words[0] >> cpu & 1) != 0)
			mmk_pmap_deactivate(&pmaps[i], cpu);
	if (space < NR_PMAPS)
		mmk_pmap_activate(&pmaps[space], cpu);
	sim_set_cpu(0);
}

TEST_HALVES(where_it_begins_and_ends)
{
	mmk_va limit_va = mmk_pt_va_limit(&sys.shape);

	cr_assert_eq(kernel.base_va, 0 - limit_va);
	cr_assert_eq(kernel.end_va, 0 - PAGE);
	cr_assert_eq(pmaps[0].base_va, 0);
	cr_assert_eq(pmaps[0].end_va, limit_va);
	cr_assert(mmk_pmap_covers(&kernel, kernel.base_va));
	cr_assert(mmk_pmap_covers(&kernel, LAST));
	cr_assert(!mmk_pmap_covers(&kernel, kernel.end_va));
	cr_assert(!mmk_pmap_covers(&kernel, UINT64_MAX));
	cr_assert(!mmk_pmap_covers(&kernel, 0));
	cr_assert(!mmk_pmap_covers(&kernel, kernel.base_va - 1));
	cr_assert(mmk_pmap_covers(&pmaps[0], 0));
	cr_assert(!mmk_pmap_covers(&pmaps[0], limit_va));
	cr_assert(!mmk_pmap_covers(&pmaps[0], kernel.base_va));
	cr_assert_eq(kernel.tag, 0);
	cr_assert_eq(sys.kernel, &kernel);
	cr_assert_eq(kernel.nr_tables, is_arm() ? 1 : 257);
}

/* From every program, from none, and after a switch; a program sees nothing. */
TEST_HALVES(seen_from_every_space)
{
	mmk_va places[] = { kernel.base_va, KVA, LAST };

	sim_forbid_stale_hits(true);
	for (unsigned i = 0; i < 3; i++) {
		struct mmk_frame *frame = new_frame_with(7000 + i);

		for (unsigned cpu = 0; cpu < 2; cpu++)
			cr_assert_eq(kernel_load(cpu, places[i]), UINT64_MAX);
		kernel_enter(places[i], frame, R | W);
		for (unsigned space = 0; space <= NR_PMAPS; space++) {
			switch_to(0, space);
			switch_to(1, NR_PMAPS - space);
			for (unsigned cpu = 0; cpu < 2; cpu++) {
				cr_assert_eq(kernel_load(cpu, places[i]),
				    7000 + i);
				cr_assert_eq(load(cpu, places[i]), UINT64_MAX);
			}
		}
		cr_assert(kernel_store(1, places[i], 8000 + i));
		cr_assert_eq(kernel_load(0, places[i]), 8000 + i);
		cr_assert(mmk_page_is_modified(&sys, frame));
		cr_assert(mmk_pmap_check(&kernel) && check_all());
		kernel_remove(places[i], places[i] + PAGE);
		for (unsigned cpu = 0; cpu < 2; cpu++)
			cr_assert_eq(kernel_load(cpu, places[i]), UINT64_MAX);
		(void)mmk_frame_unref(&phys, frame);
	}
}
