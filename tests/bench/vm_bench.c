/* SPDX-License-Identifier: MIT
 *
 * tests/bench/vm_bench.c: what an operation of mmkit's costs, beside Linux's in
 * the same run
 *
 * mmkit is called directly and its page tables are real bytes in RAM; Linux is
 * reached by system calls and page faults. So from Linux's figure the trap is
 * taken off first: a null system call, measured here, or for faults 311 ns, the
 * cheapest entry and exit known of these machines. Minima of several rounds:
 * machines are shared. Nothing here asserts anything.
 *
 * usage: vm_bench          the table
 *        vm_bench --count  under callgrind, once each: see count
 */
#define MMKIT_IMPLEMENTATION
#define BENCH_NAME "vm_bench"
#include "machine.h"

#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUNDS 7
#define FAULT_TRAP_NS 311.0
#define RAM_BYTES ((uint64_t)1 << 30)

static struct mmk_vm vm;
static struct mmk_space space, child;

static void
boot(void)
{
	boot_machine(RAM_BYTES);
	/* Linux's fork must not pay for the page tables of our RAM. */
	(void)madvise(bench_ram, RAM_BYTES, MADV_DONTFORK);
	must(mmk_vm_init(&vm, &phys, &sys, NULL));
	must(mmk_space_init(&space, &vm, 0x10000, (mmk_va)1 << 46));
	mmk_pmap_activate(&space.map.pmap, 0);
}

/* The two worlds a workload runs in: bytes mapped, touched, changed. */
static mmk_va
mm_map(uint64_t nr_pages)
{
	mmk_va va;

	must(mmk_mmap(&space, 0, nr_pages * PAGE, RW, MMK_PROT_ALL,
	    MMK_MAP_PRIVATE | MMK_MAP_ANON, NULL, 0, &va));
	return va;
}

static void
mm_unmap(mmk_va va, uint64_t nr_pages)
{
	must(mmk_munmap(&space, va, nr_pages * PAGE));
}

static void
mm_touch(struct mmk_space *in, mmk_va va, uint64_t nr_pages, unsigned access)
{
	for (uint64_t i = 0; i < nr_pages; i++)
		must(mmk_fault(&in->map, va + i * PAGE, access));
}

static unsigned char *
lx_map(uint64_t nr_pages)
{
	void *p = mmap(NULL, nr_pages * PAGE, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED) {
		perror("vm_bench: mmap");
		exit(1);
	}
	/* One page a fault, as here. */
	(void)madvise(p, nr_pages * PAGE, MADV_NOHUGEPAGE);
	return p;
}

static void
lx_write(unsigned char *p, uint64_t nr_pages)
{
	for (uint64_t i = 0; i < nr_pages; i++)
		((volatile unsigned char *)p)[i * PAGE] = 1;
}

static void
lx_read(unsigned char *p, uint64_t nr_pages)
{
	for (uint64_t i = 0; i < nr_pages; i++)
		(void)((volatile unsigned char *)p)[i * PAGE];
}

/* ---- workloads: ns an operation ------------------------------------------- */

enum {
	N = 8192,    /* pages touched in one round */
	CALLS = 1000 /* calls, or pairs of them */
};

static double
mm_first_touch(void)
{
	mmk_va va = mm_map(N);
	double ns = begin();

	mm_touch(&space, va, N, MMK_PROT_WRITE);
	ns = end(ns);
	mm_unmap(va, N);
	return ns / N;
}

static double
lx_first_touch(void)
{
	unsigned char *p = lx_map(N);
	double t0 = now_ns(), t1;

	lx_write(p, N);
	t1 = now_ns();
	munmap(p, N * PAGE);
	return (t1 - t0) / N;
}

static double
mm_zero_read(void)
{
	mmk_va va = mm_map(N);
	double ns = begin();

	mm_touch(&space, va, N, MMK_PROT_READ);
	ns = end(ns);
	mm_unmap(va, N);
	return ns / N;
}

static double
lx_zero_read(void)
{
	unsigned char *p = lx_map(N);
	double t0 = now_ns(), t1;

	lx_read(p, N);
	t1 = now_ns();
	munmap(p, N * PAGE);
	return (t1 - t0) / N;
}

/* Parent writes what a child shares; `sole`: the child is gone by then. */
static double
mm_cow(bool sole)
{
	mmk_va va = mm_map(N);
	double ns;

	mm_touch(&space, va, N, MMK_PROT_WRITE);
	must(mmk_space_fork(&child, &space));
	if (sole)
		mmk_space_fini(&child);
	ns = begin();
	mm_touch(&space, va, N, MMK_PROT_WRITE);
	ns = end(ns);
	if (!sole)
		mmk_space_fini(&child);
	mm_unmap(va, N);
	return ns / N;
}

static double
lx_cow(bool sole)
{
	unsigned char *p = lx_map(N);
	int go[2];
	double t0, t1;
	pid_t pid;

	lx_write(p, N);
	if (pipe(go) != 0 || (pid = fork()) < 0) {
		perror("vm_bench: fork");
		exit(1);
	}
	if (pid == 0) {
		char c;

		close(go[1]);
		_exit(!sole && read(go[0], &c, 1) != 0);
	}
	if (sole)
		waitpid(pid, NULL, 0);
	t0 = now_ns();
	lx_write(p, N);
	t1 = now_ns();
	close(go[1]);
	close(go[0]);
	if (!sole)
		waitpid(pid, NULL, 0);
	munmap(p, N * PAGE);
	return (t1 - t0) / N;
}

static double mm_cow_copy(void) { return mm_cow(false); }
static double lx_cow_copy(void) { return lx_cow(false); }
static double mm_cow_sole(void) { return mm_cow(true); }
static double lx_cow_sole(void) { return lx_cow(true); }

static double
mm_map_unmap(uint64_t nr_pages)
{
	double ns = begin();

	for (int i = 0; i < CALLS; i++)
		mm_unmap(mm_map(nr_pages), nr_pages);
	return end(ns) / CALLS;
}

static double
lx_map_unmap(uint64_t nr_pages)
{
	double t0 = now_ns();

	for (int i = 0; i < CALLS; i++)
		munmap(mmap(NULL, nr_pages * PAGE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), nr_pages * PAGE);
	return (now_ns() - t0) / CALLS;
}

static double mm_map_4k(void) { return mm_map_unmap(1); }
static double lx_map_4k(void) { return lx_map_unmap(1); }
static double mm_map_1m(void) { return mm_map_unmap(256); }
static double lx_map_1m(void) { return lx_map_unmap(256); }

static double
mm_protect(void)
{
	mmk_va va = mm_map(64);
	double ns = begin();

	for (int i = 0; i < CALLS / 2; i++) {
		must(mmk_mprotect(&space, va + 32 * PAGE, PAGE, MMK_PROT_READ));
		must(mmk_mprotect(&space, va + 32 * PAGE, PAGE, RW));
	}
	ns = end(ns);
	mm_unmap(va, 64);
	return ns / CALLS;
}

static double
lx_protect(void)
{
	unsigned char *p = lx_map(64);
	double t0 = now_ns(), t1;

	for (int i = 0; i < CALLS / 2; i++) {
		mprotect(p + 32 * PAGE, PAGE, PROT_READ);
		mprotect(p + 32 * PAGE, PAGE, PROT_READ | PROT_WRITE);
	}
	t1 = now_ns();
	munmap(p, 64 * PAGE);
	return (t1 - t0) / CALLS;
}

static double
mm_move_1m(void)
{
	mmk_va there = mm_map(256), here = mm_map(256);
	double ns;

	mm_unmap(there, 256);
	mm_touch(&space, here, 256, MMK_PROT_WRITE);
	ns = begin();
	for (int i = 0; i < CALLS / 2; i++) {
		must(mmk_mremap(&space, here, 256 * PAGE, 256 * PAGE,
		    MMK_REMAP_MAYMOVE | MMK_REMAP_FIXED, there, &there));
		must(mmk_mremap(&space, there, 256 * PAGE, 256 * PAGE,
		    MMK_REMAP_MAYMOVE | MMK_REMAP_FIXED, here, &here));
	}
	ns = end(ns);
	mm_unmap(here, 256);
	return ns / CALLS;
}

static double
lx_move_1m(void)
{
	unsigned char *there = lx_map(256), *here = lx_map(256);
	double t0, t1;

	lx_write(here, 256);
	t0 = now_ns();
	for (int i = 0; i < CALLS / 2; i++) {
		(void)mremap(here, 256 * PAGE, 256 * PAGE,
		    MREMAP_MAYMOVE | MREMAP_FIXED, there);
		(void)mremap(there, 256 * PAGE, 256 * PAGE,
		    MREMAP_MAYMOVE | MREMAP_FIXED, here);
	}
	t1 = now_ns();
	munmap(here, 256 * PAGE);
	return (t1 - t0) / CALLS;
}

static double
mm_unmap_resident(void)
{
	mmk_va va = mm_map(N);
	double ns;

	mm_touch(&space, va, N, MMK_PROT_WRITE);
	ns = begin();
	mm_unmap(va, N);
	return end(ns) / N;
}

static double
lx_unmap_resident(void)
{
	unsigned char *p = lx_map(N);
	double t0;

	lx_write(p, N);
	t0 = now_ns();
	munmap(p, N * PAGE);
	return (now_ns() - t0) / N;
}

enum { FORK_PAGES = 16384 }; /* 64 MiB */

static double
mm_fork(void)
{
	mmk_va va = mm_map(FORK_PAGES);
	double ns;

	mm_touch(&space, va, FORK_PAGES, MMK_PROT_WRITE);
	ns = begin();
	must(mmk_space_fork(&child, &space));
	mmk_space_fini(&child);
	ns = end(ns);
	mm_unmap(va, FORK_PAGES);
	return ns;
}

static double
lx_fork(void)
{
	unsigned char *p = lx_map(FORK_PAGES);
	double t0, t1;
	pid_t pid;

	lx_write(p, FORK_PAGES);
	t0 = now_ns();
	pid = fork();
	if (pid == 0)
		_exit(0);
	waitpid(pid, NULL, 0);
	t1 = now_ns();
	munmap(p, FORK_PAGES * PAGE);
	return t1 - t0;
}

static double
lx_null(void)
{
	double t0 = now_ns();

	for (int i = 0; i < 10000; i++)
		(void)syscall(SYS_getppid);
	return (now_ns() - t0) / 10000;
}

/* ---- the table -------------------------------------------------------------- */

static double
best(double (*run)(void))
{
	double least = run();

	for (int i = 1; i < ROUNDS; i++) {
		double ns = run();

		least = ns < least ? ns : least;
	}
	return least;
}

enum trap { TRAP_FAULT, TRAP_CALL, TRAP_CALLS_2, TRAP_NONE };

static const struct row {
	const char *name;
	double (*mmkit)(void);
	double (*linux_)(void);
	enum trap trap;
	unsigned nr_ops; /* in one round */
} rows[] = {
	{ "anonymous first touch, fill included", mm_first_touch,
	    lx_first_touch, TRAP_FAULT, N },
	{ "read fault, zero page", mm_zero_read, lx_zero_read, TRAP_FAULT, N },
	{ "copy-on-write break, copied", mm_cow_copy, lx_cow_copy,
	    TRAP_FAULT, N },
	{ "copy-on-write break, sole owner", mm_cow_sole, lx_cow_sole,
	    TRAP_FAULT, N },
	{ "mmap + munmap, untouched, 4 KiB", mm_map_4k, lx_map_4k,
	    TRAP_CALLS_2, CALLS },
	{ "mmap + munmap, untouched, 1 MiB", mm_map_1m, lx_map_1m,
	    TRAP_CALLS_2, CALLS },
	{ "mprotect of one page amid an entry", mm_protect, lx_protect,
	    TRAP_CALL, CALLS },
	{ "mremap, 1 MiB touched, moved", mm_move_1m, lx_move_1m, TRAP_CALL, CALLS },
	{ "munmap, per resident page", mm_unmap_resident, lx_unmap_resident,
	    TRAP_NONE, N },
	{ "fork + exit, 64 MiB touched", mm_fork, lx_fork, TRAP_NONE, 1 },
};

#define NR_ROWS (sizeof rows / sizeof rows[0])

static void
print_table(void)
{
	double null_ns = best(lx_null);
	double traps[] = { FAULT_TRAP_NS, null_ns, 2 * null_ns, 0 };

	printf("ns an operation, least of %d rounds; null system call %.0f\n\n",
	    ROUNDS, null_ns);
	printf("%-38s %9s %9s %9s %7s\n", "", "mmkit", "Linux", "less trap",
	    "ratio");
	for (size_t i = 0; i < NR_ROWS; i++) {
		const struct row *row = &rows[i];
		double mm = best(row->mmkit), lx = best(row->linux_);
		double less = lx - traps[row->trap];

		printf("%-38s %9.0f %9.0f %9.0f %7.2f\n", row->name, mm, lx,
		    less, mm / less);
	}
}

/* One dump of callgrind's for each row, named by it, with its operations. */
static void
count_rows(void)
{
	for (size_t i = 0; i < NR_ROWS; i++) {
		char name[80];

		(void)rows[i].mmkit();
		snprintf(name, sizeof name, "%s=%u", rows[i].name,
		    rows[i].nr_ops);
		CALLGRIND_DUMP_STATS_AT(name);
	}
}

int
main(int argc, char **argv)
{
	boot();
	if (argc > 1 && strcmp(argv[1], "--count") == 0)
		count_rows();
	else
		print_table();
	mmk_pmap_deactivate(&space.map.pmap, 0);
	mmk_space_fini(&space);
	mmk_vm_fini(&vm);
	mmk_pmap_sys_fini(&sys);
	mmk_phys_fini(&phys);
	return 0;
}
