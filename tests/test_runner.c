/* SPDX-License-Identifier: MIT
 *
 * tests/test_runner.c: what the tests ask of Criterion and of the in-process
 * runner, the same of both.
 */
#include <criterion/criterion.h>

#include <signal.h>
#include <stdlib.h>

static int nr_inits;

static void
count_init(void)
{
	nr_inits++;
}

static void
must_be_one(void)
{
	cr_assert_eq(nr_inits, 1);
	nr_inits = 0;
}

TestSuite(runner_fixture, .init = count_init);

Test(runner_fixture, init_of_the_suite_runs_before_each_test)
{
	cr_assert_eq(nr_inits, 1);
	nr_inits = 0;
}

Test(runner_fixture, init_of_the_test_runs_after_that_of_the_suite,
    .init = count_init)
{
	cr_assert_eq(nr_inits, 2);
	nr_inits = 0;
}

Test(runner, fini_runs_after_the_test, .init = count_init, .fini = must_be_one)
{
	cr_assert_eq(nr_inits, 1);
}

Test(runner, every_form_of_assertion_that_holds_passes)
{
	int x = 3;
	const char *text = "abc";

	cr_assert(x == 3);
	cr_assert(x == 3, "x is %d", x);
	cr_assert_not(x == 4);
	cr_assert_eq(x, 3, "x is %d", x);
	cr_assert_neq(x, 4);
	cr_assert_lt(x, 4);
	cr_assert_leq(x, 3);
	cr_assert_gt(x, 2);
	cr_assert_geq(x, 3);
	cr_assert_null(NULL);
	cr_assert_not_null(text);
	cr_assert_str_eq(text, "abc");
	cr_assert_str_neq(text, "abd");
}

Test(runner_bugs, a_test_may_demand_its_own_abort, .signal = SIGABRT)
{
	abort();
}
