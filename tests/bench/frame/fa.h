/* SPDX-License-Identifier: MIT
 *
 * tests/bench/frame/fa.h: the contract of a frame allocator under test
 *
 * A peer is one header, fa_NAME.h, compiled in with -include. It defines
 *   FA_NAME       string
 *   FA_MAX_ORDER  largest order it can allocate
 *   FA_MT         1 if fa_alloc and fa_free may run on several threads
 * and these static functions (core = 0..nr_cores - 1, order = log2 pages):
 *   void    fa_init(size_t nr_frames, int nr_cores);  all are free afterwards
 *   void    fa_fini(void);
 *   int64_t fa_alloc(int core, unsigned order);       its name, or -1
 *   void    fa_free(int core, int64_t frame, unsigned order);
 *   size_t  fa_meta_bytes(void);                      what is per core included
 *   void    fa_drain(void);                           give per-core caches back
 */
#ifndef FA_H
#define FA_H
#include "../bench.h"
#endif
