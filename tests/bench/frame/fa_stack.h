/* SPDX-License-Identifier: MIT */
/* Bound: order-0-only LIFO array of frame numbers, no lock, single thread. */
#include "fa.h"
#define FA_NAME "stack(o0 bound)"
#define FA_MAX_ORDER 0
#define FA_MT 0
static u32 *st_f;
static size_t st_top, st_n;
static void
fa_init(size_t n, int cores)
{
	(void)cores;
	st_n = n;
	st_f = big_alloc(n * 4);
	for (size_t i = 0; i < n; i++)
		st_f[i] = (u32)(n - 1 - i);
	st_top = n;
}
static void
fa_fini(void)
{
	munmap(st_f, st_n * 4);
}
static inline int64_t
fa_alloc(int core, unsigned o)
{
	(void)core;
	(void)o;
	return st_top ? (int64_t)st_f[--st_top] : -1;
}
static inline void
fa_free(int core, int64_t f, unsigned o)
{
	(void)core;
	(void)o;
	st_f[st_top++] = (u32)f;
}
static size_t
fa_meta_bytes(void)
{
	return st_n * 4 + 8;
}
static void
fa_drain(void)
{
}
