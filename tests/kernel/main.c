/* SPDX-License-Identifier: MIT
 *
 * tests/kernel/main.c: a kernel that runs tests, and nothing else
 *
 * WHAT    The sources of tests/, through the in-process runner, on the boot code,
 *         the traps and the port of examples/kernel. The exit status is the
 *         runner's.
 */
#include "examples/kernel/kernel.h"
#include "machine.h"

#include <stdlib.h>

void kernel_main(void);
int runner_main(int argc, char **argv);

#define SPANS_MAX 64u

struct mmk_phys kernel_phys;
struct mmk_pmap_sys kernel_pmaps; /* of the kernel's half and no other */

typedef void constructor(void);
extern constructor *const tests_begin[], *const tests_end[]; /* tests.ld */
extern const char *const tests_left_out[];                   /* left_out.c */

static void
run_tests(void)
{
	static char *argv[64] = { (char *)(uintptr_t)"kernel" };
	int argc = 1;

	threads_move(0);
	if (getenv("verbose") != NULL)
		argv[argc++] = (char *)(uintptr_t)"--verbose";
	for (unsigned i = 0; tests_left_out[i] != NULL; i++) {
		CHECK(argc < 62);
		argv[argc++] = (char *)(uintptr_t)"--skip";
		argv[argc++] = (char *)(uintptr_t)tests_left_out[i];
	}
	if (getenv("only") != NULL)
		argv[argc++] = getenv("only");
	for (constructor *const *at = tests_begin; at < tests_end; at++)
		(*at)();
	exit(runner_main(argc, argv));
}

static void
memory_init(void)
{
	struct mmk_phys_span ram[SPANS_MAX], reserved[SPANS_MAX];
	struct mmk_phys_config config = { .spans = ram, .reserved = reserved };

	config.nr_spans = arch_memory(ram, SPANS_MAX, reserved,
	    &config.nr_reserved);
	machine_cpu_init();
	CHECK(mmk_phys_init(&kernel_phys, &config) == MMK_OK);
	CHECK(mmk_pmap_sys_init(&kernel_pmaps, &kernel_phys, arch_shape()) ==
	    MMK_OK);
	image_init(ram, config.nr_spans, false);
	image_activate(0);
}

static void
other_cpu(unsigned cpu)
{
	machine_cpu_init();
	image_activate(cpu);
	threads_run(cpu);
}

void
kernel_main(void)
{
	kprintf("kernel: tests of mmkit on %s, arguments '%s'\n", arch_name(),
	    arch_arguments());
	memory_init();
	machine_init();
	arch_start_cpus(other_cpu);
	arch_interrupts(true);
	threads_start(run_tests);
	threads_run(0);
}
