/* SPDX-License-Identifier: MIT
 *
 * mmkit/face/task.h: tasks that are loaded into the page table of a CPU
 *
 * WHAT    Every CPU has one live page table. The segments of a task
 *         (kva/segment.h) save what is mapped in them; loading a segment on a
 *         CPU puts it into that CPU's table, unloading takes it out and keeps
 *         it saved:
 *
 *           map      saved <- pages, claimed   and into the tables of the CPUs
 *                                              that have the segment loaded
 *           load     saved -> the live table of one CPU
 *           unload   the live table -> nothing; saved stays
 *           unmap    saved -> nothing, and out of every table
 *
 *         A page of RAM is claimed (one reference) as long as it is mapped,
 *         loaded or not; other addresses are nobody's. Modified belongs to the
 *         page and outlives unloading. Translations are wired, because no fault
 *         brings them back, and count as accessed from the start: nobody looks
 *         for pages to take among them, and a CPU that leaves these bits to
 *         software would fault at each page after each switch.
 *
 *         For those who know Andromeda's VM manager:
 *
 *           vm_map, vm_unmap                mmk_task_map, mmk_task_unmap
 *           vm_segment_load, _unload        mmk_task_segment_load, _unload
 *           vm_load_task, vm_unload_task    mmk_task_load, mmk_task_unload
 *           vm_map_heap, vm_unmap_heap      mmk_task_heap_map, _unmap
 *           vm_get_phys                     mmk_task_phys
 *
 * LAYER   face. Includes kva/segment.h and pmap/pmap.h. Needs nothing of vm/.
 * LOCKS   descriptor->mutex, then the mutex of one CPU (both MMK_RANK_MAP),
 *         then those of pmap.h. Flushes with both mutexes held, no lock.
 * COST    load, unload, map, unmap: O(pages), times the CPUs loaded on for the
 *         latter two. Saved: 64 bytes for each run of physical neighbours.
 * SOURCE  Andromeda's VM manager; differs: it copies tables of 1024 entries in
 *         and out, and merges those that a neighbour shares.
 *
 * I1      segment loaded on a CPU => each page saved in it is translated there
 *         as it is saved                             tested by: mmk_task_check
 */
#ifndef MMKIT_FACE_TASK_H
#define MMKIT_FACE_TASK_H

#include "../kva/segment.h"
#include "../pmap/pmap.h"

MMK_BEGIN_DECLS

/*
 * Guards: [I] immutable after init  [S] segments.mutex to write, else atomic
 *
 * The mutex: from the look whether addresses are free in the live table until
 * they are filled, and while they are emptied.
 */
struct mmk_task_cpu {
	MMKIT_MUTEX_T mutex;
	struct mmk_pmap *live; /* [S] NULL: none */
};

struct mmk_tasks {
	struct mmk_segment_sys segments; /* its own locks */
	struct mmk_pmap_sys *pmap_sys;   /* [I] */
	bool (*kernel_phys)(void *ctx, mmk_va va, mmk_pa *pa_out); /* [I] */
	void *ctx;                       /* [I] */
	struct mmk_task_cpu cpus[MMKIT_CPU_MAX];
};

struct mmk_task_config {
	/* phys: that of pmap_sys. max_va: 0, or at most mmk_pt_va_limit. */
	struct mmk_segment_config segments;
	struct mmk_pmap_sys *pmap_sys;
	/* Where the kernel's own half of the table leads; NULL: not said. */
	bool (*kernel_phys)(void *ctx, mmk_va va, mmk_pa *pa_out);
	void *ctx;
};

/*
 * mmk_task_init: no tasks, the kernel's descriptor, no CPU with a live table.
 *
 * errors   MMK_ERR_INVAL: max_va is above what a table translates.
 *          MMK_ERR_NOMEM. Nothing changed.
 */
#define mmk_task_init MMK_STAMP(mmk_task_init)
MMK_API MMK_NODISCARD enum mmk_err mmk_task_init(struct mmk_tasks *tasks,
    const struct mmk_task_config *config);

/*
 * Unmaps and forgets the kernel's segments. pre: every other descriptor is
 * destroyed, and no CPU has a live table.
 */
MMK_API void mmk_task_fini(struct mmk_tasks *tasks);

/*
 * mmk_task_attach: `pmap` is the live table of `cpu` from now on. Whether the
 * CPU has it active is the kernel's business.
 *
 * pre      whoever else enters translations there does so where no segment is
 *          being mapped or loaded at that moment.
 * errors   MMK_ERR_INVAL: no such CPU. MMK_ERR_EXIST: the CPU has one, or it is
 *          another CPU's. Nothing changed.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_task_attach(struct mmk_tasks *tasks,
    unsigned cpu, struct mmk_pmap *pmap);

/*
 * `cpu` has no live table any more. pre: nobody loads anything there meanwhile.
 * errors MMK_ERR_NOENT: it had none. MMK_ERR_BUSY: a segment is loaded there.
 * Nothing changed.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_task_detach(struct mmk_tasks *tasks,
    unsigned cpu);

/*
 * mmk_task_map: the extents, one after the other, are mapped from `va` on, in
 * the tables of all CPUs that have the segment loaded. With an allocator, an
 * allocated range starts at `va`, and is then mapped; pages of it that the
 * extents do not reach stay without translation.
 *
 * flags    MMK_PROT_*, and MMK_PMAP_DEVICE if so. What a task of user privilege
 *          maps, user mode may use.
 * pre      pages of RAM among the extents are held by the caller.
 * errors   MMK_ERR_NOENT: no allocated range starts at va; or, without an
 *          allocator, va is not in the segment. MMK_ERR_EXIST: it is mapped,
 *          or a table has a translation there. MMK_ERR_INVAL: flags, extents,
 *          longer than the range, or a page of RAM that is free.
 *          MMK_ERR_NOMEM. Nothing changed.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_task_map(struct mmk_tasks *tasks,
    struct mmk_segment *segment, mmk_va va,
    const struct mmk_saved_extent *extents, size_t nr_extents, unsigned flags);

/*
 * mmk_task_unmap: what mmk_task_map did at `va` is undone: gone from all
 * tables, flushed, and then the pages are let go. The range is allocated again.
 *
 * errors   MMK_ERR_NOENT: no mapping starts there; nothing changed.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_task_unmap(struct mmk_tasks *tasks,
    struct mmk_segment *segment, mmk_va va);

/* Every mapping of the segment, as before mmk_segment_clean. */
MMK_API void mmk_task_unmap_all(struct mmk_tasks *tasks,
    struct mmk_segment *segment);

/*
 * mmk_task_segment_load: what is saved in the segment is translated on `cpu`.
 *
 * errors   MMK_ERR_BUSY: it is loaded there. MMK_ERR_EXIST: the CPU translates
 *          an address that is mapped in the segment. MMK_ERR_INVAL: the CPU has
 *          no live table. MMK_ERR_NOMEM. Nothing changed.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_task_segment_load(
    struct mmk_tasks *tasks, unsigned cpu, struct mmk_segment *segment);

/* errors MMK_ERR_NOENT: it is not loaded there; nothing changed. */
MMK_API MMK_NODISCARD enum mmk_err mmk_task_segment_unload(
    struct mmk_tasks *tasks, unsigned cpu, struct mmk_segment *segment);

/*
 * All segments of the task, or none: errors as above, of any of them, and
 * nothing changed.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_task_load(struct mmk_tasks *tasks,
    unsigned cpu, struct mmk_descriptor *descriptor);
MMK_API MMK_NODISCARD enum mmk_err mmk_task_unload(struct mmk_tasks *tasks,
    unsigned cpu, struct mmk_descriptor *descriptor);

/*
 * mmk_task_heap_map: pages for [pa, pa + bytes) from the kernel's heap, mapped,
 * readable and writable; `flags` may add MMK_PMAP_DEVICE or MMK_PROT_EXEC.
 * pa is page aligned; bytes are rounded up to pages.
 *
 * errors   MMK_ERR_NOENT: no heap. MMK_ERR_INVAL, MMK_ERR_EXIST, MMK_ERR_NOMEM,
 *          MMK_ERR_NOSPACE: as mmk_task_map and mmk_segment_alloc. Nothing
 *          changed.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_task_heap_map(struct mmk_tasks *tasks,
    mmk_pa pa, uint64_t bytes, unsigned flags, mmk_va *va_out);

/* errors MMK_ERR_NOENT: that did not map it, or no heap; nothing changed. */
MMK_API MMK_NODISCARD enum mmk_err mmk_task_heap_unmap(
    struct mmk_tasks *tasks, mmk_va va);

/*
 * mmk_task_phys: where does `va` lead on `cpu`, offset in the page included?
 * Above what tables translate, config.kernel_phys is asked. False: nowhere;
 * *pa_out is untouched.
 */
MMK_API bool mmk_task_phys(struct mmk_tasks *tasks, unsigned cpu, mmk_va va,
    mmk_pa *pa_out);

/* mmk_segment_sys_check, and I1. locks: takes and drops the mutexes. */
MMK_API bool mmk_task_check(struct mmk_tasks *tasks);

MMK_END_DECLS
#endif /* MMKIT_FACE_TASK_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_FACE_TASK_IMPL)
#define MMKIT_FACE_TASK_IMPL

/* ---- the machine --------------------------------------------------------- */

MMK_API enum mmk_err
mmk_task_init(struct mmk_tasks *tasks, const struct mmk_task_config *config)
{
	struct mmk_segment_config segments = config->segments;
	mmk_va limit_va = mmk_pt_va_limit(&config->pmap_sys->shape);

	if (segments.max_va == 0)
		segments.max_va = limit_va;
	if (segments.max_va > limit_va)
		return MMK_ERR_INVAL;
	segments.phys = config->pmap_sys->phys;
	tasks->pmap_sys = config->pmap_sys;
	tasks->kernel_phys = config->kernel_phys;
	tasks->ctx = config->ctx;
	for (unsigned i = 0; i < MMKIT_CPU_MAX; i++) {
		MMKIT_MUTEX_INIT(&tasks->cpus[i].mutex, "live table",
		    MMK_RANK_MAP);
		tasks->cpus[i].live = NULL;
	}
	return mmk_segment_sys_init(&tasks->segments, &segments);
}

/* Is a segment of this task loaded on `cpu`? locks: the descriptor's mutex. */
MMK_PRIVATE bool
mmk__segment_is_on(const struct mmk_segment *segment, unsigned cpu)
{
	return (segment->loaded[cpu / 64] >> cpu % 64 & 1) != 0;
}

MMK_PRIVATE bool
mmk__task_is_on(struct mmk_descriptor *descriptor, unsigned cpu)
{
	struct mmk_segment *segment;
	bool is_on = false;

	MMKIT_MUTEX_LOCK(&descriptor->mutex);
	segment = mmk_segment_find_locked(descriptor, 0);
	for (; segment != NULL && !is_on;
	     segment = mmk_segment_find_locked(descriptor, segment->end_va))
		is_on = mmk__segment_is_on(segment, cpu);
	MMKIT_MUTEX_UNLOCK(&descriptor->mutex);
	return is_on;
}

MMK_API enum mmk_err
mmk_task_attach(struct mmk_tasks *tasks, unsigned cpu, struct mmk_pmap *pmap)
{
	enum mmk_err err = MMK_OK;

	if (cpu >= MMKIT_CPU_COUNT())
		return MMK_ERR_INVAL;
	MMKIT_MUTEX_LOCK(&tasks->segments.mutex);
	for (unsigned i = 0; i < MMKIT_CPU_MAX; i++) {
		const struct mmk_pmap *live =
		    MMKIT_ATOMIC_LOAD(&tasks->cpus[i].live);

		if (live == pmap || (i == cpu && live != NULL))
			err = MMK_ERR_EXIST;
	}
	if (err == MMK_OK)
		MMKIT_ATOMIC_STORE(&tasks->cpus[cpu].live, pmap);
	MMKIT_MUTEX_UNLOCK(&tasks->segments.mutex);
	return err;
}

MMK_API enum mmk_err
mmk_task_detach(struct mmk_tasks *tasks, unsigned cpu)
{
	struct mmk_segment_sys *sys = &tasks->segments;
	enum mmk_err err = MMK_OK;

	if (cpu >= MMKIT_CPU_COUNT() ||
	    MMKIT_ATOMIC_LOAD(&tasks->cpus[cpu].live) == NULL)
		return MMK_ERR_NOENT;
	MMKIT_MUTEX_LOCK(&sys->mutex);
	if (mmk__task_is_on(&sys->kernel, cpu))
		err = MMK_ERR_BUSY;
	MMK_LIST_FOR_EACH(link, &sys->descriptors)
		if (mmk__task_is_on(MMK_LIST_ITEM(link, struct mmk_descriptor,
		        of_sys), cpu))
			err = MMK_ERR_BUSY;
	if (err == MMK_OK)
		MMKIT_ATOMIC_STORE(&tasks->cpus[cpu].live, NULL);
	MMKIT_MUTEX_UNLOCK(&sys->mutex);
	return err;
}

MMK_API void
mmk_task_fini(struct mmk_tasks *tasks)
{
	struct mmk_descriptor *kernel = &tasks->segments.kernel;

	for (unsigned i = 0; i < MMKIT_CPU_MAX; i++)
		MMK_ASSERT(tasks->cpus[i].live == NULL);
	while (kernel->segments.root != NULL) {
		struct mmk_segment *segment = MMK_TREAP_ITEM(
		    kernel->segments.root, struct mmk_segment, of_descriptor);

		mmk_task_unmap_all(tasks, segment);
		mmk_segment_clean(segment);
	}
	mmk_segment_sys_fini(&tasks->segments);
}

/* ---- runs in one table --------------------------------------------------- */

/* The runs an operation is about: one mapping, or all of a segment. */
struct mmk__task_runs {
	const struct mmk_saved *saved;
	struct mmk_saved_run *first; /* NULL: none at all */
	bool is_all;
};

/* pre: a mapping starts at `va`. */
MMK_PRIVATE struct mmk__task_runs
mmk__task_runs_of_mapping(const struct mmk_segment *segment, mmk_va va)
{
	struct mmk__task_runs runs = { &segment->saved,
		mmk_saved_mapping(&segment->saved, va), false };

	return runs;
}

MMK_PRIVATE struct mmk__task_runs
mmk__task_runs_of_all(const struct mmk_segment *segment)
{
	struct mmk__task_runs runs = { &segment->saved,
		mmk_saved_next(&segment->saved, NULL), true };

	return runs;
}

MMK_PRIVATE const struct mmk_saved_run *
mmk__task_runs_next(const struct mmk__task_runs *runs,
    const struct mmk_saved_run *run)
{
	run = mmk_saved_next(runs->saved, run);
	return run != NULL && (runs->is_all || !run->is_first) ? run : NULL;
}

/* Is any page of the runs translated? */
MMK_PRIVATE bool
mmk__task_overlaps(struct mmk_pmap *pmap, const struct mmk__task_runs *runs)
{
	const struct mmk_saved_run *run = runs->first;
	struct mmk_translation found;

	for (; run != NULL; run = mmk__task_runs_next(runs, run))
		if (mmk_pmap_next(pmap, mmk_saved_start(run), run->end_va,
		        &found))
			return true;
	return false;
}

/* Translations of the runs, if there are any, are gone and flushed. */
MMK_PRIVATE void
mmk__task_leave(struct mmk_pmap *pmap, const struct mmk__task_runs *runs)
{
	const struct mmk_saved_run *run = runs->first;
	struct mmk_gather gather;

	mmk_gather_init(&gather, pmap->sys);
	for (; run != NULL; run = mmk__task_runs_next(runs, run))
		mmk_pmap_remove(pmap, mmk_saved_start(run), run->end_va,
		    &gather);
	mmk_gather_finish(&gather);
}

/*
 * All of the runs are translated, or none. locks: the CPU's mutex held.
 * errors MMK_ERR_EXIST: something else is there. MMK_ERR_NOMEM.
 */
MMK_PRIVATE MMK_NODISCARD enum mmk_err
mmk__task_enter(struct mmk_pmap *pmap, const struct mmk__task_runs *runs)
{
	const struct mmk_saved_run *run = runs->first;
	enum mmk_err err = MMK_OK;
	uint64_t nr_done;

	if (mmk__task_overlaps(pmap, runs))
		return MMK_ERR_EXIST;
	mmk_pmap_settle(pmap);
	for (; run != NULL && err == MMK_OK;
	     run = mmk__task_runs_next(runs, run))
		err = mmk_pmap_enter_run(pmap, mmk_saved_start(run), run->pa,
		    mmk_saved_pages(run), run->flags, &nr_done);
	if (err != MMK_OK)
		mmk__task_leave(pmap, runs);
	return err;
}

/* The same in the live table of a CPU. MMK_ERR_INVAL: there is none. */
MMK_PRIVATE MMK_NODISCARD enum mmk_err
mmk__task_enter_cpu(struct mmk_tasks *tasks, unsigned cpu,
    const struct mmk__task_runs *runs)
{
	struct mmk_task_cpu *place = &tasks->cpus[cpu];
	enum mmk_err err = MMK_ERR_INVAL;
	struct mmk_pmap *live;

	MMKIT_MUTEX_LOCK(&place->mutex);
	live = MMKIT_ATOMIC_LOAD(&place->live);
	if (live != NULL)
		err = mmk__task_enter(live, runs);
	MMKIT_MUTEX_UNLOCK(&place->mutex);
	return err;
}

MMK_PRIVATE void
mmk__task_leave_cpu(struct mmk_tasks *tasks, unsigned cpu,
    const struct mmk__task_runs *runs)
{
	struct mmk_task_cpu *place = &tasks->cpus[cpu];
	struct mmk_pmap *live;

	MMKIT_MUTEX_LOCK(&place->mutex);
	live = MMKIT_ATOMIC_LOAD(&place->live);
	MMK_ASSERT(live != NULL);
	mmk__task_leave(live, runs);
	MMKIT_MUTEX_UNLOCK(&place->mutex);
}

/* ---- map and unmap ------------------------------------------------------- */

/* May they be mapped? Not what no table can hold, and not RAM that is free. */
MMK_PRIVATE bool
mmk__task_extents_are_good(const struct mmk_tasks *tasks,
    const struct mmk_saved_extent *extents, size_t nr_extents)
{
	const struct mmk_pmap_sys *sys = tasks->pmap_sys;
	uint64_t limit_pages = mmk_pages_of_bytes(
	    (uint64_t)1 << sys->shape.pa_bits);

	for (size_t i = 0; i < nr_extents; i++) {
		mmk_pfn pfn = mmk_pfn_of_pa(extents[i].pa);

		if (pfn >= limit_pages ||
		    extents[i].nr_pages > limit_pages - pfn)
			return false;
		for (uint64_t j = 0; j < extents[i].nr_pages; j++) {
			const struct mmk_frame *frame = mmk_frame_of_pa(
			    sys->phys, mmk_pa_of_pfn(pfn + j));

			if (frame != NULL && !mmk_frame_is_held(frame))
				return false;
		}
	}
	return true;
}

/* One reference more, or less, of each page of RAM in the runs. */
MMK_PRIVATE void
mmk__task_claim(struct mmk_tasks *tasks, const struct mmk__task_runs *runs,
    bool is_claimed)
{
	struct mmk_phys *phys = tasks->pmap_sys->phys;
	const struct mmk_saved_run *run = runs->first;

	for (; run != NULL; run = mmk__task_runs_next(runs, run))
		for (uint64_t i = 0; i < mmk_saved_pages(run); i++) {
			mmk_pa pa = run->pa + mmk_bytes_of_pages(i);

			if (is_claimed)
				(void)mmk_pa_ref(phys, pa);
			else
				(void)mmk_pa_unref(phys, pa);
		}
}

/* Out of the tables of all CPUs below end_cpu that have the segment loaded. */
MMK_PRIVATE void
mmk__task_leave_loaded(struct mmk_tasks *tasks,
    const struct mmk_segment *segment, const struct mmk__task_runs *runs,
    unsigned end_cpu)
{
	for (unsigned cpu = 0; cpu < end_cpu; cpu++)
		if (mmk__segment_is_on(segment, cpu))
			mmk__task_leave_cpu(tasks, cpu, runs);
}

/* Into the tables of all CPUs that have it loaded, or, on error, of none. */
MMK_PRIVATE MMK_NODISCARD enum mmk_err
mmk__task_enter_loaded(struct mmk_tasks *tasks,
    const struct mmk_segment *segment, const struct mmk__task_runs *runs)
{
	for (unsigned cpu = 0; cpu < MMKIT_CPU_MAX; cpu++) {
		enum mmk_err err = MMK_OK;

		if (mmk__segment_is_on(segment, cpu))
			err = mmk__task_enter_cpu(tasks, cpu, runs);
		if (err != MMK_OK) {
			mmk__task_leave_loaded(tasks, segment, runs, cpu);
			return err;
		}
	}
	return MMK_OK;
}

/* Claimed before any table leads to the pages, so that they cannot go. */
MMK_PRIVATE MMK_NODISCARD enum mmk_err
mmk__task_map_locked(struct mmk_tasks *tasks, struct mmk_segment *segment,
    mmk_va va, const struct mmk_saved_extent *extents, size_t nr_extents,
    unsigned flags)
{
	struct mmk__task_runs runs;
	enum mmk_err err;

	err = mmk_segment_save_locked(segment, va, extents, nr_extents, flags);
	if (err != MMK_OK)
		return err;
	if (!mmk__task_extents_are_good(tasks, extents, nr_extents)) {
		mmk_segment_forget_locked(segment, va);
		return MMK_ERR_INVAL;
	}
	runs = mmk__task_runs_of_mapping(segment, va);
	mmk__task_claim(tasks, &runs, true);
	err = mmk__task_enter_loaded(tasks, segment, &runs);
	if (err != MMK_OK) {
		mmk__task_claim(tasks, &runs, false);
		mmk_segment_forget_locked(segment, va);
	}
	return err;
}

MMK_API enum mmk_err
mmk_task_map(struct mmk_tasks *tasks, struct mmk_segment *segment, mmk_va va,
    const struct mmk_saved_extent *extents, size_t nr_extents, unsigned flags)
{
	struct mmk_descriptor *descriptor = segment->descriptor;
	enum mmk_err err;

	if ((flags & ~(MMK_PROT_ALL | MMK_PMAP_DEVICE)) != 0 ||
	    (flags & MMK_PROT_ALL) == 0)
		return MMK_ERR_INVAL;
	flags |= MMK_PMAP_WIRED | MMK_PMAP_ACCESSED;
	if (descriptor->privilege == MMK_PRIVILEGE_USER)
		flags |= MMK_PMAP_USER;
	MMKIT_MUTEX_LOCK(&descriptor->mutex);
	err = mmk__task_map_locked(tasks, segment, va, extents, nr_extents,
	    flags);
	MMKIT_MUTEX_UNLOCK(&descriptor->mutex);
	return err;
}

/* Out of the tables, flushed, and only then let go. */
MMK_PRIVATE void
mmk__task_unmap_locked(struct mmk_tasks *tasks, struct mmk_segment *segment,
    mmk_va va)
{
	struct mmk__task_runs runs = mmk__task_runs_of_mapping(segment, va);

	mmk__task_leave_loaded(tasks, segment, &runs, MMKIT_CPU_MAX);
	mmk__task_claim(tasks, &runs, false);
	mmk_segment_forget_locked(segment, va);
}

MMK_API enum mmk_err
mmk_task_unmap(struct mmk_tasks *tasks, struct mmk_segment *segment, mmk_va va)
{
	struct mmk_descriptor *descriptor = segment->descriptor;
	enum mmk_err err = MMK_ERR_NOENT;

	MMKIT_MUTEX_LOCK(&descriptor->mutex);
	if (mmk_saved_mapping(&segment->saved, va) != NULL) {
		mmk__task_unmap_locked(tasks, segment, va);
		err = MMK_OK;
	}
	MMKIT_MUTEX_UNLOCK(&descriptor->mutex);
	return err;
}

MMK_API void
mmk_task_unmap_all(struct mmk_tasks *tasks, struct mmk_segment *segment)
{
	struct mmk_descriptor *descriptor = segment->descriptor;
	const struct mmk_saved_run *run;

	MMKIT_MUTEX_LOCK(&descriptor->mutex);
	while ((run = mmk_saved_next(&segment->saved, NULL)) != NULL)
		mmk__task_unmap_locked(tasks, segment, mmk_saved_start(run));
	MMKIT_MUTEX_UNLOCK(&descriptor->mutex);
}

/* ---- load and unload ----------------------------------------------------- */

/* As mmk_task_segment_load, with the descriptor's mutex held. */
MMK_PRIVATE MMK_NODISCARD enum mmk_err
mmk__task_load_locked(struct mmk_tasks *tasks, unsigned cpu,
    struct mmk_segment *segment)
{
	struct mmk__task_runs runs = mmk__task_runs_of_all(segment);
	enum mmk_err err;

	if (mmk__segment_is_on(segment, cpu))
		return MMK_ERR_BUSY;
	err = mmk__task_enter_cpu(tasks, cpu, &runs);
	if (err == MMK_OK)
		segment->loaded[cpu / 64] |= (uint64_t)1 << cpu % 64;
	return err;
}

/* pre: it is loaded. */
MMK_PRIVATE void
mmk__task_unload_locked(struct mmk_tasks *tasks, unsigned cpu,
    struct mmk_segment *segment)
{
	struct mmk__task_runs runs = mmk__task_runs_of_all(segment);

	mmk__task_leave_cpu(tasks, cpu, &runs);
	segment->loaded[cpu / 64] &= ~((uint64_t)1 << cpu % 64);
}

MMK_API enum mmk_err
mmk_task_segment_load(struct mmk_tasks *tasks, unsigned cpu,
    struct mmk_segment *segment)
{
	struct mmk_descriptor *descriptor = segment->descriptor;
	enum mmk_err err;

	if (cpu >= MMKIT_CPU_COUNT())
		return MMK_ERR_INVAL;
	MMKIT_MUTEX_LOCK(&descriptor->mutex);
	err = mmk__task_load_locked(tasks, cpu, segment);
	MMKIT_MUTEX_UNLOCK(&descriptor->mutex);
	return err;
}

MMK_API enum mmk_err
mmk_task_segment_unload(struct mmk_tasks *tasks, unsigned cpu,
    struct mmk_segment *segment)
{
	struct mmk_descriptor *descriptor = segment->descriptor;
	enum mmk_err err = MMK_ERR_NOENT;

	if (cpu >= MMKIT_CPU_COUNT())
		return MMK_ERR_NOENT;
	MMKIT_MUTEX_LOCK(&descriptor->mutex);
	if (mmk__segment_is_on(segment, cpu)) {
		mmk__task_unload_locked(tasks, cpu, segment);
		err = MMK_OK;
	}
	MMKIT_MUTEX_UNLOCK(&descriptor->mutex);
	return err;
}

/* Unload the segments below `end_va`. pre: they are loaded. */
MMK_PRIVATE void
mmk__task_unload_below(struct mmk_tasks *tasks, unsigned cpu,
    struct mmk_descriptor *descriptor, mmk_va end_va)
{
	struct mmk_segment *segment = mmk_segment_find_locked(descriptor, 0);

	for (; segment != NULL && segment->start_va < end_va;
	     segment = mmk_segment_find_locked(descriptor, segment->end_va))
		mmk__task_unload_locked(tasks, cpu, segment);
}

MMK_API enum mmk_err
mmk_task_load(struct mmk_tasks *tasks, unsigned cpu,
    struct mmk_descriptor *descriptor)
{
	struct mmk_segment *segment;
	enum mmk_err err = MMK_OK;

	if (cpu >= MMKIT_CPU_COUNT() ||
	    MMKIT_ATOMIC_LOAD(&tasks->cpus[cpu].live) == NULL)
		return MMK_ERR_INVAL;
	MMKIT_MUTEX_LOCK(&descriptor->mutex);
	segment = mmk_segment_find_locked(descriptor, 0);
	while (segment != NULL && err == MMK_OK) {
		err = mmk__task_load_locked(tasks, cpu, segment);
		if (err != MMK_OK)
			mmk__task_unload_below(tasks, cpu, descriptor,
			    segment->start_va);
		segment = mmk_segment_find_locked(descriptor, segment->end_va);
	}
	MMKIT_MUTEX_UNLOCK(&descriptor->mutex);
	return err;
}

MMK_API enum mmk_err
mmk_task_unload(struct mmk_tasks *tasks, unsigned cpu,
    struct mmk_descriptor *descriptor)
{
	const struct mmk_segment *segment;
	enum mmk_err err = MMK_OK;

	if (cpu >= MMKIT_CPU_COUNT())
		return MMK_ERR_NOENT;
	MMKIT_MUTEX_LOCK(&descriptor->mutex);
	segment = mmk_segment_find_locked(descriptor, 0);
	for (; segment != NULL && err == MMK_OK;
	     segment = mmk_segment_find_locked(descriptor, segment->end_va))
		if (!mmk__segment_is_on(segment, cpu))
			err = MMK_ERR_NOENT;
	if (err == MMK_OK)
		mmk__task_unload_below(tasks, cpu, descriptor, UINT64_MAX);
	MMKIT_MUTEX_UNLOCK(&descriptor->mutex);
	return err;
}

/* ---- the kernel's heap --------------------------------------------------- */

MMK_API enum mmk_err
mmk_task_heap_map(struct mmk_tasks *tasks, mmk_pa pa, uint64_t bytes,
    unsigned flags, mmk_va *va_out)
{
	struct mmk_segment *heap = MMKIT_ATOMIC_LOAD(&tasks->segments.heap);
	struct mmk_saved_extent extent = { pa, mmk_pages_round_up(bytes) };
	enum mmk_err err, undone;
	mmk_va va;

	if (heap == NULL)
		return MMK_ERR_NOENT;
	err = mmk_segment_alloc(heap, bytes, &va);
	if (err != MMK_OK)
		return err;
	err = mmk_task_map(tasks, heap, va, &extent, 1,
	    flags | MMK_PROT_READ | MMK_PROT_WRITE);
	if (err == MMK_OK) {
		*va_out = va;
		return MMK_OK;
	}
	undone = mmk_segment_free(heap, va);
	MMK_ASSERT(undone == MMK_OK);
	return err;
}

MMK_API enum mmk_err
mmk_task_heap_unmap(struct mmk_tasks *tasks, mmk_va va)
{
	struct mmk_segment *heap = MMKIT_ATOMIC_LOAD(&tasks->segments.heap);
	enum mmk_err err;

	if (heap == NULL)
		return MMK_ERR_NOENT;
	err = mmk_task_unmap(tasks, heap, va);
	return err == MMK_OK ? mmk_segment_free(heap, va) : err;
}

/* ---- questions ----------------------------------------------------------- */

MMK_API bool
mmk_task_phys(struct mmk_tasks *tasks, unsigned cpu, mmk_va va, mmk_pa *pa_out)
{
	struct mmk_pmap *live = NULL;
	struct mmk_translation found;

	if (va >= mmk_pt_va_limit(&tasks->pmap_sys->shape))
		return tasks->kernel_phys != NULL &&
		    tasks->kernel_phys(tasks->ctx, va, pa_out);
	if (cpu < MMKIT_CPU_COUNT())
		live = MMKIT_ATOMIC_LOAD(&tasks->cpus[cpu].live);
	if (live == NULL || !mmk_pmap_query(live, va, &found))
		return false;
	*pa_out = found.pa + (va - found.va);
	return true;
}

/* Every page of the run is in the table, and granted what it asks for. */
MMK_PRIVATE bool
mmk__task_check_run(struct mmk_pmap *live, const struct mmk_saved_run *run)
{
	mmk_va start_va = mmk_saved_start(run);

	for (mmk_va va = start_va; va < run->end_va; va += MMK_PAGE_BYTES) {
		struct mmk_translation found;

		if (!mmk_pmap_query(live, va, &found) ||
		    found.pa + (va - found.va) != run->pa + (va - start_va) ||
		    (run->flags & ~(found.flags | MMK_PMAP_ACCESSED)) != 0)
			return false;
	}
	return true;
}

MMK_PRIVATE bool
mmk__task_check_segment(struct mmk_tasks *tasks,
    const struct mmk_segment *segment)
{
	for (unsigned cpu = 0; cpu < MMKIT_CPU_MAX; cpu++) {
		struct mmk_pmap *live =
		    MMKIT_ATOMIC_LOAD(&tasks->cpus[cpu].live);
		const struct mmk_saved_run *run = NULL;

		if (!mmk__segment_is_on(segment, cpu))
			continue;
		if (live == NULL)
			return false;
		while ((run = mmk_saved_next(&segment->saved, run)) != NULL)
			if (!mmk__task_check_run(live, run))
				return false;
	}
	return true;
}

MMK_PRIVATE bool
mmk__task_check_descriptor(struct mmk_tasks *tasks,
    struct mmk_descriptor *descriptor)
{
	const struct mmk_segment *segment;
	bool is_good = true;

	MMKIT_MUTEX_LOCK(&descriptor->mutex);
	segment = mmk_segment_find_locked(descriptor, 0);
	for (; segment != NULL && is_good;
	     segment = mmk_segment_find_locked(descriptor, segment->end_va))
		is_good = mmk__task_check_segment(tasks, segment);
	MMKIT_MUTEX_UNLOCK(&descriptor->mutex);
	return is_good;
}

MMK_API bool
mmk_task_check(struct mmk_tasks *tasks)
{
	struct mmk_segment_sys *sys = &tasks->segments;
	bool is_good;

	if (!mmk_segment_sys_check(sys))
		return false;
	MMKIT_MUTEX_LOCK(&sys->mutex);
	is_good = mmk__task_check_descriptor(tasks, &sys->kernel);
	MMK_LIST_FOR_EACH(link, &sys->descriptors)
		is_good = is_good && mmk__task_check_descriptor(tasks,
		    MMK_LIST_ITEM(link, struct mmk_descriptor, of_sys));
	MMKIT_MUTEX_UNLOCK(&sys->mutex);
	return is_good;
}
#endif /* MMKIT_IMPLEMENTATION */
