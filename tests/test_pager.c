/* SPDX-License-Identifier: MIT
 *
 * tests/test_pager.c: the pagers that mmkit ships: zero, file, device
 */
#include "vm_fixture.h"

static struct vm_file f;
static struct vm_file g;

/* ---- zero ------------------------------------------------------------ */

static void
zero_objects(void)
{
	struct mmk_object *a, *b, *own;

	cr_assert_eq(mmk_zero_shared(&t.vm, &a), MMK_OK);
	cr_assert_eq(mmk_zero_shared(&t.vm, &b), MMK_OK);
	cr_assert_eq(a, b, "there is one");
	cr_assert_eq(a->refs, 3u, "ours, and the vm's");
	cr_assert_eq(mmk_zero_create(&t.vm, 7, &own), MMK_OK);
	cr_assert_neq(own, a);
	cr_assert_eq(own->nr_pages, 7u);
	cr_assert_eq(own->ops->kind, (unsigned)MMK_PAGER_ZERO);
	mmk_object_unref(a);
	mmk_object_unref(b);
	mmk_object_unref(own);
}

Test(pager, zero_object_of_private_memory_is_one_and_others_are_own)
{
	vm_both(zero_objects);
}

static void
no_setup(void)
{
}

static struct mmk_object *made;

static enum mmk_err
op_zero_create(void)
{
	return mmk_zero_create(&t.vm, 3, &made);
}

static enum mmk_err
op_zero_shared(void)
{
	return mmk_zero_shared(&t.vm, &made);
}

static enum mmk_err
op_file_create(void)
{
	f.file.ops = &vm_file_ops;
	f.file.ctx = &f;
	f.file.size_bytes = 100;
	return mmk_file_create(&t.vm, &f.file, &made);
}

static enum mmk_err
op_device_create(void)
{
	return mmk_device_create(&t.vm, 0, 3, true, &made);
}

static void
drop_made(void)
{
	mmk_object_unref(made);
}

Test(pager, creating_without_memory_changes_nothing)
{
	vm_every_k(no_setup, op_zero_create, drop_made);
	vm_every_k(no_setup, op_zero_shared, drop_made);
	vm_every_k(no_setup, op_file_create, drop_made);
	vm_every_k(no_setup, op_device_create, drop_made);
}

static void
shared_anon(void)
{
	mmk_va a = vm_mmap(0, 0, 4, RW, ANON_SHARED, NULL, 0), b;

	vm_put(0, a + PAGE, 's');
	vm_fork(1, 0);
	vm_put(1, a + PAGE + 1, 't');
	cr_assert_eq(vm_get(0, a + PAGE + 1), 't');
	vm_put(1, a + 2 * PAGE, 'u');
	cr_assert_eq(vm_get(0, a + 2 * PAGE), 'u');
	b = vm_mmap(0, 0, 4, RW, ANON_SHARED, NULL, 0);
	cr_assert_eq(vm_get(0, b + PAGE), 0, "another mapping, other memory");
	vm_exit(0);
	cr_assert_eq(vm_get(1, a + PAGE), 's');
}

Test(pager, shared_anonymous_memory_outlives_the_parent)
{
	vm_both(shared_anon);
}

/* ---- file ------------------------------------------------------------ */

static void
file_needs_read(void)
{
	struct mmk_file_ops ops = { NULL, NULL, NULL };
	struct mmk_object *object = NULL;

	f.file.ops = &ops;
	f.file.size_bytes = 10;
	cr_assert_eq(mmk_file_create(&t.vm, &f.file, &object), MMK_ERR_INVAL);
	f.file.ops = NULL;
	cr_assert_eq(mmk_file_create(&t.vm, &f.file, &object), MMK_ERR_INVAL);
	cr_assert_null(object);
}

Test(pager, a_file_that_cannot_be_read_is_refused)
{
	vm_both(file_needs_read);
}

static void
file_tail(void)
{
	struct mmk_object *object = vm_file(&f, 2 * PAGE + 100);
	mmk_va va = vm_mmap(0, 0, 5, RW, MMK_MAP_SHARED, object, 0);

	cr_assert_eq(object->nr_pages, 3u);
	cr_assert_eq(vm_get(0, va + 2 * PAGE + 99), 'c');
	for (uint64_t i = 100; i < PAGE; i += 61)
		cr_assert_eq(vm_get(0, va + 2 * PAGE + i), 0);
	cr_assert_eq(vm_access(0, va + 3 * PAGE, MMK_PROT_READ),
	    MMK_ERR_NOSPACE, "beyond the end: a bus error, not a hole");
	cr_assert_eq(vm_access(0, va + 4 * PAGE, MMK_PROT_WRITE),
	    MMK_ERR_NOSPACE);
	/* What is written beyond the end is not the file's. */
	vm_put(0, va + 2 * PAGE + 99, 'X');
	vm_put(0, va + 2 * PAGE + 100, 'Y');
	cr_assert_eq(mmk_msync(vm_sp(0), va, 5 * PAGE), MMK_OK);
	cr_assert_eq(f.bytes[2 * PAGE + 99], 'X');
	cr_assert_eq(f.bytes[2 * PAGE + 100], 0xee);
	mmk_object_unref(object);
}

Test(pager, beyond_the_end_of_a_file_are_zeros_that_stay_in_memory)
{
	vm_both(file_tail);
}

static void
file_short(void)
{
	struct mmk_object *object = vm_file(&f, 2 * PAGE);
	static unsigned char buf[4096];
	mmk_va va = vm_mmap(0, 0, 2, RW, MMK_MAP_SHARED, object, 0);

	f.most_bytes = 1000;
	cr_assert_eq(vm_load(0, va, buf, PAGE), 0);
	for (uint64_t i = 0; i < PAGE; i++)
		cr_assert_eq(buf[i], 'a');
	cr_assert_geq(f.nr_reads, 5u);
	memset(buf, 'w', sizeof buf);
	cr_assert_eq(vm_store(0, va, buf, PAGE), 0);
	cr_assert_eq(mmk_msync(vm_sp(0), va, PAGE), MMK_OK);
	cr_assert_eq(f.nr_writes, 5u);
	cr_assert_eq(f.bytes[0], 'w');
	cr_assert_eq(f.bytes[PAGE - 1], 'w');
	cr_assert_eq(f.bytes[PAGE], 'b');
	mmk_object_unref(object);
}

Test(pager, short_reads_and_writes_are_continued)
{
	vm_both(file_short);
}

static void
file_early_end(void)
{
	struct mmk_object *object = vm_file(&f, PAGE);
	mmk_va va = vm_mmap(0, 0, 1, RO, MMK_MAP_PRIVATE, object, 0);

	f.is_stuck = true; /* the file is shorter than it said */
	cr_assert_eq(vm_get(0, va), 0);
	cr_assert_eq(vm_get(0, va + PAGE - 1), 0);
	mmk_object_unref(object);
}

Test(pager, a_file_that_ends_early_goes_on_with_zeros)
{
	vm_both(file_early_end);
}

static void
file_read_error(void)
{
	struct mmk_object *object = vm_file(&f, 4 * PAGE);
	uint64_t nr_anons = vm_nr_anon_pages();
	mmk_va va = vm_mmap(0, 0, 4, RW, MMK_MAP_PRIVATE, object, 0);

	f.read_err = MMK_ERR_IO;
	cr_assert_eq(vm_access(0, va, MMK_PROT_READ), MMK_ERR_IO);
	cr_assert_eq(vm_access(0, va, MMK_PROT_WRITE), MMK_ERR_IO);
	f.read_err = MMK_ERR_ACCESS; /* of the kernel's own making */
	cr_assert_eq(vm_access(0, va, MMK_PROT_READ), MMK_ERR_IO);
	cr_assert_eq(vm_pa(0, va), UINT64_MAX);
	cr_assert_eq(vm_nr_anon_pages(), nr_anons, "nothing is kept");
	cr_assert(mmk_check(&t.vm));
	f.read_err = MMK_OK;
	cr_assert_eq(vm_get(0, va), 'a');
	vm_put(0, va + PAGE, 'B');
	mmk_object_unref(object);
}

Test(pager, a_read_error_reaches_the_fault_and_keeps_nothing)
{
	vm_both(file_read_error);
}

static void
file_write_error(void)
{
	struct mmk_object *object = vm_file(&f, 2 * PAGE);
	mmk_va va = vm_mmap(0, 0, 2, RW, MMK_MAP_SHARED, object, 0);

	vm_put(0, va, 'A');
	vm_put(0, va + PAGE, 'B');
	f.write_err = MMK_ERR_IO;
	cr_assert_eq(mmk_msync(vm_sp(0), va, 2 * PAGE), MMK_ERR_IO);
	f.write_err = MMK_ERR_NOSPACE;
	cr_assert_eq(mmk_msync(vm_sp(0), va, 2 * PAGE), MMK_ERR_NOSPACE);
	f.write_err = MMK_OK;
	f.is_stuck = true;
	cr_assert_eq(mmk_msync(vm_sp(0), va, 2 * PAGE), MMK_ERR_IO);
	f.is_stuck = false;
	cr_assert_eq(vm_get(0, va), 'A');
	cr_assert_eq(f.bytes[0], 'a');
	cr_assert_eq(mmk_msync(vm_sp(0), va, 2 * PAGE), MMK_OK,
	    "they were still modified");
	cr_assert_eq(f.bytes[0], 'A');
	cr_assert_eq(f.bytes[PAGE], 'B');
	f.nr_writes = 0;
	cr_assert_eq(mmk_msync(vm_sp(0), va, 2 * PAGE), MMK_OK);
	cr_assert_eq(f.nr_writes, 0u, "clean pages are not written again");
	vm_put(0, va, 'C');
	cr_assert_eq(mmk_msync(vm_sp(0), va, 2 * PAGE), MMK_OK);
	cr_assert_eq(f.nr_writes, 1u);
	cr_assert_eq(f.bytes[0], 'C');
	mmk_object_unref(object);
}

Test(pager, a_write_error_leaves_the_page_modified)
{
	vm_both(file_write_error);
}

static void
file_readonly(void)
{
	static struct mmk_file_ops ops;
	struct mmk_object *object = vm_file(&f, PAGE);
	mmk_va va;

	ops = vm_file_ops;
	ops.write = NULL;
	f.file.ops = &ops;
	va = vm_mmap(0, 0, 1, RW, MMK_MAP_SHARED, object, 0);
	vm_put(0, va, 'A');
	cr_assert_eq(mmk_msync(vm_sp(0), va, PAGE), MMK_ERR_IO);
	mmk_object_unref(object);
}

Test(pager, a_file_without_write_has_nowhere_to_put_pages)
{
	vm_both(file_readonly);
}

static void
file_private(void)
{
	struct mmk_object *object = vm_file(&f, 3 * PAGE);
	mmk_va va = vm_mmap(0, 0, 3, RW, MMK_MAP_PRIVATE, object, 0);
	mmk_va vb = vm_mmap(0, 0, 3, RW, MMK_MAP_SHARED, object, 0);

	vm_put(0, va, 'P');
	vm_put(0, vb, 'S');
	vm_put(0, vb + PAGE, 'T');
	cr_assert_eq(vm_get(0, va), 'P', "its own from the first write on");
	cr_assert_eq(vm_get(0, va + PAGE), 'T', "follows the file until then");
	cr_assert_eq(mmk_msync(vm_sp(0), va, 3 * PAGE), MMK_OK);
	cr_assert_eq(f.nr_writes, 0u);
	cr_assert_eq(mmk_discard(vm_sp(0), va, PAGE), MMK_OK);
	cr_assert_eq(vm_get(0, va), 'S');
	mmk_object_unref(object);
}

Test(pager, a_private_page_follows_the_file_until_written)
{
	vm_both(file_private);
}

static void
file_empty(void)
{
	struct mmk_object *object = vm_file(&f, 0);
	mmk_va va = vm_mmap(0, 0, 1, RW, MMK_MAP_SHARED, object, 0);

	cr_assert_eq(object->nr_pages, 0u);
	cr_assert_eq(vm_access(0, va, MMK_PROT_READ), MMK_ERR_NOSPACE);
	memset(f.bytes, 'n', 10);
	mmk_file_resize(object, 10);
	cr_assert_eq(vm_get(0, va), 'n');
	cr_assert_eq(vm_get(0, va + 10), 0);
	mmk_object_unref(object);
}

Test(pager, an_empty_file_can_be_mapped_and_can_grow)
{
	vm_both(file_empty);
}

static void
file_resize(void)
{
	struct mmk_object *object = vm_file(&f, 4 * PAGE);
	mmk_va va = vm_mmap(0, 0, 4, RW, MMK_MAP_SHARED, object, 0);
	mmk_va vb = vm_mmap(0, 0, 4, RW, MMK_MAP_PRIVATE, object, 0);

	for (uint64_t i = 0; i < 4; i++)
		vm_put(0, va + i * PAGE + 200, 'W');
	vm_put(0, vb + 3 * PAGE, 'P');
	vm_fork(1, 0);
	mmk_file_resize(object, PAGE + 100);
	cr_assert(mmk_check(&t.vm));
	cr_assert_eq(vm_get(0, va + 200), 'W');
	cr_assert_eq(vm_get(0, va + PAGE + 99), 'b');
	cr_assert_eq(vm_get(0, va + PAGE + 100), 0);
	cr_assert_eq(vm_get(1, va + PAGE + 200), 0, "cut off");
	cr_assert_eq(vm_access(0, va + 2 * PAGE, MMK_PROT_READ),
	    MMK_ERR_NOSPACE);
	cr_assert_eq(vm_access(1, va + 3 * PAGE, MMK_PROT_WRITE),
	    MMK_ERR_NOSPACE);
	cr_assert_eq(mmk_msync(vm_sp(0), va, 4 * PAGE), MMK_OK);
	cr_assert_eq(f.bytes[PAGE + 100], 'b', "not written back");
	/* What the program wrote beyond the end is no part of a longer file. */
	vm_put(0, va + PAGE + 150, 'Z');
	memset(f.bytes + PAGE + 100, 0, VM_FILE_BYTES - PAGE - 100);
	mmk_file_resize(object, 3 * PAGE);
	cr_assert_eq(vm_get(0, va + PAGE + 150), 0);
	cr_assert_eq(vm_get(0, va + 2 * PAGE), 0);
	/* The kernel appends by itself: resize, then reload. */
	memset(f.bytes + PAGE + 100, 'k', 2 * PAGE);
	mmk_file_resize(object, 4 * PAGE);
	cr_assert_eq(mmk_object_reload(object, 1, 3), MMK_OK);
	cr_assert_eq(vm_get(0, va + PAGE + 99), 'b');
	cr_assert_eq(vm_get(0, va + PAGE + 100), 'k');
	cr_assert_eq(vm_get(1, va + 2 * PAGE), 'k');
	mmk_object_unref(object);
}

Test(pager, resizing_a_file_cuts_zeroes_and_grows)
{
	vm_both(file_resize);
}

static void
file_close(void)
{
	struct mmk_object *a = vm_file(&f, PAGE), *b = vm_file(&g, PAGE);
	mmk_va va = vm_mmap(0, 0, 1, RW, MMK_MAP_SHARED, a, 0);

	cr_assert_eq(vm_get(0, va), 'a');
	mmk_object_unref(b);
	cr_assert_eq(g.nr_closes, 1u);
	mmk_object_unref(a);
	cr_assert_eq(f.nr_closes, 0u, "the mapping holds it");
	vm_munmap(0, va, 1);
	cr_assert_eq(f.nr_closes, 1u);
}

Test(pager, a_file_is_closed_with_its_last_reference)
{
	vm_both(file_close);
}

static enum mmk_err
op_fault_file(void)
{
	return mmk_fault(vm_map(0), VA + 2 * PAGE, MMK_PROT_WRITE);
}

static void
setup_fault_file(void)
{
	struct mmk_object *object = vm_file(&f, 8 * PAGE);

	vm_mmap(0, VA, 8, RW, MMK_MAP_PRIVATE | MMK_MAP_FIXED, object, 0);
	mmk_object_unref(object);
}

static void
done_fault_file(void)
{
	vm_put(0, VA + 2 * PAGE, 'Q');
	cr_assert_eq(vm_get(0, VA + 2 * PAGE + 1), 'c');
	cr_assert_eq(vm_get(0, VA + 3 * PAGE), 'd');
}

Test(pager, a_fault_without_memory_reads_again_later)
{
	vm_every_k(setup_fault_file, op_fault_file, done_fault_file);
}

/* ---- device ---------------------------------------------------------- */

static void
device_args(void)
{
	struct mmk_object *object = NULL;
	struct { mmk_pa pa; uint64_t nr_pages; } bad[] = { { 1, 1 },
		{ PAGE, 0 }, { 0, UINT64_MAX }, { UINT64_MAX - PAGE + 1, 2 },
		{ PAGE, UINT64_MAX / PAGE }, { PAGE / 2, 1 } };

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		cr_assert_eq(mmk_device_create(&t.vm, bad[i].pa,
		    bad[i].nr_pages, true, &object), MMK_ERR_INVAL);
	cr_assert_null(object);
}

Test(pager, a_device_must_be_whole_pages_that_exist)
{
	vm_both(device_args);
}

static void
device_flags(void)
{
	struct mmk_object *object;
	struct mmk_translation found;
	mmk_pa pa = (mmk_pa)1 << 34;
	mmk_va va;

	cr_assert_eq(mmk_device_create(&t.vm, pa, 2, true, &object), MMK_OK);
	va = vm_mmap(0, 0, 2, RW, MMK_MAP_SHARED, object, 0);
	cr_assert_eq(mmk_populate(vm_sp(0), va, 2 * PAGE, MMK_PROT_WRITE),
	    MMK_OK);
	cr_assert(vm_query(0, va + PAGE, &found));
	cr_assert_eq(found.pa, pa + PAGE);
	cr_assert((found.flags & MMK_PMAP_DEVICE) != 0);
	cr_assert_eq(vm_access(0, va + 2 * PAGE, MMK_PROT_READ), MMK_ERR_NOENT);
	vm_munmap(0, va, 2);
	va = vm_mmap(0, 0, 2, RW, MMK_MAP_SHARED, object, 1);
	cr_assert_eq(mmk_fault(vm_map(0), va + PAGE, MMK_PROT_READ),
	    MMK_ERR_NOSPACE, "beyond its end");
	mmk_object_unref(object);
}

Test(pager, device_memory_is_mapped_as_such)
{
	vm_both(device_flags);
}

/* What a fork copies, and a move: no fault brings these back. */
static void
device_attributes(void)
{
	/* Keys, where this machine has them. */
	unsigned key = mmk_pt_can_express(sim_shape(),
	    RW | MMK_PMAP_USER | MMK_PMAP_KEY(3)) ? MMK_PMAP_KEY(3) : 0;
	unsigned attributes = MMK_PMAP_DEVICE | key;
	unsigned mask = MMK_PMAP_TYPE | MMK_PMAP_KEY_MASK;
	struct mmk_object *object;
	struct mmk_translation found;
	mmk_va va, to_va = VA + 64 * PAGE, new_va;

	vm_map(0)->pmap_flags |= key;
	cr_assert_eq(mmk_device_create(&t.vm, (mmk_pa)1 << 34, 2, true,
	    &object), MMK_OK);
	va = vm_mmap(0, 0, 2, RW, MMK_MAP_SHARED, object, 0);
	cr_assert_eq(mmk_populate(vm_sp(0), va, 2 * PAGE, MMK_PROT_WRITE),
	    MMK_OK);
	vm_fork(1, 0);
	cr_assert(vm_query(1, va + PAGE, &found));
	cr_assert_eq(found.flags & mask, attributes);
	cr_assert_eq(mmk_mremap(vm_sp(0), va, 2 * PAGE, 2 * PAGE,
	    MMK_REMAP_MAYMOVE | MMK_REMAP_FIXED, to_va, &new_va), MMK_OK);
	cr_assert(vm_query(0, to_va + PAGE, &found));
	cr_assert_eq(found.flags & mask, attributes);
	vm_anon(1, to_va, 1);
	vm_put(1, to_va, 7);
	cr_assert(vm_query(1, to_va, &found));
	cr_assert_eq(found.flags & mask, key, "the child's own");
	mmk_object_unref(object);
}

Test(pager, attributes_of_device_memory_go_with_a_fork_and_a_move)
{
	vm_both(device_attributes);
}

static void
device_private(void)
{
	struct mmk_frame *ram;
	struct mmk_object *object;
	mmk_va va;

	cr_assert_eq(mmk_frame_alloc(&t.phys, 1, MMK_ALLOC_ZERO, MMK_USE_KERNEL,
	    &ram), MMK_OK);
	cr_assert_eq(mmk_device_create(&t.vm, mmk_frame_pa(&t.phys, ram), 2,
	    false, &object), MMK_OK);
	((unsigned char *)mmk_frame_ptr(&t.phys, ram))[PAGE] = 'r';
	va = vm_mmap(0, 0, 2, RW, MMK_MAP_PRIVATE, object, 0);
	cr_assert_eq(vm_get(0, va + PAGE), 'r');
	vm_put(0, va + PAGE + 1, 'w');
	cr_assert_eq(vm_get(0, va + PAGE), 'r');
	cr_assert_eq(((unsigned char *)mmk_frame_ptr(&t.phys, ram))[PAGE + 1],
	    0, "the original is not touched");
	vm_munmap(0, va, 2);
	cr_assert_eq(ram->refs, 1u);
	mmk_object_unref(object);
	(void)mmk_frame_unref(&t.phys, ram);
}

Test(pager, a_private_mapping_of_fixed_ram_copies_on_write)
{
	vm_both(device_private);
}
