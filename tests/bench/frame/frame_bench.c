/* SPDX-License-Identifier: MIT
 *
 * tests/bench/frame/frame_bench.c: what a frame allocator is asked to do
 *
 * Usage: frame_bench [MiB]. The allocator is one header, -include fa_NAME.h: see
 * fa.h. A line for each figure: peer, name, least and median ns an operation,
 * or a value. With BENCH_COUNT in the environment callgrind counts instead.
 */
#include "fa.h"
#include <pthread.h>
#include <stdatomic.h>

#define REPS_MAX 9
#define SEED 42u

struct block {
	u32 frame;
	u32 order;
};

static size_t nr_frames;
static int reps = REPS_MAX;
static int64_t *held;
static struct block *live;
static size_t nr_live;
static size_t nr_used;

static void
shuffle(int64_t *a, size_t n, u64 *s)
{
	for (size_t i = n; i > 1; i--) {
		size_t j = rng_below(s, i);
		int64_t t = a[i - 1];

		a[i - 1] = a[j];
		a[j] = t;
	}
}

/* All there is; how many. */
static size_t
fill(unsigned order)
{
	size_t n = 0;
	int64_t f;

	while ((f = fa_alloc(0, order)) >= 0)
		held[n++] = f;
	return n;
}

/* ---- speed --------------------------------------------------------------- */

static void
bench_pair(unsigned order, const char *name, u64 nr)
{
	if (bench_count_mode)
		nr = 20000;
	fa_init(nr_frames, 1);
	for (int r = 0; r < reps; r++) {
		region_begin();
		for (u64 i = 0; i < nr; i++) {
			int64_t f = fa_alloc(0, order);

			USE(f);
			fa_free(0, f, order);
		}
		region_end(nr);
	}
	report(FA_NAME, name, nr);
	fa_fini();
}

/* Everything is allocated, and freed in order or at random: times of one. */
static void
bench_bulk(int is_random, int is_freeing, const char *name)
{
	u64 s = SEED;
	size_t n = 0;

	fa_init(nr_frames, 1);
	for (int r = 0; r < reps; r++) {
		if (!is_freeing)
			region_begin();
		n = fill(0);
		if (!is_freeing)
			region_end(n);
		if (is_random)
			shuffle(held, n, &s);
		if (is_freeing)
			region_begin();
		for (size_t i = 0; i < n; i++)
			fa_free(0, held[i], 0);
		if (is_freeing)
			region_end(n);
	}
	report(FA_NAME, name, n);
	fa_fini();
}

/* Memory stays pct% full: one page at random goes, another comes. */
static void
bench_steady(unsigned pct)
{
	u64 nr = bench_count_mode ? 20000 : 300000, s = SEED;
	size_t n, nr_kept;
	char name[64];

	fa_init(nr_frames, 1);
	n = fill(0);
	shuffle(held, n, &s);
	nr_kept = n * pct / 100;
	for (size_t i = nr_kept; i < n; i++)
		fa_free(0, held[i], 0);
	for (int r = 0; r < reps; r++) {
		s = 7;
		region_begin();
		for (u64 i = 0; i < nr; i++) {
			size_t j = rng_below(&s, nr_kept);

			fa_free(0, held[j], 0);
			held[j] = fa_alloc(0, 0);
		}
		region_end(nr);
	}
	snprintf(name, sizeof(name), "steady.%u", pct);
	report(FA_NAME, name, nr);
	fa_fini();
}

/* 62 % single pages, fewer and fewer of orders 1 to 7, 2 % of order 9. */
static unsigned
pick_order(u64 random)
{
	static const unsigned char orders[64] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 3,
		3, 3, 3, 4, 4, 4, 5, 5, 6, 6, 7, 9 };

	return orders[random & 63];
}

/* `nr` steps that keep `target` pages in use; how many allocations failed. */
static u64
mix(u64 nr, size_t target, unsigned max_order, u64 *s)
{
	u64 nr_failed = 0;

	for (u64 i = 0; i < nr; i++) {
		u64 x = rng_next(s);
		int is_rare = (x >> 62) == 0;

		if (nr_live == 0 || (nr_used < target) == !is_rare) {
			unsigned order = pick_order(x);
			int64_t f;

			if (order > max_order)
				order = 0;
			f = fa_alloc(0, order);
			if (f < 0) {
				nr_failed++;
				continue;
			}
			live[nr_live].frame = (u32)f;
			live[nr_live++].order = order;
			nr_used += (size_t)1 << order;
		} else {
			size_t j = (size_t)(((unsigned __int128)(x << 2) *
						nr_live) >> 64);
			struct block b = live[j];

			live[j] = live[--nr_live];
			fa_free(0, b.frame, b.order);
			nr_used -= (size_t)1 << b.order;
		}
	}
	return nr_failed;
}

static void
bench_mixed(unsigned pct)
{
	u64 nr = bench_count_mode ? 30000 : 300000, s = 11, nr_failed;
	char name[64];

	fa_init(nr_frames, 1);
	nr_live = nr_used = 0;
	nr_failed = mix(nr_frames, nr_frames * pct / 100, 9, &s);
	for (int r = 0; r < reps; r++) {
		region_begin();
		nr_failed += mix(nr, nr_frames * pct / 100, 9, &s);
		region_end(nr);
	}
	snprintf(name, sizeof(name), "mixed.%u", pct);
	report(FA_NAME, name, nr);
	snprintf(name, sizeof(name), "failed.%u", pct);
	report_value(FA_NAME, name, 1000.0 * (double)nr_failed /
	    (double)(nr * (u64)reps + nr_frames));
	fa_fini();
}

/* ---- fragmentation: how many blocks of order 9 can still be had ---------- */

static void
report_superpages(const char *name)
{
	size_t n;

	fa_drain();
	n = 0;
	for (int64_t f; (f = fa_alloc(0, 9)) >= 0; n++)
		live[nr_live + n].frame = (u32)f;
	for (size_t i = 0; i < n; i++)
		fa_free(0, live[nr_live + i].frame, 9);
	report_value(FA_NAME, name, (double)n);
}

/* Two pages come for each that goes, until half of memory is in use. */
static void
frag_grow(void)
{
	u64 s = SEED;
	size_t n = 0;

	fa_init(nr_frames, 1);
	nr_live = 0;
	while (n < nr_frames / 2) {
		if (rng_below(&s, 3) != 0) {
			held[n++] = fa_alloc(0, 0);
		} else if (n > 0) {
			size_t j = rng_below(&s, n);

			fa_free(0, held[j], 0);
			held[j] = held[--n];
		}
	}
	report_superpages("frag.grow");
	fa_fini();
}

/* Full; half freed at random; then 100 rounds in which a tenth is replaced. */
static void
frag_churn(void)
{
	size_t n, nr_kept;
	u64 s = 99;

	fa_init(nr_frames, 1);
	nr_live = 0;
	n = fill(0);
	shuffle(held, n, &s);
	nr_kept = n / 2;
	for (size_t i = nr_kept; i < n; i++)
		fa_free(0, held[i], 0);
	for (int round = 0; round < 100; round++) {
		for (size_t i = 0; i < nr_kept / 10; i++) {
			size_t j = i + rng_below(&s, nr_kept - i);
			int64_t t = held[i];

			held[i] = held[j];
			held[j] = t;
			fa_free(0, held[i], 0);
		}
		for (size_t i = 0; i < nr_kept / 10; i++)
			held[i] = fa_alloc(0, 0);
	}
	report_superpages("frag.churn");
	fa_fini();
}

static void
frag_mixed(void)
{
	u64 s = 5;

	fa_init(nr_frames, 1);
	nr_live = nr_used = 0;
	(void)mix(8 * (u64)nr_frames, nr_frames / 2, 7, &s);
	report_superpages("frag.mixed");
	report_value(FA_NAME, "frag.mixed.ideal",
	    (double)((nr_frames - nr_used) >> 9));
	fa_fini();
}

/* ---- threads ------------------------------------------------------------- */

static atomic_int nr_ready;
static u64 ns_of[2];
static int nr_threads;

static void *
pairs(void *arg)
{
	int me = (int)(intptr_t)arg;
	u64 nr = 500000, start;

	pin_cpu(me);
	atomic_fetch_add(&nr_ready, 1);
	while (atomic_load(&nr_ready) < nr_threads)
		continue;
	start = now_ns();
	for (u64 i = 0; i < nr; i++) {
		int64_t f = fa_alloc(me, 0);

		USE(f);
		fa_free(me, f, 0);
	}
	ns_of[me] = (now_ns() - start) * 1000 / nr;
	return NULL;
}

/* The slower of the threads, each with a CPU and pairs of its own. */
static void
bench_threads(int nr, const char *name)
{
	nr_threads = nr;
	for (int r = 0; r < reps; r++) {
		pthread_t threads[2];
		u64 worst = 0;

		fa_init(nr_frames, 2);
		atomic_store(&nr_ready, 0);
		for (int i = 0; i < nr; i++)
			pthread_create(&threads[i], NULL, pairs,
			    (void *)(intptr_t)i);
		for (int i = 0; i < nr; i++) {
			pthread_join(threads[i], NULL);
			worst = ns_of[i] > worst ? ns_of[i] : worst;
		}
		bench_sample[bench_nsample++] = (double)worst / 1000;
		fa_fini();
	}
	report(FA_NAME, name, 1);
}

static void
bench_orders(void)
{
	static const unsigned pcts[] = { 10, 30, 50, 70, 90, 95 };

	bench_pair(9, "pair9", 300000);
	for (size_t i = 0; i < sizeof(pcts) / sizeof(pcts[0]); i++)
		bench_mixed(pcts[i]);
	if (bench_count_mode)
		return;
	frag_grow();
	frag_churn();
	frag_mixed();
	report_value(FA_NAME, "frag.ideal", (double)(nr_frames >> 10));
}

int
main(int argc, char **argv)
{
	static const unsigned pcts[] = { 10, 30, 50, 70, 90, 95 };

	bench_setup();
	if (bench_count_mode)
		reps = 1;
	nr_frames = (argc > 1 ? strtoul(argv[1], 0, 0) : 1024) << 8;
	held = big_alloc(nr_frames * sizeof(*held));
	live = big_alloc(nr_frames * sizeof(*live));
	fa_init(nr_frames, 2);
	report_value(FA_NAME, "bytes", (double)fa_meta_bytes() /
	    (double)nr_frames);
	fa_fini();
	bench_pair(0, "pair0", 500000);
	bench_bulk(0, 0, "bulk.alloc");
	bench_bulk(0, 1, "bulk.free");
	bench_bulk(1, 1, "bulk.free.random");
	for (size_t i = 0; i < sizeof(pcts) / sizeof(pcts[0]); i++)
		bench_steady(pcts[i]);
	if (FA_MAX_ORDER >= 9)
		bench_orders();
	if (FA_MT && !bench_count_mode) {
		bench_threads(1, "pair0.1thread");
		bench_threads(2, "pair0.2threads");
	}
	return 0;
}
