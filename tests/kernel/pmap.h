/* SPDX-License-Identifier: MIT
 *
 * tests/kernel/pmap.h: the backend of the kernel, but that a pmap which tests
 * made gets the kernel's half just before a CPU takes it up
 */
#ifndef KERNEL_TESTS_PMAP_H
#define KERNEL_TESTS_PMAP_H

#define mmk_pt_activate kernel_pt_activate
#include KERNEL_PMAP_H
#undef mmk_pt_activate

void machine_pmap_activated(const struct mmk_pmap *pmap);

/* Before a CPU walks the tables of `pmap`. */
static inline void
machine_prepare(const struct mmk_pmap *pmap)
{
#ifdef MMKIT_KERNEL_ROOT_PA
	if (pmap != NULL) {
		uint64_t *root = (uint64_t *)mmk_frame_ptr(pmap->sys->phys,
		    pmap->root);
		const uint64_t *own =
		    (const uint64_t *)MMKIT_PHYS_TO_PTR(MMKIT_KERNEL_ROOT_PA);

		for (unsigned i = 256; i < 512; i++)
			root[i] = own[i];
	}
#endif
	machine_pmap_activated(pmap);
}

static inline void
mmk_pt_activate(struct mmk_pmap *pmap)
{
	machine_prepare(pmap);
	kernel_pt_activate(pmap);
}

#ifdef mmk_pt_activate_tag
static inline void
kernel_pt_activate_tag(struct mmk_pmap *pmap, bool is_fresh)
{
	mmk_pt_activate_tag(pmap, is_fresh);
}
#undef mmk_pt_activate_tag

static inline void
machine_activate_tag(struct mmk_pmap *pmap, bool is_fresh)
{
	machine_prepare(pmap);
	kernel_pt_activate_tag(pmap, is_fresh);
}
#define mmk_pt_activate_tag machine_activate_tag
#endif

#endif /* KERNEL_TESTS_PMAP_H */
