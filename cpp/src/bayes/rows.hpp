// SPDX-License-Identifier: Apache-2.0
// The rows of one side while they are sampled: what a sweep draws of them, and the prior that they share.
#pragma once

#include <cstdint>
#include <vector>

#include "bayes/draws.hpp"
#include "buffer.hpp"
#include "cpu/batches.hpp"
#include "memory_plan.hpp"
#include "threads.hpp"

namespace warpfactor {

/// p ~ N(mean, 1 / precision) of each factor and, last, of the bias: of rows, about what who-rated-what adds.
struct Prior {
  std::vector<double> means, precisions;
};

/// Streams of random numbers: one for each sweep, purpose and row.
class Streams {
 public:
  Streams(std::uint64_t seed, std::int32_t sweep)
      : seed_(SplitMix64(seed, kSweep, static_cast<std::uint64_t>(sweep)).next()) {}
  [[nodiscard]] Draws of(RandomPurpose purpose, std::int64_t row) const {
    return Draws(SplitMix64(seed_, purpose, static_cast<std::uint64_t>(row)));
  }
  [[nodiscard]] Draws of(RandomPurpose purpose, std::int64_t part, std::int64_t row) const {
    const std::uint64_t seed = SplitMix64(seed_, purpose, static_cast<std::uint64_t>(part)).next();
    return Draws(SplitMix64(seed, purpose, static_cast<std::uint64_t>(row)));
  }

 private:
  std::uint64_t seed_;
};

/// What draw_rows() works on.
template <class T>
struct RowScratch {
  Buffer<T> columns, errors, roots, numbers, normals;
};

template <class T>
class Rows {
 public:
  /// Draws the start of all rows that have ratings; the others stay zero.
  Rows(const typename Batches<T>::Side& rated, std::int32_t n_rows, std::int32_t n_factors, bool noise_by_row,
       RandomPurpose purpose, const Streams& streams, ThreadTeam& team);

  /// Rows that have ratings, ascending.
  [[nodiscard]] const std::vector<std::int32_t>& rated_rows() const { return rated_.rows; }
  [[nodiscard]] const typename Batches<T>::Side& ratings() const { return rated_; }
  [[nodiscard]] std::int32_t n_factors() const { return n_factors_; }
  [[nodiscard]] std::int64_t stride() const { return stride_; }
  [[nodiscard]] const Prior& prior() const { return prior_; }
  [[nodiscard]] const T* factors(std::int64_t row) const { return factors_.data() + row * stride_; }
  [[nodiscard]] T bias(std::int64_t row) const { return biases_[row]; }
  [[nodiscard]] const Buffer<T>& biases() const { return biases_; }
  /// a_u
  [[nodiscard]] double noise_precision(std::int64_t row) const {
    const double root = static_cast<double>(roots_[row]);
    return root * root;
  }

  /// The means over all rows that have ratings: of each factor and, last, of the bias.
  [[nodiscard]] std::vector<double> means(ThreadTeam& team) const;

  /// Gives each row prior means of its own, which are the prior's as yet.
  void add_own_means();
  [[nodiscard]] bool has_own_means() const { return own_means_.size() > 0; }
  [[nodiscard]] T* own_means(std::int64_t row) { return own_means_.data() + row * stride_; }
  [[nodiscard]] T& own_bias_mean(std::int64_t row) { return own_bias_means_[row]; }

  /// Draws all rows given the other side's. Returns the sum of squared errors, each times its weight and its rows'
  /// noise precisions. `residuals`, if given, gets the errors, by rating in the order of `rated`.
  double draw_rows(const Rows& other, double alpha, const Streams& streams, T* residuals,
                   std::vector<RowScratch<T>>& scratches, ThreadTeam& team);

  /// Draws the prior given the rows.
  void draw_prior(Draws& draws, ThreadTeam& team);

 private:
  double draw_row(std::int64_t at, const Rows& other, double alpha, Draws& draws, T* residuals, RowScratch<T>& scratch);

  const Kernels<T>& kernels_;
  const typename Batches<T>::Side& rated_;
  std::int32_t n_factors_;
  std::int64_t stride_;
  bool noise_by_row_;
  RandomPurpose purpose_;
  Prior prior_;
  Buffer<T> means_, precisions_;  ///< the prior's as the kernel reads them
  Buffer<T> factors_, biases_, roots_, own_means_, own_bias_means_;
};

/// Tells what the Rows of a side take, and what draw_rows() of both sides takes in all threads, which each have the
/// columns of the largest row.
template <class T>
void plan_rows(MemoryPlan& plan, std::int64_t n_rows, std::int32_t n_factors);
template <class T>
void plan_row_scratch(MemoryPlan& plan, const RatingCounts& counts, std::int32_t n_factors, int n_threads);
/// What add_own_means() takes.
template <class T>
void plan_own_means(MemoryPlan& plan, std::int64_t n_rows, std::int32_t n_factors);

/// kPriorNoise: shape and rate of a row's noise precision. 20 degrees of freedom gain where rows have many ratings and
/// cost little where they have few (shared prototype, 2026-11: ML-1M 0.8368 to 0.8329).
inline constexpr double kPriorNoise = 10;

}  // namespace warpfactor
