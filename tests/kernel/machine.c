/* SPDX-License-Identifier: MIT
 *
 * tests/kernel/machine.c: ports/sim/sim.h, and there is a machine
 *
 * WHAT    The tests ask sim.h for RAM, for CPUs, for loads and stores through
 *         the TLB of a CPU. Here RAM is a block of the real one, to be CPU n is
 *         to run on CPU n, and a load is an instruction: whether it faults, the
 *         processor says. What the simulated machine can tell beyond that (a
 *         freed page that is still reachable, how many hits) is not there.
 *
 *         A test that wants a machine of another architecture gets this one. A
 *         machine that has more CPUs or more RAM than this makes the test that
 *         asks for it be left out, and counted so.
 *
 *         Accesses are made in user mode (user.c), or, where a test asks for
 *         it, in the kernel's; a fetch is an instruction that is executed. Any
 *         may be in user mode; the kernel executes nothing but a return.
 */
#include "examples/kernel/kernel.h"
#include "machine.h"
#include "ports/sim/sim.h"

#ifdef __x86_64__
#include "examples/kernel/x86_64/cpu.h"
#define CR4_PKE ((uint64_t)1 << 22)
#else
#define SCTLR_ATA ((uint64_t)3 << 42) /* of EL0 and EL1: tags (FEAT_MTE2) */
#endif

#include <criterion/criterion.h>

#define TRIES 8

static struct {
	struct mmk_frame *ram; /* NULL: not booted */
	struct mmk_phys_span *spans;
	size_t nr_spans;
	unsigned nr_cpus;
	uint64_t clock_ns;
	uint64_t fail_in, fail_count; /* [a] */
	sim_fault_handler *on_fault;
	void *fault_ctx;
	void (*on_yield)(void *ctx);
	void *yield_ctx;
} machine;

/* Guards: [C] its CPU's */
static struct {
	jmp_buf way_out;          /* [C] of an access that may fault */
	bool has_way_out;         /* [C] */
	unsigned nr_disabled;     /* [C] of the thread that runs there */
	mmk_va fault_va;          /* [C] */
	unsigned fault_access;    /* [C] */
	bool is_kernel;           /* [a] accesses are the kernel's own */
	bool has_keys;            /* [C] PKRU forbids something */
	bool is_fetching;         /* [C] in user mode */
	const char *trap;         /* [C] inside machine_trap_of: what it met */
	uint64_t loaded;          /* [C] by user mode */
	uint64_t root_pa;         /* [C] SIM_NO_ROOT: the kernel's own */
} cpus[MMKIT_CPU_MAX];

/* ---- boot -------------------------------------------------------------------- */

/* PKRU, of the CPU one is on. */
static void
set_keys(uint64_t keys)
{
#ifdef __x86_64__
	__asm__ volatile("wrpkru"
	                 :
	                 : "a"((uint32_t)keys), "c"(0), "d"(0)
	                 : "memory");
#endif
	cpus[arch_cpu_id()].has_keys = keys != 0;
}

/* What a test, or one that failed, has left behind. */
static void
drop_pmaps(void)
{
	unsigned home = arch_cpu_id();

	for (unsigned cpu = 0; cpu < arch_cpu_count(); cpu++) {
		if (cpus[cpu].root_pa == SIM_NO_ROOT && !cpus[cpu].has_keys)
			continue;
		threads_move(cpu);
		if (cpus[cpu].has_keys)
			set_keys(0);
		mmk_pt_activate(NULL);
	}
	threads_move(home);
}

void
machine_pmap_activated(const struct mmk_pmap *pmap)
{
	cpus[arch_cpu_id()].root_pa = pmap == NULL
	    ? SIM_NO_ROOT : mmk_frame_pa(pmap->sys->phys, pmap->root);
}

void
sim_shutdown(void)
{
	drop_pmaps();
	if (machine.ram != NULL)
		(void)mmk_frame_unref(&kernel_phys, machine.ram);
	free(machine.spans);
	memset(&machine, 0, sizeof machine);
}

/* Spans of a machine whose RAM begins at config->base_pa, moved to where it
 * begins here. */
static void
take_spans(const struct sim_config *config, mmk_pa ram_pa, uint64_t bytes)
{
	size_t nr = config->nr_spans > 0 ? config->nr_spans : 1;

	machine.spans =
	    (struct mmk_phys_span *)calloc(nr, sizeof machine.spans[0]);
	machine.nr_spans = nr;
	machine.spans[0].start_pa = ram_pa;
	machine.spans[0].end_pa = ram_pa + bytes;
	for (size_t i = 0; i < config->nr_spans; i++) {
		machine.spans[i] = config->spans[i];
		machine.spans[i].start_pa += ram_pa - config->base_pa;
		machine.spans[i].end_pa += ram_pa - config->base_pa;
	}
}

void
sim_boot(const struct sim_config *config)
{
	static const struct sim_config defaults;
	unsigned order = 0;
	uint64_t bytes;

	config = config != NULL ? config : &defaults;
	sim_shutdown();
	for (unsigned cpu = 0; cpu < MMKIT_CPU_MAX; cpu++)
		cpus[cpu].has_way_out = cpus[cpu].is_kernel =
		    cpus[cpu].nr_disabled = 0;
	bytes = config->ram_bytes != 0 ? config->ram_bytes
	                               : UINT64_C(64) << 20;
	while (PAGE << order < bytes)
		order++;
	machine.nr_cpus = config->nr_cpus != 0 ? config->nr_cpus : 1;
	if (machine.nr_cpus > arch_cpu_count() || config->ram_fd > 0)
		runner_skip();
	machine.ram = machine_frames(order);
	if (machine.ram == NULL)
		runner_skip();
	memset(mmk_frame_ptr(&kernel_phys, machine.ram), 0, (size_t)bytes);
	take_spans(config, mmk_frame_pa(&kernel_phys, machine.ram), bytes);
}

/* The kernel's own, and what it does not use: keys and leaves of 1 GiB, where a
 * CPU of x86_64 has them, or tags. */
const struct mmk_pt_shape *
sim_shape(void)
{
	static struct mmk_pt_shape shape;

	shape = *arch_shape();
#ifdef __x86_64__
	uint32_t b, c, d;

	cpuid(0x80000001u, &b, &c, &d);
	shape.nr_keys = (cr4_read() & CR4_PKE) != 0 ? 16 : 0;
	shape.leaf_level_max = (d >> 26 & 1) != 0 ? 2 : 1;
#else
	uint64_t sctlr;

	__asm__ volatile("mrs %0, sctlr_el1" : "=r"(sctlr));
	shape.features |= (sctlr & SCTLR_ATA) == SCTLR_ATA ? MMK_PT_MTE : 0;
#endif
	return &shape;
}

const struct mmk_phys_span *
sim_spans(size_t *nr_spans_out)
{
	*nr_spans_out = machine.nr_spans;
	return machine.spans;
}

/* ---- CPUs -------------------------------------------------------------------- */

/* What a thread has disabled goes with it: it plays another one there. */
static void
move_to(unsigned cpu)
{
	unsigned nr_disabled = cpus[arch_cpu_id()].nr_disabled;

	cpus[arch_cpu_id()].nr_disabled = 0;
	threads_move(cpu);
	cpus[arch_cpu_id()].nr_disabled = nr_disabled;
}

void
sim_set_cpu(unsigned cpu)
{
	CHECK(cpu < arch_cpu_count());
	move_to(cpu);
}

unsigned
sim_cpu_id(void)
{
	return arch_cpu_id();
}

unsigned
sim_cpu_count(void)
{
	return machine.nr_cpus;
}

unsigned
sim_preempt_depth(void)
{
	return cpus[arch_cpu_id()].nr_disabled;
}

void
sim_preempt_disable(void)
{
	cpus[arch_cpu_id()].nr_disabled++;
}

void
sim_preempt_enable(void)
{
	CHECK(cpus[arch_cpu_id()].nr_disabled-- > 0);
}

/* ---- traps, and accesses that may end in one ------------------------------------ */

/* How an access ended: what setjmp() returns. */
enum { FAULTED = 1, DONE };

/* Out of a trap, to who wanted the access. */
static void
way_out(unsigned cpu, int how)
{
	cpus[cpu].has_way_out = false;
	longjmp(cpus[cpu].way_out, how);
}

bool
trap_fault(struct arch_frame *frame, uint64_t va, unsigned access,
    bool is_user)
{
	unsigned cpu = arch_cpu_id();

	(void)frame;
	if (!cpus[cpu].has_way_out) {
		if (is_user)
			kernel_panic("a program, and there are none");
		return false;
	}
	/* A fetched instruction may go on to do whatever it does. */
	if (cpus[cpu].is_fetching && (access != MMK_PROT_EXEC ||
	        mmk_page_floor(va) != mmk_page_floor(cpus[cpu].fault_va)))
		way_out(cpu, DONE);
	cpus[cpu].fault_va = va;
	cpus[cpu].fault_access = access;
	way_out(cpu, FAULTED);
	return true;
}

void
trap_syscall(struct arch_frame *frame)
{
	unsigned cpu = arch_cpu_id();

	CHECK(cpus[cpu].has_way_out);
	cpus[cpu].loaded = arch_frame_argument(frame, 0);
	way_out(cpu, DONE);
}

void
trap_kill(const char *what, uint64_t pc)
{
	unsigned cpu = arch_cpu_id();

	if (cpus[cpu].trap != NULL)
		cpus[cpu].trap = what;
	if (cpus[cpu].has_way_out &&
	    (cpus[cpu].is_fetching || cpus[cpu].trap != NULL))
		way_out(cpu, DONE);
	kprintf("%s at %lx\n", what, pc);
	kernel_panic("a trap of a program, and there are none");
}

/* In kernel mode. `bytes` inside one page; a word is moved as a word. */
static void
move(mmk_va va, unsigned char *buf, size_t bytes, bool is_store)
{
	volatile unsigned char *there = (volatile unsigned char *)va;

	if (bytes == 8 && va % 8 == 0) {
		volatile uint64_t *word = (volatile uint64_t *)va;
		uint64_t own;

		memcpy(&own, buf, 8);
		if (is_store)
			*word = own;
		else
			own = *word;
		memcpy(buf, &own, 8);
		return;
	}
	for (size_t i = 0; i < bytes; i++) {
		if (is_store)
			there[i] = buf[i];
		else
			buf[i] = there[i];
	}
}

/* False: it faulted, and what is known of it is in cpus[]. */
static bool
try_kernel(unsigned cpu, mmk_va va, unsigned char *buf, size_t bytes,
    unsigned access)
{
	if (setjmp(cpus[cpu].way_out) != 0) {
		arch_open_user_memory(false);
		arch_interrupts(true); /* traps may have turned them off */
		return false;
	}
	cpus[cpu].has_way_out = true;
	arch_open_user_memory(true);
	if (access == SIM_EXEC)
		kernel_call(va);
	else
		move(va, buf, bytes, access == SIM_WRITE);
	arch_open_user_memory(false);
	cpus[cpu].has_way_out = false;
	return true;
}

/* Does not return: it ends in a trap. */
static void
enter_user(mmk_va va, const unsigned char *buf, size_t bytes, unsigned access)
{
	uint64_t word = 0;

	if (access == SIM_EXEC)
		user_fetch(va);
	if (bytes != 8 || va % 8 != 0)
		user_copy_bytes(va, bytes, access == SIM_WRITE);
	memcpy(&word, buf, 8);
	if (access == SIM_WRITE)
		user_store_word(va, word);
	user_load_word(va);
}

static bool
try_user(unsigned cpu, mmk_va va, unsigned char *buf, size_t bytes,
    unsigned access)
{
	bool is_word = bytes == 8 && va % 8 == 0;
	int how;

	if (access == SIM_WRITE && !is_word)
		memcpy(user_buffer(), buf, bytes);
	cpus[cpu].is_fetching = access == SIM_EXEC;
	cpus[cpu].fault_va = va;
	how = setjmp(cpus[cpu].way_out);
	if (how == 0) {
		cpus[cpu].has_way_out = true;
		enter_user(va, buf, bytes, access);
	}
	arch_interrupts(true);
	if (cpus[cpu].is_fetching)
		user_fetch_end();
	cpus[cpu].is_fetching = false;
	if (how == DONE && access == SIM_READ && is_word)
		memcpy(buf, &cpus[cpu].loaded, 8);
	else if (how == DONE && access == SIM_READ)
		memcpy(buf, user_buffer(), bytes);
	return how == DONE;
}

const char *
machine_trap_of(void (*in_user_mode)(uint64_t va), uint64_t va)
{
	unsigned cpu = arch_cpu_id();
	const char *trap;
	int how;

	cpus[cpu].trap = "a system call";
	how = setjmp(cpus[cpu].way_out);
	if (how == 0) {
		cpus[cpu].has_way_out = true;
		in_user_mode(va);
	}
	arch_interrupts(true);
	trap = how == FAULTED ? "a fault" : cpus[cpu].trap;
	cpus[cpu].trap = NULL;
	return trap;
}

/* What is there, for one who has executed it. */
static void
read_code(unsigned cpu, mmk_va va, unsigned char *buf, size_t bytes)
{
	if (!try_kernel(cpu, va, buf, bytes, SIM_READ))
		memset(buf, 0, bytes);
}

static bool
try_access(unsigned cpu, mmk_va va, unsigned char *buf, size_t bytes,
    unsigned access)
{
	if (cpus[cpu].is_kernel)
		return try_kernel(cpu, va, buf, bytes, access);
	if (!try_user(cpu, va, buf, bytes, access))
		return false;
	if (access == SIM_EXEC)
		read_code(cpu, va, buf, bytes);
	return true;
}

static int
call_handler(unsigned cpu, mmk_va va, unsigned access)
{
	return machine.on_fault != NULL
	    ? machine.on_fault(machine.fault_ctx, cpu, va, access)
	    : SIM_FAULT;
}

static int
access_in_page(unsigned cpu, mmk_va va, unsigned char *buf, size_t bytes,
    unsigned access)
{
	for (int i = 0; i < TRIES; i++) {
		int result;

		if (try_access(cpu, va, buf, bytes, access))
			return 0;
		result = call_handler(cpu, cpus[cpu].fault_va,
		    cpus[cpu].fault_access);
		if (result != 0)
			return result;
	}
	return SIM_STUCK;
}

static int
access_as(unsigned cpu, uint64_t va, void *buf, size_t bytes, unsigned access)
{
	unsigned home = arch_cpu_id();
	unsigned char *own = (unsigned char *)buf;
	int result = 0;

	move_to(cpu);
	while (bytes > 0 && result == 0) {
		size_t step = (size_t)(PAGE - va % PAGE);

		step = step < bytes ? step : bytes;
		result = access_in_page(cpu, va, own, step, access);
		va += step;
		own += step;
		bytes -= step;
	}
	move_to(home);
	return result;
}

int
sim_load(unsigned cpu, uint64_t va, void *buf, size_t bytes)
{
	return access_as(cpu, va, buf, bytes, SIM_READ);
}

int
sim_store(unsigned cpu, uint64_t va, const void *buf, size_t bytes)
{
	return access_as(cpu, va, (void *)(uintptr_t)buf, bytes, SIM_WRITE);
}

int
sim_fetch(unsigned cpu, uint64_t va, void *buf, size_t bytes)
{
	return access_as(cpu, va, buf, bytes, SIM_EXEC);
}

void
sim_cpu_set_user(unsigned cpu, bool is_user)
{
	cpus[cpu].is_kernel = !is_user;
}

/* QEMU's Arm has no keys (FEAT_S1POE). */
void
sim_cpu_set_keys(unsigned cpu, uint64_t keys)
{
	unsigned home = arch_cpu_id();

	if (sim_shape()->nr_keys == 0)
		runner_skip();
	move_to(cpu);
	set_keys(keys);
	move_to(home);
}

void
sim_on_fault(sim_fault_handler *handler, void *ctx)
{
	machine.on_fault = handler;
	machine.fault_ctx = ctx;
}

/* ---- what makes things go wrong -------------------------------------------------- */

void
sim_fail_at(uint64_t k)
{
	MMKIT_ATOMIC_STORE(&machine.fail_in, k);
	MMKIT_ATOMIC_STORE(&machine.fail_count, (uint64_t)0);
}

uint64_t
sim_fail_count(void)
{
	return MMKIT_ATOMIC_LOAD(&machine.fail_count);
}

/* What this kernel takes for itself does not fail. */
static unsigned nr_own; /* [a] such allocations under way */

struct mmk_frame *
machine_frames(unsigned order)
{
	struct mmk_frame *frame = NULL;

	MMKIT_ATOMIC_ADD(&nr_own, 1u);
	if (order > MMKIT_MAX_ORDER ||
	    mmk_frame_alloc(&kernel_phys, order, 0, MMK_USE_KERNEL,
	        &frame) != MMK_OK)
		frame = NULL;
	MMKIT_ATOMIC_SUB(&nr_own, 1u);
	return frame;
}

bool
sim_fail_point(void)
{
	if (machine.ram == NULL || MMKIT_ATOMIC_LOAD(&nr_own) != 0)
		return false;
	return MMKIT_ATOMIC_ADD(&machine.fail_count, (uint64_t)1) ==
	    MMKIT_ATOMIC_LOAD(&machine.fail_in);
}

void
sim_on_yield(void (*fn)(void *ctx), void *ctx)
{
	machine.on_yield = fn;
	machine.yield_ctx = ctx;
}

void
sim_yield_point(void)
{
	if (machine.on_yield != NULL)
		machine.on_yield(machine.yield_ctx);
}

void
sim_set_clock_ns(uint64_t now_ns)
{
	machine.clock_ns = now_ns;
}

uint64_t
sim_clock_ns(void)
{
	return machine.clock_ns;
}

/* ---- what only the simulated machine can tell ------------------------------------- */

void
sim_forbid_stale_hits(bool forbid)
{
	(void)forbid;
}

void
sim_violations_record(bool record)
{
	(void)record;
	runner_skip();
}

uint64_t
sim_violations(void)
{
	return 0;
}

const char *
sim_violation_text(void)
{
	return "";
}

void
sim_violations_clear(void)
{
}

void
sim_checker_forget(const void *ptr, size_t bytes)
{
	(void)ptr;
	(void)bytes;
}

void
sim_lock_allow_nesting(unsigned rank, bool allowed)
{
	(void)rank;
	(void)allowed;
}

void
sim_counters(struct sim_counters *out)
{
	(void)out;
	runner_skip();
}

uint64_t
sim_tlb_count(unsigned cpu)
{
	(void)cpu;
	runner_skip();
}

uint64_t
sim_upper_count(unsigned cpu)
{
	return sim_tlb_count(cpu);
}

/* Real ones take their time. */
void
sim_delay_ipis(unsigned ticks_max, uint64_t seed)
{
	(void)ticks_max;
	(void)seed;
}

void
sim_on_invalidate(sim_invalidate_hook *hook, void *ctx)
{
	(void)hook;
	(void)ctx;
	runner_skip();
}

/* ---- the kernel ---------------------------------------------------------------- */

/* Protection keys, if it has them: CPUID 7, ECX bit 3. PKRU is 0. Or tags: with
 * TCF and TCF0 still 0 a wrong one is no fault. */
void
machine_cpu_init(void)
{
#ifdef __x86_64__
	uint32_t b, c, d;

	cpuid(7, &b, &c, &d);
	cr4_add((c >> 3 & 1) != 0 ? CR4_PKE : 0);
#else
	uint64_t has, sctlr;

	__asm__ volatile("mrs %0, id_aa64pfr1_el1\n\tmrs %1, sctlr_el1"
	                 : "=r"(has), "=r"(sctlr));
	sctlr |= (has >> 8 & 15) >= 2 ? SCTLR_ATA : 0;
	__asm__ volatile("msr sctlr_el1, %0\n\tisb" : : "r"(sctlr) : "memory");
#endif
}

void
machine_init(void)
{
	for (unsigned cpu = 0; cpu < MMKIT_CPU_MAX; cpu++)
		cpus[cpu].root_pa = SIM_NO_ROOT;
	user_init();
}
