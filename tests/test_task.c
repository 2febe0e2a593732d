/* SPDX-License-Identifier: MIT
 *
 * tests/test_task.c: tasks in the page tables of CPUs, on every format
 */
#include "task_fixture.h"

/* ---- the rules ----------------------------------------------------------- */

TEST_FORMATS(task, S3_4_sharing_is_two_ranges_mapped_to_one_page)
{
	struct mmk_descriptor *one = task(1), *two = task(2);
	struct mmk_segment *a = segment_at(one, BASE, GRANULE, true);
	struct mmk_segment *b = segment_at(two, BASE + MIB, GRANULE, true);
	mmk_pa pa = new_pages(0);
	mmk_va va_a, va_b;

	cr_assert_eq(mmk_segment_alloc(a, PAGE, &va_a), MMK_OK);
	cr_assert_eq(mmk_segment_alloc(b, PAGE, &va_b), MMK_OK);
	map(a, va_a, pa, 1);
	map(b, va_b, pa, 1);
	cr_assert_eq(refs(pa), 3);
	load(0, a);
	load(1, b);
	cr_assert(set_word(0, va_a, 77));
	cr_assert_eq(get_word(1, va_b), 77);
	cr_assert_eq(get_word(0, va_b), UINT64_MAX);
	unmap(a, va_a);
	cr_assert_eq(get_word(0, va_a), UINT64_MAX);
	cr_assert_eq(get_word(1, va_b), 77);
	cr_assert_eq(refs(pa), 2);
	unload(0, a);
	unload(1, b);
	end_task(one);
	end_task(two);
	put(pa);
}

TEST_FORMATS(task, S3_9_cleaning_leaves_page_tables_and_pages_alone)
{
	struct mmk_descriptor *one = task(1);
	struct mmk_segment *segment = segment_at(one, BASE, GRANULE, true);
	struct mmk_gather gather;
	mmk_pa pa = new_pages(0);
	mmk_va va;

	cr_assert_eq(mmk_segment_alloc(segment, GRANULE, &va), MMK_OK);
	map(segment, va, pa, 1);
	load(0, segment);
	cr_assert(set_word(0, va, 9));
	mmk_segment_clean(segment);
	cr_assert_eq(get_word(0, va), 9);
	cr_assert_eq(refs(pa), 2);
	check_all();
	/* By hand, as the rule says. */
	mmk_gather_init(&gather, &pmap_sys);
	mmk_pmap_remove(&live[0], va, va + PAGE, &gather);
	mmk_gather_finish(&gather);
	cr_assert(mmk_pa_unref(&phys, pa));
	end_task(one);
	put(pa);
}

TEST_FORMATS(task, S3_10_a_loaded_task_is_not_destroyed)
{
	struct mmk_descriptor *one = task(1);
	struct mmk_segment *segment = segment_at(one, BASE, GRANULE, false);

	load(1, segment);
	REFUSED(segment, DEVICE, mmk_descriptor_destroy(one), MMK_ERR_BUSY);
	REFUSED(segment, DEVICE, mmk_task_detach(&tasks, 1), MMK_ERR_BUSY);
	unload(1, segment);
	end_task(one);
}

TEST_FORMATS(task, S3_11_a_segment_without_an_allocator_is_loaded_and_cleaned)
{
	struct mmk_descriptor *one = task(1);
	struct mmk_segment *text = segment_at(one, BASE, 2 * GRANULE, false);
	struct mmk_saved_extent extent = { new_pages(1), 2 };
	mmk_va va = BASE + 3 * PAGE;
	uint64_t word;

	cr_assert_eq(mmk_task_map(&tasks, text, va, &extent, 1,
	                 R | MMK_PROT_EXEC),
	    MMK_OK);
	map(text, va + 2 * PAGE, DEVICE, 1);
	load(0, text);
	cr_assert_eq(sim_fetch(0, va + PAGE, &word, sizeof word), 0);
	cr_assert_not(set_word(0, va, 1), "read and execute only");
	cr_assert_eq(get_word(0, BASE), UINT64_MAX);
	unload(0, text);
	cr_assert_neq(sim_fetch(0, va, &word, sizeof word), 0);
	end_task(one);
	put(extent.pa);
}

TEST_FORMATS(task, S3_16_the_heap_maps_every_page)
{
	mmk_pa pa = new_pages(3);
	mmk_va va = 7;

	for (unsigned i = 0; i < 8; i++)
		*(uint64_t *)MMKIT_PHYS_TO_PTR(pa + i * PAGE) = 100 + i;
	kernel_mode(true);
	cr_assert_eq(mmk_task_heap_map(&tasks, pa, 8 * PAGE - 5, 0, &va),
	    MMK_OK);
	for (unsigned cpu = 0; cpu < NR_CPUS; cpu++)
		for (unsigned i = 0; i < 8; i++)
			cr_assert_eq(get_word(cpu, va + i * PAGE), 100 + i);
	cr_assert_eq(refs(pa), 9);
	check_all();
	kernel_mode(false);
	cr_assert_eq(get_word(0, va), UINT64_MAX, "not for user mode");
	cr_assert_eq(mmk_task_heap_unmap(&tasks, va), MMK_OK);
	put(pa);
}

TEST_FORMATS(task, S3_16_a_heap_map_that_fails_leaves_nothing)
{
	mmk_pa pa = new_pages(2), spare = new_pages(0);
	mmk_va va = 7;

	/* The second CPU has something at a page in the middle. */
	cr_assert_eq(mmk_pmap_enter(&live[1], HEAP_VA + 2 * PAGE, spare, RW),
	    MMK_OK);
	REFUSED(heap, pa,
	    mmk_task_heap_map(&tasks, pa, 4 * PAGE, 0, &va), MMK_ERR_EXIST);
	REFUSED(heap, pa,
	    mmk_task_heap_map(&tasks, pa + 1, PAGE, 0, &va), MMK_ERR_INVAL);
	REFUSED(heap, pa,
	    mmk_task_heap_map(&tasks, pa, 0, 0, &va), MMK_ERR_INVAL);
	REFUSED(heap, pa,
	    mmk_task_heap_map(&tasks, pa, PAGE, 1u << 30, &va), MMK_ERR_INVAL);
	REFUSED(heap, pa,
	    mmk_task_heap_map(&tasks, DEVICE, UINT64_MAX, 0, &va),
	    MMK_ERR_NOSPACE);
	REFUSED(heap, pa,
	    mmk_task_heap_map(&tasks, (mmk_pa)1 << pmap_sys.shape.pa_bits,
	        PAGE, 0, &va),
	    MMK_ERR_INVAL);
	REFUSED(heap, pa,
	    mmk_task_heap_map(&tasks, UINT64_MAX - PAGE + 1, PAGE, 0, &va),
	    MMK_ERR_INVAL);
	cr_assert_eq(va, 7);
	struct mmk_gather gather;
	mmk_gather_init(&gather, &pmap_sys);
	mmk_pmap_remove(&live[1], HEAP_VA, HEAP_VA + GRANULE, &gather);
	mmk_gather_finish(&gather);
	FAILS_CLEANLY(heap, pa,
	    mmk_task_heap_map(&tasks, pa, 4 * PAGE, 0, &va));
	cr_assert_eq(mmk_task_heap_unmap(&tasks, va), MMK_OK);
	put(pa);
	put(spare);
}

TEST_FORMATS(task, S3_17_unmapping_gives_range_and_pages_back)
{
	mmk_pa pa = new_pages(2);
	mmk_va va, plain;

	kernel_mode(true);
	cr_assert_eq(mmk_task_heap_map(&tasks, pa, 4 * PAGE, 0, &va), MMK_OK);
	cr_assert_eq(mmk_segment_heap_alloc(&tasks.segments, PAGE, &plain),
	    MMK_OK);
	REFUSED(heap, pa, mmk_task_heap_unmap(&tasks, plain), MMK_ERR_NOENT);
	REFUSED(heap, pa, mmk_task_heap_unmap(&tasks, va + PAGE),
	    MMK_ERR_NOENT);
	REFUSED(heap, pa, mmk_task_heap_unmap(&tasks, 0), MMK_ERR_NOENT);
	cr_assert(set_word(1, va + PAGE, 5));
	cr_assert_eq(mmk_task_heap_unmap(&tasks, va), MMK_OK);
	cr_assert_eq(get_word(1, va + PAGE), UINT64_MAX);
	REFUSED(heap, pa, mmk_task_heap_unmap(&tasks, va), MMK_ERR_NOENT);
	cr_assert_eq(mmk_segment_heap_free(&tasks.segments, plain), MMK_OK);
	cr_assert_eq(heap->ranges.nr_ranges[MMK_RANGE_FREE], 1);
	kernel_mode(false);
	put(pa);
}

TEST_FORMATS(task, S3_18_map_moves_an_allocated_range_to_mapped)
{
	struct mmk_descriptor *one = task(1);
	struct mmk_segment *segment = segment_at(one, BASE, 4 * GRANULE, true);
	mmk_pa pa = new_pages(2);
	mmk_va va, other;

	REFUSED(segment, pa, try_map(segment, BASE, pa, 1), MMK_ERR_NOENT);
	cr_assert_eq(mmk_segment_alloc(segment, 1, &va), MMK_OK);
	cr_assert_eq(mmk_segment_alloc(segment, 1, &other), MMK_OK);
	REFUSED(segment, pa, try_map(segment, va, pa, 5), MMK_ERR_INVAL);
	REFUSED(segment, pa, try_map(segment, va + PAGE, pa, 1),
	    MMK_ERR_NOENT);
	map(segment, va, pa, 4);
	cr_assert_eq(refs(pa), 5);
	cr_assert_eq(segment->ranges.nr_ranges[MMK_RANGE_MAPPED], 1);
	REFUSED(segment, pa, try_map(segment, va, pa, 4), MMK_ERR_EXIST);
	REFUSED(segment, pa, mmk_segment_free(segment, va), MMK_ERR_BUSY);
	REFUSED(segment, pa, mmk_task_unmap(&tasks, segment, other),
	    MMK_ERR_NOENT);
	unmap(segment, va);
	cr_assert_eq(refs(pa), 1);
	cr_assert_eq(mmk_segment_free(segment, va), MMK_OK);
	end_task(one);
	put(pa);
}

TEST_FORMATS(task, S3_19_pages_need_not_be_neighbours)
{
	struct mmk_descriptor *one = task(1);
	struct mmk_segment *segment = segment_at(one, BASE, 4 * GRANULE, true);
	struct mmk_saved_extent extents[4];
	mmk_va va;

	for (unsigned i = 0; i < 3; i++) {
		extents[i].pa = new_pages(i == 1);
		extents[i].nr_pages = 1 + (i == 1);
		*(uint64_t *)MMKIT_PHYS_TO_PTR(extents[i].pa) = 10 + i;
	}
	extents[3] = extents[0]; /* a page may come twice */
	cr_assert_eq(mmk_segment_alloc(segment, 5 * PAGE, &va), MMK_OK);
	load(0, segment);
	cr_assert_eq(mmk_task_map(&tasks, segment, va, extents, 4, RW),
	    MMK_OK);
	check_all();
	cr_assert_eq(get_word(0, va), 10);
	cr_assert_eq(get_word(0, va + PAGE), 11);
	cr_assert_eq(get_word(0, va + 2 * PAGE), 0);
	cr_assert_eq(get_word(0, va + 3 * PAGE), 12);
	cr_assert_eq(get_word(0, va + 4 * PAGE), 10);
	cr_assert_eq(get_word(0, va + 5 * PAGE), UINT64_MAX);
	unmap(segment, va);
	for (unsigned i = 0; i < 5; i++)
		cr_assert_eq(get_word(0, va + i * PAGE), UINT64_MAX);
	unload(0, segment);
	end_task(one);
	for (unsigned i = 0; i < 3; i++)
		put(extents[i].pa);
}

TEST_FORMATS(task, S3_20_loading_twice_and_over_another_are_distinct_errors)
{
	struct mmk_descriptor *one = task(1), *two = task(2);
	struct mmk_segment *a = segment_at(one, BASE, 4 * GRANULE, false);
	struct mmk_segment *b = segment_at(two, BASE, 4 * GRANULE, false);
	struct mmk_segment *c = segment_at(two, BASE + MIB, GRANULE, false);
	mmk_pa pa = new_pages(1);

	map(a, BASE + 5 * PAGE, pa, 2);
	map(b, BASE, DEVICE, 4);
	map(b, BASE + 6 * PAGE, pa, 1);
	load(0, a);
	REFUSED(a, pa, mmk_task_segment_load(&tasks, 0, a), MMK_ERR_BUSY);
	REFUSED(b, pa, mmk_task_segment_load(&tasks, 0, b), MMK_ERR_EXIST);
	REFUSED(b, pa, mmk_task_segment_load(&tasks, NR_CPUS, b),
	    MMK_ERR_INVAL);
	REFUSED(b, pa, mmk_task_segment_unload(&tasks, 0, b), MMK_ERR_NOENT);
	REFUSED(b, pa, mmk_task_segment_unload(&tasks, 99, b), MMK_ERR_NOENT);
	load(1, b);
	unmap(b, BASE + 6 * PAGE);
	load(0, b);
	/* Now both are there, side by side; neither may grow into the other. */
	REFUSED(b, pa, try_map(b, BASE + 6 * PAGE, pa, 1), MMK_ERR_EXIST);
	REFUSED(a, pa, try_map(a, BASE + PAGE, pa, 1), MMK_ERR_EXIST);
	load(0, c);
	unload(0, a);
	unload(0, b);
	unload(1, b);
	unload(0, c);
	map(b, BASE + 6 * PAGE, pa, 1);
	FAILS_CLEANLY(b, pa, mmk_task_segment_load(&tasks, 0, b));
	unload(0, b);
	end_task(one);
	end_task(two);
	put(pa);
}

/* Two tasks with a segment at one address, in turn on one CPU. */
static void
in_turn(mmk_va va, uint64_t bytes)
{
	struct mmk_descriptor *descriptors[2] = { task(1), task(2) };
	struct mmk_segment *segments[2];
	unsigned order = mmk_order_of_pages(mmk_pages_round_up(bytes));
	mmk_pa pa[2];

	for (unsigned i = 0; i < 2; i++) {
		segments[i] = segment_at(descriptors[i], va, bytes, false);
		pa[i] = new_pages(order);
		map(segments[i], va, pa[i], (uint64_t)1 << order);
	}
	for (unsigned round = 0; round < 2; round++)
		for (unsigned i = 0; i < 2; i++) {
			char letter = 0, wanted = (char)('a' + (int)i);

			load(0, segments[i]);
			for (uint64_t at = 0; at < bytes; at += bytes / 2) {
				mmk_va place = va + at + bytes / 2 - 1;

				if (round == 0)
					cr_assert_eq(sim_store(0, place,
					                 &wanted, 1),
					    0);
				cr_assert_eq(sim_load(0, place, &letter, 1), 0);
				cr_assert_eq(letter, wanted);
			}
			unload(0, segments[i]);
			cr_assert_neq(sim_load(0, va, &letter, 1), 0);
		}
	for (unsigned i = 0; i < 2; i++) {
		cr_assert_neq(mmk_frame_of_pa(&phys, pa[i])->flags &
		        MMK_FRAME_MODIFIED,
		    0, "that it was written outlives unloading");
		end_task(descriptors[i]);
		put(pa[i]);
	}
}

TEST_FORMATS(task, S3_21_what_is_unloaded_is_saved_4K)
{
	in_turn(BASE, PAGE);
}

TEST_FORMATS(task, S3_21_what_is_unloaded_is_saved_4M)
{
	in_turn(BASE, 4 * MIB);
}

TEST_FORMATS(task, S3_21_what_is_unloaded_is_saved_amid_a_table)
{
	in_turn(BASE + 2 * MIB - 3 * PAGE, 4 * MIB);
	in_turn(BASE + 7 * PAGE, 16 * PAGE);
}

TEST_FORMATS(task, S3_22_physical_addresses_of_all_kinds)
{
	struct mmk_descriptor *one = task(1);
	struct mmk_segment *segment = segment_at(one, BASE, 4 * MIB, false);
	mmk_pa large = new_pages(9), pa = 7;
	mmk_va kernel = (mmk_va)0xffff << 48, heap_va;
	struct mmk_translation found;

	map(segment, BASE + 2 * MIB, large, 512);
	map(segment, BASE, DEVICE, 1);
	cr_assert_not(mmk_task_phys(&tasks, 0, BASE, &pa), "not loaded");
	load(0, segment);
	cr_assert(mmk_task_phys(&tasks, 0, BASE + 123, &pa));
	cr_assert_eq(pa, DEVICE + 123);
	for (uint64_t i = 0; i < 512; i += 73) {
		cr_assert(mmk_task_phys(&tasks, 0,
		    BASE + 2 * MIB + i * PAGE + i, &pa));
		cr_assert_eq(pa, large + i * PAGE + i);
	}
	cr_assert(mmk_pmap_query(&live[0], BASE + 2 * MIB, &found));
	cr_assert_eq(found.nr_pages, 512, "a large page");
	pa = 7;
	cr_assert_not(mmk_task_phys(&tasks, 0, BASE + PAGE, &pa), "unmapped");
	cr_assert_not(mmk_task_phys(&tasks, 1, BASE, &pa), "another CPU's");
	cr_assert_not(mmk_task_phys(&tasks, 99, BASE, &pa), "no such CPU");
	cr_assert_not(mmk_task_phys(&tasks, 0, UINT64_MAX, &pa));
	unload(0, segment);
	cr_assert_not(mmk_task_phys(&tasks, 0, BASE + 2 * MIB, &pa));
	cr_assert_eq(pa, 7);
	cr_assert(mmk_task_phys(&tasks, 0, kernel + 0x12345, &pa));
	cr_assert_eq(pa, 0x12345);
	cr_assert_eq(mmk_task_heap_map(&tasks, large, PAGE, 0, &heap_va),
	    MMK_OK);
	cr_assert(mmk_task_phys(&tasks, 1, heap_va + 5, &pa));
	cr_assert_eq(pa, large + 5);
	cr_assert_eq(mmk_task_heap_unmap(&tasks, heap_va), MMK_OK);
	end_task(one);
	put(large);
}

TEST_FORMATS(task, S3_23_a_task_is_loaded_whole_or_not_at_all)
{
	struct mmk_descriptor *none = task(1), *one = task(2), *two = task(3);
	struct mmk_segment *parts[3], *rival;
	mmk_pa pa = new_pages(2);

	cr_assert_eq(mmk_task_load(&tasks, 0, none), MMK_OK);
	cr_assert_eq(mmk_task_unload(&tasks, 0, none), MMK_OK);
	cr_assert_eq(mmk_task_load(&tasks, 99, none), MMK_ERR_INVAL);
	for (unsigned i = 0; i < 3; i++) {
		mmk_va va = BASE + ((mmk_va)i << 30);

		parts[i] = segment_at(one, va, GRANULE, false);
		map(parts[i], va, pa, 4);
	}
	rival = segment_at(two, parts[2]->start_va, GRANULE, false);
	map(rival, rival->start_va + 3 * PAGE, pa, 1);
	load(1, rival);
	REFUSED(parts[0], pa, mmk_task_load(&tasks, 1, one), MMK_ERR_EXIST);
	REFUSED(parts[1], pa, mmk_task_unload(&tasks, 1, one), MMK_ERR_NOENT);
	unload(1, rival);
	load(1, parts[1]);
	REFUSED(parts[0], pa, mmk_task_load(&tasks, 1, one), MMK_ERR_BUSY);
	REFUSED(parts[1], pa, mmk_task_unload(&tasks, 1, one), MMK_ERR_NOENT);
	unload(1, parts[1]);
	FAILS_CLEANLY(parts[2], pa, mmk_task_load(&tasks, 1, one));
	cr_assert(set_word(1, parts[2]->start_va + PAGE, 3));
	cr_assert_eq(get_word(1, BASE + PAGE), 3);
	cr_assert_eq(get_word(0, BASE + PAGE), UINT64_MAX);
	cr_assert_eq(mmk_task_load(&tasks, 0, one), MMK_OK, "on both");
	cr_assert_eq(mmk_task_unload(&tasks, 1, one), MMK_OK);
	cr_assert_eq(get_word(1, BASE + PAGE), UINT64_MAX);
	cr_assert_eq(get_word(0, BASE + PAGE), 3);
	cr_assert_eq(mmk_task_unload(&tasks, 0, one), MMK_OK);
	end_task(none);
	end_task(one);
	end_task(two);
	put(pa);
}

/* ---- defects of the original --------------------------------------------- */

TEST_FORMATS(task, B3_d_every_page_is_its_own_and_claims_add_up)
{
	struct mmk_descriptor *one = task(1);
	struct mmk_segment *segment = segment_at(one, BASE, 4 * GRANULE, false);
	mmk_pa pa = new_pages(2);

	map(segment, BASE, pa, 4);
	load(0, segment);
	for (unsigned i = 0; i < 4; i++)
		cr_assert(set_word(0, BASE + i * PAGE, 50 + i));
	for (unsigned i = 0; i < 4; i++)
		cr_assert_eq(
		    *(uint64_t *)MMKIT_PHYS_TO_PTR(pa + i * PAGE), 50 + i);
	map(segment, BASE + GRANULE, pa, 4);
	cr_assert_eq(refs(pa), 9, "added to, not overwritten");
	unload(0, segment);
	end_task(one);
	put(pa);
}

TEST_FORMATS(task, B3_e_unmapping_what_is_not_mapped_is_an_error)
{
	struct mmk_descriptor *one = task(1);
	struct mmk_segment *segment = segment_at(one, BASE, 4 * GRANULE, false);
	mmk_pa pa = new_pages(1);

	REFUSED(segment, pa, mmk_task_unmap(&tasks, segment, BASE),
	    MMK_ERR_NOENT);
	map(segment, BASE, pa, 2);
	REFUSED(segment, pa, mmk_task_unmap(&tasks, segment, BASE + PAGE),
	    MMK_ERR_NOENT);
	REFUSED(segment, pa, mmk_task_unmap(&tasks, segment, BASE + 1),
	    MMK_ERR_NOENT);
	unmap(segment, BASE);
	end_task(one);
	put(pa);
}

TEST_FORMATS(task, B3_j_a_task_that_cannot_be_loaded_or_unloaded_says_so)
{
	struct mmk_descriptor *one = task(1);
	struct mmk_segment *segment = segment_at(one, BASE, GRANULE, false);
	mmk_pa pa = new_pages(0);

	map(segment, BASE, pa, 1);
	REFUSED(segment, pa, mmk_task_unload(&tasks, 0, one), MMK_ERR_NOENT);
	cr_assert_eq(mmk_task_load(&tasks, 0, one), MMK_OK);
	REFUSED(segment, pa, mmk_task_load(&tasks, 0, one), MMK_ERR_BUSY);
	cr_assert_eq(mmk_task_unload(&tasks, 0, one), MMK_OK);
	end_task(one);
	put(pa);
}

/* ---- the rest of the contract -------------------------------------------- */

TEST_FORMATS(task, mapping_a_loaded_segment_reaches_every_table_or_none)
{
	struct mmk_descriptor *one = task(1);
	struct mmk_segment *segment = segment_at(one, BASE, 4 * GRANULE, true);
	mmk_pa pa = new_pages(2);
	mmk_va va;

	cr_assert_eq(mmk_segment_alloc(segment, GRANULE, &va), MMK_OK);
	load(0, segment);
	load(1, segment);
	cr_assert_eq(mmk_pmap_enter(&live[1], va + PAGE, DEVICE, R), MMK_OK);
	REFUSED(segment, pa, try_map(segment, va, pa, 2), MMK_ERR_EXIST);
	struct mmk_gather gather;
	mmk_gather_init(&gather, &pmap_sys);
	mmk_pmap_remove(&live[1], va, va + GRANULE, &gather);
	mmk_gather_finish(&gather);
	FAILS_CLEANLY(segment, pa, try_map(segment, va, pa, 4));
	cr_assert(set_word(0, va, 6));
	cr_assert_eq(get_word(1, va), 6);
	unload(0, segment);
	unload(1, segment);
	end_task(one);
	put(pa);
}

TEST_FORMATS(task, a_switch_costs_no_faults_for_reading)
{
	struct mmk_descriptor *one = task(1);
	struct mmk_segment *segment = segment_at(one, BASE, GRANULE, false);
	mmk_pa pa = new_pages(2);
	struct sim_counters before, after;

	map(segment, BASE, pa, 4);
	sim_counters(&before);
	for (unsigned i = 0; i < 3; i++) {
		load(0, segment);
		for (unsigned page = 0; page < 4; page++)
			cr_assert_eq(get_word(0, BASE + page * PAGE), 0);
		unload(0, segment);
	}
	sim_counters(&after);
	cr_assert_eq(after.nr_faults, before.nr_faults);
	cr_assert_eq(mmk_frame_of_pa(&phys, pa)->flags & MMK_FRAME_MODIFIED, 0,
	    "read only");
	end_task(one);
	put(pa);
}

TEST_FORMATS(task, bad_flags_and_free_pages_are_refused)
{
	struct mmk_descriptor *one = task(1);
	struct mmk_segment *segment = segment_at(one, BASE, GRANULE, false);
	struct mmk_saved_extent extent = { new_pages(0), 1 };
	mmk_pa pa = extent.pa, gone = new_pages(0);

	map(segment, BASE, gone, 1);
	unmap(segment, BASE); /* so that there is a slab of runs */
	put(gone);
	REFUSED(segment, pa,
	    mmk_task_map(&tasks, segment, BASE, &extent, 1, 0), MMK_ERR_INVAL);
	REFUSED(segment, pa,
	    mmk_task_map(&tasks, segment, BASE, &extent, 1,
	        RW | MMK_PMAP_USER),
	    MMK_ERR_INVAL);
	REFUSED(segment, pa,
	    mmk_task_map(&tasks, segment, BASE, &extent, 0, RW),
	    MMK_ERR_INVAL);
	REFUSED(segment, pa, try_map(segment, BASE, gone, 1), MMK_ERR_INVAL);
	REFUSED(segment, pa, try_map(segment, BASE, pa, 0), MMK_ERR_INVAL);
	REFUSED(segment, pa, try_map(segment, BASE, pa, 5), MMK_ERR_INVAL);
	REFUSED(segment, pa, try_map(segment, BASE - PAGE, pa, 1),
	    MMK_ERR_NOENT);
	cr_assert_eq(mmk_task_map(&tasks, segment, BASE, &extent, 1,
	                 R | MMK_PMAP_DEVICE),
	    MMK_OK);
	end_task(one);
	put(pa);
}

TEST_FORMATS(task, a_cpu_has_one_table_and_a_table_one_cpu)
{
	struct mmk_descriptor *one = task(1);
	struct mmk_segment *segment = segment_at(one, BASE, GRANULE, false);

	cr_assert_eq(mmk_task_attach(&tasks, 0, &live[1]), MMK_ERR_EXIST);
	cr_assert_eq(mmk_task_attach(&tasks, 99, &live[1]), MMK_ERR_INVAL);
	cr_assert_eq(mmk_task_detach(&tasks, 99), MMK_ERR_NOENT);
	cr_assert_eq(mmk_task_detach(&tasks, 1), MMK_ERR_BUSY, "the kernel");
	cr_assert_eq(mmk_task_unload(&tasks, 1, &tasks.segments.kernel),
	    MMK_OK);
	cr_assert_eq(mmk_task_detach(&tasks, 1), MMK_OK);
	cr_assert_eq(mmk_task_detach(&tasks, 1), MMK_ERR_NOENT);
	REFUSED(segment, DEVICE, mmk_task_segment_load(&tasks, 1, segment),
	    MMK_ERR_INVAL);
	cr_assert_eq(mmk_task_load(&tasks, 1, one), MMK_ERR_INVAL);
	cr_assert_eq(mmk_task_attach(&tasks, 1, &live[0]), MMK_ERR_EXIST);
	cr_assert_eq(mmk_task_attach(&tasks, 1, &live[1]), MMK_OK);
	cr_assert_eq(mmk_task_load(&tasks, 1, &tasks.segments.kernel), MMK_OK);
	end_task(one);
}

Test(task, start_may_fail_at_every_allocation)
{
	struct mmk_task_config config = { .pmap_sys = &pmap_sys };
	enum mmk_err err = MMK_ERR_NOMEM;
	mmk_va va;

	boot_machine(&formats[0]);
	config.segments.max_va = mmk_pt_va_limit(&pmap_sys.shape) + PAGE;
	cr_assert_eq(mmk_task_init(&tasks, &config), MMK_ERR_INVAL);
	config.segments.max_va = BASE;
	for (uint64_t k = 1; err != MMK_OK; k++) {
		sim_fail_at(k);
		err = mmk_task_init(&tasks, &config);
		cr_assert(err == MMK_OK || err == MMK_ERR_NOMEM);
		cr_assert(mmk_phys_check(&phys));
	}
	sim_fail_at(0);
	cr_assert_eq(mmk_task_heap_map(&tasks, DEVICE, PAGE, 0, &va),
	    MMK_ERR_NOENT);
	cr_assert_eq(mmk_task_heap_unmap(&tasks, BASE), MMK_ERR_NOENT);
	cr_assert_not(mmk_task_phys(&tasks, 0, UINT64_MAX, &va));
	mmk_task_fini(&tasks);
	mmk_pmap_sys_fini(&pmap_sys);
	cr_assert_eq(used(MMK_USE_POOL), 0);
	mmk_phys_fini(&phys);
	sim_shutdown();
}

TEST_FORMATS(task, check_sees_a_planted_fault)
{
	struct mmk_descriptor *one = task(1);
	struct mmk_segment *segment = segment_at(one, BASE, GRANULE, false);
	mmk_pa pa = new_pages(0);
	struct mmk_saved_run *run;

	map(segment, BASE, pa, 1);
	load(0, segment);
	run = mmk_saved_mapping(&segment->saved, BASE);
	run->pa += PAGE;
	cr_assert_not(mmk_task_check(&tasks));
	run->pa -= PAGE;
	run->flags |= MMK_PROT_EXEC;
	cr_assert_not(mmk_task_check(&tasks));
	run->flags &= ~MMK_PROT_EXEC;
	segment->loaded[0] |= 2;
	cr_assert_not(mmk_task_check(&tasks));
	segment->loaded[0] = 4;
	cr_assert_not(mmk_task_check(&tasks));
	segment->loaded[0] = 1;
	unload(0, segment);
	end_task(one);
	put(pa);
}

/* ---- what is a bug ------------------------------------------------------- */

Test(task_bugs, the_end_with_a_live_table, .signal = SIGABRT)
{
	boot(&formats[0]);
	mmk_task_fini(&tasks);
}
