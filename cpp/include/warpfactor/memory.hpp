// SPDX-License-Identifier: Apache-2.0
// What a fit will take of memory, told before there is a rating.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "warpfactor/params.hpp"

namespace warpfactor {

/// What is to be known of the ratings of a fit.
struct RatingCounts {
  std::int64_t n_ratings = 0;
  std::int32_t n_users = 0, n_items = 0;
  bool weighted = false;
  std::int64_t n_validation = 0;
  bool validation_weighted = false;
  std::int64_t n_implicit = 0;  ///< pairs without a rating: TrainOptions::implicit
  bool initial = false;         ///< with initial factors: training then searches for no strengths
  bool custom_penalty = false;
  /// The ratings of each row. Empty: not known; where the memory depends on them it is told for rows of equal counts,
  /// which take the most.
  std::span<const std::uint32_t> user_counts{}, item_counts{};

  [[nodiscard]] std::int32_t rows(bool users) const noexcept { return users ? n_users : n_items; }
  [[nodiscard]] std::int64_t all_rows() const noexcept { return std::int64_t{n_users} + n_items; }
  [[nodiscard]] std::span<const std::uint32_t> counts(bool users) const noexcept {
    return users ? user_counts : item_counts;
  }
};

struct MemoryPart {
  std::string name;  ///< for people
  std::int64_t bytes = 0;
};

/// A part of a fit, and what is taken in the moment of it that takes most.
struct MemoryPhase {
  std::string name;
  std::vector<MemoryPart> parts;

  [[nodiscard]] std::int64_t bytes() const noexcept;
};

struct FitMemory {
  /// The host's, in order: beside the ratings, the validation ratings and the initial factors given, which are the
  /// caller's.
  std::vector<MemoryPhase> phases;
  /// A device's; empty with Device::cpu. Without `device_streamed` of them nothing can be trained.
  std::vector<MemoryPart> device;
  std::int64_t device_streamed = 0;  ///< go through the device in chunks if they do not fit

  [[nodiscard]] std::int64_t peak() const noexcept;          ///< of the host
  [[nodiscard]] std::int64_t device_bytes() const noexcept;  ///< with all on the device
  [[nodiscard]] std::int64_t device_least() const noexcept;  ///< with what may be streamed left out
};

/// What train<T>() takes at most. What the ratings decide, such as whether prior means are of use, is taken to be what
/// takes more. Throws std::invalid_argument for parameters out of range.
template <class T>
FitMemory fit_memory(const RatingCounts& counts, const TrainParams& params);

}  // namespace warpfactor
