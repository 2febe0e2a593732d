/* SPDX-License-Identifier: MIT
 *
 * tests/test_base.c: the words of mmkit/base/base.h and the defaults of
 * mmkit/base/port.h
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>

#include <mmkit/base/port.h>

#include "prop.h"

Test(base, every_error_has_a_text_of_its_own)
{
	cr_assert_eq(MMK_OK, 0);
	cr_assert_str_eq(mmk_err_name(MMK_OK), "ok");
	for (int a = 0; a < MMK_ERR_MAX; a++) {
		const char *text = mmk_err_name((enum mmk_err)a);

		cr_assert_not_null(text);
		cr_assert_neq(strcmp(text, "unknown error"), 0);
		for (int b = 0; b < a; b++)
			cr_assert_neq(strcmp(text,
			                  mmk_err_name((enum mmk_err)b)),
			    0, "%d and %d", a, b);
	}
	cr_assert_str_eq(mmk_err_name(MMK_ERR_MAX), "unknown error");
}

Test(base, powers_of_two)
{
	cr_assert(!mmk_is_pow2(0));
	for (unsigned bit = 0; bit < 64; bit++) {
		uint64_t x = (uint64_t)1 << bit;

		cr_assert(mmk_is_pow2(x));
		cr_assert_eq(mmk_is_pow2(x + 1), x + 1 == 2);
	}
	cr_assert(!mmk_is_pow2(UINT64_MAX));
}

Test(base, rounding_to_any_alignment)
{
	cr_assert_eq(mmk_round_down(0, 8), 0);
	cr_assert_eq(mmk_round_down(7, 8), 0);
	cr_assert_eq(mmk_round_down(8, 8), 8);
	cr_assert_eq(mmk_round_down(UINT64_MAX, 8), UINT64_MAX - 7);
	cr_assert_eq(mmk_round_up(0, 8), 0);
	cr_assert_eq(mmk_round_up(1, 8), 8);
	cr_assert_eq(mmk_round_up(8, 8), 8);
	cr_assert_eq(mmk_round_up(5, 1), 5);
	cr_assert_eq(mmk_round_up(UINT64_MAX, 8), 0, "it wraps, as it says");
}

Test(base, pages_and_bytes)
{
	uint64_t page_bytes = MMK_PAGE_BYTES;

	cr_assert_eq(page_bytes, (uint64_t)1 << MMK_PAGE_SHIFT);
	cr_assert(mmk_is_page_aligned(0));
	cr_assert(mmk_is_page_aligned(page_bytes));
	cr_assert(!mmk_is_page_aligned(page_bytes - 1));
	cr_assert_eq(mmk_page_floor(page_bytes - 1), 0);
	cr_assert_eq(mmk_page_floor(UINT64_MAX), UINT64_MAX - MMK_PAGE_MASK);
	cr_assert_eq(mmk_pages_round_up(0), 0);
	cr_assert_eq(mmk_pages_round_up(1), 1);
	cr_assert_eq(mmk_pages_round_up(page_bytes), 1);
	cr_assert_eq(mmk_pages_round_up(page_bytes + 1), 2);
	cr_assert_eq(mmk_pages_round_up(UINT64_MAX),
	    (UINT64_MAX >> MMK_PAGE_SHIFT) + 1);
	cr_assert_eq(mmk_pages_of_bytes(page_bytes * 3), 3);
	cr_assert_eq(mmk_bytes_of_pages(3), page_bytes * 3);
}

Test(base, frame_numbers_and_physical_addresses)
{
	uint64_t state = mmk_test_seed();

	for (int i = 0; i < 1000; i++) {
		mmk_pa pa = mmk_test_random(&state);

		cr_assert_eq(mmk_pa_of_pfn(mmk_pfn_of_pa(pa)),
		    mmk_page_floor(pa), "MMK_SEED=%llu",
		    (unsigned long long)mmk_test_seed());
	}
}

Test(base, order_is_the_smallest_that_holds_the_pages)
{
	cr_assert_eq(mmk_order_of_pages(1), 0);
	for (uint64_t nr_pages = 2; nr_pages < 3000; nr_pages++) {
		unsigned order = mmk_order_of_pages(nr_pages);

		cr_assert_geq((uint64_t)1 << order, nr_pages);
		cr_assert_lt((uint64_t)1 << (order - 1), nr_pages);
	}
	cr_assert_eq(mmk_order_of_pages((uint64_t)1 << 40), 40);
	cr_assert_eq(mmk_order_of_pages(((uint64_t)1 << 40) + 1), 41);
}

struct outer {
	char before;
	uint64_t member;
};

Test(base, container_of_goes_from_the_member_to_the_whole)
{
	struct outer outer = { 'x', 1 };

	cr_assert_eq(MMK_CONTAINER_OF(&outer.member, struct outer, member),
	    &outer);
}

static int stamped_v1_p3_c5 = 35;

Test(base, stamp_pastes_settings_into_a_name)
{
	cr_assert_eq(MMK__STAMP(stamped, 3, 5), 35);
}

Test(base, page_primitives_work_on_whole_pages)
{
	static unsigned char from[MMK_PAGE_BYTES + 1], to[MMK_PAGE_BYTES + 1];

	memset(from, 0xa5, sizeof(from));
	MMKIT_PAGE_COPY(to, from);
	cr_assert_eq(memcmp(to, from, MMK_PAGE_BYTES), 0);
	cr_assert_eq(to[MMK_PAGE_BYTES], 0);
	MMKIT_PAGE_ZERO(from);
	for (size_t i = 0; i < MMK_PAGE_BYTES; i++)
		cr_assert_eq(from[i], 0);
	cr_assert_eq(from[MMK_PAGE_BYTES], 0xa5);
}

Test(base, atomics_return_what_they_say)
{
	uint32_t word = 5, expected = 5;

	cr_assert_eq(MMKIT_ATOMIC_LOAD(&word), 5);
	MMKIT_ATOMIC_STORE(&word, 6u);
	cr_assert_eq(MMKIT_ATOMIC_ADD(&word, 4u), 10, "the new value");
	cr_assert_eq(MMKIT_ATOMIC_SUB(&word, 2u), 8, "the new value");
	cr_assert_eq(MMKIT_ATOMIC_OR(&word, 1u), 8, "the old value");
	cr_assert_eq(MMKIT_ATOMIC_AND(&word, 1u), 9, "the old value");
	cr_assert_eq(MMKIT_ATOMIC_XCHG(&word, 7u), 1, "the old value");
	cr_assert(!MMKIT_ATOMIC_CAS(&word, &expected, 9u));
	cr_assert_eq(expected, 7);
	cr_assert(MMKIT_ATOMIC_CAS(&word, &expected, 9u));
	cr_assert_eq(word, 9);
}

Test(base, lock_of_the_port_locks_and_unlocks)
{
	static MMKIT_LOCK_T lock;

	MMKIT_LOCK_INIT(&lock, "test", MMK_RANK_MAP);
	for (int i = 0; i < 3; i++) {
		MMKIT_LOCK(&lock);
		cr_assert(MMKIT_LOCK_HELD(&lock));
		MMKIT_UNLOCK(&lock);
	}
}

Test(base, assertions_that_hold_do_nothing)
{
	MMK_ASSERT(MMK_PAGE_BYTES > 0);
	MMK_DEBUG_ASSERT(MMK_PAGE_BYTES > 0);
}

Test(base_bugs, broken_assertion_stops, .signal = SIGABRT)
{
	MMK_ASSERT(MMK_PAGE_BYTES == 0);
}
