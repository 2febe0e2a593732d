/* SPDX-License-Identifier: MIT
 *
 * mmkit/base/btree_best.h: best fit between the ranges of a btree
 *
 * WHAT    A btree whose gaps are also in the order of their size. A gap goes by
 *         the range above it, whose value embeds the node for it; the gap above
 *         the highest range has a node of its own:
 *
 *              gap 10        gap 30            gap to the top
 *              v             v                 v
 *                    [10,39]         [70,99]
 *              A's node      B's node          best->top
 *              A.............^ B.............^
 *
 *         So the index needs no memory, and what cannot fail in the btree
 *         cannot fail here. Trees that want first fit only do without.
 * LAYER   base. Includes btree.h, btree_gap.h and treap.h.
 * LOCKS   none taken; the caller serializes. Readers may share.
 * COST    insert, erase, resize: those of btree.h, and O(log n) expected for
 *         the two gaps at the range's ends. find: O(log n), and again for
 *         every gap of at least `bytes` that is smaller than the one found but
 *         lies outside the window, or holds no aligned start. 32 bytes a range.
 * SOURCE  Knuth, TAOCP vol. 1 (3rd ed.), section 2.5: two orders, by address
 *         and by size.
 *
 * I1      by_bytes holds each gap once, under (bytes - 1, start)
 *                                                      tested by: check
 */
#ifndef MMKIT_BASE_BTREE_BEST_H
#define MMKIT_BASE_BTREE_BEST_H

#include "btree.h"
#include "treap.h"

MMK_BEGIN_DECLS

/* [C] caller serializes  [I] immutable after init */
struct mmk_btree_best {
	struct mmk_btree tree;      /* [C] to be searched, not to be changed */
	struct mmk_treap by_bytes;  /* [C] */
	struct mmk_treap_node top;  /* [C] of the gap above the highest range */
	size_t node_offset;         /* [I] */
};

/*
 * No ranges. Each value that is inserted has a struct mmk_treap_node at
 * node_offset, which is this header's while the range is in the tree.
 * `memory` is the btree's, and so are mmk_btree_reserve() and _unreserve(),
 * called on best->tree.
 */
MMK_API void mmk_btree_best_init(struct mmk_btree_best *best,
    const struct mmk_btree_memory *memory, size_t node_offset);

/* pre: no ranges. */
MMK_API void mmk_btree_best_fini(struct mmk_btree_best *best);

/* Preconditions and errors as of mmk_btree_insert, _erase and _resize. */
MMK_API MMK_NODISCARD enum mmk_err mmk_btree_best_insert(
    struct mmk_btree_best *best, uint64_t start, uint64_t last, void *value);
MMK_API void *mmk_btree_best_erase(struct mmk_btree_best *best,
    uint64_t start);
MMK_API void mmk_btree_best_resize(struct mmk_btree_best *best,
    uint64_t start, uint64_t new_start, uint64_t new_last);

/*
 * mmk_btree_best_find: the gap that, cut to [lo, last], is the smallest that
 * has `bytes` addresses from a multiple of `align` on, the lowest of equals,
 * and the lowest such start in it.
 *
 * pre      bytes > 0; align is a power of two.
 * out      *start_out; untouched on error.
 * errors   MMK_ERR_NOSPACE: no such space, as when lo > last.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_btree_best_find(
    const struct mmk_btree_best *best, uint64_t bytes, uint64_t align,
    uint64_t lo, uint64_t last, uint64_t *start_out);

/* Walks the whole tree and the index: I1. O(n log n). */
MMK_API bool mmk_btree_best_check(const struct mmk_btree_best *best);

MMK_END_DECLS
#endif /* MMKIT_BASE_BTREE_BEST_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_BASE_BTREE_BEST_IMPL)
#define MMKIT_BASE_BTREE_BEST_IMPL

/* For a file that has read the interfaces before it defined the macro. */
#include "btree.h"
#include "btree_gap.h"
#include "treap.h"

/* A range's surroundings: the free space it is in, were it not there. */
struct mmk__best_around {
	uint64_t floor;               /* the first address above the range below */
	uint64_t ceiling;             /* the last one below the range above */
	struct mmk_treap_node *below; /* of the gap below the range */
	struct mmk_treap_node *above; /* of the gap above it */
};

MMK_PRIVATE struct mmk_treap_node *
mmk__best_node(const struct mmk_btree_best *best, void *value)
{
	return (struct mmk_treap_node *)(void *)((unsigned char *)value +
	    best->node_offset);
}

MMK_PRIVATE void
mmk__best_put(struct mmk_btree_best *best, struct mmk_treap_node *node,
    uint64_t first, uint64_t last)
{
	node->major = last - first;
	node->minor = first;
	mmk_treap_insert(&best->by_bytes, node);
}

/* pre: `range` is in the tree. */
MMK_PRIVATE void
mmk__best_look_around(struct mmk_btree_best *best,
    const struct mmk_range *range, struct mmk__best_around *around)
{
	struct mmk_range other;

	around->floor = 0;
	if (range->start > 0 &&
	    mmk_btree_find_le(&best->tree, range->start - 1, &other))
		around->floor = other.last + 1;
	around->ceiling = UINT64_MAX;
	around->below = mmk__best_node(best, range->value);
	around->above = &best->top;
	if (mmk_btree_find_above(&best->tree, range->last, &other)) {
		around->ceiling = other.start - 1;
		around->above = mmk__best_node(best, other.value);
	}
}

/* The gaps at both ends of [start, last]; an empty one is not in the index. */
MMK_PRIVATE void
mmk__best_put_both(struct mmk_btree_best *best,
    const struct mmk__best_around *around, uint64_t start, uint64_t last)
{
	if (start > around->floor)
		mmk__best_put(best, around->below, around->floor, start - 1);
	if (last < around->ceiling)
		mmk__best_put(best, around->above, last + 1, around->ceiling);
}

MMK_PRIVATE void
mmk__best_take_both(struct mmk_btree_best *best,
    const struct mmk__best_around *around, uint64_t start, uint64_t last)
{
	if (start > around->floor)
		mmk_treap_remove(&best->by_bytes, around->below);
	if (last < around->ceiling)
		mmk_treap_remove(&best->by_bytes, around->above);
}

MMK_API void
mmk_btree_best_init(struct mmk_btree_best *best,
    const struct mmk_btree_memory *memory, size_t node_offset)
{
	mmk_btree_init(&best->tree, memory);
	mmk_treap_init(&best->by_bytes);
	best->node_offset = node_offset;
	mmk__best_put(best, &best->top, 0, UINT64_MAX);
}

MMK_API void
mmk_btree_best_fini(struct mmk_btree_best *best)
{
	mmk_btree_fini(&best->tree);
	mmk_treap_init(&best->by_bytes);
}

MMK_API enum mmk_err
mmk_btree_best_insert(struct mmk_btree_best *best, uint64_t start,
    uint64_t last, void *value)
{
	struct mmk_range range = { start, last, value };
	struct mmk__best_around around;
	enum mmk_err err = mmk_btree_insert(&best->tree, start, last, value);

	if (err != MMK_OK)
		return err;
	mmk__best_look_around(best, &range, &around);
	mmk_treap_remove(&best->by_bytes, around.above);
	mmk__best_put_both(best, &around, start, last);
	return MMK_OK;
}

MMK_API void *
mmk_btree_best_erase(struct mmk_btree_best *best, uint64_t start)
{
	struct mmk__best_around around;
	struct mmk_range range;

	if (!mmk_btree_find(&best->tree, start, &range) ||
	    range.start != start)
		return NULL;
	mmk__best_look_around(best, &range, &around);
	mmk__best_take_both(best, &around, range.start, range.last);
	(void)mmk_btree_erase(&best->tree, start);
	mmk__best_put(best, around.above, around.floor, around.ceiling);
	return range.value;
}

MMK_API void
mmk_btree_best_resize(struct mmk_btree_best *best, uint64_t start,
    uint64_t new_start, uint64_t new_last)
{
	struct mmk__best_around around;
	struct mmk_range range;
	bool found = mmk_btree_find(&best->tree, start, &range);

	MMK_ASSERT(found && range.start == start);
	if (!found)
		return;
	mmk__best_look_around(best, &range, &around);
	mmk__best_take_both(best, &around, range.start, range.last);
	mmk_btree_resize(&best->tree, start, new_start, new_last);
	mmk__best_put_both(best, &around, new_start, new_last);
}

/* The best so far: `size` and `start` of the gap it is in, and the place. */
struct mmk__best_found {
	bool any;
	uint64_t size;
	uint64_t gap_start;
	uint64_t start;
};

MMK_PRIVATE void
mmk__best_consider(struct mmk__best_found *found, struct mmk__btree_gap gap,
    const struct mmk__btree_want *want)
{
	uint64_t start;

	if (!mmk__btree_gap_cut(&gap, want) ||
	    !mmk__btree_gap_low(&gap, want, &start))
		return;
	if (found->any &&
	    (gap.last - gap.first > found->size ||
	        (gap.last - gap.first == found->size &&
	            gap.first > found->gap_start)))
		return;
	found->any = true;
	found->size = gap.last - gap.first;
	found->gap_start = gap.first;
	found->start = start;
}

/* The gap that `addr` is in, if any: an end of the window may cut it. */
MMK_PRIVATE void
mmk__best_consider_at(const struct mmk_btree_best *best, uint64_t addr,
    struct mmk__best_found *found, const struct mmk__btree_want *want)
{
	struct mmk__btree_gap gap = { 0, UINT64_MAX };
	struct mmk_range range;

	if (mmk_btree_find_ge(&best->tree, addr, &range)) {
		if (range.start <= addr)
			return;
		gap.last = range.start - 1;
	}
	if (mmk_btree_find_le(&best->tree, addr, &range))
		gap.first = range.last + 1;
	mmk__best_consider(found, gap, want);
}

/*
 * Two gaps at most are cut by the window. Of those inside, the first in the
 * order of size that serves is the best.
 */
MMK_API enum mmk_err
mmk_btree_best_find(const struct mmk_btree_best *best, uint64_t bytes,
    uint64_t align, uint64_t lo, uint64_t last, uint64_t *start_out)
{
	struct mmk__btree_want want = { bytes, align, lo, last };
	struct mmk__best_found found = { false, 0, 0, 0 };
	struct mmk_treap_node *node;

	MMK_ASSERT(bytes > 0);
	MMK_ASSERT(mmk_is_pow2(align));
	if (lo > last)
		return MMK_ERR_NOSPACE;
	mmk__best_consider_at(best, lo, &found, &want);
	mmk__best_consider_at(best, last, &found, &want);
	node = mmk_treap_find_ge(&best->by_bytes, bytes - 1, 0);
	for (; node != NULL; node = mmk_treap_next(&best->by_bytes, node)) {
		struct mmk__btree_gap gap = { node->minor,
			node->minor + node->major };

		if (found.any && node->major >= found.size &&
		    (node->major > found.size || gap.first > found.gap_start))
			break;
		if (gap.first >= lo && gap.last <= last)
			mmk__best_consider(&found, gap, &want);
	}
	if (!found.any)
		return MMK_ERR_NOSPACE;
	*start_out = found.start;
	return MMK_OK;
}

/* Is the gap [first, last] in the index, under this node? */
MMK_PRIVATE bool
mmk__best_has(const struct mmk_btree_best *best, uint64_t first, uint64_t last,
    const struct mmk_treap_node *node)
{
	return node->minor == first && node->major == last - first &&
	    mmk_treap_find_ge(&best->by_bytes, last - first, first) == node;
}

MMK_API bool
mmk_btree_best_check(const struct mmk_btree_best *best)
{
	struct mmk_btree_cursor cursor;
	struct mmk_range range = { 0, 0, NULL };
	uint64_t floor = 0, nr_gaps = 0;
	bool is_good = mmk_btree_check(&best->tree) &&
	    mmk_treap_check(&best->by_bytes);
	bool more = mmk_btree_seek(&best->tree, 0, &cursor, &range);

	for (; more; more = mmk_btree_next(&cursor, &range)) {
		if (range.start > floor) {
			is_good = is_good &&
			    mmk__best_has(best, floor, range.start - 1,
			        mmk__best_node(best, range.value));
			nr_gaps++;
		}
		floor = range.last + 1;
	}
	if (range.last != UINT64_MAX) {
		is_good = is_good &&
		    mmk__best_has(best, floor, UINT64_MAX, &best->top);
		nr_gaps++;
	}
	return is_good && nr_gaps == best->by_bytes.nr_nodes;
}
#endif /* MMKIT_IMPLEMENTATION */
