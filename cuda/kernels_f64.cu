// SPDX-License-Identifier: Apache-2.0
#include "global_kernels.cuh"

namespace warpfactor {
WARPFACTOR_DEFINE_GLOBAL_KERNELS(double, double, WARPFACTOR_TILES)
}
