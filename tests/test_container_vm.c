/* SPDX-License-Identifier: MIT
 *
 * tests/test_container_vm.c: containers shown in address spaces. On both table
 * formats; each scenario ends with the audits of vm_end() and of physmem.
 */
#include "submap_fixture.h"

#include <pthread.h>
#include <stdlib.h>

static struct {
	struct mmk_pins pins;
	struct mmk_control_tree tree;
	struct mmk_control root;
	struct mmk_physmem_plug plug;
	struct mmk_physmem physmem;
	uint64_t nr_items;
} p;

static void *
item_alloc(void *ctx, size_t bytes)
{
	(void)ctx;
	__atomic_add_fetch(&p.nr_items, 1, __ATOMIC_RELAXED);
	return malloc(bytes);
}

static void
item_free(void *ctx, void *item, size_t bytes)
{
	(void)ctx;
	(void)bytes;
	__atomic_sub_fetch(&p.nr_items, 1, __ATOMIC_RELAXED);
	free(item);
}

static void *
node_alloc(void *ctx)
{
	return item_alloc(ctx, MMK_BTREE_NODE_BYTES);
}

static void
node_free(void *ctx, void *node)
{
	item_free(ctx, node, MMK_BTREE_NODE_BYTES);
}

static const struct mmk_physmem_memory items = { item_alloc, item_free, NULL };
static const struct mmk_btree_memory nodes = { node_alloc, node_free, NULL };

static void
physmem_begin(void)
{
	struct mmk_physmem_config config;

	memset(&p, 0, sizeof p);
	memset(&config, 0, sizeof config);
	mmk_pins_init(&p.pins, &t.phys, 1000);
	mmk_control_init_root(&p.tree, &p.root, 256, NULL, NULL);
	p.plug = mmk_container_plug(&t.sys);
	config.phys = &t.phys;
	config.pins = &p.pins;
	config.memory = &items;
	config.nodes = &nodes;
	config.plug = &p.plug;
	config.max_pins = 4;
	mmk_physmem_init(&p.physmem, &config);
}

/* Address spaces first: what they show of containers goes with them. */
static void
physmem_end(void)
{
	cr_assert(mmk_physmem_check(&p.physmem));
	for (unsigned i = 0; i < VM_SPACES; i++)
		if (t.is_live[i])
			vm_exit(i);
	mmk_physmem_fini(&p.physmem);
	mmk_control_fini_root(&p.tree);
	mmk_pins_fini(&p.pins);
	cr_assert_eq(p.nr_items, 0u);
}

/* Four pages at name 0, with 10, 11, 12, 13 in their first bytes. */
static struct mmk_container *
four_pages(struct mmk_control *control)
{
	struct mmk_container *x = NULL;

	cr_assert_eq(mmk_container_create(&p.physmem, control, &x), MMK_OK);
	cr_assert_eq(mmk_container_allocate(x, 0, 4 * PAGE, 0, NULL), MMK_OK);
	for (unsigned i = 0; i < 4; i++) {
		unsigned char byte = (unsigned char)(10 + i);

		cr_assert_eq(mmk_container_write(x, i * PAGE, &byte, 1),
		    MMK_OK);
	}
	return x;
}

static int
byte_of(struct mmk_container *x, uint64_t name)
{
	unsigned char byte = 0;

	cr_assert_eq(mmk_container_read(x, name, &byte, 1), MMK_OK);
	return byte;
}

static void
show(unsigned i, struct mmk_container *x, unsigned flags)
{
	struct mmk_object *object = NULL;

	cr_assert_eq(mmk_container_object_create(&t.vm, x, 0, 4, &object),
	    MMK_OK);
	vm_mmap(i, VA, 4, RW, flags | MMK_MAP_FIXED, object, 0);
	mmk_object_unref(object);
}

/* The same at the same address, through a sub-map. */
static void
show_in_submap(unsigned i, struct mmk_container *x)
{
	struct mmk_object *object = NULL, *submap = new_submap(8);

	cr_assert_eq(mmk_container_object_create(&t.vm, x, 0, 4, &object),
	    MMK_OK);
	put_inside(submap, 3, 4, RW, object, 0);
	mount(i, VA, 4, RW, submap, 3);
	mmk_object_unref(object);
	mmk_object_unref(submap);
}

static void
gone(struct mmk_container *x)
{
	cr_assert_eq(mmk_container_destroy(x), MMK_OK);
	mmk_container_unref(x);
}

static void
shared_body(void)
{
	struct mmk_container *x, *y = NULL;

	physmem_begin();
	x = four_pages(&p.root);
	show(0, x, MMK_MAP_SHARED);
	cr_assert_eq(vm_get(0, VA + PAGE), 11);
	vm_put(0, VA + PAGE, 21);
	cr_assert_eq(byte_of(x, PAGE), 21);

	/* A copy of it: the next write is copied, through the map as well. */
	cr_assert_eq(mmk_container_create(&p.physmem, &p.root, &y), MMK_OK);
	cr_assert_eq(mmk_container_copy(x, 0, y, 0, 4 * PAGE, MMK_COPY_COW, 0,
	    NULL), MMK_OK);
	cr_assert_eq(vm_get(0, VA + PAGE), 21);
	cr_assert_eq(vm_prot(0, VA + PAGE), MMK_PROT_READ);
	vm_put(0, VA + PAGE, 31);
	cr_assert_eq(byte_of(x, PAGE), 31);
	cr_assert_eq(byte_of(y, PAGE), 21);
	cr_assert_eq(p.physmem.counters.nr_copies, 1u);

	/* What is deallocated is not there any more; the rest is. */
	cr_assert_eq(mmk_container_deallocate(x, 2 * PAGE, PAGE, 0, NULL),
	    MMK_OK);
	cr_assert_eq(vm_access(0, VA + 2 * PAGE, MMK_PROT_READ),
	    MMK_ERR_NOSPACE);
	cr_assert_eq(vm_get(0, VA + 3 * PAGE), 13);
	gone(x);
	cr_assert_eq(vm_access(0, VA, MMK_PROT_READ), MMK_ERR_NOSPACE);
	gone(y);
	physmem_end();
}

Test(container_vm, a_map_shows_what_the_names_mean_now)
{
	vm_both(shared_body);
}

static void
x1_body(void)
{
	struct mmk_container *x;
	struct mmk_cpin *pin = NULL;
	mmk_pa pa = 0;

	physmem_begin();
	x = four_pages(&p.root);
	show(0, x, MMK_MAP_PRIVATE);
	cr_assert_eq(vm_get(0, VA), 10);
	cr_assert_eq(mmk_container_pin(x, 0, 100, &pin, &pa), MMK_OK);
	vm_fork(1, 0);
	vm_put(0, VA, 99);
	/* The device writes to where it was told. */
	*(unsigned char *)MMKIT_PHYS_TO_PTR(pa) = 77;
	cr_assert_eq(vm_get(0, VA), 99, "the writer has the copy");
	cr_assert_eq(byte_of(x, 0), 77, "the device's page is the pinner's");
	cr_assert_eq(vm_get(1, VA), 77);
	cr_assert(mmk_container_unpin(&p.physmem, pin));
	gone(x);
	physmem_end();
}

Test(container_vm, X1_a_pinned_page_stays_with_the_pinner_after_a_fork)
{
	vm_both(x1_body);
}

static void
x3_body(void)
{
	struct mmk_control child;
	struct mmk_control_stats stats;
	struct mmk_container *x;

	physmem_begin();
	vm_space(1);
	cr_assert_eq(mmk_control_split(&p.root, &child, 16), MMK_OK);
	x = four_pages(&child);
	show(0, x, MMK_MAP_SHARED);
	show_in_submap(1, x);
	cr_assert_eq(vm_get(0, VA), 10);
	vm_put(1, VA, 44);
	cr_assert_eq(vm_get(0, VA), 44);
	cr_assert_eq(vm_pa(0, VA), vm_pa(1, VA));
	cr_assert_eq(mmk_control_destroy(&child), MMK_OK);
	for (unsigned i = 0; i < 2; i++) {
		cr_assert_eq(vm_pa(i, VA), UINT64_MAX);
		cr_assert_eq(vm_access(i, VA, MMK_PROT_READ), MMK_ERR_NOSPACE);
	}
	mmk_control_stats_read(&p.root, &stats);
	cr_assert_eq(stats.nr_free_pages, 256u);
	mmk_control_unref(&child);
	mmk_container_unref(x);
	physmem_end();
}

Test(container_vm, X3_the_control_of_a_mapped_container_is_destroyed)
{
	vm_both(x3_body);
}

static void
x4_body(void)
{
	struct mmk_container *x;
	uint64_t nr_copies;

	physmem_begin();
	x = four_pages(&p.root);
	show(0, x, MMK_MAP_PRIVATE);
	vm_put(0, VA, 50); /* a page of the private layer from now on */
	cr_assert_eq(vm_get(0, VA + PAGE), 11);
	vm_fork(1, 0);
	nr_copies = vm_count(MMK_COUNT_PAGE_COPY) +
	    p.physmem.counters.nr_copies;
	cr_assert_eq(mmk_container_release(x, 0, 4 * PAGE), MMK_OK);
	for (unsigned i = 0; i < 2; i++) {
		cr_assert_eq(vm_get(i, VA), 50);
		cr_assert_eq(vm_get(i, VA + PAGE), 0, "released names");
	}
	cr_assert_eq(vm_count(MMK_COUNT_PAGE_COPY) +
	    p.physmem.counters.nr_copies, nr_copies);
	gone(x);
	physmem_end();
}

Test(container_vm, X4_what_is_released_is_not_taken_from_private_copies)
{
	vm_both(x4_body);
}

static void *
table_alloc(void *ctx)
{
	return item_alloc(ctx, MMK_HANDLE_ITEM_BYTES);
}

static void
table_free(void *ctx, void *item)
{
	item_free(ctx, item, MMK_HANDLE_ITEM_BYTES);
}

static const struct mmk_handle_memory tables = { table_alloc, table_free,
	NULL };

static void
weak_body(void)
{
	struct mmk_handle_sys sys;
	struct mmk_handles client, server;
	mmk_handle_name own, weak, readonly;
	struct mmk_container *x = NULL;
	struct mmk_object *object = NULL;

	physmem_begin();
	vm_space(1);
	mmk_handle_sys_init(&sys, &tables);
	p.physmem.config.handles = &sys;
	mmk_handles_init(&client, &sys, 8);
	mmk_handles_init(&server, &sys, 8);
	x = four_pages(&p.root);
	cr_assert_eq(mmk_handle_insert(&client, &x->target, MMK_RIGHT_ALL,
	    &own), MMK_OK);
	cr_assert_eq(mmk_physmem_lend(&client, own, &server,
	    MMK_RIGHT_READ | MMK_RIGHT_WRITE, &weak), MMK_OK);
	cr_assert_eq(mmk_physmem_lend(&client, own, &server, MMK_RIGHT_READ,
	    &readonly), MMK_OK);
	show(0, x, MMK_MAP_SHARED);
	cr_assert_eq(mmk_physmem_object_create(&t.vm, &server, weak, 0, 4,
	    &object), MMK_OK);
	vm_mmap(1, VA, 4, RW, MMK_MAP_SHARED | MMK_MAP_FIXED, object, 0);
	mmk_object_unref(object);
	cr_assert_eq(mmk_physmem_object_create(&t.vm, &server, readonly, 0, 4,
	    &object), MMK_OK);
	vm_mmap(1, VA + 8 * PAGE, 4, RW, MMK_MAP_SHARED | MMK_MAP_FIXED,
	    object, 0);
	mmk_object_unref(object);
	vm_put(1, VA, 88);
	cr_assert_eq(vm_get(0, VA), 88);
	cr_assert_eq(vm_get(1, VA + 8 * PAGE), 88);
	cr_assert_eq(vm_access(1, VA + 8 * PAGE, MMK_PROT_WRITE),
	    MMK_ERR_ACCESS);
	cr_assert_eq(mmk_physmem_revoke(&client, own), MMK_OK);
	cr_assert_eq(vm_access(1, VA, MMK_PROT_READ), MMK_ERR_NOSPACE);
	cr_assert_eq(vm_access(1, VA + 8 * PAGE, MMK_PROT_READ),
	    MMK_ERR_NOSPACE);
	cr_assert_eq(vm_get(0, VA), 88, "the owner asks again");
	vm_exit(1);
	gone(x);
	mmk_handles_fini(&server);
	mmk_handles_fini(&client);
	physmem_end();
}

Test(container_vm, S1_13_what_a_revoked_name_showed_is_shown_no_more)
{
	vm_both(weak_body);
}

/* ---- two CPUs ------------------------------------------------------------ */

#define NR_ROUNDS 1000u

static uint32_t nr_written;

static void *
writer(void *arg)
{
	(void)arg;
	sim_set_cpu(0);
	for (unsigned i = 0; i < NR_ROUNDS; i++) {
		unsigned n = 0;

		cr_assert_eq(sim_load(0, VA + PAGE, &n, sizeof n), 0);
		n++;
		cr_assert_eq(sim_store(0, VA + PAGE, &n, sizeof n), 0);
		__atomic_store_n(&nr_written, i + 1, __ATOMIC_RELEASE);
	}
	return NULL;
}

/* Copies are made and dropped: the writer's page is protected, copied, moved. */
static void *
copier(void *arg)
{
	struct mmk_container *x = arg, *y = NULL;
	uint32_t nr_seen = 0, nr_now = 0;

	sim_set_cpu(1);
	cr_assert_eq(mmk_container_create(&p.physmem, &p.root, &y), MMK_OK);
	for (; nr_now < NR_ROUNDS; nr_seen = nr_now) {
		do
			nr_now = __atomic_load_n(&nr_written,
			    __ATOMIC_ACQUIRE);
		while (nr_now == nr_seen);
		cr_assert_eq(mmk_container_copy(x, 0, y, 0, 4 * PAGE,
		    MMK_COPY_COW, MMK_CONTAINER_SQUASH, NULL), MMK_OK);
	}
	gone(y);
	return NULL;
}

static void
race_body(void)
{
	unsigned n = 0;
	struct mmk_container *x;
	pthread_t threads[2];

	physmem_begin();
	x = four_pages(&p.root);
	show(0, x, MMK_MAP_SHARED);
	vm_run(0, 0);
	/* Between removing and flushing, a stale translation may be used. */
	sim_forbid_stale_hits(false);
	nr_written = 0;
	cr_assert_eq(vm_store(0, VA + PAGE, &n, sizeof n), 0);
	cr_assert_eq(pthread_create(&threads[0], NULL, writer, NULL), 0);
	cr_assert_eq(pthread_create(&threads[1], NULL, copier, x), 0);
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
	sim_set_cpu(0);
	cr_assert_eq(mmk_container_read(x, PAGE, &n, sizeof n), MMK_OK);
	cr_assert_eq(n, NR_ROUNDS);
	gone(x);
	physmem_end();
}

Test(container_vm, no_write_is_lost_to_copies_on_another_CPU)
{
	vm_both(race_body);
}
