/* SPDX-License-Identifier: MIT
 *
 * examples/kernel/main.c: from the first instruction in C to the verdict
 *
 * WHAT    Frames, page tables, address spaces; then every other CPU; then what
 *         the kernel is for: to show that mmkit works on a real MMU. Each part
 *         prints a line that ends in "ok"; whatever goes wrong ends the kernel
 *         with a status that is not 0.
 */
#include "kernel.h"

void kernel_main(void);

#define SPANS_MAX 64u

struct mmk_phys kernel_phys;
struct mmk_pmap_sys kernel_pmaps;
struct mmk_vm kernel_vm;

extern const char init_image[], init_image_end[]; /* init.S */

static uint64_t nr_free_at_first;
static unsigned nr_met; /* [a] how many CPUs have come to a meeting, ever */

/* Interrupts are off between a look and arch_cpu_idle(). */
void
cpus_wait_until(bool (*is_so)(unsigned arg), unsigned arg)
{
	for (;;) {
		arch_interrupts(false);
		if (is_so(arg))
			break;
		arch_cpu_idle();
	}
	arch_interrupts(true);
}

static bool
have_met(unsigned target)
{
	return (int)(MMKIT_ATOMIC_LOAD(&nr_met) - target) >= 0;
}

void
cpus_meet(void)
{
	unsigned nr = MMKIT_ATOMIC_ADD(&nr_met, 1u);
	unsigned nr_cpus = arch_cpu_count();
	unsigned target = (nr + nr_cpus - 1) / nr_cpus * nr_cpus;

	if (nr == target)
		arch_cpu_wake();
	cpus_wait_until(have_met, target);
}

/* Is `word` one of the words of the command line? */
static bool
is_asked(const char *word)
{
	const char *at = arch_arguments();

	while (*at != '\0') {
		size_t n = 0;

		while (word[n] != '\0' && at[n] == word[n])
			n++;
		if (word[n] == '\0' && (at[n] == ' ' || at[n] == '\0'))
			return true;
		while (*at != ' ' && *at != '\0')
			at++;
		while (*at == ' ')
			at++;
	}
	return false;
}

/* With what pmaps keep at hand as long as there is one: the kernel's half. */
static uint64_t
nr_free_pages(void)
{
	struct mmk_pool_stats rmap, caches;
	struct mmk_phys_stats stats;

	mmk_pool_stats_read(&kernel_pmaps.rmap_pool, &rmap);
	mmk_pool_stats_read(&kernel_pmaps.cache_pool, &caches);
	mmk_phys_drain(&kernel_phys);
	mmk_phys_stats_read(&kernel_phys, &stats);
	return stats.nr_free_pages +
	    (rmap.slab_bytes + caches.slab_bytes) / PAGE;
}

static void
memory_init(void)
{
	struct mmk_phys_span ram[SPANS_MAX], reserved[SPANS_MAX];
	struct mmk_phys_config config = { .spans = ram, .reserved = reserved };

	config.nr_spans = arch_memory(ram, SPANS_MAX, reserved,
	    &config.nr_reserved);
	CHECK(mmk_phys_init(&kernel_phys, &config) == MMK_OK);
	CHECK(mmk_pmap_sys_init(&kernel_pmaps, &kernel_phys, arch_shape()) ==
	    MMK_OK);
	image_init(ram, config.nr_spans, is_asked("fault=wx"));
	image_activate(0);
	nr_free_at_first = nr_free_pages();
	CHECK(mmk_vm_init(&kernel_vm, &kernel_phys, &kernel_pmaps, NULL) ==
	    MMK_OK);
	kprintf("kernel: memory: %lu of %lu MiB free, in %lu spans: ok\n",
	    nr_free_at_first * PAGE >> 20,
	    kernel_phys.nr_pages * PAGE >> 20, (uint64_t)config.nr_spans);
}

/* Everything ends but the kernel's half, everything that was taken is back, the
 * books are right. */
static void
audit(void)
{
	uint64_t nr_free;

	CHECK(mmk_check(&kernel_vm));
	process_fini();
	mmk_vm_drain(&kernel_vm);
	mmk_vm_fini(&kernel_vm);
	CHECK(mmk_pmap_check(&kernel_half));
	nr_free = nr_free_pages();
	CHECK(mmk_phys_check(&kernel_phys));
	kprintf("kernel: audit: %lu pages are free, and were at the start: %s\n",
	    nr_free, nr_free == nr_free_at_first ? "ok" : "NOT SO");
	CHECK(nr_free == nr_free_at_first);
}

/* What each CPU does, the first one too. */
static void
cpu_life(unsigned cpu)
{
	cpus_meet();
	if (cpu == 0)
		kprintf("kernel: CPUs: %u run: ok\n", arch_cpu_count());
	image_check(cpu);
	if (is_asked("show"))
		show_run(cpu, init_image, (size_t)(init_image_end - init_image));
	if (cpu == 0 && is_asked("bench"))
		bench_run();
	selftest_run(cpu);
	torture_run(cpu);
	if (cpu == 0) {
		torture_finish();
		process_start(init_image, (size_t)(init_image_end - init_image));
	}
	cpus_meet();
	process_run(cpu);
	cpus_meet();
}

static void
other_cpu(unsigned cpu)
{
	image_activate(cpu);
	cpu_life(cpu);
	for (;;) {
		arch_interrupts(false);
		arch_cpu_idle();
	}
}

void
kernel_main(void)
{
	kprintf("kernel: mmkit on %s, arguments '%s'\n", arch_name(),
	    arch_arguments());
	memory_init();
	process_init();
	torture_prepare(is_asked("fault=noflush"),
	    is_asked("fault=noflush-kernel"));
	arch_start_cpus(other_cpu);
	cpu_life(0);
	if (process_status() != 0) {
		kprintf("kernel: init ended with status %u\n",
		    process_status());
		kernel_panic("init failed");
	}
	audit();
	kprintf("kernel: all good\n");
	arch_exit(0);
}
