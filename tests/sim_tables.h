/* SPDX-License-Identifier: MIT
 *
 * tests/sim_tables.h: page tables written by hand into the RAM of the
 * simulated machine, for the tests of its walkers and of its TLBs
 */
#ifndef MMKIT_TESTS_SIM_TABLES_H
#define MMKIT_TESTS_SIM_TABLES_H

#include <stdbool.h>
#include <stdint.h>

#include "../ports/sim/sim.h"
#include "../ports/sim/walk.h"

/* Where things are in the hand-made RAM. */
#define BASE UINT64_C(0x40000000)
#define ROOT (BASE + 0x1000)
#define OTHER_ROOT (BASE + 0x2000)
#define TABLES (BASE + 0x10000) /* taken from here upwards */
#define PAGE_A (BASE + 0x200000)
#define PAGE_B (BASE + 0x201000)
#define VA UINT64_C(0x12345678a000)
#define VA_X UINT64_C(0x2345678a000) /* below 2^47 with room above */

/* x86_64 */
#define P UINT64_C(1)
#define W UINT64_C(2)
#define U UINT64_C(4)
#define A UINT64_C(0x20)
#define D UINT64_C(0x40)
#define PS UINT64_C(0x80)
#define G UINT64_C(0x100)
#define NX (UINT64_C(1) << 63)

/* aarch64: a page or table, used, not global, inner shareable */
#define V UINT64_C(3)
#define EL0 (UINT64_C(1) << 6)
#define RO (UINT64_C(1) << 7)
#define SH (UINT64_C(3) << 8)
#define AF (UINT64_C(1) << 10)
#define NG (UINT64_C(1) << 11)
#define DBM (UINT64_C(1) << 51)
#define PXN (UINT64_C(1) << 53)
#define UXN (UINT64_C(1) << 54)
#define PAGE_ARM (V | EL0 | SH | AF | NG)

static uint64_t next_table;
static unsigned arch;

static inline void
boot(unsigned which, unsigned nr_cpus, bool software_ad)
{
	struct sim_config config = { 0 };

	config.arch = which;
	config.base_pa = BASE;
	config.ram_bytes = (uint64_t)8 << 20;
	config.nr_cpus = nr_cpus;
	config.software_ad = software_ad;
	sim_boot(&config);
	arch = which;
	next_table = TABLES;
}

static inline uint64_t *
word(uint64_t pa)
{
	return (uint64_t *)sim_phys_to_ptr(pa);
}

/* Entries are read and written as the hardware does: it may do so too. */
static inline uint64_t
get(uint64_t pa)
{
	return __atomic_load_n(word(pa), __ATOMIC_ACQUIRE);
}

static inline void
set(uint64_t pa, uint64_t value)
{
	__atomic_store_n(word(pa), value, __ATOMIC_RELEASE);
}

static inline bool
is_empty(uint64_t entry)
{
	return (entry & 1) == 0;
}

/* The address of the entry of `va` at `level`; tables on the way are made. */
static inline uint64_t
entry_pa_from(uint64_t root, uint64_t va, unsigned level, unsigned top)
{
	uint64_t table = root;

	for (unsigned at = top;; at--) {
		uint64_t pa = table + (va >> (12 + 9 * at) & 511) * 8;

		if (at == level)
			return pa;
		if (is_empty(get(pa))) {
			set(pa, next_table |
			        (arch == SIM_ARCH_X86_64 ? P | W | U : V));
			next_table += 4096;
		}
		table = get(pa) & UINT64_C(0xfffffffff000);
	}
}

static inline uint64_t
entry_pa(uint64_t va, unsigned level)
{
	return entry_pa_from(ROOT, va, level, 3);
}

/* A page at `va`, for reading and writing, in the format booted. */
static inline uint64_t
leaf(uint64_t pa)
{
	return arch == SIM_ARCH_X86_64 ? pa | P | W | U | NX
	                               : pa | PAGE_ARM | UXN | PXN;
}

static inline void
map(uint64_t va, uint64_t pa)
{
	set(entry_pa(va, 0), leaf(pa));
}

static inline void
boot_x86(void)
{
	boot(SIM_ARCH_X86_64, 2, false);
	sim_cpu_set_root(0, ROOT);
	sim_cpu_set_root(1, ROOT);
}

static inline void
boot_arm(void)
{
	boot(SIM_ARCH_AARCH64, 2, false);
	sim_cpu_set_root(0, ROOT);
	sim_cpu_set_root(1, ROOT);
}

#endif
