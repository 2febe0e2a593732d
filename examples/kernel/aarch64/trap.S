/* SPDX-License-Identifier: MIT
 *
 * examples/kernel/aarch64/trap.S: in and out of the kernel
 */
#define FRAME_BYTES 272

	.text
	.globl vectors
	.balign 2048
vectors: /* 16 of 128 bytes: from this EL on SP0, on SPx, from EL0, 32 bit */
	.set vector, 0
	.rept 16
	.balign 128
	sub sp, sp, #FRAME_BYTES
	stp x0, x1, [sp]
	mov x1, #vector
	b trap_common
	.set vector, vector + 1
	.endr

trap_common:
	stp x2, x3, [sp, #16]
	stp x4, x5, [sp, #32]
	stp x6, x7, [sp, #48]
	stp x8, x9, [sp, #64]
	stp x10, x11, [sp, #80]
	stp x12, x13, [sp, #96]
	stp x14, x15, [sp, #112]
	stp x16, x17, [sp, #128]
	stp x18, x19, [sp, #144]
	stp x20, x21, [sp, #160]
	stp x22, x23, [sp, #176]
	stp x24, x25, [sp, #192]
	stp x26, x27, [sp, #208]
	stp x28, x29, [sp, #224]
	mrs x2, sp_el0
	mrs x3, elr_el1
	mrs x4, spsr_el1
	stp x30, x2, [sp, #240]
	stp x3, x4, [sp, #256]
	mov x0, sp
	bl aarch64_trap
	mov x0, sp
	add sp, sp, #FRAME_BYTES
leave: /* with the registers of the frame at x0, which no trap can be over */
	ldp x30, x2, [x0, #240]
	ldp x3, x4, [x0, #256]
	msr sp_el0, x2
	msr elr_el1, x3
	msr spsr_el1, x4
	ldp x2, x3, [x0, #16]
	ldp x4, x5, [x0, #32]
	ldp x6, x7, [x0, #48]
	ldp x8, x9, [x0, #64]
	ldp x10, x11, [x0, #80]
	ldp x12, x13, [x0, #96]
	ldp x14, x15, [x0, #112]
	ldp x16, x17, [x0, #128]
	ldp x18, x19, [x0, #144]
	ldp x20, x21, [x0, #160]
	ldp x22, x23, [x0, #176]
	ldp x24, x25, [x0, #192]
	ldp x26, x27, [x0, #208]
	ldp x28, x29, [x0, #224]
	ldp x0, x1, [x0]
	eret

/* aarch64_leave(frame, stack_top): to user mode */
	.globl aarch64_leave
aarch64_leave:
	mov sp, x1
	b leave

/* arch_switch(&old_sp, new_sp) */
	.globl arch_switch
arch_switch:
	stp x29, x30, [sp, #-96]!
	stp x19, x20, [sp, #16]
	stp x21, x22, [sp, #32]
	stp x23, x24, [sp, #48]
	stp x25, x26, [sp, #64]
	stp x27, x28, [sp, #80]
	mov x2, sp
	str x2, [x0]
	mov sp, x1
	ldp x19, x20, [sp, #16]
	ldp x21, x22, [sp, #32]
	ldp x23, x24, [sp, #48]
	ldp x25, x26, [sp, #64]
	ldp x27, x28, [sp, #80]
	ldp x29, x30, [sp], #96
	ret

/* bool arch_try_load(va, &word), bool arch_try_store(va, word), bool
 * arch_try_call(va): a fault between try_begin and try_end goes on at try_failed,
 * and one of what is called from there at try_call_failed. */
	.globl arch_try_load, arch_try_store, arch_try_call, arch_return
	.globl try_call_failed, try_begin, try_end, try_failed
arch_try_load:
try_begin:
	ldr x2, [x0]
	str x2, [x1]
	mov w0, #1
	ret
arch_try_store:
	str x1, [x0]
	mov w0, #1
	ret
arch_try_call:
	stp x29, x30, [sp, #-16]!
	blr x0
	mov w0, #1
	b 1f
try_call_failed:
	mov w0, #0
1:	ldp x29, x30, [sp], #16
arch_return:
	ret
try_end:
try_failed:
	mov w0, #0
	ret

	.section .note.GNU-stack, "", %progbits
