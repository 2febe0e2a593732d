/* SPDX-License-Identifier: MIT
 *
 * mmkit/phys/pin.h: pins that end by themselves
 *
 * WHAT    A device is told a physical address, and whoever told it says for how
 *         long that must stay good. A timed pin is a pin (mmk_frame_pin) and a
 *         reference, so that the frame neither moves nor is freed: an owner
 *         who gives it up meanwhile leaves it to the pin. Both go when the
 *         pin is ended, or when its time is over and somebody looks: the
 *         kernel's timer, or a compaction, which looks first. No pin is longer
 *         than a limit, so nobody can keep memory in its place for ever.
 *
 *         The pin's memory is the caller's. A frame may have any number of
 *         them, and it moves when the last is gone.
 * LAYER   phys. Includes frame.h and base/list.h.
 * LOCKS   pins->lock (MMK_RANK_PIN); frames are unpinned without it
 * COST    begin: O(pins that end later), 0 if all last equally long.
 *         end: O(1). expire: O(overdue pins).
 * SOURCE  own; bounded pins are those of the physmem design (Neal Walfield).
 *
 * I1      the list is sorted by deadline; nr_pins is its length
 *                                               tested by: mmk_pins_check
 */
#ifndef MMKIT_PHYS_PIN_H
#define MMKIT_PHYS_PIN_H

#include "../base/list.h"
#include "frame.h"

MMK_BEGIN_DECLS

/* Guards: [I] immutable after init  [L] this->lock */
struct mmk_pins {
	MMKIT_LOCK_T lock;
	struct mmk_phys *phys; /* [I] */
	uint64_t limit_ns;     /* [I] the longest a pin may last */
	struct mmk_list list;  /* [L] the next one to end is first */
	uint64_t nr_pins;      /* [L] */
};

/* Guards: [P] the lock of its mmk_pins */
struct mmk_pin {
	struct mmk_link link;     /* [P] on pins->list while it lives */
	struct mmk_frame *frame;  /* [P] NULL: it has ended */
	uint64_t deadline_ns;     /* [P] */
};

/* No pin lasts longer than limit_ns. */
MMK_API void mmk_pins_init(struct mmk_pins *pins, struct mmk_phys *phys,
    uint64_t limit_ns);

/* pre: no pin lives. */
MMK_API void mmk_pins_fini(struct mmk_pins *pins);

/*
 * mmk_pin_begin: `frame` keeps its address and is not freed for duration_ns.
 *
 * pre      the frame is held, and stays so during the call. `pin` is not
 *          alive; its memory stays until the pin is ended, or found ended.
 * locks    takes pins->lock
 * errors   MMK_ERR_LIMIT: longer than the limit, or pinned too often.
 *          MMK_ERR_INVAL: duration_ns is 0, or the port has no
 *          MMKIT_CLOCK_NS: the pin would never end. Nothing changed.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_pin_begin(struct mmk_pins *pins,
    struct mmk_frame *frame, uint64_t duration_ns, struct mmk_pin *pin);

/*
 * mmk_pin_end: the address need not be good any longer.
 *
 * pre      begun. Ending it again does nothing.
 * locks    takes pins->lock; the frame may be freed, or its owner told
 * out      true: it lasted until now. false: its time was over; what a device
 *          did since may have gone to somebody else's memory.
 */
MMK_API bool mmk_pin_end(struct mmk_pins *pins, struct mmk_pin *pin);

/* The address is still good, and will be for a while. pre: it was begun. */
MMK_API bool mmk_pin_is_live(struct mmk_pins *pins, const struct mmk_pin *pin);

/*
 * mmk_pin_expire: end every pin whose deadline is at or before now_ns; how
 * many.
 *
 * locks    takes pins->lock, once for each; frames may be freed, or their
 *          owners told
 */
MMK_API uint64_t mmk_pin_expire(struct mmk_pins *pins, uint64_t now_ns);

/* I1. pre: no pin of the list is being begun or ended. */
MMK_API bool mmk_pins_check(const struct mmk_pins *pins);

MMK_END_DECLS
#endif /* MMKIT_PHYS_PIN_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_PHYS_PIN_IMPL)
#define MMKIT_PHYS_PIN_IMPL

MMK_API void
mmk_pins_init(struct mmk_pins *pins, struct mmk_phys *phys, uint64_t limit_ns)
{
	MMKIT_LOCK_INIT(&pins->lock, "mmk pins", MMK_RANK_PIN);
	pins->phys = phys;
	pins->limit_ns = limit_ns;
	mmk_list_init(&pins->list);
	pins->nr_pins = 0;
}

MMK_API void
mmk_pins_fini(struct mmk_pins *pins)
{
	MMK_ASSERT(mmk_list_is_empty(&pins->list));
	MMK_ASSERT(pins->nr_pins == 0);
}

/* Sorted, from the end: most pins of a kernel last equally long. */
MMK_PRIVATE void
mmk__pins_insert(struct mmk_pins *pins, struct mmk_pin *pin)
{
	struct mmk_link *after = &pins->list.head;

	while (after->prev != &pins->list.head &&
	    MMK_LIST_ITEM(after->prev, struct mmk_pin, link)->deadline_ns >
	        pin->deadline_ns)
		after = after->prev;
	mmk_list_insert_before(after, &pin->link);
	pins->nr_pins++;
}

/* The pin is over; its frame, whose pin and reference are the caller's. */
MMK_PRIVATE struct mmk_frame *
mmk__pins_remove(struct mmk_pins *pins, struct mmk_pin *pin)
{
	struct mmk_frame *frame = pin->frame;

	mmk_list_remove(&pin->link);
	pin->frame = NULL;
	pins->nr_pins--;
	return frame;
}

MMK_PRIVATE void
mmk__pins_let_go(struct mmk_pins *pins, struct mmk_frame *frame)
{
	mmk_frame_unpin(pins->phys, frame);
	(void)mmk_frame_unref(pins->phys, frame);
}

MMK_API enum mmk_err
mmk_pin_begin(struct mmk_pins *pins, struct mmk_frame *frame,
    uint64_t duration_ns, struct mmk_pin *pin)
{
	uint64_t now_ns = MMKIT_CLOCK_NS();
	enum mmk_err err;

	if (!MMK_HAS_CLOCK || duration_ns == 0)
		return MMK_ERR_INVAL;
	if (duration_ns > pins->limit_ns || duration_ns > UINT64_MAX - now_ns)
		return MMK_ERR_LIMIT;
	err = mmk_frame_pin(pins->phys, frame);
	if (err != MMK_OK)
		return err;
	mmk_frame_ref(pins->phys, frame);
	mmk_link_init(&pin->link);
	pin->frame = frame;
	pin->deadline_ns = now_ns + duration_ns;
	MMKIT_LOCK(&pins->lock);
	mmk__pins_insert(pins, pin);
	MMKIT_UNLOCK(&pins->lock);
	return MMK_OK;
}

MMK_API bool
mmk_pin_end(struct mmk_pins *pins, struct mmk_pin *pin)
{
	struct mmk_frame *frame = NULL;
	uint64_t deadline_ns;

	MMKIT_LOCK(&pins->lock);
	deadline_ns = pin->deadline_ns;
	if (pin->frame != NULL)
		frame = mmk__pins_remove(pins, pin);
	MMKIT_UNLOCK(&pins->lock);
	if (frame == NULL)
		return false;
	mmk__pins_let_go(pins, frame);
	return MMKIT_CLOCK_NS() < deadline_ns;
}

MMK_API bool
mmk_pin_is_live(struct mmk_pins *pins, const struct mmk_pin *pin)
{
	bool is_live;

	MMKIT_LOCK(&pins->lock);
	/* Overdue is as good as ended: it can be so at any moment. */
	is_live = pin->frame != NULL && MMKIT_CLOCK_NS() < pin->deadline_ns;
	MMKIT_UNLOCK(&pins->lock);
	return is_live;
}

/* The frame of the first pin, if that is over by now_ns; else NULL. */
MMK_PRIVATE struct mmk_frame *
mmk__pins_take_overdue(struct mmk_pins *pins, uint64_t now_ns)
{
	struct mmk_frame *frame = NULL;

	MMKIT_LOCK(&pins->lock);
	if (!mmk_list_is_empty(&pins->list)) {
		struct mmk_pin *pin = MMK_LIST_ITEM(mmk_list_first(&pins->list),
		    struct mmk_pin, link);

		if (pin->deadline_ns <= now_ns)
			frame = mmk__pins_remove(pins, pin);
	}
	MMKIT_UNLOCK(&pins->lock);
	return frame;
}

MMK_API uint64_t
mmk_pin_expire(struct mmk_pins *pins, uint64_t now_ns)
{
	struct mmk_frame *frame;
	uint64_t nr_ended = 0;

	for (; (frame = mmk__pins_take_overdue(pins, now_ns)) != NULL;
	     nr_ended++)
		mmk__pins_let_go(pins, frame);
	return nr_ended;
}

MMK_API bool
mmk_pins_check(const struct mmk_pins *pins)
{
	uint64_t nr_pins = 0, before_ns = 0;

	MMK_LIST_FOR_EACH(link, &pins->list) {
		const struct mmk_pin *pin =
		    MMK_LIST_ITEM(link, struct mmk_pin, link);

		if (pin->deadline_ns < before_ns || pin->frame == NULL ||
		    pin->frame->pins == 0 || pin->frame->refs == 0)
			return false;
		before_ns = pin->deadline_ns;
		nr_pins++;
	}
	return nr_pins == pins->nr_pins;
}
#endif /* MMKIT_IMPLEMENTATION */
