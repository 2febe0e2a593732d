/* SPDX-License-Identifier: MIT
 *
 * mmkit/vm/inherit.h: fork: a map made from another
 *
 * WHAT    Each entry is shared, copied or left out, as its `inherit` says. A
 *         copy copies nothing: the child's upper object refers to the same
 *         amap, and the parent loses the right to write to its pages until it
 *         faults. Translations are not copied (the child faults them in),
 *         except those a pager's `map` gave: these are counted by the pager,
 *         so the child gets each of them, with a reference more (S0.7).
 *         Sharing a private layer over such a pager is the same as copying it.
 * LAYER   vm. Includes fault.h.
 * LOCKS   the parent's mutex throughout, vm->lock inside it
 * COST    O(entries), and the write-protecting of the parent's tables
 * SOURCE  Cranor 1998, section 4.6
 */
#ifndef MMKIT_VM_INHERIT_H
#define MMKIT_VM_INHERIT_H

#include "fault.h"

MMK_BEGIN_DECLS

/*
 * mmk_map_fork: `child`, uninitialised, becomes a copy of `parent`.
 *
 * out      When it returns no CPU can write a private page of the parent's
 *          without a fault.
 * errors   MMK_ERR_NOMEM: the child is not initialised, the parent unchanged
 *          (but that translations may have been forgotten).
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_map_fork(struct mmk_map *child,
    struct mmk_map *parent, void *owner);

MMK_END_DECLS
#endif /* MMKIT_VM_INHERIT_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_VM_INHERIT_IMPL)
#define MMKIT_VM_INHERIT_IMPL

/* Does the child get a copy of the private layer, rather than the layer? */
MMK_PRIVATE bool
mmk__entry_is_copied(const struct mmk_entry *entry)
{
	return (entry->flags & MMK_ENTRY_PRIVATE) != 0 &&
	    (entry->inherit != MMK_INHERIT_SHARE ||
		mmk_object_names_frames(entry->lower.object));
}

/*
 * The child's object over the amap of `upper`; one for all entries that show
 * it. It holds one reference of the fork's own. NULL: no memory.
 */
MMK_PRIVATE struct mmk_object *
mmk__fork_twin(struct mmk_object *upper)
{
	struct mmk_object *twin = upper->twin;

	if (twin != NULL)
		return twin;
	twin = mmk__object_make(upper->vm, upper->ops, NULL, upper->nr_pages);
	if (twin == NULL)
		return NULL;
	twin->flags = upper->flags & ~MMK_OBJECT_SHARED;
	upper->amap->refs++;
	mmk__object_set_amap(twin, upper->amap);
	upper->twin = twin;
	return twin;
}

/*
 * What the child's entry shows above its lower object. vm->lock held. To be
 * shared, the parent's layer must exist first.
 */
MMK_PRIVATE enum mmk_err
mmk__fork_upper(struct mmk_entry *copy, struct mmk_entry *entry)
{
	struct mmk__fault fault = { 0 };
	enum mmk_err err;

	if ((entry->flags & MMK_ENTRY_PRIVATE) == 0)
		return MMK_OK;
	if (mmk__entry_is_copied(entry)) {
		if (entry->upper.object == NULL)
			return MMK_OK;
		copy->upper.object = mmk__fork_twin(entry->upper.object);
		return copy->upper.object != NULL ? MMK_OK : MMK_ERR_NOMEM;
	}
	fault.vm = entry->map->vm;
	fault.entry = entry;
	err = mmk__fault_need_upper(&fault);
	if (err != MMK_OK)
		return err;
	copy->upper = entry->upper;
	entry->upper.object->flags |= MMK_OBJECT_SHARED;
	return MMK_OK;
}

/* The child gets what a pager's map gave the parent. errors NOMEM. */
MMK_PRIVATE enum mmk_err
mmk__fork_establish(struct mmk_entry *copy, struct mmk_entry *entry)
{
	struct mmk_translation t;
	mmk_va va = entry->start_va;

	if (entry->lower.object->ops->map == NULL)
		return MMK_OK;
	for (; mmk_pmap_next(&entry->map->pmap, va, entry->end_va, &t);
	     va = t.va + MMK_PAGE_BYTES) {
		enum mmk_err err;

		if ((t.flags & MMK_PMAP_SOFT) == 0)
			continue;
		(void)mmk_pa_ref(entry->map->vm->phys, t.pa);
		err = mmk_pmap_enter(&copy->map->pmap, t.va, t.pa,
		    t.flags & ~(MMK_PMAP_ACCESSED | MMK_PMAP_MODIFIED));
		if (err != MMK_OK) {
			(void)mmk_pa_unref(entry->map->vm->phys, t.pa);
			return err;
		}
	}
	return MMK_OK;
}

/* errors NOMEM: what the child has of the entry goes when the child does. */
MMK_PRIVATE enum mmk_err
mmk__fork_entry(struct mmk_map *child, struct mmk_entry *entry)
{
	struct mmk_vm *vm = child->vm;
	struct mmk__stash stash;
	struct mmk_entry *copy;
	enum mmk_err err;

	if (entry->inherit == MMK_INHERIT_NONE)
		return MMK_OK;
	err = mmk__stash_fill(&stash, child, 1, 1);
	if (err != MMK_OK)
		return err;
	copy = mmk__stash_take(&stash);
	MMKIT_LOCK(&vm->lock);
	*copy = *entry;
	copy->map = child;
	copy->upper.object = NULL;
	err = mmk__fork_upper(copy, entry);
	if (err == MMK_OK)
		mmk__entry_attach(copy);
	MMKIT_UNLOCK(&vm->lock);
	if (err != MMK_OK) {
		mmk_pool_free(&vm->entry_pool, copy);
		return err;
	}
	mmk__map_link(child, copy);
	return mmk__fork_establish(copy, entry);
}

/* Twins are the entries' now, or nobody's. */
MMK_PRIVATE void
mmk__fork_forget_twins(struct mmk_map *parent)
{
	struct mmk_entry *entry;

	for (mmk_va va = parent->min_va;
	     (entry = mmk__map_first(parent, va, parent->max_va)) != NULL;
	     va = entry->end_va) {
		struct mmk_object *upper = entry->upper.object, *twin;
		bool is_last;

		if (upper == NULL || upper->twin == NULL)
			continue;
		MMKIT_LOCK(&parent->vm->lock);
		twin = upper->twin;
		upper->twin = NULL;
		is_last = mmk__object_release(twin);
		MMKIT_UNLOCK(&parent->vm->lock);
		if (is_last)
			mmk__object_destroy(twin);
	}
}

/* Every page of a layer that other maps show too loses its writers. */
MMK_PRIVATE void
mmk__fork_protect_shared(struct mmk_object *upper)
{
	struct mmk_vm *vm = upper->vm;

	for (uint64_t page = 0;; page++) {
		struct mmk_frame *frame = NULL;
		struct mmk_anon *anon;

		MMKIT_LOCK(&vm->lock);
		anon = mmk_amap_next(upper->amap, &page);
		if (anon != NULL && anon->frame != NULL) {
			frame = anon->frame;
			mmk_frame_ref(vm->phys, frame);
		}
		MMKIT_UNLOCK(&vm->lock);
		if (anon == NULL)
			return;
		if (frame != NULL) {
			mmk_page_write_protect(vm->pmap_sys, frame);
			(void)mmk_frame_unref(vm->phys, frame);
		}
	}
}

/* Until it faults, the parent may not write what the child sees as well. */
MMK_PRIVATE void
mmk__fork_protect(struct mmk_map *parent)
{
	struct mmk_gather gather;
	struct mmk_entry *entry;

	mmk_gather_init(&gather, parent->pmap.sys);
	for (mmk_va va = parent->min_va;
	     (entry = mmk__map_first(parent, va, parent->max_va)) != NULL;
	     va = entry->end_va) {
		if ((entry->flags & MMK_ENTRY_PRIVATE) == 0 ||
		    entry->inherit == MMK_INHERIT_NONE)
			continue;
		if (mmk__entry_is_copied(entry))
			mmk_pmap_protect(&parent->pmap, entry->start_va,
			    entry->end_va, MMK_PROT_READ | MMK_PROT_EXEC,
			    &gather);
		else /* the zero page in it could not be taken away later */
			mmk_pmap_remove(&parent->pmap, entry->start_va,
			    entry->end_va, &gather);
	}
	mmk_gather_finish(&gather);
	for (mmk_va va = parent->min_va;
	     (entry = mmk__map_first(parent, va, parent->max_va)) != NULL;
	     va = entry->end_va)
		if (entry->upper.object != NULL &&
		    (entry->upper.object->flags & MMK_OBJECT_SHARED) != 0 &&
		    mmk__entry_is_copied(entry))
			mmk__fork_protect_shared(entry->upper.object);
}

/* A fork has failed: layers it would have shared are the parent's alone. */
MMK_PRIVATE void
mmk__fork_unshare(struct mmk_map *parent)
{
	struct mmk_entry *entry;

	for (mmk_va va = parent->min_va;
	     (entry = mmk__map_first(parent, va, parent->max_va)) != NULL;
	     va = entry->end_va) {
		struct mmk_object *upper = entry->upper.object;
		bool is_alone = true;

		if (upper == NULL)
			continue;
		MMKIT_LOCK(&parent->vm->lock);
		MMK_LIST_FOR_EACH(link, &upper->entries)
			is_alone = is_alone && MMK_LIST_ITEM(link,
			    struct mmk_entry, of_upper)->map == parent;
		if (is_alone)
			upper->flags &= ~MMK_OBJECT_SHARED;
		MMKIT_UNLOCK(&parent->vm->lock);
	}
}

MMK_API enum mmk_err
mmk_map_fork(struct mmk_map *child, struct mmk_map *parent, void *owner)
{
	enum mmk_err err = mmk_map_init(child, parent->vm, parent->min_va,
	    parent->max_va, owner);
	struct mmk_entry *entry;

	if (err != MMK_OK)
		return err;
	child->limit_pages = parent->limit_pages;
	child->stack_limit_pages = parent->stack_limit_pages;
	child->stack_guard_pages = parent->stack_guard_pages;
	child->top_va = parent->top_va;
	child->pmap_flags = parent->pmap_flags;
	mmk__map_lock(parent);
	child->has_submaps = parent->has_submaps;
	for (mmk_va va = parent->min_va; err == MMK_OK &&
	     (entry = mmk__map_first(parent, va, parent->max_va)) != NULL;
	     va = entry->end_va)
		err = mmk__fork_entry(child, entry);
	mmk__fork_forget_twins(parent);
	if (err == MMK_OK)
		mmk__fork_protect(parent);
	mmk__map_let_go(parent);
	if (err == MMK_OK) {
		mmk_vm_count(parent->vm, MMK_COUNT_FORK);
		return MMK_OK;
	}
	mmk_map_fini(child);
	mmk__map_lock(parent);
	mmk__fork_unshare(parent);
	mmk__map_let_go(parent);
	return err;
}
#endif /* MMKIT_IMPLEMENTATION */
