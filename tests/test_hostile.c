/* SPDX-License-Identifier: MIT
 *
 * tests/test_hostile.c: clients of physmem that want what is not theirs:
 * credit from nothing, the kernel's memory, pages of others
 */
#include "container_fixture.h"

static void (*at_revoke)(void);
static unsigned nr_revokes_to_go;

/* Somebody else is at work while translations are taken away. */
static void
on_revoke(void *ctx, struct mmk_frame *frame, unsigned keep)
{
	(void)ctx;
	(void)frame;
	(void)keep;
	if (at_revoke != NULL && nr_revokes_to_go-- == 0) {
		void (*call)(void) = at_revoke;

		at_revoke = NULL;
		call();
	}
}

static const struct mmk_physmem_plug plug = { on_revoke, NULL };

static void
begin(void)
{
	at_revoke = NULL;
	nr_revokes_to_go = 0;
	boot_with(64, &plug, false);
	sim_set_clock_ns(1);
}

static void
finish(struct mmk_container *x)
{
	ok(mmk_container_destroy(x));
	mmk_container_unref(x);
	end();
}

/* A pinned page has two names; both are overwritten by one request. */
Test(hostile, squashing_two_names_of_a_pinned_page_makes_no_credit)
{
	struct mmk_container *x;
	struct mmk_cpin *pin;
	uint64_t before;
	mmk_pa pa;

	begin();
	x = container(&t.root);
	ok(mmk_container_allocate(x, 0, PAGE, 0, NULL));
	ok(mmk_container_copy(x, 0, x, PAGE, PAGE, MMK_COPY_SHARE, 0, NULL));
	ok(mmk_container_pin(x, 0, 100, &pin, &pa));
	before = free_credit(&t.root);
	ok(mmk_container_allocate(x, 0, 2 * PAGE, MMK_CONTAINER_SQUASH, NULL));
	cr_assert_eq(free_credit(&t.root), before - 1, "the pin bears a page");
	ok(mmk_container_allocate(x, 8 * PAGE, PAGE, 0, NULL));
	ok(mmk_container_deallocate(x, 0, 9 * PAGE, MMK_CONTAINER_PARTIAL,
	    NULL));
	cr_assert(mmk_container_unpin(&t.physmem, pin));
	cr_assert_eq(free_credit(&t.root), 64u);
	cr_assert(mmk_control_check(&t.tree));
	finish(x);
}
