/* SPDX-License-Identifier: MIT
 *
 * mmkit/pmap/gather.h: flush first, free after
 *
 * WHAT    Taking translations away leaves copies of them in the TLBs. A gather
 *         collects what a teardown took away: the range to invalidate, the
 *         frames that were mapped there and the tables that became empty.
 *         Finishing it invalidates, and only then gives anything back, so
 *         nothing a TLB can still reach is ever reused.
 *
 *           remove -> (range, tables)    caller -> (frames)
 *           finish: invalidate here, shoot down there, unref, free
 *
 *         A gather lives on its user's stack and allocates nothing. Pages that
 *         were never cached by any CPU (pmap->cpus empty) need no flush.
 *
 *         Until it is finished the range may still be reached through stale
 *         entries: whoever serializes the range (the map's lock) enters
 *         nothing there, and treats none of its pages as clean or out.
 *
 * LAYER   pmap. Includes table.h.
 * LOCKS   finish and frame call MMKIT_TLB_SHOOTDOWN: no lock above VM is held.
 *         The caller does not move to another CPU inside them.
 * COST    one invalidation for each pmap and MMK_GATHER_FRAMES frames
 * SOURCE  own; the idea is Linux's mmu_gather.
 */
#ifndef MMKIT_PMAP_GATHER_H
#define MMKIT_PMAP_GATHER_H

#include "table.h"

#define MMK_GATHER_FRAMES 32u

MMK_BEGIN_DECLS

/* Guards: [C] caller serializes, all of it */
struct mmk_gather {
	struct mmk_pmap_sys *sys;
	struct mmk_pmap *pmap;   /* whose range is pending; NULL: none */
	mmk_va start_va;         /* the pending range, the hull of all taken */
	mmk_va end_va;           /* away; empty: start_va == end_va */
	uint32_t tables;         /* chain of tables to free: index + 1 */
	uint32_t nr_frames;      /* frames to unref, by index: */
	uint32_t frames[MMK_GATHER_FRAMES];
};

MMK_API void mmk_gather_init(struct mmk_gather *gather,
    struct mmk_pmap_sys *sys);

/*
 * mmk_gather_frame: unref `frame` when finished; takes over the caller's
 * reference, and one more place for each time it is added.
 *
 * When the gather is full it is finished early, so a frame is added after its
 * translation was removed, never before.
 *
 * locks    none above VM held.
 */
MMK_API void mmk_gather_frame(struct mmk_gather *gather,
    struct mmk_frame *frame);

/* Invalidate, then give back; the gather is empty and may be used again. */
MMK_API void mmk_gather_finish(struct mmk_gather *gather);

MMK_END_DECLS
#endif /* MMKIT_PMAP_GATHER_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_PMAP_GATHER_IMPL)
#define MMKIT_PMAP_GATHER_IMPL

/* Whether `cpu`, and whether any other CPU, may hold translations. */
MMK_PRIVATE bool
mmk__pmap_is_cached(const struct mmk_pmap *pmap, unsigned cpu,
    bool *elsewhere_out)
{
	bool is_here = false;

	*elsewhere_out = false;
	for (unsigned i = 0; i < (MMKIT_CPU_MAX + 63) / 64; i++) {
		uint64_t word = MMKIT_ATOMIC_LOAD(&pmap->cpus.words[i]);
		uint64_t mine = i == cpu / 64 ? (uint64_t)1 << cpu % 64 : 0;

		is_here = is_here || (word & mine) != 0;
		*elsewhere_out = *elsewhere_out || (word & ~mine) != 0;
	}
	return is_here;
}

/*
 * mmk__flush: on return no CPU translates through an entry of the range that
 * was changed before the call.
 *
 * locks    none above VM held.
 */
MMK_PRIVATE void
mmk__flush(struct mmk_pmap *pmap, mmk_va start_va, mmk_va end_va)
{
	struct mmk_pmap_sys *sys = pmap->sys;
	bool is_elsewhere;
	bool is_here = mmk__pmap_is_cached(pmap, MMKIT_CPU_ID(), &is_elsewhere);

	MMKIT_YIELD_POINT();
	if (start_va == end_va || (!is_here && !is_elsewhere))
		return;
#ifdef MMK_PT_INVALIDATE_IS_BROADCAST
	is_here = true;
	is_elsewhere = false;
#endif
	if (is_here) {
		(void)MMKIT_ATOMIC_ADD(&sys->nr_flushes, (uint64_t)1);
		mmk_pt_invalidate(pmap, start_va, end_va);
	}
#ifdef MMKIT_PORT_UNIPROCESSOR
	(void)MMKIT_ATOMIC_ADD(&sys->nr_shootdowns, (uint64_t)1);
#elif defined(MMKIT_TLB_SHOOTDOWN)
	if (is_elsewhere) {
		(void)MMKIT_ATOMIC_ADD(&sys->nr_shootdowns, (uint64_t)1);
		MMKIT_TLB_SHOOTDOWN(pmap, start_va, end_va);
	}
#endif
}

/* Empty the pending range: flush it, then free the tables it led through. */
MMK_PRIVATE void
mmk__gather_flush(struct mmk_gather *gather)
{
	if (gather->pmap != NULL)
		mmk__flush(gather->pmap, gather->start_va, gather->end_va);
	mmk__tables_free(gather->sys, gather->tables);
	gather->pmap = NULL;
	gather->start_va = 0;
	gather->end_va = 0;
	gather->tables = 0;
}

/* Ranges of `pmap` come next. locks: none above VM held. */
MMK_PRIVATE void
mmk__gather_begin(struct mmk_gather *gather, struct mmk_pmap *pmap)
{
	MMK_ASSERT(gather->sys == pmap->sys);
	if (gather->pmap != pmap)
		mmk__gather_flush(gather);
	gather->pmap = pmap;
}

/* One page of gather->pmap has changed. */
MMK_PRIVATE void
mmk__gather_page(struct mmk_gather *gather, mmk_va va)
{
	if (gather->start_va == gather->end_va) {
		gather->start_va = va;
		gather->end_va = va + MMK_PAGE_BYTES;
		return;
	}
	if (va < gather->start_va)
		gather->start_va = va;
	if (va >= gather->end_va)
		gather->end_va = va + MMK_PAGE_BYTES;
}

MMK_API void
mmk_gather_init(struct mmk_gather *gather, struct mmk_pmap_sys *sys)
{
	gather->sys = sys;
	gather->pmap = NULL;
	gather->start_va = 0;
	gather->end_va = 0;
	gather->tables = 0;
	gather->nr_frames = 0;
}

MMK_API void
mmk_gather_frame(struct mmk_gather *gather, struct mmk_frame *frame)
{
	if (gather->nr_frames == MMK_GATHER_FRAMES)
		mmk_gather_finish(gather);
	gather->frames[gather->nr_frames++] =
	    mmk_frame_index(gather->sys->phys, frame);
}

MMK_API void
mmk_gather_finish(struct mmk_gather *gather)
{
	struct mmk_phys *phys = gather->sys->phys;

	mmk__gather_flush(gather);
	for (uint32_t i = 0; i < gather->nr_frames; i++)
		(void)mmk_frame_unref(phys,
		    mmk_frame_at(phys, gather->frames[i]));
	gather->nr_frames = 0;
}
#endif /* MMKIT_IMPLEMENTATION */
