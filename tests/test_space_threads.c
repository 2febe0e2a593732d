/* SPDX-License-Identifier: MIT
 *
 * tests/test_space_threads.c: several CPUs in one address space
 *
 * WHAT    Each thread is a CPU and owns some pages: what it writes there must
 *         be there when it looks, whatever the others map, move, protect,
 *         fork and unmap meanwhile. The machine aborts if a page is freed
 *         that some TLB can still reach; ThreadSanitizer watches the rest.
 */
#include "prop.h"
#include "vm_fixture.h"

#include <pthread.h>

#define NR_THREADS 3
#define OWN_PAGES 8
#define FILE_PAGES 8

static struct vm_file f;
static struct mmk_object *file;
static uint64_t seed;
static unsigned nr_steps;

static int
on_fault(void *ctx, unsigned cpu, uint64_t va, unsigned access)
{
	enum mmk_err err = mmk_fault(ctx, va, access);

	(void)cpu;
	/* Another CPU is reading the page in: look again. */
	return err == MMK_ERR_AGAIN ? 0 : (int)err;
}

/* The machine gives up after some tries; a thread does not. */
static int
touch(unsigned cpu, mmk_va va, unsigned char *byte, bool is_store)
{
	int result;

	do
		result = is_store ? sim_store(cpu, va, byte, 1)
		                  : sim_load(cpu, va, byte, 1);
	while (result == SIM_STUCK);
	return result;
}

static void
write_and_read(unsigned cpu, mmk_va va, uint64_t r)
{
	unsigned char byte = (unsigned char)r, seen = 0;

	cr_assert_eq(touch(cpu, va, &byte, true), 0, "MMK_SEED=%llu",
	    (unsigned long long)seed);
	cr_assert_eq(touch(cpu, va, &seen, false), 0);
	cr_assert_eq(seen, byte, "MMK_SEED=%llu", (unsigned long long)seed);
}

/* Something of its own for a while, wherever there is room. */
static void
visit(struct mmk_space *space, unsigned cpu, uint64_t r)
{
	unsigned kind = r % 3 == 0 ? MMK_MAP_PRIVATE
	    : r % 3 == 1 ? ANON_PRIVATE : ANON_SHARED;
	mmk_va va = 0, moved_va = 0;
	unsigned char byte = 0;

	cr_assert_eq(mmk_mmap(space, 0, 3 * PAGE, RW, ALL, kind, file, 0, &va),
	    MMK_OK);
	write_and_read(cpu, va + PAGE, r >> 8);
	cr_assert_eq(mmk_mremap(space, va, 3 * PAGE, 5 * PAGE,
	    MMK_REMAP_MAYMOVE, 0, &moved_va), MMK_OK);
	cr_assert_eq(touch(cpu, moved_va + PAGE, &byte, false), 0);
	cr_assert_eq(byte, (unsigned char)(r >> 8));
	cr_assert_eq(mmk_mprotect(space, moved_va, PAGE, RO), MMK_OK);
	cr_assert_eq(touch(cpu, moved_va, &byte, true), (int)MMK_ERR_ACCESS);
	cr_assert_eq(mmk_munmap(space, moved_va, 5 * PAGE), MMK_OK);
}

/* A child that sees its parent's memory and goes. */
static void
fork_and_exit(struct mmk_space *space)
{
	static struct mmk_space children[NR_THREADS];
	struct mmk_space *child = &children[sim_cpu_id()];
	enum mmk_err err;

	cr_assert_eq(mmk_space_fork(child, space), MMK_OK);
	do /* the page may be on its way elsewhere (compact) */
		err = mmk_fault(&child->map, VA, MMK_PROT_WRITE);
	while (err == MMK_ERR_AGAIN);
	cr_assert_eq(err, MMK_OK, "%d MMK_SEED=%llu", (int)err,
	    (unsigned long long)seed);
	mmk_space_fini(child);
}

/* Another CPU may have a page of the file in hand. */
static void
sync_file(struct mmk_space *space, mmk_va file_va)
{
	enum mmk_err err;

	do
		err = mmk_msync(space, file_va, FILE_PAGES * PAGE);
	while (err == MMK_ERR_AGAIN);
	cr_assert_eq(err, MMK_OK);
}

/* Whatever lies in one part of RAM moves to another. */
static void
compact(uint64_t r)
{
	struct mmk_compaction effort = { .max_moves = 40 };
	struct mmk_run_request request = { .nr_pages = 1 + r % 16,
		.use = MMK_USE_KERNEL };
	mmk_pfn first;

	request.lo_pa = (r >> 8) % 24 * 16 * PAGE;
	request.limit_pa = request.lo_pa + 16 * PAGE;
	if (mmk_compact_run(&t.phys, &effort, &request, &first) != MMK_OK)
		return;
	for (uint64_t i = 0; i < request.nr_pages; i++)
		memset(MMKIT_PHYS_TO_PTR(mmk_pa_of_pfn(first + i)), 0xcc, PAGE);
	mmk_run_free(&t.phys, first, request.nr_pages);
}

static void *
live(void *arg)
{
	unsigned cpu = (unsigned)(uintptr_t)arg;
	struct mmk_space *space = &t.spaces[0];
	mmk_va own_va = VA + cpu * OWN_PAGES * PAGE;
	mmk_va file_va = VA + 64 * PAGE;
	unsigned char own[OWN_PAGES] = { 0 }, byte;
	uint64_t state = (seed + cpu) * 0x9e3779b97f4a7c15u | 1;

	sim_set_cpu(cpu);
	for (unsigned n = 0; n < nr_steps; n++) {
		uint64_t r = mmk_test_random(&state), page = r % OWN_PAGES;

		r >>= 8;
		own[page] = (unsigned char)r;
		cr_assert_eq(touch(cpu, own_va + page * PAGE, &own[page], true),
		    0);
		page = (r >> 8) % OWN_PAGES;
		cr_assert_eq(touch(cpu, own_va + page * PAGE, &byte, false), 0);
		cr_assert_eq(byte, own[page], "MMK_SEED=%llu cpu %u step %u",
		    (unsigned long long)seed, cpu, n);
		/* Shared with all: each has a byte of every page. */
		write_and_read(cpu, file_va + r % FILE_PAGES * PAGE + cpu, r);
		if (r % 4 == 0)
			visit(space, cpu, r >> 16);
		else if (r % 16 == 1)
			fork_and_exit(space);
		else if (r % 16 == 2)
			sync_file(space, file_va);
		else if (r % 16 == 3)
			compact(r >> 16);
	}
	return NULL;
}

/* No store was lost between memory and the file. */
static void
check_file(void)
{
	static unsigned char buf[FILE_PAGES * 4096];
	mmk_va file_va = VA + 64 * PAGE;

	cr_assert_eq(mmk_msync(vm_sp(0), file_va, FILE_PAGES * PAGE), MMK_OK);
	cr_assert_eq(sim_load(0, file_va, buf, FILE_PAGES * PAGE), 0);
	cr_assert_eq(memcmp(buf, f.bytes, FILE_PAGES * PAGE), 0,
	    "MMK_SEED=%llu", (unsigned long long)seed);
}

static void
run(unsigned arch)
{
	struct sim_config config = { .ram_bytes = 8u << 20,
		.nr_cpus = NR_THREADS, .arch = arch };
	pthread_t threads[NR_THREADS];

	seed = mmk_test_seed();
	nr_steps = mmk_test_steps(3000);
	vm_boot_with(&config, NULL);
	mmk_vm_set_movable(&t.vm, true);
	sim_forbid_stale_hits(false); /* a hit may race with a change */
	sim_delay_ipis(4, seed);
	vm_space(0);
	file = vm_file(&f, FILE_PAGES * PAGE);
	vm_anon(0, VA, NR_THREADS * OWN_PAGES);
	vm_mmap(0, VA + 64 * PAGE, FILE_PAGES, RW,
	    MMK_MAP_SHARED | MMK_MAP_FIXED, file, 0);
	for (unsigned cpu = 0; cpu < NR_THREADS; cpu++)
		vm_run(cpu, 0);
	sim_on_fault(on_fault, vm_map(0));
	for (uintptr_t cpu = 0; cpu < NR_THREADS; cpu++)
		cr_assert_eq(pthread_create(&threads[cpu], NULL, live,
		    (void *)cpu), 0);
	for (unsigned cpu = 0; cpu < NR_THREADS; cpu++)
		cr_assert_eq(pthread_join(threads[cpu], NULL), 0);
	sim_set_cpu(0);
	if (mmk_test_steps(100) == 100) /* of a few it may be none */
		cr_assert_gt(vm_count(MMK_COUNT_PAGE_MOVE), 0);
	check_file();
	mmk_object_unref(file);
	vm_end();
}

Test(space_threads, each_cpu_keeps_what_it_wrote_x86_64)
{
	run(SIM_ARCH_X86_64);
}

Test(space_threads, each_cpu_keeps_what_it_wrote_aarch64)
{
	run(SIM_ARCH_AARCH64);
}
