/* SPDX-License-Identifier: MIT
 *
 * tests/test_ipi.c: a CPU that is shot down goes on for a while with what its
 * TLB has: nothing of that may be anybody else's before it has answered
 *
 * CPU 0 changes tables, and waits at its yield points; there CPU 1 uses what
 * it can still reach.
 */
#include "pmap_fixture.h"

#include <pthread.h>

#define TEST_IPI(name)                \
	static void ipi_##name(void); \
	Test(ipi, name)               \
	{                             \
		on_every_format(ipi_##name); \
	}                             \
	static void ipi_##name(void)

#define MARK UINT64_C(0x600d)
#define NEXT 7u /* what is in the frame that takes the place */
#define TICKS 6u

static struct {
	struct mmk_frame *frame;
	bool writes;
	uint64_t nr_waits, nr_reached;
	uint64_t latest; /* what it stored, or read */
} user;

/* CPU 1 reads the frame, whole, or faults; it may write there. */
static void
use(void *ctx)
{
	uint64_t word = 0;

	(void)ctx;
	user.nr_waits++;
	cr_assert_eq(MMKIT_ATOMIC_LOAD(&user.frame->refs), 1u);
	if (sim_load(1, VA, &word, sizeof word) != 0)
		return;
	user.nr_reached++;
	if (word == NEXT)
		user.latest = NEXT; /* and never again the one before */
	cr_assert_eq(word, user.latest, "somebody else's");
	word = MARK + user.nr_reached;
	if (user.writes && sim_store(1, VA, &word, sizeof word) == 0)
		user.latest = word;
}

/* `change` is done while CPU 1 uses the page; it may end with the frame free. */
static void
meet_user(void (*change)(void), bool writes)
{
	bool is_broadcast = mmk_pt_is_broadcast(&sys.shape);
	struct sim_counters before, after;

	user.frame = new_frame_with(MARK);
	user.latest = MARK;
	user.writes = writes;
	user.nr_waits = 0;
	user.nr_reached = 0;
	enter(0, VA, user.frame, RWU);
	activate(0, 0);
	activate(0, 1);
	cr_assert_eq(load(1, VA), MARK);
	cr_assert(!writes || store(1, VA, MARK));
	sim_on_fault(NULL, NULL);
	sim_delay_ipis(TICKS, 0);
	sim_counters(&before);
	sim_on_yield(use, NULL);
	change();
	sim_on_yield(NULL, NULL);
	sim_on_fault(mend, NULL);
	sim_counters(&after);
	sim_delay_ipis(0, 0);
	cr_assert_gt(user.nr_waits, 0);
	cr_assert(is_broadcast ||
	    after.nr_stale_hits > before.nr_stale_hits, "it had no time");
	cr_assert_eq(*(uint64_t *)mmk_frame_ptr(&phys, user.frame),
	    user.latest);
}

/* Whoever gets the frame now has it alone. */
static void
reuse(void)
{
	mmk_frame_unref(&phys, user.frame);
	cr_assert_eq(new_frame(0), user.frame, "the one that was freed last");
	cr_assert_eq(load(1, VA), UINT64_MAX);
	cr_assert_eq(*(uint64_t *)mmk_frame_ptr(&phys, user.frame), 0);
	mmk_frame_unref(&phys, user.frame);
}

static void
change_by_range(void)
{
	mmk_pmap_remove(&pmaps[0], VA, VA + PAGE, &gather);
	mmk_gather_finish(&gather);
}

TEST_IPI(a_frame_and_its_tables_stay_until_all_have_answered)
{
	meet_user(change_by_range, true);
	cr_assert_eq(pmaps[0].nr_tables, 1);
	reuse();
}

static void
change_by_page(void)
{
	mmk_page_remove_all(&sys, user.frame);
}

TEST_IPI(what_was_written_before_the_answer_is_seen_as_modified)
{
	meet_user(change_by_page, true);
	cr_assert(mmk_page_is_modified(&sys, user.frame));
	reuse();
}

static void
change_rights(void)
{
	mmk_page_write_protect(&sys, user.frame);
}

TEST_IPI(nothing_is_written_after_the_answer)
{
	meet_user(change_rights, true);
	cr_assert(!store(1, VA, 1));
	cr_assert_eq(load(1, VA), user.latest);
	change_by_page();
	reuse();
}

static void
change_frame(void)
{
	struct mmk_frame *other = new_frame_with(NEXT);

	enter(0, VA, other, RWU);
	sim_on_yield(NULL, NULL);
	sim_on_fault(mend, NULL);
	cr_assert_eq(load(1, VA), NEXT);
	user.latest = MARK;
	remove_now(0, VA, VA + PAGE);
	mmk_frame_unref(&phys, other);
}

TEST_IPI(another_page_comes_when_all_have_answered)
{
	meet_user(change_frame, false);
	reuse();
}

static void
change_space(void)
{
	change_by_range();
	for (unsigned cpu = 0; cpu < 2; cpu++) {
		sim_set_cpu(cpu);
		mmk_pmap_deactivate(&pmaps[0], cpu);
	}
	sim_set_cpu(0);
	mmk_pmap_fini(&pmaps[0]);
	cr_assert_eq(mmk_pmap_init(&pmaps[0], &sys, NULL), MMK_OK);
	activate(0, 1);
}

TEST_IPI(a_space_ends_when_all_have_answered)
{
	meet_user(change_space, true);
	reuse();
}

/* ---- two that wait for each other ------------------------------------------ */

static void *
change_own_place(void *ctx)
{
	unsigned cpu = (unsigned)(uintptr_t)ctx;
	mmk_va va = VA + cpu * PAGE;
	struct mmk_gather own;

	sim_set_cpu(cpu);
	mmk_gather_init(&own, &sys);
	for (unsigned i = 0; i < mmk_test_steps(300); i++) {
		struct mmk_frame *frame = new_frame_with(i + 1);

		cr_assert_eq(mmk_pmap_enter(&pmaps[0], va, pa_of(frame), RWU),
		    MMK_OK);
		cr_assert_eq(load(cpu, va), i + 1);
		(void)load(cpu, VA + (1 - cpu) * PAGE);
		mmk_pmap_remove(&pmaps[0], va, va + PAGE, &own);
		mmk_gather_finish(&own);
		cr_assert_eq(load(cpu, va), UINT64_MAX);
		mmk_frame_unref(&phys, frame);
	}
	return NULL;
}

TEST_IPI(two_cpus_that_wait_for_each_other_both_go_on)
{
	pthread_t thread;

	activate(0, 0);
	activate(0, 1);
	sim_delay_ipis(TICKS, mmk_test_seed());
	cr_assert_eq(pthread_create(&thread, NULL, change_own_place,
	                 (void *)(uintptr_t)1),
	    0);
	(void)change_own_place(NULL);
	pthread_join(thread, NULL);
	sim_set_cpu(0);
	sim_delay_ipis(0, 0);
}

/* ---- the machine's own ------------------------------------------------------- */

TEST_IPI(a_cpu_takes_an_interrupt_when_its_time_has_come)
{
	struct mmk_frame *frame = new_frame_with(5);
	struct sim_counters counters;

	enter(0, VA, frame, RWU);
	activate(0, 1);
	cr_assert_eq(load(1, VA), 5);
	sim_delay_ipis(TICKS, 0);
	sim_tlb_shootdown(&pmaps[0], sim_space_of_pmap(&pmaps[0]), 2, VA,
	    VA + PAGE);
	cr_assert_eq(sim_tlb_count(1), 0, "the sender has waited");
	sim_counters(&counters);
	cr_assert_eq(counters.nr_shootdowns, 1);
	sim_delay_ipis(0, 0);
	remove_now(0, VA, VA + PAGE);
	mmk_frame_unref(&phys, frame);
}
