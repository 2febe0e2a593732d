/* SPDX-License-Identifier: MIT
 *
 * examples/hosted/report.c: what happened to memory
 *
 * WHAT    --stats: counters, and where the time went. --maps: an address space
 *         as /proc/PID/maps shows it, and physical memory as a picture.
 *         --frames: the same for mmkit-view, frame by frame. The
 *         audit at the end: every page, anon, entry, object and table is free
 *         again, or the run has failed.
 */
#include "hosted.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define MAP_COLUMNS 64u
#define MAP_ROWS 16u

static uint64_t
mib_tenths(uint64_t nr_pages)
{
	return mmk_bytes_of_pages(nr_pages) * 10 >> 20;
}

/* ---- a picture of physical memory ---------------------------------------- */

struct paint {
	char letter;
	const char *colour;
	const char *text;
};

enum { FREE, KERNEL, POOL, TABLE, ANON, META, CACHE, NR_PAINTS };

static const struct paint paints[NR_PAINTS] = {
	[FREE] = { '.', "\033[90m", "free" },
	[KERNEL] = { 'K', "\033[35m", "kernel" },
	[POOL] = { 'o', "\033[33m", "small objects" },
	[TABLE] = { 'T', "\033[31m", "page tables" },
	[ANON] = { '#', "\033[32m", "programs' own" },
	[META] = { 'M', "\033[34m", "frame table" },
	[CACHE] = { 'f', "\033[36m", "files, shared" },
};

static unsigned
paint_of(mmk_pfn pfn)
{
	struct mmk_frame *frame =
	    mmk_frame_of_pa(&machine.phys, mmk_pa_of_pfn(pfn));

	if (frame == NULL)
		return META;
	if (!mmk_frame_is_held(frame) && frame->use != MMK_USE_META)
		return FREE;
	switch ((enum mmk_use)frame->use) {
	case MMK_USE_KERNEL: return KERNEL;
	case MMK_USE_POOL: return POOL;
	case MMK_USE_TABLE: return TABLE;
	case MMK_USE_META: return META;
	case MMK_USE_ANON: case MMK_USE_CONTAINER: return ANON;
	case MMK_USE_FREE: case MMK_USE_MAX:
		break;
	}
	return FREE;
}

/* Pages that objects hold, not the private layers over them. */
static void
paint_objects(uint8_t *paint, mmk_pfn nr_pages)
{
	for (struct mmk_link *link = machine.vm.objects.head.next;
	     link != &machine.vm.objects.head; link = link->next) {
		struct mmk_object *object =
		    MMK_CONTAINER_OF(link, struct mmk_object, of_vm);
		uint64_t page = 0;
		struct mmk_anon *anon;

		if (object->ops->kind == MMK_PAGER_UPPER ||
		    object->amap == NULL)
			continue;
		for (; (anon = mmk_amap_next(object->amap, &page)) != NULL;
		     page++) {
			mmk_pfn pfn;

			if (anon->frame == NULL)
				continue;
			pfn = mmk_pfn_of_pa(
			    mmk_frame_pa(&machine.phys, anon->frame));
			if (pfn < nr_pages)
				paint[pfn] = CACHE;
		}
	}
}

/* A cell shows what most of its pages are; free only if all are. */
static unsigned
cell(const uint8_t *paint, uint64_t first, uint64_t end)
{
	uint64_t nr[NR_PAINTS] = { 0 };
	unsigned best = FREE;

	for (; first < end; first++)
		nr[paint[first]]++;
	nr[FREE] = 0;
	for (unsigned i = 1; i < NR_PAINTS; i++)
		if (nr[i] > nr[best])
			best = i;
	return best;
}

static void
draw(const uint8_t *paint, uint64_t nr_pages, bool has_colours)
{
	uint64_t nr_cells = MAP_COLUMNS * MAP_ROWS, per_cell;
	unsigned last = NR_PAINTS;

	per_cell = (nr_pages + nr_cells - 1) / nr_cells;
	fprintf(stderr, "  physical memory, a cell is %llu KiB\n",
	    (unsigned long long)(mmk_bytes_of_pages(per_cell) >> 10));
	for (uint64_t first = 0; first < nr_pages; first += per_cell) {
		uint64_t end = first + per_cell;
		unsigned kind =
		    cell(paint, first, end < nr_pages ? end : nr_pages);

		if (first / per_cell % MAP_COLUMNS == 0) {
			fprintf(stderr, "%s  %8llx  ", first == 0 ? "" : "\n",
			    (unsigned long long)mmk_pa_of_pfn(first));
			last = NR_PAINTS;
		}
		if (has_colours && kind != last)
			fputs(paints[kind].colour, stderr);
		last = kind;
		fputc(paints[kind].letter, stderr);
		if (has_colours && (first / per_cell + 1) % MAP_COLUMNS == 0)
			fputs("\033[0m", stderr);
	}
	fputs(has_colours ? "\033[0m\n" : "\n", stderr);
}

static void
draw_memory(void)
{
	uint64_t nr_pages = mmk_pages_of_bytes(machine.options.ram_bytes);
	uint8_t *paint = xcalloc(nr_pages, 1);
	uint64_t nr[NR_PAINTS] = { 0 };
	bool has_colours = isatty(STDERR_FILENO) != 0 ||
	    getenv("CLICOLOR_FORCE") != NULL;

	for (uint64_t pfn = 0; pfn < nr_pages; pfn++)
		paint[pfn] = (uint8_t)paint_of(pfn);
	paint_objects(paint, nr_pages);
	for (uint64_t pfn = 0; pfn < nr_pages; pfn++)
		nr[paint[pfn]]++;
	draw(paint, nr_pages, has_colours);
	fputs("           ", stderr);
	for (unsigned i = 0; i < NR_PAINTS; i++)
		if (nr[i] > 0)
			fprintf(stderr, " %s%c%s %s %llu", has_colours
			        ? paints[i].colour : "", paints[i].letter,
			    has_colours ? "\033[0m" : "", paints[i].text,
			    (unsigned long long)nr[i]);
	fputs(" pages\n", stderr);
	free(paint);
}

void
report_maps(struct mm *mm, const char *title)
{
	size_t bytes = 0;
	char *text = view_maps(mm, &bytes);

	fprintf(stderr, "mmkit-run: the address space of %s\n%s", title, text);
	free(text);
	draw_memory();
}

/* ---- --frames ------------------------------------------------------------ */

void
report_frames_open(void)
{
	const char *path = machine.options.frames_path;

	if (path == NULL)
		return;
	machine.frames = strcmp(path, "-") == 0
	    ? fdopen(dup(STDOUT_FILENO), "w")
	    : fopen(path, "we");
	if (machine.frames == NULL)
		die(STATUS_BROKEN, "--frames %s: cannot be written", path);
}

static bool
put_char(void *ctx, char c)
{
	return putc(c, ctx) != EOF;
}

/* From a buffer at once: what programs print meanwhile stays out of it. */
void
report_frames(void)
{
	char *text = NULL;
	size_t bytes = 0;
	FILE *buffer;

	if (machine.frames == NULL)
		return;
	buffer = open_memstream(&text, &bytes);
	if (buffer == NULL)
		die(STATUS_BROKEN, "no memory");
	(void)mmk_phys_dump(&machine.phys, put_char, buffer);
	if (fclose(buffer) != 0)
		die(STATUS_BROKEN, "no memory");
	if (fwrite(text, bytes, 1, machine.frames) != 1 ||
	    fflush(machine.frames) != 0) {
		say("--frames: cannot be written any more");
		fclose(machine.frames);
		machine.frames = NULL;
	}
	free(text);
}

/* ---- numbers ------------------------------------------------------------- */

static void
print_count(const char *text, uint64_t value)
{
	if (value != 0)
		fprintf(stderr, "    %-44s %10llu\n", text,
		    (unsigned long long)value);
}

static void
print_times(void)
{
	const struct counts *c = &machine.counts;
	uint64_t total_ns = c->tracer_ns + c->wait_ns;
	struct rusage theirs, ours;

	getrusage(RUSAGE_CHILDREN, &theirs);
	getrusage(RUSAGE_SELF, &ours);
	fprintf(stderr, "  wall time %llu ms: %llu ms in the tracer, %llu ms "
	    "while programs ran or waited\n",
	    (unsigned long long)(total_ns / 1000000),
	    (unsigned long long)(c->tracer_ns / 1000000),
	    (unsigned long long)(c->wait_ns / 1000000));
	fprintf(stderr, "  CPU time: programs %lld ms user, %lld ms system; "
	    "tracer %lld ms user, %lld ms system\n",
	    (long long)(theirs.ru_utime.tv_sec * 1000 +
	        theirs.ru_utime.tv_usec / 1000),
	    (long long)(theirs.ru_stime.tv_sec * 1000 +
	        theirs.ru_stime.tv_usec / 1000),
	    (long long)(ours.ru_utime.tv_sec * 1000 +
	        ours.ru_utime.tv_usec / 1000),
	    (long long)(ours.ru_stime.tv_sec * 1000 +
	        ours.ru_stime.tv_usec / 1000));
}

void
report_stats(void)
{
	const struct counts *c = &machine.counts;
	struct mmk_phys_stats stats;

	mmk_phys_stats_read(&machine.phys, &stats);
	fprintf(stderr, "mmkit-run: %llu MiB of RAM, page tables of %s\n",
	    (unsigned long long)(machine.options.ram_bytes >> 20),
	    machine.options.arch == SIM_ARCH_X86_64 ? "x86_64" : "aarch64");
	fputs("  mmkit\n", stderr);
	for (unsigned i = 0; i < MMK_COUNT_MAX; i++)
		print_count(mmk_vm_counter_name((enum mmk_vm_counter)i),
		    machine.vm.counters[i]);
	print_count("TLB flushes", machine.pmap_sys.nr_flushes);
	print_count("TLB shootdowns", machine.pmap_sys.nr_shootdowns);
	fputs("  the hosted machine\n", stderr);
	print_count("stops: TLB misses", c->fault_stops);
	print_count("stops: system calls", c->call_stops);
	print_count("stops: signals", c->signal_stops);
	print_count("stops: others", c->other_stops);
	print_count("pages filled into host TLBs", c->filled_pages);
	print_count("  by so many host calls", c->fills);
	print_count("  of them ahead of the program", c->ahead_pages);
	print_count("host calls that drop translations", c->drops);
	print_count("host TLBs dropped for lack of room", c->evictions);
	print_count("host calls injected, all", c->injected_calls);
	print_count("tasks stopped for a flush", c->interrupts);
	print_count("injections waited for", c->sync_injections);
	print_count("programs started", c->execs);
	print_count("forks", c->forks);
	print_count("killed: out of memory", c->oom_kills);
	fprintf(stderr, "  frames: peak %llu (%llu.%llu MiB), at the end %llu "
	    "of %llu, the frame table %llu\n",
	    (unsigned long long)stats.peak_used_pages,
	    (unsigned long long)(mib_tenths(stats.peak_used_pages) / 10),
	    (unsigned long long)(mib_tenths(stats.peak_used_pages) % 10),
	    (unsigned long long)(stats.nr_pages - stats.nr_free_pages -
	        stats.nr_used_pages[MMK_USE_META]),
	    (unsigned long long)stats.nr_pages,
	    (unsigned long long)stats.nr_used_pages[MMK_USE_META]);
	print_times();
}

/* ---- the audit ----------------------------------------------------------- */

static bool
is_pool_empty(struct mmk_pool *pool, uint64_t nr_expected)
{
	uint64_t nr_used = mmk_pool_nr_used(pool);

	if (nr_used == nr_expected)
		return true;
	say("audit: %llu of the pool \"%s\" leaked",
	    (unsigned long long)(nr_used - nr_expected), pool->slabs.name);
	return false;
}

static bool
are_pools_empty(void)
{
	struct mmk_vm *vm = &machine.vm;
	uint64_t nr_zero = vm->zero_object != NULL ? 1 : 0;
	bool is_ok = is_pool_empty(&vm->anon_pool, 0);

	is_ok = is_pool_empty(&vm->amap_pool, 0) && is_ok;
	is_ok = is_pool_empty(&vm->slots_pool, 0) && is_ok;
	is_ok = is_pool_empty(&vm->entry_pool, 0) && is_ok;
	is_ok = is_pool_empty(&vm->node_pool, 0) && is_ok;
	is_ok = is_pool_empty(&vm->object_pool, nr_zero) && is_ok;
	return is_pool_empty(&machine.pmap_sys.rmap_pool, 0) && is_ok;
}

bool
report_audit(void)
{
	static const char *const names[MMK_USE_MAX] = { "free", "kernel",
		"pool", "page table", "program", "metadata", "container" };
	struct mmk_phys_stats stats;
	bool is_ok = true;

	if (sim_violations() != 0) {
		say("audit: %llu violations, the last: %s",
		    (unsigned long long)sim_violations(),
		    sim_violation_text());
		is_ok = false;
	}
	if (!are_pools_empty() || !is_ok)
		return false;
	mmk_vm_fini(&machine.vm);
	mmk_pmap_sys_fini(&machine.pmap_sys);
	mmk_phys_drain(&machine.phys);
	mmk_phys_stats_read(&machine.phys, &stats);
	for (unsigned i = MMK_USE_KERNEL; i < MMK_USE_MAX; i++) {
		if (stats.nr_used_pages[i] == machine.at_boot.nr_used_pages[i])
			continue;
		say("audit: %llu %s pages leaked",
		    (unsigned long long)(stats.nr_used_pages[i] -
		        machine.at_boot.nr_used_pages[i]), names[i]);
		is_ok = false;
	}
	return is_ok && mmk_phys_check(&machine.phys);
}

void
report_check(void)
{
	const char *text =
	    machine.options.check ? mmk_check_text(&machine.vm) : NULL;

	if (text != NULL)
		die(STATUS_BROKEN, "mmk_check: %s", text);
}
