/* SPDX-License-Identifier: MIT
 *
 * mmkit/vm/check.h: does everything add up?
 *
 * WHAT    mmk_check walks all there is and accounts for each thing twice: once
 *         as the count says, once as those who hold it say. What it proves of
 *         a state is what the invariants in the heads of these files claim.
 * LAYER   vm. Includes start.h.
 * LOCKS   those of the floors below, one at a time; nobody else may be inside
 *         mmkit
 * COST    O(all pages, entries and translations); no memory but the scratch
 *         words that amaps, anons and objects carry for it
 * SOURCE  own
 */
#ifndef MMKIT_VM_CHECK_H
#define MMKIT_VM_CHECK_H

#include "../phys/census.h"
#include "start.h"

MMK_BEGIN_DECLS

/*
 * mmk_check: true if the whole state of `vm`, and of the frames and page
 * tables under it, is consistent.
 *
 * pre      no other CPU is inside mmkit.
 */
MMK_API bool mmk_check(struct mmk_vm *vm);

/* As mmk_check; NULL, or a constant text that names what does not add up. */
MMK_API const char *mmk_check_text(struct mmk_vm *vm);

MMK_END_DECLS
#endif /* MMKIT_VM_CHECK_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_VM_CHECK_IMPL)
#define MMKIT_VM_CHECK_IMPL

/* What was met on the way, to be compared with what the pools gave out. */
struct mmk__audit {
	uint64_t nr_entries;
	uint64_t nr_objects;
	uint64_t nr_amaps;
	uint64_t nr_anons;
	uint64_t nr_frames;
	uint64_t nr_tables;
};

/* The translation at va is one that the entry's layers explain. */
MMK_PRIVATE bool
mmk__check_translation(const struct mmk_entry *entry,
    const struct mmk_translation *t)
{
	struct mmk_vm *vm = entry->map->vm;
	bool is_private = (entry->flags & MMK_ENTRY_PRIVATE) != 0;
	bool may_write = (t->flags & MMK_PROT_WRITE) != 0;
	struct mmk_anon *anon = mmk__entry_anon(entry, &entry->upper, t->va);

	if ((t->flags & MMK_PROT_WRITE) != 0 &&
	    (entry->prot & MMK_PROT_WRITE) == 0)
		return false;
	if (anon != NULL) {
		return anon->frame != NULL &&
		    mmk_frame_pa(vm->phys, anon->frame) == t->pa &&
		    (!may_write || mmk_amap_may_write_in_place(
				       entry->upper.object->amap, anon));
	}
	if (is_private && may_write)
		return false;
	if (entry->lower.object->ops->map != NULL)
		return (t->flags & MMK_PMAP_SOFT) != 0;
	if (entry->lower.object->ops->grant != NULL)
		return mmk_frame_of_pa(vm->phys, t->pa) != NULL;
	anon = mmk__entry_anon(entry, &entry->lower, t->va);
	if (anon != NULL)
		return anon->frame != NULL &&
		    mmk_frame_pa(vm->phys, anon->frame) == t->pa;
	return is_private &&
	    (entry->lower.object->flags & MMK_OBJECT_EMPTY) != 0 &&
	    t->pa == mmk_frame_pa(vm->phys, vm->zero_frame);
}

MMK_PRIVATE bool
mmk__check_oref(const struct mmk_oref *oref, const struct mmk_link *link)
{
	return oref->object == NULL || mmk_link_is_on_list(link);
}

MMK_PRIVATE bool
mmk__check_entry(const struct mmk_map *map, const struct mmk_entry *entry,
    const struct mmk_range *range)
{
	struct mmk_translation t;
	struct mmk_entry seen;
	mmk_va va = entry->start_va;

	if (entry->map != map || entry->start_va != range->start ||
	    entry->end_va - 1 != range->last ||
	    !mmk__map_is_range(map, entry->start_va, entry->end_va) ||
	    entry->lower.object == NULL ||
	    !mmk__check_oref(&entry->lower, &entry->of_lower) ||
	    !mmk__check_oref(&entry->upper, &entry->of_upper) ||
	    (entry->prot & ~entry->max_prot) != 0)
		return false;
	if (mmk_object_is_submap(entry->lower.object) &&
	    ((entry->flags & MMK_ENTRY_PRIVATE) != 0 ||
	        !map->has_submaps ||
	        mmk__submap_below(entry->lower.object) > MMK_SUBMAP_DEPTH_MAX))
		return false;
	if (map->inside != NULL)
		return entry->upper.object == NULL;
	for (; mmk_pmap_next((struct mmk_pmap *)(uintptr_t)&map->pmap, va,
		 entry->end_va, &t);
	     va = t.va + MMK_PAGE_BYTES)
		if (!mmk__entry_see(entry, t.va, &seen) ||
		    !mmk__check_translation(&seen, &t))
			return false;
	return true;
}

/* Every translation lies in an entry, every entry is sound. */
MMK_PRIVATE const char *
mmk__check_map(struct mmk_map *map, struct mmk__audit *audit)
{
	uint64_t nr_entries = 0, nr_pages = 0, nr_translations = 0;
	struct mmk_range range;
	mmk_va va = map->min_va;

	if (!mmk_btree_check(&map->tree))
		return "a map's tree";
	if (map->inside == NULL && !mmk_pmap_check(&map->pmap))
		return "a page table";
	for (; mmk_btree_find_ge(&map->tree, va, &range);
	     va = range.last + 1) {
		struct mmk_entry *entry = range.value;

		if (!mmk__check_entry(map, entry, &range))
			return "an entry, or a translation in it";
		nr_entries++;
		nr_pages += mmk_entry_nr_pages(entry);
		nr_translations += mmk__entry_nr_translations(entry);
	}
	if (nr_entries != map->nr_entries || nr_pages != map->nr_pages)
		return "a map's counts";
	audit->nr_entries += nr_entries;
	if (map->inside != NULL)
		return NULL;
	if (nr_translations != map->pmap.nr_pages)
		return "a translation outside every entry";
	audit->nr_tables += map->pmap.nr_tables + map->pmap.nr_reserved;
	return NULL;
}

/* The scratch words of everything reachable from the objects. */
MMK_PRIVATE void
mmk__check_reset(struct mmk_vm *vm)
{
	MMK_LIST_FOR_EACH(link, &vm->objects) {
		struct mmk_amap *amap =
		    MMK_LIST_ITEM(link, struct mmk_object, of_vm)->amap;
		struct mmk_anon *anon;

		if (amap == NULL)
			continue;
		amap->seen = 0;
		for (uint64_t page = 0;
		     (anon = mmk_amap_next(amap, &page)) != NULL; page++)
			anon->seen = 0;
	}
}

MMK_PRIVATE void
mmk__check_count_anons(struct mmk_amap *amap, struct mmk__audit *audit)
{
	struct mmk_anon *anon;

	for (uint64_t page = 0; (anon = mmk_amap_next(amap, &page)) != NULL;
	     page++) {
		if (anon->seen++ > 0)
			continue;
		audit->nr_anons++;
		if (anon->frame != NULL && anon->frame->owner == anon)
			audit->nr_frames++;
	}
}

MMK_PRIVATE uint64_t
mmk__list_length(const struct mmk_list *list)
{
	uint64_t nr_links = 0;

	MMK_LIST_FOR_EACH(link, list)
		nr_links++;
	return nr_links;
}

MMK_PRIVATE const char *
mmk__check_object(struct mmk_object *object, struct mmk__audit *audit)
{
	struct mmk_amap *amap = object->amap;

	audit->nr_objects++;
	if (mmk_object_is_submap(object)) {
		const char *text =
		    mmk__check_map(mmk_submap_map(object), audit);

		if (text != NULL)
			return text;
	}
	if (object->refs < object->nr_entries ||
	    object->nr_entries != mmk__list_length(&object->entries))
		return "an object's references";
	if (object->twin != NULL)
		return "a fork's twin left behind";
	if ((amap != NULL) != mmk_link_is_on_list(&object->of_amap))
		return "an object's place on its amap's list";
	if (amap == NULL || amap->seen++ > 0)
		return NULL;
	audit->nr_amaps++;
	if (!mmk_amap_check(amap))
		return "an amap's index";
	if (amap->refs != mmk__list_length(&amap->objects))
		return "an amap's references";
	mmk__check_count_anons(amap, audit);
	return NULL;
}

/* The anon knows its frame, and the frame knows the anon. */
MMK_PRIVATE bool
mmk__check_anon(const struct mmk_anon *anon)
{
	const struct mmk_anon *sharer;
	uint32_t nr_sharers = 0;
	bool is_found = false;

	if (anon->refs != anon->seen)
		return false;
	if (anon->frame == NULL)
		return (anon->flags & MMK_ANON_STORED) != 0;
	for (sharer = anon->frame->owner; sharer != NULL;
	     sharer = sharer->sharer) {
		is_found |= sharer == anon;
		nr_sharers++;
	}
	return is_found && anon->frame->refs >= nr_sharers &&
	    anon->frame->use == MMK_USE_ANON;
}

MMK_PRIVATE const char *
mmk__check_anons(const struct mmk_amap *amap)
{
	const struct mmk_anon *anon;

	if (amap == NULL)
		return NULL;
	for (uint64_t page = 0; (anon = mmk_amap_next(amap, &page)) != NULL;
	     page++)
		if (!mmk__check_anon(anon))
			return "an anon's references, or its frame";
	return NULL;
}

/* What was met is all there is. */
MMK_PRIVATE const char *
mmk__check_audit(struct mmk_vm *vm, const struct mmk__audit *audit)
{
	struct mmk_phys_stats stats;

	mmk_phys_stats_read(vm->phys, &stats);
	if (mmk_pool_nr_used(&vm->entry_pool) != audit->nr_entries)
		return "an entry in no map";
	if (mmk_pool_nr_used(&vm->object_pool) != audit->nr_objects)
		return "an object on no list";
	if (mmk_pool_nr_used(&vm->amap_pool) != audit->nr_amaps)
		return "an amap of no object";
	if (mmk_pool_nr_used(&vm->anon_pool) != audit->nr_anons)
		return "an anon in no amap";
	if (stats.nr_used_pages[MMK_USE_ANON] != audit->nr_frames)
		return "a frame of no anon";
	if (stats.nr_used_pages[MMK_USE_TABLE] < audit->nr_tables)
		return "a page table that is not a frame";
	return NULL;
}

MMK_API const char *
mmk_check_text(struct mmk_vm *vm)
{
	struct mmk__audit audit = { 0 };
	const char *text = NULL;

	if (!mmk_phys_check(vm->phys))
		return "the frame allocator";
	mmk__check_reset(vm);
	MMK_LIST_FOR_EACH(link, &vm->maps) {
		text = mmk__check_map(
		    MMK_LIST_ITEM(link, struct mmk_map, of_vm), &audit);
		if (text != NULL)
			return text;
	}
	MMK_LIST_FOR_EACH(link, &vm->objects) {
		text = mmk__check_object(
		    MMK_LIST_ITEM(link, struct mmk_object, of_vm), &audit);
		if (text != NULL)
			return text;
	}
	MMK_LIST_FOR_EACH(link, &vm->objects) {
		text = mmk__check_anons(
		    MMK_LIST_ITEM(link, struct mmk_object, of_vm)->amap);
		if (text != NULL)
			return text;
	}
	return mmk__check_audit(vm, &audit);
}

MMK_API bool
mmk_check(struct mmk_vm *vm)
{
	return mmk_check_text(vm) == NULL;
}
#endif /* MMKIT_IMPLEMENTATION */
