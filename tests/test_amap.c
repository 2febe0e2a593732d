/* SPDX-License-Identifier: MIT
 *
 * tests/test_amap.c: the contract of vm/anon.h and vm/amap.h
 */
#include "vm_fixture.h"

#include <signal.h>

#include "prop.h"

static void
setup(void)
{
	vm_boot(SIM_ARCH_X86_64);
	MMKIT_LOCK(&t.vm.lock);
}

static void
teardown(void)
{
	MMKIT_UNLOCK(&t.vm.lock);
	vm_end();
}

TestSuite(amap, .init = setup, .fini = teardown);

static struct mmk_amap *
amap_of(const uint64_t *pages, size_t nr_pages)
{
	struct mmk_amap *amap = mmk_amap_create(&t.vm);

	cr_assert_not_null(amap);
	for (size_t i = 0; i < nr_pages; i++) {
		struct mmk_anon *anon = mmk_anon_create_resident(&t.vm, 0);

		cr_assert_not_null(anon);
		cr_assert_eq(mmk_amap_insert(&t.vm, amap, pages[i], anon),
		    MMK_OK);
	}
	return amap;
}

Test(amap, empty_has_nothing)
{
	struct mmk_amap *amap = amap_of(NULL, 0);
	uint64_t page = 0;

	cr_assert_null(mmk_amap_lookup(amap, 0));
	cr_assert_null(mmk_amap_lookup(amap, MMK_AMAP_MAX_PAGE));
	cr_assert_null(mmk_amap_next(amap, &page));
	cr_assert_eq(page, 0u, "untouched");
	cr_assert(mmk_amap_check(amap));
	mmk_amap_unref(&t.vm, amap);
}

Test(amap, S2_4_costs_what_is_touched)
{
	static const uint64_t pages[] = { 7 };
	struct mmk_amap *amap = amap_of(pages, 1);

	cr_assert_eq(mmk_pool_nr_used(&t.vm.slots_pool), 1u, "one page, one node");
	mmk_amap_unref(&t.vm, amap);
	cr_assert_eq(mmk_pool_nr_used(&t.vm.slots_pool), 0u);
}

Test(amap, far_apart_pages_are_found_in_order)
{
	static const uint64_t pages[] = { MMK_AMAP_MAX_PAGE, 0,
		(uint64_t)1 << 36, 31, 32, 1023, 1024 };
	static const uint64_t sorted[] = { 0, 31, 32, 1023, 1024,
		(uint64_t)1 << 36, MMK_AMAP_MAX_PAGE };
	struct mmk_amap *amap = amap_of(pages, 7);
	uint64_t page = 0;

	for (size_t i = 0; i < 7; i++, page++) {
		cr_assert_not_null(mmk_amap_next(amap, &page));
		cr_assert_eq(page, sorted[i]);
		cr_assert_not_null(mmk_amap_lookup(amap, page));
		cr_assert_null(mmk_amap_lookup(amap, sorted[i] + 2));
	}
	cr_assert(mmk_amap_check(amap));
	mmk_amap_unref(&t.vm, amap);
	cr_assert_eq(mmk_pool_nr_used(&t.vm.anon_pool), 0u);
}

Test(amap, erase_range_takes_only_the_range)
{
	static const uint64_t pages[] = { 9, 10, 11, 40, 41, 5000 };
	struct mmk_amap *amap = amap_of(pages, 6);

	mmk_amap_erase_range(&t.vm, amap, 10, 31);
	cr_assert_not_null(mmk_amap_lookup(amap, 9));
	cr_assert_null(mmk_amap_lookup(amap, 10));
	cr_assert_null(mmk_amap_lookup(amap, 11));
	cr_assert_null(mmk_amap_lookup(amap, 40));
	cr_assert_not_null(mmk_amap_lookup(amap, 41));
	cr_assert_not_null(mmk_amap_lookup(amap, 5000));
	cr_assert_eq(amap->nr_anons, 3u);
	mmk_amap_unref(&t.vm, amap);
}

Test(amap, copy_shares_every_anon_and_no_page)
{
	static const uint64_t pages[] = { 1, 100, 10000 };
	struct mmk_amap *amap = amap_of(pages, 3);
	uint64_t nr_anon_pages = vm_nr_anon_pages();
	struct mmk_amap *copy = mmk_amap_copy(&t.vm, amap);

	cr_assert_not_null(copy);
	cr_assert_eq(vm_nr_anon_pages(), nr_anon_pages);
	for (size_t i = 0; i < 3; i++) {
		cr_assert_eq(mmk_amap_lookup(copy, pages[i]),
		    mmk_amap_lookup(amap, pages[i]));
		cr_assert_eq(mmk_amap_lookup(copy, pages[i])->refs, 2u);
	}
	mmk_amap_unref(&t.vm, amap);
	cr_assert_eq(mmk_amap_lookup(copy, 100)->refs, 1u);
	mmk_amap_unref(&t.vm, copy);
}

Test(amap, copy_that_runs_out_of_memory_changes_nothing)
{
	static const uint64_t pages[] = { 1, 100, 10000, 1000000 };
	struct mmk_amap *amap = amap_of(pages, 4), *copy = NULL;
	uint64_t k = 0;

	while (copy == NULL) {
		uint64_t nr_nodes = mmk_pool_nr_used(&t.vm.slots_pool);

		sim_fail_at(++k);
		copy = mmk_amap_copy(&t.vm, amap);
		sim_fail_at(0);
		if (copy != NULL)
			break;
		cr_assert_eq(mmk_pool_nr_used(&t.vm.slots_pool), nr_nodes);
		cr_assert_eq(mmk_pool_nr_used(&t.vm.amap_pool), 1u);
		for (size_t i = 0; i < 4; i++)
			cr_assert_eq(mmk_amap_lookup(amap, pages[i])->refs,
			    1u);
	}
	cr_assert_gt(k, 8u, "it allocates an amap and nodes");
	mmk_amap_unref(&t.vm, copy);
	mmk_amap_unref(&t.vm, amap);
}

Test(amap, insert_that_runs_out_of_memory_changes_nothing)
{
	static const uint64_t pages[] = { 3 };
	struct mmk_amap *amap = amap_of(pages, 1);
	struct mmk_anon *anon = mmk_anon_create_resident(&t.vm, 0);
	enum mmk_err err = MMK_ERR_NOMEM;

	for (uint64_t k = 1; err != MMK_OK; k++) {
		sim_fail_at(k);
		err = mmk_amap_insert(&t.vm, amap, (uint64_t)1 << 40, anon);
		sim_fail_at(0);
		cr_assert(err == MMK_OK || err == MMK_ERR_NOMEM);
		if (err == MMK_OK)
			break;
		cr_assert_eq(mmk_pool_nr_used(&t.vm.slots_pool), 1u);
		cr_assert_eq(amap->nr_anons, 1u);
		cr_assert(mmk_amap_check(amap));
	}
	cr_assert_eq(mmk_amap_lookup(amap, (uint64_t)1 << 40), anon);
	cr_assert_not_null(mmk_amap_lookup(amap, 3));
	mmk_amap_unref(&t.vm, amap);
}

Test(amap, replace_swaps_in_place)
{
	static const uint64_t pages[] = { 3 };
	struct mmk_amap *amap = amap_of(pages, 1);
	struct mmk_anon *old = mmk_amap_lookup(amap, 3);
	struct mmk_anon *anon = mmk_anon_create_resident(&t.vm, 0);

	cr_assert_eq(mmk_amap_replace(amap, 3, anon), old);
	cr_assert_eq(mmk_amap_lookup(amap, 3), anon);
	mmk_anon_unref(&t.vm, old);
	mmk_amap_unref(&t.vm, amap);
}

/* Each term of the one rule of copy-on-write, alone, forbids it. */
Test(amap, S2_9_write_in_place_needs_every_count_at_one)
{
	static const uint64_t pages[] = { 3 };
	struct mmk_amap *amap = amap_of(pages, 1);
	struct mmk_anon *anon = mmk_amap_lookup(amap, 3);

	cr_assert(mmk_amap_may_write_in_place(amap, anon));
	amap->refs = 2;
	cr_assert(!mmk_amap_may_write_in_place(amap, anon));
	amap->refs = 1;
	mmk_anon_ref(anon);
	cr_assert(!mmk_amap_may_write_in_place(amap, anon));
	mmk_anon_unref(&t.vm, anon);
	mmk_frame_ref(&t.phys, anon->frame);
	cr_assert(!mmk_amap_may_write_in_place(amap, anon));
	(void)mmk_frame_unref(&t.phys, anon->frame);
	anon->frame->loans = 1;
	cr_assert(!mmk_amap_may_write_in_place(amap, anon));
	anon->frame->loans = 0;
	cr_assert(mmk_amap_may_write_in_place(amap, anon));
	mmk_amap_unref(&t.vm, amap);
}

/* A page two anons refer to lists both. */
Test(amap, S2_2_a_page_knows_every_anon_of_it)
{
	struct mmk_anon *a = mmk_anon_create_resident(&t.vm, 0);
	struct mmk_anon *b = mmk_anon_create(&t.vm);
	struct mmk_frame *frame = a->frame;

	cr_assert_eq(frame->use, (uint8_t)MMK_USE_ANON);
	mmk_frame_ref(&t.phys, frame);
	mmk_anon_attach(b, frame);
	cr_assert_eq(frame->owner, (void *)b);
	cr_assert_eq(b->sharer, a);
	cr_assert_null(a->sharer);
	mmk_anon_unref(&t.vm, a);
	cr_assert_eq(frame->owner, (void *)b);
	cr_assert_null(b->sharer);
	cr_assert_eq(frame->refs, 1u);
	mmk_anon_unref(&t.vm, b);
	cr_assert_eq(vm_nr_anon_pages(), 0u);
}

enum { PROP_PAGES = 4096, PROP_CLUSTER = 128 };

/* Pages cluster, so that nodes fill and empty; some lie far off. */
static uint64_t
random_page(uint64_t *seed)
{
	uint64_t r = mmk_test_random(seed);
	uint64_t page = r % ((r >> 36) % 2 == 0 ? PROP_PAGES : PROP_CLUSTER);

	return (r >> 32) % 8 == 0 ? page << 30 : page;
}

struct oracle {
	uint64_t pages[256];
	size_t nr_pages;
};

static size_t
oracle_find(const struct oracle *oracle, uint64_t page)
{
	size_t i = 0;

	while (i < oracle->nr_pages && oracle->pages[i] != page)
		i++;
	return i;
}

static void
step(struct mmk_amap *amap, struct oracle *oracle, uint64_t *seed)
{
	uint64_t page = random_page(seed), next = page, want = UINT64_MAX;
	size_t i = oracle_find(oracle, page);

	cr_assert_eq(mmk_amap_lookup(amap, page) != NULL,
	    i < oracle->nr_pages);
	for (size_t j = 0; j < oracle->nr_pages; j++)
		if (oracle->pages[j] >= page && oracle->pages[j] < want)
			want = oracle->pages[j];
	cr_assert_eq(mmk_amap_next(amap, &next) != NULL, want != UINT64_MAX);
	cr_assert(want == UINT64_MAX || next == want);
	if (i < oracle->nr_pages) {
		mmk_anon_unref(&t.vm, mmk_amap_erase(&t.vm, amap, page));
		oracle->pages[i] = oracle->pages[--oracle->nr_pages];
	} else if (oracle->nr_pages < 256) {
		struct mmk_anon *anon = mmk_anon_create(&t.vm);

		anon->flags = MMK_ANON_BUSY; /* no contents: on their way */
		cr_assert_eq(mmk_amap_insert(&t.vm, amap, page, anon), MMK_OK);
		anon->flags = 0;
		oracle->pages[oracle->nr_pages++] = page;
	}
}

static void
erase_range(struct mmk_amap *amap, struct oracle *oracle, uint64_t *seed)
{
	uint64_t first = random_page(seed);
	uint64_t nr_pages = mmk_test_random(seed) % 80;

	mmk_amap_erase_range(&t.vm, amap, first, nr_pages);
	for (size_t i = oracle->nr_pages; i-- > 0;)
		if (oracle->pages[i] - first < nr_pages)
			oracle->pages[i] = oracle->pages[--oracle->nr_pages];
	cr_assert_eq(amap->nr_anons, oracle->nr_pages);
	cr_assert_eq(mmk_pool_nr_used(&t.vm.anon_pool), oracle->nr_pages);
}

Test(amap, prop_agrees_with_a_list_of_pages)
{
	uint64_t seed = mmk_test_seed();
	struct mmk_amap *amap = amap_of(NULL, 0);
	static struct oracle oracle;

	oracle.nr_pages = 0;
	for (unsigned n = mmk_test_steps(20000); n > 0; n--) {
		step(amap, &oracle, &seed);
		if (n % 64 == 1)
			erase_range(amap, &oracle, &seed);
		if (n % 64 == 0)
			cr_assert(mmk_amap_check(amap), "MMK_SEED=%llu",
			    (unsigned long long)mmk_test_seed());
	}
	mmk_amap_unref(&t.vm, amap);
	cr_assert_eq(mmk_pool_nr_used(&t.vm.slots_pool), 0u);
}

/* The check sees nodes that miscount, and nodes that should be gone. */
Test(amap, check_sees_every_node)
{
	static const uint64_t pages[] = { 3, 1000 };
	struct mmk_amap *amap = amap_of(pages, 2);
	struct mmk_slots_node *leaf = amap->root->items[0];
	void *anon = leaf->items[3];

	cr_assert(mmk_amap_check(amap));
	leaf->nr_items++;
	cr_assert(!mmk_amap_check(amap), "a wrong count");
	leaf->nr_items--;
	leaf->level = 1;
	cr_assert(!mmk_amap_check(amap), "a wrong level");
	leaf->level = 0;
	leaf->items[3] = NULL;
	leaf->nr_items = 0;
	amap->nr_anons--;
	cr_assert(!mmk_amap_check(amap), "an empty node");
	leaf->items[3] = anon;
	leaf->nr_items = 1;
	amap->nr_anons++;
	cr_assert(mmk_amap_check(amap));
	mmk_amap_unref(&t.vm, amap);
}

static void
setup_bugs(void)
{
	setup();
}

Test(amap_bugs, insert_into_a_used_slot_traps, .init = setup_bugs,
    .signal = SIGABRT)
{
	static const uint64_t pages[] = { 3 };
	struct mmk_amap *amap = amap_of(pages, 1);
	enum mmk_err err = mmk_amap_insert(&t.vm, amap, 3,
	    mmk_anon_create(&t.vm));

	(void)err;
}

Test(amap_bugs, insert_into_a_shared_amap_traps, .init = setup_bugs,
    .signal = SIGABRT)
{
	static const uint64_t pages[] = { 3 };
	struct mmk_amap *amap = amap_of(pages, 1);
	enum mmk_err err;

	amap->refs = 2;
	err = mmk_amap_insert(&t.vm, amap, 4, mmk_anon_create(&t.vm));
	(void)err;
}

Test(amap_bugs, erasing_what_is_not_there_traps, .init = setup_bugs,
    .signal = SIGABRT)
{
	struct mmk_amap *amap = amap_of(NULL, 0);

	(void)mmk_amap_erase(&t.vm, amap, 3);
}

Test(amap_bugs, a_page_beyond_the_index_traps, .init = setup_bugs,
    .signal = SIGABRT)
{
	static const uint64_t pages[] = { MMK_AMAP_MAX_PAGE + 1 };

	(void)amap_of(pages, 1);
}

Test(amap_bugs, unref_without_the_lock_traps, .init = setup_bugs,
    .signal = SIGABRT)
{
	struct mmk_anon *anon = mmk_anon_create_resident(&t.vm, 0);

	MMKIT_UNLOCK(&t.vm.lock);
	mmk_anon_unref(&t.vm, anon);
}

Test(amap_bugs, a_second_frame_traps, .init = setup_bugs, .signal = SIGABRT)
{
	struct mmk_anon *anon = mmk_anon_create_resident(&t.vm, 0);

	mmk_anon_attach(anon, anon->frame);
}
