/* SPDX-License-Identifier: MIT
 *
 * mmkit/phys/run.h: contiguous pages, any number of them, in any window
 *
 * WHAT    Devices ask for what a buddy allocator does not have: 13 pages in a
 *         row, below 16 MiB, on a multiple of 4 pages, not across a multiple
 *         of 16. A run is such a row of single held frames: each has its own
 *         references, and can be given up alone.
 *
 *         What is a whole block anyway is taken as one. All else is searched:
 *         from the lowest page of the window up (and above zone LOW first, if
 *         the window has both), every page that is not free moves the search
 *         past itself. Nothing is moved or waited for; compact.h does that.
 * LAYER   phys. Includes frame.h. Knows no owners.
 * LOCKS   the zone's lock, for at most MMK_RUN_CHUNK pages at a time
 * COST    alloc: O(nr_pages) if it is a block; else O(blocks and pages of the
 *         window up to the run found). free: O(nr_pages).
 * SOURCE  own
 */
#ifndef MMKIT_PHYS_RUN_H
#define MMKIT_PHYS_RUN_H

#include "frame.h"

MMK_BEGIN_DECLS

#define MMK_RUN_FLAGS (MMK_ALLOC_ZERO | MMK_ALLOC_LOW | MMK_ALLOC_DMA)
#define MMK_RUN_CHUNK 64u /* pages looked at or taken under one lock */

/* What is asked for. Zero in a field but nr_pages and use: no such wish. */
struct mmk_run_request {
	uint64_t nr_pages;
	uint64_t align_pages;    /* the first page's number is a multiple of
	                          * this power of two */
	uint64_t boundary_pages; /* no multiple of this power of two lies
	                          * inside the run */
	mmk_pa lo_pa;            /* the run lies in [lo_pa, limit_pa) */
	mmk_pa limit_pa;
	unsigned flags;          /* of MMK_RUN_FLAGS */
	enum mmk_use use;
};

/*
 * mmk_run_alloc: a row of pages, each a held frame of order 0 with refs 1.
 *
 * pre      no lock of rank MMK_RANK_CPU_CACHE or above is held.
 * out      *first_pfn_out; untouched on error.
 * errors   MMK_ERR_NOSPACE: no such run is free, or it would take of the
 *          reserve; compaction may make one.
 *          MMK_ERR_NOMEM: an allocation failed on request, for tests.
 *          MMK_ERR_INVAL: no pages, no power of two, a boundary that is
 *          smaller than the run, a window that is empty, other flags, or a
 *          use that cannot be asked for. Nothing changed, but that the CPUs'
 *          caches may be empty.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_run_alloc(struct mmk_phys *phys,
    const struct mmk_run_request *request, mmk_pfn *first_pfn_out);

/*
 * mmk_run_free: mmk_frame_unref for each page of a run, or of a part of it.
 *
 * pre      the caller has a reference to each.
 */
MMK_API void mmk_run_free(struct mmk_phys *phys, mmk_pfn first_pfn,
    uint64_t nr_pages);

MMK_END_DECLS
#endif /* MMKIT_PHYS_RUN_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_PHYS_RUN_IMPL)
#define MMKIT_PHYS_RUN_IMPL

/* ---- places where a run may start ---------------------------------------- */

MMK_PRIVATE bool
mmk__run_is_valid(const struct mmk_run_request *request)
{
	return request->nr_pages > 0 &&
	    (request->align_pages == 0 || mmk_is_pow2(request->align_pages)) &&
	    (request->boundary_pages == 0 ||
	        (mmk_is_pow2(request->boundary_pages) &&
	            request->boundary_pages >= request->nr_pages)) &&
	    (request->limit_pa == 0 || request->limit_pa > request->lo_pa) &&
	    (request->flags & ~MMK_RUN_FLAGS) == 0 &&
	    request->use != MMK_USE_FREE && request->use != MMK_USE_META &&
	    (unsigned)request->use < MMK_USE_MAX;
}

/* The pages [first_pfn, end_pfn) of the request's window that may be RAM. */
struct mmk__run_window {
	mmk_pfn first_pfn;
	mmk_pfn end_pfn;
};

/*
 * The window, or (is_high) the part of it above zone LOW, which is spared as
 * long as possible.
 */
MMK_PRIVATE struct mmk__run_window
mmk__run_window(const struct mmk_phys *phys,
    const struct mmk_run_request *request, bool is_high)
{
	const struct mmk_frame_table *table = &phys->table;
	mmk_pfn low_pfn = phys->store.low_pfn;
	struct mmk__run_window window;

	window.first_pfn = mmk_pages_round_up(request->lo_pa);
	window.end_pfn =
	    (table->first_section + table->nr_sections) << MMK_SECTION_ORDER;
	if (window.first_pfn < table->first_section << MMK_SECTION_ORDER)
		window.first_pfn = table->first_section << MMK_SECTION_ORDER;
	if (is_high && window.first_pfn < low_pfn)
		window.first_pfn = low_pfn;
	if (request->limit_pa != 0)
		window.end_pfn = mmk_min(window.end_pfn,
		    mmk_pfn_of_pa(request->limit_pa));
	if ((request->flags & MMK_ALLOC_LOW) != 0)
		window.end_pfn = mmk_min(window.end_pfn, low_pfn);
	if ((request->flags & MMK_ALLOC_DMA) != 0)
		window.end_pfn = mmk_min(window.end_pfn, phys->store.dma_pfn);
	return window;
}

/* The first place at or after *pfn for the run; false: no more in the window. */
MMK_PRIVATE bool
mmk__run_place(const struct mmk_run_request *request,
    const struct mmk__run_window *window, mmk_pfn *pfn)
{
	uint64_t boundary = request->boundary_pages, nr = request->nr_pages;
	mmk_pfn first = *pfn;

	if (request->align_pages > 1)
		first = mmk_round_up(first, request->align_pages);
	/* Either power of two is a multiple of the other: it stays aligned. */
	if (boundary != 0 && (first & (boundary - 1)) + nr > boundary)
		first = mmk_round_up(mmk_round_up(first, boundary),
		    request->align_pages > 1 ? request->align_pages : 1);
	if (first < *pfn || first >= window->end_pfn ||
	    nr > window->end_pfn - first)
		return false;
	*pfn = first;
	return true;
}

/* The first page after `pfn` that may have a descriptor. */
MMK_PRIVATE mmk_pfn
mmk__run_skip(const struct mmk_frame_table *table, mmk_pfn pfn)
{
	uint64_t i = (++pfn >> MMK_SECTION_ORDER) - table->first_section;

	while (i < table->nr_sections && table->sections[i].end_granule == 0) {
		pfn = (table->first_section + ++i) << MMK_SECTION_ORDER;
	}
	return pfn;
}

/* ---- what is free -------------------------------------------------------- */

/* The end of what can be looked at under one lock, from `pfn` on. */
MMK_PRIVATE mmk_pfn
mmk__run_chunk_end(const struct mmk_buddy *zone, mmk_pfn pfn, mmk_pfn end_pfn)
{
	return mmk_min(mmk_min(end_pfn, zone->end_pfn), pfn + MMK_RUN_CHUNK);
}

/* The first page in [pfn, end_pfn) that is not free, or end_pfn. */
MMK_PRIVATE mmk_pfn
mmk__run_blocker(struct mmk_phys *phys, mmk_pfn pfn, mmk_pfn end_pfn)
{
	bool is_free = true;

	while (is_free && pfn < end_pfn) {
		struct mmk_buddy *zone = mmk_store_buddy_of(&phys->store, pfn);
		mmk_pfn chunk_end = mmk__run_chunk_end(zone, pfn, end_pfn);

		if (pfn < zone->first_pfn || pfn >= zone->end_pfn)
			return pfn;
		MMKIT_LOCK(&zone->lock);
		while (is_free && pfn < chunk_end) {
			const struct mmk_frame *block =
			    mmk__buddy_block_of(zone, pfn);

			is_free = block != NULL;
			if (is_free)
				pfn = mmk_frame_table_pfn(&phys->table, block) +
				    mmk_frame_nr_pages(block);
		}
		MMKIT_UNLOCK(&zone->lock);
	}
	return mmk_min(pfn, end_pfn);
}

/* What mmk__run_claim took goes back, never used. */
MMK_PRIVATE void
mmk__run_unclaim(struct mmk_phys *phys, mmk_pfn pfn, mmk_pfn end_pfn)
{
	for (; pfn < end_pfn; pfn++) {
		struct mmk_buddy *zone = mmk_store_buddy_of(&phys->store, pfn);

		MMKIT_LOCK(&zone->lock);
		mmk_buddy_give_locked(zone,
		    mmk_frame_table_lookup(&phys->table, pfn), 0);
		MMKIT_UNLOCK(&zone->lock);
	}
}

/* Take the pages [first_pfn, end_pfn). False: one is not free; nothing changed. */
MMK_PRIVATE bool
mmk__run_claim(struct mmk_phys *phys, mmk_pfn first_pfn, mmk_pfn end_pfn)
{
	mmk_pfn pfn = first_pfn;

	while (pfn < end_pfn) {
		struct mmk_buddy *zone = mmk_store_buddy_of(&phys->store, pfn);
		mmk_pfn chunk_end = mmk__run_chunk_end(zone, pfn, end_pfn);
		bool is_ours;

		MMKIT_LOCK(&zone->lock);
		is_ours = pfn < chunk_end &&
		    mmk_buddy_claim_locked(zone, pfn, chunk_end);
		MMKIT_UNLOCK(&zone->lock);
		if (!is_ours) {
			mmk__run_unclaim(phys, first_pfn, pfn);
			return false;
		}
		pfn = chunk_end;
	}
	return true;
}

/* Pages that mmk__run_claim took become held frames. */
MMK_PRIVATE void
mmk__run_establish(struct mmk_phys *phys, mmk_pfn pfn, mmk_pfn end_pfn,
    unsigned flags, enum mmk_use use)
{
	mmk_store_account(&phys->store, use, (int64_t)(end_pfn - pfn));
	for (; pfn < end_pfn; pfn++)
		mmk__frame_establish(phys,
		    mmk_frame_table_lookup(&phys->table, pfn), flags, use);
}

/*
 * A held frame of the caller's alone, not movable, with refs 1 and no other
 * state, becomes single ones like it.
 */
MMK_PRIVATE void
mmk__run_split(struct mmk_phys *phys, struct mmk_frame *frame)
{
	mmk_pfn pfn = mmk_frame_table_pfn(&phys->table, frame);
	mmk_pfn end_pfn = pfn + mmk_frame_nr_pages(frame);

	MMKIT_ATOMIC_STORE(&frame->order, (uint8_t)0);
	while (++pfn < end_pfn) {
		struct mmk_frame *page =
		    mmk_frame_table_lookup(&phys->table, pfn);

		mmk__frame_begin(page, 0, 0, (enum mmk_use)frame->use);
	}
}

/* ---- the request --------------------------------------------------------- */

/* The request is for a block like any other, anywhere. */
MMK_PRIVATE bool
mmk__run_is_block(const struct mmk_run_request *request)
{
	return mmk_is_pow2(request->nr_pages) &&
	    request->nr_pages >> MMK_MAX_ORDER <= 1 &&
	    request->align_pages <= request->nr_pages &&
	    request->lo_pa == 0 && request->limit_pa == 0;
}

MMK_PRIVATE bool
mmk__run_search(struct mmk_phys *phys, const struct mmk_run_request *request,
    const struct mmk__run_window *window, mmk_pfn *first_pfn_out)
{
	mmk_pfn pfn = window->first_pfn;

	while (mmk__run_place(request, window, &pfn)) {
		mmk_pfn end_pfn = pfn + request->nr_pages;
		mmk_pfn blocker = mmk__run_blocker(phys, pfn, end_pfn);

		if (blocker == end_pfn && mmk__run_claim(phys, pfn, end_pfn)) {
			*first_pfn_out = pfn;
			return true;
		}
		/* Was somebody faster? Then look at the next place. */
		pfn = mmk__run_skip(&phys->table,
		    blocker == end_pfn ? pfn : blocker);
	}
	return false;
}

MMK_API enum mmk_err
mmk_run_alloc(struct mmk_phys *phys, const struct mmk_run_request *request,
    mmk_pfn *first_pfn_out)
{
	struct mmk__run_window window;
	struct mmk_frame *frame;
	mmk_pfn pfn;

	if (!mmk__run_is_valid(request))
		return MMK_ERR_INVAL;
	if (mmk__run_is_block(request) &&
	    mmk_frame_alloc(phys, mmk_order_of_pages(request->nr_pages),
	        request->flags, request->use, &frame) == MMK_OK) {
		mmk__run_split(phys, frame);
		*first_pfn_out = mmk_frame_table_pfn(&phys->table, frame);
		return MMK_OK;
	}
	if (MMKIT_FAIL_POINT())
		return MMK_ERR_NOMEM;
	mmk_phys_drain(phys);
	if (request->nr_pages > mmk__store_spare(&phys->store, false))
		return MMK_ERR_NOSPACE;
	window = mmk__run_window(phys, request, true);
	if (!mmk__run_search(phys, request, &window, &pfn)) {
		window = mmk__run_window(phys, request, false);
		if (!mmk__run_search(phys, request, &window, &pfn))
			return MMK_ERR_NOSPACE;
	}
	mmk__run_establish(phys, pfn, pfn + request->nr_pages, request->flags,
	    request->use);
	if (phys->low_water != NULL)
		mmk__phys_watch(phys);
	*first_pfn_out = pfn;
	return MMK_OK;
}

MMK_API void
mmk_run_free(struct mmk_phys *phys, mmk_pfn first_pfn, uint64_t nr_pages)
{
	for (uint64_t i = 0; i < nr_pages; i++) {
		struct mmk_frame *frame =
		    mmk_frame_table_lookup(&phys->table, first_pfn + i);

		MMK_ASSERT(frame != NULL);
		MMK_ASSERT(frame->order == 0);
		(void)mmk_frame_unref(phys, frame);
	}
}
#endif /* MMKIT_IMPLEMENTATION */
