/* SPDX-License-Identifier: MIT
 *
 * tests/frame_fixture.h: frames of a simulated machine, for tests of phys/
 */
#ifndef MMKIT_TESTS_FRAME_FIXTURE_H
#define MMKIT_TESTS_FRAME_FIXTURE_H

#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "mmkit/phys/census.h"
#include "ports/sim/sim.h"
#include "prop.h"

#define MIB ((uint64_t)1 << 20)
#define NR_CPUS 4u
#define ORDER_2M (21u - MMK_PAGE_SHIFT)

static struct mmk_phys phys;

static inline void
boot_spans(uint64_t ram_bytes, const struct mmk_phys_span *spans,
    size_t nr_spans, uint64_t low_limit_pa)
{
	struct sim_config machine = { .ram_bytes = ram_bytes,
		.spans = spans, .nr_spans = nr_spans, .nr_cpus = NR_CPUS };
	struct mmk_phys_config config = { .low_limit_pa = low_limit_pa };

	sim_boot(&machine);
	sim_set_cpu(0);
	config.spans = sim_spans(&config.nr_spans);
	cr_assert_eq(mmk_phys_init(&phys, &config), MMK_OK);
	cr_assert(mmk_phys_check(&phys));
}

static inline void
boot(void)
{
	boot_spans(16 * MIB, NULL, 0, 0);
}

static inline struct mmk_phys_stats
stats(void)
{
	struct mmk_phys_stats s;

	mmk_phys_stats_read(&phys, &s);
	return s;
}

/* Nothing is held but the metadata. */
static inline void
fini(void)
{
	sim_fail_at(0);
	cr_assert(mmk_phys_check(&phys));
	cr_assert_eq(stats().nr_pages,
	    stats().nr_free_pages + stats().nr_used_pages[MMK_USE_META],
	    "something is still held");
	mmk_phys_fini(&phys);
	sim_shutdown();
}

static inline struct mmk_frame *
get(unsigned order, unsigned flags)
{
	struct mmk_frame *frame = NULL;

	cr_assert_eq(mmk_frame_alloc(&phys, order, flags, MMK_USE_KERNEL,
	                 &frame),
	    MMK_OK);
	return frame;
}

static inline void
put(struct mmk_frame *frame)
{
	cr_assert_eq(mmk_frame_unref(&phys, frame), 0);
}

/* All of RAM, as a chain through next. */
static inline struct mmk_frame *
take_all(unsigned order, uint64_t *nr_out)
{
	struct mmk_frame *chain = NULL, *frame = NULL;

	*nr_out = 0;
	while (mmk_frame_alloc(&phys, order, 0, MMK_USE_KERNEL, &frame) ==
	    MMK_OK) {
		frame->owner = chain;
		chain = frame;
		++*nr_out;
	}
	return chain;
}

static inline void
put_all(struct mmk_frame *chain)
{
	while (chain != NULL) {
		struct mmk_frame *next = chain->owner;

		put(chain);
		chain = next;
	}
}

#endif
