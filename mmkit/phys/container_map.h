/* SPDX-License-Identifier: MIT
 *
 * mmkit/phys/container_map.h: names get memory: read, write, map, pin
 *
 * WHAT    Only here does a name get an address. A map request is granted page
 *         by page to whoever made it, and may be revoked at any time, before
 *         the memory moves, is freed, or becomes somebody else's to write:
 *         then it is for the client to ask again. Nothing says when.
 *
 *         The first to map a frame for writing, or to write, gets memory of its
 *         own if others have copies (copy-on-write); the last one writes in
 *         place. A pin, for a device, makes the address good for a while.
 * LAYER   phys. Includes container.h.
 * LOCKS   physmem->mutex, taken and dropped; but mmk_container_grant keeps it
 * COST    O(log entries) for each frame; binding: one allocation and the zeros;
 *         a copy-on-write: one allocation and the frame's pages copied
 * SOURCE  see cframe.h
 */
#ifndef MMKIT_PHYS_CONTAINER_MAP_H
#define MMKIT_PHYS_CONTAINER_MAP_H

#include "container.h"

MMK_BEGIN_DECLS

/* Who asked for a map. */
struct mmk_container_sink {
	/*
	 * [name, + nr_pages) is at pa, contiguous: enter the translations,
	 * with these rights and no others. Called with physmem->mutex held, so
	 * that none can be revoked before it is entered. errors: any; the whole
	 * request then fails with it, and what was entered is revoked.
	 */
	enum mmk_err (*enter)(void *ctx, uint64_t name, mmk_pa pa,
	    uint64_t nr_pages, unsigned access);
	void *ctx;
};

/*
 * mmk_container_map: grant `access` to what the names mean.
 *
 * access   MMK_PROT_READ, or MMK_PROT_READ | MMK_PROT_WRITE.
 * errors   MMK_ERR_INVAL: not whole pages, wrapping, unknown access.
 *          MMK_ERR_NOENT: a name is not allocated, or the container is dead.
 *          MMK_ERR_ACCESS: an entry may only be read. MMK_ERR_NOMEM: no memory
 *          to bind; MMK_ERR_AGAIN: a frame that must be halved for it is just
 *          being moved. The sink's own. No new translation is left; frames may
 *          have been bound.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_container_map(
    struct mmk_container *container, uint64_t start, uint64_t nr_bytes,
    unsigned access, const struct mmk_container_sink *sink);

/*
 * mmk_container_read, mmk_container_write: copy bytes out and in, for a kernel
 * that fills memory for a client. Any names, any length; reading binds nothing.
 * errors   as map; what comes before the page that failed has been copied.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_container_read(
    struct mmk_container *container, uint64_t name, void *to, size_t nr_bytes);
MMK_API MMK_NODISCARD enum mmk_err mmk_container_write(
    struct mmk_container *container, uint64_t name, const void *from,
    size_t nr_bytes);

/*
 * mmk_container_pin: the frame that has `name` keeps its memory and its place
 * for duration_ns: for a device. Pins nest. The frame has memory of its own
 * from then on: who copies it later gets the copy at once.
 *
 * out      *pa_out, of `name`; *pin_out, which mmk_container_unpin must get,
 *          also when its time is over.
 * errors   MMK_ERR_LIMIT: too long, or config.max_pins were not unpinned yet,
 *          those whose time is over included.
 *          MMK_ERR_INVAL: no time, no clock, no config.pins. NOENT, ACCESS,
 *          NOMEM, AGAIN: as map, for writing. Nothing changed.
 */
struct mmk_cpin;
MMK_API MMK_NODISCARD enum mmk_err mmk_container_pin(
    struct mmk_container *container, uint64_t name, uint64_t duration_ns,
    struct mmk_cpin **pin_out, mmk_pa *pa_out);

/* True: the pin lasted until now. Either way it is gone. */
MMK_API bool mmk_container_unpin(struct mmk_physmem *physmem,
    struct mmk_cpin *pin);

/*
 * mmk_container_revoke: no translation of what the container names, or ever
 * named, is left, whoever was granted it. They may ask again.
 * errors   MMK_ERR_NOENT: it is dead; nothing is left anyway.
 */
MMK_API enum mmk_err mmk_container_revoke(struct mmk_container *container);

/*
 * mmk_container_grant: one page, for an object of an address space: as
 * mmk_pager_ops.grant wants it. *may_write_out: it may be entered writable.
 *
 * locks    takes physmem->mutex and, if it succeeds, keeps it until
 *          mmk_container_granted: what is granted cannot be revoked before it
 *          is entered.
 * errors   as map
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_container_grant(
    struct mmk_container *container, uint64_t name, unsigned access,
    mmk_pa *pa_out, bool *may_write_out);
MMK_API void mmk_container_granted(struct mmk_container *container);

MMK_END_DECLS
#endif /* MMKIT_PHYS_CONTAINER_MAP_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_PHYS_CONTAINER_MAP_IMPL)
#define MMKIT_PHYS_CONTAINER_MAP_IMPL

/* ---- memory -------------------------------------------------------------- */

/* Memory for the frame, nobody's yet. errors NOMEM. */
MMK_PRIVATE enum mmk_err
mmk__cframe_new_memory(struct mmk_physmem *physmem,
    const struct mmk_cframe *cframe, unsigned flags,
    struct mmk_frame **memory_out)
{
	flags |= MMK_ALLOC_MOVABLE | (cframe->is_low ? MMK_ALLOC_LOW : 0u);
	return mmk_frame_alloc(physmem->config.phys, cframe->order, flags,
	    MMK_USE_CONTAINER, memory_out);
}

/* The frame gets memory, all zeros. errors NOMEM. */
MMK_PRIVATE enum mmk_err
mmk__cframe_bind(struct mmk_physmem *physmem, struct mmk_cframe *cframe)
{
	struct mmk_frame *memory;
	enum mmk_err err = mmk__cframe_new_memory(physmem, cframe,
	    MMK_ALLOC_ZERO, &memory);

	if (err != MMK_OK)
		return err;
	memory->owner = cframe;
	cframe->memory = memory;
	physmem->counters.nr_binds++;
	return MMK_OK;
}

/*
 * The frame gets memory of its own, with the same contents: it, and all that
 * share it, may write from then on. errors NOMEM.
 */
MMK_PRIVATE enum mmk_err
mmk__cframe_uncopy(struct mmk_physmem *physmem, struct mmk_cframe *cframe)
{
	struct mmk_frame *memory;
	enum mmk_err err = mmk__cframe_new_memory(physmem, cframe, 0, &memory);

	if (err != MMK_OK)
		return err;
	mmk__memory_copy(physmem->config.phys, memory, cframe->memory);
	/* What our translations show is the others': they would see it age. */
	mmk__cframe_unbind(physmem, cframe, false);
	memory->owner = cframe;
	cframe->memory = memory;
	physmem->counters.nr_copies++;
	return MMK_OK;
}

/* All that a write needs. errors NOMEM. */
MMK_PRIVATE enum mmk_err
mmk__cframe_make_writable(struct mmk_physmem *physmem,
    struct mmk_cframe *cframe)
{
	if (cframe->memory == NULL)
		return mmk__cframe_bind(physmem, cframe);
	if (mmk__cframe_has_copies(cframe))
		return mmk__cframe_uncopy(physmem, cframe);
	if (cframe->is_left)
		mmk__cframe_revoke(physmem, cframe, 0);
	return MMK_OK;
}

/*
 * The entry that has `name`, ready for `access`. A frame for which there is no
 * memory in one piece is halved until there is: credit promises pages, not
 * blocks of them.
 */
MMK_PRIVATE enum mmk_err
mmk__container_ready(struct mmk_container *container, uint64_t name,
    unsigned access, struct mmk_centry **entry_out)
{
	struct mmk_physmem *physmem = container->physmem;
	struct mmk_centry *entry;
	enum mmk_err err;

	for (;;) {
		entry = mmk__container_first(container, name, name);
		if (entry == NULL)
			return MMK_ERR_NOENT;
		if ((access & MMK_PROT_WRITE & ~(unsigned)entry->access) != 0)
			return MMK_ERR_ACCESS;
		if ((access & MMK_PROT_WRITE) != 0)
			err = mmk__cframe_make_writable(physmem,
			    entry->cframe);
		else if (entry->cframe->memory == NULL)
			err = mmk__cframe_bind(physmem, entry->cframe);
		else
			err = MMK_OK;
		if (err != MMK_ERR_NOMEM || entry->cframe->order == 0)
			break;
		err = mmk__family_halve(physmem, entry->cframe);
		if (err != MMK_OK)
			return err;
	}
	if (err == MMK_OK)
		*entry_out = entry;
	return err;
}

/* ---- mapping ------------------------------------------------------------- */

MMK_PRIVATE bool
mmk__access_is_known(unsigned access)
{
	return (access & MMK_PROT_READ) != 0 &&
	    (access & ~(MMK_PROT_READ | MMK_PROT_WRITE)) == 0;
}

/*
 * Every frame of the range ready, with none granted yet: making one ready may
 * revoke another. errors as map.
 */
MMK_PRIVATE enum mmk_err
mmk__map_prepare(struct mmk_container *container,
    const struct mmk__names *names, unsigned access)
{
	struct mmk_centry *entry = NULL;
	uint64_t name = names->start;
	enum mmk_err err;

	for (;;) {
		err = mmk__container_ready(container, name, access, &entry);
		if (err != MMK_OK || mmk__centry_last(entry) >= names->last)
			return err;
		name = mmk__centry_last(entry) + 1;
	}
}

/* Hand the part of the entry that is in the range to the sink. */
MMK_PRIVATE enum mmk_err
mmk__map_entry(const struct mmk_centry *entry, const struct mmk__names *names,
    unsigned access, const struct mmk_container_sink *sink)
{
	struct mmk_phys *phys = entry->container->physmem->config.phys;
	struct mmk_cframe *cframe = entry->cframe;
	uint64_t start = mmk_max(entry->start, names->start);
	uint64_t last = mmk_min(mmk__centry_last(entry), names->last);
	mmk_pa pa = mmk_frame_pa(phys, cframe->memory) +
	    (start - entry->start);

	cframe->granted |= (uint8_t)access;
	return sink->enter(sink->ctx, start, pa,
	    mmk_pages_of_bytes(last - start) + 1, access);
}

MMK_PRIVATE enum mmk_err
mmk__map_as(struct mmk_container *container, const struct mmk__pass *pass,
    uint64_t start, uint64_t nr_bytes, unsigned access,
    const struct mmk_container_sink *sink)
{
	struct mmk_centry *entry, *failed = NULL;
	struct mmk__names names;
	enum mmk_err err;

	if (!mmk__names_make(start, nr_bytes, &names) ||
	    !mmk__access_is_known(access))
		return MMK_ERR_INVAL;
	err = mmk__container_enter(container, pass);
	if (err != MMK_OK)
		return err;
	if (!mmk__container_is_full(container, &names))
		err = MMK_ERR_NOENT;
	if (err == MMK_OK)
		err = mmk__map_prepare(container, &names, access);
	entry = mmk__container_first(container, start, names.last);
	for (; err == MMK_OK && entry != NULL;
	     entry = mmk__container_next(entry, names.last)) {
		err = mmk__map_entry(entry, &names, access, sink);
		failed = err != MMK_OK ? entry : NULL;
	}
	if (failed != NULL)
		for (entry = mmk__container_first(container, start,
		         mmk__centry_last(failed));
		     entry != NULL; entry = mmk__container_next(entry,
		         mmk__centry_last(failed)))
			mmk__cframe_revoke(container->physmem, entry->cframe,
			    0);
	MMKIT_MUTEX_UNLOCK(&container->physmem->mutex);
	return err;
}

MMK_API enum mmk_err
mmk_container_map(struct mmk_container *container, uint64_t start,
    uint64_t nr_bytes, unsigned access, const struct mmk_container_sink *sink)
{
	return mmk__map_as(container, NULL, start, nr_bytes, access, sink);
}

MMK_API enum mmk_err
mmk_container_revoke(struct mmk_container *container)
{
	struct mmk_centry *entry;
	enum mmk_err err = mmk__container_enter(container, NULL);

	if (err != MMK_OK)
		return err;
	entry = mmk__container_first(container, 0, UINT64_MAX);
	for (; entry != NULL; entry = mmk__container_next(entry, UINT64_MAX))
		mmk__cframe_revoke(container->physmem, entry->cframe, 0);
	mmk__container_forget_left(container);
	MMKIT_MUTEX_UNLOCK(&container->physmem->mutex);
	return MMK_OK;
}

MMK_PRIVATE enum mmk_err
mmk__grant_as(struct mmk_container *container, const struct mmk__pass *pass,
    uint64_t name, unsigned access, mmk_pa *pa_out, bool *may_write_out)
{
	unsigned rights = MMK_PROT_READ | (access & MMK_PROT_WRITE);
	struct mmk_centry *entry = NULL;
	struct mmk_cframe *cframe;
	enum mmk_err err = mmk__container_enter(container, pass);

	if (err != MMK_OK)
		return err;
	err = mmk__container_ready(container, name, rights, &entry);
	if (err != MMK_OK) {
		MMKIT_MUTEX_UNLOCK(&container->physmem->mutex);
		return err;
	}
	/* What nobody else has may be written without asking again. */
	cframe = entry->cframe;
	if ((entry->access & MMK_PROT_WRITE) != 0 && !cframe->is_left &&
	    !mmk__cframe_has_copies(cframe))
		rights |= MMK_PROT_WRITE;
	cframe->granted |= (uint8_t)rights;
	*may_write_out = (rights & MMK_PROT_WRITE) != 0;
	*pa_out = mmk_frame_pa(container->physmem->config.phys,
	    cframe->memory) + (mmk_page_floor(name) - entry->start);
	return MMK_OK;
}

MMK_API enum mmk_err
mmk_container_grant(struct mmk_container *container, uint64_t name,
    unsigned access, mmk_pa *pa_out, bool *may_write_out)
{
	return mmk__grant_as(container, NULL, name, access, pa_out,
	    may_write_out);
}

MMK_API void
mmk_container_granted(struct mmk_container *container)
{
	MMKIT_MUTEX_UNLOCK(&container->physmem->mutex);
}

/* ---- bytes --------------------------------------------------------------- */

/* Where `name` is, and how many bytes from there are its frame's. */
MMK_PRIVATE unsigned char *
mmk__centry_ptr(const struct mmk_centry *entry, uint64_t name,
    size_t *nr_bytes)
{
	struct mmk_phys *phys = entry->container->physmem->config.phys;
	uint64_t nr_left = mmk__centry_last(entry) - name;

	if (*nr_bytes - 1 > nr_left)
		*nr_bytes = (size_t)nr_left + 1;
	if (entry->cframe->memory == NULL)
		return NULL;
	return (unsigned char *)MMKIT_PHYS_TO_PTR(
	    mmk_frame_pa(phys, entry->cframe->memory) + (name - entry->start));
}

MMK_PRIVATE enum mmk_err
mmk__read_as(struct mmk_container *container, const struct mmk__pass *pass,
    uint64_t name, void *to, size_t nr_bytes)
{
	unsigned char *out = (unsigned char *)to;
	enum mmk_err err;

	if (nr_bytes == 0 || nr_bytes - 1 > UINT64_MAX - name)
		return MMK_ERR_INVAL;
	err = mmk__container_enter(container, pass);
	if (err != MMK_OK)
		return err;
	while (nr_bytes > 0) {
		const struct mmk_centry *entry =
		    mmk__container_first(container, name, name);
		const unsigned char *ptr;
		size_t nr_here = nr_bytes;

		if (entry == NULL) {
			err = MMK_ERR_NOENT;
			break;
		}
		ptr = mmk__centry_ptr(entry, name, &nr_here);
		if (ptr == NULL)
			(void)MMKIT_MEMSET(out, 0, nr_here);
		else
			(void)MMKIT_MEMCPY(out, ptr, nr_here);
		out += nr_here;
		name += nr_here;
		nr_bytes -= nr_here;
	}
	MMKIT_MUTEX_UNLOCK(&container->physmem->mutex);
	return err;
}

MMK_API enum mmk_err
mmk_container_read(struct mmk_container *container, uint64_t name, void *to,
    size_t nr_bytes)
{
	return mmk__read_as(container, NULL, name, to, nr_bytes);
}

MMK_PRIVATE enum mmk_err
mmk__write_as(struct mmk_container *container, const struct mmk__pass *pass,
    uint64_t name, const void *from, size_t nr_bytes)
{
	const unsigned char *in = (const unsigned char *)from;
	enum mmk_err err;

	if (nr_bytes == 0 || nr_bytes - 1 > UINT64_MAX - name)
		return MMK_ERR_INVAL;
	err = mmk__container_enter(container, pass);
	if (err != MMK_OK)
		return err;
	while (nr_bytes > 0) {
		struct mmk_centry *entry = NULL;
		size_t nr_here = nr_bytes;

		err = mmk__container_ready(container, name, MMK_PROT_WRITE,
		    &entry);
		if (err != MMK_OK)
			break;
		(void)MMKIT_MEMCPY(mmk__centry_ptr(entry, name, &nr_here), in,
		    nr_here);
		in += nr_here;
		name += nr_here;
		nr_bytes -= nr_here;
	}
	MMKIT_MUTEX_UNLOCK(&container->physmem->mutex);
	return err;
}

MMK_API enum mmk_err
mmk_container_write(struct mmk_container *container, uint64_t name,
    const void *from, size_t nr_bytes)
{
	return mmk__write_as(container, NULL, name, from, nr_bytes);
}

/* ---- pins ---------------------------------------------------------------- */

/* Write access to the frame, memory of its own, and one more pin. */
MMK_PRIVATE enum mmk_err
mmk__container_pin(struct mmk_container *container, uint64_t name,
    uint64_t duration_ns, struct mmk_cpin *pin, mmk_pa *pa_out)
{
	struct mmk_physmem *physmem = container->physmem;
	struct mmk_centry *entry = NULL;
	enum mmk_err err;

	if (container->nr_pins >= physmem->config.max_pins)
		return MMK_ERR_LIMIT;
	err = mmk__container_ready(container, name,
	    MMK_PROT_READ | MMK_PROT_WRITE, &entry);
	if (err == MMK_OK)
		err = mmk_pin_begin(physmem->config.pins,
		    entry->cframe->memory, duration_ns, &pin->pin);
	if (err != MMK_OK)
		return err;
	pin->container = container;
	pin->memory = entry->cframe->memory;
	mmk_container_ref(container);
	container->nr_pins++;
	mmk_link_init(&pin->link);
	mmk_list_push_back(&physmem->pins, &pin->link);
	*pa_out = mmk_frame_pa(physmem->config.phys, pin->memory) +
	    (name - entry->start);
	return MMK_OK;
}

MMK_PRIVATE enum mmk_err
mmk__pin_as(struct mmk_container *container, const struct mmk__pass *pass,
    uint64_t name, uint64_t duration_ns, struct mmk_cpin **pin_out,
    mmk_pa *pa_out)
{
	struct mmk_physmem *physmem = container->physmem;
	struct mmk_cpin *pin;
	enum mmk_err err;

	if (physmem->config.pins == NULL)
		return MMK_ERR_INVAL;
	pin = (struct mmk_cpin *)mmk__physmem_alloc(physmem, sizeof(*pin));
	if (pin == NULL)
		return MMK_ERR_NOMEM;
	err = mmk__container_enter(container, pass);
	if (err == MMK_OK) {
		err = mmk__container_pin(container, name, duration_ns, pin,
		    pa_out);
		MMKIT_MUTEX_UNLOCK(&physmem->mutex);
	}
	if (err == MMK_OK)
		*pin_out = pin;
	else
		mmk__physmem_free(physmem, pin, sizeof(*pin));
	return err;
}

MMK_API enum mmk_err
mmk_container_pin(struct mmk_container *container, uint64_t name,
    uint64_t duration_ns, struct mmk_cpin **pin_out, mmk_pa *pa_out)
{
	return mmk__pin_as(container, NULL, name, duration_ns, pin_out,
	    pa_out);
}

MMK_API bool
mmk_container_unpin(struct mmk_physmem *physmem, struct mmk_cpin *pin)
{
	bool lasted;

	MMKIT_MUTEX_LOCK(&physmem->mutex);
	lasted = mmk_pin_end(physmem->config.pins, &pin->pin);
	if (!pin->is_over)
		mmk__cpin_finish(physmem, pin);
	pin->container->nr_pins--;
	mmk_list_remove(&pin->link);
	MMKIT_MUTEX_UNLOCK(&physmem->mutex);
	mmk_container_unref(pin->container);
	mmk__physmem_free(physmem, pin, sizeof(*pin));
	return lasted;
}
#endif /* MMKIT_IMPLEMENTATION */
