// SPDX-License-Identifier: Apache-2.0
// COO ratings -> the layout the kernels walk: rows and ratings grouped into (user block, item block) cells.
#pragma once

#include <cstdint>
#include <vector>

#include "buffer.hpp"
#include "cpu/kernel_table.hpp"
#include "standardize.hpp"
#include "survey.hpp"
#include "threads.hpp"
#include "warpfactor/types.hpp"

namespace warpfactor {

/// How many blocks of users and of items, which side is the outer one (see EpochOrder), and how many rows of an inner
/// block are worked off at a time.
struct Grid {
  std::int32_t user_blocks = 1;
  std::int32_t item_blocks = 1;
  bool users_outer = true;
  std::int32_t band_rows = 65536;
};

/// Depends on the data's shape alone, not on the number of threads: the grid is part of what fixes the result's bits.
/// `row_bytes`: one padded factor row.
Grid choose_grid(std::int32_t n_users, std::int32_t n_items, std::int64_t n_ratings, std::int64_t row_bytes,
                 bool users_outer);

/// The side whose heaviest row has fewer ratings is the outer one: a row is the work of one thread at a time, and while
/// it is busy with a heavy row of the inner side, other threads can work on all blocks before and behind it.
bool users_are_outer(const Survey& rated);

/// The rows of one side in their internal order, in which the rows of a block lie together.
struct RowPartition {
  std::vector<std::int32_t> position;  ///< internal row of each external row
  std::vector<std::int32_t> begin;     ///< first internal row of each block, and the number of rows at the end

  [[nodiscard]] std::int32_t blocks() const noexcept { return static_cast<std::int32_t>(begin.size()) - 1; }
};

/// `counts`: ratings of each row. Cuts the rows, in an order that `seed` draws, into at most `n_blocks` blocks (each at
/// most 65,536 rows) of about the same share of ratings and rows, in which the rows with the most ratings come first.
RowPartition partition_rows(const std::vector<std::uint32_t>& counts, std::int32_t n_blocks, std::uint64_t seed,
                            std::uint64_t purpose, ThreadTeam& team);

struct BlockedRatings {
  RowPartition users, items;
  bool users_outer = true;
  /// By cell, in a cell by bands of Grid::band_rows inner rows, in a band shuffled.
  Buffer<Rating> ratings;
  Buffer<float> weights;              ///< alongside, empty if all are one
  std::vector<std::int64_t> offsets;  ///< cell c = cell(..): ratings offsets[c] .. offsets[c + 1]
  /// The first grouped[c] ratings of cell c, a multiple of kGroup, may be updated in groups of kGroup. The others, but
  /// for less than a group, are of bands, or of an outer block, of whose ratings one row has more than four tenths.
  std::vector<std::int64_t> grouped;

  [[nodiscard]] const RowPartition& outer() const noexcept { return users_outer ? users : items; }
  [[nodiscard]] const RowPartition& inner() const noexcept { return users_outer ? items : users; }
  [[nodiscard]] std::size_t cell(std::int32_t outer_block, std::int32_t inner_block) const noexcept {
    return static_cast<std::size_t>(outer_block) * static_cast<std::size_t>(inner().blocks()) +
           static_cast<std::size_t>(inner_block);
  }
};

/// Values and weights are stored in `units`, without the ratings of weight 0. `rated` is the ratings' survey, so their
/// indices are in range. The result depends on the input, the grid and the seed, not on the team's size.
BlockedRatings make_blocks(const RatingsView& ratings, const Survey& rated, Grid grid, const RatingUnits& units,
                           std::uint64_t seed, ThreadTeam& team);

}  // namespace warpfactor
