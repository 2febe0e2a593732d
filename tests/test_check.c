/* SPDX-License-Identifier: MIT
 *
 * tests/test_check.c: mmk_check sees what is wrong. Each test breaks one thing
 * that an invariant claims, and mends it again.
 */
#include "vm_fixture.h"

#include "prop.h"

static void
setup(void)
{
	vm_boot(SIM_ARCH_X86_64);
	vm_space(0);
	vm_anon(0, VA, 8);
	for (unsigned i = 0; i < 8; i++)
		vm_put(0, VA + i * PAGE, (int)i);
	cr_assert(mmk_check(&t.vm));
}

TestSuite(check, .init = setup, .fini = vm_end);

static struct mmk_entry *
entry_at(mmk_va va)
{
	struct mmk_entry *entry;

	MMKIT_MUTEX_LOCK(&vm_map(0)->mutex);
	entry = mmk_map_lookup(vm_map(0), va);
	MMKIT_MUTEX_UNLOCK(&vm_map(0)->mutex);
	cr_assert_not_null(entry);
	return entry;
}

static struct mmk_anon *
anon_at(mmk_va va)
{
	struct mmk_entry *entry = entry_at(va);

	return mmk_amap_lookup(entry->upper.object->amap,
	    mmk_entry_page(entry, &entry->upper, va));
}

#define SEES(break_it, text, mend_it)                                   \
	do {                                                            \
		break_it;                                               \
		cr_assert_str_eq(mmk_check_text(&t.vm) != NULL          \
			? mmk_check_text(&t.vm) : "nothing", text);     \
		mend_it;                                                \
		cr_assert(mmk_check(&t.vm));                            \
	} while (0)

Test(check, sees_an_anon_held_once_too_often)
{
	struct mmk_anon *anon = anon_at(VA);

	/* Two owners also forbid the writable translation that is there. */
	SEES(anon->refs++, "an entry, or a translation in it", anon->refs--);
	mmk_page_write_protect(&t.sys, anon->frame);
	SEES(anon->refs++, "an anon's references, or its frame", anon->refs--);
}

Test(check, sees_an_amap_referred_to_once_too_often)
{
	struct mmk_amap *amap = entry_at(VA)->upper.object->amap;

	for (unsigned i = 0; i < 8; i++)
		mmk_page_write_protect(&t.sys, anon_at(VA + i * PAGE)->frame);
	SEES(amap->refs++, "an amap's references", amap->refs--);
	SEES(amap->nr_anons++, "an amap's index", amap->nr_anons--);
}

Test(check, sees_an_object_that_lost_an_entry)
{
	struct mmk_object *upper = entry_at(VA)->upper.object;

	SEES(upper->nr_entries--, "an object's references",
	    upper->nr_entries++);
	SEES(upper->refs--, "an object's references", upper->refs++);
}

Test(check, sees_a_frame_that_forgot_its_anon)
{
	struct mmk_frame *frame = anon_at(VA)->frame;
	void *owner = frame->owner;

	SEES(frame->owner = NULL, "an anon's references, or its frame",
	    frame->owner = owner);
}

Test(check, sees_an_anon_with_neither_frame_nor_words)
{
	struct mmk_anon *anon = anon_at(VA);
	struct mmk_frame *frame = anon->frame;

	mmk_page_remove_all(&t.sys, frame);
	SEES(anon->frame = NULL, "an anon's references, or its frame",
	    anon->frame = frame);
}

Test(check, sees_rights_that_the_entry_does_not_give)
{
	struct mmk_entry *entry = entry_at(VA);

	SEES(entry->prot = MMK_PROT_READ, "an entry, or a translation in it",
	    entry->prot = RW);
	SEES(entry->prot = 0x80, "an entry, or a translation in it",
	    entry->prot = RW);
}

Test(check, sees_an_entry_at_the_wrong_place)
{
	struct mmk_entry *entry = entry_at(VA);

	SEES(entry->end_va += PAGE, "an entry, or a translation in it",
	    entry->end_va -= PAGE);
	SEES(entry->map = NULL, "an entry, or a translation in it",
	    entry->map = vm_map(0));
}

Test(check, sees_counts_that_are_off)
{
	SEES(vm_map(0)->nr_entries++, "a map's counts",
	    vm_map(0)->nr_entries--);
	SEES(vm_map(0)->nr_pages++, "a map's counts", vm_map(0)->nr_pages--);
	SEES(t.vm.entry_pool.slabs.nr_taken++, "an entry in no map",
	    t.vm.entry_pool.slabs.nr_taken--);
	SEES(t.vm.object_pool.slabs.nr_taken++, "an object on no list",
	    t.vm.object_pool.slabs.nr_taken--);
	SEES(t.vm.amap_pool.slabs.nr_taken++, "an amap of no object",
	    t.vm.amap_pool.slabs.nr_taken--);
}

Test(check, sees_an_anon_that_nothing_holds)
{
	struct mmk_anon *anon;

	SEES(anon = mmk_anon_create_resident(&t.vm, 0), "an anon in no amap",
	    (MMKIT_LOCK(&t.vm.lock), mmk_anon_unref(&t.vm, anon),
		MMKIT_UNLOCK(&t.vm.lock)));
}

Test(check, sees_a_frame_that_nothing_holds)
{
	struct mmk_frame *frame;

	SEES(cr_assert_eq(mmk_frame_alloc(&t.phys, 0, 0, MMK_USE_ANON, &frame),
		 MMK_OK),
	    "a frame of no anon", (void)mmk_frame_unref(&t.phys, frame));
}

Test(check, sees_a_translation_outside_every_entry)
{
	struct mmk_gather gather;
	mmk_va va = VA + 64 * PAGE;

	SEES(cr_assert_eq(mmk_pmap_enter(&vm_map(0)->pmap, va,
		mmk_frame_pa(&t.phys, t.vm.zero_frame),
		MMK_PROT_READ | MMK_PMAP_USER | MMK_PMAP_UNTRACKED), MMK_OK),
	    "a translation outside every entry",
	    (mmk_gather_init(&gather, &t.sys),
		mmk_pmap_remove(&vm_map(0)->pmap, va, va + PAGE, &gather),
		mmk_gather_finish(&gather)));
}

Test(check, sees_a_page_that_is_not_what_the_layers_say)
{
	struct mmk_gather gather;

	vm_anon(0, VA + 64 * PAGE, 1);
	SEES(cr_assert_eq(mmk_pmap_enter(&vm_map(0)->pmap, VA + 64 * PAGE,
		mmk_frame_pa(&t.phys, anon_at(VA)->frame),
		MMK_PROT_READ | MMK_PMAP_USER), MMK_OK),
	    "an entry, or a translation in it",
	    (mmk_gather_init(&gather, &t.sys),
		mmk_pmap_remove(&vm_map(0)->pmap, VA + 64 * PAGE,
		    VA + 65 * PAGE, &gather),
		mmk_gather_finish(&gather)));
}
