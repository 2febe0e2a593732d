/* SPDX-License-Identifier: MIT
 *
 * mmkit/pager/zero.h: memory that starts as zeros
 *
 * WHAT    What an mmap without a file shows. Two uses:
 *
 *           shared    one object for all private anonymous memory of a vm. Its
 *                     pages are never made: a private read shows the vm's page
 *                     of zeros, a private write goes to the entry's own layer
 *           its own   an object for each shared anonymous mapping, whose pages
 *                     are made as they are touched
 *
 *         The defaults of object.h are what a zero object is (S0.11).
 *
 * LAYER   pager. Includes vm/start.h. Knows no maps.
 * LOCKS   vm->lock guards vm->zero_object
 * COST    one object each; the shared one stays until mmk_vm_fini
 * SOURCE  SeaOS's zero-file (S0.10, S0.11)
 */
#ifndef MMKIT_PAGER_ZERO_H
#define MMKIT_PAGER_ZERO_H

#include "../vm/start.h"

MMK_BEGIN_DECLS

/* None of the functions. */
MMK_DATA const struct mmk_pager_ops mmk_zero_pager;

/*
 * mmk_zero_create: a zero object of its own, for shared anonymous memory.
 *
 * pre      nr_pages > 0.
 * out      *object_out, with one reference.
 * errors   MMK_ERR_NOMEM: nothing changed.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_zero_create(struct mmk_vm *vm,
    uint64_t nr_pages, struct mmk_object **object_out);

/*
 * mmk_zero_shared: the one zero object that private anonymous memory shows.
 *
 * locks    takes and drops vm->lock
 * out      *object_out, with a reference for the caller; the vm has its own.
 * errors   MMK_ERR_NOMEM: nothing changed.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_zero_shared(struct mmk_vm *vm,
    struct mmk_object **object_out);

MMK_END_DECLS
#endif /* MMKIT_PAGER_ZERO_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_PAGER_ZERO_IMPL)
#define MMKIT_PAGER_ZERO_IMPL

#ifdef MMKIT_STATIC
static
#endif
const struct mmk_pager_ops mmk_zero_pager = {
	.name = "zero",
	.kind = MMK_PAGER_ZERO,
};

MMK_API enum mmk_err
mmk_zero_create(struct mmk_vm *vm, uint64_t nr_pages,
    struct mmk_object **object_out)
{
	return mmk_object_create(vm, &mmk_zero_pager, NULL, nr_pages,
	    object_out);
}

/* Make the shared object, unless another CPU is faster. */
MMK_PRIVATE MMK_NODISCARD enum mmk_err
mmk__zero_make_shared(struct mmk_vm *vm)
{
	/* As many pages as there are addresses to show them at. */
	uint64_t nr_pages = mmk_pages_of_bytes(UINT64_MAX);
	struct mmk_object *made;
	enum mmk_err err = mmk_zero_create(vm, nr_pages, &made);

	if (err != MMK_OK)
		return err;
	MMKIT_LOCK(&vm->lock);
	if (vm->zero_object == NULL) {
		made->flags |= MMK_OBJECT_EMPTY;
		vm->zero_object = made; /* with its reference */
		made = NULL;
	}
	MMKIT_UNLOCK(&vm->lock);
	if (made != NULL)
		mmk_object_unref(made);
	return MMK_OK;
}

MMK_API enum mmk_err
mmk_zero_shared(struct mmk_vm *vm, struct mmk_object **object_out)
{
	enum mmk_err err = MMK_OK;
	bool is_there;

	MMKIT_LOCK(&vm->lock);
	is_there = vm->zero_object != NULL;
	MMKIT_UNLOCK(&vm->lock);
	if (!is_there)
		err = mmk__zero_make_shared(vm);
	if (err != MMK_OK)
		return err;
	mmk_object_ref(vm->zero_object);
	*object_out = vm->zero_object;
	return MMK_OK;
}
#endif /* MMKIT_IMPLEMENTATION */
