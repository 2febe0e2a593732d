/* SPDX-License-Identifier: MIT
 *
 * tests/test_super_prop.c: random operations on two pmaps, of which one may be the
 * kernel's, with leaves of every size, compared after each step with an array that
 * knows only pages
 */
#include <criterion/criterion.h>

#include <string.h>

#include "super_fixture.h"

#define NR_SPACES 2u
#define NR_PLACES (3u * NR)
#define NR_BLOCKS 3u /* two of a table's size, one of two */
#define KIND MMK_PMAP_UNTRACKED

/* What should be at one page of one pmap. */
struct place {
	bool is_there;
	bool is_modified; /* at least this page was written to */
	unsigned block;
	unsigned page; /* of the block */
	unsigned flags;
};

static struct {
	uint64_t random;
	uint64_t view; /* hash of all that was ever seen */
	bool may_fail; /* allocations are made to fail */
	struct mmk_frame *blocks[NR_BLOCKS];
	bool was_modified[NR_BLOCKS];
	struct place places[NR_SPACES][NR_PLACES];
} model;

static unsigned
pick(unsigned nr)
{
	return (unsigned)(mmk_test_random(&model.random) >> 20) % nr;
}

/* Space 1 may be the kernel's half. */
static unsigned
pmap_of(unsigned space)
{
	return has_kernel && space == 1 ? KERNEL : space;
}

static mmk_va
va_of(unsigned space, unsigned place)
{
	return pmaps[pmap_of(space)].base_va + BVA + place * PAGE;
}

static mmk_pa
place_pa(unsigned block, unsigned page)
{
	return pa_of(model.blocks[block]) + page * PAGE;
}

static unsigned
block_pages(unsigned block)
{
	return block == 2 ? 2 * NR : NR;
}

/* Rights that all formats spell alike. */
static unsigned
pick_rights(unsigned space)
{
	static const unsigned rights[] = { R, R | W, R | X, R | W | X };

	return rights[pick(4)] |
	    (pmap_of(space) == KERNEL ? MMK_PMAP_GLOBAL : U);
}

static void
model_enter(unsigned space, unsigned at, unsigned block, unsigned page,
    unsigned flags)
{
	struct place *place = &model.places[space][at];
	bool is_same = place->is_there && place->block == block &&
	    place->page == page && ((place->flags ^ flags) & KIND) == 0;

	place->is_modified = is_same && place->is_modified;
	place->is_there = true;
	place->block = block;
	place->page = page;
	place->flags = flags;
}

static void
step_enter(unsigned space, bool fits)
{
	unsigned block = pick(NR_BLOCKS), flags = pick_rights(space);
	unsigned at = pick(NR_PLACES), page = pick(block_pages(block)), nr;
	uint64_t nr_done = 0;
	enum mmk_err err;

	if (fits) {
		at = at / NR * NR;
		page = page / NR * NR;
	} else if (model.places[space][at].is_there && pick(2) == 0) {
		block = model.places[space][at].block;
		page = model.places[space][at].page;
	}
	flags |= pick(6) == 0 ? MMK_PMAP_WIRED : 0;
	flags |= pick(6) == 0 ? MMK_PMAP_UNTRACKED : 0;
	nr = NR_PLACES - at;
	if (nr > block_pages(block) - page)
		nr = block_pages(block) - page;
	if (!fits || pick(4) == 0)
		nr = 1 + pick(nr < 40 ? nr : 40);
	if (model.may_fail && pick(2) == 0)
		sim_fail_at(1 + pick(6));
	if (nr == 1 && pick(2) == 0) {
		err = mmk_pmap_enter(&pmaps[pmap_of(space)], va_of(space, at),
		    place_pa(block, page), flags);
		nr_done = err == MMK_OK;
	} else {
		err = mmk_pmap_enter_run(&pmaps[pmap_of(space)],
		    va_of(space, at), place_pa(block, page), nr, flags,
		    &nr_done);
	}
	sim_fail_at(0);
	cr_assert(err == MMK_OK ? nr_done == nr
	                        : model.may_fail && err == MMK_ERR_NOMEM);
	for (unsigned i = 0; i < nr_done; i++)
		model_enter(space, at + i, block, page + i, flags);
}

static void
model_gone(struct place *place)
{
	place->is_there = false;
	place->is_modified = false;
}

/* prot 0: remove. Nothing may fail, whatever has to be split. */
static void
step_range(unsigned space, unsigned prot)
{
	unsigned at = pick(NR_PLACES);
	unsigned nr = 1 + pick(pick(2) == 0 ? 4 : NR_PLACES - at);

	if (pick(4) == 0) {
		at = at / NR * NR;
		nr = NR;
	}
	if (nr > NR_PLACES - at)
		nr = NR_PLACES - at;
	sim_fail_at(1);
	if (prot == 0)
		remove_now(pmap_of(space), va_of(space, at),
		    va_of(space, at + nr));
	else
		protect_now(pmap_of(space), va_of(space, at),
		    va_of(space, at + nr), prot);
	sim_fail_at(0);
	for (unsigned i = at; i < at + nr; i++) {
		struct place *place = &model.places[space][i];

		if (prot == 0)
			model_gone(place);
		else
			place->flags &= prot | ~MMK_PROT_ALL;
	}
}

/* Of whole tables: what lies partly outside is left. */
static void
step_collect(unsigned space)
{
	unsigned at = pick(3) * NR;

	mmk_pmap_collect(&pmaps[pmap_of(space)], va_of(space, at),
	    va_of(space, at + NR), 0, &gather);
	mmk_gather_finish(&gather);
	for (unsigned i = at; i < at + NR; i++)
		if ((model.places[space][i].flags & MMK_PMAP_WIRED) == 0)
			model_gone(&model.places[space][i]);
}

/* take 0: the translations go. */
static void
model_page(unsigned block, unsigned take)
{
	for (unsigned i = 0; i < NR_SPACES * NR_PLACES; i++) {
		struct place *place =
		    &model.places[i % NR_SPACES][i / NR_SPACES];

		if (!place->is_there || place->block != block ||
		    (place->flags & KIND) != 0)
			continue;
		if (take == 0)
			model_gone(place);
		else if (take == MMK_PMAP_MODIFIED)
			place->is_modified = false;
		else
			place->flags &= ~take;
	}
}

static void
step_page(unsigned block)
{
	struct mmk_frame *frame = model.blocks[block];

	switch (pick(5)) {
	case 0:
		mmk_page_remove_all(&sys, frame);
		model_page(block, 0);
		break;
	case 1:
		mmk_page_write_protect(&sys, frame);
		model_page(block, W);
		break;
	default:
		cr_assert_eq(mmk_page_clear_modified(&sys, frame),
		    model.was_modified[block]);
		model_page(block, MMK_PMAP_MODIFIED);
		model.was_modified[block] = false;
		break;
	}
}

/* pmap n is active on CPU n; the kernel's is on both. */
static void
step_access(unsigned space)
{
	unsigned at = pick(NR_PLACES);
	struct place *place = &model.places[space][at];
	bool is_store = pick(2) == 0;
	bool may = place->is_there && (place->flags & (is_store ? W : R)) != 0;
	bool is_kernel = pmap_of(space) == KERNEL;
	unsigned cpu = is_kernel ? pick(2) : space;

	sim_cpu_set_user(cpu, !is_kernel);
	if (is_store) {
		cr_assert_eq(store(cpu, va_of(space, at) + 8, at), may);
	} else {
		cr_assert_eq(load(cpu, va_of(space, at)), may
		        ? place->block * 10000 + place->page
		        : UINT64_MAX);
	}
	sim_cpu_set_user(cpu, true);
	if (!is_store || !may)
		return;
	place->is_modified = true;
	if ((place->flags & KIND) == 0)
		model.was_modified[place->block] = true;
}

static void
step_one_page(unsigned space)
{
	unsigned at = pick(NR_PLACES);

	if (pick(3) != 0) {
		(void)mmk_pmap_promote(&pmaps[pmap_of(space)],
		    va_of(space, at));
		return;
	}
	mmk_pmap_unwire(&pmaps[pmap_of(space)], va_of(space, at));
	model.places[space][at].flags &= ~MMK_PMAP_WIRED;
}

static void
step(void)
{
	unsigned space = pick(NR_SPACES);

	switch (pick(16)) {
	case 0:
		step_range(space, 0);
		break;
	case 1:
	case 2:
		step_range(space, pick_rights(space) & MMK_PROT_ALL);
		break;
	case 3:
		step_page(pick(NR_BLOCKS));
		break;
	case 4:
		step_collect(space);
		break;
	case 5:
	case 6:
		step_one_page(space);
		break;
	case 7:
	case 8:
		step_enter(space, true);
		break;
	case 9:
	case 10:
		step_enter(space, false);
		break;
	default:
		for (unsigned i = 0; i < 8; i++)
			step_access(space);
		break;
	}
}

static void
compare_place(unsigned space, unsigned at, unsigned nr_mapped[])
{
	const unsigned seen = MMK_PMAP_ACCESSED | MMK_PMAP_MODIFIED;
	const struct place *place = &model.places[space][at];
	struct mmk_translation found = { 0 };
	bool is_modified;

	cr_assert_eq(mmk_pmap_query(&pmaps[pmap_of(space)], va_of(space, at),
	                 &found),
	    place->is_there, "pmap %u, place %u", space, at);
	if (!place->is_there)
		return;
	cr_assert_eq(found.pa, place_pa(place->block, place->page),
	    "pmap %u, place %u", space, at);
	cr_assert_eq(found.flags & ~seen, place->flags,
	    "pmap %u, place %u: 0x%x, not 0x%x", space, at, found.flags,
	    place->flags);
	is_modified = (found.flags & MMK_PMAP_MODIFIED) != 0;
	cr_assert(is_modified || !place->is_modified, "pmap %u, place %u",
	    space, at);
	model.view = (model.view ^ (at * 31 + place->block * 7 + place->page +
	                 (found.flags & ~seen) * 4096)) *
	    UINT64_C(0x100000001b3);
	if ((place->flags & KIND) != 0)
		return;
	cr_assert(!is_modified || model.was_modified[place->block]);
	nr_mapped[place->block]++;
}

static void
compare(unsigned step_nr)
{
	unsigned nr_mapped[NR_BLOCKS] = { 0 };

	/* The kernel's tables are many. */
	if (!has_kernel || step_nr % 64 == 0)
		cr_assert(check_all());
	for (unsigned i = 0; i < NR_SPACES * NR_PLACES; i++)
		compare_place(i % NR_SPACES, i / NR_SPACES, nr_mapped);
	for (unsigned i = 0; i < NR_BLOCKS; i++) {
		cr_assert_eq(model.blocks[i]->mapped, nr_mapped[i]);
		cr_assert(mmk_rmap_check(&sys, model.blocks[i]));
		cr_assert_eq(mmk_page_is_modified(&sys, model.blocks[i]),
		    model.was_modified[i], "block %u", i);
	}
}

static void
fill_blocks(void)
{
	for (unsigned i = 0; i < NR_BLOCKS; i++) {
		uint64_t *words;

		model.blocks[i] = new_frame(BLOCK_ORDER + (i == 2));
		words = (uint64_t *)mmk_frame_ptr(&phys, model.blocks[i]);
		for (unsigned page = 0; page < block_pages(i); page++)
			words[page * NR] = i * 10000 + page;
	}
}

/* The seed is in the message of whatever fails: prop.h prints it. */
static void
random_steps(unsigned nr_steps)
{
	model.random = mmk_test_seed();
	model.view = 0;
	memset(model.places, 0, sizeof model.places);
	memset(model.was_modified, 0, sizeof model.was_modified);
	fill_blocks();
	for (unsigned i = 0; i < (has_kernel ? 1 : NR_SPACES); i++)
		activate(i, i);
	for (unsigned i = 0; i < nr_steps; i++) {
		step();
		if (i % 4 == 0)
			compare(i);
	}
	for (unsigned i = 0; i < NR_SPACES; i++)
		remove_now(pmap_of(i), va_of(i, 0), va_of(i, NR_PLACES));
	for (unsigned i = 0; i < NR_BLOCKS; i++)
		mmk_frame_unref(&phys, model.blocks[i]);
}

Test(super_prop, random_operations_agree_with_an_array_of_pages)
{
	model.may_fail = true;
	for (size_t i = 0; i < NR_FORMATS; i++) {
		boot(&large_formats[i]);
		sim_forbid_stale_hits(true);
		random_steps(mmk_test_steps(800));
		halt();
	}
}

Test(super_prop, random_operations_on_both_halves)
{
	model.may_fail = true;
	has_kernel = true;
	for (size_t i = 0; i < NR_FORMATS; i++) {
		boot(&large_formats[i]);
		sim_forbid_stale_hits(true);
		random_steps(mmk_test_steps(400));
		halt();
	}
	has_kernel = false;
}

/* The same steps: the same pages, rights and bytes, on every format. */
Test(super_prop, X8_all_formats_show_the_same)
{
	uint64_t first = 0;

	model.may_fail = false;
	for (size_t i = 0; i < NR_FORMATS; i++) {
		boot(&large_formats[i]);
		sim_forbid_stale_hits(true);
		random_steps(mmk_test_steps(400));
		if (i == 0)
			first = model.view;
		cr_assert_eq(model.view, first, "format %zu", i);
		halt();
	}
}
