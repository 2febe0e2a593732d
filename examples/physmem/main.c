/* SPDX-License-Identifier: MIT
 *
 * examples/physmem/main.c: a client, a file server, and physmem between them
 *
 * usage: mmkit-physmem [--mmu x86_64|aarch64] [FILE]
 *
 * Prints what happens, and below it what must be so; exits with 0 if all of it
 * was, with 1 if not, and with 2 if it could not begin. FILE, which is this
 * program if none is named, is what the server serves.
 */
#include "physmem.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLIENT_VA ((mmk_va)0x10000000)
#define DEVICE_VA ((mmk_va)0x20000000)
#define SERVER_VA ((mmk_va)0x40000000)
#define DEVICE_NAME ((uint64_t)1 << 32) /* where the device's page is named */

static void
fail(const char *what, const char *why)
{
	fprintf(stderr, "mmkit-physmem: %s: %s\n", what, why);
	exit(2);
}

static void
file_read(const char *path, struct file *file)
{
	FILE *in = fopen(path, "rb");

	if (in == NULL)
		fail(path, strerror(errno));
	file->bytes = malloc(FILE_MAX_BYTES + 1);
	if (file->bytes == NULL)
		fail(path, "out of memory");
	file->nr_bytes = fread(file->bytes, 1, FILE_MAX_BYTES + 1, in);
	if (ferror(in))
		fail(path, strerror(errno));
	fclose(in);
	if (file->nr_bytes == 0)
		fail(path, "the file is empty");
	if (file->nr_bytes > FILE_MAX_BYTES)
		fail(path, "the file is larger than 8 MiB");
	file->nr_pages = (file->nr_bytes + PAGE - 1) / PAGE;
	file->checksum = checksum_of(0, file->bytes, file->nr_bytes);
}

/* ---- the story ---------------------------------------------------------------- */

static mmk_handle_name
client_makes_container(const struct file *file)
{
	mmk_handle_name strong = 0;
	uint64_t credit = task_credit(&m.client);

	say("client", "makes a container and allocates %llu pages in it",
	    (unsigned long long)file->nr_pages);
	must(mmk_physmem_create(&m.physmem, &m.client.handles,
	    m.client.control, &strong) == MMK_OK, "it has a name, all rights");
	must(mmk_physmem_allocate(&m.client.handles, strong, 0,
	    file->nr_pages * PAGE, 0, NULL) == MMK_OK &&
	    task_credit(&m.client) == credit - file->nr_pages,
	    "the pages are charged to the client's control");
	return strong;
}

static mmk_handle_name
client_lends(mmk_handle_name strong)
{
	mmk_handle_name weak = 0;

	say("client", "lends the server a weak name: read, write");
	must(mmk_physmem_lend(&m.client.handles, strong, &m.server.handles,
	    MMK_RIGHT_READ | MMK_RIGHT_WRITE, &weak) == MMK_OK &&
	    mmk_handle_rights(&m.server.handles, weak) ==
	        (MMK_RIGHT_READ | MMK_RIGHT_WRITE),
	    "the server has those rights and no others");
	return weak;
}

static void
server_fills(mmk_handle_name weak, const struct file *file, uint64_t nr_bytes)
{
	uint64_t nr_requests = m.server.nr_requests;
	bool is_stored;

	say("server", "maps it and copies %llu bytes of the file there",
	    (unsigned long long)nr_bytes);
	task_map(&m.server, 0, SERVER_VA, weak, 0, file->nr_pages, RW);
	is_stored = task_store(&m.server, SERVER_VA, file->bytes, nr_bytes) == 0;
	must(is_stored, "stored by CPU 1 through the server's page tables; it "
	    "asked for %llu pages",
	    (unsigned long long)(m.server.nr_requests - nr_requests));
}

static void
client_takes_back(mmk_handle_name strong, mmk_handle_name weak)
{
	uint64_t stale = nr_stale_hits();
	unsigned char byte = 0;

	say("client", "takes the name back");
	sim_set_cpu(m.client.cpu);
	must(mmk_physmem_revoke(&m.client.handles, strong) == MMK_OK &&
	    mmk_handle_rights(&m.server.handles, weak) == 0,
	    "the server's name means nothing");
	must(task_pa(&m.server, SERVER_VA) == UINT64_MAX,
	    "its page tables have no page of the container");
	must(task_store(&m.server, SERVER_VA, &byte, 1) == (int)MMK_ERR_NOENT &&
	    task_load(&m.server, SERVER_VA, &byte, 1) == (int)MMK_ERR_NOENT &&
	    nr_stale_hits() == stale,
	    "it stores and loads there: CPU 1 faults, no stale translation");
	task_unmap(&m.server, 0);
}

static void
client_reads(mmk_handle_name strong, const struct file *file)
{
	uint64_t checksum;

	say("client", "maps the container and reads");
	task_map(&m.client, 0, CLIENT_VA, strong, 0, file->nr_pages, RW);
	checksum = task_checksum(&m.client, CLIENT_VA, file->nr_bytes);
	must(checksum == file->checksum, "checksum %016llx, the file's is "
	    "%016llx", (unsigned long long)checksum,
	    (unsigned long long)file->checksum);
}

/* Every page of the client's file gets another place. */
static void
all_moves(const struct file *file)
{
	mmk_pa *was = malloc(file->nr_pages * sizeof *was);
	uint64_t nr_requests = m.client.nr_requests, nr_moved = 0;

	if (was == NULL)
		fail("compaction", "out of memory");
	for (uint64_t i = 0; i < file->nr_pages; i++)
		was[i] = task_pa(&m.client, CLIENT_VA + i * PAGE);
	sim_set_cpu(m.server.cpu); /* the other CPU compacts */
	for (uint64_t i = 0; i < file->nr_pages; i++)
		if (task_pa(&m.client, CLIENT_VA + i * PAGE) != UINT64_MAX)
			must(evict(was[i]) == MMK_OK, "page %llu moves, with "
			    "its frame", (unsigned long long)i);
	must(task_checksum(&m.client, CLIENT_VA, file->nr_bytes) ==
	    file->checksum, "the file is what it was");
	for (uint64_t i = 0; i < file->nr_pages; i++)
		nr_moved += task_pa(&m.client, CLIENT_VA + i * PAGE) != was[i];
	must(nr_moved == file->nr_pages &&
	    m.client.nr_requests == nr_requests + file->nr_pages,
	    "%llu pages lie elsewhere and were asked for again",
	    (unsigned long long)nr_moved);
	free(was);
}

static void
device_and_compaction(mmk_handle_name strong, const struct file *file)
{
	struct mmk_handles *own = &m.client.handles;
	struct mmk_cpin *pin = NULL;
	unsigned char byte = 0;
	mmk_pa pa = UINT64_MAX;

	say("client", "pins a page for a device, for 100 ns");
	must(mmk_physmem_allocate(own, strong, DEVICE_NAME, PAGE, 0, NULL) ==
	    MMK_OK, "there is one, at name %#llx",
	    (unsigned long long)DEVICE_NAME);
	if (mmk_physmem_pin(own, strong, DEVICE_NAME, 100, &pin, &pa) != MMK_OK)
		pin = NULL;
	must(pin != NULL, "the device is told %#llx", (unsigned long long)pa);
	if (pin == NULL)
		return;
	task_map(&m.client, 1, DEVICE_VA, strong, DEVICE_NAME, 1, RW);
	say("kernel", "compacts memory meanwhile");
	must(evict(pa) == MMK_ERR_NOSPACE, "the pinned page does not move");
	all_moves(file);
	*(unsigned char *)MMKIT_PHYS_TO_PTR(pa) = 77;
	must(task_load(&m.client, DEVICE_VA, &byte, 1) == 0 && byte == 77 &&
	    task_pa(&m.client, DEVICE_VA) == pa,
	    "the device writes to its address; the client sees it");
	say("kernel", "the clock passes the deadline");
	sim_set_clock_ns(sim_clock_ns() + 100);
	must(evict(pa) == MMK_OK && task_pa(&m.client, DEVICE_VA) == UINT64_MAX,
	    "the same page moves now");
	must(task_load(&m.client, DEVICE_VA, &byte, 1) == 0 && byte == 77 &&
	    task_pa(&m.client, DEVICE_VA) != pa,
	    "asked for again: what the device wrote, at another address");
	must(!mmk_container_unpin(&m.physmem, pin), "the pin did not last");
	task_unmap(&m.client, 1);
	must(mmk_physmem_deallocate(own, strong, DEVICE_NAME, PAGE, 0, NULL) ==
	    MMK_OK, "the device's page is deallocated");
}

/* The server dies with a mapping, a copy of its own and half of the file. */
static void
server_dies(mmk_handle_name strong, const struct file *file)
{
	uint64_t credit = task_credit(&m.client);
	struct mmk_container *x = NULL;
	mmk_handle_name weak = client_lends(strong), loot = 0;

	server_fills(weak, file, (file->nr_bytes + 1) / 2);
	must(mmk_physmem_create(&m.physmem, &m.server.handles,
	    m.server.control, &loot) == MMK_OK && mmk_physmem_copy(
	    &m.server.handles, weak, 0, loot, 0, PAGE, MMK_COPY_COW, 0, NULL) ==
	    MMK_OK, "it has a copy of a page in a container of its own");
	say("server", "dies in the middle of it");
	task_end(&m.server);
	must(task_credit(&m.client) == credit && mmk_container_lookup_name(
	    &m.client.handles, strong, MMK_RIGHT_ALL, &x) == MMK_OK &&
	    x->nr_pages == file->nr_pages,
	    "the client has its credit, its name, and every page");
	if (x != NULL)
		mmk_container_unref(x);
	must(task_checksum(&m.client, CLIENT_VA, file->nr_bytes) ==
	    file->checksum, "and the file");
}

static void
story(const struct file *file)
{
	mmk_handle_name strong, old, weak;
	uint64_t credit;

	task_start(&m.client, "client", 0, 3000);
	task_start(&m.server, "server", 1, 32);
	credit = task_credit(&m.client);
	strong = client_makes_container(file);
	old = client_lends(strong);
	server_fills(old, file, file->nr_bytes);
	client_takes_back(strong, old);
	client_reads(strong, file);
	device_and_compaction(strong, file);
	audit("so far");

	weak = client_lends(strong);
	server_fills(weak, file, file->nr_bytes);
	say("server", "turns hostile");
	hostile_requests(strong, weak, file);
	hostile_forgery(strong, weak, old);
	hostile_pins(strong, weak);
	hostile_leftovers(strong, weak);
	client_takes_back(strong, weak);
	client_reads(strong, file);
	audit("after that");

	server_dies(strong, file);
	audit("without the server");
	say("client", "destroys the container and ends");
	task_unmap(&m.client, 0);
	must(mmk_physmem_destroy(&m.client.handles, strong) == MMK_OK &&
	    task_credit(&m.client) == credit, "all of its credit is back");
	task_end(&m.client);
}

int
main(int argc, char **argv)
{
	const char *path = argv[0];
	unsigned arch = SIM_ARCH_X86_64;
	struct file file;
	int i = 1;

	if (i < argc && strcmp(argv[i], "--mmu") == 0) {
		if (++i == argc)
			fail("--mmu", "a value is missing");
		if (strcmp(argv[i], "aarch64") == 0)
			arch = SIM_ARCH_AARCH64;
		else if (strcmp(argv[i], "x86_64") != 0)
			fail(argv[i], "no such page tables; there are x86_64 "
			    "and aarch64");
		i++;
	}
	if (i < argc && argv[i][0] == '-')
		fail(argv[i], "unknown option; usage: mmkit-physmem [--mmu "
		    "x86_64|aarch64] [FILE]");
	if (i < argc)
		path = argv[i++];
	if (i < argc)
		fail(argv[i], "one file is enough");
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	file_read(path, &file);
	machine_boot(arch);
	story(&file);
	machine_end();
	free(file.bytes);
	if (m.nr_failed == 0)
		printf("\nphysmem: the client kept its frames, its data and "
		    "its credit\n");
	else
		printf("\nphysmem: FAILED: %u of the above did not hold\n",
		    m.nr_failed);
	return m.nr_failed == 0 ? 0 : 1;
}
