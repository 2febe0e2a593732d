/* SPDX-License-Identifier: MIT
 *
 * ports/sim/cpu.c: CPUs: loads and stores, TLBs, invalidation, what they catch
 *
 * WHAT    A CPU's mutex is held through look-up, walk, fill and the copy of the
 *         bytes, so that an invalidation returns only when no access that uses
 *         the old translation is under way: what a shootdown promises.
 * LOCKS   a CPU's TLB mutex > the shared part of the TLBs. Hooks run with none.
 */
#include "sim_internal.h"
#include "tlb.h"

#include <string.h>

#define TRIES_MAX 8

/* Guards: [I] immutable after boot  [T] tlb.mutex */
struct cpu {
	struct sim_tlb tlb;
	struct sim_tlb upper; /* [T] what it has of upper entries */
	uint64_t root_pa; /* [T] */
	uint64_t kernel_root_pa; /* [T] as sim_cpu_set_kernel_root says */
	uint64_t space;   /* [T] what its translations are filed under */
	bool is_user;     /* [T] */
	uint64_t keys;    /* [T] PKRU or POR_EL0 */
};

static struct cpu cpus[SIM_CPU_MAX];
static struct sim_mmu mmu; /* [I] */
static struct sim_counters counters; /* [a] */
static bool stale_hits_forbidden;    /* [a] */

/* [I] set before the CPUs run */
static struct {
	sim_fault_handler *fault;
	void *fault_ctx;
	sim_invalidate_hook *invalidate;
	void *invalidate_ctx;
} hooks;

#define COUNT(field) \
	((void)__atomic_add_fetch(&counters.field, 1, __ATOMIC_RELAXED))

/* What the tables can tell apart, or what Arm takes of it. */
unsigned
sim_va_bits(void)
{
	const struct sim_config *config = &sim_machine.config;
	unsigned va_bits = MMKIT_PAGE_SHIFT +
	    (MMKIT_PAGE_SHIFT - 3u) * config->nr_levels;
	unsigned most_bits = config->wide_addresses ? 52 : 48;

	if (config->arch == SIM_ARCH_AARCH64 && va_bits > most_bits)
		return most_bits;
	return va_bits;
}

unsigned
sim_pa_bits(void)
{
	const struct sim_config *config = &sim_machine.config;

	return config->arch == SIM_ARCH_X86_64 || config->wide_addresses ? 52
	                                                                 : 48;
}

void
sim_cpus_boot(void)
{
	const struct sim_config *config = &sim_machine.config;
	bool is_x86_64 = config->arch == SIM_ARCH_X86_64;

	sim_tlb_shared_boot(config->ram_bytes);
	sim_ipis_boot();
	mmu.nr_levels = config->nr_levels;
	mmu.page_shift = MMKIT_PAGE_SHIFT;
	mmu.va_bits = sim_va_bits();
	mmu.pa_bits = sim_pa_bits();
	mmu.hardware_ad = is_x86_64 || !config->software_ad;
	mmu.has_ds = config->wide_addresses && MMKIT_PAGE_SHIFT < 16;
	mmu.memory_types = config->memory_types;
	memset(&counters, 0, sizeof counters);
	memset(&hooks, 0, sizeof hooks);
	sim_forbid_stale_hits(false);
	for (unsigned i = 0; i < SIM_CPU_MAX; i++) {
		pthread_mutex_init(&cpus[i].tlb.mutex, NULL);
		cpus[i].root_pa = SIM_NO_ROOT;
		cpus[i].kernel_root_pa = SIM_NO_ROOT;
		cpus[i].space = config->tag_bits > 0 ? 0 : SIM_NO_ROOT;
		cpus[i].is_user = true;
		cpus[i].keys = is_x86_64 ? 0 : SIM_KEYS_ALL_ARM;
	}
}

/* locks: tlb.mutex. */
static void
forget_all(struct cpu *self)
{
	sim_tlb_remove_all(&self->tlb);
	sim_tlb_remove_all(&self->upper);
}

/* Of one space, which does not reach what is good in all. locks: tlb.mutex. */
static void
forget_space(struct cpu *self, uint64_t space)
{
	sim_tlb_remove_space(&self->tlb, space);
	sim_tlb_remove_space(&self->upper, space);
}

/*
 * [start_va, last_va]. On x86_64 upper entries go with it for whatever address
 * (SDM 4.10.4.1), on Arm those that translate some of it. locks: tlb.mutex.
 */
static void
forget_range(struct cpu *self, uint64_t space, uint64_t start_va,
    uint64_t last_va)
{
	bool is_arm = sim_machine.config.arch == SIM_ARCH_AARCH64;

	sim_tlb_remove_range(&self->tlb, space, start_va, last_va);
	sim_tlb_remove_range(&self->upper, space, is_arm ? start_va : 0,
	    is_arm ? last_va : UINT64_MAX);
}

void
sim_cpus_drop(void)
{
	sim_ipis_drop();
	for (unsigned i = 0; i < SIM_CPU_MAX; i++) {
		forget_all(&cpus[i]);
		pthread_mutex_destroy(&cpus[i].tlb.mutex);
	}
	sim_tlb_shared_drop();
}

static struct cpu *
cpu_at(unsigned cpu)
{
	if (cpu >= sim_cpu_count())
		sim_panic("sim: no such CPU");
	return &cpus[cpu];
}

static bool
has_tags(void)
{
	return sim_machine.config.tag_bits > 0;
}

static bool
is_x86_64(void)
{
	return sim_machine.config.arch == SIM_ARCH_X86_64;
}

/* Tags, and flushes that concern only the one that a CPU is in. */
static bool
keeps_to_itself(void)
{
	return has_tags() && is_x86_64();
}

/* What a CPU walks that has no root of its own. */
static uint64_t
idle_root(const struct cpu *self)
{
	return is_x86_64() ? self->kernel_root_pa : SIM_NO_ROOT;
}

/* Loading CR3 drops what was made by the kernel's. locks: tlb.mutex. */
static void
leave_idle(struct cpu *self)
{
	if (is_x86_64() && self->kernel_root_pa != SIM_NO_ROOT &&
	    self->space == self->kernel_root_pa)
		forget_space(self, self->space);
}

void
sim_cpu_set_root(unsigned cpu, uint64_t root_pa)
{
	struct cpu *self = cpu_at(cpu);

	if (has_tags()) {
		sim_cpu_set_tag(cpu, root_pa, 0, false);
		return;
	}
	pthread_mutex_lock(&self->tlb.mutex);
	leave_idle(self);
	self->root_pa = root_pa;
	self->space = root_pa;
	pthread_mutex_unlock(&self->tlb.mutex);
}

void
sim_cpu_set_tag(unsigned cpu, uint64_t root_pa, uint64_t tag, bool is_kept)
{
	struct cpu *self = cpu_at(cpu);
	const struct sim_tlb_entry *doomed = NULL;
	uint64_t va = 0;

	if (tag >> sim_machine.config.tag_bits != 0)
		sim_panic("sim: a tag that has too many bits");
	pthread_mutex_lock(&self->tlb.mutex);
	if (!is_kept)
		forget_space(self, tag);
	else
		doomed = sim_tlb_find_doomed(&self->tlb, tag);
	if (is_kept && doomed == NULL)
		doomed = sim_tlb_find_doomed(&self->upper, tag);
	if (doomed != NULL)
		va = doomed->va;
	self->root_pa = root_pa;
	self->space = tag;
	pthread_mutex_unlock(&self->tlb.mutex);
	if (doomed != NULL)
		sim_violation("CPU %u came back to tag %llu and kept 0x%llx, "
		              "which leads to a page that was freed",
		    cpu, (unsigned long long)tag, (unsigned long long)va);
}

void
sim_cpu_clear_root(unsigned cpu)
{
	struct cpu *self = cpu_at(cpu);
	uint64_t left, idle_pa;

	pthread_mutex_lock(&self->tlb.mutex);
	left = self->space;
	idle_pa = idle_root(self);
	if (!has_tags()) {
		self->root_pa = idle_pa;
		self->space = idle_pa;
		forget_space(self, left);
	}
	pthread_mutex_unlock(&self->tlb.mutex);
	if (has_tags())
		sim_cpu_set_tag(cpu, idle_pa, 0, left != 0);
}

void
sim_cpu_set_kernel_root(unsigned cpu, uint64_t root_pa)
{
	struct cpu *self = cpu_at(cpu);

	pthread_mutex_lock(&self->tlb.mutex);
	if (is_x86_64() && self->root_pa == self->kernel_root_pa) {
		forget_space(self, self->space);
		self->root_pa = root_pa;
		if (!has_tags())
			self->space = root_pa;
	}
	self->kernel_root_pa = root_pa;
	pthread_mutex_unlock(&self->tlb.mutex);
}

uint64_t
sim_cpu_root(unsigned cpu)
{
	struct cpu *self = cpu_at(cpu);
	uint64_t root_pa;

	pthread_mutex_lock(&self->tlb.mutex);
	root_pa = self->root_pa;
	pthread_mutex_unlock(&self->tlb.mutex);
	return root_pa;
}

void
sim_cpu_set_user(unsigned cpu, bool is_user)
{
	struct cpu *self = cpu_at(cpu);

	pthread_mutex_lock(&self->tlb.mutex);
	self->is_user = is_user;
	pthread_mutex_unlock(&self->tlb.mutex);
}

void
sim_cpu_set_keys(unsigned cpu, uint64_t keys)
{
	struct cpu *self = cpu_at(cpu);

	pthread_mutex_lock(&self->tlb.mutex);
	self->keys = keys;
	pthread_mutex_unlock(&self->tlb.mutex);
}

void
sim_on_fault(sim_fault_handler *handler, void *ctx)
{
	hooks.fault_ctx = ctx;
	hooks.fault = handler;
}

void
sim_on_invalidate(sim_invalidate_hook *hook, void *ctx)
{
	hooks.invalidate_ctx = ctx;
	hooks.invalidate = hook;
}

void
sim_forbid_stale_hits(bool forbid)
{
	__atomic_store_n(&stale_hits_forbidden, forbid, __ATOMIC_RELEASE);
}

void
sim_counters(struct sim_counters *out)
{
#define READ(field) \
	(out->field = __atomic_load_n(&counters.field, __ATOMIC_RELAXED))
	READ(nr_hits);
	READ(nr_walks);
	READ(nr_fills);
	READ(nr_faults);
	READ(nr_invalidations);
	READ(nr_shootdowns);
	READ(nr_stale_hits);
	READ(nr_short_walks);
#undef READ
}

uint64_t
sim_tlb_count(unsigned cpu)
{
	struct cpu *self = cpu_at(cpu);
	uint64_t nr;

	pthread_mutex_lock(&self->tlb.mutex);
	nr = self->tlb.nr_entries;
	pthread_mutex_unlock(&self->tlb.mutex);
	return nr;
}

uint64_t
sim_upper_count(unsigned cpu)
{
	struct cpu *self = cpu_at(cpu);
	uint64_t nr;

	pthread_mutex_lock(&self->tlb.mutex);
	nr = self->upper.nr_entries;
	pthread_mutex_unlock(&self->tlb.mutex);
	return nr;
}

/* ---- translation --------------------------------------------------------- */

const char *
sim_fault_name(enum sim_fault fault)
{
	switch (fault) {
	case SIM_FAULT_NONE:
		return "no fault";
	case SIM_FAULT_NOT_PRESENT:
		return "not present";
	case SIM_FAULT_PERMISSION:
		return "permission";
	case SIM_FAULT_ACCESS_FLAG:
		return "access flag";
	case SIM_FAULT_RESERVED:
		return "reserved bits";
	case SIM_FAULT_ADDRESS:
		return "virtual address";
	case SIM_FAULT_ADDRESS_SIZE:
		return "address size";
	case SIM_FAULT_TABLE:
		return "table outside RAM";
	}
	return "unknown fault";
}

static void
walk_from(const struct sim_walk_request *request, const struct sim_way *way,
    struct sim_walk *out)
{
	if (request->root_pa == SIM_NO_ROOT) {
		*out = (struct sim_walk){ .fault = SIM_FAULT_NOT_PRESENT };
		return;
	}
	if (sim_machine.config.arch == SIM_ARCH_X86_64)
		sim_walk_x86_64_from(&mmu, request, way, out);
	else
		sim_walk_aarch64_from(&mmu, request, way, out);
}

void
sim_walk(const struct sim_walk_request *request, struct sim_walk *out)
{
	walk_from(request, NULL, out);
}

static bool
is_free(uint64_t pa)
{
	const struct sim_reach *reach = sim_reach_of(pa);

	return reach != NULL &&
	    __atomic_load_n(&reach->is_free, __ATOMIC_SEQ_CST) != 0;
}

/* Say what is wrong with the tables, if anything. */
static void
judge_walk(uint64_t va, const struct sim_walk *walk)
{
	/* What is not valid in the end breaks nothing. */
	unsigned nr_valid = walk->fault == SIM_FAULT_NOT_PRESENT
	    ? walk->nr_entries - (walk->nr_entries > 0)
	    : walk->nr_entries;
	uint64_t cached;

	if (walk->malformed != NULL)
		sim_violation("malformed table: %s (va 0x%llx, level %u)",
		    walk->malformed, (unsigned long long)va, walk->level);
	if (sim_machine.config.arch != SIM_ARCH_AARCH64)
		return;
	for (unsigned i = 0; i < nr_valid; i++)
		if (sim_is_cached_otherwise(walk->entry_pas[i],
		        walk->fixed[i], &cached))
			sim_violation("break before make: entry 0x%llx, va "
			              "0x%llx: 0x%llx is cached, 0x%llx is "
			              "there",
			    (unsigned long long)walk->entry_pas[i],
			    (unsigned long long)va,
			    (unsigned long long)cached,
			    (unsigned long long)walk->fixed[i]);
}

/*
 * What the walk found is in the caches: whoever frees one of its pages from now
 * on finds it there; whoever has done so already is found here.
 */
static void
judge_fill(unsigned cpu, uint64_t va, const struct sim_walk *walk)
{
	for (unsigned i = 0; i < walk->nr_entries; i++)
		if (is_free(walk->entry_pas[i]))
			sim_violation("CPU %u translates va 0x%llx through "
			              "free page 0x%llx as a table",
			    cpu, (unsigned long long)va,
			    (unsigned long long)(walk->entry_pas[i] &
			        ~(SIM_GRAIN_BYTES - 1)));
	if (walk->fault == SIM_FAULT_NONE && is_free(walk->pa))
		sim_violation("CPU %u translates va 0x%llx to free page 0x%llx",
		    cpu, (unsigned long long)va, (unsigned long long)walk->pa);
}

/* What the tables say to the request. */
static void
look_up(const struct sim_walk_request *request, struct sim_walk *out)
{
	struct sim_walk_request look = *request;

	look.is_probe = true;
	sim_walk(&look, out);
}

/* Is `pa`, from a cache, what the tables say? Counts and reports if not. */
static void
judge_use(unsigned cpu, const struct sim_walk_request *request, uint64_t pa,
    const struct sim_walk *found)
{
	bool is_stale;

	/* Forgetting that a page was used needs no flush. */
	if (found->fault == SIM_FAULT_ACCESS_FLAG)
		return;
	is_stale = found->fault != SIM_FAULT_NONE || found->pa != pa ||
	    (request->access == SIM_WRITE && mmu.hardware_ad &&
	        !found->is_dirty);
	if (!is_stale)
		return;
	COUNT(nr_stale_hits);
	if (__atomic_load_n(&stale_hits_forbidden, __ATOMIC_ACQUIRE))
		sim_violation("CPU %u used a stale translation 0x%llx -> "
		              "0x%llx (tables: %s, 0x%llx%s)",
		    cpu, (unsigned long long)request->va,
		    (unsigned long long)pa, sim_fault_name(found->fault),
		    (unsigned long long)found->pa,
		    found->is_dirty ? "" : ", clean");
}

/* The same of a walk that began in the cache of upper entries. */
static void
judge_short_walk(unsigned cpu, const struct sim_walk_request *request,
    const struct sim_walk *walk)
{
	struct sim_walk found;

	if (walk->nr_cached == 0)
		return;
	COUNT(nr_short_walks);
	look_up(request, &found);
	judge_walk(request->va, &found);
	if (walk->fault == SIM_FAULT_NONE)
		judge_use(cpu, request, walk->pa, &found);
}

/* The upper entries that the walk has read stay, whatever it came to. */
static void
keep_upper(struct cpu *self, uint64_t va, const struct sim_walk *walk)
{
	for (unsigned nr = walk->nr_cached + 1; nr < walk->nr_entries; nr++)
		sim_tlb_insert_upper(&self->upper, self->space, va, walk, nr,
		    mmu.page_shift +
		        (mmu.page_shift - 3) * (mmu.nr_levels - nr));
}

/*
 * A walk from the deepest upper entry that is cached. At a fault x86_64 forgets
 * those it used (SDM 4.10.4.1), but may walk again before anybody asks it to.
 */
static void
walk_and_keep(unsigned cpu, const struct sim_walk_request *request,
    struct sim_walk *walk)
{
	struct cpu *self = &cpus[cpu];
	const struct sim_tlb_entry *upper =
	    sim_tlb_lookup(&self->upper, self->space, request->va);

	walk_from(request, upper != NULL ? &upper->way : NULL, walk);
	judge_walk(request->va, walk);
	judge_short_walk(cpu, request, walk);
	if (walk->fault != SIM_FAULT_NONE && walk->nr_cached > 0 &&
	    is_x86_64()) {
		struct sim_walk again;

		sim_tlb_remove_range(&self->upper, self->space, request->va,
		    request->va);
		sim_walk(request, &again);
		keep_upper(self, request->va, &again);
		judge_fill(cpu, request->va, &again);
		return;
	}
	keep_upper(self, request->va, walk);
}

/* A cached translation has the right that is asked for. */
static bool
is_allowed(const struct sim_tlb_entry *entry,
    const struct sim_walk_request *request)
{
	unsigned rights = entry->rights[request->is_user];

	if (entry->is_keyed)
		rights = sim_machine.config.arch == SIM_ARCH_X86_64
		    ? sim_keyed_rights_x86_64(request, entry->key, rights)
		    : sim_keyed_rights_aarch64(request, entry->key, rights);
	return (request->access & ~rights) == 0;
}

/* A cached translation that lacks a right: the answer without a walk? */
static bool
is_denied_by_cache(const struct sim_tlb_entry *entry,
    const struct sim_walk_request *request)
{
	return sim_machine.config.caches_denials &&
	    sim_machine.config.arch == SIM_ARCH_AARCH64 && entry != NULL &&
	    !is_allowed(entry, request);
}

/* TLB, else walk and fill. The CPU's mutex is held. */
static bool
translate(unsigned cpu, uint64_t va, unsigned access, uint64_t *pa_out,
    struct sim_walk *walk)
{
	struct cpu *self = &cpus[cpu];
	bool is_upper = !is_x86_64() && (va >> 55 & 1) != 0 &&
	    self->kernel_root_pa != SIM_NO_ROOT;
	struct sim_walk_request request = {
		is_upper ? self->kernel_root_pa : self->root_pa, va, access,
		self->is_user, false, true, self->keys, is_upper };
	struct sim_tlb_entry *entry =
	    sim_tlb_lookup(&self->tlb, self->space, va);

	if (entry != NULL && is_allowed(entry, &request) &&
	    (access != SIM_WRITE || entry->is_dirty)) {
		COUNT(nr_hits);
		*pa_out = entry->pa + (va - entry->va);
		look_up(&request, walk);
		judge_use(cpu, &request, *pa_out, walk);
		*walk = (struct sim_walk){ 0 };
		return true;
	}
	if (is_denied_by_cache(entry, &request)) {
		*walk = (struct sim_walk){ .fault = SIM_FAULT_PERMISSION };
		COUNT(nr_faults);
		return false;
	}
	COUNT(nr_walks);
	walk_and_keep(cpu, &request, walk);
	/* x86_64 drops the entry at a fault, Arm may keep it. */
	if (entry != NULL && (walk->fault == SIM_FAULT_NONE || is_x86_64()))
		sim_tlb_remove(&self->tlb, entry);
	if (walk->fault != SIM_FAULT_NONE) {
		COUNT(nr_faults);
		judge_fill(cpu, va, walk);
		return false;
	}
	COUNT(nr_fills);
	sim_tlb_insert(&self->tlb, self->space, va, walk);
	judge_fill(cpu, va, walk);
	*pa_out = walk->pa;
	return true;
}

bool
sim_translate(unsigned cpu, uint64_t va, unsigned access, uint64_t *pa_out,
    struct sim_walk *walk_out)
{
	struct cpu *self = cpu_at(cpu);
	struct sim_walk walk;
	bool is_ok;

	sim_ipi_tick(cpu);
	pthread_mutex_lock(&self->tlb.mutex);
	is_ok = translate(cpu, va, access, pa_out, &walk);
	pthread_mutex_unlock(&self->tlb.mutex);
	if (walk_out != NULL)
		*walk_out = walk;
	return is_ok;
}

/* ---- loads and stores ---------------------------------------------------- */

/*
 * The bytes of a program: several CPUs may race for them, so they move in
 * relaxed atomic words, and a race checker sees only races of the kernel.
 */
static void
move_bytes(unsigned char *ram, void *buf, size_t bytes, bool is_store)
{
	unsigned char *own = (unsigned char *)buf;
	uint64_t word;

	while (bytes > 0) {
		bool is_word = ((uintptr_t)ram & 7) == 0 && bytes >= 8;
		size_t step = is_word ? 8 : 1;

		if (is_word && is_store) {
			memcpy(&word, own, 8);
			__atomic_store_n((uint64_t *)(void *)ram, word,
			    __ATOMIC_RELAXED);
		} else if (is_word) {
			word = __atomic_load_n((uint64_t *)(void *)ram,
			    __ATOMIC_RELAXED);
			memcpy(own, &word, 8);
		} else if (is_store) {
			__atomic_store_n(ram, *own, __ATOMIC_RELAXED);
		} else {
			*own = __atomic_load_n(ram, __ATOMIC_RELAXED);
		}
		ram += step;
		own += step;
		bytes -= step;
	}
}

/* One try at bytes inside one page: 0, SIM_FAULT or SIM_BUS. */
static int
try_access(unsigned cpu, uint64_t va, void *buf, size_t bytes,
    unsigned access)
{
	struct cpu *self = cpu_at(cpu);
	struct sim_walk walk;
	uint64_t pa;
	int result = SIM_FAULT;

	sim_ipi_tick(cpu);
	pthread_mutex_lock(&self->tlb.mutex);
	if (translate(cpu, va, access, &pa, &walk)) {
		uint64_t offset_bytes = pa - sim_ram.base_pa;

		result = SIM_BUS;
		if (offset_bytes < sim_ram.bytes) {
			move_bytes(sim_ram.ptr + offset_bytes, buf, bytes,
			    access == SIM_WRITE);
			result = 0;
		}
	}
	pthread_mutex_unlock(&self->tlb.mutex);
	return result;
}

static int
call_handler(unsigned cpu, uint64_t va, unsigned access)
{
	unsigned caller_cpu = sim_cpu_id();
	int result;

	sim_set_cpu(cpu);
	result = hooks.fault(hooks.fault_ctx, cpu, va, access);
	sim_set_cpu(caller_cpu);
	return result;
}

static int
access_in_page(unsigned cpu, uint64_t va, void *buf, size_t bytes,
    unsigned access)
{
	for (int i = 0; i < TRIES_MAX; i++) {
		int result = try_access(cpu, va, buf, bytes, access);

		if (result != SIM_FAULT || hooks.fault == NULL)
			return result;
		result = call_handler(cpu, va, access);
		if (result != 0)
			return result;
	}
	return SIM_STUCK;
}

static int
access_bytes(unsigned cpu, uint64_t va, void *buf, size_t bytes,
    unsigned access)
{
	unsigned char *own = (unsigned char *)buf;

	while (bytes > 0) {
		uint64_t left_bytes =
		    SIM_GRAIN_BYTES - (va & (SIM_GRAIN_BYTES - 1));
		size_t step =
		    bytes < left_bytes ? bytes : (size_t)left_bytes;
		int result = access_in_page(cpu, va, own, step, access);

		if (result != 0)
			return result;
		va += step;
		own += step;
		bytes -= step;
	}
	return 0;
}

int
sim_load(unsigned cpu, uint64_t va, void *buf, size_t bytes)
{
	return access_bytes(cpu, va, buf, bytes, SIM_READ);
}

int
sim_store(unsigned cpu, uint64_t va, const void *buf, size_t bytes)
{
	/* Only read from; one mover serves both directions. */
	return access_bytes(cpu, va, (void *)(uintptr_t)buf, bytes,
	    SIM_WRITE);
}

int
sim_fetch(unsigned cpu, uint64_t va, void *buf, size_t bytes)
{
	return access_bytes(cpu, va, buf, bytes, SIM_EXEC);
}

/* ---- invalidation -------------------------------------------------------- */

/* [start_va, last_va] under every tag. locks: tlb.mutex. */
static void
forget_everywhere(struct cpu *self, uint64_t start_va, uint64_t last_va)
{
	if (keeps_to_itself()) {
		forget_all(self);
	} else if (is_x86_64()) {
		forget_range(self, self->space, start_va, last_va);
	} else {
		sim_tlb_remove_anywhere(&self->tlb, start_va, last_va);
		sim_tlb_remove_anywhere(&self->upper, start_va, last_va);
	}
}

void
sim_cpu_invalidate(unsigned cpu, void *pmap, uint64_t space,
    uint64_t start_va, uint64_t end_va)
{
	struct cpu *self = cpu_at(cpu);

	if (start_va == end_va)
		return;
	COUNT(nr_invalidations);
	pthread_mutex_lock(&self->tlb.mutex);
	/* Of a tag that it is not in x86_64 can only drop all. An end of 0 is
	 * the top of the address space. */
	if (space == SIM_EVERY_SPACE)
		forget_everywhere(self, start_va, end_va - 1);
	else if (keeps_to_itself() && self->space != space)
		forget_space(self, space);
	else
		forget_range(self, space, start_va, end_va - 1);
	pthread_mutex_unlock(&self->tlb.mutex);
	if (hooks.invalidate != NULL)
		hooks.invalidate(hooks.invalidate_ctx,
		    (struct mmk_pmap *)pmap, start_va, end_va);
}

void
sim_tlb_invalidate(void *pmap, uint64_t space, uint64_t start_va,
    uint64_t end_va)
{
	sim_cpu_invalidate(sim_cpu_id(), pmap, space, start_va, end_va);
}

void
sim_tlb_broadcast(void *pmap, uint64_t space, uint64_t start_va,
    uint64_t end_va)
{
	for (unsigned i = 0; i < sim_cpu_count(); i++)
		sim_cpu_invalidate(i, pmap, space, start_va, end_va);
}

void
sim_tlb_invalidate_page(void *pmap, uint64_t space, uint64_t va)
{
	struct cpu *self = cpu_at(sim_cpu_id());

	(void)pmap;
	COUNT(nr_invalidations);
	pthread_mutex_lock(&self->tlb.mutex);
	if (space == SIM_EVERY_SPACE)
		forget_everywhere(self, va, va);
	else
		forget_range(self, space, va, va);
	pthread_mutex_unlock(&self->tlb.mutex);
}

void
sim_cpu_count_shootdown(void)
{
	COUNT(nr_shootdowns);
}

/* ---- pages that come and go ---------------------------------------------- */

typedef const struct sim_tlb_entry *find_fn(struct sim_tlb *tlb, uint64_t pa,
    uint64_t space, bool dooms);

/* One cache of CPU number `i`, and whether it reaches what is free now. */
static void
report_reach(unsigned i, struct sim_tlb *tlb, find_fn *find, uint64_t pa,
    const char *words)
{
	const struct sim_tlb_entry *entry;
	uint64_t va = 0;

	pthread_mutex_lock(&cpus[i].tlb.mutex);
	entry = find(tlb, pa, cpus[i].space, keeps_to_itself());
	if (entry != NULL)
		va = entry->va;
	pthread_mutex_unlock(&cpus[i].tlb.mutex);
	if (entry != NULL)
		sim_violation("%s 0x%llx: CPU %u still has 0x%llx", words,
		    (unsigned long long)pa, i, (unsigned long long)va);
}

static void
report_page(uint64_t pa)
{
	for (unsigned i = 0; i < sim_cpu_count(); i++)
		report_reach(i, &cpus[i].tlb, sim_tlb_find_page, pa,
		    "frame freed while a TLB maps");
}

static void
report_table(uint64_t pa)
{
	for (unsigned i = 0; i < sim_cpu_count(); i++) {
		report_reach(i, &cpus[i].tlb, sim_tlb_find_table, pa,
		    "table freed while a TLB holds what was made through");
		report_reach(i, &cpus[i].upper, sim_tlb_find_table, pa,
		    "table freed while an upper entry is cached that leads to");
	}
}

/* Calls of the checker name whole pages only in part: keep to the whole. */
void
sim_cpus_page_freed(uint64_t pa, uint64_t bytes)
{
	uint64_t end_pa = (pa + bytes) & ~(SIM_GRAIN_BYTES - 1);

	pa = (pa + SIM_GRAIN_BYTES - 1) & ~(SIM_GRAIN_BYTES - 1);
	for (; pa < end_pa; pa += SIM_GRAIN_BYTES) {
		struct sim_reach *reach = sim_reach_of(pa);

		if (reach == NULL)
			return;
		__atomic_store_n(&reach->is_free, 1, __ATOMIC_SEQ_CST);
		if (__atomic_load_n(&reach->nr_pages, __ATOMIC_SEQ_CST) != 0)
			report_page(pa);
		if (__atomic_load_n(&reach->nr_tables, __ATOMIC_SEQ_CST) != 0)
			report_table(pa);
	}
}

void
sim_cpus_page_used(uint64_t pa, uint64_t bytes)
{
	uint64_t end_pa = pa + bytes;

	for (pa &= ~(SIM_GRAIN_BYTES - 1); pa < end_pa;
	     pa += SIM_GRAIN_BYTES) {
		struct sim_reach *reach = sim_reach_of(pa);

		if (reach == NULL)
			return;
		__atomic_store_n(&reach->is_free, 0, __ATOMIC_RELEASE);
	}
}
