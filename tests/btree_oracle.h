/* SPDX-License-Identifier: MIT
 *
 * tests/btree_oracle.h: what the tests of the range btree share: memory for
 * nodes that can fail, and the contract written the slow and obvious way, a
 * sorted array that is searched from end to end
 */
#ifndef MMKIT_TESTS_BTREE_ORACLE_H
#define MMKIT_TESTS_BTREE_ORACLE_H

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include <mmkit/base/btree.h>

#include "prop.h"

#define TOP UINT64_MAX
#define FOUR_GIB ((uint64_t)1 << 32)

/* ---- memory for nodes, which can fail ------------------------------------ */

enum { NR_NODES_MAX = 20000 };
static void *nodes[NR_NODES_MAX]; /* every node that is out */
static unsigned nr_nodes;
static unsigned nr_allocs;
static unsigned fail_at; /* the allocation to fail, from 1; 0: none */
static bool fail_all;

static inline void *
node_alloc(void *ctx)
{
	cr_assert_eq(ctx, &nr_nodes);
	nr_allocs++;
	if (fail_all || (fail_at != 0 && --fail_at == 0))
		return NULL;
	cr_assert_lt(nr_nodes, NR_NODES_MAX);
	nodes[nr_nodes] = malloc(MMK_BTREE_NODE_BYTES);
	return nodes[nr_nodes++];
}

static inline void
node_free(void *ctx, void *node)
{
	unsigned i = nr_nodes;

	cr_assert_eq(ctx, &nr_nodes);
	while (i > 0 && nodes[i - 1] != node)
		i--;
	cr_assert_gt(i, 0, "a node that is not out");
	nodes[i - 1] = nodes[--nr_nodes];
	free(node);
}

static const struct mmk_btree_memory memory = { node_alloc, node_free,
	&nr_nodes };

/* ---- the oracle ---------------------------------------------------------- */

enum { NR_MAX = 40000 };
static struct mmk_btree tree;
static struct mmk_range known[NR_MAX]; /* ascending */
static unsigned nr_known;
static uint64_t start_seed;

static inline void
setup(void)
{
	nr_known = 0;
	nr_nodes = 0;
	nr_allocs = 0;
	fail_at = 0;
	fail_all = false;
	start_seed = mmk_test_seed();
	mmk_btree_init(&tree, &memory);
}

/* Erasing everything must work without memory and leave nothing behind. */
static inline void
teardown(void)
{
	struct mmk_range range;

	fail_all = true;
	while (mmk_btree_find_ge(&tree, 0, &range))
		cr_assert_eq(mmk_btree_erase(&tree, range.start), range.value);
	mmk_btree_fini(&tree);
	cr_assert_eq(nr_nodes, 0, "every node is given back");
}
/* The index of the first known range with last >= addr. */
static inline unsigned
known_ge(uint64_t addr)
{
	unsigned lo = 0, hi = nr_known;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;

		if (known[mid].last < addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static inline bool
known_overlaps(uint64_t start, uint64_t last)
{
	unsigned i = known_ge(start);

	return i < nr_known && known[i].start <= last;
}

static inline void
known_insert(uint64_t start, uint64_t last, void *value)
{
	unsigned i = known_ge(start);

	cr_assert_lt(nr_known, NR_MAX);
	memmove(&known[i + 1], &known[i], (nr_known - i) * sizeof(known[0]));
	known[i] = (struct mmk_range){ start, last, value };
	nr_known++;
}

static inline void
known_erase(unsigned i)
{
	nr_known--;
	memmove(&known[i], &known[i + 1], (nr_known - i) * sizeof(known[0]));
}

static inline void *
new_value(void)
{
	static uintptr_t next;

	return (void *)++next;
}

/* Insert into both; the tree must answer what the oracle says. */
static inline void
put(uint64_t start, uint64_t last)
{
	void *value = new_value();
	enum mmk_err want =
	    known_overlaps(start, last) ? MMK_ERR_EXIST : MMK_OK;

	cr_assert_eq(mmk_btree_insert(&tree, start, last, value), want,
	    "insert [%llx, %llx], MMK_SEED=%llu", (unsigned long long)start,
	    (unsigned long long)last, (unsigned long long)start_seed);
	if (want == MMK_OK)
		known_insert(start, last, value);
}

/* Take the i-th range out of both. */
static inline void
take(unsigned i)
{
	cr_assert_eq(mmk_btree_erase(&tree, known[i].start), known[i].value,
	    "MMK_SEED=%llu", (unsigned long long)start_seed);
	known_erase(i);
}

static inline void
assert_range(const struct mmk_range *range, unsigned i)
{
	cr_assert_lt(i, nr_known);
	cr_assert_eq(range->start, known[i].start, "range %u, MMK_SEED=%llu", i,
	    (unsigned long long)start_seed);
	cr_assert_eq(range->last, known[i].last, "range %u, MMK_SEED=%llu", i,
	    (unsigned long long)start_seed);
	cr_assert_eq(range->value, known[i].value, "range %u, MMK_SEED=%llu", i,
	    (unsigned long long)start_seed);
}

/* The tree holds what the oracle holds, walked in all four ways. */
static inline void
assert_same(void)
{
	struct mmk_btree_cursor cursor;
	struct mmk_range range;
	unsigned i = 0;

	cr_assert(mmk_btree_check(&tree), "MMK_SEED=%llu",
	    (unsigned long long)start_seed);
	cr_assert_eq(tree.nr_ranges, nr_known);
	for (bool more = mmk_btree_seek(&tree, 0, &cursor, &range); more;
	     more = mmk_btree_next(&cursor, &range))
		assert_range(&range, i++);
	cr_assert_eq(i, nr_known);
	for (bool more = mmk_btree_prev(&cursor, &range); more;
	     more = mmk_btree_prev(&cursor, &range))
		assert_range(&range, --i);
	cr_assert_eq(i, 0);
	for (bool more = mmk_btree_find_ge(&tree, 0, &range); more;
	     more = mmk_btree_find_above(&tree, range.last, &range))
		assert_range(&range, i++);
	cr_assert_eq(i, nr_known);
	for (bool more = mmk_btree_find_le(&tree, TOP, &range); more;
	     more = range.start > 0 &&
	         mmk_btree_find_le(&tree, range.start - 1, &range))
		assert_range(&range, --i);
	cr_assert_eq(i, 0);
}

/* Build `nr` ranges of ten addresses each, `stride` apart. */
static inline void
build(unsigned nr, uint64_t base, uint64_t stride)
{
	for (unsigned i = 0; i < nr; i++)
		put(base + i * stride, base + i * stride + 9);
}

/* ---- gaps, searched one by one ------------------------------------------- */

/* 65 bits and more, so that nothing the oracle adds up can wrap. */
__extension__ typedef unsigned __int128 wide;

struct want {
	uint64_t bytes, align, lo, last;
};

/* The lowest or highest start for `want` in the gap [first, end); or false. */
static inline bool
oracle_fit(const struct want *want, wide first, wide end, bool highest,
    wide *start_out, wide *room_out)
{
	wide lo = first > want->lo ? first : want->lo;
	wide hi = end < (wide)want->last + 1 ? end : (wide)want->last + 1;
	wide start = (lo + want->align - 1) / want->align * want->align;

	if (start + want->bytes > hi)
		return false;
	if (highest)
		start = (hi - want->bytes) / want->align * want->align;
	*start_out = start;
	*room_out = hi - lo;
	return true;
}

enum which { LOWEST, HIGHEST, BEST };

static inline bool
oracle_gap(enum which which, const struct want *want, uint64_t *start_out)
{
	bool found = false;
	wide best_room = 0;

	for (unsigned i = 0; i <= nr_known; i++) {
		wide first = i > 0 ? (wide)known[i - 1].last + 1 : 0;
		wide end = i < nr_known ? known[i].start : (wide)TOP + 1;
		wide start, room;

		if (!oracle_fit(want, first, end, which == HIGHEST, &start,
		        &room))
			continue;
		if (found && which == LOWEST)
			continue;
		if (found && which == BEST && room >= best_room)
			continue;
		found = true;
		best_room = room;
		*start_out = (uint64_t)start;
	}
	return found;
}

static inline void
assert_gaps(const struct want *want)
{
	static enum mmk_err (*const search[])(const struct mmk_btree *,
	    uint64_t, uint64_t, uint64_t, uint64_t, uint64_t *) = {
		mmk_btree_gap_lowest, mmk_btree_gap_highest
	};

	for (unsigned which = LOWEST; which <= HIGHEST; which++) {
		uint64_t expected = 12345, start = 12345;
		bool fits = oracle_gap((enum which)which, want, &expected);
		enum mmk_err err = search[which](&tree, want->bytes,
		    want->align, want->lo, want->last, &start);

		cr_assert_eq(err, fits ? MMK_OK : MMK_ERR_NOSPACE,
		    "search %u bytes %llx align %llx in [%llx, %llx], MMK_SEED=%llu",
		    which, (unsigned long long)want->bytes,
		    (unsigned long long)want->align,
		    (unsigned long long)want->lo,
		    (unsigned long long)want->last,
		    (unsigned long long)start_seed);
		cr_assert_eq(start, expected,
		    "search %u bytes %llx align %llx in [%llx, %llx]: %llx, not %llx, MMK_SEED=%llu",
		    which, (unsigned long long)want->bytes,
		    (unsigned long long)want->align,
		    (unsigned long long)want->lo,
		    (unsigned long long)want->last, (unsigned long long)start,
		    (unsigned long long)expected,
		    (unsigned long long)start_seed);
	}
}

#endif
