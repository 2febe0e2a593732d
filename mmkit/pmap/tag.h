/* SPDX-License-Identifier: MIT
 *
 * mmkit/pmap/tag.h: what a TLB keeps of a space that is not in use
 *
 * WHAT    Where TLBs mark each translation with a tag (x86_64's PCID, Arm's
 *         ASID), a CPU that goes to another space, or idle, may keep what it
 *         has of the last one, and need not be asked when that changes: it
 *         cannot reach it. It must know, when it comes back, whether it is
 *         still good.
 *
 *           cpus   uses it now: has to be asked
 *           fresh  what it holds is good: may come back without a flush
 *
 *           flush:     fresh = {}          then ask all that are in cpus
 *           activate:  cpus |= me          then was I in fresh? fresh |= me
 *
 *         Each does its first step before it looks at the other's, so either
 *         the flush finds the CPU, or the CPU finds that it is not fresh. A CPU
 *         may be asked before it has come to the space, or when it has just
 *         left: mmk_pt_invalidate is right for any tag.
 *
 *         Where an invalidation reaches all CPUs by tag (Arm) `fresh` only
 *         tells whether anybody may hold anything.
 *
 *         A pmap has its tag for life. The tag of one that is gone is dead:
 *         TLBs may still hold something under it. When no other is left, all
 *         dead tags are free at once (a rollover), and nothing is flushed: no
 *         CPU is in `fresh` of a new pmap, so each drops what it has under the
 *         tag before it translates by it. (Of Arm's nothing is left then: what
 *         was removed was broadcast by tag, upper entries included, and a pmap
 *         that ends has nothing else. There it is a second net.) If as many
 *         pmaps live as there are tags, others have none, and are flushed
 *         whenever a CPU leaves them.
 *
 * LAYER   pmap. Includes table.h.
 * LOCKS   tags->lock (MMK_RANK_TAGS), at the beginning and end of a pmap only
 * COST    two atomic operations on the pmap's own line to activate; the bitmaps
 *         are one page
 * SOURCE  own; what a flush and a switch must tell each other is Linux's lazy
 *         TLB (arch/x86/mm/tlb.c), in words, with a bit for each CPU in place
 *         of generations.
 */
#ifndef MMKIT_PMAP_TAG_H
#define MMKIT_PMAP_TAG_H

#include "table.h"

#endif /* MMKIT_PMAP_TAG_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_PMAP_TAG_IMPL)
#define MMKIT_PMAP_TAG_IMPL

/* ---- who has which tag ------------------------------------------------------ */

/* errors MMK_ERR_NOMEM: nothing changed. */
MMK_PRIVATE MMK_NODISCARD enum mmk_err
mmk__tags_init(struct mmk_pmap_sys *sys)
{
	struct mmk_tags *tags = &sys->tags;
	const size_t nr_tags_max = (size_t)MMK_PAGE_BYTES * 4;
	size_t nr_tags = (size_t)1 << sys->shape.tag_bits;
	uint64_t *words;
	enum mmk_err err;

	tags->frame = NULL;
	tags->nr_dead = 0;
	tags->nr_rollovers = 0;
	MMKIT_LOCK_INIT(&tags->lock, "tags", MMK_RANK_TAGS);
	if (sys->shape.tag_bits == 0)
		return MMK_OK;
	err = mmk_frame_alloc(sys->phys, 0, 0, MMK_USE_KERNEL, &tags->frame);
	if (err != MMK_OK)
		return err;
	words = (uint64_t *)mmk_frame_ptr(sys->phys, tags->frame);
	/* Two bits of a page for each. */
	nr_tags = nr_tags < nr_tags_max ? nr_tags : nr_tags_max;
	mmk_bitmap_init(&tags->used, words, nr_tags);
	mmk_bitmap_init(&tags->dead, words + MMK_BITMAP_WORDS(nr_tags),
	    nr_tags);
	mmk_bitmap_take(&tags->used, 0, 1); /* means: none */
	return MMK_OK;
}

MMK_PRIVATE void
mmk__tags_fini(struct mmk_pmap_sys *sys)
{
	if (sys->tags.frame != NULL)
		(void)mmk_frame_unref(sys->phys, sys->tags.frame);
	sys->tags.frame = NULL;
}

/* What is dead is free; CPUs drop it when they meet it. locks: tags->lock. */
MMK_PRIVATE void
mmk__tags_roll_over(struct mmk_tags *tags)
{
	for (size_t i = 0; i < MMK_BITMAP_WORDS(tags->used.nbits); i++) {
		tags->used.words[i] &= ~tags->dead.words[i];
		tags->dead.words[i] = 0;
	}
	tags->nr_dead = 0;
	tags->nr_rollovers++;
}

/* A tag, or 0: there is none. locks: takes tags->lock. */
MMK_PRIVATE uint32_t
mmk__tag_alloc(struct mmk_pmap_sys *sys)
{
	struct mmk_tags *tags = &sys->tags;
	size_t tag = 0;

	if (tags->frame == NULL)
		return 0;
	MMKIT_LOCK(&tags->lock);
	if (mmk_bitmap_find_run(&tags->used, 1, 1, &tag) != MMK_OK &&
	    tags->nr_dead > 0) {
		mmk__tags_roll_over(tags);
		(void)!mmk_bitmap_find_run(&tags->used, 1, 1, &tag);
	}
	if (tag != 0)
		mmk_bitmap_take(&tags->used, tag, 1);
	MMKIT_UNLOCK(&tags->lock);
	return (uint32_t)tag;
}

/* pre: no CPU uses the pmap. locks: takes tags->lock. */
MMK_PRIVATE void
mmk__tag_free(struct mmk_pmap_sys *sys, uint32_t tag)
{
	struct mmk_tags *tags = &sys->tags;

	if (tag == 0)
		return;
	MMKIT_LOCK(&tags->lock);
	mmk_bitmap_take(&tags->dead, tag, 1);
	tags->nr_dead++;
	MMKIT_UNLOCK(&tags->lock);
}

/* ---- who holds what ----------------------------------------------------------- */

/*
 * Entries of the pmap have changed: CPUs that do not use it now will find out
 * when they do. How many were spared. Before a look at pmap->cpus.
 */
MMK_PRIVATE void
mmk__tag_expire(struct mmk_pmap *pmap)
{
	uint64_t nr_avoided = 0;

	for (unsigned i = 0; i < (MMKIT_CPU_MAX + 63) / 64; i++) {
		uint64_t fresh = MMKIT_ATOMIC_XCHG(&pmap->fresh.words[i],
		    (uint64_t)0);

		fresh &= ~MMKIT_ATOMIC_LOAD(&pmap->cpus.words[i]);
		for (; fresh != 0; fresh &= fresh - 1)
			nr_avoided++;
	}
	if (nr_avoided > 0)
		(void)MMKIT_ATOMIC_ADD(&pmap->sys->nr_avoided, nr_avoided);
}

/* Anybody, now or since it was made. */
MMK_PRIVATE bool
mmk__tag_is_held(const struct mmk_pmap *pmap)
{
	uint64_t any = 0;

	for (unsigned i = 0; i < (MMKIT_CPU_MAX + 63) / 64; i++)
		any |= MMKIT_ATOMIC_LOAD(&pmap->fresh.words[i]);
	return any != 0;
}

/* This CPU, which is in pmap->cpus, comes to it. */
MMK_PRIVATE void
mmk__tag_activate(struct mmk_pmap *pmap, unsigned cpu)
{
	uint64_t *word = &pmap->fresh.words[cpu / 64];
	uint64_t bit = (uint64_t)1 << cpu % 64;
	bool is_fresh = (MMKIT_ATOMIC_OR(word, bit) & bit) != 0;

	MMKIT_YIELD_POINT();
	mmk_pt_activate_tag(pmap, is_fresh);
}
#endif /* MMKIT_IMPLEMENTATION */
