/* SPDX-License-Identifier: MIT
 *
 * examples/kernel/x86_64/trap.S: in and out of the kernel
 */
	.code64
	.text
	.globl trap_entries
	.balign 16
trap_entries: /* 16 bytes each */
	.set vector, 0
	.rept 256
	.balign 16
	/* These push an error code themselves. */
	.if vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || \
	    vector == 21 || vector == 29 || vector == 30
	.else
	pushq $0
	.endif
	pushq $vector
	jmp trap_common
	.set vector, vector + 1
	.endr

trap_common:
	cld
	pushq %rax
	pushq %rcx
	pushq %rdx
	pushq %rbx
	pushq %rbp
	pushq %rsi
	pushq %rdi
	pushq %r8
	pushq %r9
	pushq %r10
	pushq %r11
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	movq %rsp, %rdi
	call x86_64_trap
trap_return:
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %r11
	popq %r10
	popq %r9
	popq %r8
	popq %rdi
	popq %rsi
	popq %rbp
	popq %rbx
	popq %rdx
	popq %rcx
	popq %rax
	addq $16, %rsp
	iretq

/* arch_enter_user(frame) */
	.globl arch_enter_user
arch_enter_user:
	cli
	movq %rdi, %rsp
	jmp trap_return

/* arch_switch(&old_sp, new_sp) */
	.globl arch_switch
arch_switch:
	pushq %rbx
	pushq %rbp
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	movq %rsp, (%rdi)
	movq %rsi, %rsp
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbp
	popq %rbx
	ret

/* bool arch_try_load(va, &word), bool arch_try_store(va, word), bool
 * arch_try_call(va): a fault between try_begin and try_end goes on at try_failed,
 * and so does one of what is called from there. */
	.globl arch_try_load, arch_try_store, arch_try_call, arch_return
	.globl try_begin, try_end, try_failed
arch_try_load:
try_begin:
	movq (%rdi), %rax
	movq %rax, (%rsi)
	movl $1, %eax
	ret
arch_try_store:
	movq %rsi, (%rdi)
	movl $1, %eax
	ret
arch_try_call:
	call *%rdi
	movl $1, %eax
arch_return:
	ret
try_end:
try_failed:
	xorl %eax, %eax
	ret

	.section .note.GNU-stack, "", @progbits
