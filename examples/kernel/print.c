/* SPDX-License-Identifier: MIT
 *
 * examples/kernel/print.c: the console, and the four functions that a compiler
 * may call on its own
 */
#include "kernel.h"

#include <stdarg.h>

static MMKIT_LOCK_T console_lock; /* all zeros is a free ticket lock */

/* ---- memory ----------------------------------------------------------------- */

/* By words where it is so aligned: pages are cleared and copied with these. */
void *
memset(void *dst, int byte, size_t bytes)
{
	unsigned char *to = (unsigned char *)dst;
	uint64_t word = UINT64_C(0x0101010101010101) * (unsigned char)byte;

	for (; bytes > 0 && ((uintptr_t)to & 7) != 0; bytes--)
		*to++ = (unsigned char)byte;
	for (; bytes >= 8; bytes -= 8, to += 8)
		*(volatile uint64_t *)(void *)to = word;
	for (; bytes > 0; bytes--)
		*(volatile unsigned char *)to++ = (unsigned char)byte;
	return dst;
}

void *
memcpy(void *dst, const void *src, size_t bytes)
{
	return memmove(dst, src, bytes);
}

void *
memmove(void *dst, const void *src, size_t bytes)
{
	volatile unsigned char *to = (volatile unsigned char *)dst;
	const unsigned char *from = (const unsigned char *)src;
	bool is_even = (((uintptr_t)dst | (uintptr_t)src) & 7) == 0;

	if ((uintptr_t)dst - (uintptr_t)src < bytes) {
		while (bytes-- > 0)
			to[bytes] = from[bytes];
		return dst;
	}
	for (; is_even && bytes >= 8; bytes -= 8, to += 8, from += 8)
		*(volatile uint64_t *)(volatile void *)to =
		    *(const uint64_t *)(const void *)from;
	while (bytes-- > 0)
		*to++ = *from++;
	return dst;
}

int
memcmp(const void *a, const void *b, size_t bytes)
{
	const unsigned char *x = (const unsigned char *)a;
	const unsigned char *y = (const unsigned char *)b;

	for (; bytes > 0; bytes--, x++, y++)
		if (*x != *y)
			return *x < *y ? -1 : 1;
	return 0;
}

/* ---- printing ---------------------------------------------------------------- */

static void
put(const char *text)
{
	while (*text != '\0')
		arch_console_put(*text++);
}

static void
put_number(uint64_t value, unsigned base)
{
	char digits[24];
	unsigned i = sizeof digits;

	digits[--i] = '\0';
	do {
		digits[--i] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value != 0);
	put(digits + i);
}

/* One conversion, at the character after '%'; the last one of it. */
static const char *
put_one(const char *format, va_list *args)
{
	bool is_long = *format == 'l';

	format += is_long;
	switch (*format) {
	case 's':
		put(va_arg(*args, const char *));
		break;
	case 'c':
		arch_console_put((char)va_arg(*args, int));
		break;
	case 'p':
		put_number((uint64_t)(uintptr_t)va_arg(*args, void *), 16);
		break;
	case 'x':
	case 'u':
		put_number(is_long ? va_arg(*args, uint64_t)
		                   : va_arg(*args, unsigned),
		    *format == 'x' ? 16 : 10);
		break;
	default:
		arch_console_put(*format);
	}
	return format;
}

static unsigned nr_printing; /* [a] */
static unsigned nr_panics;   /* [a] */

static void
begin_to_print(void)
{
	while (MMKIT_ATOMIC_LOAD(&nr_panics) != 0)
		MMKIT_CPU_RELAX();
	MMKIT_ATOMIC_ADD(&nr_printing, 1u);
	MMKIT_LOCK(&console_lock);
}

static void
end_to_print(void)
{
	MMKIT_UNLOCK(&console_lock);
	MMKIT_ATOMIC_SUB(&nr_printing, 1u);
}

void
kprintf(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	begin_to_print();
	for (; *format != '\0'; format++) {
		if (*format == '%')
			format = put_one(format + 1, &args);
		else
			arch_console_put(*format);
	}
	end_to_print();
	va_end(args);
}

void
kernel_write(const char *text, size_t bytes)
{
	begin_to_print();
	for (size_t i = 0; i < bytes; i++)
		arch_console_put(text[i]);
	end_to_print();
}

void
kernel_log(const char *text)
{
	kprintf("mmkit: %s\n", text);
}

/*
 * The first one has the last word. Whoever holds the console may end its line, but
 * may also be the one that panics.
 */
void
kernel_panic(const char *text)
{
	while (MMKIT_ATOMIC_ADD(&nr_panics, 1u) > 1)
		MMKIT_CPU_RELAX();
	for (unsigned i = 0; i < 100000; i++) {
		if (MMKIT_ATOMIC_LOAD(&nr_printing) == 0)
			break;
		MMKIT_CPU_RELAX();
	}
	put("\nkernel: PANIC: ");
	put(text);
	put("\n");
	arch_exit(1);
}
