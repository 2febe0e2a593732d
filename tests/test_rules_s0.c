/* SPDX-License-Identifier: MIT
 *
 * tests/test_rules_s0.c: the rules of the mapping system (S0), and the defects
 * of its original program (B0) shown not to be here. Every scenario runs on
 * both table formats and ends with the audit of vm_end().
 */
#include "vm_fixture.h"

#include <pthread.h>

static void
s0_1(void)
{
	struct mmk_space *space = vm_sp(0);
	mmk_va va = VA, moved_va = 0;

	vm_anon(0, VA, 4);
	for (int i = 0; i < 4; i++)
		vm_put(0, VA + (uint64_t)i * PAGE, 10 + i);
	cr_assert_eq(mmk_mremap(space, VA, 4 * PAGE, 2 * PAGE, 0, 0, &va),
	    MMK_OK);
	cr_assert_eq(va, VA);
	cr_assert_eq(vm_get(0, VA + PAGE), 11);
	cr_assert_eq(vm_access(0, VA + 2 * PAGE, MMK_PROT_READ),
	    MMK_ERR_NOENT);
	cr_assert_eq(mmk_mremap(space, VA, 2 * PAGE, 6 * PAGE, 0, 0, &va),
	    MMK_OK);
	cr_assert_eq(va, VA);
	cr_assert_eq(vm_get(0, VA), 10);
	cr_assert_eq(vm_get(0, VA + PAGE), 11);
	cr_assert_eq(vm_get(0, VA + 2 * PAGE), 0, "what was cut off is gone");
	vm_put(0, VA + 5 * PAGE, 15);
	cr_assert_eq(vm_access(0, VA + 6 * PAGE, MMK_PROT_READ),
	    MMK_ERR_NOENT);

	/* A neighbour that is not ours to join. */
	vm_mmap(0, VA + 6 * PAGE, 1, RO, ANON_SHARED | MMK_MAP_FIXED, NULL, 0);
	cr_assert_eq(mmk_mremap(space, VA, 6 * PAGE, 9 * PAGE, 0, 0, &va),
	    MMK_ERR_NOSPACE);
	cr_assert_eq(mmk_mremap(space, VA, 6 * PAGE, 9 * PAGE,
	    MMK_REMAP_MAYMOVE, 0, &moved_va), MMK_OK);
	cr_assert_neq(moved_va, VA);
	cr_assert_eq(vm_get(0, moved_va), 10);
	cr_assert_eq(vm_get(0, moved_va + PAGE), 11);
	cr_assert_eq(vm_get(0, moved_va + 5 * PAGE), 15);
	vm_put(0, moved_va + 8 * PAGE, 18);
	cr_assert_eq(vm_access(0, VA, MMK_PROT_READ), MMK_ERR_NOENT);
	cr_assert_eq(vm_access(0, VA + 5 * PAGE, MMK_PROT_WRITE),
	    MMK_ERR_NOENT);

	vm_munmap(0, moved_va + 4 * PAGE, 1);
	cr_assert_eq(vm_access(0, moved_va + 4 * PAGE, MMK_PROT_READ),
	    MMK_ERR_NOENT);
	cr_assert_eq(vm_get(0, moved_va + 3 * PAGE), 0);
	cr_assert_eq(vm_get(0, moved_va + 5 * PAGE), 15);
	cr_assert_eq(vm_get(0, moved_va + 8 * PAGE), 18);
}

Test(rules_s0, S0_1_mmap_mremap_munmap_keep_contents)
{
	vm_both(s0_1);
}

static void
s0_2(void)
{
	static struct vm_recorder r;
	struct mmk_object *device, *recorder = vm_recorder(&r, 4);
	struct mmk_frame *ram;
	mmk_va va;

	cr_assert_eq(mmk_frame_alloc(&t.phys, 2, MMK_ALLOC_ZERO, MMK_USE_KERNEL,
	    &ram), MMK_OK);
	cr_assert_eq(mmk_device_create(&t.vm, mmk_frame_pa(&t.phys, ram), 4,
	    false, &device), MMK_OK);
	struct {
		struct mmk_object *object;
		unsigned flags;
	} kinds[] = { { NULL, ANON_SHARED }, { device, MMK_MAP_SHARED },
		{ recorder, MMK_MAP_SHARED } };

	for (size_t i = 0; i < 3; i++) {
		va = vm_mmap(0, 0, 4, RW, kinds[i].flags, kinds[i].object, 0);
		vm_put(0, va, 1);
		vm_put(0, va + 3 * PAGE, 4);
		vm_munmap(0, va + PAGE, 1);
		cr_assert_eq(mmk_mprotect(vm_sp(0), va + 2 * PAGE, PAGE, RO),
		    MMK_OK);
		cr_assert_eq(vm_access(0, va + 2 * PAGE, MMK_PROT_WRITE),
		    MMK_ERR_ACCESS);
		vm_fork(1, 0);
		vm_put(1, va, 9);
		cr_assert_eq(vm_get(0, va), 9);
		cr_assert_eq(vm_get(1, va + 3 * PAGE), 4);
		vm_exit(1);
		vm_munmap(0, va, 4);
	}
	cr_assert_eq(r.nr_unmaps, r.nr_maps + 2, "two were inherited");
	mmk_object_unref(device);
	mmk_object_unref(recorder);
	cr_assert_eq(r.nr_destroys, 1u);
	cr_assert_eq(mmk_frame_unref(&t.phys, ram), 0u);
}

Test(rules_s0, S0_2_the_map_knows_no_kinds_of_object)
{
	vm_both(s0_2);
}

static void
s0_5(void)
{
	static struct vm_recorder r;
	struct mmk_object *object = vm_recorder(&r, 16);

	vm_mmap(0, VA, 8, RW, MMK_MAP_SHARED | MMK_MAP_FIXED, object, 3);
	cr_assert_eq(vm_get(0, VA + 2 * PAGE + 5), 0);
	cr_assert_eq(r.nr_maps, 1u);
	cr_assert_eq(r.maps[0].page, 5u, "the offset in the object");
	cr_assert_eq(r.maps[0].start_va, VA, "the region");
	cr_assert_eq(r.maps[0].va, VA + 2 * PAGE);
	cr_assert_eq(vm_pa(0, VA + 2 * PAGE), r.maps[0].pa);
	vm_put(0, VA + 2 * PAGE, 7);
	(void)vm_get(0, VA + 2 * PAGE + 9);
	cr_assert_eq(r.nr_maps, 1u, "a second touch makes no call");
	vm_put(0, VA + 7 * PAGE, 7);
	cr_assert_eq(r.nr_maps, 2u);
	cr_assert_eq(r.maps[1].page, 10u);

	r.err = MMK_ERR_IO;
	cr_assert_eq(vm_access(0, VA, MMK_PROT_READ), MMK_ERR_IO);
	cr_assert_eq(vm_pa(0, VA), UINT64_MAX);
	r.err = MMK_ERR_NOMEM;
	cr_assert_eq(vm_access(0, VA, MMK_PROT_WRITE), MMK_ERR_NOMEM);
	r.err = MMK_OK;
	vm_put(0, VA, 1);
	cr_assert_eq(r.nr_maps, 3u);
	vm_munmap(0, VA, 8);
	mmk_object_unref(object);
}

Test(rules_s0, S0_5_a_fault_asks_the_object_for_the_address)
{
	vm_both(s0_5);
}

static void
s0_6(void)
{
	static struct vm_recorder r;
	struct mmk_object *object = vm_recorder(&r, 8);

	vm_mmap(0, VA, 8, RW, MMK_MAP_SHARED | MMK_MAP_FIXED, object, 0);
	vm_anon(0, VA + 8 * PAGE, 8);
	cr_assert_eq(r.nr_maps, 0u);
	for (mmk_va va = VA; va < VA + 16 * PAGE; va += PAGE)
		cr_assert_eq(vm_pa(0, va), UINT64_MAX);
	cr_assert_eq(vm_map(0)->pmap.nr_pages, 0u);
	mmk_object_unref(object);
}

Test(rules_s0, S0_6_mmap_itself_maps_nothing)
{
	vm_both(s0_6);
}

static void
s0_7(void)
{
	static struct vm_recorder r;
	struct mmk_object *object = vm_recorder(&r, 8);
	unsigned touched[] = { 1, 4, 6 }, nr_frames = 0;

	vm_mmap(0, VA, 8, RW, MMK_MAP_PRIVATE | MMK_MAP_FIXED, object, 0);
	for (int i = 0; i < 3; i++)
		(void)vm_get(0, VA + touched[i] * PAGE);
	cr_assert_eq(r.nr_maps, 3u);
	vm_fork(1, 0);
	cr_assert_eq(r.nr_maps, 3u, "a copy makes no call");
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(r.frames[touched[i]]->refs, 2u);
		cr_assert_eq(vm_pa(1, VA + touched[i] * PAGE),
		    vm_pa(0, VA + touched[i] * PAGE));
	}
	for (int i = 0; i < 8; i++)
		nr_frames += r.frames[i] != NULL;
	cr_assert_eq(nr_frames, 3u);
	mmk_object_unref(object);
}

Test(rules_s0, S0_7_copy_refs_only_established_frames)
{
	vm_both(s0_7);
}

static void
s0_8(void)
{
	static struct vm_recorder r;
	struct mmk_object *object = vm_recorder(&r, 16);
	unsigned touched[] = { 7, 0, 3 };

	vm_mmap(0, VA, 8, RW, MMK_MAP_SHARED | MMK_MAP_FIXED, object, 2);
	for (int i = 0; i < 3; i++)
		vm_put(0, VA + touched[i] * PAGE, i);
	vm_munmap(0, VA, 8);
	cr_assert_eq(r.nr_unmaps, 3u);
	for (int i = 0; i < 3; i++) {
		int nr_same = 0;

		for (int j = 0; j < 3; j++)
			nr_same += r.maps[i].page == r.unmaps[j].page &&
			    r.maps[i].pa == r.unmaps[j].pa;
		cr_assert_eq(nr_same, 1);
	}
	mmk_object_unref(object);
	cr_assert_eq(r.nr_destroys, 1u);
}

Test(rules_s0, S0_8_destroying_unmaps_each_established_page_once)
{
	vm_both(s0_8);
}

/* Three pages touched, nr_copies made; they end in `order`. */
static void
s0_9_run(unsigned nr_copies, const unsigned *order)
{
	static struct vm_recorder r;
	struct mmk_object *object = vm_recorder(&r, 8);
	uint64_t nr_free = vm_nr_free();

	vm_mmap(0, VA, 8, RW, MMK_MAP_PRIVATE | MMK_MAP_FIXED, object, 0);
	for (unsigned i = 0; i < 3; i++)
		(void)vm_get(0, VA + i * PAGE);
	for (unsigned i = 1; i <= nr_copies; i++)
		vm_fork(i, 0);
	for (unsigned i = 0; i < 3; i++)
		cr_assert_eq(r.frames[i]->refs, nr_copies + 1);
	for (unsigned i = 0; i <= nr_copies; i++)
		vm_exit(order[i]);
	cr_assert_eq(r.nr_maps, 3u);
	cr_assert_eq(r.nr_unmaps, 3 * (nr_copies + 1));
	for (unsigned i = 0; i < 3; i++)
		cr_assert_null(r.frames[i]);
	mmk_object_unref(object);
	vm_space(0);
	cr_assert_geq(vm_nr_free() + 16, nr_free);
}

static void
s0_9(void)
{
	static const unsigned orders[][4] = { { 0, 1, 2, 3 }, { 1, 0, 2, 3 },
		{ 3, 2, 1, 0 }, { 2, 0, 3, 1 } };

	s0_9_run(1, orders[0]);
	s0_9_run(1, orders[1]);
	s0_9_run(3, orders[0]);
	s0_9_run(3, orders[2]);
	s0_9_run(3, orders[3]);
}

Test(rules_s0, S0_9_unmap_may_be_called_more_often_than_map)
{
	vm_both(s0_9);
}

static void
s0_10(void)
{
	static struct vm_recorder r;
	struct mmk_object *object = vm_recorder(&r, 8);
	uint32_t refs = object->refs;
	mmk_va va = vm_mmap(0, 0, 2, RW, ANON_PRIVATE, object, 0);
	struct mmk_entry_info info = vm_entry(0, va);

	cr_assert_eq(info.flags & ~(MMK_ENTRY_PRIVATE | MMK_ENTRY_STACK), 0u);
	cr_assert_eq(info.object->ops->kind, (unsigned)MMK_PAGER_ZERO);
	cr_assert_eq(object->refs, refs, "the file is not looked at");
	vm_put(0, va, 1);
	cr_assert_eq(r.nr_maps, 0u);
	va = vm_mmap(0, 0, 2, RW, ANON_SHARED, object, 0);
	info = vm_entry(0, va);
	cr_assert_eq(info.flags, 0u);
	cr_assert_eq(info.object->ops->kind, (unsigned)MMK_PAGER_ZERO);
	mmk_object_unref(object);
	cr_assert_eq(r.nr_destroys, 1u);
}

Test(rules_s0, S0_10_anon_becomes_the_zero_object)
{
	vm_both(s0_10);
}

static void
s0_11(void)
{
	static unsigned char buf[64 * 4096];
	static const unsigned kinds[] = { ANON_PRIVATE, ANON_SHARED };

	for (size_t k = 0; k < 2; k++) {
		uint64_t nr_free = vm_nr_anon_pages();
		mmk_va va = vm_mmap(0, 0, 64, RW, kinds[k], NULL, 0);

		memset(buf, 0xaa, sizeof buf);
		cr_assert_eq(vm_store(0, va, buf, 64 * PAGE), 0);
		cr_assert_eq(vm_nr_anon_pages(), nr_free + 64);
		vm_munmap(0, va, 64);
		cr_assert_eq(vm_nr_anon_pages(), nr_free);

		/* The same frames again, by write and by read first. */
		va = vm_mmap(0, 0, 64, RW, kinds[k], NULL, 0);
		for (uint64_t i = 0; i < 64; i += 2)
			vm_put(0, va + i * PAGE + 100, 1);
		cr_assert_eq(vm_load(0, va, buf, 64 * PAGE), 0);
		for (uint64_t i = 0; i < 64 * PAGE; i++)
			cr_assert_eq(buf[i], i % (2 * PAGE) == 100,
			    "byte %llu", (unsigned long long)i);
		vm_munmap(0, va, 64);
		cr_assert_eq(vm_nr_anon_pages(), nr_free);
	}
}

Test(rules_s0, S0_11_zero_pages_are_zero_whatever_the_frame_held)
{
	vm_both(s0_11);
}

static void
s0_12(void)
{
	uint64_t before = vm_digest(0);
	mmk_va va = 1;

	cr_assert_eq(mmk_mmap(vm_sp(0), 0, PAGE, RW, ALL, MMK_MAP_PRIVATE, NULL,
	    0, &va), MMK_ERR_INVAL);
	cr_assert_eq(mmk_mmap(vm_sp(0), 0, PAGE, RW, ALL, MMK_MAP_SHARED, NULL,
	    0, &va), MMK_ERR_INVAL);
	cr_assert_eq(va, 1u);
	cr_assert_eq(vm_digest(0), before);
}

Test(rules_s0, S0_12_nothing_is_mapped_without_an_object)
{
	vm_both(s0_12);
}

static void
s0_13(void)
{
	static struct vm_file f;
	struct mmk_object *object = vm_file(&f, 8 * PAGE);
	mmk_va a, b, c;

	vm_space(1);
	a = vm_mmap(0, 0, 8, RW, MMK_MAP_SHARED, object, 0);
	b = vm_mmap(0, 0, 2, RW, MMK_MAP_SHARED, object, 3);
	c = vm_mmap(1, VA, 2, RW, MMK_MAP_SHARED | MMK_MAP_FIXED, object, 2);
	cr_assert_eq(vm_get(0, a + 3 * PAGE), 'd');
	cr_assert_eq(vm_get(0, b), 'd');
	cr_assert_eq(vm_get(1, c + PAGE), 'd');
	cr_assert_eq(vm_pa(0, a + 3 * PAGE), vm_pa(0, b));
	cr_assert_eq(vm_pa(1, c + PAGE), vm_pa(0, b));
	cr_assert_eq(vm_frame(0, b)->mapped, 3u, "one for each translation");
	cr_assert_eq(vm_frame(0, b)->refs, 1u, "the cache's");
	vm_put(0, b + 17, 'X');
	cr_assert_eq(vm_get(0, a + 3 * PAGE + 17), 'X');
	cr_assert_eq(vm_get(1, c + PAGE + 17), 'X');
	vm_put(1, c + PAGE + 18, 'Y');
	cr_assert_eq(vm_get(0, b + 18), 'Y');
	mmk_object_unref(object);
	vm_exit(1);
	vm_exit(0);
	cr_assert_eq(f.nr_closes, 1u);
}

Test(rules_s0, S0_13_one_page_of_a_file_is_one_frame)
{
	vm_both(s0_13);
}

/* Regions of two spaces, and a copy of one: whoever maps, the reference is one. */
static void
s0_15(void)
{
	static struct vm_file f;
	struct mmk_object *object = vm_file(&f, 2 * PAGE);
	struct mmk_frame *frame = NULL;
	mmk_va vas[5];

	vm_space(1);
	for (unsigned i = 0; i < 5; i++) {
		vas[i] = vm_mmap(i % 2, 0, 1, RO, MMK_MAP_SHARED, object, 0);
		cr_assert_eq(vm_get(i % 2, vas[i]), 'a');
		frame = vm_frame(i % 2, vas[i]);
		cr_assert_eq(frame->mapped, i + 1);
		cr_assert_eq(frame->refs, 1u, "the cache's");
	}
	vm_fork(2, 0);
	cr_assert_eq(vm_get(2, vas[0]), 'a');
	cr_assert_eq(frame->refs, 1u);
	vm_exit(2);
	for (unsigned i = 0; i < 5; i++) {
		cr_assert_eq(frame->refs, 1u);
		vm_munmap(i % 2, vas[i], 1);
		cr_assert_eq(frame->mapped, 4 - i);
	}
	cr_assert_eq(frame->refs, 1u, "it outlives the last mapping");
	mmk_object_unref(object);
}

Test(rules_s0, S0_15_five_mappings_hold_one_reference)
{
	vm_both(s0_15);
}

static void
s0_16(void)
{
	static struct vm_file f;
	struct mmk_object *object = vm_file(&f, PAGE);
	mmk_va va = vm_mmap(0, 0, 1, RO, MMK_MAP_SHARED, object, 0);
	struct mmk_frame *frame;
	uint64_t nr_reads;

	cr_assert_eq(vm_get(0, va), 'a');
	frame = vm_frame(0, va);
	nr_reads = f.nr_reads;
	cr_assert_gt(nr_reads, 0u);
	vm_munmap(0, va, 1);
	cr_assert_eq(frame->mapped, 0u);
	cr_assert(mmk_frame_is_held(frame), "not freed");
	cr_assert_eq(mmk_object_nr_resident(object), 1u);

	va = vm_mmap(0, 0, 1, RO, MMK_MAP_SHARED, object, 0);
	cr_assert_eq(vm_get(0, va), 'a');
	cr_assert_eq(vm_frame(0, va), frame);
	cr_assert_eq(f.nr_reads, nr_reads, "the same frame, without the pager");
	vm_munmap(0, va, 1);

	cr_assert_eq(mmk_object_evict(object), 1u);
	cr_assert(!mmk_frame_is_held(frame));
	cr_assert_eq(mmk_object_nr_resident(object), 0u);
	va = vm_mmap(0, 0, 1, RO, MMK_MAP_SHARED, object, 0);
	cr_assert_eq(vm_get(0, va), 'a');
	cr_assert_gt(f.nr_reads, nr_reads, "read again");
	mmk_object_unref(object);
}

Test(rules_s0, S0_16_after_the_last_unmap_a_page_can_be_evicted)
{
	vm_both(s0_16);
}

static void
s0_17(void)
{
	static struct vm_file f;
	struct mmk_object *object = vm_file(&f, 4 * PAGE);
	uint64_t nr_anons;
	struct mmk_frame *cached;
	mmk_va va = vm_mmap(0, 0, 4, RW, MMK_MAP_PRIVATE, object, 0);

	cr_assert_eq(vm_get(0, va + PAGE), 'b');
	cached = vm_frame(0, va + PAGE);
	nr_anons = vm_nr_anon_pages();
	vm_put(0, va + PAGE, 'B');
	cr_assert_neq(vm_frame(0, va + PAGE), cached);
	cr_assert_eq(vm_nr_anon_pages(), nr_anons + 1);
	cr_assert_eq(vm_get(0, va + PAGE), 'B');
	cr_assert_eq(vm_get(0, va + PAGE + 1), 'b');
	vm_munmap(0, va, 4);
	cr_assert_eq(vm_nr_anon_pages(), nr_anons, "the private frame is free");
	cr_assert_eq(cached->refs, 1u);
	cr_assert_eq(cached->mapped, 0u);
	cr_assert_eq(*(unsigned char *)mmk_frame_ptr(&t.phys, cached), 'b');
	va = vm_mmap(0, 0, 4, RO, MMK_MAP_PRIVATE, object, 0);
	cr_assert_eq(vm_get(0, va + PAGE), 'b');
	cr_assert_eq(vm_frame(0, va + PAGE), cached);
	mmk_object_unref(object);
}

Test(rules_s0, S0_17_a_private_copy_leaves_the_files_page_alone)
{
	vm_both(s0_17);
}

static void
s0_18(void)
{
	static struct vm_recorder r;
	struct mmk_object *object = vm_recorder(&r, 8);

	vm_mmap(0, VA, 8, RW, MMK_MAP_SHARED | MMK_MAP_FIXED, object, 0);
	for (uint64_t i = 0; i < 8; i += 2)
		vm_put(0, VA + i * PAGE, (int)i + 1);
	vm_anon(0, VA + 2 * PAGE, 3);
	cr_assert_eq(r.nr_unmaps, 2u, "pages 2 and 4 were covered");
	cr_assert_eq(r.unmaps[0].page + r.unmaps[1].page, 6u);
	cr_assert_eq(vm_get(0, VA), 1);
	cr_assert_eq(vm_get(0, VA + 2 * PAGE), 0);
	cr_assert_eq(vm_get(0, VA + 6 * PAGE), 7);
	vm_anon(0, VA, 8);
	cr_assert_eq(r.nr_unmaps, 4u);
	mmk_object_unref(object);
	cr_assert_eq(r.nr_destroys, 1u);
}

Test(rules_s0, S0_18_a_fixed_map_removes_what_was_there)
{
	vm_both(s0_18);
}

static void
s0_19(void)
{
	static struct vm_recorder r;
	struct mmk_object *object = vm_recorder(&r, 8);
	uint64_t nr_copies;

	vm_anon(0, VA, 1);
	vm_put(0, VA, 'H');
	vm_mmap(0, VA + PAGE, 1, RW, MMK_MAP_SHARED | MMK_MAP_FIXED, object, 0);
	vm_put(0, VA + PAGE, 'S');
	vm_fork(1, 0);
	cr_assert_eq(vm_prot(0, VA) & MMK_PROT_WRITE, 0u, "write-protected");
	cr_assert_eq(vm_prot(1, VA) & MMK_PROT_WRITE, 0u);
	nr_copies = vm_count(MMK_COUNT_PAGE_COPY);
	vm_put(1, VA, 'J');
	cr_assert_eq(vm_count(MMK_COUNT_PAGE_COPY), nr_copies + 1);
	vm_put(0, VA, 'M');
	cr_assert_eq(vm_count(MMK_COUNT_PAGE_COPY), nr_copies + 1,
	    "the last owner writes in place");
	cr_assert_eq(vm_get(0, VA), 'M');
	cr_assert_eq(vm_get(1, VA), 'J');

	vm_put(1, VA + PAGE, 'T');
	cr_assert_eq(vm_get(0, VA + PAGE), 'T');
	vm_put(0, VA + PAGE, 'U');
	cr_assert_eq(vm_get(1, VA + PAGE), 'U');
	cr_assert_eq(r.nr_maps, 1u);
	cr_assert_eq(vm_count(MMK_COUNT_PAGE_COPY), nr_copies + 1);
	mmk_object_unref(object);
}

Test(rules_s0, S0_19_private_copies_on_write_shared_never)
{
	vm_both(s0_19);
}

static int
s0_20_fault(void *ctx, unsigned cpu, uint64_t va, unsigned access)
{
	(void)cpu;
	return (int)mmk_fault(ctx, va, access);
}

static void *
s0_20_thread(void *arg)
{
	unsigned cpu = (unsigned)(uintptr_t)arg;

	sim_set_cpu(cpu);
	for (uint64_t i = 0; i < 32; i++) {
		unsigned char byte = 0;

		cr_assert_eq(sim_load(cpu, VA + i * PAGE, &byte, 1), 0);
	}
	return NULL;
}

static void
s0_20(void)
{
	static struct vm_recorder r;
	struct mmk_object *object = vm_recorder(&r, 32);
	pthread_t threads[2];

	vm_mmap(0, VA, 32, RW, MMK_MAP_SHARED | MMK_MAP_FIXED, object, 0);
	/* In turn: the second finds the page established. */
	cr_assert_eq(mmk_fault(vm_map(0), VA, MMK_PROT_READ), MMK_OK);
	cr_assert_eq(mmk_fault(vm_map(0), VA, MMK_PROT_READ), MMK_OK);
	cr_assert_eq(r.nr_maps, 1u);
	cr_assert_eq(r.frames[0]->refs, 1u);
	/* At once: two CPUs over the same pages. */
	vm_run(0, 0);
	vm_run(1, 0);
	sim_on_fault(s0_20_fault, vm_map(0));
	for (uintptr_t i = 0; i < 2; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, s0_20_thread,
		    (void *)i), 0);
	for (int i = 0; i < 2; i++)
		cr_assert_eq(pthread_join(threads[i], NULL), 0);
	cr_assert_eq(r.nr_maps, 32u);
	for (int i = 0; i < 32; i++)
		cr_assert_eq(r.frames[i]->refs, 1u);
	mmk_object_unref(object);
}

Test(rules_s0, S0_20_concurrent_faults_establish_once)
{
	vm_both(s0_20);
}

/* ---- B0: defects of the original that must not come back ------------- */

static void
b0_a(void)
{
	static struct vm_file f;
	struct mmk_object *object = vm_file(&f, 8 * PAGE);

	vm_mmap(0, VA, 8, RO, MMK_MAP_PRIVATE | MMK_MAP_FIXED, object, 0);
	vm_munmap(0, VA, 1);
	cr_assert_eq(vm_get(0, VA + PAGE), 'b');
	vm_munmap(0, VA + 3 * PAGE, 2);
	cr_assert_eq(vm_get(0, VA + 5 * PAGE), 'f');
	cr_assert_eq(vm_get(0, VA + 2 * PAGE), 'c');
	cr_assert_eq(vm_get(0, VA + 7 * PAGE), 'h');
	mmk_object_unref(object);
}

Test(rules_s0, B0_a_trimming_and_splitting_advance_the_offset)
{
	vm_both(b0_a);
}

static void
b0_b(void)
{
	uint64_t nr_copies = vm_count(MMK_COUNT_PAGE_COPY);
	mmk_pa pa;

	vm_anon(0, VA, 2);
	vm_put(0, VA, 1);
	pa = vm_pa(0, VA);
	cr_assert_eq(mmk_mprotect(vm_sp(0), VA, PAGE, RO), MMK_OK);
	cr_assert_eq(mmk_mprotect(vm_sp(0), VA, PAGE, RW), MMK_OK);
	vm_put(0, VA, 2);
	vm_fork(1, 0);
	vm_exit(1);
	vm_put(0, VA, 3);
	cr_assert_eq(vm_pa(0, VA), pa);
	cr_assert_eq(vm_count(MMK_COUNT_PAGE_COPY), nr_copies);
}

Test(rules_s0, B0_b_a_sole_owner_never_copies)
{
	vm_both(b0_b);
}

static void
b0_c(void)
{
	static struct vm_recorder r;
	struct mmk_object *object = vm_recorder(&r, 4);

	vm_mmap(0, VA, 4, RW, MMK_MAP_PRIVATE | MMK_MAP_FIXED, object, 0);
	(void)vm_get(0, VA);
	cr_assert_eq(r.nr_maps, 1u);
	vm_put(0, VA, 'p');
	cr_assert_eq(r.nr_unmaps, r.nr_maps,
	    "the object hears that its page is shown no more");
	cr_assert_null(r.frames[0]);
	cr_assert_eq(vm_get(0, VA), 'p');
	vm_put(0, VA + PAGE, 'q');
	cr_assert_eq(r.nr_unmaps, r.nr_maps);
	vm_munmap(0, VA, 4);
	cr_assert_eq(r.nr_unmaps, r.nr_maps);
	mmk_object_unref(object);
}

Test(rules_s0, B0_c_breaking_a_copy_tells_the_object)
{
	vm_both(b0_c);
}

static void
b0_d(void)
{
	static struct vm_file f;
	struct mmk_object *object = vm_file(&f, 2 * PAGE);
	mmk_va vas[5];

	for (int i = 0; i < 5; i++) {
		vas[i] = vm_mmap(0, 0, 2, RO, MMK_MAP_SHARED, object, 0);
		cr_assert_eq(vm_get(0, vas[i]), 'a');
	}
	cr_assert_eq(vm_frame(0, vas[0])->mapped, 5u);
	cr_assert_eq(vm_frame(0, vas[0])->refs, 1u,
	    "five mappings hold one reference of the cache");
	for (int i = 0; i < 5; i++)
		vm_munmap(0, vas[i], 2);
	cr_assert_gt(mmk_object_nr_resident(object), 0u);
	cr_assert_gt(mmk_object_evict(object), 0u, "it can be evicted");
	cr_assert_eq(mmk_object_nr_resident(object), 0u);
	mmk_object_unref(object);
}

Test(rules_s0, B0_d_many_mappings_hold_one_reference_of_the_cache)
{
	vm_both(b0_d);
}

static void
b0_e(void)
{
	vm_anon(0, VA, 4);
	for (uint64_t i = 0; i < 4; i++)
		vm_put(0, VA + i * PAGE, 'o');
	cr_assert_eq(mmk_mprotect(vm_sp(0), VA, 4 * PAGE, RO), MMK_OK);
	for (uint64_t i = 0; i < 4; i++) {
		cr_assert_eq(vm_prot(0, VA + i * PAGE) & MMK_PROT_WRITE, 0u);
		cr_assert_eq(vm_access(0, VA + i * PAGE, MMK_PROT_WRITE),
		    MMK_ERR_ACCESS);
	}
	vm_fork(1, 0);
	cr_assert_eq(mmk_mprotect(vm_sp(0), VA, 4 * PAGE, RW), MMK_OK);
	for (uint64_t i = 0; i < 4; i++)
		vm_put(0, VA + i * PAGE, 'n');
	for (uint64_t i = 0; i < 4; i++)
		cr_assert_eq(vm_get(1, VA + i * PAGE), 'o');
}

Test(rules_s0, B0_e_mprotect_reaches_every_page_and_respects_copies)
{
	vm_both(b0_e);
}

static void
b0_f(void)
{
	static struct vm_file f;
	static struct mmk_file_ops ops;
	struct mmk_object *object = vm_file(&f, 2 * PAGE);
	mmk_va va, got_va;

	ops = vm_file_ops;
	ops.write = NULL;
	f.file.ops = &ops;
	va = vm_mmap(0, 0, 2, RO, MMK_MAP_PRIVATE, object, 0);
	cr_assert_eq(vm_get(0, va), 'a');
	cr_assert_eq(mmk_mprotect(vm_sp(0), va, 2 * PAGE, RW), MMK_OK);
	vm_put(0, va, 'z');
	cr_assert_eq(vm_get(0, va), 'z');
	/* Shared it is refused: now, and later. */
	cr_assert_eq(mmk_mmap(vm_sp(0), 0, PAGE, RW, RO, MMK_MAP_SHARED, object,
	    0, &got_va), MMK_ERR_ACCESS);
	cr_assert_eq(mmk_mmap(vm_sp(0), 0, PAGE, RO, RO, MMK_MAP_SHARED, object,
	    0, &got_va), MMK_OK);
	cr_assert_eq(mmk_mprotect(vm_sp(0), got_va, PAGE, RW), MMK_ERR_ACCESS);
	mmk_object_unref(object);
}

Test(rules_s0, B0_f_private_pages_of_a_readonly_file_may_be_written)
{
	vm_both(b0_f);
}

static void
b0_g(void)
{
	uint64_t nr_anons = vm_nr_anon_pages();

	vm_anon(0, VA, 2);
	vm_put(0, VA, 1);
	vm_munmap(0, VA, 2);
	cr_assert_eq(vm_access(0, VA, MMK_PROT_READ), MMK_ERR_NOENT);
	cr_assert_eq(vm_nr_anon_pages(), nr_anons);
}

Test(rules_s0, B0_g_munmap_unmaps)
{
	vm_both(b0_g);
}

static void
b0_h(void)
{
	static struct vm_file f;
	struct mmk_object *object = vm_file(&f, 8 * PAGE);
	mmk_va to_va = VA + 64 * PAGE, va = 0;
	uint64_t before;

	vm_mmap(0, VA, 8, RW, MMK_MAP_PRIVATE | MMK_MAP_FIXED, object, 0);
	vm_put(0, VA + 4 * PAGE, 'E');
	cr_assert_eq(mmk_mremap(vm_sp(0), VA + 3 * PAGE, 3 * PAGE, 3 * PAGE,
	    MMK_REMAP_MAYMOVE | MMK_REMAP_FIXED, to_va, &va), MMK_OK);
	cr_assert_eq(va, to_va);
	cr_assert_eq(vm_get(0, to_va), 'd');
	cr_assert_eq(vm_get(0, to_va + PAGE), 'E');
	cr_assert_eq(vm_get(0, to_va + PAGE + 1), 'e');
	cr_assert_eq(vm_get(0, to_va + 2 * PAGE), 'f');
	cr_assert_eq(vm_get(0, VA + 2 * PAGE), 'c', "the rest has stayed");
	cr_assert_eq(vm_get(0, VA + 6 * PAGE), 'g');
	cr_assert_eq(vm_access(0, VA + 3 * PAGE, MMK_PROT_READ),
	    MMK_ERR_NOENT);

	before = vm_digest(0);
	cr_assert_eq(mmk_mremap(vm_sp(0), to_va, 3 * PAGE, 3 * PAGE,
	    MMK_REMAP_MAYMOVE | MMK_REMAP_FIXED, to_va + PAGE, &va),
	    MMK_ERR_INVAL);
	cr_assert_eq(mmk_mremap(vm_sp(0), to_va, PAGE, 3 * PAGE,
	    MMK_REMAP_MAYMOVE | MMK_REMAP_FIXED, to_va - 2 * PAGE, &va),
	    MMK_ERR_INVAL);
	cr_assert_eq(vm_digest(0), before);
	cr_assert_eq(vm_get(0, to_va + PAGE), 'E');
	mmk_object_unref(object);
}

Test(rules_s0, B0_h_mremap_moves_parts_and_refuses_overlap)
{
	vm_both(b0_h);
}

static void
b0_i(void)
{
	mmk_va to_va = VA + 32 * PAGE, va = 0;

	vm_anon(0, VA, 4);
	vm_put(0, VA, 1);
	vm_anon(0, to_va, 2);
	vm_put(0, to_va, 9);
	/* It would fit where it is; it was told to go. */
	cr_assert_eq(mmk_mremap(vm_sp(0), VA, 4 * PAGE, 2 * PAGE,
	    MMK_REMAP_MAYMOVE | MMK_REMAP_FIXED, to_va, &va), MMK_OK);
	cr_assert_eq(va, to_va);
	cr_assert_eq(vm_get(0, to_va), 1);
	cr_assert_eq(vm_access(0, VA, MMK_PROT_READ), MMK_ERR_NOENT);
	cr_assert_eq(vm_access(0, VA + 2 * PAGE, MMK_PROT_READ),
	    MMK_ERR_NOENT);
	cr_assert_eq(mmk_mremap(vm_sp(0), to_va, 2 * PAGE, 6 * PAGE,
	    MMK_REMAP_MAYMOVE | MMK_REMAP_FIXED, VA, &va), MMK_OK);
	cr_assert_eq(va, VA);
	cr_assert_eq(vm_get(0, VA), 1);
	vm_put(0, VA + 5 * PAGE, 5);
}

Test(rules_s0, B0_i_mremap_fixed_is_obeyed)
{
	vm_both(b0_i);
}

static void
b0_j(void)
{
	vm_space(1);
	vm_anon(0, VA, 1);
	vm_anon(1, VA, 1);
	vm_put(0, VA, 1);
	/* A fault of another space than the one the CPU runs. */
	vm_run(0, 0);
	cr_assert_eq(mmk_fault(vm_map(1), VA, MMK_PROT_WRITE), MMK_OK);
	cr_assert_neq(vm_pa(1, VA), UINT64_MAX);
	cr_assert_eq(mmk_fault(vm_map(1), VA + PAGE, MMK_PROT_WRITE),
	    MMK_ERR_NOENT);
	/* Every lock is free again, of either. */
	vm_put(1, VA, 2);
	cr_assert_eq(vm_get(0, VA), 1);
	vm_fork(2, 1);
	vm_put(2, VA, 3);
	cr_assert_eq(vm_get(1, VA), 2);
}

Test(rules_s0, B0_j_a_fault_of_another_space_locks_that_space)
{
	vm_both(b0_j);
}

static void
b0_k_run(unsigned arch)
{
	struct sim_config config = { .ram_bytes = 8u << 20,
		.base_pa = (uint64_t)1 << 30, .nr_cpus = 1, .arch = arch };
	mmk_pa pas[] = { 0, 0x1000, ((uint64_t)1 << 30) - 4096,
		((uint64_t)1 << 30) + (8u << 20), (uint64_t)1 << 36 };

	vm_boot_with(&config, NULL);
	vm_space(0);
	for (size_t i = 0; i < sizeof pas / sizeof pas[0]; i++) {
		struct mmk_object *object;
		mmk_va va;

		cr_assert_null(mmk_frame_of_pa(&t.phys, pas[i]));
		cr_assert(!mmk_pa_ref(&t.phys, pas[i]));
		cr_assert(!mmk_pa_unref(&t.phys, pas[i]));
		cr_assert_eq(mmk_device_create(&t.vm, pas[i], 1, true, &object),
		    MMK_OK);
		va = vm_mmap(0, 0, 1, RW, MMK_MAP_SHARED, object, 0);
		cr_assert_eq(mmk_fault(vm_map(0), va, MMK_PROT_WRITE), MMK_OK);
		cr_assert_eq(vm_pa(0, va), pas[i]);
		vm_fork(1, 0);
		vm_munmap(0, va, 1);
		vm_exit(1);
		mmk_object_unref(object);
	}
	vm_end();
}

Test(rules_s0, B0_k_addresses_outside_ram_are_harmless)
{
	b0_k_run(SIM_ARCH_X86_64);
	b0_k_run(SIM_ARCH_AARCH64);
}

static void
b0_l(void)
{
	uint64_t nr_pages = 1024, nr_copies;

	/* A region that a large page would fit, taken apart page by page. */
	vm_anon(0, VA, nr_pages);
	for (uint64_t i = 0; i < nr_pages; i += 64)
		vm_put(0, VA + i * PAGE, (int)(i / 64) + 1);
	vm_fork(1, 0);
	nr_copies = vm_count(MMK_COUNT_PAGE_COPY);
	vm_put(1, VA + 64 * PAGE, 99);
	cr_assert_eq(vm_count(MMK_COUNT_PAGE_COPY), nr_copies + 1);
	for (uint64_t i = 1; i < nr_pages; i += 64)
		vm_munmap(0, VA + i * PAGE, 63);
	for (uint64_t i = 0; i < nr_pages; i += 64) {
		cr_assert_eq(vm_get(0, VA + i * PAGE), (int)(i / 64) + 1);
		cr_assert_eq(vm_access(0, VA + (i + 1) * PAGE, MMK_PROT_READ),
		    MMK_ERR_NOENT);
	}
	cr_assert_eq(vm_get(1, VA + 64 * PAGE), 99);
}

Test(rules_s0, B0_l_large_regions_are_taken_apart_page_by_page)
{
	vm_both(b0_l);
}

static void
b0_m(void)
{
	static const unsigned accesses[] = { MMK_PROT_READ, MMK_PROT_WRITE,
		MMK_PROT_EXEC };

	for (unsigned prot = 0; prot <= ALL; prot++) {
		mmk_va va = vm_mmap(0, 0, 3, prot, ANON_PRIVATE, NULL, 0);

		for (uint64_t i = 0; i < 3; i++) {
			enum mmk_err err = vm_access(0, va + i * PAGE,
			    accesses[i]);

			/* An architecture may grant reading with the rest. */
			if ((prot & accesses[i]) != 0)
				cr_assert_eq(err, MMK_OK, "%u of %u",
				    accesses[i], prot);
			else if (prot == 0 || i > 0)
				cr_assert_eq(err, MMK_ERR_ACCESS, "%u of %u",
				    accesses[i], prot);
		}
		vm_munmap(0, va, 3);
	}
}

Test(rules_s0, B0_m_rights_are_checked_before_anything_is_mapped)
{
	vm_both(b0_m);
}

static void
b0_n(void)
{
	unsigned char byte;
	mmk_va va;

	vm_anon(0, VA, 4);
	vm_put(0, VA, 7);
	va = vm_mmap(0, VA, 2, RW, ANON_PRIVATE, NULL, 0);
	cr_assert(va + 2 * PAGE <= VA || va >= VA + 4 * PAGE,
	    "a hint replaces nothing");
	cr_assert_eq(vm_get(0, VA), 7);
	va = vm_mmap(0, VA + 100 * PAGE + 5, 2, RW, ANON_PRIVATE, NULL, 0);
	cr_assert_eq(va, VA + 100 * PAGE, "a hint that is free is taken");

	/* Two CPUs in one space: what one unmaps the other cannot reach. */
	vm_run(0, 0);
	vm_run(1, 0);
	cr_assert_eq(sim_load(1, VA, &byte, 1), 0);
	cr_assert_eq(byte, 7);
	sim_set_cpu(0);
	vm_munmap(0, VA, 1);
	cr_assert_eq(sim_load(1, VA, &byte, 1), (int)MMK_ERR_NOENT);
	cr_assert_eq(sim_store(1, VA + PAGE, "x", 1), 0);
	sim_set_cpu(0);
	cr_assert_eq(mmk_mprotect(vm_sp(0), VA + PAGE, PAGE, RO), MMK_OK);
	cr_assert_eq(sim_store(1, VA + PAGE, "y", 1), (int)MMK_ERR_ACCESS);
}

Test(rules_s0, B0_n_hints_replace_nothing_and_every_cpu_is_flushed)
{
	vm_both(b0_n);
}
