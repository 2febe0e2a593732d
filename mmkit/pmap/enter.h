/* SPDX-License-Identifier: MIT
 *
 * mmkit/pmap/enter.h: entering translations: a page, a run
 *
 * WHAT    One hold of the locks finds the place, takes what memory is needed,
 *         adds the tables that lack, and writes:
 *
 *           empty               write                         (no flush)
 *           the same page       change its rights in place    (flush if less)
 *           the same, within    split the large leaf, look again
 *             a large leaf
 *           something else      empty it, flush, look again   (break, make)
 *
 *         What takes many, of tables or of entries of the reverse map, has them
 *         reserved before, without locks. A run is entered in pieces: a large leaf wherever addresses, length
 *         and frames allow and no table is in the way; else as many pages of
 *         one table as one lock of the reverse map guards. If a table was in
 *         the way, and has come to be full of the run, it is joined; in the
 *         kernel's half only if somebody asks (mmk_pmap_promote).
 *
 * LAYER   pmap. Includes super.h.
 * LOCKS   a bucket of the reverse map, then the pmap; flushes with neither
 * COST    one walk a piece
 * SOURCE  own
 */
#ifndef MMKIT_PMAP_ENTER_H
#define MMKIT_PMAP_ENTER_H

#include "super.h"

MMK_BEGIN_DECLS

/*
 * mmk_pmap_enter: translate one page.
 *
 * What is there is replaced. The same page: its rights become `flags` in
 * place, with a flush only if some were taken away; accessed and modified
 * stay. Another page, or another kind of memory: the old translation is
 * removed and flushed before the new one is written (break before make).
 * flags may have ACCESSED and MODIFIED set from the start. More may be granted
 * than asked, if the architecture has no other way: see mmk_pmap_query.
 *
 * locks    takes bucket, pmap. None above VM held; none above MAP if a large
 *          leaf may be there: it waits, or splits it.
 * errors   MMK_ERR_NOMEM: a table or an entry of the reverse map.
 *          MMK_ERR_INVAL: unaligned, beyond the widths or in the other half, no
 *          permission at all, flags that this CPU cannot express
 *          (mmk_pt_can_express), global where the pmap has a tag, or user in the
 *          kernel's. MMK_ERR_LIMIT: the frame has 2^31 translated
 *          pages. Nothing changed by any, but that a large leaf may be split.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_pmap_enter(struct mmk_pmap *pmap,
    mmk_va va, mmk_pa pa, unsigned flags);

/*
 * mmk_pmap_enter_run: mmk_pmap_enter for nr_pages neighbours, with large leaves
 * where they fit: see super.h.
 *
 * out      *nr_done_out: pages entered, also if an error ended it early; what
 *          was entered stays.
 * errors   as mmk_pmap_enter.
 * cost     one walk for each table; of foreign pages that are not entered as
 *          untracked, a look at each.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_pmap_enter_run(struct mmk_pmap *pmap,
    mmk_va va, mmk_pa pa, uint64_t nr_pages, unsigned flags,
    uint64_t *nr_done_out);

MMK_END_DECLS
#endif /* MMKIT_PMAP_ENTER_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_PMAP_ENTER_IMPL)
#define MMKIT_PMAP_ENTER_IMPL

/* What is to be entered, and what is reserved for it. */
struct mmk__enter {
	struct mmk_pmap *pmap;
	mmk_va va;
	mmk_pa pa;
	unsigned flags;
	unsigned level;           /* of the leaf */
	unsigned had, has;        /* flags of a leaf changed in place */
	bool holds_place;         /* counted in its table, but empty */
	bool is_refused;          /* an entry: there was no memory for it */
	uint32_t reserve;         /* chain: the tables a large leaf keeps */
	struct mmk_frame *frame;  /* tracked there; NULL: untracked */
	struct mmk__rmap *spares; /* entries for the reverse map */
};

#define MMK__ENTER_RIGHTS (MMK_PROT_ALL | MMK_PMAP_USER)
/* With another of these an access may be refused, or may go where it did not. */
#define MMK__ENTER_JUDGES (MMK_PMAP_KEY_MASK | MMK_PMAP_GUARDED)
#define MMK__ENTER_CHANGEABLE \
	(MMK__ENTER_RIGHTS | MMK__ENTER_JUDGES | MMK_PMAP_WIRED | MMK_PMAP_SOFT)
/* What a leaf keeps until it is emptied and flushed. */
#define MMK__ENTER_KIND (MMK_PMAP_TYPE | MMK_PMAP_GLOBAL | MMK_PMAP_UNTRACKED)

MMK_PRIVATE bool
mmk__enter_is_valid(const struct mmk_pmap *pmap, mmk_va va, mmk_pa pa,
    unsigned flags)
{
	const struct mmk_pt_shape *shape = &pmap->sys->shape;

	return mmk_is_page_aligned(va) && mmk_pmap_covers(pmap, va) &&
	    mmk_is_page_aligned(pa) && pa >> shape->pa_bits == 0 &&
	    (flags & MMK_PROT_ALL) != 0 && mmk_pt_can_express(shape, flags) &&
	    (flags & pmap->refused) == 0;
}

/* Move the count of wired pages from a leaf's old flags to its new ones. */
MMK_PRIVATE void
mmk__pmap_count_wired(struct mmk_pmap *pmap, unsigned level, unsigned old,
    unsigned now)
{
	uint64_t nr_pages = mmk__pt_nr_pages(level);

	if ((old & MMK_PMAP_WIRED) != 0)
		pmap->nr_wired -= nr_pages;
	if ((now & MMK_PMAP_WIRED) != 0)
		pmap->nr_wired += nr_pages;
}

/* ---- reserving, without locks -------------------------------------------- */

/* Give back what was not needed. */
MMK_PRIVATE void
mmk__enter_release(struct mmk__enter *enter)
{
	struct mmk_pmap_sys *sys = enter->pmap->sys;

	while (enter->spares != NULL) {
		struct mmk__rmap *entry = enter->spares;

		enter->spares = entry->next;
		mmk_pool_free(&sys->rmap_pool, entry);
	}
	mmk__tables_free(sys, enter->reserve);
	enter->reserve = 0;
}

/* One entry more; false: no memory. */
MMK_PRIVATE bool
mmk__enter_spare(struct mmk__enter *enter)
{
	struct mmk__rmap *entry = (struct mmk__rmap *)mmk_pool_alloc(
	    &enter->pmap->sys->rmap_pool);

	if (entry == NULL) {
		enter->is_refused = true;
		return false;
	}
	entry->next = enter->spares;
	enter->spares = entry;
	return true;
}

/* There is an entry for the leaf if it takes one; false: no memory. */
MMK_PRIVATE bool
mmk__enter_has_entry(struct mmk__enter *enter)
{
	return enter->frame == NULL || enter->spares != NULL ||
	    (!enter->is_refused && mmk__enter_spare(enter));
}

/* The tables that the large leaf keeps; false: no memory, some may be there. */
MMK_PRIVATE bool
mmk__enter_reserve(struct mmk__enter *enter)
{
	struct mmk_pmap_sys *sys = enter->pmap->sys;
	uint64_t nr = mmk__pt_nr_reserve(enter->level);

	while (nr-- > 0) {
		struct mmk_frame *table =
		    mmk__table_alloc(sys, enter->pmap, 0);

		if (table == NULL)
			return false;
		mmk__tables_push(sys, &enter->reserve, table);
	}
	return true;
}

/* One more translation of its frame would be too many. locks: the bucket. */
MMK_PRIVATE bool
mmk__enter_is_over(const struct mmk__enter *enter)
{
	return enter->frame != NULL && enter->frame->mapped > MMK__MAPPED_MAX;
}

/* ---- one leaf ------------------------------------------------------------ */

/*
 * Write the leaf and count it. pre: its place is empty, and everything it
 * needs reserved. locks: both held.
 */
MMK_PRIVATE void
mmk__enter_fill(struct mmk__enter *enter, struct mmk__path *path)
{
	struct mmk_pmap *pmap = enter->pmap;
	const struct mmk_pt_shape *shape = &pmap->sys->shape;
	uint64_t nr_pages = mmk__pt_nr_pages(enter->level);
	uint64_t *slot = path->slots[enter->level];

	if (!enter->holds_place)
		mmk__path_table(pmap, path)->mapped++;
	enter->holds_place = false;
	pmap->nr_pages += nr_pages;
	if ((enter->flags & MMK_PMAP_GLOBAL) != 0)
		MMKIT_ATOMIC_STORE(&pmap->has_global, 1u);
	mmk__pmap_count_wired(pmap, enter->level, 0, enter->flags);
	for (; enter->reserve != 0; pmap->nr_reserved++)
		mmk__tables_push(pmap->sys, &pmap->reserve,
		    mmk__tables_pop(pmap->sys, &enter->reserve));
	if (enter->frame != NULL) {
		pmap->nr_tracked += nr_pages;
		mmk__rmap_insert(enter->frame, &enter->spares, pmap,
		    mmk__rmap_base(pmap->sys, enter->frame, enter->va,
		        enter->pa),
		    (uint32_t)nr_pages);
	}
	MMKIT_ATOMIC_STORE(slot, mmk_pt_make_leaf(shape, enter->level,
	    enter->pa, enter->flags));
}

/*
 * A leaf is there, maybe a larger one: change it, if it is the same page.
 *
 * locks    both held.
 * errors   MMK_ERR_EXIST: it is something else. MMK_ERR_AGAIN: it is to be
 *          split first. Nothing changed.
 */
MMK_PRIVATE MMK_NODISCARD enum mmk_err
mmk__enter_same(struct mmk__enter *enter, const struct mmk__path *path)
{
	struct mmk_pmap *pmap = enter->pmap;
	const struct mmk_pt_shape *shape = &pmap->sys->shape;
	unsigned take = MMK__ENTER_CHANGEABLE & ~enter->flags;
	uint64_t *slot = path->slots[path->level];
	uint64_t pte = MMKIT_ATOMIC_LOAD(slot);
	unsigned old = mmk_pt_flags(shape, path->level, pte);
	unsigned now = mmk_pt_flags(shape, path->level,
	    mmk_pt_make_leaf(shape, path->level, 0,
	        (old & ~take) | enter->flags));

	if (mmk__path_pa(shape, path, pte) != enter->pa ||
	    ((old ^ enter->flags) & MMK__ENTER_KIND) != 0)
		return MMK_ERR_EXIST;
	if (mmk__path_is_larger(path, enter->level) &&
	    ((old ^ now) & MMK__ENTER_CHANGEABLE) != 0)
		return MMK_ERR_AGAIN;
	mmk__leaf_change(shape, path, pte, old, enter->flags, take, NULL);
	mmk__pmap_count_wired(pmap, path->level, old, now);
	enter->had = old;
	enter->has = now;
	if (enter->holds_place) {
		mmk__pt_frame(pmap, slot)->mapped--;
		enter->holds_place = false;
	}
	return MMK_OK;
}

/*
 * mmk__enter_locked: what one hold of the locks can do.
 *
 * errors   MMK_ERR_NOMEM, MMK_ERR_LIMIT. MMK_ERR_BUSY: a table is where the
 *          large leaf should be. MMK_ERR_AGAIN, MMK_ERR_EXIST: as above.
 *          Nothing changed.
 */
MMK_PRIVATE MMK_NODISCARD enum mmk_err
mmk__enter_locked(struct mmk__enter *enter, struct mmk__path *path)
{
	struct mmk_pmap *pmap = enter->pmap;
	const struct mmk_pt_shape *shape = &pmap->sys->shape;
	bool reaches = mmk__path_find(pmap, enter->va, path);
	uint64_t pte = MMKIT_ATOMIC_LOAD(path->slots[path->level]);
	enum mmk_err err;

	if (path->level < enter->level) {
		if (enter->holds_place)
			mmk__pt_frame(pmap, path->slots[enter->level])->mapped--;
		enter->holds_place = false;
		return MMK_ERR_BUSY;
	}
	if (reaches && mmk_pt_is_present(shape, path->level, pte)) {
		mmk__path_see(shape, path, pte);
		err = mmk__enter_same(enter, path);
		if (err != MMK_ERR_EXIST)
			return err;
		return mmk__enter_has_entry(enter) ? err : MMK_ERR_NOMEM;
	}
	if (!mmk__enter_has_entry(enter))
		return MMK_ERR_NOMEM;
	if (mmk__enter_is_over(enter) && !enter->holds_place)
		return MMK_ERR_LIMIT;
	if (path->level > enter->level) {
		err = mmk__path_grow(pmap, enter->level, path);
		if (err != MMK_OK)
			return err;
	}
	mmk__enter_fill(enter, path);
	mmk_pt_published(pmap);
	return MMK_OK;
}

/*
 * mmk__enter_try: one leaf, if nothing else is there.
 *
 * locks    takes bucket, pmap; flushes when it has let go.
 * errors   MMK_ERR_NOMEM, MMK_ERR_LIMIT, MMK_ERR_BUSY, MMK_ERR_EXIST.
 */
MMK_PRIVATE MMK_NODISCARD enum mmk_err
mmk__enter_try(struct mmk__enter *enter)
{
	struct mmk_pmap *pmap = enter->pmap;
	MMKIT_LOCK_T *bucket = NULL;
	struct mmk__path path;
	enum mmk_err err;

	if (enter->frame != NULL)
		bucket = mmk__rmap_lock(pmap->sys, enter->frame);
	enter->had = 0;
	enter->has = 0;
	for (;;) {
		mmk__pmap_lock(pmap, bucket);
		err = mmk__enter_locked(enter, &path);
		if (err != MMK_ERR_AGAIN)
			break;
		mmk__path_split(pmap, &path, bucket);
	}
	mmk__pmap_unlock(pmap, bucket);
	if ((enter->had & ~enter->has & MMK__ENTER_RIGHTS) != 0 ||
	    ((enter->had ^ enter->has) & MMK__ENTER_JUDGES) != 0)
		mmk__flush(pmap, enter->va, enter->va +
		    mmk__pt_span(enter->level));
	else if (enter->had != enter->has)
		mmk_pt_raised(pmap, enter->va);
	return err;
}

/*
 * mmk__enter_displace: break before make: remove the leaf that is there, and
 * flush it. Its place stays counted, so the table stays, and trying again
 * after this cannot fail for want of one.
 *
 * locks    takes bucket, pmap; flushes when it has let go.
 */
MMK_PRIVATE void
mmk__enter_displace(struct mmk__enter *enter)
{
	struct mmk_pmap *pmap = enter->pmap;
	mmk_va va = enter->va;
	mmk_va end_va = va + mmk__pt_span(enter->level);
	struct mmk__hold hold = { NULL, NULL };
	struct mmk__path path;
	uint32_t chain = 0;

	mmk__path_init(&path);
	mmk__pmap_lock(pmap, NULL);
	while (mmk__leaf_next(pmap, &va, va + MMK_PAGE_BYTES, &path, &hold) &&
	    mmk__path_is_larger(&path, enter->level)) {
		mmk__path_split(pmap, &path, hold.bucket);
		hold.bucket = NULL;
		mmk__path_init(&path);
		mmk__pmap_lock(pmap, NULL);
	}
	/* What is there is what mmk__leaf_next came to. */
	if (mmk__path_leaf(pmap, enter->va, &path) != NULL &&
	    path.level == enter->level) {
		mmk_pool_free(&pmap->sys->rmap_pool,
		    mmk__leaf_clear(pmap, &path, hold.frame, &chain));
		if (enter->holds_place)
			mmk__pt_frame(pmap, path.slots[path.level])->mapped--;
		enter->holds_place = true;
	}
	mmk__pmap_unlock(pmap, hold.bucket);
	mmk__flush(pmap, enter->va, end_va);
	mmk__tables_free(pmap->sys, chain);
}

/* errors MMK_ERR_NOMEM, MMK_ERR_LIMIT, MMK_ERR_BUSY; nothing changed. */
MMK_PRIVATE MMK_NODISCARD enum mmk_err
mmk__enter_leaf(struct mmk__enter *enter)
{
	enum mmk_err err;

	while ((err = mmk__enter_try(enter)) == MMK_ERR_EXIST)
		mmk__enter_displace(enter);
	mmk__enter_release(enter);
	return err;
}

/*
 * Of the kernel's half: a CPU may remember a table that was there before, and
 * whose going is not flushed yet; it would fault, and not every code of the
 * kernel's can. locks: none above VM held.
 */
MMK_PRIVATE void
mmk__enter_settle(struct mmk_pmap *pmap, mmk_va va, mmk_va end_va)
{
	if (pmap->base_va != 0 && !mmk_pt_is_broadcast(&pmap->sys->shape) &&
	    (MMKIT_ATOMIC_LOAD(&pmap->nr_gathers) != 0 ||
	        MMKIT_ATOMIC_LOAD(&pmap->nr_flushing) != 0))
		mmk__flush(pmap, va, end_va);
}

#ifndef mmk_pmap_enter
MMK_API enum mmk_err
mmk_pmap_enter(struct mmk_pmap *pmap, mmk_va va, mmk_pa pa, unsigned flags)
{
	struct mmk_pmap_sys *sys = pmap->sys;
	struct mmk__enter enter = { pmap, va, pa, flags | pmap->implied, 0, 0,
		0, false, false, 0, NULL, NULL };
	enum mmk_err err;

	if (!mmk__enter_is_valid(pmap, va, pa, flags))
		return MMK_ERR_INVAL;
	enter.frame = mmk__rmap_frame(sys, pa, flags);
	if (enter.frame == NULL)
		enter.flags |= MMK_PMAP_UNTRACKED;
	err = mmk__enter_leaf(&enter);
	mmk__enter_settle(pmap, va, va + MMK_PAGE_BYTES);
	return err;
}
#endif

/* ---- a run --------------------------------------------------------------- */

/* As many pages from enter->va on as one hold of the locks may enter. */
MMK_PRIVATE uint64_t
mmk__enter_piece(const struct mmk__enter *enter, uint64_t nr_pages)
{
	struct mmk_pmap_sys *sys = enter->pmap->sys;
	const struct mmk_frame *frame = enter->frame;
	uint64_t per_table = mmk__pt_nr_pages(1);
	uint64_t nr = 1;

	nr_pages = mmk_min(nr_pages,
	    per_table - mmk__pt_index(0, enter->va));
	nr_pages = mmk_min(nr_pages, mmk_pages_of_bytes(
	    ((mmk_pa)1 << sys->shape.pa_bits) - enter->pa));
	if (frame != NULL && frame->order > 0)
		return mmk_min(nr_pages, mmk_frame_nr_pages(frame) -
		    mmk_pages_of_bytes(enter->pa -
		        mmk_frame_pa(sys->phys, frame)));
	for (; nr < nr_pages; nr++) {
		const struct mmk_frame *after = mmk__rmap_frame(sys,
		    enter->pa + mmk_bytes_of_pages(nr), enter->flags);

		if (frame == NULL ? after != NULL
		                  : after == NULL || after->order > 0 ||
		            mmk__rmap_lock(sys, after) !=
		                mmk__rmap_lock(sys, frame))
			break;
	}
	return nr;
}

/*
 * May the next nr_pages of the run begin with a group, in empty places? locks:
 * both held.
 */
MMK_PRIVATE bool
mmk__enter_is_group(const struct mmk__enter *enter,
    const struct mmk__path *path, uint64_t nr_pages)
{
	const struct mmk_pmap_sys *sys = enter->pmap->sys;
	const struct mmk_pt_shape *shape = &sys->shape;
	uint64_t nr = (uint64_t)1 << shape->contig_shift;
	mmk_pa bytes = mmk_bytes_of_pages(nr);

	if (nr == 1 || nr > nr_pages || (enter->va & (bytes - 1)) != 0 ||
	    !mmk__super_fits(sys, bytes, enter->pa, enter->flags))
		return false;
	for (uint64_t i = 0; i < nr; i++)
		if (mmk_pt_is_present(shape, 0,
		        MMKIT_ATOMIC_LOAD(path->slots[0] + i)))
			return false;
	return enter->frame == NULL ||
	    enter->frame->mapped <= MMK__MAPPED_MAX - nr;
}

/*
 * Fill places of one table while they are empty, from the path's on. locks:
 * both held.
 */
MMK_PRIVATE uint64_t
mmk__enter_fill_some(struct mmk__enter *enter, struct mmk__path *path,
    uint64_t nr_pages)
{
	const struct mmk_pmap_sys *sys = enter->pmap->sys;
	uint64_t nr = 0, end_group = 0;

	while (nr < nr_pages && !mmk_pt_is_present(&sys->shape, 0,
	           MMKIT_ATOMIC_LOAD(path->slots[0]))) {
		if (enter->frame != NULL && enter->frame->order == 0)
			enter->frame = mmk_frame_of_pa(sys->phys, enter->pa);
		if (mmk__enter_is_over(enter))
			break;
		if (nr >= end_group) {
			enter->flags &= ~MMK_PMAP_CONTIG;
			if (mmk__enter_is_group(enter, path, nr_pages - nr)) {
				enter->flags |= MMK_PMAP_CONTIG;
				end_group = nr +
				    ((uint64_t)1 << sys->shape.contig_shift);
			}
		}
		mmk__enter_fill(enter, path);
		enter->va += MMK_PAGE_BYTES;
		enter->pa += MMK_PAGE_BYTES;
		path->slots[0]++;
		nr++;
	}
	return nr;
}

/*
 * mmk__enter_pages: neighbours in one table, as far as nothing is there.
 *
 * pre      nr_pages from mmk__enter_piece, and what it takes is reserved.
 * locks    takes bucket, pmap.
 * out      *nr_done_out: how many; `enter` is moved on by as many.
 * errors   MMK_ERR_NOMEM: nothing changed.
 */
MMK_PRIVATE MMK_NODISCARD enum mmk_err
mmk__enter_pages(struct mmk__enter *enter, uint64_t nr_pages,
    uint64_t *nr_done_out)
{
	struct mmk_pmap *pmap = enter->pmap;
	MMKIT_LOCK_T *bucket = NULL;
	enum mmk_err err = MMK_OK;
	struct mmk__path path;

	if (enter->frame != NULL)
		bucket = mmk__rmap_lock(pmap->sys, enter->frame);
	mmk__pmap_lock(pmap, bucket);
	if (!mmk__path_find(pmap, enter->va, &path) &&
	    !mmk__enter_is_over(enter))
		err = mmk__path_grow(pmap, 0, &path);
	*nr_done_out = 0;
	if (err == MMK_OK && path.level == 0) {
		*nr_done_out = mmk__enter_fill_some(enter, &path, nr_pages);
		mmk_pt_published(pmap);
	}
	mmk__pmap_unlock(pmap, bucket);
	return err;
}

/*
 * Reserve entries for a piece of nr_pages: one for each frame of a page, one in
 * all for pages of a large frame. How many pages there is enough for.
 */
MMK_PRIVATE uint64_t
mmk__enter_spares(struct mmk__enter *enter, uint64_t nr_pages)
{
	uint64_t nr = 0;

	if (enter->frame == NULL)
		return nr_pages;
	if (enter->frame->order > 0)
		return mmk__enter_spare(enter) ? nr_pages : 0;
	while (nr < nr_pages && mmk__enter_spare(enter))
		nr++;
	return nr;
}

/* One piece of a run, in small leaves. errors as mmk_pmap_enter. */
MMK_PRIVATE MMK_NODISCARD enum mmk_err
mmk__enter_small(const struct mmk__enter *run, uint64_t nr_pages,
    uint64_t *nr_done_out)
{
	struct mmk__enter enter = *run;
	enum mmk_err err = MMK_OK;

	*nr_done_out = 0;
	enter.frame = mmk__rmap_frame(run->pmap->sys, run->pa, run->flags);
	if (enter.frame == NULL)
		enter.flags |= MMK_PMAP_UNTRACKED;
	nr_pages = mmk__enter_piece(&enter, nr_pages);
	nr_pages = mmk__enter_spares(&enter, nr_pages);
	if (nr_pages > 0)
		err = mmk__enter_pages(&enter, nr_pages, nr_done_out);
	if (err == MMK_OK && *nr_done_out == 0) {
		/* Something is there, or an entry is not. */
		*nr_done_out = 1;
		return mmk__enter_leaf(&enter);
	}
	mmk__enter_release(&enter);
	return err;
}

/* The level of the largest leaf that may be at the front of a run. */
MMK_PRIVATE unsigned
mmk__enter_level(const struct mmk__enter *run, uint64_t nr_pages)
{
	const struct mmk_pmap_sys *sys = run->pmap->sys;
	unsigned level = sys->shape.leaf_level_max;

	for (; level > 0; level--) {
		uint64_t nr = mmk__pt_nr_pages(level);
		mmk_va span_bytes = mmk__pt_span(level);

		if (nr <= nr_pages && (run->va & (span_bytes - 1)) == 0 &&
		    mmk__super_fits(sys, span_bytes, run->pa, run->flags))
			break;
	}
	return level;
}

/* One large leaf. errors as mmk__enter_leaf. */
MMK_PRIVATE MMK_NODISCARD enum mmk_err
mmk__enter_large(const struct mmk__enter *run, unsigned level)
{
	struct mmk__enter enter = *run;

	enter.level = level;
	enter.frame = mmk__rmap_frame(run->pmap->sys, run->pa, run->flags);
	if (!mmk__enter_has_entry(&enter) || !mmk__enter_reserve(&enter)) {
		mmk__enter_release(&enter);
		return MMK_ERR_NOMEM;
	}
	return mmk__enter_leaf(&enter);
}

/*
 * One piece of a run, large or small. Without memory for a large leaf, or with
 * a table in its place, the pages are entered one by one, and joined; but not
 * the kernel's, for the others of that table are in use by who takes no faults.
 */
MMK_PRIVATE MMK_NODISCARD enum mmk_err
mmk__enter_some(const struct mmk__enter *run, uint64_t nr_pages,
    uint64_t *nr_done_out)
{
	const struct mmk_pt_shape *shape = &run->pmap->sys->shape;
	unsigned level = mmk__enter_level(run, nr_pages);
	mmk_va end_va;
	enum mmk_err err;

	for (; level > 0; level--)
		if (mmk__enter_large(run, level) == MMK_OK) {
			*nr_done_out = mmk__pt_nr_pages(level);
			return MMK_OK;
		}
	err = mmk__enter_small(run, nr_pages, nr_done_out);
	end_va = run->va + mmk_bytes_of_pages(*nr_done_out);
	if (err == MMK_OK && mmk__pt_index(0, end_va) == 0 &&
	    shape->leaf_level_max > 0 && run->pmap->base_va == 0)
		(void)mmk_pmap_promote(run->pmap, run->va);
	return err;
}

#ifndef mmk_pmap_enter_run
MMK_API enum mmk_err
mmk_pmap_enter_run(struct mmk_pmap *pmap, mmk_va va, mmk_pa pa,
    uint64_t nr_pages, unsigned flags, uint64_t *nr_done_out)
{
	struct mmk__enter run = { pmap, va, pa, flags | pmap->implied, 0, 0, 0,
		false, false, 0, NULL, NULL };
	enum mmk_err err = MMK_OK;
	uint64_t nr_done = 0;

	while (nr_done < nr_pages) {
		uint64_t nr = 0;

		if (!mmk__enter_is_valid(pmap, run.va, run.pa, flags))
			err = MMK_ERR_INVAL;
		else
			err = mmk__enter_some(&run, mmk_min(nr_pages - nr_done,
			    mmk_pages_of_bytes(pmap->end_va - run.va)), &nr);
		if (err != MMK_OK)
			break;
		nr_done += nr;
		run.va = va + mmk_bytes_of_pages(nr_done);
		run.pa = pa + mmk_bytes_of_pages(nr_done);
	}
	mmk__enter_settle(pmap, va, run.va);
	*nr_done_out = nr_done;
	return err;
}
#endif
#endif /* MMKIT_IMPLEMENTATION */
