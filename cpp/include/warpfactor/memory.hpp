// SPDX-License-Identifier: Apache-2.0
// What a fit will take of memory, told before there is a rating.
#pragma once

#include <cstdint>
#include <new>
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
  std::int64_t n_implicit = 0;   ///< pairs without a rating: TrainOptions::implicit
  std::int64_t n_distinct = -1;  ///< pairs of both, each counted once; -1: all are different
  /// Of ratings that are read from a scratch file: ScratchFolder::buffer_bytes. 0: they are in memory.
  std::int64_t buffer_bytes = 0;
  bool initial = false;  ///< with initial factors: training then searches for no strengths
  bool custom_penalty = false;
  /// The ratings of each row. Empty: not known; where the memory depends on them it is told for rows of equal counts,
  /// which take the most.
  std::span<const std::uint32_t> user_counts{}, item_counts{};

  [[nodiscard]] std::int32_t rows(bool users) const noexcept { return users ? n_users : n_items; }
  [[nodiscard]] std::int64_t distinct() const noexcept { return n_distinct < 0 ? n_ratings + n_implicit : n_distinct; }
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

/// Of what the ratings decide, such as whether prior means are of use or pairs occur twice: what takes more, or less.
enum class MemoryBound { most, least };

/// What train<T>() takes. Throws std::invalid_argument for parameters out of range.
template <class T>
FitMemory fit_memory(const RatingCounts& counts, const TrainParams& params, MemoryBound bound = MemoryBound::most);

/// Changes of one parameter, in Python's words, with which a fit would take no more than so many bytes, and what it
/// then takes at its peak. `freed`: bytes of the ratings, which are counted in with whatever else the caller holds, and
/// are not in memory where they are read from a scratch file.
template <class T>
std::vector<MemoryPart> smaller_fits(const RatingCounts& counts, const TrainParams& params, std::int64_t bytes,
                                     MemoryBound bound = MemoryBound::most, std::int64_t freed = 0);

/// What this process may still take of the machine's memory.
struct AvailableMemory {
  std::int64_t bytes = -1;  ///< -1: not known here
  std::string limit;        ///< what limits it, for people
};
/// The least of: memory that the machine has available, with its swap; what the control groups of this process leave;
/// what RLIMIT_AS leaves.
AvailableMemory available_memory();

/// A fit that certainly does not fit into memory, refused before it starts: std::bad_alloc with a text that says how
/// much is missing and what would do. WARPFACTOR_CHECK_MEMORY=0 in the environment lets such fits try.
class NotEnoughMemory : public std::bad_alloc {
 public:
  explicit NotEnoughMemory(const std::string& message);
  [[nodiscard]] const char* what() const noexcept override;

 private:
  std::string message_;
};

/// Bytes for people, such as "1.50 GB".
std::string bytes_text(std::int64_t bytes);

}  // namespace warpfactor
