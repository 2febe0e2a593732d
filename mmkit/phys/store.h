/* SPDX-License-Identifier: MIT
 *
 * mmkit/phys/store.h: where free frames are kept, and how many are not
 *
 * WHAT    Two zones, LOW below an address limit and NORMAL above, and for each
 *         CPU a small cache of single pages of either. Pages move between a
 *         cache and its zone in batches; larger blocks go straight to the zone.
 *         The same per-CPU structures count what is out, by use, so that
 *         counting needs no common cache line.
 *
 *         A cached page is free but cannot merge. When an allocation would
 *         fail, the caller drains all caches and tries again.
 * LAYER   phys. Includes buddy.h. Knows no references.
 * LOCKS   cpus[i].lock (MMK_RANK_CPU_CACHE), then zones[z].lock
 *         (MMK_RANK_ZONE). Nothing waits.
 * COST    one page: one lock of this CPU's, and one zone lock in every
 *         MMK_CACHE_BATCH pages. A block: both locks, O(MMK_MAX_ORDER). About
 *         10 KiB and 150 bytes a CPU.
 * SOURCE  Bonwick and Adams, USENIX 2001 (magazines), simplified to a chain
 *         through the descriptors.
 *
 * I1      the chain cpus[i].head[z] has nr_cached[z] pages, all of zone z
 * I2      sum over CPUs of used[u] == pages out with use u
 *                                                all tested by: mmk_phys_check
 */
#ifndef MMKIT_PHYS_STORE_H
#define MMKIT_PHYS_STORE_H

#include "buddy.h"

MMK_BEGIN_DECLS

/* Pages moved between a CPU's cache and a zone at once, and the most kept. */
#define MMK_CACHE_BATCH 16u
#define MMK_CACHE_MAX 48u

enum mmk_zone { MMK_ZONE_LOW, MMK_ZONE_NORMAL, MMK_ZONE_MAX };

/* Guards: [L] this->lock  [l] this->lock to write, atomic to read */
struct mmk_store_cpu {
	MMKIT_LOCK_T lock;
	uint32_t head[MMK_ZONE_MAX];      /* [L] chain by next; index + 1 */
	uint32_t nr_cached[MMK_ZONE_MAX]; /* [l] */
	uint64_t used[MMK_USE_MAX]; /* [l] taken less given here, modulo 2^64 */
	int64_t balance; /* [l] pages taken less given since the last fold */
	int64_t high;    /* [l] the most `balance` has been since then */
	uint64_t apart[8]; /* no two CPUs write one cache line */
};

/* Guards: [I] immutable after init  [a] atomic */
struct mmk_store {
	const struct mmk_frame_table *table; /* [I] */
	mmk_pfn low_pfn; /* [I] zone LOW is below */
	int64_t nr_folded; /* [a] pages out, but for the CPUs' balances */
	int64_t peak;      /* [a] the most nr_folded + a CPU's high has been */
	struct mmk_buddy zones[MMK_ZONE_MAX];
	struct mmk_store_cpu cpus[MMKIT_CPU_MAX];
};

/* Nothing free, nothing out. low_pfn is where zone NORMAL begins. */
MMK_API void mmk_store_init(struct mmk_store *store,
    const struct mmk_frame_table *table, const struct mmk_frame_plan *plan,
    mmk_pfn low_pfn);

/* The pages [start_pfn, end_pfn) become free. pre: RAM that nobody uses. */
MMK_API void mmk_store_add_run(struct mmk_store *store, mmk_pfn start_pfn,
    mmk_pfn end_pfn);

/*
 * mmk_store_take: the head of 2^order pages, counted under `use`, or NULL.
 *
 * pre      order <= MMK_MAX_ORDER; low_only: nothing but zone LOW will do.
 * out      `order` is set; flags and all else are for the caller to set.
 */
MMK_API struct mmk_frame *mmk_store_take(struct mmk_store *store,
    unsigned order, bool low_only, enum mmk_use use);

/* Take a block back that was counted under frame->use. */
MMK_API void mmk_store_give(struct mmk_store *store, struct mmk_frame *frame);

/* Count nr_pages more (or less) under `use`. */
MMK_API void mmk_store_account(struct mmk_store *store, unsigned use,
    int64_t nr_pages);

/* Empty every CPU's cache into the zones. */
MMK_API void mmk_store_drain(struct mmk_store *store);

/* The most pages that were ever out: exact on one CPU. */
MMK_API uint64_t mmk_store_peak(const struct mmk_store *store);

/* One zone's caches hold nr_expected pages. pre: nobody else is in here. */
MMK_API bool mmk_store_check_caches(const struct mmk_store *store,
    enum mmk_zone z, uint64_t nr_expected);

/* The zone that guards the page's free block. pre: RAM that we manage. */
static inline struct mmk_buddy *
mmk_store_buddy_of(struct mmk_store *store, mmk_pfn pfn)
{
	return &store->zones[pfn < store->low_pfn ? MMK_ZONE_LOW
	                                          : MMK_ZONE_NORMAL];
}

static inline enum mmk_zone
mmk_store_zone(const struct mmk_store *store, const struct mmk_frame *frame)
{
	return mmk_frame_table_pfn(store->table, frame) < store->low_pfn
	    ? MMK_ZONE_LOW
	    : MMK_ZONE_NORMAL;
}

MMK_END_DECLS
#endif /* MMKIT_PHYS_STORE_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_PHYS_STORE_IMPL)
#define MMKIT_PHYS_STORE_IMPL

MMK_API void
mmk_store_init(struct mmk_store *store, const struct mmk_frame_table *table,
    const struct mmk_frame_plan *plan, mmk_pfn low_pfn)
{
	(void)MMKIT_MEMSET(store, 0, sizeof(*store));
	store->table = table;
	store->low_pfn = low_pfn;
	if (low_pfn < plan->first_pfn)
		low_pfn = plan->first_pfn;
	if (low_pfn > plan->end_pfn)
		low_pfn = plan->end_pfn;
	mmk_buddy_init(&store->zones[MMK_ZONE_LOW], table, plan->first_pfn,
	    low_pfn, "mmk zone low");
	mmk_buddy_init(&store->zones[MMK_ZONE_NORMAL], table, low_pfn,
	    plan->end_pfn, "mmk zone normal");
	for (unsigned i = 0; i < MMKIT_CPU_MAX; i++)
		MMKIT_LOCK_INIT(&store->cpus[i].lock, "mmk cpu cache",
		    MMK_RANK_CPU_CACHE);
}

/* The part of [start_pfn, end_pfn) that lies in the zone becomes free. */
MMK_PRIVATE void
mmk__store_seed(struct mmk_buddy *zone, mmk_pfn start_pfn, mmk_pfn end_pfn)
{
	if (start_pfn < zone->first_pfn)
		start_pfn = zone->first_pfn;
	if (end_pfn > zone->end_pfn)
		end_pfn = zone->end_pfn;
	if (start_pfn >= end_pfn)
		return;
	MMKIT_POISON(MMKIT_PHYS_TO_PTR(mmk_pa_of_pfn(start_pfn)),
	    (size_t)mmk_bytes_of_pages(end_pfn - start_pfn));
	mmk_buddy_give_run(zone, start_pfn, end_pfn);
}

MMK_API void
mmk_store_add_run(struct mmk_store *store, mmk_pfn start_pfn, mmk_pfn end_pfn)
{
	for (unsigned z = 0; z < MMK_ZONE_MAX; z++)
		mmk__store_seed(&store->zones[z], start_pfn, end_pfn);
}

/* ---- accounts ------------------------------------------------------------ */

MMK_PRIVATE struct mmk_store_cpu *
mmk__store_cpu(struct mmk_store *store)
{
	unsigned cpu = MMKIT_CPU_ID();

	MMK_ASSERT(cpu < MMKIT_CPU_MAX);
	return &store->cpus[cpu];
}

/* `nr_pages` more, or less, have this use. locks: cpu->lock held. */
MMK_PRIVATE void
mmk__cpu_account_locked(struct mmk_store_cpu *cpu, unsigned use,
    int64_t nr_pages)
{
	int64_t balance = cpu->balance + nr_pages;

	MMKIT_ATOMIC_STORE(&cpu->used[use],
	    cpu->used[use] + (uint64_t)nr_pages);
	MMKIT_ATOMIC_STORE(&cpu->balance, balance);
	if (balance > cpu->high)
		MMKIT_ATOMIC_STORE(&cpu->high, balance);
}

/* Bring the CPU's balance and peak to the common count, once a batch. */
MMK_PRIVATE void
mmk__cpu_fold_locked(struct mmk_store *store, struct mmk_store_cpu *cpu)
{
	int64_t before = MMKIT_ATOMIC_ADD(&store->nr_folded, cpu->balance) -
	    cpu->balance;
	int64_t peak = MMKIT_ATOMIC_LOAD(&store->peak);

	while (before + cpu->high > peak &&
	    !MMKIT_ATOMIC_CAS(&store->peak, &peak, before + cpu->high))
		MMKIT_CPU_RELAX();
	MMKIT_ATOMIC_STORE(&cpu->balance, (int64_t)0);
	MMKIT_ATOMIC_STORE(&cpu->high, (int64_t)0);
}

MMK_API void
mmk_store_account(struct mmk_store *store, unsigned use, int64_t nr_pages)
{
	struct mmk_store_cpu *cpu = mmk__store_cpu(store);

	MMKIT_LOCK(&cpu->lock);
	mmk__cpu_account_locked(cpu, use, nr_pages);
	mmk__cpu_fold_locked(store, cpu);
	MMKIT_UNLOCK(&cpu->lock);
}

/* ---- the caches ---------------------------------------------------------- */

MMK_PRIVATE void
mmk__cache_push_locked(struct mmk_store *store, struct mmk_store_cpu *cpu,
    enum mmk_zone z, struct mmk_frame *frame)
{
	frame->next = cpu->head[z];
	cpu->head[z] = mmk_frame_table_index(store->table, frame) + 1;
	MMKIT_ATOMIC_STORE(&cpu->nr_cached[z], cpu->nr_cached[z] + 1);
}

MMK_PRIVATE struct mmk_frame *
mmk__cache_pop_locked(struct mmk_store *store, struct mmk_store_cpu *cpu,
    enum mmk_zone z)
{
	struct mmk_frame *frame;

	if (cpu->head[z] == 0)
		return NULL;
	frame = &store->table->frames[cpu->head[z] - 1];
	cpu->head[z] = frame->next;
	MMKIT_ATOMIC_STORE(&cpu->nr_cached[z], cpu->nr_cached[z] - 1);
	return frame;
}

/* Up to a batch of pages from the zone. locks: cpu->lock held. */
MMK_PRIVATE void
mmk__cache_fill_locked(struct mmk_store *store, struct mmk_store_cpu *cpu,
    enum mmk_zone z)
{
	struct mmk_buddy *zone = &store->zones[z];
	struct mmk_frame *frames[MMK_CACHE_BATCH];
	unsigned nr_frames = 0;

	MMKIT_LOCK(&zone->lock);
	while (nr_frames < MMK_CACHE_BATCH) {
		struct mmk_frame *frame = mmk_buddy_take_locked(zone, 0);

		if (frame == NULL)
			break;
		MMKIT_ATOMIC_STORE(&frame->flags,
		    (uint16_t)(MMK_FRAME_HEAD | MMK_FRAME_CACHED));
		frames[nr_frames++] = frame;
	}
	MMKIT_UNLOCK(&zone->lock);
	/*
	 * The last one pushed leaves first: pages leave in ascending order, so
	 * that what is allocated in a row lies in a row.
	 */
	while (nr_frames > 0)
		mmk__cache_push_locked(store, cpu, z, frames[--nr_frames]);
	mmk__cpu_fold_locked(store, cpu);
}

/* Up to nr_pages back to the zone. locks: cpu->lock held. */
MMK_PRIVATE void
mmk__cache_drain_locked(struct mmk_store *store, struct mmk_store_cpu *cpu,
    enum mmk_zone z, unsigned nr_pages)
{
	struct mmk_buddy *zone = &store->zones[z];
	struct mmk_frame *frame;

	MMKIT_LOCK(&zone->lock);
	while (nr_pages-- > 0) {
		frame = mmk__cache_pop_locked(store, cpu, z);
		if (frame == NULL)
			break;
		mmk_buddy_give_locked(zone, frame, 0);
	}
	MMKIT_UNLOCK(&zone->lock);
	mmk__cpu_fold_locked(store, cpu);
}

MMK_API void
mmk_store_drain(struct mmk_store *store)
{
	for (unsigned i = 0; i < MMKIT_CPU_COUNT(); i++) {
		struct mmk_store_cpu *cpu = &store->cpus[i];

		MMKIT_LOCK(&cpu->lock);
		for (unsigned z = 0; z < MMK_ZONE_MAX; z++)
			mmk__cache_drain_locked(store, cpu, (enum mmk_zone)z,
			    UINT32_MAX);
		MMKIT_UNLOCK(&cpu->lock);
	}
}

/* One page of the zone, by way of this CPU's cache; NULL: there is none. */
MMK_PRIVATE struct mmk_frame *
mmk__store_take_page(struct mmk_store *store, enum mmk_zone z, enum mmk_use use)
{
	struct mmk_store_cpu *cpu = mmk__store_cpu(store);
	struct mmk_frame *frame;

	MMKIT_LOCK(&cpu->lock);
	if (cpu->head[z] == 0)
		mmk__cache_fill_locked(store, cpu, z);
	frame = mmk__cache_pop_locked(store, cpu, z);
	if (frame != NULL)
		mmk__cpu_account_locked(cpu, use, 1);
	MMKIT_UNLOCK(&cpu->lock);
	return frame;
}

MMK_PRIVATE struct mmk_frame *
mmk__store_take_block(struct mmk_store *store, enum mmk_zone z, unsigned order,
    enum mmk_use use)
{
	struct mmk_buddy *zone = &store->zones[z];
	struct mmk_frame *frame;

	MMKIT_LOCK(&zone->lock);
	frame = mmk_buddy_take_locked(zone, order);
	MMKIT_UNLOCK(&zone->lock);
	if (frame != NULL)
		mmk_store_account(store, use, (int64_t)1 << order);
	return frame;
}

/*
 * From the highest zone allowed. LOW is used before other CPUs' caches are
 * emptied for a page of NORMAL: while NORMAL is full, every allocation would
 * have to look into all of them.
 */
MMK_API struct mmk_frame *
mmk_store_take(struct mmk_store *store, unsigned order, bool low_only,
    enum mmk_use use)
{
	enum mmk_zone z = low_only ? MMK_ZONE_LOW : MMK_ZONE_NORMAL;
	struct mmk_frame *frame;

	for (;;) {
		frame = order == 0
		    ? mmk__store_take_page(store, z, use)
		    : mmk__store_take_block(store, z, order, use);
		if (frame != NULL || z == MMK_ZONE_LOW)
			return frame;
		z = MMK_ZONE_LOW;
	}
}

MMK_PRIVATE void
mmk__store_give_page(struct mmk_store *store, enum mmk_zone z,
    struct mmk_frame *frame, unsigned use)
{
	struct mmk_store_cpu *cpu = mmk__store_cpu(store);

	MMKIT_ATOMIC_STORE(&frame->flags,
	    (uint16_t)(MMK_FRAME_HEAD | MMK_FRAME_CACHED));
	MMKIT_LOCK(&cpu->lock);
	mmk__cpu_account_locked(cpu, use, -1);
	mmk__cache_push_locked(store, cpu, z, frame);
	if (cpu->nr_cached[z] > MMK_CACHE_MAX)
		mmk__cache_drain_locked(store, cpu, z, MMK_CACHE_BATCH);
	MMKIT_UNLOCK(&cpu->lock);
}

MMK_API void
mmk_store_give(struct mmk_store *store, struct mmk_frame *frame)
{
	enum mmk_zone z = mmk_store_zone(store, frame);
	unsigned order = frame->order, use = frame->use;

	frame->use = MMK_USE_FREE;
	if (order == 0) {
		mmk__store_give_page(store, z, frame, use);
		return;
	}
	/* Less before more: between the two, others see fewer, not too many. */
	mmk_store_account(store, use, -((int64_t)1 << order));
	MMKIT_LOCK(&store->zones[z].lock);
	mmk_buddy_give_locked(&store->zones[z], frame, order);
	MMKIT_UNLOCK(&store->zones[z].lock);
}

MMK_API uint64_t
mmk_store_peak(const struct mmk_store *store)
{
	int64_t folded = MMKIT_ATOMIC_LOAD(&store->nr_folded), now = folded;
	int64_t peak = MMKIT_ATOMIC_LOAD(&store->peak);

	for (unsigned i = 0; i < MMKIT_CPU_MAX; i++) {
		int64_t high =
		    folded + MMKIT_ATOMIC_LOAD(&store->cpus[i].high);

		now += MMKIT_ATOMIC_LOAD(&store->cpus[i].balance);
		peak = high > peak ? high : peak;
	}
	return (uint64_t)(now > peak ? now : peak);
}

MMK_API bool
mmk_store_check_caches(const struct mmk_store *store, enum mmk_zone z,
    uint64_t nr_expected)
{
	uint64_t nr_all = 0;

	for (unsigned i = 0; i < MMKIT_CPU_MAX; i++) {
		const struct mmk_store_cpu *cpu = &store->cpus[i];
		uint32_t nr = 0, link = cpu->head[z];

		for (; link != 0 && nr <= MMK_CACHE_MAX; nr++) {
			const struct mmk_frame *frame;

			if (link > store->table->nr_frames)
				return false;
			frame = &store->table->frames[link - 1];
			if ((frame->flags & MMK_FRAME_CACHED) == 0 ||
			    mmk_store_zone(store, frame) != z)
				return false;
			link = frame->next;
		}
		if (nr != cpu->nr_cached[z] || link != 0)
			return false;
		nr_all += nr;
	}
	return nr_all == nr_expected;
}
#endif /* MMKIT_IMPLEMENTATION */
