// SPDX-License-Identifier: Apache-2.0
// The order in which a device takes ratings where each is a step of its own, and the pieces in which ratings go to a
// device that has no room for all of them.
#pragma once

#include <cstdint>
#include <vector>

#include "batches.hpp"
#include "buffer.hpp"
#include "device/kernel_args.hpp"
#include "standardize.hpp"
#include "survey.hpp"
#include "threads.hpp"

namespace warpfactor {

/// An epoch is a number of waves, one after the other. Rows of both sides are cut into blocks; wave w takes the ratings
/// of each block u of the own side with block (u + w) mod n of the other side, so that a row of the own side is in one
/// place in a wave, and a popular row of the other side in only a few. In a wave the ratings are in segments and tasks,
/// as PassArgs has them.
///
/// With Parallel::blocked a task is all of a block of the own side, and there are no more of those than of the other
/// side's: no two tasks of a wave share a row of either side, and the result does not depend on who runs first. With
/// Parallel::hogwild there are few waves of many short tasks: rows of the own side are still never shared, and tasks
/// that are near to each other in the list are of different blocks.
struct PassPlan {
  /// Where a wave's part of the arrays begins. Segments and tasks have one more number than they are, so that each part
  /// of segment_begin and task_begin ends with what would be the next one's.
  struct Wave {
    std::int64_t first_entry = 0, first_segment = 0, first_task = 0;
  };

  bool users_own = true;
  Buffer<Entry> entries;
  Buffer<float> weights;                     ///< alongside, empty if all are one
  std::vector<std::int32_t> segment_rows;    ///< of a wave's segments, and one that is not used
  std::vector<std::uint32_t> segment_begin;  ///< counted from the wave's first entry
  std::vector<std::uint32_t> task_begin;     ///< counted from the wave's first segment
  std::vector<Wave> waves;                   ///< and one that tells where the last one ends

  [[nodiscard]] std::int64_t n_waves() const noexcept { return static_cast<std::int64_t>(waves.size()) - 1; }
  [[nodiscard]] std::int64_t n_tasks(std::int64_t wave) const noexcept {
    return waves[static_cast<std::size_t>(wave) + 1].first_task - waves[static_cast<std::size_t>(wave)].first_task - 1;
  }
  /// Tiles that may work at the same time without spoiling the result. A row that many of them take at once moves as
  /// though it had one rating and not many.
  std::int64_t most_tiles = 1;
};

/// Values are stored as (value - shift) / scale, weights times weight_scale, without the ratings of weight 0. The
/// result depends on the input and the seed, not on the team's size.
PassPlan make_pass_plan(const RatingsView& ratings, const Survey& rated, const Standardization& z, Parallel parallel,
                        std::uint64_t seed, ThreadTeam& team);

/// Some tasks of a wave that are copied to the device together.
struct Piece {
  std::int64_t wave = 0;
  std::int64_t first_task = 0, n_tasks = 0;        ///< in the wave
  std::int64_t first_segment = 0, n_segments = 0;  ///< likewise
  std::int64_t first_entry = 0, n_entries = 0;     ///< likewise

  /// On the device, each array aligned.
  [[nodiscard]] std::int64_t bytes(bool weighted) const noexcept;
  static std::int64_t aligned_bytes(std::int64_t bytes) noexcept;
};

/// The plan in pieces of at most `most_bytes`, in order. Throws CudaError where a task is longer than that, with the
/// bytes that it takes.
std::vector<Piece> make_pieces(const PassPlan& plan, std::int64_t most_bytes);

/// Some rows of one side of a batch, with their ratings, that are copied to the device together.
struct BatchPiece {
  bool of_users = true;
  std::int64_t batch = 0;
  std::int64_t first_row = 0, n_rows = 0;  ///< of Batches::Side::rows
  std::int64_t first_entry = 0, n_entries = 0;

  /// Of where rows begin, the other side's rows, values (of `value_bytes` each) and weights, each array aligned.
  [[nodiscard]] std::int64_t bytes(std::int64_t value_bytes, bool weighted) const noexcept;
};

/// By batch: the users' side and then the items', in pieces of at most `most_bytes`. Throws CudaError as make_pieces.
template <class T>
std::vector<std::vector<BatchPiece>> make_batch_pieces(const Batches<T>& batches, std::int64_t most_bytes);

}  // namespace warpfactor
