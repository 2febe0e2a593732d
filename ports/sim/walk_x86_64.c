/* SPDX-License-Identifier: MIT
 *
 * ports/sim/walk_x86_64.c: the page walk of an x86_64 processor
 *
 * WHAT    4-level and 5-level paging with CR0.WP = 1, EFER.NXE = 1, CR4.PGE =
 *         1, and no SMEP, SMAP or keys of supervisor pages. Level 0 is the page
 *         table (PTEs).
 * SOURCE  Intel SDM volume 3A: 4.5 (4-level and 5-level paging), tables 4-14
 *         to 4-20; 4.6 (access rights, protection keys); 4.8 (accessed and
 *         dirty flags); 4.9.2 (the PAT).
 */
#include "walk.h"

#include "sim.h"

/* Bits of an entry: SDM tables 4-15 to 4-20. */
#define E_PRESENT ((uint64_t)1 << 0)
#define E_WRITE ((uint64_t)1 << 1)
#define E_USER ((uint64_t)1 << 2)
#define E_WRITE_THROUGH ((uint64_t)1 << 3)
#define E_CACHE_DISABLE ((uint64_t)1 << 4)
#define E_ACCESSED ((uint64_t)1 << 5)
#define E_DIRTY ((uint64_t)1 << 6)
#define E_PAGE_SIZE ((uint64_t)1 << 7) /* above level 0 */
#define E_GLOBAL ((uint64_t)1 << 8)
#define E_PAT_4K ((uint64_t)1 << 7)     /* at level 0 */
#define E_PAT_LARGE ((uint64_t)1 << 12) /* above it */
#define E_NO_EXECUTE ((uint64_t)1 << 63)
#define E_ADDRESS (((uint64_t)1 << 52) - ((uint64_t)1 << 12))

#define INDEX_BITS 9u
#define PAGE_BITS 12u

static unsigned
shift_of_level(unsigned level)
{
	return PAGE_BITS + INDEX_BITS * level;
}

/* SDM 4.5.2: bits 63 to N-1 of a linear address are all the same. */
static bool
is_canonical(uint64_t va, unsigned va_bits)
{
	uint64_t upper = va >> (va_bits - 1);

	return upper == 0 || upper == UINT64_MAX >> (va_bits - 1);
}

static bool
is_leaf(uint64_t entry, unsigned level)
{
	return level == 0 || (level <= 2 && (entry & E_PAGE_SIZE) != 0);
}

/* SDM 4.5: what must be 0 in an entry that is present. */
static const char *
reserved_bits(uint64_t entry, unsigned level, unsigned pa_bits)
{
	uint64_t too_wide = E_ADDRESS & ~(((uint64_t)1 << pa_bits) - 1);
	uint64_t low = ((uint64_t)1 << shift_of_level(level)) - 1;

	if ((entry & too_wide) != 0)
		return "address bits above MAXPHYADDR";
	if (level > 2 && (entry & E_PAGE_SIZE) != 0)
		return "PS set above the page-directory-pointer table";
	/* Bit 12 of a large page is PAT. */
	if (level > 0 && is_leaf(entry, level) &&
	    (entry & low & E_ADDRESS & ~E_PAT_LARGE) != 0)
		return "a large page that is not aligned";
	return NULL;
}

/* SDM 4.6.1: the entries of the way are combined. */
static void
find_rights(struct sim_walk *out)
{
	uint64_t all = UINT64_MAX, any = 0;

	for (unsigned i = 0; i < out->nr_entries; i++) {
		all &= out->entries[i];
		any |= out->entries[i];
	}
	out->rights[0] = SIM_READ;
	if ((all & E_WRITE) != 0)
		out->rights[0] |= SIM_WRITE;
	if ((any & E_NO_EXECUTE) == 0)
		out->rights[0] |= SIM_EXEC;
	out->rights[1] = (all & E_USER) != 0 ? out->rights[0] : 0;
	out->is_keyed = (all & E_USER) != 0;
}

/* SDM 4.9.2: the PAT's entry number is PAT, PCD, PWT; an entry is a byte. */
static unsigned
memory_type(uint64_t pat, uint64_t entry, unsigned level)
{
	unsigned index = (entry & E_WRITE_THROUGH) != 0;

	if ((entry & E_CACHE_DISABLE) != 0)
		index += 2;
	if ((entry & (level == 0 ? E_PAT_4K : E_PAT_LARGE)) != 0)
		index += 4;
	return (unsigned)(pat >> index * 8 & 7);
}

/* SDM 4.6.2: bit 2i of PKRU denies data of key i, bit 2i + 1 writing it. */
unsigned
sim_keyed_rights_x86_64(const struct sim_walk_request *request, unsigned key,
    unsigned rights)
{
	uint64_t denials = request->keys >> 2 * key & 3;

	if (!request->has_keys)
		return rights;
	if ((denials & 1) != 0)
		rights &= ~(SIM_READ | SIM_WRITE);
	if ((denials & 2) != 0)
		rights &= ~SIM_WRITE;
	return rights;
}

/* What this access has of rights. */
static unsigned
rights_of(const struct sim_walk_request *request, const struct sim_walk *out)
{
	unsigned rights = out->rights[request->is_user];

	return out->is_keyed
	    ? sim_keyed_rights_x86_64(request, out->key, rights) : rights;
}

static void
describe_leaf(const struct sim_mmu *mmu,
    const struct sim_walk_request *request, unsigned level,
    struct sim_walk *out)
{
	uint64_t entry = out->entries[out->nr_entries - 1];
	uint64_t inside = ((uint64_t)1 << shift_of_level(level)) - 1;

	out->page_shift = shift_of_level(level);
	out->pa = (entry & E_ADDRESS & ~inside) | (request->va & inside);
	out->is_accessed = (entry & E_ACCESSED) != 0;
	out->is_dirty = (entry & E_DIRTY) != 0;
	out->is_global = (entry & E_GLOBAL) != 0;
	out->memory = memory_type(mmu->memory_types, entry, level);
	out->key = (unsigned)(entry >> 59 & 15);
	find_rights(out);
}

/* Follow the tables down. The result is in out->fault. */
static void
descend(const struct sim_mmu *mmu, const struct sim_walk_request *request,
    const struct sim_way *way, struct sim_walk *out)
{
	uint64_t table_pa = request->root_pa & E_ADDRESS;
	unsigned level = mmu->nr_levels;

	if (way != NULL)
		table_pa = sim_walk_resume(way, &level, out);
	while (level-- > 0) {
		uint64_t index = request->va >> shift_of_level(level) & 511;
		uint64_t entry_pa = table_pa + index * 8;
		uint64_t *ptr = sim_entry_ptr(entry_pa);
		uint64_t entry;

		out->level = level;
		if (ptr == NULL) {
			out->fault = SIM_FAULT_TABLE;
			out->malformed = "a table outside RAM";
			return;
		}
		entry = __atomic_load_n(ptr, __ATOMIC_ACQUIRE);
		out->entry_pas[out->nr_entries] = entry_pa;
		out->entries[out->nr_entries] = entry;
		out->fixed[out->nr_entries++] = 0;
		if ((entry & E_PRESENT) == 0) {
			out->fault = SIM_FAULT_NOT_PRESENT;
			return;
		}
		out->malformed = reserved_bits(entry, level, mmu->pa_bits);
		if (out->malformed != NULL) {
			out->fault = SIM_FAULT_RESERVED;
			return;
		}
		if (is_leaf(entry, level)) {
			describe_leaf(mmu, request, level, out);
			return;
		}
		table_pa = entry & E_ADDRESS;
	}
}

/* SDM 4.8. False: an entry changed under the walk, which starts again. */
static bool
set_accessed_and_dirty(const struct sim_walk_request *request,
    struct sim_walk *out)
{
	for (unsigned i = out->nr_cached; i < out->nr_entries; i++) {
		uint64_t entry = out->entries[i];
		uint64_t wanted = entry | E_ACCESSED;

		if (i + 1 == out->nr_entries && request->access == SIM_WRITE)
			wanted |= E_DIRTY;
		if (!sim_entry_update(out->entry_pas[i], entry, wanted))
			return false;
		out->entries[i] = wanted;
	}
	out->is_dirty =
	    (out->entries[out->nr_entries - 1] & E_DIRTY) != 0;
	return true;
}

void
sim_walk_x86_64_from(const struct sim_mmu *mmu,
    const struct sim_walk_request *request, const struct sim_way *way,
    struct sim_walk *out)
{
	do {
		*out = (struct sim_walk){ 0 };
		if (!is_canonical(request->va, mmu->va_bits)) {
			out->fault = SIM_FAULT_ADDRESS;
			return;
		}
		descend(mmu, request, way, out);
		if (out->fault != SIM_FAULT_NONE)
			return;
		if ((request->access & ~rights_of(request, out)) != 0) {
			out->fault = SIM_FAULT_PERMISSION;
			return;
		}
	} while (!request->is_probe && !set_accessed_and_dirty(request, out));
}

void
sim_walk_x86_64(const struct sim_mmu *mmu,
    const struct sim_walk_request *request, struct sim_walk *out)
{
	sim_walk_x86_64_from(mmu, request, NULL, out);
}
