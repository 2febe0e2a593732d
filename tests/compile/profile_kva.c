/* SPDX-License-Identifier: MIT
 * tests/compile/profile_kva.c: small objects over frames */
static struct mmk_phys phys;
static struct mmk_pool pool;
extern int profile(void);

int
profile(void)
{
	struct mmk_phys_span span = { 0x40000000u, 0x40400000u };
	struct mmk_phys_config config = { .spans = &span, .nr_spans = 1 };
	void *item;

	if (mmk_phys_init(&phys, &config) != MMK_OK)
		return 1;
	mmk_pool_init(&pool, &phys, "things", 40);
	item = mmk_pool_alloc(&pool);
	if (item == NULL || !mmk_pool_check(&pool))
		return 2;
	mmk_pool_free(&pool, item);
	mmk_pool_fini(&pool);
	return mmk_phys_check(&phys) ? 0 : 3;
}
