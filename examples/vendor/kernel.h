/* SPDX-License-Identifier: MIT
 *
 * examples/vendor/kernel.h: the kernel that was there before mmkit came
 */
#ifndef VENDOR_KERNEL_H
#define VENDOR_KERNEL_H

#include <stddef.h>
#include <stdint.h>

/* What the boot loader says of one stretch of physical memory. */
struct boot_range {
	uint64_t start_pa;
	uint64_t end_pa;
};

/*
 * Where the direct map begins: physical 0 appears here. A real kernel has a
 * constant; in this one RAM is an array, and the linker knows where.
 */
extern unsigned char kernel_ram[];
#define KERNEL_RAM_PA 0x80000000u
#define KERNEL_RAM_BYTES (8u << 20)
#define KERNEL_BASE ((uint64_t)(uintptr_t)kernel_ram - KERNEL_RAM_PA)

/* The physical address of the kernel's own top table, as boot.c left it. */
extern uint64_t kernel_root_pa;

void kernel_main(const struct boot_range *ram);
void print(const char *text);
void panic(const char *text) __attribute__((noreturn));

/* boot.c: the machine */
void machine_write(const char *text, size_t bytes);
void machine_stop(int status) __attribute__((noreturn));

#endif
