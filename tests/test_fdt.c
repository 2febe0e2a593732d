/* SPDX-License-Identifier: MIT
 *
 * tests/test_fdt.c: the device trees that examples/kernel reads on aarch64: a
 * good one, and damaged ones, which must be read no further than they are long
 */
#include <criterion/criterion.h>

#include <stdlib.h>
#include <string.h>

#include "examples/kernel/aarch64/fdt.c"
#include "prop.h"

/* ---- a writer ---------------------------------------------------------------- */

static unsigned char structure[4096];
static char strings[512];
static size_t structure_bytes, strings_bytes;

static void
put32(unsigned char *at, uint32_t value)
{
	for (unsigned i = 0; i < 4; i++)
		at[i] = (unsigned char)(value >> (24 - 8 * i));
}

static void
add32(uint32_t value)
{
	put32(structure + structure_bytes, value);
	structure_bytes += 4;
}

static void
add_bytes(const void *data, size_t bytes)
{
	memcpy(structure + structure_bytes, data, bytes);
	structure_bytes += (bytes + 3) / 4 * 4;
}

static void
begin(const char *name)
{
	add32(TOKEN_BEGIN);
	add_bytes(name, strlen(name) + 1);
}

static void
end(void)
{
	add32(TOKEN_END);
}

static void
property(const char *name, const void *value, size_t bytes)
{
	add32(TOKEN_PROPERTY);
	add32((uint32_t)bytes);
	add32((uint32_t)strings_bytes);
	add_bytes(value, bytes);
	strcpy(strings + strings_bytes, name);
	strings_bytes += strlen(name) + 1;
}

static void
property32(const char *name, size_t nr, const uint32_t *values)
{
	unsigned char bytes[64];

	for (size_t i = 0; i < nr; i++)
		put32(bytes + 4 * i, values[i]);
	property(name, bytes, 4 * nr);
}
#define CELLS(name, ...)                                              \
	property32(name,                                              \
	    sizeof((uint32_t[]){ __VA_ARGS__ }) / sizeof(uint32_t),   \
	    (uint32_t[]){ __VA_ARGS__ })
#define TEXT(name, text) property(name, text, sizeof(text))

/* A tree like that of QEMU's virt machine; the blob is exactly as long. */
static unsigned char *
make(void)
{
	size_t reservations = 40, at = reservations + 32;
	unsigned char *blob;

	memset(structure, 0, sizeof structure);
	structure_bytes = strings_bytes = 0;
	begin("");
	CELLS("#address-cells", 2);
	CELLS("#size-cells", 2);
	begin("psci");
	TEXT("method", "hvc");
	end();
	begin("memory@40000000");
	CELLS("reg", 0, 0x40000000, 0, 0x10000000, 1, 0, 2, 0);
	TEXT("device_type", "memory");
	end();
	begin("memory@e000000");
	CELLS("reg", 0, 0xe000000, 0, 0x1000000);
	TEXT("status", "disabled");
	end();
	begin("reserved-memory");
	CELLS("#address-cells", 1);
	CELLS("#size-cells", 1);
	begin("firmware@48000000");
	CELLS("reg", 0x48000000, 0x20000);
	end();
	end();
	add32(TOKEN_NOP);
	begin("cpus");
	CELLS("#address-cells", 1);
	CELLS("#size-cells", 0);
	for (uint32_t i = 0; i < 3; i++) {
		begin("cpu@0");
		CELLS("reg", i);
		begin("l2-cache");
		CELLS("reg", 77);
		end();
		end();
	}
	begin("cpu-map");
	end();
	end();
	begin("chosen");
	TEXT("bootargs", "fault=noflush");
	end();
	end();
	add32(TOKEN_FINISH);

	blob = calloc(1, at + structure_bytes + strings_bytes);
	put32(blob, MAGIC);
	put32(blob + 4, (uint32_t)(at + structure_bytes + strings_bytes));
	put32(blob + 8, (uint32_t)at);
	put32(blob + 12, (uint32_t)(at + structure_bytes));
	put32(blob + 16, (uint32_t)reservations);
	put32(blob + 32, (uint32_t)strings_bytes);
	put32(blob + 36, (uint32_t)structure_bytes);
	put32(blob + reservations + 4, 0x44000000); /* one, and the end */
	put32(blob + reservations + 12, 0x1000);
	memcpy(blob + at, structure, structure_bytes);
	memcpy(blob + at + structure_bytes, strings, strings_bytes);
	return blob;
}

/* ---- tests --------------------------------------------------------------------- */

Test(fdt, memory_cpus_and_the_rest_are_found)
{
	unsigned char *blob = make();
	static struct fdt_facts facts;

	cr_assert(fdt_read(blob, &facts));
	cr_assert_eq(facts.nr_ram, 2);
	cr_assert_eq(facts.ram[0].start_pa, 0x40000000);
	cr_assert_eq(facts.ram[0].end_pa, 0x50000000);
	cr_assert_eq(facts.ram[1].start_pa, UINT64_C(0x100000000));
	cr_assert_eq(facts.ram[1].end_pa, UINT64_C(0x300000000));
	cr_assert_eq(facts.nr_reserved, 2);
	cr_assert_eq(facts.reserved[0].start_pa, 0x44000000);
	cr_assert_eq(facts.reserved[0].end_pa, 0x44001000);
	cr_assert_eq(facts.reserved[1].start_pa, 0x48000000);
	cr_assert_eq(facts.reserved[1].end_pa, 0x48020000);
	cr_assert_eq(facts.nr_cpus, 3);
	for (uint64_t i = 0; i < 3; i++)
		cr_assert_eq(facts.cpus[i], i);
	cr_assert(facts.has_psci && facts.psci_is_hvc);
	cr_assert_str_eq(facts.arguments, "fault=noflush");
	free(blob);
}

Test(fdt, what_is_no_tree_is_refused)
{
	unsigned char *blob = make();
	static struct fdt_facts facts;

	put32(blob + 4, FDT_HEADER_BYTES - 1);
	cr_assert_not(fdt_read(blob, &facts), "it ends in its header");
	put32(blob, 0);
	cr_assert_eq(fdt_bytes(blob), 0);
	cr_assert_not(fdt_read(blob, &facts));
	free(blob);
}

/* Cut short anywhere: the bytes behind the cut are not there. */
Test(fdt, a_tree_that_ends_too_early_is_refused)
{
	unsigned char *blob = make();
	uint32_t bytes = fdt_bytes(blob);
	static struct fdt_facts facts;

	for (uint32_t cut = FDT_HEADER_BYTES; cut < bytes; cut++) {
		unsigned char *piece = malloc(cut);

		memcpy(piece, blob, cut);
		put32(piece + 4, cut);
		cr_assert_not(fdt_read(piece, &facts));
		free(piece);
	}
	free(blob);
}

/* A memory checker says whether it read too far. */
Test(fdt, random_damage_is_survived)
{
	static struct fdt_facts facts;
	uint64_t seed = mmk_test_seed();

	for (unsigned round = 0; round < mmk_test_steps(20000); round++) {
		unsigned char *blob = make();
		uint32_t bytes = fdt_bytes(blob);

		for (unsigned i = 0; i < 1 + round % 4; i++) {
			uint32_t at = 8 + (uint32_t)(mmk_test_random(&seed) %
			    (bytes - 8));

			blob[at] = (unsigned char)mmk_test_random(&seed);
		}
		if (fdt_read(blob, &facts)) {
			cr_assert_leq(facts.nr_ram, FDT_SPANS_MAX);
			cr_assert_leq(facts.nr_cpus, FDT_CPUS_MAX);
			cr_assert_leq(strlen(facts.arguments), bytes);
		}
		free(blob);
	}
}
