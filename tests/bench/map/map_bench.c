/* SPDX-License-Identifier: MIT
 *
 * tests/bench/map/map_bench.c: what an ordered container of ranges is asked to do
 *
 * Usage: map_bench [N ...], by default some from 16 to 1000000. See oc.h.
 */
#include "oc.h"
#include <unistd.h>
#include <sys/wait.h>
#ifndef OC_MAXCHURN
#define OC_MAXCHURN (~0ull)
#endif
static int reps;
static u64 *S, *Z; /* slot start / size, 2N slots, ascending */
static u32 *occ, *emp, *ord, *pi_, *pj_;
static u64 *Q;
static u64 sink;

static void
make_slots(size_t n, u64 seed)
{
	u64 a = 0x7f0000000000ull - (n << 18), s = seed;
	for (size_t i = 0; i < 2 * n; i++) {
		u64 r = rng_next(&s);
		a += (1 + r % 15) << 12;
		if ((r >> 20) % 1024 == 0)
			a += 512u << 12;
		S[i] = a;
		Z[i] = (1 + (r >> 40) % 16) << 12;
		a += Z[i];
	}
	/* random half occupied */
	u32 *all = ord;
	for (size_t i = 0; i < 2 * n; i++)
		all[i] = (u32)i;
	for (size_t i = 2 * n; i > 1; i--) {
		size_t j = rng_below(&s, i);
		u32 t = all[i - 1];
		all[i - 1] = all[j];
		all[j] = t;
	}
	memcpy(occ, all, n * 4);
	memcpy(emp, all + n, n * 4);
}
static int
cmp_u32(const void *a, const void *b)
{
	u32 x = *(const u32 *)a, y = *(const u32 *)b;
	return (x > y) - (x < y);
}
static void
must(int ok, const char *w)
{
	if (!ok) {
		fprintf(stderr, "FAIL %s %s\n", OC_NAME, w);
		exit(1);
	}
}

static void
name_of(char *name, size_t n, const char *what)
{
	snprintf(name, 64, "%zu.%s", n, what);
}

/* Sorted indices of what is stored. */
static void
sort_stored(size_t n)
{
	memcpy(ord, occ, n * 4);
	qsort(ord, n, 4, cmp_u32);
}

/* Bytes an entry, in a fresh child, so that no allocator's cache distorts it. */
static void
bench_bytes(size_t n, int is_ascending)
{
	char name[64];
	pid_t child;

	memcpy(ord, occ, n * 4);
	if (is_ascending)
		qsort(ord, n, 4, cmp_u32);
	fflush(stdout);
	child = fork();
	if (child == 0) {
		oc_malloc_base = malloc_now();
		oc_init();
		for (size_t i = 0; i < n; i++)
			oc_insert(S[ord[i]], Z[ord[i]], ord[i]);
		name_of(name, n, is_ascending ? "bytes_asc" : "bytes_rand");
		report_value(OC_NAME, name, (double)oc_bytes() / (double)n);
		_exit(0);
	}
	waitpid(child, NULL, 0);
}

/* Built at random, and right at every edge, or nothing is measured. */
static void
build(size_t n)
{
	oc_ent e = { 0, 0, 0 };
	u64 want = 0;

	oc_malloc_base = malloc_now();
	oc_init();
	for (size_t i = 0; i < n; i++) {
		must(oc_insert(S[occ[i]], Z[occ[i]], occ[i]), "insert");
		want += S[occ[i]] ^ occ[i];
	}
	must(oc_iterate() == want, "iterate sum");
	for (size_t i = 0; i < (n < 2000 ? n : 2000); i++) {
		u32 k = occ[i], m = emp[i];

		must(oc_find(S[k], &e) && e.val == k && e.start == S[k] &&
			 e.size == Z[k],
		    "find first byte");
		must(oc_find(S[k] + Z[k] - 1, &e) && e.val == k,
		    "find last byte");
		must(!oc_find(S[m], &e), "miss");
	}
}

static void
bench_find(size_t n, u64 *s)
{
	size_t nq = bench_count_mode ? 4096 : n >= 1000000 ? 200000 : 65536;
	oc_ent e = { 0, 0, 0 };
	char name[64];

	for (size_t i = 0; i < nq; i++) {
		u32 k = occ[rng_below(s, n)];

		Q[i] = S[k] + rng_below(s, Z[k]);
	}
	for (int r = 0; r < reps; r++) {
		u64 sum = 0;

		region_begin();
		for (size_t i = 0; i < nq; i++) {
			oc_find(Q[i], &e);
			sum += e.val;
		}
		region_end(nq);
		sink += sum;
	}
	name_of(name, n, "find");
	report(OC_NAME, name, nq);
}

static void
bench_iterate(size_t n)
{
	size_t nr_walks = bench_count_mode ? 1
	    : n < 1000			   ? 2000
	    : n < 100000		   ? 50
					   : 1;
	char name[64];

	for (int r = 0; r < reps; r++) {
		region_begin();
		for (size_t k = 0; k < nr_walks; k++)
			sink += oc_iterate();
		region_end(nr_walks * n);
	}
	name_of(name, n, "iterate");
	report(OC_NAME, name, nr_walks * n);
}

/* The lowest gap of `bytes` at or above `lo`, by walking the sorted slots. */
static u64
gap_by_hand(size_t n, u64 lo, u64 bytes)
{
	size_t i = 0, end = n;

	while (i < end) {
		size_t m = (i + end) / 2;

		if (S[ord[m]] < lo)
			i = m + 1;
		else
			end = m;
	}
	for (; i < n && S[ord[i]] - lo < bytes; i++)
		lo = S[ord[i]] + Z[ord[i]];
	return lo;
}

/* First fit above a random entry, of a gap that one in 1024 is wide enough for. */
static void
bench_gap(size_t n, u64 *s)
{
	size_t nr = bench_count_mode ? 200 : n >= 100000 ? 2000 : 1000;
	u64 bytes = 256u << 12;
	char name[64];

	if (n < 1000)
		return;
	for (size_t i = 0; i < nr; i++) {
		u32 k = occ[rng_below(s, n)];

		Q[i] = S[k] + Z[k];
	}
	sort_stored(n);
	for (size_t i = 0; i < 200; i++)
		must(oc_gap(Q[i], bytes) == gap_by_hand(n, Q[i], bytes), "gap");
	for (int r = 0; r < (reps > 9 ? 9 : reps); r++) {
		region_begin();
		for (size_t i = 0; i < nr; i++)
			sink += oc_gap(Q[i], bytes);
		region_end(nr);
	}
	name_of(name, n, "gap");
	report(OC_NAME, name, nr);
}

/* Erase a random entry, insert one that is not there; ns for each of the two. */
static void
bench_churn(size_t n, u64 *s)
{
	size_t nr = bench_count_mode ? 2000 : n >= 1000000 ? 200000 : 20000;
	u64 want = 0;
	char name[64];

	if (OC_MAXCHURN != ~0ull && n > 10000)
		nr = 500;
	for (int r = 0; r < reps; r++) {
		int ok = 1;

		for (size_t i = 0; i < nr; i++) {
			pi_[i] = (u32)rng_below(s, n);
			pj_[i] = (u32)rng_below(s, n);
		}
		region_begin();
		for (size_t i = 0; i < nr; i++) {
			u32 a = occ[pi_[i]], b = emp[pj_[i]];

			ok &= oc_erase(S[a], Z[a]);
			ok &= oc_insert(S[b], Z[b], b);
			occ[pi_[i]] = b;
			emp[pj_[i]] = a;
		}
		region_end(2 * nr);
		must(ok, "churn");
	}
	name_of(name, n, "churn");
	report(OC_NAME, name, 2 * nr);
	for (size_t i = 0; i < n; i++)
		want += S[occ[i]] ^ occ[i];
	must(oc_iterate() == want, "iterate sum after churn");
}

static void
run(size_t n)
{
	u64 s = 1234;

	if (n > OC_MAXCHURN)
		return; /* inserting is O(n) */
	reps = bench_count_mode ? 1 : n >= 1000000 ? 3 : n >= 100000 ? 7 : 21;
	make_slots(n, 77);
	for (int asc = 0; asc < 2 && !bench_count_mode; asc++)
		bench_bytes(n, asc);
	build(n);
	bench_find(n, &s);
	bench_iterate(n);
	bench_gap(n, &s);
	bench_churn(n, &s);
	oc_fini();
}

int
main(int argc, char **argv)
{
	/* the tables' first; the rest for the plot */
	size_t d[] = { 16, 1000, 100000, 1000000, 64, 256, 4000, 16000 };
	size_t mx = 1000000;
	bench_setup();
	S = (u64 *)big_alloc(2 * mx * 8);
	Z = (u64 *)big_alloc(2 * mx * 8);
	Q = (u64 *)big_alloc(mx * 8);
	occ = (u32 *)big_alloc(mx * 4);
	emp = (u32 *)big_alloc(mx * 4);
	ord = (u32 *)big_alloc(2 * mx * 4);
	pi_ = (u32 *)big_alloc(mx * 4);
	pj_ = (u32 *)big_alloc(mx * 4);
	if (argc > 1)
		for (int i = 1; i < argc; i++)
			run(strtoul(argv[i], 0, 0));
	else
		for (int i = 0; i < (bench_count_mode ? 3 : 8); i++)
			run(d[i]);
	USE(sink);
	return 0;
}
