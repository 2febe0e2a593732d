/* SPDX-License-Identifier: MIT
 *
 * mmkit/pmap/half.h: one root for the kernel's half and a program's
 *
 * WHAT    On x86_64 one top table has both halves. The entries of the upper one
 *         are those of the kernel's pmap, in every root: copied when a pmap is
 *         made, and never again, for the tables that they lead to are there from
 *         the start and stay, empty or not.
 *
 *           the kernel's root    a program's, another's
 *             lower: nothing       its own
 *             upper: ---> tables <--- the same
 *                           '--> what comes and goes
 *
 *         Elsewhere (aarch64) the kernel's root is in a register of its own, and
 *         nothing here does anything.
 * LAYER   pmap. Includes table.h.
 * LOCKS   none: all this is done while nobody else knows the pmap
 * COST    the kernel's: a table for each entry, 1 MiB on x86_64. Others: a copy
 *         of as many entries.
 * SOURCE  own; Linux allocates these tables for its vmalloc range only.
 *
 * I1      each root leads to the kernel's tables            tested by: check
 */
#ifndef MMKIT_PMAP_HALF_H
#define MMKIT_PMAP_HALF_H

#include "table.h"

#endif /* MMKIT_PMAP_HALF_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_PMAP_HALF_IMPL)
#define MMKIT_PMAP_HALF_IMPL

/* Tables of this level stay, empty or not. */
MMK_PRIVATE bool
mmk__table_stays(const struct mmk_pmap *pmap, unsigned level)
{
	const struct mmk_pt_shape *shape = &pmap->sys->shape;

	return pmap->base_va != 0 && mmk_pt_halves_share_root(shape) &&
	    level + 2 == shape->nr_levels;
}

/* The first of a root's entries for the upper half; how many there are. */
MMK_PRIVATE uint64_t *
mmk__root_upper(const struct mmk_pmap *pmap, uint64_t *nr_out)
{
	const struct mmk_pt_shape *shape = &pmap->sys->shape;
	unsigned top = shape->nr_levels - 1u;

	*nr_out = mmk_pt_va_limit(shape) >> mmk__pt_shift(top);
	return mmk__pt_slot(top, pmap->root_pa,
	    (mmk_va)0 - mmk_pt_va_limit(shape));
}

/*
 * The kernel's root is given all its tables: what others have of it never
 * changes. False: no memory; some may be there. pre: nobody knows the pmap.
 */
MMK_PRIVATE bool
mmk__root_fill(struct mmk_pmap *pmap)
{
	struct mmk_pmap_sys *sys = pmap->sys;
	unsigned top = sys->shape.nr_levels - 1u;
	uint64_t nr;
	uint64_t *slots = mmk__root_upper(pmap, &nr);

	if (!mmk_pt_halves_share_root(&sys->shape))
		return true;
	for (uint64_t i = 0; i < nr; i++) {
		struct mmk_frame *table =
		    mmk__table_alloc(sys, pmap, MMK_ALLOC_ZERO);

		if (table == NULL)
			return false;
		table->mapped = 1;
		MMKIT_ATOMIC_STORE(&slots[i], mmk_pt_make_table(&sys->shape,
		    top, mmk_frame_pa(sys->phys, table)));
		pmap->root->mapped++;
		pmap->nr_tables++;
	}
	return true;
}

/* The other way. pre: they are empty, and no CPU can reach them any more. */
MMK_PRIVATE void
mmk__root_clear(struct mmk_pmap *pmap)
{
	const struct mmk_pt_shape *shape = &pmap->sys->shape;
	unsigned top = shape->nr_levels - 1u;
	uint64_t nr;
	uint64_t *slots = mmk__root_upper(pmap, &nr);

	if (!mmk__table_stays(pmap, top - 1))
		return;
	for (uint64_t i = 0; i < nr && pmap->nr_tables > 1; i++) {
		struct mmk_frame *table = mmk_frame_of_pa(pmap->sys->phys,
		    mmk_pt_pa(shape, top, mmk__pte_take(&slots[i])));

		MMK_ASSERT(table->mapped == 1);
		table->mapped = 0;
		mmk__table_free(pmap->sys, table);
		pmap->root->mapped--;
		pmap->nr_tables--;
	}
}

/* A new pmap of the lower half has the kernel's entries, if they share. */
MMK_PRIVATE void
mmk__root_share(struct mmk_pmap *pmap)
{
	const struct mmk_pmap *kernel = pmap->sys->kernel;
	uint64_t *slots;
	const uint64_t *from;
	uint64_t nr;

	if (kernel == NULL || !mmk_pt_halves_share_root(&pmap->sys->shape))
		return;
	slots = mmk__root_upper(pmap, &nr);
	from = mmk__root_upper(kernel, &nr);
	for (uint64_t i = 0; i < nr; i++)
		MMKIT_ATOMIC_STORE(&slots[i], MMKIT_ATOMIC_LOAD(&from[i]));
}

/* It still has them; what the hardware notes in an entry is each root's own. */
MMK_PRIVATE bool
mmk__root_is_shared(const struct mmk_pmap *pmap)
{
	const struct mmk_pmap *kernel = pmap->sys->kernel;
	const struct mmk_pt_shape *shape = &pmap->sys->shape;
	unsigned top = shape->nr_levels - 1u;
	const uint64_t *slots, *from;
	uint64_t nr;

	if (kernel == NULL || !mmk_pt_halves_share_root(shape))
		return true;
	slots = mmk__root_upper(pmap, &nr);
	from = mmk__root_upper(kernel, &nr);
	for (uint64_t i = 0; i < nr; i++) {
		uint64_t pte = MMKIT_ATOMIC_LOAD(&slots[i]);

		if (!mmk_pt_is_present(shape, top, pte) ||
		    mmk_pt_pa(shape, top, pte) !=
		        mmk_pt_pa(shape, top, MMKIT_ATOMIC_LOAD(&from[i])))
			return false;
	}
	return true;
}
#endif /* MMKIT_IMPLEMENTATION */
