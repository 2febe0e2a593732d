/* SPDX-License-Identifier: MIT */
/* Bound: sorted parallel arrays, branchless binary search, memmove insert. */
#include "oc.h"
#define OC_NAME "sorted-array"
#define OC_MAXCHURN 100000ull
static u64 *ar_s;
static struct {
	u64 size, val;
} * ar_p;
static size_t ar_n, ar_cap;
static void
oc_init(void)
{
	ar_cap = 1100000;
	ar_n = 0;
	if (!ar_s) {
		ar_s = big_alloc(ar_cap * 8);
		ar_p = big_alloc(ar_cap * 16);
	}
}
static void
oc_fini(void)
{
	ar_n = 0;
}
static inline size_t
ar_ub(u64 a) /* number of starts <= a */
{
	const u64 *b = ar_s;
	size_t n = ar_n;
	if (!n)
		return 0;
	while (n > 1) {
		size_t h = n / 2;
		b += (b[h - 1] <= a) * h;
		n -= h;
	}
	return (size_t)(b - ar_s) + (*b <= a);
}
static int
oc_insert(u64 s, u64 z, u64 v)
{
	size_t i = ar_ub(s);
	memmove(ar_s + i + 1, ar_s + i, (ar_n - i) * 8);
	memmove(ar_p + i + 1, ar_p + i, (ar_n - i) * 16);
	ar_s[i] = s;
	ar_p[i].size = z;
	ar_p[i].val = v;
	ar_n++;
	return 1;
}
static int
oc_erase(u64 s, u64 z)
{
	(void)z;
	size_t i = ar_ub(s);
	if (!i || ar_s[--i] != s)
		return 0;
	ar_n--;
	memmove(ar_s + i, ar_s + i + 1, (ar_n - i) * 8);
	memmove(ar_p + i, ar_p + i + 1, (ar_n - i) * 16);
	return 1;
}
static inline int
oc_find(u64 a, oc_ent *e)
{
	size_t i = ar_ub(a);
	if (!i-- || a - ar_s[i] >= ar_p[i].size)
		return 0;
	e->start = ar_s[i];
	e->size = ar_p[i].size;
	e->val = ar_p[i].val;
	return 1;
}
static u64
oc_iterate(void)
{
	u64 x = 0;
	for (size_t i = 0; i < ar_n; i++)
		x += ar_s[i] ^ ar_p[i].val;
	return x;
}
static u64
oc_gap(u64 lo, u64 z)
{
	for (size_t i = ar_ub(lo);; i++) {
		if (i == ar_n || ar_s[i] - lo >= z)
			return lo;
		lo = ar_s[i] + ar_p[i].size;
	}
}
static size_t
oc_bytes(void)
{
	return ar_n * 24;
}
