/* SPDX-License-Identifier: MIT
 * tests/bench/map/map_bench.cpp: the same for containers of C++ */
#include "map_bench.c"
