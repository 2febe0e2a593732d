/* SPDX-License-Identifier: MIT
 *
 * tests/test_rights.c: what a program may do at an address, and what the kernel,
 * for every combination of rights; on a real MMU (tests/kernel) loads, stores and
 * fetches are instructions in user mode, and in the kernel's
 */
#include "pmap_fixture.h"

#define NR_RIGHTS 8u /* R, W and X, or not */

static struct mmk_frame *page;

/* An instruction that returns to its caller: the kernel may execute it too. */
static void
write_code(void)
{
	uint32_t code = is_arm() ? 0xd65f03c0u : 0xc3u;

	memcpy(mmk_frame_ptr(&phys, page), &code, sizeof code);
}

static bool is_user_mode;

static void
set_mode(bool is_user)
{
	is_user_mode = is_user;
	sim_cpu_set_user(0, is_user);
}

static int
mend_as_is(void *ctx, unsigned cpu, uint64_t va, unsigned access)
{
	(void)ctx, (void)cpu;
	return mmk_pmap_emulate(&pmaps[0], va,
	           access | (is_user_mode ? U : 0)) ? 0 : SIM_FAULT;
}

static void
begin(const struct sim_config *format)
{
	boot(format);
	sim_on_fault(mend_as_is, NULL);
	cr_assert_eq(mmk_frame_alloc(&phys, 0, 0, MMK_USE_KERNEL, &page),
	    MMK_OK);
	write_code();
	mmk_pmap_activate(&pmaps[0], 0);
}

static void
end(void)
{
	set_mode(true);
	mmk_pmap_remove(&pmaps[0], 0, mmk_pt_va_limit(&sys.shape), &gather);
	mmk_gather_finish(&gather);
	(void)mmk_frame_unref(&phys, page);
	halt();
}

static void
map_at(mmk_va va, unsigned flags)
{
	cr_assert_eq(mmk_pmap_enter(&pmaps[0], va, mmk_frame_pa(&phys, page),
	                 flags),
	    MMK_OK);
}

static unsigned
granted(mmk_va va)
{
	struct mmk_translation at;

	return mmk_pmap_query(&pmaps[0], va, &at) ? at.flags & (RWU | X) : 0;
}

/* Which accesses succeed, as MMK_PROT_*. */
static unsigned
possible(mmk_va va, bool is_user)
{
	unsigned char text[4];
	uint64_t word = 0;
	unsigned rights = 0, other = 0;

	set_mode(is_user);
	rights |= sim_load(0, va + 64, &word, sizeof word) == 0 ? R : 0;
	rights |= sim_store(0, va + 64, &word, sizeof word) == 0 ? W : 0;
	rights |= sim_fetch(0, va, text, sizeof text) == 0 ? X : 0;
	/* Not words: another way through the machine. */
	other |= sim_load(0, va + 71, text, 3) == 0 ? R : 0;
	other |= sim_store(0, va + 71, text, 3) == 0 ? W : 0;
	cr_assert_eq(other, rights & (R | W));
	return rights;
}

static void
look(mmk_va va)
{
	unsigned flags = granted(va), rights = flags & (R | W | X);
	bool is_user = (flags & U) != 0;

	cr_assert_eq(possible(va, true), (is_user ? rights : 0),
	    "a program at a page with %x", flags);
	if (!is_user)
		cr_assert_eq(possible(va, false), rights,
		    "the kernel at a page with %x", flags);
}

static void
every_right(const struct sim_config *format)
{
	begin(format);
	for (unsigned i = 1; i < NR_RIGHTS; i++)
		for (unsigned user = 0; user < 2; user++) {
			unsigned flags = i | (user != 0 ? U : 0);
			mmk_va va = VA + (i * 2 + user) * PAGE;

			map_at(va, flags);
			cr_assert_eq(granted(va) & flags, flags);
			look(va);
			look(va);
			look(va + 32 * PAGE);
		}
	end();
}

Test(rights, are_what_the_tables_say)
{
	for (unsigned i = 0; i < NR_FORMATS; i++)
		every_right(&formats[i]);
}

/* At one address, from each combination to each other: nothing stays behind. */
static void
every_change(const struct sim_config *format)
{
	begin(format);
	for (unsigned from = 1; from < 2 * NR_RIGHTS; from++)
		for (unsigned to = 1; to < 2 * NR_RIGHTS; to++) {
			if (from == NR_RIGHTS || to == NR_RIGHTS)
				continue;
			map_at(VA, from % NR_RIGHTS | (from > NR_RIGHTS ? U : 0));
			look(VA);
			map_at(VA, to % NR_RIGHTS | (to > NR_RIGHTS ? U : 0));
			look(VA);
			mmk_pmap_protect(&pmaps[0], VA, VA + PAGE, from % NR_RIGHTS,
			    &gather);
			mmk_gather_finish(&gather);
			look(VA);
		}
	end();
}

Test(rights, follow_every_change)
{
	for (unsigned i = 0; i < NR_FORMATS; i++)
		every_change(&formats[i]);
}

/* SMEP, or UXN and PXN: what is a program's, the kernel does not execute. */
static void
kernel_stays_out(const struct sim_config *format)
{
	unsigned char text[4];

	begin(format);
	for (unsigned i = 1; i < NR_RIGHTS; i++) {
		mmk_va va = VA + i * PAGE;

		map_at(va, i | U);
#ifndef SIM_ARCH_HERE
		if (!is_arm()) /* the simulated one has no SMEP */
			continue;
#endif
		look(va);
		set_mode(false);
		cr_assert_neq(sim_fetch(0, va, text, sizeof text), 0,
		    "page with %x", i);
	}
	end();
}

Test(rights, kernel_executes_nothing_of_a_programs)
{
	for (unsigned i = 0; i < NR_FORMATS; i++)
		kernel_stays_out(&formats[i]);
}
