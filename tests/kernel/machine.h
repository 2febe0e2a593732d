/* SPDX-License-Identifier: MIT
 *
 * tests/kernel/machine.h: what the files of this folder share
 */
#ifndef KERNEL_TESTS_MACHINE_H
#define KERNEL_TESTS_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

struct mmk_frame;

/* A CPU runs threads from now on, for ever. */
void threads_run(unsigned cpu) __attribute__((noreturn));
/* Runs `entry` as a thread on CPU 0. */
void threads_start(void (*entry)(void));
/* The calling thread goes on on that CPU. */
void threads_move(unsigned cpu);

/* Frames of the kernel's own, or NULL; no planted failure meets it. */
struct mmk_frame *machine_frames(unsigned order);
void machine_init(void);

/* walk.c: may a program whose tables are at root_pa do this? It looks at the
 * tables as the manual says, and sets nothing. `direct` is where physical 0
 * appears. */
bool walk_allows(void *direct, uint64_t root_pa, uint64_t va, unsigned access);

#endif /* KERNEL_TESTS_MACHINE_H */
