/* SPDX-License-Identifier: MIT
 *
 * mmkit/phys/verify.h: who writes to a page that is free?
 *
 * WHAT    With MMKIT_PHYS_VERIFY 1 a page is filled with a pattern when it is
 *         freed, and looked at when it goes out again: if a byte has changed,
 *         MMKIT_LOG is given the page's address and the machine stops. A page
 *         that was never freed holds whatever the firmware left and is not
 *         looked at. For a kernel that hunts a bug: a free and an allocation
 *         then cost the pages.
 * LAYER   phys. Includes table.h. Knows no allocator.
 * LOCKS   none: who calls has the pages for himself
 * COST    O(bytes) with MMKIT_PHYS_VERIFY, else nothing at all
 * SOURCE  own; SLUB's and vmem's poisoning do the same for small objects
 *
 * I1      the descriptor of a free page points to itself <=> the page is filled
 */
#ifndef MMKIT_PHYS_VERIFY_H
#define MMKIT_PHYS_VERIFY_H

#include "table.h"

/* 1: on. Only matters to the file with the implementation. */
#ifndef MMKIT_PHYS_VERIFY
#define MMKIT_PHYS_VERIFY 0
#endif

#define MMK_FREE_PAGE_WORD ((uintptr_t)0xd5d5d5d5d5d5d5d5u)

#endif /* MMKIT_PHYS_VERIFY_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_PHYS_VERIFY_IMPL)
#define MMKIT_PHYS_VERIFY_IMPL

#if MMKIT_PHYS_VERIFY
/* "... 0x0000000012345000", for the log. */
MMK_PRIVATE MMK_NOINLINE void
mmk__verify_tell(mmk_pa pa)
{
	char text[] = "mmkit: a free page was written to: "
		      "0x0000000000000000";
	char *digit = text + sizeof(text) - 1;

	for (; pa != 0; pa >>= 4)
		*--digit = "0123456789abcdef"[pa & 15];
	MMKIT_LOG(text);
}

/* The page goes out: it is as it was when it was freed. */
MMK_PRIVATE void
mmk__verify_page(const struct mmk_frame_table *table, struct mmk_frame *frame)
{
	mmk_pa pa = mmk_pa_of_pfn(mmk_frame_table_pfn(table, frame));
	const mmk_word *word = (const mmk_word *)MMKIT_PHYS_TO_PTR(pa);
	bool is_untouched_since_free = true;

	if (frame->owner != frame)
		return;
	frame->owner = NULL;
	MMKIT_RECALL(word, (size_t)MMK_PAGE_BYTES);
	for (size_t i = 0; i < MMK_PAGE_BYTES / sizeof(*word); i++)
		is_untouched_since_free &= word[i] == MMK_FREE_PAGE_WORD;
	if (!is_untouched_since_free)
		mmk__verify_tell(pa);
	MMK_ASSERT(is_untouched_since_free);
}

/* The page is freed. */
MMK_PRIVATE void
mmk__verify_fill(const struct mmk_frame_table *table, struct mmk_frame *frame)
{
	mmk_pa pa = mmk_pa_of_pfn(mmk_frame_table_pfn(table, frame));
	mmk_word *word = (mmk_word *)MMKIT_PHYS_TO_PTR(pa);

	for (size_t i = 0; i < MMK_PAGE_BYTES / sizeof(*word); i++)
		word[i] = MMK_FREE_PAGE_WORD;
	frame->owner = frame;
}
#endif

/* Pages that were free are somebody's: he may write to them. */
MMK_INLINE void
mmk__pages_show(const struct mmk_frame_table *table, struct mmk_frame *frame,
    uint64_t nr_pages)
{
#if MMKIT_PHYS_VERIFY
	for (uint64_t i = 0; i < nr_pages; i++)
		mmk__verify_page(table, frame + i);
#endif
	(void)table;
	(void)frame;
	(void)nr_pages;
	MMKIT_UNPOISON(MMKIT_PHYS_TO_PTR(mmk_pa_of_pfn(
	                   mmk_frame_table_pfn(table, frame))),
	    (size_t)mmk_bytes_of_pages(nr_pages));
}

/* Pages are about to be free: nobody may touch them any more. */
MMK_INLINE void
mmk__pages_hide(const struct mmk_frame_table *table, struct mmk_frame *frame,
    uint64_t nr_pages)
{
#if MMKIT_PHYS_VERIFY
	for (uint64_t i = 0; i < nr_pages; i++)
		mmk__verify_fill(table, frame + i);
#endif
	(void)table;
	(void)frame;
	(void)nr_pages;
	MMKIT_POISON(MMKIT_PHYS_TO_PTR(mmk_pa_of_pfn(
	                 mmk_frame_table_pfn(table, frame))),
	    (size_t)mmk_bytes_of_pages(nr_pages));
}
#endif /* MMKIT_IMPLEMENTATION */
