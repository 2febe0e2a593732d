/* SPDX-License-Identifier: MIT
 *
 * examples/kernel/x86_64/apic.c: CPUs that call each other: start, wake, forget
 *
 * WHAT    A shootdown is one request at a time: under a lock the range is
 *         written down, an interrupt is sent to the CPUs that have the pmap,
 *         and they count themselves off. Whoever waits for the lock, or for
 *         answers, does it with interrupts on, and so answers itself.
 * SOURCE  Intel SDM vol. 3A, 10.4 to 10.6 (local APIC; 10.5.4: its timer, which
 *         in QEMU counts nanoseconds), 8.4 (start-up).
 */
#include "../kernel.h"
#include "cpu.h"

#define APIC_ID 0x20u
#define APIC_EOI 0xb0u
#define APIC_SPURIOUS 0xf0u
#define APIC_COMMAND 0x300u
#define APIC_TARGET 0x310u
#define APIC_TIMER 0x320u
#define APIC_TIMER_COUNT 0x380u
#define APIC_TIMER_DIVIDE 0x3e0u

#define COMMAND_PENDING 0x1000u
#define COMMAND_FIXED 0x4000u
#define COMMAND_INIT_OTHERS 0xc4500u
#define COMMAND_START_OTHERS 0xc4600u /* and the page that they start in */
#define COMMAND_OTHERS 0xc0000u

#define TRAMPOLINE_PA 0x8000u

extern char trampoline[], trampoline_end[]; /* boot.S */

static unsigned apic_ids[MMKIT_CPU_MAX];
static unsigned nr_running; /* [a] */
static void (*cpu_entry)(unsigned cpu);

static struct {
	MMKIT_LOCK_T lock;
	struct mmk_pmap *pmap;    /* under lock, as the rest */
	uint64_t start_va, end_va;
	unsigned nr_pending;      /* [a] */
} request;

static volatile uint32_t *
apic(unsigned reg)
{
	return (volatile uint32_t *)(APIC_PA + DIRECT_VA + reg);
}

static void
command(uint32_t word)
{
	*apic(APIC_COMMAND) = word;
	while ((*apic(APIC_COMMAND) & COMMAND_PENDING) != 0)
		__builtin_ia32_pause();
}

void
apic_init(unsigned cpu)
{
	*apic(APIC_SPURIOUS) = 0x100 | VECTOR_SPURIOUS;
	apic_ids[cpu] = *apic(APIC_ID) >> 24;
	MMKIT_ATOMIC_ADD(&nr_running, 1u);
}

void
apic_end(void)
{
	*apic(APIC_EOI) = 0;
}

/* ---- start -------------------------------------------------------------------- */

void
x86_64_cpu_main(unsigned cpu)
{
	x86_64_cpu_init(cpu);
	arch_interrupts(true);
	cpu_entry(cpu);
}

/* About a microsecond each: a write to a port that nobody listens to. */
static void
wait_us(unsigned us)
{
	while (us-- > 0)
		out8(0x80, 0);
}

void
arch_start_cpus(void (*entry)(unsigned cpu))
{
	MMKIT_LOCK_INIT(&request.lock, "shootdown", 0);
	cpu_entry = entry;
	/* These symbols are physical: the trampoline is linked where it lies. */
	__builtin_memcpy((void *)(TRAMPOLINE_PA + DIRECT_VA),
	    (void *)((uintptr_t)trampoline + DIRECT_VA),
	    (size_t)(trampoline_end - trampoline));
	if (arch_cpu_count() > 1) {
		command(COMMAND_INIT_OTHERS);
		wait_us(10000);
		command(COMMAND_START_OTHERS | TRAMPOLINE_PA >> 12);
	}
	while (MMKIT_ATOMIC_LOAD(&nr_running) < arch_cpu_count())
		__builtin_ia32_pause();
	arch_interrupts(true);
}

/* ---- calls ---------------------------------------------------------------------- */

void
arch_cpu_wake(void)
{
	command(COMMAND_OTHERS | COMMAND_FIXED | VECTOR_WAKE);
}

/* Once: what comes in the end is a wake-up. */
void
arch_cpu_nap(unsigned us)
{
	arch_interrupts(false);
	*apic(APIC_TIMER) = VECTOR_WAKE;
	*apic(APIC_TIMER_DIVIDE) = 0xb; /* by 1 */
	*apic(APIC_TIMER_COUNT) = us * 1000;
	arch_cpu_idle();
}

void
arch_cpu_relax(void)
{
	static unsigned nr_turns[MMKIT_CPU_MAX]; /* each its CPU's */
	uint64_t flags;

	__asm__ volatile("pause\n\tpushfq\n\tpopq %0" : "=r"(flags));
	if (++nr_turns[arch_cpu_id()] % 256 == 0 && (flags & RFLAGS_IF) != 0)
		arch_cpu_nap(20);
}

/* Another CPU's request. Interrupts are off; nothing here takes a lock. */
void
apic_shootdown(void)
{
	mmk_pt_invalidate(request.pmap, request.start_va, request.end_va);
	MMKIT_ATOMIC_SUB(&request.nr_pending, 1u);
}

static void
ask(unsigned cpu)
{
	/* A wake-up may come from here in between, to other CPUs. */
	arch_interrupts(false);
	*apic(APIC_TARGET) = apic_ids[cpu] << 24;
	command(COMMAND_FIXED | VECTOR_SHOOTDOWN);
	arch_interrupts(true);
}

void
arch_shootdown(struct mmk_pmap *pmap, uint64_t start_va, uint64_t end_va)
{
	uint64_t cpus, left;

	MMKIT_LOCK(&request.lock);
	cpus = MMKIT_ATOMIC_LOAD(&pmap->cpus.words[0]) &
	    ~((uint64_t)1 << arch_cpu_id());
	request.pmap = pmap;
	request.start_va = start_va;
	request.end_va = end_va;
	MMKIT_ATOMIC_STORE(&request.nr_pending, 0u);
	for (left = cpus; left != 0; left &= left - 1)
		MMKIT_ATOMIC_ADD(&request.nr_pending, 1u);
	for (left = cpus; left != 0; left &= left - 1)
		ask((unsigned)__builtin_ctzll(left));
	while (MMKIT_ATOMIC_LOAD(&request.nr_pending) != 0)
		arch_cpu_relax();
	MMKIT_UNLOCK(&request.lock);
}
