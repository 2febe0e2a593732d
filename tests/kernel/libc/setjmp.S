/* SPDX-License-Identifier: MIT
 * tests/kernel/libc/setjmp.S: what a call must keep, kept */
	.text
	.globl setjmp, longjmp
#ifdef __x86_64__
setjmp:
	movq %rbx, (%rdi)
	movq %rbp, 8(%rdi)
	movq %r12, 16(%rdi)
	movq %r13, 24(%rdi)
	movq %r14, 32(%rdi)
	movq %r15, 40(%rdi)
	leaq 8(%rsp), %rax
	movq %rax, 48(%rdi)
	movq (%rsp), %rax
	movq %rax, 56(%rdi)
	xorl %eax, %eax
	ret
longjmp:
	movl %esi, %eax
	movq (%rdi), %rbx
	movq 8(%rdi), %rbp
	movq 16(%rdi), %r12
	movq 24(%rdi), %r13
	movq 32(%rdi), %r14
	movq 40(%rdi), %r15
	movq 48(%rdi), %rsp
	jmp *56(%rdi)
#else
setjmp:
	stp x19, x20, [x0]
	stp x21, x22, [x0, 16]
	stp x23, x24, [x0, 32]
	stp x25, x26, [x0, 48]
	stp x27, x28, [x0, 64]
	stp x29, x30, [x0, 80]
	mov x1, sp
	str x1, [x0, 96]
	mov w0, 0
	ret
longjmp:
	ldp x19, x20, [x0]
	ldp x21, x22, [x0, 16]
	ldp x23, x24, [x0, 32]
	ldp x25, x26, [x0, 48]
	ldp x27, x28, [x0, 64]
	ldp x29, x30, [x0, 80]
	ldr x2, [x0, 96]
	mov sp, x2
	mov w0, w1
	ret
#endif
	.section .note.GNU-stack, "", %progbits
