// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>

#include "backend.hpp"
#include "device/accelerator.hpp"
#include "memory_plan.hpp"

namespace warpfactor {

/// Trains on an accelerator. T = double stores and computes in double; T = float computes in float and stores the
/// factors in half precision if params.half.
template <class T>
std::unique_ptr<Backend<T>> make_device_backend(std::unique_ptr<Accelerator> accelerator, const TrainParams& params,
                                                std::function<bool()> interrupted);

/// Tells what upload() takes of the host and of the device, and what of it stays. `params` are resolved. What of the
/// device's memory depends on the device, a few bytes for each tile that runs at once, is left out.
inline constexpr const char* kUploadsPart = "pinned buffers for files";  ///< those of files stay until release()
template <class T>
void plan_device_upload(MemoryPlan& plan, const RatingCounts& counts, const TrainParams& params, FitMemory& memory);
template <class T>
void plan_device_download(MemoryPlan& plan, const RatingCounts& counts, const TrainParams& params);

}  // namespace warpfactor
