/* SPDX-License-Identifier: MIT
 *
 * mmkit/vm/reshape.h: changes to what a map already shows
 *
 * WHAT    Rights and contents of entries: protect, discard, sync. Each takes
 *         what it may need first and then changes the map without being able
 *         to fail.
 * LAYER   vm. Includes map.h.
 * LOCKS   as map.h
 * COST    O(log entries) for each entry touched, and one walk of the range's
 *         page tables
 * SOURCE  own; POSIX.1-2017 for what protect and sync mean
 */
#ifndef MMKIT_VM_RESHAPE_H
#define MMKIT_VM_RESHAPE_H

#include "submap.h"

MMK_BEGIN_DECLS

/*
 * mmk_map_protect: rights become `prot` in the whole range.
 *
 * errors   MMK_ERR_INVAL: bounds; MMK_ERR_NOENT: a hole; MMK_ERR_ACCESS: above
 *          an entry's max_prot; MMK_ERR_NOMEM: nothing changed.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_map_protect(struct mmk_map *map,
    mmk_va start_va, mmk_va end_va, unsigned prot);

/*
 * mmk_map_discard: private pages in the range are dropped; the next touch
 * shows the lower object again. Shared pages are only unmapped.
 *
 * errors   MMK_ERR_INVAL: bounds. MMK_ERR_NOENT: a hole, found when the rest was
 *          discarded.
 *          MMK_ERR_NOMEM: a layer shared since a fork could not be copied;
 *          entries before it are discarded.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_map_discard(struct mmk_map *map,
    mmk_va start_va, mmk_va end_va);

/*
 * mmk_map_sync: write modified pages of shared entries to their pagers.
 *
 * locks    takes the mutex, drops it while a pager works
 * errors   MMK_ERR_INVAL: bounds; MMK_ERR_NOENT: a hole; or the pager's, at the
 *          first page that fails.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_map_sync(struct mmk_map *map,
    mmk_va start_va, mmk_va end_va);

/* Is there a frame with what a read at `va` would show? False for zeros that
 * nobody has touched, and where nothing is mapped. */
MMK_API bool mmk_map_is_resident(struct mmk_map *map, mmk_va va);

MMK_END_DECLS
#endif /* MMKIT_VM_RESHAPE_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_VM_RESHAPE_IMPL)
#define MMKIT_VM_RESHAPE_IMPL

/* Is every page of the range in an entry? */
MMK_PRIVATE bool
mmk__map_is_whole(const struct mmk_map *map, mmk_va start_va, mmk_va end_va)
{
	return mmk__map_nr_covered(map, start_va, end_va) ==
	    mmk_pages_of_bytes(end_va - start_va);
}

/* Join what continues each other at every boundary in [start_va, end_va]. */
MMK_PRIVATE void
mmk__map_join_range(struct mmk_map *map, mmk_va start_va, mmk_va end_va)
{
	struct mmk_entry *entry;
	mmk_va va = start_va;

	mmk__map_join(map, start_va);
	while ((entry = mmk__map_first(map, va, end_va)) != NULL) {
		va = entry->end_va;
		mmk__map_join(map, va);
	}
}

MMK_PRIVATE enum mmk_err
mmk__map_may_protect(const struct mmk_map *map, mmk_va start_va, mmk_va end_va,
    unsigned prot)
{
	struct mmk_entry *entry;

	if (!mmk__map_is_whole(map, start_va, end_va))
		return MMK_ERR_NOENT;
	for (mmk_va va = start_va;
	     (entry = mmk__map_first(map, va, end_va)) != NULL;
	     va = entry->end_va)
		if ((prot & ~(unsigned)entry->max_prot) != 0)
			return MMK_ERR_ACCESS;
	return MMK_OK;
}

/* pre: everything is checked and taken. Rights only fall here; faults raise. */
MMK_PRIVATE void
mmk__map_set_prot(struct mmk_map *map, mmk_va start_va, mmk_va end_va,
    unsigned prot)
{
	struct mmk_entry *entry;

	for (mmk_va va = start_va;
	     (entry = mmk__map_first(map, va, end_va)) != NULL;
	     va = entry->end_va) {
		entry->prot = (uint8_t)prot;
		/* A right that is not left is no translation: tell the pager. */
		if ((prot & MMK_PROT_READ) == 0)
			mmk__entry_unestablish(entry, entry->start_va,
			    entry->end_va);
	}
	if (prot == MMK_PROT_NONE) {
		mmk__map_forget(map, start_va, end_va);
		return;
	}
	mmk__map_narrow(map, start_va, end_va, prot);
}

MMK_API enum mmk_err
mmk_map_protect(struct mmk_map *map, mmk_va start_va, mmk_va end_va,
    unsigned prot)
{
	struct mmk__stash stash;
	enum mmk_err err;
	unsigned nr_clips;

	if (!mmk__map_is_range(map, start_va, end_va) ||
	    (prot & ~MMK_PROT_ALL) != 0)
		return MMK_ERR_INVAL;
	mmk__map_lock(map);
	nr_clips = mmk__map_nr_clips(map, start_va, end_va);
	err = mmk__map_may_protect(map, start_va, end_va, prot);
	if (err == MMK_OK)
		err = mmk__stash_fill(&stash, map, nr_clips, nr_clips);
	if (err == MMK_OK) {
		mmk__map_clip(map, start_va, &stash);
		mmk__map_clip(map, end_va, &stash);
		mmk__stash_drop(&stash);
		mmk__map_set_prot(map, start_va, end_va, prot);
		mmk__map_join_range(map, start_va, end_va);
	}
	mmk__map_let_go(map);
	return err;
}

/* Translations out of [start_va, end_va), told to nobody, flushed. */
MMK_PRIVATE void
mmk__map_remove_translations(struct mmk_map *map, mmk_va start_va,
    mmk_va end_va)
{
	mmk__map_narrow(map, start_va, end_va, MMK_PROT_NONE);
}

/* The private pages of [start_va, end_va), all in `entry`, are dropped. */
MMK_PRIVATE enum mmk_err
mmk__entry_discard(struct mmk_entry *entry, mmk_va start_va, mmk_va end_va)
{
	struct mmk_vm *vm = entry->map->vm;
	struct mmk_object *upper = entry->upper.object;
	enum mmk_err err;

	if (upper == NULL || (upper->flags & MMK_OBJECT_SHARED) != 0) {
		if (entry->lower.object->ops->map == NULL)
			mmk__map_remove_translations(entry->map, start_va,
			    end_va);
		return MMK_OK;
	}
	MMKIT_LOCK(&vm->lock);
	err = mmk__object_unshare(upper);
	MMKIT_UNLOCK(&vm->lock);
	if (err != MMK_OK)
		return err;
	mmk__map_forget(entry->map, start_va, end_va);
	MMKIT_LOCK(&vm->lock);
	if (upper->amap != NULL)
		mmk_amap_erase_range(vm, upper->amap,
		    mmk_entry_page(entry, &entry->upper, start_va),
		    mmk_pages_of_bytes(end_va - start_va));
	MMKIT_UNLOCK(&vm->lock);
	return MMK_OK;
}

MMK_API enum mmk_err
mmk_map_discard(struct mmk_map *map, mmk_va start_va, mmk_va end_va)
{
	struct mmk_entry *entry;
	enum mmk_err err = MMK_OK;

	if (!mmk__map_is_range(map, start_va, end_va))
		return MMK_ERR_INVAL;
	mmk__map_lock(map);
	for (mmk_va va = start_va; err == MMK_OK &&
	     (entry = mmk__map_first(map, va, end_va)) != NULL;
	     va = entry->end_va)
		err = mmk__entry_discard(entry,
		    mmk_max(entry->start_va, start_va),
		    mmk_min(entry->end_va, end_va));
	if (err == MMK_OK && !mmk__map_is_whole(map, start_va, end_va))
		err = MMK_ERR_NOENT;
	mmk__map_let_go(map);
	return err;
}

/*
 * What the next shared entry at or after *va shows of [*va, end_va), with a
 * reference to the object; *va moves beyond it. False: there is none.
 */
MMK_PRIVATE bool
mmk__map_next_shared(struct mmk_map *map, mmk_va *va, mmk_va end_va,
    struct mmk_oref *oref_out, uint64_t *nr_pages_out)
{
	struct mmk_entry *entry, seen;

	mmk__map_lock(map);
	while ((entry = mmk__map_first(map, *va, end_va)) != NULL) {
		mmk_va from = mmk_max(entry->start_va, *va);

		if (!mmk__entry_see(entry, from, &seen)) {
			*va = from + MMK_PAGE_BYTES; /* a hole in a sub-map */
			if (*va < end_va)
				continue;
			entry = NULL;
			break;
		}
		entry = &seen;
		*va = mmk_min(entry->end_va, end_va);
		if ((entry->flags & MMK_ENTRY_PRIVATE) == 0) {
			oref_out->object = entry->lower.object;
			oref_out->page =
			    mmk_entry_page(entry, &entry->lower, from);
			*nr_pages_out = mmk_pages_of_bytes(*va - from);
			mmk_object_ref(entry->lower.object);
			break;
		}
		if (*va == end_va) {
			entry = NULL;
			break;
		}
	}
	mmk__map_let_go(map);
	return entry != NULL;
}

MMK_API enum mmk_err
mmk_map_sync(struct mmk_map *map, mmk_va start_va, mmk_va end_va)
{
	struct mmk_oref oref;
	uint64_t nr_pages;
	mmk_va va = start_va;
	enum mmk_err err = MMK_OK;

	if (!mmk__map_is_range(map, start_va, end_va))
		return MMK_ERR_INVAL;
	if (!mmk_map_is_covered(map, start_va, end_va))
		return MMK_ERR_NOENT;
	while (err == MMK_OK && va < end_va &&
	    mmk__map_next_shared(map, &va, end_va, &oref, &nr_pages)) {
		err = mmk_object_sync(oref.object, oref.page, nr_pages);
		mmk_object_unref(oref.object);
	}
	return err;
}

/* The anon that `oref` has for `va`, resident or not; or NULL. vm->lock held. */
MMK_PRIVATE struct mmk_anon *
mmk__entry_anon(const struct mmk_entry *entry, const struct mmk_oref *oref,
    mmk_va va)
{
	if (oref->object == NULL || oref->object->amap == NULL)
		return NULL;
	return mmk_amap_lookup(oref->object->amap,
	    mmk_entry_page(entry, oref, va));
}

/* Is what a read at `va` would see in a frame? */
MMK_PRIVATE bool
mmk__entry_is_resident(const struct mmk_entry *entry, mmk_va va)
{
	struct mmk_anon *anon = mmk__entry_anon(entry, &entry->upper, va);
	struct mmk_translation t;

	if (anon == NULL)
		anon = mmk__entry_anon(entry, &entry->lower, va);
	if (anon != NULL)
		return anon->frame != NULL;
	return entry->map->inside == NULL && mmk_object_names_frames(entry->lower.object) &&
	    mmk_pmap_query(&entry->map->pmap, va, &t);
}

MMK_API bool
mmk_map_is_resident(struct mmk_map *map, mmk_va va)
{
	struct mmk_entry *entry, seen;
	bool is_resident = false;

	mmk__map_lock(map);
	entry = mmk_map_lookup(map, va);
	if (entry != NULL && mmk__entry_see(entry, mmk_page_floor(va), &seen)) {
		MMKIT_LOCK(&map->vm->lock);
		is_resident = mmk__entry_is_resident(&seen, va);
		MMKIT_UNLOCK(&map->vm->lock);
	}
	mmk__map_let_go(map);
	return is_resident;
}
#endif /* MMKIT_IMPLEMENTATION */
