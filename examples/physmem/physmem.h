/* SPDX-License-Identifier: MIT
 *
 * examples/physmem/physmem.h: two tasks that share memory and trust nobody
 *
 * WHAT    physmem is the only one who has memory. A task has names (a table of
 *         handles), an address space (page tables that the simulated CPU of the
 *         task walks), and is its own pager: a fault asks physmem, by a name,
 *         for the page that should be there; physmem may take it back at any
 *         time.
 *
 *           client  strong name --.                .-- weak name  file server
 *           CPU 0                  container: file                CPU 1
 *           its page tables ------'                '-- its page tables
 *
 *         main.c is the story, hostile.c what a bad server does in it,
 *         machine.c what both stand on.
 */
#ifndef EXAMPLES_PHYSMEM_H
#define EXAMPLES_PHYSMEM_H

#include <mmkit/mmkit.h>

#include "ports/sim/sim.h"

#define PAGE ((uint64_t)MMK_PAGE_BYTES)
#define RO ((unsigned)MMK_PROT_READ)
#define RW ((unsigned)(MMK_PROT_READ | MMK_PROT_WRITE))
#define FILE_MAX_BYTES ((uint64_t)8 << 20)
#define PIN_LIMIT_NS 1000u
#define NR_PINS 4u /* of one container, at most */
#define NR_REGIONS 4u

/* [va, + nr_pages) of a task shows what `container` names from `start` on. */
struct region {
	mmk_va va;
	mmk_handle_name container; /* 0: the region is not in use */
	uint64_t start;
	uint64_t nr_pages;
	unsigned access;
};

struct task {
	const char *name;
	unsigned cpu;
	struct mmk_handles handles;
	struct mmk_pmap pmap;
	struct region regions[NR_REGIONS];
	mmk_handle_name given;   /* its control, as the kernel names it */
	mmk_handle_name control; /* the same, as it does */
	uint64_t nr_requests;    /* of maps, from its page faults */
	bool is_alive;
};

struct machine {
	struct mmk_phys phys;
	struct mmk_pmap_sys sys;
	struct mmk_pins pins;
	struct mmk_handle_sys handle_sys;
	struct mmk_control_tree tree;
	struct mmk_control root;
	struct mmk_physmem_plug plug;
	struct mmk_physmem physmem;
	struct mmk_handles kernel; /* names of the kernel's own */
	mmk_handle_name root_name;
	struct task client, server;
	uint64_t nr_free_at_boot;
	uint64_t nr_items;  /* small structures that are out */
	unsigned nr_failed; /* assertions that did not hold */
};
extern struct machine m;

/* The file, the container the client keeps it in, and what it says of itself. */
struct file {
	unsigned char *bytes;
	uint64_t nr_bytes;
	uint64_t nr_pages;
	uint64_t checksum;
};

/* A line of the story; and one that says what must be so. */
void say(const char *who, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void must(bool holds, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

void machine_boot(unsigned arch);
/* Everything goes; nothing may be left. */
void machine_end(void);
void audit(const char *when);

void task_start(struct task *task, const char *name, unsigned cpu,
    uint64_t nr_pages);
/* Its page tables, its names, its control and all that came from it. */
void task_end(struct task *task);
void task_map(struct task *task, unsigned region, mmk_va va,
    mmk_handle_name container, uint64_t start, uint64_t nr_pages,
    unsigned access);
void task_unmap(struct task *task, unsigned region);
/* As the task's CPU does; 0, or why its page fault was not mended. */
int task_load(struct task *task, mmk_va va, void *to, uint64_t nr_bytes);
int task_store(struct task *task, mmk_va va, const void *from,
    uint64_t nr_bytes);
/* Where va is; UINT64_MAX: the page tables have nothing there. */
mmk_pa task_pa(struct task *task, mmk_va va);
uint64_t task_credit(struct task *task);
uint64_t task_checksum(struct task *task, mmk_va va, uint64_t nr_bytes);

uint64_t checksum_of(uint64_t hash, const unsigned char *bytes,
    uint64_t nr_bytes);
/* Ask for just the page at pa: whatever is there has to move. */
enum mmk_err evict(mmk_pa pa);
uint64_t nr_stale_hits(void);

/* hostile.c: what a server tries that was lent `weak`, a name of `strong`. */
void hostile_requests(mmk_handle_name strong, mmk_handle_name weak,
    const struct file *file);
void hostile_forgery(mmk_handle_name strong, mmk_handle_name weak,
    mmk_handle_name old);
void hostile_pins(mmk_handle_name strong, mmk_handle_name weak);
void hostile_leftovers(mmk_handle_name strong, mmk_handle_name weak);

#endif /* EXAMPLES_PHYSMEM_H */
