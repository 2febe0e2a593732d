/* SPDX-License-Identifier: MIT
 *
 * mmkit/phys/move.h: frames that may change their address
 *
 * WHAT    A frame can move if all who know its address can be told. Such a
 *         frame is allocated with MMK_ALLOC_MOVABLE, and whoever holds movable
 *         frames of a use plugs in a mover for that use. To move one:
 *
 *           isolate   a flag keeps it from being freed, and others from
 *                     isolating it, too
 *           move      the use's mover stops and flushes every translation,
 *                     copies, and hands all that the old frame was to the new;
 *                     the old one is the caller's alone, and like new
 *
 *         or unisolate. A movable frame that its mover refuses just now
 *         (pinned, on loan, being paged) stays where it is, and may be asked
 *         about again. Owners notice nothing of an isolation: their counts
 *         stay exact. One who gives the frame up meanwhile leaves it to the
 *         isolator to free.
 * LAYER   phys. Includes frame.h. Knows no translations and no owners.
 * LOCKS   none of its own; a mover says which it takes. isolate takes none
 *         and may be called for any descriptor at any time.
 * COST    isolate: one compare-and-swap. move: the mover's, and the copy.
 * SOURCE  own; the name is that of Linux's compaction, which takes a reference.
 */
#ifndef MMKIT_PHYS_MOVE_H
#define MMKIT_PHYS_MOVE_H

#include "frame.h"

MMK_BEGIN_DECLS

/* Who can move the frames of one use. It outlives its registration. */
struct mmk_mover {
	/*
	 * Make `to` take the place of `from` in all that knows `from`: stop
	 * and flush every translation, copy the contents, then call
	 * mmk_frame_hand_over and make the owners know `to`.
	 *
	 * pre      `from` is isolated by the caller, and may have been given
	 *          up since. `to` has the same order and use, and is known to
	 *          the caller alone. No lock is held.
	 *          `from` was not pinned or on loan a moment ago; hand_over
	 *          asks again.
	 * out      `to` is the owners': it may be gone when this returns.
	 * errors   MMK_ERR_BUSY: pinned, loaned, being paged, or held by
	 *          somebody who cannot be told; contents and owners are as
	 *          before; `from` is isolated still, `to` the caller's.
	 */
	enum mmk_err (*move)(void *ctx, struct mmk_frame *from,
	    struct mmk_frame *to);
	void *ctx;
};

/*
 * mmk_phys_set_mover: movable frames of `use` are moved so. NULL: not any more.
 *
 * pre      use is one that can be allocated. To take a mover away: nobody
 *          compacts meanwhile.
 */
MMK_API void mmk_phys_set_mover(struct mmk_phys *phys, enum mmk_use use,
    const struct mmk_mover *mover);

/*
 * mmk_frame_isolate: make sure of a frame of which nothing is known.
 *
 * out      It is not freed, and keeps its use and order, until it is moved or
 *          mmk_frame_unisolate.
 * errors   MMK_ERR_NOENT: not a frame that is held, movable, of a use that has
 *          a mover, and not isolated by somebody else. Nothing changed.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_frame_isolate(struct mmk_phys *phys,
    struct mmk_frame *frame);

/* It stays where it is; it is freed, if its owners gave it up meanwhile. */
MMK_API void mmk_frame_unisolate(struct mmk_phys *phys,
    struct mmk_frame *frame);

/*
 * mmk_frame_move: the contents of `from` and all that it stands for go to `to`.
 *
 * pre      `from` is isolated by the caller. `to` comes from mmk_frame_alloc
 *          with the same order and use, not movable, not retained, nobody else
 *          has it.
 * locks    none held; those of the mover.
 * out      `to` is the owners', and the caller must not touch it any more.
 *          `from` is the caller's alone, with refs 1 and no other state.
 * errors   MMK_ERR_BUSY: see the mover; both are as they were before.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_frame_move(struct mmk_phys *phys,
    struct mmk_frame *from, struct mmk_frame *to);

/*
 * mmk_frame_hand_over: for movers: the references, the owner, the
 * marks (modified, referenced), RETAINED and MOVABLE go from `from` to `to`.
 *
 * pre      as for mmk_mover.move; the contents are copied, no translation of
 *          `from` is left, none is in a TLB, and the mover's locks keep those
 *          of its nr_owners references as they are. 0: only if it is retained.
 * out      true: `to` has refs nr_owners, `from` has 1, the caller's. false:
 *          somebody else has references, pins or loans; nothing changed.
 */
MMK_API MMK_NODISCARD bool mmk_frame_hand_over(struct mmk_phys *phys,
    struct mmk_frame *from, struct mmk_frame *to, uint32_t nr_owners);

/*
 * A held frame may move from now on, or may not. A move that is under way may
 * still end well.
 */
static inline void
mmk_frame_set_movable(struct mmk_frame *frame, bool is_movable)
{
	if (is_movable)
		(void)MMKIT_ATOMIC_OR(&frame->flags,
		    (uint16_t)MMK_FRAME_MOVABLE);
	else
		(void)MMKIT_ATOMIC_AND(&frame->flags,
		    (uint16_t)~MMK_FRAME_MOVABLE);
}

MMK_END_DECLS
#endif /* MMKIT_PHYS_MOVE_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_PHYS_MOVE_IMPL)
#define MMKIT_PHYS_MOVE_IMPL

MMK_API void
mmk_phys_set_mover(struct mmk_phys *phys, enum mmk_use use,
    const struct mmk_mover *mover)
{
	MMK_ASSERT((unsigned)use < MMK_USE_MAX);
	MMK_ASSERT(use != MMK_USE_FREE && use != MMK_USE_META);
	MMKIT_ATOMIC_STORE(&phys->movers[use], mover);
}

MMK_API enum mmk_err
mmk_frame_isolate(struct mmk_phys *phys, struct mmk_frame *frame)
{
	const unsigned wanted = MMK_FRAME_HEAD | MMK_FRAME_MOVABLE;
	uint16_t flags = MMKIT_ATOMIC_LOAD(&frame->flags);

	MMKIT_YIELD_POINT();
	/* One word says that it is held, movable and nobody else's to look at:
	 * whatever became of it since, it is so when the bit is set. */
	do {
		if ((flags & (wanted | MMK_FRAME_ISOLATED | MMK_FRAME_DEAD)) !=
		    wanted)
			return MMK_ERR_NOENT;
	} while (!MMKIT_ATOMIC_CAS(&frame->flags, &flags,
	    (uint16_t)(flags | MMK_FRAME_ISOLATED)));
	if (MMKIT_ATOMIC_LOAD(&phys->movers[frame->use]) != NULL)
		return MMK_OK;
	mmk_frame_unisolate(phys, frame);
	return MMK_ERR_NOENT;
}

MMK_API void
mmk_frame_unisolate(struct mmk_phys *phys, struct mmk_frame *frame)
{
	uint16_t flags = MMKIT_ATOMIC_AND(&frame->flags,
	    (uint16_t)~MMK_FRAME_ISOLATED);

	MMK_ASSERT((flags & MMK_FRAME_ISOLATED) != 0);
	if ((flags & MMK_FRAME_DEAD) != 0)
		mmk__frame_free(phys, frame);
}

/* Somebody relies on its address. */
MMK_PRIVATE bool
mmk__frame_is_tied(const struct mmk_frame *frame)
{
	return MMKIT_ATOMIC_LOAD(&frame->pins) != 0 ||
	    MMKIT_ATOMIC_LOAD(&frame->loans) != 0;
}

MMK_API enum mmk_err
mmk_frame_move(struct mmk_phys *phys, struct mmk_frame *from,
    struct mmk_frame *to)
{
	const struct mmk_mover *mover =
	    MMKIT_ATOMIC_LOAD(&phys->movers[from->use]);
	enum mmk_err err;

	MMK_ASSERT(from != to);
	MMK_ASSERT(mmk_frame_is_held(from));
	MMK_ASSERT(mmk_frame_is_held(to));
	MMK_ASSERT(from->order == to->order);
	MMK_ASSERT(from->use == to->use);
	if (mover == NULL || mmk__frame_is_tied(from))
		return MMK_ERR_BUSY;
	err = mover->move(mover->ctx, from, to);
	if (err != MMK_OK)
		return err;
	/* What was in it is somewhere else: nobody may look at it here. */
	MMKIT_POISON(mmk_frame_ptr(phys, from),
	    (size_t)mmk_bytes_of_pages(mmk_frame_nr_pages(from)));
	MMKIT_UNPOISON(mmk_frame_ptr(phys, from),
	    (size_t)mmk_bytes_of_pages(mmk_frame_nr_pages(from)));
	return MMK_OK;
}

MMK_API bool
mmk_frame_hand_over(struct mmk_phys *phys, struct mmk_frame *from,
    struct mmk_frame *to, uint32_t nr_owners)
{
	const uint16_t marks = MMK_FRAME_MODIFIED | MMK_FRAME_REFERENCED |
	    MMK_FRAME_RETAINED | MMK_FRAME_MOVABLE;
	uint32_t refs = nr_owners;
	uint16_t flags = MMKIT_ATOMIC_LOAD(&from->flags);

	(void)phys;
	MMK_ASSERT((flags & MMK_FRAME_ISOLATED) != 0);
	MMK_ASSERT(from->mapped == 0);
	MMK_ASSERT(nr_owners > 0 || (flags & MMK_FRAME_RETAINED) != 0);
	if (mmk__frame_is_tied(from) || (flags & MMK_FRAME_DEAD) != 0 ||
	    !MMKIT_ATOMIC_CAS(&from->refs, &refs, 1u))
		return false;
	MMKIT_ATOMIC_STORE(&to->refs, nr_owners);
	to->owner = from->owner;
	from->owner = NULL;
	flags = MMKIT_ATOMIC_AND(&from->flags,
	    (uint16_t)~(unsigned)(marks | MMK_FRAME_ISOLATED));
	/* Last: whoever finds it movable finds all of the above as well. */
	(void)MMKIT_ATOMIC_OR(&to->flags, (uint16_t)(flags & marks));
	return true;
}
#endif /* MMKIT_IMPLEMENTATION */
