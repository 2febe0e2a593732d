/* SPDX-License-Identifier: MIT
 * examples/kernel/user/crt_aarch64.S: how a program starts and calls */
	.text
	.globl _start, syscall6
_start:
	mov x29, #0
	mov x30, #0
	bl main
	mov x8, #0 /* SYS_EXIT */
	svc #0
syscall6:
	mov x8, x0
	mov x0, x1
	mov x1, x2
	mov x2, x3
	mov x3, x4
	mov x4, x5
	svc #0
	ret
	.globl code_42, code_42_end, code_written
code_42:
	mov x0, #42
	ret
code_42_end:
code_written: /* 16 bytes: no cache has shorter lines */
	mov x2, x0
1:	dc cvau, x2
	add x2, x2, #16
	cmp x2, x1
	b.lo 1b
	dsb ish
2:	ic ivau, x0
	add x0, x0, #16
	cmp x0, x1
	b.lo 2b
	dsb ish
	isb
	ret
	.section .note.GNU-stack, "", %progbits
