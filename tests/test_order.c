/* SPDX-License-Identifier: MIT
 *
 * tests/test_order.c: pmaps come and go in an order: the kernel's first and
 * last, and all of them before their system
 */
#include <signal.h>

#include "pmap_fixture.h"

TestSuite(order_bugs, .init = boot_first);
TestSuite(order_kernel_bugs, .init = boot_first_with_kernel);

/* What fails, or has gone, does not count. */
TEST_FORMATS(pmaps_that_failed_or_went_are_not_in_the_way)
{
	struct mmk_pmap_sys other;
	struct mmk_pmap half, own;
	enum mmk_err err = MMK_ERR_NOMEM;

	cr_assert_eq(sys.nr_pmaps, NR_PMAPS);
	cr_assert_eq(mmk_pmap_sys_init(&other, &phys, &sys.shape), MMK_OK);
	sim_fail_at(1);
	cr_assert_eq(mmk_pmap_init(&own, &other, NULL), MMK_ERR_NOMEM);
	for (uint64_t k = 1; err != MMK_OK; k++) {
		sim_fail_at(k);
		err = mmk_pmap_init_kernel(&half, &other, NULL);
		cr_assert(err == MMK_OK || other.nr_pmaps == 0);
	}
	sim_fail_at(0);
	cr_assert_eq(mmk_pmap_init(&own, &other, NULL), MMK_OK);
	cr_assert_eq(other.nr_pmaps, 2);
	mmk_pmap_fini(&own);
	mmk_pmap_fini(&half);
	cr_assert_eq(other.nr_pmaps, 0);
	cr_assert_eq(mmk_pmap_init_kernel(&half, &other, NULL), MMK_OK);
	mmk_pmap_fini(&half);
	mmk_pmap_sys_fini(&other);
}

/* It would run without the kernel. */
Test(order_bugs, the_kernels_pmap_after_a_programs, .signal = SIGABRT)
{
	static struct mmk_pmap late;

	(void)!mmk_pmap_init_kernel(&late, &sys, NULL);
}

/* It would keep the way to tables that are gone. */
Test(order_kernel_bugs, the_kernels_pmap_goes_before_a_programs,
    .signal = SIGABRT)
{
	for (unsigned cpu = 0; cpu < sim_cpu_count(); cpu++) {
		sim_set_cpu(cpu);
		mmk_pmap_deactivate(kernel, cpu);
	}
	mmk_pmap_fini(kernel);
}

Test(order_bugs, the_system_goes_before_a_pmap, .signal = SIGABRT)
{
	mmk_pmap_sys_fini(&sys);
}
