/* SPDX-License-Identifier: MIT
 *
 * mmkit/pmap/super.h: superpages: one leaf in place of a table full of them
 *
 * WHAT    A large leaf is made by entering a run (enter.h), or by joining the
 *         leaves of a table; it is split when a part of it is to change:
 *
 *           level 1   table -> 512 pages     ==join==>     leaf, 2 MiB
 *                     nr_reserved + 0       <==split==     nr_reserved + 1
 *
 *         A leaf of level n has in reserve, in its pmap, the tables that it
 *         takes to split it into pages; so neither removing nor protecting a
 *         part can fail. Joining needs no memory: the table that goes is the
 *         reserve.
 *
 *         A group (table.h) is the same at the last level: a leaf of several
 *         entries, entered where a run covers it, joined by mmk_pmap_promote,
 *         split by whatever changes a part of it. No table comes or goes, so
 *         it keeps none in reserve.
 *
 *         No translation is cached in two sizes, and none is changed while it
 *         is cached (break before make): the entry is emptied by an atomic
 *         exchange, which has the hardware's last word about accessed and
 *         modified; flushed, with no lock held; and then written. pmap->
 *         is_changing keeps everybody else away from the tables between:
 *         who faults on the hole finds the page there when he gets the lock.
 *
 *         Which leaves may be large:
 *           tracked    only within one frame: all that is done to a frame's
 *                      translations is then done to whole leaves, and modified
 *                      and accessed are the frame's, whatever the leaf's size
 *           untracked  any
 *
 * LAYER   pmap. Includes rmap.h.
 * LOCKS   takes pmap, and lets it go to flush; called with no other lock.
 *         Splitting and joining in one pmap are for those who hold a mutex of
 *         rank MAP for it (a map's, a table's of a CPU): whoever holds that
 *         too knows that nobody does so, and may look at the pmap and enter
 *         pages under a lock, as faults do.
 * COST    O(entries of a table), and a flush
 * SOURCE  own; a reserve of tables is also what Linux keeps for huge pages.
 */
#ifndef MMKIT_PMAP_SUPER_H
#define MMKIT_PMAP_SUPER_H

#include "rmap.h"

MMK_BEGIN_DECLS

/*
 * mmk_pmap_promote: one leaf for all pages of the table of level 0 around `va`.
 *
 * True: it is so on return. False: some page is not there, or the frames are not
 * contiguous and aligned, or the flags differ (but for accessed and modified),
 * or they are tracked and not of one frame, or the shape has no such leaves.
 * Then the pages of the group around `va` are one leaf, if all this is so of
 * them; else nothing changed. The leaf is accessed, modified, if any page was.
 *
 * locks    takes pmap. None above MAP held: it flushes.
 * cost     O(pages of the table), and one flush.
 */
MMK_API bool mmk_pmap_promote(struct mmk_pmap *pmap, mmk_va va);

MMK_END_DECLS
#endif /* MMKIT_PMAP_SUPER_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_PMAP_SUPER_IMPL)
#define MMKIT_PMAP_SUPER_IMPL

/*
 * Nobody else does anything to the pmap, from here to mmk__super_end. locks:
 * pmap->lock held.
 */
MMK_PRIVATE void
mmk__super_begin(struct mmk_pmap *pmap)
{
	/* Others spin until it is over: let them not wait for a sleeper. */
	MMKIT_PREEMPT_DISABLE();
	MMKIT_ATOMIC_STORE(&pmap->is_changing, 1u);
}

/* What was emptied is flushed; pmap->lock is let go meanwhile. */
MMK_PRIVATE void
mmk__super_flush(struct mmk_pmap *pmap, mmk_va start_va, mmk_va end_va)
{
	MMKIT_UNLOCK(&pmap->lock);
	mmk__flush(pmap, start_va, end_va);
	MMKIT_LOCK(&pmap->lock);
}

MMK_PRIVATE void
mmk__super_end(struct mmk_pmap *pmap)
{
	mmk_pt_published(pmap);
	MMKIT_ATOMIC_STORE(&pmap->is_changing, 0u);
	MMKIT_PREEMPT_ENABLE();
}

/*
 * mmk__super_break: empty the entry at slots[level], flush what it translated.
 *
 * locks    pmap->lock held, and lets it go in between; nobody else does
 *          anything to the pmap before mmk__super_make. No other lock.
 * out      what the entry was, in the end.
 */
MMK_PRIVATE uint64_t
mmk__super_break(struct mmk_pmap *pmap, const struct mmk__path *path,
    unsigned level)
{
	mmk_va span_bytes = mmk__pt_span(level);
	mmk_va start_va = mmk_round_down(path->va, span_bytes);
	uint64_t pte;

	mmk__super_begin(pmap);
	pte = mmk__pte_take(path->slots[level]);
	mmk__super_flush(pmap, start_va, start_va + span_bytes);
	return pte;
}

/* The entry is `pte` from now on. */
MMK_PRIVATE void
mmk__super_make(struct mmk_pmap *pmap, uint64_t *slot, uint64_t pte)
{
	MMKIT_ATOMIC_STORE(slot, pte);
	mmk__super_end(pmap);
}

/*
 * Entries of level 0 that a group has, or is to have, are made anew, with
 * MMK_PMAP_CONTIG or without.
 *
 * pre      they translate neighbouring pages to neighbouring pages; path->
 *          nr_entries is the group's.
 * locks    pmap->lock held, let go in between. No other lock.
 */
MMK_PRIVATE void
mmk__group_remake(struct mmk_pmap *pmap, const struct mmk__path *path,
    unsigned contig)
{
	const struct mmk_pt_shape *shape = &pmap->sys->shape;
	uint64_t *slot = mmk__path_first(path);
	unsigned flags;
	mmk_pa pa;

	mmk__super_begin(pmap);
	pa = mmk_pt_pa(shape, 0, mmk__leaf_take(shape, path, &flags));
	mmk__super_flush(pmap, mmk__path_start(path), mmk__path_end(path));
	flags = (flags & ~MMK_PMAP_CONTIG) | contig;
	for (unsigned i = 0; i < path->nr_entries; i++)
		MMKIT_ATOMIC_STORE(&slot[i], mmk_pt_make_leaf(shape, 0,
		    pa + mmk_bytes_of_pages(i), flags));
	mmk__super_end(pmap);
}

/* The leaf at the path's end is of more than a leaf of `level` translates. */
MMK_PRIVATE bool
mmk__path_is_larger(const struct mmk__path *path, unsigned level)
{
	return path->level > level ||
	    (path->level == level && path->nr_entries > 1);
}

/* ---- split --------------------------------------------------------------- */

/* Fill a table of `level` with what `pte`, one level above, translates. */
MMK_PRIVATE void
mmk__super_fill(const struct mmk_pmap *pmap, struct mmk_frame *table,
    unsigned level, uint64_t pte)
{
	const struct mmk_pt_shape *shape = &pmap->sys->shape;
	uint64_t *slots = (uint64_t *)mmk_frame_ptr(pmap->sys->phys, table);
	unsigned flags = mmk_pt_flags(shape, level + 1, pte);
	mmk_pa pa = mmk_pt_pa(shape, level + 1, pte);
	uint32_t nr_slots = (uint32_t)mmk__pt_nr_pages(1);

	if (level == 0 && shape->contig_shift != 0)
		flags |= MMK_PMAP_CONTIG;
	for (uint32_t i = 0; i < nr_slots; i++) {
		MMKIT_ATOMIC_STORE(&slots[i],
		    mmk_pt_make_leaf(shape, level, pa, flags));
		pa += mmk__pt_span(level);
	}
	table->mapped = nr_slots;
}

/*
 * mmk__path_split: smaller leaves for the large leaf at the path's end, or
 * single pages for a group, with all that it was: rights, accessed, modified.
 * What is counted of pages stays as it is.
 *
 * locks    pmap->lock held, and `bucket` if it is not NULL; neither on return.
 *          The path is not good any more.
 */
MMK_PRIVATE void
mmk__path_split(struct mmk_pmap *pmap, const struct mmk__path *path,
    MMKIT_LOCK_T *bucket)
{
	const struct mmk_pt_shape *shape = &pmap->sys->shape;
	unsigned level = path->level;
	struct mmk_frame *table;
	uint64_t pte;

	MMK_ASSERT(level > 0 || path->nr_entries > 1);
	if (bucket != NULL)
		MMKIT_UNLOCK(bucket);
	if (level == 0) {
		mmk__group_remake(pmap, path, 0);
		MMKIT_UNLOCK(&pmap->lock);
		return;
	}
	pte = mmk__super_break(pmap, path, level);
	table = mmk__tables_pop(pmap->sys, &pmap->reserve);
	mmk__super_fill(pmap, table, level - 1, pte);
	pmap->nr_reserved--;
	pmap->nr_tables++;
	mmk__super_make(pmap, path->slots[level],
	    mmk_pt_make_table(shape, level,
	        mmk_frame_pa(pmap->sys->phys, table)));
	MMKIT_UNLOCK(&pmap->lock);
}

/* Is all of the leaf at the path's end in [start_va, end_va)? */
MMK_PRIVATE bool
mmk__path_is_within(const struct mmk__path *path, mmk_va start_va,
    mmk_va end_va)
{
	return !mmk__path_is_larger(path, 0) ||
	    (mmk__path_start(path) >= start_va &&
	        mmk__path_end(path) <= end_va);
}

/* ---- join ---------------------------------------------------------------- */

/* A leaf of so many bytes may lead there: tracked only into one frame. */
MMK_PRIVATE bool
mmk__super_fits(const struct mmk_pmap_sys *sys, mmk_pa bytes, mmk_pa pa,
    unsigned flags)
{
	const struct mmk_frame *frame;

	if ((pa & (bytes - 1)) != 0)
		return false;
	if ((flags & MMK_PMAP_UNTRACKED) != 0)
		return true;
	frame = mmk_frame_of_pa(sys->phys, pa);
	return frame != NULL && pa + bytes <=
	    mmk_frame_pa(sys->phys, frame) + (MMK_PAGE_BYTES << frame->order);
}

/*
 * Could `nr` neighbours of level 0 be one leaf? Then what it would be is in
 * *flags_out. What one of them is of a group does not matter.
 */
MMK_PRIVATE bool
mmk__super_is_one(const struct mmk_pmap *pmap, const uint64_t *slots,
    uint32_t nr, unsigned *flags_out)
{
	const struct mmk_pt_shape *shape = &pmap->sys->shape;
	uint64_t first = MMKIT_ATOMIC_LOAD(&slots[0]);
	mmk_pa pa = mmk_pt_pa(shape, 0, first);
	unsigned flags = mmk_pt_flags(shape, 0, first) & ~MMK_PMAP_CONTIG;
	unsigned seen = 0;

	if (!mmk_pt_is_present(shape, 0, first) ||
	    !mmk__super_fits(pmap->sys, mmk_bytes_of_pages(nr), pa, flags))
		return false;
	for (uint32_t i = 0; i < nr; i++) {
		uint64_t pte = MMKIT_ATOMIC_LOAD(&slots[i]);
		unsigned here = mmk_pt_flags(shape, 0, pte);

		if (!mmk_pt_is_present(shape, 0, pte) ||
		    mmk_pt_pa(shape, 0, pte) != pa + mmk_bytes_of_pages(i) ||
		    ((here ^ flags) & ~(MMK__SEEN | MMK_PMAP_CONTIG)) != 0)
			return false;
		seen |= here & MMK__SEEN;
	}
	*flags_out = flags | seen;
	return true;
}

/* pre: the path ends at level 0. locks: pmap->lock, let go in between. */
MMK_PRIVATE bool
mmk__super_join(struct mmk_pmap *pmap, const struct mmk__path *path)
{
	struct mmk_frame *table = mmk__pt_frame(pmap, path->slots[0]);
	uint64_t *slots = (uint64_t *)mmk_frame_ptr(pmap->sys->phys, table);
	const struct mmk_pt_shape *shape = &pmap->sys->shape;
	uint32_t nr = (uint32_t)mmk__pt_nr_pages(1);
	unsigned flags;

	if (shape->leaf_level_max == 0 || table->mapped != nr ||
	    !mmk__super_is_one(pmap, slots, nr, &flags))
		return false;
	(void)mmk__super_break(pmap, path, 1);
	/* Once more, now that the hardware cannot reach the table. */
	(void)mmk__super_is_one(pmap, slots, nr, &flags);
	table->mapped = 0;
	mmk__tables_push(pmap->sys, &pmap->reserve, table);
	pmap->nr_reserved++;
	pmap->nr_tables--;
	pmap->nr_unlinked++;
	mmk__super_make(pmap, path->slots[1], mmk_pt_make_leaf(shape, 1,
	    mmk_pt_pa(shape, 0, MMKIT_ATOMIC_LOAD(&slots[0])), flags));
	return true;
}

/* The group around the path's page, if it can be one. Same pre and locks. */
MMK_PRIVATE void
mmk__group_join(struct mmk_pmap *pmap, struct mmk__path *path)
{
	unsigned nr = 1u << pmap->sys->shape.contig_shift;
	unsigned flags;

	if (path->nr_entries == nr)
		return;
	path->nr_entries = nr;
	if (mmk__super_is_one(pmap, mmk__path_first(path), nr, &flags))
		mmk__group_remake(pmap, path, MMK_PMAP_CONTIG);
}

#ifndef mmk_pmap_promote
MMK_API bool
mmk_pmap_promote(struct mmk_pmap *pmap, mmk_va va)
{
	struct mmk__path path;
	bool is_there, is_large;

	va = mmk_page_floor(va);
	mmk__pmap_lock(pmap, NULL);
	is_there = mmk__path_leaf(pmap, va, &path) != NULL;
	is_large = is_there &&
	    (path.level > 0 || mmk__super_join(pmap, &path));
	if (is_there && !is_large)
		mmk__group_join(pmap, &path);
	MMKIT_UNLOCK(&pmap->lock);
	return is_large;
}
#endif
#endif /* MMKIT_IMPLEMENTATION */
