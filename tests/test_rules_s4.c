/* SPDX-License-Identifier: MIT
 *
 * tests/test_rules_s4.c: the rules of domains and regions (S4) that address
 * spaces keep: splitting, partial freeing, independent translations, bounds,
 * orefs, and the array of page descriptors.
 */
#include "vm_fixture.h"

/* What a program asks of its own space, at an address of the kernel's. */
static void
s4_1_program(mmk_va va, const struct mmk_frame *frame)
{
	struct mmk_space *space = vm_sp(0);
	mmk_pa pa = mmk_frame_pa(&t.phys, frame);
	mmk_va out_va = va;
	unsigned char byte = 0;

	cr_assert_neq(sim_load(0, va, &byte, 1), 0);
	cr_assert_neq(sim_store(0, va, &byte, 1), 0);
	cr_assert_neq(sim_fetch(0, va, &byte, 1), 0);
	cr_assert_eq(mmk_mmap(space, va, PAGE, RW, ALL,
	    ANON_PRIVATE | MMK_MAP_FIXED, NULL, 0, &out_va), MMK_ERR_INVAL);
	cr_assert_eq(mmk_munmap(space, va, PAGE), MMK_ERR_INVAL);
	cr_assert_eq(mmk_mprotect(space, va, PAGE, RO), MMK_ERR_INVAL);
	cr_assert_neq(mmk_mremap(space, va, PAGE, 2 * PAGE,
	    MMK_REMAP_MAYMOVE, 0, &out_va), MMK_OK);
	cr_assert_neq(mmk_fault(&space->map, va, MMK_PROT_WRITE), MMK_OK);
	cr_assert_eq(mmk_pmap_enter(&space->map.pmap, va, pa,
	    RW | MMK_PMAP_USER), MMK_ERR_INVAL);
	cr_assert_eq(out_va, va);
}

/* The other way: a program's pmap asked to take the kernel's away. */
static void
s4_1_pmap(struct mmk_pmap *kernel, mmk_va va, const struct mmk_frame *frame)
{
	struct mmk_pmap *pmap = &vm_map(0)->pmap;
	struct mmk_translation found;
	struct mmk_gather gather;

	mmk_gather_init(&gather, &t.sys);
	mmk_pmap_protect(pmap, va, va + PAGE, MMK_PROT_READ, &gather);
	mmk_pmap_remove(pmap, va, va + PAGE, &gather);
	mmk_gather_finish(&gather);
	cr_assert(!mmk_pmap_emulate(pmap, va, MMK_PROT_READ | MMK_PMAP_USER));
	cr_assert_eq(mmk_pmap_enter(kernel, va, mmk_frame_pa(&t.phys, frame),
	    RW | MMK_PMAP_USER), MMK_ERR_INVAL);
	cr_assert(mmk_pmap_query(kernel, va, &found));
	cr_assert_eq(found.pa, mmk_frame_pa(&t.phys, frame));
	cr_assert_eq(found.flags & (RW | MMK_PMAP_USER), (unsigned)RW);
}

static void
s4_1_run(unsigned arch)
{
	static struct mmk_pmap kernel;
	struct mmk_frame *frame = NULL;
	unsigned char byte = 0;
	mmk_va va;

	vm_boot(arch);
	cr_assert_eq(mmk_pmap_init_kernel(&kernel, &t.sys, NULL), MMK_OK);
	mmk_pmap_activate(&kernel, 0);
	vm_space(0);
	vm_run(0, 0);
	cr_assert_eq(mmk_frame_alloc(&t.phys, 0, MMK_ALLOC_ZERO, MMK_USE_KERNEL,
	    &frame), MMK_OK);
	*(unsigned char *)mmk_frame_ptr(&t.phys, frame) = 41;
	va = kernel.base_va + 5 * PAGE;
	cr_assert_eq(mmk_pmap_enter(&kernel, va, mmk_frame_pa(&t.phys, frame),
	    RW), MMK_OK);

	s4_1_program(va, frame);
	s4_1_pmap(&kernel, va, frame);
	sim_cpu_set_user(0, false);
	cr_assert_eq(sim_load(0, va, &byte, 1), 0);
	cr_assert_eq(byte, 41, "the kernel's page is as it was");
	sim_cpu_set_user(0, true);
	s4_1_program(va, frame); /* what the TLB has now helps nobody */

	vm_exit(0);
	mmk_pmap_kremove(&kernel, va, 1);
	mmk_pmap_deactivate(&kernel, 0);
	mmk_pmap_fini(&kernel);
	(void)mmk_frame_unref(&t.phys, frame);
	vm_end();
}

Test(rules_s4, S4_1_a_program_cannot_touch_the_kernels_half)
{
	s4_1_run(SIM_ARCH_X86_64);
	s4_1_run(SIM_ARCH_AARCH64);
}

static void
s4_7(void)
{
	static struct vm_file f;
	struct mmk_object *object = vm_file(&f, 8 * PAGE);
	struct mmk_map *map = vm_map(0);
	uint64_t nr_entries, nr_pages;
	uint32_t refs;
	mmk_pa pas[8];

	vm_mmap(0, VA, 8, RW, MMK_MAP_SHARED | MMK_MAP_FIXED, object, 0);
	for (uint64_t i = 0; i < 8; i++) {
		vm_put(0, VA + i * PAGE + 1, '1');
		pas[i] = vm_pa(0, VA + i * PAGE);
	}
	refs = object->refs;
	nr_entries = map->nr_entries;
	nr_pages = map->pmap.nr_pages;
	cr_assert_eq(mmk_map_split(map, VA), MMK_OK);
	cr_assert_eq(mmk_map_split(map, VA + 8 * PAGE), MMK_OK);
	cr_assert_eq(map->nr_entries, nr_entries, "at the ends: nothing");
	cr_assert_eq(mmk_map_split(map, VA + 100), MMK_ERR_INVAL);

	cr_assert_eq(mmk_map_split(map, VA + 3 * PAGE), MMK_OK);
	cr_assert_eq(map->nr_entries, nr_entries + 1);
	cr_assert_eq(vm_entry(0, VA).end_va, VA + 3 * PAGE);
	cr_assert_eq(vm_entry(0, VA + 3 * PAGE).start_va, VA + 3 * PAGE);
	cr_assert_eq(vm_entry(0, VA + 3 * PAGE).object_page, 3u);
	cr_assert_eq(vm_entry(0, VA + 3 * PAGE).object, object);
	cr_assert_eq(object->refs, refs + 1);
	cr_assert_eq(map->pmap.nr_pages, nr_pages, "translations untouched");
	for (uint64_t i = 0; i < 8; i++)
		cr_assert_eq(vm_pa(0, VA + i * PAGE), pas[i]);
	vm_munmap(0, VA + 2 * PAGE, 1);
	vm_munmap(0, VA + 3 * PAGE, 1);
	cr_assert_eq(vm_get(0, VA + 4 * PAGE), 'e');
	cr_assert_eq(vm_get(0, VA + 4 * PAGE + 1), '1');
	vm_fork(1, 0);
	cr_assert_eq(vm_get(1, VA + 7 * PAGE), 'h');
	mmk_object_unref(object);
}

Test(rules_s4, S4_7_splitting_advances_the_offset_and_touches_nothing)
{
	vm_both(s4_7);
}

static void
s4_8(void)
{
	struct { uint64_t first, nr; } parts[] = { { 0, 2 }, { 14, 2 },
		{ 6, 3 } };
	uint64_t nr_anons;

	vm_anon(0, VA, 16);
	for (uint64_t i = 0; i < 16; i++)
		vm_put(0, VA + i * PAGE, (int)i + 1);
	for (int p = 0; p < 3; p++) {
		nr_anons = vm_nr_anon_pages();
		vm_munmap(0, VA + parts[p].first * PAGE, parts[p].nr);
		cr_assert_eq(vm_nr_anon_pages(), nr_anons - parts[p].nr,
		    "the frames return at once");
	}
	for (uint64_t i = 0; i < 16; i++) {
		bool is_gone = i < 2 || i >= 14 || (i >= 6 && i < 9);

		if (is_gone)
			cr_assert_eq(vm_access(0, VA + i * PAGE, MMK_PROT_READ),
			    MMK_ERR_NOENT);
		else
			cr_assert_eq(vm_get(0, VA + i * PAGE), (int)i + 1);
	}
	/* What a child still refers to stays, and is freed with the child. */
	vm_fork(1, 0);
	nr_anons = vm_nr_anon_pages();
	vm_munmap(0, VA + 2 * PAGE, 2);
	cr_assert_eq(vm_nr_anon_pages(), nr_anons);
	cr_assert_eq(vm_get(1, VA + 2 * PAGE), 3);
	vm_exit(1);
	cr_assert_eq(vm_nr_anon_pages(), nr_anons - 2);
}

Test(rules_s4, S4_8_freeing_a_part_returns_its_frames_at_once)
{
	vm_both(s4_8);
}

static void
s4_14(void)
{
	vm_space(1);
	vm_anon(0, VA, 2);
	vm_anon(1, VA, 2);
	vm_put(0, VA, 'a');
	vm_put(1, VA, 'b');
	cr_assert_neq(vm_pa(0, VA), vm_pa(1, VA));
	cr_assert_eq(vm_get(0, VA), 'a');
	cr_assert_eq(vm_get(1, VA), 'b');
	vm_put(0, VA + PAGE, 'c');
	cr_assert_eq(vm_pa(1, VA + PAGE), UINT64_MAX);
	vm_munmap(0, VA, 2);
	cr_assert_eq(vm_get(1, VA), 'b');
	/* One CPU runs both in turn. */
	vm_run(0, 1);
	vm_anon(0, VA, 1);
	vm_put(0, VA, 'd');
	cr_assert_eq(vm_get(1, VA), 'b');
}

Test(rules_s4, S4_14_equal_addresses_of_two_spaces_are_independent)
{
	vm_both(s4_14);
}

static void
s4_15(void)
{
	struct mmk_entry_info info;
	mmk_va end_va = 0;
	unsigned nr = 0;

	vm_mmap(0, VA, 2, RO, ANON_PRIVATE | MMK_MAP_FIXED, NULL, 0);
	vm_mmap(0, VA + 2 * PAGE, 2, RW, ANON_PRIVATE | MMK_MAP_FIXED, NULL, 0);
	vm_mmap(0, VA + 8 * PAGE, 1, MMK_PROT_NONE, ANON_PRIVATE |
	    MMK_MAP_FIXED, NULL, 0);
	for (; mmk_map_entry_info(vm_map(0), end_va, &info);
	     end_va = info.end_va, nr++)
		cr_assert(info.start_va >= end_va &&
		    info.end_va > info.start_va);
	cr_assert_eq(nr, 3u);
	cr_assert_eq(vm_entry(0, VA).end_va, VA + 2 * PAGE, "end is exclusive");
	cr_assert_eq(vm_entry(0, VA + 2 * PAGE - 1).start_va, VA);
	cr_assert_eq(vm_access(0, VA + 2 * PAGE - 1, MMK_PROT_WRITE),
	    MMK_ERR_ACCESS);
	cr_assert_eq(vm_access(0, VA + 2 * PAGE, MMK_PROT_WRITE), MMK_OK);
	cr_assert_eq(vm_access(0, VA + 4 * PAGE, MMK_PROT_READ),
	    MMK_ERR_NOENT);
	cr_assert_eq(vm_access(0, VA - 1, MMK_PROT_READ), MMK_ERR_NOENT);
	cr_assert_eq(vm_access(0, VA + 8 * PAGE, MMK_PROT_READ),
	    MMK_ERR_ACCESS);
	cr_assert_eq(vm_access(0, VA + 9 * PAGE, MMK_PROT_READ),
	    MMK_ERR_NOENT);
}

Test(rules_s4, S4_15_regions_are_half_open_and_guard_their_rights)
{
	vm_both(s4_15);
}

static void
s4_16(void)
{
	static struct vm_file f;
	struct mmk_object *object = vm_file(&f, 8 * PAGE);
	mmk_va a = vm_mmap(0, 0, 5, RW, MMK_MAP_SHARED, object, 0);
	mmk_va b = vm_mmap(0, 0, 5, RW, MMK_MAP_SHARED, object, 3);

	cr_assert_eq(vm_entry(0, a).object_page, 0u);
	cr_assert_eq(vm_entry(0, b).object_page, 3u);
	cr_assert_eq(vm_entry(0, a).object->ops->kind,
	    (unsigned)MMK_PAGER_FILE);
	vm_put(0, a + 3 * PAGE + 9, 'q');
	cr_assert_eq(vm_get(0, b + 9), 'q');
	vm_put(0, b + PAGE + 9, 'r');
	cr_assert_eq(vm_get(0, a + 4 * PAGE + 9), 'r');
	cr_assert_eq(vm_get(0, b + 2 * PAGE), 'f');
	mmk_object_unref(object);
}

Test(rules_s4, S4_16_two_orefs_to_one_object_alias)
{
	vm_both(s4_16);
}

static void
s4_20_run(unsigned arch)
{
	struct mmk_phys_span spans[] = { { 0x100000, 0x300000 },
		{ 0x380000, 0x600000 } };
	struct sim_config config = { .ram_bytes = 6u << 20, .spans = spans,
		.nr_spans = 2, .nr_cpus = 1, .arch = arch };
	static struct mmk_frame *frames[1536];
	struct mmk_phys_stats before, after;
	mmk_pfn pfn;

	vm_boot_with(&config, NULL);
	vm_space(0);
	mmk_phys_stats_read(&t.phys, &before);
	cr_assert_gt(before.meta_bytes, 0u);
	cr_assert_geq(before.nr_used_pages[MMK_USE_META] * PAGE,
	    before.meta_bytes, "taken from RAM itself, and reported");
	for (pfn = 0; pfn < 1536; pfn++) {
		mmk_pa pa = pfn * PAGE;
		bool is_ram = (pa >= 0x100000 && pa < 0x300000) ||
		    (pa >= 0x380000 && pa < 0x600000);

		cr_assert_eq(mmk_frame_of_pa(&t.phys, pa) != NULL, is_ram);
		frames[pfn] = is_ram
		    ? mmk_frame_table_lookup(&t.phys.table, pfn) : NULL;
		cr_assert_eq(frames[pfn] != NULL, is_ram);
	}
	/* A life of allocation, on purpose uneven. */
	vm_anon(0, VA, 200);
	for (uint64_t i = 0; i < 200; i++)
		vm_put(0, VA + i * PAGE, (int)i);
	for (uint64_t i = 0; i < 200; i += 2)
		vm_munmap(0, VA + i * PAGE, 1);
	for (uint64_t i = 1; i < 200; i += 2) {
		mmk_pa pa = vm_pa(0, VA + i * PAGE);
		struct mmk_frame *frame = mmk_frame_of_pa(&t.phys, pa + 77);

		cr_assert_eq(frame, frames[pa / PAGE],
		    "the descriptor this page has always had");
		cr_assert_eq(mmk_frame_pa(&t.phys, frame), pa, "and back");
		cr_assert_eq(mmk_frame_at(&t.phys, mmk_frame_index(&t.phys,
		    frame)), frame);
	}
	for (pfn = 0; pfn < 1536; pfn++)
		if (frames[pfn] != NULL)
			cr_assert_eq(mmk_frame_table_lookup(&t.phys.table, pfn),
			    frames[pfn]);
	mmk_phys_stats_read(&t.phys, &after);
	cr_assert_eq(after.meta_bytes, before.meta_bytes);
	cr_assert_eq(after.nr_used_pages[MMK_USE_META],
	    before.nr_used_pages[MMK_USE_META]);
	cr_assert_eq(after.nr_pages, before.nr_pages);
	vm_end();
}

Test(rules_s4, S4_20_one_descriptor_for_each_page_for_ever)
{
	s4_20_run(SIM_ARCH_X86_64);
	s4_20_run(SIM_ARCH_AARCH64);
}
