/* SPDX-License-Identifier: MIT
 *
 * examples/kernel/elf.c: from a program's image to an address space
 *
 * WHAT    The image is in the kernel, and trusted no more than one that came
 *         from a disk: whatever it says is checked against its size, and mmkit
 *         refuses addresses that are none.
 * SOURCE  System V ABI, chapter 4 and 5 (ELF-64).
 */
#include "kernel.h"

#define ELF_PROGRAMS_MAX 16u
#define PT_LOAD 1u
#define USER_STACK_BYTES (64 * PAGE)

struct elf_header {
	unsigned char magic[16];
	uint16_t type, machine;
	uint32_t version;
	uint64_t entry, programs, sections;
	uint32_t flags;
	uint16_t header_bytes, program_bytes, nr_programs;
	uint16_t section_bytes, nr_sections, names;
};

struct elf_program {
	uint32_t type, flags; /* 1: execute, 2: write, 4: read */
	uint64_t offset, va, pa, file_bytes, memory_bytes, align;
};

static enum mmk_err
load_one(struct mmk_space *space, const char *image, size_t bytes,
    const struct elf_program *program)
{
	mmk_va start_va = mmk_page_floor(program->va), va;
	uint64_t span = program->memory_bytes + (program->va - start_va);
	unsigned prot = ((program->flags & 4) != 0 ? MMK_PROT_READ : 0u) |
	    ((program->flags & 2) != 0 ? MMK_PROT_WRITE : 0u) |
	    ((program->flags & 1) != 0 ? MMK_PROT_EXEC : 0u);
	enum mmk_err err;

	if (program->file_bytes > program->memory_bytes ||
	    span < program->memory_bytes || program->offset > bytes ||
	    program->file_bytes > bytes - program->offset)
		return MMK_ERR_INVAL;
	span = mmk_round_up(span, PAGE);
	err = mmk_mmap(space, start_va, span, MMK_PROT_READ | MMK_PROT_WRITE,
	    MMK_PROT_ALL, MMK_MAP_ANON | MMK_MAP_PRIVATE | MMK_MAP_NOREPLACE,
	    NULL, 0, &va);
	if (err != MMK_OK)
		return err;
	if (!user_copy(space, program->va,
	        (char *)(uintptr_t)(image + program->offset),
	        program->file_bytes, MMK_PROT_WRITE))
		return MMK_ERR_NOMEM;
	return mmk_mprotect(space, start_va, span, prot);
}

enum mmk_err
elf_load(struct mmk_space *space, const void *image, size_t bytes,
    uint64_t *pc_out, uint64_t *sp_out)
{
	const struct elf_header *header = (const struct elf_header *)image;
	const struct elf_program *programs;
	enum mmk_err err = MMK_OK;
	mmk_va va;

	if (bytes < sizeof(*header) ||
	    memcmp(header->magic, "\177ELF\2\1\1", 7) != 0 ||
	    header->program_bytes != sizeof(*programs) ||
	    header->nr_programs > ELF_PROGRAMS_MAX ||
	    header->programs % 8 != 0 || header->programs > bytes ||
	    header->nr_programs * sizeof(*programs) > bytes - header->programs)
		return MMK_ERR_INVAL;
	programs = (const struct elf_program *)(const void *)
	    ((const char *)image + header->programs);
	for (unsigned i = 0; i < header->nr_programs && err == MMK_OK; i++)
		if (programs[i].type == PT_LOAD &&
		    programs[i].memory_bytes > 0)
			err = load_one(space, (const char *)image, bytes,
			    &programs[i]);
	if (err == MMK_OK)
		err = mmk_mmap(space, 0, USER_STACK_BYTES,
		    MMK_PROT_READ | MMK_PROT_WRITE, MMK_PROT_ALL,
		    MMK_MAP_ANON | MMK_MAP_PRIVATE, NULL, 0, &va);
	if (err != MMK_OK)
		return err;
	*pc_out = header->entry;
	*sp_out = va + USER_STACK_BYTES;
	return MMK_OK;
}
