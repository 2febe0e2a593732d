/* SPDX-License-Identifier: MIT
 *
 * tests/control_fixture.h: a tree of controls and boxes of frames charged to
 * them. Controls and boxes are memory of the heap, freed when they are
 * released, so that a memory checker sees who touches them later.
 */
#ifndef MMKIT_TESTS_CONTROL_FIXTURE_H
#define MMKIT_TESTS_CONTROL_FIXTURE_H

#include <pthread.h>
#include <sched.h>

#include "frame_fixture.h"
#include "mmkit/kva/pool.h"
#include "mmkit/phys/control.h"

#define ROOT_PAGES 100u
#define BOX_PAGES 16u

static struct mmk_pool items; /* of the tables of handles */
static struct mmk_handle_sys handles;
static struct mmk_control_tree tree;
static struct mmk_control root;
static unsigned nr_released; /* [a] */

/* What stands for a container: frames at small numbers, some of them pinned. */
struct box {
	struct mmk_control_user user;
	struct mmk_handle_target target;
	struct mmk_frame *frames[BOX_PAGES];
	bool is_pinned[BOX_PAGES];
	unsigned refs; /* [a] */
	bool is_ended;
};

static inline void *
item_alloc(void *ctx)
{
	return mmk_pool_alloc((struct mmk_pool *)ctx);
}

static inline void
item_free(void *ctx, void *item)
{
	mmk_pool_free((struct mmk_pool *)ctx, item);
}

static const struct mmk_handle_memory item_memory = { item_alloc, item_free,
	&items };

static inline void
control_released(void *ctx, struct mmk_control *control)
{
	cr_assert_eq(ctx, (void *)&tree);
	__atomic_add_fetch(&nr_released, 1, __ATOMIC_ACQ_REL);
	free(control);
}

static inline void
boot_controls_with(uint64_t nr_pages,
    void (*revoke_extra)(void *ctx, uint64_t nr_pages))
{
	struct mmk_control_plug plug = { control_released, revoke_extra, &tree };

	boot();
	mmk_pool_init(&items, &phys, "handles", MMK_HANDLE_ITEM_BYTES);
	mmk_handle_sys_init(&handles, &item_memory);
	mmk_control_init_root(&tree, &root, nr_pages, &plug, &handles);
	nr_released = 0;
}

static inline void
boot_controls(void)
{
	boot_controls_with(ROOT_PAGES, NULL);
}

static inline void
fini_controls(void)
{
	sim_fail_at(0);
	cr_assert(mmk_control_check(&tree));
	mmk_control_fini_root(&tree);
	mmk_pool_fini(&items);
	fini();
}

/* The caller has a reference; NULL if it was refused. */
static inline struct mmk_control *
split(struct mmk_control *parent, uint64_t nr_pages)
{
	struct mmk_control *child = malloc(sizeof(*child));

	cr_assert_not_null(child);
	if (mmk_control_split(parent, child, nr_pages) == MMK_OK)
		return child;
	free(child);
	return NULL;
}

static inline void
destroy(struct mmk_control *control)
{
	cr_assert_eq(mmk_control_destroy(control), MMK_OK);
}

static inline void
assert_credit(struct mmk_control *control, uint64_t nr_granted,
    uint64_t nr_charged, uint64_t nr_extra)
{
	struct mmk_control_stats s;

	mmk_control_stats_read(control, &s);
	cr_assert_eq(s.nr_granted_pages, nr_granted);
	cr_assert_eq(s.nr_charged_pages, nr_charged);
	cr_assert_eq(s.nr_extra_pages, nr_extra);
	if (nr_granted > 0 && control != &root)
		cr_assert_eq(s.nr_free_pages, nr_granted - nr_charged);
	cr_assert(mmk_control_check(&tree));
}

/* ---- boxes --------------------------------------------------------------- */

static inline void
box_target_ref(struct mmk_handle_target *target)
{
	struct box *box = MMK_CONTAINER_OF(target, struct box, target);

	__atomic_add_fetch(&box->refs, 1, __ATOMIC_ACQ_REL);
}

static inline void
box_unref(struct box *box)
{
	if (__atomic_sub_fetch(&box->refs, 1, __ATOMIC_ACQ_REL) == 0)
		free(box);
}

/* One frame in the box, charged to its control. */
static inline enum mmk_err
box_alloc(struct box *box, unsigned i)
{
	enum mmk_err err = mmk_control_charge(box->user.control, 1);

	if (err != MMK_OK)
		return err;
	err = mmk_frame_alloc(&phys, 0, 0, MMK_USE_KERNEL, &box->frames[i]);
	if (err != MMK_OK)
		mmk_control_uncharge(box->user.control, 1);
	return err;
}

static inline void
box_free(struct box *box, unsigned i)
{
	put(box->frames[i]);
	box->frames[i] = NULL;
	mmk_control_uncharge(box->user.control, 1);
}

/* What is pinned stays, and stays charged. */
static inline void
box_end(struct box *box)
{
	box->is_ended = true;
	mmk_handle_target_kill(&box->target);
	for (unsigned i = 0; i < BOX_PAGES; i++)
		if (box->frames[i] != NULL && !box->is_pinned[i])
			box_free(box, i);
	mmk_control_unref(box->user.control);
}

static inline void
box_drop(struct mmk_control_user *user)
{
	struct box *box = MMK_LIST_ITEM(user, struct box, user);

	cr_assert_not(box->is_ended);
	box_end(box);
}

static inline struct box *
box_create(struct mmk_control *control)
{
	struct box *box = calloc(1, sizeof(*box));

	cr_assert_not_null(box);
	box->refs = 1;
	mmk_handle_target_init(&box->target, &handles, MMK_HANDLE_CONTAINER,
	    box_target_ref);
	cr_assert_eq(mmk_control_user_add(control, &box->user, box_drop),
	    MMK_OK);
	return box;
}

static inline void
box_destroy(struct box *box)
{
	if (mmk_control_user_remove(&box->user))
		box_end(box);
	box_unref(box);
}

#endif
