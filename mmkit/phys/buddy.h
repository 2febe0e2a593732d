/* SPDX-License-Identifier: MIT
 *
 * mmkit/phys/buddy.h: free blocks of one zone, in powers of two
 *
 * WHAT    A zone is a range of pages of the frame table. Its free pages form
 *         blocks of 2^order pages, aligned to their size; two free halves of
 *         a larger block are always merged. Links are in the descriptors.
 *
 *         Free blocks of one order are kept in 64 lists, one for each 64th of
 *         the zone. Allocation takes from the lowest region that has a block
 *         large enough, and there the smallest that will do. Taking the last
 *         one freed, or the best fit wherever it is, spreads new frames over
 *         all of memory: after some churn no large block is left, and none
 *         ever comes back. Packing towards low addresses lets the high regions
 *         run empty and merge, in constant time. Within a region the last one
 *         freed goes first.
 * LAYER   phys. Includes table.h. Knows no references and no CPUs.
 * LOCKS   buddy->lock (MMK_RANK_ZONE, the innermost of all) guards everything
 *         here, and the [Z] fields of free frames in the range
 * COST    take, give: O(MMK_MAX_ORDER). 5 KiB a zone.
 * SOURCE  Knowlton, CACM 8(10), 1965; Knuth, TAOCP vol. 1, section 2.5.
 *
 * I1      sum of 2^order over the lists == nr_free_pages
 * I2      no two buddies of one order are both free
 * I3      bit r of regions[o] <=> free[o][r] != 0; bit o of orders <=>
 *         regions[o] != 0                  all tested by: mmk_buddy_check
 */
#ifndef MMKIT_PHYS_BUDDY_H
#define MMKIT_PHYS_BUDDY_H

#include "table.h"

/*
 * The largest block is 2^MMKIT_MAX_ORDER pages; by default 1 GiB. A plain
 * decimal number: it is part of the name of mmk_phys_init.
 */
#ifndef MMKIT_MAX_ORDER
#if MMKIT_PAGE_SHIFT == 12
#define MMKIT_MAX_ORDER 18
#elif MMKIT_PAGE_SHIFT == 13
#define MMKIT_MAX_ORDER 17
#elif MMKIT_PAGE_SHIFT == 14
#define MMKIT_MAX_ORDER 16
#elif MMKIT_PAGE_SHIFT == 15
#define MMKIT_MAX_ORDER 15
#else
#define MMKIT_MAX_ORDER 14
#endif
#endif
#if MMKIT_MAX_ORDER < 1 || MMKIT_MAX_ORDER > 30
#error "mmkit: MMKIT_MAX_ORDER must be 1 to 30; see doc/PORTING.md, max-order"
#endif
#define MMK_MAX_ORDER MMKIT_MAX_ORDER
#define MMK_NR_ORDERS (MMK_MAX_ORDER + 1)
#define MMK_NR_REGIONS 64u

MMK_BEGIN_DECLS

/* Guards: [I] immutable after init  [L] this->lock */
struct mmk_buddy {
	MMKIT_LOCK_T lock;
	const struct mmk_frame_table *table;   /* [I] */
	mmk_pfn first_pfn;                     /* [I] */
	mmk_pfn end_pfn;                       /* [I] */
	unsigned region_order;                 /* [I] log2 of its pages */
	uint32_t orders;                       /* [L] one bit an order */
	uint64_t nr_free_pages;                /* [L] written atomically */
	uint64_t regions[MMK_NR_ORDERS];       /* [L] one bit a region */
	uint64_t nr_free_blocks[MMK_NR_ORDERS]; /* [L] written atomically */
	uint32_t free[MMK_NR_ORDERS][MMK_NR_REGIONS]; /* [L] index + 1 */
};

/* An empty zone over [first_pfn, end_pfn), which may be empty. */
MMK_API void mmk_buddy_init(struct mmk_buddy *buddy,
    const struct mmk_frame_table *table, mmk_pfn first_pfn, mmk_pfn end_pfn,
    const char *name);

/*
 * mmk_buddy_take_locked: the head of a block of 2^order pages, or NULL.
 *
 * pre      order <= MMK_MAX_ORDER.
 * locks    buddy->lock held.
 * out      flags are MMK_FRAME_HEAD alone and `order` is set; nothing else is.
 */
MMK_API struct mmk_frame *mmk_buddy_take_locked(struct mmk_buddy *buddy,
    unsigned order);

/*
 * mmk_buddy_give_locked: make a block free and merge it with its free buddies.
 *
 * pre      the block lies in the zone and no descriptor in it but `frame` has
 *          MMK_FRAME_HEAD; nobody uses it.
 * locks    buddy->lock held.
 */
MMK_API void mmk_buddy_give_locked(struct mmk_buddy *buddy,
    struct mmk_frame *frame, unsigned order);

/* Give a run of pages, of any length and alignment. locks: takes the zone's. */
MMK_API void mmk_buddy_give_run(struct mmk_buddy *buddy, mmk_pfn first_pfn,
    mmk_pfn end_pfn);

/*
 * mmk_buddy_claim_locked: take exactly the pages [first_pfn, end_pfn) out of
 * the free blocks they lie in; what is left of those stays free.
 *
 * pre      first_pfn < end_pfn.
 * locks    buddy->lock held.
 * out      true: each page is a block of order 0, with MMK_FRAME_HEAD alone in
 *          its flags, like one that was taken. false: a page lies outside the
 *          zone, is no RAM or is not free (cached ones are not): nothing
 *          changed.
 * cost     O(pages + blocks * MMK_MAX_ORDER).
 */
MMK_API MMK_NODISCARD bool mmk_buddy_claim_locked(struct mmk_buddy *buddy,
    mmk_pfn first_pfn, mmk_pfn end_pfn);

/* Walks the lists. The number of blocks met goes to *nr_blocks_out. */
MMK_API bool mmk_buddy_check(const struct mmk_buddy *buddy,
    uint64_t *nr_blocks_out);

MMK_END_DECLS
#endif /* MMKIT_PHYS_BUDDY_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_PHYS_BUDDY_IMPL)
#define MMKIT_PHYS_BUDDY_IMPL

MMK_API void
mmk_buddy_init(struct mmk_buddy *buddy, const struct mmk_frame_table *table,
    mmk_pfn first_pfn, mmk_pfn end_pfn, const char *name)
{
	MMK_ASSERT(first_pfn <= end_pfn);
	(void)MMKIT_MEMSET(buddy, 0, sizeof(*buddy));
	MMKIT_LOCK_INIT(&buddy->lock, name, MMK_RANK_ZONE);
	buddy->table = table;
	buddy->first_pfn = first_pfn;
	buddy->end_pfn = end_pfn;
	while ((end_pfn - first_pfn) >> buddy->region_order >= MMK_NR_REGIONS)
		buddy->region_order++;
}

MMK_PRIVATE unsigned
mmk__buddy_region(const struct mmk_buddy *buddy, const struct mmk_frame *frame)
{
	mmk_pfn pfn = mmk_frame_table_pfn(buddy->table, frame);

	return (unsigned)((pfn - buddy->first_pfn) >> buddy->region_order);
}

MMK_PRIVATE void
mmk__buddy_count(struct mmk_buddy *buddy, unsigned order, uint64_t delta)
{
	MMKIT_ATOMIC_STORE(&buddy->nr_free_blocks[order],
	    buddy->nr_free_blocks[order] + delta);
	MMKIT_ATOMIC_STORE(&buddy->nr_free_pages,
	    buddy->nr_free_pages + (delta << order));
}

MMK_PRIVATE void
mmk__buddy_link(struct mmk_buddy *buddy, struct mmk_frame *frame,
    unsigned order)
{
	unsigned region = mmk__buddy_region(buddy, frame);
	uint32_t *head = &buddy->free[order][region];
	uint32_t link = mmk_frame_table_index(buddy->table, frame) + 1;

	frame->order = (uint8_t)order;
	frame->use = MMK_USE_FREE;
	frame->next = *head;
	frame->prev = 0;
	if (*head != 0)
		buddy->table->frames[*head - 1].prev = link;
	*head = link;
	buddy->regions[order] |= (uint64_t)1 << region;
	buddy->orders |= (uint32_t)1 << order;
	mmk__buddy_count(buddy, order, 1);
	MMKIT_ATOMIC_STORE(&frame->flags,
	    (uint16_t)(MMK_FRAME_HEAD | MMK_FRAME_FREE));
}

/* Off its list; it is then the head of no block at all. */
MMK_PRIVATE void
mmk__buddy_unlink(struct mmk_buddy *buddy, struct mmk_frame *frame)
{
	struct mmk_frame *frames = buddy->table->frames;
	unsigned order = frame->order;
	unsigned region = mmk__buddy_region(buddy, frame);

	if (frame->next != 0)
		frames[frame->next - 1].prev = frame->prev;
	if (frame->prev != 0)
		frames[frame->prev - 1].next = frame->next;
	else
		buddy->free[order][region] = frame->next;
	if (buddy->free[order][region] == 0)
		buddy->regions[order] &= ~((uint64_t)1 << region);
	if (buddy->regions[order] == 0)
		buddy->orders &= ~((uint32_t)1 << order);
	mmk__buddy_count(buddy, order, (uint64_t)-1);
	frame->next = 0;
	frame->prev = 0;
	MMKIT_ATOMIC_STORE(&frame->flags, (uint16_t)0);
}

/* The lowest region with a block of `order` or more. pre: there is one. */
MMK_PRIVATE unsigned
mmk__buddy_lowest_region(const struct mmk_buddy *buddy, unsigned order)
{
	uint64_t regions = 0;

	for (; order <= MMK_MAX_ORDER; order++)
		regions |= buddy->regions[order];
	return mmk_lowest_bit(regions);
}

MMK_API struct mmk_frame *
mmk_buddy_take_locked(struct mmk_buddy *buddy, unsigned order)
{
	struct mmk_frame *frame;
	unsigned from = order, region;
	mmk_pfn pfn;

	MMK_ASSERT(MMKIT_LOCK_HELD(&buddy->lock));
	MMK_ASSERT(order <= MMK_MAX_ORDER);
	if (buddy->orders >> order == 0)
		return NULL;
	region = mmk__buddy_lowest_region(buddy, order);
	while (buddy->free[from][region] == 0)
		from++;
	frame = &buddy->table->frames[buddy->free[from][region] - 1];
	mmk__buddy_unlink(buddy, frame);
	pfn = mmk_frame_table_pfn(buddy->table, frame);
	while (from > order) {
		from--;
		mmk__buddy_link(buddy,
		    mmk_frame_table_lookup(buddy->table,
		        pfn + ((uint64_t)1 << from)),
		    from);
	}
	frame->order = (uint8_t)order;
	MMKIT_ATOMIC_STORE(&frame->flags, (uint16_t)MMK_FRAME_HEAD);
	return frame;
}

/* The other half of the block of order + 1, if it is wholly free. */
MMK_PRIVATE struct mmk_frame *
mmk__buddy_mate(const struct mmk_buddy *buddy, mmk_pfn pfn, unsigned order)
{
	mmk_pfn mate_pfn = pfn ^ ((uint64_t)1 << order);
	struct mmk_frame *mate;

	/* A free frame of the other zone is guarded by the other's lock. */
	if (mate_pfn < buddy->first_pfn || mate_pfn >= buddy->end_pfn)
		return NULL;
	mate = mmk_frame_table_lookup(buddy->table, mate_pfn);
	if (mate == NULL ||
	    (MMKIT_ATOMIC_LOAD(&mate->flags) & MMK_FRAME_FREE) == 0)
		return NULL;
	return mate->order == order ? mate : NULL;
}

MMK_API void
mmk_buddy_give_locked(struct mmk_buddy *buddy, struct mmk_frame *frame,
    unsigned order)
{
	mmk_pfn pfn = mmk_frame_table_pfn(buddy->table, frame);
	struct mmk_frame *mate;

	MMK_ASSERT(MMKIT_LOCK_HELD(&buddy->lock));
	MMK_ASSERT(pfn >= buddy->first_pfn && pfn < buddy->end_pfn);
	MMK_ASSERT((pfn & (((uint64_t)1 << order) - 1)) == 0);
	while (order < MMK_MAX_ORDER) {
		mate = mmk__buddy_mate(buddy, pfn, order);
		if (mate == NULL)
			break;
		mmk__buddy_unlink(buddy, mate);
		MMKIT_ATOMIC_STORE(&frame->flags, (uint16_t)0);
		if (mate < frame)
			frame = mate;
		pfn &= ~((uint64_t)1 << order);
		order++;
	}
	mmk__buddy_link(buddy, frame, order);
}

MMK_PRIVATE void
mmk__buddy_give_run_locked(struct mmk_buddy *buddy, mmk_pfn first_pfn,
    mmk_pfn end_pfn)
{
	while (first_pfn < end_pfn) {
		/* The largest block that fits, then the largest aligned one. */
		uint64_t nr_pages = end_pfn - first_pfn;
		unsigned order = mmk_order_of_pages(nr_pages + 1) - 1;

		if (order > MMK_MAX_ORDER)
			order = MMK_MAX_ORDER;
		if (first_pfn != 0 && mmk_lowest_bit(first_pfn) < order)
			order = mmk_lowest_bit(first_pfn);
		mmk_buddy_give_locked(buddy,
		    mmk_frame_table_lookup(buddy->table, first_pfn), order);
		first_pfn += (uint64_t)1 << order;
	}
}

MMK_API void
mmk_buddy_give_run(struct mmk_buddy *buddy, mmk_pfn first_pfn, mmk_pfn end_pfn)
{
	MMK_ASSERT(first_pfn >= buddy->first_pfn && end_pfn <= buddy->end_pfn);
	MMKIT_LOCK(&buddy->lock);
	mmk__buddy_give_run_locked(buddy, first_pfn, end_pfn);
	MMKIT_UNLOCK(&buddy->lock);
}

/* The head of the free block that contains the page; NULL: it is not free. */
MMK_PRIVATE struct mmk_frame *
mmk__buddy_block_of(const struct mmk_buddy *buddy, mmk_pfn pfn)
{
	if (pfn < buddy->first_pfn || pfn >= buddy->end_pfn)
		return NULL;
	for (unsigned order = 0; order <= MMK_MAX_ORDER; order++) {
		mmk_pfn head_pfn = mmk_round_down(pfn, (uint64_t)1 << order);
		struct mmk_frame *head;
		unsigned flags;

		if (head_pfn < buddy->first_pfn)
			return NULL;
		head = mmk_frame_table_lookup(buddy->table, head_pfn);
		if (head == NULL)
			return NULL;
		flags = MMKIT_ATOMIC_LOAD(&head->flags);
		if ((flags & MMK_FRAME_HEAD) == 0)
			continue;
		if ((flags & MMK_FRAME_FREE) == 0 || head->order < order)
			return NULL;
		return head;
	}
	return NULL;
}

/* The block loses its pages in [first_pfn, end_pfn). Returns its end. */
MMK_PRIVATE mmk_pfn
mmk__buddy_carve(struct mmk_buddy *buddy, struct mmk_frame *block,
    mmk_pfn first_pfn, mmk_pfn end_pfn)
{
	mmk_pfn block_pfn = mmk_frame_table_pfn(buddy->table, block);
	mmk_pfn block_end = block_pfn + ((uint64_t)1 << block->order);

	mmk__buddy_unlink(buddy, block);
	if (end_pfn > block_end)
		end_pfn = block_end;
	for (mmk_pfn pfn = first_pfn; pfn < end_pfn; pfn++) {
		struct mmk_frame *page =
		    mmk_frame_table_lookup(buddy->table, pfn);

		page->order = 0;
		page->use = MMK_USE_FREE;
		MMKIT_ATOMIC_STORE(&page->flags, (uint16_t)MMK_FRAME_HEAD);
	}
	mmk__buddy_give_run_locked(buddy, block_pfn, first_pfn);
	mmk__buddy_give_run_locked(buddy, end_pfn, block_end);
	return block_end;
}

MMK_API bool
mmk_buddy_claim_locked(struct mmk_buddy *buddy, mmk_pfn first_pfn,
    mmk_pfn end_pfn)
{
	mmk_pfn pfn = first_pfn;

	MMK_ASSERT(MMKIT_LOCK_HELD(&buddy->lock));
	MMK_ASSERT(first_pfn < end_pfn);
	while (pfn < end_pfn) {
		const struct mmk_frame *block = mmk__buddy_block_of(buddy, pfn);

		if (block == NULL)
			return false;
		pfn = mmk_frame_table_pfn(buddy->table, block) +
		    ((uint64_t)1 << block->order);
	}
	while (first_pfn < end_pfn)
		first_pfn = mmk__buddy_carve(buddy,
		    mmk__buddy_block_of(buddy, first_pfn), first_pfn, end_pfn);
	return true;
}

/* One list: heads in the right place with the right links. */
MMK_PRIVATE bool
mmk__buddy_check_list(const struct mmk_buddy *buddy, unsigned order,
    unsigned region, uint64_t *nr_blocks)
{
	uint32_t link = buddy->free[order][region], prev = 0;

	if ((link != 0) != ((buddy->regions[order] >> region & 1) != 0))
		return false;
	while (link != 0) {
		const struct mmk_frame *frame;
		mmk_pfn pfn;

		if (link > buddy->table->nr_frames)
			return false;
		frame = &buddy->table->frames[link - 1];
		pfn = mmk_frame_table_pfn(buddy->table, frame);
		if (frame->flags != (MMK_FRAME_HEAD | MMK_FRAME_FREE) ||
		    frame->order != order || frame->prev != prev)
			return false;
		if (pfn < buddy->first_pfn || pfn >= buddy->end_pfn ||
		    mmk__buddy_region(buddy, frame) != region)
			return false;
		if (order < MMK_MAX_ORDER &&
		    mmk__buddy_mate(buddy, pfn, order) != NULL)
			return false;
		++*nr_blocks;
		prev = link;
		link = frame->next;
	}
	return true;
}

MMK_API bool
mmk_buddy_check(const struct mmk_buddy *buddy, uint64_t *nr_blocks_out)
{
	uint64_t nr_pages = 0, nr_all = 0;

	for (unsigned order = 0; order <= MMK_MAX_ORDER; order++) {
		uint64_t nr_blocks = 0;

		for (unsigned r = 0; r < MMK_NR_REGIONS; r++)
			if (!mmk__buddy_check_list(buddy, order, r, &nr_blocks))
				return false;
		if (nr_blocks != buddy->nr_free_blocks[order])
			return false;
		if ((buddy->orders >> order & 1) != (nr_blocks != 0))
			return false;
		nr_pages += nr_blocks << order;
		nr_all += nr_blocks;
	}
	*nr_blocks_out = nr_all;
	return nr_pages == buddy->nr_free_pages;
}
#endif /* MMKIT_IMPLEMENTATION */
