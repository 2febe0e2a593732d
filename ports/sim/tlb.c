/* SPDX-License-Identifier: MIT
 *
 * ports/sim/tlb.c: a translation cache that never forgets by itself
 */
#include "tlb.h"

#include "sim_internal.h"

#include <stdlib.h>

/* [S] one for each table entry that some cached translation was made through */
struct way {
	struct way *next;
	uint64_t entry_pa;
	uint64_t fixed;
	uint64_t nr_users;
};

#define NR_WAY_BUCKETS 4096u

/* Guards: [I] immutable after boot  [S] this mutex */
static struct {
	pthread_mutex_t mutex;
	struct sim_reach *reach; /* [I] one for each 4 KiB of RAM */
	uint64_t nr_reach;       /* [I] */
	struct way *ways[NR_WAY_BUCKETS]; /* [S] */
} shared = { .mutex = PTHREAD_MUTEX_INITIALIZER };

static void *
zalloc(size_t nr, size_t bytes)
{
	void *ptr = calloc(nr, bytes);

	if (ptr == NULL)
		sim_panic("sim: the host is out of memory");
	return ptr;
}

/* Knuth's multiplicative hash; the upper bits are the good ones. */
static size_t
hash(uint64_t key)
{
	return (size_t)((key * UINT64_C(0x9e3779b97f4a7c15)) >> 32);
}

void
sim_tlb_shared_boot(uint64_t ram_bytes)
{
	shared.nr_reach = ram_bytes >> SIM_GRAIN_SHIFT;
	shared.reach = (struct sim_reach *)zalloc((size_t)shared.nr_reach,
	    sizeof *shared.reach);
}

/* pre: all TLBs are empty. */
void
sim_tlb_shared_drop(void)
{
	free(shared.reach);
	shared.reach = NULL;
	shared.nr_reach = 0;
}

struct sim_reach *
sim_reach_of(uint64_t pa)
{
	uint64_t idx = (pa - sim_ram.base_pa) >> SIM_GRAIN_SHIFT;

	return idx < shared.nr_reach ? &shared.reach[idx] : NULL;
}

static struct way **
way_at(uint64_t entry_pa)
{
	struct way **link =
	    &shared.ways[hash(entry_pa >> 3) & (NR_WAY_BUCKETS - 1)];

	while (*link != NULL && (*link)->entry_pa != entry_pa)
		link = &(*link)->next;
	return link;
}

static void
use_way(uint64_t entry_pa, uint64_t fixed)
{
	struct way **link, *way;

	pthread_mutex_lock(&shared.mutex);
	link = way_at(entry_pa);
	if (*link == NULL) {
		way = (struct way *)zalloc(1, sizeof *way);
		way->entry_pa = entry_pa;
		*link = way;
	}
	(*link)->fixed = fixed;
	(*link)->nr_users++;
	pthread_mutex_unlock(&shared.mutex);
}

static void
unuse_way(uint64_t entry_pa)
{
	struct way **link, *way;

	pthread_mutex_lock(&shared.mutex);
	link = way_at(entry_pa);
	way = *link;
	if (way != NULL && --way->nr_users == 0) {
		*link = way->next;
		free(way);
	}
	pthread_mutex_unlock(&shared.mutex);
}

bool
sim_is_cached_otherwise(uint64_t pa, uint64_t fixed, uint64_t *cached_out)
{
	bool is_other;
	struct way *way;

	pthread_mutex_lock(&shared.mutex);
	way = *way_at(pa);
	is_other = way != NULL && way->fixed != fixed;
	if (is_other)
		*cached_out = way->fixed;
	pthread_mutex_unlock(&shared.mutex);
	return is_other;
}

/* Count a translation in (1) or out (-1) wherever it reaches. */
static void
count_reach(const struct sim_tlb_entry *entry, int step)
{
	uint64_t page_bytes = (uint64_t)1 << entry->page_shift;

	for (uint64_t i = 0; i < page_bytes; i += SIM_GRAIN_BYTES) {
		struct sim_reach *reach = sim_reach_of(entry->pa + i);

		if (reach != NULL)
			__atomic_add_fetch(&reach->nr_pages, (uint32_t)step,
			    __ATOMIC_SEQ_CST);
	}
	for (unsigned i = 0; i < entry->nr_entries; i++) {
		struct sim_reach *reach = sim_reach_of(entry->entry_pas[i]);

		if (reach != NULL)
			__atomic_add_fetch(&reach->nr_tables, (uint32_t)step,
			    __ATOMIC_SEQ_CST);
	}
}

static struct sim_tlb_entry **
bucket_of(const struct sim_tlb *tlb, uint64_t space, uint64_t va)
{
	return &tlb->buckets[hash((va >> SIM_GRAIN_SHIFT) ^ space << 20) &
	    (tlb->nr_buckets - 1)];
}

static struct sim_tlb_entry *
lookup_exactly(const struct sim_tlb *tlb, uint64_t space, uint64_t va,
    unsigned page_shift)
{
	struct sim_tlb_entry *entry = *bucket_of(tlb, space, va);

	while (entry != NULL &&
	    (entry->space != space || entry->va != va ||
	        entry->page_shift != page_shift))
		entry = entry->next;
	return entry;
}

struct sim_tlb_entry *
sim_tlb_lookup(const struct sim_tlb *tlb, uint64_t space, uint64_t va)
{
	if (tlb->nr_entries == 0)
		return NULL;
	for (uint64_t left = tlb->shifts; left != 0; left &= left - 1) {
		unsigned shift = (unsigned)__builtin_ctzll(left);
		uint64_t start_va = va >> shift << shift;
		struct sim_tlb_entry *entry =
		    lookup_exactly(tlb, space, start_va, shift);

		if (entry == NULL)
			entry = lookup_exactly(tlb, SIM_ALL_SPACES, start_va,
			    shift);
		if (entry != NULL)
			return entry;
	}
	return NULL;
}

static void
grow(struct sim_tlb *tlb)
{
	struct sim_tlb bigger = *tlb;

	bigger.nr_buckets = tlb->nr_buckets == 0 ? 64 : tlb->nr_buckets * 2;
	bigger.buckets = (struct sim_tlb_entry **)zalloc(bigger.nr_buckets,
	    sizeof *bigger.buckets);
	for (size_t i = 0; i < tlb->nr_buckets; i++) {
		struct sim_tlb_entry *entry = tlb->buckets[i], *after;

		for (; entry != NULL; entry = after) {
			struct sim_tlb_entry **bucket =
			    bucket_of(&bigger, entry->space, entry->va);

			after = entry->next;
			entry->next = *bucket;
			*bucket = entry;
		}
	}
	free(tlb->buckets);
	tlb->buckets = bigger.buckets;
	tlb->nr_buckets = bigger.nr_buckets;
}

void
sim_tlb_insert(struct sim_tlb *tlb, uint64_t space, uint64_t va,
    const struct sim_walk *walk)
{
	uint64_t inside = ((uint64_t)1 << walk->page_shift) - 1;
	struct sim_tlb_entry *entry, **bucket;

	if (tlb->nr_entries >= tlb->nr_buckets)
		grow(tlb);
	entry = (struct sim_tlb_entry *)zalloc(1, sizeof *entry);
	entry->space = walk->is_global ? SIM_ALL_SPACES : space;
	entry->va = va & ~inside;
	entry->pa = walk->pa & ~inside;
	entry->page_shift = walk->page_shift;
	entry->rights[0] = walk->rights[0];
	entry->rights[1] = walk->rights[1];
	entry->is_dirty = walk->is_dirty;
	entry->nr_entries = walk->nr_entries;
	for (unsigned i = 0; i < walk->nr_entries; i++) {
		entry->entry_pas[i] = walk->entry_pas[i];
		use_way(walk->entry_pas[i], walk->fixed[i]);
	}
	count_reach(entry, 1);
	bucket = bucket_of(tlb, entry->space, entry->va);
	entry->next = *bucket;
	*bucket = entry;
	tlb->nr_entries++;
	tlb->shifts |= (uint64_t)1 << walk->page_shift;
}

void
sim_tlb_remove(struct sim_tlb *tlb, struct sim_tlb_entry *entry)
{
	struct sim_tlb_entry **link = bucket_of(tlb, entry->space, entry->va);

	while (*link != entry)
		link = &(*link)->next;
	*link = entry->next;
	tlb->nr_entries--;
	count_reach(entry, -1);
	for (unsigned i = 0; i < entry->nr_entries; i++)
		unuse_way(entry->entry_pas[i]);
	free(entry);
}

static bool
is_in_range(const struct sim_tlb_entry *entry, uint64_t space,
    uint64_t start_va, uint64_t last_va)
{
	uint64_t inside = ((uint64_t)1 << entry->page_shift) - 1;

	return (entry->space == space || entry->space == SIM_ALL_SPACES) &&
	    entry->va <= last_va && (entry->va | inside) >= start_va;
}

static void
scan_and_remove(struct sim_tlb *tlb, uint64_t space, uint64_t start_va,
    uint64_t last_va)
{
	for (size_t i = 0; i < tlb->nr_buckets; i++) {
		struct sim_tlb_entry *entry = tlb->buckets[i], *after;

		for (; entry != NULL; entry = after) {
			after = entry->next;
			if (is_in_range(entry, space, start_va, last_va))
				sim_tlb_remove(tlb, entry);
		}
	}
}

void
sim_tlb_remove_range(struct sim_tlb *tlb, uint64_t space, uint64_t start_va,
    uint64_t last_va)
{
	uint64_t nr_more = (last_va - start_va) >> SIM_GRAIN_SHIFT;
	uint64_t va = start_va & ~(SIM_GRAIN_BYTES - 1);

	if (tlb->nr_entries == 0)
		return;
	if (nr_more >= tlb->nr_buckets) {
		scan_and_remove(tlb, space, start_va, last_va);
		return;
	}
	for (;; va += SIM_GRAIN_BYTES) {
		struct sim_tlb_entry *entry;

		while ((entry = sim_tlb_lookup(tlb, space, va)) != NULL)
			sim_tlb_remove(tlb, entry);
		if (last_va - va < SIM_GRAIN_BYTES)
			return;
	}
}

void
sim_tlb_remove_all(struct sim_tlb *tlb)
{
	for (size_t i = 0; i < tlb->nr_buckets; i++)
		while (tlb->buckets[i] != NULL)
			sim_tlb_remove(tlb, tlb->buckets[i]);
	free(tlb->buckets);
	tlb->buckets = NULL;
	tlb->nr_buckets = 0;
	tlb->shifts = 0;
}

static bool
leads_to(const struct sim_tlb_entry *entry, uint64_t pa)
{
	return pa - entry->pa < (uint64_t)1 << entry->page_shift;
}

static bool
is_made_through(const struct sim_tlb_entry *entry, uint64_t pa)
{
	for (unsigned i = 0; i < entry->nr_entries; i++)
		if (entry->entry_pas[i] - pa < SIM_GRAIN_BYTES)
			return true;
	return false;
}

static const struct sim_tlb_entry *
find(struct sim_tlb *tlb, bool (*is_it)(const struct sim_tlb_entry *,
    uint64_t), uint64_t pa, uint64_t space, bool dooms)
{
	const struct sim_tlb_entry *found = NULL;

	for (size_t i = 0; i < tlb->nr_buckets; i++) {
		struct sim_tlb_entry *entry = tlb->buckets[i];

		for (; entry != NULL; entry = entry->next) {
			if (!is_it(entry, pa))
				continue;
			if (!dooms || entry->space == space ||
			    entry->space == SIM_ALL_SPACES)
				found = entry;
			else
				entry->is_doomed = true;
		}
	}
	return found;
}

const struct sim_tlb_entry *
sim_tlb_find_page(struct sim_tlb *tlb, uint64_t pa, uint64_t space,
    bool dooms)
{
	return find(tlb, leads_to, pa, space, dooms);
}

const struct sim_tlb_entry *
sim_tlb_find_table(struct sim_tlb *tlb, uint64_t pa, uint64_t space,
    bool dooms)
{
	return find(tlb, is_made_through, pa, space, dooms);
}

const struct sim_tlb_entry *
sim_tlb_find_doomed(const struct sim_tlb *tlb, uint64_t space)
{
	for (size_t i = 0; i < tlb->nr_buckets; i++) {
		const struct sim_tlb_entry *entry = tlb->buckets[i];

		for (; entry != NULL; entry = entry->next)
			if (entry->space == space && entry->is_doomed)
				return entry;
	}
	return NULL;
}
