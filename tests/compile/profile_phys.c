/* SPDX-License-Identifier: MIT
 * tests/compile/profile_phys.c: physical memory with no virtual memory (S1.1) */
static struct mmk_phys phys;
extern int profile(void);

static void *
page_alloc(void *ctx)
{
	struct mmk_frame *frame;

	(void)ctx;
	if (mmk_frame_alloc(&phys, 0, 0, MMK_USE_KERNEL, &frame) != MMK_OK)
		return NULL;
	return mmk_frame_ptr(&phys, frame);
}

static void
page_free(void *ctx, void *page)
{
	(void)ctx;
	(void)mmk_pa_unref(&phys, MMKIT_PTR_TO_PHYS(page));
}

/* A control of one page, found by its name; a second page has no credit. */
static int
profile_controls(void)
{
	static const struct mmk_handle_memory memory = { page_alloc, page_free,
		NULL };
	static struct mmk_handle_sys sys;
	static struct mmk_handles table;
	static struct mmk_control_tree tree;
	static struct mmk_control root, child;
	struct mmk_control *found;
	mmk_handle_name name;

	mmk_handle_sys_init(&sys, &memory);
	mmk_handles_init(&table, &sys, 10);
	mmk_control_init_root(&tree, &root, 10, NULL, &sys);
	if (mmk_control_split(&root, &child, 1) != MMK_OK ||
	    mmk_handle_insert(&table, &child.target, MMK_RIGHT_ALL, &name) !=
	        MMK_OK ||
	    mmk_control_lookup(&table, name, MMK_RIGHT_ALLOC, &found) != MMK_OK)
		return 10;
	if (mmk_control_charge(found, 1) != MMK_OK ||
	    mmk_control_charge(found, 1) != MMK_ERR_LIMIT)
		return 11;
	mmk_control_uncharge(found, 1);
	mmk_control_unref(found);
	if (mmk_control_destroy(&child) != MMK_OK ||
	    mmk_control_lookup(&table, name, 0, &found) != MMK_ERR_NOENT)
		return 12;
	mmk_control_unref(&child);
	mmk_handles_fini(&table);
	mmk_control_fini_root(&tree);
	return mmk_control_check(&tree) ? 0 : 13;
}

int
profile(void)
{
	int status;
	struct mmk_phys_span span = { 0x40000000u, 0x40400000u };
	struct mmk_phys_config config = { .spans = &span, .nr_spans = 1 };
	struct mmk_frame *frame;
	struct mmk_phys_stats before, after;

	if (mmk_phys_init(&phys, &config) != MMK_OK)
		return 1;
	mmk_phys_stats_read(&phys, &before);
	if (mmk_frame_alloc(&phys, 3, MMK_ALLOC_ZERO, MMK_USE_KERNEL, &frame) !=
	    MMK_OK)
		return 2;
	if (mmk_frame_unref(&phys, frame) != 0)
		return 3;
	status = profile_controls();
	if (status != 0)
		return status;
	mmk_phys_stats_read(&phys, &after);
	if (before.nr_free_pages != after.nr_free_pages)
		return 4;
	return mmk_phys_check(&phys) ? 0 : 5;
}
