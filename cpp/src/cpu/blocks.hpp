// SPDX-License-Identifier: Apache-2.0
// From COO ratings to what the kernels walk: blocks, each of a stripe of users and a stripe of items.
#pragma once

#include <cstdint>
#include <vector>

#include "buffer.hpp"
#include "cpu/kernel_table.hpp"
#include "memory_plan.hpp"
#include "rating_source.hpp"
#include "standardize.hpp"
#include "survey.hpp"
#include "threads.hpp"
#include "warpfactor/types.hpp"

namespace warpfactor {

/// The number of stripes of each side, which side is the outer one (see EpochOrder), and the inner rows of a band.
struct Grid {
  std::int32_t user_stripes = 1;
  std::int32_t item_stripes = 1;
  bool users_outer = true;
  std::int32_t band_rows = 65536;
};

/// Depends on the data's shape alone, not on the number of threads, because the result's bits depend on the grid.
/// `row_bytes`: one padded factor row.
Grid choose_grid(std::int32_t n_users, std::int32_t n_items, std::int64_t n_ratings, std::int64_t row_bytes,
                 bool users_outer);

/// The outer side is the one whose most-rated row has fewer ratings. One thread at a time works on a row; while it is
/// busy with a heavy inner row, others can work on all stripes before and behind it.
bool users_are_outer(const Survey& rated);

/// The rows of one side in internal order, in which the rows of a stripe lie together.
struct RowPartition {
  std::vector<std::int32_t> position;  ///< internal row of each external row
  std::vector<std::int32_t> begin;     ///< first internal row of each stripe, and the number of rows

  [[nodiscard]] std::int32_t stripes() const noexcept { return static_cast<std::int32_t>(begin.size()) - 1; }
};

/// Cuts the rows, in an order drawn from `seed`, into at most `n_stripes` stripes (of at most 65,536 rows) with about
/// the same share of ratings and rows each. In a stripe the most-rated rows come first. `counts`: ratings of each row.
RowPartition partition_rows(const std::vector<std::uint32_t>& counts, std::int32_t n_stripes, std::uint64_t seed,
                            std::uint64_t purpose, ThreadTeam& team);

struct BlockedRatings {
  RowPartition users, items;
  bool users_outer = true;
  /// By block, in a block by band, in a band shuffled. Empty if they are in the file.
  Buffer<Rating> ratings;
  Buffer<float> weights;  ///< parallel to `ratings`; empty: all 1
  ScratchFile file;       ///< the ratings and then, if it `has_weights`, the weights
  bool has_weights = false;
  std::vector<std::int64_t> offsets;  ///< block b has the ratings offsets[b] .. offsets[b + 1]
  /// The first grouped[b] ratings of block b, a multiple of kGroup, are updated in groups. The rest is less than a
  /// group, or belongs to a band or outer stripe in which one row has more than kGroupedShare of the ratings.
  std::vector<std::int64_t> grouped;

  [[nodiscard]] const RowPartition& outer() const noexcept { return users_outer ? users : items; }
  [[nodiscard]] const RowPartition& inner() const noexcept { return users_outer ? items : users; }
  [[nodiscard]] std::size_t block(std::int32_t outer_stripe, std::int32_t inner_stripe) const noexcept {
    return static_cast<std::size_t>(outer_stripe) * static_cast<std::size_t>(inner().stripes()) +
           static_cast<std::size_t>(inner_stripe);
  }
};

/// A thread's look at blocked ratings: where they are in memory, or at a part that is read from the file.
class BlockWindow {
 public:
  /// For blocked ratings in a file: at most so many of them at a time.
  explicit BlockWindow(std::int64_t room = 0) : room_(room) {}

  /// Reads all blocks of an outer stripe at once, if there is room for them.
  void take_stripe(const BlockedRatings& blocked, std::int32_t outer_stripe);
  /// Makes the `n` ratings from `begin` on the ones that are seen; there must be room for them.
  void show(const BlockedRatings& blocked, std::int64_t begin, std::int64_t n);
  [[nodiscard]] const Rating* ratings() const noexcept { return ratings_; }
  [[nodiscard]] const float* weights() const noexcept { return weights_; }  ///< nullptr: all 1

 private:
  void read(const BlockedRatings& blocked, std::int64_t begin, std::int64_t end);

  std::int64_t room_, begin_ = 0, end_ = 0;
  Buffer<Rating> read_ratings_;
  Buffer<float> read_weights_;
  const Rating* ratings_ = nullptr;
  const float* weights_ = nullptr;
};

/// Has the system begin to read an outer stripe of blocked ratings in a file, but at most so many ratings.
void will_need_stripe(const BlockedRatings& blocked, std::int32_t outer_stripe, std::int64_t most);

/// Stores values and weights in `units` and leaves out ratings of weight 0. `rated`: the survey of the ratings, which
/// has checked their indices. The result depends on the input, the grid and the seed, not on the team's size or on
/// where the ratings are: those in a file are blocked in a file.
BlockedRatings make_blocks(const RatingSource& ratings, const Survey& rated, Grid grid, const RatingUnits& units,
                           std::uint64_t seed, ThreadTeam& team);
/// The same with the rows cut already, of which `grid` then only says which side is the outer one, and the bands.
BlockedRatings make_blocks(const RatingSource& ratings, const Survey& rated, Grid grid, RowPartition users,
                           RowPartition items, const RatingUnits& units, std::uint64_t seed, ThreadTeam& team);

/// Tells what make_blocks() takes, and what of it stays.
void plan_blocks(MemoryPlan& plan, const RatingCounts& counts, const Grid& grid, int n_threads);
/// The same of partition_rows() for a side.
void plan_partition(MemoryPlan& plan, std::int64_t n_rows);
/// Tells what the threads' windows on ratings in a file take.
void plan_windows(MemoryPlan& plan, const RatingCounts& counts, const Grid& grid, int n_threads);
/// Ratings in a thread's window, where the largest outer stripe has so many.
std::int64_t window_ratings(std::int64_t buffer_bytes, std::int64_t largest_stripe, int n_threads,
                            std::int64_t rating_bytes);

}  // namespace warpfactor
