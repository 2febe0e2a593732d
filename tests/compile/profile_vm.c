/* SPDX-License-Identifier: MIT
 * tests/compile/profile_vm.c: address spaces with no pager and no trap: every
 * page is mapped at once (S4.11), from an object that has its own addresses */
static struct mmk_phys phys;
static struct mmk_pmap_sys sys;
static struct mmk_vm vm;
static struct mmk_map map;
extern int profile(void);

static enum mmk_err
give_frame(struct mmk_object *object, const struct mmk_entry *entry,
    uint64_t page, unsigned access, mmk_pa *pa_out)
{
	struct mmk_frame *frame;
	enum mmk_err err;

	(void)object, (void)entry, (void)page, (void)access;
	err = mmk_frame_alloc(&phys, 0, MMK_ALLOC_ZERO, MMK_USE_KERNEL, &frame);
	if (err == MMK_OK)
		*pa_out = mmk_frame_pa(&phys, frame);
	return err;
}

static int
map_all(struct mmk_object *object)
{
	struct mmk_map_args args = { .nr_pages = 16,
		.prot = MMK_PROT_READ | MMK_PROT_WRITE,
		.max_prot = MMK_PROT_ALL,
		.inherit = MMK_INHERIT_SHARE };
	mmk_va start_va, end_va;

	args.lower.object = object;
	if (mmk_map_insert(&map, &args, &start_va) != MMK_OK)
		return 3;
	end_va = start_va + mmk_bytes_of_pages(args.nr_pages);
	for (mmk_va va = start_va; va < end_va; va += MMK_PAGE_BYTES)
		if (mmk_fault(&map, va, MMK_PROT_WRITE) != MMK_OK)
			return 4;
	if (map.pmap.nr_pages != args.nr_pages)
		return 5;
	if (mmk_map_remove(&map, start_va + MMK_PAGE_BYTES,
	        start_va + 2 * MMK_PAGE_BYTES) != MMK_OK)
		return 6;
	return map.pmap.nr_pages == args.nr_pages - 1 ? 0 : 7;
}

int
profile(void)
{
	static const struct mmk_pager_ops ops = { .name = "frames",
		.kind = 100, .map = give_frame };
	struct mmk_phys_span span = { 0x40000000u, 0x40400000u };
	struct mmk_phys_config config = { .spans = &span, .nr_spans = 1 };
	struct mmk_pt_shape shape = MMK_X86_64_SHAPE;
	struct mmk_phys_stats stats;
	struct mmk_object *object;
	uint64_t nr_free;
	int result;

	if (mmk_phys_init(&phys, &config) != MMK_OK)
		return 1;
	mmk_phys_stats_read(&phys, &stats);
	nr_free = stats.nr_free_pages;
	if (mmk_pmap_sys_init(&sys, &phys, &shape) != MMK_OK ||
	    mmk_vm_init(&vm, &phys, &sys, NULL) != MMK_OK ||
	    mmk_map_init(&map, &vm, 0x10000, 0x700000000000u, NULL) != MMK_OK ||
	    mmk_object_create(&vm, &ops, NULL, 64, &object) != MMK_OK)
		return 2;
	result = map_all(object);
	mmk_object_unref(object);
	mmk_map_fini(&map);
	mmk_vm_fini(&vm);
	mmk_pmap_sys_fini(&sys);
	mmk_phys_stats_read(&phys, &stats);
	if (result == 0 && stats.nr_free_pages != nr_free)
		result = 8;
	return result != 0 || mmk_phys_check(&phys) ? result : 9;
}
