/* SPDX-License-Identifier: MIT
 *
 * examples/kernel/arch.h: what this kernel asks of an architecture
 *
 * WHAT    Everything else of the kernel is written once. An architecture has a
 *         folder with its boot code, its traps, this, and its mmkit_port.h.
 */
#ifndef KERNEL_ARCH_H
#define KERNEL_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arch_frame; /* the registers of what was interrupted */
struct mmk_phys_span;
struct mmk_pt_shape;

/* ---- the machine --------------------------------------------------------- */

void arch_console_put(char c);
/* The end: the status goes to the host. */
void arch_exit(unsigned status) __attribute__((noreturn));
/* What it runs on, for the first line. */
const char *arch_name(void);
/* What the boot loader was told to pass on; never NULL. */
const char *arch_arguments(void);

/*
 * RAM as the firmware tells it, in any order, and what is in use of it: the
 * kernel, what the boot loader left. At most `max` of each.
 */
size_t arch_memory(struct mmk_phys_span *ram, size_t max,
    struct mmk_phys_span *reserved, size_t *nr_reserved_out);
const struct mmk_pt_shape *arch_shape(void);

/* Since some moment; of QEMU's with -icount shift=0: instructions. */
uint64_t arch_clock_ns(void);

/* ---- CPUs ---------------------------------------------------------------- */

unsigned arch_cpu_id(void);
unsigned arch_cpu_count(void); /* all there are */
/* Each other CPU calls `entry` on a stack of its own. When all have begun. */
void arch_start_cpus(void (*entry)(unsigned cpu));
/* With interrupts off a wake-up is not lost between a look and arch_cpu_idle. */
void arch_interrupts(bool are_on);
/* Wait for a wake-up, and interrupts on again. pre: they are off. */
void arch_cpu_idle(void);
/* Wakes all that are idle. */
void arch_cpu_wake(void);
/* Idle for about so long, or less. pre: interrupts are on. */
void arch_cpu_nap(unsigned us);
/* A turn of a wait for another CPU. That one may be a virtual one whose core is
 * taken: who waits for long naps in between, or else it may be by this one. */
void arch_cpu_relax(void);

/* ---- processes ------------------------------------------------------------ */

#define ARCH_FRAME_BYTES 512 /* at most, of struct arch_frame */

void arch_frame_init(struct arch_frame *frame, uint64_t pc, uint64_t sp);
/* A copy, for a child. */
void arch_frame_copy(struct arch_frame *to, const struct arch_frame *from);
/* A system call's number, its arguments 0 to 5, and its result. */
uint64_t arch_frame_number(const struct arch_frame *frame);
uint64_t arch_frame_argument(const struct arch_frame *frame, unsigned nr);
void arch_frame_set_result(struct arch_frame *frame, uint64_t result);
/* To user mode, with the registers of `frame`, on the current stack. */
void arch_enter_user(const struct arch_frame *frame) __attribute__((noreturn));
/* Traps from user mode come back on this stack from now on. */
void arch_use_stack(void *stack_top);
/* Go on with another stack: where this one was goes to *old_sp. */
void arch_switch(void **old_sp, void *new_sp);
/* A new stack that begins in `entry` when it is switched to. */
void *arch_stack_init(void *stack_top, void (*entry)(void));

/* ---- the kernel's own tables ------------------------------------------------ */

struct arch_image {
	/* Text, constants, and the rest, each from the start of a page. */
	uint64_t text_va, rodata_va, data_va, end_va;
	uint64_t offset; /* of these addresses from physical ones */
};
const struct arch_image *arch_image(void);
/* Registers of devices that this kernel uses: at most `max` spans, whole pages. */
size_t arch_devices(struct mmk_phys_span *devices, size_t max);
/* This CPU leaves boot.S's tables for these, where all it needs is, too. */
void arch_use_root(uint64_t root_pa);

/* ---- memory that may not be there ------------------------------------------ */

/* One access in kernel mode; false: it faulted, and nothing happened. */
bool arch_try_load(uint64_t va, uint64_t *word_out);
bool arch_try_store(uint64_t va, uint64_t word);
/* What is there, if it can be executed, is a return. */
bool arch_try_call(uint64_t va);
/* Such a one, and no more. */
extern const char arch_return[];

/* The kernel may, or may not, reach what belongs to user mode. Until it first
 * says so, it may not. */
void arch_open_user_memory(bool is_open);
/* A line of show.c's: the registers that tell where this CPU's tables are. */
void arch_show_registers(unsigned cpu);

/* ---- what traps call --------------------------------------------------------- */

/*
 * `access` is one of MMK_PROT_*. True: do it again. False, in kernel mode: the
 * architecture makes arch_try_* fail, or panics. In user mode it does not
 * return false: the process is killed.
 */
bool trap_fault(struct arch_frame *frame, uint64_t va, unsigned access,
    bool is_user);
void trap_syscall(struct arch_frame *frame);
/* Another trap of a user program: `what` is its name. Does not return. */
void trap_kill(const char *what, uint64_t pc);

#endif /* KERNEL_ARCH_H */
