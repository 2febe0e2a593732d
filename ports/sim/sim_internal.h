/* SPDX-License-Identifier: MIT
 *
 * ports/sim/sim_internal.h: what the machine's own files share
 *
 * WHAT    The state of the current machine, and the calls between its files.
 *         Nobody outside ports/sim/ includes this.
 */
#ifndef SIM_INTERNAL_H
#define SIM_INTERNAL_H

#include "mmkit_port.h"
#include "sim.h"

/* The grain of the bookkeeping: the smallest page of either architecture. */
#define SIM_GRAIN_SHIFT 12
#define SIM_GRAIN_BYTES ((uint64_t)1 << SIM_GRAIN_SHIFT)

/* Guards: [I] immutable after sim_boot  [a] atomic */
struct sim_machine {
	struct sim_config config; /* [I] defaults filled in */
	bool is_booted;           /* [I] */
	uint64_t clock_ns;        /* [a] */
	uint64_t fail_in;         /* [a] the fail_count that fails; 0: none */
	uint64_t fail_count;      /* [a] passed */
	void (*yield)(void *ctx); /* [I] */
	void *yield_ctx;          /* [I] */
	void (*update)(void *ctx); /* [I] */
	void *update_ctx;         /* [I] */
};
extern struct sim_machine sim_machine;

/* Record a violation, or print it and abort. */
void sim_violation(const char *format, ...)
    __attribute__((format(printf, 1, 2)));

/* checker.c: as sim_checker_forget, for all RAM that checkers heard of. */
void sim_checker_forget_ram(void);

/* lock.c */
void sim_locks_reset(void);
void sim_locks_check_none_held(void);
/* No spin lock is held over a shootdown; mutexes may be. */
void sim_locks_check_shootdown(void);

/* cpu.c */
unsigned sim_va_bits(void); /* of sim_machine.config */
unsigned sim_pa_bits(void);
void sim_cpus_boot(void);
void sim_cpus_drop(void);
/* [pa, pa + bytes) is free now: report every translation that leads there. */
void sim_cpus_page_freed(uint64_t pa, uint64_t bytes);
void sim_cpus_page_used(uint64_t pa, uint64_t bytes);

void sim_cpu_invalidate(unsigned cpu, void *pmap, uint64_t space,
    uint64_t start_va, uint64_t end_va);
void sim_cpu_count_shootdown(void);

/* ipi.c */
void sim_ipis_boot(void);
void sim_ipis_drop(void);
/* A moment of `cpu` has passed: it takes the interrupts that are due. */
void sim_ipi_tick(unsigned cpu);

/* shape.c */
void sim_shape_boot(void);

#endif /* SIM_INTERNAL_H */
