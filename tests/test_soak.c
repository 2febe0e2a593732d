/* SPDX-License-Identifier: MIT
 *
 * tests/test_soak.c: every floor at once, on every CPU, in one small memory
 *
 * WHAT    Each thread is a CPU with an address space, a control, containers,
 *         frames, small objects and ranges of its own; they compete for the
 *         same frames, locks and translations. Whatever a thread has written it
 *         finds again, while compaction moves it, pins hold it and other CPUs
 *         revoke names. From time to time all meet, and one audits every
 *         structure; at the end everything is taken down, and nothing is left.
 *
 *         MMK_TEST_SCALE, in percent, makes it longer: 10000 is a soak of a
 *         minute or two.
 */
#include "prop.h"
#include "vm_fixture.h"

#include <pthread.h>

#define CPUS 4u
#define BOX_PAGES 12u
#define KEPT 8u
#define SPACE_PAGES 16u
#define ROOT_PAGES 1024u
#define OWN_CREDIT 64u
#define ITEM_BYTES 104u
#define GRANULE ((uint64_t)0x4000)

/* A word of its owner's in every page, frame or item. 0: there is none. */
struct box {
	mmk_handle_name name;
	uint64_t words[BOX_PAGES]; /* what each page shows */
	bool is_there[BOX_PAGES];
};

/* One thread. Everything but `lent` is its own. */
struct life {
	unsigned cpu;
	uint64_t state;
	struct mmk_space *running; /* its own space, or a child of it */
	struct mmk_space child;
	struct mmk_handles table;
	mmk_handle_name control;
	struct box boxes[2];
	struct mmk_frame *frames[KEPT];
	uint64_t frame_words[KEPT];
	uint64_t *items[KEPT];
	uint64_t item_words[KEPT];
	uint64_t ranges[KEPT];
	uint64_t pages[SPACE_PAGES]; /* of its space, from VA */
	mmk_handle_name lent;        /* [a] in everybody's table; 0: none */
};

/* What they share. */
static struct {
	struct mmk_pins pins;
	struct mmk_handle_sys handles;
	struct mmk_control_tree tree;
	struct mmk_control_plug plug;
	struct mmk_physmem_plug revoke;
	struct mmk_control root;
	struct mmk_physmem physmem;
	struct mmk_pool pool, range_pool;
	struct mmk_range_reserve reserve;
	struct mmk_ranges ranges;
	struct mmk_handles everybody;
	pthread_barrier_t barrier;
	uint64_t nr_items; /* [a] of malloc */
	uint64_t now_ns;   /* [a] */
	uint64_t seed;
	uint64_t nr_refused; /* [a] operations that had no memory */
} s;

static struct life lives[CPUS];

#define CHECK(life, cond)                                             \
	cr_assert(cond, "MMK_SEED=%llu cpu %u: " #cond,               \
	    (unsigned long long)s.seed, (life)->cpu)

/* ---- memory for the small structures ------------------------------------- */

static void *
heap_alloc(void *ctx, size_t bytes)
{
	(void)ctx;
	__atomic_add_fetch(&s.nr_items, 1, __ATOMIC_RELAXED);
	return malloc(bytes);
}

static void
heap_free(void *ctx, void *item, size_t bytes)
{
	(void)ctx;
	(void)bytes;
	__atomic_sub_fetch(&s.nr_items, 1, __ATOMIC_RELAXED);
	free(item);
}

static void *
node_alloc(void *ctx)
{
	return heap_alloc(ctx, MMK_BTREE_NODE_BYTES);
}

static void *
table_alloc(void *ctx)
{
	return heap_alloc(ctx, MMK_HANDLE_ITEM_BYTES);
}

static void
item_free(void *ctx, void *item)
{
	heap_free(ctx, item, 0);
}

static void *
descriptor_alloc(void *ctx)
{
	return mmk_pool_alloc(ctx);
}

static void
descriptor_free(void *ctx, void *descriptor)
{
	mmk_pool_free(ctx, descriptor);
}

static const struct mmk_physmem_memory heap = { heap_alloc, heap_free, NULL };
static const struct mmk_btree_memory nodes = { node_alloc, item_free, NULL };
static const struct mmk_handle_memory tables = { table_alloc, item_free,
	NULL };

/* ---- what may fail, and did not happen then ------------------------------- */

/* True: it happened. Memory may be short, or a frame in another's hands. */
static bool
happened(struct life *life, enum mmk_err err)
{
	if (err == MMK_OK)
		return true;
	CHECK(life, err == MMK_ERR_NOMEM || err == MMK_ERR_AGAIN ||
	    err == MMK_ERR_BUSY || err == MMK_ERR_LIMIT ||
	    err == MMK_ERR_NOSPACE);
	__atomic_add_fetch(&s.nr_refused, 1, __ATOMIC_RELAXED);
	return false;
}

static uint64_t
pick(struct life *life, uint64_t n)
{
	return mmk_test_random(&life->state) % n;
}

/* ---- address spaces -------------------------------------------------------- */

static int
on_fault(void *ctx, unsigned cpu, uint64_t va, unsigned access)
{
	enum mmk_err err = mmk_fault(&lives[cpu].running->map, va, access);

	(void)ctx;
	return err == MMK_ERR_AGAIN ? 0 : (int)err;
}

/* A word through the CPU's translation; false: no memory for it. */
static bool
touch(struct life *life, mmk_va va, uint64_t *word, bool is_store)
{
	int result;

	do
		result = is_store ? sim_store(life->cpu, va, word, 8)
		                  : sim_load(life->cpu, va, word, 8);
	while (result == SIM_STUCK);
	return happened(life, (enum mmk_err)result);
}

static void
use_space(struct life *life)
{
	uint64_t i = pick(life, SPACE_PAGES), word = 0;
	uint64_t fresh = mmk_test_random(&life->state);
	mmk_va va = VA + i * PAGE;

	if (touch(life, va, &word, false))
		CHECK(life, word == life->pages[i]);
	if (touch(life, va, &fresh, true))
		life->pages[i] = fresh;
	if (fresh % 8 != 0)
		return;
	if (!happened(life, mmk_mmap(life->running, va, PAGE, RW, ALL,
	        ANON_PRIVATE | MMK_MAP_FIXED, NULL, 0, &va)))
		return;
	life->pages[i] = 0;
}

/* The child sees what its parent has, and writes over it. */
static void
use_child(struct life *life)
{
	struct mmk_space *parent = life->running;
	uint64_t i = pick(life, SPACE_PAGES), word = 0;

	if (!happened(life, mmk_space_fork(&life->child, parent)))
		return;
	mmk_pmap_deactivate(&parent->map.pmap, life->cpu);
	mmk_pmap_activate(&life->child.map.pmap, life->cpu);
	life->running = &life->child;
	if (touch(life, VA + i * PAGE, &word, false))
		CHECK(life, word == life->pages[i]);
	word = ~word;
	(void)touch(life, VA + i * PAGE, &word, true);
	mmk_pmap_deactivate(&life->child.map.pmap, life->cpu);
	mmk_space_fini(&life->child);
	mmk_pmap_activate(&parent->map.pmap, life->cpu);
	life->running = parent;
}

/*
 * A box as memory: shown in the address space, read and written there. But for
 * page 0, which a neighbour may be reading by name.
 */
static void
show_box(struct life *life, struct box *box)
{
	struct mmk_object *object = NULL;
	mmk_va va = 0;
	uint64_t i = 1 + pick(life, BOX_PAGES - 1), word = 0;

	if (!happened(life, mmk_physmem_object_create(&t.vm, &life->table,
	        box->name, 0, BOX_PAGES, &object)))
		return;
	if (happened(life, mmk_mmap(life->running, 0, BOX_PAGES * PAGE, RW,
	        ALL, MMK_MAP_SHARED, object, 0, &va))) {
		if (box->is_there[i] &&
		    touch(life, va + i * PAGE, &word, false)) {
			CHECK(life, word == box->words[i]);
			word = mmk_test_random(&life->state);
			if (touch(life, va + i * PAGE, &word, true))
				box->words[i] = word;
		}
		CHECK(life, mmk_munmap(life->running, va,
		    BOX_PAGES * PAGE) == MMK_OK);
	}
	mmk_object_unref(object);
}

/* ---- containers ------------------------------------------------------------ */

static void
look_into_box(struct life *life, struct box *box, uint64_t i)
{
	uint64_t word = 0;
	enum mmk_err err = mmk_physmem_read(&life->table, box->name, i * PAGE,
	    &word, 8);

	CHECK(life, err == (box->is_there[i] ? MMK_OK : MMK_ERR_NOENT));
	CHECK(life, !box->is_there[i] || word == box->words[i]);
}

static void
use_box(struct life *life, struct box *box)
{
	uint64_t i = pick(life, BOX_PAGES);
	uint64_t word = mmk_test_random(&life->state);
	uint64_t at = i * PAGE;

	look_into_box(life, box, i);
	if (!box->is_there[i]) {
		box->is_there[i] = happened(life, mmk_physmem_allocate(
		    &life->table, box->name, at, PAGE, 0, NULL));
		box->words[i] = 0;
	} else if (word % 4 == 0) {
		box->is_there[i] = !happened(life, mmk_physmem_deallocate(
		    &life->table, box->name, at, PAGE, 0, NULL));
	} else if (word % 4 == 1) {
		if (happened(life, mmk_physmem_release(&life->table,
		        box->name, at, PAGE)))
			box->words[i] = 0;
	} else if (happened(life, mmk_physmem_write(&life->table, box->name,
	               at, &word, 8))) {
		box->words[i] = word;
	}
}

/* The second box shows what the first does, until either is written to. */
static void
copy_box(struct life *life)
{
	struct box *from = &life->boxes[0], *to = &life->boxes[1];
	uint64_t first = pick(life, BOX_PAGES);
	uint64_t nr = 1 + pick(life, BOX_PAGES - first), i;
	bool is_move = pick(life, 4) == 0;

	for (i = first; i < first + nr; i++)
		if (!from->is_there[i])
			return;
	if (!happened(life, mmk_physmem_copy(&life->table, from->name,
	        first * PAGE, to->name, first * PAGE, nr * PAGE,
	        is_move ? MMK_COPY_MOVE : MMK_COPY_COW,
	        MMK_CONTAINER_SQUASH, NULL)))
		return;
	for (i = first; i < first + nr; i++) {
		to->is_there[i] = true;
		to->words[i] = from->words[i];
		from->is_there[i] = !is_move;
	}
}

/* A control, what was made through it, and its end. */
static void
split_and_destroy(struct life *life)
{
	mmk_handle_name control = 0, name = 0;
	unsigned char byte = 1;

	if (!happened(life, mmk_physmem_split(&s.physmem, &life->table,
	        life->control, 1 + pick(life, 8), &life->table, &control)))
		return;
	if (happened(life, mmk_physmem_create(&s.physmem, &life->table,
	        control, &name)) &&
	    happened(life, mmk_physmem_allocate(&life->table, name, 0, PAGE,
	        0, NULL)))
		(void)happened(life, mmk_physmem_write(&life->table, name, 5,
		    &byte, 1));
	CHECK(life, mmk_physmem_destroy(&life->table, control) == MMK_OK);
	if (name != 0)
		CHECK(life, mmk_physmem_read(&life->table, name, 5, &byte,
		    1) == MMK_ERR_NOENT);
}

/* Everybody may read a box for a while; its neighbour does. */
static void
lend_and_revoke(struct life *life)
{
	struct life *other = &lives[(life->cpu + 1) % CPUS];
	mmk_handle_name name = __atomic_load_n(&other->lent, __ATOMIC_ACQUIRE);
	uint64_t word;

	if (name != 0) {
		enum mmk_err err = mmk_physmem_read(&s.everybody, name, 0,
		    &word, 8);

		CHECK(life, err == MMK_OK || err == MMK_ERR_NOENT);
		CHECK(life, mmk_physmem_write(&s.everybody, name, 0, &word,
		    8) != MMK_OK);
	}
	if (life->lent != 0) {
		__atomic_store_n(&life->lent, 0, __ATOMIC_RELEASE);
		CHECK(life, mmk_physmem_revoke(&life->table,
		    life->boxes[0].name) == MMK_OK);
	} else if (happened(life, mmk_physmem_lend(&life->table,
	               life->boxes[0].name, &s.everybody, MMK_RIGHT_READ,
	               &name))) {
		__atomic_store_n(&life->lent, name, __ATOMIC_RELEASE);
	}
}

/* A device looks at a page: its address is good as long as the pin is. */
static void
pin_box(struct life *life, struct box *box)
{
	uint64_t i = pick(life, BOX_PAGES), seen;
	struct mmk_cpin *pin = NULL;
	mmk_pa pa = 0;

	if (!box->is_there[i] ||
	    !happened(life, mmk_physmem_pin(&life->table, box->name, i * PAGE,
	        900, &pin, &pa)))
		return;
	seen = *(uint64_t *)MMKIT_PHYS_TO_PTR(pa);
	if (mmk_container_unpin(&s.physmem, pin))
		CHECK(life, seen == box->words[i]);
}

/* ---- frames, items, ranges ------------------------------------------------- */

static void
use_frames(struct life *life)
{
	uint64_t i = pick(life, KEPT);
	unsigned order = (unsigned)pick(life, 8);
	uint64_t *words;

	if (life->frames[i] != NULL) {
		words = mmk_frame_ptr(&t.phys, life->frames[i]);
		CHECK(life, words[1] == life->frame_words[i]);
		(void)mmk_frame_unref(&t.phys, life->frames[i]);
		life->frames[i] = NULL;
	} else if (happened(life, mmk_frame_alloc(&t.phys, order, 0,
	               MMK_USE_KERNEL, &life->frames[i]))) {
		life->frame_words[i] = mmk_test_random(&life->state);
		words = mmk_frame_ptr(&t.phys, life->frames[i]);
		words[1] = life->frame_words[i];
	}
}

static void
use_items(struct life *life)
{
	uint64_t i = pick(life, KEPT);

	if (life->items[i] != NULL) {
		CHECK(life, *life->items[i] == life->item_words[i]);
		mmk_pool_free(&s.pool, life->items[i]);
		life->items[i] = NULL;
		return;
	}
	life->items[i] = mmk_pool_alloc(&s.pool);
	if (life->items[i] == NULL)
		return;
	life->item_words[i] = mmk_test_random(&life->state);
	*life->items[i] = life->item_words[i];
}

static void
use_ranges(struct life *life)
{
	uint64_t i = pick(life, KEPT);

	if (life->ranges[i] != 0) {
		CHECK(life, mmk_range_free(&s.ranges, life->ranges[i]) ==
		    MMK_OK);
		life->ranges[i] = 0;
	} else {
		(void)happened(life, mmk_range_refill(&s.reserve));
		(void)happened(life, mmk_range_alloc(&s.ranges,
		    1 + pick(life, 5 * GRANULE), &life->ranges[i]));
	}
}

/* Whatever lies in one part of RAM moves to another. */
static void
compact(struct life *life)
{
	struct mmk_compaction effort = { .max_moves = 40 };
	struct mmk_run_request request = { .nr_pages = 1 + pick(life, 16),
		.use = MMK_USE_KERNEL };
	mmk_pfn first;

	request.lo_pa = pick(life, 48) * 16 * PAGE;
	request.limit_pa = request.lo_pa + 16 * PAGE;
	if (mmk_compact_run(&t.phys, &effort, &request, &first) != MMK_OK)
		return;
	for (uint64_t i = 0; i < request.nr_pages; i++)
		memset(MMKIT_PHYS_TO_PTR(mmk_pa_of_pfn(first + i)), 0xcc, PAGE);
	mmk_run_free(&t.phys, first, request.nr_pages);
}

static void
pass_time(void)
{
	sim_set_clock_ns(__atomic_add_fetch(&s.now_ns, 100, __ATOMIC_RELAXED));
	mmk_physmem_expire(&s.physmem);
}

/* ---- the life of a thread --------------------------------------------------- */

static void
step(struct life *life)
{
	struct box *box = &life->boxes[pick(life, 2)];

	switch (pick(life, 16)) {
	case 0: case 1: case 2: use_space(life); break;
	case 3: case 4: case 5: use_box(life, box); break;
	case 6: copy_box(life); break;
	case 7: use_child(life); break;
	case 8: show_box(life, box); break;
	case 9: split_and_destroy(life); break;
	case 10: lend_and_revoke(life); break;
	case 11: pin_box(life, box); break;
	case 12: use_frames(life); break;
	case 13: use_items(life); break;
	case 14: use_ranges(life); break;
	default:
		if (life->cpu == 0)
			pass_time();
		else
			compact(life);
	}
}

/* Everyone stands still. */
static void
audit(void)
{
	cr_assert(mmk_check(&t.vm));
	cr_assert(mmk_physmem_check(&s.physmem));
	cr_assert(mmk_control_check(&s.tree));
	cr_assert(mmk_handles_check(&s.everybody));
	cr_assert(mmk_pool_check(&s.pool));
	cr_assert(mmk_range_check(&s.ranges));
	cr_assert(mmk_pins_check(&s.pins));
	for (unsigned i = 0; i < CPUS; i++)
		cr_assert(mmk_handles_check(&lives[i].table));
	mmk_phys_drain(&t.phys);
	cr_assert(mmk_phys_check(&t.phys));
}

static void *
live(void *arg)
{
	struct life *life = arg;
	unsigned nr_steps = mmk_test_steps(4000);

	sim_set_cpu(life->cpu);
	for (unsigned n = 0; n < nr_steps; n++) {
		step(life);
		if (n % 500 != 499)
			continue;
		pthread_barrier_wait(&s.barrier);
		if (life->cpu == 0)
			audit();
		pthread_barrier_wait(&s.barrier);
	}
	return NULL;
}

static void
birth(struct life *life, unsigned cpu)
{
	mmk_handle_name root = 0;

	memset(life, 0, sizeof *life);
	life->cpu = cpu;
	life->state = (s.seed + cpu) * 0x9e3779b97f4a7c15u | 1;
	life->running = vm_space(cpu);
	vm_anon(cpu, VA, SPACE_PAGES);
	vm_run(cpu, cpu);
	mmk_handles_init(&life->table, &s.handles, 64);
	CHECK(life, mmk_handle_insert(&life->table, &s.root.target,
	    MMK_RIGHT_ALL, &root) == MMK_OK);
	CHECK(life, mmk_physmem_split(&s.physmem, &life->table, root,
	    OWN_CREDIT, &life->table, &life->control) == MMK_OK);
	for (unsigned i = 0; i < 2; i++)
		CHECK(life, mmk_physmem_create(&s.physmem, &life->table,
		    life->control, &life->boxes[i].name) == MMK_OK);
}

/* The last look at everything, and its end. */
static void
death(struct life *life)
{
	for (unsigned i = 0; i < 2; i++)
		for (uint64_t page = 0; page < BOX_PAGES; page++)
			look_into_box(life, &life->boxes[i], page);
	CHECK(life, mmk_physmem_destroy(&life->table, life->control) ==
	    MMK_OK);
	mmk_handles_fini(&life->table);
	for (unsigned i = 0; i < KEPT; i++) {
		if (life->frames[i] != NULL)
			(void)mmk_frame_unref(&t.phys, life->frames[i]);
		mmk_pool_free(&s.pool, life->items[i]);
		if (life->ranges[i] != 0)
			CHECK(life, mmk_range_free(&s.ranges,
			    life->ranges[i]) == MMK_OK);
	}
	vm_exit(life->cpu);
}

/* ---- the machine ------------------------------------------------------------ */

static void
physmem_begin(void)
{
	struct mmk_physmem_config config;

	memset(&config, 0, sizeof config);
	mmk_pins_init(&s.pins, &t.phys, 1000);
	mmk_handle_sys_init(&s.handles, &tables);
	config.phys = &t.phys;
	config.pins = &s.pins;
	config.memory = &heap;
	config.nodes = &nodes;
	s.revoke = mmk_container_plug(&t.sys);
	config.plug = &s.revoke;
	config.handles = &s.handles;
	config.max_pins = 4;
	mmk_physmem_init(&s.physmem, &config);
	s.plug = mmk_physmem_control_plug(&s.physmem);
	mmk_control_init_root(&s.tree, &s.root, ROOT_PAGES, &s.plug,
	    &s.handles);
	mmk_handles_init(&s.everybody, &s.handles, 64);
}

static void
kva_begin(void)
{
	struct mmk_range_memory memory = { descriptor_alloc, descriptor_free,
		&s.range_pool };

	mmk_pool_init(&s.pool, &t.phys, "things", ITEM_BYTES);
	mmk_pool_use_caches(&s.pool, &t.sys.cache_pool);
	mmk_pool_init(&s.range_pool, &t.phys, "ranges",
	    MMK_RANGE_DESCRIPTOR_BYTES);
	mmk_pool_use_caches(&s.range_pool, &t.sys.cache_pool);
	mmk_range_reserve_init(&s.reserve, &memory, CPUS, 4 * CPUS);
	cr_assert_eq(mmk_range_refill(&s.reserve), MMK_OK);
	cr_assert_eq(mmk_range_init(&s.ranges, &s.reserve, GRANULE,
	    128 * GRANULE, GRANULE), MMK_OK);
}

static void
begin(unsigned arch, unsigned tag_bits)
{
	struct sim_config config = { .ram_bytes = 1024 * PAGE, .nr_cpus = CPUS,
		.arch = arch, .tag_bits = tag_bits };

	memset(&s, 0, sizeof s);
	s.seed = mmk_test_seed();
	vm_boot_with(&config, NULL);
	mmk_vm_set_movable(&t.vm, true);
	sim_forbid_stale_hits(false); /* a hit may race with a change */
	sim_delay_ipis(4, s.seed);
	physmem_begin();
	kva_begin();
	for (unsigned cpu = 0; cpu < CPUS; cpu++)
		birth(&lives[cpu], cpu);
	sim_on_fault(on_fault, NULL);
	pthread_barrier_init(&s.barrier, NULL, CPUS);
}

static void
end(void)
{
	pthread_barrier_destroy(&s.barrier);
	sim_set_cpu(0);
	audit();
	for (unsigned cpu = 0; cpu < CPUS; cpu++)
		death(&lives[cpu]);
	mmk_handles_fini(&s.everybody);
	mmk_range_fini(&s.ranges);
	mmk_range_reserve_fini(&s.reserve);
	mmk_pool_fini(&s.range_pool);
	mmk_pool_fini(&s.pool);
	sim_set_clock_ns(s.now_ns + 10000);
	mmk_physmem_expire(&s.physmem);
	cr_assert(mmk_control_check(&s.tree));
	mmk_physmem_fini(&s.physmem);
	mmk_control_fini_root(&s.tree);
	mmk_pins_fini(&s.pins);
	cr_assert_eq(s.nr_items, 0u);
	vm_end();
}

static void
soak(unsigned arch, unsigned tag_bits)
{
	pthread_t threads[CPUS];

	begin(arch, tag_bits);
	for (unsigned cpu = 0; cpu < CPUS; cpu++)
		cr_assert_eq(pthread_create(&threads[cpu], NULL, live,
		    &lives[cpu]), 0);
	for (unsigned cpu = 0; cpu < CPUS; cpu++)
		cr_assert_eq(pthread_join(threads[cpu], NULL), 0);
	end();
}

#if MMKIT_PAGE_SHIFT == 12
Test(soak, all_floors_on_every_cpu_x86_64)
{
	soak(SIM_ARCH_X86_64, 0);
}

/* Three tags for four spaces and their children. */
Test(soak, all_floors_on_every_cpu_x86_64_with_tags)
{
	soak(SIM_ARCH_X86_64, 2);
}
#endif

Test(soak, all_floors_on_every_cpu_aarch64)
{
	soak(SIM_ARCH_AARCH64, 0);
}

Test(soak, all_floors_on_every_cpu_aarch64_with_tags)
{
	soak(SIM_ARCH_AARCH64, 2);
}
