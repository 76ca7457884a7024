// SPDX-License-Identifier: Apache-2.0
#include "blocks.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "random.hpp"

namespace warpfactor {
namespace {

constexpr std::int64_t kMaxBlockRows = 65536;  // 16-bit row numbers inside a block

// Bounds the number of cells (and so the counters of the sort) where rows are many and ratings few.
constexpr std::int64_t kMaxBlocks = 4096;

// Two blocks' rows, one of users and one of items, are to fit into half of a 1 MiB L2 cache beside the ratings.
constexpr std::int64_t kBlockRowBytes = 256 * 1024;

// Below this a cell's fixed costs (fetching its rows, handing it out) show: cells much smaller slow an epoch down.
constexpr double kRatingsPerCell = 4096;

std::int32_t blocks_for(std::int32_t n_rows, std::int64_t row_bytes, std::int64_t wanted) {
  const std::int64_t for_cache = (n_rows * row_bytes + kBlockRowBytes - 1) / kBlockRowBytes;
  const std::int64_t most = std::max<std::int64_t>(kMaxBlocks, n_rows / (kMaxBlockRows / 2) + 1);
  return static_cast<std::int32_t>(
      std::clamp<std::int64_t>(std::max(wanted, for_cache), 1, std::min<std::int64_t>(n_rows, most)));
}

std::vector<std::int64_t> count_rows(std::span<const std::int32_t> rows, std::int32_t n_rows, ThreadTeam& team) {
  // More than a few copies of the counters cost more to add up than they save.
  const int copies = std::min(team.size(), 8);
  std::vector<std::vector<std::uint32_t>> partial(static_cast<std::size_t>(copies));
  const auto n = static_cast<std::int64_t>(rows.size());
  team.run(copies, [&](std::int64_t copy, int) {
    std::vector<std::uint32_t>& counts = partial[static_cast<std::size_t>(copy)];
    counts.assign(static_cast<std::size_t>(n_rows), 0);
    for (std::int64_t r = n * copy / copies; r < n * (copy + 1) / copies; ++r) {
      ++counts[static_cast<std::size_t>(rows[static_cast<std::size_t>(r)])];
    }
  });
  std::vector<std::int64_t> total(static_cast<std::size_t>(n_rows), 0);
  for (const auto& counts : partial) {
    for (std::size_t row = 0; row < total.size(); ++row) total[row] += counts[row];
  }
  return total;
}

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
  const auto wanted = static_cast<std::int64_t>(std::sqrt(static_cast<double>(n_ratings) / kRatingsPerCell));
  return {blocks_for(n_users, row_bytes, wanted), blocks_for(n_items, row_bytes, wanted)};
}

RowPartition partition_rows(std::vector<std::int64_t> counts, std::int32_t n_blocks, std::uint64_t seed,
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
  double size = 0;
  for (std::uint32_t p = 0; p < n_rows; ++p) {
    const auto row = static_cast<std::size_t>(order[p]);
    const double share = 0.5 * (static_cast<double>(counts[row]) / total + 1.0 / n_rows);
    const std::int64_t rows_in_block = static_cast<std::int64_t>(p) - result.begin.back();
    const bool full = (size + share / 2) * n_blocks >= static_cast<double>(result.begin.size());
    if (rows_in_block > 0 && ((full && result.blocks() < n_blocks - 1) || rows_in_block == kMaxBlockRows)) {
      result.begin.push_back(static_cast<std::int32_t>(p));
    }
    size += share;
    result.position[row] = static_cast<std::int32_t>(p);
  }
  result.begin.push_back(static_cast<std::int32_t>(n_rows));
  result.counts = std::move(counts);
  return result;
}

BlockedRatings make_blocks(const RatingsView& ratings, Grid grid, double shift, double scale, double weight_scale,
                           std::uint64_t seed, ThreadTeam& team) {
  BlockedRatings blocked;
  blocked.users = partition_rows(count_rows(ratings.users, ratings.n_users, team), grid.user_blocks, seed, kUserOrder);
  blocked.items = partition_rows(count_rows(ratings.items, ratings.n_items, team), grid.item_blocks, seed, kItemOrder);
  const std::vector<Place> user_places = places_of(blocked.users), item_places = places_of(blocked.items);
  const std::int64_t n_cells = static_cast<std::int64_t>(blocked.users.blocks()) * blocked.items.blocks();
  const std::int64_t n = ratings.size();
  const auto cell_of = [&](std::size_t r) {
    return static_cast<std::int64_t>(user_places[static_cast<std::size_t>(ratings.users[r])].block) *
               blocked.items.blocks() +
           item_places[static_cast<std::size_t>(ratings.items[r])].block;
  };

  // A counting sort: each part of the input counts its ratings per cell; the sums over cells, then parts, are the
  // places they go to. It keeps the input's order inside a cell, whatever the number of parts.
  const std::int64_t parts = std::min<std::int64_t>(team.size(), std::max<std::int64_t>(1, n / ThreadTeam::kSlice));
  std::vector<std::vector<std::int64_t>> next(static_cast<std::size_t>(parts));
  team.run(parts, [&](std::int64_t part, int) {
    std::vector<std::int64_t>& counts = next[static_cast<std::size_t>(part)];
    counts.assign(static_cast<std::size_t>(n_cells), 0);
    for (std::int64_t r = n * part / parts; r < n * (part + 1) / parts; ++r) {
      ++counts[static_cast<std::size_t>(cell_of(static_cast<std::size_t>(r)))];
    }
  });
  blocked.offsets.resize(static_cast<std::size_t>(n_cells) + 1);
  std::int64_t total = 0;
  for (std::size_t cell = 0; cell < static_cast<std::size_t>(n_cells); ++cell) {
    blocked.offsets[cell] = total;
    for (auto& counts : next) total += std::exchange(counts[cell], total);
  }
  blocked.offsets.back() = total;

  blocked.ratings = Buffer<Rating>(n);
  blocked.weights = Buffer<float>(static_cast<std::int64_t>(ratings.weights.size()));
  const bool weighted = !ratings.weights.empty();
  team.run(parts, [&](std::int64_t part, int thread) {
    std::vector<std::int64_t>& to = next[static_cast<std::size_t>(part)];
    const std::int64_t end = n * (part + 1) / parts;
    for (std::int64_t r = n * part / parts; r < end; ++r) {
      if (r % ThreadTeam::kSlice == 0 && team.poll(thread)) return;
      const auto from = static_cast<std::size_t>(r);
      const std::int64_t place = to[static_cast<std::size_t>(cell_of(from))]++;
      blocked.ratings[place] = {user_places[static_cast<std::size_t>(ratings.users[from])].row,
                                item_places[static_cast<std::size_t>(ratings.items[from])].row,
                                static_cast<float>((static_cast<double>(ratings.values[from]) - shift) / scale)};
      if (weighted) {
        blocked.weights[place] = static_cast<float>(static_cast<double>(ratings.weights[from]) * weight_scale);
      }
    }
  });

  // Files are often sorted by user or time; SGD wants the ratings of a cell in random order.
  team.run(n_cells, [&](std::int64_t cell, int) {
    const std::int64_t begin = blocked.offsets[static_cast<std::size_t>(cell)];
    const std::int64_t size = blocked.offsets[static_cast<std::size_t>(cell) + 1] - begin;
    SplitMix64 random(seed, kBlockShuffle, static_cast<std::uint64_t>(cell));
    for (std::int64_t k = size; k > 1; --k) {
      const std::int64_t other = static_cast<std::int64_t>(random.next() % static_cast<std::uint64_t>(k));
      std::swap(blocked.ratings[begin + k - 1], blocked.ratings[begin + other]);
      if (weighted) std::swap(blocked.weights[begin + k - 1], blocked.weights[begin + other]);
    }
  });
  return blocked;
}

}  // namespace warpfactor
