/* SPDX-License-Identifier: MIT
 *
 * examples/kernel/torture.c: CPUs that read and write through translations while
 * one of them takes these away and gives the frames new owners
 *
 * WHAT    All CPUs share one pmap. The first maps frames at some addresses,
 *         marks each frame with the address it is at, takes it away, and as soon
 *         as mmkit says it is gone marks it as free and puts it elsewhere. The
 *         others read and write through the addresses all the time, and know
 *         what may be found there: a mark of this address, never of another and
 *         never of a free frame. A stale translation, on a real TLB, is a wrong
 *         mark, and ends the kernel.
 *
 *           word 0  the address, or FREE     written by the first CPU
 *           word n  written by CPU n: its own mark and the address
 *
 *         `fault=noflush` on the command line takes the flush away from under
 *         mmkit, to show that the torture sees it.
 */
#include "kernel.h"

/* As far up as there are levels for. */
#define BASE (mmk_pt_va_limit(&kernel_pmaps.shape) / 4)
#define NR_PLACES 16u
#define NR_FRAMES 24u
#ifndef ROUNDS
#define ROUNDS 3000u
#endif
#define FREE UINT64_C(0xfeeefeeefeeefeee)

static struct {
	struct mmk_pmap pmap;
	struct mmk_frame *frames[NR_FRAMES];
	int at[NR_PLACES];     /* which frame is there; -1: none */
	bool is_used[NR_FRAMES];
	unsigned is_over;      /* [a] */
	unsigned nr_reads;     /* [a] that found something */
	unsigned nr_writes;    /* [a] */
	bool without_flush;
	bool is_running;
} t;

static mmk_va
va_of(unsigned place)
{
	return BASE + place * PAGE;
}

static uint64_t *
words_of(unsigned frame)
{
	return (uint64_t *)mmk_frame_ptr(&kernel_phys, t.frames[frame]);
}

static unsigned
random_below(uint64_t *state, unsigned n)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return (unsigned)(*state >> 20) % n;
}

bool
torture_mends(uint64_t va, unsigned access)
{
	const struct mmk_pt_shape *shape = &kernel_pmaps.shape;

	if (!t.is_running || va >= mmk_pt_va_limit(shape) ||
	    (shape->hw_accessed && shape->hw_modified))
		return false;
	return mmk_pmap_emulate(&t.pmap, va, access);
}

/* ---- the one that changes ------------------------------------------------------ */

/* Everything a frame may show from now on. */
static void
mark(unsigned frame, uint64_t word)
{
	for (unsigned i = 0; i <= MMKIT_CPU_MAX; i++)
		MMKIT_ATOMIC_STORE(&words_of(frame)[i], word);
}

static void
put(unsigned place, uint64_t *state)
{
	unsigned frame = random_below(state, NR_FRAMES);
	mmk_pa pa;

	while (t.is_used[frame])
		frame = (frame + 1) % NR_FRAMES;
	t.is_used[frame] = true;
	t.at[place] = (int)frame;
	mark(frame, va_of(place));
	pa = mmk_frame_pa(&kernel_phys, t.frames[frame]);
	CHECK(mmk_pmap_enter(&t.pmap, va_of(place), pa,
	          MMK_PROT_READ | MMK_PROT_WRITE) == MMK_OK);
}

/* What a kernel without a flush does: the entry goes, the TLBs keep it. */
static void
take_without_flush(unsigned place)
{
	struct mmk_pmap_sys *sys = &kernel_pmaps;
	struct mmk_cpu_set cpus = t.pmap.cpus, fresh = t.pmap.fresh;
	struct mmk_gather gather;

	t.pmap.cpus.words[0] = 0;
	t.pmap.fresh.words[0] = 0;
	mmk_gather_init(&gather, sys);
	mmk_pmap_remove(&t.pmap, va_of(place), va_of(place) + PAGE, &gather);
	mmk_gather_finish(&gather);
	t.pmap.cpus = cpus;
	t.pmap.fresh = fresh;
}

static void
take(unsigned place, uint64_t *state)
{
	unsigned frame = (unsigned)t.at[place];
	struct mmk_gather gather;

	if (t.without_flush) {
		take_without_flush(place);
	} else if (random_below(state, 2) == 0) {
		mmk_page_remove_all(&kernel_pmaps, t.frames[frame]);
	} else {
		mmk_gather_init(&gather, &kernel_pmaps);
		mmk_pmap_remove(&t.pmap, va_of(place), va_of(place) + PAGE,
		    &gather);
		mmk_gather_finish(&gather);
	}
	/* Whoever writes there now writes into a free frame. */
	mark(frame, FREE);
	for (unsigned i = 0; i < 200; i++)
		for (unsigned n = 0; n <= MMKIT_CPU_MAX; n++)
			CHECK(MMKIT_ATOMIC_LOAD(&words_of(frame)[n]) == FREE);
	t.is_used[frame] = false;
	t.at[place] = -1;
}

/* With marks set by software each of their looks wants the pmap's lock too. */
static unsigned
nr_rounds(void)
{
	const struct mmk_pt_shape *shape = &kernel_pmaps.shape;

	return shape->hw_accessed && shape->hw_modified ? ROUNDS : ROUNDS / 10;
}

static void
change(void)
{
	uint64_t state = 88172645463325252u;

	for (unsigned i = 0; i < nr_rounds(); i++) {
		unsigned place = random_below(&state, NR_PLACES);

		if (t.at[place] < 0)
			put(place, &state);
		else
			take(place, &state);
	}
	MMKIT_ATOMIC_STORE(&t.is_over, 1u);
	for (unsigned place = 0; place < NR_PLACES; place++)
		if (t.at[place] >= 0)
			take(place, &state);
}

/* ---- the others ------------------------------------------------------------------ */

static void
look(unsigned cpu)
{
	uint64_t state = 0x9e3779b97f4a7c15u * (cpu + 1);
	uint64_t word;

	while (MMKIT_ATOMIC_LOAD(&t.is_over) == 0) {
		mmk_va va = va_of(random_below(&state, NR_PLACES));

		if (arch_try_load(va, &word)) {
			MMKIT_ATOMIC_ADD(&t.nr_reads, 1u);
			if (word != va) {
				kprintf("CPU %u read %lx at %lx\n", cpu, word,
				    va);
				kernel_panic("a stale translation was read "
				             "through");
			}
		}
		if (arch_try_store(va + 8 * cpu, va))
			MMKIT_ATOMIC_ADD(&t.nr_writes, 1u);
		/* Let the first CPU come to its locks, and to its core. */
		if (random_below(&state, 16) == 0)
			arch_cpu_nap(20);
	}
}

/* ---- all together ------------------------------------------------------------------ */

void
torture_prepare(bool without_flush)
{
	CHECK(mmk_pmap_init(&t.pmap, &kernel_pmaps, NULL) == MMK_OK);
	for (unsigned i = 0; i < NR_FRAMES; i++) {
		CHECK(mmk_frame_alloc(&kernel_phys, 0, 0, MMK_USE_KERNEL,
		          &t.frames[i]) == MMK_OK);
		mark(i, FREE);
	}
	for (unsigned i = 0; i < NR_PLACES; i++)
		t.at[i] = -1;
	t.without_flush = without_flush;
	t.is_running = true;
}

void
torture_run(unsigned cpu)
{
	mmk_pmap_activate(&t.pmap, cpu);
	cpus_meet();
	if (cpu == 0)
		change();
	else
		look(cpu);
	cpus_meet();
	mmk_pmap_deactivate(&t.pmap, cpu);
	cpus_meet();
}

void
torture_finish(void)
{
	t.is_running = false;
	CHECK(mmk_pmap_check(&t.pmap));
	mmk_pmap_fini(&t.pmap);
	for (unsigned i = 0; i < NR_FRAMES; i++)
		(void)mmk_frame_unref(&kernel_phys, t.frames[i]);
	CHECK(arch_cpu_count() == 1 || (t.nr_reads > 0 && t.nr_writes > 0));
	kprintf("kernel: torture: %u reads and %u writes beside %u changes, "
	        "%lu shootdowns: ok\n", t.nr_reads, t.nr_writes, nr_rounds(),
	    kernel_pmaps.nr_shootdowns);
}
