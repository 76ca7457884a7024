// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <functional>
#include <vector>

#include "warpfactor/model.hpp"
#include "warpfactor/types.hpp"

namespace warpfactor {

/// What a caller may give beside the ratings; every part is optional.
template <class T>
struct TrainOptions {
  RatingsView validation{};  ///< same n_users and n_items as the ratings; evaluated after every epoch
  /// Initial P, n_users x n_factors row-major, in rating units (of a score: labels have none).
  std::span<const T> user_factors{};
  std::span<const T> item_factors{};                   ///< initial Q, n_items x n_factors row-major
  std::function<bool(const EpochReport&)> on_epoch{};  ///< after each epoch, calling thread; true stops training
  LossFunction<T> loss = nullptr;                      ///< for Loss::custom, which needs it
  PenaltyFunction<T> penalty = nullptr;                ///< h in place of the elastic net; not with an l1_ratio
  /// For Device::cuda with `loss` or `penalty`: the kernels with these compiled in, as CUfunctions. They are those of
  /// cuda/kernels.cuh: the pass (general if there is more to it than plain SGD with an L2 penalty), the batches'
  /// gradients and steps, and the evaluation.
  std::array<std::uintptr_t, 4> device_kernels{};
  std::function<bool()> interrupted{};  ///< polled on the calling thread every 50 ms; true throws Interrupted
};

template <class T>
struct TrainResult {
  Model<T> model;  ///< of `best_epoch`
  std::vector<EpochReport> history;
  std::int32_t best_epoch = 0;  ///< 1-based: lowest validation loss, or the last epoch without early stopping
  std::int32_t n_threads = 1;   ///< threads used
  std::string instruction_set;  ///< kernels used: baseline, avx2, avx512, or as sm_90 of a device
};

/// Which ratings make up each step of an epoch (0-based), in the order of the steps, for comparisons with other
/// programs: numbers of the ratings given. Throws std::invalid_argument where each rating makes a step of its own.
std::vector<std::vector<std::int64_t>> epoch_batches(const RatingsView& ratings, const TrainParams& params,
                                                     std::int32_t epoch);

/// Factorizes `ratings`. Defined for T = float and double.
/// Throws std::invalid_argument (bad input, names the argument), DivergedError, CudaError, Interrupted, std::bad_alloc.
template <class T>
TrainResult<T> train(const RatingsView& ratings, const TrainParams& params, const TrainOptions<T>& options = {});

}  // namespace warpfactor
