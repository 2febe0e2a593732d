/* SPDX-License-Identifier: MIT */
#include "oc.h"
#include <map>
#define OC_NAME "std::map"
struct smv {
	u64 size, val;
};
static std::map<u64, smv> *mp;
#include "oc_cxxmap.h"
