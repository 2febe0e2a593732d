/* SPDX-License-Identifier: MIT
 *
 * examples/kernel/torture.c: CPUs that read and write through translations while
 * one of them takes these away and gives the frames new owners
 *
 * WHAT    The first CPU maps frames at some addresses, marks each frame with the
 *         address it is at, takes it away, and as soon as mmkit says it is gone
 *         marks it as free and puts it elsewhere. The others read and write
 *         through the addresses all the time, and know what may be found there: a
 *         mark of this address, never of another and never of a free frame. A
 *         stale translation, on a real TLB, is a wrong mark, and ends the kernel.
 *
 *           word 0  the address, or FREE     written by the first CPU
 *           word n  written by CPU n: its own mark and the address
 *
 *         First all CPUs share one program's space, where this happens. Then it
 *         happens in the kernel's half, while the others go from space to space:
 *         to pages in a row, and to pages so far from each other that each takes
 *         its tables with it. What was a table is soon a page of what look like
 *         entries, all of them leading to a free frame.
 *
 *         `fault=noflush` on the command line, or `fault=noflush-kernel` for the
 *         kernel's half, takes the flush away from under mmkit, to show that the
 *         torture sees it.
 */
#include "kernel.h"

#define NR_PLACES 16u
#define NR_FRAMES 24u
#define NR_SPACES 4u
#define NR_BAITS 4u
#define TURN 32u /* looks in a space, about */
#ifndef ROUNDS
#define ROUNDS 3000u
#endif
#define FREE UINT64_C(0xfeeefeeefeeefeee)
#define RW (MMK_PROT_READ | MMK_PROT_WRITE)

/* Where it happens: [I] */
static const struct field {
	const char *name;
	bool is_kernel; /* in the kernel's half, and CPUs change their space */
	bool is_sparse; /* each page has tables of its own */
} fields[] = {
	{ "a program's pages", false, false },
	{ "the kernel's pages", true, false },
	{ "the kernel's tables", true, true },
};
#define NR_FIELDS (sizeof fields / sizeof fields[0])

/* Guards: [F] the first CPU's  [M] it changes while all CPUs meet */
static struct {
	const struct field *field;          /* [M] */
	struct mmk_pmap *pmap;              /* [M] where it happens */
	struct mmk_pmap spaces[NR_SPACES];
	struct mmk_frame *own[NR_SPACES];   /* at own_va() in each */
	struct mmk_frame *frames[NR_FRAMES];
	struct mmk_frame *baits[NR_BAITS];  /* [F] */
	struct mmk_frame *trap;             /* where baits lead: always FREE */
	int at[NR_PLACES];         /* [F] which frame is there; -1: none */
	bool is_wired[NR_PLACES];  /* [F] entered by kenter */
	bool is_used[NR_FRAMES];   /* [F] */
	unsigned is_over;          /* [a] */
	unsigned nr_reads;         /* [a] that found something */
	unsigned nr_writes;        /* [a] */
	unsigned nr_spaces;        /* [a] how often one was taken up */
	bool without_flush;        /* in a program's space */
	bool without_kernel_flush;
	bool is_running;
} t;

static uint64_t
table_bytes(unsigned level)
{
	unsigned page_shift = kernel_pmaps.shape.page_shift;

	return PAGE << (level + 1) * (page_shift - 3);
}

/* As far up as there are levels for. */
static mmk_va
va_of(unsigned place)
{
	mmk_va base_va = t.field->is_kernel
	    ? KERNEL_FREE_VA : mmk_pt_va_limit(&kernel_pmaps.shape) / 4;
	uint64_t stride_bytes = t.field->is_sparse
	    ? table_bytes(1) + table_bytes(0) + PAGE : PAGE;

	return base_va + place * stride_bytes;
}

/* The same in each space, with another page. */
static mmk_va
own_va(void)
{
	return mmk_pt_va_limit(&kernel_pmaps.shape) / 8;
}

static uint64_t *
words_of(const struct mmk_frame *frame)
{
	return (uint64_t *)mmk_frame_ptr(&kernel_phys, frame);
}

static unsigned
random_below(uint64_t *state, unsigned n)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return (unsigned)(*state >> 20) % n;
}

/* In the spaces nothing but the field is ever changed. */
bool
torture_mends(uint64_t va, unsigned access)
{
	const struct mmk_pt_shape *shape = &kernel_pmaps.shape;

	if (!t.is_running || !mmk_pmap_covers(t.pmap, va) ||
	    (shape->hw_accessed && shape->hw_modified))
		return false;
	return mmk_pmap_emulate(t.pmap, va, access);
}

/* ---- the one that changes ------------------------------------------------------ */

static struct mmk_frame *
new_frame(void)
{
	struct mmk_frame *frame;

	CHECK(mmk_frame_alloc(&kernel_phys, 0, 0, MMK_USE_KERNEL, &frame) ==
	    MMK_OK);
	return frame;
}

/* Everything a frame may show from now on. */
static void
mark(const struct mmk_frame *frame, uint64_t word)
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
	t.is_wired[place] =
	    t.field->is_kernel && random_below(state, 2) == 0;
	mark(t.frames[frame], va_of(place));
	pa = mmk_frame_pa(&kernel_phys, t.frames[frame]);
	CHECK((t.is_wired[place]
	              ? mmk_pmap_kenter(t.pmap, va_of(place), pa, 1, RW)
	              : mmk_pmap_enter(t.pmap, va_of(place), pa, RW)) == MMK_OK);
}

static void
remove(unsigned place)
{
	struct mmk_gather gather;

	mmk_gather_init(&gather, &kernel_pmaps);
	mmk_pmap_remove(t.pmap, va_of(place), va_of(place) + PAGE, &gather);
	mmk_gather_finish(&gather);
}

/* What a kernel without a flush does: the entry goes, the TLBs keep it. For a
 * moment no CPU seems to have the pmap: let none change its space. */
static void
remove_without_flush(unsigned place)
{
	struct mmk_cpu_set cpus = t.pmap->cpus, fresh = t.pmap->fresh;

	t.pmap->cpus.words[0] = 0;
	t.pmap->fresh.words[0] = 0;
	remove(place);
	t.pmap->cpus = cpus;
	t.pmap->fresh = fresh;
}

/* The last frame that was freed, which may have been a table, is another one's. */
static void
lay_bait(unsigned nr)
{
	const struct mmk_pt_shape *shape = &kernel_pmaps.shape;
	struct mmk_frame **bait = &t.baits[nr % NR_BAITS];
	uint64_t pte = mmk_pt_make_leaf(shape, 0,
	    mmk_frame_pa(&kernel_phys, t.trap), RW | MMK_PMAP_ACCESSED |
	        MMK_PMAP_MODIFIED | MMK_PMAP_GLOBAL);

	if (*bait != NULL)
		(void)mmk_frame_unref(&kernel_phys, *bait);
	*bait = new_frame();
	for (unsigned i = 0; i < PAGE / 8; i++)
		words_of(*bait)[i] = pte;
}

static void
take(unsigned place, uint64_t *state)
{
	struct mmk_frame *frame = t.frames[t.at[place]];

	if (t.field->is_kernel ? t.without_kernel_flush : t.without_flush)
		remove_without_flush(place);
	else if (t.is_wired[place])
		mmk_pmap_kremove(t.pmap, va_of(place), 1);
	else if (random_below(state, 2) == 0)
		mmk_page_remove_all(&kernel_pmaps, frame);
	else
		remove(place);
	/* Whoever writes there now writes into a free frame. */
	mark(frame, FREE);
	for (unsigned i = 0; i < 200; i++)
		for (unsigned n = 0; n <= MMKIT_CPU_MAX; n++)
			CHECK(MMKIT_ATOMIC_LOAD(&words_of(frame)[n]) == FREE);
	t.is_used[t.at[place]] = false;
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
		if (t.field->is_sparse)
			lay_bait(i);
	}
	MMKIT_ATOMIC_STORE(&t.is_over, 1u);
	for (unsigned place = 0; place < NR_PLACES; place++)
		if (t.at[place] >= 0)
			take(place, &state);
}

/* ---- the others ------------------------------------------------------------------ */

static void
look_at(unsigned cpu, mmk_va va)
{
	uint64_t word;

	if (arch_try_load(va, &word)) {
		MMKIT_ATOMIC_ADD(&t.nr_reads, 1u);
		if (word != va) {
			kprintf("CPU %u read %lx at %lx\n", cpu, word, va);
			kernel_panic("a stale translation was read through");
		}
	}
	if (arch_try_store(va + 8 * cpu, va))
		MMKIT_ATOMIC_ADD(&t.nr_writes, 1u);
}

/* From one space to another, which must be that one. */
static unsigned
change_space(unsigned cpu, unsigned space, uint64_t *state)
{
	uint64_t word;

	mmk_pmap_deactivate(&t.spaces[space], cpu);
	if (random_below(state, 2) == 0) /* in none of them */
		look_at(cpu, va_of(random_below(state, NR_PLACES)));
	space = random_below(state, NR_SPACES);
	mmk_pmap_activate(&t.spaces[space], cpu);
	MMKIT_ATOMIC_ADD(&t.nr_spaces, 1u);
	CHECK(arch_try_load(own_va(), &word));
	if (word != space)
		kernel_panic("a stale translation of another space");
	return space;
}

/* Returns the space it is in. */
static unsigned
look(unsigned cpu)
{
	uint64_t state = 0x9e3779b97f4a7c15u * (cpu + 1);
	unsigned space = 0;

	while (MMKIT_ATOMIC_LOAD(&t.is_over) == 0) {
		look_at(cpu, va_of(random_below(&state, NR_PLACES)));
		if (t.field->is_kernel && !t.without_kernel_flush &&
		    random_below(&state, TURN) == 0)
			space = change_space(cpu, space, &state);
		/* Let the first CPU come to its locks, and to its core. */
		if (random_below(&state, 16) == 0)
			arch_cpu_nap(20);
	}
	return space;
}

/* ---- all together ------------------------------------------------------------------ */

static void
begin(const struct field *field)
{
	t.field = field;
	t.pmap = field->is_kernel ? &kernel_half : &t.spaces[0];
	t.nr_reads = t.nr_writes = t.nr_spaces = 0;
	t.is_over = 0;
	kernel_pmaps.nr_shootdowns = 0;
}

static void
end(void)
{
	CHECK(mmk_pmap_check(t.pmap));
	CHECK(arch_cpu_count() == 1 || (t.nr_reads > 0 && t.nr_writes > 0));
	CHECK(arch_cpu_count() == 1 || !t.field->is_kernel || t.nr_spaces > 0);
	kprintf("kernel: torture: %s: %u reads, %u writes and %u turns to "
	        "another space beside %u changes, %lu shootdowns: ok\n",
	    t.field->name, t.nr_reads, t.nr_writes, t.nr_spaces, nr_rounds(),
	    kernel_pmaps.nr_shootdowns);
}

void
torture_prepare(bool without_flush, bool without_kernel_flush)
{
	for (unsigned i = 0; i < NR_SPACES; i++) {
		CHECK(mmk_pmap_init(&t.spaces[i], &kernel_pmaps, NULL) ==
		    MMK_OK);
		t.own[i] = new_frame();
		words_of(t.own[i])[0] = i;
		CHECK(mmk_pmap_enter(&t.spaces[i], own_va(),
		          mmk_frame_pa(&kernel_phys, t.own[i]),
		          MMK_PROT_READ | MMK_PMAP_WIRED | MMK_PMAP_ACCESSED) ==
		    MMK_OK);
	}
	for (unsigned i = 0; i < NR_FRAMES; i++) {
		t.frames[i] = new_frame();
		mark(t.frames[i], FREE);
	}
	t.trap = new_frame();
	mark(t.trap, FREE);
	for (unsigned i = 0; i < NR_PLACES; i++)
		t.at[i] = -1;
	t.without_flush = without_flush;
	t.without_kernel_flush = without_kernel_flush;
	begin(&fields[0]);
	t.is_running = true;
}

void
torture_run(unsigned cpu)
{
	for (unsigned i = 0; i < NR_FIELDS; i++) {
		unsigned space = 0;

		if (cpu == 0)
			begin(&fields[i]);
		cpus_meet();
		mmk_pmap_activate(&t.spaces[0], cpu);
		cpus_meet();
		if (cpu == 0)
			change();
		else
			space = look(cpu);
		cpus_meet();
		mmk_pmap_deactivate(&t.spaces[space], cpu);
		cpus_meet();
		if (cpu == 0)
			end();
	}
}

void
torture_finish(void)
{
	t.is_running = false;
	for (unsigned i = 0; i < NR_SPACES; i++) {
		mmk_page_remove_all(&kernel_pmaps, t.own[i]);
		(void)mmk_frame_unref(&kernel_phys, t.own[i]);
		CHECK(mmk_pmap_check(&t.spaces[i]));
		mmk_pmap_fini(&t.spaces[i]);
	}
	for (unsigned i = 0; i < NR_FRAMES; i++)
		(void)mmk_frame_unref(&kernel_phys, t.frames[i]);
	for (unsigned i = 0; i < NR_BAITS; i++)
		if (t.baits[i] != NULL)
			(void)mmk_frame_unref(&kernel_phys, t.baits[i]);
	(void)mmk_frame_unref(&kernel_phys, t.trap);
}
