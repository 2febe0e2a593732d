/* SPDX-License-Identifier: MIT
 *
 * tests/test_btree_read.c: the contract of mmkit/base/btree_read.h: what a
 * reader beside the writer finds was in the tree at the version it names
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <mmkit/base/btree_read.h>

#include "btree_oracle.h"
#include "ports/sim/sim.h"

TestSuite(btree_read, .init = setup, .fini = teardown);

/* ---- alone ---------------------------------------------------------------- */

/* Both searches give one answer, and the version is that of the tree. */
static void
assert_both(uint64_t addr)
{
	struct mmk_range range = { 1, 2, NULL }, versioned = { 1, 2, NULL };
	uint64_t version = 12345;
	bool found = mmk_btree_find(&tree, addr, &range);
	enum mmk_err err = mmk_btree_find_versioned(&tree, addr, &versioned,
	    &version);

	cr_assert_eq(err, found ? MMK_OK : MMK_ERR_NOENT, "%llx, MMK_SEED=%llu",
	    (unsigned long long)addr, (unsigned long long)start_seed);
	cr_assert_eq(range.start, versioned.start);
	cr_assert_eq(range.last, versioned.last);
	cr_assert_eq(range.value, versioned.value);
	cr_assert_eq(version, found ? tree.version : 12345);
}

Test(btree_read, empty_tree_and_both_ends_of_the_numbers)
{
	assert_both(0);
	assert_both(TOP);
	put(0, 0);
	assert_both(0);
	assert_both(1);
	assert_both(TOP);
	put(TOP, TOP);
	assert_both(TOP);
	assert_both(TOP - 1);
	put(1, TOP - 1);
	assert_both(FOUR_GIB);
}

Test(btree_read, prop_agrees_with_find_when_nothing_changes)
{
	uint64_t seed = start_seed;

	for (unsigned step = 0; step < mmk_test_steps(20000); step++) {
		uint64_t start = mmk_test_random(&seed) % 60000;

		if (step % 4000 < 3000)
			put(start, start + start % 5);
		else if (nr_known > 0)
			take((unsigned)(start % nr_known));
		assert_both(start);
		assert_both(mmk_test_random(&seed) % 60000);
	}
}

Test(btree_read, a_change_under_way_turns_readers_away)
{
	struct mmk_range range = { 1, 2, NULL };
	uint64_t version = 12345;

	build(100, 0, 20);
	tree.version++;
	cr_assert_eq(mmk_btree_find_versioned(&tree, 5, &range, &version),
	    MMK_ERR_AGAIN);
	cr_assert_eq(mmk_btree_find_versioned(&tree, 15, &range, &version),
	    MMK_ERR_AGAIN);
	cr_assert_eq(range.start, 1, "untouched on error");
	cr_assert_eq(version, 12345);
	cr_assert(!mmk_btree_check(&tree), "I6");
	tree.version++;
	assert_both(5);
}

Test(btree_read, every_change_makes_a_new_version_and_no_failure_does)
{
	uint64_t version = tree.version;

	cr_assert(mmk_btree_is_version(&tree, 0));
	for (unsigned i = 0; i < 300; i++) {
		put(i * 16, i * 16 + 3);
		cr_assert(!mmk_btree_is_version(&tree, version));
		mmk_btree_resize(&tree, i * 16, i * 16, i * 16 + 5);
		known[i].last += 2;
		cr_assert_eq(tree.version, version + 4);
		version = tree.version;
	}
	put(3, 20); /* must answer EXIST */
	cr_assert_null(mmk_btree_erase(&tree, 3));
	fail_all = true;
	cr_assert_eq(mmk_btree_reserve(&tree, 9), MMK_ERR_NOMEM);
	for (uint64_t at = 4800; tree.version == version; at++) {
		enum mmk_err err = mmk_btree_insert(&tree, at, at, &tree);

		if (err == MMK_ERR_NOMEM)
			break;
		cr_assert_eq(err, MMK_OK);
		known_insert(at, at, &tree);
		version = tree.version;
	}
	cr_assert(mmk_btree_is_version(&tree, version));
	while (nr_known > 0) {
		take(0);
		cr_assert_eq(tree.version, version + 2);
		version = tree.version;
	}
}

/* ---- a writer that comes in between ------------------------------------- */

/*
 * Memory that is always nodes: the last one given back is the next one out, so
 * that readers meet nodes that have become something else.
 */
enum { NR_STABLE = 400 };
static struct {
	_Alignas(64) unsigned char bytes[NR_STABLE][MMK_BTREE_NODE_BYTES];
	void *free[NR_STABLE];
	unsigned nr_free;
} stable;

static void *
stable_alloc(void *ctx)
{
	(void)ctx;
	return stable.nr_free > 0 ? stable.free[--stable.nr_free] : NULL;
}

static void
stable_free(void *ctx, void *node)
{
	(void)ctx;
	stable.free[stable.nr_free++] = node;
}

static const struct mmk_btree_memory stable_memory = { stable_alloc,
	stable_free, NULL };

static void
stable_refill(void)
{
	stable.nr_free = 0;
	while (stable.nr_free < NR_STABLE)
		stable_free(NULL, stable.bytes[stable.nr_free]);
}

/* Every node is back afterwards. */
static void
empty_stable(struct mmk_btree *any)
{
	struct mmk_range range;

	while (mmk_btree_find_ge(any, 0, &range))
		(void)mmk_btree_erase(any, range.start);
	mmk_btree_fini(any);
	cr_assert_eq(stable.nr_free, NR_STABLE);
}

/* At which look of the reader the writer comes in between, and what it does. */
static unsigned come_in;
static unsigned what_to_do;

static void
change_between(void *ctx)
{
	(void)ctx;
	if (come_in == 0 || --come_in > 0)
		return;
	switch (what_to_do) {
	case 0: /* elsewhere */
		mmk_btree_resize(&tree, 0, 0, 5);
		break;
	case 1: /* the node that is being looked at goes to its owner */
		while (tree.height > 1)
			(void)mmk_btree_erase(&tree, known[--nr_known].start);
		break;
	default:
		(void)mmk_btree_erase(&tree, 100000);
	}
}

/*
 * The writer comes in at each level in turn. What its memory source gets back
 * stays readable here: it is the test that keeps it.
 */
Test(btree_read, a_change_at_any_level_of_the_search_is_noticed)
{
	for (unsigned what = 0; what < 3; what++)
		for (unsigned level = 1;; level++) {
			struct mmk_range range = { 1, 2, NULL };
			uint64_t version = 12345;

			mmk_btree_init(&tree, &stable_memory);
			stable_refill();
			nr_known = 0;
			build(3000, 0, 100);
			cr_assert_eq(tree.height, 3);
			come_in = level;
			what_to_do = what;
			sim_on_yield(change_between, NULL);
			enum mmk_err err = mmk_btree_find_versioned(&tree,
			    100005, &range, &version);
			sim_on_yield(NULL, NULL);
			bool came = come_in == 0;
			come_in = 0;
			cr_assert_eq(err, came ? MMK_ERR_AGAIN : MMK_OK);
			cr_assert_eq(came, level <= 3);
			cr_assert_eq(version == 12345, came);
			empty_stable(&tree);
			if (!came)
				break;
		}
	nr_known = 0;
	mmk_btree_init(&tree, &memory);
}

/* ---- a writer, and readers beside it --------------------------------------- */

/*
 * Place i of the numbers holds at most one range, inside [i * 64, i * 64 + 63];
 * the highest ends at UINT64_MAX. Each change of a place is written down with
 * the version it made; what was at a place at version v is the last entry with
 * version <= v.
 */
enum { NR_PLACES = 1500, NR_CHANGES = 60000, NR_SEEN = 60000, NR_READERS = 3 };

struct change {
	uint64_t version;
	struct mmk_range range; /* value NULL: nothing */
	int32_t before;         /* the change of this place before; -1: none */
};

struct seen {
	uint64_t version, addr;
	struct mmk_range range;
};

static struct change changes[NR_CHANGES];
static int32_t newest[NR_PLACES];
static unsigned nr_changes;
static struct mmk_btree shared;
static unsigned nr_ready; /* [a] threads that have started */
static bool is_done;      /* [a] */

struct reader {
	pthread_t thread;
	uint64_t seed;
	unsigned nr_seen; /* [a] */
	struct seen seen[NR_SEEN];
};
static struct reader readers[NR_READERS];

static uint64_t
place_start(unsigned place)
{
	return TOP - (uint64_t)(NR_PLACES - place) * 64 + 1;
}

static void
write_down(unsigned place, const struct mmk_range *range)
{
	changes[nr_changes] = (struct change){ shared.version, *range,
		newest[place] };
	newest[place] = (int32_t)nr_changes++;
}

/* Put a range at an empty place, or resize or take away the one there. */
static void
change_place(unsigned place, uint64_t *seed, bool growing)
{
	struct mmk_range range = { 0, 0, NULL };
	uint64_t r = mmk_test_random(seed);

	if (newest[place] >= 0)
		range = changes[newest[place]].range;
	if (range.value == NULL) {
		if (!growing && r % 4 != 0)
			return;
		range.start = place_start(place) + r % 32;
		range.last = place_start(place) + 32 + (r >> 8) % 32;
		range.value = &changes[nr_changes];
		cr_assert_eq(mmk_btree_insert(&shared, range.start, range.last,
		                 range.value), MMK_OK);
	} else if (r % 8 == 0) {
		uint64_t start = place_start(place) + r % 32;

		mmk_btree_resize(&shared, range.start, start, range.last);
		range.start = start;
	} else {
		if (growing && r % 4 != 0)
			return;
		cr_assert_eq(mmk_btree_erase(&shared, range.start),
		    range.value);
		range.value = NULL;
	}
	write_down(place, &range);
}

static void *
read_on(void *arg)
{
	struct reader *reader = arg;

	(void)__atomic_add_fetch(&nr_ready, 1u, __ATOMIC_ACQ_REL);
	while (!__atomic_load_n(&is_done, __ATOMIC_ACQUIRE)) {
		uint64_t r = mmk_test_random(&reader->seed);
		struct seen seen = { .addr = TOP - r % (NR_PLACES * 64) };
		enum mmk_err err = mmk_btree_find_versioned(&shared, seen.addr,
		    &seen.range, &seen.version);

		if (err != MMK_OK || reader->nr_seen == NR_SEEN)
			continue;
		reader->seen[reader->nr_seen] = seen;
		(void)__atomic_add_fetch(&reader->nr_seen, 1u,
		    __ATOMIC_ACQ_REL);
	}
	return NULL;
}

/* What the reader found is what was there at that version. */
static void
assert_seen(const struct seen *seen)
{
	unsigned place = NR_PLACES - 1 - (unsigned)((TOP - seen->addr) / 64);
	int32_t i = newest[place];

	while (i >= 0 && changes[i].version > seen->version)
		i = changes[i].before;
	cr_assert_geq(i, 0, "a range where none had been, MMK_SEED=%llu",
	    (unsigned long long)start_seed);
	cr_assert_eq(changes[i].range.value, seen->range.value);
	cr_assert_eq(changes[i].range.start, seen->range.start);
	cr_assert_eq(changes[i].range.last, seen->range.last);
	cr_assert(seen->range.start <= seen->addr &&
	    seen->addr <= seen->range.last);
}

static void
start_readers(unsigned nr)
{
	stable_refill();
	for (unsigned i = 0; i < NR_PLACES; i++)
		newest[i] = -1;
	nr_changes = 0;
	nr_ready = 0;
	is_done = false;
	mmk_btree_init(&shared, &stable_memory);
	for (unsigned i = 0; i < nr; i++) {
		readers[i] = (struct reader){ .seed = start_seed + i + 1 };
		cr_assert_eq(pthread_create(&readers[i].thread, NULL, read_on,
		                 &readers[i]), 0);
	}
	while (__atomic_load_n(&nr_ready, __ATOMIC_ACQUIRE) < nr)
		;
}

/* Has every reader found something to be judged by? */
static bool
has_enough(unsigned nr_readers)
{
	for (unsigned i = 0; i < nr_readers; i++)
		if (__atomic_load_n(&readers[i].nr_seen, __ATOMIC_ACQUIRE) < 50)
			return false;
	return true;
}

/* Grow and shrink, several times, and grow; every reader is right. */
static void
write_beside(unsigned nr_readers)
{
	uint64_t seed = start_seed;
	unsigned nr_steps = mmk_test_steps(50000);

	start_readers(nr_readers);
	for (unsigned step = 0; step < nr_steps; step++) {
		unsigned phase = (unsigned)((uint64_t)step * 7 / nr_steps);

		change_place((unsigned)(mmk_test_random(&seed) % NR_PLACES),
		    &seed, phase % 2 == 0);
		if (step % 2048 == 0)
			(void)sched_yield();
	}
	while (!has_enough(nr_readers))
		(void)sched_yield();
	__atomic_store_n(&is_done, true, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < nr_readers; i++)
		cr_assert_eq(pthread_join(readers[i].thread, NULL), 0);
	cr_assert(mmk_btree_check(&shared));
	for (unsigned i = 0; i < nr_readers; i++)
		for (unsigned k = 0; k < readers[i].nr_seen; k++)
			assert_seen(&readers[i].seen[k]);
	empty_stable(&shared);
}

Test(btree_read, one_reader_beside_a_writer_sees_what_was_there)
{
	write_beside(1);
}

Test(btree_read, three_readers_beside_a_writer_see_what_was_there)
{
	write_beside(3);
}
