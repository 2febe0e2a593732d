/* SPDX-License-Identifier: MIT
 *
 * tests/vm_fixture.h: a simulated machine with address spaces, for tests
 *
 * WHAT    vm_boot() makes RAM, page tables of either format, a vm; vm_space()
 *         makes address spaces; vm_load() and vm_store() go through simulated
 *         CPUs whose page faults go to mmk_fault(). vm_end() takes everything
 *         down and audits: every frame that was free at boot is free again,
 *         no pool has an item out, the machine saw no violation.
 *
 *         vm_both(body) runs a test on both formats. vm_every_k() runs one
 *         operation with its first allocation failing, then its second, until
 *         it passes without meeting a failure.
 */
#ifndef MMKIT_TESTS_VM_FIXTURE_H
#define MMKIT_TESTS_VM_FIXTURE_H

#include <criterion/criterion.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../mmkit/mmkit.h"
#include "../ports/sim/sim.h"

#define VM_SPACES 4
/* The architectures that have pages of this size. */
#if defined(SIM_ARCH_HERE) /* the machine is real: tests/kernel */
#define VM_ARCHS { SIM_ARCH_HERE }
#elif MMKIT_PAGE_SHIFT == 12
#define VM_ARCHS { SIM_ARCH_X86_64, SIM_ARCH_AARCH64 }
#else
#define VM_ARCHS { SIM_ARCH_AARCH64 }
#endif
#define PAGE ((uint64_t)MMK_PAGE_BYTES)
#define VM_MIN ((mmk_va)0x10000)
#define VM_MAX ((mmk_va)1 << 46)
/* Somewhere in the middle, for fixed mappings. */
#define VA ((mmk_va)0x40000000)

#define RW (MMK_PROT_READ | MMK_PROT_WRITE)
#define RO MMK_PROT_READ
#define ALL MMK_PROT_ALL
#define ANON_PRIVATE (MMK_MAP_ANON | MMK_MAP_PRIVATE)
#define ANON_SHARED (MMK_MAP_ANON | MMK_MAP_SHARED)

struct vm_machine {
	unsigned arch;
	uint64_t nr_free_at_boot;
	struct mmk_phys phys;
	struct mmk_pmap_sys sys;
	struct mmk_vm vm;
	struct mmk_space spaces[VM_SPACES];
	bool is_live[VM_SPACES];
	int on_cpu[SIM_CPU_MAX]; /* the index of a space, or -1 */
	enum mmk_err last_err;   /* of the latest fault */
	uint64_t nr_faults;
};

static struct vm_machine t;
static mmk_pa vm_low_limit_pa; /* for vm_boot_with; 0: all RAM is NORMAL */

static inline struct mmk_space *
vm_sp(unsigned i)
{
	cr_assert(t.is_live[i], "space %u is not there", i);
	return &t.spaces[i];
}

static inline struct mmk_map *
vm_map(unsigned i)
{
	return &vm_sp(i)->map;
}

static inline int
vm_on_fault(void *ctx, unsigned cpu, uint64_t va, unsigned access)
{
	(void)ctx;
	t.nr_faults++;
	if (t.on_cpu[cpu] < 0)
		return SIM_FAULT;
	t.last_err = mmk_fault(vm_map((unsigned)t.on_cpu[cpu]), va, access);
	return (int)t.last_err;
}

/* A pager that waits may be called only so. */
static inline void
vm_no_lock_is_held(void)
{
	for (unsigned i = 0; i < VM_SPACES; i++)
		cr_assert(!t.is_live[i] ||
		    !(sim_lock_is_held(&t.spaces[i].map.mutex) ||
		        sim_lock_is_held(&t.spaces[i].mutex)));
	cr_assert(!sim_lock_is_held(&t.vm.submap_mutex));
	cr_assert(!sim_lock_is_held(&t.vm.lock));
}

static inline uint64_t
vm_nr_free(void)
{
	struct mmk_phys_stats stats;

	mmk_phys_drain(&t.phys);
	mmk_phys_stats_read(&t.phys, &stats);
	return stats.nr_free_pages;
}

/* Frames that hold contents: what a test means by "used". */
static inline uint64_t
vm_nr_anon_pages(void)
{
	struct mmk_phys_stats stats;

	mmk_phys_stats_read(&t.phys, &stats);
	return stats.nr_used_pages[MMK_USE_ANON];
}

static inline uint64_t
vm_count(enum mmk_vm_counter counter)
{
	return t.vm.counters[counter];
}

static inline void
vm_boot_with(const struct sim_config *sim_config,
    const struct mmk_backing *backing)
{
	struct mmk_phys_config config;

	memset(&t, 0, sizeof t);
	memset(&config, 0, sizeof config);
	sim_boot(sim_config);
	sim_forbid_stale_hits(true);
	t.arch = sim_config->arch;
	for (unsigned cpu = 0; cpu < SIM_CPU_MAX; cpu++)
		t.on_cpu[cpu] = -1;
	config.spans = sim_spans(&config.nr_spans);
	config.low_limit_pa = vm_low_limit_pa;
	cr_assert_eq(mmk_phys_init(&t.phys, &config), MMK_OK);
	t.nr_free_at_boot = vm_nr_free();
	cr_assert_eq(mmk_pmap_sys_init(&t.sys, &t.phys, sim_shape()), MMK_OK);
	cr_assert_eq(mmk_vm_init(&t.vm, &t.phys, &t.sys, backing), MMK_OK);
	sim_on_fault(vm_on_fault, NULL);
}

static inline void
vm_boot(unsigned arch)
{
	struct sim_config config = {
		.ram_bytes = 2048 * PAGE, .nr_cpus = 2, .arch = arch
	};

	vm_boot_with(&config, NULL);
}

static inline struct mmk_space *
vm_space_at(unsigned i, mmk_va min_va, mmk_va max_va)
{
	cr_assert(!t.is_live[i]);
	cr_assert_eq(mmk_space_init(&t.spaces[i], &t.vm, min_va, max_va),
	    MMK_OK);
	t.is_live[i] = true;
	return &t.spaces[i];
}

static inline struct mmk_space *
vm_space(unsigned i)
{
	return vm_space_at(i, VM_MIN, VM_MAX);
}

static inline enum mmk_err
vm_try_fork(unsigned child, unsigned parent)
{
	enum mmk_err err;

	cr_assert(!t.is_live[child]);
	err = mmk_space_fork(&t.spaces[child], vm_sp(parent));
	t.is_live[child] = err == MMK_OK;
	return err;
}

static inline void
vm_fork(unsigned child, unsigned parent)
{
	cr_assert_eq(vm_try_fork(child, parent), MMK_OK);
}

static inline void
vm_leave_cpu(unsigned cpu)
{
	int i = t.on_cpu[cpu];

	if (i < 0)
		return;
	sim_set_cpu(cpu);
	mmk_pmap_deactivate(&t.spaces[i].map.pmap, cpu);
	t.on_cpu[cpu] = -1;
}

/* CPU `cpu` runs space i. */
static inline void
vm_run(unsigned cpu, unsigned i)
{
	sim_set_cpu(cpu);
	if (t.on_cpu[cpu] == (int)i)
		return;
	vm_leave_cpu(cpu);
	mmk_pmap_activate(&vm_map(i)->pmap, cpu);
	t.on_cpu[cpu] = (int)i;
}

static inline void
vm_exit(unsigned i)
{
	for (unsigned cpu = 0; cpu < sim_cpu_count(); cpu++)
		if (t.on_cpu[cpu] == (int)i)
			vm_leave_cpu(cpu);
	sim_set_cpu(0);
	mmk_space_fini(vm_sp(i));
	t.is_live[i] = false;
}

/* Everything still there goes; then nothing may be left. */
static inline void
vm_end(void)
{
	struct mmk_pool *pools[] = { &t.vm.node_pool, &t.vm.slots_pool,
		&t.vm.anon_pool, &t.vm.amap_pool, &t.vm.object_pool,
		&t.vm.entry_pool, &t.vm.submap_pool };

	cr_assert(mmk_check(&t.vm));
	for (unsigned i = 0; i < VM_SPACES; i++)
		if (t.is_live[i])
			vm_exit(i);
	for (size_t i = 0; i < sizeof pools / sizeof pools[0]; i++) {
		/* The vm itself keeps one object, until its end. */
		uint64_t nr_kept = pools[i] == &t.vm.object_pool &&
		    t.vm.zero_object != NULL;

		cr_assert_eq(mmk_pool_nr_used(pools[i]), nr_kept, "%llu left in pool %s",
		    (unsigned long long)mmk_pool_nr_used(pools[i]), pools[i]->slabs.name);
	}
	mmk_vm_fini(&t.vm);
	cr_assert_eq(mmk_pool_nr_used(&t.sys.rmap_pool), 0u, "reverse map");
	mmk_pmap_sys_fini(&t.sys);
	cr_assert_eq(vm_nr_free(), t.nr_free_at_boot, "frames leaked: %lld",
	    (long long)(t.nr_free_at_boot - vm_nr_free()));
	cr_assert(mmk_phys_check(&t.phys));
	cr_assert_eq(sim_violations(), 0u, "%s", sim_violation_text());
	mmk_phys_fini(&t.phys);
	sim_shutdown();
}

/* `body` on a fresh machine of each format, with space 0, audited. */
static inline void
vm_both(void (*body)(void))
{
	static const unsigned archs[] = VM_ARCHS;

	for (size_t i = 0; i < sizeof archs / sizeof archs[0]; i++) {
		vm_boot(archs[i]);
		vm_space(0);
		body();
		vm_end();
	}
}

/* ---- memory as a program sees it ------------------------------------- */

static inline int
vm_load(unsigned i, mmk_va va, void *buf, size_t bytes)
{
	unsigned cpu = i % sim_cpu_count();

	vm_run(cpu, i);
	return sim_load(cpu, va, buf, bytes);
}

static inline int
vm_store(unsigned i, mmk_va va, const void *buf, size_t bytes)
{
	unsigned cpu = i % sim_cpu_count();

	vm_run(cpu, i);
	return sim_store(cpu, va, buf, bytes);
}

static inline int
vm_get(unsigned i, mmk_va va)
{
	unsigned char byte = 0;
	int result = vm_load(i, va, &byte, 1);

	cr_assert_eq(result, 0, "space %u: load at %#llx: %d (%s)", i,
	    (unsigned long long)va, result, mmk_err_name(t.last_err));
	return byte;
}

static inline void
vm_put(unsigned i, mmk_va va, int value)
{
	unsigned char byte = (unsigned char)value;
	int result = vm_store(i, va, &byte, 1);

	cr_assert_eq(result, 0, "space %u: store at %#llx: %d (%s)", i,
	    (unsigned long long)va, result, mmk_err_name(t.last_err));
}

/* What a load, a store or a fetch at `va` ends in. */
static inline enum mmk_err
vm_access(unsigned i, mmk_va va, unsigned access)
{
	unsigned cpu = i % sim_cpu_count();
	unsigned char byte = 0;
	int result;

	vm_run(cpu, i);
	if (access == MMK_PROT_EXEC)
		result = sim_fetch(cpu, va, &byte, 1);
	else if (access == MMK_PROT_READ)
		result = sim_load(cpu, va, &byte, 1);
	else
		result = sim_store(cpu, va, &byte, 1);
	cr_assert_geq(result, 0, "the machine is stuck at %#llx: %d",
	    (unsigned long long)va, result);
	return (enum mmk_err)result;
}

static inline bool
vm_query(unsigned i, mmk_va va, struct mmk_translation *out)
{
	return mmk_pmap_query(&vm_map(i)->pmap, va, out);
}

/* The physical address at `va`; UINT64_MAX: no translation. */
static inline mmk_pa
vm_pa(unsigned i, mmk_va va)
{
	struct mmk_translation found;

	return vm_query(i, va, &found) ? found.pa : UINT64_MAX;
}

static inline unsigned
vm_prot(unsigned i, mmk_va va)
{
	struct mmk_translation found;

	return vm_query(i, va, &found) ? found.flags & MMK_PROT_ALL : 0;
}

static inline struct mmk_frame *
vm_frame(unsigned i, mmk_va va)
{
	mmk_pa pa = vm_pa(i, va);

	return pa == UINT64_MAX ? NULL : mmk_frame_of_pa(&t.phys, pa);
}

/* ---- mapping, with an assertion that it works ------------------------ */

static inline mmk_va
vm_mmap(unsigned i, mmk_va va, uint64_t nr_pages, unsigned prot,
    unsigned flags, struct mmk_object *object, uint64_t page)
{
	mmk_va got_va = 0;
	enum mmk_err err = mmk_mmap(vm_sp(i), va, nr_pages * PAGE, prot, ALL,
	    flags, object, page * PAGE, &got_va);

	cr_assert_eq(err, MMK_OK, "mmap: %s", mmk_err_name(err));
	return got_va;
}

/* Private anonymous pages at a fixed address. */
static inline void
vm_anon(unsigned i, mmk_va va, uint64_t nr_pages)
{
	cr_assert_eq(vm_mmap(i, va, nr_pages, RW, ANON_PRIVATE | MMK_MAP_FIXED,
	    NULL, 0), va);
}

static inline void
vm_munmap(unsigned i, mmk_va va, uint64_t nr_pages)
{
	cr_assert_eq(mmk_munmap(vm_sp(i), va, nr_pages * PAGE), MMK_OK);
}

/* The entry that contains `va`. */
static inline struct mmk_entry_info
vm_entry(unsigned i, mmk_va va)
{
	struct mmk_entry_info info;

	memset(&info, 0, sizeof info);
	cr_assert(mmk_map_entry_info(vm_map(i), va, &info));
	cr_assert_leq(info.start_va, va, "no entry at %#llx",
	    (unsigned long long)va);
	return info;
}

/*
 * A number that stands for all that the entries of a map say, whether or not
 * neighbours are joined. Translations do not count, they may be forgotten; nor
 * do private pages: a fault may prepare one and then fail.
 */
static inline uint64_t
vm_digest(unsigned i)
{
	struct mmk_entry_info info;
	uint64_t hash = 14695981039346656037u;

	for (mmk_va at = 0; mmk_map_entry_info(vm_map(i), at, &info);
	     at = info.end_va) {
		for (mmk_va va = info.start_va; va < info.end_va; va += PAGE) {
			uint64_t words[] = { va, info.prot, info.max_prot,
				info.flags, info.inherit,
				(uint64_t)(uintptr_t)info.object,
				info.object_page +
				    (va - info.start_va) / PAGE };

			for (size_t w = 0; w < sizeof words / 8; w++)
				hash = (hash ^ words[w]) * 1099511628211u;
		}
	}
	hash = (hash ^ vm_map(i)->nr_pages) * 1099511628211u;
	return (hash ^ vm_sp(i)->heap_end_va) * 1099511628211u;
}

/*
 * Run `op` after `setup` on fresh machines, its k-th allocation failing, for
 * k = 1, 2, ... until it meets no failure. A failed run must have changed
 * nothing, and must work when tried again. `done` looks at the outcome.
 */
static inline void
vm_every_k(void (*setup)(void), enum mmk_err (*op)(void), void (*done)(void))
{
	static const unsigned archs[] = VM_ARCHS;
	bool is_met = true;

	for (size_t i = 0; i < sizeof archs / sizeof archs[0];
	     i++, is_met = true) {
		for (uint64_t k = 1; is_met; k++) {
			uint64_t before;
			enum mmk_err err;

			vm_boot(archs[i]);
			vm_space(0);
			setup();
			before = vm_digest(0);
			sim_fail_at(k);
			err = op();
			is_met = sim_fail_count() >= k;
			sim_fail_at(0);
			cr_assert(mmk_check(&t.vm), "k = %llu",
			    (unsigned long long)k);
			if (err != MMK_OK) {
				cr_assert(is_met);
				cr_assert_eq(err, MMK_ERR_NOMEM, "k = %llu: %s",
				    (unsigned long long)k, mmk_err_name(err));
				cr_assert_eq(vm_digest(0), before,
				    "k = %llu: something has changed",
				    (unsigned long long)k);
				err = op();
				cr_assert_eq(err, MMK_OK, "k = %llu, again: %s",
				    (unsigned long long)k, mmk_err_name(err));
			}
			if (done != NULL)
				done();
			vm_end();
			cr_assert_lt(k, 1000u);
		}
	}
}

/* ---- a file, kept in an array ---------------------------------------- */

#define VM_FILE_BYTES (16 * MMK_PAGE_BYTES)

struct vm_file {
	struct mmk_file file;
	unsigned char bytes[VM_FILE_BYTES];
	size_t most_bytes;       /* done in one call; 0: all */
	uint64_t nr_reads;
	uint64_t nr_writes;
	uint64_t nr_closes;
	enum mmk_err read_err;   /* what the next reads return */
	enum mmk_err write_err;
	bool is_stuck;           /* 0 bytes, and MMK_OK */
};

static inline enum mmk_err
vm_file_read(void *ctx, uint64_t offset_bytes, void *buf, size_t bytes,
    size_t *done_out)
{
	struct vm_file *f = ctx;

	__atomic_add_fetch(&f->nr_reads, 1, __ATOMIC_RELAXED);
	vm_no_lock_is_held();
	if (f->read_err != MMK_OK)
		return f->read_err;
	cr_assert(offset_bytes + bytes <= VM_FILE_BYTES);
	if (f->most_bytes != 0 && bytes > f->most_bytes)
		bytes = f->most_bytes;
	if (f->is_stuck)
		bytes = 0;
	memcpy(buf, f->bytes + offset_bytes, bytes);
	*done_out = bytes;
	return MMK_OK;
}

static inline enum mmk_err
vm_file_write(void *ctx, uint64_t offset_bytes, const void *buf, size_t bytes,
    size_t *done_out)
{
	struct vm_file *f = ctx;

	__atomic_add_fetch(&f->nr_writes, 1, __ATOMIC_RELAXED);
	vm_no_lock_is_held();
	if (f->write_err != MMK_OK)
		return f->write_err;
	cr_assert(offset_bytes + bytes <= VM_FILE_BYTES);
	if (f->most_bytes != 0 && bytes > f->most_bytes)
		bytes = f->most_bytes;
	if (f->is_stuck)
		bytes = 0;
	/* Programs may store to the page meanwhile: byte by byte is no race. */
	for (size_t i = 0; i < bytes; i++)
		f->bytes[offset_bytes + i] = __atomic_load_n(
		    (const unsigned char *)buf + i, __ATOMIC_RELAXED);
	*done_out = bytes;
	return MMK_OK;
}

static inline void
vm_file_close(void *ctx)
{
	((struct vm_file *)ctx)->nr_closes++;
	vm_no_lock_is_held();
}

static const struct mmk_file_ops vm_file_ops = {
	vm_file_read, vm_file_write, vm_file_close
};

/* Page n of the file is full of 'a' + n, but for what is beyond its end. */
static inline struct mmk_object *
vm_file(struct vm_file *f, uint64_t size_bytes)
{
	struct mmk_object *object = NULL;

	memset(f, 0, sizeof *f);
	memset(f->bytes, 0xee, sizeof f->bytes);
	for (uint64_t at = 0; at < size_bytes; at++)
		f->bytes[at] = (unsigned char)('a' + at / PAGE);
	f->file.ops = &vm_file_ops;
	f->file.ctx = f;
	f->file.size_bytes = size_bytes;
	cr_assert_eq(mmk_file_create(&t.vm, &f->file, &object), MMK_OK);
	return object;
}

/* ---- an object of the test's own: it has addresses, and keeps a diary  */

#define VM_DIARY 256

struct vm_note {
	uint64_t page;
	mmk_pa pa;
	mmk_va start_va; /* of the entry */
	mmk_va va;       /* as the entry says where the page is */
	unsigned access;
};

struct vm_recorder {
	struct vm_note maps[VM_DIARY];
	struct vm_note unmaps[VM_DIARY];
	unsigned nr_maps;
	unsigned nr_unmaps;
	unsigned nr_destroys;
	struct mmk_frame *frames[32]; /* one for each page, made when mapped */
	enum mmk_err err;             /* what map returns */
};

static inline void
vm_note(struct vm_note *notes, unsigned n, const struct mmk_object *object,
    const struct mmk_entry *entry, uint64_t page, mmk_pa pa, unsigned access)
{
	cr_assert_lt(n, (unsigned)VM_DIARY);
	cr_assert_eq(entry->lower.object, object);
	notes[n].page = page;
	notes[n].pa = pa;
	notes[n].access = access;
	notes[n].start_va = entry->start_va;
	notes[n].va = entry->start_va + (page - entry->lower.page) * PAGE;
}

/* Like SeaOS's zero-file: a frame for each page, a reference each mapping. */
static inline enum mmk_err
vm_recorder_map(struct mmk_object *object, const struct mmk_entry *entry,
    uint64_t page, unsigned access, mmk_pa *pa_out)
{
	struct vm_recorder *r = object->ctx;
	enum mmk_err err = MMK_OK;

	if (r->err != MMK_OK)
		return r->err;
	cr_assert_lt(page, 32u);
	if (r->frames[page] == NULL)
		err = mmk_frame_alloc(&t.phys, 0, MMK_ALLOC_ZERO,
		    MMK_USE_KERNEL, &r->frames[page]);
	else
		mmk_frame_ref(&t.phys, r->frames[page]);
	if (err != MMK_OK)
		return err;
	*pa_out = mmk_frame_pa(&t.phys, r->frames[page]);
	vm_note(r->maps, r->nr_maps++, object, entry, page, *pa_out, access);
	return MMK_OK;
}

static inline void
vm_recorder_unmap(struct mmk_object *object, const struct mmk_entry *entry,
    uint64_t page, mmk_pa pa)
{
	struct vm_recorder *r = object->ctx;

	vm_note(r->unmaps, r->nr_unmaps++, object, entry, page, pa, 0);
	cr_assert_eq(pa, mmk_frame_pa(&t.phys, r->frames[page]));
	if (mmk_frame_unref(&t.phys, r->frames[page]) == 0)
		r->frames[page] = NULL;
}

static inline void
vm_recorder_destroy(struct mmk_object *object)
{
	((struct vm_recorder *)object->ctx)->nr_destroys++;
}

static const struct mmk_pager_ops vm_recorder_ops = {
	.name = "recorder",
	.kind = MMK_PAGER_KERNEL,
	.map = vm_recorder_map,
	.unmap = vm_recorder_unmap,
	.destroy = vm_recorder_destroy
};

static inline struct mmk_object *
vm_recorder(struct vm_recorder *r, uint64_t nr_pages)
{
	struct mmk_object *object = NULL;

	memset(r, 0, sizeof *r);
	cr_assert_eq(mmk_object_create(&t.vm, &vm_recorder_ops, r, nr_pages,
	    &object), MMK_OK);
	return object;
}

#endif /* MMKIT_TESTS_VM_FIXTURE_H */
