#define MMKIT_IMPLEMENTATION
#include "../../mmkit/mmkit.h"
