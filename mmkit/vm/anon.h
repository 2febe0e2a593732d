/* SPDX-License-Identifier: MIT
 *
 * mmkit/vm/anon.h: one logical page of memory that can be paged
 *
 * WHAT    An anon stands for the contents of one page. They are in a frame,
 *         or with the vm's backing store under two words of the pager's own,
 *         or (clean, just read back) both. Every page of every object and of
 *         every private layer is an anon, so that there is one way to fault a
 *         page and one way to page it out.
 *
 *         Three questions, three counts, never mixed:
 *           anon->refs      how many amaps hold this logical page
 *           frame->refs     how many anons (and others) hold the frame
 *           frame->mapped   how many translations lead to it
 *
 * LAYER   vm. Includes vm.h. Knows no amaps, objects or maps.
 * LOCKS   vm->lock guards every field; in and out are called without it
 * COST    48 bytes an anon. Every operation O(1) but attach of a frame held
 *         by k anons, O(k).
 * SOURCE  Cranor 1998, section 4.3; the two words are SCAL/UX's.
 *
 * I1      refs is the number of amap slots that hold it      mmk_check
 * I2      frame != NULL  =>  it is on frame->owner's chain   mmk_check
 */
#ifndef MMKIT_VM_ANON_H
#define MMKIT_VM_ANON_H

#include "vm.h"

MMK_BEGIN_DECLS

#define MMK_ANON_BUSY 1u    /* its contents are on the way in, out or elsewhere */
#define MMK_ANON_STORED 2u  /* words are valid */
#define MMK_ANON_DROPPED 4u /* lost its last slot while busy */

/* Guards: [V] vm->lock */
struct mmk_anon {
	uint32_t refs;             /* [V] amap slots that hold it */
	uint32_t seen;             /* [V] scratch of mmk_check */
	uint32_t flags;            /* [V] MMK_ANON_* */
	struct mmk_frame *frame;   /* [V] where the contents are, or NULL */
	struct mmk_anon *sharer;   /* [V] next anon of the same frame */
	uint64_t words[2];         /* [V] the backing store's, if STORED */
};

/*
 * mmk_anon_create: an anon with one reference and no contents.
 *
 * errors   NULL: no memory, nothing changed.
 */
MMK_API MMK_NODISCARD struct mmk_anon *mmk_anon_create(struct mmk_vm *vm);

/*
 * mmk_anon_create_resident: an anon and a frame for it.
 *
 * pre      alloc_flags: 0 or MMK_ALLOC_ZERO.
 * errors   NULL: no memory, nothing changed.
 */
MMK_API MMK_NODISCARD struct mmk_anon *mmk_anon_create_resident(
    struct mmk_vm *vm, unsigned alloc_flags);

/*
 * mmk_anon_attach: `frame` holds the contents of `anon` from now on.
 *
 * pre      anon has no frame. Takes over one reference of the caller's to
 *          `frame`, which may hold other anons' contents too.
 */
MMK_API void mmk_anon_attach(struct mmk_anon *anon, struct mmk_frame *frame);

/* The other way: takes the frame from `anon`, with its reference. */
MMK_API struct mmk_frame *mmk_anon_detach(struct mmk_anon *anon);

/*
 * mmk_anon_ref, mmk_anon_unref: a slot holds it, holds it no longer.
 *
 * pre      unref of the last: no CPU can reach the page any more, that is,
 *          its translations are removed and flushed.
 * locks    vm->lock held
 * cost     At 0 the anon is freed, and with it its reference to the frame and
 *          its place in backing store; a busy one, when it is busy no longer.
 */
MMK_API void mmk_anon_ref(struct mmk_anon *anon);
MMK_API void mmk_anon_unref(struct mmk_vm *vm, struct mmk_anon *anon);

/*
 * mmk_anon_page_out: write the contents to backing store, free the frame.
 *
 * pre      the caller knows that the anon will not go away before the call
 *          has marked it busy.
 * locks    none held; takes vm->lock, drops it for the backing store
 * out      No translation leads to the page from before the write begins
 *          until a fault brings it back (S2.17). A clean page whose words are
 *          still good is not written again (S2.18).
 * errors   MMK_ERR_NOENT: not resident; MMK_ERR_BUSY: on its way, pinned,
 *          loaned or held by others; MMK_ERR_INVAL: no backing store;
 *          MMK_ERR_IO, MMK_ERR_NOSPACE from it: the page stays resident and
 *          its contents unchanged.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_anon_page_out(struct mmk_vm *vm,
    struct mmk_anon *anon);

/*
 * mmk_anon_page_in_begin, _end: make the contents resident, in two steps, so
 * that whoever found the anon can let go of its locks between them.
 *
 * pre      begin: stored, not resident, not busy.
 * locks    begin: vm->lock held. end: none held; waits for the backing store,
 *          then takes vm->lock for a moment.
 * out      Between the two the anon is busy.
 * errors   begin: MMK_ERR_NOMEM: nothing changed. end: MMK_ERR_IO: still not
 *          resident, words kept; MMK_ERR_AGAIN: nobody holds it any more, and
 *          it is gone.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_anon_page_in_begin(struct mmk_vm *vm,
    struct mmk_anon *anon, struct mmk_frame **frame_out);
MMK_API MMK_NODISCARD enum mmk_err mmk_anon_page_in_end(struct mmk_vm *vm,
    struct mmk_anon *anon, struct mmk_frame *frame);

/*
 * mmk_anon_wake: the anon is busy no longer; whoever waits may look again. One
 * that was dropped meanwhile is freed: false.
 *
 * locks    vm->lock held
 */
MMK_API bool mmk_anon_wake(struct mmk_vm *vm, struct mmk_anon *anon);

MMK_END_DECLS
#endif /* MMKIT_VM_ANON_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_VM_ANON_IMPL)
#define MMKIT_VM_ANON_IMPL

MMK_API struct mmk_anon *
mmk_anon_create(struct mmk_vm *vm)
{
	struct mmk_anon *anon = mmk_pool_alloc(&vm->anon_pool);

	if (anon == NULL)
		return NULL;
	MMKIT_MEMSET(anon, 0, sizeof(*anon));
	anon->refs = 1;
	return anon;
}

MMK_API struct mmk_anon *
mmk_anon_create_resident(struct mmk_vm *vm, unsigned alloc_flags)
{
	struct mmk_anon *anon = mmk_anon_create(vm);
	struct mmk_frame *frame;

	if (anon == NULL)
		return NULL;
	if (mmk_frame_alloc(vm->phys, 0, alloc_flags | MMK_ALLOC_MOVABLE,
	    MMK_USE_ANON, &frame) != MMK_OK) {
		mmk_pool_free(&vm->anon_pool, anon);
		return NULL;
	}
	mmk_anon_attach(anon, frame);
	return anon;
}

MMK_API void
mmk_anon_attach(struct mmk_anon *anon, struct mmk_frame *frame)
{
	MMK_ASSERT(anon->frame == NULL);
	anon->frame = frame;
	anon->sharer = frame->owner;
	frame->owner = anon;
}

MMK_API struct mmk_frame *
mmk_anon_detach(struct mmk_anon *anon)
{
	struct mmk_frame *frame = anon->frame;
	struct mmk_anon *other;

	MMK_ASSERT(frame != NULL);
	other = frame->owner;
	if (other == anon) {
		frame->owner = anon->sharer;
	} else {
		while (other->sharer != anon)
			other = other->sharer;
		other->sharer = anon->sharer;
	}
	anon->frame = NULL;
	anon->sharer = NULL;
	return frame;
}

MMK_API void
mmk_anon_ref(struct mmk_anon *anon)
{
	MMK_ASSERT(anon->refs > 0 && anon->refs < UINT32_MAX);
	anon->refs++;
}

MMK_PRIVATE void
mmk__anon_destroy(struct mmk_vm *vm, struct mmk_anon *anon)
{
	if (anon->frame != NULL)
		(void)mmk_frame_unref(vm->phys, mmk_anon_detach(anon));
	if ((anon->flags & MMK_ANON_STORED) != 0)
		vm->backing->free(vm->backing->ctx, anon->words);
	mmk_pool_free(&vm->anon_pool, anon);
}

MMK_API void
mmk_anon_unref(struct mmk_vm *vm, struct mmk_anon *anon)
{
	MMK_ASSERT(MMKIT_LOCK_HELD(&vm->lock));
	MMK_ASSERT(anon->refs > 0);
	if (--anon->refs > 0)
		return;
	if ((anon->flags & MMK_ANON_BUSY) != 0)
		anon->flags |= MMK_ANON_DROPPED;
	else
		mmk__anon_destroy(vm, anon);
}

MMK_API bool
mmk_anon_wake(struct mmk_vm *vm, struct mmk_anon *anon)
{
	MMK_ASSERT(MMKIT_LOCK_HELD(&vm->lock));
	anon->flags &= ~MMK_ANON_BUSY;
#ifdef MMKIT_WAKE
	MMKIT_WAKE(anon);
#endif
	if ((anon->flags & MMK_ANON_DROPPED) == 0)
		return true;
	mmk__anon_destroy(vm, anon);
	return false;
}

/* May the frame be taken away? If so, the anon is busy from here on. */
MMK_PRIVATE enum mmk_err
mmk__anon_page_out_begin(struct mmk_vm *vm, struct mmk_anon *anon)
{
	struct mmk_frame *frame = anon->frame;

	if (vm->backing == NULL)
		return MMK_ERR_INVAL;
	if ((anon->flags & MMK_ANON_BUSY) != 0)
		return MMK_ERR_BUSY;
	if (frame == NULL)
		return MMK_ERR_NOENT;
	if (MMKIT_ATOMIC_LOAD(&frame->refs) != 1 ||
	    MMKIT_ATOMIC_LOAD(&frame->pins) != 0 ||
	    MMKIT_ATOMIC_LOAD(&frame->loans) != 0)
		return MMK_ERR_BUSY;
	anon->flags |= MMK_ANON_BUSY;
	return MMK_OK;
}

MMK_API enum mmk_err
mmk_anon_page_out(struct mmk_vm *vm, struct mmk_anon *anon)
{
	uint64_t words[2] = { 0, 0 };
	struct mmk_frame *frame;
	bool is_stored;
	enum mmk_err err;

	MMKIT_LOCK(&vm->lock);
	err = mmk__anon_page_out_begin(vm, anon);
	frame = anon->frame;
	is_stored = (anon->flags & MMK_ANON_STORED) != 0;
	MMKIT_UNLOCK(&vm->lock);
	if (err != MMK_OK)
		return err;

	/* From here no CPU can write: what is written out is what counts. */
	mmk_page_remove_all(vm->pmap_sys, frame);
	if (is_stored && !mmk_page_is_modified(vm->pmap_sys, frame)) {
		words[0] = anon->words[0];
		words[1] = anon->words[1];
	} else {
		err = vm->backing->out(vm->backing->ctx, frame, words);
		mmk_vm_count(vm, MMK_COUNT_PAGE_OUT);
		if (err == MMK_OK && is_stored)
			vm->backing->free(vm->backing->ctx, anon->words);
	}

	MMKIT_LOCK(&vm->lock);
	if (err == MMK_OK) {
		anon->words[0] = words[0];
		anon->words[1] = words[1];
		anon->flags |= MMK_ANON_STORED;
		(void)mmk_frame_unref(vm->phys, mmk_anon_detach(anon));
	}
	(void)mmk_anon_wake(vm, anon);
	MMKIT_UNLOCK(&vm->lock);
	return err;
}

MMK_API enum mmk_err
mmk_anon_page_in_begin(struct mmk_vm *vm, struct mmk_anon *anon,
    struct mmk_frame **frame_out)
{
	enum mmk_err err;

	MMK_ASSERT(MMKIT_LOCK_HELD(&vm->lock));
	MMK_ASSERT(anon->frame == NULL);
	MMK_ASSERT((anon->flags & MMK_ANON_STORED) != 0);
	MMK_ASSERT((anon->flags & MMK_ANON_BUSY) == 0);
	err = mmk_frame_alloc(vm->phys, 0, MMK_ALLOC_MOVABLE, MMK_USE_ANON,
	    frame_out);
	if (err == MMK_OK)
		anon->flags |= MMK_ANON_BUSY;
	return err;
}

MMK_API enum mmk_err
mmk_anon_page_in_end(struct mmk_vm *vm, struct mmk_anon *anon,
    struct mmk_frame *frame)
{
	enum mmk_err err = vm->backing->in(vm->backing->ctx, anon->words, frame);

	mmk_vm_count(vm, MMK_COUNT_PAGE_IN);
	MMKIT_LOCK(&vm->lock);
	if (err == MMK_OK)
		mmk_anon_attach(anon, frame);
	else
		(void)mmk_frame_unref(vm->phys, frame);
	if (!mmk_anon_wake(vm, anon))
		err = MMK_ERR_AGAIN;
	MMKIT_UNLOCK(&vm->lock);
	return err;
}
#endif /* MMKIT_IMPLEMENTATION */
