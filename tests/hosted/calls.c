/* SPDX-License-Identifier: MIT
 *
 * tests/hosted/calls.c: the memory calls, good and bad, and bad pointers
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define PAGE 4096ul
#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)

static void
say(const char *what, long value)
{
	if (value == -1)
		printf("%s: %s\n", what, strerror(errno));
	else
		printf("%s: %ld\n", what, value);
	fflush(stdout);
}

static long
is_mapped(void *ptr)
{
	return ptr == MAP_FAILED ? -1 : 1;
}

static void
mappings(void)
{
	char *at = mmap(NULL, 16 * PAGE, RW, ANON, -1, 0), *moved;
	unsigned char vec[16];

	say("mmap", is_mapped(at));
	say("mmap of nothing", is_mapped(mmap(NULL, 0, RW, ANON, -1, 0)));
	say("unaligned", is_mapped(mmap(at + 1, PAGE, RW, ANON | MAP_FIXED, -1,
	    0)));
	say("no type", is_mapped(mmap(NULL, PAGE, RW, MAP_ANONYMOUS, -1, 0)));
	say("bad descriptor", is_mapped(mmap(NULL, PAGE, RW, MAP_PRIVATE, 99,
	    0)));
	say("too big", is_mapped(mmap(NULL, 1ul << 47, RW, ANON, -1, 0)));
	say("noreplace", is_mapped(mmap(at, PAGE, RW,
	    ANON | MAP_FIXED_NOREPLACE, -1, 0)));
	say("32bit", (uintptr_t)mmap(NULL, PAGE, RW, ANON | MAP_32BIT, -1, 0) <
	    1ul << 32);
	memset(at, 'a', 16 * PAGE);
	say("munmap of the middle", munmap(at + 4 * PAGE, PAGE));
	say("munmap again", munmap(at + 4 * PAGE, PAGE));
	say("munmap unaligned", munmap(at + 1, PAGE));
	say("mprotect over a hole", mprotect(at, 16 * PAGE, PROT_READ));
	say("mprotect", mprotect(at, 2 * PAGE, PROT_READ));
	say("mincore over a hole", mincore(at, 16 * PAGE, vec));
	say("mincore", mincore(at, 4 * PAGE, vec));
	say("resident", vec[0] & vec[1] & vec[2] & vec[3] & 1);
	say("dontneed", madvise(at + 2 * PAGE, PAGE, MADV_DONTNEED));
	say("zero then", at[2 * PAGE]);
	say("next to it", at[3 * PAGE]);
	say("madvise unknown", madvise(at, PAGE, 12345));
	say("madvise over a hole", madvise(at, 16 * PAGE, MADV_WILLNEED));
	moved = mremap(at + 5 * PAGE, 11 * PAGE, 40 * PAGE, MREMAP_MAYMOVE);
	say("mremap", is_mapped(moved));
	say("kept", moved[0] == 'a' && moved[11 * PAGE - 1] == 'a' &&
	    moved[11 * PAGE] == 0);
	moved = mremap(moved, 40 * PAGE, 3 * PAGE, 0);
	say("shrunk", is_mapped(moved));
	say("mremap of nothing", is_mapped(mremap(at + 4 * PAGE, PAGE, PAGE * 2,
	    MREMAP_MAYMOVE)));
	say("msync", msync(at, PAGE, MS_SYNC));
	say("mlock", mlock(at, PAGE));
	say("munlock", munlock(at, PAGE));
}

static void
heap(void)
{
	char *start = sbrk(0), *grown;

	grown = sbrk(100000);
	say("sbrk", grown == start);
	memset(start, 1, 100000);
	say("sbrk back", sbrk(-100000) == start + 100000);
	sbrk(100000);
	say("zero again", start[8192]);
	sbrk(-100000);
	say("brk too far", brk((void *)(1ul << 46)));
}

static void
bad_pointers(void)
{
	char *page = mmap(NULL, 2 * PAGE, RW, ANON, -1, 0);
	char *hole = page + PAGE;
	struct iovec iov[2] = { { page, 10 }, { hole, 10 } };
	int fd = open("/dev/zero", O_RDONLY), null = open("/dev/null", O_WRONLY);
	int file = open("/tmp", O_TMPFILE | O_RDWR, 0600), out[2];
	struct stat st;

	munmap(hole, PAGE);
	say("read to nowhere", read(fd, hole, 10));
	say("read nothing to nowhere", read(fd, hole, 0));
	say("read from no file to nowhere", read(-1, hole, 10));
	say("write from nowhere", write(file, hole, 10));
	say("write to /dev/null from nowhere", write(null, hole, 10));
	say("write half from nowhere", write(file, page + PAGE - 5, 10));
	say("writev half from nowhere", writev(file, iov, 2));
	say("open nowhere", open(hole, O_RDONLY));
	say("stat nowhere", stat("/", (struct stat *)(void *)hole));
	say("stat", stat("/", &st));
	say("pipe nowhere", pipe((int *)(void *)hole));
	say("pipe", pipe(out));
	mprotect(page, PAGE, PROT_READ);
	say("read to read-only", read(fd, page, 10));
	say("write from read-only", write(out[1], page, 10));
	mprotect(page, PAGE, PROT_NONE);
	say("write from none", write(out[1], page, 10));
	say("getcwd nowhere", getcwd(hole, 100) == NULL ? -1 : 0);
	say("read of a large hole", read(fd, (void *)0x1000, 1ul << 30));
	close(fd);
	close(file);
	close(null);
}

static void
files(void)
{
	int fd = open("/tmp", O_TMPFILE | O_RDWR, 0600);
	int readable = open("/etc/passwd", O_RDONLY);
	int writable = open("/dev/null", O_WRONLY);
	char *map, buf[8];

	say("big buffer, small file", write(fd, "hello", 5));
	lseek(fd, 0, SEEK_SET);
	map = mmap(NULL, 64ul << 20, RW, ANON | MAP_NORESERVE, -1, 0);
	say("read it", read(fd, map, 64ul << 20));
	say("zero page", pread(open("/dev/zero", O_RDONLY), buf, 8, 0));
	say("share what cannot be written", is_mapped(mmap(NULL, PAGE, RW,
	    MAP_SHARED, readable, 0)));
	map = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, readable, 0);
	say("share to read", is_mapped(map));
	say("and then to write", mprotect(map, PAGE, RW));
	say("map what cannot be read", is_mapped(mmap(NULL, PAGE, PROT_READ,
	    MAP_PRIVATE, writable, 0)));
	say("map a directory", is_mapped(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE,
	    open("/tmp", O_RDONLY), 0)));
	say("unaligned offset", is_mapped(mmap(NULL, PAGE, PROT_READ,
	    MAP_PRIVATE, readable, 100)));
	map = mmap(NULL, PAGE, RW, MAP_PRIVATE, open("/dev/zero", O_RDWR), 0);
	say("/dev/zero", map[100]);
	map[100] = 3;
	say("growsdown", is_mapped(mmap(NULL, PAGE, RW, ANON | MAP_GROWSDOWN,
	    -1, 0)));
}

int
main(void)
{
	mappings();
	heap();
	bad_pointers();
	files();
	return 0;
}
