/* SPDX-License-Identifier: MIT
 *
 * mmkit/vm/object.h: what can be mapped, and who manages it
 *
 * WHAT    An object is a numbered sequence of pages and the pager that knows
 *         about them. It keeps the pages it has in an amap. Two uses:
 *
 *           lower   a file, a device, the zero object: what was mapped
 *           upper   a map's private layer over a lower object; after a fork
 *                   parent and child have one each, over a shared amap
 *
 *         Nothing here or above looks at what kind of object it is: a pager's
 *         members, present or absent, decide (S0.2).
 *
 * LAYER   vm. Includes amap.h. Knows maps only as a list of entries.
 * LOCKS   vm->lock guards the fields; see each pager member for what is held
 * COST    112 bytes an object; ref, unref O(1) but the last, O(pages)
 * SOURCE  Cranor 1998, section 4.2 (objects); SeaOS (map and unmap); Topsy v3
 *         (a manager for each kind); SCAL/UX (object -> shared amap).
 *
 * I1      refs >= nr_entries == the length of its list           mmk_check
 * I2      it is on amap->objects exactly if amap != NULL         mmk_check
 */
#ifndef MMKIT_VM_OBJECT_H
#define MMKIT_VM_OBJECT_H

#include "amap.h"

MMK_BEGIN_DECLS

struct mmk_entry;
struct mmk_object;

/* The kinds mmkit ships. A kernel's own start at MMK_PAGER_KERNEL. */
enum mmk_pager_kind {
	MMK_PAGER_ZERO,
	MMK_PAGER_FILE,
	MMK_PAGER_DEVICE,
	MMK_PAGER_UPPER,
	MMK_PAGER_CONTAINER,
	MMK_PAGER_SUBMAP,
	MMK_PAGER_KERNEL = 64
};

/*
 * The manager of one kind of object. Every member but `name` may be NULL. Kinds
 * are told apart by `kind`, never by address: a table defined in a header
 * has a different address in each file.
 */
struct mmk_pager_ops {
	const char *name;
	unsigned kind; /* enum mmk_pager_kind or the kernel's own */

	/*
	 * Fill frames[0..nr_frames-1] with the pages from `page` on. No lock
	 * is held; may wait. errors IO; NOENT: beyond the end; AGAIN: later.
	 * On any error nothing is kept. Absent: pages start as zeros.
	 */
	enum mmk_err (*get)(struct mmk_object *object, uint64_t page,
	    struct mmk_frame **frames, unsigned nr_frames);

	/*
	 * Write one page back. No lock is held; may wait. errors IO, NOSPACE:
	 * the page stays modified. Absent: there is nowhere to write it.
	 */
	enum mmk_err (*put)(struct mmk_object *object, uint64_t page,
	    struct mmk_frame *frame);

	/*
	 * The object has its own addresses: say which one is mapped for `page`
	 * of `entry`. Called once for each translation established, with the
	 * map's mutex held: do not wait (answer AGAIN instead). A managed
	 * frame comes with one reference, which unmap takes back. errors: any;
	 * the fault fails with it and nothing is mapped.
	 */
	enum mmk_err (*map)(struct mmk_object *object,
	    const struct mmk_entry *entry, uint64_t page, unsigned access,
	    mmk_pa *pa_out);

	/*
	 * A translation of `page` to `pa` is gone from every TLB. Called once
	 * for each one established, copies made by fork included, so it can
	 * be called more often than `map` was (S0.9). With the map's mutex
	 * held; `entry` tells the region. Absent: the reference is dropped.
	 */
	void (*unmap)(struct mmk_object *object, const struct mmk_entry *entry,
	    uint64_t page, mmk_pa pa);

	/* The last reference is gone. No lock is held. */
	void (*destroy)(struct mmk_object *object);

	/*
	 * Instead of `map`, by an object that moves its pages or takes them
	 * back: which frame is `page` now, and may it be written through what
	 * is entered? (access WRITE: it must be.) It stays so until `granted`
	 * is called for it; then the object may take it back at any time, by
	 * mmk_page_remove_all or mmk_page_write_protect of the frame, and the
	 * next fault asks again. Translations carry no reference and fork
	 * copies none. With the map's mutex held. errors: any, as for `map`.
	 */
	enum mmk_err (*grant)(struct mmk_object *object, uint64_t page,
	    unsigned access, mmk_pa *pa_out, bool *may_write_out);

	/* What `grant` gave for `page` has been entered, or is not wanted. */
	void (*granted)(struct mmk_object *object, uint64_t page, mmk_pa pa);

	/*
	 * The object is a sub-map, and this is its map: page n is what that
	 * shows at the address of page n. Beside it there is a `grant`, which
	 * is not called: faults look into the map instead. See vm/submap.h.
	 */
	struct mmk_map *(*inside)(struct mmk_object *object);
};

#define MMK_OBJECT_MOVED 1u  /* upper: page numbers no longer follow addresses */
#define MMK_OBJECT_HOLES 2u  /* upper: has pages that no entry shows */
#define MMK_OBJECT_SHARED 4u /* upper: entries of several maps may show it */
#define MMK_OBJECT_DEVICE 8u /* its pages are device memory: never copied */
#define MMK_OBJECT_UPPER 16u /* a private layer */
#define MMK_OBJECT_EMPTY 32u /* all zeros for ever: it never has a page */

/* Guards: [I] immutable after create  [V] vm->lock  [M] the forking map's mutex */
struct mmk_object {
	struct mmk_vm *vm;               /* [I] */
	const struct mmk_pager_ops *ops; /* [I] */
	void *ctx;                       /* [I] the pager's own */
	uint64_t nr_pages;               /* [V] size; a fault beyond it fails */
	uint32_t refs;                   /* [V] entries, and holders outside */
	uint32_t nr_entries;             /* [V] of the refs, map entries */
	uint32_t flags;                  /* [V] MMK_OBJECT_* */
	uint32_t seen;                   /* [V] scratch of mmk_check */
	uint32_t nr_gets;                /* [V] that are under way, and the first */
	uint64_t cut_page;               /* [V] page that changed meanwhile */
	struct mmk_amap *amap;           /* [V] its pages; NULL: none yet */
	struct mmk_object *twin;         /* [M] the child's copy, during fork */
	struct mmk_list entries;         /* [V] map entries that show it */
	struct mmk_link of_amap;         /* [V] on amap->objects */
	struct mmk_link of_vm;           /* [V] on vm->objects */
};

/* An oref: a place in an object. The manager is object->ops. */
struct mmk_oref {
	struct mmk_object *object; /* NULL: nowhere */
	uint64_t page;
};

struct mmk_map;

#define MMK_ENTRY_PRIVATE 1u /* writes stay in this map: copy-on-write */
#define MMK_ENTRY_STACK 2u   /* grows down on a fault just below it */

/*
 * An entry shows the pages of an object at addresses: see map.h. It is here
 * because an object must know which of its pages are shown.
 *
 * Guards: [I] immutable  [M] the map's mutex  [V] vm->lock  [MV] both to
 *         write, either to read
 */
struct mmk_entry {
	struct mmk_map *map;      /* [I] */
	mmk_va start_va;          /* [MV] */
	mmk_va end_va;            /* [MV] the first address beyond it */
	struct mmk_oref lower;    /* [MV] */
	struct mmk_oref upper;    /* [MV] object NULL: nothing private yet */
	uint8_t prot;             /* [M] MMK_PROT_* */
	uint8_t max_prot;         /* [M] what protect may grant */
	uint8_t inherit;          /* [M] enum mmk_inherit */
	uint8_t flags;            /* [M] MMK_ENTRY_* */
	struct mmk_link of_lower; /* [V] on lower.object->entries */
	struct mmk_link of_upper; /* [V] on upper.object->entries */
};

static inline uint64_t
mmk_entry_nr_pages(const struct mmk_entry *entry)
{
	return mmk_pages_of_bytes(entry->end_va - entry->start_va);
}

/* The page number in `oref` that `entry` shows at `va`. */
static inline uint64_t
mmk_entry_page(const struct mmk_entry *entry, const struct mmk_oref *oref,
    mmk_va va)
{
	return oref->page + mmk_pages_of_bytes(va - entry->start_va);
}

/* The object is a sub-map. */
static inline bool
mmk_object_is_submap(const struct mmk_object *object)
{
	return object->ops->inside != NULL;
}

/* The object names the frames that are mapped: it keeps no pages itself. */
static inline bool
mmk_object_names_frames(const struct mmk_object *object)
{
	return object->ops->map != NULL || object->ops->grant != NULL;
}

/* The manager of private layers does nothing: they hold what was written. */
MMK_DATA const struct mmk_pager_ops mmk_upper_pager;

/*
 * mmk_object_create: an object without pages; one reference, the caller's.
 *
 * pre      ops outlives the object. nr_pages > 0.
 * errors   MMK_ERR_NOMEM: nothing changed.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_object_create(struct mmk_vm *vm,
    const struct mmk_pager_ops *ops, void *ctx, uint64_t nr_pages,
    struct mmk_object **object_out);

MMK_API void mmk_object_ref(struct mmk_object *object);

/*
 * locks    takes and drops vm->lock
 * out      At 0 the pages are freed and ops->destroy is called. Modified pages
 *          are not written: mmk_object_sync first.
 */
MMK_API void mmk_object_unref(struct mmk_object *object);

/*
 * mmk_object_sync: write modified pages in [first, first + nr_pages) back.
 *
 * locks    none held; may wait for the pager
 * errors   the pager's: that page and those after it are still modified.
 *          MMK_ERR_AGAIN: another CPU has a page of the range in hand, and its
 *          work may fail; all others are written.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_object_sync(struct mmk_object *object,
    uint64_t first, uint64_t nr_pages);

/*
 * mmk_object_reload: what the pager holds has changed behind our back: read
 * resident pages in [first, first + nr_pages) again, in place. Mappings stay.
 *
 * errors   the pager's: that page may be old in part; pages not reached keep
 *          their old contents. MMK_ERR_AGAIN: another CPU has a page of the
 *          range in hand, perhaps an old one; all others are read.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_object_reload(struct mmk_object *object,
    uint64_t first, uint64_t nr_pages);

/*
 * mmk_object_resize: the object has `nr_pages` pages from now on. Pages beyond
 * the end are unmapped everywhere and freed, modified or not; private copies of
 * them stay with those who made them.
 *
 * pre      the pager has neither `map` nor `grant`: what they give is not the
 *          object's.
 * locks    none held
 */
MMK_API void mmk_object_resize(struct mmk_object *object, uint64_t nr_pages);

/*
 * mmk_object_evict: free every clean page that the pager can bring back, its
 * translations first; how many were freed.
 *
 * locks    none held
 */
MMK_API uint64_t mmk_object_evict(struct mmk_object *object);

/* Pages held: resident, stored or on their way; old when it arrives. O(1). */
MMK_API uint64_t mmk_object_nr_resident(const struct mmk_object *object);

MMK_END_DECLS
#endif /* MMKIT_VM_OBJECT_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_VM_OBJECT_IMPL)
#define MMKIT_VM_OBJECT_IMPL

#ifdef MMKIT_STATIC
static
#endif
const struct mmk_pager_ops mmk_upper_pager = {
	.name = "private",
	.kind = MMK_PAGER_UPPER,
};

/* As mmk_object_create, with vm->lock held; NULL: no memory. */
MMK_PRIVATE struct mmk_object *
mmk__object_make(struct mmk_vm *vm, const struct mmk_pager_ops *ops, void *ctx,
    uint64_t nr_pages)
{
	struct mmk_object *object = mmk_pool_alloc(&vm->object_pool);

	MMK_ASSERT(MMKIT_LOCK_HELD(&vm->lock));
	if (object == NULL)
		return NULL;
	MMKIT_MEMSET(object, 0, sizeof(*object));
	object->vm = vm;
	object->ops = ops;
	object->ctx = ctx;
	object->nr_pages = nr_pages;
	object->refs = 1;
	mmk_list_init(&object->entries);
	mmk_link_init(&object->of_amap);
	mmk_link_init(&object->of_vm);
	mmk_list_push_back(&vm->objects, &object->of_vm);
	return object;
}

MMK_API enum mmk_err
mmk_object_create(struct mmk_vm *vm, const struct mmk_pager_ops *ops,
    void *ctx, uint64_t nr_pages, struct mmk_object **object_out)
{
	struct mmk_object *object;

	MMK_ASSERT(nr_pages > 0);
	MMKIT_LOCK(&vm->lock);
	object = mmk__object_make(vm, ops, ctx, nr_pages);
	MMKIT_UNLOCK(&vm->lock);
	if (object == NULL)
		return MMK_ERR_NOMEM;
	*object_out = object;
	return MMK_OK;
}

/* `object` refers to `amap` from now on; the amap's reference is given. */
MMK_PRIVATE void
mmk__object_set_amap(struct mmk_object *object, struct mmk_amap *amap)
{
	MMK_ASSERT(object->amap == NULL);
	object->amap = amap;
	mmk_list_push_back(&amap->objects, &object->of_amap);
}

/* The object's own amap, made if there is none. NULL: no memory. */
MMK_PRIVATE struct mmk_amap *
mmk__object_need_amap(struct mmk_object *object)
{
	struct mmk_amap *amap = object->amap;

	if (amap == NULL) {
		amap = mmk_amap_create(object->vm);
		if (amap != NULL)
			mmk__object_set_amap(object, amap);
	}
	return amap;
}

/* Which of its orefs an entry shows `object` by. */
MMK_PRIVATE const struct mmk_oref *
mmk__entry_oref(const struct mmk_entry *entry, const struct mmk_object *object)
{
	return entry->upper.object == object ? &entry->upper : &entry->lower;
}

MMK_PRIVATE bool
mmk__object_is_shown(const struct mmk_object *object, uint64_t page)
{
	MMK_LIST_FOR_EACH(link, &object->entries) {
		struct mmk_entry *entry = (object->flags & MMK_OBJECT_UPPER) != 0
		    ? MMK_LIST_ITEM(link, struct mmk_entry, of_upper)
		    : MMK_LIST_ITEM(link, struct mmk_entry, of_lower);
		uint64_t first = mmk__entry_oref(entry, object)->page;

		if (page >= first && page - first < mmk_entry_nr_pages(entry))
			return true;
	}
	return false;
}

/*
 * Free pages of [first, first + nr_pages) that no entry shows. Only for
 * objects whose pages nobody could ask for again; their amap is not shared,
 * and what is not shown has no translation.
 */
MMK_PRIVATE void
mmk__object_sweep(struct mmk_object *object, uint64_t first, uint64_t nr_pages)
{
	struct mmk_amap *amap = object->amap;
	uint64_t page = first;

	MMK_ASSERT(MMKIT_LOCK_HELD(&object->vm->lock));
	if (amap == NULL)
		return;
	MMK_ASSERT(amap->refs == 1);
	for (; mmk_amap_next(amap, &page) != NULL && page - first < nr_pages;
	     page++)
		if (!mmk__object_is_shown(object, page))
			mmk_anon_unref(object->vm,
			    mmk_amap_erase(object->vm, amap, page));
	if (nr_pages == UINT64_MAX)
		object->flags &= ~MMK_OBJECT_HOLES;
}

/*
 * `object` leaves its amap. If that leaves one object alone with it, what this
 * one no longer shows was kept for the sake of the others until now.
 */
MMK_PRIVATE void
mmk__object_drop_amap(struct mmk_object *object)
{
	struct mmk_amap *amap = object->amap;
	struct mmk_object *other;

	if (amap == NULL)
		return;
	object->amap = NULL;
	mmk_list_remove(&object->of_amap);
	if (amap->refs == 2) {
		other = MMK_LIST_ITEM(mmk_list_first(&amap->objects),
		    struct mmk_object, of_amap);
		amap->refs--;
		if ((other->flags & MMK_OBJECT_HOLES) != 0)
			mmk__object_sweep(other, 0, UINT64_MAX);
		return;
	}
	mmk_amap_unref(object->vm, amap);
}

/*
 * The first level of copy-on-write: an amap of the object's own. errors NOMEM:
 * nothing changed.
 */
MMK_PRIVATE enum mmk_err
mmk__object_unshare(struct mmk_object *object)
{
	struct mmk_amap *copy;

	if (object->amap == NULL || object->amap->refs == 1)
		return MMK_OK;
	copy = mmk_amap_copy(object->vm, object->amap);
	if (copy == NULL)
		return MMK_ERR_NOMEM;
	mmk_vm_count(object->vm, MMK_COUNT_AMAP_COPY);
	mmk__object_drop_amap(object);
	mmk__object_set_amap(object, copy);
	if ((object->flags & MMK_OBJECT_HOLES) != 0)
		mmk__object_sweep(object, 0, UINT64_MAX);
	return MMK_OK;
}

/*
 * One reference less. True: it was the last and the pages are gone; the caller
 * calls mmk__object_destroy once it has let go of vm->lock.
 */
MMK_PRIVATE bool
mmk__object_release(struct mmk_object *object)
{
	MMK_ASSERT(MMKIT_LOCK_HELD(&object->vm->lock));
	MMK_ASSERT(object->refs > 0);
	if (--object->refs > 0)
		return false;
	MMK_ASSERT(object->nr_entries == 0);
	mmk__object_drop_amap(object);
	mmk_list_remove(&object->of_vm);
	return true;
}

MMK_PRIVATE void
mmk__object_destroy(struct mmk_object *object)
{
	struct mmk_vm *vm = object->vm;

	if (object->ops->destroy != NULL)
		object->ops->destroy(object);
	mmk_pool_free(&vm->object_pool, object);
}

MMK_API void
mmk_object_ref(struct mmk_object *object)
{
	MMKIT_LOCK(&object->vm->lock);
	MMK_ASSERT(object->refs > 0 && object->refs < UINT32_MAX);
	object->refs++;
	MMKIT_UNLOCK(&object->vm->lock);
}

MMK_API void
mmk_object_unref(struct mmk_object *object)
{
	struct mmk_vm *vm = object->vm;
	bool is_last;

	MMKIT_LOCK(&vm->lock);
	is_last = mmk__object_release(object);
	MMKIT_UNLOCK(&vm->lock);
	if (is_last)
		mmk__object_destroy(object);
}

/*
 * The next resident page at or after *page and before `end`, marked busy so
 * that it stays while no lock is held; NULL: none. A page that another CPU has
 * marked is passed over, and *is_busy_out set.
 */
MMK_PRIVATE struct mmk_anon *
mmk__object_claim(struct mmk_object *object, uint64_t *page, uint64_t end,
    bool modified_only, bool *is_busy_out)
{
	struct mmk_vm *vm = object->vm;
	struct mmk_anon *anon = NULL;

	MMKIT_LOCK(&vm->lock);
	for (; object->amap != NULL; (*page)++) {
		anon = mmk_amap_next(object->amap, page);
		if (anon == NULL || *page >= end) {
			anon = NULL;
			break;
		}
		if ((anon->flags & MMK_ANON_BUSY) != 0)
			*is_busy_out = true;
		else if (anon->frame != NULL && (!modified_only ||
			mmk_page_is_modified(vm->pmap_sys, anon->frame)))
			break;
	}
	if (anon != NULL)
		anon->flags |= MMK_ANON_BUSY;
	MMKIT_UNLOCK(&vm->lock);
	return anon;
}

MMK_PRIVATE void
mmk__object_unclaim(struct mmk_object *object, struct mmk_anon *anon)
{
	MMKIT_LOCK(&object->vm->lock);
	(void)mmk_anon_wake(object->vm, anon);
	MMKIT_UNLOCK(&object->vm->lock);
}

/* The end of a range of pages that may reach to the last number there is. */
MMK_PRIVATE uint64_t
mmk__pages_end(uint64_t first, uint64_t nr_pages)
{
	return nr_pages < UINT64_MAX - first ? first + nr_pages : UINT64_MAX;
}

MMK_API enum mmk_err
mmk_object_sync(struct mmk_object *object, uint64_t first, uint64_t nr_pages)
{
	struct mmk_pmap_sys *sys = object->vm->pmap_sys;
	uint64_t end = mmk__pages_end(first, nr_pages);
	struct mmk_anon *anon;
	bool is_busy = false;

	if (object->ops->put == NULL)
		return MMK_OK;
	for (uint64_t page = first; (anon = mmk__object_claim(object, &page,
					 end, true, &is_busy)) != NULL;
	     page++) {
		struct mmk_frame *frame = anon->frame;
		enum mmk_err err;

		/* Cleared first: a write that comes during put is seen again. */
		(void)mmk_page_clear_modified(sys, frame);
		err = object->ops->put(object, page, frame);
		mmk_vm_count(object->vm, MMK_COUNT_PAGE_OUT);
		if (err != MMK_OK)
			(void)MMKIT_ATOMIC_OR(&frame->flags,
			    (uint16_t)MMK_FRAME_MODIFIED);
		mmk__object_unclaim(object, anon);
		if (err != MMK_OK)
			return err;
	}
	return is_busy ? MMK_ERR_AGAIN : MMK_OK;
}

MMK_API enum mmk_err
mmk_object_reload(struct mmk_object *object, uint64_t first, uint64_t nr_pages)
{
	uint64_t end = mmk__pages_end(first, nr_pages);
	struct mmk_anon *anon;
	bool is_busy = false;

	if (object->ops->get == NULL)
		return MMK_OK;
	for (uint64_t page = first; (anon = mmk__object_claim(object, &page,
					 end, false, &is_busy)) != NULL;
	     page++) {
		enum mmk_err err =
		    object->ops->get(object, page, &anon->frame, 1);

		mmk_vm_count(object->vm, MMK_COUNT_PAGE_IN);
		mmk__object_unclaim(object, anon);
		if (err != MMK_OK)
			return err;
	}
	return is_busy ? MMK_ERR_AGAIN : MMK_OK;
}

/*
 * `anon` leaves the object, if a resize has not taken it out of its slot
 * already. It is busy, so it lasts until it is woken. vm->lock held.
 */
MMK_PRIVATE void
mmk__object_drop_page(struct mmk_object *object, uint64_t page,
    struct mmk_anon *anon)
{
	if (mmk_amap_lookup(object->amap, page) == anon)
		mmk_anon_unref(object->vm,
		    mmk_amap_erase(object->vm, object->amap, page));
}

/*
 * Take the first page at or beyond `page` from the object, on its way or not,
 * resident or not. Its frame, if it has one, comes with a reference. False:
 * there is none.
 */
MMK_PRIVATE bool
mmk__object_cut(struct mmk_object *object, uint64_t page,
    struct mmk_frame **frame_out)
{
	struct mmk_vm *vm = object->vm;
	struct mmk_anon *anon = NULL;

	MMKIT_LOCK(&vm->lock);
	if (object->amap != NULL)
		anon = mmk_amap_next(object->amap, &page);
	if (anon != NULL) {
		*frame_out = anon->frame;
		if (anon->frame != NULL)
			mmk_frame_ref(vm->phys, anon->frame);
		mmk_anon_unref(vm, mmk_amap_erase(vm, object->amap, page));
	}
	MMKIT_UNLOCK(&vm->lock);
	return anon != NULL;
}

MMK_API void
mmk_object_resize(struct mmk_object *object, uint64_t nr_pages)
{
	struct mmk_vm *vm = object->vm;
	struct mmk_frame *frame;

	MMK_ASSERT(object->ops->map == NULL && object->ops->grant == NULL);
	/* Faults beyond the new end fail from here on. */
	MMKIT_LOCK(&vm->lock);
	object->cut_page = mmk_min(object->cut_page,
	    mmk_min(object->nr_pages, nr_pages));
	object->nr_pages = nr_pages;
	MMKIT_UNLOCK(&vm->lock);
	while (mmk__object_cut(object, nr_pages, &frame)) {
		if (frame == NULL)
			continue;
		mmk_page_remove_all(vm->pmap_sys, frame);
		(void)mmk_frame_unref(vm->phys, frame);
	}
}

MMK_API uint64_t
mmk_object_evict(struct mmk_object *object)
{
	struct mmk_pmap_sys *sys = object->vm->pmap_sys;
	struct mmk_anon *anon;
	uint64_t nr_freed = 0;
	bool is_busy = false;

	if (object->ops->get == NULL)
		return 0;
	for (uint64_t page = 0; (anon = mmk__object_claim(object, &page,
				     UINT64_MAX, false, &is_busy)) != NULL;
	     page++) {
		struct mmk_frame *frame = anon->frame;
		bool is_free = MMKIT_ATOMIC_LOAD(&frame->refs) == 1 &&
		    MMKIT_ATOMIC_LOAD(&frame->pins) == 0 &&
		    MMKIT_ATOMIC_LOAD(&frame->loans) == 0;

		if (is_free && !mmk_page_is_modified(sys, frame)) {
			mmk_page_remove_all(sys, frame);
			is_free = !mmk_page_is_modified(sys, frame);
		} else {
			is_free = false;
		}
		MMKIT_LOCK(&object->vm->lock);
		if (is_free)
			mmk__object_drop_page(object, page, anon);
		(void)mmk_anon_wake(object->vm, anon);
		MMKIT_UNLOCK(&object->vm->lock);
		nr_freed += is_free;
	}
	return nr_freed;
}

MMK_API uint64_t
mmk_object_nr_resident(const struct mmk_object *object)
{
	return object->amap != NULL ? object->amap->nr_anons : 0;
}
#endif /* MMKIT_IMPLEMENTATION */
