/* SPDX-License-Identifier: MIT
 *
 * tests/selftest_pmap.h: the simulated machine's backend, with the faults that
 * test_selftest.c asks for
 */
#ifndef MMKIT_TESTS_SELFTEST_PMAP_H
#define MMKIT_TESTS_SELFTEST_PMAP_H

#include "../ports/sim/mmkit_pmap.h"

static inline void
planted_invalidate(struct mmk_pmap *pmap, mmk_va start_va, mmk_va end_va)
{
	if (planted == FORGETS_TO_INVALIDATE)
		return;
	if (planted == INVALIDATES_ONE_PAGE)
		end_va = mmk_min(start_va + MMK_PAGE_BYTES, end_va);
	if (planted == FORGETS_RANGES_OF_80 &&
	    mmk_pages_of_bytes(end_va - start_va) == 80)
		return;
	if (planted == FORGETS_SUPERPAGES && start_va == LARGE_VA)
		return;
	mmk_pt_invalidate(pmap, start_va, end_va);
}
#define mmk_pt_invalidate planted_invalidate

static inline void
planted_activate(struct mmk_pmap *pmap)
{
	if (planted == KEEPS_THE_FIRST_SPACE && pmap != NULL) {
		static struct mmk_pmap *first;

		first = pmap->owner != NULL ? (struct mmk_pmap *)pmap->owner
		                            : pmap;
		pmap = first;
	}
	if (planted == STAYS_ACTIVE && pmap == NULL)
		return;
	mmk_pt_activate(pmap);
}
#define mmk_pt_activate planted_activate

#endif
