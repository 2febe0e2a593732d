/* SPDX-License-Identifier: MIT
 *
 * tests/test_physmem.c: what clients say to physmem, in names: rights, wrong
 * names, revoking, and memory that runs out
 */
#include "container_fixture.h"

#include <pthread.h>
#include <unistd.h>

#define RW (MMK_PROT_READ | MMK_PROT_WRITE)
#define NR_PAGES 8u
#define LENT (MMK_RIGHT_READ | MMK_RIGHT_WRITE)

/* An owner's table and a server's, a control of 32 pages, a container of 8. */
static struct {
	struct mmk_control_plug controls;
	struct mmk_handles owner, server;
	mmk_handle_name root, control, box, other; /* the owner's */
	mmk_handle_name own;                       /* the server's container */
	uint32_t is_entered; /* a translation was granted and not revoked */
} c;

static void
on_revoke(void *ctx, struct mmk_frame *frame, unsigned keep)
{
	(void)ctx;
	(void)frame;
	if (keep == 0)
		__atomic_store_n(&c.is_entered, 0, __ATOMIC_SEQ_CST);
}

static enum mmk_err
on_enter(void *ctx, uint64_t name, mmk_pa pa, uint64_t nr_pages,
    unsigned access)
{
	(void)ctx;
	(void)name;
	(void)pa;
	(void)nr_pages;
	(void)access;
	__atomic_store_n(&c.is_entered, 1, __ATOMIC_SEQ_CST);
	return MMK_OK;
}

static const struct mmk_physmem_plug plug = { on_revoke, NULL };
static const struct mmk_container_sink sink = { on_enter, NULL };

static void
begin(void)
{
	mmk_handle_name control;

	memset(&c, 0, sizeof c);
	boot_with(256, &plug, false);
	t.tree.plug = mmk_physmem_control_plug(&t.physmem);
	mmk_handles_init(&c.owner, &t.handles, 64);
	mmk_handles_init(&c.server, &t.handles, 64);
	ok(mmk_handle_insert(&c.owner, &t.root.target, MMK_RIGHT_ALL, &c.root));
	ok(mmk_physmem_split(&t.physmem, &c.owner, c.root, 32, &c.owner,
	    &c.control));
	ok(mmk_physmem_create(&t.physmem, &c.owner, c.control, &c.box));
	ok(mmk_physmem_create(&t.physmem, &c.owner, c.control, &c.other));
	ok(mmk_physmem_allocate(&c.owner, c.box, 0, NR_PAGES * PAGE, 0, NULL));
	ok(mmk_physmem_split(&t.physmem, &c.owner, c.root, 32, &c.server,
	    &control));
	ok(mmk_physmem_create(&t.physmem, &c.server, control, &c.own));
}

static void
finish(void)
{
	struct mmk_control *root = &t.root;

	cr_assert(mmk_handles_check(&c.owner));
	cr_assert(mmk_handles_check(&c.server));
	cr_assert(mmk_physmem_check(&t.physmem));
	cr_assert(mmk_control_check(&t.tree));
	while (!mmk_list_is_empty(&root->children)) {
		struct mmk_control *child = MMK_LIST_ITEM(
		    mmk_list_first(&root->children), struct mmk_control,
		    sibling);

		mmk_control_ref(child);
		ok(mmk_control_destroy(child));
		mmk_control_unref(child);
	}
	mmk_handles_fini(&c.owner);
	mmk_handles_fini(&c.server);
	end();
}

static int
byte_at(struct mmk_handles *table, mmk_handle_name name, uint64_t at)
{
	unsigned char byte = 0;

	ok(mmk_physmem_read(table, name, at, &byte, 1));
	return byte;
}

static uint64_t
credit_of(mmk_handle_name name)
{
	struct mmk_control *control = NULL;
	uint64_t credit;

	ok(mmk_control_lookup(&c.owner, name, 0, &control));
	credit = free_credit(control);
	mmk_control_unref(control);
	return credit;
}

/* ---- every operation, by a name of `table` ------------------------------- */

static enum mmk_err
op_allocate(mmk_handle_name name)
{
	return mmk_physmem_allocate(&c.server, name, 64 * PAGE, PAGE, 0, NULL);
}

static enum mmk_err
op_squash(mmk_handle_name name)
{
	return mmk_physmem_allocate(&c.server, name, 0, PAGE,
	    MMK_CONTAINER_SQUASH, NULL);
}

static enum mmk_err
op_deallocate(mmk_handle_name name)
{
	return mmk_physmem_deallocate(&c.server, name, 0, PAGE, 0, NULL);
}

static enum mmk_err
op_release(mmk_handle_name name)
{
	return mmk_physmem_release(&c.server, name, 0, PAGE);
}

static enum mmk_err
op_read(mmk_handle_name name)
{
	unsigned char byte;

	return mmk_physmem_read(&c.server, name, 0, &byte, 1);
}

static enum mmk_err
op_write(mmk_handle_name name)
{
	return mmk_physmem_write(&c.server, name, 0, "x", 1);
}

static enum mmk_err
op_map(mmk_handle_name name)
{
	return mmk_physmem_map(&c.server, name, 0, PAGE, MMK_PROT_READ, &sink);
}

static enum mmk_err
op_map_rw(mmk_handle_name name)
{
	return mmk_physmem_map(&c.server, name, 0, PAGE, RW, &sink);
}

static enum mmk_err
op_pin(mmk_handle_name name)
{
	struct mmk_cpin *pin;
	mmk_pa pa;
	enum mmk_err err = mmk_physmem_pin(&c.server, name, 0, 10, &pin, &pa);

	if (err == MMK_OK)
		(void)mmk_container_unpin(&t.physmem, pin);
	return err;
}

static enum mmk_err
copy_from(mmk_handle_name name, enum mmk_copy_mode mode, unsigned flags)
{
	return mmk_physmem_copy(&c.server, name, 0, c.own, 0, PAGE, mode, flags,
	    NULL);
}

static enum mmk_err
op_cow(mmk_handle_name name)
{
	return copy_from(name, MMK_COPY_COW, 0);
}

static enum mmk_err
op_share(mmk_handle_name name)
{
	return copy_from(name, MMK_COPY_SHARE, 0);
}

static enum mmk_err
op_share_ro(mmk_handle_name name)
{
	return copy_from(name, MMK_COPY_SHARE, MMK_CONTAINER_READONLY);
}

static enum mmk_err
op_move(mmk_handle_name name)
{
	return copy_from(name, MMK_COPY_MOVE, 0);
}

static enum mmk_err
op_copy_to(mmk_handle_name name)
{
	return mmk_physmem_copy(&c.server, c.own, 0, name, 64 * PAGE, PAGE,
	    MMK_COPY_COW, 0, NULL);
}

static enum mmk_err
op_copy_over(mmk_handle_name name)
{
	return mmk_physmem_copy(&c.server, c.own, 0, name, 0, PAGE,
	    MMK_COPY_COW, MMK_CONTAINER_SQUASH, NULL);
}

static enum mmk_err
op_lend(mmk_handle_name name)
{
	mmk_handle_name got;

	return mmk_physmem_lend(&c.server, name, &c.owner, MMK_RIGHT_READ,
	    &got);
}

static enum mmk_err
op_revoke(mmk_handle_name name)
{
	return mmk_physmem_revoke(&c.server, name);
}

static enum mmk_err
op_destroy(mmk_handle_name name)
{
	return mmk_physmem_destroy(&c.server, name);
}

static enum mmk_err
op_split(mmk_handle_name name)
{
	mmk_handle_name got;

	return mmk_physmem_split(&t.physmem, &c.server, name, 1, &c.server,
	    &got);
}

static enum mmk_err
op_create(mmk_handle_name name)
{
	mmk_handle_name got;

	return mmk_physmem_create(&t.physmem, &c.server, name, &got);
}

#define R MMK_RIGHT_READ
#define W MMK_RIGHT_WRITE
#define A MMK_RIGHT_ALLOC
#define F MMK_RIGHT_FREE
#define D MMK_RIGHT_DESTROY
#define G MMK_RIGHT_GRANT

static const struct op {
	const char *name;
	enum mmk_err (*run)(mmk_handle_name name);
	unsigned rights;
	bool is_of_control;
	bool needs_source; /* a page in the server's own container */
} ops[] = {
	{ "allocate", op_allocate, A, false, false },
	{ "allocate, squash", op_squash, A | F, false, false },
	{ "deallocate", op_deallocate, F, false, false },
	{ "release", op_release, F, false, false },
	{ "read", op_read, R, false, false },
	{ "write", op_write, W, false, false },
	{ "map", op_map, R, false, false },
	{ "map to write", op_map_rw, R | W, false, false },
	{ "pin", op_pin, W, false, false },
	{ "copy", op_cow, R, false, false },
	{ "share", op_share, R | W | G, false, false },
	{ "share read-only", op_share_ro, R | G, false, false },
	{ "move", op_move, R | W | F, false, false },
	{ "copy to", op_copy_to, A, false, true },
	{ "copy over", op_copy_over, A | F, false, true },
	{ "lend", op_lend, R | G, false, false },
	{ "revoke", op_revoke, G, false, false },
	{ "destroy", op_destroy, D, false, false },
	{ "split", op_split, A, true, false },
	{ "create", op_create, A, true, false },
	{ "destroy a control", op_destroy, D, true, false },
};
#define NR_OPS (sizeof ops / sizeof ops[0])

/* What `op` says to a name with just these rights; nothing changed if ACCESS. */
static enum mmk_err
say_with(const struct op *op, unsigned rights)
{
	mmk_handle_name name;
	uint64_t credit, nr_free_frames;
	enum mmk_err err;

	begin();
	ok(mmk_physmem_write(&c.owner, c.box, 0, "o", 1));
	if (op->needs_source)
		ok(mmk_physmem_allocate(&c.server, c.own, 0, PAGE, 0, NULL));
	ok(mmk_handle_derive(&c.owner, op->is_of_control ? c.control : c.box,
	    &c.server, rights, &name));
	credit = credit_of(c.control);
	nr_free_frames = nr_free();
	err = op->run(name);
	if (err == MMK_ERR_ACCESS) {
		cr_assert_eq(credit_of(c.control), credit, "%s", op->name);
		cr_assert_eq(nr_free(), nr_free_frames, "%s", op->name);
		cr_assert_eq(byte_at(&c.owner, c.box, 0), 'o', "%s", op->name);
		cr_assert_eq(c.is_entered, 0u, "%s", op->name);
	}
	finish();
	return err;
}

Test(physmem, S1_13_every_operation_asks_for_its_rights)
{
	for (size_t i = 0; i < NR_OPS; i++) {
		cr_assert_eq(say_with(&ops[i], ops[i].rights), MMK_OK,
		    "%s, with just its rights", ops[i].name);
		for (unsigned right = 1; right < MMK_RIGHT_ALL; right *= 2)
			cr_assert_eq(say_with(&ops[i], MMK_RIGHT_ALL & ~right),
			    (ops[i].rights & right) != 0 ? MMK_ERR_ACCESS
			                                 : MMK_OK,
			    "%s, without right %u", ops[i].name, right);
	}
}

Test(physmem, S1_13_a_weak_name_may_fill_and_no_more)
{
	for (size_t i = 0; i < NR_OPS; i++)
		if (!ops[i].is_of_control)
			cr_assert_eq(say_with(&ops[i], LENT),
			    (ops[i].rights & ~LENT) == 0 ? MMK_OK
			                                 : MMK_ERR_ACCESS,
			    "%s", ops[i].name);
}

/* Sharing is lending on: what is shared outlives the name it was shared by. */
Test(physmem, S1_13_a_weak_name_shares_nothing_that_outlives_it)
{
	mmk_handle_name weak;
	enum mmk_err err;

	begin();
	ok(mmk_physmem_write(&c.owner, c.box, 0, "o", 1));
	ok(mmk_physmem_lend(&c.owner, c.box, &c.server, LENT, &weak));
	err = mmk_physmem_copy(&c.server, weak, 0, c.own, 0, PAGE,
	    MMK_COPY_SHARE, 0, NULL);
	ok(mmk_physmem_revoke(&c.owner, c.box));
	if (err == MMK_OK)
		ok(mmk_physmem_write(&c.server, c.own, 0, "s", 1));
	cr_assert_eq(byte_at(&c.owner, c.box, 0), 'o',
	    "written after the revoke");
	cr_assert_eq(err, MMK_ERR_ACCESS);
	finish();
}

Test(physmem, S1_13_wrong_names_are_refused_by_every_operation)
{
	mmk_handle_name control, box;

	begin();
	ok(mmk_physmem_allocate(&c.server, c.own, 0, PAGE, 0, NULL));
	ok(mmk_handle_derive(&c.owner, c.control, &c.server, MMK_RIGHT_ALL,
	    &control));
	ok(mmk_physmem_lend(&c.owner, c.box, &c.server, MMK_RIGHT_ALL, &box));
	for (size_t i = 0; i < NR_OPS; i++) {
		mmk_handle_name good = ops[i].is_of_control ? control : box;
		mmk_handle_name bad = ops[i].is_of_control ? box : control;
		mmk_handle_name forged[] = { 0, UINT64_MAX,
			good + ((mmk_handle_name)1 << 32),
			good - ((mmk_handle_name)1 << 32),
			good ^ ((mmk_handle_name)1 << 63), good + 1000 };

		if (ops[i].run != op_destroy)
			cr_assert_eq(ops[i].run(bad), MMK_ERR_INVAL, "%s",
			    ops[i].name);
		for (size_t k = 0; k < sizeof forged / sizeof forged[0]; k++)
			cr_assert_eq(ops[i].run(forged[k]), MMK_ERR_NOENT,
			    "%s, forged name %zu", ops[i].name, k);
	}
	finish();
}

/* ---- the client and the server -------------------------------------------- */

Test(physmem, S1_12_a_server_fills_is_revoked_and_dies)
{
	mmk_handle_name weak;
	uint64_t credit;

	begin();
	credit = credit_of(c.control);
	ok(mmk_physmem_lend(&c.owner, c.box, &c.server, LENT, &weak));
	for (unsigned i = 0; i < NR_PAGES; i++) {
		unsigned char byte = (unsigned char)(10 + i);

		ok(mmk_physmem_write(&c.server, weak, i * PAGE, &byte, 1));
	}
	ok(mmk_physmem_map(&c.server, weak, 0, NR_PAGES * PAGE, RW, &sink));
	cr_assert_eq(c.is_entered, 1u);
	ok(mmk_physmem_revoke(&c.owner, c.box));
	cr_assert_eq(c.is_entered, 0u, "a translation is left");
	for (size_t i = 0; i < NR_OPS; i++)
		cr_assert_eq(ops[i].run(weak), MMK_ERR_NOENT, "%s",
		    ops[i].name);

	ok(mmk_physmem_lend(&c.owner, c.box, &c.server, LENT, &weak));
	ok(op_cow(weak));
	ok(op_map_rw(weak));
	mmk_handles_fini(&c.server);
	mmk_handles_init(&c.server, &t.handles, 64);
	for (unsigned i = 0; i < NR_PAGES; i++)
		cr_assert_eq(byte_at(&c.owner, c.box, i * PAGE), 10 + (int)i);
	cr_assert_eq(credit_of(c.control), credit);
	finish();
}

Test(physmem, S1_12_an_owner_that_destroys_takes_all_names_along)
{
	mmk_handle_name weak, lent_on;

	begin();
	ok(mmk_physmem_lend(&c.owner, c.box, &c.server, LENT | MMK_RIGHT_GRANT,
	    &weak));
	ok(mmk_physmem_lend(&c.server, weak, &c.server, LENT, &lent_on));
	ok(op_map_rw(lent_on));
	ok(mmk_physmem_destroy(&c.owner, c.box));
	cr_assert_eq(c.is_entered, 0u, "a translation is left");
	for (size_t i = 0; i < NR_OPS; i++) {
		cr_assert_eq(ops[i].run(weak), MMK_ERR_NOENT);
		cr_assert_eq(ops[i].run(lent_on), MMK_ERR_NOENT);
	}
	cr_assert_eq(credit_of(c.control), 32u);
	finish();
}

/* ---- memory that runs out ---------------------------------------------------- */

static void
every_k(enum mmk_err (*op)(mmk_handle_name name))
{
	bool is_met = true;

	for (uint64_t k = 1; is_met; k++) {
		mmk_handle_name control, filler;
		uint64_t credit, nr_items;
		enum mmk_err err;

		begin();
		ok(mmk_handle_derive(&c.owner, c.control, &c.server,
		    MMK_RIGHT_ALL, &control));
		/* The next handle needs a chunk of its own. */
		while (c.server.first_free != 0)
			ok(mmk_handle_derive(&c.owner, c.control, &c.server,
			    MMK_RIGHT_ALL, &filler));
		credit = credit_of(c.control);
		nr_items = t.nr_items;
		sim_fail_at(k);
		err = op(control);
		is_met = sim_fail_count() >= k;
		sim_fail_at(0);
		if (is_met) {
			cr_assert_eq(err, MMK_ERR_NOMEM, "k = %llu",
			    (unsigned long long)k);
			cr_assert_eq(credit_of(c.control), credit);
			cr_assert_eq(t.nr_items, nr_items);
			cr_assert(mmk_control_check(&t.tree));
			err = op(control);
		}
		ok(err);
		finish();
	}
}

Test(physmem, split_and_create_change_nothing_when_memory_runs_out)
{
	every_k(op_split);
	every_k(op_create);
}

/* Handles come from elsewhere than failure points: their table is full. */
Test(physmem, split_and_create_change_nothing_when_the_table_is_full)
{
	mmk_handle_name control, filler;
	uint64_t credit, nr_items;

	begin();
	ok(mmk_handle_derive(&c.owner, c.control, &c.server, MMK_RIGHT_ALL,
	    &control));
	while (mmk_handle_derive(&c.owner, c.control, &c.server, MMK_RIGHT_ALL,
	    &filler) == MMK_OK)
		;
	credit = credit_of(c.control);
	nr_items = t.nr_items;
	cr_assert_eq(op_split(control), MMK_ERR_LIMIT);
	cr_assert_eq(op_create(control), MMK_ERR_LIMIT);
	cr_assert_eq(credit_of(c.control), credit);
	cr_assert_eq(t.nr_items, nr_items);
	finish();
}

/* ---- revoked by one thread, used by another -------------------------------- */

static mmk_handle_name raced;

struct racer {
	const struct op *op;
	mmk_handle_name name;
	bool is_under_way;
	enum mmk_err err;
};

static void *
racer_thread(void *arg)
{
	struct racer *racer = arg;

	sim_set_cpu(1);
	__atomic_store_n(&racer->is_under_way, true, __ATOMIC_RELEASE);
	racer->err = racer->op->run(racer->name);
	return NULL;
}

/* The operation has looked its name up, and waits for the mutex. */
Test(physmem, S1_12_an_operation_under_way_sees_its_name_revoked)
{
	for (size_t i = 0; i < NR_OPS && ops[i].run != op_lend; i++) {
		struct racer racer = { .op = &ops[i] };
		pthread_t thread;
		uint64_t credit;

		begin();
		ok(mmk_physmem_write(&c.owner, c.box, 0, "o", 1));
		if (ops[i].needs_source)
			ok(mmk_physmem_allocate(&c.server, c.own, 0, PAGE, 0,
			    NULL));
		ok(mmk_physmem_lend(&c.owner, c.box, &c.server, MMK_RIGHT_ALL,
		    &racer.name));
		credit = credit_of(c.control);
		MMKIT_MUTEX_LOCK(&t.physmem.mutex);
		cr_assert_eq(pthread_create(&thread, NULL, racer_thread,
		    &racer), 0);
		while (!__atomic_load_n(&racer.is_under_way, __ATOMIC_ACQUIRE))
			;
		/* Too early: then the name is not found, which is as well. */
		usleep(3000);
		ok(mmk_handle_revoke(&c.owner, c.box));
		MMKIT_MUTEX_UNLOCK(&t.physmem.mutex);
		pthread_join(thread, NULL);
		cr_assert_eq(racer.err, MMK_ERR_NOENT, "%s", ops[i].name);
		cr_assert_eq(credit_of(c.control), credit, "%s", ops[i].name);
		cr_assert_eq(byte_at(&c.owner, c.box, 0), 'o', "%s",
		    ops[i].name);
		cr_assert_eq(c.is_entered, 0u, "%s", ops[i].name);
		finish();
	}
}

/* Until its name is void. */
static void *
server_thread(void *arg)
{
	unsigned char byte = 0;
	enum mmk_err err = MMK_OK;

	(void)arg;
	sim_set_cpu(1);
	for (unsigned i = 0; err == MMK_OK && i < 10000000; i++) {
		byte++;
		err = mmk_physmem_write(&c.server, raced, 0, &byte, 1);
		if (err == MMK_OK)
			err = op_map_rw(raced);
	}
	cr_assert_eq(err, MMK_ERR_NOENT);
	return NULL;
}

Test(physmem, S1_12_nothing_is_done_in_a_name_that_was_revoked)
{
	begin();
	for (unsigned round = 0; round < 50; round++) {
		pthread_t threads[2];
		int before;

		ok(mmk_physmem_lend(&c.owner, c.box, &c.server, LENT, &raced));
		for (unsigned i = 0; i < 2; i++)
			cr_assert_eq(pthread_create(&threads[i], NULL,
			    server_thread, NULL), 0);
		for (unsigned i = 0; i < round; i++)
			(void)byte_at(&c.owner, c.box, 0);
		ok(mmk_physmem_revoke(&c.owner, c.box));
		before = byte_at(&c.owner, c.box, 0);
		cr_assert_eq(__atomic_load_n(&c.is_entered, __ATOMIC_SEQ_CST),
		    0u, "mapped after the revoke");
		for (unsigned i = 0; i < 2; i++)
			pthread_join(threads[i], NULL);
		cr_assert_eq(byte_at(&c.owner, c.box, 0), before,
		    "written after the revoke");
		cr_assert_eq(c.is_entered, 0u);
	}
	finish();
}
