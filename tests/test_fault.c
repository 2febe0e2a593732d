/* SPDX-License-Identifier: MIT
 *
 * tests/test_fault.c: the state machine of vm/fault.h: its cases by counter,
 * what it does about pages that are busy, and tables that the hardware does not
 * mark
 */
#include "vm_fixture.h"

#include "prop.h"

/* The counters that one access moves, by the case it is. */
static void
expect(enum mmk_vm_counter counter, mmk_va va, unsigned access)
{
	uint64_t before = vm_count(counter);

	cr_assert_eq(vm_access(0, va, access), MMK_OK);
	cr_assert_eq(vm_count(counter), before + 1, "%s",
	    mmk_vm_counter_name(counter));
}

static void
cases(void)
{
	struct vm_file f;
	struct mmk_object *object = vm_file(&f, 4 * PAGE);
	mmk_va va;

	vm_anon(0, VA, 4);
	expect(MMK_COUNT_FAULT_ZERO_READ, VA, MMK_PROT_READ);
	expect(MMK_COUNT_FAULT_ZERO_FILL, VA, MMK_PROT_WRITE);
	vm_fork(1, 0);
	expect(MMK_COUNT_FAULT_COW, VA, MMK_PROT_WRITE);
	vm_fork(2, 0);
	vm_exit(2);
	expect(MMK_COUNT_FAULT_IN_PLACE, VA, MMK_PROT_WRITE);
	vm_fork(2, 0);
	mmk_page_remove_all(&t.sys, vm_frame(0, VA));
	expect(MMK_COUNT_FAULT_UPPER, VA, MMK_PROT_READ);
	vm_exit(2);

	va = vm_mmap(0, 0, 4, RW, MMK_MAP_PRIVATE, object, 0);
	expect(MMK_COUNT_FAULT_OBJECT, va, MMK_PROT_READ);
	cr_assert_geq(vm_count(MMK_COUNT_FAULT_AROUND), 3u,
	    "the other pages of the file came along");
	expect(MMK_COUNT_FAULT_PROMOTE, va, MMK_PROT_WRITE);
	cr_assert_eq(vm_access(0, va + 64 * PAGE, MMK_PROT_READ),
	    MMK_ERR_NOENT);
	vm_munmap(0, va, 4);
	mmk_object_unref(object);
}

Test(fault, each_case_is_what_its_counter_says)
{
	vm_both(cases);
}

static void
spurious(void)
{
	uint64_t before;

	vm_anon(0, VA, 1);
	vm_put(0, VA, 1);
	before = vm_count(MMK_COUNT_FAULT_SPURIOUS);
	cr_assert_eq(mmk_fault(vm_map(0), VA, MMK_PROT_WRITE), MMK_OK);
	cr_assert_eq(vm_count(MMK_COUNT_FAULT_SPURIOUS), before + 1);
	cr_assert_eq(vm_get(0, VA), 1);
}

Test(fault, S0_20_a_page_that_is_there_is_left_alone)
{
	vm_both(spurious);
}

/* Hardware that marks nothing: the fault notes what was read and written. */
Test(fault, software_marks_are_exact_about_writes)
{
	struct sim_config config = { .ram_bytes = 8u << 20, .nr_cpus = 2,
		.arch = SIM_ARCH_AARCH64, .software_ad = true,
		.caches_denials = true };
	struct mmk_object *object;
	struct vm_file f;
	mmk_va va;

	vm_boot_with(&config, NULL);
	vm_space(0);
	object = vm_file(&f, 4 * PAGE);
	va = vm_mmap(0, 0, 4, RW, MMK_MAP_SHARED, object, 0);
	cr_assert_eq(vm_get(0, va), 'a');
	cr_assert(!mmk_page_is_modified(&t.sys, vm_frame(0, va)));
	vm_put(0, va, 'A');
	cr_assert(mmk_page_is_modified(&t.sys, vm_frame(0, va)));
	cr_assert_gt(vm_count(MMK_COUNT_FAULT_EMULATED), 0u);
	cr_assert_eq(mmk_msync(vm_sp(0), va, PAGE), MMK_OK);
	cr_assert(!mmk_page_is_modified(&t.sys, vm_frame(0, va)));
	vm_put(0, va, 'B');
	cr_assert(mmk_page_is_modified(&t.sys, vm_frame(0, va)),
	    "a write after the page was cleaned is seen again");
	vm_anon(0, VA, 2);
	vm_put(0, VA, 1);
	vm_fork(1, 0);
	vm_put(1, VA, 2);
	vm_put(0, VA, 3);
	cr_assert_eq(vm_get(1, VA), 2);
	cr_assert(mmk_check(&t.vm));
	mmk_object_unref(object);
	vm_end();
}

/* A page another CPU is bringing in: nobody sees it half done. */
static void
busy(void)
{
	struct mmk_entry *entry;
	struct mmk_anon *anon;

	vm_anon(0, VA, 1);
	vm_put(0, VA, 1);
	MMKIT_MUTEX_LOCK(&vm_map(0)->mutex);
	entry = mmk_map_lookup(vm_map(0), VA);
	MMKIT_MUTEX_UNLOCK(&vm_map(0)->mutex);
	anon = mmk_amap_lookup(entry->upper.object->amap, entry->upper.page);
	mmk_page_remove_all(&t.sys, anon->frame);
	anon->flags |= MMK_ANON_BUSY;
	cr_assert_eq(mmk_fault(vm_map(0), VA, MMK_PROT_READ), MMK_ERR_AGAIN);
	cr_assert_eq(vm_pa(0, VA), UINT64_MAX);
	anon->flags &= ~MMK_ANON_BUSY;
	cr_assert_eq(vm_get(0, VA), 1);
}

Test(fault, a_busy_page_is_not_mapped)
{
	vm_both(busy);
}

static void
stack(void)
{
	mmk_va top = VA + 64 * PAGE, low;

	cr_assert_eq(mmk_mmap(vm_sp(0), top - 2 * PAGE, 2 * PAGE, RW, ALL,
	    ANON_PRIVATE | MMK_MAP_FIXED | MMK_MAP_STACK, NULL, 0, &low),
	    MMK_OK);
	vm_map(0)->stack_limit_pages = 16;
	vm_map(0)->stack_guard_pages = 4;
	vm_put(0, top - 1, 1);
	vm_put(0, top - 10 * PAGE, 2);
	cr_assert_eq(vm_entry(0, top - 1).start_va, top - 10 * PAGE,
	    "one entry still");
	cr_assert_eq(vm_access(0, top - 17 * PAGE, MMK_PROT_WRITE),
	    MMK_ERR_LIMIT);
	vm_anon(0, top - 20 * PAGE, 4);
	cr_assert_eq(vm_access(0, top - 13 * PAGE, MMK_PROT_WRITE),
	    MMK_ERR_LIMIT, "the guard would be gone");
	vm_put(0, top - 12 * PAGE, 3);
	vm_fork(1, 0);
	vm_munmap(0, top - 20 * PAGE, 4);
	vm_put(0, top - 14 * PAGE, 4);
	cr_assert_eq(vm_get(1, top - 10 * PAGE), 2);
	cr_assert_eq(vm_access(1, top - 14 * PAGE, MMK_PROT_READ),
	    MMK_ERR_LIMIT, "the child has the mapping below");
	cr_assert_eq(vm_get(0, top - 1), 1);
}

Test(fault, a_stack_grows_to_its_limit_and_keeps_its_guard)
{
	vm_both(stack);
}

Test(fault_bugs, two_kinds_of_access_at_once_trap, .signal = SIGABRT)
{
	enum mmk_err err;

	vm_boot(SIM_ARCH_X86_64);
	vm_space(0);
	err = mmk_fault(vm_map(0), VA, RW);
	(void)err;
}
