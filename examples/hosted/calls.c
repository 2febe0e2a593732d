/* SPDX-License-Identifier: MIT
 *
 * examples/hosted/calls.c: system calls
 *
 * WHAT    A seccomp filter lets calls that touch no memory run without a stop,
 *         answers those that do not exist, and stops the task before all
 *         others. calls_table.h says what memory each of them touches: it is
 *         faulted in and filled, for writing where the call writes, and then
 *         the host does the call. The host's EFAULT is never relied on for
 *         memory that exists: a call may have done half its work by then.
 */
#include "hosted.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <asm/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define READS 1u
#define WRITES 2u
#define ANY 4u

enum kind { KIND_PURE, KIND_REFUSE, KIND_TOUCH, KIND_OURS, KIND_FD };

struct call {
	long nr;
	const char *name;
	enum kind kind;
	unsigned flags;
	int error;
	const char *args;
	void (*ours)(struct task *task);
};

static void call_close_range(struct task *task);

static const struct call table[] = {
#define PURE(n) { SYS_##n, #n, KIND_PURE, 0, 0, NULL, NULL },
#define REFUSE(n, e) { SYS_##n, #n, KIND_REFUSE, 0, e, NULL, NULL },
#define TOUCH(n, flags, args) { SYS_##n, #n, KIND_TOUCH, flags, 0, args, NULL },
#define OURS(n, fn) { SYS_##n, #n, KIND_OURS, 0, 0, NULL, fn },
#define OURS_FD(n) { SYS_##n, #n, KIND_FD, 0, 0, NULL, NULL },
#include "calls_table.h"
};
#define NR_TABLE (sizeof table / sizeof table[0])

#define NR_CALLS 512
static const struct call *call_of_nr[NR_CALLS];

void
calls_init(void)
{
	for (size_t i = 0; i < NR_TABLE; i++)
		call_of_nr[table[i].nr] = &table[i];
}

/* ---- the filter ---------------------------------------------------------- */

struct program {
	struct sock_filter *filter;
	size_t nr, max;
};

static void
emit(struct program *p, unsigned code, unsigned k, unsigned jt, unsigned jf)
{
	if (p->nr >= p->max)
		die(STATUS_BROKEN, "the filter is too long");
	p->filter[p->nr++] = (struct sock_filter){ (uint16_t)code,
		(uint8_t)jt, (uint8_t)jf, k };
}

#define LOAD(field)                            \
	emit(p, BPF_LD | BPF_W | BPF_ABS,      \
	    (unsigned)offsetof(struct seccomp_data, field), 0, 0)
#define LOAD_ARG(n)                            \
	emit(p, BPF_LD | BPF_W | BPF_ABS,      \
	    (unsigned)(offsetof(struct seccomp_data, args) + (n) * 8), 0, 0)
#define RETURN(k) emit(p, BPF_RET | BPF_K, k, 0, 0)
#define IF_EQ(k, jt, jf) emit(p, BPF_JMP | BPF_JEQ | BPF_K, k, jt, jf)
#define ERRNO(e) (SECCOMP_RET_ERRNO | (unsigned)(e))

/* Calls that may not touch the descriptor of RAM. */
static void
emit_fd(struct program *p, long nr, unsigned nr_args)
{
	IF_EQ((unsigned)nr, 0, 2 * nr_args + 2);
	for (unsigned i = 0; i < nr_args; i++) {
		LOAD_ARG(i);
		IF_EQ((unsigned)machine.ram_fd, 2 * (nr_args - 1 - i) + 1, 0);
	}
	RETURN(SECCOMP_RET_ALLOW);
	RETURN(ERRNO(EBADF));
}

static void
emit_fcntl(struct program *p)
{
	static const unsigned plain[] = { F_GETFD, F_SETFD, F_GETFL, F_SETFL,
		F_DUPFD_CLOEXEC, F_DUPFD };
	unsigned nr_plain = sizeof plain / sizeof plain[0];

	IF_EQ(SYS_fcntl, 0, nr_plain + 6);
	LOAD_ARG(0);
	IF_EQ((unsigned)machine.ram_fd, 0, 1);
	RETURN(ERRNO(EBADF));
	LOAD_ARG(1);
	for (unsigned i = 0; i < nr_plain; i++)
		IF_EQ(plain[i], nr_plain - i, 0);
	RETURN(SECCOMP_RET_TRACE);
	RETURN(SECCOMP_RET_ALLOW);
}

size_t
calls_filter(struct sock_filter *filter, size_t max)
{
	struct program program = { filter, 0, max }, *p = &program;

	LOAD(arch);
	IF_EQ(AUDIT_ARCH_X86_64, 1, 0);
	RETURN(ERRNO(ENOSYS));
	/* calls from the gate are ours */
	emit(p, BPF_LD | BPF_W | BPF_ABS,
	    (unsigned)offsetof(struct seccomp_data, instruction_pointer) + 4,
	    0, 0);
	IF_EQ((unsigned)(GATE_VA >> 32), 0, 4);
	LOAD(instruction_pointer);
	emit(p, BPF_JMP | BPF_JGE | BPF_K, (unsigned)GATE_VA, 0, 2);
	emit(p, BPF_JMP | BPF_JGE | BPF_K, (unsigned)(GATE_VA + GATE_BYTES),
	    1, 0);
	RETURN(SECCOMP_RET_ALLOW);
	LOAD(nr);
	emit(p, BPF_JMP | BPF_JGE | BPF_K, NR_CALLS, 0, 1);
	RETURN(ERRNO(ENOSYS));
	emit_fd(p, SYS_close, 1);
	emit_fd(p, SYS_dup, 1);
	emit_fd(p, SYS_dup2, 2);
	emit_fd(p, SYS_dup3, 2);
	emit_fcntl(p);
	for (size_t i = 0; i < NR_TABLE; i++) {
		if (table[i].kind != KIND_PURE && table[i].kind != KIND_REFUSE)
			continue;
		IF_EQ((unsigned)table[i].nr, 0, 1);
		RETURN(table[i].kind == KIND_PURE ? SECCOMP_RET_ALLOW
		                                  : ERRNO(table[i].error));
	}
	RETURN(SECCOMP_RET_TRACE);
	return p->nr;
}

/* ---- arguments ----------------------------------------------------------- */

static uint64_t
arg(const struct task *task, unsigned i)
{
	const struct user_regs_struct *regs = &task->regs;
	const uint64_t args[6] = { regs->rdi, regs->rsi, regs->rdx, regs->r10,
		regs->r8, regs->r9 };

	return args[i];
}

static bool
ensure(struct task *task, uint64_t va, uint64_t bytes, unsigned access)
{
	return va == 0 || bytes == 0 ||
	    user_ensure(task->mm, va, bytes, access);
}

static bool
ensure_iovec(struct task *task, uint64_t va, uint64_t nr, unsigned access)
{
	for (uint64_t i = 0; i < nr && i < 1024; i++) {
		struct iovec iov;

		if (!ensure(task, va + i * sizeof iov, sizeof iov,
		    MMK_PROT_READ))
			return false;
		if (user_read(task->mm, va + i * sizeof iov, &iov,
		    sizeof iov) != MMK_OK)
			return true;
		if (!ensure(task, (uint64_t)(uintptr_t)iov.iov_base,
		    iov.iov_len, access))
			return false;
	}
	return true;
}

static bool
ensure_msghdr(struct task *task, uint64_t va, unsigned access)
{
	struct msghdr msg;

	if (!ensure(task, va, sizeof msg, MMK_PROT_WRITE))
		return false;
	if (user_read(task->mm, va, &msg, sizeof msg) != MMK_OK)
		return true;
	return ensure(task, (uint64_t)(uintptr_t)msg.msg_name,
	           msg.msg_namelen, access) &&
	    ensure(task, (uint64_t)(uintptr_t)msg.msg_control,
	        msg.msg_controllen, access) &&
	    ensure_iovec(task, (uint64_t)(uintptr_t)msg.msg_iov,
	        msg.msg_iovlen, access);
}

static bool
ensure_mmsghdr(struct task *task, uint64_t va, uint64_t nr, unsigned access)
{
	for (uint64_t i = 0; i < nr && i < 1024; i++) {
		if (!ensure(task, va + i * 64, 64, MMK_PROT_WRITE) ||
		    !ensure_msghdr(task, va + i * 64, access))
			return false;
	}
	return true;
}

static bool
ensure_argv(struct task *task, uint64_t va)
{
	for (unsigned i = 0; va != 0 && i < 65536; i++, va += 8) {
		uint64_t string_va;

		if (!ensure(task, va, 8, MMK_PROT_READ))
			return false;
		if (user_read(task->mm, va, &string_va, 8) != MMK_OK ||
		    string_va == 0)
			return true;
		if (!user_ensure_string(task->mm, string_va, 32 * PAGE_BYTES))
			return false;
	}
	return true;
}

/* A length that the kernel updates, and the buffer it belongs to. */
static bool
ensure_socklen(struct task *task, uint64_t va, uint64_t buf_va)
{
	uint32_t bytes;

	if (!ensure(task, va, 4, MMK_PROT_WRITE))
		return false;
	if (va == 0 || user_read(task->mm, va, &bytes, 4) != MMK_OK)
		return true;
	return ensure(task, buf_va, bytes, MMK_PROT_WRITE);
}

static bool
ensure_ioctl(struct task *task, uint64_t va)
{
	unsigned request = (unsigned)arg(task, 1);
	unsigned bytes = request >> 16 & 0x3fff;
	unsigned direction = request >> 30;

	if (direction == 1 && bytes > 0)
		return ensure(task, va, bytes, MMK_PROT_READ);
	if (bytes == 0 || direction == 0)
		bytes = 64; /* old requests do not say; none needs more */
	/* Not every argument is a pointer: ask what is there. */
	if (!mmk_map_is_covered(&task->mm->space.map, mmk_page_floor(va),
	    mmk_page_floor(va) + PAGE_BYTES))
		return true;
	return ensure(task, va, bytes, MMK_PROT_READ) &&
	    ensure(task, va, bytes, MMK_PROT_WRITE);
}

static bool
ensure_fcntl(struct task *task, uint64_t va)
{
	switch ((int)arg(task, 1)) {
	case F_GETLK: case F_SETLK: case F_SETLKW:
	case F_OFD_GETLK: case F_OFD_SETLK: case F_OFD_SETLKW:
		return ensure(task, va, 32, MMK_PROT_WRITE);
	case F_GETOWN_EX: case F_SETOWN_EX:
	case F_GET_RW_HINT: case F_SET_RW_HINT:
	case F_GET_FILE_RW_HINT: case F_SET_FILE_RW_HINT:
		return ensure(task, va, 8, MMK_PROT_WRITE);
	default:
		return true;
	}
}

static bool
ensure_futex(struct task *task, uint64_t va)
{
	int op = (int)arg(task, 1) & FUTEX_CMD_MASK;

	if (!ensure(task, va, 4, MMK_PROT_READ))
		return false;
	if (op == FUTEX_LOCK_PI || op == FUTEX_UNLOCK_PI ||
	    op == FUTEX_TRYLOCK_PI || op == FUTEX_LOCK_PI2)
		return ensure(task, va, 4, MMK_PROT_WRITE) &&
		    ensure(task, arg(task, 3), 16, MMK_PROT_READ);
	if (op == FUTEX_WAIT || op == FUTEX_WAIT_BITSET)
		return ensure(task, arg(task, 3), 16, MMK_PROT_READ);
	if (op == FUTEX_REQUEUE || op == FUTEX_CMP_REQUEUE ||
	    op == FUTEX_WAKE_OP)
		return ensure(task, arg(task, 4), 4, MMK_PROT_WRITE);
	return true;
}

/* prctl and arch_prctl: argument 0 says what argument 1 is. */
static bool
ensure_prctl(struct task *task, uint64_t va)
{
	bool is_arch = (long)task->regs.orig_rax == SYS_arch_prctl;

	switch ((int)arg(task, 0)) {
	case ARCH_GET_FS: case ARCH_GET_GS:
		return !is_arch || ensure(task, va, 8, MMK_PROT_WRITE);
	case PR_SET_NAME:
		return user_ensure_string(task->mm, va, 16);
	case PR_GET_NAME:
		return ensure(task, va, 16, MMK_PROT_WRITE);
	case PR_GET_PDEATHSIG: case PR_GET_CHILD_SUBREAPER:
	case PR_GET_ENDIAN: case PR_GET_FPEMU: case PR_GET_FPEXC:
	case PR_GET_TSC: case PR_GET_UNALIGN:
		return ensure(task, va, 8, MMK_PROT_WRITE);
	case PR_SET_SECCOMP: case PR_SET_MM: case 0x53564d41: /* SET_VMA */
		task_answer(task, -EINVAL);
		return true;
	default:
		return true;
	}
}

/*
 * How much of a long buffer the host may write. A file gives no more than it
 * has; whatever else is read gives no more than it holds.
 */
static uint64_t
read_limit(struct task *task, const struct call *call, uint64_t bytes)
{
	char path[64];
	struct stat st;
	off_t at = 0;
	int fd;

	if ((call->flags & READS) == 0 || bytes <= 65536)
		return bytes;
	snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)task->pid,
	    (int)arg(task, 0));
	if (stat(path, &st) != 0)
		return 0;
	if (!S_ISREG(st.st_mode))
		return bytes < 1048576 || S_ISCHR(st.st_mode) ? bytes : 1048576;
	if (call->nr == SYS_pread64) {
		at = (off_t)arg(task, 3);
	} else {
		fd = (int)syscall(SYS_pidfd_getfd, task->pidfd, arg(task, 0), 0);
		if (fd < 0)
			return bytes;
		at = lseek(fd, 0, SEEK_CUR);
		close(fd);
	}
	if (st.st_size == 0) /* /proc, /sys */
		return bytes < 1048576 ? bytes : 1048576;
	if (at >= st.st_size)
		return 0;
	return bytes < (uint64_t)(st.st_size - at) + 65536 ? bytes
	    : (uint64_t)(st.st_size - at) + 65536;
}

/* One argument as the table describes it. false: out of memory. */
static bool
ensure_arg(struct task *task, const struct call *call, const char *text,
    unsigned i)
{
	uint64_t va = arg(task, i), nr, bytes = 0;
	unsigned access =
	    strchr("owWVMN", *text) != NULL ? MMK_PROT_WRITE : MMK_PROT_READ;
	char *end;

	nr = strtoul(text + 1, &end, 10);
	if (*end == ':' || *end == '+')
		bytes = strtoul(end + 1, NULL, 10);
	switch (*text) {
	case '-':
		return true;
	case 's':
		return va == 0 || user_ensure_string(task->mm, va, 4096);
	case 'i':
		return ensure(task, va, arg(task, (unsigned)nr) + bytes,
		    access);
	case 'o':
		return ensure(task, va, read_limit(task, call,
		    arg(task, (unsigned)nr) + bytes), access);
	case 'r': case 'w':
		return ensure(task, va, nr, access);
	case 'R': case 'W':
		nr = (uint32_t)arg(task, (unsigned)nr);
		return ensure(task, va, (nr < 65536 ? nr : 65536) * bytes,
		    access);
	case 'l':
		return ensure_socklen(task, va, arg(task, (unsigned)nr));
	case 'v': case 'V':
		return ensure_iovec(task, va, arg(task, (unsigned)nr), access);
	case 'm': case 'M':
		return ensure_msghdr(task, va, access);
	case 'n': case 'N':
		return ensure_mmsghdr(task, va, arg(task, (unsigned)nr), access);
	case 'a':
		return ensure_argv(task, va);
	case 'e':
		nr = (uint32_t)arg(task, 0);
		return ensure(task, va, (nr < 65536 ? nr + 63 : 65536) / 64 * 8,
		    MMK_PROT_WRITE);
	case 'k':
		if (!ensure(task, va, 16, MMK_PROT_READ))
			return false;
		return va == 0 ||
		    user_read(task->mm, va, &nr, 8) != MMK_OK ||
		    ensure(task, nr, 8, MMK_PROT_READ);
	case 'x':
		return ensure_ioctl(task, va);
	case 'f':
		return ensure_fcntl(task, va);
	case 'u':
		return ensure_futex(task, va);
	case 'p':
		return ensure_prctl(task, va);
	default:
		die(STATUS_BROKEN, "the table of calls: %s: %s", call->name,
		    text);
	}
}

static bool
ensure_args(struct task *task, const struct call *call)
{
	const char *text = call->args;

	for (unsigned i = 0; text != NULL && i < 6; i++) {
		if (!ensure_arg(task, call, text, i))
			return false;
		text = strchr(text, ',');
		if (text != NULL)
			text++;
	}
	return true;
}

/* ---- a stop before a call ------------------------------------------------ */

/* Does the call meet a file that someone has mapped? Then it is handled. */
static bool
keep_files_coherent(struct task *task, const struct call *call)
{
	if (call->flags == 0 || !file_any_watched())
		return false;
	if ((call->flags & ANY) == 0 &&
	    !file_is_watched(task, (int)arg(task, 0)))
		return false;
	/* the last look before the host does it: nothing may be left to fill */
	if (task->mm->tlb.nr_ops > 0)
		return false;
	if ((call->flags & ANY) != 0)
		file_before_any();
	else
		file_before_read(task, (int)arg(task, 0));
	if ((call->flags & READS) != 0)
		return false;
	for (unsigned i = 0; i < 6; i++)
		task->exit_args[i] = arg(task, i);
	task->exit_call = call;
	task_resume_to_exit(task);
	return true;
}

void
call_with_files(struct task *task)
{
	file_before_any();
	task->exit_call = call_of_nr[task->regs.orig_rax];
	task_resume_to_exit(task);
}

static void
call_close_range(struct task *task)
{
	unsigned first = (unsigned)arg(task, 0), last = (unsigned)arg(task, 1);
	unsigned ours = (unsigned)machine.ram_fd;
	uint64_t flags = arg(task, 2);

	if (first > ours || last < ours)
		return;
	if (first < ours && last > ours) {
		long result = task_call(task, SYS_close_range, ours + 1, last,
		    flags, 0, 0, 0);

		if (result != 0) {
			/* the call was left: it is answered, not run again */
			task->regs.rip += 2;
			task_answer(task, result);
			return;
		}
		task->regs.rip += 2;
		task_last_call(task, SYS_close_range, first, ours - 1, flags,
		    0, 0, 0);
	} else if (first < ours) {
		task_last_call(task, SYS_close_range, first, ours - 1, flags,
		    0, 0, 0);
	} else if (last > ours) {
		task_last_call(task, SYS_close_range, ours + 1, last, flags,
		    0, 0, 0);
	} else {
		task_answer(task, 0);
	}
}

void
handle_call(struct task *task)
{
	uint64_t nr = task->regs.orig_rax;
	const struct call *call = nr < NR_CALLS ? call_of_nr[nr] : NULL;

	machine.counts.call_stops++;
	if (task->mm == NULL) { /* before its first execve: our own code */
		task_resume(task, 0);
		return;
	}
	if (call == NULL || call->kind == KIND_REFUSE) {
		task_answer(task, call == NULL ? -ENOSYS : -call->error);
	} else if (call->ours != NULL) {
		call->ours(task);
	} else if (!ensure_args(task, call)) {
		out_of_memory(task);
		return;
	} else if (keep_files_coherent(task, call)) {
		return;
	}
	task_resume(task, 0);
}

void
handle_call_exit(struct task *task)
{
	const struct call *call = task->exit_call;
	long result = (long)task->regs.rax;

	task->exit_call = NULL;
	if (call == NULL) {
		task_resume(task, 0);
		return;
	}
	if ((call->flags & WRITES) == 0)
		file_after_any();
	else if (result > 0)
		file_after_write(task, (int)task->exit_args[0],
		    call->nr == SYS_pwrite64 || call->nr == SYS_pwritev ||
		        call->nr == SYS_pwritev2,
		    task->exit_args[3], (uint64_t)result);
	task_resume(task, 0);
}
