/* SPDX-License-Identifier: MIT
 *
 * ports/sim/lock.c: spin locks that check ranks
 *
 * WHAT    Every thread keeps the locks it holds, in the order taken. A lock is
 *         refused (a violation, then taken all the same, so that a test that
 *         records violations goes on) if a held one has the same or a higher
 *         rank. Two of one rank are let pass where sim_lock_allow_nesting()
 *         says so.
 */
#include "sim_internal.h"

#include <sched.h>

#define HELD_MAX 32

/* [thread] the locks this thread holds, oldest first */
static _Thread_local struct {
	struct sim_lock *locks[HELD_MAX];
	unsigned nr;
	uint64_t boot; /* the machine they belong to: see nr_boots */
} held;

static uint64_t nr_held;  /* [a] by all threads */
static uint64_t nr_boots; /* [a] locks held before a boot are forgotten */

/* Maps: fork and pass lock two, a space is locked around its map. */
#define NESTED_RANKS_AT_BOOT ((uint64_t)1 << 1)

/* [a] bit n: two locks of rank n may nest */
static uint64_t nested_ranks = NESTED_RANKS_AT_BOOT;

void
sim_locks_reset(void)
{
	__atomic_store_n(&nr_held, 0, __ATOMIC_RELEASE);
	__atomic_add_fetch(&nr_boots, 1, __ATOMIC_ACQ_REL);
	__atomic_store_n(&nested_ranks, NESTED_RANKS_AT_BOOT,
	    __ATOMIC_RELEASE);
}

/* Locks left over from an earlier machine are no longer ours. */
static void
forget_old_machine(void)
{
	uint64_t boot = __atomic_load_n(&nr_boots, __ATOMIC_ACQUIRE);

	if (held.boot != boot) {
		held.nr = 0;
		held.boot = boot;
	}
}

void
sim_locks_check_none_held(void)
{
	uint64_t nr = __atomic_load_n(&nr_held, __ATOMIC_ACQUIRE);

	forget_old_machine();
	if (held.nr != 0)
		sim_violation("lock \"%s\" held at shutdown",
		    held.locks[held.nr - 1]->name);
	else if (nr != 0)
		sim_violation("%llu locks of other threads held at shutdown",
		    (unsigned long long)nr);
	sim_locks_reset();
}

void
sim_locks_check_shootdown(void)
{
	forget_old_machine();
	for (unsigned i = 0; i < held.nr; i++)
		if (!held.locks[i]->is_mutex) {
			sim_violation("shootdown while lock \"%s\" is held: "
			              "a CPU that waits for it cannot answer",
			    held.locks[i]->name);
			return;
		}
}

void
sim_lock_allow_nesting(unsigned rank, bool allowed)
{
	uint64_t bit = (uint64_t)1 << (rank & 63);

	if (allowed)
		__atomic_fetch_or(&nested_ranks, bit, __ATOMIC_ACQ_REL);
	else
		__atomic_fetch_and(&nested_ranks, ~bit, __ATOMIC_ACQ_REL);
}

void
sim_lock_init(struct sim_lock *lock, const char *name, unsigned rank)
{
	__atomic_store_n(&lock->owner, NULL, __ATOMIC_RELEASE);
	lock->name = name;
	lock->rank = (uint16_t)rank;
	lock->is_mutex = false;
}

void
sim_mutex_init(struct sim_lock *mutex, const char *name, unsigned rank)
{
	sim_lock_init(mutex, name, rank);
	mutex->is_mutex = true;
}

bool
sim_lock_is_held(const struct sim_lock *lock)
{
	return __atomic_load_n(&lock->owner, __ATOMIC_ACQUIRE) == &held;
}

static bool
may_nest(unsigned rank)
{
	uint64_t ranks = __atomic_load_n(&nested_ranks, __ATOMIC_ACQUIRE);
	return rank < 64 && (ranks >> rank & 1) != 0;
}

static void
check_rank(const struct sim_lock *lock)
{
	for (unsigned i = 0; i < held.nr; i++) {
		const struct sim_lock *other = held.locks[i];

		if (other->rank < lock->rank ||
		    (other->rank == lock->rank && may_nest(lock->rank)))
			continue;
		sim_violation("lock \"%s\" (rank %u) taken while \"%s\" "
		              "(rank %u) is held",
		    lock->name, lock->rank, other->name, other->rank);
		return;
	}
}

void
sim_lock_lock(struct sim_lock *lock)
{
	void *expected = NULL;

	sim_yield_point();
	forget_old_machine();
	if (sim_lock_is_held(lock)) {
		sim_violation("lock \"%s\" taken twice", lock->name);
		sim_panic("sim: the thread waits for itself");
	}
	check_rank(lock);
	while (!__atomic_compare_exchange_n(&lock->owner, &expected, &held,
	    false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
		expected = NULL;
		sched_yield();
	}
	if (held.nr == HELD_MAX)
		sim_panic("sim: one thread holds too many locks");
	held.locks[held.nr++] = lock;
	__atomic_add_fetch(&nr_held, 1, __ATOMIC_ACQ_REL);
}

void
sim_lock_unlock(struct sim_lock *lock)
{
	unsigned i = held.nr;

	if (!sim_lock_is_held(lock)) {
		sim_violation("lock \"%s\" let go by a thread that does not "
		              "hold it",
		    lock->name);
		return;
	}
	while (i > 0 && held.locks[i - 1] != lock)
		i--;
	if (i > 0) {
		for (held.nr--; i <= held.nr; i++)
			held.locks[i - 1] = held.locks[i];
		__atomic_sub_fetch(&nr_held, 1, __ATOMIC_ACQ_REL);
	}
	__atomic_store_n(&lock->owner, NULL, __ATOMIC_RELEASE);
	sim_yield_point();
}
