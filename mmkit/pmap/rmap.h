/* SPDX-License-Identifier: MIT
 *
 * mmkit/pmap/rmap.h: the reverse map: from a frame to its translations
 *
 * WHAT    Each tracked translation has one entry {pmap, va} on the list of the
 *         frame it leads into. A large frame has one list, at its head. Foreign
 *         pages (mmk_frame_of_pa says NULL) and those entered with
 *         MMK_PMAP_UNTRACKED are never listed.
 *
 *           frame->translations -> {A, 0x1000} -> {B, 0x7000} -> {B, 0x9000}
 *
 *         Whether a frame was modified or referenced is the live entries' bits
 *         and, for the translations that are gone, two bits of frame->flags.
 *
 * LAYER   pmap. Includes gather.h.
 * LOCKS   a frame's bucket lock (MMK_RANK_RMAP) guards its list and its
 *         `mapped`; it is taken before the lock of any pmap on the list
 * COST    32 bytes a translation (a pool's stride); insert O(1), remove O(translations of the
 *         frame)
 * SOURCE  own; the structure is the pv list of 4.4BSD's pmaps.
 *
 * I1      frame->mapped == entries on its list                 tested by: check
 * I2      each entry's pmap has a tracked leaf at va into the frame
 *                                                              tested by: check
 */
#ifndef MMKIT_PMAP_RMAP_H
#define MMKIT_PMAP_RMAP_H

#include "gather.h"

MMK_BEGIN_DECLS

/*
 * mmk_page_translation: the nth tracked translation of a frame, from 0.
 *
 * For audits, views and tests: the answer may be old when it arrives.
 *
 * locks    takes the frame's bucket.
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

/* [R] the frame's lock of the reverse map */
struct mmk__rmap {
	struct mmk_pmap *pmap;  /* [R] */
	mmk_va va;              /* [R] */
	struct mmk__rmap *next; /* [R] */
};

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

/* locks: the frame's bucket. */
MMK_PRIVATE void
mmk__rmap_insert(struct mmk_frame *frame, struct mmk__rmap *entry)
{
	entry->next = (struct mmk__rmap *)frame->translations;
	frame->translations = entry;
	frame->mapped++;
}

/* The entry taken off the list. locks: the frame's bucket. */
MMK_PRIVATE struct mmk__rmap *
mmk__rmap_remove(struct mmk_frame *frame, const struct mmk_pmap *pmap,
    mmk_va va)
{
	struct mmk__rmap *entry = (struct mmk__rmap *)frame->translations;
	struct mmk__rmap *before = NULL;

	while (entry != NULL && (entry->pmap != pmap || entry->va != va)) {
		before = entry;
		entry = entry->next;
	}
	MMK_ASSERT(entry != NULL);
	MMK_ASSERT(frame->mapped > 0);
	if (before == NULL)
		frame->translations = entry->next;
	else
		before->next = entry->next;
	frame->mapped--;
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

/*
 * mmk__leaf_clear: empty a leaf, and all that is known of it with it, but for
 * its place in the table's count.
 *
 * pre      path leads to the leaf of `va`.
 * locks    the bucket of the frame it leads into (if tracked) and pmap->lock.
 */
MMK_PRIVATE void
mmk__leaf_clear(struct mmk_pmap *pmap, mmk_va va, struct mmk__path *path)
{
	struct mmk_pmap_sys *sys = pmap->sys;
	const struct mmk_pt_shape *shape = &sys->shape;
	uint64_t pte = mmk__pte_take(path->slots[0]);
	unsigned flags = mmk_pt_flags(shape, 0, pte);
	struct mmk_frame *frame =
	    mmk__rmap_frame(sys, mmk_pt_pa(shape, 0, pte), flags);

	pmap->nr_pages--;
	pmap->nr_wired -= (flags & MMK_PMAP_WIRED) != 0;
	if (frame == NULL)
		return;
	pmap->nr_tracked--;
	mmk__rmap_harvest(frame, flags);
	mmk_pool_free(&sys->rmap_pool, mmk__rmap_remove(frame, pmap, va));
}

/*
 * mmk__leaf_next: mmk__path_next, with the lock that taking the leaf away
 * wants. It lets pmap->lock go to take a bucket, and looks again.
 *
 * locks    pmap->lock held, and *bucket if it is not NULL; both change.
 * out      as mmk__path_next; *bucket is held and is the tracked frame's.
 */
MMK_PRIVATE bool
mmk__leaf_next(struct mmk_pmap *pmap, mmk_va *va, mmk_va end_va,
    struct mmk__path *path, MMKIT_LOCK_T **bucket)
{
	struct mmk_pmap_sys *sys = pmap->sys;
	const struct mmk_pt_shape *shape = &sys->shape;

	while (mmk__path_next(pmap, va, end_va, path)) {
		uint64_t pte = MMKIT_ATOMIC_LOAD(path->slots[0]);
		struct mmk_frame *frame = mmk__rmap_frame(sys,
		    mmk_pt_pa(shape, 0, pte), mmk_pt_flags(shape, 0, pte));
		MMKIT_LOCK_T *wanted;

		if (frame == NULL)
			return true;
		wanted = mmk__rmap_lock(sys, frame);
		if (wanted == *bucket)
			return true;
		MMKIT_UNLOCK(&pmap->lock);
		if (*bucket != NULL)
			MMKIT_UNLOCK(*bucket);
		*bucket = wanted;
		MMKIT_LOCK(*bucket);
		MMKIT_LOCK(&pmap->lock);
		mmk__path_init(path);
	}
	return false;
}

MMK_API bool
mmk_page_translation(struct mmk_pmap_sys *sys, struct mmk_frame *frame,
    uint32_t nth, struct mmk_pmap **pmap_out, mmk_va *va_out)
{
	MMKIT_LOCK_T *bucket = mmk__rmap_lock(sys, frame);
	const struct mmk__rmap *entry;

	MMKIT_LOCK(bucket);
	entry = (const struct mmk__rmap *)frame->translations;
	while (entry != NULL && nth-- > 0)
		entry = entry->next;
	if (entry != NULL) {
		*pmap_out = entry->pmap;
		*va_out = entry->va;
	}
	MMKIT_UNLOCK(bucket);
	return entry != NULL;
}

/* The pmap has a tracked leaf at entry->va that leads into `frame`. */
MMK_PRIVATE bool
mmk__rmap_agrees(const struct mmk__rmap *entry, const struct mmk_frame *frame)
{
	struct mmk_pmap *pmap = entry->pmap;
	const struct mmk_pt_shape *shape = &pmap->sys->shape;
	struct mmk__path path;
	const uint64_t *slot;
	bool agrees = false;

	MMKIT_LOCK(&pmap->lock);
	slot = mmk__path_leaf(pmap, entry->va, &path);
	if (slot != NULL) {
		uint64_t pte = MMKIT_ATOMIC_LOAD(slot);

		agrees = mmk__rmap_frame(pmap->sys, mmk_pt_pa(shape, 0, pte),
		             mmk_pt_flags(shape, 0, pte)) == frame;
	}
	MMKIT_UNLOCK(&pmap->lock);
	return agrees;
}

MMK_API bool
mmk_rmap_check(struct mmk_pmap_sys *sys, struct mmk_frame *frame)
{
	MMKIT_LOCK_T *bucket = mmk__rmap_lock(sys, frame);
	const struct mmk__rmap *entry;
	uint32_t nr_entries = 0;
	bool is_good = true;

	MMKIT_LOCK(bucket);
	entry = (const struct mmk__rmap *)frame->translations;
	for (; entry != NULL && is_good; entry = entry->next) {
		nr_entries++;
		is_good = nr_entries <= frame->mapped &&
		    mmk__rmap_agrees(entry, frame);
	}
	is_good = is_good && nr_entries == frame->mapped;
	MMKIT_UNLOCK(bucket);
	return is_good;
}
#endif /* MMKIT_IMPLEMENTATION */
