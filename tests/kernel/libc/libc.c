/* SPDX-License-Identifier: MIT
 *
 * tests/kernel/libc/libc.c: as much of a C library as the tests use
 *
 * WHAT    Text goes to the console of the kernel, memory comes from its frames.
 *         The four mem* functions are the kernel's own.
 */
#include "examples/kernel/kernel.h"
#include "tests/kernel/machine.h"

#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- strings ---------------------------------------------------------------- */

void *
memchr(const void *ptr, int byte, size_t bytes)
{
	const unsigned char *at = (const unsigned char *)ptr;

	for (; bytes > 0; bytes--, at++)
		if (*at == (unsigned char)byte)
			return (void *)(uintptr_t)at;
	return NULL;
}

size_t
strlen(const char *text)
{
	const char *end = text;

	while (*end != '\0')
		end++;
	return (size_t)(end - text);
}

int
strncmp(const char *a, const char *b, size_t bytes)
{
	for (; bytes > 0; bytes--, a++, b++)
		if (*a != *b || *a == '\0')
			return (unsigned char)*a - (unsigned char)*b;
	return 0;
}

int
strcmp(const char *a, const char *b)
{
	return strncmp(a, b, SIZE_MAX);
}

char *
strchr(const char *text, int c)
{
	for (; *text != (char)c; text++)
		if (*text == '\0')
			return NULL;
	return (char *)(uintptr_t)text;
}

char *
strstr(const char *text, const char *part)
{
	size_t bytes = strlen(part);

	for (; *text != '\0'; text++)
		if (strncmp(text, part, bytes) == 0)
			return (char *)(uintptr_t)text;
	return bytes == 0 ? (char *)(uintptr_t)text : NULL;
}

char *
strpbrk(const char *text, const char *set)
{
	for (; *text != '\0'; text++)
		if (strchr(set, *text) != NULL)
			return (char *)(uintptr_t)text;
	return NULL;
}

/* One '*' after another: the last one is the only one to go back to. */
int
fnmatch(const char *pattern, const char *text, int flags)
{
	const char *star = NULL, *from = NULL;

	(void)flags;
	while (*text != '\0') {
		if (*pattern == '*') {
			star = pattern++;
			from = text;
		} else if (*pattern == *text) {
			pattern++;
			text++;
		} else if (star != NULL) {
			pattern = star + 1;
			text = ++from;
		} else {
			return 1;
		}
	}
	while (*pattern == '*')
		pattern++;
	return *pattern != '\0';
}

unsigned long long
strtoull(const char *text, char **end, int base)
{
	unsigned long long value = 0;

	if (text[0] == '0' && text[1] == 'x') {
		base = 16;
		text += 2;
	}
	base = base == 0 ? 10 : base;
	for (;; text++) {
		int digit = *text >= '0' && *text <= '9' ? *text - '0'
		    : *text >= 'a' && *text <= 'f'       ? *text - 'a' + 10
		                                         : 99;

		if (digit >= base)
			break;
		value = value * (unsigned)base + (unsigned)digit;
	}
	if (end != NULL)
		*end = (char *)(uintptr_t)text;
	return value;
}

unsigned long
strtoul(const char *text, char **end, int base)
{
	return (unsigned long)strtoull(text, end, base);
}

/* By insertion: tests sort little. */
void
qsort(void *base, size_t nr, size_t bytes,
    int (*compare)(const void *, const void *))
{
	unsigned char *first = (unsigned char *)base;

	for (size_t i = 1; i < nr; i++)
		for (size_t j = i; j > 0; j--) {
			unsigned char *a = first + (j - 1) * bytes;

			if (compare(a, a + bytes) <= 0)
				break;
			for (size_t k = 0; k < bytes; k++) {
				unsigned char byte = a[k];

				a[k] = a[bytes + k];
				a[bytes + k] = byte;
			}
		}
}

/* ---- printing ---------------------------------------------------------------- */

struct sink {
	char *at;        /* NULL: the console */
	size_t left;
	size_t nr;
};

static void
put(struct sink *sink, char c)
{
	sink->nr++;
	if (sink->at == NULL)
		arch_console_put(c);
	else if (sink->left > 1) {
		*sink->at++ = c;
		sink->left--;
	}
}

struct spec {
	unsigned width;
	int precision;
	bool is_left, has_zeros, has_prefix;
	unsigned bytes; /* of a number */
};

static void
put_padded(struct sink *sink, const struct spec *spec, const char *text,
    size_t bytes, char fill)
{
	size_t pad = spec->width > bytes ? spec->width - bytes : 0;

	for (size_t i = 0; i < pad && !spec->is_left; i++)
		put(sink, fill);
	for (size_t i = 0; i < bytes; i++)
		put(sink, text[i]);
	for (size_t i = 0; i < pad && spec->is_left; i++)
		put(sink, ' ');
}

static void
put_number(struct sink *sink, const struct spec *spec, uint64_t value,
    unsigned base, bool is_negative)
{
	char digits[32];
	size_t i = sizeof digits;

	do {
		digits[--i] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value != 0);
	if (spec->has_prefix && base == 16) {
		digits[--i] = 'x';
		digits[--i] = '0';
	}
	if (is_negative)
		digits[--i] = '-';
	put_padded(sink, spec, digits + i, sizeof digits - i,
	    spec->has_zeros ? '0' : ' ');
}

/* Flags, width, precision and size; returns the conversion's own character. */
static const char *
parse(const char *at, struct spec *spec, va_list *args)
{
	*spec = (struct spec){ .precision = -1, .bytes = 4 };
	for (;; at++) {
		if (*at == '-')
			spec->is_left = true;
		else if (*at == '0')
			spec->has_zeros = true;
		else if (*at == '#')
			spec->has_prefix = true;
		else
			break;
	}
	if (*at == '*') {
		spec->width = va_arg(*args, unsigned);
		at++;
	}
	for (; *at >= '0' && *at <= '9'; at++)
		spec->width = spec->width * 10 + (unsigned)(*at - '0');
	if (*at == '.') {
		spec->precision = 0;
		if (*++at == '*') {
			spec->precision = va_arg(*args, int);
			at++;
		}
		for (; *at >= '0' && *at <= '9'; at++)
			spec->precision = spec->precision * 10 + *at - '0';
	}
	for (; *at == 'l' || *at == 'z' || *at == 'j' || *at == 't'; at++)
		spec->bytes = 8;
	for (; *at == 'h'; at++)
		;
	return at;
}

static void
put_text(struct sink *sink, const struct spec *spec, const char *text)
{
	size_t bytes = 0;

	while (text[bytes] != '\0' &&
	    (spec->precision < 0 || bytes < (size_t)spec->precision))
		bytes++;
	put_padded(sink, spec, text, bytes, ' ');
}

static void
print(struct sink *sink, const char *format, va_list *args)
{
	for (; *format != '\0'; format++) {
		struct spec spec;
		int64_t number;

		if (*format != '%') {
			put(sink, *format);
			continue;
		}
		format = parse(format + 1, &spec, args);
		switch (*format) {
		case 's':
			put_text(sink, &spec, va_arg(*args, const char *));
			break;
		case 'c':
			put(sink, (char)va_arg(*args, int));
			break;
		case 'd':
		case 'i':
			number = spec.bytes == 8 ? va_arg(*args, int64_t)
			                         : va_arg(*args, int);
			put_number(sink, &spec,
			    number < 0 ? -(uint64_t)number : (uint64_t)number,
			    10, number < 0);
			break;
		case 'p':
			spec.bytes = 8;
			spec.has_prefix = true; /* fall through */
		case 'u':
		case 'x':
			put_number(sink, &spec,
			    spec.bytes == 8 ? va_arg(*args, uint64_t)
			                    : va_arg(*args, unsigned),
			    *format == 'u' ? 10 : 16, false);
			break;
		default:
			put(sink, *format);
		}
	}
}

int
vfprintf(FILE *file, const char *format, va_list args)
{
	struct sink sink = { 0 };
	va_list copy;

	(void)file;
	va_copy(copy, args);
	print(&sink, format, &copy);
	va_end(copy);
	return (int)sink.nr;
}

int
printf(const char *format, ...)
{
	va_list args;
	int nr;

	va_start(args, format);
	nr = vfprintf(stdout, format, args);
	va_end(args);
	return nr;
}

int
fprintf(FILE *file, const char *format, ...)
{
	va_list args;
	int nr;

	va_start(args, format);
	nr = vfprintf(file, format, args);
	va_end(args);
	return nr;
}

int
snprintf(char *buf, size_t bytes, const char *format, ...)
{
	char none;
	struct sink sink = { bytes > 0 ? buf : &none, bytes, 0 };
	va_list args;

	va_start(args, format);
	print(&sink, format, &args);
	va_end(args);
	if (bytes > 0)
		*sink.at = '\0';
	return (int)sink.nr;
}

void
perror(const char *text)
{
	printf("%s: cannot\n", text);
}

/* ---- memory -------------------------------------------------------------------- */

/* In front of each piece, which is a block of frames of the kernel's own. */
struct piece {
	struct mmk_frame *frame;
	size_t bytes;
	uint64_t reserved[6]; /* so that what follows is aligned to 64 */
};

/* Small pieces that were freed, by power of two: a whole page each is too
 * much, and a test may take thousands. */
#define SMALL_BITS 11u
static struct small {
	struct small *next;
} *small[SMALL_BITS + 1];
static MMKIT_LOCK_T small_lock;

static unsigned
bits_of(size_t bytes)
{
	unsigned bits = 5;

	while ((size_t)1 << bits < bytes)
		bits++;
	return bits;
}

static void *
block_alloc(size_t bytes)
{
	struct mmk_frame *frame;
	struct piece *piece;
	unsigned order = 0;

	while (PAGE << order < bytes + sizeof(struct piece))
		order++;
	frame = machine_frames(order);
	if (frame == NULL)
		return NULL;
	piece = (struct piece *)mmk_frame_ptr(&kernel_phys, frame);
	piece->frame = frame;
	piece->bytes = bytes;
	return piece + 1;
}

/* A page of the size class: pieces with a word in front. */
static void
small_fill(unsigned bits)
{
	char *page = (char *)block_alloc((size_t)PAGE * 4 - sizeof(struct piece));
	size_t step = ((size_t)1 << bits) + 16;

	for (size_t at = 0; page != NULL &&
	     at + step <= PAGE * 4 - sizeof(struct piece); at += step) {
		struct small *item = (struct small *)(void *)(page + at + 16);

		*(uint64_t *)(void *)(page + at) = bits;
		item->next = small[bits];
		small[bits] = item;
	}
}

void *
malloc(size_t bytes)
{
	unsigned bits = bits_of(bytes);
	struct small *item;
	char *big;

	if (bits > SMALL_BITS) {
		big = (char *)block_alloc(bytes + 64);
		if (big == NULL)
			return NULL;
		*(uint64_t *)(void *)(big + 48) = bytes << 8 | 0xff;
		return big + 64;
	}
	MMKIT_LOCK(&small_lock);
	if (small[bits] == NULL)
		small_fill(bits);
	item = small[bits];
	if (item != NULL)
		small[bits] = item->next;
	MMKIT_UNLOCK(&small_lock);
	return item;
}

static size_t
bytes_of(const void *ptr)
{
	uint64_t word = *((const uint64_t *)ptr - 2);

	return (word & 0xff) == 0xff ? (size_t)(word >> 8) : (size_t)1 << word;
}

void
free(void *ptr)
{
	uint64_t word;

	if (ptr == NULL)
		return;
	word = *((uint64_t *)ptr - 2);
	if ((word & 0xff) == 0xff) {
		struct piece *piece =
		    (struct piece *)(void *)((char *)ptr - 64) - 1;

		(void)mmk_frame_unref(&kernel_phys, piece->frame);
		return;
	}
	MMKIT_LOCK(&small_lock);
	((struct small *)ptr)->next = small[word];
	small[word] = (struct small *)ptr;
	MMKIT_UNLOCK(&small_lock);
}

void *
calloc(size_t nr, size_t bytes)
{
	void *ptr = malloc(nr * bytes);

	return ptr != NULL ? memset(ptr, 0, nr * bytes) : NULL;
}

void *
realloc(void *ptr, size_t bytes)
{
	void *grown = malloc(bytes);

	if (grown != NULL && ptr != NULL) {
		size_t old = bytes_of(ptr);

		memcpy(grown, ptr, old < bytes ? old : bytes);
		free(ptr);
	}
	return grown;
}

/* ---- the rest -------------------------------------------------------------------- */

void
abort(void)
{
	kernel_panic("abort");
}

void
exit(int status)
{
	arch_exit((unsigned)status);
}

/* MMK_SEED=1 on the command line. */
char *
getenv(const char *name)
{
	static char values[8][64];
	static unsigned nr;
	size_t bytes = strlen(name);
	const char *at = arch_arguments();

	if (strcmp(name, "MMK_TEST_SKIP") == 0)
		return (char *)(uintptr_t)"*_bugs/*";
	for (; at != NULL && *at != '\0'; at = strchr(at, ' ')) {
		char *value = values[nr % 8];
		size_t i = 0;

		while (*at == ' ')
			at++;
		if (strncmp(at, name, bytes) != 0 || at[bytes] != '=')
			continue;
		nr++;
		for (at += bytes + 1; *at != ' ' && *at != '\0' && i < 63; at++)
			value[i++] = *at;
		value[i] = '\0';
		return value;
	}
	return NULL;
}
