/* SPDX-License-Identifier: MIT
 *
 * tests/test_reused.c: an entry that is the same again, but of another frame
 *
 * Whoever takes a leaf away lets the locks go, to take the frame's as well.
 * Meanwhile the leaf goes, its frame is freed, and is part of a larger block, or a
 * part of a larger block is a frame of its own: entered at the same address it
 * makes the very same entry.
 */
#include "intrude.h"
#include "pmap_fixture.h"

#define FLAGS (RWU | MMK_PMAP_ACCESSED | MMK_PMAP_MODIFIED)
#define NR_BLOCKS 512u

static mmk_pa page_pa; /* what is at VA, before and after */
static unsigned nr_quiet; /* quiet moments to let pass */

static bool
is_quiet(void)
{
	struct mmk_translation found;

	return !sim_lock_is_held(&pmaps[0].lock) && intrude_is_quiet(&sys) &&
	    mmk_pmap_query(&pmaps[0], VA, &found) && nr_quiet-- == 0;
}

/* All there are of one order, until one holds `pa`, which is kept. */
static struct mmk_frame *
block_of(unsigned order, mmk_pa pa)
{
	static struct mmk_frame *others[NR_BLOCKS];
	struct mmk_frame *found = NULL;
	unsigned nr = 0;

	while (found == NULL && nr < NR_BLOCKS) {
		struct mmk_frame *frame = new_frame(order);

		if (mmk_frame_of_pa(&phys, pa) == frame)
			found = frame;
		else
			others[nr++] = frame;
	}
	while (nr-- > 0)
		(void)mmk_frame_unref(&phys, others[nr]);
	cr_assert_not_null(found);
	return found;
}

static void
free_now(struct mmk_frame *frame)
{
	(void)mmk_frame_unref(&phys, frame);
	mmk_phys_drain(&phys);
}

static struct mmk_frame *held; /* what the page is of */
static unsigned order_after;

static void
enter_another(void)
{
	struct mmk_gather own;

	sim_set_cpu(1);
	mmk_gather_init(&own, &sys);
	mmk_pmap_remove(&pmaps[0], VA, VA + PAGE, &own);
	mmk_gather_finish(&own);
	free_now(held);
	held = block_of(order_after, page_pa);
	cr_assert_eq(mmk_pmap_enter(&pmaps[0], VA, page_pa, FLAGS), MMK_OK);
	sim_set_cpu(0);
}

static void
do_remove(void)
{
	remove_now(0, VA, VA + PAGE);
	cr_assert_eq(held->mapped, 0);
}

static void
do_collect(void)
{
	mmk_pmap_collect(&pmaps[0], VA, VA + PAGE, 0, &gather);
	mmk_gather_finish(&gather);
	cr_assert_eq(held->mapped, 0);
}

static void
do_check(void)
{
	cr_assert(mmk_pmap_check(&pmaps[0]));
	cr_assert_eq(held->mapped, 1);
}

/* The last page of a block of this order, which is there first. */
static void
change_from(unsigned order_before, void (*what)(void))
{
	struct mmk_frame *neighbour = new_frame(0);

	if (order_before > 0) {
		held = new_frame(order_before);
		page_pa = pa_of(held) + (PAGE << order_before) - PAGE;
		order_after = 0;
	} else {
		struct mmk_frame *block = new_frame(5);

		page_pa = pa_of(block) + (PAGE << 5) - PAGE;
		free_now(block);
		held = block_of(0, page_pa);
		order_after = 5;
	}
	enter(0, VA + PAGE, neighbour, RWU); /* the table stays */
	cr_assert_eq(mmk_pmap_enter(&pmaps[0], VA, page_pa, FLAGS), MMK_OK);
	intrude_when(is_quiet, enter_another);
	what();
	intrude_end();
	remove_now(0, VA, VA + 2 * PAGE);
	cr_assert(check_all());
	cr_assert(mmk_rmap_check(&sys, held));
	(void)mmk_frame_unref(&phys, held);
	(void)mmk_frame_unref(&phys, neighbour);
}

/* At whichever of the first quiet moments it comes. */
static void
on_every_moment(unsigned order_before)
{
	static void (*const whats[])(void) = { do_remove, do_collect,
		do_check };

	for (unsigned i = 0; i < 3; i++)
		for (unsigned n = 0; n < 2; n++) {
			nr_quiet = n;
			change_from(order_before, whats[i]);
		}
}

TEST_FORMATS(a_page_becomes_part_of_a_block)
{
	on_every_moment(0);
}

TEST_FORMATS(a_part_of_a_block_becomes_a_page)
{
	on_every_moment(5);
}
