/* SPDX-License-Identifier: MIT
 *
 * examples/view/view.h: mmkit-view draws what mmkit/phys/dump.h writes
 *
 * WHAT    A plain program of the host's; it knows mmkit by the dump alone.
 *
 *         dump.c       text -> struct dump
 *         grid.c       struct dump -> cells of many pages; colours; words
 *         terminal.c   cells -> blocks of colour, or letters
 *         svg.c        cells -> a picture in a file
 *         main.c       options
 */
#ifndef VIEW_H
#define VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define MAX_ORDERS 48u
#define MAX_ZONES 64u
#define NAME_BYTES 24u

/* What a page is: one of these, or KIND_USE and the index of a use. */
enum { KIND_HOLE, KIND_FREE, KIND_CACHED, KIND_USE };
#define MAX_KINDS 28u

struct run { /* blocks alike, next to each other */
	uint64_t first_pfn, nr_pages;
	unsigned kind;
	bool is_pinned;
};

struct zone {
	char name[NAME_BYTES];
	uint64_t first_pfn, end_pfn, mapped_pfn; /* the map goes on there */
	uint64_t nr_free_blocks[MAX_ORDERS], nr_free_pages;
	unsigned nr_orders;
	struct run *runs;
	size_t nr_runs, max_runs;
};

struct dump {
	uint64_t page_bytes, ram_pages, peak_pages;
	unsigned nr_kinds, nr_zones;
	char letters[MAX_KINDS + 1], names[MAX_KINDS][NAME_BYTES];
	uint64_t nr_pages[MAX_KINDS]; /* in all maps */
	struct zone zones[MAX_ZONES];
};

/* dump.c */
enum read_result { READ_DUMP, READ_NOTHING, READ_BAD };
struct reader {
	FILE *in;
	char *line;
	size_t line_bytes;
	uint64_t nr_lines;
	uint32_t sum;
	const char *error;
};
/*
 * The next dump of the stream. READ_NOTHING: there is none; READ_BAD: there is
 * the beginning of one, reader->error says what is wrong with line nr_lines.
 */
enum read_result dump_read(struct reader *reader, struct dump *out);
void dump_free(struct dump *dump);
void *xrealloc(void *ptr, size_t nr, size_t bytes);

/* grid.c */
struct cell {
	unsigned kind;  /* the most frequent use; CACHED, FREE: nothing is used */
	unsigned level; /* 1 to 4 quarters are in use, rounded up; 0: none */
	bool is_pinned;
};
struct row {
	uint64_t index; /* of its first page, in rows */
	struct cell *cells;
};
struct grid { /* the rows of a zone that have RAM */
	uint64_t cell_pages;
	unsigned nr_columns;
	struct row *rows;
	size_t nr_rows;
};
/* How many pages a cell has, a power of two, for about nr_rows rows in all. */
uint64_t grid_cell_pages(const struct dump *dump, unsigned nr_columns,
    unsigned nr_rows);
struct grid grid_make(const struct zone *zone, unsigned nr_columns,
    uint64_t cell_pages);
void grid_free(struct grid *grid);
uint32_t kind_colour(const struct dump *dump, unsigned kind); /* 0xrrggbb */
/* "4 KiB", "1.5 GiB"; valid until the eighth call after this one */
const char *size_text(uint64_t bytes);
/* How many orders are worth a line: 10, or up to the largest block. */
unsigned zone_shown_orders(const struct zone *zone);
/*
 * How much of the zone's free memory is in blocks too small for this order, in
 * percent: Gorman's index of unusable free space. 0 if nothing is free.
 */
unsigned zone_unusable(const struct zone *zone, unsigned order);

/* terminal.c, svg.c */
void draw_terminal(FILE *out, const struct dump *dump, bool has_colours,
    unsigned width);
void draw_svg(FILE *out, const struct dump *dump);

#endif
