/* SPDX-License-Identifier: MIT
 *
 * examples/hosted/mem.c: the memory calls, handed to mmkit
 *
 * WHAT    Linux's numbers become mmkit's and its errors become errno. None of
 *         these calls reaches the host: the host knows only which pages are
 *         cached, and hears of changes as invalidations.
 */
#include "hosted.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>


long
errno_of(enum mmk_err err)
{
	switch (err) {
	case MMK_OK: return 0;
	case MMK_ERR_INVAL: return -EINVAL;
	case MMK_ERR_ACCESS: return -EACCES;
	case MMK_ERR_EXIST: return -EEXIST;
	case MMK_ERR_IO: return -EIO;
	case MMK_ERR_BUSY: return -EBUSY;
	case MMK_ERR_AGAIN: return -EAGAIN;
	case MMK_ERR_NOMEM: case MMK_ERR_LIMIT: case MMK_ERR_NOSPACE:
	case MMK_ERR_NOENT: case MMK_ERR_MAX:
		break;
	}
	return -ENOMEM;
}

/* ---- spaces -------------------------------------------------------------- */

static void
mm_add(struct mm *mm)
{
	static unsigned next_cpu;

	mm->refs = 1;
	mm->cpu = next_cpu++ % machine.options.nr_cpus;
	tlb_init(mm);
	mm->next = machine.mms;
	machine.mms = mm;
}

struct mm *
mm_create(void)
{
	struct mm *mm = xcalloc(1, sizeof *mm);
	enum mmk_err err = mmk_space_init(&mm->space, &machine.vm,
	    SPACE_MIN_VA, SPACE_MAX_VA);

	if (err == MMK_ERR_NOMEM && make_room(NULL))
		err = mmk_space_init(&mm->space, &machine.vm, SPACE_MIN_VA,
		    SPACE_MAX_VA);
	if (err != MMK_OK) {
		free(mm);
		return NULL;
	}
	mm_add(mm);
	return mm;
}

struct mm *
mm_fork(struct mm *parent)
{
	struct mm *mm = xcalloc(1, sizeof *mm);
	enum mmk_err err;

	sim_set_cpu(parent->cpu);
	err = mmk_space_fork(&mm->space, &parent->space);
	if (err == MMK_ERR_NOMEM && make_room(parent))
		err = mmk_space_fork(&mm->space, &parent->space);
	if (err != MMK_OK) {
		free(mm);
		return NULL;
	}
	memcpy(mm->holes, parent->holes, sizeof mm->holes);
	mm->nr_holes = parent->nr_holes;
	mm->stack_start_va = parent->stack_start_va;
	mm_add(mm);
	return mm;
}

void
mm_unref(struct mm *mm)
{
	struct mm **link = &machine.mms;

	if (--mm->refs > 0)
		return;
	sim_set_cpu(mm->cpu);
	tlb_on_invalidate(NULL, &mm->space.map.pmap, 0, SPACE_MAX_VA);
	/* Of several that are in use on this CPU, it leaves the last one. */
	mmk_pmap_activate(&mm->space.map.pmap, mm->cpu);
	mmk_pmap_deactivate(&mm->space.map.pmap, mm->cpu);
	mmk_space_fini(&mm->space);
	while (*link != mm)
		link = &(*link)->next;
	*link = mm->next;
	tlb_fini(mm);
	free(mm);
}

void
mm_add_hole(struct mm *mm, mmk_va start_va, mmk_va end_va, const char *name)
{
	struct hole *hole;

	if (mm->nr_holes == NR_HOLES)
		die(STATUS_BROKEN, "too many foreign mappings");
	hole = &mm->holes[mm->nr_holes++];
	hole->start_va = start_va;
	hole->end_va = end_va;
	snprintf(hole->name, sizeof hole->name, "%s", name);
}

/* Does the range meet the gate? Programs may not have it. */
static bool
meets_gate(mmk_va va, uint64_t bytes)
{
	return va < GATE_VA + GATE_BYTES && bytes <= UINT64_MAX - va &&
	    va + bytes > GATE_VA;
}

/* ---- mmap ---------------------------------------------------------------- */

/* On this CPU what can be written or executed can be read. */
static unsigned
prot_of(uint64_t prot)
{
	unsigned bits = 0;

	if ((prot & (PROT_READ | PROT_WRITE | PROT_EXEC)) != 0)
		bits |= MMK_PROT_READ;
	if ((prot & PROT_WRITE) != 0)
		bits |= MMK_PROT_WRITE;
	if ((prot & PROT_EXEC) != 0)
		bits |= MMK_PROT_EXEC;
	return bits;
}

static unsigned
flags_of(uint64_t flags)
{
	unsigned type = (unsigned)flags & MAP_TYPE, bits = 0;

	if (type == MAP_SHARED || type == MAP_SHARED_VALIDATE)
		bits |= MMK_MAP_SHARED;
	else if (type == MAP_PRIVATE)
		bits |= MMK_MAP_PRIVATE;
	if ((flags & MAP_FIXED_NOREPLACE) != 0)
		bits |= MMK_MAP_NOREPLACE;
	else if ((flags & MAP_FIXED) != 0)
		bits |= MMK_MAP_FIXED;
	if ((flags & MAP_ANONYMOUS) != 0)
		bits |= MMK_MAP_ANON;
	if ((flags & MAP_GROWSDOWN) != 0)
		bits |= MMK_MAP_STACK;
	if ((flags & (MAP_POPULATE | MAP_LOCKED)) != 0)
		bits |= MMK_MAP_POPULATE;
	if ((flags & MAP_32BIT) != 0)
		bits |= MMK_MAP_LOW;
	return bits;
}

/* What is wrong with the arguments, before any object is looked for. */
static long
mmap_check(const struct user_regs_struct *regs)
{
	uint64_t flags = regs->r10;
	bool is_fixed = (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) != 0;

	if (regs->rsi == 0 || !mmk_is_page_aligned(regs->r9))
		return -EINVAL;
	if (is_fixed && !mmk_is_page_aligned(regs->rdi))
		return -EINVAL;
	if (is_fixed && regs->rdi < SPACE_MIN_VA)
		return -EPERM;
	if (regs->rsi > SPACE_MAX_VA)
		return -ENOMEM;
	if (is_fixed && (regs->rdi > SPACE_MAX_VA - regs->rsi ||
	    meets_gate(regs->rdi, regs->rsi)))
		return -ENOMEM;
	if ((flags & MAP_HUGETLB) != 0)
		return -ENOMEM;
	if (regs->rsi > UINT64_MAX - PAGE_BYTES - regs->r9)
		return -EOVERFLOW;
	return 0;
}

static long
do_mmap(struct task *task)
{
	const struct user_regs_struct *regs = &task->regs;
	unsigned flags = flags_of(regs->r10), max_prot = MMK_PROT_ALL;
	unsigned prot = prot_of(regs->rdx);
	bool is_shared = (flags & MMK_MAP_SHARED) != 0;
	/* ld.so says DENYWRITE: nobody rewrites a library in place */
	bool is_watched = (regs->r10 & MAP_DENYWRITE) == 0;
	struct mmk_object *object = NULL;
	enum mmk_err err;
	long result = mmap_check(regs);
	mmk_va va = regs->rdi;

	if (result != 0)
		return result;
	if ((flags & MMK_MAP_ANON) == 0) {
		result = file_object(task, (int)regs->r8, is_shared,
		    (prot & MMK_PROT_WRITE) != 0, is_watched, &max_prot,
		    &object);
		if (result < 0)
			return result;
		if (object == NULL)
			flags |= MMK_MAP_ANON; /* /dev/zero */
	}
	if (va != 0 && va < SPACE_MIN_VA)
		va = SPACE_MIN_VA;
	err = mmk_mmap(&task->mm->space, va, regs->rsi, prot, max_prot, flags,
	    object, regs->r9, &va);
	if (err == MMK_ERR_NOMEM && make_room(task->mm))
		err = mmk_mmap(&task->mm->space, va, regs->rsi, prot, max_prot,
		    flags, object, regs->r9, &va);
	if (object != NULL)
		mmk_object_unref(object);
	return err != MMK_OK ? errno_of(err) : (long)va;
}

void
call_mmap(struct task *task)
{
	task_answer(task, do_mmap(task));
}

/* ---- the others ---------------------------------------------------------- */

void
call_munmap(struct task *task)
{
	uint64_t va = task->regs.rdi, bytes = task->regs.rsi;

	if (meets_gate(va, bytes)) {
		task_answer(task, -EINVAL);
		return;
	}
	file_before_any();
	task_answer(task, errno_of(mmk_munmap(&task->mm->space, va, bytes)));
}

void
call_mremap(struct task *task)
{
	const struct user_regs_struct *regs = &task->regs;
	bool is_fixed = (regs->r10 & MREMAP_FIXED) != 0;
	bool may_move = (regs->r10 & MREMAP_MAYMOVE) != 0;
	mmk_va va = 0;
	enum mmk_err err;

	if ((regs->r10 & ~(uint64_t)(MREMAP_MAYMOVE | MREMAP_FIXED)) != 0 ||
	    regs->rsi == 0 || regs->rdx == 0 || regs->rdx > SPACE_MAX_VA ||
	    (is_fixed && meets_gate(regs->r8, regs->rdx))) {
		task_answer(task, -EINVAL);
		return;
	}
	err = mmk_mremap(&task->mm->space, regs->rdi, regs->rsi, regs->rdx,
	    (may_move ? MMK_REMAP_MAYMOVE : 0) |
	    (is_fixed ? MMK_REMAP_FIXED : 0), regs->r8, &va);
	if (err == MMK_ERR_NOENT)
		task_answer(task, -EFAULT);
	else
		task_answer(task, err != MMK_OK ? errno_of(err) : (long)va);
}

void
call_mprotect(struct task *task)
{
	uint64_t va = task->regs.rdi, bytes = task->regs.rsi;

	if (bytes == 0 && mmk_is_page_aligned(va)) {
		task_answer(task, 0);
		return;
	}
	if ((task->regs.rdx & PROT_WRITE) != 0)
		file_may_be_written();
	task_answer(task, errno_of(mmk_mprotect(&task->mm->space, va, bytes,
	    prot_of(task->regs.rdx))));
}

void
call_brk(struct task *task)
{
	mmk_va va = 0;

	enum mmk_err err =
	    mmk_brk(&task->mm->space, task->regs.rdi, &va);

	if (err == MMK_ERR_NOMEM && make_room(task->mm))
		err = mmk_brk(&task->mm->space, task->regs.rdi, &va);
	(void)err; /* Linux answers with the break, moved or not */
	task_answer(task, (long)va);
}

static bool
is_covered(struct task *task, mmk_va va, uint64_t bytes)
{
	return bytes == 0 || (bytes <= SPACE_MAX_VA && va < SPACE_MAX_VA &&
	    mmk_map_is_covered(&task->mm->space.map, va,
	        va + mmk_round_up(bytes, PAGE_BYTES)));
}

/* Make pages present; out of memory is an error here, not the end. */
static long
populate(struct task *task, mmk_va va, uint64_t bytes, unsigned access)
{
	mmk_va end_va = va + bytes;

	for (va = mmk_page_floor(va); va < end_va; va += PAGE_BYTES) {
		mmk_pa pa;
		enum mmk_err err;

		if (mm_is_hole(task->mm, va))
			continue;
		err = tlb_touch(task->mm, va, access, &pa);
		if (err == MMK_ERR_ACCESS && access == MMK_PROT_READ)
			continue;
		if (err != MMK_OK)
			return errno_of(err);
	}
	return 0;
}

static long
do_madvise(struct task *task, mmk_va va, uint64_t bytes, int advice)
{
	if (!mmk_is_page_aligned(va))
		return -EINVAL;
	if (bytes == 0)
		return 0;
	switch (advice) {
	case MADV_DONTNEED: case MADV_FREE:
		return errno_of(mmk_discard(&task->mm->space, va, bytes));
	case 22: /* MADV_POPULATE_READ */
		return is_covered(task, va, bytes)
		    ? populate(task, va, bytes, MMK_PROT_READ) : -ENOMEM;
	case 23: /* MADV_POPULATE_WRITE */
		return is_covered(task, va, bytes)
		    ? populate(task, va, bytes, MMK_PROT_WRITE) : -ENOMEM;
	case MADV_NORMAL: case MADV_RANDOM: case MADV_SEQUENTIAL:
	case MADV_WILLNEED: case MADV_HUGEPAGE: case MADV_NOHUGEPAGE:
	case MADV_MERGEABLE: case MADV_UNMERGEABLE: case MADV_DONTDUMP:
	case MADV_DODUMP: case MADV_COLD: case MADV_PAGEOUT: case MADV_DOFORK:
		return is_covered(task, va, bytes) ? 0 : -ENOMEM;
	default:
		return -EINVAL;
	}
}

void
call_madvise(struct task *task)
{
	task_answer(task, do_madvise(task, task->regs.rdi, task->regs.rsi,
	    (int)task->regs.rdx));
}

void
call_msync(struct task *task)
{
	uint64_t va = task->regs.rdi, bytes = task->regs.rsi;
	uint64_t flags = task->regs.rdx;

	if ((flags & ~(uint64_t)(MS_ASYNC | MS_SYNC | MS_INVALIDATE)) != 0 ||
	    (flags & (MS_ASYNC | MS_SYNC)) == (MS_ASYNC | MS_SYNC) ||
	    !mmk_is_page_aligned(va))
		task_answer(task, -EINVAL);
	else if (bytes == 0)
		task_answer(task, 0);
	else
		task_answer(task,
		    errno_of(mmk_msync(&task->mm->space, va, bytes)));
}

void
call_mincore(struct task *task)
{
	uint64_t va = task->regs.rdi, bytes = task->regs.rsi;
	uint64_t nr_pages = mmk_pages_round_up(bytes);
	enum mmk_err err = MMK_ERR_NOENT;
	uint8_t *vec;

	if (!mmk_is_page_aligned(va)) {
		task_answer(task, -EINVAL);
		return;
	}
	if (nr_pages == 0 || !is_covered(task, va, bytes)) {
		task_answer(task, nr_pages == 0 ? 0 : -ENOMEM);
		return;
	}
	vec = xcalloc(nr_pages, 1);
	err = mmk_mincore(&task->mm->space, va, bytes, vec);
	task_answer(task, errno_of(err));
	if (err == MMK_OK)
		err = user_write(task->mm, task->regs.rdx, vec, nr_pages);
	free(vec);
	if (err == MMK_ERR_NOMEM)
		task_answer(task, -EAGAIN);
	else if (err != MMK_OK && task->regs.rax == 0)
		task_answer(task, -EFAULT);
}

void
call_mlock(struct task *task)
{
	uint64_t va = task->regs.rdi, bytes = task->regs.rsi;
	mmk_va start_va = mmk_page_floor(va);

	bytes += va - start_va;
	if (!is_covered(task, start_va, bytes))
		task_answer(task, -ENOMEM);
	else
		task_answer(task,
		    populate(task, start_va, bytes, MMK_PROT_READ));
}

/* Everything is in RAM as long as nothing is paged out: nothing to do. */
void
call_ok(struct task *task)
{
	task_answer(task, 0);
}
