/* SPDX-License-Identifier: MIT
 *
 * tests/test_paid.c: a control pays for the slabs of a pool
 */
#include "mmkit/kva/paid.h"
#include "pool_fixture.h"

#define ROOM 6u /* pages of the pool's control */

static struct mmk_control_tree tree;
static struct mmk_control root, control;
static struct mmk_slab_payer payer;
static void *items[4096];
static unsigned nr_items;

static uint64_t
charged(struct mmk_control *of)
{
	struct mmk_control_stats s;

	mmk_control_stats_read(of, &s);
	return s.nr_charged_pages;
}

static void
begin(void)
{
	setup();
	mmk_control_init_root(&tree, &root, 64, NULL, NULL);
	cr_assert_eq(mmk_control_split(&root, &control, ROOM), MMK_OK);
	payer = mmk_control_payer(&control);
	mmk_pool_set_payer(&pool, &payer);
	nr_items = 0;
}

static void
end(void)
{
	mmk_pool_fini(&pool);
	mmk_pool_fini(&cache_pool);
	cr_assert_eq(charged(&root), 0u);
	mmk_control_unref(&control);
	mmk_control_fini_root(&tree);
	cr_assert(mmk_phys_check(&phys));
	mmk_phys_fini(&phys);
	sim_shutdown();
}

/* Until it refuses. */
static void
fill(void)
{
	while (nr_items < 4096) {
		void *item = mmk_pool_alloc(&pool);

		if (item == NULL)
			return;
		items[nr_items++] = item;
	}
}

static void
empty(void)
{
	while (nr_items > 0)
		mmk_pool_free(&pool, items[--nr_items]);
	mmk_pool_drain(&pool);
}

Test(paid, a_pool_grows_as_far_as_its_control_allows)
{
	begin();
	fill();
	cr_assert_lt(nr_items, 4096);
	cr_assert_eq(charged(&control), ROOM);
	cr_assert_eq(stats().slab_bytes, ROOM * MMK_PAGE_BYTES);
	cr_assert(mmk_pool_check(&pool));
	empty();
	cr_assert_eq(charged(&control), 0u);
	fill();
	empty();
	cr_assert_eq(mmk_control_destroy(&control), MMK_OK);
	end();
}

Test(paid, a_charge_is_back_when_there_are_no_frames)
{
	begin();
	for (uint64_t k = 1;; k++) {
		uint64_t before = charged(&control);
		void *item;

		sim_fail_at(k);
		item = mmk_pool_alloc(&pool);
		if (sim_fail_count() < k) {
			sim_fail_at(0);
			mmk_pool_free(&pool, item);
			break;
		}
		sim_fail_at(0);
		if (item == NULL)
			cr_assert_eq(charged(&control), before);
		mmk_pool_free(&pool, item);
		mmk_pool_drain(&pool);
	}
	empty();
	cr_assert_eq(charged(&control), 0u);
	cr_assert_eq(mmk_control_destroy(&control), MMK_OK);
	end();
}

Test(paid, what_a_dead_control_paid_for_its_parent_bears)
{
	begin();
	items[nr_items++] = mmk_pool_alloc(&pool);
	cr_assert_eq(charged(&control), 1u);
	cr_assert_eq(mmk_control_destroy(&control), MMK_OK);
	cr_assert_eq(charged(&root), 1u);
	cr_assert(mmk_control_check(&tree));
	fill();
	cr_assert_eq(charged(&root), 1u, "a dead control pays for nothing new");
	empty();
	cr_assert_eq(charged(&root), 0u);
	end();
}
