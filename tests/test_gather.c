/* SPDX-License-Identifier: MIT
 *
 * tests/test_gather.c: one gather over several teardowns
 */
#include "pmap_fixture.h"

static const mmk_va places[] = { VA + 8 * PAGE, VA, VA + 4 * PAGE };
#define NR_PLACES (sizeof places / sizeof places[0])

static void
take_in_any_order(void)
{
	struct mmk_frame *frames[NR_PLACES];
	uint64_t nr_used = used(MMK_USE_KERNEL);

	activate(0, 0);
	activate(0, 1);
	for (size_t i = 0; i < NR_PLACES; i++) {
		frames[i] = new_frame_with(i + 1);
		enter(0, places[i], frames[i], RWU);
		cr_assert_eq(load(0, places[i]), i + 1);
		cr_assert_eq(load(1, places[i]), i + 1);
	}
	for (size_t i = 0; i < NR_PLACES; i++)
		mmk_pmap_remove(&pmaps[0], places[i], places[i] + PAGE,
		    &gather);
	mmk_gather_finish(&gather);
	for (size_t i = 0; i < NR_PLACES; i++)
		mmk_frame_unref(&phys, frames[i]);
	cr_assert_eq(used(MMK_USE_KERNEL), nr_used);
	for (size_t i = 0; i < NR_PLACES; i++) {
		cr_assert_eq(load(0, places[i]), UINT64_MAX);
		cr_assert_eq(load(1, places[i]), UINT64_MAX);
	}
	cr_assert(check_all());
}

Test(gather, ranges_come_in_any_order_and_one_flush_covers_all)
{
	on_every_format(take_in_any_order);
}

/* The scheduler, wherever another CPU could come between. */
static void
move_to_the_other_cpu(void *ctx)
{
	(void)ctx;
	if (sim_preempt_depth() == 0)
		sim_set_cpu(1 - sim_cpu_id());
}

static void
flush_under_a_restless_scheduler(void)
{
	struct mmk_frame *frame = new_frame_with(7);

	activate(0, 0);
	activate(0, 1);
	for (unsigned first = 0; first < 2; first++) {
		enter(0, VA, frame, RWU);
		cr_assert_eq(load(0, VA), 7);
		cr_assert_eq(load(1, VA), 7);
		sim_set_cpu(first);
		sim_on_yield(move_to_the_other_cpu, NULL);
		mmk_pmap_remove(&pmaps[0], VA, VA + PAGE, &gather);
		mmk_gather_finish(&gather);
		sim_on_yield(NULL, NULL);
		cr_assert_eq(sim_preempt_depth(), 0);
		cr_assert_eq(load(0, VA), UINT64_MAX);
		cr_assert_eq(load(1, VA), UINT64_MAX);
	}
	sim_set_cpu(0);
	mmk_frame_unref(&phys, frame);
	cr_assert(check_all());
}

Test(gather, a_thread_does_not_move_between_its_flush_and_the_shootdown)
{
	on_every_format(flush_under_a_restless_scheduler);
}
