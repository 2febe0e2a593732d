/* SPDX-License-Identifier: MIT
 *
 * tests/intrude.h: what another CPU does at the worst moment
 *
 * WHAT    A yield point stands between each change of a page table and its
 *         flush. At the first one that is right, once, the other CPU comes in.
 * USE     intrude_when(is_right, what); the operation; intrude_end();
 */
#ifndef TESTS_INTRUDE_H
#define TESTS_INTRUDE_H

#include <criterion/criterion.h>

#include "mmkit/pmap/pmap.h"
#include "ports/sim/sim.h"

static struct {
	bool (*is_right)(void);
	void (*what)(void); /* NULL: it has come in */
} intrusion;

/* None of the locks that all pmaps of a system share is held. */
static inline bool
intrude_is_quiet(struct mmk_pmap_sys *sys)
{
	if (sim_lock_is_held(&sys->rmap_pool.slabs.lock))
		return false;
	for (unsigned i = 0; i < MMK_RMAP_BUCKETS; i++)
		if (sim_lock_is_held(&sys->rmap_locks[i]))
			return false;
	return true;
}

static inline void
intrude_at_yield(void *ctx)
{
	static bool is_inside; /* looking, and intruding, yield as well */
	void (*what)(void) = intrusion.what;

	(void)ctx;
	if (is_inside || what == NULL)
		return;
	is_inside = true;
	if (intrusion.is_right()) {
		intrusion.what = NULL;
		what();
	}
	is_inside = false;
}

static inline void
intrude_when(bool (*is_right)(void), void (*what)(void))
{
	intrusion.is_right = is_right;
	intrusion.what = what;
	sim_on_yield(intrude_at_yield, NULL);
}

static inline void
intrude_end(void)
{
	sim_on_yield(NULL, NULL);
	cr_assert_null(intrusion.what, "the other CPU never came in");
}

#endif /* TESTS_INTRUDE_H */
