/* SPDX-License-Identifier: MIT
 *
 * tests/test_frame.c: the contract of mmkit/phys/frame.h by example, its rules,
 * its bugs, and several threads.
 */
#include <pthread.h>

#include "frame_fixture.h"

TestSuite(frame, .init = boot, .fini = fini);
TestSuite(frame_bugs, .init = boot);
TestSuite(frame_threads, .init = boot, .fini = fini);

/* ---- allocate ------------------------------------------------------------ */

Test(frame, alloc_gives_one_reference_and_clean_fields)
{
	struct mmk_frame *frame = get(0, 0);

	cr_assert_eq(frame->refs, 1);
	cr_assert_eq(frame->mapped, 0);
	cr_assert_eq(frame->pins, 0);
	cr_assert_eq(frame->loans, 0);
	cr_assert_eq(frame->flags, MMK_FRAME_HEAD);
	cr_assert_eq(frame->order, 0);
	cr_assert_eq(frame->use, MMK_USE_KERNEL);
	cr_assert_null(frame->owner);
	cr_assert_null(frame->translations);
	put(frame);
}

Test(frame, alloc_cleans_what_the_last_owner_left)
{
	struct mmk_frame *frame = get(0, 0), *again;

	frame->owner = frame->translations = &phys;
	frame->flags |= MMK_FRAME_MODIFIED | MMK_FRAME_REFERENCED;
	put(frame);
	again = get(0, 0);
	cr_assert_eq(again, frame, "the cache gives the last one back first");
	cr_assert_null(again->owner);
	cr_assert_null(again->translations);
	cr_assert_eq(again->flags, MMK_FRAME_HEAD);
	put(again);
}

Test(frame, alloc_refuses_bad_arguments_and_touches_nothing)
{
	struct mmk_frame *frame = (struct mmk_frame *)&phys;
	struct mmk_phys_stats before = stats(), after;
	static const struct {
		unsigned order, flags;
		enum mmk_use use;
	} bad[] = {
		{ MMK_MAX_ORDER + 1, 0, MMK_USE_KERNEL },
		{ 64, 0, MMK_USE_KERNEL },
		{ UINT32_MAX, 0, MMK_USE_KERNEL },
		{ 0, MMK_ALLOC_FLAGS + 1, MMK_USE_KERNEL },
		{ 0, 0x80000000u, MMK_USE_KERNEL },
		{ 0, MMK_ALLOC_UNREFERENCED, MMK_USE_KERNEL },
		{ 0, 0, MMK_USE_FREE },
		{ 0, 0, MMK_USE_META },
		{ 0, 0, MMK_USE_MAX },
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		cr_assert_eq(mmk_frame_alloc(&phys, bad[i].order, bad[i].flags,
		                 bad[i].use, &frame),
		    MMK_ERR_INVAL, "case %zu", i);
		cr_assert_eq((void *)frame, (void *)&phys);
	}
	after = stats();
	cr_assert(memcmp(&before, &after, sizeof(before)) == 0);
}

Test(frame, alloc_aligns_every_order_to_its_size)
{
	for (unsigned order = 0; order <= 10; order++) {
		struct mmk_frame *a = get(order, 0), *b = get(order, 0);
		uint64_t bytes = MMK_PAGE_BYTES << order;

		cr_assert_eq(mmk_frame_pa(&phys, a) % bytes, 0);
		cr_assert_eq(mmk_frame_pa(&phys, b) % bytes, 0);
		cr_assert_neq(a, b);
		cr_assert_eq(mmk_frame_nr_pages(a), (uint64_t)1 << order);
		cr_assert(mmk_phys_check(&phys));
		put(a);
		put(b);
	}
}

Test(frame, alloc_zero_gives_zeroes_over_the_whole_frame)
{
	for (unsigned order = 0; order <= 3; order++) {
		size_t bytes = (size_t)(MMK_PAGE_BYTES << order);
		struct mmk_frame *frame = get(order, 0);
		unsigned char *p = mmk_frame_ptr(&phys, frame);

		memset(p, 0xa5, bytes);
		put(frame);
		frame = get(order, MMK_ALLOC_ZERO);
		p = mmk_frame_ptr(&phys, frame);
		for (size_t i = 0; i < bytes; i++)
			cr_assert_eq(p[i], 0, "order %u byte %zu", order, i);
		put(frame);
	}
}

Test(frame, alloc_that_is_made_to_fail_changes_nothing)
{
	struct mmk_frame *frame = NULL;
	struct mmk_phys_stats before, after;

	put(get(0, 0)); /* the cache has pages */
	before = stats();
	for (unsigned order = 0; order <= 4; order++) {
		sim_fail_at(1);
		cr_assert_eq(mmk_frame_alloc(&phys, order, 0, MMK_USE_KERNEL,
		                 &frame),
		    MMK_ERR_NOMEM);
		cr_assert_null(frame);
		after = stats();
		cr_assert(memcmp(&before, &after, sizeof(before)) == 0);
		cr_assert(mmk_phys_check(&phys));
	}
}

Test(frame, alloc_gives_every_page_once_then_says_no_memory)
{
	struct mmk_frame *none = NULL, *chain;
	uint64_t nr, nr_free = stats().nr_free_pages;

	chain = take_all(0, &nr);
	cr_assert_eq(nr, nr_free);
	cr_assert_eq(stats().nr_free_pages, 0);
	cr_assert_eq(mmk_frame_alloc(&phys, 0, 0, MMK_USE_KERNEL, &none),
	    MMK_ERR_NOMEM);
	cr_assert_null(none);
	cr_assert(mmk_phys_check(&phys));
	put_all(chain);
	cr_assert_eq(stats().nr_free_pages, nr_free);
}

Test(frame, freed_pages_merge_back_into_the_blocks_of_the_start)
{
	struct mmk_phys_stats before = stats(), after;
	uint64_t nr;

	put_all(take_all(0, &nr));
	mmk_phys_drain(&phys);
	after = stats();
	cr_assert_eq(after.nr_cached_pages, 0);
	cr_assert(memcmp(before.nr_free_blocks, after.nr_free_blocks,
	              sizeof(before.nr_free_blocks)) == 0);
}

Test(frame, alloc_empties_the_caches_of_all_cpus_before_it_gives_up)
{
	struct mmk_frame *chain, *per_cpu[NR_CPUS], *frame;
	uint64_t nr, nr_free = stats().nr_free_pages;

	for (unsigned cpu = 0; cpu < NR_CPUS; cpu++) {
		sim_set_cpu(cpu);
		per_cpu[cpu] = get(0, 0);
	}
	for (unsigned cpu = 0; cpu < NR_CPUS; cpu++) {
		sim_set_cpu(cpu);
		put(per_cpu[cpu]);
	}
	cr_assert_gt(stats().nr_cached_pages, 3 * MMK_CACHE_BATCH);
	sim_set_cpu(0);
	chain = take_all(0, &nr);
	cr_assert_eq(nr, nr_free, "pages stayed in the caches of others");
	put_all(chain);
	/* Singles keep the largest block apart until they are drained. */
	mmk_phys_drain(&phys);
	sim_set_cpu(3);
	put(get(0, 0));
	sim_set_cpu(0);
	chain = take_all(ORDER_2M, &nr);
	frame = chain;
	cr_assert_eq(nr, 7, "16 MiB less the block with the metadata");
	put_all(frame);
}

Test(frame, caches_keep_a_bounded_number_of_pages)
{
	struct mmk_frame *frames[200];

	for (unsigned i = 0; i < 200; i++)
		frames[i] = get(0, 0);
	for (unsigned i = 0; i < 200; i++) {
		put(frames[i]);
		cr_assert_leq(stats().nr_cached_pages,
		    MMK_CACHE_PAGES_MAX);
		cr_assert(mmk_phys_check(&phys));
	}
}

/* ---- rules --------------------------------------------------------------- */

Test(frame, S0_3_a_2M_frame_returns_whole_after_the_last_release)
{
	struct mmk_phys_stats before, after;
	struct mmk_frame *frame;

	mmk_phys_drain(&phys);
	before = stats();
	frame = get(ORDER_2M, 0);
	mmk_frame_ref(&phys, frame);
	cr_assert_eq(frame->refs, 2);
	cr_assert_eq(mmk_frame_unref(&phys, frame), 1);
	cr_assert_eq(stats().nr_free_pages,
	    before.nr_free_pages - ((uint64_t)1 << ORDER_2M));
	cr_assert(mmk_frame_is_held(frame));
	cr_assert_eq(mmk_frame_unref(&phys, frame), 0);
	mmk_phys_drain(&phys);
	after = stats();
	cr_assert_eq(after.nr_free_pages, before.nr_free_pages);
	cr_assert(memcmp(before.nr_free_blocks, after.nr_free_blocks,
	              sizeof(before.nr_free_blocks)) == 0);
}

Test(frame, S0_4_any_physical_address_is_a_frame)
{
	struct mmk_frame *frame = get(4, 0);
	mmk_pa pa = mmk_frame_pa(&phys, frame);
	static const mmk_pa foreign[] = { 16 * MIB, 16 * MIB + 1, 0xfee00000,
		(mmk_pa)1 << 40, (mmk_pa)1 << 52, UINT64_MAX };

	for (mmk_pa at = 0; at < 16 * MIB; at += MMK_PAGE_BYTES / 2)
		cr_assert_not_null(mmk_frame_of_pa(&phys, at));
	for (uint64_t i = 0; i < 16 * MMK_PAGE_BYTES; i += 97)
		cr_assert_eq(mmk_frame_of_pa(&phys, pa + i), frame,
		    "an address inside a large frame resolves to its head");
	cr_assert_neq(mmk_frame_of_pa(&phys, pa + 16 * MMK_PAGE_BYTES), frame);
	cr_assert_neq(mmk_frame_of_pa(&phys, pa - 1), frame);
	cr_assert(mmk_pa_ref(&phys, pa + 5 * MMK_PAGE_BYTES + 3));
	cr_assert_eq(frame->refs, 2);
	cr_assert(mmk_pa_unref(&phys, pa + 15 * MMK_PAGE_BYTES));
	cr_assert_eq(frame->refs, 1);
	for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++) {
		cr_assert_null(mmk_frame_of_pa(&phys, foreign[i]));
		cr_assert_not(mmk_pa_ref(&phys, foreign[i]));
		cr_assert_not(mmk_pa_unref(&phys, foreign[i]));
	}
	put(frame);
}

static struct mmk_frame *told;
static unsigned nr_told;
static void *told_ctx;

static void
tell(void *ctx, struct mmk_frame *frame)
{
	told = frame;
	told_ctx = ctx;
	nr_told++;
}

static void
boot_retained(void)
{
	struct sim_config machine = { .ram_bytes = 16 * MIB };
	struct mmk_phys_config config = { .retained_idle = tell,
		.ctx = &told };

	sim_boot(&machine);
	sim_set_cpu(0);
	config.spans = sim_spans(&config.nr_spans);
	cr_assert_eq(mmk_phys_init(&phys, &config), MMK_OK);
	nr_told = 0;
}

Test(frame_rules, S0_14_retained_frames_belong_to_their_owner,
    .init = boot_retained, .fini = fini)
{
	uint64_t nr_free = stats().nr_free_pages;
	struct mmk_frame *frame =
	    get(1, MMK_ALLOC_RETAINED | MMK_ALLOC_UNREFERENCED);
	char *p = mmk_frame_ptr(&phys, frame);

	cr_assert_eq(frame->refs, 0);
	cr_assert(mmk_frame_is_held(frame));
	cr_assert_eq(stats().nr_free_pages, nr_free - 2);
	cr_assert(mmk_phys_check(&phys));
	memset(p, 'x', 2 * MMK_PAGE_BYTES);
	mmk_frame_ref(&phys, frame);
	mmk_frame_ref(&phys, frame);
	cr_assert_eq(mmk_frame_free_retained(&phys, frame), MMK_ERR_BUSY);
	cr_assert_eq(mmk_frame_unref(&phys, frame), 1);
	cr_assert_eq(nr_told, 0);
	cr_assert_eq(mmk_frame_unref(&phys, frame), 0);
	cr_assert_eq(nr_told, 1);
	cr_assert_eq(told, frame);
	cr_assert_eq(told_ctx, (void *)&told);
	cr_assert(mmk_frame_is_held(frame), "not freed at refs 0");
	for (uint64_t i = 0; i < 2 * MMK_PAGE_BYTES; i++)
		cr_assert_eq(p[i], 'x', "contents kept");
	frame->mapped = 1;
	cr_assert_eq(mmk_frame_free_retained(&phys, frame), MMK_ERR_BUSY);
	frame->mapped = 0;
	cr_assert_eq(mmk_frame_pin(&phys, frame), MMK_OK);
	cr_assert_eq(mmk_frame_free_retained(&phys, frame), MMK_ERR_BUSY);
	mmk_frame_unpin(&phys, frame);
	frame->loans = 1;
	cr_assert_eq(mmk_frame_free_retained(&phys, frame), MMK_ERR_BUSY);
	frame->loans = 0;
	cr_assert_eq(stats().nr_free_pages, nr_free - 2);
	cr_assert_eq(mmk_frame_free_retained(&phys, frame), MMK_OK);
	cr_assert_eq(stats().nr_free_pages, nr_free);
}

Test(frame, S0_14_a_retained_frame_may_start_referenced_and_untold)
{
	struct mmk_frame *frame = get(0, MMK_ALLOC_RETAINED);

	cr_assert_eq(frame->refs, 1);
	cr_assert_eq(mmk_frame_unref(&phys, frame), 0);
	cr_assert(mmk_frame_is_held(frame));
	cr_assert_eq(mmk_frame_free_retained(&phys, frame), MMK_OK);
}

static void
free_when_told(void *ctx, struct mmk_frame *frame)
{
	(void)ctx;
	cr_assert_eq(mmk_frame_free_retained(&phys, frame), MMK_OK);
}

Test(frame_rules, the_owner_may_free_the_frame_while_being_told)
{
	struct sim_config machine = { .ram_bytes = 4 * MIB };
	struct mmk_phys_config config = { .retained_idle = free_when_told };
	struct mmk_frame *frame;

	sim_boot(&machine);
	sim_set_cpu(0);
	config.spans = sim_spans(&config.nr_spans);
	cr_assert_eq(mmk_phys_init(&phys, &config), MMK_OK);
	frame = get(0, MMK_ALLOC_RETAINED);
	cr_assert_eq(mmk_frame_unref(&phys, frame), 0);
	cr_assert_not(mmk_frame_is_held(frame));
	fini();
}

Test(frame, S2_2_a_page_is_free_or_held)
{
	struct mmk_frame *frame;
	uint64_t nr, nr_free = stats().nr_free_pages;
	struct mmk_frame *chain;

	for (mmk_pa pa = 0; pa < 16 * MIB; pa += MMK_PAGE_BYTES) {
		frame = mmk_frame_of_pa(&phys, pa);
		cr_assert_eq(mmk_frame_is_held(frame),
		    frame->use == MMK_USE_META);
	}
	chain = take_all(0, &nr);
	cr_assert_eq(nr, nr_free);
	for (mmk_pa pa = 0; pa < 16 * MIB; pa += MMK_PAGE_BYTES) {
		frame = mmk_frame_of_pa(&phys, pa);
		cr_assert_eq(mmk_frame_pa(&phys, frame), pa);
		cr_assert(mmk_frame_is_held(frame));
	}
	put_all(chain);
}

Test(frame, S4_20_a_page_has_one_descriptor_for_ever)
{
	uint64_t nr_pages = 16 * MIB >> MMK_PAGE_SHIFT, nr;
	struct mmk_frame *first = mmk_frame_at(&phys, 0);
	struct mmk_phys_stats s = stats();

	cr_assert_eq(s.nr_pages, nr_pages);
	cr_assert_geq(s.meta_bytes, nr_pages * sizeof(struct mmk_frame));
	cr_assert_leq(s.meta_bytes, nr_pages * 41,
	    "metadata is pages times 40 bytes and little more");
	cr_assert_eq(s.nr_used_pages[MMK_USE_META],
	    mmk_pages_round_up(s.meta_bytes), "taken from RAM and reported");
	for (unsigned round = 0; round < 2; round++) {
		struct mmk_frame *chain = take_all(0, &nr);

		for (struct mmk_frame *f = chain; f != NULL; f = f->owner) {
			mmk_pa pa = mmk_frame_pa(&phys, f);

			cr_assert_eq(f, first + (pa >> MMK_PAGE_SHIFT));
			cr_assert_eq(mmk_frame_of_pa(&phys, pa), f);
			cr_assert_eq(mmk_frame_index(&phys, f),
			    pa >> MMK_PAGE_SHIFT);
			cr_assert_eq(mmk_frame_at(&phys,
			                 mmk_frame_index(&phys, f)),
			    f);
			cr_assert_eq(MMKIT_PTR_TO_PHYS(mmk_frame_ptr(&phys, f)),
			    pa);
		}
		put_all(chain);
	}
}

Test(frame_rules, B0_k_RAM_that_starts_high_and_devices_stay_in_bounds)
{
	/* An array sized from the length but indexed from 0 would overrun. */
	struct sim_config machine = { .ram_bytes = 8 * MIB,
		.base_pa = 0x80000000 };
	struct mmk_phys_config config = { 0 };
	uint64_t nr;

	sim_boot(&machine);
	sim_set_cpu(0);
	config.spans = sim_spans(&config.nr_spans);
	cr_assert_eq(mmk_phys_init(&phys, &config), MMK_OK);
	cr_assert_eq(stats().nr_pages, 8 * MIB >> MMK_PAGE_SHIFT);
	cr_assert_leq(mmk_phys_meta_bytes(config.spans, config.nr_spans),
	    (8 * MIB >> MMK_PAGE_SHIFT) * 41);
	cr_assert_null(mmk_frame_of_pa(&phys, 0));
	cr_assert_null(mmk_frame_of_pa(&phys, 0x80000000 - 1));
	cr_assert_null(mmk_frame_of_pa(&phys, 0x80000000 + 8 * MIB));
	cr_assert_null(mmk_frame_of_pa(&phys, 0x09000000));
	cr_assert_not(mmk_pa_unref(&phys, 0xfe000000));
	put_all(take_all(0, &nr));
	fini();
}

/* ---- counts -------------------------------------------------------------- */

Test(frame, pins_nest_up_to_a_limit)
{
	struct mmk_frame *frame = get(0, 0);

	for (unsigned i = 0; i < UINT16_MAX; i++)
		cr_assert_eq(mmk_frame_pin(&phys, frame), MMK_OK);
	cr_assert_eq(mmk_frame_pin(&phys, frame), MMK_ERR_LIMIT);
	cr_assert_eq(frame->pins, UINT16_MAX);
	for (unsigned i = 0; i < UINT16_MAX; i++)
		mmk_frame_unpin(&phys, frame);
	cr_assert_eq(frame->pins, 0);
	put(frame);
}

Test(frame, use_is_counted_and_can_change)
{
	struct mmk_frame *frame = NULL;

	cr_assert_eq(mmk_frame_alloc(&phys, 2, 0, MMK_USE_TABLE, &frame),
	    MMK_OK);
	cr_assert_eq(stats().nr_used_pages[MMK_USE_TABLE], 4);
	sim_set_cpu(1); /* counts of several CPUs add up */
	mmk_frame_set_use(&phys, frame, MMK_USE_ANON);
	cr_assert_eq(stats().nr_used_pages[MMK_USE_TABLE], 0);
	cr_assert_eq(stats().nr_used_pages[MMK_USE_ANON], 4);
	cr_assert(mmk_phys_check(&phys));
	sim_set_cpu(2);
	put(frame);
	cr_assert_eq(stats().nr_used_pages[MMK_USE_ANON], 0);
	cr_assert_eq(stats().nr_used_pages[MMK_USE_FREE], 0);
}

Test(frame, peak_is_exact_on_one_cpu)
{
	struct mmk_frame *frames[100];
	uint64_t base = stats().peak_used_pages;

	cr_assert_eq(base, stats().nr_used_pages[MMK_USE_META]);
	for (unsigned n = 1; n <= 100; n += 9) {
		for (unsigned i = 0; i < n; i++)
			frames[i] = get(0, 0);
		for (unsigned i = 0; i < n; i++)
			put(frames[i]);
		cr_assert_eq(stats().peak_used_pages, base + n);
	}
	put(get(7, 0));
	cr_assert_eq(stats().peak_used_pages, base + 128);
	frames[0] = get(0, 0);
	put(get(7, 0));
	cr_assert_eq(stats().peak_used_pages, base + 129);
	put(frames[0]);
}

Test(frame, check_sees_a_planted_fault)
{
	struct mmk_frame *frame = get(3, 0), *single = get(0, 0);
	struct mmk_frame *cached, *tail = frame + 1;
	struct mmk_store_cpu *cpu = &phys.store.cpus[0];
	struct mmk_store_array *array = &cpu->arrays[0];

	put(single);
	cached = single;
#define PLANT(field, value)                                       \
	do {                                                      \
		__typeof__(field) keep = (field);                 \
		(field) = (value);                                \
		cr_assert_not(mmk_phys_check(&phys), #field);     \
		(field) = keep;                                   \
		cr_assert(mmk_phys_check(&phys));                 \
	} while (0)
	PLANT(frame->refs, 0);
	PLANT(frame->use, MMK_USE_FREE);
	PLANT(frame->use, MMK_USE_ANON);
	PLANT(frame->order, 2);
	PLANT(frame->order, 4);
	PLANT(frame->order, 63);
	PLANT(frame->flags, 0);
	PLANT(tail->flags, MMK_FRAME_HEAD);
	PLANT(cached->flags, MMK_FRAME_HEAD);
	PLANT(cached->flags, MMK_FRAME_HOLE);
	PLANT(cached->mapped, 1);
	PLANT(cached->pins, 1);
	PLANT(array->next, array->first);
	PLANT(array->next, array->first + array->max + 1);
	PLANT(cpu->slots[0], phys.table.nr_frames);
	PLANT(cpu->arrays[1].next, cpu->arrays[1].next + 1);
	PLANT(cpu->used[MMK_USE_KERNEL], 7);
	PLANT(phys.nr_pages, phys.nr_pages + 1);
	PLANT(phys.store.zones[MMK_ZONE_NORMAL].nr_free_pages, 1);
	PLANT(phys.table.granules[0].first_pfn, 64);
#undef PLANT
	put(frame);
}

/* ---- bugs ---------------------------------------------------------------- */

Test(frame_bugs, unref_of_a_free_page_traps, .signal = SIGABRT)
{
	struct mmk_frame *frame = get(0, 0);

	put(frame);
	put(frame);
}

Test(frame_bugs, unref_of_a_free_block_traps, .signal = SIGABRT)
{
	struct mmk_frame *frame = get(3, 0);

	put(frame);
	put(frame);
}

Test(frame_bugs, unref_of_a_tail_traps, .signal = SIGABRT)
{
	(void)mmk_frame_unref(&phys, get(3, 0) + 1);
}

Test(frame_bugs, unref_below_zero_traps, .signal = SIGABRT)
{
	struct mmk_frame *frame =
	    get(0, MMK_ALLOC_RETAINED | MMK_ALLOC_UNREFERENCED);

	(void)mmk_frame_unref(&phys, frame);
}

Test(frame_bugs, unref_by_address_of_a_free_page_traps, .signal = SIGABRT)
{
	mmk_pa pa = mmk_frame_pa(&phys, get(0, 0));

	mmk_pa_unref(&phys, pa);
	mmk_pa_unref(&phys, pa);
}

Test(frame_bugs, unref_of_metadata_traps, .signal = SIGABRT)
{
	struct mmk_frame *frame =
	    mmk_frame_of_pa(&phys, 16 * MIB - MMK_PAGE_BYTES);

	cr_assert_eq(frame->use, MMK_USE_META);
	(void)mmk_frame_unref(&phys, frame);
}

Test(frame_bugs, ref_of_a_free_page_traps, .signal = SIGABRT)
{
	struct mmk_frame *frame = get(0, 0);

	put(frame);
	mmk_frame_ref(&phys, frame);
}

Test(frame_bugs, ref_that_wraps_traps, .signal = SIGABRT)
{
	struct mmk_frame *frame = get(0, 0);

	frame->refs = UINT32_MAX;
	mmk_frame_ref(&phys, frame);
}

Test(frame_bugs, last_unref_of_a_mapped_page_traps, .signal = SIGABRT)
{
	struct mmk_frame *frame = get(0, 0);

	frame->mapped = 1;
	put(frame);
}

Test(frame_bugs, last_unref_of_a_pinned_page_traps, .signal = SIGABRT)
{
	struct mmk_frame *frame = get(0, 0);

	cr_assert_eq(mmk_frame_pin(&phys, frame), MMK_OK);
	put(frame);
}

Test(frame_bugs, last_unref_of_a_loaned_page_traps, .signal = SIGABRT)
{
	struct mmk_frame *frame = get(0, 0);

	frame->loans = 1;
	put(frame);
}

Test(frame_bugs, unpin_without_pin_traps, .signal = SIGABRT)
{
	mmk_frame_unpin(&phys, get(0, 0));
}

Test(frame_bugs, pin_of_a_free_page_traps, .signal = SIGABRT)
{
	struct mmk_frame *frame = get(0, 0);

	put(frame);
	cr_assert_eq(mmk_frame_pin(&phys, frame), MMK_OK);
}

Test(frame_bugs, free_retained_of_an_ordinary_frame_traps, .signal = SIGABRT)
{
	(void)!mmk_frame_free_retained(&phys, get(0, 0));
}

Test(frame_bugs, free_retained_twice_traps, .signal = SIGABRT)
{
	struct mmk_frame *frame =
	    get(0, MMK_ALLOC_RETAINED | MMK_ALLOC_UNREFERENCED);

	cr_assert_eq(mmk_frame_free_retained(&phys, frame), MMK_OK);
	(void)!mmk_frame_free_retained(&phys, frame);
}

Test(frame_bugs, set_use_to_free_traps, .signal = SIGABRT)
{
	mmk_frame_set_use(&phys, get(0, 0), MMK_USE_FREE);
}

Test(frame_bugs, set_use_of_a_free_page_traps, .signal = SIGABRT)
{
	struct mmk_frame *frame = get(0, 0);

	put(frame);
	mmk_frame_set_use(&phys, frame, MMK_USE_ANON);
}

Test(frame_bugs, descriptor_beyond_the_table_traps, .signal = SIGABRT)
{
	(void)mmk_frame_at(&phys, phys.table.nr_frames);
}

/* ---- threads ------------------------------------------------------------- */

enum { HAMMER_THREADS = 3, HAMMER_LIVE = 24 };
static struct mmk_frame *shared_frame;

/* Each stamps what it holds: a page with two owners shows the other's. */
static void *
hammer(void *arg)
{
	uint64_t id = (uint64_t)(uintptr_t)arg;
	uint64_t seed = mmk_test_seed() * 31 + id;
	struct mmk_frame *live[HAMMER_LIVE] = { NULL };

	sim_set_cpu((unsigned)id % NR_CPUS);
	for (unsigned step = 0; step < mmk_test_steps(20000); step++) {
		struct mmk_frame **slot =
		    &live[mmk_test_random(&seed) % HAMMER_LIVE];

		mmk_frame_ref(&phys, shared_frame);
		if (*slot == NULL) {
			uint64_t order = mmk_test_random(&seed) % 12;

			if (mmk_frame_alloc(&phys,
			        order > 3 ? 0 : (unsigned)order, 0,
			        MMK_USE_ANON, slot) == MMK_OK)
				*(uint64_t *)mmk_frame_ptr(&phys, *slot) = id;
		} else {
			cr_assert_eq(*(uint64_t *)mmk_frame_ptr(&phys, *slot),
			    id);
			cr_assert_eq(mmk_frame_of_pa(&phys,
			                 mmk_frame_pa(&phys, *slot) +
			                     mmk_frame_nr_pages(*slot) *
			                         MMK_PAGE_BYTES - 1),
			    *slot);
			put(*slot);
			*slot = NULL;
		}
		if (step % 256 == 0)
			mmk_phys_drain(&phys);
		if (step % 64 == 0)
			(void)stats();
		cr_assert_gt(mmk_frame_unref(&phys, shared_frame), 0);
	}
	for (unsigned i = 0; i < HAMMER_LIVE; i++)
		if (live[i] != NULL)
			put(live[i]);
	return NULL;
}

Test(frame_threads, allocate_and_free_at_once_on_several_cpus)
{
	pthread_t threads[HAMMER_THREADS];

	shared_frame = get(0, 0);
	for (uintptr_t i = 0; i < HAMMER_THREADS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, hammer,
		                 (void *)(i + 1)),
		    0);
	for (unsigned i = 0; i < HAMMER_THREADS; i++)
		cr_assert_eq(pthread_join(threads[i], NULL), 0);
	cr_assert_eq(shared_frame->refs, 1);
	put(shared_frame);
}
