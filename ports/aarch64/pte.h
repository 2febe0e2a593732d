/* SPDX-License-Identifier: MIT
 *
 * ports/aarch64/pte.h: entries of aarch64 page tables, as numbers
 *
 * WHAT    How one descriptor of VMSAv8-64 stage 1 is spelled, for granules of
 *         4K, 16K and 64K. No instruction and no state.
 *
 *           63 62..60 59..55   54  53  52   51  50 49..48 47..12
 *           0  key    software UXN PXN (cg) DBM GP 0      address
 *
 *           11 10 9..8 7..6 5  4..2 1..0
 *           nG AF SH   AP   NS attr type
 *
 *         Addresses of 52 bits, where bits 51..48 stand:
 *
 *           4K, 16K   with TCR_EL1.DS (FEAT_LPA2): 49..48 in their own place,
 *                     51..50 in 9..8. Shareability is TCR_EL1.SH0's to say
 *                     for all, and the format is another one: a shape with
 *                     either width above 48 has it.
 *           64K       in 15..12 (FEAT_LPA); SH stays. FEAT_LVA adds virtual
 *                     bits and changes no entry.
 *
 *         Software bits: 55 modified (kept when the page is no longer
 *         writable), 56 wired, 57 untracked, 58 soft.
 *
 *         May write     DBM (51), the hardware's own mark. Where the hardware
 *                       does not set modified (shape->hw_modified false) bit
 *                       51 may be reserved, and bit 59, which is ignored, is
 *                       the mark instead.
 *         Modified      AP[2] = 0 in an entry that may be written, or bit 55.
 *                       The first write to a clean entry (AP[2] = 1) is done
 *                       by the hardware, or is a fault that
 *                       mmk_pmap_emulate mends.
 *         Execute only  user: AP[1] = 0 with UXN = 0. Elsewhere, and with
 *                       write, read is granted too.
 *
 *         nG is set but in a kernel's global translation. `attr` is the index
 *         of the memory type in MAIR_EL1. GP: guarded (FEAT_BTI). The key is
 *         the index into POR_EL0 (FEAT_S1POE): 3 bits.
 *
 * LAYER   a backend's part; included by mmkit/pmap/table.h through
 *         mmkit_pmap.h, once the shape and the flags are known.
 * LOCKS   none
 * COST    a few instructions each
 * SOURCE  Arm ARM, DDI 0487, D8.3 (descriptors), D8.4 (permissions, overlays),
 *         D8.5 (access flag and dirty state), D8.6 (memory types), D19.2.103
 *         (MAIR_EL1).
 */
#ifndef MMKIT_AARCH64_PTE_H
#define MMKIT_AARCH64_PTE_H

#ifndef MMKIT_PMAP_TABLE_H
#error "mmkit: include mmkit/pmap/pmap.h; it includes the backend"
#endif

#define MMK_PT_ARCH_AARCH64 2

/*
 * Initializers of struct mmk_pt_shape, with and without FEAT_HAFDBS. Blocks of
 * 2 MiB and 1 GiB, with 16K of 32 MiB, with 64K of 512 MiB. A kernel whose
 * MAIR_EL1 is MMK_AARCH64_MAIR adds MMK_PT_TYPES to features, with FEAT_BTI
 * MMK_PT_GUARDED, with FEAT_MTE2 MMK_PT_MTE; and nr_keys is 8 if it has set
 * TCR2_EL1.E0POE.
 */
#define MMK_AARCH64_FEATURES (MMK_PT_NX | MMK_PT_GLOBAL)
#define MMK_AARCH64_SHAPE \
	{ 4, 12, 48, 48, true, true, MMK_PT_ARCH_AARCH64, 2, 0, \
		MMK_AARCH64_FEATURES, 0, 4 }
#define MMK_AARCH64_SHAPE_SOFT \
	{ 4, 12, 48, 48, false, false, MMK_PT_ARCH_AARCH64, 2, 0, \
		MMK_AARCH64_FEATURES, 0, 4 }
#define MMK_AARCH64_SHAPE_16K \
	{ 4, 14, 48, 48, true, true, MMK_PT_ARCH_AARCH64, 1, 0, \
		MMK_AARCH64_FEATURES, 0, 7 }
#define MMK_AARCH64_SHAPE_64K \
	{ 3, 16, 48, 52, true, true, MMK_PT_ARCH_AARCH64, 1, 0, \
		MMK_AARCH64_FEATURES, 0, 5 }
/*
 * The same with addresses of 52 bits on both sides: FEAT_LPA2, or with 64K
 * FEAT_LVA and FEAT_LPA. The top tables have 16, 32 and 1024 entries. Where
 * ID_AA64MMFR0_EL1.PARange is less than 52 bits, so is pa_bits.
 */
#define MMK_AARCH64_SHAPE_LPA2 \
	{ 5, 12, 52, 52, true, true, MMK_PT_ARCH_AARCH64, 2, 0, \
		MMK_AARCH64_FEATURES, 0, 4 }
#define MMK_AARCH64_SHAPE_16K_LPA2 \
	{ 4, 14, 52, 52, true, true, MMK_PT_ARCH_AARCH64, 1, 0, \
		MMK_AARCH64_FEATURES, 0, 7 }
#define MMK_AARCH64_SHAPE_64K_LVA \
	{ 3, 16, 52, 52, true, true, MMK_PT_ARCH_AARCH64, 1, 0, \
		MMK_AARCH64_FEATURES, 0, 5 }

/*
 * The entries of MAIR_EL1 used, and its value if the kernel has no other. Of one
 * that has not MMK_PT_TYPES in its shape the first two matter only.
 */
#ifndef MMK_AARCH64_ATTR_NORMAL
#define MMK_AARCH64_ATTR_NORMAL 0 /* write-back, allocating */
#define MMK_AARCH64_ATTR_DEVICE 1 /* Device-nGnRE */
#define MMK_AARCH64_MAIR ((uint64_t)0x0000f044bb4404ff)
#endif
#ifndef MMK_AARCH64_ATTR_COMBINING
#define MMK_AARCH64_ATTR_COMBINING 2 /* Normal, not cached */
#define MMK_AARCH64_ATTR_THROUGH 3   /* write-through, allocating */
#define MMK_AARCH64_ATTR_UNCACHED 4  /* the same as 2, to be told from it */
#define MMK_AARCH64_ATTR_TAGGED 5    /* write-back, with tags */
#endif

#define MMK_AARCH64_VALID ((uint64_t)1 << 0)
#define MMK_AARCH64_TABLE ((uint64_t)1 << 1) /* and a page, at level 0 */
#define MMK_AARCH64_ATTR(idx) ((uint64_t)(idx) << 2)
#define MMK_AARCH64_ATTR_MASK ((uint64_t)7 << 2)
#define MMK_AARCH64_EL0 ((uint64_t)1 << 6) /* AP[1] */
#define MMK_AARCH64_RO ((uint64_t)1 << 7)  /* AP[2] */
#define MMK_AARCH64_INNER ((uint64_t)3 << 8)
#define MMK_AARCH64_AF ((uint64_t)1 << 10)
#define MMK_AARCH64_NG ((uint64_t)1 << 11)
#define MMK_AARCH64_GP ((uint64_t)1 << 50)
#define MMK_AARCH64_DBM ((uint64_t)1 << 51)
#define MMK_AARCH64_CONTIG ((uint64_t)1 << 52)
#define MMK_AARCH64_PXN ((uint64_t)1 << 53)
#define MMK_AARCH64_UXN ((uint64_t)1 << 54)
#define MMK_AARCH64_DIRTY ((uint64_t)1 << 55)
#define MMK_AARCH64_WIRED ((uint64_t)1 << 56)
#define MMK_AARCH64_UNTRACKED ((uint64_t)1 << 57)
#define MMK_AARCH64_SOFT ((uint64_t)1 << 58)
#define MMK_AARCH64_MAY_WRITE ((uint64_t)1 << 59) /* without DBM */
#define MMK_AARCH64_KEY_SHIFT 60

/* TCR_EL1.DS is 1: the format of FEAT_LPA2. */
static inline bool
mmk_aarch64_has_ds(const struct mmk_pt_shape *shape)
{
	return (shape->va_bits > 48 || shape->pa_bits > 48) &&
	    shape->page_shift < 16;
}

/*
 * Blocks of 1 GiB, 32 MiB and 512 MiB at most; with addresses of 52 bits those
 * of the level above, too: 512 GiB, 64 GiB, 4 TiB.
 */
static inline unsigned
mmk_aarch64_block_level_max(const struct mmk_pt_shape *shape)
{
	bool is_wide = shape->page_shift < 16 ? mmk_aarch64_has_ds(shape)
	                                      : shape->pa_bits > 48;

	return (shape->page_shift == 12 ? 2u : 1u) + (is_wide ? 1u : 0u);
}

/* Pages of one group: 64 KiB of 4K, 2 MiB of 16K and of 64K. */
static inline unsigned
mmk_aarch64_contig_shift(const struct mmk_pt_shape *shape)
{
	return shape->page_shift == 12 ? 4u : shape->page_shift == 14 ? 7u : 5u;
}

/* The hardware counts the levels itself, from T0SZ: here it is the same. */
static inline bool
mmk_aarch64_is_known(const struct mmk_pt_shape *shape)
{
	unsigned level_bits = shape->page_shift - 3u;
	unsigned index_bits = (unsigned)shape->va_bits - shape->page_shift;

	return shape->va_bits <= 52 && shape->nr_keys <= 8 &&
	    (shape->contig_shift == 0 ||
	        shape->contig_shift == mmk_aarch64_contig_shift(shape)) &&
	    shape->nr_levels == (index_bits + level_bits - 1) / level_bits &&
	    shape->leaf_level_max <= mmk_aarch64_block_level_max(shape);
}

/* TTBR0_EL1's half; TTBR1_EL1's is as large. */
static inline mmk_va
mmk_aarch64_va_limit(const struct mmk_pt_shape *shape)
{
	return (mmk_va)1 << shape->va_bits;
}

/* An address of more than 48 bits: where its upper bits stand. */
static inline uint64_t
mmk_aarch64_wide_pa_field(const struct mmk_pt_shape *shape, mmk_pa pa)
{
	bool has_ds = mmk_aarch64_has_ds(shape);
	unsigned top = has_ds ? 50 : 48;

	return (pa & (((uint64_t)1 << top) - 1)) |
	    pa >> top << (has_ds ? 8 : 12);
}

/* An address as a descriptor has it. pre: it is within the shape's width. */
static inline uint64_t
mmk_aarch64_pa_field(const struct mmk_pt_shape *shape, mmk_pa pa)
{
	pa = pa >> shape->page_shift << shape->page_shift;
	if (MMK_LIKELY(pa >> 48 == 0))
		return pa;
	return mmk_aarch64_wide_pa_field(shape, pa);
}

/* The other way, for what is aligned to 1 << shift. */
static inline mmk_pa
mmk_aarch64_pa_of_field(const struct mmk_pt_shape *shape, unsigned shift,
    uint64_t pte)
{
	mmk_pa pa = (pte & (((uint64_t)1 << 48) - 1)) >> shift << shift;

	if (MMK_LIKELY(shape->pa_bits <= 48))
		return pa;
	if (mmk_aarch64_has_ds(shape))
		return pa | (pte & (uint64_t)3 << 48) | (pte >> 8 & 3) << 50;
	return pa | (pte >> 12 & 0xf) << 48;
}

/* Normal memory is inner shareable; with DS that is said in TCR_EL1. */
static inline uint64_t
mmk_aarch64_shareability(const struct mmk_pt_shape *shape)
{
	return mmk_aarch64_has_ds(shape) ? 0 : MMK_AARCH64_INNER;
}

static inline uint64_t
mmk_aarch64_writable_bit(const struct mmk_pt_shape *shape)
{
	return shape->hw_modified ? MMK_AARCH64_DBM : MMK_AARCH64_MAY_WRITE;
}

/* The bits that say who may read and execute; who may write, may read. */
static inline uint64_t
mmk_aarch64_make_prot(unsigned flags)
{
	bool may_exec = (flags & MMK_PROT_EXEC) != 0;
	bool is_exec_only = (flags & MMK_PROT_ALL) == MMK_PROT_EXEC;

	if ((flags & MMK_PMAP_USER) == 0)
		return MMK_AARCH64_UXN | (may_exec ? 0 : MMK_AARCH64_PXN);
	return MMK_AARCH64_PXN | (may_exec ? 0 : MMK_AARCH64_UXN) |
	    (is_exec_only ? 0 : MMK_AARCH64_EL0);
}

/* The inverse. */
static inline unsigned
mmk_aarch64_prot(uint64_t pte)
{
	uint64_t never = MMK_AARCH64_UXN;
	unsigned flags = MMK_PMAP_USER | MMK_PROT_READ;

	if ((pte & MMK_AARCH64_EL0) == 0 && (pte & MMK_AARCH64_UXN) == 0)
		return MMK_PMAP_USER | MMK_PROT_EXEC;
	if ((pte & MMK_AARCH64_EL0) == 0) {
		never = MMK_AARCH64_PXN;
		flags = MMK_PROT_READ;
	}
	return flags | ((pte & never) != 0 ? 0 : MMK_PROT_EXEC);
}

/* The bits that say who may write, and who has. */
static inline uint64_t
mmk_aarch64_make_write(const struct mmk_pt_shape *shape, unsigned flags)
{
	bool is_modified = (flags & MMK_PMAP_MODIFIED) != 0;

	if ((flags & MMK_PROT_WRITE) == 0)
		return MMK_AARCH64_RO | (is_modified ? MMK_AARCH64_DIRTY : 0);
	return mmk_aarch64_writable_bit(shape) |
	    (is_modified ? 0 : MMK_AARCH64_RO);
}

/* The inverse. */
static inline unsigned
mmk_aarch64_write(const struct mmk_pt_shape *shape, uint64_t pte)
{
	bool may_write = (pte & mmk_aarch64_writable_bit(shape)) != 0;
	bool is_modified = (pte & MMK_AARCH64_DIRTY) != 0 ||
	    (may_write && (pte & MMK_AARCH64_RO) == 0);

	return (may_write ? MMK_PROT_WRITE : 0) |
	    (is_modified ? MMK_PMAP_MODIFIED : 0);
}

/* The entry of MAIR_EL1 for a memory type; of one that is not known, Device. */
static inline unsigned
mmk_aarch64_attr_of(unsigned type)
{
	switch (type) {
	case MMK_PMAP_WRITE_BACK: return MMK_AARCH64_ATTR_NORMAL;
	case MMK_PMAP_COMBINING: return MMK_AARCH64_ATTR_COMBINING;
	case MMK_PMAP_THROUGH: return MMK_AARCH64_ATTR_THROUGH;
	case MMK_PMAP_UNCACHED: return MMK_AARCH64_ATTR_UNCACHED;
	case MMK_PMAP_TAGGED: return MMK_AARCH64_ATTR_TAGGED;
	default: return MMK_AARCH64_ATTR_DEVICE;
	}
}

static inline unsigned
mmk_aarch64_type(uint64_t pte)
{
	unsigned attr = (unsigned)((pte & MMK_AARCH64_ATTR_MASK) >> 2);

	for (unsigned type = 0; type <= MMK_PMAP_TAGGED;
	     type += MMK_PMAP_DEVICE)
		if (mmk_aarch64_attr_of(type) == attr)
			return type;
	return MMK_PMAP_DEVICE;
}

/* Most entries have none of these, and are spelled faster. */
#define MMK_AARCH64_RARE \
	(MMK_PMAP_TYPE | MMK_PMAP_GLOBAL | MMK_PMAP_GUARDED | \
	    MMK_PMAP_KEY_MASK | MMK_PMAP_CONTIG)

/* The bits that say them, and what they are in most entries. */
#define MMK_AARCH64_RARE_BITS \
	(MMK_AARCH64_ATTR_MASK | MMK_AARCH64_NG | MMK_AARCH64_GP | \
	    MMK_AARCH64_CONTIG | (uint64_t)7 << MMK_AARCH64_KEY_SHIFT)
#define MMK_AARCH64_PLAIN \
	(MMK_AARCH64_ATTR(MMK_AARCH64_ATTR_NORMAL) | MMK_AARCH64_NG)

static inline uint64_t
mmk_aarch64_make_rare(unsigned flags)
{
	unsigned type = flags & MMK_PMAP_TYPE;
	uint64_t bits = MMK_AARCH64_ATTR(mmk_aarch64_attr_of(type));

	bits |= (flags & MMK_PMAP_GLOBAL) != 0 ? 0 : MMK_AARCH64_NG;
	bits |= (flags & MMK_PMAP_GUARDED) != 0 ? MMK_AARCH64_GP : 0;
	bits |= (flags & MMK_PMAP_CONTIG) != 0 ? MMK_AARCH64_CONTIG : 0;
	bits |= (uint64_t)(MMK_PMAP_KEY_OF(flags) & 7) << MMK_AARCH64_KEY_SHIFT;
	return bits;
}

/* The inverse. */
static inline unsigned
mmk_aarch64_rare(uint64_t pte)
{
	unsigned flags = mmk_aarch64_type(pte);

	flags |= (pte & MMK_AARCH64_NG) != 0 ? 0 : MMK_PMAP_GLOBAL;
	flags |= (pte & MMK_AARCH64_GP) != 0 ? MMK_PMAP_GUARDED : 0;
	flags |= (pte & MMK_AARCH64_CONTIG) != 0 ? MMK_PMAP_CONTIG : 0;
	flags |= MMK_PMAP_KEY(pte >> MMK_AARCH64_KEY_SHIFT & 7);
	return flags;
}

/* What is neither address nor right: type, key, and so on. */
static inline uint64_t
mmk_aarch64_attributes(const struct mmk_pt_shape *shape, unsigned flags)
{
	uint64_t bits = MMK_AARCH64_PLAIN;

	if (MMK_UNLIKELY((flags & MMK_AARCH64_RARE) != 0))
		bits = mmk_aarch64_make_rare(flags);
	if ((flags & MMK_PMAP_TYPE) != MMK_PMAP_DEVICE)
		bits |= mmk_aarch64_shareability(shape);
	bits |= (flags & MMK_PMAP_WIRED) != 0 ? MMK_AARCH64_WIRED : 0;
	bits |= (flags & MMK_PMAP_UNTRACKED) != 0 ? MMK_AARCH64_UNTRACKED : 0;
	bits |= (flags & MMK_PMAP_SOFT) != 0 ? MMK_AARCH64_SOFT : 0;
	return bits;
}

static inline uint64_t
mmk_aarch64_make_leaf(const struct mmk_pt_shape *shape, unsigned level,
    mmk_pa pa, unsigned flags)
{
	uint64_t pte = MMK_AARCH64_VALID | mmk_aarch64_attributes(shape, flags);

	pte |= level == 0 ? MMK_AARCH64_TABLE : 0;
	pte |= mmk_aarch64_pa_field(shape, pa);
	pte |= mmk_aarch64_make_prot(flags);
	pte |= mmk_aarch64_make_write(shape, flags);
	pte |= (flags & MMK_PMAP_ACCESSED) != 0 ? MMK_AARCH64_AF : 0;
	return pte;
}

/* A table forbids nothing (APTable, UXNTable, PXNTable 0): the leaf decides. */
static inline uint64_t
mmk_aarch64_make_table(const struct mmk_pt_shape *shape, unsigned level,
    mmk_pa table_pa)
{
	(void)level;
	return MMK_AARCH64_VALID | MMK_AARCH64_TABLE |
	    mmk_aarch64_pa_field(shape, table_pa);
}

/* Type 01 at level 0 is reserved and faults. */
static inline bool
mmk_aarch64_is_present(const struct mmk_pt_shape *shape, unsigned level,
    uint64_t pte)
{
	(void)shape;
	return (pte & MMK_AARCH64_VALID) != 0 &&
	    (level > 0 || (pte & MMK_AARCH64_TABLE) != 0);
}

static inline bool
mmk_aarch64_is_leaf(const struct mmk_pt_shape *shape, unsigned level,
    uint64_t pte)
{
	(void)shape;
	return level == 0 || (pte & MMK_AARCH64_TABLE) == 0;
}

static inline mmk_pa
mmk_aarch64_pa(const struct mmk_pt_shape *shape, unsigned level, uint64_t pte)
{
	unsigned shift = shape->page_shift;

	if (level > 0 && mmk_aarch64_is_leaf(shape, level, pte))
		shift += level * (shape->page_shift - 3u);
	return mmk_aarch64_pa_of_field(shape, shift, pte);
}

/* The inverse of mmk_aarch64_attributes. */
static inline unsigned
mmk_aarch64_flags_of_attributes(uint64_t pte)
{
	unsigned flags = 0;

	if (MMK_UNLIKELY(
	        ((pte ^ MMK_AARCH64_PLAIN) & MMK_AARCH64_RARE_BITS) != 0))
		flags = mmk_aarch64_rare(pte);
	flags |= (pte & MMK_AARCH64_WIRED) != 0 ? MMK_PMAP_WIRED : 0;
	flags |= (pte & MMK_AARCH64_UNTRACKED) != 0 ? MMK_PMAP_UNTRACKED : 0;
	flags |= (pte & MMK_AARCH64_SOFT) != 0 ? MMK_PMAP_SOFT : 0;
	return flags;
}

static inline unsigned
mmk_aarch64_flags(const struct mmk_pt_shape *shape, unsigned level,
    uint64_t pte)
{
	(void)level;
	return mmk_aarch64_prot(pte) | mmk_aarch64_write(shape, pte) |
	    mmk_aarch64_flags_of_attributes(pte) |
	    ((pte & MMK_AARCH64_AF) != 0 ? MMK_PMAP_ACCESSED : 0);
}

/* Is the leaf, of level 0, one of a group's entries? */
static inline bool
mmk_aarch64_is_contig(const struct mmk_pt_shape *shape, uint64_t pte)
{
	(void)shape;
	return (pte & MMK_AARCH64_CONTIG) != 0;
}

#endif /* MMKIT_AARCH64_PTE_H */
