// SPDX-License-Identifier: Apache-2.0
// The preparation of ratings on a CUDA device: see the functions of the same names of Accelerator.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "device/prepare.hpp"

namespace warpfactor {

void cuda_count(const CountArgs& args, cudaStream_t stream);
void cuda_prepare(const PrepareStep& step, std::int64_t n, cudaStream_t stream);
std::int64_t cuda_sorting_bytes(std::int64_t n);
bool cuda_sort(const SortArgs& args, cudaStream_t stream);
void cuda_choose(const PrepareChoice& choice, const ChooseArgs& args, cudaStream_t stream);

}  // namespace warpfactor
