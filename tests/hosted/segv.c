/* SPDX-License-Identifier: MIT
 *
 * tests/hosted/segv.c: faults that are the program's own
 *
 * `segv die` dies of one. `segv` handles them and says what it was told.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define UNMAPPED ((char *)0x123456000)

static sigjmp_buf back;
static volatile int seen_sig, seen_code;
static void *volatile seen_addr;
static char *volatile mend_ptr;
static char touched_in_handler[1 << 16];

static void
handler(int sig, siginfo_t *info, void *context)
{
	(void)context;
	seen_sig = sig;
	seen_code = info->si_code;
	seen_addr = info->si_addr;
	/* misses of its own while SIGSEGV is blocked */
	for (size_t i = 0; i < sizeof touched_in_handler; i += 4096)
		touched_in_handler[i]++;
	if (mend_ptr != NULL) {
		mprotect(mend_ptr, 4096, PROT_READ | PROT_WRITE);
		return;
	}
	siglongjmp(back, 1);
}

static void
handle(int flags)
{
	struct sigaction action;

	memset(&action, 0, sizeof action);
	action.sa_sigaction = handler;
	action.sa_flags = SA_SIGINFO | flags;
	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
}

static void
report(const char *what, const char *expected)
{
	printf("%s: signal %d code %d address %s\n", what, seen_sig, seen_code,
	    seen_addr == (void *)(uintptr_t)expected ? "right" : "wrong");
	fflush(stdout);
}

static void
try_write(const char *what, volatile char *at)
{
	if (sigsetjmp(back, 1) == 0)
		*at = 1;
	report(what, (const char *)(uintptr_t)at);
}

static void
try_read(const char *what, volatile char *at)
{
	if (sigsetjmp(back, 1) == 0)
		(void)*at;
	report(what, (const char *)(uintptr_t)at);
}

static void
try_run(const char *what, char *at)
{
	if (sigsetjmp(back, 1) == 0)
		((void (*)(void))(uintptr_t)at)();
	report(what, at);
}

static int
overflow(int depth)
{
	volatile char frame[4096];

	frame[0] = (char)depth;
	return overflow(depth + 1) + frame[0];
}

static void
try_beyond_file(void)
{
	char path[] = "/tmp/mmkit-segv-XXXXXX", *map;
	int fd = mkstemp(path);

	unlink(path);
	if (ftruncate(fd, 100) != 0)
		return;
	map = mmap(NULL, 3 * 4096, PROT_READ, MAP_SHARED, fd, 0);
	printf("in the file: %d, in its last page: %d\n", map[50], map[4000]);
	try_read("beyond the end of a file", map + 4096);
	munmap(map, 3 * 4096);
	close(fd);
}

int
main(int argc, char **argv)
{
	static char alternate[1 << 16];
	stack_t stack = { .ss_sp = alternate, .ss_size = sizeof alternate };
	char *page;

	if (argc > 1 && strcmp(argv[1], "die") == 0) {
		puts("about to die");
		fflush(stdout);
		*(volatile char *)UNMAPPED = 1;
	}
	handle(0);
	try_write("write where nothing is", UNMAPPED);
	try_read("read where nothing is", UNMAPPED + 77);
	try_run("run where nothing is", UNMAPPED);
	page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	try_write("write to what may be read", page + 5);
	(void)*(volatile char *)page;
	try_write("and again", page + 6);
	try_run("run what may be read", page);
	mprotect(page, 4096, PROT_NONE);
	try_read("read what may not be touched", page + 9);
	mprotect(page, 4096, PROT_READ);
	mend_ptr = page;
	seen_sig = 0;
	page[1] = 42;
	mend_ptr = NULL;
	report("mended by the handler", page + 1);
	printf("value %d\n", page[1]);
	munmap(page, 4096);
	try_read("read what is gone", page);
	try_beyond_file();
	sigaltstack(&stack, NULL);
	handle(SA_ONSTACK);
	if (sigsetjmp(back, 1) == 0)
		printf("%d\n", overflow(0));
	printf("stack overflow: signal %d\n", seen_sig);
	signal(SIGSEGV, SIG_DFL);
	return 0;
}
