/* SPDX-License-Identifier: MIT
 *
 * tests/bench/map/mmkit_port.h: the least a port can be. The btree needs
 * no frames: only a way to stop.
 */
#ifndef BENCH_MAP_MMKIT_PORT_H
#define BENCH_MAP_MMKIT_PORT_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define MMKIT_PORT_VERSION 1
#define MMKIT_PORT_UNIPROCESSOR
#define MMKIT_PAGE_SHIFT 12
#define MMKIT_PHYS_TO_PTR(pa) ((void *)(uintptr_t)(pa))
#define MMKIT_PTR_TO_PHYS(ptr) ((uint64_t)(uintptr_t)(ptr))
#define MMKIT_PANIC(msg) (fputs(msg "\n", stderr), abort())

#endif
