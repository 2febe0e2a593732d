/* SPDX-License-Identifier: MIT
 *
 * mmkit/pmap/check.h: is what a pmap counts what its tables hold?
 *
 * WHAT    An audit for tests, debug builds and a kernel in doubt. It walks
 *         every table, compares the counts, and looks for each tracked leaf in
 *         the reverse map.
 * LAYER   pmap. Includes page.h.
 * LOCKS   takes pmap; then bucket, pmap for each page. None of either held.
 * COST    O(tables + translations * translations of their frames)
 * SOURCE  own
 */
#ifndef MMKIT_PMAP_CHECK_H
#define MMKIT_PMAP_CHECK_H

#include "page.h"

MMK_BEGIN_DECLS

/*
 * Walks the tables: I1 to I3 of table.h, I1 and I2 of pmap.h. The counts are
 * compared under the lock; the reverse map page by page after that.
 */
MMK_API bool mmk_pmap_check(struct mmk_pmap *pmap);

MMK_END_DECLS
#endif /* MMKIT_PMAP_CHECK_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_PMAP_CHECK_IMPL)
#define MMKIT_PMAP_CHECK_IMPL

/* What a walk over all tables of a pmap finds. */
struct mmk__census {
	uint64_t nr_pages, nr_tracked, nr_wired, nr_tables;
};

MMK_PRIVATE void
mmk__census_leaf(const struct mmk_pmap *pmap, uint64_t pte,
    struct mmk__census *census)
{
	const struct mmk_pt_shape *shape = &pmap->sys->shape;
	unsigned flags = mmk_pt_flags(shape, 0, pte);

	census->nr_pages++;
	census->nr_wired += (flags & MMK_PMAP_WIRED) != 0;
	census->nr_tracked += mmk__rmap_frame(pmap->sys,
	    mmk_pt_pa(shape, 0, pte), flags) != NULL;
}

/*
 * Count what is below one table; false: it is damaged. Calls itself, at most
 * MMK_PT_LEVELS_MAX deep. locks: pmap->lock held.
 */
MMK_PRIVATE bool
mmk__census_table(const struct mmk_pmap *pmap, mmk_pa table_pa, unsigned level,
    mmk_va va, struct mmk__census *census)
{
	const struct mmk_pt_shape *shape = &pmap->sys->shape;
	const struct mmk_frame *frame =
	    mmk_frame_of_pa(pmap->sys->phys, table_pa);
	mmk_va span = (mmk_va)1 << mmk__pt_shift(shape, level);
	mmk_va end_va = va + (span << (shape->page_shift - 3u));
	uint64_t *slot = mmk__pt_slot(shape, level, table_pa, va);
	uint32_t nr_used = 0;

	if (end_va > mmk_pt_va_limit(shape))
		end_va = mmk_pt_va_limit(shape);
	for (; va < end_va; va += span, slot++) {
		uint64_t pte = MMKIT_ATOMIC_LOAD(slot);

		if (pte == 0)
			continue;
		if (!mmk_pt_is_present(shape, level, pte))
			return false;
		nr_used++;
		if (mmk_pt_is_leaf(shape, level, pte) != (level == 0))
			return false;
		if (level == 0)
			mmk__census_leaf(pmap, pte, census);
		else if (!mmk__census_table(pmap, mmk_pt_pa(shape, level, pte),
		             level - 1, va, census))
			return false;
	}
	census->nr_tables++;
	return frame != NULL && frame->use == MMK_USE_TABLE &&
	    frame->owner == pmap && frame->mapped == nr_used &&
	    (nr_used > 0 || frame == pmap->root);
}

/* The frame's list has exactly one entry for this leaf. locks: its bucket. */
MMK_PRIVATE bool
mmk__check_is_listed(const struct mmk_pmap *pmap, mmk_va va,
    const struct mmk__path *path)
{
	const struct mmk_pt_shape *shape = &pmap->sys->shape;
	uint64_t pte = MMKIT_ATOMIC_LOAD(path->slots[0]);
	const struct mmk_frame *frame = mmk__rmap_frame(pmap->sys,
	    mmk_pt_pa(shape, 0, pte), mmk_pt_flags(shape, 0, pte));
	const struct mmk__rmap *entry;
	unsigned nr_found = 0;

	if (frame == NULL)
		return true;
	entry = (const struct mmk__rmap *)frame->translations;
	for (; entry != NULL; entry = entry->next)
		nr_found += entry->pmap == pmap && entry->va == va;
	return nr_found == 1 && frame->use != MMK_USE_FREE;
}

MMK_API bool
mmk_pmap_check(struct mmk_pmap *pmap)
{
	struct mmk_pmap_sys *sys = pmap->sys;
	struct mmk__census census = {0, 0, 0, 0};
	MMKIT_LOCK_T *bucket = NULL;
	struct mmk__path path;
	bool is_good;
	mmk_va va = 0;

	mmk__path_init(&path);
	MMKIT_LOCK(&pmap->lock);
	is_good = mmk__census_table(pmap, mmk_frame_pa(sys->phys, pmap->root),
	              sys->shape.nr_levels - 1u, 0, &census) &&
	    census.nr_pages == pmap->nr_pages &&
	    census.nr_tracked == pmap->nr_tracked &&
	    census.nr_wired == pmap->nr_wired &&
	    census.nr_tables == pmap->nr_tables;
	for (; is_good && mmk__leaf_next(pmap, &va, UINT64_MAX, &path, &bucket);
	     va += MMK_PAGE_BYTES)
		is_good = mmk__check_is_listed(pmap, va, &path);
	MMKIT_UNLOCK(&pmap->lock);
	if (bucket != NULL)
		MMKIT_UNLOCK(bucket);
	return is_good;
}
#endif /* MMKIT_IMPLEMENTATION */
