/* SPDX-License-Identifier: MIT
 *
 * mmkit/face/selftest_tier0.h: does the port keep what it promises? Tier 0
 *
 * WHAT    A kernel author runs this once, in his kernel, against his own port,
 *         right after mmk_phys_init. Each chapter makes checks; each check
 *         that fails is named through MMKIT_LOG and counted:
 *
 *           direct map   both ways agree; a page has bytes of its own
 *           memory       zero, copy, set, move; and nothing beside them
 *           atomics      what each returns; every width
 *           locks        held is held; they nest; the mutex around the lock
 *           cpus         their numbers; ENTER, LEAVE and preemption nest
 *           clock        it does not go back, from one CPU to another neither
 *           frames       aligned, zeroed, counted; given back, all is as before
 *
 *         The chapters of page tables are in selftest.h, whose mmk_selftest
 *         runs these first. A chapter with a failure is the last one: the next
 *         would only stumble over the same.
 *
 * LAYER   face. Includes phys/census.h only: it works on tier 0.
 * LOCKS   takes some; none may be held. Nobody else allocates meanwhile.
 * COST    some milliseconds; 8 pages and one block of 4
 * SOURCE  own; uACPI's and lwIP's porters show what goes wrong
 */
#ifndef MMKIT_FACE_SELFTEST_TIER0_H
#define MMKIT_FACE_SELFTEST_TIER0_H

#include "../phys/census.h"

MMK_BEGIN_DECLS

struct mmk_pmap;

/*
 * What is tested and with what. A zeroed structure with `phys` is enough for
 * tier 0; each NULL leaves out the checks that need it, and says so.
 *
 * try_load, try_store: one access of the kernel's, 8 bytes at `va`, on the
 * current CPU. True: it was done. False: it faulted, and the trap handler went
 * on at the fix-up of that instruction, as it does for get_user and put_user.
 * The handler must not ask mmk_fault first: there is no map behind `va`.
 *
 * run_on: fn(arg) has been called on CPU `cpu` when it returns, from a thread
 * or an interrupt. False: that CPU does not run. Between two calls the CPU does
 * not activate a pmap. Called with preemption disabled.
 */
struct mmk_selftest_config {
	struct mmk_phys *phys;
	struct mmk_pmap *pmap;  /* empty, active on no CPU, with the kernel's
	                         * half where the tables have one; NULL: none */
	struct mmk_pmap *other; /* a second one; NULL: none */
	mmk_va scratch_va;      /* MMK_SELFTEST_PAGES unused pages of both */
	mmk_va large_va;        /* unused addresses of `pmap` for a superpage,
	                         * aligned to it; 0: none */
	void *ctx;              /* for the three below */
	bool (*try_load)(void *ctx, mmk_va va, uint64_t *word_out);
	bool (*try_store)(void *ctx, mmk_va va, uint64_t word);
	bool (*run_on)(void *ctx, unsigned cpu, void (*fn)(void *arg),
	    void *arg);
};

#define MMK_SELFTEST_FRAMES 8u

/* Guards: [C] caller serializes. What came out, and room to work in. */
struct mmk_selftest_result {
	unsigned nr_checks;       /* [C] */
	unsigned nr_failed;       /* [C] */
	unsigned nr_skipped;      /* [C] chapters, or parts, left out */
	const char *first_failed; /* [C] names the check; NULL: none failed */
	const struct mmk_selftest_config *config; /* [C] ours from here */
	mmk_va base_va;           /* where the pages of a chapter begin */
	struct mmk_frame *frames[MMK_SELFTEST_FRAMES];
	struct mmk_phys_stats stats;
};

/*
 * mmk_selftest_tier0: the chapters above.
 *
 * pre      no lock is held; preemption may be on.
 * out      *out, whatever is returned. All memory is given back.
 * errors   MMK_ERR_INVAL: a check failed, out->first_failed says which.
 *          MMK_ERR_NOMEM: not all could be run.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_selftest_tier0(
    const struct mmk_selftest_config *config, struct mmk_selftest_result *out);

MMK_END_DECLS
#endif /* MMKIT_FACE_SELFTEST_TIER0_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_FACE_SELFTEST_TIER0_IMPL)
#define MMKIT_FACE_SELFTEST_TIER0_IMPL

#define MMK__SELFTEST_FAILED "selftest: FAILED: "
#define MMK__SELFTEST(st, ok, text) \
	mmk__selftest_check(st, ok, MMK__SELFTEST_FAILED text)
#define MMK__SELFTEST_SKIP(st, text) \
	mmk__selftest_skip(st, "selftest: skipped: " text)

MMK_PRIVATE void
mmk__selftest_check(struct mmk_selftest_result *st, bool ok, const char *text)
{
	st->nr_checks++;
	if (ok)
		return;
	if (st->nr_failed++ == 0)
		st->first_failed = text + sizeof(MMK__SELFTEST_FAILED) - 1;
	MMKIT_LOG(text);
}

MMK_PRIVATE void
mmk__selftest_skip(struct mmk_selftest_result *st, const char *text)
{
	st->nr_skipped++;
	MMKIT_LOG(text);
}

/* True: fn(arg) was called on `cpu`, which may be this one. */
MMK_PRIVATE bool
mmk__selftest_run_on(const struct mmk_selftest_result *st, unsigned cpu,
    void (*fn)(void *arg), void *arg)
{
	if (cpu == MMKIT_CPU_ID()) {
		fn(arg);
		return true;
	}
	return st->config->run_on != NULL &&
	    st->config->run_on(st->config->ctx, cpu, fn, arg);
}

MMK_PRIVATE void
mmk__selftest_free(struct mmk_selftest_result *st)
{
	for (unsigned i = 0; i < MMK_SELFTEST_FRAMES; i++) {
		if (st->frames[i] != NULL)
			(void)mmk_frame_unref(st->config->phys, st->frames[i]);
		st->frames[i] = NULL;
	}
}

/* All of st->frames; false: no memory, and none of them. */
MMK_PRIVATE bool
mmk__selftest_alloc(struct mmk_selftest_result *st)
{
	for (unsigned i = 0; i < MMK_SELFTEST_FRAMES; i++) {
		if (mmk_frame_alloc(st->config->phys, 0, MMK_ALLOC_ZERO,
		        MMK_USE_KERNEL, &st->frames[i]) != MMK_OK) {
			st->frames[i] = NULL;
			mmk__selftest_free(st);
			return false;
		}
	}
	return true;
}

/* The first word of st->frames[i], as the kernel sees it. */
MMK_PRIVATE volatile uint64_t *
mmk__selftest_word(const struct mmk_selftest_result *st, unsigned i)
{
	return (volatile uint64_t *)mmk_frame_ptr(st->config->phys,
	    st->frames[i]);
}

#define MMK__SELFTEST_WORDS (MMK_PAGE_BYTES / sizeof(uint64_t))

/* A page's words tell the page and the place. */
MMK_PRIVATE void
mmk__selftest_fill(const struct mmk_selftest_result *st, unsigned i)
{
	volatile uint64_t *word = mmk__selftest_word(st, i);
	mmk_pa pa = mmk_frame_pa(st->config->phys, st->frames[i]);

	for (uint64_t at = 0; at < MMK__SELFTEST_WORDS; at++)
		word[at] = ~(pa + at);
}

MMK_PRIVATE bool
mmk__selftest_is_filled(const struct mmk_selftest_result *st, unsigned i)
{
	volatile uint64_t *word = mmk__selftest_word(st, i);
	mmk_pa pa = mmk_frame_pa(st->config->phys, st->frames[i]);

	for (uint64_t at = 0; at < MMK__SELFTEST_WORDS; at++)
		if (word[at] != ~(pa + at))
			return false;
	return true;
}

MMK_PRIVATE MMK_NODISCARD enum mmk_err
mmk__selftest_direct_map(struct mmk_selftest_result *st)
{
	if (!mmk__selftest_alloc(st))
		return MMK_ERR_NOMEM;
	for (unsigned i = 0; i < MMK_SELFTEST_FRAMES; i++) {
		mmk_pa pa = mmk_frame_pa(st->config->phys, st->frames[i]);
		mmk_pa last_pa = pa + MMK_PAGE_BYTES - 1;
		char *ptr = (char *)MMKIT_PHYS_TO_PTR(pa);

		MMK__SELFTEST(st, (mmk_pa)MMKIT_PTR_TO_PHYS(ptr) == pa,
		    "direct map: PTR_TO_PHYS is not the way back");
		ptr += MMK_PAGE_BYTES - 1;
		MMK__SELFTEST(st, (mmk_pa)MMKIT_PTR_TO_PHYS(ptr) == last_pa,
		    "direct map: PTR_TO_PHYS loses the place in the page");
		MMK__SELFTEST(st, (char *)MMKIT_PHYS_TO_PTR(last_pa) == ptr,
		    "direct map: PHYS_TO_PTR loses the place in the page");
		mmk__selftest_fill(st, i);
	}
	for (unsigned i = 0; i < MMK_SELFTEST_FRAMES; i++)
		MMK__SELFTEST(st, mmk__selftest_is_filled(st, i),
		    "direct map: two pages have the same bytes");
	mmk__selftest_free(st);
	return MMK_OK;
}

MMK_PRIVATE bool
mmk__selftest_bytes_are(const unsigned char *ptr, uint64_t bytes,
    unsigned char value)
{
	for (uint64_t i = 0; i < bytes; i++)
		if (ptr[i] != value)
			return false;
	return true;
}

/* Four pages: one beside, two to work on, one beside. */
MMK_PRIVATE MMK_NODISCARD enum mmk_err
mmk__selftest_memory(struct mmk_selftest_result *st)
{
	struct mmk_phys *phys = st->config->phys;
	struct mmk_frame *block;
	unsigned char *page, *next;

	if (mmk_frame_alloc(phys, 2, 0, MMK_USE_KERNEL, &block) != MMK_OK)
		return MMK_ERR_NOMEM;
	page = (unsigned char *)mmk_frame_ptr(phys, block);
	for (uint64_t i = 0; i < 4 * MMK_PAGE_BYTES; i++)
		page[i] = 0xa5;
	page += MMK_PAGE_BYTES;
	next = page + MMK_PAGE_BYTES;
	MMKIT_PAGE_ZERO(page);
	MMK__SELFTEST(st, mmk__selftest_bytes_are(page, MMK_PAGE_BYTES, 0),
	    "memory: PAGE_ZERO leaves something");
	MMK__SELFTEST(st, page[-1] == 0xa5 && *next == 0xa5,
	    "memory: PAGE_ZERO writes beside the page");
	MMKIT_PAGE_COPY(next, page);
	MMK__SELFTEST(st, mmk__selftest_bytes_are(next, MMK_PAGE_BYTES, 0),
	    "memory: PAGE_COPY does not copy all");
	MMK__SELFTEST(st, next[MMK_PAGE_BYTES] == 0xa5,
	    "memory: PAGE_COPY writes beside the page");
	(void)MMKIT_MEMSET(page + 1, 7, 3);
	MMK__SELFTEST(st, page[0] == 0 && page[1] == 7 && page[3] == 7 &&
	    page[4] == 0, "memory: MEMSET");
	page[2] = 9;
	(void)MMKIT_MEMCPY(next, page, 5);
	MMK__SELFTEST(st, next[1] == 7 && next[2] == 9 && next[3] == 7 &&
	    next[4] == 0, "memory: MEMCPY");
	(void)MMKIT_MEMMOVE(page + 2, page + 1, 3); /* 0 7 7 9 7 */
	MMK__SELFTEST(st, page[2] == 7 && page[3] == 9 && page[4] == 7,
	    "memory: MEMMOVE upward, overlapping");
	(void)MMKIT_MEMMOVE(page + 1, page + 2, 3); /* 0 7 9 7 7 */
	MMK__SELFTEST(st, page[1] == 7 && page[2] == 9 && page[3] == 7,
	    "memory: MEMMOVE downward, overlapping");
	(void)mmk_frame_unref(phys, block);
	return MMK_OK;
}

/* One check of each width: the words beside must stay. */
MMK_PRIVATE void
mmk__selftest_widths(struct mmk_selftest_result *st)
{
	uint16_t narrow[3] = { 1, UINT16_MAX, 2 };
	uint32_t middle[3] = { 1, UINT32_MAX, 2 };
	char place, *pointer = NULL, *expected = NULL;

	MMK__SELFTEST(st, MMKIT_ATOMIC_ADD(&narrow[1], (uint16_t)1) == 0 &&
	    narrow[0] == 1 && narrow[2] == 2, "atomics: 16 bits");
	MMK__SELFTEST(st, MMKIT_ATOMIC_ADD(&middle[1], (uint32_t)1) == 0 &&
	    middle[0] == 1 && middle[2] == 2, "atomics: 32 bits");
	MMK__SELFTEST(st, MMKIT_ATOMIC_CAS(&pointer, &expected, &place) &&
	    MMKIT_ATOMIC_LOAD(&pointer) == &place, "atomics: pointers");
}

MMK_PRIVATE void
mmk__selftest_atomics(struct mmk_selftest_result *st)
{
	uint64_t high = (uint64_t)1 << 40, word = high, expected;

	MMK__SELFTEST(st, MMKIT_ATOMIC_ADD(&word, (uint64_t)5) == high + 5,
	    "atomics: ADD gives the new value");
	MMK__SELFTEST(st, MMKIT_ATOMIC_SUB(&word, (uint64_t)2) == high + 3,
	    "atomics: SUB gives the new value");
	MMK__SELFTEST(st, MMKIT_ATOMIC_OR(&word, (uint64_t)4) == high + 3 &&
	    word == high + 7, "atomics: OR gives the old value");
	MMK__SELFTEST(st, MMKIT_ATOMIC_AND(&word, (uint64_t)6) == high + 7 &&
	    word == 6, "atomics: AND gives the old value");
	MMK__SELFTEST(st, MMKIT_ATOMIC_XCHG(&word, high) == 6 && word == high,
	    "atomics: XCHG gives the old value");
	expected = 1;
	MMK__SELFTEST(st, !MMKIT_ATOMIC_CAS(&word, &expected, (uint64_t)2) &&
	    word == high, "atomics: CAS refuses another value");
	MMK__SELFTEST(st, expected == high, "atomics: CAS tells the value");
	MMK__SELFTEST(st, MMKIT_ATOMIC_CAS(&word, &expected, (uint64_t)2) &&
	    word == 2, "atomics: CAS stores");
	MMKIT_ATOMIC_STORE(&word, (uint64_t)3);
	MMK__SELFTEST(st, MMKIT_ATOMIC_LOAD(&word) == 3, "atomics: STORE, LOAD");
	MMKIT_ATOMIC_STORE_RELAXED(&word, (uint64_t)4);
	MMKIT_ATOMIC_FENCE();
	MMK__SELFTEST(st, MMKIT_ATOMIC_LOAD_RELAXED(&word) == 4,
	    "atomics: the relaxed ones");
	mmk__selftest_widths(st);
}

/* HELD may always say yes; if it said no before, it knows. */
MMK_PRIVATE void
mmk__selftest_lock(struct mmk_selftest_result *st, MMKIT_LOCK_T *outer,
    MMKIT_LOCK_T *inner)
{
	bool knows = !MMKIT_LOCK_HELD(outer);

	MMKIT_LOCK(outer);
	MMK__SELFTEST(st, MMKIT_LOCK_HELD(outer), "locks: HELD says no");
	MMK__SELFTEST(st, !knows || !MMKIT_LOCK_HELD(inner),
	    "locks: HELD mixes up two locks");
	MMKIT_LOCK(inner);
	MMKIT_UNLOCK(inner);
	MMK__SELFTEST(st, MMKIT_LOCK_HELD(outer),
	    "locks: letting go of one lets go of another");
	MMKIT_UNLOCK(outer);
	MMK__SELFTEST(st, !knows || !MMKIT_LOCK_HELD(outer),
	    "locks: UNLOCK does not let go");
}

MMK_PRIVATE void
mmk__selftest_locks(struct mmk_selftest_result *st)
{
	MMKIT_LOCK_T outer, inner;
	MMKIT_MUTEX_T mutex;

	MMKIT_LOCK_INIT(&outer, "selftest outer", MMK_RANK_VM);
	MMKIT_LOCK_INIT(&inner, "selftest inner", MMK_RANK_PMAP);
	MMKIT_MUTEX_INIT(&mutex, "selftest mutex", MMK_RANK_MAP);
	/* Twice: what does not let go would never get past a second one. */
	mmk__selftest_lock(st, &outer, &inner);
	if (st->nr_failed != 0)
		return;
	mmk__selftest_lock(st, &outer, &inner);
	MMKIT_MUTEX_LOCK(&mutex);
	MMK__SELFTEST(st, MMKIT_MUTEX_HELD(&mutex), "locks: MUTEX_HELD says no");
	mmk__selftest_lock(st, &outer, &inner);
	MMK__SELFTEST(st, MMKIT_MUTEX_HELD(&mutex),
	    "locks: letting go of a lock lets go of a mutex");
	MMKIT_MUTEX_UNLOCK(&mutex);
}

/* Called on a CPU: who it says it is. */
MMK_PRIVATE void
mmk__selftest_ask_id(void *arg)
{
	*(unsigned *)arg = MMKIT_CPU_ID();
}

MMK_PRIVATE void
mmk__selftest_cpus(struct mmk_selftest_result *st)
{
	unsigned nr_cpus = MMKIT_CPU_COUNT(), me, id;
	uintptr_t outer, inner;

	MMK__SELFTEST(st, nr_cpus >= 1 && nr_cpus <= MMKIT_CPU_MAX,
	    "cpus: CPU_COUNT is not 1 to MMKIT_CPU_MAX");
	MMKIT_PREEMPT_DISABLE();
	me = MMKIT_CPU_ID();
	MMK__SELFTEST(st, me < nr_cpus, "cpus: CPU_ID is not below CPU_COUNT");
	MMKIT_PREEMPT_DISABLE();
	MMKIT_PREEMPT_ENABLE();
	outer = MMKIT_CPU_ENTER();
	inner = MMKIT_CPU_ENTER();
	id = MMKIT_CPU_ID();
	MMKIT_CPU_LEAVE(inner);
	MMKIT_CPU_LEAVE(outer);
	MMK__SELFTEST(st, id == me && MMKIT_CPU_ID() == me,
	    "cpus: CPU_ID changes with preemption disabled");
	for (unsigned cpu = 0; cpu < nr_cpus && cpu < MMKIT_CPU_MAX; cpu++) {
		id = MMKIT_CPU_MAX;
		if (mmk__selftest_run_on(st, cpu, mmk__selftest_ask_id, &id))
			MMK__SELFTEST(st, id == cpu,
			    "cpus: a CPU gives the number of another");
		else
			MMK__SELFTEST_SKIP(st, "cpus: one that does not run");
	}
	MMKIT_PREEMPT_ENABLE();
}

MMK_PRIVATE void
mmk__selftest_ask_clock(void *arg)
{
	*(uint64_t *)arg = MMKIT_CLOCK_NS();
}

MMK_PRIVATE void
mmk__selftest_clock(struct mmk_selftest_result *st)
{
	uint64_t latest_ns = MMKIT_CLOCK_NS();

	if (!MMK_HAS_CLOCK) {
		MMK__SELFTEST_SKIP(st, "clock: no CLOCK_NS");
		return;
	}
	MMKIT_PREEMPT_DISABLE();
	for (unsigned i = 0; i < 256; i++) {
		uint64_t now_ns = latest_ns;

		if (!mmk__selftest_run_on(st, i % MMKIT_CPU_COUNT(),
		        mmk__selftest_ask_clock, &now_ns))
			continue;
		MMK__SELFTEST(st, now_ns >= latest_ns,
		    "clock: it goes back, or one CPU's is behind");
		latest_ns = now_ns;
	}
	MMKIT_PREEMPT_ENABLE();
}

MMK_PRIVATE uint64_t
mmk__selftest_used(struct mmk_selftest_result *st, enum mmk_use use)
{
	mmk_phys_stats_read(st->config->phys, &st->stats);
	return st->stats.nr_used_pages[use];
}

/* One block of each small order: its place, its bytes, its count. */
MMK_PRIVATE MMK_NODISCARD enum mmk_err
mmk__selftest_frames(struct mmk_selftest_result *st)
{
	struct mmk_phys *phys = st->config->phys;
	uint64_t nr_before = mmk__selftest_used(st, MMK_USE_KERNEL);

	for (unsigned order = 0; order < 4; order++) {
		uint64_t bytes = MMK_PAGE_BYTES << order;
		struct mmk_frame *frame;
		unsigned char *ptr;
		mmk_pa pa;

		if (mmk_frame_alloc(phys, order, MMK_ALLOC_ZERO,
		        MMK_USE_KERNEL, &frame) != MMK_OK)
			return MMK_ERR_NOMEM;
		pa = mmk_frame_pa(phys, frame);
		ptr = (unsigned char *)mmk_frame_ptr(phys, frame);
		MMK__SELFTEST(st, (pa & (bytes - 1)) == 0,
		    "frames: a block is not aligned to its size");
		MMK__SELFTEST(st, mmk__selftest_bytes_are(ptr, bytes, 0),
		    "frames: a zeroed block is not zero");
		MMK__SELFTEST(st, mmk__selftest_used(st, MMK_USE_KERNEL) ==
		    nr_before + ((uint64_t)1 << order),
		    "frames: what was allocated is not counted");
		(void)MMKIT_MEMSET(ptr, 0xa5, (size_t)bytes);
		(void)mmk_frame_unref(phys, frame);
	}
	MMK__SELFTEST(st, mmk__selftest_used(st, MMK_USE_KERNEL) == nr_before,
	    "frames: not all came back");
	return MMK_OK;
}

/* The first chapters; those that need no memory in one. */
MMK_PRIVATE MMK_NODISCARD enum mmk_err
mmk__selftest_chapter(struct mmk_selftest_result *st, unsigned chapter)
{
	switch (chapter) {
	case 0:
		return mmk__selftest_direct_map(st);
	case 1:
		return mmk__selftest_memory(st);
	case 2:
		mmk__selftest_atomics(st);
		return MMK_OK;
	case 3:
		mmk__selftest_locks(st);
		return MMK_OK;
	case 4:
		mmk__selftest_cpus(st);
		return MMK_OK;
	case 5:
		mmk__selftest_clock(st);
		return MMK_OK;
	default:
		return mmk__selftest_frames(st);
	}
}

MMK_API enum mmk_err
mmk_selftest_tier0(const struct mmk_selftest_config *config,
    struct mmk_selftest_result *out)
{
	(void)MMKIT_MEMSET(out, 0, sizeof(*out));
	out->config = config;
	for (unsigned chapter = 0; chapter < 7; chapter++) {
		enum mmk_err err = mmk__selftest_chapter(out, chapter);

		if (out->nr_failed != 0)
			return MMK_ERR_INVAL;
		if (err != MMK_OK)
			return err;
	}
	return MMK_OK;
}
#endif /* MMKIT_IMPLEMENTATION */
