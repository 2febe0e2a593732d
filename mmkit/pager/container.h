/* SPDX-License-Identifier: MIT
 *
 * mmkit/pager/container.h: a range of a container's names, as an object
 *
 * WHAT    What a container names can be shown in address spaces like a file: a
 *         fault asks for a page, and gets what it means just now. The container
 *         keeps the memory and takes it back when it must: to move it, to free
 *         it, because somebody else may write to it now. The next fault asks
 *         again. Private mappings copy what they write, as of any object.
 *
 *         Credit, pins and rights are the container's business: see phys/.
 * LAYER   pager. Includes device.h and phys/physmem.h.
 * LOCKS   grant: physmem->mutex, until granted; the map's mutex is held outside
 *         of it
 * COST    an object and 24 bytes; a fault that of mmk_container_grant
 * SOURCE  own: physmem's map request and UVM's object are one thing
 */
#ifndef MMKIT_PAGER_CONTAINER_H
#define MMKIT_PAGER_CONTAINER_H

#include "../phys/physmem.h"
#include "device.h"

MMK_BEGIN_DECLS

MMK_DATA const struct mmk_pager_ops mmk_container_pager;

/*
 * mmk_container_object_create: an object whose page n is the page of names at
 * first_name + n pages.
 *
 * The object keeps the container in being, not its names: what is not allocated
 * when a fault comes fails it with MMK_ERR_NOSPACE, as beyond a file's end.
 *
 * pre      the physmem's plug is mmk_container_plug of the vm's pmap_sys.
 * out      *object_out, with one reference.
 * errors   MMK_ERR_INVAL: unaligned, empty or wrapping. MMK_ERR_NOMEM.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_container_object_create(
    struct mmk_vm *vm, struct mmk_container *container, uint64_t first_name,
    uint64_t nr_pages, struct mmk_object **object_out);

/*
 * mmk_physmem_object_create: the same for a client, by name: READ of the handle
 * allows to map, WRITE to write. When the name is closed or revoked nothing is
 * granted any more: faults fail with MMK_ERR_NOSPACE.
 *
 * pre      as above; the table outlives the object.
 * errors   as above, and as mmk_handle_lookup.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_physmem_object_create(
    struct mmk_vm *vm, struct mmk_handles *table, mmk_handle_name name,
    uint64_t first_name, uint64_t nr_pages, struct mmk_object **object_out);

/* How translations in the page tables of `sys` are revoked. */
MMK_API struct mmk_physmem_plug mmk_container_plug(struct mmk_pmap_sys *sys);

MMK_END_DECLS
#endif /* MMKIT_PAGER_CONTAINER_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_PAGER_CONTAINER_IMPL)
#define MMKIT_PAGER_CONTAINER_IMPL

/* What an object shows. Immutable. */
struct mmk__container_view {
	struct mmk_container *container; /* with a reference */
	uint64_t first_name;
	struct mmk__pass pass; /* table NULL: the kernel's own */
};

MMK_PRIVATE enum mmk_err
mmk__container_object_grant(struct mmk_object *object, uint64_t page,
    unsigned access, mmk_pa *pa_out, bool *may_write_out)
{
	const struct mmk__container_view *view =
	    (const struct mmk__container_view *)object->ctx;
	const struct mmk__pass *pass =
	    view->pass.table != NULL ? &view->pass : NULL;
	bool is_readonly = pass != NULL &&
	    (pass->rights & MMK_RIGHT_WRITE) == 0;
	enum mmk_err err;

	if (is_readonly && access == MMK_PROT_WRITE)
		return MMK_ERR_ACCESS;
	err = mmk__grant_as(view->container, pass,
	    view->first_name + mmk_bytes_of_pages(page), access, pa_out,
	    may_write_out);
	if (err == MMK_OK && is_readonly)
		*may_write_out = false;
	return err == MMK_ERR_NOENT ? MMK_ERR_NOSPACE : err;
}

MMK_PRIVATE void
mmk__container_object_granted(struct mmk_object *object, uint64_t page,
    mmk_pa pa)
{
	const struct mmk__container_view *view =
	    (const struct mmk__container_view *)object->ctx;

	(void)page;
	(void)pa;
	mmk_container_granted(view->container);
}

MMK_PRIVATE void
mmk__container_object_destroy(struct mmk_object *object)
{
	struct mmk__container_view *view =
	    (struct mmk__container_view *)object->ctx;
	struct mmk_container *container = view->container;

	mmk__physmem_free(container->physmem, view, sizeof(*view));
	mmk_container_unref(container);
}

#ifdef MMKIT_STATIC
static
#endif
const struct mmk_pager_ops mmk_container_pager = {
	.name = "container",
	.kind = MMK_PAGER_CONTAINER,
	.get = NULL,
	.put = NULL,
	.map = NULL,
	.unmap = NULL,
	.destroy = mmk__container_object_destroy,
	.grant = mmk__container_object_grant,
	.granted = mmk__container_object_granted,
};

MMK_PRIVATE enum mmk_err
mmk__container_object_make(struct mmk_vm *vm, struct mmk_container *container,
    const struct mmk__pass *pass, uint64_t first_name, uint64_t nr_pages,
    struct mmk_object **object_out)
{
	struct mmk__container_view *view;
	enum mmk_err err;

	if (!mmk_is_page_aligned(first_name) || nr_pages == 0 ||
	    nr_pages - 1 > mmk_pages_of_bytes(UINT64_MAX - first_name))
		return MMK_ERR_INVAL;
	view = (struct mmk__container_view *)
	    mmk__physmem_alloc(container->physmem, sizeof(*view));
	if (view == NULL)
		return MMK_ERR_NOMEM;
	view->container = container;
	view->first_name = first_name;
	view->pass = *pass;
	err = mmk_object_create(vm, &mmk_container_pager, view, nr_pages,
	    object_out);
	if (err == MMK_OK)
		mmk_container_ref(container);
	else
		mmk__physmem_free(container->physmem, view, sizeof(*view));
	return err;
}

MMK_API enum mmk_err
mmk_container_object_create(struct mmk_vm *vm,
    struct mmk_container *container, uint64_t first_name, uint64_t nr_pages,
    struct mmk_object **object_out)
{
	const struct mmk__pass own = { NULL, 0, 0 };

	return mmk__container_object_make(vm, container, &own, first_name,
	    nr_pages, object_out);
}

MMK_API enum mmk_err
mmk_physmem_object_create(struct mmk_vm *vm, struct mmk_handles *table,
    mmk_handle_name name, uint64_t first_name, uint64_t nr_pages,
    struct mmk_object **object_out)
{
	struct mmk__pass pass = { table, name, MMK_RIGHT_READ };
	struct mmk_container *container;
	enum mmk_err err = mmk__pass_open(&pass, &container);

	if (err != MMK_OK)
		return err;
	pass.rights |= mmk_handle_rights(table, name) & MMK_RIGHT_WRITE;
	err = mmk__container_object_make(vm, container, &pass, first_name,
	    nr_pages, object_out);
	mmk_container_unref(container);
	return err;
}

MMK_PRIVATE void
mmk__container_revoke_pages(void *ctx, struct mmk_frame *frame, unsigned keep)
{
	struct mmk_pmap_sys *sys = (struct mmk_pmap_sys *)ctx;

	if (keep == 0)
		mmk_page_remove_all(sys, frame);
	else
		mmk_page_write_protect(sys, frame);
}

MMK_API struct mmk_physmem_plug
mmk_container_plug(struct mmk_pmap_sys *sys)
{
	struct mmk_physmem_plug plug;

	plug.revoke = mmk__container_revoke_pages;
	plug.ctx = sys;
	return plug;
}
#endif /* MMKIT_IMPLEMENTATION */
