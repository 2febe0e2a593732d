/* SPDX-License-Identifier: MIT
 *
 * mmkit/vm/remap.h: a range of a map gets another length, or another place
 *
 * WHAT    All of mremap in one step under the map's mutex, so that nobody can
 *         take the room that was found, and so that it happens or does not.
 *
 *           shorter        the tail goes
 *           longer         the last entry goes on, if the room behind is free
 *           else moved     what stays is carried to the new place, the rest
 *                          goes, what is new continues the last entry
 *
 *         Everything that takes memory is done first: entries and nodes are
 *         put aside, and what a pager's map established is entered at the new
 *         place while it is still at the old one.
 * LAYER   vm. Includes reshape.h.
 * LOCKS   as map.h
 * COST    as moving each entry and walking the range's page tables
 * SOURCE  Linux's mremap(2) for what it means; the order of steps is own
 */
#ifndef MMKIT_VM_REMAP_H
#define MMKIT_VM_REMAP_H

#include "reshape.h"

MMK_BEGIN_DECLS

struct mmk_remap_args {
	mmk_va va;
	uint64_t old_pages; /* > 0 */
	uint64_t new_pages; /* > 0 */
	bool may_move;
	bool fixed;    /* to new_va, replacing what is there */
	mmk_va new_va; /* if fixed */
};

/*
 * mmk_map_remap: what is at [va, va + old_pages) is new_pages long from now on.
 *
 * locks    takes and drops the mutex
 * out      *va_out: where it is now. Contents and page numbers follow.
 * errors   MMK_ERR_INVAL: bounds, or old and fixed new place overlap;
 *          MMK_ERR_NOENT: a hole in the old range; MMK_ERR_NOSPACE: no room;
 *          MMK_ERR_LIMIT; MMK_ERR_NOMEM: nothing changed, but that what a
 *          pager's map had established at a fixed new place may have been
 *          given back to it.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_map_remap(struct mmk_map *map,
    const struct mmk_remap_args *args, mmk_va *va_out);

MMK_END_DECLS
#endif /* MMKIT_VM_REMAP_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_VM_REMAP_IMPL)
#define MMKIT_VM_REMAP_IMPL

/* pre: boundaries at both ends. Private layers keep their page numbers. */
MMK_PRIVATE void
mmk__map_carry(struct mmk_map *map, mmk_va old_va, mmk_va old_end_va,
    mmk_va new_va)
{
	struct mmk_entry *entry;

	while ((entry = mmk__map_first(map, old_va, old_end_va)) != NULL) {
		mmk__map_unlink(map, entry);
		MMKIT_LOCK(&map->vm->lock);
		entry->start_va += new_va - old_va;
		entry->end_va += new_va - old_va;
		if (entry->upper.object != NULL)
			entry->upper.object->flags |= MMK_OBJECT_MOVED;
		MMKIT_UNLOCK(&map->vm->lock);
		mmk__map_link(map, entry);
	}
}

/* May what ends at `end_va` go on for nr_pages? */
MMK_PRIVATE enum mmk_err
mmk__map_may_extend(struct mmk_map *map, mmk_va end_va, uint64_t nr_pages)
{
	struct mmk_entry *entry = mmk_map_lookup(map, end_va - 1);
	mmk_va new_end_va = end_va + mmk_bytes_of_pages(nr_pages);

	if (entry == NULL || entry->end_va != end_va)
		return MMK_ERR_NOENT;
	if (!mmk__map_is_range(map, end_va, new_end_va))
		return MMK_ERR_NOSPACE;
	if (!mmk__map_is_free(map, end_va, new_end_va))
		return MMK_ERR_EXIST;
	if (!mmk__map_is_within_limit(map, end_va, nr_pages))
		return MMK_ERR_LIMIT;
	return MMK_OK;
}

/* A new entry that continues the old one, and joins it where that may be. */
MMK_PRIVATE void
mmk__map_append(struct mmk_map *map, mmk_va end_va, uint64_t nr_pages,
    struct mmk_entry *entry)
{
	struct mmk_entry *before = mmk_map_lookup(map, end_va - 1);

	MMKIT_LOCK(&map->vm->lock);
	*entry = *before;
	MMKIT_UNLOCK(&map->vm->lock);
	entry->start_va = end_va;
	entry->end_va = end_va + mmk_bytes_of_pages(nr_pages);
	entry->lower.page = mmk_entry_page(before, &before->lower, end_va);
	entry->upper.object = NULL;
	entry->upper.page = 0;
	mmk__map_put(map, entry);
}

/* Where things are, and what was taken for the change. */
struct mmk__remap {
	mmk_va old_va;
	mmk_va kept_end_va; /* of what is carried */
	mmk_va old_end_va;
	mmk_va new_va;
	mmk_va new_end_va;
	struct mmk__stash clips; /* for the old range: up to three */
	struct mmk__stash extra; /* two for the new place, and one to append */
};

/*
 * Entries for splits and a new tail, nodes for every insertion; `is_move`: each
 * entry that is carried is inserted again. errors NOMEM: nothing is held.
 */
MMK_PRIVATE enum mmk_err
mmk__remap_take(struct mmk__remap *r, struct mmk_map *map, bool is_move)
{
	unsigned nr_inserts = 6;
	struct mmk_entry *entry;

	for (mmk_va va = r->old_va; is_move &&
	     (entry = mmk__map_first(map, va, r->old_end_va)) != NULL;
	     va = entry->end_va)
		nr_inserts++;
	if (mmk__stash_fill(&r->clips, map, 3, 0) != MMK_OK)
		return MMK_ERR_NOMEM;
	if (mmk__stash_fill(&r->extra, map, 3, nr_inserts) == MMK_OK)
		return MMK_OK;
	mmk__stash_drop(&r->clips);
	return MMK_ERR_NOMEM;
}

MMK_PRIVATE void
mmk__remap_drop(struct mmk__remap *r)
{
	mmk__stash_drop(&r->clips);
	mmk__stash_drop(&r->extra);
}

/*
 * Enter again, `delta` further on, what the pager's map established in
 * [start_va, end_va) of `entry`. errors NOMEM: what was entered stays, for the
 * caller to remove.
 */
MMK_PRIVATE enum mmk_err
mmk__entry_reestablish(struct mmk_entry *entry, mmk_va start_va, mmk_va end_va,
    uint64_t delta)
{
	struct mmk_pmap *pmap = &entry->map->pmap;
	struct mmk_translation t;

	if (entry->lower.object->ops->map == NULL)
		return MMK_OK;
	while (mmk_pmap_next(pmap, start_va, end_va, &t)) {
		enum mmk_err err = MMK_OK;

		start_va = t.va + MMK_PAGE_BYTES;
		if ((t.flags & MMK_PMAP_SOFT) != 0)
			err = mmk_pmap_enter(pmap, t.va + delta, t.pa, t.flags);
		if (err != MMK_OK)
			return err;
	}
	return MMK_OK;
}

/*
 * What a pager's map established at the old place is so at the new as well;
 * all else is forgotten there. errors NOMEM: no translation at the new place.
 */
MMK_PRIVATE enum mmk_err
mmk__remap_establish(struct mmk_map *map, const struct mmk__remap *r)
{
	struct mmk_entry *entry;
	enum mmk_err err = MMK_OK;

	mmk__map_forget(map, r->new_va, r->new_end_va);
	for (mmk_va va = r->old_va; err == MMK_OK &&
	     (entry = mmk__map_first(map, va, r->kept_end_va)) != NULL;
	     va = entry->end_va)
		err = mmk__entry_reestablish(entry,
		    entry->start_va > r->old_va ? entry->start_va : r->old_va,
		    entry->end_va < r->kept_end_va ? entry->end_va
		                                   : r->kept_end_va,
		    r->new_va - r->old_va);
	if (err != MMK_OK)
		mmk__map_remove_translations(map, r->new_va, r->new_end_va);
	return err;
}

/* Entries at the new place go. The translations there are ours already. */
MMK_PRIVATE void
mmk__remap_evict(struct mmk_map *map, struct mmk__remap *r)
{
	struct mmk_entry *entry;

	mmk__map_clip(map, r->new_va, &r->extra);
	mmk__map_clip(map, r->new_end_va, &r->extra);
	while ((entry = mmk__map_first(map, r->new_va, r->new_end_va)) !=
	    NULL) {
		mmk__map_unlink(map, entry);
		mmk__entry_destroy(entry);
	}
}

/* pre: all is checked, taken and established. */
MMK_PRIVATE void
mmk__remap_move(struct mmk_map *map, struct mmk__remap *r)
{
	uint64_t kept_bytes = r->kept_end_va - r->old_va;
	mmk_va new_kept_end_va = r->new_va + kept_bytes;

	mmk__remap_evict(map, r);
	mmk__map_clip(map, r->old_va, &r->clips);
	mmk__map_clip(map, r->kept_end_va, &r->clips);
	if (r->kept_end_va < r->old_end_va)
		mmk__map_clear(map, r->kept_end_va, r->old_end_va, &r->clips);
	mmk__map_remove_translations(map, r->old_va, r->kept_end_va);
	mmk__map_carry(map, r->old_va, r->kept_end_va, r->new_va);
	if (new_kept_end_va < r->new_end_va)
		mmk__map_append(map, new_kept_end_va,
		    mmk_pages_of_bytes(r->new_end_va - new_kept_end_va),
		    mmk__stash_take(&r->extra));
	mmk__map_join(map, r->new_va);
	mmk__map_join(map, r->new_end_va);
}

/* Would the map be within its limit once the new place is what it will be? */
MMK_PRIVATE bool
mmk__remap_is_within_limit(const struct mmk_map *map,
    const struct mmk__remap *r)
{
	uint64_t nr_new = mmk_pages_of_bytes(r->new_end_va - r->new_va);
	uint64_t nr_old = mmk_pages_of_bytes(r->old_end_va - r->old_va);
	uint64_t nr_covered =
	    mmk__map_nr_covered(map, r->new_va, r->new_end_va);
	uint64_t nr_kept = map->nr_pages - nr_old - nr_covered;

	return nr_new <= nr_old + nr_covered ||
	    (nr_kept <= map->limit_pages &&
		nr_new <= map->limit_pages - nr_kept);
}

/* To a place that was asked for, or to the highest gap. */
MMK_PRIVATE enum mmk_err
mmk__remap_elsewhere(struct mmk_map *map, const struct mmk_remap_args *args,
    struct mmk__remap *r)
{
	uint64_t new_bytes = mmk_bytes_of_pages(args->new_pages);
	enum mmk_err err;

	r->new_va = args->new_va;
	if (!args->fixed) {
		err = mmk_btree_gap_highest(&map->tree, new_bytes,
		    MMK_PAGE_BYTES, map->min_va, map->top_va - 1, &r->new_va);
		if (err != MMK_OK)
			return err;
	}
	r->new_end_va = r->new_va + new_bytes;
	if (!mmk__remap_is_within_limit(map, r))
		return MMK_ERR_LIMIT;
	err = mmk__remap_take(r, map, true);
	if (err != MMK_OK)
		return err;
	err = mmk__remap_establish(map, r);
	if (err == MMK_OK)
		mmk__remap_move(map, r);
	mmk__remap_drop(r);
	return err;
}

/* Where it is: shorter, or longer if there is room. */
MMK_PRIVATE enum mmk_err
mmk__remap_here(struct mmk_map *map, const struct mmk_remap_args *args,
    struct mmk__remap *r)
{
	enum mmk_err err = MMK_OK;

	r->new_va = r->old_va;
	if (args->new_pages == args->old_pages)
		return MMK_OK;
	if (args->new_pages > args->old_pages) {
		err = mmk__map_may_extend(map, r->old_end_va,
		    args->new_pages - args->old_pages);
		/* Another entry's middle or start: something is in the way. */
		if (err == MMK_ERR_NOENT || err == MMK_ERR_EXIST)
			return MMK_ERR_NOSPACE;
	}
	if (err == MMK_OK)
		err = mmk__remap_take(r, map, false);
	if (err != MMK_OK)
		return err;
	if (args->new_pages > args->old_pages)
		mmk__map_append(map, r->old_end_va,
		    args->new_pages - args->old_pages,
		    mmk__stash_take(&r->extra));
	else
		mmk__map_clear(map, r->kept_end_va, r->old_end_va, &r->clips);
	mmk__remap_drop(r);
	return MMK_OK;
}

MMK_PRIVATE bool
mmk__remap_is_good(const struct mmk_map *map,
    const struct mmk_remap_args *args)
{
	uint64_t most_pages = mmk_pages_of_bytes(map->max_va - map->min_va);
	mmk_va old_end_va, new_end_va;

	if (args->old_pages == 0 || args->old_pages > most_pages ||
	    args->new_pages == 0)
		return false;
	old_end_va = args->va + mmk_bytes_of_pages(args->old_pages);
	if (!mmk__map_is_range(map, args->va, old_end_va))
		return false;
	if (!args->fixed)
		return true;
	if (args->new_pages > most_pages)
		return false;
	new_end_va = args->new_va + mmk_bytes_of_pages(args->new_pages);
	return mmk__map_is_range(map, args->new_va, new_end_va) &&
	    (args->va >= new_end_va || args->new_va >= old_end_va);
}

MMK_API enum mmk_err
mmk_map_remap(struct mmk_map *map, const struct mmk_remap_args *args,
    mmk_va *va_out)
{
	uint64_t kept_pages = args->new_pages < args->old_pages
	    ? args->new_pages : args->old_pages;
	struct mmk__remap r;
	enum mmk_err err = MMK_ERR_NOSPACE;

	if (!mmk__remap_is_good(map, args))
		return MMK_ERR_INVAL;
	if (args->new_pages > mmk_pages_of_bytes(map->max_va - map->min_va))
		return MMK_ERR_NOSPACE;
	r.old_va = args->va;
	r.old_end_va = args->va + mmk_bytes_of_pages(args->old_pages);
	r.kept_end_va = args->va + mmk_bytes_of_pages(kept_pages);
	mmk__map_lock(map);
	if (!mmk__map_is_whole(map, r.old_va, r.old_end_va))
		err = MMK_ERR_NOENT;
	else if (!args->fixed)
		err = mmk__remap_here(map, args, &r);
	if (args->fixed ? err != MMK_ERR_NOENT
	                : err == MMK_ERR_NOSPACE && args->may_move)
		err = mmk__remap_elsewhere(map, args, &r);
	mmk__map_unlock(map);
	if (err == MMK_OK)
		*va_out = r.new_va;
	return err;
}
#endif /* MMKIT_IMPLEMENTATION */
