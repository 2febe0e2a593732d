/* SPDX-License-Identifier: MIT
 *
 * mmkit/face/selftest.h: does the port keep what it promises? All of it
 *
 * WHAT    mmk_selftest runs the chapters of selftest_tier0.h, and then, with a
 *         pmap, a second one and the plugs that touch memory:
 *
 *           translations  a page appears, is written, replaced, taken away;
 *                         rights are withheld; accessed and modified are seen
 *           ranges        the same of more pages than are invalidated singly
 *           spaces        two pmaps at one address do not mix; what changes in
 *                         one while the other is active is seen when it is back
 *           superpages    one is made, split by a change in its middle, and made
 *                         again where tables were
 *           shootdown     every other CPU keeps the pmap active and must see
 *                         each change made here
 *
 *         Each translation is used right before it changes, so that the TLB
 *         has it: a port that forgets an invalidation reads the old page. It
 *         passes also where the hardware sets no accessed and modified bits:
 *         an access that faults is asked of mmk_pmap_emulate first.
 *
 * LAYER   face. Includes selftest_tier0.h and pmap/pmap.h.
 * LOCKS   none may be held; interrupts are on, as for any shootdown
 * COST    some milliseconds
 * SOURCE  own
 */
#ifndef MMKIT_FACE_SELFTEST_H
#define MMKIT_FACE_SELFTEST_H

#include "../pmap/pmap.h"
#include "selftest_tier0.h"

MMK_BEGIN_DECLS

/* More than any backend invalidates one by one. */
#define MMK_SELFTEST_PAGES 80u

/*
 * mmk_selftest: all chapters.
 *
 * pre      config->phys is that of the pmaps; scratch_va is page aligned, and
 *          the pages from there are below mmk_pt_va_limit(). No pmap is active
 *          on any CPU that run_on reaches. No lock is held.
 * out      *out, whatever is returned. The pmaps are empty and active nowhere.
 * errors   MMK_ERR_INVAL: a check failed, out->first_failed says which.
 *          MMK_ERR_NOMEM: not all could be run.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_selftest(
    const struct mmk_selftest_config *config, struct mmk_selftest_result *out);

MMK_END_DECLS
#endif /* MMKIT_FACE_SELFTEST_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_FACE_SELFTEST_IMPL)
#define MMKIT_FACE_SELFTEST_IMPL

#define MMK__SELFTEST_RW (MMK_PROT_READ | MMK_PROT_WRITE)

MMK_PRIVATE mmk_va
mmk__selftest_va(const struct mmk_selftest_result *st, unsigned page)
{
	return st->base_va + mmk_bytes_of_pages(page);
}

/* What the first word of frame i is at the start of each chapter. */
MMK_PRIVATE uint64_t
mmk__selftest_mark(unsigned i)
{
	return UINT64_C(0x5e1f7e5700) + i;
}

MMK_PRIVATE MMK_NODISCARD enum mmk_err
mmk__selftest_enter(const struct mmk_selftest_result *st, struct mmk_pmap *pmap,
    unsigned page, unsigned i, unsigned flags)
{
	return mmk_pmap_enter(pmap, mmk__selftest_va(st, page),
	    mmk_frame_pa(st->config->phys, st->frames[i]), flags);
}

/* Takes rights from nr_pages pages; MMK_PROT_NONE: all of them. */
MMK_PRIVATE void
mmk__selftest_protect(const struct mmk_selftest_result *st, struct mmk_pmap *pmap,
    unsigned page, unsigned nr_pages, unsigned prot)
{
	struct mmk_gather gather;

	mmk_gather_init(&gather, pmap->sys);
	mmk_pmap_protect(pmap, mmk__selftest_va(st, page),
	    mmk__selftest_va(st, page + nr_pages), prot, &gather);
	mmk_gather_finish(&gather);
}

/* A load on this CPU as a trap handler would see it through; false: a fault. */
MMK_PRIVATE bool
mmk__selftest_load(const struct mmk_selftest_result *st, struct mmk_pmap *pmap,
    unsigned page, uint64_t *word_out)
{
	const struct mmk_selftest_config *config = st->config;
	mmk_va va = mmk__selftest_va(st, page);

	return config->try_load(config->ctx, va, word_out) ||
	    (mmk_pmap_emulate(pmap, va, MMK_PROT_READ) &&
	        config->try_load(config->ctx, va, word_out));
}

MMK_PRIVATE bool
mmk__selftest_store(const struct mmk_selftest_result *st, struct mmk_pmap *pmap,
    unsigned page, uint64_t word)
{
	const struct mmk_selftest_config *config = st->config;
	mmk_va va = mmk__selftest_va(st, page);

	return config->try_store(config->ctx, va, word) ||
	    (mmk_pmap_emulate(pmap, va, MMK_PROT_WRITE) &&
	        config->try_store(config->ctx, va, word));
}

/* Whether the page reads as frame i. */
MMK_PRIVATE bool
mmk__selftest_reads(const struct mmk_selftest_result *st, struct mmk_pmap *pmap,
    unsigned page, unsigned i)
{
	uint64_t word = 0;

	return mmk__selftest_load(st, pmap, page, &word) &&
	    word == *mmk__selftest_word(st, i);
}

/* Whether the page can be loaded at all. */
MMK_PRIVATE bool
mmk__selftest_loads(const struct mmk_selftest_result *st, struct mmk_pmap *pmap,
    unsigned page)
{
	uint64_t word;

	return mmk__selftest_load(st, pmap, page, &word);
}

MMK_PRIVATE bool
mmk__selftest_has(const struct mmk_selftest_result *st, struct mmk_pmap *pmap,
    unsigned page, unsigned flag)
{
	struct mmk_translation found;

	return mmk_pmap_query(pmap, mmk__selftest_va(st, page), &found) &&
	    (found.flags & flag) != 0;
}

/* A page appears and is used: pages 0 and 1 become frames 0 and 1. */
MMK_PRIVATE MMK_NODISCARD enum mmk_err
mmk__selftest_appear(struct mmk_selftest_result *st)
{
	struct mmk_pmap *pmap = st->config->pmap;
	enum mmk_err err;

	MMK__SELFTEST(st, !mmk__selftest_loads(st, pmap, 0),
	    "translations: a page that is not there can be loaded");
	for (unsigned i = 0; i < 2; i++) {
		err = mmk__selftest_enter(st, pmap, i, i, MMK__SELFTEST_RW);
		if (err != MMK_OK)
			return err;
	}
	MMK__SELFTEST(st, mmk__selftest_reads(st, pmap, 0, 0) &&
	    mmk__selftest_reads(st, pmap, 1, 1),
	    "translations: a page entered cannot be loaded");
	MMK__SELFTEST(st, mmk__selftest_has(st, pmap, 0, MMK_PMAP_ACCESSED),
	    "translations: a load is not seen as an access");
	MMK__SELFTEST(st, !mmk__selftest_has(st, pmap, 0, MMK_PMAP_MODIFIED),
	    "translations: a load is taken for a modification");
	MMK__SELFTEST(st, mmk__selftest_store(st, pmap, 0, 31) &&
	    *mmk__selftest_word(st, 0) == 31,
	    "translations: a store does not arrive in the page");
	MMK__SELFTEST(st, mmk__selftest_has(st, pmap, 0, MMK_PMAP_MODIFIED),
	    "translations: a store is not seen as a modification");
	return MMK_OK;
}

/* Modified is cleared, and must be seen again; rights go and come back. */
MMK_PRIVATE MMK_NODISCARD enum mmk_err
mmk__selftest_rights(struct mmk_selftest_result *st)
{
	struct mmk_pmap *pmap = st->config->pmap;
	enum mmk_err err;

	MMK__SELFTEST(st, mmk_page_clear_modified(pmap->sys, st->frames[0]) &&
	    !mmk_page_is_modified(pmap->sys, st->frames[0]),
	    "translations: modified cannot be cleared");
	MMK__SELFTEST(st, mmk__selftest_store(st, pmap, 0, 32) &&
	    mmk_page_is_modified(pmap->sys, st->frames[0]),
	    "translations: a store after the clear is not seen");
	mmk__selftest_protect(st, pmap, 0, 1, MMK_PROT_READ);
	MMK__SELFTEST(st, !mmk__selftest_store(st, pmap, 0, 33) &&
	    *mmk__selftest_word(st, 0) == 32,
	    "translations: a read-only page can be stored to");
	MMK__SELFTEST(st, mmk__selftest_reads(st, pmap, 0, 0),
	    "translations: a read-only page cannot be loaded");
	err = mmk__selftest_enter(st, pmap, 0, 0, MMK__SELFTEST_RW);
	if (err != MMK_OK)
		return err;
	MMK__SELFTEST(st, mmk__selftest_store(st, pmap, 0, 34) &&
	    *mmk__selftest_word(st, 0) == 34,
	    "translations: a right given back is not had");
	return MMK_OK;
}

/* A page is replaced, taken away, and comes back through new tables. */
MMK_PRIVATE MMK_NODISCARD enum mmk_err
mmk__selftest_replace(struct mmk_selftest_result *st)
{
	struct mmk_pmap *pmap = st->config->pmap;
	enum mmk_err err;

	err = mmk__selftest_enter(st, pmap, 0, 2, MMK__SELFTEST_RW);
	if (err != MMK_OK)
		return err;
	MMK__SELFTEST(st, mmk__selftest_reads(st, pmap, 0, 2),
	    "translations: the old page is read after it was replaced");
	mmk__selftest_protect(st, pmap, 0, 1, MMK_PROT_NONE);
	MMK__SELFTEST(st, !mmk__selftest_loads(st, pmap, 0),
	    "translations: a page is read after it was removed");
	MMK__SELFTEST(st, mmk__selftest_reads(st, pmap, 1, 1),
	    "translations: its neighbour is lost with it");
	mmk__selftest_protect(st, pmap, 1, 1, MMK_PROT_NONE);
	err = mmk__selftest_enter(st, pmap, 1, 3, MMK__SELFTEST_RW);
	if (err != MMK_OK)
		return err;
	MMK__SELFTEST(st, mmk__selftest_reads(st, pmap, 1, 3) &&
	    !mmk__selftest_loads(st, pmap, 0),
	    "translations: tables that were freed are still walked");
	mmk_page_remove_all(pmap->sys, st->frames[3]);
	MMK__SELFTEST(st, !mmk__selftest_loads(st, pmap, 1),
	    "translations: a page is read after its frame lost all");
	return MMK_OK;
}

MMK_PRIVATE MMK_NODISCARD enum mmk_err
mmk__selftest_translations(struct mmk_selftest_result *st)
{
	enum mmk_err err;

	mmk_pmap_activate(st->config->pmap, MMKIT_CPU_ID());
	err = mmk__selftest_appear(st);
	if (err == MMK_OK)
		err = mmk__selftest_rights(st);
	if (err == MMK_OK)
		err = mmk__selftest_replace(st);
	mmk_pmap_deactivate(st->config->pmap, MMKIT_CPU_ID());
	return err;
}

MMK_PRIVATE MMK_NODISCARD enum mmk_err
mmk__selftest_range(struct mmk_selftest_result *st)
{
	struct mmk_pmap *pmap = st->config->pmap;
	bool all_read = true, any_stores = false, any_loads = false;

	for (unsigned page = 0; page < MMK_SELFTEST_PAGES; page++) {
		unsigned i = page % MMK_SELFTEST_FRAMES;
		enum mmk_err err;

		err = mmk__selftest_enter(st, pmap, page, i, MMK__SELFTEST_RW);
		if (err != MMK_OK)
			return err;
		all_read = mmk__selftest_store(st, pmap, page, page) &&
		    mmk__selftest_reads(st, pmap, page, i) && all_read;
	}
	MMK__SELFTEST(st, all_read, "ranges: some page cannot be used");
	mmk__selftest_protect(st, pmap, 0, MMK_SELFTEST_PAGES, MMK_PROT_READ);
	for (unsigned page = 0; page < MMK_SELFTEST_PAGES; page++)
		any_stores |= mmk__selftest_store(st, pmap, page, page);
	MMK__SELFTEST(st, !any_stores,
	    "ranges: some page can be stored to after a long protect");
	mmk__selftest_protect(st, pmap, 0, MMK_SELFTEST_PAGES, MMK_PROT_NONE);
	for (unsigned page = 0; page < MMK_SELFTEST_PAGES; page++)
		any_loads |= mmk__selftest_loads(st, pmap, page);
	MMK__SELFTEST(st, !any_loads,
	    "ranges: some page is read after a long remove");
	return MMK_OK;
}

MMK_PRIVATE MMK_NODISCARD enum mmk_err
mmk__selftest_ranges(struct mmk_selftest_result *st)
{
	enum mmk_err err;

	mmk_pmap_activate(st->config->pmap, MMKIT_CPU_ID());
	err = mmk__selftest_range(st);
	mmk_pmap_deactivate(st->config->pmap, MMKIT_CPU_ID());
	return err;
}

/* With `pmap` active, the page reads as frame i. */
MMK_PRIVATE bool
mmk__selftest_reads_in(const struct mmk_selftest_result *st, struct mmk_pmap *pmap,
    unsigned i)
{
	bool ok;

	mmk_pmap_activate(pmap, MMKIT_CPU_ID());
	ok = mmk__selftest_reads(st, pmap, 0, i);
	mmk_pmap_deactivate(pmap, MMKIT_CPU_ID());
	return ok;
}

/* Page 0 is frame 0 in one space and frame 1 in the other. */
MMK_PRIVATE MMK_NODISCARD enum mmk_err
mmk__selftest_spaces(struct mmk_selftest_result *st)
{
	struct mmk_pmap *one = st->config->pmap, *other = st->config->other;
	enum mmk_err err;
	uint64_t word = 0;

	err = mmk__selftest_enter(st, one, 0, 0, MMK__SELFTEST_RW);
	if (err == MMK_OK)
		err = mmk__selftest_enter(st, other, 0, 1, MMK__SELFTEST_RW);
	if (err != MMK_OK)
		return err;
	for (unsigned i = 0; i < 3; i++)
		MMK__SELFTEST(st, mmk__selftest_reads_in(st, one, 0) &&
		    mmk__selftest_reads_in(st, other, 1),
		    "spaces: one reads the other's page");
	MMK__SELFTEST(st, !st->config->try_load(st->config->ctx,
	    mmk__selftest_va(st, 0), &word) || word != mmk__selftest_mark(1),
	    "spaces: a page is read with no pmap active");
	mmk_pmap_activate(other, MMKIT_CPU_ID());
	err = mmk__selftest_enter(st, one, 0, 2, MMK__SELFTEST_RW);
	mmk_pmap_deactivate(other, MMKIT_CPU_ID());
	if (err != MMK_OK)
		return err;
	mmk_pmap_activate(one, MMKIT_CPU_ID());
	mmk__selftest_protect(st, other, 0, 1, MMK_PROT_NONE);
	MMK__SELFTEST(st, mmk__selftest_reads(st, one, 0, 2),
	    "spaces: a change made while it was not active is not seen");
	mmk_pmap_deactivate(one, MMKIT_CPU_ID());
	mmk_pmap_activate(other, MMKIT_CPU_ID());
	MMK__SELFTEST(st, !mmk__selftest_loads(st, other, 0),
	    "spaces: a page removed while it was not active is read");
	mmk_pmap_deactivate(other, MMKIT_CPU_ID());
	return MMK_OK;
}

/* The first word of page `page` of a block. */
MMK_PRIVATE volatile uint64_t *
mmk__selftest_block_word(const struct mmk_selftest_result *st,
    const struct mmk_frame *block, unsigned page)
{
	return (volatile uint64_t *)MMKIT_PHYS_TO_PTR(
	    mmk_frame_pa(st->config->phys, block) + mmk_bytes_of_pages(page));
}

/* Whether a page of the block reads as it should. */
MMK_PRIVATE bool
mmk__selftest_large_reads(const struct mmk_selftest_result *st,
    const struct mmk_frame *block, unsigned page)
{
	uint64_t word = 0;

	return mmk__selftest_load(st, st->config->pmap, page, &word) &&
	    word == *mmk__selftest_block_word(st, block, page);
}

/* All of the block at base_va, by one leaf if the shape has such. */
MMK_PRIVATE MMK_NODISCARD enum mmk_err
mmk__selftest_large_enter(struct mmk_selftest_result *st,
    const struct mmk_frame *block, unsigned nr_pages)
{
	uint64_t nr_done;
	enum mmk_err err;

	for (unsigned page = 0; page < nr_pages; page++)
		*mmk__selftest_block_word(st, block, page) =
		    mmk__selftest_mark(page);
	err = mmk_pmap_enter_run(st->config->pmap, st->base_va,
	    mmk_frame_pa(st->config->phys, block), nr_pages,
	    MMK__SELFTEST_RW, &nr_done);
	if (err != MMK_OK)
		return err;
	MMK__SELFTEST(st, mmk__selftest_large_reads(st, block, 0) &&
	    mmk__selftest_large_reads(st, block, nr_pages / 2) &&
	    mmk__selftest_large_reads(st, block, nr_pages - 1),
	    "superpages: not every page of one can be loaded");
	return MMK_OK;
}

/* A change in its middle, while the TLB has the large leaf. */
MMK_PRIVATE MMK_NODISCARD enum mmk_err
mmk__selftest_large_split(struct mmk_selftest_result *st,
    const struct mmk_frame *block, unsigned nr_pages)
{
	struct mmk_pmap *pmap = st->config->pmap;
	unsigned middle = nr_pages / 2;
	enum mmk_err err;

	MMK__SELFTEST(st, mmk__selftest_store(st, pmap, middle, 41) &&
	    *mmk__selftest_block_word(st, block, middle) == 41,
	    "superpages: a store does not arrive");
	mmk__selftest_protect(st, pmap, middle, 1, MMK_PROT_READ);
	MMK__SELFTEST(st, !mmk__selftest_store(st, pmap, middle, 42) &&
	    mmk__selftest_large_reads(st, block, middle),
	    "superpages: a page in one does not become read-only");
	MMK__SELFTEST(st, mmk__selftest_store(st, pmap, middle - 1, 43) &&
	    mmk__selftest_store(st, pmap, middle + 1, 44),
	    "superpages: the pages beside it become read-only");
	err = mmk__selftest_enter(st, pmap, middle, 0, MMK__SELFTEST_RW);
	if (err != MMK_OK)
		return err;
	MMK__SELFTEST(st, mmk__selftest_reads(st, pmap, middle, 0),
	    "superpages: the old page is read after it was replaced");
	mmk__selftest_protect(st, pmap, middle, 1, MMK_PROT_NONE);
	MMK__SELFTEST(st, !mmk__selftest_loads(st, pmap, middle) &&
	    mmk__selftest_large_reads(st, block, middle + 1),
	    "superpages: not just one page of one is removed");
	return MMK_OK;
}

/* Where small pages and their table were, a large leaf comes, and goes. */
MMK_PRIVATE MMK_NODISCARD enum mmk_err
mmk__selftest_large(struct mmk_selftest_result *st, const struct mmk_frame *block,
    unsigned nr_pages)
{
	struct mmk_pmap *pmap = st->config->pmap;
	enum mmk_err err = mmk__selftest_large_enter(st, block, nr_pages);

	if (err == MMK_OK)
		err = mmk__selftest_large_split(st, block, nr_pages);
	mmk__selftest_protect(st, pmap, 0, nr_pages, MMK_PROT_NONE);
	if (err == MMK_OK)
		err = mmk__selftest_large_enter(st, block, nr_pages);
	mmk__selftest_protect(st, pmap, 0, nr_pages, MMK_PROT_NONE);
	MMK__SELFTEST(st, !mmk__selftest_loads(st, pmap, 0) &&
	    !mmk__selftest_loads(st, pmap, nr_pages / 2) &&
	    !mmk__selftest_loads(st, pmap, nr_pages - 1),
	    "superpages: one is read after it was removed");
	return err;
}

/* Memory in such pieces may not be there: then it is left out. */
MMK_PRIVATE MMK_NODISCARD enum mmk_err
mmk__selftest_superpages(struct mmk_selftest_result *st)
{
	const struct mmk_selftest_config *config = st->config;
	unsigned order = (unsigned)(config->pmap->sys->shape.page_shift - 3);
	struct mmk_frame *block;
	enum mmk_err err;

	if (mmk_frame_alloc(config->phys, order, 0, MMK_USE_KERNEL, &block) !=
	    MMK_OK) {
		MMK__SELFTEST_SKIP(st, "superpages: no memory in one piece");
		return MMK_OK;
	}
	st->base_va = config->large_va;
	mmk_pmap_activate(config->pmap, MMKIT_CPU_ID());
	err = mmk__selftest_large(st, block, 1u << order);
	mmk_pmap_deactivate(config->pmap, MMKIT_CPU_ID());
	st->base_va = config->scratch_va;
	(void)mmk_frame_unref(config->phys, block);
	return err;
}

/* What another CPU is asked, and its answer. */
struct mmk__selftest_ask {
	struct mmk_selftest_result *st;
	uint64_t word; /* what it loaded, or what it stores */
	bool ok;       /* it did not fault */
};

MMK_PRIVATE void
mmk__selftest_at_begin(void *arg)
{
	struct mmk__selftest_ask *ask = (struct mmk__selftest_ask *)arg;

	mmk_pmap_activate(ask->st->config->pmap, MMKIT_CPU_ID());
	ask->ok = true;
}

MMK_PRIVATE void
mmk__selftest_at_end(void *arg)
{
	struct mmk__selftest_ask *ask = (struct mmk__selftest_ask *)arg;

	mmk_pmap_deactivate(ask->st->config->pmap, MMKIT_CPU_ID());
}

MMK_PRIVATE void
mmk__selftest_at_load(void *arg)
{
	struct mmk__selftest_ask *ask = (struct mmk__selftest_ask *)arg;

	ask->ok = mmk__selftest_load(ask->st, ask->st->config->pmap, 0,
	    &ask->word);
}

MMK_PRIVATE void
mmk__selftest_at_store(void *arg)
{
	struct mmk__selftest_ask *ask = (struct mmk__selftest_ask *)arg;

	ask->ok = mmk__selftest_store(ask->st, ask->st->config->pmap, 0,
	    ask->word);
}

/*
 * fn on every other CPU of `cpus`. True: each of them did as expected: faulted,
 * or did not and, if expected_word is not 0, has loaded that. Who does not run
 * leaves the set.
 */
MMK_PRIVATE bool
mmk__selftest_everywhere(struct mmk_selftest_result *st, struct mmk_cpu_set *cpus,
    void (*fn)(void *arg), bool is_granted, uint64_t expected_word)
{
	bool all = true;

	for (unsigned cpu = 0; cpu < MMKIT_CPU_COUNT(); cpu++) {
		struct mmk__selftest_ask ask = { st, 21, false };
		uint64_t bit = (uint64_t)1 << cpu % 64;

		if ((cpus->words[cpu / 64] & bit) == 0)
			continue;
		if (!st->config->run_on(st->config->ctx, cpu, fn, &ask)) {
			cpus->words[cpu / 64] &= ~bit;
			continue;
		}
		all = all && ask.ok == is_granted &&
		    (expected_word == 0 || ask.word == expected_word);
	}
	return all;
}

/* The others have the pmap active, and have used each translation. */
MMK_PRIVATE MMK_NODISCARD enum mmk_err
mmk__selftest_changes(struct mmk_selftest_result *st, struct mmk_cpu_set *cpus)
{
	struct mmk_pmap *pmap = st->config->pmap;
	enum mmk_err err;

	err = mmk__selftest_enter(st, pmap, 0, 0, MMK__SELFTEST_RW);
	if (err != MMK_OK)
		return err;
	MMK__SELFTEST(st, mmk__selftest_everywhere(st, cpus,
	    mmk__selftest_at_load, true, mmk__selftest_mark(0)),
	    "shootdown: another CPU does not see a page");
	err = mmk__selftest_enter(st, pmap, 0, 1, MMK__SELFTEST_RW);
	if (err != MMK_OK)
		return err;
	MMK__SELFTEST(st, mmk__selftest_everywhere(st, cpus,
	    mmk__selftest_at_load, true, mmk__selftest_mark(1)),
	    "shootdown: another CPU reads the page that was replaced");
	MMK__SELFTEST(st, mmk__selftest_everywhere(st, cpus,
	    mmk__selftest_at_store, true, 0) && *mmk__selftest_word(st, 1) == 21,
	    "shootdown: another CPU cannot store");
	mmk__selftest_protect(st, pmap, 0, 1, MMK_PROT_READ);
	MMK__SELFTEST(st, mmk__selftest_everywhere(st, cpus,
	    mmk__selftest_at_store, false, 0),
	    "shootdown: another CPU stores to a page made read-only");
	err = mmk__selftest_enter(st, pmap, 0, 1, MMK__SELFTEST_RW);
	if (err != MMK_OK)
		return err;
	MMK__SELFTEST(st, mmk__selftest_everywhere(st, cpus,
	    mmk__selftest_at_store, true, 0),
	    "shootdown: another CPU has not the right that was given back");
	mmk__selftest_protect(st, pmap, 0, 1, MMK_PROT_NONE);
	MMK__SELFTEST(st, mmk__selftest_everywhere(st, cpus,
	    mmk__selftest_at_load, false, 0),
	    "shootdown: another CPU reads a page that was removed");
	return MMK_OK;
}

/* pre: preemption is disabled. */
MMK_PRIVATE MMK_NODISCARD enum mmk_err
mmk__selftest_shootdown(struct mmk_selftest_result *st)
{
	struct mmk_cpu_set cpus;
	bool any = false;
	enum mmk_err err;

	(void)MMKIT_MEMSET(&cpus, 0, sizeof(cpus));
	for (unsigned cpu = 0; cpu < MMKIT_CPU_COUNT(); cpu++)
		if (cpu != MMKIT_CPU_ID())
			cpus.words[cpu / 64] |= (uint64_t)1 << cpu % 64;
	(void)mmk__selftest_everywhere(st, &cpus, mmk__selftest_at_begin, true,
	    0);
	for (unsigned i = 0; i < (MMKIT_CPU_MAX + 63) / 64; i++)
		any = any || cpus.words[i] != 0;
	if (!any) {
		MMK__SELFTEST_SKIP(st, "shootdown: no other CPU runs");
		return MMK_OK;
	}
	err = mmk__selftest_changes(st, &cpus);
	(void)mmk__selftest_everywhere(st, &cpus, mmk__selftest_at_end, true,
	    0);
	return err;
}

/* False: there is nothing to run it with, which has been said. */
MMK_PRIVATE bool
mmk__selftest_may_run(struct mmk_selftest_result *st, unsigned chapter)
{
	if (chapter == 2 && st->config->other == NULL) {
		MMK__SELFTEST_SKIP(st, "spaces: no second pmap");
		return false;
	}
	if (chapter == 3 && (st->config->large_va == 0 ||
	    st->config->pmap->sys->shape.leaf_level_max == 0)) {
		MMK__SELFTEST_SKIP(st, "superpages: no large_va, or no such "
		    "leaves");
		return false;
	}
	if (chapter == 4 && st->config->run_on == NULL) {
		MMK__SELFTEST_SKIP(st, "shootdown: no run_on");
		return false;
	}
	return true;
}

/* One chapter from frames as new to pmaps as empty as they were. */
MMK_PRIVATE MMK_NODISCARD enum mmk_err
mmk__selftest_pmap_chapter(struct mmk_selftest_result *st, unsigned chapter)
{
	enum mmk_err err;

	for (unsigned i = 0; i < MMK_SELFTEST_FRAMES; i++)
		*mmk__selftest_word(st, i) = mmk__selftest_mark(i);
	if (chapter == 0)
		err = mmk__selftest_translations(st);
	else if (chapter == 1)
		err = mmk__selftest_ranges(st);
	else if (chapter == 2)
		err = mmk__selftest_spaces(st);
	else if (chapter == 3)
		err = mmk__selftest_superpages(st);
	else
		err = mmk__selftest_shootdown(st);
	mmk__selftest_protect(st, st->config->pmap, 0, MMK_SELFTEST_PAGES,
	    MMK_PROT_NONE);
	if (st->config->other != NULL)
		mmk__selftest_protect(st, st->config->other, 0,
		    MMK_SELFTEST_PAGES, MMK_PROT_NONE);
	return err;
}

/* pre: preemption is disabled. */
MMK_PRIVATE MMK_NODISCARD enum mmk_err
mmk__selftest_pmaps(struct mmk_selftest_result *st)
{
	enum mmk_err err = MMK_OK;

	if (!mmk__selftest_alloc(st))
		return MMK_ERR_NOMEM;
	for (unsigned chapter = 0; chapter < 5; chapter++) {
		if (err != MMK_OK || st->nr_failed != 0)
			break;
		if (mmk__selftest_may_run(st, chapter))
			err = mmk__selftest_pmap_chapter(st, chapter);
	}
	mmk__selftest_free(st);
	return err;
}

MMK_API enum mmk_err
mmk_selftest(const struct mmk_selftest_config *config,
    struct mmk_selftest_result *out)
{
	enum mmk_err err = mmk_selftest_tier0(config, out);

	if (err != MMK_OK)
		return err;
	if (config->pmap == NULL || config->try_load == NULL ||
	    config->try_store == NULL) {
		MMK__SELFTEST_SKIP(out,
		    "translations: no pmap, try_load or try_store");
		return MMK_OK;
	}
	MMK_ASSERT(mmk_is_page_aligned(config->scratch_va));
	out->base_va = config->scratch_va;
	MMKIT_PREEMPT_DISABLE();
	err = mmk__selftest_pmaps(out);
	MMKIT_PREEMPT_ENABLE();
	return out->nr_failed != 0 ? MMK_ERR_INVAL : err;
}
#endif /* MMKIT_IMPLEMENTATION */
