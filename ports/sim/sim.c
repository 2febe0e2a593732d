/* SPDX-License-Identifier: MIT
 *
 * ports/sim/sim.c: the machine's life, its RAM, clock, failures, violations
 */
#include "sim_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct sim_ram sim_ram;
struct sim_machine sim_machine;

/* [a] outlive the machine, so that they can be asked after sim_shutdown() */
static uint64_t nr_violations;
static bool violations_recorded;
static char violation_text[256];

static _Thread_local unsigned this_cpu;
static _Thread_local unsigned preempt_depth; /* 0: it may leave its CPU */

void
sim_panic(const char *text)
{
	fflush(stdout);
	fprintf(stderr, "panic: %s\n", text);
	fflush(stderr);
	abort();
}

void
sim_log(const char *text)
{
	if (getenv("SIM_LOG") != NULL)
		fprintf(stderr, "log: %s\n", text);
}

void
sim_violation(const char *format, ...)
{
	char text[sizeof violation_text];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	if (!sim_violations_recorded()) {
		fflush(stdout);
		fprintf(stderr, "sim: violation: %s\n", text);
		abort();
	}
	memcpy(violation_text, text, sizeof text);
	__atomic_add_fetch(&nr_violations, 1, __ATOMIC_ACQ_REL);
}

void
sim_violations_record(bool record)
{
	__atomic_store_n(&violations_recorded, record, __ATOMIC_RELEASE);
}

bool
sim_violations_recorded(void)
{
	return __atomic_load_n(&violations_recorded, __ATOMIC_ACQUIRE);
}

uint64_t
sim_violations(void)
{
	return __atomic_load_n(&nr_violations, __ATOMIC_ACQUIRE);
}

const char *
sim_violation_text(void)
{
	return violation_text;
}

void
sim_violations_clear(void)
{
	__atomic_store_n(&nr_violations, 0, __ATOMIC_RELEASE);
	violation_text[0] = '\0';
}

static void
fill_in_defaults(struct sim_config *config)
{
	if (config->ram_bytes == 0)
		config->ram_bytes = (uint64_t)64 << 20;
	if (config->nr_cpus == 0)
		config->nr_cpus = 1;
	if (config->arch == 0)
		config->arch = MMKIT_PAGE_SHIFT == 12 ? SIM_ARCH_X86_64
		                                      : SIM_ARCH_AARCH64;
	if (config->nr_levels == 0)
		config->nr_levels = MMKIT_PAGE_SHIFT == 16 ? 3
		    : MMKIT_PAGE_SHIFT == 12 && config->wide_addresses ? 5 : 4;
	if (config->ram_bytes % SIM_GRAIN_BYTES != 0 ||
	    config->base_pa % SIM_GRAIN_BYTES != 0)
		sim_panic("sim_boot: RAM in whole pages, please");
	if (config->nr_cpus > SIM_CPU_MAX)
		sim_panic("sim_boot: too many CPUs");
	if (config->arch != SIM_ARCH_X86_64 &&
	    config->arch != SIM_ARCH_AARCH64)
		sim_panic("sim_boot: unknown architecture");
	if (config->arch == SIM_ARCH_X86_64 && MMKIT_PAGE_SHIFT != 12)
		sim_panic("sim_boot: x86_64 has pages of 4 KiB");
	if (config->arch == SIM_ARCH_X86_64 && config->wide_addresses)
		sim_panic("sim_boot: addresses of x86_64 are as wide as they are");
	if (config->nr_levels > 5)
		sim_panic("sim_boot: too many levels");
	if ((config->base_pa + config->ram_bytes - 1) >> sim_pa_bits() != 0)
		sim_panic("sim_boot: RAM above what addresses can say");
}

static void
map_ram(const struct sim_config *config)
{
	bool is_file = config->ram_fd > 0;
	int flags = is_file ? MAP_SHARED
	                    : MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	void *ptr = mmap(NULL, (size_t)config->ram_bytes,
	    PROT_READ | PROT_WRITE, flags, is_file ? config->ram_fd : -1, 0);

	if (ptr == MAP_FAILED)
		sim_panic("sim_boot: the host has no room for that much RAM");
	sim_ram.ptr = (unsigned char *)ptr;
	sim_ram.base_pa = config->base_pa;
	sim_ram.bytes = config->ram_bytes;
}

static void
drop_machine(void)
{
	if (!sim_machine.is_booted)
		return;
	sim_cpus_drop();
	sim_checker_forget_ram();
	munmap(sim_ram.ptr, (size_t)sim_ram.bytes);
	memset(&sim_ram, 0, sizeof sim_ram);
	memset(&sim_machine, 0, sizeof sim_machine);
}

void
sim_boot(const struct sim_config *config)
{
	drop_machine();
	preempt_depth = 0;
	if (config != NULL)
		sim_machine.config = *config;
	fill_in_defaults(&sim_machine.config);
	map_ram(&sim_machine.config);
	sim_violations_record(false);
	sim_violations_clear();
	sim_locks_reset();
	this_cpu = 0;
	sim_shape_boot();
	sim_cpus_boot();
	sim_machine.is_booted = true;
}

void
sim_shutdown(void)
{
	sim_locks_check_none_held();
	drop_machine();
}

void
sim_set_cpu(unsigned cpu)
{
	if (cpu >= sim_cpu_count())
		sim_panic("sim_set_cpu: no such CPU");
	this_cpu = cpu;
}

unsigned
sim_cpu_id(void)
{
	return this_cpu;
}

unsigned
sim_cpu_count(void)
{
	return sim_machine.is_booted ? sim_machine.config.nr_cpus : 1;
}

void
sim_set_clock_ns(uint64_t now_ns)
{
	__atomic_store_n(&sim_machine.clock_ns, now_ns, __ATOMIC_RELEASE);
}

uint64_t
sim_clock_ns(void)
{
	return __atomic_load_n(&sim_machine.clock_ns, __ATOMIC_ACQUIRE);
}

void
sim_fail_at(uint64_t k)
{
	__atomic_store_n(&sim_machine.fail_count, 0, __ATOMIC_RELEASE);
	__atomic_store_n(&sim_machine.fail_in, k, __ATOMIC_RELEASE);
}

uint64_t
sim_fail_count(void)
{
	return __atomic_load_n(&sim_machine.fail_count, __ATOMIC_ACQUIRE);
}

bool
sim_fail_point(void)
{
	uint64_t nr_passed =
	    __atomic_add_fetch(&sim_machine.fail_count, 1, __ATOMIC_ACQ_REL);

	return nr_passed ==
	    __atomic_load_n(&sim_machine.fail_in, __ATOMIC_ACQUIRE);
}

void
sim_on_yield(void (*fn)(void *ctx), void *ctx)
{
	sim_machine.yield_ctx = ctx;
	sim_machine.yield = fn;
}

void
sim_yield_point(void)
{
	if (sim_machine.yield != NULL)
		sim_machine.yield(sim_machine.yield_ctx);
}

void
sim_on_update(void (*fn)(void *ctx), void *ctx)
{
	sim_machine.update_ctx = ctx;
	sim_machine.update = fn;
}

void
sim_update_point(void)
{
	if (sim_machine.update != NULL)
		sim_machine.update(sim_machine.update_ctx);
}

/* One for each CPU: how often it was entered, by the thread that has it. */
static unsigned cpu_entered[MMKIT_CPU_MAX]; /* [a] */
static _Thread_local unsigned cpu_depth;

uintptr_t
sim_cpu_enter(void)
{
	unsigned cpu = sim_cpu_id();
	unsigned before = __atomic_fetch_add(&cpu_entered[cpu], 1,
	    __ATOMIC_ACQ_REL);

	if (before != cpu_depth++)
		sim_panic("sim: two threads on one CPU");
	return cpu;
}

void
sim_cpu_leave(uintptr_t cpu)
{
	cpu_depth--;
	__atomic_fetch_sub(&cpu_entered[cpu], 1, __ATOMIC_ACQ_REL);
}

void
sim_preempt_disable(void)
{
	preempt_depth++;
}

void
sim_preempt_enable(void)
{
	if (preempt_depth == 0)
		sim_panic("sim: preemption enabled more often than disabled");
	preempt_depth--;
}

unsigned
sim_preempt_depth(void)
{
	return preempt_depth;
}
