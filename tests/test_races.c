/* SPDX-License-Identifier: MIT
 *
 * tests/test_races.c: what another CPU, or the owner of a file, does at the worst
 * moment
 */
#include "vm_fixture.h"

#include <pthread.h>
#include <time.h>

#include "intrude.h"
#include "prop.h"

static unsigned watched; /* the space whose translation of VA must be gone */
static bool is_lost;
static struct vm_file f;
static struct mmk_object *file;

/* No lock is held, and nothing is translated at VA: about to be flushed. */
static bool
is_quiet(void)
{
	struct mmk_pmap *pmap = &t.spaces[watched].map.pmap;
	struct mmk_translation found;

	if (sim_lock_is_held(&pmap->lock) || sim_lock_is_held(&t.vm.lock) ||
	    (watched != 0 && sim_lock_is_held(&t.spaces[0].map.mutex)))
		return false;
	return intrude_is_quiet(&t.sys) && !mmk_pmap_query(pmap, VA, &found);
}

/* Space 0 runs on both CPUs. */
static int
on_cpu(unsigned cpu, mmk_va va, int value)
{
	unsigned char byte = (unsigned char)value;
	int result;

	vm_run(cpu, 0);
	sim_set_cpu(cpu);
	result = value >= 0 ? sim_store(cpu, va, &byte, 1)
			    : sim_load(cpu, va, &byte, 1);
	sim_set_cpu(0);
	cr_assert_eq(result, 0);
	return byte;
}

enum { LOAD = -1 };

static void
both_write_anew(void)
{
	(void)on_cpu(0, VA, 'n');
	(void)on_cpu(1, VA, 'N'); /* through what its TLB may still hold */
	is_lost = on_cpu(0, VA, LOAD) != 'N';
}

static void
map_anew(void)
{
	vm_munmap(0, VA, 1);
	vm_anon(0, VA, 1);
	both_write_anew();
}

/* The file is cut; before the flush its page's address is mapped anew. */
static void
reuse(void)
{
	sim_forbid_stale_hits(false); /* until it is flushed, it is stale */
	file = vm_file(&f, PAGE);
	vm_mmap(0, VA, 1, RW, MMK_MAP_SHARED | MMK_MAP_FIXED, file, 0);
	(void)on_cpu(1, VA, 'o');
	sim_delay_ipis(3, mmk_test_seed());
	intrude_when(is_quiet, map_anew);
	mmk_object_resize(file, 0);
	intrude_end();
	cr_assert(!is_lost, "a store to the new mapping went to the old page");
	mmk_object_unref(file);
}

Test(races, an_address_is_not_reused_before_it_is_flushed)
{
	vm_both(reuse);
}

static void
unmap_neighbour(void)
{
	vm_munmap(0, VA + PAGE, 1);
}

/* The last leaf of a table goes while another's flush is still to come. */
static void
table_freed(void)
{
	file = vm_file(&f, PAGE);
	vm_mmap(0, VA, 1, RO, MMK_MAP_SHARED | MMK_MAP_FIXED, file, 0);
	vm_anon(0, VA + PAGE, 1);
	(void)on_cpu(1, VA, LOAD);
	(void)on_cpu(1, VA + PAGE, 1);
	sim_delay_ipis(3, mmk_test_seed());
	intrude_when(is_quiet, unmap_neighbour);
	cr_assert_eq(mmk_object_evict(file), 1u);
	intrude_end();
	mmk_object_unref(file);
}

Test(races, a_table_is_not_freed_while_a_flush_is_due)
{
	vm_both(table_freed);
}

static void
store_elsewhere(void)
{
	unsigned char byte = 'W';

	sim_set_cpu(1);
	cr_assert_eq(sim_store(1, VA, &byte, 1), 0);
	sim_set_cpu(0);
}

/* A layer two spaces share, a page of it held by somebody's I/O: the copy is
 * made when nobody can write any more. */
static void
shared_copy(void)
{
	struct mmk_map_args args = { .start_va = VA, .nr_pages = 1, .prot = RW,
		.max_prot = ALL, .inherit = MMK_INHERIT_SHARE,
		.entry_flags = MMK_ENTRY_PRIVATE, .exclusive = true };
	struct mmk_frame *frame;
	unsigned char byte = 'p';
	mmk_va va;

	sim_forbid_stale_hits(false);
	cr_assert_eq(mmk_zero_shared(&t.vm, &args.lower.object), MMK_OK);
	args.lower.page = MMK_PAGE_BY_ADDRESS;
	cr_assert_eq(mmk_map_insert(vm_map(0), &args, &va), MMK_OK);
	mmk_object_unref(args.lower.object);
	vm_fork(1, 0);
	vm_put(1, VA, 'o');
	frame = vm_frame(1, VA);
	mmk_frame_ref(&t.phys, frame);
	vm_run(0, 0);
	watched = 1;
	sim_delay_ipis(3, mmk_test_seed());
	intrude_when(is_quiet, store_elsewhere);
	cr_assert_eq(sim_store(0, VA + 1, &byte, 1), 0);
	watched = 0;
	intrude_end();
	cr_assert_eq(vm_get(0, VA), 'W', "a sharer's store is lost");
	(void)mmk_frame_unref(&t.phys, frame);
	cr_assert(mmk_check(&t.vm));
}

Test(races, a_sharer_cannot_write_what_is_being_copied)
{
	vm_both(shared_copy);
}

/* A page that somebody holds loses its writers with no spin lock held. */
static void
rights_fall(void)
{
	struct mmk_frame *frame;
	unsigned char byte;

	vm_anon(0, VA, 1);
	(void)on_cpu(0, VA, 1);
	(void)on_cpu(1, VA, 1);
	frame = vm_frame(0, VA);
	mmk_frame_ref(&t.phys, frame);
	cr_assert_eq(mmk_mprotect(vm_sp(0), VA, PAGE, ALL), MMK_OK);
	cr_assert_eq(sim_fetch(0, VA, &byte, 1), 0);
	(void)mmk_frame_unref(&t.phys, frame);
}

Test(races, a_fault_that_lowers_rights_flushes_without_locks)
{
	vm_both(rights_fall);
}

/* ---- the owner of a file ------------------------------------------------------ */

static enum mmk_err
read_and_shrink(void *ctx, uint64_t offset_bytes, void *buf, size_t bytes,
    size_t *done_out)
{
	struct vm_file *g = ctx;

	if (g->nr_reads++ == 0)
		mmk_file_resize(file, 100);
	memcpy(buf, g->bytes + offset_bytes, bytes);
	*done_out = bytes;
	return MMK_OK;
}

static enum mmk_err
write_and_shrink(void *ctx, uint64_t offset_bytes, const void *buf,
    size_t bytes, size_t *done_out)
{
	struct vm_file *g = ctx;

	(void)buf;
	if (g->nr_writes++ == 0)
		mmk_file_resize(file, 100);
	else if (offset_bytes >= 100)
		is_lost = true;
	*done_out = bytes > 512 ? 512 : bytes;
	return MMK_OK;
}

static const struct mmk_file_ops shrinking = { read_and_shrink,
	write_and_shrink, NULL };

static void
tail(void)
{
	file = vm_file(&f, PAGE);
	f.file.ops = &shrinking;
	vm_mmap(0, VA, 1, RW, MMK_MAP_SHARED | MMK_MAP_FIXED, file, 0);
	cr_assert_eq(vm_get(0, VA), 'a');
	cr_assert_eq(vm_get(0, VA + 100), 0, "beyond the end");
	mmk_object_unref(file);
}

Test(races, a_file_cut_within_a_page_being_read_ends_in_zeros)
{
	vm_both(tail);
}

static void
beyond(void)
{
	file = vm_file(&f, PAGE);
	vm_mmap(0, VA, 1, RW, MMK_MAP_SHARED | MMK_MAP_FIXED, file, 0);
	vm_put(0, VA, 'Z');
	f.file.ops = &shrinking;
	is_lost = false;
	cr_assert_eq(mmk_object_sync(file, 0, 1), MMK_OK);
	cr_assert(!is_lost, "written beyond the new end");
	mmk_object_unref(file);
}

Test(races, a_file_cut_while_it_is_written_is_not_written_beyond)
{
	vm_both(beyond);
}

/* A page another CPU has in hand is neither written nor read again here: say so. */
static enum mmk_err nested_err;

static enum mmk_err
write_and_fail(void *ctx, uint64_t offset_bytes, const void *buf,
    size_t bytes, size_t *done_out)
{
	struct vm_file *g = ctx;

	(void)offset_bytes;
	(void)buf;
	(void)bytes;
	(void)done_out;
	if (g->nr_writes++ == 0)
		nested_err = mmk_object_sync(file, 0, 1);
	return MMK_ERR_IO;
}

static const struct mmk_file_ops failing = { vm_file_read, write_and_fail,
	NULL };

static void
second_sync(void)
{
	file = vm_file(&f, PAGE);
	vm_mmap(0, VA, 1, RW, MMK_MAP_SHARED | MMK_MAP_FIXED, file, 0);
	vm_put(0, VA, 'Z');
	f.file.ops = &failing;
	cr_assert_eq(mmk_object_sync(file, 0, 1), MMK_ERR_IO);
	cr_assert_eq(nested_err, MMK_ERR_AGAIN);
	cr_assert(mmk_page_is_modified(&t.sys, vm_frame(0, VA)));
	mmk_object_unref(file);
}

Test(races, a_second_sync_does_not_promise_what_the_first_may_fail)
{
	vm_both(second_sync);
}

/* ---- no race: what the same review found ---------------------------------------- */

static void
protect_to_exec(void)
{
	struct vm_recorder r;
	struct mmk_object *object = vm_recorder(&r, 4);

	vm_mmap(0, VA, 2, RO, MMK_MAP_SHARED | MMK_MAP_FIXED, object, 0);
	(void)vm_get(0, VA);
	cr_assert_eq(mmk_mprotect(vm_sp(0), VA, PAGE, MMK_PROT_EXEC), MMK_OK);
	vm_munmap(0, VA, 2);
	cr_assert_eq(r.nr_unmaps, r.nr_maps);
	mmk_object_unref(object);
}

Test(races, S0_8_a_translation_lost_to_mprotect_is_told_to_the_pager)
{
	vm_both(protect_to_exec);
}

/* A private view of shared memory follows it until it is written. */
static void
private_view(void)
{
	struct mmk_object *object;

	cr_assert_eq(mmk_zero_create(&t.vm, 4, &object), MMK_OK);
	vm_space(1);
	vm_mmap(0, VA, 4, RW, MMK_MAP_SHARED | MMK_MAP_FIXED, object, 0);
	vm_mmap(1, VA, 4, RW, MMK_MAP_PRIVATE | MMK_MAP_FIXED, object, 0);
	cr_assert_eq(vm_get(1, VA), 0);
	vm_put(0, VA, 'X');
	cr_assert_eq(vm_get(1, VA), 'X');
	vm_put(1, VA, 'Y');
	cr_assert_eq(vm_get(0, VA), 'X');
	cr_assert_eq(vm_get(1, VA + 3 * PAGE), 0);
	mmk_object_resize(object, 1);
	cr_assert_eq(vm_access(1, VA + 3 * PAGE, MMK_PROT_READ),
	    MMK_ERR_NOSPACE);
	mmk_object_unref(object);
}

Test(races, S2_15_a_private_view_follows_its_object_until_written)
{
	vm_both(private_view);
}

/* Joining entries after a fork leaves no hole, so the stack may grow on. */
static void
stack_after_join(void)
{
	vm_mmap(0, VA, 4, RW, ANON_PRIVATE | MMK_MAP_STACK | MMK_MAP_FIXED,
	    NULL, 0);
	vm_put(0, VA, 1);
	vm_fork(1, 0);
	cr_assert_eq(mmk_mprotect(vm_sp(0), VA + 2 * PAGE, PAGE, RO), MMK_OK);
	cr_assert_eq(mmk_mprotect(vm_sp(0), VA + 2 * PAGE, PAGE, RW), MMK_OK);
	vm_put(0, VA - PAGE, 2);
	cr_assert_eq(vm_get(0, VA), 1);
}

Test(races, a_stack_grows_after_its_entries_were_joined)
{
	vm_both(stack_after_join);
}

/* CPUs that mark a page as fast as the marks are taken. */
static unsigned nr_yields;

static void
touch_all(void *ctx)
{
	static bool is_inside;
	unsigned char byte;

	(void)ctx;
	if (is_inside || ++nr_yields > 1000)
		return;
	is_inside = true;
	for (unsigned i = 0; i < 20; i++)
		(void)sim_load(0, VA + i * PAGE, &byte, 1);
	is_inside = false;
}

static void
hot_page(void)
{
	file = vm_file(&f, PAGE);
	for (unsigned i = 0; i < 20; i++) {
		vm_mmap(0, VA + i * PAGE, 1, RO,
		    MMK_MAP_SHARED | MMK_MAP_FIXED, file, 0);
		(void)vm_get(0, VA + i * PAGE);
	}
	nr_yields = 0;
	sim_on_yield(touch_all, NULL);
	cr_assert(mmk_page_clear_referenced(&t.sys, vm_frame(0, VA)));
	sim_on_yield(NULL, NULL);
	cr_assert_lt(nr_yields, 1000u, "it would go on for ever");
	mmk_object_unref(file);
}

Test(races, marks_of_a_hot_page_are_taken_once)
{
	vm_both(hot_page);
}

/* ---- two threads --------------------------------------------------------------- */

static pthread_t other;
static bool is_started;

static void *
evict_it(void *ctx)
{
	sim_set_cpu(1);
	*(uint64_t *)ctx = mmk_object_evict(file);
	return NULL;
}

static uint64_t nr_evicted;

/* CPU 0 is about to flush: CPU 1 evicts the page, and has all the time it
 * wants. It must not free it before the flush. */
static void
let_other_evict(void *ctx)
{
	struct timespec moment = { 0, 20000000 };
	static bool is_inside; /* looking yields as well */

	(void)ctx;
	if (is_started || is_inside)
		return;
	is_inside = true;
	is_started = is_quiet();
	is_inside = false;
	if (!is_started)
		return;
	cr_assert_eq(pthread_create(&other, NULL, evict_it, &nr_evicted), 0);
	nanosleep(&moment, NULL);
}

static void
evict_during_unmap(void)
{
	file = vm_file(&f, PAGE);
	vm_mmap(0, VA, 1, RO, MMK_MAP_SHARED | MMK_MAP_FIXED, file, 0);
	(void)on_cpu(1, VA, LOAD);
	(void)on_cpu(0, VA, LOAD);
	is_started = false;
	sim_on_yield(let_other_evict, NULL);
	vm_munmap(0, VA, 1);
	cr_assert(is_started);
	pthread_join(other, NULL);
	sim_on_yield(NULL, NULL);
	cr_assert_eq(nr_evicted, 1u);
	mmk_object_unref(file);
}

Test(races_threads, a_page_is_not_freed_before_anothers_flush)
{
	vm_both(evict_during_unmap);
}
