/* SPDX-License-Identifier: MIT
 *
 * tests/test_mapping.c: the mmap family: what each call does, every argument
 * it refuses, and that a failed call has changed nothing.
 */
#include "vm_fixture.h"

static struct vm_file f;
static struct vm_recorder r;

/* ---- the space ------------------------------------------------------- */

static void
space_bounds(void)
{
	static struct mmk_space space;
	mmk_va most_va = mmk_pt_va_limit(&t.sys.shape);
	struct { mmk_va min_va, max_va; } bad[] = { { 0, 0 }, { PAGE, PAGE },
		{ 2 * PAGE, PAGE }, { 1, PAGE }, { 0, PAGE + 1 },
		{ 0, most_va + PAGE }, { 0, UINT64_MAX },
		{ 0, ~(PAGE - 1) } };

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		cr_assert_eq(mmk_space_init(&space, &t.vm, bad[i].min_va,
		    bad[i].max_va), MMK_ERR_INVAL, "pair %zu", i);
	vm_space_at(1, 0, most_va);
	vm_anon(1, most_va - PAGE, 1);
	vm_put(1, most_va - 1, 'z');
	cr_assert_eq(vm_get(1, most_va - 1), 'z');
	vm_anon(1, 0, 1);
	vm_put(1, 0, 'n');
	vm_space_at(2, VA, VA + PAGE);
	vm_anon(2, VA, 1);
	vm_put(2, VA, 1);
}

Test(mapping, space_of_any_good_bounds_and_no_others)
{
	vm_both(space_bounds);
}

static void
no_setup(void)
{
}

static enum mmk_err
op_space_init(void)
{
	enum mmk_err err = mmk_space_init(&t.spaces[1], &t.vm, VM_MIN, VM_MAX);

	t.is_live[1] = err == MMK_OK;
	return err;
}

Test(mapping, space_without_memory_is_none)
{
	vm_every_k(no_setup, op_space_init, NULL);
}

static void
setup_fork(void)
{
	struct mmk_object *file = vm_file(&f, 4 * PAGE);
	struct mmk_object *recorder = vm_recorder(&r, 4);

	vm_anon(0, VA, 4);
	vm_put(0, VA + PAGE, 'p');
	vm_mmap(0, VA + 8 * PAGE, 4, RW, MMK_MAP_PRIVATE | MMK_MAP_FIXED, file,
	    0);
	vm_put(0, VA + 9 * PAGE, 'q');
	vm_mmap(0, VA + 16 * PAGE, 4, RW, MMK_MAP_SHARED | MMK_MAP_FIXED,
	    recorder, 0);
	vm_put(0, VA + 17 * PAGE, 'r');
	cr_assert_eq(mmk_mprotect(vm_sp(0), VA, PAGE, RO), MMK_OK);
	mmk_object_unref(file);
	mmk_object_unref(recorder);
}

static enum mmk_err
op_fork(void)
{
	return vm_try_fork(1, 0);
}

static void
done_fork(void)
{
	for (unsigned i = 0; i < 2; i++) {
		cr_assert_eq(vm_get(i, VA + PAGE), 'p');
		cr_assert_eq(vm_get(i, VA + 9 * PAGE), 'q');
		cr_assert_eq(vm_get(i, VA + 8 * PAGE), 'a');
		cr_assert_eq(vm_get(i, VA + 17 * PAGE), 'r');
		cr_assert_eq(vm_access(i, VA, MMK_PROT_WRITE), MMK_ERR_ACCESS);
	}
	vm_put(0, VA + PAGE, 'P');
	cr_assert_eq(vm_get(1, VA + PAGE), 'p');
	vm_put(1, VA + 17 * PAGE, 'R');
	cr_assert_eq(vm_get(0, VA + 17 * PAGE), 'R');
	cr_assert_eq(vm_digest(0), vm_digest(1));
}

Test(mapping, fork_happens_or_does_not)
{
	vm_every_k(setup_fork, op_fork, done_fork);
}

/* ---- bad arguments --------------------------------------------------- */

struct range {
	mmk_va va;
	uint64_t bytes;
};

/* Ranges that no call takes, in a space of [VM_MIN, VM_MAX). */
static const struct range bad_ranges[] = {
	{ VA + 1, 4096 }, { VA + 4095, 1 }, { VA, 0 }, { VA, UINT64_MAX },
	{ VA, UINT64_MAX - 4095 }, { VM_MAX, 4096 }, { VM_MAX - 4096, 4097 },
	{ VM_MAX - 4096, 8192 }, { UINT64_MAX - 4095, 4096 },
	{ UINT64_MAX - 4095, 8192 }, { (mmk_va)1 << 63, 4096 },
	{ 0, 4096 }, { VM_MIN - 4096, 4096 }, { VA, VM_MAX },
	{ VA, (uint64_t)1 << 63 },
};
#define NR_BAD (sizeof bad_ranges / sizeof bad_ranges[0])

static void
bad_ranges_everywhere(void)
{
	struct mmk_space *space = vm_sp(0);
	uint8_t vec[16];
	uint64_t before;
	mmk_va va = 77;

	vm_anon(0, VA, 4);
	vm_put(0, VA, 'k');
	vm_anon(0, VM_MAX - PAGE, 1);
	before = vm_digest(0);
	for (size_t i = 0; i < NR_BAD; i++) {
		mmk_va bad_va = bad_ranges[i].va;
		uint64_t bytes = bad_ranges[i].bytes;

		for (unsigned flag = MMK_MAP_FIXED; flag <= MMK_MAP_NOREPLACE;
		     flag *= 2)
			cr_assert_eq(mmk_mmap(space, bad_va, bytes, RW, ALL,
			    ANON_PRIVATE | flag, NULL, 0, &va), MMK_ERR_INVAL,
			    "mmap %zu", i);
		cr_assert_eq(mmk_munmap(space, bad_va, bytes), MMK_ERR_INVAL,
		    "munmap %zu", i);
		cr_assert_eq(mmk_mprotect(space, bad_va, bytes, RO),
		    MMK_ERR_INVAL, "mprotect %zu", i);
		cr_assert_eq(mmk_discard(space, bad_va, bytes), MMK_ERR_INVAL,
		    "discard %zu", i);
		cr_assert_eq(mmk_msync(space, bad_va, bytes), MMK_ERR_INVAL,
		    "msync %zu", i);
		memset(vec, 0x55, sizeof vec);
		cr_assert_eq(mmk_mincore(space, bad_va, bytes, vec),
		    MMK_ERR_INVAL, "mincore %zu", i);
		cr_assert_eq(vec[0], 0x55);
		cr_assert_eq(mmk_populate(space, bad_va, bytes, MMK_PROT_READ),
		    MMK_ERR_INVAL, "populate %zu", i);
		cr_assert_eq(mmk_mremap(space, bad_va, bytes, PAGE,
		    MMK_REMAP_MAYMOVE, 0, &va), MMK_ERR_INVAL, "mremap %zu", i);
		cr_assert_eq(mmk_mremap(space, VA, PAGE, bytes,
		    MMK_REMAP_MAYMOVE | MMK_REMAP_FIXED, bad_va, &va),
		    MMK_ERR_INVAL, "mremap to %zu", i);
	}
	cr_assert_eq(va, 77u, "nothing was said");
	cr_assert_eq(vm_digest(0), before, "nothing has changed");
	cr_assert_eq(vm_get(0, VA), 'k');
}

Test(mapping, bad_ranges_are_refused_by_every_call)
{
	vm_both(bad_ranges_everywhere);
}

static void
bad_mmap(void)
{
	struct mmk_space *space = vm_sp(0);
	struct mmk_object *object = vm_file(&f, 4 * PAGE);
	uint64_t before = vm_digest(0);
	uint32_t refs = object->refs;
	mmk_va va = 77;
	static const unsigned bad_flags[] = { 0, MMK_MAP_ANON,
		MMK_MAP_SHARED | MMK_MAP_PRIVATE, ANON_SHARED | MMK_MAP_PRIVATE,
		MMK_MAP_PRIVATE | 0x100u, MMK_MAP_SHARED | 0x80000000u,
		ANON_SHARED | MMK_MAP_STACK, MMK_MAP_PRIVATE | MMK_MAP_STACK };
	struct { uint64_t bytes, offset_bytes; } bad_offsets[] = {
		{ PAGE, 1 }, { PAGE, PAGE - 1 }, { PAGE, UINT64_MAX },
		{ 2 * PAGE, UINT64_MAX - PAGE + 1 },
		{ UINT64_MAX, PAGE }, { 0, 0 } };

	for (size_t i = 0; i < sizeof bad_flags / sizeof bad_flags[0]; i++)
		cr_assert_eq(mmk_mmap(space, 0, PAGE, RW, ALL, bad_flags[i],
		    object, 0, &va), MMK_ERR_INVAL, "flags %x", bad_flags[i]);
	for (unsigned bit = 8; bit != 0; bit <<= 1) {
		cr_assert_eq(mmk_mmap(space, 0, PAGE, RW | bit, ALL | bit,
		    ANON_PRIVATE, NULL, 0, &va), MMK_ERR_INVAL);
		cr_assert_eq(mmk_mmap(space, 0, PAGE, RW, ALL | bit,
		    ANON_PRIVATE, NULL, 0, &va), MMK_ERR_INVAL);
		if ((bit & MMK_MAP_ALL) == 0)
			cr_assert_eq(mmk_mmap(space, 0, PAGE, RW, ALL,
			    ANON_PRIVATE | bit, NULL, 0, &va), MMK_ERR_INVAL);
	}
	for (size_t i = 0; i < 6; i++)
		cr_assert_eq(mmk_mmap(space, 0, bad_offsets[i].bytes, RW, ALL,
		    MMK_MAP_SHARED, object, bad_offsets[i].offset_bytes, &va),
		    MMK_ERR_INVAL, "offset %zu", i);
	cr_assert_eq(mmk_mmap(space, 0, PAGE, RW, RO, MMK_MAP_SHARED, object, 0,
	    &va), MMK_ERR_ACCESS);
	cr_assert_eq(mmk_mmap(space, 0, UINT64_MAX, RW, ALL, ANON_PRIVATE, NULL,
	    0, &va), MMK_ERR_NOSPACE);
	cr_assert_eq(mmk_mmap(space, 0, VM_MAX, RW, ALL, ANON_SHARED, NULL, 0,
	    &va), MMK_ERR_NOSPACE);
	cr_assert_eq(va, 77u);
	cr_assert_eq(vm_digest(0), before);
	cr_assert_eq(object->refs, refs, "no reference is left behind");
	mmk_object_unref(object);
}

Test(mapping, bad_mmap_arguments_are_refused)
{
	vm_both(bad_mmap);
}

static void
bad_others(void)
{
	struct mmk_space *space = vm_sp(0);
	uint64_t before;
	uint8_t vec[8] = { 9, 9, 9, 9, 9, 9, 9, 9 };
	mmk_va va = 77;

	vm_anon(0, VA, 2);
	vm_mmap(0, VA + 4 * PAGE, 2, RO, ANON_SHARED | MMK_MAP_FIXED, NULL, 0);
	vm_put(0, VA, 'k');
	before = vm_digest(0);
	for (unsigned bit = 8; bit != 0; bit <<= 1) {
		cr_assert_eq(mmk_mprotect(space, VA, PAGE, RW | bit),
		    MMK_ERR_INVAL);
		cr_assert_eq(mmk_populate(space, VA, PAGE, bit), MMK_ERR_INVAL);
		cr_assert_eq(mmk_mremap(space, VA, PAGE, 2 * PAGE,
		    MMK_REMAP_MAYMOVE | bit, 0, &va), MMK_ERR_INVAL);
	}
	cr_assert_eq(mmk_populate(space, VA, PAGE, 0), MMK_ERR_INVAL);
	cr_assert_eq(mmk_populate(space, VA, PAGE, RW), MMK_ERR_INVAL);
	cr_assert_eq(mmk_mremap(space, VA, PAGE, 2 * PAGE, MMK_REMAP_FIXED,
	    VA + 64 * PAGE, &va), MMK_ERR_INVAL);
	cr_assert_eq(mmk_mremap(space, VA, PAGE, 2 * PAGE,
	    MMK_REMAP_DONTUNMAP, 0, &va), MMK_ERR_INVAL);
	cr_assert_eq(mmk_mremap(space, VA, PAGE, 2 * PAGE, MMK_REMAP_MAYMOVE |
	    MMK_REMAP_DONTUNMAP, 0, &va), MMK_ERR_INVAL);
	cr_assert_eq(mmk_mremap(space, VA, PAGE, 0, MMK_REMAP_MAYMOVE, 0, &va),
	    MMK_ERR_INVAL);
	/* Longer than the space is: no room, as anything that does not fit. */
	cr_assert_eq(mmk_mremap(space, VA, PAGE, UINT64_MAX, MMK_REMAP_MAYMOVE,
	    0, &va), MMK_ERR_NOSPACE);
	/* Holes. */
	cr_assert_eq(mmk_mprotect(space, VA + PAGE, 4 * PAGE, RO),
	    MMK_ERR_NOENT);
	cr_assert_eq(mmk_mremap(space, VA + PAGE, 4 * PAGE, PAGE,
	    MMK_REMAP_MAYMOVE, 0, &va), MMK_ERR_NOENT);
	cr_assert_eq(mmk_mremap(space, VA + 2 * PAGE, PAGE, PAGE, 0, 0, &va),
	    MMK_ERR_NOENT);
	cr_assert_eq(mmk_mremap(space, VA, 3 * PAGE, 3 * PAGE,
	    MMK_REMAP_MAYMOVE | MMK_REMAP_FIXED, VA + 64 * PAGE, &va),
	    MMK_ERR_NOENT);
	cr_assert_eq(mmk_msync(space, VA, 6 * PAGE), MMK_ERR_NOENT);
	cr_assert_eq(mmk_mincore(space, VA, 6 * PAGE, vec), MMK_ERR_NOENT);
	cr_assert_eq(vec[0], 9);
	cr_assert_eq(mmk_discard(space, VA + 2 * PAGE, PAGE), MMK_ERR_NOENT);
	cr_assert_eq(mmk_populate(space, VA + 2 * PAGE, PAGE, MMK_PROT_READ),
	    MMK_ERR_NOENT);
	cr_assert_eq(mmk_populate(space, VA + 4 * PAGE, PAGE, MMK_PROT_WRITE),
	    MMK_ERR_ACCESS);
	cr_assert_eq(mmk_munmap(space, VA + 2 * PAGE, PAGE), MMK_OK,
	    "unmapping nothing is no error");
	cr_assert_eq(va, 77u);
	cr_assert_eq(vm_digest(0), before);
	cr_assert_eq(vm_get(0, VA), 'k');
}

Test(mapping, bad_arguments_of_the_other_calls_are_refused)
{
	vm_both(bad_others);
}

/* ---- mmap ------------------------------------------------------------ */

static void
places(void)
{
	mmk_va low_va = (mmk_va)1 << 31, va, got_va = 0;

	va = vm_mmap(0, 0, 3, RW, ANON_PRIVATE, NULL, 0);
	cr_assert_eq(va, VM_MAX - 3 * PAGE, "the highest gap");
	va = vm_mmap(0, VM_MAX, 3, RW, ANON_PRIVATE, NULL, 0);
	cr_assert_eq(va, VM_MAX - 6 * PAGE, "a hint that cannot be is none");
	va = vm_mmap(0, 1, 1, RW, ANON_PRIVATE, NULL, 0);
	cr_assert_eq(va, VM_MAX - 7 * PAGE);
	va = vm_mmap(0, 0, 4, RW, ANON_PRIVATE | MMK_MAP_LOW, NULL, 0);
	cr_assert_eq(va, low_va - 4 * PAGE);
	va = vm_mmap(0, low_va - PAGE, 2, RW, ANON_PRIVATE | MMK_MAP_LOW, NULL,
	    0);
	cr_assert_eq(va, low_va - 6 * PAGE, "a hint above the line is none");
	va = vm_mmap(0, VA, 2, RW, ANON_PRIVATE | MMK_MAP_LOW, NULL, 0);
	cr_assert_eq(va, VA);

	cr_assert_eq(mmk_mmap(vm_sp(0), VA + PAGE, PAGE, RW, ALL,
	    ANON_PRIVATE | MMK_MAP_NOREPLACE, NULL, 0, &got_va), MMK_ERR_EXIST);
	cr_assert_eq(mmk_mmap(vm_sp(0), VA + PAGE, PAGE, RW, ALL,
	    ANON_PRIVATE | MMK_MAP_NOREPLACE | MMK_MAP_FIXED, NULL, 0,
	    &got_va), MMK_ERR_EXIST);
	cr_assert_eq(mmk_mmap(vm_sp(0), VA + 2 * PAGE, 1, RW, ALL,
	    ANON_PRIVATE | MMK_MAP_NOREPLACE, NULL, 0, &got_va), MMK_OK);
	cr_assert_eq(got_va, VA + 2 * PAGE);
	cr_assert_eq(vm_entry(0, VA).end_va, VA + 3 * PAGE,
	    "neighbours have become one");
}

Test(mapping, mmap_finds_a_place)
{
	vm_both(places);
}

static void
limits(void)
{
	mmk_va va = 77;
	uint64_t before;

	vm_anon(0, VA, 4);
	vm_map(0)->limit_pages = 6;
	before = vm_digest(0);
	cr_assert_eq(mmk_mmap(vm_sp(0), 0, 3 * PAGE, RW, ALL, ANON_PRIVATE,
	    NULL, 0, &va), MMK_ERR_LIMIT);
	cr_assert_eq(mmk_mremap(vm_sp(0), VA, 4 * PAGE, 7 * PAGE,
	    MMK_REMAP_MAYMOVE, 0, &va), MMK_ERR_LIMIT);
	cr_assert_eq(mmk_mremap(vm_sp(0), VA, 4 * PAGE, 7 * PAGE,
	    MMK_REMAP_MAYMOVE | MMK_REMAP_FIXED, VA + 64 * PAGE, &va),
	    MMK_ERR_LIMIT);
	cr_assert_eq(vm_digest(0), before);
	cr_assert_eq(mmk_mremap(vm_sp(0), VA, 4 * PAGE, 6 * PAGE,
	    MMK_REMAP_MAYMOVE | MMK_REMAP_FIXED, VA + 64 * PAGE, &va), MMK_OK,
	    "what leaves does not count");
	cr_assert_eq(vm_map(0)->nr_pages, 6u);
}

Test(mapping, the_limit_of_a_map_holds_for_every_call)
{
	vm_both(limits);
}

static void
no_room(void)
{
	struct mmk_space *space;
	mmk_va va = 77;
	uint64_t before;

	space = vm_space_at(1, VA, VA + 8 * PAGE);
	vm_anon(1, VA + 3 * PAGE, 2);
	vm_put(1, VA + 3 * PAGE, 'k');
	before = vm_digest(1);
	cr_assert_eq(mmk_mmap(space, 0, 4 * PAGE, RW, ALL, ANON_PRIVATE, NULL,
	    0, &va), MMK_ERR_NOSPACE);
	cr_assert_eq(mmk_mmap(space, 0, PAGE, RW, ALL, ANON_PRIVATE |
	    MMK_MAP_LOW, NULL, 0, &va), MMK_OK);
	vm_munmap(1, va, 1);
	va = 77;
	cr_assert_eq(mmk_mremap(space, VA + 3 * PAGE, 2 * PAGE, 6 * PAGE,
	    MMK_REMAP_MAYMOVE, 0, &va), MMK_ERR_NOSPACE);
	cr_assert_eq(mmk_mremap(space, VA + 3 * PAGE, PAGE, 2 * PAGE, 0, 0,
	    &va), MMK_ERR_NOSPACE, "its own tail is in the way");
	cr_assert_eq(va, 77u);
	cr_assert_eq(vm_digest(1), before);
	cr_assert_eq(vm_get(1, VA + 3 * PAGE), 'k');
	cr_assert_eq(mmk_mremap(space, VA + 3 * PAGE, 2 * PAGE, 5 * PAGE,
	    MMK_REMAP_MAYMOVE, 0, &va), MMK_OK);
	cr_assert_eq(va, VA + 3 * PAGE);
	/* Low only: a space above the line has no such place. */
	vm_space_at(2, (mmk_va)1 << 31, ((mmk_va)1 << 31) + PAGE);
	cr_assert_eq(mmk_mmap(vm_sp(2), 0, PAGE, RW, ALL, ANON_PRIVATE |
	    MMK_MAP_LOW, NULL, 0, &va), MMK_ERR_NOSPACE);
}

Test(mapping, without_room_nothing_changes)
{
	vm_both(no_room);
}

static void
populate(void)
{
	struct mmk_object *object = vm_file(&f, 4 * PAGE);
	uint8_t vec[8];
	mmk_va va;

	va = vm_mmap(0, 0, 4, RW, ANON_PRIVATE | MMK_MAP_POPULATE, NULL, 0);
	cr_assert_eq(vm_map(0)->pmap.nr_pages, 4u);
	cr_assert_neq(vm_prot(0, va + 3 * PAGE) & MMK_PROT_WRITE, 0u);
	t.nr_faults = 0;
	vm_put(0, va + 2 * PAGE, 1);
	cr_assert_eq(t.nr_faults, 0u);
	va = vm_mmap(0, 0, 4, MMK_PROT_NONE, ANON_PRIVATE | MMK_MAP_POPULATE,
	    NULL, 0);
	cr_assert_eq(vm_pa(0, va), UINT64_MAX);
	va = vm_mmap(0, 0, 6, RO, MMK_MAP_SHARED | MMK_MAP_POPULATE, object, 0);
	cr_assert_eq(mmk_mincore(vm_sp(0), va, 6 * PAGE, vec), MMK_OK);
	for (int i = 0; i < 6; i++)
		cr_assert_eq(vec[i], i < 4, "page %d", i);
	mmk_object_unref(object);
}

Test(mapping, populate_brings_in_what_there_is)
{
	vm_both(populate);
}

static void
stack(void)
{
	vm_map(0)->stack_limit_pages = 8;
	vm_map(0)->stack_guard_pages = 1;
	vm_mmap(0, VA, 2, RW, ANON_PRIVATE | MMK_MAP_FIXED | MMK_MAP_STACK,
	    NULL, 0);
	vm_put(0, VA - 1, 's');
	cr_assert_eq(vm_get(0, VA - 1), 's');
	cr_assert_eq(vm_entry(0, VA).start_va, VA - PAGE);
	cr_assert_eq(vm_count(MMK_COUNT_FAULT_GROW), 1u);
	for (uint64_t i = 2; i <= 6; i++)
		vm_put(0, VA - i * PAGE, 1);
	cr_assert_neq(vm_access(0, VA - 7 * PAGE, MMK_PROT_WRITE), MMK_OK,
	    "the limit");
	cr_assert(mmk_check(&t.vm));
}

Test(mapping, a_stack_grows_down_to_its_limit)
{
	vm_both(stack);
}

static enum mmk_err
op_mmap(void)
{
	mmk_va va;

	return mmk_mmap(vm_sp(0), VA, 4 * PAGE, RW, ALL, ANON_PRIVATE, NULL, 0,
	    &va);
}

static enum mmk_err
op_mmap_shared(void)
{
	mmk_va va;

	return mmk_mmap(vm_sp(0), VA, 4 * PAGE, RW, ALL, ANON_SHARED, NULL, 0,
	    &va);
}

static void
done_mmap(void)
{
	vm_put(0, VA + 3 * PAGE, 1);
}

Test(mapping, mmap_happens_or_does_not)
{
	vm_every_k(no_setup, op_mmap, done_mmap);
	vm_every_k(no_setup, op_mmap_shared, done_mmap);
}

/* Eight pages of three kinds, all touched, around VA. */
static void
setup_mixed(void)
{
	struct mmk_object *file = vm_file(&f, 8 * PAGE);
	struct mmk_object *recorder = vm_recorder(&r, 16);

	vm_anon(0, VA, 8);
	vm_mmap(0, VA + 8 * PAGE, 8, RW, MMK_MAP_PRIVATE | MMK_MAP_FIXED, file,
	    0);
	vm_mmap(0, VA + 16 * PAGE, 8, RW, MMK_MAP_SHARED | MMK_MAP_FIXED,
	    recorder, 4);
	for (uint64_t i = 0; i < 24; i++)
		vm_put(0, VA + i * PAGE, (int)i + 1);
	mmk_object_unref(file);
	mmk_object_unref(recorder);
}

static void
expect_mixed(uint64_t from, uint64_t to, mmk_va va)
{
	for (uint64_t i = from; i < to; i++)
		cr_assert_eq(vm_get(0, va + (i - from) * PAGE), (int)i + 1,
		    "page %llu", (unsigned long long)i);
}

static enum mmk_err
op_mmap_over(void)
{
	mmk_va va;

	return mmk_mmap(vm_sp(0), VA + 6 * PAGE, 12 * PAGE, RW, ALL,
	    ANON_PRIVATE | MMK_MAP_FIXED, NULL, 0, &va);
}

static void
done_mmap_over(void)
{
	expect_mixed(0, 6, VA);
	expect_mixed(18, 24, VA + 18 * PAGE);
	cr_assert_eq(vm_get(0, VA + 6 * PAGE), 0);
	cr_assert_eq(vm_get(0, VA + 17 * PAGE), 0);
	cr_assert_eq(r.nr_unmaps, 2u);
}

Test(mapping, mmap_over_others_happens_or_does_not)
{
	vm_every_k(setup_mixed, op_mmap_over, done_mmap_over);
}

/* ---- munmap, mprotect, discard --------------------------------------- */

static enum mmk_err
op_munmap(void)
{
	return mmk_munmap(vm_sp(0), VA + 3 * PAGE, 16 * PAGE);
}

static void
done_munmap(void)
{
	expect_mixed(0, 3, VA);
	expect_mixed(19, 24, VA + 19 * PAGE);
	for (uint64_t i = 3; i < 19; i++)
		cr_assert_eq(vm_access(0, VA + i * PAGE, MMK_PROT_READ),
		    MMK_ERR_NOENT);
	cr_assert_eq(r.nr_unmaps, 3u);
}

static enum mmk_err
op_munmap_middle(void)
{
	return mmk_munmap(vm_sp(0), VA + 3 * PAGE, PAGE);
}

static enum mmk_err
op_munmap_whole(void)
{
	enum mmk_err err = mmk_munmap(vm_sp(0), VA, 24 * PAGE);

	cr_assert_eq(err, MMK_OK, "whole entries never fail");
	return err;
}

Test(mapping, munmap_happens_or_does_not)
{
	vm_every_k(setup_mixed, op_munmap, done_munmap);
	vm_every_k(setup_mixed, op_munmap_middle, NULL);
	vm_every_k(setup_mixed, op_munmap_whole, NULL);
}

static void
tails(void)
{
	/* A length that is no whole page counts up to its end. */
	vm_anon(0, VA, 4);
	cr_assert_eq(mmk_mprotect(vm_sp(0), VA, PAGE + 1, RO), MMK_OK);
	cr_assert_eq(vm_access(0, VA + PAGE, MMK_PROT_WRITE), MMK_ERR_ACCESS);
	cr_assert_eq(vm_access(0, VA + 2 * PAGE, MMK_PROT_WRITE), MMK_OK);
	cr_assert_eq(mmk_munmap(vm_sp(0), VA + 2 * PAGE, 1), MMK_OK);
	cr_assert_eq(vm_access(0, VA + 2 * PAGE, MMK_PROT_READ),
	    MMK_ERR_NOENT);
	cr_assert_eq(vm_access(0, VA + 3 * PAGE, MMK_PROT_READ), MMK_OK);
}

Test(mapping, lengths_are_rounded_up_to_pages)
{
	vm_both(tails);
}

static enum mmk_err
op_mprotect(void)
{
	return mmk_mprotect(vm_sp(0), VA + 3 * PAGE, 16 * PAGE, RO);
}

static void
done_mprotect(void)
{
	expect_mixed(0, 24, VA);
	for (uint64_t i = 0; i < 24; i++)
		cr_assert_eq(vm_access(0, VA + i * PAGE, MMK_PROT_WRITE),
		    i >= 3 && i < 19 ? MMK_ERR_ACCESS : MMK_OK);
	cr_assert_eq(r.nr_maps, 8u);
}

Test(mapping, mprotect_happens_or_does_not)
{
	vm_every_k(setup_mixed, op_mprotect, done_mprotect);
}

static void
write_only(void)
{
	static const unsigned prots[] = { MMK_PROT_WRITE, MMK_PROT_EXEC,
		MMK_PROT_WRITE | MMK_PROT_EXEC };

	for (int i = 0; i < 3; i++) {
		mmk_va va = vm_mmap(0, 0, 1, prots[i], ANON_PRIVATE, NULL, 0);
		mmk_va vs = vm_mmap(0, 0, 1, prots[i], ANON_SHARED, NULL, 0);

		if ((prots[i] & MMK_PROT_WRITE) != 0) {
			vm_put(0, va, 'w');
			vm_put(0, vs, 'w');
		}
		if ((prots[i] & MMK_PROT_EXEC) != 0) {
			cr_assert_eq(vm_access(0, va, MMK_PROT_EXEC), MMK_OK);
			cr_assert_eq(vm_access(0, vs, MMK_PROT_EXEC), MMK_OK);
		}
	}
}

Test(mapping, rights_without_read_work_where_a_program_uses_them)
{
	vm_both(write_only);
}

static void
discard(void)
{
	uint64_t nr_anons;

	vm_anon(0, VA, 8);
	for (uint64_t i = 0; i < 8; i++)
		vm_put(0, VA + i * PAGE, 'd');
	vm_fork(1, 0);
	nr_anons = vm_nr_anon_pages();
	cr_assert_eq(mmk_discard(vm_sp(0), VA + 2 * PAGE, 3 * PAGE), MMK_OK);
	for (uint64_t i = 0; i < 8; i++) {
		cr_assert_eq(vm_get(0, VA + i * PAGE),
		    i >= 2 && i < 5 ? 0 : 'd');
		cr_assert_eq(vm_get(1, VA + i * PAGE), 'd');
	}
	cr_assert_eq(vm_nr_anon_pages(), nr_anons);
	vm_exit(1);
	cr_assert_eq(vm_nr_anon_pages(), nr_anons - 3);
	vm_put(0, VA + 3 * PAGE, 'e');
	cr_assert_eq(vm_get(0, VA + 3 * PAGE), 'e');
}

Test(mapping, discard_forgets_only_this_spaces_pages)
{
	vm_both(discard);
}

static void
setup_discard(void)
{
	setup_mixed();
	vm_fork(1, 0);
}

static enum mmk_err
op_discard(void)
{
	return mmk_discard(vm_sp(0), VA + 3 * PAGE, 16 * PAGE);
}

static void
done_discard(void)
{
	for (uint64_t i = 0; i < 24; i++) {
		int value = (int)i + 1;

		cr_assert_eq(vm_get(1, VA + i * PAGE), value);
		if (i >= 3 && i < 8)
			value = 0;
		else if (i >= 8 && i < 16)
			value = 'a' + (int)i - 8;
		cr_assert_eq(vm_get(0, VA + i * PAGE), value);
	}
}

Test(mapping, discard_can_be_tried_again)
{
	vm_every_k(setup_discard, op_discard, done_discard);
}

/* ---- mremap ---------------------------------------------------------- */

static enum mmk_err
op_mremap_shrink(void)
{
	mmk_va va;

	return mmk_mremap(vm_sp(0), VA + 6 * PAGE, 12 * PAGE, 4 * PAGE, 0, 0,
	    &va);
}

static void
done_mremap_shrink(void)
{
	expect_mixed(0, 10, VA);
	expect_mixed(18, 24, VA + 18 * PAGE);
	cr_assert_eq(vm_access(0, VA + 10 * PAGE, MMK_PROT_READ),
	    MMK_ERR_NOENT);
	cr_assert_eq(vm_access(0, VA + 17 * PAGE, MMK_PROT_READ),
	    MMK_ERR_NOENT);
}

static enum mmk_err
op_mremap_grow(void)
{
	mmk_va va;

	return mmk_mremap(vm_sp(0), VA + 20 * PAGE, 4 * PAGE, 6 * PAGE, 0, 0,
	    &va);
}

static void
done_mremap_grow(void)
{
	expect_mixed(0, 24, VA);
	vm_put(0, VA + 25 * PAGE, 1);
	cr_assert_eq(r.maps[8].page, 13u);
}

#define TO (VA + 100 * 4096)
static mmk_va moved_va;

static enum mmk_err
op_mremap_move(void)
{
	return mmk_mremap(vm_sp(0), VA + 6 * PAGE, 12 * PAGE, 14 * PAGE,
	    MMK_REMAP_MAYMOVE, 0, &moved_va);
}

static void
done_mremap_move(void)
{
	expect_mixed(0, 6, VA);
	expect_mixed(6, 18, moved_va);
	expect_mixed(18, 24, VA + 18 * PAGE);
	cr_assert_eq(vm_access(0, VA + 6 * PAGE, MMK_PROT_READ), MMK_ERR_NOENT);
	vm_put(0, moved_va + 13 * PAGE, 'n');
	cr_assert_eq(vm_pa(0, moved_va + 13 * PAGE),
	    mmk_frame_pa(&t.phys, r.frames[7]));
	cr_assert_eq(vm_frame(0, VA + 19 * PAGE), r.frames[7], "aliased now");
}

/* Part of what is carried has a neighbour at the new place that is replaced. */
static void
setup_mremap_fixed(void)
{
	setup_mixed();
	vm_anon(0, TO - 2 * PAGE, 8);
	vm_put(0, TO - PAGE, 'x');
	vm_put(0, TO, 'y');
}

static enum mmk_err
op_mremap_fixed(void)
{
	return mmk_mremap(vm_sp(0), VA + 6 * PAGE, 12 * PAGE, 14 * PAGE,
	    MMK_REMAP_MAYMOVE | MMK_REMAP_FIXED, TO, &moved_va);
}

static void
done_mremap_fixed(void)
{
	cr_assert_eq(moved_va, TO);
	cr_assert_eq(vm_get(0, TO - PAGE), 'x');
	done_mremap_move();
}

static enum mmk_err
op_mremap_fixed_shrink(void)
{
	return mmk_mremap(vm_sp(0), VA + 6 * PAGE, 12 * PAGE, 11 * PAGE,
	    MMK_REMAP_MAYMOVE | MMK_REMAP_FIXED, TO, &moved_va);
}

static void
done_mremap_fixed_shrink(void)
{
	expect_mixed(0, 6, VA);
	expect_mixed(6, 17, TO);
	expect_mixed(18, 24, VA + 18 * PAGE);
	cr_assert_eq(vm_access(0, VA + 17 * PAGE, MMK_PROT_READ),
	    MMK_ERR_NOENT);
	cr_assert_eq(vm_get(0, TO - PAGE), 'x');
}

Test(mapping, mremap_happens_or_does_not)
{
	vm_every_k(setup_mixed, op_mremap_shrink, done_mremap_shrink);
	vm_every_k(setup_mixed, op_mremap_grow, done_mremap_grow);
	vm_every_k(setup_mixed, op_mremap_move, done_mremap_move);
	vm_every_k(setup_mremap_fixed, op_mremap_fixed, done_mremap_fixed);
	vm_every_k(setup_mremap_fixed, op_mremap_fixed_shrink,
	    done_mremap_fixed_shrink);
}

static void
mremap_established(void)
{
	mmk_va va;

	setup_mixed();
	cr_assert_eq(r.nr_maps, 8u);
	cr_assert_eq(mmk_mremap(vm_sp(0), VA + 18 * PAGE, 4 * PAGE, 4 * PAGE,
	    MMK_REMAP_MAYMOVE | MMK_REMAP_FIXED, TO, &va), MMK_OK);
	expect_mixed(18, 22, TO);
	cr_assert_eq(r.nr_maps, 8u, "established pages move without a call");
	cr_assert_eq(r.nr_unmaps, 0u);
	vm_munmap(0, TO, 4);
	cr_assert_eq(r.nr_unmaps, 4u);
	cr_assert_eq(r.unmaps[0].start_va, TO, "the region where it is now");
}

Test(mapping, mremap_carries_what_a_pager_established)
{
	vm_both(mremap_established);
}

static void
mremap_anon_back(void)
{
	mmk_va va;

	/* Shrunk and grown again: what was cut off must not come back. */
	vm_anon(0, VA, 8);
	for (uint64_t i = 0; i < 8; i++)
		vm_put(0, VA + i * PAGE, 'o');
	vm_fork(1, 0);
	cr_assert_eq(mmk_mremap(vm_sp(0), VA, 8 * PAGE, 2 * PAGE, 0, 0, &va),
	    MMK_OK);
	vm_exit(1);
	cr_assert_eq(mmk_mremap(vm_sp(0), VA, 2 * PAGE, 8 * PAGE, 0, 0, &va),
	    MMK_OK);
	cr_assert_eq(vm_get(0, VA + PAGE), 'o');
	for (uint64_t i = 2; i < 8; i++)
		cr_assert_eq(vm_get(0, VA + i * PAGE), 0);
	cr_assert_eq(mmk_mremap(vm_sp(0), VA, 8 * PAGE, 8 * PAGE,
	    MMK_REMAP_MAYMOVE | MMK_REMAP_FIXED, TO, &va), MMK_OK);
	vm_anon(0, VA, 8);
	for (uint64_t i = 0; i < 8; i++)
		cr_assert_eq(vm_get(0, VA + i * PAGE), 0);
	cr_assert_eq(vm_get(0, TO + PAGE), 'o');
}

Test(mapping, mremap_shows_no_old_contents)
{
	vm_both(mremap_anon_back);
}

/* ---- faults ---------------------------------------------------------- */

static void
setup_fault(void)
{
	vm_anon(0, VA, 4);
	vm_put(0, VA + PAGE, 'v');
	vm_fork(1, 0);
}

static enum mmk_err
op_fault(void)
{
	return mmk_fault(vm_map(0), VA + PAGE, MMK_PROT_WRITE);
}

static void
done_fault(void)
{
	vm_put(0, VA + PAGE, 'V');
	cr_assert_eq(vm_get(1, VA + PAGE), 'v');
	cr_assert_eq(vm_get(0, VA + 2 * PAGE), 0);
}

Test(mapping, a_fault_without_memory_can_be_taken_again)
{
	vm_every_k(setup_fault, op_fault, done_fault);
}

/* ---- the programmer's errors ----------------------------------------- */

Test(mapping_bugs, an_object_of_another_vm_cannot_be_mapped, .signal = SIGABRT)
{
	static struct mmk_object stranger;
	mmk_va va;

	vm_boot(SIM_ARCH_X86_64);
	vm_space(0);
	(void)!mmk_mmap(vm_sp(0), 0, PAGE, RW, ALL, MMK_MAP_SHARED, &stranger,
	    0, &va);
}

Test(mapping_bugs, only_a_file_can_be_resized,
    .signal = SIGABRT)
{
	vm_boot(SIM_ARCH_X86_64);
	mmk_file_resize(vm_recorder(&r, 1), 0);
}
