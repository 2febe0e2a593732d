/* SPDX-License-Identifier: MIT
 *
 * tests/test_pmap_prop.c: random operations on four pmaps that share frames, and
 * the kernel's if there is one, compared after each step with an array that says
 * what should be there
 */
#include <criterion/criterion.h>

#include <string.h>

#include "pmap_fixture.h"

#define NR_PLACES 20u
#define NR_FRAMES 8u
#define NR_CPUS 2u
#define NOBODY NR_PMAPS
#define NR_SPACES (NR_PMAPS + (has_kernel ? 1u : 0u))

/* What should be at one place of one pmap. frame NR_FRAMES: foreign. */
struct place {
	bool is_there;
	unsigned frame;
	unsigned flags; /* as mmk_pmap_query should tell */
};

static struct {
	uint64_t random;
	struct mmk_frame *frames[NR_FRAMES];
	struct place places[NR_PMAPS + 1][NR_PLACES];
	bool was_modified[NR_FRAMES]; /* by translations that are gone */
	bool was_referenced[NR_FRAMES];
	unsigned active[NR_CPUS];
} model;

/* Neighbours, and the borders of tables of every level. */
static mmk_va
va_of(unsigned space, unsigned place)
{
	const struct mmk_pmap *pmap = &pmaps[space];
	const mmk_va starts[] = { 0, table_bytes(1) - 2 * PAGE,
		table_bytes(2) - 2 * PAGE, 16 * table_bytes(2) - 2 * PAGE,
		pmap->end_va - pmap->base_va - 4 * PAGE };

	return pmap->base_va + starts[place / 4] + place % 4 * PAGE;
}

static unsigned
pick(unsigned nr)
{
	return (unsigned)(mmk_test_random(&model.random) >> 20) % nr;
}

/* The rights that hardware gives to a page entered with `flags`. */
static unsigned
granted(unsigned space, unsigned flags)
{
	bool implied = (flags & W) != 0 || (!is_arm() && (flags & X) != 0);

	if (space == KERNEL)
		return flags | R | kernel->implied;
	return flags | (implied ? R : 0);
}

static void
model_gone(struct place *place)
{
	if (place->is_there && place->frame < NR_FRAMES &&
	    (place->flags & MMK_PMAP_UNTRACKED) == 0) {
		if ((place->flags & MMK_PMAP_MODIFIED) != 0)
			model.was_modified[place->frame] = true;
		if ((place->flags & MMK_PMAP_ACCESSED) != 0)
			model.was_referenced[place->frame] = true;
	}
	place->is_there = false;
}

static void
model_enter(unsigned space, struct place *place, unsigned frame,
    unsigned flags)
{
	const unsigned kind = MMK_PMAP_UNTRACKED;
	const unsigned seen = MMK_PMAP_ACCESSED | MMK_PMAP_MODIFIED;

	if (frame == NR_FRAMES)
		flags |= MMK_PMAP_UNTRACKED;
	flags = granted(space, flags);
	if (place->is_there && place->frame == frame &&
	    ((place->flags ^ flags) & kind) == 0)
		flags |= place->flags & seen;
	else
		model_gone(place);
	place->is_there = true;
	place->frame = frame;
	place->flags = flags;
}

static void
step_enter(unsigned space, unsigned at)
{
	static const unsigned extra[] = { MMK_PMAP_WIRED, MMK_PMAP_SOFT,
		MMK_PMAP_UNTRACKED, MMK_PMAP_ACCESSED, MMK_PMAP_MODIFIED };
	struct place *place = &model.places[space][at];
	unsigned frame = pick(NR_FRAMES + 1);
	unsigned flags = (1 + pick(7)) | (space == KERNEL ? 0 : U);
	mmk_pa pa = FOREIGN;
	enum mmk_err err;

	if (place->is_there && pick(2) == 0)
		frame = place->frame;
	if (frame < NR_FRAMES)
		pa = pa_of(model.frames[frame]);
	for (unsigned i = 0; i < 5; i++)
		flags |= pick(4) == 0 ? extra[i] : 0;
	if (pick(3) == 0)
		sim_fail_at(1 + pick(4));
	err = mmk_pmap_enter(&pmaps[space], va_of(space, at), pa, flags);
	sim_fail_at(0);
	if (err == MMK_OK)
		model_enter(space, place, frame, flags);
	else
		cr_assert_eq(err, MMK_ERR_NOMEM);
}

static void
step_range(unsigned space, unsigned at, bool is_removal)
{
	unsigned prot = is_removal ? 0 : pick(8);
	unsigned last = at + pick(NR_PLACES - at);

	if (is_removal)
		mmk_pmap_remove(&pmaps[space], va_of(space, at),
		    va_of(space, last) + PAGE, &gather);
	else
		mmk_pmap_protect(&pmaps[space], va_of(space, at),
		    va_of(space, last) + PAGE, prot, &gather);
	mmk_gather_finish(&gather);
	for (; at <= last; at++) {
		struct place *place = &model.places[space][at];
		unsigned keep = prot != 0 ? granted(space, prot) : 0;

		if ((place->flags & keep & MMK_PROT_ALL) == 0)
			model_gone(place);
		else
			place->flags &= keep | ~MMK_PROT_ALL;
	}
}

static void
model_page(unsigned frame, unsigned take)
{
	for (unsigned i = 0; i < NR_SPACES * NR_PLACES; i++) {
		struct place *place = &model.places[i % NR_SPACES][i / NR_SPACES];

		if (!place->is_there || place->frame != frame ||
		    (place->flags & MMK_PMAP_UNTRACKED) != 0)
			continue;
		if (take == 0)
			model_gone(place);
		else
			place->flags &= ~take;
	}
}

static bool
model_has(unsigned frame, unsigned flag)
{
	bool has = flag == MMK_PMAP_MODIFIED ? model.was_modified[frame]
	                                     : model.was_referenced[frame];

	for (unsigned i = 0; i < NR_SPACES * NR_PLACES; i++) {
		struct place *place = &model.places[i % NR_SPACES][i / NR_SPACES];

		has = has || (place->is_there && place->frame == frame &&
		    (place->flags & MMK_PMAP_UNTRACKED) == 0 &&
		    (place->flags & flag) != 0);
	}
	return has;
}

static void
step_page(unsigned idx)
{
	struct mmk_frame *frame = model.frames[idx];

	switch (pick(4)) {
	case 0:
		mmk_page_remove_all(&sys, frame);
		model_page(idx, 0);
		break;
	case 1:
		mmk_page_write_protect(&sys, frame);
		model_page(idx, W);
		break;
	case 2:
		cr_assert_eq(mmk_page_clear_modified(&sys, frame),
		    model_has(idx, MMK_PMAP_MODIFIED));
		model_page(idx, MMK_PMAP_MODIFIED);
		model.was_modified[idx] = false;
		break;
	case 3:
		cr_assert_eq(mmk_page_clear_referenced(&sys, frame),
		    model_has(idx, MMK_PMAP_ACCESSED));
		model_page(idx, MMK_PMAP_ACCESSED);
		model.was_referenced[idx] = false;
		break;
	}
}

/*
 * A load or a store by a program, or by the kernel in its half, whatever program
 * is there: it works exactly if the model says so.
 */
static void
step_access(unsigned cpu, unsigned at)
{
	unsigned space = has_kernel && pick(2) == 0 ? KERNEL : model.active[cpu];
	bool is_kernel = has_kernel && space == KERNEL;
	bool is_store = pick(2) == 0;
	struct place *place;
	bool may;

	if (space == NOBODY && !is_kernel)
		return;
	place = &model.places[space][at];
	if (place->is_there && place->frame == NR_FRAMES)
		return;
	may = place->is_there && (place->flags & (is_store ? W : R)) != 0;
	sim_cpu_set_user(cpu, !is_kernel);
	if (is_store) {
		cr_assert_eq(store(cpu, va_of(space, at) + 8, at), may);
	} else {
		cr_assert_eq(load(cpu, va_of(space, at)),
		    may ? place->frame : UINT64_MAX);
	}
	sim_cpu_set_user(cpu, true);
	if (may)
		place->flags |= MMK_PMAP_ACCESSED |
		    (is_store ? MMK_PMAP_MODIFIED : 0);
}

static void
step_switch(unsigned cpu, unsigned space)
{
	sim_set_cpu(cpu);
	if (model.active[cpu] != NOBODY)
		mmk_pmap_deactivate(&pmaps[model.active[cpu]], cpu);
	if (space != NOBODY)
		mmk_pmap_activate(&pmaps[space], cpu);
	model.active[cpu] = space;
	sim_set_cpu(pick(NR_CPUS));
}

/* A frame that no untracked translation leads to is freed, and another comes. */
static void
step_reuse(unsigned idx)
{
	for (unsigned i = 0; i < NR_SPACES * NR_PLACES; i++) {
		const struct place *place =
		    &model.places[i % NR_SPACES][i / NR_SPACES];

		if (place->is_there && place->frame == idx &&
		    (place->flags & MMK_PMAP_UNTRACKED) != 0)
			return;
	}
	mmk_page_remove_all(&sys, model.frames[idx]);
	model_page(idx, 0);
	mmk_frame_unref(&phys, model.frames[idx]);
	model.frames[idx] = new_frame_with(idx);
	model.was_modified[idx] = false;
	model.was_referenced[idx] = false;
}

static void
step(void)
{
	unsigned space = pick(NR_SPACES), at = pick(NR_PLACES);

	if (has_kernel && pick(16) == 0)
		step_reuse(pick(NR_FRAMES));
	switch (pick(16)) {
	case 0:
		step_range(space, at, true);
		break;
	case 1:
	case 2:
		step_range(space, at, false);
		break;
	case 3:
		mmk_pmap_unwire(&pmaps[space], va_of(space, at));
		model.places[space][at].flags &= ~MMK_PMAP_WIRED;
		break;
	case 4:
	case 5:
		step_page(pick(NR_FRAMES));
		break;
	case 6:
		step_switch(pick(NR_CPUS), pick(NR_PMAPS + 1));
		break;
	case 7:
	case 8:
	case 9:
	case 10:
		step_enter(space, at);
		break;
	default:
		step_access(pick(NR_CPUS), at);
		break;
	}
}

static void
compare(unsigned step_nr)
{
	unsigned nr_mapped[NR_FRAMES + 1] = { 0 };
	unsigned long long seed = mmk_test_seed();

	/* The kernel's tables are many. */
	if (!has_kernel || step_nr % 128 == 0)
		cr_assert(check_all(), "step %u, MMK_SEED=%llu", step_nr, seed);
	for (unsigned i = 0; i < NR_SPACES * NR_PLACES; i++) {
		unsigned space = i % NR_SPACES, at = i / NR_SPACES;
		const struct place *place = &model.places[space][at];
		struct mmk_translation found = { 0 };
		bool is_there =
		    mmk_pmap_query(&pmaps[space], va_of(space, at), &found);

		cr_assert_eq(is_there, place->is_there,
		    "step %u, pmap %u, place %u, MMK_SEED=%llu", step_nr,
		    space, at, seed);
		if (!is_there)
			continue;
		cr_assert_eq(found.flags, place->flags,
		    "step %u, pmap %u, place %u: 0x%x, not 0x%x, "
		    "MMK_SEED=%llu",
		    step_nr, space, at, found.flags, place->flags, seed);
		cr_assert_eq(found.pa, place->frame == NR_FRAMES
		        ? FOREIGN
		        : pa_of(model.frames[place->frame]));
		if ((place->flags & MMK_PMAP_UNTRACKED) == 0)
			nr_mapped[place->frame]++;
	}
	for (unsigned i = 0; i < NR_FRAMES; i++) {
		struct mmk_frame *frame = model.frames[i];

		cr_assert_eq(frame->mapped, nr_mapped[i],
		    "step %u, frame %u, MMK_SEED=%llu", step_nr, i, seed);
		cr_assert(mmk_rmap_check(&sys, frame));
		cr_assert_eq(mmk_page_is_modified(&sys, frame),
		    model_has(i, MMK_PMAP_MODIFIED),
		    "step %u, frame %u, MMK_SEED=%llu", step_nr, i, seed);
		cr_assert_eq(mmk_page_is_referenced(&sys, frame),
		    model_has(i, MMK_PMAP_ACCESSED),
		    "step %u, frame %u, MMK_SEED=%llu", step_nr, i, seed);
	}
}

static void
random_operations(void)
{
	memset(&model, 0, sizeof model);
	model.random = mmk_test_seed();
	sim_forbid_stale_hits(true);
	for (unsigned i = 0; i < NR_FRAMES; i++)
		model.frames[i] = new_frame_with(i);
	for (unsigned cpu = 0; cpu < NR_CPUS; cpu++)
		model.active[cpu] = NOBODY;
	for (unsigned i = 0; i < mmk_test_steps(has_kernel ? 1200 : 2500); i++) {
		step();
		compare(i);
	}
	for (unsigned i = 0; i < NR_SPACES; i++)
		remove_now(i, pmaps[i].base_va, pmaps[i].end_va);
	for (unsigned i = 0; i < NR_FRAMES; i++)
		mmk_frame_unref(&phys, model.frames[i]);
}

Test(pmap_prop, random_operations_agree_with_an_array)
{
	on_every_format(random_operations);
}

/* Programs come and go on both CPUs while the kernel's half changes. */
Test(pmap_prop, random_operations_on_both_halves)
{
	has_kernel = true;
	on_every_format(random_operations);
	has_kernel = false;
}
