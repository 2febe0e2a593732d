/* SPDX-License-Identifier: MIT
 *
 * tests/test_walk.c: the simulated machine's two table walkers, on tables
 * written by hand
 */
#include <criterion/criterion.h>

#include <string.h>

#include "sim_tables.h"

static struct sim_walk
walk_from(uint64_t root, uint64_t va, unsigned access, bool is_user)
{
	struct sim_walk_request request = { .root_pa = root, .va = va,
		.access = access, .is_user = is_user, .is_probe = access == 0 };
	struct sim_walk walk;

	sim_walk(&request, &walk);
	return walk;
}

static struct sim_walk
walk(uint64_t va, unsigned access)
{
	return walk_from(ROOT, va, access, true);
}

/* ---- the walker of x86_64 ------------------------------------------------ */

TestSuite(sim_x86_64, .init = boot_x86, .fini = sim_shutdown);

Test(sim_x86_64, a_walk_goes_through_four_levels)
{
	struct sim_walk found;

	set(entry_pa(VA, 0), PAGE_A | P | U);
	found = walk(VA + 0x123, SIM_READ);
	cr_assert_eq(found.fault, SIM_FAULT_NONE);
	cr_assert_eq(found.pa, PAGE_A + 0x123);
	cr_assert_eq(found.page_shift, 12);
	cr_assert_eq(found.nr_entries, 4);
	cr_assert_eq(found.entry_pas[0], ROOT + (VA >> 39) * 8);
	cr_assert_eq(found.entry_pas[3], entry_pa(VA, 0));
	cr_assert_null(found.malformed);
}

Test(sim_x86_64, a_walk_goes_through_five_levels)
{
	struct sim_mmu mmu = { .nr_levels = 5, .page_shift = 12,
		.va_bits = 57, .pa_bits = 52, .hardware_ad = true };
	uint64_t va = UINT64_C(0x00ab12345678a000);
	struct sim_walk_request request = { .root_pa = ROOT, .va = va + 8,
		.access = SIM_READ, .is_user = true };
	struct sim_walk found;

	set(entry_pa_from(ROOT, va, 0, 4), PAGE_B | P | U);
	sim_walk_x86_64(&mmu, &request, &found);
	cr_assert_eq(found.fault, SIM_FAULT_NONE);
	cr_assert_eq(found.nr_entries, 5);
	cr_assert_eq(found.pa, PAGE_B + 8);
}

Test(sim_x86_64, large_pages_of_2m_and_1g_are_leaves)
{
	struct sim_walk found;

	set(entry_pa(VA, 1), BASE | P | U | PS | UINT64_C(0x1000)); /* PAT */
	found = walk(VA, SIM_READ);
	cr_assert_eq(found.fault, SIM_FAULT_NONE);
	cr_assert_eq(found.page_shift, 21);
	cr_assert_eq(found.pa, BASE + (VA & 0x1fffff));
	set(entry_pa(VA_X, 2), BASE | P | U | PS);
	found = walk(VA_X, SIM_READ);
	cr_assert_eq(found.page_shift, 30);
	cr_assert_eq(found.pa, BASE + (VA_X & 0x3fffffff));
}

Test(sim_x86_64, an_absent_entry_faults_at_its_level)
{
	for (unsigned level = 0; level < 4; level++) {
		uint64_t va = VA_X + ((uint64_t)level << 40);

		set(entry_pa(va, level), PAGE_A); /* all but P */
		cr_assert_eq(walk(va, SIM_READ).fault, SIM_FAULT_NOT_PRESENT);
		cr_assert_eq(walk(va, SIM_READ).level, level);
	}
}

Test(sim_x86_64, reserved_bits_fault_and_are_called_malformed)
{
	struct sim_walk found;

	set(entry_pa(VA, 1), (BASE + 0x2000) | P | U | PS);
	found = walk(VA, SIM_READ);
	cr_assert_eq(found.fault, SIM_FAULT_RESERVED);
	cr_assert_not_null(found.malformed);
	set(entry_pa(VA_X, 3), BASE | P | U | PS);
	found = walk(VA_X, SIM_READ);
	cr_assert_eq(found.fault, SIM_FAULT_RESERVED);
	cr_assert_eq(found.level, 3);
}

Test(sim_x86_64, address_bits_above_the_machines_fault)
{
	struct sim_mmu mmu = { .nr_levels = 4, .page_shift = 12,
		.va_bits = 48, .pa_bits = 40, .hardware_ad = true };
	struct sim_walk_request request = { .root_pa = ROOT, .va = VA,
		.access = SIM_READ, .is_user = true };
	struct sim_walk found;

	set(entry_pa(VA, 0), (UINT64_C(1) << 40) | P | U);
	sim_walk_x86_64(&mmu, &request, &found);
	cr_assert_eq(found.fault, SIM_FAULT_RESERVED);
}

Test(sim_x86_64, a_table_outside_ram_is_told)
{
	set(entry_pa(VA, 2), UINT64_C(0x1000) | P | W | U);
	cr_assert_eq(walk(VA, SIM_READ).fault, SIM_FAULT_TABLE);
}

Test(sim_x86_64, addresses_are_canonical_or_fault)
{
	uint64_t high = UINT64_C(0xffff800000000000);

	cr_assert_eq(walk(UINT64_C(1) << 47, SIM_READ).fault,
	    SIM_FAULT_ADDRESS);
	cr_assert_eq(walk(high - 1, SIM_READ).fault, SIM_FAULT_ADDRESS);
	set(entry_pa(high, 0), PAGE_A | P | U);
	cr_assert_eq(walk(high, SIM_READ).pa, PAGE_A);
}

/* The SDM's rule, said another way: bit by bit over both entries. */
Test(sim_x86_64, rights_are_those_of_every_entry_on_the_way)
{
	for (unsigned bits = 0; bits < 64; bits++) {
		uint64_t table = ((bits & 1) != 0 ? W : 0) |
		    ((bits & 2) != 0 ? U : 0) | ((bits & 4) != 0 ? NX : 0);
		uint64_t page = ((bits & 8) != 0 ? W : 0) |
		    ((bits & 16) != 0 ? U : 0) | ((bits & 32) != 0 ? NX : 0);
		bool write = (bits & 9) == 9, user = (bits & 18) == 18;
		bool exec = (bits & 36) == 0;
		unsigned rights = SIM_READ | (write ? SIM_WRITE : 0) |
		    (exec ? SIM_EXEC : 0);
		uint64_t upper_pa = entry_pa(VA, 1);

		set(entry_pa(VA, 0), PAGE_A | P | page);
		set(upper_pa, (*word(upper_pa) & UINT64_C(0xfffffffff000)) |
		        P | table);
		cr_assert_eq(walk(VA, 0).rights[0], rights, "bits %u", bits);
		cr_assert_eq(walk(VA, 0).rights[1], user ? rights : 0,
		    "bits %u", bits);
		for (unsigned access = 1; access <= 4; access *= 2) {
			cr_assert_eq(walk(VA, access).fault,
			    user && (rights & access) != 0
			        ? SIM_FAULT_NONE
			        : SIM_FAULT_PERMISSION);
			cr_assert_eq(
			    walk_from(ROOT, VA, access, false).fault,
			    (rights & access) != 0 ? SIM_FAULT_NONE
			                           : SIM_FAULT_PERMISSION);
		}
		set(upper_pa, *word(upper_pa) | P | W | U);
	}
}

Test(sim_x86_64, a_read_sets_accessed_and_a_write_sets_dirty)
{
	map(VA, PAGE_A);
	cr_assert_eq(walk(VA, 0).fault, SIM_FAULT_NONE);
	cr_assert_eq(*word(entry_pa(VA, 0)), leaf(PAGE_A), "a probe wrote");
	cr_assert(!walk(VA, SIM_READ).is_accessed);
	for (unsigned level = 0; level < 4; level++)
		cr_assert((*word(entry_pa(VA, level)) & A) != 0);
	cr_assert((*word(entry_pa(VA, 0)) & D) == 0);
	cr_assert(walk(VA, SIM_WRITE).is_dirty);
	cr_assert((*word(entry_pa(VA, 0)) & D) != 0);
	cr_assert((*word(entry_pa(VA, 1)) & D) == 0, "a table got dirty");
}

Test(sim_x86_64, a_fault_sets_no_bits)
{
	set(entry_pa(VA, 0), PAGE_A | P | U);
	cr_assert_eq(walk(VA, SIM_WRITE).fault, SIM_FAULT_PERMISSION);
	cr_assert_eq(*word(entry_pa(VA, 0)), PAGE_A | P | U);
}

/* SDM 4.9.2, table 12-10: the entry's number is PAT, PCD, PWT. */
Test(sim_x86_64, the_type_of_memory_is_looked_up_in_the_pat)
{
	struct sim_mmu mmu = { .nr_levels = 4, .page_shift = 12, .va_bits = 48,
		.pa_bits = 52, .hardware_ad = true,
		.memory_types = UINT64_C(0x0706050401000706) };
	static const unsigned types[] = { 6, 7, 0, 1, 4, 5, 6, 7 };

	for (unsigned i = 0; i < 24; i++) {
		struct sim_walk_request request = { .root_pa = ROOT,
			.va = VA + ((uint64_t)i << 40), .is_probe = true };
		unsigned level = i / 8;
		uint64_t bits = (i & 1) << 3 | (i & 2) << 3;
		struct sim_walk found;

		bits |= (uint64_t)(i >> 2 & 1) << (level == 0 ? 7 : 12);
		bits |= level == 0 ? 0 : PS;
		set(entry_pa(request.va, level), BASE | P | U | bits);
		sim_walk_x86_64(&mmu, &request, &found);
		cr_assert_eq(found.fault, SIM_FAULT_NONE);
		cr_assert_eq(found.memory, types[i % 8], "%u", i);
	}
}

/* SDM 4.6.2: AD and WD of each key, for data, on pages of user mode. */
Test(sim_x86_64, keys_judge_data_of_user_pages)
{
	struct sim_walk_request request = { .root_pa = ROOT, .va = VA,
		.is_probe = true };
	struct sim_walk found;

	for (unsigned i = 0; i < 16 * 4 * 2 * 2 * 2 * 3; i++) {
		unsigned key = i % 16, pkru = i / 16 % 4;
		bool is_user = i / 64 % 2, is_user_page = i / 128 % 2;
		bool has_keys = i / 256 % 2, denied;
		unsigned access = 1u << i / 512;

		set(entry_pa(VA, 0), PAGE_A | P | W | (is_user_page ? U : 0) |
		        (uint64_t)key << 59);
		request.access = access;
		request.is_user = is_user;
		request.has_keys = has_keys;
		/* All but this key are denied, or allowed. */
		request.keys = (uint64_t)pkru << 2 * key |
		    (i / 16 % 2 ? 0 : ~(UINT64_C(3) << 2 * key) & UINT32_MAX);
		denied = has_keys && is_user_page &&
		    ((access == SIM_READ && (pkru & 1) != 0) ||
		        (access == SIM_WRITE && pkru != 0));
		denied = denied || (is_user && !is_user_page);
		sim_walk_x86_64(&(struct sim_mmu){ .nr_levels = 4,
		    .page_shift = 12, .va_bits = 48, .pa_bits = 52 },
		    &request, &found);
		cr_assert_eq(found.fault, denied ? SIM_FAULT_PERMISSION
		                                 : SIM_FAULT_NONE, "%u", i);
		cr_assert_eq(found.key, key);
	}
}

/* ---- the walker of aarch64 ----------------------------------------------- */

TestSuite(sim_aarch64, .init = boot_arm, .fini = sim_shutdown);

Test(sim_aarch64, a_walk_goes_through_four_levels)
{
	struct sim_walk found;

	set(entry_pa(VA, 0), PAGE_A | PAGE_ARM | RO | UXN | PXN);
	found = walk(VA + 0x123, SIM_READ);
	cr_assert_eq(found.fault, SIM_FAULT_NONE);
	cr_assert_eq(found.pa, PAGE_A + 0x123);
	cr_assert_eq(found.nr_entries, 4);
	cr_assert_eq(found.entry_pas[0], ROOT + (VA >> 39) * 8);
	cr_assert_null(found.malformed);
	cr_assert(!found.is_global);
}

Test(sim_aarch64, blocks_of_2m_and_1g_are_leaves)
{
	uint64_t block = (PAGE_ARM & ~UINT64_C(2)) | BASE;

	set(entry_pa(VA, 1), block);
	cr_assert_eq(walk(VA, SIM_READ).page_shift, 21);
	cr_assert_eq(walk(VA, SIM_READ).pa, BASE + (VA & 0x1fffff));
	set(entry_pa(VA_X, 2), block);
	cr_assert_eq(walk(VA_X, SIM_READ).page_shift, 30);
}

Test(sim_aarch64, granules_of_16k_and_64k_are_walked)
{
	struct sim_mmu mmu16 = { .nr_levels = 3, .page_shift = 14,
		.va_bits = 47, .pa_bits = 48, .hardware_ad = true };
	struct sim_mmu mmu64 = { .nr_levels = 3, .page_shift = 16,
		.va_bits = 48, .pa_bits = 48, .hardware_ad = true };
	uint64_t va = UINT64_C(0x0123456789ab);
	struct sim_walk_request request = { .root_pa = BASE, .va = va,
		.access = SIM_READ, .is_user = true, .is_probe = true };
	struct sim_walk found;

	set(BASE + (va >> 36 & 0x7ff) * 8, (BASE + 0x10000) | V);
	set(BASE + 0x10000 + (va >> 25 & 0x7ff) * 8, (BASE + 0x20000) | V);
	set(BASE + 0x20000 + (va >> 14 & 0x7ff) * 8,
	    (BASE + 0x4000) | PAGE_ARM);
	sim_walk_aarch64(&mmu16, &request, &found);
	cr_assert_eq(found.fault, SIM_FAULT_NONE);
	cr_assert_eq(found.pa, BASE + 0x4000 + (va & 0x3fff));
	memset(word(BASE), 0, 0x40000);
	set(BASE + (va >> 42 & 0x1fff) * 8, (BASE + 0x10000) | V);
	set(BASE + 0x10000 + (va >> 29 & 0x1fff) * 8,
	    BASE | (PAGE_ARM & ~UINT64_C(2)));
	sim_walk_aarch64(&mmu64, &request, &found);
	cr_assert_eq(found.page_shift, 29);
	cr_assert_eq(found.pa, BASE + (va & 0x1fffffff));
}

/* D8.2: the index at the top has no more bits than the address; 16K: one. */
Test(sim_aarch64, the_upper_half_is_walked)
{
	struct sim_mmu mmu4 = { .nr_levels = 4, .page_shift = 12,
		.va_bits = 48, .pa_bits = 48, .hardware_ad = true };
	struct sim_mmu mmu16 = { .nr_levels = 4, .page_shift = 14,
		.va_bits = 48, .pa_bits = 48, .hardware_ad = true };
	struct sim_mmu mmu64 = { .nr_levels = 3, .page_shift = 16,
		.va_bits = 52, .pa_bits = 48, .hardware_ad = true };
	struct sim_walk_request request = { .root_pa = BASE,
		.va = UINT64_C(0xffff800000000000), .access = SIM_READ,
		.is_probe = true, .is_upper = true };
	struct sim_walk found;

	sim_walk_aarch64(&mmu4, &request, &found);
	cr_assert_eq(found.fault, SIM_FAULT_NOT_PRESENT);
	cr_assert_eq(found.entry_pas[0], BASE + 256 * 8);
	sim_walk_aarch64(&mmu16, &request, &found);
	cr_assert_eq(found.fault, SIM_FAULT_NOT_PRESENT);
	cr_assert_eq(found.entry_pas[0], BASE + 8);
	request.va = UINT64_C(0xfffffc0000000000);
	sim_walk_aarch64(&mmu64, &request, &found);
	cr_assert_eq(found.fault, SIM_FAULT_NOT_PRESENT);
	cr_assert_eq(found.entry_pas[0], BASE + 1023 * 8);
	request.va = UINT64_C(0xfff0000000000000);
	sim_walk_aarch64(&mmu64, &request, &found);
	cr_assert_eq(found.fault, SIM_FAULT_NOT_PRESENT);
	cr_assert_eq(found.entry_pas[0], BASE);
	sim_walk_aarch64(&mmu4, &request, &found);
	cr_assert_eq(found.fault, SIM_FAULT_ADDRESS);
	request.va = UINT64_C(0x800000000000);
	sim_walk_aarch64(&mmu4, &request, &found);
	cr_assert_eq(found.fault, SIM_FAULT_ADDRESS);
	request.va = UINT64_C(0xffff800000000000);
	request.is_upper = false;
	sim_walk_aarch64(&mmu4, &request, &found);
	cr_assert_eq(found.fault, SIM_FAULT_ADDRESS);
}

/* ---- addresses of 52 bits, RAM at HIGH: bits 51, 49 and 46 ---------------- */

#define HIGH UINT64_C(0xa400000000000)

static void
boot_high(void)
{
	struct sim_config config = { .ram_bytes = (uint64_t)8 << 20,
		.base_pa = HIGH, .arch = SIM_ARCH_AARCH64,
		.wide_addresses = true };

	sim_boot(&config);
}

static struct sim_walk
walk_high(const struct sim_mmu *mmu, uint64_t va)
{
	struct sim_walk_request request = { .root_pa = HIGH, .va = va,
		.access = SIM_READ, .is_user = true, .is_probe = true };
	struct sim_walk found;

	sim_walk_aarch64(mmu, &request, &found);
	return found;
}

/* FEAT_LPA2: bits 49..12 in place, 51..50 (here 0b10) in 9..8. */
#define DS_HIGH (UINT64_C(0x2400000000000) | UINT64_C(0x200))
#define DS_PAGE (V | EL0 | AF | NG)

Test(sim_aarch64, lpa2_walks_five_levels_with_a_granule_of_4k)
{
	struct sim_mmu mmu = { .nr_levels = 5, .page_shift = 12,
		.va_bits = 52, .pa_bits = 52, .hardware_ad = true,
		.has_ds = true };
	uint64_t va = UINT64_C(0xdcba987654321);
	struct sim_walk found;

	boot_high();
	set(HIGH + 0xd * 8, DS_HIGH | 0x1000 | V);
	for (unsigned i = 1; i < 4; i++)
		set(HIGH + i * 0x1000 + (va >> (48 - 9 * i) & 511) * 8,
		    DS_HIGH | (i + 1) * 0x1000 | V);
	set(HIGH + 0x4000 + (va >> 12 & 511) * 8, DS_HIGH | 0x6000 | DS_PAGE);
	found = walk_high(&mmu, va);
	cr_assert_eq(found.fault, SIM_FAULT_NONE);
	cr_assert_eq(found.nr_entries, 5);
	cr_assert_eq(found.pa, HIGH + 0x6321);
	cr_assert_null(found.malformed);
	cr_assert_eq(walk_high(&mmu, UINT64_C(1) << 52).fault,
	    SIM_FAULT_ADDRESS);
	/* A block of 512 GiB, and none at the top. */
	set(HIGH + 0x1000 + (va >> 39 & 511) * 8,
	    UINT64_C(0x1304000000000) | UINT64_C(0x300) | (DS_PAGE & ~V) | 1);
	cr_assert_not_null(walk_high(&mmu, va).malformed, "bit 38");
	set(HIGH + 0x1000 + (va >> 39 & 511) * 8,
	    UINT64_C(0x1300000000000) | UINT64_C(0x300) | (DS_PAGE & ~V) | 1);
	found = walk_high(&mmu, va);
	cr_assert_eq(found.page_shift, 39);
	cr_assert_eq(found.pa, UINT64_C(0xd300000000000) +
	        va % (UINT64_C(1) << 39));
	set(HIGH + 0xd * 8, (DS_PAGE & ~V) | 1);
	cr_assert_eq(walk_high(&mmu, va).fault, SIM_FAULT_NOT_PRESENT);
}

Test(sim_aarch64, lpa2_has_32_entries_at_the_top_with_a_granule_of_16k)
{
	struct sim_mmu mmu = { .nr_levels = 4, .page_shift = 14,
		.va_bits = 52, .pa_bits = 52, .hardware_ad = true,
		.has_ds = true };
	uint64_t va = UINT64_C(0xfffffffffffff);
	struct sim_walk found;

	boot_high();
	set(HIGH + 31 * 8, DS_HIGH | 0x4000 | V);
	set(HIGH + 0x4000 + 2047 * 8, DS_HIGH | 0x8000 | V);
	set(HIGH + 0x8000 + 2047 * 8, DS_HIGH | 0xc000 | V);
	set(HIGH + 0xc000 + 2047 * 8,
	    UINT64_C(0x3ffffffffc300) | DS_PAGE);
	found = walk_high(&mmu, va);
	cr_assert_null(found.malformed);
	cr_assert_eq(found.fault, SIM_FAULT_NONE);
	cr_assert_eq(found.pa, va);
	set(HIGH + 0x4000 + 2047 * 8,
	    UINT64_C(0x3fff000000000) | UINT64_C(0x300) | (DS_PAGE & ~V) | 1);
	found = walk_high(&mmu, va);
	cr_assert_eq(found.page_shift, 36);
	cr_assert_eq(found.pa, va);
}

/* FEAT_LVA and FEAT_LPA: bits 51..48 (here 0xa) in 15..12. */
Test(sim_aarch64, lva_has_1024_entries_at_the_top_with_a_granule_of_64k)
{
	struct sim_mmu mmu = { .nr_levels = 3, .page_shift = 16,
		.va_bits = 52, .pa_bits = 52, .hardware_ad = true };
	uint64_t va = UINT64_C(0xfffffffffffff);
	uint64_t high = UINT64_C(0x400000000000) | 0xa000;
	struct sim_walk found;

	boot_high();
	set(HIGH + 1023 * 8, high | 0x10000 | V);
	set(HIGH + 0x10000 + 8191 * 8, high | 0x20000 | V);
	set(HIGH + 0x20000 + 8191 * 8,
	    UINT64_C(0xfffffffff000) | PAGE_ARM);
	found = walk_high(&mmu, va);
	cr_assert_eq(found.fault, SIM_FAULT_NONE);
	cr_assert_eq(found.pa, va);
	cr_assert_null(found.malformed);
	set(HIGH + 1023 * 8, UINT64_C(0xfc000000f000) | (PAGE_ARM & ~V) | 1);
	found = walk_high(&mmu, va);
	cr_assert_eq(found.page_shift, 42);
	cr_assert_eq(found.pa, va);
	mmu.pa_bits = 48;
	cr_assert_eq(walk_high(&mmu, va).fault, SIM_FAULT_NOT_PRESENT);
	set(HIGH + 1023 * 8, UINT64_C(0x00007000) | V);
	cr_assert_not_null(walk_high(&mmu, va).malformed, "15..12 are RES0");
}

/* A machine may have the format and not the width. */
Test(sim_aarch64, lpa2_faults_on_addresses_wider_than_the_machines)
{
	struct sim_mmu mmu = { .nr_levels = 5, .page_shift = 12,
		.va_bits = 52, .pa_bits = 48, .hardware_ad = true,
		.has_ds = true };

	boot_high();
	set(HIGH, UINT64_C(0x100) | V);
	cr_assert_eq(walk_high(&mmu, 0).fault, SIM_FAULT_ADDRESS_SIZE);
	set(HIGH, UINT64_C(0x1000000000000) | V);
	cr_assert_eq(walk_high(&mmu, 0).fault, SIM_FAULT_ADDRESS_SIZE);
	mmu.pa_bits = 52; /* it is not RAM, then */
	cr_assert_eq(walk_high(&mmu, 0).fault, SIM_FAULT_TABLE);
}

Test(sim_aarch64, a_top_table_above_48_bits_is_found_through_ttbr)
{
	cr_assert_eq(sim_root_of_ttbr(UINT64_C(0x0040000012345000)),
	    UINT64_C(0x12345000), "the tag");
	cr_assert_eq(sim_root_of_ttbr(UINT64_C(0xffff40001234502d)),
	    UINT64_C(0xb400012345000), "5..2, and CnP");
	cr_assert_eq(sim_root_of_ttbr(UINT64_C(0x000000001234507c)),
	    UINT64_C(0xf000012345040), "aligned to 64 bytes");
}

Test(sim_aarch64, kinds_a_level_does_not_have_are_not_present)
{
	struct sim_walk found;

	set(entry_pa(VA, 0), PAGE_A | (PAGE_ARM & ~UINT64_C(2)));
	found = walk(VA, SIM_READ);
	cr_assert_eq(found.fault, SIM_FAULT_NOT_PRESENT);
	cr_assert_not_null(found.malformed);
	set(entry_pa(VA_X, 3), (PAGE_ARM & ~UINT64_C(2)));
	found = walk(VA_X, SIM_READ);
	cr_assert_eq(found.fault, SIM_FAULT_NOT_PRESENT);
	cr_assert_eq(found.level, 3);
}

Test(sim_aarch64, what_no_correct_kernel_writes_is_called_malformed)
{
	static const uint64_t bad[] = { UINT64_C(1) << 48, UINT64_C(1) << 49 };

	for (unsigned i = 0; i < 2; i++) {
		set(entry_pa(VA, 0), PAGE_A | PAGE_ARM | bad[i]);
		cr_assert_not_null(walk(VA, 0).malformed);
	}
	set(entry_pa(VA, 0), PAGE_A | (PAGE_ARM & ~SH) | UINT64_C(0x100));
	cr_assert_not_null(walk(VA, 0).malformed, "shareability 01");
	set(entry_pa(VA_X, 1), (PAGE_ARM & ~UINT64_C(2)) | (BASE + 0x3000));
	cr_assert_not_null(walk(VA_X, 0).malformed, "unaligned block");
}

Test(sim_aarch64, addresses_wider_than_the_machines_fault)
{
	struct sim_mmu mmu = { .nr_levels = 4, .page_shift = 12,
		.va_bits = 48, .pa_bits = 40, .hardware_ad = true };
	struct sim_walk_request request = { .root_pa = ROOT, .va = VA,
		.access = SIM_READ, .is_user = true };
	struct sim_walk found;

	set(entry_pa(VA, 0), (UINT64_C(1) << 40) | PAGE_ARM);
	sim_walk_aarch64(&mmu, &request, &found);
	cr_assert_eq(found.fault, SIM_FAULT_ADDRESS_SIZE);
	cr_assert_eq(walk(UINT64_C(1) << 48, SIM_READ).fault,
	    SIM_FAULT_ADDRESS);
}

/* The tables of D8.4, by exhaustion: AP, XN and the tables' restrictions. */
Test(sim_aarch64, rights_follow_ap_and_xn)
{
	for (unsigned bits = 0; bits < 256; bits++) {
		bool el0 = (bits & 1) != 0, ro = (bits & 2) != 0;
		bool uxn = (bits & 4) != 0, pxn = (bits & 8) != 0;
		bool t_no_el0 = (bits & 16) != 0, t_ro = (bits & 32) != 0;
		bool t_uxn = (bits & 64) != 0, t_pxn = (bits & 128) != 0;
		bool user_data = el0 && !t_no_el0, writable = !ro && !t_ro;
		uint64_t upper_pa = entry_pa(VA, 2);
		unsigned kernel = SIM_READ, user = 0;

		kernel |= writable ? SIM_WRITE : 0;
		kernel |= !pxn && !t_pxn && !(user_data && writable) ? SIM_EXEC
		                                                     : 0;
		user |= user_data ? SIM_READ : 0;
		user |= user_data && writable ? SIM_WRITE : 0;
		user |= !uxn && !t_uxn ? SIM_EXEC : 0;
		set(entry_pa(VA, 0), PAGE_A | V | SH | AF | NG |
		        (el0 ? EL0 : 0) | (ro ? RO : 0) | (uxn ? UXN : 0) |
		        (pxn ? PXN : 0));
		set(upper_pa, (*word(upper_pa) & UINT64_C(0xfffffffff003)) |
		        (uint64_t)t_no_el0 << 61 | (uint64_t)t_ro << 62 |
		        (uint64_t)t_uxn << 60 | (uint64_t)t_pxn << 59);
		cr_assert_eq(walk(VA, 0).rights[0], kernel, "bits %u", bits);
		cr_assert_eq(walk(VA, 0).rights[1], user, "bits %u", bits);
	}
}

Test(sim_aarch64, the_hardware_sets_the_access_flag_and_clears_read_only)
{
	uint64_t clean = PAGE_A | (PAGE_ARM & ~AF) | RO | DBM | UXN | PXN;

	set(entry_pa(VA, 0), clean);
	cr_assert_eq(walk(VA, 0).fault, SIM_FAULT_NONE);
	cr_assert_eq(*word(entry_pa(VA, 0)), clean, "a probe wrote");
	cr_assert(!walk(VA, SIM_READ).is_dirty);
	cr_assert_eq(*word(entry_pa(VA, 0)), clean | AF);
	cr_assert(walk(VA, SIM_WRITE).is_dirty);
	cr_assert_eq(*word(entry_pa(VA, 0)), (clean | AF) & ~RO);
}

Test(sim_aarch64, without_hardware_help_flags_fault)
{
	uint64_t clean = PAGE_A | (PAGE_ARM & ~AF) | RO | DBM | UXN | PXN;

	boot(SIM_ARCH_AARCH64, 1, true);
	set(entry_pa(VA, 0), clean);
	cr_assert_eq(walk(VA, SIM_READ).fault, SIM_FAULT_ACCESS_FLAG);
	set(entry_pa(VA, 0), clean | AF);
	cr_assert_eq(walk(VA, SIM_READ).fault, SIM_FAULT_NONE);
	cr_assert_eq(walk(VA, SIM_WRITE).fault, SIM_FAULT_PERMISSION);
	cr_assert_eq(*word(entry_pa(VA, 0)), clean | AF);
}

Test(sim_aarch64, the_type_of_memory_is_looked_up_in_mair)
{
	struct sim_mmu mmu = { .nr_levels = 4, .page_shift = 12, .va_bits = 48,
		.pa_bits = 48, .hardware_ad = true,
		.memory_types = UINT64_C(0x8877665544332211) };

	for (unsigned i = 0; i < 24; i++) {
		struct sim_walk_request request = { .root_pa = ROOT,
			.va = VA + ((uint64_t)i << 40), .is_probe = true };
		uint64_t kind = i / 8 == 0 ? V : 1;
		struct sim_walk found;

		set(entry_pa(request.va, i / 8),
		    BASE | SH | AF | NG | kind | (i % 8) << 2);
		sim_walk_aarch64(&mmu, &request, &found);
		cr_assert_eq(found.fault, SIM_FAULT_NONE);
		cr_assert_eq(found.memory, 0x11 * (i % 8 + 1), "%u", i);
	}
}

Test(sim_aarch64, guarded_and_global_are_told)
{
	set(entry_pa(VA, 0), PAGE_A | PAGE_ARM | UINT64_C(1) << 50);
	cr_assert(walk(VA, 0).is_guarded);
	cr_assert(!walk(VA, 0).is_global);
	cr_assert_null(walk(VA, 0).malformed);
	set(entry_pa(VA, 0), PAGE_A | (PAGE_ARM & ~NG));
	cr_assert(!walk(VA, 0).is_guarded);
	cr_assert(walk(VA, 0).is_global);
}

/* POR_EL0: 1 read, 2 execute, 4 write, and their sums. */
Test(sim_aarch64, overlays_judge_what_programs_do)
{
	for (unsigned i = 0; i < 8 * 8 * 2 * 3; i++) {
		unsigned key = i % 8, allowed = i / 8 % 8;
		unsigned access = 1u << i / 128;
		unsigned bit = access == SIM_READ ? 1
		    : access == SIM_EXEC ? 2 : 4;
		struct sim_walk_request request = { .root_pa = ROOT, .va = VA,
			.access = access, .is_user = i / 64 % 2,
			.is_probe = true, .has_keys = true };
		bool is_denied = request.is_user && (allowed & bit) == 0;
		struct sim_walk found;

		/* EL1 does not execute what EL0 writes. */
		is_denied = is_denied ||
		    (!request.is_user && access == SIM_EXEC);
		request.keys = (uint64_t)allowed << 4 * key;
		set(entry_pa(VA, 0), PAGE_A | PAGE_ARM | (uint64_t)key << 60);
		sim_walk(&request, &found);
		cr_assert_eq(found.fault, is_denied ? SIM_FAULT_PERMISSION
		                                    : SIM_FAULT_NONE, "%u", i);
		cr_assert_eq(found.key, key);
	}
}
