/* SPDX-License-Identifier: MIT
 *
 * mmkit/vm/fault.h: a CPU could not translate; make it so that it can
 *
 * WHAT    One state machine. `va` lies in an entry, or nothing is there. Then:
 *
 *           0   the translation is there already: another CPU was faster, or
 *               only accessed/modified had to be noted
 *           1A  the upper layer has the page and it may be mapped as it is:
 *               for reading, or because the writer is its sole owner
 *           1B  the upper layer has the page, shared: amap copied if that is
 *               shared, then the anon if that is shared
 *           2A  the lower object has the page, or gets it: mapped as it is,
 *               read-only if the entry is private
 *           2B  private write to the lower object's page: promoted, that is,
 *               copied into a new anon of the upper layer
 *           2Z  the lower object has no page and no pager to get one: the
 *               zero page if it never will have, for a read, else a
 *               zero-filled anon
 *           2M  the lower object's pager gives the address itself (map)
 *           2G  the same, but it may take it back (grant)
 *           S   the entry shows a sub-map: all of the above again, of what
 *               that shows there
 *
 *         A case that must wait, or must make room in the page table first,
 *         drops the locks, does it, and starts again from the lookup; at most
 *         MMK_FAULT_TRIES times.
 *
 * LAYER   vm. Includes reshape.h.
 * LOCKS   takes map->mutex, vm->lock inside it; neither is held during I/O
 * COST    O(log entries + log pages). 0, 1A and 2A of a resident page allocate
 *         nothing here; the pmap may take a table and a reverse-map entry.
 * SOURCE  Cranor 1998, section 4.5 (cases 1A, 1B, 2A, 2B); 2M is SeaOS's.
 */
#ifndef MMKIT_VM_FAULT_H
#define MMKIT_VM_FAULT_H

#include "reshape.h"

MMK_BEGIN_DECLS

#define MMK_FAULT_TRIES 16u
#define MMK_FAULT_AROUND 16u /* pages of an object got and mapped at once */

/*
 * mmk_fault: make `access` (one of MMK_PROT_READ, WRITE, EXEC) at `va` possible.
 *
 * locks    none held; may wait for a pager
 * out      MMK_OK: try the access again.
 * errors   MMK_ERR_NOENT: no region (SIGSEGV, not mapped)
 *          MMK_ERR_ACCESS: the region forbids it (SIGSEGV, no right)
 *          MMK_ERR_NOSPACE: beyond the object's end (SIGBUS)
 *          MMK_ERR_IO: the pager failed (SIGBUS)
 *          MMK_ERR_NOMEM: no frame or table; make room and fault again
 *          MMK_ERR_LIMIT: the stack may not grow that far (SIGSEGV)
 *          MMK_ERR_AGAIN: another CPU is bringing the page in and the port
 *          has no MMKIT_WAIT, or MMK_FAULT_TRIES were not enough
 *          In every case the contents of memory are unchanged.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_fault(struct mmk_map *map, mmk_va va,
    unsigned access);

MMK_END_DECLS
#endif /* MMKIT_VM_FAULT_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_VM_FAULT_IMPL)
#define MMKIT_VM_FAULT_IMPL

/* What is left to do once the locks are dropped; then the fault starts again. */
enum mmk__fault_todo {
	MMK__FAULT_DONE,    /* nothing: `err` is the answer */
	MMK__FAULT_INSIDE,  /* the entry shows a sub-map: look into it */
	MMK__FAULT_AGAIN,   /* look again at once */
	MMK__FAULT_UNMAP,   /* what is translated at va is not what should be */
	MMK__FAULT_WAIT,    /* for `anon`, which is busy */
	MMK__FAULT_PAGE_IN, /* `anon` into `frame` */
	MMK__FAULT_GET      /* nr_anons pages of `object` from `page` on */
};

/* Guards: [M] the map's mutex; all else is the faulting CPU's own */
struct mmk__fault {
	struct mmk_map *map;
	struct mmk_vm *vm;
	mmk_va va;                     /* page aligned */
	unsigned access;
	struct mmk_entry *entry;       /* [M] */
	struct mmk_translation now;    /* [M] what va translates to, */
	bool is_mapped;                /* [M] if it does */
	enum mmk__fault_todo todo;
	struct mmk_anon *anon;         /* WAIT, PAGE_IN */
	struct mmk_frame *frame;       /* PAGE_IN; UNMAP: kept until flushed */
	bool is_everywhere;            /* UNMAP: take `frame` from other maps too */
	bool is_inside;                /* vm->submap_mutex is held: case S */
	struct mmk_object *object;     /* GET: with a reference */
	uint64_t page;                 /* GET */
	unsigned nr_anons;             /* GET */
	unsigned max_anons;            /* GET: 1 after a failure */
	const struct mmk_frame *quiet; /* of a shared layer: has no writer */
	struct mmk_anon *anons[MMK_FAULT_AROUND]; /* GET: busy, with frames */
};

MMK_PRIVATE enum mmk_err
mmk__fault_leave(struct mmk__fault *fault, enum mmk__fault_todo todo)
{
	fault->todo = todo;
	return MMK_OK;
}

/*
 * Enter `pa` at va with the rights of the entry and no others. If something
 * else is translated there, or with the right to write that is no longer due,
 * it must go first, and be flushed without locks.
 */
MMK_PRIVATE enum mmk_err
mmk__fault_enter(struct mmk__fault *fault, mmk_pa pa, bool may_write,
    unsigned flags)
{
	unsigned prot = fault->entry->prot;

	if (!may_write)
		prot &= ~MMK_PROT_WRITE;
	if (fault->is_mapped && (fault->now.pa != pa ||
		(fault->now.flags & MMK_PROT_WRITE & ~prot) != 0))
		return mmk__fault_leave(fault, MMK__FAULT_UNMAP);
	if ((fault->entry->lower.object->flags & MMK_OBJECT_DEVICE) != 0)
		flags |= MMK_PMAP_DEVICE;
	else
		flags |= fault->map->pmap_flags & MMK_PMAP_TYPE;
	return mmk_pmap_enter(&fault->map->pmap, fault->va, pa,
	    prot | flags | (fault->map->pmap_flags & ~MMK_PMAP_TYPE));
}

/* Is the anon's page here? If not, arrange for it and answer false. */
MMK_PRIVATE bool
mmk__fault_is_resident(struct mmk__fault *fault, struct mmk_anon *anon,
    enum mmk_err *err_out)
{
	*err_out = MMK_OK;
	fault->anon = anon;
	if ((anon->flags & MMK_ANON_BUSY) != 0) {
		fault->todo = MMK__FAULT_WAIT;
		return false;
	}
	if (anon->frame != NULL)
		return true;
	*err_out = mmk_anon_page_in_begin(fault->vm, anon, &fault->frame);
	if (*err_out == MMK_OK)
		fault->todo = MMK__FAULT_PAGE_IN;
	return false;
}

/* The entry's private layer, ready to take a page. errors NOMEM. */
MMK_PRIVATE enum mmk_err
mmk__fault_need_upper(struct mmk__fault *fault)
{
	struct mmk_entry *entry = fault->entry;
	struct mmk_object *upper = entry->upper.object;

	if (upper != NULL)
		return mmk__object_unshare(upper);
	upper = mmk__object_make(fault->vm, &mmk_upper_pager, NULL,
	    MMK_AMAP_MAX_PAGE + 1);
	if (upper == NULL)
		return MMK_ERR_NOMEM;
	upper->flags = MMK_OBJECT_UPPER;
	if (mmk__object_need_amap(upper) == NULL) {
		(void)mmk__object_release(upper);
		mmk_pool_free(&fault->vm->object_pool, upper);
		return MMK_ERR_NOMEM;
	}
	entry->upper.object = upper;
	entry->upper.page = mmk_pages_of_bytes(entry->start_va);
	mmk__oref_attach(&entry->upper, &entry->of_upper);
	(void)mmk__object_release(upper); /* the entry's reference stays */
	return MMK_OK;
}

/*
 * A private write to a page the upper layer has not: a new anon takes a copy
 * of what is at `from`, or zeros if that is NULL. `shown` is the frame whose
 * translations other maps that share the layer must lose, or NULL.
 */
MMK_PRIVATE enum mmk_err
mmk__fault_promote(struct mmk__fault *fault, const void *from,
    struct mmk_frame *shown)
{
	struct mmk_vm *vm = fault->vm;
	struct mmk_entry *entry = fault->entry;
	enum mmk_err err = mmk__fault_need_upper(fault);
	struct mmk_anon *anon;

	if (err != MMK_OK)
		return err;
	anon = mmk_anon_create_resident(vm, from == NULL ? MMK_ALLOC_ZERO : 0);
	if (anon == NULL)
		return MMK_ERR_NOMEM;
	err = mmk_amap_insert(vm, entry->upper.object->amap,
	    mmk_entry_page(entry, &entry->upper, fault->va), anon);
	if (err != MMK_OK) {
		mmk_anon_unref(vm, anon);
		return err;
	}
	if (from != NULL)
		MMKIT_PAGE_COPY(mmk_frame_ptr(vm->phys, anon->frame), from);
	mmk_vm_count(vm, from != NULL ? MMK_COUNT_PAGE_COPY
				      : MMK_COUNT_PAGE_ZERO);
	mmk_vm_count(vm, from != NULL ? MMK_COUNT_FAULT_PROMOTE
				      : MMK_COUNT_FAULT_ZERO_FILL);
	if ((entry->upper.object->flags & MMK_OBJECT_SHARED) != 0 &&
	    shown != NULL) {
		mmk_frame_ref(vm->phys, shown);
		fault->frame = shown;
		fault->is_everywhere = true;
		return mmk__fault_leave(fault, MMK__FAULT_UNMAP);
	}
	return mmk__fault_enter(fault, mmk_frame_pa(vm->phys, anon->frame),
	    true, MMK_PMAP_MODIFIED | MMK_PMAP_ACCESSED);
}

/*
 * Case 1B, the second level of copy-on-write. The old frame is held until no
 * CPU can read it through us any more. Another map that shares the layer may
 * have been allowed to write the page: it loses that before the copy is made.
 */
MMK_PRIVATE enum mmk_err
mmk__fault_copy_anon(struct mmk__fault *fault, struct mmk_anon *old)
{
	struct mmk_vm *vm = fault->vm;
	struct mmk_entry *entry = fault->entry;
	bool is_shared =
	    (entry->upper.object->flags & MMK_OBJECT_SHARED) != 0;
	struct mmk_anon *anon;

	if (is_shared && fault->quiet != old->frame) {
		fault->quiet = old->frame;
		mmk_frame_ref(vm->phys, old->frame);
		fault->frame = old->frame;
		fault->is_everywhere = true;
		return mmk__fault_leave(fault, MMK__FAULT_UNMAP);
	}
	anon = mmk_anon_create_resident(vm, 0);
	if (anon == NULL)
		return MMK_ERR_NOMEM;
	MMKIT_PAGE_COPY(mmk_frame_ptr(vm->phys, anon->frame),
	    mmk_frame_ptr(vm->phys, old->frame));
	mmk_vm_count(vm, MMK_COUNT_PAGE_COPY);
	mmk_vm_count(vm, MMK_COUNT_FAULT_COW);
	(void)mmk_amap_replace(entry->upper.object->amap,
	    mmk_entry_page(entry, &entry->upper, fault->va), anon);
	if (fault->is_mapped || is_shared) {
		mmk_frame_ref(vm->phys, old->frame);
		fault->frame = old->frame;
		fault->is_everywhere = is_shared;
	}
	mmk_anon_unref(vm, old);
	if (is_shared)
		return mmk__fault_leave(fault, MMK__FAULT_UNMAP);
	return mmk__fault_enter(fault, mmk_frame_pa(vm->phys, anon->frame),
	    true, MMK_PMAP_MODIFIED | MMK_PMAP_ACCESSED);
}

/* Cases 1A and 1B: the upper layer has the page. */
MMK_PRIVATE enum mmk_err
mmk__fault_upper(struct mmk__fault *fault, struct mmk_anon *anon)
{
	struct mmk_object *upper = fault->entry->upper.object;
	bool may_write;
	enum mmk_err err;

	if (!mmk__fault_is_resident(fault, anon, &err))
		return err;
	if (fault->access == MMK_PROT_WRITE) {
		err = mmk__object_unshare(upper);
		if (err != MMK_OK)
			return err;
	}
	may_write = mmk_amap_may_write_in_place(upper->amap, anon);
	if (fault->access == MMK_PROT_WRITE && !may_write)
		return mmk__fault_copy_anon(fault, anon);
	err = mmk__fault_enter(fault,
	    mmk_frame_pa(fault->vm->phys, anon->frame), may_write, 0);
	if (err == MMK_OK && fault->todo == MMK__FAULT_DONE)
		mmk_vm_count(fault->vm, fault->access == MMK_PROT_WRITE
			? MMK_COUNT_FAULT_IN_PLACE
			: MMK_COUNT_FAULT_UPPER);
	return err;
}

/* Case 2Z: nothing below but zeros, and there never will be. */
MMK_PRIVATE enum mmk_err
mmk__fault_zero(struct mmk__fault *fault)
{
	struct mmk_object *upper = fault->entry->upper.object;
	enum mmk_err err;

	/* The zero page has no reverse map: nobody could take it from the
	 * other maps that share the layer when one of them writes. */
	if (fault->access == MMK_PROT_WRITE || (upper != NULL &&
		(upper->flags & MMK_OBJECT_SHARED) != 0))
		return mmk__fault_promote(fault, NULL, NULL);
	err = mmk__fault_enter(fault,
	    mmk_frame_pa(fault->vm->phys, fault->vm->zero_frame), false,
	    MMK_PMAP_UNTRACKED);
	if (err == MMK_OK && fault->todo == MMK__FAULT_DONE)
		mmk_vm_count(fault->vm, MMK_COUNT_FAULT_ZERO_READ);
	return err;
}

/*
 * Put busy anons, with frames, where the object has none, from `page` on: the
 * pages to get. The first must succeed; its neighbours come along if they can.
 */
MMK_PRIVATE enum mmk_err
mmk__fault_begin_get(struct mmk__fault *fault, struct mmk_object *object,
    uint64_t page)
{
	struct mmk_vm *vm = fault->vm;
	uint64_t nr_pages = object->nr_pages - page;
	struct mmk_amap *amap = mmk__object_need_amap(object);

	fault->nr_anons = 0;
	while (amap != NULL && fault->nr_anons < fault->max_anons &&
	    fault->nr_anons < nr_pages &&
	    mmk_amap_lookup(amap, page + fault->nr_anons) == NULL) {
		struct mmk_anon *anon = mmk_anon_create_resident(vm, 0);

		if (anon == NULL)
			break;
		if (mmk_amap_insert(vm, amap, page + fault->nr_anons, anon) !=
		    MMK_OK) {
			mmk_anon_unref(vm, anon);
			break;
		}
		anon->flags |= MMK_ANON_BUSY;
		fault->anons[fault->nr_anons++] = anon;
	}
	if (fault->nr_anons == 0)
		return MMK_ERR_NOMEM;
	object->refs++;
	fault->object = object;
	fault->page = page;
	if (object->nr_gets++ == 0)
		object->cut_page = UINT64_MAX;
	return mmk__fault_leave(fault, MMK__FAULT_GET);
}

/* The pages are filled in, or are not and must go. No lock is held. */
MMK_PRIVATE MMK_NOINLINE enum mmk_err
mmk__fault_end_get(struct mmk__fault *fault)
{
	struct mmk_frame *frames[MMK_FAULT_AROUND];
	struct mmk_object *object = fault->object;
	struct mmk_vm *vm = fault->vm;
	enum mmk_err err;

	for (unsigned i = 0; i < fault->nr_anons; i++)
		frames[i] = fault->anons[i]->frame;
	err = object->ops->get(object, fault->page, frames, fault->nr_anons);
	mmk_vm_count(vm, MMK_COUNT_FAULT_GET);
	MMKIT_LOCK(&vm->lock);
	object->nr_gets--;
	for (unsigned i = 0; i < fault->nr_anons; i++) {
		uint64_t page = fault->page + i;

		/* Never filled, or cut off meanwhile: nobody may see it. */
		if (err != MMK_OK || page >= object->cut_page)
			mmk__object_drop_page(object, page, fault->anons[i]);
		else
			mmk_vm_count(vm, MMK_COUNT_PAGE_IN);
		(void)mmk_anon_wake(vm, fault->anons[i]);
	}
	MMKIT_UNLOCK(&vm->lock);
	mmk_object_unref(object);
	if (err != MMK_OK && fault->nr_anons > 1) {
		fault->max_anons = 1; /* it may be a neighbour that failed */
		return MMK_OK;
	}
	/* To the pager nothing is there; to the program it is the end. */
	return err == MMK_ERR_NOENT ? MMK_ERR_NOSPACE : err;
}

/* Resident neighbours of an object page that was read, mapped as well. */
MMK_PRIVATE void
mmk__fault_around(struct mmk__fault *fault)
{
	struct mmk_entry *entry = fault->entry;
	struct mmk_vm *vm = fault->vm;
	mmk_va bytes = mmk_bytes_of_pages(MMK_FAULT_AROUND);
	mmk_va va = mmk_round_down(fault->va, bytes), end_va = va + bytes;
	unsigned prot = entry->prot & ~MMK_PROT_WRITE;

	if (va < entry->start_va)
		va = entry->start_va;
	for (; va < end_va && va < entry->end_va; va += MMK_PAGE_BYTES) {
		struct mmk_translation t;
		struct mmk_anon *anon;

		if (mmk__entry_anon(entry, &entry->upper, va) != NULL ||
		    mmk_pmap_query(&fault->map->pmap, va, &t))
			continue;
		anon = mmk__entry_anon(entry, &entry->lower, va);
		if (anon == NULL || anon->frame == NULL ||
		    (anon->flags & MMK_ANON_BUSY) != 0)
			continue;
		if (mmk_pmap_enter(&fault->map->pmap, va,
			mmk_frame_pa(vm->phys, anon->frame),
			prot | fault->map->pmap_flags) != MMK_OK)
			return;
		mmk_vm_count(vm, MMK_COUNT_FAULT_AROUND);
	}
}

/* Cases 2A and 2B: the lower object has the page. */
MMK_PRIVATE enum mmk_err
mmk__fault_lower(struct mmk__fault *fault, struct mmk_anon *anon)
{
	bool is_private = (fault->entry->flags & MMK_ENTRY_PRIVATE) != 0;
	enum mmk_err err;

	if (!mmk__fault_is_resident(fault, anon, &err))
		return err;
	if (is_private && fault->access == MMK_PROT_WRITE)
		return mmk__fault_promote(fault,
		    mmk_frame_ptr(fault->vm->phys, anon->frame), anon->frame);
	err = mmk__fault_enter(fault,
	    mmk_frame_pa(fault->vm->phys, anon->frame), !is_private, 0);
	if (err == MMK_OK && fault->todo == MMK__FAULT_DONE) {
		mmk_vm_count(fault->vm, MMK_COUNT_FAULT_OBJECT);
		if (fault->access != MMK_PROT_WRITE)
			mmk__fault_around(fault);
	}
	return err;
}

/* The upper layer has nothing here: what does the lower object say? */
MMK_PRIVATE enum mmk_err
mmk__fault_object(struct mmk__fault *fault)
{
	struct mmk_entry *entry = fault->entry;
	struct mmk_object *object = entry->lower.object;
	uint64_t page = mmk_entry_page(entry, &entry->lower, fault->va);
	struct mmk_anon *anon = mmk__entry_anon(entry, &entry->lower,
	    fault->va);
	struct mmk_amap *amap;

	if (page >= object->nr_pages)
		return MMK_ERR_NOSPACE;
	if (anon != NULL)
		return mmk__fault_lower(fault, anon);
	if (object->ops->get != NULL)
		return mmk__fault_begin_get(fault, object, page);
	if ((object->flags & MMK_OBJECT_EMPTY) != 0)
		return mmk__fault_zero(fault);
	amap = mmk__object_need_amap(object);
	anon = amap != NULL
	    ? mmk_anon_create_resident(fault->vm, MMK_ALLOC_ZERO) : NULL;
	if (anon == NULL)
		return MMK_ERR_NOMEM;
	if (mmk_amap_insert(fault->vm, amap, page, anon) != MMK_OK) {
		mmk_anon_unref(fault->vm, anon);
		return MMK_ERR_NOMEM;
	}
	mmk_vm_count(fault->vm, MMK_COUNT_PAGE_ZERO);
	return mmk__fault_lower(fault, anon);
}

/*
 * Case 2M, a private write: copy what the pager shows, then let go of it. Only
 * RAM can be copied.
 */
MMK_PRIVATE enum mmk_err
mmk__fault_promote_pager(struct mmk__fault *fault, mmk_pa pa)
{
	struct mmk_vm *vm = fault->vm;
	struct mmk_entry *entry = fault->entry;
	bool was_mapped = fault->is_mapped;
	enum mmk_err err = MMK_ERR_ACCESS;

	if (mmk_frame_of_pa(vm->phys, pa) != NULL) {
		MMKIT_LOCK(&vm->lock);
		fault->is_mapped = true; /* copy only; the fault looks again */
		fault->now.pa = pa;
		err = mmk__fault_promote(fault, MMKIT_PHYS_TO_PTR(pa), NULL);
		MMKIT_UNLOCK(&vm->lock);
	}
	if (was_mapped && err == MMK_OK)
		mmk__entry_unestablish(entry, fault->va,
		    fault->va + MMK_PAGE_BYTES);
	else if (!was_mapped)
		mmk__entry_give_back(entry, mmk_entry_page(entry,
		    &entry->lower, fault->va), pa);
	return err == MMK_OK ? mmk__fault_leave(fault, MMK__FAULT_AGAIN) : err;
}

/* Case 2M: the pager names the address. The mutex is held, vm->lock is not. */
MMK_PRIVATE enum mmk_err
mmk__fault_pager(struct mmk__fault *fault)
{
	struct mmk_entry *entry = fault->entry;
	struct mmk_object *object = entry->lower.object;
	uint64_t page = mmk_entry_page(entry, &entry->lower, fault->va);
	bool is_private = (entry->flags & MMK_ENTRY_PRIVATE) != 0;
	mmk_pa pa = fault->now.pa;
	enum mmk_err err;

	if (page >= object->nr_pages)
		return MMK_ERR_NOSPACE;
	if (!fault->is_mapped) {
		err = object->ops->map(object, entry, page, fault->access,
		    &pa);
		if (err != MMK_OK)
			return err;
		if (!mmk_is_page_aligned(pa)) {
			mmk__entry_give_back(entry, page, pa);
			return MMK_ERR_IO;
		}
	}
	if (is_private && fault->access == MMK_PROT_WRITE)
		return mmk__fault_promote_pager(fault, pa);
	err = mmk__fault_enter(fault, pa, !is_private, MMK_PMAP_SOFT);
	if (err != MMK_OK && !fault->is_mapped)
		mmk__entry_give_back(entry, page, pa);
	if (err == MMK_OK)
		mmk_vm_count(fault->vm, MMK_COUNT_FAULT_PAGER);
	return err;
}

/*
 * Case 2G: the object grants a frame until it takes it back. What is copied for
 * a private write is unmapped by the way, and found above next time round.
 */
MMK_PRIVATE enum mmk_err
mmk__fault_grant(struct mmk__fault *fault)
{
	struct mmk_entry *entry = fault->entry;
	struct mmk_object *object = entry->lower.object;
	uint64_t page = mmk_entry_page(entry, &entry->lower, fault->va);
	bool is_private = (entry->flags & MMK_ENTRY_PRIVATE) != 0;
	bool is_copied = is_private && fault->access == MMK_PROT_WRITE;
	bool may_write = false;
	enum mmk_err err;
	mmk_pa pa;

	if (page >= object->nr_pages)
		return MMK_ERR_NOSPACE;
	err = object->ops->grant(object, page,
	    is_copied ? MMK_PROT_READ : fault->access, &pa, &may_write);
	if (err != MMK_OK)
		return err;
	MMK_ASSERT(mmk_frame_of_pa(fault->vm->phys, pa) != NULL);
	if (is_copied) {
		fault->is_mapped = true;
		fault->now.pa = pa;
		MMKIT_LOCK(&fault->vm->lock);
		err = mmk__fault_promote(fault, MMKIT_PHYS_TO_PTR(pa), NULL);
		MMKIT_UNLOCK(&fault->vm->lock);
	} else {
		err = mmk__fault_enter(fault, pa, may_write && !is_private, 0);
		if (err == MMK_OK && fault->todo == MMK__FAULT_DONE)
			mmk_vm_count(fault->vm, MMK_COUNT_FAULT_PAGER);
	}
	if (object->ops->granted != NULL)
		object->ops->granted(object, page, pa);
	return err;
}

/*
 * Case 0: the right is there. Either accessed or modified is to be noted, or
 * this CPU knows an older state of the entry, which it forgets now.
 */
MMK_PRIVATE enum mmk_err
mmk__fault_again(struct mmk__fault *fault)
{
	const struct mmk_pt_shape *shape = &fault->vm->pmap_sys->shape;

	(void)mmk_pmap_emulate(&fault->map->pmap, fault->va, fault->access);
	mmk_vm_count(fault->vm, shape->hw_accessed && shape->hw_modified
		? MMK_COUNT_FAULT_SPURIOUS
		: MMK_COUNT_FAULT_EMULATED);
	return MMK_OK;
}

/*
 * Somebody brings the page in or out. The mutex is let go while asleep, so the
 * entry may be gone afterwards.
 */
MMK_PRIVATE enum mmk_err
mmk__fault_wait(struct mmk__fault *fault)
{
#ifdef MMKIT_WAIT
	if (fault->is_inside)
		MMKIT_MUTEX_UNLOCK(&fault->vm->submap_mutex);
	fault->is_inside = false;
	MMKIT_MUTEX_UNLOCK(&fault->map->mutex);
	MMKIT_WAIT(fault->anon, &fault->vm->lock);
	MMKIT_UNLOCK(&fault->vm->lock);
	MMKIT_MUTEX_LOCK(&fault->map->mutex);
	MMKIT_LOCK(&fault->vm->lock);
	return mmk__fault_leave(fault, MMK__FAULT_AGAIN);
#else
	(void)fault;
	return MMK_ERR_AGAIN;
#endif
}

/*
 * Case S: what the sub-map shows at va takes the place of the entry. It is held
 * until what is found there has been entered: who changes it after that takes
 * the translation away again.
 */
MMK_PRIVATE MMK_NOINLINE enum mmk_err
mmk__fault_inside(struct mmk__fault *fault)
{
	struct mmk_entry *seen = mmk__submap_seen(fault->entry->lower.object);

	MMKIT_MUTEX_LOCK(&fault->vm->submap_mutex);
	fault->is_inside = true;
	fault->todo = MMK__FAULT_DONE;
	if (!mmk__entry_see(fault->entry, fault->va, seen))
		return MMK_ERR_NOENT;
	fault->entry = seen;
	return (seen->prot & fault->access) != 0 ? MMK_OK : MMK_ERR_ACCESS;
}

/* The other way; not if the fault has waited. */
MMK_PRIVATE MMK_NOINLINE void
mmk__fault_outside(struct mmk__fault *fault)
{
	fault->is_inside = false;
	MMKIT_MUTEX_UNLOCK(&fault->vm->submap_mutex);
}

/*
 * Not a case of layers: the pager names the address, or shows a sub-map. Then
 * MMK__FAULT_INSIDE is left to do.
 */
MMK_PRIVATE enum mmk_err
mmk__fault_named(struct mmk__fault *fault)
{
	const struct mmk_object *object = fault->entry->lower.object;

	if (mmk_object_is_submap(object))
		return mmk__fault_leave(fault, MMK__FAULT_INSIDE);
	return object->ops->grant != NULL ? mmk__fault_grant(fault)
	                                  : mmk__fault_pager(fault);
}

/* Which case is it? The mutex is held. */
MMK_PRIVATE enum mmk_err
mmk__fault_case(struct mmk__fault *fault)
{
	struct mmk_vm *vm = fault->vm;
	struct mmk_entry *entry = fault->entry;
	struct mmk_anon *anon;
	enum mmk_err err = MMK_OK;
	bool is_pager;

	fault->is_mapped =
	    mmk_pmap_query(&fault->map->pmap, fault->va, &fault->now);
	if (fault->is_mapped && (fault->now.flags & fault->access) != 0)
		return mmk__fault_again(fault);
	mmk_pmap_settle(&fault->map->pmap);
	MMKIT_LOCK(&vm->lock);
	anon = mmk__entry_anon(entry, &entry->upper, fault->va);
	is_pager = anon == NULL && mmk_object_names_frames(entry->lower.object);
	if (anon != NULL)
		err = mmk__fault_upper(fault, anon);
	else if (!is_pager)
		err = mmk__fault_object(fault);
	if (fault->todo == MMK__FAULT_WAIT)
		err = mmk__fault_wait(fault);
	MMKIT_UNLOCK(&vm->lock);
	return is_pager ? mmk__fault_named(fault) : err;
}

/* A stack entry that starts above `va` grows down to it. The mutex is held. */
MMK_PRIVATE enum mmk_err
mmk__fault_grow(struct mmk__fault *fault)
{
	struct mmk_map *map = fault->map;
	struct mmk_entry *entry = mmk__map_first(map, fault->va, map->max_va);
	mmk_va guard_va = mmk_bytes_of_pages(map->stack_guard_pages);
	uint64_t nr_more;

	if (entry == NULL || (entry->flags & MMK_ENTRY_STACK) == 0 ||
	    fault->va < map->min_va)
		return MMK_ERR_NOENT;
	nr_more = mmk_pages_of_bytes(entry->start_va - fault->va);
	if (nr_more + mmk_entry_nr_pages(entry) > map->stack_limit_pages ||
	    fault->va - map->min_va < guard_va ||
	    !mmk__map_is_free(map, fault->va - guard_va, entry->start_va) ||
	    !mmk__map_is_within_limit(map, fault->va, nr_more))
		return MMK_ERR_LIMIT;
	if (entry->lower.page < nr_more || (entry->upper.object != NULL &&
		!mmk__upper_is_plain(entry->upper.object)))
		return MMK_ERR_LIMIT;
	MMKIT_LOCK(&fault->vm->lock);
	entry->lower.page -= nr_more;
	if (entry->upper.object != NULL)
		entry->upper.page -= nr_more;
	mmk__map_set_ends(map, entry, fault->va, entry->end_va);
	MMKIT_UNLOCK(&fault->vm->lock);
	mmk_vm_count(fault->vm, MMK_COUNT_FAULT_GROW);
	return MMK_OK;
}

/* One look at the map, under the mutex. */
MMK_PRIVATE enum mmk_err
mmk__fault_look(struct mmk__fault *fault)
{
	struct mmk_map *map = fault->map;
	enum mmk_err err = MMK_OK;

	fault->todo = MMK__FAULT_DONE;
	fault->frame = NULL;
	fault->is_everywhere = false;
	fault->entry = mmk_map_lookup(map, fault->va);
	if (fault->entry == NULL) {
		err = mmk__fault_grow(fault);
		if (err == MMK_OK)
			fault->entry = mmk_map_lookup(map, fault->va);
	}
	if (err == MMK_OK && (fault->entry->prot & fault->access) == 0)
		err = MMK_ERR_ACCESS;
	while (err == MMK_OK) {
		err = mmk__fault_case(fault);
		if (fault->todo == MMK__FAULT_DONE)
			break;
		if (fault->todo != MMK__FAULT_INSIDE) {
			if (fault->todo == MMK__FAULT_UNMAP)
				mmk__map_forget(map, fault->va,
				    fault->va + MMK_PAGE_BYTES);
			break;
		}
		err = mmk__fault_inside(fault);
	}
	if (fault->is_inside)
		mmk__fault_outside(fault);
	return err;
}

/* What had to wait until no lock is held. */
MMK_PRIVATE enum mmk_err
mmk__fault_finish(struct mmk__fault *fault)
{
	struct mmk_vm *vm = fault->vm;
	enum mmk_err err;

	switch (fault->todo) {
	case MMK__FAULT_UNMAP:
		/* Others that show the same layer show the old page still. */
		if (fault->is_everywhere)
			mmk_page_remove_all(vm->pmap_sys, fault->frame);
		if (fault->frame != NULL)
			(void)mmk_frame_unref(vm->phys, fault->frame);
		return MMK_OK;
	case MMK__FAULT_PAGE_IN:
		err = mmk_anon_page_in_end(vm, fault->anon, fault->frame);
		return err == MMK_ERR_AGAIN ? MMK_OK : err;
	case MMK__FAULT_GET:
		return mmk__fault_end_get(fault);
	case MMK__FAULT_DONE:
	case MMK__FAULT_INSIDE:
	case MMK__FAULT_AGAIN:
	case MMK__FAULT_WAIT:
		break;
	}
	return MMK_OK;
}

MMK_API enum mmk_err
mmk_fault(struct mmk_map *map, mmk_va va, unsigned access)
{
	struct mmk__fault fault = { 0 };
	enum mmk_err err = MMK_OK;

	MMK_ASSERT(access == MMK_PROT_READ || access == MMK_PROT_WRITE ||
	    access == MMK_PROT_EXEC);
	MMK_ASSERT(map->inside == NULL);
	fault.map = map;
	fault.vm = map->vm;
	fault.va = mmk_page_floor(va);
	fault.access = access;
	fault.max_anons = MMK_FAULT_AROUND;
	mmk_vm_count(fault.vm, MMK_COUNT_FAULT);
	for (unsigned nr_tries = 0; nr_tries < MMK_FAULT_TRIES; nr_tries++) {
		MMKIT_YIELD_POINT();
		MMKIT_MUTEX_LOCK(&map->mutex);
		err = mmk__fault_look(&fault);
		MMKIT_MUTEX_UNLOCK(&map->mutex);
		if (err == MMK_OK)
			err = mmk__fault_finish(&fault);
		if (err != MMK_OK || fault.todo == MMK__FAULT_DONE)
			break;
	}
	if (err == MMK_OK && fault.todo != MMK__FAULT_DONE)
		err = MMK_ERR_AGAIN;
	if (err != MMK_OK)
		mmk_vm_count(fault.vm,
		    err == MMK_ERR_NOENT || err == MMK_ERR_ACCESS ||
			err == MMK_ERR_LIMIT
			? MMK_COUNT_FAULT_REFUSED
			: MMK_COUNT_FAULT_FAILED);
	return err;
}
#endif /* MMKIT_IMPLEMENTATION */
