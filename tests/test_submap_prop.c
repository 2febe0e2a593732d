/* SPDX-License-Identifier: MIT
 *
 * tests/test_submap_prop.c: random changes of maps and of sub-maps in them,
 * against arrays that know only what stands at each page; and CPUs that use
 * what others change
 */
#include "prop.h"
#include "submap_fixture.h"

#include <pthread.h>

#define NR_SUBS 6u
#define NR_OBJECTS 3u
#define NR_SPACES 2u
#define NR_PAGES 12u /* of a sub-map, of an object, of a space's window */

enum what { NOTHING, MEMORY, SUBMAP };

/* What stands at one page of a sub-map or of a space's window. */
struct place {
	enum what what;
	unsigned index; /* of the object or sub-map */
	unsigned page;  /* in it */
	unsigned prot;
};

/* The rows: sub-maps first, then spaces. */
#define NR_ROWS (NR_SUBS + NR_SPACES)

static struct {
	uint64_t random;
	struct mmk_object *subs[NR_SUBS];
	struct mmk_object *objects[NR_OBJECTS];
	struct place rows[NR_ROWS][NR_PAGES];
	int bytes[NR_OBJECTS][NR_PAGES];
	unsigned nr_refused, nr_deepest;
} model;

static unsigned
pick(unsigned nr)
{
	return (unsigned)(mmk_test_random(&model.random) >> 20) % nr;
}

static struct mmk_map *
row_map(unsigned row)
{
	return row < NR_SUBS ? mmk_submap_map(model.subs[row])
	                     : vm_map(row - NR_SUBS);
}

static mmk_va
row_va(unsigned row, unsigned page)
{
	return (row < NR_SUBS ? 0 : VA) + page * PAGE;
}

/* Sub-maps in sub-maps: how deep, and is `other` one of them? */
static unsigned
below(unsigned sub, unsigned other, bool *is_found)
{
	unsigned depth = 0;

	*is_found = *is_found || sub == other;
	for (unsigned i = 0; i < NR_PAGES; i++) {
		const struct place *place = &model.rows[sub][i];
		unsigned here;

		if (place->what != SUBMAP)
			continue;
		here = below(place->index, other, is_found);
		depth = here > depth ? here : depth;
	}
	return depth + 1;
}

static unsigned
above(unsigned row)
{
	unsigned depth = 0;

	if (row >= NR_SUBS)
		return 0;
	for (unsigned i = 0; i < NR_SUBS * NR_PAGES; i++) {
		const struct place *place =
		    &model.rows[i / NR_PAGES][i % NR_PAGES];
		unsigned here;

		if (place->what != SUBMAP || place->index != row)
			continue;
		here = above(i / NR_PAGES);
		depth = here > depth ? here : depth;
	}
	return depth + 1;
}

static enum mmk_err
expected(unsigned row, enum what what, unsigned index)
{
	bool is_found = false;
	unsigned depth;

	if (what != SUBMAP || row >= NR_SUBS)
		return MMK_OK;
	depth = above(row) + below(index, row, &is_found);
	if (is_found)
		return MMK_ERR_INVAL;
	if (depth == MMK_SUBMAP_DEPTH_MAX)
		model.nr_deepest++;
	return depth <= MMK_SUBMAP_DEPTH_MAX ? MMK_OK : MMK_ERR_LIMIT;
}

static unsigned
pick_prot(void)
{
	static const unsigned prots[] = { RW, RO, RW, ALL, MMK_PROT_NONE };

	return prots[pick(5)];
}

static void
step_insert(unsigned row)
{
	enum what what = pick(2) == 0 ? MEMORY : SUBMAP;
	unsigned index = pick(what == MEMORY ? NR_OBJECTS : NR_SUBS);
	unsigned at = pick(NR_PAGES), page = pick(NR_PAGES);
	unsigned most = NR_PAGES - (at > page ? at : page);
	unsigned nr = 1 + pick(most), prot = pick_prot();
	enum mmk_err wanted = expected(row, what, index);
	struct mmk_map_args args;
	mmk_va va = 0;

	memset(&args, 0, sizeof args);
	args.start_va = row_va(row, at);
	args.nr_pages = nr;
	args.prot = prot;
	args.max_prot = ALL;
	args.inherit = MMK_INHERIT_SHARE;
	args.fixed = true;
	args.lower.object =
	    what == MEMORY ? model.objects[index] : model.subs[index];
	args.lower.page = page;
	cr_assert_eq(mmk_map_insert(row_map(row), &args, &va), wanted);
	model.nr_refused += wanted != MMK_OK;
	for (unsigned i = 0; wanted == MMK_OK && i < nr; i++)
		model.rows[row][at + i] =
		    (struct place){ what, index, page + i, prot };
}

static void
step_remove(unsigned row)
{
	unsigned at = pick(NR_PAGES), nr = 1 + pick(NR_PAGES - at);

	cr_assert_eq(mmk_map_remove(row_map(row), row_va(row, at),
	    row_va(row, at + nr)), MMK_OK);
	for (unsigned i = at; i < at + nr; i++)
		model.rows[row][i].what = NOTHING;
}

static void
step_protect(unsigned row)
{
	unsigned at = pick(NR_PAGES), nr = 1 + pick(NR_PAGES - at);
	unsigned prot = pick_prot();
	enum mmk_err wanted = MMK_OK;

	for (unsigned i = at; i < at + nr; i++)
		if (model.rows[row][i].what == NOTHING)
			wanted = MMK_ERR_NOENT;
	cr_assert_eq(mmk_map_protect(row_map(row), row_va(row, at),
	    row_va(row, at + nr), prot), wanted);
	for (unsigned i = at; wanted == MMK_OK && i < at + nr; i++)
		model.rows[row][i].prot = prot;
}

static void
step_move(unsigned row)
{
	unsigned from = pick(NR_PAGES), to = pick(NR_PAGES);
	const struct mmk_remap_args args = { .va = row_va(row, from),
		.old_pages = 1, .new_pages = 1, .fixed = true,
		.new_va = row_va(row, to) };
	enum mmk_err wanted = from == to ? MMK_ERR_INVAL
	    : model.rows[row][from].what == NOTHING ? MMK_ERR_NOENT : MMK_OK;
	mmk_va va = 0;

	cr_assert_eq(mmk_map_remap(row_map(row), &args, &va), wanted);
	if (wanted != MMK_OK)
		return;
	model.rows[row][to] = model.rows[row][from];
	model.rows[row][from].what = NOTHING;
}

/* What a page of a row shows in the end. */
static struct place
flatten(unsigned row, unsigned page)
{
	struct place place = model.rows[row][page];

	while (place.what == SUBMAP) {
		unsigned prot = place.prot;

		place = model.rows[place.index][place.page];
		place.prot &= prot;
	}
	return place;
}

static void
step_access(unsigned space)
{
	unsigned at = pick(NR_PAGES);
	struct place place = flatten(NR_SUBS + space, at);
	bool is_store = pick(2) == 0;
	unsigned access = is_store ? MMK_PROT_WRITE : MMK_PROT_READ;
	mmk_va va = VA + at * PAGE;
	int value = (int)pick(256);

	if (place.what == NOTHING || (place.prot & access) == 0) {
		/* The map itself is asked first. */
		const struct place *first = &model.rows[NR_SUBS + space][at];
		bool is_hole = place.what == NOTHING &&
		    (first->what == NOTHING || (first->prot & access) != 0);

		cr_assert_eq(vm_access(space, va, access),
		    is_hole ? MMK_ERR_NOENT : MMK_ERR_ACCESS);
		return;
	}
	if (is_store) {
		vm_put(space, va, value);
		model.bytes[place.index][place.page] = value;
	} else {
		cr_assert_eq(vm_get(space, va),
		    model.bytes[place.index][place.page]);
	}
}

static void
compare(unsigned row, unsigned at)
{
	struct place place = flatten(row, at);
	struct mmk_oref oref = { NULL, 0 };
	unsigned prot = 0;

	cr_assert_eq(mmk_map_resolve(row_map(row), row_va(row, at), &oref,
	    &prot), place.what == MEMORY);
	if (place.what != MEMORY)
		return;
	cr_assert_eq(oref.object, model.objects[place.index]);
	cr_assert_eq(oref.page, place.page);
	cr_assert_eq(prot, place.prot);
}

static void
step(void)
{
	unsigned row = pick(NR_ROWS);

	switch (pick(12)) {
	case 0:
	case 1:
		step_insert(row);
		break;
	case 2:
		step_remove(row);
		break;
	case 3:
		step_protect(row);
		break;
	case 4:
		step_move(row);
		break;
	case 5:
		cr_assert_eq(mmk_map_split(row_map(row),
		    row_va(row, pick(NR_PAGES))), MMK_OK);
		break;
	default:
		for (unsigned i = 0; i < 4; i++)
			step_access(pick(NR_SPACES));
		break;
	}
}

static void
prop_body(void)
{
	unsigned nr_steps = mmk_test_steps(3000);

	memset(&model, 0, sizeof model);
	model.random = mmk_test_seed();
	vm_space(1);
	for (unsigned i = 0; i < NR_SUBS; i++)
		model.subs[i] = new_submap(NR_PAGES);
	for (unsigned i = 0; i < NR_OBJECTS; i++)
		model.objects[i] = new_memory(NR_PAGES);
	for (unsigned i = 0; i < nr_steps; i++) {
		step();
		if (i % 64 != 0)
			continue;
		cr_assert(mmk_check(&t.vm), "step %u: %s", i,
		    mmk_check_text(&t.vm));
		for (unsigned at = 0; at < NR_ROWS * NR_PAGES; at++)
			compare(at / NR_PAGES, at % NR_PAGES);
	}
	if (nr_steps >= 3000)
		cr_assert(model.nr_refused > 0 && model.nr_deepest > 0);
	for (unsigned i = 0; i < NR_SUBS; i++)
		mmk_object_unref(model.subs[i]);
	for (unsigned i = 0; i < NR_OBJECTS; i++)
		mmk_object_unref(model.objects[i]);
}

Test(submap_prop, S4_13_maps_of_objects_and_submaps_agree_with_arrays)
{
	vm_both(prop_body);
}

/* ---- threads ------------------------------------------------------------- */

#define NR_CPUS 4u

static struct {
	struct mmk_object *inner, *outer, *memory[2];
	unsigned nr_steps;
} shared;

static int
on_fault(void *ctx, unsigned cpu, uint64_t va, unsigned access)
{
	enum mmk_err err = mmk_fault(vm_map(cpu % NR_SPACES), va, access);

	(void)ctx;
	return err == MMK_ERR_AGAIN ? 0 : (int)err;
}

/* A page is there, or not; what is there is of one of the two objects. */
static void
use(unsigned cpu, uint64_t *random)
{
	mmk_va va = VA + mmk_test_random(random) % NR_PAGES * PAGE;
	unsigned char byte = 0;
	int result;

	do
		result = mmk_test_random(random) % 2 == 0
		    ? sim_load(cpu, va, &byte, 1)
		    : sim_store(cpu, va + 8, &byte, 1);
	while (result == SIM_STUCK);
	cr_assert(result == 0 || result == (int)MMK_ERR_NOENT ||
	    result == (int)MMK_ERR_ACCESS);
	if (result == 0)
		cr_assert(byte == 0 || byte == 1 || byte == 2);
}

/* Both sub-maps change, and where one is shown: by the odd CPUs. */
static void
change(unsigned space, uint64_t *random)
{
	uint64_t r = mmk_test_random(random);
	unsigned at = (unsigned)(r >> 8) % NR_PAGES;
	struct mmk_object *memory = shared.memory[r >> 16 & 1];

	switch (r % 6) {
	case 0:
	case 1:
		put_inside(shared.inner, at, 1, RW, memory, at);
		break;
	case 2:
		take_out(shared.inner, at, 1);
		break;
	case 3:
		if (mmk_map_protect(mmk_submap_map(shared.inner), at * PAGE,
		        (at + 1) * PAGE, (r >> 20 & 1) != 0 ? RO : RW) !=
		    MMK_OK)
			put_inside(shared.inner, at, 1, RO, memory, at);
		break;
	case 4:
		put_inside(shared.outer, 0, NR_PAGES, RW, shared.inner, 0);
		break;
	default:
		if ((r >> 20 & 1) != 0)
			vm_munmap(space, VA + at * PAGE, 1);
		else
			cr_assert_eq(vm_mmap(space, VA, NR_PAGES, RW,
			    MMK_MAP_SHARED | MMK_MAP_FIXED, shared.outer, 0),
			    VA);
		break;
	}
}

static void *
run_cpu(void *arg)
{
	unsigned cpu = (unsigned)(uintptr_t)arg, space = cpu % NR_SPACES;
	uint64_t random = mmk_test_seed() * 77 + cpu;

	sim_set_cpu(cpu);
	mmk_pmap_activate(&vm_map(space)->pmap, cpu);
	for (unsigned i = 0; i < shared.nr_steps; i++) {
		use(cpu, &random);
		if (cpu >= NR_CPUS / 2)
			change(space, &random);
	}
	mmk_pmap_deactivate(&vm_map(space)->pmap, cpu);
	return NULL;
}

static void
threads_on(unsigned arch)
{
	struct sim_config config = {
		.ram_bytes = 2048 * PAGE, .nr_cpus = NR_CPUS, .arch = arch
	};
	pthread_t threads[NR_CPUS];

	vm_boot_with(&config, NULL);
	sim_forbid_stale_hits(false);
	sim_on_fault(on_fault, NULL);
	vm_space(0);
	vm_space(1);
	shared.nr_steps = mmk_test_steps(1500);
	shared.inner = new_submap(NR_PAGES);
	shared.outer = new_submap(NR_PAGES);
	shared.memory[0] = new_memory(NR_PAGES);
	shared.memory[1] = new_memory(NR_PAGES);
	put_inside(shared.outer, 0, NR_PAGES, RW, shared.inner, 0);
	for (unsigned i = 0; i < NR_SPACES; i++)
		mount(i, VA, NR_PAGES, RW, shared.outer, 0);
	for (unsigned cpu = 0; cpu < NR_CPUS; cpu++)
		cr_assert_eq(pthread_create(&threads[cpu], NULL, run_cpu,
		    (void *)(uintptr_t)cpu), 0);
	for (unsigned cpu = 0; cpu < NR_CPUS; cpu++)
		pthread_join(threads[cpu], NULL);
	cr_assert(mmk_check(&t.vm), "%s", mmk_check_text(&t.vm));
	mmk_object_unref(shared.inner);
	mmk_object_unref(shared.outer);
	/* Pages that no place shows any more are freed with the objects. */
	mmk_object_unref(shared.memory[0]);
	mmk_object_unref(shared.memory[1]);
	vm_end();
}

Test(submap_prop, cpus_use_what_others_change)
{
	static const unsigned archs[] = VM_ARCHS;

	for (size_t i = 0; i < sizeof archs / sizeof archs[0]; i++)
		threads_on(archs[i]);
}
