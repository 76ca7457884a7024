// SPDX-License-Identifier: Apache-2.0
// The selection of the best of scores that are on a CUDA device already, for the Python package.
#pragma once

#include <cstdint>

#include "kernel_args.hpp"

namespace warpfactor {

inline constexpr std::int32_t kMostSelected = 1024;  ///< BestArgs::n at most

/// Starts it on a stream (a cudaStream_t) of the current device; the arrays are the device's. Throws CudaError.
template <class T>
void cuda_select_best(const BestArgs<T>& args, std::uintptr_t stream);

/// Whether "the device" is the host, for tests.
bool cuda_is_twin();

}  // namespace warpfactor
