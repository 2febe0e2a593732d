/* SPDX-License-Identifier: MIT
 *
 * mmkit/phys/frame.h: physical frames: allocate, count, find, give back
 *
 * WHAT    A frame is 2^order pages of RAM, contiguous, aligned to their size,
 *         known by the descriptor of its first page. Three counts are kept
 *         apart: refs (owners), mapped (tracked translations), pins (somebody
 *         relies on its address and contents); a fourth, loans, is reserved.
 *         The last unref frees it, unless it is retained: then its owner is
 *         told, and frees it.
 *
 *         Every physical address has an answer: inside RAM the head of the
 *         frame it belongs to; elsewhere it is foreign, NULL.
 *
 * LAYER   phys. Includes store.h. Knows no translations; never reclaims.
 * LOCKS   none of its own held across a call; takes those of store.h. The
 *         callback runs without locks. Nothing waits.
 * COST    alloc, free: that of store.h; an allocation about to fail empties
 *         every CPU's cache first. Zeroing: the pages. All else O(1).
 * SOURCE  own
 *
 * I1      a page of RAM lies in exactly one block: free, cached or held
 * I2      a held frame that is not retained has refs > 0
 *                                                all tested by: mmk_phys_check
 */
#ifndef MMKIT_PHYS_FRAME_H
#define MMKIT_PHYS_FRAME_H

#include "store.h"
#include "verify.h"

MMK_BEGIN_DECLS

/* Flags of mmk_frame_alloc. */
#define MMK_ALLOC_ZERO 1u         /* contents are zero; else undefined */
#define MMK_ALLOC_RETAINED 2u     /* not freed at refs 0: its owner is told */
#define MMK_ALLOC_UNREFERENCED 4u /* refs start at 0 (needs RETAINED) */
#define MMK_ALLOC_LOW 8u          /* only below config.low_limit_pa */
#define MMK_ALLOC_DMA 16u         /* only below config.dma_limit_pa */
#define MMK_ALLOC_RESERVE 32u     /* may use config.reserve_pages */
#define MMK_ALLOC_MOVABLE 64u     /* its use may have a mover: move.h */
#define MMK_ALLOC_EXACT 128u      /* from that node or not at all */
/* From node n if it has any, else from the nearest to it; without this, the
 * node of the CPU. n < MMKIT_NODE_MAX. */
#define MMK_ALLOC_NODE(n) (((unsigned)(n) + 1u) << MMK_ALLOC_NODE_SHIFT)
#define MMK_ALLOC_NODE_SHIFT 8u
/* The largest number that is a combination of these. */
#define MMK_ALLOC_FLAGS (MMKIT_NODE_MAX << MMK_ALLOC_NODE_SHIFT | 255u)
/* Those that ask for a place. */
#define MMK_ALLOC_PLACES \
	(MMK_ALLOC_LOW | MMK_ALLOC_DMA | MMK_ALLOC_EXACT | \
	    ~0u << MMK_ALLOC_NODE_SHIFT)

struct mmk_mover; /* move.h */

struct mmk_phys_config {
	const struct mmk_phys_span *spans; /* RAM, in any order; overlaps and
	                                    * holes are fine */
	size_t nr_spans;
	const struct mmk_phys_span *reserved; /* not RAM, whatever the spans
	                                       * say: firmware, kernel, modules */
	size_t nr_reserved;
	void *meta; /* mmk_phys_meta_bytes() bytes aligned to 8, outside the
	             * spans; NULL: taken from RAM itself */
	size_t meta_bytes;
	/* meta reads as zeros: it is not written where it describes RAM that
	 * was never needed, and need not be there until then */
	bool meta_is_zero;
	mmk_pa low_limit_pa; /* 0: all of RAM is NORMAL. Both limits are
	                      * rounded down to 64 pages */
	mmk_pa dma_limit_pa; /* not above low_limit_pa; 0: there is no such RAM */
	/* How far node b is from a: [a * MMKIT_NODE_MAX + b]; NULL: as far as
	 * their numbers are apart */
	const uint8_t *node_distance;
	uint64_t reserve_pages; /* free pages that only requests with
	                         * MMK_ALLOC_RESERVE may have */
	/* Called without locks when an allocation leaves less than
	 * low_water_pages in the zones, and then not again until one has left
	 * more; NULL: nobody is told. It may allocate and free. */
	uint64_t low_water_pages;
	void (*low_water)(void *ctx, uint64_t nr_free_pages);
	/* A retained frame's refs fell to 0; NULL: nobody is told. It is called
	 * without locks and may free the frame. */
	void (*retained_idle)(void *ctx, struct mmk_frame *frame);
	void *ctx;
};

/* [I] immutable after init */
struct mmk_phys {
	struct mmk_frame_table table; /* [I] */
	uint64_t nr_pages;            /* [I] of RAM, metadata included */
	uint64_t meta_bytes;          /* [I] */
	void (*retained_idle)(void *ctx, struct mmk_frame *frame); /* [I] */
	void (*low_water)(void *ctx, uint64_t nr_free_pages);      /* [I] */
	void *ctx;                                                 /* [I] */
	uint64_t low_water_pages;                                  /* [I] */
	uint32_t is_low; /* [a] low_water was called, and it is still true */
	const struct mmk_mover *movers[MMK_USE_MAX]; /* [a] NULL: none */
	struct mmk_store store;
};

/*
 * mmk_phys_meta_bytes: what mmk_phys_init needs for these spans; 0 if they
 * hold no whole page.
 */
MMK_API uint64_t mmk_phys_meta_bytes(const struct mmk_phys_span *spans,
    size_t nr_spans);

/* The same for all that config says of the memory map, reserved spans too. */
MMK_API uint64_t mmk_phys_config_meta_bytes(
    const struct mmk_phys_config *config);

/*
 * mmk_phys_init: take over the RAM of config->spans.
 *
 * pre      nobody uses the RAM; config->meta, if any, lies outside the spans.
 *          What config points to is not needed afterwards, but meta is.
 * errors   MMK_ERR_INVAL: no whole page of RAM, meta not aligned to 8, or
 *          dma_limit_pa above low_limit_pa, or meta_is_zero without meta.
 *          MMK_ERR_NOMEM: meta_bytes too small, or no run of RAM can hold the
 *          metadata. MMK_ERR_LIMIT: 2^32 descriptors or more. `phys` is then
 *          undefined and nothing else changed.
 * cost     O(spans^2 + pages); with meta_is_zero O(spans^2 + sections).
 */
#define MMK__PHYS_PASTE(name, order, nodes) name##_o##order##_n##nodes
#define MMK__PHYS_STAMP(name, order, nodes) MMK__PHYS_PASTE(name, order, nodes)
#define mmk_phys_init \
	MMK__PHYS_STAMP(MMK_STAMP(mmk_phys_init), MMKIT_MAX_ORDER, \
	    MMKIT_NODE_MAX)
MMK_API MMK_NODISCARD enum mmk_err mmk_phys_init(struct mmk_phys *phys,
    const struct mmk_phys_config *config);

/*
 * mmk_phys_fini: hand the RAM back to whoever called init. Frames still held
 * are forgotten: ask mmk_phys_stats_read first. pre: nobody else is in here.
 */
MMK_API void mmk_phys_fini(struct mmk_phys *phys);

/*
 * mmk_frame_alloc: 2^order pages, contiguous and aligned to their size.
 *
 * Nodes are tried nearest first; in each, lower zones are used only when the
 * ones above have nothing. The reserve is in
 * the zones: what the CPUs keep of it after it was freed, up to
 * MMK_CACHE_PAGES_MAX pages each, is for anybody.
 * pre      no lock of rank MMK_RANK_CPU_CACHE or above is held.
 * out      *frame_out with refs 1, or 0 if UNREFERENCED; all other counts,
 *          links and owner fields 0. Untouched on error.
 * errors   MMK_ERR_NOMEM: nothing changed, but that all caches are empty.
 *          MMK_ERR_INVAL: order, unknown flag, UNREFERENCED without RETAINED,
 *          or a use that cannot be asked for (FREE, META).
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_frame_alloc(struct mmk_phys *phys,
    unsigned order, unsigned flags, enum mmk_use use,
    struct mmk_frame **frame_out);

/*
 * One more owner. pre: the frame is held, by the caller unless it is retained
 * and idle.
 */
MMK_API void mmk_frame_ref(struct mmk_phys *phys, struct mmk_frame *frame);

/*
 * mmk_frame_unref_zero: the same, of a frame that is all zero, and that nobody
 * writes to any more. A single page is remembered as such, and the next
 * MMK_ALLOC_ZERO of this CPU need not clear one. With MMKIT_PHYS_VERIFY nothing
 * is remembered: free pages are filled with something else.
 */
MMK_API uint32_t mmk_frame_unref_zero(struct mmk_phys *phys,
    struct mmk_frame *frame);

/*
 * mmk_frame_zero_some: clear up to nr_pages free pages for this CPU, while it
 * has nothing better to do. How many; 0: it has as many as it keeps, or there is
 * no memory. locks: as mmk_frame_alloc.
 */
MMK_API uint64_t mmk_frame_zero_some(struct mmk_phys *phys,
    uint64_t nr_pages);

/*
 * mmk_frame_unref: one owner less; the new count. At 0 the frame is freed, or,
 * retained, its owner is told: the caller may not touch it any more.
 *
 * pre      the caller has a reference. If it is the last of a frame that is not
 *          retained: mapped, pins and loans are 0.
 */
MMK_API uint32_t mmk_frame_unref(struct mmk_phys *phys,
    struct mmk_frame *frame);

/*
 * mmk_frame_free_retained: free a retained frame.
 *
 * pre      nobody can gain a reference meanwhile: that is its owner's business.
 * errors   MMK_ERR_BUSY: refs, mapped, pins or loans not 0; nothing changed.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_frame_free_retained(
    struct mmk_phys *phys, struct mmk_frame *frame);

/*
 * Pin: the frame keeps its address and its contents' place until unpinned.
 * Pins nest. A pin is no reference: the caller has one of those too.
 * errors   MMK_ERR_LIMIT: pinned 65535 times; nothing changed.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_frame_pin(struct mmk_phys *phys,
    struct mmk_frame *frame);
MMK_API void mmk_frame_unpin(struct mmk_phys *phys, struct mmk_frame *frame);

/*
 * Account a held frame under another use. pre: neither is FREE or META; the
 * frame is not movable.
 */
MMK_API void mmk_frame_set_use(struct mmk_phys *phys, struct mmk_frame *frame,
    enum mmk_use use);

/*
 * mmk_frame_of_pa: the head of the frame that contains `pa`; NULL: foreign, not
 * RAM that we manage. A free page answers for itself; ask mmk_frame_is_held.
 * The answer lasts as long as somebody holds the frame. O(1).
 */
MMK_API struct mmk_frame *mmk_frame_of_pa(const struct mmk_phys *phys,
    mmk_pa pa);

/* The first address of the frame; the inverse of mmk_frame_of_pa. O(1). */
MMK_API mmk_pa mmk_frame_pa(const struct mmk_phys *phys,
    const struct mmk_frame *frame);

/*
 * By address: as above for RAM, no effect on foreign addresses; true: it was
 * ours.
 */
MMK_API bool mmk_pa_ref(struct mmk_phys *phys, mmk_pa pa);
MMK_API bool mmk_pa_unref(struct mmk_phys *phys, mmk_pa pa);

/* Descriptor <-> small index, below 2^32 - 1, for 32-bit links. */
MMK_API uint32_t mmk_frame_index(const struct mmk_phys *phys,
    const struct mmk_frame *frame);
MMK_API struct mmk_frame *mmk_frame_at(const struct mmk_phys *phys,
    uint32_t index);

/* False while the frame is free. Of a page amid a frame, ask its head. */
static inline bool
mmk_frame_is_held(const struct mmk_frame *frame)
{
	unsigned flags = MMKIT_ATOMIC_LOAD(&frame->flags);

	return (flags & MMK_FRAME_HEAD) != 0;
}

static inline uint64_t
mmk_frame_nr_pages(const struct mmk_frame *frame)
{
	return (uint64_t)1 << frame->order;
}

/* A pointer to its first byte, in the direct map. */
static inline void *
mmk_frame_ptr(const struct mmk_phys *phys, const struct mmk_frame *frame)
{
	return MMKIT_PHYS_TO_PTR(mmk_frame_pa(phys, frame));
}

/* Give what the CPUs' caches hold back to the zones, where it can merge. */
MMK_API void mmk_phys_drain(struct mmk_phys *phys);

MMK_END_DECLS
#endif /* MMKIT_PHYS_FRAME_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_PHYS_FRAME_IMPL)
#define MMKIT_PHYS_FRAME_IMPL

/* ---- start and end ------------------------------------------------------- */

MMK_API uint64_t
mmk_phys_meta_bytes(const struct mmk_phys_span *spans, size_t nr_spans)
{
	struct mmk_phys_map map = { spans, nr_spans, NULL, 0 };
	struct mmk_frame_plan plan;

	mmk_frame_table_plan(&map, &plan);
	return plan.bytes;
}

MMK_PRIVATE struct mmk_phys_map
mmk__phys_map(const struct mmk_phys_config *config)
{
	struct mmk_phys_map map = { config->spans, config->nr_spans,
		config->reserved, config->nr_reserved };

	return map;
}

MMK_API uint64_t
mmk_phys_config_meta_bytes(const struct mmk_phys_config *config)
{
	struct mmk_phys_map map = mmk__phys_map(config);
	struct mmk_frame_plan plan;

	mmk_frame_table_plan(&map, &plan);
	return plan.bytes;
}

/*
 * Pages for the metadata: the top of the highest run that can hold them, so
 * that low memory, which is scarce, is left alone.
 */
MMK_PRIVATE bool
mmk__phys_carve(const struct mmk_phys_map *map, uint64_t bytes,
    struct mmk_phys_span *meta_out)
{
	struct mmk_phys_span run = { .start_pa = 0 };
	uint64_t nr_pages = mmk_pages_round_up(bytes);
	bool found = false;

	while (mmk_phys_map_next(map, run.end_pa, &run)) {
		if (mmk_pages_of_bytes(run.end_pa - run.start_pa) < nr_pages)
			continue;
		meta_out->start_pa = run.end_pa - mmk_bytes_of_pages(nr_pages);
		meta_out->end_pa = run.end_pa;
		found = true;
	}
	return found;
}

/* A run of RAM is free but for the metadata, if that was carved from it. */
MMK_PRIVATE void
mmk__phys_add_run(struct mmk_phys *phys, const struct mmk_phys_map *map,
    const struct mmk_phys_span *run, const struct mmk_phys_span *meta)
{
	mmk_pfn pfn = mmk_pfn_of_pa(run->start_pa), next_pfn;
	mmk_pfn end_pfn = mmk_pfn_of_pa(run->end_pa);
	unsigned node;

	if (meta->end_pa == run->end_pa)
		end_pfn = mmk_pfn_of_pa(meta->start_pa);
	for (; pfn < end_pfn; pfn = next_pfn) {
		next_pfn = mmk_phys_map_node(map, pfn, end_pfn, &node);
		mmk_store_add_run(&phys->store, pfn, next_pfn, node);
	}
	for (; end_pfn < mmk_pfn_of_pa(run->end_pa); end_pfn++) {
		struct mmk_frame *frame =
		    mmk_frame_table_lookup(&phys->table, end_pfn);

		frame->refs = 1;
		frame->pins = 1; /* for ever: unref may rely on it */
		frame->use = MMK_USE_META;
		frame->flags = MMK_FRAME_HEAD;
		mmk_store_account(&phys->store, MMK_USE_META, 1);
	}
}

MMK_API enum mmk_err
mmk_phys_init(struct mmk_phys *phys, const struct mmk_phys_config *config)
{
	struct mmk_phys_span meta = { .start_pa = 0 }, run = meta;
	struct mmk_phys_map map = mmk__phys_map(config);
	struct mmk_frame_plan plan;
	void *memory = config->meta;

	MMK_ASSERT(MMKIT_CPU_COUNT() <= MMKIT_CPU_MAX);
	mmk_frame_table_plan(&map, &plan);
	if (plan.nr_pages == 0 || (uintptr_t)memory % sizeof(uint64_t) != 0 ||
	    (memory == NULL && config->meta_is_zero) ||
	    config->dma_limit_pa > config->low_limit_pa)
		return MMK_ERR_INVAL;
	if (plan.nr_granules >= UINT32_MAX >> MMK_GRANULE_ORDER)
		return MMK_ERR_LIMIT;
	if (memory == NULL) {
		if (!mmk__phys_carve(&map, plan.bytes, &meta))
			return MMK_ERR_NOMEM;
		memory = MMKIT_PHYS_TO_PTR(meta.start_pa);
	} else if (config->meta_bytes < plan.bytes) {
		return MMK_ERR_NOMEM;
	}
	(void)MMKIT_MEMSET(phys, 0, sizeof(*phys));
	phys->nr_pages = plan.nr_pages;
	phys->meta_bytes = plan.bytes;
	phys->retained_idle = config->retained_idle;
	phys->low_water = config->low_water;
	phys->low_water_pages = config->low_water_pages;
	phys->ctx = config->ctx;
	mmk_frame_table_build(&phys->table, &plan, &map, memory,
	    config->meta_is_zero);
	mmk_store_init(&phys->store, &phys->table, &plan,
	    mmk_pfn_of_pa(config->dma_limit_pa),
	    mmk_pfn_of_pa(config->low_limit_pa));
	mmk_store_set_distance(&phys->store, config->node_distance);
	phys->store.reserve_pages = config->reserve_pages;
	while (mmk_phys_map_next(&map, run.end_pa, &run))
		mmk__phys_add_run(phys, &map, &run, &meta);
	mmk_store_open(&phys->store);
	return MMK_OK;
}

MMK_API void
mmk_phys_fini(struct mmk_phys *phys)
{
	for (uint32_t i = 0; i < phys->table.nr_frames; i++) {
		struct mmk_frame *frame = &phys->table.frames[i];

		if (phys->table.granules[i >> MMK_GRANULE_ORDER].is_awake ==
		    0) {
			i |= (uint32_t)(MMK_GRANULE_PAGES - 1);
			continue;
		}
		if ((frame->flags & (MMK_FRAME_HEAD | MMK_FRAME_HOLE)) == 0)
			MMKIT_UNPOISON(mmk_frame_ptr(phys, frame),
			    (size_t)MMK_PAGE_BYTES);
	}
	(void)MMKIT_MEMSET(phys, 0, sizeof(*phys));
}

/* ---- finding ------------------------------------------------------------- */

/*
 * The head of the block that `page`, the descriptor of pfn and no head itself,
 * is in; or page, if it is free.
 *
 * The head is at pfn rounded down to the block's size. The pages in between are
 * tails, so the first head met is the right one, or pfn is free. Tails carry no
 * order: allocating and freeing a large frame then writes one descriptor, not
 * all of them.
 */
MMK_PRIVATE struct mmk_frame *
mmk__frame_head(const struct mmk_phys *phys, struct mmk_frame *page,
    mmk_pfn pfn)
{
	for (unsigned order = 1; order <= MMK_MAX_ORDER; order++) {
		struct mmk_frame *frame = mmk_frame_table_lookup(&phys->table,
		    mmk_round_down(pfn, (uint64_t)1 << order));

		if (frame == NULL)
			break;
		if ((MMKIT_ATOMIC_LOAD(&frame->flags) & MMK_FRAME_HEAD) == 0)
			continue;
		return MMKIT_ATOMIC_LOAD(&frame->order) >= order ? frame : page;
	}
	return page;
}

MMK_API struct mmk_frame *
mmk_frame_of_pa(const struct mmk_phys *phys, mmk_pa pa)
{
	mmk_pfn pfn = mmk_pfn_of_pa(pa);
	struct mmk_frame *page = mmk_frame_table_lookup(&phys->table, pfn);
	unsigned flags;

	if (page == NULL)
		return NULL;
	flags = MMKIT_ATOMIC_LOAD(&page->flags);
	if ((flags & MMK_FRAME_HOLE) != 0)
		return NULL;
	if (MMK_LIKELY((flags & MMK_FRAME_HEAD) != 0))
		return page;
	return mmk__frame_head(phys, page, pfn);
}

MMK_API mmk_pa
mmk_frame_pa(const struct mmk_phys *phys, const struct mmk_frame *frame)
{
	return mmk_pa_of_pfn(mmk_frame_table_pfn(&phys->table, frame));
}

MMK_API uint32_t
mmk_frame_index(const struct mmk_phys *phys, const struct mmk_frame *frame)
{
	return mmk_frame_table_index(&phys->table, frame);
}

MMK_API struct mmk_frame *
mmk_frame_at(const struct mmk_phys *phys, uint32_t index)
{
	MMK_ASSERT(index < phys->table.nr_frames);
	return &phys->table.frames[index];
}

/* ---- allocate and free --------------------------------------------------- */

/*
 * The flags are written last, and once: whoever finds the frame held, or
 * movable, finds all that is written before as well.
 */
MMK_INLINE void
mmk__frame_begin(struct mmk_frame *frame, unsigned order, unsigned flags,
    enum mmk_use use)
{
	unsigned state = MMK_FRAME_HEAD;

	if ((flags & MMK_ALLOC_RETAINED) != 0)
		state |= MMK_FRAME_RETAINED;
	if ((flags & MMK_ALLOC_MOVABLE) != 0)
		state |= MMK_FRAME_MOVABLE;
	frame->owner = NULL;
	frame->translations = NULL;
	frame->mapped = 0;
	MMKIT_ATOMIC_STORE(&frame->refs,
	    (flags & MMK_ALLOC_UNREFERENCED) != 0 ? 0u : 1u);
	MMKIT_ATOMIC_STORE(&frame->pins, (uint16_t)0);
	MMKIT_ATOMIC_STORE(&frame->loans, (uint16_t)0);
	MMKIT_ATOMIC_STORE(&frame->order, (uint8_t)order);
	frame->use = (uint8_t)use;
	MMKIT_ATOMIC_STORE(&frame->flags, (uint16_t)state);
}

MMK_PRIVATE void
mmk__frame_zero(struct mmk_phys *phys, const struct mmk_frame *frame)
{
	for (uint64_t i = 0; i < mmk_frame_nr_pages(frame); i++)
		MMKIT_PAGE_ZERO(MMKIT_PHYS_TO_PTR(
		    mmk_frame_pa(phys, frame) + mmk_bytes_of_pages(i)));
}

MMK_INLINE void
mmk__frame_begin_as(struct mmk_phys *phys, struct mmk_frame *frame,
    unsigned order, unsigned flags, enum mmk_use use)
{
	mmk__pages_show(&phys->table, frame, (uint64_t)1 << order);
	mmk__frame_begin(frame, order, flags, use);
	if ((flags & MMK_ALLOC_ZERO) != 0)
		mmk__frame_zero(phys, frame);
}

/* A held frame: `order` is set already. */
MMK_PRIVATE void
mmk__frame_establish(struct mmk_phys *phys, struct mmk_frame *frame,
    unsigned flags, enum mmk_use use)
{
	mmk__frame_begin_as(phys, frame, frame->order, flags, use);
}

/* A page that is zero already; false: this CPU keeps none. */
MMK_PRIVATE bool
mmk__frame_take_zero(struct mmk_phys *phys, unsigned flags, enum mmk_use use,
    struct mmk_frame **frame_out)
{
	struct mmk_frame *frame = mmk_store_take_zero(&phys->store, use);

	if (frame == NULL)
		return false;
	mmk__frame_begin_as(phys, frame, 0, flags & ~MMK_ALLOC_ZERO, use);
	MMKIT_RECALL(mmk_frame_ptr(phys, frame), (size_t)MMK_PAGE_BYTES);
	*frame_out = frame;
	return true;
}

/* Tell, once, that there is little left. */
MMK_PRIVATE void
mmk__phys_watch(struct mmk_phys *phys)
{
	uint64_t nr_free = mmk_store_nr_free(&phys->store);

	if (nr_free >= phys->low_water_pages)
		MMKIT_ATOMIC_STORE(&phys->is_low, 0u);
	else if (MMKIT_ATOMIC_XCHG(&phys->is_low, 1u) == 0)
		phys->low_water(phys->ctx, nr_free);
}

/* By the long way: from a zone, or one of the CPUs has it. */
MMK_PRIVATE MMK_NOINLINE enum mmk_err
mmk__frame_alloc_far(struct mmk_phys *phys, unsigned order, unsigned flags,
    enum mmk_use use, struct mmk_frame **frame_out)
{
	unsigned node = flags >> MMK_ALLOC_NODE_SHIFT;
	struct mmk_store_request request = { .order = order,
		.top = (flags & MMK_ALLOC_DMA) != 0 ? MMK_ZONE_DMA
		    : (flags & MMK_ALLOC_LOW) != 0  ? MMK_ZONE_LOW
		                                    : MMK_ZONE_NORMAL,
		.may_dip = (flags & MMK_ALLOC_RESERVE) != 0,
		.is_exact = (flags & MMK_ALLOC_EXACT) != 0,
		.node = node == 0 ? MMK_NODE_ANY : node - 1, .use = use };
	struct mmk_frame *frame;

	frame = mmk_store_take(&phys->store, &request);
	if (MMK_UNLIKELY(frame == NULL)) {
		mmk_store_drain(&phys->store);
		frame = mmk_store_take(&phys->store, &request);
	}
	if (frame == NULL)
		return MMK_ERR_NOMEM;
	mmk__frame_establish(phys, frame, flags, use);
	if (phys->low_water != NULL)
		mmk__phys_watch(phys);
	*frame_out = frame;
	return MMK_OK;
}


MMK_API enum mmk_err
mmk_frame_alloc(struct mmk_phys *phys, unsigned order, unsigned flags,
    enum mmk_use use, struct mmk_frame **frame_out)
{
	struct mmk_frame *frame;

	if (use == MMK_USE_FREE || use == MMK_USE_META ||
	    (unsigned)use >= MMK_USE_MAX)
		return MMK_ERR_INVAL;
	if (order > MMK_MAX_ORDER || flags > MMK_ALLOC_FLAGS ||
	    (flags & (MMK_ALLOC_UNREFERENCED | MMK_ALLOC_RETAINED)) ==
	        MMK_ALLOC_UNREFERENCED)
		return MMK_ERR_INVAL;
	if (MMKIT_FAIL_POINT())
		return MMK_ERR_NOMEM;
	if (MMK_UNLIKELY((flags & MMK_ALLOC_PLACES) != 0))
		return mmk__frame_alloc_far(phys, order, flags, use, frame_out);
	if ((flags & MMK_ALLOC_ZERO) != 0 && order == 0 &&
	    mmk__frame_take_zero(phys, flags, use, frame_out))
		return MMK_OK;
	if (MMK_UNLIKELY(!mmk__store_take_near(&phys->store, order, use,
	        &frame)))
		return mmk__frame_alloc_far(phys, order, flags, use, frame_out);
	mmk__frame_begin_as(phys, frame, order, flags, use);
	*frame_out = frame;
	return MMK_OK;
}

/* Nobody has the frame any more: back to the cache or the zone. */
MMK_INLINE void
mmk__frame_free(struct mmk_phys *phys, struct mmk_frame *frame)
{
	mmk__pages_hide(&phys->table, frame, mmk_frame_nr_pages(frame));
	mmk__store_give(&phys->store, frame);
}

/* As mmk__frame_free, but for a frame that somebody isolated: he frees it. */
MMK_INLINE void
mmk__frame_release(struct mmk_phys *phys, struct mmk_frame *frame)
{
	MMK_ASSERT(frame->use != MMK_USE_META);
	MMK_ASSERT(frame->mapped == 0);
	MMK_ASSERT(MMKIT_ATOMIC_LOAD(&frame->pins) == 0);
	MMK_ASSERT(MMKIT_ATOMIC_LOAD(&frame->loans) == 0);
	if ((MMKIT_ATOMIC_LOAD(&frame->flags) &
	        (MMK_FRAME_MOVABLE | MMK_FRAME_ISOLATED)) != 0 &&
	    (MMKIT_ATOMIC_OR(&frame->flags, (uint16_t)MMK_FRAME_DEAD) &
	        MMK_FRAME_ISOLATED) != 0)
		return;
	mmk__frame_free(phys, frame);
}

/* ---- counts -------------------------------------------------------------- */

MMK_API void
mmk_frame_ref(struct mmk_phys *phys, struct mmk_frame *frame)
{
	uint32_t refs;

	(void)phys;
	MMK_ASSERT(mmk_frame_is_held(frame));
	refs = MMKIT_ATOMIC_ADD(&frame->refs, 1u);
	MMK_ASSERT(refs != 0);
	MMK_ASSERT(refs > 1 || (MMKIT_ATOMIC_LOAD(&frame->flags) &
	                           MMK_FRAME_RETAINED) != 0);
}

/*
 * The frame has one owner and nothing else: it is not retained or movable, not
 * mapped, pinned or loaned. The reference is looked at first: if it is the
 * only one it is the caller's, and nobody changes the rest any more.
 */
MMK_INLINE bool
mmk__frame_is_plain(const struct mmk_frame *frame)
{
	const unsigned marks = MMK_FRAME_MODIFIED | MMK_FRAME_REFERENCED;

	return MMKIT_ATOMIC_LOAD(&frame->refs) == 1 &&
	    (MMKIT_ATOMIC_LOAD(&frame->flags) & ~marks) == MMK_FRAME_HEAD &&
	    (frame->mapped | frame->pins | frame->loans) == 0;
}

MMK_PRIVATE MMK_NOINLINE uint32_t
mmk__frame_unref(struct mmk_phys *phys, struct mmk_frame *frame)
{
	unsigned flags = MMKIT_ATOMIC_LOAD(&frame->flags);
	uint32_t refs;

	MMK_ASSERT((flags & MMK_FRAME_HEAD) != 0);
	/* The flags were read first: without our reference it may be gone. */
	refs = MMKIT_ATOMIC_SUB(&frame->refs, 1u);
	MMK_ASSERT(refs != UINT32_MAX);
	if (refs > 0)
		return refs;
	if ((flags & MMK_FRAME_RETAINED) == 0)
		mmk__frame_release(phys, frame);
	else if (phys->retained_idle != NULL)
		phys->retained_idle(phys->ctx, frame);
	return 0;
}

MMK_API uint32_t
mmk_frame_unref(struct mmk_phys *phys, struct mmk_frame *frame)
{
	/* A sole owner has no rival: no read-modify-write is needed. */
	if (MMK_UNLIKELY(!mmk__frame_is_plain(frame)))
		return mmk__frame_unref(phys, frame);
	mmk__pages_hide(&phys->table, frame, mmk_frame_nr_pages(frame));
	mmk__store_give(&phys->store, frame);
	return 0;
}

/*
 * A plain page that is zero goes to this CPU's shelf; false: that is full. It is
 * hidden first: once it is there another CPU's drain may give it away.
 */
MMK_PRIVATE bool
mmk__frame_shelve(struct mmk_phys *phys, struct mmk_frame *frame)
{
	void *page = mmk_frame_ptr(phys, frame);

	MMKIT_POISON(page, (size_t)MMK_PAGE_BYTES);
	if (mmk_store_give_zero(&phys->store, frame))
		return true;
	MMKIT_UNPOISON(page, (size_t)MMK_PAGE_BYTES);
	return false;
}

MMK_API uint32_t
mmk_frame_unref_zero(struct mmk_phys *phys, struct mmk_frame *frame)
{
	if (!MMKIT_PHYS_VERIFY && mmk__frame_is_plain(frame) &&
	    frame->order == 0 && mmk__frame_shelve(phys, frame))
		return 0;
	return mmk_frame_unref(phys, frame);
}

MMK_API uint64_t
mmk_frame_zero_some(struct mmk_phys *phys, uint64_t nr_pages)
{
	uint64_t nr = 0;
	struct mmk_frame *frame;

	while (nr < nr_pages && !MMKIT_PHYS_VERIFY &&
	    mmk_store_wants_zeroes(&phys->store) &&
	    mmk_frame_alloc(phys, 0, 0, MMK_USE_KERNEL, &frame) == MMK_OK) {
		MMKIT_PAGE_ZERO(mmk_frame_ptr(phys, frame));
		if (!mmk__frame_shelve(phys, frame)) {
			(void)mmk_frame_unref(phys, frame);
			break;
		}
		nr++;
	}
	return nr;
}

MMK_API enum mmk_err
mmk_frame_free_retained(struct mmk_phys *phys, struct mmk_frame *frame)
{
	MMK_ASSERT(mmk_frame_is_held(frame));
	MMK_ASSERT((MMKIT_ATOMIC_LOAD(&frame->flags) &
	               MMK_FRAME_RETAINED) != 0);
	if (MMKIT_ATOMIC_LOAD(&frame->refs) != 0 || frame->mapped != 0 ||
	    MMKIT_ATOMIC_LOAD(&frame->pins) != 0 ||
	    MMKIT_ATOMIC_LOAD(&frame->loans) != 0)
		return MMK_ERR_BUSY;
	mmk__frame_release(phys, frame);
	return MMK_OK;
}

MMK_API enum mmk_err
mmk_frame_pin(struct mmk_phys *phys, struct mmk_frame *frame)
{
	uint16_t pins;

	(void)phys;
	MMK_ASSERT(mmk_frame_is_held(frame));
	pins = MMKIT_ATOMIC_LOAD(&frame->pins);
	do {
		if (pins == UINT16_MAX)
			return MMK_ERR_LIMIT;
	} while (!MMKIT_ATOMIC_CAS(&frame->pins, &pins, (uint16_t)(pins + 1u)));
	return MMK_OK;
}

MMK_API void
mmk_frame_unpin(struct mmk_phys *phys, struct mmk_frame *frame)
{
	uint16_t pins;

	(void)phys;
	MMK_ASSERT(mmk_frame_is_held(frame));
	pins = MMKIT_ATOMIC_SUB(&frame->pins, (uint16_t)1);
	MMK_ASSERT(pins != UINT16_MAX);
}

MMK_API void
mmk_frame_set_use(struct mmk_phys *phys, struct mmk_frame *frame,
    enum mmk_use use)
{
	int64_t nr_pages = (int64_t)mmk_frame_nr_pages(frame);

	MMK_ASSERT(mmk_frame_is_held(frame));
	MMK_ASSERT(frame->use != MMK_USE_META);
	MMK_ASSERT(use != MMK_USE_FREE && use != MMK_USE_META);
	MMK_ASSERT((unsigned)use < MMK_USE_MAX);
	/* Less first, so that a change of use is no peak. */
	mmk_store_account(&phys->store, frame->use, -nr_pages);
	mmk_store_account(&phys->store, (unsigned)use, nr_pages);
	frame->use = (uint8_t)use;
}

MMK_API bool
mmk_pa_ref(struct mmk_phys *phys, mmk_pa pa)
{
	struct mmk_frame *frame = mmk_frame_of_pa(phys, pa);

	if (frame == NULL)
		return false;
	mmk_frame_ref(phys, frame);
	return true;
}

MMK_API bool
mmk_pa_unref(struct mmk_phys *phys, mmk_pa pa)
{
	struct mmk_frame *frame = mmk_frame_of_pa(phys, pa);

	if (frame == NULL)
		return false;
	(void)mmk_frame_unref(phys, frame);
	return true;
}

MMK_API void
mmk_phys_drain(struct mmk_phys *phys)
{
	mmk_store_drain(&phys->store);
}
#endif /* MMKIT_IMPLEMENTATION */
