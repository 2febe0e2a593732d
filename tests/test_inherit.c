/* SPDX-License-Identifier: MIT
 *
 * tests/test_inherit.c: fork by entry: copied, shared, left out; and what is
 * left when one side unmaps, writes or exits
 */
#include "vm_fixture.h"

#include "prop.h"

/* Private anonymous pages at VA that a fork passes on as `inherit` says. */
static void
map_with(mmk_va va, uint64_t nr_pages, enum mmk_inherit inherit)
{
	struct mmk_map_args args = { .start_va = va, .nr_pages = nr_pages,
		.prot = RW, .max_prot = ALL, .inherit = inherit,
		.entry_flags = MMK_ENTRY_PRIVATE, .exclusive = true };
	mmk_va got_va;

	cr_assert_eq(mmk_zero_shared(&t.vm, &args.lower.object), MMK_OK);
	args.lower.page = MMK_PAGE_BY_ADDRESS;
	cr_assert_eq(mmk_map_insert(vm_map(0), &args, &got_va), MMK_OK);
	mmk_object_unref(args.lower.object);
}

static void
inherit_none(void)
{
	map_with(VA, 4, MMK_INHERIT_NONE);
	vm_put(0, VA, 1);
	vm_fork(1, 0);
	cr_assert_eq(vm_access(1, VA, MMK_PROT_READ), MMK_ERR_NOENT);
	cr_assert_eq(vm_get(0, VA), 1);
	cr_assert(mmk_check(&t.vm));
}

Test(inherit, none_leaves_a_hole_in_the_child)
{
	vm_both(inherit_none);
}

static void
inherit_share(void)
{
	map_with(VA, 4, MMK_INHERIT_SHARE);
	vm_put(0, VA, 1);
	cr_assert_eq(vm_get(0, VA + 2 * PAGE), 0, "the zero page, mapped");
	vm_fork(1, 0);
	cr_assert(mmk_check(&t.vm));
	cr_assert_eq(vm_get(1, VA), 1);
	vm_put(1, VA, 2);
	cr_assert_eq(vm_get(0, VA), 2, "written by the child");
	cr_assert_eq(vm_get(0, VA + PAGE), 0);
	vm_put(1, VA + PAGE, 3);
	cr_assert_eq(vm_get(0, VA + PAGE), 3, "made by the child");
	vm_put(1, VA + 2 * PAGE, 4);
	cr_assert_eq(vm_get(0, VA + 2 * PAGE), 4, "zero page at fork");
	cr_assert(mmk_check(&t.vm));
	vm_munmap(0, VA, 4);
	cr_assert_eq(vm_get(1, VA + 2 * PAGE), 4, "the child keeps it");
	cr_assert(mmk_check(&t.vm));
	vm_exit(1);
	cr_assert_eq(vm_nr_anon_pages(), 0u);
}

Test(inherit, share_makes_writes_seen_both_ways)
{
	vm_both(inherit_share);
}

/* A layer shared by 0 and 1, copied by 2: nobody may write what 2 sees. */
static void
inherit_share_then_copy(void)
{
	struct mmk_entry *entry;

	map_with(VA, 4, MMK_INHERIT_SHARE);
	vm_put(0, VA, 1);
	vm_fork(1, 0);
	vm_put(1, VA, 2);
	vm_put(0, VA, 3);
	MMKIT_MUTEX_LOCK(&vm_map(0)->mutex);
	entry = mmk_map_lookup(vm_map(0), VA);
	entry->inherit = MMK_INHERIT_COPY;
	MMKIT_MUTEX_UNLOCK(&vm_map(0)->mutex);
	vm_fork(2, 0);
	cr_assert(mmk_check(&t.vm), "%s", mmk_check_text(&t.vm));
	vm_put(1, VA, 4); /* it had a writable translation */
	cr_assert_eq(vm_get(2, VA), 3);
	cr_assert_eq(vm_get(0, VA), 4);
	vm_put(2, VA, 5);
	cr_assert_eq(vm_get(1, VA), 4);
	cr_assert(mmk_check(&t.vm));
}

Test(inherit, copy_of_a_shared_layer_stops_every_writer)
{
	vm_both(inherit_share_then_copy);
}

/*
 * S4_8 after a fork: pages unmapped on one side stay for the other; when the
 * other goes, they are free at once, though the layer lives on.
 */
static void
partial_unmap(void)
{
	vm_anon(0, VA, 8);
	for (unsigned i = 0; i < 8; i++)
		vm_put(0, VA + i * PAGE, (int)i + 1);
	vm_fork(1, 0);
	vm_munmap(0, VA + 2 * PAGE, 4);
	cr_assert(mmk_check(&t.vm));
	cr_assert_eq(vm_nr_anon_pages(), 8u, "the child has them");
	cr_assert_eq(vm_get(1, VA + 3 * PAGE), 4);
	vm_exit(1);
	cr_assert_eq(vm_nr_anon_pages(), 4u, "nobody has them");
	cr_assert_eq(vm_get(0, VA), 1);
	cr_assert_eq(vm_get(0, VA + 7 * PAGE), 8);
	cr_assert(mmk_check(&t.vm));
}

Test(inherit, S4_8_unmapped_pages_go_when_the_last_who_sees_them_goes)
{
	vm_both(partial_unmap);
}

/* The hole is filled again before anybody wrote: it must read as new. */
static void
refill(void)
{
	vm_anon(0, VA, 8);
	for (unsigned i = 0; i < 8; i++)
		vm_put(0, VA + i * PAGE, (int)i + 1);
	vm_fork(1, 0);
	vm_munmap(0, VA + 2 * PAGE, 4);
	vm_anon(0, VA + 2 * PAGE, 4);
	for (unsigned i = 2; i < 6; i++)
		cr_assert_eq(vm_get(0, VA + i * PAGE), 0);
	vm_put(0, VA + 2 * PAGE, 9);
	cr_assert_eq(vm_get(1, VA + 2 * PAGE), 3);
	cr_assert_eq(vm_get(1, VA + 3 * PAGE), 4);
	cr_assert(mmk_check(&t.vm));
	vm_exit(1);
	cr_assert_eq(vm_get(0, VA + 2 * PAGE), 9);
	cr_assert_eq(vm_nr_anon_pages(), 5u);
}

Test(inherit, a_hole_mapped_anew_does_not_show_old_pages)
{
	vm_both(refill);
}

/* A write after the partial unmap copies the index without the lost pages. */
static void
write_after_partial_unmap(void)
{
	vm_anon(0, VA, 8);
	for (unsigned i = 0; i < 8; i++)
		vm_put(0, VA + i * PAGE, (int)i + 1);
	vm_fork(1, 0);
	vm_munmap(0, VA + 2 * PAGE, 4);
	vm_put(0, VA, 9);
	cr_assert(mmk_check(&t.vm));
	vm_munmap(1, VA, 8);
	cr_assert_eq(vm_nr_anon_pages(), 4u);
	cr_assert_eq(vm_get(0, VA), 9);
	cr_assert_eq(vm_get(0, VA + PAGE), 2);
}

Test(inherit, S4_8_a_copied_index_holds_only_what_is_shown)
{
	vm_both(write_after_partial_unmap);
}

static void
fork_setup(void)
{
	vm_anon(0, VA, 4);
	vm_put(0, VA, 1);
	vm_anon(0, VA + 16 * PAGE, 4);
	vm_put(0, VA + 17 * PAGE, 2);
	vm_mmap(0, VA + 32 * PAGE, 2, RW, ANON_SHARED | MMK_MAP_FIXED, NULL,
	    0);
	vm_put(0, VA + 32 * PAGE, 3);
	cr_assert_eq(mmk_mprotect(vm_sp(0), VA + PAGE, PAGE, RO), MMK_OK);
}

static enum mmk_err
fork_op(void)
{
	enum mmk_err err = mmk_space_fork(&t.spaces[1], vm_sp(0));

	t.is_live[1] = err == MMK_OK;
	return err;
}

static void
fork_done(void)
{
	cr_assert_eq(vm_get(1, VA), 1);
	cr_assert_eq(vm_get(1, VA + 17 * PAGE), 2);
	vm_put(0, VA + 32 * PAGE, 4);
	cr_assert_eq(vm_get(1, VA + 32 * PAGE), 4);
}

Test(inherit, fork_that_runs_out_of_memory_changes_nothing)
{
	vm_every_k(fork_setup, fork_op, fork_done);
}

/* What a failed fork would have shared is the parent's alone: it may drop it. */
static void
failed_share(void)
{
	enum mmk_err err = MMK_ERR_NOMEM;
	unsigned nr_failures = 0;

	map_with(VA, 1, MMK_INHERIT_SHARE);
	map_with(VA + 16 * PAGE, 1, MMK_INHERIT_COPY); /* fails after the first */
	vm_put(0, VA + 16 * PAGE, 1);
	for (uint64_t k = 1; err == MMK_ERR_NOMEM; k++) {
		vm_put(0, VA, 1);
		sim_fail_at(k);
		err = mmk_space_fork(&t.spaces[1], vm_sp(0));
		sim_fail_at(0);
		t.is_live[1] = err == MMK_OK;
		if (err == MMK_OK)
			break;
		nr_failures++;
		cr_assert_eq(mmk_discard(vm_sp(0), VA, PAGE), MMK_OK);
		cr_assert_eq(vm_get(0, VA), 0, "k = %u", (unsigned)k);
	}
	cr_assert_gt(nr_failures, 1u);
}

Test(inherit, a_failed_fork_leaves_no_layer_shared)
{
	vm_both(failed_share);
}

static void
one_twin(void)
{
	vm_anon(0, VA, 4);
	for (unsigned i = 0; i < 4; i++)
		vm_put(0, VA + i * PAGE, 1);
	cr_assert_eq(mmk_mprotect(vm_sp(0), VA + PAGE, PAGE, RO), MMK_OK);
	vm_fork(1, 0);
	cr_assert_eq(mmk_pool_nr_used(&t.vm.amap_pool), 1u);
	cr_assert_eq(mmk_pool_nr_used(&t.vm.object_pool), 3u,
	    "the zero object, and one layer each");
}

Test(inherit, S2_10_entries_of_one_layer_have_one_layer_in_the_child)
{
	vm_both(one_twin);
}

/* ---- what is left behind ---------------------------------------------- */

static uint64_t
pool_pages(void)
{
	struct mmk_phys_stats stats;

	mmk_phys_stats_read(&t.phys, &stats);
	return stats.nr_used_pages[MMK_USE_POOL];
}

Test(inherit, vm_drain_gives_back_what_small_structures_left)
{
	uint64_t nr_full, nr_idle;

	vm_boot(SIM_ARCH_X86_64);
	vm_space(0);
	mmk_vm_drain(&t.vm);
	nr_idle = pool_pages();
	vm_mmap(0, VA, 512, RW, ANON_PRIVATE | MMK_MAP_FIXED, NULL, 0);
	for (uint64_t i = 0; i < 512; i++)
		vm_put(0, VA + i * PAGE, 1);
	nr_full = pool_pages();
	vm_munmap(0, VA, 512);
	cr_assert_gt(pool_pages(), nr_idle, "caches and empty slabs");
	mmk_vm_drain(&t.vm);
	/* The caches themselves stay, and the vm's zero object. */
	cr_assert_leq(pool_pages(), nr_idle + 3);
	cr_assert_lt(pool_pages(), nr_full / 2);
	vm_end();
}
