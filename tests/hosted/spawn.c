/* SPDX-License-Identifier: MIT
 *
 * tests/hosted/spawn.c: posix_spawn, vfork, system, popen, deep forks
 */
#define _GNU_SOURCE
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static int
chain(int depth)
{
	int status;
	pid_t pid;

	if (depth == 0)
		return 1;
	pid = fork();
	if (pid == 0)
		_exit(chain(depth - 1) + 1);
	waitpid(pid, &status, 0);
	return WEXITSTATUS(status);
}

int
main(void)
{
	char *argv[] = { "echo", "spawned", NULL }, line[100];
	char *missing[] = { "/nonexistent", NULL };
	volatile int in_parent = 1;
	int status, error;
	FILE *pipe;
	pid_t pid;

	error = posix_spawn(&pid, "/bin/echo", NULL, NULL, argv, environ);
	waitpid(pid, &status, 0);
	printf("posix_spawn: %d, status %d\n", error, status);
	error = posix_spawn(&pid, missing[0], NULL, NULL, missing, environ);
	printf("posix_spawn of nothing: %d\n", error);
	fflush(stdout);
	pid = vfork();
	if (pid == 0) {
		in_parent = 2;
		execl("/bin/sh", "sh", "-c", "exit 7", (char *)NULL);
		_exit(1);
	}
	waitpid(pid, &status, 0);
	printf("vfork: shared %d, status %d\n", in_parent, WEXITSTATUS(status));
	fflush(stdout);
	status = system("exit 9");
	printf("system: %d\n", WEXITSTATUS(status));
	pipe = popen("seq 3 | tr '\\n' ' '", "r");
	if (fgets(line, sizeof line, pipe) != NULL)
		printf("popen: %s\n", line);
	pclose(pipe);
	printf("chain: %d\n", chain(20));
	return 0;
}
