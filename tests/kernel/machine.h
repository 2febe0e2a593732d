/* SPDX-License-Identifier: MIT
 *
 * tests/kernel/machine.h: what the files of this folder share
 */
#ifndef KERNEL_TESTS_MACHINE_H
#define KERNEL_TESTS_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mmk_frame;

/* A CPU runs threads from now on, for ever. */
void threads_run(unsigned cpu) __attribute__((noreturn));
/* Runs `entry` as a thread. */
void threads_start(void (*entry)(void));
/* The calling thread goes on on that CPU. */
void threads_move(unsigned cpu);

/* Frames of the kernel's own, or NULL; no planted failure meets it. */
struct mmk_frame *machine_frames(unsigned order);
void machine_init(void);
/* First, on each CPU: what the kernel itself does not turn on. */
void machine_cpu_init(void);

/*
 * user.c: accesses in user mode, on the CPU one is on. They do not return: they
 * end in a trap. One of user.S ends in a system call, whose argument 0 is the
 * word that was loaded; a fetch that did not fault ends in any trap.
 */
void user_init(void);
void user_load_word(uint64_t va) __attribute__((noreturn));
void user_store_word(uint64_t va, uint64_t word) __attribute__((noreturn));
/* To or from user_buffer(), a page of this CPU's. */
void user_copy_bytes(uint64_t va, size_t bytes, bool is_store)
    __attribute__((noreturn));
void *user_buffer(void);
void user_fetch(uint64_t va) __attribute__((noreturn));
/* aarch64: as if an indirect branch had led there; and to tag 16 bytes. */
void user_branch(uint64_t va) __attribute__((noreturn));
void user_tag_bytes(uint64_t va) __attribute__((noreturn));
void user_fetch_end(void); /* after that trap */
/* In kernel mode; what is there is a return. */
void kernel_call(uint64_t va);
/* Of one of these: the trap that it ends in, in words. */
const char *machine_trap_of(void (*in_user_mode)(uint64_t va), uint64_t va);

#endif /* KERNEL_TESTS_MACHINE_H */
