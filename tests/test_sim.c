/* SPDX-License-Identifier: MIT
 *
 * tests/test_sim.c: the simulated machine: its CPUs and TLBs, its locks and
 * hooks, and every detector shown to fire
 */
#include <criterion/criterion.h>

#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "../ports/sim/tlb.h"
#include "prop.h"
#include "sim_tables.h"

/* An 8-byte load: the value, or the negated result. */
static uint64_t
load(unsigned cpu, uint64_t va)
{
	uint64_t value = 0;
	int result = sim_load(cpu, va, &value, sizeof value);

	return result == 0 ? value : (uint64_t)(int64_t)result;
}

static int
store(unsigned cpu, uint64_t va, uint64_t value)
{
	return sim_store(cpu, va, &value, sizeof value);
}

static struct sim_counters
counters(void)
{
	struct sim_counters now;

	sim_counters(&now);
	return now;
}

/* A planted fault was caught, and said so in these words, the last time. */
static void
expect_violations(unsigned nr, const char *words)
{
	cr_assert_eq(sim_violations(), nr, "%llu violations, last: %s",
	    (unsigned long long)sim_violations(), sim_violation_text());
	cr_assert_not_null(strstr(sim_violation_text(), words),
	    "said: %s", sim_violation_text());
	sim_violations_clear();
}

static void
expect_violation(const char *words)
{
	expect_violations(1, words);
}

/* ---- CPUs and TLBs ------------------------------------------------------- */

TestSuite(sim_tlb, .init = boot_x86, .fini = sim_shutdown);

Test(sim_tlb, a_translation_stays_until_it_is_invalidated)
{
	*word(PAGE_A) = 1;
	*word(PAGE_B) = 2;
	map(VA, PAGE_A);
	cr_assert_eq(load(0, VA), 1);
	map(VA, PAGE_B);
	cr_assert_eq(load(0, VA), 1, "the TLB forgot by itself");
	cr_assert_eq(counters().nr_stale_hits, 1);
	sim_tlb_invalidate(NULL, ROOT, VA, VA + 4096);
	cr_assert_eq(load(0, VA), 2);
	cr_assert_eq(counters().nr_stale_hits, 1);
	cr_assert_eq(counters().nr_fills, 2);
}

Test(sim_tlb, an_absent_translation_is_never_cached)
{
	cr_assert_eq(sim_load(0, VA, &(uint64_t){ 0 }, 8), SIM_FAULT);
	*word(PAGE_A) = 7;
	map(VA, PAGE_A);
	cr_assert_eq(load(0, VA), 7);
}

Test(sim_tlb, each_cpu_has_its_own)
{
	*word(PAGE_A) = 1;
	*word(PAGE_B) = 2;
	map(VA, PAGE_A);
	cr_assert_eq(load(0, VA) + load(1, VA), 2);
	map(VA, PAGE_B);
	sim_tlb_invalidate(NULL, ROOT, VA, VA + 4096);
	cr_assert_eq(load(0, VA), 2);
	cr_assert_eq(load(1, VA), 1, "nobody told CPU 1");
	sim_tlb_shootdown(NULL, ROOT, 1, VA, VA + 4096);
	cr_assert_eq(load(1, VA), 1, "CPU 1 was not in the set");
	sim_tlb_shootdown(NULL, ROOT, 2, VA, VA + 4096);
	cr_assert_eq(load(1, VA), 2);
	cr_assert_eq(counters().nr_shootdowns, 2);
}

Test(sim_tlb, translations_are_tagged_by_root_and_survive_a_switch)
{
	*word(PAGE_A) = 1;
	*word(PAGE_B) = 2;
	map(VA, PAGE_A);
	set(entry_pa_from(OTHER_ROOT, VA, 0, 3), leaf(PAGE_B));
	cr_assert_eq(load(0, VA), 1);
	sim_cpu_set_root(0, OTHER_ROOT);
	cr_assert_eq(load(0, VA), 2);
	set(entry_pa(VA, 0), 0);
	sim_tlb_invalidate(NULL, OTHER_ROOT, 0, UINT64_MAX);
	sim_cpu_set_root(0, ROOT);
	cr_assert_eq(load(0, VA), 1, "another space's flush took it");
	sim_cpu_set_root(0, SIM_NO_ROOT);
	cr_assert_eq(sim_load(0, VA, &(uint64_t){ 0 }, 8), SIM_FAULT);
}

Test(sim_tlb, global_translations_are_good_everywhere)
{
	*word(PAGE_A) = 1;
	set(entry_pa(VA, 0), leaf(PAGE_A) | G);
	cr_assert_eq(load(0, VA), 1);
	sim_cpu_set_root(0, OTHER_ROOT);
	cr_assert_eq(load(0, VA), 1);
	sim_tlb_invalidate(NULL, OTHER_ROOT, VA, VA + 1);
	cr_assert_eq(sim_load(0, VA, &(uint64_t){ 0 }, 8), SIM_FAULT);
}

Test(sim_tlb, one_address_invalidates_its_whole_large_page)
{
	set(entry_pa(VA, 1), BASE | P | U | W | PS);
	*word(BASE + (VA & 0x1fffff)) = 5;
	cr_assert_eq(load(0, VA), 5);
	cr_assert_eq(sim_tlb_count(0), 1);
	sim_tlb_invalidate(NULL, ROOT, VA + 0x10000, VA + 0x11000);
	cr_assert_eq(sim_tlb_count(0), 0);
}

/* I1 of sim.h, for one page of RAM. */
static void
expect_reach(uint64_t pa, unsigned nr_pages, unsigned nr_tables)
{
	const struct sim_reach *reach = sim_reach_of(pa);

	cr_assert_eq(reach->nr_pages, nr_pages, "%u", reach->nr_pages);
	cr_assert_eq(reach->nr_tables, nr_tables, "%u", reach->nr_tables);
}

Test(sim_tlb, I1_translations_are_counted_where_they_reach)
{
	map(VA, PAGE_A);
	map(VA + 4096, PAGE_A);
	load(0, VA);
	load(1, VA);
	load(0, VA + 4096);
	store(0, VA, 1);
	expect_reach(PAGE_A, 3, 0);
	/* Each CPU has three upper entries, all made through the root, and one
	 * of them leads to the last table. */
	expect_reach(ROOT, 0, 3 + 2 * 3);
	expect_reach(entry_pa(VA, 0), 0, 3 + 2 * 1);
	sim_tlb_invalidate(NULL, ROOT, VA, VA + 4096);
	expect_reach(PAGE_A, 2, 0);
	sim_tlb_shootdown(NULL, ROOT, 2, 0, UINT64_MAX);
	sim_tlb_invalidate(NULL, ROOT, 0, UINT64_MAX);
	expect_reach(PAGE_A, 0, 0);
	expect_reach(ROOT, 0, 0);
}

Test(sim_tlb, a_flush_of_everything_finds_global_and_large_pages)
{
	set(entry_pa(VA, 1), BASE | P | U | W | PS | G);
	load(0, VA);
	sim_cpu_set_root(0, OTHER_ROOT);
	sim_tlb_invalidate(NULL, OTHER_ROOT, VA | 0x1ff000, UINT64_MAX);
	cr_assert_eq(sim_tlb_count(0), 0);
}

Test(sim_tlb, a_range_takes_what_it_overlaps_and_no_more)
{
	for (unsigned i = 0; i < 300; i++) {
		map(VA + i * UINT64_C(4096), PAGE_A);
		load(0, VA + i * UINT64_C(4096));
	}
	sim_tlb_invalidate(NULL, ROOT, VA, VA);
	cr_assert_eq(sim_tlb_count(0), 300, "an empty range");
	sim_tlb_invalidate(NULL, ROOT, VA + 1, VA + 4097);
	cr_assert_eq(sim_tlb_count(0), 298, "two pages in part");
	sim_tlb_invalidate(NULL, ROOT, VA + (100 << 12), VA + (200 << 12));
	cr_assert_eq(sim_tlb_count(0), 198);
	sim_tlb_invalidate(NULL, ROOT, VA + (299 << 12), 0);
	cr_assert_eq(sim_tlb_count(0), 197, "to the top");
	sim_tlb_invalidate(NULL, ROOT, 0, UINT64_MAX);
	cr_assert_eq(sim_tlb_count(0), 0);
}

Test(sim_tlb, the_first_store_walks_again_to_set_dirty)
{
	map(VA, PAGE_A);
	load(0, VA);
	cr_assert((*word(entry_pa(VA, 0)) & D) == 0);
	cr_assert_eq(store(0, VA, 9), 0);
	cr_assert((*word(entry_pa(VA, 0)) & D) != 0);
	cr_assert_eq(*word(PAGE_A), 9);
	cr_assert_eq(counters().nr_walks, 2);
	cr_assert_eq(store(0, VA, 10), 0);
	cr_assert_eq(counters().nr_walks, 2);
}

Test(sim_tlb, a_cleared_dirty_bit_needs_a_flush)
{
	map(VA, PAGE_A);
	store(0, VA, 1);
	set(entry_pa(VA, 0), *word(entry_pa(VA, 0)) & ~D);
	sim_violations_record(true);
	sim_forbid_stale_hits(true);
	store(0, VA, 2);
	expect_violation("stale");
	cr_assert((*word(entry_pa(VA, 0)) & D) == 0, "a lost modification");
}

Test(sim_tlb, a_right_that_was_added_is_found_by_walking_again)
{
	set(entry_pa(VA, 0), PAGE_A | P | U);
	load(0, VA);
	cr_assert_eq(store(0, VA, 1), SIM_FAULT);
	map(VA, PAGE_A);
	cr_assert_eq(store(0, VA, 1), 0);
}

Test(sim_tlb, a_right_that_was_taken_stays_in_the_cache)
{
	map(VA, PAGE_A);
	store(0, VA, 1);
	set(entry_pa(VA, 0), PAGE_A | P | U | D);
	cr_assert_eq(store(0, VA, 2), 0, "no flush, so still writable");
	cr_assert_eq(counters().nr_stale_hits, 1);
	sim_tlb_invalidate(NULL, ROOT, VA, VA + 4096);
	cr_assert_eq(store(0, VA, 3), SIM_FAULT);
}

Test(sim_tlb, arm_may_keep_denying_what_it_has_cached)
{
	struct sim_config config = { 0 };

	config.arch = arch = SIM_ARCH_AARCH64;
	config.base_pa = BASE;
	config.caches_denials = true;
	sim_boot(&config);
	next_table = TABLES;
	sim_cpu_set_root(0, ROOT);
	set(entry_pa(VA, 0), leaf(PAGE_A) | RO);
	load(0, VA);
	set(entry_pa(VA, 0), leaf(PAGE_A));
	cr_assert_eq(store(0, VA, 1), SIM_FAULT);
	sim_tlb_invalidate_page(NULL, ROOT, VA);
	cr_assert_eq(store(0, VA, 1), 0);
}

Test(sim_tlb, accesses_cross_pages_and_stop_at_the_first_that_fails)
{
	char out[16] = "fifteen letters", in[16] = { 0 };

	map(VA, PAGE_B);
	map(VA + 4096, PAGE_A);
	cr_assert_eq(sim_store(0, VA + 4090, out, 16), 0);
	cr_assert_eq(sim_load(0, VA + 4090, in, 16), 0);
	cr_assert_str_eq(in, out);
	cr_assert_eq(memcmp((char *)sim_phys_to_ptr(PAGE_A), out + 6, 10), 0);
	memset(in, 0, 16);
	cr_assert_eq(sim_load(0, VA + 2 * 4096 - 4, in, 8), SIM_FAULT);
}

Test(sim_tlb, fetching_wants_the_right_to_execute)
{
	uint32_t code = 0;

	map(VA, PAGE_A);
	cr_assert_eq(sim_fetch(0, VA, &code, 4), SIM_FAULT);
	set(entry_pa(VA, 0), PAGE_A | P | U);
	cr_assert_eq(sim_fetch(0, VA, &code, 4), 0);
}

Test(sim_tlb, user_mode_keeps_out_of_the_kernels_pages)
{
	set(entry_pa(VA, 0), PAGE_A | P | W);
	cr_assert_eq(store(0, VA, 1), SIM_FAULT);
	sim_cpu_set_user(0, false);
	cr_assert_eq(store(0, VA, 1), 0);
	sim_cpu_set_user(0, true);
	cr_assert_eq(store(0, VA, 1), SIM_FAULT, "from the cache");
}

Test(sim_tlb, an_address_that_is_not_ram_is_a_bus_error)
{
	map(VA, UINT64_C(0x1000));
	cr_assert_eq(sim_load(0, VA, &(uint64_t){ 0 }, 8), SIM_BUS);
}

struct mender {
	unsigned nr_calls, nr_needed;
	int result;
	uint64_t va;
	unsigned cpu, access;
};

static int
mend(void *ctx, unsigned cpu, uint64_t va, unsigned access)
{
	struct mender *mender = (struct mender *)ctx;

	mender->va = va;
	mender->cpu = sim_cpu_id() == cpu ? cpu : 99;
	mender->access = access;
	if (++mender->nr_calls == mender->nr_needed)
		map(va & ~UINT64_C(4095), PAGE_A);
	return mender->result;
}

Test(sim_tlb, the_fault_handler_mends_and_the_access_goes_on)
{
	struct mender mender = { .nr_needed = 3 };

	sim_on_fault(mend, &mender);
	cr_assert_eq(store(1, VA + 8, 77), 0);
	cr_assert_eq(*word(PAGE_A + 8), 77);
	cr_assert_eq(mender.nr_calls, 3);
	cr_assert_eq(mender.va, VA + 8);
	cr_assert_eq(mender.access, SIM_WRITE);
	cr_assert_eq(mender.cpu, 1, "the handler runs as the CPU");
	cr_assert_eq(sim_cpu_id(), 0);
}

Test(sim_tlb, the_fault_handler_can_refuse_or_get_stuck)
{
	struct mender mender = { .result = -5 };

	sim_on_fault(mend, &mender);
	cr_assert_eq(store(0, VA, 1), -5);
	cr_assert_eq(mender.nr_calls, 1);
	mender.result = 0;
	mender.nr_calls = 0;
	cr_assert_eq(store(0, VA, 1), SIM_STUCK);
	cr_assert_eq(mender.nr_calls, 8);
}

static struct {
	void *pmap;
	uint64_t start_va, end_va;
	unsigned nr;
} told;

static void
be_told(void *ctx, struct mmk_pmap *pmap, uint64_t start_va, uint64_t end_va)
{
	(void)ctx;
	told.pmap = pmap;
	told.start_va = start_va;
	told.end_va = end_va;
	told.nr++;
}

Test(sim_tlb, the_hook_is_told_of_every_invalidation)
{
	int any;

	memset(&told, 0, sizeof told);
	sim_on_invalidate(be_told, NULL);
	sim_tlb_invalidate(&any, ROOT, VA, VA + 4096);
	cr_assert_eq(told.nr, 1);
	sim_tlb_shootdown(&any, ROOT, 3, VA, VA + 8192);
	cr_assert_eq(told.nr, 2, "CPU 1 only");
	cr_assert_eq(told.pmap, &any);
	cr_assert_eq(told.start_va, VA);
	cr_assert_eq(told.end_va, VA + 8192);
}

Test(sim_tlb, translate_tells_the_address_without_a_handler)
{
	struct mender mender = { 0 };
	struct sim_walk found;
	uint64_t pa = 1;

	sim_on_fault(mend, &mender);
	cr_assert(!sim_translate(0, VA, SIM_READ, &pa, &found));
	cr_assert_eq(pa, 1);
	cr_assert_eq(found.fault, SIM_FAULT_NOT_PRESENT);
	cr_assert_eq(mender.nr_calls, 0);
	map(VA, PAGE_A);
	cr_assert(sim_translate(0, VA + 5, SIM_READ, &pa, &found));
	cr_assert_eq(pa, PAGE_A + 5);
	cr_assert_eq(found.nr_entries, 4);
	cr_assert(sim_translate(0, VA + 6, SIM_READ, &pa, &found));
	cr_assert_eq(found.nr_entries, 0, "a hit");
}

/* ---- planted faults: each detector fires --------------------------------- */

static void
boot_to_record(void)
{
	boot_x86();
	sim_violations_record(true);
}

static void
arm_to_record(void)
{
	boot_arm();
	sim_violations_record(true);
}

TestSuite(sim_detects, .init = boot_to_record, .fini = sim_shutdown);
TestSuite(sim_detects_arm, .init = arm_to_record, .fini = sim_shutdown);

Test(sim_detects, a_stale_translation_in_use)
{
	map(VA, PAGE_A);
	load(0, VA);
	set(entry_pa(VA, 0), 0);
	sim_forbid_stale_hits(true);
	load(0, VA);
	expect_violation("stale");
}

Test(sim_detects, a_frame_freed_while_a_tlb_maps_it)
{
	map(VA, PAGE_A);
	load(1, VA);
	set(entry_pa(VA, 0), 0);
	sim_poison(sim_phys_to_ptr(PAGE_A), 4096);
	expect_violation("CPU 1 still has");
	sim_unpoison(sim_phys_to_ptr(PAGE_A), 4096);
	sim_tlb_shootdown(NULL, ROOT, 2, VA, VA + 4096);
	sim_poison(sim_phys_to_ptr(PAGE_A), 4096);
	cr_assert_eq(sim_violations(), 0);
}

Test(sim_detects, one_page_of_a_large_frame_still_mapped)
{
	map(VA, PAGE_A + 5 * 4096);
	load(0, VA);
	sim_poison(sim_phys_to_ptr(PAGE_A), 16 * 4096);
	expect_violation("frame freed");
}

Test(sim_detects, a_page_inside_a_cached_large_page)
{
	set(entry_pa(VA, 1), BASE | P | U | W | PS);
	load(0, VA);
	sim_poison(sim_phys_to_ptr(BASE + 0x5000), 4096);
	expect_violation("frame freed");
}

Test(sim_detects, nothing_in_a_part_of_a_page)
{
	map(VA, PAGE_A);
	load(0, VA);
	sim_poison(sim_phys_to_ptr(PAGE_A + 64), 4096);
	cr_assert_eq(sim_violations(), 0);
}

Test(sim_detects, a_table_freed_while_a_translation_made_through_it_lives)
{
	uint64_t table = entry_pa(VA, 0) & ~UINT64_C(4095);

	map(VA, PAGE_A);
	load(0, VA);
	set(entry_pa(VA, 1), 0);
	sim_poison(sim_phys_to_ptr(table), 4096);
	expect_violations(2, "table freed while an upper entry");
}

Test(sim_detects, a_translation_to_a_free_page)
{
	map(VA, PAGE_A);
	sim_poison(sim_phys_to_ptr(PAGE_A), 4096);
	cr_assert_eq(sim_violations(), 0);
	cr_assert(sim_translate(0, VA, SIM_READ, &(uint64_t){ 0 }, NULL));
	expect_violation("free page");
}

Test(sim_detects, a_translation_through_a_free_table)
{
	uint64_t table = entry_pa(VA, 0) & ~UINT64_C(4095);

	map(VA, PAGE_A);
	sim_poison(sim_phys_to_ptr(table + 4096), 4096);
	cr_assert(sim_translate(0, VA, SIM_READ, &(uint64_t){ 0 }, NULL));
	cr_assert_eq(sim_violations(), 0);
	sim_tlb_invalidate(NULL, ROOT, VA, VA + 4096);
	sim_poison(sim_phys_to_ptr(table), 4096);
	sim_checker_forget(sim_phys_to_ptr(table), 4096);
	cr_assert(sim_translate(0, VA, SIM_READ, &(uint64_t){ 0 }, NULL));
	expect_violation("as a table");
}

Test(sim_detects, a_malformed_table_on_the_way)
{
	set(entry_pa(VA, 3), BASE | P | U | PS);
	load(0, VA);
	expect_violation("malformed table");
}

Test(sim_detects_arm, nothing_when_the_first_store_makes_a_page_dirty)
{
	set(entry_pa(VA, 0), leaf(PAGE_A) | RO | DBM);
	load(0, VA);
	cr_assert_eq(store(0, VA, 1), 0);
	cr_assert_eq(sim_tlb_count(0), 1, "two translations of one page");
	cr_assert_eq(store(0, VA, 2), 0);
	cr_assert_eq(counters().nr_walks, 2);
	cr_assert_eq(sim_violations(), 0);
}

Test(sim_detects_arm, a_page_replaced_without_break_before_make)
{
	map(VA, PAGE_A);
	load(0, VA);
	map(VA, PAGE_B);
	load(1, VA);
	expect_violation("break before make");
}

Test(sim_detects_arm, no_violation_after_break_flush_and_make)
{
	map(VA, PAGE_A);
	load(0, VA);
	load(1, VA);
	set(entry_pa(VA, 0), 0);
	sim_tlb_invalidate(NULL, ROOT, VA, VA + 4096);
	sim_tlb_shootdown(NULL, ROOT, 3, VA, VA + 4096);
	map(VA, PAGE_B);
	load(1, VA);
	cr_assert_eq(sim_violations(), 0, "%s", sim_violation_text());
}

Test(sim_detects_arm, a_flush_that_missed_one_cpu)
{
	map(VA, PAGE_A);
	load(0, VA);
	load(1, VA);
	set(entry_pa(VA, 0), 0);
	sim_tlb_invalidate(NULL, ROOT, VA, VA + 4096);
	map(VA, PAGE_B);
	load(0, VA);
	expect_violation("break before make");
}

Test(sim_detects_arm, a_table_replaced_by_a_block)
{
	map(VA, PAGE_A);
	load(0, VA);
	set(entry_pa(VA, 1), BASE | (PAGE_ARM & ~UINT64_C(2)));
	load(1, VA);
	expect_violation("break before make");
}

Test(sim_detects_arm, a_memory_type_changed_in_place)
{
	map(VA, PAGE_A);
	load(0, VA);
	set(entry_pa(VA, 0), leaf(PAGE_A) | UINT64_C(1) << 2);
	load(1, VA);
	expect_violation("break before make");
}

Test(sim_detects_arm, no_violation_where_only_rights_changed)
{
	map(VA, PAGE_A);
	load(0, VA);
	set(entry_pa(VA, 0), leaf(PAGE_A) | RO);
	load(1, VA);
	cr_assert_eq(sim_violations(), 0, "%s", sim_violation_text());
}

Test(sim_detects, a_lock_against_its_rank)
{
	struct sim_lock low, high;

	sim_lock_init(&low, "low", 3);
	sim_lock_init(&high, "high", 4);
	sim_lock_lock(&low);
	sim_lock_lock(&high);
	cr_assert(sim_lock_is_held(&low) && sim_lock_is_held(&high));
	sim_lock_unlock(&low);
	cr_assert_eq(sim_violations(), 0);
	sim_lock_lock(&low);
	expect_violation("\"low\" (rank 3) taken while \"high\" (rank 4)");
	sim_lock_unlock(&low);
	sim_lock_unlock(&high);
	cr_assert(!sim_lock_is_held(&low) && !sim_lock_is_held(&high));
}

Test(sim_detects, two_locks_of_one_rank_unless_allowed)
{
	struct sim_lock one, two;

	sim_lock_init(&one, "one", 5);
	sim_lock_init(&two, "two", 5);
	sim_lock_lock(&one);
	sim_lock_lock(&two);
	expect_violation("\"two\"");
	sim_lock_unlock(&two);
	sim_lock_allow_nesting(5, true);
	sim_lock_lock(&two);
	sim_lock_unlock(&two);
	sim_lock_unlock(&one);
	cr_assert_eq(sim_violations(), 0);
}

Test(sim_detects, a_spin_lock_held_over_a_shootdown)
{
	struct sim_lock lock, mutex;

	sim_lock_init(&lock, "spin", 5);
	sim_mutex_init(&mutex, "sleep", 1);
	sim_lock_lock(&mutex);
	sim_tlb_shootdown(NULL, ROOT, 3, VA, VA + 4096);
	cr_assert_eq(sim_violations(), 0);
	sim_lock_lock(&lock);
	sim_tlb_shootdown(NULL, ROOT, 3, VA, VA + 4096);
	expect_violation("shootdown while lock \"spin\"");
	sim_lock_unlock(&lock);
	sim_lock_unlock(&mutex);
}

Test(sim_detects, an_unlock_by_a_stranger)
{
	struct sim_lock lock;

	sim_lock_init(&lock, "orphan", 3);
	sim_lock_unlock(&lock);
	expect_violation("\"orphan\" let go");
}

Test(sim_detects, a_lock_held_at_shutdown)
{
	struct sim_lock lock;

	sim_lock_init(&lock, "forgotten", 3);
	sim_lock_lock(&lock);
	sim_shutdown();
	expect_violation("\"forgotten\" held at shutdown");
	boot_x86();
}

static void *
lock_and_leave(void *ctx)
{
	struct sim_lock *lock = (struct sim_lock *)ctx;

	cr_assert(!sim_lock_is_held(lock));
	sim_lock_lock(lock);
	return NULL;
}

Test(sim_detects, a_lock_left_held_by_another_thread)
{
	struct sim_lock lock;
	pthread_t thread;

	sim_lock_init(&lock, "theirs", 3);
	pthread_create(&thread, NULL, lock_and_leave, &lock);
	pthread_join(thread, NULL);
	cr_assert(!sim_lock_is_held(&lock));
	sim_shutdown();
	expect_violation("of other threads");
	boot_x86();
}

/* ---- the rest of the machine --------------------------------------------- */

TestSuite(sim_machine, .init = boot_x86, .fini = sim_shutdown);

Test(sim_machine, the_kth_failure_point_fails_and_no_other)
{
	unsigned nr_failed = 0;

	sim_fail_at(3);
	for (unsigned i = 1; i <= 10; i++)
		if (sim_fail_point()) {
			cr_assert_eq(i, 3);
			nr_failed++;
		}
	cr_assert_eq(nr_failed, 1);
	cr_assert_eq(sim_fail_count(), 10);
	sim_fail_at(0);
	cr_assert_eq(sim_fail_count(), 0);
	for (unsigned i = 0; i < 10; i++)
		cr_assert(!sim_fail_point());
}

Test(sim_machine, the_clock_stands_until_it_is_set)
{
	cr_assert_eq(sim_clock_ns(), 0);
	sim_set_clock_ns(5);
	cr_assert_eq(sim_clock_ns(), 5);
	cr_assert_eq(sim_clock_ns(), 5);
}

static void
count_up(void *ctx)
{
	++*(unsigned *)ctx;
}

Test(sim_machine, yield_points_call_the_hook)
{
	unsigned nr = 0;

	sim_yield_point();
	sim_on_yield(count_up, &nr);
	sim_yield_point();
	cr_assert_eq(nr, 1);
	sim_on_yield(NULL, NULL);
}

Test(sim_machine, the_direct_map_goes_both_ways)
{
	cr_assert_eq(sim_ptr_to_phys(sim_phys_to_ptr(PAGE_A + 7)), PAGE_A + 7);
	cr_assert_eq(sim_ram.bytes, (uint64_t)8 << 20);
	cr_assert_eq(sim_cpu_count(), 2);
}

Test(sim_machine, a_second_boot_starts_afresh)
{
	struct sim_lock lock;

	map(VA, PAGE_A);
	load(0, VA);
	sim_lock_init(&lock, "left", 3);
	sim_lock_lock(&lock);
	sim_fail_at(1);
	boot_x86();
	cr_assert_eq(sim_tlb_count(0), 0);
	cr_assert_eq(*word(ROOT + (VA >> 39) * 8), 0, "RAM is zeroed");
	cr_assert(!sim_fail_point());
	cr_assert_eq(sim_violations(), 0);
}

struct counting {
	struct sim_lock lock;
	unsigned nr;
};

static void *
count_under_lock(void *ctx)
{
	struct counting *counting = (struct counting *)ctx;

	for (unsigned i = 0; i < mmk_test_steps(2000); i++) {
		sim_lock_lock(&counting->lock);
		counting->nr++;
		sim_lock_unlock(&counting->lock);
	}
	return NULL;
}

Test(sim_machine, the_lock_excludes)
{
	struct counting counting = { .nr = 0 };
	pthread_t threads[3];

	sim_lock_init(&counting.lock, "counting", 3);
	for (unsigned i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, count_under_lock, &counting);
	for (unsigned i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	cr_assert_eq(counting.nr, 3 * mmk_test_steps(2000));
}

/* One CPU stores while another's mapping comes and goes. */
static void *
store_for_a_while(void *ctx)
{
	uint64_t *nr_stored = (uint64_t *)ctx;

	for (unsigned i = 0; i < mmk_test_steps(2000); i++)
		*nr_stored += store(1, VA, i) == 0;
	return NULL;
}

Test(sim_machine, nothing_is_stored_after_a_shootdown_returns)
{
	uint64_t nr_stored = 0;
	pthread_t thread;

	map(VA, PAGE_A);
	pthread_create(&thread, NULL, store_for_a_while, &nr_stored);
	for (unsigned i = 0; i < mmk_test_steps(200); i++) {
		uint64_t seen;

		set(entry_pa(VA, 0), 0);
		sim_tlb_shootdown(NULL, ROOT, 2, VA, VA + 4096);
		seen = __atomic_load_n(word(PAGE_A), __ATOMIC_RELAXED);
		for (unsigned j = 0; j < 20; j++)
			cr_assert_eq(
			    __atomic_load_n(word(PAGE_A), __ATOMIC_RELAXED),
			    seen);
		map(VA, PAGE_A);
	}
	pthread_join(thread, NULL);
}

/* ---- a model of the TLB -------------------------------------------------- */

#define MODEL_PAGES 24u

/* What CPU n has cached of page i, and what the tables say; 0: nothing. */
struct model {
	uint64_t cached[2][MODEL_PAGES];
	uint64_t tables[MODEL_PAGES];
};

static uint64_t
model_va(unsigned i)
{
	return VA + i * (UINT64_C(4096) * 73);
}

static void
model_step(struct model *model, uint64_t *random)
{
	unsigned i = (unsigned)(mmk_test_random(random) % MODEL_PAGES);
	unsigned cpu = (unsigned)(mmk_test_random(random) % 2);
	uint64_t pa = PAGE_A + mmk_test_random(random) % 64 * 4096;
	uint64_t found = 0;

	switch (mmk_test_random(random) % 8) {
	case 0:
		model->tables[i] = pa;
		map(model_va(i), pa);
		return;
	case 1:
		model->tables[i] = 0;
		set(entry_pa(model_va(i), 0), 0);
		return;
	case 2: /* from page i to the last */
		sim_set_cpu(cpu);
		sim_tlb_invalidate(NULL, ROOT, model_va(i), UINT64_MAX);
		for (; i < MODEL_PAGES; i++)
			model->cached[cpu][i] = 0;
		return;
	case 3:
		sim_set_cpu(cpu);
		sim_tlb_invalidate(NULL, ROOT, model_va(i), model_va(i) + 1);
		model->cached[cpu][i] = 0;
		return;
	default:
		if (model->cached[cpu][i] == 0)
			model->cached[cpu][i] = model->tables[i];
		(void)sim_translate(cpu, model_va(i), SIM_READ, &found, NULL);
		cr_assert_eq(found, model->cached[cpu][i],
		    "CPU %u, page %u, seed %llu", cpu, i,
		    (unsigned long long)mmk_test_seed());
	}
}

Test(sim_machine, the_tlb_agrees_with_a_model)
{
	struct model model;
	uint64_t random = mmk_test_seed();

	memset(&model, 0, sizeof model);
	for (unsigned n = 0; n < mmk_test_steps(20000); n++)
		model_step(&model, &random);
}

/* ---- misuse -------------------------------------------------------------- */

TestSuite(sim_bugs, .init = boot_x86, .signal = SIGABRT);

Test(sim_bugs, a_violation_aborts_unless_recorded, .signal = SIGABRT)
{
	map(VA, PAGE_A);
	load(0, VA);
	sim_poison(sim_phys_to_ptr(PAGE_A), 4096);
}

Test(sim_bugs, a_lock_taken_twice, .signal = SIGABRT)
{
	struct sim_lock lock;

	sim_lock_init(&lock, "twice", 3);
	sim_lock_lock(&lock);
	sim_lock_lock(&lock);
}

Test(sim_bugs, a_physical_address_outside_ram, .signal = SIGABRT)
{
	(void)sim_phys_to_ptr(BASE - 1);
}

Test(sim_bugs, a_pointer_outside_ram, .signal = SIGABRT)
{
	int local;

	(void)sim_ptr_to_phys(&local);
}

Test(sim_bugs, a_cpu_that_is_not_there, .signal = SIGABRT)
{
	sim_set_cpu(2);
}

Test(sim_bugs, a_panic, .signal = SIGABRT)
{
	sim_panic("as asked");
}
