/* SPDX-License-Identifier: MIT
 *
 * mmkit/kva/pool.h: typed small objects over frames
 *
 * WHAT    A pool hands out items of one size. It gets its memory in slabs: a
 *         frame with a header, a bitmap of the items handed out, and items:
 *
 *           | struct mmk_slab | used bits | item 0 | item 1 | ... | rest |
 *
 *         The lowest free item of a slab goes first. There is no free list:
 *         the bitmap says the same, catches every double free, and leaves free
 *         items untouched, so that a memory checker may forbid them whole.
 *         One empty slab is kept, the others go back at once.
 * LAYER   kva. Includes base/list.h and phys/frame.h. Knows no address spaces.
 * LOCKS   pool->lock (MMK_RANK_POOL); frames are taken and given with it held
 * COST    alloc, free: one lock, O(items in a slab / 64); a frame now and then.
 *         A slab loses at most 1/8 to the header and the rest, unless that
 *         would take more than 2^MMK_POOL_MAX_ORDER pages.
 * SOURCE  Bonwick, USENIX Summer 1994 (slabs); differs: bitmap, no constructor.
 *
 * I1      sum over slabs of nr_used == pool->nr_used
 * I2      a slab is on `partial` <=> 0 < its nr_used < items_per_slab; on
 *         `full` <=> nr_used == items_per_slab; else it is `empty`
 *                                            both tested by: mmk_pool_check
 */
#ifndef MMKIT_KVA_POOL_H
#define MMKIT_KVA_POOL_H

#include "../base/list.h"
#include "../phys/frame.h"

MMK_BEGIN_DECLS

#define MMK_POOL_ALIGN_BYTES 16u
#define MMK_POOL_MAX_ORDER 3u

struct mmk_slab;

/* Guards: [I] immutable after init  [L] this->lock */
struct mmk_pool {
	struct mmk_phys *phys; /* [I] */
	const char *name;      /* [I] */
	size_t item_bytes;     /* [I] as asked */
	size_t stride_bytes;   /* [I] from one item to the next */
	size_t first_bytes;    /* [I] from the slab's start to its item 0 */
	uint32_t items_per_slab;  /* [I] */
	uint32_t slab_order;      /* [I] */
	MMKIT_LOCK_T lock;
	struct mmk_list partial;  /* [L] slabs with used and free items */
	struct mmk_list full;     /* [L] slabs without free items */
	struct mmk_slab *empty;   /* [L] the slab without used items, or NULL */
	uint64_t nr_used;         /* [L] items handed out */
	uint64_t nr_slabs;        /* [L] */
};

/*
 * mmk_pool_init: a pool without memory. Allocates nothing. The pool may not
 * move until mmk_pool_fini.
 *
 * pre      0 < item_bytes <= a page less MMK_POOL_HEADER_BYTES; `name` and
 *          `phys` outlive the pool. Items are aligned to 16 bytes.
 */
#define MMK_POOL_HEADER_BYTES 64u
MMK_API void mmk_pool_init(struct mmk_pool *pool, struct mmk_phys *phys,
    const char *name, size_t item_bytes);

/* Gives every frame back. pre: nr_used == 0. */
MMK_API void mmk_pool_fini(struct mmk_pool *pool);

/*
 * mmk_pool_alloc: an item with undefined contents, or NULL: no memory, and
 * nothing changed. locks: takes and drops pool->lock.
 */
MMK_API MMK_NODISCARD void *mmk_pool_alloc(struct mmk_pool *pool);

/*
 * mmk_pool_free: take an item back; NULL is none. pre: `item` is one that this
 * pool handed out and has not got back. locks: takes and drops pool->lock.
 */
MMK_API void mmk_pool_free(struct mmk_pool *pool, void *item);

/* Give the empty slab, if there is one, back to phys. */
MMK_API void mmk_pool_drain(struct mmk_pool *pool);

/* Walks every slab. locks: takes and drops pool->lock. */
MMK_API bool mmk_pool_check(struct mmk_pool *pool);

MMK_END_DECLS
#endif /* MMKIT_KVA_POOL_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_KVA_POOL_IMPL)
#define MMKIT_KVA_POOL_IMPL

/* [L] the pool's lock, but for [I]: immutable. The words of bits follow. */
struct mmk_slab {
	struct mmk_link link;    /* [L] on `partial` or `full`, or on none */
	struct mmk_pool *pool;   /* [I] */
	struct mmk_frame *frame; /* [I] */
	uint64_t nr_used;        /* [L] */
};

MMK_PRIVATE uint64_t *
mmk__slab_bits(struct mmk_slab *slab)
{
	return (uint64_t *)(void *)(slab + 1);
}

/* ---- the shape of a slab ------------------------------------------------- */

/* The header of a slab of nr_items, its bits included. */
MMK_PRIVATE size_t
mmk__pool_header_bytes(size_t nr_items)
{
	size_t bytes = sizeof(struct mmk_slab) +
	    (nr_items + 63) / 64 * sizeof(uint64_t);

	return (size_t)mmk_round_up(bytes, MMK_POOL_ALIGN_BYTES);
}

/* How many items a slab of that order has room for. */
MMK_PRIVATE size_t
mmk__pool_nr_items(size_t stride_bytes, unsigned order)
{
	size_t bytes = (size_t)MMK_PAGE_BYTES << order;
	size_t nr_items = bytes / stride_bytes;

	while (mmk__pool_header_bytes(nr_items) + nr_items * stride_bytes >
	    bytes)
		nr_items--;
	return nr_items;
}

MMK_API void
mmk_pool_init(struct mmk_pool *pool, struct mmk_phys *phys, const char *name,
    size_t item_bytes)
{
	size_t stride_bytes, nr_items = 0;
	unsigned order;

	MMK_ASSERT(item_bytes > 0);
	MMK_ASSERT(item_bytes <= MMK_PAGE_BYTES - MMK_POOL_HEADER_BYTES);
	stride_bytes = (size_t)mmk_round_up(item_bytes, MMK_POOL_ALIGN_BYTES);
	for (order = 0;; order++) {
		size_t bytes = (size_t)MMK_PAGE_BYTES << order;

		nr_items = mmk__pool_nr_items(stride_bytes, order);
		if (order == MMK_POOL_MAX_ORDER || order == MMK_MAX_ORDER)
			break;
		if (bytes - nr_items * stride_bytes <= bytes / 8)
			break;
	}
	MMK_ASSERT(nr_items > 0);
	(void)MMKIT_MEMSET(pool, 0, sizeof(*pool));
	pool->phys = phys;
	pool->name = name;
	pool->item_bytes = item_bytes;
	pool->stride_bytes = stride_bytes;
	pool->first_bytes = mmk__pool_header_bytes(nr_items);
	pool->items_per_slab = (uint32_t)nr_items;
	pool->slab_order = order;
	MMKIT_LOCK_INIT(&pool->lock, name, MMK_RANK_POOL);
	mmk_list_init(&pool->partial);
	mmk_list_init(&pool->full);
	MMKIT_POOL_CREATE(pool);
}

/* ---- slabs --------------------------------------------------------------- */

/* A new slab becomes the empty one. pre: there is none. */
MMK_PRIVATE bool
mmk__pool_grow_locked(struct mmk_pool *pool)
{
	struct mmk_frame *frame;
	struct mmk_slab *slab;
	size_t bytes = (size_t)MMK_PAGE_BYTES << pool->slab_order;

	MMK_ASSERT(pool->empty == NULL);
	if (mmk_frame_alloc(pool->phys, pool->slab_order, 0, MMK_USE_POOL,
	        &frame) != MMK_OK)
		return false;
	frame->owner = pool;
	slab = (struct mmk_slab *)mmk_frame_ptr(pool->phys, frame);
	(void)MMKIT_MEMSET(slab, 0, pool->first_bytes);
	mmk_link_init(&slab->link);
	slab->pool = pool;
	slab->frame = frame;
	MMKIT_POISON((char *)slab + pool->first_bytes,
	    bytes - pool->first_bytes);
	pool->empty = slab;
	pool->nr_slabs++;
	return true;
}

MMK_PRIVATE void
mmk__pool_drain_locked(struct mmk_pool *pool)
{
	struct mmk_slab *slab = pool->empty;

	if (slab == NULL)
		return;
	pool->empty = NULL;
	pool->nr_slabs--;
	(void)mmk_frame_unref(pool->phys, slab->frame);
}

/* To the list that its nr_used asks for. */
MMK_PRIVATE void
mmk__pool_file_locked(struct mmk_pool *pool, struct mmk_slab *slab)
{
	mmk_list_remove(&slab->link);
	if (slab->nr_used == pool->items_per_slab) {
		mmk_list_push_front(&pool->full, &slab->link);
	} else if (slab->nr_used > 0) {
		mmk_list_push_front(&pool->partial, &slab->link);
	} else {
		mmk__pool_drain_locked(pool);
		pool->empty = slab;
	}
}

MMK_API void
mmk_pool_drain(struct mmk_pool *pool)
{
	MMKIT_LOCK(&pool->lock);
	mmk__pool_drain_locked(pool);
	MMKIT_UNLOCK(&pool->lock);
}

MMK_API void
mmk_pool_fini(struct mmk_pool *pool)
{
	MMK_ASSERT(pool->nr_used == 0);
	mmk_pool_drain(pool);
	MMK_ASSERT(pool->nr_slabs == 0);
	MMKIT_POOL_DESTROY(pool);
}

/* ---- items --------------------------------------------------------------- */

/* pre: the slab has a free item. */
MMK_PRIVATE void *
mmk__slab_take_locked(struct mmk_pool *pool, struct mmk_slab *slab)
{
	uint64_t *bits = mmk__slab_bits(slab);
	size_t i = 0;

	while (bits[i / 64] == UINT64_MAX)
		i += 64;
	i += mmk_lowest_bit(~bits[i / 64]);
	MMK_ASSERT(i < pool->items_per_slab);
	bits[i / 64] |= (uint64_t)1 << (i % 64);
	slab->nr_used++;
	pool->nr_used++;
	return (char *)slab + pool->first_bytes + i * pool->stride_bytes;
}

MMK_API void *
mmk_pool_alloc(struct mmk_pool *pool)
{
	struct mmk_link *link;
	struct mmk_slab *slab;
	void *item = NULL;

	if (MMKIT_FAIL_POINT())
		return NULL;
	MMKIT_LOCK(&pool->lock);
	link = mmk_list_first(&pool->partial);
	slab = link == NULL ? pool->empty
	                    : MMK_LIST_ITEM(link, struct mmk_slab, link);
	if (slab == NULL && mmk__pool_grow_locked(pool))
		slab = pool->empty;
	if (slab != NULL) {
		if (slab == pool->empty)
			pool->empty = NULL;
		item = mmk__slab_take_locked(pool, slab);
		if (slab->nr_used == 1 || slab->nr_used == pool->items_per_slab)
			mmk__pool_file_locked(pool, slab);
		MMKIT_ITEM_ALLOC(pool, item, pool->item_bytes);
	}
	MMKIT_UNLOCK(&pool->lock);
	return item;
}

/* The slab of an item that this pool handed out; anything else is a bug. */
MMK_PRIVATE struct mmk_slab *
mmk__pool_slab_of(const struct mmk_pool *pool, const void *item, size_t *i_out)
{
	mmk_pa pa = MMKIT_PTR_TO_PHYS(item);
	struct mmk_frame *frame = mmk_frame_of_pa(pool->phys, pa);
	size_t offset_bytes;

	MMK_ASSERT(frame != NULL);
	MMK_ASSERT(mmk_frame_is_held(frame));
	MMK_ASSERT(frame->use == MMK_USE_POOL);
	MMK_ASSERT(frame->owner == pool);
	offset_bytes = (size_t)(pa - mmk_frame_pa(pool->phys, frame));
	MMK_ASSERT(offset_bytes >= pool->first_bytes);
	offset_bytes -= pool->first_bytes;
	*i_out = offset_bytes / pool->stride_bytes;
	MMK_ASSERT(*i_out * pool->stride_bytes == offset_bytes);
	MMK_ASSERT(*i_out < pool->items_per_slab);
	return (struct mmk_slab *)mmk_frame_ptr(pool->phys, frame);
}

MMK_API void
mmk_pool_free(struct mmk_pool *pool, void *item)
{
	struct mmk_slab *slab;
	uint64_t *word, bit;
	size_t i;

	if (item == NULL)
		return;
	slab = mmk__pool_slab_of(pool, item, &i);
	word = &mmk__slab_bits(slab)[i / 64];
	bit = (uint64_t)1 << (i % 64);
	MMKIT_LOCK(&pool->lock);
	MMK_ASSERT((*word & bit) != 0);
	*word &= ~bit;
	MMKIT_ITEM_FREE(pool, item, pool->item_bytes);
	slab->nr_used--;
	pool->nr_used--;
	if (slab->nr_used == 0 || slab->nr_used + 1 == pool->items_per_slab)
		mmk__pool_file_locked(pool, slab);
	MMKIT_UNLOCK(&pool->lock);
}

/* ---- audit --------------------------------------------------------------- */

MMK_PRIVATE bool
mmk__slab_check_locked(const struct mmk_pool *pool, struct mmk_slab *slab)
{
	const uint64_t *bits = mmk__slab_bits(slab);
	const struct mmk_frame *frame = slab->frame;
	uint64_t nr_bits = 0;

	if (slab->pool != pool ||
	    mmk_frame_ptr(pool->phys, frame) != (void *)slab)
		return false;
	if (!mmk_frame_is_held(frame) || frame->use != MMK_USE_POOL ||
	    frame->owner != pool || frame->order != pool->slab_order)
		return false;
	for (size_t i = 0; i < (pool->items_per_slab + 63u) / 64; i++)
		for (uint64_t word = bits[i]; word != 0; word &= word - 1) {
			if (i * 64 + mmk_lowest_bit(word) >=
			    pool->items_per_slab)
				return false;
			nr_bits++;
		}
	return nr_bits == slab->nr_used;
}

/* One list: every slab right, with at least lo and at most hi items used. */
MMK_PRIVATE bool
mmk__pool_check_list(const struct mmk_pool *pool, const struct mmk_list *list,
    uint64_t lo, uint64_t hi, uint64_t *nr_slabs, uint64_t *nr_used)
{
	if (!mmk_list_check(list))
		return false;
	MMK_LIST_FOR_EACH(link, list) {
		struct mmk_slab *slab =
		    MMK_LIST_ITEM(link, struct mmk_slab, link);

		if (!mmk__slab_check_locked(pool, slab) ||
		    slab->nr_used < lo || slab->nr_used > hi)
			return false;
		++*nr_slabs;
		*nr_used += slab->nr_used;
	}
	return true;
}

MMK_API bool
mmk_pool_check(struct mmk_pool *pool)
{
	uint64_t nr_slabs = 0, nr_used = 0;
	uint64_t all = pool->items_per_slab;
	bool ok;

	MMKIT_LOCK(&pool->lock);
	ok = mmk__pool_check_list(pool, &pool->partial, 1, all - 1, &nr_slabs,
	    &nr_used);
	ok = ok &&
	    mmk__pool_check_list(pool, &pool->full, all, all, &nr_slabs,
	        &nr_used);
	if (ok && pool->empty != NULL) {
		ok = mmk__slab_check_locked(pool, pool->empty) &&
		    pool->empty->nr_used == 0;
		nr_slabs++;
	}
	ok = ok && nr_slabs == pool->nr_slabs && nr_used == pool->nr_used;
	MMKIT_UNLOCK(&pool->lock);
	return ok;
}
#endif /* MMKIT_IMPLEMENTATION */
