// SPDX-License-Identifier: Apache-2.0
// Training by batches: the ratings of a step are drawn together, and all of their gradients are taken before any row
// moves. Full-batch descent is the case of one batch.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "buffer.hpp"
#include "cpu/kernel_table.hpp"
#include "standardize.hpp"
#include "threads.hpp"

namespace warpfactor {

/// What the batches are made of. V is float or double.
template <class V>
struct BatchInput {
  std::span<const std::int32_t> users, items;
  std::span<const V> values;
  std::span<const float> weights{};  ///< empty: all 1; ratings of weight 0 are left out
  RatingUnits units{};               ///< of the batches' values and weights
};

/// The ratings of all batches, for each side sorted by its rows inside each batch: a row's gradient is the work of one
/// thread, with the ratings in a fixed order.
template <class T>
struct Batches {
  struct Side {
    std::vector<std::int32_t> rows;   ///< those of a batch, ascending, then those of the next
    std::vector<std::int64_t> begin;  ///< rows.size() + 1: where the ratings of each begin
    Buffer<std::int32_t> others;      ///< the other side's row of each rating
    Buffer<T> values;
    Buffer<float> weights;  ///< empty: all 1
    /// Rows cut into parts of about as many ratings each, no part in two batches: part n has the rows parts[n] ..
    /// parts[n + 1], batch b the parts batch_parts[b] .. batch_parts[b + 1].
    std::vector<std::int64_t> parts, batch_parts;
  };
  Side users, items;
  std::int64_t n_ratings = 0, batch_size = 1, n_batches = 0;
};

/// Deals the ratings, in an order drawn from the seed, into batches of `batch_size`; the last may be smaller. With one
/// batch they stay in the order given. The same for any number of threads.
template <class T, class V>
Batches<T> make_batches(const BatchInput<V>& input, std::int64_t batch_size, std::uint64_t seed, ThreadTeam& team);

/// Both sides' rows, as the steps change them.
template <class T>
struct BatchModel {
  SideRows<T> users, items;
  std::int64_t n_factors, stride;
  bool once;  ///< see BatchRows
};

/// Takes the steps. Its buffers are as large as the largest batch needs.
template <class T>
class BatchStepper {
 public:
  BatchStepper(const Kernels<T>& kernels, const Batches<T>& batches, const BatchModel<T>& model, ThreadTeam& team);

  /// How many of the factors take part from now on: the model's, or a multiple of 16.
  void use_factors(std::int64_t active_factors) { active_factors_ = active_factors; }
  /// One step for each batch, in the order given; all threads share a batch. Returns the losses, each rating's taken
  /// before the step of its batch. The same bits for any number of threads.
  PassSums run_together(const std::vector<std::int32_t>& order, const StepSizes<T>& sizes);
  /// Each thread takes batches of its own, and they race on rows that two batches share.
  PassSums run_apart(const std::vector<std::int32_t>& order, const StepSizes<T>& sizes);

 private:
  struct Desk {
    Buffer<T> gradients, bias_gradients, weights;
  };
  void make_desk(Desk& desk) const;
  std::int64_t n_parts(std::int64_t batch) const;
  BatchRows<T> part(std::int64_t batch, std::int64_t number, Desk& desk, const StepSizes<T>& sizes) const;
  PassSums total() const;

  const Kernels<T>& kernels_;
  const Batches<T>& batches_;
  const BatchModel<T> model_;
  ThreadTeam& team_;
  std::int64_t active_factors_ = 0, most_rows_ = 0;
  std::vector<Desk> desks_;
  std::vector<PassSums> part_sums_;  ///< by part of the users' side, added up in that order
};

}  // namespace warpfactor
