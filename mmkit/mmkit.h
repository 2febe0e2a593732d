/* SPDX-License-Identifier: MIT
 *
 * mmkit/mmkit.h: all of mmkit, in reading order
 *
 * WHAT    Every floor, bottom first; each uses only words of the ones before.
 *         A kernel includes this file, or only the headers it wants: each
 *         stands alone. One C file of the kernel defines MMKIT_IMPLEMENTATION
 *         before the include and so holds the code.
 * LAYER   above all floors
 * LOCKS   none
 * COST    none
 * SOURCE  own
 */

/* No guard: every header has its own two, and a second inclusion with
 * MMKIT_IMPLEMENTATION defined must reach all of them. */

/* base: words and plain structures */
#include "base/base.h"
#include "base/port.h"
#include "base/list.h"
#include "base/bitmap.h"
#include "base/btree_node.h"
#include "base/btree_gap.h"
#include "base/btree.h"
#include "base/btree_read.h"
#include "base/treap.h"
#include "base/btree_best.h"

/* phys: frames, who may have how many, and the names of such rights */
#include "phys/table.h"
#include "phys/buddy.h"
#include "phys/store.h"
#include "phys/verify.h"
#include "phys/frame.h"
#include "phys/dump.h"
#include "phys/census.h"
#include "phys/pin.h"
#include "phys/run.h"
#include "phys/move.h"
#include "phys/compact.h"
#include "phys/handle.h"
#include "phys/control.h"
#include "phys/cframe.h"
#include "phys/container.h"
#include "phys/container_map.h"
#include "phys/container_copy.h"
#include "phys/physmem.h"

/* kva: small objects, ranges of addresses */
#include "kva/slab.h"
#include "kva/pool.h"
#include "kva/paid.h"
#include "kva/range.h"
#include "kva/saved.h"
#include "kva/segment.h"

/* pmap: translations */
#include "pmap/table.h"
#include "pmap/half.h"
#include "pmap/tag.h"
#include "pmap/gather.h"
#include "pmap/rmap.h"
#include "pmap/super.h"
#include "pmap/page.h"
#include "pmap/check.h"
#include "pmap/enter.h"
#include "pmap/pmap.h"

/* vm: address spaces */
#include "vm/vm.h"
#include "vm/anon.h"
#include "vm/amap.h"
#include "vm/object.h"
#include "vm/map.h"
#include "vm/submap.h"
#include "vm/reshape.h"
#include "vm/remap.h"
#include "vm/fault.h"
#include "vm/inherit.h"
#include "vm/move.h"
#include "vm/start.h"
#include "vm/check.h"

/* pager: where pages come from */
#include "pager/zero.h"
#include "pager/file.h"
#include "pager/device.h"
#include "pager/container.h"

/* face: what system calls want */
#include "face/mapping.h"
#include "face/task.h"
#include "face/selftest_tier0.h"
#include "face/selftest.h"
