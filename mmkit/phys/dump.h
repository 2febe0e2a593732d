/* SPDX-License-Identifier: MIT
 *
 * mmkit/phys/dump.h: the state of every frame as text, for a picture
 *
 * WHAT    A few lines of plain ASCII that a kernel sends wherever it can send a
 *         character, a serial port for one; examples/view draws them. Version
 *         1, each line ended by '\n':
 *
 *           mmkit-frames 1
 *           page_bytes 4096
 *           ram_pages 16384 peak 9120
 *           use b kernel 812            a letter, a name, how many pages
 *           cpu 0 12                    pages in its cache
 *           zone low 0 4096             name, [first, end) page numbers
 *           free 3 0 1                  free blocks, order 0 first
 *           map b*12 .9*6 c d3! +*8 -*64
 *           end 90f1c2d7
 *
 *         `use` and `cpu` stand once for each; zone, free and one or more map
 *         lines follow each other for each zone that is not empty, in the order
 *         of addresses. A map lists blocks, address by address, without a gap:
 *
 *           STATE[ORDER][!][*COUNT]
 *
 *         STATE: '.' free, '+' free in a CPU's cache, '-' a hole, else the
 *         letter of a use. ORDER: each block is 2^ORDER pages (0). '!': pinned.
 *         COUNT: so many blocks alike (1). Numbers are decimal. The last line
 *         has the 32-bit FNV-1a of all characters before it, in 8 hexadecimal
 *         digits; a reader leaves out '\r', which terminals like to add.
 *
 *         A reader skips lines before and after, and knows by the first line
 *         whether it can read what follows, and by the last that all is there.
 * LAYER   phys. Includes frame.h.
 * LOCKS   none are taken: it works in a panic, whoever holds what
 * COST    O(blocks + holes / 64), three walks; no memory. About 5 characters a
 *         change of state from one block to the next.
 * SOURCE  own; the checksum is Fowler, Noll and Vo's.
 *
 * I1      the blocks of a zone's map have exactly its pages
 *                                                tested by: tests/test_dump.c
 */
#ifndef MMKIT_PHYS_DUMP_H
#define MMKIT_PHYS_DUMP_H

#include "frame.h"

MMK_BEGIN_DECLS

#define MMK_DUMP_VERSION 1

/*
 * mmk_phys_dump: write the state of all frames, a character at a time.
 *
 * Safe to call at any time, in a panic as well, if `put` is. While others
 * allocate, its lines are of different moments, and so may be a map's blocks;
 * what is written has the right form all the same.
 *
 * out      true: all of it was written. false: `put` returned false, and was
 *          not called again.
 */
MMK_API bool mmk_phys_dump(const struct mmk_phys *phys,
    bool (*put)(void *ctx, char c), void *ctx);

MMK_END_DECLS
#endif /* MMKIT_PHYS_DUMP_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_PHYS_DUMP_IMPL)
#define MMKIT_PHYS_DUMP_IMPL

#define MMK__DUMP_COLUMNS 64u /* a map line goes on until here */

struct mmk__dump {
	bool (*put)(void *ctx, char c);
	void *ctx;
	uint32_t sum;
	unsigned column;
	bool has_failed;
};

/* What a walk over blocks finds. */
struct mmk__dump_sums {
	uint64_t nr_used_pages[MMK_USE_MAX];
	uint64_t nr_free_blocks[MMK_NR_ORDERS];
};

/* Blocks alike, next to each other. */
struct mmk__dump_run {
	char state;
	bool is_pinned;
	unsigned order;
	uint64_t nr_blocks;
};

/* ---- characters ---------------------------------------------------------- */

MMK_PRIVATE void
mmk__dump_char(struct mmk__dump *dump, char c)
{
	dump->sum = (dump->sum ^ (uint8_t)c) * 16777619u;
	dump->column = c == '\n' ? 0 : dump->column + 1;
	if (!dump->has_failed)
		dump->has_failed = !dump->put(dump->ctx, c);
}

MMK_PRIVATE void
mmk__dump_text(struct mmk__dump *dump, const char *text)
{
	for (; *text != '\0'; text++)
		mmk__dump_char(dump, *text);
}

MMK_PRIVATE void
mmk__dump_number(struct mmk__dump *dump, uint64_t value)
{
	char digits[21];
	unsigned i = sizeof(digits) - 1;

	digits[i] = '\0';
	do {
		digits[--i] = (char)('0' + value % 10);
		value /= 10;
	} while (value != 0);
	mmk__dump_text(dump, &digits[i]);
}

/* A word and a number, as most lines have them. */
MMK_PRIVATE void
mmk__dump_field(struct mmk__dump *dump, const char *text, uint64_t value)
{
	mmk__dump_text(dump, text);
	mmk__dump_char(dump, ' ');
	mmk__dump_number(dump, value);
}

MMK_PRIVATE void
mmk__dump_end(struct mmk__dump *dump)
{
	uint32_t sum = dump->sum;

	mmk__dump_text(dump, "end ");
	for (unsigned i = 0; i < 8; i++)
		mmk__dump_char(dump,
		    "0123456789abcdef"[sum >> (28 - 4 * i) & 15]);
	mmk__dump_char(dump, '\n');
}

/* ---- names --------------------------------------------------------------- */

MMK_PRIVATE const char *
mmk__dump_use_name(enum mmk_use use)
{
	switch (use) {
	case MMK_USE_KERNEL: return "kernel";
	case MMK_USE_POOL: return "pool";
	case MMK_USE_TABLE: return "table";
	case MMK_USE_ANON: return "anon";
	case MMK_USE_META: return "meta";
	case MMK_USE_CONTAINER: return "container";
	case MMK_USE_FREE: case MMK_USE_MAX:
		break;
	}
	return "other";
}

MMK_PRIVATE const char *
mmk__dump_zone_name(unsigned z)
{
	if (z == MMK_ZONE_DMA)
		return "dma";
	return z == MMK_ZONE_LOW ? "low" : "normal";
}

/* ---- the map ------------------------------------------------------------- */

/* A page of no frame: in a free block, or in a cache. */
MMK_PRIVATE struct mmk__dump_run
mmk__dump_free(const struct mmk_phys *phys, mmk_pfn pfn, uint32_t index)
{
	const struct mmk_granule *granule =
	    &phys->table.granules[index >> MMK_GRANULE_ORDER];
	bool is_awake = MMKIT_ATOMIC_LOAD(&granule->is_awake) != 0;
	uint64_t word = MMKIT_ATOMIC_LOAD(&granule->free);
	unsigned list = MMKIT_ATOMIC_LOAD(&granule->list);
	unsigned bit = (unsigned)(pfn & (MMK_GRANULE_PAGES - 1));
	struct mmk__dump_run run = { '.', false, 0, 1 };

	if (bit == 0 && !is_awake) {
		run.order = MMK_GRANULE_ORDER;
		return run;
	}
	if (bit == 0 && list >= MMK_GRANULE_ORDER && list <= MMK_MAX_ORDER) {
		run.order = list;
		return run;
	}
	if ((word >> bit & 1) == 0) {
		run.state = '+';
		return run;
	}
	/* Twice as many as long as it is aligned and all of them are free. */
	while (run.order + 1 < MMK_GRANULE_ORDER) {
		unsigned nr_pages = 2u << run.order;
		uint64_t mask = (((uint64_t)1 << nr_pages) - 1) << bit;

		if ((bit & (nr_pages - 1)) != 0 || (word & mask) != mask)
			break;
		run.order++;
	}
	return run;
}

/*
 * One page of a hole if it has a descriptor, else up to its granule's end: zones
 * begin and end with granules, or with RAM.
 */
MMK_PRIVATE struct mmk__dump_run
mmk__dump_hole(const struct mmk_frame *frame, mmk_pfn pfn)
{
	struct mmk__dump_run run = { '-', false, 0, 1 };

	if (frame == NULL)
		run.nr_blocks =
		    MMK_GRANULE_PAGES - (pfn & (MMK_GRANULE_PAGES - 1));
	return run;
}

/*
 * The block that begins at pfn. What others do meanwhile may make its order too
 * large, or give it a use that is none.
 */
MMK_PRIVATE struct mmk__dump_run
mmk__dump_block(const struct mmk_phys *phys, mmk_pfn pfn, mmk_pfn end_pfn)
{
	const struct mmk_frame *frame =
	    mmk_frame_table_lookup(&phys->table, pfn);
	unsigned flags = frame != NULL ? MMKIT_ATOMIC_LOAD(&frame->flags)
	                               : MMK_FRAME_HOLE;
	struct mmk__dump_run run;

	if ((flags & MMK_FRAME_HOLE) != 0)
		return mmk__dump_hole(frame, pfn);
	run = mmk__dump_free(phys, pfn,
	    mmk_frame_table_index(&phys->table, frame));
	if ((flags & MMK_FRAME_HEAD) != 0 && frame->use != MMK_USE_FREE &&
	    frame->use < MMK_USE_MAX) {
		run.state = (char)('a' + frame->use);
		run.order = frame->order;
		run.is_pinned = frame->use != MMK_USE_META &&
		    MMKIT_ATOMIC_LOAD(&frame->pins) != 0;
	}
	if (run.order > MMK_MAX_ORDER ||
	    (pfn & (((uint64_t)1 << run.order) - 1)) != 0 ||
	    (uint64_t)1 << run.order > end_pfn - pfn)
		run.order = 0;
	return run;
}

MMK_PRIVATE void
mmk__dump_run(struct mmk__dump *dump, const struct mmk__dump_run *run)
{
	if (dump->column >= MMK__DUMP_COLUMNS)
		mmk__dump_char(dump, '\n');
	if (dump->column == 0)
		mmk__dump_text(dump, "map");
	mmk__dump_char(dump, ' ');
	mmk__dump_char(dump, run->state);
	if (run->order != 0)
		mmk__dump_number(dump, run->order);
	if (run->is_pinned)
		mmk__dump_char(dump, '!');
	if (run->nr_blocks != 1) {
		mmk__dump_char(dump, '*');
		mmk__dump_number(dump, run->nr_blocks);
	}
}

MMK_PRIVATE void
mmk__dump_map(struct mmk__dump *dump, const struct mmk_phys *phys, mmk_pfn pfn,
    mmk_pfn end_pfn)
{
	struct mmk__dump_run run = { '-', false, 0, 0 };

	while (pfn < end_pfn && !dump->has_failed) {
		struct mmk__dump_run next =
		    mmk__dump_block(phys, pfn, end_pfn);

		pfn += next.nr_blocks << next.order;
		if (next.state == run.state && next.order == run.order &&
		    next.is_pinned == run.is_pinned) {
			run.nr_blocks += next.nr_blocks;
			continue;
		}
		if (run.nr_blocks != 0)
			mmk__dump_run(dump, &run);
		run = next;
	}
	mmk__dump_run(dump, &run);
	mmk__dump_char(dump, '\n');
}

MMK_PRIVATE void
mmk__dump_sum(const struct mmk_phys *phys, const struct mmk_buddy *zone,
    struct mmk__dump_sums *sums)
{
	mmk_pfn pfn = zone->first_pfn;

	while (pfn < zone->end_pfn) {
		struct mmk__dump_run run =
		    mmk__dump_block(phys, pfn, zone->end_pfn);
		uint64_t nr_pages = run.nr_blocks << run.order;

		pfn += nr_pages;
		if (run.state == '.')
			sums->nr_free_blocks[run.order]++;
		else if (run.state >= 'a')
			sums->nr_used_pages[run.state - 'a'] += nr_pages;
	}
}

/* ---- the lines ----------------------------------------------------------- */

MMK_PRIVATE void
mmk__dump_head(struct mmk__dump *dump, const struct mmk_phys *phys)
{
	struct mmk__dump_sums sums;

	(void)MMKIT_MEMSET(&sums, 0, sizeof(sums));
	for (unsigned z = 0; z < MMK_ZONE_MAX; z++)
		mmk__dump_sum(phys, &phys->store.zones[z], &sums);
	mmk__dump_field(dump, "mmkit-frames", MMK_DUMP_VERSION);
	mmk__dump_field(dump, "\npage_bytes", MMK_PAGE_BYTES);
	mmk__dump_field(dump, "\nram_pages", phys->nr_pages);
	mmk__dump_field(dump, " peak", mmk_store_peak(&phys->store));
	for (unsigned use = MMK_USE_KERNEL; use < MMK_USE_MAX; use++) {
		mmk__dump_text(dump, "\nuse ");
		mmk__dump_char(dump, (char)('a' + use));
		mmk__dump_char(dump, ' ');
		mmk__dump_field(dump, mmk__dump_use_name((enum mmk_use)use),
		    sums.nr_used_pages[use]);
	}
	for (unsigned i = 0; i < MMKIT_CPU_COUNT(); i++) {
		mmk__dump_field(dump, "\ncpu", i);
		mmk__dump_char(dump, ' ');
		mmk__dump_number(dump,
		    mmk__cpu_nr_cached(&phys->store.cpus[i]));
	}
	mmk__dump_char(dump, '\n');
}

MMK_PRIVATE void
mmk__dump_zone(struct mmk__dump *dump, const struct mmk_phys *phys, unsigned z)
{
	const struct mmk_buddy *zone = &phys->store.zones[z];
	struct mmk__dump_sums sums;

	if (zone->first_pfn >= zone->end_pfn)
		return;
	mmk__dump_text(dump, "zone ");
	mmk__dump_field(dump, mmk__dump_zone_name(z), zone->first_pfn);
	mmk__dump_char(dump, ' ');
	mmk__dump_number(dump, zone->end_pfn);
	mmk__dump_text(dump, "\nfree");
	(void)MMKIT_MEMSET(&sums, 0, sizeof(sums));
	mmk__dump_sum(phys, zone, &sums);
	for (unsigned order = 0; order <= MMK_MAX_ORDER; order++) {
		mmk__dump_char(dump, ' ');
		mmk__dump_number(dump, sums.nr_free_blocks[order]);
	}
	mmk__dump_char(dump, '\n');
	mmk__dump_map(dump, phys, zone->first_pfn, zone->end_pfn);
}

MMK_API bool
mmk_phys_dump(const struct mmk_phys *phys, bool (*put)(void *ctx, char c),
    void *ctx)
{
	struct mmk__dump dump = { put, ctx, 2166136261u, 0, false };

	mmk__dump_head(&dump, phys);
	for (unsigned z = 0; z < MMK_ZONE_MAX; z++)
		mmk__dump_zone(&dump, phys, z);
	mmk__dump_end(&dump);
	return !dump.has_failed;
}
#endif /* MMKIT_IMPLEMENTATION */
