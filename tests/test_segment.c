/* SPDX-License-Identifier: MIT
 *
 * tests/test_segment.c: descriptors and their segments, without page tables
 */
#include "frame_fixture.h"

#include <pthread.h>

#include "mmkit/kva/segment.h"

#define GRANULE (4 * MMK_PAGE_BYTES) /* Andromeda's */
#define BASE UINT64_C(0x40000000)
#define TOP ((mmk_va)1 << 40)
#define HEAP_VA UINT64_C(0x80000000)
#define HEAP_BYTES (64 * GRANULE)

static struct mmk_segment_sys sys;

static void
begin(void)
{
	struct mmk_segment_config config = { .phys = &phys, .max_va = TOP };

	boot();
	cr_assert_eq(mmk_segment_sys_init(&sys, &config), MMK_OK);
}

/* Every descriptor of a task is gone, and so is what it held. */
static void
end(void)
{
	sim_fail_at(0);
	cr_assert(mmk_segment_sys_check(&sys));
	mmk_segment_sys_fini(&sys);
	fini();
}

TestSuite(segment, .init = begin, .fini = end);

static struct mmk_descriptor *
task(uint64_t pid)
{
	struct mmk_descriptor *descriptor = NULL;

	cr_assert_eq(mmk_descriptor_create(&sys, pid, &descriptor), MMK_OK);
	return descriptor;
}

static void
end_task(struct mmk_descriptor *descriptor)
{
	cr_assert(mmk_descriptor_check(descriptor));
	cr_assert_eq(mmk_descriptor_destroy(descriptor), MMK_OK);
	cr_assert(mmk_segment_sys_check(&sys));
}

static enum mmk_err
try_segment(struct mmk_descriptor *descriptor, mmk_va va, uint64_t bytes,
    bool has_allocator, struct mmk_segment **segment_out)
{
	struct mmk_segment_args args = { ".data", va, bytes, has_allocator };
	uint64_t nr_before = descriptor->segments.nr_nodes;
	uint32_t nr_descriptors = sys.reserve.nr_free;
	enum mmk_err err = mmk_segment_create(descriptor, &args, segment_out);

	if (err != MMK_OK) {
		cr_assert_eq(descriptor->segments.nr_nodes, nr_before);
		cr_assert_eq(sys.reserve.nr_free, nr_descriptors);
	}
	cr_assert(mmk_descriptor_check(descriptor));
	return err;
}

static struct mmk_segment *
segment_at(struct mmk_descriptor *descriptor, mmk_va va, uint64_t bytes,
    bool has_allocator)
{
	struct mmk_segment *segment = NULL;

	cr_assert_eq(try_segment(descriptor, va, bytes, has_allocator,
	                 &segment),
	    MMK_OK);
	return segment;
}

static struct mmk_segment *
kernel_heap(void)
{
	struct mmk_segment_args args = { MMK_SEGMENT_HEAP, HEAP_VA, HEAP_BYTES,
		true };
	struct mmk_segment *heap = NULL;

	cr_assert_eq(mmk_segment_create(&sys.kernel, &args, &heap), MMK_OK);
	return heap;
}

/* `call` ends with `err`; the bytes of the segment stay as they are. */
#define REFUSED(segment, call, err)                                        \
	do {                                                               \
		struct mmk_segment *seg = (segment);                       \
		struct mmk_ranges before = seg->ranges;                    \
		mmk_va end_va = seg->end_va;                               \
		uint64_t nr_runs = seg->saved.runs.nr_nodes;               \
		cr_assert_eq(call, err, #call);                            \
		cr_assert_eq(seg->end_va, end_va);                         \
		cr_assert_eq(seg->saved.runs.nr_nodes, nr_runs);           \
		cr_assert_eq(memcmp(before.nr_ranges, seg->ranges.nr_ranges, \
		                 sizeof before.nr_ranges), 0);             \
		cr_assert_eq(memcmp(before.state_bytes,                    \
		                 seg->ranges.state_bytes,                  \
		                 sizeof before.state_bytes), 0);           \
		cr_assert(mmk_descriptor_check(seg->descriptor));          \
	} while (0)

/* Save one extent, as face/task.h would. */
static enum mmk_err
save(struct mmk_segment *segment, mmk_va va, mmk_pa pa, uint64_t nr_pages)
{
	struct mmk_saved_extent extent = { pa, nr_pages };
	enum mmk_err err;

	MMKIT_MUTEX_LOCK(&segment->descriptor->mutex);
	err = mmk_segment_save_locked(segment, va, &extent, 1, MMK_PROT_READ);
	MMKIT_MUTEX_UNLOCK(&segment->descriptor->mutex);
	return err;
}

static void
forget(struct mmk_segment *segment, mmk_va va)
{
	MMKIT_MUTEX_LOCK(&segment->descriptor->mutex);
	mmk_segment_forget_locked(segment, va);
	MMKIT_MUTEX_UNLOCK(&segment->descriptor->mutex);
}

/* ---- the rules ----------------------------------------------------------- */

Test(segment, S3_1_a_new_descriptor_has_a_pid_and_no_segments)
{
	struct mmk_descriptor *descriptor = task(42);

	cr_assert_eq(descriptor->pid, 42);
	cr_assert_eq(descriptor->privilege, MMK_PRIVILEGE_USER);
	cr_assert_eq(descriptor->segments.nr_nodes, 0);
	cr_assert_eq(sys.kernel.privilege, MMK_PRIVILEGE_KERNEL);
	cr_assert_eq(sys.kernel.segments.nr_nodes, 0);
	end_task(descriptor);
}

Test(segment, S3_2_a_segment_has_base_size_and_one_parent)
{
	struct mmk_descriptor *one = task(1), *two = task(2);
	struct mmk_segment *segment = segment_at(one, BASE, 3 * GRANULE, true);

	cr_assert_eq(segment->start_va, BASE);
	cr_assert_eq(mmk_segment_bytes(segment), 3 * GRANULE);
	cr_assert_eq(segment->descriptor, one);
	cr_assert_str_eq(segment->name, ".data");
	MMKIT_MUTEX_LOCK(&one->mutex);
	cr_assert_eq(mmk_segment_find_locked(one, BASE), segment);
	cr_assert_eq(mmk_segment_find_locked(one, 0), segment);
	cr_assert_eq(mmk_segment_find_locked(one, BASE + 3 * GRANULE - 1),
	    segment);
	cr_assert_null(mmk_segment_find_locked(one, BASE + 3 * GRANULE));
	MMKIT_MUTEX_UNLOCK(&one->mutex);
	cr_assert_eq(two->segments.nr_nodes, 0);
	end_task(one);
	end_task(two);
}

Test(segment, S3_5_no_memory_is_an_error_and_no_leak)
{
	struct mmk_descriptor *descriptor = NULL;

	sim_fail_at(1);
	cr_assert_eq(mmk_descriptor_create(&sys, 1, &descriptor),
	    MMK_ERR_NOMEM);
	cr_assert_null(descriptor);
	sim_fail_at(0);
	cr_assert(mmk_list_is_empty(&sys.descriptors));
}

Test(segment, S3_6_overlap_is_refused_within_a_descriptor_only)
{
	struct mmk_descriptor *one = task(1), *two = task(2);
	struct mmk_segment *segment = segment_at(one, BASE, 1, false);
	struct mmk_segment *no = NULL;

	cr_assert_eq(mmk_segment_bytes(segment), GRANULE, "rounded up");
	cr_assert_eq(try_segment(one, BASE, 1, true, &no), MMK_ERR_EXIST);
	cr_assert_eq(try_segment(one, BASE + GRANULE - MMK_PAGE_BYTES, 1, true,
	                 &no),
	    MMK_ERR_EXIST);
	cr_assert_eq(try_segment(one, BASE - MMK_PAGE_BYTES, 1, false, &no),
	    MMK_ERR_EXIST);
	cr_assert_eq(try_segment(one, BASE - GRANULE, 3 * GRANULE, false, &no),
	    MMK_ERR_EXIST);
	cr_assert_null(no);
	(void)segment_at(one, BASE - GRANULE, GRANULE, true);
	(void)segment_at(one, BASE + GRANULE, GRANULE, true);
	(void)segment_at(two, BASE, 2 * GRANULE, true);
	end_task(one);
	end_task(two);
}

Test(segment, S3_6_bad_bounds_and_names_are_errors)
{
	struct mmk_descriptor *one = task(1);
	struct mmk_segment_args args = { .start_va = BASE, .bytes = 1,
		.name = "a name of exactly thirty-two....." };
	struct mmk_segment *no = NULL;

	cr_assert_eq(try_segment(one, BASE, 0, true, &no), MMK_ERR_INVAL);
	cr_assert_eq(try_segment(one, BASE + 1, 1, true, &no), MMK_ERR_INVAL);
	cr_assert_eq(try_segment(one, TOP, 1, true, &no), MMK_ERR_INVAL);
	cr_assert_eq(try_segment(one, TOP - MMK_PAGE_BYTES, 1, true, &no),
	    MMK_ERR_INVAL, "rounding up goes over the top");
	cr_assert_eq(try_segment(one, BASE, UINT64_MAX, true, &no),
	    MMK_ERR_INVAL);
	cr_assert_eq(try_segment(one, BASE, UINT64_MAX - BASE + 1, false, &no),
	    MMK_ERR_INVAL);
	cr_assert_eq(mmk_segment_create(one, &args, &no), MMK_ERR_INVAL);
	args.name = "a name of thirty-one characters";
	cr_assert_eq(mmk_segment_create(one, &args, &no), MMK_OK);
	cr_assert_str_eq(no->name, args.name);
	(void)segment_at(one, TOP - GRANULE, GRANULE, true);
	end_task(one);
}

Test(segment, S3_7_grow_into_a_gap_and_not_onto_a_neighbour)
{
	struct mmk_descriptor *one = task(1), *two = task(2);
	struct mmk_segment *heap = segment_at(one, BASE, 2 * GRANULE, true);
	mmk_va va;

	(void)segment_at(one, BASE + 8 * GRANULE, GRANULE, false);
	(void)segment_at(two, BASE + 2 * GRANULE, GRANULE, true);
	cr_assert_eq(mmk_segment_grow(heap, 1), MMK_OK);
	cr_assert_eq(mmk_segment_bytes(heap), 3 * GRANULE);
	cr_assert_eq(mmk_segment_alloc(heap, 3 * GRANULE, &va), MMK_OK);
	cr_assert_eq(va, BASE);
	REFUSED(heap, mmk_segment_grow(heap, 6 * GRANULE), MMK_ERR_EXIST);
	REFUSED(heap, mmk_segment_grow(heap, 0), MMK_ERR_INVAL);
	REFUSED(heap, mmk_segment_grow(heap, TOP), MMK_ERR_INVAL);
	REFUSED(heap, mmk_segment_grow(heap, UINT64_MAX), MMK_ERR_INVAL);
	REFUSED(heap, mmk_segment_grow(heap, UINT64_MAX - BASE),
	    MMK_ERR_INVAL);
	cr_assert_eq(mmk_segment_grow(heap, 5 * GRANULE), MMK_OK);
	cr_assert_eq(mmk_segment_alloc(heap, 5 * GRANULE, &va), MMK_OK);
	REFUSED(heap, mmk_segment_grow(heap, GRANULE), MMK_ERR_EXIST);
	end_task(one);
	end_task(two);
}

Test(segment, S3_8_a_segment_without_an_allocator_only_gets_larger)
{
	struct mmk_descriptor *one = task(1);
	struct mmk_segment *text = segment_at(one, BASE, GRANULE, false);
	uint32_t nr_descriptors = sys.reserve.nr_free;
	mmk_va va;

	cr_assert_eq(mmk_segment_grow(text, GRANULE), MMK_OK);
	cr_assert_eq(mmk_segment_bytes(text), 2 * GRANULE);
	cr_assert_eq(sys.reserve.nr_free, nr_descriptors);
	cr_assert_eq(mmk_segment_alloc(text, GRANULE, &va), MMK_ERR_INVAL);
	cr_assert_eq(mmk_segment_free(text, BASE), MMK_ERR_INVAL);
	end_task(one);
}

Test(segment, S3_9_clean_forgets_ranges_in_every_state)
{
	struct mmk_descriptor *one = task(1);
	struct mmk_segment *segment = segment_at(one, BASE, 8 * GRANULE, true);
	mmk_va a, b;

	cr_assert_eq(mmk_segment_alloc(segment, GRANULE, &a), MMK_OK);
	cr_assert_eq(mmk_segment_alloc(segment, GRANULE, &b), MMK_OK);
	cr_assert_eq(save(segment, b, 0xfe000000, 2), MMK_OK);
	cr_assert(mmk_descriptor_check(one));
	mmk_segment_clean(segment);
	cr_assert_eq(one->segments.nr_nodes, 0);
	cr_assert_eq(sys.reserve.nr_used, 0);
	cr_assert_eq(mmk_pool_nr_used(&sys.saved_pool), 0);
	(void)segment_at(one, BASE, GRANULE, true);
	end_task(one);
}

Test(segment, S3_10_destroy_cleans_what_is_left)
{
	struct mmk_descriptor *none = task(1), *some = task(2), *all = task(3);

	end_task(none);
	for (unsigned i = 0; i < 5; i++)
		(void)segment_at(some, BASE + i * 2 * GRANULE, GRANULE, i & 1);
	end_task(some);
	mmk_segment_clean(segment_at(all, BASE, GRANULE, true));
	end_task(all);
	cr_assert_eq(sys.reserve.nr_used, 0);
	cr_assert_eq(mmk_pool_nr_used(&sys.segment_pool), 0);
}

Test(segment, S3_10_a_loaded_task_and_the_kernel_are_not_destroyed)
{
	struct mmk_descriptor *one = task(1);
	struct mmk_segment *segment = segment_at(one, BASE, GRANULE, true);

	segment->loaded[0] = 2;
	REFUSED(segment, mmk_descriptor_destroy(one), MMK_ERR_BUSY);
	segment->loaded[0] = 0;
	end_task(one);
	cr_assert_eq(mmk_descriptor_destroy(&sys.kernel), MMK_ERR_INVAL);
}

Test(segment, S3_14_the_heap_is_there_if_set_up_correctly)
{
	struct mmk_descriptor *one = task(1);
	struct mmk_segment_args args = { MMK_SEGMENT_HEAP, BASE, HEAP_BYTES,
		true };
	struct mmk_segment *segment, *heap;
	mmk_va va = 7;

	cr_assert_eq(mmk_segment_heap_alloc(&sys, 1, &va), MMK_ERR_NOENT);
	cr_assert_eq(mmk_segment_create(one, &args, &segment), MMK_OK);
	cr_assert_eq(mmk_segment_heap_alloc(&sys, 1, &va), MMK_ERR_NOENT,
	    "a task's");
	args.has_allocator = false;
	cr_assert_eq(mmk_segment_create(&sys.kernel, &args, &segment), MMK_OK);
	cr_assert_eq(mmk_segment_heap_alloc(&sys, 1, &va), MMK_ERR_NOENT,
	    "no allocator");
	args = (struct mmk_segment_args){ ".heap2", BASE + HEAP_BYTES,
		HEAP_BYTES, true };
	cr_assert_eq(mmk_segment_create(&sys.kernel, &args, &segment), MMK_OK);
	cr_assert_eq(mmk_segment_heap_free(&sys, BASE), MMK_ERR_NOENT);
	cr_assert_eq(va, 7);
	heap = kernel_heap();
	cr_assert_eq(sys.heap, heap);
	cr_assert_eq(mmk_segment_heap_alloc(&sys, 1, &va), MMK_OK);
	cr_assert_eq(va, HEAP_VA);
	mmk_segment_clean(heap);
	cr_assert_eq(mmk_segment_heap_alloc(&sys, 1, &va), MMK_ERR_NOENT);
	end_task(one);
}

Test(segment, S3_15_heap_pages_come_back_as_one_range)
{
	struct mmk_segment *heap = kernel_heap();
	mmk_va a, b;

	cr_assert_eq(mmk_segment_heap_alloc(&sys, 0x1000, &a), MMK_OK);
	cr_assert_eq(mmk_segment_heap_alloc(&sys, 0xb1aa7, &b), MMK_OK);
	cr_assert_neq(a, b);
	cr_assert_eq(mmk_segment_heap_free(&sys, b), MMK_OK);
	cr_assert_eq(mmk_segment_heap_free(&sys, a), MMK_OK);
	cr_assert_eq(heap->ranges.nr_ranges[MMK_RANGE_FREE], 1);
	cr_assert_eq(heap->ranges.state_bytes[MMK_RANGE_FREE], HEAP_BYTES);
	REFUSED(heap, mmk_segment_heap_free(&sys, a), MMK_ERR_NOENT);
}

Test(segment, S3_24_two_clients_of_the_heap_never_overlap)
{
	static mmk_va slab[20], module[20];
	struct mmk_segment *heap = kernel_heap();
	static unsigned char owner[64];

	for (unsigned i = 0; i < 16; i++) {
		cr_assert_eq(mmk_segment_heap_alloc(&sys, GRANULE, &slab[i]),
		    MMK_OK);
		cr_assert_eq(mmk_segment_heap_alloc(&sys, 2 * GRANULE,
		                 &module[i]),
		    MMK_OK);
		if (i % 3 == 2)
			cr_assert_eq(mmk_segment_heap_free(&sys, slab[i - 1]),
			    MMK_OK);
		if (i % 3 == 2)
			slab[i - 1] = 0;
	}
	for (unsigned i = 0; i < 16; i++) {
		unsigned at = (unsigned)((module[i] - HEAP_VA) / GRANULE);

		cr_assert_eq(owner[at]++, 0);
		cr_assert_eq(owner[at + 1]++, 0);
		if (slab[i] == 0)
			continue;
		at = (unsigned)((slab[i] - HEAP_VA) / GRANULE);
		cr_assert_eq(owner[at]++, 0);
	}
	cr_assert(mmk_segment_sys_check(&sys));
	(void)heap;
}

Test(segment, S3_25_at_low_water_the_heap_asks_for_no_memory)
{
	struct mmk_segment *heap = kernel_heap();
	uint64_t nr_used, nr_points;
	mmk_va va[16];

	while (!mmk_range_is_low(&sys.reserve))
		cr_assert_eq(mmk_segment_heap_alloc(&sys, GRANULE, &va[0]),
		    MMK_OK);
	nr_used = mmk_pool_nr_used(&sys.range_pool);
	sim_fail_at(0);
	nr_points = sim_fail_count();
	for (unsigned i = 0; i < 14; i++)
		cr_assert_eq(mmk_segment_heap_alloc(&sys, GRANULE, &va[i]),
		    MMK_OK);
	for (unsigned i = 0; i < 14; i++)
		cr_assert_eq(mmk_segment_heap_free(&sys, va[i]), MMK_OK);
	cr_assert_eq(sim_fail_count() - nr_points, 14,
	    "only the reserve was asked, once for each range");
	cr_assert_eq(mmk_pool_nr_used(&sys.range_pool), nr_used);
	cr_assert_eq(mmk_range_refill(&sys.reserve), MMK_OK);
	cr_assert_not(mmk_range_is_low(&sys.reserve));
	(void)heap;
}

/* ---- what is saved ------------------------------------------------------- */

Test(segment, S3_18_what_is_saved_makes_a_range_mapped)
{
	struct mmk_descriptor *one = task(1);
	struct mmk_segment *heap = segment_at(one, BASE, 8 * GRANULE, true);
	mmk_va va;

	cr_assert_eq(mmk_segment_alloc(heap, 2 * GRANULE, &va), MMK_OK);
	REFUSED(heap, save(heap, va, 1, 1), MMK_ERR_INVAL);
	REFUSED(heap, save(heap, va, 0, 0), MMK_ERR_INVAL);
	REFUSED(heap, save(heap, va, 0, 9), MMK_ERR_INVAL);
	REFUSED(heap, save(heap, va, 0, UINT64_MAX), MMK_ERR_INVAL);
	REFUSED(heap, save(heap, va, -MMK_PAGE_BYTES, 2), MMK_ERR_INVAL);
	REFUSED(heap, save(heap, va + 1, 0, 1), MMK_ERR_NOENT);
	REFUSED(heap, save(heap, va + GRANULE, 0, 1), MMK_ERR_NOENT);
	REFUSED(heap, save(heap, BASE - GRANULE, 0, 1), MMK_ERR_NOENT);
	REFUSED(heap, save(heap, heap->end_va, 0, 1), MMK_ERR_NOENT);
	cr_assert_eq(save(heap, va, 0xfe000000, 8), MMK_OK);
	cr_assert_eq(heap->ranges.nr_ranges[MMK_RANGE_MAPPED], 1);
	REFUSED(heap, save(heap, va, 0xfe000000, 8), MMK_ERR_EXIST);
	REFUSED(heap, mmk_segment_free(heap, va), MMK_ERR_BUSY);
	forget(heap, va);
	cr_assert_eq(mmk_segment_free(heap, va), MMK_OK);
	end_task(one);
}

Test(segment, without_an_allocator_mappings_may_be_anywhere_but_not_overlap)
{
	struct mmk_descriptor *one = task(1);
	struct mmk_segment *text = segment_at(one, BASE, 4 * GRANULE, false);
	mmk_va va = BASE + 3 * MMK_PAGE_BYTES;

	cr_assert_eq(save(text, va, 0x1000000, 4), MMK_OK);
	REFUSED(text, save(text, va - MMK_PAGE_BYTES, 0, 2), MMK_ERR_EXIST);
	REFUSED(text, save(text, va + 3 * MMK_PAGE_BYTES, 0, 1),
	    MMK_ERR_EXIST);
	REFUSED(text, save(text, BASE, 0, 16), MMK_ERR_EXIST);
	REFUSED(text, save(text, BASE + 8 * MMK_PAGE_BYTES, 0, 9),
	    MMK_ERR_INVAL);
	REFUSED(text, save(text, va + 4 * MMK_PAGE_BYTES + 1, 0, 1),
	    MMK_ERR_INVAL);
	cr_assert_eq(save(text, BASE, 0, 3), MMK_OK);
	cr_assert_eq(save(text, va + 4 * MMK_PAGE_BYTES, 0, 9), MMK_OK);
	cr_assert_eq(text->saved.runs.nr_nodes, 3);
	forget(text, va);
	cr_assert_null(mmk_saved_mapping(&text->saved, va));
	end_task(one);
}

Test(segment, a_mapping_of_several_extents_goes_as_one)
{
	struct mmk_descriptor *one = task(1);
	struct mmk_segment *text = segment_at(one, BASE, 4 * GRANULE, false);
	struct mmk_saved_extent extents[3] = { { 0x9000, 1 }, { 0x4000, 2 },
		{ 0xfe000000, 1 } };
	const struct mmk_saved_run *run;

	MMKIT_MUTEX_LOCK(&one->mutex);
	for (uint64_t k = 1; k <= 3; k++) {
		sim_fail_at(k);
		cr_assert_eq(mmk_segment_save_locked(text, BASE, extents, 3,
		                 5),
		    MMK_ERR_NOMEM);
		cr_assert_eq(mmk_pool_nr_used(&sys.saved_pool), 0);
	}
	sim_fail_at(0);
	cr_assert_eq(mmk_segment_save_locked(text, BASE, extents, 3, 5),
	    MMK_OK);
	cr_assert_eq(mmk_segment_save_locked(text, BASE + GRANULE, extents, 1,
	                 5),
	    MMK_OK);
	run = mmk_saved_mapping(&text->saved, BASE);
	cr_assert_eq(run->pa, 0x9000);
	run = mmk_saved_next(&text->saved, run);
	cr_assert_eq(run->pa, 0x4000);
	cr_assert_eq(mmk_saved_pages(run), 2);
	cr_assert_not(run->is_first);
	cr_assert_null(mmk_saved_mapping(&text->saved, mmk_saved_start(run)));
	mmk_segment_forget_locked(text, BASE);
	cr_assert_eq(mmk_pool_nr_used(&sys.saved_pool), 1);
	MMKIT_MUTEX_UNLOCK(&one->mutex);
	end_task(one);
}

/* ---- defects of the original --------------------------------------------- */

Test(segment, B3_f_grow_compares_addresses_and_lets_go_of_everything)
{
	struct mmk_descriptor *one = task(1);
	struct mmk_segment *low = segment_at(one, BASE, GRANULE, true);
	struct mmk_segment *high =
	    segment_at(one, BASE + 100 * GRANULE, GRANULE, true);
	mmk_va va;

	/* A size below every address, and above the distance. */
	REFUSED(low, mmk_segment_grow(low, 100 * GRANULE), MMK_ERR_EXIST);
	cr_assert_eq(mmk_segment_grow(low, 99 * GRANULE), MMK_OK);
	cr_assert_eq(mmk_segment_alloc(low, 100 * GRANULE, &va), MMK_OK);
	cr_assert_eq(mmk_segment_alloc(high, GRANULE, &va), MMK_OK,
	    "it was looked at, and is not locked");
	cr_assert_eq(mmk_segment_grow(high, GRANULE), MMK_OK);
	end_task(one);
}

Test(segment, B3_g_a_fully_allocated_segment_is_cleaned)
{
	struct mmk_descriptor *one = task(1);
	struct mmk_segment *segment = segment_at(one, BASE, 4 * GRANULE, true);
	mmk_va va;

	for (unsigned i = 0; i < 4; i++)
		cr_assert_eq(mmk_segment_alloc(segment, GRANULE, &va), MMK_OK);
	cr_assert_eq(save(segment, va, 0xfe000000, 4), MMK_OK);
	mmk_segment_clean(segment);
	cr_assert_eq(sys.reserve.nr_used, 0);
	cr_assert_eq(mmk_pool_nr_used(&sys.saved_pool), 0);
	end_task(one);
}

Test(segment, B3_h_a_descriptor_without_segments_is_destroyed)
{
	end_task(task(1));
}

Test(segment, B3_k_the_heap_is_not_looked_for_by_name)
{
	struct mmk_segment *heap = kernel_heap();
	mmk_va va;

	heap->name[1] = 'x';
	cr_assert_eq(mmk_segment_heap_alloc(&sys, 1, &va), MMK_OK);
	cr_assert_eq(mmk_segment_heap_free(&sys, va), MMK_OK);
}

Test(segment, B3_m_segments_can_be_grown_again_and_again)
{
	struct mmk_descriptor *one = task(1);
	struct mmk_segment *segment = segment_at(one, BASE, GRANULE, true);

	(void)segment_at(one, TOP - GRANULE, GRANULE, true);
	for (unsigned i = 0; i < 20; i++)
		cr_assert_eq(mmk_segment_grow(segment, GRANULE), MMK_OK);
	cr_assert_eq(mmk_segment_bytes(segment), 21 * GRANULE);
	end_task(one);
}

/* ---- failures ------------------------------------------------------------ */

/* All that a failure may not change. */
struct picture {
	uint64_t nr_segments, nr_pool, nr_saved, nr_ranges, nr_descriptors;
};

static struct picture
look(const struct mmk_descriptor *descriptor)
{
	return (struct picture){ descriptor->segments.nr_nodes,
		mmk_pool_nr_used(&sys.segment_pool),
		mmk_pool_nr_used(&sys.saved_pool), sys.reserve.nr_used,
		mmk_pool_nr_used(&sys.descriptor_pool) };
}

Test(segment, every_allocation_may_fail)
{
	struct mmk_segment_config config = { .phys = &phys, .max_va = TOP };
	struct mmk_descriptor *one = task(1), *two = NULL;
	struct mmk_segment *full = segment_at(one, BASE, GRANULE, true);
	struct mmk_segment *segment = NULL;
	struct mmk_segment_args args = { "", BASE + GRANULE * 9, 1, true };
	mmk_va va;

	cr_assert_eq(mmk_segment_alloc(full, GRANULE, &va), MMK_OK);
	for (unsigned op = 0; op < 4; op++) {
		enum mmk_err err = MMK_ERR_NOMEM;

		for (uint64_t k = 1; err != MMK_OK; k++) {
			struct picture before = look(one), after;

			sim_fail_at(k);
			err = op == 0 ? mmk_segment_create(one, &args, &segment)
			    : op == 1 ? mmk_segment_grow(full, GRANULE)
			    : op == 2 ? mmk_descriptor_create(&sys, 2, &two)
			              : save(full, va, 0xfe000000, 1);
			sim_fail_at(0);
			after = look(one);
			if (err == MMK_OK)
				break;
			cr_assert_eq(err, MMK_ERR_NOMEM);
			cr_assert_eq(memcmp(&before, &after, sizeof after), 0);
			cr_assert(mmk_segment_sys_check(&sys));
		}
	}
	end_task(one);
	end_task(two);
	end();
	boot();
	for (uint64_t k = 1;; k++) {
		enum mmk_err err;

		sim_fail_at(k);
		err = mmk_segment_sys_init(&sys, &config);
		sim_fail_at(0);
		if (err == MMK_OK)
			break;
		cr_assert_eq(err, MMK_ERR_NOMEM);
		cr_assert(mmk_phys_check(&phys));
	}
}

Test(segment, check_sees_a_planted_fault)
{
	struct mmk_descriptor *one = task(1);
	struct mmk_segment *segment = segment_at(one, BASE, 4 * GRANULE, true);
	struct mmk_saved_run *run;
	mmk_va va;

	(void)segment_at(one, BASE + 8 * GRANULE, GRANULE, false);
	cr_assert_eq(mmk_segment_alloc(segment, GRANULE, &va), MMK_OK);
	cr_assert_eq(save(segment, va, 0x1000, 3), MMK_OK);
	run = mmk_saved_mapping(&segment->saved, va);
#define PLANT(field, value)                                       \
	do {                                                      \
		__typeof__(field) keep = (field);                 \
		(field) = (value);                                \
		cr_assert_not(mmk_segment_sys_check(&sys), #field); \
		(field) = keep;                                   \
		cr_assert(mmk_segment_sys_check(&sys));           \
	} while (0)
	PLANT(segment->end_va, BASE + 9 * GRANULE);
	PLANT(segment->start_va, BASE - GRANULE);
	PLANT(segment->descriptor, &sys.kernel);
	PLANT(segment->name[31], 'x');
	PLANT(segment->saved.runs.root, NULL);
	PLANT(run->end_va, va + GRANULE + MMK_PAGE_BYTES);
	PLANT(run->end_va, va);
	PLANT(run->pa, 1);
	PLANT(run->is_first, false);
#undef PLANT
	end_task(one);
}

/* ---- against a map of owners --------------------------------------------- */

enum { NR_TASKS = 2, SPACE = 48, NR_SEGMENTS = 12 };

static struct mmk_descriptor *descriptors[NR_TASKS];
static struct mmk_segment *segments[NR_TASKS][NR_SEGMENTS];
static unsigned owner[NR_TASKS][SPACE]; /* of a granule: segment + 1, or 0 */

static mmk_va
granule_va(unsigned i)
{
	return TOP - (SPACE - i) * GRANULE; /* the space ends at the limit */
}

/* May [first, first + nr) become a segment's? */
static enum mmk_err
oracle_claim(unsigned t, unsigned first, unsigned nr, unsigned name)
{
	if (nr == 0 || first + nr > SPACE)
		return MMK_ERR_INVAL;
	for (unsigned i = 0; i < nr; i++)
		if (owner[t][first + i] != 0)
			return MMK_ERR_EXIST;
	for (unsigned i = 0; i < nr; i++)
		owner[t][first + i] = name;
	return MMK_OK;
}

static void
prop_create(unsigned t, unsigned n, unsigned first, unsigned nr)
{
	struct mmk_segment_args args = { "p", granule_va(first), nr * GRANULE,
		nr & 1 };

	if (segments[t][n] != NULL)
		return;
	cr_assert_eq(mmk_segment_create(descriptors[t], &args,
	                 &segments[t][n]),
	    oracle_claim(t, first, nr, n + 1));
}

static void
prop_grow(unsigned t, unsigned n, unsigned nr)
{
	struct mmk_segment *segment = segments[t][n];
	unsigned end_granule;

	if (segment == NULL)
		return;
	end_granule = SPACE - (unsigned)((TOP - segment->end_va) / GRANULE);
	cr_assert_eq(mmk_segment_grow(segment, nr * GRANULE),
	    oracle_claim(t, end_granule, nr, n + 1));
}

static void
prop_clean(unsigned t, unsigned n)
{
	if (segments[t][n] == NULL)
		return;
	mmk_segment_clean(segments[t][n]);
	segments[t][n] = NULL;
	for (unsigned i = 0; i < SPACE; i++)
		owner[t][i] = owner[t][i] == n + 1 ? 0 : owner[t][i];
}

/* Each granule belongs to the segment that the map of owners names. */
static void
prop_compare(unsigned t)
{
	MMKIT_MUTEX_LOCK(&descriptors[t]->mutex);
	for (unsigned i = 0; i < SPACE; i++) {
		mmk_va va = granule_va(i);
		unsigned name = owner[t][i];
		struct mmk_segment *found =
		    mmk_segment_find_locked(descriptors[t], va);

		if (found != NULL && found->start_va > va)
			found = NULL;
		cr_assert_eq(found, name == 0 ? NULL : segments[t][name - 1]);
	}
	MMKIT_MUTEX_UNLOCK(&descriptors[t]->mutex);
}

Test(segment, prop_agrees_with_a_map_of_owners)
{
	uint64_t seed = mmk_test_seed(), start_seed = seed;

	memset(segments, 0, sizeof segments);
	memset(owner, 0, sizeof owner);
	for (unsigned t = 0; t < NR_TASKS; t++)
		descriptors[t] = task(t);
	for (unsigned step = 0; step < mmk_test_steps(4000); step++) {
		unsigned t = (unsigned)(mmk_test_random(&seed) % NR_TASKS);
		unsigned n = (unsigned)(mmk_test_random(&seed) % NR_SEGMENTS);
		unsigned i = (unsigned)(mmk_test_random(&seed) % SPACE);
		unsigned dice = (unsigned)(mmk_test_random(&seed) % 10);

		if (dice < 4)
			prop_create(t, n, i, i % 6);
		else if (dice < 7)
			prop_grow(t, n, i % 5);
		else
			prop_clean(t, n);
		prop_compare(t);
		cr_assert(mmk_descriptor_check(descriptors[t]),
		    "seed %llu step %u", (unsigned long long)start_seed, step);
	}
	for (unsigned t = 0; t < NR_TASKS; t++)
		end_task(descriptors[t]);
}

/* ---- threads ------------------------------------------------------------- */

static void *
one_thread(void *arg)
{
	unsigned n = (unsigned)(uintptr_t)arg;

	sim_set_cpu(n);
	for (unsigned i = 0; i < mmk_test_steps(300); i++) {
		struct mmk_descriptor *mine = NULL;
		struct mmk_segment *segment = NULL;
		struct mmk_segment_args args = { "t", BASE, GRANULE, true };
		mmk_va a, b;

		cr_assert_eq(mmk_descriptor_create(&sys, n, &mine), MMK_OK);
		cr_assert_eq(mmk_segment_create(mine, &args, &segment), MMK_OK);
		cr_assert_eq(mmk_segment_grow(segment, GRANULE), MMK_OK);
		cr_assert_eq(mmk_segment_heap_alloc(&sys, GRANULE, &a), MMK_OK);
		cr_assert_eq(mmk_segment_alloc(segment, 1, &b), MMK_OK);
		cr_assert_eq(save(segment, b, a, 1), MMK_OK);
		cr_assert_eq(mmk_segment_heap_free(&sys, a), MMK_OK);
		/* Everybody grows a little in the one they share. */
		args = (struct mmk_segment_args){ "k",
			BASE + n * 4 * GRANULE, 2 * GRANULE, true };
		cr_assert_eq(mmk_segment_create(&sys.kernel, &args, &segment),
		    MMK_OK);
		mmk_segment_clean(segment);
		cr_assert_eq(mmk_descriptor_destroy(mine), MMK_OK);
	}
	return NULL;
}

static void
with_threads(uintptr_t nr)
{
	pthread_t threads[NR_CPUS];
	struct mmk_segment *heap = kernel_heap();

	for (uintptr_t i = 0; i < nr; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, one_thread,
		                 (void *)i),
		    0);
	for (uintptr_t i = 0; i < nr; i++)
		pthread_join(threads[i], NULL);
	cr_assert_eq(heap->ranges.nr_ranges[MMK_RANGE_FREE], 1);
	cr_assert_eq(sys.kernel.segments.nr_nodes, 1);
}

Test(segment, two_threads)
{
	with_threads(2);
}

Test(segment, four_threads)
{
	with_threads(4);
}

/* ---- what is a bug ------------------------------------------------------- */

TestSuite(segment_bugs, .init = begin);

Test(segment_bugs, a_machine_with_a_task_left, .signal = SIGABRT)
{
	(void)task(1);
	mmk_segment_sys_fini(&sys);
}

Test(segment_bugs, a_mapping_that_is_not_there, .signal = SIGABRT)
{
	forget(segment_at(task(1), BASE, GRANULE, false), BASE);
}

Test(segment_bugs, saving_without_the_mutex, .signal = SIGABRT)
{
	struct mmk_segment *segment =
	    segment_at(task(1), BASE, GRANULE, false);
	struct mmk_saved_extent extent = { 0, 1 };
	enum mmk_err err =
	    mmk_segment_save_locked(segment, BASE, &extent, 1, 0);

	(void)err;
}
