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
	.section .note.GNU-stack, "", %progbits
