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

#define RW (MMK_PROT_READ | MMK_PROT_WRITE)

static enum mmk_err
on_enter(void *ctx, uint64_t name, mmk_pa pa, uint64_t nr_pages,
    unsigned access)
{
	(void)ctx;
	(void)name;
	(void)pa;
	(void)nr_pages;
	(void)access;
	return MMK_OK;
}

static const struct mmk_container_sink sink = { on_enter, NULL };

static void
expire_all(void)
{
	(void)mmk_pin_expire(&t.pins, 500);
}

/* Time does not stop for physmem->mutex: another CPU ends pins meanwhile. */
Test(hostile, pins_that_end_amid_a_copy_leave_it_whole)
{
	struct mmk_container *x;
	struct mmk_cpin *pins[2];
	char text[2] = { 'a', 'b' };
	mmk_pa pa;

	begin();
	x = container(&t.root);
	ok(mmk_container_allocate(x, PAGE, 3 * PAGE, 0, NULL));
	ok(mmk_container_write(x, PAGE, &text[0], 1));
	ok(mmk_container_write(x, 3 * PAGE, &text[1], 1));
	ok(mmk_container_map(x, PAGE, 3 * PAGE, RW, &sink));
	ok(mmk_container_pin(x, PAGE, 100, &pins[0], &pa));
	ok(mmk_container_pin(x, 2 * PAGE, 100, &pins[1], &pa));
	at_revoke = expire_all;
	ok(mmk_container_copy(x, PAGE, x, 17 * PAGE, 3 * PAGE, MMK_COPY_COW, 0,
	    NULL));
	cr_assert(at_revoke == NULL, "the pins did end");
	ok(mmk_container_read(x, 17 * PAGE, &text[1], 1));
	cr_assert_eq(text[1], 'a');
	ok(mmk_container_read(x, 19 * PAGE, &text[0], 1));
	cr_assert_eq(text[0], 'b');
	cr_assert(mmk_physmem_check(&t.physmem));
	for (unsigned i = 0; i < 2; i++)
		cr_assert(!mmk_container_unpin(&t.physmem, pins[i]));
	finish(x);
}

/* Short pins that are never given back: each costs the kernel memory. */
Test(hostile, pins_that_are_over_count_until_they_are_given_back)
{
	struct mmk_container *x;
	struct mmk_cpin *pins[5];
	mmk_pa pa;

	begin();
	x = container(&t.root);
	ok(mmk_container_allocate(x, 0, PAGE, 0, NULL));
	for (unsigned i = 0; i < 4; i++)
		ok(mmk_container_pin(x, 0, 10, &pins[i], &pa));
	sim_set_clock_ns(100);
	mmk_physmem_expire(&t.physmem);
	cr_assert_eq(mmk_container_pin(x, 0, 10, &pins[4], &pa), MMK_ERR_LIMIT);
	cr_assert(!mmk_container_unpin(&t.physmem, pins[0]));
	ok(mmk_container_pin(x, 0, 10, &pins[0], &pa));
	for (unsigned i = 0; i < 4; i++)
		(void)mmk_container_unpin(&t.physmem, pins[i]);
	finish(x);
}

/* Containers whose names are closed at once: each costs the kernel memory. */
Test(hostile, containers_come_to_an_end)
{
	struct mmk_handles table;
	mmk_handle_name root, name;
	struct mmk_container *one;
	uint64_t before;

	begin();
	t.physmem.config.max_containers = 10;
	mmk_handles_init(&table, &t.handles, 4);
	ok(mmk_handle_insert(&table, &t.root.target, MMK_RIGHT_ALL, &root));
	ok(mmk_physmem_create(&t.physmem, &table, root, &name));
	ok(mmk_container_lookup_name(&table, name, 0, &one));
	for (unsigned i = 1; i < 10; i++) {
		ok(mmk_handle_close(&table, name));
		ok(mmk_physmem_create(&t.physmem, &table, root, &name));
	}
	before = t.nr_items;
	cr_assert_eq(mmk_physmem_create(&t.physmem, &table, root, &name),
	    MMK_ERR_LIMIT);
	cr_assert_eq(t.nr_items, before);
	ok(mmk_container_destroy(one));
	mmk_container_unref(one);
	ok(mmk_physmem_create(&t.physmem, &table, root, &name));
	cr_assert_eq(mmk_physmem_create(&t.physmem, &table, root, &name),
	    MMK_ERR_LIMIT);
	cr_assert(mmk_control_check(&t.tree));
	while (!mmk_list_is_empty(&t.physmem.containers))
		ok(mmk_container_destroy(MMK_LIST_ITEM(
		    mmk_list_first(&t.physmem.containers),
		    struct mmk_container, of_physmem)));
	mmk_handles_fini(&table);
	end();
}

static uint32_t nr_here; /* translations that nobody took away */

static enum mmk_err
count_enter(void *ctx, uint64_t name, mmk_pa pa, uint64_t nr_pages,
    unsigned access)
{
	nr_here++;
	return on_enter(ctx, name, pa, nr_pages, access);
}

static void
all_gone(void)
{
	nr_here = 0;
}

/* The container of `name`, whose page 0 somebody else will have for ever. */
static struct mmk_container *
lookup_and_share(struct mmk_handles *table, mmk_handle_name name,
    struct mmk_container *with)
{
	struct mmk_container *x;

	ok(mmk_container_lookup_name(table, name, 0, &x));
	ok(mmk_container_copy(x, 0, with, 0, PAGE, MMK_COPY_SHARE, 0, NULL));
	return x;
}

/* What its owner gave up while a server looked at it, and then took back. */
static void
give_up_and(enum mmk_err (*take_back)(struct mmk_handles *, mmk_handle_name))
{
	const struct mmk_container_sink mine = { count_enter, NULL };
	struct mmk_handles owner, server;
	mmk_handle_name box, lent, control;
	struct mmk_container *x, *y;

	begin();
	mmk_handles_init(&owner, &t.handles, 8);
	mmk_handles_init(&server, &t.handles, 8);
	ok(mmk_handle_insert(&owner, &t.root.target, MMK_RIGHT_ALL, &control));
	ok(mmk_physmem_create(&t.physmem, &owner, control, &box));
	ok(mmk_physmem_allocate(&owner, box, 0, PAGE, 0, NULL));
	ok(mmk_physmem_lend(&owner, box, &server, MMK_RIGHT_READ, &lent));
	y = container(&t.root);
	x = lookup_and_share(&owner, box, y);
	nr_here = 0;
	ok(mmk_physmem_map(&server, lent, 0, PAGE, MMK_PROT_READ, &mine));
	at_revoke = all_gone;
	ok(mmk_physmem_deallocate(&owner, box, 0, PAGE, 0, NULL));
	cr_assert_eq(nr_here, 1u, "left where it is: lazily");
	ok(take_back(&owner, box));
	cr_assert_eq(nr_here, 0u, "the server's mappings end");
	(void)!mmk_container_destroy(x);
	mmk_container_unref(x);
	mmk_handles_fini(&server);
	mmk_handles_fini(&owner);
	finish(y);
}

Test(hostile, revoking_ends_translations_of_names_given_up)
{
	give_up_and(mmk_physmem_revoke);
}

Test(hostile, destroying_ends_translations_of_names_given_up)
{
	give_up_and(mmk_physmem_destroy);
}

static mmk_pa seen_pa;

static enum mmk_err
see_pa(void *ctx, uint64_t name, mmk_pa pa, uint64_t nr_pages, unsigned access)
{
	seen_pa = pa;
	return on_enter(ctx, name, pa, nr_pages, access);
}

/* A pin that ends is no pin any more before its reference is given back. */
Test(hostile, a_block_is_not_halved_while_a_pin_is_about_to_be_gone)
{
	const struct mmk_container_sink see = { see_pa, NULL };
	struct mmk_container *x;

	begin();
	x = container(&t.root);
	ok(mmk_container_allocate(x, 0, 2 * PAGE, 0, NULL));
	ok(mmk_container_map(x, 0, 2 * PAGE, RW, &see));
	cr_assert(mmk_pa_ref(&t.phys, seen_pa));
	cr_assert_eq(mmk_container_deallocate(x, PAGE, PAGE, 0, NULL),
	    MMK_ERR_AGAIN);
	cr_assert(mmk_pa_unref(&t.phys, seen_pa));
	cr_assert(mmk_physmem_check(&t.physmem));
	ok(mmk_container_deallocate(x, PAGE, PAGE, 0, NULL));
	cr_assert(mmk_physmem_check(&t.physmem));
	finish(x);
}
