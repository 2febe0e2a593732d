/* SPDX-License-Identifier: MIT
 *
 * tests/test_nodes.c: RAM that is nearer to one CPU than to another
 *
 * The implementation is compiled once more, private to this file, with nodes.
 */
#define MMKIT_STATIC
#define MMKIT_NODE_MAX 4
static unsigned node_of_cpu[64];
#define MMKIT_CPU_NODE(cpu) (node_of_cpu[cpu])
#include <pthread.h>

#include "mmkit/phys/compact.h"
#include "frame_fixture.h"

#define PAGE MMK_PAGE_BYTES
#define GRANULE_BYTES (MMK_GRANULE_PAGES << MMK_PAGE_SHIFT)
#define RAM_BYTES (32 * MIB)

/* Two pieces of node 0, with one of node 2 between; node 3 has no RAM. */
static const struct mmk_phys_span spans[] = {
	{ .start_pa = 16 * MIB, .end_pa = 24 * MIB, .node = 1 },
	{ .start_pa = 0, .end_pa = 6 * MIB, .node = 0 },
	{ .start_pa = 6 * MIB, .end_pa = 15 * MIB, .node = 2 },
	{ .start_pa = 24 * MIB, .end_pa = 32 * MIB, .node = 0 },
};

static struct mmk_phys_config config;
static void *meta;

static void
boot_nodes(void)
{
	struct sim_config machine = { .ram_bytes = RAM_BYTES,
		.nr_cpus = NR_CPUS };

	sim_boot(&machine);
	sim_set_cpu(0);
	for (unsigned i = 0; i < NR_CPUS; i++)
		node_of_cpu[i] = i;
	if (config.spans == NULL) {
		config.spans = spans;
		config.nr_spans = sizeof(spans) / sizeof(*spans);
	}
	config.meta_bytes = mmk_phys_config_meta_bytes(&config);
	config.meta = meta = calloc(1, config.meta_bytes);
	cr_assert_eq(mmk_phys_init(&phys, &config), MMK_OK);
	cr_assert(mmk_phys_check(&phys));
}

static void
fini_nodes(void)
{
	fini();
	free(meta);
	(void)memset(&config, 0, sizeof(config));
}

TestSuite(nodes, .fini = fini_nodes);

static unsigned
node_of(mmk_pa pa)
{
	for (size_t i = 0; i < config.nr_spans; i++)
		if (pa >= config.spans[i].start_pa &&
		    pa < config.spans[i].end_pa)
			return config.spans[i].node;
	return 99;
}

static unsigned
node_of_frame(const struct mmk_frame *frame)
{
	return node_of(mmk_frame_pa(&phys, frame));
}

static struct mmk_node_stats
node_stats(unsigned node)
{
	struct mmk_node_stats s;

	mmk_phys_node_stats_read(&phys, node, &s);
	return s;
}

/* All RAM that can be had is of these nodes, one after the other. */
static void
expect_order(unsigned order, unsigned flags, const unsigned *nodes,
    unsigned nr_nodes)
{
	struct mmk_frame *chain = NULL, *frame = NULL;
	uint64_t nr_pages[MMKIT_NODE_MAX] = { 0 };
	unsigned at = 0;

	while (mmk_frame_alloc(&phys, order, flags, MMK_USE_KERNEL, &frame) ==
	    MMK_OK) {
		unsigned node = node_of_frame(frame);

		while (at < nr_nodes && nodes[at] != node)
			at++;
		cr_assert_lt(at, nr_nodes, "node %u is not next", node);
		nr_pages[node] += mmk_frame_nr_pages(frame);
		frame->owner = chain;
		chain = frame;
	}
	cr_assert(mmk_phys_check(&phys));
	for (unsigned i = 0; i < nr_nodes; i++)
		cr_assert_eq(nr_pages[nodes[i]], node_stats(nodes[i]).nr_pages,
		    "node %u", nodes[i]);
	put_all(chain);
	mmk_phys_drain(&phys);
}

Test(nodes, a_cpu_has_its_nodes_pages_first_and_then_the_nearest)
{
	static const unsigned wanted[NR_CPUS][4] = { { 0, 1, 2 }, { 1, 0, 2 },
		{ 2, 1, 0 }, { 2, 1, 0 } };

	boot_nodes();
	for (unsigned cpu = 0; cpu < NR_CPUS; cpu++) {
		sim_set_cpu(cpu);
		expect_order(0, 0, wanted[cpu], 3);
		expect_order(3, 0, wanted[cpu], 3);
		expect_order(6, 0, wanted[cpu], 3);
		sim_set_cpu(0);
		expect_order(0, MMK_ALLOC_NODE(cpu), wanted[cpu], 3);
	}
}

Test(nodes, distances_are_as_they_are_told)
{
	static const uint8_t distance[16] = { 10, 30, 20, 40, 20, 10, 30, 40,
		20, 20, 10, 20, 11, 12, 12, 200 };
	static const unsigned from_0[] = { 0, 2, 1 }, from_1[] = { 1, 0, 2 },
	    from_2[] = { 2, 0, 1 }, from_3[] = { 0, 1, 2 };

	config.node_distance = distance;
	boot_nodes();
	expect_order(0, 0, from_0, 3);
	expect_order(0, MMK_ALLOC_NODE(1), from_1, 3);
	expect_order(1, MMK_ALLOC_NODE(2), from_2, 3);
	expect_order(0, MMK_ALLOC_NODE(3), from_3, 3);
	sim_set_cpu(3);
	expect_order(0, 0, from_3, 3);
}

Test(nodes, an_exact_request_has_that_node_or_nothing)
{
	boot_nodes();
	for (unsigned node = 0; node < 3; node++) {
		unsigned flags = MMK_ALLOC_NODE(node) | MMK_ALLOC_EXACT;

		expect_order(0, flags, &node, 1);
		expect_order(2, flags, &node, 1);
		sim_set_cpu(node);
		expect_order(0, MMK_ALLOC_EXACT, &node, 1);
	}
	expect_order(0, MMK_ALLOC_NODE(3) | MMK_ALLOC_EXACT, NULL, 0);
}

Test(nodes, pages_that_other_cpus_keep_count_for_an_exact_request)
{
	static const unsigned one = 1;

	boot_nodes();
	sim_set_cpu(1);
	put(get(0, 0)); /* CPU 1 keeps a batch */
	cr_assert_gt(node_stats(1).nr_cached_pages, 0);
	sim_set_cpu(0);
	expect_order(0, MMK_ALLOC_NODE(1) | MMK_ALLOC_EXACT, &one, 1);
}

Test(nodes, there_are_no_more_nodes_than_there_are)
{
	struct mmk_frame *frame = NULL;

	boot_nodes();
	cr_assert_eq(mmk_frame_alloc(&phys, 0, MMK_ALLOC_NODE(MMKIT_NODE_MAX),
	                 MMK_USE_KERNEL, &frame),
	    MMK_ERR_INVAL);
	cr_assert_null(frame);
}

Test(nodes, a_failure_changes_nothing)
{
	struct mmk_frame *frame = NULL;
	struct mmk_phys_stats was, is;

	boot_nodes();
	was = stats();
	for (unsigned flags = 0; flags <= MMK_ALLOC_EXACT;
	     flags += MMK_ALLOC_EXACT) {
		sim_fail_at(1);
		cr_assert_eq(mmk_frame_alloc(&phys, 0,
		                 MMK_ALLOC_NODE(1) | flags, MMK_USE_KERNEL,
		                 &frame),
		    MMK_ERR_NOMEM);
		sim_fail_at(0);
		is = stats();
		cr_assert_eq(memcmp(&was, &is, sizeof(is)), 0);
		cr_assert_null(frame);
	}
}

/* A zone by address is asked for on every node, and kept apart on each. */
Test(nodes, low_memory_is_low_on_every_node)
{
	static const unsigned zero = 0;
	struct mmk_frame *frame;

	config.low_limit_pa = 10 * MIB;
	boot_nodes();
	frame = get(0, MMK_ALLOC_LOW | MMK_ALLOC_NODE(1));
	cr_assert_lt(mmk_frame_pa(&phys, frame), 10 * MIB);
	cr_assert_eq(node_of_frame(frame), 0);
	put(frame);
	frame = get(0, MMK_ALLOC_LOW | MMK_ALLOC_NODE(2));
	cr_assert_lt(mmk_frame_pa(&phys, frame), 10 * MIB);
	cr_assert_eq(node_of_frame(frame), 2);
	put(frame);
	expect_order(0, MMK_ALLOC_EXACT, &zero, 1);
}

/* ---- edges --------------------------------------------------------------- */

/* Whoever names a node and no other gets nothing rather than another's. */
Test(nodes, nothing_is_moved_for_an_exact_node)
{
	unsigned flags = MMK_ALLOC_NODE(1) | MMK_ALLOC_EXACT;
	struct mmk_compaction effort = { NULL, 1000, 0 };
	struct mmk_frame *all = NULL, *frame = NULL;

	boot_nodes();
	while (mmk_frame_alloc(&phys, 0, flags, MMK_USE_KERNEL, &frame) ==
	    MMK_OK) {
		frame->owner = all;
		all = frame;
	}
	frame = NULL;
	cr_assert_eq(mmk_compact_frame(&phys, &effort, 2, flags, MMK_USE_KERNEL,
	                 &frame), MMK_ERR_NOMEM);
	cr_assert(frame == NULL);
	cr_assert_eq(effort.nr_moves, 0);
	cr_assert_eq(mmk_compact_frame(&phys, &effort, 2, MMK_ALLOC_NODE(1),
	                 MMK_USE_KERNEL, &frame), MMK_OK, "a wish only");
	put(frame);
	put_all(all);
}

/* A granule is of one node: of the lowest span that has some of it. */
Test(nodes, a_granule_is_of_one_node)
{
	static const struct mmk_phys_span cut[] = {
		{ .start_pa = 3 * PAGE, .end_pa = MIB + 5 * PAGE, .node = 1 },
		{ .start_pa = MIB + 5 * PAGE, .end_pa = 2 * MIB, .node = 2 },
		{ .start_pa = 3 * MIB - 7 * PAGE, .end_pa = 4 * MIB,
		    .node = 0 },
	};
	struct mmk_frame *frame;

	config.spans = cut;
	config.nr_spans = 3;
	boot_nodes();
	cr_assert_eq(node_stats(1).nr_pages,
	    mmk_pages_of_bytes(MIB + GRANULE_BYTES) - 3);
	cr_assert_eq(node_stats(2).nr_pages,
	    mmk_pages_of_bytes(MIB - GRANULE_BYTES));
	cr_assert_eq(node_stats(0).nr_pages, mmk_pages_of_bytes(MIB) + 7);
	frame = get(0, MMK_ALLOC_NODE(2) | MMK_ALLOC_EXACT);
	cr_assert_geq(mmk_frame_pa(&phys, frame), MIB + GRANULE_BYTES);
	put(frame);
}

/* Sections asleep are of a node as well. */
Test(nodes, what_sleeps_wakes_for_its_own_node)
{
	uint64_t section = MMK_SECTION_PAGES << MMK_PAGE_SHIFT;
	struct mmk_phys_span stripes[6];
	struct sim_config machine = { .ram_bytes = 6 * section,
		.nr_cpus = NR_CPUS };
	struct mmk_run_request request = { .nr_pages = 9,
		.use = MMK_USE_KERNEL, .lo_pa = 3 * section,
		.limit_pa = 4 * section };
	struct mmk_frame *frame;
	mmk_pfn first = 0;

	(void)memset(stripes, 0, sizeof(stripes));
	for (unsigned i = 0; i < 6; i++) {
		stripes[i].start_pa = i * section;
		stripes[i].end_pa = (i + 1) * section;
		stripes[i].node = i % 2;
		node_of_cpu[i % NR_CPUS] = 0;
	}
	sim_boot(&machine);
	sim_set_cpu(0);
	config.spans = stripes;
	config.nr_spans = 6;
	config.meta_is_zero = true;
	config.meta_bytes = mmk_phys_config_meta_bytes(&config);
	config.meta = meta = calloc(1, config.meta_bytes);
	cr_assert_eq(mmk_phys_init(&phys, &config), MMK_OK);
	frame = get(ORDER_2M, MMK_ALLOC_NODE(1) | MMK_ALLOC_EXACT);
	cr_assert_eq(node_of_frame(frame), 1);
	cr_assert(mmk_phys_check(&phys));
	put(frame);
	cr_assert_eq(mmk_run_alloc(&phys, &request, &first), MMK_OK);
	cr_assert_eq(node_of(mmk_pa_of_pfn(first)), 1);
	mmk_run_free(&phys, first, 9);
	cr_assert_eq(node_stats(0).nr_free_pages, 3 * MMK_SECTION_PAGES);
	cr_assert_eq(node_stats(1).nr_free_pages, 3 * MMK_SECTION_PAGES);
	for (unsigned i = 0; i < 2; i++)
		expect_order(10, MMK_ALLOC_NODE(i) | MMK_ALLOC_EXACT, &i, 1);
}

/* ---- oracle -------------------------------------------------------------- */

enum { NR_HELD = 200 };

/* Each node has what it had, less what is held of it, whoever freed what. */
Test(nodes, prop_each_node_gets_its_pages_back)
{
	struct mmk_frame *held[NR_HELD] = { NULL };
	uint64_t nr_held[MMKIT_NODE_MAX] = { 0 }, seed = mmk_test_seed();

	config.low_limit_pa = 10 * MIB;
	boot_nodes();
	for (unsigned step = 0; step < mmk_test_steps(6000); step++) {
		unsigned i = (unsigned)(mmk_test_random(&seed) % NR_HELD);
		unsigned order = (unsigned)(mmk_test_random(&seed) % 7);
		unsigned node = (unsigned)(mmk_test_random(&seed) % 5);
		unsigned flags = node < 4 ? MMK_ALLOC_NODE(node) : 0;

		sim_set_cpu((unsigned)(mmk_test_random(&seed) % NR_CPUS));
		if (node == 4)
			node = node_of_cpu[sim_cpu_id()];
		if (mmk_test_random(&seed) % 3 == 0)
			flags |= MMK_ALLOC_EXACT;
		if (mmk_test_random(&seed) % 5 == 0)
			flags |= MMK_ALLOC_LOW;
		if (held[i] != NULL) {
			nr_held[node_of_frame(held[i])] -=
			    mmk_frame_nr_pages(held[i]);
			put(held[i]);
			held[i] = NULL;
		} else if (mmk_frame_alloc(&phys, order, flags, MMK_USE_KERNEL,
		               &held[i]) == MMK_OK) {
			unsigned is = node_of_frame(held[i]);

			nr_held[is] += mmk_frame_nr_pages(held[i]);
			cr_assert((flags & MMK_ALLOC_EXACT) == 0 || is == node);
			cr_assert((flags & MMK_ALLOC_LOW) == 0 ||
			    mmk_frame_pa(&phys, held[i]) < config.low_limit_pa);
		} else {
			held[i] = NULL;
		}
		for (unsigned n = 0; n < MMKIT_NODE_MAX; n++)
			cr_assert_eq(node_stats(n).nr_free_pages,
			    node_stats(n).nr_pages - nr_held[n]);
		if (step % 500 == 0)
			cr_assert(mmk_phys_check(&phys));
	}
	for (unsigned i = 0; i < NR_HELD; i++)
		if (held[i] != NULL)
			put(held[i]);
}

/* ---- threads ------------------------------------------------------------- */

static void *
exchange(void *arg)
{
	unsigned id = (unsigned)(uintptr_t)arg;
	uint64_t seed = mmk_test_seed() * 31 + id;
	struct mmk_frame *held[32] = { NULL };

	sim_set_cpu(id);
	for (unsigned step = 0; step < mmk_test_steps(3000); step++) {
		unsigned i = (unsigned)(mmk_test_random(&seed) % 32);
		unsigned node = (unsigned)(mmk_test_random(&seed) % 4);

		if (held[i] != NULL) {
			put(held[i]);
			held[i] = NULL;
		} else if (mmk_frame_alloc(&phys, i % 4,
		               node == 3 ? 0 : MMK_ALLOC_NODE(node),
		               MMK_USE_KERNEL, &held[i]) != MMK_OK) {
			held[i] = NULL;
		}
		if (step % 300 == 0)
			mmk_phys_drain(&phys);
	}
	for (unsigned i = 0; i < 32; i++)
		if (held[i] != NULL)
			put(held[i]);
	return NULL;
}

static void
exchange_with(unsigned nr_threads)
{
	pthread_t threads[4];

	boot_nodes();
	for (uintptr_t i = 0; i < nr_threads; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, exchange,
		                 (void *)i),
		    0);
	for (unsigned i = 0; i < nr_threads; i++)
		cr_assert_eq(pthread_join(threads[i], NULL), 0);
}

Test(nodes, two_cpus_take_from_all_nodes)
{
	exchange_with(2);
}

Test(nodes, four_cpus_take_from_all_nodes)
{
	exchange_with(4);
}
