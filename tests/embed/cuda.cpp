// SPDX-License-Identifier: Apache-2.0
// Trains on a CUDA device, or is told why there is none; the program is the same either way.
#include <warpfactor/runtime.hpp>
#include <warpfactor/train.hpp>

#include <cstdio>
#include <string>
#include <vector>

int main() {
  const std::vector<std::int32_t> users{0, 0, 1, 1}, items{0, 1, 0, 1};
  const std::vector<float> values{1, 2, 3, 4};
  warpfactor::TrainParams params;
  params.n_factors = 2;
  params.device = warpfactor::Device::cuda;
  const warpfactor::CudaStatus status = warpfactor::cuda_status();
  std::printf("built %d, usable %d: %s\n", status.built, status.usable, status.reason.c_str());
  try {
    const auto result = warpfactor::train<float>(
        {.users = users, .items = items, .values = values, .n_users = 2, .n_items = 2}, params);
    std::printf("trained on %s\n", result.instruction_set.c_str());
    return status.usable ? 0 : 1;
  } catch (const warpfactor::CudaError& error) {
    std::printf("%s\n", error.what());
    return status.built && !status.usable && status.reason == error.what() ? 0 : 1;
  }
}
