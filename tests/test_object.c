/* SPDX-License-Identifier: MIT
 *
 * tests/test_object.c: pages on their way out, back, and away: vm/object.h and
 * the paging of vm/anon.h, with a pager and a backing store that look around
 * while they work
 */
#include "vm_fixture.h"

#include "prop.h"

/* ---- a backing store of a few slots ----------------------------------------- */

enum { NR_SLOTS = 16 };
static unsigned char slots[NR_SLOTS][4096];
static bool is_used[NR_SLOTS];
static unsigned nr_outs, nr_ins, nr_frees, nr_mapped_at_out;
static enum mmk_err out_err;

static enum mmk_err
store_out(void *ctx, struct mmk_frame *frame, uint64_t words[2])
{
	unsigned slot = 0;

	(void)ctx;
	vm_no_lock_is_held();
	nr_outs++;
	nr_mapped_at_out += frame->mapped;
	if (out_err != MMK_OK)
		return out_err;
	while (is_used[slot])
		slot++;
	cr_assert_lt(slot, (unsigned)NR_SLOTS);
	is_used[slot] = true;
	memcpy(slots[slot], mmk_frame_ptr(&t.phys, frame), 4096);
	words[0] = slot;
	words[1] = ~(uint64_t)slot;
	return MMK_OK;
}

static enum mmk_err
store_in(void *ctx, const uint64_t words[2], struct mmk_frame *frame)
{
	(void)ctx;
	vm_no_lock_is_held();
	nr_ins++;
	cr_assert_eq(words[1], ~words[0], "the words, verbatim");
	cr_assert(is_used[words[0]]);
	memcpy(mmk_frame_ptr(&t.phys, frame), slots[words[0]], 4096);
	return MMK_OK;
}

static void
store_free(void *ctx, const uint64_t words[2])
{
	(void)ctx;
	nr_frees++;
	cr_assert(is_used[words[0]]);
	is_used[words[0]] = false;
}

static const struct mmk_backing store = {
	store_out, store_in, store_free, NULL
};

static unsigned
nr_slots_used(void)
{
	unsigned nr = 0;

	for (unsigned i = 0; i < NR_SLOTS; i++)
		nr += is_used[i];
	return nr;
}

static void
with_store(void (*body)(void))
{
	static const unsigned archs[] = { SIM_ARCH_X86_64, SIM_ARCH_AARCH64 };

	for (size_t i = 0; i < 2; i++) {
		struct sim_config config = { .ram_bytes = 8u << 20,
			.nr_cpus = 2, .arch = archs[i] };

		memset(is_used, 0, sizeof is_used);
		nr_outs = nr_ins = nr_frees = nr_mapped_at_out = 0;
		out_err = MMK_OK;
		vm_boot_with(&config, &store);
		vm_space(0);
		body();
		vm_end();
		cr_assert_eq(nr_slots_used(), 0u, "no slot outlives its anon");
	}
}

/* The anon of a private page. */
static struct mmk_anon *
private_anon(unsigned i, mmk_va va)
{
	struct mmk_entry *entry;
	struct mmk_anon *anon = NULL;

	MMKIT_MUTEX_LOCK(&vm_map(i)->mutex);
	entry = mmk_map_lookup(vm_map(i), va);
	if (entry != NULL && entry->upper.object != NULL)
		anon = mmk_amap_lookup(entry->upper.object->amap,
		    mmk_entry_page(entry, &entry->upper, va));
	MMKIT_MUTEX_UNLOCK(&vm_map(i)->mutex);
	cr_assert_not_null(anon);
	return anon;
}

static void
s2_16(void)
{
	struct mmk_anon *anon;

	vm_anon(0, VA, 2);
	vm_put(0, VA, 7);
	vm_fork(1, 0);
	vm_put(1, VA + PAGE, 1); /* two amaps now, one anon in both */
	anon = private_anon(0, VA);
	cr_assert_eq(private_anon(1, VA), anon);
	cr_assert_eq(mmk_anon_page_out(&t.vm, anon), MMK_OK);
	cr_assert_eq(nr_outs, 1u, "written once");
	cr_assert_eq(anon->refs, 2u);
	cr_assert_eq(vm_get(0, VA), 7);
	cr_assert_eq(vm_get(1, VA), 7);
	cr_assert_eq(nr_ins, 1u);
	cr_assert_eq(vm_pa(0, VA), vm_pa(1, VA), "one page again");
	cr_assert(mmk_check(&t.vm));
}

Test(object, S2_16_a_shared_page_is_paged_once)
{
	with_store(s2_16);
}

static void
s2_17(void)
{
	vm_anon(0, VA, 1);
	vm_put(0, VA, 7);
	vm_fork(1, 0);
	(void)vm_get(1, VA);
	cr_assert_eq(mmk_anon_page_out(&t.vm, private_anon(0, VA)), MMK_OK);
	cr_assert_eq(nr_mapped_at_out, 0u, "no translation while it is written");
	cr_assert_eq(vm_pa(0, VA), UINT64_MAX);
	cr_assert_eq(vm_pa(1, VA), UINT64_MAX);
	vm_put(0, VA, 8);
	cr_assert_eq(vm_get(1, VA), 7);
}

Test(object, S2_17_a_page_has_no_translation_while_it_is_put)
{
	with_store(s2_17);
}

static void
s2_18(void)
{
	vm_anon(0, VA, 1);
	vm_put(0, VA, 7);
	cr_assert_eq(mmk_anon_page_out(&t.vm, private_anon(0, VA)), MMK_OK);
	cr_assert_eq(vm_get(0, VA), 7);
	cr_assert_eq(mmk_anon_page_out(&t.vm, private_anon(0, VA)), MMK_OK);
	cr_assert_eq(nr_outs, 1u, "clean: not written again");
	vm_put(0, VA, 8);
	cr_assert_eq(mmk_anon_page_out(&t.vm, private_anon(0, VA)), MMK_OK);
	cr_assert_eq(nr_outs, 2u);
	cr_assert_eq(nr_slots_used(), 1u, "its old place was given back");
	cr_assert_eq(vm_get(0, VA), 8);
}

Test(object, S2_18_a_clean_page_is_not_written_again)
{
	with_store(s2_18);
}

static void
s2_21(void)
{
	vm_anon(0, VA, 4);
	for (unsigned i = 0; i < 4; i++) {
		vm_put(0, VA + i * PAGE, 1);
		cr_assert_eq(mmk_anon_page_out(&t.vm,
		    private_anon(0, VA + i * PAGE)), MMK_OK);
	}
	cr_assert_eq(nr_slots_used(), 4u);
	vm_munmap(0, VA + PAGE, 1);
	cr_assert_eq(nr_slots_used(), 3u);
	vm_exit(0);
	cr_assert_eq(nr_slots_used(), 0u);
}

Test(object, S2_21_a_paged_out_anon_gives_its_place_back)
{
	with_store(s2_21);
}

static void
page_out_fails(void)
{
	struct mmk_anon *anon;

	vm_anon(0, VA, 1);
	vm_put(0, VA, 7);
	anon = private_anon(0, VA);
	out_err = MMK_ERR_NOSPACE;
	cr_assert_eq(mmk_anon_page_out(&t.vm, anon), MMK_ERR_NOSPACE);
	cr_assert_not_null(anon->frame);
	cr_assert_eq(anon->flags, 0u);
	cr_assert_eq(vm_get(0, VA), 7);
	mmk_frame_ref(&t.phys, anon->frame);
	cr_assert_eq(mmk_anon_page_out(&t.vm, anon), MMK_ERR_BUSY);
	(void)mmk_frame_unref(&t.phys, anon->frame);
	out_err = MMK_OK;
	cr_assert_eq(mmk_anon_page_out(&t.vm, anon), MMK_OK);
	cr_assert_eq(mmk_anon_page_out(&t.vm, anon), MMK_ERR_NOENT);
	cr_assert_eq(vm_get(0, VA), 7);
}

Test(object, a_page_that_cannot_be_written_stays)
{
	with_store(page_out_fails);
}

/* Shared memory that was paged out is not there after it was cut off. */
static void
cut_stored(void)
{
	struct mmk_object *object;
	mmk_va va;

	cr_assert_eq(mmk_zero_create(&t.vm, 4, &object), MMK_OK);
	va = vm_mmap(0, 0, 4, RW, MMK_MAP_SHARED, object, 0);
	vm_put(0, va + 2 * PAGE, 0x5a);
	cr_assert_eq(mmk_anon_page_out(&t.vm,
	    mmk_amap_lookup(object->amap, 2)), MMK_OK);
	mmk_object_resize(object, 1);
	cr_assert_eq(nr_slots_used(), 0u);
	cr_assert_eq(vm_access(0, va + 2 * PAGE, MMK_PROT_READ),
	    MMK_ERR_NOSPACE);
	mmk_object_resize(object, 4);
	cr_assert_eq(vm_get(0, va + 2 * PAGE), 0);
	mmk_object_unref(object);
}

Test(object, what_was_cut_off_does_not_come_back)
{
	with_store(cut_stored);
}

/* ---- a pager that is interrupted -------------------------------------------- */

static struct mmk_object *watched;
static void (*at_put)(void), (*at_get)(void);

static enum mmk_err
watch_get(struct mmk_object *object, uint64_t page, struct mmk_frame **frames,
    unsigned nr_frames)
{
	(void)object;
	for (unsigned i = 0; i < nr_frames; i++)
		memset(mmk_frame_ptr(&t.phys, frames[i]), 'a' + (int)page, 4096);
	if (at_get != NULL)
		at_get();
	return MMK_OK;
}

static enum mmk_err
watch_put(struct mmk_object *object, uint64_t page, struct mmk_frame *frame)
{
	(void)object;
	(void)page;
	(void)frame;
	if (at_put != NULL)
		at_put();
	return MMK_OK;
}

static const struct mmk_pager_ops watcher = {
	.name = "watcher", .kind = MMK_PAGER_KERNEL,
	.get = watch_get, .put = watch_put
};

static void
cut_it(void)
{
	at_get = NULL;
	at_put = NULL;
	mmk_object_resize(watched, 1);
	mmk_object_resize(watched, 4);
}

static mmk_va
watch(void)
{
	cr_assert_eq(mmk_object_create(&t.vm, &watcher, NULL, 4, &watched),
	    MMK_OK);
	at_get = NULL;
	at_put = NULL;
	return vm_mmap(0, 0, 4, RW, MMK_MAP_SHARED, watched, 0);
}

/* The file is cut while one of its pages is being written. */
static void
cut_during_put(void)
{
	mmk_va va = watch();

	vm_put(0, va + 2 * PAGE, 'X');
	at_put = cut_it;
	cr_assert_eq(mmk_msync(vm_sp(0), va, 4 * PAGE), MMK_OK);
	cr_assert_eq(vm_pa(0, va + 2 * PAGE), UINT64_MAX);
	cr_assert(mmk_check(&t.vm));
	cr_assert_eq(vm_get(0, va + 2 * PAGE), 'c', "from the pager again");
	mmk_object_unref(watched);
}

Test(object, a_page_cut_off_while_it_is_written_goes)
{
	vm_both(cut_during_put);
}

/* The file is cut while a page is being read: what was read is not kept. */
static void
cut_during_get(void)
{
	mmk_va va = watch();

	at_get = cut_it;
	cr_assert_eq(vm_get(0, va + 2 * PAGE), 'c');
	cr_assert(mmk_check(&t.vm));
	vm_munmap(0, va, 4);
	mmk_object_unref(watched);
	cr_assert_eq(vm_nr_anon_pages(), 0u);
}

Test(object, a_page_cut_off_while_it_is_read_is_read_again)
{
	vm_both(cut_during_get);
}

static void
top(void)
{
	mmk_va va;

	vm_map(0)->top_va = VA;
	va = vm_mmap(0, 0, 4, RW, ANON_PRIVATE, NULL, 0);
	cr_assert_eq(va, VA - 4 * PAGE);
	vm_put(0, va, 7);
	cr_assert_eq(vm_mmap(0, VA + 64 * PAGE, 1, RW, ANON_PRIVATE, NULL, 0),
	    VA + 64 * PAGE, "a hint may lie above it");
	vm_mmap(0, va + 4 * PAGE, 1, RW, ANON_PRIVATE, NULL, 0);
	cr_assert_eq(mmk_mremap(vm_sp(0), va, 4 * PAGE, 8 * PAGE,
	    MMK_REMAP_MAYMOVE, 0, &va), MMK_OK);
	cr_assert_lt(va, VA);
	cr_assert_eq(vm_get(0, va), 7);
	vm_fork(1, 0);
	cr_assert_lt(vm_mmap(1, 0, 1, RW, ANON_PRIVATE, NULL, 0), VA);
}

Test(object, what_may_lie_anywhere_lies_below_the_top)
{
	vm_both(top);
}

Test(object_bugs, resizing_what_a_pager_maps_traps, .signal = SIGABRT)
{
	struct mmk_object *object;

	vm_boot(SIM_ARCH_X86_64);
	cr_assert_eq(mmk_device_create(&t.vm, 0x10000000, 4, true, &object),
	    MMK_OK);
	mmk_object_resize(object, 1);
}
