/* SPDX-License-Identifier: MIT
 *
 * examples/kernel/x86_64/trap.c: segments, gates, and what came through them
 *
 * SOURCE  Intel SDM vol. 3A, 3.4 (segments), 6.14 (gates in 64-bit mode), 8.7
 *         (TSS), 4.7 (page-fault error codes).
 */
#include "../kernel.h"
#include "cpu.h"

struct __attribute__((packed)) tss {
	uint32_t reserved0;
	uint64_t rsp[3];
	uint64_t reserved1;
	uint64_t ist[7];
	uint64_t reserved2;
	uint16_t reserved3, io_map;
};

struct gate {
	uint16_t low, selector;
	uint8_t ist, type;
	uint16_t middle;
	uint32_t high, reserved;
};

struct __attribute__((packed)) table_pointer {
	uint16_t limit;
	uint64_t base;
};

#define GATE_INTERRUPT 0x8eu
#define GATE_TRAP 0x8fu /* leaves interrupts as they are */
#define GATE_USER 0x60u

static uint64_t gdt[MMKIT_CPU_MAX][5 + 2 * MMKIT_CPU_MAX];
static struct tss tss[MMKIT_CPU_MAX];
static struct gate idt[256];

extern char trap_entries[], try_begin[], try_end[], try_failed[]; /* trap.S */

static void
set_gate(unsigned vector, uint8_t type)
{
	uint64_t entry = (uint64_t)(uintptr_t)trap_entries + 16 * vector;

	idt[vector].low = (uint16_t)entry;
	idt[vector].middle = (uint16_t)(entry >> 16);
	idt[vector].high = (uint32_t)(entry >> 32);
	idt[vector].selector = KERNEL_CODE;
	idt[vector].type = type;
}

static void
load_gdt(unsigned cpu)
{
	uint64_t *table = gdt[cpu];
	uint64_t base = (uint64_t)(uintptr_t)&tss[cpu];
	struct table_pointer pointer = { sizeof gdt[cpu] - 1,
		(uint64_t)(uintptr_t)table };
	uint16_t selector = (uint16_t)(FIRST_TSS + 16 * cpu);

	table[1] = UINT64_C(0x00af9a000000ffff);
	table[2] = UINT64_C(0x00cf92000000ffff);
	table[3] = UINT64_C(0x00cff2000000ffff);
	table[4] = UINT64_C(0x00affa000000ffff);
	table[5 + 2 * cpu] = (sizeof tss[0] - 1) | (base & 0xffffff) << 16 |
	    UINT64_C(0x89) << 40 | (base >> 24 & 0xff) << 56;
	table[6 + 2 * cpu] = base >> 32;
	tss[cpu].io_map = sizeof tss[0];
	__asm__ volatile("lgdt %0\n\tltr %1" : : "m"(pointer), "r"(selector));
}

/* What the CPU has of protection is used. CPUID 7, EBX bits 7 and 20. */
static void
protect_kernel(void)
{
	uint32_t b, c, d;

	cpuid(7, &b, &c, &d);
	cr4_add(((b >> 7 & 1) != 0 ? CR4_SMEP : 0) |
	    ((b >> 20 & 1) != 0 ? CR4_SMAP : 0));
}

void
x86_64_cpu_init(unsigned cpu)
{
	struct table_pointer pointer = { sizeof idt - 1,
		(uint64_t)(uintptr_t)idt };

	if (cpu == 0) {
		for (unsigned i = 0; i < 256; i++)
			set_gate(i, GATE_INTERRUPT);
		set_gate(VECTOR_PAGE_FAULT, GATE_TRAP);
		set_gate(VECTOR_SYSCALL, GATE_TRAP | GATE_USER);
	}
	load_gdt(cpu);
	__asm__ volatile("lidt %0" : : "m"(pointer));
	protect_kernel();
	apic_init(cpu);
}

/* The task register has the number, from the first instruction of C on. */
unsigned
arch_cpu_id(void)
{
	uint16_t selector;

	__asm__("str %0" : "=r"(selector));
	return selector < FIRST_TSS ? 0 : (selector - FIRST_TSS) / 16u;
}

/* ---- processes ------------------------------------------------------------- */

void
arch_frame_init(struct arch_frame *frame, uint64_t pc, uint64_t sp)
{
	MMK_STATIC_ASSERT(sizeof(*frame) <= ARCH_FRAME_BYTES, "a frame fits");
	*frame = (struct arch_frame){ .rip = pc, .rsp = sp, .cs = USER_CODE,
		.ss = USER_DATA, .rflags = RFLAGS_IF | 2 };
}

uint64_t
arch_frame_number(const struct arch_frame *frame)
{
	return frame->rax;
}

uint64_t
arch_frame_argument(const struct arch_frame *frame, unsigned nr)
{
	const uint64_t arguments[] = { frame->rdi, frame->rsi, frame->rdx,
		frame->r10, frame->r8, frame->r9 };

	return arguments[nr];
}

void
arch_frame_set_result(struct arch_frame *frame, uint64_t result)
{
	frame->rax = result;
}

void
arch_frame_copy(struct arch_frame *to, const struct arch_frame *from)
{
	*to = *from;
}

void
arch_use_stack(void *stack_top)
{
	tss[arch_cpu_id()].rsp[0] = (uint64_t)(uintptr_t)stack_top;
}

void *
arch_stack_init(void *stack_top, void (*entry)(void))
{
	uint64_t *sp = (uint64_t *)stack_top;

	*--sp = 0; /* where entry would return to */
	*--sp = (uint64_t)(uintptr_t)entry;
	for (unsigned i = 0; i < 6; i++)
		*--sp = 0;
	return sp;
}

void
arch_interrupts(bool are_on)
{
	if (are_on)
		__asm__ volatile("sti" : : : "memory");
	else
		__asm__ volatile("cli" : : : "memory");
}

void
arch_cpu_idle(void)
{
	__asm__ volatile("sti; hlt" : : : "memory");
}

/* ---- traps -------------------------------------------------------------------- */

static bool
is_tried(uint64_t pc)
{
	return pc >= (uint64_t)(uintptr_t)try_begin &&
	    pc < (uint64_t)(uintptr_t)try_end;
}

static void
page_fault(struct arch_frame *frame)
{
	unsigned access = (frame->error & 2) != 0 ? MMK_PROT_WRITE
	    : (frame->error & 16) != 0 ? MMK_PROT_EXEC : MMK_PROT_READ;
	uint64_t va;

	__asm__ volatile("movq %%cr2, %0" : "=r"(va));
	if ((frame->error & 8) != 0)
		kernel_panic("a reserved bit is set in a page table");
	if (trap_fault(frame, va, access, (frame->error & 4) != 0))
		return;
	if (is_tried(frame->rip)) {
		frame->rip = (uint64_t)(uintptr_t)try_failed;
		return;
	}
	/* Or what it called: where that returns to is on top of the stack. */
	if (access == MMK_PROT_EXEC &&
	    is_tried(*(const uint64_t *)frame->rsp)) {
		frame->rsp += 8;
		frame->rip = (uint64_t)(uintptr_t)try_failed;
		return;
	}
	kprintf("page fault at %lx, va %lx, error %lx\n", frame->rip, va,
	    frame->error);
	kernel_panic("a page fault in the kernel");
}

static void
exception(const struct arch_frame *frame)
{
	if ((frame->cs & 3) != 0) {
		arch_interrupts(true);
		trap_kill(frame->vector == 6 ? "an invalid instruction"
		    : frame->vector == 13 ? "a protection fault"
		    : "an exception", frame->rip);
	}
	kprintf("exception %lu at %lx, error %lx\n", frame->vector, frame->rip,
	    frame->error);
	kernel_panic("an exception in the kernel");
}

void
x86_64_trap(struct arch_frame *frame)
{
	switch (frame->vector) {
	case VECTOR_PAGE_FAULT:
		page_fault(frame);
		break;
	case VECTOR_SYSCALL:
		trap_syscall(frame);
		break;
	case VECTOR_SHOOTDOWN:
		apic_shootdown();
		apic_end();
		break;
	case VECTOR_WAKE:
		apic_end();
		break;
	case VECTOR_SPURIOUS:
		break;
	default:
		exception(frame);
	}
}
