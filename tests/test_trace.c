/* SPDX-License-Identifier: MIT
 *
 * tests/test_trace.c: one random life of three address spaces, on every format
 * of page tables
 *
 * WHAT    The steps are drawn once and replayed on each machine. After each
 *         step every page is looked at through a simulated CPU: what an access
 *         ends in, the bytes, which pages share a frame (frames are numbered
 *         as they are met: where one lies depends on how many tables there
 *         are), and the rights. All machines must have seen the same. What
 *         pmap believes of each page is compared with what the walker of the
 *         manual finds in the tables.
 */
#include "prop.h"
#include "vm_fixture.h"

#include "ports/sim/walk.h"

/* Of every page of all spaces: forks have it from the first. */
#define ATTRIBUTES (MMK_PMAP_KEY(5) | MMK_PMAP_THROUGH)
#define SPACES 3u
#define PAGES 40u
#define MOST_STEPS 2000u
#define HIGH_PA UINT64_C(0xb400000000000) /* bits 51, 49, 48, 46 */

struct step {
	unsigned op, space, other, prot;
	uint64_t page, nr_pages, word;
	bool is_shared;
};

enum { MAP, UNMAP, PROTECT, FORK, EXIT, WRITE, TRIM, DISCARD, COMPACT, MOVE,
	NR_OPS };

static struct {
	uint64_t seed;
	unsigned nr_steps;
	struct step steps[MOST_STEPS];
	uint64_t digests[MOST_STEPS]; /* of the first machine */
	bool is_first;
	const char *format;
	mmk_va base_va; /* where the pages are on this machine */
} r;

static struct {
	uint64_t hash;
	mmk_pa pas[SPACES * PAGES]; /* frames met in this look */
	unsigned nr_pas;
} look;

/* ---- the steps ------------------------------------------------------------- */

static void
draw_steps(void)
{
	/* What every architecture can say, so that all say the same. */
	static const unsigned prots[] = { RW, RW, RW, RO,
		RO | MMK_PROT_EXEC, ALL, 0 };
	uint64_t state;

	r.seed = mmk_test_seed();
	state = r.seed;
	r.nr_steps = mmk_test_steps(400);
	if (r.nr_steps > MOST_STEPS)
		r.nr_steps = MOST_STEPS;
	for (unsigned i = 0; i < r.nr_steps; i++) {
		struct step *s = &r.steps[i];

		s->op = (unsigned)(mmk_test_random(&state) % (NR_OPS + 6));
		s->op = s->op < NR_OPS ? s->op : s->op % 2 ? WRITE : MAP;
		s->space = (unsigned)(mmk_test_random(&state) % SPACES);
		s->other = (unsigned)(mmk_test_random(&state) % SPACES);
		s->prot = prots[mmk_test_random(&state) % 7];
		s->page = mmk_test_random(&state) % PAGES;
		s->nr_pages = 1 + mmk_test_random(&state) % 12;
		if (s->page + s->nr_pages > PAGES)
			s->nr_pages = PAGES - s->page;
		s->word = mmk_test_random(&state);
		s->is_shared = mmk_test_random(&state) % 4 == 0;
	}
}

static mmk_va
va_of(uint64_t page)
{
	return r.base_va + page * PAGE;
}

/* Where a page may go that a DMA request wants the frame of. */
static void
take_frame_of(const struct step *s)
{
	struct mmk_compaction effort = { .max_moves = 16 };
	struct mmk_run_request request = { .nr_pages = 1,
		.use = MMK_USE_KERNEL };
	mmk_pfn pfn;
	mmk_pa pa = vm_pa(s->space, va_of(s->page));

	if (pa == UINT64_MAX)
		return;
	request.lo_pa = pa;
	request.limit_pa = pa + PAGE;
	if (mmk_compact_run(&t.phys, &effort, &request, &pfn) != MMK_OK)
		return;
	memset(MMKIT_PHYS_TO_PTR(pa), 0xcc, PAGE);
	mmk_run_free(&t.phys, pfn, 1);
}

static void
trim(const struct step *s)
{
	struct mmk_frame *frame = vm_frame(s->space, va_of(s->page));

	if (frame != NULL)
		mmk_page_remove_all(&t.sys, frame);
}

static enum mmk_err
do_map(const struct step *s)
{
	mmk_va va;

	return mmk_mmap(vm_sp(s->space), va_of(s->page), s->nr_pages * PAGE,
	    s->prot, ALL, (s->is_shared ? ANON_SHARED : ANON_PRIVATE) |
	    MMK_MAP_FIXED, NULL, 0, &va);
}

static enum mmk_err
do_move(const struct step *s)
{
	mmk_va to_va = va_of(s->word % PAGES), va;

	if (to_va + s->nr_pages * PAGE > va_of(PAGES))
		return MMK_OK;
	return mmk_mremap(vm_sp(s->space), va_of(s->page), s->nr_pages * PAGE,
	    s->nr_pages * PAGE, MMK_REMAP_MAYMOVE | MMK_REMAP_FIXED, to_va,
	    &va);
}

/* What it ends in is part of what all machines must agree on. */
static enum mmk_err
do_step(const struct step *s)
{
	mmk_va va = va_of(s->page);
	uint64_t bytes = s->nr_pages * PAGE;

	if (s->op == FORK && !t.is_live[s->other] && t.is_live[s->space])
		return vm_try_fork(s->other, s->space);
	if (!t.is_live[s->space])
		return MMK_OK;
	switch (s->op) {
	case MAP: return do_map(s);
	case UNMAP: return mmk_munmap(vm_sp(s->space), va, bytes);
	case PROTECT: return mmk_mprotect(vm_sp(s->space), va, bytes, s->prot);
	case DISCARD: return mmk_discard(vm_sp(s->space), va, bytes);
	case MOVE: return do_move(s);
	case WRITE:
		return (enum mmk_err)vm_store(s->space,
		    va + s->word % (PAGE / 8) * 8, &s->word, 8);
	case EXIT:
		if (s->space != 0)
			vm_exit(s->space);
		break;
	case TRIM: trim(s); break;
	case COMPACT: take_frame_of(s); break;
	default: break;
	}
	return MMK_OK;
}

/* ---- what is seen ------------------------------------------------------------ */

static void
add(uint64_t word)
{
	look.hash = (look.hash ^ word) * 1099511628211u;
}

/* The number of the frame, as they are met. */
static unsigned
number_of(mmk_pa pa)
{
	for (unsigned i = 0; i < look.nr_pas; i++)
		if (look.pas[i] == pa)
			return i;
	look.pas[look.nr_pas] = pa;
	return look.nr_pas++;
}

/* The manual's walker and pmap read the same out of the tables. */
static void
check_walk(unsigned space, mmk_va va, const struct mmk_translation *found)
{
	struct mmk_phys *phys = &t.phys;
	struct sim_walk_request request = { 0 };
	struct sim_walk walk;
	unsigned rights = found->flags & MMK_PROT_ALL;

	request.root_pa = mmk_frame_pa(phys, vm_map(space)->pmap.root);
	request.va = va;
	request.is_user = true;
	request.is_probe = true;
	sim_walk(&request, &walk);
	cr_assert_eq(walk.fault, SIM_FAULT_NONE, "%s: %s", r.format,
	    sim_fault_name(walk.fault));
	cr_assert_eq(walk.malformed, NULL);
	cr_assert_eq(walk.pa, found->pa + (va - found->va));
	/* Where marks are made by hand a clean page is not writable yet. */
	if (!sim_shape()->hw_modified && !walk.is_dirty)
		rights &= ~MMK_PROT_WRITE;
	cr_assert_eq(walk.rights[1], rights, "%s: %u, pmap says %u",
	    r.format, walk.rights[1], rights);
	cr_assert_eq(walk.key, 5);
	cr_assert_eq(walk.memory,
	    sim_shape()->arch == SIM_ARCH_X86_64 ? 4 : 0xbb);
}

static void
look_at(unsigned space, mmk_va va)
{
	static unsigned char bytes[MMK_PAGE_BYTES];
	struct mmk_translation found;
	enum mmk_err err = vm_access(space, va, SIM_READ);

	add((uint64_t)err);
	if (err != MMK_OK)
		return;
	cr_assert(vm_query(space, va, &found));
	check_walk(space, va, &found);
	cr_assert_eq(vm_load(space, va, bytes, sizeof bytes), 0);
	for (size_t at = 0; at < sizeof bytes; at += 8) {
		uint64_t word;

		memcpy(&word, bytes + at, 8);
		if (word != 0)
			add(word + at);
	}
	add(number_of(found.pa + (va - found.va)));
	add(found.flags & (MMK_PROT_ALL | MMK_PMAP_USER | MMK_PMAP_KEY_MASK |
	                      MMK_PMAP_TYPE));
}

static uint64_t
look_at_all(void)
{
	look.hash = 14695981039346656037u;
	look.nr_pas = 0;
	for (unsigned space = 0; space < SPACES; space++) {
		add(t.is_live[space]);
		for (uint64_t i = 0; i < PAGES && t.is_live[space]; i++)
			look_at(space, va_of(i));
	}
	return look.hash;
}

/* ---- replays ------------------------------------------------------------------ */

static void
replay(const char *format, const struct sim_config *machine)
{
	/* Where high bits are to be seen, the last pages that there are. */
	bool is_last = machine->base_pa != 0;
	struct sim_config config = *machine;
	mmk_va limit_va;

	config.ram_bytes = 2048 * PAGE;
	config.nr_cpus = 2;
	r.format = format;
	vm_boot_with(&config, NULL);
	mmk_vm_set_movable(&t.vm, true);
	sim_delay_ipis(4, r.seed);
	limit_va = mmk_pt_va_limit(sim_shape());
	r.base_va = is_last ? limit_va - PAGES * PAGE : VA;
	vm_space_at(0, VM_MIN, limit_va);
	vm_map(0)->pmap_flags |= ATTRIBUTES;
	for (unsigned i = 0; i < r.nr_steps; i++) {
		enum mmk_err err = do_step(&r.steps[i]);
		uint64_t digest = look_at_all() ^ (uint64_t)err << 56;

		if (r.is_first)
			r.digests[i] = digest;
		cr_assert_eq(digest, r.digests[i],
		    "MMK_SEED=%llu %s: step %u (op %u, %s) is not as on the "
		    "first machine", (unsigned long long)r.seed, format, i,
		    r.steps[i].op, mmk_err_name(err));
	}
	cr_assert_gt(vm_count(MMK_COUNT_FAULT), 0);
	r.is_first = false;
	vm_end();
}

Test(trace, X8_one_life_is_the_same_on_every_format)
{
	draw_steps();
	r.is_first = true;
#if MMKIT_PAGE_SHIFT == 12
	replay("x86_64", &(struct sim_config){ .arch = SIM_ARCH_X86_64 });
	replay("x86_64, 5 levels", &(struct sim_config){
	    .arch = SIM_ARCH_X86_64, .nr_levels = 5 });
	replay("x86_64, 5 levels, RAM above 2^51", &(struct sim_config){
	    .arch = SIM_ARCH_X86_64, .nr_levels = 5, .base_pa = HIGH_PA });
	replay("x86_64, tags", &(struct sim_config){
	    .arch = SIM_ARCH_X86_64, .tag_bits = 2 });
#endif
	replay("aarch64", &(struct sim_config){ .arch = SIM_ARCH_AARCH64 });
	replay("aarch64, marks by hand", &(struct sim_config){
	    .arch = SIM_ARCH_AARCH64, .software_ad = true });
	replay("aarch64, denials are cached", &(struct sim_config){
	    .arch = SIM_ARCH_AARCH64, .caches_denials = true });
	replay("aarch64, tags", &(struct sim_config){
	    .arch = SIM_ARCH_AARCH64, .tag_bits = 2 });
	replay("aarch64, 52 bits", &(struct sim_config){
	    .arch = SIM_ARCH_AARCH64, .wide_addresses = true });
	replay("aarch64, 52 bits, RAM above 2^51", &(struct sim_config){
	    .arch = SIM_ARCH_AARCH64, .wide_addresses = true,
	    .base_pa = HIGH_PA });
	replay("aarch64, 52 bits, marks by hand", &(struct sim_config){
	    .arch = SIM_ARCH_AARCH64, .wide_addresses = true,
	    .software_ad = true, .base_pa = HIGH_PA >> 1 });
	replay("aarch64, 52 bits, tags", &(struct sim_config){
	    .arch = SIM_ARCH_AARCH64, .wide_addresses = true, .tag_bits = 2,
	    .base_pa = HIGH_PA });
}
