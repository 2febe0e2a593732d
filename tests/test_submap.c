/* SPDX-License-Identifier: MIT
 *
 * tests/test_submap.c: maps that are shown in other maps, seen through the CPUs
 * of the simulated machine, on both table formats
 */
#include "submap_fixture.h"

#define FAR (VA + 0x1230000)
#define R_ MMK_PROT_READ
#define W_ MMK_PROT_WRITE

static struct mmk_object *sub, *memory;

/* Space 0 and 1 show a sub-map of 8 pages; 0..3 of it are memory. */
static void
two_spaces(void)
{
	vm_space(1);
	sub = new_submap(8);
	memory = new_memory(16);
	put_inside(sub, 0, 4, RW, memory, 0);
	mount(0, VA, 8, RW, sub, 0);
	mount(1, FAR, 8, RW, sub, 0);
}

/* What shows them keeps them. */
static void
let_go(void)
{
	mmk_object_unref(sub);
	mmk_object_unref(memory);
	cr_assert(mmk_check(&t.vm), "%s", mmk_check_text(&t.vm));
}

static void
s4_4_body(void)
{
	two_spaces();
	vm_put(0, VA + PAGE, 11);
	cr_assert_eq(vm_get(1, FAR + PAGE), 11);
	cr_assert_eq(vm_pa(0, VA + PAGE), vm_pa(1, FAR + PAGE));
	cr_assert_eq(vm_access(0, VA + 5 * PAGE, R_), MMK_ERR_NOENT);

	/* Added: it is in both. */
	put_inside(sub, 5, 1, RW, memory, 9);
	vm_put(1, FAR + 5 * PAGE, 55);
	cr_assert_eq(vm_get(0, VA + 5 * PAGE), 55);

	/* Protected: no CPU writes through what it remembers. */
	vm_put(1, FAR + PAGE, 12);
	protect_inside(sub, 1, 1, RO);
	cr_assert_eq(vm_access(0, VA + PAGE, W_), MMK_ERR_ACCESS);
	cr_assert_eq(vm_access(1, FAR + PAGE, W_), MMK_ERR_ACCESS);
	cr_assert_eq(vm_get(0, VA + PAGE), 12);
	vm_put(0, VA, 10);
	protect_inside(sub, 0, 4, RW);
	vm_put(1, FAR + PAGE, 13);
	cr_assert_eq(vm_get(0, VA + PAGE), 13);

	/* Removed: from both, and the page is free at once. */
	cr_assert_eq(vm_nr_anon_pages(), 3u);
	take_out(sub, 1, 1);
	cr_assert_eq(vm_pa(0, VA + PAGE), UINT64_MAX);
	cr_assert_eq(vm_pa(1, FAR + PAGE), UINT64_MAX);
	cr_assert_eq(vm_access(0, VA + PAGE, R_), MMK_ERR_NOENT);
	cr_assert_eq(vm_access(1, FAR + PAGE, R_), MMK_ERR_NOENT);
	cr_assert_eq(vm_get(1, FAR), 10);
	cr_assert_eq(vm_get(1, FAR + 5 * PAGE), 55);

	/* Unmapped in one: the other has it. */
	vm_munmap(0, VA, 8);
	cr_assert_eq(vm_access(0, VA, R_), MMK_ERR_NOENT);
	vm_put(1, FAR, 20);
	cr_assert_eq(vm_get(1, FAR), 20);
	let_go();
}

Test(submap, S4_4_two_maps_show_one_submap)
{
	vm_both(s4_4_body);
}

/* An object's pages freed as the sub-map's entry goes: no reference is left. */
static void
freed_body(void)
{
	two_spaces();
	vm_put(0, VA, 1);
	vm_put(1, FAR + PAGE, 2);
	mmk_object_unref(memory);
	cr_assert_eq(vm_nr_anon_pages(), 2u);
	take_out(sub, 1, 1);
	cr_assert_eq(vm_nr_anon_pages(), 1u);
	take_out(sub, 0, 8);
	cr_assert_eq(vm_nr_anon_pages(), 0u);
	mmk_object_unref(sub);
	vm_munmap(0, VA, 8);
	vm_munmap(1, FAR, 8);
	cr_assert_eq(mmk_pool_nr_used(&t.vm.submap_pool), 0u);
}

Test(submap, what_nobody_shows_any_more_is_freed_at_once)
{
	vm_both(freed_body);
}

static void
offsets_body(void)
{
	struct mmk_object *outer = new_submap(64), *inner = new_submap(16);
	struct mmk_object *pages = new_memory(32);
	struct mmk_oref oref = { 0 };
	unsigned prot = 0;

	/* Page 3 of `inner` is page 7 of the memory; inner's 2.. are at outer 40. */
	put_inside(inner, 3, 5, ALL, pages, 7);
	put_inside(outer, 40, 6, RW, inner, 2);
	mount(0, VA, 10, RW, outer, 38);
	/* VA is outer's 38: inner's 3 is at VA + 3. */
	cr_assert_eq(vm_access(0, VA + 2 * PAGE, R_), MMK_ERR_NOENT);
	vm_put(0, VA + 3 * PAGE, 70);
	vm_put(0, VA + 7 * PAGE, 74);
	cr_assert_eq(vm_access(0, VA + 8 * PAGE, R_), MMK_ERR_NOENT);
	vm_mmap(0, FAR, 32, RW, MMK_MAP_SHARED | MMK_MAP_FIXED, pages, 0);
	cr_assert_eq(vm_get(0, FAR + 7 * PAGE), 70);
	cr_assert_eq(vm_get(0, FAR + 11 * PAGE), 74);
	cr_assert_eq(vm_pa(0, FAR + 7 * PAGE), vm_pa(0, VA + 3 * PAGE));
	cr_assert(mmk_map_resolve(vm_map(0), VA + 5 * PAGE + 9, &oref, &prot));
	cr_assert_eq(oref.object, pages);
	cr_assert_eq(oref.page, 9u);
	cr_assert_eq(prot, (unsigned)RW, "all on the way allow it");
	cr_assert(!mmk_map_resolve(vm_map(0), VA + 8 * PAGE, &oref, &prot));
	cr_assert(mmk_check(&t.vm));

	/* A change two levels down is seen at the top. */
	take_out(inner, 4, 1);
	cr_assert_eq(vm_get(0, VA + 3 * PAGE), 70);
	take_out(inner, 3, 1);
	cr_assert_eq(vm_pa(0, VA + 3 * PAGE), UINT64_MAX);
	cr_assert_neq(vm_pa(0, VA + 7 * PAGE), UINT64_MAX);
	protect_inside(inner, 7, 1, RO);
	cr_assert_eq(vm_access(0, VA + 7 * PAGE, W_), MMK_ERR_ACCESS);
	cr_assert_eq(vm_get(0, VA + 7 * PAGE), 74);
	protect_inside(outer, 45, 1, MMK_PROT_NONE);
	cr_assert_eq(vm_access(0, VA + 7 * PAGE, R_), MMK_ERR_ACCESS);
	vm_put(0, FAR + 11 * PAGE, 1);
	mmk_object_unref(outer);
	mmk_object_unref(inner);
	mmk_object_unref(pages);
	cr_assert(mmk_check(&t.vm));
}

Test(submap, S4_4_a_fault_through_two_levels_finds_one_page)
{
	vm_both(offsets_body);
}

static void
refused_body(void)
{
	struct mmk_object *a = new_submap(8), *b = new_submap(8);
	struct mmk_object *deep[MMK_SUBMAP_DEPTH_MAX + 1];
	struct mmk_object *zero = NULL, *device = NULL;
	mmk_va va = 0;

	cr_assert_eq(try_inside(a, 0, 1, RW, 0, a, 0), MMK_ERR_INVAL);
	put_inside(a, 0, 1, RW, b, 0);
	cr_assert_eq(try_inside(b, 0, 1, RW, 0, a, 0), MMK_ERR_INVAL);
	put_inside(b, 1, 1, RW, deep[0] = new_submap(8), 0);
	cr_assert_eq(try_inside(deep[0], 0, 1, RW, 0, a, 0), MMK_ERR_INVAL);
	mmk_object_unref(deep[0]);

	/* Built from either end, the fifth is one too many. */
	for (unsigned i = 0; i <= MMK_SUBMAP_DEPTH_MAX; i++)
		deep[i] = new_submap(8);
	for (unsigned i = 1; i < MMK_SUBMAP_DEPTH_MAX; i++)
		put_inside(deep[i - 1], 0, 1, RW, deep[i], 0);
	cr_assert_eq(try_inside(deep[3], 0, 1, RW, 0, deep[4], 0),
	    MMK_ERR_LIMIT);
	cr_assert_eq(try_inside(deep[4], 0, 1, RW, 0, deep[0], 0),
	    MMK_ERR_LIMIT);
	put_inside(deep[4], 0, 1, RW, deep[1], 0);
	mount(0, VA, 1, RW, deep[0], 0);
	cr_assert_eq(vm_access(0, VA, R_), MMK_ERR_NOENT);
	for (unsigned i = 0; i <= MMK_SUBMAP_DEPTH_MAX; i++)
		mmk_object_unref(deep[i]);

	/* Nothing private, on either side of the boundary. */
	cr_assert_eq(mmk_mmap(vm_sp(0), FAR, 4 * PAGE, RW, ALL,
	    MMK_MAP_PRIVATE | MMK_MAP_FIXED, a, 0, &va), MMK_ERR_INVAL);
	cr_assert_eq(try_inside(b, 4, 1, RW, MMK_ENTRY_PRIVATE, b, 0),
	    MMK_ERR_INVAL);
	cr_assert_eq(try_inside(a, 4, 1, RW, MMK_ENTRY_STACK, b, 0),
	    MMK_ERR_INVAL);
	cr_assert_eq(mmk_zero_shared(&t.vm, &zero), MMK_OK);
	cr_assert_eq(try_inside(a, 4, 1, RW, 0, zero, 0), MMK_ERR_INVAL);
	cr_assert_eq(mmk_device_create(&t.vm, UINT64_C(0xfe000000), 4, true,
	    &device), MMK_OK);
	cr_assert_eq(try_inside(a, 4, 1, RW, 0, device, 0), MMK_ERR_INVAL);
	cr_assert_eq(mmk_submap_create(&t.vm, 0, &device), MMK_ERR_INVAL);
	cr_assert_eq(mmk_submap_create(&t.vm, UINT64_MAX, &device),
	    MMK_ERR_INVAL);
	cr_assert_eq(try_inside(a, 7, 2, RW, 0, zero, 0), MMK_ERR_INVAL);
	mmk_object_unref(zero);
	mmk_object_unref(device);
	mmk_object_unref(a);
	mmk_object_unref(b);
	cr_assert(mmk_check(&t.vm));
}

Test(submap, S4_4_cycles_depth_and_what_is_private_are_refused)
{
	vm_both(refused_body);
}

/* The rights of all on the way; page 8 is beyond the sub-map. */
static void
rights_body(void)
{
	two_spaces();
	mount(0, FAR, 12, RO, sub, 0);
	cr_assert_eq(vm_get(0, FAR), 0);
	cr_assert_eq(vm_access(0, FAR, W_), MMK_ERR_ACCESS);
	cr_assert_eq(vm_access(0, FAR + 8 * PAGE, R_), MMK_ERR_NOENT);
	put_inside(sub, 4, 1, ALL, memory, 4);
	cr_assert_eq(vm_access(0, FAR + 4 * PAGE, MMK_PROT_EXEC),
	    MMK_ERR_ACCESS);
	cr_assert_eq(mmk_mprotect(vm_sp(0), FAR, 8 * PAGE, ALL), MMK_OK);
	cr_assert_eq(vm_access(0, FAR + 4 * PAGE, MMK_PROT_EXEC), MMK_OK);
	cr_assert_eq(vm_access(0, FAR, MMK_PROT_EXEC), MMK_ERR_ACCESS);
	vm_put(0, FAR, 5);
	cr_assert_eq(vm_get(1, FAR), 5);
	cr_assert_eq(mmk_mprotect(vm_sp(0), FAR, 8 * PAGE, RO), MMK_OK);
	cr_assert_eq(vm_access(0, FAR, W_), MMK_ERR_ACCESS);
	vm_put(1, FAR, 6);
	let_go();
}

Test(submap, every_map_on_the_way_must_allow_it)
{
	vm_both(rights_body);
}

/* To its map a place where a sub-map is shown is a shared entry. */
static void
reshape_body(void)
{
	mmk_va moved_va = 0;

	two_spaces();
	for (unsigned i = 0; i < 4; i++)
		vm_put(0, VA + i * PAGE, (int)(30 + i));
	vm_munmap(0, VA + PAGE, 1);
	cr_assert_eq(vm_access(0, VA + PAGE, R_), MMK_ERR_NOENT);
	cr_assert_eq(vm_get(0, VA + 2 * PAGE), 32);
	cr_assert_eq(vm_get(1, FAR + PAGE), 31);
	cr_assert_eq(mmk_mremap(vm_sp(0), VA + 2 * PAGE, 6 * PAGE, 6 * PAGE,
	    MMK_REMAP_MAYMOVE | MMK_REMAP_FIXED, VA + 100 * PAGE, &moved_va),
	    MMK_OK);
	cr_assert_eq(vm_pa(0, VA + 2 * PAGE), UINT64_MAX);
	cr_assert_eq(vm_get(0, VA + 101 * PAGE), 33);
	take_out(sub, 2, 1);
	cr_assert_eq(vm_access(0, VA + 100 * PAGE, R_), MMK_ERR_NOENT);
	cr_assert_eq(mmk_discard(vm_sp(0), VA + 101 * PAGE, PAGE), MMK_OK);
	cr_assert_eq(vm_get(0, VA + 101 * PAGE), 33);

	/* Things are moved within a sub-map, too. */
	{
		const struct mmk_remap_args args = { .va = 3 * PAGE,
			.old_pages = 1, .new_pages = 1, .fixed = true,
			.new_va = 6 * PAGE };

		cr_assert_eq(mmk_map_remap(mmk_submap_map(sub), &args,
		    &moved_va), MMK_OK);
	}
	cr_assert_eq(vm_access(0, VA + 101 * PAGE, R_), MMK_ERR_NOENT);
	cr_assert_eq(vm_get(1, FAR + 6 * PAGE), 33);
	cr_assert_eq(vm_get(0, VA + 104 * PAGE), 33);
	let_go();
}

Test(submap, where_it_is_shown_can_be_cut_and_moved)
{
	vm_both(reshape_body);
}

static void
fork_body(void)
{
	two_spaces();
	vm_anon(0, VA - 2 * PAGE, 2);
	vm_put(0, VA - PAGE, 1);
	vm_put(0, VA, 40);
	vm_fork(2, 0);
	vm_put(2, VA - PAGE, 2);
	vm_put(2, VA, 41);
	cr_assert_eq(vm_get(0, VA - PAGE), 1);
	cr_assert_eq(vm_get(0, VA), 41);
	cr_assert_eq(vm_get(1, FAR), 41);
	vm_exit(0);
	take_out(sub, 0, 1);
	cr_assert_eq(vm_access(2, VA, R_), MMK_ERR_NOENT);
	cr_assert_eq(vm_access(1, FAR, R_), MMK_ERR_NOENT);
	put_inside(sub, 0, 1, RW, memory, 3);
	vm_put(2, VA, 43);
	cr_assert_eq(vm_get(1, FAR + 3 * PAGE), 43);
	let_go();
}

Test(submap, a_child_shows_the_same_submap)
{
	vm_both(fork_body);
}

/* Reading waits with no lock held, those of sub-maps included. */
static void
file_body(void)
{
	static struct vm_file f;
	struct mmk_object *file = vm_file(&f, 6 * PAGE);

	two_spaces();
	put_inside(sub, 4, 4, RW, file, 2);
	mmk_object_unref(file);
	cr_assert_eq(vm_get(0, VA + 4 * PAGE), 'c');
	cr_assert_eq(vm_get(1, FAR + 7 * PAGE), 'f');
	cr_assert(mmk_map_is_resident(vm_map(0), VA + 5 * PAGE));
	cr_assert(!mmk_map_is_resident(vm_map(0), VA + 3 * PAGE));
	vm_put(1, FAR + 5 * PAGE, 'X');
	cr_assert_eq(mmk_map_sync(vm_map(0), VA, VA + 8 * PAGE), MMK_OK);
	cr_assert_eq(f.bytes[3 * PAGE], 'X');
	f.read_err = MMK_ERR_IO;
	mmk_file_resize(file, 5 * PAGE);
	cr_assert_eq(vm_access(0, VA + 7 * PAGE, R_), MMK_ERR_NOSPACE);
	take_out(sub, 4, 4);
	cr_assert_eq(f.nr_closes, 1u);
	let_go();
}

Test(submap, what_a_pager_brings_in_is_in_all_of_them)
{
	vm_both(file_body);
}

/* ---- no memory ----------------------------------------------------------- */

static enum mmk_err
op_create(void)
{
	struct mmk_object *object = NULL;
	enum mmk_err err = mmk_submap_create(&t.vm, 8, &object);

	if (err == MMK_OK)
		mmk_object_unref(object);
	return err;
}

static enum mmk_err
op_mount(void)
{
	mmk_va va = 0;

	return mmk_mmap(vm_sp(0), VA + 2 * PAGE, 2 * PAGE, RW, ALL,
	    MMK_MAP_SHARED | MMK_MAP_FIXED, sub, 4 * PAGE, &va);
}

static enum mmk_err
op_remove(void)
{
	return mmk_map_remove(mmk_submap_map(sub), PAGE, 2 * PAGE);
}

static enum mmk_err
op_protect(void)
{
	return mmk_map_protect(mmk_submap_map(sub), PAGE, 2 * PAGE, RO);
}

static enum mmk_err
op_fault(void)
{
	return mmk_fault(vm_map(0), VA + PAGE, MMK_PROT_WRITE);
}

static enum mmk_err
op_fork(void)
{
	return vm_try_fork(2, 0);
}

Test(submap, without_memory_nothing_changes)
{
	enum mmk_err (*const ops[])(void) = { op_create, op_mount, op_remove,
		op_protect, op_fault, op_fork };

	for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++)
		vm_every_k(two_spaces, ops[i], let_go);
}

/* ---- page tables that are not there -------------------------------------- */

static void
caught(const char *text)
{
	cr_assert_str_eq(mmk_check_text(&t.vm), text);
}

/* The audit sees a translation that the sub-map does not explain. */
static void
audit_body(void)
{
	struct mmk_frame *frame = NULL;

	two_spaces();
	cr_assert_eq(mmk_frame_alloc(&t.phys, 0, 0, MMK_USE_KERNEL, &frame),
	    MMK_OK);
	cr_assert_eq(mmk_pmap_enter(&vm_map(0)->pmap, VA + 5 * PAGE,
	    mmk_frame_pa(&t.phys, frame), R_ | MMK_PMAP_USER), MMK_OK);
	caught("an entry, or a translation in it");
	mmk_page_remove_all(&t.sys, frame);
	mmk_frame_unref(&t.phys, frame);
	vm_map(0)->has_submaps = false;
	caught("an entry, or a translation in it");
	vm_map(0)->has_submaps = true;
	let_go();
}

Test(submap, the_audit_looks_into_submaps)
{
	vm_both(audit_body);
}
