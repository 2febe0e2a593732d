/* SPDX-License-Identifier: MIT
 *
 * ports/sim/mmkit_port.h: mmkit's port header for the simulated machine
 *
 * WHAT    Answers every question of mmkit/base/port.h with the machine of
 *         sim.h. The direct map is one host mapping that plays RAM; a CPU is
 *         whatever the calling thread last named with sim_set_cpu(); locks
 *         check their ranks; a poisoned page is looked for in every TLB.
 * LAYER   a port. Included by mmkit/base/base.h; includes the C library only,
 *         so that mmkit and the machine share nothing but these names.
 * LOCKS   defines the lock: see struct sim_lock
 * COST    the direct map is a subtraction and a compare; a lock is one
 *         compare-and-swap plus a walk over the locks the thread holds
 * SOURCE  own
 */
#ifndef SIM_MMKIT_PORT_H
#define SIM_MMKIT_PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The RAM of the current machine; bytes is 0 when none is booted. */
struct sim_ram {
	unsigned char *ptr; /* where the host has it */
	uint64_t base_pa;   /* the physical address of *ptr */
	uint64_t bytes;
};
extern struct sim_ram sim_ram;

/* Prints `text` on stderr and aborts. */
void sim_panic(const char *text) __attribute__((noreturn));
/* Prints `text` on stderr if the environment has SIM_LOG. */
void sim_log(const char *text);

static inline void *
sim_phys_to_ptr(uint64_t pa)
{
	uint64_t offset_bytes = pa - sim_ram.base_pa;

	if (__builtin_expect(offset_bytes >= sim_ram.bytes, 0))
		sim_panic("sim: a physical address outside RAM");
	return sim_ram.ptr + offset_bytes;
}

static inline uint64_t
sim_ptr_to_phys(const void *ptr)
{
	uint64_t offset_bytes =
	    (uint64_t)((uintptr_t)ptr - (uintptr_t)sim_ram.ptr);

	if (__builtin_expect(offset_bytes >= sim_ram.bytes, 0))
		sim_panic("sim: a pointer outside RAM");
	return sim_ram.base_pa + offset_bytes;
}

/*
 * Guards: [I] immutable after init  [a] atomic
 *
 * A spin lock that knows who holds it, and mmkit's mutex too. It spins on an
 * atomic word, which is all that ThreadSanitizer needs to see.
 */
struct sim_lock {
	void *owner;      /* [a] names the holding thread; NULL: free */
	const char *name; /* [I] */
	uint16_t rank;    /* [I] enum mmk_rank */
	bool is_mutex;    /* [I] may be held over a shootdown */
};

void sim_lock_init(struct sim_lock *lock, const char *name, unsigned rank);
void sim_mutex_init(struct sim_lock *mutex, const char *name, unsigned rank);
void sim_lock_lock(struct sim_lock *lock);
void sim_lock_unlock(struct sim_lock *lock);
bool sim_lock_is_held(const struct sim_lock *lock); /* by this thread */

unsigned sim_cpu_count(void);
unsigned sim_cpu_id(void);
uint64_t sim_clock_ns(void);
bool sim_fail_point(void);
void sim_yield_point(void);
void sim_update_point(void);
/*
 * With SIM_CPU_EXCLUSIVE a CPU is one thread's from enter to leave: a second
 * one that enters meanwhile was preempted where the contract forbids it.
 */
uintptr_t sim_cpu_enter(void);
void sim_cpu_leave(uintptr_t cpu);
void sim_preempt_disable(void);
void sim_preempt_enable(void);
/*
 * `pmap` is handed on to the hook; `space` names the address space whose
 * translations go; bit n of cpu_bits: CPU n is asked.
 */
void sim_tlb_shootdown(void *pmap, uint64_t space, uint64_t cpu_bits,
    uint64_t start_va, uint64_t end_va);

void sim_poison(const void *ptr, size_t bytes);
void sim_unpoison(const void *ptr, size_t bytes);
void sim_recall(const void *ptr, size_t bytes);
void sim_pool_create(const void *owner);
void sim_pool_destroy(const void *owner);
void sim_item_alloc(const void *owner, const void *ptr, size_t bytes);
void sim_item_free(const void *owner, const void *ptr, size_t bytes);

#ifdef __cplusplus
}
#endif

#define MMKIT_PORT_VERSION 1
#ifndef MMKIT_PAGE_SHIFT
#define MMKIT_PAGE_SHIFT 12
#endif
#ifndef MMKIT_CPU_MAX
#define MMKIT_CPU_MAX 8
#endif

#define MMKIT_PHYS_TO_PTR(pa) sim_phys_to_ptr(pa)
#define MMKIT_PTR_TO_PHYS(ptr) sim_ptr_to_phys(ptr)
#define MMKIT_PANIC(msg) sim_panic(msg)
#define MMKIT_LOG(text) sim_log(text)
#define MMKIT_CPU_COUNT() sim_cpu_count()
#define MMKIT_CPU_ID() sim_cpu_id()
#ifdef SIM_CPU_EXCLUSIVE
#define MMKIT_CPU_ENTER() sim_cpu_enter()
#define MMKIT_CPU_LEAVE(state) sim_cpu_leave(state)
#endif
#define MMKIT_CLOCK_NS() sim_clock_ns()
#define MMKIT_FAIL_POINT() sim_fail_point()
#define MMKIT_YIELD_POINT() sim_yield_point()
#ifndef MMKIT_ATOMIC_XCHG
#define MMKIT_ATOMIC_XCHG(p, v) \
	(sim_update_point(), __atomic_exchange_n(p, v, __ATOMIC_ACQ_REL))
#endif
#ifndef MMKIT_ATOMIC_CAS
#define MMKIT_ATOMIC_CAS(p, expected, v)                    \
	(sim_update_point(), __atomic_compare_exchange_n(p, \
	    expected, v, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
#endif
#if defined(__SANITIZE_THREAD__) && defined(__x86_64__)
/* gcc's ThreadSanitizer knows no fences; here the processor needs none but one. */
#define MMKIT_ATOMIC_FENCE() __asm__ volatile("" ::: "memory")
#define MMKIT_ATOMIC_FENCE_FULL() __asm__ volatile("mfence" ::: "memory")
#endif
#define MMKIT_PREEMPT_DISABLE() sim_preempt_disable()
#define MMKIT_PREEMPT_ENABLE() sim_preempt_enable()

/* A macro, because struct mmk_pmap is complete only where it is used. */
#define MMKIT_TLB_SHOOTDOWN(pmap, start_va, end_va)                       \
	sim_tlb_shootdown(pmap,                                           \
	    sim_space_of_pmap(pmap),                                      \
	    MMKIT_ATOMIC_LOAD(&(pmap)->cpus.words[0]), start_va, end_va)

#define MMKIT_LOCK_T struct sim_lock
#define MMKIT_LOCK_INIT(l, name, rank) sim_lock_init(l, name, (unsigned)(rank))
#define MMKIT_LOCK(l) sim_lock_lock(l)
#define MMKIT_UNLOCK(l) sim_lock_unlock(l)
#define MMKIT_LOCK_HELD(l) sim_lock_is_held(l)

#define MMKIT_MUTEX_T struct sim_lock
#define MMKIT_MUTEX_INIT(m, name, rank) \
	sim_mutex_init(m, name, (unsigned)(rank))
#define MMKIT_MUTEX_LOCK(m) sim_lock_lock(m)
#define MMKIT_MUTEX_UNLOCK(m) sim_lock_unlock(m)
#define MMKIT_MUTEX_HELD(m) sim_lock_is_held(m)

#define MMKIT_POISON(ptr, bytes) sim_poison(ptr, (size_t)(bytes))
#define MMKIT_UNPOISON(ptr, bytes) sim_unpoison(ptr, (size_t)(bytes))
#define MMKIT_RECALL(ptr, bytes) sim_recall(ptr, (size_t)(bytes))
#define MMKIT_POOL_CREATE(owner) sim_pool_create(owner)
#define MMKIT_POOL_DESTROY(owner) sim_pool_destroy(owner)
#define MMKIT_ITEM_ALLOC(owner, ptr, bytes) \
	sim_item_alloc(owner, ptr, (size_t)(bytes))
#define MMKIT_ITEM_FREE(owner, ptr, bytes) \
	sim_item_free(owner, ptr, (size_t)(bytes))

#endif /* SIM_MMKIT_PORT_H */
