/* SPDX-License-Identifier: MIT
 *
 * tests/test_rules_s2.c: the rules of the amap/anon VM (S2): what a page, an
 * anon, an amap, an object, an entry and a map are, and two-level
 * copy-on-write.
 */
#include "prop.h"
#include "vm_fixture.h"

#include "../ports/sim/walk.h"

/* The entry at `va`. A test has one thread: it looks without the mutex. */
static struct mmk_entry *
entry_at(unsigned i, mmk_va va)
{
	struct mmk_map *map = vm_map(i);
	struct mmk_entry *entry;

	MMKIT_MUTEX_LOCK(&map->mutex);
	entry = mmk_map_lookup(map, va);
	MMKIT_MUTEX_UNLOCK(&map->mutex);
	cr_assert_not_null(entry);
	return entry;
}

static struct mmk_amap *
upper_amap(unsigned i, mmk_va va)
{
	struct mmk_entry *entry = entry_at(i, va);

	cr_assert_not_null(entry->upper.object);
	return entry->upper.object->amap;
}

static struct mmk_anon *
upper_anon(unsigned i, mmk_va va)
{
	struct mmk_entry *entry = entry_at(i, va);

	return mmk_amap_lookup(upper_amap(i, va),
	    mmk_entry_page(entry, &entry->upper, va));
}

/* What S2.9 asks for, looked at from outside. */
static void
check_counts(void)
{
	cr_assert(mmk_check(&t.vm));
	MMK_LIST_FOR_EACH(link, &t.vm.objects) {
		struct mmk_object *object =
		    MMK_LIST_ITEM(link, struct mmk_object, of_vm);
		uint32_t nr_objects = 0;

		if (object->amap == NULL)
			continue;
		MMK_LIST_FOR_EACH(other, &t.vm.objects)
			nr_objects += MMK_LIST_ITEM(other, struct mmk_object,
			    of_vm)->amap == object->amap;
		cr_assert_eq(object->amap->refs, nr_objects);
	}
	for (unsigned i = 0; i < VM_SPACES; i++) {
		struct mmk_translation found;
		mmk_va va = 0;

		if (!t.is_live[i])
			continue;
		for (; mmk_pmap_next(&vm_map(i)->pmap, va, VM_MAX, &found);
		     va = found.va + PAGE) {
			struct mmk_entry *entry = entry_at(i, found.va);

			if ((found.flags & MMK_PROT_WRITE) == 0 ||
			    (entry->flags & MMK_ENTRY_PRIVATE) == 0)
				continue;
			cr_assert_eq(upper_amap(i, found.va)->refs, 1u);
			cr_assert_eq(upper_anon(i, found.va)->refs, 1u);
		}
	}
}

/* One program's life, the same on every format: what it read is kept. */
static void
s2_1_run(unsigned arch, unsigned char *seen, unsigned *prots)
{
	static struct vm_file f;
	struct mmk_object *object;
	size_t n = 0;

	vm_boot(arch);
	vm_space(0);
	object = vm_file(&f, 4 * PAGE);
	vm_anon(0, VA, 8);
	vm_mmap(0, VA + 8 * PAGE, 4, RW, MMK_MAP_PRIVATE | MMK_MAP_FIXED,
	    object, 0);
	vm_mmap(0, VA + 12 * PAGE, 4, RW, MMK_MAP_SHARED | MMK_MAP_FIXED,
	    object, 0);
	for (uint64_t i = 0; i < 16; i += 3)
		vm_put(0, VA + i * PAGE + i, (int)i + 'A');
	vm_fork(1, 0);
	for (uint64_t i = 0; i < 16; i += 2)
		vm_put(1, VA + i * PAGE, (int)i + 'a');
	cr_assert_eq(mmk_mprotect(vm_sp(0), VA, 4 * PAGE, RO), MMK_OK);
	for (unsigned s = 0; s < 2; s++) {
		for (uint64_t i = 0; i < 16; i++) {
			struct sim_walk_request request = { .va = VA + i * PAGE,
				.access = SIM_READ, .is_user = true,
				.is_probe = true };
			struct sim_walk walk;
			mmk_va va = VA + i * PAGE;

			seen[n] = (unsigned char)vm_get(s, va);
			seen[n + 1] = (unsigned char)vm_get(s, va + i);
			/* The machine's own walker agrees with pmap. */
			request.root_pa = mmk_frame_pa(&t.phys,
			    vm_map(s)->pmap.root);
			sim_walk(&request, &walk);
			cr_assert_eq(walk.fault, SIM_FAULT_NONE);
			cr_assert_eq(walk.pa, vm_pa(s, va));
			prots[n / 2] = vm_prot(s, va) & RW;
			cr_assert_eq(walk.rights[1] & RW, prots[n / 2]);
			n += 2;
		}
	}
	mmk_object_unref(object);
	vm_end();
}

Test(rules_s2, S2_1_one_suite_for_every_table_format)
{
	static unsigned char seen[2][64];
	static unsigned prots[2][32];

	s2_1_run(SIM_ARCH_X86_64, seen[0], prots[0]);
	s2_1_run(SIM_ARCH_AARCH64, seen[1], prots[1]);
	cr_assert_eq(memcmp(seen[0], seen[1], sizeof seen[0]), 0);
	cr_assert_eq(memcmp(prots[0], prots[1], sizeof prots[0]), 0);
}

static void
s2_2(void)
{
	struct mmk_anon *a = mmk_anon_create_resident(&t.vm, MMK_ALLOC_ZERO);
	struct mmk_anon *b = mmk_anon_create(&t.vm);
	struct mmk_frame *frame = a->frame;
	bool has_a = false, has_b = false;

	cr_assert(mmk_frame_is_held(frame));
	mmk_frame_ref(&t.phys, frame);
	mmk_anon_attach(b, frame);
	for (struct mmk_anon *anon = frame->owner; anon != NULL;
	     anon = anon->sharer) {
		has_a = has_a || anon == a;
		has_b = has_b || anon == b;
	}
	cr_assert(has_a && has_b, "the page lists both");
	MMKIT_LOCK(&t.vm.lock);
	mmk_anon_unref(&t.vm, a);
	MMKIT_UNLOCK(&t.vm.lock);
	cr_assert_eq(frame->owner, b);
	cr_assert(mmk_frame_is_held(frame));
	MMKIT_LOCK(&t.vm.lock);
	mmk_anon_unref(&t.vm, b);
	MMKIT_UNLOCK(&t.vm.lock);
	cr_assert(!mmk_frame_is_held(frame));
}

Test(rules_s2, S2_2_a_page_lists_the_anons_that_hold_it)
{
	vm_both(s2_2);
}

/* Backing store: slots in an array, named by two words that must match. */
static struct {
	unsigned char bytes[16][4096];
	bool is_used[16];
	unsigned nr_in, nr_out, nr_free;
} store;

#define STORE_WORD(slot) (0x9000000000000001u + (uint64_t)(slot) * 2)

static enum mmk_err
store_out(void *ctx, struct mmk_frame *frame, uint64_t words[2])
{
	unsigned slot = 0;

	(void)ctx;
	while (store.is_used[slot])
		slot++;
	store.is_used[slot] = true;
	store.nr_out++;
	memcpy(store.bytes[slot], mmk_frame_ptr(&t.phys, frame), PAGE);
	words[0] = slot;
	words[1] = STORE_WORD(slot);
	return MMK_OK;
}

static enum mmk_err
store_in(void *ctx, const uint64_t words[2], struct mmk_frame *frame)
{
	(void)ctx;
	cr_assert_lt(words[0], 16u);
	cr_assert_eq(words[1], STORE_WORD(words[0]), "passed on verbatim");
	cr_assert(store.is_used[words[0]]);
	store.nr_in++;
	memcpy(mmk_frame_ptr(&t.phys, frame), store.bytes[words[0]], PAGE);
	return MMK_OK;
}

static void
store_free(void *ctx, const uint64_t words[2])
{
	(void)ctx;
	cr_assert_eq(words[1], STORE_WORD(words[0]));
	cr_assert(store.is_used[words[0]]);
	store.is_used[words[0]] = false;
	store.nr_free++;
}

static const struct mmk_backing backing = {
	store_out, store_in, store_free, NULL
};

static void
s2_3_run(unsigned arch)
{
	struct sim_config config = { .ram_bytes = 8u << 20, .nr_cpus = 2,
		.arch = arch };
	struct mmk_anon *anon;
	uint64_t nr_pages;

	memset(&store, 0, sizeof store);
	vm_boot_with(&config, &backing);
	vm_space(0);
	vm_anon(0, VA, 2);
	vm_put(0, VA, 'p');
	vm_put(0, VA + PAGE - 1, 'q');
	vm_fork(1, 0);
	cr_assert_eq(vm_get(1, VA), 'p');
	anon = upper_anon(0, VA);
	nr_pages = vm_nr_anon_pages();
	cr_assert_eq(mmk_anon_page_out(&t.vm, anon), MMK_OK);
	cr_assert_null(anon->frame);
	cr_assert_eq(vm_nr_anon_pages(), nr_pages - 1, "the page is free");
	cr_assert((anon->flags & MMK_ANON_STORED) != 0);
	cr_assert_eq(anon->words[1], STORE_WORD(anon->words[0]));
	cr_assert_eq(vm_pa(0, VA), UINT64_MAX);
	cr_assert_eq(vm_pa(1, VA), UINT64_MAX);
	cr_assert_eq(upper_anon(0, VA), anon);
	cr_assert_eq(upper_anon(1, VA), anon);
	check_counts();

	cr_assert_eq(vm_get(1, VA), 'p');
	cr_assert_eq(vm_get(0, VA + PAGE - 1), 'q');
	cr_assert_eq(store.nr_in, 1u, "both share one page again");
	cr_assert_eq(anon->refs, 1u);
	cr_assert_eq(upper_amap(0, VA)->refs, 2u);
	vm_put(1, VA, 'r');
	cr_assert_eq(vm_get(0, VA), 'p');
	check_counts();
	/* Out, in, changed, out again: the first place is given up. */
	cr_assert_eq(mmk_anon_page_out(&t.vm, upper_anon(1, VA)), MMK_OK);
	vm_put(1, VA, 's');
	cr_assert_eq(store.nr_out - store.nr_free, 2u);
	cr_assert_eq(mmk_anon_page_out(&t.vm, upper_anon(1, VA)), MMK_OK);
	cr_assert_eq(store.nr_out - store.nr_free, 2u);
	cr_assert_eq(vm_get(1, VA), 's');
	cr_assert_eq(mmk_anon_page_out(&t.vm, upper_anon(1, VA)), MMK_OK);
	cr_assert_eq(store.nr_out, 3u, "a clean page is not written again");
	vm_exit(1);
	vm_exit(0);
	cr_assert_eq(store.nr_free, store.nr_out, "no slot is left in use");
	vm_end();
}

Test(rules_s2, S2_3_an_anon_is_a_page_or_two_words)
{
	s2_3_run(SIM_ARCH_X86_64);
	s2_3_run(SIM_ARCH_AARCH64);
}

static void
s2_4(void)
{
	uint64_t touched[] = { 3, 400, 999 };

	vm_anon(0, VA, 1000);
	for (int i = 0; i < 3; i++)
		vm_put(0, VA + touched[i] * PAGE, 1);
	(void)vm_get(0, VA + 700 * PAGE);
	cr_assert_eq(upper_amap(0, VA)->nr_anons, 3u);
	for (int i = 0; i < 3; i++)
		cr_assert_not_null(upper_anon(0, VA + touched[i] * PAGE));
	cr_assert_null(upper_anon(0, VA + 700 * PAGE));
	cr_assert_leq(mmk_pool_nr_used(&t.vm.slots_pool), 6u,
	    "the index costs what is touched");
}

Test(rules_s2, S2_4_an_amap_holds_only_touched_pages)
{
	vm_both(s2_4);
}

static uint32_t
nr_entries_of(const struct mmk_object *object)
{
	uint32_t nr = 0;

	MMK_LIST_FOR_EACH(link, &object->entries)
		nr++;
	return nr;
}

static void
s2_5(void)
{
	struct mmk_frame *ram;
	struct mmk_object *object;
	uint64_t nr_anons = mmk_pool_nr_used(&t.vm.anon_pool);
	mmk_pa pa;
	mmk_va va;

	cr_assert_eq(mmk_frame_alloc(&t.phys, 2, MMK_ALLOC_ZERO, MMK_USE_KERNEL,
	    &ram), MMK_OK);
	pa = mmk_frame_pa(&t.phys, ram);
	cr_assert_eq(mmk_device_create(&t.vm, pa, 4, false, &object), MMK_OK);
	va = vm_mmap(0, 0, 3, RW, MMK_MAP_SHARED, object, 1);
	cr_assert_eq(nr_entries_of(object), 1u);
	for (uint64_t i = 0; i < 3; i++) {
		vm_put(0, va + i * PAGE, (int)i + 1);
		cr_assert_eq(vm_pa(0, va + i * PAGE), pa + (i + 1) * PAGE);
	}
	vm_fork(1, 0);
	cr_assert_eq(nr_entries_of(object), 2u);
	vm_put(1, va, 9);
	cr_assert_eq(vm_get(0, va), 9, "shared across fork");
	cr_assert_eq(vm_pa(1, va), pa + PAGE);
	cr_assert_eq(mmk_pool_nr_used(&t.vm.anon_pool), nr_anons);
	cr_assert_null(object->amap);
	cr_assert_eq(mmk_object_evict(object), 0u);
	vm_munmap(0, va + PAGE, 1);
	cr_assert_eq(nr_entries_of(object), 3u);
	vm_exit(1);
	cr_assert_eq(nr_entries_of(object), 2u);
	vm_munmap(0, va, 3);
	cr_assert_eq(nr_entries_of(object), 0u);
	mmk_object_unref(object);
	cr_assert_eq(ram->refs, 1u);
	cr_assert_eq(mmk_frame_unref(&t.phys, ram), 0u);
}

Test(rules_s2, S2_5_a_device_object_has_addresses_and_no_anons)
{
	vm_both(s2_5);
}

static void
s2_6(void)
{
	static struct vm_file f;
	struct mmk_object *object = vm_file(&f, 8 * PAGE);
	mmk_va a = vm_mmap(0, 0, 4, RW, MMK_MAP_SHARED, object, 0);
	mmk_va b = vm_mmap(0, 0, 4, RW, MMK_MAP_SHARED, object, 2);

	for (uint64_t i = 0; i < 2; i++) {
		vm_put(0, a + (i + 2) * PAGE + 50, 'A' + (int)i);
		cr_assert_eq(vm_get(0, b + i * PAGE + 50), 'A' + (int)i);
		vm_put(0, b + i * PAGE + 51, 'X');
		cr_assert_eq(vm_get(0, a + (i + 2) * PAGE + 51), 'X');
	}
	cr_assert_eq(vm_get(0, b + 2 * PAGE), 'e');
	cr_assert_eq(entry_at(0, a)->map, vm_map(0));
	cr_assert_eq(entry_at(0, b)->map, vm_map(0));
	vm_fork(1, 0);
	cr_assert_eq(entry_at(1, b)->map, vm_map(1));
	mmk_object_unref(object);
}

Test(rules_s2, S2_6_entries_with_offsets_alias_the_right_bytes)
{
	vm_both(s2_6);
}

static void
s2_7(void)
{
	uint64_t seed = mmk_test_seed(), state = seed;
	static const unsigned kinds[] = { ANON_PRIVATE, ANON_SHARED };

	for (unsigned n = mmk_test_steps(300); n > 0; n--) {
		mmk_va va = VA + mmk_test_random(&state) % 64 * PAGE;
		uint64_t nr = 1 + mmk_test_random(&state) % 16;
		uint64_t r = mmk_test_random(&state);
		struct mmk_entry_info info;
		mmk_va end_va = 0;

		if (r % 3 == 0)
			vm_munmap(0, va, nr);
		else
			vm_mmap(0, va, nr, r % 5 == 0 ? RO : RW, kinds[r % 2] |
			    (r % 7 < 4 ? MMK_MAP_FIXED : 0), NULL, 0);
		for (; mmk_map_entry_info(vm_map(0), end_va, &info);
		     end_va = info.end_va) {
			cr_assert_lt(info.start_va, info.end_va,
			    "MMK_SEED=%llu", (unsigned long long)seed);
			cr_assert_geq(info.start_va, end_va, "MMK_SEED=%llu",
			    (unsigned long long)seed);
		}
		cr_assert(mmk_check(&t.vm), "MMK_SEED=%llu",
		    (unsigned long long)seed);
	}
}

Test(rules_s2, S2_7_entries_never_overlap)
{
	vm_both(s2_7);
}

/* ---- two-level copy-on-write ----------------------------------------- */

#define N 6

/* Parent 0 with N touched pages of 'H', child 1. */
static void
family(void)
{
	vm_anon(0, VA, N + 2);
	for (uint64_t i = 0; i < N; i++)
		vm_put(0, VA + i * PAGE, 'H');
	check_counts();
	vm_fork(1, 0);
	check_counts();
}

static void
s2_9(void)
{
	family();
	(void)vm_get(1, VA);
	check_counts();
	vm_put(1, VA, 'J');
	check_counts();
	vm_put(0, VA, 'M');
	check_counts();
	vm_fork(2, 1);
	check_counts();
	vm_put(2, VA + PAGE, 'K');
	check_counts();
	vm_exit(1);
	check_counts();
	vm_put(2, VA, 'L');
	check_counts();
	vm_exit(0);
	check_counts();
	vm_put(2, VA + 2 * PAGE, 'O');
	check_counts();
}

Test(rules_s2, S2_9_counts_mean_copy_on_write_at_every_step)
{
	vm_both(s2_9);
}

static void
s2_10(void)
{
	uint64_t nr_copies = vm_count(MMK_COUNT_PAGE_COPY);
	uint64_t nr_amaps = vm_count(MMK_COUNT_AMAP_COPY);
	uint64_t nr_anons;

	vm_anon(0, VA, N + 2);
	for (uint64_t i = 0; i < N; i++)
		vm_put(0, VA + i * PAGE, 'H');
	nr_anons = mmk_pool_nr_used(&t.vm.anon_pool);
	vm_fork(1, 0);
	cr_assert_eq(vm_count(MMK_COUNT_PAGE_COPY), nr_copies);
	cr_assert_eq(vm_count(MMK_COUNT_AMAP_COPY), nr_amaps);
	cr_assert_eq(mmk_pool_nr_used(&t.vm.anon_pool), nr_anons);
	cr_assert_eq(upper_amap(0, VA), upper_amap(1, VA));
	cr_assert_eq(upper_amap(0, VA)->refs, 2u);
	cr_assert_neq(entry_at(0, VA)->upper.object,
	    entry_at(1, VA)->upper.object, "the child has one of its own");
	for (uint64_t i = 0; i < N; i++) {
		cr_assert_eq(upper_anon(0, VA + i * PAGE)->refs, 1u);
		cr_assert_eq(vm_prot(0, VA + i * PAGE) & MMK_PROT_WRITE, 0u);
		cr_assert_eq(vm_get(1, VA + i * PAGE), 'H');
		cr_assert_eq(vm_prot(1, VA + i * PAGE) & MMK_PROT_WRITE, 0u);
	}
}

Test(rules_s2, S2_10_fork_shares_the_amap_and_copies_nothing)
{
	vm_both(s2_10);
}

static void
s2_11(void)
{
	struct mmk_anon *anon;

	family();
	anon = upper_anon(0, VA);
	cr_assert_eq(vm_get(0, VA), 'H');
	cr_assert_eq(vm_get(1, VA), 'H');
	cr_assert_eq(vm_pa(0, VA), vm_pa(1, VA));
	cr_assert_eq(anon->refs, 1u);
	cr_assert_eq(anon->frame->refs, 1u);
	cr_assert_eq(anon->frame->mapped, 2u);
}

Test(rules_s2, S2_11_reading_counts_mappings_not_owners)
{
	vm_both(s2_11);
}

static void
s2_12(void)
{
	uint64_t nr_amaps = vm_count(MMK_COUNT_AMAP_COPY);

	family();
	vm_put(1, VA + 2 * PAGE, 'J');
	cr_assert_eq(vm_count(MMK_COUNT_AMAP_COPY), nr_amaps + 1);
	cr_assert_neq(upper_amap(0, VA), upper_amap(1, VA));
	cr_assert_eq(upper_amap(0, VA)->refs, 1u);
	cr_assert_eq(upper_amap(1, VA)->refs, 1u);
	for (uint64_t i = 0; i < N; i++) {
		uint32_t refs = i == 2 ? 1 : 2;

		cr_assert_eq(upper_anon(0, VA + i * PAGE)->refs, refs);
		cr_assert_eq(upper_anon(1, VA + i * PAGE)->refs, refs);
	}
	cr_assert_neq(upper_anon(0, VA + 2 * PAGE),
	    upper_anon(1, VA + 2 * PAGE));
	vm_put(1, VA + 3 * PAGE, 'J');
	cr_assert_eq(vm_count(MMK_COUNT_AMAP_COPY), nr_amaps + 1,
	    "an amap of its own is not copied");
}

Test(rules_s2, S2_12_the_first_write_copies_the_amap_not_the_pages)
{
	vm_both(s2_12);
}

/* fork of a fork of a fork: everyone's bytes against flat copies. */
static void
s2_13_family(void)
{
	uint64_t seed = mmk_test_seed(), state = seed;
	static unsigned char flat[VM_SPACES][N];

	for (uint64_t i = 0; i < N; i++)
		flat[0][i] = 'H';
	for (unsigned n = mmk_test_steps(400); n > 0; n--) {
		unsigned i = (unsigned)(mmk_test_random(&state) % VM_SPACES);
		unsigned j = (unsigned)(mmk_test_random(&state) % VM_SPACES);
		uint64_t page = mmk_test_random(&state) % N;
		uint64_t r = mmk_test_random(&state);

		if (!t.is_live[i])
			continue;
		if (r % 8 == 0 && !t.is_live[j]) {
			vm_fork(j, i);
			memcpy(flat[j], flat[i], N);
		} else if (r % 8 == 1 && j != i && t.is_live[j]) {
			vm_exit(i);
		} else {
			flat[i][page] = (unsigned char)(r >> 8);
			vm_put(i, VA + page * PAGE, flat[i][page]);
		}
		check_counts();
		for (i = 0; i < VM_SPACES; i++)
			for (page = 0; page < N && t.is_live[i]; page++)
				cr_assert_eq(vm_get(i, VA + page * PAGE),
				    flat[i][page], "MMK_SEED=%llu",
				    (unsigned long long)seed);
	}
}

static void
s2_13(void)
{
	uint64_t nr_copies;
	mmk_pa pa;

	family();
	nr_copies = vm_count(MMK_COUNT_PAGE_COPY);
	pa = vm_pa(0, VA);
	vm_put(1, VA, 'J');
	cr_assert_eq(vm_count(MMK_COUNT_PAGE_COPY), nr_copies + 1);
	cr_assert_neq(vm_pa(1, VA), pa);
	vm_put(0, VA, 'M');
	cr_assert_eq(vm_count(MMK_COUNT_PAGE_COPY), nr_copies + 1);
	cr_assert_eq(vm_pa(0, VA), pa, "in place");
	cr_assert_eq(vm_get(0, VA), 'M');
	cr_assert_eq(vm_get(1, VA), 'J');
	vm_fork(2, 1);
	vm_fork(3, 2);
	vm_put(3, VA, 'Q');
	vm_put(1, VA + PAGE, 'R');
	cr_assert_eq(vm_get(2, VA), 'J');
	cr_assert_eq(vm_get(2, VA + PAGE), 'H');
	cr_assert_eq(vm_get(3, VA), 'Q');
	cr_assert_eq(vm_get(3, VA + PAGE), 'H');
	vm_exit(1);
	vm_exit(2);
	vm_exit(3);
	vm_munmap(0, VA, N + 2);
	vm_anon(0, VA, N);
	for (uint64_t i = 0; i < N; i++)
		vm_put(0, VA + i * PAGE, 'H');
	s2_13_family();
}

Test(rules_s2, S2_13_one_copy_for_each_page_and_the_last_writes_in_place)
{
	vm_both(s2_13);
}

static void
s2_14(void)
{
	uint64_t nr_copies;

	family();
	(void)vm_get(1, VA);
	nr_copies = vm_count(MMK_COUNT_PAGE_COPY);
	vm_exit(1);
	cr_assert_eq(upper_amap(0, VA)->refs, 1u);
	for (uint64_t i = 0; i < N; i++) {
		mmk_pa pa = vm_pa(0, VA + i * PAGE);

		vm_put(0, VA + i * PAGE, 'M');
		if (pa != UINT64_MAX)
			cr_assert_eq(vm_pa(0, VA + i * PAGE), pa);
	}
	cr_assert_eq(vm_count(MMK_COUNT_PAGE_COPY), nr_copies);
	cr_assert_eq(vm_count(MMK_COUNT_AMAP_COPY), 0u);
}

Test(rules_s2, S2_14_a_child_that_only_read_costs_no_copy)
{
	vm_both(s2_14);
}
