/* SPDX-License-Identifier: MIT
 *
 * tests/bench/frame/fa_listbuddy.h: a buddy in the shape of Linux's
 *
 * Doubly linked free lists per order through an array of 12 bytes a frame, one
 * spin lock, and with FA_PCP a cache of order 0 per core. Written for this
 * benchmark.
 */
#include "fa.h"
#include <stdatomic.h>
#ifndef FA_PCP
#define FA_PCP 0
#endif
#if FA_PCP
#define FA_NAME "listbuddy+pcp"
#else
#define FA_NAME "listbuddy"
#endif
#define FA_MAX_ORDER 10
#define FA_MT 1
#define LB_NIL 0xffffffffu
typedef struct {
	u32 next, prev;
	u32 order; /* 0x80|order when free head, else 0 */
} lb_frame;
static lb_frame *lb;
static size_t lb_n, lb_cores;
static struct {
	u32 head[FA_MAX_ORDER + 1];
} lb_a;
static _Alignas(64) atomic_flag lb_lock_ = ATOMIC_FLAG_INIT;
#if FA_PCP
static struct lb_pcp {
	u32 n;
	u32 f[FA_PCP * 6 + 2];
} __attribute__((aligned(64))) lb_pc[8];
#endif
static inline void
lb_lock(void)
{
	while (
	    atomic_flag_test_and_set_explicit(&lb_lock_, memory_order_acquire))
		__builtin_ia32_pause();
}
static inline void
lb_unlock(void)
{
	atomic_flag_clear_explicit(&lb_lock_, memory_order_release);
}
static inline void
lb_push(u32 f, unsigned o)
{
	u32 h = lb_a.head[o];
	lb[f].next = h;
	lb[f].prev = LB_NIL;
	lb[f].order = 0x80u | o;
	if (h != LB_NIL)
		lb[h].prev = f;
	lb_a.head[o] = f;
}
static inline void
lb_del(u32 f, unsigned o)
{
	u32 n = lb[f].next, p = lb[f].prev;
	if (p == LB_NIL)
		lb_a.head[o] = n;
	else
		lb[p].next = n;
	if (n != LB_NIL)
		lb[n].prev = p;
	lb[f].order = 0;
}
static inline int64_t
lb_get(unsigned o)
{
	for (unsigned k = o; k <= FA_MAX_ORDER; k++) {
		u32 f = lb_a.head[k];
		if (f == LB_NIL)
			continue;
		lb_del(f, k);
		while (k > o) {
			k--;
			lb_push(f + (1u << k), k);
		}
		return f;
	}
	return -1;
}
static inline void
lb_put(u32 f, unsigned o)
{
	while (o < FA_MAX_ORDER) {
		u32 b = f ^ (1u << o);
		if (b >= lb_n || lb[b].order != (0x80u | o))
			break;
		lb_del(b, o);
		f &= ~(1u << o);
		o++;
	}
	lb_push(f, o);
}
static void
fa_init(size_t n, int cores)
{
	lb_n = n;
	lb_cores = (size_t)cores;
	lb = big_alloc(n * sizeof *lb);
	for (unsigned i = 0; i <= FA_MAX_ORDER; i++)
		lb_a.head[i] = LB_NIL;
	for (size_t f = n; f >= (1u << FA_MAX_ORDER);) {
		f -= 1u << FA_MAX_ORDER;
		lb_push((u32)f, FA_MAX_ORDER);
	}
#if FA_PCP
	memset(lb_pc, 0, sizeof lb_pc);
#endif
}
static void
fa_fini(void)
{
	munmap(lb, lb_n * sizeof *lb);
}
static inline int64_t
fa_alloc(int core, unsigned o)
{
#if FA_PCP
	if (o == 0) {
		struct lb_pcp *p = &lb_pc[core];
		if (__builtin_expect(p->n == 0, 0)) {
			lb_lock();
			for (int i = 0; i < FA_PCP; i++) {
				int64_t f = lb_get(0);
				if (f < 0)
					break;
				p->f[p->n++] = (u32)f;
			}
			lb_unlock();
			if (!p->n)
				return -1;
			for (u32 i = 0; i < p->n / 2; i++) {
				u32 t = p->f[i];
				p->f[i] = p->f[p->n - 1 - i];
				p->f[p->n - 1 - i] = t;
			}
		}
		return p->f[--p->n];
	}
#endif
	(void)core;
	lb_lock();
	int64_t f = lb_get(o);
	lb_unlock();
	return f;
}
static inline void
fa_free(int core, int64_t f, unsigned o)
{
#if FA_PCP
	if (o == 0) {
		struct lb_pcp *p = &lb_pc[core];
		if (__builtin_expect(p->n == FA_PCP * 6,
		        0)) { /* high watermark: give back the oldest batch */
			lb_lock();
			for (u32 i = 0; i < FA_PCP; i++)
				lb_put(p->f[i], 0);
			lb_unlock();
			p->n -= FA_PCP;
			memmove(p->f, p->f + FA_PCP, p->n * sizeof(u32));
		}
		p->f[p->n++] = (u32)f;
		return;
	}
#endif
	(void)core;
	lb_lock();
	lb_put((u32)f, o);
	lb_unlock();
}
static size_t
fa_meta_bytes(void)
{
	return lb_n * sizeof *lb + sizeof lb_a + 64
#if FA_PCP
	    + lb_cores * sizeof lb_pc[0]
#endif
	    ;
}
static void
fa_drain(void)
{
#if FA_PCP
	for (size_t c = 0; c < lb_cores; c++) {
		while (lb_pc[c].n)
			lb_put(lb_pc[c].f[--lb_pc[c].n], 0);
	}
#endif
}
