/* SPDX-License-Identifier: MIT
 *
 * examples/kernel/user/tour.c: the first program: a tour of what its memory can
 * do, on a real MMU. Every stop checks what it sees; the first thing that is not
 * so ends the tour with its line number.
 */
#include "user.h"

#define PAGE ((uint64_t)PAGE_BYTES)
#define RW (PROT_READ | PROT_WRITE)
#define ERROR(result) ((result) > (uint64_t)-4096)
#define STATUS(result) ((unsigned)(result))
#define WAS_KILLED(result) (STATUS(result) >= STATUS_KILLED)

static void
say(const char *text)
{
	uint64_t bytes = 0;

	while (text[bytes] != '\0')
		bytes++;
	(void)syscall6(SYS_WRITE, (uint64_t)(uintptr_t)text, bytes, 0, 0, 0);
}

static void
quit(unsigned status)
{
	for (;;)
		(void)syscall6(SYS_EXIT, status, 0, 0, 0, 0);
}

/* The line of what is not so, as text and as the status. */
static void
must_at(bool is_so, unsigned line)
{
	char text[] = "init: NOT SO: tour.c:0000\n";

	if (is_so)
		return;
	for (unsigned i = 24; i > 20; i--, line /= 10)
		text[i] = (char)('0' + line % 10);
	say(text);
	quit(1);
}
#define must(cond) must_at(cond, __LINE__)

static uint64_t
fork(void)
{
	uint64_t nr = syscall6(SYS_FORK, 0, 0, 0, 0, 0);

	must(!ERROR(nr));
	return nr;
}

static uint64_t
wait(void)
{
	return syscall6(SYS_WAIT, 0, 0, 0, 0, 0);
}

static uint64_t
map_at(uint64_t va, uint64_t bytes, unsigned prot, unsigned flags)
{
	return syscall6(SYS_MMAP, va, bytes, prot, flags, 0);
}

static volatile uint64_t *
map(uint64_t nr_pages, unsigned flags)
{
	uint64_t va = map_at(0, nr_pages * PAGE, RW, flags);

	must(!ERROR(va));
	return (volatile uint64_t *)(uintptr_t)va;
}

static void
unmap(volatile uint64_t *at, uint64_t nr_pages)
{
	must(syscall6(SYS_MUNMAP, (uint64_t)(uintptr_t)at, nr_pages * PAGE, 0,
	         0, 0) == 0);
}

static void
protect(volatile uint64_t *at, uint64_t nr_pages, unsigned prot)
{
	must(syscall6(SYS_MPROTECT, (uint64_t)(uintptr_t)at, nr_pages * PAGE,
	         prot, 0, 0) == 0);
}

/* Word 0 of page n. */
static volatile uint64_t *
word(volatile uint64_t *at, uint64_t n)
{
	return at + n * PAGE / 8;
}

static void
fill(volatile uint64_t *at, uint64_t nr_pages, uint64_t seed)
{
	for (uint64_t i = 0; i < nr_pages * PAGE / 8; i++)
		at[i] = seed + i;
}

static bool
is_filled(volatile uint64_t *at, uint64_t nr_pages, uint64_t seed)
{
	for (uint64_t i = 0; i < nr_pages * PAGE / 8; i++)
		if (at[i] != seed + i)
			return false;
	return true;
}

/* ---- the stops ----------------------------------------------------------------- */

static void
zeros(void)
{
	volatile uint64_t *at = map(64, MAP_PRIVATE);

	for (uint64_t i = 0; i < 64 * PAGE / 8; i++)
		must(at[i] == 0);
	fill(at, 64, 5);
	must(is_filled(at, 64, 5));
	must(syscall6(SYS_DISCARD, (uint64_t)(uintptr_t)at, 32 * PAGE, 0, 0,
	         0) == 0);
	must(*word(at, 31) == 0);
	must(*word(at, 32) == 5 + 32 * PAGE / 8);
	unmap(at, 64);
	say("init: zeros, written, discarded, zeros again: ok\n");
}

static void
copy_on_write(void)
{
	volatile uint64_t *mine = map(16, MAP_PRIVATE);
	volatile uint64_t *ours = map(1, MAP_SHARED);

	fill(mine, 16, 100);
	for (unsigned depth = 0; depth < 3; depth++) {
		if (fork() != 0) {
			uint64_t result = wait();

			must(STATUS(result) == 0);
			must(is_filled(mine, 16, 100 + depth));
			must(ours[0] == 3);
			if (depth > 0)
				quit(0);
			unmap(mine, 16);
			unmap(ours, 1);
			say("init: three forks deep, each with its own memory "
			    "and one shared page: ok\n");
			return;
		}
		must(is_filled(mine, 16, 100 + depth));
		fill(mine, 16, 101 + depth);
		must(is_filled(mine, 16, 101 + depth));
		ours[0] = ours[0] + 1;
	}
	quit(0);
}

/* A child does what kills it; nobody else is harmed. */
static void
die(void (*how)(volatile uint64_t *), volatile uint64_t *at, unsigned line)
{
	if (fork() == 0) {
		how(at);
		quit(0);
	}
	must_at(WAS_KILLED(wait()), line);
}

static void
write_there(volatile uint64_t *at)
{
	*at = 1;
}

static void
read_there(volatile uint64_t *at)
{
	(void)*at;
}

static void
run_there(volatile uint64_t *at)
{
	((void (*)(void))(uintptr_t)at)();
}

static void
protection(void)
{
	volatile uint64_t *at = map(3, MAP_PRIVATE);

	fill(at, 3, 7);
	protect(word(at, 1), 1, PROT_READ);
	die(write_there, word(at, 1), __LINE__);
	die(run_there, word(at, 1), __LINE__);
	protect(word(at, 1), 1, PROT_NONE);
	die(read_there, word(at, 1), __LINE__);
	protect(word(at, 1), 1, RW);
	must(is_filled(at, 3, 7));
	unmap(at, 3);
	die(read_there, at, __LINE__);
	die(read_there, (volatile uint64_t *)8, __LINE__);
	die(read_there, (volatile uint64_t *)(uintptr_t)KERNEL_ADDRESS,
	    __LINE__);
	die(write_there, (volatile uint64_t *)(uintptr_t)KERNEL_ADDRESS,
	    __LINE__);
	die(run_there, (volatile uint64_t *)(uintptr_t)KERNEL_ADDRESS,
	    __LINE__);
	die(write_there, (volatile uint64_t *)(uintptr_t)&main, __LINE__);
	say("init: what is forbidden kills, and no more than who did it: "
	    "ok\n");
}

/* Down from its one page, as far as a stack may go and no further. */
static void
growing(void)
{
	uint64_t nr_pages = ((uint64_t)4 << 20) / PAGE;
	volatile uint64_t *at = map(1, MAP_PRIVATE | MAP_STACK);
	volatile uint64_t *low = at - nr_pages * PAGE / 8;

	for (uint64_t i = 1; i <= nr_pages; i++)
		at[-(int64_t)(i * PAGE / 8)] = i;
	for (uint64_t i = 1; i <= nr_pages; i++)
		must(at[-(int64_t)(i * PAGE / 8)] == i);
	die(write_there, low - nr_pages * PAGE / 8, __LINE__);
	unmap(low, nr_pages + 1);
	say("init: a stack grew, and not beyond its limit: ok\n");
}

/* Code that is written, made executable, run, and written again. */
static void
running(void)
{
	volatile unsigned char *at =
	    (volatile unsigned char *)map(1, MAP_PRIVATE);
	volatile uint64_t *page = (volatile uint64_t *)(volatile void *)at;
	uint64_t (*code)(void) = (uint64_t (*)(void))(uintptr_t)at;

	for (unsigned i = 0; &code_42[i] != code_42_end; i++)
		at[i] = code_42[i];
	code_written(at, at + (code_42_end - code_42));
	die(run_there, page, __LINE__);
	protect(page, 1, PROT_READ | PROT_EXEC);
	must(code() == 42);
	die(write_there, page, __LINE__);
	if (fork() == 0)
		quit(code() == 42 ? 0 : 1);
	must(STATUS(wait()) == 0);
	unmap(page, 1);
	say("init: code written, made executable and run, here and in a "
	    "child: ok\n");
}

static void
moving(void)
{
	volatile uint64_t *at = map(8, MAP_PRIVATE), *there;
	uint64_t va;

	fill(at, 8, 9);
	there = map(32, MAP_PRIVATE);
	unmap(there, 32);
	va = syscall6(SYS_MREMAP, (uint64_t)(uintptr_t)at, 8 * PAGE, 16 * PAGE,
	    3, (uint64_t)(uintptr_t)there);
	must(va == (uint64_t)(uintptr_t)there);
	must(is_filled(there, 8, 9));
	must(*word(there, 8) == 0);
	die(read_there, at, __LINE__);
	unmap(there, 16);
	say("init: memory moved and grown, its old place is empty: ok\n");
}

static void
refusals(void)
{
	volatile uint64_t *at = map(1, MAP_PRIVATE);
	uint64_t va = (uint64_t)(uintptr_t)at;

	must(ERROR(map_at(0, (uint64_t)1 << 60, RW, MAP_PRIVATE)));
	must(ERROR(map_at(0, 0, RW, MAP_PRIVATE)));
	must(ERROR(map_at(va + 1, PAGE, RW, MAP_PRIVATE | MAP_FIXED)));
	must(ERROR(map_at((uint64_t)1 << 63, PAGE, RW,
	    MAP_PRIVATE | MAP_FIXED)));
	must(ERROR(map_at(0, PAGE, 64, MAP_PRIVATE)));
	must(ERROR(syscall6(SYS_MPROTECT, va, (uint64_t)-1, RW, 0, 0)));
	must(ERROR(syscall6(SYS_WRITE, 8, 8, 0, 0, 0)));
	must(ERROR(syscall6(NR_SYSCALLS, 0, 0, 0, 0, 0)));
	must(ERROR(wait()));
	unmap(at, 1);
	say("init: nonsense is refused: ok\n");
}

/* Where only five levels of tables lead. */
static void
high(void)
{
	uint64_t va = (uint64_t)1 << 50;
	volatile uint64_t *at = (volatile uint64_t *)(uintptr_t)va;

	if (map_at(va, 4 * PAGE, RW, MAP_PRIVATE | MAP_FIXED) != va)
		return;
	fill(at, 4, 11);
	if (fork() == 0) {
		must(is_filled(at, 4, 11));
		fill(at, 4, 12);
		quit(0);
	}
	must(STATUS(wait()) == 0);
	must(is_filled(at, 4, 11));
	protect(at, 1, PROT_READ);
	die(write_there, at, __LINE__);
	unmap(at, 4);
	die(read_there, at, __LINE__);
	say("init: memory above 2^47: ok\n");
}

/* Children on all CPUs, each with memory of its own and a shared tally. */
static void
crowd(void)
{
	volatile uint64_t *ours = map(1, MAP_SHARED);
	unsigned nr_cpus = 0;

	for (unsigned i = 0; i < 16; i++)
		if (fork() == 0) {
			volatile uint64_t *own = map(64, MAP_PRIVATE);

			for (unsigned n = 0; n < 4; n++) {
				fill(own, 64, i * 1000 + n);
				ours[16 + syscall6(SYS_CPU, 0, 0, 0, 0, 0)] = 1;
				(void)syscall6(SYS_YIELD, 0, 0, 0, 0, 0);
				must(is_filled(own, 64, i * 1000 + n));
			}
			(void)__atomic_add_fetch((uint64_t *)(uintptr_t)ours, 1,
			    __ATOMIC_SEQ_CST);
			quit(0);
		}
	for (unsigned i = 0; i < 16; i++)
		must(STATUS(wait()) == 0);
	must(ours[0] == 16);
	for (unsigned i = 0; i < 8; i++)
		nr_cpus += ours[16 + i] != 0;
	must(nr_cpus >= 1);
	unmap(ours, 1);
	say("init: sixteen children side by side: ok\n");
}

/* A child takes all there is; what it is refused kills it and nobody else. */
static void
exhaustion(void)
{
	uint64_t before = syscall6(SYS_FREE, 0, 0, 0, 0, 0);
	uint64_t after;

	if (fork() == 0) {
		volatile uint64_t *at = map(before + 64, MAP_PRIVATE);

		for (uint64_t i = 0; i < before + 64; i++)
			*word(at, i) = i;
		quit(0);
	}
	must(WAS_KILLED(wait()));
	after = syscall6(SYS_FREE, 0, 0, 0, 0, 0);
	must(after + 32 >= before);
	say("init: one takes all memory, is refused, and gives it back: ok\n");
}

int
main(void)
{
	zeros();
	copy_on_write();
	protection();
	growing();
	running();
	moving();
	refusals();
	high();
	crowd();
	exhaustion();
	return 0;
}
