/* SPDX-License-Identifier: MIT
 *
 * tests/kernel/user.S: what user.c lets run in user mode; copied to a page there
 *
 *   code_load   register 0 = the word at register 1
 *   code_store  the word at register 0 = register 2
 *   code_copy   register 3 bytes from register 1 to register 0; at least 1
 *   code_tag    the bytes at register 1 get the tag of register 1 (FEAT_MTE)
 *
 * Registers 0 to 3: rdi, rsi, rdx, rcx, or x0 to x3. Each ends in a system call.
 */
	.section .rodata
	.balign 16
	.globl code_begin, code_load, code_store, code_copy, code_end
code_begin:
#ifdef __x86_64__
code_load:
	movq (%rsi), %rdi
	int $0x80
code_store:
	movq %rdx, (%rdi)
	int $0x80
code_copy:
	cld
	rep movsb
	int $0x80
#else
code_load:
	ldr x0, [x1]
	svc #0
code_store:
	str x2, [x0]
	svc #0
code_copy:
	ldrb w4, [x1], #1
	strb w4, [x0], #1
	subs x3, x3, #1
	b.ne code_copy
	svc #0
	.globl code_tag
code_tag:
	.inst 0xd9200821 /* stg x1, [x1] */
	svc #0
#endif
code_end:
/* kernel_call(va), in kernel mode: what is there is a return. */
	.text
	.globl kernel_call
kernel_call:
#ifdef __x86_64__
	jmp *%rdi
	.section .note.GNU-stack, "", @progbits
#else
	br x0
	.section .note.GNU-stack, "", %progbits
#endif
