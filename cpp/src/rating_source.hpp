// SPDX-License-Identifier: Apache-2.0
// Ratings, visited in their order: in memory, or part by part from a scratch file.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "scratch.hpp"
#include "warpfactor/memory.hpp"
#include "warpfactor/types.hpp"

namespace warpfactor {

/// The ratings of a part of a scratch file.
std::int64_t part_ratings(std::int64_t buffer_bytes);
/// What a pass holds of them: 0 with ratings in memory.
std::int64_t part_bytes(const RatingCounts& counts);
/// Whether train() takes these parameters with ratings in a scratch file.
bool trains_from_scratch(const TrainParams& params);
/// Of ScratchFolder::buffer_bytes, by the number of threads.
std::int64_t least_buffer(const TrainParams& params);

class RatingSource {
 public:
  /// Ratings in memory, which must outlive this.
  RatingSource(const RatingsView& ratings)  // NOLINT(google-explicit-constructor): the common case
      : n_users_(ratings.n_users), n_items_(ratings.n_items), size_(ratings.size()), ratings_(ratings) {}
  /// Ratings that fetch() will write to a scratch file. Both must outlive this.
  RatingSource(const RatingChunks& chunks, const ScratchFolder& scratch, std::function<bool()> interrupted);

  /// Takes the chunks, of which there may be any sizes. With ratings in memory it does nothing. Throws
  /// std::invalid_argument for chunks that do not fit together, ScratchError, Interrupted. `room`: of the
  /// folder, as a function of whether there are weights.
  void fetch(const std::function<std::int64_t(bool weighted)>& room);
  /// Gives the scratch file back; no passes follow.
  void release() { file_ = {}; }

  [[nodiscard]] std::int32_t n_users() const noexcept { return n_users_; }
  [[nodiscard]] std::int32_t n_items() const noexcept { return n_items_; }
  [[nodiscard]] std::int64_t size() const noexcept { return size_; }
  [[nodiscard]] bool weighted() const noexcept { return weighted_ || !ratings_.weights.empty(); }
  /// Where the ratings are kept; nullptr: in memory.
  [[nodiscard]] const ScratchFolder* scratch() const noexcept { return scratch_; }
  [[nodiscard]] const RatingsView& in_memory() const noexcept { return ratings_; }

  /// Calls f(part, first) for all ratings in order, in parts of which each begins at a multiple of ThreadTeam::kSlice:
  /// the number `first` of the whole. Ratings in memory are one part. A part does not outlive its call.
  template <class F>
  void for_each_part(const F& f) const {
    if (scratch_ == nullptr) {
      f(ratings_, std::int64_t{0});
    } else {
      read_parts(f);
    }
  }

 private:
  [[nodiscard]] std::int64_t rating_bytes() const noexcept { return weighted_ ? 16 : 12; }
  void read_parts(const std::function<void(const RatingsView& part, std::int64_t first)>& f) const;

  std::int32_t n_users_, n_items_;
  std::int64_t size_;
  RatingsView ratings_;  ///< empty if they are in the file
  const RatingChunks* chunks_ = nullptr;
  const ScratchFolder* scratch_ = nullptr;
  std::function<bool()> interrupted_;
  bool weighted_ = false;
  std::int64_t part_ = 0;  ///< ratings of a part, in which users, items, values and weights follow each other
  ScratchFile file_;
};

}  // namespace warpfactor
