/* SPDX-License-Identifier: MIT */
/* libjudy JudyL: start -> slab entry {start,size,val}; floor search by
 * JudyLLast. */
#include "oc.h"
#include <Judy.h>
#define OC_NAME "JudyL"
static Pvoid_t jl;
static pool jl_p = { sizeof(oc_ent), 0, 0, 0, 0 };
static void
oc_init(void)
{
	jl = NULL;
}
static void
oc_fini(void)
{
	Word_t k = 0;
	PWord_t p;
	for (p = (PWord_t)JudyLFirst(jl, &k, PJE0); p;
	     p = (PWord_t)JudyLNext(jl, &k, PJE0))
		pool_put(&jl_p, (void *)*p);
	JudyLFreeArray(&jl, PJE0);
}
static int
oc_insert(u64 s, u64 z, u64 v)
{
	PWord_t p = (PWord_t)JudyLIns(&jl, s >> 12, PJE0);
	if (*p)
		return 0;
	oc_ent *e = pool_get(&jl_p);
	e->start = s;
	e->size = z;
	e->val = v;
	*p = (Word_t)e;
	return 1;
}
static int
oc_erase(u64 s, u64 z)
{
	(void)z;
	PWord_t p = (PWord_t)JudyLGet(jl, s >> 12, PJE0);
	if (!p)
		return 0;
	pool_put(&jl_p, (void *)*p);
	return JudyLDel(&jl, s >> 12, PJE0);
}
static inline int
oc_find(u64 a, oc_ent *o)
{
	Word_t k = a >> 12;
	PWord_t p = (PWord_t)JudyLLast(jl, &k, PJE0);
	if (!p)
		return 0;
	oc_ent *e = (oc_ent *)*p;
	if (a - e->start >= e->size)
		return 0;
	*o = *e;
	return 1;
}
static u64
oc_iterate(void)
{
	u64 x = 0;
	Word_t k = 0;
	PWord_t p;
	for (p = (PWord_t)JudyLFirst(jl, &k, PJE0); p;
	     p = (PWord_t)JudyLNext(jl, &k, PJE0)) {
		oc_ent *e = (oc_ent *)*p;
		x += e->start ^ e->val;
	}
	return x;
}
static u64
oc_gap(u64 lo, u64 z)
{
	Word_t k = lo >> 12;
	PWord_t p;
	for (p = (PWord_t)JudyLFirst(jl, &k, PJE0); p;
	     p = (PWord_t)JudyLNext(jl, &k, PJE0)) {
		oc_ent *e = (oc_ent *)*p;
		if (e->start - lo >= z)
			return lo;
		lo = e->start + e->size;
	}
	return lo;
}
static size_t
oc_bytes(void)
{
	return jl_p.live * jl_p.sz + malloc_now() - oc_malloc_base;
}
