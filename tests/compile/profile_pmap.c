/* SPDX-License-Identifier: MIT
 * tests/compile/profile_pmap.c: translations, with nothing above them */
static struct mmk_phys phys;
static struct mmk_pmap_sys sys;
static struct mmk_pmap pmap;
extern int profile(void);

int
profile(void)
{
	struct mmk_phys_span span = { 0x40000000u, 0x40400000u };
	struct mmk_phys_config config = { .spans = &span, .nr_spans = 1 };
	struct mmk_pt_shape shape = MMK_X86_64_SHAPE;
	const mmk_va va = 0x7000000000u;
	struct mmk_translation found;
	struct mmk_gather gather;
	struct mmk_frame *frame;

	if (mmk_phys_init(&phys, &config) != MMK_OK ||
	    mmk_pmap_sys_init(&sys, &phys, &shape) != MMK_OK ||
	    mmk_pmap_init(&pmap, &sys, NULL) != MMK_OK)
		return 1;
	if (mmk_frame_alloc(&phys, 0, 0, MMK_USE_KERNEL, &frame) != MMK_OK)
		return 2;
	if (mmk_pmap_enter(&pmap, va, mmk_frame_pa(&phys, frame),
	        MMK_PROT_READ | MMK_PROT_WRITE | MMK_PMAP_USER) != MMK_OK)
		return 3;
	if (!mmk_pmap_query(&pmap, va, &found) ||
	    found.pa != mmk_frame_pa(&phys, frame))
		return 4;
	mmk_gather_init(&gather, &sys);
	mmk_pmap_remove(&pmap, va, va + MMK_PAGE_BYTES, &gather);
	mmk_gather_finish(&gather);
	(void)mmk_frame_unref(&phys, frame);
	mmk_pmap_fini(&pmap);
	mmk_pmap_sys_fini(&sys);
	return mmk_phys_check(&phys) ? 0 : 5;
}
