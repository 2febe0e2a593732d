/* SPDX-License-Identifier: MIT
 *
 * tests/kernel/walk.c: ports/sim's walkers, which were written from the manuals,
 * on the tables of this machine: an instruction fetch is not done but looked up
 */
#include "machine.h"
#include "ports/sim/sim.h"
#include "ports/sim/walk.h"

struct sim_ram sim_ram;

bool
walk_allows(void *direct, uint64_t root_pa, uint64_t va, unsigned access)
{
	struct sim_walk_request request = { .root_pa = root_pa, .va = va,
		.access = access, .is_user = true, .is_probe = true };
	struct sim_mmu mmu = { .nr_levels = 4, .page_shift = 12, .va_bits = 48,
		.pa_bits = 48, .hardware_ad = false };
	struct sim_walk walk;

	sim_ram.ptr = (unsigned char *)direct;
	sim_ram.bytes = UINT64_C(1) << 46;
#ifdef __x86_64__
	mmu.pa_bits = 52;
	mmu.hardware_ad = true;
	sim_walk_x86_64(&mmu, &request, &walk);
#else
	sim_walk_aarch64(&mmu, &request, &walk);
#endif
	return walk.fault == SIM_FAULT_NONE;
}
