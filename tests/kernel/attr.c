/* SPDX-License-Identifier: MIT
 *
 * tests/kernel/attr.c: what only a processor can judge
 *
 * WHAT    Leaves of 1 GiB, which reach beyond any RAM that tests have. Guarded
 *         pages (FEAT_BTI) and tagged ones (FEAT_MTE2), which QEMU has, the
 *         second with -M virt,mte=on. Protection keys: tests/test_attr.c.
 *
 * SOURCE  Arm ARM, DDI 0487: D8.4.6 (guarded pages), D10 (MTE), D24.2.164
 *         (SCTLR_EL1), D24.2.183 (TCR_EL1).
 */
#include "tests/super_fixture.h"

#include "machine.h"

#include <string.h>

#if MMKIT_PAGE_SHIFT == 12
/* All that lies around RAM, as a kernel's direct map has it. */
TEST_LARGE(a_leaf_of_one_gib)
{
	const unsigned flags = RWU | MMK_PMAP_UNTRACKED | MMK_PMAP_ACCESSED |
	    MMK_PMAP_MODIFIED;
	mmk_va gib = table_bytes(2);
	struct mmk_frame *frame = new_frame_with(77);
	mmk_pa inside = pa_of(frame) & (gib - 1);
	mmk_va va = 5 * gib + inside;

	enter_run(0, 5 * gib, pa_of(frame) - inside, gib / PAGE, flags);
	cr_assert_eq(level_at(0, va, pa_of(frame)), 2);
	mmk_pmap_activate(&pmaps[0], 0);
	cr_assert_eq(load(0, va), 77);
	cr_assert(store(0, va, 78));
	protect_now(0, 5 * gib, 6 * gib, R);
	cr_assert_eq(level_at(0, va, pa_of(frame)), 2);
	sim_on_fault(NULL, NULL);
	cr_assert(!store(0, va, 79));
	remove_now(0, va + PAGE, va + 2 * PAGE);
	cr_assert_eq(level_at(0, va, pa_of(frame)), 0);
	cr_assert_eq(load(0, va), 78);
	cr_assert_eq(load(0, va + PAGE), UINT64_MAX);
	remove_now(0, 5 * gib, 6 * gib);
	cr_assert_eq(load(0, va), UINT64_MAX);
	(void)mmk_frame_unref(&phys, frame);
}
#endif

#ifdef __aarch64__
#define SVC 0xd4000001u
#define BTI_J 0xd503249fu

#define SCTLR_TCF0_SYNC ((uint64_t)1 << 38)
#define TCR_TBI0 ((uint64_t)1 << 37)

#define TAGGED(va, tag) ((va) | (uint64_t)(tag) << 56)

static struct mmk_frame *
new_code(void)
{
	struct mmk_frame *frame = new_frame(0);
	uint32_t *code = (uint32_t *)mmk_frame_ptr(&phys, frame);

	code[0] = SVC;
	code[2] = BTI_J;
	code[3] = SVC;
	__asm__ volatile("dsb ish\n\tic ialluis\n\tdsb ish\n\tisb" : : : "memory");
	return frame;
}

/*
 * Without the attribute a branch goes where it likes. A frame for each: QEMU
 * translates the code of a frame once, guarded or not.
 */
TEST_FORMATS(branches_land_on_pads_only_in_guarded_pages)
{
	struct mmk_frame *frames[2] = { new_code(), new_code() };

	cr_assert(mmk_pt_can_express(&sys.shape, R | X | MMK_PMAP_GUARDED));
	mmk_pmap_activate(&pmaps[0], 0);
	for (unsigned i = 0; i < 4; i++) {
		bool is_guarded = i % 2 == 1;

		enter(0, VA, frames[i % 2], R | X | U | MMK_PMAP_ACCESSED |
		        (is_guarded ? MMK_PMAP_GUARDED : 0));
		cr_assert_str_eq(machine_trap_of(user_branch, VA), is_guarded
		        ? "a branch to no landing pad" : "a system call");
		cr_assert_str_eq(machine_trap_of(user_branch, VA + 8),
		    "a system call");
	}
	remove_now(0, VA, VA + PAGE);
	for (unsigned i = 0; i < 2; i++)
		(void)mmk_frame_unref(&phys, frames[i]);
}

/* A program's wrong tag traps; or else nothing looks at tags. */
static void
set_tags(bool are_on)
{
	uint64_t sctlr, tcr;

	__asm__ volatile("mrs %0, sctlr_el1\n\tmrs %1, tcr_el1"
	                 : "=r"(sctlr), "=r"(tcr));
	sctlr &= ~SCTLR_TCF0_SYNC;
	tcr &= ~TCR_TBI0;
	if (are_on) {
		sctlr |= SCTLR_TCF0_SYNC;
		tcr |= TCR_TBI0;
	}
	__asm__ volatile("msr sctlr_el1, %0\n\tmsr tcr_el1, %1\n\tisb\n\t"
	                 "tlbi vmalle1\n\tdsb nsh\n\tisb"
	                 :
	                 : "r"(sctlr), "r"(tcr)
	                 : "memory");
}

TEST_FORMATS(tags_are_of_tagged_pages_only)
{
	const unsigned flags = RWU | MMK_PMAP_ACCESSED | MMK_PMAP_MODIFIED;
	struct mmk_frame *frame = new_frame(0);

	cr_assert(mmk_pt_can_express(&sys.shape, flags | MMK_PMAP_TAGGED));
	mmk_pmap_activate(&pmaps[0], 0);
	set_tags(true);
	for (unsigned i = 0; i < 4; i++) {
		unsigned type = i % 2 == 1 ? MMK_PMAP_TAGGED : 0;

		enter(0, VA, frame, flags | type);
		cr_assert_str_eq(machine_trap_of(user_tag_bytes, TAGGED(VA, 5)),
		    "a system call");
		cr_assert_str_eq(machine_trap_of(user_load_word, TAGGED(VA, 5)),
		    "a system call");
		cr_assert_str_eq(machine_trap_of(user_load_word, TAGGED(VA, 6)),
		    type != 0 ? "a wrong tag" : "a system call");
	}
	set_tags(false);
	remove_now(0, VA, VA + PAGE);
	(void)mmk_frame_unref(&phys, frame);
}
#endif
