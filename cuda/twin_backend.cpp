// SPDX-License-Identifier: Apache-2.0
// The answer of a twin build (WARPFACTOR_CUDA=TWIN), which is for tests: device="cuda" is the host.
#include "cuda_select.hpp"
#include "device_backend.hpp"
#include "twin_device.hpp"
#include "warpfactor/runtime.hpp"

namespace warpfactor {

CudaStatus cuda_status() { return {true, true, ""}; }

template <class T>
std::unique_ptr<Backend<T>> make_cuda_backend(const TrainParams& params, std::function<bool()> interrupted) {
  if (params.device_index > 0) {
    throw CudaError("there is no CUDA device " + std::to_string(params.device_index) +
                    ": the twin build has one, 0, which is the host");
  }
  return make_device_backend<T>(std::make_unique<TwinDevice>(twin_limits), params, std::move(interrupted));
}

template std::unique_ptr<Backend<float>> make_cuda_backend<float>(const TrainParams&, std::function<bool()>);
template std::unique_ptr<Backend<double>> make_cuda_backend<double>(const TrainParams&, std::function<bool()>);

template <class T>
void cuda_select_best(const BestArgs<T>& args, std::uintptr_t) {
  twin_best(args);
}
template void cuda_select_best<float>(const BestArgs<float>&, std::uintptr_t);
template void cuda_select_best<double>(const BestArgs<double>&, std::uintptr_t);

bool cuda_is_twin() { return true; }

}  // namespace warpfactor
