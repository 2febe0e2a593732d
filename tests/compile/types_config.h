/* SPDX-License-Identifier: MIT
 *
 * tests/compile/types_config.h: a kernel whose integer types are its own, and
 * clash with those of the compiler's headers: MMKIT_PORT_TYPES, -nostdinc.
 */
#ifndef TESTS_TYPES_CONFIG_H
#define TESTS_TYPES_CONFIG_H

#define MMKIT_PORT_TYPES

typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef unsigned int uint32_t;
typedef unsigned long long uint64_t;
typedef char int8_t;
typedef short int16_t;
typedef int int32_t;
typedef long long int64_t;
typedef __UINTPTR_TYPE__ uintptr_t;
typedef __SIZE_TYPE__ size_t;

#if !defined(__STDC_VERSION__) || __STDC_VERSION__ <= 201710L
typedef _Bool bool;
#define true 1
#define false 0
#endif
#define NULL ((void *)0)
#define offsetof(type, member) __builtin_offsetof(type, member)
#define UINT64_C(x) x##ull
#define UINT8_MAX 0xffu
#define UINT16_MAX 0xffffu
#define UINT32_MAX 0xffffffffu
#define UINT64_MAX 0xffffffffffffffffull
#define SIZE_MAX __SIZE_MAX__
#define UINTPTR_MAX __UINTPTR_MAX__

#endif
