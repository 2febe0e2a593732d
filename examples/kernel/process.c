/* SPDX-License-Identifier: MIT
 *
 * examples/kernel/process.c: processes, one queue, no preemption
 *
 * WHAT    Every CPU takes the next process off the queue and runs it until it
 *         waits, yields or dies, and switches back to its own idle stack. What
 *         is to happen to the process then happens there, when nothing is on
 *         the process's stack any more: another CPU may take it up at once, or
 *         its stack may be freed.
 * LOCKS   `lock` guards the queue and [P] of struct process; under it nothing
 *         is called but the console.
 */
#include "kernel.h"

#define PROCESS_MAX 64u

enum after { STAY_READY, STAY_WAITING, DIE };

/* Guards: [P] lock  [C] its CPU */
static struct {
	MMKIT_LOCK_T lock;
	struct process *first, *last; /* [P] the queue */
	struct process *table[PROCESS_MAX]; /* [P] alive, or not waited for */
	unsigned nr_alive;            /* [P] */
	unsigned next_nr;             /* [P] */
	unsigned status;              /* [P] of the first process */
	struct mmk_pool pool;
	struct {
		struct process *running; /* [C] */
		enum after after;        /* [C] */
		void *idle_sp;           /* [C] */
	} cpus[MMKIT_CPU_MAX];
} all;

void
process_init(void)
{
	MMKIT_LOCK_INIT(&all.lock, "processes", 0);
	mmk_pool_init(&all.pool, &kernel_phys, "processes",
	    sizeof(struct process));
	all.next_nr = 1;
}

struct process *
process_current(void)
{
	return all.cpus[arch_cpu_id()].running;
}

unsigned
process_status(void)
{
	return all.status;
}

/* ---- the queue --------------------------------------------------------------- */

/* locks: all.lock. */
static void
enqueue(struct process *process)
{
	process->next = NULL;
	if (all.first == NULL)
		all.first = process;
	else
		all.last->next = process;
	all.last = process;
}

static struct process *
dequeue(bool *is_over_out)
{
	struct process *process;

	MMKIT_LOCK(&all.lock);
	process = all.first;
	if (process != NULL)
		all.first = process->next;
	*is_over_out = all.nr_alive == 0;
	MMKIT_UNLOCK(&all.lock);
	return process;
}

/* ---- switching ---------------------------------------------------------------- */

/* Away from the current process: `after` happens on the idle stack. */
static void
leave(enum after after)
{
	unsigned cpu = arch_cpu_id();
	struct process *self = all.cpus[cpu].running;

	all.cpus[cpu].after = after;
	arch_switch(&self->sp, all.cpus[cpu].idle_sp);
}

/* The first thing a process does on its own stack. */
static void
begin(void)
{
	arch_enter_user(process_current()->frame);
}

static void
run(struct process *process, unsigned cpu)
{
	struct mmk_pmap *pmap = &process->space.map.pmap;

	all.cpus[cpu].running = process;
	mmk_pmap_activate(pmap, cpu);
	arch_use_stack((char *)mmk_frame_ptr(&kernel_phys, process->stack) +
	    STACK_BYTES);
	arch_switch(&all.cpus[cpu].idle_sp, process->sp);
	mmk_pmap_deactivate(pmap, cpu);
	all.cpus[cpu].running = NULL;
}

/* locks: all.lock. */
static void
forget(struct process *process)
{
	for (unsigned i = 0; i < PROCESS_MAX; i++)
		if (all.table[i] == process)
			all.table[i] = NULL;
	mmk_pool_free(&all.pool, process);
}

/* Its children are nobody's; the dead among them go. locks: all.lock. */
static void
leave_children(const struct process *process)
{
	for (unsigned i = 0; i < PROCESS_MAX; i++) {
		struct process *child = all.table[i];

		if (child == NULL || child->parent != process)
			continue;
		child->parent = NULL;
		if (child->is_dead)
			forget(child);
	}
}

/* The parent may be waiting for it, or may never. locks: all.lock. */
static void
bury(struct process *process)
{
	struct process *parent = process->parent;

	process->is_dead = true;
	all.nr_alive--;
	leave_children(process);
	if (process->nr == 1)
		all.status = process->status;
	if (parent == NULL) {
		forget(process);
	} else if (parent->is_waiting) {
		parent->is_waiting = false;
		enqueue(parent);
	}
}

/* A dead child of `self`, or NULL. locks: all.lock. */
static struct process *
find_dead(const struct process *self)
{
	for (unsigned i = 0; i < PROCESS_MAX; i++) {
		struct process *child = all.table[i];

		if (child != NULL && child->is_dead && child->parent == self)
			return child;
	}
	return NULL;
}

/* Its memory goes as soon as nobody stands on its stack. */
static void
settle(struct process *process, enum after after)
{
	if (after == DIE) {
		mmk_space_fini(&process->space);
		(void)mmk_frame_unref(&kernel_phys, process->stack);
	}
	MMKIT_LOCK(&all.lock);
	if (after == DIE)
		bury(process);
	else if (after == STAY_READY)
		enqueue(process);
	else if (find_dead(process) != NULL) /* since it looked */
		enqueue(process);
	else
		process->is_waiting = true;
	MMKIT_UNLOCK(&all.lock);
	arch_cpu_wake();
}

void
process_run(unsigned cpu)
{
	for (;;) {
		bool is_over;
		struct process *process;

		arch_interrupts(false);
		process = dequeue(&is_over);
		if (process == NULL && !is_over) {
			arch_cpu_idle();
			continue;
		}
		arch_interrupts(true);
		if (process == NULL)
			return;
		run(process, cpu);
		settle(process, all.cpus[cpu].after);
	}
}

/* ---- beginnings and ends -------------------------------------------------------- */

/* A place in the table. locks: takes all.lock. */
static bool
enter(struct process *process)
{
	bool has_place = false;

	MMKIT_LOCK(&all.lock);
	for (unsigned i = 0; i < PROCESS_MAX && !has_place; i++)
		if (all.table[i] == NULL) {
			all.table[i] = process;
			process->nr = all.next_nr++;
			has_place = true;
		}
	MMKIT_UNLOCK(&all.lock);
	return has_place;
}

/* It has no space yet, and is not in the queue; NULL: no memory. */
static struct process *
create(void)
{
	struct process *process =
	    (struct process *)mmk_pool_alloc(&all.pool);
	char *foot;

	if (process == NULL)
		return NULL;
	memset(process, 0, sizeof(*process));
	if (mmk_frame_alloc(&kernel_phys, STACK_ORDER, 0, MMK_USE_KERNEL,
	        &process->stack) != MMK_OK || !enter(process)) {
		(void)mmk_frame_unref(&kernel_phys, process->stack);
		mmk_pool_free(&all.pool, process);
		return NULL;
	}
	foot = (char *)mmk_frame_ptr(&kernel_phys, process->stack);
	process->frame = (struct arch_frame *)(void *)foot;
	process->sp = arch_stack_init(foot + STACK_BYTES, begin);
	return process;
}

static void
discard(struct process *process)
{
	(void)mmk_frame_unref(&kernel_phys, process->stack);
	MMKIT_LOCK(&all.lock);
	forget(process);
	MMKIT_UNLOCK(&all.lock);
}

static void
set_ready(struct process *process)
{
	MMKIT_LOCK(&all.lock);
	all.nr_alive++;
	enqueue(process);
	MMKIT_UNLOCK(&all.lock);
	arch_cpu_wake();
}

void
process_start(const void *image, size_t bytes)
{
	struct process *process = create();
	uint64_t pc, sp;

	CHECK(process != NULL);
	CHECK(mmk_space_init(&process->space, &kernel_vm, 0x10000,
	          mmk_pt_va_limit(&kernel_pmaps.shape) / 2) == MMK_OK);
	CHECK(elf_load(&process->space, image, bytes, &pc, &sp) == MMK_OK);
	arch_frame_init(process->frame, pc, sp);
	set_ready(process);
}

uint64_t
process_fork(const struct arch_frame *frame)
{
	struct process *self = process_current(), *child = create();
	enum mmk_err err;
	uint64_t nr;

	if (child == NULL)
		return (uint64_t)-(int64_t)MMK_ERR_NOMEM;
	err = mmk_space_fork(&child->space, &self->space);
	if (err != MMK_OK) {
		discard(child);
		return (uint64_t)-(int64_t)err;
	}
	arch_frame_copy(child->frame, frame);
	arch_frame_set_result(child->frame, 0);
	nr = child->nr;
	MMKIT_LOCK(&all.lock);
	child->parent = self;
	self->nr_children++;
	MMKIT_UNLOCK(&all.lock);
	set_ready(child);
	return nr;
}

uint64_t
process_wait(void)
{
	struct process *self = process_current();
	uint64_t result = 0;

	while (result == 0) {
		struct process *child;

		MMKIT_LOCK(&all.lock);
		if (self->nr_children == 0)
			result = (uint64_t)-(int64_t)MMK_ERR_NOENT;
		child = find_dead(self);
		if (child != NULL) {
			result = (uint64_t)child->nr << 32 | child->status;
			self->nr_children--;
			forget(child);
		}
		MMKIT_UNLOCK(&all.lock);
		if (result == 0)
			leave(STAY_WAITING);
	}
	return result;
}

void
process_yield(void)
{
	leave(STAY_READY);
}

void
process_exit(unsigned status)
{
	process_current()->status = status;
	leave(DIE);
	for (;;)
		;
}

/* pre: none is alive. */
void
process_fini(void)
{
	mmk_pool_fini(&all.pool);
}
