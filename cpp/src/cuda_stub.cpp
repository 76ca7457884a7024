// SPDX-License-Identifier: Apache-2.0
// The answer of a build without CUDA.
#include "backend.hpp"
#include "cuda_select.hpp"
#include "warpfactor/runtime.hpp"

namespace warpfactor {
namespace {
constexpr const char* kNotBuilt =
    "warpfactor was built without CUDA: use device='cpu', or build it where nvcc is installed with WARPFACTOR_CUDA=ON";
}

CudaStatus cuda_status() { return {false, false, kNotBuilt}; }

template <class T>
std::unique_ptr<Backend<T>> make_cuda_backend(const TrainParams&, std::function<bool()>) {
  throw CudaError(kNotBuilt);
}

template std::unique_ptr<Backend<float>> make_cuda_backend<float>(const TrainParams&, std::function<bool()>);
template std::unique_ptr<Backend<double>> make_cuda_backend<double>(const TrainParams&, std::function<bool()>);

template <class T>
void cuda_select_best(const BestArgs<T>&, std::uintptr_t) {
  throw CudaError(kNotBuilt);
}
template void cuda_select_best<float>(const BestArgs<float>&, std::uintptr_t);
template void cuda_select_best<double>(const BestArgs<double>&, std::uintptr_t);

bool cuda_is_twin() { return false; }

}  // namespace warpfactor
