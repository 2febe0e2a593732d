/* SPDX-License-Identifier: MIT
 *
 * tests/bench/bench.h: time, random numbers and callgrind's regions (C and C++)
 *
 * Timed: region_begin and region_end take a sample of ns an operation, report
 * prints the least and the median. Counted, with BENCH_COUNT in the environment
 * and under callgrind --collect-atstart=no: each report dumps a part whose name
 * says what it counted and how many operations.
 */
#ifndef BENCH_H
#define BENCH_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stdint.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <valgrind/callgrind.h>

typedef uint64_t u64;
typedef uint32_t u32;

static int bench_count_mode; /* 1 = running under callgrind */
static u64 bench_t0;
#define BENCH_MAXREP 64
static double bench_sample[BENCH_MAXREP];
static int bench_nsample;

static inline u64
now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC_RAW, &t);
	return (u64)t.tv_sec * 1000000000ull + (u64)t.tv_nsec;
}
static inline void
pin_cpu(int c)
{
	cpu_set_t s;
	CPU_ZERO(&s);
	CPU_SET(c, &s);
	sched_setaffinity(0, sizeof s, &s);
}
static inline u64
rng_next(u64 *s) /* splitmix64 */
{
	u64 z = (*s += 0x9e3779b97f4a7c15ull);
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}
static inline u64
rng_below(u64 *s, u64 n)
{
	return (u64)(((unsigned __int128)rng_next(s) * n) >> 64);
}

static inline void *
big_alloc(size_t n) /* zeroed, THP-backed, pre-faulted */
{
	size_t len = (n + (2u << 20) - 1) & ~(size_t)((2u << 20) - 1);
	char *p = (char *)mmap(NULL, len + (2u << 20), PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	p = (char *)(((uintptr_t)p + (2u << 20) - 1) &
	    ~(uintptr_t)((2u << 20) - 1));
	if (!getenv("BENCH_NOTHP"))
		madvise(p, len, MADV_HUGEPAGE);
	memset(p, 0, len);
	return p;
}

static inline void
region_begin(void)
{
	if (bench_count_mode) {
		CALLGRIND_ZERO_STATS;
		CALLGRIND_TOGGLE_COLLECT;
	}
	__asm__ volatile("" ::: "memory");
	bench_t0 = now_ns();
}
static inline void
region_end(u64 ops)
{
	u64 t1 = now_ns();
	__asm__ volatile("" ::: "memory");
	if (bench_count_mode)
		CALLGRIND_TOGGLE_COLLECT;
	if (bench_nsample < BENCH_MAXREP)
		bench_sample[bench_nsample++] =
		    (double)(t1 - bench_t0) / (double)(ops ? ops : 1);
}
static int
cmp_dbl(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}
/* Print one result line: peer, metric, min ns/op, median ns/op, ops of the last
 * region */
static inline void
report(const char *peer, const char *metric, u64 ops)
{
	if (bench_count_mode) {
		char nm[160];
		snprintf(nm, sizeof nm, "%s|%s|%llu", peer, metric,
		    (unsigned long long)ops);
		CALLGRIND_DUMP_STATS_AT(nm);
	} else {
		qsort(bench_sample, (size_t)bench_nsample, sizeof(double),
		    cmp_dbl);
		printf("%s\t%s\t%.2f\t%.2f\t%llu\n", peer, metric,
		    bench_sample[0], bench_sample[bench_nsample / 2],
		    (unsigned long long)ops);
		fflush(stdout);
	}
	bench_nsample = 0;
}
static inline void
report_value(const char *peer, const char *metric, double v)
{
	if (!bench_count_mode) {
		printf("%s\t%s\t%.3f\t-\t-\n", peer, metric, v);
		fflush(stdout);
	}
}
static inline void
bench_setup(void)
{
	bench_count_mode = getenv("BENCH_COUNT") != NULL;
	if (bench_count_mode)
		pin_cpu(1);
	else {
		pin_cpu(0);
		setpriority(PRIO_PROCESS, 0, -20);
	}
}
#define USE(x) __asm__ volatile("" ::"r"(x) : "memory")
#endif
