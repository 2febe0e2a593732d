/* SPDX-License-Identifier: MIT */
/* absl::btree_map 20220623: 256-byte nodes, <u64,{u64,u64}> slots,
 * linear/binary search in node. */
#include "oc.h"
#include "absl/container/btree_map.h"
#define OC_NAME "absl::btree_map"
struct smv {
	u64 size, val;
};
static absl::btree_map<u64, smv> *mp;
#include "oc_cxxmap.h"
