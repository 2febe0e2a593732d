/* SPDX-License-Identifier: MIT
 *
 * mmkit/phys/container_copy.h: names of one container in another
 *
 * WHAT    Three ways for a range to mean elsewhere what it means here:
 *
 *           share  both are one: each sees what the other writes
 *           copy   the contents of now; copied when one of the two writes,
 *                  except of what is pinned: that is copied at once, so that
 *                  the device's memory stays with whoever pinned it
 *           move   the names here mean nothing afterwards
 *
 *         The destination pays for its names, however they are shared.
 * LAYER   phys. Includes container_map.h.
 * LOCKS   physmem->mutex, taken and dropped: one for all containers, so two
 *         copies in opposite directions cannot meet
 * COST    O(log entries) for each entry of the range; copies only of what is
 *         pinned
 * SOURCE  physmem of the GNU Hurd on L4: container_copy
 */
#ifndef MMKIT_PHYS_CONTAINER_COPY_H
#define MMKIT_PHYS_CONTAINER_COPY_H

#include "container_map.h"

MMK_BEGIN_DECLS

enum mmk_copy_mode { MMK_COPY_SHARE, MMK_COPY_COW, MMK_COPY_MOVE };

/* Flags of mmk_container_copy, beside MMK_CONTAINER_PARTIAL and SQUASH. */
#define MMK_CONTAINER_READONLY 16u /* the new names may only be read */

/*
 * mmk_container_copy: names [to_start, + nr_bytes) of `to` mean what those at
 * from_start of `from` do. The two may be one container.
 *
 * out      *nr_done_out, bytes from the start; nr_bytes, or with PARTIAL less.
 *          May be NULL.
 * errors   MMK_ERR_INVAL: not whole pages, empty, wrapping, unknown mode or
 *          flags, PARTIAL with SQUASH, or the ranges overlap in one container; containers of two
 *          physmems. MMK_ERR_NOENT: a name of `from` is not allocated; one of
 *          the two is dead. MMK_ERR_EXIST: one of `to` is, without SQUASH.
 *          MMK_ERR_LIMIT: `to` has no credit. MMK_ERR_NOMEM. MMK_ERR_BUSY:
 *          a pinned frame would be halved. MMK_ERR_AGAIN: one is just being
 *          moved. Nothing changed. PARTIAL: as above if not even one page
 *          could be had.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_container_copy(
    struct mmk_container *from, uint64_t from_start, struct mmk_container *to,
    uint64_t to_start, uint64_t nr_bytes, enum mmk_copy_mode mode,
    unsigned flags, uint64_t *nr_done_out);

MMK_END_DECLS
#endif /* MMKIT_PHYS_CONTAINER_COPY_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_PHYS_CONTAINER_COPY_IMPL)
#define MMKIT_PHYS_CONTAINER_COPY_IMPL

struct mmk__copy {
	struct mmk_container *from;
	struct mmk_container *to;
	struct mmk__names source;
	struct mmk__names target;
	enum mmk_copy_mode mode;
	unsigned flags;
	uint64_t nr_entries;
	bool keeps_charges; /* MOVE under one control */
	struct mmk__stock stock;
	struct mmk_list memories; /* for what is pinned: frames in stock */
};

/* The names from the start of the range that are allocated without a hole. */
MMK_PRIVATE bool
mmk__copy_cut_to_source(struct mmk__copy *copy)
{
	uint64_t end = copy->source.start;
	const struct mmk_centry *entry =
	    mmk__container_first(copy->from, end, copy->source.last);

	if (mmk__container_is_full(copy->from, &copy->source))
		return true;
	if ((copy->flags & MMK_CONTAINER_PARTIAL) == 0)
		return false;
	for (; entry != NULL && entry->start <= end;
	     entry = mmk__container_next(entry, copy->source.last))
		end = mmk__centry_last(entry) + 1;
	if (end == copy->source.start)
		return false;
	copy->source.last = end - 1;
	copy->target.last = copy->target.start + (copy->source.last -
	    copy->source.start);
	return true;
}

MMK_PRIVATE bool
mmk__copy_overlaps(const struct mmk__copy *copy)
{
	return copy->from == copy->to &&
	    copy->source.start <= copy->target.last &&
	    copy->target.start <= copy->source.last;
}

MMK_PRIVATE void
mmk__copy_drop_memories(struct mmk__copy *copy)
{
	struct mmk_phys *phys = copy->from->physmem->config.phys;
	struct mmk_link *link;

	while ((link = mmk_list_pop_front(&copy->memories)) != NULL) {
		struct mmk_cframe *cframe = mmk__copy_of_link(link);

		cframe->memory->owner = NULL;
		(void)mmk_frame_unref(phys, cframe->memory);
		cframe->memory = NULL;
		mmk_list_push_front(&copy->stock.cframes, &cframe->copies);
	}
}

/*
 * Memory in stock for the frames that must be copied at once. Its owner is the
 * frame that it is for: pins may end before the copying, but what was pinned
 * here counts as pinned until then. errors NOMEM: none is in stock.
 */
MMK_PRIVATE enum mmk_err
mmk__copy_get_memories(struct mmk__copy *copy)
{
	struct mmk_physmem *physmem = copy->from->physmem;
	const struct mmk_centry *entry = mmk__container_first(copy->from,
	    copy->source.start, copy->source.last);

	for (; entry != NULL;
	     entry = mmk__container_next(entry, copy->source.last)) {
		struct mmk_cframe *cframe;
		enum mmk_err err;

		if (!mmk__cframe_is_pinned(entry->cframe))
			continue;
		cframe = mmk__stock_cframe(&copy->stock);
		cframe->order = entry->cframe->order;
		cframe->is_low = entry->cframe->is_low;
		err = mmk__cframe_new_memory(physmem, cframe, 0,
		    &cframe->memory);
		if (err != MMK_OK) {
			mmk_list_push_front(&copy->stock.cframes,
			    &cframe->copies);
			mmk__copy_drop_memories(copy);
			return err;
		}
		cframe->memory->owner = entry->cframe;
		mmk_list_push_back(&copy->memories, &cframe->copies);
	}
	return MMK_OK;
}

/* What mmk__copy_get_memories got for the frame; NULL: it need not. */
MMK_PRIVATE struct mmk_cframe *
mmk__copy_take_memory(struct mmk__copy *copy, const struct mmk_cframe *old)
{
	struct mmk_link *link = mmk_list_first(&copy->memories);
	struct mmk_cframe *cframe;

	if (link == NULL)
		return NULL;
	cframe = mmk__copy_of_link(link);
	if (cframe->memory->owner != old)
		return NULL;
	mmk_list_remove(link);
	return cframe;
}

/* Everything that can fail, in an order that can be undone. */
MMK_PRIVATE enum mmk_err
mmk__copy_prepare(struct mmk__copy *copy)
{
	enum mmk_err err = mmk__container_make_way(copy->to, copy->flags,
	    &copy->target);
	const struct mmk_centry *entry;

	copy->source.last = copy->source.start + (copy->target.last -
	    copy->target.start);
	if (err == MMK_OK && !copy->keeps_charges)
		err = mmk__container_charge(copy->to, copy->flags,
		    &copy->target);
	if (err != MMK_OK)
		return err;
	copy->source.last = copy->source.start + (copy->target.last -
	    copy->target.start);
	err = mmk__container_clip(copy->from, &copy->source);
	copy->nr_entries = 0;
	entry = mmk__container_first(copy->from, copy->source.start,
	    copy->source.last);
	for (; entry != NULL;
	     entry = mmk__container_next(entry, copy->source.last))
		copy->nr_entries++;
	if (err == MMK_OK)
		err = mmk_btree_reserve(&copy->to->tree,
		    (unsigned)copy->nr_entries);
	if (err == MMK_OK)
		err = mmk__stock_fill(&copy->stock, copy->from->physmem,
		    copy->mode == MMK_COPY_MOVE ? 0 : copy->nr_entries,
		    copy->mode == MMK_COPY_COW ? copy->nr_entries : 0);
	if (err == MMK_OK && copy->mode == MMK_COPY_COW) {
		err = mmk__copy_get_memories(copy);
		if (err != MMK_OK)
			mmk__stock_drop(&copy->stock);
	}
	if (err != MMK_OK) {
		mmk_btree_unreserve(&copy->to->tree);
		if (!copy->keeps_charges)
			mmk__container_uncharge(copy->to, copy->flags,
			    &copy->target);
	}
	return err;
}

/* A frame with the contents of `old`, shown by nobody yet. Cannot fail. */
MMK_PRIVATE struct mmk_cframe *
mmk__copy_cframe(struct mmk__copy *copy, struct mmk_cframe *old)
{
	struct mmk_physmem *physmem = copy->from->physmem;
	struct mmk_phys *phys = physmem->config.phys;
	struct mmk_cframe *cframe = mmk__copy_take_memory(copy, old);

	if (cframe != NULL) {
		/* A device may write meanwhile; nobody else can. */
		mmk__cframe_revoke(physmem, old, MMK_PROT_READ);
		mmk__memory_copy(phys, cframe->memory, old->memory);
		cframe->memory->owner = cframe;
		physmem->counters.nr_copies++;
		return cframe;
	}
	cframe = mmk__stock_cframe(&copy->stock);
	cframe->order = old->order;
	cframe->is_low = old->is_low;
	if (old->memory == NULL)
		return cframe;
	mmk__cframe_revoke(physmem, old, MMK_PROT_READ);
	mmk_frame_ref(phys, old->memory);
	cframe->memory = old->memory;
	mmk_list_insert_before(&old->copies, &cframe->copies);
	return cframe;
}

/* The entry as it is to be in the target; it is in no tree. */
MMK_PRIVATE struct mmk_centry *
mmk__copy_entry(struct mmk__copy *copy, struct mmk_centry *old)
{
	struct mmk_container *from = copy->from;
	uint64_t nr_pages = mmk__cframe_nr_pages(old->cframe);
	struct mmk_centry *entry = old;

	if (copy->mode != MMK_COPY_MOVE) {
		entry = mmk__stock_entry(&copy->stock);
		entry->access = old->access;
		mmk__cframe_show(copy->mode == MMK_COPY_SHARE
			? old->cframe : mmk__copy_cframe(copy, old->cframe),
		    entry);
		return entry;
	}
	/* Whoever mapped the names here has them no longer. */
	mmk__cframe_revoke(from->physmem, old->cframe, 0);
	(void)mmk_btree_erase(&from->tree, old->start);
	if (old->is_extra)
		from->nr_extra_pages -= nr_pages;
	else
		from->nr_pages -= nr_pages;
	if (copy->keeps_charges) {
		if (old->is_extra)
			copy->to->nr_extra_pages += nr_pages;
		else
			copy->to->nr_pages += nr_pages;
		return entry;
	}
	mmk__control_pay(from->user.control, old->is_extra ? 0 : nr_pages,
	    old->is_extra ? nr_pages : 0);
	entry->is_extra = false;
	return entry;
}

/* Cannot fail. */
MMK_PRIVATE void
mmk__copy_commit(struct mmk__copy *copy)
{
	uint64_t delta = copy->target.start - copy->source.start;
	struct mmk_centry *old, *entry, *next;

	(void)mmk__container_clear(copy->to, &copy->target);
	mmk__container_forget_left(copy->to);
	old = mmk__container_first(copy->from, copy->source.start,
	    copy->source.last);
	for (; old != NULL; old = next) {
		next = mmk__container_next(old, copy->source.last);
		entry = mmk__copy_entry(copy, old);
		entry->container = copy->to;
		entry->start = old->start + delta;
		if ((copy->flags & MMK_CONTAINER_READONLY) != 0)
			entry->access &= MMK_PROT_READ;
		mmk__container_insert(entry);
	}
	mmk_btree_unreserve(&copy->to->tree);
	/* SHARE of one frame twice, and the like, leave nothing over. */
	mmk__copy_drop_memories(copy);
	if (copy->mode != MMK_COPY_MOVE)
		mmk__stock_drop(&copy->stock);
}

MMK_PRIVATE enum mmk_err
mmk__copy_locked(struct mmk__copy *copy, uint64_t *nr_done_out)
{
	enum mmk_err err;

	if (copy->from->is_dead || copy->to->is_dead ||
	    !mmk__copy_cut_to_source(copy))
		return MMK_ERR_NOENT;
	if (mmk__copy_overlaps(copy))
		return MMK_ERR_INVAL;
	err = mmk__copy_prepare(copy);
	if (err != MMK_OK)
		return err;
	mmk__copy_commit(copy);
	if (nr_done_out != NULL)
		*nr_done_out = mmk_bytes_of_pages(
		    mmk__names_nr_pages(&copy->target));
	return MMK_OK;
}

MMK_PRIVATE enum mmk_err
mmk__copy_as(struct mmk_container *from, const struct mmk__pass *from_pass,
    uint64_t from_start, struct mmk_container *to,
    const struct mmk__pass *to_pass, uint64_t to_start, uint64_t nr_bytes,
    enum mmk_copy_mode mode, unsigned flags, uint64_t *nr_done_out)
{
	const unsigned known = MMK_CONTAINER_PARTIAL | MMK_CONTAINER_SQUASH |
	    MMK_CONTAINER_READONLY;
	struct mmk__copy copy;
	enum mmk_err err;

	(void)MMKIT_MEMSET(&copy, 0, sizeof(copy));
	copy.from = from;
	copy.to = to;
	copy.mode = mode;
	copy.flags = flags;
	copy.keeps_charges = mode == MMK_COPY_MOVE &&
	    from->user.control == to->user.control;
	copy.stock.physmem = from->physmem;
	mmk_list_init(&copy.stock.entries);
	mmk_list_init(&copy.stock.cframes);
	mmk_list_init(&copy.memories);
	if (!mmk__names_make(from_start, nr_bytes, &copy.source) ||
	    !mmk__names_make(to_start, nr_bytes, &copy.target) ||
	    !mmk__flags_are_good(flags, known) || (unsigned)mode > MMK_COPY_MOVE ||
	    from->physmem != to->physmem)
		return MMK_ERR_INVAL;
	if (mmk__names_nr_pages(&copy.source) > MMK_CONTAINER_MAX_PAGES)
		return MMK_ERR_LIMIT;
	err = mmk__container_enter(from, from_pass);
	if (err != MMK_OK)
		return err;
	err = mmk__pass_is_good(to_pass)
	    ? mmk__copy_locked(&copy, nr_done_out) : MMK_ERR_NOENT;
	MMKIT_MUTEX_UNLOCK(&from->physmem->mutex);
	return err;
}

MMK_API enum mmk_err
mmk_container_copy(struct mmk_container *from, uint64_t from_start,
    struct mmk_container *to, uint64_t to_start, uint64_t nr_bytes,
    enum mmk_copy_mode mode, unsigned flags, uint64_t *nr_done_out)
{
	return mmk__copy_as(from, NULL, from_start, to, NULL, to_start,
	    nr_bytes, mode, flags, nr_done_out);
}
#endif /* MMKIT_IMPLEMENTATION */
