/* SPDX-License-Identifier: MIT
 *
 * tests/hosted/race.c: several processes at once on one shared mapping
 *
 * Every count must survive: a write through a translation that should have been
 * dropped, while another process has the page written back, would lose some.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define NR_CHILDREN 3
#define NR_ROUNDS 20000
#define NR_PAGES 8

static void
count(unsigned long *words, int fd, int who)
{
	for (int i = 0; i < NR_ROUNDS; i++) {
		__atomic_add_fetch(&words[i % NR_PAGES * 512], 1ul,
		    __ATOMIC_RELAXED);
		if (fd >= 0 && i % 400 == who * 100)
			msync(words, NR_PAGES * 4096, MS_SYNC);
		if (fd >= 0 && i % 400 == who * 100 + 50) {
			unsigned long word;

			if (pread(fd, &word, sizeof word, 0) != sizeof word)
				_exit(1);
		}
	}
}

static void
race(const char *what, int fd)
{
	unsigned long *words = mmap(NULL, NR_PAGES * 4096,
	    PROT_READ | PROT_WRITE,
	    fd < 0 ? MAP_SHARED | MAP_ANONYMOUS : MAP_SHARED, fd, 0);
	unsigned long sum = 0, in_file = 0;
	int status = 0, bad = 0;

	for (int i = 0; i < NR_CHILDREN; i++) {
		if (fork() == 0) {
			count(words, fd, i);
			_exit(0);
		}
	}
	count(words, fd, NR_CHILDREN);
	while (wait(&status) > 0)
		bad += status != 0;
	for (int i = 0; i < NR_PAGES; i++) {
		unsigned long word = 0;

		sum += words[i * 512];
		if (fd >= 0 && pread(fd, &word, sizeof word, i * 4096l) > 0)
			in_file += word;
	}
	printf("%s: %lu, in the file %lu, failed %d\n", what, sum, in_file, bad);
	fflush(stdout);
	munmap(words, NR_PAGES * 4096);
}

int
main(void)
{
	char path[] = "/tmp/mmkit-race-XXXXXX";
	int fd = mkstemp(path);

	unlink(path);
	if (fd < 0 || ftruncate(fd, NR_PAGES * 4096) != 0)
		return 1;
	race("anonymous", -1);
	race("a file", fd);
	return 0;
}
