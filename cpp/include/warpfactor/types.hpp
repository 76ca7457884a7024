// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>

namespace warpfactor {

/// Ratings as borrowed COO triples: entry n says that user `users[n]` gave item `items[n]` the rating `values[n]`.
/// Nothing is copied from or written to the caller's memory; it must stay valid during the call it is passed to.
struct RatingsView {
  std::span<const std::int32_t> users;  ///< 0 .. n_users - 1
  std::span<const std::int32_t> items;  ///< 0 .. n_items - 1
  std::span<const float> values;        ///< finite
  std::span<const float> weights{};     ///< finite and >= 0; empty: every rating weighs 1
  std::int32_t n_users = 0;
  std::int32_t n_items = 0;

  [[nodiscard]] std::int64_t size() const noexcept { return static_cast<std::int64_t>(values.size()); }
};

/// How the learning rate falls from epoch to epoch (t = 0 .. n_epochs - 1).
enum class Schedule {
  constant,      ///< eta
  inverse_time,  ///< eta / (1 + t / 10)
  linear,        ///< eta * (1 - t / n_epochs)
  cosine,        ///< eta * (1 + cos(pi t / n_epochs)) / 2
};

/// How a gradient becomes a step. With eta from the schedule, w a rating's weight, and g = w * (dl/dz^ * q_i + reg *
/// p_u) the gradient by a row (likewise for items, and for the row's bias):
enum class Optimizer {
  sgd,      ///< p_u <- p_u - eta * g
  adagrad,  ///< p_u <- p_u - eta / sqrt(1 + G_u) * g, then G_u += the mean of g^2 over the row's factors and bias
};

/// How threads share the work of an epoch.
enum class Parallel {
  blocked,  ///< no two threads ever touch the same row: the same bits for any number of threads
  hogwild,  ///< lock-free; threads may race on a row (Niu et al. 2011), results vary between runs
};

enum class Device { cpu, cuda };

/// Everything a user may set. The defaults here are the only ones; Python reads them through the binding.
///
/// Training minimizes, over the ratings z = (r - mu) / s,
///   sum_n w_n / 2 * [ (z - z^)^2 + reg * (|p_u|^2 + |q_i|^2) + reg_bias * (b_u^2 + b_i^2) ],
/// where mu is their mean (0 without biases) and s their standard deviation, but at least a fifth of the root mean
/// square of r - mu (s = 1 without `normalize`). Both penalties count once per rating seen, and learning rate and
/// penalties mean the same on any rating scale. Steps are limited: in them the error counts up to five standard
/// deviations of the ratings, or twice their root mean square about mu if that is more (not where the caller gives the
/// initial factors), and eta * w_n up to max(eta, 1/4).
struct TrainParams {
  std::int32_t n_factors = 64;  ///< 1 .. 1024
  std::int32_t n_epochs = 20;   ///< >= 0 (0 returns the initial model)
  double learning_rate = 0.04;  ///< eta > 0
  double reg = 0.04;            ///< lambda of the factors, >= 0
  double reg_bias = 0.05;       ///< lambda of the biases, >= 0
  bool biases = true;           ///< r^ = mu + b_u + b_i + p.q; false: r^ = p.q
  bool normalize = true;        ///< train on ratings divided by their standard deviation
  double init_scale = 0.01;     ///< standard deviation of the uniform random start of P and Q
  Optimizer optimizer = Optimizer::sgd;
  Schedule schedule = Schedule::linear;
  Parallel parallel = Parallel::blocked;
  Device device = Device::cpu;
  std::int32_t device_index = 0;
  std::int32_t n_threads = 0;  ///< 0: available_threads()
  std::uint64_t seed = 0;
  /// Epochs without a better validation RMSE before stopping and going back to the best one; 0: run all epochs and keep
  /// the last.
  std::int32_t patience = 3;
};

/// Training left the region where the numbers mean anything.
class DivergedError : public std::runtime_error {
 public:
  DivergedError(std::int32_t epoch, const std::string& what) : std::runtime_error(what), epoch_(epoch) {}
  [[nodiscard]] std::int32_t epoch() const noexcept { return epoch_; }  ///< 1-based

 private:
  std::int32_t epoch_;
};

/// The CUDA device cannot do what was asked; the text says why and what to do.
class CudaError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The caller's `interrupted` hook returned true.
class Interrupted : public std::runtime_error {
 public:
  Interrupted() : std::runtime_error("interrupted") {}
};

}  // namespace warpfactor
