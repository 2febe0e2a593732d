/* SPDX-License-Identifier: MIT
 *
 * examples/kernel/show.c: page tables to be looked at from outside
 *
 * WHAT    The word `show` on the command line: each CPU makes an address space
 *         with a long random history and takes it up, and the last one changes
 *         the kernel's half as well; then every translation that mmkit believes
 *         in is printed, one line a leaf, and all CPUs wait, for ever.
 *         tests/kernel/monitor reads the lines, asks the machine itself what its
 *         tables say, and compares.
 *
 *           show: regs CPU NAME=VALUE...
 *           show: leaf CPU VA PA PAGES FLAGS     in hex; FLAGS: MMK_PROT_*, ...
 *           show: leaf kernel VA PA PAGES FLAGS  of the kernel's half
 *           show: end
 *
 *         The first CPU's is a process, with its program, its forks' copies and
 *         holes; the others' are made by hand, large leaves and device memory
 *         too, and so is what comes to the kernel's half beside memory and image.
 */
#include "kernel.h"

#define NR_STEPS 1500u
#define NR_FRAMES 64u
#define NR_PLACES 1024u /* pages */
#define NR_LARGE 4u     /* places for large leaves, before the pages */
#define NR_REGIONS 24u
#define REGION_PAGES 40u

/* One CPU's. */
struct shown {
	struct mmk_pmap own;
	struct mmk_pmap *pmap; /* what it shows: own, a process's, the kernel's */
	mmk_va base_va;        /* where it is made by hand */
	struct mmk_frame *frames[NR_FRAMES];
	struct mmk_frame *large; /* NULL: too large for this machine */
	uint64_t state;
};

static struct shown shown[MMKIT_CPU_MAX], shown_kernel;
static struct mmk_space parent, child; /* CPU 0 */

static uint64_t
below(struct shown *self, uint64_t n)
{
	self->state ^= self->state << 13;
	self->state ^= self->state >> 7;
	self->state ^= self->state << 17;
	return (self->state >> 20) % n;
}

static uint64_t
large_bytes(void)
{
	return PAGE << (kernel_pmaps.shape.page_shift - 3u);
}

/* ---- by hand ------------------------------------------------------------------- */

/* Far up in the lower half, and somewhere else on each CPU. */
static mmk_va
base_of(unsigned cpu)
{
	return mmk_pt_va_limit(&kernel_pmaps.shape) / 4 * 3 +
	    ((mmk_va)cpu << 38);
}

static mmk_va
page_va(struct shown *self)
{
	return self->base_va + NR_LARGE * large_bytes() +
	    below(self, NR_PLACES) * PAGE;
}

/* The kernel's is not user mode's, and nothing is both written and executed. */
static unsigned
any_flags(struct shown *self)
{
	unsigned flags = (unsigned)below(self, 8);

	flags = (flags & MMK_PROT_ALL) == 0 ? MMK_PROT_READ : flags;
	if (self->pmap == &kernel_half) {
		flags &= (flags & MMK_PROT_WRITE) != 0 ? ~MMK_PROT_EXEC : ~0u;
		return flags | (below(self, 8) == 0 ? MMK_PMAP_WIRED : 0);
	}
	return flags | (below(self, 4) != 0 ? MMK_PMAP_USER : 0) |
	    (below(self, 8) == 0 ? MMK_PMAP_WIRED : 0);
}

/* Nobody looks there. On Arm with addresses of 52 bits the first six count. */
static mmk_pa
registers_pa(uint64_t n)
{
	const struct mmk_pt_shape *shape = &kernel_pmaps.shape;

	return shape->va_bits == 52 ? n << (shape->pa_bits - 6) | n * PAGE
	                            : UINT64_C(0xfe000000) + n * PAGE;
}

/* A frame of this CPU's; where it is device memory, a register's page. */
static void
enter_page(struct shown *self)
{
	mmk_va va = page_va(self);
	mmk_pa pa = mmk_frame_pa(&kernel_phys,
	    self->frames[below(self, NR_FRAMES)]);
	unsigned flags = any_flags(self);

	if (below(self, 16) == 0) {
		pa = registers_pa(below(self, 64));
		flags = (flags & ~MMK_PROT_EXEC) | MMK_PMAP_DEVICE |
		    MMK_PROT_READ;
	}
	CHECK(mmk_pmap_enter(self->pmap, va, pa, flags) == MMK_OK);
}

static void
enter_large(struct shown *self, uint64_t place)
{
	mmk_va va = self->base_va + place * large_bytes();
	uint64_t nr_pages = large_bytes() / PAGE, nr_done;
	unsigned flags = any_flags(self);

	if (self->large == NULL)
		return;
	for (uint64_t n = 0; n < nr_pages; n += nr_done)
		CHECK(mmk_pmap_enter_run(self->pmap, va + n * PAGE,
		          mmk_frame_pa(&kernel_phys, self->large) + n * PAGE,
		          nr_pages - n, flags, &nr_done) == MMK_OK);
	(void)mmk_pmap_promote(self->pmap, va);
}

/* Anywhere, pages and parts of large leaves alike. */
static void
take_away(struct shown *self)
{
	uint64_t end = NR_LARGE * large_bytes() / PAGE + NR_PLACES;
	uint64_t first = below(self, end), nr_pages = 1 + below(self, 24);
	mmk_va start_va = self->base_va + first * PAGE;
	struct mmk_gather gather;

	if (first + nr_pages > end)
		nr_pages = end - first;
	mmk_gather_init(&gather, &kernel_pmaps);
	if (below(self, 2) == 0)
		mmk_pmap_remove(self->pmap, start_va,
		    start_va + nr_pages * PAGE, &gather);
	else
		mmk_pmap_protect(self->pmap, start_va,
		    start_va + nr_pages * PAGE, (unsigned)below(self, 8),
		    &gather);
	mmk_gather_finish(&gather);
}

static void
change_by_hand(struct shown *self, struct mmk_pmap *pmap, mmk_va base_va)
{
	self->pmap = pmap;
	self->base_va = base_va;
	for (unsigned i = 0; i < NR_FRAMES; i++)
		CHECK(mmk_frame_alloc(&kernel_phys, 0, 0, MMK_USE_KERNEL,
		          &self->frames[i]) == MMK_OK);
	if (kernel_pmaps.shape.page_shift == 16 ||
	    mmk_frame_alloc(&kernel_phys, kernel_pmaps.shape.page_shift - 3u, 0,
	        MMK_USE_KERNEL, &self->large) != MMK_OK)
		self->large = NULL;
	for (unsigned i = 0; i < NR_STEPS; i++) {
		if (i % 100 == 0)
			enter_large(self, below(self, NR_LARGE));
		else if (below(self, 4) == 0)
			take_away(self);
		else
			enter_page(self);
	}
	/* Most of them are in pieces by now. */
	for (unsigned i = 0; i < NR_LARGE / 2; i++)
		enter_large(self, i);
}

static void
make_by_hand(struct shown *self, unsigned cpu)
{
	CHECK(mmk_pmap_init(&self->own, &kernel_pmaps, NULL) == MMK_OK);
	mmk_pmap_activate(&self->own, cpu);
	change_by_hand(self, &self->own, base_of(cpu));
}

/* ---- a process ------------------------------------------------------------------- */

static enum mmk_err
touch(struct mmk_space *space, mmk_va va, unsigned access)
{
	enum mmk_err err;

	do
		err = mmk_fault(&space->map, va, access);
	while (err == MMK_ERR_AGAIN);
	return err;
}

/* What is not allowed there is refused: some of it is meant. */
static void
live(struct shown *self, struct mmk_space *space, const mmk_va *regions)
{
	enum mmk_err err;

	for (unsigned i = 0; i < NR_STEPS; i++) {
		mmk_va region = regions[below(self, NR_REGIONS)];
		mmk_va va = region + below(self, REGION_PAGES) * PAGE;
		uint64_t bytes = region + REGION_PAGES * PAGE - va;

		bytes = below(self, 8) == 0 ? bytes : PAGE;
		switch (below(self, 16)) {
		case 0:
			err = mmk_discard(space, va, bytes);
			break;
		case 1:
			err = mmk_mprotect(space, va, bytes,
			    (unsigned)below(self, 8));
			break;
		case 2:
			err = mmk_munmap(space, va, PAGE);
			break;
		default:
			err = touch(space, va, 1u << below(self, 3));
		}
		CHECK(err != MMK_ERR_NOMEM && err != MMK_ERR_INVAL);
	}
}

static void
make_process(struct shown *self, const void *image, size_t bytes)
{
	mmk_va regions[NR_REGIONS];
	uint64_t pc, sp;

	CHECK(mmk_space_init(&parent, &kernel_vm, 0x10000,
	          mmk_pt_va_limit(&kernel_pmaps.shape) / 2) == MMK_OK);
	CHECK(elf_load(&parent, image, bytes, &pc, &sp) == MMK_OK);
	for (unsigned i = 0; i < NR_REGIONS; i++)
		CHECK(mmk_mmap(&parent, 0, REGION_PAGES * PAGE,
		          (unsigned)below(self, 8), MMK_PROT_ALL,
		          MMK_MAP_ANON | (i % 4 == 0 ? MMK_MAP_SHARED
		                                     : MMK_MAP_PRIVATE),
		          NULL, 0, &regions[i]) == MMK_OK);
	mmk_pmap_activate(&parent.map.pmap, 0);
	live(self, &parent, regions);
	CHECK(mmk_space_fork(&child, &parent) == MMK_OK);
	live(self, &parent, regions);
	live(self, &child, regions);
	CHECK(touch(&parent, pc, MMK_PROT_EXEC) == MMK_OK);
	CHECK(touch(&parent, sp - PAGE, MMK_PROT_WRITE) == MMK_OK);
	self->pmap = &parent.map.pmap;
}

/* ---- to be seen -------------------------------------------------------------------- */

static void
print_all(struct mmk_pmap *pmap, const char *whose)
{
	mmk_va va = pmap->base_va;
	struct mmk_translation at;

	while (mmk_pmap_covers(pmap, va) &&
	    mmk_pmap_next(pmap, va, pmap->end_va, &at)) {
		struct mmk_translation again;

		CHECK(mmk_pmap_query(pmap, at.va, &again) &&
		    again.pa == at.pa && again.flags == at.flags);
		CHECK(at.va % (at.nr_pages * PAGE) == 0);
		kprintf("show: leaf %s %lx %lx %x %x\n", whose, at.va, at.pa,
		    at.nr_pages, at.flags);
		va = at.va + at.nr_pages * PAGE;
	}
	CHECK(mmk_pmap_check(pmap));
}

void
show_run(unsigned cpu, const void *image, size_t bytes)
{
	struct shown *self = &shown[cpu];

	self->state = 88172645463325252u + cpu;
	/* One after the other: side by side they would wait for each other's
	 * locks, which takes long where there are more CPUs than cores. */
	for (unsigned turn = 0; turn < arch_cpu_count(); turn++) {
		if (turn == cpu && cpu == 0)
			make_process(self, image, bytes);
		else if (turn == cpu)
			make_by_hand(self, cpu);
		if (turn == cpu && cpu == arch_cpu_count() - 1) {
			shown_kernel.state = 88172645463325252u;
			change_by_hand(&shown_kernel, &kernel_half,
			    KERNEL_FREE_VA);
		}
		cpus_meet();
	}
	arch_show_registers(cpu);
	cpus_meet();
	for (unsigned i = 0; cpu == 0 && i < arch_cpu_count(); i++) {
		const char digit[] = { (char)('0' + i), '\0' };

		print_all(shown[i].pmap, digit);
	}
	if (cpu == 0) {
		print_all(&kernel_half, "kernel");
		kprintf("show: end\n");
	}
	/* The monitor may read as a kernel that opened its users' memory. */
	arch_open_user_memory(true);
	for (;;) {
		arch_interrupts(false);
		arch_cpu_idle();
	}
}
