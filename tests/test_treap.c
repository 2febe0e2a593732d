/* SPDX-License-Identifier: MIT
 *
 * tests/test_treap.c: an ordered set threaded through its items
 */
#include <criterion/criterion.h>
#include <string.h>

#include "mmkit/base/treap.h"
#include "prop.h"

enum { NR = 64 };

static struct mmk_treap tree;
static struct mmk_treap_node nodes[NR];
static bool is_in[NR];

static void
insert(unsigned i, uint64_t major, uint64_t minor)
{
	nodes[i].major = major;
	nodes[i].minor = minor;
	mmk_treap_insert(&tree, &nodes[i]);
	is_in[i] = true;
}

static void
take(unsigned i)
{
	mmk_treap_remove(&tree, &nodes[i]);
	is_in[i] = false;
}

/* -1, 0, 1: how the key of node i compares. */
static int
compare(unsigned i, uint64_t major, uint64_t minor)
{
	if (nodes[i].major != major)
		return nodes[i].major < major ? -1 : 1;
	return nodes[i].minor < minor ? -1 : nodes[i].minor > minor;
}

/* The obvious way: look at all of them. */
static struct mmk_treap_node *
oracle(uint64_t major, uint64_t minor, int direction)
{
	struct mmk_treap_node *best = NULL;

	for (unsigned i = 0; i < NR; i++) {
		int side = compare(i, major, minor);

		if (!is_in[i] || side == -direction)
			continue;
		if (best == NULL ||
		    compare(i, best->major, best->minor) == -direction)
			best = &nodes[i];
	}
	return best;
}

static void
begin(void)
{
	mmk_treap_init(&tree);
	memset(is_in, 0, sizeof is_in);
}

TestSuite(treap, .init = begin);

Test(treap, an_empty_tree_finds_nothing)
{
	cr_assert_null(mmk_treap_find_ge(&tree, 0, 0));
	cr_assert_null(mmk_treap_find_le(&tree, UINT64_MAX, UINT64_MAX));
	cr_assert(mmk_treap_check(&tree));
}

Test(treap, keys_are_ordered_by_both_numbers)
{
	insert(0, 2, 5);
	insert(1, 1, UINT64_MAX);
	insert(2, 2, 4);
	insert(3, UINT64_MAX, UINT64_MAX);
	insert(4, 0, 0);
	cr_assert(mmk_treap_check(&tree));
	cr_assert_eq(mmk_treap_find_ge(&tree, 0, 0), &nodes[4]);
	cr_assert_eq(mmk_treap_next(&tree, &nodes[4]), &nodes[1]);
	cr_assert_eq(mmk_treap_next(&tree, &nodes[1]), &nodes[2]);
	cr_assert_eq(mmk_treap_next(&tree, &nodes[2]), &nodes[0]);
	cr_assert_eq(mmk_treap_next(&tree, &nodes[0]), &nodes[3]);
	cr_assert_null(mmk_treap_next(&tree, &nodes[3]));
	cr_assert_eq(mmk_treap_find_le(&tree, 2, 3), &nodes[1]);
	cr_assert_eq(mmk_treap_find_ge(&tree, 2, 5), &nodes[0]);
}

Test(treap, a_walk_may_remove_what_it_has_seen)
{
	unsigned nr = 0;

	for (unsigned i = 0; i < NR; i++)
		insert(i, i * 7 % NR, i);
	for (struct mmk_treap_node *node = mmk_treap_find_ge(&tree, 0, 0);
	     node != NULL; node = mmk_treap_next(&tree, node), nr++) {
		cr_assert_eq(node->major, nr);
		mmk_treap_remove(&tree, node);
		cr_assert(mmk_treap_check(&tree));
	}
	cr_assert_eq(nr, NR);
}

/* The shape is that of the set, in whatever order it came about. */
Test(treap, ascending_keys_do_not_make_a_list)
{
	enum { MANY = 4096 };
	static struct mmk_treap_node many[MANY];
	unsigned deepest = 0;

	for (unsigned i = 0; i < MANY; i++) {
		many[i].major = (uint64_t)i << 14;
		many[i].minor = 0;
		mmk_treap_insert(&tree, &many[i]);
	}
	for (unsigned i = 0; i < MANY; i++) {
		const struct mmk_treap_node *node = tree.root;
		unsigned depth = 1;

		for (; node != &many[i]; depth++)
			node = node->below[node->major < many[i].major];
		deepest = depth > deepest ? depth : deepest;
	}
	cr_assert_leq(deepest, 40, "%u levels for 4096 nodes", deepest);
	cr_assert(mmk_treap_check(&tree));
}

Test(treap, prop_agrees_with_looking_at_all)
{
	uint64_t seed = mmk_test_seed(), start_seed = seed;

	for (unsigned step = 0; step < mmk_test_steps(4000); step++) {
		uint64_t major = mmk_test_random(&seed) % 16;
		uint64_t minor = mmk_test_random(&seed) % 16;
		unsigned i = (unsigned)(mmk_test_random(&seed) % NR);

		if (is_in[i])
			take(i);
		else if (oracle(major, minor, 1) == NULL ||
		    oracle(major, minor, 1) != oracle(major, minor, -1))
			insert(i, major, minor);
		cr_assert(mmk_treap_check(&tree), "seed %llu step %u",
		    (unsigned long long)start_seed, step);
		cr_assert_eq(mmk_treap_find_ge(&tree, major, minor),
		    oracle(major, minor, 1));
		cr_assert_eq(mmk_treap_find_le(&tree, major, minor),
		    oracle(major, minor, -1));
	}
}

Test(treap, check_sees_a_planted_fault)
{
	for (unsigned i = 0; i < 8; i++)
		insert(i, i, 0);

#define PLANT(field, value)                                    \
	do {                                                   \
		__typeof__(field) keep = (field);              \
		(field) = (value);                             \
		cr_assert_not(mmk_treap_check(&tree), #field); \
		(field) = keep;                                \
		cr_assert(mmk_treap_check(&tree));             \
	} while (0)
	PLANT(tree.nr_nodes, 7);
	PLANT(tree.nr_nodes, 9);
	PLANT(tree.root, tree.root->below[0]);
	PLANT(tree.root->major, 100);
	PLANT(tree.root->minor, 1);
#undef PLANT
}
