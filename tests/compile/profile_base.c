/* SPDX-License-Identifier: MIT
 * tests/compile/profile_base.c: lists and a btree, with no memory but ours */
static unsigned char nodes[8][MMK_BTREE_NODE_BYTES]
    __attribute__((aligned(64)));
static unsigned nr_nodes;

static void *
node_alloc(void *ctx)
{
	(void)ctx;
	return nr_nodes < 8 ? nodes[nr_nodes++] : NULL;
}

static void
node_free(void *ctx, void *node)
{
	(void)ctx, (void)node;
}

extern int profile(void);

int
profile(void)
{
	static const struct mmk_btree_memory memory = { node_alloc, node_free,
		NULL };
	struct mmk_btree tree;
	struct mmk_range range;
	int value;

	mmk_btree_init(&tree, &memory);
	if (mmk_btree_insert(&tree, 10, 19, &value) != MMK_OK)
		return 1;
	if (!mmk_btree_find(&tree, 15, &range) || range.value != &value)
		return 2;
	if (mmk_btree_erase(&tree, 10) != &value)
		return 3;
	mmk_btree_fini(&tree);
	return 0;
}
