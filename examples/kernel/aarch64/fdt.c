/* SPDX-License-Identifier: MIT
 *
 * examples/kernel/aarch64/fdt.c: reads a flattened device tree
 *
 * WHAT    One pass over its structure block, with the state of each node on
 *         the way down. The tree comes from outside: every offset and length is
 *         checked against the block it is in before it is used.
 * SOURCE  Devicetree Specification 0.4: 5 (the format), 3.4 (memory), 3.5
 *         (reserved-memory), 3.8 (cpus), 2.3.5 (reg).
 */
#include "fdt.h"

#define MAGIC 0xd00dfeedu
#define TOKEN_BEGIN 1u
#define TOKEN_END 2u
#define TOKEN_PROPERTY 3u
#define TOKEN_NOP 4u
#define TOKEN_FINISH 9u
#define DEPTH_MAX 16u

enum kind { OTHER, ROOT, MEMORY, RESERVED, RESERVED_CHILD, CPUS, CPU, PSCI,
	CHOSEN };

/* A node on the way down. */
struct node {
	enum kind kind;
	uint32_t address_cells, size_cells; /* for its children */
	const unsigned char *reg;
	uint32_t reg_bytes;
	bool is_disabled;
};

struct reader {
	const unsigned char *structure, *strings;
	uint32_t structure_bytes, strings_bytes;
	uint32_t at; /* in the structure block */
	unsigned depth;
	struct node nodes[DEPTH_MAX]; /* nodes[depth]: where we are */
	struct fdt_facts *facts;
};

static uint32_t
be32(const unsigned char *ptr)
{
	return (uint32_t)ptr[0] << 24 | (uint32_t)ptr[1] << 16 |
	    (uint32_t)ptr[2] << 8 | ptr[3];
}

/* A number of 1 or 2 cells. */
static uint64_t
cells(const unsigned char *ptr, uint32_t nr)
{
	return nr == 1 ? be32(ptr) : (uint64_t)be32(ptr) << 32 | be32(ptr + 4);
}

static bool
is_text(const char *a, const char *b)
{
	while (*a != '\0' && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

/* "memory" or "memory@40000000". */
static bool
is_named(const char *name, const char *base)
{
	while (*base != '\0')
		if (*name++ != *base++)
			return false;
	return *name == '\0' || *name == '@';
}

/* The length of the text at ptr, if it ends within `bytes`; else `bytes`. */
static uint32_t
text_length(const unsigned char *ptr, uint32_t bytes)
{
	uint32_t n = 0;

	while (n < bytes && ptr[n] != '\0')
		n++;
	return n;
}

static enum kind
kind_of(const char *name, enum kind parent)
{
	if (parent == RESERVED)
		return RESERVED_CHILD;
	if (parent == CPUS)
		return is_named(name, "cpu") ? CPU : OTHER;
	if (parent != ROOT)
		return OTHER;
	return is_named(name, "memory") ? MEMORY
	    : is_text(name, "reserved-memory") ? RESERVED
	    : is_text(name, "cpus") ? CPUS
	    : is_named(name, "psci") ? PSCI
	    : is_text(name, "chosen") ? CHOSEN : OTHER;
}

/* ---- facts --------------------------------------------------------------------- */

static void
add_span(struct fdt_span *spans, size_t *nr, uint64_t start_pa, uint64_t bytes)
{
	if (*nr >= FDT_SPANS_MAX || bytes == 0)
		return;
	if (bytes > UINT64_MAX - start_pa)
		bytes = UINT64_MAX - start_pa;
	spans[*nr].start_pa = start_pa;
	spans[(*nr)++].end_pa = start_pa + bytes;
}

static bool
add_regs(const struct node *node, const struct node *parent,
    struct fdt_span *spans, size_t *nr)
{
	uint32_t entry_bytes =
	    4 * (parent->address_cells + parent->size_cells);

	if (parent->address_cells < 1 || parent->address_cells > 2 ||
	    parent->size_cells < 1 || parent->size_cells > 2)
		return false;
	for (uint32_t at = 0; node->reg_bytes - at >= entry_bytes;
	     at += entry_bytes)
		add_span(spans, nr, cells(node->reg + at, parent->address_cells),
		    cells(node->reg + at + 4 * parent->address_cells,
		        parent->size_cells));
	return true;
}

/* A node ends: all of its properties are known. */
static bool
commit(struct reader *reader)
{
	const struct node *node = &reader->nodes[reader->depth];
	const struct node *parent = node - 1;
	struct fdt_facts *facts = reader->facts;

	if (reader->depth == 0 || node->is_disabled || node->reg == NULL)
		return true;
	if (node->kind == MEMORY)
		return add_regs(node, parent, facts->ram, &facts->nr_ram);
	if (node->kind == RESERVED_CHILD)
		return add_regs(node, parent, facts->reserved,
		    &facts->nr_reserved);
	if (node->kind == CPU && facts->nr_cpus < FDT_CPUS_MAX) {
		if (parent->address_cells < 1 || parent->address_cells > 2 ||
		    node->reg_bytes < 4 * parent->address_cells)
			return false;
		facts->cpus[facts->nr_cpus++] =
		    cells(node->reg, parent->address_cells);
	}
	return true;
}

static void
take_property(struct reader *reader, const char *name,
    const unsigned char *value, uint32_t bytes)
{
	struct node *node = &reader->nodes[reader->depth];
	const char *text = text_length(value, bytes) < bytes
	    ? (const char *)value : "";

	if (bytes == 4 && is_text(name, "#address-cells")) {
		node->address_cells = be32(value);
	} else if (bytes == 4 && is_text(name, "#size-cells")) {
		node->size_cells = be32(value);
	} else if (is_text(name, "reg")) {
		node->reg = value;
		node->reg_bytes = bytes;
	} else if (is_text(name, "status")) {
		node->is_disabled = !is_text(text, "okay") &&
		    !is_text(text, "ok");
	} else if (node->kind == PSCI && is_text(name, "method")) {
		reader->facts->has_psci = true;
		reader->facts->psci_is_hvc = is_text(text, "hvc");
	} else if (node->kind == CHOSEN && is_text(name, "bootargs")) {
		reader->facts->arguments = text;
	}
}

/* ---- the structure block --------------------------------------------------------- */

/* The next `bytes`, and what pads them to 4; NULL: they are not all there. */
static const unsigned char *
take(struct reader *reader, uint32_t bytes)
{
	const unsigned char *ptr = reader->structure + reader->at;

	if (bytes > reader->structure_bytes - reader->at)
		return NULL;
	reader->at += bytes;
	while (reader->at % 4 != 0 && reader->at < reader->structure_bytes)
		reader->at++;
	return ptr;
}

static bool
read_begin(struct reader *reader, bool is_first)
{
	const unsigned char *name = reader->structure + reader->at;
	uint32_t left = reader->structure_bytes - reader->at;
	uint32_t length = text_length(name, left);
	enum kind kind = ROOT;

	if (length == left || reader->depth + 1 >= DEPTH_MAX)
		return false;
	(void)take(reader, length + 1);
	if (!is_first) {
		kind = kind_of((const char *)name,
		    reader->nodes[reader->depth].kind);
		reader->depth++;
	}
	reader->nodes[reader->depth] = (struct node){ .kind = kind,
		.address_cells = 2, .size_cells = 1 };
	return true;
}

static bool
read_property(struct reader *reader)
{
	const unsigned char *header = take(reader, 8), *value;
	uint32_t bytes, name;

	if (header == NULL)
		return false;
	bytes = be32(header);
	name = be32(header + 4);
	value = take(reader, bytes);
	if (value == NULL || name >= reader->strings_bytes ||
	    text_length(reader->strings + name,
	        reader->strings_bytes - name) == reader->strings_bytes - name)
		return false;
	take_property(reader, (const char *)reader->strings + name, value,
	    bytes);
	return true;
}

static bool
read_structure(struct reader *reader)
{
	bool is_first = true;

	for (;;) {
		const unsigned char *token = take(reader, 4);

		if (token == NULL)
			return false;
		switch (be32(token)) {
		case TOKEN_BEGIN:
			if (!read_begin(reader, is_first))
				return false;
			is_first = false;
			break;
		case TOKEN_PROPERTY:
			if (is_first || !read_property(reader))
				return false;
			break;
		case TOKEN_END:
			if (is_first || !commit(reader))
				return false;
			if (reader->depth == 0)
				return true;
			reader->depth--;
			break;
		case TOKEN_NOP:
			break;
		default: /* TOKEN_FINISH too: the root has not ended */
			return false;
		}
	}
}

/* The memory reservation block: pairs of 64 bits, ended by zeros. */
static bool
read_reservations(const unsigned char *blob, uint32_t at, uint32_t bytes,
    struct fdt_facts *facts)
{
	for (; at <= bytes && bytes - at >= 16; at += 16) {
		uint64_t start_pa = cells(blob + at, 2);
		uint64_t span_bytes = cells(blob + at + 8, 2);

		if (start_pa == 0 && span_bytes == 0)
			return true;
		add_span(facts->reserved, &facts->nr_reserved, start_pa,
		    span_bytes);
	}
	return false;
}

uint32_t
fdt_bytes(const void *blob)
{
	const unsigned char *header = (const unsigned char *)blob;

	return be32(header) == MAGIC ? be32(header + 4) : 0;
}

bool
fdt_read(const void *blob, struct fdt_facts *out)
{
	const unsigned char *header = (const unsigned char *)blob;
	uint32_t bytes = fdt_bytes(blob), structure, strings;
	struct reader reader = { .facts = out };

	out->nr_ram = out->nr_reserved = out->nr_cpus = 0;
	out->has_psci = out->psci_is_hvc = false;
	out->arguments = "";
	if (bytes < FDT_HEADER_BYTES)
		return false;
	structure = be32(header + 8);
	strings = be32(header + 12);
	reader.strings_bytes = be32(header + 32);
	reader.structure_bytes = be32(header + 36);
	if (structure > bytes || reader.structure_bytes > bytes - structure ||
	    strings > bytes || reader.strings_bytes > bytes - strings)
		return false;
	reader.structure = header + structure;
	reader.strings = header + strings;
	return read_reservations(header, be32(header + 16), bytes, out) &&
	    read_structure(&reader);
}
