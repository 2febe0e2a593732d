/* SPDX-License-Identifier: MIT
 *
 * mmkit/pmap/gather.h: flush first, free after
 *
 * WHAT    Taking translations away leaves copies of them in the TLBs. A gather
 *         collects what a teardown took away: the range to invalidate and the
 *         tables that became empty. Finishing it invalidates, and only then
 *         frees the tables; and only after that the caller gives the frames
 *         back that were mapped there. So nothing a TLB can still reach is
 *         ever reused.
 *
 *           remove: (range, tables) -> the gather
 *           finish: invalidate here, shoot down there, free the tables
 *           caller: unref the frames
 *
 *         A gather lives on its user's stack and allocates nothing. Pages that
 *         were never cached by any CPU (pmap->cpus empty) need no flush.
 *
 *         A CPU that idles, or runs a thread of the kernel, deactivates the
 *         pmap: it is asked nothing then, with tags or without, and pays one
 *         load of the root when it comes back. To stay lazily, with the root
 *         still loaded, would save that load only: it walks ahead of programs,
 *         and would have to be asked before each table is freed.
 *
 *         Until it is finished the range may still be reached through stale
 *         entries: whoever serializes the range (the map's lock) enters
 *         nothing there. Page operations of other CPUs wait for it: what it
 *         took is counted, by bucket of the reverse map, until it is flushed.
 *
 * LAYER   pmap. Includes tag.h.
 * LOCKS   finish calls MMKIT_TLB_SHOOTDOWN: no MMKIT_LOCK is held. Preemption
 *         is disabled from the look at this CPU's bit until the others have
 *         answered: a thread that moved in between would leave a stale entry
 *         behind.
 * COST    one invalidation for each pmap in a row
 * SOURCE  own; the idea is Linux's mmu_gather.
 */
#ifndef MMKIT_PMAP_GATHER_H
#define MMKIT_PMAP_GATHER_H

#include "tag.h"

MMK_BEGIN_DECLS

/* Guards: [C] caller serializes, all of it */
struct mmk_gather {
	struct mmk_pmap_sys *sys;
	struct mmk_pmap *pmap;   /* whose range is pending; NULL: none */
	mmk_va start_va;         /* the pending range, the hull of all taken */
	mmk_va end_va;           /* away; empty: start_va == end_va */
	uint32_t tables;         /* chain of tables to free: index + 1 */
	uint64_t buckets;        /* of the reverse map, with frames taken away */
};
MMK_STATIC_ASSERT(MMK_RMAP_BUCKETS <= 64, "mmkit: a bit for each bucket");

MMK_API void mmk_gather_init(struct mmk_gather *gather,
    struct mmk_pmap_sys *sys);

/*
 * Invalidate, then free the tables; the gather is empty and may be used again.
 * locks: no MMKIT_LOCK held.
 */
MMK_API void mmk_gather_finish(struct mmk_gather *gather);

MMK_END_DECLS
#endif /* MMKIT_PMAP_GATHER_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_PMAP_GATHER_IMPL)
#define MMKIT_PMAP_GATHER_IMPL

/* Whether `cpu`, and whether any other CPU, has to be asked. */
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
	bool is_here, is_elsewhere;

	if (start_va == end_va)
		return;
	MMKIT_PREEMPT_DISABLE();
	/*
	 * The entries have changed before the look at who uses them. A release
	 * and an acquire do not promise that: Arm's LDAPR overtakes a store.
	 */
	MMKIT_ATOMIC_FENCE_FULL();
	if (pmap->tag != 0 && !mmk_pt_is_broadcast(&sys->shape))
		mmk__tag_expire(pmap);
	is_here = mmk__pmap_is_cached(pmap, MMKIT_CPU_ID(), &is_elsewhere);
	MMKIT_YIELD_POINT();
	if (mmk_pt_is_broadcast(&sys->shape)) {
		is_here = is_here || is_elsewhere || mmk__tag_is_held(pmap);
		is_elsewhere = false;
	}
	if (is_here) {
		(void)MMKIT_ATOMIC_ADD(&sys->nr_flushes, (uint64_t)1);
		mmk_pt_invalidate(pmap, start_va, end_va);
		MMKIT_YIELD_POINT();
	}
#ifdef MMKIT_PORT_UNIPROCESSOR
	if (is_here || is_elsewhere)
		(void)MMKIT_ATOMIC_ADD(&sys->nr_shootdowns, (uint64_t)1);
#elif defined(MMKIT_TLB_SHOOTDOWN)
	if (is_elsewhere) {
		(void)MMKIT_ATOMIC_ADD(&sys->nr_shootdowns, (uint64_t)1);
		MMKIT_TLB_SHOOTDOWN(pmap, start_va, end_va);
	}
#endif
	MMKIT_PREEMPT_ENABLE();
}

/* Empty the pending range: flush it, then free the tables it led through. */
MMK_PRIVATE void
mmk__gather_flush(struct mmk_gather *gather)
{
	if (gather->pmap != NULL)
		mmk__flush(gather->pmap, gather->start_va, gather->end_va);
	for (unsigned i = 0; i < MMK_RMAP_BUCKETS; i++)
		if ((gather->buckets >> i & 1) != 0)
			(void)MMKIT_ATOMIC_SUB(&gather->sys->nr_due[i], 1u);
	gather->buckets = 0;
	mmk__tables_free(gather->sys, gather->tables);
	if (gather->pmap != NULL)
		(void)MMKIT_ATOMIC_SUB(&gather->pmap->nr_gathers, 1u);
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
	if (gather->pmap == pmap)
		return;
	mmk__gather_flush(gather);
	gather->pmap = pmap;
	(void)MMKIT_ATOMIC_ADD(&pmap->nr_gathers, 1u);
}

/*
 * A translation of a frame of this bucket is about to lose something: a page
 * operation that finds it lost waits until it is flushed. locks: the pmap's.
 */
MMK_PRIVATE void
mmk__gather_bucket(struct mmk_gather *gather, const MMKIT_LOCK_T *bucket)
{
	unsigned i = (unsigned)(bucket - gather->sys->rmap_locks);

	if ((gather->buckets >> i & 1) != 0)
		return;
	gather->buckets |= (uint64_t)1 << i;
	(void)MMKIT_ATOMIC_ADD(&gather->sys->nr_due[i], 1u);
}

/* A leaf of gather->pmap has changed. */
MMK_PRIVATE void
mmk__gather_range(struct mmk_gather *gather, mmk_va start_va, mmk_va end_va)
{
	bool is_first = gather->start_va == gather->end_va;

	if (is_first || start_va < gather->start_va)
		gather->start_va = start_va;
	if (is_first || end_va > gather->end_va)
		gather->end_va = end_va;
}

/*
 * Another CPU has taken translations away and not flushed them yet. What this
 * change finds gone (by a page operation: other ranges are others' business),
 * or the tables it frees, may still be in use through them: flush all of the
 * space. locks: gather->pmap->lock.
 */
MMK_PRIVATE void
mmk__gather_pending(struct mmk_gather *gather)
{
	const struct mmk_pmap *pmap = gather->pmap;

	if (MMKIT_ATOMIC_LOAD(&pmap->nr_flushing) == 0 &&
	    (gather->tables == 0 ||
	        MMKIT_ATOMIC_LOAD(&pmap->nr_gathers) == 1))
		return;
	gather->start_va = pmap->base_va;
	gather->end_va = pmap->end_va;
}

MMK_API void
mmk_gather_init(struct mmk_gather *gather, struct mmk_pmap_sys *sys)
{
	gather->sys = sys;
	gather->buckets = 0;
	gather->pmap = NULL;
	gather->start_va = 0;
	gather->end_va = 0;
	gather->tables = 0;
}

MMK_API void
mmk_gather_finish(struct mmk_gather *gather)
{
	mmk__gather_flush(gather);
}
#endif /* MMKIT_IMPLEMENTATION */
