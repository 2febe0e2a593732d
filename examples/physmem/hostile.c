/* SPDX-License-Identifier: MIT
 *
 * examples/physmem/hostile.c: what a file server tries that wants more than it
 * was lent: its client's frames, its client's bytes, or just to stay
 */
#include "physmem.h"

#include <stdio.h>

static void
refused(enum mmk_err err, enum mmk_err expected, const char *what)
{
	must(err == expected, "server: %s: %s", what, mmk_err_name(err));
}

/* `name`, in the server's table, means the container that the client keeps. */
static bool
is_the_clients(mmk_handle_name strong, mmk_handle_name name)
{
	struct mmk_container *meant = NULL, *own = NULL;

	if (mmk_container_lookup_name(&m.server.handles, name, 0, &meant) !=
	    MMK_OK)
		return false;
	if (mmk_container_lookup_name(&m.client.handles, strong, 0, &own) ==
	    MMK_OK)
		mmk_container_unref(own);
	mmk_container_unref(meant);
	return meant == own;
}

static enum mmk_err
no_sink(void *ctx, uint64_t name, mmk_pa pa, uint64_t nr_pages, unsigned access)
{
	(void)ctx;
	(void)name;
	(void)pa;
	(void)nr_pages;
	(void)access;
	return MMK_OK;
}

void
hostile_requests(mmk_handle_name strong, mmk_handle_name weak,
    const struct file *file)
{
	const struct mmk_container_sink sink = { no_sink, NULL };
	const uint64_t end = file->nr_pages * PAGE;
	uint64_t credit = task_credit(&m.client);
	struct mmk_handles *own = &m.server.handles;
	mmk_handle_name loot, other;

	must(is_the_clients(strong, weak), "server: the weak name works");
	refused(mmk_physmem_allocate(own, weak, end, PAGE, 0, NULL),
	    MMK_ERR_ACCESS, "allocate at the client's cost");
	refused(mmk_physmem_deallocate(own, weak, 0, PAGE, 0, NULL),
	    MMK_ERR_ACCESS, "deallocate the client's pages");
	refused(mmk_physmem_release(own, weak, 0, PAGE), MMK_ERR_ACCESS,
	    "release them");
	refused(mmk_physmem_destroy(own, weak), MMK_ERR_ACCESS, "destroy all");
	refused(mmk_physmem_lend(own, weak, &m.kernel, MMK_RIGHT_READ, &other),
	    MMK_ERR_ACCESS, "lend it on");
	refused(mmk_physmem_revoke(own, weak), MMK_ERR_ACCESS, "revoke");
	refused(mmk_physmem_split(&m.physmem, own, weak, 1, own, &other),
	    MMK_ERR_INVAL, "split it, as if it were a control");
	refused(mmk_physmem_map(own, weak, end, PAGE, RW, &sink),
	    MMK_ERR_NOENT, "map beyond the last page");
	refused(mmk_physmem_map(own, weak, UINT64_MAX - PAGE + 1, 2 * PAGE, RW,
	    &sink), MMK_ERR_INVAL, "map around the end of all names");

	must(mmk_physmem_create(&m.physmem, own, m.server.control, &loot) ==
	    MMK_OK, "server: makes a container of its own, for loot");
	refused(mmk_physmem_copy(own, weak, 0, loot, 0, PAGE, MMK_COPY_MOVE, 0,
	    NULL), MMK_ERR_ACCESS, "move pages into it");
	refused(mmk_physmem_copy(own, weak, 0, loot, 0, PAGE, MMK_COPY_SHARE,
	    0, NULL), MMK_ERR_ACCESS, "share them, to write after a revoke");
	refused(mmk_physmem_copy(own, weak, 0, loot, 0, PAGE, MMK_COPY_SHARE,
	    MMK_CONTAINER_READONLY, NULL), MMK_ERR_ACCESS,
	    "share them, to read after a revoke");
	refused(mmk_physmem_copy(own, loot, 0, weak, end, PAGE, MMK_COPY_COW, 0,
	    NULL), MMK_ERR_ACCESS, "fill the client's container with its own");
	must(mmk_physmem_destroy(own, loot) == MMK_OK &&
	    task_credit(&m.client) == credit,
	    "client: has the credit that it had");
}

void
hostile_forgery(mmk_handle_name strong, mmk_handle_name weak,
    mmk_handle_name old)
{
	const mmk_handle_name generation = (mmk_handle_name)1 << 32;
	uint64_t random = 88172645463325252u;
	unsigned nr_hits = 0;

	must(!is_the_clients(strong, old) && old != weak,
	    "server: the name it was lent before is void");
	for (mmk_handle_name i = 1; i <= 1000; i++)
		nr_hits += is_the_clients(strong, weak + i * generation) +
		    is_the_clients(strong, weak - i * generation);
	for (unsigned bit = 0; bit < 64; bit++)
		nr_hits += is_the_clients(strong, weak ^ (1ull << bit));
	for (unsigned i = 0; i < 100000; i++) {
		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		nr_hits += is_the_clients(strong, random);
	}
	must(nr_hits == 0, "server: of 102064 forged names none is good");
	must((mmk_handle_rights(&m.server.handles, strong) &
	    ~(unsigned)(MMK_RIGHT_READ | MMK_RIGHT_WRITE)) == 0 ||
	    !is_the_clients(strong, strong),
	    "server: the client's own name, guessed, is nothing more here");
}

void
hostile_pins(mmk_handle_name strong, mmk_handle_name weak)
{
	struct mmk_handles *own = &m.server.handles;
	struct mmk_cpin *pins[NR_PINS], *pin;
	mmk_pa pa = 0, other_pa;
	unsigned nr = 0;
	enum mmk_err err;

	err = mmk_physmem_pin(own, weak, 0, 1000 * PIN_LIMIT_NS, &pin, &pa);
	refused(err, MMK_ERR_LIMIT, "pin for longer than the limit");
	if (err == MMK_OK)
		(void)mmk_container_unpin(&m.physmem, pin);
	refused(mmk_physmem_pin(own, weak, 0, UINT64_MAX, &pin, &pa),
	    MMK_ERR_LIMIT, "pin for ever");
	while (nr < NR_PINS && mmk_physmem_pin(own, weak, 0, PIN_LIMIT_NS,
	    &pins[nr], &pa) == MMK_OK)
		nr++;
	refused(mmk_physmem_pin(own, weak, 0, 1, &pin, &other_pa),
	    MMK_ERR_LIMIT, "pin, once more than the container may have");
	must(nr == NR_PINS && evict(pa) == MMK_ERR_NOSPACE,
	    "server: holds a page in its place with %u pins", nr);
	sim_set_clock_ns(sim_clock_ns() + PIN_LIMIT_NS);
	must(evict(pa) == MMK_OK,
	    "kernel: when their time is over the page moves all the same");
	/* Whoever asked, the kernel has the pins, and takes back what is over. */
	while (nr > 0)
		must(!mmk_container_unpin(&m.physmem, pins[--nr]),
		    "kernel: takes back a pin that is over");
	must(mmk_physmem_pin(&m.client.handles, strong, 0, 1, &pin, &pa) ==
	    MMK_OK && mmk_container_unpin(&m.physmem, pin),
	    "client: and the client may pin");
}

/* A copy it may have, on its own credit; but not what comes after. */
void
hostile_leftovers(mmk_handle_name strong, mmk_handle_name weak)
{
	const mmk_va va = 0x70000000;
	struct mmk_handles *own = &m.server.handles;
	uint64_t credit = task_credit(&m.server), stale = nr_stale_hits();
	unsigned char was = 0, seen = 0, secret;
	mmk_handle_name loot;
	mmk_pa pa;

	must(mmk_physmem_create(&m.physmem, own, m.server.control, &loot) ==
	    MMK_OK && mmk_physmem_copy(own, weak, 0, loot, 0, PAGE,
	    MMK_COPY_COW, 0, NULL) == MMK_OK &&
	    task_credit(&m.server) == credit - 1,
	    "server: copies a page it may read, and pays for it");
	task_map(&m.server, 1, va, loot, 0, 1, RO);
	must(task_load(&m.server, va, &was, 1) == 0,
	    "server: maps the copy, to read");
	pa = task_pa(&m.server, va);
	must(mmk_physmem_deallocate(own, loot, 0, PAGE, 0, NULL) == MMK_OK,
	    "server: deallocates the copy; its translation %s",
	    task_pa(&m.server, va) == pa ? "is left, read-only" : "is gone");
	secret = (unsigned char)~was;
	must(mmk_physmem_write(&m.client.handles, strong, 0, &secret, 1) ==
	    MMK_OK, "client: writes a secret to the page");
	must(task_load(&m.server, va, &seen, 1) == (int)MMK_ERR_NOENT &&
	    seen != secret && nr_stale_hits() == stale,
	    "server: faults when it looks for it there");
	must(mmk_physmem_write(&m.client.handles, strong, 0, &was, 1) ==
	    MMK_OK, "client: writes what was there before");
	task_unmap(&m.server, 1);
	must(mmk_physmem_destroy(own, loot) == MMK_OK &&
	    task_credit(&m.server) == credit, "server: gives its loot up");
}
