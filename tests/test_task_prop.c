/* SPDX-License-Identifier: MIT
 *
 * tests/test_task_prop.c: tasks on CPUs, against an oracle and by threads
 */
#include "task_fixture.h"

/* ---- against an oracle --------------------------------------------------- */

enum { NR_TASKS = 3, NR_PARTS = 2, PART_PAGES = 12, NR_FRAMES = 8 };

static struct mmk_descriptor *descriptors[NR_TASKS];
static struct mmk_segment *segments[NR_TASKS][NR_PARTS];
static mmk_pa frames[NR_FRAMES]; /* each holds its own number + 1 */
static int shows[NR_TASKS][NR_PARTS][PART_PAGES]; /* frame + 1; 0: nothing */
static int length[NR_TASKS][NR_PARTS][PART_PAGES]; /* of the mapping there */
static bool is_on[NR_TASKS][NR_PARTS][NR_CPUS];

/* The second part lies one table further on. */
static mmk_va
page_va(unsigned part, unsigned page)
{
	return BASE + part * 2 * MIB - 5 * PAGE + page * PAGE;
}

/* Which frame a CPU should see there: 0: none; -1: two tasks collide. */
static int
oracle_sees(unsigned cpu, unsigned part, unsigned page)
{
	int sees = 0;

	for (unsigned t = 0; t < NR_TASKS; t++) {
		if (!is_on[t][part][cpu] || shows[t][part][page] == 0)
			continue;
		sees = sees == 0 ? shows[t][part][page] : -1;
	}
	return sees;
}

static bool
oracle_collides(void)
{
	for (unsigned cpu = 0; cpu < NR_CPUS; cpu++)
		for (unsigned part = 0; part < NR_PARTS; part++)
			for (unsigned page = 0; page < PART_PAGES; page++)
				if (oracle_sees(cpu, part, page) < 0)
					return true;
	return false;
}

/* One operation in four runs out of memory somewhere, if it gets so far. */
static void
prop_may_fail(uint64_t *seed)
{
	uint64_t dice = mmk_test_random(seed) % 32;

	sim_fail_at(dice < 8 ? dice + 1 : 0);
}

static void
prop_map(uint64_t *seed, unsigned t, unsigned part)
{
	unsigned page = (unsigned)(mmk_test_random(seed) % PART_PAGES);
	unsigned nr = 1 + (unsigned)(mmk_test_random(seed) % 4);
	struct mmk_saved_extent extents[4];
	enum mmk_err err, wanted = MMK_OK;
	int keep[PART_PAGES];

	memcpy(keep, shows[t][part], sizeof keep);
	if (page + nr > PART_PAGES)
		wanted = MMK_ERR_INVAL;
	for (unsigned i = 0; i < nr; i++) {
		int frame = (int)(mmk_test_random(seed) % NR_FRAMES);

		extents[i].pa = frames[frame];
		extents[i].nr_pages = 1;
		if (wanted == MMK_OK && keep[page + i] != 0)
			wanted = MMK_ERR_EXIST;
		if (page + i < PART_PAGES)
			shows[t][part][page + i] = frame + 1;
	}
	if (wanted == MMK_OK && oracle_collides())
		wanted = MMK_ERR_EXIST;
	prop_may_fail(seed);
	err = mmk_task_map(&tasks, segments[t][part], page_va(part, page),
	    extents, nr, RW);
	sim_fail_at(0);
	cr_assert(err == wanted || err == MMK_ERR_NOMEM);
	if (err == MMK_OK)
		length[t][part][page] = (int)nr;
	else
		memcpy(shows[t][part], keep, sizeof keep);
}

static void
prop_unmap(uint64_t *seed, unsigned t, unsigned part)
{
	unsigned page = (unsigned)(mmk_test_random(seed) % PART_PAGES);
	int nr = length[t][part][page];

	cr_assert_eq(mmk_task_unmap(&tasks, segments[t][part],
	                 page_va(part, page)),
	    nr > 0 ? MMK_OK : MMK_ERR_NOENT);
	length[t][part][page] = 0;
	while (nr > 0)
		shows[t][part][page + (unsigned)--nr] = 0;
}

static void
prop_load(uint64_t *seed, unsigned t, unsigned part, unsigned cpu)
{
	enum mmk_err err, wanted = MMK_OK;
	bool was_on = is_on[t][part][cpu];

	is_on[t][part][cpu] = true;
	if (was_on)
		wanted = MMK_ERR_BUSY;
	else if (oracle_collides())
		wanted = MMK_ERR_EXIST;
	prop_may_fail(seed);
	err = mmk_task_segment_load(&tasks, cpu, segments[t][part]);
	sim_fail_at(0);
	cr_assert(err == wanted || err == MMK_ERR_NOMEM);
	if (err != MMK_OK)
		is_on[t][part][cpu] = was_on;
}

static void
prop_unload(unsigned t, unsigned part, unsigned cpu)
{
	cr_assert_eq(mmk_task_segment_unload(&tasks, cpu, segments[t][part]),
	    is_on[t][part][cpu] ? MMK_OK : MMK_ERR_NOENT);
	is_on[t][part][cpu] = false;
}

static void
prop_compare(void)
{
	for (unsigned cpu = 0; cpu < NR_CPUS; cpu++)
		for (unsigned part = 0; part < NR_PARTS; part++)
			for (unsigned page = 0; page < PART_PAGES; page++) {
				int sees = oracle_sees(cpu, part, page);

				cr_assert_eq(
				    get_word(cpu, page_va(part, page)),
				    sees == 0 ? UINT64_MAX : (uint64_t)sees);
			}
}

static void
prop_begin(void)
{
	memset(shows, 0, sizeof shows);
	memset(length, 0, sizeof length);
	memset(is_on, 0, sizeof is_on);
	for (unsigned i = 0; i < NR_FRAMES; i++) {
		frames[i] = new_pages(0);
		*(uint64_t *)MMKIT_PHYS_TO_PTR(frames[i]) = i + 1;
	}
	for (unsigned t = 0; t < NR_TASKS; t++) {
		descriptors[t] = task(t);
		for (unsigned part = 0; part < NR_PARTS; part++)
			segments[t][part] = segment_at(descriptors[t],
			    page_va(part, 0), PART_PAGES * PAGE, false);
	}
}

TEST_FORMATS(task_prop, prop_every_cpu_sees_what_is_loaded_there)
{
	uint64_t seed = mmk_test_seed(), start_seed = seed;

	prop_begin();
	for (unsigned step = 0; step < mmk_test_steps(1200); step++) {
		unsigned dice = (unsigned)(mmk_test_random(&seed) % 10);
		unsigned t = (unsigned)(mmk_test_random(&seed) % NR_TASKS);
		unsigned part = (unsigned)(mmk_test_random(&seed) % NR_PARTS);
		unsigned cpu = (unsigned)(mmk_test_random(&seed) % NR_CPUS);

		if (dice < 3)
			prop_map(&seed, t, part);
		else if (dice < 5)
			prop_unmap(&seed, t, part);
		else if (dice < 8)
			prop_load(&seed, t, part, cpu);
		else
			prop_unload(t, part, cpu);
		prop_compare();
		if (step % 32 == 0)
			cr_assert(mmk_task_check(&tasks), "seed %llu step %u",
			    (unsigned long long)start_seed, step);
	}
	for (unsigned t = 0; t < NR_TASKS; t++)
		end_task(descriptors[t]);
	for (unsigned i = 0; i < NR_FRAMES; i++)
		put(frames[i]);
}

/* ---- the heap, against a map of owners ----------------------------------- */

enum { NR_CLIENTS = 12, NR_GRANULES = 64, CLIENT_PAGES = 9 };

struct client {
	mmk_va va; /* 0: has nothing */
	unsigned nr_pages;
	bool is_mapped; /* to frames[0] and what follows it */
};

static struct client clients[NR_CLIENTS];
static unsigned char heap_owner[NR_GRANULES];

/* A client gets addresses, or gives them back: nobody else has them. */
static void
heap_mark(unsigned n, bool gets)
{
	uint64_t first = (clients[n].va - HEAP_VA) / GRANULE;
	uint64_t nr = (clients[n].nr_pages + 3) / 4;

	for (uint64_t i = first; i < first + nr; i++) {
		cr_assert_eq(heap_owner[i], gets ? 0 : n + 1);
		heap_owner[i] = (unsigned char)(gets ? n + 1 : 0);
	}
}

static void
heap_step(uint64_t *seed, mmk_pa pa)
{
	unsigned n = (unsigned)(mmk_test_random(seed) % NR_CLIENTS);
	struct client *client = &clients[n];
	enum mmk_err err;

	prop_may_fail(seed);
	if (client->va == 0) {
		client->nr_pages =
		    1 + (unsigned)(mmk_test_random(seed) % CLIENT_PAGES);
		client->is_mapped = mmk_test_random(seed) % 2 == 0;
		err = client->is_mapped
		    ? mmk_task_heap_map(&tasks, pa, client->nr_pages * PAGE, 0,
		        &client->va)
		    : mmk_segment_heap_alloc(&tasks.segments,
		        client->nr_pages * PAGE, &client->va);
		if (err == MMK_OK)
			heap_mark(n, true);
		else
			cr_assert(client->va == 0 &&
			    (err == MMK_ERR_NOMEM || err == MMK_ERR_NOSPACE));
	} else {
		err = client->is_mapped
		    ? mmk_segment_heap_free(&tasks.segments, client->va)
		    : mmk_task_heap_unmap(&tasks, client->va);
		cr_assert_eq(err,
		    client->is_mapped ? MMK_ERR_BUSY : MMK_ERR_NOENT);
		err = client->is_mapped
		    ? mmk_task_heap_unmap(&tasks, client->va)
		    : mmk_segment_heap_free(&tasks.segments, client->va);
		cr_assert_eq(err, MMK_OK, "giving back needs no memory");
		heap_mark(n, false);
		client->va = 0;
	}
	sim_fail_at(0);
}

static void
heap_compare(void)
{
	for (unsigned n = 0; n < NR_CLIENTS; n++)
		for (unsigned i = 0; clients[n].va != 0 &&
		     i < clients[n].nr_pages; i++) {
			uint64_t word = get_word(n % NR_CPUS,
			    clients[n].va + i * PAGE);

			cr_assert_eq(word, clients[n].is_mapped
			        ? (uint64_t)i + 1
			        : UINT64_MAX);
		}
}

TEST_FORMATS(task_prop, prop_the_heap_agrees_with_a_map_of_owners)
{
	uint64_t seed = mmk_test_seed(), start_seed = seed;
	mmk_pa pa = new_pages(4);

	memset(clients, 0, sizeof clients);
	memset(heap_owner, 0, sizeof heap_owner);
	for (unsigned i = 0; i < CLIENT_PAGES; i++)
		*(uint64_t *)MMKIT_PHYS_TO_PTR(pa + i * PAGE) = i + 1;
	kernel_mode(true);
	for (unsigned step = 0; step < mmk_test_steps(1000); step++) {
		heap_step(&seed, pa);
		heap_compare();
		if (step % 32 == 0)
			cr_assert(mmk_task_check(&tasks), "seed %llu step %u",
			    (unsigned long long)start_seed, step);
		cr_assert_eq(mmk_range_refill(&tasks.segments.reserve),
		    MMK_OK);
	}
	for (unsigned n = 0; n < NR_CLIENTS; n++)
		if (clients[n].va != 0)
			cr_assert_eq(clients[n].is_mapped
			        ? mmk_task_heap_unmap(&tasks, clients[n].va)
			        : mmk_segment_heap_free(&tasks.segments,
			            clients[n].va),
			    MMK_OK);
	cr_assert_eq(heap->ranges.nr_ranges[MMK_RANGE_FREE], 1);
	kernel_mode(false);
	put(pa);
}

/* ---- threads ------------------------------------------------------------- */

/* A CPU switches between two tasks of its own; the kernel's heap is shared. */
static void *
one_cpu(void *arg)
{
	unsigned cpu = (unsigned)(uintptr_t)arg;
	struct mmk_descriptor *mine[2] = { task(cpu), task(cpu + 2) };
	mmk_pa pa[2] = { new_pages(0), new_pages(0) }, found;
	mmk_va va;

	sim_set_cpu(cpu);
	for (unsigned i = 0; i < 2; i++)
		cr_assert_eq(try_map(segment_at(mine[i], BASE, GRANULE, false),
		                 BASE, pa[i], 1),
		    MMK_OK);
	for (unsigned i = 0; i < mmk_test_steps(200); i++) {
		struct mmk_descriptor *now = mine[i & 1];

		cr_assert_eq(mmk_task_load(&tasks, cpu, now), MMK_OK);
		cr_assert_eq(get_word(cpu, BASE), i < 2 ? 0 : i - 2);
		cr_assert(set_word(cpu, BASE, i));
		cr_assert_eq(mmk_task_heap_map(&tasks, pa[i & 1], PAGE, 0,
		                 &va),
		    MMK_OK);
		cr_assert(mmk_task_phys(&tasks, 1 - cpu, va + 1, &found));
		cr_assert_eq(found, pa[i & 1] + 1);
		cr_assert_eq(mmk_task_heap_unmap(&tasks, va), MMK_OK);
		cr_assert_eq(mmk_task_unload(&tasks, cpu, now), MMK_OK);
	}
	for (unsigned i = 0; i < 2; i++) {
		struct mmk_segment *segment = MMK_TREAP_ITEM(
		    mine[i]->segments.root, struct mmk_segment, of_descriptor);

		mmk_task_unmap_all(&tasks, segment);
		cr_assert_eq(mmk_descriptor_destroy(mine[i]), MMK_OK);
		put(pa[i]);
	}
	return NULL;
}

TEST_FORMATS(task_prop, two_cpus_switch_tasks_and_share_the_heap)
{
	pthread_t threads[NR_CPUS];

	sim_forbid_stale_hits(false);
	for (uintptr_t i = 0; i < NR_CPUS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, one_cpu,
		                 (void *)i),
		    0);
	for (unsigned i = 0; i < NR_CPUS; i++)
		pthread_join(threads[i], NULL);
	cr_assert_eq(heap->ranges.nr_ranges[MMK_RANGE_FREE], 1);
}

/* Both want one segment on both CPUs; somebody is told that it is there. */
static void *
one_loader(void *arg)
{
	struct mmk_segment *segment = arg;

	for (unsigned i = 0; i < mmk_test_steps(200); i++) {
		enum mmk_err err = mmk_task_segment_load(&tasks, i % NR_CPUS,
		    segment);

		cr_assert(err == MMK_OK || err == MMK_ERR_BUSY);
		err = mmk_task_unmap(&tasks, segment, BASE);
		cr_assert(err == MMK_OK || err == MMK_ERR_NOENT);
		err = try_map(segment, BASE, DEVICE, 3);
		cr_assert(err == MMK_OK || err == MMK_ERR_EXIST);
		err = mmk_task_segment_unload(&tasks, i % NR_CPUS, segment);
		cr_assert(err == MMK_OK || err == MMK_ERR_NOENT);
	}
	return NULL;
}

TEST_FORMATS(task_prop, two_threads_load_one_segment)
{
	struct mmk_descriptor *one = task(1);
	struct mmk_segment *segment = segment_at(one, BASE, GRANULE, false);
	pthread_t thread;

	sim_forbid_stale_hits(false);
	cr_assert_eq(pthread_create(&thread, NULL, one_loader, segment), 0);
	(void)one_loader(segment);
	pthread_join(thread, NULL);
	for (unsigned cpu = 0; cpu < NR_CPUS; cpu++)
		if ((segment->loaded[0] >> cpu & 1) != 0)
			unload(cpu, segment);
	end_task(one);
}
