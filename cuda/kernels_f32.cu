// SPDX-License-Identifier: Apache-2.0
#include "global_kernels.cuh"

namespace warpfactor {
WARPFACTOR_DEFINE_GLOBAL_KERNELS(float, float, WARPFACTOR_TILES)
}
