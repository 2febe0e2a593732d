/* SPDX-License-Identifier: MIT
 *
 * mmkit/pager/file.h: a file's pages: the page cache
 *
 * WHAT    The pages of one file of the kernel's, read when first touched and
 *         kept in the object's amap for every mapping to share (S0.13). Private
 *         mappings follow the file until they write a page.
 *
 *           page   0        1        2
 *                  [========][========][====.....]
 *                                          ^ size_bytes: what is beyond it in
 *                                            the last page reads as zeros and
 *                                            is never written back
 *
 * LAYER   pager. Includes zero.h. Knows no maps.
 * LOCKS   none held while the kernel's file reads or writes; vm->lock guards
 *         size_bytes
 * COST    one object a file, one anon a cached page; a read of the kernel's
 *         for each page
 * SOURCE  SeaOS's inode pages (S0.13 - S0.16); UVM's vnode pager for what may
 *         be held when
 */
#ifndef MMKIT_PAGER_FILE_H
#define MMKIT_PAGER_FILE_H

#include "zero.h"

MMK_BEGIN_DECLS

MMK_DATA const struct mmk_pager_ops mmk_file_pager;

/*
 * The kernel's file. read and write may wait; no lock is held. They may do less
 * than they were asked and are then called again for the rest. AGAIN, NOMEM
 * and NOSPACE are passed on; any other error counts as MMK_ERR_IO.
 */
struct mmk_file_ops {
	/* 0 bytes with MMK_OK is the end of the file: zeros follow. */
	enum mmk_err (*read)(void *ctx, uint64_t offset_bytes, void *buf,
	    size_t bytes, size_t *done_out);
	/* 0 bytes with MMK_OK is taken as MMK_ERR_IO. NULL: read only. */
	enum mmk_err (*write)(void *ctx, uint64_t offset_bytes,
	    const void *buf, size_t bytes, size_t *done_out);
	/* The object's last reference is gone. May be NULL. */
	void (*close)(void *ctx);
};

/*
 * Embedded in, or kept beside, the kernel's inode; lives until close.
 *
 * Guards: [I] immutable after create  [V] vm->lock
 */
struct mmk_file {
	const struct mmk_file_ops *ops; /* [I] */
	void *ctx;                      /* [I] passed to ops */
	uint64_t size_bytes;            /* [V] set by mmk_file_resize */
};

/*
 * mmk_file_create: an object over `file`, with the size it says.
 *
 * out      *object_out, with one reference.
 * errors   MMK_ERR_INVAL: no ops->read; MMK_ERR_NOMEM: nothing changed.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_file_create(struct mmk_vm *vm,
    struct mmk_file *file, struct mmk_object **object_out);

/*
 * mmk_file_resize: the file has become shorter or longer.
 *
 * locks    none held; takes vm->lock
 * out      Pages beyond the end are gone, modified or not; what the last page
 *          holds beyond the smaller of both sizes is zeros. Where the kernel
 *          has itself appended to a cached last page, mmk_object_reload comes
 *          after this.
 */
MMK_API void mmk_file_resize(struct mmk_object *object, uint64_t size_bytes);

MMK_END_DECLS
#endif /* MMKIT_PAGER_FILE_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_PAGER_FILE_IMPL)
#define MMKIT_PAGER_FILE_IMPL

/* How many bytes of `page` are the file's: 0 to a page. */
MMK_PRIVATE size_t
mmk__file_page_bytes(struct mmk_object *object, uint64_t page)
{
	const struct mmk_file *file = (const struct mmk_file *)object->ctx;
	uint64_t size_bytes, bytes;

	MMKIT_LOCK(&object->vm->lock);
	size_bytes = file->size_bytes;
	MMKIT_UNLOCK(&object->vm->lock);
	if (page >= mmk_pages_round_up(size_bytes))
		return 0;
	bytes = size_bytes - mmk_bytes_of_pages(page);
	return (size_t)(bytes < MMK_PAGE_BYTES ? bytes : MMK_PAGE_BYTES);
}

/* NOENT, say, would look like a hole in the map to the fault path. */
MMK_PRIVATE enum mmk_err
mmk__file_err(enum mmk_err err)
{
	if (err == MMK_ERR_AGAIN || err == MMK_ERR_NOMEM ||
	    err == MMK_ERR_NOSPACE)
		return err;
	return MMK_ERR_IO;
}

MMK_PRIVATE enum mmk_err
mmk__file_read_page(struct mmk_object *object, uint64_t page,
    unsigned char *ptr)
{
	const struct mmk_file *file = (const struct mmk_file *)object->ctx;
	size_t bytes = mmk__file_page_bytes(object, page);
	size_t at_bytes = 0;

	if (bytes == 0)
		return MMK_ERR_NOENT;
	while (at_bytes < bytes) {
		size_t done_bytes = 0;
		enum mmk_err err = file->ops->read(file->ctx,
		    mmk_bytes_of_pages(page) + at_bytes, ptr + at_bytes,
		    bytes - at_bytes, &done_bytes);

		if (err != MMK_OK)
			return mmk__file_err(err);
		MMK_ASSERT(done_bytes <= bytes - at_bytes);
		if (done_bytes == 0)
			break;
		at_bytes += done_bytes;
	}
	(void)MMKIT_MEMSET(ptr + at_bytes, 0,
	    (size_t)MMK_PAGE_BYTES - at_bytes);
	return MMK_OK;
}

MMK_PRIVATE enum mmk_err
mmk__file_get(struct mmk_object *object, uint64_t page,
    struct mmk_frame **frames, unsigned nr_frames)
{
	for (unsigned i = 0; i < nr_frames; i++) {
		enum mmk_err err = mmk__file_read_page(object, page + i,
		    (unsigned char *)mmk_frame_ptr(object->vm->phys,
		        frames[i]));

		if (err != MMK_OK)
			return err;
	}
	return MMK_OK;
}

MMK_PRIVATE enum mmk_err
mmk__file_put(struct mmk_object *object, uint64_t page,
    struct mmk_frame *frame)
{
	const struct mmk_file *file = (const struct mmk_file *)object->ctx;
	const unsigned char *ptr = (const unsigned char *)mmk_frame_ptr(
	    object->vm->phys, frame);
	size_t bytes = mmk__file_page_bytes(object, page);
	size_t at_bytes = 0;

	if (file->ops->write == NULL)
		return MMK_ERR_IO;
	/* The file may shrink between one short write and the next. */
	for (; at_bytes < bytes; bytes = mmk__file_page_bytes(object, page)) {
		size_t done_bytes = 0;
		enum mmk_err err = file->ops->write(file->ctx,
		    mmk_bytes_of_pages(page) + at_bytes, ptr + at_bytes,
		    bytes - at_bytes, &done_bytes);

		if (err != MMK_OK)
			return mmk__file_err(err);
		MMK_ASSERT(done_bytes <= bytes - at_bytes);
		if (done_bytes == 0)
			return MMK_ERR_IO;
		at_bytes += done_bytes;
	}
	return MMK_OK;
}

MMK_PRIVATE void
mmk__file_destroy(struct mmk_object *object)
{
	const struct mmk_file *file = (const struct mmk_file *)object->ctx;

	if (file->ops->close != NULL)
		file->ops->close(file->ctx);
}

#ifdef MMKIT_STATIC
static
#endif
const struct mmk_pager_ops mmk_file_pager = {
	.name = "file",
	.kind = MMK_PAGER_FILE,
	.get = mmk__file_get,
	.put = mmk__file_put,
	.map = NULL,
	.unmap = NULL,
	.destroy = mmk__file_destroy,
};

MMK_API enum mmk_err
mmk_file_create(struct mmk_vm *vm, struct mmk_file *file,
    struct mmk_object **object_out)
{
	uint64_t nr_pages = mmk_pages_round_up(file->size_bytes);
	struct mmk_object *object;
	enum mmk_err err;

	if (file->ops == NULL || file->ops->read == NULL)
		return MMK_ERR_INVAL;
	err = mmk_object_create(vm, &mmk_file_pager, file,
	    nr_pages > 0 ? nr_pages : 1, &object);
	if (err != MMK_OK)
		return err;
	if (nr_pages == 0)
		mmk_object_resize(object, 0);
	*object_out = object;
	return MMK_OK;
}

/* What the page that holds byte `from` has from there on becomes zeros. */
MMK_PRIVATE void
mmk__file_zero_tail(struct mmk_object *object, uint64_t from_bytes)
{
	size_t at_bytes = (size_t)(from_bytes & MMK_PAGE_MASK);
	struct mmk_anon *anon = NULL;

	if (at_bytes == 0)
		return;
	if (object->amap != NULL)
		anon = mmk_amap_lookup(object->amap,
		    mmk_pages_of_bytes(from_bytes));
	if (anon != NULL && anon->frame != NULL)
		(void)MMKIT_MEMSET((unsigned char *)mmk_frame_ptr(
		    object->vm->phys, anon->frame) + at_bytes, 0,
		    (size_t)MMK_PAGE_BYTES - at_bytes);
}

MMK_API void
mmk_file_resize(struct mmk_object *object, uint64_t size_bytes)
{
	struct mmk_file *file = (struct mmk_file *)object->ctx;

	MMK_ASSERT(object->ops->kind == MMK_PAGER_FILE);
	MMKIT_LOCK(&object->vm->lock);
	mmk__file_zero_tail(object, size_bytes < file->size_bytes
	    ? size_bytes : file->size_bytes);
	/* What is being read of the last page has an old tail. */
	object->cut_page = mmk_min(object->cut_page, mmk_pages_of_bytes(
	    mmk_min(file->size_bytes, size_bytes)));
	file->size_bytes = size_bytes;
	MMKIT_UNLOCK(&object->vm->lock);
	mmk_object_resize(object, mmk_pages_round_up(size_bytes));
}
#endif /* MMKIT_IMPLEMENTATION */
