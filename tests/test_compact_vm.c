/* SPDX-License-Identifier: MIT
 *
 * tests/test_compact_vm.c: the pages of programs move, and no program notices
 */
#include "prop.h"
#include "vm_fixture.h"

#include <pthread.h>

#define NR_PAGES 1400u

static struct vm_file f;
static struct mmk_object *file;

static struct mmk_compaction
ready_to_pay(uint64_t max_moves)
{
	return (struct mmk_compaction){ .max_moves = max_moves };
}

/* Both formats, with a vm whose pages may move. */
static void
both(void (*body)(void))
{
	static const unsigned archs[] = { SIM_ARCH_X86_64, SIM_ARCH_AARCH64 };

	for (size_t i = 0; i < 2; i++) {
		vm_boot(archs[i]);
		mmk_vm_set_movable(&t.vm, true);
		vm_space(0);
		body();
		vm_end();
	}
}

/* The frame at va of space i is asked for. */
static enum mmk_err
take_from(unsigned i, mmk_va va, mmk_pfn *pfn_out)
{
	struct mmk_compaction effort = ready_to_pay(16);
	struct mmk_run_request request = { .nr_pages = 1,
		.use = MMK_USE_KERNEL };

	request.lo_pa = vm_pa(i, va);
	request.limit_pa = request.lo_pa + PAGE;
	return mmk_compact_run(&t.phys, &effort, &request, pfn_out);
}

/* It moves; the frame it was in is overwritten and given back. */
static void
move(unsigned i, mmk_va va)
{
	mmk_pa pa = vm_pa(i, va);
	mmk_pfn pfn;

	cr_assert_eq(take_from(i, va, &pfn), MMK_OK);
	cr_assert_eq(mmk_pa_of_pfn(pfn), pa);
	cr_assert_eq(vm_pa(i, va), UINT64_MAX, "the old translation is gone");
	memset(MMKIT_PHYS_TO_PTR(pa), 0xee, PAGE);
	mmk_run_free(&t.phys, pfn, 1);
}

static void
stays(unsigned i, mmk_va va)
{
	mmk_pa pa = vm_pa(i, va);
	mmk_pfn pfn;
	enum mmk_err err = take_from(i, va, &pfn);

	cr_assert(err == MMK_ERR_BUSY || err == MMK_ERR_NOSPACE, "%s",
	    mmk_err_name(err));
	cr_assert_eq(mmk_frame_of_pa(&t.phys, pa)->flags & MMK_FRAME_CLAIMED,
	    0);
	cr_assert(mmk_phys_check(&t.phys));
}

/* ---- many pages -------------------------------------------------------- */

static mmk_va
va_of(unsigned n)
{
	return VA + n * PAGE;
}

static unsigned char
content(unsigned n)
{
	return (unsigned char)(n * 7 + n / 256 + 1);
}

static void
fill_page(unsigned n)
{
	unsigned char bytes[256];

	memset(bytes, content(n), sizeof bytes);
	for (uint64_t at = 0; at < PAGE; at += sizeof bytes)
		cr_assert_eq(vm_store(0, va_of(n) + at, bytes, sizeof bytes),
		    0);
}

static bool
page_is_intact(unsigned n)
{
	unsigned char bytes[256];

	for (uint64_t at = 0; at < PAGE; at += sizeof bytes) {
		cr_assert_eq(vm_load(0, va_of(n) + at, bytes, sizeof bytes),
		    0);
		for (unsigned k = 0; k < sizeof bytes; k++)
			if (bytes[k] != content(n))
				return false;
	}
	return true;
}

static void
body_checkerboard(void)
{
	struct mmk_compaction effort = ready_to_pay(1 << 20);
	static mmk_pa was[NR_PAGES];
	struct mmk_frame *block = NULL, *walls = NULL, *wall;
	unsigned nr_moved = 0;

	vm_anon(0, VA, NR_PAGES);
	for (unsigned n = 0; n < NR_PAGES; n++)
		fill_page(n);
	/* What programs do not have the kernel has, but for the holes. */
	while (mmk_frame_alloc(&t.phys, 0, 0, MMK_USE_KERNEL, &wall) ==
	    MMK_OK) {
		wall->owner = walls;
		walls = wall;
	}
	for (unsigned n = 0; n < NR_PAGES; n++) {
		was[n] = vm_pa(0, va_of(n));
		if (mmk_pfn_of_pa(was[n]) % 2 != 0) {
			cr_assert_eq(mmk_discard(vm_sp(0), va_of(n), PAGE),
			    MMK_OK);
			was[n] = UINT64_MAX;
		}
	}
	mmk_phys_drain(&t.phys);
	cr_assert_eq(mmk_frame_alloc(&t.phys, 6, 0, MMK_USE_KERNEL, &block),
	    MMK_ERR_NOMEM);
	cr_assert_eq(mmk_compact_frame(&t.phys, &effort, 6, MMK_ALLOC_ZERO,
	    MMK_USE_KERNEL, &block), MMK_OK);
	cr_assert_eq(vm_count(MMK_COUNT_PAGE_MOVE), effort.nr_moves);
	memset(mmk_frame_ptr(&t.phys, block), 0xee, 64 * PAGE);
	for (unsigned n = 0; n < NR_PAGES; n++) {
		if (was[n] == UINT64_MAX ||
		    mmk_frame_of_pa(&t.phys, was[n]) != block)
			continue;
		cr_assert_eq(vm_pa(0, va_of(n)), UINT64_MAX,
		    "no entry leads to the old frame");
		nr_moved++;
	}
	cr_assert_eq(nr_moved, effort.nr_moves);
	for (unsigned n = 0; n < NR_PAGES; n++)
		cr_assert(was[n] == UINT64_MAX || page_is_intact(n), "page %u",
		    n);
	cr_assert(mmk_check(&t.vm));
	(void)mmk_frame_unref(&t.phys, block);
	while (walls != NULL) {
		wall = walls;
		walls = wall->owner;
		(void)mmk_frame_unref(&t.phys, wall);
	}
}

Test(compact_vm, S1_18_programs_live_on_while_memory_is_compacted)
{
	both(body_checkerboard);
}

/* ---- a zone ------------------------------------------------------------ */

static void
body_zone(void)
{
	struct mmk_compaction effort = ready_to_pay(1 << 20);
	struct mmk_frame *dma = NULL;
	unsigned nr = 0;

	/* Programs have all that there is, zone LOW as the last of it. */
	vm_anon(0, VA, 4 * NR_PAGES);
	while (vm_access(0, va_of(nr), MMK_PROT_WRITE) == MMK_OK)
		fill_page(nr++);
	cr_assert_eq(t.last_err, MMK_ERR_NOMEM);
	for (unsigned n = 0; n < nr; n += 7)
		if (vm_pa(0, va_of(n)) >= vm_low_limit_pa)
			cr_assert_eq(mmk_discard(vm_sp(0), va_of(n), PAGE),
			    MMK_OK);
	cr_assert_eq(mmk_frame_alloc(&t.phys, 4, MMK_ALLOC_LOW,
	    MMK_USE_KERNEL, &dma), MMK_ERR_NOMEM);
	cr_assert_eq(mmk_compact_frame(&t.phys, &effort, 4, MMK_ALLOC_LOW,
	    MMK_USE_KERNEL, &dma), MMK_OK);
	cr_assert_leq(mmk_frame_pa(&t.phys, dma) + 16 * PAGE,
	    vm_low_limit_pa);
	cr_assert_gt(effort.nr_moves, 0);
	memset(mmk_frame_ptr(&t.phys, dma), 0xee, 16 * PAGE);
	for (unsigned n = 0; n < nr; n++)
		cr_assert(vm_get(0, va_of(n)) == 0 || page_is_intact(n));
	for (unsigned n = 1; n < 7; n++)
		cr_assert(page_is_intact(n));
	(void)mmk_frame_unref(&t.phys, dma);
}

Test(compact_vm, S1_19_programs_move_out_of_the_zone_for_devices)
{
	vm_low_limit_pa = (mmk_pa)2 << 20;
	both(body_zone);
	vm_low_limit_pa = 0;
}

/* ---- one page ---------------------------------------------------------- */

static void
body_every_cpu(void)
{
	vm_anon(0, VA, 1);
	vm_put(0, VA, 'a');
	vm_run(1, 0); /* both CPUs know it */
	for (unsigned cpu = 0; cpu < 2; cpu++) {
		unsigned char byte = 0;

		cr_assert_eq(sim_load(cpu, VA, &byte, 1), 0);
		cr_assert_eq(byte, 'a');
	}
	move(0, VA);
	for (unsigned cpu = 0; cpu < 2; cpu++) {
		unsigned char byte = 0;

		sim_set_cpu(cpu);
		cr_assert_eq(sim_load(cpu, VA, &byte, 1), 0);
		cr_assert_eq(byte, 'a', "CPU %u", cpu);
	}
	vm_put(0, VA, 'b');
	move(0, VA);
	cr_assert_eq(vm_get(0, VA), 'b');
}

Test(compact_vm, S1_18_every_cpu_loses_the_old_translation)
{
	both(body_every_cpu);
}

static void
body_forked(void)
{
	vm_anon(0, VA, 1);
	vm_put(0, VA, 'a');
	vm_fork(1, 0);
	cr_assert_eq(vm_get(1, VA), 'a');
	cr_assert_eq(vm_get(0, VA), 'a');
	move(0, VA);
	cr_assert_eq(vm_pa(1, VA), UINT64_MAX);
	cr_assert_eq(vm_get(1, VA), 'a');
	cr_assert_eq(vm_get(0, VA), 'a');
	cr_assert_eq(vm_pa(0, VA), vm_pa(1, VA), "still one frame");
	vm_put(1, VA, 'b');
	cr_assert_eq(vm_get(0, VA), 'a');
	move(1, VA);
	move(0, VA);
	cr_assert_eq(vm_get(0, VA), 'a');
	cr_assert_eq(vm_get(1, VA), 'b');
}

Test(compact_vm, a_page_shared_by_fork_moves_for_both)
{
	both(body_forked);
}

static void
body_file(void)
{
	uint64_t nr_reads;

	file = vm_file(&f, 3 * PAGE + 100);
	vm_mmap(0, VA, 4, RW, MMK_MAP_SHARED | MMK_MAP_FIXED, file, 0);
	cr_assert_eq(vm_get(0, VA), 'a');
	cr_assert_eq(vm_get(0, VA + PAGE), 'b');
	nr_reads = f.nr_reads;
	vm_put(0, VA + PAGE, 'x');
	move(0, VA + PAGE);
	/* That it was written is not forgotten. */
	cr_assert_eq(mmk_msync(vm_sp(0), VA, 4 * PAGE), MMK_OK);
	cr_assert_eq(f.bytes[PAGE], 'x');
	cr_assert_eq(f.nr_writes, 1);
	move(0, VA);
	cr_assert_eq(mmk_msync(vm_sp(0), VA, 4 * PAGE), MMK_OK);
	cr_assert_eq(f.nr_writes, 1, "nor is that it was not");
	cr_assert_eq(vm_get(0, VA), 'a');
	cr_assert_eq(f.nr_reads, nr_reads, "the pager is not asked again");
	mmk_object_unref(file);
}

Test(compact_vm, file_pages_move_with_their_marks)
{
	both(body_file);
}

static void
body_sharers(void)
{
	struct mmk_anon *a = mmk_anon_create_resident(&t.vm, MMK_ALLOC_ZERO);
	struct mmk_anon *b = mmk_anon_create(&t.vm);
	struct mmk_frame *from = a->frame, *to;

	mmk_frame_ref(&t.phys, from);
	mmk_anon_attach(b, from);
	*(uint64_t *)mmk_frame_ptr(&t.phys, from) = 42;
	cr_assert_eq(mmk_frame_alloc(&t.phys, 0, 0, MMK_USE_ANON, &to),
	    MMK_OK);
	cr_assert_eq(mmk_frame_isolate(&t.phys, from), MMK_OK);
	cr_assert_eq(mmk_frame_move(&t.phys, from, to), MMK_OK);
	cr_assert_eq(mmk_frame_unref(&t.phys, from), 0);
	cr_assert_eq(a->frame, to);
	cr_assert_eq(b->frame, to);
	cr_assert_eq(to->refs, 2);
	cr_assert_eq(*(uint64_t *)mmk_frame_ptr(&t.phys, to), 42);
	cr_assert_eq((a->flags | b->flags) & MMK_ANON_BUSY, 0);
	MMKIT_LOCK(&t.vm.lock);
	mmk_anon_unref(&t.vm, a);
	mmk_anon_unref(&t.vm, b);
	MMKIT_UNLOCK(&t.vm.lock);
}

Test(compact_vm, all_anons_of_a_frame_learn_of_it)
{
	both(body_sharers);
}

/* ---- what stays -------------------------------------------------------- */

static struct mmk_anon *
anon_at(mmk_va va)
{
	struct mmk_entry *entry;
	struct mmk_anon *anon;

	MMKIT_MUTEX_LOCK(&vm_map(0)->mutex);
	entry = mmk_map_lookup(vm_map(0), va);
	anon = mmk_amap_lookup(entry->upper.object->amap,
	    mmk_entry_page(entry, &entry->upper, va));
	MMKIT_MUTEX_UNLOCK(&vm_map(0)->mutex);
	return anon;
}

static void
body_stays(void)
{
	struct mmk_frame *frame;
	struct mmk_anon *anon;
	mmk_pa pa;

	vm_anon(0, VA, 2);
	vm_put(0, VA, 'a');
	cr_assert_eq(vm_get(0, VA + PAGE), 0);
	stays(0, VA + PAGE); /* the page of zeros */
	frame = vm_frame(0, VA);
	pa = vm_pa(0, VA);
	anon = anon_at(VA);

	mmk_frame_ref(&t.phys, frame); /* a driver's */
	stays(0, VA);
	(void)mmk_frame_unref(&t.phys, frame);

	anon->flags |= MMK_ANON_BUSY; /* on its way in or out */
	stays(0, VA);
	anon->flags &= ~MMK_ANON_BUSY;

	frame->loans = 1;
	stays(0, VA);
	frame->loans = 0;

	cr_assert_eq(mmk_pmap_enter(&vm_map(0)->pmap, VA, pa, RW |
	    MMK_PMAP_USER | MMK_PMAP_WIRED), MMK_OK);
	stays(0, VA);
	cr_assert_eq(vm_pa(0, VA), pa, "not even unmapped");
	mmk_pmap_unwire(&vm_map(0)->pmap, VA);

	mmk_vm_set_movable(&t.vm, false);
	stays(0, VA);
	mmk_vm_set_movable(&t.vm, true);

	cr_assert_eq(frame->refs, 1);
	cr_assert_eq(vm_get(0, VA), 'a');
	cr_assert_eq(vm_pa(0, VA), pa);
	move(0, VA);
}

Test(compact_vm, what_somebody_relies_on_stays)
{
	both(body_stays);
}

static void
body_pin(void)
{
	struct mmk_compaction effort = ready_to_pay(16);
	struct mmk_run_request request = { .nr_pages = 1,
		.use = MMK_USE_KERNEL };
	struct mmk_pins pins;
	struct mmk_pin pin;
	mmk_pfn pfn;
	mmk_pa pa;

	mmk_pins_init(&pins, &t.phys, 1000);
	effort.pins = &pins;
	vm_anon(0, VA, 1);
	vm_put(0, VA, 'a');
	pa = vm_pa(0, VA);
	request.lo_pa = pa;
	request.limit_pa = pa + PAGE;
	sim_set_clock_ns(50);
	cr_assert_eq(mmk_pin_begin(&pins, vm_frame(0, VA), 100, &pin), MMK_OK);
	cr_assert_eq(mmk_compact_run(&t.phys, &effort, &request, &pfn),
	    MMK_ERR_NOSPACE);
	sim_set_clock_ns(149);
	cr_assert_eq(mmk_compact_run(&t.phys, &effort, &request, &pfn),
	    MMK_ERR_NOSPACE);
	cr_assert_eq(vm_pa(0, VA), pa);
	sim_set_clock_ns(150);
	cr_assert_eq(mmk_compact_run(&t.phys, &effort, &request, &pfn),
	    MMK_OK);
	cr_assert_eq(mmk_pa_of_pfn(pfn), pa);
	cr_assert_eq(vm_get(0, VA), 'a');
	mmk_run_free(&t.phys, pfn, 1);

	/* The program goes; the device writes on into memory that is nobody's. */
	cr_assert_eq(mmk_pin_begin(&pins, vm_frame(0, VA), 100, &pin), MMK_OK);
	pa = vm_pa(0, VA);
	vm_munmap(0, VA, 1);
	cr_assert(mmk_frame_is_held(mmk_frame_of_pa(&t.phys, pa)));
	memset(MMKIT_PHYS_TO_PTR(pa), 0xdd, PAGE);
	cr_assert(mmk_pin_end(&pins, &pin));
	cr_assert_not(mmk_frame_is_held(mmk_frame_of_pa(&t.phys, pa)));
	mmk_pins_fini(&pins);
}

Test(compact_vm, S1_20_a_pinned_page_of_a_program_moves_when_the_pin_is_over)
{
	both(body_pin);
}

/* ---- what another CPU does between the flush and the copy -------------- */

static void (*intrude)(void); /* once, when the flush is under way */

static void
at_invalidate(void *ctx, struct mmk_pmap *pmap, uint64_t start_va,
    uint64_t end_va)
{
	void (*what)(void) = intrude;

	(void)ctx;
	(void)pmap;
	if (what == NULL || VA < start_va || VA >= end_va)
		return;
	intrude = NULL;
	what();
}

static void
arm(void (*what)(void))
{
	intrude = what;
	sim_on_invalidate(at_invalidate, NULL);
}

static struct mmk_frame *intruded;

static void
cut_the_file(void)
{
	mmk_file_resize(file, 100);
}

static void
body_cut(void)
{
	file = vm_file(&f, PAGE);
	vm_mmap(0, VA, 1, RW, MMK_MAP_SHARED | MMK_MAP_FIXED, file, 0);
	cr_assert_eq(vm_get(0, VA + 200), 'a');
	arm(cut_the_file);
	move(0, VA);
	cr_assert_null(intrude);
	cr_assert_eq(vm_get(0, VA + 99), 'a');
	cr_assert_eq(vm_get(0, VA + 200), 0, "what was cut off is zero");
	mmk_object_unref(file);
}

Test(compact_vm, a_file_cut_meanwhile_ends_in_zeros)
{
	both(body_cut);
}

static void
pin_it(void)
{
	cr_assert_eq(mmk_frame_pin(&t.phys, intruded), MMK_OK);
}

static void
body_late_pin(void)
{
	mmk_pa pa;

	vm_anon(0, VA, 1);
	vm_put(0, VA, 'a');
	pa = vm_pa(0, VA);
	intruded = vm_frame(0, VA);
	arm(pin_it);
	stays(0, VA);
	cr_assert_null(intrude);
	cr_assert_eq(vm_get(0, VA), 'a');
	cr_assert_eq(vm_pa(0, VA), pa);
	mmk_frame_unpin(&t.phys, intruded);
	cr_assert_eq(vm_get(0, VA), 'a');
	move(0, VA);
	cr_assert_eq(vm_get(0, VA), 'a');
}

Test(compact_vm, a_pin_that_comes_meanwhile_is_respected)
{
	both(body_late_pin);
}

static void
unmap_it(void)
{
	vm_munmap(0, VA, 1);
}

static void
body_unmapped(void)
{
	mmk_pfn pfn;
	mmk_pa pa;

	vm_anon(0, VA, 2);
	vm_put(0, VA, 'a');
	vm_put(0, VA + PAGE, 'b');
	pa = vm_pa(0, VA);
	arm(unmap_it);
	cr_assert_eq(take_from(0, VA, &pfn), MMK_OK);
	cr_assert_null(intrude);
	cr_assert_eq(mmk_pa_of_pfn(pfn), pa);
	cr_assert_eq(vm_nr_anon_pages(), 1, "the moved page is gone too");
	mmk_run_free(&t.phys, pfn, 1);
	cr_assert_eq(vm_get(0, VA + PAGE), 'b');
}

Test(compact_vm, a_page_unmapped_meanwhile_is_freed)
{
	both(body_unmapped);
}

static void
reference_it(void)
{
	mmk_frame_ref(&t.phys, intruded);
}

static void
body_late_reference(void)
{
	mmk_pa pa;

	vm_anon(0, VA, 1);
	vm_put(0, VA, 'a');
	pa = vm_pa(0, VA);
	intruded = vm_frame(0, VA);
	arm(reference_it);
	stays(0, VA);
	cr_assert_eq(vm_get(0, VA), 'a');
	cr_assert_eq(vm_pa(0, VA), pa);
	(void)mmk_frame_unref(&t.phys, intruded);
}

Test(compact_vm, a_reference_that_comes_meanwhile_is_respected)
{
	both(body_late_reference);
}

/* ---- failures ---------------------------------------------------------- */

static void
every_k_setup(void)
{
	mmk_vm_set_movable(&t.vm, true);
	vm_anon(0, VA, 8);
	for (unsigned n = 0; n < 8; n++)
		fill_page(n);
}

static enum mmk_err
every_k_op(void)
{
	struct mmk_compaction effort = ready_to_pay(64);
	struct mmk_run_request request = { .nr_pages = 1,
		.use = MMK_USE_KERNEL };
	mmk_pfn pfn;
	enum mmk_err err;

	for (unsigned n = 0; n < 8; n++) {
		request.lo_pa = vm_pa(0, va_of(n));
		request.limit_pa = request.lo_pa + PAGE;
		if (request.lo_pa == UINT64_MAX) /* moved, the time before */
			continue;
		err = mmk_compact_run(&t.phys, &effort, &request, &pfn);
		if (err != MMK_OK)
			return err;
		mmk_run_free(&t.phys, pfn, 1);
	}
	return MMK_OK;
}

static void
every_k_done(void)
{
	for (unsigned n = 0; n < 8; n++)
		cr_assert(page_is_intact(n));
	cr_assert_eq(vm_nr_anon_pages(), 8);
}

Test(compact_vm, every_kth_allocation_may_fail)
{
	vm_every_k(every_k_setup, every_k_op, every_k_done);
}

/* ---- several CPUs ------------------------------------------------------ */

static uint64_t seed;
static unsigned nr_done;

static int
on_fault(void *ctx, unsigned cpu, uint64_t va, unsigned access)
{
	enum mmk_err err = mmk_fault(ctx, va, access);

	(void)cpu;
	return err == MMK_ERR_AGAIN ? 0 : (int)err;
}

static int
touch(unsigned cpu, mmk_va va, unsigned char *byte, bool is_store)
{
	int result;

	do
		result = is_store ? sim_store(cpu, va, byte, 1)
		                  : sim_load(cpu, va, byte, 1);
	while (result == SIM_STUCK);
	return result;
}

/* Writes, reads and drops its 32 pages, on CPU 0 and 2. */
static void *
live(void *arg)
{
	unsigned cpu = (unsigned)(uintptr_t)arg;
	mmk_va base = VA + cpu * 32 * PAGE;
	uint64_t state = seed + cpu * 77 + 1;
	unsigned char own[32] = { 0 };

	sim_set_cpu(cpu);
	for (unsigned n = mmk_test_steps(6000); n > 0; n--) {
		uint64_t r = mmk_test_random(&state), page = r % 32;
		unsigned char byte = (unsigned char)(r >> 8);
		mmk_va va = base + page * PAGE;

		if ((r >> 16) % 3 == 0) {
			cr_assert_eq(touch(cpu, va, &byte, true), 0);
			own[page] = byte;
		} else if ((r >> 16) % 30 == 1) {
			cr_assert_eq(mmk_discard(vm_sp(0), va, PAGE), MMK_OK);
			own[page] = 0;
		} else {
			cr_assert_eq(touch(cpu, va, &byte, false), 0);
			cr_assert_eq(byte, own[page], "MMK_SEED=%llu",
			    (unsigned long long)seed);
		}
	}
	(void)MMKIT_ATOMIC_ADD(&nr_done, 1u);
	return NULL;
}

/* The others live still, or nothing has moved yet. */
static bool
is_going_on(unsigned n)
{
	return MMKIT_ATOMIC_LOAD(&nr_done) == 0 || (n < 100000 &&
	    MMKIT_ATOMIC_LOAD(&t.vm.counters[MMK_COUNT_PAGE_MOVE]) == 0);
}

/* Asks for the lowest pages, where programs live, on CPU 1 and 3. */
static void *
clear_low(void *arg)
{
	unsigned cpu = (unsigned)(uintptr_t)arg;
	uint64_t state = seed + cpu * 77 + 1;

	sim_set_cpu(cpu);
	for (unsigned n = 0; is_going_on(n); n++) {
		uint64_t r = mmk_test_random(&state);
		struct mmk_compaction effort = ready_to_pay(64);
		struct mmk_run_request request = { .nr_pages = 1 + r % 8,
			.lo_pa = (r >> 8) % 32 * 8 * PAGE,
			.use = MMK_USE_KERNEL };
		mmk_pfn first;

		request.limit_pa = request.lo_pa + 16 * PAGE;
		if (mmk_compact_run(&t.phys, &effort, &request, &first) !=
		    MMK_OK)
			continue;
		memset(MMKIT_PHYS_TO_PTR(mmk_pa_of_pfn(first)), 0xcc,
		    request.nr_pages * PAGE);
		mmk_run_free(&t.phys, first, request.nr_pages);
	}
	return NULL;
}

static void
run_threads(unsigned arch, unsigned nr_cpus)
{
	struct sim_config config = { .ram_bytes = 2u << 20,
		.nr_cpus = nr_cpus, .arch = arch };
	pthread_t threads[4];

	seed = mmk_test_seed();
	nr_done = 0;
	vm_boot_with(&config, NULL);
	mmk_vm_set_movable(&t.vm, true);
	sim_forbid_stale_hits(false); /* a hit may race with a change */
	vm_space(0);
	vm_anon(0, VA, 32 * 4);
	for (unsigned cpu = 0; cpu < nr_cpus; cpu++)
		vm_run(cpu, 0);
	sim_on_fault(on_fault, vm_map(0));
	for (uintptr_t cpu = 0; cpu < nr_cpus; cpu++)
		cr_assert_eq(pthread_create(&threads[cpu], NULL,
		    cpu % 2 == 0 ? live : clear_low, (void *)cpu), 0);
	for (unsigned cpu = 0; cpu < nr_cpus; cpu++)
		cr_assert_eq(pthread_join(threads[cpu], NULL), 0);
	sim_set_cpu(0);
	cr_assert_gt(vm_count(MMK_COUNT_PAGE_MOVE), 0);
	vm_end();
}

Test(compact_vm_threads, one_lives_while_one_compacts)
{
	run_threads(SIM_ARCH_X86_64, 2);
	run_threads(SIM_ARCH_AARCH64, 2);
}

Test(compact_vm_threads, two_live_while_two_compact)
{
	run_threads(SIM_ARCH_X86_64, 4);
	run_threads(SIM_ARCH_AARCH64, 4);
}
