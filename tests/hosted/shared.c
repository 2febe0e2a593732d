/* SPDX-License-Identifier: MIT
 *
 * tests/hosted/shared.c: a file mapped shared, and read and written beside it
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define BYTES (64 * 4096)

static int fd;
static char *map;

static void
expect(const char *what, int is_so)
{
	printf("%s: %s\n", what, is_so ? "yes" : "NO");
	fflush(stdout);
}

static int
file_has(off_t at, const char *text)
{
	char buf[64] = { 0 };

	return pread(fd, buf, strlen(text), at) == (ssize_t)strlen(text) &&
	    strcmp(buf, text) == 0;
}

static void
by_one_process(void)
{
	char buf[16] = { 0 };

	strcpy(map + 10, "written by the map");
	expect("pread sees what the map wrote",
	    file_has(10, "written by the map"));
	lseek(fd, 10, SEEK_SET);
	expect("read sees it", read(fd, buf, 7) == 7 &&
	    strcmp(buf, "written") == 0);
	expect("the map sees pwrite",
	    pwrite(fd, "by pwrite", 9, 5 * 4096 + 3) == 9 &&
	    strncmp(map + 5 * 4096 + 3, "by pwrite", 9) == 0);
	lseek(fd, 4090, SEEK_SET);
	expect("the map sees write across a page",
	    write(fd, "0123456789", 10) == 10 &&
	    strncmp(map + 4090, "0123456789", 10) == 0);
	map[20 * 4096] = 'x';
	expect("msync", msync(map, BYTES, MS_SYNC) == 0);
	expect("after msync", file_has(20 * 4096, "x"));
	map[20 * 4096] = 'y';
	expect("dirty again after msync", file_has(20 * 4096, "y"));
}

static void
by_two(void)
{
	char *anon = mmap(NULL, 8192, PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char *own = mmap(NULL, 8192, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int status;
	pid_t pid;

	strcpy(own, "parent");
	strcpy(anon, "parent");
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		strcpy(own, "child");
		strcpy(anon, "child");
		strcpy(map + 30 * 4096, "from the child");
		_exit(0);
	}
	waitpid(pid, &status, 0);
	expect("shared memory is shared", strcmp(anon, "child") == 0);
	expect("private memory is not", strcmp(own, "parent") == 0);
	expect("the child's mapping is ours",
	    strcmp(map + 30 * 4096, "from the child") == 0);
	expect("and in the file", file_has(30 * 4096, "from the child"));
	munmap(anon, 8192);
	munmap(own, 8192);
}

static void
by_size(void)
{
	struct stat st;
	char *more;

	strcpy(map + BYTES - 8, "end");
	munmap(map, BYTES);
	expect("munmap writes back", file_has(BYTES - 8, "end"));
	expect("truncate", ftruncate(fd, 5000) == 0 && fstat(fd, &st) == 0 &&
	    st.st_size == 5000);
	map = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	expect("zeros beyond the end", map[5000] == 0 && map[8191] == 0);
	map[4999] = 'z';
	map[5001] = 'q';
	expect("extend", ftruncate(fd, 12288) == 0 && map[8192] == 0);
	expect("what was in the file is", map[4999] == 'z');
	more = mremap(map, BYTES, 2 * BYTES, MREMAP_MAYMOVE);
	expect("mremap", more != MAP_FAILED && more[4999] == 'z');
	munmap(more, 2 * BYTES);
	more = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	more[0] = 'P';
	expect("a private mapping writes nothing", !file_has(0, "P"));
	munmap(more, 8192);
}

int
main(void)
{
	char path[] = "/tmp/mmkit-shared-XXXXXX";

	fd = mkstemp(path);
	unlink(path);
	if (fd < 0 || ftruncate(fd, BYTES) != 0)
		return 1;
	map = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return 1;
	by_one_process();
	by_two();
	by_size();
	return 0;
}
