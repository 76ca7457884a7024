// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime_api.h>

#include <string>

#include "warpfactor/types.hpp"

namespace warpfactor {

/// Throws CudaError unless the call succeeded. `doing`: what the call was for.
inline void cuda_check(cudaError_t error, const char* doing) {
  if (error == cudaSuccess) return;
  (void)cudaGetLastError();  // clears the error, which the next call would report again
  throw CudaError(std::string("CUDA failed while ") + doing + ": " + cudaGetErrorString(error) + " (" +
                  cudaGetErrorName(error) + ")");
}

}  // namespace warpfactor
