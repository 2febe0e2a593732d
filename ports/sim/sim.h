/* SPDX-License-Identifier: MIT
 *
 * ports/sim/sim.h: the machine that isn't there
 *
 * WHAT    RAM is a byte array. Each CPU loads and stores through a TLB of its
 *         own, filled by walkers written from the architecture manuals; they
 *         share no code with the backends under test. A translation, once
 *         filled in, stays until it is invalidated, so a missing flush is a
 *         wrong read. So do upper entries, of every level: walks begin at the
 *         lowest there is, also where nothing was ever translated by it; they go
 *         when the manuals say so. What real hardware leaves undefined is a violation here:
 *
 *           a page freed while some TLB can still translate to it
 *           a table freed while some TLB holds a translation made through it,
 *             or while some CPU has an upper entry cached that leads to it
 *           aarch64: a valid entry replaced by a different valid one without
 *             an invalidation between (break before make)
 *           a translation made to, or through, a page that is free
 *           an entry with reserved bits set, a table outside RAM
 *           a lock taken against its rank, twice, or let go by another; a spin
 *             lock held over a shootdown
 *
 *         A violation aborts; a test of planted faults records it instead.
 *         One machine at a time per process; sim_boot() starts a new one.
 *
 *           thread --sim_set_cpu--> CPU n --sim_load/store--> TLB n
 *             hit: cached address and rights      miss: walk, set A/D, fill
 *             fault: the handler of sim_on_fault(), then again
 *
 * LAYER   a port. Needs the C library, no header of mmkit.
 * LOCKS   one mutex per CPU around its TLB, one around what all TLBs share;
 *         held only inside these functions, never while a hook runs
 * COST    a hit is a hash look-up and a look at the tables, which tells whether
 *         it is stale; poisoning is two loads per 4 KiB
 * SOURCE  own. The manuals are named in walk_x86_64.c and walk_aarch64.c.
 *
 * I1      for each 4 KiB of RAM: reach[n].nr_pages = the translations in all
 *         TLBs that lead into it; nr_tables = those made through it, and cached
 *         upper entries in it or that lead to it; but for the root that an
 *         x86_64's upper half was found by, which any other may replace
 */
#ifndef SIM_H
#define SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct mmk_pt_shape;
struct mmk_phys_span;
struct mmk_pmap;
struct sim_walk;
struct sim_walk_request;

#define SIM_ARCH_X86_64 1u
#define SIM_ARCH_AARCH64 2u
#define SIM_CPU_MAX 8u

/* Kinds of access; the numbers are those of MMK_PROT_*. */
#define SIM_READ 1u
#define SIM_WRITE 2u
#define SIM_EXEC 4u

/* What an access returns: 0, a handler's own value, or one of these. */
#define SIM_FAULT (-1001) /* a fault, and no handler */
#define SIM_STUCK (-1002) /* the handler mended nothing in 8 tries */
#define SIM_BUS (-1003)   /* translated to an address that is not RAM */

/* "No address space": the root of a CPU that has none. */
#define SIM_NO_ROOT UINT64_MAX
/* Whose translations to forget: what is under any root or tag. */
#define SIM_EVERY_SPACE (UINT64_MAX - 2)

/* A zeroed structure is a machine: 64 MiB at 0, one CPU. */
struct sim_config {
	uint64_t ram_bytes; /* 0: 64 MiB; whole pages */
	uint64_t base_pa;   /* where RAM starts; whole pages */
	/* what sim_spans() says, for holes in the map; NULL: all of RAM */
	const struct mmk_phys_span *spans;
	size_t nr_spans;
	unsigned nr_cpus;   /* 0: 1; at most SIM_CPU_MAX */
	unsigned arch;      /* SIM_ARCH_*; 0: x86_64, or aarch64 if
	                     * pages are not of 4 KiB */
	/* of the tables; 0: 4, or 3 with 64 KiB pages, or 5 if addresses of
	 * 52 bits need them */
	unsigned nr_levels;
	/* aarch64: addresses of 52 bits, virtual and physical (FEAT_LPA2; with
	 * 64 KiB pages FEAT_LVA, FEAT_LPA) */
	bool wide_addresses;
	/* aarch64: the hardware sets neither accessed nor dirty */
	bool software_ad;
	/* aarch64: a cached translation that lacks a right faults without
	 * another look at the tables */
	bool caches_denials;
	/* TLBs know spaces by a tag of so many bits: PCIDs on x86_64, where a CPU
	 * flushes its own only, ASIDs on aarch64, where an invalidation reaches
	 * every CPU. 0: by their root */
	unsigned tag_bits;
	uint64_t memory_types; /* IA32_PAT or MAIR_EL1; 0: as the ports want */
	int ram_fd; /* RAM is this file, mapped shared; 0 or -1: private */
};

/*
 * A new machine, with zeroed RAM (that of ram_fd is left as it is), empty TLBs,
 * clock 0, no hooks, no violations, violations abort. An earlier machine that
 * was not shut down is dropped without complaint. NULL: all defaults.
 */
void sim_boot(const struct sim_config *config);
/* Ends the machine. A lock still held by any thread is a violation. */
void sim_shutdown(void);
/* The page-table shape of the machine, and its RAM. Good until shutdown. */
const struct mmk_pt_shape *sim_shape(void);
const struct mmk_phys_span *sim_spans(size_t *nr_spans_out);

/* This thread is CPU `cpu` from now on; threads start as CPU 0. */
void sim_set_cpu(unsigned cpu);
unsigned sim_cpu_id(void);
unsigned sim_cpu_count(void);
/* How many MMKIT_PREEMPT_DISABLE of this thread are open. */
unsigned sim_preempt_depth(void);

/* The clock stands still until it is set. */
void sim_set_clock_ns(uint64_t now_ns);
uint64_t sim_clock_ns(void);

/* The k-th failure point from now fails; 0: none. Restarts the count. */
void sim_fail_at(uint64_t k);
/* Failure points passed since sim_boot() or sim_fail_at(). */
uint64_t sim_fail_count(void);

/* ---- CPUs ---------------------------------------------------------------- */

/*
 * CPU `cpu` translates by the tables at root_pa from now on; SIM_NO_ROOT: by
 * none. What its TLB holds is tagged by the root, and stays.
 */
void sim_cpu_set_root(unsigned cpu, uint64_t root_pa);
/*
 * The same for machines with tags; without this it is number 0, not kept. What
 * the CPU has under the tag stays if it `is_kept`: then no page may have been
 * freed that some of it leads to.
 */
void sim_cpu_set_tag(unsigned cpu, uint64_t root_pa, uint64_t tag,
    bool is_kept);
/*
 * By none from now on. What it has of the space it leaves is dropped, unless
 * that has a tag.
 */
void sim_cpu_clear_root(unsigned cpu);
uint64_t sim_cpu_root(unsigned cpu);
/*
 * The kernel's tables; SIM_NO_ROOT: none. aarch64: TTBR1_EL1's, which translate the
 * upper half whatever the lower has; upper entries of it are filed under the tag
 * (or root) of the lower, as the manual has it. x86_64: what the CPU walks when it
 * has no other root; its upper half is for others to copy. Drops nothing on
 * aarch64, and on x86_64 what a load of CR3 does.
 */
void sim_cpu_set_kernel_root(unsigned cpu, uint64_t root_pa);
/* aarch64: the top table that a value of TTBR0_EL1 leads to. */
uint64_t sim_root_of_ttbr(uint64_t ttbr);
/* CPUs start in user mode. */
void sim_cpu_set_user(unsigned cpu, bool is_user);
/*
 * What programs may do to pages of each protection key: PKRU, or POR_EL0. CPUs
 * start with all allowed: 0, or SIM_KEYS_ALL_ARM. No TLB is asked to forget.
 */
void sim_cpu_set_keys(unsigned cpu, uint64_t keys);
#define SIM_KEYS_ALL_ARM UINT64_C(0x77777777)

/*
 * Loads, stores and instruction fetches of any length, page by page. They
 * return 0, or with the bytes before the failing page done: what the fault
 * handler returned if not 0, SIM_FAULT, SIM_STUCK or SIM_BUS.
 */
int sim_load(unsigned cpu, uint64_t va, void *buf, size_t bytes);
int sim_store(unsigned cpu, uint64_t va, const void *buf, size_t bytes);
int sim_fetch(unsigned cpu, uint64_t va, void *buf, size_t bytes);

/*
 * What the MMU of `cpu` does for one access of kind SIM_*: TLB, else walk and
 * fill; no handler is called. (A kernel that keeps translations elsewhere, as
 * host mappings, calls this for each, and has the TLB's detectors watch over
 * them.) True, and *pa_out; false: a fault, *pa_out
 * untouched. If walk_out is not NULL it gets the walk; of a hit: its fault is
 * SIM_FAULT_NONE and nr_entries is 0.
 */
bool sim_translate(unsigned cpu, uint64_t va, unsigned access,
    uint64_t *pa_out, struct sim_walk *walk_out);
/* A walk from `root_pa`, no TLB. A probe sets no accessed or dirty bits. */
void sim_walk(const struct sim_walk_request *request, struct sim_walk *out);

/*
 * The page-fault handler of all CPUs. It runs as CPU `cpu`, and returns 0 to
 * have the access tried again.
 */
typedef int sim_fault_handler(void *ctx, unsigned cpu, uint64_t va,
    unsigned access);
void sim_on_fault(sim_fault_handler *handler, void *ctx);

/*
 * The current CPU forgets [start_va, end_va) of the address space whose root
 * or tag is `space`, global translations included. `pmap` is only handed to the hook.
 * SIM_EVERY_SPACE: on aarch64 under each tag (TLBI VAA); on x86_64, if there are
 * tags, all that it has (CR4.PGE), and else what INVLPG reaches: what it is in.
 */
void sim_tlb_invalidate(void *pmap, uint64_t space, uint64_t start_va,
    uint64_t end_va);
/* Every CPU does, wherever it is: aarch64. */
void sim_tlb_broadcast(void *pmap, uint64_t space, uint64_t start_va,
    uint64_t end_va);
/* The page of `va` only, and no hook: no right was taken away. */
void sim_tlb_invalidate_page(void *pmap, uint64_t space, uint64_t va);
/*
 * How long a CPU that is shot down goes on before it takes the interrupt, in its
 * own accesses and in looks of the CPU that waits for it (at each of which it
 * passes a yield point): ticks_max, or, if `seed` is not 0, at random: mostly none,
 * at times up to that many. sim_boot() makes it 0: at once. Broadcasts do not wait.
 */
void sim_delay_ipis(unsigned ticks_max, uint64_t seed);
/* Called after each invalidation of any CPU, also by shootdown. */
typedef void sim_invalidate_hook(void *ctx, struct mmk_pmap *pmap,
    uint64_t start_va, uint64_t end_va);
void sim_on_invalidate(sim_invalidate_hook *hook, void *ctx);

/* True: an access through a translation the tables no longer bear out is a
 * violation. Right for tests with one thread. sim_boot() turns it off. */
void sim_forbid_stale_hits(bool forbid);

struct sim_counters {
	uint64_t nr_hits;
	uint64_t nr_walks;
	uint64_t nr_fills;
	uint64_t nr_faults;        /* translations refused */
	uint64_t nr_invalidations; /* of a range, on one CPU */
	uint64_t nr_shootdowns;    /* calls */
	uint64_t nr_stale_hits;    /* hits the tables did not bear out */
	uint64_t nr_short_walks;   /* walks from a cached upper entry on */
};
void sim_counters(struct sim_counters *out);
/* Translations in the TLB of `cpu`. */
uint64_t sim_tlb_count(unsigned cpu);
/* Upper entries, each with the way to it, that `cpu` has cached. */
uint64_t sim_upper_count(unsigned cpu);

/* ---- tests --------------------------------------------------------------- */

/* Called at every yield point; NULL: nothing. */
void sim_on_yield(void (*fn)(void *ctx), void *ctx);

/*
 * Called right before each compare-and-swap and each exchange of mmkit's: when
 * the hardware comes between a look at a table's entry and its change. NULL:
 * nothing.
 */
void sim_on_update(void (*fn)(void *ctx), void *ctx);

/* True: violations are counted, not fatal. sim_boot() turns it off. */
void sim_violations_record(bool record);
bool sim_violations_recorded(void);
uint64_t sim_violations(void);
/* The latest, or "". Good until the next one. */
const char *sim_violation_text(void);
void sim_violations_clear(void);

/*
 * Valgrind and ASan see plain memory here again; the machine's own detectors
 * still take poisoned pages for free.
 */
void sim_checker_forget(const void *ptr, size_t bytes);

/* Two locks of one rank may nest; from the start only those of rank 1 may. */
void sim_lock_allow_nesting(unsigned rank, bool allowed);

#ifdef __cplusplus
}
#endif

#endif /* SIM_H */
