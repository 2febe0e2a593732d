/* SPDX-License-Identifier: MIT
 *
 * examples/view/grid.c: pages gathered into cells; colours, words, the index
 */
#include "view.h"

#include <stdlib.h>
#include <string.h>

/* What is counted before a cell becomes one colour. */
struct tally {
	uint64_t nr_pages[MAX_KINDS];
	bool is_pinned;
};

uint64_t
grid_cell_pages(const struct dump *dump, unsigned nr_columns, unsigned nr_rows)
{
	uint64_t nr_pages = 0, cell_pages = 1;

	for (unsigned i = KIND_FREE; i < dump->nr_kinds; i++)
		nr_pages += dump->nr_pages[i];
	while (cell_pages * nr_columns * nr_rows < nr_pages)
		cell_pages *= 2;
	return cell_pages;
}

static struct cell
cell_of(const struct tally *tally)
{
	const uint64_t *nr = tally->nr_pages;
	uint64_t nr_free = nr[KIND_FREE] + nr[KIND_CACHED], nr_used = 0;
	struct cell cell = { KIND_HOLE, 0, tally->is_pinned };

	for (unsigned i = KIND_USE; i < MAX_KINDS; i++) {
		nr_used += nr[i];
		if (nr[i] > (cell.kind == KIND_HOLE ? 0 : nr[cell.kind]))
			cell.kind = i;
	}
	if (nr_used != 0)
		cell.level = (unsigned)((4 * nr_used + nr_free + nr_used - 1) /
		    (nr_free + nr_used));
	else if (nr_free != 0)
		cell.kind = nr[KIND_CACHED] > nr[KIND_FREE] ? KIND_CACHED
		                                            : KIND_FREE;
	return cell;
}

/* What was counted is a row; nothing is counted now. */
static void
add_row(struct grid *grid, uint64_t index, struct tally *tallies)
{
	struct row row = { index,
		xrealloc(NULL, grid->nr_columns, sizeof *row.cells) };

	for (unsigned i = 0; i < grid->nr_columns; i++)
		row.cells[i] = cell_of(&tallies[i]);
	grid->rows = xrealloc(grid->rows, grid->nr_rows + 1, sizeof row);
	grid->rows[grid->nr_rows++] = row;
	memset(tallies, 0, grid->nr_columns * sizeof *tallies);
}

struct grid
grid_make(const struct zone *zone, unsigned nr_columns, uint64_t cell_pages)
{
	struct grid grid = { cell_pages, nr_columns, NULL, 0 };
	struct tally *tallies = xrealloc(NULL, nr_columns, sizeof *tallies);
	uint64_t index = UINT64_MAX, pfn, stop;

	memset(tallies, 0, nr_columns * sizeof *tallies);
	for (size_t i = 0; i < zone->nr_runs; i++) {
		const struct run *run = &zone->runs[i];
		uint64_t end_pfn = run->first_pfn + run->nr_pages;

		if (run->kind == KIND_HOLE)
			continue;
		for (pfn = run->first_pfn; pfn < end_pfn; pfn = stop) {
			uint64_t cell = pfn / cell_pages;
			struct tally *tally = &tallies[cell % nr_columns];

			if (index != UINT64_MAX && index != cell / nr_columns)
				add_row(&grid, index, tallies);
			index = cell / nr_columns;
			stop = (cell + 1) * cell_pages;
			stop = stop < end_pfn ? stop : end_pfn;
			tally->nr_pages[run->kind] += stop - pfn;
			tally->is_pinned |= run->is_pinned;
		}
	}
	if (index != UINT64_MAX)
		add_row(&grid, index, tallies);
	free(tallies);
	return grid;
}

void
grid_free(struct grid *grid)
{
	for (size_t i = 0; i < grid->nr_rows; i++)
		free(grid->rows[i].cells);
	free(grid->rows);
}

uint32_t
kind_colour(const struct dump *dump, unsigned kind)
{
	static const struct {
		char name[NAME_BYTES];
		uint32_t rgb;
	} known[] = {
		{ "free", 0xe2e7ec }, { "cached", 0xb5dcc8 },
		{ "anon", 0x2f7fd1 }, { "kernel", 0xd1495b },
		{ "pool", 0xe39a1c }, { "table", 0x8a5cc9 },
		{ "meta", 0x6b7a90 }, { "container", 0x1f9e89 },
	};
	static const uint32_t others[] = { 0xc2608f, 0x8c6d46, 0x4f9d3a };

	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
		if (strcmp(known[i].name, dump->names[kind]) == 0)
			return known[i].rgb;
	return others[kind % 3];
}

const char *
size_text(uint64_t bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB",
		"PiB", "EiB" };
	static char texts[8][24];
	static unsigned nr_calls;
	char *text = texts[nr_calls++ % 8];
	uint64_t rest = 0;
	unsigned unit = 0;

	for (; bytes >= 1024; bytes >>= 10, unit++)
		rest = bytes & 1023;
	if (bytes >= 100 || rest == 0)
		snprintf(text, sizeof texts[0], "%llu %s",
		    (unsigned long long)bytes, units[unit]);
	else
		snprintf(text, sizeof texts[0], "%llu.%llu %s",
		    (unsigned long long)bytes,
		    (unsigned long long)(rest * 10 / 1024), units[unit]);
	return text;
}

unsigned
zone_shown_orders(const struct zone *zone)
{
	unsigned nr = zone->nr_orders;

	while (nr > 10 && zone->nr_free_blocks[nr - 1] == 0)
		nr--;
	return nr;
}

unsigned
zone_unusable(const struct zone *zone, unsigned order)
{
	uint64_t nr_small = 0;

	for (unsigned i = 0; i < order; i++)
		nr_small += zone->nr_free_blocks[i] << i;
	return zone->nr_free_pages == 0
	    ? 0
	    : (unsigned)((nr_small * 100 + zone->nr_free_pages / 2) /
	          zone->nr_free_pages);
}
