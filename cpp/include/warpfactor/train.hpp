// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "warpfactor/model.hpp"
#include "warpfactor/params.hpp"
#include "warpfactor/types.hpp"

namespace warpfactor {

/// Kernels of a CUDA device, as CUfunctions, with a custom loss and penalty compiled in. They take the place of the
/// library's own; `pass` must do all that the parameters ask for, except where rows have pulls of their own and there
/// is a `pulled_pass`.
struct DeviceKernels {
  std::uintptr_t pass = 0, pulled_pass = 0, batch_gradients = 0, batch_steps = 0, evaluate = 0;
};

template <class T>
struct TrainResult;

/// A file from which a training that was cut off goes on. With what is in it, the ratings and the parameters, training
/// ends with the same bits as one that was not cut off: on the CPU, except with hogwild, on the same instruction set.
struct Checkpoints {
  std::filesystem::path path{};    ///< replaced after each `every`-th epoch and after the last one; empty: none is kept
  std::int32_t every = 1;          ///< >= 1
  std::filesystem::path resume{};  ///< the one to go on from; empty: training begins anew
  /// What else must be the same where training goes on, by its name: the text of a custom loss, for instance.
  std::map<std::string, std::string> context{};
  /// Is told that the bits may differ from here on (another instruction set, version or device), and that a checkpoint
  /// could not be written. Without it a checkpoint that cannot be written ends the training.
  std::function<void(const std::string&)> warn{};
};

/// What a checkpoint says of the training.
struct CheckpointFacts {
  bool finished = false;             ///< the training has ended
  std::uint64_t seed = 0;            ///< of its parameters
  std::string version;               ///< of warpfactor that wrote it
  std::vector<EpochReport> history;  ///< of the epochs that are done
};

/// Reads a checkpoint. Throws ModelFileError.
CheckpointFacts checkpoint_facts(const std::filesystem::path& path);

/// What a caller may give beside the ratings; every part is optional.
template <class T>
struct TrainOptions {
  /// Evaluated after every epoch; same n_users and n_items as the ratings. An index of -1 is an unknown row. Ratings of
  /// rows that are unknown, or without a training rating (of weight > 0), are left out.
  RatingsView validation{};
  /// Pairs without a rating that count for the prior means of `implicit_feedback`, beside those of the ratings: clicks,
  /// or the pairs that a contest asks for. Only users and items are read, which are indices as in the ratings. Pairs of
  /// a user or an item without a training rating (of weight > 0) are left out.
  RatingsView implicit{};
  /// Initial P, n_users x n_factors row-major, in rating units (of a score: labels have none).
  std::span<const T> user_factors{};
  std::span<const T> item_factors{};  ///< initial Q, n_items x n_factors row-major
  /// Initial biases, in rating units, of both sides or of none: with them, and the initial factors, training goes on
  /// from a model with biases. Prior means then start from what its rows say of who rated what, and the mean of the
  /// score stays `global_mean` (not with losses with labels or factors kept at 0 or above, where it is derived as
  /// always).
  std::span<const T> user_biases{}, item_biases{};
  double global_mean = 0;
  std::function<bool(const EpochReport&)> on_epoch{};  ///< after each epoch, calling thread; true stops training
  /// After each epoch, before on_epoch, on the calling thread; `snapshot` copies the model as that epoch left it, and
  /// may be called until on_epoch returns.
  std::function<void(const EpochReport&, const std::function<TrainResult<T>()>& snapshot)> on_snapshot{};
  /// The learning rate of each epoch, n_epochs of them, in place of the schedule; with patience 0. TrainResult's give a
  /// training without validation ratings the epochs that one with them has found.
  std::span<const double> learning_rates{};
  LossFunction<T> loss = nullptr;        ///< for Loss::custom, which needs it
  PenaltyFunction<T> penalty = nullptr;  ///< h in place of the elastic net; not with an l1_ratio
  DeviceKernels device_kernels{};        ///< for Device::cuda with `loss` or `penalty`
  Checkpoints checkpoints{};             ///< where training is kept while it runs, and goes on from
  std::function<bool()> interrupted{};   ///< polled on the calling thread every 50 ms; true throws Interrupted
};

template <class T>
struct TrainResult {
  Model<T> model;      ///< of `best_epoch`
  TrainParams chosen;  ///< the parameters, with what they left open
  std::vector<EpochReport> history;
  std::int32_t best_epoch = 0;         ///< 1-based: lowest validation loss, or the last epoch without early stopping
  std::vector<double> learning_rates;  ///< of the epochs that led to the model: without those that it went back over
  std::int32_t n_threads = 1;          ///< threads used
  std::string instruction_set;         ///< kernels used: baseline, avx2, avx512, or as sm_90 of a device
};

/// Which ratings make up each step of an epoch (0-based), in the order of the steps, for comparisons with other
/// programs: numbers of the ratings given. Throws std::invalid_argument where each rating makes a step of its own.
std::vector<std::vector<std::int64_t>> epoch_batches(const RatingsView& ratings, const TrainParams& params,
                                                     std::int32_t epoch);

/// Throws std::invalid_argument where train() would, whatever the ratings. `custom_penalty`: with
/// TrainOptions::penalty.
void check_params(const TrainParams& params, bool custom_penalty = false);

/// The epochs of a training on so many ratings where n_epochs is left open.
std::int32_t usual_epochs(std::int64_t n_ratings);
/// The most epochs that a training on so many ratings runs, for progress bars. `validating`: with validation ratings.
std::int32_t most_epochs(const TrainParams& params, std::int64_t n_ratings, bool validating);

/// Factorizes `ratings`. Defined for T = float and double.
/// Throws std::invalid_argument (bad input, names the argument), DivergedError, CudaError, Interrupted, std::bad_alloc,
/// and ModelFileError for checkpoints.
template <class T>
TrainResult<T> train(const RatingsView& ratings, const TrainParams& params, const TrainOptions<T>& options = {});

/// The parameters with the strengths that train() would search for, if they leave them open, so that several fits of
/// the same ratings share one search. It judges by `n_divisions` divisions of the ratings, train() itself by one (both
/// by at least three of few ratings). Of the options it reads the loss, the penalty, the initial factors, the
/// validation ratings, to check them, and `interrupted`. Throws what train() throws for bad input.
template <class T>
TrainParams with_found_strengths(const RatingsView& ratings, const TrainParams& params,
                                 const TrainOptions<T>& options = {}, int n_divisions = 1);

}  // namespace warpfactor
