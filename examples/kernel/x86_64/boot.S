/* SPDX-License-Identifier: MIT
 *
 * examples/kernel/x86_64/boot.S: from the loader, or from reset, to C
 *
 * WHAT    QEMU's -kernel enters at pvh_start: 32 bits, no paging, EBX is the
 *         start information. Other CPUs enter at the trampoline: 16 bits. Both
 *         get the same tables: physical memory from 0 at DIRECT_VA, and the
 *         first GiB at KERNEL_VA and at 0, with all rights; ../image.c has
 *         other tables once C runs. The word
 *         levels=5 on the command line puts one more table above them, if the
 *         CPU can have it: whatever was mapped in the upper half by four levels
 *         is at the same place by five.
 * SOURCE  Xen's docs/misc/pvh.pandoc; Intel SDM vol. 3A, 9.8.5 (to 64-bit
 *         mode), 8.4.4 (start of the other CPUs) and 4.5 (5 levels).
 */
#define KERNEL_VA 0xffffffff80000000
#define DIRECT_VA 0xffff800000000000
#define TRAMPOLINE 0x8000

#define PRESENT_WRITE 0x3
#define LARGE 0x83
#define UNCACHED 0x18
#define CR4_PAE 0x20
#define CR4_LA57 0x1000

	.section .note.pvh, "a", @note
	.long 4, 4, 18 /* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.long pvh_start

	.section .boot, "awx", @progbits
	.code32
	.globl pvh_start
pvh_start:
	cli
	cld
	movl $boot_stack_end, %esp
	movl %ebx, start_info

	/* The top table: identity, direct map, kernel. */
	movl $(pdpt_kernel + PRESENT_WRITE), boot_root + 511 * 8
	movl $(pdpt_direct + PRESENT_WRITE), boot_root + 256 * 8
	movl $(pdpt_identity + PRESENT_WRITE), boot_root
	movl $LARGE, pdpt_identity
	movl $LARGE, pdpt_kernel + 510 * 8
	/* 512 GiB of RAM; what is below 4 GiB by less than one is devices. */
	xorl %ecx, %ecx
1:	movl %ecx, %eax
	shll $30, %eax
	orl $LARGE, %eax
	movl %eax, pdpt_direct(, %ecx, 8)
	movl %ecx, %eax
	shrl $2, %eax
	orl $0x80000000, %eax /* no execute */
	movl %eax, pdpt_direct + 4(, %ecx, 8)
	incl %ecx
	cmpl $512, %ecx
	jb 1b
	orl $UNCACHED, pdpt_direct + 3 * 8

	call choose_levels
	lgdt boot_gdt_pointer
	call enable_paging
	ljmp $8, $start64

/* Long mode, with write protection in the kernel, no-execute and memory types. */
enable_paging:
	movl %cr4, %eax
	orl boot_cr4, %eax
	movl %eax, %cr4
	movl boot_cr3, %eax
	movl %eax, %cr3
	movl $0xc0000080, %ecx
	rdmsr
	orl $0x900, %eax /* LME, NXE */
	wrmsr
	movl $0x277, %ecx /* IA32_PAT: MMK_X86_64_PAT */
	movl $0x00070406, %eax
	movl $0x00010406, %edx
	wrmsr
	movl %cr0, %eax
	orl $0x80010000, %eax /* PG, WP */
	movl %eax, %cr0
	ret

/* Is it among the words at 24(start_info), and in CPUID 7, ECX bit 16? It can be
 * set only while paging is off. */
choose_levels:
	movl 24(%ebx), %esi
	testl %esi, %esi
	jz 3f
1:	cmpb $0, (%esi)
	je 3f
	cmpl $0x6576656c, (%esi) /* "leve" */
	jne 2f
	cmpl $0x353d736c, 4(%esi) /* "ls=5" */
	je 4f
2:	incl %esi
	jmp 1b
3:	ret
4:	movl $7, %eax
	xorl %ecx, %ecx
	cpuid
	testl $0x10000, %ecx
	jz 3b
	movl $(root_identity + PRESENT_WRITE), boot_top
	movl $(pdpt_identity + PRESENT_WRITE), root_identity
	movl $0, boot_root
	movl $(boot_root + PRESENT_WRITE), boot_top + 511 * 8
	movl $boot_top, boot_cr3
	orl $CR4_LA57, boot_cr4
	ret

	.code64
start64:
	call load_segments
	movabsq $cpu_stacks + 16384, %rsp
	movl start_info, %edi
	movabsq $x86_64_main, %rax
	call *%rax
	ud2

load_segments:
	movl $16, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	xorl %eax, %eax
	movl %eax, %fs
	movl %eax, %gs
	ret

/* What the other CPUs begin with; copied to TRAMPOLINE. */
	.code16
	.globl trampoline, trampoline_end
trampoline:
	cli
	cld
	xorw %ax, %ax
	movw %ax, %ds
	lgdtl (trampoline_gdt_pointer - trampoline + TRAMPOLINE)
	movl %cr0, %eax
	orl $1, %eax
	movl %eax, %cr0
	ljmpl $24, $cpu_start32
trampoline_gdt_pointer:
	.word boot_gdt_end - boot_gdt - 1
	.long boot_gdt
trampoline_end:

	.code32
cpu_start32:
	movl $16, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movl $1, %ebx
	lock xaddl %ebx, next_cpu
	/* A stack for the one call; all CPUs may be here at once. */
	movl %ebx, %eax
	shll $6, %eax
	leal boot_stack(%eax), %esp
	call enable_paging
	ljmp $8, $cpu_start64

	.code64
cpu_start64:
	call load_segments
	movl %ebx, %edi
	movl %ebx, %eax
	incl %eax
	shlq $14, %rax
	movabsq $cpu_stacks, %rsp
	addq %rax, %rsp
	movabsq $x86_64_cpu_main, %rax
	call *%rax
	ud2

	.balign 8
boot_gdt:
	.quad 0
	.quad 0x00af9a000000ffff /* 8: code, 64 bits */
	.quad 0x00cf92000000ffff /* 16: data */
	.quad 0x00cf9a000000ffff /* 24: code, 32 bits */
boot_gdt_end:
boot_gdt_pointer:
	.word boot_gdt_end - boot_gdt - 1
	.long boot_gdt
start_info:
	.long 0
	.globl next_cpu
next_cpu:
	.long 1
boot_cr3:
	.long boot_root
boot_cr4:
	.long CR4_PAE
	.balign 4096
boot_top: /* with five levels */
	.skip 4096
root_identity: /* too */
	.skip 4096
pdpt_identity:
	.skip 4096
boot_root:
	.skip 4096
pdpt_direct:
	.skip 4096
pdpt_kernel:
	.skip 4096
boot_stack:
	.skip 1024
boot_stack_end:

	.bss
	.balign 4096
	.globl cpu_stacks
cpu_stacks:
	.skip 16384 * 8

	.section .note.GNU-stack, "", @progbits
