/* SPDX-License-Identifier: MIT
 *
 * ports/sim/tlb.c: a translation cache that never forgets by itself
 */
#include "tlb.h"

#include "sim_internal.h"

#include <stdlib.h>

/*
 * [S] one for each value of a table entry that something cached was made
 * through: TLBs may have read it at different times
 */
struct step {
	struct step *next;
	uint64_t entry_pa;
	uint64_t fixed;
	uint64_t nr_users;
};

#define NR_STEP_BUCKETS 4096u

/* Guards: [I] immutable after boot  [S] this mutex */
static struct {
	pthread_mutex_t mutex;
	struct sim_reach *reach; /* [I] one for each 4 KiB of RAM */
	uint64_t nr_reach;       /* [I] */
	struct step *steps[NR_STEP_BUCKETS]; /* [S] */
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

static struct step **
steps_of(uint64_t entry_pa)
{
	return &shared.steps[hash(entry_pa >> 3) & (NR_STEP_BUCKETS - 1)];
}

static struct step **
step_at(uint64_t entry_pa, uint64_t fixed)
{
	struct step **link = steps_of(entry_pa);

	while (*link != NULL &&
	    ((*link)->entry_pa != entry_pa || (*link)->fixed != fixed))
		link = &(*link)->next;
	return link;
}

static void
use_way(const struct sim_way *way)
{
	pthread_mutex_lock(&shared.mutex);
	for (unsigned i = 0; i < way->nr_entries; i++) {
		struct step **link = step_at(way->entry_pas[i], way->fixed[i]);

		if (*link == NULL) {
			*link = (struct step *)zalloc(1, sizeof **link);
			(*link)->entry_pa = way->entry_pas[i];
			(*link)->fixed = way->fixed[i];
		}
		(*link)->nr_users++;
	}
	pthread_mutex_unlock(&shared.mutex);
}

static void
unuse_way(const struct sim_way *way)
{
	pthread_mutex_lock(&shared.mutex);
	for (unsigned i = 0; i < way->nr_entries; i++) {
		struct step **link = step_at(way->entry_pas[i], way->fixed[i]);
		struct step *step = *link;

		if (step != NULL && --step->nr_users == 0) {
			*link = step->next;
			free(step);
		}
	}
	pthread_mutex_unlock(&shared.mutex);
}

bool
sim_is_cached_otherwise(uint64_t pa, uint64_t fixed, uint64_t *cached_out)
{
	const struct step *step;

	pthread_mutex_lock(&shared.mutex);
	step = *steps_of(pa);
	while (step != NULL && (step->entry_pa != pa || step->fixed == fixed))
		step = step->next;
	if (step != NULL)
		*cached_out = step->fixed;
	pthread_mutex_unlock(&shared.mutex);
	return step != NULL;
}

static void
count_table(uint64_t pa, int step)
{
	struct sim_reach *reach = sim_reach_of(pa);

	if (reach != NULL)
		__atomic_add_fetch(&reach->nr_tables, (uint32_t)step,
		    __ATOMIC_SEQ_CST);
}

/*
 * The first entry of its way whose table it needs. One of an x86_64's upper half
 * is good under every root that leads to the same table, and outlives this one
 * if it is global.
 */
static unsigned
first_needed(const struct sim_tlb_entry *entry)
{
	return sim_machine.config.arch == SIM_ARCH_X86_64 &&
	    entry->va >> 63 != 0 ? 1 : 0;
}

/* Count a translation or upper entry in (1) or out (-1) wherever it reaches. */
static void
count_reach(const struct sim_tlb_entry *entry, int step)
{
	uint64_t page_bytes = (uint64_t)1 << entry->page_shift;

	for (unsigned i = first_needed(entry); i < entry->way.nr_entries; i++)
		count_table(entry->way.entry_pas[i], step);
	if (entry->is_upper) {
		count_table(entry->pa, step);
		return;
	}
	for (uint64_t i = 0; i < page_bytes; i += SIM_GRAIN_BYTES) {
		struct sim_reach *reach = sim_reach_of(entry->pa + i);

		if (reach != NULL)
			__atomic_add_fetch(&reach->nr_pages, (uint32_t)step,
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

/* As far as the walk's entry number nr_entries. */
static void
copy_way(struct sim_way *way, const struct sim_walk *walk,
    unsigned nr_entries)
{
	way->nr_entries = nr_entries;
	for (unsigned i = 0; i < nr_entries; i++) {
		way->entry_pas[i] = walk->entry_pas[i];
		way->entries[i] = walk->entries[i];
		way->fixed[i] = walk->fixed[i];
	}
}

static void
file_entry(struct sim_tlb *tlb, struct sim_tlb_entry *entry)
{
	struct sim_tlb_entry **bucket;

	if (tlb->nr_entries >= tlb->nr_buckets)
		grow(tlb);
	bucket = bucket_of(tlb, entry->space, entry->va);
	use_way(&entry->way);
	count_reach(entry, 1);
	entry->next = *bucket;
	*bucket = entry;
	tlb->nr_entries++;
	tlb->shifts |= (uint64_t)1 << entry->page_shift;
}

void
sim_tlb_insert(struct sim_tlb *tlb, uint64_t space, uint64_t va,
    const struct sim_walk *walk)
{
	uint64_t inside = ((uint64_t)1 << walk->page_shift) - 1;
	struct sim_tlb_entry *entry =
	    (struct sim_tlb_entry *)zalloc(1, sizeof *entry);

	entry->space = walk->is_global ? SIM_ALL_SPACES : space;
	entry->va = va & ~inside;
	entry->pa = walk->pa & ~inside;
	entry->page_shift = walk->page_shift;
	entry->rights[0] = walk->rights[0];
	entry->rights[1] = walk->rights[1];
	entry->is_keyed = walk->is_keyed;
	entry->key = walk->key;
	entry->is_dirty = walk->is_dirty;
	copy_way(&entry->way, walk, walk->nr_entries);
	file_entry(tlb, entry);
}

void
sim_tlb_insert_upper(struct sim_tlb *tlb, uint64_t space, uint64_t va,
    const struct sim_walk *walk, unsigned nr_entries, unsigned span_shift)
{
	struct sim_tlb_entry *entry =
	    (struct sim_tlb_entry *)zalloc(1, sizeof *entry);

	entry->space = space;
	entry->va = va >> span_shift << span_shift;
	/* The next entry is in the table that these lead to. */
	entry->pa = walk->entry_pas[nr_entries] &
	    ~(((uint64_t)1 << MMKIT_PAGE_SHIFT) - 1);
	entry->page_shift = span_shift;
	entry->is_upper = true;
	copy_way(&entry->way, walk, nr_entries);
	entry->way.table_pa = entry->pa;
	file_entry(tlb, entry);
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
	unuse_way(&entry->way);
	free(entry);
}

static bool
is_in_range(const struct sim_tlb_entry *entry, uint64_t start_va,
    uint64_t last_va)
{
	uint64_t inside = ((uint64_t)1 << entry->page_shift) - 1;

	return entry->va <= last_va && (entry->va | inside) >= start_va;
}

void
sim_tlb_remove_anywhere(struct sim_tlb *tlb, uint64_t start_va,
    uint64_t last_va)
{
	for (size_t i = 0; i < tlb->nr_buckets; i++) {
		struct sim_tlb_entry *entry = tlb->buckets[i], *after;

		for (; entry != NULL; entry = after) {
			after = entry->next;
			if (is_in_range(entry, start_va, last_va))
				sim_tlb_remove(tlb, entry);
		}
	}
}

/* Of two spaces, which may be the same one. */
static void
scan_and_remove(struct sim_tlb *tlb, uint64_t space, uint64_t other,
    uint64_t start_va, uint64_t last_va)
{
	for (size_t i = 0; i < tlb->nr_buckets; i++) {
		struct sim_tlb_entry *entry = tlb->buckets[i], *after;

		for (; entry != NULL; entry = after) {
			after = entry->next;
			if ((entry->space == space || entry->space == other) &&
			    is_in_range(entry, start_va, last_va))
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
		scan_and_remove(tlb, space, SIM_ALL_SPACES, start_va, last_va);
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
sim_tlb_remove_space(struct sim_tlb *tlb, uint64_t space)
{
	scan_and_remove(tlb, space, space, 0, UINT64_MAX);
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
	for (unsigned i = first_needed(entry); i < entry->way.nr_entries; i++)
		if (entry->way.entry_pas[i] - pa < SIM_GRAIN_BYTES)
			return true;
	return entry->is_upper && entry->pa - pa < SIM_GRAIN_BYTES;
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
