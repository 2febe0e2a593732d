/* SPDX-License-Identifier: MIT
 *
 * tests/test_range.c: ranges of numbers: best fit, merging, the reserve
 */
#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "mmkit/kva/range.h"
#include "ports/sim/sim.h"
#include "prop.h"

#define GRANULE ((uint64_t)4 << 12) /* Andromeda's: 4 pages of 4 KiB */
#define BASE UINT64_C(0x40000000)
#define NR_GRANULES 256u
#define END (BASE + NR_GRANULES * GRANULE)
#define AT(i) (BASE + (uint64_t)(i) * GRANULE)

static struct mmk_range_reserve reserve;
static struct mmk_ranges ranges;
static uint64_t nr_live;   /* descriptors that memory has handed out */
static uint64_t nr_asked;  /* times that it was asked */
static void (*on_alloc)(void);

static void *
memory_alloc(void *ctx)
{
	(void)ctx;
	(void)__atomic_add_fetch(&nr_asked, 1, __ATOMIC_RELAXED);
	if (on_alloc != NULL)
		on_alloc();
	(void)__atomic_add_fetch(&nr_live, 1, __ATOMIC_RELAXED);
	return malloc(MMK_RANGE_DESCRIPTOR_BYTES);
}

static void
memory_free(void *ctx, void *descriptor)
{
	(void)ctx;
	(void)__atomic_sub_fetch(&nr_live, 1, __ATOMIC_RELAXED);
	free(descriptor);
}

static void
begin_with(uint32_t low, uint32_t target)
{
	struct mmk_range_memory memory = { memory_alloc, memory_free, NULL };

	sim_boot(&(struct sim_config){ .nr_cpus = 4 });
	nr_live = 0;
	nr_asked = 0;
	on_alloc = NULL;
	mmk_range_reserve_init(&reserve, &memory, low, target);
	cr_assert_eq(mmk_range_refill(&reserve), MMK_OK);
	cr_assert_eq(mmk_range_init(&ranges, &reserve, BASE, END - BASE,
	                 GRANULE),
	    MMK_OK);
}

static void
begin(void)
{
	begin_with(4, 400);
}

static void
end(void)
{
	sim_fail_at(0);
	cr_assert(mmk_range_check(&ranges));
	mmk_range_fini(&ranges);
	mmk_range_reserve_fini(&reserve);
	cr_assert_eq(nr_live, 0, "a descriptor is lost");
	sim_shutdown();
}

TestSuite(range, .init = begin, .fini = end);
TestSuite(range_reserve);
TestSuite(range_threads);

static uint64_t
get(uint64_t bytes)
{
	uint64_t start = 1;

	cr_assert_eq(mmk_range_alloc(&ranges, bytes, &start), MMK_OK);
	cr_assert(mmk_range_check(&ranges));
	return start;
}

static void
put(uint64_t start)
{
	cr_assert_eq(mmk_range_free(&ranges, start), MMK_OK);
	cr_assert(mmk_range_check(&ranges));
}

/* All that can be seen of the ranges, to compare before with after. */
struct picture {
	unsigned nr;
	uint32_t nr_free_descriptors;
	struct mmk_range_info infos[NR_GRANULES + 1];
};

static void
look(struct picture *picture)
{
	uint64_t addr = 0;

	memset(picture, 0, sizeof *picture);
	picture->nr_free_descriptors = reserve.nr_free;
	while (mmk_range_lookup(&ranges, addr, &picture->infos[picture->nr]))
		addr = picture->infos[picture->nr++].end;
}

/* `call` ends with `err` and nothing is different. */
#define REFUSED(call, err)                                            \
	do {                                                          \
		static struct picture before, after;                  \
		look(&before);                                        \
		cr_assert_eq(call, err, #call);                       \
		look(&after);                                         \
		cr_assert_eq(memcmp(&before, &after, sizeof before), 0); \
		cr_assert(mmk_range_check(&ranges));                  \
	} while (0)

/* ---- the rules ----------------------------------------------------------- */

Test(range, S3_3_the_ranges_are_the_segment_after_every_operation)
{
	uint64_t a = get(GRANULE), b = get(3 * GRANULE), c = get(GRANULE);
	static struct picture picture;

	cr_assert_eq(mmk_range_set_mapped(&ranges, b), MMK_OK);
	put(a);
	look(&picture);
	cr_assert_eq(picture.nr, 4);
	cr_assert_eq(picture.infos[0].start, BASE);
	for (unsigned i = 1; i < picture.nr; i++)
		cr_assert_eq(picture.infos[i].start, picture.infos[i - 1].end);
	cr_assert_eq(picture.infos[3].end, END);
	cr_assert_eq(picture.infos[0].state, MMK_RANGE_FREE);
	cr_assert_eq(picture.infos[1].state, MMK_RANGE_MAPPED);
	cr_assert_eq(picture.infos[2].state, MMK_RANGE_ALLOCATED);
	cr_assert_eq(picture.infos[3].state, MMK_RANGE_FREE);
	cr_assert_eq(mmk_range_set_allocated(&ranges, b), MMK_OK);
	put(b);
	put(c);
}

Test(range, S3_12_sizes_are_rounded_up_and_exhaustion_is_an_error)
{
	struct mmk_range_info info;
	uint64_t a = get(0x1000), b = get(0xb1aa7), start = 7;

	cr_assert(mmk_range_lookup(&ranges, a, &info));
	cr_assert_eq(info.end - info.start, GRANULE);
	cr_assert(mmk_range_lookup(&ranges, b, &info));
	cr_assert_eq(info.end - info.start,
	    (0xb1aa7 + GRANULE - 1) / GRANULE * GRANULE);
	REFUSED(mmk_range_alloc(&ranges, 0, &start), MMK_ERR_INVAL);
	REFUSED(mmk_range_alloc(&ranges, UINT64_MAX, &start), MMK_ERR_NOSPACE);
	REFUSED(mmk_range_alloc(&ranges, END - BASE, &start), MMK_ERR_NOSPACE);
	cr_assert_eq(start, 7);
	(void)get(ranges.state_bytes[MMK_RANGE_FREE]);
	REFUSED(mmk_range_alloc(&ranges, 1, &start), MMK_ERR_NOSPACE);
	cr_assert_eq(ranges.state_bytes[MMK_RANGE_ALLOCATED], END - BASE);
}

Test(range, S3_12_best_fit_takes_the_smallest_and_the_lowest_of_equals)
{
	uint64_t hole[4], wall[4];
	static const unsigned granules[] = { 5, 3, 8, 3 };

	for (unsigned i = 0; i < 4; i++) {
		hole[i] = get(granules[i] * GRANULE);
		wall[i] = get(GRANULE);
	}
	for (unsigned i = 0; i < 4; i++)
		put(hole[i]);
	cr_assert_eq(get(2 * GRANULE), hole[1]);
	cr_assert_eq(get(2 * GRANULE), hole[3]);
	cr_assert_eq(get(4 * GRANULE), hole[0]);
	cr_assert_eq(get(1), hole[0] + 4 * GRANULE);
	cr_assert_eq(get(GRANULE), hole[1] + 2 * GRANULE);
	cr_assert_eq(get(6 * GRANULE), hole[2]);
	(void)wall;
}

Test(range, S3_13_free_neighbours_merge_and_allocated_ones_never)
{
	uint64_t a = get(GRANULE), b = get(GRANULE), c = get(2 * GRANULE);

	cr_assert_eq(ranges.nr_ranges[MMK_RANGE_ALLOCATED], 3);
	put(a);
	put(c);
	cr_assert_eq(ranges.nr_ranges[MMK_RANGE_FREE], 2);
	put(b);
	cr_assert_eq(ranges.nr_ranges[MMK_RANGE_FREE], 1);
	cr_assert_eq(ranges.state_bytes[MMK_RANGE_FREE], END - BASE);
	cr_assert_eq(reserve.nr_used, 1);
	a = get(GRANULE);
	b = get(GRANULE);
	cr_assert_eq(b, a + GRANULE);
	put(b);
	REFUSED(mmk_range_free(&ranges, b), MMK_ERR_NOENT);
	put(a);
}

Test(range, S3_13_foreign_interior_and_freed_pointers_change_nothing)
{
	uint64_t a = get(2 * GRANULE);

	(void)get(GRANULE);
	REFUSED(mmk_range_free(&ranges, a + GRANULE), MMK_ERR_NOENT);
	REFUSED(mmk_range_free(&ranges, a + 1), MMK_ERR_NOENT);
	REFUSED(mmk_range_free(&ranges, a - 1), MMK_ERR_NOENT);
	REFUSED(mmk_range_free(&ranges, 0), MMK_ERR_NOENT);
	REFUSED(mmk_range_free(&ranges, END), MMK_ERR_NOENT);
	REFUSED(mmk_range_free(&ranges, UINT64_MAX), MMK_ERR_NOENT);
	REFUSED(mmk_range_free(&ranges, AT(3)), MMK_ERR_NOENT);
	put(a);
	REFUSED(mmk_range_free(&ranges, a), MMK_ERR_NOENT);
	REFUSED(mmk_range_set_mapped(&ranges, a), MMK_ERR_NOENT);
	REFUSED(mmk_range_set_allocated(&ranges, a), MMK_ERR_NOENT);
}

Test(range, S3_18_free_allocated_mapped_and_back)
{
	uint64_t a = get(GRANULE);

	REFUSED(mmk_range_set_allocated(&ranges, a), MMK_ERR_INVAL);
	cr_assert_eq(mmk_range_set_mapped(&ranges, a), MMK_OK);
	cr_assert(mmk_range_check(&ranges));
	REFUSED(mmk_range_set_mapped(&ranges, a), MMK_ERR_EXIST);
	REFUSED(mmk_range_free(&ranges, a), MMK_ERR_BUSY);
	REFUSED(mmk_range_set_mapped(&ranges, a + 1), MMK_ERR_NOENT);
	cr_assert_eq(mmk_range_set_allocated(&ranges, a), MMK_OK);
	put(a);
}

Test(range, S3_7_grown_space_can_be_allocated_at_once)
{
	uint64_t all = get(END - BASE), more;

	cr_assert_eq(mmk_range_grow(&ranges, 2 * GRANULE), MMK_OK);
	cr_assert(mmk_range_check(&ranges));
	cr_assert_eq(mmk_range_grow(&ranges, GRANULE), MMK_OK);
	cr_assert_eq(ranges.nr_ranges[MMK_RANGE_FREE], 1);
	more = get(3 * GRANULE);
	cr_assert_eq(more, END);
	cr_assert_eq(ranges.end, END + 3 * GRANULE);
	put(all);
	put(more);
	cr_assert_eq(ranges.state_bytes[MMK_RANGE_FREE],
	    END + 3 * GRANULE - BASE);
}

/* ---- defects of the original --------------------------------------------- */

Test(range, B3_a_the_first_allocation_splits_the_last_range)
{
	cr_assert_eq(ranges.nr_ranges[MMK_RANGE_FREE], 1);
	cr_assert_eq(get(GRANULE), BASE);
	cr_assert_eq(get(GRANULE), AT(1));
}

Test(range, B3_b_best_fit_is_not_the_largest)
{
	uint64_t hole = get(2 * GRANULE);

	(void)get(GRANULE);
	put(hole);
	cr_assert_eq(get(GRANULE), hole, "the rest of the segment is larger");
}

Test(range, B3_c_the_range_is_freed_and_not_its_descriptor)
{
	uint64_t a = get(GRANULE), b = get(GRANULE);

	put(a);
	put(b);
	cr_assert_eq(ranges.state_bytes[MMK_RANGE_FREE], END - BASE);
	cr_assert_eq(get(END - BASE), BASE);
}

Test(range_reserve, B3_l_the_last_descriptor_and_the_refill_after_it)
{
	uint64_t start = 0;

	begin_with(0, 3);
	(void)get(GRANULE);
	(void)get(GRANULE);
	cr_assert_eq(reserve.nr_free, 0);
	REFUSED(mmk_range_alloc(&ranges, GRANULE, &start), MMK_ERR_NOMEM);
	cr_assert_eq(mmk_range_refill(&reserve), MMK_OK);
	cr_assert_eq(reserve.nr_free, 3);
	for (unsigned i = 0; i < 3; i++)
		(void)get(GRANULE);
	REFUSED(mmk_range_alloc(&ranges, GRANULE, &start), MMK_ERR_NOMEM);
	cr_assert_eq(mmk_range_refill(&reserve), MMK_OK);
	end();
}

/* ---- the reserve --------------------------------------------------------- */

Test(range_reserve, S3_25_alloc_and_free_never_ask_for_memory)
{
	uint64_t starts[8];

	begin_with(8, 9);
	cr_assert_eq(nr_asked, 9);
	cr_assert_eq(reserve.nr_free, 8);
	cr_assert_not(mmk_range_is_low(&reserve));
	for (unsigned i = 0; i < 8; i++) {
		starts[i] = get(GRANULE);
		cr_assert(mmk_range_is_low(&reserve));
	}
	for (unsigned i = 0; i < 8; i += 2)
		put(starts[i]);
	cr_assert_eq(nr_asked, 9, "the allocator was called");
	cr_assert_eq(mmk_range_refill(&reserve), MMK_OK);
	cr_assert_eq(reserve.nr_free, 9);
	cr_assert_not(mmk_range_is_low(&reserve));
	for (unsigned i = 1; i < 8; i += 2)
		put(starts[i]);
	cr_assert_gt(reserve.nr_free, 9);
	cr_assert_eq(mmk_range_refill(&reserve), MMK_OK);
	cr_assert_eq(reserve.nr_free, 9, "the surplus goes back");
	end();
}

/* A slab of four descriptors takes a granule of the ranges to be described. */
static void
alloc_from_the_ranges(void)
{
	uint64_t start;

	if (nr_asked % 4 == 0)
		cr_assert_eq(mmk_range_alloc(&ranges, GRANULE, &start),
		    MMK_OK);
}

Test(range_reserve, S3_25_the_memory_may_come_from_the_ranges_themselves)
{
	begin_with(2, 8);
	on_alloc = alloc_from_the_ranges;
	for (unsigned i = 0; i < 150; i++) {
		(void)get(GRANULE);
		if (mmk_range_is_low(&reserve))
			cr_assert_eq(mmk_range_refill(&reserve), MMK_OK);
	}
	cr_assert_gt(nr_asked, 150);
	cr_assert(mmk_range_check(&ranges));
	end();
}

Test(range_reserve, a_refill_that_fails_keeps_what_came)
{
	begin_with(1, 6);
	(void)get(GRANULE);
	(void)get(GRANULE);
	sim_fail_at(2);
	cr_assert_eq(mmk_range_refill(&reserve), MMK_ERR_NOMEM);
	sim_fail_at(0);
	cr_assert_eq(reserve.nr_free, 4);
	cr_assert_eq(mmk_range_refill(&reserve), MMK_OK);
	cr_assert_eq(reserve.nr_free, 6);
	end();
}

Test(range, no_descriptor_means_nothing_changed)
{
	struct mmk_ranges other;
	uint64_t start = 0;

	sim_fail_at(1);
	REFUSED(mmk_range_alloc(&ranges, GRANULE, &start), MMK_ERR_NOMEM);
	(void)get(GRANULE);
	sim_fail_at(1);
	cr_assert_eq(get(END - BASE - GRANULE), AT(1),
	    "an exact fit needs no descriptor");
	sim_fail_at(1);
	REFUSED(mmk_range_grow(&ranges, GRANULE), MMK_ERR_NOMEM);
	sim_fail_at(1);
	REFUSED(mmk_range_init(&other, &reserve, 0, GRANULE, GRANULE),
	    MMK_ERR_NOMEM);
	sim_fail_at(1);
	put(BASE);
	sim_fail_at(0);
}

Test(range, lookup_gives_the_next_one_up)
{
	struct mmk_range_info info;

	cr_assert(mmk_range_lookup(&ranges, 0, &info));
	cr_assert_eq(info.start, BASE);
	cr_assert(mmk_range_lookup(&ranges, END - 1, &info));
	cr_assert_eq(info.end, END);
	info.start = 7;
	cr_assert_not(mmk_range_lookup(&ranges, END, &info));
	cr_assert_eq(info.start, 7);
}

Test(range, check_sees_a_planted_fault)
{
	uint64_t a = get(GRANULE);

	(void)get(GRANULE);
	put(a);
#define PLANT(field, value)                                      \
	do {                                                     \
		__typeof__(field) keep = (field);                \
		(field) = (value);                               \
		cr_assert_not(mmk_range_check(&ranges), #field); \
		(field) = keep;                                  \
		cr_assert(mmk_range_check(&ranges));             \
	} while (0)
	PLANT(ranges.end, END + GRANULE);
	PLANT(ranges.start, BASE + GRANULE);
	PLANT(ranges.nr_ranges[MMK_RANGE_FREE], 1);
	PLANT(ranges.state_bytes[MMK_RANGE_ALLOCATED], 0);
	PLANT(ranges.by_bytes.root, NULL);
	PLANT(ranges.by_start.root, ranges.by_start.root->below[0]);
	PLANT(ranges.granule_bytes, 2 * GRANULE);
	PLANT(ranges.by_bytes.root->minor, 1);
#undef PLANT
}

/* ---- threads ------------------------------------------------------------- */

static void *
one_thread(void *arg)
{
	uint64_t seed = mmk_test_seed() * 977 + (uintptr_t)arg;
	uint64_t mine[16];
	unsigned nr = 0;

	sim_set_cpu((unsigned)(uintptr_t)arg);
	for (unsigned step = 0; step < mmk_test_steps(2000); step++) {
		uint64_t bytes = (1 + mmk_test_random(&seed) % 6) * GRANULE;

		if (nr < 16 && mmk_test_random(&seed) % 2 == 0) {
			if (mmk_range_alloc(&ranges, bytes, &mine[nr]) ==
			    MMK_OK)
				nr++;
		} else if (nr > 0) {
			nr--;
			if (step % 3 == 0) {
				cr_assert_eq(mmk_range_set_mapped(&ranges,
				                 mine[nr]),
				    MMK_OK);
				cr_assert_eq(mmk_range_set_allocated(&ranges,
				                 mine[nr]),
				    MMK_OK);
			}
			cr_assert_eq(mmk_range_free(&ranges, mine[nr]),
			    MMK_OK);
		}
		if (mmk_range_is_low(&reserve))
			cr_assert_eq(mmk_range_refill(&reserve), MMK_OK);
	}
	while (nr > 0)
		cr_assert_eq(mmk_range_free(&ranges, mine[--nr]), MMK_OK);
	return NULL;
}

static void
with_threads(unsigned nr)
{
	pthread_t threads[4];

	begin_with(16, 32);
	for (uintptr_t i = 0; i < nr; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, one_thread,
		                 (void *)i),
		    0);
	for (unsigned i = 0; i < nr; i++)
		pthread_join(threads[i], NULL);
	cr_assert_eq(ranges.state_bytes[MMK_RANGE_FREE], END - BASE);
	cr_assert_eq(ranges.nr_ranges[MMK_RANGE_FREE], 1);
	end();
}

Test(range_threads, B3_i_two_threads_wait_for_each_other_and_nothing_fails)
{
	with_threads(2);
}

Test(range_threads, four_threads)
{
	with_threads(4);
}

/* ---- against a map of owners --------------------------------------------- */

enum { MAX_GRANULES = 2 * NR_GRANULES };

static unsigned owner[MAX_GRANULES]; /* 0: free; else whose it is */
static bool mapped[MAX_GRANULES];    /* of the owner's first granule */
static unsigned nr_owned_granules;   /* of the whole */

/* Best fit, the obvious way: -1, or the first granule of the run. */
static int
oracle_find(unsigned want)
{
	unsigned best_length = UINT32_MAX;
	int best = -1;

	for (unsigned i = 0; i < nr_owned_granules;) {
		unsigned length = 0;

		while (i + length < nr_owned_granules && owner[i + length] == 0)
			length++;
		if (length >= want && length < best_length) {
			best_length = length;
			best = (int)i;
		}
		i += length > 0 ? length : 1;
	}
	return best;
}

static bool
is_first(unsigned i)
{
	return owner[i] != 0 && (i == 0 || owner[i - 1] != owner[i]);
}

static void
prop_alloc(unsigned want, unsigned name)
{
	int first = oracle_find(want);
	uint64_t start = 0;
	enum mmk_err err = mmk_range_alloc(&ranges,
	    want * GRANULE - (name & 1), &start);

	if (first < 0) {
		cr_assert_eq(err, MMK_ERR_NOSPACE);
		return;
	}
	cr_assert_eq(err, MMK_OK);
	cr_assert_eq(start, AT(first));
	for (unsigned i = 0; i < want; i++)
		owner[(unsigned)first + i] = name;
	mapped[first] = false;
}

static void
prop_free(unsigned i, uint64_t addr)
{
	enum mmk_err err = mmk_range_free(&ranges, addr);
	unsigned name = owner[i];

	if (addr != AT(i) || !is_first(i)) {
		cr_assert_eq(err, MMK_ERR_NOENT);
	} else if (mapped[i]) {
		cr_assert_eq(err, MMK_ERR_BUSY);
	} else {
		cr_assert_eq(err, MMK_OK);
		for (; i < nr_owned_granules && owner[i] == name; i++)
			owner[i] = 0;
	}
}

static void
prop_set(unsigned i, bool to_mapped)
{
	enum mmk_err err = to_mapped
	    ? mmk_range_set_mapped(&ranges, AT(i))
	    : mmk_range_set_allocated(&ranges, AT(i));

	if (!is_first(i))
		cr_assert_eq(err, MMK_ERR_NOENT);
	else if (mapped[i] == to_mapped)
		cr_assert_eq(err, to_mapped ? MMK_ERR_EXIST : MMK_ERR_INVAL);
	else
		cr_assert_eq(err, MMK_OK);
	if (err == MMK_OK)
		mapped[i] = to_mapped;
}

/* Range by range, the map of owners tells the same. */
static void
prop_compare(void)
{
	struct mmk_range_info info = { 0, BASE, MMK_RANGE_FREE };

	for (unsigned i = 0; i < nr_owned_granules;) {
		unsigned length = 1;

		while (i + length < nr_owned_granules &&
		    owner[i + length] == owner[i])
			length++;
		cr_assert(mmk_range_lookup(&ranges, info.end, &info));
		cr_assert_eq(info.start, AT(i));
		cr_assert_eq(info.end, AT(i + length));
		cr_assert_eq(info.state,
		    owner[i] == 0      ? MMK_RANGE_FREE
		        : mapped[i] ? MMK_RANGE_MAPPED
		                    : MMK_RANGE_ALLOCATED);
		i += length;
	}
	cr_assert_eq(info.end, ranges.end);
}

Test(range, prop_agrees_with_a_map_of_owners)
{
	uint64_t seed = mmk_test_seed(), start_seed = seed;

	memset(owner, 0, sizeof owner);
	nr_owned_granules = NR_GRANULES;
	for (unsigned step = 1; step <= mmk_test_steps(6000); step++) {
		uint64_t dice = mmk_test_random(&seed) % 100;
		unsigned i = (unsigned)(mmk_test_random(&seed) %
		    nr_owned_granules);

		if (dice < 40)
			prop_alloc(1 + (unsigned)(mmk_test_random(&seed) % 9),
			    step);
		else if (dice < 75)
			prop_free(i, AT(i) + (dice == 74));
		else if (dice < 99)
			prop_set(i, dice < 84);
		else if (nr_owned_granules < MAX_GRANULES - 4) {
			cr_assert_eq(mmk_range_grow(&ranges, 3 * GRANULE),
			    MMK_OK);
			nr_owned_granules += 3;
		}
		if (step % 16 != 0)
			continue;
		cr_assert(mmk_range_check(&ranges), "seed %llu step %u",
		    (unsigned long long)start_seed, step);
		prop_compare();
		cr_assert_eq(mmk_range_refill(&reserve), MMK_OK);
	}
}

/* ---- what is a bug ------------------------------------------------------- */

TestSuite(range_bugs, .init = begin);

Test(range_bugs, a_size_that_is_no_multiple_of_the_granule, .signal = SIGABRT)
{
	struct mmk_ranges other;
	enum mmk_err err = mmk_range_init(&other, &reserve, 0, GRANULE + 1,
	    GRANULE);

	(void)err;
}

Test(range_bugs, a_range_that_wraps, .signal = SIGABRT)
{
	struct mmk_ranges other;
	enum mmk_err err = mmk_range_init(&other, &reserve,
	    UINT64_MAX - GRANULE + 2, GRANULE, GRANULE);

	(void)err;
}

Test(range_bugs, growing_beyond_the_last_address, .signal = SIGABRT)
{
	enum mmk_err err = mmk_range_grow(&ranges, UINT64_MAX - GRANULE + 1);

	(void)err;
}

Test(range_bugs, a_reserve_that_is_still_used, .signal = SIGABRT)
{
	mmk_range_reserve_fini(&reserve);
}
