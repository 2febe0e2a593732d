/* SPDX-License-Identifier: MIT
 *
 * examples/hosted/limits.c: setrlimit, as far as it is about memory
 *
 * WHAT    RLIMIT_AS limits mmkit's map, not the host's mappings, which are a
 *         TLB: the host is never told. RLIMIT_STACK is told to both: the host
 *         lays out the arguments of execve by it, mmkit grows stacks by it.
 */
#include "hosted.h"

#include <errno.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>

void
limits_apply(struct task *task)
{
	uint64_t stack_bytes = (uint64_t)1 << 30;
	struct rlimit limit;

	if (prlimit(task->pid, RLIMIT_STACK, NULL, &limit) == 0 &&
	    limit.rlim_cur < stack_bytes)
		stack_bytes = limit.rlim_cur;
	task->mm->space.map.stack_limit_pages =
	    mmk_pages_of_bytes(stack_bytes);
	task->mm->space.map.limit_pages = task->space_limit > SPACE_MAX_VA
	    ? UINT64_MAX /* the gate is not the program's */
	    : mmk_pages_of_bytes(task->space_limit + GATE_BYTES);
}

/* RLIMIT_AS of the task itself. */
static void
limit_space(struct task *task, mmk_va new_va, mmk_va old_va)
{
	struct rlimit limit = { task->space_limit, UINT64_MAX };
	struct rlimit new = limit;
	enum mmk_err err = MMK_OK;

	if (new_va != 0)
		err = user_read(task->mm, new_va, &new, sizeof new);
	if (err == MMK_OK && old_va != 0)
		err = user_write(task->mm, old_va, &limit, sizeof limit);
	if (err == MMK_ERR_NOMEM) {
		out_of_memory(task);
		return;
	}
	task_answer(task, err != MMK_OK ? -EFAULT : 0);
	if (err != MMK_OK || new_va == 0)
		return;
	task->space_limit = new.rlim_cur;
	limits_apply(task);
}

/* RLIMIT_STACK: the host decides whether it may be, we follow. */
static void
limit_stack(struct task *task, mmk_va new_va)
{
	struct rlimit new;

	if (user_read(task->mm, new_va, &new, sizeof new) == MMK_OK &&
	    new.rlim_cur < (uint64_t)1 << 30)
		task->mm->space.map.stack_limit_pages =
		    mmk_pages_of_bytes(new.rlim_cur);
}

void
call_limits(struct task *task)
{
	const struct user_regs_struct *regs = &task->regs;
	bool is_prlimit = (long)regs->orig_rax == SYS_prlimit64;
	bool is_set = (long)regs->orig_rax == SYS_setrlimit;
	uint64_t which = is_prlimit ? regs->rsi : regs->rdi;
	mmk_va new_va = is_prlimit ? regs->rdx : is_set ? regs->rsi : 0;
	mmk_va old_va = is_prlimit ? regs->r10 : is_set ? 0 : regs->rsi;

	if (is_prlimit && regs->rdi != 0 && (pid_t)regs->rdi != task->pid)
		new_va = 0;
	else if (which == RLIMIT_AS) {
		limit_space(task, new_va, old_va);
		return;
	}
	if (which == RLIMIT_STACK && new_va != 0)
		limit_stack(task, new_va);
	new_va = is_prlimit ? regs->rdx : new_va;
	if ((new_va != 0 && !user_ensure(task->mm, new_va,
	        sizeof(struct rlimit), MMK_PROT_READ)) ||
	    (old_va != 0 && !user_ensure(task->mm, old_va,
	        sizeof(struct rlimit), MMK_PROT_WRITE)))
		out_of_memory(task);
}
