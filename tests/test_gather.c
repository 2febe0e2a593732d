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

	activate(0, 0);
	activate(0, 1);
	for (size_t i = 0; i < NR_PLACES; i++) {
		frames[i] = new_frame_with(i + 1);
		enter(0, places[i], frames[i], RWU);
		cr_assert_eq(load(0, places[i]), i + 1);
		cr_assert_eq(load(1, places[i]), i + 1);
	}
	for (size_t i = 0; i < NR_PLACES; i++) {
		mmk_pmap_remove(&pmaps[0], places[i], places[i] + PAGE,
		    &gather);
		mmk_gather_frame(&gather, frames[i]);
	}
	mmk_gather_finish(&gather);
	cr_assert_eq(used(MMK_USE_KERNEL), 0);
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
