/* SPDX-License-Identifier: MIT
 *
 * ports/x86_64/mmkit_pmap.h: the pmap backend of an x86_64 kernel
 *
 * WHAT    Binds pte.h to the names of the contract (mmkit/pmap/table.h), and
 *         adds the instructions. For kernels: MMKIT_PMAP_H names this file.
 *         With PCIDs (CR4.PCIDE set on every CPU, and tag_bits 12 in the
 *         shape) CR3 has the pmap's tag in its low bits, and loading it drops
 *         that tag's translations, or with bit 63 none. Without, loading it
 *         drops all. Neither reaches global translations: of a pmap that has
 *         some all is dropped by a change of CR4.PGE.
 *
 *         The kernel must have set CR0.PG and WP, CR4.PAE, EFER.LME and NXE,
 *         IA32_PAT and CR4.PKE as the shape says (features, nr_keys); and
 *         CR4.PGE, if global translations are to outlive a load of CR3.
 *         MMKIT_KERNEL_ROOT_PA, a physical address, names the kernel's own top
 *         table; it must translate whatever runs while no pmap is active.
 *
 *         Its own half (entries 256 to 511) is a pmap (mmk_pmap_init_kernel),
 *         whose root is walked while no other is: then every new pmap has these
 *         entries, and what changes is dropped under all PCIDs. That pmap must
 *         translate what runs, before it is activated.
 *
 *         Or it is the kernel's business to copy these entries into the root of
 *         every new pmap, a forked one too: mmk_frame_ptr(phys, pmap->root); and
 *         to drop what it changes under all PCIDs: a CPU keeps what it has when
 *         it goes from one to another.
 *
 * LAYER   a backend; included by mmkit/pmap/table.h
 * LOCKS   none
 * COST    one instruction a page, at most MMK_X86_64_INVLPG_MAX of them
 * SOURCE  Intel SDM vol. 3A, sections 4.10.2.4 (global pages), 4.10.4
 *         (invalidation) and 4.10.5.
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
#define mmk_pt_is_known mmk_x86_64_is_known
#define MMK_PT_HALVES_SHARE_ROOT 1

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

#define MMK_X86_64_CR4_PGE ((uint64_t)1 << 7)

/* All translations of this CPU, of every space, global ones too. */
static inline void
mmk_x86_64_forget_all(void)
{
	uint64_t cr4;

	__asm__ volatile("movq %%cr4, %0" : "=r"(cr4) : : "memory");
	__asm__ volatile("movq %0, %%cr4"
	                 :
	                 : "r"(cr4 ^ MMK_X86_64_CR4_PGE)
	                 : "memory");
	__asm__ volatile("movq %0, %%cr4" : : "r"(cr4) : "memory");
}

/* Bits of CR3: the PCID; when it is loaded: keep what is under it. */
#define MMK_X86_64_CR3_PCID ((uint64_t)0xfff)
#define MMK_X86_64_CR3_KEEP ((uint64_t)1 << 63)

/*
 * INVLPG concerns the tag that is in use. For another one all there is is dropped:
 * to go there and back would be to walk tables without being in pmap->cpus, while
 * others free them. INVLPG also drops every cached upper entry, for whatever
 * address, so a range that lost tables needs no more than the pages it lost. Of the
 * kernel's pmap upper entries are under every tag: all is dropped, too.
 */
static inline void
mmk_pt_invalidate(struct mmk_pmap *pmap, mmk_va start_va, mmk_va end_va)
{
	uint64_t cr3;

	if (pmap->base_va != 0 && pmap->sys->shape.tag_bits > 0) {
		mmk_x86_64_forget_all();
		return;
	}
	__asm__ volatile("movq %%cr3, %0" : "=r"(cr3) : : "memory");
	if (pmap->tag != 0 && (cr3 & MMK_X86_64_CR3_PCID) != pmap->tag) {
		mmk_x86_64_forget_all();
		return;
	}
	if (mmk_pages_of_bytes(end_va - start_va) > MMK_X86_64_INVLPG_MAX) {
		if (MMKIT_ATOMIC_LOAD(&pmap->has_global) != 0)
			mmk_x86_64_forget_all();
		else
			mmk_x86_64_load_cr3(cr3);
		return;
	}
	for (mmk_va va = start_va; va < end_va; va += MMK_PAGE_BYTES)
		__asm__ volatile("invlpg (%0)" : : "r"(va) : "memory");
}

/*
 * This CPU walks pmap->root. NULL: the kernel's own root, which has PCID 0 in
 * common with pmaps that have no tag: who comes from one of those drops it all.
 * Who comes from another PCID finds nothing but the kernel's under it. The same
 * of the root of the kernel's pmap.
 */
static inline void
mmk_pt_activate(struct mmk_pmap *pmap)
{
	uint64_t last, next = (mmk_pa)MMKIT_KERNEL_ROOT_PA;

	__asm__ volatile("movq %%cr3, %0" : "=r"(last) : : "memory");
	if (pmap != NULL)
		next = pmap->root_pa;
	if ((pmap == NULL || pmap->base_va != 0) &&
	    (last & MMK_X86_64_CR3_PCID) != 0)
		next |= MMK_X86_64_CR3_KEEP;
	mmk_x86_64_load_cr3(next);
}

/* The same for one that has a tag. */
static inline void
mmk_x86_64_activate_tag(struct mmk_pmap *pmap, bool is_fresh)
{
	mmk_x86_64_load_cr3(pmap->root_pa | pmap->tag |
	    (is_fresh ? MMK_X86_64_CR3_KEEP : 0));
}
#define mmk_pt_activate_tag mmk_x86_64_activate_tag

/*
 * Before any other pmap: the kernel's root in place of the one from its start,
 * and nothing is left of that, of global translations either. NULL: back to it.
 * What the start had in CR3's low bits need not be a PCID.
 */
static inline void
mmk_x86_64_activate_kernel(struct mmk_pmap *pmap)
{
	if (pmap == NULL) {
		mmk_pt_activate(NULL);
		return;
	}
	mmk_x86_64_load_cr3(pmap->root_pa);
	mmk_x86_64_forget_all();
}
#define mmk_pt_activate_kernel mmk_x86_64_activate_kernel

#endif /* MMKIT_X86_64_PMAP_H */
