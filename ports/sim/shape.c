/* SPDX-License-Identifier: MIT
 *
 * ports/sim/shape.c: the machine described in mmkit's words
 *
 * WHAT    The one file of the machine that knows mmkit's structures: it says
 *         what the page tables look like and where RAM is, and programs the
 *         register of memory types.
 */
#include "sim_internal.h"

#ifndef MMKIT_PMAP_H
#define MMKIT_PMAP_H "mmkit_pmap.h"
#endif
#include "../../mmkit/pmap/pmap.h"

static struct mmk_pt_shape shape;      /* [I] after sim_boot */
static struct mmk_phys_span whole_ram; /* [I] after sim_boot */

void
sim_shape_boot(void)
{
	struct sim_config *config = &sim_machine.config;
	bool is_x86_64 = config->arch == SIM_ARCH_X86_64;

	if (config->memory_types == 0)
		config->memory_types = is_x86_64 ? MMK_X86_64_PAT
		                                 : MMK_AARCH64_MAIR;
	shape.nr_levels = (uint8_t)config->nr_levels;
	shape.page_shift = MMK_PAGE_SHIFT;
	shape.va_bits = (uint8_t)sim_va_bits();
	shape.pa_bits = (uint8_t)sim_pa_bits();
	shape.hw_accessed = is_x86_64 || !config->software_ad;
	shape.hw_modified = is_x86_64 || !config->software_ad;
	shape.arch = (uint8_t)config->arch;
	shape.leaf_level_max = MMK_PAGE_SHIFT == 12 ? 2 : 1;
	shape.tag_bits = (uint8_t)config->tag_bits;
	shape.features = MMK_PT_NX | MMK_PT_GLOBAL | MMK_PT_TYPES |
	    (is_x86_64 ? 0 : MMK_PT_GUARDED | MMK_PT_MTE);
	shape.nr_keys = is_x86_64 ? 16 : 8;
	shape.contig_shift = is_x86_64 ? 0
	    : MMK_PAGE_SHIFT == 12     ? 4
	    : MMK_PAGE_SHIFT == 14     ? 7
	                               : 5;
	whole_ram.start_pa = config->base_pa;
	whole_ram.end_pa = config->base_pa + config->ram_bytes;
}

const struct mmk_pt_shape *
sim_shape(void)
{
	return &shape;
}

const struct mmk_phys_span *
sim_spans(size_t *nr_spans_out)
{
	const struct sim_config *config = &sim_machine.config;

	if (config->spans == NULL) {
		*nr_spans_out = 1;
		return &whole_ram;
	}
	*nr_spans_out = config->nr_spans;
	return config->spans;
}
