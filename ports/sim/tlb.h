/* SPDX-License-Identifier: MIT
 *
 * ports/sim/tlb.h: a translation cache that never forgets by itself
 *
 * WHAT    One TLB is a hash table without limit. So is the cache of upper
 *         entries beside it: what it has of an address are the entries from the
 *         root down to one that leads to a table, of each such level. Beside
 *         them stands what all share: for each 4 KiB of RAM how many translations
 *         lead there, or how much of either kind was made through it, and for
 *         each table entry on such a way the bits that may not change meanwhile.
 * LOCKS   the TLB's mutex is the caller's to hold; the shared part has its own
 */
#ifndef SIM_TLB_H
#define SIM_TLB_H

#include "walk.h"

#include <pthread.h>

/* The tag of translations that are good in every address space. */
#define SIM_ALL_SPACES (UINT64_MAX - 1)

/* Guards: [I] immutable once in the table  [T] the TLB's mutex */
struct sim_tlb_entry {
	struct sim_tlb_entry *next; /* [T] in the bucket */
	uint64_t space;             /* [I] the root, or SIM_ALL_SPACES */
	uint64_t va;                /* [I] start of the page */
	uint64_t pa;                /* [I] of that, or of the table */
	unsigned page_shift;        /* [I] of what the last entry spans */
	bool is_upper;              /* [I] leads to a table */
	unsigned rights[2];         /* [I] in kernel mode, in user mode */
	bool is_keyed;              /* [I] the key takes some of them */
	unsigned key;               /* [I] */
	bool is_dirty;              /* [I] stores need no walk */
	bool is_doomed;             /* [T] leads to a page that was freed */
	struct sim_way way;         /* [I] */
};

struct sim_tlb {
	pthread_mutex_t mutex;
	struct sim_tlb_entry **buckets; /* [T] */
	size_t nr_buckets;              /* [T] a power of two, or 0 */
	size_t nr_entries;              /* [T] */
	uint64_t shifts;                /* [T] bit n: pages of 2^n bytes seen */
};

void sim_tlb_shared_boot(uint64_t ram_bytes);
void sim_tlb_shared_drop(void);

struct sim_tlb_entry *sim_tlb_lookup(const struct sim_tlb *tlb,
    uint64_t space, uint64_t va);
/* pre: the walk found no fault; no entry for the same page is there. */
void sim_tlb_insert(struct sim_tlb *tlb, uint64_t space, uint64_t va,
    const struct sim_walk *walk);
/*
 * What leads to the table of the walk's entry number nr_entries, whose own
 * entry spans 2^span_shift bytes. pre: it is not there.
 */
void sim_tlb_insert_upper(struct sim_tlb *tlb, uint64_t space, uint64_t va,
    const struct sim_walk *walk, unsigned nr_entries, unsigned span_shift);
void sim_tlb_remove(struct sim_tlb *tlb, struct sim_tlb_entry *entry);
/* Those that overlap [start_va, last_va], of `space` or of all. */
void sim_tlb_remove_range(struct sim_tlb *tlb, uint64_t space,
    uint64_t start_va, uint64_t last_va);
/* The same, of whatever space. */
void sim_tlb_remove_anywhere(struct sim_tlb *tlb, uint64_t start_va,
    uint64_t last_va);
/* All of `space`, but nothing that is good in every one. */
void sim_tlb_remove_space(struct sim_tlb *tlb, uint64_t space);
void sim_tlb_remove_all(struct sim_tlb *tlb);

/*
 * Some translation that leads to, or was made through, the 4 KiB at `pa` (or
 * upper entry that leads to, or is in, a table there), and can be used in `space`. With `dooms` those of other spaces are marked, or
 * else they can be used, too.
 */
const struct sim_tlb_entry *sim_tlb_find_page(struct sim_tlb *tlb,
    uint64_t pa, uint64_t space, bool dooms);
const struct sim_tlb_entry *sim_tlb_find_table(struct sim_tlb *tlb,
    uint64_t pa, uint64_t space, bool dooms);
/* One of `space` that is doomed, or NULL. */
const struct sim_tlb_entry *sim_tlb_find_doomed(const struct sim_tlb *tlb,
    uint64_t space);

/* What all TLBs together know of the 4 KiB of RAM at `pa`. */
struct sim_reach {
	uint32_t nr_pages;  /* [a] translations into it */
	uint32_t nr_tables; /* [a] translations made through it, and upper
	                     * entries that are in it or lead to it */
	uint8_t is_free;    /* [a] poisoned as a whole */
};
/* NULL: not RAM. */
struct sim_reach *sim_reach_of(uint64_t pa);

/*
 * The entry at `pa` is cached in some TLB with other fixed bits than `fixed`:
 * true, and those in *cached_out.
 */
bool sim_is_cached_otherwise(uint64_t pa, uint64_t fixed,
    uint64_t *cached_out);

#endif /* SIM_TLB_H */
