/* SPDX-License-Identifier: MIT
 *
 * mmkit/pmap/table.h: page tables: their shape, their entries, the walk
 *
 * WHAT    One table walk for every architecture. A table is one frame of
 *         64-bit entries; level 0 is the last. The shape says how many levels
 *         there are and how wide they are; the backend (MMKIT_PMAP_H) says how
 *         one entry is spelled. Nothing here knows an architecture.
 *
 *           root, level 3 -> level 2 -> level 1 -> level 0 -> the page
 *                                       '--> 2 MiB: a large leaf
 *
 *         The hardware writes entries too (accessed, modified), at any time
 *         and from any CPU: an entry that was ever valid is changed only by
 *         compare-and-swap or exchange.
 *
 *         Where the architecture says so (shape->contig_shift), neighbours in a
 *         table of level 0 can be a group: one leaf of several entries, each of
 *         which has MMK_PMAP_CONTIG. The hardware may note in any of them that
 *         any page was accessed or modified.
 *
 *         A pmap translates the addresses from base_va to end_va: the lower
 *         half, from 0, or, the kernel's, the upper one, up to the last page,
 *         which never is: so every end fits in an mmk_va. Where both halves
 *         have one root (mmk_pt_halves_share_root) the root of every pmap has
 *         the kernel's entries, and so that these never change, the tables that
 *         they lead to are all there from the start, and stay.
 *
 *         A large leaf keeps in reserve, on pmap->reserve, the tables that
 *         splitting it all the way down takes: see super.h. While an entry is
 *         between a leaf and a table it is empty, pmap->is_changing is set,
 *         and nobody else looks at any table of the pmap: mmk__pmap_lock.
 *
 * LAYER   pmap. Includes base/bitmap.h, kva/pool.h and the backend.
 * LOCKS   the walk wants pmap->lock held; it takes none
 * COST    a walk is one load for each level; skipping absent tables is free
 * SOURCE  own; one walk for all machines is also NetBSD's sys/uvm/pmap
 *
 * I1      a table's frame->mapped == its entries in use, and 1 if it is to
 *         stay; the kernel's entries in the roots of others are not counted
 *                                                          tested by: check
 * I2      no table is empty but the root, and what stays   tested by: check
 * I3      pmap->nr_tables == tables reachable from root    tested by: check
 * I4      pmap->nr_reserved == tables on pmap->reserve == what all large
 *         leaves together need                             tested by: check
 */
#ifndef MMKIT_PMAP_TABLE_H
#define MMKIT_PMAP_TABLE_H

#include "../base/bitmap.h"
#include "../kva/pool.h"

#ifndef MMKIT_PMAP_H
#error "mmkit: define MMKIT_PMAP_H as the backend's header, for example \"../../ports/x86_64/mmkit_pmap.h\"; see doc/PORTING.md, pmap"
#endif

/* Flags of a translation: MMK_PROT_* in bits 0-2, and these. */
#define MMK_PMAP_USER 0x08u      /* user mode may use it */
#define MMK_PMAP_WIRED 0x10u     /* may not be forgotten */
#define MMK_PMAP_GUARDED 0x20u   /* branches land on landing pads only (BTI) */
#define MMK_PMAP_UNTRACKED 0x40u /* not in the reverse map; foreign: implied */
#define MMK_PMAP_SOFT 0x80u      /* one bit for vm/: kept, never looked at */
#define MMK_PMAP_ACCESSED 0x100u
#define MMK_PMAP_MODIFIED 0x200u
#define MMK_PMAP_GLOBAL 0x400u /* the kernel's, the same in every space */

/* A field of the flags: the protection key of a user's page; 0 is no key. */
#define MMK_PMAP_KEY_MASK 0xf0000u
#define MMK_PMAP_KEY(key) ((unsigned)(key) << 16 & MMK_PMAP_KEY_MASK)
#define MMK_PMAP_KEY_OF(flags) (((flags) & MMK_PMAP_KEY_MASK) >> 16)

/* Another, one of these: what kind of memory is there. */
#define MMK_PMAP_TYPE 0x700000u
#define MMK_PMAP_WRITE_BACK 0u       /* RAM: cached */
#define MMK_PMAP_DEVICE 0x100000u    /* registers: each access, in order */
#define MMK_PMAP_COMBINING 0x200000u /* not cached, stores may be gathered */
#define MMK_PMAP_THROUGH 0x300000u   /* loads cached, stores go to memory */
#define MMK_PMAP_UNCACHED 0x400000u  /* memory that no cache holds */
#define MMK_PMAP_TAGGED 0x500000u    /* as write-back, with tags (MTE) */

#define MMK_PMAP_ALL 0x7f07ffu
/* Between backend and super.h, never the caller's: an entry of a group. */
#define MMK_PMAP_CONTIG 0x80000000u

/*
 * shape->features: what this CPU has, and the kernel has turned on, beyond what
 * every one can express: see mmk_pt_can_express.
 */
#define MMK_PT_NX 1u      /* pages that are not for execution */
#define MMK_PT_GLOBAL 2u  /* MMK_PMAP_GLOBAL */
#define MMK_PT_TYPES 4u   /* every type: their register has the port's value */
#define MMK_PT_GUARDED 8u /* MMK_PMAP_GUARDED */
#define MMK_PT_MTE 0x10u  /* MMK_PMAP_TAGGED, with MMK_PT_TYPES */

#define MMK_PT_LEVELS_MAX 5
#define MMK_PT_LEVEL_BITS (MMK_PAGE_SHIFT - 3u) /* of 8-byte entries */
/* Locks of the reverse map; a run of 16 frames shares one. A power of two. */
#define MMK_RMAP_BUCKETS 64u

MMK_BEGIN_DECLS

/* The shape of a table: levels, granule, widths. A parameter, not a build. */
struct mmk_pt_shape {
	uint8_t nr_levels;  /* 4; at most MMK_PT_LEVELS_MAX */
	uint8_t page_shift; /* MMK_PAGE_SHIFT: which format, to the backend */
	uint8_t va_bits;    /* 48 */
	uint8_t pa_bits;    /* 52, 48 */
	bool hw_accessed;   /* the hardware sets accessed */
	bool hw_modified;   /* the hardware sets modified */
	uint8_t arch;       /* the backend's own: tells two formats apart */
	uint8_t leaf_level_max; /* levels up to it may hold leaves; 0: only
	                         * pages, no superpages */
	uint8_t tag_bits; /* of an address space's tag in the TLBs; 0: they have
	                   * none, or the kernel has not turned them on */
	uint8_t features; /* MMK_PT_* */
	uint8_t nr_keys;  /* of protection keys; 0: none, or not turned on */
	uint8_t contig_shift; /* 2^this entries of level 0 can be a group; 0:
	                       * there are no groups */
};

/*
 * mmk_pt_can_express: can a translation be all that `flags` ask? If not, who
 * enters it is refused, and never given something weaker. The exception is in
 * the contract: "at least these rights", so READ may come with the others.
 */
static inline bool
mmk_pt_can_express(const struct mmk_pt_shape *shape, unsigned flags)
{
	bool is_user = (flags & MMK_PMAP_USER) != 0;
	unsigned type = flags & MMK_PMAP_TYPE;
	unsigned key = MMK_PMAP_KEY_OF(flags);
	unsigned needed = (flags & MMK_PROT_EXEC) != 0 ? 0 : MMK_PT_NX;

	needed |= (flags & MMK_PMAP_GLOBAL) != 0 ? MMK_PT_GLOBAL : 0;
	needed |= (flags & MMK_PMAP_GUARDED) != 0 ? MMK_PT_GUARDED : 0;
	needed |= type > MMK_PMAP_DEVICE ? MMK_PT_TYPES : 0;
	needed |= type == MMK_PMAP_TAGGED ? MMK_PT_MTE : 0;
	return (flags & ~MMK_PMAP_ALL) == 0 && type <= MMK_PMAP_TAGGED &&
	    (needed & ~(unsigned)shape->features) == 0 &&
	    (key == 0 || (key < shape->nr_keys && is_user)) &&
	    ((flags & MMK_PMAP_GLOBAL) == 0 || !is_user);
}

/*
 * A backend defines, as macros or static inline functions; `shape` is a
 * const struct mmk_pt_shape *:
 *
 *   uint64_t mmk_pt_make_leaf(shape, level, pa, flags)
 *   uint64_t mmk_pt_make_table(shape, level, table_pa)
 *   bool     mmk_pt_is_present(shape, level, pte)    leaf or table
 *   bool     mmk_pt_is_leaf(shape, level, pte)       pre: present
 *   mmk_pa   mmk_pt_pa(shape, level, pte)            leaf's or table's address
 *   unsigned mmk_pt_flags(shape, level, pte)         inverse of make_leaf
 *   void     mmk_pt_invalidate(pmap, start_va, end_va)  this CPU, all levels,
 *                                                    with its barriers
 *   void     mmk_pt_activate(pmap)                   this CPU walks pmap->root
 *                                                    from now on; NULL: none,
 *                                                    and of the last one, if it
 *                                                    has no tag, it has nothing
 *                                                    left, of any level
 *   void     mmk_pt_published(pmap)                  an entry went from
 *                                                    invalid to valid
 *
 * make_leaf may grant more than `flags` asks where the architecture has no
 * other spelling (write implies read); mmk_pt_flags tells what is granted.
 *
 * And, as macros only, if the default below does not fit:
 *
 *   mmk_pt_is_known(shape)     the backend can spell what such tables hold
 *   mmk_pt_va_limit(shape)     the end of the lower half; the upper one is as
 *                              large
 *   mmk_pt_is_contig(shape, pte)  a leaf of level 0 has MMK_PMAP_CONTIG; asked
 *                              where contig_shift is not 0
 *   mmk_pt_raised(pmap, va)    a right was added in place: make this CPU look
 *                              again, if a fault alone does not
 *   MMK_PT_INVALIDATE_IS_BROADCAST  defined: mmk_pt_invalidate reaches every
 *                              CPU, and no shootdown is needed
 *   mmk_pt_is_broadcast(shape) the same, if it is known at run time only
 *   mmk_pt_activate_tag(pmap, is_fresh)  as mmk_pt_activate, for a pmap that
 *                              has a tag: what this CPU holds under it is good
 *                              if is_fresh, or else is dropped, before it walks
 *                              the new tables. Asked for where shape->tag_bits
 *                              can be more than 0
 *   mmk_pt_activate_kernel(pmap)  this CPU finds the upper half in the kernel's
 *                              pmap from now on, whatever it has of the lower;
 *                              NULL: nowhere. Without it there is no pmap of
 *                              the kernel. With it, mmk_pt_invalidate and
 *                              mmk_pt_raised of that pmap (pmap->base_va is
 *                              not 0) reach global leaves, and upper entries
 *                              under every tag
 *   MMK_PT_HALVES_SHARE_ROOT   defined: one root has both halves. Who leaves a
 *                              pmap is given the kernel's, if there is one, in
 *                              place of NULL by mmk_pt_activate
 *   mmk_pt_halves_share_root(shape)  the same, if it is known at run time only
 */

struct mmk_cpu_set {
	uint64_t words[(MMKIT_CPU_MAX + 63) / 64];
};

/*
 * Guards: [I] immutable after init  [L] this->lock  [a] atomic
 *         [R] the frame's lock of the reverse map  [C] caller serializes
 */

/* Who has which tag; see tag.h. [T] this->lock */
struct mmk_tags {
	struct mmk_frame *frame; /* [I] the words of both; NULL: no tags */
	struct mmk_bitmap used;  /* [T] not to be given away */
	struct mmk_bitmap dead;  /* [T] used, and the pmap is gone */
	uint64_t nr_dead;        /* [T] */
	uint64_t nr_rollovers;   /* [T] the dead were made free again */
	MMKIT_LOCK_T lock;
};

/* What all pmaps of one machine share. */
struct mmk_pmap_sys {
	struct mmk_phys *phys;      /* [I] */
	struct mmk_pt_shape shape;  /* [I] */
	struct mmk_pool cache_pool; /* the CPUs' caches of all other pools */
	struct mmk_pool rmap_pool;  /* reverse-map entries; has its own lock */
	uint64_t nr_flushes;        /* [a] calls of mmk_pt_invalidate */
	uint64_t nr_shootdowns;     /* [a] of MMKIT_TLB_SHOOTDOWN; flushes that
	                             * would need it, on a uniprocessor */
	uint64_t nr_avoided;        /* [a] CPUs not asked: they drop what they
	                             * hold when they next use it */
	struct mmk_pmap *kernel;    /* [I] once pmaps are made; NULL: none */
	uint32_t nr_pmaps;          /* [a] that there are, the kernel's too */
	struct mmk_tags tags;
	MMKIT_LOCK_T rmap_locks[MMK_RMAP_BUCKETS];
	uint32_t nr_due[MMK_RMAP_BUCKETS]; /* [a] changes not flushed yet */
};

struct mmk_pmap {
	struct mmk_pmap_sys *sys; /* [I] */
	struct mmk_frame *root;   /* [I] the top table */
	mmk_pa root_pa;           /* [I] where it is */
	mmk_va base_va;           /* [I] 0, or where the upper half starts */
	mmk_va end_va;            /* [I] of what it translates */
	mmk_va sign_va;           /* [I] what base_va has above the indices */
	unsigned implied;         /* [I] flags that all its leaves have */
	unsigned refused;         /* [I] flags that none may have */
	struct mmk_cpu_set cpus;  /* [a] CPUs that use it; without a tag also:
	                           * that may hold translations of it */
	struct mmk_cpu_set fresh; /* [a] CPUs whose copies are good, with a tag */
	uint32_t tag;             /* [I] 0: none */
	uint64_t nr_pages;        /* [L] pages translated */
	uint64_t nr_tracked;      /* [L] of them in the reverse map */
	uint64_t nr_wired;        /* [L] of them wired */
	uint64_t nr_tables;       /* [L] root included, reserve not */
	uint64_t nr_reserved;     /* [L] tables on `reserve` */
	uint64_t nr_unlinked;     /* [L] tables so far: paths of old may be bad */
	uint32_t reserve;         /* [L] chain of tables to split leaves with */
	uint32_t is_changing;     /* [L] atomic: a leaf is split or joined */
	uint32_t nr_flushing;     /* [a] page operations that will flush it */
	uint32_t nr_gathers;      /* [a] gathers that will */
	uint32_t has_global;      /* [a] a global leaf was entered: what drops a
	                           * space from a TLB may not reach it */
	const struct mmk_slab_payer *payer; /* [I] of tables; NULL: nobody */
	void *owner;              /* [I] the kernel's own word */
	MMKIT_LOCK_T lock;
};

/* One page of a leaf. [C] caller serializes, all of it. */
struct mmk_translation {
	mmk_va va; /* start of the page */
	mmk_pa pa;
	unsigned flags;    /* MMK_PROT_*, MMK_PMAP_*: as granted */
	uint32_t nr_pages; /* of the leaf, which is aligned to its size: 1, or
	                    * the page is part of a superpage */
};

MMK_END_DECLS

#include MMKIT_PMAP_H

#ifndef mmk_pt_va_limit
#define mmk_pt_va_limit(shape) ((mmk_va)1 << (shape)->va_bits)
#endif
#ifndef mmk_pt_is_contig
#define mmk_pt_is_contig(shape, pte) \
	((mmk_pt_flags(shape, 0, pte) & MMK_PMAP_CONTIG) != 0)
#endif
#ifndef mmk_pt_raised
#define mmk_pt_raised(pmap, va) ((void)(pmap), (void)(va))
#endif
#ifndef mmk_pt_is_known
#define mmk_pt_is_known(shape) ((void)(shape), true)
#endif
#ifndef mmk_pt_is_broadcast
#ifdef MMK_PT_INVALIDATE_IS_BROADCAST
#define mmk_pt_is_broadcast(shape) ((void)(shape), true)
#else
#define mmk_pt_is_broadcast(shape) ((void)(shape), false)
#endif
#endif
/* A backend without this has no tags. */
#ifndef mmk_pt_activate_tag
#define mmk_pt_activate_tag(pmap, is_fresh) \
	((void)(is_fresh), mmk_pt_activate(pmap))
#endif
#ifdef mmk_pt_activate_kernel
#define MMK_PT_HAS_KERNEL true
#else
#define MMK_PT_HAS_KERNEL false
#define mmk_pt_activate_kernel(pmap) ((void)(pmap))
#endif
#ifndef mmk_pt_halves_share_root
#ifdef MMK_PT_HALVES_SHARE_ROOT
#define mmk_pt_halves_share_root(shape) ((void)(shape), true)
#else
#define mmk_pt_halves_share_root(shape) ((void)(shape), false)
#endif
#endif
#if !defined(MMKIT_PORT_UNIPROCESSOR) && !defined(MMKIT_TLB_SHOOTDOWN) && \
    !defined(MMK_PT_INVALIDATE_IS_BROADCAST)
#error "mmkit: define MMKIT_TLB_SHOOTDOWN(pmap, start_va, end_va) in your port header; see doc/PORTING.md, shootdown"
#endif

/* Is `va` one of the addresses that the pmap translates? */
static inline bool
mmk_pmap_covers(const struct mmk_pmap *pmap, mmk_va va)
{
	return va >= pmap->base_va && va < pmap->end_va;
}

#endif /* MMKIT_PMAP_TABLE_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_PMAP_TABLE_IMPL)
#define MMKIT_PMAP_TABLE_IMPL

/* The entries that translate one address, as far down as tables exist. */
struct mmk__path {
	mmk_va va;
	struct mmk_frame *table; /* that slots[level] is in; NULL: find it */
	bool is_whole;  /* slots[0] is va's, and no table has gone since */
	unsigned level; /* where the walk ended; slots[level] and up are set */
	unsigned nr_entries; /* of the leaf there: 1, or a group's */
	uint64_t *slots[MMK_PT_LEVELS_MAX];
};

/* A path to nowhere: what mmk__path_next starts from. */
MMK_PRIVATE void
mmk__path_init(struct mmk__path *path)
{
	path->is_whole = false;
	path->level = 0;
}

/* ---- shape --------------------------------------------------------------- */

MMK_PRIVATE unsigned
mmk__pt_shift(unsigned level)
{
	return MMK_PAGE_SHIFT + level * MMK_PT_LEVEL_BITS;
}

/* What an entry of this level translates. */
MMK_PRIVATE mmk_va
mmk__pt_span(unsigned level)
{
	return (mmk_va)1 << mmk__pt_shift(level);
}

MMK_PRIVATE uint64_t
mmk__pt_nr_pages(unsigned level)
{
	return (uint64_t)1 << level * MMK_PT_LEVEL_BITS;
}

/* Tables that take the place of one leaf of this level, split into pages. */
MMK_PRIVATE uint64_t
mmk__pt_nr_reserve(unsigned level)
{
	uint64_t nr = 0;

	while (level-- > 0)
		nr = (nr << MMK_PT_LEVEL_BITS) + 1;
	return nr;
}

MMK_PRIVATE unsigned
mmk__pt_index(unsigned level, mmk_va va)
{
	uint64_t mask = ((uint64_t)1 << MMK_PT_LEVEL_BITS) - 1;

	return (unsigned)(va >> mmk__pt_shift(level) & mask);
}

/* ---- entries ------------------------------------------------------------- */

/* The entry of `va` in the table of `level` at `table_pa`. */
MMK_PRIVATE uint64_t *
mmk__pt_slot(unsigned level, mmk_pa table_pa, mmk_va va)
{
	uint64_t *table = (uint64_t *)MMKIT_PHYS_TO_PTR(table_pa);

	return table + mmk__pt_index(level, va);
}

/* The frame of the table that an entry is in. */
MMK_PRIVATE struct mmk_frame *
mmk__pt_frame(const struct mmk_pmap *pmap, uint64_t *slot)
{
	struct mmk_frame *frame = mmk_frame_of_pa(pmap->sys->phys,
	    (mmk_pa)MMKIT_PTR_TO_PHYS(slot));

	MMK_ASSERT(frame != NULL);
	MMK_ASSERT(frame->use == MMK_USE_TABLE);
	return frame;
}

/* Empty the entry; the hardware's last word about it is returned. */
MMK_PRIVATE uint64_t
mmk__pte_take(uint64_t *slot)
{
	return MMKIT_ATOMIC_XCHG(slot, (uint64_t)0);
}

/* The same as the next, of an entry that was `pte`, with `flags`, just now. */
MMK_PRIVATE uint64_t
mmk__pte_change_from(const struct mmk_pt_shape *shape, unsigned level,
    uint64_t *slot, uint64_t pte, unsigned flags, unsigned add, unsigned take)
{
	mmk_pa pa = mmk_pt_pa(shape, level, pte);

	for (;;) {
		uint64_t changed = mmk_pt_make_leaf(shape, level, pa,
		    (flags & ~take) | add);

		if (changed == pte || MMKIT_ATOMIC_CAS(slot, &pte, changed))
			return pte;
		flags = mmk_pt_flags(shape, level, pte);
	}
}

/*
 * mmk__pte_change: add and take away flags of a leaf in place.
 *
 * pre      *slot is a leaf of `level`; pmap->lock is held, so only the
 *          hardware is another writer.
 * out      what the entry was.
 */
MMK_PRIVATE uint64_t
mmk__pte_change(const struct mmk_pt_shape *shape, unsigned level,
    uint64_t *slot, unsigned add, unsigned take)
{
	uint64_t pte = MMKIT_ATOMIC_LOAD(slot);

	return mmk__pte_change_from(shape, level, slot, pte,
	    mmk_pt_flags(shape, level, pte), add, take);
}

/* ---- the lock ------------------------------------------------------------ */

/* `bucket` may be NULL. */
MMK_PRIVATE void
mmk__pmap_unlock(struct mmk_pmap *pmap, MMKIT_LOCK_T *bucket)
{
	MMKIT_UNLOCK(&pmap->lock);
	if (bucket != NULL)
		MMKIT_UNLOCK(bucket);
}

/* Both are held, and a leaf is being changed: wait with neither. */
MMK_PRIVATE void
mmk__pmap_lock_again(struct mmk_pmap *pmap, MMKIT_LOCK_T *bucket)
{
	do {
		mmk__pmap_unlock(pmap, bucket);
		while (MMKIT_ATOMIC_LOAD(&pmap->is_changing) != 0) {
			MMKIT_YIELD_POINT();
			MMKIT_CPU_RELAX();
		}
		if (bucket != NULL)
			MMKIT_LOCK(bucket);
		MMKIT_LOCK(&pmap->lock);
	} while (pmap->is_changing != 0);
}

/*
 * mmk__pmap_lock: `bucket` if it is not NULL, and then pmap->lock. Waits, with
 * neither, while a leaf is being split or joined: whoever does that flushes
 * without locks in between, and the leaf must not be missed meanwhile.
 */
MMK_PRIVATE void
mmk__pmap_lock(struct mmk_pmap *pmap, MMKIT_LOCK_T *bucket)
{
	if (bucket != NULL)
		MMKIT_LOCK(bucket);
	MMKIT_LOCK(&pmap->lock);
	if (pmap->is_changing != 0)
		mmk__pmap_lock_again(pmap, bucket);
}

/* ---- the walk ------------------------------------------------------------ */

/*
 * mmk__path_find: walk down to the entry that translates `va`, or would.
 *
 * locks    pmap->lock held.
 * out      the path; true: it ends at a large leaf, or at level 0 (where the
 *          entry may be empty). False: at an empty entry above level 0.
 */
MMK_PRIVATE bool
mmk__path_find(const struct mmk_pmap *pmap, mmk_va va, struct mmk__path *path)
{
	const struct mmk_pt_shape *shape = &pmap->sys->shape;
	mmk_pa table_pa = pmap->root_pa;

	path->va = va;
	path->table = NULL;
	path->is_whole = false;
	path->nr_entries = 1;
	va ^= pmap->sign_va;
	for (unsigned level = shape->nr_levels - 1u; level > 0; level--) {
		uint64_t *slot = mmk__pt_slot(level, table_pa, va);
		uint64_t pte = MMKIT_ATOMIC_LOAD(slot);
		bool is_present = mmk_pt_is_present(shape, level, pte);

		path->slots[level] = slot;
		if (!is_present || mmk_pt_is_leaf(shape, level, pte)) {
			path->level = level;
			return is_present;
		}
		table_pa = mmk_pt_pa(shape, level, pte);
	}
	path->slots[0] = mmk__pt_slot(0, table_pa, va);
	path->level = 0;
	path->is_whole = true;
	return true;
}

/* The path has been found, to the leaf `pte`, which may be of a group. */
MMK_PRIVATE void
mmk__path_see(const struct mmk_pt_shape *shape, struct mmk__path *path,
    uint64_t pte)
{
	if (shape->contig_shift != 0 && path->level == 0 &&
	    mmk_pt_is_contig(shape, pte))
		path->nr_entries = 1u << shape->contig_shift;
}

/*
 * The leaf's entry that translates `va`, of level path->level, or NULL. Same
 * locks.
 */
MMK_PRIVATE uint64_t *
mmk__path_leaf(const struct mmk_pmap *pmap, mmk_va va, struct mmk__path *path)
{
	const struct mmk_pt_shape *shape = &pmap->sys->shape;
	uint64_t *slot, pte;

	if (!mmk_pmap_covers(pmap, va) || !mmk__path_find(pmap, va, path))
		return NULL;
	slot = path->slots[path->level];
	pte = MMKIT_ATOMIC_LOAD(slot);
	if (!mmk_pt_is_present(shape, path->level, pte))
		return NULL;
	mmk__path_see(shape, path, pte);
	return slot;
}

/* The frame of the table that the path ends in. Same locks. */
MMK_PRIVATE struct mmk_frame *
mmk__path_table(const struct mmk_pmap *pmap, struct mmk__path *path)
{
	if (path->table == NULL)
		path->table = mmk__pt_frame(pmap, path->slots[path->level]);
	return path->table;
}

/* Where the leaf at the path's end starts and ends. */
MMK_PRIVATE mmk_va
mmk__path_start(const struct mmk__path *path)
{
	if (path->level == 0 && path->nr_entries == 1)
		return path->va;
	return mmk_round_down(path->va,
	    mmk__pt_span(path->level) * path->nr_entries);
}

MMK_PRIVATE mmk_va
mmk__path_end(const struct mmk__path *path)
{
	if (path->level == 0 && path->nr_entries == 1)
		return path->va + MMK_PAGE_BYTES;
	return mmk__path_start(path) +
	    mmk__pt_span(path->level) * path->nr_entries;
}

/*
 * The end of what starts at start_va; of the kernel's last entry that would be
 * 2^64, so it ends before the page that is never there.
 */
MMK_PRIVATE mmk_va
mmk__pmap_end(const struct mmk_pmap *pmap, mmk_va start_va, mmk_va bytes)
{
	return start_va + mmk_min(bytes, pmap->end_va - start_va);
}

/* How many pages it translates. */
MMK_PRIVATE uint64_t
mmk__path_nr_pages(const struct mmk__path *path)
{
	return mmk__pt_nr_pages(path->level) * path->nr_entries;
}

/* The first of its entries. */
MMK_PRIVATE uint64_t *
mmk__path_first(const struct mmk__path *path)
{
	return path->slots[path->level] -
	    (mmk_pages_of_bytes(path->va) & (path->nr_entries - 1));
}

/* The address that path->va is translated to by `pte`, its leaf. */
MMK_PRIVATE mmk_pa
mmk__path_pa(const struct mmk_pt_shape *shape, const struct mmk__path *path,
    uint64_t pte)
{
	mmk_va inside;

	if (path->level == 0)
		return mmk_pt_pa(shape, 0, pte);
	inside = mmk__pt_span(path->level) - MMK_PAGE_BYTES;
	return mmk_pt_pa(shape, path->level, pte) + (path->va & inside);
}

/*
 * The same as mmk__path_find, but from the page before in the same table it is
 * one step, and from the same page none. locks: pmap->lock held, and no table
 * unlinked since the path was made.
 */
MMK_PRIVATE bool
mmk__path_step(const struct mmk_pmap *pmap, mmk_va va, struct mmk__path *path)
{
	if (!path->is_whole || (va != path->va &&
	        (va != path->va + MMK_PAGE_BYTES ||
	            mmk__pt_index(0, va) == 0)))
		return mmk__path_find(pmap, va, path);
	path->slots[0] += va != path->va;
	path->va = va;
	path->nr_entries = 1;
	return true;
}

/*
 * mmk__path_next: the first page at or after *va and below `end_va` that some
 * leaf translates.
 *
 * pre      the path is from mmk__path_init, or from this under the same hold
 *          of the lock.
 * locks    pmap->lock held.
 * out      true: *va is its address, maybe amid a large leaf, and the path
 *          leads to the leaf; false: *va is as it was.
 */
MMK_PRIVATE bool
mmk__path_next(const struct mmk_pmap *pmap, mmk_va *va, mmk_va end_va,
    struct mmk__path *path)
{
	const struct mmk_pt_shape *shape = &pmap->sys->shape;
	mmk_va at = mmk_max(mmk_page_floor(*va), pmap->base_va);

	end_va = mmk_min(end_va, pmap->end_va);
	if (at >= end_va)
		return false;
	do {
		uint64_t pte;

		if (!mmk__path_step(pmap, at, path))
			continue;
		pte = MMKIT_ATOMIC_LOAD(path->slots[path->level]);
		if (mmk_pt_is_present(shape, path->level, pte)) {
			mmk__path_see(shape, path, pte);
			*va = at;
			return true;
		}
	} while ((at = mmk__path_end(path)) < end_va &&
	    at != 0); /* as 2^64 is */
	return false;
}

/* ---- leaves: one entry, or a group ----------------------------------------- */

/* What the hardware says of a leaf, in any entry of a group. */
#define MMK__SEEN (MMK_PMAP_ACCESSED | MMK_PMAP_MODIFIED)

/*
 * The flags of the leaf at the path's end, of which `pte` is the path's entry.
 * locks: pmap->lock held.
 */
MMK_PRIVATE unsigned
mmk__leaf_flags(const struct mmk_pt_shape *shape, const struct mmk__path *path,
    uint64_t pte)
{
	unsigned flags = mmk_pt_flags(shape, path->level, pte);
	const uint64_t *first;

	if (path->nr_entries == 1)
		return flags;
	first = mmk__path_first(path);
	for (unsigned i = 0; i < path->nr_entries; i++)
		flags |= mmk_pt_flags(shape, 0, MMKIT_ATOMIC_LOAD(&first[i])) &
		    MMK__SEEN;
	return flags;
}

/*
 * Empty the leaf; its first entry, and in *flags_out what the leaf was. Same
 * locks.
 */
MMK_PRIVATE uint64_t
mmk__leaf_take(const struct mmk_pt_shape *shape, const struct mmk__path *path,
    unsigned *flags_out)
{
	uint64_t *slot = path->nr_entries == 1 ? path->slots[path->level]
	                                       : mmk__path_first(path);
	uint64_t first = mmk__pte_take(slot);
	unsigned flags = mmk_pt_flags(shape, path->level, first);

	for (unsigned i = 1; i < path->nr_entries; i++)
		flags |= mmk_pt_flags(shape, 0, mmk__pte_take(&slot[i])) &
		    MMK__SEEN;
	*flags_out = flags;
	return first;
}

/*
 * Add and take away flags of the leaf in place, where `pte` with `flags` was the
 * path's entry just now. *had_out, if not NULL: the flags that it had. Same
 * locks.
 */
MMK_PRIVATE void
mmk__leaf_change(const struct mmk_pt_shape *shape,
    const struct mmk__path *path, uint64_t pte, unsigned flags, unsigned add,
    unsigned take, unsigned *had_out)
{
	uint64_t *slot = path->slots[path->level];
	unsigned had = 0;

	if (path->nr_entries == 1) {
		pte = mmk__pte_change_from(shape, path->level, slot, pte,
		    flags, add, take);
		if (had_out != NULL)
			*had_out = mmk_pt_flags(shape, path->level, pte);
		return;
	}
	slot = mmk__path_first(path);
	for (unsigned i = 0; i < path->nr_entries; i++)
		had |= mmk_pt_flags(shape, 0,
		    mmk__pte_change(shape, 0, &slot[i], add, take));
	if (had_out != NULL)
		*had_out = had;
}

/* ---- tables -------------------------------------------------------------- */

/*
 * Tables that nothing leads to are chained by frame->translations, which a
 * table has no other use for. A chain is its first one's index + 1; 0: empty.
 */
MMK_PRIVATE void
mmk__tables_push(struct mmk_pmap_sys *sys, uint32_t *chain,
    struct mmk_frame *table)
{
	table->translations = (void *)(uintptr_t)*chain;
	*chain = mmk_frame_index(sys->phys, table) + 1;
}

/* pre: *chain is not empty. */
MMK_PRIVATE struct mmk_frame *
mmk__tables_pop(struct mmk_pmap_sys *sys, uint32_t *chain)
{
	struct mmk_frame *table;

	MMK_ASSERT(*chain != 0);
	table = mmk_frame_at(sys->phys, *chain - 1);
	*chain = (uint32_t)(uintptr_t)table->translations;
	table->translations = NULL;
	return table;
}

/*
 * A table that belongs to `pmap` and is paid for, or NULL: no memory. Empty if
 * alloc_flags has MMK_ALLOC_ZERO.
 */
MMK_PRIVATE struct mmk_frame *
mmk__table_alloc(struct mmk_pmap_sys *sys, struct mmk_pmap *pmap,
    unsigned alloc_flags)
{
	const struct mmk_slab_payer *payer = pmap->payer;
	struct mmk_frame *frame;

	if (payer != NULL && payer->charge(payer->ctx, 1) != MMK_OK)
		return NULL;
	if (mmk_frame_alloc(sys->phys, 0, alloc_flags, MMK_USE_TABLE, &frame) !=
	    MMK_OK) {
		if (payer != NULL)
			payer->uncharge(payer->ctx, 1);
		return NULL;
	}
	frame->mapped = 0;
	frame->owner = pmap;
	return frame;
}

/* pre: no CPU can reach the table any more; its pmap still exists. */
MMK_PRIVATE void
mmk__table_free(struct mmk_pmap_sys *sys, struct mmk_frame *table)
{
	const struct mmk_slab_payer *payer;

	MMK_ASSERT(table->use == MMK_USE_TABLE);
	MMK_ASSERT(table->mapped == 0);
	payer = ((const struct mmk_pmap *)table->owner)->payer;
	table->owner = NULL;
	(void)mmk_frame_unref(sys->phys, table);
	if (payer != NULL)
		payer->uncharge(payer->ctx, 1);
}

/* Free a chain of tables; same pre for each of them. */
MMK_PRIVATE void
mmk__tables_free(struct mmk_pmap_sys *sys, uint32_t chain)
{
	while (chain != 0)
		mmk__table_free(sys, mmk__tables_pop(sys, &chain));
}

/*
 * An entry is about to lead to a new table. Where it led to another one that was
 * unlinked and not flushed yet, it is flushed first (break before make); other
 * machines than those of broadcasts do not care. locks: pmap->lock held.
 */
MMK_PRIVATE void
mmk__path_settle(struct mmk_pmap *pmap, const struct mmk__path *path)
{
	const struct mmk_pt_shape *shape = &pmap->sys->shape;
	mmk_va span_bytes = (mmk_va)1 << mmk__pt_shift(path->level);
	mmk_va start_va = mmk_round_down(path->va, span_bytes);

	if (!mmk_pt_is_broadcast(shape) ||
	    (MMKIT_ATOMIC_LOAD(&pmap->nr_gathers) == 0 &&
	        MMKIT_ATOMIC_LOAD(&pmap->nr_flushing) == 0))
		return;
	(void)MMKIT_ATOMIC_ADD(&pmap->sys->nr_flushes, (uint64_t)1);
	mmk_pt_invalidate(pmap, start_va,
	    mmk__pmap_end(pmap, start_va, span_bytes));
}

/*
 * mmk__path_grow: add the tables that `path` lacks, down to one of `level`.
 *
 * All are allocated, then linked from the bottom up, and become visible by
 * one store at the end.
 *
 * pre      the path ends above `level`, at an empty entry.
 * locks    pmap->lock held.
 * out      the path reaches `level`. The new table there is empty: the caller
 *          fills its entry before it lets the lock go.
 * errors   MMK_ERR_NOMEM: nothing changed.
 */
MMK_PRIVATE MMK_NODISCARD enum mmk_err
mmk__path_grow(struct mmk_pmap *pmap, unsigned level, struct mmk__path *path)
{
	struct mmk_pmap_sys *sys = pmap->sys;
	const struct mmk_pt_shape *shape = &sys->shape;
	struct mmk_frame *tables[MMK_PT_LEVELS_MAX];
	unsigned at;

	for (at = level; at < path->level; at++) {
		tables[at] = mmk__table_alloc(sys, pmap, MMK_ALLOC_ZERO);
		if (tables[at] == NULL) {
			while (at-- > level)
				mmk__table_free(sys, tables[at]);
			return MMK_ERR_NOMEM;
		}
		path->slots[at] = mmk__pt_slot(at,
		    mmk_frame_pa(sys->phys, tables[at]), path->va);
	}
	mmk__path_settle(pmap, path);
	for (at = level; at < path->level; at++) {
		uint64_t *slot = path->slots[at + 1];

		mmk__pt_frame(pmap, slot)->mapped++;
		MMKIT_ATOMIC_STORE(slot, mmk_pt_make_table(shape, at + 1,
		    mmk_frame_pa(sys->phys, tables[at])));
	}
	pmap->nr_tables += path->level - level;
	path->table = tables[level];
	path->level = level;
	return MMK_OK;
}

/*
 * mmk__path_shrink: the leaf at the path's end has been emptied: count it off,
 * and unlink every table that has none left.
 *
 * locks    pmap->lock held.
 * out      *chain_out grows by the tables unlinked: free them after the flush.
 *          The level up to which all is empty now: that of the leaf, if no
 *          table went.
 */
MMK_PRIVATE unsigned
mmk__path_shrink(struct mmk_pmap *pmap, struct mmk__path *path,
    uint32_t *chain_out)
{
	unsigned top = pmap->sys->shape.nr_levels - 1u;

	struct mmk_frame *table = mmk__path_table(pmap, path);
	unsigned level = path->level;
	uint32_t nr_entries = path->nr_entries;

	for (;; nr_entries = 1) {
		MMK_ASSERT(table->mapped >= nr_entries);
		table->mapped -= nr_entries;
		if (table->mapped > 0 || level == top)
			return level;
		(void)mmk__pte_take(path->slots[++level]);
		path->is_whole = false;
		path->table = NULL;
		mmk__tables_push(pmap->sys, chain_out, table);
		pmap->nr_tables--;
		pmap->nr_unlinked++;
		table = mmk__pt_frame(pmap, path->slots[level]);
	}
}
#endif /* MMKIT_IMPLEMENTATION */
