/* SPDX-License-Identifier: MIT
 *
 * examples/kernel/x86_64/cpu.h: instructions, and what the files here share
 */
#ifndef KERNEL_X86_64_CPU_H
#define KERNEL_X86_64_CPU_H

#include "machine.h"

/* As trap.S pushes it. */
struct arch_frame {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8;
	uint64_t rdi, rsi, rbp, rbx, rdx, rcx, rax;
	uint64_t vector, error;
	uint64_t rip, cs, rflags, rsp, ss;
};

#define KERNEL_CODE 0x08u
#define KERNEL_DATA 0x10u
#define USER_DATA 0x1bu
#define USER_CODE 0x23u
#define FIRST_TSS 0x28u

#define VECTOR_PAGE_FAULT 14u
#define VECTOR_SYSCALL 0x80u
#define VECTOR_SHOOTDOWN 0xf0u
#define VECTOR_WAKE 0xf1u
#define VECTOR_SPURIOUS 0xffu

#define APIC_PA UINT64_C(0xfee00000)

#define RFLAGS_IF 0x200u
#define CR4_PGE ((uint64_t)1 << 7)
#define CR4_LA57 ((uint64_t)1 << 12)
#define CR4_SMEP ((uint64_t)1 << 20)
#define CR4_SMAP ((uint64_t)1 << 21)

void x86_64_main(uint64_t start_info_pa);
void x86_64_cpu_main(unsigned cpu);
void x86_64_trap(struct arch_frame *frame);
/* Tables, traps and the interrupt controller of this CPU. */
void x86_64_cpu_init(unsigned cpu);
void kernel_main(void);

/* apic.c */
void apic_init(unsigned cpu);
void apic_end(void);
void apic_shootdown(void); /* another CPU asks for it */

static inline uint64_t
cr4_read(void)
{
	uint64_t cr4;

	__asm__ volatile("movq %%cr4, %0" : "=r"(cr4));
	return cr4;
}

static inline void
cr4_add(uint64_t bits)
{
	__asm__ volatile("movq %0, %%cr4"
	                 :
	                 : "r"(cr4_read() | bits)
	                 : "memory");
}

/* EBX, ECX and EDX of a leaf of CPUID, subleaf 0. */
static inline void
cpuid(uint32_t leaf, uint32_t *b, uint32_t *c, uint32_t *d)
{
	*c = 0;
	__asm__ volatile("cpuid" : "+a"(leaf), "=b"(*b), "+c"(*c), "=d"(*d));
}

static inline void
out8(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline void
out16(uint16_t port, uint16_t value)
{
	__asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port));
}

static inline void
out32(uint16_t port, uint32_t value)
{
	__asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint8_t
in8(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

#endif /* KERNEL_X86_64_CPU_H */
