/* SPDX-License-Identifier: MIT
 *
 * mmkit/phys/control.h: who may have how many frames: a tree of credit
 *
 * WHAT    A control guarantees a number of frames. Splitting it makes a child
 *         with a part of what it has not committed; destroying a control gives
 *         all of its subtree back to its parent:
 *
 *           A 100          split 10        A 90          split 4     A 90
 *                          ------->        `- B 10       ------>     `- B 6
 *                                                                       `- C 4
 *
 *         granted = free + charged. Who allocates charges first; credit is not
 *         memory, which may come later. What must go when its control goes (a
 *         container, a pool) is a user of it, and is told.
 *
 *         A control that is being destroyed is closed: nothing can be charged
 *         to it, split from it or added to it. When its users are gone it is
 *         dead: its credit, and the charges that are left (frames still
 *         pinned), are its parent's. They may be uncharged as ever, through the
 *         dead control, which passes them on to whoever bears them now.
 *
 *         References. The tree holds one of every living control, whoever split
 *         it off, every user and every lookup one, the outstanding charges of a dead one hold one
 *         together, and so does its extra. With the last the control is
 *         released: the memory is its owner's again.
 *
 *         Extra pages, beyond any guarantee, are lent by the root out of what
 *         it has not committed, so nobody's guarantee is touched by them. The
 *         root's own guarantee takes them back: see revoke_extra.
 * LAYER   phys. Includes handle.h. Knows no frames and no containers.
 * LOCKS   tree->lock (MMK_RANK_CONTROL) guards the shape of the tree, what is
 *         granted, and the lists of users. Charging takes no lock. Callbacks
 *         are called without locks.
 * COST    charge: one compare-and-swap; uncharge: one for each dead control on
 *         the way, and one. split, user_add: O(1). destroy: O(controls below)
 *         with the lock held, and O(depth) for each user. No memory.
 * SOURCE  physmem of the GNU Hurd on L4, design text; differs: charges are
 *         counted, extra pages are defined, handles die with the control.
 *
 * I1      sum over the living controls of granted == tree->nr_pages
 * I2      free <= granted; of the root: free + extra of all <= granted, while
 *         no extra page comes or goes
 * I3      what is below a closed control is closed
 *                                            tested by: mmk_control_check
 */
#ifndef MMKIT_PHYS_CONTROL_H
#define MMKIT_PHYS_CONTROL_H

#include "handle.h"

MMK_BEGIN_DECLS

/* Bits of mmk_control.credit; the others count pages. */
#define MMK_CONTROL_CLOSED ((uint64_t)1 << 63) /* is being destroyed, or dead */
#define MMK_CONTROL_DEAD ((uint64_t)1 << 62)   /* its parent bears it all */
#define MMK_CONTROL_PAGES (MMK_CONTROL_DEAD - 1)

struct mmk_control;

struct mmk_control_plug {
	/* The last reference is gone, nobody will touch the control: reuse its
	 * memory. Called by whoever gave that reference back, with whatever
	 * locks it holds. NULL: nobody is told. */
	void (*released)(void *ctx, struct mmk_control *control);
	/* Uncharge up to nr_pages of extra pages, whose holders can lose them at
	 * any time. Called without locks. NULL: extra pages do not yield. */
	void (*revoke_extra)(void *ctx, uint64_t nr_pages);
	void *ctx;
};

/* Guards: [I] immutable after init  [T] this->lock  [a] atomic */
struct mmk_control_tree {
	struct mmk_control_plug plug;   /* [I] */
	struct mmk_handle_sys *handles; /* [I] or NULL */
	struct mmk_control *root;       /* [I] */
	uint64_t nr_pages;              /* [I] */
	uint64_t nr_extra_pages;        /* [a] lent by the root, to anybody */
	uint64_t nr_controls;           /* [T] living */
	MMKIT_LOCK_T lock;
};

/* Guards: as above, [T] is tree->lock. */
struct mmk_control {
	struct mmk_control_tree *tree;   /* [I] */
	struct mmk_control *parent;      /* [I] NULL: the root */
	uint64_t credit;         /* [a] pages free; of a dead control, charged */
	uint64_t nr_granted_pages;       /* [T] */
	uint64_t nr_extra_pages;         /* [a] borrowed from the root */
	uint64_t refs;                   /* [a] */
	uint64_t nr_users;               /* [T] written atomically */
	struct mmk_link sibling;         /* [T] on parent->children */
	struct mmk_list children;        /* [T] */
	struct mmk_list users;           /* [T] */
	struct mmk_handle_target target; /* its names: see handle.h */
};

/*
 * What was made through a control and goes with it. Embedded in the container,
 * the pool, the address space. Who ends a user is decided by who takes it off
 * its control, once: mmk_control_user_remove, or the destruction of the
 * control, which then calls `drop`. Either way whoever ends it uncharges what
 * it can and then gives user->control back with mmk_control_unref; what stays
 * charged (pinned) keeps the control by itself.
 */
struct mmk_control_user {
	struct mmk_link link;        /* [T] on control->users */
	struct mmk_control_tree *tree; /* [I] */
	struct mmk_control *control; /* [I] one reference, until it is ended */
	/* The control dies: give everything back. Called without locks, once;
	 * the user's memory may go with it. */
	void (*drop)(struct mmk_control_user *user); /* [I] */
};

struct mmk_control_stats {
	uint64_t nr_granted_pages; /* 0: it is dead */
	uint64_t nr_free_pages;    /* neither charged nor lent */
	uint64_t nr_charged_pages; /* those inherited included; of a dead
	                            * control, those that came through it */
	uint64_t nr_extra_pages;   /* borrowed */
};

/*
 * mmk_control_init_root: a tree of one control that guarantees nr_pages.
 * `plug` is copied, NULL is none; handles: the sys for names of its controls,
 * or NULL. Neither tree nor control may move. Allocates nothing.
 * pre: 0 < nr_pages <= MMK_CONTROL_PAGES; that many frames exist.
 */
MMK_API void mmk_control_init_root(struct mmk_control_tree *tree,
    struct mmk_control *root, uint64_t nr_pages,
    const struct mmk_control_plug *plug, struct mmk_handle_sys *handles);

/*
 * mmk_control_fini_root: the end of a tree. pre: the root has no children and
 * no users, nothing is charged or lent, nobody else has a reference. Ends the
 * root's names.
 */
MMK_API void mmk_control_fini_root(struct mmk_control_tree *tree);

/*
 * mmk_control_split: make `child`, which guarantees nr_pages that `parent`
 * does so far. `child` is the caller's memory, and stays until it is released.
 *
 * pre      the caller has a reference to `parent`, or knows that it lives. No
 *          lock is held, if the tree can revoke extra pages.
 * locks    takes and drops tree->lock.
 * out      a reference to `child` is the caller's: it may be destroyed at once,
 *          with its parent, by somebody else.
 * errors   MMK_ERR_INVAL: nr_pages is 0. MMK_ERR_LIMIT: more than `parent` has
 *          free; of the root, after extra pages were revoked. MMK_ERR_NOENT:
 *          `parent` is closed. Nothing changed, but that extra pages may have
 *          been given back.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_control_split(
    struct mmk_control *parent, struct mmk_control *child, uint64_t nr_pages);

/*
 * mmk_control_destroy: absorb `control` and all below into its parent. At once
 * all of them are closed and their names end; then users are dropped, a child's
 * before its parent's, and what the controls were granted is the parent's.
 *
 * Two may be at this in one subtree: both finish. A user that another one is
 * dropping, or that is being removed, may still be at it on return; its charges
 * follow as it gives them back.
 *
 * pre      the caller has a reference to `control`. No lock is held.
 * locks    takes and drops tree->lock and those of mmk_handle_target_kill.
 * errors   MMK_ERR_INVAL: it is the root. MMK_ERR_NOENT: it is closed already.
 *          Nothing changed.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_control_destroy(
    struct mmk_control *control);

/*
 * mmk_control_charge: nr_pages are no longer free. Not a word about memory.
 *
 * pre      the caller has a reference, or knows that the control lives.
 * locks    none; from any context.
 * errors   MMK_ERR_LIMIT: that many are not free (of the root: see
 *          mmk_control_revoke_extra). MMK_ERR_NOENT: it is closed. Nothing
 *          changed.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_control_charge(
    struct mmk_control *control, uint64_t nr_pages);

/*
 * mmk_control_uncharge: nr_pages are free again, here or, if the control died
 * meanwhile, where they are borne now. pre: they are charged to it, by the
 * caller; a reference is not needed, and without one the control may not be
 * touched afterwards. locks: none; from any context.
 */
MMK_API void mmk_control_uncharge(struct mmk_control *control,
    uint64_t nr_pages);

/*
 * mmk_control_charge_extra, mmk_control_uncharge_extra: the same for pages
 * beyond the guarantee, lent by the root. Whoever has them must be ready to be
 * asked for them by plug.revoke_extra.
 * errors   MMK_ERR_LIMIT: the root has not so much free. MMK_ERR_NOENT.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_control_charge_extra(
    struct mmk_control *control, uint64_t nr_pages);
MMK_API void mmk_control_uncharge_extra(struct mmk_control *control,
    uint64_t nr_pages);

/*
 * mmk_control_revoke_extra: ask for up to nr_pages of extra pages back. Whoever
 * was refused a charge to the root calls this when it holds no lock, and tries
 * again: what the root guarantees then fails only if it is really committed, or
 * the holders of extra pages do not yield. pre: no lock is held.
 */
MMK_API void mmk_control_revoke_extra(struct mmk_control_tree *tree,
    uint64_t nr_pages);

/*
 * mmk_control_user_add: `user` goes when `control` goes; user->control has a
 * reference. pre: as charge.
 * locks    takes and drops tree->lock. errors: MMK_ERR_NOENT: it is closed;
 *          nothing changed.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_control_user_add(
    struct mmk_control *control, struct mmk_control_user *user,
    void (*drop)(struct mmk_control_user *user));

/*
 * mmk_control_user_remove: true: the user is off its control's list, will not
 * be dropped, and the caller ends it. False: it was removed or is being dropped,
 * and is not the caller's to end. pre: it was added, once.
 * locks    takes and drops tree->lock.
 */
MMK_API MMK_NODISCARD bool mmk_control_user_remove(
    struct mmk_control_user *user);

/* One more reference. pre: the caller has one, or knows that it lives. */
MMK_API void mmk_control_ref(struct mmk_control *control);

/* One less; the last releases it. pre: the caller has one. */
MMK_API void mmk_control_unref(struct mmk_control *control);

/*
 * mmk_control_lookup: the control that `name` names, with a reference.
 * errors: as mmk_handle_lookup.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_control_lookup(
    struct mmk_handles *table, mmk_handle_name name, unsigned rights,
    struct mmk_control **control_out);

/* False once it is being destroyed. */
static inline bool
mmk_control_is_open(const struct mmk_control *control)
{
	return (MMKIT_ATOMIC_LOAD(&control->credit) & MMK_CONTROL_CLOSED) == 0;
}

/* pre: as charge. locks: takes and drops tree->lock. */
MMK_API void mmk_control_stats_read(struct mmk_control *control,
    struct mmk_control_stats *out);

/*
 * Walks the tree. Others may be at work, but not on extra pages. locks: takes
 * and drops tree->lock.
 */
MMK_API bool mmk_control_check(struct mmk_control_tree *tree);

MMK_END_DECLS
#endif /* MMKIT_PHYS_CONTROL_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_PHYS_CONTROL_IMPL)
#define MMKIT_PHYS_CONTROL_IMPL

/* ---- references ---------------------------------------------------------- */

MMK_API void
mmk_control_ref(struct mmk_control *control)
{
	uint64_t refs = MMKIT_ATOMIC_ADD(&control->refs, (uint64_t)1);

	MMK_ASSERT(refs > 1);
}

MMK_API void
mmk_control_unref(struct mmk_control *control)
{
	const struct mmk_control_plug *plug = &control->tree->plug;
	uint64_t refs = MMKIT_ATOMIC_SUB(&control->refs, (uint64_t)1);

	MMK_ASSERT(refs != UINT64_MAX);
	if (refs == 0 && plug->released != NULL)
		plug->released(plug->ctx, control);
}

MMK_PRIVATE void
mmk__control_target_ref(struct mmk_handle_target *target)
{
	mmk_control_ref(MMK_CONTAINER_OF(target, struct mmk_control, target));
}

MMK_API enum mmk_err
mmk_control_lookup(struct mmk_handles *table, mmk_handle_name name,
    unsigned rights, struct mmk_control **control_out)
{
	struct mmk_handle_target *target = NULL;
	enum mmk_err err = mmk_handle_lookup(table, name, MMK_HANDLE_CONTROL,
	    rights, &target);

	if (err == MMK_OK)
		*control_out =
		    MMK_CONTAINER_OF(target, struct mmk_control, target);
	return err;
}

/* ---- charges ------------------------------------------------------------- */

MMK_API enum mmk_err
mmk_control_charge(struct mmk_control *control, uint64_t nr_pages)
{
	uint64_t credit = MMKIT_ATOMIC_LOAD(&control->credit);

	do {
		if ((credit & MMK_CONTROL_CLOSED) != 0)
			return MMK_ERR_NOENT;
		if (nr_pages > credit)
			return MMK_ERR_LIMIT;
	} while (!MMKIT_ATOMIC_CAS(&control->credit, &credit,
	    credit - nr_pages));
	return MMK_OK;
}

/*
 * Up the heirs: a dead control counts down what came through it, and what it
 * counted is charged to its parent too, which therefore is still there.
 */
MMK_API void
mmk_control_uncharge(struct mmk_control *control, uint64_t nr_pages)
{
	while (nr_pages > 0) {
		struct mmk_control *parent = control->parent;
		uint64_t credit = MMKIT_ATOMIC_LOAD(&control->credit);
		uint64_t after;

		do {
			bool is_dead = (credit & MMK_CONTROL_DEAD) != 0;
			uint64_t pages = credit & MMK_CONTROL_PAGES;

			if (is_dead)
				MMK_ASSERT(nr_pages <= pages);
			else
				MMK_ASSERT(nr_pages <=
				    MMK_CONTROL_PAGES - pages);
			after = is_dead ? credit - nr_pages : credit + nr_pages;
		} while (!MMKIT_ATOMIC_CAS(&control->credit, &credit, after));
		if ((after & MMK_CONTROL_DEAD) == 0)
			return;
		if ((after & MMK_CONTROL_PAGES) == 0)
			mmk_control_unref(control);
		control = parent;
	}
}

/* The reference comes first: the pages may be given back before we return. */
MMK_API enum mmk_err
mmk_control_charge_extra(struct mmk_control *control, uint64_t nr_pages)
{
	struct mmk_control_tree *tree = control->tree;
	enum mmk_err err;

	if (!mmk_control_is_open(control))
		return MMK_ERR_NOENT;
	if (nr_pages == 0)
		return MMK_OK;
	err = mmk_control_charge(tree->root, nr_pages);
	if (err != MMK_OK)
		return err;
	mmk_control_ref(control);
	(void)MMKIT_ATOMIC_ADD(&tree->nr_extra_pages, nr_pages);
	if (MMKIT_ATOMIC_ADD(&control->nr_extra_pages, nr_pages) != nr_pages)
		mmk_control_unref(control);
	return MMK_OK;
}

MMK_API void
mmk_control_uncharge_extra(struct mmk_control *control, uint64_t nr_pages)
{
	struct mmk_control_tree *tree = control->tree;
	uint64_t left;

	if (nr_pages == 0)
		return;
	left = MMKIT_ATOMIC_SUB(&control->nr_extra_pages, nr_pages);
	MMK_ASSERT(left <= MMK_CONTROL_PAGES);
	if (left == 0)
		mmk_control_unref(control);
	(void)MMKIT_ATOMIC_SUB(&tree->nr_extra_pages, nr_pages);
	mmk_control_uncharge(tree->root, nr_pages);
}

MMK_API void
mmk_control_revoke_extra(struct mmk_control_tree *tree, uint64_t nr_pages)
{
	uint64_t nr_extra = MMKIT_ATOMIC_LOAD(&tree->nr_extra_pages);

	nr_pages = mmk_min(nr_pages, nr_extra);
	if (nr_pages > 0 && tree->plug.revoke_extra != NULL)
		tree->plug.revoke_extra(tree->plug.ctx, nr_pages);
}

/* ---- the tree grows ------------------------------------------------------ */

MMK_PRIVATE void
mmk__control_init(struct mmk_control *control, struct mmk_control_tree *tree,
    struct mmk_control *parent, uint64_t nr_pages)
{
	(void)MMKIT_MEMSET(control, 0, sizeof(*control));
	control->tree = tree;
	control->parent = parent;
	control->credit = nr_pages;
	control->nr_granted_pages = nr_pages;
	control->refs = 1;
	mmk_link_init(&control->sibling);
	mmk_list_init(&control->children);
	mmk_list_init(&control->users);
	mmk_handle_target_init(&control->target, tree->handles,
	    MMK_HANDLE_CONTROL, mmk__control_target_ref);
}

MMK_API void
mmk_control_init_root(struct mmk_control_tree *tree, struct mmk_control *root,
    uint64_t nr_pages, const struct mmk_control_plug *plug,
    struct mmk_handle_sys *handles)
{
	MMK_ASSERT(nr_pages > 0);
	MMK_ASSERT(nr_pages <= MMK_CONTROL_PAGES);
	(void)MMKIT_MEMSET(tree, 0, sizeof(*tree));
	if (plug != NULL)
		tree->plug = *plug;
	tree->handles = handles;
	tree->root = root;
	tree->nr_pages = nr_pages;
	tree->nr_controls = 1;
	MMKIT_LOCK_INIT(&tree->lock, "controls", MMK_RANK_CONTROL);
	mmk__control_init(root, tree, NULL, nr_pages);
}

MMK_API void
mmk_control_fini_root(struct mmk_control_tree *tree)
{
	struct mmk_control *root = tree->root;

	MMK_ASSERT(tree->nr_controls == 1);
	MMK_ASSERT(mmk_list_is_empty(&root->users));
	MMK_ASSERT(tree->nr_extra_pages == 0);
	MMK_ASSERT(root->credit == tree->nr_pages);
	mmk_handle_target_kill(&root->target);
	MMK_ASSERT(root->refs == 1);
}

MMK_PRIVATE enum mmk_err
mmk__control_try_split(struct mmk_control *parent, struct mmk_control *child,
    uint64_t nr_pages)
{
	struct mmk_control_tree *tree = parent->tree;
	enum mmk_err err;

	MMKIT_LOCK(&tree->lock);
	err = mmk_control_charge(parent, nr_pages);
	if (err == MMK_OK) {
		parent->nr_granted_pages -= nr_pages;
		mmk__control_init(child, tree, parent, nr_pages);
		child->refs = 2;
		mmk_list_push_back(&parent->children, &child->sibling);
		tree->nr_controls++;
	}
	MMKIT_UNLOCK(&tree->lock);
	return err;
}

MMK_API enum mmk_err
mmk_control_split(struct mmk_control *parent, struct mmk_control *child,
    uint64_t nr_pages)
{
	enum mmk_err err;

	if (nr_pages == 0)
		return MMK_ERR_INVAL;
	err = mmk__control_try_split(parent, child, nr_pages);
	if (err != MMK_ERR_LIMIT || parent->parent != NULL)
		return err;
	mmk_control_revoke_extra(parent->tree, nr_pages);
	return mmk__control_try_split(parent, child, nr_pages);
}

/* ---- users --------------------------------------------------------------- */

MMK_API enum mmk_err
mmk_control_user_add(struct mmk_control *control,
    struct mmk_control_user *user, void (*drop)(struct mmk_control_user *user))
{
	struct mmk_control_tree *tree = control->tree;
	enum mmk_err err = MMK_ERR_NOENT;

	MMKIT_LOCK(&tree->lock);
	if (mmk_control_is_open(control)) {
		mmk_link_init(&user->link);
		user->tree = tree;
		user->control = control;
		user->drop = drop;
		mmk_list_push_back(&control->users, &user->link);
		MMKIT_ATOMIC_STORE(&control->nr_users, control->nr_users + 1);
		mmk_control_ref(control);
		err = MMK_OK;
	}
	MMKIT_UNLOCK(&tree->lock);
	return err;
}

/* pre: it is on its control's list. */
MMK_PRIVATE void
mmk__control_take_off(struct mmk_control_user *user)
{
	struct mmk_control *control = user->control;

	mmk_list_remove(&user->link);
	MMKIT_ATOMIC_STORE(&control->nr_users, control->nr_users - 1);
}

MMK_API bool
mmk_control_user_remove(struct mmk_control_user *user)
{
	struct mmk_control_tree *tree = user->tree;
	bool is_ours;

	MMKIT_LOCK(&tree->lock);
	is_ours = mmk_link_is_on_list(&user->link);
	if (is_ours)
		mmk__control_take_off(user);
	MMKIT_UNLOCK(&tree->lock);
	return is_ours;
}

/* ---- the tree shrinks ---------------------------------------------------- */

MMK_PRIVATE struct mmk_control *
mmk__control_child(const struct mmk_control *control)
{
	struct mmk_link *link = mmk_list_first(&control->children);

	return link == NULL ? NULL
	                    : MMK_LIST_ITEM(link, struct mmk_control, sibling);
}

/* Parents before children: the one after `control` in the subtree of `top`. */
MMK_PRIVATE struct mmk_control *
mmk__control_next(struct mmk_control *control, const struct mmk_control *top)
{
	struct mmk_control *child = mmk__control_child(control);

	if (child != NULL)
		return child;
	while (control != top) {
		struct mmk_link *next = control->sibling.next;

		if (next != &control->parent->children.head)
			return MMK_LIST_ITEM(next, struct mmk_control, sibling);
		control = control->parent;
	}
	return NULL;
}

/*
 * A leaf without users becomes part of its parent. True: nothing is charged
 * to it any more, and the caller gives the tree's reference back. pre: it is closed.
 */
MMK_PRIVATE bool
mmk__control_fold_locked(struct mmk_control *leaf)
{
	struct mmk_control *parent = leaf->parent;
	uint64_t credit = MMKIT_ATOMIC_LOAD(&leaf->credit);
	uint64_t nr_free, nr_charged;

	do {
		nr_free = credit & MMK_CONTROL_PAGES;
		MMK_ASSERT(nr_free <= leaf->nr_granted_pages);
		nr_charged = leaf->nr_granted_pages - nr_free;
	} while (!MMKIT_ATOMIC_CAS(&leaf->credit, &credit,
	    MMK_CONTROL_CLOSED | MMK_CONTROL_DEAD | nr_charged));
	parent->nr_granted_pages += leaf->nr_granted_pages;
	leaf->nr_granted_pages = 0;
	(void)MMKIT_ATOMIC_ADD(&parent->credit, nr_free);
	mmk_list_remove(&leaf->sibling);
	leaf->tree->nr_controls--;
	return nr_charged == 0;
}

/*
 * Down to a leaf, rid it of its users, fold it, on from its parent. While a
 * user is dropped anything may happen below `control`, but nothing is added;
 * the dead that nobody needs wait on a list of ours.
 */
MMK_PRIVATE void
mmk__control_absorb(struct mmk_control *control)
{
	struct mmk_control_tree *tree = control->tree;
	struct mmk_control *at = control, *child;
	struct mmk_list idle;
	struct mmk_link *link;

	mmk_list_init(&idle);
	MMKIT_LOCK(&tree->lock);
	while ((MMKIT_ATOMIC_LOAD(&control->credit) & MMK_CONTROL_DEAD) == 0) {
		while ((child = mmk__control_child(at)) != NULL)
			at = child;
		link = mmk_list_first(&at->users);
		if (link != NULL) {
			struct mmk_control_user *user = MMK_LIST_ITEM(link,
			    struct mmk_control_user, link);

			mmk__control_take_off(user);
			MMKIT_UNLOCK(&tree->lock);
			user->drop(user);
			MMKIT_LOCK(&tree->lock);
			at = control;
			continue;
		}
		if (mmk__control_fold_locked(at))
			mmk_list_push_back(&idle, &at->sibling);
		at = at->parent;
	}
	MMKIT_UNLOCK(&tree->lock);
	while ((link = mmk_list_pop_front(&idle)) != NULL)
		mmk_control_unref(
		    MMK_LIST_ITEM(link, struct mmk_control, sibling));
}

MMK_API enum mmk_err
mmk_control_destroy(struct mmk_control *control)
{
	struct mmk_control_tree *tree = control->tree;

	if (control->parent == NULL)
		return MMK_ERR_INVAL;
	MMKIT_LOCK(&tree->lock);
	if (!mmk_control_is_open(control)) {
		MMKIT_UNLOCK(&tree->lock);
		return MMK_ERR_NOENT;
	}
	mmk_control_ref(control);
	for (struct mmk_control *below = control; below != NULL;
	     below = mmk__control_next(below, control)) {
		(void)MMKIT_ATOMIC_OR(&below->credit, MMK_CONTROL_CLOSED);
		mmk_handle_target_kill(&below->target);
	}
	MMKIT_UNLOCK(&tree->lock);
	mmk__control_absorb(control);
	mmk_control_unref(control);
	return MMK_OK;
}

/* ---- audit --------------------------------------------------------------- */

/* A page on its way from or to the root's extra may be counted as charged. */
MMK_API void
mmk_control_stats_read(struct mmk_control *control,
    struct mmk_control_stats *out)
{
	struct mmk_control_tree *tree = control->tree;
	uint64_t nr_lent = 0, credit, nr_bound;

	MMKIT_LOCK(&tree->lock);
	if (control->parent == NULL)
		nr_lent = MMKIT_ATOMIC_LOAD(&tree->nr_extra_pages);
	credit = MMKIT_ATOMIC_LOAD(&control->credit);
	out->nr_granted_pages = control->nr_granted_pages;
	out->nr_extra_pages = MMKIT_ATOMIC_LOAD(&control->nr_extra_pages);
	out->nr_free_pages = credit & MMK_CONTROL_PAGES;
	nr_bound = control->nr_granted_pages - out->nr_free_pages;
	out->nr_charged_pages = nr_bound - mmk_min(nr_bound, nr_lent);
	if ((credit & MMK_CONTROL_DEAD) != 0) {
		out->nr_charged_pages = out->nr_free_pages;
		out->nr_free_pages = 0;
	}
	MMKIT_UNLOCK(&tree->lock);
}

MMK_PRIVATE bool
mmk__control_check_locked(const struct mmk_control *control)
{
	uint64_t credit = MMKIT_ATOMIC_LOAD(&control->credit);
	const struct mmk_control *parent = control->parent;
	uint64_t nr_users = 0;

	if ((credit & MMK_CONTROL_DEAD) != 0 ||
	    (credit & MMK_CONTROL_PAGES) > control->nr_granted_pages)
		return false;
	if (MMKIT_ATOMIC_LOAD(&control->refs) == 0)
		return false;
	if (!mmk_list_check(&control->children) ||
	    !mmk_list_check(&control->users))
		return false;
	MMK_LIST_FOR_EACH(link, &control->users) {
		if (MMK_LIST_ITEM(link, struct mmk_control_user, link)
		        ->control != control)
			return false;
		nr_users++;
	}
	if (nr_users != control->nr_users)
		return false;
	return parent == NULL ||
	    (parent->tree == control->tree &&
	        (mmk_control_is_open(parent) || !mmk_control_is_open(control)));
}

MMK_API bool
mmk_control_check(struct mmk_control_tree *tree)
{
	uint64_t nr_pages = 0, nr_controls = 0;
	bool ok = true;

	MMKIT_LOCK(&tree->lock);
	for (struct mmk_control *control = tree->root; ok && control != NULL;
	     control = mmk__control_next(control, tree->root)) {
		ok = mmk__control_check_locked(control);
		nr_pages += control->nr_granted_pages;
		nr_controls++;
	}
	ok = ok && nr_pages == tree->nr_pages &&
	    nr_controls == tree->nr_controls &&
	    (MMKIT_ATOMIC_LOAD(&tree->root->credit) & MMK_CONTROL_PAGES) +
	            MMKIT_ATOMIC_LOAD(&tree->nr_extra_pages) <=
	        tree->root->nr_granted_pages;
	MMKIT_UNLOCK(&tree->lock);
	return ok;
}
#endif /* MMKIT_IMPLEMENTATION */
