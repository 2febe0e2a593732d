/* SPDX-License-Identifier: MIT
 *
 * examples/hosted/oom.c: when RAM is short
 *
 * WHAT    First the page cache is given back. Then whoever has been killed
 *         already is waited for. Then the program with the most pages is
 *         killed, with a line that says so: the one that asks, if it is the
 *         largest itself.
 */
#include "hosted.h"

#include <errno.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

/*
 * So often is the page cache emptied for one fault. What is given back may be
 * the very page that the fault has just read.
 */
#define RECLAIM_TRIES 4u

/*
 * Faults that found no memory since a program was last started or ended.
 * Programs whose pages do not fit together would go on taking them from each
 * other for ever; after so many of them one has to go.
 */
#define SHORTAGES_MAX 128u
static unsigned nr_shortages;

static void
say_killed(const struct task *task)
{
	struct mmk_phys_stats stats;
	uint64_t nr_pages = task->mm == NULL
	    ? 0 : task->mm->space.map.pmap.nr_pages;

	mmk_phys_stats_read(&machine.phys, &stats);
	machine.counts.oom_kills++;
	say("%d %s: out of memory: %llu MiB of RAM, %llu KiB of them its own, "
	    "%llu KiB free; killed", (int)task->pid, task->name,
	    (unsigned long long)(machine.options.ram_bytes >> 20),
	    (unsigned long long)(mmk_bytes_of_pages(nr_pages) >> 10),
	    (unsigned long long)(mmk_bytes_of_pages(stats.nr_free_pages) >>
	        10));
}

void
out_of_memory(struct task *task)
{
	if (task->is_doomed)
		return;
	say_killed(task);
	task_kill(task);
}

/* A killed task comes to its end; the loop hears of it later. */
static void
wait_for_end(struct task *task)
{
	int status;

	for (;;) {
		if (waitpid(task->pid, &status, __WALL) != task->pid) {
			if (errno == EINTR)
				continue;
			break;
		}
		if (!WIFSTOPPED(status)) {
			event_push(task->pid, status);
			break;
		}
		(void)ptrace(PTRACE_CONT, task->pid, 0, 0);
	}
	task->is_gone = true;
}

/* Have the memory of those that were killed. `mm` is not touched. */
static bool
reap_doomed(const struct mm *mm)
{
	bool has_reaped = false;

	for (struct task *task = machine.tasks; task != NULL;
	     task = task->next) {
		struct mm *its = task->mm;

		if (!task->is_doomed || task->is_gone || its == NULL ||
		    its == mm)
			continue;
		wait_for_end(task);
		task->mm = NULL;
		mm_unref(its);
		has_reaped = true;
	}
	return has_reaped;
}

bool
make_room(const struct mm *mm)
{
	bool has_room = file_reclaim() > 0 || reap_doomed(mm);

	/* What went has left small structures behind, in the pools. */
	mmk_vm_drain(&machine.vm);
	return has_room;
}

void
shortage_is_over(void)
{
	nr_shortages = 0;
}

bool
make_room_by_force(const struct mm *mm, unsigned nr_tries)
{
	struct mm *largest = NULL;
	uint64_t most_pages = mm->space.map.pmap.nr_pages;

	nr_shortages++;
	if (nr_tries < RECLAIM_TRIES && nr_shortages < SHORTAGES_MAX
	    ? make_room(mm) : reap_doomed(mm))
		return true;
	nr_shortages = 0;
	for (struct mm *each = machine.mms; each != NULL; each = each->next) {
		if (each->space.map.pmap.nr_pages > most_pages) {
			most_pages = each->space.map.pmap.nr_pages;
			largest = each;
		}
	}
	if (largest == NULL)
		return false;
	for (struct task *task = machine.tasks; task != NULL;
	     task = task->next)
		if (task->mm == largest)
			out_of_memory(task);
	return reap_doomed(mm);
}
