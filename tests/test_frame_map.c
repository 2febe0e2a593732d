/* SPDX-License-Identifier: MIT
 *
 * tests/test_frame_map.c: memory maps of any kind (mmkit/phys/table.h), zones,
 * and random work against a map of owners.
 */
#include "frame_fixture.h"

/* ---- zones --------------------------------------------------------------- */

Test(frame_map, low_requests_stay_below_the_limit_and_others_use_it_last)
{
	uint64_t limits[] = { 4 * MIB, 5 * MIB + MMK_PAGE_BYTES + 17 };

	for (size_t i = 0; i < 2; i++) {
		struct mmk_frame *low, *none = NULL, *all;
		uint64_t nr_low, nr_normal, limit = limits[i];

		boot_spans(16 * MIB, NULL, 0, limit);
		/* Orders 0 to 3, each until it fails. */
		for (unsigned order = 0; order <= 3; order++) {
			struct mmk_frame *chain = NULL;

			while (mmk_frame_alloc(&phys, order, MMK_ALLOC_LOW,
			           MMK_USE_KERNEL, &low) == MMK_OK) {
				cr_assert_leq(mmk_frame_pa(&phys, low) +
				        (MMK_PAGE_BYTES << order),
				    limit);
				low->owner = chain;
				chain = low;
			}
			cr_assert_not_null(chain);
			put_all(chain);
		}
		mmk_phys_drain(&phys);
		/* The first ordinary one below the limit is when NORMAL is
		 * full; the caches of this CPU count. */
		all = take_all(0, &nr_normal);
		nr_low = 0;
		for (low = all; low != NULL &&
		     mmk_frame_pa(&phys, low) < mmk_round_down(limit,
		         mmk_bytes_of_pages(MMK_GRANULE_PAGES));
		     low = low->owner)
			nr_low++;
		limit = mmk_round_down(limit,
		    mmk_bytes_of_pages(MMK_GRANULE_PAGES));
		cr_assert_eq(nr_low, limit >> MMK_PAGE_SHIFT);
		for (; low != NULL; low = low->owner)
			cr_assert_geq(mmk_frame_pa(&phys, low), limit);
		cr_assert_eq(mmk_frame_alloc(&phys, 0, MMK_ALLOC_LOW,
		                 MMK_USE_KERNEL, &none),
		    MMK_ERR_NOMEM);
		put_all(all);
		fini();
	}
}

Test(frame_map, a_zone_may_be_empty)
{
	struct mmk_frame *frame = NULL;

	boot_spans(16 * MIB, NULL, 0, 0);
	cr_assert_eq(mmk_frame_alloc(&phys, 0, MMK_ALLOC_LOW, MMK_USE_KERNEL,
	                 &frame),
	    MMK_ERR_NOMEM, "there is no memory below 0");
	fini();
	boot_spans(16 * MIB, NULL, 0, 4096 * MIB);
	put(get(0, MMK_ALLOC_LOW));
	put(get(3, 0));
	put(get(0, 0));
	fini();
}

/* ---- memory maps --------------------------------------------------------- */

Test(frame_map, init_refuses_what_it_cannot_use)
{
	struct sim_config machine = { .ram_bytes = 4 * MIB };
	static const struct mmk_phys_span none[] = {
		{ 100, 200 }, { 0x2000, 0x2000 }, { 0x9000, 0x3000 },
		{ MMK_PAGE_BYTES - 1, 2 * MMK_PAGE_BYTES - 1 },
		{ UINT64_MAX - 10, UINT64_MAX },
	};
	static const struct mmk_phys_span small[] = { { 0, MMK_PAGE_BYTES },
		{ 2 * MMK_PAGE_BYTES, 3 * MMK_PAGE_BYTES } };
	static const struct mmk_phys_span huge[] = { { 0, UINT64_MAX } };
	struct mmk_phys_config config = { .spans = none, .nr_spans = 5 };
	uint64_t bytes = mmk_phys_meta_bytes(small, 2);
	char *meta = malloc(bytes + 8);

	sim_boot(&machine);
	cr_assert_eq(mmk_phys_meta_bytes(none, 5), 0);
	cr_assert_eq(mmk_phys_meta_bytes(NULL, 0), 0);
	cr_assert_eq(mmk_phys_init(&phys, &config), MMK_ERR_INVAL);
	config.nr_spans = 0;
	cr_assert_eq(mmk_phys_init(&phys, &config), MMK_ERR_INVAL);
	config.spans = small;
	config.nr_spans = 2;
	config.meta = meta;
	config.meta_bytes = bytes - 1;
	cr_assert_eq(mmk_phys_init(&phys, &config), MMK_ERR_NOMEM);
	config.meta = meta + 4;
	config.meta_bytes = bytes;
	cr_assert_eq(mmk_phys_init(&phys, &config), MMK_ERR_INVAL);
	config.meta = NULL;
	if (mmk_pages_round_up(bytes) > 1)
		cr_assert_eq(mmk_phys_init(&phys, &config), MMK_ERR_NOMEM);
	config.spans = huge;
	config.nr_spans = 1;
	cr_assert_eq(mmk_phys_init(&phys, &config), MMK_ERR_LIMIT);
	config.spans = small;
	config.nr_spans = 2;
	config.meta = meta;
	config.meta_bytes = bytes;
	cr_assert_eq(mmk_phys_init(&phys, &config), MMK_OK);
	cr_assert_eq(stats().nr_pages, 2);
	cr_assert_eq(stats().nr_free_pages, 2);
	cr_assert_eq(stats().meta_bytes, bytes);
	fini();
	free(meta);
}

Test(frame_map, pieces_of_a_page_join_when_they_touch)
{
	struct mmk_phys_span spans[] = {
		{ 3 * MMK_PAGE_BYTES - 100, 3 * MMK_PAGE_BYTES + 1 },
		{ MMK_PAGE_BYTES + 7, 3 * MMK_PAGE_BYTES - 100 },
		{ 3, MMK_PAGE_BYTES + 7 },
	};
	struct mmk_phys_span run = { 0, 0 };

	cr_assert(mmk_phys_span_next(spans, 3, 0, &run));
	cr_assert_eq(run.start_pa, MMK_PAGE_BYTES);
	cr_assert_eq(run.end_pa, 3 * MMK_PAGE_BYTES);
	cr_assert_not(mmk_phys_span_next(spans, 3, run.end_pa, &run));
	cr_assert_eq(run.start_pa, MMK_PAGE_BYTES, "untouched");
}

Test(frame_map, hundreds_of_one_page_spans_in_any_order)
{
	enum { NR = 700 };
	static struct mmk_phys_span spans[NR];
	struct sim_config machine = { .ram_bytes = 8 * MIB };
	struct mmk_phys_config config = { .spans = spans, .nr_spans = NR };
	struct mmk_frame *chain;
	uint64_t nr;

	/* Every other page, highest first, and a run that holds metadata. */
	for (uint64_t i = 0; i < NR - 1; i++) {
		spans[i].start_pa = mmk_pa_of_pfn(2 * (NR - i));
		spans[i].end_pa = spans[i].start_pa + MMK_PAGE_BYTES;
	}
	spans[NR - 1].start_pa = 7 * MIB;
	spans[NR - 1].end_pa = 8 * MIB;
	sim_boot(&machine);
	sim_set_cpu(0);
	cr_assert_eq(mmk_phys_init(&phys, &config), MMK_OK);
	cr_assert_eq(stats().nr_pages, NR - 1 + (MIB >> MMK_PAGE_SHIFT));
	cr_assert_eq(stats().nr_pages,
	    stats().nr_free_pages + stats().nr_used_pages[MMK_USE_META]);
	for (uint64_t i = 0; i < NR - 1; i++) {
		cr_assert_not_null(mmk_frame_of_pa(&phys, spans[i].start_pa));
		cr_assert_null(mmk_frame_of_pa(&phys, spans[i].end_pa));
	}
	chain = take_all(0, &nr);
	cr_assert_eq(nr + stats().nr_used_pages[MMK_USE_META],
	    stats().nr_pages);
	put_all(chain);
	fini();
}

/* What the firmware of a PC says, in no order, and what is on top of it. */
Test(frame_map, a_map_of_firmware_less_what_is_in_use)
{
	enum { NR = 300 };
	static struct mmk_phys_span spans[NR], reserved[NR];
	struct sim_config machine = { .ram_bytes = 16 * MIB,
		.nr_cpus = NR_CPUS };
	struct mmk_phys_config config = { .spans = spans, .nr_spans = NR,
		.reserved = reserved, .nr_reserved = NR };
	struct mmk_frame *frame;
	uint64_t nr;

	for (uint64_t i = 0; i < NR; i++) {
		/* Boot services, loader code and free pages, piece by piece. */
		spans[i].start_pa = (NR - 1 - i) * 13 * MMK_PAGE_BYTES;
		spans[i].end_pa = spans[i].start_pa + 14 * MMK_PAGE_BYTES;
		/* ACPI tables and modules: a few bytes in every 26th page. */
		reserved[i].start_pa = i * 26 * MMK_PAGE_BYTES + 100;
		reserved[i].end_pa = reserved[i].start_pa + 8;
	}
	/* The kernel's image, twice, and nothing at all. */
	reserved[7].start_pa = 2 * MIB;
	reserved[7].end_pa = 3 * MIB;
	reserved[8].start_pa = 2 * MIB + 5;
	reserved[8].end_pa = 3 * MIB - 5;
	reserved[9].start_pa = 5 * MIB;
	reserved[9].end_pa = 4 * MIB;
	sim_boot(&machine);
	sim_set_cpu(0);
	cr_assert_eq(mmk_phys_init(&phys, &config), MMK_OK);
	cr_assert(mmk_phys_check(&phys));
	cr_assert_null(mmk_frame_of_pa(&phys, 0));
	cr_assert_not_null(mmk_frame_of_pa(&phys, MMK_PAGE_BYTES));
	cr_assert_null(mmk_frame_of_pa(&phys, 26 * MMK_PAGE_BYTES));
	cr_assert_null(mmk_frame_of_pa(&phys, 2 * MIB));
	cr_assert_null(mmk_frame_of_pa(&phys, 3 * MIB - 1));
	cr_assert_not_null(mmk_frame_of_pa(&phys, 3 * MIB));
	cr_assert_not_null(mmk_frame_of_pa(&phys, 4 * MIB + 4096));
	frame = take_all(0, &nr);
	cr_assert_eq(nr + stats().nr_used_pages[MMK_USE_META],
	    stats().nr_pages);
	put_all(frame);
	fini();
	/* Everything is reserved: there is no RAM. */
	reserved[0].start_pa = 0;
	reserved[0].end_pa = UINT64_MAX;
	cr_assert_eq(mmk_phys_config_meta_bytes(&config), 0);
	cr_assert_eq(mmk_phys_init(&phys, &config), MMK_ERR_INVAL);
}

/* The table alone, where no RAM is behind the addresses. */
static void
check_table(const struct mmk_phys_span *spans, size_t nr_spans,
    uint64_t max_bytes)
{
	struct mmk_phys_map map = { spans, nr_spans, NULL, 0 };
	struct mmk_frame_plan plan;
	struct mmk_frame_table table;
	struct mmk_phys_span run = { 0, 0 };
	uint64_t nr_pages = 0;
	void *meta;

	mmk_frame_table_plan(&map, &plan);
	cr_assert_leq(plan.bytes, max_bytes);
	meta = malloc(plan.bytes);
	mmk_frame_table_build(&table, &plan, &map, meta, false);
	while (mmk_phys_span_next(spans, nr_spans, run.end_pa, &run)) {
		mmk_pfn first = mmk_pfn_of_pa(run.start_pa);
		mmk_pfn end = mmk_pfn_of_pa(run.end_pa);

		for (mmk_pfn pfn = first; pfn < end; pfn++) {
			struct mmk_frame *f =
			    mmk_frame_table_lookup(&table, pfn);

			cr_assert_not_null(f);
			cr_assert_lt(mmk_frame_table_index(&table, f),
			    table.nr_frames);
			cr_assert_eq(f->refs, 0, "two pages share one");
			f->refs = 1;
			cr_assert_eq(mmk_frame_table_pfn(&table, f), pfn);
		}
		cr_assert_null(mmk_frame_table_lookup(&table,
		    first - 2 * MMK_GRANULE_PAGES));
		nr_pages += end - first;
	}
	cr_assert_eq(nr_pages, plan.nr_pages);
	free(meta);
}

Test(frame_map, S4_20_holes_between_sections_cost_next_to_nothing)
{
	mmk_pa section = mmk_pa_of_pfn(MMK_SECTION_PAGES);
	struct mmk_phys_span spans[] = {
		{ ((mmk_pa)1 << 44) + section - 3 * MMK_PAGE_BYTES,
		    ((mmk_pa)1 << 44) + 2 * section + MMK_PAGE_BYTES },
		{ 0, MIB },
		{ ((mmk_pa)1 << 40) + 5 * MMK_PAGE_BYTES,
		    ((mmk_pa)1 << 40) + 6 * MMK_PAGE_BYTES },
	};

	/* A terabyte of nothing, and sixteen. */
	check_table(spans, 3,
	    41 * (MMK_SECTION_PAGES + 256 + 6 * MMK_GRANULE_PAGES) +
	        8 * (((uint64_t)1 << 44) / section + 4));
}

Test(frame_map, a_hole_inside_a_section_is_no_frame)
{
	struct mmk_phys_span spans[] = {
		{ 0, 100 * MMK_PAGE_BYTES },
		{ 3000 * MMK_PAGE_BYTES, 3010 * MMK_PAGE_BYTES },
		{ 1000 * MMK_PAGE_BYTES, 2000 * MMK_PAGE_BYTES },
	};
	mmk_pfn in[] = { 0, 99, 1000, 1999, 3000, 3009 };
	mmk_pfn out[] = { 100, 127, 128, 500, 999, 2000, 2999, 3010, 3071,
		3072 };

	boot_spans(16 * MIB, spans, 3, 0);
	for (size_t i = 0; i < sizeof(in) / sizeof(in[0]); i++)
		cr_assert_not_null(
		    mmk_frame_of_pa(&phys, mmk_pa_of_pfn(in[i])));
	for (size_t i = 0; i < sizeof(out) / sizeof(out[0]); i++)
		cr_assert_null(mmk_frame_of_pa(&phys, mmk_pa_of_pfn(out[i])));
	fini();
}

/* ---- properties ---------------------------------------------------------- */

/* A page is lost if any quarter of it is reserved. */
static void
reserve_some(uint64_t *seed, unsigned char *cells, uint64_t nr_cells,
    struct mmk_phys_span *reserved, size_t nr_reserved)
{
	for (size_t i = 0; i < nr_reserved; i++) {
		uint64_t a = mmk_test_random(seed) % nr_cells;
		uint64_t b = a + mmk_test_random(seed) % 64;

		reserved[i].start_pa = a * (MMK_PAGE_BYTES / 4);
		reserved[i].end_pa = b * (MMK_PAGE_BYTES / 4);
		for (; a < b && a < nr_cells; a++)
			cells[a] = 2;
	}
}

/* Span lists of quarter pages against a map with a byte for each. */
Test(frame_map, prop_any_span_list_gives_exactly_its_whole_pages)
{
	enum { NR_PAGES = 512, NR_CELLS = 4 * NR_PAGES, NR_SPANS = 40 };
	uint64_t cell_bytes = MMK_PAGE_BYTES / 4;
	uint64_t seed = mmk_test_seed(), start_seed = seed;
	struct sim_config machine = {
		.ram_bytes = NR_PAGES * MMK_PAGE_BYTES,
	};
	static unsigned char cells[NR_CELLS];
	struct mmk_phys_span spans[NR_SPANS], reserved[NR_SPANS / 4];

	for (unsigned round = 0; round < mmk_test_steps(60); round++) {
		struct mmk_phys_config config = { .spans = spans };
		uint64_t nr_pages = 0, nr = 0, span_max;
		struct mmk_frame *chain;

		memset(cells, 0, sizeof(cells));
		config.nr_spans = mmk_test_random(&seed) % NR_SPANS + 1;
		span_max = (uint64_t)1 << (mmk_test_random(&seed) % 10);
		for (size_t i = 0; i < config.nr_spans; i++) {
			uint64_t a = mmk_test_random(&seed) % NR_CELLS;
			uint64_t b = a + mmk_test_random(&seed) % span_max;

			b = b > NR_CELLS ? NR_CELLS : b;
			spans[i].start_pa = a * cell_bytes;
			spans[i].end_pa = b * cell_bytes;
			memset(cells + a, 1, b - a);
		}
		config.reserved = reserved;
		config.nr_reserved = mmk_test_random(&seed) % (NR_SPANS / 4);
		reserve_some(&seed, cells, NR_CELLS, reserved,
		    config.nr_reserved);
		for (unsigned p = 0; p < NR_PAGES; p++)
			nr_pages += memcmp(&cells[4 * p], "\1\1\1\1", 4) == 0;
		sim_boot(&machine);
		sim_set_cpu(0);
		config.meta_bytes = mmk_phys_config_meta_bytes(&config);
		config.meta = malloc(config.meta_bytes + 1);
		config.low_limit_pa =
		    mmk_test_random(&seed) % (NR_PAGES * MMK_PAGE_BYTES);
		if (nr_pages == 0) {
			cr_assert_eq(config.meta_bytes, 0);
			free(config.meta);
			continue;
		}
		cr_assert_eq(mmk_phys_init(&phys, &config), MMK_OK);
		cr_assert(mmk_phys_check(&phys), "MMK_SEED=%llu round %u",
		    (unsigned long long)start_seed, round);
		cr_assert_eq(stats().nr_free_pages, nr_pages,
		    "MMK_SEED=%llu round %u", (unsigned long long)start_seed,
		    round);
		for (unsigned p = 0; p < NR_PAGES; p++)
			cr_assert_eq(
			    mmk_frame_of_pa(&phys, mmk_pa_of_pfn(p)) != NULL,
			    memcmp(&cells[4 * p], "\1\1\1\1", 4) == 0,
			    "MMK_SEED=%llu round %u page %u",
			    (unsigned long long)start_seed, round, p);
		chain = take_all(0, &nr);
		cr_assert_eq(nr, nr_pages);
		put_all(chain);
		fini();
		free(config.meta);
	}
}

/* One allocation of the oracle's. */
struct live {
	struct mmk_frame *frame;
	unsigned refs;
	bool is_retained;
};

enum { ORACLE_PAGES = 1024, ORACLE_LIVE = 200 };

struct oracle {
	uint64_t seed, start_seed;
	unsigned step, nr_live;
	unsigned char taken[ORACLE_PAGES];
	struct live live[ORACLE_LIVE];
};

static void
oracle_mark(struct oracle *o, const struct mmk_frame *frame, unsigned char to)
{
	mmk_pfn pfn = mmk_pfn_of_pa(mmk_frame_pa(&phys, frame));

	for (uint64_t i = 0; i < mmk_frame_nr_pages(frame); i++) {
		cr_assert_neq(o->taken[pfn + i], to,
		    "MMK_SEED=%llu step %u: page %llu has two owners",
		    (unsigned long long)o->start_seed, o->step,
		    (unsigned long long)(pfn + i));
		o->taken[pfn + i] = to;
	}
}

static bool
oracle_has_room(const struct oracle *o, unsigned order, uint64_t end_pfn)
{
	for (uint64_t p = 0; p + (1u << order) <= end_pfn; p += 1u << order) {
		uint64_t i = 0;

		while (i < 1u << order && o->taken[p + i] == 0)
			i++;
		if (i == 1u << order)
			return true;
	}
	return false;
}

static void
oracle_alloc(struct oracle *o, mmk_pfn low_pfn)
{
	unsigned order = (unsigned)(mmk_test_random(&o->seed) % 8);
	unsigned flags = (unsigned)(mmk_test_random(&o->seed) % 16);
	bool is_low = (flags & MMK_ALLOC_LOW) != 0, must_fail, has_room;
	struct live *live = &o->live[o->nr_live];
	enum mmk_err err;

	order = order > 4 ? 0 : order;
	if ((flags & MMK_ALLOC_RETAINED) == 0)
		flags &= ~MMK_ALLOC_UNREFERENCED;
	must_fail = mmk_test_random(&o->seed) % 16 == 0;
	sim_fail_at(must_fail ? 1 : 0);
	/* A block never straddles the limit, which is aligned to order 4. */
	has_room = oracle_has_room(o, order, is_low ? low_pfn : ORACLE_PAGES);
	err = mmk_frame_alloc(&phys, order, flags, MMK_USE_ANON, &live->frame);
	cr_assert_eq(err == MMK_OK, has_room && !must_fail,
	    "MMK_SEED=%llu step %u order %u flags %u: %s",
	    (unsigned long long)o->start_seed, o->step, order, flags,
	    mmk_err_name(err));
	if (err != MMK_OK)
		return;
	oracle_mark(o, live->frame, 1);
	live->refs = (flags & MMK_ALLOC_UNREFERENCED) != 0 ? 0 : 1;
	live->is_retained = (flags & MMK_ALLOC_RETAINED) != 0;
	cr_assert_eq(live->frame->refs, live->refs);
	if (is_low)
		cr_assert_leq(mmk_pfn_of_pa(mmk_frame_pa(&phys, live->frame)) +
		        mmk_frame_nr_pages(live->frame),
		    low_pfn);
	o->nr_live++;
}

static void
oracle_drop(struct oracle *o, struct live *live)
{
	if (live->refs > 0) {
		bool is_last = live->refs == 1 && !live->is_retained;

		if (is_last)
			oracle_mark(o, live->frame, 0);
		cr_assert_eq(mmk_frame_unref(&phys, live->frame), --live->refs);
		if (!is_last)
			return;
	} else {
		oracle_mark(o, live->frame, 0);
		cr_assert_eq(mmk_frame_free_retained(&phys, live->frame),
		    MMK_OK);
	}
	*live = o->live[--o->nr_live];
}

static void
oracle_step(struct oracle *o, mmk_pfn low_pfn)
{
	struct live *live;

	sim_set_cpu((unsigned)(mmk_test_random(&o->seed) % NR_CPUS));
	if (o->nr_live == 0 || (o->nr_live < ORACLE_LIVE &&
	                           mmk_test_random(&o->seed) % 2 == 0)) {
		oracle_alloc(o, low_pfn);
		return;
	}
	live = &o->live[mmk_test_random(&o->seed) % o->nr_live];
	switch (mmk_test_random(&o->seed) % 8) {
	case 0:
		mmk_frame_ref(&phys, live->frame);
		live->refs++;
		break;
	case 1:
		mmk_phys_drain(&phys);
		break;
	default:
		oracle_drop(o, live);
	}
}

Test(frame_map, prop_agrees_with_a_map_of_owners)
{
	static struct oracle o;
	struct sim_config machine = {
		.ram_bytes = ORACLE_PAGES * MMK_PAGE_BYTES, .nr_cpus = NR_CPUS,
	};
	struct mmk_phys_config config = { 0 };
	mmk_pfn low_pfn = 256;

	memset(&o, 0, sizeof(o));
	o.seed = o.start_seed = mmk_test_seed();
	sim_boot(&machine);
	sim_set_cpu(0);
	config.spans = sim_spans(&config.nr_spans);
	config.low_limit_pa = mmk_pa_of_pfn(low_pfn);
	config.meta_bytes = mmk_phys_meta_bytes(config.spans, config.nr_spans);
	config.meta = malloc(config.meta_bytes);
	cr_assert_eq(mmk_phys_init(&phys, &config), MMK_OK);
	for (o.step = 0; o.step < mmk_test_steps(20000); o.step++) {
		oracle_step(&o, low_pfn);
		if (o.step % 16 == 0)
			cr_assert(mmk_phys_check(&phys),
			    "MMK_SEED=%llu step %u",
			    (unsigned long long)o.start_seed, o.step);
	}
	sim_fail_at(0);
	while (o.nr_live > 0)
		oracle_drop(&o, &o.live[0]);
	mmk_phys_drain(&phys);
	cr_assert_eq(stats().nr_free_blocks[8] + 2 * stats().nr_free_blocks[9] +
	        4 * stats().nr_free_blocks[10],
	    ORACLE_PAGES / 256, "all merged again");
	fini();
	free(config.meta);
}

