/* SPDX-License-Identifier: MIT
 *
 * examples/kernel/image.c: what the kernel may do with its own memory
 *
 * WHAT    boot.S maps all with every right, in the largest leaves. Here, before
 *         the other CPUs come, the kernel gets tables that grant less: text is
 *         executed and not written, constants are neither, all else is not
 *         executed; also where the image appears a second time, in the map of
 *         all memory. The new tables are copies of boot.S's as far as they
 *         differ, made of frames that are never given back.
 */
#include "kernel.h"

#define RIGHTS_DATA (MMK_PROT_READ | MMK_PROT_WRITE)
#define RIGHTS_TEXT (MMK_PROT_READ | MMK_PROT_EXEC)

static unsigned
shift_of(unsigned level)
{
	unsigned page_shift = arch_shape()->page_shift;

	return page_shift + level * (page_shift - 3);
}

static uint64_t *
slot_of(uint64_t *table, unsigned level, uint64_t va)
{
	va &= ((uint64_t)1 << arch_image()->va_bits) - 1;
	return &table[va >> shift_of(level) & (PAGE / 8 - 1)];
}

static uint64_t *
table_at(uint64_t pa)
{
	return (uint64_t *)MMKIT_PHYS_TO_PTR(pa);
}

static uint64_t
new_table(void)
{
	struct mmk_frame *frame;

	CHECK(mmk_frame_alloc(&kernel_phys, 0, 0, MMK_USE_KERNEL, &frame) ==
	    MMK_OK);
	return mmk_frame_pa(&kernel_phys, frame);
}

static uint64_t
copy_table(uint64_t pa)
{
	uint64_t copy_pa = new_table();

	memcpy(table_at(copy_pa), table_at(pa), PAGE);
	return copy_pa;
}

/* rights 0: nothing is there any more. What kind of memory it is stays so. */
static uint64_t
make_leaf(unsigned level, uint64_t pa, uint64_t old, unsigned rights)
{
	unsigned type = mmk_pt_flags(arch_shape(), level, old) & MMK_PMAP_TYPE;

	return rights == 0 ? 0 : mmk_pt_make_leaf(arch_shape(), level, pa,
	    rights | type | MMK_PMAP_GLOBAL | MMK_PMAP_ACCESSED |
	        MMK_PMAP_MODIFIED);
}

/* The same in smaller leaves, with rights that are said next. */
static uint64_t
split(unsigned level, uint64_t old)
{
	uint64_t table_pa = new_table();
	uint64_t pa = mmk_pt_pa(arch_shape(), level, old);
	unsigned type = mmk_pt_flags(arch_shape(), level, old) & MMK_PMAP_TYPE;

	for (unsigned i = 0; i < PAGE / 8; i++)
		table_at(table_pa)[i] = mmk_pt_make_leaf(arch_shape(),
		    level - 1, pa + ((uint64_t)i << shift_of(level - 1)),
		    RIGHTS_DATA | type | MMK_PMAP_GLOBAL | MMK_PMAP_ACCESSED |
		        MMK_PMAP_MODIFIED);
	return table_pa;
}

/* The table below `slot`: one of ours, not boot.S's. */
static uint64_t *
descend(uint64_t *slot, unsigned level)
{
	const struct mmk_pt_shape *shape = arch_shape();
	const struct arch_image *image = arch_image();
	uint64_t pa;

	CHECK(level > 0 && mmk_pt_is_present(shape, level, *slot));
	pa = mmk_pt_pa(shape, level, *slot);
	if (mmk_pt_is_leaf(shape, level, *slot))
		*slot = mmk_pt_make_table(shape, level, split(level, *slot));
	else if (pa >= image->start_pa && pa < image->end_pa)
		*slot = mmk_pt_make_table(shape, level, copy_table(pa));
	return table_at(mmk_pt_pa(shape, level, *slot));
}

static void
set_rights(uint64_t root_pa, uint64_t va, uint64_t end_va, unsigned rights)
{
	const struct mmk_pt_shape *shape = arch_shape();

	while (va < end_va) {
		unsigned level = arch_image()->nr_levels - 1u;
		uint64_t *slot = slot_of(table_at(root_pa), level, va);
		uint64_t span;

		for (;;) {
			span = (uint64_t)1 << shift_of(level);
			if (mmk_pt_is_present(shape, level, *slot) &&
			    mmk_pt_is_leaf(shape, level, *slot) &&
			    va % span == 0 && end_va - va >= span)
				break;
			slot = slot_of(descend(slot, level), level - 1, va);
			level--;
		}
		*slot = make_leaf(level, mmk_pt_pa(shape, level, *slot), *slot,
		    rights);
		va += span;
	}
}

void
image_protect(void)
{
	const struct arch_image *image = arch_image();
	uint64_t root_pa = copy_table(arch_boot_root());
	uint64_t to_direct = DIRECT_VA - image->offset;

	set_rights(root_pa, DIRECT_VA, DIRECT_VA + image->direct_bytes,
	    RIGHTS_DATA);
	set_rights(root_pa, image->text_va + to_direct,
	    image->data_va + to_direct, MMK_PROT_READ);
	set_rights(root_pa, image->text_va, image->rodata_va, RIGHTS_TEXT);
	if (to_direct != 0) {
		set_rights(root_pa, image->rodata_va, image->data_va,
		    MMK_PROT_READ);
		set_rights(root_pa, image->data_va, image->end_va, RIGHTS_DATA);
		set_rights(root_pa, image->window_va, image->text_va, 0);
		set_rights(root_pa, image->end_va, image->window_end_va, 0);
	}
	arch_use_kernel_root(root_pa);
}

/* ---- the proof --------------------------------------------------------------------- */

static uint32_t code_in_data[MMKIT_CPU_MAX]; /* a return, where data is */
static const uint64_t constant = 0x5eed;

static void
must_not_be_written(uint64_t va, const char *what)
{
	uint64_t word;

	CHECK(arch_try_load(va, &word));
	if (arch_try_store(va, word))
		kernel_panic(what);
}

void
image_check(unsigned cpu)
{
	const struct arch_image *image = arch_image();
	uint64_t to_direct = DIRECT_VA - image->offset;
	uint64_t text_va = (uint64_t)(uintptr_t)arch_return;
	uint64_t constant_va = (uint64_t)(uintptr_t)&constant;

	must_not_be_written(text_va & ~(uint64_t)7,
	    "the kernel's text can be written");
	must_not_be_written((text_va & ~(uint64_t)7) + to_direct,
	    "the kernel's text can be written in the map of all memory");
	must_not_be_written(constant_va, "the kernel's constants can be written");
	memcpy(&code_in_data[cpu], (const void *)(uintptr_t)text_va,
	    sizeof code_in_data[cpu]);
	CHECK(arch_try_call(text_va));
	if (arch_try_call((uint64_t)(uintptr_t)&code_in_data[cpu]))
		kernel_panic("the kernel's data can be executed");
	if (to_direct != 0 && arch_try_call(text_va + to_direct))
		kernel_panic("the map of all memory can be executed");
	if (cpu == 0)
		kprintf("kernel: image: nothing can be both written and "
		        "executed: ok\n");
}
