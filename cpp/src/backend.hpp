// SPDX-License-Identifier: Apache-2.0
// What a device must do for the trainer, which knows no device.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "survey.hpp"
#include "warpfactor/train.hpp"

namespace warpfactor {

/// How the trainer's numbers relate to the caller's: z = (r - shift) / scale, and weights of mean 1. Factors are in z
/// units on the device.
struct Standardization {
  double shift = 0;
  double scale = 1;
  double weight_scale = 1;
  double max_slope = 0;  ///< in z units: where the loss's slope is clipped
};

template <class T>
class Backend {
 public:
  virtual ~Backend() = default;

  /// Takes the ratings and the model, whose factors and biases are in z units. Neither is used after the return.
  virtual void upload(const RatingsView& ratings, const Survey& rated, const RatingsView& validation,
                      const Standardization& z, const Model<T>& model, const TrainParams& params) = 0;
  /// One SGD pass; returns the weighted mean squared error over it, in z units. `epoch` (0-based) and the seed fix the
  /// order.
  virtual double run_epoch(std::int32_t epoch, double learning_rate) = 0;
  /// Weighted mean squared error over the validation ratings, in z units.
  virtual double evaluate() = 0;
  /// Remembers the present factors, or goes back to those last remembered.
  virtual void keep() = 0;
  virtual void restore() = 0;
  /// The factors and biases into the model's arrays, in z units.
  virtual void download(Model<T>& model) = 0;

  [[nodiscard]] virtual std::int32_t n_threads() const = 0;
  [[nodiscard]] virtual std::string instruction_set() const = 0;
};

template <class T>
std::unique_ptr<Backend<T>> make_cpu_backend(std::int32_t n_threads, std::function<bool()> interrupted);

/// Throws CudaError where CUDA cannot be used.
template <class T>
std::unique_ptr<Backend<T>> make_cuda_backend(std::int32_t device_index, std::function<bool()> interrupted);

}  // namespace warpfactor
