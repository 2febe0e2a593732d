/* SPDX-License-Identifier: MIT
 *
 * tests/bench/task_bench.c: what ranges of addresses and tasks cost
 *
 * Minima of many rounds, ns: machines are shared. Nothing here asserts
 * anything. usage: task_bench
 */
#define MMKIT_IMPLEMENTATION
#define BENCH_NAME "task_bench"
#include "machine.h"

#include "../prop.h"

#define RAM_BYTES ((uint64_t)1 << 28)
#define GRANULE ((uint64_t)1 << 14)
#define BASE UINT64_C(0x40000000)
#define BATCH 10

static struct mmk_pmap live;
static struct mmk_tasks tasks;

static void
keep_least(double *least, double ns)
{
	*least = ns < *least ? ns : *least;
}

static void
boot(void)
{
	struct mmk_task_config task_config = { .pmap_sys = &sys };

	boot_machine(RAM_BYTES);
	must(mmk_task_init(&tasks, &task_config));
	must(mmk_pmap_init(&live, &sys, NULL));
	must(mmk_task_attach(&tasks, 0, &live));
	mmk_pmap_activate(&live, 0);
}

/* ---- ranges -------------------------------------------------------------- */

static void *
memory_alloc(void *ctx)
{
	(void)ctx;
	return malloc(MMK_RANGE_DESCRIPTOR_BYTES);
}

static void
memory_free(void *ctx, void *descriptor)
{
	(void)ctx;
	free(descriptor);
}

static uint64_t
some_bytes(uint64_t *seed)
{
	return (1 + mmk_test_random(seed) % 8) * GRANULE;
}

/* `nr` ranges allocated, and as many free ones between them. */
static void
ranges_of(unsigned nr)
{
	struct mmk_range_memory memory = { memory_alloc, memory_free, NULL };
	uint64_t *starts = calloc(2 * (size_t)nr, sizeof *starts);
	uint64_t seed = 1, mine[BATCH];
	double alloc_ns = 1e18, free_ns = 1e18;
	struct mmk_range_reserve reserve;
	static struct mmk_ranges ranges;

	mmk_range_reserve_init(&reserve, &memory, 0, 2 * nr + BATCH + 1);
	must(mmk_range_refill(&reserve));
	must(mmk_range_init(&ranges, &reserve, 0, nr * 64 * GRANULE, GRANULE));
	for (unsigned i = 0; i < 2 * nr; i++)
		must(mmk_range_alloc(&ranges, some_bytes(&seed), &starts[i]));
	for (unsigned i = 0; i < 2 * nr; i += 2)
		must(mmk_range_free(&ranges, starts[i]));
	for (unsigned round = 0; round < 300; round++) {
		double began_ns = now_ns(), middle_ns;

		for (unsigned i = 0; i < BATCH; i++)
			must(mmk_range_alloc(&ranges, some_bytes(&seed),
			    &mine[i]));
		middle_ns = now_ns();
		for (unsigned i = 0; i < BATCH; i++)
			must(mmk_range_free(&ranges, mine[i]));
		keep_least(&free_ns, (now_ns() - middle_ns) / BATCH);
		keep_least(&alloc_ns, (middle_ns - began_ns) / BATCH);
	}
	printf("| best fit, %u ranges | %.0f | %.0f |\n", 2 * nr, alloc_ns,
	    free_ns);
	mmk_range_fini(&ranges);
	mmk_range_reserve_fini(&reserve);
	free(starts);
}

/* ---- tasks --------------------------------------------------------------- */

/* 4 MiB in frames of that order. */
static void
tasks_of(unsigned order)
{
	enum { NR_PAGES = 1024 };
	static struct mmk_saved_extent extents[NR_PAGES];
	struct mmk_segment_args args = { ".data", BASE,
		mmk_bytes_of_pages(NR_PAGES), false };
	double load_ns = 1e18, unload_ns = 1e18;
	size_t nr_extents = (size_t)NR_PAGES >> order;
	struct mmk_descriptor *descriptor;
	struct mmk_segment *segment;

	for (size_t i = 0; i < nr_extents; i++) {
		struct mmk_frame *frame;

		must(mmk_frame_alloc(&phys, order, 0, MMK_USE_KERNEL, &frame));
		extents[i].pa = mmk_frame_pa(&phys, frame);
		extents[i].nr_pages = (uint64_t)1 << order;
	}
	must(mmk_descriptor_create(&tasks.segments, 1, &descriptor));
	must(mmk_segment_create(descriptor, &args, &segment));
	must(mmk_task_map(&tasks, segment, BASE, extents, nr_extents,
	    MMK_PROT_READ | MMK_PROT_WRITE));
	for (unsigned round = 0; round < 50; round++) {
		double began_ns = now_ns(), middle_ns;

		must(mmk_task_load(&tasks, 0, descriptor));
		middle_ns = now_ns();
		must(mmk_task_unload(&tasks, 0, descriptor));
		keep_least(&unload_ns, (now_ns() - middle_ns) / NR_PAGES);
		keep_least(&load_ns, (middle_ns - began_ns) / NR_PAGES);
	}
	printf("| a page of 4 MiB, in frames of %u | %.0f | %.0f |\n",
	    1u << order, load_ns, unload_ns);
	mmk_task_unmap_all(&tasks, segment);
	must(mmk_descriptor_destroy(descriptor));
}

int
main(void)
{
	boot();
	printf("| ns | alloc | free |\n|---|---:|---:|\n");
	for (unsigned nr = 10; nr <= 100000; nr *= 10)
		ranges_of(nr);
	printf("\n| ns | load | unload |\n|---|---:|---:|\n");
	for (unsigned order = 0; order <= 10; order += 5)
		tasks_of(order);
	return 0;
}
