/* SPDX-License-Identifier: MIT
 *
 * examples/kernel/aarch64/machine.c: what boot.S leaves to C: the memory map,
 * the other CPUs, the console, and the end
 *
 * WHAT    Interrupts stay off: nothing here needs one. A TLB invalidation
 *         reaches the other CPUs by itself, and who idles waits until one is
 *         pending, and acknowledges it: it is a wake-up and nothing else.
 * SOURCE  Arm's PSCI, DEN 0022 (CPU_ON); semihosting 2.0 (SYS_EXIT_EXTENDED);
 *         PrimeCell UART (PL011), DDI 0183; GIC version 2, IHI 0048; QEMU's
 *         virt.rst (where these are, and that a tree which x0 does not name is
 *         at the start of RAM).
 */
#include "../kernel.h"
#include "fdt.h"

#define UART_PA UINT64_C(0x09000000)
#define GIC_DISTRIBUTOR_PA UINT64_C(0x08000000)
#define GIC_CPU_PA UINT64_C(0x08010000)
#define DEVICE_BYTES UINT64_C(0x10000) /* as far as the next of them */
#define RAM_PA UINT64_C(0x40000000)
#define PSCI_CPU_ON UINT64_C(0xc4000003)
#define SYS_EXIT_EXTENDED 0x20u
#define ADP_STOPPED_APPLICATION_EXIT UINT64_C(0x20026)
#define MPIDR_AFFINITY UINT64_C(0xff00ffffff)

extern char kernel_start_va[], kernel_end_va[]; /* link.ld */
extern char kernel_text_va[], kernel_rodata_va[], kernel_data_va[];
extern char cpu_start[];                        /* boot.S */
void aarch64_use_root(uint64_t ttbr1, uint64_t tcr); /* boot.S */

static struct fdt_facts facts;
static struct fdt_span tree; /* where the device tree is */
static struct mmk_pt_shape shape;
static unsigned nr_cpus;
static unsigned nr_started; /* [a] */
static void (*cpu_entry)(unsigned cpu);

static void gic_init(void);

static void *
direct(uint64_t pa)
{
	return (void *)(pa + DIRECT_VA);
}

static uint64_t
physical(const void *ptr)
{
	return (uint64_t)(uintptr_t)ptr - DIRECT_VA;
}

/* ---- the first CPU --------------------------------------------------------------- */

static void
read_tree(uint64_t pa)
{
	if (pa < RAM_PA || pa % 8 != 0 || fdt_bytes(direct(pa)) == 0)
		pa = RAM_PA;
	tree.start_pa = pa;
	tree.end_pa = pa + fdt_bytes(direct(pa));
	if (!fdt_read(direct(pa), &facts))
		kernel_panic("no device tree, or a damaged one");
	if (facts.nr_ram == 0 || facts.nr_cpus == 0)
		kernel_panic("a device tree without memory, or without CPUs");
}

/* This one is CPU 0. */
static void
count_cpus(void)
{
	uint64_t mpidr;

	__asm__ volatile("mrs %0, mpidr_el1" : "=r"(mpidr));
	for (size_t i = 0; i < facts.nr_cpus; i++)
		if (facts.cpus[i] == (mpidr & MPIDR_AFFINITY)) {
			facts.cpus[i] = facts.cpus[0];
			facts.cpus[0] = mpidr & MPIDR_AFFINITY;
		}
	nr_cpus = facts.has_psci ? (unsigned)facts.nr_cpus : 1;
	if (nr_cpus > MMKIT_CPU_MAX)
		nr_cpus = MMKIT_CPU_MAX;
}

/* What mmk_aarch64_tcr() says: all but the upper half's, EPD0, TBI, and so on. */
#define TCR_OF_SHAPE UINT64_C(0x80001970000ff3f)
#define TCR_UPPER UINT64_C(0xffff0000)

/* As boot.S has set TCR_EL1. */
static void
find_shape(void)
{
	static const uint8_t pa_bits[] = { 32, 36, 40, 42, 44, 48, 52, 52 };
	uint64_t tcr, mair, has; /* ID_AA64PFR1_EL1 */
	bool is_wide;

	__asm__ volatile("mrs %0, tcr_el1" : "=r"(tcr));
	is_wide = (tcr & 63) == 64 - 52;
#if MMKIT_PAGE_SHIFT == 12
	shape = is_wide ? (struct mmk_pt_shape)MMK_AARCH64_SHAPE_LPA2
	                : (struct mmk_pt_shape)MMK_AARCH64_SHAPE;
#elif MMKIT_PAGE_SHIFT == 14
	shape = is_wide ? (struct mmk_pt_shape)MMK_AARCH64_SHAPE_16K_LPA2
	                : (struct mmk_pt_shape)MMK_AARCH64_SHAPE_16K;
#else
	shape = is_wide ? (struct mmk_pt_shape)MMK_AARCH64_SHAPE_64K_LVA
	                : (struct mmk_pt_shape)MMK_AARCH64_SHAPE_64K;
#endif
	shape.pa_bits = pa_bits[tcr >> 32 & 7];
	shape.hw_accessed = (tcr >> 39 & 1) != 0;
	shape.hw_modified = (tcr >> 40 & 1) != 0;
	shape.tag_bits = (tcr >> 36 & 1) != 0 ? 16 : 8;
	if ((tcr & TCR_OF_SHAPE) != mmk_aarch64_tcr(&shape))
		kernel_panic("TCR_EL1 is not what the shape wants");
	__asm__ volatile("mrs %0, mair_el1" : "=r"(mair));
	if (mair != MMK_AARCH64_MAIR)
		kernel_panic("MAIR_EL1 is not what the port wants");
	__asm__ volatile("mrs %0, id_aa64pfr1_el1" : "=r"(has));
	shape.features |= MMK_PT_TYPES;
	shape.features |= (has & 15) >= 1 ? MMK_PT_GUARDED : 0;
}

void
aarch64_main(uint64_t device_tree_pa)
{
	read_tree(device_tree_pa);
	count_cpus();
	find_shape();
	gic_init();
	kernel_main();
}

uint64_t
arch_clock_ns(void)
{
	uint64_t ticks, ticks_per_s;

	__asm__ volatile("isb\n\tmrs %0, cntvct_el0" : "=r"(ticks));
	__asm__("mrs %0, cntfrq_el0" : "=r"(ticks_per_s));
	return ticks * (UINT64_C(1000000000) / ticks_per_s);
}

#if MMKIT_PAGE_SHIFT == 12
#define GRANULE "aarch64, pages of 4 KiB"
#elif MMKIT_PAGE_SHIFT == 14
#define GRANULE "aarch64, pages of 16 KiB"
#else
#define GRANULE "aarch64, pages of 64 KiB"
#endif

const char *
arch_name(void)
{
	return shape.va_bits == 52 ? GRANULE ", addresses of 52 bits" : GRANULE;
}

const char *
arch_arguments(void)
{
	return facts.arguments;
}

static size_t
copy_spans(struct mmk_phys_span *to, size_t nr_to, size_t max,
    const struct fdt_span *from, size_t nr_from)
{
	for (size_t i = 0; i < nr_from && nr_to < max; i++) {
		to[nr_to].start_pa = from[i].start_pa;
		to[nr_to++].end_pa = from[i].end_pa;
	}
	return nr_to;
}

size_t
arch_memory(struct mmk_phys_span *ram, size_t max,
    struct mmk_phys_span *reserved, size_t *nr_reserved_out)
{
	const struct fdt_span kernel = { physical(kernel_start_va),
		physical(kernel_end_va) };
	size_t nr = copy_spans(reserved, 0, max, &kernel, 1);

	nr = copy_spans(reserved, nr, max, &tree, 1);
	*nr_reserved_out = copy_spans(reserved, nr, max, facts.reserved,
	    facts.nr_reserved);
	return copy_spans(ram, 0, max, facts.ram, facts.nr_ram);
}

const struct mmk_pt_shape *
arch_shape(void)
{
	return &shape;
}

/* ---- the kernel's own tables ------------------------------------------------------ */

const struct arch_image *
arch_image(void)
{
	static struct arch_image image;

	image = (struct arch_image){
		.text_va = (uint64_t)(uintptr_t)kernel_text_va,
		.rodata_va = (uint64_t)(uintptr_t)kernel_rodata_va,
		.data_va = (uint64_t)(uintptr_t)kernel_data_va,
		.end_va = (uint64_t)(uintptr_t)kernel_end_va,
		.offset = DIRECT_VA,
	};
	return &image;
}

size_t
arch_devices(struct mmk_phys_span *devices, size_t max)
{
	static const uint64_t starts[] = { UART_PA, GIC_DISTRIBUTOR_PA,
		GIC_CPU_PA };
	size_t nr = sizeof starts / sizeof starts[0];

	CHECK(nr <= max);
	for (size_t i = 0; i < nr; i++) {
		devices[i].start_pa = starts[i];
		devices[i].end_pa = starts[i] + DEVICE_BYTES;
	}
	return nr;
}

/* boot.S's tables are for 48 bits, whatever the shape. */
void
arch_use_root(uint64_t root_pa)
{
	uint64_t tcr;

	__asm__ volatile("mrs %0, tcr_el1" : "=r"(tcr));
	aarch64_use_root(mmk_aarch64_ttbr(root_pa, 0),
	    (tcr & ~TCR_UPPER) | mmk_aarch64_tcr_upper(&shape));
}

/* ---- all CPUs ----------------------------------------------------------------------- */

unsigned
arch_cpu_id(void)
{
	uint64_t cpu;

	__asm__ volatile("mrs %0, tpidr_el1" : "=r"(cpu));
	return (unsigned)cpu;
}

unsigned
arch_cpu_count(void)
{
	return nr_cpus;
}

static int64_t
psci(uint64_t function, uint64_t a, uint64_t b, uint64_t c)
{
	register uint64_t x0 __asm__("x0") = function;
	register uint64_t x1 __asm__("x1") = a;
	register uint64_t x2 __asm__("x2") = b;
	register uint64_t x3 __asm__("x3") = c;

	if (facts.psci_is_hvc)
		__asm__ volatile("hvc #0"
		                 : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3)
		                 :
		                 : "memory");
	else
		__asm__ volatile("smc #0"
		                 : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3)
		                 :
		                 : "memory");
	return (int64_t)x0;
}

void
arch_start_cpus(void (*entry)(unsigned cpu))
{
	cpu_entry = entry;
	for (unsigned cpu = 1; cpu < nr_cpus; cpu++)
		if (psci(PSCI_CPU_ON, facts.cpus[cpu], physical(cpu_start),
		        cpu) != 0)
			kernel_panic("a CPU cannot be started");
	while (MMKIT_ATOMIC_LOAD(&nr_started) != nr_cpus - 1)
		MMKIT_CPU_RELAX();
}

void
aarch64_cpu_main(unsigned cpu)
{
	gic_init();
	(void)MMKIT_ATOMIC_ADD(&nr_started, 1u);
	cpu_entry(cpu);
}

void
arch_interrupts(bool are_on)
{
	(void)are_on;
}

/* ---- waking ------------------------------------------------------------------------- */

#define GICD_CTLR 0
#define GICD_ISENABLER (0x100 / 4)
#define GICD_SGIR (0xf00 / 4)
#define GICC_CTLR 0
#define GICC_PMR (0x4 / 4)
#define GICC_IAR (0xc / 4)
#define GICC_EOIR (0x10 / 4)
#define SGI_TO_ALL_OTHERS (1u << 24) /* number 0 */
#define GIC_NONE 1020u               /* from here on */
#define GIC_TIMER (1u << 27)         /* the virtual one's */

static volatile uint32_t *
gic(uint64_t pa)
{
	return (volatile uint32_t *)direct(pa);
}

static void
gic_init(void)
{
	gic(GIC_DISTRIBUTOR_PA)[GICD_CTLR] = 1;
	/* Each CPU's own: a call, and its timer. */
	gic(GIC_DISTRIBUTOR_PA)[GICD_ISENABLER] = 1 | GIC_TIMER;
	gic(GIC_CPU_PA)[GICC_PMR] = 0xff;
	gic(GIC_CPU_PA)[GICC_CTLR] = 1;
}

static void
gic_acknowledge(void)
{
	volatile uint32_t *own = gic(GIC_CPU_PA);
	uint32_t pending;

	while (((pending = own[GICC_IAR]) & 0x3ff) < GIC_NONE)
		own[GICC_EOIR] = pending;
}

/* What became pending since the last time ends this one at once. */
void
arch_cpu_idle(void)
{
	__asm__ volatile("dsb sy\n\twfi" : : : "memory");
	gic_acknowledge();
}

/* Its interrupt is pending as long as the timer is on. */
void
arch_cpu_nap(unsigned us)
{
	uint64_t ticks_per_s;

	__asm__("mrs %0, cntfrq_el0" : "=r"(ticks_per_s));
	__asm__ volatile("msr cntv_tval_el0, %0\n\tmsr cntv_ctl_el0, %1\n\t"
	                 "isb\n\tdsb sy\n\twfi\n\t"
	                 "msr cntv_ctl_el0, xzr\n\tisb"
	                 :
	                 : "r"(ticks_per_s / 1000000 * us), "r"((uint64_t)1)
	                 : "memory");
	gic_acknowledge();
}

void
arch_cpu_relax(void)
{
	static unsigned nr_turns[MMKIT_CPU_MAX]; /* each its CPU's */

	__asm__ volatile("yield");
	if (++nr_turns[arch_cpu_id()] % 256 == 0)
		arch_cpu_nap(20);
}

void
arch_cpu_wake(void)
{
	__asm__ volatile("dsb ish" : : : "memory");
	gic(GIC_DISTRIBUTOR_PA)[GICD_SGIR] = SGI_TO_ALL_OTHERS;
}

uint64_t
machine_clock_ns(void)
{
	uint64_t now, hz;

	__asm__ volatile("isb\n\tmrs %0, cntvct_el0\n\tmrs %1, cntfrq_el0"
	                 : "=r"(now), "=r"(hz));
	return now / hz * 1000000000u + now % hz * 1000000000u / hz;
}

/* PAN, where the CPU has it; else there is nothing to open. */
void
arch_open_user_memory(bool is_open)
{
	uint64_t features;

	__asm__("mrs %0, id_aa64mmfr1_el1" : "=r"(features));
	if ((features >> 20 & 15) == 0)
		return;
	if (is_open)
		__asm__ volatile(".inst 0xd500409f" : : : "memory");
	else
		__asm__ volatile(".inst 0xd500419f" : : : "memory");
}

void
arch_show_registers(unsigned cpu)
{
	uint64_t ttbr0, ttbr1, tcr, mair;

	__asm__ volatile("mrs %0, ttbr0_el1\n\tmrs %1, ttbr1_el1"
	                 : "=r"(ttbr0), "=r"(ttbr1));
	__asm__ volatile("mrs %0, tcr_el1\n\tmrs %1, mair_el1"
	                 : "=r"(tcr), "=r"(mair));
	kprintf("show: regs %u ttbr0=%lx ttbr1=%lx tcr=%lx mair=%lx\n", cpu,
	    ttbr0, ttbr1, tcr, mair);
}

/* ---- console and end ------------------------------------------------------------------ */

#define UART_FLAGS (0x18 / 4)
#define UART_FULL 0x20u

void
arch_console_put(char c)
{
	volatile uint32_t *uart = (volatile uint32_t *)direct(UART_PA);

	while ((uart[UART_FLAGS] & UART_FULL) != 0)
		;
	uart[0] = (unsigned char)c;
}

void
arch_exit(unsigned status)
{
	const uint64_t block[2] = { ADP_STOPPED_APPLICATION_EXIT, status };
	register uint64_t x0 __asm__("x0") = SYS_EXIT_EXTENDED;
	register const uint64_t *x1 __asm__("x1") = block;

	for (;;)
		__asm__ volatile("hlt #0xf000" : "+r"(x0) : "r"(x1) : "memory");
}
