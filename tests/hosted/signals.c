/* SPDX-License-Identifier: MIT
 *
 * tests/hosted/signals.c: handlers, masks, timers, restarts, stops
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t nr_alarms, nr_usr1, nr_children;
static char *fresh;

static void
on_alarm(int sig)
{
	(void)sig;
	nr_alarms++;
	fresh[nr_alarms % 64 * 4096]++; /* misses in a handler */
}

static void
on_usr1(int sig)
{
	(void)sig;
	nr_usr1++;
}

static void
on_child(int sig)
{
	(void)sig;
	nr_children++;
}

static void
catch(int sig, void (*fn)(int), int flags)
{
	struct sigaction action;

	memset(&action, 0, sizeof action);
	action.sa_handler = fn;
	action.sa_flags = flags;
	sigfillset(&action.sa_mask);
	sigaction(sig, &action, NULL);
}

/* Alarms every millisecond while memory is touched for the first time. */
static void
alarms_among_misses(void)
{
	struct itimerval every = { { 0, 1000 }, { 0, 1000 } };
	struct itimerval never = { { 0, 0 }, { 0, 0 } };
	unsigned long sum = 0;

	catch(SIGALRM, on_alarm, SA_RESTART);
	setitimer(ITIMER_REAL, &every, NULL);
	for (int round = 0; round < 8 || nr_alarms < 20; round++) {
		char *map = mmap(NULL, 256 * 4096, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		for (unsigned i = 0; i < 256; i++)
			map[i * 4096] = (char)i;
		sum = 0;
		for (unsigned i = 0; i < 256; i++)
			sum += (unsigned char)map[i * 4096];
		munmap(map, 256 * 4096);
	}
	setitimer(ITIMER_REAL, &never, NULL);
	printf("alarms came: %d, sum %lu\n", nr_alarms >= 20, sum);
}

static void
masks(void)
{
	sigset_t all, old, pending;

	catch(SIGUSR1, on_usr1, 0);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &old);
	raise(SIGUSR1);
	/* every page here is missed with all signals blocked */
	for (unsigned i = 0; i < 64; i++)
		fresh[i * 4096 + 1]++;
	sigpending(&pending);
	printf("pending %d, handled %d\n", sigismember(&pending, SIGUSR1),
	    nr_usr1);
	sigprocmask(SIG_SETMASK, NULL, &all);
	printf("SIGSEGV is blocked: %d\n", sigismember(&all, SIGSEGV));
	sigdelset(&all, SIGUSR1);
	sigsuspend(&all);
	printf("handled %d\n", nr_usr1);
	sigprocmask(SIG_SETMASK, &old, NULL);
}

static void
restarts(void)
{
	int out[2], status;
	char byte = 0;
	ssize_t bytes;
	pid_t pid;

	if (pipe(out) != 0)
		return;
	catch(SIGUSR1, on_usr1, SA_RESTART);
	catch(SIGCHLD, on_child, SA_RESTART);
	pid = fork();
	if (pid == 0) {
		usleep(20000);
		kill(getppid(), SIGUSR1);
		usleep(20000);
		_exit(write(out[1], "x", 1) == 1 ? 0 : 1);
	}
	bytes = read(out[0], &byte, 1);
	printf("read was taken up again: %zd %c\n", bytes, byte);
	waitpid(pid, &status, 0);
	printf("status %d, children %d\n", status, nr_children);
	catch(SIGUSR1, on_usr1, 0);
	pid = fork();
	if (pid == 0) {
		usleep(20000);
		kill(getppid(), SIGUSR1);
		_exit(0);
	}
	signal(SIGCHLD, SIG_DFL);
	bytes = read(out[0], &byte, 1);
	printf("read was interrupted: %zd %s\n", bytes,
	    bytes < 0 ? strerror(errno) : "");
	waitpid(pid, &status, 0);
}

static void
stops(void)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		raise(SIGSTOP);
		_exit(5);
	}
	waitpid(pid, &status, WUNTRACED);
	printf("stopped: %d\n", WIFSTOPPED(status) && WSTOPSIG(status) ==
	    SIGSTOP);
	kill(pid, SIGCONT);
	waitpid(pid, &status, 0);
	printf("ended: %d\n", WEXITSTATUS(status));
	pid = fork();
	if (pid == 0)
		for (;;)
			pause();
	kill(pid, SIGTERM);
	waitpid(pid, &status, 0);
	printf("terminated: %d\n", WTERMSIG(status));
}

int
main(void)
{
	fresh = mmap(NULL, 64 * 4096, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	alarms_among_misses();
	fflush(stdout);
	masks();
	fflush(stdout);
	restarts();
	fflush(stdout);
	stops();
	return 0;
}
