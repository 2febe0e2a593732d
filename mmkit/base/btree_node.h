/* SPDX-License-Identifier: MIT
 *
 * mmkit/base/btree_node.h: what the range btree of btree.h is made of
 *
 * WHAT    The types of the tree, its nodes, and the functions that search and
 *         move the slots of one node or go down from the root. Callers include
 *         btree.h, whose head explains the tree and its invariants I1 to I5.
 * LAYER   base. Includes port.h.
 * LOCKS   none taken; the caller serializes. Readers may share.
 * COST    a node is 512 bytes; going down is O(log n), the rest O(1)
 * SOURCE  see btree.h
 */
#ifndef MMKIT_BASE_BTREE_NODE_H
#define MMKIT_BASE_BTREE_NODE_H

#include "port.h"

/* One stored range, both ends included, so that the last address counts. */
struct mmk_range {
	uint64_t start;
	uint64_t last; /* >= start */
	void *value;   /* the caller's; not NULL */
};

/*
 * Where nodes come from. `alloc` gives MMK_BTREE_NODE_BYTES, aligned for a
 * pointer (to 64 is better), or NULL when there is no memory.
 */
struct mmk_btree_memory {
	void *(*alloc)(void *ctx);
	void (*free)(void *ctx, void *node);
	void *ctx;
};
#define MMK_BTREE_NODE_BYTES 512

/* 14 levels hold at least 2 * 10^13 ranges, which need 480 TB of nodes. */
#define MMK_BTREE_HEIGHT_MAX 14

struct mmk_btree_node;

/* Guards: [I] immutable after init, [C] caller serializes. */
struct mmk_btree {
	struct mmk_btree_node *root;           /* [C] NULL: empty */
	struct mmk_btree_node *reserve;        /* [C] nodes put aside */
	const struct mmk_btree_memory *memory; /* [I] */
	uint64_t nr_ranges;                    /* [C] */
	uint32_t nr_reserved;                  /* [C] nodes in `reserve` */
	uint32_t nr_promised;                  /* [C] inserts that cannot fail */
	uint32_t height;                       /* [C] 0: empty */
};

/* A place in a tree, good until the tree changes. node[0] is the leaf. */
struct mmk_btree_cursor {
	const struct mmk_btree *tree;
	struct mmk_btree_node *node[MMK_BTREE_HEIGHT_MAX];
	unsigned slot[MMK_BTREE_HEIGHT_MAX];
};

#endif /* MMKIT_BASE_BTREE_NODE_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_BASE_BTREE_NODE_IMPL)
#define MMKIT_BASE_BTREE_NODE_IMPL

#define MMK__BTREE_SLOTS 21
#define MMK__BTREE_SLOTS_MIN 10

/* Guards: all [C]. A reserved node links to the next through ptr[0]. */
struct mmk_btree_node {
	uint32_t nr;                     /* [C] slots in use */
	uint32_t level;                  /* [C] 0: leaf */
	uint64_t last[MMK__BTREE_SLOTS]; /* [C] of the range, of the child */
	uint64_t mark[MMK__BTREE_SLOTS]; /* [C] leaf: start; inner: widest gap */
	void *ptr[MMK__BTREE_SLOTS];     /* [C] leaf: value; inner: child */
};
MMK_STATIC_ASSERT(sizeof(struct mmk_btree_node) <= MMK_BTREE_NODE_BYTES,
    "mmkit: a btree node fills its 512 bytes");

/* ---- slots of one node --------------------------------------------------- */

/*
 * The first slot whose last >= addr; nr or more if there is none. Unused slots
 * hold UINT64_MAX (I5), so the loops have fixed bounds and no branches: the
 * third of the node to look in, then the place in that third.
 */
MMK_PRIVATE unsigned
mmk__btree_lower(const struct mmk_btree_node *node, uint64_t addr)
{
	enum { THIRD = MMK__BTREE_SLOTS / 3 };
	unsigned base = THIRD *
	    ((unsigned)(node->last[THIRD - 1] < addr) +
	        (unsigned)(node->last[2 * THIRD - 1] < addr));
	const uint64_t *last = &node->last[base];
	unsigned below = 0;

	for (unsigned i = 0; i < THIRD; i++)
		below += (unsigned)(last[i] < addr);
	return base + below;
}

MMK_PRIVATE struct mmk_btree_node *
mmk__btree_child(const struct mmk_btree_node *node, unsigned slot)
{
	return (struct mmk_btree_node *)node->ptr[slot];
}

/* Copy `nr` slots; the nodes may be the same, and the slots overlap. */
MMK_PRIVATE void
mmk__btree_slots_move(struct mmk_btree_node *to, unsigned to_slot,
    const struct mmk_btree_node *from, unsigned from_slot, unsigned nr)
{
	size_t bytes = nr * sizeof(uint64_t);

	(void)MMKIT_MEMMOVE(&to->last[to_slot], &from->last[from_slot], bytes);
	(void)MMKIT_MEMMOVE(&to->mark[to_slot], &from->mark[from_slot], bytes);
	(void)MMKIT_MEMMOVE(&to->ptr[to_slot], &from->ptr[from_slot], bytes);
}

/* Change the number of used slots, and keep I5. */
MMK_PRIVATE void
mmk__btree_set_nr(struct mmk_btree_node *node, unsigned nr)
{
	for (unsigned i = nr; i < node->nr; i++)
		node->last[i] = UINT64_MAX;
	node->nr = nr;
}

/* pre: the node has room. What was at `slot` and above moves up by one. */
MMK_PRIVATE void
mmk__btree_slot_insert(struct mmk_btree_node *node, unsigned slot,
    uint64_t last, uint64_t mark, void *ptr)
{
	MMK_ASSERT(node->nr < MMK__BTREE_SLOTS);
	mmk__btree_slots_move(node, slot + 1, node, slot, node->nr - slot);
	node->nr++;
	node->last[slot] = last;
	node->mark[slot] = mark;
	node->ptr[slot] = ptr;
}

MMK_PRIVATE void
mmk__btree_slot_remove(struct mmk_btree_node *node, unsigned slot)
{
	mmk__btree_slots_move(node, slot, node, slot + 1, node->nr - slot - 1);
	mmk__btree_set_nr(node, node->nr - 1);
}

/*
 * How wide the gap of `slot` is. `floor`: the lowest address above whatever
 * comes before the node. The sum wraps to 0 only above UINT64_MAX, where no
 * further slot is.
 */
MMK_PRIVATE uint64_t
mmk__btree_slot_gap(const struct mmk_btree_node *node, unsigned slot,
    uint64_t floor)
{
	if (node->level > 0)
		return node->mark[slot];
	if (slot > 0)
		floor = node->last[slot - 1] + 1;
	return node->mark[slot] - floor;
}

MMK_PRIVATE uint64_t
mmk__btree_widest_gap(const struct mmk_btree_node *node, uint64_t floor)
{
	uint64_t widest = 0;

	for (unsigned i = 0; i < node->nr; i++) {
		uint64_t gap = mmk__btree_slot_gap(node, i, floor);

		widest = gap > widest ? gap : widest;
	}
	return widest;
}

/* ---- cursors ------------------------------------------------------------- */

/*
 * Point `cursor` at the lowest range with last >= addr. If there is none, at
 * the slot after the highest range, and false. pre: not empty.
 */
MMK_PRIVATE bool
mmk__btree_descend(const struct mmk_btree *tree, uint64_t addr,
    struct mmk_btree_cursor *cursor)
{
	struct mmk_btree_node *node = tree->root;
	unsigned slot = 0;

	cursor->tree = tree;
	for (unsigned level = tree->height; level-- > 0;) {
		slot = mmk__btree_lower(node, addr);
		if (slot >= node->nr)
			slot = level > 0 ? node->nr - 1 : node->nr;
		cursor->node[level] = node;
		cursor->slot[level] = slot;
		if (level > 0)
			node = mmk__btree_child(node, slot);
	}
	return slot < node->nr;
}

/* The lowest address that is above everything before cursor->node[level]. */
MMK_PRIVATE uint64_t
mmk__btree_floor(const struct mmk_btree_cursor *cursor, unsigned level)
{
	while (++level < cursor->tree->height) {
		unsigned slot = cursor->slot[level];

		if (slot > 0)
			return cursor->node[level]->last[slot - 1] + 1;
	}
	return 0;
}

MMK_PRIVATE void
mmk__btree_range_at(const struct mmk_btree_node *leaf, unsigned slot,
    struct mmk_range *range_out)
{
	range_out->start = leaf->mark[slot];
	range_out->last = leaf->last[slot];
	range_out->value = leaf->ptr[slot];
}
#endif /* MMKIT_IMPLEMENTATION */
