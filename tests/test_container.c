/* SPDX-License-Identifier: MIT
 *
 * tests/test_container.c: containers: names, credit, memory, rule by rule
 */
#include "container_fixture.h"

#include <pthread.h>

#include "prop.h"

static struct mmk_container *x, *y;

static void
begin(uint64_t nr_pages)
{
	boot(nr_pages);
	x = container(&t.root);
	y = container(&t.root);
}

static void
gone(struct mmk_container *c)
{
	ok(mmk_container_destroy(c));
	mmk_container_unref(c);
}

static void
finish(void)
{
	cr_assert(mmk_physmem_check(&t.physmem));
	gone(x);
	gone(y);
	end();
}

static void
put(struct mmk_container *c, uint64_t name, char byte)
{
	ok(mmk_container_write(c, name, &byte, 1));
}

static char
get(struct mmk_container *c, uint64_t name)
{
	char byte = 0;

	ok(mmk_container_read(c, name, &byte, 1));
	return byte;
}

static void
alloc(struct mmk_container *c, uint64_t start, uint64_t nr_pages)
{
	ok(mmk_container_allocate(c, start, nr_pages * PAGE, 0, NULL));
}

static enum mmk_err
copy(uint64_t from, uint64_t to, uint64_t nr_pages, enum mmk_copy_mode mode,
    unsigned flags)
{
	return mmk_container_copy(x, from, y, to, nr_pages * PAGE, mode, flags,
	    NULL);
}

static struct mmk_centry_info
info_of(struct mmk_container *c, uint64_t name)
{
	struct mmk_centry_info info;

	ok(mmk_container_lookup(c, name, &info));
	return info;
}

/* What was granted, by the last request. */
static struct {
	mmk_pa pa;
	uint64_t name, nr_pages;
	unsigned nr_calls, nr_revokes;
} seen;

static enum mmk_err
see(void *ctx, uint64_t name, mmk_pa pa, uint64_t nr_pages, unsigned access)
{
	(void)access;
	if (ctx != NULL && seen.nr_calls == *(unsigned *)ctx)
		return MMK_ERR_LIMIT;
	seen.nr_calls++;
	seen.name = name;
	seen.pa = pa;
	seen.nr_pages = nr_pages;
	return MMK_OK;
}

static void
unsee(void *ctx, struct mmk_frame *frame, unsigned keep)
{
	(void)ctx;
	(void)frame;
	(void)keep;
	seen.nr_revokes++;
}

static const struct mmk_container_sink sink = { see, NULL };
static const struct mmk_physmem_plug plug = { unsee, NULL };

Test(container, S1_7_reclaim_at_task_end_is_destroying_its_control)
{
	struct mmk_control child;
	struct mmk_container *z;

	begin(64);
	ok(mmk_control_split(&t.root, &child, 10));
	z = container(&child);
	alloc(z, 0, 5);
	put(z, 4 * PAGE, 'z');
	ok(mmk_control_destroy(&child));
	cr_assert_eq(free_credit(&t.root), 64u);
	cr_assert_eq(mmk_container_allocate(z, 0, PAGE, 0, NULL),
	    MMK_ERR_NOENT);
	cr_assert_eq(mmk_container_destroy(z), MMK_ERR_NOENT);
	mmk_container_unref(z);
	mmk_control_unref(&child);
	finish();
}

Test(container, S1_10_names_refer_to_bytes)
{
	begin(64);
	alloc(x, 0x5000, 2);
	alloc(x, 0u - 2 * PAGE, 2);
	cr_assert_eq(info_of(x, 0x5000 + 17).offset_bytes, 17u);
	put(x, UINT64_MAX, 'e');
	cr_assert_eq(get(x, UINT64_MAX), 'e');
	cr_assert_eq(info_of(x, UINT64_MAX).start, 0u - 2 * PAGE);
	cr_assert_eq(mmk_container_read(x, 0x4fff, &(char){ 0 }, 1),
	    MMK_ERR_NOENT);
	cr_assert_eq(mmk_container_read(x, UINT64_MAX, &(char[2]){ 0 }, 2),
	    MMK_ERR_INVAL);
	finish();
}

/* No answer but that of map has an address, and none is given before. */
Test(container, S1_11_contents_have_an_address_only_by_map)
{
	memset(&seen, 0, sizeof seen);
	begin(64);
	alloc(x, 0, 4);
	cr_assert(!info_of(x, 0).is_bound, "nor is there anything to address");
	put(x, 0, 'a');
	ok(copy(0, 0, 4, MMK_COPY_COW, 0));
	cr_assert_eq(get(y, 0), 'a');
	cr_assert_eq(seen.nr_calls, 0u);
	ok(mmk_container_map(x, 0, PAGE, MMK_PROT_READ, &sink));
	cr_assert_eq(seen.nr_calls, 1u);
	cr_assert_eq(*(char *)MMKIT_PHYS_TO_PTR(seen.pa), 'a');
	cr_assert_eq(seen.nr_pages, 1u, "and no more than was asked for");
	cr_assert_eq(mmk_container_map(x, 4 * PAGE, PAGE, MMK_PROT_READ,
	    &sink), MMK_ERR_NOENT);
	cr_assert_eq(seen.nr_calls, 1u);
	finish();
}

Test(container, S1_14_allocation_is_all_or_none_or_says_how_much)
{
	uint64_t nr_done = 7;

	begin(9);
	alloc(x, 0x5000, 7);
	cr_assert_eq(info_of(x, 0xbfff).start, 0x8000u);
	cr_assert_eq(mmk_container_allocate(x, 0x3000, 3 * PAGE, 0, &nr_done),
	    MMK_ERR_EXIST);
	cr_assert_eq(mmk_container_allocate(x, 0, 3 * PAGE, 0, &nr_done),
	    MMK_ERR_LIMIT);
	cr_assert_eq(nr_done, 7u, "untouched");
	ok(mmk_container_allocate(x, 0x4000, 3 * PAGE, MMK_CONTAINER_PARTIAL,
	    &nr_done));
	cr_assert_eq(nr_done, PAGE, "as far as what is there");
	ok(mmk_container_allocate(x, 0x10000, 3 * PAGE, MMK_CONTAINER_PARTIAL,
	    &nr_done));
	cr_assert_eq(nr_done, PAGE, "as far as there is credit");
	ok(mmk_container_allocate(x, 0x5000, 7 * PAGE, MMK_CONTAINER_SQUASH,
	    &nr_done));
	cr_assert_eq(free_credit(&t.root), 0u);
	cr_assert_eq(mmk_container_allocate(x, 1, PAGE, 0, NULL),
	    MMK_ERR_INVAL);
	cr_assert_eq(mmk_container_allocate(x, 0, 0, 0, NULL), MMK_ERR_INVAL);
	cr_assert_eq(mmk_container_allocate(x, 0u - PAGE, 2 * PAGE, 0, NULL),
	    MMK_ERR_INVAL);
	cr_assert_eq(mmk_container_allocate(x, 0, PAGE, 64, NULL),
	    MMK_ERR_INVAL);
	finish();
}

Test(container, S1_15_a_range_becomes_powers_of_two)
{
	begin(64);
	alloc(x, 0, 7);
	cr_assert_eq(info_of(x, 3 * PAGE).nr_bytes, 4 * PAGE);
	cr_assert_eq(info_of(x, 5 * PAGE + 3).start, 4 * PAGE);
	cr_assert_eq(info_of(x, 5 * PAGE + 3).nr_bytes, 2 * PAGE);
	cr_assert_eq(info_of(x, 6 * PAGE).nr_bytes, PAGE);
	alloc(y, PAGE, 3);
	cr_assert_eq(info_of(y, PAGE).nr_bytes, PAGE);
	cr_assert_eq(info_of(y, 2 * PAGE).nr_bytes, 2 * PAGE);
	ok(mmk_container_map(x, 0, 4 * PAGE, MMK_PROT_READ, &sink));
	cr_assert_eq(seen.pa % (4 * PAGE), 0u, "memory aligned to its size");
	finish();
}

Test(container, S1_16_a_map_request_spans_frames_and_starts_amid_one)
{
	unsigned nr_allowed = 1;
	const struct mmk_container_sink failing = { see, &nr_allowed };

	begin(64);
	memset(&seen, 0, sizeof seen);
	alloc(x, 0, 7);
	put(x, 6 * PAGE, 'l');
	ok(mmk_container_map(x, 3 * PAGE, 4 * PAGE, MMK_PROT_READ, &sink));
	cr_assert_eq(seen.nr_calls, 3u);
	cr_assert_eq(seen.name, 6 * PAGE);
	cr_assert_eq(*(char *)MMKIT_PHYS_TO_PTR(seen.pa), 'l');
	cr_assert_eq(mmk_container_map(x, 1, PAGE, MMK_PROT_READ, &sink),
	    MMK_ERR_INVAL);
	cr_assert_eq(mmk_container_map(x, 0, PAGE, MMK_PROT_WRITE, &sink),
	    MMK_ERR_INVAL);
	cr_assert_eq(mmk_container_map(x, 0, PAGE, MMK_PROT_ALL, &sink),
	    MMK_ERR_INVAL);
	seen.nr_calls = 0;
	cr_assert_eq(mmk_container_map(x, 0, 7 * PAGE, MMK_PROT_READ,
	    &failing), MMK_ERR_LIMIT);
	finish();
}

Test(container, B1_e_a_map_that_starts_in_a_hole_is_an_error)
{
	begin(64);
	memset(&seen, 0, sizeof seen);
	alloc(x, PAGE, 2);
	cr_assert_eq(mmk_container_map(x, 0, 2 * PAGE, MMK_PROT_READ, &sink),
	    MMK_ERR_NOENT);
	cr_assert_eq(mmk_container_map(x, 2 * PAGE, 2 * PAGE, MMK_PROT_READ,
	    &sink), MMK_ERR_NOENT);
	cr_assert_eq(seen.nr_calls, 0u, "not even a part of it");
	finish();
}

Test(container, S1_17_memory_moves_and_the_next_request_finds_it)
{
	struct mmk_frame *from, *to;
	mmk_pa pa;

	boot_with(64, &plug, false);
	x = container(&t.root);
	y = container(&t.root);
	memset(&seen, 0, sizeof seen);
	alloc(x, 0, 1);
	put(x, 0, 'm');
	ok(copy(0, 0, 1, MMK_COPY_COW, 0));
	ok(mmk_container_map(x, 0, PAGE, MMK_PROT_READ, &sink));
	pa = seen.pa;
	from = mmk_frame_of_pa(&t.phys, pa);
	ok(mmk_frame_isolate(&t.phys, from));
	ok(mmk_frame_alloc(&t.phys, 0, 0, MMK_USE_CONTAINER, &to));
	ok(mmk_frame_move(&t.phys, from, to));
	(void)mmk_frame_unref(&t.phys, from);
	cr_assert_eq(seen.nr_revokes, 1u);
	ok(mmk_container_map(x, 0, PAGE, MMK_PROT_READ, &sink));
	cr_assert_neq(seen.pa, pa);
	cr_assert_eq(get(x, 0), 'm');
	cr_assert_eq(get(y, 0), 'm');
	finish();
}

Test(container, S1_20_a_pin_keeps_place_memory_and_charge)
{
	struct mmk_compaction effort = { &t.pins, 1000, 0 };
	struct mmk_cpin *pins[5];
	struct mmk_frame *block;
	mmk_pa pa = 0;

	begin(64);
	sim_set_clock_ns(1);
	alloc(x, 0, 4);
	put(x, PAGE, 'p');
	cr_assert_eq(mmk_container_pin(x, PAGE, 2000, &pins[0], &pa),
	    MMK_ERR_LIMIT, "longer than the limit");
	ok(mmk_container_pin(x, PAGE + 1, 100, &pins[0], &pa));
	cr_assert_eq(*(char *)MMKIT_PHYS_TO_PTR(pa - 1), 'p');
	for (unsigned i = 1; i < 4; i++)
		ok(mmk_container_pin(x, PAGE, 50, &pins[i], &pa));
	cr_assert_eq(mmk_container_pin(x, PAGE, 50, &pins[4], &pa),
	    MMK_ERR_LIMIT, "too many");
	cr_assert_eq(mmk_container_deallocate(x, PAGE, PAGE, 0, NULL),
	    MMK_ERR_BUSY, "a part of what is pinned");
	cr_assert_eq(mmk_container_release(x, 0, 4 * PAGE), MMK_ERR_BUSY);
	ok(copy(0, 0, 4, MMK_COPY_COW, 0));
	cr_assert_eq(t.physmem.counters.nr_copies, 1u, "copied at once");
	put(x, PAGE, 'q');
	cr_assert_eq(*(char *)MMKIT_PHYS_TO_PTR(pa), 'q', "not moved away");
	cr_assert_eq(get(y, PAGE), 'p');
	ok(mmk_container_deallocate(y, 0, 4 * PAGE, 0, NULL));
	ok(mmk_container_deallocate(x, 0, 4 * PAGE, 0, NULL));
	cr_assert_eq(free_credit(&t.root), 60u, "charged while it is pinned");
	if (mmk_compact_frame(&t.phys, &effort, 8, 0, MMK_USE_KERNEL, &block) ==
	    MMK_OK)
		(void)mmk_frame_unref(&t.phys, block);
	cr_assert_eq(*(char *)MMKIT_PHYS_TO_PTR(pa), 'q', "nobody else's");
	sim_set_clock_ns(60);
	mmk_physmem_expire(&t.physmem);
	cr_assert_eq(free_credit(&t.root), 60u, "one goes on");
	sim_set_clock_ns(102);
	mmk_physmem_expire(&t.physmem);
	cr_assert_eq(free_credit(&t.root), 64u);
	for (unsigned i = 0; i < 4; i++)
		cr_assert(!mmk_container_unpin(&t.physmem, pins[i]));
	finish();
}

Test(container, S1_21_release_keeps_the_names_and_copies_nothing)
{
	begin(64);
	alloc(x, 0, 4);
	put(x, PAGE, 'a');
	ok(copy(0, 16 * PAGE, 4, MMK_COPY_COW, 0));
	cr_assert_eq(get(y, 17 * PAGE), 'a');
	ok(mmk_container_release(y, 16 * PAGE, 4 * PAGE));
	cr_assert_eq(get(y, 17 * PAGE), 0);
	put(x, PAGE, 'b');
	cr_assert_eq(t.physmem.counters.nr_copies, 0u);
	cr_assert_eq(free_credit(&t.root), 64u - 8);
	finish();
}

Test(container, S1_21_what_was_released_is_no_longer_mapped)
{
	boot_with(64, &plug, false);
	x = container(&t.root);
	y = container(&t.root);
	alloc(x, 0, 1);
	put(x, 0, 'r');
	ok(copy(0, 0, 1, MMK_COPY_SHARE, 0));
	ok(mmk_container_map(y, 0, PAGE, MMK_PROT_READ, &sink));
	seen.nr_revokes = 0;
	ok(mmk_container_release(y, 0, PAGE));
	cr_assert_eq(seen.nr_revokes, 1u);
	cr_assert_eq(get(x, 0), 'r');
	cr_assert_eq(get(y, 0), 0);
	finish();
}

/* What a hundred sharers that give up one after the other cost. */
static uint64_t
hundred_sharers(bool is_eager)
{
	struct mmk_container *sharers[100];

	boot_with(256, &plug, is_eager);
	memset(&seen, 0, sizeof seen);
	x = container(&t.root);
	y = container(&t.root);
	alloc(x, 0, 1);
	put(x, 0, 'l');
	for (unsigned i = 0; i < 100; i++) {
		sharers[i] = container(&t.root);
		ok(mmk_container_copy(x, 0, sharers[i], 0, PAGE, MMK_COPY_SHARE,
		    MMK_CONTAINER_READONLY, NULL));
	}
	for (unsigned i = 0; i < 100; i++)
		ok(mmk_container_map(sharers[i], 0, PAGE, MMK_PROT_READ,
		    &sink));
	for (unsigned i = 0; i < 100; i++) {
		ok(mmk_container_deallocate(sharers[i], 0, PAGE, 0, NULL));
		if (i < 99)
			ok(mmk_container_map(sharers[i + 1], 0, PAGE,
			    MMK_PROT_READ, &sink));
		cr_assert_eq(get(x, 0), 'l');
	}
	put(x, 0, 'w'); /* what is left goes before this is written */
	cr_assert_gt(seen.nr_revokes, 0u);
	for (unsigned i = 0; i < 100; i++)
		gone(sharers[i]);
	finish();
	return seen.nr_revokes;
}

Test(container, S1_22_unmapping_lazily_costs_fewer_shootdowns)
{
	uint64_t nr_lazy = hundred_sharers(false);
	uint64_t nr_eager = hundred_sharers(true);

	cr_assert_eq(nr_lazy, 1u);
	cr_assert_eq(nr_eager, 100u);
}

/* What overlaps is equal: any name of an entry finds it, none is in two. */
Test(container, S1_24_an_entry_is_found_by_any_name_of_it)
{
	const uint64_t top = 0u - 4 * PAGE;

	begin(64);
	alloc(x, 4 * PAGE, 4);
	alloc(x, 8 * PAGE, 1);
	alloc(x, top, 4);
	for (uint64_t name = 4 * PAGE; name < 8 * PAGE; name += PAGE / 2) {
		cr_assert_eq(info_of(x, name).start, 4 * PAGE);
		cr_assert_eq(info_of(x, name).nr_bytes, 4 * PAGE);
		cr_assert_eq(info_of(x, name).offset_bytes, name - 4 * PAGE);
	}
	cr_assert_eq(info_of(x, 8 * PAGE).start, 8 * PAGE);
	cr_assert_eq(info_of(x, UINT64_MAX).start, top);
	for (uint64_t start = PAGE; start < 9 * PAGE; start += PAGE)
		for (uint64_t nr = 1; nr <= 9; nr++) {
			struct mmk_centry_info info;
			bool overlaps = start + nr * PAGE > 4 * PAGE;

			cr_assert_eq(mmk_container_allocate(x, start,
			    nr * PAGE, 0, NULL),
			    overlaps ? MMK_ERR_EXIST : MMK_OK);
			if (overlaps)
				continue;
			ok(mmk_container_deallocate(x, start, nr * PAGE, 0,
			    NULL));
			cr_assert_eq(mmk_container_lookup(x, start, &info),
			    MMK_ERR_NOENT);
		}
	ok(mmk_container_deallocate(x, 5 * PAGE, PAGE, 0, NULL));
	cr_assert_eq(info_of(x, 4 * PAGE).nr_bytes, PAGE);
	cr_assert_eq(info_of(x, 6 * PAGE).start, 6 * PAGE);
	finish();
}

Test(container, S1_25_one_frame_three_entries)
{
	begin(64);
	alloc(x, 0, 1);
	put(x, 0, 's');
	ok(copy(0, 0, 1, MMK_COPY_SHARE, 0));
	ok(copy(0, PAGE, 1, MMK_COPY_SHARE, MMK_CONTAINER_READONLY));
	cr_assert_eq(info_of(x, 0).nr_sharers, 3u);
	cr_assert_eq(info_of(y, PAGE).access, MMK_PROT_READ);
	cr_assert_eq(mmk_container_write(y, PAGE, "n", 1), MMK_ERR_ACCESS);
	put(y, 0, 't');
	cr_assert_eq(get(x, 0), 't');
	ok(mmk_container_deallocate(x, 0, PAGE, 0, NULL));
	cr_assert_eq(get(y, PAGE), 't');
	finish();
}

Test(container, S1_26_the_unshared_parts_of_a_frame_go_at_once)
{
	uint64_t nr_before;

	begin(64);
	mmk_phys_drain(&t.phys);
	alloc(x, 0, 4);
	for (unsigned i = 0; i < 4; i++)
		put(x, i * PAGE, (char)('a' + (int)i));
	nr_before = nr_free();
	ok(copy(PAGE, 0, 2, MMK_COPY_SHARE, 0));
	ok(mmk_container_deallocate(x, 0, 4 * PAGE, 0, NULL));
	cr_assert_eq(nr_free(), nr_before + 2);
	cr_assert_eq(get(y, 0), 'b');
	cr_assert_eq(get(y, PAGE), 'c');
	cr_assert_eq(free_credit(&t.root), 62u);
	finish();
}

Test(container, S1_27_share_copy_and_move)
{
	begin(20);
	alloc(x, 0, 4);
	put(x, 0, '1');
	ok(copy(0, 0, 4, MMK_COPY_SHARE, 0));
	ok(copy(0, 8 * PAGE, 4, MMK_COPY_COW, 0));
	put(x, 0, '2');
	cr_assert_eq(get(y, 0), '2');
	cr_assert_eq(get(y, 8 * PAGE), '1');
	cr_assert_eq(copy(0, 0, 4, MMK_COPY_COW, 0), MMK_ERR_EXIST);
	ok(copy(0, 0, 4, MMK_COPY_COW, MMK_CONTAINER_SQUASH));
	put(x, 0, '3');
	cr_assert_eq(get(y, 0), '2');
	cr_assert_eq(free_credit(&t.root), 8u);
	ok(copy(0, 16 * PAGE, 4, MMK_COPY_MOVE, 0));
	cr_assert_eq(get(y, 16 * PAGE), '3');
	cr_assert_eq(mmk_container_read(x, 0, &(char){ 0 }, 1), MMK_ERR_NOENT);
	cr_assert_eq(free_credit(&t.root), 8u);
	cr_assert_eq(copy(0, 0, 1, MMK_COPY_COW, 0), MMK_ERR_NOENT);
	finish();
}

static void
yield_extra(void *ctx, uint64_t nr_pages)
{
	(void)ctx;
	(void)mmk_physmem_revoke_extra(&t.physmem, nr_pages);
}

Test(container, S1_27_extra_frames_yield_to_what_is_guaranteed)
{
	struct mmk_control child, other;

	begin(16);
	t.tree.plug.revoke_extra = yield_extra;
	ok(mmk_control_split(&t.root, &child, 4));
	gone(y);
	y = container(&child);
	alloc(y, 0, 4);
	cr_assert_eq(mmk_container_allocate(y, 8 * PAGE, PAGE, 0, NULL),
	    MMK_ERR_LIMIT);
	ok(mmk_container_allocate(y, 8 * PAGE, 8 * PAGE, MMK_CONTAINER_EXTRA,
	    NULL));
	put(y, 8 * PAGE, 'x');
	ok(mmk_control_split(&t.root, &other, 10));
	cr_assert_eq(mmk_container_read(y, 8 * PAGE, &(char){ 0 }, 1),
	    MMK_ERR_NOENT, "revoked");
	cr_assert_eq(get(y, 3 * PAGE), 0, "guaranteed");
	gone(y);
	ok(mmk_control_destroy(&other));
	ok(mmk_control_destroy(&child));
	mmk_control_unref(&other);
	mmk_control_unref(&child);
	y = container(&t.root);
	finish();
}

Test(container, B1_f_copy_within_one_container)
{
	begin(64);
	alloc(x, 0, 4);
	put(x, 0, 'o');
	ok(mmk_container_copy(x, 0, x, 8 * PAGE, 4 * PAGE, MMK_COPY_COW, 0,
	    NULL));
	ok(mmk_container_copy(x, 0, x, 16 * PAGE, 4 * PAGE, MMK_COPY_SHARE, 0,
	    NULL));
	put(x, 16 * PAGE, 'p');
	cr_assert_eq(get(x, 0), 'p');
	cr_assert_eq(get(x, 8 * PAGE), 'o');
	cr_assert_eq(mmk_container_copy(x, 0, x, 2 * PAGE, 4 * PAGE,
	    MMK_COPY_COW, MMK_CONTAINER_SQUASH, NULL), MMK_ERR_INVAL);
	cr_assert_eq(get(x, 0), 'p');
	finish();
}

/* ---- every k ------------------------------------------------------------- */

static enum mmk_err
every_operation(unsigned which)
{
	struct mmk_container *z;
	enum mmk_err err;

	switch (which) {
	case 0: return mmk_container_allocate(x, 32 * PAGE, 7 * PAGE, 0, NULL);
	case 1: return mmk_container_allocate(x, PAGE, 3 * PAGE,
	    MMK_CONTAINER_SQUASH, NULL);
	case 2: return mmk_container_deallocate(x, PAGE, PAGE, 0, NULL);
	case 3: return mmk_container_release(x, PAGE, 2 * PAGE);
	case 4: return copy(PAGE, 40 * PAGE, 5, MMK_COPY_SHARE, 0);
	case 5: return copy(PAGE, 40 * PAGE, 5, MMK_COPY_COW, 0);
	case 6: return copy(PAGE, 40 * PAGE, 5, MMK_COPY_MOVE, 0);
	case 7: return copy(PAGE, PAGE, 2, MMK_COPY_COW, MMK_CONTAINER_SQUASH);
	case 8: return mmk_container_write(x, 0, "w", 1);
	case 9: return mmk_container_map(x, 0, 8 * PAGE,
	    MMK_PROT_READ | MMK_PROT_WRITE, &sink);
	default:
		err = mmk_container_create(&t.physmem, &t.root, &z);
		if (err == MMK_OK)
			gone(z);
		return err;
	}
}

/* Every byte there is, and what is allocated. */
static uint64_t
digest(void)
{
	uint64_t sum = free_credit(&t.root);

	for (unsigned n = 0; n < 64; n++) {
		struct mmk_container *both[2] = { x, y };

		for (unsigned i = 0; i < 2; i++) {
			char byte = 'n';

			(void)!mmk_container_read(both[i], n * PAGE, &byte, 1);
			sum = sum * 31 + (unsigned char)byte;
		}
	}
	return sum;
}

Test(container, B1_h_the_kth_allocation_fails_and_nothing_has_changed)
{
	for (unsigned which = 0; which <= 10; which++) {
		bool is_met = true;

		for (uint64_t k = 1; is_met; k++) {
			uint64_t before;
			enum mmk_err err;

			begin(64);
			alloc(x, 0, 8);
			put(x, PAGE, 'a');
			put(x, 4 * PAGE, 'b');
			ok(copy(0, 0, 8, MMK_COPY_COW, 0));
			before = digest();
			sim_fail_at(k);
			err = every_operation(which);
			is_met = sim_fail_count() >= k;
			sim_fail_at(0);
			cr_assert(mmk_physmem_check(&t.physmem));
			if (err != MMK_OK) {
				cr_assert_eq(err, MMK_ERR_NOMEM);
				cr_assert_eq(digest(), before,
				    "operation %u, k = %u", which, (unsigned)k);
				ok(every_operation(which));
			}
			finish();
			cr_assert_lt(k, 100u);
		}
	}
}

/* ---- threads ------------------------------------------------------------- */

static void *
churn(void *arg)
{
	unsigned me = (unsigned)(uintptr_t)arg;
	uint64_t state = mmk_test_seed() * 77 + me;

	sim_set_cpu(me);
	for (unsigned i = 0; i < mmk_test_steps(2000); i++) {
		uint64_t r = mmk_test_random(&state) >> 8;
		uint64_t name = (r >> 4) % 24 * PAGE, to = (r >> 9) % 24 * PAGE;
		uint64_t bytes = (1 + (r >> 14) % 8) * PAGE;
		struct mmk_container *a = (r >> 20) % 2 != 0 ? x : y;
		struct mmk_container *b = a == x ? y : x;
		char byte = 0;

		switch (r % 6) {
		case 0:
			(void)!mmk_container_allocate(a, name, bytes,
			    MMK_CONTAINER_PARTIAL, NULL);
			break;
		case 1:
			(void)!mmk_container_deallocate(a, name, bytes,
			    MMK_CONTAINER_PARTIAL, NULL);
			break;
		case 2:
			(void)!mmk_container_copy(a, name, b, to, bytes,
			    (enum mmk_copy_mode)((r >> 24) % 3),
			    MMK_CONTAINER_SQUASH, NULL);
			break;
		case 3:
			(void)!mmk_container_write(a, name, &byte, 1);
			break;
		case 4:
			(void)!mmk_container_read(a, name, &byte, 1);
			break;
		default:
			(void)!mmk_container_release(a, name, bytes);
			break;
		}
	}
	return NULL;
}

static void
many(unsigned nr_threads)
{
	pthread_t threads[4];

	begin(64);
	for (unsigned i = 0; i < nr_threads; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, churn,
		    (void *)(uintptr_t)i), 0);
	for (unsigned i = 0; i < nr_threads; i++)
		pthread_join(threads[i], NULL);
	sim_set_cpu(0);
	finish();
}

Test(container, S1_27_copies_in_opposite_directions_do_not_deadlock)
{
	many(2);
}

Test(container, four_threads_leave_everything_in_order)
{
	many(4);
}
