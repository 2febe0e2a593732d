/* SPDX-License-Identifier: MIT
 *
 * ports/x86_64/mmkit_pmap.h: the pmap backend of an x86_64 kernel
 *
 * WHAT    Binds pte.h to the names of the contract (mmkit/pmap/table.h), and
 *         adds the instructions. For kernels: MMKIT_PMAP_H names this file.
 *         PCID is not used: loading CR3 drops every translation.
 *
 *         The kernel must have set CR0.PG and WP, CR4.PAE, EFER.LME and NXE,
 *         and must copy its own half (entries 256 to 511) into the root of
 *         every new pmap, a forked one too: mmk_frame_ptr(phys, pmap->root).
 *         MMKIT_KERNEL_ROOT_PA, a physical address, names the kernel's own top
 *         table; it must translate whatever runs while no pmap is active.
 *
 * LAYER   a backend; included by mmkit/pmap/table.h
 * LOCKS   none
 * COST    one instruction a page, at most MMK_X86_64_INVLPG_MAX of them
 * SOURCE  Intel SDM vol. 3A, sections 4.10.4 (invalidation) and 4.10.5.
 */
#ifndef MMKIT_X86_64_PMAP_H
#define MMKIT_X86_64_PMAP_H

#include "pte.h"

#ifndef MMKIT_KERNEL_ROOT_PA
#error "mmkit: define MMKIT_KERNEL_ROOT_PA, the physical address of the kernel's own top table, in your port header; see doc/PORTING.md, pmap"
#endif

#define mmk_pt_make_leaf mmk_x86_64_make_leaf
#define mmk_pt_make_table mmk_x86_64_make_table
#define mmk_pt_is_present mmk_x86_64_is_present
#define mmk_pt_is_leaf mmk_x86_64_is_leaf
#define mmk_pt_pa mmk_x86_64_pa
#define mmk_pt_flags mmk_x86_64_flags
#define mmk_pt_va_limit mmk_x86_64_va_limit

/* Stores are seen in order, and a faulting entry is never cached (4.10.2.3). */
#define mmk_pt_published(pmap) ((void)(pmap))

/* From here on, reloading CR3 is the cheaper way. */
#ifndef MMK_X86_64_INVLPG_MAX
#define MMK_X86_64_INVLPG_MAX 32
#endif

static inline void
mmk_x86_64_load_cr3(uint64_t cr3)
{
	__asm__ volatile("movq %0, %%cr3" : : "r"(cr3) : "memory");
}

/*
 * INVLPG also drops every cached upper entry, for whatever address, so a range
 * that lost tables needs no more than the pages it lost.
 */
static inline void
mmk_pt_invalidate(struct mmk_pmap *pmap, mmk_va start_va, mmk_va end_va)
{
	uint64_t cr3;

	(void)pmap;
	if (mmk_pages_of_bytes(end_va - start_va) > MMK_X86_64_INVLPG_MAX) {
		__asm__ volatile("movq %%cr3, %0" : "=r"(cr3) : : "memory");
		mmk_x86_64_load_cr3(cr3);
		return;
	}
	for (mmk_va va = start_va; va < end_va; va += MMK_PAGE_BYTES)
		__asm__ volatile("invlpg (%0)" : : "r"(va) : "memory");
}

/* This CPU walks pmap->root. NULL: the kernel's own root. */
static inline void
mmk_pt_activate(struct mmk_pmap *pmap)
{
	mmk_x86_64_load_cr3(pmap != NULL
	        ? mmk_frame_pa(pmap->sys->phys, pmap->root)
	        : (mmk_pa)MMKIT_KERNEL_ROOT_PA);
}

#endif /* MMKIT_X86_64_PMAP_H */
