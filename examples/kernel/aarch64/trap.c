/* SPDX-License-Identifier: MIT
 *
 * examples/kernel/aarch64/trap.c: what came through the vectors, and processes
 *
 * SOURCE  Arm ARM, DDI 0487, D24.2 (ESR_EL1, and its fault status codes).
 */
#include "../kernel.h"

#define VECTOR_KERNEL 4u /* synchronous, from EL1 with its own stack pointer */
#define VECTOR_USER 8u   /* synchronous, from EL0 */

#define CLASS_SVC 0x15u
#define CLASS_FETCH_USER 0x20u
#define CLASS_FETCH_KERNEL 0x21u
#define CLASS_DATA_USER 0x24u
#define CLASS_DATA_KERNEL 0x25u
#define CLASS_FLOAT 0x07u
#define CLASS_BRANCH 0x0du /* FEAT_BTI */
#define ESR_STATUS ((uint64_t)63)
#define STATUS_TAG 0x11u /* FEAT_MTE2 */
#define ESR_WNR ((uint64_t)1 << 6)
#define ESR_CM ((uint64_t)1 << 8)

/* EL0, and interrupts masked: a program cannot change that. */
#define PSTATE_USER ((uint64_t)0x3c0)

extern char try_begin[], try_end[], try_failed[], try_call_failed[]; /* trap.S */
void aarch64_leave(const struct arch_frame *frame, void *stack_top)
    __attribute__((noreturn));

static void *trap_stacks[MMKIT_CPU_MAX]; /* each its CPU's */

/* ---- processes --------------------------------------------------------------- */

void
arch_frame_init(struct arch_frame *frame, uint64_t pc, uint64_t sp)
{
	MMK_STATIC_ASSERT(sizeof(*frame) == 272, "as trap.S has it");
	memset(frame, 0, sizeof(*frame));
	frame->pc = pc;
	frame->sp = sp;
	frame->pstate = PSTATE_USER;
}

void
arch_frame_copy(struct arch_frame *to, const struct arch_frame *from)
{
	*to = *from;
}

uint64_t
arch_frame_number(const struct arch_frame *frame)
{
	return frame->x[8];
}

uint64_t
arch_frame_argument(const struct arch_frame *frame, unsigned nr)
{
	return frame->x[nr];
}

void
arch_frame_set_result(struct arch_frame *frame, uint64_t result)
{
	frame->x[0] = result;
}

/* SP_EL1 stays, while in user mode, where it was when that was entered. */
void
arch_use_stack(void *stack_top)
{
	trap_stacks[arch_cpu_id()] = stack_top;
}

void
arch_enter_user(const struct arch_frame *frame)
{
	aarch64_leave(frame, trap_stacks[arch_cpu_id()]);
}

void *
arch_stack_init(void *stack_top, void (*entry)(void))
{
	uint64_t *sp = (uint64_t *)stack_top - 12; /* as arch_switch saves */

	memset(sp, 0, 12 * sizeof(*sp));
	sp[1] = (uint64_t)(uintptr_t)entry; /* x30 */
	return sp;
}

/* ---- traps ------------------------------------------------------------------- */

static void
die(const struct arch_frame *frame, const char *what)
{
	uint64_t esr, far;

	__asm__ volatile("mrs %0, esr_el1\n\tmrs %1, far_el1"
	                 : "=r"(esr), "=r"(far));
	kprintf("pc %lx, esr %lx, far %lx, x30 %lx\n", frame->pc, esr, far,
	    frame->x[30]);
	kernel_panic(what);
}

/* 0: nothing that a translation could mend. */
static unsigned
access_of(uint64_t esr, unsigned class)
{
	if (mmk_aarch64_is_address_size(esr))
		kernel_panic("an address in a page table is too wide");
	if (!mmk_aarch64_may_mend(esr))
		return 0;
	if (class == CLASS_FETCH_USER || class == CLASS_FETCH_KERNEL)
		return MMK_PROT_EXEC;
	return (esr & ESR_WNR) != 0 && (esr & ESR_CM) == 0 ? MMK_PROT_WRITE
	                                                   : MMK_PROT_READ;
}

static bool
is_tried(uint64_t pc)
{
	return pc >= (uint64_t)(uintptr_t)try_begin &&
	    pc < (uint64_t)(uintptr_t)try_end;
}

static void
kernel_fault(struct arch_frame *frame, uint64_t esr, unsigned class,
    uint64_t va)
{
	unsigned access;

	if (class != CLASS_DATA_KERNEL && class != CLASS_FETCH_KERNEL)
		die(frame, "an exception in the kernel");
	access = access_of(esr, class);
	if (access != 0 && trap_fault(frame, va, access, false))
		return;
	if (is_tried(frame->pc))
		frame->pc = (uint64_t)(uintptr_t)try_failed;
	else if (class == CLASS_FETCH_KERNEL && is_tried(frame->x[30]))
		frame->pc = (uint64_t)(uintptr_t)try_call_failed;
	else
		die(frame, "a page fault in the kernel");
}

static void
user_trap(struct arch_frame *frame, uint64_t esr, unsigned class, uint64_t va)
{
	unsigned access;

	switch (class) {
	case CLASS_SVC:
		trap_syscall(frame);
		return;
	case CLASS_FETCH_USER:
	case CLASS_DATA_USER:
		access = access_of(esr, class);
		if ((esr & ESR_STATUS) == STATUS_TAG)
			trap_kill("a wrong tag", frame->pc);
		if (access == 0)
			trap_kill("an access that nothing can mend", frame->pc);
		(void)trap_fault(frame, va, access, true);
		return;
	case CLASS_BRANCH:
		trap_kill("a branch to no landing pad", frame->pc);
		return;
	case CLASS_FLOAT:
		trap_kill("floating point", frame->pc);
		return;
	default:
		trap_kill("an exception", frame->pc);
	}
}

void
aarch64_trap(struct arch_frame *frame, unsigned vector)
{
	uint64_t esr, va;
	unsigned class;

	__asm__ volatile("mrs %0, esr_el1\n\tmrs %1, far_el1"
	                 : "=r"(esr), "=r"(va));
	class = (unsigned)(esr >> 26) & 0x3f;
	if (vector == VECTOR_USER)
		user_trap(frame, esr, class, va);
	else if (vector == VECTOR_KERNEL)
		kernel_fault(frame, esr, class, va);
	else
		die(frame, "a vector that nothing should take");
}
