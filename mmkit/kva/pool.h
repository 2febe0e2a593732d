/* SPDX-License-Identifier: MIT
 *
 * mmkit/kva/pool.h: typed small objects over frames
 *
 * WHAT    A pool hands out items of one size. Its slabs have them; each CPU
 *         that uses the pool keeps some at hand in two magazines, and a depot
 *         keeps magazines that no CPU needs just now:
 *
 *           CPU 0: loaded, previous     depot          slabs
 *           CPU 1: loaded, previous <-> full magazines <-> partial, full,
 *           ...                         empty ones         empty
 *
 *         An item comes from and goes to `loaded`. When that is empty (full),
 *         `previous` is taken in its place; if it is no better, a full (empty)
 *         one from the depot; and if there is none, this one is filled from
 *         (emptied into) the slabs. With two magazines, coming and going around
 *         a boundary touches nothing shared.
 *
 *         Caches are items of another pool, which several pools may share, see
 *         mmk_pool_init_caches. A CPU's is made when the pool grows or there is
 *         room for it; a pool without caches, or a CPU without, works on slabs.
 *         An item in a magazine is free for a memory checker, and has the
 *         cookie of a free item: to free it again panics.
 * LAYER   kva. Includes slab.h. Knows no address spaces.
 * LOCKS   without MMKIT_CPU_ENTER: the CPU's cache (MMK_RANK_POOL_CPU), then
 *         the slabs' (MMK_RANK_POOL). With it a cache belongs to its CPU, and
 *         has no lock: only its own CPU can empty it.
 * COST    alloc, free: O(1), no shared memory, without MMKIT_CPU_ENTER one lock
 *         of this CPU's; once in MMK_MAGAZINE_ITEMS and more the slabs' lock,
 *         for O(MMK_MAGAZINE_ITEMS) steps. A pool is 160 bytes and a pointer
 *         for each of MMKIT_CPU_MAX; a cache under half a KiB for each CPU that
 *         uses the pool. At most 3 * MMK_MAGAZINE_ITEMS items a CPU lie idle.
 * SOURCE  Bonwick and Adams, USENIX 2001; differs: the depot has one magazine
 *         a CPU, so it needs no working-set estimate.
 *
 * I1      loaded and previous are different; a magazine is in one cache or in
 *         the depot; `previous` and those of the depot are full or empty
 * I2      the depot has as many magazines as there are caches
 * I3      an item in a magazine was taken from its slab, is free, and is in no
 *         other magazine
 *                                            all tested by: mmk_pool_check
 */
#ifndef MMKIT_KVA_POOL_H
#define MMKIT_KVA_POOL_H

#include "slab.h"

MMK_BEGIN_DECLS

#define MMK_POOL_HEADER_BYTES MMK_SLAB_HEADER_BYTES
#define MMK_POOL_ALIGN_BYTES MMK_SLAB_ALIGN_BYTES
#define MMK_MAGAZINE_ITEMS 15u

/* Guards: [C] the cache or depot that has it */
struct mmk_magazine {
	struct mmk_magazine *next; /* [C] in the depot */
	void *items[MMK_MAGAZINE_ITEMS]; /* [C] the last one leaves first */
};

/*
 * What one CPU has of one pool. Guards: [K] its CPU, between MMKIT_CPU_ENTER
 * and _LEAVE; without the pair this->lock  [k] as [K] to write, atomic to read
 */
struct mmk_pool_cache {
	MMKIT_LOCK_T lock;
	uint32_t nr_loaded;   /* [k] */
	uint32_t nr_previous; /* [k] 0 or MMK_MAGAZINE_ITEMS */
	struct mmk_magazine *loaded;   /* [K] */
	struct mmk_magazine *previous; /* [K] */
	uint32_t is_drain_wanted;      /* [a] another CPU needs the items */
	struct mmk_magazine own[3];    /* two for a CPU and one for the depot */
};

/* Guards: [I] immutable after init  [L] slabs.lock  [a] atomic, set under it */
struct mmk_pool {
	struct mmk_slabs slabs;
	struct mmk_pool *cache_pool;   /* [I] NULL: no caches */
	struct mmk_magazine *full;     /* [L] the depot */
	struct mmk_magazine *empty;    /* [L] the depot */
	uint32_t nr_full;              /* [L] magazines */
	uint32_t nr_caches;            /* [L] */
	struct mmk_pool_cache *caches[MMKIT_CPU_MAX]; /* [a] NULL: not yet */
};

/* Numbers of one moment each: exact if nobody else is in here. */
struct mmk_pool_stats {
	uint64_t nr_used;     /* items that users have */
	uint64_t nr_cached;   /* free items in magazines */
	uint64_t nr_free;     /* free items in slabs */
	uint64_t nr_slabs;
	uint64_t slab_bytes;  /* of all slabs */
	uint64_t cache_bytes; /* of all caches, without the items */
};

/*
 * mmk_pool_init: a pool without memory and without caches. Allocates nothing.
 * The pool may not move until mmk_pool_fini.
 *
 * pre      0 < item_bytes <= a page less MMK_POOL_HEADER_BYTES; `name` and
 *          `phys` outlive the pool. Items are aligned to 16 bytes.
 */
#define mmk_pool_init MMK_STAMP(mmk_pool_init)
MMK_API void mmk_pool_init(struct mmk_pool *pool, struct mmk_phys *phys,
    const char *name, size_t item_bytes);

/* A pool of caches for other pools; those end before it does. */
MMK_API void mmk_pool_init_caches(struct mmk_pool *cache_pool,
    struct mmk_phys *phys);

/*
 * From now on each CPU has a cache of this pool's items.
 * pre: nothing was allocated yet; cache_pool has no caches itself.
 */
MMK_API void mmk_pool_use_caches(struct mmk_pool *pool,
    struct mmk_pool *cache_pool);

/*
 * Somebody pays for the slabs (not for caches). pre: nothing was allocated yet;
 * the payer outlives the pool.
 */
MMK_API void mmk_pool_set_payer(struct mmk_pool *pool,
    const struct mmk_slab_payer *payer);

/* Gives every frame back. pre: no item is used; nobody else is in here. */
MMK_API void mmk_pool_fini(struct mmk_pool *pool);

/*
 * mmk_pool_alloc: an item with undefined contents, or NULL: no memory, and
 * nothing changed but that caches are emptier. Before it gives up it empties
 * every CPU's cache; with MMKIT_CPU_ENTER its own and the depot, and asks the
 * others to do so.
 *
 * locks    takes and drops those above; a payer is called with none of them.
 */
MMK_API MMK_NODISCARD void *mmk_pool_alloc(struct mmk_pool *pool);

/*
 * mmk_pool_free: take an item back; NULL is none. Allocates nothing.
 *
 * pre      `item` is one that this pool handed out and has not got back;
 *          anything else panics.
 * locks    takes and drops those above; a payer is called with none of them.
 */
MMK_API void mmk_pool_free(struct mmk_pool *pool, void *item);

/*
 * mmk_pool_drain: give back all memory that no item needs, but for the caches
 * themselves. With MMKIT_CPU_ENTER only the caller's cache and the depot are
 * emptied; the other CPUs do so when they next exchange a magazine.
 *
 * locks    as mmk_pool_free.  cost O(items in caches).
 */
MMK_API void mmk_pool_drain(struct mmk_pool *pool);

/* Items that users have. Exact if nobody else is in here. O(MMKIT_CPU_MAX). */
MMK_API uint64_t mmk_pool_nr_used(struct mmk_pool *pool);
MMK_API void mmk_pool_stats_read(struct mmk_pool *pool,
    struct mmk_pool_stats *out);

/* Walks every slab and magazine. pre: nobody else is in here. O(items). */
MMK_API bool mmk_pool_check(struct mmk_pool *pool);

MMK_END_DECLS
#endif /* MMKIT_KVA_POOL_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_KVA_POOL_IMPL)
#define MMKIT_KVA_POOL_IMPL

MMK_API void
mmk_pool_init(struct mmk_pool *pool, struct mmk_phys *phys, const char *name,
    size_t item_bytes)
{
	(void)MMKIT_MEMSET(pool, 0, sizeof(*pool));
	mmk_slabs_init(&pool->slabs, phys, name, item_bytes);
	MMKIT_POOL_CREATE(&pool->slabs);
}

MMK_API void
mmk_pool_init_caches(struct mmk_pool *cache_pool, struct mmk_phys *phys)
{
	mmk_pool_init(cache_pool, phys, "pool cache",
	    sizeof(struct mmk_pool_cache));
}

MMK_API void
mmk_pool_use_caches(struct mmk_pool *pool, struct mmk_pool *cache_pool)
{
	MMK_ASSERT(pool->slabs.nr_slabs == 0);
	MMK_ASSERT(cache_pool->cache_pool == NULL);
	pool->cache_pool = cache_pool;
}

MMK_API void
mmk_pool_set_payer(struct mmk_pool *pool, const struct mmk_slab_payer *payer)
{
	MMK_ASSERT(pool->slabs.nr_slabs == 0);
	pool->slabs.payer = payer;
}

/* ---- a CPU's cache ------------------------------------------------------- */

MMK_PRIVATE void
mmk__cache_lock(struct mmk_pool_cache *cache)
{
	if (cache != NULL && !MMK_CPU_IS_EXCLUSIVE)
		MMKIT_LOCK(&cache->lock);
}

MMK_PRIVATE void
mmk__cache_unlock(struct mmk_pool_cache *cache)
{
	if (cache != NULL && !MMK_CPU_IS_EXCLUSIVE)
		MMKIT_UNLOCK(&cache->lock);
}

/* This CPU's cache, for us alone until leave; NULL: it has none. */
MMK_PRIVATE struct mmk_pool_cache *
mmk__pool_enter(struct mmk_pool *pool, uintptr_t *state_out)
{
	struct mmk_pool_cache *cache;
	unsigned cpu;

	*state_out = MMKIT_CPU_ENTER();
	cpu = MMKIT_CPU_ID();
	MMK_ASSERT(cpu < MMKIT_CPU_MAX);
	cache = MMKIT_ATOMIC_LOAD(&pool->caches[cpu]);
	mmk__cache_lock(cache);
	return cache;
}

MMK_PRIVATE void
mmk__pool_leave(struct mmk_pool_cache *cache, uintptr_t state)
{
	mmk__cache_unlock(cache);
	MMKIT_CPU_LEAVE(state);
}

/* pre: nr_loaded > 0 */
MMK_PRIVATE void *
mmk__cache_pop(struct mmk_pool_cache *cache)
{
	uint32_t nr = cache->nr_loaded - 1;

	MMKIT_ATOMIC_STORE(&cache->nr_loaded, nr);
	return cache->loaded->items[nr];
}

/* pre: nr_loaded < MMK_MAGAZINE_ITEMS */
MMK_PRIVATE void
mmk__cache_push(struct mmk_pool_cache *cache, void *item)
{
	uint32_t nr = cache->nr_loaded;

	cache->loaded->items[nr] = item;
	MMKIT_ATOMIC_STORE(&cache->nr_loaded, nr + 1);
}

MMK_PRIVATE void
mmk__cache_swap(struct mmk_pool_cache *cache)
{
	struct mmk_magazine *magazine = cache->loaded;
	uint32_t nr = cache->nr_loaded;

	cache->loaded = cache->previous;
	cache->previous = magazine;
	MMKIT_ATOMIC_STORE(&cache->nr_loaded, cache->nr_previous);
	MMKIT_ATOMIC_STORE(&cache->nr_previous, nr);
}

/* ---- between magazines and slabs ----------------------------------------- */

/* The last one that is put in leaves first: items go out in ascending order. */
MMK_PRIVATE uint32_t
mmk__magazine_fill_locked(struct mmk_pool *pool, struct mmk_magazine *magazine)
{
	uint32_t nr = 0;

	while (nr < MMK_MAGAZINE_ITEMS) {
		void *item = mmk_slabs_take_locked(&pool->slabs);

		if (item == NULL)
			break;
		magazine->items[nr++] = item;
	}
	for (uint32_t i = 0; i < nr / 2; i++) {
		void *item = magazine->items[i];

		magazine->items[i] = magazine->items[nr - 1 - i];
		magazine->items[nr - 1 - i] = item;
	}
	return nr;
}

MMK_PRIVATE void
mmk__magazine_flush_locked(struct mmk_pool *pool,
    struct mmk_magazine *magazine, uint32_t nr, struct mmk_slab **idle)
{
	while (nr > 0)
		mmk_slabs_give_locked(&pool->slabs, magazine->items[--nr],
		    idle);
}

/* pre: the cache is ours */
MMK_PRIVATE void
mmk__cache_flush(struct mmk_pool *pool, struct mmk_pool_cache *cache,
    struct mmk_slab **idle)
{
	uintptr_t state = mmk_slabs_lock(&pool->slabs);

	MMKIT_ATOMIC_STORE(&cache->is_drain_wanted, 0u);
	mmk__magazine_flush_locked(pool, cache->loaded, cache->nr_loaded, idle);
	mmk__magazine_flush_locked(pool, cache->previous, cache->nr_previous,
	    idle);
	MMKIT_ATOMIC_STORE(&cache->nr_loaded, 0u);
	MMKIT_ATOMIC_STORE(&cache->nr_previous, 0u);
	mmk_slabs_unlock(&pool->slabs, state);
}

/* ---- the depot ----------------------------------------------------------- */

/* The first magazine of a list of the depot; NULL: none. */
MMK_PRIVATE struct mmk_magazine *
mmk__depot_pop(struct mmk_magazine **list)
{
	struct mmk_magazine *magazine = *list;

	if (magazine != NULL)
		*list = magazine->next;
	return magazine;
}

MMK_PRIVATE void
mmk__depot_push(struct mmk_magazine **list, struct mmk_magazine *magazine)
{
	magazine->next = *list;
	*list = magazine;
}

MMK_PRIVATE void
mmk__depot_flush(struct mmk_pool *pool, struct mmk_slab **idle)
{
	uintptr_t state = mmk_slabs_lock(&pool->slabs);
	struct mmk_magazine *magazine;

	while ((magazine = mmk__depot_pop(&pool->full)) != NULL) {
		pool->nr_full--;
		mmk__magazine_flush_locked(pool, magazine, MMK_MAGAZINE_ITEMS,
		    idle);
		mmk__depot_push(&pool->empty, magazine);
	}
	mmk_slabs_trim_locked(&pool->slabs, idle);
	mmk_slabs_unlock(&pool->slabs, state);
}

/* `loaded` is empty: get items into it. False: there are none. */
MMK_PRIVATE bool
mmk__cache_refill(struct mmk_pool *pool, struct mmk_pool_cache *cache,
    struct mmk_slab **idle)
{
	struct mmk_magazine *magazine;
	uintptr_t state;

	if (MMKIT_ATOMIC_LOAD(&cache->is_drain_wanted) != 0)
		mmk__cache_flush(pool, cache, idle);
	if (cache->nr_previous > 0) {
		mmk__cache_swap(cache);
		return true;
	}
	state = mmk_slabs_lock(&pool->slabs);
	magazine = mmk__depot_pop(&pool->full);
	if (magazine != NULL) {
		pool->nr_full--;
		mmk__depot_push(&pool->empty, cache->loaded);
		cache->loaded = magazine;
		MMKIT_ATOMIC_STORE(&cache->nr_loaded, MMK_MAGAZINE_ITEMS);
	} else {
		MMKIT_ATOMIC_STORE(&cache->nr_loaded,
		    mmk__magazine_fill_locked(pool, cache->loaded));
	}
	mmk_slabs_unlock(&pool->slabs, state);
	return cache->nr_loaded > 0;
}

/* `loaded` is full: make room in it. */
MMK_PRIVATE void
mmk__cache_make_room(struct mmk_pool *pool, struct mmk_pool_cache *cache,
    struct mmk_slab **idle)
{
	struct mmk_magazine *magazine;
	uintptr_t state;

	if (MMKIT_ATOMIC_LOAD(&cache->is_drain_wanted) != 0)
		mmk__cache_flush(pool, cache, idle);
	if (cache->nr_previous == 0) {
		mmk__cache_swap(cache);
		return;
	}
	state = mmk_slabs_lock(&pool->slabs);
	magazine = mmk__depot_pop(&pool->empty);
	if (magazine != NULL) {
		mmk__depot_push(&pool->full, cache->loaded);
		pool->nr_full++;
		cache->loaded = magazine;
	} else {
		mmk__magazine_flush_locked(pool, cache->loaded,
		    cache->nr_loaded, idle);
	}
	MMKIT_ATOMIC_STORE(&cache->nr_loaded, 0u);
	mmk_slabs_unlock(&pool->slabs, state);
}

/* ---- caches come and go -------------------------------------------------- */

/* A cache for this CPU, if there is memory for it. */
MMK_PRIVATE void
mmk__pool_add_cache(struct mmk_pool *pool, bool may_grow)
{
	struct mmk_slabs *slabs = &pool->cache_pool->slabs;
	uintptr_t state = mmk_slabs_lock(slabs);
	struct mmk_pool_cache *cache = mmk_slabs_take_locked(slabs);
	unsigned cpu;

	mmk_slabs_unlock(slabs, state);
	if (cache == NULL && may_grow)
		cache = mmk_slabs_grow(slabs);
	if (cache == NULL)
		return;
	mmk__slabs_hand_out(slabs, cache);
	(void)MMKIT_MEMSET(cache, 0, sizeof(*cache));
	MMKIT_LOCK_INIT(&cache->lock, pool->slabs.name, MMK_RANK_POOL_CPU);
	cache->loaded = &cache->own[0];
	cache->previous = &cache->own[1];
	state = mmk_slabs_lock(&pool->slabs);
	cpu = MMKIT_CPU_ID();
	/* The thread may have moved; another may have been here. */
	if (pool->caches[cpu] == NULL) {
		mmk__depot_push(&pool->empty, &cache->own[2]);
		pool->nr_caches++;
		MMKIT_ATOMIC_STORE(&pool->caches[cpu], cache);
		cache = NULL;
	}
	mmk_slabs_unlock(&pool->slabs, state);
	mmk_pool_free(pool->cache_pool, cache);
}

/* Another CPU's cache is out of reach if it has no lock: ask for its items. */
MMK_PRIVATE void
mmk__cache_drain(struct mmk_pool *pool, struct mmk_pool_cache *cache,
    bool is_own, struct mmk_slab **idle)
{
	if (MMK_CPU_IS_EXCLUSIVE && !is_own) {
		MMKIT_ATOMIC_STORE(&cache->is_drain_wanted, 1u);
		return;
	}
	mmk__cache_lock(cache);
	mmk__cache_flush(pool, cache, idle);
	mmk__cache_unlock(cache);
}

MMK_API void
mmk_pool_drain(struct mmk_pool *pool)
{
	struct mmk_slab *idle = NULL;
	uintptr_t state = MMKIT_CPU_ENTER();
	unsigned own = MMKIT_CPU_ID();

	for (unsigned cpu = 0; cpu < MMKIT_CPU_MAX; cpu++) {
		struct mmk_pool_cache *cache =
		    MMKIT_ATOMIC_LOAD(&pool->caches[cpu]);

		if (cache != NULL)
			mmk__cache_drain(pool, cache, cpu == own, &idle);
	}
	mmk__depot_flush(pool, &idle);
	MMKIT_CPU_LEAVE(state);
	mmk_slabs_release(&pool->slabs, idle);
}

MMK_API void
mmk_pool_fini(struct mmk_pool *pool)
{
	struct mmk_slab *idle = NULL;

	MMK_ASSERT(mmk_pool_nr_used(pool) == 0);
	for (unsigned cpu = 0; cpu < MMKIT_CPU_MAX; cpu++) {
		struct mmk_pool_cache *cache = pool->caches[cpu];

		if (cache != NULL)
			mmk__cache_drain(pool, cache, true, &idle);
	}
	mmk__depot_flush(pool, &idle);
	mmk_slabs_release(&pool->slabs, idle);
	MMK_ASSERT(pool->slabs.nr_slabs == 0);
	/* Only now: the depot may have had magazines of any cache. */
	for (unsigned cpu = 0; cpu < MMKIT_CPU_MAX; cpu++) {
		mmk_pool_free(pool->cache_pool, pool->caches[cpu]);
		pool->caches[cpu] = NULL;
	}
	MMKIT_POOL_DESTROY(&pool->slabs);
}

/* ---- items --------------------------------------------------------------- */

/* From wherever there is an item without new memory; NULL: there is none. */
MMK_PRIVATE void *
mmk__pool_take(struct mmk_pool *pool, bool *has_cache_out)
{
	struct mmk_slab *idle = NULL;
	uintptr_t state, slabs_state;
	struct mmk_pool_cache *cache = mmk__pool_enter(pool, &state);
	void *item = NULL;

	*has_cache_out = cache != NULL;
	if (cache == NULL) {
		slabs_state = mmk_slabs_lock(&pool->slabs);
		item = mmk_slabs_take_locked(&pool->slabs);
		mmk_slabs_unlock(&pool->slabs, slabs_state);
	} else if (cache->nr_loaded > 0 ||
	    mmk__cache_refill(pool, cache, &idle)) {
		item = mmk__cache_pop(cache);
	}
	mmk__pool_leave(cache, state);
	mmk_slabs_release(&pool->slabs, idle);
	return item;
}

MMK_PRIVATE MMK_NOINLINE void *
mmk__pool_alloc_slowly(struct mmk_pool *pool)
{
	bool has_cache, has_grown = false;
	void *item = mmk__pool_take(pool, &has_cache);

	if (item == NULL) {
		item = mmk_slabs_grow(&pool->slabs);
		has_grown = item != NULL;
	}
	if (item == NULL) {
		mmk_pool_drain(pool);
		item = mmk__pool_take(pool, &has_cache);
	}
	/* First the item, then comfort. */
	if (item != NULL && !has_cache && pool->cache_pool != NULL)
		mmk__pool_add_cache(pool, has_grown);
	if (item != NULL)
		mmk__slabs_hand_out(&pool->slabs, item);
	return item;
}

MMK_API void *
mmk_pool_alloc(struct mmk_pool *pool)
{
	struct mmk_pool_cache *cache;
	uintptr_t state;
	void *item = NULL;
	bool has_item;

	if (MMKIT_FAIL_POINT())
		return NULL;
	cache = mmk__pool_enter(pool, &state);
	has_item = cache != NULL && cache->nr_loaded > 0;
	if (MMK_LIKELY(has_item))
		item = mmk__cache_pop(cache);
	mmk__pool_leave(cache, state);
	if (MMK_UNLIKELY(!has_item))
		return mmk__pool_alloc_slowly(pool);
	mmk__slabs_hand_out(&pool->slabs, item);
	return item;
}

MMK_PRIVATE MMK_NOINLINE void
mmk__pool_free_slowly(struct mmk_pool *pool, void *item)
{
	struct mmk_slab *idle = NULL;
	uintptr_t state, slabs_state;
	struct mmk_pool_cache *cache = mmk__pool_enter(pool, &state);

	if (cache == NULL) {
		slabs_state = mmk_slabs_lock(&pool->slabs);
		mmk_slabs_give_locked(&pool->slabs, item, &idle);
		mmk_slabs_unlock(&pool->slabs, slabs_state);
	} else {
		if (cache->nr_loaded == MMK_MAGAZINE_ITEMS)
			mmk__cache_make_room(pool, cache, &idle);
		mmk__cache_push(cache, item);
	}
	mmk__pool_leave(cache, state);
	mmk_slabs_release(&pool->slabs, idle);
}

MMK_API void
mmk_pool_free(struct mmk_pool *pool, void *item)
{
	struct mmk_pool_cache *cache;
	uintptr_t state;
	bool has_room;

	if (item == NULL)
		return;
	mmk__slabs_hand_in(&pool->slabs, item);
	cache = mmk__pool_enter(pool, &state);
	has_room = cache != NULL && cache->nr_loaded < MMK_MAGAZINE_ITEMS;
	if (MMK_LIKELY(has_room))
		mmk__cache_push(cache, item);
	mmk__pool_leave(cache, state);
	if (MMK_UNLIKELY(!has_room))
		mmk__pool_free_slowly(pool, item);
}

/* ---- numbers and audits -------------------------------------------------- */

MMK_API void
mmk_pool_stats_read(struct mmk_pool *pool, struct mmk_pool_stats *out)
{
	struct mmk_slabs *slabs = &pool->slabs;
	uintptr_t state = mmk_slabs_lock(slabs);

	out->nr_cached = (uint64_t)pool->nr_full * MMK_MAGAZINE_ITEMS;
	for (unsigned cpu = 0; cpu < MMKIT_CPU_MAX; cpu++) {
		struct mmk_pool_cache *cache =
		    MMKIT_ATOMIC_LOAD(&pool->caches[cpu]);

		if (cache != NULL)
			out->nr_cached += MMKIT_ATOMIC_LOAD(&cache->nr_loaded) +
			    MMKIT_ATOMIC_LOAD(&cache->nr_previous);
	}
	/* Not so, if another CPU has swapped magazines meanwhile. */
	out->nr_cached = mmk_min(out->nr_cached, slabs->nr_taken);
	out->nr_used = slabs->nr_taken - out->nr_cached;
	out->nr_slabs = slabs->nr_slabs;
	out->nr_free = slabs->nr_slabs * slabs->items_per_slab -
	    slabs->nr_taken;
	out->slab_bytes = slabs->nr_slabs * (MMK_PAGE_BYTES << slabs->order);
	out->cache_bytes = pool->nr_caches * sizeof(struct mmk_pool_cache);
	mmk_slabs_unlock(slabs, state);
}

MMK_API uint64_t
mmk_pool_nr_used(struct mmk_pool *pool)
{
	struct mmk_pool_stats stats;

	mmk_pool_stats_read(pool, &stats);
	return stats.nr_used;
}

/* See mmk_slabs_note_cached. */
MMK_PRIVATE bool
mmk__magazine_note(struct mmk_pool *pool, struct mmk_magazine *magazine,
    uint32_t nr, bool mark)
{
	bool ok = nr <= MMK_MAGAZINE_ITEMS;

	for (uint32_t i = 0; i < nr && i < MMK_MAGAZINE_ITEMS; i++)
		ok = mmk_slabs_note_cached(&pool->slabs, magazine->items[i],
		    mark) && ok;
	return ok;
}

/* Every item of every magazine is marked, or the mark is taken away. */
MMK_PRIVATE bool
mmk__pool_note_cached(struct mmk_pool *pool, bool mark)
{
	struct mmk_magazine *magazine;
	bool ok = true;

	for (magazine = pool->full; magazine != NULL; magazine = magazine->next)
		ok = mmk__magazine_note(pool, magazine, MMK_MAGAZINE_ITEMS,
		    mark) && ok;
	for (unsigned cpu = 0; cpu < MMKIT_CPU_MAX; cpu++) {
		struct mmk_pool_cache *cache = pool->caches[cpu];

		if (cache == NULL)
			continue;
		ok = mmk__magazine_note(pool, cache->loaded, cache->nr_loaded,
		    mark) && ok;
		ok = mmk__magazine_note(pool, cache->previous,
		    cache->nr_previous, mark) && ok;
	}
	return ok;
}

/* The number of magazines, and I1 as far as it is about numbers. */
MMK_PRIVATE bool
mmk__pool_check_depot(const struct mmk_pool *pool)
{
	const struct mmk_magazine *magazine;
	uint32_t nr_full = 0, nr_empty = 0, nr_caches = 0;

	for (unsigned cpu = 0; cpu < MMKIT_CPU_MAX; cpu++) {
		const struct mmk_pool_cache *cache = pool->caches[cpu];

		if (cache == NULL)
			continue;
		nr_caches++;
		if (cache->loaded == cache->previous ||
		    (cache->nr_previous != 0 &&
		        cache->nr_previous != MMK_MAGAZINE_ITEMS))
			return false;
	}
	for (magazine = pool->full; magazine != NULL && nr_full <= nr_caches;
	     magazine = magazine->next)
		nr_full++;
	for (magazine = pool->empty; magazine != NULL && nr_empty <= nr_caches;
	     magazine = magazine->next)
		nr_empty++;
	return nr_caches == pool->nr_caches && nr_full == pool->nr_full &&
	    nr_full + nr_empty == nr_caches;
}

MMK_API bool
mmk_pool_check(struct mmk_pool *pool)
{
	uintptr_t state = mmk_slabs_lock(&pool->slabs);
	bool ok = mmk__pool_check_depot(pool);

	if (ok) {
		ok = mmk__pool_note_cached(pool, true);
		ok = ok && mmk_slabs_check_locked(&pool->slabs);
		(void)mmk__pool_note_cached(pool, false);
	}
	mmk_slabs_unlock(&pool->slabs, state);
	return ok;
}
#endif /* MMKIT_IMPLEMENTATION */
