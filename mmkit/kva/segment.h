/* SPDX-License-Identifier: MIT
 *
 * mmkit/kva/segment.h: address spaces that are laid out by hand
 *
 * WHAT    A task has a descriptor, a descriptor has segments, and a segment may
 *         be divided into ranges (range.h) by an allocator of its own:
 *
 *           descriptor --> .text   |=========|
 *           pid, privilege .heap                |==|==|=====|  |  ranges
 *                          .stack                                 |====|
 *
 *         A segment remembers what is mapped in it (saved.h), whether or not it
 *         is in a page table at the moment; putting it there is the business
 *         of face/task.h. Nothing here touches page tables or frames.
 *
 *         For those who know Andromeda's VM manager:
 *
 *           vm_new, vm_free                    mmk_descriptor_create, _destroy
 *           vm_new_segment, vm_segment_clean   mmk_segment_create, _clean
 *           vm_segment_grow                    mmk_segment_grow
 *           vm_segment_alloc, _free            mmk_segment_alloc, _free
 *           vm_get_kernel_heap_pages, vm_free_kernel_heap_pages
 *                                              mmk_segment_heap_alloc, _free
 *           vm_range_update                    mmk_range_refill(&sys->reserve)
 *           vm_map and below                   see face/task.h
 *
 * LAYER   kva. Includes range.h and saved.h. Knows no page tables.
 * LOCKS   sys->mutex, then descriptor->mutex (both MMK_RANK_MAP), then the
 *         locks of the ranges. alloc and free take only the latter.
 * COST    create, grow, lookup: expected O(log segments); a segment is some 300
 *         bytes. alloc and free: those of range.h.
 * SOURCE  Andromeda's VM manager. Differs: overlap is refused; segments hang
 *         in a tree; the heap is known by a pointer, not looked for by name;
 *         what is mapped is kept as saved.h does.
 *
 * I1      the segments of one descriptor are disjoint
 * I2      a segment with an allocator is exactly its ranges
 * I3      what is saved lies in the segment; with an allocator, a range is
 *         mapped <=> a mapping starts where it does, and ends in it
 *                                         all tested by: mmk_descriptor_check
 */
#ifndef MMKIT_KVA_SEGMENT_H
#define MMKIT_KVA_SEGMENT_H

#include "../base/list.h"
#include "range.h"
#include "saved.h"

MMK_BEGIN_DECLS

#define MMK_SEGMENT_NAME_BYTES 32u
#define MMK_SEGMENT_HEAP ".heap" /* the kernel's, for mmk_segment_heap_* */

enum mmk_privilege { MMK_PRIVILEGE_USER, MMK_PRIVILEGE_KERNEL };

struct mmk_segment;

/*
 * Guards: [I] immutable after init  [S] sys->mutex  [D] descriptor->mutex
 *         [a] atomic
 */

/* A task's segments. */
struct mmk_descriptor {
	struct mmk_segment_sys *sys;  /* [I] */
	uint64_t pid;                 /* [I] */
	enum mmk_privilege privilege; /* [I] */
	MMKIT_MUTEX_T mutex;
	struct mmk_treap segments;    /* [D] key (start_va, 0) */
	struct mmk_link of_sys;       /* [S] */
};

/* What all descriptors of one machine share. */
struct mmk_segment_sys {
	uint64_t granule_bytes;           /* [I] */
	mmk_va max_va;                    /* [I] no segment ends above */
	struct mmk_pool descriptor_pool;
	struct mmk_pool segment_pool;
	struct mmk_pool saved_pool;       /* of struct mmk_saved_run */
	struct mmk_pool range_pool;       /* unless config.memory was given */
	struct mmk_range_reserve reserve; /* of every segment's ranges */
	struct mmk_descriptor kernel;     /* the static one: no task's */
	struct mmk_segment *heap;         /* [a] kernel's ".heap", or NULL */
	MMKIT_MUTEX_T mutex;
	struct mmk_list descriptors;      /* [S] but the kernel's */
};

struct mmk_segment {
	struct mmk_treap_node of_descriptor; /* [D] major: start_va */
	struct mmk_descriptor *descriptor;   /* [I] its only parent */
	mmk_va start_va;                     /* [I] */
	mmk_va end_va;                       /* [D] */
	struct mmk_saved saved;              /* [D] what is mapped in it */
	uint64_t loaded[(MMKIT_CPU_MAX + 63) / 64]; /* [D] CPUs; face/task.h */
	bool has_allocator;                  /* [I] */
	struct mmk_ranges ranges;            /* if has_allocator */
	char name[MMK_SEGMENT_NAME_BYTES];   /* [I] */
};

/* Zero a field that does not matter. */
struct mmk_segment_config {
	struct mmk_phys *phys;
	uint64_t granule_bytes; /* sizes of segments and ranges; a power of two
	                         * and at least a page; 0: 4 pages */
	mmk_va max_va;          /* page aligned */
	const struct mmk_range_memory *memory; /* NULL: a pool over phys */
	uint32_t reserve_low;    /* 0: 16; see mmk_range_reserve_init */
	uint32_t reserve_target; /* 0: 64 */
};

struct mmk_segment_args {
	const char *name;   /* NULL: none; copied, shorter than 32 bytes */
	mmk_va start_va;    /* page aligned */
	uint64_t bytes;     /* rounded up to granules */
	bool has_allocator;
};

/*
 * mmk_segment_sys_init: the kernel's descriptor, with no segments; the reserve
 * is filled. pre: max_va and granule_bytes are as said above.
 * errors   MMK_ERR_NOMEM: nothing changed.
 */
#define mmk_segment_sys_init MMK_STAMP(mmk_segment_sys_init)
MMK_API MMK_NODISCARD enum mmk_err mmk_segment_sys_init(
    struct mmk_segment_sys *sys, const struct mmk_segment_config *config);

/* Cleans the kernel's segments. pre: no other descriptor is left. */
MMK_API void mmk_segment_sys_fini(struct mmk_segment_sys *sys);

/*
 * mmk_descriptor_create: a task's descriptor: no segments, user privilege.
 * errors   MMK_ERR_NOMEM: nothing changed.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_descriptor_create(
    struct mmk_segment_sys *sys, uint64_t pid,
    struct mmk_descriptor **descriptor_out);

/*
 * mmk_descriptor_destroy: clean the segments that are left, then forget it.
 *
 * pre      nobody else uses it or its segments.
 * errors   MMK_ERR_BUSY: a segment is loaded on some CPU. MMK_ERR_INVAL: it is
 *          the kernel's. Nothing changed.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_descriptor_destroy(
    struct mmk_descriptor *descriptor);

/*
 * mmk_segment_create: a segment of args->bytes, rounded up to granules. The
 * kernel's first ".heap" that has an allocator becomes sys->heap.
 *
 * locks    takes and drops descriptor->mutex
 * errors   MMK_ERR_INVAL: no bytes, an unaligned start, a name too long, or the
 *          end wraps or lies above max_va. MMK_ERR_EXIST: it overlaps a segment
 *          of this descriptor; those of others do not matter. MMK_ERR_NOMEM:
 *          no memory, or the reserve is empty. Nothing changed.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_segment_create(
    struct mmk_descriptor *descriptor, const struct mmk_segment_args *args,
    struct mmk_segment **segment_out);

/*
 * mmk_segment_clean: forget the segment: its ranges, in whatever state, and
 * what is saved. Page tables stay as they are, and the references of pages
 * mapped in it stay held: mmk_task_unmap_all comes before, or they are given up
 * by hand. pre: nobody else uses it.
 */
MMK_API void mmk_segment_clean(struct mmk_segment *segment);

/*
 * mmk_segment_grow: by `bytes`, rounded up to granules, upwards. The new space
 * is free; a segment without an allocator only gets larger.
 *
 * locks    takes and drops descriptor->mutex
 * errors   MMK_ERR_INVAL: 0, or the end would wrap or lie above max_va.
 *          MMK_ERR_EXIST: a segment of the same descriptor is in the way.
 *          MMK_ERR_NOMEM: the reserve is empty. Nothing changed.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_segment_grow(
    struct mmk_segment *segment, uint64_t bytes);

/*
 * A range of the segment, and its end. See mmk_range_alloc and mmk_range_free
 * for the errors; MMK_ERR_INVAL also: the segment has no allocator.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_segment_alloc(
    struct mmk_segment *segment, uint64_t bytes, mmk_va *va_out);
MMK_API MMK_NODISCARD enum mmk_err mmk_segment_free(
    struct mmk_segment *segment, mmk_va va);

/*
 * The same with the kernel's heap: never asks for memory, so that the kernel's
 * allocators may be built on it. errors as above; MMK_ERR_NOENT also: there is
 * no heap.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_segment_heap_alloc(
    struct mmk_segment_sys *sys, uint64_t bytes, mmk_va *va_out);
MMK_API MMK_NODISCARD enum mmk_err mmk_segment_heap_free(
    struct mmk_segment_sys *sys, mmk_va va);

/*
 * The segment that contains `va`, or else the next one up, or NULL.
 * locks: descriptor->mutex held.
 */
MMK_API struct mmk_segment *mmk_segment_find_locked(
    const struct mmk_descriptor *descriptor, mmk_va va);

/*
 * mmk_segment_save_locked: remember that `extents`, one after the other, are
 * mapped from `va` on. With an allocator, the range that starts at `va` goes
 * from allocated to mapped; the mapping may be shorter than it.
 *
 * locks    descriptor->mutex held
 * errors   MMK_ERR_NOENT: no allocated range starts at va; or, without an
 *          allocator, va is not in the segment. The others are those of mmk_saved_insert,
 *          with the end of the range or of the segment. Nothing changed.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_segment_save_locked(
    struct mmk_segment *segment, mmk_va va,
    const struct mmk_saved_extent *extents, size_t nr_extents, unsigned flags);

/*
 * Forget the mapping that starts at `va`; its range is allocated again. pre:
 * there is one. locks: descriptor->mutex held.
 */
MMK_API void mmk_segment_forget_locked(struct mmk_segment *segment, mmk_va va);

static inline uint64_t
mmk_segment_bytes(const struct mmk_segment *segment)
{
	return MMKIT_ATOMIC_LOAD(&segment->end_va) - segment->start_va;
}

/* Walk every segment, range and mapping. locks: take and drop the mutexes. */
MMK_API bool mmk_descriptor_check(struct mmk_descriptor *descriptor);
MMK_API bool mmk_segment_sys_check(struct mmk_segment_sys *sys);

MMK_END_DECLS
#endif /* MMKIT_KVA_SEGMENT_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_KVA_SEGMENT_IMPL)
#define MMKIT_KVA_SEGMENT_IMPL

/* ---- the machine --------------------------------------------------------- */

MMK_PRIVATE void
mmk__descriptor_init(struct mmk_descriptor *descriptor,
    struct mmk_segment_sys *sys, uint64_t pid, enum mmk_privilege privilege)
{
	descriptor->sys = sys;
	descriptor->pid = pid;
	descriptor->privilege = privilege;
	MMKIT_MUTEX_INIT(&descriptor->mutex, "descriptor", MMK_RANK_MAP);
	mmk_treap_init(&descriptor->segments);
	mmk_link_init(&descriptor->of_sys);
}

MMK_PRIVATE void *
mmk__segment_range_alloc(void *ctx)
{
	return mmk_pool_alloc((struct mmk_pool *)ctx);
}

MMK_PRIVATE void
mmk__segment_range_free(void *ctx, void *descriptor)
{
	mmk_pool_free((struct mmk_pool *)ctx, descriptor);
}

MMK_PRIVATE void
mmk__segment_pools_fini(struct mmk_segment_sys *sys)
{
	mmk_range_reserve_fini(&sys->reserve);
	mmk_pool_fini(&sys->range_pool);
	mmk_pool_fini(&sys->saved_pool);
	mmk_pool_fini(&sys->segment_pool);
	mmk_pool_fini(&sys->descriptor_pool);
}

MMK_PRIVATE void
mmk__segment_pools_init(struct mmk_segment_sys *sys,
    const struct mmk_segment_config *config)
{
	struct mmk_phys *phys = config->phys;
	struct mmk_range_memory memory = { mmk__segment_range_alloc,
		mmk__segment_range_free, &sys->range_pool };
	uint32_t low = config->reserve_low, target = config->reserve_target;

	mmk_pool_init(&sys->descriptor_pool, phys, "descriptors",
	    sizeof(struct mmk_descriptor));
	mmk_pool_init(&sys->segment_pool, phys, "segments",
	    sizeof(struct mmk_segment));
	mmk_pool_init(&sys->saved_pool, phys, "saved",
	    sizeof(struct mmk_saved_run));
	mmk_pool_init(&sys->range_pool, phys, "ranges",
	    MMK_RANGE_DESCRIPTOR_BYTES);
	mmk_range_reserve_init(&sys->reserve,
	    config->memory != NULL ? config->memory : &memory,
	    low != 0 ? low : 16u, target != 0 ? target : 64u);
}

MMK_API enum mmk_err
mmk_segment_sys_init(struct mmk_segment_sys *sys,
    const struct mmk_segment_config *config)
{
	enum mmk_err err;

	(void)MMKIT_MEMSET(sys, 0, sizeof(*sys));
	sys->granule_bytes = config->granule_bytes;
	if (sys->granule_bytes == 0)
		sys->granule_bytes = mmk_bytes_of_pages(4);
	sys->max_va = config->max_va;
	MMK_ASSERT(mmk_is_pow2(sys->granule_bytes));
	MMK_ASSERT(sys->granule_bytes >= MMK_PAGE_BYTES);
	MMK_ASSERT(sys->max_va > 0);
	MMK_ASSERT(mmk_is_page_aligned(sys->max_va));
	mmk__segment_pools_init(sys, config);
	err = mmk_range_refill(&sys->reserve);
	if (err != MMK_OK) {
		mmk__segment_pools_fini(sys);
		return err;
	}
	MMKIT_MUTEX_INIT(&sys->mutex, "descriptors", MMK_RANK_MAP);
	mmk_list_init(&sys->descriptors);
	mmk__descriptor_init(&sys->kernel, sys, 0, MMK_PRIVILEGE_KERNEL);
	return MMK_OK;
}

/* ---- segments ------------------------------------------------------------ */

MMK_PRIVATE struct mmk_segment *
mmk__segment_of(struct mmk_treap_node *node)
{
	return node == NULL
	    ? NULL
	    : MMK_TREAP_ITEM(node, struct mmk_segment, of_descriptor);
}

MMK_API struct mmk_segment *
mmk_segment_find_locked(const struct mmk_descriptor *descriptor, mmk_va va)
{
	const struct mmk_treap *tree = &descriptor->segments;
	struct mmk_segment *segment =
	    mmk__segment_of(mmk_treap_find_le(tree, va, 0));

	if (segment != NULL && va < segment->end_va)
		return segment;
	return mmk__segment_of(mmk_treap_find_ge(tree, va, 0));
}

/* `bytes` in granules fit between start_va and max_va; then they are *end. */
MMK_PRIVATE bool
mmk__segment_end(const struct mmk_segment_sys *sys, mmk_va start_va,
    uint64_t bytes, mmk_va *end_va_out)
{
	if (bytes == 0 || start_va >= sys->max_va ||
	    bytes > sys->max_va - start_va)
		return false;
	bytes = mmk_round_up(bytes, sys->granule_bytes);
	if (bytes == 0 || bytes > sys->max_va - start_va)
		return false;
	*end_va_out = start_va + bytes;
	return true;
}

/* False: longer than a segment can keep. NULL is no name. */
MMK_PRIVATE bool
mmk__segment_set_name(struct mmk_segment *segment, const char *name)
{
	(void)MMKIT_MEMSET(segment->name, 0, sizeof(segment->name));
	for (unsigned i = 0; name != NULL && name[i] != '\0'; i++) {
		if (i + 1 >= MMK_SEGMENT_NAME_BYTES)
			return false;
		segment->name[i] = name[i];
	}
	return true;
}

MMK_PRIVATE bool
mmk__segment_is_heap(const struct mmk_segment *segment)
{
	static const char heap[] = MMK_SEGMENT_HEAP;

	for (unsigned i = 0; i < sizeof(heap); i++)
		if (segment->name[i] != heap[i])
			return false;
	return segment->has_allocator &&
	    segment->descriptor == &segment->descriptor->sys->kernel;
}

/* Fill in a segment that nobody knows yet. */
MMK_PRIVATE MMK_NODISCARD enum mmk_err
mmk__segment_init(struct mmk_segment *segment,
    struct mmk_descriptor *descriptor, const struct mmk_segment_args *args)
{
	struct mmk_segment_sys *sys = descriptor->sys;

	(void)MMKIT_MEMSET(segment, 0, sizeof(*segment));
	segment->descriptor = descriptor;
	segment->start_va = args->start_va;
	segment->of_descriptor.major = args->start_va;
	segment->has_allocator = args->has_allocator;
	mmk_saved_init(&segment->saved, &sys->saved_pool);
	if (!mmk_is_page_aligned(args->start_va) ||
	    !mmk__segment_end(sys, args->start_va, args->bytes,
	        &segment->end_va) ||
	    !mmk__segment_set_name(segment, args->name))
		return MMK_ERR_INVAL;
	if (!args->has_allocator)
		return MMK_OK;
	return mmk_range_init(&segment->ranges, &sys->reserve,
	    segment->start_va, mmk_segment_bytes(segment), sys->granule_bytes);
}

/* Into its descriptor, unless something is there. */
MMK_PRIVATE MMK_NODISCARD enum mmk_err
mmk__segment_insert(struct mmk_segment *segment)
{
	struct mmk_descriptor *descriptor = segment->descriptor;
	struct mmk_segment *next, *none = NULL;
	enum mmk_err err = MMK_OK;

	MMKIT_MUTEX_LOCK(&descriptor->mutex);
	next = mmk_segment_find_locked(descriptor, segment->start_va);
	if (next != NULL && next->start_va < segment->end_va) {
		err = MMK_ERR_EXIST;
	} else {
		mmk_treap_insert(&descriptor->segments,
		    &segment->of_descriptor);
		if (mmk__segment_is_heap(segment))
			(void)MMKIT_ATOMIC_CAS(&descriptor->sys->heap, &none,
			    segment);
	}
	MMKIT_MUTEX_UNLOCK(&descriptor->mutex);
	return err;
}

MMK_API enum mmk_err
mmk_segment_create(struct mmk_descriptor *descriptor,
    const struct mmk_segment_args *args, struct mmk_segment **segment_out)
{
	struct mmk_pool *pool = &descriptor->sys->segment_pool;
	struct mmk_segment *segment =
	    (struct mmk_segment *)mmk_pool_alloc(pool);
	enum mmk_err err;

	if (segment == NULL)
		return MMK_ERR_NOMEM;
	err = mmk__segment_init(segment, descriptor, args);
	if (err != MMK_OK)
		goto fail;
	err = mmk__segment_insert(segment);
	if (err != MMK_OK)
		goto fail_ranges;
	*segment_out = segment;
	return MMK_OK;
fail_ranges:
	if (segment->has_allocator)
		mmk_range_fini(&segment->ranges);
fail:
	mmk_pool_free(pool, segment);
	return err;
}

MMK_PRIVATE void
mmk__segment_clean_locked(struct mmk_segment *segment)
{
	struct mmk_descriptor *descriptor = segment->descriptor;
	struct mmk_segment_sys *sys = descriptor->sys;

	mmk_treap_remove(&descriptor->segments, &segment->of_descriptor);
	if (MMKIT_ATOMIC_LOAD(&sys->heap) == segment)
		MMKIT_ATOMIC_STORE(&sys->heap, NULL);
	mmk_saved_clear(&segment->saved);
	if (segment->has_allocator)
		mmk_range_fini(&segment->ranges);
	mmk_pool_free(&sys->segment_pool, segment);
}

MMK_API void
mmk_segment_clean(struct mmk_segment *segment)
{
	struct mmk_descriptor *descriptor = segment->descriptor;

	MMKIT_MUTEX_LOCK(&descriptor->mutex);
	mmk__segment_clean_locked(segment);
	MMKIT_MUTEX_UNLOCK(&descriptor->mutex);
}

MMK_PRIVATE MMK_NODISCARD enum mmk_err
mmk__segment_grow_locked(struct mmk_segment *segment, uint64_t bytes)
{
	const struct mmk_descriptor *descriptor = segment->descriptor;
	const struct mmk_segment *next;
	mmk_va end_va;

	if (!mmk__segment_end(descriptor->sys, segment->end_va, bytes, &end_va))
		return MMK_ERR_INVAL;
	next = mmk_segment_find_locked(descriptor, segment->end_va);
	if (next != NULL && next->start_va < end_va)
		return MMK_ERR_EXIST;
	if (segment->has_allocator) {
		enum mmk_err err = mmk_range_grow(&segment->ranges,
		    end_va - segment->end_va);

		if (err != MMK_OK)
			return err;
	}
	MMKIT_ATOMIC_STORE(&segment->end_va, end_va);
	return MMK_OK;
}

MMK_API enum mmk_err
mmk_segment_grow(struct mmk_segment *segment, uint64_t bytes)
{
	struct mmk_descriptor *descriptor = segment->descriptor;
	enum mmk_err err;

	MMKIT_MUTEX_LOCK(&descriptor->mutex);
	err = mmk__segment_grow_locked(segment, bytes);
	MMKIT_MUTEX_UNLOCK(&descriptor->mutex);
	return err;
}

MMK_API enum mmk_err
mmk_segment_alloc(struct mmk_segment *segment, uint64_t bytes, mmk_va *va_out)
{
	if (!segment->has_allocator)
		return MMK_ERR_INVAL;
	return mmk_range_alloc(&segment->ranges, bytes, va_out);
}

MMK_API enum mmk_err
mmk_segment_free(struct mmk_segment *segment, mmk_va va)
{
	if (!segment->has_allocator)
		return MMK_ERR_INVAL;
	return mmk_range_free(&segment->ranges, va);
}

MMK_API enum mmk_err
mmk_segment_heap_alloc(struct mmk_segment_sys *sys, uint64_t bytes,
    mmk_va *va_out)
{
	struct mmk_segment *heap = MMKIT_ATOMIC_LOAD(&sys->heap);

	return heap == NULL ? MMK_ERR_NOENT
	                    : mmk_segment_alloc(heap, bytes, va_out);
}

MMK_API enum mmk_err
mmk_segment_heap_free(struct mmk_segment_sys *sys, mmk_va va)
{
	struct mmk_segment *heap = MMKIT_ATOMIC_LOAD(&sys->heap);

	return heap == NULL ? MMK_ERR_NOENT : mmk_segment_free(heap, va);
}

/* ---- descriptors --------------------------------------------------------- */

MMK_API enum mmk_err
mmk_descriptor_create(struct mmk_segment_sys *sys, uint64_t pid,
    struct mmk_descriptor **descriptor_out)
{
	struct mmk_descriptor *descriptor = (struct mmk_descriptor *)
	    mmk_pool_alloc(&sys->descriptor_pool);

	if (descriptor == NULL)
		return MMK_ERR_NOMEM;
	mmk__descriptor_init(descriptor, sys, pid, MMK_PRIVILEGE_USER);
	MMKIT_MUTEX_LOCK(&sys->mutex);
	mmk_list_push_back(&sys->descriptors, &descriptor->of_sys);
	MMKIT_MUTEX_UNLOCK(&sys->mutex);
	*descriptor_out = descriptor;
	return MMK_OK;
}

MMK_PRIVATE bool
mmk__segment_is_loaded(const struct mmk_segment *segment)
{
	for (unsigned i = 0; i < (MMKIT_CPU_MAX + 63) / 64; i++)
		if (segment->loaded[i] != 0)
			return true;
	return false;
}

MMK_PRIVATE bool
mmk__descriptor_is_loaded(const struct mmk_descriptor *descriptor)
{
	const struct mmk_treap *tree = &descriptor->segments;
	struct mmk_treap_node *node = mmk_treap_find_ge(tree, 0, 0);

	for (; node != NULL; node = mmk_treap_next(tree, node))
		if (mmk__segment_is_loaded(mmk__segment_of(node)))
			return true;
	return false;
}

MMK_PRIVATE void
mmk__descriptor_clean_locked(struct mmk_descriptor *descriptor)
{
	while (descriptor->segments.root != NULL)
		mmk__segment_clean_locked(
		    mmk__segment_of(descriptor->segments.root));
}

MMK_API enum mmk_err
mmk_descriptor_destroy(struct mmk_descriptor *descriptor)
{
	struct mmk_segment_sys *sys = descriptor->sys;
	bool is_loaded;

	if (descriptor == &sys->kernel)
		return MMK_ERR_INVAL;
	MMKIT_MUTEX_LOCK(&sys->mutex);
	MMKIT_MUTEX_LOCK(&descriptor->mutex);
	is_loaded = mmk__descriptor_is_loaded(descriptor);
	if (!is_loaded) {
		mmk__descriptor_clean_locked(descriptor);
		mmk_list_remove(&descriptor->of_sys);
	}
	MMKIT_MUTEX_UNLOCK(&descriptor->mutex);
	MMKIT_MUTEX_UNLOCK(&sys->mutex);
	if (is_loaded)
		return MMK_ERR_BUSY;
	mmk_pool_free(&sys->descriptor_pool, descriptor);
	return MMK_OK;
}

MMK_API void
mmk_segment_sys_fini(struct mmk_segment_sys *sys)
{
	MMK_ASSERT(mmk_list_is_empty(&sys->descriptors));
	MMKIT_MUTEX_LOCK(&sys->kernel.mutex);
	mmk__descriptor_clean_locked(&sys->kernel);
	MMKIT_MUTEX_UNLOCK(&sys->kernel.mutex);
	mmk__segment_pools_fini(sys);
}

/* ---- what is mapped in a segment ----------------------------------------- */

/* The range is marked first: then nobody can free it while we look at it. */
MMK_API enum mmk_err
mmk_segment_save_locked(struct mmk_segment *segment, mmk_va va,
    const struct mmk_saved_extent *extents, size_t nr_extents, unsigned flags)
{
	struct mmk_range_info range = { 0, segment->end_va, MMK_RANGE_MAPPED };
	enum mmk_err err, undone = MMK_OK;

	MMK_ASSERT(MMKIT_MUTEX_HELD(&segment->descriptor->mutex));
	if (va < segment->start_va || va >= segment->end_va)
		return MMK_ERR_NOENT;
	if (segment->has_allocator) {
		err = mmk_range_set_mapped(&segment->ranges, va);
		if (err != MMK_OK)
			return err;
		(void)mmk_range_lookup(&segment->ranges, va, &range);
	}
	err = mmk_saved_insert(&segment->saved, va, range.end, extents,
	    nr_extents, flags);
	if (err != MMK_OK && segment->has_allocator)
		undone = mmk_range_set_allocated(&segment->ranges, va);
	MMK_ASSERT(undone == MMK_OK);
	return err;
}

MMK_API void
mmk_segment_forget_locked(struct mmk_segment *segment, mmk_va va)
{
	enum mmk_err err = MMK_OK;

	MMK_ASSERT(MMKIT_MUTEX_HELD(&segment->descriptor->mutex));
	mmk_saved_remove(&segment->saved, va);
	if (segment->has_allocator)
		err = mmk_range_set_allocated(&segment->ranges, va);
	MMK_ASSERT(err == MMK_OK);
}

/* ---- audit --------------------------------------------------------------- */

/* I3. Of each run, the range it must end in is known from the first one. */
MMK_PRIVATE bool
mmk__segment_check_saved(struct mmk_segment *segment)
{
	struct mmk_range_info range = { 0, segment->end_va, MMK_RANGE_MAPPED };
	const struct mmk_saved_run *run = NULL;
	uint64_t nr_mappings = 0;

	if (!mmk_saved_check(&segment->saved))
		return false;
	while ((run = mmk_saved_next(&segment->saved, run)) != NULL) {
		mmk_va va = mmk_saved_start(run);

		nr_mappings += run->is_first;
		if (run->is_first && segment->has_allocator &&
		    (!mmk_range_lookup(&segment->ranges, va, &range) ||
		        range.start != va || range.state != MMK_RANGE_MAPPED))
			return false;
		if (va < segment->start_va || run->end_va > range.end)
			return false;
	}
	return !segment->has_allocator ||
	    nr_mappings == segment->ranges.nr_ranges[MMK_RANGE_MAPPED];
}

MMK_PRIVATE bool
mmk__segment_check(struct mmk_segment *segment)
{
	struct mmk_ranges *ranges = &segment->ranges;

	if (segment->of_descriptor.major != segment->start_va ||
	    segment->start_va >= segment->end_va ||
	    segment->end_va > segment->descriptor->sys->max_va ||
	    segment->name[MMK_SEGMENT_NAME_BYTES - 1] != '\0')
		return false;
	if (segment->has_allocator &&
	    (ranges->start != segment->start_va ||
	        ranges->end != segment->end_va || !mmk_range_check(ranges)))
		return false;
	return mmk__segment_check_saved(segment);
}

MMK_API bool
mmk_descriptor_check(struct mmk_descriptor *descriptor)
{
	const struct mmk_treap *tree = &descriptor->segments;
	struct mmk_treap_node *node;
	bool is_good;
	mmk_va end_va = 0;

	MMKIT_MUTEX_LOCK(&descriptor->mutex);
	is_good = mmk_treap_check(tree);
	node = mmk_treap_find_ge(tree, 0, 0);
	for (; is_good && node != NULL; node = mmk_treap_next(tree, node)) {
		struct mmk_segment *segment = mmk__segment_of(node);

		is_good = segment->descriptor == descriptor &&
		    segment->start_va >= end_va && mmk__segment_check(segment);
		end_va = segment->end_va;
	}
	MMKIT_MUTEX_UNLOCK(&descriptor->mutex);
	return is_good;
}

MMK_API bool
mmk_segment_sys_check(struct mmk_segment_sys *sys)
{
	bool is_good;

	MMKIT_MUTEX_LOCK(&sys->mutex);
	is_good = mmk_list_check(&sys->descriptors) &&
	    mmk_descriptor_check(&sys->kernel);
	MMK_LIST_FOR_EACH(link, &sys->descriptors) {
		if (!is_good)
			break;
		is_good = mmk_descriptor_check(
		    MMK_LIST_ITEM(link, struct mmk_descriptor, of_sys));
	}
	MMKIT_MUTEX_UNLOCK(&sys->mutex);
	return is_good;
}
#endif /* MMKIT_IMPLEMENTATION */
