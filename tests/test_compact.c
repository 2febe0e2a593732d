/* SPDX-License-Identifier: MIT
 *
 * tests/test_compact.c: frames move, places are emptied, without address
 * spaces: the owner of a frame is a slot of a table here
 */
#include <pthread.h>

#include "frame_fixture.h"
#include "mmkit/phys/compact.h"

#define NR_SLOTS 4096
#define LOW_PA (4 * MIB)

/* Guards: [L] owners.lock */
struct slot {
	struct mmk_frame *frame; /* [L] NULL: has none */
	uint64_t value;          /* [L] of every word in it */
	bool is_busy;            /* [L] the mover leaves it alone */
};

static struct {
	MMKIT_LOCK_T lock;
	struct slot slots[NR_SLOTS];
	uint64_t nr_moved;
	uint64_t nr_refused;
	struct mmk_mover mover;
} owners;
static struct mmk_pins pins;

/* ---- the owner of movable frames --------------------------------------- */

static enum mmk_err
slot_move(void *ctx, struct mmk_frame *from, struct mmk_frame *to)
{
	enum mmk_err err = MMK_ERR_BUSY;
	struct slot *slot;

	cr_assert_eq(ctx, (void *)&owners);
	cr_assert_not(sim_lock_is_held(&owners.lock));
	MMKIT_LOCK(&owners.lock);
	slot = from->owner;
	if (slot != NULL && !slot->is_busy) {
		cr_assert_eq(slot->frame, from);
		memcpy(mmk_frame_ptr(&phys, to), mmk_frame_ptr(&phys, from),
		    (size_t)mmk_bytes_of_pages(mmk_frame_nr_pages(from)));
		if (mmk_frame_hand_over(&phys, from, to, 1)) {
			slot->frame = to;
			err = MMK_OK;
		}
	}
	owners.nr_moved += err == MMK_OK;
	owners.nr_refused += err != MMK_OK;
	MMKIT_UNLOCK(&owners.lock);
	return err;
}

static void
slot_fill(struct slot *slot)
{
	uint64_t *words = mmk_frame_ptr(&phys, slot->frame);
	uint64_t nr = mmk_bytes_of_pages(mmk_frame_nr_pages(slot->frame)) / 8;

	for (uint64_t i = 0; i < nr; i++)
		words[i] = slot->value + i;
}

static bool
slot_is_intact(const struct slot *slot)
{
	const uint64_t *words = mmk_frame_ptr(&phys, slot->frame);
	uint64_t nr = mmk_bytes_of_pages(mmk_frame_nr_pages(slot->frame)) / 8;

	for (uint64_t i = 0; i < nr; i++)
		if (words[i] != slot->value + i)
			return false;
	return slot->frame->owner == slot &&
	    (MMKIT_ATOMIC_LOAD(&slot->frame->flags) & MMK_FRAME_MOVABLE) != 0;
}

static enum mmk_err
slot_alloc(struct slot *slot, unsigned order, unsigned flags)
{
	struct mmk_frame *frame;
	enum mmk_err err = mmk_frame_alloc(&phys, order,
	    flags | MMK_ALLOC_MOVABLE, MMK_USE_ANON, &frame);

	if (err != MMK_OK)
		return err;
	MMKIT_LOCK(&owners.lock);
	frame->owner = slot;
	slot->frame = frame;
	slot->value = (uint64_t)(slot - owners.slots) << 32 | 7;
	slot_fill(slot);
	MMKIT_UNLOCK(&owners.lock);
	return MMK_OK;
}

static void
slot_free(struct slot *slot)
{
	struct mmk_frame *frame;

	MMKIT_LOCK(&owners.lock);
	cr_assert(slot_is_intact(slot));
	frame = slot->frame;
	frame->owner = NULL;
	slot->frame = NULL;
	MMKIT_UNLOCK(&owners.lock);
	(void)mmk_frame_unref(&phys, frame);
}

static void
check_slots(void)
{
	for (unsigned i = 0; i < NR_SLOTS; i++)
		cr_assert(owners.slots[i].frame == NULL ||
		    slot_is_intact(&owners.slots[i]), "slot %u", i);
	cr_assert(mmk_phys_check(&phys));
}

static void
free_slots(void)
{
	check_slots();
	for (unsigned i = 0; i < NR_SLOTS; i++)
		if (owners.slots[i].frame != NULL)
			slot_free(&owners.slots[i]);
}

static void
compact_boot(void)
{
	boot_spans(8 * MIB, NULL, 0, LOW_PA);
	memset(&owners, 0, sizeof owners);
	MMKIT_LOCK_INIT(&owners.lock, "owners", MMK_RANK_VM);
	owners.mover.move = slot_move;
	owners.mover.ctx = &owners;
	mmk_phys_set_mover(&phys, MMK_USE_ANON, &owners.mover);
	mmk_pins_init(&pins, &phys, 1000);
}

static void
compact_fini(void)
{
	free_slots();
	mmk_pins_fini(&pins);
	fini();
}

TestSuite(compact, .init = compact_boot, .fini = compact_fini);

/* All of RAM in single movable pages. */
static unsigned
fill(void)
{
	unsigned nr = 0;

	while (nr < NR_SLOTS && slot_alloc(&owners.slots[nr], 0, 0) == MMK_OK)
		nr++;
	cr_assert_gt(nr, 1000);
	return nr;
}

static mmk_pfn
pfn_of(const struct mmk_frame *frame)
{
	return mmk_frame_table_pfn(&phys.table, frame);
}

/* Every second page is free. */
static void
checkerboard(void)
{
	unsigned nr = fill();

	for (unsigned i = 0; i < nr; i++)
		if (pfn_of(owners.slots[i].frame) % 2 != 0)
			slot_free(&owners.slots[i]);
	mmk_phys_drain(&phys);
}

static struct mmk_compaction
ready_to_pay(uint64_t max_moves)
{
	return (struct mmk_compaction){ .pins = &pins,
		.max_moves = max_moves };
}

/* ---- one frame --------------------------------------------------------- */

Test(compact, a_frame_moves_with_all_that_it_is)
{
	struct slot *slot = &owners.slots[0];
	struct mmk_frame *from, *to;

	cr_assert_eq(slot_alloc(slot, 3, MMK_ALLOC_RETAINED), MMK_OK);
	from = slot->frame;
	MMKIT_ATOMIC_OR(&from->flags, (uint16_t)MMK_FRAME_MODIFIED);
	cr_assert_eq(mmk_frame_alloc(&phys, 3, 0, MMK_USE_ANON, &to), MMK_OK);
	cr_assert_eq(mmk_frame_isolate(&phys, from), MMK_OK);
	cr_assert_eq(from->refs, 1, "owners notice nothing");
	cr_assert_eq(mmk_frame_isolate(&phys, from), MMK_ERR_NOENT);
	cr_assert_eq(mmk_frame_move(&phys, from, to), MMK_OK);
	cr_assert_eq(slot->frame, to);
	cr_assert(slot_is_intact(slot));
	cr_assert_eq(to->flags, MMK_FRAME_HEAD | MMK_FRAME_RETAINED |
	    MMK_FRAME_MOVABLE | MMK_FRAME_MODIFIED);
	cr_assert_eq(from->flags, MMK_FRAME_HEAD);
	cr_assert_eq(from->refs, 1);
	cr_assert_null(from->owner);
	put(from);
	slot->frame = NULL;
	(void)mmk_frame_unref(&phys, to);
	cr_assert_eq(mmk_frame_free_retained(&phys, to), MMK_OK);
}

Test(compact, what_is_not_movable_cannot_be_isolated)
{
	struct mmk_frame *kernel = get(0, 0), *free_frame = get(0, 0);
	struct mmk_frame *other;

	put(free_frame);
	cr_assert_eq(mmk_frame_isolate(&phys, kernel), MMK_ERR_NOENT);
	cr_assert_eq(mmk_frame_isolate(&phys, free_frame), MMK_ERR_NOENT);
	cr_assert_eq(kernel->refs, 1);
	/* Movable, but nobody moves its use. */
	cr_assert_eq(mmk_frame_alloc(&phys, 0, MMK_ALLOC_MOVABLE,
	    MMK_USE_KERNEL, &other), MMK_OK);
	cr_assert_eq(mmk_frame_isolate(&phys, other), MMK_ERR_NOENT);
	cr_assert_eq(other->refs, 1);
	put(other);
	mmk_frame_set_movable(kernel, true);
	cr_assert((kernel->flags & MMK_FRAME_MOVABLE) != 0);
	mmk_frame_set_movable(kernel, false);
	cr_assert_eq(kernel->flags, MMK_FRAME_HEAD);
	put(kernel);
}

Test(compact, a_frame_given_up_while_isolated_is_freed_at_the_end)
{
	struct slot *slot = &owners.slots[0];
	struct mmk_frame *from, *to;
	uint64_t before;

	mmk_phys_drain(&phys);
	before = stats().nr_free_pages;
	cr_assert_eq(slot_alloc(slot, 2, 0), MMK_OK);
	from = slot->frame;
	cr_assert_eq(mmk_frame_isolate(&phys, from), MMK_OK);
	slot_free(slot);
	cr_assert(mmk_frame_is_held(from));
	cr_assert_eq(stats().nr_free_pages, before - 4);
	/* A mover finds nobody to tell. */
	cr_assert_eq(mmk_frame_alloc(&phys, 2, 0, MMK_USE_ANON, &to), MMK_OK);
	cr_assert_eq(mmk_frame_move(&phys, from, to), MMK_ERR_BUSY);
	put(to);
	mmk_frame_unisolate(&phys, from);
	cr_assert_not(mmk_frame_is_held(from));
	mmk_phys_drain(&phys);
	cr_assert_eq(stats().nr_free_pages, before);
	/* Not movable any more, but isolated before that. */
	cr_assert_eq(slot_alloc(slot, 0, 0), MMK_OK);
	from = slot->frame;
	cr_assert_eq(mmk_frame_isolate(&phys, from), MMK_OK);
	slot->frame = NULL;
	mmk_frame_set_movable(from, false);
	(void)mmk_frame_unref(&phys, from);
	cr_assert(mmk_frame_is_held(from));
	mmk_frame_unisolate(&phys, from);
	cr_assert_not(mmk_frame_is_held(from));
}

static enum mmk_err
move_idle(void *ctx, struct mmk_frame *from, struct mmk_frame *to)
{
	(void)ctx;
	return mmk_frame_hand_over(&phys, from, to, 0) ? MMK_OK : MMK_ERR_BUSY;
}

Test(compact, a_retained_frame_that_nobody_references_moves_too)
{
	static const struct mmk_mover mover = { move_idle, NULL };
	struct mmk_frame *from, *to;

	mmk_phys_set_mover(&phys, MMK_USE_KERNEL, &mover);
	cr_assert_eq(mmk_frame_alloc(&phys, 0, MMK_ALLOC_MOVABLE |
	    MMK_ALLOC_RETAINED | MMK_ALLOC_UNREFERENCED, MMK_USE_KERNEL,
	    &from), MMK_OK);
	to = get(0, 0);
	cr_assert_eq(mmk_frame_isolate(&phys, from), MMK_OK);
	cr_assert_eq(mmk_frame_move(&phys, from, to), MMK_OK);
	cr_assert_eq(to->refs, 0);
	cr_assert_eq(to->flags, MMK_FRAME_HEAD | MMK_FRAME_RETAINED |
	    MMK_FRAME_MOVABLE);
	put(from);
	cr_assert_eq(mmk_frame_free_retained(&phys, to), MMK_OK);
}

/* Freed, and somebody else's, since it was looked at. */
static void
replace_slot_0(void *ctx)
{
	struct mmk_frame *frame = owners.slots[0].frame;

	(void)ctx;
	sim_on_yield(NULL, NULL);
	slot_free(&owners.slots[0]);
	cr_assert_eq(get(0, 0), frame);
}

Test(compact, a_frame_reborn_as_something_else_is_left_alone)
{
	struct mmk_frame *frame;

	cr_assert_eq(slot_alloc(&owners.slots[0], 0, 0), MMK_OK);
	frame = owners.slots[0].frame;
	mmk_phys_set_mover(&phys, MMK_USE_KERNEL, &owners.mover);
	sim_on_yield(replace_slot_0, NULL);
	cr_assert_eq(mmk_frame_isolate(&phys, frame), MMK_ERR_NOENT);
	cr_assert_null(owners.slots[0].frame);
	cr_assert_eq(frame->refs, 1);
	cr_assert_eq(frame->use, MMK_USE_KERNEL);
	put(frame);
}

Test(compact, a_move_that_is_refused_changes_nothing)
{
	struct slot *slot = &owners.slots[0];
	struct mmk_frame *from, *to;

	cr_assert_eq(slot_alloc(slot, 0, 0), MMK_OK);
	from = slot->frame;
	cr_assert_eq(mmk_frame_alloc(&phys, 0, 0, MMK_USE_ANON, &to), MMK_OK);
	/* Busy, pinned, held by somebody else. */
	for (unsigned why = 0; why < 3; why++) {
		slot->is_busy = why == 0;
		if (why == 1)
			cr_assert_eq(mmk_frame_pin(&phys, from), MMK_OK);
		if (why == 2)
			mmk_frame_ref(&phys, from);
		cr_assert_eq(mmk_frame_isolate(&phys, from), MMK_OK);
		cr_assert_eq(mmk_frame_move(&phys, from, to), MMK_ERR_BUSY);
		mmk_frame_unisolate(&phys, from);
		if (why == 1)
			mmk_frame_unpin(&phys, from);
		if (why == 2)
			(void)mmk_frame_unref(&phys, from);
		slot->is_busy = false;
		cr_assert_eq(slot->frame, from);
		cr_assert_eq(to->refs, 1);
		cr_assert_eq(to->flags, MMK_FRAME_HEAD);
		check_slots();
	}
	put(to);
}

/* ---- places ------------------------------------------------------------ */

Test(compact, S1_18_a_checkerboard_becomes_a_large_block)
{
	struct mmk_compaction effort = ready_to_pay(1 << 20);
	struct mmk_frame *block = NULL;
	mmk_pfn was[NR_SLOTS];
	unsigned nr_elsewhere = 0;

	checkerboard();
	for (unsigned i = 0; i < NR_SLOTS; i++)
		was[i] = owners.slots[i].frame != NULL
		    ? pfn_of(owners.slots[i].frame) : 0;
	cr_assert_eq(mmk_frame_alloc(&phys, 6, 0, MMK_USE_KERNEL, &block),
	    MMK_ERR_NOMEM);
	cr_assert_eq(mmk_compact_frame(&phys, &effort, 6, MMK_ALLOC_ZERO,
	    MMK_USE_KERNEL, &block), MMK_OK);
	cr_assert_eq(block->order, 6);
	cr_assert_eq(block->refs, 1);
	cr_assert_eq(block->use, MMK_USE_KERNEL);
	cr_assert_eq(block->flags, MMK_FRAME_HEAD);
	cr_assert_eq(pfn_of(block) % 64, 0);
	for (unsigned i = 0; i < 64 * MMK_PAGE_BYTES / 8; i++)
		cr_assert_eq(((uint64_t *)mmk_frame_ptr(&phys, block))[i], 0);
	cr_assert_eq(effort.nr_moves, 32, "half of it was free");
	memset(mmk_frame_ptr(&phys, block), 0xff,
	    (size_t)mmk_bytes_of_pages(64));
	check_slots();
	for (unsigned i = 0; i < NR_SLOTS; i++)
		nr_elsewhere += was[i] != 0 &&
		    was[i] != pfn_of(owners.slots[i].frame);
	cr_assert_eq(nr_elsewhere, 32);
	put(block);
}

/* Half of RAM is free: it can all be had in large blocks. */
Test(compact, S1_18_all_that_is_free_can_be_gathered)
{
	struct mmk_frame *blocks[64];
	unsigned nr = 0;
	uint64_t nr_free;

	checkerboard();
	nr_free = stats().nr_free_pages;
	while (nr < 64) {
		struct mmk_compaction effort = ready_to_pay(1 << 20);

		if (mmk_compact_frame(&phys, &effort, 6, 0, MMK_USE_KERNEL,
		    &blocks[nr]) != MMK_OK)
			break;
		nr++;
	}
	/* The metadata's pages are in the way, in one block. */
	cr_assert_geq(nr + 1, nr_free / 64);
	check_slots();
	while (nr > 0)
		put(blocks[--nr]);
}

Test(compact, the_cheapest_place_is_taken)
{
	struct mmk_compaction effort = ready_to_pay(1 << 20);
	struct mmk_frame *block;
	mmk_pfn cheap;

	checkerboard();
	/* One more page is free in one block, in the middle. */
	cheap = mmk_pfn_of_pa(6 * MIB);
	for (unsigned i = 0; i < NR_SLOTS; i++)
		if (owners.slots[i].frame != NULL &&
		    pfn_of(owners.slots[i].frame) == cheap + 4)
			slot_free(&owners.slots[i]);
	cr_assert_eq(mmk_compact_frame(&phys, &effort, 4, 0, MMK_USE_KERNEL,
	    &block), MMK_OK);
	cr_assert_eq(pfn_of(block), cheap);
	cr_assert_eq(effort.nr_moves, 7);
	put(block);
}

Test(compact, what_cannot_move_is_avoided)
{
	struct mmk_compaction effort = ready_to_pay(1 << 20);
	struct mmk_frame *block, *walls[64];
	struct slot *slots = owners.slots;
	unsigned nr_walls = 0;

	checkerboard();
	/* Every block of 64 pages but one gets a page of the kernel's. */
	for (unsigned i = 0; i < NR_SLOTS; i++) {
		mmk_pfn pfn;

		if (slots[i].frame == NULL)
			continue;
		pfn = pfn_of(slots[i].frame);
		if (pfn % 64 != 32 || pfn / 64 == 20)
			continue;
		walls[nr_walls] = slots[i].frame;
		slots[i].frame = NULL;
		mmk_frame_set_movable(walls[nr_walls], false);
		walls[nr_walls++]->owner = NULL;
	}
	cr_assert_eq(mmk_compact_frame(&phys, &effort, 6, 0, MMK_USE_KERNEL,
	    &block), MMK_OK);
	cr_assert_eq(pfn_of(block) / 64, 20);
	/* Now there is none. */
	{
		struct mmk_frame *other = NULL;
		uint64_t before = stats().nr_free_pages;

		cr_assert_eq(mmk_compact_frame(&phys, &effort, 6, 0,
		    MMK_USE_KERNEL, &other), MMK_ERR_NOSPACE);
		cr_assert_null(other);
		cr_assert_eq(stats().nr_free_pages, before);
	}
	check_slots();
	put(block);
	while (nr_walls > 0)
		put(walls[--nr_walls]);
}

Test(compact, a_budget_too_small_moves_nothing)
{
	struct mmk_compaction effort = ready_to_pay(31);
	struct mmk_frame *block = NULL;

	checkerboard();
	cr_assert_eq(mmk_compact_frame(&phys, &effort, 6, 0, MMK_USE_KERNEL,
	    &block), MMK_ERR_LIMIT);
	cr_assert_null(block);
	cr_assert_eq(owners.nr_moved, 0);
	effort.max_moves = 32;
	cr_assert_eq(mmk_compact_frame(&phys, &effort, 6, 0, MMK_USE_KERNEL,
	    &block), MMK_OK);
	cr_assert_eq(effort.nr_moves, 32);
	put(block);
}

Test(compact, a_full_machine_has_nowhere_to_move_to)
{
	struct mmk_compaction effort = ready_to_pay(1 << 20);
	struct mmk_frame *block = NULL;

	(void)fill();
	cr_assert_eq(mmk_compact_frame(&phys, &effort, 3, 0, MMK_USE_KERNEL,
	    &block), MMK_ERR_NOMEM);
	cr_assert_null(block);
	check_slots();
}

Test(compact, a_refusing_mover_costs_nothing_but_time)
{
	struct mmk_compaction effort = ready_to_pay(1 << 20);
	struct mmk_frame *block = NULL;
	uint64_t before;

	checkerboard();
	before = stats().nr_free_pages;
	for (unsigned i = 0; i < NR_SLOTS; i++)
		owners.slots[i].is_busy = true;
	cr_assert_eq(mmk_compact_frame(&phys, &effort, 6, 0, MMK_USE_KERNEL,
	    &block), MMK_ERR_BUSY);
	mmk_phys_drain(&phys);
	cr_assert_eq(stats().nr_free_pages, before);
	cr_assert_leq(owners.nr_refused, 2 * MMK_COMPACT_PLACES);
	check_slots();
	for (unsigned i = 0; i < NR_SLOTS; i++)
		owners.slots[i].is_busy = i % 64 == 0;
	/* One refuses here and there: other places are tried. */
	cr_assert_eq(mmk_compact_frame(&phys, &effort, 2, 0, MMK_USE_KERNEL,
	    &block), MMK_OK);
	check_slots();
	put(block);
}

Test(compact, frames_of_many_pages_move_whole)
{
	struct mmk_compaction effort = ready_to_pay(1 << 20);
	struct mmk_run_request request = { .nr_pages = 50,
		.lo_pa = 5 * MIB + 3 * MMK_PAGE_BYTES, .limit_pa = 6 * MIB,
		.use = MMK_USE_KERNEL };
	mmk_pfn first;
	unsigned nr = 0;

	/* NORMAL is full of blocks of 16; LOW is free. */
	while (nr < NR_SLOTS) {
		if (slot_alloc(&owners.slots[nr], 4, 0) != MMK_OK)
			break;
		if (mmk_frame_pa(&phys, owners.slots[nr].frame) < LOW_PA) {
			slot_free(&owners.slots[nr]);
			break;
		}
		nr++;
	}
	cr_assert_eq(mmk_run_alloc(&phys, &request, &first), MMK_ERR_NOSPACE);
	cr_assert_eq(mmk_compact_run(&phys, &effort, &request, &first),
	    MMK_OK);
	cr_assert_geq(mmk_pa_of_pfn(first), request.lo_pa);
	cr_assert_leq(mmk_pa_of_pfn(first + 50), request.limit_pa);
	cr_assert_eq(effort.nr_moves % 16, 0);
	for (unsigned i = 0; i < 50; i++)
		memset(MMKIT_PHYS_TO_PTR(mmk_pa_of_pfn(first + i)), 0xee,
		    MMK_PAGE_BYTES);
	check_slots();
	mmk_run_free(&phys, first, 50);
}

Test(compact, S1_19_zone_low_is_cleared_for_a_dma_request)
{
	struct mmk_compaction effort = ready_to_pay(1 << 20);
	struct mmk_frame *dma = NULL;
	struct mmk_frame *blocks[8];
	unsigned nr = fill();

	/* LOW is full of movable frames; NORMAL has room, in single pages. */
	for (unsigned i = 0; i < nr; i++) {
		mmk_pfn pfn = pfn_of(owners.slots[i].frame);

		if (mmk_pa_of_pfn(pfn) >= LOW_PA && pfn % 4 == 1)
			slot_free(&owners.slots[i]);
	}
	mmk_phys_drain(&phys);
	cr_assert_eq(mmk_frame_alloc(&phys, 0, MMK_ALLOC_LOW, MMK_USE_KERNEL,
	    &dma), MMK_ERR_NOMEM, "never out of the zone");
	cr_assert_eq(mmk_compact_frame(&phys, &effort, 0, MMK_ALLOC_LOW,
	    MMK_USE_KERNEL, &dma), MMK_OK);
	cr_assert_lt(mmk_frame_pa(&phys, dma), LOW_PA);
	cr_assert_eq(effort.nr_moves, 1);
	memset(mmk_frame_ptr(&phys, dma), 0xff, MMK_PAGE_BYTES);
	check_slots();
	for (unsigned i = 0; i < 8; i++) {
		cr_assert_eq(mmk_compact_frame(&phys, &effort, i % 5,
		    MMK_ALLOC_LOW, MMK_USE_KERNEL, &blocks[i]), MMK_OK);
		cr_assert_leq(mmk_frame_pa(&phys, blocks[i]) +
		    mmk_bytes_of_pages(mmk_frame_nr_pages(blocks[i])), LOW_PA);
		memset(mmk_frame_ptr(&phys, blocks[i]), 0xff, (size_t)
		    mmk_bytes_of_pages(mmk_frame_nr_pages(blocks[i])));
	}
	check_slots();
	put(dma);
	for (unsigned i = 0; i < 8; i++)
		put(blocks[i]);
}

Test(compact, S1_19_a_dma_run_gets_its_window)
{
	struct mmk_compaction effort = ready_to_pay(1 << 20);
	struct mmk_run_request request = { .nr_pages = 13, .align_pages = 4,
		.boundary_pages = 16, .lo_pa = MIB, .limit_pa = 2 * MIB,
		.flags = MMK_ALLOC_ZERO, .use = MMK_USE_KERNEL };
	mmk_pfn first;

	checkerboard();
	cr_assert_eq(mmk_run_alloc(&phys, &request, &first), MMK_ERR_NOSPACE);
	cr_assert_eq(mmk_compact_run(&phys, &effort, &request, &first),
	    MMK_OK);
	cr_assert_eq(first % 4, 0);
	cr_assert_eq(first / 16, (first + 12) / 16);
	cr_assert_geq(mmk_pa_of_pfn(first), MIB);
	cr_assert_leq(mmk_pa_of_pfn(first + 13), 2 * MIB);
	for (unsigned i = 0; i < 13; i++) {
		struct mmk_frame *page =
		    mmk_frame_of_pa(&phys, mmk_pa_of_pfn(first + i));

		cr_assert_eq(page->flags, MMK_FRAME_HEAD);
		cr_assert_eq(page->refs, 1);
		cr_assert_eq(page->order, 0);
		cr_assert_eq(*(uint64_t *)mmk_frame_ptr(&phys, page), 0);
	}
	check_slots();
	mmk_run_free(&phys, first, 13);
}

Test(compact, S1_20_compaction_works_around_a_pinned_frame)
{
	struct mmk_compaction effort = ready_to_pay(1 << 20);
	struct mmk_run_request request = { .nr_pages = 16, .align_pages = 16,
		.lo_pa = 5 * MIB, .limit_pa = 5 * MIB + 16 * MMK_PAGE_BYTES,
		.use = MMK_USE_KERNEL };
	struct slot *slot = NULL;
	struct mmk_pin a, b;
	mmk_pfn first = 0, other = 0;
	mmk_pa pa;

	checkerboard();
	for (unsigned i = 0; i < NR_SLOTS; i++)
		if (owners.slots[i].frame != NULL &&
		    pfn_of(owners.slots[i].frame) ==
		        mmk_pfn_of_pa(request.lo_pa) + 4)
			slot = &owners.slots[i];
	cr_assert_not_null(slot);
	pa = mmk_frame_pa(&phys, slot->frame);
	sim_set_clock_ns(1000);
	cr_assert_eq(mmk_pin_begin(&pins, slot->frame, 100, &a), MMK_OK);
	cr_assert_eq(mmk_pin_begin(&pins, slot->frame, 200, &b), MMK_OK);

	/* There it fails; elsewhere it goes. The frame stays. */
	cr_assert_eq(mmk_compact_run(&phys, &effort, &request, &first),
	    MMK_ERR_NOSPACE);
	request.limit_pa += 16 * MMK_PAGE_BYTES;
	cr_assert_eq(mmk_compact_run(&phys, &effort, &request, &other),
	    MMK_OK);
	cr_assert_eq(mmk_pa_of_pfn(other), request.lo_pa +
	    16 * MMK_PAGE_BYTES);
	request.limit_pa -= 16 * MMK_PAGE_BYTES;
	sim_set_clock_ns(1150); /* pins nest: one is left */
	cr_assert_eq(mmk_compact_run(&phys, &effort, &request, &first),
	    MMK_ERR_NOSPACE);
	cr_assert_not(mmk_pin_is_live(&pins, &a));
	cr_assert(mmk_pin_is_live(&pins, &b));
	cr_assert_eq(mmk_frame_pa(&phys, slot->frame), pa);

	/* The same compaction, after the deadline. */
	sim_set_clock_ns(1200);
	cr_assert_eq(mmk_compact_run(&phys, &effort, &request, &first),
	    MMK_OK);
	cr_assert_eq(mmk_pa_of_pfn(first), request.lo_pa);
	cr_assert_neq(mmk_frame_pa(&phys, slot->frame), pa);
	cr_assert_not(mmk_pin_end(&pins, &b));
	check_slots();
	mmk_run_free(&phys, first, 16);
	mmk_run_free(&phys, other, 16);
}

Test(compact, what_another_compaction_has_taken_is_not_ours)
{
	struct mmk_compaction effort = ready_to_pay(1 << 20);
	struct mmk_run_request request = { .nr_pages = 4,
		.lo_pa = 5 * MIB, .limit_pa = 5 * MIB + 4 * MMK_PAGE_BYTES,
		.use = MMK_USE_KERNEL };
	struct mmk_frame *taken;
	mmk_pfn first = 7;

	checkerboard();
	/* It was seen to be movable just before it was taken. */
	taken = mmk_frame_of_pa(&phys, 5 * MIB + 2 * MMK_PAGE_BYTES);
	MMKIT_ATOMIC_OR(&taken->flags, (uint16_t)MMK_FRAME_CLAIMED);
	cr_assert_eq(mmk_compact_run(&phys, &effort, &request, &first),
	    MMK_ERR_BUSY);
	cr_assert_eq(first, 7);
	MMKIT_ATOMIC_AND(&taken->flags, (uint16_t)~MMK_FRAME_CLAIMED);
	check_slots();
	cr_assert_eq(mmk_compact_run(&phys, &effort, &request, &first),
	    MMK_OK);
	mmk_run_free(&phys, first, 4);
}

Test(compact, bad_requests_are_refused)
{
	struct mmk_compaction effort = ready_to_pay(10);
	struct mmk_run_request request = { .nr_pages = 3, .align_pages = 3,
		.use = MMK_USE_KERNEL };
	struct mmk_frame *frame = NULL;
	mmk_pfn first = 7;

	cr_assert_eq(mmk_compact_run(&phys, &effort, &request, &first),
	    MMK_ERR_INVAL);
	cr_assert_eq(mmk_compact_frame(&phys, &effort, MMK_MAX_ORDER + 1, 0,
	    MMK_USE_KERNEL, &frame), MMK_ERR_INVAL);
	cr_assert_eq(mmk_compact_frame(&phys, &effort, 0, MMK_ALLOC_RETAINED |
	    MMK_ALLOC_UNREFERENCED, MMK_USE_KERNEL, &frame), MMK_ERR_INVAL);
	cr_assert_null(frame);
	cr_assert_eq(first, 7);
}

Test(compact, what_is_handed_out_has_the_state_asked_for)
{
	struct mmk_compaction effort = ready_to_pay(1 << 20);
	struct mmk_frame *block;

	checkerboard();
	cr_assert_eq(mmk_compact_frame(&phys, &effort, 3, MMK_ALLOC_RETAINED |
	    MMK_ALLOC_MOVABLE, MMK_USE_KERNEL, &block), MMK_OK);
	cr_assert_eq(block->flags, MMK_FRAME_HEAD | MMK_FRAME_RETAINED |
	    MMK_FRAME_MOVABLE);
	cr_assert_eq(mmk_frame_unref(&phys, block), 0);
	cr_assert_eq(mmk_frame_free_retained(&phys, block), MMK_OK);
}

/* The k-th allocation fails, for every k: done, or as before. */
Test(compact, every_kth_allocation_may_fail)
{
	bool is_met = true;

	checkerboard();
	for (uint64_t k = 1; is_met; k++) {
		struct mmk_compaction effort = ready_to_pay(1 << 20);
		struct mmk_frame *block = NULL;
		uint64_t before;
		enum mmk_err err;

		mmk_phys_drain(&phys);
		before = stats().nr_free_pages;
		sim_fail_at(k);
		err = mmk_compact_frame(&phys, &effort, 5, 0, MMK_USE_KERNEL,
		    &block);
		is_met = sim_fail_count() >= k;
		sim_fail_at(0);
		check_slots();
		cr_assert_eq(err == MMK_OK, block != NULL);
		if (err == MMK_OK)
			put(block);
		else
			cr_assert_eq(err, MMK_ERR_NOMEM);
		mmk_phys_drain(&phys);
		cr_assert_eq(stats().nr_free_pages, before);
		cr_assert_lt(k, 200u);
		/* As it was: every second page is free. */
		free_slots();
		checkerboard();
	}
}

/* ---- random steps ------------------------------------------------------ */

#define NR_PINS 16

static struct {
	uint64_t now_ns;
	struct mmk_pin pin[NR_PINS];
	struct slot *pinned[NR_PINS]; /* NULL: not used */
	mmk_pa pa[NR_PINS];
} prop;

static void
step_compact(uint64_t r)
{
	struct mmk_compaction effort = ready_to_pay((r >> 20) % 200);
	struct mmk_run_request request = { .nr_pages = 1 + (r >> 30) % 200,
		.align_pages = (r >> 38) % 2 * 8,
		.lo_pa = (r >> 50) % 6 * MIB, .use = MMK_USE_KERNEL };
	struct mmk_frame *block;
	mmk_pfn first;

	request.limit_pa = request.lo_pa + 2 * MIB;
	if ((r >> 40) % 2 == 0) {
		if (mmk_compact_run(&phys, &effort, &request, &first) ==
		    MMK_OK)
			mmk_run_free(&phys, first, request.nr_pages);
	} else if (mmk_compact_frame(&phys, &effort, (r >> 30) % 9,
	    (r >> 34) % 2 * MMK_ALLOC_LOW, MMK_USE_KERNEL, &block) == MMK_OK) {
		memset(mmk_frame_ptr(&phys, block), 0xab, (size_t)
		    mmk_bytes_of_pages(mmk_frame_nr_pages(block)));
		put(block);
	}
	cr_assert_leq(effort.nr_moves, effort.max_moves);
}

static void
step_pin(uint64_t r, struct slot *slot)
{
	unsigned i = (unsigned)(r >> 40) % NR_PINS;

	if (prop.pinned[i] != NULL || slot->frame == NULL ||
	    slot->frame->pins != 0)
		return;
	prop.pinned[i] = slot;
	prop.pa[i] = mmk_frame_pa(&phys, slot->frame);
	cr_assert_eq(mmk_pin_begin(&pins, slot->frame, 1 + (r >> 30) % 900,
	    &prop.pin[i]), MMK_OK);
}

/* What is pinned is where it was; what is over is forgotten. */
static void
look_at_pins(void)
{
	for (unsigned i = 0; i < NR_PINS; i++) {
		if (prop.pinned[i] == NULL)
			continue;
		if (mmk_pin_is_live(&pins, &prop.pin[i])) {
			cr_assert_eq(mmk_frame_pa(&phys,
			    prop.pinned[i]->frame), prop.pa[i]);
			continue;
		}
		(void)mmk_pin_end(&pins, &prop.pin[i]);
		prop.pinned[i] = NULL;
	}
}

/* The words in every frame, and who has it, are the oracle. */
Test(compact, prop_contents_survive_random_steps)
{
	uint64_t seed = mmk_test_seed();

	memset(&prop, 0, sizeof prop);
	for (unsigned i = 0; i < 1200; i++)
		(void)slot_alloc(&owners.slots[i], i % 5 == 0 ? i % 4 : 0, 0);
	for (unsigned n = mmk_test_steps(3000); n > 0; n--) {
		uint64_t r = mmk_test_random(&seed);
		struct slot *slot = &owners.slots[(r >> 8) % 1200];

		if (r % 8 < 2) {
			step_compact(r);
		} else if (r % 8 == 2) {
			step_pin(r, slot);
		} else if (r % 8 == 3) {
			prop.now_ns += (r >> 30) % 300;
			sim_set_clock_ns(prop.now_ns);
		} else if (slot->frame == NULL) {
			(void)slot_alloc(slot, (r >> 30) % 4 == 0
			    ? (r >> 33) % 5 : 0, 0);
		} else if (slot->frame->pins == 0) {
			slot_free(slot);
		}
		look_at_pins();
		if (n % 256 == 0)
			check_slots();
	}
	(void)mmk_pin_expire(&pins, UINT64_MAX);
	cr_assert_gt(owners.nr_moved, 0);
}

/* ---- several CPUs ------------------------------------------------------ */

TestSuite(compact_threads, .init = compact_boot, .fini = compact_fini);

/* Allocates and frees movable frames of its own slots, and looks at them. */
static void *
churn(void *arg)
{
	unsigned cpu = (unsigned)(uintptr_t)arg;
	uint64_t seed = mmk_test_seed() + cpu;

	sim_set_cpu(cpu);
	for (unsigned n = mmk_test_steps(6000); n > 0; n--) {
		uint64_t r = mmk_test_random(&seed);
		struct slot *slot = &owners.slots[1000 * cpu + r % 500];
		struct mmk_frame *kernel;
		bool is_empty;

		MMKIT_LOCK(&owners.lock);
		is_empty = slot->frame == NULL;
		MMKIT_UNLOCK(&owners.lock);
		if (is_empty)
			(void)slot_alloc(slot, (r >> 16) % 8 == 0 ? 2 : 0, 0);
		else
			slot_free(slot);
		if (mmk_frame_alloc(&phys, (r >> 20) % 3, 0, MMK_USE_KERNEL,
		    &kernel) == MMK_OK)
			put(kernel);
	}
	return NULL;
}

static void *
compact_on(void *arg)
{
	unsigned cpu = (unsigned)(uintptr_t)arg;
	uint64_t seed = mmk_test_seed() + cpu;

	sim_set_cpu(cpu);
	for (unsigned n = mmk_test_steps(300); n > 0; n--) {
		uint64_t r = mmk_test_random(&seed);
		struct mmk_compaction effort = ready_to_pay(200);
		struct mmk_frame *block;

		/* The low end of NORMAL is where all the others are. */
		struct mmk_run_request request = { .nr_pages = 1 + r % 100,
			.lo_pa = LOW_PA, .limit_pa = LOW_PA + 2 * MIB,
			.use = MMK_USE_KERNEL };
		mmk_pfn first;

		if (mmk_compact_run(&phys, &effort, &request, &first) ==
		    MMK_OK) {
			for (uint64_t i = 0; i < request.nr_pages; i++)
				memset(MMKIT_PHYS_TO_PTR(
				    mmk_pa_of_pfn(first + i)), 0xcc,
				    MMK_PAGE_BYTES);
			mmk_run_free(&phys, first, request.nr_pages);
		}
		if (mmk_compact_frame(&phys, &effort, (r >> 8) % 9, 0,
		    MMK_USE_KERNEL, &block) == MMK_OK) {
			memset(mmk_frame_ptr(&phys, block), 0xdd, (size_t)
			    mmk_bytes_of_pages(mmk_frame_nr_pages(block)));
			put(block);
		}
	}
	return NULL;
}

static void
on_cpus(unsigned nr_cpus)
{
	pthread_t threads[NR_CPUS];

	/* Others have every second page. */
	for (unsigned i = 0; i < NR_SLOTS; i++)
		if (i % 1000 >= 500 &&
		    slot_alloc(&owners.slots[i], 0, 0) != MMK_OK)
			break;
	for (unsigned i = 0; i < NR_SLOTS; i++)
		if (owners.slots[i].frame != NULL &&
		    pfn_of(owners.slots[i].frame) % 2 == 0)
			slot_free(&owners.slots[i]);
	for (uintptr_t i = 0; i < nr_cpus; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL,
		    i % 2 == 0 ? churn : compact_on, (void *)i), 0);
	for (unsigned i = 0; i < nr_cpus; i++)
		cr_assert_eq(pthread_join(threads[i], NULL), 0);
	cr_assert_gt(owners.nr_moved, 0);
}

Test(compact_threads, one_compacts_while_one_allocates)
{
	on_cpus(2);
}

Test(compact_threads, two_compact_while_two_allocate)
{
	on_cpus(4);
}
