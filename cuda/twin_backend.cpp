// SPDX-License-Identifier: Apache-2.0
// The twin as a CUDA library (WARPFACTOR_CUDA=TWIN), which is for tests: device="cuda" is the host.
#include "answer_device.hpp"
#include "device/device_backend.hpp"
#include "device/registry.hpp"
#include "twin_device.hpp"

namespace warpfactor {
namespace {

CudaStatus status() { return {true, true, ""}; }

template <class T>
std::unique_ptr<Backend<T>> make_backend(const TrainParams& params, std::function<bool()> interrupted) {
  if (params.device_index > 0) {
    throw CudaError("there is no CUDA device " + std::to_string(params.device_index) +
                    ": the twin build has one, 0, which is the host");
  }
  return make_device_backend<T>(std::make_unique<TwinDevice>(twin_limits), params, std::move(interrupted));
}

template <class T>
void select_best(const BestArgs<T>& args, std::uintptr_t) {
  twin_best(args);
}

}  // namespace

/// Called by cuda/register_cuda.cpp.
void link_cuda() {
  register_cuda({status,
                 true,
                 twin_find_codes,
                 {make_backend<float>, select_best<float>, twin_answers<float>()},
                 {make_backend<double>, select_best<double>, twin_answers<double>()}});
}

}  // namespace warpfactor
