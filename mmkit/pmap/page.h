/* SPDX-License-Identifier: MIT
 *
 * mmkit/pmap/page.h: what is done to all translations of one frame
 *
 * WHAT    Page-out, copy-on-write and write-back think in pages, not in
 *         addresses: take this page away from everyone, make it read-only for
 *         everyone, was it written by anyone?
 *
 *         Flushing waits for other CPUs, so it is done with no lock held:
 *         under the locks a batch of translations is changed and noted, then
 *         the locks go, the batch is flushed, and so on until none is left.
 *
 *         All leaves of a frame's entry are done at once: they lie side by side
 *         and are one range to flush.
 *
 * LAYER   pmap. Includes super.h.
 * LOCKS   each takes the frame's bucket and, inside, the pmaps in turn. Called
 *         with no lock above VM held. Spins, without locks, while another CPU
 *         has yet to flush what it took from frames of the same bucket, and
 *         while a pmap that has the frame splits or joins a leaf.
 * COST    O(leaves), times (places / MMK_PAGE_BATCH + 1)
 * SOURCE  own
 */
#ifndef MMKIT_PMAP_PAGE_H
#define MMKIT_PMAP_PAGE_H

#include "super.h"

MMK_BEGIN_DECLS

/*
 * Each returns with every TLB clean: no CPU has a translation that the call
 * changed, or found changed by another CPU's gather that was not finished then:
 * it waits for that.
 *
 * pre      the caller has no unfinished gather of its own.
 */

/* Remove every translation, wired ones too. None: nothing happens. */
MMK_API void mmk_page_remove_all(struct mmk_pmap_sys *sys,
    struct mmk_frame *frame);
/* Take the right to write from every translation. */
MMK_API void mmk_page_write_protect(struct mmk_pmap_sys *sys,
    struct mmk_frame *frame);

/*
 * Written through any translation, living or gone, since the last clear. True as
 * well, to be on the safe side, while a pmap that has the frame splits or joins
 * a leaf. Does not wait: a lock of rank VM may be held.
 */
MMK_API bool mmk_page_is_modified(struct mmk_pmap_sys *sys,
    struct mmk_frame *frame);
/* The old answer; what is written after the return is seen again. */
MMK_API bool mmk_page_clear_modified(struct mmk_pmap_sys *sys,
    struct mmk_frame *frame);
/* The same two for any access. */
MMK_API bool mmk_page_is_referenced(struct mmk_pmap_sys *sys,
    struct mmk_frame *frame);
MMK_API bool mmk_page_clear_referenced(struct mmk_pmap_sys *sys,
    struct mmk_frame *frame);

MMK_END_DECLS
#endif /* MMKIT_PMAP_PAGE_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_PMAP_PAGE_IMPL)
#define MMKIT_PMAP_PAGE_IMPL

#define MMK_PAGE_BATCH 16u

/* Ranges of translations changed and not yet flushed. */
struct mmk__batch {
	struct mmk_pmap *pmaps[MMK_PAGE_BATCH];
	mmk_va starts[MMK_PAGE_BATCH];
	mmk_va ends[MMK_PAGE_BATCH];
	uint32_t nr;
	uint32_t tables; /* chain of tables to free after the flush */
	bool is_blocked; /* a pmap was changing: come again */
};

MMK_PRIVATE void
mmk__batch_init(struct mmk__batch *batch)
{
	batch->nr = 0;
	batch->tables = 0;
	batch->is_blocked = false;
}

/*
 * Begin a range of `pmap`. nr_flushing keeps mmk_pmap_fini waiting, for once
 * the locks are gone nothing else says that the pmap is still wanted.
 *
 * locks    pmap->lock held.
 */
MMK_PRIVATE void
mmk__batch_begin(struct mmk__batch *batch, struct mmk_pmap *pmap)
{
	(void)MMKIT_ATOMIC_ADD(&pmap->nr_flushing, 1u);
	batch->pmaps[batch->nr] = pmap;
	batch->starts[batch->nr] = UINT64_MAX;
	batch->ends[batch->nr] = 0;
}

/* A leaf around `va` has changed; all that an entry of `level` translates. */
MMK_PRIVATE void
mmk__batch_add(struct mmk__batch *batch, mmk_va va, unsigned level)
{
	const struct mmk_pmap *pmap = batch->pmaps[batch->nr];
	mmk_va span_bytes = mmk__pt_span(level);
	mmk_va start_va = mmk_round_down(va, span_bytes);

	batch->starts[batch->nr] =
	    mmk_min(batch->starts[batch->nr], start_va);
	batch->ends[batch->nr] = mmk_max(batch->ends[batch->nr],
	    mmk__pmap_end(pmap, start_va, span_bytes));
}

/* The leaf at the path's end has changed, or all that is empty with it. */
MMK_PRIVATE void
mmk__batch_leaf(struct mmk__batch *batch, const struct mmk__path *path,
    unsigned level)
{
	mmk__batch_add(batch, mmk__path_start(path), level);
	if (path->nr_entries > 1)
		mmk__batch_add(batch, mmk__path_end(path) - 1, level);
}

/* The range is whole; if nothing was added there is none. Same locks. */
MMK_PRIVATE void
mmk__batch_end(struct mmk__batch *batch)
{
	if (batch->ends[batch->nr] != 0)
		batch->nr++;
	else
		(void)MMKIT_ATOMIC_SUB(&batch->pmaps[batch->nr]->nr_flushing,
		    1u);
}

/*
 * Where a table went, all that it translated is flushed: a gather of another
 * CPU may have taken its other leaves away and not come to flush them yet.
 *
 * locks    none above VM held.
 */
MMK_PRIVATE void
mmk__batch_flush(struct mmk_pmap_sys *sys, struct mmk__batch *batch)
{
	for (uint32_t i = 0; i < batch->nr; i++)
		mmk__flush(batch->pmaps[i], batch->starts[i], batch->ends[i]);
	mmk__tables_free(sys, batch->tables);
	for (uint32_t i = 0; i < batch->nr; i++)
		(void)MMKIT_ATOMIC_SUB(&batch->pmaps[i]->nr_flushing, 1u);
	if (batch->is_blocked) {
		MMKIT_YIELD_POINT();
		MMKIT_CPU_RELAX();
	}
}

/*
 * entry->pmap's lock; false: it is not held, for a leaf is being split or
 * joined. Whoever does that may wait for this CPU, which has to let the bucket
 * go before it looks again. locks: the bucket.
 */
MMK_PRIVATE bool
mmk__page_lock(const struct mmk__rmap *entry, struct mmk__batch *batch)
{
	MMKIT_LOCK(&entry->pmap->lock);
	if (entry->pmap->is_changing == 0)
		return true;
	MMKIT_UNLOCK(&entry->pmap->lock);
	batch->is_blocked = true;
	return false;
}

/*
 * Others may have taken translations of the frame, or rights of them, and not
 * flushed yet; what this operation did not find is not gone before they have.
 * `bucket` was counted by the caller, who has flushed what it did itself.
 *
 * locks    none above VM held; nobody waits for us.
 */
MMK_PRIVATE void
mmk__page_await(struct mmk_pmap_sys *sys, const MMKIT_LOCK_T *bucket)
{
	uint32_t *nr_due = &sys->nr_due[bucket - sys->rmap_locks];

	(void)MMKIT_ATOMIC_SUB(nr_due, 1u);
	while (MMKIT_ATOMIC_LOAD(nr_due) != 0) {
		MMKIT_YIELD_POINT();
		MMKIT_CPU_RELAX();
	}
}

/* This operation takes something away, too. */
MMK_PRIVATE void
mmk__page_announce(struct mmk_pmap_sys *sys, const MMKIT_LOCK_T *bucket)
{
	(void)MMKIT_ATOMIC_ADD(&sys->nr_due[bucket - sys->rmap_locks], 1u);
}

/* Take all leaves of one entry off the frame. locks: the frame's bucket. */
MMK_PRIVATE void
mmk__page_remove_one(struct mmk_frame *frame,
    const struct mmk__rmap *entry, struct mmk__batch *batch)
{
	struct mmk_pmap *pmap = entry->pmap;
	uint32_t nr_left = entry->nr_pages;
	struct mmk__spread spread;

	mmk__spread_init(&spread, frame, entry);
	if (!mmk__page_lock(entry, batch))
		return;
	mmk__batch_begin(batch, pmap);
	while (nr_left > 0) { /* the entry goes with the last */
		struct mmk__path *path = &spread.path;
		bool is_there = mmk__spread_next(&spread);

		MMK_ASSERT(is_there);
		nr_left -= (uint32_t)mmk__path_nr_pages(path);
		mmk_pool_free(&pmap->sys->rmap_pool,
		    mmk__leaf_clear(pmap, path, frame, &batch->tables));
		mmk__batch_leaf(batch, path,
		    mmk__path_shrink(pmap, path, &batch->tables));
	}
	mmk__batch_end(batch);
	MMKIT_UNLOCK(&pmap->lock);
}

/*
 * Take `flags` from all leaves of one entry; what they had of them is
 * returned, and noted if they had any. locks: the frame's bucket.
 */
MMK_PRIVATE unsigned
mmk__page_take_one(const struct mmk_frame *frame,
    const struct mmk__rmap *entry, unsigned flags, struct mmk__batch *batch)
{
	struct mmk_pmap *pmap = entry->pmap;
	const struct mmk_pt_shape *shape = &pmap->sys->shape;
	struct mmk__spread spread;
	unsigned had = 0;

	mmk__spread_init(&spread, frame, entry);
	if (!mmk__page_lock(entry, batch))
		return 0;
	mmk__batch_begin(batch, pmap);
	while (mmk__spread_next(&spread)) {
		const struct mmk__path *path = &spread.path;
		uint64_t pte = MMKIT_ATOMIC_LOAD(path->slots[path->level]);
		unsigned taken;

		mmk__leaf_change(shape, path, pte,
		    mmk_pt_flags(shape, path->level, pte), 0, flags, &taken);
		taken &= flags;

		if (taken != 0)
			mmk__batch_leaf(batch, path, path->level);
		had |= taken;
	}
	mmk__batch_end(batch);
	MMKIT_UNLOCK(&pmap->lock);
	return had;
}

/* Take `flags` from every translation of the frame; true: one had some. */
MMK_PRIVATE bool
mmk__page_take(struct mmk_pmap_sys *sys, struct mmk_frame *frame,
    unsigned flags)
{
	MMKIT_LOCK_T *bucket = mmk__rmap_lock(sys, frame);
	struct mmk__batch batch;
	unsigned had = 0;
	/* Running CPUs set marks again as fast as they are taken: once round is
	 * enough. Rights nobody gives back meanwhile. */
	uint64_t nr_rounds = UINT64_MAX;

	mmk__page_announce(sys, bucket);
	do {
		const struct mmk__rmap *entry;

		mmk__batch_init(&batch);
		MMKIT_LOCK(bucket);
		nr_rounds = mmk_min(nr_rounds,
		    frame->mapped / MMK_PAGE_BATCH + UINT64_C(1));
		entry = (const struct mmk__rmap *)frame->translations;
		for (; entry != NULL && batch.nr < MMK_PAGE_BATCH &&
		     !batch.is_blocked;
		     entry = entry->next)
			had |= mmk__page_take_one(frame, entry, flags, &batch);
		MMKIT_UNLOCK(bucket);
		mmk__batch_flush(sys, &batch);
		if (nr_rounds > 0 && !batch.is_blocked)
			nr_rounds--;
	} while (batch.is_blocked || (batch.nr == MMK_PAGE_BATCH &&
	    (nr_rounds > 0 || (flags & MMK_PROT_ALL) != 0)));
	mmk__page_await(sys, bucket);
	return had != 0;
}

/*
 * Has a leaf of the entry one of `flags`? While a leaf is between two sizes
 * nobody knows, and waiting is not for whoever asks with a lock: it may have.
 *
 * locks    the frame's bucket.
 */
MMK_PRIVATE bool
mmk__page_has_one(const struct mmk_frame *frame,
    const struct mmk__rmap *entry, unsigned flags)
{
	struct mmk_pmap *pmap = entry->pmap;
	const struct mmk_pt_shape *shape = &pmap->sys->shape;
	struct mmk__spread spread;
	bool has;

	mmk__spread_init(&spread, frame, entry);
	MMKIT_LOCK(&pmap->lock);
	has = pmap->is_changing != 0;
	while (!has && mmk__spread_next(&spread)) {
		const struct mmk__path *path = &spread.path;
		uint64_t pte = MMKIT_ATOMIC_LOAD(path->slots[path->level]);

		has = (mmk__leaf_flags(shape, path, pte) & flags) != 0;
	}
	MMKIT_UNLOCK(&pmap->lock);
	return has;
}

/*
 * Any living translation of the frame has one of `flags`. Ask this first and
 * frame->flags second: a translation that goes leaves its answer there.
 */
MMK_PRIVATE bool
mmk__page_has(struct mmk_pmap_sys *sys, struct mmk_frame *frame,
    unsigned flags)
{
	MMKIT_LOCK_T *bucket = mmk__rmap_lock(sys, frame);
	const struct mmk__rmap *entry;
	bool has = false;

	MMKIT_LOCK(bucket);
	entry = (const struct mmk__rmap *)frame->translations;
	for (; entry != NULL && !has; entry = entry->next)
		has = mmk__page_has_one(frame, entry, flags);
	MMKIT_UNLOCK(bucket);
	return has;
}

/* Clear a bit of frame->flags; true: it was set. */
MMK_PRIVATE bool
mmk__page_forget(struct mmk_frame *frame, unsigned bit)
{
	uint16_t keep = (uint16_t)~bit;

	return (MMKIT_ATOMIC_AND(&frame->flags, keep) & bit) != 0;
}

#ifndef mmk_page_remove_all
MMK_API void
mmk_page_remove_all(struct mmk_pmap_sys *sys, struct mmk_frame *frame)
{
	MMKIT_LOCK_T *bucket = mmk__rmap_lock(sys, frame);
	struct mmk__batch batch;

	mmk__page_announce(sys, bucket);
	do {
		mmk__batch_init(&batch);
		MMKIT_LOCK(bucket);
		while (frame->translations != NULL &&
		    batch.nr < MMK_PAGE_BATCH && !batch.is_blocked)
			mmk__page_remove_one(frame,
			    (const struct mmk__rmap *)frame->translations,
			    &batch);
		MMKIT_UNLOCK(bucket);
		mmk__batch_flush(sys, &batch);
	} while (batch.is_blocked || batch.nr == MMK_PAGE_BATCH);
	mmk__page_await(sys, bucket);
}
#endif

#ifndef mmk_page_write_protect
MMK_API void
mmk_page_write_protect(struct mmk_pmap_sys *sys, struct mmk_frame *frame)
{
	(void)mmk__page_take(sys, frame, MMK_PROT_WRITE);
}
#endif

#ifndef mmk_page_is_modified
MMK_API bool
mmk_page_is_modified(struct mmk_pmap_sys *sys, struct mmk_frame *frame)
{
	return mmk__page_has(sys, frame, MMK_PMAP_MODIFIED) ||
	    (MMKIT_ATOMIC_LOAD(&frame->flags) & MMK_FRAME_MODIFIED) != 0;
}
#endif

#ifndef mmk_page_clear_modified
MMK_API bool
mmk_page_clear_modified(struct mmk_pmap_sys *sys, struct mmk_frame *frame)
{
	bool was_modified = mmk__page_take(sys, frame, MMK_PMAP_MODIFIED);

	return mmk__page_forget(frame, MMK_FRAME_MODIFIED) || was_modified;
}
#endif

#ifndef mmk_page_is_referenced
MMK_API bool
mmk_page_is_referenced(struct mmk_pmap_sys *sys, struct mmk_frame *frame)
{
	return mmk__page_has(sys, frame, MMK_PMAP_ACCESSED) ||
	    (MMKIT_ATOMIC_LOAD(&frame->flags) & MMK_FRAME_REFERENCED) != 0;
}
#endif

#ifndef mmk_page_clear_referenced
MMK_API bool
mmk_page_clear_referenced(struct mmk_pmap_sys *sys, struct mmk_frame *frame)
{
	bool was_referenced = mmk__page_take(sys, frame, MMK_PMAP_ACCESSED);

	return mmk__page_forget(frame, MMK_FRAME_REFERENCED) || was_referenced;
}
#endif
#endif /* MMKIT_IMPLEMENTATION */
