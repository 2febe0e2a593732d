/* SPDX-License-Identifier: MIT */
#define MMKIT_IMPLEMENTATION
#include <mmkit/mmkit.h>
