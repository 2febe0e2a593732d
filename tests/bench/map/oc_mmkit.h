/* SPDX-License-Identifier: MIT
 *
 * tests/bench/map/oc_mmkit.h: the range btree as a container of the map
 * benchmark (its oc.h has the contract), through its public functions only.
 * Compile with -I of the tree and of this folder.
 */
#include "oc.h"

#define MMKIT_STATIC
#include "mmkit/base/btree.h"

#define OC_NAME "mmkit"

static pool oc_nodes = { MMK_BTREE_NODE_BYTES, 0, 0, 0, 0 };
static struct mmk_btree oc_tree;

static void *
oc_node_alloc(void *ctx)
{
	return pool_get((pool *)ctx);
}

static void
oc_node_free(void *ctx, void *node)
{
	pool_put((pool *)ctx, node);
}

static const struct mmk_btree_memory oc_memory = { oc_node_alloc, oc_node_free,
	&oc_nodes };

static void
oc_init(void)
{
	mmk_btree_init(&oc_tree, &oc_memory);
}

static void
oc_fini(void)
{
	struct mmk_range range;

	while (mmk_btree_find_ge(&oc_tree, 0, &range))
		(void)mmk_btree_erase(&oc_tree, range.start);
	mmk_btree_fini(&oc_tree);
}

/* A value is a pointer and not NULL, and the benchmark counts from 0. */
static int
oc_insert(u64 start, u64 size, u64 val)
{
	return mmk_btree_insert(&oc_tree, start, start + size - 1,
	           (void *)(uintptr_t)(val + 1)) == MMK_OK;
}

static int
oc_erase(u64 start, u64 size)
{
	(void)size;
	return mmk_btree_erase(&oc_tree, start) != NULL;
}

static inline int
oc_find(u64 addr, oc_ent *out)
{
	struct mmk_range range;

	if (!mmk_btree_find(&oc_tree, addr, &range))
		return 0;
	out->start = range.start;
	out->size = range.last - range.start + 1;
	out->val = (u64)(uintptr_t)range.value - 1;
	return 1;
}

static u64
oc_iterate(void)
{
	struct mmk_btree_cursor cursor;
	struct mmk_range range;
	u64 sum = 0;

	for (bool more = mmk_btree_seek(&oc_tree, 0, &cursor, &range); more;
	     more = mmk_btree_next(&cursor, &range))
		sum += range.start ^ ((u64)(uintptr_t)range.value - 1);
	return sum;
}

static u64
oc_gap(u64 lo, u64 size)
{
	u64 start = 0;

	(void)!mmk_btree_gap_lowest(&oc_tree, size, 1, lo, UINT64_MAX, &start);
	return start;
}

static size_t
oc_bytes(void)
{
	return oc_nodes.live * oc_nodes.sz;
}
