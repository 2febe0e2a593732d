/* SPDX-License-Identifier: MIT
 *
 * tests/test_zones.c: what mmk_phys_config asks of the allocator: limits of
 * addresses, a reserve, a word when memory runs low; and its numbers.
 */
#include "frame_fixture.h"
#include "mmkit/phys/compact.h"

enum { PAGES = 4096 };

static unsigned nr_told;
static uint64_t told_free;

static void
tell_low(void *ctx, uint64_t nr_free_pages)
{
	struct mmk_frame *frame = NULL;

	cr_assert_eq(ctx, (void *)&nr_told);
	nr_told++;
	told_free = nr_free_pages;
	/* No lock is held: it may allocate. */
	if (mmk_frame_alloc(&phys, 1, 0, MMK_USE_KERNEL, &frame) == MMK_OK)
		put(frame);
}

static struct mmk_phys_config
machine_config(void)
{
	struct sim_config machine = {
		.ram_bytes = PAGES * MMK_PAGE_BYTES, .nr_cpus = NR_CPUS,
	};
	struct mmk_phys_config config = { 0 };

	sim_boot(&machine);
	sim_set_cpu(0);
	config.spans = sim_spans(&config.nr_spans);
	return config;
}

static struct mmk_frame *
chain_of(unsigned flags, uint64_t *nr_out)
{
	struct mmk_frame *chain = NULL, *frame = NULL;

	*nr_out = 0;
	while (mmk_frame_alloc(&phys, 0, flags, MMK_USE_KERNEL, &frame) ==
	    MMK_OK) {
		frame->owner = chain;
		chain = frame;
		++*nr_out;
	}
	return chain;
}

/* ---- limits -------------------------------------------------------------- */

Test(zones, each_request_stays_below_its_limit)
{
	struct mmk_phys_config config = machine_config();
	mmk_pfn dma_pfn = 256, low_pfn = 1024;
	struct mmk_frame *dma, *low;
	uint64_t nr_dma, nr_low;

	config.dma_limit_pa = mmk_pa_of_pfn(dma_pfn);
	config.low_limit_pa = mmk_pa_of_pfn(low_pfn);
	cr_assert_eq(mmk_phys_init(&phys, &config), MMK_OK);
	dma = chain_of(MMK_ALLOC_DMA, &nr_dma);
	cr_assert_eq(nr_dma, dma_pfn);
	for (struct mmk_frame *f = dma; f != NULL; f = f->owner)
		cr_assert_lt(mmk_frame_pa(&phys, f), config.dma_limit_pa);
	low = chain_of(MMK_ALLOC_LOW, &nr_low);
	cr_assert_eq(nr_low, low_pfn - dma_pfn);
	for (struct mmk_frame *f = low; f != NULL; f = f->owner)
		cr_assert_lt(mmk_frame_pa(&phys, f), config.low_limit_pa);
	put_all(dma);
	low = (put_all(low), chain_of(MMK_ALLOC_LOW, &nr_low));
	cr_assert_eq(nr_low, low_pfn, "LOW may use DMA as well");
	put_all(low);
	fini();
}

Test(zones, ordinary_requests_go_down_zone_by_zone)
{
	struct mmk_phys_config config = machine_config();
	struct mmk_frame *all;
	unsigned z = 0;
	uint64_t nr;

	config.dma_limit_pa = mmk_pa_of_pfn(256);
	config.low_limit_pa = mmk_pa_of_pfn(1024);
	cr_assert_eq(mmk_phys_init(&phys, &config), MMK_OK);
	all = take_all(0, &nr);
	cr_assert_eq(stats().nr_free_pages, 0);
	/* The chain is the last one first. */
	for (struct mmk_frame *f = all; f != NULL; f = f->owner) {
		mmk_pa pa = mmk_frame_pa(&phys, f);
		unsigned at = pa < config.dma_limit_pa ? 0
		    : pa < config.low_limit_pa        ? 1 : 2;

		cr_assert_geq(at, z);
		z = at;
	}
	cr_assert_eq(z, 2);
	put_all(all);
	fini();
}

Test(zones, limits_out_of_order_are_refused)
{
	struct mmk_phys_config config = machine_config();

	config.dma_limit_pa = 2 * MIB;
	config.low_limit_pa = MIB;
	cr_assert_eq(mmk_phys_init(&phys, &config), MMK_ERR_INVAL);
}

Test(zones, limits_beyond_RAM_leave_one_zone)
{
	struct mmk_phys_config config = machine_config();
	uint64_t nr;

	config.dma_limit_pa = (mmk_pa)1 << 40;
	config.low_limit_pa = (mmk_pa)1 << 44;
	cr_assert_eq(mmk_phys_init(&phys, &config), MMK_OK);
	put_all(chain_of(MMK_ALLOC_DMA, &nr));
	cr_assert_eq(nr, stats().nr_free_pages);
	put(get(0, 0));
	put(get(9, MMK_ALLOC_DMA));
	fini();
}

/* ---- reserve and low water ----------------------------------------------- */

Test(zones, the_reserve_is_for_those_who_name_it)
{
	struct mmk_phys_config config = machine_config();
	struct mmk_frame *all, *dip, *none = NULL;
	uint64_t nr, nr_dip, nr_free;

	config.reserve_pages = 100;
	cr_assert_eq(mmk_phys_init(&phys, &config), MMK_OK);
	nr_free = stats().nr_free_pages;
	all = take_all(0, &nr);
	cr_assert_eq(nr, nr_free - 100);
	for (unsigned order = 0; order <= 6; order++)
		cr_assert_eq(mmk_frame_alloc(&phys, order, 0, MMK_USE_ANON,
		                 &none), MMK_ERR_NOMEM);
	dip = chain_of(MMK_ALLOC_RESERVE, &nr_dip);
	cr_assert_eq(nr_dip, 100);
	put_all(dip);
	mmk_phys_drain(&phys);
	cr_assert_eq(mmk_frame_alloc(&phys, 0, 0, MMK_USE_ANON, &none),
	    MMK_ERR_NOMEM, "it is a reserve again");
	dip = get(0, MMK_ALLOC_RESERVE);
	cr_assert_eq(stats().nr_cached_pages, 0, "no more than was asked for");
	put(dip);
	put_all(all);
	fini();
}

/* Nor is it for runs, whether frames are moved for them or not. */
Test(zones, the_reserve_is_not_for_runs)
{
	struct mmk_phys_config config = machine_config();
	struct mmk_run_request request = { .nr_pages = 3,
		.use = MMK_USE_KERNEL };
	struct mmk_compaction effort = { NULL, 1000, 0 };
	struct mmk_frame *all;
	mmk_pfn first = 1;
	uint64_t nr;

	config.reserve_pages = 100;
	cr_assert_eq(mmk_phys_init(&phys, &config), MMK_OK);
	all = take_all(0, &nr);
	cr_assert_eq(mmk_run_alloc(&phys, &request, &first), MMK_ERR_NOSPACE);
	cr_assert_eq(mmk_compact_run(&phys, &effort, &request, &first),
	    MMK_ERR_NOMEM);
	cr_assert_eq(first, 1u);
	cr_assert_eq(effort.nr_moves, 0);
	put_all(all);
	cr_assert_eq(mmk_run_alloc(&phys, &request, &first), MMK_OK);
	mmk_run_free(&phys, first, 3);
	fini();
}

Test(zones, low_water_is_told_of_a_run)
{
	struct mmk_phys_config config = machine_config();
	struct mmk_run_request request = { .nr_pages = 3,
		.use = MMK_USE_KERNEL };
	mmk_pfn first = 0;

	config.low_water = tell_low;
	config.low_water_pages = PAGES;
	config.ctx = &nr_told;
	nr_told = 0;
	cr_assert_eq(mmk_phys_init(&phys, &config), MMK_OK);
	cr_assert_eq(mmk_run_alloc(&phys, &request, &first), MMK_OK);
	cr_assert_eq(nr_told, 1);
	mmk_run_free(&phys, first, 3);
	fini();
}

Test(zones, low_water_is_told_once_each_time)
{
	struct mmk_phys_config config = machine_config();
	struct mmk_frame *all;
	uint64_t nr;

	config.low_water = tell_low;
	config.low_water_pages = 1000;
	config.ctx = &nr_told;
	nr_told = 0;
	cr_assert_eq(mmk_phys_init(&phys, &config), MMK_OK);
	for (unsigned round = 1; round <= 3; round++) {
		all = take_all(0, &nr);
		cr_assert_eq(nr_told, round);
		cr_assert_lt(told_free, 1000);
		cr_assert_geq(told_free, 1000 - 2 * MMK_CACHE_BATCH);
		put_all(all);
		mmk_phys_drain(&phys);
		put(get(5, 0)); /* by way of a zone: it sees that there is more */
	}
	fini();
}

/* ---- numbers ------------------------------------------------------------- */

Test(zones, fragmentation_is_what_lies_in_smaller_blocks)
{
	struct mmk_phys_config config = machine_config();
	struct mmk_frame *all, *next, *keep = NULL;
	uint64_t nr;

	cr_assert_eq(mmk_phys_init(&phys, &config), MMK_OK);
	cr_assert_eq(stats().unusable_permille[0], 0);
	cr_assert_lt(stats().unusable_permille[9], 130);
	all = take_all(0, &nr);
	for (; all != NULL; all = next) {
		next = all->owner;
		if (mmk_frame_index(&phys, all) % 2 == 0) {
			put(all);
		} else {
			all->owner = keep;
			keep = all;
		}
	}
	mmk_phys_drain(&phys);
	cr_assert_eq(stats().unusable_permille[0], 0);
	cr_assert_eq(stats().unusable_permille[1], 1000, "every other page");
	cr_assert_eq(stats().unusable_permille[9], 1000);
	cr_assert_eq(stats().nr_free_blocks[0], stats().nr_free_pages);
	put_all(keep);
	fini();
}

Test(zones, regions_add_up_to_what_is_free)
{
	struct mmk_phys_config config = machine_config();
	struct mmk_phys_region regions[100];
	struct mmk_frame *frames[3];
	size_t counts[] = { 1, 7, 64, 100 };

	config.low_limit_pa = 5 * MIB;
	cr_assert_eq(mmk_phys_init(&phys, &config), MMK_OK);
	for (unsigned i = 0; i < 3; i++)
		frames[i] = get(3 * i, 0);
	mmk_phys_drain(&phys);
	for (unsigned c = 0; c < 4; c++) {
		uint64_t nr_free = 0, nr_pages = 0;

		mmk_phys_regions_read(&phys, counts[c], regions);
		for (size_t r = 0; r < counts[c]; r++) {
			if (regions[r].nr_pages > 0)
				cr_assert_eq(regions[r].start_pa,
				    mmk_pa_of_pfn(nr_pages));
			nr_free += regions[r].nr_free_pages;
			nr_pages += regions[r].nr_pages;
			cr_assert_leq(regions[r].nr_free_pages,
			    regions[r].nr_pages);
		}
		cr_assert_eq(nr_free, stats().nr_free_pages);
		cr_assert_eq(nr_pages, PAGES);
	}
	for (unsigned i = 0; i < 3; i++)
		put(frames[i]);
	fini();
}
