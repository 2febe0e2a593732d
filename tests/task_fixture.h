/* SPDX-License-Identifier: MIT
 *
 * tests/task_fixture.h: two CPUs with a live table each, and a kernel heap, on
 * every format of page tables, for the tests of face/task.h
 */
#ifndef MMKIT_TESTS_TASK_FIXTURE_H
#define MMKIT_TESTS_TASK_FIXTURE_H

#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "mmkit/face/task.h"
#include "mmkit/phys/census.h"
#include "ports/sim/sim.h"
#include "prop.h"

#define R MMK_PROT_READ
#define RW (MMK_PROT_READ | MMK_PROT_WRITE)
#define PAGE MMK_PAGE_BYTES
#define GRANULE (4 * PAGE)
#define MIB ((uint64_t)1 << 20)
#define BASE UINT64_C(0x40000000)
#define HEAP_VA UINT64_C(0x700000000000)
#define HEAP_BYTES (64 * GRANULE)
#define DEVICE UINT64_C(0xfe000000)
#define NR_CPUS 2u

static struct mmk_phys phys;
static struct mmk_pmap_sys pmap_sys;
static struct mmk_pmap live[NR_CPUS];
static struct mmk_tasks tasks;
static struct mmk_segment *heap;
static bool is_user = true;

static const struct sim_config formats[] = {
	{ .ram_bytes = 16 << 20, .nr_cpus = NR_CPUS, .arch = SIM_ARCH_X86_64 },
	{ .ram_bytes = 16 << 20, .nr_cpus = NR_CPUS, .arch = SIM_ARCH_X86_64,
	    .nr_levels = 5 },
	{ .ram_bytes = 16 << 20, .nr_cpus = NR_CPUS, .arch = SIM_ARCH_AARCH64,
	    .caches_denials = true },
	{ .ram_bytes = 16 << 20, .nr_cpus = NR_CPUS, .arch = SIM_ARCH_AARCH64,
	    .caches_denials = true, .software_ad = true },
};
#define NR_FORMATS (sizeof formats / sizeof formats[0])

/* ---- the machine --------------------------------------------------------- */

/* A kernel's fault handler, for hardware that sets no accessed or modified. */
static inline int
mend(void *ctx, unsigned cpu, uint64_t va, unsigned access)
{
	(void)ctx;
	if (is_user)
		access |= MMK_PMAP_USER;
	return mmk_pmap_emulate(&live[cpu], va, access) ? 0 : SIM_FAULT;
}

/* The kernel's own half: the direct map, here wherever the host has it. */
static inline bool
kernel_phys(void *ctx, mmk_va va, mmk_pa *pa_out)
{
	uint64_t offset_bytes = va - ((mmk_va)0xffff << 48);

	(void)ctx;
	if (offset_bytes >= 16 * MIB)
		return false;
	*pa_out = offset_bytes;
	return true;
}

static inline void
on_cpu(unsigned cpu, void (*call)(struct mmk_pmap *, unsigned))
{
	sim_set_cpu(cpu);
	call(&live[cpu], cpu);
	sim_set_cpu(0);
}

static inline uint64_t
used(enum mmk_use use)
{
	struct mmk_phys_stats stats;

	mmk_phys_stats_read(&phys, &stats);
	return stats.nr_used_pages[use];
}

static inline void
boot_machine(const struct sim_config *config)
{
	struct mmk_phys_config phys_config = { 0 };

	sim_boot(config);
	sim_set_cpu(0);
	sim_on_fault(mend, NULL);
	sim_forbid_stale_hits(true);
	is_user = true;
	phys_config.spans = sim_spans(&phys_config.nr_spans);
	cr_assert_eq(mmk_phys_init(&phys, &phys_config), MMK_OK);
	cr_assert_eq(mmk_pmap_sys_init(&pmap_sys, &phys, sim_shape()), MMK_OK);
}

static inline void
boot(const struct sim_config *config)
{
	struct mmk_task_config task_config = { .pmap_sys = &pmap_sys,
		.kernel_phys = kernel_phys };
	struct mmk_segment_args args = { MMK_SEGMENT_HEAP, HEAP_VA, HEAP_BYTES,
		true };

	boot_machine(config);
	cr_assert_eq(mmk_task_init(&tasks, &task_config), MMK_OK);
	for (unsigned cpu = 0; cpu < NR_CPUS; cpu++) {
		cr_assert_eq(mmk_pmap_init(&live[cpu], &pmap_sys, NULL),
		    MMK_OK);
		cr_assert_eq(mmk_task_attach(&tasks, cpu, &live[cpu]), MMK_OK);
		on_cpu(cpu, mmk_pmap_activate);
	}
	cr_assert_eq(mmk_segment_create(&tasks.segments.kernel, &args, &heap),
	    MMK_OK);
	for (unsigned cpu = 0; cpu < NR_CPUS; cpu++)
		cr_assert_eq(mmk_task_load(&tasks, cpu,
		                 &tasks.segments.kernel),
		    MMK_OK);
}

static inline void
check_all(void)
{
	cr_assert(mmk_task_check(&tasks));
	for (unsigned cpu = 0; cpu < NR_CPUS; cpu++)
		cr_assert(mmk_pmap_check(&live[cpu]));
}

/* Every task is gone, and nothing of it is left anywhere. */
static inline void
halt(void)
{
	sim_fail_at(0);
	check_all();
	for (unsigned cpu = 0; cpu < NR_CPUS; cpu++) {
		cr_assert_eq(mmk_task_unload(&tasks, cpu,
		                 &tasks.segments.kernel),
		    MMK_OK);
		cr_assert_eq(mmk_task_detach(&tasks, cpu), MMK_OK);
		on_cpu(cpu, mmk_pmap_deactivate);
		cr_assert_eq(live[cpu].nr_pages, 0, "a translation is left");
		mmk_pmap_fini(&live[cpu]);
	}
	mmk_task_fini(&tasks);
	mmk_pmap_sys_fini(&pmap_sys);
	cr_assert_eq(used(MMK_USE_TABLE), 0);
	cr_assert_eq(used(MMK_USE_POOL), 0);
	cr_assert_eq(used(MMK_USE_KERNEL), 0, "a claim is left");
	cr_assert(mmk_phys_check(&phys));
	mmk_phys_fini(&phys);
	sim_shutdown();
}

/* Test(suite, name) whose body runs on every format. */
#define TEST_FORMATS(suite, name)                              \
	static void body_of_##name(void);                      \
	Test(suite, name)                                      \
	{                                                      \
		for (size_t i = 0; i < NR_FORMATS; i++) {      \
			boot(&formats[i]);                     \
			body_of_##name();                      \
			halt();                                \
		}                                              \
	}                                                      \
	static void body_of_##name(void)

/* ---- words of the tests -------------------------------------------------- */

static inline struct mmk_descriptor *
task(uint64_t pid)
{
	struct mmk_descriptor *descriptor = NULL;

	cr_assert_eq(mmk_descriptor_create(&tasks.segments, pid, &descriptor),
	    MMK_OK);
	return descriptor;
}

static inline struct mmk_segment *
segment_at(struct mmk_descriptor *descriptor, mmk_va va, uint64_t bytes,
    bool has_allocator)
{
	struct mmk_segment_args args = { ".s", va, bytes, has_allocator };
	struct mmk_segment *segment = NULL;

	cr_assert_eq(mmk_segment_create(descriptor, &args, &segment), MMK_OK);
	return segment;
}

static inline mmk_pa
new_pages(unsigned order)
{
	struct mmk_frame *frame = NULL;

	cr_assert_eq(mmk_frame_alloc(&phys, order, MMK_ALLOC_ZERO,
	                 MMK_USE_KERNEL, &frame),
	    MMK_OK);
	return mmk_frame_pa(&phys, frame);
}

static inline uint32_t
refs(mmk_pa pa)
{
	return mmk_frame_of_pa(&phys, pa)->refs;
}

/* The test's own reference. */
static inline void
put(mmk_pa pa)
{
	cr_assert_eq(refs(pa), 1);
	cr_assert(mmk_pa_unref(&phys, pa));
}

static inline enum mmk_err
try_map(struct mmk_segment *segment, mmk_va va, mmk_pa pa, uint64_t nr_pages)
{
	struct mmk_saved_extent extent = { pa, nr_pages };

	return mmk_task_map(&tasks, segment, va, &extent, 1, RW);
}

static inline void
map(struct mmk_segment *segment, mmk_va va, mmk_pa pa, uint64_t nr_pages)
{
	cr_assert_eq(try_map(segment, va, pa, nr_pages), MMK_OK);
	check_all();
}

static inline void
unmap(struct mmk_segment *segment, mmk_va va)
{
	cr_assert_eq(mmk_task_unmap(&tasks, segment, va), MMK_OK);
	check_all();
}

static inline void
load(unsigned cpu, struct mmk_segment *segment)
{
	cr_assert_eq(mmk_task_segment_load(&tasks, cpu, segment), MMK_OK);
	check_all();
}

static inline void
unload(unsigned cpu, struct mmk_segment *segment)
{
	cr_assert_eq(mmk_task_segment_unload(&tasks, cpu, segment), MMK_OK);
	check_all();
}

/* What is left is unmapped, so that the pages are let go. */
static inline void
end_task(struct mmk_descriptor *descriptor)
{
	while (descriptor->segments.root != NULL) {
		struct mmk_segment *segment =
		    MMK_TREAP_ITEM(descriptor->segments.root,
		        struct mmk_segment, of_descriptor);

		mmk_task_unmap_all(&tasks, segment);
		mmk_segment_clean(segment);
	}
	cr_assert_eq(mmk_descriptor_destroy(descriptor), MMK_OK);
	check_all();
}

/* A word through the CPU's TLB; UINT64_MAX: a fault. */
static inline uint64_t
get_word(unsigned cpu, mmk_va va)
{
	uint64_t word;

	return sim_load(cpu, va, &word, sizeof word) == 0 ? word : UINT64_MAX;
}

static inline bool
set_word(unsigned cpu, mmk_va va, uint64_t word)
{
	return sim_store(cpu, va, &word, sizeof word) == 0;
}

static inline void
kernel_mode(bool on)
{
	is_user = !on;
	for (unsigned cpu = 0; cpu < NR_CPUS; cpu++)
		sim_cpu_set_user(cpu, !on);
}

/* All that a failure may not change. */
struct picture {
	uint64_t nr_pages[NR_CPUS], nr_tables[NR_CPUS];
	uint64_t nr_saved, nr_reserve, nr_rmap;
	uint64_t nr_ranges[MMK_RANGE_STATE_MAX];
	uint64_t loaded, nr_refs;
};

static inline struct picture
look(const struct mmk_segment *segment, mmk_pa pa)
{
	struct picture picture;

	memset(&picture, 0, sizeof picture);
	for (unsigned cpu = 0; cpu < NR_CPUS; cpu++) {
		picture.nr_pages[cpu] = live[cpu].nr_pages;
		picture.nr_tables[cpu] = live[cpu].nr_tables;
	}
	picture.nr_saved = mmk_pool_nr_used(&tasks.segments.saved_pool);
	picture.nr_reserve = tasks.segments.reserve.nr_used;
	picture.nr_rmap = mmk_pool_nr_used(&pmap_sys.rmap_pool);
	memcpy(picture.nr_ranges, segment->ranges.nr_ranges,
	    sizeof picture.nr_ranges);
	picture.loaded = segment->loaded[0];
	picture.nr_refs = pa == DEVICE ? 0 : refs(pa);
	return picture;
}

/* `call` ends with `err`, and neither the segment nor the page notices. */
#define REFUSED(segment, pa, call, err)                                \
	do {                                                           \
		struct picture before = look(segment, pa), after;      \
		cr_assert_eq(call, err, #call);                        \
		after = look(segment, pa);                             \
		cr_assert_eq(memcmp(&before, &after, sizeof after), 0); \
		check_all();                                           \
	} while (0)

/* As above, with the k-th allocation failing, for every k; then it works. */
#define FAILS_CLEANLY(segment, pa, call)                                \
	do {                                                            \
		enum mmk_err err = MMK_ERR_NOMEM;                       \
		uint64_t k = 0;                                         \
		while (err != MMK_OK) {                                 \
			struct picture before = look(segment, pa), after; \
			sim_fail_at(++k);                               \
			err = (call);                                   \
			sim_fail_at(0);                                 \
			after = look(segment, pa);                      \
			check_all();                                    \
			if (err == MMK_OK)                              \
				break;                                  \
			cr_assert_eq(err, MMK_ERR_NOMEM);               \
			cr_assert_eq(memcmp(&before, &after,            \
			                 sizeof after), 0, #call ": %u", \
			    (unsigned)k);                               \
		}                                                       \
		cr_assert_gt(k, 1, "nothing was asked for");            \
	} while (0)

#endif
