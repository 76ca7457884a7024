// SPDX-License-Identifier: Apache-2.0
// What a device must do for the trainer, which knows no device.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "standardize.hpp"
#include "survey.hpp"
#include "warpfactor/train.hpp"

namespace warpfactor {

/// The factors that training starts from, in z units: each writes those of one row, and any thread may call it. Biases
/// start from Standardization::start_bias.
template <class T>
struct Start {
  std::function<void(std::int64_t row, T* to)> user, item;
};

/// Weighted means over ratings, in z units: of LossTerms::reported and of LossTerms::square.
struct MeanLoss {
  double loss, square;
};

/// Whole vectors on every device.
inline constexpr std::int32_t kWarmupFactors = 16;

template <class T>
class Backend {
 public:
  virtual ~Backend() = default;

  /// Takes the ratings and the start. Neither is used after the return, nor are the options, but for the caller's
  /// functions.
  virtual void upload(const RatingsView& ratings, const Survey& rated, const Standardization& z, const Start<T>& start,
                      const TrainParams& params, const TrainOptions<T>& options) = 0;
  /// One pass; returns the losses over it. `epoch` (0-based) and the seed fix the order. It trains the
  /// first `active_factors` factors as if there were no others: all of them, or a multiple of kWarmupFactors.
  virtual MeanLoss run_epoch(std::int32_t epoch, double learning_rate, std::int32_t active_factors) = 0;
  /// The losses over the validation ratings, of the model with all factors.
  virtual MeanLoss evaluate() = 0;
  /// Remembers the present factors, or goes back to those last remembered.
  virtual void keep() = 0;
  virtual void restore() = 0;
  /// The factors and biases into the model's arrays, which are as long as they must be, in z units.
  virtual void download(Model<T>& model) = 0;

  [[nodiscard]] virtual std::int32_t n_threads() const = 0;
  [[nodiscard]] virtual std::string instruction_set() const = 0;
};

template <class T>
std::unique_ptr<Backend<T>> make_cpu_backend(std::int32_t n_threads, std::function<bool()> interrupted);

}  // namespace warpfactor
