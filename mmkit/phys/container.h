/* SPDX-License-Identifier: MIT
 *
 * mmkit/phys/container.h: names come and go
 *
 * WHAT    Containers are made from a control and die with it; names are
 *         allocated in them, deallocated, and released in place. See cframe.h
 *         for what there is.
 *
 *         A range becomes the fewest frames that are powers of two of pages
 *         and aligned by name: 7 pages at 0 are 4 + 2 + 1, 3 pages at 1 are
 *         1 + 2.
 * LAYER   phys. Includes cframe.h.
 * LOCKS   physmem->mutex, taken and dropped; see cframe.h
 * COST    O(log entries) for each entry of the range
 * SOURCE  see cframe.h; the decomposition by name, and not by the range's
 *         start, lets names and memory agree in alignment.
 */
#ifndef MMKIT_PHYS_CONTAINER_H
#define MMKIT_PHYS_CONTAINER_H

#include "cframe.h"

MMK_BEGIN_DECLS

/* The most that one request is about: trees count entries in 32 bits. */
#define MMK_CONTAINER_MAX_PAGES ((uint64_t)UINT32_MAX)

/* Flags of mmk_container_allocate and mmk_container_deallocate. */
#define MMK_CONTAINER_PARTIAL 1u /* as much as can be, from the start */
#define MMK_CONTAINER_SQUASH 2u  /* what is in the way is deallocated */
#define MMK_CONTAINER_EXTRA 4u   /* beyond the guarantee: may be revoked */
#define MMK_CONTAINER_LOW 8u     /* memory below config.low_limit_pa: for DMA */

/*
 * mmk_physmem_init: no containers. Its frames can be moved from now on. The
 * config is copied, what it points to stays. pre: no other physmem of this phys.
 */
MMK_API void mmk_physmem_init(struct mmk_physmem *physmem,
    const struct mmk_physmem_config *config);
/* pre: no containers and no pins are left. */
MMK_API void mmk_physmem_fini(struct mmk_physmem *physmem);

/*
 * mmk_physmem_expire: end pins whose time is over, and their charges. Every
 * operation notices pins that have ended; this is for the kernel's timer.
 */
MMK_API void mmk_physmem_expire(struct mmk_physmem *physmem);

/*
 * mmk_container_create: an empty container, charged to `control`; it dies with
 * it.
 *
 * out      *container_out, with one reference.
 * errors   MMK_ERR_LIMIT: config.max_containers. MMK_ERR_NOMEM.
 *          MMK_ERR_NOENT: the control is dead.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_container_create(
    struct mmk_physmem *physmem, struct mmk_control *control,
    struct mmk_container **container_out);

/*
 * mmk_container_destroy: its names mean nothing any more, in whatever table;
 * all is deallocated. What is pinned keeps its memory, and its charge, until the
 * pin ends. The references that are out are good for unref only.
 * errors MMK_ERR_NOENT: it is dead already.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_container_destroy(
    struct mmk_container *container);

/*
 * mmk_container_allocate: names [start, start + nr_bytes) mean zeros that can
 * be written. Memory comes when it is needed, credit now.
 *
 * pre      none: arguments may come from a client.
 * out      *nr_done_out, bytes from the start that were allocated: nr_bytes, or
 *          with PARTIAL less. May be NULL.
 * errors   MMK_ERR_INVAL: not whole pages, empty, wrapping (the last name may
 *          be 2^64 - 1), unknown flags, or PARTIAL with SQUASH.
 *          MMK_ERR_EXIST: a name is allocated.
 *          MMK_ERR_LIMIT: no credit. MMK_ERR_NOMEM. MMK_ERR_NOENT: dead.
 *          MMK_ERR_BUSY: SQUASH would halve a pinned frame. MMK_ERR_AGAIN: one
 *          that is just being moved, or unpinned. Nothing changed. PARTIAL: as above if not
 *          even one page could be had.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_container_allocate(
    struct mmk_container *container, uint64_t start, uint64_t nr_bytes,
    unsigned flags, uint64_t *nr_done_out);

/*
 * mmk_container_deallocate: the names mean nothing, the credit is back.
 *
 * Memory that nobody else names is free at once, unless it is pinned. Of memory
 * that others still name, translations that can only read are left where they
 * are, for they show nothing that was not shown before: until somebody may
 * write to it, or it is freed, or names are allocated in the container again,
 * or it is revoked or destroyed.
 * (With config.is_eager they go at once.)
 *
 * errors   MMK_ERR_NOENT: a name is not allocated; with PARTIAL such names are
 *          passed over. MMK_ERR_INVAL, NOMEM, BUSY, AGAIN: as allocate.
 *          Nothing changed. *nr_done_out: bytes that were deallocated.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_container_deallocate(
    struct mmk_container *container, uint64_t start, uint64_t nr_bytes,
    unsigned flags, uint64_t *nr_done_out);

/*
 * mmk_container_release: the names read as zeros again, shared with nobody, and
 * stay charged. Others keep what they have; nothing is copied.
 * errors   as deallocate without PARTIAL; MMK_ERR_BUSY: pinned as well.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_container_release(
    struct mmk_container *container, uint64_t start, uint64_t nr_bytes);

/*
 * mmk_physmem_revoke_extra: deallocate names that were allocated with EXTRA, in
 * whole frames, until nr_pages are given back or none is left that can be (what
 * is pinned cannot). For mmk_control_plug.revoke_extra. Returns the pages.
 * cost: O(entries).
 */
MMK_API uint64_t mmk_physmem_revoke_extra(struct mmk_physmem *physmem,
    uint64_t nr_pages);

/* What a name means. errors MMK_ERR_NOENT: nothing; *info_out untouched. */
MMK_API MMK_NODISCARD enum mmk_err mmk_container_lookup(
    struct mmk_container *container, uint64_t name,
    struct mmk_centry_info *info_out);

/* Walks everything. pre: nobody else is in here. */
MMK_API bool mmk_physmem_check(struct mmk_physmem *physmem);

MMK_END_DECLS
#endif /* MMKIT_PHYS_CONTAINER_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_PHYS_CONTAINER_IMPL)
#define MMKIT_PHYS_CONTAINER_IMPL

/* ---- physmem ------------------------------------------------------------- */

/*
 * A frame's memory gets another place. The isolation of `from` keeps it in
 * being, not its frames: they are asked for under the mutex.
 */
MMK_PRIVATE enum mmk_err
mmk__physmem_move(void *ctx, struct mmk_frame *from, struct mmk_frame *to)
{
	struct mmk_physmem *physmem = (struct mmk_physmem *)ctx;
	struct mmk_phys *phys = physmem->config.phys;
	struct mmk_cframe *cframe;
	uint32_t nr_owners = 0;
	bool is_moved = false;

	MMKIT_MUTEX_LOCK(&physmem->mutex);
	cframe = (struct mmk_cframe *)from->owner;
	if (cframe != NULL && MMKIT_ATOMIC_LOAD(&from->pins) == 0) {
		MMK__FOR_EACH_COPY(copy, cframe)
			nr_owners++;
		mmk__cframe_revoke(physmem, cframe, 0);
		mmk__memory_copy(phys, to, from);
		is_moved = mmk_frame_hand_over(phys, from, to, nr_owners);
	}
	if (is_moved) {
		MMK__FOR_EACH_COPY(copy, cframe)
			copy->memory = to;
		physmem->counters.nr_moves++;
	}
	MMKIT_MUTEX_UNLOCK(&physmem->mutex);
	return is_moved ? MMK_OK : MMK_ERR_BUSY;
}

MMK_API void
mmk_physmem_init(struct mmk_physmem *physmem,
    const struct mmk_physmem_config *config)
{
	(void)MMKIT_MEMSET(physmem, 0, sizeof(*physmem));
	MMKIT_MUTEX_INIT(&physmem->mutex, "physmem", MMK_RANK_CONTAINER);
	physmem->config = *config;
	mmk_list_init(&physmem->containers);
	mmk_list_init(&physmem->pins);
	mmk_list_init(&physmem->left);
	physmem->mover.move = mmk__physmem_move;
	physmem->mover.ctx = physmem;
	mmk_phys_set_mover(config->phys, MMK_USE_CONTAINER, &physmem->mover);
}

MMK_API void
mmk_physmem_fini(struct mmk_physmem *physmem)
{
	MMK_ASSERT(mmk_list_is_empty(&physmem->containers));
	MMK_ASSERT(mmk_list_is_empty(&physmem->pins));
	mmk_phys_set_mover(physmem->config.phys, MMK_USE_CONTAINER, NULL);
}

MMK_API void
mmk_physmem_expire(struct mmk_physmem *physmem)
{
	MMKIT_MUTEX_LOCK(&physmem->mutex);
	if (physmem->config.pins != NULL)
		(void)mmk_pin_expire(physmem->config.pins, MMKIT_CLOCK_NS());
	mmk__physmem_sweep(physmem);
	MMKIT_MUTEX_UNLOCK(&physmem->mutex);
}

/* ---- containers ---------------------------------------------------------- */

MMK_API void
mmk_container_ref(struct mmk_container *container)
{
	uint32_t refs = MMKIT_ATOMIC_ADD(&container->refs, 1u);

	MMK_ASSERT(refs > 1);
}

MMK_API void
mmk_container_unref(struct mmk_container *container)
{
	if (MMKIT_ATOMIC_SUB(&container->refs, 1u) == 0)
		mmk__physmem_free(container->physmem, container,
		    sizeof(*container));
}

MMK_PRIVATE void
mmk__container_target_ref(struct mmk_handle_target *target)
{
	mmk_container_ref(MMK_CONTAINER_OF(target, struct mmk_container,
	    target));
}

/* Whoever took the container off its control ends it. */
MMK_PRIVATE void
mmk__container_end(struct mmk_container *container)
{
	struct mmk_physmem *physmem = container->physmem;
	const struct mmk__names all = { 0, UINT64_MAX };

	if (container->target.sys != NULL)
		mmk_handle_target_kill(&container->target);
	MMKIT_MUTEX_LOCK(&physmem->mutex);
	mmk__physmem_sweep(physmem);
	container->is_dead = true;
	(void)mmk__container_clear(container, &all);
	mmk__container_forget_left(container);
	mmk_btree_fini(&container->tree);
	mmk_list_remove(&container->of_physmem);
	MMKIT_MUTEX_UNLOCK(&physmem->mutex);
	mmk_control_unref(container->user.control);
	mmk_container_unref(container);
}

MMK_PRIVATE void
mmk__container_drop(struct mmk_control_user *user)
{
	mmk__container_end(MMK_CONTAINER_OF(user, struct mmk_container, user));
}

/* Once it is a user it may be dropped, but no sooner than we are done. */
MMK_PRIVATE enum mmk_err
mmk__container_join(struct mmk_container *container,
    struct mmk_control *control)
{
	struct mmk_physmem *physmem = container->physmem;
	uint32_t max = physmem->config.max_containers;
	enum mmk_err err;

	if (max != 0 && MMKIT_ATOMIC_LOAD(&control->nr_users) >= max)
		return MMK_ERR_LIMIT;
	err = mmk_control_user_add(control, &container->user,
	    mmk__container_drop);
	if (err == MMK_OK)
		mmk_list_push_back(&physmem->containers,
		    &container->of_physmem);
	return err;
}

MMK_API enum mmk_err
mmk_container_create(struct mmk_physmem *physmem, struct mmk_control *control,
    struct mmk_container **container_out)
{
	struct mmk_container *container = (struct mmk_container *)
	    mmk__physmem_alloc(physmem, sizeof(*container));
	enum mmk_err err;

	if (container == NULL)
		return MMK_ERR_NOMEM;
	container->physmem = physmem;
	container->refs = 2; /* the caller's, and one while it is alive */
	mmk_btree_init(&container->tree, physmem->config.nodes);
	mmk_handle_target_init(&container->target, physmem->config.handles,
	    MMK_HANDLE_CONTAINER, mmk__container_target_ref);
	mmk_link_init(&container->of_physmem);
	MMKIT_MUTEX_LOCK(&physmem->mutex);
	err = mmk__container_join(container, control);
	MMKIT_MUTEX_UNLOCK(&physmem->mutex);
	if (err == MMK_OK)
		*container_out = container;
	else
		mmk__physmem_free(physmem, container, sizeof(*container));
	return err;
}

MMK_API enum mmk_err
mmk_container_destroy(struct mmk_container *container)
{
	if (!mmk_control_user_remove(&container->user))
		return MMK_ERR_NOENT;
	mmk__container_end(container);
	return MMK_OK;
}

/* By what name somebody came to a container. */
struct mmk__pass {
	struct mmk_handles *table;
	mmk_handle_name name;
	unsigned rights;
};

/*
 * Under the mutex: the name was good when it was looked up, is it still? Then
 * whoever revokes it finds, with the mutex, all that was done in its name.
 */
MMK_PRIVATE bool
mmk__pass_is_good(const struct mmk__pass *pass)
{
	return pass == NULL || (pass->rights &
	    ~mmk_handle_rights(pass->table, pass->name)) == 0;
}

/* The operations begin so: the pins are up to date. `pass` NULL: the kernel. */
MMK_PRIVATE enum mmk_err
mmk__container_enter(struct mmk_container *container,
    const struct mmk__pass *pass)
{
	struct mmk_physmem *physmem = container->physmem;

	MMKIT_MUTEX_LOCK(&physmem->mutex);
	mmk__physmem_sweep(physmem);
	if (!container->is_dead && mmk__pass_is_good(pass))
		return MMK_OK;
	MMKIT_MUTEX_UNLOCK(&physmem->mutex);
	return MMK_ERR_NOENT;
}

MMK_PRIVATE enum mmk_err
mmk__deallocate_as(struct mmk_container *container,
    const struct mmk__pass *pass, uint64_t start, uint64_t nr_bytes,
    unsigned flags, uint64_t *nr_done_out)
{
	struct mmk__names names;
	enum mmk_err err;

	if (!mmk__names_make(start, nr_bytes, &names) ||
	    (flags & ~MMK_CONTAINER_PARTIAL) != 0)
		return MMK_ERR_INVAL;
	err = mmk__container_enter(container, pass);
	if (err != MMK_OK)
		return err;
	if ((flags & MMK_CONTAINER_PARTIAL) == 0 &&
	    !mmk__container_is_full(container, &names))
		err = MMK_ERR_NOENT;
	if (err == MMK_OK)
		err = mmk__container_clip(container, &names);
	if (err == MMK_OK) {
		nr_bytes = mmk__container_clear(container, &names);
		if (nr_done_out != NULL)
			*nr_done_out = nr_bytes;
	}
	MMKIT_MUTEX_UNLOCK(&container->physmem->mutex);
	return err;
}

MMK_API enum mmk_err
mmk_container_deallocate(struct mmk_container *container, uint64_t start,
    uint64_t nr_bytes, unsigned flags, uint64_t *nr_done_out)
{
	return mmk__deallocate_as(container, NULL, start, nr_bytes, flags,
	    nr_done_out);
}

/* ---- allocating ---------------------------------------------------------- */

/* The order of the largest frame at the start of the range that fits. */
MMK_PRIVATE unsigned
mmk__names_order(const struct mmk__names *names)
{
	uint64_t nr_pages = mmk__names_nr_pages(names);
	uint64_t page = mmk_pages_of_bytes(names->start);
	unsigned order = mmk_order_of_pages(nr_pages + 1) - 1;

	if (order > MMK_MAX_ORDER)
		order = MMK_MAX_ORDER;
	if (page != 0 && mmk_lowest_bit(page) < order)
		order = mmk_lowest_bit(page);
	return order;
}

/* Cut the first frame off the range; false: that was the last. */
MMK_PRIVATE bool
mmk__names_next(struct mmk__names *names, unsigned order)
{
	uint64_t nr_bytes = (uint64_t)MMK_PAGE_BYTES << order;

	if (names->last - names->start < nr_bytes)
		return false;
	names->start += nr_bytes;
	return true;
}

MMK_PRIVATE uint64_t
mmk__names_nr_frames(struct mmk__names names)
{
	uint64_t nr_frames = 1;

	while (mmk__names_next(&names, mmk__names_order(&names)))
		nr_frames++;
	return nr_frames;
}

/* pre: structures in stock, nodes promised, charged, nothing in the way. */
MMK_PRIVATE void
mmk__container_fill(struct mmk_container *container, struct mmk__names names,
    unsigned flags, struct mmk__stock *stock)
{
	unsigned order;

	do {
		struct mmk_centry *entry = mmk__stock_entry(stock);
		struct mmk_cframe *cframe = mmk__stock_cframe(stock);

		order = mmk__names_order(&names);
		cframe->order = (uint8_t)order;
		cframe->is_low = (flags & MMK_CONTAINER_LOW) != 0;
		entry->container = container;
		entry->start = names.start;
		entry->access = MMK_PROT_READ | MMK_PROT_WRITE;
		entry->is_extra = (flags & MMK_CONTAINER_EXTRA) != 0;
		mmk__cframe_show(cframe, entry);
		mmk__container_insert(entry);
	} while (mmk__names_next(&names, order));
}

/*
 * Pages whose charge goes over from what SQUASH removes to what comes in its
 * place; at most those of the range. What is pinned may stay charged itself,
 * through its last name: which of several that is, is not known yet.
 */
MMK_PRIVATE uint64_t
mmk__container_squashed(const struct mmk_container *container, unsigned flags,
    const struct mmk__names *names)
{
	const struct mmk_centry *entry =
	    mmk__container_first(container, names->start, names->last);
	uint64_t nr_pages = 0;

	if ((flags & (MMK_CONTAINER_EXTRA | MMK_CONTAINER_PARTIAL)) != 0)
		return 0;
	for (; entry != NULL; entry = mmk__container_next(entry, names->last))
		if (!entry->is_extra && !mmk__cframe_is_pinned(entry->cframe))
			nr_pages += mmk__cframe_nr_pages(entry->cframe);
	return nr_pages;
}

/*
 * Charge for the range; with PARTIAL, shorten it to what there is credit for.
 * errors LIMIT, NOENT: nothing is charged.
 */
MMK_PRIVATE enum mmk_err
mmk__container_charge(struct mmk_container *container, unsigned flags,
    struct mmk__names *names)
{
	struct mmk_control *control = container->user.control;
	struct mmk_control_stats stats;
	uint64_t nr_pages = mmk__names_nr_pages(names);
	enum mmk_err err;

	container->nr_kept_pages = mmk__container_squashed(container, flags,
	    names);
	for (;;) {
		err = (flags & MMK_CONTAINER_EXTRA) != 0
		    ? mmk_control_charge_extra(control, nr_pages)
		    : mmk_control_charge(control,
		          nr_pages - container->nr_kept_pages);
		if (err != MMK_ERR_LIMIT || (flags & MMK_CONTAINER_PARTIAL) == 0)
			break;
		mmk_control_stats_read(control, &stats);
		if ((flags & MMK_CONTAINER_EXTRA) != 0)
			nr_pages /= 2;
		else
			nr_pages = mmk_min(nr_pages - 1, stats.nr_free_pages);
		if (nr_pages == 0)
			return MMK_ERR_LIMIT;
	}
	if (err != MMK_OK) {
		container->nr_kept_pages = 0;
		return err;
	}
	names->last = names->start + (mmk_bytes_of_pages(nr_pages) - 1);
	if ((flags & MMK_CONTAINER_EXTRA) != 0)
		container->nr_extra_pages += nr_pages;
	else
		container->nr_pages += nr_pages;
	return MMK_OK;
}

/* The charge of mmk__container_charge goes back. */
MMK_PRIVATE void
mmk__container_uncharge(struct mmk_container *container, unsigned flags,
    const struct mmk__names *names)
{
	uint64_t nr_pages = mmk__names_nr_pages(names);

	if ((flags & MMK_CONTAINER_EXTRA) != 0) {
		container->nr_extra_pages -= nr_pages;
		mmk__control_pay(container->user.control, 0, nr_pages);
	} else {
		container->nr_pages -= nr_pages;
		mmk__control_pay(container->user.control,
		    nr_pages - container->nr_kept_pages, 0);
		container->nr_kept_pages = 0;
	}
}

/*
 * What is in the way of the range: with SQUASH it is cut to fit, with PARTIAL
 * the range ends before it. errors EXIST, and those of halving.
 */
MMK_PRIVATE enum mmk_err
mmk__container_make_way(struct mmk_container *container, unsigned flags,
    struct mmk__names *names)
{
	const struct mmk_centry *entry =
	    mmk__container_first(container, names->start, names->last);

	if (entry == NULL)
		return MMK_OK;
	if ((flags & MMK_CONTAINER_SQUASH) != 0)
		return mmk__container_clip(container, names);
	if ((flags & MMK_CONTAINER_PARTIAL) == 0 ||
	    entry->start <= names->start)
		return MMK_ERR_EXIST;
	names->last = entry->start - 1;
	return MMK_OK;
}

/* How far PARTIAL gets is not known before it is known what SQUASH frees. */
MMK_PRIVATE bool
mmk__flags_are_good(unsigned flags, unsigned known)
{
	const unsigned both = MMK_CONTAINER_PARTIAL | MMK_CONTAINER_SQUASH;

	return (flags & ~known) == 0 && (flags & both) != both;
}

/* Room in the tree, structures in stock, credit: all that can fail. */
MMK_PRIVATE enum mmk_err
mmk__container_prepare(struct mmk_container *container, unsigned flags,
    struct mmk__names *names, struct mmk__stock *stock)
{
	enum mmk_err err = mmk__container_make_way(container, flags, names);
	uint64_t nr_frames;

	if (err == MMK_OK)
		err = mmk__container_charge(container, flags, names);
	if (err != MMK_OK)
		return err;
	nr_frames = mmk__names_nr_frames(*names);
	err = mmk_btree_reserve(&container->tree, (unsigned)nr_frames);
	if (err == MMK_OK)
		err = mmk__stock_fill(stock, container->physmem, nr_frames,
		    nr_frames);
	if (err != MMK_OK) {
		mmk_btree_unreserve(&container->tree);
		mmk__container_uncharge(container, flags, names);
	}
	return err;
}

MMK_PRIVATE enum mmk_err
mmk__allocate_as(struct mmk_container *container, const struct mmk__pass *pass,
    uint64_t start, uint64_t nr_bytes, unsigned flags, uint64_t *nr_done_out)
{
	const unsigned known = MMK_CONTAINER_PARTIAL | MMK_CONTAINER_SQUASH |
	    MMK_CONTAINER_EXTRA | MMK_CONTAINER_LOW;
	struct mmk__names names;
	struct mmk__stock stock;
	enum mmk_err err;

	if (!mmk__names_make(start, nr_bytes, &names) ||
	    !mmk__flags_are_good(flags, known))
		return MMK_ERR_INVAL;
	if (mmk__names_nr_pages(&names) > MMK_CONTAINER_MAX_PAGES)
		return MMK_ERR_LIMIT;
	err = mmk__container_enter(container, pass);
	if (err != MMK_OK)
		return err;
	err = mmk__container_prepare(container, flags, &names, &stock);
	if (err == MMK_OK) {
		(void)mmk__container_clear(container, &names);
		mmk__container_forget_left(container);
		mmk__container_fill(container, names, flags, &stock);
		mmk_btree_unreserve(&container->tree);
		if (nr_done_out != NULL)
			*nr_done_out =
			    mmk_bytes_of_pages(mmk__names_nr_pages(&names));
	}
	MMKIT_MUTEX_UNLOCK(&container->physmem->mutex);
	return err;
}

MMK_API enum mmk_err
mmk_container_allocate(struct mmk_container *container, uint64_t start,
    uint64_t nr_bytes, unsigned flags, uint64_t *nr_done_out)
{
	return mmk__allocate_as(container, NULL, start, nr_bytes, flags,
	    nr_done_out);
}

/* ---- releasing, asking --------------------------------------------------- */

/* How many frames of the range must be left to others; pinned: BUSY. */
MMK_PRIVATE enum mmk_err
mmk__release_count(const struct mmk_container *container,
    const struct mmk__names *names, uint64_t *nr_shared_out)
{
	const struct mmk_centry *entry =
	    mmk__container_first(container, names->start, names->last);

	*nr_shared_out = 0;
	for (; entry != NULL; entry = mmk__container_next(entry, names->last)) {
		if (mmk__cframe_is_pinned(entry->cframe))
			return MMK_ERR_BUSY;
		*nr_shared_out += entry->cframe->nr_entries > 1;
	}
	return MMK_OK;
}

/* Cannot fail: a frame of its own is in stock for each that is shared. */
MMK_PRIVATE void
mmk__centry_release(struct mmk_centry *entry, struct mmk__stock *stock)
{
	struct mmk_physmem *physmem = entry->container->physmem;
	struct mmk_cframe *old = entry->cframe, *fresh;

	if (old->nr_entries == 1) {
		mmk__cframe_unbind(physmem, old, false);
		return;
	}
	fresh = mmk__stock_cframe(stock);
	fresh->order = old->order;
	fresh->is_low = old->is_low;
	/* Our own translations must go: they show what we no longer name. */
	mmk__cframe_revoke(physmem, old, 0);
	mmk__centry_detach(physmem, entry);
	mmk__cframe_show(fresh, entry);
}

MMK_PRIVATE enum mmk_err
mmk__release_as(struct mmk_container *container, const struct mmk__pass *pass,
    uint64_t start, uint64_t nr_bytes)
{
	struct mmk_physmem *physmem = container->physmem;
	struct mmk__names names;
	struct mmk__stock stock;
	struct mmk_centry *entry;
	uint64_t nr_shared = 0;
	enum mmk_err err;

	if (!mmk__names_make(start, nr_bytes, &names))
		return MMK_ERR_INVAL;
	err = mmk__container_enter(container, pass);
	if (err != MMK_OK)
		return err;
	if (!mmk__container_is_full(container, &names))
		err = MMK_ERR_NOENT;
	if (err == MMK_OK)
		err = mmk__container_clip(container, &names);
	if (err == MMK_OK)
		err = mmk__release_count(container, &names, &nr_shared);
	if (err == MMK_OK)
		err = mmk__stock_fill(&stock, physmem, 0, nr_shared);
	if (err == MMK_OK) {
		entry = mmk__container_first(container, start, names.last);
		for (; entry != NULL;
		     entry = mmk__container_next(entry, names.last))
			mmk__centry_release(entry, &stock);
		/* Two of the range may have shared one: the last one kept it. */
		mmk__stock_drop(&stock);
	}
	MMKIT_MUTEX_UNLOCK(&physmem->mutex);
	return err;
}

MMK_API enum mmk_err
mmk_container_release(struct mmk_container *container, uint64_t start,
    uint64_t nr_bytes)
{
	return mmk__release_as(container, NULL, start, nr_bytes);
}

MMK_API enum mmk_err
mmk_container_lookup(struct mmk_container *container, uint64_t name,
    struct mmk_centry_info *info_out)
{
	const struct mmk_centry *entry;
	enum mmk_err err = mmk__container_enter(container, NULL);

	if (err != MMK_OK)
		return err;
	entry = mmk__container_first(container, name, name);
	if (entry != NULL) {
		const struct mmk_cframe *cframe = entry->cframe;

		info_out->start = entry->start;
		info_out->nr_bytes =
		    mmk_bytes_of_pages(mmk__cframe_nr_pages(cframe));
		info_out->offset_bytes = name - entry->start;
		info_out->nr_sharers = cframe->nr_entries;
		info_out->access = entry->access;
		info_out->is_bound = cframe->memory != NULL;
		info_out->is_copy = mmk__cframe_has_copies(cframe);
		info_out->is_extra = entry->is_extra;
	}
	MMKIT_MUTEX_UNLOCK(&container->physmem->mutex);
	return entry != NULL ? MMK_OK : MMK_ERR_NOENT;
}

/* Extra names of one container, nr_pages of them if there are. */
MMK_PRIVATE uint64_t
mmk__container_revoke_extra(struct mmk_container *container, uint64_t nr_pages)
{
	struct mmk_centry *entry =
	    mmk__container_first(container, 0, UINT64_MAX);
	uint64_t nr_done = 0;

	while (entry != NULL && nr_done < nr_pages &&
	    container->nr_extra_pages > 0) {
		struct mmk_centry *next =
		    mmk__container_next(entry, UINT64_MAX);

		if (entry->is_extra && mmk__centry_pin(entry) == NULL) {
			nr_done += mmk__cframe_nr_pages(entry->cframe);
			mmk__centry_remove(entry);
		}
		entry = next;
	}
	return nr_done;
}

MMK_API uint64_t
mmk_physmem_revoke_extra(struct mmk_physmem *physmem, uint64_t nr_pages)
{
	uint64_t nr_done = 0;

	MMKIT_MUTEX_LOCK(&physmem->mutex);
	mmk__physmem_sweep(physmem);
	MMK_LIST_FOR_EACH(link, &physmem->containers) {
		struct mmk_container *container = MMK_LIST_ITEM(link,
		    struct mmk_container, of_physmem);

		if (nr_done >= nr_pages)
			break;
		nr_done += mmk__container_revoke_extra(container,
		    nr_pages - nr_done);
	}
	MMKIT_MUTEX_UNLOCK(&physmem->mutex);
	return nr_done;
}

/* ---- audit --------------------------------------------------------------- */

/* I2 and I3 for the frame; its ring is whole. */
MMK_PRIVATE bool
mmk__cframe_check(struct mmk_physmem *physmem, struct mmk_cframe *cframe)
{
	struct mmk_frame *memory = cframe->memory;
	bool is_owned = false;
	uint32_t nr_copies = 0;
	uint64_t nr_entries = 0;

	MMK_LIST_FOR_EACH(link, &cframe->entries) {
		if (MMK_LIST_ITEM(link, struct mmk_centry, of_cframe)->cframe !=
		    cframe)
			return false;
		nr_entries++;
	}
	if (nr_entries != cframe->nr_entries || nr_entries == 0)
		return false;
	if (memory == NULL)
		return cframe->granted == 0 && !cframe->is_left &&
		    !mmk__cframe_has_copies(cframe);
	MMK__FOR_EACH_COPY(copy, cframe)
	{
		nr_copies++;
		is_owned = is_owned || memory->owner == copy;
		if (copy->memory != memory || copy->order != cframe->order)
			return false;
	}
	if (nr_copies > 1 && (cframe->granted & MMK_PROT_WRITE) != 0)
		return false;
	return is_owned && memory->use == MMK_USE_CONTAINER &&
	    memory->order == cframe->order && mmk_frame_is_held(memory) &&
	    memory->refs == nr_copies + memory->pins &&
	    mmk_frame_of_pa(physmem->config.phys,
	        mmk_frame_pa(physmem->config.phys, memory)) == memory;
}

MMK_PRIVATE bool
mmk__container_check(struct mmk_container *container)
{
	uint64_t nr_pages = 0, nr_extra_pages = 0;
	struct mmk_btree_cursor cursor;
	struct mmk_range range;

	if (!mmk_btree_check(&container->tree) || container->nr_wanted != 0 ||
	    container->tree.nr_reserved != 0)
		return false;
	for (bool more = mmk_btree_seek(&container->tree, 0, &cursor, &range);
	     more; more = mmk_btree_next(&cursor, &range)) {
		struct mmk_centry *entry = (struct mmk_centry *)range.value;

		if (entry->container != container ||
		    entry->start != range.start ||
		    mmk__centry_last(entry) != range.last ||
		    !mmk__cframe_check(container->physmem, entry->cframe))
			return false;
		if (entry->is_extra)
			nr_extra_pages += mmk__cframe_nr_pages(entry->cframe);
		else
			nr_pages += mmk__cframe_nr_pages(entry->cframe);
	}
	return nr_pages == container->nr_pages &&
	    nr_extra_pages == container->nr_extra_pages;
}

MMK_API bool
mmk_physmem_check(struct mmk_physmem *physmem)
{
	bool is_right = true;

	MMKIT_MUTEX_LOCK(&physmem->mutex);
	MMK_LIST_FOR_EACH(link, &physmem->containers)
		is_right = is_right &&
		    mmk__container_check(MMK_LIST_ITEM(link,
		        struct mmk_container, of_physmem));
	MMKIT_MUTEX_UNLOCK(&physmem->mutex);
	return is_right;
}
#endif /* MMKIT_IMPLEMENTATION */
