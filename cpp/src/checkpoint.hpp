// SPDX-License-Identifier: Apache-2.0
// What training remembers, as a file from which it goes on: see Checkpoints of warpfactor/train.hpp.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "backend.hpp"
#include "early_stopping.hpp"
#include "serving/array_file.hpp"
#include "standardize.hpp"
#include "warpfactor/train.hpp"

namespace warpfactor {

/// What the trainer remembers from epoch to epoch beside what its backend does. The order of an epoch and the first
/// factors come from the seed, so there is no state of random numbers.
struct TrainMemory {
  bool stopped = false;  ///< early stopping has ended the training
  double limit = 0;      ///< beyond this error training has diverged
  EarlyStopping::State stopping{};
  std::int32_t best_epoch = 0;
  std::size_t best_length = 0;           ///< of the learning rates
  std::vector<double> learning_rates{};  ///< as in TrainResult
  std::vector<EpochReport> history{};    ///< of the epochs that are done
};

/// What must be the same where a training goes on, by what it is called, beside the parameters.
using Likeness = std::map<std::string, std::string>;

/// Checksums of ratings that come in one or more parts: the same for any parts.
struct RatingChecksums {
  std::int64_t n_ratings = 0;
  std::uint32_t users = 0, items = 0, values = 0, weights = 0;
  bool weighted = false;

  void add(const RatingsView& part, ThreadTeam& team);
};

/// Of the ratings and all else that the options give, by their numbers and a checksum of each.
template <class T>
Likeness likeness_of(const RatingChecksums& ratings, std::int64_t n_users, std::int64_t n_items,
                     const TrainOptions<T>& options, ThreadTeam& team);

/// Writes what goes on from here. `params` are `given`, resolved. With `kept` the backend's kept copy is part of it.
template <class T>
void write_checkpoint(const std::filesystem::path& path, const TrainMemory& memory, const TrainParams& given,
                      const TrainParams& params, const Standardization& z, const Likeness& likeness, bool kept,
                      Backend<T>& backend);

/// A checkpoint to go on from.
template <class T>
class OpenedCheckpoint {
 public:
  /// Reads the file of `checkpoints.resume`, and compares it with what is given now. `instruction_set`: with which
  /// training goes on; empty: not compared. Throws std::invalid_argument with all that differs, and ModelFileError;
  /// warns of what may change the bits.
  OpenedCheckpoint(const Checkpoints& checkpoints, const TrainParams& given, const Likeness& likeness,
                   const std::string& instruction_set);

  [[nodiscard]] const TrainParams& params() const noexcept { return params_; }  ///< resolved
  [[nodiscard]] const Standardization& z() const noexcept { return z_; }
  [[nodiscard]] const TrainMemory& memory() const noexcept { return memory_; }
  /// Whether its last epoch was the last of all by n_epochs, after which the prior means were not moved.
  [[nodiscard]] bool was_last() const noexcept { return was_last_; }

  /// Fills the backend's arrays, and its kept copy where there is one. Frees them here.
  void load(Backend<T>& backend);

 private:
  void compare(const Checkpoints& checkpoints, const TrainParams& given, const Likeness& likeness,
               const std::string& instruction_set);
  void read_memory();
  [[nodiscard]] std::int32_t epochs_done() const { return static_cast<std::int32_t>(memory_.history.size()); }

  std::string path_;
  array_file::Contents contents_;
  TrainParams params_;
  Standardization z_;
  TrainMemory memory_;
  bool was_last_ = false;
};

}  // namespace warpfactor
