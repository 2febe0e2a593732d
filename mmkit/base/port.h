/* SPDX-License-Identifier: MIT
 *
 * mmkit/base/port.h: everything mmkit asks of the kernel around it
 *
 * WHAT    A port is one header of the kernel's, found as "mmkit_port.h" or as
 *         MMKIT_PORT_H, made of macros and inline functions. It is tiered: a
 *         kernel in its first week defines tier 0 and has frames; every tier
 *         adds what the next modules need. This file says what each macro must
 *         do and fills in a default for all that is not mandatory, one macro
 *         at a time: define only what you want different.
 *
 *         tier  gives                        you must define
 *         0     frames, btree, pools         MMKIT_PORT_VERSION, _PAGE_SHIFT,
 *                                            _PHYS_TO_PTR, _PTR_TO_PHYS, _PANIC,
 *                                            and either _PORT_UNIPROCESSOR or
 *                                            _CPU_COUNT with _CPU_ID
 *         1     pmap                         MMKIT_PMAP_H; for x86_64
 *                                            _KERNEL_ROOT_PA; on several CPUs
 *                                            _TLB_SHOOTDOWN, and if threads are
 *                                            preempted in the kernel
 *                                            _PREEMPT_DISABLE and _ENABLE
 *         2     maps, faults, pagers         nothing more; _WAIT and _WAKE if
 *                                            a fault may sleep on another's I/O
 *
 * LAYER   base. Includes base.h.
 * LOCKS   the default lock is a ticket lock; see MMKIT_LOCK_T
 * COST    none of its own
 * SOURCE  the shape is uACPI's kernel_api.h; the ticket lock is Reed and
 *         Kanodia, CACM 22(2), 1979.
 */
#ifndef MMKIT_BASE_PORT_H
#define MMKIT_BASE_PORT_H

#include "base.h"

/* ---- tier 0: mandatory ------------------------------------------------- */

/* The version of this contract your header was written for: 1. */
#ifndef MMKIT_PORT_VERSION
#error "mmkit: define MMKIT_PORT_VERSION as 1 in your port header; see doc/PORTING.md, port-version"
#elif MMKIT_PORT_VERSION != 1
#error "mmkit: this release speaks port version 1; CHANGELOG.md, Port contract, says what to change"
#endif

/*
 * MMKIT_PHYS_TO_PTR(pa): a pointer through which the kernel reads and writes
 * the RAM at physical address `pa` (a uint64_t). It is handed only addresses
 * inside the spans given to mmk_phys_init(), from any context, and the pointer
 * must stay good for ever: a direct map.
 * MMKIT_PTR_TO_PHYS(ptr): the way back, for pointers made by the former.
 *
 * Example: RAM at physical 0x80000000 appears at 0xffffffc000000000:
 *   MMKIT_PHYS_TO_PTR(0x80001000) is (void *)0xffffffc000001000.
 */
#ifndef MMKIT_PHYS_TO_PTR
#error "mmkit: define MMKIT_PHYS_TO_PTR(pa) in your port header; see doc/PORTING.md, direct-map"
#endif
#ifndef MMKIT_PTR_TO_PHYS
#error "mmkit: define MMKIT_PTR_TO_PHYS(ptr) in your port header; see doc/PORTING.md, direct-map"
#endif

/*
 * MMKIT_PANIC(msg): stop; must not return. `msg` is a constant string that
 * names file, line and the broken condition. mmkit does the test itself. With
 * a panic in the manner of printf: panic("%s", msg).
 */
#ifndef MMKIT_PANIC
#error "mmkit: define MMKIT_PANIC(msg) in your port header; see doc/PORTING.md, panic"
#endif

/*
 * MMKIT_CPU_COUNT(): how many CPUs there are, 1..MMKIT_CPU_MAX.
 * MMKIT_CPU_ID(): the current one, 0..count-1. Below tier 1 it may go stale at
 * once if the caller is preempted: a hint, and mmkit locks what it finds.
 */
#ifdef MMKIT_PORT_UNIPROCESSOR
#ifndef MMKIT_CPU_COUNT
#define MMKIT_CPU_COUNT() 1u
#endif
#ifndef MMKIT_CPU_ID
#define MMKIT_CPU_ID() 0u
#endif
#endif
#if !defined(MMKIT_CPU_COUNT) || !defined(MMKIT_CPU_ID)
#error "mmkit: define MMKIT_CPU_COUNT() and MMKIT_CPU_ID(), or MMKIT_PORT_UNIPROCESSOR, in your port header; see doc/PORTING.md, cpus"
#endif

/*
 * MMKIT_NODE_MAX: the most NUMA nodes there are, a plain decimal number; with 1
 * nothing is left of them. MMKIT_CPU_NODE(cpu): the node of a CPU, which does
 * not change.
 */
#ifndef MMKIT_NODE_MAX
#define MMKIT_NODE_MAX 1
#endif
#if MMKIT_NODE_MAX < 1 || MMKIT_NODE_MAX > 64
#error "mmkit: MMKIT_NODE_MAX must be 1 to 64; see doc/PORTING.md, nodes"
#endif
#if MMKIT_NODE_MAX > 1 && !defined(MMKIT_CPU_NODE)
#error "mmkit: define MMKIT_CPU_NODE(cpu) in your port header; see doc/PORTING.md, nodes"
#endif
#ifndef MMKIT_CPU_NODE
#define MMKIT_CPU_NODE(cpu) ((void)(cpu), 0u)
#endif

/*
 * MMKIT_CPU_ENTER(), MMKIT_CPU_LEAVE(state): between the two the thread stays
 * on its CPU, and nothing else runs there that calls mmkit: preemption is off,
 * and interrupts are too if their handlers allocate. ENTER gives a uintptr_t,
 * which LEAVE gets back: the state of the interrupts, or anything. They nest.
 * With the pair, what belongs to one CPU (its caches of frames and of small
 * objects) is touched without a lock; without it a lock per CPU is taken. A
 * cache without a lock can be emptied by its own CPU only: see phys/store.h.
 *
 * Example: #define MMKIT_CPU_ENTER() irq_save()
 *          #define MMKIT_CPU_LEAVE(state) irq_restore(state)
 */
#if defined(MMKIT_CPU_ENTER) != defined(MMKIT_CPU_LEAVE)
#error "mmkit: define both MMKIT_CPU_ENTER() and MMKIT_CPU_LEAVE(state), or neither; see doc/PORTING.md, cpus"
#endif
#ifdef MMKIT_CPU_ENTER
#define MMK_CPU_IS_EXCLUSIVE 1
#else
#define MMK_CPU_IS_EXCLUSIVE 0
#define MMKIT_CPU_ENTER() ((uintptr_t)0)
#define MMKIT_CPU_LEAVE(state) ((void)(state))
#endif

/* ---- tier 1: pmap ------------------------------------------------------- */

/*
 * MMKIT_PMAP_H: the backend's header, which is included. MMKIT_KERNEL_ROOT_PA,
 * asked for by the one of x86_64: the physical address of the top table of the
 * kernel alone, which a CPU walks while no pmap is active on it.
 *
 * MMKIT_TLB_SHOOTDOWN(pmap, start_va, end_va): on return no CPU other than
 * this one translates through an entry of `pmap` (struct mmk_pmap *) that was
 * changed before the call, for any address in [start_va, end_va); the CPUs to
 * ask are pmap->cpus. Called with no MMKIT_LOCK held (the map's mutex may be),
 * from task context, with preemption disabled; it may spin until the others
 * have answered, and so interrupts must be enabled: here, and on every CPU
 * that waits for a lock, a mutex or an answer of its own. So whoever calls
 * mmk_fault or any operation on a map has interrupts on. The current CPU is
 * invalidated by the backend (MMKIT_PMAP_H), not by this. Demanded by
 * pmap/pmap.h; nothing to define on a uniprocessor.
 *
 * MMKIT_PREEMPT_DISABLE(), MMKIT_PREEMPT_ENABLE(): between the two the thread
 * stays on its CPU; interrupts stay on. They come in pairs, may be called when
 * preemption is disabled already, and then leave it so. mmkit puts them around
 * "invalidate here, ask the others": a thread that moved in between would leave
 * a stale translation on the CPU it came from. Nothing to define if threads
 * are never preempted in the kernel.
 */
#if defined(MMKIT_PREEMPT_DISABLE) != defined(MMKIT_PREEMPT_ENABLE)
#error "mmkit: define both MMKIT_PREEMPT_DISABLE() and MMKIT_PREEMPT_ENABLE(), or neither; see doc/PORTING.md, preemption"
#endif
#ifndef MMKIT_PREEMPT_DISABLE
#define MMKIT_PREEMPT_DISABLE() ((void)0)
#define MMKIT_PREEMPT_ENABLE() ((void)0)
#endif

/* ---- tier 2: waiting ----------------------------------------------------- */

/*
 * MMKIT_WAIT(channel, lock): atomically unlock `lock` (MMKIT_LOCK_T *), sleep
 * until MMKIT_WAKE(channel), lock again. It may wake early. `channel` is an
 * address used as a name: it is not looked at, and its memory may be freed as
 * soon as WAKE returns. WAKE is called with `lock` held: it must not sleep.
 * WAIT is called with no mutex held. Without the pair a fault that meets a page
 * another CPU is bringing in returns MMK_ERR_AGAIN, and the kernel tries again
 * later.
 */
#if defined(MMKIT_WAIT) != defined(MMKIT_WAKE)
#error "mmkit: define both MMKIT_WAIT(channel, lock) and MMKIT_WAKE(channel), or neither; see doc/PORTING.md, waiting"
#endif

/* ---- everything below has a default -------------------------------------- */

/* Memory primitives; the compiler may call the four mem* functions anyway. */
#ifndef MMKIT_MEMSET
#define MMKIT_MEMSET(dst, byte, bytes) __builtin_memset(dst, byte, bytes)
#endif
#ifndef MMKIT_MEMCPY
#define MMKIT_MEMCPY(dst, src, bytes) __builtin_memcpy(dst, src, bytes)
#endif
#ifndef MMKIT_MEMMOVE
#define MMKIT_MEMMOVE(dst, src, bytes) __builtin_memmove(dst, src, bytes)
#endif
#ifndef MMKIT_PAGE_ZERO
#define MMKIT_PAGE_ZERO(page) \
	((void)MMKIT_MEMSET(page, 0, (size_t)MMK_PAGE_BYTES))
#endif
#ifndef MMKIT_PAGE_COPY
#define MMKIT_PAGE_COPY(dst, src) \
	((void)MMKIT_MEMCPY(dst, src, (size_t)MMK_PAGE_BYTES))
#endif

/* Atomics on naturally aligned 16, 32 and 64 bit integers and on pointers. */
#ifndef MMKIT_ATOMIC_LOAD
#define MMKIT_ATOMIC_LOAD(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)
#endif
#ifndef MMKIT_ATOMIC_STORE
#define MMKIT_ATOMIC_STORE(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)
#endif
#ifndef MMKIT_ATOMIC_ADD /* the new value */
#define MMKIT_ATOMIC_ADD(p, v) __atomic_add_fetch(p, v, __ATOMIC_ACQ_REL)
#endif
#ifndef MMKIT_ATOMIC_SUB /* the new value */
#define MMKIT_ATOMIC_SUB(p, v) __atomic_sub_fetch(p, v, __ATOMIC_ACQ_REL)
#endif
#ifndef MMKIT_ATOMIC_OR /* the old value */
#define MMKIT_ATOMIC_OR(p, v) __atomic_fetch_or(p, v, __ATOMIC_ACQ_REL)
#endif
#ifndef MMKIT_ATOMIC_AND /* the old value */
#define MMKIT_ATOMIC_AND(p, v) __atomic_fetch_and(p, v, __ATOMIC_ACQ_REL)
#endif
#ifndef MMKIT_ATOMIC_XCHG /* the old value */
#define MMKIT_ATOMIC_XCHG(p, v) __atomic_exchange_n(p, v, __ATOMIC_ACQ_REL)
#endif
#ifndef MMKIT_ATOMIC_CAS /* true if *p was *expected; else *expected = *p */
#define MMKIT_ATOMIC_CAS(p, expected, v)                                  \
	__atomic_compare_exchange_n(p, expected, v, false,                \
	    __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)
#endif
/*
 * For readers that take no lock and look at a version before and after: a load
 * and a store that order nothing, and a fence that keeps every load before it
 * and every store after it on their sides.
 */
#ifndef MMKIT_ATOMIC_LOAD_RELAXED
#define MMKIT_ATOMIC_LOAD_RELAXED(p) __atomic_load_n(p, __ATOMIC_RELAXED)
#endif
#ifndef MMKIT_ATOMIC_STORE_RELAXED
#define MMKIT_ATOMIC_STORE_RELAXED(p, v) __atomic_store_n(p, v, __ATOMIC_RELAXED)
#endif
#ifndef MMKIT_ATOMIC_FENCE
#define MMKIT_ATOMIC_FENCE() __atomic_thread_fence(__ATOMIC_ACQ_REL)
#endif
#ifndef MMKIT_ATOMIC_FENCE_FULL /* stores before it, loads after it */
#define MMKIT_ATOMIC_FENCE_FULL() __atomic_thread_fence(__ATOMIC_SEQ_CST)
#endif
#ifndef MMKIT_PREFETCH /* a hint: what is at `ptr` will be read soon */
#define MMKIT_PREFETCH(ptr) __builtin_prefetch(ptr)
#endif
#ifndef MMKIT_CPU_RELAX
#define MMKIT_CPU_RELAX() ((void)0)
#endif

/*
 * Ranks of the locks: a CPU may take a lock only while every lock it holds has
 * a lower rank (two of one rank only where doc/LOCKING.md says in what order).
 */
enum mmk_rank {
	MMK_RANK_MAP = 1,
	MMK_RANK_SUBMAP,    /* all sub-maps of a vm, and where they are shown */
	MMK_RANK_CONTAINER, /* containers of physmem, their entries and frames */
	MMK_RANK_VM,        /* amaps, anons, objects and their lists */
	MMK_RANK_QUEUE, /* reserved: page queues; no lock has it yet */
	MMK_RANK_RMAP,  /* one bucket of the reverse map */
	MMK_RANK_PMAP,
	MMK_RANK_TAGS,    /* which address space has which tag */
	MMK_RANK_CONTROL, /* a tree of memory controls */
	MMK_RANK_HANDLES, /* all tables of handles: who made what of what */
	MMK_RANK_HANDLE_TABLE,
	MMK_RANK_RANGE,   /* the ranges of one segment */
	MMK_RANK_POOL_CPU, /* what a CPU has of a pool */
	MMK_RANK_POOL,
	MMK_RANK_PIN, /* the list of pins that expire */
	MMK_RANK_CPU_CACHE,
	MMK_RANK_ZONE
};

/*
 * The lock: spins, not recursive, may be taken with interrupts on. `name` is a
 * constant string, `rank` an enum mmk_rank; most kernels ignore both.
 * MMKIT_LOCK_HELD(l) is used in assertions only: true if in doubt. From an
 * interrupt handler only mmk_frame_* and mmk_pool_* may be called, and then
 * MMKIT_LOCK must disable interrupts on its CPU, and MMKIT_UNLOCK restore them.
 */
#if defined(MMKIT_LOCK_T) && !defined(MMKIT_PORT_UNIPROCESSOR) && \
    !defined(MMKIT_MUTEX_T) && !defined(MMKIT_MUTEX_IS_LOCK)
#error "mmkit: with your own MMKIT_LOCK_T define MMKIT_MUTEX_T, a mutex that leaves interrupts on, or, if your lock leaves them on, MMKIT_MUTEX_IS_LOCK; see doc/PORTING.md, locks"
#endif
#ifndef MMKIT_LOCK_T
struct mmk_ticket {
	uint32_t next;    /* [a] the ticket the next comer gets */
	uint32_t serving; /* [a] the ticket that holds the lock */
};
#define MMKIT_LOCK_T struct mmk_ticket
#define MMKIT_LOCK_INIT(l, name, rank) \
	((void)(name), (void)(rank), (l)->next = 0, (l)->serving = 0)
#define MMKIT_LOCK(l) mmk_ticket_lock(l)
#define MMKIT_UNLOCK(l) mmk_ticket_unlock(l)
#define MMKIT_LOCK_HELD(l) mmk_ticket_is_held(l)

static inline void
mmk_ticket_lock(struct mmk_ticket *lock)
{
	uint32_t mine = MMKIT_ATOMIC_ADD(&lock->next, 1u) - 1u;

	while (MMKIT_ATOMIC_LOAD(&lock->serving) != mine)
		MMKIT_CPU_RELAX();
}

static inline void
mmk_ticket_unlock(struct mmk_ticket *lock)
{
	MMKIT_ATOMIC_STORE(&lock->serving, lock->serving + 1u);
}

static inline bool
mmk_ticket_is_held(struct mmk_ticket *lock)
{
	return MMKIT_ATOMIC_LOAD(&lock->serving) !=
	    MMKIT_ATOMIC_LOAD(&lock->next);
}
#endif
#if !defined(MMKIT_LOCK_INIT) || !defined(MMKIT_LOCK) || !defined(MMKIT_UNLOCK)
#error "mmkit: with MMKIT_LOCK_T define MMKIT_LOCK_INIT(l, name, rank), MMKIT_LOCK(l) and MMKIT_UNLOCK(l); see doc/PORTING.md, locks"
#endif
#ifndef MMKIT_LOCK_HELD
#define MMKIT_LOCK_HELD(l) ((void)(l), true)
#endif

/*
 * The mutex: like the lock, but held for as long as one map operation takes,
 * a TLB shootdown included. Give a sleeping lock if you have one. The default
 * is the lock, which then must spin and be held with interrupts on: a port that
 * brings its own lock says so with MMKIT_MUTEX_IS_LOCK (checked above).
 */
#ifndef MMKIT_MUTEX_T
#define MMKIT_MUTEX_T MMKIT_LOCK_T
#define MMKIT_MUTEX_INIT(m, name, rank) MMKIT_LOCK_INIT(m, name, rank)
#define MMKIT_MUTEX_LOCK(m) MMKIT_LOCK(m)
#define MMKIT_MUTEX_UNLOCK(m) MMKIT_UNLOCK(m)
#define MMKIT_MUTEX_HELD(m) MMKIT_LOCK_HELD(m)
#endif
#ifndef MMKIT_MUTEX_HELD
#define MMKIT_MUTEX_HELD(m) ((void)(m), true)
#endif

/*
 * Nanoseconds since some start, never backwards, on every CPU the same. Asked
 * by pins that end by themselves (phys/pin.h), also with locks held. Without it
 * there are none: they are refused.
 */
#ifdef MMKIT_CLOCK_NS
#define MMK_HAS_CLOCK 1
#else
#define MMK_HAS_CLOCK 0
#define MMKIT_CLOCK_NS() ((uint64_t)0)
#endif

/*
 * One text for a person, no newline: what a panic that follows cannot say,
 * whose text is a constant, such as the name of a pool.
 */
#ifndef MMKIT_LOG
#define MMKIT_LOG(text) ((void)(text))
#endif

/* Called where another CPU could come between; a schedule explorer's hook. */
#ifndef MMKIT_YIELD_POINT
#define MMKIT_YIELD_POINT() ((void)0)
#endif

/* True: this allocation must fail. For tests. */
#ifndef MMKIT_FAIL_POINT
#define MMKIT_FAIL_POINT() false
#endif

/*
 * What a memory checker is told. POISON: nobody may touch these bytes.
 * UNPOISON: they may be written, and read once written. RECALL: they may be
 * read again, and hold what was last written there. ITEM_ALLOC and ITEM_FREE:
 * `ptr` was handed out by, or given back to, the pool `owner`.
 */
#ifndef MMKIT_POISON
#define MMKIT_POISON(ptr, bytes) ((void)sizeof(ptr), (void)sizeof(bytes))
#endif
#ifndef MMKIT_UNPOISON
#define MMKIT_UNPOISON(ptr, bytes) ((void)sizeof(ptr), (void)sizeof(bytes))
#endif
#ifndef MMKIT_RECALL
#define MMKIT_RECALL(ptr, bytes) ((void)(ptr), (void)(bytes))
#endif
#ifndef MMKIT_POOL_CREATE
#define MMKIT_POOL_CREATE(owner) ((void)(owner))
#endif
#ifndef MMKIT_POOL_DESTROY
#define MMKIT_POOL_DESTROY(owner) ((void)(owner))
#endif
#ifndef MMKIT_ITEM_ALLOC
#define MMKIT_ITEM_ALLOC(owner, ptr, bytes) \
	((void)(owner), MMKIT_UNPOISON(ptr, bytes))
#endif
#ifndef MMKIT_ITEM_FREE
#define MMKIT_ITEM_FREE(owner, ptr, bytes) \
	((void)(owner), MMKIT_POISON(ptr, bytes))
#endif

/*
 * MMK_ASSERT(cond): a programmer's error stops the machine, in release too.
 * MMK_DEBUG_ASSERT: for conditions that cost more than the function itself.
 * A condition has no '%' in it: its text may be a panic's format. What follows
 * the panic tells the compiler what the contract says: it does not return.
 */
#define MMK__TEXT(x) #x
#define MMK__TEXT_OF(x) MMK__TEXT(x)
#ifdef MMKIT_ASSERT
#define MMK_ASSERT(cond) MMKIT_ASSERT(cond)
#else
#define MMK_ASSERT(cond)            \
	(MMK_LIKELY(cond) ? (void)0 \
	                  : (MMKIT_PANIC("mmkit: " __FILE__ ":" MMK__TEXT_OF(__LINE__) ": " #cond), \
	                        __builtin_unreachable()))
#endif
#ifdef MMKIT_DEBUG
#define MMK_DEBUG_ASSERT(cond) MMK_ASSERT(cond)
#else
#define MMK_DEBUG_ASSERT(cond) ((void)sizeof(cond))
#endif

#endif /* MMKIT_BASE_PORT_H */
