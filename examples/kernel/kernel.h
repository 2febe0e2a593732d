/* SPDX-License-Identifier: MIT
 *
 * examples/kernel/kernel.h: a small kernel whose memory mmkit manages
 *
 *   arch.h     what it asks of an architecture
 *   main.c     from the first instruction in C to the verdict
 *   process.c  processes: an address space, a kernel stack, a queue
 *   trap.c     faults and system calls
 *   elf.c      the one program there is, from its image to an address space
 *   selftest.c mmkit's own test of this kernel's port
 *   bench.c    instructions an operation
 *   image.c    the kernel's own half: what is written is not executed
 *   show.c     address spaces for a debugger to look at
 *   torture.c  CPUs that read through translations while another changes them
 *   print.c    the console
 */
#ifndef KERNEL_H
#define KERNEL_H

#include <mmkit/mmkit.h>

#include "arch.h"

#define PAGE ((uint64_t)MMK_PAGE_BYTES)

extern struct mmk_phys kernel_phys;
extern struct mmk_pmap_sys kernel_pmaps;
extern struct mmk_vm kernel_vm;

/* ---- print.c --------------------------------------------------------------- */

void *memset(void *dst, int byte, size_t bytes);
void *memcpy(void *dst, const void *src, size_t bytes);
void *memmove(void *dst, const void *src, size_t bytes);
int memcmp(const void *a, const void *b, size_t bytes);

/* %s %u %d %x %lx %lu %c %p; %lx is 64 bits. Lines of CPUs do not mix. */
void kprintf(const char *format, ...) __attribute__((format(printf, 1, 2)));
void kernel_panic(const char *text) __attribute__((noreturn));
void kernel_log(const char *text);
void kernel_write(const char *text, size_t bytes);

/* Beyond MMK_ASSERT, which is mmkit's: this kernel's own tests. */
#define CHECK(cond)                                                    \
	do {                                                           \
		if (!(cond))                                           \
			kernel_panic(__FILE__ ": not so: " #cond);     \
	} while (0)

/* ---- process.c --------------------------------------------------------------- */

#define STACK_ORDER 2u /* of a kernel stack */
#define STACK_BYTES (PAGE << STACK_ORDER)

/* Guards: [I] immutable once it runs  [P] the lock of process.c
 *         [O] only itself */
struct process {
	struct mmk_space space;
	struct mmk_frame *stack;  /* [I] its kernel stack */
	void *sp;                 /* [P] where it goes on */
	struct arch_frame *frame; /* [I] how it begins: at its stack's foot */
	struct process *parent;   /* [I] */
	struct process *next;     /* [P] in the queue */
	unsigned nr;              /* [I] */
	unsigned status;          /* [P] once it is dead */
	unsigned nr_children;     /* [P] living, and dead but not waited for */
	bool is_dead;             /* [P] */
	bool is_waiting;          /* [P] for a child */
};

void process_init(void);
/* From now on this CPU runs processes, until there is none any more. */
void process_run(unsigned cpu);
/* The one that runs here, or NULL. */
struct process *process_current(void);
/* The first one. Its status, when all are gone, is process_status(). */
void process_start(const void *image, size_t bytes);
unsigned process_status(void);
void process_fini(void);

uint64_t process_fork(const struct arch_frame *frame);
uint64_t process_wait(void);
void process_yield(void);
void process_exit(unsigned status) __attribute__((noreturn));

/* ---- elf.c -------------------------------------------------------------------- */

/* Maps the image and a stack. MMK_ERR_INVAL: it is none. */
enum mmk_err elf_load(struct mmk_space *space, const void *image, size_t bytes,
    uint64_t *pc_out, uint64_t *sp_out);

/* ---- trap.c -------------------------------------------------------------------- */

/* Copy to and from a process's memory, by its own tables; false: it is not
 * there. */
bool user_copy(struct mmk_space *space, mmk_va va, void *buf, size_t bytes,
    unsigned access);

/* ---- selftest.c ----------------------------------------------------------------- */

/* Called by every CPU at once. */
void selftest_run(unsigned cpu);

/* ---- torture.c ------------------------------------------------------------------ */

/* Called by every CPU at once. */
void torture_prepare(bool without_flush, bool without_kernel_flush);
void torture_run(unsigned cpu);
void torture_finish(void);
/* A fault in kernel mode that only wanted a mark set; true: again. */
bool torture_mends(uint64_t va, unsigned access);

/* ---- bench.c --------------------------------------------------------------------- */

void bench_run(void);

/* ---- image.c --------------------------------------------------------------------- */

/* The kernel's half: on every CPU, in every space. */
extern struct mmk_pmap kernel_half;
/* From here on nothing is there but what is entered while the kernel runs. */
#define KERNEL_FREE_VA \
	(kernel_half.base_va + mmk_pt_va_limit(&kernel_pmaps.shape) / 2)

/* pre: there is no pmap. is_damaged: the text can be written, to see it noticed. */
void image_init(const struct mmk_phys_span *ram, size_t nr_ram,
    bool is_damaged);
/* First of all, on each CPU. */
void image_activate(unsigned cpu);
/* On each CPU: panics if it is not so. */
void image_check(unsigned cpu);

/* ---- show.c ---------------------------------------------------------------------- */

/* Called by every CPU at once. `image` is a program. Does not return. */
void show_run(unsigned cpu, const void *image, size_t bytes)
    __attribute__((noreturn));

/* ---- all CPUs --------------------------------------------------------------------- */

/* Idle until it is so; who makes it so calls arch_cpu_wake(). */
void cpus_wait_until(bool (*is_so)(unsigned arg), unsigned arg);
/* Returns when all CPUs have come here. */
void cpus_meet(void);

#endif /* KERNEL_H */
