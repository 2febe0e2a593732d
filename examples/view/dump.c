/* SPDX-License-Identifier: MIT
 *
 * examples/view/dump.c: read a dump; mmkit/phys/dump.h has its form
 */
#include "view.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define NAME "%23[a-z0-9_-]" /* may go into a picture as it is */
#define NUMBER "%15" SCNu64  /* sums of some do not overflow */

void *
xrealloc(void *ptr, size_t nr, size_t bytes)
{
	ptr = nr > SIZE_MAX / bytes ? NULL : realloc(ptr, nr * bytes);
	if (ptr == NULL) {
		fputs("mmkit-view: no memory\n", stderr);
		exit(1);
	}
	return ptr;
}

/* Without its end, and in the sum; false: there is no whole line left. */
static bool
next_line(struct reader *reader)
{
	ssize_t length =
	    getline(&reader->line, &reader->line_bytes, reader->in);
	char *to = reader->line;

	if (length <= 0 || reader->line[length - 1] != '\n')
		return false;
	reader->nr_lines++;
	for (const char *from = to; length-- > 0; from++) {
		if (*from == '\r')
			continue;
		*to = *from;
		reader->sum = (reader->sum ^ (uint8_t)*to++) * 16777619u;
	}
	to[-1] = '\0';
	return true;
}

/* STATE[ORDER][!][*COUNT]; the rest of the line, NULL if it is wrong */
static const char *
read_run(struct dump *dump, struct zone *zone, const char *at)
{
	const char *state = strchr(dump->letters, *at);
	struct run run = { zone->mapped_pfn, 1, 0, false };
	unsigned long order = 0;

	if (*at == '\0' || state == NULL)
		return NULL;
	run.kind = (unsigned)(state - dump->letters);
	if (*++at >= '0' && *at <= '9')
		order = strtoul(at, (char **)(uintptr_t)&at, 10);
	run.is_pinned = *at == '!';
	at += run.is_pinned;
	if (*at == '*')
		run.nr_pages = strtoull(at + 1, (char **)(uintptr_t)&at, 10);
	if (order >= MAX_ORDERS || run.nr_pages == 0 ||
	    run.nr_pages > (zone->end_pfn - run.first_pfn) >> order)
		return NULL;
	run.nr_pages <<= order;
	if (zone->nr_runs == zone->max_runs) {
		zone->max_runs = 2 * zone->max_runs + 64;
		zone->runs = xrealloc(zone->runs, zone->max_runs, sizeof run);
	}
	zone->runs[zone->nr_runs++] = run;
	zone->mapped_pfn += run.nr_pages;
	dump->nr_pages[run.kind] += run.nr_pages;
	return at;
}

static bool
read_map(struct dump *dump, struct zone *zone, const char *at)
{
	while (at != NULL && *at == ' ')
		at = read_run(dump, zone, at + 1);
	return at != NULL && *at == '\0';
}

static bool
read_free(struct zone *zone, const char *at)
{
	for (int length = 0; *at != '\0'; at += length, zone->nr_orders++) {
		unsigned order = zone->nr_orders;

		if (order == MAX_ORDERS || sscanf(at, " " NUMBER "%n",
		        &zone->nr_free_blocks[order], &length) != 1)
			return false;
		zone->nr_free_pages += zone->nr_free_blocks[order] << order;
	}
	return zone->nr_orders != 0;
}

static bool
read_use(struct dump *dump, const char *at)
{
	unsigned kind = dump->nr_kinds;
	uint64_t nr_pages;
	char letter;

	if (kind == MAX_KINDS || sscanf(at, "use %c " NAME " " NUMBER, &letter,
	        dump->names[kind], &nr_pages) != 3)
		return false;
	dump->letters[kind] = letter;
	dump->nr_kinds++;
	return letter >= 'a' && letter <= 'z' && dump->nr_zones == 0;
}

static bool
read_zone(struct dump *dump, const char *at)
{
	struct zone *zone = &dump->zones[dump->nr_zones];

	if (dump->nr_zones == MAX_ZONES || sscanf(at, "zone " NAME " " NUMBER
	        " " NUMBER, zone->name, &zone->first_pfn, &zone->end_pfn) != 3)
		return false;
	dump->nr_zones++;
	zone->mapped_pfn = zone->first_pfn;
	return zone->first_pfn < zone->end_pfn;
}

static bool
read_line(struct dump *dump, const char *at)
{
	struct zone *zone =
	    dump->nr_zones == 0 ? NULL : &dump->zones[dump->nr_zones - 1];
	uint64_t unused;

	if (strncmp(at, "map ", 4) == 0)
		return zone != NULL && read_map(dump, zone, at + 3);
	if (strncmp(at, "free ", 5) == 0)
		return zone != NULL && zone->nr_orders == 0 &&
		    read_free(zone, at + 4);
	if (zone != NULL && zone->mapped_pfn != zone->end_pfn)
		return false;
	return read_zone(dump, at) || read_use(dump, at) ||
	    sscanf(at, "cpu " NUMBER " " NUMBER, &unused, &unused) == 2 ||
	    sscanf(at, "ram_pages " NUMBER " peak " NUMBER, &dump->ram_pages,
	        &dump->peak_pages) == 2 ||
	    sscanf(at, "page_bytes " NUMBER, &dump->page_bytes) == 1;
}

static const char *
read_body(struct reader *reader, struct dump *dump)
{
	char last[16];
	const struct zone *zone;

	for (;;) {
		snprintf(last, sizeof last, "end %08" PRIx32, reader->sum);
		if (!next_line(reader))
			return "the dump is truncated: it has no last line";
		if (strncmp(reader->line, "end ", 4) == 0)
			break;
		if (!read_line(dump, reader->line))
			return "the dump is garbled: this line";
	}
	if (strcmp(reader->line, last) != 0)
		return "the dump is garbled: its checksum does not agree";
	zone = &dump->zones[dump->nr_zones - 1];
	if (dump->nr_zones == 0 || zone->mapped_pfn != zone->end_pfn ||
	    dump->page_bytes == 0 || dump->page_bytes > 1u << 20 ||
	    dump->ram_pages == 0)
		return "the dump is truncated: a part of it is missing";
	return NULL;
}

enum read_result
dump_read(struct reader *reader, struct dump *out)
{
	memset(out, 0, sizeof *out);
	memcpy(out->letters, "-.+", 3);
	memcpy(out->names[KIND_FREE], "free", 5);
	memcpy(out->names[KIND_CACHED], "cached", 7);
	out->nr_kinds = KIND_USE;
	do {
		reader->sum = 2166136261u;
		if (!next_line(reader))
			return READ_NOTHING;
	} while (strncmp(reader->line, "mmkit-frames ", 13) != 0);
	reader->error = strcmp(reader->line + 13, "1") != 0
	    ? "the dump is of another version; only 1 is known"
	    : read_body(reader, out);
	return reader->error == NULL ? READ_DUMP : READ_BAD;
}

void
dump_free(struct dump *dump)
{
	for (unsigned i = 0; i < dump->nr_zones; i++)
		free(dump->zones[i].runs);
	dump->nr_zones = 0;
}
