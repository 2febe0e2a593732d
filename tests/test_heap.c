/* SPDX-License-Identifier: MIT
 *
 * tests/test_heap.c: the break: where it may be, what comes and goes with it,
 * and that a call which fails leaves it where it was
 */
#include "vm_fixture.h"

static void
moving(void)
{
	struct mmk_space *space = vm_sp(0);
	mmk_va start_va = VA + 123, va = 77;

	cr_assert_eq(mmk_brk(space, 0, &va), MMK_OK);
	cr_assert_eq(va, 0u, "no heap yet");
	cr_assert_eq(mmk_brk(space, VA, &va), MMK_ERR_INVAL);
	cr_assert_eq(mmk_heap_init(space, 0, PAGE), MMK_ERR_INVAL);
	cr_assert_eq(mmk_heap_init(space, VM_MIN - 1, PAGE), MMK_ERR_INVAL);
	cr_assert_eq(mmk_heap_init(space, VM_MAX - PAGE, PAGE + 1),
	    MMK_ERR_INVAL);
	cr_assert_eq(mmk_heap_init(space, VA, UINT64_MAX), MMK_ERR_INVAL);
	cr_assert_eq(mmk_heap_init(space, UINT64_MAX, 1), MMK_ERR_INVAL);
	cr_assert_eq(mmk_heap_init(space, start_va, 16 * PAGE), MMK_OK);
	cr_assert_eq(mmk_heap_init(space, start_va, 16 * PAGE), MMK_ERR_EXIST);
	cr_assert_eq(mmk_brk(space, 0, &va), MMK_OK);
	cr_assert_eq(va, start_va);

	cr_assert_eq(mmk_brk(space, VA + PAGE, &va), MMK_OK);
	cr_assert_eq(va, VA + PAGE);
	cr_assert_eq(vm_access(0, VA + PAGE, MMK_PROT_READ), MMK_ERR_NOENT,
	    "only whole pages beyond the first are ours");
	cr_assert_eq(mmk_brk(space, VA + 4 * PAGE + 1, &va), MMK_OK);
	vm_put(0, VA + 4 * PAGE + 5, 'h');
	vm_put(0, VA + PAGE, 'i');
	cr_assert_eq(vm_access(0, VA + 5 * PAGE, MMK_PROT_WRITE),
	    MMK_ERR_NOENT);
	cr_assert_eq(mmk_brk(space, VA + 4 * PAGE, &va), MMK_OK);
	cr_assert_eq(vm_access(0, VA + 4 * PAGE, MMK_PROT_READ),
	    MMK_ERR_NOENT);
	cr_assert_eq(mmk_brk(space, VA + 6 * PAGE, &va), MMK_OK);
	cr_assert_eq(vm_get(0, VA + 4 * PAGE + 5), 0);
	cr_assert_eq(vm_get(0, VA + PAGE), 'i');

	cr_assert_eq(mmk_brk(space, start_va - 1, &va), MMK_ERR_INVAL);
	cr_assert_eq(va, VA + 6 * PAGE, "always where it is");
	cr_assert_eq(mmk_brk(space, start_va + 16 * PAGE + 1, &va),
	    MMK_ERR_LIMIT);
	cr_assert_eq(va, VA + 6 * PAGE);
	cr_assert_eq(mmk_brk(space, UINT64_MAX, &va), MMK_ERR_LIMIT);
	vm_mmap(0, VA + 8 * PAGE, 1, RO, ANON_SHARED | MMK_MAP_FIXED, NULL, 0);
	cr_assert_eq(mmk_brk(space, VA + 9 * PAGE, &va), MMK_ERR_EXIST);
	cr_assert_eq(va, VA + 6 * PAGE);
	cr_assert_eq(vm_access(0, VA + 6 * PAGE, MMK_PROT_READ),
	    MMK_ERR_NOENT);
	cr_assert_eq(mmk_brk(space, VA + 8 * PAGE, &va), MMK_OK);
	vm_fork(1, 0);
	cr_assert_eq(mmk_brk(vm_sp(1), 0, &va), MMK_OK);
	cr_assert_eq(va, VA + 8 * PAGE);
	cr_assert_eq(mmk_brk(space, start_va, &va), MMK_OK);
	cr_assert_eq(vm_access(0, VA + PAGE, MMK_PROT_READ), MMK_ERR_NOENT);
	cr_assert_eq(vm_get(1, VA + PAGE), 'i');
}

Test(heap, the_break_moves_within_its_bounds)
{
	vm_both(moving);
}

static void
setup_brk(void)
{
	mmk_va va;

	cr_assert_eq(mmk_heap_init(vm_sp(0), VA, 16 * PAGE), MMK_OK);
	cr_assert_eq(mmk_brk(vm_sp(0), VA + 4 * PAGE, &va), MMK_OK);
	vm_anon(0, VA + 10 * PAGE, 2);
}

static enum mmk_err
op_brk_grow(void)
{
	mmk_va va = 0;
	enum mmk_err err = mmk_brk(vm_sp(0), VA + 10 * PAGE, &va);

	cr_assert_eq(va, VA + (err == MMK_OK ? 10 : 4) * PAGE);
	return err;
}

static void
setup_brk_shrink(void)
{
	setup_brk();
	cr_assert_eq(op_brk_grow(), MMK_OK);
}

static enum mmk_err
op_brk_shrink(void)
{
	mmk_va va = 0;
	enum mmk_err err = mmk_brk(vm_sp(0), VA + 4 * PAGE, &va);

	cr_assert_eq(va, VA + (err == MMK_OK ? 4 : 10) * PAGE);
	return err;
}

Test(heap, the_break_moves_or_stays)
{
	vm_every_k(setup_brk, op_brk_grow, NULL);
	/* The heap has become one with the mapping behind it. */
	vm_every_k(setup_brk_shrink, op_brk_shrink, NULL);
}

/* What a program put in the heap's place is closed without a lock held. */
static void
replaced(void)
{
	static struct vm_file f;
	struct mmk_object *object = vm_file(&f, 2 * PAGE);
	mmk_va va;

	setup_brk_shrink();
	vm_mmap(0, VA + 6 * PAGE, 2, RW, MMK_MAP_SHARED | MMK_MAP_FIXED, object,
	    0);
	vm_put(0, VA + 6 * PAGE, 'f');
	mmk_object_unref(object);
	cr_assert_eq(mmk_brk(vm_sp(0), VA + 4 * PAGE, &va), MMK_OK);
	cr_assert_eq(f.nr_closes, 1u);
	cr_assert_eq(vm_access(0, VA + 6 * PAGE, MMK_PROT_READ),
	    MMK_ERR_NOENT);
}

Test(heap, the_break_takes_what_replaced_the_heap)
{
	vm_both(replaced);
}
