/* SPDX-License-Identifier: MIT
 * All that mmkit asks of this kernel: one CPU, RAM mapped at KERNEL_BASE. */
#ifndef VENDOR_MMKIT_PORT_H
#define VENDOR_MMKIT_PORT_H

#include "kernel.h"

#define MMKIT_PORT_VERSION 1
#define MMKIT_PAGE_SHIFT 12
#define MMKIT_PHYS_TO_PTR(pa) ((void *)(uintptr_t)((pa) + KERNEL_BASE))
#define MMKIT_PTR_TO_PHYS(ptr) ((uint64_t)(uintptr_t)(ptr)-KERNEL_BASE)
#define MMKIT_PANIC(msg) panic(msg) /* a printf-like one: panic("%s", msg) */
#define MMKIT_PORT_UNIPROCESSOR

#ifdef __aarch64__
#define MMKIT_PMAP_H "../../ports/aarch64/mmkit_pmap.h"
#else
#define MMKIT_PMAP_H "../../ports/x86_64/mmkit_pmap.h"
#define MMKIT_KERNEL_ROOT_PA kernel_root_pa
#endif

#endif
