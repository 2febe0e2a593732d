/* SPDX-License-Identifier: MIT */
/* BSD sys/tree.h RB tree (libbsd 0.11.7 copy), intrusive, parent pointer + int
 * color, slab pool. */
#include "oc.h"
#ifndef __unused
#define __unused __attribute__((unused))
#endif
#include <bsd/sys/tree.h>
#define OC_NAME "bsd-rb"
struct rbn {
	RB_ENTRY(rbn) l;
	oc_ent e;
};
static inline int
rbc(const struct rbn *a, const struct rbn *b)
{
	return a->e.start + a->e.size <= b->e.start
	    ? -1
	    : a->e.start >= b->e.start + b->e.size;
}
RB_HEAD(rbt, rbn);
RB_PROTOTYPE_STATIC(rbt, rbn, l, rbc)
RB_GENERATE_STATIC(rbt, rbn, l, rbc)
static struct rbt rb_h;
static pool rb_p = { sizeof(struct rbn), 0, 0, 0, 0 };
static void
oc_init(void)
{
	RB_INIT(&rb_h);
}
static void
rb_kill(struct rbn *n)
{
	if (!n)
		return;
	rb_kill(RB_LEFT(n, l));
	rb_kill(RB_RIGHT(n, l));
	pool_put(&rb_p, n);
}
static void
oc_fini(void)
{
	rb_kill(RB_ROOT(&rb_h));
	RB_INIT(&rb_h);
}
static int
oc_insert(u64 s, u64 z, u64 v)
{
	struct rbn *n = pool_get(&rb_p);
	n->e.start = s;
	n->e.size = z;
	n->e.val = v;
	return RB_INSERT(rbt, &rb_h, n) == NULL;
}
static int
oc_erase(u64 s, u64 z)
{
	struct rbn k;
	k.e.start = s;
	k.e.size = z;
	struct rbn *n = RB_FIND(rbt, &rb_h, &k);
	if (!n)
		return 0;
	RB_REMOVE(rbt, &rb_h, n);
	pool_put(&rb_p, n);
	return 1;
}
static inline int
oc_find(u64 a, oc_ent *o)
{
	struct rbn k;
	k.e.start = a;
	k.e.size = 1;
	struct rbn *n = RB_FIND(rbt, &rb_h, &k);
	if (!n)
		return 0;
	*o = n->e;
	return 1;
}
static u64
oc_iterate(void)
{
	u64 x = 0;
	struct rbn *n;
	RB_FOREACH(n, rbt, &rb_h) x += n->e.start ^ n->e.val;
	return x;
}
static u64
oc_gap(u64 lo, u64 z)
{
	struct rbn k;
	k.e.start = lo;
	k.e.size = 1;
	for (struct rbn *n = RB_NFIND(rbt, &rb_h, &k); n;
	     n = RB_NEXT(rbt, &rb_h, n)) {
		if (n->e.start - lo >= z)
			return lo;
		lo = n->e.start + n->e.size;
	}
	return lo;
}
static size_t
oc_bytes(void)
{
	return rb_p.live * rb_p.sz;
}
