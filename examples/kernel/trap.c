/* SPDX-License-Identifier: MIT
 *
 * examples/kernel/trap.c: faults and system calls
 */
#include "kernel.h"
#include "syscalls.h"

/* ---- faults ------------------------------------------------------------------- */

void
trap_kill(const char *what, uint64_t pc)
{
	kprintf("kernel: process %u: %s at %lx\n", process_current()->nr, what,
	    pc);
	process_exit(STATUS_KILLED);
}

/*
 * A kernel that tries an address out (arch_try_*) gets what the tables say, and
 * no more: mending is for programs.
 */
bool
trap_fault(struct arch_frame *frame, uint64_t va, unsigned access,
    bool is_user)
{
	struct process *self = process_current();
	enum mmk_err err;

	(void)frame;
	if (!is_user)
		return torture_mends(va, access);
	do
		err = mmk_fault(&self->space.map, va, access);
	while (err == MMK_ERR_AGAIN);
	if (err == MMK_OK)
		return true;
	process_exit(STATUS_KILLED + (unsigned)err);
}

/* ---- the memory of a process --------------------------------------------------- */

/* Bytes inside one page. */
static bool
copy_in_page(struct mmk_space *space, mmk_va va, void *buf, size_t bytes,
    unsigned access)
{
	struct mmk_translation found;
	char *there;

	for (;;) {
		enum mmk_err err;

		if (mmk_pmap_query(&space->map.pmap, va, &found) &&
		    (found.flags & access) != 0)
			break;
		err = mmk_fault(&space->map, va, access);
		if (err != MMK_OK && err != MMK_ERR_AGAIN)
			return false;
	}
	/* Nobody else runs in this space, so it stays where it is. */
	there = (char *)MMKIT_PHYS_TO_PTR(found.pa + (va - found.va));
	if (access == MMK_PROT_WRITE)
		memcpy(there, buf, bytes);
	else
		memcpy(buf, there, bytes);
	return true;
}

bool
user_copy(struct mmk_space *space, mmk_va va, void *buf, size_t bytes,
    unsigned access)
{
	char *own = (char *)buf;

	while (bytes > 0) {
		size_t step = (size_t)(PAGE - va % PAGE);

		step = step < bytes ? step : bytes;
		if (!copy_in_page(space, va, own, step, access))
			return false;
		va += step;
		own += step;
		bytes -= step;
	}
	return true;
}

/* ---- system calls ---------------------------------------------------------------- */

static uint64_t
result_of(enum mmk_err err, uint64_t value)
{
	return err == MMK_OK ? value : (uint64_t)-(int64_t)err;
}

static uint64_t
sys_write(struct mmk_space *space, mmk_va va, uint64_t bytes)
{
	char text[128];

	for (uint64_t done = 0; done < bytes;) {
		size_t step = bytes - done < sizeof text
		    ? (size_t)(bytes - done) : sizeof text;

		if (!user_copy(space, va + done, text, step, MMK_PROT_READ))
			return result_of(MMK_ERR_ACCESS, 0);
		kernel_write(text, step);
		done += step;
	}
	return bytes;
}

static uint64_t
sys_mmap(struct mmk_space *space, const struct arch_frame *frame)
{
	mmk_va va = 0;
	enum mmk_err err = mmk_mmap(space, arch_frame_argument(frame, 0),
	    arch_frame_argument(frame, 1),
	    (unsigned)arch_frame_argument(frame, 2), MMK_PROT_ALL,
	    (unsigned)arch_frame_argument(frame, 3) | MMK_MAP_ANON, NULL, 0,
	    &va);

	return result_of(err, va);
}

static uint64_t
sys_mremap(struct mmk_space *space, const struct arch_frame *frame)
{
	mmk_va va = 0;
	enum mmk_err err = mmk_mremap(space, arch_frame_argument(frame, 0),
	    arch_frame_argument(frame, 1), arch_frame_argument(frame, 2),
	    (unsigned)arch_frame_argument(frame, 3),
	    arch_frame_argument(frame, 4), &va);

	return result_of(err, va);
}

static uint64_t
nr_free_pages(void)
{
	struct mmk_phys_stats stats;

	mmk_vm_drain(&kernel_vm);
	mmk_phys_drain(&kernel_phys);
	mmk_phys_stats_read(&kernel_phys, &stats);
	return stats.nr_free_pages;
}

static uint64_t
do_syscall(struct mmk_space *space, const struct arch_frame *frame)
{
	uint64_t a = arch_frame_argument(frame, 0);
	uint64_t b = arch_frame_argument(frame, 1);

	switch (arch_frame_number(frame)) {
	case SYS_EXIT: process_exit((unsigned)a & 0xff);
	case SYS_WRITE: return sys_write(space, a, b);
	case SYS_FORK: return process_fork(frame);
	case SYS_WAIT: return process_wait();
	case SYS_MMAP: return sys_mmap(space, frame);
	case SYS_MUNMAP: return result_of(mmk_munmap(space, a, b), 0);
	case SYS_MPROTECT:
		return result_of(mmk_mprotect(space, a, b,
		    (unsigned)arch_frame_argument(frame, 2)), 0);
	case SYS_MREMAP: return sys_mremap(space, frame);
	case SYS_DISCARD: return result_of(mmk_discard(space, a, b), 0);
	case SYS_YIELD: process_yield(); return 0;
	case SYS_CPU: return arch_cpu_id();
	case SYS_FREE: return nr_free_pages();
	default: return result_of(MMK_ERR_INVAL, 0);
	}
}

void
trap_syscall(struct arch_frame *frame)
{
	arch_frame_set_result(frame,
	    do_syscall(&process_current()->space, frame));
}
