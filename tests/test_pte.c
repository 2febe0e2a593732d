/* SPDX-License-Identifier: MIT
 *
 * tests/test_pte.c: entries of page tables against constants worked out by
 * hand from the manuals: Intel SDM vol. 3A chapter 4, Arm ARM D8.3 to D8.5
 */
#include <criterion/criterion.h>

#include <stdbool.h>
#include <stdint.h>

/* The hardware that sets accessed and modified between our load and our write:
 * once, in the entry `victim`. */
static uint64_t *victim;
static uint64_t bits_set, bits_cleared;

static inline void
hardware_acts(const void *ptr)
{
	if (ptr != victim)
		return;
	*victim = (*victim | bits_set) & ~bits_cleared;
	victim = NULL;
}

#define MMKIT_ATOMIC_CAS(p, expected, v)                                 \
	(hardware_acts(p), __atomic_compare_exchange_n(p, expected, v,   \
	                       false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
#define MMKIT_ATOMIC_XCHG(p, v) \
	(hardware_acts(p), __atomic_exchange_n(p, v, __ATOMIC_ACQ_REL))

/* All private to this file, so that the walk's own helpers can be called. */
#define MMKIT_STATIC
#include "../mmkit/pmap/pmap.h"
#include "../ports/aarch64/pte.h"
#include "../ports/aarch64/regs.h"
#include "../ports/x86_64/pte.h"

#define PA UINT64_C(0x12345000)
#define R MMK_PROT_READ
#define RW (MMK_PROT_READ | MMK_PROT_WRITE)
#define RX (MMK_PROT_READ | MMK_PROT_EXEC)
#define X MMK_PROT_EXEC
#define USER MMK_PMAP_USER
#define AD (MMK_PMAP_ACCESSED | MMK_PMAP_MODIFIED)

static const struct mmk_pt_shape x86_64 = MMK_X86_64_SHAPE;
static const struct mmk_pt_shape arm = MMK_AARCH64_SHAPE;
static const struct mmk_pt_shape arm_soft = MMK_AARCH64_SHAPE_SOFT;
static const struct mmk_pt_shape arm_64k = MMK_AARCH64_SHAPE_64K;
static const struct mmk_pt_shape arm_16k = MMK_AARCH64_SHAPE_16K;
static const struct mmk_pt_shape arm_lpa2 = MMK_AARCH64_SHAPE_LPA2;
static const struct mmk_pt_shape arm_16k_lpa2 = MMK_AARCH64_SHAPE_16K_LPA2;
static const struct mmk_pt_shape arm_64k_lva = MMK_AARCH64_SHAPE_64K_LVA;

/* One leaf in numbers: what is asked, what is to be written. */
struct leaf {
	unsigned level;
	mmk_pa pa;
	unsigned flags;
	uint64_t pte;
};

static const struct leaf x86_64_leaves[] = {
	{ 0, PA, R | USER, UINT64_C(0x8000000012345005) },
	{ 0, PA, RW | USER, UINT64_C(0x8000000012345007) },
	{ 0, PA, RW | USER | AD, UINT64_C(0x8000000012345067) },
	{ 0, PA, R | USER | AD, UINT64_C(0x8000000012345065) },
	{ 0, PA, RX | USER, UINT64_C(0x0000000012345005) },
	{ 0, PA, RW, UINT64_C(0x8000000012345003) },
	{ 0, PA, RW | X, UINT64_C(0x0000000012345003) },
	{ 0, PA, RW | MMK_PMAP_DEVICE, UINT64_C(0x800000001234501b) },
	{ 0, PA, R | MMK_PMAP_WIRED, UINT64_C(0x8000000012345201) },
	{ 0, PA, R | MMK_PMAP_UNTRACKED, UINT64_C(0x8000000012345401) },
	{ 0, PA, R | MMK_PMAP_SOFT, UINT64_C(0x8000000012345801) },
	{ 0, UINT64_C(0xffffffffff000), R, UINT64_C(0x800ffffffffff001) },
	{ 1, UINT64_C(0x40000000), RW | USER, UINT64_C(0x8000000040000087) },
	{ 2, UINT64_C(0x40000000), R, UINT64_C(0x8000000040000081) },
};

/* PXN is bit 53, UXN 54: 0x0060...; DBM 51: 0x0008...; software 55 to 58. */
static const struct leaf arm_leaves[] = {
	{ 0, PA, R | USER, UINT64_C(0x0060000012345bc3) },
	{ 0, PA, RW | USER, UINT64_C(0x0068000012345bc3) },
	{ 0, PA, RW | USER | AD, UINT64_C(0x0068000012345f43) },
	{ 0, PA, R | USER | AD, UINT64_C(0x00e0000012345fc3) },
	{ 0, PA, RX | USER, UINT64_C(0x0020000012345bc3) },
	{ 0, PA, X | USER, UINT64_C(0x0020000012345b83) },
	{ 0, PA, R, UINT64_C(0x0060000012345b83) },
	{ 0, PA, RX, UINT64_C(0x0040000012345b83) },
	{ 0, PA, RW | AD, UINT64_C(0x0068000012345f03) },
	{ 0, PA, RW | MMK_PMAP_DEVICE, UINT64_C(0x0068000012345887) },
	{ 0, PA, R | MMK_PMAP_WIRED, UINT64_C(0x0160000012345b83) },
	{ 0, PA, R | MMK_PMAP_UNTRACKED, UINT64_C(0x0260000012345b83) },
	{ 0, PA, R | MMK_PMAP_SOFT, UINT64_C(0x0460000012345b83) },
	{ 0, UINT64_C(0xfffffffff000), R, UINT64_C(0x0060fffffffffb83) },
	{ 1, UINT64_C(0x40000000), R | USER, UINT64_C(0x0060000040000bc1) },
	{ 2, UINT64_C(0x40000000), R | USER, UINT64_C(0x0060000040000bc1) },
};

/* Without the hardware's help bit 59 says "may be written", not DBM. */
static const struct leaf arm_soft_leaves[] = {
	{ 0, PA, R | USER, UINT64_C(0x0060000012345bc3) },
	{ 0, PA, RW | USER, UINT64_C(0x0860000012345bc3) },
	{ 0, PA, RW | USER | AD, UINT64_C(0x0860000012345f43) },
	{ 0, PA, R | USER | AD, UINT64_C(0x00e0000012345fc3) },
};

/*
 * With DS bits 9..8 are address bits 51..50, and no shareability is written.
 * The largest blocks: 512 GiB, 64 GiB, 4 TiB.
 */
static const struct leaf arm_lpa2_leaves[] = {
	{ 0, PA, R | USER, UINT64_C(0x00600000123458c3) },
	{ 0, PA, RW | MMK_PMAP_DEVICE, UINT64_C(0x0068000012345887) },
	{ 0, UINT64_C(0xffffffffff000), R, UINT64_C(0x0063fffffffffb83) },
	{ 0, UINT64_C(0x8000000001000), R, UINT64_C(0x0060000000001a83) },
	{ 0, UINT64_C(0x4000000001000), R, UINT64_C(0x0060000000001983) },
	{ 0, UINT64_C(0x2000000001000), R, UINT64_C(0x0062000000001883) },
	{ 0, UINT64_C(0x1000000001000), R, UINT64_C(0x0061000000001883) },
	{ 1, UINT64_C(0xfffffffe00000), R, UINT64_C(0x0063ffffffe00b81) },
	{ 2, UINT64_C(0xfffffc0000000), R, UINT64_C(0x0063ffffc0000b81) },
	{ 3, UINT64_C(0xfff8000000000), R, UINT64_C(0x0063ff8000000b81) },
};
static const struct leaf arm_16k_lpa2_leaves[] = {
	{ 0, UINT64_C(0x12344000), R | USER, UINT64_C(0x00600000123448c3) },
	{ 0, UINT64_C(0xfffffffffc000), R, UINT64_C(0x0063ffffffffcb83) },
	{ 1, UINT64_C(0xffffffe000000), R, UINT64_C(0x0063fffffe000b81) },
	{ 2, UINT64_C(0xff00000000000), R, UINT64_C(0x0063f00000000b81) },
};
static const struct leaf arm_64k_lva_leaves[] = {
	{ 0, UINT64_C(0x12340000), R | USER, UINT64_C(0x0060000012340bc3) },
	{ 0, UINT64_C(0xfffffffff0000), R, UINT64_C(0x0060fffffffffb83) },
	{ 1, UINT64_C(0xfffffe0000000), R, UINT64_C(0x0060ffffe000fb81) },
	{ 2, UINT64_C(0xffc0000000000), R, UINT64_C(0x0060fc000000fb81) },
};

#define NR(array) (sizeof(array) / sizeof(array)[0])

Test(pte, x86_64_leaves_are_spelled_as_the_manual_says)
{
	for (size_t i = 0; i < NR(x86_64_leaves); i++) {
		const struct leaf *leaf = &x86_64_leaves[i];
		uint64_t pte = mmk_x86_64_make_leaf(&x86_64, leaf->level,
		    leaf->pa, leaf->flags);

		cr_assert_eq(pte, leaf->pte, "%zu: 0x%llx", i,
		    (unsigned long long)pte);
		cr_assert(mmk_x86_64_is_present(&x86_64, leaf->level, pte));
		cr_assert(mmk_x86_64_is_leaf(&x86_64, leaf->level, pte));
		cr_assert_eq(mmk_x86_64_pa(&x86_64, leaf->level, pte),
		    leaf->pa);
		cr_assert_eq(mmk_x86_64_flags(&x86_64, leaf->level, pte),
		    leaf->flags, "%zu", i);
	}
}

static void
check_arm(const struct mmk_pt_shape *shape, const struct leaf *leaf)
{
	uint64_t pte = mmk_aarch64_make_leaf(shape, leaf->level, leaf->pa,
	    leaf->flags);

	cr_assert_eq(pte, leaf->pte, "flags 0x%x: 0x%llx", leaf->flags,
	    (unsigned long long)pte);
	cr_assert(mmk_aarch64_is_present(shape, leaf->level, pte));
	cr_assert(mmk_aarch64_is_leaf(shape, leaf->level, pte));
	cr_assert_eq(mmk_aarch64_pa(shape, leaf->level, pte), leaf->pa);
	cr_assert_eq(mmk_aarch64_flags(shape, leaf->level, pte), leaf->flags,
	    "0x%x", leaf->flags);
}

Test(pte, aarch64_leaves_are_spelled_as_the_manual_says)
{
	for (size_t i = 0; i < NR(arm_leaves); i++)
		check_arm(&arm, &arm_leaves[i]);
}

Test(pte, aarch64_leaves_without_hardware_dirty_state_use_a_software_mark)
{
	for (size_t i = 0; i < NR(arm_soft_leaves); i++)
		check_arm(&arm_soft, &arm_soft_leaves[i]);
}

Test(pte, aarch64_addresses_above_48_bits_go_to_the_low_bits_with_64k_pages)
{
	struct leaf leaf = { 0, UINT64_C(0xf000012340000), R | USER,
		UINT64_C(0x006000001234fbc3) };
	struct leaf small = { 0, UINT64_C(0x12344000), R | USER,
		UINT64_C(0x0060000012344bc3) };

	check_arm(&arm_64k, &leaf);
	check_arm(&arm_16k, &small);
}

Test(pte, aarch64_addresses_of_52_bits_are_spelled_as_the_manual_says)
{
	for (size_t i = 0; i < NR(arm_lpa2_leaves); i++)
		check_arm(&arm_lpa2, &arm_lpa2_leaves[i]);
	for (size_t i = 0; i < NR(arm_16k_lpa2_leaves); i++)
		check_arm(&arm_16k_lpa2, &arm_16k_lpa2_leaves[i]);
	for (size_t i = 0; i < NR(arm_64k_lva_leaves); i++)
		check_arm(&arm_64k_lva, &arm_64k_lva_leaves[i]);
}

/* Either width above 48 bits makes the descriptors those of FEAT_LPA2. */
Test(pte, aarch64_wide_addresses_on_one_side_make_the_format_of_lpa2)
{
	struct mmk_pt_shape wide_va = arm_lpa2, wide_pa = arm;
	uint64_t pte = UINT64_C(0x00600000123458c3);

	wide_va.pa_bits = 48;
	wide_pa.pa_bits = 52;
	cr_assert(mmk_aarch64_is_known(&wide_va));
	cr_assert(mmk_aarch64_is_known(&wide_pa));
	cr_assert_eq(mmk_aarch64_make_leaf(&wide_va, 0, PA, R | USER), pte);
	cr_assert_eq(mmk_aarch64_make_leaf(&wide_pa, 0, PA, R | USER), pte);
	cr_assert_eq(mmk_aarch64_tcr(&wide_va) >> 59, 1);
	cr_assert_eq(mmk_aarch64_tcr(&wide_pa) >> 59, 1);
}

/* What an entry says beside the address does not depend on the address. */
Test(pte, aarch64_flags_never_read_the_bits_of_a_wide_address)
{
	const struct mmk_pt_shape *shapes[] = { &arm_lpa2, &arm_16k_lpa2,
		&arm_64k_lva };

	for (unsigned i = 0; i < 3 * (MMK_PMAP_ALL + 1); i++) {
		const struct mmk_pt_shape *shape = shapes[i % 3];
		mmk_pa top_pa = ((mmk_pa)1 << 52) -
		    ((mmk_pa)1 << shape->page_shift);
		uint64_t low = mmk_aarch64_make_leaf(shape, 0, 0, i / 3);
		uint64_t high = mmk_aarch64_make_leaf(shape, 0, top_pa, i / 3);

		cr_assert_eq(mmk_aarch64_flags(shape, 0, low),
		    mmk_aarch64_flags(shape, 0, high));
		cr_assert_eq(mmk_aarch64_pa(shape, 0, low), 0);
		cr_assert_eq(mmk_aarch64_pa(shape, 0, high), top_pa);
		cr_assert_eq(high & ~mmk_aarch64_pa_field(shape, top_pa), low &
		        (shape->page_shift == 16 ? ~(uint64_t)0
		                                 : ~UINT64_C(0x300)));
	}
}

Test(pte, tables_are_spelled_as_the_manuals_say)
{
	uint64_t x86 = mmk_x86_64_make_table(&x86_64, 3, PA);
	uint64_t arm8 = mmk_aarch64_make_table(&arm, 3, PA);

	cr_assert_eq(x86, UINT64_C(0x12345007));
	cr_assert_eq(arm8, UINT64_C(0x12345003));
	cr_assert(!mmk_x86_64_is_leaf(&x86_64, 3, x86));
	cr_assert(!mmk_aarch64_is_leaf(&arm, 3, arm8));
	cr_assert_eq(mmk_x86_64_pa(&x86_64, 3, x86), PA);
	cr_assert_eq(mmk_aarch64_pa(&arm, 3, arm8), PA);
}

Test(pte, tables_at_addresses_of_52_bits_are_spelled_as_the_manual_says)
{
	static const struct {
		const struct mmk_pt_shape *shape;
		mmk_pa pa;
		uint64_t pte;
	} tables[] = {
		{ &arm_lpa2, UINT64_C(0xb400012345000),
		    UINT64_C(0x0003400012345203) },
		{ &arm_lpa2, UINT64_C(0xffffffffff000),
		    UINT64_C(0x0003fffffffff303) },
		{ &arm_16k_lpa2, UINT64_C(0x5a00012344000),
		    UINT64_C(0x0001a00012344103) },
		{ &arm_64k_lva, UINT64_C(0xb400012340000),
		    UINT64_C(0x000040001234b003) },
		{ &arm_64k, UINT64_C(0xb400012340000),
		    UINT64_C(0x000040001234b003) },
	};

	for (size_t i = 0; i < NR(tables); i++) {
		uint64_t pte = mmk_aarch64_make_table(tables[i].shape, 2,
		    tables[i].pa);

		cr_assert_eq(pte, tables[i].pte, "%zu: 0x%llx", i,
		    (unsigned long long)pte);
		cr_assert(mmk_aarch64_is_present(tables[i].shape, 2, pte));
		cr_assert(!mmk_aarch64_is_leaf(tables[i].shape, 2, pte));
		cr_assert_eq(mmk_aarch64_pa(tables[i].shape, 2, pte),
		    tables[i].pa);
	}
}

/* ---- registers ------------------------------------------------------------- */

Test(pte, ttbr_holds_the_high_bits_of_a_top_table_low_and_the_tag_high)
{
	cr_assert_eq(mmk_aarch64_ttbr(PA, 0), PA);
	cr_assert_eq(mmk_aarch64_ttbr(PA, 0xffff), UINT64_C(0xffff000012345000));
	cr_assert_eq(mmk_aarch64_ttbr(UINT64_C(0xb400012345000), 7),
	    UINT64_C(0x000740001234502c));
	cr_assert_eq(mmk_aarch64_ttbr(UINT64_C(0xffffffffff000), 0x80),
	    UINT64_C(0x0080fffffffff03c));
}

Test(pte, tlbi_takes_all_bits_of_a_52_bit_address)
{
	cr_assert_eq(mmk_aarch64_tlbi_operand(0, UINT64_C(0xfffffffffffff)),
	    UINT64_C(0xffffffffff));
	cr_assert_eq(mmk_aarch64_tlbi_operand(0x1234, UINT64_C(0x8000000010000)),
	    UINT64_C(0x1234008000000010));
}

/* T0SZ 5..0, IRGN0 and ORGN0 1, SH0 3, TG0 15..14, IPS 34..32, AS 36, HA 39,
 * HD 40, DS 59. */
Test(pte, tcr_follows_from_the_shape)
{
	struct mmk_pt_shape shape = arm_lpa2;

	cr_assert_eq(mmk_aarch64_tcr(&arm), UINT64_C(0x18500003510));
	cr_assert_eq(mmk_aarch64_tcr(&arm_soft), UINT64_C(0x500003510));
	cr_assert_eq(mmk_aarch64_tcr(&arm_16k), UINT64_C(0x1850000b510));
	cr_assert_eq(mmk_aarch64_tcr(&arm_64k), UINT64_C(0x18600007510));
	cr_assert_eq(mmk_aarch64_tcr(&arm_lpa2), UINT64_C(0x80001860000350c));
	cr_assert_eq(mmk_aarch64_tcr(&arm_16k_lpa2),
	    UINT64_C(0x80001860000b50c));
	cr_assert_eq(mmk_aarch64_tcr(&arm_64k_lva), UINT64_C(0x1860000750c));
	shape.pa_bits = 40;
	shape.tag_bits = 16;
	cr_assert_eq(mmk_aarch64_tcr(&shape), UINT64_C(0x80001920000350c));
	shape.pa_bits = 41; /* the least that has room */
	shape.tag_bits = 8;
	cr_assert_eq(mmk_aarch64_tcr(&shape), UINT64_C(0x80001830000350c));
}

/* T1SZ 21:16, A1 22, EPD1 23, IRGN1 25:24, ORGN1 27:26, SH1 29:28, TG1 31:30. */
Test(pte, tcr_of_the_upper_half)
{
	cr_assert_eq(mmk_aarch64_tcr_upper(&arm), UINT64_C(0xb5100000));
	cr_assert_eq(mmk_aarch64_tcr_upper(&arm_16k), UINT64_C(0x75100000));
	cr_assert_eq(mmk_aarch64_tcr_upper(&arm_64k), UINT64_C(0xf5100000));
	cr_assert_eq(mmk_aarch64_tcr_upper(&arm_lpa2), UINT64_C(0xb50c0000));
	cr_assert_eq(mmk_aarch64_tcr_upper(&arm_64k_lva), UINT64_C(0xf50c0000));
	cr_assert_eq(mmk_aarch64_tcr_upper(&arm) & mmk_aarch64_tcr(&arm), 0);
}

/* Bits 43:0 are VA[55:12]; above them the ASID, or nothing. */
Test(pte, tlbi_operands_of_both_halves)
{
	cr_assert_eq(mmk_aarch64_tlbi_operand(0, UINT64_C(0xffff800012345000)),
	    UINT64_C(0xff800012345));
	cr_assert_eq(mmk_aarch64_tlbi_operand(0, UINT64_C(0xfffffffffffff000)),
	    UINT64_C(0xfffffffffff));
	cr_assert_eq(mmk_aarch64_tlbi_operand(0, UINT64_C(0xfff0000000000000)),
	    UINT64_C(0xf0000000000));
	cr_assert_eq(mmk_aarch64_tlbi_operand(0xabcd, UINT64_C(0x800012345000)),
	    UINT64_C(0xabcd000800012345));
}

/* Level -1, the top of five, has codes of its own. */
Test(pte, faults_of_every_level_are_told_from_what_nothing_mends)
{
	for (unsigned status = 0; status < 64; status++) {
		uint64_t esr = UINT64_C(0x92000000) | status;
		bool is_size = status <= 3 || status == 41;
		bool mends = (status >= 4 && status <= 15) || status == 43;

		cr_assert_eq(mmk_aarch64_may_mend(esr), mends, "%u", status);
		cr_assert_eq(mmk_aarch64_is_address_size(esr), is_size, "%u",
		    status);
	}
}

/* Of an address, what an entry of the top table does not tell apart. */
static unsigned
top_shift(const struct mmk_pt_shape *shape)
{
	unsigned level_bits = shape->page_shift - 3u;

	return shape->page_shift + (shape->nr_levels - 1u) * level_bits;
}

/* What the hardware would walk another way, from T0SZ and TG0, is not known. */
Test(pte, aarch64_shapes_are_known_by_levels_widths_and_blocks)
{
	static const struct {
		const struct mmk_pt_shape *shape;
		unsigned nr_top_entries, block_level_max;
	} known[] = {
		{ &arm, 512, 2 }, { &arm_soft, 512, 2 }, { &arm_16k, 2, 1 },
		{ &arm_64k, 64, 2 }, { &arm_lpa2, 16, 3 },
		{ &arm_16k_lpa2, 32, 2 }, { &arm_64k_lva, 1024, 2 },
	};

	for (size_t i = 0; i < NR(known); i++) {
		struct mmk_pt_shape shape = *known[i].shape;
		mmk_va limit = mmk_aarch64_va_limit(&shape);

		cr_assert(mmk_aarch64_is_known(&shape), "%zu", i);
		cr_assert_eq((limit - 1) >> top_shift(&shape),
		    known[i].nr_top_entries - 1);
		shape.leaf_level_max = (uint8_t)known[i].block_level_max;
		cr_assert(mmk_aarch64_is_known(&shape), "%zu", i);
		shape.leaf_level_max++;
		cr_assert(!mmk_aarch64_is_known(&shape), "%zu", i);
		shape.leaf_level_max = 0;
		shape.nr_levels++;
		cr_assert(!mmk_aarch64_is_known(&shape), "%zu", i);
		shape.nr_levels -= 2;
		cr_assert(!mmk_aarch64_is_known(&shape), "%zu", i);
		shape.nr_levels++;
		shape.va_bits = 53;
		cr_assert(!mmk_aarch64_is_known(&shape), "%zu", i);
	}
}

Test(pte, what_is_not_valid_is_not_present)
{
	cr_assert(!mmk_x86_64_is_present(&x86_64, 0, 0));
	cr_assert(!mmk_x86_64_is_present(&x86_64, 0, UINT64_C(0x12345006)));
	cr_assert(!mmk_aarch64_is_present(&arm, 0, 0));
	cr_assert(!mmk_aarch64_is_present(&arm, 0, UINT64_C(0x12345002)));
	/* 0b01 is a block, and reserved at the last level. */
	cr_assert(!mmk_aarch64_is_present(&arm, 0, UINT64_C(0x12345001)));
	cr_assert(mmk_aarch64_is_present(&arm, 1, UINT64_C(0x40000001)));
}

Test(pte, the_hardware_bits_of_a_large_x86_64_leaf_are_no_address)
{
	uint64_t pte = UINT64_C(0x8000000040001087); /* bit 12: PAT */

	cr_assert_eq(mmk_x86_64_pa(&x86_64, 1, pte), UINT64_C(0x40000000));
}

/* The processor clears AP[2] of a writable clean entry when it is written. */
Test(pte, what_arm_hardware_does_to_a_clean_entry_reads_as_modified)
{
	uint64_t pte = mmk_aarch64_make_leaf(&arm, 0, PA, RW | USER);

	cr_assert_eq(mmk_aarch64_flags(&arm, 0, pte), RW | USER);
	pte &= ~UINT64_C(0x80);
	pte |= UINT64_C(0x400);
	cr_assert_eq(mmk_aarch64_flags(&arm, 0, pte), RW | USER | AD);
}

/* ---- attributes ---------------------------------------------------------- */

static const struct leaf x86_64_attributes[] = {
	/* PAT PCD PWT are bits 7, 4, 3 of a page; PAT is 12 in larger leaves */
	{ 0, PA, RW | MMK_PMAP_THROUGH, UINT64_C(0x800000001234500b) },
	{ 0, PA, RW | MMK_PMAP_UNCACHED, UINT64_C(0x8000000012345013) },
	{ 0, PA, RW | MMK_PMAP_COMBINING, UINT64_C(0x8000000012345093) },
	{ 1, UINT64_C(0x40000000), RW | MMK_PMAP_COMBINING,
	    UINT64_C(0x8000000040001093) },
	{ 2, UINT64_C(0x40000000), RW | MMK_PMAP_COMBINING,
	    UINT64_C(0x8000000040001093) },
	{ 1, UINT64_C(0x40000000), RW | MMK_PMAP_DEVICE,
	    UINT64_C(0x800000004000009b) },
	{ 0, PA, RX | MMK_PMAP_GLOBAL, UINT64_C(0x0000000012345101) },
	{ 1, UINT64_C(0x40000000), RX | MMK_PMAP_GLOBAL,
	    UINT64_C(0x0000000040000181) },
	{ 0, PA, RX | USER | MMK_PMAP_KEY(1), UINT64_C(0x0800000012345005) },
	{ 0, PA, R | USER | MMK_PMAP_KEY(15), UINT64_C(0xf800000012345005) },
	{ 2, UINT64_C(0x40000000), R | USER | MMK_PMAP_KEY(10),
	    UINT64_C(0xd000000040000085) },
};

/* AttrIndx is bits 4..2, nG 11, GP 50; the overlay's index 62..60. */
static const struct leaf arm_attributes[] = {
	{ 0, PA, R | MMK_PMAP_COMBINING, UINT64_C(0x0060000012345b8b) },
	{ 0, PA, R | MMK_PMAP_THROUGH, UINT64_C(0x0060000012345b8f) },
	{ 0, PA, R | MMK_PMAP_UNCACHED, UINT64_C(0x0060000012345b93) },
	{ 0, PA, R | MMK_PMAP_TAGGED, UINT64_C(0x0060000012345b97) },
	{ 1, UINT64_C(0x40000000), R | MMK_PMAP_TAGGED,
	    UINT64_C(0x0060000040000b95) },
	{ 0, PA, RX | MMK_PMAP_GLOBAL, UINT64_C(0x0040000012345383) },
	{ 0, PA, RX | USER | MMK_PMAP_GUARDED, UINT64_C(0x0024000012345bc3) },
	{ 0, PA, R | USER | MMK_PMAP_KEY(1), UINT64_C(0x1060000012345bc3) },
	{ 2, UINT64_C(0x40000000), R | USER | MMK_PMAP_KEY(7),
	    UINT64_C(0x7060000040000bc1) },
};

static void
check_x86(const struct leaf *leaf)
{
	uint64_t pte = mmk_x86_64_make_leaf(&x86_64, leaf->level, leaf->pa,
	    leaf->flags);

	cr_assert_eq(pte, leaf->pte, "flags 0x%x: 0x%llx", leaf->flags,
	    (unsigned long long)pte);
	cr_assert_eq(mmk_x86_64_pa(&x86_64, leaf->level, pte), leaf->pa);
	cr_assert_eq(mmk_x86_64_flags(&x86_64, leaf->level, pte), leaf->flags,
	    "0x%x", leaf->flags);
}

Test(pte, attributes_are_spelled_as_the_manuals_say)
{
	for (size_t i = 0; i < NR(x86_64_attributes); i++)
		check_x86(&x86_64_attributes[i]);
	for (size_t i = 0; i < NR(arm_attributes); i++)
		check_arm(&arm, &arm_attributes[i]);
}

/* The bytes of the registers of types: SDM table 12-10, Arm ARM MAIR_EL1. */
Test(pte, the_registers_of_types_say_what_the_entries_mean)
{
	uint64_t power_on = UINT64_C(0x0007040600070406), changed;

#define PAT(entry) (MMK_X86_64_PAT >> 8 * MMK_X86_64_PAT_##entry & 0xff)
#define MAIR(attr) (MMK_AARCH64_MAIR >> 8 * MMK_AARCH64_ATTR_##attr & 0xff)
	cr_assert_eq(PAT(WRITE_BACK), 6);
	cr_assert_eq(PAT(THROUGH), 4);
	cr_assert_eq(PAT(UNCACHED), 7);
	cr_assert_eq(PAT(DEVICE), 0);
	cr_assert_eq(PAT(COMBINING), 1);
	changed = MMK_X86_64_PAT ^ power_on;
	cr_assert_eq(changed & UINT32_MAX, 0, "entries of a fresh CPU");
	/* Not programmed, combining memory is not cached either. */
	power_on >>= 8 * MMK_X86_64_PAT_COMBINING;
	cr_assert((power_on & 0xff) == 7 || (power_on & 0xff) == 0);
	cr_assert_eq(MAIR(NORMAL), 0xff);
	cr_assert_eq(MAIR(DEVICE), 0x04);
	cr_assert_eq(MAIR(COMBINING), 0x44);
	cr_assert_eq(MAIR(THROUGH), 0xbb);
	cr_assert_eq(MAIR(UNCACHED), 0x44);
	cr_assert_eq(MAIR(TAGGED), 0xf0);
#undef PAT
#undef MAIR
}

/* A CPU that has all that its architecture knows. */
static struct mmk_pt_shape
with_all(const struct mmk_pt_shape *shape)
{
	struct mmk_pt_shape all = *shape;
	bool is_x86 = shape->arch == MMK_PT_ARCH_X86_64;

	all.features |= MMK_PT_TYPES;
	all.features |= is_x86 ? 0 : MMK_PT_GUARDED | MMK_PT_MTE;
	all.nr_keys = is_x86 ? 16 : 8;
	return all;
}

/*
 * For every set of flags that can be expressed, at every level: only the right
 * to read may be added, and what is granted is spelled the same way again.
 */
static uint64_t
check_every_set(const struct mmk_pt_shape *of, unsigned level)
{
	struct mmk_pt_shape shape = with_all(of);
	mmk_pa pa = UINT64_C(0x0000040000000000); /* aligned for all */
	uint64_t nr = 0;

	for (unsigned i = 0; i < 6 * 16 * 0x800; i++) {
		unsigned flags = i % 0x800 | MMK_PMAP_KEY(i / 0x800 % 16) |
		    i / (0x800 * 16) * MMK_PMAP_DEVICE;
		uint64_t pte;
		unsigned back;

		if (!mmk_pt_can_express(&shape, flags))
			continue;
		pte = mmk_pt_make_leaf(&shape, level, pa, flags);
		back = mmk_pt_flags(&shape, level, pte);
		if ((back & ~MMK_PROT_READ) != (flags & ~MMK_PROT_READ) ||
		    (flags & MMK_PROT_READ & ~back) != 0 ||
		    mmk_pt_pa(&shape, level, pte) != pa ||
		    !mmk_pt_is_leaf(&shape, level, pte) ||
		    mmk_pt_make_leaf(&shape, level, pa, back) != pte)
			cr_assert(false, "level %u: 0x%x became 0x%x", level,
			    flags, back);
		nr++;
	}
	return nr;
}

Test(pte, every_set_of_flags_comes_back_with_at_most_read_added)
{
	const struct mmk_pt_shape *shapes[] = { &x86_64, &arm, &arm_soft,
		&arm_16k, &arm_64k };

	for (unsigned i = 0; i < 5; i++)
		for (unsigned level = 0; level < 3; level++)
			cr_assert_gt(check_every_set(shapes[i], level), 10000);
}

/* ---- what cannot be expressed --------------------------------------------- */

/* One feature less, and what is then refused. */
static const struct {
	unsigned feature;
	unsigned flags;
} refusals[] = {
	{ MMK_PT_NX, R },
	{ MMK_PT_NX, RW | USER },
	{ MMK_PT_GLOBAL, RX | MMK_PMAP_GLOBAL },
	{ MMK_PT_TYPES, RX | MMK_PMAP_COMBINING },
	{ MMK_PT_TYPES, RX | MMK_PMAP_THROUGH },
	{ MMK_PT_TYPES, RX | MMK_PMAP_UNCACHED },
	{ MMK_PT_TYPES, RX | MMK_PMAP_TAGGED },
	{ MMK_PT_MTE, RX | MMK_PMAP_TAGGED },
	{ MMK_PT_GUARDED, RX | MMK_PMAP_GUARDED },
};

Test(pte, what_a_feature_gives_cannot_be_expressed_without_it)
{
	struct mmk_pt_shape all = with_all(&arm);

	for (size_t i = 0; i < NR(refusals); i++) {
		struct mmk_pt_shape less = all;

		less.features &= (uint8_t)~refusals[i].feature;
		cr_assert(mmk_pt_can_express(&all, refusals[i].flags));
		cr_assert(!mmk_pt_can_express(&less, refusals[i].flags),
		    "%zu", i);
		cr_assert(mmk_pt_can_express(&less, RX | USER));
		cr_assert(mmk_pt_can_express(&less, RX | MMK_PMAP_DEVICE));
	}
}

Test(pte, keys_are_as_many_as_there_are_and_a_users)
{
	struct mmk_pt_shape x86 = with_all(&x86_64), arm8 = with_all(&arm);

	cr_assert(mmk_pt_can_express(&x86, R | USER | MMK_PMAP_KEY(15)));
	cr_assert(mmk_pt_can_express(&arm8, R | USER | MMK_PMAP_KEY(7)));
	cr_assert(!mmk_pt_can_express(&arm8, R | USER | MMK_PMAP_KEY(8)));
	cr_assert(!mmk_pt_can_express(&x86, R | MMK_PMAP_KEY(1)));
	x86.nr_keys = 0;
	cr_assert(!mmk_pt_can_express(&x86, R | USER | MMK_PMAP_KEY(1)));
	cr_assert(mmk_pt_can_express(&x86, R | USER | MMK_PMAP_KEY(0)));
}

Test(pte, what_is_global_is_the_kernels)
{
	cr_assert(mmk_pt_can_express(&x86_64, R | MMK_PMAP_GLOBAL));
	cr_assert(!mmk_pt_can_express(&x86_64, R | USER | MMK_PMAP_GLOBAL));
	cr_assert(!mmk_pt_can_express(&arm, R | USER | MMK_PMAP_GLOBAL));
}

Test(pte, flags_and_types_that_are_none_cannot_be_expressed)
{
	struct mmk_pt_shape all = with_all(&arm);

	for (unsigned bit = 0; bit < 32; bit++)
		if ((MMK_PMAP_ALL >> bit & 1) == 0)
			cr_assert(!mmk_pt_can_express(&all, RX | 1u << bit));
	cr_assert(!mmk_pt_can_express(&all, RX | 6 * MMK_PMAP_DEVICE));
	cr_assert(!mmk_pt_can_express(&all, RX | 7 * MMK_PMAP_DEVICE));
}

Test(pte, a_shape_with_what_its_entries_have_no_place_for_is_not_known)
{
	struct mmk_pt_shape x86 = with_all(&x86_64), arm8 = with_all(&arm);

	cr_assert(mmk_x86_64_is_known(&x86));
	cr_assert(mmk_aarch64_is_known(&arm8));
	x86.nr_keys = 17;
	arm8.nr_keys = 9;
	cr_assert(!mmk_x86_64_is_known(&x86));
	cr_assert(!mmk_aarch64_is_known(&arm8));
	x86 = with_all(&x86_64);
	x86.features |= MMK_PT_GUARDED;
	cr_assert(!mmk_x86_64_is_known(&x86));
	x86 = with_all(&x86_64);
	x86.features |= MMK_PT_MTE;
	cr_assert(!mmk_x86_64_is_known(&x86));
}

Test(pte, addresses_end_where_the_lower_half_ends)
{
	cr_assert_eq(mmk_x86_64_va_limit(&x86_64), UINT64_C(1) << 47);
	cr_assert_eq(mmk_aarch64_va_limit(&arm), UINT64_C(1) << 48);
	cr_assert_eq(mmk_aarch64_va_limit(&arm_lpa2), UINT64_C(1) << 52);
	cr_assert_eq(mmk_aarch64_va_limit(&arm_64k_lva), UINT64_C(1) << 52);
}

static void
hardware_is_to_write(const struct mmk_pt_shape *shape, uint64_t *slot)
{
	bool is_x86 = shape->arch == MMK_PT_ARCH_X86_64;

	victim = slot;
	bits_set = is_x86 ? UINT64_C(0x60) : UINT64_C(0x400);
	bits_cleared = is_x86 ? 0 : UINT64_C(0x80);
}

Test(pte, a_dirty_bit_set_while_an_entry_is_changed_survives)
{
	const struct mmk_pt_shape *shapes[] = { &x86_64, &arm };

	for (unsigned i = 0; i < 2; i++) {
		uint64_t slot = mmk_pt_make_leaf(shapes[i], 0, PA, RW | USER);

		hardware_is_to_write(shapes[i], &slot);
		(void)mmk__pte_change(shapes[i], 0, &slot, MMK_PMAP_SOFT,
		    MMK_PROT_WRITE);
		cr_assert_null(victim);
		cr_assert_eq(mmk_pt_flags(shapes[i], 0, slot),
		    R | USER | AD | MMK_PMAP_SOFT);
		cr_assert_eq(mmk_pt_pa(shapes[i], 0, slot), PA);
	}
}

Test(pte, a_dirty_bit_set_while_an_entry_is_taken_is_returned)
{
	const struct mmk_pt_shape *shapes[] = { &x86_64, &arm };

	for (unsigned i = 0; i < 2; i++) {
		uint64_t slot = mmk_pt_make_leaf(shapes[i], 0, PA, RW | USER);
		uint64_t pte;

		hardware_is_to_write(shapes[i], &slot);
		pte = mmk__pte_take(&slot);
		cr_assert_null(victim);
		cr_assert_eq(slot, 0);
		cr_assert_eq(mmk_pt_flags(shapes[i], 0, pte), RW | USER | AD);
	}
}
