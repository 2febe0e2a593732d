/* SPDX-License-Identifier: MIT
 *
 * ports/sim/mmkit_pmap.h: the pmap backend of the simulated machine
 *
 * WHAT    Both table formats in one program: shape->arch says which. Entries
 *         are spelled by the real backends' pte.h, so that the machine's own
 *         walkers can judge them; invalidation goes to the simulated TLBs.
 *         Activating a pmap without a tag drops nothing, leaving it does.
 * LAYER   a backend; included by mmkit/pmap/table.h
 * LOCKS   none
 * COST    one predictable branch more than a real backend
 * SOURCE  own
 */
#ifndef SIM_MMKIT_PMAP_H
#define SIM_MMKIT_PMAP_H

#include "../aarch64/pte.h"
#include "../aarch64/regs.h"
#include "../x86_64/pte.h"
#include "sim.h"

static inline bool
sim_pt_is_x86_64(const struct mmk_pt_shape *shape)
{
	return shape->arch == MMK_PT_ARCH_X86_64;
}

static inline mmk_va
mmk_sim_va_limit(const struct mmk_pt_shape *shape)
{
	return sim_pt_is_x86_64(shape) ? mmk_x86_64_va_limit(shape)
	                               : mmk_aarch64_va_limit(shape);
}
#define mmk_pt_va_limit mmk_sim_va_limit

static inline bool
mmk_sim_is_known(const struct mmk_pt_shape *shape)
{
	return sim_pt_is_x86_64(shape) ? mmk_x86_64_is_known(shape)
	                               : mmk_aarch64_is_known(shape);
}
#define mmk_pt_is_known mmk_sim_is_known

static inline uint64_t
mmk_pt_make_leaf(const struct mmk_pt_shape *shape, unsigned level, mmk_pa pa,
    unsigned flags)
{
	return sim_pt_is_x86_64(shape)
	    ? mmk_x86_64_make_leaf(shape, level, pa, flags)
	    : mmk_aarch64_make_leaf(shape, level, pa, flags);
}

static inline uint64_t
mmk_pt_make_table(const struct mmk_pt_shape *shape, unsigned level,
    mmk_pa table_pa)
{
	return sim_pt_is_x86_64(shape)
	    ? mmk_x86_64_make_table(shape, level, table_pa)
	    : mmk_aarch64_make_table(shape, level, table_pa);
}

static inline bool
mmk_pt_is_present(const struct mmk_pt_shape *shape, unsigned level,
    uint64_t pte)
{
	return sim_pt_is_x86_64(shape)
	    ? mmk_x86_64_is_present(shape, level, pte)
	    : mmk_aarch64_is_present(shape, level, pte);
}

static inline bool
mmk_pt_is_leaf(const struct mmk_pt_shape *shape, unsigned level, uint64_t pte)
{
	return sim_pt_is_x86_64(shape) ? mmk_x86_64_is_leaf(shape, level, pte)
	                               : mmk_aarch64_is_leaf(shape, level, pte);
}

static inline mmk_pa
mmk_pt_pa(const struct mmk_pt_shape *shape, unsigned level, uint64_t pte)
{
	return sim_pt_is_x86_64(shape) ? mmk_x86_64_pa(shape, level, pte)
	                               : mmk_aarch64_pa(shape, level, pte);
}

static inline unsigned
mmk_pt_flags(const struct mmk_pt_shape *shape, unsigned level, uint64_t pte)
{
	return sim_pt_is_x86_64(shape) ? mmk_x86_64_flags(shape, level, pte)
	                               : mmk_aarch64_flags(shape, level, pte);
}

/* Only Arm has groups. */
#define mmk_pt_is_contig mmk_aarch64_is_contig

/* The address space's tag in the TLBs; of the kernel's half any. */
static inline uint64_t
sim_space_of_pmap(const struct mmk_pmap *pmap)
{
	if (pmap->base_va != 0)
		return SIM_EVERY_SPACE;
	return pmap->sys->shape.tag_bits > 0 ? pmap->tag : pmap->root_pa;
}

/* Arm's invalidation reaches all CPUs, with tags and without. */
static inline bool
mmk_sim_is_broadcast(const struct mmk_pt_shape *shape)
{
	return !sim_pt_is_x86_64(shape);
}
#define mmk_pt_is_broadcast mmk_sim_is_broadcast

static inline void
mmk_pt_invalidate(struct mmk_pmap *pmap, mmk_va start_va, mmk_va end_va)
{
	if (mmk_sim_is_broadcast(&pmap->sys->shape))
		sim_tlb_broadcast(pmap, sim_space_of_pmap(pmap), start_va,
		    end_va);
	else
		sim_tlb_invalidate(pmap, sim_space_of_pmap(pmap), start_va,
		    end_va);
}

/* The top table; on Arm what is left of it after TTBR0_EL1. */
static inline uint64_t
sim_root_of_pmap(const struct mmk_pmap *pmap)
{
	return sim_pt_is_x86_64(&pmap->sys->shape)
	    ? pmap->root_pa
	    : sim_root_of_ttbr(mmk_aarch64_ttbr(pmap->root_pa, pmap->tag));
}

/* The kernel's pmap: the machine knows its root. */
static inline void
mmk_pt_activate(struct mmk_pmap *pmap)
{
	if (pmap != NULL && pmap->base_va == 0)
		sim_cpu_set_root(sim_cpu_id(), sim_root_of_pmap(pmap));
	else
		sim_cpu_clear_root(sim_cpu_id());
}

static inline void
mmk_sim_activate_tag(struct mmk_pmap *pmap, bool is_fresh)
{
	sim_cpu_set_tag(sim_cpu_id(), sim_root_of_pmap(pmap), pmap->tag,
	    is_fresh);
}
#define mmk_pt_activate_tag mmk_sim_activate_tag

static inline void
mmk_sim_activate_kernel(struct mmk_pmap *pmap)
{
	sim_cpu_set_kernel_root(sim_cpu_id(),
	    pmap != NULL ? sim_root_of_pmap(pmap) : SIM_NO_ROOT);
}
#define mmk_pt_activate_kernel mmk_sim_activate_kernel

static inline bool
mmk_sim_halves_share_root(const struct mmk_pt_shape *shape)
{
	return sim_pt_is_x86_64(shape);
}
#define mmk_pt_halves_share_root mmk_sim_halves_share_root

/* The walkers read entries with acquire: nothing to publish. */
static inline void
mmk_pt_published(struct mmk_pmap *pmap)
{
	(void)pmap;
}

/*
 * Arm's TLB may keep denying what it has cached. x86_64 looks at the tables
 * again before it faults.
 */
static inline void
mmk_sim_raised(struct mmk_pmap *pmap, mmk_va va)
{
	if (!sim_pt_is_x86_64(&pmap->sys->shape))
		sim_tlb_invalidate_page(pmap, sim_space_of_pmap(pmap), va);
}
#define mmk_pt_raised mmk_sim_raised

#endif /* SIM_MMKIT_PMAP_H */
