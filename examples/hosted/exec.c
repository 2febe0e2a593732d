/* SPDX-License-Identifier: MIT
 *
 * examples/hosted/exec.c: take over the image that execve has laid out
 *
 * WHAT    The host loads the program. Before its first instruction every
 *         mapping becomes mmkit's: segments by file and offset through the page
 *         cache, what the loader has changed in memory (the end of .data, the
 *         stack with its arguments) by content. Then the host's mappings go,
 *         all but vvar and the vDSO, and everything is faulted in afresh.
 *
 *         The first calls in a new image run through a `syscall` instruction
 *         written over its first one: that page is thrown away anyway.
 */
#include "hosted.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

/* One line of /proc/PID/maps. */
struct line {
	mmk_va start_va, end_va;
	unsigned prot;
	uint64_t offset_bytes, dev, ino;
	char path[4096];
};

static bool
parse_line(char *text, struct line *line)
{
	unsigned long long start, end, offset, ino;
	unsigned major_nr, minor_nr;
	char rights[8];
	int path_at = 0;

	if (sscanf(text, "%llx-%llx %4s %llx %x:%x %llu %n", &start, &end,
	    rights, &offset, &major_nr, &minor_nr, &ino, &path_at) < 7)
		return false;
	text[strcspn(text, "\n")] = '\0';
	line->start_va = start;
	line->end_va = end;
	line->offset_bytes = offset;
	line->dev = makedev(major_nr, minor_nr);
	line->ino = ino;
	line->prot = (rights[0] == 'r' ? MMK_PROT_READ : 0) |
	    (rights[1] == 'w' ? MMK_PROT_WRITE : 0) |
	    (rights[2] == 'x' ? MMK_PROT_EXEC : 0);
	snprintf(line->path, sizeof line->path, "%s", text + path_at);
	return true;
}

/* ---- the contents that only memory has ----------------------------------- */

static bool
is_zero(const uint8_t *page)
{
	return page[0] == 0 && memcmp(page, page + 1, PAGE_BYTES - 1) == 0;
}

/* Copy a page of the host's image, unless it is what mmkit shows already. */
static enum mmk_err
take_page(struct mm *mm, int mem_fd, mmk_va va, bool is_file)
{
	uint8_t page[MMK_PAGE_BYTES], ours[MMK_PAGE_BYTES];
	enum mmk_err err = MMK_OK;

	if (pread(mem_fd, page, sizeof page, (off_t)va) !=
	    (ssize_t)sizeof page)
		return MMK_OK;
	if (!is_file && is_zero(page))
		return MMK_OK;
	if (is_file) {
		err = user_read(mm, va, ours, sizeof ours);
		if (err != MMK_OK || memcmp(page, ours, sizeof page) == 0)
			return err;
	}
	return user_write(mm, va, page, sizeof page);
}

static enum mmk_err
adopt_anon(struct task *task, const struct line *line, int mem_fd)
{
	bool is_stack = strcmp(line->path, "[stack]") == 0;
	unsigned flags = MMK_MAP_PRIVATE | MMK_MAP_ANON | MMK_MAP_FIXED |
	    (is_stack ? MMK_MAP_STACK : 0);
	unsigned prot = line->prot;
	mmk_va va = line->start_va;
	enum mmk_err err;

	if (prot != MMK_PROT_NONE)
		prot |= MMK_PROT_READ;
	err = mmk_mmap(&task->mm->space, va, line->end_va - va, prot,
	    MMK_PROT_ALL, flags, NULL, 0, &va);
	if (is_stack)
		task->mm->stack_start_va = line->start_va;
	for (; is_stack && err == MMK_OK && va < line->end_va;
	     va += PAGE_BYTES)
		err = take_page(task->mm, mem_fd, va, false);
	return err;
}

static enum mmk_err
adopt_file(struct task *task, const struct line *line, int mem_fd)
{
	struct mmk_object *object;
	mmk_va va = line->start_va;
	enum mmk_err err;

	long result = file_object_of_path(task, line->path, line->dev,
	    line->ino, &object);

	if (result != 0)
		return result == -ENOMEM ? MMK_ERR_NOMEM : MMK_ERR_IO;
	err = mmk_mmap(&task->mm->space, va, line->end_va - va, line->prot,
	    MMK_PROT_ALL, MMK_MAP_PRIVATE | MMK_MAP_FIXED, object,
	    line->offset_bytes, &va);
	mmk_object_unref(object);
	/* The loader cleared what is beyond the end of .data. */
	if (err == MMK_OK && (line->prot & MMK_PROT_WRITE) != 0)
		err = take_page(task->mm, mem_fd, line->end_va - PAGE_BYTES,
		    true);
	return err;
}

/* vvar and the vDSO stay where they are; nobody gets their addresses. */
static enum mmk_err
adopt_foreign(struct task *task, const struct line *line)
{
	struct mmk_object *object;
	mmk_va va = line->start_va;
	uint64_t nr_pages = mmk_pages_of_bytes(line->end_va - va);
	enum mmk_err err;

	if (va >= SPACE_MAX_VA)
		return MMK_OK; /* vsyscall */
	err = mmk_device_create(&machine.vm,
	    (mmk_pa)1 << 40, nr_pages, false, &object);
	if (err != MMK_OK)
		return err;
	err = mmk_mmap(&task->mm->space, va, line->end_va - va,
	    line->prot & (MMK_PROT_READ | MMK_PROT_EXEC),
	    MMK_PROT_READ | MMK_PROT_EXEC, MMK_MAP_SHARED | MMK_MAP_FIXED,
	    object, 0, &va);
	mmk_object_unref(object);
	if (err == MMK_OK)
		mm_add_hole(task->mm, line->start_va, line->end_va,
		    line->path);
	return err;
}

static enum mmk_err
adopt_line(struct task *task, struct line *line, int mem_fd)
{
	if (line->start_va == GATE_VA) {
		line->prot = MMK_PROT_NONE;
		snprintf(line->path, sizeof line->path, "[gate]");
		return adopt_foreign(task, line);
	}
	if (strcmp(line->path, "[vdso]") == 0 ||
	    strncmp(line->path, "[vvar", 5) == 0 ||
	    strcmp(line->path, "[vsyscall]") == 0)
		return adopt_foreign(task, line);
	if (line->path[0] == '/')
		return adopt_file(task, line, mem_fd);
	return adopt_anon(task, line, mem_fd);
}

static enum mmk_err
adopt_lines(struct task *task)
{
	static struct line line;
	static char text[8192];
	char path[64];
	enum mmk_err err = MMK_OK;
	FILE *maps;
	int mem_fd;

	snprintf(path, sizeof path, "/proc/%d/mem", (int)task->pid);
	mem_fd = open(path, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof path, "/proc/%d/maps", (int)task->pid);
	maps = fopen(path, "re");
	if (mem_fd < 0 || maps == NULL)
		die(STATUS_BROKEN, "%s: %s", path, strerror(errno));
	while (err == MMK_OK && fgets(text, sizeof text, maps) != NULL)
		if (parse_line(text, &line))
			err = adopt_line(task, &line, mem_fd);
	fclose(maps);
	close(mem_fd);
	return err;
}

/* ---- the heap, the stack, the name --------------------------------------- */

/* Field `nr` of /proc/PID/stat, counted as proc(5) does; 0: not there. */
static uint64_t
stat_field(pid_t pid, int nr)
{
	char path[64], text[2048], *at;
	size_t bytes;
	FILE *file;

	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	file = fopen(path, "re");
	if (file == NULL)
		return 0;
	bytes = fread(text, 1, sizeof text - 1, file);
	fclose(file);
	text[bytes] = '\0';
	at = strrchr(text, ')');
	for (int field = 2; at != NULL && field < nr; field++)
		at = strchr(at + 1, ' ');
	return at == NULL ? 0 : strtoull(at + 1, NULL, 10);
}

static void
learn_name(struct task *task)
{
	char path[64];
	FILE *file;

	snprintf(path, sizeof path, "/proc/%d/comm", (int)task->pid);
	file = fopen(path, "re");
	if (file == NULL)
		return;
	if (fgets(task->name, sizeof task->name, file) != NULL)
		task->name[strcspn(task->name, "\n")] = '\0';
	fclose(file);
}

static enum mmk_err
set_up_heap_and_stack(struct task *task)
{
	struct mm *mm = task->mm;
	mmk_va brk_va = stat_field(task->pid, 47);
	uint64_t limit_bytes;
	mmk_va va = 0;

	limits_apply(task);
	mm->space.map.stack_guard_pages = 256;
	/* the stack's room, and a little more, stays free, as on Linux */
	limit_bytes = mmk_bytes_of_pages(
	    mm->space.map.stack_limit_pages) + (16 << 20);
	if (limit_bytes < ((uint64_t)128 << 20))
		limit_bytes = (uint64_t)128 << 20;
	mm->space.map.top_va = mm->stack_start_va - limit_bytes;
	if (brk_va == 0)
		return MMK_OK;
	limit_bytes = (uint64_t)1 << 40;
	if (mmk_heap_init(&mm->space, brk_va, limit_bytes) != MMK_OK)
		return MMK_OK; /* a program without a heap */
	return mmk_brk(&mm->space, brk_va, &va);
}

/* ---- the host's side ----------------------------------------------------- */

/* Let the task run to the end of the system call it is in. */
static bool
run_to_call_exit(struct task *task)
{
	for (;;) {
		struct __ptrace_syscall_info info;
		int status;

		if (ptrace(PTRACE_SYSCALL, task->pid, 0, 0) != 0)
			return false;
		if (waitpid(task->pid, &status, __WALL) != task->pid)
			return false;
		if (!WIFSTOPPED(status) || status >> 16 == PTRACE_EVENT_EXIT) {
			event_push(task->pid, status);
			return false;
		}
		if (status >> 16 == 0 && WSTOPSIG(status) < SIGTRAP + 0x80 &&
		    WSTOPSIG(status) != SIGTRAP)
			task_stash(task);
		if (WSTOPSIG(status) != (SIGTRAP | 0x80))
			continue;
		if (ptrace(PTRACE_GET_SYSCALL_INFO, task->pid, sizeof info,
		    &info) > 0 && info.op == PTRACE_SYSCALL_INFO_EXIT)
			return true;
	}
}

/* The gate, through an instruction of the program's. */
static bool
map_gate(struct task *task)
{
	struct user_regs_struct regs = task->regs;
	long word;

	errno = 0;
	word = ptrace(PTRACE_PEEKTEXT, task->pid, regs.rip, 0);
	if (errno != 0 || ptrace(PTRACE_POKETEXT, task->pid, regs.rip,
	    (word & ~(long)0xffff) | 0x050f) != 0)
		return false;
	regs.rax = SYS_mmap;
	regs.orig_rax = UINT64_MAX;
	regs.rdi = GATE_VA;
	regs.rsi = GATE_BYTES;
	regs.rdx = PROT_READ | PROT_EXEC;
	regs.r10 = MAP_SHARED | MAP_FIXED;
	regs.r8 = (unsigned)machine.ram_fd;
	regs.r9 = machine.options.ram_bytes;
	if (ptrace(PTRACE_SETREGS, task->pid, 0, &regs) != 0 ||
	    !run_to_call_exit(task) ||
	    ptrace(PTRACE_GETREGS, task->pid, 0, &regs) != 0)
		return false;
	if (regs.rax != GATE_VA)
		die(STATUS_BROKEN, "cannot map the gate into %d: %s",
		    (int)task->pid, strerror((int)-(long)regs.rax));
	return true;
}

/* An x86-64 ELF program? The host would run others too; we cannot. */
static bool
is_ours(struct task *task)
{
	Elf64_Ehdr header = { 0 };
	char path[64];
	int fd;

	snprintf(path, sizeof path, "/proc/%d/exe", (int)task->pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return true;
	if (read(fd, &header, sizeof header) < 0)
		header.e_machine = EM_NONE;
	close(fd);
	return header.e_ident[EI_CLASS] == ELFCLASS64 &&
	    header.e_machine == EM_X86_64;
}

void
handle_exec(struct task *task)
{
	struct mm *old = task->mm;
	enum mmk_err err;

	machine.counts.execs++;
	shortage_is_over();
	task->mm = NULL;
	task->exit_call = NULL;
	task->is_cloning = false;
	task->nr_stashed = 0;
	if (old != NULL) {
		file_before_any();
		mm_unref(old);
	}
	signals_reset_for_exec(task);
	learn_name(task);
	if (!is_ours(task)) {
		say("%d %s: not an x86-64 program: killed", (int)task->pid,
		    task->name);
		task_kill(task);
		return;
	}
	if (!run_to_call_exit(task) || !task_get_regs(task) ||
	    !map_gate(task)) {
		task->is_gone = true;
		return;
	}
	task->regs_dirty = true;
	task->regs.orig_rax = UINT64_MAX;
	task->at = AT_CALL_EXIT;
	task->mm = mm_create();
	if (task->mm == NULL) {
		out_of_memory(task);
		return;
	}
	err = adopt_lines(task);
	if (err == MMK_OK)
		err = set_up_heap_and_stack(task);
	if (err == MMK_ERR_NOMEM) {
		out_of_memory(task);
		return;
	}
	if (err != MMK_OK)
		die(STATUS_BROKEN, "cannot take over %s: %s", task->name,
		    mmk_err_name(err));
	tlb_drop_all(task->mm);
	if (task_settle(task))
		task_resume(task, 0);
}
