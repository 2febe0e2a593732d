/* SPDX-License-Identifier: MIT
 *
 * mmkit/phys/compact.h: room made by moving frames out of the way
 *
 * WHAT    An allocation fails though memory is free: it is free in the wrong
 *         places. Compaction chooses a place where few frames lie and all of
 *         them can move, takes what is free there so that nobody else does,
 *         moves the rest, and hands the place out. The same clears a zone: the
 *         place is then in the zone, and the frames go elsewhere.
 *
 *           wanted      |        |        |        |     in a window
 *           frames      |x.m.pm.m|.m..m...|m.mm.mm.|     m movable, p pinned,
 *           to be moved |   -    |   2    |   5    |     x neither
 *
 *         It is for the caller whose allocation failed to ask for it: allocating
 *         never compacts, compacting never reclaims.
 * LAYER   phys. Includes run.h, move.h, pin.h. Knows no owners.
 * LOCKS   those of run.h, of the movers, and pins->lock; none across a move.
 *         Two may run at once: one finds the other's place taken.
 * COST    one look at each descriptor of the window (two with zone LOW in
 *         it), then at most max_moves pages copied, in at most
 *         MMK_COMPACT_PLACES places.
 * SOURCE  own. Linux moves everything to the other end of a zone with two
 *         scanners; here one place is enough for the one who asks.
 */
#ifndef MMKIT_PHYS_COMPACT_H
#define MMKIT_PHYS_COMPACT_H

#include "move.h"
#include "pin.h"
#include "run.h"

MMK_BEGIN_DECLS

#define MMK_COMPACT_PLACES 8u /* tried, cheapest first, before giving up */

/* What the caller is ready to pay. Guards: [C] caller's own */
struct mmk_compaction {
	struct mmk_pins *pins; /* overdue ones are ended first; may be NULL */
	uint64_t max_moves;    /* pages, copied at most */
	uint64_t nr_moves;     /* counted up: pages copied, wanted or not */
};

/*
 * mmk_compact_run: mmk_run_alloc, moving frames out of the way if it must.
 *
 * locks    none held: movers take locks, and flush TLBs
 * out      as mmk_run_alloc, and effort->nr_moves. Untouched on error, but
 *          nr_moves.
 * errors   MMK_ERR_NOSPACE: every place of the window has frames that are not
 *          movable, or pinned, or on loan; or there is no place in it.
 *          MMK_ERR_BUSY: a mover refused, or somebody else was at work there.
 *          MMK_ERR_LIMIT: it would take more than max_moves.
 *          MMK_ERR_NOMEM: nowhere to move the frames to, or it would take
 *          of the reserve.
 *          MMK_ERR_INVAL: as mmk_run_alloc.
 *          Whatever was moved stays where it is now; else nothing changed.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_compact_run(struct mmk_phys *phys,
    struct mmk_compaction *effort, const struct mmk_run_request *request,
    mmk_pfn *first_pfn_out);

/*
 * mmk_compact_frame: mmk_frame_alloc, moving frames out of the way if it must.
 * With MMK_ALLOC_LOW frames are moved out of zone LOW if it is full.
 *
 * Locks, out and errors as above. flags: all but UNREFERENCED; RESERVE helps
 * only where nothing need be moved, a node is only a wish then, and for EXACT
 * nothing is moved: MMK_ERR_NOMEM.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_compact_frame(struct mmk_phys *phys,
    struct mmk_compaction *effort, unsigned order, unsigned flags,
    enum mmk_use use, struct mmk_frame **frame_out);

MMK_END_DECLS
#endif /* MMKIT_PHYS_COMPACT_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_PHYS_COMPACT_IMPL)
#define MMKIT_PHYS_COMPACT_IMPL

/* How often one page is looked at that is on its way from one state to another. */
#define MMK__COMPACT_TRIES 4u

/* A place [first_pfn, end_pfn) that is being emptied. */
struct mmk__clear {
	struct mmk_phys *phys;
	struct mmk_compaction *effort;
	enum mmk_use use;
	mmk_pfn first_pfn;
	mmk_pfn end_pfn;
	struct mmk_frame *claimed; /* pages that are ours: chain by owner */
	uint64_t nr_claimed;
};

/* ---- what is ours -------------------------------------------------------- */

/* A single page of the place, of ours alone. */
MMK_PRIVATE void
mmk__clear_keep(struct mmk__clear *clear, struct mmk_frame *page)
{
	if (page->use != clear->use)
		mmk_frame_set_use(clear->phys, page, clear->use);
	page->owner = clear->claimed;
	clear->claimed = page;
	clear->nr_claimed++;
	(void)MMKIT_ATOMIC_OR(&page->flags, (uint16_t)MMK_FRAME_CLAIMED);
}

/*
 * A frame of ours alone, wherever it is: what of it lies in the place is kept,
 * the rest is freed.
 */
MMK_PRIVATE void
mmk__clear_take(struct mmk__clear *clear, struct mmk_frame *frame)
{
	const struct mmk_frame_table *table = &clear->phys->table;
	mmk_pfn pfn = mmk_frame_table_pfn(table, frame);
	mmk_pfn end_pfn = pfn + mmk_frame_nr_pages(frame);

	mmk__run_split(clear->phys, frame);
	for (; pfn < end_pfn; pfn++) {
		struct mmk_frame *page = mmk_frame_table_lookup(table, pfn);

		if (pfn >= clear->first_pfn && pfn < clear->end_pfn)
			mmk__clear_keep(clear, page);
		else
			(void)mmk_frame_unref(clear->phys, page);
	}
}

/* Nothing is ours any more; is_kept: they are the caller's now, else freed. */
MMK_PRIVATE void
mmk__clear_end(struct mmk__clear *clear, bool is_kept)
{
	while (clear->claimed != NULL) {
		struct mmk_frame *page = clear->claimed;

		clear->claimed = page->owner;
		page->owner = NULL;
		(void)MMKIT_ATOMIC_AND(&page->flags,
		    (uint16_t)~MMK_FRAME_CLAIMED);
		if (!is_kept)
			(void)mmk_frame_unref(clear->phys, page);
	}
	clear->nr_claimed = 0;
	if (!is_kept)
		mmk_phys_drain(clear->phys);
}

/* ---- emptying a place ---------------------------------------------------- */

/*
 * If the page is free, it and what is free with it are ours. The end of what
 * was taken; `pfn`: nothing.
 */
MMK_PRIVATE mmk_pfn
mmk__clear_claim(struct mmk__clear *clear, mmk_pfn pfn)
{
	struct mmk_phys *phys = clear->phys;
	struct mmk_buddy *zone = mmk_store_buddy_of(&phys->store, pfn);
	const struct mmk_frame *block;
	mmk_pfn end_pfn = pfn;

	MMKIT_LOCK(&zone->lock);
	block = mmk__buddy_block_of(zone, pfn);
	if (block != NULL) {
		end_pfn = mmk_min(mmk_frame_table_pfn(&phys->table, block) +
		    mmk_frame_nr_pages(block), clear->end_pfn);
		end_pfn = mmk__run_chunk_end(zone, pfn, end_pfn);
		if (!mmk_buddy_claim_locked(zone, pfn, end_pfn))
			end_pfn = pfn;
	}
	MMKIT_UNLOCK(&zone->lock);
	if (end_pfn > pfn)
		mmk__run_establish(phys, pfn, end_pfn, 0, clear->use);
	for (; pfn < end_pfn; pfn++)
		mmk__clear_keep(clear,
		    mmk_frame_table_lookup(&phys->table, pfn));
	return end_pfn;
}

/*
 * The movable frame that the page is in, isolated: only then its order is good
 * to read. NULL: there is none.
 */
MMK_PRIVATE struct mmk_frame *
mmk__clear_isolate(struct mmk_phys *phys, mmk_pfn pfn)
{
	for (unsigned order = 0; order <= MMK_MAX_ORDER; order++) {
		mmk_pfn head_pfn = mmk_round_down(pfn, (uint64_t)1 << order);
		struct mmk_frame *head =
		    mmk_frame_table_lookup(&phys->table, head_pfn);

		if (head == NULL)
			return NULL;
		if (!mmk_frame_is_held(head))
			continue;
		if (mmk_frame_isolate(phys, head) != MMK_OK)
			return NULL;
		if (pfn - head_pfn < mmk_frame_nr_pages(head))
			return head;
		mmk_frame_unisolate(phys, head);
		return NULL;
	}
	return NULL;
}

/* A frame for what is in `from`, not in the place. errors NOMEM. */
MMK_PRIVATE enum mmk_err
mmk__clear_alloc(struct mmk__clear *clear, const struct mmk_frame *from,
    struct mmk_frame **to_out)
{
	struct mmk_phys *phys = clear->phys;
	enum mmk_err err;

	for (;;) {
		struct mmk_frame *to;
		mmk_pfn pfn;

		err = mmk_frame_alloc(phys, from->order, 0,
		    (enum mmk_use)from->use, &to);
		if (err != MMK_OK)
			return err;
		pfn = mmk_frame_table_pfn(&phys->table, to);
		if (pfn >= clear->end_pfn ||
		    pfn + mmk_frame_nr_pages(to) <= clear->first_pfn) {
			*to_out = to;
			return MMK_OK;
		}
		/* Freed there since: one page less to get. */
		mmk__clear_take(clear, to);
	}
}

/* Pages that may still be copied. */
MMK_PRIVATE uint64_t
mmk__clear_budget(const struct mmk__clear *clear)
{
	const struct mmk_compaction *effort = clear->effort;

	return effort->nr_moves < effort->max_moves
	    ? effort->max_moves - effort->nr_moves : 0;
}

/* Move an isolated frame away; the isolation goes with it, or is undone. */
MMK_PRIVATE enum mmk_err
mmk__clear_move(struct mmk__clear *clear, struct mmk_frame *from)
{
	struct mmk_phys *phys = clear->phys;
	struct mmk_compaction *effort = clear->effort;
	uint64_t nr_pages = mmk_frame_nr_pages(from);
	enum mmk_err err = MMK_ERR_LIMIT;
	struct mmk_frame *to = NULL;

	if (nr_pages <= mmk__clear_budget(clear))
		err = mmk__clear_alloc(clear, from, &to);
	if (err == MMK_OK) {
		err = mmk_frame_move(phys, from, to);
		if (err == MMK_OK) {
			effort->nr_moves += nr_pages;
			mmk__clear_take(clear, from);
			return MMK_OK;
		}
		(void)mmk_frame_unref(phys, to);
	}
	mmk_frame_unisolate(phys, from);
	return err;
}

/*
 * The page at *pfn becomes ours, and *pfn moves past it and what came with it.
 * errors as mmk_compact_run; AGAIN: it was changing, look again.
 */
MMK_PRIVATE enum mmk_err
mmk__clear_page(struct mmk__clear *clear, mmk_pfn *pfn)
{
	struct mmk_phys *phys = clear->phys;
	mmk_pfn end_pfn = mmk__clear_claim(clear, *pfn);
	struct mmk_frame *frame = mmk_frame_table_lookup(&phys->table, *pfn);
	enum mmk_err err;

	if (end_pfn > *pfn) {
		*pfn = end_pfn;
		return MMK_OK;
	}
	if (frame != NULL &&
	    (MMKIT_ATOMIC_LOAD(&frame->flags) & MMK_FRAME_CLAIMED) != 0) {
		/* Ours, or another compaction's: the count will tell. */
		++*pfn;
		return MMK_OK;
	}
	frame = mmk__clear_isolate(phys, *pfn);
	if (frame == NULL) {
		mmk_phys_drain(phys); /* a CPU may have it */
		return MMK_ERR_AGAIN;
	}
	end_pfn = mmk_frame_table_pfn(&phys->table, frame) +
	    mmk_frame_nr_pages(frame);
	err = mmk__clear_move(clear, frame);
	if (err == MMK_OK)
		*pfn = end_pfn;
	return err;
}

/*
 * Every page of the place becomes ours, the free ones first: from then on
 * nobody allocates there. errors: nothing is ours.
 */
MMK_PRIVATE enum mmk_err
mmk__clear_run(struct mmk__clear *clear)
{
	enum mmk_err err = MMK_OK;
	mmk_pfn pfn, next_pfn;

	for (pfn = clear->first_pfn; pfn < clear->end_pfn; pfn = next_pfn) {
		next_pfn = mmk__clear_claim(clear, pfn);
		if (next_pfn == pfn)
			next_pfn++;
	}
	pfn = clear->first_pfn;
	for (unsigned nr_tries = 0; err == MMK_OK && pfn < clear->end_pfn;) {
		mmk_pfn before = pfn;

		err = mmk__clear_page(clear, &pfn);
		nr_tries = pfn == before ? nr_tries + 1 : 0;
		if (err == MMK_ERR_AGAIN)
			err = nr_tries < MMK__COMPACT_TRIES ? MMK_OK
			                                    : MMK_ERR_BUSY;
	}
	if (err == MMK_OK &&
	    clear->nr_claimed != clear->end_pfn - clear->first_pfn)
		err = MMK_ERR_BUSY;
	if (err != MMK_OK)
		mmk__clear_end(clear, false);
	return err;
}

/* ---- choosing a place ---------------------------------------------------- */

/* Places to try, the one with the fewest pages to move first. */
struct mmk__places {
	unsigned nr;
	mmk_pfn first_pfns[MMK_COMPACT_PLACES];
	uint64_t nr_moves[MMK_COMPACT_PLACES];
};

/* The end of the free block that the page is in; `pfn`: it is not free. */
MMK_PRIVATE mmk_pfn
mmk__survey_free(struct mmk_phys *phys, mmk_pfn pfn)
{
	struct mmk_buddy *zone = mmk_store_buddy_of(&phys->store, pfn);
	const struct mmk_frame *block;

	MMKIT_LOCK(&zone->lock);
	block = mmk__buddy_block_of(zone, pfn);
	if (block != NULL)
		pfn = mmk_frame_table_pfn(&phys->table, block) +
		    mmk_frame_nr_pages(block);
	MMKIT_UNLOCK(&zone->lock);
	return pfn;
}

/*
 * The page at *pfn is free, or in a frame that can be moved: *nr_moves more
 * pages. *pfn moves past the block or frame. False: neither; *pfn moves on.
 */
MMK_PRIVATE bool
mmk__survey_step(struct mmk_phys *phys, mmk_pfn *pfn, uint64_t *nr_moves)
{
	struct mmk_frame *frame = mmk_frame_table_lookup(&phys->table, *pfn);
	bool is_tied;

	if (frame == NULL) {
		*pfn = mmk__run_skip(&phys->table, *pfn);
		return false;
	}
	if (!mmk_frame_is_held(frame)) {
		mmk_pfn end_pfn = mmk__survey_free(phys, *pfn);

		if (end_pfn > *pfn) {
			*pfn = end_pfn;
			return true;
		}
	}
	frame = mmk__clear_isolate(phys, *pfn);
	if (frame == NULL) {
		++*pfn;
		return false;
	}
	*pfn = mmk_frame_table_pfn(&phys->table, frame) +
	    mmk_frame_nr_pages(frame);
	*nr_moves += mmk_frame_nr_pages(frame);
	is_tied = mmk__frame_is_tied(frame);
	mmk_frame_unisolate(phys, frame);
	return !is_tied;
}

/*
 * Can all of [*pfn, end_pfn) be moved out, and how many pages is that? *pfn is
 * where to look next: past the range, or past what cannot be moved.
 */
MMK_PRIVATE bool
mmk__place_survey(struct mmk_phys *phys, mmk_pfn *pfn, mmk_pfn end_pfn,
    uint64_t *nr_moves)
{
	*nr_moves = 0;
	while (*pfn < end_pfn)
		if (!mmk__survey_step(phys, pfn, nr_moves))
			return false;
	*pfn = end_pfn;
	return true;
}

/*
 * Of two that cost the same the higher one is better: frames are allocated
 * from below.
 */
MMK_PRIVATE void
mmk__places_add(struct mmk__places *places, mmk_pfn first_pfn,
    uint64_t nr_moves)
{
	unsigned i = places->nr;

	if (i < MMK_COMPACT_PLACES)
		places->nr++;
	else if (nr_moves > places->nr_moves[--i])
		return;
	for (; i > 0 && nr_moves <= places->nr_moves[i - 1]; i--) {
		places->first_pfns[i] = places->first_pfns[i - 1];
		places->nr_moves[i] = places->nr_moves[i - 1];
	}
	places->first_pfns[i] = first_pfn;
	places->nr_moves[i] = nr_moves;
}

MMK_PRIVATE void
mmk__places_find(struct mmk_phys *phys, const struct mmk_run_request *request,
    const struct mmk__run_window *window, struct mmk__places *places)
{
	mmk_pfn pfn = window->first_pfn;

	places->nr = 0;
	while (mmk__run_place(request, window, &pfn)) {
		mmk_pfn first_pfn = pfn;
		uint64_t nr_moves;

		if (mmk__place_survey(phys, &pfn,
		    first_pfn + request->nr_pages, &nr_moves))
			mmk__places_add(places, first_pfn, nr_moves);
	}
}

/* ---- the requests -------------------------------------------------------- */

/* A place in the window is emptied. errors: nothing is ours. */
MMK_PRIVATE enum mmk_err
mmk__compact_window(struct mmk__clear *clear,
    const struct mmk_run_request *request, bool is_high)
{
	struct mmk__run_window window =
	    mmk__run_window(clear->phys, request, is_high);
	struct mmk__places places;
	enum mmk_err err = MMK_ERR_NOSPACE;

	mmk__places_find(clear->phys, request, &window, &places);
	for (unsigned i = 0; i < places.nr; i++) {
		if (places.nr_moves[i] > mmk__clear_budget(clear))
			return MMK_ERR_LIMIT; /* and so are all after it */
		clear->first_pfn = places.first_pfns[i];
		clear->end_pfn = clear->first_pfn + request->nr_pages;
		err = mmk__clear_run(clear);
		if (err == MMK_OK)
			break;
	}
	return err;
}

/* pre: the request is valid. out: a place that is ours, every page of it. */
MMK_PRIVATE enum mmk_err
mmk__compact(struct mmk__clear *clear, const struct mmk_run_request *request)
{
	struct mmk_compaction *effort = clear->effort;
	enum mmk_err err;

	if (effort->pins != NULL)
		(void)mmk_pin_expire(effort->pins, MMKIT_CLOCK_NS());
	mmk_phys_drain(clear->phys);
	if (request->nr_pages > mmk__store_spare(&clear->phys->store, false))
		return MMK_ERR_NOMEM;
	clear->use = request->use;
	clear->claimed = NULL;
	clear->nr_claimed = 0;
	err = mmk__compact_window(clear, request, true);
	if (err == MMK_ERR_NOSPACE || err == MMK_ERR_BUSY)
		err = mmk__compact_window(clear, request, false);
	return err;
}

MMK_API enum mmk_err
mmk_compact_run(struct mmk_phys *phys, struct mmk_compaction *effort,
    const struct mmk_run_request *request, mmk_pfn *first_pfn_out)
{
	struct mmk__clear clear = { .phys = phys, .effort = effort };
	enum mmk_err err = mmk_run_alloc(phys, request, first_pfn_out);

	if (err == MMK_OK || err == MMK_ERR_INVAL)
		return err;
	err = mmk__compact(&clear, request);
	if (err != MMK_OK)
		return err;
	mmk__clear_end(&clear, true);
	for (mmk_pfn pfn = clear.first_pfn; pfn < clear.end_pfn; pfn++)
		if ((request->flags & MMK_ALLOC_ZERO) != 0)
			mmk__frame_zero(phys,
			    mmk_frame_table_lookup(&phys->table, pfn));
	*first_pfn_out = clear.first_pfn;
	return MMK_OK;
}

/* The pages of a place become one frame. */
MMK_PRIVATE struct mmk_frame *
mmk__clear_join(struct mmk__clear *clear, unsigned order)
{
	const struct mmk_frame_table *table = &clear->phys->table;
	mmk_pfn pfn = clear->first_pfn;
	struct mmk_frame *head = mmk_frame_table_lookup(table, pfn);

	while (++pfn < clear->end_pfn) {
		struct mmk_frame *page = mmk_frame_table_lookup(table, pfn);

		page->use = MMK_USE_FREE;
		page->owner = NULL;
		MMKIT_ATOMIC_STORE(&page->refs, 0u);
		MMKIT_ATOMIC_STORE(&page->flags, (uint16_t)0);
	}
	MMKIT_ATOMIC_STORE(&head->order, (uint8_t)order);
	head->owner = NULL;
	(void)MMKIT_ATOMIC_AND(&head->flags, (uint16_t)~MMK_FRAME_CLAIMED);
	return head;
}

MMK_API enum mmk_err
mmk_compact_frame(struct mmk_phys *phys, struct mmk_compaction *effort,
    unsigned order, unsigned flags, enum mmk_use use,
    struct mmk_frame **frame_out)
{
	struct mmk__clear clear = { .phys = phys, .effort = effort };
	struct mmk_run_request request = { .use = use };
	struct mmk_frame *frame;
	enum mmk_err err;
	unsigned state = 0;

	if ((flags & MMK_ALLOC_UNREFERENCED) != 0)
		return MMK_ERR_INVAL;
	err = mmk_frame_alloc(phys, order, flags, use, frame_out);
	/* A place may be any node's. */
	if (err != MMK_ERR_NOMEM || (flags & MMK_ALLOC_EXACT) != 0)
		return err;
	request.nr_pages = (uint64_t)1 << order;
	request.align_pages = request.nr_pages;
	request.flags = flags & (MMK_ALLOC_LOW | MMK_ALLOC_DMA);
	err = mmk__compact(&clear, &request);
	if (err != MMK_OK)
		return err;
	frame = mmk__clear_join(&clear, order);
	if ((flags & MMK_ALLOC_ZERO) != 0)
		mmk__frame_zero(phys, frame);
	if ((flags & MMK_ALLOC_RETAINED) != 0)
		state |= MMK_FRAME_RETAINED;
	if ((flags & MMK_ALLOC_MOVABLE) != 0)
		state |= MMK_FRAME_MOVABLE;
	(void)MMKIT_ATOMIC_OR(&frame->flags, (uint16_t)state);
	*frame_out = frame;
	return MMK_OK;
}
#endif /* MMKIT_IMPLEMENTATION */
