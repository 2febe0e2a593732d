/* SPDX-License-Identifier: MIT
 *
 * examples/hosted/launch.c: start the first program
 */
#include "hosted.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define FILTER_MAX 1024

static struct rlimit old_limit;

/* ---- is there such a program? -------------------------------------------- */

static char *
find_program(const char *name)
{
	const char *path = getenv("PATH");
	char *found = NULL;
	int error = ENOENT;

	if (strchr(name, '/') != NULL)
		return strdup(name);
	for (path = path == NULL ? "/usr/bin:/bin" : path; *path != '\0';) {
		size_t bytes = strcspn(path, ":");
		struct stat st;

		if (asprintf(&found, "%.*s/%s", (int)bytes,
		    bytes == 0 ? "." : path, name) < 0)
			die(STATUS_BROKEN, "no memory");
		if (stat(found, &st) == 0 && S_ISREG(st.st_mode)) {
			if (access(found, X_OK) == 0)
				return found;
			error = EACCES;
		}
		free(found);
		path += bytes;
		path += *path == ':';
	}
	die(error == ENOENT ? STATUS_NOENT : STATUS_NOEXEC, "%s: %s", name,
	    strerror(error));
}

/* What the host would say of it only after we had started. */
static void
check_program(const char *path)
{
	union {
		Elf64_Ehdr elf;
		char bytes[sizeof(Elf64_Ehdr)];
	} head = { .bytes = { 0 } };
	struct stat st;
	ssize_t bytes;
	int fd;

	if (stat(path, &st) != 0)
		die(errno == ENOENT || errno == ENOTDIR ? STATUS_NOENT
		                                        : STATUS_NOEXEC,
		    "%s: %s", path, strerror(errno));
	if (S_ISDIR(st.st_mode))
		die(STATUS_NOEXEC, "%s: %s", path, strerror(EISDIR));
	if (!S_ISREG(st.st_mode) || access(path, X_OK) != 0)
		die(STATUS_NOEXEC, "%s: %s", path, strerror(EACCES));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		die(STATUS_NOEXEC, "%s: cannot be read: %s", path,
		    strerror(errno));
	bytes = read(fd, head.bytes, sizeof head);
	close(fd);
	if (bytes >= 2 && head.bytes[0] == '#' && head.bytes[1] == '!')
		return;
	if (bytes < 4 || memcmp(head.bytes, ELFMAG, SELFMAG) != 0)
		die(STATUS_NOEXEC, "%s: not a program (no ELF header)", path);
	if (bytes < (ssize_t)sizeof head)
		die(STATUS_NOEXEC, "%s: truncated", path);
	if (head.elf.e_ident[EI_CLASS] != ELFCLASS64 ||
	    head.elf.e_machine != EM_X86_64)
		die(STATUS_NOEXEC, "%s: for another machine (ELF class %d, "
		    "machine %d; this is an x86-64 host)", path,
		    head.elf.e_ident[EI_CLASS] == ELFCLASS64 ? 64 : 32,
		    head.elf.e_machine);
	if ((uint64_t)st.st_size < head.elf.e_phoff +
	    (uint64_t)head.elf.e_phnum * head.elf.e_phentsize)
		die(STATUS_NOEXEC, "%s: truncated", path);
}

/* Are all of its segments in the file? The host would find out by SIGBUS. */
static void
check_segments(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	Elf64_Ehdr elf = { 0 };
	struct stat st;

	if (fd < 0 || fstat(fd, &st) != 0 ||
	    read(fd, &elf, sizeof elf) != (ssize_t)sizeof elf ||
	    memcmp(elf.e_ident, ELFMAG, SELFMAG) != 0) {
		close(fd);
		return;
	}
	for (unsigned i = 0; i < elf.e_phnum; i++) {
		Elf64_Phdr phdr;

		if (pread(fd, &phdr, sizeof phdr, (off_t)(elf.e_phoff +
		    i * elf.e_phentsize)) != (ssize_t)sizeof phdr)
			break;
		if (phdr.p_type == PT_LOAD &&
		    phdr.p_offset + phdr.p_filesz > (uint64_t)st.st_size)
			die(STATUS_NOEXEC, "%s: truncated", path);
	}
	close(fd);
}

/* ---- RAM ----------------------------------------------------------------- */

/*
 * RAM's descriptor is inherited by every program, and so goes where programs
 * cannot make one of their own: above their limit, where the host allows that.
 */
static void
create_ram(void)
{
	uint64_t bytes = machine.options.ram_bytes + GATE_BYTES;
	int fd = memfd_create("mmkit-ram", 0), want;

	if (fd < 0 || ftruncate(fd, (off_t)bytes) != 0)
		die(STATUS_BROKEN, "cannot make RAM: %s", strerror(errno));
	getrlimit(RLIMIT_NOFILE, &old_limit);
	want = old_limit.rlim_cur > 4096 ? 4090 : (int)old_limit.rlim_cur + 6;
	if (old_limit.rlim_max < (rlim_t)want + 1)
		want = (int)old_limit.rlim_max - 1;
	if (old_limit.rlim_cur < (rlim_t)want + 1) {
		struct rlimit limit = { (rlim_t)want + 1,
			old_limit.rlim_max };

		setrlimit(RLIMIT_NOFILE, &limit);
	}
	/* one that is refused is the RAM of another mmkit-run around us */
	while (want > 64 && dup2(fd, want) != want)
		want--;
	if (want <= 64)
		die(STATUS_BROKEN, "cannot place RAM's descriptor: %s",
		    strerror(errno));
	if (fd != want)
		close(fd);
	machine.ram_fd = want;
}

/* ---- the child ----------------------------------------------------------- */

static void
install_filter(void)
{
	static struct sock_filter filter[FILTER_MAX];
	struct sock_fprog program = {
		(unsigned short)calls_filter(filter, FILTER_MAX), filter };

	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0)
		return;
	if (errno == EACCES && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0)
		return;
	die(STATUS_BROKEN, "no seccomp filter: %s", strerror(errno));
}

static void
run_child(const char *path, char **argv, int go_fd)
{
	struct rlimit no_limit = { RLIM_INFINITY, RLIM_INFINITY };
	sigset_t set;
	char byte;

	/* SIGSEGV is ours: see signal.c. */
	signal(SIGSEGV, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, SIGSEGV);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	personality((unsigned long)personality(0xffffffff) |
	    ADDR_NO_RANDOMIZE);
	setrlimit(RLIMIT_NOFILE, &old_limit);
	setrlimit(RLIMIT_AS, &no_limit); /* limits.c has it */
	if (read(go_fd, &byte, 1) != 1)
		_exit(STATUS_BROKEN);
	install_filter();
	execv(path, argv);
	die(errno == ENOENT ? STATUS_NOENT : STATUS_NOEXEC, "%s: %s", path,
	    strerror(errno));
}

static void
trace_child(pid_t pid)
{
	unsigned long options = PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD |
	    PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE |
	    PTRACE_O_TRACEEXEC | PTRACE_O_TRACEEXIT | PTRACE_O_TRACESECCOMP |
	    PTRACE_O_TRACEVFORKDONE;

	if (ptrace(PTRACE_SEIZE, pid, 0, options) != 0) {
		int error = errno;

		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		die(STATUS_BROKEN, "not permitted to trace programs "
		    "(ptrace: %s)", strerror(error));
	}
}

void
launch(char **argv)
{
	char *path = find_program(argv[0]);
	uint64_t frame_bytes = getauxval(AT_MINSIGSTKSZ);
	struct rlimit space_limit;
	int go[2];
	pid_t pid;

	check_program(path);
	check_segments(path);
	create_ram();
	/* the frame, the red zone, and alignment */
	machine.frame_bytes = (frame_bytes > 2048 ? frame_bytes : 4096) + 1024;
	if (pipe2(go, O_CLOEXEC) != 0)
		die(STATUS_BROKEN, "pipe: %s", strerror(errno));
	fflush(NULL);
	pid = fork();
	if (pid < 0)
		die(STATUS_BROKEN, "fork: %s", strerror(errno));
	if (pid == 0)
		run_child(path, argv, go[0]);
	trace_child(pid);
	machine.first_pid = pid;
	task_create(pid);
	if (getrlimit(RLIMIT_AS, &space_limit) == 0)
		machine.tasks->space_limit = space_limit.rlim_cur;
	snprintf(machine.tasks->name, sizeof machine.tasks->name, "%s",
	    argv[0]);
	close(go[0]);
	if (write(go[1], "", 1) != 1)
		die(STATUS_BROKEN, "pipe: %s", strerror(errno));
	close(go[1]);
	free(path);
}
