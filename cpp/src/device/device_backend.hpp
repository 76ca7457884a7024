// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>

#include "backend.hpp"
#include "device/accelerator.hpp"

namespace warpfactor {

/// Trains on an accelerator. T = double stores and computes in double; T = float computes in float and stores the
/// factors in half precision if params.half.
template <class T>
std::unique_ptr<Backend<T>> make_device_backend(std::unique_ptr<Accelerator> accelerator, const TrainParams& params,
                                                std::function<bool()> interrupted);

}  // namespace warpfactor
