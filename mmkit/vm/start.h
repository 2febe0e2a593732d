/* SPDX-License-Identifier: MIT
 *
 * mmkit/vm/start.h: the beginning and the end of a machine's virtual memory
 *
 * WHAT    Init and fini of struct mmk_vm. They stand after everything whose
 *         size they must know.
 * LAYER   vm. Includes inherit.h and move.h.
 * LOCKS   none: nobody else knows the vm yet, or any more
 * COST    init takes one frame; pools take theirs as they are used
 * SOURCE  own
 */
#ifndef MMKIT_VM_START_H
#define MMKIT_VM_START_H

#include "inherit.h"
#include "move.h"

MMK_BEGIN_DECLS

/*
 * mmk_vm_init: an empty machine: no maps, no objects.
 *
 * pre      phys and pmap_sys are initialised and outlive the vm.
 * errors   MMK_ERR_NOMEM: no frame for the zero page; nothing changed.
 */
#define mmk_vm_init MMK_STAMP(mmk_vm_init)
MMK_API MMK_NODISCARD enum mmk_err mmk_vm_init(struct mmk_vm *vm,
    struct mmk_phys *phys, struct mmk_pmap_sys *pmap_sys,
    const struct mmk_backing *backing);

/*
 * mmk_vm_drain: frames that only cached small structures keep, back to phys:
 * mmk_pool_drain for every pool of the vm's and of its pmap_sys. For a kernel
 * that is short of memory. locks: none is held.
 */
MMK_API void mmk_vm_drain(struct mmk_vm *vm);

/* pre: no map and no object is left. Gives every frame back. */
MMK_API void mmk_vm_fini(struct mmk_vm *vm);

MMK_END_DECLS
#endif /* MMKIT_VM_START_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_VM_START_IMPL)
#define MMKIT_VM_START_IMPL

MMK_PRIVATE void *
mmk__vm_node_alloc(void *ctx)
{
	return mmk_pool_alloc(ctx);
}

MMK_PRIVATE void
mmk__vm_node_free(void *ctx, void *node)
{
	mmk_pool_free(ctx, node);
}

MMK_PRIVATE void
mmk__vm_pool_init(struct mmk_vm *vm, struct mmk_pool *pool, const char *name,
    size_t item_bytes)
{
	mmk_pool_init(pool, vm->phys, name, item_bytes);
	mmk_pool_use_caches(pool, &vm->pmap_sys->cache_pool);
}

MMK_API enum mmk_err
mmk_vm_init(struct mmk_vm *vm, struct mmk_phys *phys,
    struct mmk_pmap_sys *pmap_sys, const struct mmk_backing *backing)
{
	struct mmk_frame *zero_frame;
	enum mmk_err err = mmk_frame_alloc(phys, 0, MMK_ALLOC_ZERO,
	    MMK_USE_KERNEL, &zero_frame);

	if (err != MMK_OK)
		return err;
	MMKIT_MEMSET(vm, 0, sizeof(*vm));
	vm->phys = phys;
	vm->pmap_sys = pmap_sys;
	vm->backing = backing;
	vm->zero_frame = zero_frame;
	mmk__vm_pool_init(vm, &vm->node_pool, "btree node",
	    MMK_BTREE_NODE_BYTES);
	mmk__vm_pool_init(vm, &vm->slots_pool, "amap node",
	    sizeof(struct mmk_slots_node));
	mmk__vm_pool_init(vm, &vm->anon_pool, "anon", sizeof(struct mmk_anon));
	mmk__vm_pool_init(vm, &vm->amap_pool, "amap", sizeof(struct mmk_amap));
	mmk__vm_pool_init(vm, &vm->object_pool, "object",
	    sizeof(struct mmk_object));
	mmk__vm_pool_init(vm, &vm->entry_pool, "entry",
	    sizeof(struct mmk_entry));
	mmk__vm_pool_init(vm, &vm->submap_pool, "sub-map",
	    sizeof(struct mmk_submap));
	MMKIT_MUTEX_INIT(&vm->submap_mutex, "submaps", MMK_RANK_SUBMAP);
	vm->map_nodes.alloc = mmk__vm_node_alloc;
	vm->map_nodes.free = mmk__vm_node_free;
	vm->map_nodes.ctx = &vm->node_pool;
	MMKIT_LOCK_INIT(&vm->lock, "vm", MMK_RANK_VM);
	mmk_list_init(&vm->maps);
	mmk_list_init(&vm->objects);
	return MMK_OK;
}

MMK_API void
mmk_vm_drain(struct mmk_vm *vm)
{
	mmk_pool_drain(&vm->submap_pool);
	mmk_pool_drain(&vm->entry_pool);
	mmk_pool_drain(&vm->object_pool);
	mmk_pool_drain(&vm->amap_pool);
	mmk_pool_drain(&vm->anon_pool);
	mmk_pool_drain(&vm->slots_pool);
	mmk_pool_drain(&vm->node_pool);
	mmk_pool_drain(&vm->pmap_sys->rmap_pool);
	mmk_pool_drain(&vm->pmap_sys->cache_pool);
}

MMK_API void
mmk_vm_fini(struct mmk_vm *vm)
{
	mmk_vm_set_movable(vm, false);
	if (vm->zero_object != NULL)
		mmk_object_unref(vm->zero_object);
	MMK_ASSERT(mmk_list_is_empty(&vm->maps));
	MMK_ASSERT(mmk_list_is_empty(&vm->objects));
	mmk_pool_fini(&vm->submap_pool);
	mmk_pool_fini(&vm->entry_pool);
	mmk_pool_fini(&vm->object_pool);
	mmk_pool_fini(&vm->amap_pool);
	mmk_pool_fini(&vm->anon_pool);
	mmk_pool_fini(&vm->slots_pool);
	mmk_pool_fini(&vm->node_pool);
	(void)mmk_frame_unref(vm->phys, vm->zero_frame);
}
#endif /* MMKIT_IMPLEMENTATION */
