/* SPDX-License-Identifier: MIT
 *
 * tests/bench/machine.h: what the benchmarks of the floors above phys share: a
 * clock, callgrind's switch, and a machine with tables that are real bytes
 *
 * Included once, with MMKIT_IMPLEMENTATION and BENCH_NAME defined.
 */
#ifndef MMKIT_TESTS_BENCH_MACHINE_H
#define MMKIT_TESTS_BENCH_MACHINE_H

#include <mmkit/mmkit.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include <valgrind/callgrind.h>

#define PAGE MMK_PAGE_BYTES
#define RW (MMK_PROT_READ | MMK_PROT_WRITE)

unsigned char *bench_ram;

static struct mmk_phys phys;
static struct mmk_pmap_sys sys;

static inline double
now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

/* What is done between these two is what is timed, or counted. */
static inline double
begin(void)
{
	CALLGRIND_TOGGLE_COLLECT;
	return now_ns();
}

static inline double
end(double began_ns)
{
	double ns = now_ns() - began_ns;

	CALLGRIND_TOGGLE_COLLECT;
	return ns;
}

static inline void
must(enum mmk_err err)
{
	if (err != MMK_OK) {
		fprintf(stderr, BENCH_NAME ": %s\n", mmk_err_name(err));
		exit(1);
	}
}

static inline void
boot_machine(uint64_t ram_bytes)
{
	static const struct mmk_pt_shape shape = MMK_X86_64_SHAPE;
	struct mmk_phys_span span = { 0, ram_bytes };
	struct mmk_phys_config config = { .spans = &span, .nr_spans = 1 };

	bench_ram = mmap(NULL, ram_bytes, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (bench_ram == MAP_FAILED) {
		perror(BENCH_NAME ": RAM");
		exit(1);
	}
	must(mmk_phys_init(&phys, &config));
	must(mmk_pmap_sys_init(&sys, &phys, &shape));
}

#endif /* MMKIT_TESTS_BENCH_MACHINE_H */
