/* SPDX-License-Identifier: MIT
 *
 * tests/test_space_prop.c: random lives of up to four address spaces against
 * an oracle of flat byte arrays
 *
 * WHAT    The oracle knows pages, not entries: what each shows, with which
 *         rights, and the bytes a private page has of its own. A fork copies
 *         them; a shared page has the bytes of its object. After every step
 *         mmk_check() must hold and every page of every space must be as the
 *         oracle says; contents are read and written through the simulated
 *         CPUs. The same steps are then run with the k-th allocation failing,
 *         for every k: each operation happens or does not.
 */
#include "prop.h"
#include "vm_fixture.h"

#define PAGES 48          /* of a space, all of it */
#define OBJECT_PAGES 16
#define NR_FILES 2
#define KEPT NR_FILES     /* an object that has addresses: ops->map */
#define NR_NAMED 3        /* the files and that one; the others anonymous */
#define NR_OBJECTS 64
#define ZERO (-1)
#define HEAP_BYTES (4 * PAGE + 100) /* where it starts */
#define HEAP_LIMIT (9 * PAGE)

struct opage {
	bool is_mapped;
	bool is_private;
	bool has_own; /* bytes of its own */
	unsigned prot, max_prot;
	int object;    /* ZERO: nothing but zeros */
	uint64_t page; /* of the object */
	unsigned char own[MMK_PAGE_BYTES];
};

struct oobject {
	bool is_live;
	uint64_t nr_pages;
	unsigned char bytes[OBJECT_PAGES][MMK_PAGE_BYTES];
};

struct ospace {
	bool is_live;
	struct opage pages[PAGES];
	uint64_t heap_end; /* bytes from the start of the space */
};

static struct ospace spaces[VM_SPACES];
static struct oobject objects[NR_OBJECTS];
static struct vm_file files[NR_FILES];
static struct mmk_object *named[NR_NAMED];
static struct mmk_frame *kept[OBJECT_PAGES];
static unsigned char zeros[MMK_PAGE_BYTES];

static struct {
	uint64_t seed, state, k;
	unsigned arch, step;
	const char *op;
	uint64_t count_before; /* failure points before this operation */
} run;

#define CHECK(cond)                                                          \
	cr_assert(cond, "MMK_SEED=%llu arch %u step %u k %llu (%s): " #cond, \
	    (unsigned long long)run.seed, run.arch, run.step,                \
	    (unsigned long long)run.k, run.op)

static uint64_t
pick(uint64_t n)
{
	return mmk_test_random(&run.state) % n;
}

/* ---- backing store --------------------------------------------------- */

#define NR_SLOTS 512
static unsigned char slots[NR_SLOTS][MMK_PAGE_BYTES];
static bool is_slot_used[NR_SLOTS];

static enum mmk_err
slot_out(void *ctx, struct mmk_frame *frame, uint64_t words[2])
{
	(void)ctx;
	for (uint64_t i = 0; i < NR_SLOTS; i++) {
		if (is_slot_used[i])
			continue;
		is_slot_used[i] = true;
		memcpy(slots[i], mmk_frame_ptr(&t.phys, frame), PAGE);
		words[0] = i;
		words[1] = ~i;
		return MMK_OK;
	}
	return MMK_ERR_NOSPACE;
}

static enum mmk_err
slot_in(void *ctx, const uint64_t words[2], struct mmk_frame *frame)
{
	(void)ctx;
	CHECK(words[0] < NR_SLOTS && words[1] == ~words[0]);
	CHECK(is_slot_used[words[0]]);
	memcpy(mmk_frame_ptr(&t.phys, frame), slots[words[0]], PAGE);
	return MMK_OK;
}

static void
slot_free(void *ctx, const uint64_t words[2])
{
	(void)ctx;
	CHECK(words[0] < NR_SLOTS && is_slot_used[words[0]]);
	is_slot_used[words[0]] = false;
}

static const struct mmk_backing backing = {
	slot_out, slot_in, slot_free, NULL
};

/* ---- an object with addresses of its own ------------------------------- */

static enum mmk_err
kept_map(struct mmk_object *object, const struct mmk_entry *entry,
    uint64_t page, unsigned access, mmk_pa *pa_out)
{
	(void)access;
	CHECK(object == named[KEPT] && entry->lower.object == object);
	CHECK(page < objects[KEPT].nr_pages);
	mmk_frame_ref(&t.phys, kept[page]);
	*pa_out = mmk_frame_pa(&t.phys, kept[page]);
	return MMK_OK;
}

static void
kept_unmap(struct mmk_object *object, const struct mmk_entry *entry,
    uint64_t page, mmk_pa pa)
{
	CHECK(object == named[KEPT] && entry->lower.object == object);
	CHECK(page < objects[KEPT].nr_pages);
	CHECK(pa == mmk_frame_pa(&t.phys, kept[page]));
	CHECK(mmk_frame_unref(&t.phys, kept[page]) > 0);
}

/* Every reference a mapping had has come back. */
static void
kept_destroy(struct mmk_object *object)
{
	CHECK(object == named[KEPT]);
	for (uint64_t n = 0; n < objects[KEPT].nr_pages; n++)
		CHECK(mmk_frame_unref(&t.phys, kept[n]) == 0);
}

static const struct mmk_pager_ops kept_ops = {
	.name = "kept",
	.kind = MMK_PAGER_KERNEL,
	.map = kept_map,
	.unmap = kept_unmap,
	.destroy = kept_destroy
};

static void
begin_kept(void)
{
	struct oobject *o = &objects[KEPT];

	o->is_live = true;
	o->nr_pages = 6;
	for (uint64_t n = 0; n < o->nr_pages; n++) {
		CHECK(mmk_frame_alloc(&t.phys, 0, 0, MMK_USE_KERNEL,
		    &kept[n]) == MMK_OK);
		memset(o->bytes[n], (int)(0xa0 + n), PAGE);
		memcpy(mmk_frame_ptr(&t.phys, kept[n]), o->bytes[n], PAGE);
	}
	CHECK(mmk_object_create(&t.vm, &kept_ops, NULL, o->nr_pages,
	    &named[KEPT]) == MMK_OK);
}

/* ---- the oracle ------------------------------------------------------ */

static struct opage *
page_at(unsigned i, uint64_t n)
{
	return &spaces[i].pages[n];
}

static const unsigned char *
bytes_of(const struct opage *p)
{
	if (p->has_own)
		return p->own;
	return p->object == ZERO ? zeros : objects[p->object].bytes[p->page];
}

/* What an access ends in. */
static enum mmk_err
expected_access(const struct opage *p, unsigned access)
{
	if (!p->is_mapped)
		return MMK_ERR_NOENT;
	if ((p->prot & access) == 0)
		return MMK_ERR_ACCESS;
	if (p->object != ZERO && p->page >= objects[p->object].nr_pages)
		return MMK_ERR_NOSPACE;
	return MMK_OK;
}

static bool
is_free(unsigned i, uint64_t first, uint64_t nr)
{
	if (first > PAGES || nr > PAGES - first)
		return false;
	for (uint64_t n = first; n < first + nr; n++)
		if (page_at(i, n)->is_mapped)
			return false;
	return true;
}

static bool
is_whole(unsigned i, uint64_t first, uint64_t nr)
{
	for (uint64_t n = first; n < first + nr; n++)
		if (!page_at(i, n)->is_mapped)
			return false;
	return true;
}

static bool
has_gap(unsigned i, uint64_t nr)
{
	for (uint64_t n = 0; n + nr <= PAGES; n++)
		if (is_free(i, n, nr))
			return true;
	return false;
}

static void
clear(unsigned i, uint64_t first, uint64_t nr)
{
	for (uint64_t n = first; n < first + nr; n++)
		page_at(i, n)->is_mapped = false;
}

/* Shared anonymous memory that nobody shows is forgotten. */
static void
forget_unshown(void)
{
	static bool is_shown[NR_OBJECTS][OBJECT_PAGES];
	bool has_any[NR_OBJECTS] = { false };

	memset(is_shown, 0, sizeof is_shown);
	for (unsigned i = 0; i < VM_SPACES; i++) {
		for (uint64_t n = 0; spaces[i].is_live && n < PAGES; n++) {
			struct opage *p = page_at(i, n);

			if (!p->is_mapped || p->object == ZERO)
				continue;
			has_any[p->object] = true;
			if (p->page < OBJECT_PAGES)
				is_shown[p->object][p->page] = true;
		}
	}
	for (int o = NR_NAMED; o < NR_OBJECTS; o++) {
		objects[o].is_live = has_any[o];
		for (unsigned n = 0; n < OBJECT_PAGES; n++)
			if (!is_shown[o][n])
				memset(objects[o].bytes[n], 0, PAGE);
	}
}

static mmk_va
va_of(uint64_t n)
{
	return VA + n * PAGE;
}

/* ---- comparing ------------------------------------------------------- */

static void
compare_maps(void)
{
	for (unsigned i = 0; i < VM_SPACES; i++) {
		struct mmk_entry_info info = { .end_va = 0 };
		bool is_there = true;
		mmk_va heap_end_va = 0;

		CHECK(spaces[i].is_live == t.is_live[i]);
		if (!t.is_live[i])
			continue;
		for (uint64_t n = 0; n < PAGES; n++) {
			struct opage *p = page_at(i, n);
			bool is_mapped;

			if (is_there && info.end_va <= va_of(n))
				is_there = mmk_map_entry_info(vm_map(i),
				    va_of(n), &info);
			is_mapped = is_there && info.start_va <= va_of(n);
			CHECK(is_mapped == p->is_mapped);
			if (!is_mapped)
				continue;
			CHECK(info.prot == p->prot);
			CHECK(info.max_prot == p->max_prot);
			CHECK((info.flags & MMK_ENTRY_PRIVATE) ==
			    (p->is_private ? MMK_ENTRY_PRIVATE : 0));
			if (p->object != ZERO)
				CHECK(info.object_page +
				    (va_of(n) - info.start_va) / PAGE ==
				    p->page);
		}
		CHECK(mmk_brk(vm_sp(i), 0, &heap_end_va) == MMK_OK);
		CHECK(heap_end_va == VA + spaces[i].heap_end);
	}
}

/* One-shot: the failure that was asked for has come in this operation. */
static bool
has_failed_now(void)
{
	return run.k != 0 && run.count_before < run.k &&
	    sim_fail_count() >= run.k;
}

/*
 * Load or store inside one page on some CPU; if it meets the failure it must
 * work the second time.
 */
static enum mmk_err
touch(unsigned i, mmk_va va, void *buf, size_t bytes, unsigned access)
{
	unsigned cpu = (unsigned)pick(sim_cpu_count());
	int result;

	for (int tries = 0; tries < 2; tries++) {
		vm_run(cpu, i);
		result = access == MMK_PROT_WRITE
		    ? sim_store(cpu, va, buf, bytes)
		    : sim_load(cpu, va, buf, bytes);
		CHECK(result >= 0);
		if (result != MMK_ERR_NOMEM)
			break;
		CHECK(has_failed_now());
	}
	return (enum mmk_err)result;
}

static void
compare_page(unsigned i, uint64_t n)
{
	static unsigned char buf[MMK_PAGE_BYTES];
	struct opage *p = page_at(i, n);
	enum mmk_err expected = expected_access(p, MMK_PROT_READ);
	enum mmk_err err = touch(i, va_of(n), buf,
	    expected == MMK_OK ? PAGE : 1, MMK_PROT_READ);

	CHECK(err == expected);
	for (size_t b = 0; expected == MMK_OK && b < PAGE; b++)
		cr_assert_eq(buf[b], bytes_of(p)[b], "MMK_SEED=%llu arch %u "
		    "step %u k %llu (%s): space %u page %llu byte %zu is %02x, "
		    "not %02x (%s%s object %d page %llu)",
		    (unsigned long long)run.seed, run.arch, run.step,
		    (unsigned long long)run.k, run.op, i,
		    (unsigned long long)n, b, buf[b], bytes_of(p)[b],
		    p->is_private ? "private" : "shared",
		    p->has_own ? ", written," : "", p->object,
		    (unsigned long long)p->page);
}

static void
compare_contents(void)
{
	for (unsigned i = 0; i < VM_SPACES; i++)
		for (uint64_t n = 0; spaces[i].is_live && n < PAGES; n++)
			compare_page(i, n);
}

/* ---- operations ------------------------------------------------------ */

/*
 * The outcome of an operation. False: it met the failure; nothing may have
 * changed, so the oracle stays as it is.
 */
static bool
is_done(enum mmk_err err, enum mmk_err expected)
{
	if (err == MMK_ERR_NOMEM && has_failed_now())
		return false;
	CHECK(err == expected);
	return err == MMK_OK;
}

/* A page: most often the first mapped one at or after it. */
static uint64_t
pick_page(unsigned i)
{
	uint64_t first = pick(PAGES), n = first;

	if (pick(8) == 0)
		return first;
	while (n < PAGES && !page_at(i, n)->is_mapped)
		n++;
	return n < PAGES ? n : first;
}

/* How many pages from `first` on: most often no more than are mapped. */
static uint64_t
pick_nr(unsigned i, uint64_t first, uint64_t most)
{
	uint64_t nr = 1 + pick(most);

	if (pick(8) == 0)
		return nr;
	while (nr > 1 && (first + nr > PAGES || !is_whole(i, first, nr)))
		nr--;
	return nr;
}

static unsigned
pick_prot(void)
{
	static const unsigned prots[] = { MMK_PROT_NONE, RO, RW, RW, RW, RW,
		RO | MMK_PROT_EXEC, ALL };

	return prots[pick(8)];
}

static int
unused_object(void)
{
	for (int o = NR_NAMED; o < NR_OBJECTS; o++)
		if (!objects[o].is_live)
			return o;
	return ZERO;
}

static void
op_mmap(unsigned i)
{
	uint64_t nr = 1 + pick(10), first = pick(PAGES), page = 0;
	unsigned prot = pick_prot(), flags, max_prot = ALL;
	unsigned how = (unsigned)pick(4), place = (unsigned)pick(4);
	bool is_private = how % 2 == 0;
	int object = ZERO;
	struct mmk_object *file = NULL;
	enum mmk_err expected = MMK_OK, err;
	mmk_va va = 0;

	flags = is_private ? MMK_MAP_PRIVATE : MMK_MAP_SHARED;
	if (how < 2) {
		flags |= MMK_MAP_ANON;
		if (!is_private)
			object = unused_object();
		if (!is_private && object == ZERO)
			return;
	} else {
		object = (int)pick(NR_NAMED);
		file = named[object];
		page = pick(objects[object].nr_pages + 1);
		if (pick(4) == 0 && (prot & MMK_PROT_WRITE) == 0)
			max_prot = RO | MMK_PROT_EXEC;
	}
	if (place == 0)
		flags |= MMK_MAP_FIXED;
	else if (place == 1)
		flags |= MMK_MAP_NOREPLACE;
	/* Populating for writing would copy a file's pages, as a write does. */
	if (pick(6) == 0 && how != 2)
		flags |= MMK_MAP_POPULATE;
	if (place < 2 && first + nr > PAGES)
		expected = MMK_ERR_INVAL;
	else if (place == 1 && !is_free(i, first, nr))
		expected = MMK_ERR_EXIST;
	else if (place > 1 && !has_gap(i, nr))
		expected = MMK_ERR_NOSPACE;
	err = mmk_mmap(vm_sp(i), va_of(first), nr * PAGE, prot, max_prot, flags,
	    file, page * PAGE, &va);
	if (!is_done(err, expected))
		return;
	if (place < 2 || is_free(i, first, nr))
		CHECK(va == va_of(first));
	first = (va - VA) / PAGE;
	CHECK(place == 0 || is_free(i, first, nr));
	clear(i, first, nr);
	forget_unshown();
	if (object >= NR_NAMED) {
		objects[object].is_live = true;
		objects[object].nr_pages = nr;
	}
	for (uint64_t n = 0; n < nr; n++) {
		struct opage *p = page_at(i, first + n);

		p->is_mapped = true;
		p->is_private = is_private;
		p->has_own = false;
		p->prot = prot;
		p->max_prot = max_prot;
		p->object = object;
		p->page = page + n;
	}
}

static void
op_munmap(unsigned i)
{
	uint64_t first = pick(PAGES), nr = 1 + pick(4);
	enum mmk_err expected = first + nr > PAGES ? MMK_ERR_INVAL : MMK_OK;
	enum mmk_err err = mmk_munmap(vm_sp(i), va_of(first), nr * PAGE);

	if (is_done(err, expected))
		clear(i, first, nr);
}

static void
op_mprotect(unsigned i)
{
	uint64_t first = pick_page(i), nr = pick_nr(i, first, 6);
	unsigned prot = pick_prot();
	enum mmk_err expected = MMK_OK, err;

	if (first + nr > PAGES) {
		expected = MMK_ERR_INVAL;
	} else if (!is_whole(i, first, nr)) {
		expected = MMK_ERR_NOENT;
	} else {
		for (uint64_t n = first; n < first + nr; n++)
			if ((prot & ~page_at(i, n)->max_prot) != 0)
				expected = MMK_ERR_ACCESS;
	}
	err = mmk_mprotect(vm_sp(i), va_of(first), nr * PAGE, prot);
	if (!is_done(err, expected))
		return;
	for (uint64_t n = first; n < first + nr; n++)
		page_at(i, n)->prot = prot;
}

/* Pages go from `from` to `to`; what is new continues the last of them. */
static void
carry(unsigned i, uint64_t from, uint64_t nr_old, uint64_t to, uint64_t nr_new)
{
	static struct opage stay[PAGES];
	uint64_t nr_kept = nr_old < nr_new ? nr_old : nr_new;

	memcpy(stay, page_at(i, from), nr_old * sizeof stay[0]);
	if (to != from) {
		clear(i, to, nr_new);
		forget_unshown();
	}
	clear(i, from, nr_old);
	memcpy(page_at(i, to), stay, nr_kept * sizeof stay[0]);
	for (uint64_t n = nr_kept; n < nr_new; n++) {
		struct opage *p = page_at(i, to + n);

		*p = stay[nr_old - 1];
		p->has_own = false;
		p->page = stay[nr_old - 1].page + (n + 1 - nr_old);
	}
}

static void
op_mremap(unsigned i)
{
	uint64_t first = pick_page(i), nr_old = pick_nr(i, first, 6);
	uint64_t nr_new = 1 + pick(10), to = pick(PAGES);
	unsigned flags = (unsigned)pick(3); /* none, MAYMOVE, and FIXED too */
	bool is_fixed = flags == 2, is_moved = false;
	enum mmk_err expected = MMK_OK, err;
	mmk_va va = 0;

	if (is_fixed)
		flags = MMK_REMAP_MAYMOVE | MMK_REMAP_FIXED;
	if (first + nr_old > PAGES || (is_fixed && to + nr_new > PAGES) ||
	    (is_fixed && first < to + nr_new && to < first + nr_old))
		expected = MMK_ERR_INVAL;
	else if (!is_whole(i, first, nr_old))
		expected = MMK_ERR_NOENT;
	else if (!is_fixed && nr_new > nr_old &&
	    !is_free(i, first + nr_old, nr_new - nr_old))
		is_moved = true;
	if (is_moved && (flags == 0 || !has_gap(i, nr_new)))
		expected = MMK_ERR_NOSPACE;
	err = mmk_mremap(vm_sp(i), va_of(first), nr_old * PAGE, nr_new * PAGE,
	    flags, va_of(to), &va);
	if (!is_done(err, expected))
		return;
	if (!is_fixed)
		to = is_moved ? (va - VA) / PAGE : first;
	CHECK(va == va_of(to));
	CHECK(!is_moved || is_free(i, to, nr_new));
	carry(i, first, nr_old, to, nr_new);
}

static void
op_fork(unsigned i)
{
	for (unsigned child = 0; child < VM_SPACES; child++) {
		if (spaces[child].is_live)
			continue;
		if (is_done(vm_try_fork(child, i), MMK_OK))
			spaces[child] = spaces[i];
		return;
	}
}

static void
op_exit(unsigned i)
{
	unsigned nr_live = 0;

	for (unsigned n = 0; n < VM_SPACES; n++)
		nr_live += spaces[n].is_live;
	if (nr_live < 2)
		return;
	vm_exit(i);
	spaces[i].is_live = false;
}

static void
op_write(unsigned i)
{
	static unsigned char buf[MMK_PAGE_BYTES];
	uint64_t n = pick_page(i), at = pick(PAGE);
	size_t bytes = (size_t)(1 + pick(PAGE - at));
	struct opage *p = page_at(i, n);
	enum mmk_err err;

	for (size_t b = 0; b < bytes; b++)
		buf[b] = (unsigned char)(b + run.state);
	err = touch(i, va_of(n) + at, buf, bytes, MMK_PROT_WRITE);
	CHECK(err == expected_access(p, MMK_PROT_WRITE));
	if (err != MMK_OK)
		return;
	if (!p->is_private) {
		memcpy(objects[p->object].bytes[p->page] + at, buf, bytes);
		return;
	}
	if (!p->has_own)
		memcpy(p->own, bytes_of(p), PAGE);
	p->has_own = true;
	memcpy(p->own + at, buf, bytes);
}

static void
op_read(unsigned i)
{
	compare_page(i, pick_page(i));
}

static void
op_discard(unsigned i)
{
	uint64_t first = pick_page(i), nr = pick_nr(i, first, 6);
	enum mmk_err expected = MMK_OK, err;

	if (first + nr > PAGES)
		expected = MMK_ERR_INVAL;
	else if (!is_whole(i, first, nr))
		expected = MMK_ERR_NOENT;
	err = mmk_discard(vm_sp(i), va_of(first), nr * PAGE);
	if (err == MMK_ERR_NOMEM && has_failed_now())
		err = mmk_discard(vm_sp(i), va_of(first), nr * PAGE);
	CHECK(err == expected);
	for (uint64_t n = first; n < first + nr && err != MMK_ERR_INVAL; n++)
		if (page_at(i, n)->is_private)
			page_at(i, n)->has_own = false;
}

static void
op_msync(unsigned i)
{
	uint64_t first = pick_page(i), nr = pick_nr(i, first, 10);
	enum mmk_err expected = MMK_OK, err;

	if (first + nr > PAGES)
		expected = MMK_ERR_INVAL;
	else if (!is_whole(i, first, nr))
		expected = MMK_ERR_NOENT;
	err = mmk_msync(vm_sp(i), va_of(first), nr * PAGE);
	if (!is_done(err, expected))
		return;
	for (uint64_t n = first; n < first + nr; n++) {
		struct opage *p = page_at(i, n);

		if (p->is_private || p->object >= NR_FILES ||
		    p->page >= objects[p->object].nr_pages)
			continue;
		CHECK(memcmp(files[p->object].bytes + p->page * PAGE,
		    objects[p->object].bytes[p->page], PAGE) == 0);
	}
}

static void
op_brk(unsigned i)
{
	struct ospace *space = &spaces[i];
	uint64_t end = HEAP_BYTES + pick(HEAP_LIMIT + 200) - 100;
	uint64_t old_top = (space->heap_end + PAGE - 1) / PAGE;
	uint64_t new_top = (end + PAGE - 1) / PAGE;
	enum mmk_err expected = MMK_OK, err;
	mmk_va va = 0;

	if (end < HEAP_BYTES)
		expected = MMK_ERR_INVAL;
	else if (end > HEAP_BYTES + HEAP_LIMIT)
		expected = MMK_ERR_LIMIT;
	else if (new_top > old_top && !is_free(i, old_top, new_top - old_top))
		expected = MMK_ERR_EXIST;
	err = mmk_brk(vm_sp(i), VA + end, &va);
	CHECK(va == VA + (err == MMK_OK ? end : space->heap_end));
	if (!is_done(err, expected))
		return;
	space->heap_end = end;
	if (new_top < old_top)
		clear(i, new_top, old_top - new_top);
	for (uint64_t n = old_top; n < new_top; n++) {
		struct opage *p = page_at(i, n);

		p->is_mapped = true;
		p->is_private = true;
		p->has_own = false;
		p->prot = RW;
		p->max_prot = ALL;
		p->object = ZERO;
	}
}

/* The frame of a page is asked for, and its neighbours: what is there must move. */
static void
op_compact(unsigned i)
{
	struct mmk_compaction effort = { .max_moves = 40 };
	struct mmk_run_request request = { .nr_pages = 1 + pick(3),
		.use = MMK_USE_KERNEL };
	mmk_pa pa = vm_pa(i, va_of(pick_page(i)));
	mmk_pfn first;
	enum mmk_err err;

	if (pa == UINT64_MAX)
		return;
	request.lo_pa = pa;
	request.limit_pa = pa + request.nr_pages * PAGE;
	err = mmk_compact_run(&t.phys, &effort, &request, &first);
	CHECK(err == MMK_OK || err == MMK_ERR_NOSPACE ||
	    (err == MMK_ERR_NOMEM && has_failed_now()));
	if (err == MMK_OK)
		mmk_run_free(&t.phys, first, request.nr_pages);
}

/* Nothing that a program could see. */
static void
op_invisible(unsigned i)
{
	mmk_va va = va_of(pick_page(i));
	struct mmk_entry *entry;
	struct mmk_anon *anon = NULL;

	switch (pick(3)) {
	case 0:
		(void)is_done(mmk_map_split(vm_map(i), va), MMK_OK);
		return;
	case 1:
		(void)mmk_object_evict(named[pick(NR_NAMED)]);
		return;
	default:
		break;
	}
	MMKIT_MUTEX_LOCK(&vm_map(i)->mutex);
	entry = mmk_map_lookup(vm_map(i), va);
	if (entry != NULL && entry->upper.object != NULL &&
	    entry->upper.object->amap != NULL)
		anon = mmk_amap_lookup(entry->upper.object->amap,
		    mmk_entry_page(entry, &entry->upper, va));
	MMKIT_MUTEX_UNLOCK(&vm_map(i)->mutex);
	if (anon != NULL && anon->frame != NULL)
		CHECK(mmk_anon_page_out(&t.vm, anon) == MMK_OK);
}

/* ---- running --------------------------------------------------------- */

#define OP(name) { #name, op_##name }
static const struct {
	const char *name;
	void (*run)(unsigned i);
} ops[] = { OP(mmap), OP(mmap), OP(mmap), OP(munmap), OP(mprotect),
	OP(mprotect), OP(mremap), OP(mremap), OP(fork), OP(exit), OP(write),
	OP(write), OP(write), OP(write), OP(write), OP(read), OP(read),
	OP(discard), OP(msync), OP(brk), OP(invisible), OP(compact),
	OP(compact) };

static void
begin(unsigned arch, bool software_ad)
{
	struct sim_config config = { .ram_bytes = 1536 * PAGE, .nr_cpus = 2,
		.arch = arch, .software_ad = software_ad };

	memset(is_slot_used, 0, sizeof is_slot_used);
	memset(spaces, 0, sizeof spaces);
	memset(objects, 0, sizeof objects);
	run.arch = arch;
	run.step = 0;
	run.op = "begin";
	vm_boot_with(&config, &backing);
	mmk_vm_set_movable(&t.vm, true);
	vm_space_at(0, VA, va_of(PAGES));
	CHECK(mmk_heap_init(vm_sp(0), VA + HEAP_BYTES, HEAP_LIMIT) == MMK_OK);
	spaces[0].is_live = true;
	spaces[0].heap_end = HEAP_BYTES;
	for (int n = 0; n < NR_FILES; n++) {
		objects[n].is_live = true;
		objects[n].nr_pages = n == 0 ? 10 : 4;
		named[n] = vm_file(&files[n], objects[n].nr_pages * PAGE);
		memcpy(objects[n].bytes, files[n].bytes,
		    objects[n].nr_pages * PAGE);
	}
	begin_kept();
}

static void
step(void)
{
	size_t o = (size_t)pick(sizeof ops / sizeof ops[0]);
	unsigned i = (unsigned)pick(VM_SPACES);
	const char *text;

	while (!spaces[i].is_live)
		i = (i + 1) % VM_SPACES;
	run.step++;
	run.op = ops[o].name;
	run.count_before = sim_fail_count();
	ops[o].run(i);
	forget_unshown();
	compare_maps();
	text = mmk_check_text(&t.vm);
	cr_assert_null(text, "MMK_SEED=%llu arch %u step %u k %llu (%s): %s",
	    (unsigned long long)run.seed, run.arch, run.step,
	    (unsigned long long)run.k, run.op, text);
}

static void
end(void)
{
	run.op = "end";
	run.count_before = sim_fail_count();
	compare_contents();
	sim_fail_at(0);
	for (int n = 0; n < NR_NAMED; n++)
		mmk_object_unref(named[n]);
	vm_end();
	for (int n = 0; n < NR_FILES; n++)
		CHECK(files[n].nr_closes == 1);
	for (int n = 0; n < NR_SLOTS; n++)
		CHECK(!is_slot_used[n]);
}

static void
long_run(unsigned arch, bool software_ad, uint64_t seed, unsigned nr_steps)
{
	run.seed = seed;
	run.state = seed * 0x9e3779b97f4a7c15u | 1;
	run.k = 0;
	begin(arch, software_ad);
	for (unsigned n = 0; n < nr_steps; n++) {
		step();
		if (n % 16 == 15) {
			run.op = "compare";
			compare_contents();
		}
	}
	end();
}

#if MMKIT_PAGE_SHIFT == 12
Test(space_prop, random_lives_agree_with_flat_copies_x86_64)
{
	for (unsigned n = 0; n < 6; n++)
		long_run(SIM_ARCH_X86_64, false, mmk_test_seed() + n,
		    mmk_test_steps(500));
}
#endif

Test(space_prop, random_lives_agree_with_flat_copies_aarch64)
{
	for (unsigned n = 0; n < 6; n++)
		long_run(SIM_ARCH_AARCH64, n % 2 == 1, mmk_test_seed() + n,
		    mmk_test_steps(500));
}

/* Short lives, for every k that they meet. */
static void
short_runs(unsigned arch, uint64_t seed, unsigned nr_steps)
{
	bool is_met = true;

	for (uint64_t k = 1; is_met; k++) {
		run.seed = seed;
		run.state = seed * 0x9e3779b97f4a7c15u | 1;
		run.k = k;
		begin(arch, false);
		sim_fail_at(k);
		for (unsigned n = 0; n < nr_steps; n++)
			step();
		is_met = sim_fail_count() >= k;
		end();
	}
}

#if MMKIT_PAGE_SHIFT == 12
Test(space_prop, each_step_happens_or_does_not_whatever_fails_x86_64)
{
	for (unsigned n = 0; n < 4; n++)
		short_runs(SIM_ARCH_X86_64, mmk_test_seed() + n,
		    mmk_test_steps(40));
}
#endif

Test(space_prop, each_step_happens_or_does_not_whatever_fails_aarch64)
{
	for (unsigned n = 0; n < 4; n++)
		short_runs(SIM_ARCH_AARCH64, mmk_test_seed() + n,
		    mmk_test_steps(40));
}
