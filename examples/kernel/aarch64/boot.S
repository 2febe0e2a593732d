/* SPDX-License-Identifier: MIT
 *
 * examples/kernel/aarch64/boot.S: from the first instruction to C
 *
 * WHAT    A CPU comes here at EL2 or EL1, the MMU off: the first one with the
 *         device tree in x0, the others (PSCI) with their number. The tables
 *         map [0, what the blocks reach) at DIRECT_VA: below 1 GiB devices,
 *         above it memory, for the kernel only, with all rights (../image.c has
 *         other tables once C runs). While the MMU comes on, the
 *         same tables serve for TTBR0 too: there everything is where it is.
 *
 *         granule   root  ->  middle  ->  blocks
 *         4K        level 0               level 1, 512 of 1 GiB
 *         16K       level 0   level 1     level 2, 2048 of 32 MiB
 *         64K       level 1               level 2, 8192 of 512 MiB
 *
 *         The word bits=52 on the command line makes TTBR0's half one of 52
 *         bits, and with pages of 4K and 16K sets TCR_EL1.DS, if the CPU can
 *         have it: FEAT_LPA2, or FEAT_LVA. The tables above stay, but for the
 *         shareability that DS has no place for. T0SZ changes last, when TTBR0
 *         leads nowhere.
 *
 * SOURCE  Arm ARM, DDI 0487: D8.2 (stages), D24.2 (TCR_EL1, SCTLR_EL1);
 *         QEMU's docs/system/arm/virt.rst.
 */
#ifndef MMKIT_PAGE_SHIFT
#define MMKIT_PAGE_SHIFT 12
#endif
#if MMKIT_PAGE_SHIFT == 12
#define BLOCK_SHIFT 30
#define TCR_TG ((0 << 14) | (2 << 30))
#define IPS_MAX 5
#define HAS_DS 1
#define WIDE_AT 28 /* ID_AA64MMFR0_EL1.TGran4 */
#define WIDE_IS 1
#elif MMKIT_PAGE_SHIFT == 14
#define BLOCK_SHIFT 25
#define HAS_MIDDLE 1
#define TCR_TG ((2 << 14) | (1 << 30))
#define IPS_MAX 5
#define HAS_DS 1
#define WIDE_AT 20 /* ID_AA64MMFR0_EL1.TGran16 */
#define WIDE_IS 2
#else
#define BLOCK_SHIFT 29
#define TCR_TG ((1 << 14) | (3 << 30))
#define IPS_MAX 6
#define WIDE_AT 16 /* ID_AA64MMFR2_EL1.VARange */
#define WIDE_IS 1
#endif
#define NR_BLOCKS (1 << (MMKIT_PAGE_SHIFT - 3))
#define NR_DEVICE_BLOCKS (1 << (30 - BLOCK_SHIFT))

#define MAIR 0x0000f044bb4404ff /* MMK_AARCH64_MAIR */
/* 48 bits in each half; walks cached, inner shareable. */
#define TCR (16 | (1 << 8) | (1 << 10) | (3 << 12) | \
    (16 << 16) | (1 << 24) | (1 << 26) | (3 << 28) | TCR_TG)
/* RES1, caches, stack alignment, MMU, and cache maintenance for programs that
 * write code; SPAN is 0: PAN is on in every trap. */
#define SCTLR 0x3450181d
#define SCTLR_OFF 0x30d00800
/* Valid, AF, UXN; for the kernel only, read and write. */
#define BLOCK (1 | (1 << 10) | (1 << 54))
#define MEMORY (BLOCK | (3 << 8))
#define DEVICE (BLOCK | (1 << 2) | (1 << 53))
#define STACK_SHIFT 14
#define RAM_PA 0x40000000 /* and the device tree's, if x0 does not name it */

	.section .boot, "ax"
	.globl start, cpu_start
start:
	msr daifset, #15
	mov x20, x0
	mov x21, #0
	bl choose_width
	bl make_tables
	b any_cpu
cpu_start: /* x0: its number */
	msr daifset, #15
	mov x21, x0
any_cpu:
	mrs x0, CurrentEL
	cmp x0, #8
	b.ne at_el1
	mov x0, #(1 << 31) /* EL1 is 64 bit */
	msr hcr_el2, x0
	mov x0, #3 /* EL1 may read the counter */
	msr cnthctl_el2, x0
	msr cntvoff_el2, xzr
	ldr x0, =0x33ff /* no traps */
	msr cptr_el2, x0
	msr hstr_el2, xzr
	ldr x0, =SCTLR_OFF
	msr sctlr_el1, x0
	mov x0, #0x3c5
	msr spsr_el2, x0
	adr x0, at_el1
	msr elr_el2, x0
	eret
at_el1:
	msr spsel, #1
	msr cpacr_el1, xzr /* floating point traps */
	ldr x0, =MAIR
	msr mair_el1, x0
	bl find_tcr
	msr tcr_el1, x22
	adrp x23, aarch64_nowhere
	adrp x0, boot_root
	msr ttbr0_el1, x0
	msr ttbr1_el1, x0
	dsb sy
	isb
	tlbi vmalle1
	ic iallu
	dsb nsh
	isb
	ldr x0, =SCTLR
	msr sctlr_el1, x0
	isb
	ldr x0, =at_home
	br x0

/* x22: TCR_EL1 as this CPU can have it: ASIDs of 16 bits, address size, accessed,
 * dirty, DS. x24: bits=52. */
find_tcr:
	adrp x0, boot_is_wide
	ldr x24, [x0, :lo12:boot_is_wide]
	ldr x22, =TCR
	mrs x1, id_aa64mmfr0_el1
	ubfx x0, x1, #4, #4
	cmp x0, #2
	b.ne 0f
	orr x22, x22, #(1 << 36) /* AS */
0:	mov x2, #IPS_MAX
#ifdef HAS_DS
	cbz x24, 0f
	mov x2, #6
	orr x22, x22, #(1 << 59) /* DS */
0:
#endif
	and x0, x1, #15
	cmp x0, x2
	csel x0, x2, x0, hi
	orr x22, x22, x0, lsl #32
	mrs x0, id_aa64mmfr1_el1
	and x0, x0, #15
	cbz x0, 2f
	orr x22, x22, #(1 << 39) /* HA */
	cmp x0, #2
	b.lo 2f
	orr x22, x22, #(1 << 40) /* HD */
2:	ret

/* Is the word somewhere in the device tree, and has this CPU what it asks for? */
choose_width:
#ifdef HAS_DS
	mrs x0, id_aa64mmfr0_el1
#else
	mrs x0, s3_0_c0_c7_2 /* ID_AA64MMFR2_EL1 */
#endif
	ubfx x0, x0, #WIDE_AT, #4
	cmp x0, #WIDE_IS
	b.ne 3f
	mov x0, #RAM_PA
	cmp x20, #0
	csel x0, x20, x0, ne
	ldr w1, [x0]
	ldr w2, =0xedfe0dd0
	cmp w1, w2
	b.ne 3f
	ldr w1, [x0, #4]
	rev w1, w1 /* bytes of it */
	ldr x2, =0x626974733d3532 /* bits=52 */
	mov x3, #0 /* the last seven */
1:	cbz w1, 3f
	sub w1, w1, #1
	ldrb w4, [x0], #1
	orr x3, x4, x3, lsl #8
	and x3, x3, #0xffffffffffffff
	cmp x3, x2
	b.ne 1b
	adrp x0, boot_is_wide
	mov x1, #1
	str x1, [x0, :lo12:boot_is_wide]
3:	ret

make_tables:
	adrp x0, boot_root
	adrp x1, boot_blocks
#ifdef HAS_MIDDLE
	adrp x2, boot_middle
	orr x3, x2, #3
	str x3, [x0]
	mov x0, x2
#endif
	orr x3, x1, #3
	str x3, [x0]
	mov x2, #0 /* of the block */
	ldr x4, =DEVICE
	ldr x5, =MEMORY
#ifdef HAS_DS
	adrp x6, boot_is_wide
	ldr x6, [x6, :lo12:boot_is_wide]
	cbz x6, 1f
	bic x5, x5, #(3 << 8)
#endif
1:	cmp x2, #NR_DEVICE_BLOCKS
	csel x3, x4, x5, lo
	orr x3, x3, x2, lsl #BLOCK_SHIFT
	str x3, [x1, x2, lsl #3]
	add x2, x2, #1
	cmp x2, #NR_BLOCKS
	b.lo 1b
	ret

/* aarch64_use_root(ttbr1, tcr): TTBR1 leads to other tables. Meanwhile this runs
 * where it is in physical memory, by TTBR0: never two translations of one address.
 * pre: TTBR0 leads nowhere, so T0SZ may change. */
	.globl aarch64_use_root
aarch64_use_root:
	mov x2, #0xffff000000000000 /* DIRECT_VA */
	adrp x3, boot_root
	sub x3, x3, x2
	adrp x4, aarch64_nowhere
	sub x4, x4, x2
	adr x5, 1f
	sub x5, x5, x2
	adr x6, 2f
	mov x7, #16 /* T0SZ of boot_root, whatever a pmap's is */
	mrs x8, tcr_el1
	bfi x8, x7, #0, #6
	mov x9, x1
	bfi x9, x7, #0, #6
	msr tcr_el1, x8
	isb
	msr ttbr0_el1, x3
	isb
	tlbi vmalle1
	dsb nsh
	isb
	br x5
1:	msr ttbr1_el1, x4
	isb
	msr tcr_el1, x9
	isb
	tlbi vmalle1
	dsb nsh
	isb
	msr ttbr1_el1, x0
	isb
	br x6
2:	msr ttbr0_el1, x4
	isb
	msr tcr_el1, x1
	isb
	tlbi vmalle1
	dsb nsh
	isb
	ret

at_home: /* from here on at its linked address; TTBR0 leads nowhere */
	msr ttbr0_el1, x23
	isb
	cbz x24, 1f
	sub x22, x22, #(16 - 12) /* T0SZ */
	msr tcr_el1, x22
	isb
1:	tlbi vmalle1
	dsb nsh
	isb
	ldr x0, =vectors
	msr vbar_el1, x0
	msr tpidr_el1, x21
	ldr x0, =cpu_stacks
	add x1, x21, #1
	add x0, x0, x1, lsl #STACK_SHIFT
	mov sp, x0
	mov x29, #0
	isb
	cbnz x21, 1f
	mov x0, x20
	bl aarch64_main
1:	mov x0, x21
	bl aarch64_cpu_main
2:	wfe
	b 2b
	.ltorg

	.bss
	.balign 65536
boot_root:
	.space 1 << MMKIT_PAGE_SHIFT
#ifdef HAS_MIDDLE
boot_middle:
	.space 1 << MMKIT_PAGE_SHIFT
#endif
	.globl aarch64_nowhere
aarch64_nowhere: /* stays as it is */
	.space 1 << MMKIT_PAGE_SHIFT
boot_blocks:
	.space 1 << MMKIT_PAGE_SHIFT
cpu_stacks: /* MMKIT_CPU_MAX of them */
	.space 8 << STACK_SHIFT
boot_is_wide: /* bits=52, and the CPU has it */
	.space 8
	.section .note.GNU-stack, "", %progbits
