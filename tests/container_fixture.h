/* SPDX-License-Identifier: MIT
 *
 * tests/container_fixture.h: a machine with physmem and nothing else
 */
#ifndef MMKIT_TESTS_CONTAINER_FIXTURE_H
#define MMKIT_TESTS_CONTAINER_FIXTURE_H

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "mmkit/phys/census.h"
#include "mmkit/phys/compact.h"
#include "mmkit/phys/physmem.h"
#include "mmkit/phys/pin.h"
#include "ports/sim/sim.h"

#define PAGE ((uint64_t)MMK_PAGE_BYTES)

/* Small structures out at most: a leak of any is found at the end. */
struct machine {
	struct mmk_phys phys;
	struct mmk_pins pins;
	struct mmk_handle_sys handles;
	struct mmk_control_tree tree;
	struct mmk_control root;
	struct mmk_physmem physmem;
	uint64_t nr_free_at_boot;
	uint64_t nr_items; /* of heap() */
	bool is_eager;
};

static struct machine t;

static inline void
ok(enum mmk_err err)
{
	cr_assert_eq(err, MMK_OK, "%s", mmk_err_name(err));
}

static inline void *
heap_alloc(void *ctx, size_t bytes)
{
	(void)ctx;
	__atomic_add_fetch(&t.nr_items, 1, __ATOMIC_RELAXED);
	return malloc(bytes);
}

static inline void
heap_free(void *ctx, void *item, size_t bytes)
{
	(void)ctx;
	(void)bytes;
	__atomic_sub_fetch(&t.nr_items, 1, __ATOMIC_RELAXED);
	free(item);
}

static inline void *
node_alloc(void *ctx)
{
	return heap_alloc(ctx, MMK_BTREE_NODE_BYTES);
}

static inline void
node_free(void *ctx, void *node)
{
	heap_free(ctx, node, MMK_BTREE_NODE_BYTES);
}

static inline void *
table_alloc(void *ctx)
{
	return heap_alloc(ctx, MMK_HANDLE_ITEM_BYTES);
}

static inline void
table_free(void *ctx, void *item)
{
	heap_free(ctx, item, MMK_HANDLE_ITEM_BYTES);
}

static const struct mmk_physmem_memory heap = { heap_alloc, heap_free, NULL };
static const struct mmk_btree_memory nodes = { node_alloc, node_free, NULL };
static const struct mmk_handle_memory tables = { table_alloc, table_free,
	NULL };

static inline uint64_t
nr_free(void)
{
	struct mmk_phys_stats stats;

	mmk_phys_stats_read(&t.phys, &stats);
	return stats.nr_free_pages;
}

static inline uint64_t
free_credit(struct mmk_control *control)
{
	struct mmk_control_stats stats;

	mmk_control_stats_read(control, &stats);
	return stats.nr_free_pages;
}

/* 8 MiB of RAM; the root guarantees nr_pages. */
static inline void
boot_with(uint64_t nr_pages, const struct mmk_physmem_plug *plug,
    bool is_eager)
{
	struct sim_config sim_config = {
		.ram_bytes = 8u << 20, .nr_cpus = 4, .arch = SIM_ARCH_X86_64
	};
	struct mmk_phys_config config;
	struct mmk_physmem_config physmem_config;

	memset(&t, 0, sizeof t);
	memset(&config, 0, sizeof config);
	sim_boot(&sim_config);
	config.spans = sim_spans(&config.nr_spans);
	ok(mmk_phys_init(&t.phys, &config));
	t.nr_free_at_boot = nr_free();
	mmk_pins_init(&t.pins, &t.phys, 1000);
	mmk_handle_sys_init(&t.handles, &tables);
	mmk_control_init_root(&t.tree, &t.root, nr_pages, NULL, &t.handles);
	memset(&physmem_config, 0, sizeof physmem_config);
	physmem_config.phys = &t.phys;
	physmem_config.pins = &t.pins;
	physmem_config.memory = &heap;
	physmem_config.nodes = &nodes;
	physmem_config.plug = plug;
	physmem_config.handles = &t.handles;
	physmem_config.max_pins = 4;
	physmem_config.is_eager = is_eager;
	mmk_physmem_init(&t.physmem, &physmem_config);
}

static inline void
boot(uint64_t nr_pages)
{
	boot_with(nr_pages, NULL, false);
}

/* Everything is destroyed: then nothing may be left. */
static inline void
end(void)
{
	cr_assert(mmk_control_check(&t.tree));
	mmk_physmem_fini(&t.physmem);
	mmk_control_fini_root(&t.tree);
	mmk_pins_fini(&t.pins);
	cr_assert_eq(t.nr_items, 0u, "%llu small structures leaked",
	    (unsigned long long)t.nr_items);
	cr_assert_eq(nr_free(), t.nr_free_at_boot, "frames leaked: %lld",
	    (long long)(t.nr_free_at_boot - nr_free()));
	cr_assert(mmk_phys_check(&t.phys));
	cr_assert_eq(sim_violations(), 0u, "%s", sim_violation_text());
	mmk_phys_fini(&t.phys);
	sim_shutdown();
}

static inline struct mmk_container *
container(struct mmk_control *control)
{
	struct mmk_container *x = NULL;

	ok(mmk_container_create(&t.physmem, control, &x));
	return x;
}

#endif /* MMKIT_TESTS_CONTAINER_FIXTURE_H */
