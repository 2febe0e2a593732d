/* SPDX-License-Identifier: MIT
 *
 * mmkit/base/treap.h: an ordered set threaded through its items
 *
 * WHAT    A binary tree whose items embed their node, so that inserting and
 *         removing need no memory and cannot fail. The key is two numbers,
 *         compared as one of 128 bits. The order of keys runs from left to
 *         right; the order of priorities from the root down. A priority is a
 *         hash of the key, so that the shape depends on what is in the tree
 *         and not on what has happened to it, and is balanced with high
 *         probability.
 *
 *                    (20,0) priority 97
 *                    /                \
 *           (10,0) 55                (30,0) 81
 *
 *         btree.h finds faster and packs better; this is for items that must
 *         come and go where memory cannot be asked for.
 * LAYER   base. Includes port.h.
 * LOCKS   none taken; the caller serializes. Readers may share.
 * COST    expected O(log n), about 1.4 log2 n nodes on the way; 32 bytes
 * SOURCE  Seidel and Aragon, Algorithmica 16, 1996, with their split and merge
 *         in place of rotations, and a hash for their random numbers; the hash
 *         is SplitMix64: Steele, Lea and Flood, OOPSLA 2014.
 *
 * I1      left < node < right, by key                  tested by: check
 * I2      no child has a higher priority               tested by: check
 */
#ifndef MMKIT_BASE_TREAP_H
#define MMKIT_BASE_TREAP_H

#include "port.h"

MMK_BEGIN_DECLS

/* [C] caller serializes */
struct mmk_treap_node {
	struct mmk_treap_node *below[2]; /* [C] the lower keys, the higher */
	uint64_t major;                  /* [C] the key; not to be changed */
	uint64_t minor;                  /* [C] while the node is in a tree */
};

struct mmk_treap {
	struct mmk_treap_node *root; /* [C] NULL: empty */
	uint64_t nr_nodes;           /* [C] */
};

/* The item of `type` whose `member` is at `node`, which is not NULL. */
#define MMK_TREAP_ITEM(node, type, member) MMK_CONTAINER_OF(node, type, member)

static inline void
mmk_treap_init(struct mmk_treap *tree)
{
	tree->root = NULL;
	tree->nr_nodes = 0;
}

/* pre: the node is in no tree, and its key is set and not in this one. */
MMK_API void mmk_treap_insert(struct mmk_treap *tree,
    struct mmk_treap_node *node);

/* pre: the node is in this tree. */
MMK_API void mmk_treap_remove(struct mmk_treap *tree,
    struct mmk_treap_node *node);

/* The lowest node whose key is not below (major, minor), or NULL. */
MMK_API struct mmk_treap_node *mmk_treap_find_ge(const struct mmk_treap *tree,
    uint64_t major, uint64_t minor);

/* The highest node whose key is not above (major, minor), or NULL. */
MMK_API struct mmk_treap_node *mmk_treap_find_le(const struct mmk_treap *tree,
    uint64_t major, uint64_t minor);

/*
 * The lowest node above `node`, which need not be in the tree any more; NULL:
 * none. A walk: for (node = mmk_treap_find_ge(tree, 0, 0); node != NULL;
 *     node = mmk_treap_next(tree, node))
 */
MMK_API struct mmk_treap_node *mmk_treap_next(const struct mmk_treap *tree,
    const struct mmk_treap_node *node);

/* Walks the whole tree: both orders, and the count. O(n log n). */
MMK_API bool mmk_treap_check(const struct mmk_treap *tree);

MMK_END_DECLS
#endif /* MMKIT_BASE_TREAP_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_BASE_TREAP_IMPL)
#define MMKIT_BASE_TREAP_IMPL

MMK_PRIVATE uint64_t
mmk__treap_priority(const struct mmk_treap_node *node)
{
	uint64_t x = node->major * UINT64_C(0x9e3779b97f4a7c15) + node->minor;

	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

/* Is the key of `node` below (major, minor)? */
MMK_PRIVATE bool
mmk__treap_is_below(const struct mmk_treap_node *node, uint64_t major,
    uint64_t minor)
{
	return node->major < major ||
	    (node->major == major && node->minor < minor);
}

/*
 * The node takes the place of the first on its way down that has a lower
 * priority; what was there is split by its key into what goes to its left and
 * what goes to its right.
 */
MMK_API void
mmk_treap_insert(struct mmk_treap *tree, struct mmk_treap_node *node)
{
	uint64_t priority = mmk__treap_priority(node);
	struct mmk_treap_node **link = &tree->root, *rest;
	struct mmk_treap_node **end[2] = { &node->below[0], &node->below[1] };

	while (*link != NULL && mmk__treap_priority(*link) >= priority)
		link = &(*link)->below[mmk__treap_is_below(*link, node->major,
		    node->minor)];
	rest = *link;
	*link = node;
	while (rest != NULL) {
		bool is_left = mmk__treap_is_below(rest, node->major,
		    node->minor);

		MMK_ASSERT(is_left || rest->major != node->major ||
		    rest->minor != node->minor);
		*end[!is_left] = rest;
		end[!is_left] = &rest->below[is_left];
		rest = rest->below[is_left];
	}
	*end[0] = NULL;
	*end[1] = NULL;
	tree->nr_nodes++;
}

/* Its two subtrees are merged, by priority, and take its place. */
MMK_API void
mmk_treap_remove(struct mmk_treap *tree, struct mmk_treap_node *node)
{
	struct mmk_treap_node **link = &tree->root;
	struct mmk_treap_node *left = node->below[0], *right = node->below[1];

	while (*link != node) {
		MMK_ASSERT(*link != NULL);
		link = &(*link)->below[mmk__treap_is_below(*link, node->major,
		    node->minor)];
	}
	while (left != NULL && right != NULL) {
		if (mmk__treap_priority(left) >= mmk__treap_priority(right)) {
			*link = left;
			link = &left->below[1];
			left = left->below[1];
		} else {
			*link = right;
			link = &right->below[0];
			right = right->below[0];
		}
	}
	*link = left != NULL ? left : right;
	tree->nr_nodes--;
}

MMK_API struct mmk_treap_node *
mmk_treap_find_ge(const struct mmk_treap *tree, uint64_t major, uint64_t minor)
{
	struct mmk_treap_node *node = tree->root, *found = NULL;

	while (node != NULL) {
		bool is_below = mmk__treap_is_below(node, major, minor);

		found = is_below ? found : node;
		node = node->below[is_below];
	}
	return found;
}

MMK_API struct mmk_treap_node *
mmk_treap_find_le(const struct mmk_treap *tree, uint64_t major, uint64_t minor)
{
	struct mmk_treap_node *node = tree->root, *found = NULL;

	while (node != NULL) {
		bool is_in = mmk__treap_is_below(node, major, minor) ||
		    (node->major == major && node->minor == minor);

		found = is_in ? node : found;
		node = node->below[is_in];
	}
	return found;
}

MMK_API struct mmk_treap_node *
mmk_treap_next(const struct mmk_treap *tree, const struct mmk_treap_node *node)
{
	if (node->minor != UINT64_MAX)
		return mmk_treap_find_ge(tree, node->major, node->minor + 1);
	if (node->major != UINT64_MAX)
		return mmk_treap_find_ge(tree, node->major + 1, 0);
	return NULL;
}

/*
 * Every node is found by its own key, which I1 promises, and each is asked for
 * after the one before it: so a wrong link shows as a node that is missed.
 */
MMK_API bool
mmk_treap_check(const struct mmk_treap *tree)
{
	const struct mmk_treap_node *node = mmk_treap_find_ge(tree, 0, 0);
	uint64_t nr_nodes = 0;

	for (; node != NULL; node = mmk_treap_next(tree, node)) {
		if (mmk_treap_find_le(tree, node->major, node->minor) != node)
			return false;
		for (unsigned i = 0; i < 2; i++) {
			const struct mmk_treap_node *child = node->below[i];

			if (child == NULL)
				continue;
			if (mmk__treap_priority(child) >
			    mmk__treap_priority(node))
				return false;
			if (mmk__treap_is_below(child, node->major,
			        node->minor) == (i == 1))
				return false;
		}
		if (++nr_nodes > tree->nr_nodes)
			return false;
	}
	return nr_nodes == tree->nr_nodes;
}
#endif /* MMKIT_IMPLEMENTATION */
