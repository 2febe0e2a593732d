/* SPDX-License-Identifier: MIT
 *
 * ports/sim/ipi.c: shootdowns that take their time
 *
 * WHAT    A CPU that is asked to invalidate goes on with what it has until it
 *         takes the interrupt: each access of its own is a tick, and so is each
 *         look of the CPU that waits for it; after so many ticks as the schedule
 *         says it invalidates, and that is what the other waits for.
 * LOCKS   one mutex for each CPU's interrupts, held for moments only: neither
 *         over an invalidation nor while a hook runs
 */
#include "sim_internal.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

/* Guards: [I] immutable  [B] the mutex of the CPU's inbox  [a] atomic */
struct ipi {
	struct ipi *next; /* [B] */
	void *pmap;       /* [I] */
	uint64_t space;   /* [I] */
	uint64_t start_va, end_va; /* [I] */
	unsigned nr_ticks; /* [B] until it is taken */
	uint32_t refs;     /* [a] the sender, the inbox or who takes it */
	bool is_done;      /* [a] */
};

static struct inbox {
	pthread_mutex_t mutex;
	struct ipi *first; /* [B] */
	uint32_t nr;       /* [a] waiting there */
} inboxes[SIM_CPU_MAX];

static struct {
	uint32_t ticks_max; /* [a] 0: at once */
	bool is_random;     /* [a] */
	uint64_t state;     /* [a] */
} schedule;

static void
unref(struct ipi *ipi)
{
	if (__atomic_sub_fetch(&ipi->refs, 1, __ATOMIC_ACQ_REL) == 0)
		free(ipi);
}

void
sim_ipis_boot(void)
{
	sim_delay_ipis(0, 0);
	for (unsigned i = 0; i < SIM_CPU_MAX; i++)
		pthread_mutex_init(&inboxes[i].mutex, NULL);
}

void
sim_ipis_drop(void)
{
	for (unsigned i = 0; i < SIM_CPU_MAX; i++) {
		struct inbox *inbox = &inboxes[i];

		while (inbox->first != NULL) {
			struct ipi *ipi = inbox->first;

			inbox->first = ipi->next;
			unref(ipi);
		}
		inbox->nr = 0;
		pthread_mutex_destroy(&inbox->mutex);
	}
}

void
sim_delay_ipis(unsigned ticks_max, uint64_t seed)
{
	__atomic_store_n(&schedule.is_random, seed != 0, __ATOMIC_RELAXED);
	__atomic_store_n(&schedule.state, seed, __ATOMIC_RELAXED);
	__atomic_store_n(&schedule.ticks_max, ticks_max, __ATOMIC_RELEASE);
}

/*
 * At random most come at once, for waiting is slow. Steele and Vigna's
 * splitmix64: one word of state, so any CPU may draw.
 */
static unsigned
draw_ticks(void)
{
	unsigned ticks_max =
	    __atomic_load_n(&schedule.ticks_max, __ATOMIC_ACQUIRE);
	uint64_t z;

	if (ticks_max == 0 || !__atomic_load_n(&schedule.is_random, __ATOMIC_RELAXED))
		return ticks_max;
	z = __atomic_add_fetch(&schedule.state,
	    UINT64_C(0x9e3779b97f4a7c15), __ATOMIC_RELAXED);
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	z ^= z >> 31;
	return z % 16 != 0 ? 0 : (unsigned)(z / 16 % ticks_max) + 1;
}

static struct ipi *
post(unsigned cpu, void *pmap, uint64_t space, uint64_t start_va,
    uint64_t end_va)
{
	struct ipi *ipi = (struct ipi *)calloc(1, sizeof *ipi), **link;
	struct inbox *inbox = &inboxes[cpu];

	if (ipi == NULL)
		sim_panic("sim: the host is out of memory");
	ipi->pmap = pmap;
	ipi->space = space;
	ipi->start_va = start_va;
	ipi->end_va = end_va;
	ipi->nr_ticks = draw_ticks();
	ipi->refs = 2;
	pthread_mutex_lock(&inbox->mutex);
	for (link = &inbox->first; *link != NULL; link = &(*link)->next)
		continue;
	*link = ipi;
	__atomic_add_fetch(&inbox->nr, 1, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&inbox->mutex);
	return ipi;
}

/* One that is due, off the inbox, or NULL. */
static struct ipi *
take(struct inbox *inbox)
{
	struct ipi *ipi;

	pthread_mutex_lock(&inbox->mutex);
	ipi = inbox->first;
	if (ipi != NULL && ipi->nr_ticks > 0) {
		ipi->nr_ticks--;
		ipi = NULL;
	}
	if (ipi != NULL) {
		inbox->first = ipi->next;
		__atomic_sub_fetch(&inbox->nr, 1, __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&inbox->mutex);
	return ipi;
}

void
sim_ipi_tick(unsigned cpu)
{
	struct inbox *inbox = &inboxes[cpu];
	struct ipi *ipi;

	if (__atomic_load_n(&inbox->nr, __ATOMIC_ACQUIRE) == 0)
		return;
	while ((ipi = take(inbox)) != NULL) {
		sim_cpu_invalidate(cpu, ipi->pmap, ipi->space, ipi->start_va,
		    ipi->end_va);
		__atomic_store_n(&ipi->is_done, true, __ATOMIC_RELEASE);
		unref(ipi);
	}
}

/* Wait until CPU number `cpu` has answered. */
static void
await(unsigned cpu, struct ipi *ipi)
{
	sim_ipi_tick(cpu);
	while (!__atomic_load_n(&ipi->is_done, __ATOMIC_ACQUIRE)) {
		sim_yield_point();
		sched_yield();
		sim_ipi_tick(cpu);
	}
	unref(ipi);
}

void
sim_tlb_shootdown(void *pmap, uint64_t space, uint64_t cpu_bits,
    uint64_t start_va, uint64_t end_va)
{
	struct ipi *sent[SIM_CPU_MAX] = { NULL };
	bool is_delayed =
	    __atomic_load_n(&schedule.ticks_max, __ATOMIC_ACQUIRE) != 0;

	sim_cpu_count_shootdown();
	sim_locks_check_shootdown();
	for (unsigned i = 0; i < sim_cpu_count(); i++) {
		if ((cpu_bits >> i & 1) == 0 || i == sim_cpu_id())
			continue;
		if (is_delayed)
			sent[i] = post(i, pmap, space, start_va, end_va);
		else
			sim_cpu_invalidate(i, pmap, space, start_va, end_va);
	}
	for (unsigned i = 0; i < sim_cpu_count(); i++)
		if (sent[i] != NULL)
			await(i, sent[i]);
	sim_yield_point();
}
