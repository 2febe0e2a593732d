/* SPDX-License-Identifier: MIT
 *
 * ports/x86_64/pte.h: entries of x86_64 page tables, as numbers
 *
 * WHAT    How one entry of 4-level (or 5-level) paging is spelled. No
 *         instruction and no state: these functions run anywhere.
 *
 *           63  62..59 58..52 51..12   11..9    8 7  6 5 4   3   2 1 0
 *           NX  key    (free) address  software G PS D A PCD PWT U W P
 *
 *         Bits 9, 10, 11, which the processor ignores, hold wired, untracked
 *         and soft. PAT, PCD, PWT are the index of the memory type in IA32_PAT;
 *         PAT is bit 7 of a page, and bit 12 of a larger leaf, whose bit 7 is
 *         PS. Every present entry can be read, so write or execute without
 *         read is granted with read.
 *
 * LAYER   a backend's part; included by mmkit/pmap/table.h through
 *         mmkit_pmap.h, once the shape and the flags are known.
 * LOCKS   none
 * COST    a few instructions each
 * SOURCE  Intel SDM vol. 3A, chapter 4, tables 4-15 to 4-20; 12.12 (the PAT).
 */
#ifndef MMKIT_X86_64_PTE_H
#define MMKIT_X86_64_PTE_H

#ifndef MMKIT_PMAP_TABLE_H
#error "mmkit: include mmkit/pmap/pmap.h; it includes the backend"
#endif

#define MMK_PT_ARCH_X86_64 1

/*
 * Initializers of struct mmk_pt_shape. pa_bits is CPUID 80000008H, EAX[7:0].
 * Leaves of 2 MiB; where CPUID 80000001H, EDX[26] is set, leaf_level_max may be
 * 2: leaves of 1 GiB. A kernel that has set IA32_PAT adds MMK_PT_TYPES to
 * features, and nr_keys is 16 if it has set CR4.PKE. Of a CPU without EFER.NXE
 * it takes away MMK_PT_NX.
 */
#define MMK_X86_64_FEATURES (MMK_PT_NX | MMK_PT_GLOBAL)
#define MMK_X86_64_SHAPE                                           \
	{ 4, 12, 48, 52, true, true, MMK_PT_ARCH_X86_64, 1, 0,     \
		MMK_X86_64_FEATURES, 0, 0 }
#define MMK_X86_64_SHAPE_LA57                                      \
	{ 5, 12, 57, 52, true, true, MMK_PT_ARCH_X86_64, 1, 0,     \
		MMK_X86_64_FEATURES, 0, 0 }

/*
 * The value of IA32_PAT (MSR 277H), and the entries used of it. Entries 0 to 5
 * and 7 are as at power-on. Entry 6 is UC- there: where the kernel has not set
 * it, combining memory is slow, but nothing is cached that should not be. A
 * kernel with another value defines all of these.
 */
#ifndef MMK_X86_64_PAT
#define MMK_X86_64_PAT ((uint64_t)0x0001040600070406)
#define MMK_X86_64_PAT_WRITE_BACK 0
#define MMK_X86_64_PAT_THROUGH 1
#define MMK_X86_64_PAT_UNCACHED 2 /* UC-: an MTRR may make it combining */
#define MMK_X86_64_PAT_DEVICE 3   /* UC */
#define MMK_X86_64_PAT_COMBINING 6
#endif
#if MMK_X86_64_PAT_WRITE_BACK != 0
#error "mmkit: entry 0 of the PAT must be write-back: tables are reached by it"
#endif

#define MMK_X86_64_P ((uint64_t)1 << 0)
#define MMK_X86_64_W ((uint64_t)1 << 1)
#define MMK_X86_64_U ((uint64_t)1 << 2)
#define MMK_X86_64_PWT ((uint64_t)1 << 3)
#define MMK_X86_64_PCD ((uint64_t)1 << 4)
#define MMK_X86_64_A ((uint64_t)1 << 5)
#define MMK_X86_64_D ((uint64_t)1 << 6)
#define MMK_X86_64_PS ((uint64_t)1 << 7) /* a leaf above level 0 */
#define MMK_X86_64_PAT_SMALL ((uint64_t)1 << 7)  /* at level 0 */
#define MMK_X86_64_PAT_LARGE ((uint64_t)1 << 12) /* in leaves above it */
#define MMK_X86_64_G ((uint64_t)1 << 8)
#define MMK_X86_64_WIRED ((uint64_t)1 << 9)
#define MMK_X86_64_UNTRACKED ((uint64_t)1 << 10)
#define MMK_X86_64_SOFT ((uint64_t)1 << 11)
#define MMK_X86_64_KEY_SHIFT 59
#define MMK_X86_64_NX ((uint64_t)1 << 63)

/* Bits 51..12: where an address stands in an entry. */
#define MMK_X86_64_PA (((uint64_t)1 << 52) - ((uint64_t)1 << 12))

/*
 * The end of the lower half. The upper half of the top table is the kernel's: of
 * its own pmap, or else nobody's.
 */
static inline mmk_va
mmk_x86_64_va_limit(const struct mmk_pt_shape *shape)
{
	return (mmk_va)1 << (shape->va_bits - 1);
}

/*
 * Four levels or five, of all their bits: a top table has both halves. There is
 * no guarded and no tagged memory.
 */
static inline bool
mmk_x86_64_is_known(const struct mmk_pt_shape *shape)
{
	return (shape->nr_levels == 4 || shape->nr_levels == 5) &&
	    shape->va_bits == 12 + 9 * shape->nr_levels &&
	    shape->leaf_level_max <= 2 &&
	    (shape->features & (MMK_PT_GUARDED | MMK_PT_MTE)) == 0 &&
	    shape->nr_keys <= 16 && shape->contig_shift == 0;
}

/* The entry of IA32_PAT for a memory type; of one that is not known, UC. */
static inline unsigned
mmk_x86_64_pat_of(unsigned type)
{
	switch (type) {
	case MMK_PMAP_WRITE_BACK: return MMK_X86_64_PAT_WRITE_BACK;
	case MMK_PMAP_COMBINING: return MMK_X86_64_PAT_COMBINING;
	case MMK_PMAP_THROUGH: return MMK_X86_64_PAT_THROUGH;
	case MMK_PMAP_UNCACHED: return MMK_X86_64_PAT_UNCACHED;
	default: return MMK_X86_64_PAT_DEVICE;
	}
}

static inline uint64_t
mmk_x86_64_make_type(unsigned level, unsigned flags)
{
	unsigned entry = mmk_x86_64_pat_of(flags & MMK_PMAP_TYPE);
	uint64_t bits = 0;

	bits |= (entry & 1) != 0 ? MMK_X86_64_PWT : 0;
	bits |= (entry & 2) != 0 ? MMK_X86_64_PCD : 0;
	if ((entry & 4) != 0)
		bits |= level > 0 ? MMK_X86_64_PAT_LARGE : MMK_X86_64_PAT_SMALL;
	return bits;
}

static inline unsigned
mmk_x86_64_type(unsigned level, uint64_t pte)
{
	uint64_t pat = level > 0 ? MMK_X86_64_PAT_LARGE : MMK_X86_64_PAT_SMALL;
	unsigned entry = (pte & MMK_X86_64_PWT) != 0 ? 1 : 0;

	entry |= (pte & MMK_X86_64_PCD) != 0 ? 2 : 0;
	entry |= (pte & pat) != 0 ? 4 : 0;
	for (unsigned type = 0; type < MMK_PMAP_TAGGED;
	     type += MMK_PMAP_DEVICE)
		if (mmk_x86_64_pat_of(type) == entry)
			return type;
	return MMK_PMAP_DEVICE;
}

/* Most entries have none of these, and are spelled faster. */
#define MMK_X86_64_RARE \
	(MMK_PMAP_TYPE | MMK_PMAP_GLOBAL | MMK_PMAP_KEY_MASK)

static inline uint64_t
mmk_x86_64_make_rare(unsigned level, unsigned flags)
{
	return mmk_x86_64_make_type(level, flags) |
	    ((flags & MMK_PMAP_GLOBAL) != 0 ? MMK_X86_64_G : 0) |
	    (uint64_t)MMK_PMAP_KEY_OF(flags) << MMK_X86_64_KEY_SHIFT;
}

/* The inverse. Of a large leaf bit 7 is PS, so it takes the long way. */
static inline unsigned
mmk_x86_64_rare(unsigned level, uint64_t pte)
{
	const uint64_t small = MMK_X86_64_PWT | MMK_X86_64_PCD |
	    MMK_X86_64_PAT_SMALL | MMK_X86_64_G |
	    (uint64_t)15 << MMK_X86_64_KEY_SHIFT;

	if (MMK_LIKELY((pte & small) == 0))
		return 0;
	return mmk_x86_64_type(level, pte) |
	    ((pte & MMK_X86_64_G) != 0 ? MMK_PMAP_GLOBAL : 0) |
	    MMK_PMAP_KEY(pte >> MMK_X86_64_KEY_SHIFT & 15);
}

static inline uint64_t
mmk_x86_64_make_leaf(const struct mmk_pt_shape *shape, unsigned level,
    mmk_pa pa, unsigned flags)
{
	uint64_t pte = MMK_X86_64_P | (pa & MMK_X86_64_PA);

	(void)shape;
	pte |= level > 0 ? MMK_X86_64_PS : 0;
	pte |= (flags & MMK_PROT_WRITE) != 0 ? MMK_X86_64_W : 0;
	pte |= (flags & MMK_PROT_EXEC) != 0 ? 0 : MMK_X86_64_NX;
	pte |= (flags & MMK_PMAP_USER) != 0 ? MMK_X86_64_U : 0;
	if (MMK_UNLIKELY((flags & MMK_X86_64_RARE) != 0))
		pte |= mmk_x86_64_make_rare(level, flags);
	pte |= (flags & MMK_PMAP_ACCESSED) != 0 ? MMK_X86_64_A : 0;
	pte |= (flags & MMK_PMAP_MODIFIED) != 0 ? MMK_X86_64_D : 0;
	pte |= (flags & MMK_PMAP_WIRED) != 0 ? MMK_X86_64_WIRED : 0;
	pte |= (flags & MMK_PMAP_UNTRACKED) != 0 ? MMK_X86_64_UNTRACKED : 0;
	pte |= (flags & MMK_PMAP_SOFT) != 0 ? MMK_X86_64_SOFT : 0;
	return pte;
}

/* A table grants everything: the leaf decides. */
static inline uint64_t
mmk_x86_64_make_table(const struct mmk_pt_shape *shape, unsigned level,
    mmk_pa table_pa)
{
	(void)shape, (void)level;
	return MMK_X86_64_P | MMK_X86_64_W | MMK_X86_64_U |
	    (table_pa & MMK_X86_64_PA);
}

static inline bool
mmk_x86_64_is_present(const struct mmk_pt_shape *shape, unsigned level,
    uint64_t pte)
{
	(void)shape, (void)level;
	return (pte & MMK_X86_64_P) != 0;
}

static inline bool
mmk_x86_64_is_leaf(const struct mmk_pt_shape *shape, unsigned level,
    uint64_t pte)
{
	(void)shape;
	return level == 0 || (pte & MMK_X86_64_PS) != 0;
}

/* A large leaf's low address bits hold other things (bit 12 is PAT). */
static inline mmk_pa
mmk_x86_64_pa(const struct mmk_pt_shape *shape, unsigned level, uint64_t pte)
{
	unsigned shift = 12;

	if (level > 0 && mmk_x86_64_is_leaf(shape, level, pte))
		shift += 9 * level;
	return (pte & MMK_X86_64_PA) >> shift << shift;
}

static inline unsigned
mmk_x86_64_flags(const struct mmk_pt_shape *shape, unsigned level,
    uint64_t pte)
{
	unsigned flags = MMK_PROT_READ;

	(void)shape;
	flags |= (pte & MMK_X86_64_W) != 0 ? MMK_PROT_WRITE : 0;
	flags |= (pte & MMK_X86_64_NX) != 0 ? 0 : MMK_PROT_EXEC;
	flags |= (pte & MMK_X86_64_U) != 0 ? MMK_PMAP_USER : 0;
	flags |= mmk_x86_64_rare(level, pte);
	flags |= (pte & MMK_X86_64_A) != 0 ? MMK_PMAP_ACCESSED : 0;
	flags |= (pte & MMK_X86_64_D) != 0 ? MMK_PMAP_MODIFIED : 0;
	flags |= (pte & MMK_X86_64_WIRED) != 0 ? MMK_PMAP_WIRED : 0;
	flags |= (pte & MMK_X86_64_UNTRACKED) != 0 ? MMK_PMAP_UNTRACKED : 0;
	flags |= (pte & MMK_X86_64_SOFT) != 0 ? MMK_PMAP_SOFT : 0;
	return flags;
}

#endif /* MMKIT_X86_64_PTE_H */
