/* SPDX-License-Identifier: MIT
 *
 * examples/hosted/tlb.c: host mappings as a TLB
 *
 * WHAT    tlb.root remembers what each process has mapped of RAM: a page of it
 *         is a cached translation. A miss is a SIGSEGV. The machine's own MMU
 *         (sim_translate) walks mmkit's tables for it and sets accessed and
 *         dirty; a clean page is filled in read-only, so that the first write
 *         comes back here. What cannot be translated goes to mmk_fault.
 *
 *         A miss costs two context switches, a page filled with it one short
 *         system call, or none where frames are contiguous. So neighbours come
 *         along: translations that exist; pages that are resident; and, for a
 *         program that walks through memory page by page, pages it will want.
 *
 *         An invalidation drops what is cached. If the process stands still,
 *         which it does whenever it caused the change itself, the drop is the
 *         first thing it does when it goes on; else it is stopped first.
 */
#include "hosted.h"
#include "ports/sim/walk.h"

#include <stdlib.h>
#include <string.h>

#define LEVEL_BITS 9u
#define AROUND_PAGES 16u  /* looked at on each side of a miss */
#define AHEAD_MAX_PAGES 64u

/* ---- the table of what is filled ----------------------------------------- */

static uint64_t *
slot_at(const struct tlb *tlb, mmk_va va, bool create)
{
	uint64_t *table = tlb->root;

	if (va >= SPACE_MAX_VA)
		return NULL;
	for (unsigned level = 3; level > 0; level--) {
		unsigned shift = MMK_PAGE_SHIFT + level * LEVEL_BITS;
		uint64_t *entry = &table[va >> shift & 511];

		if (*entry == 0) {
			if (!create)
				return NULL;
			*entry = (uint64_t)(uintptr_t)xcalloc(512, 8);
		}
		table = (uint64_t *)(uintptr_t)*entry;
	}
	return &table[va >> MMK_PAGE_SHIFT & 511];
}

static uint64_t
tlb_get(const struct tlb *tlb, mmk_va va)
{
	const uint64_t *entry = slot_at(tlb, va, false);

	return entry == NULL ? 0 : *entry;
}

static void
free_tables(uint64_t *table, unsigned level)
{
	for (unsigned i = 0; level > 0 && i < 512; i++)
		if (table[i] != 0)
			free_tables((uint64_t *)(uintptr_t)table[i],
			    level - 1);
	free(table);
}

void
tlb_init(struct mm *mm)
{
	memset(&mm->tlb, 0, sizeof mm->tlb);
	mm->tlb.root = xcalloc(512, 8);
}

void
tlb_fini(struct mm *mm)
{
	free_tables(mm->tlb.root, 3);
	free(mm->tlb.ops);
	memset(&mm->tlb, 0, sizeof mm->tlb);
}

bool
mm_is_hole(const struct mm *mm, mmk_va va)
{
	for (unsigned i = 0; i < mm->nr_holes; i++)
		if (va >= mm->holes[i].start_va && va < mm->holes[i].end_va)
			return true;
	return false;
}

bool
tlb_has(const struct mm *mm, mmk_va va, unsigned access)
{
	uint64_t entry = tlb_get(&mm->tlb, va);

	return (entry & TLB_PRESENT) != 0 && (access & ~entry) == 0;
}

/* Where a page lies, and what may be done to it. */
struct region {
	mmk_va start_va, end_va;
	unsigned prot, flags;
	struct mmk_object *object;
};

/* mmk_map_entry_info counts pages too; this is for every fault. */
static bool
region_of(struct mm *mm, mmk_va va, struct region *out)
{
	struct mmk_map *map = &mm->space.map;
	const struct mmk_entry *entry;

	MMKIT_MUTEX_LOCK(&map->mutex);
	entry = mmk_map_lookup(map, va);
	if (entry != NULL)
		*out = (struct region){ entry->start_va, entry->end_va,
			entry->prot, entry->flags, entry->lower.object };
	MMKIT_MUTEX_UNLOCK(&map->mutex);
	return entry != NULL;
}

/* ---- what the process owes ----------------------------------------------- */

static struct tlb_op *
new_op(struct tlb *tlb)
{
	if (tlb->nr_ops == tlb->max_ops) {
		tlb->max_ops = tlb->max_ops == 0 ? 64 : tlb->max_ops * 2;
		tlb->ops = realloc(tlb->ops, tlb->max_ops * sizeof *tlb->ops);
		if (tlb->ops == NULL)
			die(STATUS_BROKEN, "no memory");
	}
	return &tlb->ops[tlb->nr_ops++];
}

static void
queue_fill(struct tlb *tlb, mmk_va va, mmk_pa pa, unsigned prot)
{
	struct tlb_op *last =
	    tlb->nr_ops > 0 ? &tlb->ops[tlb->nr_ops - 1] : NULL;

	machine.counts.filled_pages++;
	if (last != NULL && last->is_fill && last->prot == prot) {
		if (last->va + last->bytes == va &&
		    last->pa + last->bytes == pa) {
			last->bytes += PAGE_BYTES;
			return;
		}
		if (va + PAGE_BYTES == last->va &&
		    pa + PAGE_BYTES == last->pa) {
			last->va = va;
			last->pa = pa;
			last->bytes += PAGE_BYTES;
			return;
		}
	}
	*new_op(tlb) = (struct tlb_op){ va, PAGE_BYTES, pa, prot, true };
}

static void
queue_drop(struct tlb *tlb, mmk_va start_va, mmk_va end_va)
{
	*new_op(tlb) =
	    (struct tlb_op){ start_va, end_va - start_va, 0, 0, false };
}

/* Drop [start_va, end_va), but leave the host's own mappings alone. */
static void
queue_drop_around_holes(struct mm *mm, mmk_va start_va, mmk_va end_va)
{
	while (start_va < end_va) {
		mmk_va stop_va = end_va, next_va = end_va;

		for (unsigned i = 0; i < mm->nr_holes; i++) {
			const struct hole *hole = &mm->holes[i];

			if (hole->end_va <= start_va ||
			    hole->start_va >= stop_va)
				continue;
			stop_va = hole->start_va > start_va ? hole->start_va
			                                    : start_va;
			next_va = hole->end_va;
		}
		if (stop_va > start_va)
			queue_drop(&mm->tlb, start_va, stop_va);
		start_va = next_va;
	}
}

void
tlb_drop_all(struct mm *mm)
{
	free_tables(mm->tlb.root, 3);
	mm->tlb.root = xcalloc(512, 8);
	mm->tlb.nr_ops = 0;
	mm->tlb.nr_filled = 0;
	queue_drop_around_holes(mm, SPACE_MIN_VA, SPACE_MAX_VA);
}

/* ---- invalidation -------------------------------------------------------- */

/* Forget the range; true: something was filled, in [*first, *end). */
static bool
forget(struct tlb *tlb, uint64_t *table, unsigned level, mmk_va base_va,
    mmk_va start_va, mmk_va end_va, mmk_va *first_va, mmk_va *last_end_va)
{
	uint64_t step = PAGE_BYTES << level * LEVEL_BITS;
	bool found = false;

	for (unsigned i = 0; i < 512; i++) {
		mmk_va va = base_va + i * step;

		if (va >= end_va)
			break;
		if (va + step <= start_va || table[i] == 0)
			continue;
		if (level > 0) {
			found |= forget(tlb, (uint64_t *)(uintptr_t)table[i],
			    level - 1, va, start_va, end_va, first_va,
			    last_end_va);
			continue;
		}
		table[i] = 0;
		tlb->nr_filled--;
		if (va < *first_va)
			*first_va = va;
		if (va + PAGE_BYTES > *last_end_va)
			*last_end_va = va + PAGE_BYTES;
		found = true;
	}
	return found;
}

/* Everyone who runs in this space stands still from now on. */
static void
stop_all(struct mm *mm)
{
	for (struct task *task = machine.tasks; task != NULL;
	     task = task->next)
		if (task->mm == mm && task->at == AT_RUNNING &&
		    !task->is_vfork_parent && !task->is_gone)
			task_interrupt(task);
}

void
tlb_on_invalidate(void *ctx, struct mmk_pmap *pmap, uint64_t start_va,
    uint64_t end_va)
{
	struct mm *mm = machine.mms;
	mmk_va first_va = UINT64_MAX, last_end_va = 0;

	(void)ctx;
	while (mm != NULL && &mm->space.map.pmap != pmap)
		mm = mm->next;
	if (mm == NULL || !forget(&mm->tlb, mm->tlb.root, 3, 0, start_va,
	    end_va, &first_va, &last_end_va))
		return;
	stop_all(mm);
	queue_drop_around_holes(mm, first_va, last_end_va);
}

/* ---- filling ------------------------------------------------------------- */

static void
walk(const struct mm *mm, mmk_va va, struct sim_walk *out)
{
	struct sim_walk_request request = {
		.root_pa = mmk_frame_pa(&machine.phys,
		    mm->space.map.pmap.root),
		.va = va,
		.access = SIM_READ,
		.is_user = true,
		.is_probe = true,
	};

	sim_walk(&request, out);
}

/* The translation of `va` is good: have it in the host as well. */
static void
fill(struct mm *mm, mmk_va va, mmk_pa pa)
{
	struct sim_walk look;
	uint64_t *entry;
	unsigned prot;

	walk(mm, va, &look);
	if (look.fault != SIM_FAULT_NONE ||
	    mmk_frame_of_pa(&machine.phys, pa) == NULL)
		return;
	prot = look.rights[1];
	if (!look.is_dirty)
		prot &= ~MMK_PROT_WRITE;
	entry = slot_at(&mm->tlb, va, true);
	if (*entry == (pa | prot | TLB_PRESENT))
		return;
	if (*entry == 0)
		mm->tlb.nr_filled++;
	*entry = pa | prot | TLB_PRESENT;
	queue_fill(&mm->tlb, va, pa, prot);
}

static enum mmk_err
fault(struct mm *mm, mmk_va va, unsigned access)
{
	enum mmk_err err = mmk_fault(&mm->space.map, va, access);

	for (unsigned nr_tries = 0; err == MMK_ERR_NOMEM &&
	     make_room_by_force(mm, nr_tries); nr_tries++)
		err = mmk_fault(&mm->space.map, va, access);
	if (err == MMK_ERR_NOSPACE) {
		struct region region;

		if (region_of(mm, va, &region) && file_refresh(region.object))
			err = mmk_fault(&mm->space.map, va, access);
	}
	return err;
}

enum mmk_err
tlb_touch(struct mm *mm, mmk_va va, unsigned access, mmk_pa *pa_out)
{
	mmk_va page_va = mmk_page_floor(va);
	uint64_t entry = tlb_get(&mm->tlb, va);
	mmk_pa pa;

	if ((entry & TLB_PRESENT) != 0 && (access & ~entry) == 0) {
		*pa_out = (entry & ~MMK_PAGE_MASK) + (va & MMK_PAGE_MASK);
		return MMK_OK;
	}
	if (va < SPACE_MIN_VA || va >= SPACE_MAX_VA)
		return MMK_ERR_NOENT;
	for (unsigned tries = 0; tries < 8; tries++) {
		enum mmk_err err;

		/*
		 * Each time: room may have been made by ending another. None
		 * is deactivated before: their programs run on, outside the
		 * sim, and are to hear of every change.
		 */
		sim_set_cpu(mm->cpu);
		mmk_pmap_activate(&mm->space.map.pmap, mm->cpu);
		if (sim_translate(mm->cpu, page_va, access, &pa, NULL)) {
			if (mmk_frame_of_pa(&machine.phys, pa) == NULL)
				return MMK_ERR_ACCESS;
			fill(mm, page_va, pa);
			*pa_out = pa + (va & MMK_PAGE_MASK);
			return MMK_OK;
		}
		err = fault(mm, page_va, access);
		if (err != MMK_OK && err != MMK_ERR_AGAIN)
			return err;
	}
	die(STATUS_BROKEN, "a fault at 0x%llx that never ends",
	    (unsigned long long)va);
}

/* ---- neighbours ---------------------------------------------------------- */

/* Have `va` too, if that is cheap. */
static void
fill_neighbour(struct mm *mm, mmk_va va, const struct region *region)
{
	struct sim_walk look;
	mmk_pa pa;

	if (tlb_has(mm, va, MMK_PROT_NONE))
		return;
	walk(mm, va, &look);
	if (look.fault != SIM_FAULT_NONE &&
	    (look.fault != SIM_FAULT_NOT_PRESENT ||
	        (region->prot & MMK_PROT_READ) == 0 ||
	        !mmk_map_is_resident(&mm->space.map, va) ||
	        mmk_fault(&mm->space.map, va, MMK_PROT_READ) != MMK_OK))
		return;
	if (sim_translate(mm->cpu, va, SIM_READ, &pa, NULL))
		fill(mm, va, pa);
}

static bool
has_plenty(void)
{
	struct mmk_phys_stats stats;

	mmk_phys_stats_read(&machine.phys, &stats);
	return stats.nr_free_pages > stats.nr_pages / 4;
}

/*
 * How far the program will get next, going by how it got here; negative:
 * downwards, as stacks do. 0: it has come from somewhere else.
 */
static int
stream_pages(struct mm *mm, mmk_va va)
{
	struct stream *stream;

	for (unsigned i = 0; i < NR_STREAMS; i++) {
		bool is_down;

		stream = &mm->streams[i];
		is_down = stream->down_va == va;
		if (stream->up_va != va && !is_down)
			continue;
		if (stream->nr_pages < AHEAD_MAX_PAGES)
			stream->nr_pages *= 2;
		stream->up_va = va + stream->nr_pages * PAGE_BYTES;
		stream->down_va = va - stream->nr_pages * PAGE_BYTES;
		return is_down ? -(int)stream->nr_pages
		               : (int)stream->nr_pages;
	}
	stream = &mm->streams[mm->next_stream++ % NR_STREAMS];
	stream->up_va = va + PAGE_BYTES;
	stream->down_va = va - PAGE_BYTES;
	stream->nr_pages = 1;
	return 0;
}

/* Write faults that the program would take anyway, taken now. */
static void
fault_ahead(struct mm *mm, mmk_va va, const struct region *region)
{
	int nr_pages = stream_pages(mm, va);
	bool is_down = nr_pages < 0, is_stack =
	    (region->flags & MMK_ENTRY_STACK) != 0;

	if (nr_pages == 0 || !has_plenty())
		return;
	for (nr_pages = is_down ? -nr_pages : nr_pages; nr_pages > 1;
	     nr_pages--) {
		mmk_pa pa;

		va = is_down ? va - PAGE_BYTES : va + PAGE_BYTES;
		if (va >= region->end_va ||
		    (va < region->start_va && !is_stack) ||
		    tlb_has(mm, va, MMK_PROT_WRITE) ||
		    tlb_touch(mm, va, MMK_PROT_WRITE, &pa) != MMK_OK)
			return;
		machine.counts.ahead_pages++;
	}
}

static void
fill_around(struct mm *mm, mmk_va va, unsigned access)
{
	struct region region;
	mmk_va first_va, end_va;

	if (!region_of(mm, va, &region))
		return;
	if (access == MMK_PROT_WRITE &&
	    (region.flags & MMK_ENTRY_PRIVATE) != 0)
		fault_ahead(mm, va, &region);
	first_va = va - region.start_va < AROUND_PAGES * PAGE_BYTES
	    ? region.start_va : va - AROUND_PAGES * PAGE_BYTES;
	end_va = region.end_va - va <= AROUND_PAGES * PAGE_BYTES
	    ? region.end_va : va + (AROUND_PAGES + 1) * PAGE_BYTES;
	for (va = first_va; va < end_va; va += PAGE_BYTES)
		fill_neighbour(mm, va, &region);
}

/* ---- a SIGSEGV ----------------------------------------------------------- */

static void
refuse(struct task *task, siginfo_t *info, enum mmk_err err)
{
	if (err == MMK_ERR_NOMEM) {
		out_of_memory(task);
		return;
	}
	if (err == MMK_ERR_NOSPACE || err == MMK_ERR_IO) {
		info->si_signo = SIGBUS;
		info->si_code = BUS_ADRERR;
	} else {
		info->si_code =
		    err == MMK_ERR_ACCESS ? SEGV_ACCERR : SEGV_MAPERR;
	}
	signal_force(task, info);
}

/*
 * Which access was it? The host says only "not mapped" or "not permitted". A
 * page that is filled was written to; of others the instruction tells, and
 * where it is unclear a read is tried first: a write will come back.
 */
static enum mmk_err
resolve(struct task *task, mmk_va va, unsigned *access_out)
{
	struct mm *mm = task->mm;
	mmk_va rip = task->regs.rip;
	bool is_filled = tlb_has(mm, va, MMK_PROT_NONE);
	unsigned access = MMK_PROT_WRITE;
	enum mmk_err err;
	mmk_pa pa;

	if (va == rip || (mmk_is_page_aligned(va) && va - rip < 15 &&
	    mmk_page_floor(rip) != va))
		access = MMK_PROT_EXEC;
	else if (!is_filled)
		access = decode_access(task, va);
	err = tlb_touch(mm, va, access, &pa);
	if (err == MMK_ERR_ACCESS && access != MMK_PROT_READ &&
	    va != rip && !is_filled) {
		access = MMK_PROT_READ;
		err = tlb_touch(mm, va, access, &pa);
	}
	*access_out = access;
	return err;
}

void
handle_segv(struct task *task, siginfo_t *info)
{
	mmk_va va = (mmk_va)(uintptr_t)info->si_addr;
	unsigned access;
	enum mmk_err err;

	machine.counts.fault_stops++;
	if (mm_is_hole(task->mm, va)) {
		info->si_code = SEGV_ACCERR;
		signal_force(task, info);
		return;
	}
	err = resolve(task, va, &access);
	if (err != MMK_OK) {
		refuse(task, info, err);
		return;
	}
	if (task->mm->tlb.nr_ops == 0 && task->stuck_va == va &&
	    ++task->nr_stuck > 4) {
		/* Filled, and yet it faults: a protection only the CPU knows. */
		info->si_code = SEGV_ACCERR;
		signal_force(task, info);
		return;
	}
	if (task->stuck_va != va || task->mm->tlb.nr_ops > 0)
		task->nr_stuck = 0;
	task->stuck_va = va;
	fill_around(task->mm, mmk_page_floor(va), access);
	task_resume(task, 0);
}
