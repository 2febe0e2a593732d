/* SPDX-License-Identifier: MIT
 *
 * mmkit/phys/table.h: one descriptor for every page of RAM
 *
 * WHAT    The firmware's list of RAM becomes an array of descriptors. The
 *         address space is cut into sections of 2^15 pages; a section's
 *         descriptors run from its first to its last page of RAM, rounded out
 *         to granules of 64 pages, and sections without RAM have none:
 *
 *           pages    |ram ram -- ram ram|-- -- -- --|-- -- ram ram|
 *           sections |         0        |     1     |      2      |
 *           array     [0: granules 0..k ]            [2: granules m..n]
 *
 *         page -> descriptor: one load from the section table, one addition.
 *         descriptor -> page: one load from the granule's record, one addition.
 *         That record also says which of its pages are free: see buddy.h.
 *         A hole inside a section costs a descriptor a page, one between
 *         sections 8 bytes for each 2^15 pages of it.
 *
 *         If the memory it lies in is known to be zero, sections full of RAM
 *         are asleep at first: of descriptors and records of theirs nothing is
 *         written, and nothing needs to be there, until the allocator comes to
 *         them.
 * LAYER   phys. Includes base/port.h. Knows no allocator and no locks.
 * LOCKS   none: the table is immutable once built; the fields of a descriptor
 *         say who guards them; a section is woken under its zone's lock
 * COST    plan and build: O(spans^2 + pages); lookups O(1). A descriptor and
 *         half a byte a page, and 8 bytes a section.
 * SOURCE  own; the section table is the idea of Linux's sparsemem.
 *
 * I1      table_lookup(table_pfn(f)) == f          tested by: mmk_phys_check
 */
#ifndef MMKIT_PHYS_TABLE_H
#define MMKIT_PHYS_TABLE_H

#include "../base/port.h"

MMK_BEGIN_DECLS

#define MMK_SECTION_ORDER 15u
#define MMK_GRANULE_ORDER 6u
#define MMK_SECTION_PAGES ((uint64_t)1 << MMK_SECTION_ORDER)
#define MMK_GRANULE_PAGES ((uint64_t)1 << MMK_GRANULE_ORDER)

/* What a frame is used for; one count per use is kept for audits. */
enum mmk_use {
	MMK_USE_FREE = 0,
	MMK_USE_KERNEL, /* handed to the kernel by mmk_frame_alloc */
	MMK_USE_POOL,   /* small objects */
	MMK_USE_TABLE,  /* page tables */
	MMK_USE_ANON,   /* a page of an anon */
	MMK_USE_META,   /* the frame table itself */
	MMK_USE_CONTAINER, /* a page or block of a container of physmem */
	MMK_USE_MAX
};

/*
 * Bits of mmk_frame.flags. HEAD is set in the descriptor of a held block's
 * first page, and in no other: nothing is written into those of free pages.
 */
#define MMK_FRAME_HEAD 0x0001u     /* the first page of a held block */
#define MMK_FRAME_HOLE 0x0002u     /* there is no page of RAM behind it */
#define MMK_FRAME_RETAINED 0x0008u /* MMK_ALLOC_RETAINED */
#define MMK_FRAME_MOVABLE 0x0010u  /* MMK_ALLOC_MOVABLE */
#define MMK_FRAME_CLAIMED 0x0020u  /* of a range that is being cleared */
#define MMK_FRAME_ISOLATED 0x0040u /* looked at to be moved: not freed yet */
#define MMK_FRAME_DEAD 0x0080u     /* given up; who isolated it frees it */
/* Clear after mmk_frame_alloc; from here up the bits are pmap's and vm's. */
#define MMK_FRAME_MODIFIED 0x0100u   /* harvested from translations */
#define MMK_FRAME_REFERENCED 0x0200u /* harvested from translations */

/*
 * Guards: [a] atomic  [R] the reverse map's bucket lock
 *         [O] whoever owns the frame
 */
struct mmk_frame {
	uint32_t refs;      /* [a] owners */
	uint32_t mapped;    /* [R] tracked translations; of a table: entries
	                     * in use */
	uint16_t pins;      /* [a] */
	uint16_t loans;     /* [a] reserved for loans; always 0 in this version */
	uint16_t flags;     /* [a] MMK_FRAME_* */
	uint8_t order;      /* [a] log2 of its pages; only the head's counts.
	                     * Immutable while held */
	uint8_t use;        /* [O] enum mmk_use; mmk_frame_set_use changes it */
	void *owner;        /* [O] anon, pmap, slab: told by `use` */
	void *translations; /* [R] list of reverse-map entries */
};
MMK_STATIC_ASSERT(sizeof(struct mmk_frame) <= 32, "a page's descriptor");

/* One span of the firmware's memory map. */
struct mmk_phys_span {
	mmk_pa start_pa; /* bytes, any alignment; what is left of a page is */
	mmk_pa end_pa;   /* not used, unless another span has the rest */
#if MMKIT_NODE_MAX > 1
	unsigned node; /* where it is; of what is reserved it is not read */
#endif
};

/* [I] all of it. The pages of a section that have descriptors, in granules. */
struct mmk_section {
	uint32_t base; /* index of the section's page 0, modulo 2^32 */
	uint16_t first_granule;
	uint16_t end_granule; /* 0: no RAM here. With MMK_SECTION_LAZY, which
	                       * is above them all: asleep at first */
};
#define MMK_SECTION_LAZY 0x8000u
#define MMK_SECTION_GRANULES (MMK_SECTION_PAGES >> MMK_GRANULE_ORDER)

/*
 * A memory map as it comes: both lists in any order, overlapping themselves and
 * each other, with empty or reversed spans. What is reserved is not RAM.
 */
struct mmk_phys_map {
	const struct mmk_phys_span *spans; /* RAM */
	size_t nr_spans;
	const struct mmk_phys_span *reserved; /* firmware, kernel, modules */
	size_t nr_reserved;
};

#define MMK_GRANULE_UNLISTED 0xffu

/* Guards: [I] immutable after init  [Z] the zone's lock; written atomically */
struct mmk_granule {
	mmk_pfn first_pfn; /* [I] of its 64 pages; of one asleep 0 */
	uint64_t free;     /* [Z] bit i: page i is free, and not all are */
	uint32_t next;     /* [Z] on a list of the zone's, as index + 1 */
	uint32_t prev;     /* [Z] 0: none */
	uint8_t list;      /* [Z] which list, by order; or UNLISTED */
	uint8_t zone;      /* [I] index of its zone */
	uint8_t is_awake;  /* [Z] 0: nothing of it is written yet */
};

/* What a span list needs, before there is a table. */
struct mmk_frame_plan {
	uint64_t first_section;
	uint64_t nr_sections;
	uint64_t nr_granules;
	uint64_t nr_pages; /* whole pages of RAM */
	mmk_pfn first_pfn;
	mmk_pfn end_pfn;
	uint64_t bytes; /* of metadata */
};

/* [I] all of it, and all it points to but the descriptors. */
struct mmk_frame_table {
	struct mmk_frame *frames;
	struct mmk_granule *granules; /* one for each 64 descriptors */
	struct mmk_section *sections;
#if MMKIT_NODE_MAX > 1
	uint8_t *zones; /* [Z] of sections that were asleep */
#endif
	uint64_t first_section;
	uint64_t nr_sections;
	uint32_t nr_frames; /* descriptors, those of holes included */
};

/*
 * mmk_phys_span_next: the lowest run of whole RAM pages at or above from_pa:
 * what a sorted and merged list would have next. The list is read, not sorted:
 * it may be in any order, overlap, and hold empty or reversed spans (skipped).
 *
 * out      *run_out, page aligned, not empty; untouched if there is none.
 * cost     O(spans * spans merged into the run).
 */
MMK_API bool mmk_phys_span_next(const struct mmk_phys_span *spans,
    size_t nr_spans, mmk_pa from_pa, struct mmk_phys_span *run_out);

/*
 * mmk_phys_map_next: the same for a whole map, less what is reserved: a page
 * any byte of which is reserved is no RAM.
 */
MMK_API bool mmk_phys_map_next(const struct mmk_phys_map *map, mmk_pa from_pa,
    struct mmk_phys_span *run_out);

/*
 * mmk_phys_map_node: the node of the page first_pfn, and up to where it is that
 * of all RAM. A granule is of one node: of the lowest span that reaches into it.
 *
 * pre      first_pfn < end_pfn, and the range is a part of a run.
 * out      *node_out; returned: the first page of another node, or end_pfn.
 * cost     O(spans^2).
 */
MMK_API mmk_pfn mmk_phys_map_node(const struct mmk_phys_map *map,
    mmk_pfn first_pfn, mmk_pfn end_pfn, unsigned *node_out);

/* What the map needs; all zero if it holds no whole page. */
MMK_API void mmk_frame_table_plan(const struct mmk_phys_map *map,
    struct mmk_frame_plan *plan_out);

/*
 * mmk_frame_table_build: lay the table out in `meta`, every descriptor zero;
 * is_zero: so is all of meta, and sections full of RAM stay asleep.
 *
 * pre      `plan` is of this map; meta has plan->bytes, aligned to 8, and
 *          outlives the table; fewer than 2^32 - 1 descriptors.
 */
MMK_API void mmk_frame_table_build(struct mmk_frame_table *table,
    const struct mmk_frame_plan *plan, const struct mmk_phys_map *map,
    void *meta, bool is_zero);

/* The descriptor of a page; NULL: it has none. Holes may have one. */
static inline struct mmk_frame *
mmk_frame_table_lookup(const struct mmk_frame_table *table, mmk_pfn pfn)
{
	uint64_t i = (pfn >> MMK_SECTION_ORDER) - table->first_section;
	uint32_t page = (uint32_t)(pfn & (MMK_SECTION_PAGES - 1));
	const struct mmk_section *section;

	if (i >= table->nr_sections)
		return NULL;
	section = &table->sections[i];
	if (page >> MMK_GRANULE_ORDER < section->first_granule ||
	    page >> MMK_GRANULE_ORDER >= section->end_granule)
		return NULL;
	return &table->frames[(uint32_t)(section->base + page)];
}

static inline uint32_t
mmk_frame_table_index(const struct mmk_frame_table *table,
    const struct mmk_frame *frame)
{
	return (uint32_t)(frame - table->frames);
}

/* The same as mmk_frame_table_pfn, from the sections alone. O(log sections). */
MMK_API mmk_pfn mmk_frame_table_search(const struct mmk_frame_table *table,
    uint32_t index);

static inline mmk_pfn
mmk_frame_table_pfn(const struct mmk_frame_table *table,
    const struct mmk_frame *frame)
{
	uint32_t index = mmk_frame_table_index(table, frame);
	mmk_pfn first_pfn = MMKIT_ATOMIC_LOAD_RELAXED(
	    &table->granules[index >> MMK_GRANULE_ORDER].first_pfn);

	if (MMK_UNLIKELY(first_pfn == 0))
		return mmk_frame_table_search(table, index);
	return first_pfn + (index & (MMK_GRANULE_PAGES - 1));
}

/*
 * Nothing is written yet of the section, which is the i-th of the table: all of
 * its pages are free. locks: its zone's.
 */
static inline bool
mmk_frame_table_is_asleep(const struct mmk_frame_table *table, uint64_t i)
{
	const struct mmk_section *section = &table->sections[i];

	return (section->end_granule & MMK_SECTION_LAZY) != 0 &&
	    MMKIT_ATOMIC_LOAD(
	        &table->granules[section->base >> MMK_GRANULE_ORDER]
	             .is_awake) == 0;
}

#if MMKIT_NODE_MAX > 1
/* The zone of a page that was given to one; of others 0. */
static inline unsigned
mmk_frame_table_zone(const struct mmk_frame_table *table, mmk_pfn pfn)
{
	const struct mmk_frame *frame = mmk_frame_table_lookup(table, pfn);
	uint64_t i = (pfn >> MMK_SECTION_ORDER) - table->first_section;

	if (frame == NULL)
		return 0;
	if ((table->sections[i].end_granule & MMK_SECTION_LAZY) != 0)
		return table->zones[i];
	return table->granules[mmk_frame_table_index(table, frame) >>
	                       MMK_GRANULE_ORDER].zone;
}
#endif

/* Its records are written. pre: it is asleep. locks: its zone's. */
MMK_API void mmk_frame_table_wake(const struct mmk_frame_table *table,
    uint64_t i);

MMK_END_DECLS
#endif /* MMKIT_PHYS_TABLE_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_PHYS_TABLE_IMPL)
#define MMKIT_PHYS_TABLE_IMPL

/* The end of the run of bytes that starts at start_pa, whatever the order. */
MMK_PRIVATE mmk_pa
mmk__span_run_end(const struct mmk_phys_span *spans, size_t nr_spans,
    mmk_pa start_pa)
{
	mmk_pa end_pa = start_pa;
	bool grown = true;

	while (grown) {
		grown = false;
		for (size_t i = 0; i < nr_spans; i++) {
			if (spans[i].start_pa > end_pa ||
			    spans[i].end_pa <= end_pa)
				continue;
			end_pa = spans[i].end_pa;
			grown = true;
		}
	}
	return end_pa;
}

/*
 * The lowest start of a span, or of what is left of one, at or above from_pa;
 * false: none. Of an empty or reversed span nothing follows it.
 */
MMK_PRIVATE bool
mmk__span_lowest(const struct mmk_phys_span *spans, size_t nr_spans,
    mmk_pa from_pa, mmk_pa *start_out)
{
	bool found = false;

	for (size_t i = 0; i < nr_spans; i++) {
		mmk_pa start_pa = spans[i].start_pa;

		if (spans[i].end_pa <= from_pa)
			continue;
		if (start_pa < from_pa)
			start_pa = from_pa;
		if (found && start_pa >= *start_out)
			continue;
		*start_out = start_pa;
		found = true;
	}
	return found;
}

MMK_API bool
mmk_phys_span_next(const struct mmk_phys_span *spans, size_t nr_spans,
    mmk_pa from_pa, struct mmk_phys_span *run_out)
{
	mmk_pa start_pa = 0, end_pa;

	while (mmk__span_lowest(spans, nr_spans, from_pa, &start_pa)) {
		end_pa = mmk__span_run_end(spans, nr_spans, start_pa);
		from_pa = end_pa;
		/* In pages, so that rounding up at the top cannot wrap. */
		if (mmk_pages_round_up(start_pa) >= mmk_pages_of_bytes(end_pa))
			continue;
		run_out->start_pa =
		    mmk_bytes_of_pages(mmk_pages_round_up(start_pa));
		run_out->end_pa = mmk_page_floor(end_pa);
		return true;
	}
	return false;
}

/*
 * Cut what is reserved off the run, up to the first page that is not; false:
 * nothing is left. All in pages, so that rounding up at the top cannot wrap.
 */
MMK_PRIVATE bool
mmk__map_cut(const struct mmk_phys_map *map, struct mmk_phys_span *run)
{
	mmk_pfn first_pfn = mmk_pfn_of_pa(run->start_pa);
	mmk_pfn end_pfn = mmk_pfn_of_pa(run->end_pa);
	bool moved = true;

	while (moved) {
		moved = false;
		for (size_t i = 0; i < map->nr_reserved; i++) {
			const struct mmk_phys_span *r = &map->reserved[i];
			mmk_pfn r_end = mmk_pages_round_up(r->end_pa);

			if (r->start_pa >= r->end_pa || r_end <= first_pfn ||
			    mmk_pfn_of_pa(r->start_pa) > first_pfn)
				continue;
			first_pfn = r_end;
			moved = true;
		}
	}
	for (size_t i = 0; i < map->nr_reserved; i++) {
		const struct mmk_phys_span *r = &map->reserved[i];

		if (r->start_pa < r->end_pa &&
		    mmk_pfn_of_pa(r->start_pa) > first_pfn &&
		    mmk_pfn_of_pa(r->start_pa) < end_pfn)
			end_pfn = mmk_pfn_of_pa(r->start_pa);
	}
	if (first_pfn >= end_pfn)
		return false;
	run->start_pa = mmk_pa_of_pfn(first_pfn);
	run->end_pa = mmk_pa_of_pfn(end_pfn);
	return true;
}

MMK_API bool
mmk_phys_map_next(const struct mmk_phys_map *map, mmk_pa from_pa,
    struct mmk_phys_span *run_out)
{
	struct mmk_phys_span run;

	while (mmk_phys_span_next(map->spans, map->nr_spans, from_pa, &run)) {
		from_pa = run.end_pa;
		if (!mmk__map_cut(map, &run))
			continue;
		*run_out = run;
		return true;
	}
	return false;
}

/* ---- nodes --------------------------------------------------------------- */

#if MMKIT_NODE_MAX > 1
/* The node of a granule's RAM: that of the lowest span that has any of it. */
MMK_PRIVATE unsigned
mmk__map_node_at(const struct mmk_phys_map *map, mmk_pfn granule_pfn)
{
	mmk_pa start_pa = mmk_pa_of_pfn(granule_pfn), lowest_pa = ~(mmk_pa)0;
	mmk_pa last_pa = mmk_pa_of_pfn(granule_pfn + MMK_GRANULE_PAGES) - 1;
	unsigned node = 0;

	for (size_t i = 0; i < map->nr_spans; i++) {
		const struct mmk_phys_span *span = &map->spans[i];

		if (span->start_pa >= span->end_pa ||
		    span->start_pa > last_pa || span->end_pa <= start_pa ||
		    span->start_pa >= lowest_pa)
			continue;
		lowest_pa = span->start_pa;
		node = span->node;
	}
	return node;
}

/* The lowest granule after this one where a span may begin or be over. */
MMK_PRIVATE mmk_pfn
mmk__map_next_edge(const struct mmk_phys_map *map, mmk_pfn granule_pfn,
    mmk_pfn end_pfn)
{
	for (size_t i = 0; i < 2 * map->nr_spans; i++) {
		const struct mmk_phys_span *span = &map->spans[i / 2];
		mmk_pfn pfn = mmk_round_down(mmk_pfn_of_pa(
		    i % 2 == 0 ? span->start_pa : span->end_pa),
		    MMK_GRANULE_PAGES);

		/* Amid this granule: it decides about the next one. */
		if (pfn == granule_pfn)
			pfn += MMK_GRANULE_PAGES;
		if (pfn > granule_pfn && pfn < end_pfn)
			end_pfn = pfn;
	}
	return end_pfn;
}
#endif

MMK_API mmk_pfn
mmk_phys_map_node(const struct mmk_phys_map *map, mmk_pfn first_pfn,
    mmk_pfn end_pfn, unsigned *node_out)
{
#if MMKIT_NODE_MAX > 1
	mmk_pfn pfn = mmk_round_down(first_pfn, MMK_GRANULE_PAGES);
	unsigned node = mmk__map_node_at(map, pfn);

	do
		pfn = mmk__map_next_edge(map, pfn, end_pfn);
	while (pfn < end_pfn && mmk__map_node_at(map, pfn) == node);
	*node_out = node;
	return mmk_min(pfn, end_pfn);
#else
	(void)map;
	(void)first_pfn;
	*node_out = 0;
	return end_pfn;
#endif
}

/* ---- building ------------------------------------------------------------ */

/* State of one pass over the runs: the first counts, the second fills in. */
struct mmk__table_pass {
	struct mmk_frame_table *table; /* NULL: only count */
	mmk_pfn first_pfn;             /* of the run in work */
	mmk_pfn end_pfn;
	bool is_lazy;                  /* sections full of RAM stay asleep */
	uint64_t nr_granules;          /* so far */
	uint64_t section;              /* of the last piece */
	unsigned end_granule;          /* of the last piece; 0: none yet */
};

MMK_INLINE void
mmk__granule_begin(struct mmk_granule *granule, mmk_pfn pfn)
{
	MMKIT_ATOMIC_STORE(&granule->first_pfn, pfn);
	MMKIT_ATOMIC_STORE(&granule->list, (uint8_t)MMK_GRANULE_UNLISTED);
	MMKIT_ATOMIC_STORE(&granule->is_awake, (uint8_t)1);
}

/* Pages outside the run in work are holes, until another run has them. */
MMK_PRIVATE void
mmk__table_fill_granule(const struct mmk__table_pass *pass, uint64_t index,
    mmk_pfn pfn)
{
	struct mmk_granule *granule = &pass->table->granules[index];
	struct mmk_frame *frames =
	    &pass->table->frames[index << MMK_GRANULE_ORDER];

	mmk__granule_begin(granule, pfn);
	if (pfn >= pass->first_pfn &&
	    pfn + MMK_GRANULE_PAGES <= pass->end_pfn)
		return;
	for (uint64_t i = 0; i < MMK_GRANULE_PAGES; i++)
		if (pfn + i < pass->first_pfn || pfn + i >= pass->end_pfn)
			frames[i].flags = MMK_FRAME_HOLE;
}

/* The first granule of the run in work may be the last one's of another. */
MMK_PRIVATE void
mmk__table_join(const struct mmk__table_pass *pass)
{
	mmk_pfn pfn = pass->first_pfn;

	do
		mmk_frame_table_lookup(pass->table, pfn)->flags = 0;
	while (++pfn < pass->end_pfn && (pfn & (MMK_GRANULE_PAGES - 1)) != 0);
}

MMK_PRIVATE void
mmk__table_fill(const struct mmk__table_pass *pass, uint64_t section,
    unsigned first, unsigned end)
{
	struct mmk_frame_table *table = pass->table;
	struct mmk_section *s =
	    &table->sections[section - table->first_section];

	if (s->end_granule == 0) {
		s->base = (uint32_t)((pass->nr_granules - first) <<
		    MMK_GRANULE_ORDER);
		s->first_granule = (uint16_t)first;
	}
	s->end_granule = (uint16_t)end;
	if (pass->is_lazy && first == 0 &&
	    pass->first_pfn <= section << MMK_SECTION_ORDER &&
	    pass->end_pfn >= (section + 1) << MMK_SECTION_ORDER) {
		s->end_granule |= MMK_SECTION_LAZY;
		return;
	}
	for (unsigned g = first; g < end; g++)
		mmk__table_fill_granule(pass, pass->nr_granules + (g - first),
		    (section << MMK_SECTION_ORDER) +
		        ((uint64_t)g << MMK_GRANULE_ORDER));
}

/* Granules [first, end) of `section` hold RAM; so may a hole before them. */
MMK_PRIVATE void
mmk__table_piece(struct mmk__table_pass *pass, uint64_t section,
    unsigned first, unsigned end)
{
	if (pass->end_granule != 0 && pass->section == section)
		first = pass->end_granule;
	if (pass->table != NULL)
		mmk__table_fill(pass, section, first, end);
	pass->nr_granules += end - first;
	pass->section = section;
	pass->end_granule = end;
}

/*
 * Sections full of RAM, counted at once: a wild span, up to the end of all
 * addresses, must not take for ever to be refused. Returns the page after them.
 */
MMK_PRIVATE mmk_pfn
mmk__table_count_full(struct mmk__table_pass *pass, mmk_pfn first_pfn,
    mmk_pfn end_pfn)
{
	uint64_t nr_sections = (end_pfn - first_pfn) >> MMK_SECTION_ORDER;

	if (pass->table != NULL || nr_sections == 0 ||
	    (first_pfn & (MMK_SECTION_PAGES - 1)) != 0)
		return first_pfn;
	pass->section = (first_pfn >> MMK_SECTION_ORDER) + nr_sections - 1;
	pass->end_granule = (unsigned)(MMK_SECTION_PAGES / MMK_GRANULE_PAGES);
	pass->nr_granules += nr_sections * pass->end_granule;
	return first_pfn + (nr_sections << MMK_SECTION_ORDER);
}

MMK_PRIVATE void
mmk__table_run(struct mmk__table_pass *pass, mmk_pfn first_pfn, mmk_pfn end_pfn)
{
	uint64_t section;
	mmk_pfn start, stop;

	pass->first_pfn = first_pfn;
	pass->end_pfn = end_pfn;
	for (;;) {
		first_pfn = mmk__table_count_full(pass, first_pfn, end_pfn);
		if (first_pfn >= end_pfn)
			break;
		section = first_pfn >> MMK_SECTION_ORDER;
		start = section << MMK_SECTION_ORDER;
		stop = start + MMK_SECTION_PAGES;

		if (stop > end_pfn)
			stop = end_pfn;
		mmk__table_piece(pass, section,
		    (unsigned)((first_pfn - start) >> MMK_GRANULE_ORDER),
		    (unsigned)((stop - start + MMK_GRANULE_PAGES - 1) >>
		        MMK_GRANULE_ORDER));
		first_pfn = stop;
	}
	if (pass->table != NULL)
		mmk__table_join(pass);
}

MMK_API void
mmk_frame_table_plan(const struct mmk_phys_map *map,
    struct mmk_frame_plan *plan_out)
{
	struct mmk__table_pass pass = { NULL, 0, 0, false, 0, 0, 0 };
	struct mmk_phys_span run = { .start_pa = 0 };

	MMKIT_MEMSET(plan_out, 0, sizeof(*plan_out));
	while (mmk_phys_map_next(map, run.end_pa, &run)) {
		mmk_pfn first_pfn = mmk_pfn_of_pa(run.start_pa);
		mmk_pfn end_pfn = mmk_pfn_of_pa(run.end_pa);

		if (plan_out->nr_pages == 0) {
			plan_out->first_pfn = first_pfn;
			plan_out->first_section =
			    first_pfn >> MMK_SECTION_ORDER;
		}
		mmk__table_run(&pass, first_pfn, end_pfn);
		plan_out->nr_pages += end_pfn - first_pfn;
		plan_out->end_pfn = end_pfn;
	}
	if (plan_out->nr_pages == 0)
		return;
	plan_out->nr_sections = pass.section - plan_out->first_section + 1;
	plan_out->nr_granules = pass.nr_granules;
	plan_out->bytes = plan_out->nr_granules *
	        (MMK_GRANULE_PAGES * sizeof(struct mmk_frame) +
	            sizeof(struct mmk_granule)) +
	    plan_out->nr_sections * sizeof(struct mmk_section);
	if (MMKIT_NODE_MAX > 1)
		plan_out->bytes += plan_out->nr_sections;
}

/* The index of its first descriptor. */
MMK_INLINE uint32_t
mmk__section_index(const struct mmk_section *section)
{
	return section->base +
	    ((uint32_t)section->first_granule << MMK_GRANULE_ORDER);
}

/* Sections without RAM begin where the next one with RAM does: all ascend. */
MMK_PRIVATE void
mmk__table_seal(struct mmk_frame_table *table)
{
	for (uint64_t i = table->nr_sections; i-- > 1;)
		if (table->sections[i - 1].end_granule == 0)
			table->sections[i - 1].base =
			    mmk__section_index(&table->sections[i]);
}

MMK_API void
mmk_frame_table_build(struct mmk_frame_table *table,
    const struct mmk_frame_plan *plan, const struct mmk_phys_map *map,
    void *meta, bool is_zero)
{
	struct mmk__table_pass pass = { table, 0, 0, is_zero, 0, 0, 0 };
	struct mmk_phys_span run = { .start_pa = 0 };
	uint64_t nr_frames = plan->nr_granules << MMK_GRANULE_ORDER;

	MMK_ASSERT(nr_frames < UINT32_MAX);
	MMK_ASSERT(((uintptr_t)meta & (sizeof(uint64_t) - 1)) == 0);
	if (!is_zero)
		(void)MMKIT_MEMSET(meta, 0, (size_t)plan->bytes);
	table->frames = (struct mmk_frame *)meta;
	table->granules =
	    (struct mmk_granule *)(void *)(table->frames + nr_frames);
	table->sections =
	    (struct mmk_section *)(void *)(table->granules + plan->nr_granules);
#if MMKIT_NODE_MAX > 1
	table->zones = (uint8_t *)(void *)(table->sections + plan->nr_sections);
#endif
	table->first_section = plan->first_section;
	table->nr_sections = plan->nr_sections;
	table->nr_frames = (uint32_t)nr_frames;
	while (mmk_phys_map_next(map, run.end_pa, &run))
		mmk__table_run(&pass, mmk_pfn_of_pa(run.start_pa),
		    mmk_pfn_of_pa(run.end_pa));
	MMK_ASSERT(pass.nr_granules == plan->nr_granules);
	mmk__table_seal(table);
}

MMK_API mmk_pfn
mmk_frame_table_search(const struct mmk_frame_table *table, uint32_t index)
{
	uint64_t low = 0, high = table->nr_sections;

	/* The last section that begins at or before it: see mmk__table_seal. */
	while (high - low > 1) {
		uint64_t i = low + (high - low) / 2;

		if (mmk__section_index(&table->sections[i]) <= index)
			low = i;
		else
			high = i;
	}
	/* Modulo 2^32: base may be below 0. */
	return ((table->first_section + low) << MMK_SECTION_ORDER) +
	    (uint32_t)(index - table->sections[low].base);
}

MMK_API void
mmk_frame_table_wake(const struct mmk_frame_table *table, uint64_t i)
{
	mmk_pfn pfn = (table->first_section + i) << MMK_SECTION_ORDER;
	struct mmk_granule *granule =
	    &table->granules[table->sections[i].base >> MMK_GRANULE_ORDER];

	MMK_ASSERT(mmk_frame_table_is_asleep(table, i));
	for (uint64_t g = 0; g < MMK_SECTION_GRANULES; g++)
		mmk__granule_begin(&granule[g],
		    pfn + (g << MMK_GRANULE_ORDER));
}
#endif /* MMKIT_IMPLEMENTATION */
