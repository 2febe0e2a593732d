/* SPDX-License-Identifier: MIT
 *
 * mmkit/kva/slab.h: frames cut into items of one size
 *
 * WHAT    A slab is a frame with a header and items:
 *
 *           | struct mmk_slab | bits | item 0 | item 1 | ... | rest |
 *
 *         A bit says that the item was taken from the slab: it is in a cache of
 *         the pool's, or a user has it. A free item, wherever it is, has its
 *         cookie in its first word, which goes when a user gets it: so an item
 *         freed twice is noticed without a look at anything that other CPUs
 *         write, and a write to a free item's first word is noticed too.
 *
 *         The lowest free item of a slab goes first. There is no free list: the
 *         bits say the same, and a memory checker may forbid free items whole.
 *         One empty slab is kept, the others go back at once.
 * LAYER   kva. Includes base/list.h and phys/frame.h. Used by pool.h only.
 * LOCKS   slabs->lock (MMK_RANK_POOL), always between MMKIT_CPU_ENTER and
 *         _LEAVE; frames are taken, given back and charged without it
 * COST    take, give: O(items in a slab / 64). grow: O(items). A slab loses at most 1/8 to the
 *         header and the rest, unless that would take more than
 *         2^MMK_SLAB_MAX_ORDER pages.
 * SOURCE  Bonwick, USENIX Summer 1994; differs: bits, no constructor. The cookie
 *         is that of glibc's tcache.
 *
 * I1      sum over slabs of nr_taken == slabs->nr_taken
 * I2      a slab is on `partial` <=> 0 < its nr_taken < items_per_slab; on
 *         `full` <=> nr_taken == items_per_slab; else it is `empty`
 * I3      a frame's owner is `slabs`, and its start has the tag <=> it is one
 *         of its slabs
 * I4      every free item has its cookie
 *                                            all tested by: mmk_pool_check
 */
#ifndef MMKIT_KVA_SLAB_H
#define MMKIT_KVA_SLAB_H

#include "../base/list.h"
#include "../phys/frame.h"

MMK_BEGIN_DECLS

#define MMK_SLAB_ALIGN_BYTES 16u
#define MMK_SLAB_MAX_ORDER 3u
#define MMK_SLAB_HEADER_BYTES 64u

/*
 * MMKIT_POOL_REDZONE: so many bytes at least behind each item hold a pattern,
 * which is looked at when the item comes back: a write past its end panics.
 * MMKIT_POOL_POISON 1: free items hold a pattern, which is looked at when they
 * go out again: a write after free panics. Both only matter to the file with
 * the implementation.
 */
#ifndef MMKIT_POOL_REDZONE
#define MMKIT_POOL_REDZONE 0
#endif
#ifndef MMKIT_POOL_POISON
#define MMKIT_POOL_POISON 0
#endif

struct mmk_slab;

/*
 * Who pays for slabs. `charge` may refuse: an allocation then fails as if there
 * were no memory. Both are called with no lock of the pool's held.
 */
struct mmk_slab_payer {
	enum mmk_err (*charge)(void *ctx, uint64_t nr_pages);
	void (*uncharge)(void *ctx, uint64_t nr_pages);
	void *ctx;
};

/* Guards: [I] immutable after init  [L] this->lock */
struct mmk_slabs {
	struct mmk_phys *phys;  /* [I] */
	const char *name;       /* [I] */
	const struct mmk_slab_payer *payer; /* [I] NULL: nobody */
	size_t item_bytes;      /* [I] as asked, but at least a word */
	uint64_t inverse;       /* [I] 2^MMK_SLAB_SHIFT / stride, rounded up */
	uint64_t mask;          /* [I] bytes of a slab less 1 */
	uint32_t stride_bytes;  /* [I] from one item to the next */
	uint32_t first_bytes;   /* [I] from the slab's start to its item 0 */
	uint32_t items_per_slab; /* [I] */
	uint32_t order;         /* [I] of a slab */
	MMKIT_LOCK_T lock;
	struct mmk_list partial; /* [L] slabs with taken and free items */
	struct mmk_list full;    /* [L] slabs without free items */
	struct mmk_slab *empty;  /* [L] the slab without taken items, or NULL */
	uint64_t nr_taken;       /* [L] items out of the slabs */
	uint64_t nr_slabs;       /* [L] */
};

/* pre: as for mmk_pool_init */
MMK_API void mmk_slabs_init(struct mmk_slabs *slabs, struct mmk_phys *phys,
    const char *name, size_t item_bytes);

/* The lock, and this CPU for ourselves. Returns what unlock wants back. */
MMK_API uintptr_t mmk_slabs_lock(struct mmk_slabs *slabs);
MMK_API void mmk_slabs_unlock(struct mmk_slabs *slabs, uintptr_t state);

/* A free item, which the caches have now; NULL: no slab has one. */
MMK_API void *mmk_slabs_take_locked(struct mmk_slabs *slabs);

/*
 * Take back what the caches have. Slabs that became superfluous are put on the
 * chain *idle, for mmk_slabs_release.
 */
MMK_API void mmk_slabs_give_locked(struct mmk_slabs *slabs, void *item,
    struct mmk_slab **idle);

/* Take the empty slab, if there is one, out, for mmk_slabs_release. */
MMK_API void mmk_slabs_trim_locked(struct mmk_slabs *slabs,
    struct mmk_slab **idle);

/* The frames of the chain go back to phys. locks: none of the pool's held. */
MMK_API void mmk_slabs_release(struct mmk_slabs *slabs, struct mmk_slab *idle);

/*
 * An item of a new slab; NULL: no memory, or charge said no, and nothing
 * changed. locks: none of the pool's held; takes and drops slabs->lock.
 */
MMK_API void *mmk_slabs_grow(struct mmk_slabs *slabs);

/*
 * For the audit: the caches have this item. False: they cannot, or were said to
 * have it before. `mark` false takes the word back.
 */
MMK_API bool mmk_slabs_note_cached(struct mmk_slabs *slabs, void *item,
    bool mark);

/* Walks every slab. O(items). */
MMK_API bool mmk_slabs_check_locked(struct mmk_slabs *slabs);

MMK_END_DECLS
#endif /* MMKIT_KVA_SLAB_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_KVA_SLAB_IMPL)
#define MMKIT_KVA_SLAB_IMPL

/* What a free item and the bytes behind an item hold. */
#define MMK_SLAB_FREE_BYTE 0xdbu
#define MMK_SLAB_RED_BYTE 0xbdu

/* offset * inverse >> this is the item's number, exactly: see mmk_slabs_init */
#define MMK_SLAB_SHIFT 40u

/* [L] the slabs' lock, but for [I]: immutable. The bits follow. */
struct mmk_slab {
	struct mmk_link link;    /* [L] on `partial` or `full`, or on none */
	struct mmk_slab *next;   /* [L] on a chain of idle ones */
	struct mmk_frame *frame; /* [I] */
	uint64_t nr_taken;       /* [L] */
	uintptr_t tag; /* [I] mmk__slab_tag; 0 once it is no slab any more */
};

/* What no memory but that slab's holds there, unless somebody copies it. */
MMK_PRIVATE uintptr_t
mmk__slab_tag(const struct mmk_slabs *slabs, const struct mmk_slab *slab)
{
	return (uintptr_t)slabs ^ (uintptr_t)slab;
}

MMK_PRIVATE uint64_t *
mmk__slab_bits(struct mmk_slab *slab)
{
	return (uint64_t *)(void *)(slab + 1);
}

/* What the first word of this item holds while it is free. */
MMK_PRIVATE uintptr_t
mmk__item_cookie(const struct mmk_slabs *slabs, const void *item)
{
	return ~((uintptr_t)slabs ^ (uintptr_t)item);
}

/* ---- the shape of a slab ------------------------------------------------- */

/* The header of a slab of nr_items, its bits included. */
MMK_PRIVATE size_t
mmk__slab_header_bytes(size_t nr_items, size_t stride_bytes)
{
	size_t bytes = sizeof(struct mmk_slab) +
	    (nr_items + 63) / 64 * sizeof(uint64_t);
	/* Items of whole cache lines get whole cache lines. */
	size_t align = stride_bytes & (~stride_bytes + 1);

	return (size_t)mmk_round_up(bytes,
	    mmk_min(align, MMK_SLAB_HEADER_BYTES));
}

/* How many items a slab of that order has room for. */
MMK_PRIVATE size_t
mmk__slab_nr_items(size_t stride_bytes, unsigned order)
{
	size_t bytes = (size_t)MMK_PAGE_BYTES << order;
	size_t nr_items = bytes / stride_bytes;

	while (mmk__slab_header_bytes(nr_items, stride_bytes) +
	        nr_items * stride_bytes > bytes)
		nr_items--;
	return nr_items;
}

MMK_API void
mmk_slabs_init(struct mmk_slabs *slabs, struct mmk_phys *phys,
    const char *name, size_t item_bytes)
{
	size_t stride_bytes, nr_items = 0;
	unsigned order;

	MMK_ASSERT(item_bytes > 0);
	MMK_ASSERT(item_bytes <= MMK_PAGE_BYTES - MMK_SLAB_HEADER_BYTES);
	if (item_bytes < sizeof(mmk_word))
		item_bytes = sizeof(mmk_word);
	stride_bytes = (size_t)mmk_round_up(item_bytes + MMKIT_POOL_REDZONE,
	    MMK_SLAB_ALIGN_BYTES);
	for (order = 0;; order++) {
		size_t bytes = (size_t)MMK_PAGE_BYTES << order;

		nr_items = mmk__slab_nr_items(stride_bytes, order);
		if (order == MMK_SLAB_MAX_ORDER || order == MMK_MAX_ORDER)
			break;
		if (bytes - nr_items * stride_bytes <= bytes / 8)
			break;
	}
	MMK_ASSERT(nr_items > 0);
	(void)MMKIT_MEMSET(slabs, 0, sizeof(*slabs));
	slabs->phys = phys;
	slabs->name = name;
	slabs->item_bytes = item_bytes;
	slabs->stride_bytes = (uint32_t)stride_bytes;
	slabs->first_bytes =
	    (uint32_t)mmk__slab_header_bytes(nr_items, stride_bytes);
	slabs->mask = (MMK_PAGE_BYTES << order) - 1;
	slabs->items_per_slab = (uint32_t)nr_items;
	slabs->order = order;
	/*
	 * inverse * stride is 2^40 and less than a stride, below 2^17, more. An
	 * offset is below 2^19: the sum of its errors stays below 2^40.
	 */
	slabs->inverse =
	    (((uint64_t)1 << MMK_SLAB_SHIFT) + stride_bytes - 1) / stride_bytes;
	MMKIT_LOCK_INIT(&slabs->lock, name, MMK_RANK_POOL);
	mmk_list_init(&slabs->partial);
	mmk_list_init(&slabs->full);
}

MMK_API uintptr_t
mmk_slabs_lock(struct mmk_slabs *slabs)
{
	/* Who spins on its own CPU must not have the holder interrupted there. */
	uintptr_t state = MMKIT_CPU_ENTER();

	MMKIT_LOCK(&slabs->lock);
	return state;
}

MMK_API void
mmk_slabs_unlock(struct mmk_slabs *slabs, uintptr_t state)
{
	MMKIT_UNLOCK(&slabs->lock);
	MMKIT_CPU_LEAVE(state);
}

/* ---- patterns ------------------------------------------------------------ */

/* Every item and redzone of a new slab; then nobody may touch them. */
MMK_PRIVATE void
mmk__slab_paint(const struct mmk_slabs *slabs, struct mmk_slab *slab)
{
	size_t bytes = ((size_t)MMK_PAGE_BYTES << slabs->order) -
	    slabs->first_bytes;
	unsigned char *first = (unsigned char *)slab + slabs->first_bytes;

	if (MMKIT_POOL_REDZONE > 0)
		(void)MMKIT_MEMSET(first, MMK_SLAB_RED_BYTE, bytes);
	for (size_t i = 0; i < slabs->items_per_slab; i++) {
		unsigned char *item = first + i * slabs->stride_bytes;

		if (MMKIT_POOL_POISON)
			(void)MMKIT_MEMSET(item, MMK_SLAB_FREE_BYTE,
			    slabs->item_bytes);
		*(mmk_word *)(void *)item = mmk__item_cookie(slabs, item);
	}
	MMKIT_POISON(first, bytes);
}

/* All bytes are as they were painted; the pool is named if not. */
MMK_PRIVATE bool
mmk__slab_is_painted(const struct mmk_slabs *slabs, const unsigned char *from,
    size_t bytes, unsigned byte)
{
	MMKIT_RECALL(from, bytes);
	for (size_t i = 0; i < bytes; i++)
		if (from[i] != byte) {
			MMKIT_LOG(slabs->name);
			return false;
		}
	return true;
}

/* ---- items --------------------------------------------------------------- */

MMK_PRIVATE size_t
mmk__slab_offset(const struct mmk_slabs *slabs, const void *item)
{
	return (size_t)(MMKIT_PTR_TO_PHYS(item) & slabs->mask);
}

/* The number of the item at this offset of its slab; of no item: anything. */
MMK_PRIVATE uint64_t
mmk__slab_index(const struct mmk_slabs *slabs, size_t offset_bytes)
{
	return ((uint64_t)offset_bytes - slabs->first_bytes) *
	    slabs->inverse >> MMK_SLAB_SHIFT;
}

/* The slab and number of an item that is known to be ours. */
MMK_PRIVATE struct mmk_slab *
mmk__slab_of(const struct mmk_slabs *slabs, void *item, uint64_t *i_out)
{
	size_t offset_bytes = mmk__slab_offset(slabs, item);

	*i_out = mmk__slab_index(slabs, offset_bytes);
	return (struct mmk_slab *)(void *)((char *)item - offset_bytes);
}

/* The item goes to the user: noted, and allowed to be touched. */
MMK_PRIVATE void
mmk__slabs_hand_out(struct mmk_slabs *slabs, void *item)
{
	mmk_word *word = (mmk_word *)item;

	MMKIT_RECALL(word, sizeof(*word));
	MMK_ASSERT(*word == mmk__item_cookie(slabs, item));
	*word = 0;
	if (MMKIT_POOL_POISON) {
		bool is_untouched_since_free = mmk__slab_is_painted(slabs,
		    (unsigned char *)(word + 1),
		    slabs->item_bytes - sizeof(*word), MMK_SLAB_FREE_BYTE);

		MMK_ASSERT(is_untouched_since_free);
	}
	MMKIT_ITEM_ALLOC(slabs, item, slabs->item_bytes);
}

/*
 * The frame is one of our slabs. The tag says so too, and is cheaper: but it is
 * read from where the slab would be, which a checker may forbid.
 */
MMK_PRIVATE bool
mmk__slab_frame_is_ours(const struct mmk_slabs *slabs, const void *slab)
{
	mmk_pfn pfn = mmk_pfn_of_pa(MMKIT_PTR_TO_PHYS(slab));
	const struct mmk_frame *frame =
	    mmk_frame_table_lookup(&slabs->phys->table, pfn);

	return frame != NULL && mmk_frame_is_held(frame) &&
	    frame->use == MMK_USE_POOL && frame->owner == slabs;
}

/* It is an item of one of our slabs; anything else is a bug. */
MMK_PRIVATE void
mmk__slabs_expect_item(const struct mmk_slabs *slabs, const void *item)
{
	size_t offset_bytes = mmk__slab_offset(slabs, item);
	uint64_t i = mmk__slab_index(slabs, offset_bytes);
	const struct mmk_slab *slab = (const struct mmk_slab *)(const void *)(
	    (const char *)item - offset_bytes);

	MMK_DEBUG_ASSERT(mmk__slab_frame_is_ours(slabs, slab));
	MMK_ASSERT(slab->tag == mmk__slab_tag(slabs, slab));
	MMK_ASSERT(i < slabs->items_per_slab);
	MMK_ASSERT(i * slabs->stride_bytes + slabs->first_bytes ==
	    offset_bytes);
}

MMK_PRIVATE void
mmk__slab_check_redzone(const struct mmk_slabs *slabs, const void *item)
{
	const unsigned char *end =
	    (const unsigned char *)item + slabs->item_bytes;
	size_t bytes = slabs->stride_bytes - slabs->item_bytes;
	bool is_whole_behind_item =
	    mmk__slab_is_painted(slabs, end, bytes, MMK_SLAB_RED_BYTE);

	MMK_ASSERT(is_whole_behind_item);
	MMKIT_POISON(end, bytes);
}

/*
 * The item comes from the user. Panics if the user does not have it: freed
 * before, of another pool, amid an item, or no pool's at all. Two frees of one
 * item at the same moment may both pass; the second to reach the slab panics.
 */
MMK_PRIVATE void
mmk__slabs_hand_in(struct mmk_slabs *slabs, void *item)
{
	mmk_word *word = (mmk_word *)item;

	mmk__slabs_expect_item(slabs, item);
	MMKIT_RECALL(word, sizeof(*word));
	MMK_ASSERT(*word != mmk__item_cookie(slabs, item));
	if (MMKIT_POOL_REDZONE > 0)
		mmk__slab_check_redzone(slabs, item);
	if (MMKIT_POOL_POISON)
		(void)MMKIT_MEMSET(item, MMK_SLAB_FREE_BYTE,
		    slabs->item_bytes);
	*word = mmk__item_cookie(slabs, item);
	MMKIT_ITEM_FREE(slabs, item, slabs->item_bytes);
}

/* ---- slabs --------------------------------------------------------------- */

MMK_API void
mmk_slabs_trim_locked(struct mmk_slabs *slabs, struct mmk_slab **idle)
{
	struct mmk_slab *slab = slabs->empty;

	if (slab == NULL)
		return;
	slabs->empty = NULL;
	slabs->nr_slabs--;
	slab->next = *idle;
	*idle = slab;
}

MMK_API void
mmk_slabs_release(struct mmk_slabs *slabs, struct mmk_slab *idle)
{
	while (idle != NULL) {
		struct mmk_frame *frame = idle->frame;

		idle->tag = 0; /* I3 */
		idle = idle->next;
		frame->owner = NULL;
		(void)mmk_frame_unref(slabs->phys, frame);
		if (slabs->payer != NULL)
			slabs->payer->uncharge(slabs->payer->ctx,
			    (uint64_t)1 << slabs->order);
	}
}

/* To the list that its nr_taken asks for. */
MMK_PRIVATE void
mmk__slab_file_locked(struct mmk_slabs *slabs, struct mmk_slab *slab,
    struct mmk_slab **idle)
{
	mmk_list_remove(&slab->link);
	if (slab->nr_taken == slabs->items_per_slab) {
		mmk_list_push_front(&slabs->full, &slab->link);
	} else if (slab->nr_taken > 0) {
		mmk_list_push_front(&slabs->partial, &slab->link);
	} else {
		mmk_slabs_trim_locked(slabs, idle);
		slabs->empty = slab;
	}
}

/* pre: the slab has a free item, and is not the empty one. */
MMK_PRIVATE void *
mmk__slab_take_locked(struct mmk_slabs *slabs, struct mmk_slab *slab)
{
	uint64_t *bits = mmk__slab_bits(slab);
	size_t i = 0;

	while (bits[i / 64] == UINT64_MAX)
		i += 64;
	i += mmk_lowest_bit(~bits[i / 64]);
	MMK_ASSERT(i < slabs->items_per_slab);
	bits[i / 64] |= (uint64_t)1 << (i % 64);
	slab->nr_taken++;
	slabs->nr_taken++;
	if (slab->nr_taken == 1 || slab->nr_taken == slabs->items_per_slab)
		mmk__slab_file_locked(slabs, slab, NULL);
	return (char *)slab + slabs->first_bytes + i * slabs->stride_bytes;
}

MMK_API void *
mmk_slabs_take_locked(struct mmk_slabs *slabs)
{
	struct mmk_link *link = mmk_list_first(&slabs->partial);
	struct mmk_slab *slab = slabs->empty;

	if (link != NULL)
		slab = MMK_LIST_ITEM(link, struct mmk_slab, link);
	else
		slabs->empty = NULL;
	return slab == NULL ? NULL : mmk__slab_take_locked(slabs, slab);
}

MMK_API void
mmk_slabs_give_locked(struct mmk_slabs *slabs, void *item,
    struct mmk_slab **idle)
{
	uint64_t i, bit;
	struct mmk_slab *slab = mmk__slab_of(slabs, item, &i);
	uint64_t *word = &mmk__slab_bits(slab)[i / 64];

	bit = (uint64_t)1 << (i % 64);
	MMK_ASSERT((*word & bit) != 0);
	*word &= ~bit;
	slab->nr_taken--;
	slabs->nr_taken--;
	if (slab->nr_taken == 0 || slab->nr_taken + 1 == slabs->items_per_slab)
		mmk__slab_file_locked(slabs, slab, idle);
}

/* A frame, paid for; NULL: none, and nothing changed. */
MMK_PRIVATE struct mmk_frame *
mmk__slab_frame_alloc(struct mmk_slabs *slabs)
{
	const struct mmk_slab_payer *payer = slabs->payer;
	uint64_t nr_pages = (uint64_t)1 << slabs->order;
	struct mmk_frame *frame;

	if (payer != NULL && payer->charge(payer->ctx, nr_pages) != MMK_OK)
		return NULL;
	if (mmk_frame_alloc(slabs->phys, slabs->order, 0, MMK_USE_POOL,
	        &frame) == MMK_OK)
		return frame;
	if (payer != NULL)
		payer->uncharge(payer->ctx, nr_pages);
	return NULL;
}

MMK_API void *
mmk_slabs_grow(struct mmk_slabs *slabs)
{
	struct mmk_frame *frame = mmk__slab_frame_alloc(slabs);
	struct mmk_slab *slab;
	uintptr_t state;
	void *item;

	if (frame == NULL)
		return NULL;
	slab = (struct mmk_slab *)mmk_frame_ptr(slabs->phys, frame);
	(void)MMKIT_MEMSET(slab, 0, slabs->first_bytes);
	mmk_link_init(&slab->link);
	slab->frame = frame;
	slab->tag = mmk__slab_tag(slabs, slab);
	mmk__slab_paint(slabs, slab);
	frame->owner = slabs;
	state = mmk_slabs_lock(slabs);
	slabs->nr_slabs++;
	item = mmk__slab_take_locked(slabs, slab);
	mmk_slabs_unlock(slabs, state);
	return item;
}

/* ---- audit --------------------------------------------------------------- */

/* The free item's first word is what it should be; it is set to that or ~. */
MMK_PRIVATE bool
mmk__item_note(const struct mmk_slabs *slabs, void *item, bool is_noted,
    bool note)
{
	mmk_word *word = (mmk_word *)item;
	uintptr_t cookie = mmk__item_cookie(slabs, item);
	bool ok;

	MMKIT_RECALL(word, sizeof(*word));
	ok = *word == (is_noted ? ~cookie : cookie);
	if (ok)
		*word = note ? ~cookie : cookie;
	MMKIT_POISON(word, sizeof(*word));
	return ok;
}

MMK_API bool
mmk_slabs_note_cached(struct mmk_slabs *slabs, void *item, bool mark)
{
	uint64_t i;
	struct mmk_slab *slab = mmk__slab_of(slabs, item, &i);

	if ((mmk__slab_bits(slab)[i / 64] >> (i % 64) & 1) == 0)
		return false;
	return mmk__item_note(slabs, item, !mark, mark);
}

MMK_PRIVATE bool
mmk__slab_check_items(const struct mmk_slabs *slabs, struct mmk_slab *slab)
{
	const uint64_t *bits = mmk__slab_bits(slab);
	uint32_t nr_words = (slabs->items_per_slab + 63u) / 64u;
	char *first = (char *)slab + slabs->first_bytes;
	uint64_t nr_taken = 0;

	for (uint32_t i = 0; i < nr_words * 64; i++) {
		bool is_taken = (bits[i / 64] >> (i % 64) & 1) != 0;

		if (is_taken && i >= slabs->items_per_slab)
			return false;
		nr_taken += is_taken;
		if (!is_taken && i < slabs->items_per_slab &&
		    !mmk__item_note(slabs, first + i * slabs->stride_bytes,
		        false, false))
			return false;
	}
	return nr_taken == slab->nr_taken;
}

MMK_PRIVATE bool
mmk__slab_check(const struct mmk_slabs *slabs, struct mmk_slab *slab)
{
	const struct mmk_frame *frame = slab->frame;

	if (mmk_frame_ptr(slabs->phys, frame) != (void *)slab)
		return false;
	if (!mmk_frame_is_held(frame) || frame->use != MMK_USE_POOL ||
	    frame->owner != slabs || frame->order != slabs->order ||
	    slab->tag != mmk__slab_tag(slabs, slab))
		return false;
	return mmk__slab_check_items(slabs, slab);
}

/* One list: every slab right, with at least lo and at most hi items taken. */
MMK_PRIVATE bool
mmk__slabs_check_list(const struct mmk_slabs *slabs,
    const struct mmk_list *list, uint64_t lo, uint64_t hi, uint64_t sums[2])
{
	if (!mmk_list_check(list))
		return false;
	MMK_LIST_FOR_EACH(link, list) {
		struct mmk_slab *slab =
		    MMK_LIST_ITEM(link, struct mmk_slab, link);

		if (!mmk__slab_check(slabs, slab) ||
		    slab->nr_taken < lo || slab->nr_taken > hi)
			return false;
		sums[0]++;
		sums[1] += slab->nr_taken;
	}
	return true;
}

MMK_API bool
mmk_slabs_check_locked(struct mmk_slabs *slabs)
{
	uint64_t sums[2] = { 0, 0 }; /* slabs, items taken */
	uint64_t all = slabs->items_per_slab;

	if (!mmk__slabs_check_list(slabs, &slabs->partial, 1, all - 1, sums) ||
	    !mmk__slabs_check_list(slabs, &slabs->full, all, all, sums))
		return false;
	if (slabs->empty != NULL) {
		if (slabs->empty->nr_taken != 0 ||
		    !mmk__slab_check(slabs, slabs->empty))
			return false;
		sums[0]++;
	}
	return sums[0] == slabs->nr_slabs && sums[1] == slabs->nr_taken;
}
#endif /* MMKIT_IMPLEMENTATION */
