/* SPDX-License-Identifier: MIT
 *
 * examples/vendor/tier2.c: processes, on tiers 1 and 2 of the port: the first
 * space, fork, the switch, the page fault, mmap, a file. Compiled by the tests
 * for both architectures; doc/PORTING.md quotes it. What is the kernel's own
 * (threads, traps, signals) is declared here and defined by no one.
 */
#include "../../mmkit/mmkit.h"

#define SIGBUS 7
#define SIGKILL 9
#define SIGSEGV 11
#define ESR_CM (UINT64_C(1) << 8)
#define ESR_WNR (UINT64_C(1) << 6)

void yield(void);
void kill_current(int signal);
struct mmk_space *current_space(void);

struct initrd_file {
	struct mmk_file file;
	struct mmk_object *object; /* NULL: not opened yet */
	const unsigned char *data;
	uint64_t bytes;
};

void processes_init(struct mmk_phys *phys);
struct mmk_space *space_new(struct mmk_space *parent);
void space_free(struct mmk_space *space);
void space_switch(struct mmk_space *from, struct mmk_space *to);
void page_fault(uint64_t va, uint64_t code, bool is_user_mode);
struct mmk_object *initrd_object(struct initrd_file *file);
long sys_mmap(uint64_t va, uint64_t bytes, int prot, int flags,
    struct initrd_file *file, uint64_t offset_bytes);

#define USER_MIN_VA UINT64_C(0x10000)
#define USER_END_VA UINT64_C(0x7ffffffff000)

static struct mmk_pmap_sys pmap_sys;
static struct mmk_vm vm;
static struct mmk_pool spaces;

/* Once, after mmk_phys_init. */
void
processes_init(struct mmk_phys *phys)
{
#ifdef __x86_64__
	static const struct mmk_pt_shape shape = MMK_X86_64_SHAPE;
#else /* SOFT: TCR_EL1.HA and HD are 0, which every CPU can do */
	static const struct mmk_pt_shape shape = MMK_AARCH64_SHAPE_SOFT;
#endif

	if (mmk_pmap_sys_init(&pmap_sys, phys, &shape) != MMK_OK ||
	    mmk_vm_init(&vm, phys, &pmap_sys, NULL) != MMK_OK)
		panic("no memory for the vm");
	mmk_pool_init(&spaces, phys, "space", sizeof(struct mmk_space));
}

/*
 * x86_64: the kernel is in entries 256 to 511 of every root. All of them are
 * there before the first space is made, empty tables if need be: an entry that
 * comes later is in no root that was copied before. aarch64 has TTBR1.
 */
static void
share_kernel_half(struct mmk_space *space)
{
#ifdef __x86_64__
	const uint64_t *kernel = MMKIT_PHYS_TO_PTR(MMKIT_KERNEL_ROOT_PA);
	uint64_t *root = mmk_frame_ptr(vm.phys, space->map.pmap.root);

	for (unsigned i = 256; i < 512; i++)
		root[i] = kernel[i];
#else
	(void)space;
#endif
}

/* A copy of the parent, or, if that is NULL, an empty space; NULL: no memory. */
struct mmk_space *
space_new(struct mmk_space *parent)
{
	struct mmk_space *space = mmk_pool_alloc(&spaces);
	enum mmk_err err;

	if (space == NULL)
		return NULL;
	if (parent != NULL)
		err = mmk_space_fork(space, parent);
	else
		err = mmk_space_init(space, &vm, USER_MIN_VA, USER_END_VA);
	if (err != MMK_OK) {
		mmk_pool_free(&spaces, space);
		return NULL;
	}
	share_kernel_half(space); /* of a forked root as well */
	return space;
}

/* The process has ended, and every CPU has switched away from its space. */
void
space_free(struct mmk_space *space)
{
	mmk_space_fini(space);
	mmk_pool_free(&spaces, space);
}

/* In the context switch, preemption or interrupts off. NULL: a kernel thread. */
void
space_switch(struct mmk_space *from, struct mmk_space *to)
{
	unsigned cpu = MMKIT_CPU_ID();

	if (from == to)
		return;
	if (from != NULL)
		mmk_pmap_deactivate(&from->map.pmap, cpu); /* first */
	if (to != NULL)
		mmk_pmap_activate(&to->map.pmap, cpu);
}

#ifdef __x86_64__
/* `code` is the error code that the CPU pushed. */
static unsigned
decode_access(uint64_t code)
{
	if ((code & 8) != 0) /* RSVD: a table is damaged; never the program's */
		panic("a reserved bit is set in a page table");
	if ((code & 16) != 0)
		return MMK_PROT_EXEC;
	return (code & 2) != 0 ? MMK_PROT_WRITE : MMK_PROT_READ;
}
#else
/* `code` is ESR_EL1. 0: no translation can help (alignment, a bus error). */
static unsigned
decode_access(uint64_t code)
{
	unsigned class = (unsigned)(code >> 26 & 0x3f);

	if (mmk_aarch64_is_address_size(code)) /* a table is damaged */
		panic("an address in a page table is too wide");
	if (!mmk_aarch64_may_mend(code))
		return 0;
	if (class == 0x20) /* an instruction abort from EL0 */
		return MMK_PROT_EXEC;
	/* WnR is set for cache maintenance (CM) too, which only reads */
	return (code & ESR_WNR) != 0 && (code & ESR_CM) == 0 ? MMK_PROT_WRITE
	                                                      : MMK_PROT_READ;
}
#endif

/*
 * The trap handler has read CR2 or FAR_EL1 into `va` and then enabled
 * interrupts, if they were on where the fault happened.
 */
void
page_fault(uint64_t va, uint64_t code, bool is_user_mode)
{
	unsigned access = decode_access(code);
	enum mmk_err err = MMK_ERR_IO;

	if (!is_user_mode && va >= USER_END_VA)
		panic("the kernel has no translation for an address of its own");
	if (va >= USER_END_VA) {
		kill_current(SIGSEGV);
		return;
	}
	if (access != 0) {
		struct mmk_map *map = &current_space()->map;

		while ((err = mmk_fault(map, va, access)) == MMK_ERR_AGAIN)
			yield();
	}
	if (err == MMK_OK)
		return; /* and the access is tried again */
	if (err == MMK_ERR_IO || err == MMK_ERR_NOSPACE)
		kill_current(SIGBUS);
	else if (err == MMK_ERR_NOMEM)
		kill_current(SIGKILL); /* or make room, and return */
	else
		kill_current(SIGSEGV);
}

/* The file pager over an initrd: read only, always in memory. */
static enum mmk_err
initrd_read(void *ctx, uint64_t offset_bytes, void *buf, size_t bytes,
    size_t *done_out)
{
	const struct initrd_file *file = ctx;

	if (offset_bytes > file->bytes)
		offset_bytes = file->bytes; /* nothing is there */
	if (bytes > file->bytes - offset_bytes)
		bytes = (size_t)(file->bytes - offset_bytes);
	(void)MMKIT_MEMCPY(buf, file->data + offset_bytes, bytes);
	*done_out = bytes;
	return MMK_OK;
}

static const struct mmk_file_ops initrd_ops = { .read = initrd_read };

/* The one object of the file: the page cache is in it. NULL: no memory. */
struct mmk_object *
initrd_object(struct initrd_file *file)
{
	if (file->object == NULL) {
		file->file.ops = &initrd_ops;
		file->file.ctx = file;
		file->file.size_bytes = file->bytes;
		if (mmk_file_create(&vm, &file->file, &file->object) != MMK_OK)
			return NULL;
	}
	return file->object;
}

/* Linux's bits, mmkit's. */
static const struct {
	int theirs;
	unsigned ours;
} mmap_flags[] = {
	{ 0x01, MMK_MAP_SHARED },       /* MAP_SHARED */
	{ 0x02, MMK_MAP_PRIVATE },      /* MAP_PRIVATE */
	{ 0x10, MMK_MAP_FIXED },        /* MAP_FIXED */
	{ 0x20, MMK_MAP_ANON },         /* MAP_ANONYMOUS */
	{ 0x40, MMK_MAP_LOW },          /* MAP_32BIT */
	{ 0x100, MMK_MAP_STACK },       /* MAP_GROWSDOWN */
	{ 0x8000, MMK_MAP_POPULATE },   /* MAP_POPULATE */
	{ 0x100000, MMK_MAP_NOREPLACE } /* MAP_FIXED_NOREPLACE */
};

long
sys_mmap(uint64_t va, uint64_t bytes, int prot, int flags,
    struct initrd_file *file, uint64_t offset_bytes)
{
	struct mmk_object *object = NULL;
	unsigned max_prot = MMK_PROT_ALL, ours = 0;
	mmk_va start_va;

	for (size_t i = 0; i < sizeof mmap_flags / sizeof mmap_flags[0]; i++)
		if ((flags & mmap_flags[i].theirs) != 0)
			ours |= mmap_flags[i].ours;
	if ((ours & MMK_MAP_ANON) == 0 && file != NULL) {
		object = initrd_object(file);
		if (object == NULL)
			return -12; /* ENOMEM */
		if ((ours & MMK_MAP_SHARED) != 0) /* the file is read only */
			max_prot &= ~MMK_PROT_WRITE;
	}
	switch (mmk_mmap(current_space(), va, bytes, (unsigned)prot, max_prot,
	    ours, object, offset_bytes, &start_va)) {
	case MMK_OK:
		return (long)start_va;
	case MMK_ERR_INVAL:
		return -22; /* EINVAL */
	case MMK_ERR_EXIST:
		return -17; /* EEXIST */
	case MMK_ERR_ACCESS:
		return -13; /* EACCES */
	default:
		return -12; /* ENOMEM: NOMEM, NOSPACE, LIMIT */
	}
}
