/* SPDX-License-Identifier: MIT
 *
 * tests/test_dump.c: what mmkit/phys/dump.h writes, read back by a parser of its
 * own and held against the statistics.
 */
#include "frame_fixture.h"
#include "mmkit/phys/dump.h"

#include <stdio.h>

TestSuite(dump, .init = boot, .fini = fini);

struct text {
	char *bytes;
	size_t nr_bytes, nr_max; /* room; a put beyond fails */
	unsigned nr_refused;
};

/* What the text says. */
struct told {
	uint64_t page_bytes, ram_pages, peak_pages, hole_pages, cached_pages;
	uint64_t free_pages, pinned_pages, nr_cpus, nr_zones, cpu_pages;
	uint64_t used_by_line[MMK_USE_MAX], used_by_map[MMK_USE_MAX];
	uint64_t blocks_by_line[MMK_NR_ORDERS], blocks_by_map[MMK_NR_ORDERS];
	uint64_t nr_runs;
	char map[256]; /* the first map line */
};

static bool
put_text(void *ctx, char c)
{
	struct text *text = ctx;

	if (text->nr_bytes == text->nr_max) {
		text->nr_refused++;
		return false;
	}
	text->bytes[text->nr_bytes++] = c;
	return true;
}

static struct text
dump_at_most(size_t nr_max, bool is_whole)
{
	struct text text = { .nr_max = nr_max };

	text.bytes = calloc(nr_max + 1, 1);
	cr_assert_eq(mmk_phys_dump(&phys, put_text, &text), is_whole);
	return text;
}

/* ---- reading it back ----------------------------------------------------- */

static uint64_t
read_number(const char **at)
{
	uint64_t value = 0;

	cr_assert(**at >= '0' && **at <= '9', "no number: %.20s", *at);
	while (**at >= '0' && **at <= '9')
		value = value * 10 + (uint64_t)(*(*at)++ - '0');
	return value;
}

/* STATE[ORDER][!][*COUNT]: its pages */
static uint64_t
read_run(const char **at, struct told *told)
{
	char state = *(*at)++;
	uint64_t order = 0, nr_blocks = 1, nr_pages;
	bool is_pinned = false;

	if (**at >= '0' && **at <= '9')
		order = read_number(at);
	if (**at == '!') {
		is_pinned = true;
		++*at;
	}
	if (**at == '*') {
		++*at;
		nr_blocks = read_number(at);
	}
	cr_assert_leq(order, MMK_MAX_ORDER);
	nr_pages = nr_blocks << order;
	told->nr_runs++;
	if (is_pinned)
		told->pinned_pages += nr_pages;
	if (state == '-') {
		told->hole_pages += nr_pages;
	} else if (state == '+') {
		told->cached_pages += nr_pages;
	} else if (state == '.') {
		told->free_pages += nr_pages;
		told->blocks_by_map[order] += nr_blocks;
	} else {
		cr_assert(state > 'a' && state < 'a' + MMK_USE_MAX);
		told->used_by_map[state - 'a'] += nr_pages;
	}
	return nr_pages;
}

static const char *
expect(const char *at, const char *text)
{
	cr_assert_eq(strncmp(at, text, strlen(text)), 0,
	    "'%s', not '%.20s'", text, at);
	return at + strlen(text);
}

static const char *
read_zone(const char *at, struct told *told)
{
	uint64_t first_pfn, end_pfn, pfn;

	at = strchr(expect(at, "zone "), ' ') + 1;
	pfn = first_pfn = read_number(&at);
	at = expect(at, " ");
	end_pfn = read_number(&at);
	cr_assert_lt(first_pfn, end_pfn);
	at = expect(at, "\nfree");
	for (unsigned order = 0; order <= MMK_MAX_ORDER; order++) {
		at = expect(at, " ");
		told->blocks_by_line[order] += read_number(&at);
	}
	at = expect(at, "\n");
	if (told->nr_zones++ == 0)
		sscanf(at, "%255[^\n]", told->map);
	while (strncmp(at, "map", 3) == 0) {
		const char *line = at;

		for (at += 3; *at == ' ';) {
			at++;
			pfn += read_run(&at, told);
		}
		at = expect(at, "\n");
		cr_assert_lt(at - line, 128);
	}
	cr_assert_eq(pfn, end_pfn, "the map has not the zone's pages");
	return at;
}

static const char *
read_head(const char *at, struct told *told)
{
	at = expect(at, "mmkit-frames 1\npage_bytes ");
	told->page_bytes = read_number(&at);
	at = expect(at, "\nram_pages ");
	told->ram_pages = read_number(&at);
	at = expect(at, " peak ");
	told->peak_pages = read_number(&at);
	for (unsigned use = 1; use < MMK_USE_MAX; use++) {
		at = expect(at, "\nuse ");
		cr_assert_eq(*at, (char)('a' + use));
		at = strchr(at + 2, ' ') + 1;
		told->used_by_line[use] = read_number(&at);
	}
	at = expect(at, "\n");
	while (strncmp(at, "cpu ", 4) == 0) {
		at += 4;
		cr_assert_eq(read_number(&at), told->nr_cpus++);
		at = expect(at, " ");
		told->cpu_pages += read_number(&at);
		at = expect(at, "\n");
	}
	return at;
}

static struct told
read_back(const struct text *text)
{
	struct told told = { 0 };
	const char *at = read_head(text->bytes, &told);
	uint32_t sum = 2166136261u;
	char last[16];

	while (strncmp(at, "zone ", 5) == 0)
		at = read_zone(at, &told);
	for (const char *p = text->bytes; p < at; p++)
		sum = (sum ^ (uint8_t)*p) * 16777619u;
	snprintf(last, sizeof last, "end %08x\n", sum);
	cr_assert_str_eq(at, last);
	return told;
}

/* Dump, read back; what is told is so. */
static struct told
dump(void)
{
	struct text text = dump_at_most(1 << 20, true);
	struct told told = read_back(&text);
	struct mmk_phys_stats is = stats();

	free(text.bytes);
	cr_assert_eq(told.page_bytes, MMK_PAGE_BYTES);
	cr_assert_eq(told.ram_pages, is.nr_pages);
	cr_assert_eq(told.peak_pages, is.peak_used_pages);
	cr_assert_eq(told.nr_cpus, NR_CPUS);
	cr_assert_eq(told.cpu_pages, is.nr_cached_pages);
	cr_assert_eq(told.cached_pages, is.nr_cached_pages);
	cr_assert_eq(told.free_pages + told.cached_pages, is.nr_free_pages);
	for (unsigned use = 1; use < MMK_USE_MAX; use++) {
		cr_assert_eq(told.used_by_line[use], is.nr_used_pages[use]);
		cr_assert_eq(told.used_by_map[use], is.nr_used_pages[use]);
	}
	for (unsigned order = 0; order <= MMK_MAX_ORDER; order++) {
		cr_assert_eq(told.blocks_by_line[order],
		    is.nr_free_blocks[order]);
		cr_assert_eq(told.blocks_by_map[order],
		    is.nr_free_blocks[order]);
	}
	return told;
}

/* ---- known states -------------------------------------------------------- */

Test(dump, fresh_memory_is_free_blocks_and_metadata)
{
	struct told told = dump();

	cr_assert_eq(told.nr_zones, 1);
	cr_assert_eq(told.hole_pages, 0);
	cr_assert_eq(told.pinned_pages, 0);
	cr_assert_eq(told.used_by_map[MMK_USE_META],
	    mmk_pages_round_up(stats().meta_bytes));
}

Test(dump, a_frame_is_told_with_its_order_use_and_pin)
{
	struct mmk_frame *big = get(4, 0), *pinned = get(2, 0);

	mmk_frame_set_use(&phys, big, MMK_USE_ANON);
	cr_assert_eq(mmk_frame_pin(&phys, pinned), MMK_OK);
	cr_assert_eq(dump().pinned_pages, 4);
	cr_assert_eq(dump().used_by_map[MMK_USE_ANON], 16);
	cr_assert_eq(dump().used_by_map[MMK_USE_KERNEL], 4);
	cr_assert(strstr(dump().map, " e4 ") != NULL, "%s", dump().map);
	cr_assert(strstr(dump().map, " b2! ") != NULL, "%s", dump().map);
	mmk_frame_unpin(&phys, pinned);
	put(pinned);
	put(big);
}

Test(dump, blocks_alike_are_one_run)
{
	uint64_t nr = 0;
	struct mmk_frame *chain = take_all(0, &nr);

	cr_assert_eq(dump().nr_runs, 2, "%s", dump().map);
	cr_assert_eq(dump().free_pages + dump().cached_pages, 0);
	put_all(chain);
}

Test(dump, a_freed_page_is_in_its_cpus_cache)
{
	put(get(0, 0));
	cr_assert_gt(dump().cached_pages, 0);
	mmk_phys_drain(&phys);
	cr_assert_eq(dump().cached_pages, 0);
}

Test(dump_spans, zones_and_holes_are_told)
{
	static const struct mmk_phys_span spans[] = {
		{ 0, MIB }, { 2 * MIB, 8 * MIB }, { 12 * MIB, 16 * MIB }
	};
	struct told told;

	boot_spans(16 * MIB, spans, 3, 4 * MIB);
	told = dump();
	cr_assert_eq(told.nr_zones, 2);
	cr_assert_eq(told.hole_pages, mmk_pages_of_bytes(5 * MIB));
	fini();
}

Test(dump_spans, a_large_hole_is_one_run)
{
	static const struct mmk_phys_span spans[] = {
		{ 0, MIB }, { 16384 * MIB, 16385 * MIB }
	};
	struct told told;

	/* a zone ends amid the hole, and amid a granule */
	boot_spans(16385 * MIB, spans, 2, 8192 * MIB + MMK_PAGE_BYTES);
	told = dump();
	cr_assert_leq(told.nr_runs, 24, "%s", told.map);
	cr_assert_eq(told.hole_pages, mmk_pages_of_bytes(16383 * MIB));
	fini();
}

/* ---- random states, and a writer that fails ------------------------------ */

#define NR_HELD 256u

static struct mmk_frame *held[NR_HELD];
static bool is_pinned[NR_HELD];

static void
step(uint64_t *seed)
{
	unsigned i = (unsigned)(mmk_test_random(seed) % NR_HELD);
	unsigned use = 1 + (unsigned)(mmk_test_random(seed) % 4);

	sim_set_cpu((unsigned)(mmk_test_random(seed) % NR_CPUS));
	if (held[i] == NULL) {
		if (mmk_frame_alloc(&phys,
		        (unsigned)(mmk_test_random(seed) % 6), 0,
		        (enum mmk_use)use, &held[i]) != MMK_OK)
			return;
		is_pinned[i] = mmk_test_random(seed) % 8 == 0;
		if (is_pinned[i])
			cr_assert_eq(mmk_frame_pin(&phys, held[i]), MMK_OK);
		return;
	}
	if (is_pinned[i])
		mmk_frame_unpin(&phys, held[i]);
	put(held[i]);
	held[i] = NULL;
	is_pinned[i] = false;
}

static void
put_held(void)
{
	for (unsigned i = 0; i < NR_HELD; i++) {
		if (held[i] != NULL && is_pinned[i])
			mmk_frame_unpin(&phys, held[i]);
		if (held[i] != NULL)
			put(held[i]);
		held[i] = NULL;
		is_pinned[i] = false;
	}
	sim_set_cpu(0);
}

Test(dump, prop_random_states_are_told_as_the_statistics_have_them)
{
	uint64_t seed = mmk_test_seed();
	unsigned nr_steps = mmk_test_steps(20000);

	for (unsigned i = 0; i < nr_steps; i++) {
		uint64_t nr_pinned_pages = 0;

		step(&seed);
		if (i % 100 != 0)
			continue;
		for (unsigned k = 0; k < NR_HELD; k++)
			if (is_pinned[k])
				nr_pinned_pages += mmk_frame_nr_pages(held[k]);
		cr_assert_eq(dump().pinned_pages, nr_pinned_pages);
	}
	put_held();
}

Test(dump, a_writer_that_fails_is_not_called_again)
{
	uint64_t seed = mmk_test_seed();
	struct text whole;

	for (unsigned i = 0; i < 500; i++)
		step(&seed);
	whole = dump_at_most(1 << 20, true);
	for (size_t k = 0; k < whole.nr_bytes; k += 1 + k / 8) {
		struct text part = dump_at_most(k, false);

		cr_assert_eq(part.nr_refused, 1);
		cr_assert_eq(memcmp(part.bytes, whole.bytes, k), 0);
		free(part.bytes);
	}
	free(whole.bytes);
	put_held();
}
