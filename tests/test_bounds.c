/* SPDX-License-Identifier: MIT
 *
 * tests/test_bounds.c: addresses that no table translates, that no entry has a
 * place for, and that end beyond their end: each has its answer, and changes
 * nothing. From 0 to the limit all is in order.
 */
#include <criterion/criterion.h>

#include <signal.h>

#include "super_fixture.h"

#define RWK (R | W)

/* What was there when a test began. */
static struct {
	uint64_t nr_pages, nr_tables, nr_reserved;
} before;

static void
remember(void)
{
	before.nr_pages = pmaps[0].nr_pages;
	before.nr_tables = pmaps[0].nr_tables;
	before.nr_reserved = pmaps[0].nr_reserved;
}

static void
check_nothing_changed(void)
{
	cr_assert_eq(pmaps[0].nr_pages, before.nr_pages);
	cr_assert_eq(pmaps[0].nr_tables, before.nr_tables);
	cr_assert_eq(pmaps[0].nr_reserved, before.nr_reserved);
	cr_assert(check_all());
}

/* Each way to enter refuses it, with nothing changed. */
static void
check_refused(mmk_va va, mmk_pa pa)
{
	struct mmk_pmap *pmap = &pmaps[0];
	uint64_t nr_done = 99;

	remember();
	cr_assert_eq(mmk_pmap_enter(pmap, va, pa, RWU), MMK_ERR_INVAL,
	    "va 0x%llx pa 0x%llx", (unsigned long long)va,
	    (unsigned long long)pa);
	cr_assert_eq(mmk_pmap_enter_run(pmap, va, pa, 5, RWU, &nr_done),
	    MMK_ERR_INVAL);
	cr_assert_eq(nr_done, 0);
	cr_assert_eq(mmk_pmap_enter_run(pmap, va, pa, UINT64_MAX, RWU,
	                 &nr_done),
	    MMK_ERR_INVAL);
	cr_assert_eq(nr_done, 0);
	cr_assert_eq(mmk_pmap_kenter(pmap, va, pa, 2, RWK), MMK_ERR_INVAL);
	check_nothing_changed();
}

/* ---- entering ------------------------------------------------------------ */

TEST_FORMATS(unaligned_addresses_are_invalid)
{
	for (uint64_t bit = 1; bit < PAGE; bit <<= 1) {
		check_refused(VA + bit, FOREIGN);
		check_refused(VA, FOREIGN + bit);
	}
}

TEST_FORMATS(virtual_addresses_at_and_above_the_limit_are_invalid)
{
	mmk_va limit = mmk_pt_va_limit(&sys.shape);

	for (mmk_va va = limit; va != 0; va <<= 1) {
		check_refused(va, FOREIGN);
		check_refused(va + VA % limit, FOREIGN);
		check_refused((mmk_va)0 - va, FOREIGN);
	}
	check_refused((mmk_va)0 - PAGE, FOREIGN);
	cr_assert_eq(mmk_pmap_enter(&pmaps[0], limit - PAGE, FOREIGN, RWU),
	    MMK_OK);
	cr_assert_eq(mmk_pmap_enter(&pmaps[0], 0, FOREIGN, RWU), MMK_OK);
}

/* x86_64: bits 63 to 47 (56) are equal, and the upper half is the kernel's. */
TEST_FORMATS(non_canonical_addresses_are_invalid)
{
	unsigned va_bits = sys.shape.va_bits;

	if (is_arm())
		return;
	check_refused((mmk_va)1 << (va_bits - 1), FOREIGN);
	check_refused(((mmk_va)1 << va_bits) - PAGE, FOREIGN);
	check_refused((mmk_va)1 << va_bits, FOREIGN);
	check_refused((mmk_va)0 - ((mmk_va)1 << (va_bits - 1)), FOREIGN);
	check_refused((mmk_va)0 - ((mmk_va)1 << (va_bits - 1)) - PAGE, FOREIGN);
}

TEST_FORMATS(physical_addresses_wider_than_the_cpus_are_invalid)
{
	unsigned pa_bits = sys.shape.pa_bits;
	unsigned fewer = pa_bits > 48 ? 49 : 36; /* the format stays */

	for (unsigned bit = pa_bits; bit < 64; bit++) {
		check_refused(VA, (mmk_pa)1 << bit);
		check_refused(VA, ((mmk_pa)1 << bit) + FOREIGN);
	}
	cr_assert_eq(mmk_pmap_enter(&pmaps[0], VA,
	                 ((mmk_pa)1 << pa_bits) - PAGE, RWU),
	    MMK_OK);
	/* A CPU with fewer (CPUID 80000008H, PARange) says so in its shape. */
	sys.shape.pa_bits = (uint8_t)fewer;
	check_refused(VA + PAGE, (mmk_pa)1 << fewer);
	cr_assert_eq(mmk_pmap_enter(&pmaps[0], VA + PAGE,
	                 ((mmk_pa)1 << fewer) - PAGE, RWU),
	    MMK_OK);
	sys.shape.pa_bits = (uint8_t)pa_bits;
}

/* ---- runs ---------------------------------------------------------------- */

/* What fits is entered, as the contract says, and the error tells the rest. */
TEST_FORMATS(a_run_ends_at_the_limit_of_virtual_addresses)
{
	mmk_va va = mmk_pt_va_limit(&sys.shape) - 3 * PAGE;
	uint64_t nr_done = 99;

	cr_assert_eq(mmk_pmap_enter_run(&pmaps[0], va, FOREIGN, 4, RWU,
	                 &nr_done),
	    MMK_ERR_INVAL);
	cr_assert_eq(nr_done, 3);
	cr_assert_eq(pmaps[0].nr_pages, 3);
	nr_done = 99;
	cr_assert_eq(mmk_pmap_enter_run(&pmaps[0], va, FOREIGN, UINT64_MAX,
	                 RWU, &nr_done),
	    MMK_ERR_INVAL);
	cr_assert_eq(nr_done, 3);
	cr_assert_eq(mmk_pmap_enter_run(&pmaps[0], va, FOREIGN, 3, RWU,
	                 &nr_done),
	    MMK_OK);
	cr_assert(check_all());
}

TEST_FORMATS(a_run_ends_at_the_width_of_physical_addresses)
{
	mmk_pa pa = ((mmk_pa)1 << sys.shape.pa_bits) - 3 * PAGE;
	uint64_t nr_done = 99;

	cr_assert_eq(mmk_pmap_enter_run(&pmaps[0], VA, pa, UINT64_MAX, RWU,
	                 &nr_done),
	    MMK_ERR_INVAL);
	cr_assert_eq(nr_done, 3);
	cr_assert_eq(pmaps[0].nr_pages, 3);
	cr_assert(check_all());
}

/* All or nothing: also of one that is longer than all addresses. */
TEST_FORMATS(kenter_beyond_either_end_changes_nothing)
{
	static const uint64_t many[] = { 4, UINT64_MAX / PAGE,
		UINT64_MAX / PAGE + 2, UINT64_MAX };
	mmk_va last_va = mmk_pt_va_limit(&sys.shape) - 3 * PAGE;
	mmk_pa last_pa = ((mmk_pa)1 << sys.shape.pa_bits) - 3 * PAGE;
	struct mmk_pmap *pmap = &pmaps[0];

	for (unsigned i = 0; i < 4; i++) {
		remember();
		cr_assert_eq(mmk_pmap_kenter(pmap, last_va, FOREIGN, many[i],
		                 RWK),
		    MMK_ERR_INVAL);
		check_nothing_changed();
		cr_assert_eq(mmk_pmap_kenter(pmap, VA, last_pa, many[i], RWK),
		    MMK_ERR_INVAL);
		check_nothing_changed();
	}
	for (unsigned i = 1; i < 4; i++) {
		cr_assert_eq(mmk_pmap_kenter(pmap, VA, FOREIGN, many[i], RWK),
		    MMK_ERR_INVAL);
		check_nothing_changed();
	}
	cr_assert_eq(mmk_pmap_kenter(pmap, last_va, last_pa, 3, RWK), MMK_OK);
	mmk_pmap_kremove(pmap, last_va, 3);
}

/* ---- looking and removing ------------------------------------------------- */

TEST_FORMATS(looking_beyond_the_limit_finds_nothing)
{
	mmk_va limit = mmk_pt_va_limit(&sys.shape);
	struct mmk_translation found = { .va = 1, .pa = 2 };
	struct mmk_pmap *pmap = &pmaps[0];

	cr_assert_eq(mmk_pmap_enter(pmap, limit - PAGE, FOREIGN, RWU), MMK_OK);
	cr_assert_eq(mmk_pmap_enter(pmap, 0, FOREIGN + PAGE, RWU), MMK_OK);
	for (mmk_va va = limit; va != 0; va <<= 1) {
		cr_assert(!mmk_pmap_query(pmap, va, &found));
		cr_assert(!mmk_pmap_query(pmap, (mmk_va)0 - va, &found));
		cr_assert(!mmk_pmap_query(pmap, va + limit - PAGE, &found) ||
		    va + limit - PAGE == limit - PAGE);
		cr_assert(!mmk_pmap_next(pmap, va, UINT64_MAX, &found));
		cr_assert(!mmk_pmap_emulate(pmap, va, R | U));
		cr_assert(!mmk_pmap_promote(pmap, va));
		mmk_pmap_unwire(pmap, va);
	}
	cr_assert(!mmk_pmap_query(pmap, UINT64_MAX, &found));
	cr_assert(!mmk_pmap_next(pmap, UINT64_MAX, UINT64_MAX, &found));
	cr_assert_eq(found.va, 1);
	cr_assert_eq(found.pa, 2);
	cr_assert(mmk_pmap_query(pmap, limit - 1, &found));
	cr_assert_eq(found.va, limit - PAGE);
	cr_assert(mmk_pmap_query(pmap, PAGE - 1, &found));
	cr_assert_eq(found.pa, FOREIGN + PAGE);
}

TEST_FORMATS(removing_beyond_the_limit_removes_nothing_and_up_to_it_all)
{
	mmk_va limit = mmk_pt_va_limit(&sys.shape);

	cr_assert_eq(mmk_pmap_enter(&pmaps[0], limit - PAGE, FOREIGN, RWU),
	    MMK_OK);
	cr_assert_eq(mmk_pmap_enter(&pmaps[0], 0, FOREIGN, RWU), MMK_OK);
	remember();
	remove_now(0, limit, (mmk_va)0 - PAGE);
	protect_now(0, limit, (mmk_va)0 - PAGE, R);
	remove_now(0, limit + PAGE, limit + PAGE);
	remove_now(0, PAGE, limit - PAGE);
	check_nothing_changed();
	remove_now(0, PAGE, (mmk_va)0 - PAGE);
	cr_assert_eq(pmaps[0].nr_pages, 1);
	cr_assert_eq(flags_at(0, 0) & RWU, RWU);
	cr_assert(check_all());
}

/* Who calls these has the range from a map: a bad one is the kernel's bug. */
#define TEST_BUG(name, call)                              \
	Test(bounds_bugs, name, .signal = SIGABRT)        \
	{                                                 \
		struct mmk_pmap *pmap = &pmaps[0];        \
		                                          \
		boot(&formats[0]);                        \
		call;                                     \
	}

TEST_BUG(remove_from_amid_a_page,
    mmk_pmap_remove(pmap, VA + 1, VA + PAGE, &gather))
TEST_BUG(remove_to_amid_a_page,
    mmk_pmap_remove(pmap, VA, VA + PAGE + 8, &gather))
TEST_BUG(remove_backwards, mmk_pmap_remove(pmap, VA + PAGE, VA, &gather))
TEST_BUG(remove_over_the_end,
    mmk_pmap_remove(pmap, (mmk_va)0 - PAGE, PAGE, &gather))
TEST_BUG(protect_from_amid_a_page,
    mmk_pmap_protect(pmap, VA + 1, VA + PAGE, R, &gather))
TEST_BUG(protect_backwards,
    mmk_pmap_protect(pmap, VA + PAGE, VA, R, &gather))
TEST_BUG(protect_with_what_is_no_right,
    mmk_pmap_protect(pmap, VA, VA + PAGE, R | U, &gather))
TEST_BUG(collect_backwards,
    mmk_pmap_collect(pmap, VA + PAGE, VA, 0, &gather))
TEST_BUG(kremove_over_the_end,
    mmk_pmap_kremove(pmap, VA, UINT64_MAX / PAGE))
