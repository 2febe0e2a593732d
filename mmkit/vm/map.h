/* SPDX-License-Identifier: MIT
 *
 * mmkit/vm/map.h: an address space: entries over objects
 *
 * WHAT    A map is an ordered set of disjoint entries. An entry shows pages of
 *         an object (lower), through an optional private layer (upper):
 *
 *             entry   [start_va ............ end_va)
 *               upper  -> object -> amap    private pages, copy-on-write
 *               lower  -> object -> amap    what was mapped
 *
 *         Private and shared differ only in whether writes may reach the lower
 *         object. Splitting advances both page numbers; neighbours that
 *         continue each other are joined.
 *
 *         The object may be a sub-map (submap.h): a map without page tables,
 *         shown in others. All operations here work on one as well.
 *
 * LAYER   vm. Includes object.h. Knows no page tables: all it asks of them is
 *         in pmap.h.
 * LOCKS   map->mutex (MMK_RANK_MAP) guards the tree and every entry's fields;
 *         it is held through the TLB shootdown of a change, so an address is
 *         never reused while a CPU can still reach what was there. vm->lock is
 *         taken inside it.
 * COST    find, insert, remove O(log entries); 96 bytes an entry
 * SOURCE  Cranor 1998, chapter 4; the joining rules are own.
 *
 * I1      entries are disjoint, not empty, in [min_va, max_va)        mmk_check
 * I2      entry->map is the map whose tree holds it                   mmk_check
 * I3      a writable translation of a private page exists only where
 *         mmk_amap_may_write_in_place holds                           mmk_check
 */
#ifndef MMKIT_VM_MAP_H
#define MMKIT_VM_MAP_H

#include "object.h"

MMK_BEGIN_DECLS

enum mmk_inherit {
	MMK_INHERIT_COPY,  /* the child gets a copy, made on write */
	MMK_INHERIT_SHARE, /* parent and child see each other's writes */
	MMK_INHERIT_NONE   /* the child has nothing there */
};

struct mmk_map;
struct mmk_map_args;

/* What a map without page tables does instead of changing them. */
struct mmk_map_inside {
	/* Wherever pages of [start_va, end_va) are shown, only rights that are
	 * in `prot` are left, and it is flushed. The map's lock is held. */
	void (*narrow)(struct mmk_map *map, mmk_va start_va, mmk_va end_va,
	    unsigned prot);
	/* May this be inserted? errors as mmk_map_insert. Same lock. */
	enum mmk_err (*may_insert)(struct mmk_map *map,
	    const struct mmk_map_args *args);
};

/*
 * Guards: [I] immutable after init  [M] this->mutex; of a sub-map
 * vm->submap_mutex  [V] vm->lock. The kernel
 * may set the limits, with the mutex held.
 */
struct mmk_map {
	struct mmk_vm *vm;        /* [I] */
	const struct mmk_map_inside *inside; /* [I] of a sub-map; NULL: it has
				   * page tables */
	struct mmk_object *object; /* [I] the sub-map, as it is shown; or NULL */
	struct mmk_pmap pmap;     /* its own locks; of a sub-map: nothing */
	MMKIT_MUTEX_T mutex;
	struct mmk_btree tree;    /* [M] */
	mmk_va min_va;            /* [I] */
	mmk_va max_va;            /* [I] */
	uint64_t nr_entries;      /* [M] */
	uint64_t nr_pages;        /* [M] addresses in use, in pages */
	uint64_t limit_pages;     /* [M] of nr_pages; UINT64_MAX: none */
	uint64_t stack_limit_pages; /* [M] of one STACK entry; at first 8 MiB */
	uint64_t stack_guard_pages; /* [M] kept free below it; at first 1 MiB */
	mmk_va top_va;            /* [M] what may lie anywhere lies below; at first
				   * max_va. Room for a stack to grow. */
	unsigned pmap_flags;      /* [I] for every translation: MMK_PMAP_USER */
	void *owner;              /* [I] the kernel's own: whose space this is */
	struct mmk_list ended;    /* [M] objects to destroy once it is let go */
	bool has_submaps;         /* [M] it is a sub-map, or shows one, or did: its
				   * lock is, or includes, vm->submap_mutex */
	struct mmk_link of_vm;    /* [V] on vm->maps */
};

/* What to insert. Zero a field that does not matter. */
struct mmk_map_args {
	mmk_va start_va;       /* a hint unless fixed or exclusive */
	uint64_t nr_pages;
	unsigned prot;
	unsigned max_prot;
	enum mmk_inherit inherit;
	unsigned entry_flags;  /* MMK_ENTRY_* */
	bool fixed;            /* at start_va, replacing what is there */
	bool exclusive;        /* at start_va or not at all */
	mmk_va below_va;       /* not fixed: the whole range below this; 0: any */
	struct mmk_oref lower; /* a reference is taken */
};

/* As lower.page: page numbers follow addresses. For objects whose pages are all
 * alike; neighbours can then be joined wherever they lie. */
#define MMK_PAGE_BY_ADDRESS UINT64_MAX

/*
 * mmk_map_init: an empty map of [min_va, max_va).
 *
 * pre      bounds page aligned, min_va < max_va <= 2^63.
 * errors   MMK_ERR_NOMEM: nothing changed.
 */
#define mmk_map_init MMK_STAMP(mmk_map_init)
MMK_API MMK_NODISCARD enum mmk_err mmk_map_init(struct mmk_map *map,
    struct mmk_vm *vm, mmk_va min_va, mmk_va max_va, void *owner);

/* Removes every entry, then frees the tables. Never fails. */
MMK_API void mmk_map_fini(struct mmk_map *map);

/*
 * mmk_map_insert: map args->nr_pages of args->lower.
 *
 * locks    takes and drops the mutex
 * pre      prot is within max_prot; not both fixed and exclusive.
 * out      *start_va_out. Nothing is entered into the page table (S0.6). Not
 *          fixed: the hint if it is free, else the highest gap below top_va.
 *          Device memory cannot be copied: its entries are never private.
 * errors   MMK_ERR_INVAL: bounds, or a sub-map or something in one that may not
 *          be (submap.h); MMK_ERR_EXIST: exclusive, and taken;
 *          MMK_ERR_NOSPACE; MMK_ERR_LIMIT, also: sub-maps too deep;
 *          MMK_ERR_NOMEM: nothing changed.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_map_insert(struct mmk_map *map,
    const struct mmk_map_args *args, mmk_va *start_va_out);

/*
 * mmk_map_remove: nothing is mapped in [start_va, end_va) any more.
 *
 * errors   MMK_ERR_INVAL: bounds. MMK_ERR_NOMEM: an entry must be split and there is no memory for
 *          it; nothing changed. Whole entries never fail.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_map_remove(struct mmk_map *map,
    mmk_va start_va, mmk_va end_va);

/*
 * mmk_map_split: an entry boundary at `va` (S4.7). At a boundary or in a hole
 * nothing happens. errors MMK_ERR_INVAL: unaligned; MMK_ERR_NOMEM.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_map_split(struct mmk_map *map,
    mmk_va va);

/* Is every page of the range in some entry? */
MMK_API bool mmk_map_is_covered(struct mmk_map *map, mmk_va start_va,
    mmk_va end_va);

/* What a person or /proc wants to know of an entry; no references. */
struct mmk_entry_info {
	mmk_va start_va, end_va;
	unsigned prot, max_prot, flags;
	enum mmk_inherit inherit;
	struct mmk_object *object; /* of lower */
	uint64_t object_page;
	uint64_t nr_private;       /* pages in the upper layer, of this range */
	uint64_t nr_translations;  /* pages in the page table */
};

/* The first entry that ends beyond `va`; false: none. Iterate with end_va. */
MMK_API bool mmk_map_entry_info(struct mmk_map *map, mmk_va va,
    struct mmk_entry_info *info_out);

/* The entry that contains `va`, or NULL. Mutex held. */
MMK_API struct mmk_entry *mmk_map_lookup(struct mmk_map *map, mmk_va va);

MMK_END_DECLS
#endif /* MMKIT_VM_MAP_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_VM_MAP_IMPL)
#define MMKIT_VM_MAP_IMPL

/*
 * What a change may need is taken before it begins: entries for the splits and
 * btree nodes for all insertions. After that nothing can fail.
 */
struct mmk__stash {
	struct mmk_map *map;
	unsigned nr_entries;
	struct mmk_entry *entries[3];
};

MMK_PRIVATE void
mmk__stash_drop(struct mmk__stash *stash)
{
	while (stash->nr_entries > 0)
		mmk_pool_free(&stash->map->vm->entry_pool,
		    stash->entries[--stash->nr_entries]);
}

/* errors NOMEM: nothing is held. */
MMK_PRIVATE enum mmk_err
mmk__stash_fill(struct mmk__stash *stash, struct mmk_map *map,
    unsigned nr_entries, unsigned nr_inserts)
{
	stash->map = map;
	stash->nr_entries = 0;
	MMK_ASSERT(nr_entries <= 3);
	while (stash->nr_entries < nr_entries) {
		struct mmk_entry *entry = mmk_pool_alloc(&map->vm->entry_pool);

		if (entry == NULL)
			break;
		stash->entries[stash->nr_entries++] = entry;
	}
	if (stash->nr_entries == nr_entries &&
	    mmk_btree_reserve(&map->tree, nr_inserts) == MMK_OK)
		return MMK_OK;
	mmk__stash_drop(stash);
	return MMK_ERR_NOMEM;
}

MMK_PRIVATE struct mmk_entry *
mmk__stash_take(struct mmk__stash *stash)
{
	MMK_ASSERT(stash->nr_entries > 0);
	return stash->entries[--stash->nr_entries];
}

/* All but the page tables. */
MMK_PRIVATE void
mmk__map_setup(struct mmk_map *map, struct mmk_vm *vm, mmk_va min_va,
    mmk_va max_va, void *owner)
{
	MMK_ASSERT(mmk_is_page_aligned(min_va) && mmk_is_page_aligned(max_va));
	MMK_ASSERT(min_va < max_va && max_va <= (uint64_t)1 << 63);
	MMKIT_MEMSET(map, 0, sizeof(*map));
	map->vm = vm;
	map->min_va = min_va;
	map->max_va = max_va;
	map->limit_pages = UINT64_MAX;
	map->top_va = max_va;
	map->stack_limit_pages = mmk_pages_of_bytes((uint64_t)8 << 20);
	map->stack_guard_pages = mmk_pages_of_bytes((uint64_t)1 << 20);
	map->pmap_flags = MMK_PMAP_USER;
	map->owner = owner;
	MMKIT_MUTEX_INIT(&map->mutex, "map", MMK_RANK_MAP);
	mmk_btree_init(&map->tree, &vm->map_nodes);
	mmk_list_init(&map->ended);
	mmk_link_init(&map->of_vm);
}

MMK_API enum mmk_err
mmk_map_init(struct mmk_map *map, struct mmk_vm *vm, mmk_va min_va,
    mmk_va max_va, void *owner)
{
	enum mmk_err err;

	mmk__map_setup(map, vm, min_va, max_va, owner);
	err = mmk_pmap_init(&map->pmap, vm->pmap_sys, map);
	if (err != MMK_OK)
		return err;
	MMKIT_LOCK(&vm->lock);
	mmk_list_push_back(&vm->maps, &map->of_vm);
	MMKIT_UNLOCK(&vm->lock);
	return MMK_OK;
}

/* The lock of a map. A sub-map's own mutex guards nothing. */
MMK_PRIVATE void
mmk__map_lock(struct mmk_map *map)
{
	MMKIT_MUTEX_LOCK(&map->mutex);
	if (map->has_submaps)
		MMKIT_MUTEX_LOCK(&map->vm->submap_mutex);
}

/* Nothing has ended since, or somebody else will see to that. */
MMK_PRIVATE void
mmk__map_let_go(struct mmk_map *map)
{
	if (map->has_submaps)
		MMKIT_MUTEX_UNLOCK(&map->vm->submap_mutex);
	MMKIT_MUTEX_UNLOCK(&map->mutex);
}

/* The map, which is locked, is about to show a sub-map. */
MMK_PRIVATE void
mmk__map_lock_submaps(struct mmk_map *map)
{
	if (map->has_submaps)
		return;
	map->has_submaps = true;
	MMKIT_MUTEX_LOCK(&map->vm->submap_mutex);
}

MMK_API struct mmk_entry *
mmk_map_lookup(struct mmk_map *map, mmk_va va)
{
	struct mmk_range range;

	MMK_ASSERT(MMKIT_MUTEX_HELD(&map->mutex));
	return mmk_btree_find(&map->tree, va, &range) ? range.value : NULL;
}

/* The first entry that ends beyond `va` and starts before `end_va`, or NULL. */
MMK_PRIVATE struct mmk_entry *
mmk__map_first(const struct mmk_map *map, mmk_va va, mmk_va end_va)
{
	struct mmk_range range;

	if (!mmk_btree_find_ge(&map->tree, va, &range) || range.start >= end_va)
		return NULL;
	return range.value;
}

MMK_PRIVATE bool
mmk__map_is_free(const struct mmk_map *map, mmk_va start_va, mmk_va end_va)
{
	return mmk__map_first(map, start_va, end_va) == NULL;
}

/* Is [start_va, end_va) aligned, not empty and inside the map? */
MMK_PRIVATE bool
mmk__map_is_range(const struct mmk_map *map, mmk_va start_va, mmk_va end_va)
{
	return mmk_is_page_aligned(start_va) && mmk_is_page_aligned(end_va) &&
	    start_va < end_va && start_va >= map->min_va &&
	    end_va <= map->max_va;
}

/* `oref` of an entry names an object: the object knows the entry. */
MMK_PRIVATE void
mmk__oref_attach(struct mmk_oref *oref, struct mmk_link *link)
{
	if (oref->object == NULL)
		return;
	mmk_list_push_back(&oref->object->entries, link);
	oref->object->nr_entries++;
	oref->object->refs++;
}

/*
 * What is not shown by this entry any more is freed, unless somebody else
 * shows it or could ask for it. The translations are gone already.
 */
MMK_PRIVATE void
mmk__object_trim(struct mmk_object *object, uint64_t first, uint64_t nr_pages)
{
	if (object->amap == NULL || nr_pages == 0)
		return;
	if ((object->flags & MMK_OBJECT_UPPER) != 0) {
		if (object->amap->refs > 1)
			object->flags |= MMK_OBJECT_HOLES;
		else if ((object->flags & MMK_OBJECT_SHARED) != 0)
			mmk__object_sweep(object, first, nr_pages);
		else
			mmk_amap_erase_range(object->vm, object->amap, first,
			    nr_pages);
	} else if (object->ops->get == NULL && object->refs ==
	    object->nr_entries) {
		mmk__object_sweep(object, first, nr_pages);
	}
}

/* The other way. Returns the object if it is to be destroyed, else NULL. */
MMK_PRIVATE struct mmk_object *
mmk__oref_detach(struct mmk_oref *oref, struct mmk_link *link,
    uint64_t nr_pages)
{
	struct mmk_object *object = oref->object;

	if (object == NULL)
		return NULL;
	mmk_list_remove(link);
	object->nr_entries--;
	if (mmk__object_release(object))
		return object;
	mmk__object_trim(object, oref->page, nr_pages);
	return NULL;
}

/* Both orefs of a new entry. vm->lock held. */
MMK_PRIVATE void
mmk__entry_attach(struct mmk_entry *entry)
{
	mmk_link_init(&entry->of_lower);
	mmk_link_init(&entry->of_upper);
	mmk__oref_attach(&entry->lower, &entry->of_lower);
	mmk__oref_attach(&entry->upper, &entry->of_upper);
}

/* pre: no translation of the entry is left, it is in no tree. */
MMK_PRIVATE void
mmk__entry_destroy(struct mmk_entry *entry)
{
	struct mmk_vm *vm = entry->map->vm;
	uint64_t nr_pages = mmk_entry_nr_pages(entry);
	struct mmk_object *upper, *lower;

	MMKIT_LOCK(&vm->lock);
	upper = mmk__oref_detach(&entry->upper, &entry->of_upper, nr_pages);
	lower = mmk__oref_detach(&entry->lower, &entry->of_lower, nr_pages);
	MMKIT_UNLOCK(&vm->lock);
	if (upper != NULL)
		mmk_list_push_back(&entry->map->ended, &upper->of_vm);
	if (lower != NULL)
		mmk_list_push_back(&entry->map->ended, &lower->of_vm);
	mmk_pool_free(&vm->entry_pool, entry);
}

/*
 * Let go of the mutex after entries were destroyed: a pager's destroy may wait,
 * so it is called with no lock held.
 */
MMK_PRIVATE void
mmk__map_unlock(struct mmk_map *map)
{
	struct mmk_list ended;
	struct mmk_link *link;

	mmk_list_init(&ended);
	while ((link = mmk_list_pop_front(&map->ended)) != NULL)
		mmk_list_push_back(&ended, link);
	mmk__map_let_go(map);
	while ((link = mmk_list_pop_front(&ended)) != NULL)
		mmk__object_destroy(
		    MMK_LIST_ITEM(link, struct mmk_object, of_vm));
}

/* Into the tree. pre: nothing is there, and a node was reserved. */
MMK_PRIVATE void
mmk__map_link(struct mmk_map *map, struct mmk_entry *entry)
{
	enum mmk_err err = mmk_btree_insert(&map->tree, entry->start_va,
	    entry->end_va - 1, entry);

	MMK_ASSERT(err == MMK_OK);
	map->nr_entries++;
	map->nr_pages += mmk_entry_nr_pages(entry);
}

MMK_PRIVATE void
mmk__map_unlink(struct mmk_map *map, struct mmk_entry *entry)
{
	void *value = mmk_btree_erase(&map->tree, entry->start_va);

	MMK_ASSERT(value == entry);
	map->nr_entries--;
	map->nr_pages -= mmk_entry_nr_pages(entry);
}

/* Other ends for an entry, in the same place of the order. */
MMK_PRIVATE void
mmk__map_set_ends(struct mmk_map *map, struct mmk_entry *entry,
    mmk_va start_va, mmk_va end_va)
{
	map->nr_pages -= mmk_entry_nr_pages(entry);
	mmk_btree_resize(&map->tree, entry->start_va, start_va, end_va - 1);
	entry->start_va = start_va;
	entry->end_va = end_va;
	map->nr_pages += mmk_entry_nr_pages(entry);
}

/* The rule of splitting: the second half starts further on in its objects. */
MMK_PRIVATE void
mmk__map_clip(struct mmk_map *map, mmk_va va, struct mmk__stash *stash)
{
	struct mmk_entry *entry = mmk_map_lookup(map, va);
	struct mmk_entry *tail;

	if (entry == NULL || entry->start_va == va)
		return;
	tail = mmk__stash_take(stash);
	MMKIT_LOCK(&map->vm->lock);
	*tail = *entry;
	tail->start_va = va;
	tail->lower.page = mmk_entry_page(entry, &entry->lower, va);
	if (tail->upper.object != NULL)
		tail->upper.page = mmk_entry_page(entry, &entry->upper, va);
	mmk__map_set_ends(map, entry, entry->start_va, va);
	mmk__entry_attach(tail);
	MMKIT_UNLOCK(&map->vm->lock);
	mmk__map_link(map, tail);
}

/* How many splits it takes to have boundaries at both addresses. */
MMK_PRIVATE unsigned
mmk__map_nr_clips(struct mmk_map *map, mmk_va start_va, mmk_va end_va)
{
	struct mmk_entry *first = mmk_map_lookup(map, start_va);
	struct mmk_entry *last = mmk_map_lookup(map, end_va);

	unsigned nr_clips = 0;

	if (first != NULL && first->start_va != start_va)
		nr_clips++;
	if (last != NULL && last->start_va != end_va)
		nr_clips++;
	return nr_clips;
}

MMK_API enum mmk_err
mmk_map_split(struct mmk_map *map, mmk_va va)
{
	struct mmk__stash stash;
	enum mmk_err err;

	if (!mmk_is_page_aligned(va))
		return MMK_ERR_INVAL;
	mmk__map_lock(map);
	err = mmk__stash_fill(&stash, map, 1, 1);
	if (err == MMK_OK) {
		mmk__map_clip(map, va, &stash);
		mmk__stash_drop(&stash);
	}
	mmk__map_let_go(map);
	return err;
}

/* A private layer that pages of its neighbourhood may still join. */
MMK_PRIVATE bool
mmk__upper_is_plain(const struct mmk_object *upper)
{
	return (upper->flags & (MMK_OBJECT_MOVED | MMK_OBJECT_HOLES |
				   MMK_OBJECT_SHARED)) == 0;
}

MMK_PRIVATE bool
mmk__entries_may_join(const struct mmk_entry *a, const struct mmk_entry *b)
{
	uint64_t nr_pages = mmk_entry_nr_pages(a);

	if (a->end_va != b->start_va || a->prot != b->prot ||
	    a->max_prot != b->max_prot || a->inherit != b->inherit ||
	    a->flags != b->flags || a->lower.object != b->lower.object ||
	    a->lower.page + nr_pages != b->lower.page)
		return false;
	if (a->upper.object == b->upper.object)
		return a->upper.object == NULL ||
		    a->upper.page + nr_pages == b->upper.page;
	if (a->upper.object == NULL)
		return mmk__upper_is_plain(b->upper.object);
	return b->upper.object == NULL && mmk__upper_is_plain(a->upper.object);
}

/* If the entries that meet at `va` continue each other, they become one. */
MMK_PRIVATE void
mmk__map_join(struct mmk_map *map, mmk_va va)
{
	struct mmk_entry *a = mmk_map_lookup(map, va - 1);
	struct mmk_entry *b = mmk_map_lookup(map, va);
	struct mmk_vm *vm = map->vm;

	if (a == NULL || b == NULL || a == b || !mmk__entries_may_join(a, b))
		return;
	mmk__map_unlink(map, b);
	MMKIT_LOCK(&vm->lock);
	if (a->upper.object == NULL && b->upper.object != NULL) {
		a->upper = b->upper;
		a->upper.page -= mmk_entry_nr_pages(a);
		mmk__oref_attach(&a->upper, &a->of_upper);
	}
	mmk__map_set_ends(map, a, a->start_va, b->end_va);
	/* What b showed, a shows now: nothing of it is freed. */
	b->start_va = b->end_va;
	MMKIT_UNLOCK(&vm->lock);
	mmk__entry_destroy(b);
}

/* A translation that a pager's map had given is gone: tell it. */
MMK_PRIVATE void
mmk__entry_give_back(struct mmk_entry *entry, uint64_t page, mmk_pa pa)
{
	struct mmk_object *object = entry->lower.object;

	if (object->ops->unmap != NULL)
		object->ops->unmap(object, entry, page, pa);
	else
		(void)mmk_pa_unref(entry->map->vm->phys, pa);
}

#define MMK__GIVE_BACK_BATCH 8

/* Remove, flush, and only then give back, what the pager's map established. */
MMK_PRIVATE void
mmk__entry_unestablish(struct mmk_entry *entry, mmk_va start_va, mmk_va end_va)
{
	struct mmk_pmap *pmap = &entry->map->pmap;
	struct mmk_translation found[MMK__GIVE_BACK_BATCH];
	struct mmk_gather gather;
	unsigned nr_found;

	if (entry->lower.object->ops->map == NULL)
		return;
	do {
		struct mmk_translation *t = found;

		nr_found = 0;
		mmk_gather_init(&gather, pmap->sys);
		while (nr_found < MMK__GIVE_BACK_BATCH &&
		    mmk_pmap_next(pmap, start_va, end_va, t)) {
			start_va = t->va + MMK_PAGE_BYTES;
			if ((t->flags & MMK_PMAP_SOFT) == 0)
				continue;
			mmk_pmap_remove(pmap, t->va, start_va, &gather);
			t++;
			nr_found++;
		}
		mmk_gather_finish(&gather);
		for (unsigned i = 0; i < nr_found; i++)
			mmk__entry_give_back(entry, mmk_entry_page(entry,
			    &entry->lower, found[i].va), found[i].pa);
	} while (nr_found == MMK__GIVE_BACK_BATCH);
}

/* Translations of the range have no right but those of prot, in any TLB. */
MMK_PRIVATE void
mmk__map_narrow(struct mmk_map *map, mmk_va start_va, mmk_va end_va,
    unsigned prot)
{
	struct mmk_gather gather;

	if (map->inside != NULL) {
		map->inside->narrow(map, start_va, end_va, prot);
		return;
	}
	mmk_gather_init(&gather, map->pmap.sys);
	if (prot == MMK_PROT_NONE)
		mmk_pmap_remove(&map->pmap, start_va, end_va, &gather);
	else
		mmk_pmap_protect(&map->pmap, start_va, end_va, prot, &gather);
	mmk_gather_finish(&gather);
}

/* No translation is left in the range, in any TLB. */
MMK_PRIVATE void
mmk__map_forget(struct mmk_map *map, mmk_va start_va, mmk_va end_va)
{
	for (mmk_va va = start_va; va < end_va;) {
		struct mmk_entry *entry = mmk__map_first(map, va, end_va);

		if (entry == NULL)
			break;
		mmk__entry_unestablish(entry, mmk_max(entry->start_va, va),
		    mmk_min(entry->end_va, end_va));
		va = entry->end_va;
	}
	mmk__map_narrow(map, start_va, end_va, MMK_PROT_NONE);
}

/* Nothing is mapped in the range: first the translations, then the entries. */
MMK_PRIVATE void
mmk__map_clear(struct mmk_map *map, mmk_va start_va, mmk_va end_va,
    struct mmk__stash *stash)
{
	struct mmk_entry *entry;

	if (mmk__map_is_free(map, start_va, end_va))
		return;
	mmk__map_clip(map, start_va, stash);
	mmk__map_clip(map, end_va, stash);
	mmk__map_forget(map, start_va, end_va);
	while ((entry = mmk__map_first(map, start_va, end_va)) != NULL) {
		mmk__map_unlink(map, entry);
		mmk__entry_destroy(entry);
	}
}

MMK_API void
mmk_map_fini(struct mmk_map *map)
{
	mmk__map_lock(map);
	mmk__map_clear(map, map->min_va, map->max_va, NULL);
	mmk__map_unlock(map);
	MMKIT_LOCK(&map->vm->lock);
	mmk_list_remove(&map->of_vm);
	MMKIT_UNLOCK(&map->vm->lock);
	mmk_btree_fini(&map->tree);
	mmk_pmap_fini(&map->pmap);
}

/* As mmk_map_remove, with the mutex held. pre: a good range. */
MMK_PRIVATE enum mmk_err
mmk__map_remove_locked(struct mmk_map *map, mmk_va start_va, mmk_va end_va)
{
	struct mmk__stash stash;
	unsigned nr_clips = mmk__map_nr_clips(map, start_va, end_va);
	enum mmk_err err = mmk__stash_fill(&stash, map, nr_clips, nr_clips);

	if (err == MMK_OK) {
		mmk__map_clear(map, start_va, end_va, &stash);
		mmk__stash_drop(&stash);
	}
	return err;
}

MMK_API enum mmk_err
mmk_map_remove(struct mmk_map *map, mmk_va start_va, mmk_va end_va)
{
	enum mmk_err err;

	if (!mmk__map_is_range(map, start_va, end_va))
		return MMK_ERR_INVAL;
	mmk__map_lock(map);
	err = mmk__map_remove_locked(map, start_va, end_va);
	mmk__map_unlock(map);
	return err;
}

/* Where a new entry goes. */
MMK_PRIVATE enum mmk_err
mmk__map_choose(struct mmk_map *map, const struct mmk_map_args *args,
    mmk_va *start_va_out)
{
	uint64_t bytes = mmk_bytes_of_pages(args->nr_pages);
	mmk_va end_va = args->start_va + bytes;
	mmk_va below_va = args->below_va != 0 && args->below_va < map->max_va
	    ? args->below_va : map->max_va;
	mmk_va top_va = mmk_min(below_va, map->top_va);
	bool is_range = end_va > args->start_va &&
	    mmk__map_is_range(map, args->start_va, end_va);

	if (args->fixed || args->exclusive) {
		if (!is_range)
			return MMK_ERR_INVAL;
		if (!args->fixed &&
		    !mmk__map_is_free(map, args->start_va, end_va))
			return MMK_ERR_EXIST;
	} else if (args->start_va == 0 || !is_range || end_va > below_va ||
	    !mmk__map_is_free(map, args->start_va, end_va)) {
		if (top_va <= map->min_va)
			return MMK_ERR_NOSPACE;
		return mmk_btree_gap_highest(&map->tree, bytes, MMK_PAGE_BYTES,
		    map->min_va, top_va - 1, start_va_out);
	}
	*start_va_out = args->start_va;
	return MMK_OK;
}

/* Pages of the range that are in some entry. */
MMK_PRIVATE uint64_t
mmk__map_nr_covered(const struct mmk_map *map, mmk_va start_va, mmk_va end_va)
{
	uint64_t nr_pages = 0;
	mmk_va va = start_va;
	struct mmk_entry *entry;

	while ((entry = mmk__map_first(map, va, end_va)) != NULL) {
		mmk_va from = mmk_max(entry->start_va, va);

		va = mmk_min(entry->end_va, end_va);
		nr_pages += mmk_pages_of_bytes(va - from);
		if (va == end_va)
			break;
	}
	return nr_pages;
}

MMK_PRIVATE bool
mmk__map_is_within_limit(const struct mmk_map *map, mmk_va start_va,
    uint64_t nr_pages)
{
	uint64_t nr_kept = map->nr_pages - mmk__map_nr_covered(map, start_va,
	    start_va + mmk_bytes_of_pages(nr_pages));

	return nr_kept <= map->limit_pages &&
	    nr_pages <= map->limit_pages - nr_kept;
}

MMK_PRIVATE void
mmk__entry_init(struct mmk_entry *entry, struct mmk_map *map,
    const struct mmk_map_args *args, mmk_va start_va)
{
	MMKIT_MEMSET(entry, 0, sizeof(*entry));
	entry->map = map;
	entry->start_va = start_va;
	entry->end_va = start_va + mmk_bytes_of_pages(args->nr_pages);
	entry->lower = args->lower;
	if (args->lower.page == MMK_PAGE_BY_ADDRESS)
		entry->lower.page = mmk_pages_of_bytes(start_va);
	entry->prot = (uint8_t)args->prot;
	entry->max_prot = (uint8_t)args->max_prot;
	entry->inherit = (uint8_t)args->inherit;
	entry->flags = (uint8_t)args->entry_flags;
	if ((args->lower.object->flags & MMK_OBJECT_DEVICE) != 0)
		entry->flags &= (uint8_t)~MMK_ENTRY_PRIVATE;
}

/* Link a new entry, joined to its neighbours where it continues them. */
MMK_PRIVATE void
mmk__map_put(struct mmk_map *map, struct mmk_entry *entry)
{
	mmk_va start_va = entry->start_va, end_va = entry->end_va;

	MMKIT_LOCK(&map->vm->lock);
	mmk__entry_attach(entry);
	MMKIT_UNLOCK(&map->vm->lock);
	mmk__map_link(map, entry);
	mmk__map_join(map, start_va);
	mmk__map_join(map, end_va);
}

MMK_PRIVATE enum mmk_err
mmk__map_insert_locked(struct mmk_map *map, const struct mmk_map_args *args,
    mmk_va *start_va_out)
{
	struct mmk__stash stash;
	struct mmk_entry *entry;
	mmk_va start_va;
	enum mmk_err err = mmk__map_choose(map, args, &start_va);
	unsigned nr_entries = args->fixed ? 3 : 1;

	if (err != MMK_OK)
		return err;
	if (!mmk__map_is_within_limit(map, start_va, args->nr_pages))
		return MMK_ERR_LIMIT;
	err = mmk__stash_fill(&stash, map, nr_entries, nr_entries);
	if (err != MMK_OK)
		return err;
	entry = mmk__stash_take(&stash);
	mmk__entry_init(entry, map, args, start_va);
	if (args->fixed)
		mmk__map_clear(map, start_va, entry->end_va, &stash);
	mmk__map_put(map, entry);
	mmk__stash_drop(&stash);
	*start_va_out = start_va;
	return MMK_OK;
}

/* What a sub-map is asked about, and what it cannot be. */
MMK_PRIVATE MMK_NOINLINE enum mmk_err
mmk__map_may_insert(struct mmk_map *map, const struct mmk_map_args *args)
{
	if (mmk_object_is_submap(args->lower.object)) {
		if ((args->entry_flags &
		        (MMK_ENTRY_PRIVATE | MMK_ENTRY_STACK)) != 0)
			return MMK_ERR_INVAL;
		mmk__map_lock_submaps(map);
	}
	return map->inside != NULL ? map->inside->may_insert(map, args)
	                           : MMK_OK;
}

MMK_API enum mmk_err
mmk_map_insert(struct mmk_map *map, const struct mmk_map_args *args,
    mmk_va *start_va_out)
{
	enum mmk_err err = MMK_OK;

	MMK_ASSERT(args->lower.object != NULL);
	MMK_ASSERT((args->prot & ~args->max_prot) == 0);
	MMK_ASSERT(!(args->fixed && args->exclusive));
	if (args->nr_pages == 0 || !mmk_is_page_aligned(args->start_va) ||
	    args->nr_pages > mmk_pages_of_bytes(map->max_va))
		return MMK_ERR_INVAL;
	mmk__map_lock(map);
	if (map->inside != NULL || mmk_object_is_submap(args->lower.object))
		err = mmk__map_may_insert(map, args);
	if (err == MMK_OK)
		err = mmk__map_insert_locked(map, args, start_va_out);
	mmk__map_unlock(map);
	return err;
}

MMK_API bool
mmk_map_is_covered(struct mmk_map *map, mmk_va start_va, mmk_va end_va)
{
	bool is_covered;

	mmk__map_lock(map);
	is_covered = mmk__map_nr_covered(map, start_va, end_va) ==
	    mmk_pages_of_bytes(end_va - start_va);
	mmk__map_let_go(map);
	return is_covered;
}

MMK_PRIVATE uint64_t
mmk__entry_nr_private(const struct mmk_entry *entry)
{
	uint64_t first = entry->upper.page, page = first, nr_private = 0;

	if (entry->upper.object == NULL || entry->upper.object->amap == NULL)
		return 0;
	for (; mmk_amap_next(entry->upper.object->amap, &page) != NULL &&
	     page - first < mmk_entry_nr_pages(entry); page++)
		nr_private++;
	return nr_private;
}

MMK_PRIVATE uint64_t
mmk__entry_nr_translations(const struct mmk_entry *entry)
{
	struct mmk_translation t;
	uint64_t nr_translations = 0;
	mmk_va va = entry->start_va;

	if (entry->map->inside != NULL)
		return 0;
	for (; mmk_pmap_next(&entry->map->pmap, va, entry->end_va, &t);
	     va = t.va + MMK_PAGE_BYTES)
		nr_translations++;
	return nr_translations;
}

MMK_API bool
mmk_map_entry_info(struct mmk_map *map, mmk_va va,
    struct mmk_entry_info *info_out)
{
	struct mmk_entry *entry;

	mmk__map_lock(map);
	entry = mmk__map_first(map, va, map->max_va);
	if (entry != NULL) {
		info_out->start_va = entry->start_va;
		info_out->end_va = entry->end_va;
		info_out->prot = entry->prot;
		info_out->max_prot = entry->max_prot;
		info_out->flags = entry->flags;
		info_out->inherit = (enum mmk_inherit)entry->inherit;
		info_out->object = entry->lower.object;
		info_out->object_page = entry->lower.page;
		MMKIT_LOCK(&map->vm->lock);
		info_out->nr_private = mmk__entry_nr_private(entry);
		MMKIT_UNLOCK(&map->vm->lock);
		info_out->nr_translations = mmk__entry_nr_translations(entry);
	}
	mmk__map_let_go(map);
	return entry != NULL;
}
#endif /* MMKIT_IMPLEMENTATION */
