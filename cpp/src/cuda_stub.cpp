// SPDX-License-Identifier: Apache-2.0
// The answer of a build without CUDA.
#include "backend.hpp"
#include "warpfactor/runtime.hpp"

namespace warpfactor {
namespace {
constexpr const char* kNotBuilt =
    "warpfactor was built without CUDA: use device='cpu', or build it where nvcc is installed with WARPFACTOR_CUDA=ON";
}

CudaStatus cuda_status() { return {false, false, kNotBuilt}; }

template <class T>
std::unique_ptr<Backend<T>> make_cuda_backend(std::int32_t, std::function<bool()>) {
  throw CudaError(kNotBuilt);
}

template std::unique_ptr<Backend<float>> make_cuda_backend<float>(std::int32_t, std::function<bool()>);
template std::unique_ptr<Backend<double>> make_cuda_backend<double>(std::int32_t, std::function<bool()>);

}  // namespace warpfactor
