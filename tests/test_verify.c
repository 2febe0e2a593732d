/* SPDX-License-Identifier: MIT
 *
 * tests/test_verify.c: mmkit/phys/verify.h, pages that are looked at
 *
 * The implementation is compiled once more, private to this file. A checker
 * would see these writes first, so it is told to look away.
 */
#undef MMKIT_DEBUG
#define MMKIT_STATIC
#define MMKIT_PHYS_VERIFY 1
#include "ports/sim/mmkit_port.h"
#undef MMKIT_LOG
static const char *told; /* what the log was told last */
static void verify_log(const char *text);
#define MMKIT_LOG(text) verify_log(text)

#include <stdio.h>

#include "mmkit/phys/compact.h"
#include "mmkit/phys/run.h"
#include "frame_fixture.h"

TestSuite(verify, .init = boot, .fini = fini);
TestSuite(verify_bugs, .init = boot);

static mmk_pa damaged_pa;

static void
verify_log(const char *text)
{
	char expected[32];

	told = text;
	(void)snprintf(expected, sizeof(expected), "0x%016llx",
	    (unsigned long long)damaged_pa);
	/* The panic that follows is what is expected; another end is not. */
	if (strstr(text, expected) == NULL)
		exit(1);
}

/* A write that no checker sees. */
static void
damage(mmk_pa pa, size_t offset_bytes)
{
	unsigned char *at = (unsigned char *)MMKIT_PHYS_TO_PTR(pa) +
	    offset_bytes;

	sim_checker_forget(at, 1);
	*at ^= 1;
	damaged_pa = pa;
}

Test(verify, pages_come_and_go_in_any_order_and_size)
{
	struct mmk_frame *held[48] = { NULL };
	uint64_t seed = mmk_test_seed();

	for (unsigned step = 0; step < mmk_test_steps(3000); step++) {
		unsigned i = (unsigned)(mmk_test_random(&seed) % 48);
		unsigned order = (unsigned)(mmk_test_random(&seed) % 8);

		if (held[i] != NULL) {
			put(held[i]);
			held[i] = NULL;
		} else if (mmk_frame_alloc(&phys, order,
		               step % 3 == 0 ? MMK_ALLOC_ZERO : 0,
		               MMK_USE_KERNEL, &held[i]) == MMK_OK) {
			(void)memset(mmk_frame_ptr(&phys, held[i]), (int)step,
			    (size_t)mmk_frame_nr_pages(held[i]) <<
			        MMK_PAGE_SHIFT);
		} else {
			held[i] = NULL;
		}
		if (step % 500 == 0)
			mmk_phys_drain(&phys);
	}
	for (unsigned i = 0; i < 48; i++)
		if (held[i] != NULL)
			put(held[i]);
	cr_assert_null(told);
}

Test(verify, runs_are_looked_at_too)
{
	struct mmk_run_request request = { .nr_pages = 21,
		.use = MMK_USE_KERNEL };
	mmk_pfn first = 0;

	for (unsigned i = 0; i < 4; i++) {
		cr_assert_eq(mmk_run_alloc(&phys, &request, &first), MMK_OK);
		(void)memset(MMKIT_PHYS_TO_PTR(mmk_pa_of_pfn(first)), 7,
		    (size_t)21 << MMK_PAGE_SHIFT);
		mmk_run_free(&phys, first, 21);
	}
	cr_assert_null(told);
}

Test(verify_bugs, a_write_to_a_free_page_is_named, .signal = SIGABRT)
{
	struct mmk_frame *frame = get(0, 0);

	put(frame);
	damage(mmk_frame_pa(&phys, frame), 0);
	(void)get(0, 0);
}

Test(verify_bugs, the_last_byte_of_a_block_counts, .signal = SIGABRT)
{
	struct mmk_frame *frame = get(3, 0);

	put(frame);
	damage(mmk_frame_pa(&phys, frame) + 7 * MMK_PAGE_BYTES,
	    MMK_PAGE_BYTES - 1);
	(void)get(3, 0);
}

Test(verify_bugs, what_was_merged_and_split_is_still_known, .signal = SIGABRT)
{
	struct mmk_frame *frame = get(0, 0);
	uint64_t nr;

	put(frame);
	mmk_phys_drain(&phys);
	damage(mmk_frame_pa(&phys, frame), 99);
	(void)take_all(2, &nr);
}

Test(verify_bugs, a_run_is_looked_at, .signal = SIGABRT)
{
	struct mmk_run_request request = { .nr_pages = 21,
		.use = MMK_USE_KERNEL };
	mmk_pfn first = 0;

	cr_assert_eq(mmk_run_alloc(&phys, &request, &first), MMK_OK);
	mmk_run_free(&phys, first, 21);
	damage(mmk_pa_of_pfn(first) + 20 * MMK_PAGE_BYTES, 1);
	for (unsigned i = 0; i < 4; i++)
		cr_assert_eq(mmk_run_alloc(&phys, &request, &first), MMK_OK);
}
