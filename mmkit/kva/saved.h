/* SPDX-License-Identifier: MIT
 *
 * mmkit/kva/saved.h: what is mapped where, kept apart from page tables
 *
 * WHAT    A set of mappings. A mapping starts at a virtual address and leads,
 *         page after page, to one or more extents of physical neighbours; each
 *         extent is a run of the mapping:
 *
 *             va   |= run =|== run ==|             |=== run ===|
 *             pa    0x40000  0x9000                 0xfe000000
 *                  |---- mapping ----|             |- mapping -|
 *
 *         Page tables can be filled from it and emptied, and filled again.
 * LAYER   kva. Includes pool.h and base/treap.h. Knows neither page tables nor
 *         whose the pages are.
 * LOCKS   none taken but the pool's; the caller serializes
 * COST    64 bytes a run, whatever its length; all operations expected O(log
 *         runs) for each run they touch
 * SOURCE  own; Andromeda saves copies of page tables instead
 *
 * I1      the runs are disjoint, not empty, page aligned
 * I2      a run that is not the first of its mapping starts where the one
 *         before it ends                       both tested by: mmk_saved_check
 */
#ifndef MMKIT_KVA_SAVED_H
#define MMKIT_KVA_SAVED_H

#include "../base/treap.h"
#include "pool.h"

MMK_BEGIN_DECLS

/* Guards: [I] immutable after init  [C] caller serializes */
struct mmk_saved {
	struct mmk_treap runs; /* [C] key (start_va, 0) */
	struct mmk_pool *pool; /* [I] of struct mmk_saved_run */
};

struct mmk_saved_run {
	struct mmk_treap_node of_saved; /* [C] major: start_va */
	mmk_va end_va;                  /* [C] */
	mmk_pa pa;                      /* [C] of start_va */
	unsigned flags;                 /* [C] the caller's */
	bool is_first;                  /* [C] a mapping starts with it */
};

/* Physical neighbours. */
struct mmk_saved_extent {
	mmk_pa pa; /* page aligned */
	uint64_t nr_pages;
};

/* pre: the pool's items are struct mmk_saved_run. Allocates nothing. */
static inline void
mmk_saved_init(struct mmk_saved *saved, struct mmk_pool *pool)
{
	mmk_treap_init(&saved->runs);
	saved->pool = pool;
}

/* Forget every mapping. */
MMK_API void mmk_saved_clear(struct mmk_saved *saved);

/*
 * mmk_saved_insert: the extents, one after the other, are mapped from `va` on,
 * and all below `max_va`.
 *
 * errors   MMK_ERR_INVAL: unaligned, empty, wrapping, or beyond max_va.
 *          MMK_ERR_EXIST: something is mapped there. MMK_ERR_NOMEM.
 *          Nothing changed.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_saved_insert(struct mmk_saved *saved,
    mmk_va va, mmk_va max_va, const struct mmk_saved_extent *extents,
    size_t nr_extents, unsigned flags);

/* Forget the mapping that starts at `va`. pre: there is one. Cannot fail. */
MMK_API void mmk_saved_remove(struct mmk_saved *saved, mmk_va va);

/* The first run of the mapping that starts at `va`, or NULL. */
MMK_API struct mmk_saved_run *mmk_saved_mapping(const struct mmk_saved *saved,
    mmk_va va);

/*
 * The run above `run`, or the lowest if that is NULL; NULL: none. As long as
 * is_first is false, it belongs to the same mapping.
 */
MMK_API struct mmk_saved_run *mmk_saved_next(const struct mmk_saved *saved,
    const struct mmk_saved_run *run);

static inline mmk_va
mmk_saved_start(const struct mmk_saved_run *run)
{
	return run->of_saved.major;
}

static inline uint64_t
mmk_saved_pages(const struct mmk_saved_run *run)
{
	return mmk_pages_of_bytes(run->end_va - run->of_saved.major);
}

MMK_API bool mmk_saved_check(const struct mmk_saved *saved);

MMK_END_DECLS
#endif /* MMKIT_KVA_SAVED_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_KVA_SAVED_IMPL)
#define MMKIT_KVA_SAVED_IMPL

MMK_PRIVATE struct mmk_saved_run *
mmk__saved_run(struct mmk_treap_node *node)
{
	return node == NULL
	    ? NULL
	    : MMK_TREAP_ITEM(node, struct mmk_saved_run, of_saved);
}

MMK_API struct mmk_saved_run *
mmk_saved_next(const struct mmk_saved *saved, const struct mmk_saved_run *run)
{
	return mmk__saved_run(run == NULL
	        ? mmk_treap_find_ge(&saved->runs, 0, 0)
	        : mmk_treap_next(&saved->runs, &run->of_saved));
}

MMK_API struct mmk_saved_run *
mmk_saved_mapping(const struct mmk_saved *saved, mmk_va va)
{
	struct mmk_saved_run *run =
	    mmk__saved_run(mmk_treap_find_ge(&saved->runs, va, 0));

	if (run == NULL || mmk_saved_start(run) != va || !run->is_first)
		return NULL;
	return run;
}

/* The pages of all extents; 0: one of them is bad, or more than max_pages. */
MMK_PRIVATE uint64_t
mmk__saved_sum(const struct mmk_saved_extent *extents, size_t nr_extents,
    uint64_t max_pages)
{
	uint64_t nr_pages = 0;

	for (size_t i = 0; i < nr_extents; i++) {
		const struct mmk_saved_extent *extent = &extents[i];

		if (!mmk_is_page_aligned(extent->pa) || extent->nr_pages == 0 ||
		    extent->nr_pages > max_pages - nr_pages ||
		    extent->nr_pages >
		        mmk_pages_of_bytes(UINT64_MAX - extent->pa))
			return 0;
		nr_pages += extent->nr_pages;
	}
	return nr_pages;
}

/* So many runs, chained through below[0], or NULL: no memory. */
MMK_PRIVATE struct mmk_saved_run *
mmk__saved_alloc(struct mmk_pool *pool, size_t nr_runs)
{
	struct mmk_treap_node *chain = NULL;

	for (; nr_runs > 0; nr_runs--) {
		struct mmk_saved_run *run =
		    (struct mmk_saved_run *)mmk_pool_alloc(pool);

		if (run == NULL)
			break;
		run->of_saved.below[0] = chain;
		chain = &run->of_saved;
	}
	while (nr_runs > 0 && chain != NULL) {
		struct mmk_saved_run *run = mmk__saved_run(chain);

		chain = chain->below[0];
		mmk_pool_free(pool, run);
	}
	return mmk__saved_run(chain);
}

MMK_API enum mmk_err
mmk_saved_insert(struct mmk_saved *saved, mmk_va va, mmk_va max_va,
    const struct mmk_saved_extent *extents, size_t nr_extents, unsigned flags)
{
	struct mmk_saved_run *run;
	uint64_t nr_pages;
	mmk_va end_va;

	if (!mmk_is_page_aligned(va) || va >= max_va)
		return MMK_ERR_INVAL;
	nr_pages = mmk__saved_sum(extents, nr_extents,
	    mmk_pages_of_bytes(max_va - va));
	if (nr_pages == 0)
		return MMK_ERR_INVAL;
	end_va = va + mmk_bytes_of_pages(nr_pages);
	run = mmk__saved_run(mmk_treap_find_le(&saved->runs, end_va - 1, 0));
	if (run != NULL && run->end_va > va)
		return MMK_ERR_EXIST;
	run = mmk__saved_alloc(saved->pool, nr_extents);
	if (run == NULL)
		return MMK_ERR_NOMEM;
	for (size_t i = 0; i < nr_extents; i++) {
		struct mmk_treap_node *next = run->of_saved.below[0];

		run->of_saved.major = va;
		run->of_saved.minor = 0;
		va += mmk_bytes_of_pages(extents[i].nr_pages);
		run->end_va = va;
		run->pa = extents[i].pa;
		run->flags = flags;
		run->is_first = i == 0;
		mmk_treap_insert(&saved->runs, &run->of_saved);
		run = mmk__saved_run(next);
	}
	return MMK_OK;
}

MMK_API void
mmk_saved_remove(struct mmk_saved *saved, mmk_va va)
{
	struct mmk_saved_run *run = mmk_saved_mapping(saved, va);

	MMK_ASSERT(run != NULL);
	do {
		struct mmk_saved_run *next = mmk_saved_next(saved, run);

		mmk_treap_remove(&saved->runs, &run->of_saved);
		mmk_pool_free(saved->pool, run);
		run = next;
	} while (run != NULL && !run->is_first);
}

MMK_API void
mmk_saved_clear(struct mmk_saved *saved)
{
	while (saved->runs.root != NULL) {
		struct mmk_saved_run *run = mmk__saved_run(saved->runs.root);

		mmk_treap_remove(&saved->runs, &run->of_saved);
		mmk_pool_free(saved->pool, run);
	}
}

MMK_API bool
mmk_saved_check(const struct mmk_saved *saved)
{
	const struct mmk_saved_run *run = NULL;
	mmk_va end_va = 0;

	if (!mmk_treap_check(&saved->runs))
		return false;
	while ((run = mmk_saved_next(saved, run)) != NULL) {
		mmk_va va = mmk_saved_start(run);

		if (va < end_va || run->end_va <= va ||
		    !mmk_is_page_aligned(va | run->end_va | run->pa))
			return false;
		if (!run->is_first && (va != end_va || end_va == 0))
			return false;
		end_va = run->end_va;
	}
	return true;
}
#endif /* MMKIT_IMPLEMENTATION */
