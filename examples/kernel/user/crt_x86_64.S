/* SPDX-License-Identifier: MIT
 * examples/kernel/user/crt_x86_64.S: how a program starts and calls */
	.text
	.globl _start, syscall6
_start:
	xorl %ebp, %ebp
	andq $-16, %rsp
	call main
	movl %eax, %edi
	xorl %eax, %eax /* SYS_EXIT */
	int $0x80
syscall6:
	movq %rdi, %rax
	movq %rsi, %rdi
	movq %rdx, %rsi
	movq %rcx, %rdx
	movq %r8, %r10
	movq %r9, %r8
	int $0x80
	ret
	.globl code_42, code_42_end, code_written
code_42:
	movl $42, %eax
	ret
code_42_end:
code_written: /* the CPU sees it by itself */
	ret
	.section .note.GNU-stack, "", @progbits
