/* SPDX-License-Identifier: MIT
 *
 * mmkit/kva/range.h: ranges of numbers: allocate, map, give back
 *
 * WHAT    Divides [start, end) into ranges, each free, allocated or mapped, in
 *         multiples of a granule:
 *
 *              start                                             end
 *               | allocated | mapped |    free    | allocated | free |
 *
 *           free --alloc--> allocated --set_mapped--> mapped
 *                <--free---           <-set_allocated-
 *
 *         Best fit: the smallest free range that is big enough, the lowest of
 *         equals. Free neighbours are merged; others never are, so that each
 *         goes by the pointer it came by. What the addresses lead to is not
 *         looked at.
 *
 *         A range has a descriptor, and descriptors come from a reserve.
 *         Nothing here but mmk_range_refill asks for memory, so the memory may
 *         well come from an allocator that gets its own pages from here.
 * LAYER   kva. Includes base/treap.h. Knows no frames.
 * LOCKS   ranges->lock (MMK_RANK_RANGE), then reserve->lock (MMK_RANK_POOL).
 *         Memory is asked for and given back without either.
 * COST    alloc, free and the rest: expected O(log ranges). 72 bytes a range.
 * SOURCE  descriptors apart from the memory they describe, and a reserve that
 *         ends the recursion: Bonwick and Adams, USENIX 2001 (vmem); two
 *         orders, by address and by size: Knuth, TAOCP vol. 1 (3rd ed.),
 *         section 2.5; the life cycle and the reserve: Andromeda. Differs from
 *         vmem: exact best fit by a tree of (bytes, start), no size classes.
 *
 * I1      the ranges, in order, are [start, end) without a gap
 * I2      no two free ranges touch
 * I3      by_bytes holds the free ranges, and only those
 * I4      state_bytes and nr_ranges are sums over the ranges, by state
 *                                            all tested by: mmk_range_check
 */
#ifndef MMKIT_KVA_RANGE_H
#define MMKIT_KVA_RANGE_H

#include "../base/treap.h"

MMK_BEGIN_DECLS

enum mmk_range_state {
	MMK_RANGE_FREE,
	MMK_RANGE_ALLOCATED, /* somebody has the addresses */
	MMK_RANGE_MAPPED,    /* and there is something behind them */
	MMK_RANGE_STATE_MAX
};

/*
 * Where descriptors come from. `alloc` gives MMK_RANGE_DESCRIPTOR_BYTES aligned
 * for a uint64_t, or NULL. Called without locks, by mmk_range_refill and
 * mmk_range_reserve_fini only.
 */
struct mmk_range_memory {
	void *(*alloc)(void *ctx);
	void (*free)(void *ctx, void *descriptor);
	void *ctx;
};
#define MMK_RANGE_DESCRIPTOR_BYTES 72u

struct mmk_range_descriptor;

/* Guards: [I] immutable after init  [L] this->lock */
struct mmk_range_reserve {
	struct mmk_range_memory memory;    /* [I] */
	uint32_t low;                      /* [I] fewer: time to refill */
	uint32_t target;                   /* [I] refill makes it so many */
	MMKIT_LOCK_T lock;
	struct mmk_range_descriptor *free; /* [L] a chain */
	uint32_t nr_free;                  /* [L] */
	uint64_t nr_used;                  /* [L] descriptors of ranges */
};

/* Guards: as above. `start` and `granule_bytes` are for anybody to read. */
struct mmk_ranges {
	struct mmk_range_reserve *reserve; /* [I] */
	uint64_t granule_bytes;            /* [I] */
	uint64_t start;                    /* [I] */
	uint64_t end;                      /* [L] */
	MMKIT_LOCK_T lock;
	struct mmk_treap by_start;         /* [L] all, key (start, 0) */
	struct mmk_treap by_bytes;         /* [L] free: key (bytes, start) */
	uint64_t nr_ranges[MMK_RANGE_STATE_MAX];   /* [L] */
	uint64_t state_bytes[MMK_RANGE_STATE_MAX]; /* [L] */
};

/* One range, as it was when it was asked for. */
struct mmk_range_info {
	uint64_t start;
	uint64_t end;
	enum mmk_range_state state;
};

/*
 * mmk_range_reserve_init: an empty reserve; refill it next. Allocates nothing.
 * pre: low <= target. An alloc or grow uses at most one descriptor, so `low` is
 * how many of those may happen before somebody finds the time to refill: all
 * that one mmk_range_refill may cause to begin with.
 */
MMK_API void mmk_range_reserve_init(struct mmk_range_reserve *reserve,
    const struct mmk_range_memory *memory, uint32_t low, uint32_t target);

/* Gives every descriptor back. pre: no ranges use it any more. */
MMK_API void mmk_range_reserve_fini(struct mmk_range_reserve *reserve);

/*
 * mmk_range_refill: ask for descriptors until there are `target`, or give back
 * what is above that. May be called within memory.alloc, and by several CPUs.
 *
 * locks    none held that memory.alloc and memory.free cannot bear
 * errors   MMK_ERR_NOMEM: the descriptors that did come stay.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_range_refill(
    struct mmk_range_reserve *reserve);

/* Is it time to refill? A hint. */
MMK_API bool mmk_range_is_low(struct mmk_range_reserve *reserve);

/*
 * mmk_range_init: one free range of `bytes` bytes, in blocks of granule_bytes
 * counted from `start`.
 *
 * pre      granule_bytes is a power of two; bytes > 0 is a multiple of it;
 *          start + bytes does not wrap. The reserve outlives the ranges.
 * errors   MMK_ERR_NOMEM: the reserve is empty; nothing changed.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_range_init(struct mmk_ranges *ranges,
    struct mmk_range_reserve *reserve, uint64_t start, uint64_t bytes,
    uint64_t granule_bytes);

/* Forgets every range, free or not; the descriptors go to the reserve. */
MMK_API void mmk_range_fini(struct mmk_ranges *ranges);

/*
 * mmk_range_alloc: `bytes`, rounded up to granules, from the smallest free
 * range that has them, the lowest of equals, at its start.
 *
 * locks    takes and drops ranges->lock. Asks nobody for memory.
 * out      *start_out; untouched on error.
 * errors   MMK_ERR_INVAL: bytes is 0. MMK_ERR_NOSPACE: no free range is big
 *          enough. MMK_ERR_NOMEM: the reserve is empty: refill, do it again.
 *          Nothing changed.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_range_alloc(struct mmk_ranges *ranges,
    uint64_t bytes, uint64_t *start_out);

/*
 * mmk_range_free: the range that starts at `start` is free, and one with its
 * free neighbours. Needs no memory.
 *
 * errors   MMK_ERR_NOENT: no range starts there, or it is free.
 *          MMK_ERR_BUSY: it is mapped. Nothing changed.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_range_free(struct mmk_ranges *ranges,
    uint64_t start);

/*
 * From allocated to mapped, and back. errors MMK_ERR_NOENT: no range starts
 * there, or it is free. MMK_ERR_EXIST (of set_mapped): it is mapped already.
 * MMK_ERR_INVAL (of set_allocated): it is not mapped. Nothing changed.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_range_set_mapped(
    struct mmk_ranges *ranges, uint64_t start);
MMK_API MMK_NODISCARD enum mmk_err mmk_range_set_allocated(
    struct mmk_ranges *ranges, uint64_t start);

/*
 * mmk_range_grow: `bytes` more at the end, free.
 *
 * pre      bytes > 0 is a multiple of the granule, and end + bytes does not
 *          wrap.
 * errors   MMK_ERR_NOMEM: the last range is not free and the reserve is empty;
 *          nothing changed.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_range_grow(struct mmk_ranges *ranges,
    uint64_t bytes);

/* The range that contains `addr`, or else the next one up; false: none. */
MMK_API bool mmk_range_lookup(struct mmk_ranges *ranges, uint64_t addr,
    struct mmk_range_info *out);

/* Walks every range. locks: takes and drops ranges->lock. O(n log n). */
MMK_API bool mmk_range_check(struct mmk_ranges *ranges);

MMK_END_DECLS
#endif /* MMKIT_KVA_RANGE_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_KVA_RANGE_IMPL)
#define MMKIT_KVA_RANGE_IMPL

/* All [L]. One in the reserve is chained through by_start.below[0]. */
struct mmk_range_descriptor {
	struct mmk_treap_node by_start; /* [L] major: where it starts */
	struct mmk_treap_node by_bytes; /* [L] major: its bytes, free or not */
	enum mmk_range_state state;     /* [L] */
};
MMK_STATIC_ASSERT(
    sizeof(struct mmk_range_descriptor) <= MMK_RANGE_DESCRIPTOR_BYTES,
    "mmkit: a range descriptor fills its 72 bytes");

/* ---- the reserve --------------------------------------------------------- */

MMK_PRIVATE void
mmk__range_put_aside_locked(struct mmk_range_reserve *reserve,
    struct mmk_range_descriptor *range)
{
	range->by_start.below[0] =
	    reserve->free != NULL ? &reserve->free->by_start : NULL;
	reserve->free = range;
	reserve->nr_free++;
}

MMK_PRIVATE struct mmk_range_descriptor *
mmk__range_take_locked(struct mmk_range_reserve *reserve)
{
	struct mmk_range_descriptor *range = reserve->free;
	struct mmk_treap_node *next;

	if (range == NULL)
		return NULL;
	next = range->by_start.below[0];
	reserve->free = next == NULL
	    ? NULL
	    : MMK_TREAP_ITEM(next, struct mmk_range_descriptor, by_start);
	reserve->nr_free--;
	return range;
}

/* A descriptor for a new range, or NULL: the reserve is empty. */
MMK_PRIVATE struct mmk_range_descriptor *
mmk__range_new(struct mmk_range_reserve *reserve)
{
	struct mmk_range_descriptor *range;

	if (MMKIT_FAIL_POINT())
		return NULL;
	MMKIT_LOCK(&reserve->lock);
	range = mmk__range_take_locked(reserve);
	reserve->nr_used += range != NULL;
	MMKIT_UNLOCK(&reserve->lock);
	return range;
}

MMK_PRIVATE void
mmk__range_delete(struct mmk_range_reserve *reserve,
    struct mmk_range_descriptor *range)
{
	MMKIT_LOCK(&reserve->lock);
	MMK_ASSERT(reserve->nr_used > 0);
	reserve->nr_used--;
	mmk__range_put_aside_locked(reserve, range);
	MMKIT_UNLOCK(&reserve->lock);
}

MMK_API void
mmk_range_reserve_init(struct mmk_range_reserve *reserve,
    const struct mmk_range_memory *memory, uint32_t low, uint32_t target)
{
	MMK_ASSERT(low <= target);
	reserve->memory = *memory;
	reserve->low = low;
	reserve->target = target;
	MMKIT_LOCK_INIT(&reserve->lock, "range reserve", MMK_RANK_POOL);
	reserve->free = NULL;
	reserve->nr_free = 0;
	reserve->nr_used = 0;
}

/* Give back what is above `nr_keep`. */
MMK_PRIVATE void
mmk__range_trim(struct mmk_range_reserve *reserve, uint32_t nr_keep)
{
	for (;;) {
		struct mmk_range_descriptor *range = NULL;

		MMKIT_LOCK(&reserve->lock);
		if (reserve->nr_free > nr_keep)
			range = mmk__range_take_locked(reserve);
		MMKIT_UNLOCK(&reserve->lock);
		if (range == NULL)
			return;
		reserve->memory.free(reserve->memory.ctx, range);
	}
}

MMK_API void
mmk_range_reserve_fini(struct mmk_range_reserve *reserve)
{
	MMK_ASSERT(reserve->nr_used == 0);
	mmk__range_trim(reserve, 0);
}

/* The count is looked at again for each: memory.alloc may come back to us. */
MMK_API enum mmk_err
mmk_range_refill(struct mmk_range_reserve *reserve)
{
	bool is_short = true;

	while (is_short) {
		void *memory;

		MMKIT_LOCK(&reserve->lock);
		is_short = reserve->nr_free < reserve->target;
		MMKIT_UNLOCK(&reserve->lock);
		if (!is_short)
			break;
		memory = MMKIT_FAIL_POINT()
		    ? NULL
		    : reserve->memory.alloc(reserve->memory.ctx);
		if (memory == NULL)
			return MMK_ERR_NOMEM;
		MMKIT_LOCK(&reserve->lock);
		mmk__range_put_aside_locked(reserve,
		    (struct mmk_range_descriptor *)memory);
		MMKIT_UNLOCK(&reserve->lock);
	}
	mmk__range_trim(reserve, reserve->target);
	return MMK_OK;
}

MMK_API bool
mmk_range_is_low(struct mmk_range_reserve *reserve)
{
	bool is_low;

	MMKIT_LOCK(&reserve->lock);
	is_low = reserve->nr_free < reserve->low;
	MMKIT_UNLOCK(&reserve->lock);
	return is_low;
}

/* ---- ranges in their trees ----------------------------------------------- */

MMK_PRIVATE struct mmk_range_descriptor *
mmk__range_of(struct mmk_treap_node *by_start)
{
	return by_start == NULL
	    ? NULL
	    : MMK_TREAP_ITEM(by_start, struct mmk_range_descriptor, by_start);
}

MMK_PRIVATE uint64_t
mmk__range_end(const struct mmk_range_descriptor *range)
{
	return range->by_start.major + range->by_bytes.major;
}

/* Into the trees that its state asks for; counted. */
MMK_PRIVATE void
mmk__range_insert(struct mmk_ranges *ranges, struct mmk_range_descriptor *range,
    uint64_t start, uint64_t bytes, enum mmk_range_state state)
{
	range->by_start.major = start;
	range->by_start.minor = 0;
	range->by_bytes.major = bytes;
	range->by_bytes.minor = start;
	range->state = state;
	mmk_treap_insert(&ranges->by_start, &range->by_start);
	if (state == MMK_RANGE_FREE)
		mmk_treap_insert(&ranges->by_bytes, &range->by_bytes);
	ranges->nr_ranges[state]++;
	ranges->state_bytes[state] += bytes;
}

/* Its fields stay as they are. */
MMK_PRIVATE void
mmk__range_remove(struct mmk_ranges *ranges, struct mmk_range_descriptor *range)
{
	mmk_treap_remove(&ranges->by_start, &range->by_start);
	if (range->state == MMK_RANGE_FREE)
		mmk_treap_remove(&ranges->by_bytes, &range->by_bytes);
	ranges->nr_ranges[range->state]--;
	ranges->state_bytes[range->state] -= range->by_bytes.major;
}

MMK_API enum mmk_err
mmk_range_init(struct mmk_ranges *ranges, struct mmk_range_reserve *reserve,
    uint64_t start, uint64_t bytes, uint64_t granule_bytes)
{
	struct mmk_range_descriptor *range;

	MMK_ASSERT(mmk_is_pow2(granule_bytes));
	MMK_ASSERT(bytes > 0);
	MMK_ASSERT(mmk_round_down(bytes, granule_bytes) == bytes);
	MMK_ASSERT(bytes <= UINT64_MAX - start);
	range = mmk__range_new(reserve);
	if (range == NULL)
		return MMK_ERR_NOMEM;
	(void)MMKIT_MEMSET(ranges, 0, sizeof(*ranges));
	ranges->reserve = reserve;
	ranges->granule_bytes = granule_bytes;
	ranges->start = start;
	ranges->end = start + bytes;
	MMKIT_LOCK_INIT(&ranges->lock, "ranges", MMK_RANK_RANGE);
	mmk_treap_init(&ranges->by_start);
	mmk_treap_init(&ranges->by_bytes);
	mmk__range_insert(ranges, range, start, bytes, MMK_RANGE_FREE);
	return MMK_OK;
}

MMK_API void
mmk_range_fini(struct mmk_ranges *ranges)
{
	MMKIT_LOCK(&ranges->lock);
	while (ranges->by_start.root != NULL) {
		struct mmk_range_descriptor *range =
		    mmk__range_of(ranges->by_start.root);

		mmk__range_remove(ranges, range);
		mmk__range_delete(ranges->reserve, range);
	}
	MMKIT_UNLOCK(&ranges->lock);
}

/* ---- allocate and free --------------------------------------------------- */

/* The best fit for `bytes`, cut to size, on its way to be allocated. */
MMK_PRIVATE enum mmk_err
mmk__range_alloc_locked(struct mmk_ranges *ranges, uint64_t bytes,
    uint64_t *start_out)
{
	struct mmk_range_descriptor *range, *rest = NULL;
	struct mmk_treap_node *node;
	uint64_t start, rest_bytes;

	node = mmk_treap_find_ge(&ranges->by_bytes, bytes, 0);
	if (node == NULL)
		return MMK_ERR_NOSPACE;
	range = MMK_TREAP_ITEM(node, struct mmk_range_descriptor, by_bytes);
	start = range->by_start.major;
	rest_bytes = range->by_bytes.major - bytes;
	if (rest_bytes > 0) {
		rest = mmk__range_new(ranges->reserve);
		if (rest == NULL)
			return MMK_ERR_NOMEM;
	}
	mmk__range_remove(ranges, range);
	mmk__range_insert(ranges, range, start, bytes, MMK_RANGE_ALLOCATED);
	if (rest != NULL)
		mmk__range_insert(ranges, rest, start + bytes, rest_bytes,
		    MMK_RANGE_FREE);
	*start_out = start;
	return MMK_OK;
}

MMK_API enum mmk_err
mmk_range_alloc(struct mmk_ranges *ranges, uint64_t bytes, uint64_t *start_out)
{
	enum mmk_err err;

	if (bytes == 0)
		return MMK_ERR_INVAL;
	if (bytes > UINT64_MAX - (ranges->granule_bytes - 1))
		return MMK_ERR_NOSPACE;
	bytes = mmk_round_up(bytes, ranges->granule_bytes);
	MMKIT_LOCK(&ranges->lock);
	err = mmk__range_alloc_locked(ranges, bytes, start_out);
	MMKIT_UNLOCK(&ranges->lock);
	return err;
}

/* The range that starts at `start` and is not free, or NULL. */
MMK_PRIVATE struct mmk_range_descriptor *
mmk__range_at_locked(const struct mmk_ranges *ranges, uint64_t start)
{
	struct mmk_range_descriptor *range =
	    mmk__range_of(mmk_treap_find_ge(&ranges->by_start, start, 0));

	if (range == NULL || range->by_start.major != start ||
	    range->state == MMK_RANGE_FREE)
		return NULL;
	return range;
}

/* A free neighbour goes, and what it had is added to [*start, *end). */
MMK_PRIVATE void
mmk__range_absorb_locked(struct mmk_ranges *ranges,
    struct mmk_range_descriptor *range, uint64_t *start, uint64_t *end)
{
	if (range == NULL || range->state != MMK_RANGE_FREE)
		return;
	mmk__range_remove(ranges, range);
	*start = mmk_min(*start, range->by_start.major);
	*end = mmk_max(*end, mmk__range_end(range));
	mmk__range_delete(ranges->reserve, range);
}

MMK_PRIVATE void
mmk__range_free_locked(struct mmk_ranges *ranges,
    struct mmk_range_descriptor *range)
{
	uint64_t start = range->by_start.major, end = mmk__range_end(range);

	mmk__range_remove(ranges, range);
	/* I1: what comes below or above, if anything does, touches it. */
	mmk__range_absorb_locked(ranges,
	    mmk__range_of(mmk_treap_find_le(&ranges->by_start, start, 0)),
	    &start, &end);
	mmk__range_absorb_locked(ranges,
	    mmk__range_of(mmk_treap_find_ge(&ranges->by_start, end, 0)),
	    &start, &end);
	mmk__range_insert(ranges, range, start, end - start, MMK_RANGE_FREE);
}

MMK_API enum mmk_err
mmk_range_free(struct mmk_ranges *ranges, uint64_t start)
{
	struct mmk_range_descriptor *range;
	enum mmk_err err = MMK_OK;

	MMKIT_LOCK(&ranges->lock);
	range = mmk__range_at_locked(ranges, start);
	if (range == NULL)
		err = MMK_ERR_NOENT;
	else if (range->state == MMK_RANGE_MAPPED)
		err = MMK_ERR_BUSY;
	else
		mmk__range_free_locked(ranges, range);
	MMKIT_UNLOCK(&ranges->lock);
	return err;
}

/* `other`: the error if the range is neither free nor `from`. */
MMK_PRIVATE enum mmk_err
mmk__range_set_state(struct mmk_ranges *ranges, uint64_t start,
    enum mmk_range_state from, enum mmk_range_state to, enum mmk_err other)
{
	struct mmk_range_descriptor *range;
	enum mmk_err err = MMK_OK;

	MMKIT_LOCK(&ranges->lock);
	range = mmk__range_at_locked(ranges, start);
	if (range == NULL) {
		err = MMK_ERR_NOENT;
	} else if (range->state != from) {
		err = other;
	} else {
		uint64_t bytes = range->by_bytes.major;

		range->state = to;
		ranges->nr_ranges[from]--;
		ranges->nr_ranges[to]++;
		ranges->state_bytes[from] -= bytes;
		ranges->state_bytes[to] += bytes;
	}
	MMKIT_UNLOCK(&ranges->lock);
	return err;
}

MMK_API enum mmk_err
mmk_range_set_mapped(struct mmk_ranges *ranges, uint64_t start)
{
	return mmk__range_set_state(ranges, start, MMK_RANGE_ALLOCATED,
	    MMK_RANGE_MAPPED, MMK_ERR_EXIST);
}

MMK_API enum mmk_err
mmk_range_set_allocated(struct mmk_ranges *ranges, uint64_t start)
{
	return mmk__range_set_state(ranges, start, MMK_RANGE_MAPPED,
	    MMK_RANGE_ALLOCATED, MMK_ERR_INVAL);
}

MMK_API enum mmk_err
mmk_range_grow(struct mmk_ranges *ranges, uint64_t bytes)
{
	struct mmk_range_descriptor *range;
	enum mmk_err err = MMK_OK;

	MMK_ASSERT(bytes > 0);
	MMK_ASSERT(mmk_round_down(bytes, ranges->granule_bytes) == bytes);
	MMKIT_LOCK(&ranges->lock);
	MMK_ASSERT(bytes <= UINT64_MAX - ranges->end);
	range = mmk__range_of(
	    mmk_treap_find_le(&ranges->by_start, ranges->end, 0));
	if (range->state == MMK_RANGE_FREE) {
		mmk__range_remove(ranges, range);
		mmk__range_insert(ranges, range, range->by_start.major,
		    range->by_bytes.major + bytes, MMK_RANGE_FREE);
	} else if ((range = mmk__range_new(ranges->reserve)) != NULL) {
		mmk__range_insert(ranges, range, ranges->end, bytes,
		    MMK_RANGE_FREE);
	} else {
		err = MMK_ERR_NOMEM;
	}
	if (err == MMK_OK)
		ranges->end += bytes;
	MMKIT_UNLOCK(&ranges->lock);
	return err;
}

/* ---- questions ----------------------------------------------------------- */

MMK_API bool
mmk_range_lookup(struct mmk_ranges *ranges, uint64_t addr,
    struct mmk_range_info *out)
{
	const struct mmk_range_descriptor *range;
	bool is_found;

	MMKIT_LOCK(&ranges->lock);
	addr = mmk_max(addr, ranges->start);
	is_found = addr < ranges->end;
	if (is_found) {
		range = mmk__range_of(
		    mmk_treap_find_le(&ranges->by_start, addr, 0));
		out->start = range->by_start.major;
		out->end = mmk__range_end(range);
		out->state = range->state;
	}
	MMKIT_UNLOCK(&ranges->lock);
	return is_found;
}

/* I1 to I3, and what I4 compares with. */
MMK_PRIVATE bool
mmk__range_check_locked(const struct mmk_ranges *ranges,
    struct mmk_ranges *sums)
{
	struct mmk_treap_node *node =
	    mmk_treap_find_ge(&ranges->by_start, 0, 0);
	bool was_free = false;
	uint64_t end = ranges->start;

	for (; node != NULL; node = mmk_treap_next(&ranges->by_start, node)) {
		const struct mmk_range_descriptor *range = mmk__range_of(node);
		uint64_t bytes = range->by_bytes.major;
		bool is_free = range->state == MMK_RANGE_FREE;

		if (node->major != end || node->minor != 0 || bytes == 0 ||
		    bytes % ranges->granule_bytes != 0 ||
		    range->by_bytes.minor != end ||
		    (unsigned)range->state >= MMK_RANGE_STATE_MAX)
			return false;
		if ((is_free && was_free) ||
		    (mmk_treap_find_ge(&ranges->by_bytes, bytes, end) ==
		        &range->by_bytes) != is_free)
			return false;
		sums->nr_ranges[range->state]++;
		sums->state_bytes[range->state] += bytes;
		was_free = is_free;
		end += bytes;
	}
	return end == ranges->end &&
	    ranges->by_bytes.nr_nodes == sums->nr_ranges[MMK_RANGE_FREE];
}

MMK_API bool
mmk_range_check(struct mmk_ranges *ranges)
{
	struct mmk_ranges sums;
	bool is_good;

	(void)MMKIT_MEMSET(&sums, 0, sizeof(sums));
	MMKIT_LOCK(&ranges->lock);
	is_good = mmk_treap_check(&ranges->by_start) &&
	    mmk_treap_check(&ranges->by_bytes) &&
	    mmk__range_check_locked(ranges, &sums);
	for (unsigned i = 0; is_good && i < MMK_RANGE_STATE_MAX; i++)
		is_good = sums.nr_ranges[i] == ranges->nr_ranges[i] &&
		    sums.state_bytes[i] == ranges->state_bytes[i];
	MMKIT_UNLOCK(&ranges->lock);
	return is_good;
}
#endif /* MMKIT_IMPLEMENTATION */
