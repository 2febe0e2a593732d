/* SPDX-License-Identifier: MIT
 *
 * tests/test_attr.c: the attributes of translations: memory types, keys, guarded
 * and global pages, on every format: what is asked, what pmap reads back, and
 * what the walkers of the manuals find. And what is refused.
 */
#include <criterion/criterion.h>

#include "super_fixture.h"

#ifndef SIM_ARCH_HERE
#include "ports/sim/walk.h"
#endif

#define KEY MMK_PMAP_KEY
#define TYPE MMK_PMAP_TYPE
#define NR_TYPES 6u
#define SEEN (MMK_PMAP_ACCESSED | MMK_PMAP_MODIFIED)
/* All that is neither a right nor known by looking. */
#define LASTING \
	(TYPE | MMK_PMAP_KEY_MASK | MMK_PMAP_GUARDED | MMK_PMAP_GLOBAL | \
	    MMK_PMAP_SOFT | MMK_PMAP_WIRED | MMK_PMAP_UNTRACKED)

#ifndef SIM_ARCH_HERE
/* Byte of IA32_PAT, byte of MAIR_EL1, by type: SDM 12.12.2, D19.2 MAIR_EL1. */
static const unsigned memory_bytes[NR_TYPES][2] = {
	{ 6, 0xff }, { 0, 0x04 }, { 1, 0x44 }, { 4, 0xbb }, { 7, 0x44 },
	{ 8, 0xf0 },
};

static struct sim_walk
walk(unsigned space, mmk_va va)
{
	struct sim_walk_request request = { .va = va, .is_probe = true };
	struct sim_walk found;

	request.root_pa = pa_of(pmaps[space].root);
	sim_walk(&request, &found);
	return found;
}

/* The walker finds `flags` at va, with these attributes exactly. */
static void
check_walk(unsigned space, mmk_va va, unsigned flags, unsigned has)
{
	struct sim_walk found = walk(space, va);
	bool is_user = (flags & U) != 0;

	cr_assert(found.fault == SIM_FAULT_NONE ||
	        (found.fault == SIM_FAULT_ACCESS_FLAG &&
	            !sim_shape()->hw_accessed),
	    "%s", sim_fault_name(found.fault));
	cr_assert_null(found.malformed);
	cr_assert_eq(found.memory,
	    memory_bytes[(flags & TYPE) / MMK_PMAP_DEVICE][is_arm()]);
	cr_assert_eq(found.key, MMK_PMAP_KEY_OF(flags));
	cr_assert(found.is_keyed || MMK_PMAP_KEY_OF(flags) == 0);
	cr_assert_eq(found.is_guarded, (flags & MMK_PMAP_GUARDED) != 0);
	cr_assert_eq(found.is_global, (flags & MMK_PMAP_GLOBAL) != 0);
	if ((flags & W) != 0 && !sim_shape()->hw_modified)
		return; /* a clean page is not writable yet */
	cr_assert_eq(found.rights[is_user], has & MMK_PROT_ALL);
}

/* Of the leaf: bits of the address that it does not translate. */
static unsigned
leaf_shift(unsigned space, mmk_va va)
{
	return walk(space, va).page_shift;
}
#else /* what a real MMU finds is told by accesses alone */
static void
check_walk(unsigned space, mmk_va va, unsigned flags, unsigned has)
{
	(void)space, (void)va, (void)flags, (void)has;
}

static unsigned
leaf_shift(unsigned space, mmk_va va)
{
	(void)space, (void)va;
	return MMK_PAGE_SHIFT * 2 - 3;
}
#endif

static void
check_is(unsigned space, mmk_va va, unsigned flags)
{
	unsigned has = flags_at(space, va);

	cr_assert_eq(has & LASTING, flags & LASTING, "0x%x became 0x%x", flags,
	    has);
	check_walk(space, va, flags, has);
}

/* The next set of attributes that this machine can have; 0: that was the last. */
static unsigned
next_set(unsigned last)
{
	static const unsigned keys[] = { 0, 1, 6, 7, 8, 15 };
	static const unsigned rest[] = { R | W, R | X, RWU, R | X | U,
		R | X | U | MMK_PMAP_GUARDED, R | X | MMK_PMAP_GLOBAL,
		R | W | MMK_PMAP_GLOBAL | MMK_PMAP_SOFT };
	bool is_next = last == 0;

	for (unsigned i = 0; i < NR_TYPES * 6 * 7; i++) {
		unsigned flags = i % NR_TYPES * MMK_PMAP_DEVICE |
		    KEY(keys[i / NR_TYPES % 6]) | rest[i / NR_TYPES / 6];

		if (!mmk_pt_can_express(&sys.shape, flags) ||
		    ((flags & MMK_PMAP_GLOBAL) != 0 && has_tags()))
			continue;
		if (is_next)
			return flags;
		is_next = flags == last;
	}
	return 0;
}

#define EVERY_SET(flags) \
	unsigned flags = next_set(0); (flags) != 0; (flags) = next_set(flags)

/* ---- carried ------------------------------------------------------------- */

TEST_FORMATS(attributes_are_entered_and_read_back)
{
	struct mmk_frame *frame = new_frame(0);
	unsigned nr = 0;

	for (EVERY_SET(flags)) {
		enter(0, VA, frame, flags);
		check_is(0, VA, flags);
		enter(0, VA, frame, flags);
		check_is(0, VA, flags);
		nr++;
	}
	cr_assert_gt(nr, sys.shape.nr_keys > 0 ? 40 : 20);
	cr_assert(check_all());
	remove_now(0, VA, VA + PAGE);
	mmk_frame_unref(&phys, frame);
}

TEST_LARGE(attributes_of_a_superpage_are_those_of_its_pages_when_split)
{
	struct mmk_frame *block = new_frame(BLOCK_ORDER);
	mmk_pa pa = pa_of(block);

	for (EVERY_SET(flags)) {
		enter_run(0, BVA, pa, NR, flags);
		cr_assert_eq(level_at(0, BVA, pa), 1);
		check_is(0, BVA + 5 * PAGE, flags);
		cr_assert_eq(leaf_shift(0, BVA), MMK_PAGE_SHIFT * 2 - 3);
		remove_now(0, BVA + 9 * PAGE, BVA + 10 * PAGE);
		for (unsigned i = 0; i < NR; i += i < 12 ? 1 : 125)
			if (i != 9)
				check_is(0, BVA + i * PAGE, flags);
		remove_now(0, BVA, BVA + LARGE);
	}
	mmk_frame_unref(&phys, block);
}

TEST_LARGE(attributes_of_pages_are_those_of_what_they_are_joined_to)
{
	struct mmk_frame *block = new_frame(BLOCK_ORDER);
	mmk_pa pa = pa_of(block);

	for (EVERY_SET(flags)) {
		enter_run(0, BVA, pa, NR / 2, flags);
		enter_run(0, BVA + LARGE / 2, pa + LARGE / 2, NR / 2, flags);
		cr_assert_eq(level_at(0, BVA, pa), 1);
		check_is(0, BVA + 5 * PAGE, flags);
		remove_now(0, BVA, BVA + LARGE);
	}
	mmk_frame_unref(&phys, block);
}

/* Half a table: where the CPU has the contiguous bit, in groups. */
TEST_LARGE(attributes_of_a_group_are_those_of_its_pages)
{
	struct mmk_frame *block = new_frame(BLOCK_ORDER);
	mmk_pa pa = pa_of(block);

	for (EVERY_SET(flags)) {
		enter_run(0, BVA, pa, NR / 2, flags);
		for (unsigned i = 0; i < NR / 2; i += 17)
			check_is(0, BVA + i * PAGE, flags);
		remove_now(0, BVA + 9 * PAGE, BVA + 10 * PAGE);
		for (unsigned i = 0; i < NR / 2; i += i < 12 ? 1 : 61)
			if (i != 9)
				check_is(0, BVA + i * PAGE, flags);
		remove_now(0, BVA, BVA + LARGE);
	}
	mmk_frame_unref(&phys, block);
}

/* Each one alone is in the way. */
TEST_LARGE(pages_of_other_attributes_are_not_joined)
{
	static const unsigned others[] = { KEY(1), MMK_PMAP_COMBINING,
		MMK_PMAP_THROUGH, MMK_PMAP_TAGGED, MMK_PMAP_GUARDED };
	struct mmk_frame *block = new_frame(BLOCK_ORDER);
	mmk_pa pa = pa_of(block);

	for (unsigned i = 0; i < 5; i++) {
		unsigned other = R | X | U | others[i];

		if (!mmk_pt_can_express(&sys.shape, other))
			continue;
		enter_run(0, BVA, pa, 7, R | X | U);
		enter_run(0, BVA + 8 * PAGE, pa + 8 * PAGE, NR - 8, R | X | U);
		enter_run(0, BVA + 7 * PAGE, pa + 7 * PAGE, 1, other);
		cr_assert(!mmk_pmap_promote(&pmaps[0], BVA));
		check_is(0, BVA + 7 * PAGE, other);
		check_is(0, BVA + 8 * PAGE, R | X | U);
		enter_run(0, BVA + 7 * PAGE, pa + 7 * PAGE, 1, R | X | U);
		cr_assert(mmk_pmap_promote(&pmaps[0], BVA));
		remove_now(0, BVA, BVA + LARGE);
	}
	mmk_frame_unref(&phys, block);
}

TEST_FORMATS(attributes_outlive_what_is_done_to_rights_and_marks)
{
	struct mmk_frame *frame = new_frame(0);

	for (EVERY_SET(flags)) {
		unsigned first = flags | W | MMK_PMAP_WIRED | SEEN;

		enter(0, VA, frame, first);
		mmk_page_clear_modified(&sys, frame);
		mmk_page_clear_referenced(&sys, frame);
		check_is(0, VA, first);
		cr_assert((flags_at(0, VA) & SEEN) == 0);
		mmk_page_write_protect(&sys, frame);
		check_is(0, VA, first & ~W);
		mmk_pmap_unwire(&pmaps[0], VA);
		check_is(0, VA, first & ~(W | MMK_PMAP_WIRED));
		enter(0, VA, frame, first | X);
		mmk_pmap_protect(&pmaps[0], VA, VA + PAGE, R | X, &gather);
		mmk_gather_finish(&gather);
		check_is(0, VA, (first | X) & ~W);
		mmk_pmap_protect(&pmaps[0], VA, VA + PAGE, R, &gather);
		mmk_gather_finish(&gather);
		check_is(0, VA, first & ~(W | X));
		cr_assert(mmk_pmap_emulate(&pmaps[0], VA, R));
		check_is(0, VA, first & ~(W | X));
		remove_now(0, VA, VA + PAGE);
	}
	mmk_frame_unref(&phys, frame);
}

TEST_LARGE(attributes_of_a_superpage_outlive_the_protection_of_a_part)
{
	struct mmk_frame *block = new_frame(BLOCK_ORDER);
	mmk_pa pa = pa_of(block);

	for (EVERY_SET(flags)) {
		enter_run(0, BVA, pa, NR, flags | W);
		protect_now(0, BVA, BVA + LARGE, R | X);
		cr_assert_eq(level_at(0, BVA, pa), 1);
		check_is(0, BVA, flags & ~W);
		enter_run(0, BVA, pa, NR, flags | W);
		cr_assert_eq(level_at(0, BVA, pa), 1);
		protect_now(0, BVA + PAGE, BVA + 2 * PAGE, R | X);
		cr_assert_eq(level_at(0, BVA, pa), 0);
		check_is(0, BVA, flags | W);
		check_is(0, BVA + PAGE, flags & ~W);
		check_is(0, BVA + 2 * PAGE, flags | W);
		remove_now(0, BVA, BVA + LARGE);
	}
	mmk_frame_unref(&phys, block);
}

/* ---- changed ------------------------------------------------------------- */

/* The caches hold the old one: aarch64 wants break before make. */
TEST_FORMATS(a_memory_type_changes_to_every_other)
{
	struct mmk_frame *frame = new_frame(0);

	sim_forbid_stale_hits(true);
	activate(0, 0);
	for (unsigned i = 0; i < NR_TYPES * NR_TYPES; i++) {
		unsigned from = RWU | i % NR_TYPES * MMK_PMAP_DEVICE;
		unsigned to = RWU | i / NR_TYPES * MMK_PMAP_DEVICE;

		if (!mmk_pt_can_express(&sys.shape, from) ||
		    !mmk_pt_can_express(&sys.shape, to))
			continue;
		enter(0, VA, frame, from);
		cr_assert(store(0, VA, i));
		enter(0, VA, frame, to);
		check_is(0, VA, to);
		cr_assert_eq(load(0, VA), i);
	}
	cr_assert_eq(frame->mapped, 1);
	remove_now(0, VA, VA + PAGE);
	mmk_frame_unref(&phys, frame);
}

/* Programs of CPU 0 may not use pages of key `key`, or not write them. */
static void
deny(unsigned key, bool only_writing)
{
	uint64_t pkru = only_writing ? 2 : 3, por = only_writing ? 3 : 0;

	sim_cpu_set_keys(0, is_arm()
	        ? (SIM_KEYS_ALL_ARM & ~(UINT64_C(15) << 4 * key)) |
	            por << 4 * key
	        : pkru << 2 * key);
}

static void
allow_all(void)
{
	sim_cpu_set_keys(0, is_arm() ? SIM_KEYS_ALL_ARM : 0);
}

TEST_FORMATS(a_key_judges_accesses_and_no_flush_is_needed_for_it)
{
	struct mmk_frame *frame = new_frame_with(77);

	sim_forbid_stale_hits(true);
	sim_on_fault(NULL, NULL);
	activate(0, 0);
	enter(0, VA, frame, RWU | KEY(3) | SEEN);
	cr_assert_eq(load(0, VA), 77);
	deny(2, false);
	cr_assert_eq(load(0, VA), 77);
	deny(3, true);
	cr_assert_eq(load(0, VA), 77);
	cr_assert(!store(0, VA, 78));
	deny(3, false);
	cr_assert_eq(load(0, VA), UINT64_MAX);
	allow_all();
	cr_assert(store(0, VA, 79));
	cr_assert_eq(load(0, VA), 79);
	remove_now(0, VA, VA + PAGE);
	mmk_frame_unref(&phys, frame);
}

/* The other CPU has the page in its TLB, with the key that it had. */
TEST_FORMATS(another_key_is_seen_at_once)
{
	struct mmk_frame *frame = new_frame_with(77);

	sim_on_fault(NULL, NULL);
	activate(0, 0);
	activate(0, 1);
	deny(5, false);
	enter(0, VA, frame, RWU | KEY(4) | SEEN);
	cr_assert_eq(load(0, VA), 77);
	sim_set_cpu(1);
	enter(0, VA, frame, RWU | KEY(5) | SEEN);
	sim_set_cpu(0);
	check_is(0, VA, RWU | KEY(5));
	cr_assert_eq(load(0, VA), UINT64_MAX);
	sim_set_cpu(1);
	enter(0, VA, frame, RWU | SEEN);
	sim_set_cpu(0);
	cr_assert_eq(load(0, VA), 77);
	remove_now(0, VA, VA + PAGE);
	mmk_frame_unref(&phys, frame);
}

/* No TLB of the machine keeps the mark: that a flush comes is what is seen. */
TEST_FORMATS(guarded_and_not_are_flushed)
{
	unsigned guarded = R | X | U | MMK_PMAP_GUARDED;
	struct mmk_frame *frame = new_frame(0);
	uint64_t nr_flushes;

	activate(0, 0);
	for (unsigned i = 0; i < 2; i++) {
		if (!mmk_pt_can_express(&sys.shape, guarded))
			break;
		enter(0, VA, frame, i == 0 ? R | X | U : guarded);
		nr_flushes = sys.nr_flushes;
		enter(0, VA, frame, i == 1 ? R | X | U : guarded);
		cr_assert_gt(sys.nr_flushes, nr_flushes);
		check_is(0, VA, i == 1 ? R | X | U : guarded);
	}
	remove_now(0, VA, VA + PAGE);
	mmk_frame_unref(&phys, frame);
}

TEST_LARGE(another_key_for_a_part_splits)
{
	struct mmk_frame *block = new_frame(BLOCK_ORDER);
	mmk_pa pa = pa_of(block);

	enter_run(0, BVA, pa, NR, RWU | KEY(1));
	enter_run(0, BVA + PAGE, pa + PAGE, 1, RWU | KEY(1));
	cr_assert_eq(level_at(0, BVA, pa), 1);
	enter_run(0, BVA + PAGE, pa + PAGE, 1, RWU | KEY(2));
	check_is(0, BVA, RWU | KEY(1));
	check_is(0, BVA + PAGE, RWU | KEY(2));
	check_is(0, BVA + 2 * PAGE, RWU | KEY(1));
	enter_run(0, BVA + PAGE, pa + PAGE, 1,
	    RWU | KEY(1) | MMK_PMAP_COMBINING);
	check_is(0, BVA, RWU | KEY(1));
	check_is(0, BVA + PAGE, RWU | KEY(1) | MMK_PMAP_COMBINING);
	remove_now(0, BVA, BVA + LARGE);
	mmk_frame_unref(&phys, block);
}

/* ---- kept by collect ----------------------------------------------------- */

TEST_FORMATS(collect_may_keep_all_memory_that_is_not_write_back)
{
	struct mmk_pmap *pmap = &pmaps[0];
	mmk_va end_va = VA + NR_TYPES * PAGE;

	for (unsigned i = 0; i < NR_TYPES; i++) {
		unsigned flags = RWU | i * MMK_PMAP_DEVICE;

		if (mmk_pt_can_express(&sys.shape, flags))
			cr_assert_eq(mmk_pmap_enter(pmap, VA + i * PAGE,
			                 FOREIGN, flags),
			    MMK_OK);
	}
	mmk_pmap_collect(pmap, VA, end_va, TYPE, &gather);
	mmk_gather_finish(&gather);
	for (unsigned i = 0; i < NR_TYPES; i++)
		cr_assert_eq(flags_at(0, VA + i * PAGE) != 0,
		    i > 0 && (i < 5 || is_arm()), "type %u", i);
	mmk_pmap_collect(pmap, VA, end_va, 0, &gather);
	mmk_gather_finish(&gather);
	cr_assert_eq(pmap->nr_pages, 0);
}

/* ---- global -------------------------------------------------------------- */

/* What a kernel's pages of the space left behind is met by no other one. */
TEST_FORMATS(a_global_translation_goes_like_any_other)
{
	unsigned flags = R | W | MMK_PMAP_GLOBAL | MMK_PMAP_ACCESSED;
	struct mmk_frame *frame = new_frame_with(77);

	if (has_tags()) {
		mmk_frame_unref(&phys, frame);
		return;
	}
	sim_forbid_stale_hits(true);
	sim_on_fault(NULL, NULL);
	activate(0, 0);
	cr_assert_eq(mmk_pmap_kenter(&pmaps[0], VA, pa_of(frame), 1, flags),
	    MMK_OK);
	cr_assert_eq(pmaps[0].has_global, 1);
	check_is(0, VA, flags | MMK_PMAP_WIRED | MMK_PMAP_UNTRACKED);
	cr_assert_eq(kernel_load(0, VA), 77);
	cr_assert_eq(load(0, VA), UINT64_MAX, "not a program's");
	cr_assert_eq(kernel_load(0, VA), 77);
	mmk_pmap_deactivate(&pmaps[0], 0);
	activate(1, 0);
	cr_assert_eq(kernel_load(0, VA), UINT64_MAX);
	mmk_pmap_deactivate(&pmaps[1], 0);
	activate(0, 0);
	cr_assert_eq(kernel_load(0, VA), 77);
	mmk_pmap_kremove(&pmaps[0], VA, 1);
	cr_assert_eq(kernel_load(0, VA), UINT64_MAX);
	mmk_frame_unref(&phys, frame);
}

TEST_FORMATS(what_is_global_becomes_so_through_nothing)
{
	struct mmk_frame *frame = new_frame_with(77);
	unsigned flags = R | W | MMK_PMAP_ACCESSED;

	sim_forbid_stale_hits(true);
	activate(0, 0);
	for (unsigned i = 0; i < 4 && !has_tags(); i++) {
		enter(0, VA, frame, flags | (i % 2 ? MMK_PMAP_GLOBAL : 0));
		check_is(0, VA, flags | (i % 2 ? MMK_PMAP_GLOBAL : 0));
		cr_assert_eq(kernel_load(0, VA), 77);
	}
	remove_now(0, VA, VA + PAGE);
	mmk_frame_unref(&phys, frame);
}

TEST_FORMATS(global_is_refused_to_programs_and_to_spaces_with_a_tag)
{
	mmk_pa pa = FOREIGN;
	struct mmk_pmap *pmap = &pmaps[0];

	cr_assert_eq(mmk_pmap_enter(pmap, VA, pa, RWU | MMK_PMAP_GLOBAL),
	    MMK_ERR_INVAL);
	cr_assert_eq(mmk_pmap_kenter(pmap, VA, pa, 1, R | MMK_PMAP_GLOBAL),
	    has_tags() ? MMK_ERR_INVAL : MMK_OK);
	cr_assert_eq(pmap->has_global, !has_tags());
	cr_assert_eq(pmap->nr_pages, !has_tags());
	cr_assert(check_all());
}

/* ---- refused ------------------------------------------------------------- */

/* Nothing enters it, and nothing has changed. */
static void
check_refused(unsigned flags)
{
	struct mmk_pmap *pmap = &pmaps[0];
	uint64_t nr_done = 99, nr_tables = pmap->nr_tables;
	uint64_t nr_pages = pmap->nr_pages;

	cr_assert(!mmk_pt_can_express(&sys.shape, flags), "0x%x", flags);
	cr_assert_eq(mmk_pmap_enter(pmap, VA, FOREIGN, flags), MMK_ERR_INVAL);
	cr_assert_eq(mmk_pmap_enter_run(pmap, VA, FOREIGN, 3, flags, &nr_done),
	    MMK_ERR_INVAL);
	cr_assert_eq(nr_done, 0);
	cr_assert_eq(mmk_pmap_kenter(pmap, VA, FOREIGN, 3, flags),
	    MMK_ERR_INVAL);
	cr_assert_eq(pmap->nr_tables, nr_tables);
	cr_assert_eq(pmap->nr_pages, nr_pages);
	cr_assert(check_all());
}

/* One feature less than the machine has. */
static void
without(unsigned feature, unsigned flags)
{
	uint8_t features = sys.shape.features;

	sys.shape.features &= (uint8_t)~feature;
	check_refused(flags);
	sys.shape.features = features;
}

TEST_FORMATS(what_the_cpu_cannot_express_is_refused)
{
	uint8_t nr_keys = sys.shape.nr_keys;

	without(MMK_PT_NX, R);
	without(MMK_PT_NX, RWU);
	without(MMK_PT_TYPES, RWU | MMK_PMAP_COMBINING);
	without(MMK_PT_TYPES, RWU | MMK_PMAP_THROUGH);
	without(MMK_PT_TYPES, RWU | MMK_PMAP_UNCACHED);
	without(MMK_PT_GLOBAL, R | MMK_PMAP_GLOBAL);
	without(MMK_PT_MTE, RWU | MMK_PMAP_TAGGED);
	without(MMK_PT_GUARDED, R | X | U | MMK_PMAP_GUARDED);
	check_refused(RWU | 6 * MMK_PMAP_DEVICE);
	check_refused(RWU | TYPE);
	check_refused(RWU | 0x800);
	check_refused(RWU | 0x800000);
	check_refused(R | W | KEY(1));
	if (is_arm())
		check_refused(RWU | KEY(8));
	sys.shape.nr_keys = 0;
	check_refused(RWU | KEY(1));
	sys.shape.nr_keys = nr_keys;
	if (!is_arm()) {
		check_refused(RWU | MMK_PMAP_TAGGED);
		check_refused(R | X | U | MMK_PMAP_GUARDED);
	}
}

/* It stays as it was, though the refused flags are for the page itself. */
TEST_FORMATS(what_is_there_outlives_a_refusal)
{
	struct mmk_frame *frame = new_frame(0);

	enter(0, VA, frame, RWU | KEY(2));
	cr_assert_eq(mmk_pmap_enter(&pmaps[0], VA, pa_of(frame), R | KEY(2)),
	    MMK_ERR_INVAL);
	check_is(0, VA, RWU | KEY(2));
	remove_now(0, VA, VA + PAGE);
	mmk_frame_unref(&phys, frame);
}

/* "At least these rights": reading comes with what cannot be had without. */
TEST_FORMATS(reading_may_come_with_other_rights_and_is_told)
{
	cr_assert(mmk_pt_can_express(&sys.shape, W | U));
	cr_assert(mmk_pt_can_express(&sys.shape, X | U));
	cr_assert_eq(mmk_pmap_enter(&pmaps[0], VA, FOREIGN, W | U), MMK_OK);
	cr_assert_eq(flags_at(0, VA) & MMK_PROT_ALL, R | W);
	cr_assert_eq(mmk_pmap_enter(&pmaps[0], VA, FOREIGN, X | U), MMK_OK);
	cr_assert_eq(flags_at(0, VA) & MMK_PROT_ALL, is_arm() ? X : R | X);
}

/* Left executable it would have a right that is not in prot. */
TEST_FORMATS(protecting_what_cannot_be_withheld_removes)
{
	struct mmk_frame *frame = new_frame(0);

	enter(0, VA, frame, RWU | X);
	sys.shape.features &= (uint8_t)~MMK_PT_NX;
	mmk_pmap_protect(&pmaps[0], VA, VA + PAGE, R | X, &gather);
	mmk_gather_finish(&gather);
	cr_assert_eq(flags_at(0, VA), R | X | U);
	mmk_pmap_protect(&pmaps[0], VA, VA + PAGE, R, &gather);
	mmk_gather_finish(&gather);
	cr_assert_eq(flags_at(0, VA), 0);
	sys.shape.features |= MMK_PT_NX;
	mmk_frame_unref(&phys, frame);
}

TEST_FORMATS(shapes_with_keys_or_features_that_no_entry_has_are_refused)
{
	struct mmk_pt_shape shape = sys.shape;
	struct mmk_pmap_sys other;

	shape.nr_keys = 17;
	cr_assert_eq(mmk_pmap_sys_init(&other, &phys, &shape), MMK_ERR_INVAL);
	shape = sys.shape;
	if (is_arm())
		shape.nr_keys = 9;
	else
		shape.features |= MMK_PT_GUARDED;
	cr_assert_eq(mmk_pmap_sys_init(&other, &phys, &shape), MMK_ERR_INVAL);
}
