/* SPDX-License-Identifier: MIT
 * tests/compile/profile_face.c: everything: mmap, touch, fork, munmap */
static struct mmk_phys phys;
static struct mmk_pmap_sys sys;
static struct mmk_vm vm;
static struct mmk_space parent, child;
extern int profile(void);

static int
live(void)
{
	mmk_va va;

	if (mmk_mmap(&parent, 0, 5 * MMK_PAGE_BYTES,
	        MMK_PROT_READ | MMK_PROT_WRITE, MMK_PROT_ALL,
	        MMK_MAP_PRIVATE | MMK_MAP_ANON, NULL, 0, &va) != MMK_OK)
		return 2;
	if (mmk_fault(&parent.map, va, MMK_PROT_WRITE) != MMK_OK)
		return 3;
	if (mmk_space_fork(&child, &parent) != MMK_OK)
		return 4;
	if (mmk_fault(&child.map, va, MMK_PROT_WRITE) != MMK_OK)
		return 5;
	if (vm.counters[MMK_COUNT_PAGE_COPY] != 1)
		return 6;
	mmk_space_fini(&child);
	return mmk_munmap(&parent, va, 2 * MMK_PAGE_BYTES) == MMK_OK ? 0 : 7;
}

int
profile(void)
{
	struct mmk_phys_span span = { 0x40000000u, 0x40400000u };
	struct mmk_phys_config config = { .spans = &span, .nr_spans = 1 };
	struct mmk_pt_shape shape = MMK_X86_64_SHAPE;
	int result;

	if (mmk_phys_init(&phys, &config) != MMK_OK ||
	    mmk_pmap_sys_init(&sys, &phys, &shape) != MMK_OK ||
	    mmk_vm_init(&vm, &phys, &sys, NULL) != MMK_OK ||
	    mmk_space_init(&parent, &vm, 0x10000, 0x700000000000u) != MMK_OK)
		return 1;
	result = live();
	mmk_space_fini(&parent);
	mmk_vm_fini(&vm);
	mmk_pmap_sys_fini(&sys);
	return result != 0 || mmk_phys_check(&phys) ? result : 9;
}
