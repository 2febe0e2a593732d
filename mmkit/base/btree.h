/* SPDX-License-Identifier: MIT
 *
 * mmkit/base/btree.h: an ordered set of disjoint ranges, each with a value
 *
 * WHAT    A B+-tree of ranges [start, last] of 64 bit numbers that do not
 *         overlap. Leaves hold the ranges in order. A slot of an inner node
 *         holds, for one child, the last address it stores and the widest gap
 *         it knows. The *gap* of a range is the free space between it and the
 *         range before it (or address 0), so the free space above the highest
 *         range belongs to none and is looked at on its own.
 *
 *                         last  39           99
 *           inner         gap   10           30
 *                               |             |
 *           leaf    [10,19] [20,39]   [70,79] [80,99]
 *           gap       10       0        30       0
 *
 *         Both kinds of node are three arrays, so one set of functions moves
 *         slots in either; the searched array comes first and is contiguous.
 * LAYER   base. Includes btree_node.h and btree_gap.h, which ends the interface
 *         with the searches for free space.
 * LOCKS   none taken; the caller serializes. Readers may share. One search may
 *         run beside a writer: btree_read.h.
 * COST    find, insert, erase, resize, seek: O(log n), one node per level and
 *         at most MMK_BTREE_HEIGHT_MAX of them. next and prev: O(1) amortized,
 *         and a call only from leaf to leaf. Insert and erase go down once,
 *         and up only while a widest gap or a last address changes; an erase
 *         at the end of a leaf goes down to the next leaf as well. Nodes of
 *         960 bytes hold 19 to 39 slots of 24 bytes, so 25 to 51 bytes a
 *         range; 26 if built in order, about 30 at random. insert allocates at
 *         most height + 1 nodes, erase and resize none.
 * SOURCE  Bayer and McCreight, Acta Informatica 1, 1972; sharing with a
 *         neighbour before splitting: Knuth, TAOCP vol. 3 (2nd ed.), section
 *         6.2.4 (B*-trees); augmentation: Cormen et al., Introduction to
 *         Algorithms (3rd ed.), section 14.2. Differs: slots carry the last
 *         address of a child, so one lower bound serves every search and a
 *         new range always lands in the leaf of the range above it.
 *
 * I1      ranges ascend and are disjoint                  tested by: check
 * I2      inner.last[i] == the last address in child i    tested by: check
 * I3      inner.mark[i] == the widest gap in child i      tested by: check
 * I4      19 <= nr <= 39; a root: 1 if leaf, 2 if inner   tested by: check
 * I5      last[i] == UINT64_MAX for every i >= nr         tested by: check
 */
#ifndef MMKIT_BASE_BTREE_H
#define MMKIT_BASE_BTREE_H

#include "btree_gap.h"
#include "btree_node.h"

MMK_BEGIN_DECLS

/* `memory` must outlive the tree. Allocates nothing. */
MMK_API void mmk_btree_init(struct mmk_btree *tree,
    const struct mmk_btree_memory *memory);

/* pre: no ranges. Gives reserved nodes back. */
MMK_API void mmk_btree_fini(struct mmk_btree *tree);

/*
 * mmk_btree_reserve: promise that the next `nr_inserts` inserts find memory.
 *
 * Erasing and resizing in between is allowed. Promises do not add up: the
 * larger of the old and the new one stands, and each insert uses one up. Nodes
 * left over stay for later inserts, until mmk_btree_unreserve().
 *
 * errors   MMK_ERR_NOMEM: nothing changed.
 * cost     at most nr_inserts * (height + 1) nodes.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_btree_reserve(struct mmk_btree *tree,
    unsigned nr_inserts);

/* Take back every promise and give the nodes put aside to their owner. */
MMK_API void mmk_btree_unreserve(struct mmk_btree *tree);

/*
 * mmk_btree_insert: add the range [start, last].
 *
 * pre      start <= last; value is not NULL.
 * errors   MMK_ERR_EXIST: a stored range overlaps it. MMK_ERR_NOMEM: only if
 *          not promised. Nothing changed.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_btree_insert(struct mmk_btree *tree,
    uint64_t start, uint64_t last, void *value);

/*
 * Remove the range that starts exactly at `start`; its value, or NULL if there
 * is none. Allocates nothing, so it cannot fail.
 */
MMK_API void *mmk_btree_erase(struct mmk_btree *tree, uint64_t start);

/*
 * Change the ends of the range that starts at `start`. pre: it exists,
 * new_start <= new_last, and the new ends meet no neighbour. Cannot fail.
 */
MMK_API void mmk_btree_resize(struct mmk_btree *tree, uint64_t start,
    uint64_t new_start, uint64_t new_last);

/* The range that contains `addr`; false: none, *range_out untouched. */
MMK_API bool mmk_btree_find(const struct mmk_btree *tree, uint64_t addr,
    struct mmk_range *range_out);

/*
 * The lowest range with last >= addr: the one that contains addr or the next
 * one up. To go on from a range r, find above r.last with
 * mmk_btree_find_above(): r.last + 1 would wrap to 0 after UINT64_MAX.
 */
MMK_API bool mmk_btree_find_ge(const struct mmk_btree *tree, uint64_t addr,
    struct mmk_range *range_out);

/*
 * The highest range with start <= addr: the one that contains addr or the next
 * one down.
 */
MMK_API bool mmk_btree_find_le(const struct mmk_btree *tree, uint64_t addr,
    struct mmk_range *range_out);

/* The lowest range with last > addr; no address is above UINT64_MAX. */
static inline bool
mmk_btree_find_above(const struct mmk_btree *tree, uint64_t addr,
    struct mmk_range *range_out)
{
	return addr != UINT64_MAX &&
	    mmk_btree_find_ge(tree, addr + 1, range_out);
}

/*
 * Walk: seek finds what find_ge finds and remembers the place, next finds the
 * range above it, prev the one below. False: no more, *range_out untouched.
 * Where seek or next found no more, prev finds the highest range; at the
 * lowest, prev stays.
 *
 *   for (bool more = mmk_btree_seek(tree, 0, &cursor, &range); more;
 *        more = mmk_btree_next(&cursor, &range))
 */
MMK_API bool mmk_btree_seek(const struct mmk_btree *tree, uint64_t addr,
    struct mmk_btree_cursor *cursor, struct mmk_range *range_out);

/* For the two below: go on in the next or the previous leaf. */
MMK_API bool mmk_btree_next_leaf(struct mmk_btree_cursor *cursor,
    struct mmk_range *range_out);
MMK_API bool mmk_btree_prev_leaf(struct mmk_btree_cursor *cursor,
    struct mmk_range *range_out);

static inline bool
mmk_btree_next(struct mmk_btree_cursor *cursor, struct mmk_range *range_out)
{
	unsigned slot = cursor->slot[0] + 1;

	if (MMK_UNLIKELY(slot >= cursor->nr))
		return mmk_btree_next_leaf(cursor, range_out);
	cursor->slot[0] = slot;
	mmk__btree_range_at(cursor->node[0], slot, range_out);
	return true;
}

static inline bool
mmk_btree_prev(struct mmk_btree_cursor *cursor, struct mmk_range *range_out)
{
	unsigned slot = cursor->slot[0];

	if (MMK_UNLIKELY(slot == 0))
		return mmk_btree_prev_leaf(cursor, range_out);
	cursor->slot[0] = slot - 1;
	mmk__btree_range_at(cursor->node[0], slot - 1, range_out);
	return true;
}

/* Walks the whole tree: order, disjointness, fill, gaps, counts. */
MMK_API bool mmk_btree_check(const struct mmk_btree *tree);

MMK_END_DECLS
#endif /* MMKIT_BASE_BTREE_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_BASE_BTREE_IMPL)
#define MMKIT_BASE_BTREE_IMPL

/* For a file that has read the interfaces before it defined the macro. */
#include "btree_node.h"
#include "btree_gap.h"

/* ---- nodes: put aside, taken, given back --------------------------------- */

/*
 * The most nodes that `nr_inserts` inserts can need, whatever is erased among
 * them. In each level there is now, each insert splits at most one node. The
 * level of the root then has at most nr_inserts + 1 nodes, and a level above
 * it at most 1/19 of the nodes below (I4), or one.
 */
MMK_PRIVATE uint64_t
mmk__btree_nodes_needed(const struct mmk_btree *tree, uint64_t nr_inserts)
{
	uint64_t needed = nr_inserts * tree->height;
	uint64_t nr_below = nr_inserts + 1;

	if (nr_inserts == 0)
		return 0;
	while (nr_below > 1) {
		nr_below /= MMK__BTREE_SLOTS_MIN;
		nr_below = nr_below > 0 ? nr_below : 1;
		needed += nr_below;
	}
	return needed;
}

MMK_PRIVATE void
mmk__btree_node_put_aside(struct mmk_btree *tree, struct mmk_btree_node *node)
{
	mmk__btree_set(&node->ptr[0], (void *)tree->reserve);
	tree->reserve = node;
	tree->nr_reserved++;
}

/* Give nodes back to their owner until `nr_keep` are put aside. */
MMK_PRIVATE void
mmk__btree_trim(struct mmk_btree *tree, uint32_t nr_keep)
{
	while (tree->nr_reserved > nr_keep) {
		struct mmk_btree_node *node = tree->reserve;

		tree->reserve = mmk__btree_child(node, 0);
		tree->nr_reserved--;
		tree->memory->free(tree->memory->ctx, node);
	}
}

/* Have at least `nr_nodes` put aside. MMK_ERR_NOMEM: nothing changed. */
MMK_PRIVATE enum mmk_err
mmk__btree_put_aside(struct mmk_btree *tree, uint64_t nr_nodes)
{
	uint32_t nr_before = tree->nr_reserved;

	if (nr_nodes > UINT32_MAX)
		return MMK_ERR_NOMEM;
	while (tree->nr_reserved < nr_nodes) {
		void *node = MMKIT_FAIL_POINT() ? NULL :
		    tree->memory->alloc(tree->memory->ctx);

		if (node == NULL) {
			mmk__btree_trim(tree, nr_before);
			return MMK_ERR_NOMEM;
		}
		mmk__btree_node_put_aside(tree,
		    (struct mmk_btree_node *)node);
	}
	return MMK_OK;
}

/* pre: one is put aside. It comes out empty. */
MMK_PRIVATE struct mmk_btree_node *
mmk__btree_node_take(struct mmk_btree *tree, uint32_t level)
{
	struct mmk_btree_node *node = tree->reserve;

	MMK_ASSERT(node != NULL);
	tree->reserve = mmk__btree_child(node, 0);
	tree->nr_reserved--;
	mmk__btree_set(&node->level, level);
	for (unsigned i = 0; i <= MMK__BTREE_SLOTS; i++)
		mmk__btree_set(&node->last[i], UINT64_MAX);
	mmk__btree_set(&node->nr, 0u);
	return node;
}

/* A node of the tree is not needed. While inserts are promised it stays. */
MMK_PRIVATE void
mmk__btree_node_release(struct mmk_btree *tree, struct mmk_btree_node *node)
{
	if (tree->nr_reserved <
	    mmk__btree_nodes_needed(tree, tree->nr_promised))
		mmk__btree_node_put_aside(tree, node);
	else
		tree->memory->free(tree->memory->ctx, node);
}

MMK_API void
mmk_btree_init(struct mmk_btree *tree, const struct mmk_btree_memory *memory)
{
	tree->root = NULL;
	tree->reserve = NULL;
	tree->memory = memory;
	tree->version = 0;
	tree->nr_ranges = 0;
	tree->nr_reserved = 0;
	tree->nr_promised = 0;
	tree->height = 0;
}

MMK_API void
mmk_btree_fini(struct mmk_btree *tree)
{
	MMK_ASSERT(tree->nr_ranges == 0);
	mmk_btree_unreserve(tree);
}

MMK_API enum mmk_err
mmk_btree_reserve(struct mmk_btree *tree, unsigned nr_inserts)
{
	enum mmk_err err = mmk__btree_put_aside(tree,
	    mmk__btree_nodes_needed(tree, nr_inserts));

	if (err == MMK_OK && tree->nr_promised < nr_inserts)
		tree->nr_promised = nr_inserts;
	return err;
}

MMK_API void
mmk_btree_unreserve(struct mmk_btree *tree)
{
	tree->nr_promised = 0;
	mmk__btree_trim(tree, 0);
}

/* ---- reading ------------------------------------------------------------- */

/*
 * The leaf with the lowest range whose last >= addr, and its slot; NULL: none.
 * Only the root can lack a slot for `addr`: below it, I2 promises one.
 */
static inline const struct mmk_btree_node *
mmk__btree_leaf(const struct mmk_btree *tree, uint64_t addr, unsigned *slot_out)
{
	const struct mmk_btree_node *node = tree->root;

	if (node == NULL)
		return NULL;
	unsigned slot = mmk__btree_lower(node, addr);
	if (MMK_UNLIKELY(slot >= node->nr))
		return NULL;
	for (unsigned level = tree->height - 1; level > 0; level--) {
		node = mmk__btree_enter(tree, node, slot, level - 1);
		slot = mmk__btree_lower(node, addr);
	}
	*slot_out = slot;
	return node;
}

MMK_API bool
mmk_btree_find(const struct mmk_btree *tree, uint64_t addr,
    struct mmk_range *range_out)
{
	unsigned slot;
	const struct mmk_btree_node *leaf = mmk__btree_leaf(tree, addr, &slot);

	if (leaf == NULL || leaf->mark[slot] > addr)
		return false;
	mmk__btree_range_at(leaf, slot, range_out);
	return true;
}

MMK_API bool
mmk_btree_find_ge(const struct mmk_btree *tree, uint64_t addr,
    struct mmk_range *range_out)
{
	unsigned slot;
	const struct mmk_btree_node *leaf = mmk__btree_leaf(tree, addr, &slot);

	if (leaf == NULL)
		return false;
	mmk__btree_range_at(leaf, slot, range_out);
	return true;
}

/* The range above is known first; the one before it is often in its leaf. */
MMK_API bool
mmk_btree_find_le(const struct mmk_btree *tree, uint64_t addr,
    struct mmk_range *range_out)
{
	struct mmk_btree_cursor cursor;
	struct mmk_range range;

	if (!mmk_btree_seek(tree, addr, &cursor, &range) || range.start > addr)
		return mmk_btree_prev(&cursor, range_out);
	*range_out = range;
	return true;
}

MMK_API bool
mmk_btree_seek(const struct mmk_btree *tree, uint64_t addr,
    struct mmk_btree_cursor *cursor, struct mmk_range *range_out)
{
	cursor->tree = tree;
	cursor->slot[0] = 0;
	cursor->nr = 0;
	if (tree->root == NULL || !mmk__btree_descend(tree, addr, cursor))
		return false;
	mmk__btree_range_at(cursor->node[0], cursor->slot[0], range_out);
	return true;
}

/* From cursor->slot[level] down to its lowest or its highest range. */
MMK_PRIVATE void
mmk__btree_go_down(struct mmk_btree_cursor *cursor, unsigned level,
    bool highest, struct mmk_range *range_out)
{
	for (; level > 0; level--) {
		struct mmk_btree_node *node = mmk__btree_child(
		    cursor->node[level], cursor->slot[level]);

		cursor->node[level - 1] = node;
		cursor->slot[level - 1] = highest ? node->nr - 1 : 0;
	}
	cursor->nr = cursor->node[0]->nr;
	mmk__btree_range_at(cursor->node[0], cursor->slot[0], range_out);
}

MMK_API bool
mmk_btree_next_leaf(struct mmk_btree_cursor *cursor,
    struct mmk_range *range_out)
{
	unsigned height = cursor->tree->height;
	unsigned level = 1;

	while (level < height &&
	    cursor->slot[level] + 1 >= cursor->node[level]->nr)
		level++;
	if (level >= height) {
		cursor->slot[0] = cursor->nr;
		return false;
	}
	cursor->slot[level]++;
	mmk__btree_go_down(cursor, level, false, range_out);
	return true;
}

MMK_API bool
mmk_btree_prev_leaf(struct mmk_btree_cursor *cursor,
    struct mmk_range *range_out)
{
	unsigned height = cursor->tree->height;
	unsigned level = 1;

	while (level < height && cursor->slot[level] == 0)
		level++;
	if (level >= height)
		return false;
	cursor->slot[level]--;
	mmk__btree_go_down(cursor, level, true, range_out);
	return true;
}

/* ---- keeping the inner nodes true ---------------------------------------- */

/* Write I2 and I3 for one child that is not empty; false: they held. */
MMK_PRIVATE bool
mmk__btree_describe(struct mmk_btree_node *parent, unsigned slot,
    uint64_t floor)
{
	const struct mmk_btree_node *child = mmk__btree_child(parent, slot);
	uint64_t last = child->last[child->nr - 1];
	uint64_t gap;

	if (slot > 0)
		floor = parent->last[slot - 1] + 1;
	gap = mmk__btree_widest_gap(child, floor);
	if (parent->last[slot] == last && parent->mark[slot] == gap)
		return false;
	mmk__btree_set(&parent->last[slot], last);
	mmk__btree_set(&parent->mark[slot], gap);
	return true;
}

/*
 * In the leaf of `cursor` gaps have changed, of which the widest was `old_gap`
 * and is `new_gap` now; its last address has not. Tell the nodes above, and
 * look through a node only if its widest gap may be the one that has gone.
 */
MMK_PRIVATE void
mmk__btree_gap_changed(struct mmk_btree_cursor *cursor, uint64_t old_gap,
    uint64_t new_gap)
{
	for (unsigned level = 1; level < cursor->tree->height; level++) {
		uint64_t *mark =
		    &cursor->node[level]->mark[cursor->slot[level]];
		uint64_t widest = *mark;

		if (new_gap < widest) {
			if (old_gap < widest)
				return;
			new_gap = mmk__btree_widest_gap(cursor->node[level - 1],
			    mmk__btree_floor(cursor, level - 1));
		}
		if (new_gap == widest)
			return;
		mmk__btree_set(mark, new_gap);
		old_gap = widest;
	}
}

/* The leaf of `cursor` has changed: tell the nodes above, as far as needed. */
MMK_PRIVATE void
mmk__btree_refresh(struct mmk_btree_cursor *cursor)
{
	for (unsigned level = 1; level < cursor->tree->height; level++)
		if (!mmk__btree_describe(cursor->node[level],
		        cursor->slot[level], mmk__btree_floor(cursor, level)))
			return;
}

/* The last address of a leaf has changed: so has the gap of the next leaf. */
MMK_PRIVATE void
mmk__btree_refresh_above(const struct mmk_btree *tree, uint64_t last)
{
	struct mmk_btree_cursor cursor;

	if (last != UINT64_MAX && mmk__btree_descend(tree, last + 1, &cursor))
		mmk__btree_refresh(&cursor);
}

/*
 * Move slots between children `left` and left + 1 of cursor->node[level + 1],
 * one of which is on the cursor, until the left one has `nr_left`. Either may
 * be empty before or after. The cursor follows its slot.
 */
MMK_PRIVATE void
mmk__btree_shift(struct mmk_btree_cursor *cursor, unsigned level,
    unsigned left, unsigned nr_left)
{
	struct mmk_btree_node *parent = cursor->node[level + 1];
	struct mmk_btree_node *a = mmk__btree_child(parent, left);
	struct mmk_btree_node *b = mmk__btree_child(parent, left + 1);
	unsigned place = cursor->slot[level];
	unsigned nr = a->nr + b->nr;

	if (cursor->slot[level + 1] > left)
		place += a->nr;
	if (nr_left > a->nr) {
		unsigned nr_moved = nr_left - a->nr;

		mmk__btree_slots_down(a, a->nr, b, 0, nr_moved);
		mmk__btree_slots_down(b, 0, b, nr_moved, b->nr - nr_moved);
	} else {
		unsigned nr_moved = a->nr - nr_left;

		mmk__btree_slots_up(b, 0, nr_moved);
		mmk__btree_slots_down(b, 0, a, nr_left, nr_moved);
	}
	mmk__btree_set_nr(a, nr_left);
	mmk__btree_set_nr(b, nr - nr_left);
	uint64_t floor = mmk__btree_floor(cursor, level + 1);
	(void)mmk__btree_describe(parent, left, floor);
	if (b->nr > 0)
		(void)mmk__btree_describe(parent, left + 1, floor);
	bool in_b = place >= nr_left && b->nr > 0;
	cursor->node[level] = in_b ? b : a;
	cursor->slot[level] = in_b ? place - nr_left : place;
	cursor->slot[level + 1] = in_b ? left + 1 : left;
}

/* ---- insert -------------------------------------------------------------- */

/*
 * Can the full node at `level` share with a neighbour that has two slots free?
 * Then both have room afterwards, however the slots fall. `left_out`: the left
 * one of the two.
 */
MMK_PRIVATE bool
mmk__btree_may_share(const struct mmk_btree_cursor *cursor, unsigned level,
    unsigned *left_out)
{
	if (level + 1 >= cursor->tree->height)
		return false;
	const struct mmk_btree_node *parent = cursor->node[level + 1];
	unsigned slot = cursor->slot[level + 1];
	if (slot > 0 &&
	    mmk__btree_child(parent, slot - 1)->nr + 2 <= MMK__BTREE_SLOTS) {
		*left_out = slot - 1;
		return true;
	}
	if (slot + 1 < parent->nr &&
	    mmk__btree_child(parent, slot + 1)->nr + 2 <= MMK__BTREE_SLOTS) {
		*left_out = slot;
		return true;
	}
	return false;
}

/* Put a new root over the old one. pre: a node is put aside. */
MMK_PRIVATE void
mmk__btree_grow(struct mmk_btree *tree, struct mmk_btree_cursor *cursor)
{
	unsigned level = tree->height;
	struct mmk_btree_node *root = mmk__btree_node_take(tree, level);

	MMK_ASSERT(level < MMK_BTREE_HEIGHT_MAX);
	mmk__btree_slot_insert(root, 0, 0, 0, tree->root);
	(void)mmk__btree_describe(root, 0, 0);
	mmk__btree_set(&tree->root, root);
	tree->height++;
	cursor->node[level] = root;
	cursor->slot[level] = 0;
}

/* pre: the parent has room, and a node is put aside. */
MMK_PRIVATE void
mmk__btree_split(struct mmk_btree *tree, struct mmk_btree_cursor *cursor,
    unsigned level)
{
	struct mmk_btree_node *parent = cursor->node[level + 1];
	unsigned slot = cursor->slot[level + 1];

	mmk__btree_slot_insert(parent, slot + 1, parent->last[slot], 0,
	    mmk__btree_node_take(tree, level));
	mmk__btree_shift(cursor, level, slot, (MMK__BTREE_SLOTS + 1) / 2);
}

/*
 * Make room in the leaf of `cursor`. Everything up to level `top` is full; at
 * `top` there is room, or a neighbour to share with, or nothing but a new
 * root. From there down every node is split while its parent has room. Errors
 * come before the first change, and then none has begun; otherwise one has.
 */
MMK_PRIVATE enum mmk_err
mmk__btree_make_room(struct mmk_btree *tree, struct mmk_btree_cursor *cursor)
{
	unsigned top = 0, left = 0;
	bool share = false;

	while (top < tree->height &&
	    cursor->node[top]->nr == MMK__BTREE_SLOTS && !share) {
		share = mmk__btree_may_share(cursor, top, &left);
		top += share ? 0 : 1;
	}
	bool grow = top == tree->height;
	enum mmk_err err = mmk__btree_put_aside(tree, top + (grow ? 1u : 0u));
	if (err != MMK_OK)
		return err;
	mmk__btree_change_begin(tree);
	if (grow)
		mmk__btree_grow(tree, cursor);
	if (share) {
		struct mmk_btree_node *parent = cursor->node[top + 1];
		unsigned nr = mmk__btree_child(parent, left)->nr +
		    mmk__btree_child(parent, left + 1)->nr;

		mmk__btree_shift(cursor, top, left, nr / 2);
	}
	while (top-- > 0)
		mmk__btree_split(tree, cursor, top);
	return MMK_OK;
}

/* The same for a tree that is empty. */
MMK_PRIVATE enum mmk_err
mmk__btree_make_leaf(struct mmk_btree *tree, struct mmk_btree_cursor *cursor)
{
	enum mmk_err err = mmk__btree_put_aside(tree, 1);

	if (err != MMK_OK)
		return err;
	mmk__btree_change_begin(tree);
	cursor->node[0] = mmk__btree_node_take(tree, 0);
	cursor->slot[0] = 0;
	mmk__btree_set(&tree->root, cursor->node[0]);
	tree->height = 1;
	return MMK_OK;
}

/*
 * Point `cursor` at the place of a new range, see that there is room, and
 * begin the change. On error nothing has begun.
 */
MMK_PRIVATE enum mmk_err
mmk__btree_make_place(struct mmk_btree *tree, uint64_t start, uint64_t last,
    struct mmk_btree_cursor *cursor)
{
	cursor->tree = tree;
	if (tree->root == NULL)
		return mmk__btree_make_leaf(tree, cursor);
	if (mmk__btree_descend(tree, start, cursor) &&
	    cursor->node[0]->mark[cursor->slot[0]] <= last)
		return MMK_ERR_EXIST;
	if (cursor->node[0]->nr == MMK__BTREE_SLOTS)
		return mmk__btree_make_room(tree, cursor);
	mmk__btree_change_begin(tree);
	return MMK_OK;
}

/* Put a range into a leaf with room, in front of the slot of `cursor`. */
MMK_PRIVATE void
mmk__btree_insert_at(struct mmk_btree_cursor *cursor, uint64_t start,
    uint64_t last, void *value)
{
	struct mmk_btree_node *leaf = cursor->node[0];
	unsigned slot = cursor->slot[0];
	uint64_t floor = slot > 0 ? leaf->last[slot - 1] + 1 :
	    mmk__btree_floor(cursor, 0);
	uint64_t below = start - floor;

	mmk__btree_slot_insert(leaf, slot, last, start, value);
	if (slot + 1 == leaf->nr) { /* the highest range of all */
		mmk__btree_refresh(cursor);
		return;
	}
	uint64_t above = leaf->mark[slot + 1];
	mmk__btree_gap_changed(cursor, above - floor,
	    mmk_max(below, above - last - 1));
}

MMK_API enum mmk_err
mmk_btree_insert(struct mmk_btree *tree, uint64_t start, uint64_t last,
    void *value)
{
	struct mmk_btree_cursor cursor;

	MMK_ASSERT(start <= last);
	MMK_ASSERT(value != NULL);
	enum mmk_err err = mmk__btree_make_place(tree, start, last, &cursor);
	if (err != MMK_OK)
		return err;
	mmk__btree_insert_at(&cursor, start, last, value);
	mmk__btree_change_end(tree);
	tree->nr_ranges++;
	if (tree->nr_promised > 0)
		tree->nr_promised--;
	return MMK_OK;
}

/* ---- erase and resize ---------------------------------------------------- */

/* Join or even out nodes with too few slots, from the leaf up (I4). */
MMK_PRIVATE void
mmk__btree_fill(struct mmk_btree *tree, struct mmk_btree_cursor *cursor)
{
	for (unsigned level = 0; level + 1 < tree->height; level++) {
		struct mmk_btree_node *parent = cursor->node[level + 1];
		unsigned slot = cursor->slot[level + 1];
		unsigned left = slot > 0 ? slot - 1 : 0;

		if (cursor->node[level]->nr >= MMK__BTREE_SLOTS_MIN)
			return;
		struct mmk_btree_node *right =
		    mmk__btree_child(parent, left + 1);
		unsigned nr = mmk__btree_child(parent, left)->nr + right->nr;
		if (nr >= 2 * MMK__BTREE_SLOTS_MIN) {
			mmk__btree_shift(cursor, level, left, nr / 2);
			return;
		}
		mmk__btree_shift(cursor, level, left, nr);
		mmk__btree_slot_remove(parent, left + 1);
		mmk__btree_node_release(tree, right);
	}
}

/* Take off an empty leaf, and inner roots with a single child. */
MMK_PRIVATE void
mmk__btree_shrink(struct mmk_btree *tree)
{
	struct mmk_btree_node *root = tree->root;

	while (root != NULL &&
	    (root->nr == 0 || (root->level > 0 && root->nr == 1))) {
		mmk__btree_set(&tree->root,
		    root->nr == 0 ? NULL : mmk__btree_child(root, 0));
		tree->height--;
		mmk__btree_node_release(tree, root);
		root = tree->root;
	}
}

/* Point `cursor` at the range that starts at `start`; false: there is none. */
MMK_PRIVATE bool
mmk__btree_descend_exact(const struct mmk_btree *tree, uint64_t start,
    struct mmk_btree_cursor *cursor)
{
	return tree->root != NULL && mmk__btree_descend(tree, start, cursor) &&
	    cursor->node[0]->mark[cursor->slot[0]] == start;
}

/* Take the slot of `cursor` out of its leaf. */
MMK_PRIVATE void
mmk__btree_erase_at(struct mmk_btree *tree, struct mmk_btree_cursor *cursor)
{
	struct mmk_btree_node *leaf = cursor->node[0];
	unsigned slot = cursor->slot[0];
	uint64_t last = leaf->last[slot];

	mmk__btree_slot_remove(leaf, slot);
	if (slot < leaf->nr) { /* one gap, wider than the two it was */
		uint64_t gap = mmk__btree_slot_gap(leaf, slot,
		    slot > 0 ? 0 : mmk__btree_floor(cursor, 0));

		mmk__btree_gap_changed(cursor, 0, gap);
	} else if (slot > 0) {
		mmk__btree_refresh(cursor);
		mmk__btree_refresh_above(tree, last);
	}
}

MMK_API void *
mmk_btree_erase(struct mmk_btree *tree, uint64_t start)
{
	struct mmk_btree_cursor cursor;

	if (!mmk__btree_descend_exact(tree, start, &cursor))
		return NULL;
	void *value = cursor.node[0]->ptr[cursor.slot[0]];
	mmk__btree_change_begin(tree);
	mmk__btree_erase_at(tree, &cursor);
	tree->nr_ranges--;
	if (cursor.node[0]->nr < MMK__BTREE_SLOTS_MIN) {
		mmk__btree_fill(tree, &cursor);
		mmk__btree_shrink(tree);
	}
	mmk__btree_change_end(tree);
	return value;
}

MMK_API void
mmk_btree_resize(struct mmk_btree *tree, uint64_t start, uint64_t new_start,
    uint64_t new_last)
{
	struct mmk_btree_cursor cursor;
	struct mmk_range above;
	bool exists = mmk__btree_descend_exact(tree, start, &cursor);

	MMK_ASSERT(exists);
	MMK_ASSERT(new_start <= new_last);
	struct mmk_btree_node *leaf = cursor.node[0];
	unsigned slot = cursor.slot[0];
	uint64_t old_last = leaf->last[slot];
	uint64_t floor = slot > 0 ? leaf->last[slot - 1] + 1 :
	    mmk__btree_floor(&cursor, 0);
	MMK_ASSERT(new_start >= floor);
	if (new_last > old_last &&
	    mmk_btree_find_above(tree, old_last, &above))
		MMK_ASSERT(new_last < above.start);
	mmk__btree_change_begin(tree);
	mmk__btree_set(&leaf->mark[slot], new_start);
	mmk__btree_set(&leaf->last[slot], new_last);
	mmk__btree_refresh(&cursor);
	if (slot + 1 == leaf->nr && new_last != old_last)
		mmk__btree_refresh_above(tree, new_last);
	mmk__btree_change_end(tree);
}

/* ---- check --------------------------------------------------------------- */

/* I1 to I5 for one node; `floor` as in mmk__btree_slot_gap(). */
MMK_PRIVATE bool
mmk__btree_check_node(const struct mmk_btree_node *node, unsigned level,
    bool is_root, uint64_t floor)
{
	unsigned nr_root = level > 0 ? 2 : 1;

	if (node->level != level || node->nr > MMK__BTREE_SLOTS ||
	    node->nr < (is_root ? nr_root : MMK__BTREE_SLOTS_MIN))
		return false;
	for (unsigned i = 0; i <= MMK__BTREE_SLOTS; i++) {
		if (i >= node->nr) {
			if (node->last[i] != UINT64_MAX)
				return false;
			continue;
		}
		if (i > 0 && node->last[i - 1] >= node->last[i])
			return false;
		if (i > 0)
			floor = node->last[i - 1] + 1;
		if (node->ptr[i] == NULL || node->last[i] < floor)
			return false;
		if (level == 0 && (node->mark[i] < floor ||
		        node->mark[i] > node->last[i]))
			return false;
	}
	return true;
}

/* The same for child `slot` of a node that has been checked. */
MMK_PRIVATE bool
mmk__btree_check_child(const struct mmk_btree_cursor *cursor, unsigned level)
{
	const struct mmk_btree_node *parent = cursor->node[level + 1];
	const struct mmk_btree_node *node = cursor->node[level];
	unsigned slot = cursor->slot[level + 1];
	uint64_t floor = mmk__btree_floor(cursor, level);

	return mmk__btree_check_node(node, level, false, floor) &&
	    parent->last[slot] == node->last[node->nr - 1] &&
	    parent->mark[slot] == mmk__btree_widest_gap(node, floor);
}

/* Every child of the root, and so on; the ranges below are added to *nr. */
MMK_PRIVATE bool
mmk__btree_check_below(const struct mmk_btree *tree, uint64_t *nr)
{
	struct mmk_btree_cursor cursor;
	unsigned level = tree->height - 1;

	cursor.tree = tree;
	cursor.node[level] = tree->root;
	cursor.slot[level] = 0;
	while (level < tree->height) {
		struct mmk_btree_node *node = cursor.node[level];

		if (level > 0 && cursor.slot[level] < node->nr) {
			level--;
			cursor.node[level] = mmk__btree_child(node,
			    cursor.slot[level + 1]);
			cursor.slot[level] = 0;
			if (!mmk__btree_check_child(&cursor, level))
				return false;
			continue;
		}
		*nr += level == 0 ? node->nr : 0;
		level++;
		if (level < tree->height)
			cursor.slot[level]++;
	}
	return true;
}

MMK_API bool
mmk_btree_check(const struct mmk_btree *tree)
{
	const struct mmk_btree_node *node = tree->reserve;
	uint32_t nr_reserved = 0;
	uint64_t nr_ranges = 0;

	for (; node != NULL; node = mmk__btree_child(node, 0))
		if (++nr_reserved > tree->nr_reserved)
			return false;
	if (nr_reserved != tree->nr_reserved || tree->version % 2 != 0)
		return false;
	if (tree->root == NULL)
		return tree->height == 0 && tree->nr_ranges == 0;
	return tree->height > 0 && tree->height <= MMK_BTREE_HEIGHT_MAX &&
	    mmk__btree_check_node(tree->root, tree->height - 1, true, 0) &&
	    mmk__btree_check_below(tree, &nr_ranges) &&
	    nr_ranges == tree->nr_ranges;
}
#endif /* MMKIT_IMPLEMENTATION */
