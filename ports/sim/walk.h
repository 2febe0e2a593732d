/* SPDX-License-Identifier: MIT
 *
 * ports/sim/walk.h: what a hardware table walk finds
 *
 * WHAT    One request and one result for both walkers. Levels are counted from
 *         the last one, 0, upwards. The walkers are the machine's MMU: written
 *         from the manuals, sharing nothing with the backends they check.
 * LAYER   a port. Needs mmkit_port.h for the RAM, and sim.h.
 * LOCKS   none; entries are read and changed atomically
 */
#ifndef SIM_WALK_H
#define SIM_WALK_H

#include "mmkit_port.h"
#include "sim.h"

#define SIM_WALK_LEVELS_MAX 5u

enum sim_fault {
	SIM_FAULT_NONE = 0,
	SIM_FAULT_NOT_PRESENT,
	SIM_FAULT_PERMISSION,
	SIM_FAULT_ACCESS_FLAG,  /* aarch64: valid, but never used so far */
	SIM_FAULT_RESERVED,     /* x86_64: a reserved bit is set */
	SIM_FAULT_ADDRESS,      /* a virtual address no table holds */
	SIM_FAULT_ADDRESS_SIZE, /* a physical address too wide */
	SIM_FAULT_TABLE         /* a table that is not in RAM */
};

/* How the MMU is set up. */
struct sim_mmu {
	unsigned nr_levels;
	unsigned page_shift;
	unsigned va_bits;
	unsigned pa_bits;
	bool hardware_ad; /* sets accessed and dirty itself */
	bool has_ds;      /* aarch64: TCR_EL1.DS, the format of FEAT_LPA2 */
	uint64_t memory_types; /* IA32_PAT or MAIR_EL1 */
};

struct sim_walk_request {
	uint64_t root_pa;
	uint64_t va;
	unsigned access; /* one of SIM_READ, SIM_WRITE, SIM_EXEC; 0: none */
	bool is_user;    /* the CPU is in user mode */
	bool is_probe;   /* look only: set no bits */
	bool has_keys;   /* protection keys are on: CR4.PKE, TCR2_EL1.E0POE */
	uint64_t keys;   /* PKRU or POR_EL0 */
	bool is_upper;   /* aarch64: the root is TTBR1_EL1's */
};

/* The upper entries of a way, from the root down, as a walk once read them. */
struct sim_way {
	unsigned nr_entries;
	uint64_t entry_pas[SIM_WALK_LEVELS_MAX];
	uint64_t entries[SIM_WALK_LEVELS_MAX];
	uint64_t fixed[SIM_WALK_LEVELS_MAX];
	uint64_t table_pa; /* where the last one leads */
};

struct sim_walk {
	enum sim_fault fault;  /* the fields below pa hold if NONE */
	unsigned level;        /* where the walk ended */
	const char *malformed; /* what no right kernel writes, or NULL */
	uint64_t pa;           /* of the very byte */
	unsigned page_shift;   /* of the page or block */
	unsigned rights[2];    /* SIM_*: in kernel mode, in user mode */
	bool is_dirty;         /* a store needs no more bits set */
	bool is_accessed;      /* was, before this walk */
	bool is_global;        /* good in every address space */
	unsigned memory;       /* the type: its byte in the register of types */
	bool is_guarded;       /* aarch64: branches land on landing pads only */
	bool is_keyed;         /* the key below judges user mode's accesses, and
	                        * on x86_64 the kernel's to the page, too */
	unsigned key;
	/* the way, from the root down: also of a walk that faults */
	unsigned nr_entries;
	unsigned nr_cached; /* of them, not read but taken from a cache */
	uint64_t entry_pas[SIM_WALK_LEVELS_MAX];
	uint64_t entries[SIM_WALK_LEVELS_MAX];
	/* the bits that may not change while a translation is cached */
	uint64_t fixed[SIM_WALK_LEVELS_MAX];
};

void sim_walk_x86_64(const struct sim_mmu *mmu,
    const struct sim_walk_request *request, struct sim_walk *out);
void sim_walk_aarch64(const struct sim_mmu *mmu,
    const struct sim_walk_request *request, struct sim_walk *out);

/* The same, but what `way` has is not read again. NULL: from the root. */
void sim_walk_x86_64_from(const struct sim_mmu *mmu,
    const struct sim_walk_request *request, const struct sim_way *way,
    struct sim_walk *out);
void sim_walk_aarch64_from(const struct sim_mmu *mmu,
    const struct sim_walk_request *request, const struct sim_way *way,
    struct sim_walk *out);

/*
 * What is left of `rights`, by what the key of a page that is_keyed gives: to
 * be asked at each access, for no TLB holds the register's value.
 */
unsigned sim_keyed_rights_x86_64(const struct sim_walk_request *request,
    unsigned key, unsigned rights);
unsigned sim_keyed_rights_aarch64(const struct sim_walk_request *request,
    unsigned key, unsigned rights);

const char *sim_fault_name(enum sim_fault fault);

/*
 * The table entry at `pa`, or NULL: not in RAM. Where violations are wanted, a
 * walk may come to what was freed, or never written: the machine says so, and a
 * checker must not end the test before.
 */
static inline uint64_t *
sim_entry_ptr(uint64_t pa)
{
	uint64_t offset_bytes = pa - sim_ram.base_pa;
	unsigned char *ptr;

	if (pa % 8 != 0 || offset_bytes >= sim_ram.bytes)
		return NULL;
	ptr = sim_ram.ptr + offset_bytes;
	if (sim_violations_recorded())
		sim_checker_forget(ptr, 8);
	return (uint64_t *)(void *)ptr;
}

/* A walk begins after the entries of `way`, at the table they lead to. */
static inline uint64_t
sim_walk_resume(const struct sim_way *way, unsigned *level,
    struct sim_walk *out)
{
	for (unsigned i = 0; i < way->nr_entries; i++) {
		out->entry_pas[i] = way->entry_pas[i];
		out->entries[i] = way->entries[i];
		out->fixed[i] = way->fixed[i];
	}
	out->nr_entries = way->nr_entries;
	out->nr_cached = way->nr_entries;
	*level -= way->nr_entries;
	return way->table_pa;
}

/* One locked update, as the hardware does it; false: the entry has changed. */
static inline bool
sim_entry_update(uint64_t pa, uint64_t expected, uint64_t desired)
{
	return expected == desired ||
	    __atomic_compare_exchange_n(sim_entry_ptr(pa), &expected, desired,
	        false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

#endif /* SIM_WALK_H */
