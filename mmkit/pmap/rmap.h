/* SPDX-License-Identifier: MIT
 *
 * mmkit/pmap/rmap.h: the reverse map: from a frame to its translations
 *
 * WHAT    An entry {pmap, va, n} on the list of a frame says: the pmap translates
 *         n pages of the frame, to where they lie if the frame's first page
 *         is at va. A large frame has one list, at its head, and entering its
 *         pages side by side adds to one entry. Nothing is said of leaves: to
 *         split or to join them changes nothing here. Foreign pages
 *         (mmk_frame_of_pa says NULL) and those entered with
 *         MMK_PMAP_UNTRACKED are never listed.
 *
 *           frame->translations -> {A, 0x1000, 1} -> {B, 0x7000, 1}
 *           large->translations -> {A, 0x200000, 512} -> {B, 0x7000, 3}
 *
 *         A tracked large leaf lies within one frame, so whatever is done to
 *         all translations of a frame is done to whole leaves.
 *
 *         Whether a frame was modified or referenced is the live entries' bits
 *         and, for the translations that are gone, two bits of frame->flags.
 *
 * LAYER   pmap. Includes gather.h.
 * LOCKS   a frame's bucket lock (MMK_RANK_RMAP) guards its list and its
 *         `mapped`; it is taken before the lock of any pmap on the list
 * COST    32 bytes (a pool's stride) for each place where a frame is translated;
 *         insert O(1), of a large frame's page, and remove, O(places)
 * SOURCE  own; the structure is the pv list of 4.4BSD's pmaps.
 *
 * I1      frame->mapped == pages of the entries on its list    tested by: check
 * I2      each entry's pmap has tracked leaves that translate as many pages of
 *         the frame as the entry says, where it says           tested by: check
 * I3      no two entries of a frame have the same pmap and va  tested by: check
 */
#ifndef MMKIT_PMAP_RMAP_H
#define MMKIT_PMAP_RMAP_H

#include "gather.h"

MMK_BEGIN_DECLS

/*
 * mmk_page_translation: where the nth tracked page of a frame is translated,
 * from 0; a large leaf counts for all of its pages.
 *
 * For audits, views and tests: the answer may be old when it arrives.
 *
 * locks    takes the frame's bucket, and then the pmap of a large frame.
 * out      *pmap_out, *va_out; untouched if there are no more than `nth`.
 */
MMK_API bool mmk_page_translation(struct mmk_pmap_sys *sys,
    struct mmk_frame *frame, uint32_t nth, struct mmk_pmap **pmap_out,
    mmk_va *va_out);

/* I1 and I2 for one frame. locks: takes its bucket and each pmap in turn. */
MMK_API bool mmk_rmap_check(struct mmk_pmap_sys *sys, struct mmk_frame *frame);

MMK_END_DECLS
#endif /* MMKIT_PMAP_RMAP_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_PMAP_RMAP_IMPL)
#define MMKIT_PMAP_RMAP_IMPL

/* Pages of one frame, side by side. [R] the frame's lock of the reverse map */
struct mmk__rmap {
	struct mmk_pmap *pmap;  /* [R] */
	mmk_va va;              /* [R] of the frame's first page, there or not */
	struct mmk__rmap *next; /* [R] */
	uint32_t nr_pages;      /* [R] translated there; not 0 */
};
/* More tracked pages than this no frame has; a run ends before that. */
#define MMK__MAPPED_MAX (UINT32_MAX / 2)

/* Neighbours share a lock, so a range of them is removed under one. */
MMK_PRIVATE MMKIT_LOCK_T *
mmk__rmap_lock(struct mmk_pmap_sys *sys, const struct mmk_frame *frame)
{
	uint32_t bucket = mmk_frame_index(sys->phys, frame) / 16;

	return &sys->rmap_locks[bucket & (MMK_RMAP_BUCKETS - 1)];
}

/* The frame that a leaf with these flags counts as tracked in, or NULL. */
MMK_PRIVATE struct mmk_frame *
mmk__rmap_frame(const struct mmk_pmap_sys *sys, mmk_pa pa, unsigned flags)
{
	if ((flags & MMK_PMAP_UNTRACKED) != 0)
		return NULL;
	return mmk_frame_of_pa(sys->phys, pa);
}

/* The same of a path's leaf, `pte`. */
MMK_PRIVATE struct mmk_frame *
mmk__path_frame(const struct mmk_pmap *pmap, const struct mmk__path *path,
    uint64_t pte)
{
	const struct mmk_pt_shape *shape = &pmap->sys->shape;

	return mmk__rmap_frame(pmap->sys, mmk_pt_pa(shape, path->level, pte),
	    mmk_pt_flags(shape, path->level, pte));
}

/* Where the frame's first page is, or would be, if `pa` in it is at `va`. */
MMK_PRIVATE mmk_va
mmk__rmap_base(const struct mmk_pmap_sys *sys, const struct mmk_frame *frame,
    mmk_va va, mmk_pa pa)
{
	if (frame->order == 0)
		return va;
	return va - (pa - mmk_frame_pa(sys->phys, frame));
}

/* What points to the entry, or NULL. locks: the frame's bucket. */
MMK_PRIVATE struct mmk__rmap **
mmk__rmap_find(struct mmk__rmap **link, const struct mmk_pmap *pmap,
    mmk_va base_va)
{
	for (; *link != NULL; link = &(*link)->next)
		if ((*link)->pmap == pmap && (*link)->va == base_va)
			return link;
	return NULL;
}

/*
 * nr_pages more are translated there. Takes the first entry of the chain at
 * *spares, if a new one is needed. locks: the frame's bucket.
 */
MMK_PRIVATE void
mmk__rmap_insert(struct mmk_frame *frame, struct mmk__rmap **spares,
    struct mmk_pmap *pmap, mmk_va base_va, uint32_t nr_pages)
{
	struct mmk__rmap *head = (struct mmk__rmap *)frame->translations;
	struct mmk__rmap **link = NULL, *entry;

	frame->mapped += nr_pages;
	if (frame->order > 0)
		link = mmk__rmap_find(&head, pmap, base_va);
	if (link != NULL) {
		(*link)->nr_pages += nr_pages;
		return;
	}
	entry = *spares;
	*spares = entry->next;
	entry->pmap = pmap;
	entry->va = base_va;
	entry->nr_pages = nr_pages;
	entry->next = head;
	frame->translations = entry;
}

/*
 * nr_pages less. The entry, if it is off the list now and the caller's to
 * free; or NULL. locks: the frame's bucket.
 */
MMK_PRIVATE struct mmk__rmap *
mmk__rmap_remove(struct mmk_frame *frame, const struct mmk_pmap *pmap,
    mmk_va base_va, uint32_t nr_pages)
{
	struct mmk__rmap *head = (struct mmk__rmap *)frame->translations;
	struct mmk__rmap **link = mmk__rmap_find(&head, pmap, base_va);
	struct mmk__rmap *entry;

	MMK_ASSERT(link != NULL);
	entry = *link;
	MMK_ASSERT(entry->nr_pages >= nr_pages);
	MMK_ASSERT(frame->mapped >= nr_pages);
	frame->mapped -= nr_pages;
	entry->nr_pages -= nr_pages;
	if (entry->nr_pages > 0)
		return NULL;
	*link = entry->next;
	frame->translations = head;
	return entry;
}

/* What a translation knew about its frame survives it. */
MMK_PRIVATE void
mmk__rmap_harvest(struct mmk_frame *frame, unsigned flags)
{
	uint16_t bits = 0;

	if ((flags & MMK_PMAP_MODIFIED) != 0)
		bits = (uint16_t)(bits | MMK_FRAME_MODIFIED);
	if ((flags & MMK_PMAP_ACCESSED) != 0)
		bits = (uint16_t)(bits | MMK_FRAME_REFERENCED);
	if ((MMKIT_ATOMIC_LOAD(&frame->flags) & bits) != bits)
		(void)MMKIT_ATOMIC_OR(&frame->flags, bits);
}

/* ---- leaves of one pmap -------------------------------------------------- */

/*
 * mmk__leaf_clear: empty a leaf, and all that is known of it with it, but for
 * its place in the table's count.
 *
 * pre      path leads to the leaf; frame: what it is tracked in, or NULL.
 * locks    the frame's bucket and pmap->lock.
 * out      *chain_out grows by the tables that a large leaf had in reserve. The
 *          entry of the reverse map that is the caller's to free, or NULL.
 */
MMK_PRIVATE struct mmk__rmap *
mmk__leaf_clear(struct mmk_pmap *pmap, const struct mmk__path *path,
    struct mmk_frame *frame, uint32_t *chain_out)
{
	struct mmk_pmap_sys *sys = pmap->sys;
	const struct mmk_pt_shape *shape = &sys->shape;
	unsigned flags;
	uint64_t pte = mmk__leaf_take(shape, path, &flags);
	uint64_t nr_pages = mmk__path_nr_pages(path);

	pmap->nr_pages -= nr_pages;
	if ((flags & MMK_PMAP_WIRED) != 0)
		pmap->nr_wired -= nr_pages;
	if (path->level > 0) {
		uint64_t nr = mmk__pt_nr_reserve(path->level);

		pmap->nr_reserved -= nr;
		while (nr-- > 0)
			mmk__tables_push(sys, chain_out,
			    mmk__tables_pop(sys, &pmap->reserve));
	}
	if (frame == NULL)
		return NULL;
	pmap->nr_tracked -= nr_pages;
	mmk__rmap_harvest(frame, flags);
	return mmk__rmap_remove(frame, pmap,
	    mmk__rmap_base(sys, frame, mmk__path_start(path),
	        mmk_pt_pa(shape, path->level, pte)),
	    (uint32_t)nr_pages);
}

/* Of the leaf that mmk__leaf_next has come to. Nothing, to start with. */
struct mmk__hold {
	struct mmk_frame *frame; /* that it is tracked in; NULL: it is not */
	MMKIT_LOCK_T *bucket;    /* held: the frame's, or some other; or NULL */
};

/*
 * mmk__leaf_next: mmk__path_next, with the lock that taking the leaf away
 * wants. It lets pmap->lock go to take a bucket, and looks again.
 *
 * locks    pmap->lock held, and hold->bucket if it is not NULL; both change.
 * out      as mmk__path_next; and of the leaf's frame the bucket is held.
 */
MMK_PRIVATE bool
mmk__leaf_next(struct mmk_pmap *pmap, mmk_va *va, mmk_va end_va,
    struct mmk__path *path, struct mmk__hold *hold)
{
	while (mmk__path_next(pmap, va, end_va, path)) {
		const uint64_t *slot = path->slots[path->level];
		uint64_t pte = MMKIT_ATOMIC_LOAD(slot);
		uint64_t nr_unlinked = pmap->nr_unlinked;
		MMKIT_LOCK_T *wanted;

		hold->frame = mmk__path_frame(pmap, path, pte);
		if (hold->frame == NULL)
			return true;
		wanted = mmk__rmap_lock(pmap->sys, hold->frame);
		if (wanted == hold->bucket)
			return true;
		mmk__pmap_unlock(pmap, hold->bucket);
		MMKIT_YIELD_POINT();
		hold->bucket = wanted;
		mmk__pmap_lock(pmap, wanted);
		if (pmap->nr_unlinked != nr_unlinked)
			mmk__path_init(path);
		else if (MMKIT_ATOMIC_LOAD(slot) == pte &&
		    mmk__path_frame(pmap, path, pte) == hold->frame)
			return true; /* the page may be another frame's now */
	}
	return false;
}

/* ---- leaves of one entry ------------------------------------------------- */

/* The leaves that an entry of `frame` stands for, one after the other. */
struct mmk__spread {
	struct mmk_pmap *pmap;
	const struct mmk_frame *frame;
	mmk_va base_va; /* the entry's */
	mmk_va va;      /* where the next one may be */
	mmk_va end_va;
	struct mmk__path path;
};

/* locks: the frame's bucket, and then entry->pmap's until the end. */
MMK_PRIVATE void
mmk__spread_init(struct mmk__spread *spread, const struct mmk_frame *frame,
    const struct mmk__rmap *entry)
{
	spread->pmap = entry->pmap;
	spread->frame = frame;
	spread->base_va = entry->va;
	spread->va = entry->va;
	spread->end_va = entry->va + (MMK_PAGE_BYTES << frame->order);
	/* The frame's first pages would lie below address 0, or its last ones
	 * beyond 2^64. */
	if (spread->end_va < spread->va && entry->pmap->base_va == 0)
		spread->va = 0;
	else if (spread->end_va < spread->va)
		spread->end_va = entry->pmap->end_va;
	mmk__path_init(&spread->path);
}

/* True: spread->path leads to the next one. */
MMK_PRIVATE bool
mmk__spread_next(struct mmk__spread *spread)
{
	struct mmk_pmap *pmap = spread->pmap;
	const struct mmk_pt_shape *shape = &pmap->sys->shape;
	struct mmk__path *path = &spread->path;

	while (mmk__path_next(pmap, &spread->va, spread->end_va, path)) {
		uint64_t pte =
		    MMKIT_ATOMIC_LOAD(path->slots[path->level]);
		mmk_pa pa = mmk__path_pa(shape, path, pte);

		spread->va = mmk__path_end(path);
		if (mmk__path_frame(pmap, path, pte) == spread->frame &&
		    mmk__rmap_base(pmap->sys, spread->frame, path->va, pa) ==
		        spread->base_va)
			return true;
	}
	return false;
}

/* The nth page of an entry of a large frame. locks: the frame's bucket. */
MMK_PRIVATE bool
mmk__rmap_nth(const struct mmk_frame *frame, const struct mmk__rmap *entry,
    uint32_t nth, mmk_va *va_out)
{
	struct mmk_pmap *pmap = entry->pmap;
	struct mmk__spread spread;
	bool is_found = false;

	mmk__spread_init(&spread, frame, entry);
	MMKIT_LOCK(&pmap->lock);
	while (!is_found && mmk__spread_next(&spread)) {
		uint64_t nr_pages = mmk__path_nr_pages(&spread.path);

		is_found = nth < nr_pages;
		if (is_found)
			*va_out = mmk__path_start(&spread.path) +
			    mmk_bytes_of_pages(nth);
		nth -= (uint32_t)nr_pages;
	}
	MMKIT_UNLOCK(&pmap->lock);
	return is_found;
}

MMK_API bool
mmk_page_translation(struct mmk_pmap_sys *sys, struct mmk_frame *frame,
    uint32_t nth, struct mmk_pmap **pmap_out, mmk_va *va_out)
{
	MMKIT_LOCK_T *bucket = mmk__rmap_lock(sys, frame);
	const struct mmk__rmap *entry;
	bool is_found = false;

	MMKIT_LOCK(bucket);
	entry = (const struct mmk__rmap *)frame->translations;
	while (entry != NULL && nth >= entry->nr_pages) {
		nth -= entry->nr_pages;
		entry = entry->next;
	}
	if (entry != NULL && frame->order == 0) {
		*va_out = entry->va;
		is_found = true;
	} else if (entry != NULL) {
		is_found = mmk__rmap_nth(frame, entry, nth, va_out);
	}
	if (is_found)
		*pmap_out = entry->pmap;
	MMKIT_UNLOCK(bucket);
	return is_found;
}

/* ---- audit --------------------------------------------------------------- */

/*
 * The leaves of the entry are as many as it says; and while they are being
 * changed, nobody can tell. locks: the frame's bucket.
 */
MMK_PRIVATE bool
mmk__rmap_agrees(const struct mmk__rmap *entry, const struct mmk_frame *frame)
{
	struct mmk_pmap *pmap = entry->pmap;
	struct mmk__spread spread;
	uint64_t nr_pages = 0;
	bool agrees;

	mmk__spread_init(&spread, frame, entry);
	MMKIT_LOCK(&pmap->lock);
	while (mmk__spread_next(&spread))
		nr_pages +=
		    mmk__path_nr_pages(&spread.path);
	agrees = nr_pages == entry->nr_pages || pmap->is_changing != 0;
	MMKIT_UNLOCK(&pmap->lock);
	return agrees;
}

MMK_API bool
mmk_rmap_check(struct mmk_pmap_sys *sys, struct mmk_frame *frame)
{
	MMKIT_LOCK_T *bucket = mmk__rmap_lock(sys, frame);
	struct mmk__rmap *entry;
	uint64_t nr_pages = 0;
	bool is_good = true;

	MMKIT_LOCK(bucket);
	entry = (struct mmk__rmap *)frame->translations;
	for (; entry != NULL && is_good; entry = entry->next) {
		nr_pages += entry->nr_pages;
		is_good = entry->nr_pages > 0 && nr_pages <= frame->mapped &&
		    mmk__rmap_find(&entry->next, entry->pmap, entry->va) ==
		        NULL &&
		    mmk__rmap_agrees(entry, frame);
	}
	is_good = is_good && nr_pages == frame->mapped;
	MMKIT_UNLOCK(bucket);
	return is_good;
}
#endif /* MMKIT_IMPLEMENTATION */
