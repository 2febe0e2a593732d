/* SPDX-License-Identifier: MIT
 *
 * examples/kernel/bench.c: how many instructions an operation takes
 *
 * WHAT    With `bench` on the command line, and QEMU's -icount shift=0, where a
 *         nanosecond of the machine's time is one instruction: so the figures
 *         are the same on every run and every host. tests/kernel/count runs it.
 */
#include "kernel.h"

#define N 256u /* pages */
#define RW (MMK_PROT_READ | MMK_PROT_WRITE)

static struct mmk_space space, child;
static uint64_t began;

static void
start(void)
{
	began = arch_clock_ns();
}

static void
stop(const char *what, uint64_t nr)
{
	uint64_t ns = arch_clock_ns() - began;

	kprintf("bench: %s: %lu\n", what, ns / nr);
}

static mmk_va
map(void)
{
	mmk_va va = 0;

	CHECK(mmk_mmap(&space, 0, N * PAGE, RW, MMK_PROT_ALL,
	          MMK_MAP_ANON | MMK_MAP_PRIVATE, NULL, 0, &va) == MMK_OK);
	return va;
}

static void
touch(mmk_va va, unsigned access)
{
	for (unsigned i = 0; i < N; i++)
		CHECK(mmk_fault(&space.map, va + i * PAGE, access) == MMK_OK);
}

static void
run(bool is_loud)
{
	mmk_va va = map();

	start();
	touch(va, MMK_PROT_READ);
	if (is_loud)
		stop("read fault, zero page", N);
	start();
	touch(va, MMK_PROT_WRITE);
	if (is_loud)
		stop("write fault, first touch, with clearing", N);
	start();
	CHECK(mmk_space_fork(&child, &space) == MMK_OK);
	if (is_loud)
		stop("fork, a page", N);
	start();
	mmk_space_fini(&child);
	if (is_loud)
		stop("exit of the child, a page", N);
	start();
	touch(va, MMK_PROT_WRITE);
	if (is_loud)
		stop("write fault, sole owner", N);
	start();
	CHECK(mmk_munmap(&space, va, N * PAGE) == MMK_OK);
	if (is_loud)
		stop("munmap, a page", N);
	va = map();
	start();
	CHECK(mmk_munmap(&space, va, N * PAGE) == MMK_OK);
	if (is_loud)
		stop("munmap of what was never touched", 1);
}

void
bench_run(void)
{
	unsigned cpu = arch_cpu_id();

	CHECK(mmk_space_init(&space, &kernel_vm, 0x10000, (mmk_va)1 << 46) ==
	    MMK_OK);
	mmk_pmap_activate(&space.map.pmap, cpu);
	run(false); /* pools and caches fill */
	run(true);
	mmk_pmap_deactivate(&space.map.pmap, cpu);
	mmk_space_fini(&space);
}
