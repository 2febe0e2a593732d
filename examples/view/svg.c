/* SPDX-License-Identifier: MIT
 *
 * examples/view/svg.c: the picture as a file that any browser shows
 *
 * WHAT    A run of cells alike is one dashed stroke, and all strokes of a colour
 *         are one path, so the file stays small. It brings its own background,
 *         and a dark one if the reader's desktop is dark; it needs no font,
 *         script or file of elsewhere.
 */
#include "view.h"

#include <stdlib.h>

#define WIDTH 1000u
#define MARGIN 28u
#define CELL 5u /* pixels, with the gap */
#define COLUMNS 128u
#define ROWS 96u /* at most, or about */
#define MAP_X 106u
#define ORDERS_X (MAP_X + COLUMNS * CELL + 98)
#define ORDERS_END (WIDTH - MARGIN)
#define BAR_WIDTH 70u
#define ORDER_HEIGHT 17u
#define LEGEND_WIDTH 134u
#define LEGEND_COLUMNS ((WIDTH - 2 * MARGIN) / LEGEND_WIDTH)

static const char style[] =
    "text{font:12px system-ui,-apple-system,'Segoe UI',Helvetica,Arial,"
    "sans-serif;fill:#24292f}\n"
    ".h{font-size:19px;font-weight:600}.z{font-size:14px;font-weight:600}\n"
    ".m{fill:#656d76}.r{text-anchor:end}\n"
    ".a{font:10px ui-monospace,'DejaVu Sans Mono',Menlo,monospace;"
    "fill:#656d76;text-anchor:end}\n"
    ".card{fill:#ffffff;stroke:#d0d7de}.track{fill:#eaeef2}.bar{fill:#2f7fd1}"
    "\n.rule{stroke:#d0d7de;fill:none}\n"
    ".map path{fill:none;stroke-width:4;stroke-dasharray:4 1}\n"
    ".map .pin{stroke:#24292f;stroke-width:2;stroke-dasharray:none}\n"
    ".l1{stroke-opacity:.4}.l2{stroke-opacity:.6}.l3{stroke-opacity:.8}\n";
static const char dark_style[] =
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}\n"
    ".m,.a{fill:#8d96a0}.card{fill:#0d1117;stroke:#30363d}"
    ".track{fill:#21262d}.rule{stroke:#30363d}\n"
    ".map .k1{stroke:#272e36}.f1{fill:#272e36}"
    ".map .k2{stroke:#2f5a46}.f2{fill:#2f5a46}"
    ".map .pin{stroke:#ffffff}}\n</style>\n";

struct page {
	FILE *out;
	const struct dump *dump;
	unsigned y; /* what comes next begins here */
};

/* ---- the top ------------------------------------------------------------- */

/* A colour's share of the bar at the top, and its place in the legend. */
static void
write_kind(const struct page *page, unsigned kind, unsigned nth, double *x)
{
	const struct dump *dump = page->dump;
	unsigned long long nr_pages = dump->nr_pages[kind];
	double width = (WIDTH - 2 * MARGIN) * (double)nr_pages /
	    (double)dump->ram_pages;
	unsigned left = MARGIN + nth % LEGEND_COLUMNS * LEGEND_WIDTH;
	unsigned top = 84 + nth / LEGEND_COLUMNS * 20;

	fprintf(page->out, "<g data-kind=\"%s\" data-pages=\"%llu\">"
	    "<rect class=\"f%u\" x=\"%.2f\" y=\"58\" width=\"%.2f\" "
	    "height=\"14\"/>", dump->names[kind], nr_pages, kind, *x, width);
	fprintf(page->out, "<rect class=\"f%u\" x=\"%u\" y=\"%u\" width=\"11\""
	    " height=\"11\" rx=\"2\"/><text x=\"%u\" y=\"%u\">%s "
	    "<tspan class=\"m\">%s</tspan></text></g>\n", kind, left, top,
	    left + 16, top + 10, dump->names[kind],
	    size_text(nr_pages * dump->page_bytes));
	*x += width;
}

static void
write_top(struct page *page, uint64_t cell_pages)
{
	const struct dump *dump = page->dump;
	uint64_t nr_free =
	    dump->nr_pages[KIND_FREE] + dump->nr_pages[KIND_CACHED];
	unsigned nr_written = 0;
	double x = MARGIN;

	fprintf(page->out, "<text class=\"h\" x=\"%u\" y=\"42\">%s of physical "
	    "memory</text><text class=\"m r\" x=\"%u\" y=\"42\">%s in use, "
	    "%s free; at most %s were in use; a square is %s</text>\n", MARGIN,
	    size_text(dump->ram_pages * dump->page_bytes), WIDTH - MARGIN,
	    size_text((dump->ram_pages - nr_free) * dump->page_bytes),
	    size_text(nr_free * dump->page_bytes),
	    size_text(dump->peak_pages * dump->page_bytes),
	    size_text(cell_pages * dump->page_bytes));
	for (unsigned i = 0; i < dump->nr_kinds - 1; i++) {
		/* uses first, then what is cached, then what is free */
		unsigned kind = i + KIND_USE < dump->nr_kinds
		    ? i + KIND_USE : dump->nr_kinds - 1 - i;

		if (dump->nr_pages[kind] != 0)
			write_kind(page, kind, nr_written++, &x);
	}
	page->y = 92 +
	    (nr_written + LEGEND_COLUMNS - 1) / LEGEND_COLUMNS * 20;
}

/* ---- a zone: its map ----------------------------------------------------- */

static bool
is_alike(const struct cell *cell, unsigned kind, unsigned level)
{
	return cell->kind == kind && cell->level == level;
}

/* Every run of cells of this kind and level, as strokes of one path. */
static void
write_strokes(const struct page *page, const struct grid *grid, unsigned kind,
    unsigned level)
{
	bool has_begun = false;

	for (unsigned i = 0; i < grid->nr_rows * COLUMNS; i++) {
		unsigned row = i / COLUMNS, first = i % COLUMNS, k = first;
		const struct cell *cells = grid->rows[row].cells;

		while (k < COLUMNS && is_alike(&cells[k], kind, level))
			k++;
		if (k == first)
			continue;
		if (!has_begun)
			fprintf(page->out, "<path class=\"k%u l%u\" d=\"",
			    kind, level);
		has_begun = true;
		fprintf(page->out, "M%u %uh%u", MAP_X + first * CELL,
		    page->y + row * CELL + CELL / 2, (k - first) * CELL);
		i += k - first - 1;
	}
	if (has_begun)
		fputs("\"/>\n", page->out);
}

static void
write_pins(const struct page *page, const struct grid *grid)
{
	fputs("<path class=\"pin\" d=\"M0 0", page->out);
	for (unsigned i = 0; i < grid->nr_rows * COLUMNS; i++)
		if (grid->rows[i / COLUMNS].cells[i % COLUMNS].is_pinned)
			fprintf(page->out, "M%u %uh2",
			    MAP_X + i % COLUMNS * CELL + 1,
			    page->y + i / COLUMNS * CELL + CELL / 2);
	fputs("\"/>\n", page->out);
}

/* The address of every eighth line, and of each after a hole. */
static void
write_addresses(const struct page *page, const struct grid *grid)
{
	uint64_t row_bytes =
	    grid->cell_pages * COLUMNS * page->dump->page_bytes;
	unsigned free_y = 0; /* no text is above it any more */

	for (unsigned r = 0; r < grid->nr_rows; r++) {
		uint64_t index = grid->rows[r].index;
		unsigned y = page->y + r * CELL;
		bool is_after_hole =
		    r > 0 && index != grid->rows[r - 1].index + 1;

		if (is_after_hole)
			fprintf(page->out, "<path class=\"rule\" "
			    "d=\"M%u %uh%u\" stroke-dasharray=\"2 3\" "
			    "style=\"stroke:#8d96a0\"/>\n", MAP_X - 24, y,
			    COLUMNS * CELL + 24);
		if ((index % 8 != 0 && !is_after_hole && r != 0) || y < free_y)
			continue;
		free_y = y + 11;
		fprintf(page->out, "<text class=\"a\" x=\"%u\" y=\"%u\">%llx"
		    "</text>\n", MAP_X - 8, y + 6,
		    (unsigned long long)(index * row_bytes));
	}
}

static void
write_map(const struct page *page, const struct zone *zone,
    const struct grid *grid)
{
	fprintf(page->out, "<g class=\"map\" data-zone=\"%s\" "
	    "data-cell-pages=\"%llu\">\n", zone->name,
	    (unsigned long long)grid->cell_pages);
	for (unsigned kind = KIND_FREE; kind < page->dump->nr_kinds; kind++)
		for (unsigned level = 0; level <= 4; level++)
			write_strokes(page, grid, kind, level);
	write_pins(page, grid);
	fputs("</g>\n", page->out);
	write_addresses(page, grid);
}

/* ---- a zone: its free blocks --------------------------------------------- */

static void
write_order(const struct page *page, const struct zone *zone, unsigned order,
    unsigned y)
{
	unsigned long long nr = zone->nr_free_blocks[order];
	double share = zone->nr_free_pages == 0
	    ? 0 : (double)(nr << order) / (double)zone->nr_free_pages;

	fprintf(page->out, "<text class=\"r\" x=\"%u\" y=\"%u\"><tspan "
	    "class=\"m\">%llu \303\227</tspan> %s</text>", ORDERS_X, y, nr,
	    size_text(page->dump->page_bytes << order));
	fprintf(page->out, "<rect class=\"track\" x=\"%u\" y=\"%u\" "
	    "width=\"%u\" height=\"9\" rx=\"2\"/>", ORDERS_X + 10, y - 9,
	    BAR_WIDTH);
	if (nr != 0)
		fprintf(page->out, "<rect class=\"bar\" x=\"%u\" y=\"%u\" "
		    "width=\"%.2f\" height=\"9\" rx=\"2\" data-order=\"%u\" "
		    "data-blocks=\"%llu\"/>", ORDERS_X + 10, y - 9,
		    BAR_WIDTH * share, order, nr);
	fprintf(page->out, "<text class=\"r\" x=\"%u\" y=\"%u\">%u %%</text>\n",
	    ORDERS_END, y, zone_unusable(zone, order));
}

static void
write_orders(const struct page *page, const struct zone *zone)
{
	unsigned y = page->y;

	fprintf(page->out, "<text class=\"m r\" x=\"%u\" y=\"%u\">free blocks"
	    "</text><text class=\"m\" x=\"%u\" y=\"%u\">share</text>"
	    "<text class=\"m r\" x=\"%u\" y=\"%u\">unusable<title>the part of "
	    "free memory that is in smaller blocks</title></text>\n",
	    ORDERS_X, y, ORDERS_X + 10, y, ORDERS_END, y);
	for (unsigned i = 0; i < zone_shown_orders(zone); i++)
		write_order(page, zone, i, y += ORDER_HEIGHT);
}

/* ---- all ----------------------------------------------------------------- */

static unsigned
zone_height(const struct zone *zone, const struct grid *grid)
{
	unsigned map = (unsigned)grid->nr_rows * CELL;
	unsigned orders = zone_shown_orders(zone) * ORDER_HEIGHT;

	return 28 + (map > orders ? map : orders) + 26;
}

static void
write_zone(struct page *page, const struct zone *zone, const struct grid *grid)
{
	unsigned long long page_bytes = page->dump->page_bytes;
	unsigned y = page->y;

	fprintf(page->out, "<path class=\"rule\" d=\"M%u %u.5h%u\"/>\n", MARGIN,
	    y, WIDTH - 2 * MARGIN);
	page->y += 25;
	fprintf(page->out, "<text x=\"%u\" y=\"%u\"><tspan class=\"z\">zone %s"
	    "</tspan><tspan class=\"m\" dx=\"10\">0x%llx to 0x%llx</tspan>"
	    "</text>\n", MARGIN, page->y, zone->name,
	    zone->first_pfn * page_bytes, zone->end_pfn * page_bytes);
	write_orders(page, zone);
	page->y += 10;
	write_map(page, zone, grid);
	page->y = y + zone_height(zone, grid);
}

void
draw_svg(FILE *out, const struct dump *dump)
{
	struct page page = { out, dump, 0 };
	struct grid grids[MAX_ZONES];
	uint64_t cell_pages = grid_cell_pages(dump, COLUMNS, ROWS);
	unsigned nr_kinds = 0, height = 92;

	for (unsigned i = KIND_FREE; i < dump->nr_kinds; i++)
		nr_kinds += dump->nr_pages[i] != 0;
	height += (nr_kinds + LEGEND_COLUMNS - 1) / LEGEND_COLUMNS * 20;
	for (unsigned i = 0; i < dump->nr_zones; i++) {
		grids[i] = grid_make(&dump->zones[i], COLUMNS, cell_pages);
		height += zone_height(&dump->zones[i], &grids[i]);
	}
	fprintf(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%u\" "
	    "height=\"%u\" viewBox=\"0 0 %u %u\" role=\"img\">\n"
	    "<title>What lies where in physical memory</title>\n<style>\n%s",
	    WIDTH, height, WIDTH, height, style);
	for (unsigned i = KIND_FREE; i < dump->nr_kinds; i++)
		fprintf(out, ".k%u{stroke:#%06x}.f%u{fill:#%06x}\n", i,
		    kind_colour(dump, i), i, kind_colour(dump, i));
	fprintf(out, "%s<rect class=\"card\" x=\".5\" y=\".5\" width=\"%u\" "
	    "height=\"%u\" rx=\"10\"/>\n", dark_style, WIDTH - 1, height - 1);
	write_top(&page, cell_pages);
	for (unsigned i = 0; i < dump->nr_zones; i++) {
		write_zone(&page, &dump->zones[i], &grids[i]);
		grid_free(&grids[i]);
	}
	fputs("</svg>\n", out);
}
