/* SPDX-License-Identifier: MIT
 *
 * examples/hosted/inject.c: make a traced task do system calls
 *
 * WHAT    Every process has one host mapping of ours, the gate; every task owns
 *         one slot of it: a little code and a table of calls. We write the
 *         table through our own mapping of the slot and point the task at the
 *         code, which works it off and then either
 *
 *           takes the program's registers from the slot and jumps back, so that
 *           a fault costs one stop only, or
 *           traps (int3), where we want to see the result.
 *
 *         A signal that finds the task inside its slot is held until the table
 *         has been worked off from the start: calls in it may run twice.
 *
 *             slot   0x000  code
 *                    0x200  the program's registers
 *                    0x2c0  number of calls, mode
 *                    0x300  scratch: structures that calls point to
 *                    0x500  calls, 64 bytes each
 */
#include "hosted.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MODE_RETURN 0u /* to the program */
#define MODE_TRAP 1u
#define MODE_RETURN_RAX 2u /* to the program, with the last call's result */

struct slot_call {
	uint64_t nr, args[6], unused;
};

struct slot {
	uint8_t code[0x200];
	uint64_t r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8;
	uint64_t rax, rcx, rdx, rsi, rdi, rip, eflags, rsp;
	uint8_t pad[0x30];
	uint32_t nr_calls, mode;
	uint8_t pad2[0x38];
	uint8_t scratch[SLOT_SCRATCH_BYTES];
	struct slot_call calls[(SLOT_BYTES - 0x500) / 64];
};
_Static_assert(sizeof(struct slot) == SLOT_BYTES, "a slot");
_Static_assert(offsetof(struct slot, nr_calls) == 0x2c0, "as the code has it");
_Static_assert(offsetof(struct slot, calls) == 0x500, "as the code has it");
#define NR_SLOT_CALLS ((SLOT_BYTES - 0x500) / 64)

extern const uint8_t gate_code[], gate_fail[], gate_end[];
__asm__(
    ".pushsection .rodata\n"
    ".balign 16\n"
    "gate_code:\n"
    "	lea gate_code+0x500(%rip), %rbx\n"
    "	mov gate_code+0x2c0(%rip), %ebp\n"
    "1:	test %ebp, %ebp\n"
    "	jz 2f\n"
    "	mov 0(%rbx), %rax\n"
    "	mov 8(%rbx), %rdi\n"
    "	mov 16(%rbx), %rsi\n"
    "	mov 24(%rbx), %rdx\n"
    "	mov 32(%rbx), %r10\n"
    "	mov 40(%rbx), %r8\n"
    "	mov 48(%rbx), %r9\n"
    "	syscall\n"
    "	add $64, %rbx\n"
    "	dec %ebp\n"
    "	jz 2f\n"
    "	cmp $-4096, %rax\n"
    "	jbe 1b\n"
    "	jmp 4f\n"
    "2:	cmpl $1, gate_code+0x2c4(%rip)\n"
    "	je 5f\n"
    "	cmpl $2, gate_code+0x2c4(%rip)\n"
    "	je 3f\n"
    "	cmp $-4096, %rax\n"
    "	ja 4f\n"
    "	mov gate_code+0x250(%rip), %rax\n"
    "3:	mov gate_code+0x200(%rip), %r15\n"
    "	mov gate_code+0x208(%rip), %r14\n"
    "	mov gate_code+0x210(%rip), %r13\n"
    "	mov gate_code+0x218(%rip), %r12\n"
    "	mov gate_code+0x220(%rip), %rbp\n"
    "	mov gate_code+0x228(%rip), %rbx\n"
    "	mov gate_code+0x230(%rip), %r11\n"
    "	mov gate_code+0x238(%rip), %r10\n"
    "	mov gate_code+0x240(%rip), %r9\n"
    "	mov gate_code+0x248(%rip), %r8\n"
    "	mov gate_code+0x258(%rip), %rcx\n"
    "	mov gate_code+0x260(%rip), %rdx\n"
    "	mov gate_code+0x268(%rip), %rsi\n"
    "	mov gate_code+0x270(%rip), %rdi\n"
    "	lea gate_code+0x280(%rip), %rsp\n"
    "	popfq\n"
    "	mov gate_code+0x288(%rip), %rsp\n"
    "	jmp *gate_code+0x278(%rip)\n"
    "4:	int3\n"
    "gate_fail:\n"
    "5:	int3\n"
    "gate_end:\n"
    ".popsection\n");

static struct slot *
slot_of(const struct task *task)
{
	return (struct slot *)(void *)(machine.gate +
	    task->slot * SLOT_BYTES);
}

static mmk_va
slot_va(const struct task *task)
{
	return GATE_VA + task->slot * SLOT_BYTES;
}

void *
slot_scratch(const struct task *task)
{
	return slot_of(task)->scratch;
}

mmk_va
slot_scratch_va(const struct task *task)
{
	return slot_va(task) + offsetof(struct slot, scratch);
}

bool
slot_contains(mmk_va va)
{
	return va - GATE_VA < GATE_BYTES;
}

void
gate_init(void)
{
	void *ptr = mmap(NULL, GATE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
	    machine.ram_fd, (off_t)machine.options.ram_bytes);

	if (ptr == MAP_FAILED)
		die(STATUS_BROKEN, "cannot map the gate: %s", strerror(errno));
	machine.gate = (uint8_t *)ptr;
}

static void
slot_prepare(struct slot *slot)
{
	if (slot->code[0] == 0)
		memcpy(slot->code, gate_code, (size_t)(gate_end - gate_code));
}

/* ---- ptrace -------------------------------------------------------------- */

static bool
trace(struct task *task, long request, uintptr_t data)
{
	if (task->is_gone)
		return false;
	if (ptrace((enum __ptrace_request)request, task->pid, 0,
	    (void *)data) == 0)
		return true;
	if (errno != ESRCH)
		die(STATUS_BROKEN, "ptrace(%ld) of %d: %s", request,
		    (int)task->pid, strerror(errno));
	task->is_gone = true;
	return false;
}

bool
task_get_regs(struct task *task)
{
	task->regs_dirty = false;
	return trace(task, PTRACE_GETREGS, (uintptr_t)&task->regs);
}

void
task_kill(struct task *task)
{
	task->is_doomed = true;
	kill(task->pid, SIGKILL);
}

/*
 * Was the task stopped on its way out of a system call that would be run again?
 * The kernel does that when it sees these registers; our code in the slot does
 * not, so it is done here.
 */
static void
redo_interrupted(struct user_regs_struct *regs)
{
	long result = (long)regs->rax;

	if ((long)regs->orig_rax < 0)
		return;
	if (result == -512 || result == -513 || result == -514) {
		regs->rax = regs->orig_rax;
		regs->rip -= 2;
	} else if (result == -516) {
		regs->rax = SYS_restart_syscall;
		regs->rip -= 2;
	}
}

/* ---- the table of a slot ------------------------------------------------- */

static void
slot_add(struct slot *slot, const uint64_t *call)
{
	struct slot_call *row = &slot->calls[slot->nr_calls++];

	row->nr = call[0];
	memcpy(row->args, call + 1, sizeof row->args);
	machine.counts.injected_calls++;
}

static int
host_prot(unsigned prot)
{
	return ((prot & MMK_PROT_READ) != 0 ? PROT_READ : 0) |
	    ((prot & MMK_PROT_WRITE) != 0 ? PROT_WRITE : 0) |
	    ((prot & MMK_PROT_EXEC) != 0 ? PROT_EXEC : 0);
}

static void
slot_add_op(struct slot *slot, const struct tlb_op *op)
{
	uint64_t fill[7] = { SYS_mmap, op->va, op->bytes,
		(uint64_t)host_prot(op->prot), MAP_SHARED | MAP_FIXED,
		(uint64_t)machine.ram_fd, op->pa };
	uint64_t drop[7] = { SYS_munmap, op->va, op->bytes, 0, 0, 0, 0 };

	slot_add(slot, op->is_fill ? fill : drop);
	if (op->is_fill)
		machine.counts.fills++;
	else
		machine.counts.drops++;
}

/* Move ops from the TLB into the slot, as many as fit beside nr_more calls. */
static void
slot_take_ops(struct slot *slot, struct tlb *tlb, size_t nr_more)
{
	size_t nr = tlb->nr_ops;

	if (nr > NR_SLOT_CALLS - nr_more)
		nr = NR_SLOT_CALLS - nr_more;
	for (size_t i = 0; i < nr; i++)
		slot_add_op(slot, &tlb->ops[i]);
	tlb->nr_ops -= nr;
	memmove(tlb->ops, tlb->ops + nr, tlb->nr_ops * sizeof *tlb->ops);
}

static void
slot_save_regs(struct slot *slot, const struct user_regs_struct *regs)
{
	slot->r15 = regs->r15;
	slot->r14 = regs->r14;
	slot->r13 = regs->r13;
	slot->r12 = regs->r12;
	slot->rbp = regs->rbp;
	slot->rbx = regs->rbx;
	slot->r11 = regs->r11;
	slot->r10 = regs->r10;
	slot->r9 = regs->r9;
	slot->r8 = regs->r8;
	slot->rax = regs->rax;
	slot->rcx = regs->rcx;
	slot->rdx = regs->rdx;
	slot->rsi = regs->rsi;
	slot->rdi = regs->rdi;
	slot->rip = regs->rip;
	slot->eflags = regs->eflags & ~(uint64_t)0x10100; /* RF, TF */
	slot->rsp = regs->rsp;
}

static void
slot_load_regs(const struct slot *slot, struct user_regs_struct *regs)
{
	regs->r15 = slot->r15;
	regs->r14 = slot->r14;
	regs->r13 = slot->r13;
	regs->r12 = slot->r12;
	regs->rbp = slot->rbp;
	regs->rbx = slot->rbx;
	regs->r11 = slot->r11;
	regs->r10 = slot->r10;
	regs->r9 = slot->r9;
	regs->r8 = slot->r8;
	regs->rax = slot->rax;
	regs->rcx = slot->rcx;
	regs->rdx = slot->rdx;
	regs->rsi = slot->rsi;
	regs->rdi = slot->rdi;
	regs->rip = slot->rip;
	regs->eflags = slot->eflags;
	regs->rsp = slot->rsp;
	regs->orig_rax = UINT64_MAX;
}

/* Point the stopped task at its slot. */
static bool
slot_enter(struct task *task, unsigned mode)
{
	struct user_regs_struct regs = task->regs;

	slot_of(task)->mode = mode;
	regs.rip = slot_va(task);
	regs.rax = 0;
	regs.orig_rax = UINT64_MAX;
	regs.eflags &= ~(uint64_t)0x10100;
	return trace(task, PTRACE_SETREGS, (uintptr_t)&regs);
}

/* ---- calls whose end we wait for ----------------------------------------- */

static void
stash(struct task *task, const siginfo_t *info)
{
	if (task->nr_stashed < NR_STASHED)
		task->stashed[task->nr_stashed++] = *info;
}

void
task_stash(struct task *task)
{
	siginfo_t info;

	if (trace(task, PTRACE_GETSIGINFO, (uintptr_t)&info))
		stash(task, &info);
}

/* A stop while the task works in its slot. true: the table is through. */
static bool
slot_is_through(struct task *task, int status, long *result_out)
{
	int event = status >> 16;
	siginfo_t info;

	if (event == PTRACE_EVENT_EXIT) {
		event_push(task->pid, status);
		task->is_gone = true;
		return true;
	}
	if (event != 0) {
		(void)trace(task, PTRACE_CONT, 0);
		return false;
	}
	if (WSTOPSIG(status) == SIGTRAP) {
		struct user_regs_struct regs;

		if (!trace(task, PTRACE_GETREGS, (uintptr_t)&regs))
			return true;
		*result_out = (long)regs.rax;
		return true;
	}
	if (!trace(task, PTRACE_GETSIGINFO, (uintptr_t)&info))
		return true;
	if (info.si_signo != SIGSEGV || info.si_code <= 0)
		stash(task, &info);
	else if (slot_contains((mmk_va)(uintptr_t)info.si_addr))
		die(STATUS_BROKEN, "task %d fell out of its slot at %p",
		    (int)task->pid, info.si_addr);
	/* else a miss that an interruption has overtaken: it will come again */
	(void)trace(task, PTRACE_CONT, 0);
	return false;
}

static long
slot_run_and_wait(struct task *task)
{
	long result = -ESRCH;
	int status;

	machine.counts.sync_injections++;
	if (!slot_enter(task, MODE_TRAP) || !trace(task, PTRACE_CONT, 0))
		return -ESRCH;
	for (;;) {
		if (waitpid(task->pid, &status, __WALL) != task->pid) {
			if (errno == EINTR)
				continue;
			task->is_gone = true;
			return -ESRCH;
		}
		if (!WIFSTOPPED(status)) {
			event_push(task->pid, status);
			task->is_gone = true;
			return -ESRCH;
		}
		if (slot_is_through(task, status, &result))
			break;
	}
	if (task->is_gone)
		return -ESRCH;
	task->at = AT_SIGNAL;
	task->regs_dirty = true;
	return result;
}

/*
 * At a stop before a system call, whatever we make the task do replaces the
 * call; it comes back to it afterwards.
 */
static void
leave_call(struct task *task)
{
	if (task->at == AT_SECCOMP && (long)task->regs.orig_rax >= 0) {
		task->regs.rax = task->regs.orig_rax;
		task->regs.rip -= 2;
		task->regs.orig_rax = UINT64_MAX;
		task->regs_dirty = true;
	}
}

/* The host has no room for more mappings; it is only a TLB. */
static void
evict(struct mm *mm)
{
	machine.counts.evictions++;
	tlb_drop_all(mm);
}

long
task_call(struct task *task, long nr, uint64_t a, uint64_t b, uint64_t c,
    uint64_t d, uint64_t e, uint64_t f)
{
	uint64_t call[7] = { (uint64_t)nr, a, b, c, d, e, f };
	struct slot *slot = slot_of(task);

	if (!task_settle(task))
		return -ESRCH;
	slot_prepare(slot);
	slot->nr_calls = 0;
	slot_add(slot, call);
	leave_call(task);
	return slot_run_and_wait(task);
}

bool
task_settle(struct task *task)
{
	struct slot *slot = slot_of(task);
	struct tlb *tlb = &task->mm->tlb;

	slot_prepare(slot);
	while (tlb->nr_ops > 0 && !task->is_gone) {
		long result;

		slot->nr_calls = 0;
		slot_take_ops(slot, tlb, 0);
		leave_call(task);
		result = slot_run_and_wait(task);
		if (task->is_gone)
			return false;
		if (result == -ENOMEM)
			evict(task->mm);
		else if (result < 0 && result > -4096)
			die(STATUS_BROKEN, "the host refused a mapping: %s",
			    strerror((int)-result));
	}
	return !task->is_gone;
}

void
task_last_call(struct task *task, long nr, uint64_t a, uint64_t b, uint64_t c,
    uint64_t d, uint64_t e, uint64_t f)
{
	uint64_t call[7] = { (uint64_t)nr, a, b, c, d, e, f };

	memcpy(task->last_call, call, sizeof call);
	task->has_last_call = true;
	task->regs.orig_rax = UINT64_MAX;
	task->regs_dirty = true;
}

void
task_answer(struct task *task, long result)
{
	task->regs.rax = (uint64_t)result;
	task->regs.orig_rax = UINT64_MAX;
	task->regs_dirty = true;
}

/* ---- going on ------------------------------------------------------------ */

static bool
regs_to_host(struct task *task)
{
	if (!task->regs_dirty)
		return true;
	task->regs_dirty = false;
	return trace(task, PTRACE_SETREGS, (uintptr_t)&task->regs);
}

/* Through the slot and on from there, without another stop. */
static void
resume_through_slot(struct task *task)
{
	struct slot *slot = slot_of(task);

	leave_call(task);
	redo_interrupted(&task->regs);
	slot_prepare(slot);
	slot->nr_calls = 0;
	slot_take_ops(slot, &task->mm->tlb, task->has_last_call ? 1 : 0);
	if (task->has_last_call)
		slot_add(slot, task->last_call);
	slot_save_regs(slot, &task->regs);
	task->at = AT_RUNNING;
	if (slot_enter(task, task->has_last_call ? MODE_RETURN_RAX
	                                         : MODE_RETURN))
		(void)trace(task, PTRACE_CONT, 0);
	task->has_last_call = false;
}

void
task_resume(struct task *task, int sig)
{
	if (task->is_gone || task->is_doomed || task->at == AT_RUNNING)
		return;
	if (sig == 0 && task->nr_stashed > 0 && task->mm != NULL &&
	    !task->has_last_call) {
		siginfo_t info = task->stashed[0];

		memmove(task->stashed, task->stashed + 1,
		    --task->nr_stashed * sizeof info);
		signal_deliver(task, &info);
		return;
	}
	if (task->mm != NULL && (sig != 0 || task->mm->tlb.nr_ops >=
	    NR_SLOT_CALLS - 1) && !task_settle(task))
		return;
	if (task->mm != NULL &&
	    (task->mm->tlb.nr_ops > 0 || task->has_last_call)) {
		resume_through_slot(task);
	} else if (regs_to_host(task)) {
		task->at = AT_RUNNING;
		(void)trace(task, PTRACE_CONT, (uintptr_t)sig);
	}
	if (task->nr_stashed > 0 && !task->is_gone)
		(void)trace(task, PTRACE_INTERRUPT, 0);
}

void
task_resume_to_exit(struct task *task)
{
	if (task->is_gone || task->is_doomed || !regs_to_host(task))
		return;
	task->at = AT_RUNNING;
	(void)trace(task, PTRACE_SYSCALL, 0);
}

/* ---- found in the slot --------------------------------------------------- */

bool
task_leave_slot(struct task *task, siginfo_t *info)
{
	struct slot *slot = slot_of(task);
	unsigned mode = slot->mode;
	mmk_va fail_va = slot_va(task) + (uint64_t)(gate_fail - gate_code);
	struct user_regs_struct regs = task->regs;
	long result;

	if (info->si_signo == SIGTRAP && regs.rip == fail_va) {
		if ((long)regs.rax != -ENOMEM)
			die(STATUS_BROKEN, "the host refused a mapping: %s",
			    strerror((int)-(long)regs.rax));
		slot_load_regs(slot, &task->regs);
		task->regs_dirty = true;
		evict(task->mm);
		info->si_signo = 0;
		return true;
	}
	result = slot_run_and_wait(task);
	if (task->is_gone)
		return false;
	slot_load_regs(slot, &task->regs);
	if (mode == MODE_RETURN_RAX)
		task->regs.rax = (uint64_t)result;
	else if (result < 0 && result > -4096)
		evict(task->mm);
	task->regs_dirty = true;
	return true;
}
