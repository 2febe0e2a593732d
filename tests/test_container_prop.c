/* SPDX-License-Identifier: MIT
 *
 * tests/test_container_prop.c: containers against a map of pages, step by
 * random step. The oracle knows for each name which page of bytes it means;
 * sharing is one page twice, copying a new page with the same byte. What was
 * mapped is kept by a TLB that forgets only what is revoked.
 */
#include "container_fixture.h"

#include <stdio.h>

#include "prop.h"

#define NR_CONTAINERS 3u
#define NR_NAMES 48u /* pages of names of each */
#define NR_PINS 6u
#define CREDIT 90u

struct page {
	unsigned refs;
	unsigned char byte; /* at its start */
};

static struct {
	struct mmk_container *x[NR_CONTAINERS];
	struct page *pages[NR_CONTAINERS][NR_NAMES];
	bool is_readonly[NR_CONTAINERS][NR_NAMES];
	uint64_t base[NR_CONTAINERS]; /* first name */
	struct mmk_cpin *pins[NR_PINS];
	uint64_t now_ns;
	uint64_t state;
	char step[200];
} o;

#define MUST(cond)                                                           \
	do                                                                   \
		if (!(cond)) {                                               \
			fprintf(stderr, "seed %llu: %s\n",                   \
			    (unsigned long long)mmk_test_seed(), o.step);    \
			cr_assert(cond);                                     \
		}                                                            \
	while (0)

static unsigned
below(unsigned n)
{
	return (unsigned)(mmk_test_random(&o.state) >> 11) % n;
}

/* ---- a TLB --------------------------------------------------------------- */

#define NR_TLB 256u

static struct {
	unsigned c, page;
	mmk_pa pa;
	unsigned access; /* 0: empty */
	unsigned char byte; /* seen last, if it can only read */
} tlb[NR_TLB];
static unsigned next_tlb;
static unsigned c_of_sink;

static enum mmk_err
tlb_enter(void *ctx, uint64_t name, mmk_pa pa, uint64_t nr_pages,
    unsigned access)
{
	(void)ctx;
	if (below(20) == 0)
		return MMK_ERR_LIMIT;
	for (uint64_t i = 0; i < nr_pages; i++) {
		tlb[next_tlb].c = c_of_sink;
		tlb[next_tlb].page = (unsigned)((name - o.base[c_of_sink]) /
		    PAGE + i);
		tlb[next_tlb].pa = pa + i * PAGE;
		tlb[next_tlb].access = access;
		next_tlb = (next_tlb + 1) % NR_TLB;
	}
	return MMK_OK;
}

static void
tlb_revoke(void *ctx, struct mmk_frame *frame, unsigned keep)
{
	mmk_pa pa = mmk_frame_pa(&t.phys, frame);
	mmk_pa end_pa = pa + mmk_frame_nr_pages(frame) * PAGE;

	(void)ctx;
	for (unsigned i = 0; i < NR_TLB; i++)
		if (tlb[i].pa >= pa && tlb[i].pa < end_pa)
			tlb[i].access &= keep;
}

static const struct mmk_container_sink sink = { tlb_enter, NULL };
static const struct mmk_physmem_plug plug = { tlb_revoke, NULL };

/*
 * What can be reached through the TLB is what the name means; a name that is
 * given up can at most still be read, and shows memory that is in use.
 */
static void
tlb_compare(void)
{
	for (unsigned i = 0; i < NR_TLB; i++) {
		const struct page *page = o.pages[tlb[i].c][tlb[i].page];
		struct mmk_frame *frame;

		if (tlb[i].access == 0)
			continue;
		frame = mmk_frame_of_pa(&t.phys, tlb[i].pa);
		MUST(frame != NULL && mmk_frame_is_held(frame));
		MUST(frame->use == MMK_USE_CONTAINER);
		if (page != NULL)
			MUST(*(unsigned char *)MMKIT_PHYS_TO_PTR(tlb[i].pa) ==
			    page->byte);
		else
			MUST((tlb[i].access & MMK_PROT_WRITE) == 0);
	}
}

/* ---- the oracle ---------------------------------------------------------- */

static struct page *
page_new(unsigned char byte)
{
	struct page *page = malloc(sizeof(*page));

	page->refs = 1;
	page->byte = byte;
	return page;
}

static void
page_set(unsigned c, unsigned n, struct page *page, bool is_readonly)
{
	struct page *old = o.pages[c][n];

	if (old != NULL && --old->refs == 0)
		free(old);
	o.pages[c][n] = page;
	o.is_readonly[c][n] = is_readonly;
}

static uint64_t
nr_charged(void)
{
	uint64_t nr = 0;

	for (unsigned c = 0; c < NR_CONTAINERS; c++)
		for (unsigned n = 0; n < NR_NAMES; n++)
			nr += o.pages[c][n] != NULL;
	return nr;
}

static void
compare(void)
{
	uint64_t nr_names = 0;

	for (unsigned c = 0; c < NR_CONTAINERS; c++) {
		for (unsigned n = 0; n < NR_NAMES; n++) {
			unsigned char byte = 0;
			enum mmk_err err = mmk_container_read(o.x[c],
			    o.base[c] + n * PAGE, &byte, 1);

			MUST(err == (o.pages[c][n] != NULL ? MMK_OK
							   : MMK_ERR_NOENT));
			if (err == MMK_OK)
				MUST(byte == o.pages[c][n]->byte);
		}
		nr_names += o.x[c]->nr_pages;
	}
	tlb_compare();
	MUST(nr_names == nr_charged());
	MUST(mmk_physmem_check(&t.physmem));
	MUST(mmk_control_check(&t.tree));
	/* The rest is borne by pins of what has no name any more. */
	MUST(free_credit(&t.root) <= CREDIT - nr_names);
}

static bool
has_pins(void)
{
	for (unsigned i = 0; i < NR_PINS; i++)
		if (o.pins[i] != NULL)
			return true;
	return false;
}

/* How many names from [n, n + nr) on are allocated, or are not. */
static unsigned
run_of(unsigned c, unsigned n, unsigned nr, bool is_there)
{
	unsigned i = 0;

	while (i < nr && (o.pages[c][n + i] != NULL) == is_there)
		i++;
	return i;
}

/* ---- steps --------------------------------------------------------------- */

/* A failure: only what may be, and `compare` shows that nothing changed. */
static bool
failed(enum mmk_err err, enum mmk_err expected)
{
	if (err == MMK_OK) {
		MUST(expected == MMK_OK);
		return false;
	}
	/* Pins make halving impossible; they may keep credit; memory fails. */
	MUST(err == expected || (err == MMK_ERR_BUSY && has_pins()) ||
	    (err == MMK_ERR_LIMIT && has_pins()) ||
	    (err == MMK_ERR_NOMEM && sim_fail_count() > 0));
	return true;
}

static void
step_allocate(unsigned c, unsigned n, unsigned nr)
{
	unsigned flags = below(3); /* PARTIAL or SQUASH */
	unsigned nr_there = 0, nr_free = (unsigned)free_credit(&t.root);
	enum mmk_err err, expected = MMK_OK;
	uint64_t nr_done = 0;

	for (unsigned i = 0; i < nr; i++)
		nr_there += o.pages[c][n + i] != NULL;
	snprintf(o.step, sizeof(o.step), "allocate %u: %u + %u flags %u", c, n,
	    nr, flags);
	if ((flags & MMK_CONTAINER_SQUASH) == 0 && nr_there > 0) {
		if ((flags & MMK_CONTAINER_PARTIAL) == 0 ||
		    o.pages[c][n] != NULL)
			expected = MMK_ERR_EXIST;
		else
			nr = run_of(c, n, nr, false);
	}
	if (expected == MMK_OK && (flags & MMK_CONTAINER_PARTIAL) != 0) {
		if (nr_free == 0)
			expected = MMK_ERR_LIMIT;
	} else if (expected == MMK_OK && nr > nr_free +
	    ((flags & MMK_CONTAINER_SQUASH) != 0 ? nr_there : 0u)) {
		expected = MMK_ERR_LIMIT;
	}
	err = mmk_container_allocate(o.x[c], o.base[c] + n * PAGE, nr * PAGE,
	    flags, &nr_done);
	if (failed(err, expected))
		return;
	MUST(nr_done % PAGE == 0 && nr_done > 0 && nr_done <= nr * PAGE);
	MUST(nr_done == nr * PAGE || ((flags & MMK_CONTAINER_PARTIAL) != 0 &&
	    nr_done / PAGE == nr_free));
	for (unsigned i = 0; i < nr_done / PAGE; i++)
		page_set(c, n + i, page_new(0), false);
}

static void
step_deallocate(unsigned c, unsigned n, unsigned nr)
{
	unsigned flags = below(2); /* PARTIAL */
	bool is_full = run_of(c, n, nr, true) == nr;
	enum mmk_err err;

	snprintf(o.step, sizeof(o.step), "deallocate %u: %u + %u flags %u", c,
	    n, nr, flags);
	err = mmk_container_deallocate(o.x[c], o.base[c] + n * PAGE, nr * PAGE,
	    flags, NULL);
	if (failed(err, flags == 0 && !is_full ? MMK_ERR_NOENT : MMK_OK))
		return;
	for (unsigned i = 0; i < nr; i++)
		page_set(c, n + i, NULL, false);
}

static void
step_release(unsigned c, unsigned n, unsigned nr)
{
	bool is_full = run_of(c, n, nr, true) == nr;
	enum mmk_err err;

	snprintf(o.step, sizeof(o.step), "release %u: %u + %u", c, n, nr);
	err = mmk_container_release(o.x[c], o.base[c] + n * PAGE, nr * PAGE);
	if (failed(err, is_full ? MMK_OK : MMK_ERR_NOENT))
		return;
	for (unsigned i = 0; i < nr; i++)
		page_set(c, n + i, page_new(0), o.is_readonly[c][n + i]);
}

static void
step_copy(unsigned c, unsigned n, unsigned nr)
{
	static const unsigned choices[] = { 0, 0, MMK_CONTAINER_SQUASH,
		MMK_CONTAINER_PARTIAL, MMK_CONTAINER_READONLY,
		MMK_CONTAINER_SQUASH | MMK_CONTAINER_READONLY };
	enum mmk_copy_mode mode = (enum mmk_copy_mode)below(3);
	unsigned flags = choices[below(6)], d = below(NR_CONTAINERS);
	unsigned to = below(NR_NAMES - nr + 1), nr_there = 0;
	unsigned nr_free = (unsigned)free_credit(&t.root);
	bool is_full = run_of(c, n, nr, true) == nr;
	enum mmk_err err, expected = MMK_OK;
	uint64_t nr_done = nr * PAGE;

	for (unsigned i = 0; i < nr; i++)
		nr_there += o.pages[d][to + i] != NULL;
	snprintf(o.step, sizeof(o.step),
	    "copy %u: %u + %u to %u: %u mode %u flags %u", c, n, nr, d, to,
	    (unsigned)mode, flags);
	if (flags == MMK_CONTAINER_PARTIAL) {
		/* What is certain is said by the oracle afterwards. */
		nr = run_of(c, n, nr, true);
		if (nr == 0)
			expected = MMK_ERR_NOENT;
		else if (c == d && n < to + nr && to < n + nr)
			expected = MMK_ERR_INVAL;
		else if (o.pages[d][to] != NULL)
			expected = MMK_ERR_EXIST;
		else if (nr_free == 0 && mode != MMK_COPY_MOVE)
			expected = MMK_ERR_LIMIT;
	} else if (!is_full) {
		expected = MMK_ERR_NOENT;
	} else if (c == d && n < to + nr && to < n + nr) {
		expected = MMK_ERR_INVAL;
	} else if (nr_there > 0 && (flags & MMK_CONTAINER_SQUASH) == 0) {
		expected = MMK_ERR_EXIST;
	} else if (mode != MMK_COPY_MOVE && nr > nr_free +
	    ((flags & MMK_CONTAINER_SQUASH) != 0 ? nr_there : 0u)) {
		expected = MMK_ERR_LIMIT;
	}
	err = mmk_container_copy(o.x[c], o.base[c] + n * PAGE, o.x[d],
	    o.base[d] + to * PAGE, nr * PAGE + (nr == 0 ? PAGE : 0), mode,
	    flags, &nr_done);
	if (failed(err, expected))
		return;
	MUST(nr_done > 0 && nr_done <= nr * PAGE);
	for (unsigned i = 0; i < nr_done / PAGE; i++) {
		struct page *page = o.pages[c][n + i];
		bool is_readonly = o.is_readonly[c][n + i] ||
		    (flags & MMK_CONTAINER_READONLY) != 0;

		if (mode == MMK_COPY_COW)
			page = page_new(page->byte);
		else
			page->refs++;
		page_set(d, to + i, page, is_readonly);
		if (mode == MMK_COPY_MOVE)
			page_set(c, n + i, NULL, false);
	}
}

static void
step_write(unsigned c, unsigned n)
{
	unsigned char byte = (unsigned char)below(256);
	enum mmk_err err, expected = MMK_OK;

	snprintf(o.step, sizeof(o.step), "write %u: %u", c, n);
	if (o.pages[c][n] == NULL)
		expected = MMK_ERR_NOENT;
	else if (o.is_readonly[c][n])
		expected = MMK_ERR_ACCESS;
	err = mmk_container_write(o.x[c], o.base[c] + n * PAGE, &byte, 1);
	if (!failed(err, expected))
		o.pages[c][n]->byte = byte;
}

static void
step_map(unsigned c, unsigned n, unsigned nr)
{
	unsigned access = MMK_PROT_READ | (below(2) != 0 ? MMK_PROT_WRITE : 0u);
	enum mmk_err err, expected = MMK_OK;

	snprintf(o.step, sizeof(o.step), "map %u: %u + %u access %u", c, n, nr,
	    access);
	if (run_of(c, n, nr, true) < nr)
		expected = MMK_ERR_NOENT;
	else if ((access & MMK_PROT_WRITE) != 0)
		for (unsigned i = 0; i < nr; i++)
			if (o.is_readonly[c][n + i])
				expected = MMK_ERR_ACCESS;
	c_of_sink = c;
	err = mmk_container_map(o.x[c], o.base[c] + n * PAGE, nr * PAGE, access,
	    &sink);
	if (err == MMK_ERR_LIMIT) /* the sink's */
		err = expected;
	(void)failed(err, expected);
}

/* A store through the TLB, by a program that was granted it. */
static void
step_store(void)
{
	unsigned i = below(NR_TLB);
	struct page *page = o.pages[tlb[i].c][tlb[i].page];

	if ((tlb[i].access & MMK_PROT_WRITE) == 0)
		return;
	snprintf(o.step, sizeof(o.step), "store %u: %u", tlb[i].c, tlb[i].page);
	MUST(page != NULL);
	page->byte = (unsigned char)below(256);
	*(unsigned char *)MMKIT_PHYS_TO_PTR(tlb[i].pa) = page->byte;
}

static void
step_pin(unsigned c, unsigned n)
{
	unsigned i = below(NR_PINS);
	enum mmk_err err, expected = MMK_OK;
	mmk_pa pa = 0;

	if (o.pins[i] != NULL) {
		snprintf(o.step, sizeof(o.step), "unpin");
		(void)mmk_container_unpin(&t.physmem, o.pins[i]);
		o.pins[i] = NULL;
		return;
	}
	snprintf(o.step, sizeof(o.step), "pin %u: %u", c, n);
	if (o.x[c]->nr_pins >= 4)
		expected = MMK_ERR_LIMIT;
	else if (o.pages[c][n] == NULL)
		expected = MMK_ERR_NOENT;
	else if (o.is_readonly[c][n])
		expected = MMK_ERR_ACCESS;
	err = mmk_container_pin(o.x[c], o.base[c] + n * PAGE, 1 + below(500),
	    &o.pins[i], &pa);
	if (!failed(err, expected))
		MUST(*(unsigned char *)MMKIT_PHYS_TO_PTR(pa) ==
		    o.pages[c][n]->byte);
}

/* Memory is compacted, and given back. */
static void
step_compact(void)
{
	struct mmk_compaction effort = { &t.pins, 64, 0 };
	struct mmk_frame *frame;

	snprintf(o.step, sizeof(o.step), "compact");
	if (mmk_compact_frame(&t.phys, &effort, 7, 0, MMK_USE_KERNEL, &frame) ==
	    MMK_OK)
		(void)mmk_frame_unref(&t.phys, frame);
}

/* The container dies with all its names; another takes its place. */
static void
step_rebirth(unsigned c)
{
	snprintf(o.step, sizeof(o.step), "rebirth %u", c);
	sim_fail_at(0);
	ok(mmk_container_destroy(o.x[c]));
	mmk_container_unref(o.x[c]);
	for (unsigned n = 0; n < NR_NAMES; n++)
		page_set(c, n, NULL, false);
	/* Of a container that is dead nothing can be reached. */
	for (unsigned i = 0; i < NR_TLB; i++)
		MUST(tlb[i].c != c || tlb[i].access == 0);
	o.x[c] = container(&t.root);
}

static void
step(void)
{
	unsigned c = below(NR_CONTAINERS), nr = 1 + below(9);
	unsigned n = below(NR_NAMES - nr + 1), kind = below(40);

	if (kind < 8)
		step_allocate(c, n, nr);
	else if (kind < 12)
		step_deallocate(c, n, nr);
	else if (kind < 14)
		step_release(c, n, nr);
	else if (kind < 20)
		step_copy(c, n, nr);
	else if (kind < 26)
		step_write(c, n);
	else if (kind < 31)
		step_map(c, n, nr);
	else if (kind < 35)
		step_store();
	else if (kind < 37)
		step_pin(c, n);
	else if (kind < 38)
		step_compact();
	else if (kind < 39)
		sim_set_clock_ns(o.now_ns += below(300));
	else if (below(8) == 0)
		step_rebirth(c);
}

/* Names up to the last there is, in the third container. */
static void
run(bool is_eager, bool is_failing, unsigned nr_steps)
{
	memset(&o, 0, sizeof o);
	memset(tlb, 0, sizeof tlb);
	o.state = mmk_test_seed() + is_eager + 2 * is_failing;
	boot_with(CREDIT, &plug, is_eager);
	sim_set_clock_ns(o.now_ns = 1);
	o.base[1] = 5 * PAGE;
	o.base[2] = (uint64_t)0 - NR_NAMES * PAGE;
	for (unsigned c = 0; c < NR_CONTAINERS; c++)
		o.x[c] = container(&t.root);
	for (unsigned i = 0; i < nr_steps; i++) {
		sim_fail_at(is_failing && below(3) == 0 ? 1 + below(12) : 0);
		step();
		sim_fail_at(0);
		compare();
	}
	for (unsigned i = 0; i < NR_PINS; i++)
		if (o.pins[i] != NULL)
			(void)mmk_container_unpin(&t.physmem, o.pins[i]);
	for (unsigned c = 0; c < NR_CONTAINERS; c++) {
		ok(mmk_container_destroy(o.x[c]));
		mmk_container_unref(o.x[c]);
		for (unsigned n = 0; n < NR_NAMES; n++)
			page_set(c, n, NULL, false);
	}
	end();
}

Test(container_prop, random_steps_agree_with_the_oracle)
{
	run(false, false, mmk_test_steps(3000));
}

Test(container_prop, random_steps_agree_with_the_oracle_when_all_is_unmapped_at_once)
{
	run(true, false, mmk_test_steps(1500));
}

Test(container_prop, steps_that_run_out_of_memory_change_nothing)
{
	run(false, true, mmk_test_steps(3000));
}
