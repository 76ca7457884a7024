// SPDX-License-Identifier: Apache-2.0
// The CUDA library, if one is linked in. The core knows no CUDA; it uses what has registered itself here.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "backend.hpp"
#include "device/answer_args.hpp"
#include "device/kernel_args.hpp"
#include "warpfactor/runtime.hpp"

namespace warpfactor {

inline constexpr std::int32_t kMostSelected = 1024;  ///< BestArgs::n at most

/// A CUDA library's functions for numbers of type T.
template <class T>
struct CudaFunctions {
  /// Throws CudaError if CUDA cannot be used.
  std::unique_ptr<Backend<T>> (*make_backend)(const TrainParams& params, std::function<bool()> interrupted);
  /// Starts the selection of the best scores on a stream (a cudaStream_t) of the current device; the arrays are the
  /// device's. Throws CudaError.
  void (*select_best)(const BestArgs<T>& args, std::uintptr_t stream);
  AnswerFunctions<T> answers;
};

struct CudaLibrary {
  CudaStatus (*status)();
  bool is_twin;                                                     ///< the host is in the device's place, for tests
  void (*find_codes)(const FindArgs& args, std::uintptr_t stream);  ///< as AnswerFunctions
  CudaFunctions<float> float_functions;
  CudaFunctions<double> double_functions;
};

/// Called once, before main(), by the source file that a program with CUDA is linked with (cuda/register_cuda.cpp), or
/// when a library with CUDA is loaded (the wheel warpfactor-cuda).
void register_cuda(const CudaLibrary& library);
/// Says why there is none, and what to do, in place of the usual words. Ignored once there is one.
void explain_missing_cuda(std::string reason);
/// nullptr if there is none.
const CudaLibrary* registered_cuda();

/// The backend of the registered library. Throws CudaError if there is none or it cannot be used.
template <class T>
std::unique_ptr<Backend<T>> make_cuda_backend(const TrainParams& params, std::function<bool()> interrupted);

template <class T>
void cuda_select_best(const BestArgs<T>& args, std::uintptr_t stream);

/// Kernels of the registered library. Throws CudaError if there is none.
template <class T>
const AnswerFunctions<T>& cuda_answers();
void cuda_find_codes(const FindArgs& args, std::uintptr_t stream);

bool cuda_is_twin();

}  // namespace warpfactor
