/* SPDX-License-Identifier: MIT
 *
 * mmkit/phys/physmem.h: physmem as its clients see it: names, rights, bytes
 *
 * WHAT    What a kernel's system calls, or a memory server's messages, want. A
 *         client is a table of handles; everything is said in names of that
 *         table and raw integers, and is checked here, in one place. A handle
 *         with all rights is strong; a weak one is derived for somebody who is
 *         not trusted:
 *
 *           client  strong: read write alloc free destroy grant
 *             `-- lend, read and write --> server  weak: fills the container,
 *                                          cannot take a page of it
 *
 *         Revoking what was lent ends the server's names and its mappings.
 * LAYER   phys. Includes container_copy.h. The top of the floor: with it a
 *         kernel has physmem without a map, a fault or a page table.
 * LOCKS   those of control.h, handle.h and cframe.h, one after the other
 * COST    one lookup for each name, and that of the operation
 * SOURCE  physmem of the GNU Hurd on L4: its RPCs
 */
#ifndef MMKIT_PHYS_PHYSMEM_H
#define MMKIT_PHYS_PHYSMEM_H

#include "container_copy.h"

MMK_BEGIN_DECLS

/*
 * Rights that each operation asks of the handles it is given:
 *
 *   split, create            ALLOC of the control
 *   destroy                  DESTROY
 *   allocate                 ALLOC
 *   deallocate, release      FREE
 *   read                     READ
 *   write                    WRITE
 *   map                      READ, and WRITE if it is for writing
 *   pin                      WRITE: a server has devices; the pin may outlive
 *                            the name, until its deadline
 *   copy   from              READ; to share, GRANT, and for writing WRITE; to
 *                            move, WRITE and FREE
 *          to                ALLOC; with SQUASH also FREE
 *   lend                     GRANT, and every right that is lent
 *   revoke                   GRANT
 *
 * Sharing is granting: what is shared outlives the name that it was shared by,
 * and no revoke takes it back. A copy shows what could be read anyway.
 *
 * errors   of all of them, beside their own: MMK_ERR_NOENT: the name means
 *          nothing in this table; MMK_ERR_INVAL: it names another kind of
 *          thing; MMK_ERR_ACCESS: the handle has not the right. Nothing
 *          changed.
 */

/*
 * mmk_physmem_split: a new control of nr_pages, split off the one that `name`
 * names. *name_out: all rights, in `to`. To be used with a tree whose plug is
 * mmk_physmem_control_plug.
 * errors   as mmk_control_split, mmk_handle_insert.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_physmem_split(
    struct mmk_physmem *physmem, struct mmk_handles *table,
    mmk_handle_name name, uint64_t nr_pages, struct mmk_handles *to,
    mmk_handle_name *name_out);

/* The plug of a tree whose controls are made by split, and extra pages yield. */
MMK_API struct mmk_control_plug mmk_physmem_control_plug(
    struct mmk_physmem *physmem);

/* A container of a control. errors: as mmk_container_create, mmk_handle_insert. */
MMK_API MMK_NODISCARD enum mmk_err mmk_physmem_create(
    struct mmk_physmem *physmem, struct mmk_handles *table,
    mmk_handle_name control_name, mmk_handle_name *name_out);

/* End a control, and all below it, or a container. */
MMK_API MMK_NODISCARD enum mmk_err mmk_physmem_destroy(
    struct mmk_handles *table, mmk_handle_name name);

/*
 * mmk_physmem_lend: a handle with `rights` to the container, in the table `to`.
 * errors   as mmk_handle_derive
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_physmem_lend(struct mmk_handles *table,
    mmk_handle_name name, struct mmk_handles *to, unsigned rights,
    mmk_handle_name *name_out);

/*
 * mmk_physmem_revoke: whatever was lent from `name`, by whom it was lent on, is
 * void: the names mean nothing, and no translation of the container is left
 * (whoever still may, asks again).
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_physmem_revoke(
    struct mmk_handles *table, mmk_handle_name name);

/* As the operations of container.h, container_map.h and container_copy.h. */
MMK_API MMK_NODISCARD enum mmk_err mmk_physmem_allocate(
    struct mmk_handles *table, mmk_handle_name name, uint64_t start,
    uint64_t nr_bytes, unsigned flags, uint64_t *nr_done_out);
MMK_API MMK_NODISCARD enum mmk_err mmk_physmem_deallocate(
    struct mmk_handles *table, mmk_handle_name name, uint64_t start,
    uint64_t nr_bytes, unsigned flags, uint64_t *nr_done_out);
MMK_API MMK_NODISCARD enum mmk_err mmk_physmem_release(
    struct mmk_handles *table, mmk_handle_name name, uint64_t start,
    uint64_t nr_bytes);
MMK_API MMK_NODISCARD enum mmk_err mmk_physmem_map(struct mmk_handles *table,
    mmk_handle_name name, uint64_t start, uint64_t nr_bytes, unsigned access,
    const struct mmk_container_sink *sink);
MMK_API MMK_NODISCARD enum mmk_err mmk_physmem_read(struct mmk_handles *table,
    mmk_handle_name name, uint64_t start, void *to, size_t nr_bytes);
MMK_API MMK_NODISCARD enum mmk_err mmk_physmem_write(struct mmk_handles *table,
    mmk_handle_name name, uint64_t start, const void *from, size_t nr_bytes);
MMK_API MMK_NODISCARD enum mmk_err mmk_physmem_pin(struct mmk_handles *table,
    mmk_handle_name name, uint64_t start, uint64_t duration_ns,
    struct mmk_cpin **pin_out, mmk_pa *pa_out);
MMK_API MMK_NODISCARD enum mmk_err mmk_physmem_copy(struct mmk_handles *table,
    mmk_handle_name from_name, uint64_t from_start, mmk_handle_name to_name,
    uint64_t to_start, uint64_t nr_bytes, enum mmk_copy_mode mode,
    unsigned flags, uint64_t *nr_done_out);

/*
 * mmk_container_lookup_name: the container that `name` names, if the handle has
 * `rights`, with a reference. errors: as above.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_container_lookup_name(
    struct mmk_handles *table, mmk_handle_name name, unsigned rights,
    struct mmk_container **container_out);

MMK_END_DECLS
#endif /* MMKIT_PHYS_PHYSMEM_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_PHYS_PHYSMEM_IMPL)
#define MMKIT_PHYS_PHYSMEM_IMPL

/* ---- controls ------------------------------------------------------------ */

MMK_PRIVATE void
mmk__physmem_released(void *ctx, struct mmk_control *control)
{
	if (control->parent != NULL) /* the root is the kernel's own */
		mmk__physmem_free((struct mmk_physmem *)ctx, control,
		    sizeof(*control));
}

MMK_PRIVATE void
mmk__physmem_yield_extra(void *ctx, uint64_t nr_pages)
{
	(void)mmk_physmem_revoke_extra((struct mmk_physmem *)ctx, nr_pages);
}

MMK_API struct mmk_control_plug
mmk_physmem_control_plug(struct mmk_physmem *physmem)
{
	struct mmk_control_plug plug;

	plug.released = mmk__physmem_released;
	plug.revoke_extra = mmk__physmem_yield_extra;
	plug.ctx = physmem;
	return plug;
}

MMK_API enum mmk_err
mmk_physmem_split(struct mmk_physmem *physmem, struct mmk_handles *table,
    mmk_handle_name name, uint64_t nr_pages, struct mmk_handles *to,
    mmk_handle_name *name_out)
{
	struct mmk_control *parent, *child;
	enum mmk_err err = mmk_control_lookup(table, name, MMK_RIGHT_ALLOC,
	    &parent);

	if (err != MMK_OK)
		return err;
	child = (struct mmk_control *)mmk__physmem_alloc(physmem,
	    sizeof(*child));
	err = child != NULL ? mmk_control_split(parent, child, nr_pages)
	                    : MMK_ERR_NOMEM;
	mmk_control_unref(parent);
	if (err != MMK_OK) {
		if (child != NULL)
			mmk__physmem_free(physmem, child, sizeof(*child));
		return err;
	}
	err = mmk_handle_insert(to, &child->target, MMK_RIGHT_ALL, name_out);
	/* NOENT then: its parent died meanwhile, and it with it. */
	if (err != MMK_OK)
		(void)!mmk_control_destroy(child);
	mmk_control_unref(child);
	return err;
}

/* ---- containers ---------------------------------------------------------- */

MMK_API enum mmk_err
mmk_container_lookup_name(struct mmk_handles *table, mmk_handle_name name,
    unsigned rights, struct mmk_container **container_out)
{
	struct mmk_handle_target *target;
	enum mmk_err err = mmk_handle_lookup(table, name, MMK_HANDLE_CONTAINER,
	    rights, &target);

	if (err == MMK_OK)
		*container_out = MMK_CONTAINER_OF(target, struct mmk_container,
		    target);
	return err;
}

MMK_API enum mmk_err
mmk_physmem_create(struct mmk_physmem *physmem, struct mmk_handles *table,
    mmk_handle_name control_name, mmk_handle_name *name_out)
{
	struct mmk_container *container;
	struct mmk_control *control;
	enum mmk_err err = mmk_control_lookup(table, control_name,
	    MMK_RIGHT_ALLOC, &control);

	if (err != MMK_OK)
		return err;
	err = mmk_container_create(physmem, control, &container);
	mmk_control_unref(control);
	if (err != MMK_OK)
		return err;
	err = mmk_handle_insert(table, &container->target, MMK_RIGHT_ALL,
	    name_out);
	if (err != MMK_OK)
		(void)!mmk_container_destroy(container);
	mmk_container_unref(container);
	return err;
}

MMK_API enum mmk_err
mmk_physmem_destroy(struct mmk_handles *table, mmk_handle_name name)
{
	struct mmk_container *container;
	struct mmk_control *control;
	enum mmk_err err = mmk_container_lookup_name(table, name,
	    MMK_RIGHT_DESTROY, &container);

	if (err == MMK_OK) {
		err = mmk_container_destroy(container);
		mmk_container_unref(container);
		return err;
	}
	if (err != MMK_ERR_INVAL)
		return err;
	err = mmk_control_lookup(table, name, MMK_RIGHT_DESTROY, &control);
	if (err != MMK_OK)
		return err;
	err = mmk_control_destroy(control);
	mmk_control_unref(control);
	return err;
}

MMK_API enum mmk_err
mmk_physmem_lend(struct mmk_handles *table, mmk_handle_name name,
    struct mmk_handles *to, unsigned rights, mmk_handle_name *name_out)
{
	struct mmk_container *container;
	enum mmk_err err = mmk_container_lookup_name(table, name,
	    MMK_RIGHT_GRANT, &container);

	if (err != MMK_OK)
		return err;
	err = mmk_handle_derive(table, name, to, rights, name_out);
	mmk_container_unref(container);
	return err;
}

MMK_API enum mmk_err
mmk_physmem_revoke(struct mmk_handles *table, mmk_handle_name name)
{
	struct mmk_container *container;
	enum mmk_err err = mmk_container_lookup_name(table, name,
	    MMK_RIGHT_GRANT, &container);

	if (err != MMK_OK)
		return err;
	/* The names first: what is mapped after that is not theirs. */
	err = mmk_handle_revoke(table, name);
	if (err == MMK_OK)
		(void)mmk_container_revoke(container);
	mmk_container_unref(container);
	return err;
}

/* ---- operations ---------------------------------------------------------- */

/* The container of a name, with a reference. */
MMK_PRIVATE enum mmk_err
mmk__pass_open(const struct mmk__pass *pass,
    struct mmk_container **container_out)
{
	return mmk_container_lookup_name(pass->table, pass->name, pass->rights,
	    container_out);
}

MMK_API enum mmk_err
mmk_physmem_allocate(struct mmk_handles *table, mmk_handle_name name,
    uint64_t start, uint64_t nr_bytes, unsigned flags, uint64_t *nr_done_out)
{
	unsigned rights = MMK_RIGHT_ALLOC |
	    ((flags & MMK_CONTAINER_SQUASH) != 0 ? MMK_RIGHT_FREE : 0u);
	const struct mmk__pass pass = { table, name, rights };
	struct mmk_container *container;
	enum mmk_err err = mmk__pass_open(&pass, &container);

	if (err != MMK_OK)
		return err;
	err = mmk__allocate_as(container, &pass, start, nr_bytes, flags,
	    nr_done_out);
	mmk_container_unref(container);
	return err;
}

MMK_API enum mmk_err
mmk_physmem_deallocate(struct mmk_handles *table, mmk_handle_name name,
    uint64_t start, uint64_t nr_bytes, unsigned flags, uint64_t *nr_done_out)
{
	const struct mmk__pass pass = { table, name, MMK_RIGHT_FREE };
	struct mmk_container *container;
	enum mmk_err err = mmk__pass_open(&pass, &container);

	if (err != MMK_OK)
		return err;
	err = mmk__deallocate_as(container, &pass, start, nr_bytes, flags,
	    nr_done_out);
	mmk_container_unref(container);
	return err;
}

MMK_API enum mmk_err
mmk_physmem_release(struct mmk_handles *table, mmk_handle_name name,
    uint64_t start, uint64_t nr_bytes)
{
	const struct mmk__pass pass = { table, name, MMK_RIGHT_FREE };
	struct mmk_container *container;
	enum mmk_err err = mmk__pass_open(&pass, &container);

	if (err != MMK_OK)
		return err;
	err = mmk__release_as(container, &pass, start, nr_bytes);
	mmk_container_unref(container);
	return err;
}

MMK_API enum mmk_err
mmk_physmem_map(struct mmk_handles *table, mmk_handle_name name,
    uint64_t start, uint64_t nr_bytes, unsigned access,
    const struct mmk_container_sink *sink)
{
	unsigned rights = MMK_RIGHT_READ |
	    ((access & MMK_PROT_WRITE) != 0 ? MMK_RIGHT_WRITE : 0u);
	const struct mmk__pass pass = { table, name, rights };
	struct mmk_container *container;
	enum mmk_err err = mmk__pass_open(&pass, &container);

	if (err != MMK_OK)
		return err;
	err = mmk__map_as(container, &pass, start, nr_bytes, access, sink);
	mmk_container_unref(container);
	return err;
}

MMK_API enum mmk_err
mmk_physmem_read(struct mmk_handles *table, mmk_handle_name name,
    uint64_t start, void *to, size_t nr_bytes)
{
	const struct mmk__pass pass = { table, name, MMK_RIGHT_READ };
	struct mmk_container *container;
	enum mmk_err err = mmk__pass_open(&pass, &container);

	if (err != MMK_OK)
		return err;
	err = mmk__read_as(container, &pass, start, to, nr_bytes);
	mmk_container_unref(container);
	return err;
}

MMK_API enum mmk_err
mmk_physmem_write(struct mmk_handles *table, mmk_handle_name name,
    uint64_t start, const void *from, size_t nr_bytes)
{
	const struct mmk__pass pass = { table, name, MMK_RIGHT_WRITE };
	struct mmk_container *container;
	enum mmk_err err = mmk__pass_open(&pass, &container);

	if (err != MMK_OK)
		return err;
	err = mmk__write_as(container, &pass, start, from, nr_bytes);
	mmk_container_unref(container);
	return err;
}

MMK_API enum mmk_err
mmk_physmem_pin(struct mmk_handles *table, mmk_handle_name name,
    uint64_t start, uint64_t duration_ns, struct mmk_cpin **pin_out,
    mmk_pa *pa_out)
{
	const struct mmk__pass pass = { table, name, MMK_RIGHT_WRITE };
	struct mmk_container *container;
	enum mmk_err err = mmk__pass_open(&pass, &container);

	if (err != MMK_OK)
		return err;
	err = mmk__pin_as(container, &pass, start, duration_ns, pin_out,
	    pa_out);
	mmk_container_unref(container);
	return err;
}

/* What a copy asks of the handle of its source. */
MMK_PRIVATE unsigned
mmk__copy_rights(enum mmk_copy_mode mode, unsigned flags)
{
	if (mode == MMK_COPY_MOVE)
		return MMK_RIGHT_READ | MMK_RIGHT_WRITE | MMK_RIGHT_FREE;
	if (mode != MMK_COPY_SHARE)
		return MMK_RIGHT_READ;
	return MMK_RIGHT_READ | MMK_RIGHT_GRANT |
	    ((flags & MMK_CONTAINER_READONLY) == 0 ? MMK_RIGHT_WRITE : 0u);
}

MMK_API enum mmk_err
mmk_physmem_copy(struct mmk_handles *table, mmk_handle_name from_name,
    uint64_t from_start, mmk_handle_name to_name, uint64_t to_start,
    uint64_t nr_bytes, enum mmk_copy_mode mode, unsigned flags,
    uint64_t *nr_done_out)
{
	const struct mmk__pass from_pass = { table, from_name,
		mmk__copy_rights(mode, flags) };
	const struct mmk__pass to_pass = { table, to_name, MMK_RIGHT_ALLOC |
		((flags & MMK_CONTAINER_SQUASH) != 0 ? MMK_RIGHT_FREE : 0u) };
	struct mmk_container *from, *to;
	enum mmk_err err = mmk__pass_open(&from_pass, &from);

	if (err != MMK_OK)
		return err;
	err = mmk__pass_open(&to_pass, &to);
	if (err == MMK_OK) {
		err = mmk__copy_as(from, &from_pass, from_start, to, &to_pass,
		    to_start, nr_bytes, mode, flags, nr_done_out);
		mmk_container_unref(to);
	}
	mmk_container_unref(from);
	return err;
}
#endif /* MMKIT_IMPLEMENTATION */
