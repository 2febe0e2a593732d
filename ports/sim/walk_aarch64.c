/* SPDX-License-Identifier: MIT
 *
 * ports/sim/walk_aarch64.c: the translation table walk of an Arm processor
 *
 * WHAT    Stage 1 of the EL1&0 regime, VMSAv8-64 descriptors of 48-bit and of
 *         52-bit output addresses, granules of 4, 16 and 64 KiB, the low half
 *         (TTBR0_EL1) and the high one (TTBR1_EL1, T1SZ = T0SZ). Level 0 here
 *         is the manual's level 3. With hardware_ad TCR_EL1.HA and HD are 1,
 *         else both are 0. SCTLR_EL1.WXN is 0. With pa_bits of 52 TCR_EL1.IPS is
 *         0b110; has_ds is TCR_EL1.DS.
 * SOURCE  Arm ARM (DDI 0487) D8.2 (translation process), D8.3 (descriptor
 *         formats), D8.4 (memory access control), D8.5 (hardware updates of
 *         the access flag and dirty state), and the section on using
 *         break-before-make when updating translation table entries.
 */
#include "walk.h"

#include "sim.h"

/* Fields of a descriptor: D8.3. */
#define D_VALID ((uint64_t)1 << 0)
#define D_TABLE_OR_PAGE ((uint64_t)1 << 1)
#define D_MEMORY_INDEX ((uint64_t)7 << 2)
#define D_AP_EL0 ((uint64_t)1 << 6)       /* AP[1]: EL0 may use it */
#define D_AP_READ_ONLY ((uint64_t)1 << 7) /* AP[2] */
#define D_SHAREABILITY ((uint64_t)3 << 8)
#define D_SHAREABILITY_RESERVED ((uint64_t)1 << 8)
#define D_ACCESS_FLAG ((uint64_t)1 << 10)
#define D_NOT_GLOBAL ((uint64_t)1 << 11)
#define D_BLOCK_NT ((uint64_t)1 << 16)
#define D_RES0 ((uint64_t)3 << 48)
#define D_GUARDED ((uint64_t)1 << 50)
#define D_DIRTY_MODIFIER ((uint64_t)1 << 51)
#define D_CONTIGUOUS ((uint64_t)1 << 52)
#define D_PXN ((uint64_t)1 << 53)
#define D_UXN ((uint64_t)1 << 54)
#define D_TABLE_PXN ((uint64_t)1 << 59)
#define D_TABLE_UXN ((uint64_t)1 << 60)
#define D_TABLE_NO_EL0 ((uint64_t)1 << 61)
#define D_TABLE_READ_ONLY ((uint64_t)1 << 62)

/* Fields of three bits: AttrIndx, and with FEAT_S1POE POIndex. */
#define MEMORY_INDEX_BIT 2
#define OVERLAY_INDEX_BIT 60

/* The restrictions of the tables on the way: D8.4, hierarchical control. */
#define TABLE_RESTRICTIONS \
	(D_TABLE_PXN | D_TABLE_UXN | D_TABLE_NO_EL0 | D_TABLE_READ_ONLY)

static unsigned
shift_of_level(const struct sim_mmu *mmu, unsigned level)
{
	return mmu->page_shift + (mmu->page_shift - 3) * level;
}

/* Bits `last` to `first`. */
static uint64_t
bits(unsigned last, unsigned first)
{
	return ((uint64_t)2 << last) - ((uint64_t)1 << first);
}

/* The 64 KiB granule with TCR_EL1.IPS = 0b110. */
static bool
has_wide_64k(const struct sim_mmu *mmu)
{
	return mmu->page_shift == 16 && mmu->pa_bits > 48;
}

/* D8.3: which bits of a descriptor stand for themselves in its address. */
static uint64_t
address_in_place(const struct sim_mmu *mmu, unsigned shift)
{
	return bits(mmu->has_ds ? 49 : 47, shift);
}

/* And which are its bits 51:50 (DS = 1), or 51:48. */
static uint64_t
address_moved(const struct sim_mmu *mmu)
{
	if (mmu->has_ds)
		return bits(9, 8);
	return has_wide_64k(mmu) ? bits(15, 12) : 0;
}

/* D8.3: an output address, or that of the next level's table. */
static uint64_t
address_field(const struct sim_mmu *mmu, uint64_t descriptor, unsigned shift)
{
	uint64_t moved = descriptor & address_moved(mmu);
	unsigned distance = mmu->has_ds ? 50 - 8 : 48 - 12;

	return (descriptor & address_in_place(mmu, shift)) | moved << distance;
}

/*
 * D8.3: blocks of 1 GiB and 2 MiB (4K), 32 MiB (16K), 512 MiB (64K). With 52-bit
 * output addresses also of 512 GiB, 64 GiB, 4 TiB.
 */
static bool
may_be_block(const struct sim_mmu *mmu, unsigned level)
{
	bool is_wide = mmu->has_ds || has_wide_64k(mmu);

	return level == 1 || (level == 2 && (mmu->page_shift == 12 || is_wide)) ||
	    (level == 3 && mmu->page_shift == 12 && is_wide);
}

static bool
is_leaf(uint64_t descriptor, unsigned level)
{
	return level == 0 || (descriptor & D_TABLE_OR_PAGE) == 0;
}

/* Valid, but of a kind the level does not know: treated as invalid. */
static const char *
wrong_kind(const struct sim_mmu *mmu, uint64_t descriptor, unsigned level)
{
	if ((descriptor & D_TABLE_OR_PAGE) != 0)
		return NULL;
	if (level == 0)
		return "the reserved descriptor 0b01 at the last level";
	if (!may_be_block(mmu, level))
		return "a block at a level that has none";
	return NULL;
}

/* What the manual reserves without promising a fault. */
static const char *
reserved_bits(const struct sim_mmu *mmu, uint64_t descriptor, unsigned level)
{
	uint64_t below = descriptor &
	    address_in_place(mmu, mmu->page_shift) &
	    (((uint64_t)1 << shift_of_level(mmu, level)) - 1);

	if (!mmu->has_ds && (descriptor & D_RES0) != 0)
		return "bits 49:48 set without DS";
	if (mmu->page_shift == 16 && !has_wide_64k(mmu) &&
	    (descriptor & bits(15, 12)) != 0)
		return "bits 15:12 set with 48-bit addresses";
	if (!is_leaf(descriptor, level))
		return NULL;
	if (level > 0 && (below & ~D_BLOCK_NT) != 0)
		return "a block that is not aligned";
	if (!mmu->has_ds &&
	    (descriptor & D_SHAREABILITY) == D_SHAREABILITY_RESERVED)
		return "the reserved shareability 0b01";
	return NULL;
}

/* D8.4, direct and hierarchical permissions; `tables` is their union. */
static void
find_rights(const struct sim_mmu *mmu, uint64_t leaf, uint64_t tables,
    struct sim_walk *out)
{
	bool el0 =
	    (leaf & D_AP_EL0) != 0 && (tables & D_TABLE_NO_EL0) == 0;
	bool may_become_dirty =
	    mmu->hardware_ad && (leaf & D_DIRTY_MODIFIER) != 0;
	bool writable = (tables & D_TABLE_READ_ONLY) == 0 &&
	    ((leaf & D_AP_READ_ONLY) == 0 || may_become_dirty);
	bool el0_writable = el0 && writable;

	out->rights[0] = SIM_READ | (writable ? SIM_WRITE : 0);
	/* Memory that EL0 can write is never executable at EL1. */
	if ((leaf & D_PXN) == 0 && (tables & D_TABLE_PXN) == 0 &&
	    !el0_writable)
		out->rights[0] |= SIM_EXEC;
	out->rights[1] = el0 ? SIM_READ | (writable ? SIM_WRITE : 0) : 0;
	/* Execution at EL0 does not ask for the right to read. */
	if ((leaf & D_UXN) == 0 && (tables & D_TABLE_UXN) == 0)
		out->rights[1] |= SIM_EXEC;
}

/* What says of what kind memory is; with DS shareability is TCR_EL1's. */
static uint64_t
memory_bits(const struct sim_mmu *mmu)
{
	return D_MEMORY_INDEX | (mmu->has_ds ? 0 : D_SHAREABILITY);
}

/*
 * D8.4, permission overlays: a field of 4 bits in POR_EL0 for each index, which
 * takes from what EL0 may do. Permission indirection (FEAT_S1PIE) is off.
 */
unsigned
sim_keyed_rights_aarch64(const struct sim_walk_request *request, unsigned key,
    unsigned rights)
{
	static const unsigned allowed[16] = { 0, SIM_READ, SIM_EXEC,
		SIM_READ | SIM_EXEC, SIM_WRITE, SIM_READ | SIM_WRITE,
		SIM_WRITE | SIM_EXEC, SIM_READ | SIM_WRITE | SIM_EXEC };

	if (!request->has_keys || !request->is_user)
		return rights;
	return rights & allowed[request->keys >> 4 * key & 15];
}

static void
describe_leaf(const struct sim_mmu *mmu,
    const struct sim_walk_request *request, uint64_t tables,
    struct sim_walk *out)
{
	uint64_t leaf = out->entries[out->nr_entries - 1];

	out->page_shift = shift_of_level(mmu, out->level);
	out->pa = address_field(mmu, leaf, out->page_shift) |
	    (request->va & (((uint64_t)1 << out->page_shift) - 1));
	out->is_accessed = (leaf & D_ACCESS_FLAG) != 0;
	out->is_dirty = (leaf & D_AP_READ_ONLY) == 0;
	out->is_global = (leaf & D_NOT_GLOBAL) == 0;
	out->memory = (unsigned)(mmu->memory_types >>
	    (leaf >> MEMORY_INDEX_BIT & 7) * 8 & 0xff);
	out->is_guarded = (leaf & D_GUARDED) != 0;
	out->is_keyed = true;
	out->key = (unsigned)(leaf >> OVERLAY_INDEX_BIT & 7);
	find_rights(mmu, leaf, tables, out);
}

/* Break-before-make: what may only change through an invalid descriptor. */
static uint64_t
fixed_bits(const struct sim_mmu *mmu, uint64_t descriptor, unsigned level)
{
	uint64_t mask = address_in_place(mmu, mmu->page_shift) |
	    address_moved(mmu) | D_VALID | D_TABLE_OR_PAGE;

	if (is_leaf(descriptor, level))
		mask |= memory_bits(mmu) | D_NOT_GLOBAL | D_CONTIGUOUS;
	return descriptor & mask;
}

/* D8.7, the Contiguous bit: 16 pages of 4K, 128 of 16K, 32 of 64K. */
static unsigned
group_shift(const struct sim_mmu *mmu)
{
	return mmu->page_shift == 12 ? 4 : mmu->page_shift == 14 ? 7 : 5;
}

/*
 * The last descriptor read is one of a group: one translation of the group's
 * size may be made of it alone. Those that are valid must agree with it; the
 * hardware may have noted a store in any. The bit is a hint: blocks are taken
 * one by one, and a machine so old that it has no hardware_ad takes pages so.
 */
static void
describe_group(const struct sim_mmu *mmu, struct sim_walk *out)
{
	uint64_t leaf_pa = out->entry_pas[out->nr_entries - 1];
	uint64_t leaf = out->entries[out->nr_entries - 1];
	uint64_t nr = (uint64_t)1 << group_shift(mmu);
	uint64_t first_pa = leaf_pa & ~(nr * 8 - 1);
	uint64_t base_pa = address_field(mmu, leaf, mmu->page_shift) -
	    (((leaf_pa - first_pa) / 8) << mmu->page_shift);

	if (mmu->hardware_ad)
		out->page_shift += group_shift(mmu);
	if ((base_pa & ((nr << mmu->page_shift) - 1)) != 0)
		out->malformed = "a contiguous group that is not aligned";
	for (uint64_t i = 0; i < nr; i++) {
		uint64_t other = __atomic_load_n(
		    sim_entry_ptr(first_pa + i * 8), __ATOMIC_ACQUIRE);
		uint64_t same = D_CONTIGUOUS | D_NOT_GLOBAL |
		    memory_bits(mmu);

		if ((other & D_VALID) == 0)
			continue;
		if (((other ^ leaf) & same) != 0 ||
		    address_field(mmu, other, mmu->page_shift) !=
		        base_pa + (i << mmu->page_shift))
			out->malformed =
			    "a contiguous group whose entries differ";
		if ((other & D_AP_READ_ONLY) == 0)
			out->is_dirty = true;
	}
}

/* Read the descriptor of one level into `out`; false: the walk ends here. */
static bool
read_level(const struct sim_mmu *mmu, uint64_t entry_pa, struct sim_walk *out)
{
	uint64_t *ptr = sim_entry_ptr(entry_pa);
	uint64_t descriptor;

	if (ptr == NULL) {
		out->fault = SIM_FAULT_TABLE;
		out->malformed = "a table outside RAM";
		return false;
	}
	descriptor = __atomic_load_n(ptr, __ATOMIC_ACQUIRE);
	out->entry_pas[out->nr_entries] = entry_pa;
	out->entries[out->nr_entries] = descriptor;
	out->fixed[out->nr_entries++] =
	    fixed_bits(mmu, descriptor, out->level);
	if ((descriptor & D_VALID) == 0) {
		out->fault = SIM_FAULT_NOT_PRESENT;
		return false;
	}
	out->malformed = wrong_kind(mmu, descriptor, out->level);
	if (out->malformed != NULL) {
		out->fault = SIM_FAULT_NOT_PRESENT;
		return false;
	}
	out->malformed = reserved_bits(mmu, descriptor, out->level);
	if (address_field(mmu, descriptor, mmu->page_shift) >> mmu->pa_bits !=
	    0) {
		out->fault = SIM_FAULT_ADDRESS_SIZE;
		return false;
	}
	return true;
}

/* TTBR0_EL1, where a top table is aligned to 64 bytes at least: bits 47:6 stand
 * for themselves, and 5:2 are bits 51:48, or 0. */
uint64_t
sim_root_of_ttbr(uint64_t ttbr)
{
	return (ttbr & bits(47, 6)) | (ttbr & bits(5, 2)) << (48 - 2);
}

/* Follow the tables down. The result is in out->fault. */
static void
descend(const struct sim_mmu *mmu, const struct sim_walk_request *request,
    const struct sim_way *way, struct sim_walk *out)
{
	uint64_t table_pa = request->root_pa;
	uint64_t index_mask = ((uint64_t)1 << (mmu->page_shift - 3)) - 1;
	/* D8.2: the initial level resolves bits up to 63 - TnSZ. */
	uint64_t va = request->va & bits(mmu->va_bits - 1, 0);
	uint64_t tables = 0;
	const char *malformed = NULL;
	unsigned level = mmu->nr_levels;

	if (way != NULL)
		table_pa = sim_walk_resume(way, &level, out);
	for (unsigned i = 0; i < out->nr_entries; i++)
		tables |= out->entries[i] & TABLE_RESTRICTIONS;
	while (level-- > 0) {
		uint64_t index =
		    va >> shift_of_level(mmu, level) & index_mask;
		uint64_t entry;

		out->level = level;
		if (!read_level(mmu, table_pa + index * 8, out))
			return;
		if (malformed == NULL)
			malformed = out->malformed;
		entry = out->entries[out->nr_entries - 1];
		if (is_leaf(entry, level)) {
			describe_leaf(mmu, request, tables, out);
			if (level == 0 && (entry & D_CONTIGUOUS) != 0)
				describe_group(mmu, out);
			if (malformed == NULL)
				malformed = out->malformed;
			break;
		}
		tables |= entry & TABLE_RESTRICTIONS;
		table_pa = address_field(mmu, entry, mmu->page_shift);
	}
	out->malformed = malformed;
}

/* D8.5. False: the descriptor changed under the walk, which starts again. */
static bool
set_accessed_and_dirty(const struct sim_walk_request *request,
    struct sim_walk *out)
{
	unsigned last = out->nr_entries - 1;
	uint64_t entry = out->entries[last];
	uint64_t wanted = entry | D_ACCESS_FLAG;

	if (request->access == SIM_WRITE)
		wanted &= ~D_AP_READ_ONLY;
	if (!sim_entry_update(out->entry_pas[last], entry, wanted))
		return false;
	out->entries[last] = wanted;
	out->is_dirty = (wanted & D_AP_READ_ONLY) == 0;
	return true;
}

void
sim_walk_aarch64_from(const struct sim_mmu *mmu,
    const struct sim_walk_request *request, const struct sim_way *way,
    struct sim_walk *out)
{
	do {
		*out = (struct sim_walk){ 0 };
		if (request->va >> mmu->va_bits !=
		    (request->is_upper ? UINT64_MAX >> mmu->va_bits : 0)) {
			out->fault = SIM_FAULT_ADDRESS;
			return;
		}
		descend(mmu, request, way, out);
		if (out->fault != SIM_FAULT_NONE)
			return;
		/* The access flag is looked at before permissions. */
		if (!mmu->hardware_ad && !out->is_accessed) {
			out->fault = SIM_FAULT_ACCESS_FLAG;
			return;
		}
		if ((request->access &
		        ~sim_keyed_rights_aarch64(request, out->key,
		            out->rights[request->is_user])) != 0) {
			out->fault = SIM_FAULT_PERMISSION;
			return;
		}
	} while (mmu->hardware_ad && !request->is_probe &&
	    !set_accessed_and_dirty(request, out));
}

void
sim_walk_aarch64(const struct sim_mmu *mmu,
    const struct sim_walk_request *request, struct sim_walk *out)
{
	sim_walk_aarch64_from(mmu, request, NULL, out);
}
