/* SPDX-License-Identifier: MIT
 *
 * tests/bench/pool_bench.c: what a small object of mmkit's costs, beside
 * malloc's of the C library in the same run, and beside a stack of pointers,
 * which nothing can beat
 *
 * Built twice: with a lock for each CPU's cache, and with BENCH_EXCLUSIVE, that
 * is with MMKIT_CPU_ENTER and _LEAVE, which cost nothing here (on hardware they
 * disable and enable interrupts or preemption). Minima of several rounds:
 * machines are shared. Nothing here asserts anything.
 *
 * usage: pool_bench          the table
 *        pool_bench --count  under callgrind, once each: see count
 */
#define MMKIT_IMPLEMENTATION
#include <mmkit/mmkit.h>

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include <valgrind/callgrind.h>

#define ROUNDS 9
#define RAM_BYTES ((uint64_t)64 << 20)
#define ITEM_BYTES 64
#define NR_THREADS 2

unsigned char *bench_ram;
_Thread_local unsigned bench_cpu;

static struct mmk_phys phys;
static struct mmk_pool cache_pool, cached_pool, slab_pool;

enum kind { CACHED, SLABS, MALLOC, STACK };

static _Thread_local struct {
	void *items[4096];
	size_t nr;
} stack;
static char stack_items[4096][ITEM_BYTES];

static double
now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static inline __attribute__((always_inline)) void *
get(enum kind kind)
{
	void *item = NULL;

	switch (kind) {
	case CACHED:
		item = mmk_pool_alloc(&cached_pool);
		break;
	case SLABS:
		item = mmk_pool_alloc(&slab_pool);
		break;
	case MALLOC:
		item = malloc(ITEM_BYTES);
		break;
	case STACK:
		item = stack.items[--stack.nr];
		break;
	}
	__asm__ volatile("" : "+r"(item) : : "memory");
	return item;
}

static inline __attribute__((always_inline)) void
put(enum kind kind, void *item)
{
	switch (kind) {
	case CACHED:
		mmk_pool_free(&cached_pool, item);
		break;
	case SLABS:
		mmk_pool_free(&slab_pool, item);
		break;
	case MALLOC:
		free(item);
		break;
	case STACK:
		stack.items[stack.nr++] = item;
		break;
	}
	__asm__ volatile("" : : : "memory");
}

/* ---- workloads: ns for an alloc and a free -------------------------------- */

enum { PAIRS = 200000, RUN = 100, LIVE = 1000 };

static inline __attribute__((always_inline)) void
pairs(enum kind kind, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++)
		put(kind, get(kind));
}

static inline __attribute__((always_inline)) void
runs(enum kind kind, unsigned nr)
{
	void *items[RUN];

	for (unsigned i = 0; i < nr / RUN; i++) {
		for (unsigned j = 0; j < RUN; j++)
			items[j] = get(kind);
		for (unsigned j = 0; j < RUN; j++)
			put(kind, items[j]);
	}
}

static inline __attribute__((always_inline)) void
random_set(enum kind kind, unsigned nr)
{
	static _Thread_local void *live[LIVE];
	uint32_t random = 1;

	for (unsigned i = 0; i < LIVE; i++)
		live[i] = get(kind);
	for (unsigned i = 0; i < nr - LIVE; i++) {
		random = random * 1664525u + 1013904223u;
		put(kind, live[(random >> 8) % LIVE]);
		live[(random >> 8) % LIVE] = get(kind);
	}
	for (unsigned i = 0; i < LIVE; i++)
		put(kind, live[i]);
}

/* One kind's instance of a workload, so that nothing is called by pointer. */
#define INSTANCES(name, kind)                                             \
	static void name##_##kind##_nr(unsigned nr) { name(kind, nr); }
#define ALL_INSTANCES(name)                                               \
	INSTANCES(name, CACHED) INSTANCES(name, SLABS)                    \
	INSTANCES(name, MALLOC) INSTANCES(name, STACK)
ALL_INSTANCES(pairs)
ALL_INSTANCES(runs)
ALL_INSTANCES(random_set)

/* ---- one thread and two ---------------------------------------------------- */

struct job {
	void (*run)(unsigned nr);
	unsigned cpu;
	double ns;
};

static pthread_barrier_t barrier;

static void
fill_stack(void)
{
	for (stack.nr = 0; stack.nr < 4096; stack.nr++)
		stack.items[stack.nr] = stack_items[stack.nr];
}

static void *
run_job(void *arg)
{
	struct job *job = arg;

	bench_cpu = job->cpu;
	fill_stack();
	job->run(PAIRS / 10);
	pthread_barrier_wait(&barrier);
	job->ns = now_ns();
	job->run(PAIRS);
	job->ns = now_ns() - job->ns;
	return NULL;
}

static double
best(void (*run)(unsigned nr), unsigned nr_threads)
{
	double least = 1e9;

	pthread_barrier_init(&barrier, NULL, nr_threads);
	for (int round = 0; round < ROUNDS; round++) {
		struct job jobs[NR_THREADS];
		pthread_t threads[NR_THREADS];
		double most = 0;

		for (unsigned i = 0; i < nr_threads; i++) {
			jobs[i] = (struct job){ .run = run, .cpu = i };
			pthread_create(&threads[i], NULL, run_job, &jobs[i]);
		}
		for (unsigned i = 0; i < nr_threads; i++) {
			pthread_join(threads[i], NULL);
			most = jobs[i].ns > most ? jobs[i].ns : most;
		}
		least = most / PAIRS < least ? most / PAIRS : least;
	}
	pthread_barrier_destroy(&barrier);
	return least;
}

/* ---- from one CPU to the other --------------------------------------------- */

static struct {
	void *items[256];
	unsigned put, got;
} ring;

static inline __attribute__((always_inline)) void
hand_over(enum kind kind, unsigned nr)
{
	if (bench_cpu == 0) {
		for (unsigned i = 0; i < nr; i++) {
			while (i - __atomic_load_n(&ring.got,
			               __ATOMIC_ACQUIRE) >= 256)
				sched_yield();
			ring.items[i % 256] = get(kind);
			__atomic_store_n(&ring.put, i + 1, __ATOMIC_RELEASE);
		}
		while (__atomic_load_n(&ring.got, __ATOMIC_ACQUIRE) != nr)
			sched_yield();
		ring.got = 0;
		__atomic_store_n(&ring.put, 0, __ATOMIC_RELEASE);
		return;
	}
	for (unsigned i = 0; i < nr; i++) {
		while (__atomic_load_n(&ring.put, __ATOMIC_ACQUIRE) == i)
			sched_yield();
		put(kind, ring.items[i % 256]);
		__atomic_store_n(&ring.got, i + 1, __ATOMIC_RELEASE);
	}
	while (__atomic_load_n(&ring.put, __ATOMIC_ACQUIRE) != 0)
		sched_yield();
}
INSTANCES(hand_over, CACHED)
INSTANCES(hand_over, SLABS)
INSTANCES(hand_over, MALLOC)

/* ---- the table -------------------------------------------------------------- */

static const struct row {
	const char *name;
	void (*run[4])(unsigned nr);
	unsigned nr_threads;
} rows[] = {
#define ROW(name) { name##_CACHED_nr, name##_SLABS_nr, name##_MALLOC_nr, \
	name##_STACK_nr }
	{ "one item, again and again", ROW(pairs), 1 },
	{ "  on two CPUs at once", ROW(pairs), 2 },
	{ "100 items, then back", ROW(runs), 1 },
	{ "  on two CPUs at once", ROW(runs), 2 },
	{ "1000 items, any one replaced", ROW(random_set), 1 },
	{ "  on two CPUs at once", ROW(random_set), 2 },
	{ "allocated here, freed there", { hand_over_CACHED_nr,
	    hand_over_SLABS_nr, hand_over_MALLOC_nr, NULL }, 2 },
};

#define NR_ROWS (sizeof rows / sizeof rows[0])

static void
print_table(void)
{
	printf("ns for an allocation and a free, %d bytes, least of %d rounds; "
	       "%s\n\n",
	    ITEM_BYTES, ROUNDS, MMK_CPU_IS_EXCLUSIVE
	        ? "the CPU is ours" : "a lock for each CPU");
	printf("%-32s %8s %10s %8s %8s\n", "", "pool", "no caches", "malloc",
	    "stack");
	for (size_t i = 0; i < NR_ROWS; i++) {
		printf("%-32s", rows[i].name);
		for (unsigned kind = CACHED; kind <= STACK; kind++) {
			if (rows[i].run[kind] == NULL)
				continue;
			printf(kind == SLABS ? " %10.1f" : " %8.1f",
			    best(rows[i].run[kind], rows[i].nr_threads));
		}
		printf("\n");
	}
}

static void
count_rows(void)
{
	fill_stack();
	for (size_t i = 0; i < NR_ROWS; i++) {
		char name[80];

		if (rows[i].nr_threads > 1)
			continue;
		rows[i].run[CACHED](PAIRS);
		CALLGRIND_TOGGLE_COLLECT;
		rows[i].run[CACHED](PAIRS);
		CALLGRIND_TOGGLE_COLLECT;
		snprintf(name, sizeof name, "%s=%u", rows[i].name, PAIRS);
		CALLGRIND_DUMP_STATS_AT(name);
	}
}

int
main(int argc, char **argv)
{
	struct mmk_phys_span span = { 0, RAM_BYTES };
	struct mmk_phys_config config = { .spans = &span, .nr_spans = 1 };

	bench_ram = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (bench_ram == MAP_FAILED || mmk_phys_init(&phys, &config) != MMK_OK) {
		fprintf(stderr, "pool_bench: no RAM\n");
		return 1;
	}
	mmk_pool_init_caches(&cache_pool, &phys);
	mmk_pool_init(&cached_pool, &phys, "cached", ITEM_BYTES);
	mmk_pool_use_caches(&cached_pool, &cache_pool);
	mmk_pool_init(&slab_pool, &phys, "slabs", ITEM_BYTES);
	if (argc > 1 && strcmp(argv[1], "--count") == 0)
		count_rows();
	else
		print_table();
	mmk_pool_fini(&slab_pool);
	mmk_pool_fini(&cached_pool);
	mmk_pool_fini(&cache_pool);
	mmk_phys_fini(&phys);
	return 0;
}
