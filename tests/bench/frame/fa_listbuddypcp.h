/* SPDX-License-Identifier: MIT */
#define FA_PCP 63
#include "fa_listbuddy.h"
