/* SPDX-License-Identifier: MIT
 *
 * tests/submap_fixture.h: sub-maps, and things to put into them
 */
#ifndef MMKIT_TESTS_SUBMAP_FIXTURE_H
#define MMKIT_TESTS_SUBMAP_FIXTURE_H

#include "vm_fixture.h"

static inline struct mmk_object *
new_submap(uint64_t nr_pages)
{
	struct mmk_object *object = NULL;

	cr_assert_eq(mmk_submap_create(&t.vm, nr_pages, &object), MMK_OK);
	return object;
}

static inline struct mmk_object *
new_memory(uint64_t nr_pages)
{
	struct mmk_object *object = NULL;

	cr_assert_eq(mmk_zero_create(&t.vm, nr_pages, &object), MMK_OK);
	return object;
}

/* `object` from `page` on, at page `at` of the sub-map, replacing what is there. */
static inline enum mmk_err
try_inside(struct mmk_object *submap, uint64_t at, uint64_t nr_pages,
    unsigned prot, unsigned entry_flags, struct mmk_object *object,
    uint64_t page)
{
	struct mmk_map_args args;
	mmk_va va = 0;

	memset(&args, 0, sizeof args);
	args.start_va = at * PAGE;
	args.nr_pages = nr_pages;
	args.prot = prot;
	args.max_prot = ALL;
	args.inherit = MMK_INHERIT_SHARE;
	args.entry_flags = entry_flags;
	args.fixed = true;
	args.lower.object = object;
	args.lower.page = page;
	return mmk_map_insert(mmk_submap_map(submap), &args, &va);
}

static inline void
put_inside(struct mmk_object *submap, uint64_t at, uint64_t nr_pages,
    unsigned prot, struct mmk_object *object, uint64_t page)
{
	cr_assert_eq(try_inside(submap, at, nr_pages, prot, 0, object, page),
	    MMK_OK);
}

static inline void
take_out(struct mmk_object *submap, uint64_t at, uint64_t nr_pages)
{
	cr_assert_eq(mmk_map_remove(mmk_submap_map(submap), at * PAGE,
	    (at + nr_pages) * PAGE), MMK_OK);
}

static inline void
protect_inside(struct mmk_object *submap, uint64_t at, uint64_t nr_pages,
    unsigned prot)
{
	cr_assert_eq(mmk_map_protect(mmk_submap_map(submap), at * PAGE,
	    (at + nr_pages) * PAGE, prot), MMK_OK);
}

/* Space i shows the sub-map's pages from `page` on. */
static inline void
mount(unsigned i, mmk_va va, uint64_t nr_pages, unsigned prot,
    struct mmk_object *submap, uint64_t page)
{
	cr_assert_eq(vm_mmap(i, va, nr_pages, prot,
	    MMK_MAP_SHARED | MMK_MAP_FIXED, submap, page), va);
}

#endif
