/* SPDX-License-Identifier: MIT
 *
 * mmkit/pmap/pmap.h: translations: what the floors above may do
 *
 * WHAT    A pmap is what the hardware sees of one address space: a cache of
 *         what vm/ knows, which may forget anything but wired translations.
 *         This header is the whole floor; it includes the others in reading
 *         order:
 *
 *           table.h   the shape of a table, the walk
 *           gather.h  flush first, free after
 *           rmap.h    from a frame to its translations
 *           page.h    operations on all translations of a frame
 *           check.h   an audit of the tables and the reverse map
 *           pmap.h    operations on one address space
 *
 *         A pmap translates addresses from 0 to mmk_pt_va_limit(shape). On
 *         architectures that keep the kernel's half in the same table, that
 *         half is the kernel's own: nothing here reads or writes it.
 *
 *         Each operation below and in page.h may be replaced alone: a backend
 *         (or the configuration) that defines a macro of its name, as in
 *         `#define mmk_pmap_remove my_pmap_remove`, supplies that function.
 *
 * LAYER   pmap. Includes check.h. Knows no map, object or anon.
 * LOCKS   a bucket of the reverse map, then the pmap; never two of either.
 *         What flushes does it after both are let go.
 * COST    one walk a page; 32 bytes a tracked translation; a page for each
 *         table. Absent tables are skipped at once.
 * SOURCE  own; the operations are those of Mach's pmap (Rashid et al., 1987)
 *         with UVM's changes.
 *
 * I1      nr_pages, nr_tracked, nr_wired count the leaves      tested by: check
 * I2      each tracked leaf has one entry in the reverse map   tested by: check
 */
#ifndef MMKIT_PMAP_PMAP_H
#define MMKIT_PMAP_PMAP_H

#include "check.h"

MMK_BEGIN_DECLS

/*
 * mmk_pmap_sys_init: what all pmaps of one machine share. Allocates nothing.
 *
 * errors   MMK_ERR_INVAL: the shape's page is not MMK_PAGE_SHIFT, or its
 *          levels or widths make no table.
 */
#define mmk_pmap_sys_init MMK_STAMP(mmk_pmap_sys_init)
MMK_API MMK_NODISCARD enum mmk_err mmk_pmap_sys_init(struct mmk_pmap_sys *sys,
    struct mmk_phys *phys, const struct mmk_pt_shape *shape);
/* pre: no pmap is left. */
MMK_API void mmk_pmap_sys_fini(struct mmk_pmap_sys *sys);

/*
 * mmk_pmap_init: an empty pmap: one table.
 *
 * errors   MMK_ERR_NOMEM: nothing changed.
 */
#define mmk_pmap_init MMK_STAMP(mmk_pmap_init)
MMK_API MMK_NODISCARD enum mmk_err mmk_pmap_init(struct mmk_pmap *pmap,
    struct mmk_pmap_sys *sys, void *owner);
/*
 * pre: no translation is left and no CPU has it active. Frees every table.
 * Waits for page operations of other CPUs that still have it to flush.
 */
MMK_API void mmk_pmap_fini(struct mmk_pmap *pmap);

/*
 * mmk_pmap_enter: translate one page.
 *
 * What is there is replaced. The same page: its rights become `flags` in
 * place, with a flush only if some were taken away; accessed and modified
 * stay. Another page, or another kind of memory: the old translation is
 * removed and flushed before the new one is written (break before make).
 * flags may have ACCESSED and MODIFIED set from the start. More may be granted
 * than asked, if the architecture has no other way: see mmk_pmap_query.
 *
 * locks    takes bucket, pmap. None above VM held.
 * errors   MMK_ERR_NOMEM: a table or an entry of the reverse map.
 *          MMK_ERR_INVAL: unaligned, beyond the widths, unknown flags, or no
 *          permission at all. Nothing changed by either.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_pmap_enter(struct mmk_pmap *pmap,
    mmk_va va, mmk_pa pa, unsigned flags);

/*
 * mmk_pmap_enter_run: mmk_pmap_enter for nr_pages neighbours.
 *
 * out      *nr_done_out: pages entered, also if an error ended it early; what
 *          was entered stays.
 * errors   as mmk_pmap_enter.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_pmap_enter_run(struct mmk_pmap *pmap,
    mmk_va va, mmk_pa pa, uint64_t nr_pages, unsigned flags,
    uint64_t *nr_done_out);

/*
 * mmk_pmap_remove: remove every translation in [start_va, end_va), wired too.
 *
 * Modified and referenced go to the frames; tables that become empty go to the
 * gather. The frames' references are the caller's, to be given up once the gather
 * is finished, not before.
 *
 * locks    takes bucket, pmap. None above VM held.
 */
MMK_API void mmk_pmap_remove(struct mmk_pmap *pmap, mmk_va start_va,
    mmk_va end_va, struct mmk_gather *gather);

/*
 * mmk_pmap_protect: leave only the rights that are also in `prot`.
 *
 * Never raises. A translation with no right left is removed; so MMK_PROT_NONE
 * removes all. Same locks.
 */
MMK_API void mmk_pmap_protect(struct mmk_pmap *pmap, mmk_va start_va,
    mmk_va end_va, unsigned prot, struct mmk_gather *gather);

/*
 * mmk_pmap_settle: what page operations of other CPUs have taken away before
 * the call, but not come to flush yet, is flushed on return. Before something
 * new is entered where a page operation may have removed what was.
 *
 * locks    none above MAP held
 * cost     a load, as long as there is nothing to do
 */
MMK_API void mmk_pmap_settle(struct mmk_pmap *pmap);

/* The translation of the page that `va` is in; false: none, *out untouched. */
MMK_API bool mmk_pmap_query(struct mmk_pmap *pmap, mmk_va va,
    struct mmk_translation *out);
/* The first at or after `va` and below `end_va`; false: none. */
MMK_API bool mmk_pmap_next(struct mmk_pmap *pmap, mmk_va va, mmk_va end_va,
    struct mmk_translation *out);

/* It may be forgotten from now on. Nothing there, or not wired: harmless. */
MMK_API void mmk_pmap_unwire(struct mmk_pmap *pmap, mmk_va va);

/*
 * mmk_pmap_emulate: mend a fault that the tables do not explain.
 *
 * `access` is one of MMK_PROT_*, with MMK_PMAP_USER if user mode did it. If
 * the translation grants it, the fault was about accessed or modified bits
 * that this hardware does not set itself, or about a stale copy with fewer
 * rights: the bits are set, this CPU's copy is dropped, and true is returned:
 * do it again. False: a real fault.
 */
MMK_API bool mmk_pmap_emulate(struct mmk_pmap *pmap, mmk_va va,
    unsigned access);

/*
 * The current CPU, which is `cpu`, translates through `pmap` from now on.
 *
 * pre      no pmap is active on it. Of this and the next: the thread stays on
 *          `cpu` from before it read MMKIT_CPU_ID() until the return, as it
 *          does in a context switch.
 */
MMK_API void mmk_pmap_activate(struct mmk_pmap *pmap, unsigned cpu);
/*
 * The current CPU, which is `cpu`, translates through no pmap, and keeps
 * nothing of this one. Before another is activated, not after.
 */
MMK_API void mmk_pmap_deactivate(struct mmk_pmap *pmap, unsigned cpu);

MMK_END_DECLS
#endif /* MMKIT_PMAP_PMAP_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_PMAP_PMAP_IMPL)
#define MMKIT_PMAP_PMAP_IMPL

MMK_API enum mmk_err
mmk_pmap_sys_init(struct mmk_pmap_sys *sys, struct mmk_phys *phys,
    const struct mmk_pt_shape *shape)
{
	unsigned table_bits;

	if (shape->page_shift != MMK_PAGE_SHIFT || shape->nr_levels < 2 ||
	    shape->nr_levels > MMK_PT_LEVELS_MAX)
		return MMK_ERR_INVAL;
	table_bits = mmk__pt_shift(shape, shape->nr_levels);
	if (shape->va_bits <= shape->page_shift ||
	    shape->va_bits > table_bits || shape->va_bits > 63 ||
	    shape->pa_bits <= shape->page_shift || shape->pa_bits > 52)
		return MMK_ERR_INVAL;
	sys->phys = phys;
	sys->shape = *shape;
	sys->nr_flushes = 0;
	sys->nr_shootdowns = 0;
	mmk_pool_init_caches(&sys->cache_pool, phys);
	mmk_pool_init(&sys->rmap_pool, phys, "rmap", sizeof(struct mmk__rmap));
	mmk_pool_use_caches(&sys->rmap_pool, &sys->cache_pool);
	for (unsigned i = 0; i < MMK_RMAP_BUCKETS; i++)
		MMKIT_LOCK_INIT(&sys->rmap_locks[i], "rmap", MMK_RANK_RMAP);
	return MMK_OK;
}

MMK_API void
mmk_pmap_sys_fini(struct mmk_pmap_sys *sys)
{
	mmk_pool_fini(&sys->rmap_pool);
	mmk_pool_fini(&sys->cache_pool);
}

MMK_API enum mmk_err
mmk_pmap_init(struct mmk_pmap *pmap, struct mmk_pmap_sys *sys, void *owner)
{
	struct mmk_frame *root = mmk__table_alloc(sys, pmap);

	if (root == NULL)
		return MMK_ERR_NOMEM;
	pmap->sys = sys;
	pmap->root = root;
	for (unsigned i = 0; i < (MMKIT_CPU_MAX + 63) / 64; i++)
		pmap->cpus.words[i] = 0;
	pmap->nr_pages = 0;
	pmap->nr_tracked = 0;
	pmap->nr_wired = 0;
	pmap->nr_tables = 1;
	pmap->nr_flushing = 0;
	pmap->owner = owner;
	MMKIT_LOCK_INIT(&pmap->lock, "pmap", MMK_RANK_PMAP);
	return MMK_OK;
}

MMK_API void
mmk_pmap_fini(struct mmk_pmap *pmap)
{
	while (MMKIT_ATOMIC_LOAD(&pmap->nr_flushing) != 0)
		MMKIT_CPU_RELAX();
	MMKIT_LOCK(&pmap->lock);
	MMK_ASSERT(pmap->nr_pages == 0);
	MMK_ASSERT(pmap->nr_tables == 1);
	for (unsigned i = 0; i < (MMKIT_CPU_MAX + 63) / 64; i++)
		MMK_ASSERT(MMKIT_ATOMIC_LOAD(&pmap->cpus.words[i]) == 0);
	MMKIT_UNLOCK(&pmap->lock);
	mmk__table_free(pmap->sys, pmap->root);
	pmap->root = NULL;
}

/* What mmk_pmap_enter is to do, and what it has reserved for it. */
struct mmk__enter {
	struct mmk_pmap *pmap;
	mmk_va va;
	mmk_pa pa;
	unsigned flags;
	bool holds_place;        /* va's place is counted in its table, empty */
	struct mmk_frame *frame; /* tracked there; NULL: untracked */
	struct mmk__rmap *entry; /* for the reverse map, if tracked */
};

MMK_PRIVATE bool
mmk__enter_is_valid(const struct mmk_pt_shape *shape, mmk_va va, mmk_pa pa,
    unsigned flags)
{
	return mmk_is_page_aligned(va) && va < mmk_pt_va_limit(shape) &&
	    mmk_is_page_aligned(pa) && pa >> shape->pa_bits == 0 &&
	    (flags & ~MMK_PMAP_ALL) == 0 && (flags & MMK_PROT_ALL) != 0;
}

/* Move the wired count from a leaf's old flags to its new ones. */
MMK_PRIVATE void
mmk__pmap_count_wired(struct mmk_pmap *pmap, unsigned old, unsigned now)
{
	pmap->nr_wired -= (old & MMK_PMAP_WIRED) != 0;
	pmap->nr_wired += (now & MMK_PMAP_WIRED) != 0;
}

/*
 * mmk__enter_in_place: the page is there already: change its rights only.
 *
 * locks    takes pmap->lock; flushes when it has let go.
 * out      true: done. False: something else is there, or nothing.
 */
MMK_PRIVATE bool
mmk__enter_in_place(const struct mmk__enter *enter)
{
	struct mmk_pmap *pmap = enter->pmap;
	const struct mmk_pt_shape *shape = &pmap->sys->shape;
	unsigned rights = MMK_PROT_ALL | MMK_PMAP_USER;
	unsigned changeable = rights | MMK_PMAP_WIRED | MMK_PMAP_SOFT;
	unsigned kind = MMK_PMAP_DEVICE | MMK_PMAP_UNTRACKED;
	struct mmk__path path;
	unsigned old, now;
	uint64_t *slot, pte;

	MMKIT_LOCK(&pmap->lock);
	slot = mmk__path_leaf(pmap, enter->va, &path);
	pte = slot != NULL ? MMKIT_ATOMIC_LOAD(slot) : 0;
	old = mmk_pt_flags(shape, 0, pte);
	if (slot == NULL || mmk_pt_pa(shape, 0, pte) != enter->pa ||
	    ((old ^ enter->flags) & kind) != 0) {
		MMKIT_UNLOCK(&pmap->lock);
		return false;
	}
	(void)mmk__pte_change(shape, slot, enter->flags,
	    changeable & ~enter->flags);
	now = mmk_pt_flags(shape, 0, MMKIT_ATOMIC_LOAD(slot));
	mmk__pmap_count_wired(pmap, old, now);
	MMKIT_UNLOCK(&pmap->lock);
	if ((old & ~now & rights) != 0)
		mmk__flush(pmap, enter->va, enter->va + MMK_PAGE_BYTES);
	else if (old != now)
		mmk_pt_raised(pmap, enter->va);
	return true;
}

/* Write the leaf and count it. pre: its place is empty. locks: both held. */
MMK_PRIVATE void
mmk__enter_fill(const struct mmk__enter *enter, struct mmk__path *path)
{
	struct mmk_pmap *pmap = enter->pmap;

	if (!enter->holds_place)
		mmk__pt_frame(pmap, path->slots[0])->mapped++;
	pmap->nr_pages++;
	mmk__pmap_count_wired(pmap, 0, enter->flags);
	if (enter->frame != NULL) {
		pmap->nr_tracked++;
		enter->entry->pmap = pmap;
		enter->entry->va = enter->va;
		mmk__rmap_insert(enter->frame, enter->entry);
	}
	MMKIT_ATOMIC_STORE(path->slots[0],
	    mmk_pt_make_leaf(&pmap->sys->shape, 0, enter->pa, enter->flags));
	mmk_pt_published(pmap);
}

/*
 * mmk__enter_commit: write the leaf where nothing is.
 *
 * locks    takes bucket, pmap.
 * errors   MMK_ERR_NOMEM. MMK_ERR_EXIST: a leaf is there. Nothing changed.
 */
MMK_PRIVATE MMK_NODISCARD enum mmk_err
mmk__enter_commit(const struct mmk__enter *enter)
{
	struct mmk_pmap *pmap = enter->pmap;
	const struct mmk_pt_shape *shape = &pmap->sys->shape;
	MMKIT_LOCK_T *bucket = NULL;
	enum mmk_err err = MMK_OK;
	struct mmk__path path;

	if (enter->frame != NULL) {
		bucket = mmk__rmap_lock(pmap->sys, enter->frame);
		MMKIT_LOCK(bucket);
	}
	MMKIT_LOCK(&pmap->lock);
	if (!mmk__path_find(pmap, enter->va, &path))
		err = mmk__path_grow(pmap, enter->va, &path);
	else if (mmk_pt_is_present(shape, 0, MMKIT_ATOMIC_LOAD(path.slots[0])))
		err = MMK_ERR_EXIST;
	if (err == MMK_OK)
		mmk__enter_fill(enter, &path);
	MMKIT_UNLOCK(&pmap->lock);
	if (bucket != NULL)
		MMKIT_UNLOCK(bucket);
	return err;
}

/*
 * mmk__enter_displace: break before make: remove the leaf that is there, and
 * flush it. Its place stays counted, so the table stays, and committing after
 * this cannot fail for want of one.
 *
 * locks    takes bucket, pmap; flushes when it has let go.
 */
MMK_PRIVATE void
mmk__enter_displace(struct mmk__enter *enter)
{
	struct mmk_pmap *pmap = enter->pmap;
	mmk_va va = enter->va;
	mmk_va end_va = va + MMK_PAGE_BYTES;
	MMKIT_LOCK_T *bucket = NULL;
	struct mmk__path path;

	mmk__path_init(&path);
	MMKIT_LOCK(&pmap->lock);
	if (mmk__leaf_next(pmap, &va, end_va, &path, &bucket)) {
		mmk__leaf_clear(pmap, va, &path);
		if (enter->holds_place)
			mmk__pt_frame(pmap, path.slots[0])->mapped--;
		enter->holds_place = true;
	}
	MMKIT_UNLOCK(&pmap->lock);
	if (bucket != NULL)
		MMKIT_UNLOCK(bucket);
	mmk__flush(pmap, enter->va, end_va);
}

#ifndef mmk_pmap_enter
MMK_API enum mmk_err
mmk_pmap_enter(struct mmk_pmap *pmap, mmk_va va, mmk_pa pa, unsigned flags)
{
	struct mmk_pmap_sys *sys = pmap->sys;
	struct mmk__enter enter = {pmap, va, pa, flags, false, NULL, NULL};
	enum mmk_err err;

	if (!mmk__enter_is_valid(&sys->shape, va, pa, flags))
		return MMK_ERR_INVAL;
	enter.frame = mmk__rmap_frame(sys, pa, flags);
	if (enter.frame == NULL)
		enter.flags |= MMK_PMAP_UNTRACKED;
	if (mmk__enter_in_place(&enter))
		return MMK_OK;
	if (enter.frame != NULL) {
		enter.entry =
		    (struct mmk__rmap *)mmk_pool_alloc(&sys->rmap_pool);
		if (enter.entry == NULL)
			return MMK_ERR_NOMEM;
	}
	while ((err = mmk__enter_commit(&enter)) == MMK_ERR_EXIST)
		mmk__enter_displace(&enter);
	if (err != MMK_OK)
		mmk_pool_free(&sys->rmap_pool, enter.entry);
	return err;
}
#endif

#ifndef mmk_pmap_enter_run
MMK_API enum mmk_err
mmk_pmap_enter_run(struct mmk_pmap *pmap, mmk_va va, mmk_pa pa,
    uint64_t nr_pages, unsigned flags, uint64_t *nr_done_out)
{
	enum mmk_err err = MMK_OK;
	uint64_t nr_done = 0;

	while (nr_done < nr_pages) {
		uint64_t offset_bytes = mmk_bytes_of_pages(nr_done);

		err = mmk_pmap_enter(pmap, va + offset_bytes, pa + offset_bytes,
		    flags);
		if (err != MMK_OK)
			break;
		nr_done++;
	}
	*nr_done_out = nr_done;
	return err;
}
#endif

#ifndef mmk_pmap_remove
MMK_API void
mmk_pmap_remove(struct mmk_pmap *pmap, mmk_va start_va, mmk_va end_va,
    struct mmk_gather *gather)
{
	MMKIT_LOCK_T *bucket = NULL;
	struct mmk__path path;
	mmk_va va = start_va;

	MMK_ASSERT(mmk_is_page_aligned(start_va));
	MMK_ASSERT(mmk_is_page_aligned(end_va));
	MMK_ASSERT(start_va <= end_va);
	mmk__gather_begin(gather, pmap);
	mmk__path_init(&path);
	MMKIT_LOCK(&pmap->lock);
	for (; mmk__leaf_next(pmap, &va, end_va, &path, &bucket);
	     va += MMK_PAGE_BYTES) {
		if (bucket != NULL)
			mmk__gather_bucket(gather, bucket);
		mmk__leaf_clear(pmap, va, &path);
		(void)mmk__path_shrink(pmap, &path, &gather->tables);
		mmk__gather_page(gather, va);
	}
	mmk__gather_pending(gather);
	MMKIT_UNLOCK(&pmap->lock);
	if (bucket != NULL)
		MMKIT_UNLOCK(bucket);
}
#endif

/* What an architecture grants to a leaf of this kind if asked for `prot`. */
MMK_PRIVATE unsigned
mmk__pt_granted(const struct mmk_pt_shape *shape, unsigned prot,
    unsigned flags)
{
	uint64_t pte = mmk_pt_make_leaf(shape, 0, (mmk_pa)0,
	    prot | (flags & MMK_PMAP_USER));

	return mmk_pt_flags(shape, 0, pte) & MMK_PROT_ALL;
}

/* Take rights from one leaf. locks: pmap->lock. */
MMK_PRIVATE void
mmk__protect_leaf(struct mmk_pmap *pmap, uint64_t *slot, unsigned take,
    struct mmk_gather *gather)
{
	struct mmk_pmap_sys *sys = pmap->sys;
	uint64_t pte = MMKIT_ATOMIC_LOAD(slot);
	const struct mmk_frame *frame = mmk__rmap_frame(sys,
	    mmk_pt_pa(&sys->shape, 0, pte), mmk_pt_flags(&sys->shape, 0, pte));

	if (frame != NULL)
		mmk__gather_bucket(gather, mmk__rmap_lock(sys, frame));
	(void)mmk__pte_change(&sys->shape, slot, 0, take);
}

#ifndef mmk_pmap_protect
MMK_API void
mmk_pmap_protect(struct mmk_pmap *pmap, mmk_va start_va, mmk_va end_va,
    unsigned prot, struct mmk_gather *gather)
{
	const struct mmk_pt_shape *shape = &pmap->sys->shape;
	struct mmk__path path;
	mmk_va va = start_va;

	MMK_ASSERT((prot & ~MMK_PROT_ALL) == 0);
	if (prot == MMK_PROT_NONE) {
		mmk_pmap_remove(pmap, start_va, end_va, gather);
		return;
	}
	MMK_ASSERT(mmk_is_page_aligned(start_va));
	MMK_ASSERT(mmk_is_page_aligned(end_va));
	MMK_ASSERT(start_va <= end_va);
	mmk__gather_begin(gather, pmap);
	mmk__path_init(&path);
	MMKIT_LOCK(&pmap->lock);
	for (; mmk__path_next(pmap, &va, end_va, &path); va += MMK_PAGE_BYTES) {
		unsigned flags = mmk_pt_flags(shape, 0,
		    MMKIT_ATOMIC_LOAD(path.slots[0]));
		unsigned had = flags & MMK_PROT_ALL;
		unsigned take = had & ~mmk__pt_granted(shape, prot, flags);

		if (take == had) { /* nothing would be left */
			MMKIT_UNLOCK(&pmap->lock);
			mmk_pmap_remove(pmap, va, va + MMK_PAGE_BYTES, gather);
			mmk__path_init(&path);
			MMKIT_LOCK(&pmap->lock);
		} else if (take != 0) {
			mmk__protect_leaf(pmap, path.slots[0], take, gather);
			mmk__gather_page(gather, va);
		}
	}
	mmk__gather_pending(gather);
	MMKIT_UNLOCK(&pmap->lock);
}
#endif

#ifndef mmk_pmap_settle
MMK_API void
mmk_pmap_settle(struct mmk_pmap *pmap)
{
	if (MMKIT_ATOMIC_LOAD(&pmap->nr_flushing) != 0)
		mmk__flush(pmap, (mmk_va)0,
		    mmk_pt_va_limit(&pmap->sys->shape));
}
#endif

#ifndef mmk_pmap_query
MMK_API bool
mmk_pmap_query(struct mmk_pmap *pmap, mmk_va va, struct mmk_translation *out)
{
	va = mmk_page_floor(va);
	if (va >= mmk_pt_va_limit(&pmap->sys->shape))
		return false;
	return mmk_pmap_next(pmap, va, va + MMK_PAGE_BYTES, out);
}
#endif

#ifndef mmk_pmap_next
MMK_API bool
mmk_pmap_next(struct mmk_pmap *pmap, mmk_va va, mmk_va end_va,
    struct mmk_translation *out)
{
	const struct mmk_pt_shape *shape = &pmap->sys->shape;
	struct mmk__path path;
	bool is_found;

	mmk__path_init(&path);
	MMKIT_LOCK(&pmap->lock);
	is_found = mmk__path_next(pmap, &va, end_va, &path);
	if (is_found) {
		uint64_t pte = MMKIT_ATOMIC_LOAD(path.slots[0]);

		out->va = va;
		out->pa = mmk_pt_pa(shape, 0, pte);
		out->flags = mmk_pt_flags(shape, 0, pte);
	}
	MMKIT_UNLOCK(&pmap->lock);
	return is_found;
}
#endif

#ifndef mmk_pmap_unwire
MMK_API void
mmk_pmap_unwire(struct mmk_pmap *pmap, mmk_va va)
{
	const struct mmk_pt_shape *shape = &pmap->sys->shape;
	struct mmk__path path;
	uint64_t *slot;

	MMKIT_LOCK(&pmap->lock);
	slot = mmk__path_leaf(pmap, va, &path);
	if (slot != NULL) {
		uint64_t pte = mmk__pte_change(shape, slot, 0, MMK_PMAP_WIRED);

		mmk__pmap_count_wired(pmap, mmk_pt_flags(shape, 0, pte), 0);
	}
	MMKIT_UNLOCK(&pmap->lock);
}
#endif

#ifndef mmk_pmap_emulate
MMK_API bool
mmk_pmap_emulate(struct mmk_pmap *pmap, mmk_va va, unsigned access)
{
	const struct mmk_pt_shape *shape = &pmap->sys->shape;
	unsigned wanted = access & (MMK_PROT_ALL | MMK_PMAP_USER);
	struct mmk__path path;
	uint64_t *slot;
	bool is_granted = false;

	va = mmk_page_floor(va);
	MMKIT_LOCK(&pmap->lock);
	slot = mmk__path_leaf(pmap, va, &path);
	if (slot != NULL) {
		uint64_t pte = MMKIT_ATOMIC_LOAD(slot);
		unsigned add = MMK_PMAP_ACCESSED;

		is_granted = (wanted & ~mmk_pt_flags(shape, 0, pte)) == 0;
		if ((access & MMK_PROT_WRITE) != 0)
			add |= MMK_PMAP_MODIFIED;
		if (is_granted)
			(void)mmk__pte_change(shape, slot, add, 0);
	}
	MMKIT_UNLOCK(&pmap->lock);
	if (is_granted) {
		(void)MMKIT_ATOMIC_ADD(&pmap->sys->nr_flushes, (uint64_t)1);
		mmk_pt_invalidate(pmap, va, va + MMK_PAGE_BYTES);
	}
	return is_granted;
}
#endif

/*
 * The CPU is in the set before it can load its first translation, so whoever
 * changes an entry after that and asks the set finds it there.
 */
#ifndef mmk_pmap_activate
MMK_API void
mmk_pmap_activate(struct mmk_pmap *pmap, unsigned cpu)
{
	MMK_ASSERT(cpu < MMKIT_CPU_MAX);
	(void)MMKIT_ATOMIC_OR(&pmap->cpus.words[cpu / 64],
	    (uint64_t)1 << cpu % 64);
	mmk_pt_activate(pmap);
}
#endif

#ifndef mmk_pmap_deactivate
MMK_API void
mmk_pmap_deactivate(struct mmk_pmap *pmap, unsigned cpu)
{
	MMK_ASSERT(cpu < MMKIT_CPU_MAX);
	mmk_pt_activate(NULL);
	(void)MMKIT_ATOMIC_ADD(&pmap->sys->nr_flushes, (uint64_t)1);
	mmk_pt_invalidate(pmap, (mmk_va)0, mmk_pt_va_limit(&pmap->sys->shape));
	(void)MMKIT_ATOMIC_AND(&pmap->cpus.words[cpu / 64],
	    ~((uint64_t)1 << cpu % 64));
}
#endif
#endif /* MMKIT_IMPLEMENTATION */
