/* SPDX-License-Identifier: MIT
 *
 * tests/test_control.c: the contract of mmkit/phys/control.h
 */
#include "control_fixture.h"

TestSuite(control, .init = boot_controls, .fini = fini_controls);
TestSuite(control_bugs, .init = boot_controls);

static uint64_t
used_frames(void)
{
	return stats().nr_used_pages[MMK_USE_KERNEL];
}

Test(control, a_root_guarantees_everything)
{
	assert_credit(&root, ROOT_PAGES, 0, 0);
	cr_assert(mmk_control_is_open(&root));
	cr_assert_null(root.parent);
}

Test(control, S1_3_the_eleventh_frame_has_no_credit)
{
	struct mmk_control *ten = split(&root, 10);
	struct box *box = box_create(ten);

	for (unsigned i = 0; i < 10; i++)
		cr_assert_eq(box_alloc(box, i), MMK_OK);
	cr_assert_eq(box_alloc(box, 10), MMK_ERR_LIMIT);
	cr_assert_gt(stats().nr_free_pages, 1000, "there is memory");
	assert_credit(ten, 10, 10, 0);
	cr_assert_eq(used_frames(), 10);
	box_free(box, 3);
	cr_assert_eq(box_alloc(box, 3), MMK_OK);
	box_destroy(box);
	assert_credit(ten, 10, 0, 0);
	destroy(ten);
	mmk_control_unref(ten);
}

Test(control, S1_4_split_moves_exactly_what_is_asked)
{
	struct mmk_control *b = split(&root, 10);

	assert_credit(&root, 90, 0, 0);
	assert_credit(b, 10, 0, 0);
	cr_assert_eq(b->parent, &root);
	destroy(b);
	assert_credit(&root, 100, 0, 0);
	mmk_control_unref(b);
}

Test(control, S1_4_split_of_too_much_or_nothing_changes_nothing)
{
	struct mmk_control *all, child;

	memset(&child, 0x5a, sizeof(child));
	cr_assert_eq(mmk_control_charge(&root, 30), MMK_OK);
	cr_assert_eq(mmk_control_split(&root, &child, 71), MMK_ERR_LIMIT);
	cr_assert_eq(mmk_control_split(&root, &child, 0), MMK_ERR_INVAL);
	cr_assert_eq(mmk_control_split(&root, &child, UINT64_MAX),
	    MMK_ERR_LIMIT);
	for (size_t i = 0; i < sizeof(child); i++)
		cr_assert_eq(((unsigned char *)&child)[i], 0x5a);
	assert_credit(&root, 100, 30, 0);
	all = split(&root, 70);
	cr_assert_not_null(all, "all that is not committed may go");
	cr_assert_eq(mmk_control_charge(&root, 1), MMK_ERR_LIMIT);
	mmk_control_uncharge(&root, 30);
	destroy(all);
	mmk_control_unref(all);
}

Test(control, S1_5_splits_nest_and_the_sum_stays)
{
	struct mmk_control *b = split(&root, 40), *c = split(b, 15);

	cr_assert_eq(c->parent, b);
	cr_assert_eq(b->parent, &root);
	cr_assert_eq(c->tree, &tree);
	assert_credit(&root, 60, 0, 0);
	assert_credit(b, 25, 0, 0);
	assert_credit(c, 15, 0, 0);
	cr_assert_eq(tree.nr_controls, 3);
	destroy(b);
	cr_assert_eq(tree.nr_controls, 1);
	mmk_control_unref(c);
	cr_assert_eq(nr_released, 1);
	mmk_control_unref(b);
	cr_assert_eq(nr_released, 2);
}

Test(control, S1_6_destroy_absorbs_the_whole_subtree)
{
	struct mmk_control *b = split(&root, 10), *c = split(b, 4), *found;
	struct box *in_b = box_create(b), *in_c = box_create(c);
	struct mmk_handles table;
	mmk_handle_name c_name = 0, box_name = 0;
	struct mmk_handle_target *target;

	mmk_handles_init(&table, &handles, 10);
	cr_assert_eq(mmk_handle_insert(&table, &c->target, MMK_RIGHT_ALL,
	                 &c_name),
	    MMK_OK);
	cr_assert_eq(mmk_handle_insert(&table, &in_c->target, MMK_RIGHT_ALL,
	                 &box_name),
	    MMK_OK);
	for (unsigned i = 0; i < 2; i++)
		cr_assert_eq(box_alloc(in_b, i), MMK_OK);
	for (unsigned i = 0; i < 3; i++)
		cr_assert_eq(box_alloc(in_c, i), MMK_OK);
	assert_credit(b, 6, 2, 0);
	assert_credit(c, 4, 3, 0);
	cr_assert_eq(used_frames(), 5);

	destroy(b);
	assert_credit(&root, 100, 0, 0);
	cr_assert_eq(used_frames(), 0);
	cr_assert(in_b->is_ended);
	cr_assert(in_c->is_ended);
	cr_assert_eq(mmk_control_lookup(&table, c_name, 0, &found),
	    MMK_ERR_NOENT);
	cr_assert_eq(mmk_handle_lookup(&table, box_name, MMK_HANDLE_CONTAINER,
	                 0, &target),
	    MMK_ERR_NOENT);
	mmk_control_unref(b);
	mmk_control_unref(c);
	cr_assert_eq(nr_released, 2);
	box_destroy(in_b);
	box_destroy(in_c);
	mmk_handles_fini(&table);
}

Test(control, S1_6_the_root_is_not_destroyed)
{
	cr_assert_eq(mmk_control_destroy(&root), MMK_ERR_INVAL);
	assert_credit(&root, 100, 0, 0);
	cr_assert_eq(mmk_control_charge(&root, 1), MMK_OK);
	mmk_control_uncharge(&root, 1);
}

Test(control, S1_8_two_names_draw_on_one_credit)
{
	struct mmk_control *shared = split(&root, 10), *found = NULL;
	struct mmk_handles mine, yours;
	mmk_handle_name my_name = 0, your_name = 0;

	mmk_handles_init(&mine, &handles, 10);
	mmk_handles_init(&yours, &handles, 10);
	cr_assert_eq(mmk_handle_insert(&mine, &shared->target, MMK_RIGHT_ALL,
	                 &my_name),
	    MMK_OK);
	cr_assert_eq(mmk_handle_derive(&mine, my_name, &yours, MMK_RIGHT_ALLOC,
	                 &your_name),
	    MMK_OK);
	mmk_control_unref(shared);
	cr_assert_eq(mmk_control_charge(shared, 7), MMK_OK);
	cr_assert_eq(mmk_control_lookup(&yours, your_name, MMK_RIGHT_ALLOC,
	                 &found),
	    MMK_OK);
	cr_assert_eq(found, shared);
	cr_assert_eq(mmk_control_charge(found, 4), MMK_ERR_LIMIT);
	cr_assert_eq(mmk_control_charge(found, 3), MMK_OK);

	cr_assert_eq(mmk_handle_close(&mine, my_name), MMK_OK);
	assert_credit(found, 10, 10, 0);
	mmk_control_unref(found);
	found = NULL;
	cr_assert_eq(mmk_control_lookup(&yours, your_name, 0, &found), MMK_OK);
	mmk_control_uncharge(found, 10);
	destroy(found);
	cr_assert_eq(nr_released, 0, "the lookup has a reference");
	mmk_control_unref(found);
	cr_assert_eq(nr_released, 1);
	mmk_handles_fini(&mine);
	mmk_handles_fini(&yours);
}

Test(control, S1_9_a_charge_changes_its_own_control_only)
{
	struct mmk_control *a = split(&root, 20), *b = split(a, 10);
	struct box *x = box_create(a), *y = box_create(b);

	cr_assert_eq(box_alloc(x, 0), MMK_OK);
	assert_credit(a, 10, 1, 0);
	assert_credit(b, 10, 0, 0);
	cr_assert_eq(box_alloc(y, 0), MMK_OK);
	cr_assert_eq(box_alloc(y, 1), MMK_OK);
	assert_credit(a, 10, 1, 0);
	assert_credit(b, 10, 2, 0);
	box_free(x, 0);
	assert_credit(a, 10, 0, 0);
	assert_credit(b, 10, 2, 0);
	box_destroy(x);
	box_destroy(y);
	destroy(a);
	mmk_control_unref(a);
	mmk_control_unref(b);
}

Test(control, a_failed_allocation_leaves_no_charge)
{
	struct mmk_control *a = split(&root, 10);
	struct box *box = box_create(a);
	uint64_t k;
	enum mmk_err err;

	for (k = 1;; k++) {
		sim_fail_at(k);
		err = box_alloc(box, 0);
		sim_fail_at(0);
		if (err == MMK_OK)
			break;
		cr_assert_eq(err, MMK_ERR_NOMEM);
		assert_credit(a, 10, 0, 0);
	}
	cr_assert_gt(k, 1);
	box_destroy(box);
	destroy(a);
	mmk_control_unref(a);
}

/* ---- charges that outlive their control ---------------------------------- */

Test(control, S1_20_a_pinned_frames_charge_follows_when_the_pin_ends)
{
	struct mmk_control *b = split(&root, 10), *c = split(b, 4);
	struct box *box = box_create(c);

	for (unsigned i = 0; i < 3; i++)
		cr_assert_eq(box_alloc(box, i), MMK_OK);
	box->is_pinned[1] = true;
	mmk_control_unref(c);
	destroy(c);
	cr_assert_eq(nr_released, 0);
	assert_credit(c, 0, 1, 0);
	assert_credit(b, 10, 1, 0);
	cr_assert_eq(used_frames(), 1);
	destroy(b);
	mmk_control_unref(b);
	assert_credit(&root, 100, 1, 0);
	cr_assert_eq(nr_released, 0, "both are on the way of a charge");
	box_free(box, 1);
	cr_assert_eq(nr_released, 2);
	assert_credit(&root, 100, 0, 0);
	box_destroy(box);
}

Test(control, charges_of_a_dead_control_are_their_bearers)
{
	struct mmk_control *b = split(&root, 10), *c = split(b, 10), *d;

	cr_assert_eq(mmk_control_charge(c, 8), MMK_OK);
	mmk_control_unref(c);
	destroy(c);
	assert_credit(b, 10, 8, 0);
	cr_assert_null(split(b, 3));
	cr_assert_eq(mmk_control_charge(b, 3), MMK_ERR_LIMIT);
	mmk_control_uncharge(c, 3);
	d = split(b, 5);
	cr_assert_not_null(d);
	assert_credit(c, 0, 5, 0);
	assert_credit(b, 5, 5, 0);
	mmk_control_uncharge(c, 0);
	mmk_control_uncharge(c, 5);
	cr_assert_eq(nr_released, 1);
	assert_credit(b, 5, 0, 0);
	destroy(b);
	mmk_control_unref(b);
	mmk_control_unref(d);
}

static struct {
	struct mmk_control *control, *child;
	struct mmk_control_user other;
	unsigned nr_calls;
} seen;

static void
other_drop(struct mmk_control_user *user)
{
	__atomic_add_fetch(&seen.nr_calls, 1, __ATOMIC_ACQ_REL);
	mmk_control_unref(user->control);
}

/* In the middle of a destruction: everything new is refused. */
static void
looking_drop(struct mmk_control_user *user)
{
	struct mmk_control stranger;
	struct mmk_control_user another;

	seen.nr_calls++;
	cr_assert_eq(user->control, seen.child);
	for (int i = 0; i < 2; i++) {
		struct mmk_control *c = i == 0 ? seen.control : seen.child;

		cr_assert_not(mmk_control_is_open(c));
		cr_assert_eq(mmk_control_charge(c, 1), MMK_ERR_NOENT);
		cr_assert_eq(mmk_control_charge(c, 0), MMK_ERR_NOENT);
		cr_assert_eq(mmk_control_charge_extra(c, 1), MMK_ERR_NOENT);
		cr_assert_eq(mmk_control_split(c, &stranger, 1),
		    MMK_ERR_NOENT);
		cr_assert_eq(mmk_control_user_add(c, &another, other_drop),
		    MMK_ERR_NOENT);
		cr_assert_eq(mmk_control_destroy(c), MMK_ERR_NOENT);
	}
	cr_assert(mmk_control_check(&tree));
	mmk_control_uncharge(seen.child, 2);
	assert_credit(seen.child, 4, 1, 0);
	mmk_control_unref(user->control);
}

Test(control, everything_new_is_refused_while_it_is_destroyed)
{
	struct mmk_control_user user;

	memset(&seen, 0, sizeof(seen));
	seen.control = split(&root, 10);
	seen.child = split(seen.control, 4);
	cr_assert_eq(mmk_control_user_add(seen.child, &user, looking_drop),
	    MMK_OK);
	cr_assert_eq(mmk_control_user_add(seen.control, &seen.other,
	                 other_drop),
	    MMK_OK);
	cr_assert_eq(mmk_control_charge(seen.child, 3), MMK_OK);
	destroy(seen.control);
	cr_assert_eq(seen.nr_calls, 2);
	cr_assert_eq(mmk_control_destroy(seen.child), MMK_ERR_NOENT);
	cr_assert_eq(mmk_control_charge(seen.child, 1), MMK_ERR_NOENT);
	assert_credit(&root, 100, 1, 0);
	mmk_control_uncharge(seen.child, 1);
	mmk_control_unref(seen.control);
	mmk_control_unref(seen.child);
	cr_assert_eq(nr_released, 2);
}

/* Somebody else comes in at the k-th place where he could. */
static struct {
	struct mmk_control *control;
	unsigned nr_until; /* 0: he came, or does not */
} intruder;

static void
intrude(void *ctx)
{
	(void)ctx;
	if (intruder.nr_until == 0 || --intruder.nr_until > 0)
		return;
	mmk_control_uncharge(intruder.control, 3);
	if (mmk_control_charge(intruder.control, 1) == MMK_OK)
		mmk_control_uncharge(intruder.control, 1);
	mmk_control_uncharge(intruder.control, 1);
}

Test(control, uncharges_amid_a_destruction_are_exact)
{
	unsigned k = 0;

	do {
		struct mmk_control *b = split(&root, 10), *c = split(b, 6);
		struct box *box = box_create(c);

		cr_assert_eq(box_alloc(box, 0), MMK_OK);
		cr_assert_eq(mmk_control_charge(c, 4), MMK_OK);
		intruder.control = c;
		intruder.nr_until = ++k;
		sim_on_yield(intrude, NULL);
		destroy(b);
		sim_on_yield(NULL, NULL);
		assert_credit(&root, 100, intruder.nr_until > 0 ? 4 : 0, 0);
		if (intruder.nr_until > 0)
			mmk_control_uncharge(c, 4);
		mmk_control_unref(b);
		mmk_control_unref(c);
		box_destroy(box);
		cr_assert_eq(nr_released, 2 * k);
	} while (intruder.nr_until == 0);
	cr_assert_gt(k, 3);
}

Test(control, check_notices_what_does_not_add_up)
{
	struct mmk_control *a = split(&root, 10);

	a->nr_granted_pages++;
	cr_assert_not(mmk_control_check(&tree));
	a->nr_granted_pages -= 2;
	root.nr_granted_pages++;
	cr_assert_not(mmk_control_check(&tree), "more is free than granted");
	a->nr_granted_pages++;
	root.nr_granted_pages--;
	tree.nr_controls++;
	cr_assert_not(mmk_control_check(&tree));
	tree.nr_controls--;
	tree.nr_extra_pages = 1;
	cr_assert_not(mmk_control_check(&tree));
	tree.nr_extra_pages = 0;
	root.credit |= MMK_CONTROL_CLOSED;
	cr_assert_not(mmk_control_check(&tree), "an open child");
	root.credit &= ~MMK_CONTROL_CLOSED;
	cr_assert(mmk_control_check(&tree));
	destroy(a);
	mmk_control_unref(a);
}

/* A user that, dropped, ends the other one of its control. */
static void
removing_drop(struct mmk_control_user *user)
{
	cr_assert(mmk_control_user_remove(&seen.other));
	cr_assert_not(mmk_control_user_remove(&seen.other));
	cr_assert_not(mmk_control_user_remove(user), "it is being dropped");
	mmk_control_unref(seen.other.control);
	mmk_control_unref(user->control);
}

Test(control, a_user_is_ended_once)
{
	struct mmk_control_user user;

	memset(&seen, 0, sizeof(seen));
	seen.control = split(&root, 10);
	cr_assert_eq(mmk_control_user_add(seen.control, &user, removing_drop),
	    MMK_OK);
	cr_assert_eq(mmk_control_user_add(seen.control, &seen.other,
	                 other_drop),
	    MMK_OK);
	mmk_control_unref(seen.control);
	destroy(seen.control);
	cr_assert_eq(seen.nr_calls, 0);
	cr_assert_eq(nr_released, 1);
}

Test(control, a_removed_user_is_not_dropped)
{
	struct mmk_control *a = split(&root, 10);
	struct box *box = box_create(a);

	cr_assert_eq(box_alloc(box, 0), MMK_OK);
	box_destroy(box);
	assert_credit(a, 10, 0, 0);
	destroy(a);
	mmk_control_unref(a);
}

/* Each control below the last one: 10000 calls deep, if it were calls. */
Test(control, a_long_chain_is_absorbed_without_recursion)
{
	enum { NR = 10000 };
	struct mmk_control *top = NULL, *last = &root;

	mmk_control_fini_root(&tree);
	mmk_control_init_root(&tree, &root, NR + 1,
	    &(struct mmk_control_plug){ control_released, NULL, &tree },
	    &handles);
	for (unsigned i = 0; i < NR; i++) {
		last = split(last, NR - i);
		cr_assert_not_null(last);
		mmk_control_unref(last);
		if (top == NULL)
			top = last;
	}
	cr_assert_eq(mmk_control_charge(last, 1), MMK_OK);
	destroy(top);
	cr_assert_eq(nr_released, 0);
	assert_credit(&root, NR + 1, 1, 0);
	mmk_control_uncharge(last, 1);
	cr_assert_eq(nr_released, NR);
}

/* ---- extra pages --------------------------------------------------------- */

Test(control, extra_pages_are_lent_by_the_root)
{
	struct mmk_control *a = split(&root, 60), *b = split(&root, 10);

	cr_assert_eq(mmk_control_charge(b, 10), MMK_OK);
	cr_assert_eq(mmk_control_charge(b, 1), MMK_ERR_LIMIT);
	cr_assert_eq(mmk_control_charge_extra(b, 31), MMK_ERR_LIMIT,
	    "what a has not used is a's all the same");
	cr_assert_eq(mmk_control_charge_extra(b, 30), MMK_OK);
	cr_assert_eq(mmk_control_charge_extra(b, 0), MMK_OK);
	assert_credit(b, 10, 10, 30);
	assert_credit(&root, 30, 0, 0);
	cr_assert_eq(tree.nr_extra_pages, 30);
	cr_assert_eq(mmk_control_charge(a, 60), MMK_OK, "guaranteed");
	cr_assert_eq(mmk_control_charge(&root, 1), MMK_ERR_LIMIT);
	mmk_control_uncharge_extra(b, 29);
	mmk_control_uncharge_extra(b, 0);
	cr_assert_eq(mmk_control_charge(&root, 29), MMK_OK);
	mmk_control_uncharge(&root, 29);
	mmk_control_uncharge(a, 60);
	mmk_control_uncharge(b, 10);
	mmk_control_unref(b);
	destroy(b);
	cr_assert_eq(nr_released, 0, "an extra page keeps it");
	cr_assert_eq(mmk_control_charge_extra(b, 1), MMK_ERR_NOENT);
	assert_credit(b, 0, 0, 1);
	mmk_control_uncharge_extra(b, 1);
	cr_assert_eq(nr_released, 1);
	assert_credit(&root, 40, 0, 0);
	destroy(a);
	mmk_control_unref(a);
}

static struct mmk_control *borrower;
static uint64_t most_given;

static void
give_back(void *ctx, uint64_t nr_pages)
{
	(void)ctx;
	cr_assert_leq(nr_pages, tree.nr_extra_pages);
	mmk_control_uncharge_extra(borrower, mmk_min(nr_pages, most_given));
}

Test(control_extra, the_roots_guarantee_takes_extra_pages_back,
    .fini = fini_controls)
{
	struct mmk_control *child;

	boot_controls_with(100, give_back);
	borrower = split(&root, 10);
	most_given = UINT64_MAX;
	cr_assert_eq(mmk_control_charge_extra(borrower, 90), MMK_OK);
	child = split(&root, 40);
	cr_assert_not_null(child);
	assert_credit(borrower, 10, 0, 50);
	cr_assert_eq(mmk_control_charge(&root, 20), MMK_ERR_LIMIT);
	mmk_control_revoke_extra(&tree, 20);
	cr_assert_eq(mmk_control_charge(&root, 20), MMK_OK);
	assert_credit(&root, 50, 20, 0);
	cr_assert_null(split(&root, 31), "more than there is");
	assert_credit(borrower, 10, 0, 0);
	cr_assert_eq(mmk_control_charge_extra(borrower, 30), MMK_OK);
	most_given = 5;
	cr_assert_null(split(&root, 20), "the borrower does not yield");
	cr_assert_null(split(child, 41), "no business of extra pages");
	assert_credit(borrower, 10, 0, 25);
	most_given = 25;
	mmk_control_revoke_extra(&tree, UINT64_MAX);
	mmk_control_revoke_extra(&tree, UINT64_MAX);
	assert_credit(borrower, 10, 0, 0);
	mmk_control_uncharge(&root, 20);
	destroy(borrower);
	destroy(child);
	mmk_control_unref(borrower);
	mmk_control_unref(child);
}

/* ---- misuse -------------------------------------------------------------- */

Test(control_bugs, uncharging_a_dead_control_too_often, .signal = SIGABRT)
{
	struct mmk_control *a = split(&root, 10);

	cr_assert_eq(mmk_control_charge(a, 2), MMK_OK);
	destroy(a);
	mmk_control_uncharge(a, 3);
}

Test(control_bugs, uncharging_more_than_can_be, .signal = SIGABRT)
{
	mmk_control_uncharge(&root, MMK_CONTROL_PAGES);
}

Test(control_bugs, a_reference_too_many_given_back, .signal = SIGABRT)
{
	tree.plug.released = NULL;
	mmk_control_unref(&root);
	mmk_control_unref(&root);
}

Test(control_bugs, extra_pages_that_were_not_lent, .signal = SIGABRT)
{
	mmk_control_uncharge_extra(&root, 1);
}

Test(control_bugs, the_end_of_a_tree_with_charges, .signal = SIGABRT)
{
	cr_assert_eq(mmk_control_charge(&root, 1), MMK_OK);
	mmk_control_fini_root(&tree);
}

Test(control_bugs, a_root_of_nothing, .signal = SIGABRT)
{
	mmk_control_init_root(&tree, &root, 0, NULL, NULL);
}
