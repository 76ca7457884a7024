// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "warpfactor/params.hpp"
#include "warpfactor/types.hpp"

namespace warpfactor {

/// The score of (u, i) is x = global_mean + user_biases[u] + item_biases[i] + sum_f user_factors[u][f] *
/// item_factors[i][f], the predicted rating what `link` makes of it. T is float or double. Factors are row-major
/// without padding. Rows without a rating are zero, unless the caller gave the initial factors; their biases are
/// `start_bias`.
template <class T>
struct Model {
  std::int32_t n_users = 0;
  std::int32_t n_items = 0;
  std::int32_t n_factors = 0;
  double global_mean = 0;       ///< mu, see TrainParams; 0 without biases
  double rating_mean = 0;       ///< the (weighted) mean of the training ratings, with or without biases
  std::vector<T> user_factors;  ///< n_users x n_factors
  std::vector<T> item_factors;  ///< n_items x n_factors
  std::vector<T> user_biases;   ///< n_users
  std::vector<T> item_biases;   ///< n_items
  double start_bias = 0;        ///< from where biases started, and the best guess for a row that is not there
  Link link = Link::identity;

  /// The predicted rating; `user` and `item` must be in range.
  [[nodiscard]] T predict(std::int32_t user, std::int32_t item) const {
    const T* p = user_factors.data() + static_cast<std::int64_t>(user) * n_factors;
    const T* q = item_factors.data() + static_cast<std::int64_t>(item) * n_factors;
    T x = static_cast<T>(global_mean) + user_biases[static_cast<std::size_t>(user)] +
          item_biases[static_cast<std::size_t>(item)];
    for (std::int32_t f = 0; f < n_factors; ++f) x += p[f] * q[f];
    if (link == Link::probability) return 1 / (1 + std::exp(-x));
    if (link == Link::signed_probability) return 2 / (1 + std::exp(-x)) - 1;
    return x;
  }
};

/// One epoch as it ended. RMSEs are those of the predicted ratings, in the units of the ratings as given. Losses are
/// the mean of l(r, x) as `Loss` has it, in those units too (the squared loss without its half, so it is the squared
/// RMSE; huber's delta counts in standard deviations; labels count as -1 and 1).
struct EpochReport {
  std::int32_t epoch = 0;  ///< 1-based
  double seconds = 0;      ///< wall time of this epoch, its validation included
  double learning_rate = 0;
  /// Over the pass itself: each rating's error before its own update (on the CPU before the update of the first of
  /// eight), so it lags the model a little. During a warm-up of the factors that take part.
  double train_rmse = 0;
  double train_loss = 0;                                         ///< likewise
  double valid_rmse = std::numeric_limits<double>::quiet_NaN();  ///< after the epoch; NaN without validation
  double valid_loss = std::numeric_limits<double>::quiet_NaN();
};

/// Kernels of a CUDA device, as CUfunctions, with the caller's loss and penalty compiled in. They take the place of the
/// library's own; `pass` must do all that the parameters ask for.
struct DeviceKernels {
  std::uintptr_t pass = 0, batch_gradients = 0, batch_steps = 0, evaluate = 0;
};

/// What a caller may give beside the ratings; every part is optional.
template <class T>
struct TrainOptions {
  /// Evaluated after every epoch; same n_users and n_items as the ratings. An index of -1 is an unknown row. Ratings of
  /// rows that are unknown, or without a training rating (of weight > 0), are left out.
  RatingsView validation{};
  /// Initial P, n_users x n_factors row-major, in rating units (of a score: labels have none).
  std::span<const T> user_factors{};
  std::span<const T> item_factors{};                   ///< initial Q, n_items x n_factors row-major
  std::function<bool(const EpochReport&)> on_epoch{};  ///< after each epoch, calling thread; true stops training
  LossFunction<T> loss = nullptr;                      ///< for Loss::custom, which needs it
  PenaltyFunction<T> penalty = nullptr;                ///< h in place of the elastic net; not with an l1_ratio
  DeviceKernels device_kernels{};                      ///< for Device::cuda with `loss` or `penalty`
  std::function<bool()> interrupted{};  ///< polled on the calling thread every 50 ms; true throws Interrupted
};

template <class T>
struct TrainResult {
  Model<T> model;  ///< of `best_epoch`
  std::vector<EpochReport> history;
  std::int32_t best_epoch = 0;  ///< 1-based: lowest validation loss, or the last epoch without early stopping
  std::int32_t n_threads = 1;   ///< threads used
  std::string instruction_set;  ///< kernels used: baseline, avx2, avx512, or as sm_90 of a device
  std::vector<std::uint32_t> user_counts, item_counts;  ///< ratings of each row, without those of weight 0
  std::int64_t n_ratings = 0;                           ///< ratings without those of weight 0
  float rating_min = 0, rating_max = 0;                 ///< of those
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
