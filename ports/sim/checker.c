/* SPDX-License-Identifier: MIT
 *
 * ports/sim/checker.c: what Valgrind and AddressSanitizer are told
 *
 * WHAT    The client requests of Valgrind are a few instructions without
 *         Valgrind; ASan's calls exist only where the compiler put ASan in.
 *         Poisoning whole pages of RAM also asks every TLB.
 * SOURCE  Valgrind manual, sections 4.7 and 4.8; ASan's interface header.
 */
#include "sim_internal.h"

#if defined(__has_include)
#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#endif
#endif
#ifndef VALGRIND_MAKE_MEM_DEFINED
#define VALGRIND_MAKE_MEM_DEFINED(ptr, bytes) ((void)(ptr), (void)(bytes))
#define VALGRIND_MAKE_MEM_UNDEFINED(ptr, bytes) ((void)(ptr), (void)(bytes))
#define VALGRIND_MAKE_MEM_NOACCESS(ptr, bytes) ((void)(ptr), (void)(bytes))
#define VALGRIND_CREATE_MEMPOOL(owner, red, zero) ((void)(owner))
#define VALGRIND_DESTROY_MEMPOOL(owner) ((void)(owner))
#define VALGRIND_MEMPOOL_ALLOC(owner, ptr, bytes) ((void)(ptr), (void)(bytes))
#define VALGRIND_MEMPOOL_FREE(owner, ptr) ((void)(ptr))
#endif

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SIM_HAS_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define SIM_HAS_ASAN 1
#endif

#ifdef SIM_HAS_ASAN
void __asan_poison_memory_region(void const volatile *ptr, size_t bytes);
void __asan_unpoison_memory_region(void const volatile *ptr, size_t bytes);
#else
#define __asan_poison_memory_region(ptr, bytes) ((void)(ptr), (void)(bytes))
#define __asan_unpoison_memory_region(ptr, bytes) ((void)(ptr), (void)(bytes))
#endif

/*
 * RAM by pieces: which ones a checker was told of. Its records of a terabyte
 * that nobody touched would fill the host when they are written.
 */
#define PIECE_SHIFT 30
#define NR_PIECES 4096u
static uint8_t is_known[NR_PIECES]; /* of a larger machine: all the rest */

static size_t
piece_of(uint64_t offset_bytes)
{
	uint64_t piece = offset_bytes >> PIECE_SHIFT;

	return piece < NR_PIECES ? (size_t)piece : NR_PIECES - 1;
}

void
sim_checker_forget(const void *ptr, size_t bytes)
{
	__asan_unpoison_memory_region(ptr, bytes);
	(void)VALGRIND_MAKE_MEM_DEFINED(ptr, bytes);
}

void
sim_checker_forget_ram(void)
{
	for (uint64_t at = 0; at < sim_ram.bytes;) {
		size_t piece = piece_of(at);
		uint64_t bytes = piece == NR_PIECES - 1 ? sim_ram.bytes - at
		                                        : 1ull << PIECE_SHIFT;

		if (bytes > sim_ram.bytes - at)
			bytes = sim_ram.bytes - at;
		if (is_known[piece] != 0)
			sim_checker_forget(sim_ram.ptr + at, (size_t)bytes);
		is_known[piece] = 0;
		at += bytes;
	}
}

/* Whole pages of RAM come and go for the TLBs too. */
static uint64_t
offset_in_ram(const void *ptr)
{
	return (uint64_t)((uintptr_t)ptr - (uintptr_t)sim_ram.ptr);
}

static void
note_use(const void *ptr, size_t bytes)
{
	uint64_t offset_bytes = offset_in_ram(ptr);

	if (offset_bytes < sim_ram.bytes)
		sim_cpus_page_used(sim_ram.base_pa + offset_bytes, bytes);
}

static void
note_checked(uint64_t offset_bytes, size_t bytes)
{
	size_t last;

	if (offset_bytes >= sim_ram.bytes || bytes == 0)
		return;
	last = piece_of(offset_bytes + bytes - 1);
	for (size_t piece = piece_of(offset_bytes); piece <= last; piece++)
		if (__atomic_load_n(&is_known[piece], __ATOMIC_RELAXED) == 0)
			__atomic_store_n(&is_known[piece], (uint8_t)1,
			    __ATOMIC_RELAXED);
}

void
sim_poison(const void *ptr, size_t bytes)
{
	uint64_t offset_bytes = offset_in_ram(ptr);

	note_checked(offset_bytes, bytes);
	if (bytes >= SIM_GRAIN_BYTES && offset_bytes < sim_ram.bytes)
		sim_cpus_page_freed(sim_ram.base_pa + offset_bytes, bytes);
	__asan_poison_memory_region(ptr, bytes);
	(void)VALGRIND_MAKE_MEM_NOACCESS(ptr, bytes);
}

void
sim_unpoison(const void *ptr, size_t bytes)
{
	note_use(ptr, bytes);
	__asan_unpoison_memory_region(ptr, bytes);
	(void)VALGRIND_MAKE_MEM_UNDEFINED(ptr, bytes);
}

void
sim_recall(const void *ptr, size_t bytes)
{
	sim_checker_forget(ptr, bytes);
}

void
sim_pool_create(const void *owner)
{
	VALGRIND_CREATE_MEMPOOL(owner, 0, 0);
	(void)owner;
}

void
sim_pool_destroy(const void *owner)
{
	VALGRIND_DESTROY_MEMPOOL(owner);
	(void)owner;
}

void
sim_item_alloc(const void *owner, const void *ptr, size_t bytes)
{
	note_use(ptr, bytes);
	__asan_unpoison_memory_region(ptr, bytes);
	VALGRIND_MEMPOOL_ALLOC(owner, ptr, bytes);
	(void)owner;
}

void
sim_item_free(const void *owner, const void *ptr, size_t bytes)
{
	note_checked(offset_in_ram(ptr), bytes);
	VALGRIND_MEMPOOL_FREE(owner, ptr);
	(void)owner;
	__asan_poison_memory_region(ptr, bytes);
}
