/* SPDX-License-Identifier: MIT
 *
 * ports/aarch64/regs.h: what aarch64's registers of translation hold, as numbers
 *
 * WHAT    TTBR0_EL1 and TTBR1_EL1, the operand of TLBI by address, the fields of
 *         TCR_EL1 that follow from a shape, and the fault status of ESR_EL1. No
 *         instruction and no state.
 * LAYER   a backend's part; included by mmkit/pmap/table.h after pte.h
 * LOCKS   none
 * COST    a few instructions each
 * SOURCE  Arm ARM, DDI 0487, D8.2 (translation process), D24.2 (TCR_EL1,
 *         TTBR0_EL1, ESR_EL1), C5.5 (TLBI).
 */
#ifndef MMKIT_AARCH64_REGS_H
#define MMKIT_AARCH64_REGS_H

#ifndef MMKIT_AARCH64_PTE_H
#error "mmkit: include pte.h first"
#endif

#define MMK_AARCH64_TCR_WALKS_CACHED ((uint64_t)5 << 8) /* IRGN0, ORGN0 */
#define MMK_AARCH64_TCR_INNER ((uint64_t)3 << 12)       /* SH0 */
#define MMK_AARCH64_TCR_T1SZ_SHIFT 16
#define MMK_AARCH64_TCR_EPD1 ((uint64_t)1 << 23)
#define MMK_AARCH64_TCR_WALKS_CACHED1 ((uint64_t)5 << 24) /* IRGN1, ORGN1 */
#define MMK_AARCH64_TCR_INNER1 ((uint64_t)3 << 28)        /* SH1 */
#define MMK_AARCH64_TCR_TG1_SHIFT 30
#define MMK_AARCH64_TCR_AS ((uint64_t)1 << 36)
#define MMK_AARCH64_TCR_HA ((uint64_t)1 << 39)
#define MMK_AARCH64_TCR_HD ((uint64_t)1 << 40)
#define MMK_AARCH64_TCR_DS ((uint64_t)1 << 59)

/*
 * TTBR0_EL1, or with tag 0 TTBR1_EL1, for a top table: bits 51..48 of its address
 * are at 5..2. A table is a page, so the 64 bytes that it must be aligned to then,
 * and what a small top table would save, never matter.
 */
static inline uint64_t
mmk_aarch64_ttbr(mmk_pa root_pa, uint32_t tag)
{
	return (root_pa & (((uint64_t)1 << 48) - 1)) |
	    (root_pa >> 48 & 0xf) << 2 | (uint64_t)tag << 48;
}

/*
 * TLBI takes bits 55..12 of the address, whatever the granule, and the ASID; or,
 * with tag 0, none: TLBI VAA. Bit 55 tells the halves apart.
 */
static inline uint64_t
mmk_aarch64_tlbi_operand(uint32_t tag, mmk_va va)
{
	return (va >> 12 & (((uint64_t)1 << 44) - 1)) | (uint64_t)tag << 48;
}

/* TCR_EL1.IPS: the least that has room for addresses of so many bits. */
static inline uint64_t
mmk_aarch64_tcr_ips(unsigned pa_bits)
{
	static const uint8_t widths[] = { 32, 36, 40, 42, 44, 48 };
	unsigned ips = 0;

	while (ips < sizeof widths && widths[ips] < pa_bits)
		ips++;
	return (uint64_t)ips << 32;
}

/*
 * TCR_EL1 for a shape: TTBR0's half, and what concerns both. The kernel adds
 * the upper half's: mmk_aarch64_tcr_upper for its pmap, or for tables of the same
 * shape; or its own (T1SZ, IRGN1, ORGN1, SH1, TG1), or EPD1. With DS its own
 * tables have that format, too: where SH was, address bits 51..50 are.
 */
static inline uint64_t
mmk_aarch64_tcr(const struct mmk_pt_shape *shape)
{
	uint64_t granule = shape->page_shift == 12 ? 0
	    : shape->page_shift == 14              ? 2
	                                           : 1;

	return (64 - (uint64_t)shape->va_bits) | granule << 14 |
	    MMK_AARCH64_TCR_WALKS_CACHED | MMK_AARCH64_TCR_INNER |
	    mmk_aarch64_tcr_ips(shape->pa_bits) |
	    (shape->tag_bits > 8 ? MMK_AARCH64_TCR_AS : 0) |
	    (shape->hw_accessed ? MMK_AARCH64_TCR_HA : 0) |
	    (shape->hw_modified ? MMK_AARCH64_TCR_HD : 0) |
	    (mmk_aarch64_has_ds(shape) ? MMK_AARCH64_TCR_DS : 0);
}

/*
 * The same for TTBR1's half, to be ored to it: T1SZ, the same walks, and TG1, which
 * is not encoded as TG0 is. A1 is 0: the ASID is TTBR0's.
 */
static inline uint64_t
mmk_aarch64_tcr_upper(const struct mmk_pt_shape *shape)
{
	uint64_t granule = shape->page_shift == 12 ? 2
	    : shape->page_shift == 14              ? 1
	                                           : 3;

	return (64 - (uint64_t)shape->va_bits) << MMK_AARCH64_TCR_T1SZ_SHIFT |
	    granule << MMK_AARCH64_TCR_TG1_SHIFT |
	    MMK_AARCH64_TCR_WALKS_CACHED1 | MMK_AARCH64_TCR_INNER1;
}

/*
 * Is an instruction or data abort with this ESR_EL1 one that mmk_fault may mend?
 * Translation faults (4 to 7, and 0x2b where the top of five levels is empty),
 * access flag (8 to 11), permission (12 to 15).
 */
static inline bool
mmk_aarch64_may_mend(uint64_t esr)
{
	unsigned status = (unsigned)(esr & 0x3f);

	return (status >= 4 && status < 16) || status == 0x2b;
}

/* Or does it say that an address in a table, or in TTBR, is too wide? */
static inline bool
mmk_aarch64_is_address_size(uint64_t esr)
{
	unsigned status = (unsigned)(esr & 0x3f);

	return status < 4 || status == 0x29;
}

#endif /* MMKIT_AARCH64_REGS_H */
