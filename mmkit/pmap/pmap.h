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
 *           half.h    one root for the kernel's half and a program's
 *           tag.h     what a TLB keeps of a space that is not in use
 *           gather.h  flush first, free after
 *           rmap.h    from a frame to its translations
 *           super.h   superpages, joined and split
 *           page.h    operations on all translations of a frame
 *           check.h   an audit of the tables and the reverse map
 *           enter.h   entering translations
 *           pmap.h    operations on one address space
 *
 *         doc/PMAP.md has the contract of all operations on one page.
 *
 *         A pmap translates addresses from 0 to mmk_pt_va_limit(shape), the
 *         lower half; but one, which a kernel may have, the upper half: it is
 *         the same in every space, active on a CPU beside any other pmap, has no
 *         tag, and its leaves are global and never user mode's. Without it the
 *         upper half is the kernel's own, and nothing here reads or writes it.
 *
 *         Each operation below, in super.h, enter.h and page.h may be replaced alone: a backend
 *         (or the configuration) that defines a macro of its name, as in
 *         `#define mmk_pmap_remove my_pmap_remove`, supplies that function.
 *
 * LAYER   pmap. Includes check.h, enter.h. Knows no map, object or anon.
 * LOCKS   a bucket of the reverse map, then the pmap; never two of either.
 *         What flushes does it after both are let go, and may spin without
 *         locks for another CPU that is splitting or joining a leaf.
 * COST    one walk a page; 32 bytes a tracked translation; a page for each
 *         table. Absent tables are skipped at once.
 * SOURCE  own; the operations are those of Mach's pmap (Rashid et al., 1987)
 *         with UVM's changes.
 *
 * I1      nr_pages, nr_tracked, nr_wired count the pages of leaves
 * I2      each tracked leaf is counted in one entry of the reverse map
 *                                                              tested by: check
 */
#ifndef MMKIT_PMAP_PMAP_H
#define MMKIT_PMAP_PMAP_H

#include "check.h"
#include "enter.h"

MMK_BEGIN_DECLS

/*
 * mmk_pmap_sys_init: what all pmaps of one machine share. Allocates a page if
 * the shape has tags, or else nothing.
 *
 * errors   MMK_ERR_INVAL: the shape's page is not MMK_PAGE_SHIFT, or its
 *          levels or widths make no table, or none that the backend knows,
 *          or tags of more than 16 bits.
 *          MMK_ERR_NOMEM. Nothing changed.
 */
#define mmk_pmap_sys_init MMK_STAMP(mmk_pmap_sys_init)
MMK_API MMK_NODISCARD enum mmk_err mmk_pmap_sys_init(struct mmk_pmap_sys *sys,
    struct mmk_phys *phys, const struct mmk_pt_shape *shape);
/* pre: no pmap is left. */
MMK_API void mmk_pmap_sys_fini(struct mmk_pmap_sys *sys);

/*
 * mmk_pmap_init: an empty pmap of the lower half: one table. Where both halves
 * have one root, and the kernel has a pmap, its entries are in it.
 *
 * errors   MMK_ERR_NOMEM: nothing changed.
 */
#define mmk_pmap_init MMK_STAMP(mmk_pmap_init)
MMK_API MMK_NODISCARD enum mmk_err mmk_pmap_init(struct mmk_pmap *pmap,
    struct mmk_pmap_sys *sys, void *owner);
/*
 * mmk_pmap_init_kernel: an empty pmap of the upper half, from pmap->base_va up to
 * pmap->end_va; addresses are absolute.
 *
 * pre      `sys` has no other pmap, of either half.
 * errors   MMK_ERR_NOMEM. MMK_ERR_INVAL: the backend has no mmk_pt_activate_kernel.
 *          Nothing changed.
 * cost     one table; where both halves have one root, one for each entry of the
 *          upper half, too: 1 MiB on x86_64.
 */
#define mmk_pmap_init_kernel MMK_STAMP(mmk_pmap_init_kernel)
MMK_API MMK_NODISCARD enum mmk_err mmk_pmap_init_kernel(struct mmk_pmap *pmap,
    struct mmk_pmap_sys *sys, void *owner);
/*
 * pre: no translation is left and no CPU has it active; if it is the kernel's,
 * `sys` has no other any more. Frees every table. Waits for page operations of other CPUs that still have it to flush.
 */
MMK_API void mmk_pmap_fini(struct mmk_pmap *pmap);

/*
 * mmk_pmap_set_payer: somebody pays for the tables, the root and those in
 * reserve included. `charge` is called with pmap->lock and a bucket held, and
 * may refuse: an operation then fails as if there were no memory.
 *
 * pre      nothing has been entered yet; the payer outlives the pmap.
 * errors   MMK_ERR_NOMEM: it refuses to pay for the root. Nothing changed.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_pmap_set_payer(struct mmk_pmap *pmap,
    const struct mmk_slab_payer *payer);

/*
 * mmk_pmap_remove: remove every translation in [start_va, end_va), wired too.
 *
 * Modified and referenced go to the frames; tables that become empty go to the
 * gather. The frames' references are the caller's, to be given up once the gather
 * is finished, not before. A large leaf that is only partly in the range is split.
 *
 * locks    takes bucket, pmap. None above MAP held: splitting flushes.
 */
MMK_API void mmk_pmap_remove(struct mmk_pmap *pmap, mmk_va start_va,
    mmk_va end_va, struct mmk_gather *gather);

/*
 * mmk_pmap_protect: leave only the rights that are also in `prot`.
 *
 * Never raises. A translation with no right left is removed; so MMK_PROT_NONE
 * removes all, and so does what this CPU cannot express. Same locks.
 */
MMK_API void mmk_pmap_protect(struct mmk_pmap *pmap, mmk_va start_va,
    mmk_va end_va, unsigned prot, struct mmk_gather *gather);

/*
 * mmk_pmap_kenter: nr_pages of the kernel's own, wired and untracked; accessed and
 * modified from the start, for no fault may come for want of a mark.
 *
 * pre      nothing is translated there, and nobody else enters anything.
 * locks    as mmk_pmap_enter.
 * errors   as mmk_pmap_enter, of the first page or of any: nothing changed, all
 *          or nothing.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_pmap_kenter(struct mmk_pmap *pmap,
    mmk_va va, mmk_pa pa, uint64_t nr_pages, unsigned flags);

/* What mmk_pmap_kenter entered is gone, from every TLB. Same locks. */
MMK_API void mmk_pmap_kremove(struct mmk_pmap *pmap, mmk_va va,
    uint64_t nr_pages);

/*
 * mmk_pmap_collect: forget all translations in the range that are not wired and
 * have no flag of `keep`: MMK_PMAP_SOFT, MMK_PMAP_UNTRACKED, MMK_PMAP_TYPE (no
 * memory but write-back).
 * They come back by faults; what they took of tables is the machine's again.
 * A large leaf goes if all of it is in the range. Same locks as remove.
 */
MMK_API void mmk_pmap_collect(struct mmk_pmap *pmap, mmk_va start_va,
    mmk_va end_va, unsigned keep, struct mmk_gather *gather);

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
/* The first page at or after `va` and below `end_va`; false: none. */
MMK_API bool mmk_pmap_next(struct mmk_pmap *pmap, mmk_va va, mmk_va end_va,
    struct mmk_translation *out);

/*
 * The page may be forgotten from now on. Nothing there, or not wired: harmless.
 * Splits a wired large leaf. locks: takes pmap. None above MAP held.
 */
MMK_API void mmk_pmap_unwire(struct mmk_pmap *pmap, mmk_va va);

/*
 * mmk_pmap_emulate: mend a fault that the tables do not explain.
 *
 * `access` is one of MMK_PROT_*, with MMK_PMAP_USER if user mode did it. If
 * the translation grants it, the fault was about accessed or modified bits
 * that this hardware does not set itself, or about a stale copy with fewer
 * rights: the bits are set, this CPU's copy is dropped, and true is returned:
 * do it again. False: a real fault. So is a fault on a leaf that is being split
 * or joined: this waits for it, with interrupts on if shootdowns need them.
 */
MMK_API bool mmk_pmap_emulate(struct mmk_pmap *pmap, mmk_va va,
    unsigned access);

/*
 * The current CPU, which is `cpu`, translates through `pmap` from now on.
 *
 * The kernel's: once on each CPU; it is active there beside any other. Where both
 * halves have one root it comes before all others.
 *
 * pre      no pmap of this half is active on it. Of this and the next: the
 *          thread stays on `cpu` from before it read MMKIT_CPU_ID() until the
 *          return, as it does in a context switch.
 */
MMK_API void mmk_pmap_activate(struct mmk_pmap *pmap, unsigned cpu);
/*
 * The current CPU, which is `cpu`, translates through no pmap: before another is
 * activated, not after, and when it goes idle. With a tag (shape->tag_bits) it
 * keeps what it holds of this one, and nobody asks it any more. The kernel's is
 * active as before, until it is deactivated itself: last, by a CPU that goes
 * offline, whose code and stack something else translates.
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
	table_bits = mmk__pt_shift(shape->nr_levels);
	if (shape->va_bits <= shape->page_shift ||
	    shape->va_bits > table_bits || shape->va_bits > 63 ||
	    shape->pa_bits <= shape->page_shift || shape->pa_bits > 52 ||
	    shape->tag_bits > 16 || shape->nr_keys > 16 ||
	    shape->contig_shift >= shape->page_shift - 3 ||
	    !mmk_pt_is_known(shape))
		return MMK_ERR_INVAL;
	sys->phys = phys;
	sys->shape = *shape;
	sys->nr_flushes = 0;
	sys->nr_shootdowns = 0;
	sys->nr_avoided = 0;
	sys->kernel = NULL;
	sys->nr_pmaps = 0;
	if (mmk__tags_init(sys) != MMK_OK)
		return MMK_ERR_NOMEM;
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
	MMK_ASSERT(MMKIT_ATOMIC_LOAD(&sys->nr_pmaps) == 0);
	mmk_pool_fini(&sys->rmap_pool);
	mmk_pool_fini(&sys->cache_pool);
	mmk__tags_fini(sys);
}

/* All but the root and what depends on the half. */
MMK_PRIVATE void
mmk__pmap_init_counts(struct mmk_pmap *pmap)
{
	for (unsigned i = 0; i < (MMKIT_CPU_MAX + 63) / 64; i++) {
		pmap->cpus.words[i] = 0;
		pmap->fresh.words[i] = 0;
	}
	pmap->nr_pages = 0;
	pmap->nr_tracked = 0;
	pmap->nr_wired = 0;
	pmap->nr_tables = 1;
	pmap->nr_reserved = 0;
	pmap->nr_unlinked = 0;
	pmap->reserve = 0;
	pmap->is_changing = 0;
	pmap->nr_flushing = 0;
	pmap->nr_gathers = 0;
	pmap->has_global = 0;
	MMKIT_LOCK_INIT(&pmap->lock, "pmap", MMK_RANK_PMAP);
}

MMK_PRIVATE MMK_NODISCARD enum mmk_err
mmk__pmap_init_root(struct mmk_pmap *pmap, struct mmk_pmap_sys *sys,
    void *owner)
{
	struct mmk_frame *root;

	pmap->payer = NULL;
	root = mmk__table_alloc(sys, pmap, MMK_ALLOC_ZERO);
	if (root == NULL)
		return MMK_ERR_NOMEM;
	pmap->sys = sys;
	pmap->root = root;
	pmap->root_pa = mmk_frame_pa(sys->phys, root);
	pmap->owner = owner;
	mmk__pmap_init_counts(pmap);
	return MMK_OK;
}

MMK_API enum mmk_err
mmk_pmap_init(struct mmk_pmap *pmap, struct mmk_pmap_sys *sys, void *owner)
{
	if (mmk__pmap_init_root(pmap, sys, owner) != MMK_OK)
		return MMK_ERR_NOMEM;
	pmap->base_va = 0;
	pmap->end_va = mmk_pt_va_limit(&sys->shape);
	pmap->sign_va = 0;
	pmap->implied = 0;
	pmap->tag = mmk__tag_alloc(sys);
	/* With a tag a translation is of one space only. */
	pmap->refused = pmap->tag != 0 ? MMK_PMAP_GLOBAL : 0;
	mmk__root_share(pmap);
	(void)MMKIT_ATOMIC_ADD(&sys->nr_pmaps, 1u);
	return MMK_OK;
}

MMK_API enum mmk_err
mmk_pmap_init_kernel(struct mmk_pmap *pmap, struct mmk_pmap_sys *sys,
    void *owner)
{
	const struct mmk_pt_shape *shape = &sys->shape;

	if (!MMK_PT_HAS_KERNEL)
		return MMK_ERR_INVAL;
	/* Another would not have the kernel's entries. */
	MMK_ASSERT(MMKIT_ATOMIC_LOAD(&sys->nr_pmaps) == 0);
	if (mmk__pmap_init_root(pmap, sys, owner) != MMK_OK)
		return MMK_ERR_NOMEM;
	pmap->base_va = (mmk_va)0 - mmk_pt_va_limit(shape);
	pmap->end_va = (mmk_va)0 - MMK_PAGE_BYTES;
	pmap->sign_va = (mmk_va)0 - ((mmk_va)1 << shape->va_bits);
	pmap->tag = 0;
	pmap->implied =
	    (shape->features & MMK_PT_GLOBAL) != 0 ? MMK_PMAP_GLOBAL : 0;
	pmap->refused = MMK_PMAP_USER;
	if (!mmk__root_fill(pmap)) {
		mmk__root_clear(pmap);
		mmk__table_free(sys, pmap->root);
		pmap->root = NULL;
		return MMK_ERR_NOMEM;
	}
	sys->kernel = pmap;
	(void)MMKIT_ATOMIC_ADD(&sys->nr_pmaps, 1u);
	return MMK_OK;
}

MMK_API enum mmk_err
mmk_pmap_set_payer(struct mmk_pmap *pmap, const struct mmk_slab_payer *payer)
{
	MMK_ASSERT(pmap->nr_pages == 0);
	MMK_ASSERT(pmap->payer == NULL);
	if (payer->charge(payer->ctx, pmap->nr_tables) != MMK_OK)
		return MMK_ERR_NOMEM;
	pmap->payer = payer;
	return MMK_OK;
}

MMK_API void
mmk_pmap_fini(struct mmk_pmap *pmap)
{
	while (MMKIT_ATOMIC_LOAD(&pmap->nr_flushing) != 0)
		MMKIT_CPU_RELAX();
	MMKIT_LOCK(&pmap->lock);
	MMK_ASSERT(pmap->nr_pages == 0);
	MMK_ASSERT(pmap->nr_reserved == 0);
	MMK_ASSERT(MMKIT_ATOMIC_LOAD(&pmap->nr_gathers) == 0);
	for (unsigned i = 0; i < (MMKIT_CPU_MAX + 63) / 64; i++)
		MMK_ASSERT(MMKIT_ATOMIC_LOAD(&pmap->cpus.words[i]) == 0);
	MMKIT_UNLOCK(&pmap->lock);
	MMK_ASSERT(pmap->sys->kernel != pmap ||
	    MMKIT_ATOMIC_LOAD(&pmap->sys->nr_pmaps) == 1);
	mmk__root_clear(pmap);
	MMK_ASSERT(pmap->nr_tables == 1);
	if (pmap->sys->kernel == pmap)
		pmap->sys->kernel = NULL;
	mmk__tag_free(pmap->sys, pmap->tag);
	mmk__table_free(pmap->sys, pmap->root);
	(void)MMKIT_ATOMIC_SUB(&pmap->sys->nr_pmaps, 1u);
	pmap->root = NULL;
}

/* Which leaves mmk__remove_range leaves alone. */
#define MMK__KEEP_NONE 0u

/*
 * What remove and collect do. A leaf with a flag of `keep` stays; if there are
 * such flags, so does a large leaf that is not wholly in the range.
 */
MMK_PRIVATE void
mmk__remove_range(struct mmk_pmap *pmap, mmk_va va, mmk_va end_va,
    unsigned keep, struct mmk_gather *gather)
{
	const struct mmk_pt_shape *shape = &pmap->sys->shape;
	struct mmk__hold hold = { NULL, NULL };
	struct mmk__path path;

	mmk__gather_begin(gather, pmap);
	mmk__path_init(&path);
	mmk__pmap_lock(pmap, NULL);
	while (mmk__leaf_next(pmap, &va, end_va, &path, &hold)) {
		bool is_within = mmk__path_is_within(&path, va, end_va);
		bool is_kept = keep != MMK__KEEP_NONE &&
		    (!is_within || (mmk_pt_flags(shape, path.level,
		        MMKIT_ATOMIC_LOAD(path.slots[path.level])) & keep) != 0);

		if (!is_within && !is_kept) {
			mmk__path_split(pmap, &path, hold.bucket);
			hold.bucket = NULL;
			mmk__path_init(&path);
			mmk__pmap_lock(pmap, NULL);
			continue;
		}
		va = mmk__path_end(&path);
		if (is_kept)
			continue;
		if (hold.frame != NULL)
			mmk__gather_bucket(gather, hold.bucket);
		mmk_pool_free(&pmap->sys->rmap_pool,
		    mmk__leaf_clear(pmap, &path, hold.frame,
		        &gather->tables));
		(void)mmk__path_shrink(pmap, &path, &gather->tables);
		mmk__gather_range(gather, mmk__path_start(&path), va);
	}
	mmk__gather_pending(gather);
	mmk__pmap_unlock(pmap, hold.bucket);
}

MMK_PRIVATE void
mmk__assert_range(mmk_va start_va, mmk_va end_va)
{
	MMK_ASSERT(mmk_is_page_aligned(start_va));
	MMK_ASSERT(mmk_is_page_aligned(end_va));
	MMK_ASSERT(start_va <= end_va);
	(void)start_va, (void)end_va;
}

#ifndef mmk_pmap_remove
MMK_API void
mmk_pmap_remove(struct mmk_pmap *pmap, mmk_va start_va, mmk_va end_va,
    struct mmk_gather *gather)
{
	mmk__assert_range(start_va, end_va);
	mmk__remove_range(pmap, start_va, end_va, MMK__KEEP_NONE, gather);
}
#endif

#ifndef mmk_pmap_kremove
MMK_API void
mmk_pmap_kremove(struct mmk_pmap *pmap, mmk_va va, uint64_t nr_pages)
{
	struct mmk_gather gather;

	mmk_gather_init(&gather, pmap->sys);
	mmk_pmap_remove(pmap, va, va + mmk_bytes_of_pages(nr_pages), &gather);
	mmk_gather_finish(&gather);
}
#endif

#ifndef mmk_pmap_kenter
MMK_API enum mmk_err
mmk_pmap_kenter(struct mmk_pmap *pmap, mmk_va va, mmk_pa pa, uint64_t nr_pages,
    unsigned flags)
{
	mmk_pa pa_limit = (mmk_pa)1 << pmap->sys->shape.pa_bits;
	uint64_t nr_done;
	enum mmk_err err;

	flags |= MMK_PMAP_WIRED | MMK_PMAP_UNTRACKED | MMK_PMAP_ACCESSED;
	flags |= (flags & MMK_PROT_WRITE) != 0 ? MMK_PMAP_MODIFIED : 0;
	if (!mmk__enter_is_valid(pmap, va, pa, flags) ||
	    nr_pages > mmk_pages_of_bytes(pmap->end_va - va) ||
	    nr_pages > mmk_pages_of_bytes(pa_limit - pa))
		return MMK_ERR_INVAL;
	err = mmk_pmap_enter_run(pmap, va, pa, nr_pages, flags, &nr_done);
	if (err != MMK_OK && nr_done > 0)
		mmk_pmap_kremove(pmap, va, nr_done);
	return err;
}
#endif

#ifndef mmk_pmap_collect
MMK_API void
mmk_pmap_collect(struct mmk_pmap *pmap, mmk_va start_va, mmk_va end_va,
    unsigned keep, struct mmk_gather *gather)
{
	mmk__assert_range(start_va, end_va);
	MMK_ASSERT((keep & ~(MMK_PMAP_SOFT | MMK_PMAP_UNTRACKED |
	                MMK_PMAP_TYPE)) == 0);
	mmk__remove_range(pmap, start_va, end_va, keep | MMK_PMAP_WIRED, gather);
}
#endif

/* What a leaf is granted that is asked for `prot`; user: MMK_PMAP_USER or 0. */
MMK_PRIVATE unsigned
mmk__pt_granted(const struct mmk_pt_shape *shape, unsigned prot, unsigned user)
{
	uint64_t pte = mmk_pt_make_leaf(shape, 0, (mmk_pa)0, prot | user);

	return mmk_pt_flags(shape, 0, pte) & MMK_PROT_ALL;
}

/* Take rights from the path's leaf, `pte`. locks: pmap->lock. */
MMK_PRIVATE void
mmk__protect_leaf(struct mmk_pmap *pmap, const struct mmk__path *path,
    uint64_t pte, unsigned flags, unsigned take, struct mmk_gather *gather)
{
	struct mmk_pmap_sys *sys = pmap->sys;
	const struct mmk_pt_shape *shape = &sys->shape;
	const struct mmk_frame *frame = mmk__rmap_frame(sys,
	    mmk_pt_pa(shape, path->level, pte), flags);

	if (frame != NULL)
		mmk__gather_bucket(gather, mmk__rmap_lock(sys, frame));
	mmk__leaf_change(shape, path, pte, flags, 0, take, NULL);
	mmk__gather_range(gather, mmk__path_start(path), mmk__path_end(path));
}

/* Of a user's leaf, and of the kernel's: what protecting leaves. */
struct mmk__grant {
	unsigned user, kernel;
};

/*
 * Protect the leaves from *va on, until the locks have to be let go. True: once
 * more, from *va. locks: pmap->lock.
 */
MMK_PRIVATE bool
mmk__protect_some(struct mmk_pmap *pmap, mmk_va *va, mmk_va end_va,
    const struct mmk__grant *grant, struct mmk_gather *gather)
{
	const struct mmk_pt_shape *shape = &pmap->sys->shape;
	struct mmk__path path;

	mmk__path_init(&path);
	while (mmk__path_next(pmap, va, end_va, &path)) {
		uint64_t pte = MMKIT_ATOMIC_LOAD(path.slots[path.level]);
		unsigned flags = mmk_pt_flags(shape, path.level, pte);
		bool is_user = (flags & MMK_PMAP_USER) != 0;
		unsigned had = flags & MMK_PROT_ALL;
		unsigned take = had & ~(is_user ? grant->user : grant->kernel);
		mmk_va leaf_va = *va;

		if (take == had) { /* nothing would be left */
			*va = mmk_min(mmk__path_end(&path), end_va);
			MMKIT_UNLOCK(&pmap->lock);
			mmk_pmap_remove(pmap, leaf_va, *va, gather);
			mmk__pmap_lock(pmap, NULL);
			return true;
		}
		if (take != 0 &&
		    !mmk__path_is_within(&path, leaf_va, end_va)) {
			mmk__path_split(pmap, &path, NULL);
			mmk__pmap_lock(pmap, NULL);
			return true;
		}
		if (take != 0)
			mmk__protect_leaf(pmap, &path, pte, flags, take,
			    gather);
		*va = mmk__path_end(&path);
	}
	return false;
}

#ifndef mmk_pmap_protect
MMK_API void
mmk_pmap_protect(struct mmk_pmap *pmap, mmk_va start_va, mmk_va end_va,
    unsigned prot, struct mmk_gather *gather)
{
	const struct mmk_pt_shape *shape = &pmap->sys->shape;
	const struct mmk__grant grant = {
		mmk__pt_granted(shape, prot, MMK_PMAP_USER),
		mmk__pt_granted(shape, prot, 0)
	};
	mmk_va va = start_va;

	MMK_ASSERT((prot & ~MMK_PROT_ALL) == 0);
	if (prot == MMK_PROT_NONE || !mmk_pt_can_express(shape, prot)) {
		mmk_pmap_remove(pmap, start_va, end_va, gather);
		return;
	}
	mmk__assert_range(start_va, end_va);
	mmk__gather_begin(gather, pmap);
	mmk__pmap_lock(pmap, NULL);
	while (mmk__protect_some(pmap, &va, end_va, &grant, gather))
		continue;
	mmk__gather_pending(gather);
	MMKIT_UNLOCK(&pmap->lock);
}
#endif

#ifndef mmk_pmap_settle
MMK_API void
mmk_pmap_settle(struct mmk_pmap *pmap)
{
	if (MMKIT_ATOMIC_LOAD(&pmap->nr_flushing) != 0)
		mmk__flush(pmap, pmap->base_va, pmap->end_va);
}
#endif

#ifndef mmk_pmap_query
MMK_API bool
mmk_pmap_query(struct mmk_pmap *pmap, mmk_va va, struct mmk_translation *out)
{
	va = mmk_page_floor(va);
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
	mmk__pmap_lock(pmap, NULL);
	is_found = mmk__path_next(pmap, &va, end_va, &path);
	if (is_found) {
		uint64_t pte = MMKIT_ATOMIC_LOAD(path.slots[path.level]);

		out->va = va;
		out->pa = mmk__path_pa(shape, &path, pte);
		out->flags = mmk__leaf_flags(shape, &path, pte) &
		    ~MMK_PMAP_CONTIG;
		out->nr_pages = (uint32_t)mmk__path_nr_pages(&path);
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

	for (;;) {
		unsigned flags;

		mmk__pmap_lock(pmap, NULL);
		slot = mmk__path_leaf(pmap, va, &path);
		if (slot == NULL)
			break;
		flags = mmk_pt_flags(shape, path.level,
		    MMKIT_ATOMIC_LOAD(slot));
		if ((flags & MMK_PMAP_WIRED) == 0)
			break;
		if (mmk__path_nr_pages(&path) == 1) {
			(void)mmk__pte_change(shape, 0, slot, 0,
			    MMK_PMAP_WIRED);
			pmap->nr_wired--;
			break;
		}
		mmk__path_split(pmap, &path, NULL);
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
	mmk__pmap_lock(pmap, NULL);
	slot = mmk__path_leaf(pmap, va, &path);
	if (slot != NULL) {
		uint64_t pte = MMKIT_ATOMIC_LOAD(slot);
		unsigned add = MMK_PMAP_ACCESSED;

		is_granted =
		    (wanted & ~mmk_pt_flags(shape, path.level, pte)) == 0;
		if ((access & MMK_PROT_WRITE) != 0)
			add |= MMK_PMAP_MODIFIED;
		if (is_granted)
			mmk__leaf_change(shape, &path, pte,
			    mmk_pt_flags(shape, path.level, pte), add, 0,
			    NULL);
	}
	MMKIT_UNLOCK(&pmap->lock);
	if (is_granted) {
		(void)MMKIT_ATOMIC_ADD(&pmap->sys->nr_flushes, (uint64_t)1);
		mmk_pt_invalidate(pmap, va, va + MMK_PAGE_BYTES);
	}
	return is_granted;
}
#endif

/* What a CPU walks that has no other: NULL, or the kernel's if it has both. */
MMK_PRIVATE struct mmk_pmap *
mmk__pmap_idle(const struct mmk_pmap_sys *sys)
{
	return mmk_pt_halves_share_root(&sys->shape) ? sys->kernel : NULL;
}

/* With this pmap the CPU gets the kernel's half: it must be in its set. */
MMK_PRIVATE bool
mmk__pmap_has_kernel(const struct mmk_pmap *pmap, unsigned cpu)
{
	const struct mmk_pmap *kernel = mmk__pmap_idle(pmap->sys);

	return kernel == NULL ||
	    (MMKIT_ATOMIC_LOAD(&kernel->cpus.words[cpu / 64]) >> cpu % 64 &
	        1) != 0;
}

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
	if (pmap->base_va != 0) {
		mmk_pt_activate_kernel(pmap);
		return;
	}
	MMK_ASSERT(mmk__pmap_has_kernel(pmap, cpu));
	if (pmap->tag != 0)
		mmk__tag_activate(pmap, cpu);
	else
		mmk_pt_activate(pmap);
}
#endif

#ifndef mmk_pmap_deactivate
MMK_API void
mmk_pmap_deactivate(struct mmk_pmap *pmap, unsigned cpu)
{
	MMK_ASSERT(cpu < MMKIT_CPU_MAX);
	if (pmap->base_va != 0)
		mmk_pt_activate_kernel(NULL);
	else
		mmk_pt_activate(mmk__pmap_idle(pmap->sys));
	/* Leaving a space does not reach what is good in all. */
	if (pmap->base_va != 0 || MMKIT_ATOMIC_LOAD(&pmap->has_global) != 0) {
		(void)MMKIT_ATOMIC_ADD(&pmap->sys->nr_flushes, (uint64_t)1);
		mmk_pt_invalidate(pmap, pmap->base_va, pmap->end_va);
	}
	(void)MMKIT_ATOMIC_AND(&pmap->cpus.words[cpu / 64],
	    ~((uint64_t)1 << cpu % 64));
}
#endif
#endif /* MMKIT_IMPLEMENTATION */
