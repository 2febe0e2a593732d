/* SPDX-License-Identifier: MIT
 *
 * mmkit/vm/amap.h: a sparse index of anons, shared copy-on-write
 *
 * WHAT    An amap maps page numbers to anons. Objects refer to amaps: after a
 *         fork two objects refer to one, and whoever writes first copies the
 *         index (not the pages): the first of the two levels of copy-on-write.
 *
 *         The index is a radix tree of 32-way nodes that is only as high as
 *         the pages it holds are far apart:
 *
 *           slots.root   level 1   [ . . x . ]        window: 1024 pages
 *                                      |
 *                        level 0   [ a . a a . ]      anons
 *
 * LAYER   vm. Includes anon.h. Knows no maps.
 * LOCKS   vm->lock guards every field
 * COST    48 bytes an amap and 272 a node; lookup, insert and erase
 *         O(log32(span)), at most 11 levels; copy O(pages held)
 * SOURCE  two-level copy-on-write: Cranor 1998, section 4.4. The index is own;
 *         UVM's amap is four arrays as long as its range is wide.
 *
 * I1      a node holds at least one item, and says how many       mmk_amap_check
 * I2      nr_anons is the number of slots in use                  mmk_amap_check
 */
#ifndef MMKIT_VM_AMAP_H
#define MMKIT_VM_AMAP_H

#include "anon.h"

MMK_BEGIN_DECLS

#define MMK_SLOTS_BITS 5u
#define MMK_SLOTS_FANOUT 32u
#define MMK_SLOTS_LEVELS 11u
#define MMK_AMAP_MAX_PAGE (((uint64_t)1 << 55) - 1) /* 11 levels of 5 bits */

/* Guards: [V] vm->lock */
struct mmk_slots_node {
	uint32_t nr_items;              /* [V] items that are not NULL */
	uint32_t level;                 /* [V] 0: the items are anons */
	void *items[MMK_SLOTS_FANOUT];  /* [V] nodes or anons */
};

struct mmk_amap {
	uint32_t refs;               /* [V] objects that refer to it */
	uint32_t seen;               /* [V] scratch of mmk_check */
	struct mmk_slots_node *root; /* [V] NULL: empty */
	uint64_t window;             /* [V] page >> bits of root, for all pages in it */
	uint64_t nr_anons;           /* [V] */
	struct mmk_list objects;     /* [V] who refers to it */
};

/* errors  NULL: no memory, nothing changed. refs is 1. */
MMK_API MMK_NODISCARD struct mmk_amap *mmk_amap_create(struct mmk_vm *vm);

/* The anon at `page`, or NULL. Takes no reference. */
MMK_API struct mmk_anon *mmk_amap_lookup(const struct mmk_amap *amap,
    uint64_t page);

/* The first anon at or after *page, which becomes its page; NULL: none. */
MMK_API struct mmk_anon *mmk_amap_next(const struct mmk_amap *amap,
    uint64_t *page);

/*
 * mmk_amap_insert: put `anon` at `page`; takes over one reference to it.
 *
 * pre      the slot is empty; page <= MMK_AMAP_MAX_PAGE; amap->refs == 1.
 * errors   MMK_ERR_NOMEM: nothing changed.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_amap_insert(struct mmk_vm *vm,
    struct mmk_amap *amap, uint64_t page, struct mmk_anon *anon);

/* Put another anon where one is. Cannot fail. The old one, with its reference. */
MMK_API struct mmk_anon *mmk_amap_replace(struct mmk_amap *amap, uint64_t page,
    struct mmk_anon *anon);

/* Take the anon from its slot, with its reference. pre: it is there. */
MMK_API struct mmk_anon *mmk_amap_erase(struct mmk_vm *vm,
    struct mmk_amap *amap, uint64_t page);

/* Unref every anon in [first, first + nr_pages): see mmk_anon_unref. */
MMK_API void mmk_amap_erase_range(struct mmk_vm *vm, struct mmk_amap *amap,
    uint64_t first, uint64_t nr_pages);

/*
 * mmk_amap_copy: a new amap that shares every anon, each with a reference more.
 *
 * errors   NULL: no memory, nothing changed.
 * cost     O(anons held)
 */
MMK_API MMK_NODISCARD struct mmk_amap *mmk_amap_copy(struct mmk_vm *vm,
    const struct mmk_amap *amap);

/* One reference less; at 0 every anon is dropped and the amap freed. */
MMK_API void mmk_amap_unref(struct mmk_vm *vm, struct mmk_amap *amap);

/*
 * mmk_amap_may_write_in_place: the one rule of copy-on-write.
 *
 * A page may be written where it stands if and only if this amap is referred
 * to once, the anon is held once, nobody else holds its frame, and nobody has
 * borrowed the page. A pin by somebody else comes with a reference to the
 * frame, so it needs no term of its own; the owner's pin forbids nothing.
 */
MMK_API bool mmk_amap_may_write_in_place(const struct mmk_amap *amap,
    const struct mmk_anon *anon);

/* I1, I2, and every anon held by at least one slot. */
MMK_API bool mmk_amap_check(const struct mmk_amap *amap);

MMK_END_DECLS
#endif /* MMKIT_VM_AMAP_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_VM_AMAP_IMPL)
#define MMKIT_VM_AMAP_IMPL

/* How many low bits of a page number a node of `level` and those below use. */
MMK_PRIVATE unsigned
mmk__slots_bits(uint32_t level)
{
	return (level + 1) * MMK_SLOTS_BITS;
}

/* Which of all possible nodes of `level` has `page` under it. */
MMK_PRIVATE uint64_t
mmk__slots_window(uint64_t page, uint32_t level)
{
	return page >> mmk__slots_bits(level);
}

MMK_PRIVATE unsigned
mmk__slots_index(uint64_t page, uint32_t level)
{
	return (unsigned)(page >> (level * MMK_SLOTS_BITS)) &
	    (MMK_SLOTS_FANOUT - 1);
}

MMK_PRIVATE struct mmk_slots_node *
mmk__slots_node(struct mmk_vm *vm, uint32_t level)
{
	struct mmk_slots_node *node = mmk_pool_alloc(&vm->slots_pool);

	if (node == NULL)
		return NULL;
	MMKIT_MEMSET(node, 0, sizeof(*node));
	node->level = level;
	return node;
}

MMK_PRIVATE void
mmk__slots_put(struct mmk_slots_node *node, uint64_t page, void *item)
{
	node->items[mmk__slots_index(page, node->level)] = item;
	node->nr_items++;
}

MMK_API struct mmk_amap *
mmk_amap_create(struct mmk_vm *vm)
{
	struct mmk_amap *amap = mmk_pool_alloc(&vm->amap_pool);

	if (amap == NULL)
		return NULL;
	MMKIT_MEMSET(amap, 0, sizeof(*amap));
	amap->refs = 1;
	mmk_list_init(&amap->objects);
	return amap;
}

/* The leaf whose window `page` is in, or NULL. */
MMK_PRIVATE struct mmk_slots_node *
mmk__amap_leaf(const struct mmk_amap *amap, uint64_t page)
{
	struct mmk_slots_node *node = amap->root;

	if (node == NULL ||
	    mmk__slots_window(page, node->level) != amap->window)
		return NULL;
	while (node != NULL && node->level > 0)
		node = node->items[mmk__slots_index(page, node->level)];
	return node;
}

MMK_API struct mmk_anon *
mmk_amap_lookup(const struct mmk_amap *amap, uint64_t page)
{
	struct mmk_slots_node *leaf = mmk__amap_leaf(amap, page);

	return leaf != NULL ? leaf->items[mmk__slots_index(page, 0)] : NULL;
}

/*
 * Descend towards the first item at or after *page. Where a node has none
 * left, *page moves to the start of the next node's window and NULL is
 * returned: look again from the root.
 */
MMK_PRIVATE struct mmk_anon *
mmk__amap_descend(const struct mmk_amap *amap, uint64_t *page)
{
	struct mmk_slots_node *node = amap->root;

	for (;;) {
		unsigned index = mmk__slots_index(*page, node->level);
		unsigned first = index;
		unsigned shift = node->level * MMK_SLOTS_BITS;

		while (index < MMK_SLOTS_FANOUT && node->items[index] == NULL)
			index++;
		if (index == MMK_SLOTS_FANOUT) {
			*page = (mmk__slots_window(*page, node->level) + 1)
			    << mmk__slots_bits(node->level);
			return NULL;
		}
		if (index != first)
			*page = ((*page >> shift) + (index - first)) << shift;
		if (node->level == 0)
			return node->items[index];
		node = node->items[index];
	}
}

MMK_API struct mmk_anon *
mmk_amap_next(const struct mmk_amap *amap, uint64_t *page)
{
	uint64_t at = *page;

	while (amap->root != NULL) {
		uint32_t level = amap->root->level;
		struct mmk_anon *anon;

		if (mmk__slots_window(at, level) > amap->window)
			return NULL;
		if (mmk__slots_window(at, level) < amap->window)
			at = amap->window << mmk__slots_bits(level);
		anon = mmk__amap_descend(amap, &at);
		if (anon != NULL) {
			*page = at;
			return anon;
		}
	}
	return NULL;
}

/* Put roots on top until the window of the topmost holds `page`. */
MMK_PRIVATE bool
mmk__amap_grow(struct mmk_vm *vm, struct mmk_amap *amap, uint64_t page)
{
	while (mmk__slots_window(page, amap->root->level) != amap->window) {
		uint32_t level = amap->root->level + 1;
		struct mmk_slots_node *root = mmk__slots_node(vm, level);

		if (root == NULL)
			return false;
		root->items[amap->window & (MMK_SLOTS_FANOUT - 1)] = amap->root;
		root->nr_items = 1;
		amap->root = root;
		amap->window >>= MMK_SLOTS_BITS;
	}
	return true;
}

/* While the root has only one child, that child becomes the root. */
MMK_PRIVATE void
mmk__amap_shrink(struct mmk_vm *vm, struct mmk_amap *amap)
{
	struct mmk_slots_node *root = amap->root;

	while (root != NULL && root->nr_items <= 1 &&
	    (root->level > 0 || root->nr_items == 0)) {
		unsigned index = 0;

		while (root->nr_items == 1 && root->items[index] == NULL)
			index++;
		amap->root = root->nr_items == 1 ? root->items[index] : NULL;
		amap->window = (amap->window << MMK_SLOTS_BITS) | index;
		mmk_pool_free(&vm->slots_pool, root);
		root = amap->root;
	}
}

/*
 * A chain of new nodes, one for each level from 0 up to `top`, that leads to
 * `anon`; NULL and nothing taken if there is no memory for all of them.
 */
MMK_PRIVATE struct mmk_slots_node *
mmk__amap_path(struct mmk_vm *vm, uint32_t top, uint64_t page,
    struct mmk_anon *anon)
{
	void *item = anon;
	uint32_t level = 0;

	for (; level <= top; level++) {
		struct mmk_slots_node *node = mmk__slots_node(vm, level);

		if (node == NULL)
			break;
		mmk__slots_put(node, page, item);
		item = node;
	}
	if (level > top)
		return item;
	while (level-- > 0) {
		struct mmk_slots_node *node = item;

		item = node->items[mmk__slots_index(page, level)];
		mmk_pool_free(&vm->slots_pool, node);
	}
	return NULL;
}

MMK_API enum mmk_err
mmk_amap_insert(struct mmk_vm *vm, struct mmk_amap *amap, uint64_t page,
    struct mmk_anon *anon)
{
	struct mmk_slots_node *node;
	void *item = anon;

	MMK_ASSERT(amap->refs == 1);
	MMK_ASSERT(page <= MMK_AMAP_MAX_PAGE);
	if (amap->root == NULL) {
		amap->root = mmk__amap_path(vm, 0, page, anon);
		if (amap->root == NULL)
			return MMK_ERR_NOMEM;
		amap->window = mmk__slots_window(page, 0);
		amap->nr_anons = 1;
		return MMK_OK;
	}
	if (!mmk__amap_grow(vm, amap, page)) {
		mmk__amap_shrink(vm, amap);
		return MMK_ERR_NOMEM;
	}
	node = amap->root;
	while (node->level > 0 &&
	    node->items[mmk__slots_index(page, node->level)] != NULL)
		node = node->items[mmk__slots_index(page, node->level)];
	MMK_ASSERT(node->items[mmk__slots_index(page, node->level)] == NULL);
	if (node->level > 0)
		item = mmk__amap_path(vm, node->level - 1, page, anon);
	if (item == NULL) {
		mmk__amap_shrink(vm, amap);
		return MMK_ERR_NOMEM;
	}
	mmk__slots_put(node, page, item);
	amap->nr_anons++;
	return MMK_OK;
}

MMK_API struct mmk_anon *
mmk_amap_replace(struct mmk_amap *amap, uint64_t page, struct mmk_anon *anon)
{
	struct mmk_slots_node *leaf = mmk__amap_leaf(amap, page);
	struct mmk_anon *old;

	MMK_ASSERT(amap->refs == 1);
	MMK_ASSERT(leaf != NULL);
	old = leaf->items[mmk__slots_index(page, 0)];
	MMK_ASSERT(old != NULL);
	leaf->items[mmk__slots_index(page, 0)] = anon;
	return old;
}

MMK_API struct mmk_anon *
mmk_amap_erase(struct mmk_vm *vm, struct mmk_amap *amap, uint64_t page)
{
	struct mmk_slots_node *path[MMK_SLOTS_LEVELS];
	struct mmk_slots_node *node = amap->root;
	struct mmk_anon *anon;

	MMK_ASSERT(mmk_amap_lookup(amap, page) != NULL);
	while (node->level > 0) {
		path[node->level] = node;
		node = node->items[mmk__slots_index(page, node->level)];
	}
	anon = node->items[mmk__slots_index(page, 0)];
	amap->nr_anons--;
	for (;;) {
		uint32_t level = node->level;

		node->items[mmk__slots_index(page, level)] = NULL;
		if (--node->nr_items > 0 || node == amap->root)
			break;
		mmk_pool_free(&vm->slots_pool, node);
		node = path[level + 1];
	}
	mmk__amap_shrink(vm, amap);
	return anon;
}

/*
 * Erase what the leaf of `page` has from there on, of nr_pages; but never its
 * last item, with which the leaf would go. False: page is that one.
 */
MMK_PRIVATE bool
mmk__amap_thin(struct mmk_vm *vm, struct mmk_amap *amap, uint64_t page,
    uint64_t nr_pages)
{
	struct mmk_slots_node *leaf = mmk__amap_leaf(amap, page);
	unsigned index = mmk__slots_index(page, 0);
	unsigned end = index +
	    (unsigned)mmk_min(nr_pages, (uint64_t)(MMK_SLOTS_FANOUT - index));

	if (leaf->nr_items == 1)
		return false;
	for (; index < end && leaf->nr_items > 1; index++) {
		struct mmk_anon *anon = leaf->items[index];

		if (anon == NULL)
			continue;
		leaf->items[index] = NULL;
		leaf->nr_items--;
		amap->nr_anons--;
		mmk_anon_unref(vm, anon);
	}
	return true;
}

MMK_API void
mmk_amap_erase_range(struct mmk_vm *vm, struct mmk_amap *amap, uint64_t first,
    uint64_t nr_pages)
{
	uint64_t page = first;

	while (mmk_amap_next(amap, &page) != NULL && page - first < nr_pages)
		if (!mmk__amap_thin(vm, amap, page, nr_pages - (page - first)))
			mmk_anon_unref(vm, mmk_amap_erase(vm, amap, page));
}

MMK_API struct mmk_amap *
mmk_amap_copy(struct mmk_vm *vm, const struct mmk_amap *amap)
{
	struct mmk_amap *copy = mmk_amap_create(vm);
	struct mmk_anon *anon;

	if (copy == NULL)
		return NULL;
	for (uint64_t page = 0; (anon = mmk_amap_next(amap, &page)) != NULL;
	     page++) {
		if (mmk_amap_insert(vm, copy, page, anon) != MMK_OK) {
			mmk_amap_unref(vm, copy);
			return NULL;
		}
		mmk_anon_ref(anon);
	}
	return copy;
}

MMK_API void
mmk_amap_unref(struct mmk_vm *vm, struct mmk_amap *amap)
{
	MMK_ASSERT(amap->refs > 0);
	if (--amap->refs > 0)
		return;
	mmk_amap_erase_range(vm, amap, 0, UINT64_MAX);
	MMK_ASSERT(amap->root == NULL);
	MMK_ASSERT(mmk_list_is_empty(&amap->objects));
	mmk_pool_free(&vm->amap_pool, amap);
}

MMK_API bool
mmk_amap_may_write_in_place(const struct mmk_amap *amap,
    const struct mmk_anon *anon)
{
	const struct mmk_frame *frame = anon->frame;

	return amap->refs == 1 && anon->refs == 1 &&
	    MMKIT_ATOMIC_LOAD(&frame->refs) == 1 &&
	    MMKIT_ATOMIC_LOAD(&frame->loans) == 0;
}

/* Does a node hold as many items as it says, and at least one? */
MMK_PRIVATE bool
mmk__slots_is_sound(const struct mmk_slots_node *node)
{
	uint32_t nr_items = 0;

	for (unsigned i = 0; i < MMK_SLOTS_FANOUT; i++)
		if (node->items[i] != NULL)
			nr_items++;
	return nr_items > 0 && nr_items == node->nr_items;
}

/* I1, of every node: depth first, the way back is in `path`. */
MMK_PRIVATE bool
mmk__amap_check_nodes(const struct mmk_amap *amap)
{
	const struct mmk_slots_node *path[MMK_SLOTS_LEVELS];
	unsigned next[MMK_SLOTS_LEVELS];
	const struct mmk_slots_node *node = amap->root;

	if (node->level >= MMK_SLOTS_LEVELS || !mmk__slots_is_sound(node))
		return false;
	path[node->level] = node;
	next[node->level] = 0;
	for (;;) {
		uint32_t level = node->level;

		while (next[level] < MMK_SLOTS_FANOUT &&
		    node->items[next[level]] == NULL)
			next[level]++;
		if (level == 0 || next[level] == MMK_SLOTS_FANOUT) {
			if (node == amap->root)
				return true;
			node = path[level + 1];
			continue;
		}
		node = node->items[next[level]++];
		if (node->level != level - 1 || !mmk__slots_is_sound(node))
			return false;
		path[node->level] = node;
		next[node->level] = 0;
	}
}

MMK_API bool
mmk_amap_check(const struct mmk_amap *amap)
{
	struct mmk_anon *anon;
	uint64_t nr_anons = 0;

	if (amap->root == NULL)
		return amap->nr_anons == 0;
	if (!mmk__amap_check_nodes(amap))
		return false;
	for (uint64_t page = 0; (anon = mmk_amap_next(amap, &page)) != NULL;
	     page++, nr_anons++)
		if (anon->refs == 0 || mmk_amap_lookup(amap, page) != anon)
			return false;
	return nr_anons == amap->nr_anons;
}
#endif /* MMKIT_IMPLEMENTATION */
