/* SPDX-License-Identifier: MIT
 *
 * examples/hosted/process.c: tasks come, go, and stop in between
 *
 * WHAT    One loop takes one stop at a time. A forked child starts with its
 *         parent's host mappings, writable ones included: it is a CPU whose TLB
 *         must be flushed before it runs an instruction, and it is, through the
 *         gate it inherits. What fork writes into user memory (child and parent
 *         ids) is taken out of the host's hands and done by us, because the host
 *         would write it through those mappings.
 *
 *         Threads (CLONE_THREAD) are refused: EAGAIN.
 */
#include "hosted.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct event {
	pid_t pid;
	int status;
};

static struct event *events;
static size_t nr_events, max_events;
static bool slots_used[NR_SLOTS];

/* ---- tasks --------------------------------------------------------------- */

struct task *
task_create(pid_t pid)
{
	struct task *task = xcalloc(1, sizeof *task);
	unsigned slot = 0;

	while (slot < NR_SLOTS && slots_used[slot])
		slot++;
	if (slot == NR_SLOTS)
		die(STATUS_BROKEN, "more than %u tasks", NR_SLOTS);
	slots_used[slot] = true;
	task->pid = pid;
	task->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	task->slot = slot;
	task->space_limit = UINT64_MAX;
	task->actions = xcalloc(65, sizeof *task->actions);
	task->next = machine.tasks;
	machine.tasks = task;
	return task;
}

struct task *
task_find(pid_t pid)
{
	struct task *task = machine.tasks;

	while (task != NULL && task->pid != pid)
		task = task->next;
	return task;
}

static void
task_destroy(struct task *task)
{
	struct task **link = &machine.tasks;

	while (*link != task)
		link = &(*link)->next;
	*link = task->next;
	if (task->mm != NULL)
		mm_unref(task->mm);
	if (task->child_mm != NULL)
		mm_unref(task->child_mm);
	slots_used[task->slot] = false;
	if (task->pidfd >= 0)
		close(task->pidfd);
	free(task->actions);
	free(task);
}

/* ---- events -------------------------------------------------------------- */

void
event_push(pid_t pid, int status)
{
	if (nr_events == max_events) {
		max_events = max_events == 0 ? 16 : max_events * 2;
		events = realloc(events, max_events * sizeof *events);
		if (events == NULL)
			die(STATUS_BROKEN, "no memory");
	}
	events[nr_events++] = (struct event){ pid, status };
}

static bool
event_take(pid_t pid, struct event *out)
{
	for (size_t i = 0; i < nr_events; i++) {
		if (pid >= 0 ? events[i].pid != pid
		             : task_find(events[i].pid) == NULL)
			continue;
		*out = events[i];
		memmove(events + i, events + i + 1,
		    (--nr_events - i) * sizeof *events);
		return true;
	}
	return false;
}

/* The next stop of anybody (pid -1) or of one task. false: there are none. */
static bool
event_wait(pid_t pid, struct event *out)
{
	uint64_t start_ns;

	if (event_take(pid, out))
		return true;
	start_ns = now_ns();
	for (;;) {
		int error;

		out->pid = waitpid(pid, &out->status, __WALL);
		error = errno;
		if (machine.wants_maps) {
			machine.wants_maps = 0;
			for (struct task *task = machine.tasks; task != NULL;
			     task = task->next)
				if (task->mm != NULL)
					report_maps(task->mm, task->name);
		}
		if (machine.wants_frames) {
			machine.wants_frames = 0;
			report_frames();
		}
		if (out->pid > 0 || error != EINTR)
			break;
	}
	machine.counts.wait_ns += now_ns() - start_ns;
	return out->pid > 0;
}

void
task_interrupt(struct task *task)
{
	struct event event;

	machine.counts.interrupts++;
	if (ptrace(PTRACE_INTERRUPT, task->pid, 0, 0) != 0 ||
	    !event_wait(task->pid, &event)) {
		task->is_gone = true;
		return;
	}
	event_push(event.pid, event.status);
	if (WIFSTOPPED(event.status))
		task->at = AT_EVENT;
	else
		task->is_gone = true;
}

/* ---- fork ---------------------------------------------------------------- */

static void
start_cloning(struct task *task, uint64_t flags)
{
	task->clone_flags = flags;
	task->is_cloning = true;
	if ((flags & CLONE_VM) == 0) {
		task->child_mm = mm_fork(task->mm);
		if (task->child_mm == NULL) {
			task->is_cloning = false;
			task_answer(task, -ENOMEM);
			return;
		}
	}
	machine.counts.forks++;
}

void
call_fork(struct task *task)
{
	task->exit_args[0] = task->regs.rdi;
	start_cloning(task, (long)task->regs.orig_rax == SYS_vfork
	    ? CLONE_VM | CLONE_VFORK : 0);
	if (task->is_cloning)
		task_resume_to_exit(task);
}

void
call_clone(struct task *task)
{
	uint64_t flags = task->regs.rdi;

	if ((flags & (CLONE_THREAD | CLONE_SIGHAND | CLONE_UNTRACED)) != 0 ||
	    ((flags & CLONE_VM) != 0 && (flags & CLONE_VFORK) == 0)) {
		if (!machine.has_warned_threads && machine.options.stats)
			say("%d %s: threads are not supported yet: EAGAIN",
			    (int)task->pid, task->name);
		machine.has_warned_threads = true;
		task_answer(task, -EAGAIN);
		return;
	}
	if ((flags & CLONE_PIDFD) != 0) {
		task_answer(task, -EINVAL);
		return;
	}
	task->exit_args[0] = flags;
	task->clone_ptid = task->regs.rdx;
	task->clone_ctid = task->regs.r10;
	start_cloning(task, flags);
	if (!task->is_cloning)
		return;
	task->regs.rdi = flags & ~(uint64_t)(CLONE_CHILD_SETTID |
	    CLONE_CHILD_CLEARTID | CLONE_PARENT_SETTID);
	task->regs_dirty = true;
	task_resume_to_exit(task);
}

static void
write_ids(struct task *task, struct task *child)
{
	int32_t id = (int32_t)child->pid;

	if ((task->clone_flags & CLONE_PARENT_SETTID) != 0 &&
	    user_write(task->mm, task->clone_ptid, &id, sizeof id) ==
	        MMK_ERR_NOMEM)
		out_of_memory(task);
	if ((task->clone_flags & CLONE_CHILD_SETTID) != 0 &&
	    user_write(child->mm, task->clone_ctid, &id, sizeof id) ==
	        MMK_ERR_NOMEM)
		out_of_memory(child);
}

/* The parent stands in fork; the child, before its first instruction. */
static void
handle_child(struct task *task)
{
	unsigned long pid = 0;
	struct event event;
	struct task *child;

	if (ptrace(PTRACE_GETEVENTMSG, task->pid, 0, &pid) != 0) {
		task->is_gone = true;
		return;
	}
	child = task_create((pid_t)pid);
	signals_copy(child, task);
	child->space_limit = task->space_limit;
	memcpy(child->name, task->name, sizeof child->name);
	if ((task->clone_flags & CLONE_VM) != 0) {
		child->mm = task->mm;
		child->mm->refs++;
		task->is_vfork_parent = true;
	} else {
		child->mm = task->child_mm;
		task->child_mm = NULL;
		tlb_drop_all(child->mm);
	}
	if (!event_wait(child->pid, &event) || !WIFSTOPPED(event.status)) {
		child->is_gone = true;
		event_push(child->pid, event.status);
		task_resume_to_exit(task);
		return;
	}
	write_ids(task, child);
	child->at = AT_EVENT;
	if (task_get_regs(child)) {
		child->regs.rdi = task->exit_args[0];
		child->regs.rax = 0;
		child->regs.orig_rax = UINT64_MAX;
		child->regs_dirty = true;
		task_resume(child, 0);
	}
	task_resume_to_exit(task);
}

static void
finish_cloning(struct task *task)
{
	task->is_cloning = false;
	task->regs.rdi = task->exit_args[0];
	task->regs_dirty = true;
	if (task->child_mm != NULL) { /* the host said no */
		mm_unref(task->child_mm);
		task->child_mm = NULL;
	}
	task_resume(task, 0);
}

/* ---- the end ------------------------------------------------------------- */

/* Its memory is about to go: what it shares with files goes to them first. */
static void
handle_exit_stop(struct task *task)
{
	if (task->mm != NULL && task->mm->refs == 1)
		file_before_any();
	(void)ptrace(PTRACE_CONT, task->pid, 0, 0);
}

static void
handle_end(struct task *task, int status)
{
	if (task->pid == machine.first_pid) {
		machine.first_status = status;
		machine.has_first_status = true;
		if (machine.options.maps && task->mm != NULL)
			report_maps(task->mm, task->name);
		report_frames();
	}
	task_destroy(task);
	shortage_is_over();
}

/* ---- the loop ------------------------------------------------------------ */

static void
handle_stop_event(struct task *task, int sig)
{
	if (sig == SIGSTOP || sig == SIGTSTP || sig == SIGTTIN ||
	    sig == SIGTTOU) {
		task->at = AT_RUNNING;
		(void)ptrace(PTRACE_LISTEN, task->pid, 0, 0);
		return;
	}
	/* Some calls end early when their task is stopped: not ours to tell. */
	if ((long)task->regs.orig_rax >= 0 && (long)task->regs.rax == -EINTR) {
		task->regs.rax = task->regs.orig_rax;
		task->regs.orig_rax = UINT64_MAX;
		task->regs.rip -= 2;
		task->regs_dirty = true;
	}
	if (task->mm != NULL && slot_contains(task->regs.rip)) {
		siginfo_t info = { 0 };

		if (!task_leave_slot(task, &info))
			return;
	}
	task_resume(task, 0);
}

static void
handle_stop(struct task *task, int status)
{
	int sig = WSTOPSIG(status);
	int event = status >> 16;

	task->at = AT_EVENT;
	if (event == PTRACE_EVENT_EXIT) {
		machine.counts.other_stops++;
		handle_exit_stop(task);
		return;
	}
	if (!task_get_regs(task))
		return;
	if (event == PTRACE_EVENT_SECCOMP) {
		task->at = AT_SECCOMP;
		handle_call(task);
	} else if (event == PTRACE_EVENT_FORK || event == PTRACE_EVENT_VFORK ||
	    event == PTRACE_EVENT_CLONE) {
		handle_child(task);
	} else if (event == PTRACE_EVENT_VFORK_DONE) {
		task->is_vfork_parent = false;
		task_resume_to_exit(task);
	} else if (event == PTRACE_EVENT_EXEC) {
		handle_exec(task);
	} else if (event == PTRACE_EVENT_STOP) {
		handle_stop_event(task, sig);
	} else if (sig == (SIGTRAP | 0x80)) {
		task->at = AT_CALL_EXIT;
		machine.counts.other_stops++;
		if (task->is_cloning)
			finish_cloning(task);
		else
			handle_call_exit(task);
	} else {
		task->at = AT_SIGNAL;
		handle_signal_stop(task, sig);
	}
}

void
process_loop(void)
{
	struct event event;

	while (machine.tasks != NULL && event_wait(-1, &event)) {
		struct task *task = task_find(event.pid);

		if (task == NULL)
			event_push(event.pid, event.status); /* its fork first */
		else if (WIFSTOPPED(event.status)) {
			handle_stop(task, event.status);
			report_check();
		}
		else
			handle_end(task, event.status);
	}
}
