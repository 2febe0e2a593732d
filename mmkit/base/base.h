/* SPDX-License-Identifier: MIT
 *
 * mmkit/base/base.h: the words every other header uses
 *
 * WHAT    Linkage, attributes, units (physical address, virtual address, page
 *         frame number, page), and the one list of errors. The page size is a
 *         parameter of the port; nothing outside this file and ports/ shifts
 *         by it. Names like S0.10 in comments are rules of doc/RULES.md.
 * LAYER   base. Includes the kernel's MMKIT_CONFIG_H (if any), its
 *         MMKIT_PORT_H, and three freestanding C headers.
 * LOCKS   none
 * COST    every function here is a few instructions
 * SOURCE  own
 */
#ifndef MMKIT_BASE_H
#define MMKIT_BASE_H

/* Optional settings. They must be the same in every file of one kernel. */
#ifdef MMKIT_CONFIG_H
#include MMKIT_CONFIG_H
#endif

/* The kernel's answers: see port.h, which names every macro it may define. */
#ifndef MMKIT_PORT_H
#define MMKIT_PORT_H "mmkit_port.h"
#endif
#ifndef MMKIT_PORT_TYPES
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#endif
#include MMKIT_PORT_H

#define MMK_VERSION_MAJOR 0
#define MMK_VERSION_MINOR 1
#define MMK_VERSION_PATCH 0

#ifdef __cplusplus
#if defined(MMKIT_IMPLEMENTATION) || defined(MMKIT_STATIC)
#error "mmkit: the interface may be C++, the implementation is C"
#endif
#define MMK_BEGIN_DECLS extern "C" {
#define MMK_END_DECLS }
#define MMK_STATIC_ASSERT(cond, text) static_assert(cond, text)
#else
#define MMK_BEGIN_DECLS
#define MMK_END_DECLS
#define MMK_STATIC_ASSERT(cond, text) _Static_assert(cond, text)
#endif

/* MMKIT_STATIC: every function is private to the file that includes us. */
#ifdef MMKIT_STATIC
#ifndef MMKIT_IMPLEMENTATION
#define MMKIT_IMPLEMENTATION
#endif
#define MMK_API static __attribute__((unused))
#define MMK_DATA static __attribute__((unused))
#else
#define MMK_API extern
#define MMK_DATA extern
#endif
#define MMK_NODISCARD __attribute__((warn_unused_result))
#define MMK_PRIVATE static __attribute__((unused))
/* Keeps a rare path from costing the usual one registers. */
#define MMK_NOINLINE __attribute__((noinline))
#ifdef __OPTIMIZE__ /* else every copy's locals would add up in one frame */
#define MMK_INLINE static inline __attribute__((always_inline, unused))
#else
#define MMK_INLINE static inline __attribute__((unused))
#endif
#define MMK_LIKELY(x) __builtin_expect(!!(x), 1)
#define MMK_UNLIKELY(x) __builtin_expect(!!(x), 0)
/* The compiler forgets where `ptr` came from, and keeps it in one register. */
#define MMK_OPAQUE(ptr) __asm__("" : "+r"(ptr))
#define MMK_CONTAINER_OF(ptr, type, member) \
	((type *)(void *)((char *)(void *)(ptr) - offsetof(type, member)))

/* A word of memory that had another type, or will have one. */
typedef uintptr_t __attribute__((may_alias)) mmk_word;

/* Units. A page is 1 << MMK_PAGE_SHIFT bytes. Ranges are half open. */
typedef uint64_t mmk_pa;  /* physical address, bytes */
typedef uint64_t mmk_va;  /* virtual address, bytes */
typedef uint64_t mmk_pfn; /* physical address / page size */

#ifndef MMKIT_PAGE_SHIFT
#error "mmkit: define MMKIT_PAGE_SHIFT in your port header (MMKIT_PORT_H); see doc/PORTING.md, page-shift"
#endif
#if MMKIT_PAGE_SHIFT < 12 || MMKIT_PAGE_SHIFT > 16
#error "mmkit: MMKIT_PAGE_SHIFT must be 12 to 16; see doc/PORTING.md, page-shift"
#endif
#define MMK_PAGE_SHIFT MMKIT_PAGE_SHIFT
#define MMK_PAGE_BYTES ((uint64_t)1 << MMK_PAGE_SHIFT)
#define MMK_PAGE_MASK (MMK_PAGE_BYTES - 1)

/*
 * The most CPUs a kernel may have; a plain decimal number, because it becomes
 * part of the names that MMK_STAMP makes.
 */
#ifndef MMKIT_CPU_MAX
#define MMKIT_CPU_MAX 64
#endif

/*
 * MMK_STAMP(mmk_phys_init) is mmk_phys_init_v1_p12_c64: settings that change a
 * structure are part of the name of the function that fills it in, so files
 * built with different settings do not link.
 */
#define MMK__PASTE(name, page, cpus) name##_v1_p##page##_c##cpus
#define MMK__STAMP(name, page, cpus) MMK__PASTE(name, page, cpus)
#define MMK_STAMP(name) MMK__STAMP(name, MMKIT_PAGE_SHIFT, MMKIT_CPU_MAX)

/*
 * X(name, text): one list gives both the enum and mmk_err_name(). A new code
 * needs a caller that reacts differently. doc/PORTING.md maps them to errno.
 */
#define MMK_ERR_LIST(X)                                             \
	X(MMK_OK, "ok")                                             \
	X(MMK_ERR_NOMEM, "no memory; retry after reclaim")          \
	X(MMK_ERR_LIMIT, "a limit or a memory control forbids it")  \
	X(MMK_ERR_NOSPACE, "no gap or run of that size")            \
	X(MMK_ERR_NOENT, "nothing there")                           \
	X(MMK_ERR_EXIST, "something is already there")              \
	X(MMK_ERR_ACCESS, "protection or rights forbid it")         \
	X(MMK_ERR_IO, "the pager failed")                           \
	X(MMK_ERR_BUSY, "in use: pinned, loaned or being paged")    \
	X(MMK_ERR_INVAL, "a bad argument: unaligned, wrapping, unknown") \
	X(MMK_ERR_AGAIN, "state changed while unlocked; redo")

#define MMK_ERR_ENUM(name, text) name,
enum mmk_err { MMK_ERR_LIST(MMK_ERR_ENUM) MMK_ERR_MAX };
#undef MMK_ERR_ENUM

/* Protection and access, one set of bits everywhere. */
#define MMK_PROT_NONE 0u
#define MMK_PROT_READ 1u
#define MMK_PROT_WRITE 2u
#define MMK_PROT_EXEC 4u
#define MMK_PROT_ALL 7u

MMK_BEGIN_DECLS
/* A constant text for `err`; "unknown error" for anything outside the list. */
MMK_API const char *mmk_err_name(enum mmk_err err);
MMK_END_DECLS

static inline bool
mmk_is_pow2(uint64_t x)
{
	return x != 0 && (x & (x - 1)) == 0;
}

static inline uint64_t
mmk_min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t
mmk_max(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* pre: align is a power of two. Rounding up wraps at the top: check first. */
static inline uint64_t
mmk_round_down(uint64_t x, uint64_t align)
{
	return x & ~(align - 1);
}

static inline uint64_t
mmk_round_up(uint64_t x, uint64_t align)
{
	return (x + (align - 1)) & ~(align - 1);
}

static inline bool
mmk_is_page_aligned(uint64_t x)
{
	return (x & MMK_PAGE_MASK) == 0;
}

static inline uint64_t
mmk_page_floor(uint64_t addr)
{
	return addr & ~MMK_PAGE_MASK;
}

/* Bytes as pages, rounded up; right for every value, UINT64_MAX included. */
static inline uint64_t
mmk_pages_round_up(uint64_t bytes)
{
	return (bytes >> MMK_PAGE_SHIFT) + ((bytes & MMK_PAGE_MASK) != 0);
}

static inline uint64_t
mmk_pages_of_bytes(uint64_t bytes)
{
	return bytes >> MMK_PAGE_SHIFT;
}

static inline uint64_t
mmk_bytes_of_pages(uint64_t nr_pages)
{
	return nr_pages << MMK_PAGE_SHIFT;
}

static inline mmk_pfn
mmk_pfn_of_pa(mmk_pa pa)
{
	return pa >> MMK_PAGE_SHIFT;
}

static inline mmk_pa
mmk_pa_of_pfn(mmk_pfn pfn)
{
	return pfn << MMK_PAGE_SHIFT;
}

/* The smallest order whose 2^order pages hold nr_pages. pre: nr_pages > 0. */
static inline unsigned
mmk_order_of_pages(uint64_t nr_pages)
{
	return nr_pages == 1 ? 0 : 64u - (unsigned)__builtin_clzll(nr_pages - 1);
}

/* pre: x != 0. The number of zero bits below its lowest one. */
static inline unsigned
mmk_lowest_bit(uint64_t x)
{
	return (unsigned)__builtin_ctzll(x);
}

#endif /* MMKIT_BASE_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_BASE_IMPL)
#define MMKIT_BASE_IMPL

MMK_API const char *
mmk_err_name(enum mmk_err err)
{
#define MMK_ERR_TEXT(name, text) \
	case name:               \
		return text;
	switch (err) {
		MMK_ERR_LIST(MMK_ERR_TEXT)
	case MMK_ERR_MAX:
		break;
	}
#undef MMK_ERR_TEXT
	return "unknown error";
}
#endif /* MMKIT_IMPLEMENTATION */
