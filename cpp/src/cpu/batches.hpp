// SPDX-License-Identifier: Apache-2.0
// Steps of many ratings: all gradients of a batch are taken before any row moves. Full-batch descent has one batch.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "buffer.hpp"
#include "cpu/kernel_table.hpp"
#include "memory_plan.hpp"
#include "standardize.hpp"
#include "threads.hpp"

namespace warpfactor {

/// The input of make_batches(). V is float or double.
template <class V>
struct BatchInput {
  std::span<const std::int32_t> users, items;
  std::span<const V> values;
  std::span<const float> weights{};  ///< empty: all 1; ratings of weight 0 are left out
  RatingUnits units{};               ///< of the batches' values and weights
};

/// The ratings of all batches, twice: for each side, each batch's sorted by the side's rows. One thread takes a row's
/// gradient, with its ratings in a fixed order.
template <class T>
struct Batches {
  struct Side {
    std::vector<std::int32_t> rows;   ///< of the first batch, ascending, then of the second, ...
    std::vector<std::int64_t> begin;  ///< row rows[r] of its batch has the ratings begin[r] .. begin[r + 1]
    Buffer<std::int32_t> others;      ///< the other side's row of each rating
    Buffer<T> values;
    Buffer<float> weights;  ///< empty: all 1
    /// Tasks of about as many ratings each, none in two batches: task n has the rows tasks[n] .. tasks[n + 1], batch b
    /// the tasks batch_tasks[b] .. batch_tasks[b + 1].
    std::vector<std::int64_t> tasks, batch_tasks;
  };
  Side users, items;
  std::int64_t n_ratings = 0, batch_size = 1, n_batches = 0;
};

/// How many batches so many ratings make. Throws std::invalid_argument for more than int32 can number.
std::int64_t n_batches_of(std::int64_t n_ratings, std::int64_t batch_size);

/// Cuts the ratings, in an order drawn from the seed, into batches of `batch_size`; the last may be smaller. A single
/// batch keeps the order given. The result does not depend on the number of threads.
template <class T, class V>
Batches<T> make_batches(const BatchInput<V>& input, std::int64_t batch_size, std::uint64_t seed, ThreadTeam& team);

/// The rows that the steps change.
template <class T>
struct BatchModel {
  SideRows<T> users, items;
  std::int64_t n_factors, stride;
  bool penalty_once;  ///< see BatchRows
};

/// Takes the steps of batches. Its memory is that of the largest batch.
template <class T>
class BatchStepper {
 public:
  BatchStepper(const Kernels<T>& kernels, const Batches<T>& batches, const BatchModel<T>& model, ThreadTeam& team);

  /// From now on only the first `active_factors` factors are trained: all of them, or a multiple of 16.
  void use_factors(std::int64_t active_factors) { active_factors_ = active_factors; }
  /// One step for each batch, in the order given. All threads share a batch, and the bits are the same for any number
  /// of them. Returns the losses, each taken before the step of its batch.
  PassSums run_blocked(const std::vector<std::int32_t>& order, const StepSizes<T>& sizes);
  /// The same, but each thread takes whole batches. Threads race for rows that two batches share.
  PassSums run_hogwild(const std::vector<std::int32_t>& order, const StepSizes<T>& sizes);

 private:
  struct Scratch {
    Buffer<T> gradients, bias_gradients, weights;
  };
  void allocate(Scratch& scratch) const;
  std::int64_t n_tasks(std::int64_t batch) const;
  BatchRows<T> task(std::int64_t batch, std::int64_t number, Scratch& scratch, const StepSizes<T>& sizes) const;
  PassSums total() const;

  const Kernels<T>& kernels_;
  const Batches<T>& batches_;
  const BatchModel<T> model_;
  ThreadTeam& team_;
  std::int64_t active_factors_ = 0, max_rows_ = 0;
  std::vector<Scratch> scratch_;
  std::vector<PassSums> task_sums_;  ///< by task of the users' side, added up in that order
};

/// Tells what make_batches<T>() takes, and what of it stays.
template <class T>
void plan_batches(MemoryPlan& plan, const RatingCounts& counts, std::int64_t batch_size, int n_threads);
/// The rows of both sides in all batches, and of the largest, about.
struct BatchRowCounts {
  std::int64_t users = 0, items = 0, most = 0;
};
BatchRowCounts batch_rows(const RatingCounts& counts, std::int64_t batch_size);

}  // namespace warpfactor
