/* SPDX-License-Identifier: MIT
 *
 * mmkit/pager/device.h: fixed physical addresses: device memory, ROM, screens
 *
 * WHAT    A run of physical pages, foreign or managed, as an object. Page n is
 *         at base_pa + n pages; no anon is ever made, nothing is paged out, and
 *         a fork shares it (S2.5). It gives its addresses itself (ops->map), so
 *         a managed frame has a reference for each translation.
 * LAYER   pager. Includes file.h. Knows no maps.
 * LOCKS   none of its own; map is called with the map's mutex held
 * COST    one object
 * SOURCE  UVM's device pager; SCAL/UX's special objects
 */
#ifndef MMKIT_PAGER_DEVICE_H
#define MMKIT_PAGER_DEVICE_H

#include "file.h"

MMK_BEGIN_DECLS

MMK_DATA const struct mmk_pager_ops mmk_device_pager;

/*
 * mmk_device_create: an object over nr_pages pages from base_pa on.
 *
 * pre      Managed frames of the run stay allocated while the object lives.
 *          is_device_memory: to be mapped uncached and in order; false for RAM.
 * out      *object_out, with one reference.
 * errors   MMK_ERR_INVAL: unaligned, empty or wrapping; MMK_ERR_NOMEM: nothing
 *          changed.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_device_create(struct mmk_vm *vm,
    mmk_pa base_pa, uint64_t nr_pages, bool is_device_memory,
    struct mmk_object **object_out);

MMK_END_DECLS
#endif /* MMKIT_PAGER_DEVICE_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_PAGER_DEVICE_IMPL)
#define MMKIT_PAGER_DEVICE_IMPL

/* The object's ctx is the number of its first page: it fits in a pointer. */
MMK_PRIVATE enum mmk_err
mmk__device_map(struct mmk_object *object, const struct mmk_entry *entry,
    uint64_t page, unsigned access, mmk_pa *pa_out)
{
	mmk_pa pa = mmk_pa_of_pfn((mmk_pfn)(uintptr_t)object->ctx + page);

	(void)entry;
	(void)access;
	(void)mmk_pa_ref(object->vm->phys, pa);
	*pa_out = pa;
	return MMK_OK;
}

#ifdef MMKIT_STATIC
static
#endif
const struct mmk_pager_ops mmk_device_pager = {
	.name = "device",
	.kind = MMK_PAGER_DEVICE,
	.get = NULL,
	.put = NULL,
	.map = mmk__device_map,
	.unmap = NULL,
	.destroy = NULL,
};

MMK_API enum mmk_err
mmk_device_create(struct mmk_vm *vm, mmk_pa base_pa, uint64_t nr_pages,
    bool is_device_memory, struct mmk_object **object_out)
{
	struct mmk_object *object;
	enum mmk_err err;

	if (!mmk_is_page_aligned(base_pa) || nr_pages == 0 ||
	    nr_pages > mmk_pages_of_bytes(UINT64_MAX - base_pa))
		return MMK_ERR_INVAL;
	if (mmk_pfn_of_pa(base_pa) > UINTPTR_MAX)
		return MMK_ERR_INVAL;
	err = mmk_object_create(vm, &mmk_device_pager,
	    (void *)(uintptr_t)mmk_pfn_of_pa(base_pa), nr_pages, &object);
	if (err != MMK_OK)
		return err;
	if (is_device_memory)
		object->flags |= MMK_OBJECT_DEVICE;
	*object_out = object;
	return MMK_OK;
}
#endif /* MMKIT_IMPLEMENTATION */
