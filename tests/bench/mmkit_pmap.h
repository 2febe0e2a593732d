/* SPDX-License-Identifier: MIT
 *
 * tests/bench/mmkit_pmap.h: x86_64 page tables, real bytes, on no MMU: the
 * entries of ports/x86_64 with invalidation left out.
 */
#ifndef BENCH_MMKIT_PMAP_H
#define BENCH_MMKIT_PMAP_H

#include "../../ports/x86_64/pte.h"

#define mmk_pt_va_limit(shape) mmk_x86_64_va_limit(shape)
#define mmk_pt_make_leaf(shape, level, pa, flags) \
	mmk_x86_64_make_leaf(shape, level, pa, flags)
#define mmk_pt_make_table(shape, level, pa) \
	mmk_x86_64_make_table(shape, level, pa)
#define mmk_pt_is_present(shape, level, pte) \
	mmk_x86_64_is_present(shape, level, pte)
#define mmk_pt_is_leaf(shape, level, pte) mmk_x86_64_is_leaf(shape, level, pte)
#define mmk_pt_pa(shape, level, pte) mmk_x86_64_pa(shape, level, pte)
#define mmk_pt_flags(shape, level, pte) mmk_x86_64_flags(shape, level, pte)
#define mmk_pt_invalidate(pmap, start_va, end_va) \
	((void)(pmap), (void)(start_va), (void)(end_va))
#define mmk_pt_activate(pmap) ((void)(pmap))
#define mmk_pt_published(pmap) ((void)(pmap))

#endif
