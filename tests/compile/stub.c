/* SPDX-License-Identifier: MIT
 *
 * tests/compile/stub.c: the least that smp_port.h needs around it to link and
 * run as a Linux process without a C library: RAM is an array, locks are words.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/compile/smp_port.h"

#define RAM_PA 0x40000000u
#define RAM_BYTES (4u << 20)

unsigned char stub_ram[RAM_BYTES] __attribute__((aligned(65536)));
void stub_main(void);
int profile(void);
void *memset(void *dst, int byte, size_t bytes);
void *memcpy(void *dst, const void *src, size_t bytes);
void *memmove(void *dst, const void *src, size_t bytes);
int memcmp(const void *a, const void *b, size_t bytes);

#ifndef PROFILE
int
profile(void)
{
	return 0;
}
#endif

__asm__(".text\n.globl _start\n_start:\n\txor %ebp, %ebp\n\tand $-16, %rsp\n\tcall stub_main\n");

static void __attribute__((noreturn))
stop(int status)
{
	for (;;)
		__asm__ volatile("syscall"
		                 :
		                 : "a"(60), "D"(status)
		                 : "rcx", "r11", "memory");
}

void
stub_main(void)
{
	stop(profile());
}

void *
port_phys_to_ptr(uint64_t pa)
{
	return stub_ram + (pa - RAM_PA);
}

uint64_t
port_ptr_to_phys(const void *ptr)
{
	return (uint64_t)((uintptr_t)ptr - (uintptr_t)stub_ram) + RAM_PA;
}

void
port_panic(const char *text)
{
	size_t bytes = 0;

	while (text[bytes] != '\0')
		bytes++;
	__asm__ volatile("syscall"
	                 :
	                 : "a"(1), "D"(1), "S"(text), "d"(bytes)
	                 : "rcx", "r11", "memory");
	stop(99);
}

unsigned
port_cpu_count(void)
{
	return 1;
}

unsigned
port_cpu_id(void)
{
	return 0;
}

void
port_shootdown(void *pmap, uint64_t start_va, uint64_t end_va)
{
	(void)pmap, (void)start_va, (void)end_va;
}

void
port_wait(const void *channel, struct port_lock *lock)
{
	(void)channel, (void)lock;
}

void
port_wake(const void *channel)
{
	(void)channel;
}

void
port_lock_init(struct port_lock *lock, const char *name, int rank)
{
	(void)rank;
	lock->word = 0;
	lock->name = name;
}

void
port_lock(struct port_lock *lock)
{
	if (lock->word++ != 0)
		port_panic(lock->name);
}

void
port_unlock(struct port_lock *lock)
{
	if (--lock->word != 0)
		port_panic(lock->name);
}

bool
port_lock_held(struct port_lock *lock)
{
	return lock->word != 0;
}

void
port_mutex_init(struct port_mutex *mutex, const char *name, int rank)
{
	port_lock_init(&mutex->lock, name, rank);
}

void
port_mutex_lock(struct port_mutex *mutex)
{
	port_lock(&mutex->lock);
}

void
port_mutex_unlock(struct port_mutex *mutex)
{
	port_unlock(&mutex->lock);
}

bool
port_mutex_held(struct port_mutex *mutex)
{
	return port_lock_held(&mutex->lock);
}

uint64_t
port_clock_ns(void)
{
	return 0;
}

void
port_log(const char *text)
{
	(void)text;
}

void
port_yield(void)
{
}

void
port_preempt_disable(void)
{
}

void
port_preempt_enable(void)
{
}

uint64_t
port_kernel_root_pa(void)
{
	return 0;
}

bool
port_fail(void)
{
	return false;
}

void
port_poison(const void *ptr, size_t bytes)
{
	(void)ptr, (void)bytes;
}

void *
memset(void *dst, int byte, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		((volatile unsigned char *)dst)[i] = (unsigned char)byte;
	return dst;
}

void *
memcpy(void *dst, const void *src, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		((volatile unsigned char *)dst)[i] =
		    ((const unsigned char *)src)[i];
	return dst;
}

void *
memmove(void *dst, const void *src, size_t bytes)
{
	if ((uintptr_t)dst <= (uintptr_t)src)
		return memcpy(dst, src, bytes); /* goes upward */
	for (size_t i = bytes; i > 0; i--)
		((volatile unsigned char *)dst)[i - 1] =
		    ((const unsigned char *)src)[i - 1];
	return dst;
}

int
memcmp(const void *a, const void *b, size_t bytes)
{
	const unsigned char *x = a, *y = b;

	for (size_t i = 0; i < bytes; i++)
		if (x[i] != y[i])
			return x[i] < y[i] ? -1 : 1;
	return 0;
}
