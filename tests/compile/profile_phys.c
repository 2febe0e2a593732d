/* SPDX-License-Identifier: MIT
 * tests/compile/profile_phys.c: physical memory with no virtual memory (S1.1) */
static struct mmk_phys phys;
extern int profile(void);

int
profile(void)
{
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
	mmk_phys_stats_read(&phys, &after);
	if (before.nr_free_pages != after.nr_free_pages)
		return 4;
	return mmk_phys_check(&phys) ? 0 : 5;
}
