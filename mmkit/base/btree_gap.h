/* SPDX-License-Identifier: MIT
 *
 * mmkit/base/btree_gap.h: finding free space between the ranges of a btree
 *
 * WHAT    First fit from either end, inside a window and with an alignment. A
 *         walk goes from gap to gap, but only to those of at least the wanted
 *         size: the inner nodes know the widest gap below each slot (I3 of
 *         btree.h), so a whole subtree is passed over at once. Best fit is in
 *         btree_best.h: this tree is ordered by address and not by size.
 * LAYER   base. Includes btree_node.h.
 * LOCKS   none taken; the caller serializes. Readers may share.
 * COST    O(log n), and again for every gap that is wide enough but holds no
 *         aligned start inside the window (none when align is the granule of
 *         all ranges). No memory.
 * SOURCE  Cormen et al., Introduction to Algorithms (3rd ed.), section 14.2;
 *         the strategies: Knuth, TAOCP vol. 1 (3rd ed.), section 2.5.
 */
#ifndef MMKIT_BASE_BTREE_GAP_H
#define MMKIT_BASE_BTREE_GAP_H

#include "btree_node.h"

MMK_BEGIN_DECLS

/*
 * Free space: `bytes` addresses inside [lo, last] that no range contains, at a
 * multiple of `align`. lowest and highest mean the start.
 *
 * pre      bytes > 0; align is a power of two.
 * out      *start_out; untouched on error.
 * errors   MMK_ERR_NOSPACE: no such space, as when lo > last.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_btree_gap_lowest(
    const struct mmk_btree *tree, uint64_t bytes, uint64_t align, uint64_t lo,
    uint64_t last, uint64_t *start_out);
MMK_API MMK_NODISCARD enum mmk_err mmk_btree_gap_highest(
    const struct mmk_btree *tree, uint64_t bytes, uint64_t align, uint64_t lo,
    uint64_t last, uint64_t *start_out);

MMK_END_DECLS
#endif /* MMKIT_BASE_BTREE_GAP_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_BASE_BTREE_GAP_IMPL)
#define MMKIT_BASE_BTREE_GAP_IMPL

/* What the caller looks for; the window is [lo, last]. */
struct mmk__btree_want {
	uint64_t bytes;
	uint64_t align;
	uint64_t lo;
	uint64_t last;
};

/* Both ends included; never empty. */
struct mmk__btree_gap {
	uint64_t first;
	uint64_t last;
};

/* Cut `gap` to the window; false: less than `bytes` is left. */
MMK_PRIVATE bool
mmk__btree_gap_cut(struct mmk__btree_gap *gap,
    const struct mmk__btree_want *want)
{
	gap->first = gap->first < want->lo ? want->lo : gap->first;
	gap->last = gap->last > want->last ? want->last : gap->last;
	return gap->first <= gap->last &&
	    gap->last - gap->first >= want->bytes - 1;
}

/* The lowest place in a gap that has been cut; rounding up may wrap. */
MMK_PRIVATE bool
mmk__btree_gap_low(const struct mmk__btree_gap *gap,
    const struct mmk__btree_want *want, uint64_t *start_out)
{
	uint64_t start = mmk_round_up(gap->first, want->align);

	if (start < gap->first || start > gap->last - (want->bytes - 1))
		return false;
	*start_out = start;
	return true;
}

/* The highest place in a gap that has been cut. */
MMK_PRIVATE bool
mmk__btree_gap_high(const struct mmk__btree_gap *gap,
    const struct mmk__btree_want *want, uint64_t *start_out)
{
	uint64_t start = mmk_round_down(gap->last - (want->bytes - 1),
	    want->align);

	if (start < gap->first)
		return false;
	*start_out = start;
	return true;
}

/* The gap above the highest range; false: there is none. */
MMK_PRIVATE bool
mmk__btree_gap_top(const struct mmk_btree *tree, struct mmk__btree_gap *gap)
{
	const struct mmk_btree_node *root = tree->root;

	gap->first = 0;
	gap->last = UINT64_MAX;
	if (root == NULL)
		return true;
	gap->first = root->last[root->nr - 1] + 1;
	return gap->first != 0;
}

/* Is the gap of slot 0 of the leaf, which starts in another one, too narrow? */
MMK_PRIVATE bool
mmk__btree_gap_first_narrow(const struct mmk_btree_cursor *cursor,
    uint64_t bytes)
{
	return cursor->node[0]->mark[0] - mmk__btree_floor(cursor, 0) < bytes;
}

/*
 * In the leaf, from `slot` on in steps of `step` (1 or -1), the first whose
 * gap is at least `bytes`; nr or more if there is none: a step below 0 wraps.
 * A gap between two ranges is one less than the distance of their ends.
 */
MMK_PRIVATE unsigned
mmk__btree_gap_scan_leaf(const struct mmk_btree_cursor *cursor, unsigned slot,
    unsigned step, uint64_t bytes)
{
	const struct mmk_btree_node *leaf = cursor->node[0];
	size_t nr = leaf->nr, i = slot;

	if (step == 1) {
		if (i == 0 && mmk__btree_gap_first_narrow(cursor, bytes))
			i = 1;
		while (i - 1 < nr - 1 &&
		    leaf->mark[i] - leaf->last[i - 1] <= bytes)
			i++;
		return (unsigned)i;
	}
	while (i - 1 < nr - 1 && leaf->mark[i] - leaf->last[i - 1] <= bytes)
		i--;
	if (i == 0 && mmk__btree_gap_first_narrow(cursor, bytes))
		return UINT32_MAX;
	return (unsigned)i;
}

/* The same in any node of `cursor`: the widest gaps below its slots. */
MMK_PRIVATE unsigned
mmk__btree_gap_scan(const struct mmk_btree_cursor *cursor, unsigned level,
    unsigned slot, unsigned step, uint64_t bytes)
{
	const struct mmk_btree_node *node = cursor->node[level];

	if (level == 0)
		return mmk__btree_gap_scan_leaf(cursor, slot, step, bytes);
	while (slot < node->nr && node->mark[slot] < bytes)
		slot += step;
	return slot;
}

/*
 * Go to the leaf where the walk for a gap of `bytes` from `addr` starts, but
 * only while there is such a gap below. The level at which it ended: there the
 * slot of `cursor` is the first to look at. pre: not empty.
 */
MMK_PRIVATE unsigned
mmk__btree_gap_descend(const struct mmk_btree *tree, uint64_t addr,
    uint64_t bytes, unsigned step, struct mmk_btree_cursor *cursor)
{
	struct mmk_btree_node *node = tree->root;
	unsigned level = tree->height;

	cursor->tree = tree;
	while (level-- > 0) {
		unsigned slot = mmk__btree_lower(node, addr);

		if (slot >= node->nr)
			slot = step == 1 ? node->nr : node->nr - 1;
		cursor->node[level] = node;
		cursor->slot[level] = slot;
		if (level == 0 || slot == node->nr)
			return level;
		if (node->mark[slot] < bytes) {
			cursor->slot[level] = slot + step;
			return level;
		}
		node = mmk__btree_enter(tree, node, slot, level - 1);
	}
	return 0;
}

/*
 * From the slot of `cursor` at `level` on, this one included, go to the first
 * range whose gap is at least `bytes`; false: there is none. Up until a
 * neighbour has one so wide, then down to it: I3 leads the way. The slot of
 * the leaf is then the next to look at.
 */
MMK_PRIVATE bool
mmk__btree_gap_walk(struct mmk_btree_cursor *cursor, unsigned level,
    unsigned step, uint64_t bytes, struct mmk__btree_gap *gap)
{
	unsigned height = cursor->tree->height;
	unsigned slot = mmk__btree_gap_scan(cursor, level, cursor->slot[level],
	    step, bytes);

	while (slot >= cursor->node[level]->nr) {
		if (++level >= height)
			return false;
		slot = mmk__btree_gap_scan(cursor, level,
		    cursor->slot[level] + step, step, bytes);
	}
	cursor->slot[level] = slot;
	while (level-- > 0) {
		struct mmk_btree_node *node = mmk__btree_child(
		    cursor->node[level + 1], cursor->slot[level + 1]);

		cursor->node[level] = node;
		cursor->slot[level] = mmk__btree_gap_scan(cursor, level,
		    step == 1 ? 0 : node->nr - 1, step, bytes);
	}
	const struct mmk_btree_node *leaf = cursor->node[0];
	slot = cursor->slot[0];
	gap->last = leaf->mark[slot] - 1;
	gap->first = slot > 0 ? leaf->last[slot - 1] + 1 :
	    mmk__btree_floor(cursor, 0);
	cursor->slot[0] = slot + step;
	return true;
}

MMK_API enum mmk_err
mmk_btree_gap_lowest(const struct mmk_btree *tree, uint64_t bytes,
    uint64_t align, uint64_t lo, uint64_t last, uint64_t *start_out)
{
	struct mmk__btree_want want = { bytes, align, lo, last };
	struct mmk_btree_cursor cursor;
	struct mmk__btree_gap gap;
	unsigned level = 0;

	MMK_ASSERT(bytes > 0);
	MMK_ASSERT(mmk_is_pow2(align));
	if (tree->root != NULL)
		level = mmk__btree_gap_descend(tree, lo, bytes, 1, &cursor);
	while (tree->root != NULL &&
	    mmk__btree_gap_walk(&cursor, level, 1, bytes, &gap)) {
		if (gap.first > last)
			return MMK_ERR_NOSPACE;
		if (mmk__btree_gap_cut(&gap, &want) &&
		    mmk__btree_gap_low(&gap, &want, start_out))
			return MMK_OK;
		level = 0;
	}
	if (mmk__btree_gap_top(tree, &gap) && mmk__btree_gap_cut(&gap, &want) &&
	    mmk__btree_gap_low(&gap, &want, start_out))
		return MMK_OK;
	return MMK_ERR_NOSPACE;
}

/* If no range reaches up to `last`, the walk starts at the highest one. */
MMK_API enum mmk_err
mmk_btree_gap_highest(const struct mmk_btree *tree, uint64_t bytes,
    uint64_t align, uint64_t lo, uint64_t last, uint64_t *start_out)
{
	struct mmk__btree_want want = { bytes, align, lo, last };
	struct mmk_btree_cursor cursor;
	struct mmk__btree_gap gap;

	MMK_ASSERT(bytes > 0);
	MMK_ASSERT(mmk_is_pow2(align));
	if (mmk__btree_gap_top(tree, &gap) && mmk__btree_gap_cut(&gap, &want) &&
	    mmk__btree_gap_high(&gap, &want, start_out))
		return MMK_OK;
	if (tree->root == NULL)
		return MMK_ERR_NOSPACE;
	unsigned level = mmk__btree_gap_descend(tree, last, bytes, UINT32_MAX,
	    &cursor);
	while (mmk__btree_gap_walk(&cursor, level, UINT32_MAX, bytes, &gap)) {
		if (gap.last < lo)
			break;
		if (mmk__btree_gap_cut(&gap, &want) &&
		    mmk__btree_gap_high(&gap, &want, start_out))
			return MMK_OK;
		level = 0;
	}
	return MMK_ERR_NOSPACE;
}
#endif /* MMKIT_IMPLEMENTATION */
