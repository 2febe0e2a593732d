/* SPDX-License-Identifier: MIT
 *
 * mmkit/vm/submap.h: a map that is shown in other maps
 *
 * WHAT    An entry may lead to a sub-map instead of an object with pages: a map
 *         with no page tables of its own, whose addresses are page numbers to
 *         whoever shows it. What is inserted, removed or protected in it is so
 *         at once in every map that shows it:
 *
 *           map A   [0x4000 ...... )--\        sub-map   0 [text)  -> a file
 *           map B   [0x90000 .. )------+------>          8 [data)  -> memory
 *                                                       16 [lib)   -> sub-map
 *
 *         To maps it is an object: entries refer to it, are split, joined,
 *         moved and inherited like those of any shared object. The last
 *         reference takes it away. The other way, all that map.h, reshape.h and
 *         remap.h do to a map may be done to mmk_submap_map of it.
 *
 *         In a sub-map nothing is private: what it shows, it shows to all. A
 *         child made by fork shows the same sub-map, for any inheritance but
 *         NONE. Nor has it place for a pager's `map`, whose translations are
 *         counted: of physical memory only what is granted (containers).
 *
 * LAYER   vm. Includes map.h.
 * LOCKS   vm->submap_mutex (MMK_RANK_SUBMAP), one for all sub-maps of a vm,
 *         guards what they show and which entries show them. A map that shows
 *         one is changed under its own mutex and then this. So whoever changes
 *         a sub-map finds all places where it is shown, and they stay, without
 *         any map's mutex; and a fault that looks into one holds it until the
 *         translation is entered.
 * COST    a fault: O(log entries) for each sub-map on the way. A change of a
 *         sub-map: one gather for each place where it is shown. Faults through
 *         sub-maps run one at a time.
 * SOURCE  own; sub-maps and share maps are Mach's (Rashid et al., 1987)
 *
 * I1      no sub-map shows itself, and no more than MMK_SUBMAP_DEPTH_MAX lie
 *         within each other                                       mmk_check
 * I2      a translation in a place where a sub-map is shown is one that what it
 *         shows there explains                                    mmk_check
 */
#ifndef MMKIT_VM_SUBMAP_H
#define MMKIT_VM_SUBMAP_H

#include "map.h"

MMK_BEGIN_DECLS

/* So many sub-maps, one in the other, a fault may pass through. */
#define MMK_SUBMAP_DEPTH_MAX 4u

/* Guards: [S] vm->submap_mutex; and see struct mmk_map */
struct mmk_submap {
	struct mmk_map map;
	struct mmk_entry seen; /* [S] what a fault found in it: stacks are small */
};

MMK_DATA const struct mmk_pager_ops mmk_submap_pager;

/*
 * mmk_submap_create: an empty sub-map of nr_pages addresses, from 0.
 *
 * It is shown by mmk_map_insert with the object as `lower`, in maps and in
 * other sub-maps, from any of its pages on. Refused with MMK_ERR_INVAL: as
 * private or as a stack; in itself, or in what it shows itself. With
 * MMK_ERR_LIMIT: too deep. In a sub-map MMK_ERR_INVAL refuses what is private,
 * a stack, an object of zeros for private memory, and one whose pager has a
 * `map`.
 *
 * pre      page 0 is at address 0: take addresses from args->fixed or exclusive.
 * out      *object_out, with one reference.
 * errors   MMK_ERR_INVAL: no pages, or more than 2^63 bytes. MMK_ERR_NOMEM.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_submap_create(struct mmk_vm *vm,
    uint64_t nr_pages, struct mmk_object **object_out);

/* pre: mmk_object_is_submap. Good as long as the object. Not for mmk_fault,
 * mmk_map_fork or mmk_map_fini. */
static inline struct mmk_map *
mmk_submap_map(struct mmk_object *object)
{
	return object->ops->inside(object);
}

/*
 * mmk_map_resolve: what does `va` show, through all sub-maps?
 *
 * locks    as any operation on the map
 * out      *oref_out: the object with pages (no reference), and the page in it;
 *          *prot_out: what all on the way allow. False: nothing is there.
 */
MMK_API bool mmk_map_resolve(struct mmk_map *map, mmk_va va,
    struct mmk_oref *oref_out, unsigned *prot_out);

MMK_END_DECLS
#endif /* MMKIT_VM_SUBMAP_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_VM_SUBMAP_IMPL)
#define MMKIT_VM_SUBMAP_IMPL

/* All but the links, which change with the neighbours on their lists. */
MMK_PRIVATE void
mmk__entry_copy(struct mmk_entry *to, const struct mmk_entry *from)
{
	to->map = from->map;
	to->start_va = from->start_va;
	to->end_va = from->end_va;
	to->lower = from->lower;
	to->upper = from->upper;
	to->prot = from->prot;
	to->max_prot = from->max_prot;
	to->inherit = from->inherit;
	to->flags = from->flags;
}

/* One step: what `seen` shows around `va` of `in`, which has `inner_va` there. */
MMK_PRIVATE void
mmk__entry_enter(struct mmk_entry *seen, const struct mmk_entry *in, mmk_va va,
    mmk_va inner_va)
{
	mmk_va before = mmk_min(va - seen->start_va, inner_va - in->start_va);
	mmk_va after = mmk_min(seen->end_va - va, in->end_va - inner_va);

	seen->lower.object = in->lower.object;
	seen->lower.page = mmk_entry_page(in, &in->lower, inner_va - before);
	seen->start_va = va - before;
	seen->end_va = va + after;
	seen->prot &= in->prot;
	seen->max_prot &= in->max_prot;
	seen->flags = in->flags;
}

/*
 * mmk__entry_see: what `entry` shows at va in the end, as if it were an entry of
 * the same map: as far to both sides as it goes on, with the rights that all on
 * the way allow. Itself, if it shows no sub-map.
 *
 * locks    the entry's map is locked; if it shows sub-maps vm->submap_mutex.
 * out      false: a hole; *seen_out means nothing.
 */
MMK_PRIVATE bool
mmk__entry_see(const struct mmk_entry *entry, mmk_va va,
    struct mmk_entry *seen_out)
{
	mmk__entry_copy(seen_out, entry);
	while (mmk_object_is_submap(seen_out->lower.object)) {
		const struct mmk_map *map =
		    mmk_submap_map(seen_out->lower.object);
		uint64_t page =
		    mmk_entry_page(seen_out, &seen_out->lower, va);
		struct mmk_range range;

		if (page >= mmk_pages_of_bytes(map->max_va) ||
		    !mmk_btree_find(&map->tree, mmk_bytes_of_pages(page),
		        &range))
			return false;
		mmk__entry_enter(seen_out,
		    (const struct mmk_entry *)range.value, va,
		    mmk_bytes_of_pages(page));
	}
	return true;
}

/*
 * A sub-map's `narrow`: everywhere that it is shown, through others too. They
 * call each other, at most MMK_SUBMAP_DEPTH_MAX deep.
 */
MMK_PRIVATE void
mmk__submap_narrow(struct mmk_map *map, mmk_va start_va, mmk_va end_va,
    unsigned prot)
{
	uint64_t end = mmk_pages_of_bytes(end_va);

	MMK_LIST_FOR_EACH(link, &map->object->entries) {
		struct mmk_entry *entry =
		    MMK_LIST_ITEM(link, struct mmk_entry, of_lower);
		uint64_t page = entry->lower.page;
		uint64_t first = mmk_max(page, mmk_pages_of_bytes(start_va));
		uint64_t skip = first - page, nr_pages;
		mmk_va va = entry->start_va + mmk_bytes_of_pages(skip);

		if (first >= end || skip >= mmk_entry_nr_pages(entry))
			continue;
		nr_pages = mmk_min(end - first,
		    mmk_entry_nr_pages(entry) - skip);
		mmk__map_narrow(entry->map, va,
		    va + mmk_bytes_of_pages(nr_pages), prot);
	}
}

/*
 * How many sub-maps lie within each other from the outermost that shows `map`
 * to `map`; *is_within_out: one of them is `object`. Calls itself, at most
 * MMK_SUBMAP_DEPTH_MAX deep. locks: vm->submap_mutex.
 */
MMK_PRIVATE unsigned
mmk__submap_above(const struct mmk_map *map, const struct mmk_object *object,
    bool *is_within_out)
{
	unsigned depth = 0;

	if (map->inside == NULL)
		return 0;
	if (map->object == object)
		*is_within_out = true;
	MMK_LIST_FOR_EACH(link, &map->object->entries) {
		unsigned above = mmk__submap_above(
		    MMK_LIST_ITEM(link, struct mmk_entry, of_lower)->map,
		    object, is_within_out);

		depth = above > depth ? above : depth;
	}
	return depth + 1;
}

/* And from `object` to the innermost that it shows. Same depth, same lock. */
MMK_PRIVATE unsigned
mmk__submap_below(struct mmk_object *object)
{
	const struct mmk_map *map = mmk_submap_map(object);
	const struct mmk_entry *entry;
	unsigned depth = 0;

	for (mmk_va va = 0;
	     (entry = mmk__map_first(map, va, map->max_va)) != NULL;
	     va = entry->end_va) {
		unsigned below;

		if (!mmk_object_is_submap(entry->lower.object))
			continue;
		below = mmk__submap_below(entry->lower.object);
		depth = below > depth ? below : depth;
	}
	return depth + 1;
}

/* A sub-map's `may_insert`. */
MMK_PRIVATE enum mmk_err
mmk__submap_may_insert(struct mmk_map *map, const struct mmk_map_args *args)
{
	struct mmk_object *object = args->lower.object;
	bool is_within = false;
	unsigned above;

	if ((args->entry_flags & (MMK_ENTRY_PRIVATE | MMK_ENTRY_STACK)) != 0 ||
	    (object->flags & MMK_OBJECT_EMPTY) != 0 ||
	    object->ops->map != NULL)
		return MMK_ERR_INVAL;
	if (!mmk_object_is_submap(object))
		return MMK_OK;
	above = mmk__submap_above(map, object, &is_within);
	if (is_within)
		return MMK_ERR_INVAL;
	return above + mmk__submap_below(object) <= MMK_SUBMAP_DEPTH_MAX
	    ? MMK_OK : MMK_ERR_LIMIT;
}

MMK_PRIVATE const struct mmk_map_inside *
mmk__submap_inside(void)
{
	static const struct mmk_map_inside inside = {
		mmk__submap_narrow, mmk__submap_may_insert
	};

	return &inside;
}

/* ---- as an object -------------------------------------------------------- */

MMK_PRIVATE struct mmk_entry *
mmk__submap_seen(struct mmk_object *object)
{
	return &((struct mmk_submap *)object->ctx)->seen;
}

MMK_PRIVATE struct mmk_map *
mmk__submap_of(struct mmk_object *object)
{
	return &((struct mmk_submap *)object->ctx)->map;
}

/* Never asked: see mmk_pager_ops.inside. */
MMK_PRIVATE enum mmk_err
mmk__submap_grant(struct mmk_object *object, uint64_t page, unsigned access,
    mmk_pa *pa_out, bool *may_write_out)
{
	(void)object, (void)page, (void)access;
	(void)pa_out, (void)may_write_out;
	return MMK_ERR_NOENT;
}

/* Nobody shows it any more. What it showed may end as well: so deep at most. */
MMK_PRIVATE void
mmk__submap_destroy(struct mmk_object *object)
{
	struct mmk_map *map = mmk__submap_of(object);
	struct mmk_vm *vm = map->vm;

	mmk__map_lock(map);
	mmk__map_clear(map, map->min_va, map->max_va, NULL);
	mmk__map_unlock(map);
	mmk_btree_fini(&map->tree);
	mmk_pool_free(&vm->submap_pool, object->ctx);
}

#ifdef MMKIT_STATIC
static
#endif
const struct mmk_pager_ops mmk_submap_pager = {
	.name = "sub-map",
	.kind = MMK_PAGER_SUBMAP,
	.get = NULL,
	.put = NULL,
	.map = NULL,
	.unmap = NULL,
	.destroy = mmk__submap_destroy,
	.grant = mmk__submap_grant,
	.granted = NULL,
	.inside = mmk__submap_of,
};

MMK_API enum mmk_err
mmk_submap_create(struct mmk_vm *vm, uint64_t nr_pages,
    struct mmk_object **object_out)
{
	struct mmk_submap *submap;
	enum mmk_err err;

	if (nr_pages == 0 ||
	    nr_pages > mmk_pages_of_bytes((uint64_t)1 << 63))
		return MMK_ERR_INVAL;
	submap = (struct mmk_submap *)mmk_pool_alloc(&vm->submap_pool);
	if (submap == NULL)
		return MMK_ERR_NOMEM;
	mmk__map_setup(&submap->map, vm, 0, mmk_bytes_of_pages(nr_pages),
	    NULL);
	submap->map.inside = mmk__submap_inside();
	submap->map.has_submaps = true;
	err = mmk_object_create(vm, &mmk_submap_pager, submap, nr_pages,
	    &submap->map.object);
	if (err != MMK_OK) {
		mmk_btree_fini(&submap->map.tree);
		mmk_pool_free(&vm->submap_pool, submap);
		return err;
	}
	*object_out = submap->map.object;
	return MMK_OK;
}

MMK_API bool
mmk_map_resolve(struct mmk_map *map, mmk_va va, struct mmk_oref *oref_out,
    unsigned *prot_out)
{
	struct mmk_entry *entry, seen;
	bool is_there;

	va = mmk_page_floor(va);
	mmk__map_lock(map);
	entry = mmk_map_lookup(map, va);
	is_there = entry != NULL && mmk__entry_see(entry, va, &seen);
	if (is_there) {
		oref_out->object = seen.lower.object;
		oref_out->page = mmk_entry_page(&seen, &seen.lower, va);
		*prot_out = seen.prot;
	}
	mmk__map_let_go(map);
	return is_there;
}
#endif /* MMKIT_IMPLEMENTATION */
