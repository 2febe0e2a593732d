/* SPDX-License-Identifier: MIT
 *
 * ports/aarch64/mmkit_pmap.h: the pmap backend of an aarch64 kernel at EL1
 *
 * WHAT    Binds pte.h to the names of the contract (mmkit/pmap/table.h), and
 *         adds the instructions. For kernels: MMKIT_PMAP_H names this file.
 *         A pmap is what TTBR0_EL1 translates, or, the kernel's,
 *         TTBR1_EL1: that one has no ASID, its leaves are global, and the upper
 *         entries that walks of it leave behind are filed under the ASID of the
 *         moment, so it is flushed under all of them. With ASIDs (tag_bits 8 or 16 in
 *         the shape, TCR_EL1.AS accordingly, A1 = 0) each has its own; those
 *         without a tag share number 0, and leaving one drops its
 *         translations. Tags want MMKIT_KERNEL_ROOT_PA, the
 *         physical address of a page of zeros: TTBR0 gets it while no pmap is
 *         active, TTBR1 when the kernel's has been.
 *
 *         The kernel must have set MAIR_EL1 (MMK_AARCH64_MAIR, or its own with
 *         MMK_AARCH64_ATTR_*), TCR_EL1 (mmk_aarch64_tcr() of the shape, and
 *         mmk_aarch64_tcr_upper() or its own half), TCR2_EL1.E0POE and
 *         SCTLR_EL1.BT0 as the shape says (nr_keys, features) and the rest of
 *         SCTLR_EL1.
 *
 *         Activating the kernel's pmap replaces TTBR1: the tables before it must
 *         translate what runs then to the same pages, by leaves of the same size
 *         (or the CPU has FEAT_BBM, level 2); or else the kernel does it itself,
 *         from the lower half, by way of the page of zeros, and activates then.
 *
 * LAYER   a backend; included by mmkit/pmap/table.h
 * LOCKS   none
 * COST    one broadcast a page, at most MMK_AARCH64_TLBI_MAX of them
 * SOURCE  Arm ARM, DDI 0487, D8.13 and D8.14 (TLB maintenance), C5.5 (TLBI).
 */
#ifndef MMKIT_AARCH64_PMAP_H
#define MMKIT_AARCH64_PMAP_H

#include "pte.h"
#include "regs.h"

#define mmk_pt_make_leaf mmk_aarch64_make_leaf
#define mmk_pt_make_table mmk_aarch64_make_table
#define mmk_pt_is_present mmk_aarch64_is_present
#define mmk_pt_is_leaf mmk_aarch64_is_leaf
#define mmk_pt_pa mmk_aarch64_pa
#define mmk_pt_flags mmk_aarch64_flags
#define mmk_pt_va_limit mmk_aarch64_va_limit
#define mmk_pt_is_known mmk_aarch64_is_known
#define mmk_pt_is_contig mmk_aarch64_is_contig

/* TLBI ...IS reaches every CPU of the inner shareable domain. */
#define MMK_PT_INVALIDATE_IS_BROADCAST 1

/* From here on, dropping the whole address space is the cheaper way. */
#ifndef MMK_AARCH64_TLBI_MAX
#define MMK_AARCH64_TLBI_MAX 64
#endif

/* Walkers see the new entry, and this CPU's next instruction may use it. */
static inline void
mmk_pt_published(struct mmk_pmap *pmap)
{
	(void)pmap;
	__asm__ volatile("dsb ishst\n\tisb" : : : "memory");
}

/*
 * A permission fault may come from a cached entry with fewer rights: drop
 * this CPU's. Other CPUs come here when they fault (mmk_pmap_emulate).
 */
static inline void
mmk_aarch64_raised(struct mmk_pmap *pmap, mmk_va va)
{
	uint64_t operand = mmk_aarch64_tlbi_operand(pmap->tag, va);

	__asm__ volatile("dsb nshst" : : : "memory");
	if (pmap->base_va != 0)
		__asm__ volatile("tlbi vaae1, %0" : : "r"(operand) : "memory");
	else
		__asm__ volatile("tlbi vae1, %0" : : "r"(operand) : "memory");
	__asm__ volatile("dsb nsh\n\tisb" : : : "memory");
}
#define mmk_pt_raised mmk_aarch64_raised

/*
 * VAE1IS and not VALE1IS: the range may have lost tables, and the cached
 * upper entries that led to them must go too. It reaches a global translation,
 * as ASIDE1IS does not. VAAE1IS of the kernel's pmap: its upper entries are under
 * any ASID.
 */
static inline void
mmk_pt_invalidate(struct mmk_pmap *pmap, mmk_va start_va, mmk_va end_va)
{
	bool is_kernel = pmap->base_va != 0;

	__asm__ volatile("dsb ishst" : : : "memory");
	if (mmk_pages_of_bytes(end_va - start_va) > MMK_AARCH64_TLBI_MAX) {
		if (is_kernel || MMKIT_ATOMIC_LOAD(&pmap->has_global) != 0)
			__asm__ volatile("tlbi vmalle1is" : : : "memory");
		else
			__asm__ volatile("tlbi aside1is, %0"
			                 :
			                 : "r"((uint64_t)pmap->tag << 48)
			                 : "memory");
		start_va = end_va;
	}
	for (mmk_va va = start_va; va < end_va; va += MMK_PAGE_BYTES) {
		uint64_t operand = mmk_aarch64_tlbi_operand(pmap->tag, va);

		if (is_kernel)
			__asm__ volatile("tlbi vaae1is, %0"
			                 :
			                 : "r"(operand)
			                 : "memory");
		else
			__asm__ volatile("tlbi vae1is, %0"
			                 :
			                 : "r"(operand)
			                 : "memory");
	}
	__asm__ volatile("dsb ish\n\tisb" : : : "memory");
}

/*
 * What said that this CPU uses the space is seen by all before its walker reads
 * an entry: whoever changes one afterwards finds the CPU, and flushes.
 */
static inline void
mmk_aarch64_load_ttbr(uint64_t ttbr)
{
	__asm__ volatile("dsb ish\n\t"
	                 "msr ttbr0_el1, %0\n\t"
	                 "isb"
	                 :
	                 : "r"(ttbr)
	                 : "memory");
}

/* This CPU alone forgets all it holds. */
static inline void
mmk_aarch64_forget_all(void)
{
	__asm__ volatile("tlbi vmalle1\n\tdsb nsh\n\tisb" : : : "memory");
}

/* The same of the upper half. What this CPU has of other tables there goes. */
static inline void
mmk_aarch64_load_ttbr1(uint64_t ttbr)
{
	__asm__ volatile("dsb ish\n\t"
	                 "msr ttbr1_el1, %0\n\t"
	                 "isb"
	                 :
	                 : "r"(ttbr)
	                 : "memory");
	mmk_aarch64_forget_all();
}

/* This CPU alone forgets what it holds under a tag. */
static inline void
mmk_aarch64_forget(uint32_t tag)
{
	__asm__ volatile("tlbi aside1, %0\n\t"
	                 "dsb nsh\n\t"
	                 "isb"
	                 :
	                 : "r"((uint64_t)tag << 48)
	                 : "memory");
}

#ifdef MMKIT_KERNEL_ROOT_PA
/*
 * NULL: the table of zeros that the kernel keeps for this, under number 0, as
 * pmaps without a tag are: what one of those leaves behind is dropped.
 */
static inline void
mmk_pt_activate(struct mmk_pmap *pmap)
{
	uint64_t last;

	__asm__ volatile("mrs %0, ttbr0_el1" : "=r"(last) : : "memory");
	mmk_aarch64_load_ttbr(mmk_aarch64_ttbr(pmap != NULL
	        ? pmap->root_pa : (mmk_pa)MMKIT_KERNEL_ROOT_PA, 0));
	if (last >> 48 == 0)
		mmk_aarch64_forget(0);
}

static inline void
mmk_aarch64_activate_tag(struct mmk_pmap *pmap, bool is_fresh)
{
	if (!is_fresh)
		mmk_aarch64_forget(pmap->tag);
	mmk_aarch64_load_ttbr(mmk_aarch64_ttbr(pmap->root_pa, pmap->tag));
}
#define mmk_pt_activate_tag mmk_aarch64_activate_tag

/* NULL: the table of zeros, here too. */
static inline void
mmk_aarch64_activate_kernel(struct mmk_pmap *pmap)
{
	mmk_aarch64_load_ttbr1(mmk_aarch64_ttbr(pmap != NULL
	        ? pmap->root_pa : (mmk_pa)MMKIT_KERNEL_ROOT_PA, 0));
}
#else
/*
 * TLBs may remember TCR_EL1.EPD0 and EPD1, so each change of them is followed by
 * a flush of everything, before the root of that half changes.
 */
static inline void
mmk_aarch64_set_tcr(uint64_t tcr)
{
	__asm__ volatile("msr tcr_el1, %0\n\tisb" : : "r"(tcr) : "memory");
	mmk_aarch64_forget_all();
}

/* NULL: nothing is walked (TCR_EL1.EPD0). Tags would be of no use. */
static inline void
mmk_pt_activate(struct mmk_pmap *pmap)
{
	uint64_t no_walk = (uint64_t)1 << 7;
	uint64_t tcr;

	__asm__ volatile("mrs %0, tcr_el1" : "=r"(tcr));
	mmk_aarch64_set_tcr(tcr | no_walk);
	mmk_aarch64_load_ttbr(
	    pmap == NULL ? 0 : mmk_aarch64_ttbr(pmap->root_pa, 0));
	if (pmap != NULL)
		mmk_aarch64_set_tcr(tcr & ~no_walk);
}

/* NULL: nothing is walked (TCR_EL1.EPD1). */
static inline void
mmk_aarch64_activate_kernel(struct mmk_pmap *pmap)
{
	uint64_t tcr;

	__asm__ volatile("mrs %0, tcr_el1" : "=r"(tcr));
	if (pmap == NULL) {
		mmk_aarch64_set_tcr(tcr | MMK_AARCH64_TCR_EPD1);
		mmk_aarch64_load_ttbr1(0);
		return;
	}
	mmk_aarch64_load_ttbr1(mmk_aarch64_ttbr(pmap->root_pa, 0));
	if ((tcr & MMK_AARCH64_TCR_EPD1) != 0)
		mmk_aarch64_set_tcr(tcr & ~MMK_AARCH64_TCR_EPD1);
}
#endif
#define mmk_pt_activate_kernel mmk_aarch64_activate_kernel

#endif /* MMKIT_AARCH64_PMAP_H */
