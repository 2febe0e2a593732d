/* SPDX-License-Identifier: MIT
 *
 * tests/test_grant.c: objects that grant their frames and take them back. On
 * both table formats; each scenario ends with the audit of vm_end().
 */
#include "vm_fixture.h"

#include <pthread.h>

#define NR_PAGES 4u

/* Guards: all by `lock`, but that a test of one thread takes none. */
static struct {
	struct mmk_frame *frames[NR_PAGES];
	unsigned nr_open[NR_PAGES]; /* granted and not yet used */
	bool may_write;
	enum mmk_err err;
	unsigned nr_grants;
	unsigned last_access;
	pthread_mutex_t lock;
	struct mmk_object *object;
} lender = { .lock = PTHREAD_MUTEX_INITIALIZER };

static enum mmk_err
lender_grant(struct mmk_object *object, uint64_t page, unsigned access,
    mmk_pa *pa_out, bool *may_write_out)
{
	cr_assert_eq(object, lender.object);
	cr_assert_lt(page, NR_PAGES);
	pthread_mutex_lock(&lender.lock);
	lender.nr_grants++;
	lender.last_access = access;
	if (lender.err != MMK_OK ||
	    (access == MMK_PROT_WRITE && !lender.may_write)) {
		pthread_mutex_unlock(&lender.lock);
		return lender.err != MMK_OK ? lender.err : MMK_ERR_ACCESS;
	}
	lender.nr_open[page]++;
	*pa_out = mmk_frame_pa(&t.phys, lender.frames[page]);
	*may_write_out = lender.may_write;
	pthread_mutex_unlock(&lender.lock);
	return MMK_OK;
}

static void
lender_granted(struct mmk_object *object, uint64_t page, mmk_pa pa)
{
	cr_assert_eq(object, lender.object);
	pthread_mutex_lock(&lender.lock);
	cr_assert_gt(lender.nr_open[page], 0u);
	cr_assert_eq(pa, mmk_frame_pa(&t.phys, lender.frames[page]),
	    "the frame was taken back before it was granted");
	lender.nr_open[page]--;
	pthread_mutex_unlock(&lender.lock);
}

static const struct mmk_pager_ops lender_ops = {
	.name = "lender", .kind = MMK_PAGER_KERNEL + 1,
	.grant = lender_grant, .granted = lender_granted,
};

static void
lender_begin(void)
{
	lender.may_write = true;
	lender.err = MMK_OK;
	lender.nr_grants = 0;
	for (unsigned i = 0; i < NR_PAGES; i++) {
		lender.nr_open[i] = 0;
		cr_assert_eq(mmk_frame_alloc(&t.phys, 0, MMK_ALLOC_ZERO,
		    MMK_USE_KERNEL, &lender.frames[i]), MMK_OK);
		*(unsigned char *)mmk_frame_ptr(&t.phys, lender.frames[i]) =
		    (unsigned char)(10 + i);
	}
	cr_assert_eq(mmk_object_create(&t.vm, &lender_ops, NULL, NR_PAGES,
	    &lender.object), MMK_OK);
}

/* The mappings may outlive our reference, not the frames. */
static void
lender_end(void)
{
	for (unsigned i = 0; i < VM_SPACES; i++)
		if (t.is_live[i])
			vm_exit(i);
	mmk_object_unref(lender.object);
	for (unsigned i = 0; i < NR_PAGES; i++) {
		cr_assert_eq(lender.nr_open[i], 0u);
		cr_assert_eq(lender.frames[i]->refs, 1u);
		(void)mmk_frame_unref(&t.phys, lender.frames[i]);
	}
}

/* The page is somewhere else from now on; false: somebody is about to use it. */
static bool
lender_move(unsigned page)
{
	struct mmk_frame *from = lender.frames[page], *to;
	bool is_free;

	cr_assert_eq(mmk_frame_alloc(&t.phys, 0, 0, MMK_USE_KERNEL, &to),
	    MMK_OK);
	pthread_mutex_lock(&lender.lock);
	is_free = lender.nr_open[page] == 0;
	if (is_free) {
		mmk_page_remove_all(&t.sys, from);
		memcpy(mmk_frame_ptr(&t.phys, to),
		    mmk_frame_ptr(&t.phys, from), PAGE);
		lender.frames[page] = to;
	}
	pthread_mutex_unlock(&lender.lock);
	(void)mmk_frame_unref(&t.phys, is_free ? from : to);
	return is_free;
}

static void
map_it(unsigned i, unsigned prot, unsigned flags)
{
	vm_mmap(i, VA, NR_PAGES, prot, flags | MMK_MAP_FIXED, lender.object, 0);
}

static void
shared_body(void)
{
	lender_begin();
	map_it(0, RW, MMK_MAP_SHARED);
	cr_assert_eq(lender.nr_grants, 0u);
	cr_assert_eq(vm_get(0, VA + PAGE), 11);
	cr_assert_eq(lender.nr_grants, 1u);
	vm_put(0, VA + PAGE, 77);
	cr_assert_eq(lender.nr_grants, 1u, "it was granted for writing");
	cr_assert_eq(vm_frame(0, VA + PAGE), lender.frames[1]);
	cr_assert(lender_move(1));
	cr_assert_eq(vm_pa(0, VA + PAGE), UINT64_MAX);
	cr_assert_eq(vm_get(0, VA + PAGE), 77);
	cr_assert_eq(vm_frame(0, VA + PAGE), lender.frames[1]);
	cr_assert_eq(lender.nr_grants, 2u);
	lender_end();
}

Test(grant, a_frame_is_granted_taken_back_and_granted_anew)
{
	vm_both(shared_body);
}

static void
readonly_body(void)
{
	lender_begin();
	lender.may_write = false;
	map_it(0, RW, MMK_MAP_SHARED);
	cr_assert_eq(vm_get(0, VA), 10);
	cr_assert_eq(vm_prot(0, VA), MMK_PROT_READ);
	cr_assert_eq(vm_access(0, VA, MMK_PROT_WRITE), MMK_ERR_ACCESS);
	cr_assert_eq(vm_get(0, VA), 10);
	lender.may_write = true;
	vm_put(0, VA, 20);
	lender.may_write = false;
	mmk_page_write_protect(&t.sys, lender.frames[0]);
	cr_assert_eq(vm_access(0, VA, MMK_PROT_WRITE), MMK_ERR_ACCESS);
	cr_assert_eq(vm_get(0, VA), 20);
	lender_end();
}

Test(grant, writing_is_the_objects_to_allow)
{
	vm_both(readonly_body);
}

static void
error_body(void)
{
	static const enum mmk_err errs[] = { MMK_ERR_NOENT, MMK_ERR_NOMEM,
		MMK_ERR_IO, MMK_ERR_ACCESS };

	lender_begin();
	map_it(0, RW, MMK_MAP_SHARED);
	for (size_t i = 0; i < sizeof errs / sizeof errs[0]; i++) {
		lender.err = errs[i];
		cr_assert_eq(vm_access(0, VA, MMK_PROT_READ), errs[i]);
		cr_assert_eq(vm_pa(0, VA), UINT64_MAX);
	}
	lender.err = MMK_OK;
	cr_assert_eq(vm_get(0, VA), 10);
	lender_end();
}

Test(grant, what_the_object_refuses_fails_the_fault)
{
	vm_both(error_body);
}

static void
private_body(void)
{
	lender_begin();
	map_it(0, RW, MMK_MAP_PRIVATE);
	cr_assert_eq(vm_get(0, VA), 10);
	vm_put(0, VA, 99);
	cr_assert_eq(lender.last_access, MMK_PROT_READ,
	    "a private write only reads what it copies");
	vm_put(0, VA + PAGE, 98); /* not read before */
	cr_assert_eq(vm_get(0, VA), 99);
	cr_assert_eq(vm_get(0, VA + PAGE), 98);
	cr_assert_eq(*(unsigned char *)mmk_frame_ptr(&t.phys,
	    lender.frames[0]), 10);
	cr_assert_eq(vm_get(0, VA + 2 * PAGE), 12);
	vm_fork(1, 0);
	cr_assert_eq(vm_pa(1, VA + 2 * PAGE), UINT64_MAX,
	    "fork copies no translation that was granted");
	cr_assert_eq(vm_get(1, VA), 99);
	cr_assert_eq(vm_get(1, VA + 2 * PAGE), 12);
	vm_put(1, VA + 2 * PAGE, 55);
	cr_assert_eq(vm_get(0, VA + 2 * PAGE), 12);
	cr_assert(lender_move(2));
	cr_assert_eq(vm_get(0, VA + 2 * PAGE), 12);
	cr_assert_eq(vm_get(1, VA + 2 * PAGE), 55);
	lender_end();
}

Test(grant, a_private_mapping_copies_what_it_writes)
{
	vm_both(private_body);
}

static void
reshape_body(void)
{
	mmk_va to = 0;

	lender_begin();
	map_it(0, RW, MMK_MAP_SHARED);
	for (unsigned i = 0; i < NR_PAGES; i++)
		cr_assert_eq(vm_get(0, VA + i * PAGE), 10 + (int)i);
	cr_assert(mmk_map_is_resident(vm_map(0), VA));
	cr_assert_eq(mmk_mprotect(vm_sp(0), VA + PAGE, PAGE, RO), MMK_OK);
	cr_assert_eq(vm_access(0, VA + PAGE, MMK_PROT_WRITE), MMK_ERR_ACCESS);
	vm_munmap(0, VA + 2 * PAGE, 1);
	cr_assert_eq(vm_get(0, VA + 3 * PAGE), 13);
	cr_assert_eq(mmk_mremap(vm_sp(0), VA + 3 * PAGE, PAGE, PAGE,
	    MMK_REMAP_MAYMOVE | MMK_REMAP_FIXED, VA + 16 * PAGE, &to), MMK_OK);
	cr_assert_eq(vm_get(0, to), 13);
	vm_put(0, to, 33);
	cr_assert(lender_move(3));
	cr_assert_eq(vm_get(0, to), 33);
	lender_end();
}

Test(grant, entries_are_split_protected_and_moved)
{
	vm_both(reshape_body);
}

static void
oom_setup(void)
{
	lender_begin();
	map_it(0, RW, MMK_MAP_PRIVATE);
}

static enum mmk_err
oom_op(void)
{
	return mmk_fault(vm_map(0), VA + PAGE, MMK_PROT_WRITE);
}

static void
oom_done(void)
{
	cr_assert_eq(vm_get(0, VA + PAGE), 11);
	lender_end();
}

Test(grant, nothing_is_lost_when_memory_is_short)
{
	vm_every_k(oom_setup, oom_op, oom_done);
}

/* ---- two CPUs ------------------------------------------------------------ */

static unsigned nr_rounds;
static uint32_t nr_written;

/* Counts up through the mapping: no count may be lost to a move. */
static void *
writer(void *arg)
{
	(void)arg;
	sim_set_cpu(0);
	for (unsigned i = 0; i < nr_rounds; i++) {
		unsigned n = 0;

		cr_assert_eq(sim_load(0, VA + PAGE, &n, sizeof n), 0);
		n++;
		cr_assert_eq(sim_store(0, VA + PAGE, &n, sizeof n), 0);
		__atomic_store_n(&nr_written, i + 1, __ATOMIC_RELEASE);
	}
	return NULL;
}

/* A CPU whose page is moved at every step would never get to use it. */
static void *
mover(void *arg)
{
	unsigned *nr_moves = arg;
	uint32_t nr_seen = 0, nr_now = 0;

	sim_set_cpu(1);
	for (; nr_now < nr_rounds; nr_seen = nr_now) {
		do
			nr_now = __atomic_load_n(&nr_written,
			    __ATOMIC_ACQUIRE);
		while (nr_now == nr_seen);
		*nr_moves += lender_move(1);
	}
	return NULL;
}

static void
race_body(void)
{
	unsigned nr_moves = 0, n = 0;
	pthread_t threads[2];

	lender_begin();
	map_it(0, RW, MMK_MAP_SHARED);
	vm_run(0, 0);
	/* Between removing and flushing, a stale translation may be used. */
	sim_forbid_stale_hits(false);
	nr_rounds = 2000;
	nr_written = 0;
	cr_assert_eq(vm_store(0, VA + PAGE, &n, sizeof n), 0);
	cr_assert_eq(pthread_create(&threads[0], NULL, writer, NULL), 0);
	cr_assert_eq(pthread_create(&threads[1], NULL, mover, &nr_moves), 0);
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
	sim_set_cpu(0);
	cr_assert_eq(vm_load(0, VA + PAGE, &n, sizeof n), 0);
	cr_assert_eq(n, nr_rounds, "%u writes of %u, %u moves", n, nr_rounds,
	    nr_moves);
	lender_end();
}

Test(grant, no_write_is_lost_to_a_move_on_another_CPU)
{
	vm_both(race_body);
}
