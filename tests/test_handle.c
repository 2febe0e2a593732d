/* SPDX-License-Identifier: MIT
 *
 * tests/test_handle.c: the contract of mmkit/phys/handle.h
 */
#include "control_fixture.h"

static struct mmk_handles mine, yours, theirs;

/* An object that counts its references. */
struct thing {
	struct mmk_handle_target target;
	unsigned refs; /* [a] */
};

static struct thing one, two;

static void
thing_ref(struct mmk_handle_target *target)
{
	struct thing *thing = MMK_CONTAINER_OF(target, struct thing, target);

	__atomic_add_fetch(&thing->refs, 1, __ATOMIC_ACQ_REL);
}

static void
thing_init(struct thing *thing, enum mmk_handle_kind kind)
{
	thing->refs = 1;
	mmk_handle_target_init(&thing->target, &handles, kind, thing_ref);
}

static void
setup(void)
{
	boot();
	mmk_pool_init(&items, &phys, "handles", MMK_HANDLE_ITEM_BYTES);
	mmk_handle_sys_init(&handles, &item_memory);
	mmk_handles_init(&mine, &handles, 1000);
	mmk_handles_init(&yours, &handles, 1000);
	mmk_handles_init(&theirs, &handles, 1000);
	thing_init(&one, MMK_HANDLE_CONTROL);
	thing_init(&two, MMK_HANDLE_CONTAINER);
}

static void
check_all(void)
{
	cr_assert(mmk_handles_check(&mine));
	cr_assert(mmk_handles_check(&yours));
	cr_assert(mmk_handles_check(&theirs));
}

static void
finish(void)
{
	sim_fail_at(0);
	check_all();
	mmk_handles_fini(&theirs);
	mmk_handles_fini(&mine);
	mmk_handles_fini(&yours);
	cr_assert(mmk_list_is_empty(&one.target.handles));
	cr_assert(mmk_list_is_empty(&two.target.handles));
	mmk_pool_fini(&items);
	fini();
}

TestSuite(handle, .init = setup, .fini = finish);
TestSuite(handle_threads, .init = setup, .fini = finish);
TestSuite(handle_bugs, .init = setup);

static mmk_handle_name
insert(struct mmk_handles *table, struct thing *thing, unsigned rights)
{
	mmk_handle_name name = 0;

	cr_assert_eq(mmk_handle_insert(table, &thing->target, rights, &name),
	    MMK_OK);
	cr_assert_neq(name, 0);
	return name;
}

static mmk_handle_name
derive(struct mmk_handles *from, mmk_handle_name name, struct mmk_handles *to,
    unsigned rights)
{
	mmk_handle_name derived = 0;

	cr_assert_eq(mmk_handle_derive(from, name, to, rights, &derived),
	    MMK_OK);
	return derived;
}

/* What a lookup says; the reference, if any, is given back. */
static enum mmk_err
look(struct mmk_handles *table, mmk_handle_name name, struct thing *thing,
    unsigned rights)
{
	struct mmk_handle_target *found = NULL;
	enum mmk_err err = mmk_handle_lookup(table, name, thing->target.kind,
	    rights, &found);

	cr_assert_eq(found, err == MMK_OK ? &thing->target : NULL);
	if (err == MMK_OK)
		__atomic_sub_fetch(&thing->refs, 1, __ATOMIC_ACQ_REL);
	return err;
}

Test(handle, S1_23_an_object_is_derived_from_its_name)
{
	mmk_handle_name name = insert(&mine, &one, MMK_RIGHT_ALL);
	struct mmk_handle_target *found = NULL;

	cr_assert_eq(mmk_handle_lookup(&mine, name, MMK_HANDLE_CONTROL,
	                 MMK_RIGHT_ALLOC, &found),
	    MMK_OK);
	cr_assert_eq(found, &one.target);
	cr_assert_eq(one.refs, 2, "with a reference");
	cr_assert_eq(mmk_handle_rights(&mine, name), MMK_RIGHT_ALL);
	one.refs--;
}

Test(handle, S1_23_forged_names_are_refused)
{
	mmk_handle_name name = insert(&mine, &one, MMK_RIGHT_ALL);
	mmk_handle_name index_up = name + 1, far = name | 0xffffff;

	for (unsigned bit = 0; bit < 64; bit++)
		cr_assert_eq(look(&mine, name ^ (uint64_t)1 << bit, &one, 0),
		    MMK_ERR_NOENT);
	cr_assert_eq(look(&mine, 0, &one, 0), MMK_ERR_NOENT);
	cr_assert_eq(look(&mine, UINT64_MAX, &one, 0), MMK_ERR_NOENT);
	cr_assert_eq(look(&mine, index_up, &one, 0), MMK_ERR_NOENT);
	cr_assert_eq(look(&mine, far, &one, 0), MMK_ERR_NOENT);
	cr_assert_eq(look(&yours, name, &one, 0), MMK_ERR_NOENT,
	    "a name means something in its own table");
	cr_assert_eq(mmk_handle_close(&mine, index_up), MMK_ERR_NOENT);
	cr_assert_eq(mmk_handle_revoke(&mine, far), MMK_ERR_NOENT);
	cr_assert_eq(mmk_handle_rights(&mine, far), 0);
	cr_assert_eq(one.refs, 1, "nothing changed");
	cr_assert_eq(look(&mine, name, &one, 0), MMK_OK);
}

Test(handle, S1_23_stale_and_reused_names_are_refused)
{
	mmk_handle_name old = insert(&mine, &one, MMK_RIGHT_ALL), new;

	cr_assert_eq(mmk_handle_close(&mine, old), MMK_OK);
	cr_assert_eq(look(&mine, old, &one, 0), MMK_ERR_NOENT);
	cr_assert_eq(mmk_handle_close(&mine, old), MMK_ERR_NOENT);
	new = insert(&mine, &one, MMK_RIGHT_ALL);
	cr_assert_eq(new & 0xffffff, old & 0xffffff, "the same slot");
	cr_assert_neq(new, old);
	cr_assert_eq(look(&mine, old, &one, 0), MMK_ERR_NOENT);
	cr_assert_eq(mmk_handle_close(&mine, old), MMK_ERR_NOENT);
	cr_assert_eq(look(&mine, new, &one, 0), MMK_OK);
}

Test(handle, S1_2_a_name_of_one_kind_is_not_one_of_another)
{
	mmk_handle_name control = insert(&mine, &one, MMK_RIGHT_ALL);
	mmk_handle_name container = insert(&mine, &two, MMK_RIGHT_ALL);

	cr_assert_eq(look(&mine, control, &two, 0), MMK_ERR_INVAL);
	cr_assert_eq(look(&mine, container, &one, 0), MMK_ERR_INVAL);
	cr_assert_eq(one.refs, 1);
	cr_assert_eq(two.refs, 1);
	cr_assert_eq(look(&mine, control, &one, 0), MMK_OK);
	cr_assert_eq(look(&mine, container, &two, 0), MMK_OK);
}

Test(handle, S1_13_a_derived_handle_has_a_subset_of_the_rights)
{
	unsigned weak = MMK_RIGHT_READ | MMK_RIGHT_WRITE;
	mmk_handle_name full = insert(&mine, &two, MMK_RIGHT_ALL);
	mmk_handle_name server = derive(&mine, full, &yours, weak), out = 77;

	cr_assert_eq(look(&yours, server, &two, MMK_RIGHT_READ), MMK_OK);
	cr_assert_eq(look(&yours, server, &two, weak), MMK_OK);
	for (unsigned right = 1; right <= MMK_RIGHT_ALL; right <<= 1)
		if ((right & weak) == 0)
			cr_assert_eq(look(&yours, server, &two,
			                 MMK_RIGHT_READ | right),
			    MMK_ERR_ACCESS);
	cr_assert_eq(mmk_handle_derive(&yours, server, &theirs, MMK_RIGHT_READ,
	                 &out),
	    MMK_ERR_ACCESS, "no right to grant");
	server = derive(&mine, full, &yours, weak | MMK_RIGHT_GRANT);
	cr_assert_eq(mmk_handle_derive(&yours, server, &theirs,
	                 MMK_RIGHT_READ | MMK_RIGHT_FREE, &out),
	    MMK_ERR_ACCESS, "no more than it has");
	cr_assert_eq(mmk_handle_derive(&yours, server, &theirs, 0, &out),
	    MMK_ERR_INVAL);
	cr_assert_eq(mmk_handle_derive(&yours, server, &theirs,
	                 MMK_RIGHT_READ | (MMK_RIGHT_ALL + 1), &out),
	    MMK_ERR_INVAL);
	cr_assert_eq(mmk_handle_derive(&yours, full + 9, &theirs, weak, &out),
	    MMK_ERR_NOENT);
	cr_assert_eq(out, 77);
	cr_assert_eq(theirs.nr_used, 0);
	cr_assert_eq(mmk_handle_rights(&theirs,
	                 derive(&yours, server, &theirs, MMK_RIGHT_READ)),
	    MMK_RIGHT_READ);
}

Test(handle, S1_12_what_was_given_away_can_be_revoked)
{
	mmk_handle_name full = insert(&mine, &two, MMK_RIGHT_ALL);
	unsigned weak = MMK_RIGHT_READ | MMK_RIGHT_WRITE | MMK_RIGHT_GRANT;
	mmk_handle_name server = derive(&mine, full, &yours, weak);
	mmk_handle_name sibling = derive(&mine, full, &yours, MMK_RIGHT_READ);
	mmk_handle_name helper = derive(&yours, server, &theirs, weak);
	mmk_handle_name last = derive(&theirs, helper, &mine, MMK_RIGHT_READ);

	check_all();
	cr_assert_eq(mmk_handle_revoke(&yours, server), MMK_OK);
	cr_assert_eq(look(&yours, server, &two, weak), MMK_OK);
	cr_assert_eq(look(&yours, sibling, &two, 0), MMK_OK);
	cr_assert_eq(look(&theirs, helper, &two, 0), MMK_ERR_NOENT);
	cr_assert_eq(look(&mine, last, &two, 0), MMK_ERR_NOENT);
	check_all();
	cr_assert_eq(mmk_handle_revoke(&mine, full), MMK_OK);
	cr_assert_eq(look(&yours, server, &two, 0), MMK_ERR_NOENT);
	cr_assert_eq(look(&yours, sibling, &two, 0), MMK_ERR_NOENT);
	cr_assert_eq(look(&mine, full, &two, MMK_RIGHT_ALL), MMK_OK);
	cr_assert_eq(mine.nr_used, 1);
	cr_assert_eq(two.refs, 1);
}

Test(handle, S1_12_what_a_closed_handle_gave_away_is_its_givers)
{
	mmk_handle_name full = insert(&mine, &two, MMK_RIGHT_ALL);
	mmk_handle_name server = derive(&mine, full, &yours, MMK_RIGHT_ALL);
	mmk_handle_name a = derive(&yours, server, &theirs, MMK_RIGHT_ALL);
	mmk_handle_name b = derive(&yours, server, &theirs, MMK_RIGHT_READ);

	mmk_handles_fini(&yours);
	mmk_handles_init(&yours, &handles, 1000);
	check_all();
	cr_assert_eq(look(&theirs, a, &two, 0), MMK_OK);
	cr_assert_eq(look(&theirs, b, &two, 0), MMK_OK);
	cr_assert_eq(mmk_handle_revoke(&mine, full), MMK_OK);
	cr_assert_eq(look(&theirs, a, &two, 0), MMK_ERR_NOENT);
	cr_assert_eq(look(&theirs, b, &two, 0), MMK_ERR_NOENT);
	a = derive(&mine, full, &theirs, MMK_RIGHT_ALL);
	cr_assert_eq(mmk_handle_close(&mine, full), MMK_OK);
	check_all();
	cr_assert_eq(look(&theirs, a, &two, MMK_RIGHT_ALL), MMK_OK);
}

Test(handle, the_death_of_an_object_ends_all_its_names)
{
	mmk_handle_name a = insert(&mine, &one, MMK_RIGHT_ALL);
	mmk_handle_name b = derive(&mine, a, &yours, MMK_RIGHT_ALL);
	mmk_handle_name c = derive(&yours, b, &theirs, MMK_RIGHT_READ);
	mmk_handle_name d = insert(&theirs, &one, MMK_RIGHT_READ);
	mmk_handle_name other = insert(&mine, &two, MMK_RIGHT_READ), out = 77;

	mmk_handle_target_kill(&one.target);
	cr_assert_eq(look(&mine, a, &one, 0), MMK_ERR_NOENT);
	cr_assert_eq(look(&yours, b, &one, 0), MMK_ERR_NOENT);
	cr_assert_eq(look(&theirs, c, &one, 0), MMK_ERR_NOENT);
	cr_assert_eq(look(&theirs, d, &one, 0), MMK_ERR_NOENT);
	cr_assert_eq(look(&mine, other, &two, 0), MMK_OK);
	cr_assert_eq(mmk_handle_derive(&mine, a, &yours, MMK_RIGHT_READ, &out),
	    MMK_ERR_NOENT);
	cr_assert_eq(mmk_handle_insert(&mine, &one.target, MMK_RIGHT_READ,
	                 &out),
	    MMK_ERR_NOENT);
	cr_assert_eq(out, 77);
	mmk_handle_target_kill(&one.target);
	cr_assert_eq(mine.nr_used + yours.nr_used + theirs.nr_used, 1);
}

Test(handle, an_object_without_names_can_be_killed)
{
	struct mmk_handle_target target;

	mmk_handle_target_init(&target, NULL, MMK_HANDLE_CONTROL, thing_ref);
	mmk_handle_target_kill(&target);
}

Test(handle, a_table_has_at_most_its_limit)
{
	struct mmk_handles small;
	mmk_handle_name names[20], out = 77;

	mmk_handles_init(&small, &handles, 20);
	for (unsigned i = 0; i < 20; i++)
		names[i] = insert(&small, &one, MMK_RIGHT_ALL);
	cr_assert_eq(mmk_handle_insert(&small, &one.target, MMK_RIGHT_READ,
	                 &out),
	    MMK_ERR_LIMIT);
	cr_assert_eq(mmk_handle_derive(&small, names[3], &small,
	                 MMK_RIGHT_READ, &out),
	    MMK_ERR_LIMIT);
	cr_assert_eq(out, 77);
	cr_assert(mmk_handles_check(&small));
	cr_assert_eq(mmk_handle_close(&small, names[7]), MMK_OK);
	(void)derive(&small, names[3], &small, MMK_RIGHT_READ);
	for (unsigned i = 0; i < 20; i++)
		cr_assert_eq(look(&small, names[i], &one, 0),
		    i == 7 ? MMK_ERR_NOENT : MMK_OK);
	mmk_handles_fini(&small);
}

Test(handle, a_slot_that_would_repeat_is_retired)
{
	struct mmk_handles small;
	mmk_handle_name before, last, after, out;

	mmk_handles_init(&small, &handles, 2);
	before = insert(&small, &one, MMK_RIGHT_ALL);
	cr_assert_eq(mmk_handle_close(&small, before), MMK_OK);
	small.nodes[0]->chunks[0]->slots[0].generation = UINT32_MAX;
	last = insert(&small, &one, MMK_RIGHT_ALL);
	cr_assert_eq(last >> 32, UINT32_MAX);
	cr_assert_eq(look(&small, last, &one, 0), MMK_OK);
	cr_assert_eq(mmk_handle_close(&small, last), MMK_OK);
	cr_assert_eq(small.nr_retired, 1);
	cr_assert_eq(look(&small, last, &one, 0), MMK_ERR_NOENT);
	after = insert(&small, &one, MMK_RIGHT_ALL);
	cr_assert_neq(after & 0xffffff, last & 0xffffff);
	cr_assert_eq(mmk_handle_insert(&small, &one.target, MMK_RIGHT_ALL,
	                 &out),
	    MMK_ERR_LIMIT, "retired ones count");
	cr_assert(mmk_handles_check(&small));
	mmk_handles_fini(&small);
}

Test(handle, check_notices_what_does_not_add_up)
{
	mmk_handle_name a = insert(&mine, &one, MMK_RIGHT_ALL);
	struct mmk_handle *slots = mine.nodes[0]->chunks[0]->slots;

	(void)derive(&mine, a, &mine, MMK_RIGHT_READ);
	mine.nr_used++;
	cr_assert_not(mmk_handles_check(&mine));
	mine.nr_used--;
	slots[0].rights = MMK_RIGHT_GRANT;
	cr_assert_not(mmk_handles_check(&mine), "less than it gave away");
	slots[0].rights = MMK_RIGHT_ALL;
	slots[1].target = &two.target;
	cr_assert_not(mmk_handles_check(&mine));
	slots[1].target = &one.target;
	slots[2].next_free = 0;
	cr_assert_not(mmk_handles_check(&mine), "free slots are lost");
	slots[2].next_free = 4;
	cr_assert(mmk_handles_check(&mine));
}

/* More than one node of chunks. */
Test(handle, a_large_table_keeps_every_name)
{
	enum { NR = 5000 };
	static mmk_handle_name names[NR];
	struct mmk_handles large;

	mmk_handles_init(&large, &handles, MMK_HANDLE_LIMIT);
	for (unsigned i = 0; i < NR; i++)
		names[i] = insert(&large, i % 2 ? &one : &two, MMK_RIGHT_READ);
	cr_assert_not_null(large.nodes[2]);
	cr_assert(mmk_handles_check(&large));
	for (unsigned i = 0; i < NR; i++)
		cr_assert_eq(look(&large, names[i], i % 2 ? &one : &two,
		                 MMK_RIGHT_READ),
		    MMK_OK);
	mmk_handle_target_kill(&two.target);
	for (unsigned i = 0; i < NR; i++)
		cr_assert_eq(look(&large, names[i], i % 2 ? &one : &two, 0),
		    i % 2 ? MMK_OK : MMK_ERR_NOENT);
	mmk_handles_fini(&large);
}

Test(handle, every_allocation_may_fail_and_changes_nothing)
{
	enum { NR = 40 };
	uint64_t k;
	unsigned nr = 0;

	for (k = 1; nr < 2 * NR; k++) {
		mmk_handle_name name, out = 77;

		mmk_handles_init(&mine, &handles, 1000);
		mmk_handles_init(&yours, &handles, 1000);
		mmk_pool_drain(&items);
		sim_fail_at(k);
		for (nr = 0; nr < 2 * NR; nr++) {
			uint32_t used = mine.nr_used + yours.nr_used;
			uint32_t slots = mine.nr_slots + yours.nr_slots;
			enum mmk_err err = nr % 2 == 0
			    ? mmk_handle_insert(&mine, &one.target,
			          MMK_RIGHT_ALL, &name)
			    : mmk_handle_derive(&mine, name, &yours,
			          MMK_RIGHT_READ, &out);

			if (err == MMK_OK)
				continue;
			cr_assert_eq(err, MMK_ERR_NOMEM);
			cr_assert_eq(mine.nr_used + yours.nr_used, used);
			cr_assert_eq(mine.nr_slots + yours.nr_slots, slots);
			if (nr < 2)
				cr_assert_eq(out, 77);
			check_all();
			break;
		}
		sim_fail_at(0);
		check_all();
		mmk_handles_fini(&mine);
		mmk_handles_fini(&yours);
		cr_assert_eq(mmk_pool_nr_used(&items), 0);
	}
	cr_assert_gt(k, 8);
	mmk_handles_init(&mine, &handles, 1000);
	mmk_handles_init(&yours, &handles, 1000);
}

/* ---- the obvious way ----------------------------------------------------- */

#define NR_MODEL 256u
#define NR_THINGS 4u

struct model {
	struct mmk_handles *table;
	mmk_handle_name name;
	int thing; /* -1: ended */
	int source;
	unsigned rights;
};

static struct model model[NR_MODEL];
static unsigned nr_model;
static struct thing things[NR_THINGS];

static bool
is_derived_from(int i, int top)
{
	while (i >= 0 && i != top)
		i = model[i].source;
	return i == top;
}

static void
model_end(int i)
{
	for (unsigned k = 0; k < nr_model; k++)
		if (model[k].source == i)
			model[k].source = model[i].source;
	model[i].thing = -1;
}

static void
model_insert(struct mmk_handles *table, int thing, unsigned rights)
{
	struct model *m = &model[nr_model++];

	m->table = table;
	m->thing = thing;
	m->source = -1;
	m->rights = rights;
	m->name = insert(table, &things[thing], rights);
}

static void
model_derive(int i, struct mmk_handles *to, unsigned rights)
{
	struct model *m = &model[nr_model], *source = &model[i];
	enum mmk_err err = mmk_handle_derive(source->table, source->name, to,
	    rights, &m->name);

	if (rights == 0) {
		cr_assert_eq(err, MMK_ERR_INVAL);
	} else if (source->thing < 0) {
		cr_assert_eq(err, MMK_ERR_NOENT);
	} else if ((source->rights & MMK_RIGHT_GRANT) == 0 ||
	    (rights & ~source->rights) != 0) {
		cr_assert_eq(err, MMK_ERR_ACCESS);
	} else {
		cr_assert_eq(err, MMK_OK);
		m->table = to;
		m->thing = source->thing;
		m->source = i;
		m->rights = rights;
		nr_model++;
	}
}

static void
model_revoke(int i)
{
	enum mmk_err err = mmk_handle_revoke(model[i].table, model[i].name);
	bool is_below[NR_MODEL];

	cr_assert_eq(err, model[i].thing < 0 ? MMK_ERR_NOENT : MMK_OK);
	if (err != MMK_OK)
		return;
	for (unsigned k = 0; k < nr_model; k++)
		is_below[k] = (int)k != i && is_derived_from((int)k, i);
	for (unsigned k = 0; k < nr_model; k++)
		if (is_below[k])
			model[k].thing = -1;
}

static void
model_close(int i)
{
	enum mmk_err err = mmk_handle_close(model[i].table, model[i].name);

	cr_assert_eq(err, model[i].thing < 0 ? MMK_ERR_NOENT : MMK_OK);
	if (err == MMK_OK)
		model_end(i);
}

static void
model_kill(int thing)
{
	mmk_handle_target_kill(&things[thing].target);
	for (unsigned i = 0; i < nr_model; i++)
		if (model[i].thing == thing)
			model[i].thing = -1;
	thing_init(&things[thing], 1 + thing % 2);
}

static void
model_compare(unsigned rights)
{
	for (unsigned i = 0; i < nr_model; i++) {
		struct model *m = &model[i];
		struct thing *thing = &things[m->thing < 0 ? 0 : m->thing];
		enum mmk_err wanted = m->thing < 0 ? MMK_ERR_NOENT
		    : (rights & ~m->rights) != 0 ? MMK_ERR_ACCESS
		                                   : MMK_OK;

		cr_assert_eq(look(m->table, m->name, thing, rights), wanted);
	}
	check_all();
}

Test(handle, prop_random_steps_agree_with_a_list)
{
	struct mmk_handles *tables[3] = { &mine, &yours, &theirs };
	uint64_t seed = mmk_test_seed();

	nr_model = 0;
	for (int i = 0; i < (int)NR_THINGS; i++)
		thing_init(&things[i], 1 + i % 2);
	for (unsigned step = 0; step < mmk_test_steps(4000); step++) {
		uint64_t r = mmk_test_random(&seed);
		struct mmk_handles *table = tables[r % 3];
		unsigned rights = (unsigned)(r >> 8) & MMK_RIGHT_ALL;
		unsigned what = (unsigned)(r >> 16) % 32;
		int i = nr_model > 0 ? (int)((r >> 24) % nr_model) : -1;

		if (nr_model == NR_MODEL) {
			for (int t = 0; t < (int)NR_THINGS; t++)
				model_kill(t);
			nr_model = 0;
			continue;
		}
		if (i < 0 || what < 4)
			model_insert(table, (int)(r >> 48) % (int)NR_THINGS,
			    rights | MMK_RIGHT_GRANT);
		else if (what < 24)
			model_derive(i, table,
			    model[i].rights & (rights | (what < 16 ? 32 : 0)));
		else if (what == 24)
			model_revoke(i);
		else if (what < 29)
			model_close(i);
		else if (what == 29 && (r >> 40 & 3) == 0)
			model_kill((int)(r >> 48) % (int)NR_THINGS);
		else
			model_derive(i, table, rights);
		model_compare(rights);
	}
	for (int t = 0; t < (int)NR_THINGS; t++)
		model_kill(t);
	cr_assert_eq(mine.nr_used + yours.nr_used + theirs.nr_used, 0);
}

/* ---- threads ------------------------------------------------------------- */

/* Objects of the heap: who finds one after its death touches freed memory. */
struct mortal {
	struct thing thing; /* its first reference is that of the living */
	bool is_killed;     /* [a] */
};

#define NR_SHARED 8u

static mmk_handle_name shared_names[NR_SHARED]; /* [a] of `mine` */
static unsigned nr_mortals;                     /* [a] */
static unsigned nr_derived;                     /* [a] */
static pthread_barrier_t start;

static void
mortal_unref(struct mortal *mortal)
{
	if (__atomic_sub_fetch(&mortal->thing.refs, 1, __ATOMIC_ACQ_REL) != 0)
		return;
	__atomic_sub_fetch(&nr_mortals, 1, __ATOMIC_ACQ_REL);
	free(mortal);
}

static struct mortal *
mortal_find(mmk_handle_name name)
{
	struct mmk_handle_target *found;

	if (mmk_handle_lookup(&mine, name, MMK_HANDLE_CONTROL, MMK_RIGHT_READ,
	        &found) != MMK_OK)
		return NULL;
	return MMK_CONTAINER_OF(found, struct mortal, thing.target);
}

/* One of those who find it takes the reference of the living. */
static void
mortal_kill(mmk_handle_name name)
{
	struct mortal *mortal = mortal_find(name);

	if (mortal == NULL)
		return;
	mmk_handle_target_kill(&mortal->thing.target);
	if (!__atomic_exchange_n(&mortal->is_killed, true, __ATOMIC_ACQ_REL))
		mortal_unref(mortal);
	mortal_unref(mortal);
}

/* A new one takes the place of an old one, which dies. */
static void
mortal_create(unsigned i)
{
	struct mortal *mortal = calloc(1, sizeof(*mortal));

	cr_assert_not_null(mortal);
	thing_init(&mortal->thing, MMK_HANDLE_CONTROL);
	__atomic_add_fetch(&nr_mortals, 1, __ATOMIC_ACQ_REL);
	mortal_kill(__atomic_exchange_n(&shared_names[i],
	    insert(&mine, &mortal->thing, MMK_RIGHT_ALL), __ATOMIC_ACQ_REL));
}

static void
mortal_derive(mmk_handle_name name, struct mmk_handles *own, bool is_closed)
{
	mmk_handle_name derived;
	enum mmk_err err = mmk_handle_derive(&mine, name, own, MMK_RIGHT_READ,
	    &derived);

	if (err != MMK_OK) {
		cr_assert_eq(err, MMK_ERR_NOENT);
		return;
	}
	__atomic_add_fetch(&nr_derived, 1, __ATOMIC_ACQ_REL);
	if (is_closed)
		err = mmk_handle_close(own, derived);
	cr_assert(err == MMK_OK || err == MMK_ERR_NOENT, "revoked meanwhile");
}

static void *
naming(void *arg)
{
	uint64_t id = (uint64_t)(uintptr_t)arg;
	uint64_t seed = mmk_test_seed() * 41 + id;
	struct mmk_handles own;

	sim_set_cpu((unsigned)id);
	mmk_handles_init(&own, &handles, 100);
	pthread_barrier_wait(&start);
	for (unsigned step = 1; step <= mmk_test_steps(5000); step++) {
		uint64_t r = mmk_test_random(&seed);
		unsigned i = (unsigned)(r % NR_SHARED);
		mmk_handle_name name =
		    __atomic_load_n(&shared_names[i], __ATOMIC_ACQUIRE);
		unsigned what = (unsigned)(r >> 8) % 16;
		struct mortal *mortal;

		if (what == 0) {
			mortal_create(i);
		} else if (what == 1) {
			mortal_kill(name);
		} else if (what == 2) {
			if (mmk_handle_revoke(&mine, name) == MMK_OK)
				cr_assert(mmk_handles_check(&own));
		} else if (what < 8) {
			mortal_derive(name, &own, r >> 16 & 1);
		} else {
			mortal = mortal_find(name);
			if (mortal != NULL)
				mortal_unref(mortal);
		}
		if (step % 64 == 0) {
			mmk_handles_fini(&own);
			mmk_handles_init(&own, &handles, 100);
		}
	}
	mmk_handles_fini(&own);
	return NULL;
}

static void
run_threads(unsigned nr)
{
	pthread_t threads[4];

	nr_mortals = nr_derived = 0;
	memset(shared_names, 0, sizeof(shared_names));
	pthread_barrier_init(&start, NULL, nr);
	for (uintptr_t i = 0; i < nr; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, naming,
		                 (void *)i),
		    0);
	for (unsigned i = 0; i < nr; i++)
		cr_assert_eq(pthread_join(threads[i], NULL), 0);
	pthread_barrier_destroy(&start);
	cr_assert_gt(nr_derived, 0);
	for (unsigned i = 0; i < NR_SHARED; i++)
		mortal_kill(shared_names[i]);
	cr_assert_eq(nr_mortals, 0, "nobody was killed twice, or forgotten");
	cr_assert_eq(mine.nr_used, 0);
}

Test(handle_threads, two_look_up_derive_revoke_and_kill)
{
	run_threads(2);
}

Test(handle_threads, four_look_up_derive_revoke_and_kill)
{
	run_threads(4);
}

/* ---- misuse -------------------------------------------------------------- */

Test(handle_bugs, a_name_without_rights, .signal = SIGABRT)
{
	mmk_handle_name name;

	(void)!mmk_handle_insert(&mine, &one.target, 0, &name);
}

Test(handle_bugs, a_name_with_unknown_rights, .signal = SIGABRT)
{
	mmk_handle_name name;

	(void)!mmk_handle_insert(&mine, &one.target, MMK_RIGHT_ALL + 1, &name);
}

Test(handle_bugs, a_table_without_slots, .signal = SIGABRT)
{
	mmk_handles_init(&mine, &handles, 0);
}

Test(handle_bugs, a_table_too_large, .signal = SIGABRT)
{
	mmk_handles_init(&mine, &handles, MMK_HANDLE_LIMIT + 1);
}

Test(handle_bugs, an_object_of_no_kind, .signal = SIGABRT)
{
	thing_init(&one, MMK_HANDLE_NONE);
}

Test(handle_bugs, a_lookup_of_no_kind, .signal = SIGABRT)
{
	struct mmk_handle_target *found;

	(void)!mmk_handle_lookup(&mine, 1, MMK_HANDLE_NONE, 0, &found);
}

Test(handle_bugs, tables_of_two_systems, .signal = SIGABRT)
{
	static struct mmk_handle_sys other;
	mmk_handle_name name = insert(&mine, &one, MMK_RIGHT_ALL);

	mmk_handle_sys_init(&other, &item_memory);
	mmk_handles_init(&yours, &other, 10);
	(void)!mmk_handle_derive(&mine, name, &yours, MMK_RIGHT_READ, &name);
}
