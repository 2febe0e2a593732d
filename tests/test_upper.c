/* SPDX-License-Identifier: MIT
 *
 * tests/test_upper.c: what the simulated CPUs keep of upper table entries: who
 * drops it, who must not, and what is caught by it
 */
#include <criterion/criterion.h>

#include <string.h>

#include "sim_tables.h"

#define NEXT (VA + 4096)      /* by the same table */
#define AWAY (VA + (1 << 30)) /* by other tables below the top one */

static uint64_t
load(unsigned cpu, uint64_t va)
{
	uint64_t value = 0;
	int result = sim_load(cpu, va, &value, sizeof value);

	return result == 0 ? value : (uint64_t)(int64_t)result;
}

static uint64_t
nr_short_walks(void)
{
	struct sim_counters now;

	sim_counters(&now);
	return now.nr_short_walks;
}

/* So many planted faults were caught; the last one's words. */
static void
expect_violations(unsigned nr, const char *words)
{
	cr_assert_eq(sim_violations(), nr, "%llu violations, last: %s",
	    (unsigned long long)sim_violations(), sim_violation_text());
	cr_assert(nr == 0 || strstr(sim_violation_text(), words) != NULL,
	    "said: %s", sim_violation_text());
	sim_violations_clear();
}

static void
free_table(uint64_t pa)
{
	sim_poison(sim_phys_to_ptr(pa), 4096);
}

static uint64_t
table_of(uint64_t va, unsigned level)
{
	return entry_pa(va, level) & ~UINT64_C(4095);
}

/* Both ways: by root, and with tags of 4 bits, where ROOT is number 1. */
static uint64_t space;

static void
begin(unsigned which, unsigned tag_bits)
{
	struct sim_config config = { .arch = which, .base_pa = BASE,
		.ram_bytes = (uint64_t)8 << 20, .nr_cpus = 2,
		.tag_bits = tag_bits };

	sim_boot(&config);
	sim_violations_record(true);
	arch = which;
	next_table = TABLES;
	space = tag_bits > 0 ? 1 : ROOT;
	for (unsigned cpu = 0; cpu < 2; cpu++) {
		if (tag_bits > 0)
			sim_cpu_set_tag(cpu, ROOT, 1, false);
		else
			sim_cpu_set_root(cpu, ROOT);
	}
	map(VA, PAGE_A);
	map(AWAY, PAGE_A);
	*word(PAGE_A) = 1;
	*word(PAGE_B) = 2;
}

static void
each(void (*body)(void))
{
	for (unsigned n = 0; n < 4; n++) {
		begin(n / 2 ? SIM_ARCH_AARCH64 : SIM_ARCH_X86_64, n % 2 * 4);
		body();
		expect_violations(0, "");
		sim_shutdown();
	}
}

static void
on(unsigned which, void (*body)(void))
{
	begin(which, 0);
	body();
	expect_violations(0, "");
	sim_shutdown();
}

/* ---- what is kept ---------------------------------------------------------- */

static void
ends_body(void)
{
	cr_assert_eq(load(0, VA), 1);
	cr_assert_eq(sim_upper_count(0), 3, "one for each level with tables");
	cr_assert_eq(nr_short_walks(), 0);
	map(NEXT, PAGE_B);
	cr_assert_eq(load(0, NEXT), 2);
	cr_assert_eq(nr_short_walks(), 1);
	cr_assert_eq(load(0, AWAY), 1);
	cr_assert_eq(nr_short_walks(), 2, "from the top entry on");
	cr_assert_eq(sim_upper_count(0), 3 + 2);
	cr_assert_eq(sim_upper_count(1), 0);
}

Test(upper, a_walk_begins_where_an_earlier_one_has_been)
{
	each(ends_body);
}

static void
absent_body(void)
{
	cr_assert_eq(load(0, NEXT), (uint64_t)(int64_t)SIM_FAULT);
	cr_assert_eq(sim_tlb_count(0), 0);
	cr_assert_eq(sim_upper_count(0), 3);
	set(entry_pa(AWAY, 1), 0);
	cr_assert_eq(load(0, AWAY), (uint64_t)(int64_t)SIM_FAULT);
	cr_assert_eq(load(0, AWAY), (uint64_t)(int64_t)SIM_FAULT);
	cr_assert_eq(sim_upper_count(0), 3 + 1, "none that is not valid");
	map(NEXT, PAGE_B);
	map(AWAY, PAGE_B);
	cr_assert_eq(load(0, NEXT) + load(0, AWAY), 4);
}

Test(upper, a_walk_that_finds_no_page_leaves_them_too)
{
	each(absent_body);
}

static void
rights_body(void)
{
	bool is_x86_64 = arch == SIM_ARCH_X86_64;
	uint64_t read_only = is_x86_64 ? 0 : UINT64_C(1) << 62;

	set(entry_pa(VA, 2), (get(entry_pa(VA, 2)) & ~(is_x86_64 ? W : 0)) |
	        read_only);
	load(0, VA);
	map(NEXT, PAGE_B);
	cr_assert_eq(sim_store(0, NEXT, &(uint64_t){ 5 }, 8), SIM_FAULT);
	cr_assert_eq(load(0, NEXT), 2);
}

Test(upper, the_rights_of_upper_entries_still_count)
{
	each(rights_body);
}

/* ---- who drops them -------------------------------------------------------- */

static void
x86_drops_body(void)
{
	load(0, VA);
	load(0, AWAY);
	load(1, VA);
	sim_tlb_invalidate(NULL, space, 0x5000, 0x6000);
	cr_assert_eq(sim_upper_count(0), 0, "any address takes all");
	cr_assert_eq(sim_tlb_count(0), 2);
	cr_assert_eq(sim_upper_count(1), 3);
}

Test(upper, on_x86_64_any_address_drops_all)
{
	on(SIM_ARCH_X86_64, x86_drops_body);
}

static void
x86_looks_again_body(void)
{
	uint64_t entry = entry_pa(VA, 1);

	load(0, VA);
	set(entry, 0);
	map(NEXT, PAGE_B);
	cr_assert_eq(load(0, NEXT), (uint64_t)(int64_t)SIM_FAULT,
	    "by the table that was there before");
	cr_assert_eq(load(0, NEXT), 2, "the fault made it forget that");
}

Test(upper, on_x86_64_a_fault_drops_those_it_used)
{
	on(SIM_ARCH_X86_64, x86_looks_again_body);
}

static void
arm_drops_body(void)
{
	load(0, VA);
	load(0, AWAY);
	sim_tlb_invalidate(NULL, space, 0x5000, 0x6000);
	cr_assert_eq(sim_upper_count(0), 5);
	sim_tlb_invalidate(NULL, space, NEXT, NEXT + 4096);
	cr_assert_eq(sim_upper_count(0), 2, "the two that lead to AWAY only");
	cr_assert_eq(sim_tlb_count(0), 2);
	cr_assert_eq(load(0, AWAY + 4096), (uint64_t)(int64_t)SIM_FAULT);
	cr_assert_eq(sim_upper_count(0), 2, "a fault drops none");
	sim_tlb_invalidate_page(NULL, space, AWAY);
	cr_assert_eq(sim_upper_count(0), 0);
}

Test(upper, on_arm_an_address_drops_those_that_translate_it)
{
	on(SIM_ARCH_AARCH64, arm_drops_body);
}

static void
all_body(void)
{
	load(0, VA);
	load(0, AWAY);
	load(1, VA);
	sim_tlb_invalidate(NULL, space + 1, 0, UINT64_MAX);
	cr_assert_eq(sim_upper_count(0), 5, "another space's flush");
	sim_tlb_invalidate(NULL, space, 0, UINT64_MAX);
	sim_tlb_shootdown(NULL, space, 2, 0, UINT64_MAX);
	cr_assert_eq(sim_upper_count(0) + sim_upper_count(1), 0);
}

Test(upper, a_flush_of_a_space_drops_its_own)
{
	each(all_body);
}

Test(upper, a_tag_that_is_not_kept_drops_its_own)
{
	for (unsigned n = 0; n < 2; n++) {
		begin(n ? SIM_ARCH_AARCH64 : SIM_ARCH_X86_64, 4);
		load(0, VA);
		sim_cpu_set_tag(0, OTHER_ROOT, 2, false);
		cr_assert_eq(sim_upper_count(0), 3, "they stay meanwhile");
		sim_cpu_set_tag(0, ROOT, 1, true);
		cr_assert_eq(sim_upper_count(0), 3);
		sim_cpu_set_tag(0, ROOT, 1, false);
		cr_assert_eq(sim_upper_count(0), 0);
		sim_shutdown();
	}
}

/* ---- what is caught -------------------------------------------------------- */

static void
no_page_body(void)
{
	load(1, NEXT);
	set(entry_pa(VA, 1), 0);
	free_table(TABLES + 0x2000);
	expect_violations(1, "table freed while an upper entry is cached");
}

Test(upper, a_table_freed_that_no_page_was_reached_through)
{
	each(no_page_body);
}

static void
above_body(void)
{
	uint64_t table = table_of(VA, 1);

	load(0, NEXT);
	set(entry_pa(VA, 2), 0);
	free_table(table);
	expect_violations(1, "upper entry");
}

Test(upper, a_table_freed_that_entries_below_were_reached_through)
{
	each(above_body);
}

static void
goes_body(void)
{
	load(0, NEXT);
	set(entry_pa(VA, 1), 0);
	sim_tlb_invalidate(NULL, space, VA, VA + 4096);
	free_table(TABLES + 0x2000);
}

Test(upper, a_table_freed_after_a_flush_is_right)
{
	each(goes_body);
}

/* A table that is not freed but filled with something else, elsewhere. */
static void
reused_body(void)
{
	sim_forbid_stale_hits(true);
	load(0, NEXT);
	set(entry_pa(VA, 1), 0);
	*word(TABLES + 0x2000 + (NEXT >> 12 & 511) * 8) = leaf(PAGE_B);
	cr_assert_eq(load(0, NEXT), 2);
	expect_violations(1, "stale");
	sim_forbid_stale_hits(false);
}

Test(upper, a_table_used_again_elsewhere)
{
	each(reused_body);
}

Test(upper, a_tag_that_is_kept_with_a_way_through_a_free_table)
{
	begin(SIM_ARCH_X86_64, 4);
	load(0, NEXT);
	sim_cpu_set_tag(0, OTHER_ROOT, 2, false);
	set(entry_pa(VA, 1), 0);
	free_table(TABLES + 0x2000);
	expect_violations(0, "");
	sim_cpu_set_tag(0, ROOT, 1, true);
	expect_violations(1, "came back to tag 1");
	sim_shutdown();
}

static void
arm_table_body(void)
{
	load(0, NEXT);
	set(entry_pa(VA, 1), 0);
	map(NEXT, PAGE_B);
	load(1, NEXT);
	expect_violations(1, "break before make");
	load(0, NEXT);
	expect_violations(2, "break before make"); /* also against CPU 1's */
}

Test(upper, on_arm_a_table_that_replaces_another_one_unflushed)
{
	on(SIM_ARCH_AARCH64, arm_table_body);
}

/* CPU 0 has the page of before; CPU 1 the one of after, flushed or not. */
static void
two_values_body(void)
{
	load(0, VA);
	map(VA, PAGE_B);
	load(1, VA);
	expect_violations(1, "break before make");
	sim_tlb_shootdown(NULL, space, 2, VA, VA + 4096);
	load(1, VA);
	expect_violations(1, "break before make");
	sim_tlb_invalidate(NULL, space, VA, VA + 4096);
	load(0, VA);
}

Test(upper, on_arm_all_values_that_are_cached_are_remembered)
{
	on(SIM_ARCH_AARCH64, two_values_body);
}
