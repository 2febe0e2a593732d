/* SPDX-License-Identifier: MIT
 *
 * tests/test_contig.c: groups of entries that are one leaf: aarch64's
 * Contiguous bit. See mmkit/pmap/super.h
 */
#include "super_fixture.h"

#ifndef SIM_ARCH_HERE
#include "../ports/sim/walk.h"
#endif

#include <pthread.h>

/* Pages of a group; a frame that holds four of them. */
#define G (1u << sys.shape.contig_shift)
#define GROUP (G * PAGE)
#define FRAME_ORDER (sys.shape.contig_shift + 2u)

static void
on_formats_with_groups(void (*body)(void))
{
	for (size_t i = 0; i < NR_FORMATS; i++) {
		boot(&large_formats[i]);
		sim_forbid_stale_hits(true);
		if (sys.shape.contig_shift != 0)
			body();
		halt();
	}
}

#define TEST_GROUPS(name)                      \
	static void groups_##name(void);       \
	Test(contig, name)                     \
	{                                      \
		on_formats_with_groups(groups_##name); \
	}                                      \
	static void groups_##name(void)

/* Pages of the leaf that translates va, to pa; 0: none. */
static unsigned
pages_at(unsigned space, mmk_va va, mmk_pa pa)
{
	struct mmk_translation found;

	if (!mmk_pmap_query(&pmaps[space], va, &found))
		return 0;
	cr_assert_eq(found.va, va);
	cr_assert_eq(found.pa, pa);
	cr_assert_eq(found.flags & ~MMK_PMAP_ALL, 0);
	return found.nr_pages;
}

TEST_GROUPS(a_run_that_covers_a_group_is_one_leaf)
{
	struct mmk_frame *frame = new_frame(FRAME_ORDER);

	activate(0, 0);
	enter_run(0, BVA + GROUP, pa_of(frame) + GROUP, G, RWU);
	cr_assert_eq(pmaps[0].nr_pages, G);
	cr_assert_eq(frame->mapped, G);
	for (unsigned i = 0; i < G; i++) {
		mmk_va va = BVA + GROUP + i * PAGE;

		cr_assert_eq(pages_at(0, va, pa_of(frame) + GROUP + i * PAGE),
		    G);
		cr_assert(store(0, va, i));
		cr_assert_eq(load(0, va), i);
	}
	if (sys.shape.hw_accessed)
		cr_assert_eq(sim_tlb_count(0), 1);
	cr_assert(check_all());
	cr_assert(mmk_rmap_check(&sys, frame));
	remove_now(0, BVA, BVA + LARGE);
	cr_assert_eq(load(0, BVA + GROUP), UINT64_MAX);
	cr_assert_eq(frame->mapped, 0);
	cr_assert(mmk_page_is_modified(&sys, frame));
	cr_assert_eq(used(MMK_USE_TABLE), NR_PMAPS);
	mmk_frame_unref(&phys, frame);
}

/* Alignment of either address, length, frames, and what is there decide. */
TEST_GROUPS(what_does_not_fit_is_pages)
{
	struct mmk_frame *frame = new_frame(FRAME_ORDER);
	struct mmk_frame *small = new_frame(0);
	mmk_pa pa = pa_of(frame);

	enter_run(0, BVA + PAGE, pa, G, RWU);
	cr_assert_eq(pages_at(0, BVA + PAGE, pa), 1);
	enter_run(1, BVA, pa + PAGE, G, RWU);
	cr_assert_eq(pages_at(1, BVA, pa + PAGE), 1);
	enter_run(1, BVA + 2 * GROUP, pa + GROUP / 2, G, RWU);
	cr_assert_eq(pages_at(1, BVA + 2 * GROUP, pa + GROUP / 2), 1);
	enter_run(2, BVA, pa, G - 1, RWU);
	cr_assert_eq(pages_at(2, BVA, pa), 1);
	enter(3, BVA + GROUP + PAGE, small, RWU);
	enter_run(3, BVA, pa, 3 * G, RWU);
	cr_assert_eq(pages_at(3, BVA, pa), G);
	cr_assert_eq(pages_at(3, BVA + GROUP, pa + GROUP), 1, "one was there");
	cr_assert_eq(pages_at(3, BVA + GROUP + PAGE, pa + GROUP + PAGE), 1);
	cr_assert_eq(pages_at(3, BVA + 2 * GROUP, pa + 2 * GROUP), G);
	cr_assert_eq(small->mapped, 0);
	cr_assert(check_all());
	mmk_page_remove_all(&sys, frame);
	cr_assert_eq(frame->mapped, 0);
	mmk_frame_unref(&phys, frame);
	mmk_frame_unref(&phys, small);
}

/* Tracked ones lie within one frame; what is not tracked may lead anywhere. */
TEST_GROUPS(foreign_memory_and_kernel_pages_have_groups)
{
	mmk_pa pa = (mmk_pa)1 << 40; /* no RAM */
	struct mmk_frame *frame = new_frame(FRAME_ORDER);

	enter_run(0, BVA, pa, 2 * G, RWU | MMK_PMAP_DEVICE);
	cr_assert_eq(pages_at(0, BVA + GROUP, pa + GROUP), G);
	cr_assert_eq(mmk_pmap_kenter(&pmaps[1], BVA, pa_of(frame), 2 * G,
	                 R | W),
	    MMK_OK);
	cr_assert_eq(pages_at(1, BVA, pa_of(frame)), G);
	cr_assert_eq(pmaps[1].nr_wired, 2 * G);
	cr_assert(check_all());
	mmk_pmap_unwire(&pmaps[1], BVA + 3 * PAGE);
	cr_assert_eq(pmaps[1].nr_wired, 2 * G - 1);
	cr_assert_eq(pages_at(1, BVA, pa_of(frame)), 1);
	cr_assert_eq(pages_at(1, BVA + GROUP, pa_of(frame) + GROUP), G);
	cr_assert(check_all());
	mmk_pmap_kremove(&pmaps[1], BVA, 2 * G);
	mmk_frame_unref(&phys, frame);
}

/* From the i-th page on, `nr` of a group: what is left is pages, unchanged. */
static void
change_a_part(unsigned i, unsigned nr, bool is_removed)
{
	struct mmk_frame *frame = new_frame(FRAME_ORDER);
	mmk_va start_va = BVA + i * PAGE, end_va = start_va + nr * PAGE;

	activate(0, 0);
	enter_run(0, BVA, pa_of(frame), 2 * G, RWU);
	for (unsigned j = 0; j < 2 * G; j++)
		cr_assert(store(0, BVA + j * PAGE, 100 + j));
	if (is_removed)
		remove_now(0, start_va, end_va);
	else
		protect_now(0, start_va, end_va, R);
	cr_assert(check_all());
	cr_assert(mmk_rmap_check(&sys, frame));
	for (unsigned j = 0; j < 2 * G; j++) {
		mmk_va va = BVA + j * PAGE;
		bool is_part = j >= i && j < i + nr;

		cr_assert_eq(load(0, va),
		    is_part && is_removed ? UINT64_MAX : 100 + j);
		cr_assert_eq(store(0, va, 200 + j), !is_part);
		cr_assert_eq(pages_at(0, va, pa_of(frame) + j * PAGE),
		    is_part && is_removed ? 0 : j < G ? 1 : G);
	}
	remove_now(0, BVA, BVA + LARGE);
	sim_set_cpu(0);
	mmk_pmap_deactivate(&pmaps[0], 0);
	mmk_frame_unref(&phys, frame);
}

TEST_GROUPS(a_part_that_changes_splits_the_group)
{
	for (unsigned is_removed = 0; is_removed < 2; is_removed++) {
		change_a_part(0, 1, is_removed);
		change_a_part(G - 1, 1, is_removed);
		change_a_part(G / 2, 2, is_removed);
		change_a_part(1, G - 1, is_removed);
	}
}

/* What CPUs have of the group is gone before they can get single pages. */
TEST_GROUPS(splitting_and_joining_flush)
{
	struct mmk_frame *frame = new_frame(FRAME_ORDER);
	mmk_pa pa = pa_of(frame);

	activate(0, 0);
	activate(0, 1);
	enter_run(0, BVA, pa, G, RWU | MMK_PMAP_WIRED);
	for (unsigned i = 0; i < G; i++)
		cr_assert_eq(load(1, BVA + i * PAGE), 0);
	mmk_pmap_unwire(&pmaps[0], BVA);
	cr_assert_eq(sim_tlb_count(1), 0);
	for (unsigned i = 0; i < G; i++) {
		mmk_pmap_unwire(&pmaps[0], BVA + i * PAGE);
		cr_assert_eq(load(1, BVA + i * PAGE), 0);
	}
	cr_assert_eq(sim_tlb_count(1), G);
	(void)mmk_pmap_promote(&pmaps[0], BVA);
	cr_assert_eq(pages_at(0, BVA, pa), G);
	cr_assert_eq(sim_tlb_count(1), 0);
	remove_now(0, BVA, BVA + LARGE);
	mmk_frame_unref(&phys, frame);
}

/* Without splitting it: nothing of another size is there for a moment. */
TEST_GROUPS(the_whole_group_changes_as_one)
{
	struct mmk_frame *frame = new_frame(FRAME_ORDER);
	mmk_pa pa = pa_of(frame);

	activate(0, 0);
	enter_run(0, BVA, pa, 2 * G, RWU);
	cr_assert(store(0, BVA + PAGE, 7));
	protect_now(0, BVA, BVA + GROUP, R);
	cr_assert_eq(pages_at(0, BVA, pa), G);
	cr_assert(!store(0, BVA + 2 * PAGE, 8));
	cr_assert(store(0, BVA + GROUP, 9));
	cr_assert(store(0, BVA + 2 * GROUP - PAGE, 9));
	mmk_page_write_protect(&sys, frame);
	cr_assert_eq(pages_at(0, BVA + GROUP, pa + GROUP), G);
	cr_assert(!store(0, BVA + GROUP, 10));
	cr_assert(!store(0, BVA + 2 * GROUP - PAGE, 10));
	cr_assert_eq(load(0, BVA + GROUP + PAGE), 0);
	cr_assert(mmk_page_clear_referenced(&sys, frame));
	cr_assert(mmk_page_clear_modified(&sys, frame));
	cr_assert(!mmk_page_is_modified(&sys, frame));
	cr_assert_eq(pages_at(0, BVA, pa), G);
	cr_assert(check_all());
	mmk_page_remove_all(&sys, frame);
	cr_assert_eq(load(0, BVA), UINT64_MAX);
	mmk_frame_unref(&phys, frame);
}

/* The hardware notes it in one entry: it is true of the group, and stays so. */
TEST_GROUPS(what_one_entry_knows_the_group_knows)
{
	struct mmk_frame *frame = new_frame(FRAME_ORDER);
	unsigned seen = MMK_PMAP_ACCESSED | MMK_PMAP_MODIFIED;

	activate(0, 0);
	enter_run(0, BVA, pa_of(frame), G, RWU);
	cr_assert(!mmk_page_is_modified(&sys, frame));
	cr_assert(store(0, BVA + 5 * PAGE, 1));
	cr_assert_eq(flags_at(0, BVA) & seen, seen);
	cr_assert(mmk_page_is_modified(&sys, frame));
	remove_now(0, BVA, BVA + PAGE);
	for (unsigned i = 1; i < G; i++)
		cr_assert_eq(flags_at(0, BVA + i * PAGE) & seen, seen);
	remove_now(0, BVA, BVA + GROUP);
	cr_assert(mmk_page_clear_modified(&sys, frame));

	enter_run(0, BVA, pa_of(frame), G, RWU);
	cr_assert(store(0, BVA + (G - 1) * PAGE, 1));
	remove_now(0, BVA, BVA + GROUP);
	cr_assert(mmk_page_is_modified(&sys, frame), "harvested of the last");
	mmk_frame_unref(&phys, frame);
}

/* Entering within a group: the same page, with other rights; another page. */
TEST_GROUPS(entering_within_a_group)
{
	struct mmk_frame *frame = new_frame(FRAME_ORDER);
	struct mmk_frame *other = new_frame_with(77);
	mmk_pa pa = pa_of(frame);

	activate(0, 0);
	enter_run(0, BVA, pa, 2 * G, RWU);
	cr_assert_eq(mmk_pmap_enter(&pmaps[0], BVA + PAGE, pa + PAGE, RWU),
	    MMK_OK);
	cr_assert_eq(pages_at(0, BVA, pa), G, "nothing to change");
	cr_assert(store(0, BVA + PAGE, 3));
	cr_assert_eq(mmk_pmap_enter(&pmaps[0], BVA + PAGE, pa + PAGE, R | U),
	    MMK_OK);
	cr_assert_eq(pages_at(0, BVA, pa), 1);
	cr_assert(!store(0, BVA + PAGE, 4));
	cr_assert(store(0, BVA + 2 * PAGE, 4));
	cr_assert_eq(load(0, BVA + GROUP), 0);
	enter(0, BVA + GROUP, other, RWU);
	cr_assert_eq(load(0, BVA + GROUP), 77);
	cr_assert_eq(load(0, BVA + GROUP + PAGE), 0);
	cr_assert_eq(pages_at(0, BVA + GROUP + PAGE, pa + GROUP + PAGE), 1);
	cr_assert_eq(frame->mapped, 2 * G - 1);
	cr_assert(check_all());
	remove_now(0, BVA, BVA + LARGE);
	mmk_frame_unref(&phys, frame);
	mmk_frame_unref(&phys, other);
}

TEST_GROUPS(pages_that_came_one_by_one_are_joined)
{
	struct mmk_frame *frame = new_frame(FRAME_ORDER);
	mmk_pa pa = pa_of(frame);

	activate(0, 0);
	for (unsigned i = 0; i < 2 * G; i++)
		cr_assert_eq(mmk_pmap_enter(&pmaps[0], BVA + i * PAGE,
		                 pa + i * PAGE, RWU),
		    MMK_OK);
	for (unsigned i = 0; i < G; i++)
		cr_assert_eq(load(0, BVA + i * PAGE), 0);
	cr_assert(store(0, BVA + 2 * PAGE, 5));
	cr_assert(!mmk_pmap_promote(&pmaps[0], BVA + 3 * PAGE), "no table");
	cr_assert_eq(pages_at(0, BVA, pa), G);
	cr_assert_eq(pages_at(0, BVA + GROUP, pa + GROUP), 1);
	cr_assert_eq(load(0, BVA + 2 * PAGE), 5);
	cr_assert((flags_at(0, BVA) & MMK_PMAP_MODIFIED) != 0);
	/* One right differs, one is missing: left alone. */
	protect_now(0, BVA + GROUP, BVA + GROUP + PAGE, R);
	cr_assert(!mmk_pmap_promote(&pmaps[0], BVA + GROUP));
	cr_assert_eq(pages_at(0, BVA + GROUP, pa + GROUP), 1);
	remove_now(0, BVA + GROUP, BVA + GROUP + PAGE);
	cr_assert(!mmk_pmap_promote(&pmaps[0], BVA + GROUP + PAGE));
	cr_assert_eq(pages_at(0, BVA + GROUP + PAGE, pa + GROUP + PAGE), 1);
	cr_assert(check_all());
	remove_now(0, BVA, BVA + LARGE);
	mmk_frame_unref(&phys, frame);
}

/* A superpage, split: groups, but for the one that has lost a page. */
TEST_GROUPS(a_superpage_falls_into_groups)
{
	struct mmk_frame *block = new_frame(BLOCK_ORDER);
	mmk_pa pa = pa_of(block);

	activate(0, 0);
	enter_run(0, BVA, pa, NR, RWU);
	cr_assert_eq(pages_at(0, BVA, pa), NR);
	remove_now(0, BVA + GROUP, BVA + GROUP + PAGE);
	cr_assert_eq(pages_at(0, BVA, pa), G);
	cr_assert_eq(pages_at(0, BVA + GROUP, pa), 0);
	cr_assert_eq(pages_at(0, BVA + GROUP + PAGE, pa + GROUP + PAGE), 1);
	cr_assert_eq(pages_at(0, BVA + 2 * GROUP, pa + 2 * GROUP), G);
	cr_assert(check_all());
	enter_run(0, BVA + GROUP, pa + GROUP, 1, RWU);
	cr_assert(mmk_pmap_promote(&pmaps[0], BVA));
	cr_assert_eq(pages_at(0, BVA, pa), NR, "groups and pages alike");
	cr_assert(check_all());
	remove_now(0, BVA, BVA + LARGE);
	mmk_frame_unref(&phys, block);
}

TEST_GROUPS(a_shape_without_groups_gets_none)
{
	struct mmk_frame *frame = new_frame(FRAME_ORDER);

	sys.shape.contig_shift = 0;
	enter_run(0, BVA, pa_of(frame), 4, RWU);
	enter_run(0, BVA + 4 * PAGE, pa_of(frame) + 4 * PAGE, NR / 16, RWU);
	cr_assert_eq(pages_at(0, BVA, pa_of(frame)), 1);
	cr_assert(!mmk_pmap_promote(&pmaps[0], BVA));
	remove_now(0, BVA, BVA + LARGE);
	mmk_frame_unref(&phys, frame);
}

#ifndef SIM_ARCH_HERE
/* The audit and the machine both see a group that is none. */
TEST_GROUPS(a_group_whose_entries_differ_is_noticed)
{
	struct mmk_frame *frame = new_frame(FRAME_ORDER);
	struct sim_walk_request request = { .va = BVA + 3 * PAGE,
		.access = SIM_READ, .is_user = true, .is_probe = true };
	struct sim_walk walk;
	uint64_t saved, *slot;

	activate(0, 0);
	enter_run(0, BVA, pa_of(frame), G, RWU | MMK_PMAP_ACCESSED);
	request.root_pa = sim_cpu_root(0);
	sim_walk(&request, &walk);
	cr_assert_eq(walk.fault, SIM_FAULT_NONE);
	slot = sim_entry_ptr(walk.entry_pas[walk.nr_entries - 1]);
	saved = *slot;
	*slot = saved + PAGE;
	cr_assert(!mmk_pmap_check(&pmaps[0]));
	sim_violations_record(true);
	(void)load(0, BVA);
	cr_assert_gt(sim_violations(), 0);
	sim_violations_clear();
	sim_violations_record(false);
	*slot = mmk_pt_make_leaf(&sys.shape, 0,
	    mmk_pt_pa(&sys.shape, 0, saved),
	    mmk_pt_flags(&sys.shape, 0, saved) & ~MMK_PMAP_CONTIG);
	cr_assert(!mmk_pmap_check(&pmaps[0]));
	*slot = saved;
	cr_assert(mmk_pmap_check(&pmaps[0]));
	remove_now(0, BVA, BVA + LARGE);
	mmk_frame_unref(&phys, frame);
}
#endif

/* ---- two CPUs ------------------------------------------------------------ */

static struct {
	struct mmk_frame *frame;
	bool stop; /* atomic */
	uint64_t nr_faults;
} race;

/* Writes and reads the pages of a group, but for the first. */
static void *
use_for_ever(void *ctx)
{
	uint64_t word = 0;

	(void)ctx;
	sim_set_cpu(1);
	while (!__atomic_load_n(&race.stop, __ATOMIC_ACQUIRE)) {
		mmk_va va = BVA + (1 + ++word % (G - 1)) * PAGE;

		race.nr_faults += !store(1, va, word);
		race.nr_faults += load(1, va) != word;
	}
	return NULL;
}

static uint64_t
sum_of_words(void)
{
	const uint64_t *words =
	    (const uint64_t *)mmk_frame_ptr(&phys, race.frame);
	uint64_t sum = 0;

	for (unsigned i = 1; i < G; i++)
		sum += __atomic_load_n(&words[i * NR], __ATOMIC_ACQUIRE);
	return sum;
}

/* Nobody misses a page, and no store is forgotten, while it is split, joined. */
static void
split_and_join(void)
{
	mmk_pa pa = pa_of(race.frame);
	uint64_t sum;

	(void)mmk_page_clear_modified(&sys, race.frame);
	sum = sum_of_words();
	protect_now(0, BVA, BVA + PAGE, R);
	cr_assert_eq(pages_at(0, BVA, pa), 1);
	enter_run(0, BVA, pa, 1, RWU);
	(void)mmk_pmap_promote(&pmaps[0], BVA);
	cr_assert_eq(pages_at(0, BVA, pa), G);
	if (sum_of_words() != sum)
		cr_assert(mmk_page_is_modified(&sys, race.frame));
}

TEST_GROUPS(a_user_notices_no_split_and_no_join)
{
	unsigned nr_rounds = mmk_test_steps(150);
	pthread_t thread;

	race.frame = new_frame(FRAME_ORDER);
	race.stop = false;
	race.nr_faults = 0;
	sim_forbid_stale_hits(false); /* until the flush they are no fault */
	enter_run(0, BVA, pa_of(race.frame), G, RWU);
	activate(0, 0);
	activate(0, 1);
	cr_assert_eq(pthread_create(&thread, NULL, use_for_ever, NULL), 0);
	while (nr_rounds-- > 0)
		split_and_join();
	__atomic_store_n(&race.stop, true, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	cr_assert_eq(race.nr_faults, 0);
	cr_assert(check_all());
	remove_now(0, BVA, BVA + LARGE);
	mmk_frame_unref(&phys, race.frame);
}

/* ---- random steps beside a plain array ----------------------------------- */

enum { NR_GROUPS = 3 };

/* What one page is to be; rights 0: not there. */
struct model {
	unsigned rights;
	bool is_wired;
	uint64_t word;
};

static struct model model[NR_GROUPS * 128];

static void
assert_model(struct mmk_frame *frame, unsigned nr, uint64_t seed)
{
	uint64_t nr_pages = 0, nr_wired = 0;

	for (unsigned i = 0; i < nr; i++) {
		mmk_va va = BVA + i * PAGE;
		unsigned flags = flags_at(0, va);

		cr_assert_eq(flags & RWU, model[i].rights,
		    "page %u, MMK_SEED=%llu", i, (unsigned long long)seed);
		nr_pages += flags != 0;
		nr_wired += model[i].is_wired;
		if (flags == 0)
			continue;
		cr_assert_eq((flags & MMK_PMAP_WIRED) != 0,
		    model[i].is_wired);
		cr_assert_geq(pages_at(0, va, pa_of(frame) + i * PAGE), 1);
	}
	cr_assert_eq(pmaps[0].nr_pages, nr_pages);
	cr_assert_eq(pmaps[0].nr_wired, nr_wired);
	cr_assert_eq(frame->mapped, nr_pages);
}

static void
random_step(struct mmk_frame *frame, unsigned nr, uint64_t *seed)
{
	unsigned i = (unsigned)(mmk_test_random(seed) % nr);
	unsigned n = (unsigned)(mmk_test_random(seed) % (2 * G)) + 1;
	unsigned act = (unsigned)(mmk_test_random(seed) % 10);
	mmk_va va;

	if (mmk_test_random(seed) % 2 == 0)
		i -= i % G; /* whole groups, often */
	if (mmk_test_random(seed) % 2 == 0)
		n = G;
	n = n < nr - i ? n : nr - i;
	va = BVA + i * PAGE;
	if (act < 4) {
		unsigned rights = act == 3 ? R | U : RWU;
		unsigned wired = act == 2 ? MMK_PMAP_WIRED : 0;

		enter_run(0, va, pa_of(frame) + i * PAGE, n, rights | wired);
		for (unsigned j = i; j < i + n; j++) {
			model[j].rights = rights;
			model[j].is_wired = wired != 0;
		}
	} else if (act == 4) {
		remove_now(0, va, va + n * PAGE);
		for (unsigned j = i; j < i + n; j++) {
			model[j].rights = 0;
			model[j].is_wired = false;
		}
	} else if (act == 5) {
		protect_now(0, va, va + n * PAGE, R);
		for (unsigned j = i; j < i + n; j++)
			model[j].rights &= R | U;
	} else if (act == 6) {
		mmk_pmap_unwire(&pmaps[0], va);
		model[i].is_wired = false;
	} else if (act == 7) {
		(void)mmk_pmap_promote(&pmaps[0], va);
	} else {
		bool may = (model[i].rights & W) != 0;

		cr_assert_eq(store(0, va, *seed), may);
		if (may)
			model[i].word = *seed;
		cr_assert_eq(load(0, va), model[i].rights != 0 ? model[i].word
		                                               : UINT64_MAX);
		if (may)
			cr_assert(mmk_page_is_modified(&sys, frame));
	}
}

TEST_GROUPS(prop_random_changes_agree_with_an_array)
{
	struct mmk_frame *frame = new_frame(FRAME_ORDER);
	uint64_t seed = mmk_test_seed(), start_seed = seed;
	unsigned nr = NR_GROUPS * G;

	cr_assert_leq(nr, sizeof model / sizeof model[0]);
	memset(model, 0, sizeof model);
	activate(0, 0);
	for (unsigned step = mmk_test_steps(1500); step-- > 0;) {
		random_step(frame, nr, &seed);
		assert_model(frame, nr, start_seed);
		if (step % 8 == 0)
			cr_assert(check_all() &&
			    mmk_rmap_check(&sys, frame));
		if (step % 64 == 0)
			(void)mmk_page_clear_modified(&sys, frame);
	}
	remove_now(0, BVA, BVA + LARGE);
	mmk_frame_unref(&phys, frame);
}
