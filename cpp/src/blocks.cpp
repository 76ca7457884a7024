// SPDX-License-Identifier: Apache-2.0
#include "blocks.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "random.hpp"

namespace warpfactor {
namespace {

constexpr std::int64_t kMaxBlockRows = 65536;  // 16-bit row numbers inside a block

// Two blocks' rows, one of users and one of items, are to fit into half of a 1 MiB L2 cache beside the ratings.
constexpr std::int64_t kBlockRowBytes = 256 * 1024;

// Below this a cell's fixed costs (fetching its rows, handing it out) show: the grid is no finer for parallelism's
// sake.
constexpr std::int64_t kRatingsPerCell = 4096;

// Nor for the cache's sake below this: where rows are many and ratings few, a row is hardly used twice in a cell
// anyway.
constexpr std::int64_t kFewestPerCell = 256;

/// Where a row's ratings go: its block, and its number inside the block. 4 bytes, so that the table stays in cache.
struct Place {
  std::uint16_t block;
  std::uint16_t row;
};

std::vector<Place> places_of(const RowPartition& partition) {
  std::vector<Place> by_position(partition.position.size());
  for (std::int32_t b = 0; b < partition.blocks(); ++b) {
    const std::int32_t begin = partition.begin[static_cast<std::size_t>(b)];
    for (std::int32_t p = begin; p < partition.begin[static_cast<std::size_t>(b) + 1]; ++p) {
      by_position[static_cast<std::size_t>(p)] = {static_cast<std::uint16_t>(b), static_cast<std::uint16_t>(p - begin)};
    }
  }
  std::vector<Place> places(partition.position.size());
  for (std::size_t row = 0; row < places.size(); ++row) {
    places[row] = by_position[static_cast<std::size_t>(partition.position[row])];
  }
  return places;
}

}  // namespace

Grid choose_grid(std::int32_t n_users, std::int32_t n_items, std::int64_t n_ratings, std::int64_t row_bytes) {
  const auto for_threads = static_cast<std::int64_t>(std::sqrt(static_cast<double>(n_ratings) / kRatingsPerCell));
  const auto blocks_for = [&](std::int64_t n_rows) {
    const std::int64_t for_cache = (n_rows * row_bytes + kBlockRowBytes - 1) / kBlockRowBytes;
    return std::clamp<std::int64_t>(std::max(for_threads, for_cache), 1, n_rows);
  };
  std::int64_t users = blocks_for(n_users), items = blocks_for(n_items);
  while (std::max(users, items) > 1 && users * items > std::max<std::int64_t>(1, n_ratings / kFewestPerCell)) {
    std::int64_t& larger = users > items ? users : items;
    larger = (larger + 1) / 2;
  }
  // At least so many that 16 bits can number a block's rows, with room for uneven cuts, and at most as many as 16 bits
  // can number.
  const auto bounded = [](std::int64_t blocks, std::int64_t n_rows) {
    return static_cast<std::int32_t>(std::min(std::max(blocks, n_rows / (kMaxBlockRows / 2) + 1), kMaxBlockRows - 1));
  };
  return {bounded(users, n_users), bounded(items, n_items)};
}

RowPartition partition_rows(const std::vector<std::uint32_t>& counts, std::int32_t n_blocks, std::uint64_t seed,
                            std::uint64_t purpose) {
  const auto n_rows = static_cast<std::uint32_t>(counts.size());
  std::vector<std::int32_t> order(n_rows);
  std::iota(order.begin(), order.end(), 0);
  SplitMix64(seed, purpose, 0).shuffle(order.data(), n_rows);

  // A row's size is the mean of its shares of the ratings and of the rows: cutting by ratings alone could put nearly
  // all rows of a long tail into one block, cutting by rows alone most of the ratings.
  const double total =
      static_cast<double>(std::max<std::int64_t>(1, std::accumulate(counts.begin(), counts.end(), std::int64_t{0})));
  RowPartition result;
  result.position.resize(n_rows);
  result.begin.push_back(0);
  double left = 1, size = 0;  // of the rows from the present block on; of that block so far
  for (std::uint32_t p = 0; p < n_rows; ++p) {
    const auto row = static_cast<std::size_t>(order[p]);
    const double share = 0.5 * (static_cast<double>(counts[row]) / total + 1.0 / n_rows);
    const std::int64_t rows_in_block = static_cast<std::int64_t>(p) - result.begin.back();
    // What is left is shared anew after each block, so that one heavy row does not shrink the blocks after it.
    const std::int32_t blocks_left = n_blocks - result.blocks();  // the present one included
    const bool full = blocks_left > 1 && size + share / 2 >= left / blocks_left;
    if (rows_in_block > 0 && (full || rows_in_block == kMaxBlockRows)) {
      result.begin.push_back(static_cast<std::int32_t>(p));
      left -= size;
      size = 0;
    }
    size += share;
    result.position[row] = static_cast<std::int32_t>(p);
  }
  result.begin.push_back(static_cast<std::int32_t>(n_rows));
  return result;
}

BlockedRatings make_blocks(const RatingsView& ratings, const Survey& rated, Grid grid, double shift, double scale,
                           double weight_scale, std::uint64_t seed, ThreadTeam& team) {
  BlockedRatings blocked;
  blocked.users = partition_rows(rated.user_counts, grid.user_blocks, seed, kUserOrder);
  blocked.items = partition_rows(rated.item_counts, grid.item_blocks, seed, kItemOrder);
  const std::vector<Place> user_places = places_of(blocked.users), item_places = places_of(blocked.items);
  const std::int64_t n_cells = static_cast<std::int64_t>(blocked.users.blocks()) * blocked.items.blocks();
  const std::int64_t n = ratings.size();
  const bool weighted = !ratings.weights.empty();
  const auto cell_of = [&](std::size_t r) {
    return static_cast<std::int64_t>(user_places[static_cast<std::size_t>(ratings.users[r])].block) *
               blocked.items.blocks() +
           item_places[static_cast<std::size_t>(ratings.items[r])].block;
  };

  // A counting sort: each part of the input counts its ratings per cell; the sums over cells, then parts, are the
  // places they go to. It keeps the input's order inside a cell, whatever the number of parts.
  const std::int64_t parts = std::min<std::int64_t>(team.size(), std::max<std::int64_t>(1, n / ThreadTeam::kSlice));
  std::vector<std::vector<std::int64_t>> next(static_cast<std::size_t>(parts));
  // f(r) for the ratings of a part, without those of weight 0.
  const auto each_of_part = [&](std::int64_t part, int thread, const auto& f) {
    const std::int64_t end = n * (part + 1) / parts;
    for (std::int64_t r = n * part / parts; r < end; ++r) {
      if (r % ThreadTeam::kSlice == 0 && team.poll(thread)) return;
      if (!weighted || ratings.weights[static_cast<std::size_t>(r)] > 0) f(static_cast<std::size_t>(r));
    }
  };
  team.run(parts, [&](std::int64_t part, int thread) {
    std::vector<std::int64_t>& counts = next[static_cast<std::size_t>(part)];
    counts.assign(static_cast<std::size_t>(n_cells), 0);
    each_of_part(part, thread, [&](std::size_t r) { ++counts[static_cast<std::size_t>(cell_of(r))]; });
  });
  blocked.offsets.resize(static_cast<std::size_t>(n_cells) + 1);
  std::int64_t total = 0;
  for (std::size_t cell = 0; cell < static_cast<std::size_t>(n_cells); ++cell) {
    blocked.offsets[cell] = total;
    for (auto& counts : next) total += std::exchange(counts[cell], total);
  }
  blocked.offsets.back() = total;

  blocked.ratings = Buffer<Rating>(rated.counted);
  blocked.weights = Buffer<float>(weighted ? rated.counted : 0);
  team.run(parts, [&](std::int64_t part, int thread) {
    std::vector<std::int64_t>& to = next[static_cast<std::size_t>(part)];
    each_of_part(part, thread, [&](std::size_t r) {
      const std::int64_t place = to[static_cast<std::size_t>(cell_of(r))]++;
      blocked.ratings[place] = {user_places[static_cast<std::size_t>(ratings.users[r])].row,
                                item_places[static_cast<std::size_t>(ratings.items[r])].row,
                                static_cast<float>((static_cast<double>(ratings.values[r]) - shift) / scale)};
      if (weighted) blocked.weights[place] = static_cast<float>(static_cast<double>(ratings.weights[r]) * weight_scale);
    });
  });

  // Files are often sorted by user or time; SGD wants the ratings of a cell in random order.
  team.run(n_cells, [&](std::int64_t cell, int) {
    const std::int64_t begin = blocked.offsets[static_cast<std::size_t>(cell)];
    const std::int64_t size = blocked.offsets[static_cast<std::size_t>(cell) + 1] - begin;
    SplitMix64 random(seed, kBlockShuffle, static_cast<std::uint64_t>(cell));
    for (std::int64_t k = size; k > 1; --k) {
      const auto other = static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(k)));
      std::swap(blocked.ratings[begin + k - 1], blocked.ratings[begin + other]);
      if (weighted) std::swap(blocked.weights[begin + k - 1], blocked.weights[begin + other]);
    }
  });
  return blocked;
}

}  // namespace warpfactor
