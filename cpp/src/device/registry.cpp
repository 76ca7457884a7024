// SPDX-License-Identifier: Apache-2.0
#include "device/registry.hpp"

#include <optional>
#include <utility>

namespace warpfactor {
namespace {

constexpr const char* kNotBuilt =
    "warpfactor was built without CUDA: use device='cpu', or build it where nvcc is installed with WARPFACTOR_CUDA=ON";

/// In a function, because other files' static objects register before a static object of this file would exist.
std::optional<CudaLibrary>& registered() {
  static std::optional<CudaLibrary> library;
  return library;
}

template <class T>
const CudaFunctions<T>& functions() {
  if (!registered()) throw CudaError(kNotBuilt);
  if constexpr (sizeof(T) == sizeof(float)) {
    return registered()->float_functions;
  } else {
    return registered()->double_functions;
  }
}

}  // namespace

void register_cuda(const CudaLibrary& library) { registered() = library; }

CudaStatus cuda_status() {
  if (!registered()) return {false, false, kNotBuilt};
  return registered()->status();
}

template <class T>
std::unique_ptr<Backend<T>> make_cuda_backend(const TrainParams& params, std::function<bool()> interrupted) {
  return functions<T>().make_backend(params, std::move(interrupted));
}
template std::unique_ptr<Backend<float>> make_cuda_backend<float>(const TrainParams&, std::function<bool()>);
template std::unique_ptr<Backend<double>> make_cuda_backend<double>(const TrainParams&, std::function<bool()>);

template <class T>
void cuda_select_best(const BestArgs<T>& args, std::uintptr_t stream) {
  functions<T>().select_best(args, stream);
}
template void cuda_select_best<float>(const BestArgs<float>&, std::uintptr_t);
template void cuda_select_best<double>(const BestArgs<double>&, std::uintptr_t);

bool cuda_is_twin() { return registered() && registered()->is_twin; }

}  // namespace warpfactor
