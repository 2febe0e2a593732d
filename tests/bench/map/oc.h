/* SPDX-License-Identifier: MIT
 *
 * tests/bench/map/oc.h: the contract of an ordered container of ranges
 *
 * Entries are disjoint ranges [start, start + size), page aligned, each with 64
 * bits of its own. A peer is one header, oc_NAME.h, compiled in with -include.
 * It defines OC_NAME, perhaps OC_MAXCHURN (nothing is measured above so many
 * entries, because inserting is O(n)), and these static functions:
 *   void   oc_init(void);                             empty
 *   void   oc_fini(void);                             everything is released
 *   int    oc_insert(u64 start, u64 size, u64 val);   1: inserted
 *   int    oc_erase(u64 start, u64 size);             1: erased
 *   int    oc_find(u64 addr, oc_ent *out);            the entry that has addr
 *   u64    oc_iterate(void);       in order; the sum of (start ^ val)
 *   u64    oc_gap(u64 lo, u64 size);  lowest free range at or above lo, which
 *                                     is the end of an entry
 *   size_t oc_bytes(void);            in use, headers of allocators included
 */
#ifndef OC_H
#define OC_H
#include "../bench.h"
#include <malloc.h>
typedef struct {
	u64 start, size, val;
} oc_ent;
static size_t oc_malloc_base;
static inline size_t
malloc_now(void)
{
	struct mallinfo2 m = mallinfo2();
	return m.uordblks + m.hblkhd;
}

/* fixed-size slab with a free list, so node-based peers see kernel-slab-like
 * allocation */
typedef struct pool {
	size_t sz, live;
	void *fl;
	char *cur, *end;
} pool;
static inline void *
pool_get(pool *p)
{
	void *x = p->fl;
	p->live++;
	if (__builtin_expect(x != NULL, 1)) {
		p->fl = *(void **)x;
		return x;
	}
	if (__builtin_expect(p->cur + p->sz > p->end, 0)) {
		p->cur = (char *)big_alloc(8u << 20);
		p->end = p->cur + (8u << 20);
	}
	x = p->cur;
	p->cur += p->sz;
	return x;
}
static inline void
pool_put(pool *p, void *x)
{
	*(void **)x = p->fl;
	p->fl = x;
	p->live--;
}
#endif
