/* SPDX-License-Identifier: MIT
 *
 * examples/view/terminal.c: the picture on a terminal
 *
 * WHAT    With colours a character is two cells, one above the other: the upper
 *         half block in the colour of the upper one, on the colour of the lower
 *         one. Without, a letter is one cell: a capital if more than half of
 *         it is in use.
 */
#include "view.h"

#include <ctype.h>
#include <string.h>

#define LABEL_COLUMNS 14
#define BACKGROUND 0x596069u /* free memory, and what cells fade to */

struct canvas {
	FILE *out;
	const struct dump *dump;
	bool has_colours;
	unsigned width;
};

/* ---- colours and letters ------------------------------------------------- */

/* From BACKGROUND to the kind's colour, by how full the cell is. */
static uint32_t
shade(const struct dump *dump, const struct cell *cell)
{
	uint32_t rgb = kind_colour(dump, cell->kind), mixed = 0;
	unsigned part = cell->kind == KIND_FREE ? 0
	    : cell->kind == KIND_CACHED         ? 3
	                                        : cell->level + 2;

	for (unsigned shift = 0; shift < 24; shift += 8)
		mixed |= ((rgb >> shift & 255) * part +
		             (BACKGROUND >> shift & 255) * (6 - part)) / 6
		    << shift;
	return mixed;
}

/* In the nearest of the 6 x 6 x 6 colours that nearly every terminal has. */
static void
colour(const struct canvas *canvas, unsigned ground, uint32_t rgb)
{
	unsigned index = 0;

	for (int shift = 16; shift >= 0; shift -= 8) {
		unsigned level = rgb >> shift & 255;

		index = index * 6 + (level < 115 ? level >= 48
		                                 : (level - 35) / 40);
	}
	if (canvas->has_colours)
		fprintf(canvas->out, "\033[%u;5;%um", ground, 16 + index);
}

static void
reset(const struct canvas *canvas)
{
	if (canvas->has_colours)
		fputs("\033[0m", canvas->out);
}

/* The first letter of its name that no use before it has. */
static char
letter_of(const struct dump *dump, const struct cell *cell)
{
	char taken[MAX_KINDS + 1] = " .+";
	unsigned i = KIND_USE;

	for (; i <= cell->kind; i++) {
		const char *name = dump->names[i];

		while (*name != '\0' && strchr(taken, *name) != NULL)
			name++;
		taken[i] = *name != '\0' ? *name : '?';
	}
	return cell->level > 2 ? (char)toupper(taken[cell->kind])
	                       : taken[cell->kind];
}

static void
draw_cells(const struct canvas *canvas, const struct cell *upper,
    const struct cell *lower)
{
	bool has_upper = upper->kind != KIND_HOLE;
	bool has_lower = lower != NULL && lower->kind != KIND_HOLE;

	if (!canvas->has_colours) {
		fputc(letter_of(canvas->dump, upper), canvas->out);
		return;
	}
	reset(canvas);
	if (has_upper || has_lower)
		colour(canvas, 38,
		    shade(canvas->dump, has_upper ? upper : lower));
	if (has_upper && has_lower)
		colour(canvas, 48, shade(canvas->dump, lower));
	fputs(has_upper ? "\u2580" : has_lower ? "\u2584" : " ", canvas->out);
}

/* ---- a zone -------------------------------------------------------------- */

static void
draw_map(const struct canvas *canvas, const struct grid *grid)
{
	uint64_t row_bytes = grid->cell_pages * grid->nr_columns *
	    canvas->dump->page_bytes;

	for (size_t i = 0; i < grid->nr_rows; i++) {
		const struct row *row = &grid->rows[i], *below = NULL;

		if (i > 0 && row->index != row[-1].index + 1)
			fprintf(canvas->out, "%*s %s without RAM\n",
			    LABEL_COLUMNS - 1, ":",
			    size_text((row->index - row[-1].index - 1) *
			        row_bytes));
		if (canvas->has_colours && i + 1 < grid->nr_rows &&
		    row[1].index == row->index + 1)
			below = &grid->rows[++i];
		fprintf(canvas->out, "%*llx ", LABEL_COLUMNS - 1,
		    (unsigned long long)(row->index * row_bytes));
		for (unsigned k = 0; k < grid->nr_columns; k++)
			draw_cells(canvas, &row->cells[k],
			    below != NULL ? &below->cells[k] : NULL);
		reset(canvas);
		fputc('\n', canvas->out);
	}
}

static void
draw_orders(const struct canvas *canvas, const struct zone *zone)
{
	unsigned width = canvas->width < 96 ? canvas->width - 34 : 62;
	uint64_t nr_all = zone->nr_free_pages + (zone->nr_free_pages == 0);

	fprintf(canvas->out, "%13s %7s  unusable  share of what is free\n",
	    "free blocks of", "number");
	for (unsigned i = 0; i < zone_shown_orders(zone); i++) {
		uint64_t nr = zone->nr_free_blocks[i] << i;
		unsigned bar = (unsigned)((nr * width + nr_all - 1) / nr_all);

		fprintf(canvas->out, "%14s %7llu %7u %%  ",
		    size_text(canvas->dump->page_bytes << i),
		    (unsigned long long)zone->nr_free_blocks[i],
		    zone_unusable(zone, i));
		colour(canvas, 38, 0x2f7fd1);
		for (unsigned k = 0; k < bar && k < width; k++)
			fputs(canvas->has_colours ? "\u2588" : "#",
			    canvas->out);
		reset(canvas);
		fputc('\n', canvas->out);
	}
}

/* ---- all ----------------------------------------------------------------- */

static void
draw_legend(const struct canvas *canvas)
{
	const struct dump *dump = canvas->dump;
	unsigned column = 0;

	for (unsigned i = 0; i < dump->nr_kinds - 1; i++) {
		/* uses first, then what is cached, then what is free */
		unsigned kind = i + KIND_USE < dump->nr_kinds
		    ? i + KIND_USE : dump->nr_kinds - 1 - i;
		struct cell cell = { kind, kind < KIND_USE ? 0 : 4, false };
		const char *size =
		    size_text(dump->nr_pages[kind] * dump->page_bytes);

		if (dump->nr_pages[kind] == 0)
			continue;
		column += (unsigned)(strlen(dump->names[kind]) + strlen(size)) +
		    5;
		if (column > canvas->width) {
			fputc('\n', canvas->out);
			column = 0;
		}
		colour(canvas, 38, shade(dump, &cell));
		fputs("  ", canvas->out);
		if (canvas->has_colours)
			fputs("\u2588", canvas->out);
		else
			fputc(letter_of(dump, &cell), canvas->out);
		reset(canvas);
		fprintf(canvas->out, " %s %s", dump->names[kind], size);
	}
	fputc('\n', canvas->out);
}

void
draw_terminal(FILE *out, const struct dump *dump, bool has_colours,
    unsigned width)
{
	struct canvas canvas = { out, dump, has_colours, width };
	unsigned nr_columns = 8;
	uint64_t cell_pages;
	uint64_t nr_free =
	    dump->nr_pages[KIND_FREE] + dump->nr_pages[KIND_CACHED];

	while (nr_columns * 2 + LABEL_COLUMNS <= width)
		nr_columns *= 2;
	cell_pages =
	    grid_cell_pages(dump, nr_columns, has_colours ? 40 : 24);
	fprintf(out, "%s of memory: %s in use, at most %s; a cell is %s\n",
	    size_text(dump->ram_pages * dump->page_bytes),
	    size_text((dump->ram_pages - nr_free) * dump->page_bytes),
	    size_text(dump->peak_pages * dump->page_bytes),
	    size_text(cell_pages * dump->page_bytes));
	draw_legend(&canvas);
	for (unsigned i = 0; i < dump->nr_zones; i++) {
		const struct zone *zone = &dump->zones[i];
		struct grid grid = grid_make(zone, nr_columns, cell_pages);

		fprintf(out, "\nzone %s, %llx to %llx\n", zone->name,
		    (unsigned long long)(zone->first_pfn * dump->page_bytes),
		    (unsigned long long)(zone->end_pfn * dump->page_bytes));
		draw_map(&canvas, &grid);
		draw_orders(&canvas, zone);
		grid_free(&grid);
	}
	fputs("unusable: the part of free memory that is in smaller blocks\n",
	    out);
}
