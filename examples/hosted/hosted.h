/* SPDX-License-Identifier: MIT
 *
 * examples/hosted/hosted.h: a kernel whose hardware is another kernel
 *
 * WHAT    mmkit-run traces a Linux program and all its children. Their host
 *         address spaces hold nothing but a page of code of ours, the host's
 *         vDSO, and pages of one memfd that plays RAM: what is mapped there is
 *         the TLB of the simulated machine, filled and flushed by calls that
 *         the traced process is made to do. What ought to be mapped is decided
 *         by mmkit, through page tables in that RAM.
 *
 *           program --SIGSEGV--> walk the tables --valid--> fill
 *                                     |no
 *                                     v
 *                                 mmk_fault --error--> SIGSEGV, SIGBUS, killed
 *
 *         inject.c   make a traced process do system calls
 *         tlb.c      its mappings as a TLB; faults
 *         oom.c      no memory left
 *         user.c     read, write and fault in its memory
 *         calls.c    which system calls touch which memory
 *         mem.c      the memory calls, handed to mmkit's face
 *         limits.c   setrlimit
 *         exec.c     take over the image that execve has laid out
 *         process.c  fork, exit, and the loop around all of it
 *         signal.c   deliver signals so that the host never finds a hole
 *         file.c     the page cache
 *         report.c   --stats, --maps, --frames, the audit
 *
 * LAYER   an example: everything of mmkit, ports/sim, and the C library
 * LOCKS   one thread does it all
 */
#ifndef HOSTED_H
#define HOSTED_H

#include "mmkit/mmkit.h"
#include "ports/sim/sim.h"

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>
#include <sys/user.h>

#define PAGE_BYTES MMK_PAGE_BYTES

/* Exit statuses of our own, as env(1) and timeout(1) use them. */
#define STATUS_BROKEN 125
#define STATUS_NOEXEC 126
#define STATUS_NOENT 127

/*
 * The gate: code of ours in every process, one slot for each task. A slot is
 * read and executed by the task and written by us, through the same memfd.
 */
#define GATE_VA ((mmk_va)0x7e0000000000)
#define SLOT_BYTES ((uint64_t)8192)
#define NR_SLOTS 1024u
#define GATE_BYTES (SLOT_BYTES * NR_SLOTS)
#define SLOT_SCRATCH_BYTES 512u

/* Where programs may be; the host's own limits. */
#define SPACE_MIN_VA ((mmk_va)0x10000)
#define SPACE_MAX_VA ((mmk_va)0x7ffffffff000)

/* ---- what a process has mapped in the host: the TLB ---------------------- */

#define TLB_PRESENT 8u /* beside MMK_PROT_* in the low bits of an entry */

/* One thing the traced process must do to its mappings, in order. */
struct tlb_op {
	mmk_va va;
	uint64_t bytes;
	mmk_pa pa;
	unsigned prot;
	bool is_fill; /* else: drop */
};

struct tlb {
	uint64_t *root;      /* four levels of 512 words */
	struct tlb_op *ops;  /* not yet done in the host */
	size_t nr_ops, max_ops;
	uint64_t nr_filled;  /* pages */
};

/* Host mappings in a space that are not RAM: the gate, vvar, vDSO. */
struct hole {
	mmk_va start_va, end_va;
	char name[16];
};
#define NR_HOLES 8

/* A guess that a program goes through memory page by page. */
struct stream {
	mmk_va up_va, down_va; /* where it will miss next */
	unsigned nr_pages;
};
#define NR_STREAMS 4

/* One address space; shared between vfork and execve. */
struct mm {
	struct mmk_space space;
	unsigned refs; /* tasks */
	unsigned cpu;  /* the simulated CPU it lives on */
	struct tlb tlb;
	struct hole holes[NR_HOLES];
	unsigned nr_holes;
	struct stream streams[NR_STREAMS];
	unsigned next_stream;
	mmk_va stack_start_va; /* where the first stack was at exec */
	struct mm *next;       /* all of them */
};

/* ---- a traced task ------------------------------------------------------- */

enum at { AT_RUNNING, AT_SECCOMP, AT_SIGNAL, AT_EVENT, AT_CALL_EXIT };

struct action { /* of a signal, as the program knows it */
	uint64_t handler, flags, restorer, mask;
};

struct sigframe_mark { /* SIGSEGV was blocked before this frame */
	mmk_va frame_va;
	bool was_blocked;
};
#define NR_MARKS 16
#define NR_STASHED 16

struct call; /* calls.c: one row of the table */

struct task {
	pid_t pid;
	int pidfd;
	unsigned slot;
	struct mm *mm;       /* NULL: has not come through its first execve */
	enum at at;
	bool is_gone;        /* dead; its status is on the way */
	bool is_vfork_parent; /* blocked until the child has its own space */
	bool is_doomed;      /* killed by us: no more work for it */
	struct user_regs_struct regs; /* while stopped; the program's view */
	bool regs_dirty;
	bool has_last_call;  /* its result becomes the program's rax */
	uint64_t last_call[7];
	bool redo;           /* run the interrupted system call again */
	/* a system call whose end we want to see */
	const struct call *exit_call;
	uint64_t exit_args[6];
	bool restore_args;   /* exit_args are to be put back into registers */
	/* fork */
	struct mm *child_mm; /* made before the host was asked */
	uint64_t clone_flags, clone_ptid, clone_ctid;
	bool is_cloning;
	/* signals */
	struct action *actions; /* 65 of them */
	bool segv_blocked;      /* as the program knows it */
	struct sigframe_mark marks[NR_MARKS];
	unsigned nr_marks;
	siginfo_t stashed[NR_STASHED];
	unsigned nr_stashed;
	mmk_va alt_va;
	uint64_t alt_bytes;
	uint64_t stuck_va;      /* the fault before this one */
	unsigned nr_stuck;
	uint64_t space_limit;   /* RLIMIT_AS, bytes */
	char name[16];
	struct task *next;
};

/* ---- the machine --------------------------------------------------------- */

struct counts {
	uint64_t fault_stops, call_stops, signal_stops, other_stops;
	uint64_t injected_calls, sync_injections, fills, filled_pages, drops,
	    evictions, interrupts, forks, execs, oom_kills, ahead_pages;
	uint64_t tracer_ns, wait_ns;
};

struct options {
	uint64_t ram_bytes;
	unsigned arch;
	unsigned nr_cpus;
	bool stats, maps, check;
	const char *frames_path; /* NULL: no dumps */
	unsigned every_seconds;  /* 0: only when asked, and at the end */
	char **argv;
};

struct machine {
	struct options options;
	struct mmk_phys phys;
	struct mmk_pmap_sys pmap_sys;
	struct mmk_vm vm;
	struct mmk_phys_stats at_boot;
	FILE *frames;       /* where dumps go; NULL: nowhere */
	int ram_fd;         /* in the tracer and, the same number, in every task */
	uint8_t *gate;      /* our view of the slots */
	struct task *tasks;
	struct mm *mms;
	pid_t first_pid;
	int first_status;
	bool has_first_status;
	uint64_t frame_bytes; /* of a signal frame, at most */
	struct counts counts;
	volatile sig_atomic_t wants_maps, wants_frames;
	bool has_warned_threads;
};
extern struct machine machine;

/* main.c */
void die(int status, const char *format, ...)
    __attribute__((format(printf, 2, 3), noreturn));
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
uint64_t now_ns(void);
void *xcalloc(size_t nr, size_t bytes);

/* launch.c */
/* Checks the program, starts it stopped and traced; dies with a clear line. */
void launch(char **argv);

/* inject.c */
void gate_init(void);
bool task_get_regs(struct task *task);
/*
 * Let a stopped task go on: first what its TLB owes (tlb.ops), then its last
 * call if it has one, then its own registers; `sig` is delivered to it.
 */
void task_resume(struct task *task, int sig);
/* As above, but the task stops again at the end of its system call. */
void task_resume_to_exit(struct task *task);
/* Make a stopped task do one call, now. -ESRCH: it is gone. */
long task_call(struct task *task, long nr, uint64_t a, uint64_t b, uint64_t c,
    uint64_t d, uint64_t e, uint64_t f);
/* Do what the TLB owes, now. false: the task is gone. */
bool task_settle(struct task *task);
/* The next call runs when the task resumes; its result is the program's. */
void task_last_call(struct task *task, long nr, uint64_t a, uint64_t b,
    uint64_t c, uint64_t d, uint64_t e, uint64_t f);
/* The system call the task is stopped at does not run; this is its result. */
void task_answer(struct task *task, long result);
/* Our view of, and the task's address of, SLOT_SCRATCH_BYTES for arguments. */
void *slot_scratch(const struct task *task);
mmk_va slot_scratch_va(const struct task *task);
bool slot_contains(mmk_va va);
/* The task was found in its slot: finish what it was doing there. */
bool task_leave_slot(struct task *task, siginfo_t *info);
/* A signal that comes at the wrong moment waits for task_resume. */
void task_stash(struct task *task);
void task_kill(struct task *task);

/* tlb.c */
void tlb_init(struct mm *mm);
void tlb_fini(struct mm *mm);
/* Is [va, va + 1) usable for `access` without asking anyone? */
bool tlb_has(const struct mm *mm, mmk_va va, unsigned access);
/*
 * Make `access` to the page of `va` possible: walk, fault, queue the fill.
 * errors of mmk_fault, NOMEM after everything that can be evicted has been.
 */
enum mmk_err tlb_touch(struct mm *mm, mmk_va va, unsigned access,
    mmk_pa *pa_out);
void tlb_on_invalidate(void *ctx, struct mmk_pmap *pmap, uint64_t start_va,
    uint64_t end_va);
/* Start from an empty TLB. */
void tlb_drop_all(struct mm *mm);
bool mm_is_hole(const struct mm *mm, mmk_va va);
/* A SIGSEGV stop that may be a TLB miss; resumes the task. */
void handle_segv(struct task *task, siginfo_t *info);
/* What a store, or not, at rip. */
unsigned decode_access(struct task *task, mmk_va va);

/* oom.c */
/* Kill the task, and say so. */
void out_of_memory(struct task *task);
/* Give back what nobody will miss. true: try again. `mm` is in use. */
bool make_room(const struct mm *mm);
/* A program has started or ended. */
void shortage_is_over(void);
/* Kill for it if need be; false: it is for the owner of `mm` to die. */
bool make_room_by_force(const struct mm *mm, unsigned nr_tries);

/* user.c */
/* errors of tlb_touch; *done_out bytes were copied. */
enum mmk_err user_read(struct mm *mm, mmk_va va, void *buf, size_t bytes);
enum mmk_err user_write(struct mm *mm, mmk_va va, const void *buf,
    size_t bytes);
/* A string of at most max_bytes with its end; NOSPACE: longer. */
enum mmk_err user_read_string(struct mm *mm, mmk_va va, char *buf,
    size_t max_bytes);
/* Fault the range in; bytes from the start that are good. NOMEM: false. */
bool user_ensure(struct mm *mm, mmk_va va, uint64_t bytes, unsigned access);
bool user_ensure_string(struct mm *mm, mmk_va va, uint64_t max_bytes);

/* calls.c */
void calls_init(void);
void handle_call(struct task *task);
void handle_call_exit(struct task *task);
/* Let the host do the call, and then look what became of mapped files. */
void call_with_files(struct task *task);
struct sock_filter;
/* The filter of every traced process; its length. */
size_t calls_filter(struct sock_filter *filter, size_t max);

/* mem.c: each answers the call the task is stopped at */
void call_mmap(struct task *task);
void call_munmap(struct task *task);
void call_mremap(struct task *task);
void call_mprotect(struct task *task);
void call_brk(struct task *task);
void call_madvise(struct task *task);
void call_msync(struct task *task);
void call_mincore(struct task *task);
void call_mlock(struct task *task);
void call_ok(struct task *task);
long errno_of(enum mmk_err err); /* negative */
struct mm *mm_create(void);
struct mm *mm_fork(struct mm *parent);
void mm_unref(struct mm *mm);
void mm_add_hole(struct mm *mm, mmk_va start_va, mmk_va end_va,
    const char *name);

/* limits.c */
void call_limits(struct task *task);
/* Give the task's limits to its space. */
void limits_apply(struct task *task);

/* exec.c */
void handle_exec(struct task *task);

/* process.c */
void process_loop(void);
struct task *task_create(pid_t pid);
struct task *task_find(pid_t pid);
/* The task stops, whatever it was doing; the stop is handled later. */
void task_interrupt(struct task *task);
/* A stop that belongs to the loop. */
void event_push(pid_t pid, int status);
void call_fork(struct task *task);
void call_clone(struct task *task);

/* signal.c */
void signals_reset_for_exec(struct task *task);
void signals_copy(struct task *child, const struct task *parent);
/* Prepare the stack for `info`, note what the handler blocks, deliver. */
void signal_deliver(struct task *task, const siginfo_t *info);
void handle_signal_stop(struct task *task, int sig);
void call_sigaction(struct task *task);
void call_sigprocmask(struct task *task);
void call_sigreturn(struct task *task);
void call_sigaltstack(struct task *task);
/* Kill as a fault kills that nobody can handle. */
void signal_force(struct task *task, siginfo_t *info);

/* file.c */
struct file_note; /* one cached file */
/* The object for the file behind `fd` of `task`; a reference is taken. */
long file_object(struct task *task, int fd, bool is_shared, bool may_write,
    bool is_watched, unsigned *max_prot_out, struct mmk_object **object_out);
long file_object_of_path(struct task *task, const char *path, uint64_t dev,
    uint64_t ino, struct mmk_object **object_out);
/* The name and inode behind an object, for /proc/PID/maps. */
bool file_describe(const struct mmk_object *object, const char **path_out,
    uint64_t *dev_out, uint64_t *ino_out);
bool file_any_watched(void);
bool file_is_watched(struct task *task, int fd);
void file_may_be_written(void);
void file_before_read(struct task *task, int fd);
void file_before_any(void);
void file_after_write(struct task *task, int fd, bool has_offset,
    uint64_t offset_bytes, uint64_t bytes);
void file_after_any(void);
/* The file behind `object` may have grown. true: it has. */
bool file_refresh(struct mmk_object *object);
/* Give clean pages back; how many. */
uint64_t file_reclaim(void);
void file_drop_all(void);

/* view.c: what programs see of it */
char *view_maps(struct mm *mm, size_t *bytes_out);
void call_open(struct task *task);
void call_sysinfo(struct task *task);

/* report.c */
/* mmk_check at every stop, if --check. */
void report_check(void);
void report_maps(struct mm *mm, const char *title);
/* --frames: open the file or die; write a dump, if it was asked for. */
void report_frames_open(void);
void report_frames(void);
void report_stats(void);
/* false: something leaked, and a line says what. */
bool report_audit(void);

#endif /* HOSTED_H */
