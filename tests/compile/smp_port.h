/* SPDX-License-Identifier: MIT
 *
 * tests/compile/smp_port.h: a port that replaces every default, for compiling
 * and linking only. What it calls is mentioned here and defined nowhere, so
 * `nm -u` shows whether mmkit calls anything else.
 */
#ifndef TESTS_SMP_PORT_H
#define TESTS_SMP_PORT_H

#define PORT_C_BEGIN
#define PORT_C_END
#ifdef __cplusplus
#undef PORT_C_BEGIN
#undef PORT_C_END
#define PORT_C_BEGIN extern "C" {
#define PORT_C_END }
#endif

PORT_C_BEGIN
struct port_lock {
	int word;
	const char *name;
};
struct port_mutex {
	struct port_lock lock;
};
void *port_phys_to_ptr(uint64_t pa);
uint64_t port_ptr_to_phys(const void *ptr);
void port_panic(const char *text) __attribute__((noreturn));
unsigned port_cpu_count(void);
unsigned port_cpu_id(void);
uint64_t port_kernel_root_pa(void);
void port_preempt_disable(void);
void port_preempt_enable(void);
void port_shootdown(void *pmap, uint64_t start_va, uint64_t end_va);
void port_wait(const void *channel, struct port_lock *lock);
void port_wake(const void *channel);
void port_lock_init(struct port_lock *lock, const char *name, int rank);
void port_lock(struct port_lock *lock);
void port_unlock(struct port_lock *lock);
bool port_lock_held(struct port_lock *lock);
void port_mutex_init(struct port_mutex *mutex, const char *name, int rank);
void port_mutex_lock(struct port_mutex *mutex);
void port_mutex_unlock(struct port_mutex *mutex);
bool port_mutex_held(struct port_mutex *mutex);
uint64_t port_clock_ns(void);
void port_log(const char *text);
void port_yield(void);
bool port_fail(void);
void port_poison(const void *ptr, size_t bytes);
PORT_C_END

#define MMKIT_PORT_VERSION 1
#ifndef MMKIT_PAGE_SHIFT
#define MMKIT_PAGE_SHIFT 12
#endif
#ifndef MMKIT_CPU_MAX
#define MMKIT_CPU_MAX 256
#endif
#define MMKIT_PHYS_TO_PTR(pa) port_phys_to_ptr(pa)
#define MMKIT_PTR_TO_PHYS(ptr) port_ptr_to_phys(ptr)
#define MMKIT_PANIC(msg) port_panic(msg)
#define MMKIT_CPU_COUNT() port_cpu_count()
#define MMKIT_CPU_ID() port_cpu_id()
#define MMKIT_TLB_SHOOTDOWN(pmap, start_va, end_va) \
	port_shootdown(pmap, start_va, end_va)
#define MMKIT_KERNEL_ROOT_PA port_kernel_root_pa()
#define MMKIT_PREEMPT_DISABLE() port_preempt_disable()
#define MMKIT_PREEMPT_ENABLE() port_preempt_enable()
#define MMKIT_WAIT(channel, lock) port_wait(channel, lock)
#define MMKIT_WAKE(channel) port_wake(channel)
#define MMKIT_LOCK_T struct port_lock
#define MMKIT_LOCK_INIT(l, name, rank) port_lock_init(l, name, (int)(rank))
#define MMKIT_LOCK(l) port_lock(l)
#define MMKIT_UNLOCK(l) port_unlock(l)
#define MMKIT_LOCK_HELD(l) port_lock_held(l)
#define MMKIT_MUTEX_T struct port_mutex
#define MMKIT_MUTEX_INIT(m, name, rank) port_mutex_init(m, name, (int)(rank))
#define MMKIT_MUTEX_LOCK(m) port_mutex_lock(m)
#define MMKIT_MUTEX_UNLOCK(m) port_mutex_unlock(m)
#define MMKIT_MUTEX_HELD(m) port_mutex_held(m)
#define MMKIT_CLOCK_NS() port_clock_ns()
#define MMKIT_LOG(text) port_log(text)
#define MMKIT_YIELD_POINT() port_yield()
#define MMKIT_FAIL_POINT() port_fail()
#define MMKIT_POISON(ptr, bytes) port_poison(ptr, bytes)
#define MMKIT_UNPOISON(ptr, bytes) port_poison(ptr, bytes)
#ifndef MMKIT_PMAP_H
#ifdef __aarch64__
#define MMKIT_PMAP_H "../../ports/aarch64/mmkit_pmap.h"
#else
#define MMKIT_PMAP_H "../../ports/x86_64/mmkit_pmap.h"
#endif
#endif

#endif
