/* SPDX-License-Identifier: MIT
 *
 * mmkit/pmap/check.h: is what a pmap counts what its tables hold?
 *
 * WHAT    An audit for tests, debug builds and a kernel in doubt. It walks
 *         every table, compares the counts, and looks for each tracked leaf in
 *         the reverse map.
 * LAYER   pmap. Includes half.h, page.h.
 * LOCKS   takes pmap; then bucket, pmap for each page. None of either held.
 * COST    O(tables + translations * translations of their frames)
 * SOURCE  own
 */
#ifndef MMKIT_PMAP_CHECK_H
#define MMKIT_PMAP_CHECK_H

#include "half.h"
#include "page.h"

MMK_BEGIN_DECLS

/*
 * Walks the tables: I1 to I4 of table.h, I1 and I2 of pmap.h, I1 of half.h. The
 * counts are compared under the lock; the reverse map page by page after that.
 */
MMK_API bool mmk_pmap_check(struct mmk_pmap *pmap);

MMK_END_DECLS
#endif /* MMKIT_PMAP_CHECK_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_PMAP_CHECK_IMPL)
#define MMKIT_PMAP_CHECK_IMPL

/* What a walk over all tables of a pmap finds. */
struct mmk__census {
	uint64_t nr_pages, nr_tracked, nr_wired, nr_tables, nr_reserved;
};

/* False: a large leaf that may not be. */
MMK_PRIVATE bool
mmk__census_leaf(const struct mmk_pmap *pmap, unsigned level, uint64_t pte,
    struct mmk__census *census)
{
	const struct mmk_pt_shape *shape = &pmap->sys->shape;
	unsigned flags = mmk_pt_flags(shape, level, pte);
	uint64_t nr_pages = mmk__pt_nr_pages(level);
	mmk_pa pa = mmk_pt_pa(shape, level, pte);

	census->nr_pages += nr_pages;
	census->nr_reserved += mmk__pt_nr_reserve(level);
	if ((flags & MMK_PMAP_WIRED) != 0)
		census->nr_wired += nr_pages;
	if (mmk__rmap_frame(pmap->sys, pa, flags) != NULL)
		census->nr_tracked += nr_pages;
	return level == 0 || (level <= shape->leaf_level_max &&
	    mmk__super_fits(pmap->sys, mmk__pt_span(level), pa, flags));
}

/* False: the entry is of a group that is none. */
MMK_PRIVATE bool
mmk__census_group(const struct mmk_pmap *pmap, unsigned level,
    const uint64_t *slot)
{
	const struct mmk_pt_shape *shape = &pmap->sys->shape;
	uint32_t nr = (uint32_t)1 << shape->contig_shift;
	const uint64_t *first =
	    slot - ((uintptr_t)slot / sizeof(*slot) & (nr - 1));
	unsigned flags;

	if (level > 0 || (mmk_pt_flags(shape, 0, MMKIT_ATOMIC_LOAD(slot)) &
		MMK_PMAP_CONTIG) == 0)
		return true;
	for (uint32_t i = 0; i < nr; i++)
		if ((mmk_pt_flags(shape, 0, MMKIT_ATOMIC_LOAD(&first[i])) &
			MMK_PMAP_CONTIG) == 0)
			return false;
	return mmk__super_is_one(pmap, first, nr, &flags);
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
	mmk_va span = (mmk_va)1 << mmk__pt_shift(level);
	uint64_t *slot =
	    mmk__pt_slot(level, table_pa, va ^ pmap->sign_va);
	uint64_t nr_slots = mmk_min(mmk__pt_nr_pages(1),
	    ((pmap->end_va - va - 1) >> mmk__pt_shift(level)) + 1);
	uint32_t nr_stay = mmk__table_stays(pmap, level) ? 1 : 0;
	uint32_t nr_used = 0;

	for (uint64_t i = 0; i < nr_slots; i++, va += span, slot++) {
		uint64_t pte = MMKIT_ATOMIC_LOAD(slot);

		if (pte == 0)
			continue;
		if (!mmk_pt_is_present(shape, level, pte))
			return false;
		nr_used++;
		if (mmk_pt_is_leaf(shape, level, pte)) {
			if (!mmk__census_leaf(pmap, level, pte, census) ||
			    !mmk__census_group(pmap, level, slot))
				return false;
		} else if (level == 0 ||
		    !mmk__census_table(pmap, mmk_pt_pa(shape, level, pte),
		        level - 1, va, census)) {
			return false;
		}
	}
	census->nr_tables++;
	return frame != NULL && frame->use == MMK_USE_TABLE &&
	    frame->owner == pmap && frame->mapped == nr_used + nr_stay &&
	    (frame->mapped > 0 || frame == pmap->root);
}

/* The reserve holds as many tables as it says. locks: pmap->lock held. */
MMK_PRIVATE bool
mmk__census_reserve(const struct mmk_pmap *pmap)
{
	uint64_t nr_tables = 0;
	uint32_t chain = pmap->reserve;

	while (chain != 0 && nr_tables <= pmap->nr_reserved) {
		const struct mmk_frame *table =
		    mmk_frame_at(pmap->sys->phys, chain - 1);

		if (table->use != MMK_USE_TABLE || table->owner != pmap ||
		    table->mapped != 0)
			return false;
		chain = (uint32_t)(uintptr_t)table->translations;
		nr_tables++;
	}
	return chain == 0 && nr_tables == pmap->nr_reserved;
}

/* The frame's list, if it has one, has this leaf. locks: its bucket. */
MMK_PRIVATE bool
mmk__check_is_listed(const struct mmk_pmap *pmap, const struct mmk__path *path,
    const struct mmk_frame *frame)
{
	const struct mmk_pt_shape *shape = &pmap->sys->shape;
	uint64_t pte = MMKIT_ATOMIC_LOAD(path->slots[path->level]);
	struct mmk__rmap *head;

	if (frame == NULL)
		return true;
	head = (struct mmk__rmap *)frame->translations;
	return frame->use != MMK_USE_FREE &&
	    mmk__rmap_find(&head, pmap, mmk__rmap_base(pmap->sys, frame,
	        path->va, mmk__path_pa(shape, path, pte))) != NULL;
}

/* The counts are those that a walk over all tables finds. Same locks. */
MMK_PRIVATE bool
mmk__check_counts(const struct mmk_pmap *pmap)
{
	const struct mmk_pmap_sys *sys = pmap->sys;
	struct mmk__census census = {0, 0, 0, 0, 0};

	return mmk__census_table(pmap, pmap->root_pa,
	           sys->shape.nr_levels - 1u, pmap->base_va, &census) &&
	    census.nr_pages == pmap->nr_pages &&
	    census.nr_tracked == pmap->nr_tracked &&
	    census.nr_wired == pmap->nr_wired &&
	    census.nr_tables == pmap->nr_tables &&
	    census.nr_reserved == pmap->nr_reserved &&
	    mmk__census_reserve(pmap) && mmk__root_is_shared(pmap);
}

MMK_API bool
mmk_pmap_check(struct mmk_pmap *pmap)
{
	struct mmk__hold hold = { NULL, NULL };
	struct mmk__path path;
	bool is_good;
	mmk_va va = 0;

	mmk__path_init(&path);
	mmk__pmap_lock(pmap, NULL);
	is_good = mmk__check_counts(pmap);
	while (is_good &&
	    mmk__leaf_next(pmap, &va, UINT64_MAX, &path, &hold)) {
		is_good = mmk__check_is_listed(pmap, &path, hold.frame);
		va = mmk__path_end(&path);
	}
	mmk__pmap_unlock(pmap, hold.bucket);
	return is_good;
}
#endif /* MMKIT_IMPLEMENTATION */
