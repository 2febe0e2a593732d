/* SPDX-License-Identifier: MIT
 *
 * mmkit/phys/handle.h: names of objects that clients hold, with rights
 *
 * WHAT    Each client has a table of handles; a name is 64 bits that mean
 *         something in that table only:
 *
 *           | generation (32) | kind (8) | index (24) |
 *
 *         A slot's generation goes up whenever its handle ends, so a name is
 *         never given out twice; a slot whose generation would repeat is
 *         retired. Handles are derived from handles, with a subset of the
 *         rights, into the table of anybody, and so form trees:
 *
 *           insert(object) -> owner's --derive--> server's --derive--> helper's
 *
 *         Revoking one ends all that was derived from it; the death of the
 *         object ends all its handles in all tables. A handle does not keep
 *         its object alive: closing the last one destroys nothing.
 * LAYER   phys. Includes base/list.h. Knows no objects but by their targets.
 * LOCKS   sys->lock (MMK_RANK_HANDLES), then one table->lock
 *         (MMK_RANK_HANDLE_TABLE). What a lookup reads is written with both
 *         held, and so read with either: lookups take their table's lock only,
 *         and the object is referenced under it. Tables of one sys may derive
 *         from each other; memory is asked for under sys->lock.
 * COST    lookup, insert, derive: O(1); close: O(handles derived directly);
 *         revoke, kill: O(handles ended). About 90 bytes a slot, in items of
 *         MMK_HANDLE_ITEM_BYTES that stay until the table ends.
 * SOURCE  own; trees of derivation are seL4's and EROS's, generations are
 *         those of every table of weak references.
 *
 * I1      every slot is in use, free or retired, and counted as such
 * I2      a handle has no right that its source lacks, and the same object
 *                                            tested by: mmk_handles_check
 */
#ifndef MMKIT_PHYS_HANDLE_H
#define MMKIT_PHYS_HANDLE_H

#include "../base/list.h"

MMK_BEGIN_DECLS

/* What a client gives us to name an object. 0 is never one. */
typedef uint64_t mmk_handle_name;

enum mmk_handle_kind {
	MMK_HANDLE_NONE,
	MMK_HANDLE_CONTROL,
	MMK_HANDLE_CONTAINER,
	MMK_HANDLE_KIND_MAX
};

/* Rights. What each allows is said by the operations of the object. */
#define MMK_RIGHT_READ 1u
#define MMK_RIGHT_WRITE 2u
#define MMK_RIGHT_ALLOC 4u
#define MMK_RIGHT_FREE 8u
#define MMK_RIGHT_DESTROY 16u
#define MMK_RIGHT_GRANT 32u /* derive other handles */
#define MMK_RIGHT_ALL 63u

#define MMK_HANDLE_CHUNK_SLOTS 16u
#define MMK_HANDLE_NODE_CHUNKS 128u
#define MMK_HANDLE_TABLE_NODES 32u
#define MMK_HANDLE_LIMIT \
	(MMK_HANDLE_CHUNK_SLOTS * MMK_HANDLE_NODE_CHUNKS * \
	    MMK_HANDLE_TABLE_NODES)

struct mmk_handles;
struct mmk_handle_target;

/*
 * Where tables get their memory. `alloc` gives MMK_HANDLE_ITEM_BYTES, aligned
 * for a pointer, contents undefined, or NULL. Both are called with sys->lock
 * held: a pool will do.
 */
struct mmk_handle_memory {
	void *(*alloc)(void *ctx);
	void (*free)(void *ctx, void *item);
	void *ctx;
};

/* Guards: [I] immutable after init  [S] this->lock */
struct mmk_handle_sys {
	const struct mmk_handle_memory *memory; /* [I] */
	MMKIT_LOCK_T lock;
};

/* Guards: [I] immutable  [S] sys->lock  [B] both, to write; one, to read */
struct mmk_handle {
	struct mmk_handles *table;        /* [I] */
	struct mmk_handle_target *target; /* [B] NULL: not in use */
	struct mmk_handle *source;        /* [S] derived from; NULL: inserted */
	struct mmk_list derived;          /* [S] handles derived from this one */
	struct mmk_link sibling;          /* [S] on source->derived */
	struct mmk_link of_target;        /* [S] on target->handles */
	uint32_t generation;              /* [B] 1 and up */
	uint32_t index;                   /* [I] */
	uint32_t next_free;               /* [S] index + 1; 0: the last */
	uint32_t rights;                  /* [B] */
};

struct mmk_handle_chunk {
	struct mmk_handle slots[MMK_HANDLE_CHUNK_SLOTS];
};

struct mmk_handle_node {
	struct mmk_handle_chunk *chunks[MMK_HANDLE_NODE_CHUNKS];
};

union mmk_handle_item {
	struct mmk_handle_chunk chunk;
	struct mmk_handle_node node;
};
#define MMK_HANDLE_ITEM_BYTES sizeof(union mmk_handle_item)

/* Guards: as above; [B] includes this->lock */
struct mmk_handles {
	struct mmk_handle_sys *sys; /* [I] */
	uint32_t limit;             /* [I] the most slots */
	uint32_t nr_slots;          /* [B] */
	uint32_t nr_used;           /* [S] */
	uint32_t nr_retired;        /* [S] */
	uint32_t first_free;        /* [S] index + 1; 0: none */
	struct mmk_handle_node *nodes[MMK_HANDLE_TABLE_NODES]; /* [B] */
	MMKIT_LOCK_T lock;
};

/*
 * What can be named: embedded in the object. `ref` takes a reference of the
 * object's own count; it is called with a table's lock held, so it is an atomic
 * addition and no more.
 */
struct mmk_handle_target {
	struct mmk_handle_sys *sys;                   /* [I] NULL: has no names */
	void (*ref)(struct mmk_handle_target *target); /* [I] */
	struct mmk_list handles;   /* [S] newest first */
	enum mmk_handle_kind kind; /* [I] */
	bool is_dead;              /* [S] */
};

/* `memory` and what it points to outlive the sys. Allocates nothing. */
MMK_API void mmk_handle_sys_init(struct mmk_handle_sys *sys,
    const struct mmk_handle_memory *memory);

/*
 * mmk_handles_init: a table without handles. It may not move. Allocates
 * nothing. pre: 0 < limit <= MMK_HANDLE_LIMIT: the most slots it may have, the
 * retired ones included.
 */
MMK_API void mmk_handles_init(struct mmk_handles *table,
    struct mmk_handle_sys *sys, uint32_t limit);

/*
 * mmk_handles_fini: close every handle and give the memory back. What was
 * derived from them into other tables stays, as after mmk_handle_close.
 * pre: nobody else uses the table; objects may die meanwhile.
 */
MMK_API void mmk_handles_fini(struct mmk_handles *table);

/* An object that has no names yet. sys NULL: and will never have any. */
MMK_API void mmk_handle_target_init(struct mmk_handle_target *target,
    struct mmk_handle_sys *sys, enum mmk_handle_kind kind,
    void (*ref)(struct mmk_handle_target *target));

/*
 * mmk_handle_target_kill: the object is dying: every handle to it ends, in
 * every table, and none can be made. On return nobody finds it any more; those
 * who found it before have a reference. Killing it again does nothing.
 *
 * pre      the caller has a reference to the object.
 * locks    takes and drops sys->lock and tables' locks.
 */
MMK_API void mmk_handle_target_kill(struct mmk_handle_target *target);

/*
 * mmk_handle_insert: a name for `target` in `table`: the first, from which
 * others are derived.
 *
 * pre      rights are not 0 and known; the caller has a reference to the
 *          object; table and target are of one sys.
 * locks    takes and drops sys->lock and table->lock.
 * errors   MMK_ERR_NOENT: the object is dead. MMK_ERR_LIMIT: the table has
 *          `limit` slots and none is free. MMK_ERR_NOMEM. Nothing changed.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_handle_insert(struct mmk_handles *table,
    struct mmk_handle_target *target, unsigned rights,
    mmk_handle_name *name_out);

/*
 * mmk_handle_derive: a name in `to` for what `name` names in `from`, with those
 * rights; the two may be one table.
 *
 * pre      both tables are of one sys.
 * locks    takes and drops sys->lock and to->lock.
 * errors   MMK_ERR_INVAL: no rights, or unknown ones. MMK_ERR_NOENT: as lookup.
 *          MMK_ERR_ACCESS: `name` has not the right to grant, or lacks one
 *          that is asked for. MMK_ERR_LIMIT, MMK_ERR_NOMEM: as insert, for
 *          `to`. Nothing changed.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_handle_derive(struct mmk_handles *from,
    mmk_handle_name name, struct mmk_handles *to, unsigned rights,
    mmk_handle_name *name_out);

/*
 * mmk_handle_lookup: what `name`, which a client gave, names. Any 64 bits may
 * be asked about.
 *
 * pre      `kind` and `rights` are known ones.
 * locks    takes and drops table->lock.
 * out      *target_out, with a reference (target->ref) that the caller gives
 *          back to the object. Untouched on error.
 * errors   MMK_ERR_NOENT: not a name of this table: forged, or stale (closed,
 *          revoked, its object dead, its slot used anew). MMK_ERR_INVAL: it
 *          names an object of another kind. MMK_ERR_ACCESS: the handle lacks
 *          one of `rights`. Nothing changed.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_handle_lookup(struct mmk_handles *table,
    mmk_handle_name name, enum mmk_handle_kind kind, unsigned rights,
    struct mmk_handle_target **target_out);

/* The rights that `name` has; 0: it names nothing. locks: as lookup. */
MMK_API unsigned mmk_handle_rights(struct mmk_handles *table,
    mmk_handle_name name);

/*
 * mmk_handle_revoke: end all handles derived from `name`, and from those, in
 * whatever tables. `name` itself stays.
 *
 * locks    takes and drops sys->lock and tables' locks.
 * errors   MMK_ERR_NOENT: as lookup; nothing changed.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_handle_revoke(struct mmk_handles *table,
    mmk_handle_name name);

/*
 * mmk_handle_close: end `name`. Its object lives on, and so do the handles that
 * were derived from it: they become derived from what it was derived from, so
 * that whoever gave it away can still revoke them.
 *
 * locks    takes and drops sys->lock and table->lock.
 * errors   MMK_ERR_NOENT: as lookup; nothing changed.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_handle_close(struct mmk_handles *table,
    mmk_handle_name name);

/* Walks every slot. locks: takes and drops sys->lock. */
MMK_API bool mmk_handles_check(struct mmk_handles *table);

MMK_END_DECLS
#endif /* MMKIT_PHYS_HANDLE_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_PHYS_HANDLE_IMPL)
#define MMKIT_PHYS_HANDLE_IMPL

#define MMK__HANDLE_INDEX_BITS 24u
#define MMK__HANDLE_GENERATION_BIT 32u

MMK_STATIC_ASSERT(MMK_HANDLE_LIMIT <= 1u << MMK__HANDLE_INDEX_BITS,
    "an index fits its field of a name");

MMK_API void
mmk_handle_sys_init(struct mmk_handle_sys *sys,
    const struct mmk_handle_memory *memory)
{
	sys->memory = memory;
	MMKIT_LOCK_INIT(&sys->lock, "handles", MMK_RANK_HANDLES);
}

MMK_API void
mmk_handles_init(struct mmk_handles *table, struct mmk_handle_sys *sys,
    uint32_t limit)
{
	MMK_ASSERT(limit > 0);
	MMK_ASSERT(limit <= MMK_HANDLE_LIMIT);
	(void)MMKIT_MEMSET(table, 0, sizeof(*table));
	table->sys = sys;
	table->limit = limit;
	MMKIT_LOCK_INIT(&table->lock, "handle table", MMK_RANK_HANDLE_TABLE);
}

MMK_API void
mmk_handle_target_init(struct mmk_handle_target *target,
    struct mmk_handle_sys *sys, enum mmk_handle_kind kind,
    void (*ref)(struct mmk_handle_target *target))
{
	MMK_ASSERT(kind > MMK_HANDLE_NONE);
	MMK_ASSERT(kind < MMK_HANDLE_KIND_MAX);
	target->sys = sys;
	target->ref = ref;
	mmk_list_init(&target->handles);
	target->kind = kind;
	target->is_dead = false;
}

/* ---- slots --------------------------------------------------------------- */

/* pre: index < table->nr_slots; sys->lock or table->lock is held. */
MMK_PRIVATE struct mmk_handle *
mmk__handle_at(const struct mmk_handles *table, uint32_t index)
{
	uint32_t chunk = index / MMK_HANDLE_CHUNK_SLOTS;

	return &table->nodes[chunk / MMK_HANDLE_NODE_CHUNKS]
	            ->chunks[chunk % MMK_HANDLE_NODE_CHUNKS]
	            ->slots[index % MMK_HANDLE_CHUNK_SLOTS];
}

/* pre: the handle is in use. */
MMK_PRIVATE mmk_handle_name
mmk__handle_name(const struct mmk_handle *handle)
{
	return (mmk_handle_name)handle->generation
	        << MMK__HANDLE_GENERATION_BIT |
	    (mmk_handle_name)handle->target->kind << MMK__HANDLE_INDEX_BITS |
	    handle->index;
}

/* The handle, or NULL. pre: sys->lock or table->lock is held. */
MMK_PRIVATE struct mmk_handle *
mmk__handle_find(const struct mmk_handles *table, mmk_handle_name name)
{
	uint32_t index =
	    (uint32_t)(name & (((uint64_t)1 << MMK__HANDLE_INDEX_BITS) - 1));
	struct mmk_handle *handle;

	if (index >= table->nr_slots)
		return NULL;
	handle = mmk__handle_at(table, index);
	if (handle->target == NULL || mmk__handle_name(handle) != name)
		return NULL;
	return handle;
}

MMK_PRIVATE void
mmk__handle_put_free(struct mmk_handle *handle)
{
	handle->next_free = handle->table->first_free;
	handle->table->first_free = handle->index + 1;
}

/* Slots of a new chunk, the lowest first to go. */
MMK_PRIVATE void
mmk__handles_add_slots(struct mmk_handles *table,
    struct mmk_handle_chunk *chunk, uint32_t nr_new)
{
	uint32_t first = table->nr_slots;

	(void)MMKIT_MEMSET(chunk, 0, sizeof(*chunk));
	for (uint32_t i = nr_new; i-- > 0;) {
		struct mmk_handle *handle = &chunk->slots[i];

		handle->table = table;
		handle->index = first + i;
		handle->generation = 1;
		mmk_list_init(&handle->derived);
		mmk_link_init(&handle->sibling);
		mmk_link_init(&handle->of_target);
		mmk__handle_put_free(handle);
	}
	MMKIT_LOCK(&table->lock);
	table->nr_slots = first + nr_new;
	MMKIT_UNLOCK(&table->lock);
}

/* One more chunk. pre: sys->lock is held; every chunk is full of slots. */
MMK_PRIVATE enum mmk_err
mmk__handles_grow(struct mmk_handles *table)
{
	const struct mmk_handle_memory *memory = table->sys->memory;
	uint32_t chunk_idx = table->nr_slots / MMK_HANDLE_CHUNK_SLOTS;
	uint32_t nr_new = (uint32_t)mmk_min(table->limit - table->nr_slots,
	    MMK_HANDLE_CHUNK_SLOTS);
	struct mmk_handle_node *node;
	struct mmk_handle_chunk *chunk;

	if (nr_new == 0)
		return MMK_ERR_LIMIT;
	chunk = (struct mmk_handle_chunk *)memory->alloc(memory->ctx);
	if (chunk == NULL)
		return MMK_ERR_NOMEM;
	node = table->nodes[chunk_idx / MMK_HANDLE_NODE_CHUNKS];
	if (node == NULL) {
		node = (struct mmk_handle_node *)memory->alloc(memory->ctx);
		if (node == NULL) {
			memory->free(memory->ctx, chunk);
			return MMK_ERR_NOMEM;
		}
		(void)MMKIT_MEMSET(node, 0, sizeof(*node));
		table->nodes[chunk_idx / MMK_HANDLE_NODE_CHUNKS] = node;
	}
	node->chunks[chunk_idx % MMK_HANDLE_NODE_CHUNKS] = chunk;
	mmk__handles_add_slots(table, chunk, nr_new);
	return MMK_OK;
}

/* ---- a handle begins and ends -------------------------------------------- */

/* pre: sys->lock is held. source: NULL, or a handle to the same target. */
MMK_PRIVATE enum mmk_err
mmk__handle_begin(struct mmk_handles *table, struct mmk_handle_target *target,
    unsigned rights, struct mmk_handle *source, mmk_handle_name *name_out)
{
	struct mmk_handle *handle;
	enum mmk_err err = MMK_OK;

	if (target->is_dead)
		return MMK_ERR_NOENT;
	if (table->first_free == 0)
		err = mmk__handles_grow(table);
	if (err != MMK_OK)
		return err;
	handle = mmk__handle_at(table, table->first_free - 1);
	table->first_free = handle->next_free;
	table->nr_used++;
	handle->source = source;
	if (source != NULL)
		mmk_list_push_front(&source->derived, &handle->sibling);
	mmk_list_push_front(&target->handles, &handle->of_target);
	MMKIT_LOCK(&table->lock);
	handle->target = target;
	handle->rights = rights;
	*name_out = mmk__handle_name(handle);
	MMKIT_UNLOCK(&table->lock);
	return MMK_OK;
}

/*
 * The handle ends; its name will never be given out again. pre: sys->lock is
 * held. What was derived from it is now derived from its source.
 */
MMK_PRIVATE void
mmk__handle_end(struct mmk_handle *handle)
{
	struct mmk_handles *table = handle->table;
	struct mmk_handle *source = handle->source;
	struct mmk_link *link;
	bool is_last = handle->generation == UINT32_MAX;

	while ((link = mmk_list_pop_front(&handle->derived)) != NULL) {
		MMK_LIST_ITEM(link, struct mmk_handle, sibling)->source =
		    source;
		if (source != NULL)
			mmk_list_push_back(&source->derived, link);
	}
	mmk_list_remove(&handle->sibling);
	mmk_list_remove(&handle->of_target);
	handle->source = NULL;
	MMKIT_LOCK(&table->lock);
	handle->target = NULL;
	if (!is_last)
		handle->generation++;
	MMKIT_UNLOCK(&table->lock);
	table->nr_used--;
	if (is_last)
		table->nr_retired++;
	else
		mmk__handle_put_free(handle);
}

MMK_API void
mmk_handles_fini(struct mmk_handles *table)
{
	struct mmk_handle_sys *sys = table->sys;
	const struct mmk_handle_memory *memory = sys->memory;

	MMKIT_LOCK(&sys->lock);
	for (uint32_t i = 0; i < table->nr_slots; i++)
		if (mmk__handle_at(table, i)->target != NULL)
			mmk__handle_end(mmk__handle_at(table, i));
	MMK_ASSERT(table->nr_used == 0);
	table->nr_slots = 0;
	for (uint32_t i = 0; i < MMK_HANDLE_TABLE_NODES; i++) {
		struct mmk_handle_node *node = table->nodes[i];

		if (node == NULL)
			break;
		for (uint32_t k = 0; k < MMK_HANDLE_NODE_CHUNKS; k++)
			if (node->chunks[k] != NULL)
				memory->free(memory->ctx, node->chunks[k]);
		memory->free(memory->ctx, node);
		table->nodes[i] = NULL;
	}
	MMKIT_UNLOCK(&sys->lock);
}

/* The newest first: nothing is ever derived from it that has not ended. */
MMK_API void
mmk_handle_target_kill(struct mmk_handle_target *target)
{
	struct mmk_link *link;

	if (target->sys == NULL)
		return;
	MMKIT_LOCK(&target->sys->lock);
	target->is_dead = true;
	while ((link = mmk_list_first(&target->handles)) != NULL)
		mmk__handle_end(
		    MMK_LIST_ITEM(link, struct mmk_handle, of_target));
	MMKIT_UNLOCK(&target->sys->lock);
}

/* ---- what clients ask ---------------------------------------------------- */

MMK_API enum mmk_err
mmk_handle_insert(struct mmk_handles *table, struct mmk_handle_target *target,
    unsigned rights, mmk_handle_name *name_out)
{
	enum mmk_err err;

	MMK_ASSERT(rights != 0);
	MMK_ASSERT((rights & ~MMK_RIGHT_ALL) == 0);
	MMK_ASSERT(target->sys == table->sys);
	MMKIT_LOCK(&table->sys->lock);
	err = mmk__handle_begin(table, target, rights, NULL, name_out);
	MMKIT_UNLOCK(&table->sys->lock);
	return err;
}

MMK_API enum mmk_err
mmk_handle_derive(struct mmk_handles *from, mmk_handle_name name,
    struct mmk_handles *to, unsigned rights, mmk_handle_name *name_out)
{
	struct mmk_handle *source;
	enum mmk_err err;

	MMK_ASSERT(from->sys == to->sys);
	if (rights == 0 || (rights & ~MMK_RIGHT_ALL) != 0)
		return MMK_ERR_INVAL;
	MMKIT_LOCK(&from->sys->lock);
	source = mmk__handle_find(from, name);
	if (source == NULL)
		err = MMK_ERR_NOENT;
	else if ((~source->rights & (rights | MMK_RIGHT_GRANT)) != 0)
		err = MMK_ERR_ACCESS;
	else
		err = mmk__handle_begin(to, source->target, rights, source,
		    name_out);
	MMKIT_UNLOCK(&from->sys->lock);
	return err;
}

MMK_API enum mmk_err
mmk_handle_lookup(struct mmk_handles *table, mmk_handle_name name,
    enum mmk_handle_kind kind, unsigned rights,
    struct mmk_handle_target **target_out)
{
	const struct mmk_handle *handle;
	enum mmk_err err = MMK_OK;

	MMK_ASSERT(kind > MMK_HANDLE_NONE);
	MMK_ASSERT(kind < MMK_HANDLE_KIND_MAX);
	MMK_ASSERT((rights & ~MMK_RIGHT_ALL) == 0);
	MMKIT_LOCK(&table->lock);
	handle = mmk__handle_find(table, name);
	if (handle == NULL) {
		err = MMK_ERR_NOENT;
	} else if (handle->target->kind != kind) {
		err = MMK_ERR_INVAL;
	} else if ((rights & ~handle->rights) != 0) {
		err = MMK_ERR_ACCESS;
	} else {
		handle->target->ref(handle->target);
		*target_out = handle->target;
	}
	MMKIT_UNLOCK(&table->lock);
	return err;
}

MMK_API unsigned
mmk_handle_rights(struct mmk_handles *table, mmk_handle_name name)
{
	const struct mmk_handle *handle;
	unsigned rights;

	MMKIT_LOCK(&table->lock);
	handle = mmk__handle_find(table, name);
	rights = handle != NULL ? handle->rights : 0;
	MMKIT_UNLOCK(&table->lock);
	return rights;
}

/* What was derived from one that ends is derived from `top` then: its turn. */
MMK_PRIVATE void
mmk__handle_revoke(struct mmk_handle *top)
{
	struct mmk_link *link;

	while ((link = mmk_list_first(&top->derived)) != NULL)
		mmk__handle_end(
		    MMK_LIST_ITEM(link, struct mmk_handle, sibling));
}

MMK_API enum mmk_err
mmk_handle_revoke(struct mmk_handles *table, mmk_handle_name name)
{
	struct mmk_handle *handle;

	MMKIT_LOCK(&table->sys->lock);
	handle = mmk__handle_find(table, name);
	if (handle != NULL)
		mmk__handle_revoke(handle);
	MMKIT_UNLOCK(&table->sys->lock);
	return handle != NULL ? MMK_OK : MMK_ERR_NOENT;
}

MMK_API enum mmk_err
mmk_handle_close(struct mmk_handles *table, mmk_handle_name name)
{
	struct mmk_handle *handle;

	MMKIT_LOCK(&table->sys->lock);
	handle = mmk__handle_find(table, name);
	if (handle != NULL)
		mmk__handle_end(handle);
	MMKIT_UNLOCK(&table->sys->lock);
	return handle != NULL ? MMK_OK : MMK_ERR_NOENT;
}

/* ---- audit --------------------------------------------------------------- */

/* A handle in use: its target, its lists, its source. */
MMK_PRIVATE bool
mmk__handle_check(const struct mmk_handle *handle)
{
	const struct mmk_handle *source = handle->source;

	if (handle->target->is_dead || handle->target->sys != handle->table->sys)
		return false;
	if (handle->rights == 0 || (handle->rights & ~MMK_RIGHT_ALL) != 0)
		return false;
	if (!mmk_link_is_on_list(&handle->of_target) ||
	    !mmk_list_check(&handle->derived))
		return false;
	MMK_LIST_FOR_EACH(link, &handle->derived)
		if (MMK_LIST_ITEM(link, struct mmk_handle, sibling)->source !=
		    handle)
			return false;
	if (source == NULL)
		return !mmk_link_is_on_list(&handle->sibling);
	return source->target == handle->target &&
	    mmk_link_is_on_list(&handle->sibling) &&
	    (handle->rights & ~source->rights) == 0;
}

MMK_API bool
mmk_handles_check(struct mmk_handles *table)
{
	uint32_t nr_used = 0, nr_free = 0, i;
	bool ok = true;

	MMKIT_LOCK(&table->sys->lock);
	for (i = 0; ok && i < table->nr_slots; i++) {
		const struct mmk_handle *handle = mmk__handle_at(table, i);

		ok = handle->table == table && handle->index == i &&
		    handle->generation > 0;
		if (ok && handle->target != NULL) {
			ok = mmk__handle_check(handle);
			nr_used++;
		}
	}
	for (i = table->first_free; ok && i != 0 && nr_free < table->nr_slots;
	     i = mmk__handle_at(table, i - 1)->next_free) {
		ok = mmk__handle_at(table, i - 1)->target == NULL;
		nr_free++;
	}
	ok = ok && i == 0 && nr_used == table->nr_used &&
	    nr_used + nr_free + table->nr_retired == table->nr_slots &&
	    table->nr_slots <= table->limit;
	MMKIT_UNLOCK(&table->sys->lock);
	return ok;
}
#endif /* MMKIT_IMPLEMENTATION */
