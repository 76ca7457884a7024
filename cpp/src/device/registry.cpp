// SPDX-License-Identifier: Apache-2.0
#include "device/registry.hpp"

#include <optional>
#include <string>
#include <utility>

namespace warpfactor {
namespace {

constexpr const char* kNotBuilt =
    "warpfactor was built without CUDA: use device='cpu', or build it where nvcc is installed with WARPFACTOR_CUDA=ON";

struct Registry {
  std::optional<CudaLibrary> library;
  std::string missing = kNotBuilt;  ///< why there is none
};

/// In a function, because other files' static objects register before a static object of this file would exist.
Registry& registry() {
  static Registry kept;
  return kept;
}

const CudaLibrary& library() {
  const CudaLibrary* const found = registered_cuda();
  if (found == nullptr) throw CudaError(registry().missing);
  return *found;
}

template <class T>
const CudaFunctions<T>& functions() {
  if constexpr (sizeof(T) == sizeof(float)) {
    return library().float_functions;
  } else {
    return library().double_functions;
  }
}

}  // namespace

void register_cuda(const CudaLibrary& library) { registry().library = library; }

void explain_missing_cuda(std::string reason) { registry().missing = std::move(reason); }

const CudaLibrary* registered_cuda() { return registry().library ? &*registry().library : nullptr; }

CudaStatus cuda_status() {
  const CudaLibrary* const library = registered_cuda();
  if (library == nullptr) return {false, false, registry().missing};
  return library->status();
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

template <class T>
const AnswerFunctions<T>& cuda_answers() {
  return functions<T>().answers;
}
template const AnswerFunctions<float>& cuda_answers<float>();
template const AnswerFunctions<double>& cuda_answers<double>();

void cuda_find_codes(const FindArgs& args, std::uintptr_t stream) { library().find_codes(args, stream); }

bool cuda_is_twin() { return registered_cuda() != nullptr && registered_cuda()->is_twin; }

}  // namespace warpfactor
