/* SPDX-License-Identifier: MIT
 *
 * tests/pmap_fixture.h: a machine with four pmaps, on every format of page
 * tables, for the tests of translations
 */
#ifndef MMKIT_TESTS_PMAP_FIXTURE_H
#define MMKIT_TESTS_PMAP_FIXTURE_H

#include <criterion/criterion.h>

#include "../mmkit/phys/census.h"
#include "../mmkit/pmap/pmap.h"
#include "../ports/sim/sim.h"
#include "prop.h"

#define R MMK_PROT_READ
#define W MMK_PROT_WRITE
#define X MMK_PROT_EXEC
#define U MMK_PMAP_USER
#define RWU (R | W | U)
#define PAGE MMK_PAGE_BYTES
#define VA (UINT64_C(0x12345678a000) & ~(uint64_t)(PAGE - 1))
#define FOREIGN UINT64_C(0xfe000000)
#define NR_PMAPS 4

/* The machine of one test: two CPUs, a few pmaps, some frames. */
static struct mmk_phys phys;
static struct mmk_pmap_sys sys;
static struct mmk_pmap pmaps[NR_PMAPS + 1];
static struct mmk_gather gather;
/* The last one is the kernel's, of tests that want one; active on all CPUs. */
#define KERNEL NR_PMAPS
static struct mmk_pmap *const kernel = &pmaps[KERNEL];
static bool has_kernel;
static unsigned features_off; /* MMK_PT_* that the kernel does not use */

#define RAM_BYTES (1024 * PAGE)
/* Where RAM may be with addresses of 52 bits: each of bits 51..48 is in one. */
#define HIGH_A UINT64_C(0xb400000000000)
#define HIGH_B UINT64_C(0x5a00000000000)
static const struct sim_config formats[] = {
#ifdef SIM_ARCH_HERE /* the machine is real: tests/kernel */
	{ .ram_bytes = RAM_BYTES, .nr_cpus = 2, .arch = SIM_ARCH_HERE },
#else
#if MMKIT_PAGE_SHIFT == 12
	{ .ram_bytes = RAM_BYTES, .nr_cpus = 2, .arch = SIM_ARCH_X86_64 },
	{ .ram_bytes = RAM_BYTES, .nr_cpus = 2, .arch = SIM_ARCH_X86_64,
	    .nr_levels = 5, .base_pa = HIGH_A },
	{ .ram_bytes = RAM_BYTES, .nr_cpus = 2, .arch = SIM_ARCH_X86_64,
	    .tag_bits = 12 },
#endif
	{ .ram_bytes = RAM_BYTES, .nr_cpus = 2, .arch = SIM_ARCH_AARCH64,
	    .caches_denials = true },
	{ .ram_bytes = RAM_BYTES, .nr_cpus = 2, .arch = SIM_ARCH_AARCH64,
	    .caches_denials = true, .software_ad = true },
	{ .ram_bytes = RAM_BYTES, .nr_cpus = 2, .arch = SIM_ARCH_AARCH64,
	    .caches_denials = true, .tag_bits = 8 },
	{ .ram_bytes = RAM_BYTES, .nr_cpus = 2, .arch = SIM_ARCH_AARCH64,
	    .caches_denials = true, .wide_addresses = true,
	    .base_pa = HIGH_A },
	{ .ram_bytes = RAM_BYTES, .nr_cpus = 2, .arch = SIM_ARCH_AARCH64,
	    .caches_denials = true, .software_ad = true, .tag_bits = 8,
	    .wide_addresses = true, .base_pa = HIGH_B },
#endif
};
#define NR_FORMATS (sizeof formats / sizeof formats[0])

/* What an entry of this level translates. */
static inline mmk_va
table_bytes(unsigned level)
{
	return (mmk_va)1 << (MMK_PAGE_SHIFT + level * (MMK_PAGE_SHIFT - 3));
}

static inline bool
has_tags(void)
{
	return sys.shape.tag_bits > 0;
}

static inline bool
is_arm(void)
{
	return sys.shape.arch == SIM_ARCH_AARCH64;
}

/* What a kernel's fault handler does first, and here all it does. */
static inline int
mend(void *ctx, unsigned cpu, uint64_t va, unsigned access)
{
	(void)ctx;
	if (has_kernel && mmk_pmap_covers(kernel, va))
		return mmk_pmap_emulate(kernel, va, access) ? 0 : SIM_FAULT;
	for (unsigned i = 0; i < NR_PMAPS; i++) {
		uint64_t cpus = MMKIT_ATOMIC_LOAD(&pmaps[i].cpus.words[0]);

		if (pmaps[i].root == NULL || (cpus >> cpu & 1) == 0)
			continue;
		return mmk_pmap_emulate(&pmaps[i], va, access | U) ? 0
		                                                   : SIM_FAULT;
	}
	return SIM_FAULT;
}

static inline uint64_t
used(enum mmk_use use)
{
	struct mmk_phys_stats stats;

	mmk_phys_stats_read(&phys, &stats);
	return stats.nr_used_pages[use];
}

static inline void
boot_kernel(void)
{
	cr_assert_eq(mmk_pmap_init_kernel(kernel, &sys, NULL), MMK_OK);
	for (unsigned cpu = 0; cpu < sim_cpu_count(); cpu++) {
		sim_set_cpu(cpu);
		mmk_pmap_activate(kernel, cpu);
	}
	sim_set_cpu(0);
}

static inline void
halt_kernel(void)
{
	mmk_pmap_remove(kernel, kernel->base_va, kernel->end_va, &gather);
	mmk_gather_finish(&gather);
	cr_assert(mmk_pmap_check(kernel));
	for (unsigned cpu = 0; cpu < sim_cpu_count(); cpu++) {
		sim_set_cpu(cpu);
		mmk_pmap_deactivate(kernel, cpu);
#ifndef SIM_ARCH_HERE
		cr_assert_eq(sim_tlb_count(cpu), 0);
		cr_assert_eq(sim_upper_count(cpu), 0);
#endif
	}
	mmk_pmap_fini(kernel);
	cr_assert_null(sys.kernel);
}

static inline void
boot(const struct sim_config *config)
{
	struct mmk_phys_config phys_config = { 0 };
	struct mmk_pt_shape shape;

	sim_boot(config);
	shape = *sim_shape();
	shape.features &= (uint8_t)~features_off;
	sim_on_fault(mend, NULL);
	phys_config.spans = sim_spans(&phys_config.nr_spans);
	cr_assert_eq(mmk_phys_init(&phys, &phys_config), MMK_OK);
	cr_assert_eq(mmk_pmap_sys_init(&sys, &phys, &shape), MMK_OK);
	if (has_kernel)
		boot_kernel();
	for (unsigned i = 0; i < NR_PMAPS; i++)
		cr_assert_eq(mmk_pmap_init(&pmaps[i], &sys, NULL), MMK_OK);
	mmk_gather_init(&gather, &sys);
}

/* .init of a suite whose tests want any format, with the kernel's half or not. */
static inline void
boot_first(void)
{
	boot(&formats[0]);
}

static inline void
boot_first_with_kernel(void)
{
	has_kernel = true;
	boot_first();
}

/* Every page is given back but what the test itself keeps. */
static inline void
halt(void)
{
	for (unsigned i = 0; i < NR_PMAPS; i++) {
		mmk_pmap_remove(&pmaps[i], 0, mmk_pt_va_limit(&sys.shape),
		    &gather);
		mmk_gather_finish(&gather);
		for (unsigned cpu = 0; cpu < sim_cpu_count(); cpu++) {
			sim_set_cpu(cpu);
			if ((pmaps[i].cpus.words[0] >> cpu & 1) != 0)
				mmk_pmap_deactivate(&pmaps[i], cpu);
		}
		cr_assert(mmk_pmap_check(&pmaps[i]));
		mmk_pmap_fini(&pmaps[i]);
	}
	if (has_kernel)
		halt_kernel();
	sim_set_cpu(0);
	mmk_pmap_sys_fini(&sys);
	cr_assert_eq(used(MMK_USE_TABLE), 0);
	cr_assert_eq(used(MMK_USE_POOL), 0);
	cr_assert(mmk_phys_check(&phys));
	mmk_phys_fini(&phys);
	sim_shutdown();
}

static inline void
on_every_format(void (*body)(void))
{
	for (size_t i = 0; i < NR_FORMATS; i++) {
		boot(&formats[i]);
		body();
		halt();
	}
}

/* Test(pmap, name) whose body runs on every format. */
#define TEST_FORMATS(name)                \
	static void body_of_##name(void); \
	Test(pmap, name)                  \
	{                                 \
		on_every_format(body_of_##name); \
	}                                 \
	static void body_of_##name(void)

static inline struct mmk_frame *
new_frame(unsigned order)
{
	struct mmk_frame *frame;

	cr_assert_eq(mmk_frame_alloc(&phys, order, MMK_ALLOC_ZERO,
	                 MMK_USE_KERNEL, &frame),
	    MMK_OK);
	return frame;
}

static inline mmk_pa
pa_of(const struct mmk_frame *frame)
{
	return mmk_frame_pa(&phys, frame);
}

/* A frame whose first word is `value`. */
static inline struct mmk_frame *
new_frame_with(uint64_t value)
{
	struct mmk_frame *frame = new_frame(0);

	*(uint64_t *)mmk_frame_ptr(&phys, frame) = value;
	return frame;
}

static inline void
enter(unsigned space, mmk_va va, const struct mmk_frame *frame, unsigned flags)
{
	cr_assert_eq(mmk_pmap_enter(&pmaps[space], va, pa_of(frame), flags),
	    MMK_OK);
}

static inline void
remove_now(unsigned space, mmk_va start_va, mmk_va end_va)
{
	mmk_pmap_remove(&pmaps[space], start_va, end_va, &gather);
	mmk_gather_finish(&gather);
}

/* The flags of the translation of va; 0: none. */
static inline unsigned
flags_at(unsigned space, mmk_va va)
{
	struct mmk_translation found;

	return mmk_pmap_query(&pmaps[space], va, &found) ? found.flags : 0;
}

static inline bool
check_all(void)
{
	for (unsigned i = 0; i < NR_PMAPS; i++)
		if (!mmk_pmap_check(&pmaps[i]))
			return false;
	return !has_kernel || mmk_pmap_check(kernel);
}

static inline void
activate(unsigned space, unsigned cpu)
{
	sim_set_cpu(cpu);
	mmk_pmap_activate(&pmaps[space], cpu);
	sim_set_cpu(0);
}

/* A word through the CPU's TLB; UINT64_MAX: a fault. */
static inline uint64_t
load(unsigned cpu, mmk_va va)
{
	uint64_t word;

	return sim_load(cpu, va, &word, sizeof word) == 0 ? word : UINT64_MAX;
}

static inline bool
store(unsigned cpu, mmk_va va, uint64_t word)
{
	return sim_store(cpu, va, &word, sizeof word) == 0;
}

/* The same by the kernel's code. */
static inline uint64_t
kernel_load(unsigned cpu, mmk_va va)
{
	uint64_t word;

	sim_cpu_set_user(cpu, false);
	word = load(cpu, va);
	sim_cpu_set_user(cpu, true);
	return word;
}

static inline bool
kernel_store(unsigned cpu, mmk_va va, uint64_t word)
{
	bool is_done;

	sim_cpu_set_user(cpu, false);
	is_done = store(cpu, va, word);
	sim_cpu_set_user(cpu, true);
	return is_done;
}

#endif
