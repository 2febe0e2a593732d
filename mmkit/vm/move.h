/* SPDX-License-Identifier: MIT
 *
 * mmkit/vm/move.h: the frames of anons may change
 *
 * WHAT    Every page of every object and of every private layer is an anon, and
 *         whoever wants the page asks the anon for its frame. So it can be
 *         given another one: all translations are removed and flushed, the
 *         contents copied, the anons told. The next access faults, and finds
 *         the new frame. While that goes on the anon is busy, as when it is
 *         paged out: faults wait, everybody else leaves it alone.
 *
 *         Not moved: a frame that is pinned or on loan, that has a reference
 *         which is no anon's, a wired translation, or an anon that is busy.
 *         The zero page and page tables are no anons' and stay for ever.
 * LAYER   vm. Includes anon.h.
 * LOCKS   takes vm->lock twice; a page is copied under it. No lock is held
 *         while TLBs are flushed.
 * COST    O(translations + anons of the frame), and one page copied
 * SOURCE  own; page-out (anon.h) without the backing store.
 */
#ifndef MMKIT_VM_MOVE_H
#define MMKIT_VM_MOVE_H

#include "anon.h"

MMK_BEGIN_DECLS

/*
 * mmk_vm_set_movable: frames of anons are moved from now on, or no more.
 *
 * pre      no other vm has frames of this phys that are MMK_USE_ANON. To stop
 *          it: nobody compacts meanwhile. mmk_vm_fini stops it.
 */
MMK_API void mmk_vm_set_movable(struct mmk_vm *vm, bool is_movable);

MMK_END_DECLS
#endif /* MMKIT_VM_MOVE_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_VM_MOVE_IMPL)
#define MMKIT_VM_MOVE_IMPL

/*
 * How many anons the frame holds the contents of, if they alone have it, and
 * all will let go of it. 0: not now.
 */
MMK_PRIVATE uint32_t
mmk__anons_to_move(struct mmk_vm *vm, struct mmk_frame *frame)
{
	const struct mmk_anon *anon = frame->owner;
	uint32_t nr_anons = 0;

	MMK_ASSERT(MMKIT_LOCK_HELD(&vm->lock));
	for (; anon != NULL; anon = anon->sharer, nr_anons++)
		if ((anon->flags & MMK_ANON_BUSY) != 0)
			return 0;
	if (MMKIT_ATOMIC_LOAD(&frame->refs) != nr_anons ||
	    mmk__page_has(vm->pmap_sys, frame, MMK_PMAP_WIRED))
		return 0;
	return nr_anons;
}

/*
 * The second half: nobody translates to `from`, and its anons are busy. The
 * copy is made with vm->lock held: a busy page may still be written to under
 * that lock, by who cuts a file off in the middle of it.
 */
MMK_PRIVATE enum mmk_err
mmk__anons_move(struct mmk_vm *vm, struct mmk_frame *from,
    struct mmk_frame *to, uint32_t nr_anons)
{
	struct mmk_anon *anon = from->owner, *next;
	bool is_moved;

	MMK_ASSERT(MMKIT_LOCK_HELD(&vm->lock));
	MMKIT_PAGE_COPY(mmk_frame_ptr(vm->phys, to),
	    mmk_frame_ptr(vm->phys, from));
	is_moved = mmk_frame_hand_over(vm->phys, from, to, nr_anons);
	for (next = anon; is_moved && next != NULL; next = next->sharer)
		next->frame = to;
	for (; anon != NULL; anon = next) {
		next = anon->sharer;
		(void)mmk_anon_wake(vm, anon);
	}
	if (!is_moved)
		return MMK_ERR_BUSY;
	mmk_vm_count(vm, MMK_COUNT_PAGE_MOVE);
	return MMK_OK;
}

MMK_PRIVATE enum mmk_err
mmk__vm_move(void *ctx, struct mmk_frame *from, struct mmk_frame *to)
{
	struct mmk_vm *vm = ctx;
	struct mmk_anon *anon;
	uint32_t nr_anons;
	enum mmk_err err;

	MMKIT_LOCK(&vm->lock);
	nr_anons = mmk__anons_to_move(vm, from);
	for (anon = from->owner; nr_anons > 0 && anon != NULL;
	     anon = anon->sharer)
		anon->flags |= MMK_ANON_BUSY;
	MMKIT_UNLOCK(&vm->lock);
	if (nr_anons == 0)
		return MMK_ERR_BUSY;
	/* From here no CPU can read or write the page until it is told where. */
	mmk_page_remove_all(vm->pmap_sys, from);
	MMKIT_LOCK(&vm->lock);
	err = mmk__anons_move(vm, from, to, nr_anons);
	MMKIT_UNLOCK(&vm->lock);
	return err;
}

MMK_API void
mmk_vm_set_movable(struct mmk_vm *vm, bool is_movable)
{
	vm->mover.move = mmk__vm_move;
	vm->mover.ctx = vm;
	if (is_movable)
		mmk_phys_set_mover(vm->phys, MMK_USE_ANON, &vm->mover);
	else if (MMKIT_ATOMIC_LOAD(&vm->phys->movers[MMK_USE_ANON]) ==
	    &vm->mover)
		mmk_phys_set_mover(vm->phys, MMK_USE_ANON, NULL);
}
#endif /* MMKIT_IMPLEMENTATION */
