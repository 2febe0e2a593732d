/* SPDX-License-Identifier: MIT
 *
 * mmkit/kva/paid.h: small objects at somebody's expense
 *
 * WHAT    A control (phys/control.h) as the payer of a pool: each slab is
 *         charged to it before its frames are taken, and uncharged after they
 *         are given back. A pool that may not grow any more refuses as if
 *         there were no memory, and whoever shares the machine does not notice.
 *
 *           payer = mmk_control_payer(control);
 *           mmk_pool_set_payer(&pool, &payer);
 *
 *         If the control is destroyed before the pool, the pool no longer
 *         grows; what it has is borne by whoever the control was split from,
 *         until it is freed.
 *
 * LAYER   kva. Includes pool.h and phys/control.h.
 * LOCKS   none
 * COST    one compare-and-swap for a slab
 * SOURCE  own; who pays for what a name costs is physmem's question.
 */
#ifndef MMKIT_KVA_PAID_H
#define MMKIT_KVA_PAID_H

#include "../phys/control.h"
#include "pool.h"

MMK_BEGIN_DECLS

/* pre: the caller keeps its reference to `control` until the pool has ended. */
MMK_API struct mmk_slab_payer mmk_control_payer(struct mmk_control *control);

MMK_END_DECLS
#endif /* MMKIT_KVA_PAID_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_KVA_PAID_IMPL)
#define MMKIT_KVA_PAID_IMPL

MMK_PRIVATE enum mmk_err
mmk__paid_charge(void *ctx, uint64_t nr_pages)
{
	return mmk_control_charge((struct mmk_control *)ctx, nr_pages);
}

MMK_PRIVATE void
mmk__paid_uncharge(void *ctx, uint64_t nr_pages)
{
	mmk_control_uncharge((struct mmk_control *)ctx, nr_pages);
}

MMK_API struct mmk_slab_payer
mmk_control_payer(struct mmk_control *control)
{
	struct mmk_slab_payer payer;

	payer.charge = mmk__paid_charge;
	payer.uncharge = mmk__paid_uncharge;
	payer.ctx = control;
	return payer;
}
#endif /* MMKIT_IMPLEMENTATION */
