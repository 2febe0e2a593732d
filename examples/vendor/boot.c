/* SPDX-License-Identifier: MIT
 *
 * examples/vendor/boot.c: the machine under the example kernel. To let it run
 * anywhere its machine is a Linux process: entry, console and power switch are
 * two system calls. Also the four functions a compiler may call on its own.
 */
#include "kernel.h"

unsigned char kernel_ram[KERNEL_RAM_BYTES] __attribute__((aligned(65536)));
uint64_t kernel_root_pa; /* a process cannot read CR3 */

void boot(void);
void *memset(void *dst, int byte, size_t bytes);
void *memcpy(void *dst, const void *src, size_t bytes);
void *memmove(void *dst, const void *src, size_t bytes);
int memcmp(const void *a, const void *b, size_t bytes);

#if defined(__x86_64__)
__asm__(".text\n.globl _start\n_start:\n\txor %ebp, %ebp\n\tand $-16, %rsp\n\tcall boot\n");
#define NR_WRITE 1
#define NR_EXIT 60

static long
system_call(long number, long a, long b, long c)
{
	long result;

	__asm__ volatile("syscall"
	                 : "=a"(result)
	                 : "a"(number), "D"(a), "S"(b), "d"(c)
	                 : "rcx", "r11", "memory");
	return result;
}
#elif defined(__aarch64__)
__asm__(".text\n.globl _start\n_start:\n\tmov x29, #0\n\tbl boot\n");
#define NR_WRITE 64
#define NR_EXIT 93

static long
system_call(long number, long a, long b, long c)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;

	__asm__ volatile("svc #0"
	                 : "+r"(x0)
	                 : "r"(x8), "r"(x1), "r"(x2)
	                 : "memory");
	return x0;
}
#else
#error "vendor: x86_64 or aarch64"
#endif

void
machine_write(const char *text, size_t bytes)
{
	(void)system_call(NR_WRITE, 1, (long)text, (long)bytes);
}

void
machine_stop(int status)
{
	for (;;)
		(void)system_call(NR_EXIT, status, 0, 0);
}

void
boot(void)
{
	const struct boot_range ram = { KERNEL_RAM_PA,
		KERNEL_RAM_PA + KERNEL_RAM_BYTES };

	kernel_main(&ram);
	machine_stop(0);
}

/* Keeps the compiler from making a loop into a call of the same function. */
#define ONE_BY_ONE() __asm__ volatile("" ::: "memory")

void *
memset(void *dst, int byte, size_t bytes)
{
	unsigned char *d = dst;

	for (size_t i = 0; i < bytes; i++) {
		d[i] = (unsigned char)byte;
		ONE_BY_ONE();
	}
	return dst;
}

void *
memcpy(void *dst, const void *src, size_t bytes)
{
	unsigned char *d = dst;
	const unsigned char *s = src;

	for (size_t i = 0; i < bytes; i++) {
		d[i] = s[i];
		ONE_BY_ONE();
	}
	return dst;
}

void *
memmove(void *dst, const void *src, size_t bytes)
{
	unsigned char *d = dst;
	const unsigned char *s = src;

	if ((uintptr_t)dst <= (uintptr_t)src)
		return memcpy(dst, src, bytes); /* goes upward */
	for (size_t i = bytes; i > 0; i--) {
		d[i - 1] = s[i - 1];
		ONE_BY_ONE();
	}
	return dst;
}

int
memcmp(const void *a, const void *b, size_t bytes)
{
	const unsigned char *x = a;
	const unsigned char *y = b;

	for (size_t i = 0; i < bytes; i++)
		if (x[i] != y[i])
			return x[i] < y[i] ? -1 : 1;
	return 0;
}
