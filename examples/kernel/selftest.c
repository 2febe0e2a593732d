/* SPDX-License-Identifier: MIT
 *
 * examples/kernel/selftest.c: mmk_selftest() in a kernel that has all its plugs
 *
 * WHAT    What any kernel author does once after the port is written. The first
 *         CPU runs the test; the others wait for errands: functions that it
 *         wants called there.
 */
#include "kernel.h"

/* As far up as there are levels for. */
#define SCRATCH_VA (mmk_pt_va_limit(&kernel_pmaps.shape) / 8 * 3)
#define LARGE_VA (mmk_pt_va_limit(&kernel_pmaps.shape) / 4)

/* Guards: [a] atomic; what fn and arg are is published by `cpu` */
static struct {
	unsigned cpu; /* [a] who is asked; 0: nobody */
	void (*fn)(void *arg);
	void *arg;
	unsigned is_over; /* [a] */
} errand;

static struct mmk_pmap pmaps[2];

static bool
is_done(unsigned arg)
{
	(void)arg;
	return MMKIT_ATOMIC_LOAD(&errand.cpu) == 0;
}

static bool
run_on(void *ctx, unsigned cpu, void (*fn)(void *arg), void *arg)
{
	(void)ctx;
	errand.fn = fn;
	errand.arg = arg;
	MMKIT_ATOMIC_STORE(&errand.cpu, cpu);
	arch_cpu_wake();
	cpus_wait_until(is_done, 0);
	return true;
}

static bool
is_wanted(unsigned cpu)
{
	return MMKIT_ATOMIC_LOAD(&errand.cpu) == cpu ||
	    MMKIT_ATOMIC_LOAD(&errand.is_over) != 0;
}

static void
serve(unsigned cpu)
{
	for (;;) {
		cpus_wait_until(is_wanted, cpu);
		if (MMKIT_ATOMIC_LOAD(&errand.is_over) != 0)
			return;
		errand.fn(errand.arg);
		MMKIT_ATOMIC_STORE(&errand.cpu, 0u);
		arch_cpu_wake();
	}
}

static bool
try_load(void *ctx, mmk_va va, uint64_t *word_out)
{
	(void)ctx;
	return arch_try_load(va, word_out);
}

static bool
try_store(void *ctx, mmk_va va, uint64_t word)
{
	(void)ctx;
	return arch_try_store(va, word);
}

static void
test(void)
{
	struct mmk_selftest_config config = { .phys = &kernel_phys,
		.pmap = &pmaps[0], .other = &pmaps[1],
		.scratch_va = SCRATCH_VA, .large_va = LARGE_VA,
		.try_load = try_load, .try_store = try_store };
	struct mmk_selftest_result result;
	enum mmk_err err;

	if (arch_cpu_count() > 1)
		config.run_on = run_on;
	for (unsigned i = 0; i < 2; i++)
		CHECK(mmk_pmap_init(&pmaps[i], &kernel_pmaps, NULL) == MMK_OK);
	err = mmk_selftest(&config, &result);
	kprintf("kernel: selftest: %u checks, %u failed, %u skipped: %s\n",
	    result.nr_checks, result.nr_failed, result.nr_skipped,
	    mmk_err_name(err));
	CHECK(err == MMK_OK);
	for (unsigned i = 0; i < 2; i++)
		mmk_pmap_fini(&pmaps[i]);
}

void
selftest_run(unsigned cpu)
{
	cpus_meet();
	if (cpu == 0) {
		test();
		MMKIT_ATOMIC_STORE(&errand.is_over, 1u);
		arch_cpu_wake();
	} else {
		serve(cpu);
	}
	cpus_meet();
}
