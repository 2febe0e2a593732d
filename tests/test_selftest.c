/* SPDX-License-Identifier: MIT
 *
 * tests/test_selftest.c: the suite that a kernel runs against its port: it
 * passes on the simulated machine, and fails on each fault planted in its port.
 * mmkit is compiled here, into this file, with a port that has those faults.
 */
#include <criterion/criterion.h>

#include <pthread.h>
#include <string.h>

#include "ports/sim/mmkit_port.h"

enum planted {
	NOTHING,
	PTR_TO_PHYS_LOSES_THE_PLACE,
	PTR_TO_PHYS_IS_OFF,
	PAGES_OVERLAP,
	PAGE_ZERO_IS_SHORT,
	PAGE_ZERO_IS_LONG,
	PAGE_COPY_IS_SHORT,
	MEMMOVE_IS_MEMCPY,
	OR_GIVES_THE_NEW_VALUE,
	XCHG_GIVES_THE_NEW_VALUE,
	HELD_SAYS_YES_TO_ALL,
	CLOCK_GOES_BACK,
	CLOCKS_DIFFER,
	TOO_MANY_CPUS,
	ALL_RUN_ON_CPU_0,
	FORGETS_TO_INVALIDATE,
	INVALIDATES_ONE_PAGE,
	FORGETS_RANGES_OF_80,
	FORGETS_SUPERPAGES,
	FORGETS_TO_SHOOT_DOWN,
	SHOOTS_DOWN_ONE_CPU,
	KEEPS_THE_FIRST_SPACE,
	STAYS_ACTIVE,
	STORES_IGNORE_RIGHTS,
	LOADS_NEVER_FAULT,
	STORES_NEVER_ARRIVE
};
static enum planted planted;

#define LARGE_VA UINT64_C(0x8000000000)

static void
memcpy_upward(void *dst, const void *src, size_t bytes)
{
	unsigned char *to = dst;
	const unsigned char *from = src;

	for (size_t i = 0; i < bytes; i++)
		to[i] = from[i];
}

/* Too much only from the 9th page on, the first of the chapter about it: what
 * is beside the others belongs to nobody, as memory checkers know. */
static unsigned nr_zeroed;

static void
planted_page_zero(void *page)
{
	size_t bytes = (size_t)1 << MMKIT_PAGE_SHIFT;

	nr_zeroed++;
	bytes -= planted == PAGE_ZERO_IS_SHORT;
	bytes += planted == PAGE_ZERO_IS_LONG && nr_zeroed > 8;
	memset(page, 0, bytes);
}

static uint64_t
planted_clock_ns(void)
{
	static uint64_t now_ns;

	now_ns += planted == CLOCK_GOES_BACK ? (uint64_t)-1 : 10;
	return UINT64_C(1000000) + now_ns -
	    (planted == CLOCKS_DIFFER ? sim_cpu_id() * 100 : 0);
}

static void *
planted_phys_to_ptr(uint64_t pa)
{
	return sim_phys_to_ptr(planted == PAGES_OVERLAP
	        ? pa & ~(UINT64_C(1) << MMKIT_PAGE_SHIFT)
	        : pa);
}

static uint64_t
planted_ptr_to_phys(const void *ptr)
{
	uint64_t pa = sim_ptr_to_phys(ptr);

	if (planted == PTR_TO_PHYS_LOSES_THE_PLACE)
		pa = pa >> MMKIT_PAGE_SHIFT << MMKIT_PAGE_SHIFT;
	return planted == PTR_TO_PHYS_IS_OFF ? pa + 64 : pa;
}

#undef MMKIT_PHYS_TO_PTR
#define MMKIT_PHYS_TO_PTR(pa) planted_phys_to_ptr(pa)
#undef MMKIT_PTR_TO_PHYS
#define MMKIT_PTR_TO_PHYS(ptr) planted_ptr_to_phys(ptr)
#define MMKIT_PAGE_ZERO(page) planted_page_zero(page)
#define MMKIT_PAGE_COPY(dst, src)                                 \
	((void)memcpy(dst, src, (size_t)MMK_PAGE_BYTES -          \
	        (planted == PAGE_COPY_IS_SHORT)))
#define MMKIT_MEMMOVE(dst, src, bytes)                            \
	(planted == MEMMOVE_IS_MEMCPY                             \
	        ? memcpy_upward(dst, src, bytes)                  \
	        : (void)memmove(dst, src, bytes))
#define MMKIT_ATOMIC_OR(p, v)                                     \
	(__atomic_fetch_or(p, v, __ATOMIC_ACQ_REL) |              \
	    (planted == OR_GIVES_THE_NEW_VALUE ? (v) : 0))
#undef MMKIT_ATOMIC_XCHG
#define MMKIT_ATOMIC_XCHG(p, v)                                   \
	(planted == XCHG_GIVES_THE_NEW_VALUE                      \
	        ? (__atomic_store_n(p, v, __ATOMIC_RELEASE), *(p)) \
	        : __atomic_exchange_n(p, v, __ATOMIC_ACQ_REL))
#undef MMKIT_LOCK_HELD
static bool lock_is_held(const struct sim_lock *lock);
#define MMKIT_LOCK_HELD(l) lock_is_held(l)
#undef MMKIT_CLOCK_NS
#define MMKIT_CLOCK_NS() planted_clock_ns()
#undef MMKIT_CPU_COUNT
#define MMKIT_CPU_COUNT() (planted == TOO_MANY_CPUS ? 1000u : sim_cpu_count())
static void planted_shootdown(void *pmap, uint64_t space, uint64_t cpu_bits,
    uint64_t start_va, uint64_t end_va);
#undef MMKIT_LOG
static void log_text(const char *text);
#define MMKIT_LOG(text) log_text(text)

static void planted_broadcast(void *pmap, uint64_t space, uint64_t start_va,
    uint64_t end_va);

#define sim_tlb_shootdown planted_shootdown
#define sim_tlb_broadcast planted_broadcast
#undef MMKIT_PMAP_H
#define MMKIT_PMAP_H "tests/selftest_pmap.h"
#define MMKIT_STATIC
#define MMKIT_IMPLEMENTATION
#include "mmkit/face/selftest.h"
#undef sim_tlb_shootdown
#undef sim_tlb_broadcast
#include "ports/sim/sim.h"

static char latest_log[256];
static unsigned nr_logs;

static void
log_text(const char *text)
{
	nr_logs++;
	(void)strncpy(latest_log, text, sizeof latest_log - 1);
}

/* Knows that something is held, but not what. */
static bool
lock_is_held(const struct sim_lock *lock)
{
	static const struct sim_lock *latest;
	bool is_held = sim_lock_is_held(lock);

	if (planted != HELD_SAYS_YES_TO_ALL)
		return is_held;
	if (is_held)
		latest = lock;
	return is_held || (latest != NULL && sim_lock_is_held(latest));
}

static void
planted_shootdown(void *pmap, uint64_t space, uint64_t cpu_bits,
    uint64_t start_va, uint64_t end_va)
{
	if (planted == FORGETS_TO_SHOOT_DOWN)
		cpu_bits &= UINT64_C(1) << sim_cpu_id();
	if (planted == SHOOTS_DOWN_ONE_CPU)
		cpu_bits &= ~UINT64_C(4);
	sim_tlb_shootdown(pmap, space, cpu_bits, start_va, end_va);
}

/* One that reaches its own CPU only, or not all of the others. */
static void
planted_broadcast(void *pmap, uint64_t space, uint64_t start_va,
    uint64_t end_va)
{
	unsigned me = sim_cpu_id();

	for (unsigned cpu = 0; cpu < sim_cpu_count(); cpu++) {
		if ((planted == FORGETS_TO_SHOOT_DOWN && cpu != me) ||
		    (planted == SHOOTS_DOWN_ONE_CPU && cpu == 2))
			continue;
		sim_set_cpu(cpu);
		sim_tlb_invalidate(pmap, space, start_va, end_va);
	}
	sim_set_cpu(me);
}

/* ---- a kernel's plugs ------------------------------------------------------ */

#define SCRATCH_VA UINT64_C(0x7fff1f0000)

static struct mmk_phys phys;
static struct mmk_pmap_sys sys;
static struct mmk_pmap pmaps[2];

static bool
try_load(void *ctx, mmk_va va, uint64_t *word_out)
{
	int status = sim_load(sim_cpu_id(), va, word_out, sizeof *word_out);

	(void)ctx;
	return status == 0 || planted == LOADS_NEVER_FAULT;
}

static bool
try_store(void *ctx, mmk_va va, uint64_t word)
{
	struct mmk_translation found;

	(void)ctx;
	if (planted == STORES_NEVER_ARRIVE)
		return true;
	if (sim_store(sim_cpu_id(), va, &word, sizeof word) == 0)
		return true;
	if (planted != STORES_IGNORE_RIGHTS ||
	    !mmk_pmap_query(&pmaps[0], va, &found))
		return false;
	memcpy(sim_phys_to_ptr(found.pa), &word, sizeof word);
	return true;
}

static bool
run_on(void *ctx, unsigned cpu, void (*fn)(void *arg), void *arg)
{
	unsigned me = sim_cpu_id();

	(void)ctx;
	if (cpu >= sim_cpu_count())
		return false;
	if (planted != ALL_RUN_ON_CPU_0)
		sim_set_cpu(cpu);
	fn(arg);
	sim_set_cpu(me);
	return true;
}

static struct mmk_selftest_config config;

/* nr_cpus, arch and the rest; everything of the test is there. */
static void
boot(const struct sim_config *machine)
{
	struct mmk_phys_config phys_config = { 0 };

	planted = NOTHING;
	sim_boot(machine);
	for (unsigned cpu = 0; cpu < machine->nr_cpus; cpu++)
		sim_cpu_set_user(cpu, false);
	phys_config.spans = sim_spans(&phys_config.nr_spans);
	cr_assert_eq(mmk_phys_init(&phys, &phys_config), MMK_OK);
	cr_assert_eq(mmk_pmap_sys_init(&sys, &phys, sim_shape()), MMK_OK);
	cr_assert_eq(mmk_pmap_init(&pmaps[0], &sys, NULL), MMK_OK);
	cr_assert_eq(mmk_pmap_init(&pmaps[1], &sys, &pmaps[0]), MMK_OK);
	memset(&config, 0, sizeof config);
	config.phys = &phys;
	config.pmap = &pmaps[0];
	config.other = &pmaps[1];
	config.scratch_va = SCRATCH_VA;
	config.large_va = LARGE_VA;
	config.try_load = try_load;
	config.try_store = try_store;
	config.run_on = run_on;
	nr_logs = 0;
	nr_zeroed = 0;
}

static uint64_t
used(enum mmk_use use)
{
	static struct mmk_phys_stats stats;

	mmk_phys_stats_read(&phys, &stats);
	return stats.nr_used_pages[use];
}

/* It left nothing behind. */
static void
halt(void)
{
	for (unsigned i = 0; i < 2; i++) {
		cr_assert_eq(pmaps[i].nr_pages, 0);
		cr_assert(mmk_pmap_check(&pmaps[i]));
		mmk_pmap_fini(&pmaps[i]);
	}
	mmk_pmap_sys_fini(&sys);
	cr_assert_eq(used(MMK_USE_KERNEL), 0);
	cr_assert_eq(used(MMK_USE_TABLE), 0);
	cr_assert(mmk_phys_check(&phys));
	mmk_phys_fini(&phys);
	sim_shutdown();
}

/* With room for a superpage, but with pages of 64 KiB: that would be 512 MiB. */
#define RAM_BYTES (2048 * MMK_PAGE_BYTES << (MMKIT_PAGE_SHIFT == 14))
#define HAS_LARGE (MMKIT_PAGE_SHIFT != 16)

static const struct sim_config machines[] = {
#if MMKIT_PAGE_SHIFT == 12
	{ .ram_bytes = RAM_BYTES, .nr_cpus = 4, .arch = SIM_ARCH_X86_64 },
	{ .ram_bytes = RAM_BYTES, .nr_cpus = 1, .arch = SIM_ARCH_X86_64,
	    .nr_levels = 5 },
#endif
	{ .ram_bytes = RAM_BYTES, .nr_cpus = 4, .arch = SIM_ARCH_AARCH64,
	    .caches_denials = true },
	{ .ram_bytes = RAM_BYTES, .nr_cpus = 3, .arch = SIM_ARCH_AARCH64,
	    .caches_denials = true, .software_ad = true },
	{ .ram_bytes = RAM_BYTES, .nr_cpus = 4, .arch = SIM_ARCH_AARCH64,
	    .caches_denials = true, .wide_addresses = true,
	    .base_pa = UINT64_C(0xb400000000000) },
};
#define NR_MACHINES (sizeof machines / sizeof machines[0])

/* ---- a good port ------------------------------------------------------------- */

Test(selftest, passes_on_every_format)
{
	struct mmk_selftest_result result;

	for (size_t i = 0; i < NR_MACHINES; i++) {
		boot(&machines[i]);
		sim_forbid_stale_hits(true);
		cr_assert_eq(mmk_selftest(&config, &result), MMK_OK, "%s",
		    latest_log);
		cr_assert_gt(result.nr_checks, 300);
		cr_assert_eq(result.nr_failed, 0);
		cr_assert_null(result.first_failed);
		cr_assert_eq(result.nr_skipped,
		    (machines[i].nr_cpus == 1) + !HAS_LARGE);
		cr_assert_eq(nr_logs, result.nr_skipped);
		halt();
	}
}

Test(selftest, may_be_run_again)
{
	struct mmk_selftest_result result;

	boot(&machines[NR_MACHINES - 2]);
	for (unsigned i = 0; i < 3; i++)
		cr_assert_eq(mmk_selftest(&config, &result), MMK_OK);
	halt();
}

Test(selftest, what_has_no_plug_is_left_out_and_said)
{
	struct mmk_selftest_result result;
	unsigned nr_all, nr_tier0;

	boot(&machines[0]);
	cr_assert_eq(mmk_selftest(&config, &result), MMK_OK);
	nr_all = result.nr_checks;
	cr_assert_eq(mmk_selftest_tier0(&config, &result), MMK_OK);
	nr_tier0 = result.nr_checks;
	cr_assert_gt(nr_all, nr_tier0 + 20);
	config.try_store = NULL;
	cr_assert_eq(mmk_selftest(&config, &result), MMK_OK);
	cr_assert_eq(result.nr_checks, nr_tier0);
	cr_assert_eq(result.nr_skipped, 1);
	cr_assert_not_null(strstr(latest_log, "skipped: translations"));
	config.try_store = try_store;
	config.large_va = 0;
	cr_assert_eq(mmk_selftest(&config, &result), MMK_OK);
	cr_assert_eq(result.nr_skipped, 1);
	cr_assert_not_null(strstr(latest_log, "skipped: superpages"));
	config.large_va = LARGE_VA;
	config.other = NULL;
	cr_assert_eq(mmk_selftest(&config, &result), MMK_OK);
	cr_assert_eq(result.nr_skipped, 1 + !HAS_LARGE);
	cr_assert_lt(result.nr_checks, nr_all);
	config.run_on = NULL;
	cr_assert_eq(mmk_selftest(&config, &result), MMK_OK);
	cr_assert_eq(result.nr_skipped, 3 + 1 + !HAS_LARGE + 1,
	    "CPUs, spaces, superpages, shootdown");
	halt();
}

/* The k-th allocation fails, for every k. */
Test(selftest, without_memory_it_says_so_and_leaves_nothing)
{
	struct mmk_selftest_result result;
	enum mmk_err err;
	uint64_t k = 0;

	boot(&machines[NR_MACHINES - 2]);
	do {
		sim_fail_at(++k);
		err = mmk_selftest(&config, &result);
		sim_fail_at(0);
		cr_assert(err == MMK_OK || err == MMK_ERR_NOMEM);
		cr_assert_eq(result.nr_failed, 0, "%s", latest_log);
		cr_assert_eq(used(MMK_USE_KERNEL), 0);
		cr_assert_eq(used(MMK_USE_TABLE), 2);
		cr_assert_eq(pmaps[0].nr_pages + pmaps[1].nr_pages, 0);
		cr_assert_eq(pmaps[0].cpus.words[0], 0);
		cr_assert_eq(pmaps[1].cpus.words[0], 0);
	} while (err != MMK_OK);
	cr_assert_gt(k, 20);
	halt();
}

struct visit {
	unsigned cpu;
	void (*fn)(void *arg);
	void *arg;
};

static void *
visit(void *arg)
{
	const struct visit *visit = arg;

	sim_set_cpu(visit->cpu);
	visit->fn(visit->arg);
	return NULL;
}

static bool
run_on_thread(void *ctx, unsigned cpu, void (*fn)(void *arg), void *arg)
{
	struct visit there = { cpu, fn, arg };
	pthread_t thread;

	(void)ctx;
	cr_assert_eq(pthread_create(&thread, NULL, visit, &there), 0);
	cr_assert_eq(pthread_join(thread, NULL), 0);
	return true;
}

Test(selftest, passes_with_threads_for_cpus)
{
	struct mmk_selftest_result result;

	boot(&machines[0]);
	config.run_on = run_on_thread;
	cr_assert_eq(mmk_selftest(&config, &result), MMK_OK);
	cr_assert_eq(result.nr_skipped, !HAS_LARGE);
	halt();
}

/* ---- bad ones ------------------------------------------------------------------ */

/* Each fault, and the chapter that must find it. */
static const struct {
	enum planted planted;
	const char *chapter;
} faults[] = {
	{ PTR_TO_PHYS_LOSES_THE_PLACE, "direct map: " },
	{ PTR_TO_PHYS_IS_OFF, "direct map: " },
	{ PAGES_OVERLAP, "direct map: " },
	{ PAGE_ZERO_IS_SHORT, "memory: PAGE_ZERO leaves" },
	{ PAGE_ZERO_IS_LONG, "memory: PAGE_ZERO writes" },
	{ PAGE_COPY_IS_SHORT, "memory: PAGE_COPY" },
	{ MEMMOVE_IS_MEMCPY, "memory: MEMMOVE" },
	{ OR_GIVES_THE_NEW_VALUE, "atomics: OR" },
	{ XCHG_GIVES_THE_NEW_VALUE, "atomics: XCHG" },
	{ HELD_SAYS_YES_TO_ALL, "locks: HELD" },
	{ CLOCK_GOES_BACK, "clock: " },
	{ CLOCKS_DIFFER, "clock: " },
	{ TOO_MANY_CPUS, "cpus: CPU_COUNT" },
	{ ALL_RUN_ON_CPU_0, "cpus: a CPU gives" },
	{ FORGETS_TO_INVALIDATE, "translations: " },
	{ INVALIDATES_ONE_PAGE, "translations: " },
	{ FORGETS_RANGES_OF_80, "ranges: " },
#if MMKIT_PAGE_SHIFT != 16
	{ FORGETS_SUPERPAGES, "superpages: " },
#endif
	{ FORGETS_TO_SHOOT_DOWN, "shootdown: " },
	{ SHOOTS_DOWN_ONE_CPU, "shootdown: " },
	{ KEEPS_THE_FIRST_SPACE, "spaces: " },
	{ STAYS_ACTIVE, "spaces: a page is read with no pmap" },
	{ STORES_IGNORE_RIGHTS, "translations: a read-only" },
	{ LOADS_NEVER_FAULT, "translations: a page that is not there" },
	{ STORES_NEVER_ARRIVE, "translations: a store does not arrive" },
};
#define NR_FAULTS (sizeof faults / sizeof faults[0])

Test(selftest, finds_each_planted_fault)
{
	struct mmk_selftest_result result;

	for (size_t i = 0; i < NR_FAULTS; i++) {
		const char *chapter = faults[i].chapter;

		boot(&machines[i % 2 * (NR_MACHINES - 2)]); /* the formats in turn */
		sim_violations_record(true);
		planted = faults[i].planted;
		cr_assert_eq(mmk_selftest(&config, &result), MMK_ERR_INVAL,
		    "%u is not found", (unsigned)planted);
		planted = NOTHING;
		cr_assert_gt(result.nr_failed, 0);
		cr_assert_eq(strncmp(result.first_failed, chapter,
		                 strlen(chapter)),
		    0, "%s instead of %s", result.first_failed, chapter);
		cr_assert_eq(nr_logs, result.nr_failed + result.nr_skipped);
		halt();
	}
}
