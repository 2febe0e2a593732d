/* SPDX-License-Identifier: MIT
 *
 * tests/bench/pmap_bench.c: what a translation costs, beside the least that any
 * code must do for it: find its place in the table and write there
 *
 * The tables are real bytes in RAM; invalidating and shooting down are left out
 * and counted instead. Minima of several rounds: machines are shared. Nothing
 * here asserts anything.
 *
 * usage: pmap_bench          the tables
 *        pmap_bench --count  under callgrind, once each: see count
 */
#define MMKIT_IMPLEMENTATION
#define BENCH_NAME "pmap_bench"
#include "machine.h"

#define ROUNDS 15
#define RAM_BYTES ((uint64_t)256 << 20)
#define USER (RW | MMK_PMAP_USER)
#define N 8192u /* pages of one round: 16 tables */
#define BLOCK 512u
#define VA ((mmk_va)1 << 32)

static struct mmk_pmap pmap;
static mmk_pa pas[N]; /* of N frames, in no order */
static mmk_pa block_pas[N / BLOCK];
static unsigned untracked;

/* Frames in the order in which a machine that has run for a while has them. */
static void
take_frames(void)
{
	uint64_t state = 1;

	for (unsigned i = 0; i < N; i++) {
		struct mmk_frame *frame;

		must(mmk_frame_alloc(&phys, 0, 0, MMK_USE_ANON, &frame));
		pas[i] = mmk_frame_pa(&phys, frame);
	}
	for (unsigned i = N - 1; i > 0; i--) {
		unsigned j;
		mmk_pa pa = pas[i];

		state = state * 6364136223846793005u + 1;
		j = (unsigned)(state >> 33) % (i + 1);
		pas[i] = pas[j];
		pas[j] = pa;
	}
	for (unsigned i = 0; i < N / BLOCK; i++) {
		struct mmk_frame *frame;

		must(mmk_frame_alloc(&phys, 9, 0, MMK_USE_ANON, &frame));
		block_pas[i] = mmk_frame_pa(&phys, frame);
	}
}

static void
boot(void)
{
	boot_machine(RAM_BYTES);
	must(mmk_pmap_init(&pmap, &sys, NULL));
	mmk_pmap_activate(&pmap, 0);
	take_frames();
}

/* ---- the least ------------------------------------------------------------- */

static uint64_t *tables[4];

/* As the hardware's manual has it, with everything known beforehand. */
static double
floor_walk_and_write(void)
{
	double ns;

	if (tables[0] == NULL)
		for (unsigned i = 0; i < 4; i++)
			tables[i] = aligned_alloc(PAGE, PAGE);
	for (unsigned i = 0; i < 3; i++)
		for (unsigned j = 0; j < BLOCK; j++)
			tables[i][j] = (uint64_t)(uintptr_t)tables[i + 1] | 7;
	ns = begin();
	for (unsigned i = 0; i < N; i++) {
		mmk_va va = VA + i * PAGE;
		uint64_t *table = tables[0];

		for (unsigned shift = 39; shift > 12; shift -= 9)
			table = (uint64_t *)(uintptr_t)
			    (((volatile uint64_t *)table)[va >> shift & 511] &
			        ~(uint64_t)0xfff);
		((volatile uint64_t *)table)[va >> 12 & 511] = pas[i] | 7;
	}
	return end(ns) / N;
}

/* ---- operations: ns a page -------------------------------------------------- */

static void
enter_all(void)
{
	for (unsigned i = 0; i < N; i++)
		must(mmk_pmap_enter(&pmap, VA + i * PAGE, pas[i],
		    USER | untracked));
}

static void
remove_all(void)
{
	struct mmk_gather gather;

	mmk_gather_init(&gather, &sys);
	mmk_pmap_remove(&pmap, VA, VA + N * PAGE, &gather);
	mmk_gather_finish(&gather);
}

static void
protect_all(unsigned prot)
{
	struct mmk_gather gather;

	mmk_gather_init(&gather, &sys);
	mmk_pmap_protect(&pmap, VA, VA + N * PAGE, prot, &gather);
	mmk_gather_finish(&gather);
}

static double
op_enter(void)
{
	double ns = begin();

	enter_all();
	ns = end(ns);
	remove_all();
	return ns / N;
}

static double
op_enter_untracked(void)
{
	double ns;

	untracked = MMK_PMAP_UNTRACKED;
	ns = op_enter();
	untracked = 0;
	return ns;
}

static double
op_remove(void)
{
	double ns;

	enter_all();
	ns = begin();
	remove_all();
	return end(ns) / N;
}

static double
op_remove_untracked(void)
{
	double ns;

	untracked = MMK_PMAP_UNTRACKED;
	ns = op_remove();
	untracked = 0;
	return ns;
}

/* What fork does to the parent. */
static double
op_write_protect(void)
{
	double ns;

	enter_all();
	ns = begin();
	protect_all(MMK_PROT_READ);
	ns = end(ns);
	remove_all();
	return ns / N;
}

static double
op_query(void)
{
	struct mmk_translation found;
	double ns;

	enter_all();
	ns = begin();
	for (unsigned i = 0; i < N; i++)
		if (!mmk_pmap_query(&pmap, VA + i * PAGE, &found))
			exit(1);
	ns = end(ns);
	remove_all();
	return ns / N;
}

/* 2 MiB of one frame, in runs of nr_pages. */
static double
enter_blocks(unsigned nr_pages)
{
	uint64_t nr_done;
	double ns = begin();

	for (unsigned i = 0; i < N; i += nr_pages)
		must(mmk_pmap_enter_run(&pmap, VA + i * PAGE,
		    block_pas[i / BLOCK] + i % BLOCK * PAGE, nr_pages, USER,
		    &nr_done));
	ns = end(ns);
	remove_all();
	return ns / N;
}

/* 2 MiB of one frame each: one page protected, and made the same again. */
static double
split_or_join(bool is_join)
{
	struct mmk_gather gather;
	uint64_t nr_done;
	double ns;

	for (unsigned i = 0; i < N; i += BLOCK)
		must(mmk_pmap_enter_run(&pmap, VA + i * PAGE,
		    block_pas[i / BLOCK], BLOCK, USER, &nr_done));
	mmk_gather_init(&gather, &sys);
	ns = is_join ? 0 : begin();
	for (unsigned i = 0; i < N; i += BLOCK)
		mmk_pmap_protect(&pmap, VA + i * PAGE, VA + (i + 1) * PAGE,
		    MMK_PROT_READ, &gather);
	ns = is_join ? ns : end(ns);
	mmk_gather_finish(&gather);
	for (unsigned i = 0; i < N; i += BLOCK)
		must(mmk_pmap_enter(&pmap, VA + i * PAGE, block_pas[i / BLOCK],
		    USER));
	ns = is_join ? begin() : ns;
	for (unsigned i = 0; i < N; i += BLOCK)
		if (!mmk_pmap_promote(&pmap, VA + i * PAGE))
			exit(1);
	ns = is_join ? end(ns) : ns;
	remove_all();
	return ns / N;
}

static double op_split(void) { return split_or_join(false); }
static double op_join(void) { return split_or_join(true); }
static double op_run_of_16(void) { return enter_blocks(16); }
static double op_run_of_512(void) { return enter_blocks(BLOCK); }

/* ---- printing ---------------------------------------------------------------- */

static const struct {
	const char *name;
	double (*run)(void);
} rows[] = {
	{ "enter", op_enter },
	{ "enter, untracked", op_enter_untracked },
	{ "enter, in runs of 16", op_run_of_16 },
	{ "enter, in runs of 2 MiB", op_run_of_512 },
	{ "split of 2 MiB", op_split },
	{ "join of 2 MiB", op_join },
	{ "remove", op_remove },
	{ "remove, untracked", op_remove_untracked },
	{ "write-protect, as fork does", op_write_protect },
	{ "query", op_query },
};

static double
least(double (*run)(void))
{
	double best = run();

	for (int i = 1; i < ROUNDS; i++) {
		double ns = run();

		best = ns < best ? ns : best;
	}
	return best;
}

/* How often other CPUs are asked when nr_pages that they use go at once. */
static void
print_shootdowns(uint64_t nr_pages)
{
	struct mmk_gather gather;
	uint64_t before;

	for (uint64_t i = 0; i < nr_pages; i++)
		must(mmk_pmap_enter(&pmap, VA + i * PAGE, pas[i], USER));
	mmk_pmap_activate(&pmap, 1);
	before = sys.nr_shootdowns;
	mmk_gather_init(&gather, &sys);
	mmk_pmap_remove(&pmap, VA, VA + nr_pages * PAGE, &gather);
	mmk_gather_finish(&gather);
	printf("shootdowns for %llu pages: %llu\n",
	    (unsigned long long)nr_pages,
	    (unsigned long long)(sys.nr_shootdowns - before));
	mmk_pmap_deactivate(&pmap, 1);
}

/* A page goes, again and again, of a space that the other CPU uses, or has just
 * left with its translations kept: PCIDs. */
static void
print_avoided(bool is_there)
{
	struct mmk_pt_shape shape = sys.shape;
	static struct mmk_pmap_sys tagged;
	static struct mmk_pmap own;
	const unsigned nr_rounds = 1000;

	shape.tag_bits = 12;
	must(mmk_pmap_sys_init(&tagged, &phys, &shape));
	must(mmk_pmap_init(&own, &tagged, NULL));
	mmk_pmap_activate(&own, 0);
	for (unsigned i = 0; i < nr_rounds; i++) {
		struct mmk_gather gather;

		must(mmk_pmap_enter(&own, VA, pas[i], USER));
		mmk_pmap_activate(&own, 1);
		if (!is_there)
			mmk_pmap_deactivate(&own, 1);
		mmk_gather_init(&gather, &tagged);
		mmk_pmap_remove(&own, VA, VA + PAGE, &gather);
		mmk_gather_finish(&gather);
		if (is_there)
			mmk_pmap_deactivate(&own, 1);
	}
	printf("remote flushes for %u munmaps, the other CPU %s: %llu, avoided "
	       "%llu\n", nr_rounds, is_there ? "uses it" : "has left",
	    (unsigned long long)tagged.nr_shootdowns,
	    (unsigned long long)tagged.nr_avoided);
	mmk_pmap_deactivate(&own, 0);
	mmk_pmap_fini(&own);
	mmk_pmap_sys_fini(&tagged);
}

int
main(int argc, char **argv)
{
	size_t nr_rows = sizeof rows / sizeof rows[0];
	double floor_ns;

	boot();
	if (argc > 1 && strcmp(argv[1], "--count") == 0) {
		for (size_t i = 0; i < nr_rows; i++) {
			char name[96];

			(void)rows[i].run();
			CALLGRIND_ZERO_STATS;
			(void)rows[i].run();
			(void)snprintf(name, sizeof name, "%s=%u", rows[i].name,
			    N);
			CALLGRIND_DUMP_STATS_AT(name);
		}
		return 0;
	}
	floor_ns = least(floor_walk_and_write);
	printf("%-30s %8s %8s\n", "ns a page", "mmkit", "floors");
	printf("%-30s %8.1f %8.1f\n", "find and write (the floor)", floor_ns,
	    1.0);
	for (size_t i = 0; i < nr_rows; i++) {
		double ns = least(rows[i].run);

		printf("%-30s %8.1f %8.1f\n", rows[i].name, ns, ns / floor_ns);
	}
	for (uint64_t nr_pages = 1; nr_pages <= N; nr_pages *= 32)
		print_shootdowns(nr_pages);
	print_avoided(true);
	print_avoided(false);
	return 0;
}
