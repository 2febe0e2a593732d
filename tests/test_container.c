/* SPDX-License-Identifier: MIT
 *
 * tests/test_container.c: containers: names, credit, memory
 */
#include "container_fixture.h"

Test(container, S1_15_a_range_becomes_powers_of_two)
{
	struct mmk_container *x;
	struct mmk_centry_info info;

	boot(64);
	x = container(&t.root);
	ok(mmk_container_allocate(x, 0, 7 * PAGE, 0, NULL));
	ok(mmk_container_lookup(x, 5 * PAGE + 3, &info));
	cr_assert_eq(info.start, 4 * PAGE);
	cr_assert_eq(info.nr_bytes, 2 * PAGE);
	cr_assert_eq(info.offset_bytes, PAGE + 3);
	ok(mmk_container_lookup(x, 6 * PAGE, &info));
	cr_assert_eq(info.nr_bytes, PAGE);
	cr_assert_eq(mmk_container_lookup(x, 7 * PAGE, &info), MMK_ERR_NOENT);
	ok(mmk_container_destroy(x));
	mmk_container_unref(x);
	end();
}

Test(container, S1_21_release_keeps_the_names_and_copies_nothing)
{
	struct mmk_container *x, *y;
	char byte = 0;

	boot(64);
	x = container(&t.root);
	y = container(&t.root);
	ok(mmk_container_allocate(x, 0, 4 * PAGE, 0, NULL));
	ok(mmk_container_write(x, PAGE, "a", 1));
	ok(mmk_container_copy(x, 0, y, 16 * PAGE, 4 * PAGE, MMK_COPY_COW, 0,
	    NULL));
	ok(mmk_container_read(y, 17 * PAGE, &byte, 1));
	cr_assert_eq(byte, 'a');
	ok(mmk_container_release(y, 16 * PAGE, 4 * PAGE));
	ok(mmk_container_read(y, 17 * PAGE, &byte, 1));
	cr_assert_eq(byte, 0);
	ok(mmk_container_write(x, PAGE, "b", 1));
	cr_assert_eq(t.physmem.counters.nr_copies, 0u);
	cr_assert_eq(free_credit(&t.root), 64u - 8);
	ok(mmk_container_deallocate(x, 2 * PAGE, PAGE, 0, NULL));
	cr_assert(mmk_physmem_check(&t.physmem));
	ok(mmk_container_destroy(x));
	ok(mmk_container_destroy(y));
	mmk_container_unref(x);
	mmk_container_unref(y);
	end();
}
