/* SPDX-License-Identifier: MIT
 *
 * examples/hosted/file.c: host files as pages of RAM
 *
 * WHAT    One object for each file that is or was mapped, found by device and
 *         inode: the page cache. It outlives its mappings, and is given back
 *         when RAM is short.
 *
 *         What is guaranteed about a file that is mapped and changed at the
 *         same time, by calls of traced programs:
 *
 *         - What a program writes through a shared mapping is in the file
 *           after msync, after munmap or the end of the program, and before
 *           any traced program's next read, pread, readv, sendfile, splice,
 *           copy_file_range, truncate, fsync or sync.
 *         - What any traced program writes by write, pwrite, writev, sendfile,
 *           splice, copy_file_range, truncate or fallocate is in every mapping
 *           of the file when that call returns.
 *         - What programs outside write is seen when the file is mapped again
 *           (size or times differ) or when an access meets the old end.
 *         - Program text and libraries (execve, and mappings ld.so makes) are
 *           compared with the file at each exec and mmap only.
 *
 * LOCKS   none
 */
#include "hosted.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

struct file_note {
	struct mmk_file file;
	struct mmk_object *object; /* our own reference */
	uint64_t dev, ino;
	int fd;
	bool may_write;   /* fd may be written to */
	bool is_written;  /* someone has a shared mapping that may be written */
	bool is_watched;  /* calls that read or write it matter */
	struct timespec changed;
	char *path;
	struct file_note *next;
};

static struct file_note *notes;
static unsigned nr_watched;

/* ---- the pager's side ---------------------------------------------------- */

static enum mmk_err
note_read(void *ctx, uint64_t offset_bytes, void *buf, size_t bytes,
    size_t *done_out)
{
	const struct file_note *note = (const struct file_note *)ctx;
	ssize_t done = pread(note->fd, buf, bytes, (off_t)offset_bytes);

	if (done < 0)
		return MMK_ERR_IO;
	*done_out = (size_t)done;
	return MMK_OK;
}

static enum mmk_err
note_write(void *ctx, uint64_t offset_bytes, const void *buf, size_t bytes,
    size_t *done_out)
{
	const struct file_note *note = (const struct file_note *)ctx;
	ssize_t done = pwrite(note->fd, buf, bytes, (off_t)offset_bytes);

	if (done < 0)
		return MMK_ERR_IO;
	*done_out = (size_t)done;
	return MMK_OK;
}

static void
note_close(void *ctx)
{
	struct file_note *note = (struct file_note *)ctx;

	close(note->fd);
	free(note->path);
	free(note);
}

static const struct mmk_file_ops note_ops = { note_read, note_write,
	note_close };

/* ---- finding and making -------------------------------------------------- */

static struct file_note *
note_find(uint64_t dev, uint64_t ino)
{
	struct file_note *note = notes;

	while (note != NULL && (note->dev != dev || note->ino != ino))
		note = note->next;
	return note;
}

/* Take over `fd`. NULL: no memory. */
static struct file_note *
note_create(int fd, const struct stat *st, const char *path)
{
	struct file_note *note = xcalloc(1, sizeof *note);

	note->file.ops = &note_ops;
	note->file.ctx = note;
	note->file.size_bytes = (uint64_t)st->st_size;
	note->dev = st->st_dev;
	note->ino = st->st_ino;
	note->fd = fd;
	note->changed = st->st_ctim;
	note->path = strdup(path);
	if (mmk_file_create(&machine.vm, &note->file, &note->object) !=
	    MMK_OK) {
		note_close(note);
		return NULL;
	}
	note->next = notes;
	notes = note;
	return note;
}

static void
note_sync(struct file_note *note)
{
	struct stat st;

	if (!note->is_written)
		return;
	if (mmk_object_sync(note->object, 0, note->object->nr_pages) !=
	    MMK_OK)
		say("%s: cannot be written back", note->path);
	if (fstat(note->fd, &st) == 0)
		note->changed = st.st_ctim;
}

/* The file may have changed behind our back: look, and follow. */
static void
note_follow(struct file_note *note)
{
	struct stat st;

	if (fstat(note->fd, &st) != 0)
		return;
	if ((uint64_t)st.st_size == note->file.size_bytes &&
	    st.st_ctim.tv_sec == note->changed.tv_sec &&
	    st.st_ctim.tv_nsec == note->changed.tv_nsec)
		return;
	note->changed = st.st_ctim;
	if ((uint64_t)st.st_size != note->file.size_bytes)
		mmk_file_resize(note->object, (uint64_t)st.st_size);
	if (mmk_object_reload(note->object, 0, note->object->nr_pages) !=
	    MMK_OK)
		say("%s: cannot be read again", note->path);
}

static void
note_watch(struct file_note *note, bool is_watched)
{
	if (!is_watched || note->is_watched)
		return;
	note->is_watched = true;
	nr_watched++;
}

/* Forget a file that nobody maps. */
static void
note_drop(struct file_note *note)
{
	struct file_note **link = &notes;

	while (*link != note)
		link = &(*link)->next;
	*link = note->next;
	if (note->is_watched)
		nr_watched--;
	note_sync(note);
	mmk_object_unref(note->object);
}

/* ---- for mmap and exec --------------------------------------------------- */

static void
describe_fd(struct task *task, int fd, char *path, size_t max_bytes)
{
	char link[64];
	ssize_t bytes;

	snprintf(link, sizeof link, "/proc/%d/fd/%d", (int)task->pid, fd);
	bytes = readlink(link, path, max_bytes - 1);
	path[bytes < 0 ? 0 : bytes] = '\0';
}

/* What kind of thing is it? 1: a file, 0: /dev/zero, else an error. */
static long
check_fd(int fd, const struct stat *st, bool is_shared, bool may_write,
    unsigned *max_prot_out)
{
	int mode = fcntl(fd, F_GETFL) & O_ACCMODE;

	if (mode == O_WRONLY || (fcntl(fd, F_GETFL) & O_PATH) != 0)
		return (fcntl(fd, F_GETFL) & O_PATH) != 0 ? -EBADF : -EACCES;
	if (is_shared && mode != O_RDWR) {
		if (may_write)
			return -EACCES;
		*max_prot_out &= ~MMK_PROT_WRITE;
	}
	if (S_ISCHR(st->st_mode) && st->st_rdev == makedev(1, 5))
		return 0;
	return S_ISREG(st->st_mode) ? 1 : -ENODEV;
}

long
file_object(struct task *task, int fd, bool is_shared, bool may_write,
    bool is_watched, unsigned *max_prot_out, struct mmk_object **object_out)
{
	struct file_note *note;
	char path[4096];
	struct stat st;
	long kind;
	int own_fd = fd == machine.ram_fd ? -1
	    : (int)syscall(SYS_pidfd_getfd, task->pidfd, fd, 0);

	if (own_fd < 0 || fstat(own_fd, &st) != 0) {
		if (own_fd >= 0)
			close(own_fd);
		return -EBADF;
	}
	kind = check_fd(own_fd, &st, is_shared, may_write, max_prot_out);
	if (kind != 1) {
		close(own_fd);
		return kind;
	}
	note = note_find(st.st_dev, st.st_ino);
	if (note == NULL) {
		describe_fd(task, fd, path, sizeof path);
		note = note_create(own_fd, &st, path);
		if (note == NULL)
			return -ENOMEM;
	} else if (is_shared && (fcntl(own_fd, F_GETFL) & O_ACCMODE) ==
	    O_RDWR && !note->may_write) {
		close(note->fd);
		note->fd = own_fd;
	} else {
		close(own_fd);
	}
	if (is_shared && (*max_prot_out & MMK_PROT_WRITE) != 0) {
		note->may_write = true;
		note->is_written = note->is_written || may_write;
	}
	note_watch(note, is_watched);
	if (!note->is_written)
		note_follow(note);
	mmk_object_ref(note->object);
	*object_out = note->object;
	return 1;
}

long
file_object_of_path(struct task *task, const char *path, uint64_t dev,
    uint64_t ino, struct mmk_object **object_out)
{
	struct file_note *note = note_find(dev, ino);
	struct stat st;

	if (note == NULL) {
		char rooted[4352];
		int fd;

		snprintf(rooted, sizeof rooted, "/proc/%d/root%s",
		    (int)task->pid, path);
		fd = open(rooted, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || fstat(fd, &st) != 0 || st.st_ino != ino) {
			/* renamed or deleted since: the running image has it */
			if (fd >= 0)
				close(fd);
			snprintf(rooted, sizeof rooted, "/proc/%d/exe",
			    (int)task->pid);
			fd = open(rooted, O_RDONLY | O_CLOEXEC);
		}
		if (fd < 0 || fstat(fd, &st) != 0)
			return -errno;
		note = note_create(fd, &st, path);
		if (note == NULL)
			return -ENOMEM;
		note->dev = dev;
	} else {
		note_follow(note);
	}
	mmk_object_ref(note->object);
	*object_out = note->object;
	return 0;
}

bool
file_describe(const struct mmk_object *object, const char **path_out,
    uint64_t *dev_out, uint64_t *ino_out)
{
	for (const struct file_note *note = notes; note != NULL;
	     note = note->next) {
		if (note->object != object)
			continue;
		*path_out = note->path;
		*dev_out = note->dev;
		*ino_out = note->ino;
		return true;
	}
	return false;
}

/* ---- coherence ----------------------------------------------------------- */

bool
file_any_watched(void)
{
	return nr_watched > 0;
}

static struct file_note *
note_of_fd(struct task *task, int fd)
{
	struct file_note *note;
	char path[64];
	struct stat st;

	snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)task->pid, fd);
	if (stat(path, &st) != 0)
		return NULL;
	note = note_find(st.st_dev, st.st_ino);
	return note != NULL && note->is_watched ? note : NULL;
}

bool
file_is_watched(struct task *task, int fd)
{
	return note_of_fd(task, fd) != NULL;
}

/* mprotect lets programs write where they could only read before. */
void
file_may_be_written(void)
{
	for (struct file_note *note = notes; note != NULL; note = note->next)
		note->is_written = note->is_written || note->may_write;
}

void
file_before_read(struct task *task, int fd)
{
	struct file_note *note = note_of_fd(task, fd);

	if (note != NULL)
		note_sync(note);
}

void
file_before_any(void)
{
	if (nr_watched == 0)
		return;
	for (struct file_note *note = notes; note != NULL; note = note->next)
		note_sync(note);
}

void
file_after_any(void)
{
	for (struct file_note *note = notes; note != NULL; note = note->next)
		if (note->is_watched)
			note_follow(note);
}

/* Where a write without an offset ended. */
static uint64_t
position_of(struct task *task, int fd)
{
	int own_fd = (int)syscall(SYS_pidfd_getfd, task->pidfd, fd, 0);
	off_t at = own_fd < 0 ? -1 : lseek(own_fd, 0, SEEK_CUR);

	if (own_fd >= 0)
		close(own_fd);
	return at < 0 ? 0 : (uint64_t)at;
}

void
file_after_write(struct task *task, int fd, bool has_offset,
    uint64_t offset_bytes, uint64_t bytes)
{
	struct file_note *note = note_of_fd(task, fd);
	uint64_t first_page, end_page;
	struct stat st;

	if (note == NULL)
		return;
	if (!has_offset) {
		uint64_t end_bytes = position_of(task, fd);

		offset_bytes = end_bytes < bytes ? 0 : end_bytes - bytes;
	}
	if (fstat(note->fd, &st) == 0) {
		if ((uint64_t)st.st_size != note->file.size_bytes)
			mmk_file_resize(note->object, (uint64_t)st.st_size);
		note->changed = st.st_ctim;
	}
	first_page = mmk_pages_of_bytes(offset_bytes);
	end_page = mmk_pages_round_up(offset_bytes + bytes);
	if (mmk_object_reload(note->object, first_page,
	    end_page - first_page) != MMK_OK)
		say("%s: cannot be read again", note->path);
}

bool
file_refresh(struct mmk_object *object)
{
	for (struct file_note *note = notes; note != NULL;
	     note = note->next) {
		uint64_t size_bytes = note->file.size_bytes;

		if (note->object != object)
			continue;
		note_follow(note);
		return note->file.size_bytes > size_bytes;
	}
	return false;
}

/* ---- giving back --------------------------------------------------------- */

uint64_t
file_reclaim(void)
{
	struct file_note *note = notes, *next;
	uint64_t nr_pages = 0;

	for (; note != NULL; note = next) {
		next = note->next;
		note_sync(note);
		nr_pages += mmk_object_evict(note->object);
		if (note->object->refs == 1) {
			nr_pages += mmk_object_nr_resident(note->object) + 1;
			note_drop(note);
		}
	}
	return nr_pages;
}

void
file_drop_all(void)
{
	while (notes != NULL)
		note_drop(notes);
}
