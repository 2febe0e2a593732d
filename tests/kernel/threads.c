/* SPDX-License-Identifier: MIT
 *
 * tests/kernel/threads.c: threads that go from CPU to CPU, and as much of POSIX
 * threads as the tests use
 *
 * WHAT    To be CPU n, for a thread of a test, is to run on it: sim_set_cpu()
 *         puts the thread into that CPU's queue and switches away. A thread
 *         gives its CPU up only where it says so.
 * LOCKS   `lock` guards the queues; nothing is called under it
 */
#include "examples/kernel/kernel.h"
#include "machine.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define THREAD_STACK_ORDER 8u /* some tests keep a file in a local variable */

/* Guards: [L] lock  [O] itself */
struct thread {
	void *sp;                /* [O] while it does not run */
	struct thread *next;     /* [L] */
	unsigned cpu;            /* [O] where it is, or goes next */
	struct mmk_frame *stack;
	void *(*entry)(void *);
	void *arg, *result;
	unsigned is_over;        /* [a] */
};

/* Guards: [L] lock  [C] its CPU */
static struct cpu {
	struct thread *first, *last; /* [L] */
	struct thread *running;      /* [C] */
	void *idle_sp;               /* [C] */
} cpus[MMKIT_CPU_MAX];
static MMKIT_LOCK_T lock;
static unsigned nr_created;          /* [a] */

static void
enqueue(struct thread *thread)
{
	struct cpu *cpu = &cpus[thread->cpu];

	thread->next = NULL;
	MMKIT_LOCK(&lock);
	if (cpu->first == NULL)
		cpu->first = thread;
	else
		cpu->last->next = thread;
	cpu->last = thread;
	MMKIT_UNLOCK(&lock);
	if (cpu != &cpus[arch_cpu_id()])
		arch_cpu_wake();
}

static struct thread *
dequeue(struct cpu *cpu)
{
	struct thread *thread;

	MMKIT_LOCK(&lock);
	thread = cpu->first;
	if (thread != NULL)
		cpu->first = thread->next;
	MMKIT_UNLOCK(&lock);
	return thread;
}

void
threads_run(unsigned cpu)
{
	struct cpu *self = &cpus[cpu];

	for (;;) {
		struct thread *thread;

		arch_interrupts(false);
		thread = dequeue(self);
		if (thread == NULL) {
			arch_cpu_idle();
			continue;
		}
		arch_interrupts(true);
		self->running = thread;
		arch_switch(&self->idle_sp, thread->sp);
		/* Nobody is on its stack now. */
		self->running = NULL;
		if (thread->entry != NULL)
			enqueue(thread);
		else
			MMKIT_ATOMIC_STORE(&thread->is_over, 1u);
	}
}

static void
leave(void)
{
	struct cpu *cpu = &cpus[arch_cpu_id()];

	arch_switch(&cpu->running->sp, cpu->idle_sp);
}

static void
begin(void)
{
	struct thread *self = cpus[arch_cpu_id()].running;

	self->result = self->entry(self->arg);
	self->entry = NULL; /* it is over as soon as it is off its stack */
	leave();
}

void
threads_move(unsigned cpu)
{
	struct thread *self = cpus[arch_cpu_id()].running;

	if (self == NULL || self->cpu == cpu)
		return;
	self->cpu = cpu;
	leave();
}

int
sched_yield(void)
{
	leave();
	return 0;
}

/* Whatever the time: others run. */
int
usleep(unsigned us)
{
	(void)us;
	return sched_yield();
}

int
nanosleep(const struct timespec *wanted, struct timespec *left)
{
	(void)wanted;
	(void)left;
	return sched_yield();
}

/* ---- POSIX ---------------------------------------------------------------------- */

/* A thread may wait for the one that made it without giving its CPU up. */
static unsigned
another_cpu(void)
{
	unsigned nr = MMKIT_ATOMIC_ADD(&nr_created, 1u);
	unsigned nr_others = arch_cpu_count() - 1;

	if (nr_others == 0)
		return 0;
	return (arch_cpu_id() + 1 + nr % nr_others) % arch_cpu_count();
}

int
pthread_create(pthread_t *thread_out, const void *attributes,
    void *(*entry)(void *), void *arg)
{
	struct thread *thread = (struct thread *)calloc(1, sizeof(*thread));

	(void)attributes;
	if (thread == NULL)
		return 12;
	thread->stack = machine_frames(THREAD_STACK_ORDER);
	CHECK(thread->stack != NULL);
	thread->cpu = another_cpu();
	thread->entry = entry;
	thread->arg = arg;
	thread->sp = arch_stack_init(
	    (char *)mmk_frame_ptr(&kernel_phys, thread->stack) +
	        (PAGE << THREAD_STACK_ORDER), begin);
	*thread_out = thread;
	enqueue(thread);
	return 0;
}

int
pthread_join(pthread_t thread, void **result_out)
{
	while (MMKIT_ATOMIC_LOAD(&thread->is_over) == 0)
		leave();
	if (result_out != NULL)
		*result_out = thread->result;
	(void)mmk_frame_unref(&kernel_phys, thread->stack);
	free(thread);
	return 0;
}

int
pthread_mutex_lock(pthread_mutex_t *mutex)
{
	while (MMKIT_ATOMIC_XCHG(&mutex->is_held, 1u) != 0)
		leave();
	return 0;
}

int
pthread_mutex_unlock(pthread_mutex_t *mutex)
{
	MMKIT_ATOMIC_STORE(&mutex->is_held, 0u);
	return 0;
}

int
pthread_barrier_init(pthread_barrier_t *barrier, const void *attributes,
    unsigned nr)
{
	(void)attributes;
	barrier->nr = nr;
	barrier->nr_come = 0;
	return 0;
}

int
pthread_barrier_wait(pthread_barrier_t *barrier)
{
	unsigned round =
	    (MMKIT_ATOMIC_ADD(&barrier->nr_come, 1u) - 1) / barrier->nr;

	while (MMKIT_ATOMIC_LOAD(&barrier->nr_come) / barrier->nr == round)
		leave();
	return 0;
}

int
pthread_barrier_destroy(pthread_barrier_t *barrier)
{
	(void)barrier;
	return 0;
}

static void *
call(void *entry)
{
	((void (*)(void))(uintptr_t)entry)();
	return NULL;
}

void
threads_start(void (*entry)(void))
{
	pthread_t thread;

	CHECK(pthread_create(&thread, NULL, call,
	          (void *)(uintptr_t)entry) == 0);
}
