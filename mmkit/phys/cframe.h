/* SPDX-License-Identifier: MIT
 *
 * mmkit/phys/cframe.h: what names mean: entries, frames, memory, credit
 *
 * WHAT    A container is a name space: 64-bit names that stand for bytes. What
 *         is allocated in it is cut into frames of a power of two of pages,
 *         aligned by name, and each entry of the container shows one frame:
 *
 *           container X   [e0 4 pages][e1 2][e2 1]      entries, in a btree
 *                              |         \    |
 *           frame            f0 ----       f1 f2       what a name means
 *                              |     \                  (struct mmk_cframe)
 *           container Y       [e3]    \
 *           memory             p0      p1              struct mmk_frame, or none
 *
 *         Entries that show one frame share it: each sees what the others
 *         write. Frames that have one piece of memory are copies of each other:
 *         the first to be written gets memory of its own. A frame without
 *         memory reads as zeros, and gets some when it is first mapped for real.
 *
 *         An entry always shows a whole frame. To act on a part of one it is
 *         halved, with all that share it and all its copies, until the part is
 *         whole; nobody can tell. Every name is charged to the control its
 *         container came from, shared or not, so that a copy that must be made
 *         later never lacks credit.
 * LAYER   phys. Includes control.h, pin.h, move.h and base/btree.h. Knows no
 *         maps and no translations: see mmk_physmem_plug.
 * LOCKS   physmem->mutex (MMK_RANK_CONTAINER) guards everything here; it is
 *         held while translations are revoked, so it is a mutex. Public
 *         functions take it.
 * COST    O(log entries) for each entry of the range; halving O(sharers).
 *         About 48 bytes an entry, 80 a frame, and the btree's.
 * SOURCE  physmem of the GNU Hurd on L4 (design text, Walfield). Differs: an
 *         entry shows a whole frame; copies are frames of one memory, and not
 *         entries of one frame; a B+-tree.
 *
 * I1      frame->order pages are what each of its entries shows; entries of a
 *         container are disjoint
 * I2      memory->refs == frames that have it + pins; its owner is one of them
 * I3      granted to write => no other frame has the memory
 * I4      container->nr_pages == pages of its entries == what it has charged
 *                                          all tested by: mmk_physmem_check
 */
#ifndef MMKIT_PHYS_CFRAME_H
#define MMKIT_PHYS_CFRAME_H

#include "../base/btree.h"
#include "control.h"
#include "move.h"
#include "pin.h"

MMK_BEGIN_DECLS

struct mmk_physmem;

/* Memory for entries, frames, containers and pins: a pool each, or a heap. */
struct mmk_physmem_memory {
	void *(*alloc)(void *ctx, size_t bytes); /* aligned for a pointer */
	void (*free)(void *ctx, void *item, size_t bytes);
	void *ctx;
};

struct mmk_physmem_plug {
	/*
	 * On return no translation of the frame is left, in any TLB (keep 0),
	 * or none that can write (keep MMK_PROT_READ). Called with
	 * physmem->mutex held, for a frame that was granted. NULL: nobody ever
	 * translates.
	 */
	void (*revoke)(void *ctx, struct mmk_frame *frame, unsigned keep);
	void *ctx;
};

struct mmk_physmem_config {
	struct mmk_phys *phys;
	struct mmk_pins *pins; /* NULL: no pins */
	const struct mmk_physmem_memory *memory;
	const struct mmk_btree_memory *nodes;
	const struct mmk_physmem_plug *plug; /* NULL: none */
	struct mmk_handle_sys *handles;      /* NULL: containers have no names */
	uint32_t max_pins; /* for each container; see mmk_container_pin */
	/* of one control, and what else uses it; 0: any number. Containers are
	 * not charged, and live on when their last name is closed: without a
	 * limit who may create them can have the kernel's memory. */
	uint32_t max_containers;
	bool is_eager; /* unmap at once whatever is given up: see deallocate */
};

/* Counted up, for ever. Guards: [X] physmem->mutex */
struct mmk_physmem_counters {
	uint64_t nr_binds;   /* [X] memory given to a frame */
	uint64_t nr_copies;  /* [X] of a frame, because of a write */
	uint64_t nr_revokes; /* [X] calls of plug.revoke */
	uint64_t nr_moves;   /* [X] frames that got another place */
	uint64_t nr_halves;  /* [X] */
};

/* Guards: [I] immutable after init  [X] this->mutex */
struct mmk_physmem {
	MMKIT_MUTEX_T mutex;
	struct mmk_physmem_config config; /* [I] */
	struct mmk_mover mover;           /* [I] */
	struct mmk_list containers;       /* [X] */
	struct mmk_list pins;             /* [X] begun and not ended */
	struct mmk_list left;             /* [X] frames with is_left */
	struct mmk_physmem_counters counters; /* [X] */
};

/* Guards: [I] immutable after create  [a] atomic  [X] physmem->mutex */
struct mmk_container {
	struct mmk_physmem *physmem;     /* [I] */
	struct mmk_control_user user;    /* its control, and death */
	struct mmk_handle_target target; /* its names */
	struct mmk_btree tree;           /* [X] entries by name */
	struct mmk_link of_physmem;      /* [X] */
	uint64_t nr_pages;               /* [X] charged, */
	uint64_t nr_extra_pages;         /* [X] and beyond the guarantee */
	uint64_t nr_wanted;              /* [X] inserts to reserve; scratch */
	uint64_t nr_kept_pages; /* [X] charges that what is removed leaves to
	                         * what comes in its place; scratch */
	uint32_t nr_pins;                /* [X] over or not, until unpin */
	uint32_t refs;                   /* [a] */
	bool is_dead;                    /* [X] */
	bool has_left; /* [X] translations of names it has given up */
};

/* What a frame of names is now. Guards: [X] all of it */
struct mmk_cframe {
	struct mmk_frame *memory; /* NULL: zeros, so far */
	struct mmk_list entries;  /* that show it: they share it */
	struct mmk_link copies;   /* ring of the frames with this memory */
	struct mmk_link left;     /* on physmem->left, if is_left */
	uint32_t nr_entries;
	uint8_t order;   /* log2 of its pages */
	uint8_t granted; /* MMK_PROT_* that translations may have */
	bool is_left;    /* some of these are of names that were given up */
	bool is_low;     /* its memory must lie in zone LOW */
};

/* One frame at one place of one container. Guards: [X] all of it */
struct mmk_centry {
	struct mmk_container *container;
	struct mmk_cframe *cframe;
	struct mmk_link of_cframe;
	uint64_t start;  /* name of its first byte */
	uint8_t access;  /* MMK_PROT_READ, perhaps MMK_PROT_WRITE */
	bool is_extra;   /* charged beyond the guarantee */
};

/* What mmk_container_lookup says about a name. */
struct mmk_centry_info {
	uint64_t start;        /* name of the frame's first byte */
	uint64_t nr_bytes;     /* of the frame */
	uint64_t offset_bytes; /* of the name in it */
	uint64_t nr_sharers;   /* entries that show the frame, this one too */
	unsigned access;
	bool is_bound;         /* it has memory */
	bool is_copy;          /* other frames have the same memory */
	bool is_extra;
};

MMK_API void mmk_container_ref(struct mmk_container *container);
/* The last reference frees its memory. */
MMK_API void mmk_container_unref(struct mmk_container *container);

MMK_END_DECLS
#endif /* MMKIT_PHYS_CFRAME_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_PHYS_CFRAME_IMPL)
#define MMKIT_PHYS_CFRAME_IMPL

/* Names of a request, both included: the highest name has none after it. */
struct mmk__names {
	uint64_t start;
	uint64_t last;
};

MMK_PRIVATE bool
mmk__names_make(uint64_t start, uint64_t nr_bytes, struct mmk__names *out)
{
	if (!mmk_is_page_aligned(start) || !mmk_is_page_aligned(nr_bytes) ||
	    nr_bytes == 0 || nr_bytes - 1 > UINT64_MAX - start)
		return false;
	out->start = start;
	out->last = start + (nr_bytes - 1);
	return true;
}

MMK_PRIVATE uint64_t
mmk__names_nr_pages(const struct mmk__names *names)
{
	return mmk_pages_of_bytes(names->last - names->start) + 1;
}

MMK_PRIVATE uint64_t
mmk__cframe_nr_pages(const struct mmk_cframe *cframe)
{
	return (uint64_t)1 << cframe->order;
}

MMK_PRIVATE uint64_t
mmk__centry_last(const struct mmk_centry *entry)
{
	return entry->start +
	    (mmk_bytes_of_pages(mmk__cframe_nr_pages(entry->cframe)) - 1);
}

/* The lowest entry with a byte at or above `name`, and not above `last`. */
MMK_PRIVATE struct mmk_centry *
mmk__container_first(const struct mmk_container *container, uint64_t name,
    uint64_t last)
{
	struct mmk_range range;

	if (!mmk_btree_find_ge(&container->tree, name, &range) ||
	    range.start > last)
		return NULL;
	return (struct mmk_centry *)range.value;
}

/* The entry after `entry` in [.., last]; NULL: none. */
MMK_PRIVATE struct mmk_centry *
mmk__container_next(const struct mmk_centry *entry, uint64_t last)
{
	uint64_t end = mmk__centry_last(entry);

	return end >= last ? NULL :
	    mmk__container_first(entry->container, end + 1, last);
}

/* Every name of the range is allocated. */
MMK_PRIVATE bool
mmk__container_is_full(const struct mmk_container *container,
    const struct mmk__names *names)
{
	uint64_t name = names->start;
	const struct mmk_centry *entry =
	    mmk__container_first(container, name, names->last);

	for (; entry != NULL && entry->start <= name;
	     entry = mmk__container_next(entry, names->last)) {
		if (mmk__centry_last(entry) >= names->last)
			return true;
		name = mmk__centry_last(entry) + 1;
	}
	return false;
}

/* ---- a stock of small structures, taken before anything changes ---------- */

/* Chains through of_cframe.next and copies.next. */
struct mmk__stock {
	struct mmk_physmem *physmem;
	struct mmk_list entries;
	struct mmk_list cframes;
};

MMK_PRIVATE void *
mmk__physmem_alloc(struct mmk_physmem *physmem, size_t bytes)
{
	const struct mmk_physmem_memory *memory = physmem->config.memory;
	void *item = MMKIT_FAIL_POINT() ? NULL
	                                : memory->alloc(memory->ctx, bytes);

	if (item != NULL)
		(void)MMKIT_MEMSET(item, 0, bytes);
	return item;
}

MMK_PRIVATE void
mmk__physmem_free(struct mmk_physmem *physmem, void *item, size_t bytes)
{
	const struct mmk_physmem_memory *memory = physmem->config.memory;

	memory->free(memory->ctx, item, bytes);
}

MMK_PRIVATE void
mmk__stock_drop(struct mmk__stock *stock)
{
	struct mmk_link *link;

	while ((link = mmk_list_pop_front(&stock->entries)) != NULL)
		mmk__physmem_free(stock->physmem,
		    MMK_LIST_ITEM(link, struct mmk_centry, of_cframe),
		    sizeof(struct mmk_centry));
	while ((link = mmk_list_pop_front(&stock->cframes)) != NULL)
		mmk__physmem_free(stock->physmem,
		    MMK_LIST_ITEM(link, struct mmk_cframe, copies),
		    sizeof(struct mmk_cframe));
}

/* errors NOMEM: nothing is taken. */
MMK_PRIVATE enum mmk_err
mmk__stock_fill(struct mmk__stock *stock, struct mmk_physmem *physmem,
    uint64_t nr_entries, uint64_t nr_cframes)
{
	stock->physmem = physmem;
	mmk_list_init(&stock->entries);
	mmk_list_init(&stock->cframes);
	for (; nr_entries > 0; nr_entries--) {
		struct mmk_centry *entry = (struct mmk_centry *)
		    mmk__physmem_alloc(physmem, sizeof(*entry));

		if (entry == NULL)
			break;
		mmk_link_init(&entry->of_cframe);
		mmk_list_push_front(&stock->entries, &entry->of_cframe);
	}
	for (; nr_entries == 0 && nr_cframes > 0; nr_cframes--) {
		struct mmk_cframe *cframe = (struct mmk_cframe *)
		    mmk__physmem_alloc(physmem, sizeof(*cframe));

		if (cframe == NULL)
			break;
		mmk_list_init(&cframe->entries);
		mmk_link_init(&cframe->copies);
		mmk_link_init(&cframe->left);
		mmk_list_push_front(&stock->cframes, &cframe->copies);
	}
	if (nr_entries == 0 && nr_cframes == 0)
		return MMK_OK;
	mmk__stock_drop(stock);
	return MMK_ERR_NOMEM;
}

/* pre: it is in stock. */
MMK_PRIVATE struct mmk_centry *
mmk__stock_entry(struct mmk__stock *stock)
{
	struct mmk_link *link = mmk_list_pop_front(&stock->entries);

	MMK_ASSERT(link != NULL);
	return MMK_LIST_ITEM(link, struct mmk_centry, of_cframe);
}

MMK_PRIVATE struct mmk_cframe *
mmk__stock_cframe(struct mmk__stock *stock)
{
	struct mmk_link *link = mmk_list_pop_front(&stock->cframes);

	MMK_ASSERT(link != NULL);
	return MMK_LIST_ITEM(link, struct mmk_cframe, copies);
}

/* ---- frames, their entries and their memory ------------------------------ */

MMK_PRIVATE struct mmk_cframe *
mmk__copy_of_link(struct mmk_link *link)
{
	return MMK_LIST_ITEM(link, struct mmk_cframe, copies);
}

/* Visit the frame and all its copies; the current one may not be unlinked. */
#define MMK__FOR_EACH_COPY(copy, cframe)                               \
	for (struct mmk_cframe *copy = (cframe),                       \
	                       *mmk__more = (cframe);                  \
	     mmk__more != NULL;                                        \
	     copy = mmk__copy_of_link(copy->copies.next),              \
	                       mmk__more = copy == (cframe) ? NULL : copy)

MMK_PRIVATE bool
mmk__cframe_has_copies(const struct mmk_cframe *cframe)
{
	return mmk_link_is_on_list(&cframe->copies);
}

MMK_PRIVATE void
mmk__cframe_show(struct mmk_cframe *cframe, struct mmk_centry *entry)
{
	entry->cframe = cframe;
	mmk_list_push_back(&cframe->entries, &entry->of_cframe);
	cframe->nr_entries++;
}

/* It has, or has no longer, translations that are nobody's. */
MMK_PRIVATE void
mmk__cframe_set_left(struct mmk_physmem *physmem, struct mmk_cframe *cframe,
    bool is_left)
{
	if (cframe->is_left == is_left)
		return;
	cframe->is_left = is_left;
	if (is_left)
		mmk_list_push_back(&physmem->left, &cframe->left);
	else
		mmk_list_remove(&cframe->left);
}

/* No translation of its memory has a right that is not in `keep`. */
MMK_PRIVATE void
mmk__cframe_revoke(struct mmk_physmem *physmem, struct mmk_cframe *cframe,
    unsigned keep)
{
	const struct mmk_physmem_plug *plug = physmem->config.plug;
	unsigned granted = 0;

	MMK__FOR_EACH_COPY(copy, cframe)
	{
		granted |= copy->granted;
		copy->granted &= (uint8_t)keep;
		if (keep == 0)
			mmk__cframe_set_left(physmem, copy, false);
	}
	if ((granted & ~keep) == 0)
		return;
	MMK_ASSERT(cframe->memory != NULL);
	physmem->counters.nr_revokes++;
	if (plug != NULL && plug->revoke != NULL)
		plug->revoke(plug->ctx, cframe->memory, keep);
}

/*
 * The frame gives its memory up; translations may stay if others still have it,
 * and they can only read.
 */
MMK_PRIVATE void
mmk__cframe_unbind(struct mmk_physmem *physmem, struct mmk_cframe *cframe,
    bool may_leave)
{
	struct mmk_frame *memory = cframe->memory;

	if (memory == NULL)
		return;
	if (mmk__cframe_has_copies(cframe)) {
		struct mmk_cframe *other =
		    mmk__copy_of_link(cframe->copies.next);

		if (cframe->granted != 0 && may_leave) {
			other->granted |= cframe->granted;
			mmk__cframe_set_left(physmem, other, true);
		} else if (cframe->granted != 0) {
			mmk__cframe_revoke(physmem, cframe, 0);
		}
		mmk_list_remove(&cframe->copies);
		memory->owner = other;
	} else {
		mmk__cframe_revoke(physmem, cframe, 0);
		/* A pin may outlive us: then nobody can say where it went. */
		mmk_frame_set_movable(memory, false);
		memory->owner = NULL;
	}
	cframe->memory = NULL;
	cframe->granted = 0;
	mmk__cframe_set_left(physmem, cframe, false);
	(void)mmk_frame_unref(physmem->config.phys, memory);
}

/* The entry shows nothing any more; with the last one its frame goes. */
MMK_PRIVATE void
mmk__centry_detach(struct mmk_physmem *physmem, struct mmk_centry *entry)
{
	struct mmk_cframe *cframe = entry->cframe;
	bool may_leave = !physmem->config.is_eager &&
	    !entry->container->is_dead &&
	    (cframe->granted & MMK_PROT_WRITE) == 0;

	if (cframe->granted != 0 && may_leave)
		entry->container->has_left = true;
	mmk_list_remove(&entry->of_cframe);
	entry->cframe = NULL;
	if (--cframe->nr_entries > 0) {
		if (cframe->granted != 0 && may_leave)
			mmk__cframe_set_left(physmem, cframe, true);
		else if (cframe->granted != 0)
			mmk__cframe_revoke(physmem, cframe, 0);
		return;
	}
	mmk__cframe_unbind(physmem, cframe, may_leave);
	mmk__physmem_free(physmem, cframe, sizeof(*cframe));
}

/* No more pins come while the mutex is held, but all may end at any moment. */
MMK_PRIVATE bool
mmk__cframe_is_pinned(const struct mmk_cframe *cframe)
{
	return cframe->memory != NULL &&
	    MMKIT_ATOMIC_LOAD(&cframe->memory->pins) != 0;
}

/* The entry is in its container's tree. pre: promised, and nothing is there. */
MMK_PRIVATE void
mmk__container_insert(struct mmk_centry *entry)
{
	enum mmk_err err = mmk_btree_insert(&entry->container->tree,
	    entry->start, mmk__centry_last(entry), entry);

	MMK_ASSERT(err == MMK_OK);
}

MMK_PRIVATE void
mmk__memory_copy(struct mmk_phys *phys, struct mmk_frame *to,
    const struct mmk_frame *from)
{
	for (uint64_t i = 0; i < mmk_frame_nr_pages(from); i++) {
		mmk_pa offset_bytes = mmk_bytes_of_pages(i);

		MMKIT_PAGE_COPY(MMKIT_PHYS_TO_PTR(mmk_frame_pa(phys, to) +
		                    offset_bytes),
		    MMKIT_PHYS_TO_PTR(mmk_frame_pa(phys, from) +
		        offset_bytes));
	}
}

/*
 * Names of the container are about to mean something new: nobody may see
 * through them what they meant before.
 */
MMK_PRIVATE void
mmk__container_forget_left(struct mmk_container *container)
{
	struct mmk_list *left = &container->physmem->left;

	while (container->has_left && !mmk_list_is_empty(left))
		mmk__cframe_revoke(container->physmem,
		    MMK_LIST_ITEM(mmk_list_first(left), struct mmk_cframe,
		        left),
		    0);
	container->has_left = false;
}

/* ---- halving ------------------------------------------------------------- */

/* Its memory becomes two frames. pre: isolated, no translation, no pin. */
MMK_PRIVATE struct mmk_frame *
mmk__memory_halve(struct mmk_phys *phys, struct mmk_frame *memory)
{
	unsigned order = memory->order - 1u;
	struct mmk_frame *half = mmk_frame_table_lookup(&phys->table,
	    mmk_frame_table_pfn(&phys->table, memory) + ((uint64_t)1 << order));

	mmk__frame_begin(half, order, MMK_ALLOC_MOVABLE,
	    (enum mmk_use)memory->use);
	MMKIT_ATOMIC_STORE(&half->refs, MMKIT_ATOMIC_LOAD(&memory->refs));
	MMKIT_ATOMIC_STORE(&memory->order, (uint8_t)order);
	return half;
}

/*
 * Its memory is ours until it is unisolated: not being moved, and nobody has a
 * reference but the copies. A pin that ends keeps its own a moment longer, and
 * would give back that of one half. errors AGAIN.
 */
MMK_PRIVATE enum mmk_err
mmk__cframe_isolate(struct mmk_phys *phys, struct mmk_cframe *cframe)
{
	uint32_t nr_copies = 0;

	if (mmk_frame_isolate(phys, cframe->memory) != MMK_OK)
		return MMK_ERR_AGAIN;
	MMK__FOR_EACH_COPY(copy, cframe)
		nr_copies++;
	if (MMKIT_ATOMIC_LOAD(&cframe->memory->refs) == nr_copies)
		return MMK_OK;
	mmk_frame_unisolate(phys, cframe->memory);
	return MMK_ERR_AGAIN;
}

/* Structures and tree nodes for halving the frame. errors NOMEM. */
MMK_PRIVATE enum mmk_err
mmk__halve_reserve(struct mmk_physmem *physmem, struct mmk_cframe *cframe,
    struct mmk__stock *stock)
{
	uint64_t nr_entries = 0, nr_cframes = 0;
	enum mmk_err err = MMK_OK;

	MMK__FOR_EACH_COPY(copy, cframe)
	{
		nr_cframes++;
		MMK_LIST_FOR_EACH(link, &copy->entries) {
			nr_entries++;
			MMK_LIST_ITEM(link, struct mmk_centry, of_cframe)
			    ->container->nr_wanted++;
		}
	}
	MMK__FOR_EACH_COPY(copy, cframe)
	{
		MMK_LIST_FOR_EACH(link, &copy->entries) {
			struct mmk_container *container = MMK_LIST_ITEM(link,
			    struct mmk_centry, of_cframe)->container;

			if (err == MMK_OK && container->nr_wanted > 0)
				err = mmk_btree_reserve(&container->tree,
				    (unsigned)container->nr_wanted);
			container->nr_wanted = 0;
		}
	}
	if (err == MMK_OK)
		err = mmk__stock_fill(stock, physmem, nr_entries, nr_cframes);
	return err;
}

/* Give back what halving has not used up of the trees' nodes. */
MMK_PRIVATE void
mmk__halve_unreserve(struct mmk_cframe *cframe)
{
	MMK__FOR_EACH_COPY(copy, cframe)
	{
		MMK_LIST_FOR_EACH(link, &copy->entries)
			mmk_btree_unreserve(&MMK_LIST_ITEM(link,
			    struct mmk_centry, of_cframe)->container->tree);
	}
}

/* The upper half of one frame, and of each of its entries. Cannot fail. */
MMK_PRIVATE struct mmk_cframe *
mmk__cframe_halve(struct mmk_cframe *low, struct mmk__stock *stock)
{
	struct mmk_cframe *high = mmk__stock_cframe(stock);
	uint64_t half_bytes;

	low->order--;
	half_bytes = mmk_bytes_of_pages(mmk__cframe_nr_pages(low));
	high->order = low->order;
	high->is_low = low->is_low;
	MMK_LIST_FOR_EACH(link, &low->entries) {
		struct mmk_centry *a =
		    MMK_LIST_ITEM(link, struct mmk_centry, of_cframe);
		struct mmk_centry *b = mmk__stock_entry(stock);
		struct mmk_btree *tree = &a->container->tree;

		b->container = a->container;
		b->start = a->start + half_bytes;
		b->access = a->access;
		b->is_extra = a->is_extra;
		mmk__cframe_show(high, b);
		mmk_btree_resize(tree, a->start, a->start, b->start - 1);
		mmk__container_insert(b);
	}
	return high;
}

/*
 * The frame, all that share it and all its copies become two. errors NOMEM;
 * BUSY: pinned; AGAIN: being moved, or a pin just ended. Nothing changed.
 */
MMK_PRIVATE enum mmk_err
mmk__family_halve(struct mmk_physmem *physmem, struct mmk_cframe *cframe)
{
	struct mmk_phys *phys = physmem->config.phys;
	struct mmk_frame *memory = cframe->memory, *half = NULL;
	struct mmk_cframe *first = NULL;
	struct mmk__stock stock;
	enum mmk_err err;

	MMK_ASSERT(cframe->order > 0);
	if (mmk__cframe_is_pinned(cframe))
		return MMK_ERR_BUSY;
	err = mmk__halve_reserve(physmem, cframe, &stock);
	if (err == MMK_OK && memory != NULL) {
		err = mmk__cframe_isolate(phys, cframe);
		if (err != MMK_OK)
			mmk__stock_drop(&stock);
	}
	if (err != MMK_OK) {
		mmk__halve_unreserve(cframe);
		return err;
	}
	mmk__cframe_revoke(physmem, cframe, 0);
	if (memory != NULL) {
		half = mmk__memory_halve(phys, memory);
		mmk_frame_unisolate(phys, memory);
	}
	MMK__FOR_EACH_COPY(copy, cframe)
	{
		struct mmk_cframe *high = mmk__cframe_halve(copy, &stock);

		high->memory = half;
		if (first == NULL)
			first = high;
		else
			mmk_list_insert_before(&first->copies, &high->copies);
	}
	if (half != NULL)
		half->owner = first;
	mmk__halve_unreserve(cframe);
	physmem->counters.nr_halves++;
	return MMK_OK;
}

/* An entry starts at `name`, or none has it inside. errors as halving. */
MMK_PRIVATE enum mmk_err
mmk__container_cut(struct mmk_container *container, uint64_t name)
{
	enum mmk_err err = MMK_OK;
	struct mmk_centry *entry;

	while (err == MMK_OK) {
		entry = mmk__container_first(container, name, name);
		if (entry == NULL || entry->start == name)
			break;
		err = mmk__family_halve(container->physmem, entry->cframe);
	}
	return err;
}

/* The entries of the range are all inside it. errors as halving. */
MMK_PRIVATE enum mmk_err
mmk__container_clip(struct mmk_container *container,
    const struct mmk__names *names)
{
	enum mmk_err err = mmk__container_cut(container, names->start);

	if (err == MMK_OK && names->last != UINT64_MAX)
		err = mmk__container_cut(container, names->last + 1);
	return err;
}

/* ---- pins, as far as they bear a charge ---------------------------------- */

/* A pin of a frame. Guards: [X] but for what `pin` says */
struct mmk_cpin {
	struct mmk_pin pin;
	struct mmk_link link;            /* [X] on physmem->pins */
	struct mmk_container *container; /* [X] with a reference */
	struct mmk_frame *memory;        /* [X] */
	struct mmk_control *control;     /* [X] bears nr_pages, or nr_extra */
	uint64_t nr_pages;               /* [X] whose names are gone */
	uint64_t nr_extra_pages;         /* [X] the same */
	bool is_over;                    /* [X] */
};

MMK_PRIVATE void
mmk__control_pay(struct mmk_control *control, uint64_t nr_pages,
    uint64_t nr_extra_pages)
{
	if (nr_pages > 0)
		mmk_control_uncharge(control, nr_pages);
	if (nr_extra_pages > 0)
		mmk_control_uncharge_extra(control, nr_extra_pages);
}

/* Another pin of the same memory that goes on; NULL: none. */
MMK_PRIVATE struct mmk_cpin *
mmk__cpin_heir(struct mmk_physmem *physmem, const struct mmk_frame *memory,
    const struct mmk_cpin *but)
{
	MMK_LIST_FOR_EACH(link, &physmem->pins) {
		struct mmk_cpin *pin =
		    MMK_LIST_ITEM(link, struct mmk_cpin, link);

		if (pin != but && !pin->is_over && pin->memory == memory)
			return pin;
	}
	return NULL;
}

/* The pin is over: what it bore is borne by another one, or by nobody. */
MMK_PRIVATE void
mmk__cpin_finish(struct mmk_physmem *physmem, struct mmk_cpin *pin)
{
	struct mmk_cpin *heir = mmk__cpin_heir(physmem, pin->memory, pin);

	pin->is_over = true;
	if (pin->nr_pages + pin->nr_extra_pages > 0 && heir != NULL) {
		heir->control = pin->control;
		heir->nr_pages = pin->nr_pages;
		heir->nr_extra_pages = pin->nr_extra_pages;
	} else {
		mmk__control_pay(pin->control, pin->nr_pages,
		    pin->nr_extra_pages);
	}
	pin->nr_pages = 0;
	pin->nr_extra_pages = 0;
}

/* Notice the pins that ended by themselves. */
MMK_PRIVATE void
mmk__physmem_sweep(struct mmk_physmem *physmem)
{
	MMK_LIST_FOR_EACH(link, &physmem->pins) {
		struct mmk_cpin *pin =
		    MMK_LIST_ITEM(link, struct mmk_cpin, link);

		if (!pin->is_over &&
		    !mmk_pin_is_live(physmem->config.pins, &pin->pin))
			mmk__cpin_finish(physmem, pin);
	}
}

/* ---- removing ------------------------------------------------------------ */

/* The pin that bears the charge if the entry goes; NULL: none. */
MMK_PRIVATE struct mmk_cpin *
mmk__centry_pin(const struct mmk_centry *entry)
{
	const struct mmk_cframe *cframe = entry->cframe;

	if (cframe->nr_entries > 1 || !mmk__cframe_is_pinned(cframe))
		return NULL;
	return mmk__cpin_heir(entry->container->physmem, cframe->memory, NULL);
}

/* The entry is gone, its charge goes back, or stays with a pin. */
MMK_PRIVATE void
mmk__centry_remove(struct mmk_centry *entry)
{
	struct mmk_container *container = entry->container;
	struct mmk_physmem *physmem = container->physmem;
	struct mmk_cframe *cframe = entry->cframe;
	uint64_t nr_pages = mmk__cframe_nr_pages(cframe);
	uint64_t nr_extra_pages = entry->is_extra ? nr_pages : 0;
	struct mmk_cpin *pin = mmk__centry_pin(entry);
	nr_pages -= nr_extra_pages;
	container->nr_pages -= nr_pages;
	container->nr_extra_pages -= nr_extra_pages;
	if (pin != NULL) {
		MMK_ASSERT(pin->nr_pages + pin->nr_extra_pages == 0);
		pin->control = container->user.control;
		pin->nr_pages = nr_pages;
		pin->nr_extra_pages = nr_extra_pages;
	}
	(void)mmk_btree_erase(&container->tree, entry->start);
	mmk__centry_detach(physmem, entry);
	mmk__physmem_free(physmem, entry, sizeof(*entry));
	if (pin != NULL)
		return;
	if (container->nr_kept_pages > 0) {
		uint64_t nr_kept = mmk_min(container->nr_kept_pages, nr_pages);

		container->nr_kept_pages -= nr_kept;
		nr_pages -= nr_kept;
	}
	mmk__control_pay(container->user.control, nr_pages, nr_extra_pages);
}

/* pre: clipped. Bytes removed. */
MMK_PRIVATE uint64_t
mmk__container_clear(struct mmk_container *container,
    const struct mmk__names *names)
{
	struct mmk_centry *entry;
	uint64_t nr_pages = 0;

	while ((entry = mmk__container_first(container, names->start,
	            names->last)) != NULL) {
		nr_pages += mmk__cframe_nr_pages(entry->cframe);
		mmk__centry_remove(entry);
	}
	return mmk_bytes_of_pages(nr_pages);
}

#endif /* MMKIT_IMPLEMENTATION */
