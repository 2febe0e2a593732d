/* SPDX-License-Identifier: MIT
 *
 * mmkit/base/btree_read.h: reading a range btree beside its writer, by version
 *
 * WHAT    A search that takes no lock and writes nothing, for a fault that
 *         should not wait for the map. Every change of a tree makes its
 *         version odd, and even again when it is done (I6). The reader looks
 *         at the version before and after, and before it follows a pointer:
 *         while the version stands, what it read is the tree as it was then.
 *         If the version moves it gives up, and the caller tries again or
 *         takes the lock.
 *
 *           err = mmk_btree_find_versioned(tree, addr, &range, &version);
 *           if (err == MMK_OK) {
 *                   ... take hold of range.value, without following it ...
 *                   if (!mmk_btree_is_version(tree, version))
 *                           ... let go; it may have left the tree ...
 *           }
 *
 *         Memory: a reader may look at a node that has just been given back.
 *         So the memory source must keep each node it was ever given readable
 *         for as long as readers that began before may run: until a grace
 *         period is over, or, for a source that never gives memory to others,
 *         for ever. What it writes there meanwhile does no harm, but is a data
 *         race in the eyes of the language unless it writes whole words
 *         atomically. The same goes for the tree itself.
 * LAYER   base. Includes btree_node.h.
 * LOCKS   none taken. One writer at a time, as ever; any number of readers
 *         beside it, from any context.
 * COST    find_versioned: O(log n), two loads of the version for each level.
 *         It never waits. For the writer: one more store before and one after
 *         each change, and every word of a node by a store of its own.
 * SOURCE  Boehm, Can seqlocks get along with programming language memory
 *         models?, MSPC 2012; the version of a whole tree is Linux's mm_lock_seq
 *         in kind.
 *
 * I6      version is even whenever no change is under way     tested by: check
 */
#ifndef MMKIT_BASE_BTREE_READ_H
#define MMKIT_BASE_BTREE_READ_H

#include "btree_node.h"

MMK_BEGIN_DECLS

/*
 * mmk_btree_find_versioned: the range that contained `addr` at *version_out.
 *
 * out      *range_out, *version_out; untouched on error. What range.value
 *          points to may be gone at any time: that is the caller's to prevent.
 * errors   MMK_ERR_NOENT: at some moment of the call no range contained addr.
 *          MMK_ERR_AGAIN: a change came in between.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_btree_find_versioned(
    const struct mmk_btree *tree, uint64_t addr, struct mmk_range *range_out,
    uint64_t *version_out);

/* Has nothing changed since `version`? Whatever was read before, was so. */
static inline bool
mmk_btree_is_version(const struct mmk_btree *tree, uint64_t version)
{
	MMKIT_ATOMIC_FENCE();
	return MMKIT_ATOMIC_LOAD_RELAXED(&tree->version) == version;
}

MMK_END_DECLS
#endif /* MMKIT_BASE_BTREE_READ_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_BASE_BTREE_READ_IMPL)
#define MMKIT_BASE_BTREE_READ_IMPL

/* mmk__btree_lower(), for a node that may be changing. */
MMK_PRIVATE unsigned
mmk__btree_lower_relaxed(const struct mmk_btree_node *node, uint64_t addr)
{
	const uint64_t *last = node->last;
	unsigned slot = 0, end;

	for (unsigned i = 1; i <= MMK__BTREE_SLOTS / MMK__BTREE_BLOCK; i++)
		slot += (unsigned)(MMKIT_ATOMIC_LOAD_RELAXED(
		            &last[i * MMK__BTREE_BLOCK - 1]) < addr);
	slot *= MMK__BTREE_BLOCK;
	end = slot + MMK__BTREE_BLOCK;
	for (unsigned i = slot; i < end; i++)
		slot += (unsigned)(MMKIT_ATOMIC_LOAD_RELAXED(&last[i]) < addr);
	return slot;
}

/*
 * One step down: the slot for `addr` in a node that was in the tree when the
 * version was looked at last, and what the slot holds. False: no such slot.
 */
MMK_PRIVATE bool
mmk__btree_slot_relaxed(const struct mmk_btree_node *node, uint64_t addr,
    struct mmk_range *range_out, uint32_t *level_out)
{
	unsigned slot = mmk__btree_lower_relaxed(node, addr);

	*level_out = MMKIT_ATOMIC_LOAD_RELAXED(&node->level);
	if (slot >= MMK__BTREE_SLOTS ||
	    slot >= MMKIT_ATOMIC_LOAD_RELAXED(&node->nr))
		return false;
	range_out->start = MMKIT_ATOMIC_LOAD_RELAXED(&node->mark[slot]);
	range_out->last = MMKIT_ATOMIC_LOAD_RELAXED(&node->last[slot]);
	range_out->value = MMKIT_ATOMIC_LOAD_RELAXED(&node->ptr[slot]);
	return true;
}

/*
 * A pointer is followed only after the version has been looked at once more:
 * then it was a node of the tree, and not a value, or a node long gone.
 */
MMK_API enum mmk_err
mmk_btree_find_versioned(const struct mmk_btree *tree, uint64_t addr,
    struct mmk_range *range_out, uint64_t *version_out)
{
	uint64_t version = MMKIT_ATOMIC_LOAD(&tree->version);
	const struct mmk_btree_node *node =
	    MMKIT_ATOMIC_LOAD_RELAXED(&tree->root);
	struct mmk_range range = { 0, 0, NULL };
	uint32_t level = 1;
	bool found = true;

	if (version % 2 != 0)
		return MMK_ERR_AGAIN;
	while (found && level > 0) {
		if (!mmk_btree_is_version(tree, version))
			return MMK_ERR_AGAIN;
		if (node == NULL)
			return MMK_ERR_NOENT;
		MMKIT_YIELD_POINT();
		found = mmk__btree_slot_relaxed(node, addr, &range, &level);
		node = (const struct mmk_btree_node *)range.value;
	}
	if (!mmk_btree_is_version(tree, version))
		return MMK_ERR_AGAIN;
	if (!found || range.start > addr)
		return MMK_ERR_NOENT;
	*range_out = range;
	*version_out = version;
	return MMK_OK;
}
#endif /* MMKIT_IMPLEMENTATION */
