/* SPDX-License-Identifier: MIT
 * examples/kernel/init.S: the first program, as the linker made it */
	.section .rodata
	.balign 16
	.globl init_image, init_image_end
init_image:
	.incbin "init.elf"
init_image_end:
	.section .note.GNU-stack, "", %progbits
