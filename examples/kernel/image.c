/* SPDX-License-Identifier: MIT
 *
 * examples/kernel/image.c: the kernel's own half, and what it may do there
 *
 * WHAT    boot.S maps what it must with every right. Here the kernel gets a pmap
 *         of mmkit's: all memory at DIRECT_VA, in the largest leaves, the devices
 *         it uses, and its image: text is executed and not written, constants are
 *         neither, all else is not executed; also where the image appears a
 *         second time, in the map of all memory. Above KERNEL_FREE_VA there is
 *         room for what comes and goes while the kernel runs.
 */
#include "kernel.h"

#define DEVICES_MAX 8u
#define RIGHTS_DATA (MMK_PROT_READ | MMK_PROT_WRITE)
#define RIGHTS_TEXT (MMK_PROT_READ | MMK_PROT_EXEC)

struct mmk_pmap kernel_half;

/* Whole pages, each at its physical address and `offset`. */
static void
map(uint64_t start_pa, uint64_t end_pa, uint64_t offset, unsigned flags)
{
	start_pa = mmk_round_up(start_pa, PAGE);
	end_pa = mmk_page_floor(end_pa);
	if (start_pa < end_pa)
		CHECK(mmk_pmap_kenter(&kernel_half, start_pa + offset, start_pa,
		          (end_pa - start_pa) / PAGE, flags) == MMK_OK);
}

/* `text_rights` of the one place where it is executed. */
static void
map_image(unsigned text_rights)
{
	const struct arch_image *image = arch_image();
	uint64_t text_pa = image->text_va - image->offset;
	uint64_t rodata_pa = image->rodata_va - image->offset;
	uint64_t data_pa = image->data_va - image->offset;

	map(text_pa, rodata_pa, image->offset, text_rights);
	map(rodata_pa, data_pa, image->offset, MMK_PROT_READ);
	if (image->offset == DIRECT_VA)
		return;
	map(data_pa, image->end_va - image->offset, image->offset, RIGHTS_DATA);
	map(text_pa, data_pa, DIRECT_VA, MMK_PROT_READ);
}

void
image_init(const struct mmk_phys_span *ram, size_t nr_ram, bool is_damaged)
{
	const struct arch_image *image = arch_image();
	uint64_t text_pa = image->text_va - image->offset;
	uint64_t data_pa = image->data_va - image->offset;
	struct mmk_phys_span devices[DEVICES_MAX];
	size_t nr_devices = arch_devices(devices, DEVICES_MAX);

	CHECK(mmk_pmap_init_kernel(&kernel_half, &kernel_pmaps, NULL) ==
	    MMK_OK);
	for (size_t i = 0; i < nr_ram; i++) {
		map(ram[i].start_pa, mmk_min(ram[i].end_pa, text_pa), DIRECT_VA,
		    RIGHTS_DATA);
		map(mmk_max(ram[i].start_pa, data_pa), ram[i].end_pa, DIRECT_VA,
		    RIGHTS_DATA);
	}
	for (size_t i = 0; i < nr_devices; i++)
		map(devices[i].start_pa, devices[i].end_pa, DIRECT_VA,
		    RIGHTS_DATA | MMK_PMAP_DEVICE);
	map_image(is_damaged ? MMK_PROT_ALL : RIGHTS_TEXT);
}

void
image_activate(unsigned cpu)
{
	arch_use_root(kernel_half.root_pa);
	mmk_pmap_activate(&kernel_half, cpu);
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
