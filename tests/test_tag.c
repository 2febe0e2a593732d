/* SPDX-License-Identifier: MIT
 *
 * tests/test_tag.c: address spaces that leave something behind in the TLBs
 *
 * WHAT    More pmaps than tags come and go on up to four CPUs, on a machine
 *         whose TLBs never forget: x86_64, where a flush concerns the tag that a
 *         CPU is in, and aarch64, where it reaches every CPU. A CPU that comes
 *         back to something stale reads another word than the oracle's, and the
 *         machine says so: whatever leads to a freed page must be gone.
 */
#include "prop.h"

#include "mmkit/mmkit.h"
#include "ports/sim/sim.h"

#include <criterion/criterion.h>

#include <pthread.h>
#include <signal.h>
#include <string.h>

#define PAGE MMK_PAGE_BYTES
#define RW (MMK_PROT_READ | MMK_PROT_WRITE | MMK_PMAP_USER)
#define CPUS 4u
#define NR_PMAPS 7u
#define NR_PLACES 6u
#define VA ((mmk_va)0x40000000)
#define NOBODY UINT32_MAX

static struct mmk_phys phys;
static struct mmk_pmap_sys sys;
static struct mmk_pmap pmaps[NR_PMAPS];
static bool is_alive[NR_PMAPS];
static unsigned where[CPUS]; /* which pmap the CPU is in */
static uint64_t words[NR_PMAPS][NR_PLACES]; /* what is there; 0: nothing */
static bool is_writable[NR_PMAPS][NR_PLACES];
static uint64_t nr_free_at_boot;

static uint64_t
nr_free(void)
{
	struct mmk_phys_stats stats;

	mmk_phys_drain(&phys);
	mmk_phys_stats_read(&phys, &stats);
	return stats.nr_free_pages;
}

static void
begin(unsigned arch, unsigned tag_bits)
{
	struct sim_config machine = { .ram_bytes = 1024 * PAGE,
		.nr_cpus = CPUS, .arch = arch, .tag_bits = tag_bits };
	struct mmk_phys_config config = { 0 };

	sim_boot(&machine);
	sim_forbid_stale_hits(true);
	config.spans = sim_spans(&config.nr_spans);
	cr_assert_eq(mmk_phys_init(&phys, &config), MMK_OK);
	nr_free_at_boot = nr_free();
	cr_assert_eq(mmk_pmap_sys_init(&sys, &phys, sim_shape()), MMK_OK);
	memset(is_alive, 0, sizeof is_alive);
	memset(words, 0, sizeof words);
	for (unsigned cpu = 0; cpu < CPUS; cpu++)
		where[cpu] = NOBODY;
	sim_set_cpu(0);
}

static void
make(unsigned i)
{
	cr_assert_eq(mmk_pmap_init(&pmaps[i], &sys, NULL), MMK_OK);
	is_alive[i] = true;
	memset(words[i], 0, sizeof words[i]);
}

static void
go(unsigned cpu, unsigned i)
{
	sim_set_cpu(cpu);
	if (where[cpu] != NOBODY)
		mmk_pmap_deactivate(&pmaps[where[cpu]], cpu);
	where[cpu] = i;
	if (i != NOBODY)
		mmk_pmap_activate(&pmaps[i], cpu);
}

static bool
has_tags(void)
{
	return sys.shape.tag_bits > 0;
}

static mmk_va
va_of(unsigned place)
{
	return VA + place * PAGE;
}

/* A frame of its own, marked, which the pmap's translation holds. */
static enum mmk_err
put(unsigned i, unsigned place, uint64_t word)
{
	struct mmk_frame *frame;
	enum mmk_err err = mmk_frame_alloc(&phys, 0, 0, MMK_USE_ANON, &frame);

	if (err != MMK_OK)
		return err;
	*(uint64_t *)mmk_frame_ptr(&phys, frame) = word;
	err = mmk_pmap_enter(&pmaps[i], va_of(place),
	    mmk_frame_pa(&phys, frame), RW);
	if (err != MMK_OK) {
		(void)mmk_frame_unref(&phys, frame);
		return err;
	}
	words[i][place] = word;
	is_writable[i][place] = true;
	return MMK_OK;
}

static struct mmk_frame *
frame_at(unsigned i, unsigned place)
{
	struct mmk_translation found;

	if (!mmk_pmap_query(&pmaps[i], va_of(place), &found))
		return NULL;
	return mmk_frame_of_pa(&phys, found.pa);
}

/* By range, or by page; the frame is freed at once and may be anybody's. */
static void
take(unsigned i, unsigned place, bool by_page)
{
	struct mmk_frame *frame = frame_at(i, place);
	struct mmk_gather gather;

	if (frame == NULL)
		return;
	if (by_page) {
		mmk_page_remove_all(&sys, frame);
	} else {
		mmk_gather_init(&gather, &sys);
		mmk_pmap_remove(&pmaps[i], va_of(place), va_of(place) + PAGE,
		    &gather);
		mmk_gather_finish(&gather);
	}
	(void)mmk_frame_unref(&phys, frame);
	words[i][place] = 0;
}

static void
protect(unsigned i, unsigned place)
{
	struct mmk_gather gather;

	mmk_gather_init(&gather, &sys);
	mmk_pmap_protect(&pmaps[i], va_of(place), va_of(place) + PAGE,
	    MMK_PROT_READ, &gather);
	mmk_gather_finish(&gather);
	is_writable[i][place] = false;
}

static void
destroy(unsigned i)
{
	for (unsigned cpu = 0; cpu < CPUS; cpu++)
		if (where[cpu] == i)
			go(cpu, NOBODY);
	for (unsigned place = 0; place < NR_PLACES; place++)
		take(i, place, place % 2 == 0);
	mmk_pmap_fini(&pmaps[i]);
	is_alive[i] = false;
}

/* What the CPU sees in the space that it is in. */
static void
look(unsigned cpu)
{
	unsigned i = where[cpu];

	if (i == NOBODY)
		return;
	for (unsigned place = 0; place < NR_PLACES; place++) {
		uint64_t word = 0;
		bool is_there = sim_load(cpu, va_of(place), &word, 8) == 0;

		cr_assert_eq(is_there, words[i][place] != 0);
		cr_assert(!is_there || word == words[i][place],
		    "MMK_SEED=%llu", (unsigned long long)mmk_test_seed());
		if (!is_there)
			continue;
		cr_assert_eq(sim_store(cpu, va_of(place), &word, 8) == 0,
		    is_writable[i][place]);
	}
}

static void
end(void)
{
	for (unsigned i = 0; i < NR_PMAPS; i++)
		if (is_alive[i])
			destroy(i);
	mmk_pmap_sys_fini(&sys);
	cr_assert_eq(nr_free(), nr_free_at_boot);
	cr_assert_eq(sim_violations(), 0u, "%s", sim_violation_text());
	mmk_phys_fini(&phys);
	sim_shutdown();
}

static void
both(void (*body)(void), unsigned tag_bits)
{
	begin(SIM_ARCH_X86_64, tag_bits);
	body();
	end();
	begin(SIM_ARCH_AARCH64, tag_bits);
	body();
	end();
}

/* ---- one at a time --------------------------------------------------------- */

static void
keeps_body(void)
{
	uint64_t nr_walks_before;
	struct sim_counters counters;

	make(0);
	make(1);
	cr_assert_eq(put(0, 0, 10), MMK_OK);
	cr_assert_eq(put(1, 0, 11), MMK_OK);
	for (unsigned n = 0; n < 2; n++)
		for (unsigned i = 0; i < 2; i++) {
			go(0, i);
			look(0);
		}
	sim_counters(&counters);
	nr_walks_before = counters.nr_walks;
	for (unsigned n = 0; n < 5; n++)
		for (unsigned i = 0; i < 2; i++) {
			uint64_t word = 0;

			go(0, i);
			cr_assert_eq(sim_load(0, va_of(0), &word, 8), 0);
			cr_assert_eq(word, 10 + i);
		}
	sim_counters(&counters);
	cr_assert_eq(counters.nr_walks, nr_walks_before,
	    "nothing was walked again");
}

Test(tag, a_cpu_finds_again_what_it_had)
{
	both(keeps_body, 4);
}

static void
spared_body(void)
{
	bool is_broadcast = mmk_pt_is_broadcast(&sys.shape);

	make(0);
	cr_assert_eq(put(0, 0, 10), MMK_OK);
	for (unsigned cpu = 0; cpu < CPUS; cpu++) {
		go(cpu, 0);
		look(cpu);
	}
	for (unsigned cpu = 1; cpu < CPUS; cpu++)
		go(cpu, NOBODY);
	sim_set_cpu(0);
	take(0, 0, false);
	cr_assert_eq(put(0, 0, 11), MMK_OK);
	cr_assert_eq(sys.nr_shootdowns, 0, "nobody else uses it");
	cr_assert_eq(sys.nr_avoided, is_broadcast ? 0u : CPUS - 1);
	for (unsigned cpu = 0; cpu < CPUS; cpu++) {
		go(cpu, 0);
		look(cpu);
	}
	take(0, 0, true);
	cr_assert_eq(sys.nr_shootdowns, !is_broadcast, "all use it");
	for (unsigned cpu = 0; cpu < CPUS; cpu++)
		look(cpu);
}

Test(tag, who_is_elsewhere_is_not_asked_and_finds_out)
{
	both(spared_body, 4);
}

/*
 * CPU 1 idles while CPU 0 changes the space, tables included: it has nothing,
 * reaches nothing, and is not asked; if it had stayed it would have been, each
 * time.
 */
static void
idle_body(void)
{
	bool is_broadcast = mmk_pt_is_broadcast(&sys.shape);
	const unsigned nr = 10;
	uint64_t nr_before, word;

	make(0);
	go(0, 0);
	for (unsigned stays = 0; stays < 2; stays++) {
		go(1, 0);
		cr_assert_eq(put(0, 0, 1), MMK_OK);
		look(1);
		if (!stays)
			go(1, NOBODY);
		cr_assert(stays || has_tags() ||
		    sim_tlb_count(1) + sim_upper_count(1) == 0);
		sim_set_cpu(0);
		nr_before = sys.nr_shootdowns;
		for (unsigned i = 0; i < nr; i++) {
			cr_assert(stays ||
			    sim_load(1, va_of(0), &word, 8) != 0);
			take(0, 0, i % 2 == 0);
			cr_assert_eq(pmaps[0].nr_tables, 1);
			cr_assert_eq(put(0, 0, i + 2), MMK_OK);
		}
		cr_assert_eq(sys.nr_shootdowns - nr_before,
		    is_broadcast || !stays ? 0 : nr);
		if (!stays)
			go(1, 0);
		look(1);
		take(0, 0, false);
	}
}

Test(tag, a_cpu_that_idles_is_not_asked_with_tags_or_without)
{
	both(idle_body, 0);
	both(idle_body, 4);
}

static void
no_tag_body(void)
{
	/* Tags 1 to 3, and four that have none. */
	for (unsigned i = 0; i < NR_PMAPS; i++) {
		make(i);
		cr_assert_eq(pmaps[i].tag, i < 3 ? i + 1 : 0);
		cr_assert_eq(put(i, 0, 10 + i), MMK_OK);
	}
	for (unsigned n = 0; n < 3; n++)
		for (unsigned i = 0; i < NR_PMAPS; i++) {
			go(n, i);
			look(n);
			take(i, 0, n == 1);
			cr_assert_eq(put(i, 0, 20 * n + i + 1), MMK_OK);
			look(n);
		}
}

Test(tag, those_without_a_tag_are_flushed_as_ever)
{
	both(no_tag_body, 2);
}

static void
rollover_body(void)
{
	for (unsigned n = 0; n < 20; n++) {
		make(0);
		cr_assert_neq(pmaps[0].tag, 0);
		cr_assert_eq(put(0, n % NR_PLACES, n + 1), MMK_OK);
		for (unsigned cpu = 0; cpu < CPUS; cpu++) {
			go(cpu, 0);
			look(cpu);
		}
		destroy(0);
	}
	cr_assert_geq(sys.tags.nr_rollovers, 5u);
}

Test(tag, a_tag_is_used_again_and_nothing_is_left_under_it)
{
	both(rollover_body, 2);
}

Test(tag, a_machine_without_memory_for_tags_is_refused)
{
	struct mmk_pmap_sys other;

	begin(SIM_ARCH_X86_64, 4);
	sim_fail_at(1);
	cr_assert_eq(mmk_pmap_sys_init(&other, &phys, sim_shape()),
	    MMK_ERR_NOMEM);
	sim_fail_at(0);
	end();
}

/* ---- two that change one table, neither has flushed yet ------------------------- */

static void
begin_taking(unsigned place, struct mmk_gather *gather)
{
	mmk_gather_init(gather, &sys);
	mmk_pmap_remove(&pmaps[0], va_of(place), va_of(place) + PAGE, gather);
}

static void
end_taking(unsigned place, struct mmk_frame *frame, struct mmk_gather *gather)
{
	mmk_gather_finish(gather);
	(void)mmk_frame_unref(&phys, frame);
	words[0][place] = 0;
}

/* CPU 0 has place 0 through a table that goes with place 1. */
static void
table_goes_body(void)
{
	struct mmk_gather first, second;
	struct mmk_frame *frames[2];

	make(0);
	for (unsigned i = 0; i < 2; i++) {
		cr_assert_eq(put(0, i, i + 1), MMK_OK);
		frames[i] = frame_at(0, i);
	}
	go(0, 0);
	look(0);
	begin_taking(0, &first);
	begin_taking(1, &second);
	cr_assert_eq(pmaps[0].nr_tables, 1);
	end_taking(1, frames[1], &second);
	end_taking(0, frames[0], &first);
	look(0);
}

Test(tag, a_table_that_goes_is_flushed_with_all_that_went_before)
{
	both(table_goes_body, 4);
	both(table_goes_body, 0);
}

/*
 * CPU 1 has never used the page, but looked beside it: it knows the way to the
 * table, which goes with the page.
 */
static void
never_used_body(void)
{
	uint64_t word;

	make(0);
	for (unsigned i = 0; i < 2; i++) {
		go(1, 0);
		cr_assert_eq(put(0, 0, 1), MMK_OK);
		cr_assert_neq(sim_load(1, va_of(1), &word, 8), 0);
		cr_assert_gt(sim_upper_count(1), 0);
		sim_set_cpu(0);
		take(0, 0, i == 0);
		cr_assert_eq(pmaps[0].nr_tables, 1);
		look(1);
	}
}

Test(tag, a_table_that_no_page_was_reached_through)
{
	both(never_used_body, 4);
	both(never_used_body, 0);
}

/* Nothing is wrong: once more. */
static int
try_again(void *ctx, unsigned cpu, uint64_t va, unsigned access)
{
	(void)cpu, (void)va, (void)access;
	++*(unsigned *)ctx;
	return 0;
}

/*
 * A new table comes where CPU 1 still has the old one. On x86_64 that may lead
 * it to an empty entry: a fault without a cause, after which it looks again.
 */
static void
table_comes_body(void)
{
	bool is_broadcast = mmk_pt_is_broadcast(&sys.shape);
	unsigned nr_faults = 0;
	struct mmk_gather gather;
	struct mmk_frame *frame;

	make(0);
	cr_assert_eq(put(0, 0, 1), MMK_OK);
	frame = frame_at(0, 0);
	for (unsigned cpu = 0; cpu < 2; cpu++) {
		go(cpu, 0);
		look(cpu);
	}
	begin_taking(0, &gather);
	cr_assert_eq(put(0, 1, 2), MMK_OK);
	words[0][0] = 0;
	sim_on_fault(try_again, &nr_faults);
	for (unsigned cpu = 0; cpu < 2; cpu++) {
		uint64_t word = 0;

		cr_assert_eq(sim_load(cpu, va_of(1), &word, 8), 0);
		cr_assert_eq(word, 2);
	}
	sim_on_fault(NULL, NULL);
	cr_assert_eq(nr_faults, is_broadcast ? 0u : 2u);
	end_taking(0, frame, &gather);
	look(0);
	look(1);
}

Test(tag, a_table_that_comes_breaks_before_it_makes)
{
	both(table_comes_body, 4);
	both(table_comes_body, 0);
}

/* ---- a flush and a CPU that comes back, at each point of their way ------------ */

static struct {
	unsigned nr, at; /* yield points passed; the one to act at */
	bool is_inside;
} hook;

/* CPU 1 comes while CPU 0 flushes. */
static void
come_back(void *ctx)
{
	(void)ctx;
	if (hook.is_inside || hook.nr++ != hook.at)
		return;
	hook.is_inside = true;
	go(1, 0);
	sim_set_cpu(0);
	hook.is_inside = false;
}

/* CPU 0 takes the page away while CPU 1 comes. */
static void
take_away(void *ctx)
{
	(void)ctx;
	if (hook.is_inside || hook.nr++ != hook.at)
		return;
	hook.is_inside = true;
	sim_set_cpu(0);
	take(0, 0, false);
	sim_set_cpu(1);
	hook.is_inside = false;
}

static void
meet(unsigned arch, bool flush_comes_first, bool is_inside, unsigned at)
{
	begin(arch, 4);
	make(0);
	cr_assert_eq(put(0, 0, 10), MMK_OK);
	go(1, 0);
	look(1);
	go(1, NOBODY);
	go(0, is_inside ? 0 : NOBODY);
	hook.nr = 0;
	hook.at = at;
	if (flush_comes_first) {
		sim_on_yield(come_back, NULL);
		take(0, 0, false);
	} else {
		sim_on_yield(take_away, NULL);
		go(1, 0);
	}
	sim_on_yield(NULL, NULL);
	take(0, 0, false); /* if the hook was not met */
	if (where[1] == NOBODY)
		go(1, 0);
	look(1);
	end();
}

Test(tag, a_flush_and_a_cpu_that_comes_back_meet_anywhere)
{
	for (unsigned at = 0; at < 12; at++) {
		for (unsigned n = 0; n < 4; n++) {
			meet(SIM_ARCH_X86_64, n / 2, n % 2, at);
			meet(SIM_ARCH_AARCH64, n / 2, n % 2, at);
		}
	}
}

/* ---- random lives ----------------------------------------------------------- */

static void
step(uint64_t *state)
{
	uint64_t r = mmk_test_random(state);
	unsigned cpu = (unsigned)(r % CPUS);
	unsigned i = (unsigned)(r >> 8) % NR_PMAPS;
	unsigned place = (unsigned)(r >> 16) % NR_PLACES;

	sim_set_cpu(cpu);
	if (!is_alive[i]) {
		make(i);
		return;
	}
	switch ((r >> 24) % 8) {
	case 0: case 1: case 2: go(cpu, i); break;
	case 3: case 4:
		take(i, place, (r >> 32) % 2 == 0);
		if ((r >> 33) % 3 == 0)
			sim_fail_at(1 + (r >> 40) % 3);
		(void)put(i, place, (r >> 8) | 1);
		sim_fail_at(0);
		break;
	case 5: take(i, place, (r >> 32) % 2 == 0); break;
	case 6: protect(i, place); break;
	default:
		if ((r >> 32) % 4 == 0)
			destroy(i);
		else
			go(cpu, NOBODY);
	}
	sim_set_cpu(cpu);
	look(cpu);
}

static void
random_life(unsigned arch, unsigned tag_bits)
{
	uint64_t state = mmk_test_seed();

	begin(arch, tag_bits);
	for (unsigned n = 0; n < mmk_test_steps(6000); n++)
		step(&state);
	for (unsigned i = 0; i < NR_PMAPS; i++)
		cr_assert(!is_alive[i] || mmk_pmap_check(&pmaps[i]));
	end();
}

Test(tag, random_lives_agree_with_an_array)
{
	random_life(SIM_ARCH_X86_64, 2);
	random_life(SIM_ARCH_X86_64, 3);
	random_life(SIM_ARCH_AARCH64, 2);
	random_life(SIM_ARCH_AARCH64, 3);
}

/* ---- several CPUs at once ----------------------------------------------------- */

/* Each CPU goes round all spaces, changes its own place of each, and looks. */
static void *
round_and_round(void *arg)
{
	unsigned cpu = (unsigned)(uintptr_t)arg;
	uint64_t word;

	sim_set_cpu(cpu);
	for (unsigned n = 0; n < mmk_test_steps(2000); n++) {
		unsigned i = (n + cpu) % NR_PMAPS;

		mmk_pmap_activate(&pmaps[i], cpu);
		if (words[i][cpu] != 0) {
			cr_assert_eq(sim_load(cpu, va_of(cpu), &word, 8), 0);
			cr_assert_eq(word, words[i][cpu]);
		}
		take(i, cpu, n % 3 == 0);
		cr_assert_neq(sim_load(cpu, va_of(cpu), &word, 8), 0);
		cr_assert_eq(put(i, cpu, n * CPUS + cpu + 1), MMK_OK);
		mmk_pmap_deactivate(&pmaps[i], cpu);
	}
	return NULL;
}

static void
threads_of(unsigned arch, unsigned nr_threads)
{
	pthread_t threads[CPUS];

	begin(arch, 3);
	sim_forbid_stale_hits(false); /* a hit may race with a change */
	sim_delay_ipis(4, mmk_test_seed());
	for (unsigned i = 0; i < NR_PMAPS; i++)
		make(i);
	for (uintptr_t cpu = 0; cpu < nr_threads; cpu++)
		cr_assert_eq(pthread_create(&threads[cpu], NULL,
		    round_and_round, (void *)cpu), 0);
	for (unsigned cpu = 0; cpu < nr_threads; cpu++)
		cr_assert_eq(pthread_join(threads[cpu], NULL), 0);
	end();
}

Test(tag, two_cpus_go_round_all_spaces)
{
	threads_of(SIM_ARCH_X86_64, 2);
	threads_of(SIM_ARCH_AARCH64, 2);
}

Test(tag, four_cpus_go_round_all_spaces)
{
	threads_of(SIM_ARCH_X86_64, 4);
	threads_of(SIM_ARCH_AARCH64, 4);
}
