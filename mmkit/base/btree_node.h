/* SPDX-License-Identifier: MIT
 *
 * mmkit/base/btree_node.h: what the range btree of btree.h is made of
 *
 * WHAT    The types of the tree, its nodes, and the functions that search and
 *         move the slots of one node or go down from the root. Callers include
 *         btree.h, whose head explains the tree and its invariants I1 to I5.
 * LAYER   base. Includes port.h.
 * LOCKS   none taken; the caller serializes. Readers may share.
 * COST    a node is 960 bytes; going down is O(log n), the rest O(1). A
 *         search in a node is twelve comparisons and no branch.
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
#define MMK_BTREE_NODE_BYTES 960

/* 14 levels hold at least 2 * 10^13 ranges, which need 480 TB of nodes. */
#define MMK_BTREE_HEIGHT_MAX 14

struct mmk_btree_node;

/* Guards: [I] immutable after init, [C] caller serializes, [a] atomic. */
struct mmk_btree {
	struct mmk_btree_node *root;           /* [C] NULL: empty */
	struct mmk_btree_node *reserve;        /* [C] nodes put aside */
	const struct mmk_btree_memory *memory; /* [I] */
	uint64_t version;                      /* [C][a] odd: being changed */
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
	unsigned nr; /* slots in the leaf; 0: the tree is empty */
};

/*
 * A node; here only so that a walk can be inline. The searched array comes
 * first, in blocks of eight, each a line of a cache; its end is never in use.
 * A reserved node links to the next through ptr[0].
 */
#define MMK__BTREE_BLOCK 8
#define MMK__BTREE_SLOTS 39
#define MMK__BTREE_SLOTS_MIN 19
struct mmk_btree_node {
	uint64_t last[MMK__BTREE_SLOTS + 1]; /* [C] of the range, of the child */
	uint64_t mark[MMK__BTREE_SLOTS];     /* [C] start, or widest gap below */
	uint32_t nr;                         /* [C] slots in use */
	uint32_t level;                      /* [C] 0: leaf */
	void *ptr[MMK__BTREE_SLOTS];         /* [C] value, or child */
};

static inline void
mmk__btree_range_at(const struct mmk_btree_node *leaf, unsigned slot,
    struct mmk_range *range_out)
{
	range_out->start = leaf->mark[slot];
	range_out->last = leaf->last[slot];
	range_out->value = leaf->ptr[slot];
}

#endif /* MMKIT_BASE_BTREE_NODE_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_BASE_BTREE_NODE_IMPL)
#define MMKIT_BASE_BTREE_NODE_IMPL

MMK_STATIC_ASSERT(sizeof(struct mmk_btree_node) <= MMK_BTREE_NODE_BYTES,
    "mmkit: a btree node fits its bytes");
MMK_STATIC_ASSERT(MMK__BTREE_SLOTS + 1 == 5 * MMK__BTREE_BLOCK,
    "mmkit: a search looks at the ends of four blocks of five");

/* ---- changes, as a reader by version may see them -------------------------- */

/*
 * Every word of a node is stored by this, alone and whole: a reader by version
 * (btree_read.h) may be looking, and finds out afterwards. On most machines it
 * is an ordinary store.
 */
#define mmk__btree_set(word, value) MMKIT_ATOMIC_STORE_RELAXED(word, value)

/* Between the two the version is odd, and readers by version stay away. */
MMK_PRIVATE void
mmk__btree_change_begin(struct mmk_btree *tree)
{
	mmk__btree_set(&tree->version, tree->version + 1);
	MMKIT_ATOMIC_FENCE();
}

MMK_PRIVATE void
mmk__btree_change_end(struct mmk_btree *tree)
{
	MMKIT_ATOMIC_STORE(&tree->version, tree->version + 1);
}

/* ---- slots of one node --------------------------------------------------- */

/*
 * How many of a block are below `addr`. Written out, because a compiler may
 * leave a loop as it is; in four sums, because one would be a chain of eight.
 */
MMK_PRIVATE unsigned
mmk__btree_below(const uint64_t *last, uint64_t addr)
{
	unsigned a = (unsigned)(last[0] < addr) + (unsigned)(last[1] < addr);
	unsigned b = (unsigned)(last[2] < addr) + (unsigned)(last[3] < addr);
	unsigned c = (unsigned)(last[4] < addr) + (unsigned)(last[5] < addr);
	unsigned d = (unsigned)(last[6] < addr) + (unsigned)(last[7] < addr);

	return (a + b) + (c + d);
}

/*
 * The first slot whose last >= addr; nr or more, but no more than there are
 * slots, if there is none. Unused ones hold UINT64_MAX (I5), so there are no branches: the block to look in, by the
 * ends of all blocks but the highest, then the place in that block.
 */
MMK_PRIVATE unsigned
mmk__btree_lower(const struct mmk_btree_node *node, uint64_t addr)
{
	const uint64_t *last = node->last;
	unsigned a = (unsigned)(last[7] < addr) + (unsigned)(last[15] < addr);
	unsigned b = (unsigned)(last[23] < addr) + (unsigned)(last[31] < addr);
	unsigned base = (a + b) * MMK__BTREE_BLOCK;

	return base + mmk__btree_below(&last[base], addr);
}

MMK_PRIVATE struct mmk_btree_node *
mmk__btree_child(const struct mmk_btree_node *node, unsigned slot)
{
	return (struct mmk_btree_node *)node->ptr[slot];
}

/*
 * The child of `slot`, a node of `level`. A search looks at the ends of the
 * blocks at once; what it needs of a leaf after that is asked for here, or it
 * would wait for memory twice. Two levels are in the caches anyway.
 */
MMK_PRIVATE struct mmk_btree_node *
mmk__btree_enter(const struct mmk_btree *tree,
    const struct mmk_btree_node *node, unsigned slot, unsigned level)
{
	struct mmk_btree_node *child = mmk__btree_child(node, slot);
	const char *bytes = (const char *)child;

	if (level == 0 && tree->height > 2)
		for (size_t at = 256; at < sizeof(*child); at += 64)
			MMKIT_PREFETCH(bytes + at);
	return child;
}

MMK_PRIVATE void
mmk__btree_slot_set(struct mmk_btree_node *node, size_t slot, uint64_t last,
    uint64_t mark, void *ptr)
{
	mmk__btree_set(&node->last[slot], last);
	mmk__btree_set(&node->mark[slot], mark);
	mmk__btree_set(&node->ptr[slot], ptr);
}

MMK_PRIVATE void
mmk__btree_slot_copy(struct mmk_btree_node *to, size_t to_slot,
    const struct mmk_btree_node *from, size_t from_slot)
{
	mmk__btree_slot_set(to, to_slot, from->last[from_slot],
	    from->mark[from_slot], from->ptr[from_slot]);
}

/* Copy `nr` slots to a lower place of the same node, or to another node. */
MMK_PRIVATE void
mmk__btree_slots_down(struct mmk_btree_node *to, size_t to_slot,
    const struct mmk_btree_node *from, size_t from_slot, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		mmk__btree_slot_copy(to, to_slot + i, from, from_slot + i);
}

/* Move what is at `slot` and above up by `nr`; nr is not changed. */
MMK_PRIVATE void
mmk__btree_slots_up(struct mmk_btree_node *node, size_t slot, size_t nr)
{
	for (size_t i = node->nr; i-- > slot;)
		mmk__btree_slot_copy(node, i + nr, node, i);
}

/* Change the number of used slots, and keep I5. */
MMK_PRIVATE void
mmk__btree_set_nr(struct mmk_btree_node *node, unsigned nr)
{
	for (unsigned i = nr; i < node->nr; i++)
		mmk__btree_set(&node->last[i], UINT64_MAX);
	mmk__btree_set(&node->nr, (uint32_t)nr);
}

/* pre: the node has room. What was at `slot` and above moves up by one. */
MMK_PRIVATE void
mmk__btree_slot_insert(struct mmk_btree_node *node, unsigned slot,
    uint64_t last, uint64_t mark, void *ptr)
{
	MMK_ASSERT(node->nr < MMK__BTREE_SLOTS);
	mmk__btree_slots_up(node, slot, 1);
	mmk__btree_set(&node->nr, node->nr + 1);
	mmk__btree_slot_set(node, slot, last, mark, ptr);
}

MMK_PRIVATE void
mmk__btree_slot_remove(struct mmk_btree_node *node, unsigned slot)
{
	mmk__btree_slots_down(node, slot, node, slot + 1, node->nr - slot - 1);
	mmk__btree_set_nr(node, node->nr - 1);
}

/*
 * How wide the gap of `slot` of a leaf is. `floor`: the lowest address above
 * whatever comes before the leaf. The sum wraps to 0 only above UINT64_MAX,
 * where no further slot is.
 */
MMK_PRIVATE uint64_t
mmk__btree_slot_gap(const struct mmk_btree_node *leaf, unsigned slot,
    uint64_t floor)
{
	if (slot > 0)
		floor = leaf->last[slot - 1] + 1;
	return leaf->mark[slot] - floor;
}

MMK_PRIVATE uint64_t
mmk__btree_widest_gap(const struct mmk_btree_node *node, uint64_t floor)
{
	uint64_t widest = node->mark[0];

	if (node->level > 0) {
		for (unsigned i = 1; i < node->nr; i++)
			widest = mmk_max(widest, node->mark[i]);
		return widest;
	}
	widest -= floor;
	for (unsigned i = 1; i < node->nr; i++)
		widest = mmk_max(widest,
		    node->mark[i] - node->last[i - 1] - 1);
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

	cursor->tree = tree;
	for (unsigned level = tree->height; level-- > 0;) {
		unsigned slot = mmk__btree_lower(node, addr);
		unsigned slot_max = level > 0 ? node->nr - 1 : node->nr;

		slot = slot < slot_max ? slot : slot_max;
		cursor->node[level] = node;
		cursor->slot[level] = slot;
		if (level > 0)
			node = mmk__btree_enter(tree, node, slot, level - 1);
	}
	cursor->nr = node->nr;
	return cursor->slot[0] < node->nr;
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
#endif /* MMKIT_IMPLEMENTATION */
