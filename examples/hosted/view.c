/* SPDX-License-Identifier: MIT
 *
 * examples/hosted/view.c: what programs are told about their memory
 *
 * WHAT    The host's /proc/PID/maps shows our TLB. Programs, the C library
 *         among them, want to know what is mapped: they get mmkit's view, in
 *         the host's format, from a memfd that takes the place of the file.
 */
#include "hosted.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* What /proc writes at the end of the line. */
static const char *
name_of(struct mm *mm, const struct mmk_entry_info *info, uint64_t *dev,
    uint64_t *ino)
{
	const char *path = "";

	for (unsigned i = 0; i < mm->nr_holes; i++)
		if (mm->holes[i].start_va == info->start_va)
			return mm->holes[i].name;
	if (file_describe(info->object, &path, dev, ino))
		return path;
	if ((info->flags & MMK_ENTRY_STACK) != 0 &&
	    info->start_va <= mm->stack_start_va &&
	    info->end_va > mm->stack_start_va)
		return "[stack]";
	if (info->start_va < mm->space.heap_end_va &&
	    info->end_va > mm->space.heap_start_va)
		return "[heap]";
	if ((info->flags & MMK_ENTRY_PRIVATE) == 0)
		return "/dev/zero (deleted)";
	return "";
}

static void
print_entry(FILE *out, struct mm *mm, const struct mmk_entry_info *info)
{
	uint64_t dev = 0, ino = 0;
	const char *name = name_of(mm, info, &dev, &ino);
	int width = fprintf(out, "%08llx-%08llx %c%c%c%c %08llx %02x:%02x %llu ",
	    (unsigned long long)info->start_va,
	    (unsigned long long)info->end_va,
	    (info->prot & MMK_PROT_READ) != 0 ? 'r' : '-',
	    (info->prot & MMK_PROT_WRITE) != 0 ? 'w' : '-',
	    (info->prot & MMK_PROT_EXEC) != 0 ? 'x' : '-',
	    (info->flags & MMK_ENTRY_PRIVATE) != 0 || name[0] == '[' ? 'p'
	                                                             : 's',
	    ino == 0 ? 0ULL : (unsigned long long)mmk_bytes_of_pages(
	        info->object_page),
	    major(dev), minor(dev), (unsigned long long)ino);

	if (name[0] != '\0')
		fprintf(out, "%*s%s", width < 73 ? 73 - width : 0, "", name);
	fputc('\n', out);
}

char *
view_maps(struct mm *mm, size_t *bytes_out)
{
	struct mmk_entry_info info;
	mmk_va va = 0;
	char *text = NULL;
	FILE *out = open_memstream(&text, bytes_out);

	if (out == NULL)
		die(STATUS_BROKEN, "no memory");
	while (mmk_map_entry_info(&mm->space.map, va, &info)) {
		if (!slot_contains(info.start_va))
			print_entry(out, mm, &info);
		va = info.end_va;
	}
	fclose(out);
	return text;
}

/* Is it the maps file of a process of ours? Whose? */
static struct task *
owner_of_maps(struct task *task, const char *path)
{
	char rest[16];
	int pid;

	if (strcmp(path, "/proc/self/maps") == 0 ||
	    strcmp(path, "/proc/thread-self/maps") == 0)
		return task;
	if (sscanf(path, "/proc/%d/%15s", &pid, rest) == 2 &&
	    strcmp(rest, "maps") == 0)
		return task_find(pid);
	return NULL;
}

static void
open_maps(struct task *task, struct task *owner, uint64_t flags)
{
	size_t bytes = 0;
	char *text, path[64];
	ssize_t done;
	long fd;
	int own_fd;

	strcpy(slot_scratch(task), "maps");
	fd = task_call(task, SYS_memfd_create, slot_scratch_va(task),
	    (flags & O_CLOEXEC) != 0 ? MFD_CLOEXEC : 0, 0, 0, 0, 0);
	if (task->is_gone)
		return;
	task->regs.rip += 2; /* the call was left: it is answered */
	task_answer(task, fd);
	if (fd < 0)
		return;
	snprintf(path, sizeof path, "/proc/%d/fd/%ld", (int)task->pid, fd);
	own_fd = open(path, O_WRONLY | O_CLOEXEC);
	text = view_maps(owner->mm, &bytes);
	done = own_fd < 0 ? -1 : write(own_fd, text, bytes);
	free(text);
	if (own_fd >= 0)
		close(own_fd);
	if (done != (ssize_t)bytes)
		task_answer(task, -EIO);
}

void
call_open(struct task *task)
{
	bool is_openat = (long)task->regs.orig_rax == SYS_openat;
	mmk_va path_va = is_openat ? task->regs.rsi : task->regs.rdi;
	uint64_t flags = is_openat ? task->regs.rdx : task->regs.rsi;
	char path[64];
	struct task *owner = NULL;

	if (path_va == 0)
		return;
	if (!user_ensure_string(task->mm, path_va, 4096)) {
		out_of_memory(task);
		return;
	}
	if (user_read_string(task->mm, path_va, path, sizeof path) == MMK_OK)
		owner = owner_of_maps(task, path);
	if (owner != NULL && owner->mm != NULL)
		open_maps(task, owner, flags);
	else if ((flags & O_TRUNC) != 0 && file_any_watched() &&
	    task->mm->tlb.nr_ops == 0)
		call_with_files(task);
}

/* How much memory there is: ours. */
void
call_sysinfo(struct task *task)
{
	struct mmk_phys_stats stats;
	struct sysinfo info;
	enum mmk_err err;

	if (sysinfo(&info) != 0) {
		task_answer(task, -EFAULT);
		return;
	}
	mmk_phys_stats_read(&machine.phys, &stats);
	info.totalram = mmk_bytes_of_pages(stats.nr_pages);
	info.freeram = mmk_bytes_of_pages(stats.nr_free_pages);
	info.sharedram = info.bufferram = 0;
	info.totalswap = info.freeswap = 0;
	info.totalhigh = info.freehigh = 0;
	info.mem_unit = 1;
	err = user_write(task->mm, task->regs.rdi, &info, sizeof info);
	if (err == MMK_ERR_NOMEM)
		out_of_memory(task);
	else
		task_answer(task, err == MMK_OK ? 0 : -EFAULT);
}
