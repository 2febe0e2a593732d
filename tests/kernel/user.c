/* SPDX-License-Identifier: MIT
 *
 * tests/kernel/user.c: loads, stores and fetches that a program makes
 *
 * WHAT    The tests' accesses are done in user mode, by the processor: it enters
 *         user.S, or the address that is to be executed, and comes back through
 *         a trap; machine.c tells what trap that was. The code, and a page for
 *         each CPU to copy through, are in the kernel's half of the addresses,
 *         the second entry of its top table: the same whichever pmap is active.
 *
 *         Of what is executed, one instruction at most, whatever it is: the
 *         processor is in single-step mode, and every register is an address
 *         that leads nowhere. Any trap but a fault of the fetch says that the
 *         instruction was fetched.
 *
 * SOURCE  Intel SDM vol. 3B, 17.3.1.4 (single step); Arm ARM, DDI 0487, D2.11
 *         (software step).
 */
#include "examples/kernel/kernel.h"
#include "machine.h"

#ifdef __x86_64__
#include "examples/kernel/x86_64/cpu.h"
#define FETCH_STEP ((uint64_t)1 << 8) /* RFLAGS.TF */
#define ROOT_OFFSET (PAGE / 8 / 2)
#else
#define ROOT_OFFSET 0
#define FETCH_STEP ((uint64_t)1 << 21) /* SPSR.SS */
#endif

#define NOWHERE UINT64_C(0x5555555555555555) /* canonical in no shape */
#define TRAP_STACK_ORDER 2u

extern const char code_begin[], code_load[], code_store[], code_copy[],
    code_tag[], code_end[]; /* user.S */

/* Guards: [I] immutable after user_init */
static struct {
	uint64_t code_va;                  /* [I] a page, and one for each CPU */
	char *buffers[MMKIT_CPU_MAX];      /* [I] those, as the kernel sees them */
	char *trap_stacks[MMKIT_CPU_MAX];  /* [I] their ends */
} user;

/* ---- the pages ------------------------------------------------------------------- */

static struct mmk_frame *
zeros(unsigned order)
{
	struct mmk_frame *frame = machine_frames(order);

	CHECK(frame != NULL);
	memset(mmk_frame_ptr(&kernel_phys, frame), 0, (size_t)(PAGE << order));
	return frame;
}

static unsigned
index_at(uint64_t va, unsigned level)
{
	unsigned page_shift = arch_shape()->page_shift;

	return (unsigned)((va - kernel_half.base_va) >>
	    (page_shift + level * (page_shift - 3)) & (PAGE / 8 - 1));
}

/* A page for user mode, in the kernel's half, where mmkit would refuse it: so by
 * hand. Of x86_64's root the upper half begins in the middle. */
static char *
map_page(uint64_t va, unsigned prot)
{
	const struct mmk_pt_shape *shape = arch_shape();
	struct mmk_frame *page = zeros(0);
	uint64_t *table =
	    (uint64_t *)MMKIT_PHYS_TO_PTR(kernel_half.root_pa) + ROOT_OFFSET;

	for (unsigned level = shape->nr_levels - 1u; level > 0; level--) {
		uint64_t *slot = &table[index_at(va, level)];

		if (!mmk_pt_is_present(shape, level, *slot))
			*slot = mmk_pt_make_table(shape, level,
			    mmk_frame_pa(&kernel_phys, zeros(0)));
		table = (uint64_t *)MMKIT_PHYS_TO_PTR(
		    mmk_pt_pa(shape, level, *slot));
	}
	table[index_at(va, 0)] = mmk_pt_make_leaf(shape, 0,
	    mmk_frame_pa(&kernel_phys, page), prot | MMK_PMAP_USER |
	        MMK_PMAP_ACCESSED | MMK_PMAP_MODIFIED);
	return (char *)mmk_frame_ptr(&kernel_phys, page);
}

void
user_init(void)
{
	unsigned page_shift = arch_shape()->page_shift;
	unsigned top = arch_shape()->nr_levels - 1u;
	char *code;

	user.code_va = kernel_half.base_va +
	    ((uint64_t)1 << (page_shift + top * (page_shift - 3)));
	code = map_page(user.code_va, MMK_PROT_READ | MMK_PROT_EXEC);
	memcpy(code, code_begin, (size_t)(code_end - code_begin));
	for (unsigned cpu = 0; cpu < arch_cpu_count(); cpu++) {
		user.buffers[cpu] = map_page(user.code_va + (cpu + 1) * PAGE,
		    MMK_PROT_READ | MMK_PROT_WRITE);
		user.trap_stacks[cpu] = (char *)mmk_frame_ptr(&kernel_phys,
		    zeros(TRAP_STACK_ORDER)) + (PAGE << TRAP_STACK_ORDER);
	}
#ifndef __x86_64__
	__asm__ volatile("dsb ish\n\tic ialluis\n\tdsb ish\n\tisb" : : : "memory");
#endif
}

/* ---- accesses -------------------------------------------------------------------- */

static void
set_registers(struct arch_frame *frame, const uint64_t values[4])
{
#ifdef __x86_64__
	frame->rdi = values[0];
	frame->rsi = values[1];
	frame->rdx = values[2];
	frame->rcx = values[3];
#else
	for (unsigned i = 0; i < 4; i++)
		frame->x[i] = values[i];
#endif
}

static void __attribute__((noreturn))
leave(const struct arch_frame *frame)
{
	arch_use_stack(user.trap_stacks[arch_cpu_id()]);
	arch_enter_user(frame);
}

static void __attribute__((noreturn))
enter(const char *code, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	const uint64_t registers[4] = { a, b, c, d };
	struct arch_frame frame;

	arch_frame_init(&frame, user.code_va + (uint64_t)(code - code_begin),
	    NOWHERE);
	set_registers(&frame, registers);
	leave(&frame);
}

void
user_load_word(uint64_t va)
{
	enter(code_load, 0, va, 0, 0);
}

void
user_store_word(uint64_t va, uint64_t word)
{
	enter(code_store, va, 0, word, 0);
}

void *
user_buffer(void)
{
	return user.buffers[arch_cpu_id()];
}

void
user_copy_bytes(uint64_t va, size_t bytes, bool is_store)
{
	uint64_t own_va = user.code_va + (arch_cpu_id() + 1) * PAGE;

	if (is_store)
		enter(code_copy, va, own_va, 0, bytes);
	else
		enter(code_copy, own_va, va, 0, bytes);
}

#ifdef __aarch64__
void
user_tag_bytes(uint64_t va)
{
	enter(code_tag, 0, va, 0, 0);
}

/* PSTATE.BTYPE is what an indirect branch leaves. */
void
user_branch(uint64_t va)
{
	struct arch_frame frame;

	arch_frame_init(&frame, va, NOWHERE);
	frame.pstate |= (uint64_t)1 << 10;
	leave(&frame);
}
#endif

void
user_fetch(uint64_t va)
{
	struct arch_frame frame;

	arch_frame_init(&frame, va, NOWHERE);
#ifdef __x86_64__
	uint64_t *registers = &frame.r15;

	for (unsigned i = 0; i < 15; i++)
		registers[i] = NOWHERE;
	frame.rflags |= FETCH_STEP;
#else
	for (unsigned i = 0; i < 31; i++)
		frame.x[i] = NOWHERE;
	frame.pstate |= FETCH_STEP;
	/* MDSCR_EL1.SS, which counts once the OS lock is open. */
	__asm__ volatile("msr oslar_el1, xzr\n\tmsr mdscr_el1, %0\n\tisb"
	                 :
	                 : "r"((uint64_t)1));
#endif
	leave(&frame);
}

void
user_fetch_end(void)
{
#ifndef __x86_64__
	__asm__ volatile("msr mdscr_el1, xzr\n\tisb");
#endif
}
