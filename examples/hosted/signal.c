/* SPDX-License-Identifier: MIT
 *
 * examples/hosted/signal.c: signals
 *
 * WHAT    The host writes a signal's frame to the program's stack and reads it
 *         back at rt_sigreturn: the stack is made writable before the signal is
 *         let through.
 *
 *         Every TLB miss is a SIGSEGV of the host's. Were it blocked, ignored
 *         or in its own handler at that moment, the host would kill the
 *         program's handler with it. So the host is never told that SIGSEGV is
 *         blocked or ignored: we remember that the program has said so.
 */
#include "hosted.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#define BIT_OF(sig) ((uint64_t)1 << ((sig) - 1))
#define NR_SIGNALS 65
/* Linux's own numbers; the C library's differ or hide them. */
#define HANDLER_DEFAULT 0u
#define HANDLER_IGNORE 1u
#define UCONTEXT_MASK_BYTES 296u

void
signals_copy(struct task *child, const struct task *parent)
{
	memcpy(child->actions, parent->actions,
	    NR_SIGNALS * sizeof *child->actions);
	memcpy(child->marks, parent->marks, sizeof child->marks);
	child->nr_marks = parent->nr_marks;
	child->segv_blocked = parent->segv_blocked;
	child->alt_va = parent->alt_va;
	child->alt_bytes = parent->alt_bytes;
}

void
signals_reset_for_exec(struct task *task)
{
	for (int sig = 1; sig < NR_SIGNALS; sig++)
		if (task->actions[sig].handler != HANDLER_IGNORE)
			memset(&task->actions[sig], 0, sizeof(struct action));
	task->nr_marks = 0;
	task->alt_va = 0;
	task->alt_bytes = 0;
}

/* ---- delivery ------------------------------------------------------------ */

static bool
has_handler(const struct task *task, int sig)
{
	return sig > 0 && sig < NR_SIGNALS &&
	    task->actions[sig].handler > HANDLER_IGNORE;
}

static mmk_va
frame_top(const struct task *task, int sig)
{
	mmk_va sp = task->regs.rsp;

	if ((task->actions[sig].flags & SA_ONSTACK) != 0 &&
	    task->alt_bytes != 0 && sp - task->alt_va > task->alt_bytes)
		return task->alt_va + task->alt_bytes;
	return sp;
}

static void
mark_frame(struct task *task, int sig, mmk_va top_va)
{
	const struct action *action = &task->actions[sig];

	if ((action->mask & BIT_OF(SIGSEGV)) == 0 &&
	    (sig != SIGSEGV || (action->flags & SA_NODEFER) != 0))
		return;
	if (task->nr_marks == NR_MARKS)
		memmove(task->marks, task->marks + 1,
		    --task->nr_marks * sizeof *task->marks);
	task->marks[task->nr_marks++] =
	    (struct sigframe_mark){ top_va, task->segv_blocked };
	task->segv_blocked = true;
}

void
signal_deliver(struct task *task, const siginfo_t *info)
{
	int sig = info->si_signo;

	if (has_handler(task, sig)) {
		mmk_va top_va = frame_top(task, sig);

		if (!user_ensure(task->mm, top_va - machine.frame_bytes,
		    machine.frame_bytes, MMK_PROT_WRITE)) {
			out_of_memory(task);
			return;
		}
		mark_frame(task, sig, top_va);
		if ((task->actions[sig].flags & SA_RESETHAND) != 0)
			task->actions[sig].handler = HANDLER_DEFAULT;
	}
	if (!task_settle(task))
		return;
	if (task->at != AT_SIGNAL &&
	    task_call(task, SYS_getpid, 0, 0, 0, 0, 0, 0) == -ESRCH)
		return;
	if (ptrace(PTRACE_SETSIGINFO, task->pid, 0, info) != 0) {
		task->is_gone = true;
		return;
	}
	task_resume(task, sig);
}

/* A fault whose signal cannot wait, and which no handler may see, is death. */
void
signal_force(struct task *task, siginfo_t *info)
{
	int sig = info->si_signo;
	uint64_t mask = 0;
	bool is_blocked;

	if (ptrace(PTRACE_GETSIGMASK, task->pid, 8, &mask) != 0) {
		task->is_gone = true;
		return;
	}
	is_blocked = sig == SIGSEGV ? task->segv_blocked
	                            : (mask & BIT_OF(sig)) != 0;
	if (has_handler(task, sig) && !is_blocked) {
		signal_deliver(task, info);
		return;
	}
	memset(slot_scratch(task), 0, 32);
	if (task_call(task, SYS_rt_sigaction, (uint64_t)sig,
	    slot_scratch_va(task), 0, 8, 0, 0) == -ESRCH)
		return;
	mask &= ~BIT_OF(sig);
	if (ptrace(PTRACE_SETSIGMASK, task->pid, 8, &mask) != 0 ||
	    ptrace(PTRACE_SETSIGINFO, task->pid, 0, info) != 0) {
		task->is_gone = true;
		return;
	}
	task_resume(task, sig);
}

void
handle_signal_stop(struct task *task, int sig)
{
	siginfo_t info;

	if (ptrace(PTRACE_GETSIGINFO, task->pid, 0, &info) != 0) {
		task->is_gone = true;
		return;
	}
	if (task->mm == NULL) {
		task_resume(task, sig);
		return;
	}
	if (slot_contains(task->regs.rip)) {
		if (!task_leave_slot(task, &info))
			return;
		if (info.si_signo == 0) {
			task_resume(task, 0);
			return;
		}
	}
	if (sig == SIGSEGV && info.si_code > 0 && info.si_code != SI_KERNEL) {
		handle_segv(task, &info);
		return;
	}
	machine.counts.signal_stops++;
	if (sig == SIGSEGV && info.si_code == SI_KERNEL) {
		signal_force(task, &info);
		return;
	}
	if (sig == SIGSEGV &&
	    task->actions[SIGSEGV].handler == HANDLER_IGNORE) {
		task_resume(task, 0);
		return;
	}
	signal_deliver(task, &info);
}

/* ---- the calls ----------------------------------------------------------- */

/* EFAULT to the program; no memory is its end. */
static bool
is_copied(struct task *task, enum mmk_err err)
{
	if (err == MMK_ERR_NOMEM)
		out_of_memory(task);
	else if (err != MMK_OK)
		task_answer(task, -EFAULT);
	return err == MMK_OK;
}

void
call_sigaction(struct task *task)
{
	uint64_t sig = task->regs.rdi, new_va = task->regs.rsi;
	uint64_t old_va = task->regs.rdx;
	struct action new = { 0 }, host, old;

	task_answer(task, 0);
	if (task->regs.r10 != 8 || sig == 0 || sig >= NR_SIGNALS ||
	    (new_va != 0 && (sig == SIGKILL || sig == SIGSTOP))) {
		task_answer(task, -EINVAL);
		return;
	}
	if (new_va != 0 && !is_copied(task,
	    user_read(task->mm, new_va, &new, sizeof new)))
		return;
	old = task->actions[sig];
	if (new_va != 0) {
		host = new;
		host.mask &= ~BIT_OF(SIGSEGV);
		if (sig == SIGSEGV) {
			host.flags |= SA_NODEFER;
			if (host.handler == HANDLER_IGNORE)
				host.handler = HANDLER_DEFAULT;
		}
		new.mask &= ~(BIT_OF(SIGKILL) | BIT_OF(SIGSTOP));
		task->actions[sig] = new;
		memcpy(slot_scratch(task), &host, sizeof host);
		task_last_call(task, SYS_rt_sigaction, sig,
		    slot_scratch_va(task), 0, 8, 0, 0);
	}
	if (old_va != 0 && !is_copied(task,
	    user_write(task->mm, old_va, &old, sizeof old)))
		task->has_last_call = false;
}

void
call_sigprocmask(struct task *task)
{
	uint64_t how = task->regs.rdi, set_va = task->regs.rsi;
	uint64_t old_va = task->regs.rdx;
	uint64_t set = 0, old = 0, new;

	task_answer(task, 0);
	if (task->regs.r10 != 8) {
		task_answer(task, -EINVAL);
		return;
	}
	if (set_va != 0 &&
	    !is_copied(task, user_read(task->mm, set_va, &set, sizeof set)))
		return;
	if (ptrace(PTRACE_GETSIGMASK, task->pid, 8, &old) != 0) {
		task->is_gone = true;
		return;
	}
	if (task->segv_blocked)
		old |= BIT_OF(SIGSEGV);
	new = how == SIG_BLOCK ? old | set
	    : how == SIG_UNBLOCK ? old & ~set : set;
	if (set_va != 0 && how > SIG_SETMASK) {
		task_answer(task, -EINVAL);
		return;
	}
	if (set_va != 0) {
		task->segv_blocked = (new & BIT_OF(SIGSEGV)) != 0;
		new &= ~BIT_OF(SIGSEGV);
		if (ptrace(PTRACE_SETSIGMASK, task->pid, 8, &new) != 0)
			task->is_gone = true;
	}
	if (old_va != 0)
		(void)is_copied(task,
		    user_write(task->mm, old_va, &old, sizeof old));
}

void
call_sigreturn(struct task *task)
{
	mmk_va context_va = task->regs.rsp;
	uint64_t mask;

	if (!user_ensure(task->mm, context_va - 8, machine.frame_bytes,
	    MMK_PROT_READ)) {
		out_of_memory(task);
		return;
	}
	/* The call is run again if something had to be filled in. */
	if (task->mm->tlb.nr_ops > 0)
		return;
	task->segv_blocked = false;
	while (task->nr_marks > 0) {
		const struct sigframe_mark *mark =
		    &task->marks[--task->nr_marks];

		if (mark->frame_va - context_va <= machine.frame_bytes) {
			task->segv_blocked = mark->was_blocked;
			break;
		}
	}
	if (user_read(task->mm, context_va + UCONTEXT_MASK_BYTES, &mask,
	    sizeof mask) != MMK_OK || (mask & BIT_OF(SIGSEGV)) == 0)
		return;
	task->segv_blocked = true;
	mask &= ~BIT_OF(SIGSEGV);
	if (user_write(task->mm, context_va + UCONTEXT_MASK_BYTES, &mask,
	    sizeof mask) == MMK_ERR_NOMEM)
		out_of_memory(task);
}

void
call_sigaltstack(struct task *task)
{
	struct { uint64_t sp; uint32_t flags, pad; uint64_t bytes; } stack;
	mmk_va va = task->regs.rdi;

	if (!user_ensure(task->mm, va, va == 0 ? 0 : sizeof stack,
	    MMK_PROT_READ) ||
	    !user_ensure(task->mm, task->regs.rsi,
	        task->regs.rsi == 0 ? 0 : sizeof stack, MMK_PROT_WRITE)) {
		out_of_memory(task);
		return;
	}
	if (va == 0 ||
	    user_read(task->mm, va, &stack, sizeof stack) != MMK_OK)
		return;
	task->alt_va = stack.sp;
	task->alt_bytes = (stack.flags & SS_DISABLE) != 0 ? 0 : stack.bytes;
}
