/* SPDX-License-Identifier: MIT
 *
 * examples/kernel/aarch64/fdt.h: what a flattened device tree says of memory
 * and CPUs
 */
#ifndef KERNEL_FDT_H
#define KERNEL_FDT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FDT_SPANS_MAX 32u
#define FDT_CPUS_MAX 64u
/* Enough to tell how long it is. */
#define FDT_HEADER_BYTES 40u

struct fdt_span {
	uint64_t start_pa, end_pa;
};

struct fdt_facts {
	struct fdt_span ram[FDT_SPANS_MAX];
	struct fdt_span reserved[FDT_SPANS_MAX];
	uint64_t cpus[FDT_CPUS_MAX]; /* MPIDR, as PSCI takes it */
	size_t nr_ram, nr_reserved, nr_cpus;
	bool has_psci, psci_is_hvc;
	const char *arguments; /* in the tree; or "" */
};

/* The bytes of the tree that begins at `blob`; 0: it is none. */
uint32_t fdt_bytes(const void *blob);
/*
 * pre: fdt_bytes(blob) bytes can be read. False: it is damaged. What there is
 * no room for is left out.
 */
bool fdt_read(const void *blob, struct fdt_facts *out);

#endif /* KERNEL_FDT_H */
