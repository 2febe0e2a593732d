/* SPDX-License-Identifier: MIT
 *
 * mmkit/face/mapping.h: the mmap family, as system calls want it
 *
 * WHAT    Raw integers in, errors out. Everything a program may get wrong
 *         (unaligned, wrapping, zero, over the limit, unknown flag bits) is
 *         checked here, in one place, before a map is touched. A space is a
 *         map and a heap (brk):
 *
 *           min_va   heap_start_va   heap_end_va                      max_va
 *             |           [#########]....> |                            |
 *             |                            heap_start_va + limit        |
 *             | program                               files, stacks <---|
 *
 * LAYER   face. Includes vm/ and pager/. Knows no system-call numbers: the
 *         kernel translates its own flag values (doc/PORTING.md has a table).
 * LOCKS   brk and fork take space->mutex (MMK_RANK_MAP), and the map's mutex
 *         inside it; all others only the latter. Pagers are waited for, and
 *         files closed, with neither held.
 * COST    that of the map operation under it
 * SOURCE  the calls are POSIX.1-2017 mmap, munmap, mprotect, msync and Linux's
 *         mremap(2), madvise(2), mincore(2), brk(2); S0.10 is SeaOS's.
 *
 * I1      heap_start_va <= heap_end_va <= heap_start_va + heap_limit_bytes
 */
#ifndef MMKIT_FACE_MAPPING_H
#define MMKIT_FACE_MAPPING_H

#include "../pager/device.h"
#include "../vm/fault.h"
#include "../vm/remap.h"

MMK_BEGIN_DECLS

/* Flags of mmk_mmap; exactly one of SHARED and PRIVATE. */
#define MMK_MAP_SHARED 0x01u
#define MMK_MAP_PRIVATE 0x02u
#define MMK_MAP_FIXED 0x04u     /* at `va`, replacing what is there */
#define MMK_MAP_NOREPLACE 0x08u /* at `va` or EXIST; stronger than FIXED */
#define MMK_MAP_ANON 0x10u      /* no file: becomes the zero object (S0.10) */
#define MMK_MAP_STACK 0x20u     /* grows down on a fault; PRIVATE | ANON only */
#define MMK_MAP_POPULATE 0x40u  /* fault in at once what memory allows */
#define MMK_MAP_LOW 0x80u       /* a place below 2 GiB, as MAP_32BIT */
#define MMK_MAP_ALL 0xffu

/* Flags of mmk_mremap. */
#define MMK_REMAP_MAYMOVE 1u
#define MMK_REMAP_FIXED 2u     /* to new_va, replacing; MAYMOVE as well */
#define MMK_REMAP_DONTUNMAP 4u /* refused with INVAL in this version */

/*
 * One program's address space.
 *
 * Guards: [I] immutable after init  [S] this->mutex
 */
struct mmk_space {
	struct mmk_map map;        /* its own mutex */
	MMKIT_MUTEX_T mutex;
	mmk_va heap_start_va;      /* [S] bytes, any alignment; 0: no heap */
	mmk_va heap_end_va;        /* [S] the break: bytes, any alignment */
	uint64_t heap_limit_bytes; /* [S] */
};

/*
 * In every call below that takes a range, but for the hint of mmk_mmap: the
 * address is page aligned, the length is not 0, and the range, its end rounded
 * up to a page, lies within the space's bounds. Else the call returns
 * MMK_ERR_INVAL, and so it does for flag or protection bits it does not know.
 */

/*
 * mmk_space_init: an empty space over [min_va, max_va).
 *
 * errors   MMK_ERR_INVAL: bounds unaligned, empty or more than the page tables
 *          can translate; MMK_ERR_NOMEM: nothing changed.
 */
#define mmk_space_init MMK_STAMP(mmk_space_init)
MMK_API MMK_NODISCARD enum mmk_err mmk_space_init(struct mmk_space *space,
    struct mmk_vm *vm, mmk_va min_va, mmk_va max_va);

/* Unmaps everything, frees every table. Never fails. pre: active on no CPU. */
MMK_API void mmk_space_fini(struct mmk_space *space);

/*
 * mmk_space_fork: `child`, uninitialised, becomes a copy of `parent`, the
 * private memory of both copy-on-write.
 *
 * errors   MMK_ERR_NOMEM: nothing changed, the child is not initialised.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_space_fork(struct mmk_space *child,
    struct mmk_space *parent);

/*
 * mmk_mmap: map `bytes` of `object` from offset_bytes on.
 *
 * pre      object NULL or of the space's vm. The mapping takes a reference of
 *          its own. With ANON an object given is not looked at (S0.10).
 * out      *va_out. `va` is a hint unless FIXED or NOREPLACE: rounded down to a
 *          page, used if that range is free, never replacing anything (B0.n).
 *          max_prot is what mprotect may ever grant.
 * errors   MMK_ERR_INVAL: also neither or both of SHARED and PRIVATE, offset
 *          unaligned or wrapping, no object without ANON (S0.12);
 *          MMK_ERR_ACCESS: prot above max_prot; MMK_ERR_EXIST: NOREPLACE;
 *          MMK_ERR_NOSPACE: no gap; MMK_ERR_LIMIT; MMK_ERR_NOMEM: nothing
 *          changed. POPULATE cannot fail: what did not fit faults later.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_mmap(struct mmk_space *space, mmk_va va,
    uint64_t bytes, unsigned prot, unsigned max_prot, unsigned flags,
    struct mmk_object *object, uint64_t offset_bytes, mmk_va *va_out);

/*
 * errors   MMK_ERR_INVAL; MMK_ERR_NOMEM: the middle of an entry goes and there
 *          is no memory to split it: nothing changed. Holes are no error.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_munmap(struct mmk_space *space,
    mmk_va va, uint64_t bytes);

/*
 * errors   MMK_ERR_INVAL; MMK_ERR_NOENT: a hole in the range; MMK_ERR_ACCESS:
 *          above max_prot; MMK_ERR_NOMEM: nothing changed.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_mprotect(struct mmk_space *space,
    mmk_va va, uint64_t bytes, unsigned prot);

/*
 * mmk_mremap: what is mapped at [va, va + old_bytes) becomes new_bytes long.
 *
 * out      *va_out: where it is now; `va` unless it had to move (MAYMOVE) or
 *          was sent to new_va (FIXED). Contents and offsets follow.
 * errors   MMK_ERR_INVAL: also FIXED without MAYMOVE, DONTUNMAP, or new and
 *          old range overlap under FIXED; MMK_ERR_NOENT: a hole in the old
 *          range; MMK_ERR_NOSPACE: it cannot grow in place and may not move,
 *          or no gap; MMK_ERR_LIMIT; MMK_ERR_NOMEM: nothing changed.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_mremap(struct mmk_space *space,
    mmk_va va, uint64_t old_bytes, uint64_t new_bytes, unsigned flags,
    mmk_va new_va, mmk_va *va_out);

/*
 * mmk_heap_init: say where the heap may be. The break is start_va.
 *
 * errors   MMK_ERR_INVAL: 0, or [start_va, start_va + limit_bytes) wraps or
 *          leaves the space; MMK_ERR_EXIST: it has been said before.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_heap_init(struct mmk_space *space,
    mmk_va start_va, uint64_t limit_bytes);

/*
 * mmk_brk: move the break to `va`, any alignment; 0 only asks.
 *
 * out      *va_out is the break after the call, whether or not it moved.
 * errors   MMK_ERR_INVAL: no heap, or below its start; MMK_ERR_LIMIT: beyond
 *          its limit; MMK_ERR_EXIST: something else is mapped there;
 *          MMK_ERR_NOMEM: the break is where it was.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_brk(struct mmk_space *space, mmk_va va,
    mmk_va *va_out);

/*
 * mmk_discard: forget private contents; the next touch shows zeros, or the
 * file, again.
 *
 * errors   MMK_ERR_INVAL; MMK_ERR_NOENT: a hole (what is mapped has been
 *          discarded); MMK_ERR_NOMEM: a layer shared since a fork could not be
 *          copied (what comes before it has been discarded).
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_discard(struct mmk_space *space,
    mmk_va va, uint64_t bytes);

/*
 * mmk_msync: write modified pages of shared file mappings to their pagers.
 *
 * errors   MMK_ERR_INVAL; MMK_ERR_NOENT: a hole; the pager's: that page and
 *          those after it are still modified. MMK_ERR_AGAIN: another CPU is
 *          writing a page of the range just now: call again.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_msync(struct mmk_space *space,
    mmk_va va, uint64_t bytes);

/*
 * mmk_mincore: vec_out[i] is 1 if page i of the range is resident, else 0.
 *
 * errors   MMK_ERR_INVAL; MMK_ERR_NOENT: a hole; vec_out is untouched.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_mincore(struct mmk_space *space,
    mmk_va va, uint64_t bytes, uint8_t *vec_out);

/*
 * mmk_populate: fault every page of the range in, for `access` (one of
 * MMK_PROT_READ, WRITE, EXEC).
 *
 * errors   MMK_ERR_INVAL; those of mmk_fault, at the first page that fails:
 *          those before it are there.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_populate(struct mmk_space *space,
    mmk_va va, uint64_t bytes, unsigned access);

MMK_END_DECLS
#endif /* MMKIT_FACE_MAPPING_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_FACE_MAPPING_IMPL)
#define MMKIT_FACE_MAPPING_IMPL

#define MMK__MAP_LOW_VA ((mmk_va)1 << 31)

/* [start_va, end_va) of whole pages, made of a caller's numbers. */
struct mmk__span {
	mmk_va start_va;
	mmk_va end_va;
};

/*
 * mmk__span_make: the one place that checks an address and a length.
 *
 * errors   MMK_ERR_INVAL: *span_out untouched.
 */
MMK_PRIVATE MMK_NODISCARD enum mmk_err
mmk__span_make(const struct mmk_space *space, mmk_va va, uint64_t bytes,
    struct mmk__span *span_out)
{
	const struct mmk_map *map = &space->map;

	if (!mmk_is_page_aligned(va) || bytes == 0)
		return MMK_ERR_INVAL;
	if (va < map->min_va || va >= map->max_va)
		return MMK_ERR_INVAL;
	if (mmk_pages_round_up(bytes) > mmk_pages_of_bytes(map->max_va - va))
		return MMK_ERR_INVAL;
	span_out->start_va = va;
	span_out->end_va = va + mmk_bytes_of_pages(mmk_pages_round_up(bytes));
	return MMK_OK;
}

MMK_PRIVATE uint64_t
mmk__span_pages(const struct mmk__span *span)
{
	return mmk_pages_of_bytes(span->end_va - span->start_va);
}

MMK_PRIVATE bool
mmk__span_meets(const struct mmk__span *a, const struct mmk__span *b)
{
	return a->start_va < b->end_va && b->start_va < a->end_va;
}

MMK_API enum mmk_err
mmk_space_init(struct mmk_space *space, struct mmk_vm *vm, mmk_va min_va,
    mmk_va max_va)
{
	enum mmk_err err;

	if (!mmk_is_page_aligned(min_va) || !mmk_is_page_aligned(max_va) ||
	    min_va >= max_va)
		return MMK_ERR_INVAL;
	if (max_va > mmk_pt_va_limit(&vm->pmap_sys->shape))
		return MMK_ERR_INVAL;
	err = mmk_map_init(&space->map, vm, min_va, max_va, space);
	if (err != MMK_OK)
		return err;
	MMKIT_MUTEX_INIT(&space->mutex, "space", MMK_RANK_MAP);
	space->heap_start_va = 0;
	space->heap_end_va = 0;
	space->heap_limit_bytes = 0;
	return MMK_OK;
}

MMK_API void
mmk_space_fini(struct mmk_space *space)
{
	mmk_map_fini(&space->map);
}

MMK_API enum mmk_err
mmk_space_fork(struct mmk_space *child, struct mmk_space *parent)
{
	enum mmk_err err;

	MMKIT_MUTEX_LOCK(&parent->mutex);
	err = mmk_map_fork(&child->map, &parent->map, child);
	if (err == MMK_OK) {
		MMKIT_MUTEX_INIT(&child->mutex, "space", MMK_RANK_MAP);
		child->heap_start_va = parent->heap_start_va;
		child->heap_end_va = parent->heap_end_va;
		child->heap_limit_bytes = parent->heap_limit_bytes;
	}
	MMKIT_MUTEX_UNLOCK(&parent->mutex);
	return err;
}

MMK_PRIVATE MMK_NODISCARD enum mmk_err
mmk__mmap_check_flags(unsigned prot, unsigned max_prot, unsigned flags)
{
	bool is_shared = (flags & MMK_MAP_SHARED) != 0;
	bool is_private = (flags & MMK_MAP_PRIVATE) != 0;
	unsigned anon_private = MMK_MAP_ANON | MMK_MAP_PRIVATE;

	if ((flags & ~MMK_MAP_ALL) != 0 || is_shared == is_private)
		return MMK_ERR_INVAL;
	if ((flags & MMK_MAP_STACK) != 0 &&
	    (flags & anon_private) != anon_private)
		return MMK_ERR_INVAL;
	if ((prot & ~MMK_PROT_ALL) != 0 || (max_prot & ~MMK_PROT_ALL) != 0)
		return MMK_ERR_INVAL;
	if ((prot & ~max_prot) != 0)
		return MMK_ERR_ACCESS;
	return MMK_OK;
}

/* Where args says: at an address that must be good, or by a hint. */
MMK_PRIVATE MMK_NODISCARD enum mmk_err
mmk__mmap_place(const struct mmk_space *space, mmk_va va, uint64_t bytes,
    unsigned flags, struct mmk_map_args *args)
{
	struct mmk__span span;

	args->exclusive = (flags & MMK_MAP_NOREPLACE) != 0;
	args->fixed = !args->exclusive && (flags & MMK_MAP_FIXED) != 0;
	if (args->fixed || args->exclusive) {
		args->start_va = va;
		return mmk__span_make(space, va, bytes, &span);
	}
	if ((flags & MMK_MAP_LOW) != 0 && space->map.max_va > MMK__MAP_LOW_VA)
		args->below_va = MMK__MAP_LOW_VA;
	va = mmk_page_floor(va);
	if (va == 0 || mmk__span_make(space, va, bytes, &span) != MMK_OK)
		return MMK_OK; /* a hint that cannot be: none */
	if (args->below_va == 0 || span.end_va <= args->below_va)
		args->start_va = va;
	return MMK_OK;
}

/*
 * The object to show, with a reference for the caller. This is where ANON ends:
 * nothing below has heard of it (S0.10).
 */
MMK_PRIVATE MMK_NODISCARD enum mmk_err
mmk__mmap_object(struct mmk_space *space, unsigned flags,
    struct mmk_object *object, uint64_t offset_bytes,
    struct mmk_map_args *args)
{
	struct mmk_vm *vm = space->map.vm;

	if ((flags & MMK_MAP_ANON) != 0 && (flags & MMK_MAP_SHARED) != 0)
		return mmk_zero_create(vm, args->nr_pages,
		    &args->lower.object);
	if ((flags & MMK_MAP_ANON) != 0) {
		/* Neighbours in the space are neighbours in the object. */
		args->lower.page = MMK_PAGE_BY_ADDRESS;
		return mmk_zero_shared(vm, &args->lower.object);
	}
	MMK_ASSERT(object->vm == vm);
	mmk_object_ref(object);
	args->lower.object = object;
	args->lower.page = mmk_pages_of_bytes(offset_bytes);
	return MMK_OK;
}

/* One fault for each page: for writing if it is private and may be written, else
 * for reading, so that no shared page is made dirty. */
MMK_PRIVATE void
mmk__mmap_populate(struct mmk_space *space, mmk_va va, uint64_t bytes,
    unsigned prot, unsigned flags)
{
	unsigned access = MMK_PROT_READ;
	enum mmk_err err;

	if ((prot & MMK_PROT_WRITE) != 0 && (flags & MMK_MAP_PRIVATE) != 0)
		access = MMK_PROT_WRITE;
	else if ((prot & MMK_PROT_READ) == 0)
		access = prot & MMK_PROT_EXEC;
	if (access == MMK_PROT_NONE)
		return;
	err = mmk_populate(space, va, bytes, access);
	(void)err; /* the mapping stands; the rest faults when it is touched */
}

MMK_API enum mmk_err
mmk_mmap(struct mmk_space *space, mmk_va va, uint64_t bytes, unsigned prot,
    unsigned max_prot, unsigned flags, struct mmk_object *object,
    uint64_t offset_bytes, mmk_va *va_out)
{
	bool is_private = (flags & MMK_MAP_PRIVATE) != 0;
	struct mmk_map_args args = { .prot = prot, .max_prot = max_prot };
	enum mmk_err err = mmk__mmap_check_flags(prot, max_prot, flags);

	if (err != MMK_OK)
		return err;
	if (bytes == 0 || !mmk_is_page_aligned(offset_bytes))
		return MMK_ERR_INVAL;
	if ((flags & MMK_MAP_ANON) == 0 &&
	    (object == NULL || bytes > UINT64_MAX - offset_bytes))
		return MMK_ERR_INVAL;
	args.nr_pages = mmk_pages_round_up(bytes);
	args.inherit = is_private ? MMK_INHERIT_COPY : MMK_INHERIT_SHARE;
	args.entry_flags = (is_private ? MMK_ENTRY_PRIVATE : 0) |
	    ((flags & MMK_MAP_STACK) != 0 ? MMK_ENTRY_STACK : 0);
	err = mmk__mmap_place(space, va, bytes, flags, &args);
	if (err != MMK_OK)
		return err;
	if (args.nr_pages >
	    mmk_pages_of_bytes(space->map.max_va - space->map.min_va))
		return MMK_ERR_NOSPACE;
	err = mmk__mmap_object(space, flags, object, offset_bytes, &args);
	if (err != MMK_OK)
		return err;
	err = mmk_map_insert(&space->map, &args, &va);
	mmk_object_unref(args.lower.object);
	if (err != MMK_OK)
		return err;
	if ((flags & MMK_MAP_POPULATE) != 0)
		mmk__mmap_populate(space, va, bytes, prot, flags);
	*va_out = va;
	return MMK_OK;
}

MMK_API enum mmk_err
mmk_munmap(struct mmk_space *space, mmk_va va, uint64_t bytes)
{
	struct mmk__span span;
	enum mmk_err err = mmk__span_make(space, va, bytes, &span);

	if (err != MMK_OK)
		return err;
	return mmk_map_remove(&space->map, span.start_va, span.end_va);
}

MMK_API enum mmk_err
mmk_mprotect(struct mmk_space *space, mmk_va va, uint64_t bytes,
    unsigned prot)
{
	struct mmk__span span;
	enum mmk_err err = mmk__span_make(space, va, bytes, &span);

	if (err != MMK_OK)
		return err;
	if ((prot & ~MMK_PROT_ALL) != 0)
		return MMK_ERR_INVAL;
	return mmk_map_protect(&space->map, span.start_va, span.end_va, prot);
}

MMK_API enum mmk_err
mmk_mremap(struct mmk_space *space, mmk_va va, uint64_t old_bytes,
    uint64_t new_bytes, unsigned flags, mmk_va new_va, mmk_va *va_out)
{
	unsigned known = MMK_REMAP_MAYMOVE | MMK_REMAP_FIXED;
	bool is_fixed = (flags & MMK_REMAP_FIXED) != 0;
	struct mmk__span span, new_span;
	struct mmk_remap_args args;
	enum mmk_err err = mmk__span_make(space, va, old_bytes, &span);

	if (err != MMK_OK)
		return err;
	if ((flags & ~known) != 0 || flags == MMK_REMAP_FIXED || new_bytes == 0)
		return MMK_ERR_INVAL;
	if (is_fixed) {
		err = mmk__span_make(space, new_va, new_bytes, &new_span);
		if (err != MMK_OK)
			return err;
		if (mmk__span_meets(&span, &new_span))
			return MMK_ERR_INVAL;
	}
	args.va = span.start_va;
	args.old_pages = mmk__span_pages(&span);
	args.new_pages = mmk_pages_round_up(new_bytes);
	args.may_move = (flags & MMK_REMAP_MAYMOVE) != 0;
	args.fixed = is_fixed;
	args.new_va = new_va;
	return mmk_map_remap(&space->map, &args, va_out);
}

MMK_API enum mmk_err
mmk_heap_init(struct mmk_space *space, mmk_va start_va, uint64_t limit_bytes)
{
	const struct mmk_map *map = &space->map;
	enum mmk_err err = MMK_OK;

	if (start_va == 0 || start_va < map->min_va ||
	    start_va > map->max_va || limit_bytes > map->max_va - start_va)
		return MMK_ERR_INVAL;
	MMKIT_MUTEX_LOCK(&space->mutex);
	if (space->heap_start_va != 0) {
		err = MMK_ERR_EXIST;
	} else {
		space->heap_start_va = start_va;
		space->heap_end_va = start_va;
		space->heap_limit_bytes = limit_bytes;
	}
	MMKIT_MUTEX_UNLOCK(&space->mutex);
	return err;
}

/* Map the pages in [start_va, end_va) as heap, or none of them. */
MMK_PRIVATE MMK_NODISCARD enum mmk_err
mmk__brk_grow(struct mmk_space *space, mmk_va start_va, mmk_va end_va,
    struct mmk_object *zero)
{
	struct mmk_map_args args = {
		.start_va = start_va,
		.nr_pages = mmk_pages_of_bytes(end_va - start_va),
		.prot = MMK_PROT_READ | MMK_PROT_WRITE,
		.max_prot = MMK_PROT_ALL,
		.inherit = MMK_INHERIT_COPY,
		.entry_flags = MMK_ENTRY_PRIVATE,
		.exclusive = true,
		.lower = { zero, MMK_PAGE_BY_ADDRESS },
	};

	return mmk__map_insert_locked(&space->map, &args, &start_va);
}

/*
 * Only whole pages come and go: the break itself has any alignment. Both
 * mutexes held.
 */
MMK_PRIVATE MMK_NODISCARD enum mmk_err
mmk__brk_move(struct mmk_space *space, mmk_va va, struct mmk_object *zero)
{
	mmk_va old_end_va = mmk_round_up(space->heap_end_va, MMK_PAGE_BYTES);
	mmk_va new_end_va = mmk_round_up(va, MMK_PAGE_BYTES);
	enum mmk_err err = MMK_OK;

	if (space->heap_start_va == 0 || va < space->heap_start_va)
		return MMK_ERR_INVAL;
	if (va - space->heap_start_va > space->heap_limit_bytes)
		return MMK_ERR_LIMIT;
	if (new_end_va > old_end_va)
		err = mmk__brk_grow(space, old_end_va, new_end_va, zero);
	else if (new_end_va < old_end_va)
		err = mmk__map_remove_locked(&space->map, new_end_va,
		    old_end_va);
	if (err == MMK_OK)
		space->heap_end_va = va;
	return err;
}

MMK_API enum mmk_err
mmk_brk(struct mmk_space *space, mmk_va va, mmk_va *va_out)
{
	struct mmk_object *zero = NULL;
	enum mmk_err err = MMK_OK;

	if (va != 0)
		err = mmk_zero_shared(space->map.vm, &zero);
	MMKIT_MUTEX_LOCK(&space->mutex);
	mmk__map_lock(&space->map);
	if (zero != NULL)
		err = mmk__brk_move(space, va, zero);
	*va_out = space->heap_end_va;
	MMKIT_MUTEX_UNLOCK(&space->mutex);
	mmk__map_unlock(&space->map);
	if (zero != NULL)
		mmk_object_unref(zero);
	return err;
}

MMK_API enum mmk_err
mmk_discard(struct mmk_space *space, mmk_va va, uint64_t bytes)
{
	struct mmk__span span;
	enum mmk_err err = mmk__span_make(space, va, bytes, &span);

	if (err != MMK_OK)
		return err;
	return mmk_map_discard(&space->map, span.start_va, span.end_va);
}

MMK_API enum mmk_err
mmk_msync(struct mmk_space *space, mmk_va va, uint64_t bytes)
{
	struct mmk__span span;
	enum mmk_err err = mmk__span_make(space, va, bytes, &span);

	if (err != MMK_OK)
		return err;
	return mmk_map_sync(&space->map, span.start_va, span.end_va);
}

MMK_API enum mmk_err
mmk_mincore(struct mmk_space *space, mmk_va va, uint64_t bytes,
    uint8_t *vec_out)
{
	struct mmk__span span;
	enum mmk_err err = mmk__span_make(space, va, bytes, &span);

	if (err != MMK_OK)
		return err;
	if (!mmk_map_is_covered(&space->map, span.start_va, span.end_va))
		return MMK_ERR_NOENT;
	for (uint64_t i = 0; i < mmk__span_pages(&span); i++)
		vec_out[i] = mmk_map_is_resident(&space->map,
		    span.start_va + mmk_bytes_of_pages(i)) ? 1 : 0;
	return MMK_OK;
}

MMK_API enum mmk_err
mmk_populate(struct mmk_space *space, mmk_va va, uint64_t bytes,
    unsigned access)
{
	struct mmk__span span;
	enum mmk_err err = mmk__span_make(space, va, bytes, &span);

	if (err != MMK_OK)
		return err;
	if (access != MMK_PROT_READ && access != MMK_PROT_WRITE &&
	    access != MMK_PROT_EXEC)
		return MMK_ERR_INVAL;
	for (va = span.start_va; va < span.end_va; va += MMK_PAGE_BYTES) {
		err = mmk_fault(&space->map, va, access);
		if (err != MMK_OK)
			return err;
	}
	return MMK_OK;
}
#endif /* MMKIT_IMPLEMENTATION */
