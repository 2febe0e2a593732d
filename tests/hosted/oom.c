/* SPDX-License-Identifier: MIT
 *
 * tests/hosted/oom.c: a child that wants more memory than there is
 *
 * It is killed; its parent and its sibling go on.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int
main(void)
{
	int status = 0, out[2];
	char byte = 0;
	pid_t glutton, sibling;

	if (pipe(out) != 0)
		return 1;
	sibling = fork();
	if (sibling == 0) {
		char *mine = malloc(100000);

		memset(mine, 7, 100000);
		close(out[1]);
		if (read(out[0], &byte, 1) < 0)
			_exit(1);
		_exit(mine[99999] == 7 && byte == 'g' ? 0 : 2);
	}
	close(out[0]);
	glutton = fork();
	if (glutton == 0) {
		for (;;) {
			char *more = malloc(1 << 20);

			if (more == NULL)
				_exit(3);
			memset(more, 1, 1 << 20);
		}
	}
	waitpid(glutton, &status, 0);
	printf("the glutton: %s %d\n",
	    WIFSIGNALED(status) ? "signal" : "exit",
	    WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	if (write(out[1], "g", 1) != 1)
		return 1;
	waitpid(sibling, &status, 0);
	printf("its sibling: %d\n", status);
	memset(malloc(1 << 20), 2, 1 << 20);
	printf("its parent had another megabyte\n");
	return 0;
}
