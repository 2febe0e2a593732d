/* SPDX-License-Identifier: MIT
 *
 * mmkit/phys/buddy.h: free blocks of one zone, in powers of two
 *
 * WHAT    A zone is a range of pages of the frame table. What is free in it is
 *         kept in the granules' records, 64 pages each; descriptors of pages
 *         are neither read nor written.
 *
 *         A granule with some free pages has a word with a bit for each.
 *         Setting bits merges by itself, and a block of 2^n is found in the
 *         word by shifting it over itself n times. When all 64 are free, the
 *         granule is a block of order 6 and merges with its buddies in the
 *         classic way. Lists hold granules: list n < 6, those whose largest
 *         free aligned block is 2^n; list n >= 6, the first granules of free
 *         blocks of 2^n.
 *
 *         Each order has 64 lists, one for each 64th of the zone. A single
 *         page comes from the lowest region that has one. Taking the last one
 *         freed, wherever it is, spreads new frames over all of memory: after
 *         some churn no large block is left, and none ever comes back. Packing
 *         towards low addresses lets the high regions run empty and merge, in
 *         constant time. Larger blocks come from the best fit, and there from
 *         the lowest region. No superpage is broken while a smaller block will
 *         do.
 * LAYER   phys. Includes table.h. Knows no references and no CPUs.
 * LOCKS   buddy->lock (MMK_RANK_ZONE, the innermost of all) guards everything
 *         here, and the [Z] fields of the granules in the range
 * COST    take, give: O(MMK_MAX_ORDER), and O(1) a page in batches. 5 KiB a
 *         zone.
 * SOURCE  Knowlton, CACM 8(10), 1965; Knuth, TAOCP vol. 1, section 2.5. The
 *         word of 64 pages is own; a bit field at the bottom is LLFree's too
 *         (Wrenger et al., USENIX ATC 2023).
 *
 * I1      sum of free bits and of 2^order over the lists == nr_free_pages
 * I2      no two buddies of one order are both free
 * I3      bit r of regions[o] <=> bit o of lists[r] <=> free[o][r] != 0;
 *         bit o of orders <=> regions[o] != 0
 *                                          all tested by: mmk_buddy_check
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
#if MMKIT_MAX_ORDER < 6 || MMKIT_MAX_ORDER > 30
#error "mmkit: MMKIT_MAX_ORDER must be 6 to 30; see doc/PORTING.md, max-order"
#endif
#define MMK_MAX_ORDER MMKIT_MAX_ORDER
#define MMK_NR_ORDERS (MMK_MAX_ORDER + 1)
#define MMK_NR_REGIONS 64u
/* The blocks that a section asleep consists of. */
#define MMK_ASLEEP_ORDER \
	(MMK_MAX_ORDER < MMK_SECTION_ORDER ? MMK_MAX_ORDER : MMK_SECTION_ORDER)

/* What one entry of a second-level page table maps: 2 MiB of pages of 4 KiB. */
#define MMK_SUPERPAGE_ORDER (MMK_PAGE_SHIFT - 3u)

MMK_BEGIN_DECLS

/* Guards: [I] immutable after init  [L] this->lock */
struct mmk_buddy {
	MMKIT_LOCK_T lock;
	const struct mmk_frame_table *table; /* [I] */
	mmk_pfn first_pfn;                   /* [I] */
	mmk_pfn end_pfn;                     /* [I] */
	uint32_t first_granule;              /* [I] lowest in the range */
	uint8_t region_order;                /* [I] log2 of its granules */
	uint8_t zone;                        /* [I] in the granules' records */
	uint32_t orders;                     /* [L] one bit an order */
	uint64_t nr_free_pages;              /* [L] written atomically */
	uint64_t nr_asleep_pages;            /* [L] of those: in no list yet */
	uint64_t next_asleep;                /* [L] no section before it is */
	uint64_t regions[MMK_NR_ORDERS];     /* [L] one bit a region */
	uint32_t lists[MMK_NR_REGIONS];      /* [L] one bit an order */
	uint32_t free[MMK_NR_ORDERS][MMK_NR_REGIONS]; /* [L] index + 1 */
};

/*
 * mmk_buddy_init: an empty zone over [first_pfn, end_pfn), which may be empty.
 *
 * pre      no granule has pages of two zones with free pages; `zone` tells them
 *          apart.
 */
MMK_API void mmk_buddy_init(struct mmk_buddy *buddy,
    const struct mmk_frame_table *table, unsigned zone, mmk_pfn first_pfn,
    mmk_pfn end_pfn, const char *name);

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
 * mmk_buddy_take_pages_locked: up to nr_max pages, by index: the highest one
 * first, so that popped from the end they leave in ascending order.
 *
 * locks    buddy->lock held.
 * out      the number taken; it is less than nr_max only if the zone is empty.
 *          Nothing is written into descriptors.
 */
MMK_API unsigned mmk_buddy_take_pages_locked(struct mmk_buddy *buddy,
    unsigned nr_max, uint32_t *indices_out);

/*
 * mmk_buddy_give_locked: make a block free and merge it with its free buddies.
 *
 * pre      the block lies in the zone and no descriptor in it but `frame` has
 *          MMK_FRAME_HEAD; nobody uses it. Asserted where it is cheap.
 * locks    buddy->lock held.
 */
MMK_API void mmk_buddy_give_locked(struct mmk_buddy *buddy,
    struct mmk_frame *frame, unsigned order);

/* Single pages, by index. pre: no descriptor among them has MMK_FRAME_HEAD. */
MMK_API void mmk_buddy_give_pages_locked(struct mmk_buddy *buddy,
    unsigned nr_pages, const uint32_t *indices);

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

/*
 * How many free blocks of each order there are: added to counts[MMK_NR_ORDERS].
 * locks: takes the zone's. cost: O(blocks).
 */
MMK_API void mmk_buddy_count(struct mmk_buddy *buddy, uint64_t *counts);

/* Walks the lists. */
MMK_API bool mmk_buddy_check(const struct mmk_buddy *buddy);

MMK_END_DECLS
#endif /* MMKIT_PHYS_BUDDY_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_PHYS_BUDDY_IMPL)
#define MMKIT_PHYS_BUDDY_IMPL

/* The first granule with pages at or above pfn, by index. */
MMK_PRIVATE uint32_t
mmk__buddy_granule_from(const struct mmk_frame_table *table, mmk_pfn pfn)
{
	uint64_t i = 0;
	unsigned granule = 0;

	if (pfn >> MMK_SECTION_ORDER >= table->first_section) {
		i = (pfn >> MMK_SECTION_ORDER) - table->first_section;
		granule = (unsigned)((pfn & (MMK_SECTION_PAGES - 1)) >>
		    MMK_GRANULE_ORDER);
	}
	for (; i < table->nr_sections; i++, granule = 0) {
		const struct mmk_section *section = &table->sections[i];

		if (granule >= section->end_granule)
			continue;
		if (granule < section->first_granule)
			granule = section->first_granule;
		return (uint32_t)(section->base +
		           (granule << MMK_GRANULE_ORDER)) >>
		    MMK_GRANULE_ORDER;
	}
	return table->nr_frames >> MMK_GRANULE_ORDER;
}

MMK_API void
mmk_buddy_init(struct mmk_buddy *buddy, const struct mmk_frame_table *table,
    unsigned zone, mmk_pfn first_pfn, mmk_pfn end_pfn, const char *name)
{
	uint32_t nr_granules;

	MMK_ASSERT(first_pfn <= end_pfn);
	MMK_ASSERT(zone <= UINT8_MAX);
	(void)MMKIT_MEMSET(buddy, 0, sizeof(*buddy));
	MMKIT_LOCK_INIT(&buddy->lock, name, MMK_RANK_ZONE);
	buddy->table = table;
	buddy->zone = (uint8_t)zone;
	buddy->first_pfn = first_pfn;
	buddy->end_pfn = end_pfn;
	buddy->first_granule = mmk__buddy_granule_from(table, first_pfn);
	if (first_pfn >> MMK_SECTION_ORDER > table->first_section)
		buddy->next_asleep = (first_pfn >> MMK_SECTION_ORDER) -
		    table->first_section;
	nr_granules = mmk__buddy_granule_from(table,
	                  end_pfn + MMK_GRANULE_PAGES - 1) -
	    buddy->first_granule;
	while (nr_granules >> buddy->region_order >= MMK_NR_REGIONS)
		buddy->region_order++;
}

/* ---- lists of granules --------------------------------------------------- */

MMK_INLINE void
mmk__buddy_link(struct mmk_buddy *buddy, uint32_t index, unsigned list)
{
	struct mmk_granule *granules = buddy->table->granules;
	struct mmk_granule *granule = &granules[index];
	unsigned region =
	    (index - buddy->first_granule) >> buddy->region_order;
	uint32_t *head = &buddy->free[list][region];

	MMKIT_ATOMIC_STORE(&granule->list, (uint8_t)list);
	granule->next = *head;
	granule->prev = 0;
	if (*head != 0)
		granules[*head - 1].prev = index + 1;
	*head = index + 1;
	buddy->lists[region] |= (uint32_t)1 << list;
	buddy->regions[list] |= (uint64_t)1 << region;
	buddy->orders |= (uint32_t)1 << list;
}

MMK_INLINE void
mmk__buddy_unlink(struct mmk_buddy *buddy, uint32_t index)
{
	struct mmk_granule *granules = buddy->table->granules;
	struct mmk_granule *granule = &granules[index];
	unsigned list = granule->list;
	unsigned region =
	    (index - buddy->first_granule) >> buddy->region_order;

	MMKIT_ATOMIC_STORE(&granule->list, (uint8_t)MMK_GRANULE_UNLISTED);
	if (granule->next != 0)
		granules[granule->next - 1].prev = granule->prev;
	if (granule->prev != 0) {
		granules[granule->prev - 1].next = granule->next;
		return;
	}
	buddy->free[list][region] = granule->next;
	if (granule->next != 0)
		return;
	buddy->lists[region] &= ~((uint32_t)1 << list);
	buddy->regions[list] &= ~((uint64_t)1 << region);
	if (buddy->regions[list] == 0)
		buddy->orders &= ~((uint32_t)1 << list);
}

MMK_INLINE void
mmk__buddy_count_pages(struct mmk_buddy *buddy, uint64_t delta)
{
	MMKIT_ATOMIC_STORE(&buddy->nr_free_pages, buddy->nr_free_pages + delta);
}

/*
 * The lists to look in, of those in `small`: all have a block that will do, and
 * no superpage. Single pages are taken where many are gone already, in the
 * lowest region: that is what lets the others heal. For larger ones, of which
 * there are fewer, the best fit counts.
 */
MMK_INLINE uint32_t
mmk__buddy_prefer(uint32_t small, unsigned order)
{
	uint32_t broken = small &
	    (((uint32_t)1 << (MMK_GRANULE_ORDER - 1)) - 1);

	if (order > 0)
		return small & (~small + 1);
	return broken != 0 ? broken : small;
}

/*
 * The granule to take a block of `order` from, in the lowest region. pre: there
 * is one. Its list is *list_out.
 */
MMK_INLINE uint32_t
mmk__buddy_choose(const struct mmk_buddy *buddy, unsigned order,
    unsigned *list_out)
{
	uint64_t regions = 0;
	uint32_t orders = buddy->orders >> order << order;
	uint32_t small = orders & (((uint32_t)1 << MMK_SUPERPAGE_ORDER) - 1);
	unsigned region;

	if (small != 0)
		orders = mmk__buddy_prefer(small, order);

	for (uint32_t left = orders; left != 0; left &= left - 1)
		regions |= buddy->regions[mmk_lowest_bit(left)];
	region = mmk_lowest_bit(regions);
	*list_out = mmk_lowest_bit(orders & buddy->lists[region]);
	return buddy->free[*list_out][region] - 1;
}

/* ---- blocks of a granule and more ---------------------------------------- */

/* The granule of the page, with the index; NULL: the page has no descriptor. */
MMK_INLINE struct mmk_granule *
mmk__buddy_granule(const struct mmk_buddy *buddy, mmk_pfn pfn,
    uint32_t *index_out)
{
	const struct mmk_frame *frame =
	    mmk_frame_table_lookup(buddy->table, pfn);

	if (frame == NULL)
		return NULL;
	*index_out = mmk_frame_table_index(buddy->table, frame) >>
	    MMK_GRANULE_ORDER;
	return &buddy->table->granules[*index_out];
}

/* A listed block of order `from` becomes one of `order`; the rest is listed. */
MMK_PRIVATE void
mmk__buddy_split(struct mmk_buddy *buddy, uint32_t index, unsigned from,
    unsigned order)
{
	mmk_pfn pfn = buddy->table->granules[index].first_pfn;
	uint32_t half = 0;

	mmk__buddy_unlink(buddy, index);
	while (from > order) {
		from--;
		(void)mmk__buddy_granule(buddy, pfn + ((uint64_t)1 << from),
		    &half);
		mmk__buddy_link(buddy, half, from);
	}
}

/* The other half of the block of order + 1 is free: it is *index_out. */
MMK_INLINE bool
mmk__buddy_mate(const struct mmk_buddy *buddy, mmk_pfn pfn, unsigned order,
    uint32_t *index_out)
{
	mmk_pfn mate_pfn = pfn ^ ((uint64_t)1 << order);
	const struct mmk_granule *mate;

	mate = mmk__buddy_granule(buddy, mate_pfn, index_out);
	/* What is free in another zone is guarded by the other's lock. */
	return mate != NULL && mate->zone == buddy->zone &&
	    mate->list == order;
}

/* pre: the granules are not listed and their words are 0. */
MMK_PRIVATE void
mmk__buddy_merge(struct mmk_buddy *buddy, uint32_t index, unsigned order)
{
	mmk_pfn pfn = buddy->table->granules[index].first_pfn;
	uint32_t mate = 0;

	for (; order < MMK_MAX_ORDER; order++) {
		if (!mmk__buddy_mate(buddy, pfn, order, &mate))
			break;
		mmk__buddy_unlink(buddy, mate);
		if (mate < index)
			index = mate;
		pfn &= ~((uint64_t)1 << order);
	}
	mmk__buddy_link(buddy, index, order);
}

/* ---- blocks inside a granule --------------------------------------------- */

/* Where blocks of 2^order pages may start, one bit a page. */
MMK_PRIVATE uint64_t
mmk__word_starts(unsigned order)
{
	static const uint64_t starts[MMK_GRANULE_ORDER] = {
		0xffffffffffffffffu, 0x5555555555555555u, 0x1111111111111111u,
		0x0101010101010101u, 0x0001000100010001u, 0x0000000100000001u,
	};

	return starts[order];
}

/*
 * The starts of the free blocks of 2^order pages. Always five steps, those from
 * `order` on by nothing: a branch that depends on the order is seldom foreseen.
 */
MMK_INLINE uint64_t
mmk__word_blocks(uint64_t word, unsigned order)
{
	word &= word >> (unsigned)(order > 0);
	word &= word >> ((unsigned)(order > 1) << 1);
	word &= word >> ((unsigned)(order > 2) << 2);
	word &= word >> ((unsigned)(order > 3) << 3);
	word &= word >> ((unsigned)(order > 4) << 4);
	return word & mmk__word_starts(order);
}

/* log2 of the largest free block. pre: neither no bit is set nor all are. */
MMK_INLINE unsigned
mmk__word_order(uint64_t word)
{
	uint64_t w1 = word & word >> 1 & 0x5555555555555555u;
	uint64_t w2 = w1 & w1 >> 2 & 0x1111111111111111u;
	uint64_t w3 = w2 & w2 >> 4 & 0x0101010101010101u;
	uint64_t w4 = w3 & w3 >> 8 & 0x0001000100010001u;
	uint64_t w5 = w4 & w4 >> 16 & 0x0000000100000001u;

	return (unsigned)(w1 != 0) + (w2 != 0) + (w3 != 0) + (w4 != 0) +
	    (w5 != 0);
}

/*
 * Where to take 2^order pages: the first page of the smallest free block that
 * will do. pre: there is one.
 */
MMK_INLINE unsigned
mmk__word_choose(uint64_t word, unsigned order)
{
	uint64_t blocks = mmk__word_blocks(word, order), larger, lone;

	for (;; order++) {
		if (order == MMK_GRANULE_ORDER - 1)
			return mmk_lowest_bit(blocks);
		larger = blocks & (blocks >> ((unsigned)1 << order)) &
		    mmk__word_starts(order + 1);
		lone = blocks & ~(larger | larger << ((unsigned)1 << order));
		if (lone != 0)
			return mmk_lowest_bit(lone);
		blocks = larger;
	}
}

MMK_INLINE uint64_t
mmk__word_mask(unsigned bit, unsigned order)
{
	return (((uint64_t)1 << ((unsigned)1 << order)) - 1) << bit;
}

/* The granule's free pages are now `word`, which is not all of them. */
MMK_INLINE void
mmk__buddy_set_word(struct mmk_buddy *buddy, uint32_t index, uint64_t word)
{
	struct mmk_granule *granule = &buddy->table->granules[index];
	unsigned list = word == 0 ? MMK_GRANULE_UNLISTED
	                          : mmk__word_order(word);

	MMKIT_ATOMIC_STORE(&granule->free, word);
	if (list == granule->list)
		return;
	if (granule->list != MMK_GRANULE_UNLISTED)
		mmk__buddy_unlink(buddy, index);
	if (list != MMK_GRANULE_UNLISTED)
		mmk__buddy_link(buddy, index, list);
}

/* These pages of the granule become free. */
MMK_PRIVATE void
mmk__buddy_give_bits(struct mmk_buddy *buddy, uint32_t index, uint64_t bits)
{
	struct mmk_granule *granule = &buddy->table->granules[index];
	uint64_t word = granule->free;

	MMK_ASSERT((word & bits) == 0);
	MMK_ASSERT(granule->zone == buddy->zone);
	word |= bits;
	if (~word != 0) {
		mmk__buddy_set_word(buddy, index, word);
		return;
	}
	mmk__buddy_set_word(buddy, index, 0);
	mmk__buddy_merge(buddy, index, MMK_GRANULE_ORDER);
}

/* ---- sections that are asleep -------------------------------------------- */

/* Pages that were never free before. */
MMK_PRIVATE void
mmk__buddy_begin(struct mmk_buddy *buddy, mmk_pfn first_pfn, mmk_pfn end_pfn)
{
	uint32_t index = 0;

	for (mmk_pfn pfn = first_pfn; pfn < end_pfn;
	     pfn = (pfn | (MMK_GRANULE_PAGES - 1)) + 1)
		mmk__buddy_granule(buddy, pfn, &index)->zone = buddy->zone;
}

/* The section, which is or was asleep, lies in this zone. */
MMK_INLINE bool
mmk__buddy_has_section(const struct mmk_buddy *buddy, uint64_t i)
{
#if MMKIT_NODE_MAX > 1
	return buddy->table->zones[i] == buddy->zone;
#else
	(void)buddy; /* by address: it is not cut by a zone's end */
	(void)i;
	return true;
#endif
}

/* The i-th section of the table goes into the lists, where it was counted. */
MMK_PRIVATE MMK_NOINLINE void
mmk__buddy_wake_section(struct mmk_buddy *buddy, uint64_t i)
{
	const struct mmk_frame_table *table = buddy->table;
	mmk_pfn first_pfn = (table->first_section + i) << MMK_SECTION_ORDER;
	unsigned order = MMK_ASLEEP_ORDER;
	uint32_t index = table->sections[i].base >> MMK_GRANULE_ORDER;

	/* What sleeps is not even poisoned: it may be far too much. */
	MMKIT_POISON(MMKIT_PHYS_TO_PTR(mmk_pa_of_pfn(first_pfn)),
	    (size_t)mmk_bytes_of_pages(MMK_SECTION_PAGES));
	mmk_frame_table_wake(table, i);
	mmk__buddy_begin(buddy, first_pfn, first_pfn + MMK_SECTION_PAGES);
	for (uint32_t g = 0; g < MMK_SECTION_GRANULES;
	     g += (uint32_t)1 << (order - MMK_GRANULE_ORDER))
		mmk__buddy_merge(buddy, index + g, order);
	buddy->nr_asleep_pages -= MMK_SECTION_PAGES;
}

/* Sections are woken, from below, until there is a block of the order. */
MMK_PRIVATE MMK_NOINLINE bool
mmk__buddy_wake(struct mmk_buddy *buddy, unsigned order)
{
	while (buddy->orders >> order == 0) {
		if (buddy->nr_asleep_pages == 0)
			return false;
		while (!mmk_frame_table_is_asleep(buddy->table,
		           buddy->next_asleep) ||
		    !mmk__buddy_has_section(buddy, buddy->next_asleep))
			buddy->next_asleep++;
		mmk__buddy_wake_section(buddy, buddy->next_asleep++);
	}
	return true;
}

/* ---- take and give ------------------------------------------------------- */

/*
 * The free pages of the granule chosen for blocks of `order`, below that of a
 * granule; a larger block is broken for it.
 */
MMK_INLINE uint64_t
mmk__buddy_open(struct mmk_buddy *buddy, unsigned order, uint32_t *index_out)
{
	unsigned list;

	*index_out = mmk__buddy_choose(buddy, order, &list);
	if (list < MMK_GRANULE_ORDER)
		return buddy->table->granules[*index_out].free;
	mmk__buddy_split(buddy, *index_out, list, MMK_GRANULE_ORDER);
	return ~(uint64_t)0;
}

/* A block, by the index of its first page; false: there is none. */
MMK_PRIVATE bool
mmk__buddy_take(struct mmk_buddy *buddy, unsigned order, uint32_t *page_out)
{
	unsigned list, bit = 0;
	uint32_t index;

	MMK_ASSERT(MMKIT_LOCK_HELD(&buddy->lock));
	MMK_ASSERT(order <= MMK_MAX_ORDER);
	if (buddy->orders >> order == 0 && !mmk__buddy_wake(buddy, order))
		return false;
	if (order < MMK_GRANULE_ORDER) {
		uint64_t word = mmk__buddy_open(buddy, order, &index);

		bit = mmk__word_choose(word, order);
		mmk__buddy_set_word(buddy, index,
		    word & ~mmk__word_mask(bit, order));
	} else {
		index = mmk__buddy_choose(buddy, order, &list);
		mmk__buddy_split(buddy, index, list, order);
	}
	mmk__buddy_count_pages(buddy, (uint64_t)0 - ((uint64_t)1 << order));
	*page_out = (index << MMK_GRANULE_ORDER) + bit;
	return true;
}

MMK_API struct mmk_frame *
mmk_buddy_take_locked(struct mmk_buddy *buddy, unsigned order)
{
	struct mmk_frame *frame;
	uint32_t page;

	if (!mmk__buddy_take(buddy, order, &page))
		return NULL;
	frame = &buddy->table->frames[page];
	MMKIT_ATOMIC_STORE(&frame->order, (uint8_t)order);
	MMKIT_ATOMIC_STORE(&frame->flags, (uint16_t)MMK_FRAME_HEAD);
	return frame;
}

MMK_API unsigned
mmk_buddy_take_pages_locked(struct mmk_buddy *buddy, unsigned nr_max,
    uint32_t *indices_out)
{
	unsigned nr_left = nr_max, nr_taken;

	MMK_ASSERT(MMKIT_LOCK_HELD(&buddy->lock));
	while (nr_left > 0 &&
	    (buddy->orders != 0 || mmk__buddy_wake(buddy, 0))) {
		uint32_t index;
		uint64_t word = mmk__buddy_open(buddy, 0, &index);

		while (word != 0 && nr_left > 0) {
			indices_out[--nr_left] =
			    (index << MMK_GRANULE_ORDER) + mmk_lowest_bit(word);
			word &= word - 1;
		}
		mmk__buddy_set_word(buddy, index, word);
	}
	nr_taken = nr_max - nr_left;
	if (nr_left > 0 && nr_taken > 0)
		(void)MMKIT_MEMMOVE(indices_out, indices_out + nr_left,
		    nr_taken * sizeof(*indices_out));
	mmk__buddy_count_pages(buddy, (uint64_t)0 - nr_taken);
	return nr_taken;
}

MMK_API void
mmk_buddy_give_locked(struct mmk_buddy *buddy, struct mmk_frame *frame,
    unsigned order)
{
	uint32_t page = mmk_frame_table_index(buddy->table, frame);
	uint32_t index = page >> MMK_GRANULE_ORDER;
	mmk_pfn pfn = mmk_frame_table_pfn(buddy->table, frame);

	MMK_ASSERT(MMKIT_LOCK_HELD(&buddy->lock));
	MMK_ASSERT(pfn >= buddy->first_pfn && pfn < buddy->end_pfn);
	MMK_ASSERT((pfn & (((uint64_t)1 << order) - 1)) == 0);
	MMKIT_ATOMIC_STORE(&frame->flags, (uint16_t)0);
	frame->use = MMK_USE_FREE;
	if (order < MMK_GRANULE_ORDER) {
		mmk__buddy_give_bits(buddy, index,
		    mmk__word_mask((unsigned)(pfn & (MMK_GRANULE_PAGES - 1)),
		        order));
	} else {
		MMK_ASSERT(buddy->table->granules[index].list ==
		    MMK_GRANULE_UNLISTED);
		mmk__buddy_merge(buddy, index, order);
	}
	mmk__buddy_count_pages(buddy, (uint64_t)1 << order);
}

MMK_API void
mmk_buddy_give_pages_locked(struct mmk_buddy *buddy, unsigned nr_pages,
    const uint32_t *indices)
{
	unsigned i = 0;

	MMK_ASSERT(MMKIT_LOCK_HELD(&buddy->lock));
	while (i < nr_pages) {
		uint32_t index = indices[i] >> MMK_GRANULE_ORDER;
		uint64_t bits = 0;

		/* Neighbours are often freed together. */
		do
			bits |= (uint64_t)1
			    << (indices[i] & (MMK_GRANULE_PAGES - 1));
		while (++i < nr_pages &&
		    indices[i] >> MMK_GRANULE_ORDER == index);
		mmk__buddy_give_bits(buddy, index, bits);
	}
	mmk__buddy_count_pages(buddy, nr_pages);
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

/* The same for pages of one section, which may stay asleep as a whole. */
MMK_PRIVATE void
mmk__buddy_give_part(struct mmk_buddy *buddy, mmk_pfn first_pfn,
    mmk_pfn end_pfn)
{
	uint64_t i = (first_pfn >> MMK_SECTION_ORDER) -
	    buddy->table->first_section;

	/* Nobody was here before: do not even look at what is not there. */
	if (end_pfn - first_pfn == MMK_SECTION_PAGES &&
	    (buddy->table->sections[i].end_granule & MMK_SECTION_LAZY) != 0) {
#if MMKIT_NODE_MAX > 1
		buddy->table->zones[i] = buddy->zone;
#endif
		buddy->nr_asleep_pages += MMK_SECTION_PAGES;
		mmk__buddy_count_pages(buddy, MMK_SECTION_PAGES);
		return;
	}
	if (mmk_frame_table_is_asleep(buddy->table, i))
		mmk_frame_table_wake(buddy->table, i);
	mmk__buddy_begin(buddy, first_pfn, end_pfn);
	mmk__buddy_give_run_locked(buddy, first_pfn, end_pfn);
}

MMK_API void
mmk_buddy_give_run(struct mmk_buddy *buddy, mmk_pfn first_pfn, mmk_pfn end_pfn)
{
	MMK_ASSERT(first_pfn >= buddy->first_pfn && end_pfn <= buddy->end_pfn);
	MMKIT_LOCK(&buddy->lock);
	while (first_pfn < end_pfn) {
		mmk_pfn stop = mmk_min(
		    (first_pfn | (MMK_SECTION_PAGES - 1)) + 1, end_pfn);

		mmk__buddy_give_part(buddy, first_pfn, stop);
		first_pfn = stop;
	}
	MMKIT_UNLOCK(&buddy->lock);
}

/* ---- claim --------------------------------------------------------------- */

/*
 * The first granule of the free block of a granule or more that contains the
 * page; false: there is none.
 */
MMK_PRIVATE bool
mmk__buddy_large_of(const struct mmk_buddy *buddy, mmk_pfn pfn,
    uint32_t *index_out)
{
	for (unsigned order = MMK_GRANULE_ORDER; order <= MMK_MAX_ORDER;
	     order++) {
		mmk_pfn head_pfn = mmk_round_down(pfn, (uint64_t)1 << order);
		const struct mmk_granule *head;

		if (head_pfn < buddy->first_pfn)
			return false;
		head = mmk__buddy_granule(buddy, head_pfn, index_out);
		if (head == NULL || head->zone != buddy->zone)
			return false;
		if (head->list == MMK_GRANULE_UNLISTED)
			continue;
		return head->list >= order;
	}
	return false;
}

/*
 * The free block that contains the page: its head, with `order` set; NULL: the
 * page is not free. locks: buddy->lock held.
 */
MMK_PRIVATE struct mmk_frame *
mmk__buddy_block_of(struct mmk_buddy *buddy, mmk_pfn pfn)
{
	uint64_t i = (pfn >> MMK_SECTION_ORDER) - buddy->table->first_section;
	const struct mmk_granule *granule;
	struct mmk_frame *frame;
	uint32_t index;
	unsigned order = 0;

	if (pfn < buddy->first_pfn || pfn >= buddy->end_pfn)
		return NULL;
	if (mmk_frame_table_is_asleep(buddy->table, i)) {
		if (!mmk__buddy_has_section(buddy, i))
			return NULL;
		mmk__buddy_wake_section(buddy, i);
	}
	granule = mmk__buddy_granule(buddy, pfn, &index);
	if (granule == NULL || granule->zone != buddy->zone)
		return NULL;
	if ((granule->free >> (pfn & (MMK_GRANULE_PAGES - 1)) & 1) != 0) {
		frame = mmk_frame_table_lookup(buddy->table, pfn);
	} else if (mmk__buddy_large_of(buddy, pfn, &index)) {
		frame = &buddy->table->frames[index << MMK_GRANULE_ORDER];
		order = buddy->table->granules[index].list;
	} else {
		return NULL;
	}
	MMKIT_ATOMIC_STORE(&frame->order, (uint8_t)order);
	return frame;
}

/* A free block loses its pages in [first_pfn, end_pfn). Returns its end. */
MMK_PRIVATE mmk_pfn
mmk__buddy_carve(struct mmk_buddy *buddy, const struct mmk_frame *block,
    mmk_pfn first_pfn, mmk_pfn end_pfn)
{
	uint32_t index = mmk_frame_table_index(buddy->table, block);
	mmk_pfn block_pfn = mmk_frame_table_pfn(buddy->table, block);
	mmk_pfn block_end = block_pfn + ((uint64_t)1 << block->order);
	struct mmk_granule *granule =
	    &buddy->table->granules[index >> MMK_GRANULE_ORDER];

	if (block->order == 0)
		mmk__buddy_set_word(buddy, index >> MMK_GRANULE_ORDER,
		    granule->free & ~((uint64_t)1 << (index &
		                          (MMK_GRANULE_PAGES - 1))));
	else
		mmk__buddy_unlink(buddy, index >> MMK_GRANULE_ORDER);
	mmk__buddy_count_pages(buddy, block_pfn - block_end);
	if (end_pfn > block_end)
		end_pfn = block_end;
	for (mmk_pfn pfn = first_pfn; pfn < end_pfn; pfn++) {
		struct mmk_frame *page =
		    mmk_frame_table_lookup(buddy->table, pfn);

		MMK_ASSERT(page != NULL);
		MMKIT_ATOMIC_STORE(&page->order, (uint8_t)0);
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

/* ---- numbers and audits -------------------------------------------------- */

/* The blocks of one granule, largest first, are added to the counts. */
MMK_PRIVATE void
mmk__word_count(uint64_t word, uint64_t *counts)
{
	for (unsigned order = MMK_GRANULE_ORDER; order-- > 0;) {
		uint64_t blocks = mmk__word_blocks(word, order);

		for (; blocks != 0; blocks &= blocks - 1) {
			word &= ~mmk__word_mask(mmk_lowest_bit(blocks), order);
			counts[order]++;
		}
	}
}

MMK_API void
mmk_buddy_count(struct mmk_buddy *buddy, uint64_t *counts)
{
	const struct mmk_granule *granules = buddy->table->granules;

	MMKIT_LOCK(&buddy->lock);
	counts[MMK_ASLEEP_ORDER] += buddy->nr_asleep_pages >> MMK_ASLEEP_ORDER;
	for (unsigned list = 0; list <= MMK_MAX_ORDER; list++) {
		for (unsigned r = 0; r < MMK_NR_REGIONS; r++) {
			uint32_t link = buddy->free[list][r];

			for (; link != 0; link = granules[link - 1].next) {
				if (list >= MMK_GRANULE_ORDER)
					counts[list]++;
				else
					mmk__word_count(granules[link - 1].free,
					    counts);
			}
		}
	}
	MMKIT_UNLOCK(&buddy->lock);
}

/* One granule is on the right list. */
MMK_PRIVATE bool
mmk__buddy_check_granule(const struct mmk_buddy *buddy, uint32_t index,
    unsigned list, unsigned region)
{
	const struct mmk_granule *granule = &buddy->table->granules[index];
	mmk_pfn pfn = granule->first_pfn;
	uint32_t mate;

	if (granule->list != list || granule->zone != buddy->zone ||
	    index < buddy->first_granule ||
	    (index - buddy->first_granule) >> buddy->region_order != region)
		return false;
	if (list < MMK_GRANULE_ORDER)
		return granule->free != 0 && ~granule->free != 0 &&
		    mmk__word_order(granule->free) == list;
	if (granule->free != 0 || pfn < buddy->first_pfn ||
	    pfn >= buddy->end_pfn || (pfn & (((uint64_t)1 << list) - 1)) != 0)
		return false;
	return list == MMK_MAX_ORDER ||
	    !mmk__buddy_mate(buddy, pfn, list, &mate);
}

/* One list; its pages are added. */
MMK_PRIVATE bool
mmk__buddy_check_list(const struct mmk_buddy *buddy, unsigned list,
    unsigned region, uint64_t *nr_pages)
{
	uint32_t link = buddy->free[list][region], prev = 0;

	if ((link != 0) != ((buddy->regions[list] >> region & 1) != 0) ||
	    (link != 0) != ((buddy->lists[region] >> list & 1) != 0))
		return false;
	while (link != 0) {
		const struct mmk_granule *granule;

		if (link > buddy->table->nr_frames >> MMK_GRANULE_ORDER)
			return false;
		granule = &buddy->table->granules[link - 1];
		if (granule->prev != prev ||
		    !mmk__buddy_check_granule(buddy, link - 1, list, region))
			return false;
		if (list >= MMK_GRANULE_ORDER)
			*nr_pages += (uint64_t)1 << list;
		for (uint64_t left = granule->free; left != 0; left &= left - 1)
			++*nr_pages;
		prev = link;
		link = granule->next;
	}
	return true;
}

MMK_API bool
mmk_buddy_check(const struct mmk_buddy *buddy)
{
	uint64_t nr_pages = 0;

	for (unsigned list = 0; list <= MMK_MAX_ORDER; list++) {
		if ((buddy->orders >> list & 1) != (buddy->regions[list] != 0))
			return false;
		for (unsigned r = 0; r < MMK_NR_REGIONS; r++)
			if (!mmk__buddy_check_list(buddy, list, r, &nr_pages))
				return false;
	}
	return nr_pages + buddy->nr_asleep_pages == buddy->nr_free_pages;
}
#endif /* MMKIT_IMPLEMENTATION */
