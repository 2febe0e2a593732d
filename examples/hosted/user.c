/* SPDX-License-Identifier: MIT
 *
 * examples/hosted/user.c: the memory of a program, seen from its kernel
 *
 * WHAT    We read and write it in RAM, through the page tables; the host reads
 *         and writes it through the process's mappings, and so whatever it will
 *         touch is faulted and filled in first.
 */
#include "hosted.h"

#include <string.h>

static uint64_t
left_in_page(mmk_va va)
{
	return PAGE_BYTES - (va & MMK_PAGE_MASK);
}

static enum mmk_err
copy(struct mm *mm, mmk_va va, uint8_t *buf, size_t bytes, unsigned access)
{
	while (bytes > 0) {
		size_t step = left_in_page(va) < bytes
		    ? (size_t)left_in_page(va) : bytes;
		mmk_pa pa;
		enum mmk_err err = tlb_touch(mm, va, access, &pa);

		if (err != MMK_OK)
			return err;
		if (access == MMK_PROT_WRITE)
			memcpy(sim_phys_to_ptr(pa), buf, step);
		else
			memcpy(buf, sim_phys_to_ptr(pa), step);
		va += step;
		buf += step;
		bytes -= step;
	}
	return MMK_OK;
}

enum mmk_err
user_read(struct mm *mm, mmk_va va, void *buf, size_t bytes)
{
	return copy(mm, va, buf, bytes, MMK_PROT_READ);
}

enum mmk_err
user_write(struct mm *mm, mmk_va va, const void *buf, size_t bytes)
{
	return copy(mm, va, (uint8_t *)(uintptr_t)buf, bytes, MMK_PROT_WRITE);
}

enum mmk_err
user_read_string(struct mm *mm, mmk_va va, char *buf, size_t max_bytes)
{
	while (max_bytes > 0) {
		size_t step = left_in_page(va) < max_bytes
		    ? (size_t)left_in_page(va) : max_bytes;
		enum mmk_err err = user_read(mm, va, buf, step);

		if (err != MMK_OK)
			return err;
		if (memchr(buf, 0, step) != NULL)
			return MMK_OK;
		va += step;
		buf += step;
		max_bytes -= step;
	}
	return MMK_ERR_NOSPACE;
}

/*
 * What is not mapped, or forbids it, stays unfilled, and the host's call finds
 * the hole itself: EFAULT, or a short count, as ever.
 */
bool
user_ensure(struct mm *mm, mmk_va va, uint64_t bytes, unsigned access)
{
	mmk_va end_va = bytes > UINT64_MAX - va ? UINT64_MAX : va + bytes;

	for (va = mmk_page_floor(va); va < end_va; va += PAGE_BYTES) {
		enum mmk_err err;
		mmk_pa pa;

		if (tlb_has(mm, va, access) || mm_is_hole(mm, va))
			continue;
		err = tlb_touch(mm, va, access, &pa);
		if (err == MMK_ERR_NOMEM)
			return false;
		if (err != MMK_OK)
			break;
	}
	return true;
}

bool
user_ensure_string(struct mm *mm, mmk_va va, uint64_t max_bytes)
{
	while (max_bytes > 0) {
		uint64_t step = left_in_page(va);
		mmk_pa pa;
		enum mmk_err err;

		if (mm_is_hole(mm, va))
			return true;
		err = tlb_touch(mm, va, MMK_PROT_READ, &pa);
		if (err != MMK_OK)
			return err != MMK_ERR_NOMEM;
		if (memchr(sim_phys_to_ptr(pa), 0, (size_t)step) != NULL)
			return true;
		if (step >= max_bytes)
			return true;
		max_bytes -= step;
		va += step;
	}
	return true;
}
