/* SPDX-License-Identifier: MIT
 *
 * examples/kernel/x86_64/machine.c: what boot.S leaves to C: the memory map,
 * the console, and the end
 *
 * SOURCE  Xen's docs/misc/pvh.pandoc (struct hvm_start_info); QEMU's
 *         docs/specs/fw_cfg.rst.
 */
#include "../kernel.h"
#include "cpu.h"

#define PVH_MAGIC 0x336ec578u
#define PVH_RAM 1u
#define LOW_BYTES 0x100000u /* the firmware's, and the trampoline */

struct pvh_start_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modules_pa, command_line_pa, rsdp_pa;
	uint64_t memory_pa; /* from version 1 on */
	uint32_t nr_memory, reserved;
};

struct pvh_memory {
	uint64_t start_pa, bytes;
	uint32_t type, reserved;
};

extern char kernel_start_pa[], kernel_end_pa[]; /* link.ld */
extern char kernel_text_va[], kernel_rodata_va[], kernel_data_va[],
    kernel_end_va[];

uint64_t kernel_root_pa;
static const struct pvh_start_info *info;
static unsigned nr_cpus;

static void *
direct(uint64_t pa)
{
	return (void *)(pa + DIRECT_VA);
}

void
x86_64_main(uint64_t start_info_pa)
{
	info = (const struct pvh_start_info *)direct(start_info_pa);
	__asm__ volatile("movq %%cr3, %0" : "=r"(kernel_root_pa));
	out8(0x21, 0xff); /* the old interrupt controllers: nothing */
	out8(0xa1, 0xff);
	/* fw_cfg, item 5: how many CPUs. */
	out16(0x510, 5);
	nr_cpus = in8(0x511);
	nr_cpus |= (unsigned)in8(0x511) << 8;
	if (nr_cpus < 1 || nr_cpus > MMKIT_CPU_MAX)
		nr_cpus = MMKIT_CPU_MAX;
	x86_64_cpu_init(0);
	if (info->magic != PVH_MAGIC || info->version < 1)
		kernel_panic("no memory map: started by what?");
	kernel_main();
}

unsigned
arch_cpu_count(void)
{
	return nr_cpus;
}

/* As boot.S has chosen. */
static bool
has_five_levels(void)
{
	return (cr4_read() & CR4_LA57) != 0;
}

const char *
arch_name(void)
{
	return has_five_levels() ? "x86_64, five levels of tables" : "x86_64";
}

const char *
arch_arguments(void)
{
	return info->command_line_pa == 0
	    ? "" : (const char *)direct(info->command_line_pa);
}

size_t
arch_memory(struct mmk_phys_span *ram, size_t max,
    struct mmk_phys_span *reserved, size_t *nr_reserved_out)
{
	const struct pvh_memory *map =
	    (const struct pvh_memory *)direct(info->memory_pa);
	size_t nr = 0;

	for (uint32_t i = 0; i < info->nr_memory && nr < max; i++) {
		if (map[i].type != PVH_RAM)
			continue;
		ram[nr].start_pa = map[i].start_pa;
		ram[nr++].end_pa = map[i].start_pa + map[i].bytes;
	}
	/* The start information lies low, or is not needed any more. */
	reserved[0] = (struct mmk_phys_span){ .start_pa = 0,
		.end_pa = LOW_BYTES };
	reserved[1] = (struct mmk_phys_span){
		.start_pa = (uint64_t)(uintptr_t)kernel_start_pa,
		.end_pa = (uint64_t)(uintptr_t)kernel_end_pa };
	*nr_reserved_out = 2;
	return nr;
}

const struct mmk_pt_shape *
arch_shape(void)
{
	static struct mmk_pt_shape four = MMK_X86_64_SHAPE;
	static struct mmk_pt_shape five = MMK_X86_64_SHAPE_LA57;
	struct mmk_pt_shape *shape = has_five_levels() ? &five : &four;
	uint32_t pat_low, pat_high;

	__asm__ volatile("rdmsr" : "=a"(pat_low), "=d"(pat_high) : "c"(0x277));
	if (((uint64_t)pat_high << 32 | pat_low) != MMK_X86_64_PAT)
		kernel_panic("IA32_PAT is not what the port wants");
	shape->features |= MMK_PT_TYPES;
	return shape;
}

const struct arch_image *
arch_image(void)
{
	static struct arch_image image;

	image = (struct arch_image){
		.text_va = (uint64_t)(uintptr_t)kernel_text_va,
		.rodata_va = (uint64_t)(uintptr_t)kernel_rodata_va,
		.data_va = (uint64_t)(uintptr_t)kernel_data_va,
		.end_va = (uint64_t)(uintptr_t)kernel_end_va,
		.offset = KERNEL_VA,
	};
	return &image;
}

size_t
arch_devices(struct mmk_phys_span *devices, size_t max)
{
	(void)max;
	devices[0].start_pa = APIC_PA;
	devices[0].end_pa = APIC_PA + PAGE;
	return 1;
}

/*
 * Other CPUs begin with boot.S's own, too: what that maps at 0 is needed once.
 * From here on the kernel's translations stay when CR3 changes.
 */
void
arch_use_root(uint64_t root_pa)
{
	kernel_root_pa = root_pa;
	__asm__ volatile("movq %0, %%cr3" : : "r"(root_pa) : "memory");
	cr4_add(CR4_PGE);
}

/* QEMU's TSC counts nanoseconds. */
uint64_t
arch_clock_ns(void)
{
	uint32_t low, high;

	__asm__ volatile("lfence\n\trdtsc" : "=a"(low), "=d"(high));
	return (uint64_t)high << 32 | low;
}

/* SMAP, where the CPU has it; else there is nothing to open. */
void
arch_open_user_memory(bool is_open)
{
	if ((cr4_read() & CR4_SMAP) == 0)
		return;
	if (is_open)
		__asm__ volatile("stac" : : : "memory");
	else
		__asm__ volatile("clac" : : : "memory");
}

void
arch_show_registers(unsigned cpu)
{
	uint64_t cr3;

	__asm__ volatile("movq %%cr3, %0" : "=r"(cr3));
	kprintf("show: regs %u cr3=%lx cr4=%lx\n", cpu, cr3, cr4_read());
}

/* ---- console and end -------------------------------------------------------- */

#define COM1 0x3f8
#define COM1_STATUS (COM1 + 5)

void
arch_console_put(char c)
{
	while ((in8(COM1_STATUS) & 0x20) == 0)
		;
	out8(COM1, (uint8_t)c);
}

/* QEMU's isa-debug-exit ends with status * 2 + 1: 33 means 0 to tests/kernel. */
void
arch_exit(unsigned status)
{
	out32(0xf4, status == 0 ? 16 : status);
	for (;;)
		__asm__ volatile("cli; hlt");
}
