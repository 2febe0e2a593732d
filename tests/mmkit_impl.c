/* SPDX-License-Identifier: MIT
 *
 * tests/mmkit_impl.c: the one file of the test programs that holds mmkit's
 * implementation, as a kernel would have it.
 */
#define MMKIT_IMPLEMENTATION
#include "../mmkit/mmkit.h"
