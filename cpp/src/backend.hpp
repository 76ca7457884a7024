// SPDX-License-Identifier: Apache-2.0
// What the trainer asks of a device. The trainer itself knows none.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "incidence.hpp"
#include "memory_plan.hpp"
#include "standardize.hpp"
#include "survey.hpp"
#include "warpfactor/train.hpp"

namespace warpfactor {

/// Writes the factors that training starts from, in z units, of one row, and returns its bias; any thread may call it.
template <class T>
struct Start {
  using Row = std::function<T(std::int64_t row, T* to)>;
  Row user, item;
};

/// Weighted means over ratings, in z units: of LossTerms::reported and of LossTerms::square.
struct MeanLoss {
  double loss, square;
};

/// Rows of numbers that training remembers, where a backend has them.
template <class T>
struct StateRows {
  std::string name;
  T* data;  ///< internal rows, `stride` apart; nullptr where only shapes are asked for
  std::int64_t n_rows, width, stride;
  std::span<const std::int32_t> position{};  ///< the internal row of each external one; empty: the same
  bool optional = false;                     ///< where there is none to write, the rows stay as they are
};
template <class T>
using StateVisit = std::function<void(const StateRows<T>&)>;
enum class StateAccess { shapes, read, write };

/// The factors of a warm-up are a multiple of this: whole vectors on every device.
inline constexpr std::int32_t kWarmupFactors = 16;

template <class T>
class Backend {
 public:
  virtual ~Backend() = default;

  /// The survey of the ratings, for a device that takes them up now, as they are given, to prepare them itself; it
  /// keeps no view of them. Nothing: the host surveys them. Throws as warpfactor::survey().
  virtual std::optional<Survey> take(const RatingSource& /*ratings*/, const char* /*argument*/,
                                     const TrainParams& /*params*/, ThreadTeam& /*team*/) {
    return std::nullopt;
  }
  /// Throws CudaError if a device has certainly too little memory for such a fit.
  virtual void require_device_memory(const FitMemory& /*least*/, const TrainParams& /*params*/) {}
  /// Takes the ratings and the start. After the return it uses neither them nor the options, except user functions.
  /// `params` are resolved; `pairs` are those without ratings that count for prior means.
  virtual void upload(const RatingSource& ratings, const Survey& rated, const Standardization& z, const Start<T>& start,
                      const TrainParams& params, const TrainOptions<T>& options, const RatingsView& pairs) = 0;
  /// One pass; returns its losses. `epoch` (from 0) and the seed fix the order. Trains the first `active_factors`
  /// factors, all of them or a multiple of kWarmupFactors; the others stay as they are.
  virtual MeanLoss run_epoch(std::int32_t epoch, double learning_rate, std::int32_t active_factors) = 0;
  /// Moves the prior means towards where who rated what says that the rows are, for those who have some.
  virtual void update_means(std::int32_t active_factors) = 0;
  /// The losses over the validation ratings, with all factors.
  virtual MeanLoss evaluate() = 0;
  /// Keeps a copy of factors and biases; goes back to the copy last kept. Prior means stay what they have become, and
  /// so may what the optimizer remembers.
  virtual void keep() = 0;
  virtual void restore() = 0;
  /// Shows all that training remembers, from epoch to epoch, of rows: one call for each array, in the same order for
  /// the same upload. With `kept` also the copy last kept. To read and to write is one function, so that they cannot
  /// differ.
  virtual void visit_state(StateAccess access, bool kept, const StateVisit<T>& visit) = 0;
  /// Frees what only epochs need; none follow.
  virtual void release() = 0;
  /// Writes factors and biases, in z units, into the model's arrays: the factors' are empty, the biases' have their
  /// final sizes. After release() it may give its own rows away for the memory, and is not called again.
  virtual void download(Model<T>& model) = 0;

  [[nodiscard]] virtual std::int32_t n_threads() const = 0;
  [[nodiscard]] virtual std::string instruction_set() const = 0;
};

template <class T>
std::unique_ptr<Backend<T>> make_cpu_backend(std::int32_t n_threads, std::function<bool()> interrupted);

/// Tells what the CPU's backend takes in upload() and in the epochs. `params` are resolved.
template <class T>
void plan_cpu_upload(MemoryPlan& plan, const RatingCounts& counts, const TrainParams& params);
template <class T>
void plan_cpu_epochs(MemoryPlan& plan, const RatingCounts& counts, const TrainParams& params);
/// Tells what release() gives back, and that download() takes nothing beside the model.
void plan_cpu_release(MemoryPlan& plan);

}  // namespace warpfactor
