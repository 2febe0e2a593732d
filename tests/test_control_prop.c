/* SPDX-License-Identifier: MIT
 *
 * tests/test_control_prop.c: memory controls against a ledger, step by random
 * step, and by many at once
 */
#include "control_fixture.h"

TestSuite(control_threads);

/* ---- the ledger ---------------------------------------------------------- */

#define NR_NODES 24u
#define NR_HOLDINGS 48u

/* The obvious way: who holds how much through which control. */
struct node {
	struct mmk_control *control; /* NULL: released, or not yet */
	int parent;
	bool is_alive;
	uint64_t nr_granted;
};

struct holding {
	int node; /* -1: none */
	uint64_t nr_pages;
	bool is_dropped; /* goes when its control goes */
	struct mmk_control_user user;
};

static struct node nodes[NR_NODES];
static struct holding holdings[NR_HOLDINGS];

/* Pages charged to a living control; or through a dead one. */
static uint64_t
ledger_charged(int node)
{
	uint64_t sum = 0;

	for (unsigned h = 0; h < NR_HOLDINGS; h++) {
		int i = holdings[h].node;

		while (i >= 0 && i != node)
			i = nodes[i].is_alive ? -1 : nodes[i].parent;
		if (i == node)
			sum += holdings[h].nr_pages;
	}
	return sum;
}

static void
ledger_compare(void)
{
	uint64_t nr_granted = 0;

	for (unsigned i = 0; i < NR_NODES; i++) {
		struct node *node = &nodes[i];
		uint64_t nr_charged = node->control != NULL
		    ? ledger_charged((int)i)
		    : 0;

		if (node->control == NULL)
			continue;
		cr_assert(node->is_alive || nr_charged > 0,
		    "it should have been released");
		assert_credit(node->control, node->nr_granted, nr_charged, 0);
		nr_granted += node->nr_granted;
	}
	cr_assert_eq(nr_granted, ROOT_PAGES);
}

static void
ledger_released(void *ctx, struct mmk_control *control)
{
	unsigned i;

	(void)ctx;
	for (i = 1; nodes[i].control != control; i++)
		cr_assert_lt(i, NR_NODES - 1);
	nodes[i].control = NULL;
	free(control);
}

static void
ledger_drop(struct mmk_control_user *user)
{
	struct holding *h = MMK_LIST_ITEM(user, struct holding, user);

	mmk_control_uncharge(user->control, h->nr_pages);
	h->node = -1;
	h->nr_pages = 0;
	mmk_control_unref(user->control);
}

static void
ledger_split(int parent, uint64_t nr_pages)
{
	uint64_t nr_free = nodes[parent].nr_granted - ledger_charged(parent);
	struct mmk_control *child;
	int i;

	for (i = 0; i < (int)NR_NODES && nodes[i].control != NULL; i++)
		;
	for (int k = 0; k < (int)NR_NODES; k++)
		if (i == (int)NR_NODES || (nodes[k].control != NULL &&
		        nodes[k].parent == i))
			return;
	child = split(nodes[parent].control, nr_pages);
	cr_assert_eq(child != NULL, nr_pages > 0 && nr_pages <= nr_free);
	if (child == NULL)
		return;
	mmk_control_unref(child);
	nodes[parent].nr_granted -= nr_pages;
	nodes[i] = (struct node){ child, parent, true, nr_pages };
}

static void
ledger_charge(int node, uint64_t nr_pages, bool is_dropped)
{
	uint64_t nr_free = nodes[node].nr_granted - ledger_charged(node);
	struct holding *h = holdings;
	enum mmk_err err;

	while (h < holdings + NR_HOLDINGS && h->node >= 0)
		h++;
	if (h == holdings + NR_HOLDINGS)
		return;
	err = mmk_control_charge(nodes[node].control, nr_pages);
	cr_assert_eq(err, nr_pages <= nr_free ? MMK_OK : MMK_ERR_LIMIT);
	if (err != MMK_OK)
		return;
	h->node = node;
	h->nr_pages = nr_pages;
	h->is_dropped = is_dropped;
	if (is_dropped)
		cr_assert_eq(mmk_control_user_add(nodes[node].control,
		                 &h->user, ledger_drop),
		    MMK_OK);
}

static void
ledger_uncharge(struct holding *h)
{
	struct mmk_control *control = nodes[h->node].control;

	if (h->is_dropped) {
		cr_assert(mmk_control_user_remove(&h->user));
		ledger_drop(&h->user);
		return;
	}
	h->node = -1;
	mmk_control_uncharge(control, h->nr_pages);
	h->nr_pages = 0;
}

static bool
is_below(int i, int top)
{
	while (i != top && i > 0)
		i = nodes[i].parent;
	return i == top;
}

static void
ledger_destroy(int top)
{
	struct mmk_control *control = nodes[top].control;
	int heir = nodes[top].parent;
	bool is_dying[NR_NODES] = { false };

	mmk_control_ref(control);
	for (int i = 1; i < (int)NR_NODES; i++) {
		if (nodes[i].control == NULL || !nodes[i].is_alive ||
		    !is_below(i, top))
			continue;
		nodes[heir].nr_granted += nodes[i].nr_granted;
		nodes[i].nr_granted = 0;
		is_dying[i] = true;
	}
	destroy(control);
	for (unsigned i = 0; i < NR_NODES; i++)
		if (is_dying[i])
			nodes[i].is_alive = false;
	mmk_control_unref(control);
}

Test(control_prop, random_steps_agree_with_a_ledger)
{
	uint64_t seed = mmk_test_seed();
	unsigned nr_dead = 0;

	boot_controls();
	tree.plug.released = ledger_released;
	memset(nodes, 0, sizeof(nodes));
	memset(holdings, 0, sizeof(holdings));
	for (unsigned h = 0; h < NR_HOLDINGS; h++)
		holdings[h].node = -1;
	nodes[0] = (struct node){ &root, -1, true, ROOT_PAGES };
	for (unsigned step = 0; step < mmk_test_steps(4000); step++) {
		uint64_t r = mmk_test_random(&seed), n = r >> 32;
		int i = (int)(r % NR_NODES);
		struct holding *h = &holdings[r / 32 % NR_HOLDINGS];
		unsigned what = (unsigned)(r >> 16) % 8;

		while (nodes[i].control == NULL || !nodes[i].is_alive)
			i = (i + 1) % (int)NR_NODES;
		if (what >= 5 && h->node >= 0) {
			nr_dead += !nodes[h->node].is_alive;
			ledger_uncharge(h);
		} else if (what < 2) {
			ledger_split(i, n % 30);
		} else if (what < 4) {
			ledger_charge(i, n % 12 + 1, n / 12 % 3 == 0);
		} else if (what == 4 && i > 0 && n % 2 == 0) {
			ledger_destroy(i);
		}
		ledger_compare();
	}
	if (mmk_test_steps(100) >= 50) /* too few steps say nothing */
		cr_assert_gt(nr_dead, mmk_test_steps(4000) / 400);
	for (unsigned h = 0; h < NR_HOLDINGS; h++)
		if (holdings[h].node >= 0)
			ledger_uncharge(&holdings[h]);
	for (int i = 1; i < (int)NR_NODES; i++)
		if (nodes[i].control != NULL && nodes[i].is_alive)
			ledger_destroy(i);
	ledger_compare();
	assert_credit(&root, ROOT_PAGES, 0, 0);
	fini_controls();
}

/* ---- threads ------------------------------------------------------------- */

#define NR_NAMES 12u

static struct mmk_handles client;
static mmk_handle_name names[NR_NAMES]; /* [a] */
static unsigned nr_done[4]; /* [a] charges, refusals, splits, destructions */
static unsigned nr_charging; /* [a] threads that are not finished */
static pthread_barrier_t start;

static void
count(unsigned what)
{
	__atomic_add_fetch(&nr_done[what], 1, __ATOMIC_RELAXED);
}

/* A name leads to a control that may die at any moment. */
static struct mmk_control *
look(uint64_t r)
{
	struct mmk_control *found = NULL;
	mmk_handle_name name =
	    __atomic_load_n(&names[r % NR_NAMES], __ATOMIC_ACQUIRE);

	if (mmk_control_lookup(&client, name, 0, &found) != MMK_OK)
		return NULL;
	return found;
}

static void
try_split(struct mmk_control *parent, uint64_t r)
{
	struct mmk_control *child = split(parent, 1 + r % 20);
	mmk_handle_name name = 0;

	if (child == NULL)
		return;
	if (mmk_handle_insert(&client, &child->target, MMK_RIGHT_ALL, &name) ==
	    MMK_OK)
		__atomic_store_n(&names[1 + r / 32 % (NR_NAMES - 1)], name,
		    __ATOMIC_RELEASE);
	else if (mmk_control_destroy(child) == MMK_OK)
		count(3);
	mmk_control_unref(child);
	count(2);
}

struct held {
	struct mmk_control *control;
	uint64_t nr_pages;
};

static void
try_charge(struct mmk_control *control, struct held *held, uint64_t r)
{
	enum mmk_err err;

	held->nr_pages = 1 + r % 4;
	err = mmk_control_charge(control, held->nr_pages);
	held->control = err == MMK_OK ? control : NULL;
	count(err == MMK_OK ? 0 : 1);
}

/* No references are kept: a charge keeps its control, dead or alive. */
static void *
charging(void *arg)
{
	uint64_t id = (uint64_t)(uintptr_t)arg;
	uint64_t seed = mmk_test_seed() * 31 + id;
	struct held held[8] = { { NULL, 0 } };

	sim_set_cpu((unsigned)id);
	pthread_barrier_wait(&start);
	for (unsigned step = 0; step < mmk_test_steps(6000); step++) {
		uint64_t r = mmk_test_random(&seed);
		struct held *h = &held[r % 8];
		struct mmk_control *control;

		if (h->control != NULL) {
			mmk_control_uncharge(h->control, h->nr_pages);
			h->control = NULL;
			continue;
		}
		control = look(r >> 8);
		if (control == NULL)
			continue;
		if (r >> 40 & 7)
			try_charge(control, h, r >> 16);
		else if (r >> 43 & 15)
			try_split(control, r >> 16);
		else if (mmk_control_destroy(control) == MMK_OK)
			count(3);
		mmk_control_unref(control);
	}
	for (unsigned i = 0; i < 8; i++)
		if (held[i].control != NULL)
			mmk_control_uncharge(held[i].control,
			    held[i].nr_pages);
	__atomic_sub_fetch(&nr_charging, 1, __ATOMIC_ACQ_REL);
	return NULL;
}

/* On the stack: it is left when nobody will touch the user any more. */
struct brief {
	struct mmk_control_user user;
	bool is_dropped; /* [a] */
};

static void
brief_drop(struct mmk_control_user *user)
{
	struct brief *brief = MMK_LIST_ITEM(user, struct brief, user);

	mmk_control_uncharge(user->control, 1);
	mmk_control_unref(user->control);
	__atomic_store_n(&brief->is_dropped, true, __ATOMIC_RELEASE);
}

static void
use_briefly(struct mmk_control *control)
{
	struct brief brief = { .is_dropped = false };

	if (mmk_control_charge(control, 1) != MMK_OK)
		return;
	if (mmk_control_user_add(control, &brief.user, brief_drop) != MMK_OK) {
		mmk_control_uncharge(control, 1);
		return;
	}
	if (mmk_control_user_remove(&brief.user))
		brief_drop(&brief.user);
	while (!__atomic_load_n(&brief.is_dropped, __ATOMIC_ACQUIRE))
		sched_yield();
}

static void *
destroying(void *arg)
{
	uint64_t id = (uint64_t)(uintptr_t)arg;
	uint64_t seed = mmk_test_seed() * 37 + id;

	sim_set_cpu((unsigned)id);
	pthread_barrier_wait(&start);
	for (unsigned step = 0;
	     __atomic_load_n(&nr_charging, __ATOMIC_ACQUIRE) > 0; step++) {
		uint64_t r = mmk_test_random(&seed);
		struct mmk_control *control = look(1 + r % (NR_NAMES - 1));

		if (step % 16 == 0)
			cr_assert(mmk_control_check(&tree));
		if (control == NULL)
			continue;
		if (r >> 20 & 15)
			use_briefly(control);
		else if (mmk_control_destroy(control) == MMK_OK)
			count(3);
		mmk_control_unref(control);
	}
	return NULL;
}

static void
run_threads(unsigned nr_chargers, unsigned nr_destroyers)
{
	pthread_t threads[4];
	unsigned nr = nr_chargers + nr_destroyers;

	boot_controls();
	memset(names, 0, sizeof(names));
	memset(nr_done, 0, sizeof(nr_done));
	nr_charging = nr_chargers;
	pthread_barrier_init(&start, NULL, nr);
	mmk_handles_init(&client, &handles, 200);
	cr_assert_eq(mmk_handle_insert(&client, &root.target, MMK_RIGHT_ALL,
	                 &names[0]),
	    MMK_OK);
	for (uintptr_t i = 0; i < nr; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL,
		                 i < nr_chargers ? charging : destroying,
		                 (void *)i),
		    0);
	for (unsigned i = 0; i < nr; i++)
		cr_assert_eq(pthread_join(threads[i], NULL), 0);
	pthread_barrier_destroy(&start);
	if (mmk_test_steps(100) >= 50) { /* too few steps say nothing */
		cr_assert_gt(nr_done[0], 0);
		cr_assert_gt(nr_done[2], 0);
		cr_assert_gt(nr_done[3], 0);
	}
	cr_assert(mmk_control_check(&tree));
	cr_assert(mmk_handles_check(&client));
	while (!mmk_list_is_empty(&root.children)) {
		struct mmk_control *child = MMK_LIST_ITEM(
		    mmk_list_first(&root.children), struct mmk_control,
		    sibling);

		mmk_control_ref(child);
		destroy(child);
		mmk_control_unref(child);
	}
	assert_credit(&root, ROOT_PAGES, 0, 0);
	mmk_handles_fini(&client);
	cr_assert_eq(nr_released, nr_done[2]);
	fini_controls();
}

Test(control_threads, two_charge_and_destroy)
{
	run_threads(1, 1);
}

Test(control_threads, four_charge_split_and_destroy)
{
	run_threads(2, 2);
}

Test(control_threads, four_charge)
{
	run_threads(4, 0);
}
