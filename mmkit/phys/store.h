/* SPDX-License-Identifier: MIT
 *
 * mmkit/phys/store.h: where free frames are kept, and how many are not
 *
 * WHAT    Three zones a node, DMA and LOW below an address limit each, and NORMAL
 *         above; each of them may be empty. And for each
 *         CPU small arrays of free blocks of the home zone, the highest one
 *         there is: one array for each order up to 4 and one of superpages.
 *         Blocks move between an array and the zone in batches; everything
 *         else goes straight to a zone. The same
 *         per-CPU structures count what is out, by use, so that counting needs
 *         no common cache line.
 *
 *         A cached page is free but cannot merge. When an allocation would
 *         fail, the caller drains all caches and tries again.
 *
 *         With MMKIT_CPU_ENTER nothing of a CPU's is locked, and only that CPU
 *         can empty its caches. Others leave a request, by setting its limit
 *         to 0, which it honours the next time it frees something or finds its
 *         array empty. So an allocation may fail although other CPUs have up
 *         to MMK_CACHE_PAGES_MAX pages each: ask again later. Without MMKIT_CPU_ENTER a lock per CPU is taken, and
 *         draining is complete when it returns.
 *
 * LAYER   phys. Includes buddy.h. Knows no references.
 * LOCKS   cpus[i].lock (MMK_RANK_CPU_CACHE; not with MMKIT_CPU_ENTER), then
 *         zones[z].lock (MMK_RANK_ZONE). Nothing waits.
 * COST    one page: no atomic operation at all with MMKIT_CPU_ENTER, and one
 *         zone lock in every MMK_CACHE_BATCH pages. A block: the zone's lock,
 *         O(MMK_MAX_ORDER). About 16 KiB, and 1.5 KiB a CPU.
 * SOURCE  Bonwick and Adams, USENIX 2001 (magazines): one array a CPU that is
 *         filled and emptied by halves.
 *
 * I1      the arrays' pages are all of their zone, and of no frame
 * I2      sum over CPUs of used[u] == pages out with use u
 *                                                all tested by: mmk_phys_check
 */
#ifndef MMKIT_PHYS_STORE_H
#define MMKIT_PHYS_STORE_H

#include "buddy.h"

MMK_BEGIN_DECLS

/*
 * The arrays of a CPU, one for each order, so that nothing branches on the
 * order. Above MMK_CACHE_ORDERS they have no room, but for superpages.
 * MMK_CACHE_MAX is the most single pages, MMK_CACHE_PAGES_MAX the most pages in
 * all. A batch, half of what an array may hold, moves at once.
 */
#define MMK_CACHE_ORDERS 5u
#define MMK_CACHE_MAX 128u
#define MMK_CACHE_BATCH (MMK_CACHE_MAX / 2)
#define MMK_CACHE_ZEROES 64u /* single pages that are known to be zero */
#define MMK_CACHE_SLOTS \
	(MMK_CACHE_MAX + 32u + 16u + 8u + 4u + 2u + MMK_CACHE_ZEROES)
#define MMK_CACHE_PAGES_MAX                    \
	(MMK_CACHE_MAX + 4 * 64u + MMK_CACHE_ZEROES + \
	    ((uint64_t)2 << MMK_SUPERPAGE_ORDER))
/* An array for each order, and that of the zeroes. */
#define MMK_ARRAY_ZERO MMK_NR_ORDERS
#define MMK_NR_ARRAYS (MMK_NR_ORDERS + 1)

enum mmk_zone { MMK_ZONE_DMA, MMK_ZONE_LOW, MMK_ZONE_NORMAL, MMK_ZONE_MAX };
#define MMK_NR_ZONES ((unsigned)MMK_ZONE_MAX * MMKIT_NODE_MAX)
#define MMK_NODE_ANY (~0u) /* the nearest to the CPU that has something */

/* What mmk_store_take is asked for. */
struct mmk_store_request {
	unsigned order;
	enum mmk_zone top; /* higher ones will not do */
	bool may_dip;      /* the reserve is for this request */
	bool is_exact;     /* other nodes will not do */
	unsigned node;     /* preferred; MMK_NODE_ANY: that of the CPU */
	enum mmk_use use;
};

/*
 * Guards: [I] immutable after init  [a] atomic
 *         [C] the CPU's, see mmk__cpu_enter  [c] the same; others read it
 */
struct mmk_store_array {
	uint32_t *first; /* [I] its first slot */
	uint32_t *next;  /* [c] first slot not in use */
	uint32_t *limit; /* [a] `next` stays below; `first`: a drain is due */
	uint32_t max;    /* [I] blocks it may have */
};

struct mmk_store_cpu {
	MMKIT_LOCK_T lock; /* unused with MMKIT_CPU_ENTER */
	struct mmk_store_array arrays[MMK_NR_ARRAYS];
	uint64_t used[MMK_USE_MAX]; /* [c] taken less given here, modulo 2^64 */
	int64_t high; /* [c] the most pages taken less given since a fold */
	int64_t room; /* [c] by how much they are fewer now: so a page that
	               * comes or goes changes one number, not two */
	uint32_t slots[MMK_CACHE_SLOTS]; /* [C] descriptors, by index; of an
	                                  * array the last one leaves first */
#if MMKIT_NODE_MAX > 1
	unsigned home; /* [I] the zone its arrays are of */
#endif
	uint64_t apart[8]; /* no two CPUs write one cache line */
};

/* Guards: [I] immutable after init  [a] atomic */
struct mmk_store {
	const struct mmk_frame_table *table; /* [I] */
	struct mmk_frame *frames;            /* [I] of the table */
	mmk_pfn dma_pfn;     /* [I] zone DMA is below */
	mmk_pfn low_pfn;     /* [I] zone LOW is below */
	uint64_t reserve_pages; /* [I] free ones that stay in the zones */
	uint64_t nr_pages;   /* [I] that were added */
	uint32_t home;       /* [I] the highest zone with RAM: with one node */
	uint32_t home_index; /* [I] descriptors from here on are of that zone */
	int64_t nr_folded; /* [a] pages out, but for the CPUs' */
	int64_t peak;      /* [a] the most nr_folded + a CPU's high has been */
#if MMKIT_NODE_MAX > 1
	uint8_t fallback[MMKIT_NODE_MAX][MMKIT_NODE_MAX]; /* [I] nearest first */
	uint64_t node_pages[MMKIT_NODE_MAX]; /* [I] given to its zones */
#endif
	struct mmk_buddy zones[MMK_NR_ZONES]; /* those of a node together */
	struct mmk_store_cpu cpus[MMKIT_CPU_MAX];
};

/*
 * Nothing free, nothing out. Zone LOW begins at dma_pfn and NORMAL at low_pfn:
 * they are rounded down to a granule. pre: dma_pfn <= low_pfn.
 */
MMK_API void mmk_store_init(struct mmk_store *store,
    const struct mmk_frame_table *table, const struct mmk_frame_plan *plan,
    mmk_pfn dma_pfn, mmk_pfn low_pfn);

/*
 * mmk_store_set_distance: node_distance[a * MMKIT_NODE_MAX + b] tells how far b
 * is from a; NULL: as far as their numbers are apart. Of two as far the lower
 * one comes first, and a node itself before all. pre: before anything is added.
 */
MMK_API void mmk_store_set_distance(struct mmk_store *store,
    const uint8_t *node_distance);

/*
 * The pages [start_pfn, end_pfn) of a node become free. pre: RAM that nobody
 * uses; of a granule all pages are of one node.
 */
MMK_API void mmk_store_add_run(struct mmk_store *store, mmk_pfn start_pfn,
    mmk_pfn end_pfn, unsigned node);

/* All has been added: each CPU learns where its home is. */
MMK_API void mmk_store_open(struct mmk_store *store);

/*
 * mmk_store_take: the head of 2^order pages, counted under `use`, or NULL. Nodes
 * are tried nearest first, and in each the zones from the highest down.
 *
 * pre      order <= MMK_MAX_ORDER; node < MMKIT_NODE_MAX or MMK_NODE_ANY.
 * out      `order` is set; flags and all else are for the caller to set.
 */
MMK_API struct mmk_frame *mmk_store_take(struct mmk_store *store,
    const struct mmk_store_request *request);

/* Take a block back that was counted under frame->use. */
MMK_API void mmk_store_give(struct mmk_store *store, struct mmk_frame *frame);

/*
 * The same for single pages that are zero: each CPU keeps a few. NULL, false: it
 * has none, or no room; nothing changed.
 */
MMK_API struct mmk_frame *mmk_store_take_zero(struct mmk_store *store,
    enum mmk_use use);
MMK_API bool mmk_store_give_zero(struct mmk_store *store,
    struct mmk_frame *frame);

/* This CPU has room for more: a hint, before one is cleared. */
MMK_API bool mmk_store_wants_zeroes(struct mmk_store *store);

/* Count nr_pages more (or less) under `use`. */
MMK_API void mmk_store_account(struct mmk_store *store, unsigned use,
    int64_t nr_pages);

/* Empty every CPU's cache into the zones; see above for MMKIT_CPU_ENTER. */
MMK_API void mmk_store_drain(struct mmk_store *store);

/* The most pages that were ever out: exact on one CPU. */
MMK_API uint64_t mmk_store_peak(const struct mmk_store *store);

/* How many pages the CPUs keep. */
MMK_API uint64_t mmk_store_nr_cached(const struct mmk_store *store);

/* The zone that guards the page's free block. pre: RAM that we manage. */
static inline struct mmk_buddy *
mmk_store_buddy_of(struct mmk_store *store, mmk_pfn pfn)
{
#if MMKIT_NODE_MAX > 1
	return &store->zones[mmk_frame_table_zone(store->table, pfn)];
#else
	return &store->zones[pfn < store->dma_pfn ? MMK_ZONE_DMA
	        : pfn < store->low_pfn            ? MMK_ZONE_LOW
	                                          : MMK_ZONE_NORMAL];
#endif
}

/* Free pages in the zones: without those that the CPUs keep. */
static inline uint64_t
mmk_store_nr_free(const struct mmk_store *store)
{
	uint64_t nr_pages = 0;

	for (unsigned z = 0; z < MMK_NR_ZONES; z++)
		nr_pages += MMKIT_ATOMIC_LOAD(&store->zones[z].nr_free_pages);
	return nr_pages;
}

/* Pages that were added to the zones of a node. */
static inline uint64_t
mmk_store_node_pages(const struct mmk_store *store, unsigned node)
{
#if MMKIT_NODE_MAX > 1
	return store->node_pages[node];
#else
	(void)node;
	return store->nr_pages;
#endif
}

MMK_END_DECLS
#endif /* MMKIT_PHYS_STORE_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_PHYS_STORE_IMPL)
#define MMKIT_PHYS_STORE_IMPL

MMK_PRIVATE void
mmk__cpu_init(struct mmk_store_cpu *cpu)
{
	static const uint8_t max[MMK_CACHE_ORDERS] = { MMK_CACHE_MAX, 32, 16, 8,
		4 };
	uint32_t *first = cpu->slots;

	for (unsigned i = 0; i < MMK_NR_ARRAYS; i++) {
		struct mmk_store_array *array = &cpu->arrays[i];

		array->first = array->next = first;
		if (i < MMK_CACHE_ORDERS)
			array->max = max[i];
		else if (i == MMK_SUPERPAGE_ORDER)
			array->max = 2;
		else if (i == MMK_ARRAY_ZERO)
			array->max = MMK_CACHE_ZEROES;
		array->limit = first += array->max;
	}
	MMK_ASSERT(first <= cpu->slots + MMK_CACHE_SLOTS);
}

MMK_PRIVATE mmk_pfn
mmk__store_clip(const struct mmk_frame_plan *plan, mmk_pfn pfn)
{
	return mmk_min(mmk_max(pfn, plan->first_pfn), plan->end_pfn);
}

MMK_API void
mmk_store_init(struct mmk_store *store, const struct mmk_frame_table *table,
    const struct mmk_frame_plan *plan, mmk_pfn dma_pfn, mmk_pfn low_pfn)
{
	static const char *const names[MMK_ZONE_MAX] = { "mmk zone dma",
		"mmk zone low", "mmk zone normal" };
	mmk_pfn limits[MMK_ZONE_MAX + 1];

	(void)MMKIT_MEMSET(store, 0, sizeof(*store));
	store->table = table;
	store->frames = table->frames;
	store->dma_pfn = mmk_round_down(dma_pfn, MMK_GRANULE_PAGES);
	store->low_pfn = mmk_round_down(low_pfn, MMK_GRANULE_PAGES);
	limits[MMK_ZONE_DMA] = plan->first_pfn;
	limits[MMK_ZONE_LOW] = mmk__store_clip(plan, store->dma_pfn);
	limits[MMK_ZONE_NORMAL] = mmk__store_clip(plan, store->low_pfn);
	limits[MMK_ZONE_MAX] = plan->end_pfn;
	for (unsigned z = 0; z < MMK_NR_ZONES; z++) {
		unsigned kind = z % MMK_ZONE_MAX;

		mmk_buddy_init(&store->zones[z], table, z, limits[kind],
		    limits[kind + 1], names[kind]);
	}
	for (unsigned i = 0; i < MMKIT_CPU_MAX; i++) {
		MMKIT_LOCK_INIT(&store->cpus[i].lock, "mmk cpu cache",
		    MMK_RANK_CPU_CACHE);
		mmk__cpu_init(&store->cpus[i]);
	}
}

#if MMKIT_NODE_MAX > 1
/* Seen from `from`, a comes before b. */
MMK_PRIVATE bool
mmk__node_is_nearer(const uint8_t *node_distance, unsigned from, unsigned a,
    unsigned b)
{
	unsigned to_a = a > from ? a - from : from - a;
	unsigned to_b = b > from ? b - from : from - b;

	if (node_distance != NULL) {
		to_a = node_distance[from * MMKIT_NODE_MAX + a];
		to_b = node_distance[from * MMKIT_NODE_MAX + b];
	}
	if (a == from || b == from)
		return a == from;
	return to_a < to_b || (to_a == to_b && a < b);
}
#endif

/* The part of [start_pfn, end_pfn) that lies in the zone becomes free. */
MMK_PRIVATE void
mmk__store_seed(struct mmk_buddy *zone, mmk_pfn start_pfn, mmk_pfn end_pfn)
{
	const struct mmk_section *sections = zone->table->sections;

	if (start_pfn < zone->first_pfn)
		start_pfn = zone->first_pfn;
	if (end_pfn > zone->end_pfn)
		end_pfn = zone->end_pfn;
	if (start_pfn >= end_pfn)
		return;
	mmk_buddy_give_run(zone, start_pfn, end_pfn);
	while (start_pfn < end_pfn) {
		const struct mmk_section *section =
		    &sections[(start_pfn >> MMK_SECTION_ORDER) -
		        zone->table->first_section];
		mmk_pfn stop = mmk_min(
		    (start_pfn | (MMK_SECTION_PAGES - 1)) + 1, end_pfn);

		/* What sleeps is poisoned when it wakes. */
		if (stop - start_pfn < MMK_SECTION_PAGES ||
		    (section->end_granule & MMK_SECTION_LAZY) == 0)
			MMKIT_POISON(MMKIT_PHYS_TO_PTR(mmk_pa_of_pfn(start_pfn)),
			    (size_t)mmk_bytes_of_pages(stop - start_pfn));
		start_pfn = stop;
	}
}

MMK_API void
mmk_store_add_run(struct mmk_store *store, mmk_pfn start_pfn, mmk_pfn end_pfn,
    unsigned node)
{
	MMK_ASSERT(node < MMKIT_NODE_MAX);
	for (unsigned z = 0; z < MMK_ZONE_MAX; z++)
		mmk__store_seed(&store->zones[node * MMK_ZONE_MAX + z],
		    start_pfn, end_pfn);
	store->nr_pages += end_pfn - start_pfn;
#if MMKIT_NODE_MAX > 1
	store->node_pages[node] += end_pfn - start_pfn;
#endif
}

MMK_API void
mmk_store_set_distance(struct mmk_store *store, const uint8_t *node_distance)
{
#if MMKIT_NODE_MAX > 1
	for (unsigned k = 0; k < MMKIT_NODE_MAX * MMKIT_NODE_MAX; k++) {
		unsigned from = k / MMKIT_NODE_MAX, node = k % MMKIT_NODE_MAX;
		uint8_t *order = store->fallback[from];
		unsigned at = node;

		/* Insertion: those before it are in order already. */
		for (; at > 0 && mmk__node_is_nearer(node_distance, from, node,
		                     order[at - 1]); at--)
			order[at] = order[at - 1];
		order[at] = (uint8_t)node;
	}
#else
	(void)store;
	(void)node_distance;
#endif
}

/* The zone of the node whose pages the CPUs keep; MMK_NR_ZONES: it has no RAM. */
MMK_PRIVATE unsigned
mmk__node_home(const struct mmk_store *store, unsigned node)
{
	for (unsigned z = MMK_ZONE_MAX; z-- > 0;)
		if (store->zones[node * MMK_ZONE_MAX + z].nr_free_pages != 0)
			return node * MMK_ZONE_MAX + z;
	return MMK_NR_ZONES;
}

MMK_API void
mmk_store_open(struct mmk_store *store)
{
#if MMKIT_NODE_MAX > 1
	for (unsigned i = 0; i < MMKIT_CPU_COUNT(); i++) {
		unsigned node = MMKIT_CPU_NODE(i), home = MMK_NR_ZONES;

		MMK_ASSERT(node < MMKIT_NODE_MAX);
		for (unsigned k = 0; k < MMKIT_NODE_MAX &&
		     home == MMK_NR_ZONES; k++)
			home = mmk__node_home(store, store->fallback[node][k]);
		store->cpus[i].home = home == MMK_NR_ZONES ? 0 : home;
	}
#else
	unsigned home = mmk__node_home(store, 0);

	store->home = home == MMK_NR_ZONES ? 0 : home;
	store->home_index = store->zones[store->home].first_granule
	    << MMK_GRANULE_ORDER;
#endif
}

/* ---- what belongs to a CPU ----------------------------------------------- */

/* This CPU's part, and nobody else's until mmk__cpu_leave gets *state back. */
MMK_INLINE struct mmk_store_cpu *
mmk__cpu_enter(struct mmk_store *store, uintptr_t *state)
{
	struct mmk_store_cpu *cpu;
	unsigned id;

	*state = MMKIT_CPU_ENTER();
	id = MMKIT_CPU_ID();
	MMK_DEBUG_ASSERT(id < MMKIT_CPU_MAX);
	cpu = &store->cpus[id];
	MMK_OPAQUE(cpu);
	if (!MMK_CPU_IS_EXCLUSIVE)
		MMKIT_LOCK(&cpu->lock);
	return cpu;
}

MMK_INLINE void
mmk__cpu_leave(struct mmk_store_cpu *cpu, uintptr_t state)
{
	if (!MMK_CPU_IS_EXCLUSIVE)
		MMKIT_UNLOCK(&cpu->lock);
	MMKIT_CPU_LEAVE(state);
}

/* `nr_pages` more, or less, have this use. */
MMK_INLINE void
mmk__cpu_account(struct mmk_store_cpu *cpu, unsigned use, int64_t nr_pages)
{
	int64_t room = cpu->room - nr_pages;

	MMKIT_ATOMIC_STORE(&cpu->used[use],
	    cpu->used[use] + (uint64_t)nr_pages);
	if (room < 0) {
		MMKIT_ATOMIC_STORE(&cpu->high, cpu->high - room);
		room = 0;
	}
	MMKIT_ATOMIC_STORE(&cpu->room, room);
}

/*
 * Bring the CPU's balance and peak to the common count: once a batch of single
 * pages or of superpages, so that it is not about a common line too often.
 */
MMK_PRIVATE void
mmk__cpu_fold(struct mmk_store *store, struct mmk_store_cpu *cpu, unsigned i)
{
	int64_t peak = MMKIT_ATOMIC_LOAD(&store->peak), before;
	int64_t balance = cpu->high - cpu->room;

	if (i > 0 && i != MMK_SUPERPAGE_ORDER)
		return;
	before = MMKIT_ATOMIC_ADD(&store->nr_folded, balance) - balance;
	while (before + cpu->high > peak &&
	    !MMKIT_ATOMIC_CAS(&store->peak, &peak, before + cpu->high))
		MMKIT_CPU_RELAX();
	MMKIT_ATOMIC_STORE(&cpu->room, (int64_t)0);
	MMKIT_ATOMIC_STORE(&cpu->high, (int64_t)0);
}

MMK_API void
mmk_store_account(struct mmk_store *store, unsigned use, int64_t nr_pages)
{
	uintptr_t state;
	struct mmk_store_cpu *cpu = mmk__cpu_enter(store, &state);

	mmk__cpu_account(cpu, use, nr_pages);
	mmk__cpu_leave(cpu, state);
}

/* ---- the arrays ---------------------------------------------------------- */

/* Blocks in it. */
MMK_INLINE uint32_t
mmk__array_count(const struct mmk_store_array *array)
{
	return (uint32_t)(MMKIT_ATOMIC_LOAD(&array->next) - array->first);
}

MMK_INLINE bool
mmk__order_is_cached(unsigned order)
{
	return order < MMK_CACHE_ORDERS || order == MMK_SUPERPAGE_ORDER;
}

/* The zone of which the CPU keeps blocks. */
MMK_INLINE unsigned
mmk__cpu_home(const struct mmk_store *store, const struct mmk_store_cpu *cpu)
{
#if MMKIT_NODE_MAX > 1
	(void)store;
	return cpu->home;
#else
	(void)cpu;
	return store->home;
#endif
}

/* A block of that zone, by the index of its first page. */
MMK_INLINE bool
mmk__cpu_may_keep(const struct mmk_store *store,
    const struct mmk_store_cpu *cpu, uint32_t index)
{
#if MMKIT_NODE_MAX > 1
	return store->table->granules[index >> MMK_GRANULE_ORDER].zone ==
	    cpu->home;
#else
	(void)cpu;
	return index >= store->home_index;
#endif
}

/* The nr_blocks that were freed longest ago go back to the zone. */
MMK_INLINE void
mmk__cpu_spill(struct mmk_store *store, struct mmk_store_cpu *cpu, unsigned i,
    uint32_t nr_blocks)
{
	struct mmk_buddy *zone = &store->zones[mmk__cpu_home(store, cpu)];
	struct mmk_store_array *array = &cpu->arrays[i];
	uint32_t *slots = array->first;
	uint32_t nr_left = mmk__array_count(array) - nr_blocks;

	i = i == MMK_ARRAY_ZERO ? 0 : i;
	MMKIT_LOCK(&zone->lock);
	if (i == 0)
		mmk_buddy_give_pages_locked(zone, nr_blocks, slots);
	for (uint32_t k = 0; i > 0 && k < nr_blocks; k++)
		mmk_buddy_give_locked(zone, &store->frames[slots[k]], i);
	MMKIT_UNLOCK(&zone->lock);
	(void)MMKIT_MEMMOVE(slots, slots + nr_blocks,
	    nr_left * sizeof(*slots));
	MMKIT_ATOMIC_STORE(&array->next, array->first + nr_left);
	mmk__cpu_fold(store, cpu, i);
}

/* How many pages may leave the zones, without or with the reserve. */
MMK_PRIVATE uint64_t
mmk__store_spare(const struct mmk_store *store, bool may_dip)
{
	uint64_t nr_pages = mmk_store_nr_free(store);

	if (may_dip)
		return nr_pages;
	return nr_pages - mmk_min(nr_pages, store->reserve_pages);
}

/*
 * A batch from the zone into an empty array, if the zone has any. Of the
 * reserve only the one block asked for.
 */
MMK_PRIVATE void
mmk__cpu_fill(struct mmk_store *store, struct mmk_store_cpu *cpu, unsigned i,
    bool may_dip)
{
	uint64_t nr_spare = mmk__store_spare(store, false) >> i;
	struct mmk_buddy *zone = &store->zones[mmk__cpu_home(store, cpu)];
	struct mmk_store_array *array = &cpu->arrays[i];
	uint32_t *slots = array->first;
	uint32_t nr = 0, nr_wanted = array->max / 2;

	if (nr_spare < nr_wanted)
		nr_wanted = nr_spare == 0 && may_dip ? 1 : (uint32_t)nr_spare;
	if (MMKIT_ATOMIC_LOAD(&zone->nr_free_pages) == 0)
		return;
	MMKIT_LOCK(&zone->lock);
	if (i == 0)
		nr = mmk_buddy_take_pages_locked(zone, nr_wanted, slots);
	while (i > 0 && nr < nr_wanted &&
	    mmk__buddy_take(zone, i, &slots[nr]))
		nr++;
	MMKIT_UNLOCK(&zone->lock);
	MMKIT_ATOMIC_STORE(&array->next, array->first + nr);
	mmk__cpu_fold(store, cpu, i);
}

/* Everything this CPU keeps goes back to the zone. */
MMK_PRIVATE void
mmk__cpu_drain(struct mmk_store *store, struct mmk_store_cpu *cpu)
{
	for (unsigned i = 0; i < MMK_NR_ARRAYS; i++) {
		struct mmk_store_array *array = &cpu->arrays[i];

		MMKIT_ATOMIC_STORE(&array->limit, array->first + array->max);
		mmk__cpu_spill(store, cpu, i, mmk__array_count(array));
	}
}

MMK_API void
mmk_store_drain(struct mmk_store *store)
{
	uintptr_t state;
	struct mmk_store_cpu *cpu;

	if (MMK_CPU_IS_EXCLUSIVE) {
		for (unsigned k = 0; k < MMKIT_CPU_COUNT() * MMK_NR_ARRAYS;
		     k++) {
			struct mmk_store_array *array =
			    &store->cpus[k / MMK_NR_ARRAYS]
			         .arrays[k % MMK_NR_ARRAYS];

			MMKIT_ATOMIC_STORE(&array->limit, array->first);
		}
		cpu = mmk__cpu_enter(store, &state);
		mmk__cpu_drain(store, cpu);
		mmk__cpu_leave(cpu, state);
		return;
	}
	for (unsigned i = 0; i < MMKIT_CPU_COUNT(); i++) {
		cpu = &store->cpus[i];
		MMKIT_LOCK(&cpu->lock);
		mmk__cpu_drain(store, cpu);
		MMKIT_UNLOCK(&cpu->lock);
	}
}

/* ---- take ---------------------------------------------------------------- */

/* A block from this CPU's array, `order` not set; false: that is empty. */
MMK_INLINE bool
mmk__store_take_near(struct mmk_store *store, unsigned order, unsigned use,
    struct mmk_frame **frame_out)
{
	uintptr_t state;
	struct mmk_store_cpu *cpu = mmk__cpu_enter(store, &state);
	struct mmk_store_array *array = &cpu->arrays[order];
	uint32_t *next = array->next;

	if (MMK_UNLIKELY(next == array->first)) {
		mmk__cpu_leave(cpu, state);
		return false;
	}
	*frame_out = &store->frames[*--next];
	MMKIT_ATOMIC_STORE(&array->next, next);
	mmk__cpu_account(cpu, use, (int64_t)1 << order);
	mmk__cpu_leave(cpu, state);
	return true;
}

/* This CPU's array gets a batch, if it is still empty. */
MMK_PRIVATE void
mmk__store_refill(struct mmk_store *store, unsigned i, bool may_dip)
{
	uintptr_t state;
	struct mmk_store_cpu *cpu = mmk__cpu_enter(store, &state);

	if (MMK_CPU_IS_EXCLUSIVE &&
	    MMKIT_ATOMIC_LOAD(&cpu->arrays[i].limit) == cpu->arrays[i].first)
		mmk__cpu_drain(store, cpu);
	if (cpu->arrays[i].next == cpu->arrays[i].first)
		mmk__cpu_fill(store, cpu, i, may_dip);
	mmk__cpu_leave(cpu, state);
}

/* The k-th node to look in, seen from `node`. */
MMK_INLINE unsigned
mmk__node_fallback(const struct mmk_store *store, unsigned node, unsigned k)
{
#if MMKIT_NODE_MAX > 1
	return store->fallback[node][k];
#else
	(void)store;
	(void)k;
	return node;
#endif
}

MMK_PRIVATE struct mmk_frame *
mmk__store_take_from(struct mmk_store *store, unsigned z, unsigned order,
    unsigned use)
{
	struct mmk_buddy *zone = &store->zones[z];
	struct mmk_frame *frame;

	if (MMKIT_ATOMIC_LOAD(&zone->nr_free_pages) >> order == 0)
		return NULL;
	MMKIT_LOCK(&zone->lock);
	frame = mmk_buddy_take_locked(zone, order);
	MMKIT_UNLOCK(&zone->lock);
	if (frame != NULL)
		mmk_store_account(store, use, (int64_t)1 << order);
	return frame;
}

/* From the highest zone of the node that will do. */
MMK_PRIVATE struct mmk_frame *
mmk__store_take_node(struct mmk_store *store, unsigned node,
    const struct mmk_store_request *request)
{
	struct mmk_frame *frame = NULL;

	for (unsigned z = (unsigned)request->top + 1; frame == NULL && z-- > 0;)
		frame = mmk__store_take_from(store, node * MMK_ZONE_MAX + z,
		    request->order, request->use);
	return frame;
}

/* The arrays may be used: whatever this CPU keeps will do. */
MMK_PRIVATE bool
mmk__request_is_near(const struct mmk_store *store,
    const struct mmk_store_request *request)
{
	if (!mmk__order_is_cached(request->order))
		return false;
	if (MMKIT_NODE_MAX == 1)
		return (unsigned)request->top >= store->home;
	/* It may run on another CPU the next moment: only if all will do. */
	return request->top == MMK_ZONE_NORMAL && !request->is_exact &&
	    request->node == MMK_NODE_ANY;
}

/*
 * Lower zones are used before other CPUs' caches are emptied for a page of
 * NORMAL: while NORMAL is full, every allocation would have to look into all of
 * them.
 */
MMK_API struct mmk_frame *
mmk_store_take(struct mmk_store *store, const struct mmk_store_request *request)
{
	unsigned order = request->order, node = request->node;
	struct mmk_frame *frame = NULL;

	if (mmk__request_is_near(store, request)) {
		mmk__store_refill(store, order, request->may_dip);
		if (mmk__store_take_near(store, order, request->use, &frame)) {
			MMKIT_ATOMIC_STORE(&frame->order, (uint8_t)order);
			return frame;
		}
	}
	if (mmk__store_spare(store, request->may_dip) >> order == 0)
		return NULL;
	if (node == MMK_NODE_ANY)
		node = MMKIT_CPU_NODE(MMKIT_CPU_ID());
	for (unsigned k = 0; frame == NULL && k < MMKIT_NODE_MAX; k++) {
		frame = mmk__store_take_node(store,
		    mmk__node_fallback(store, node, k), request);
		if (request->is_exact)
			break;
	}
	return frame;
}

/* ---- give ---------------------------------------------------------------- */

/* This CPU's array takes a block of the home zone, if it has room. */
MMK_INLINE bool
mmk__store_give_near(struct mmk_store *store, uint32_t index, unsigned order,
    unsigned use)
{
	uintptr_t state;
	struct mmk_store_cpu *cpu = mmk__cpu_enter(store, &state);
	struct mmk_store_array *array = &cpu->arrays[order];
	uint32_t *next = array->next;
	bool has_room = next < MMKIT_ATOMIC_LOAD(&array->limit) &&
	    mmk__cpu_may_keep(store, cpu, index);

	if (MMK_LIKELY(has_room)) {
		*next = index;
		MMKIT_ATOMIC_STORE(&array->next, next + 1);
		mmk__cpu_account(cpu, use, -((int64_t)1 << order));
	}
	mmk__cpu_leave(cpu, state);
	return has_room;
}

/* This CPU's array is full, or another CPU wants what it has. */
MMK_INLINE void
mmk__store_relieve(struct mmk_store *store, unsigned i, uint32_t index)
{
	uintptr_t state;
	struct mmk_store_cpu *cpu = mmk__cpu_enter(store, &state);
	const struct mmk_store_array *array = &cpu->arrays[i];

	if (MMK_CPU_IS_EXCLUSIVE &&
	    MMKIT_ATOMIC_LOAD(&array->limit) == array->first)
		mmk__cpu_drain(store, cpu);
	else if (array->next == array->first + array->max &&
	    mmk__cpu_may_keep(store, cpu, index))
		mmk__cpu_spill(store, cpu, i, array->max / 2);
	mmk__cpu_leave(cpu, state);
}

/* A block for which the CPU has no array, or no room in it. */
MMK_PRIVATE MMK_NOINLINE void
mmk__store_give_far(struct mmk_store *store, struct mmk_frame *frame,
    uint32_t index)
{
	unsigned z = store->table->granules[index >> MMK_GRANULE_ORDER].zone;
	unsigned order = frame->order, use = frame->use;
	struct mmk_buddy *zone = &store->zones[z];

	if (mmk__order_is_cached(order)) {
		mmk__store_relieve(store, order, index);
		if (mmk__store_give_near(store, index, order, use))
			return;
	}
	/* Less before more: between the two, others see fewer, not too many. */
	mmk_store_account(store, use, -((int64_t)1 << order));
	MMKIT_LOCK(&zone->lock);
	mmk_buddy_give_locked(zone, frame, order);
	MMKIT_UNLOCK(&zone->lock);
}

/* From here on its descriptor says nothing: see buddy.h. */
MMK_INLINE void
mmk__store_give(struct mmk_store *store, struct mmk_frame *frame)
{
	uint32_t index = (uint32_t)(frame - store->frames);

	MMKIT_ATOMIC_STORE(&frame->flags, (uint16_t)0);
	if (MMK_UNLIKELY(!mmk__store_give_near(store, index, frame->order,
	        frame->use)))
		mmk__store_give_far(store, frame, index);
}

MMK_API void
mmk_store_give(struct mmk_store *store, struct mmk_frame *frame)
{
	mmk__store_give(store, frame);
}

/* ---- pages that are zero --------------------------------------------------- */

MMK_API struct mmk_frame *
mmk_store_take_zero(struct mmk_store *store, enum mmk_use use)
{
	uintptr_t state;
	struct mmk_store_cpu *cpu = mmk__cpu_enter(store, &state);
	struct mmk_store_array *array = &cpu->arrays[MMK_ARRAY_ZERO];
	struct mmk_frame *frame = NULL;

	if (array->next != array->first) {
		uint32_t *next = array->next - 1;

		frame = &store->frames[*next];
		MMKIT_ATOMIC_STORE(&array->next, next);
		mmk__cpu_account(cpu, use, 1);
	}
	mmk__cpu_leave(cpu, state);
	return frame;
}

MMK_API bool
mmk_store_wants_zeroes(struct mmk_store *store)
{
	const struct mmk_store_array *array =
	    &store->cpus[MMKIT_CPU_ID()].arrays[MMK_ARRAY_ZERO];

	return MMKIT_ATOMIC_LOAD(&array->next) <
	    MMKIT_ATOMIC_LOAD(&array->limit);
}

MMK_API bool
mmk_store_give_zero(struct mmk_store *store, struct mmk_frame *frame)
{
	uint32_t index = (uint32_t)(frame - store->frames);
	uintptr_t state;
	struct mmk_store_cpu *cpu = mmk__cpu_enter(store, &state);
	struct mmk_store_array *array = &cpu->arrays[MMK_ARRAY_ZERO];
	uint32_t *next = array->next;
	bool has_room = next < MMKIT_ATOMIC_LOAD(&array->limit) &&
	    mmk__cpu_may_keep(store, cpu, index);

	if (has_room) {
		MMKIT_ATOMIC_STORE(&frame->flags, (uint16_t)0);
		*next = index;
		MMKIT_ATOMIC_STORE(&array->next, next + 1);
		mmk__cpu_account(cpu, frame->use, -1);
	}
	mmk__cpu_leave(cpu, state);
	return has_room;
}

/* ---- numbers ------------------------------------------------------------- */

MMK_API uint64_t
mmk_store_peak(const struct mmk_store *store)
{
	int64_t folded = MMKIT_ATOMIC_LOAD(&store->nr_folded), now = folded;
	int64_t peak = MMKIT_ATOMIC_LOAD(&store->peak);

	for (unsigned i = 0; i < MMKIT_CPU_MAX; i++) {
		int64_t high = MMKIT_ATOMIC_LOAD(&store->cpus[i].high);

		now += high - MMKIT_ATOMIC_LOAD(&store->cpus[i].room);
		peak = folded + high > peak ? folded + high : peak;
	}
	return (uint64_t)(now > peak ? now : peak);
}

/* Pages that one CPU keeps. */
MMK_PRIVATE uint64_t
mmk__cpu_nr_cached(const struct mmk_store_cpu *cpu)
{
	uint64_t nr_pages = 0;

	for (unsigned i = 0; i < MMK_NR_ORDERS; i++)
		nr_pages += (uint64_t)mmk__array_count(&cpu->arrays[i]) << i;
	return nr_pages + mmk__array_count(&cpu->arrays[MMK_ARRAY_ZERO]);
}

MMK_API uint64_t
mmk_store_nr_cached(const struct mmk_store *store)
{
	uint64_t nr_pages = 0;

	for (unsigned i = 0; i < MMKIT_CPU_MAX; i++)
		nr_pages += mmk__cpu_nr_cached(&store->cpus[i]);
	return nr_pages;
}
#endif /* MMKIT_IMPLEMENTATION */
