/* SPDX-License-Identifier: MIT
 *
 * examples/physmem/machine.c: the machine, physmem, and tasks on CPUs
 */
#include "physmem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct machine m;

void
say(const char *who, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	printf("%-8s ", who);
	vprintf(format, args);
	putchar('\n');
	va_end(args);
}

void
must(bool holds, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	printf("    %s  ", holds ? "ok    " : "FAILED");
	vprintf(format, args);
	putchar('\n');
	va_end(args);
	m.nr_failed += !holds;
}

/* ---- memory for the small structures -------------------------------------- */

static void *
item_alloc(void *ctx, size_t bytes)
{
	void *item = malloc(bytes);

	(void)ctx;
	m.nr_items += item != NULL;
	return item;
}

static void
item_free(void *ctx, void *item, size_t bytes)
{
	(void)ctx;
	(void)bytes;
	m.nr_items--;
	free(item);
}

static void *
node_alloc(void *ctx)
{
	return item_alloc(ctx, MMK_BTREE_NODE_BYTES);
}

static void *
handle_alloc(void *ctx)
{
	return item_alloc(ctx, MMK_HANDLE_ITEM_BYTES);
}

static void
any_free(void *ctx, void *item)
{
	item_free(ctx, item, 0);
}

static const struct mmk_physmem_memory items = { item_alloc, item_free, NULL };
static const struct mmk_btree_memory nodes = { node_alloc, any_free, NULL };
static const struct mmk_handle_memory tables = { handle_alloc, any_free, NULL };

/* ---- page faults: each task is its own pager ------------------------------- */

struct entering {
	struct task *task;
	const struct region *region;
};

/* physmem grants pages: they go into the page tables of whoever asked. */
static enum mmk_err
enter(void *ctx, uint64_t name, mmk_pa pa, uint64_t nr_pages, unsigned access)
{
	const struct entering *e = ctx;
	uint64_t nr_done;

	return mmk_pmap_enter_run(&e->task->pmap,
	    e->region->va + (name - e->region->start), pa, nr_pages,
	    access | MMK_PMAP_USER, &nr_done);
}

static int
on_fault(void *ctx, unsigned cpu, uint64_t va, unsigned access)
{
	struct task *task = cpu == m.client.cpu ? &m.client : &m.server;

	(void)ctx;
	if (mmk_pmap_emulate(&task->pmap, va, access | MMK_PMAP_USER))
		return 0;
	for (unsigned i = 0; i < NR_REGIONS; i++) {
		const struct region *region = &task->regions[i];
		struct entering entering = { task, region };
		struct mmk_container_sink sink = { enter, &entering };

		if (region->container == 0 || va < region->va ||
		    va - region->va >= region->nr_pages * PAGE)
			continue;
		task->nr_requests++;
		return (int)mmk_physmem_map(&task->handles, region->container,
		    region->start + mmk_page_floor(va - region->va), PAGE,
		    region->access, &sink);
	}
	return SIM_FAULT;
}

/* ---- the machine ------------------------------------------------------------ */

static uint64_t
nr_free_frames(void)
{
	struct mmk_phys_stats stats;

	mmk_phys_drain(&m.phys);
	mmk_phys_stats_read(&m.phys, &stats);
	return stats.nr_free_pages;
}

void
machine_boot(unsigned arch)
{
	struct sim_config sim = { .ram_bytes = 32u << 20, .nr_cpus = 2,
		.arch = arch };
	struct mmk_phys_config config = { 0 };
	struct mmk_physmem_config physmem = { .phys = &m.phys,
		.pins = &m.pins, .memory = &items, .nodes = &nodes,
		.plug = &m.plug, .handles = &m.handle_sys,
		.max_pins = NR_PINS };
	struct mmk_control_plug controls =
	    mmk_physmem_control_plug(&m.physmem);

	sim_boot(&sim);
	sim_violations_record(true);
	sim_forbid_stale_hits(true);
	sim_on_fault(on_fault, NULL);
	config.spans = sim_spans(&config.nr_spans);
	must(mmk_phys_init(&m.phys, &config) == MMK_OK &&
	    mmk_pmap_sys_init(&m.sys, &m.phys, sim_shape()) == MMK_OK,
	    "32 MiB of RAM, page tables of %s",
	    arch == SIM_ARCH_X86_64 ? "x86_64" : "aarch64");
	m.nr_free_at_boot = nr_free_frames();
	mmk_pins_init(&m.pins, &m.phys, PIN_LIMIT_NS);
	mmk_handle_sys_init(&m.handle_sys, &tables);
	mmk_handles_init(&m.kernel, &m.handle_sys, 16);
	mmk_control_init_root(&m.tree, &m.root, 6000, &controls,
	    &m.handle_sys);
	m.plug = mmk_container_plug(&m.sys);
	mmk_physmem_init(&m.physmem, &physmem);
	must(mmk_handle_insert(&m.kernel, &m.root.target, MMK_RIGHT_ALL,
	    &m.root_name) == MMK_OK, "the root control guarantees 6000 pages");
}

void
audit(const char *when)
{
	bool is_right = mmk_physmem_check(&m.physmem) &&
	    mmk_control_check(&m.tree) && mmk_phys_check(&m.phys) &&
	    mmk_pins_check(&m.pins) && mmk_handles_check(&m.kernel);
	struct task *tasks[] = { &m.client, &m.server };

	for (unsigned i = 0; i < 2; i++)
		if (tasks[i]->is_alive)
			is_right = is_right &&
			    mmk_handles_check(&tasks[i]->handles) &&
			    mmk_pmap_check(&tasks[i]->pmap);
	must(is_right, "audit %s: containers, controls, frames, pins, names, "
	    "page tables", when);
}

void
machine_end(void)
{
	audit("at the end");
	mmk_handles_fini(&m.kernel);
	mmk_physmem_fini(&m.physmem);
	mmk_control_fini_root(&m.tree);
	mmk_pins_fini(&m.pins);
	mmk_pmap_sys_fini(&m.sys);
	must(nr_free_frames() == m.nr_free_at_boot, "no frame leaked");
	must(m.nr_items == 0, "no small structure leaked");
	must(sim_violations() == 0, "the machine saw no violation%s%s",
	    sim_violations() != 0 ? ": " : "", sim_violation_text());
	mmk_phys_fini(&m.phys);
	sim_shutdown();
}

/* ---- tasks ------------------------------------------------------------------ */

void
task_start(struct task *task, const char *name, unsigned cpu, uint64_t nr_pages)
{
	memset(task, 0, sizeof *task);
	task->name = name;
	task->cpu = cpu;
	mmk_handles_init(&task->handles, &m.handle_sys, 64);
	must(mmk_pmap_init(&task->pmap, &m.sys, NULL) == MMK_OK &&
	    mmk_physmem_split(&m.physmem, &m.kernel, m.root_name, nr_pages,
	        &m.kernel, &task->given) == MMK_OK &&
	    mmk_handle_derive(&m.kernel, task->given, &task->handles,
	        MMK_RIGHT_ALL, &task->control) == MMK_OK,
	    "the root control is split: %llu pages for the %s, on CPU %u",
	    (unsigned long long)nr_pages, name, cpu);
	sim_set_cpu(cpu);
	mmk_pmap_activate(&task->pmap, cpu);
	task->is_alive = true;
}

void
task_end(struct task *task)
{
	for (unsigned i = 0; i < NR_REGIONS; i++)
		if (task->regions[i].container != 0)
			task_unmap(task, i);
	sim_set_cpu(task->cpu);
	mmk_pmap_deactivate(&task->pmap, task->cpu);
	mmk_pmap_fini(&task->pmap);
	mmk_handles_fini(&task->handles);
	must(mmk_physmem_destroy(&m.kernel, task->given) == MMK_OK,
	    "the %s is gone: names, page tables, control", task->name);
	task->is_alive = false;
}

void
task_map(struct task *task, unsigned region, mmk_va va,
    mmk_handle_name container, uint64_t start, uint64_t nr_pages,
    unsigned access)
{
	const struct region r = { va, container, start, nr_pages, access };

	task->regions[region] = r;
}

void
task_unmap(struct task *task, unsigned region)
{
	struct region *r = &task->regions[region];
	struct mmk_gather gather;

	sim_set_cpu(task->cpu);
	mmk_gather_init(&gather, &m.sys);
	mmk_pmap_remove(&task->pmap, r->va, r->va + r->nr_pages * PAGE, &gather);
	mmk_gather_finish(&gather);
	r->container = 0;
}

int
task_load(struct task *task, mmk_va va, void *to, uint64_t nr_bytes)
{
	sim_set_cpu(task->cpu);
	return sim_load(task->cpu, va, to, nr_bytes);
}

int
task_store(struct task *task, mmk_va va, const void *from, uint64_t nr_bytes)
{
	sim_set_cpu(task->cpu);
	return sim_store(task->cpu, va, from, nr_bytes);
}

mmk_pa
task_pa(struct task *task, mmk_va va)
{
	struct mmk_translation found;

	return mmk_pmap_query(&task->pmap, va, &found) ? found.pa : UINT64_MAX;
}

uint64_t
task_credit(struct task *task)
{
	struct mmk_control_stats stats = { 0 };
	struct mmk_control *control;

	if (mmk_control_lookup(&task->handles, task->control, 0, &control) ==
	    MMK_OK) {
		mmk_control_stats_read(control, &stats);
		mmk_control_unref(control);
	}
	return stats.nr_free_pages;
}

uint64_t
checksum_of(uint64_t hash, const unsigned char *bytes, uint64_t nr_bytes)
{
	for (uint64_t i = 0; i < nr_bytes; i++)
		hash = (hash ^ bytes[i]) * UINT64_C(1099511628211);
	return hash;
}

uint64_t
task_checksum(struct task *task, mmk_va va, uint64_t nr_bytes)
{
	unsigned char page[MMK_PAGE_BYTES];
	uint64_t hash = 0;

	for (uint64_t at = 0; at < nr_bytes; at += PAGE) {
		uint64_t nr_here = mmk_min(PAGE, nr_bytes - at);

		if (task_load(task, va + at, page, nr_here) != 0)
			return 0;
		hash = checksum_of(hash, page, nr_here);
	}
	return hash;
}

enum mmk_err
evict(mmk_pa pa)
{
	struct mmk_compaction effort = { .pins = &m.pins, .max_moves = 4096 };
	struct mmk_run_request request = { .nr_pages = 1, .lo_pa = pa,
		.limit_pa = pa + PAGE, .use = MMK_USE_KERNEL };
	mmk_pfn pfn;
	enum mmk_err err = mmk_compact_run(&m.phys, &effort, &request, &pfn);

	if (err == MMK_OK)
		mmk_run_free(&m.phys, pfn, 1);
	return err;
}

uint64_t
nr_stale_hits(void)
{
	struct sim_counters counters;

	sim_counters(&counters);
	return counters.nr_stale_hits;
}
