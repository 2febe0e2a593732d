/* SPDX-License-Identifier: MIT */
/* Harness overhead: hands out 0,1,2,... with only a counter; any order; single
 * thread. */
#include "fa.h"
#define FA_NAME "null(harness)"
#define FA_MAX_ORDER 10
#define FA_MT 0
static size_t nl_used, nl_n;
static int64_t nl_next;
static void
fa_init(size_t n, int cores)
{
	(void)cores;
	nl_n = n;
	nl_used = 0;
	nl_next = 0;
}
static void
fa_fini(void)
{
}
static inline int64_t
fa_alloc(int core, unsigned o)
{
	(void)core;
	if (nl_used + (1u << o) > nl_n)
		return -1;
	nl_used += 1u << o;
	return nl_next++;
}
static inline void
fa_free(int core, int64_t f, unsigned o)
{
	(void)core;
	USE(f);
	nl_used -= 1u << o;
}
static size_t
fa_meta_bytes(void)
{
	return 0;
}
static void
fa_drain(void)
{
}
