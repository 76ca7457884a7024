// SPDX-License-Identifier: Apache-2.0
#include "blocks.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <numeric>

#include "random.hpp"

namespace warpfactor {
namespace {

constexpr std::int64_t kMaxBlockRows = 65536;  // 16-bit row numbers inside a block

// A block of the outer side stays in a core's L2 cache (256 KiB to 2 MiB) while a thread walks over the inner side,
// whose blocks are read from further away once each and are to fit into L2 beside it. Smaller inner blocks, down to
// what L1 holds, were no faster, and with few rows in a block its ratings share rows too often to be grouped.
constexpr std::int64_t kOuterBytes = 256 * 1024, kInnerBytes = 64 * 1024;
constexpr std::int64_t kFewestRows = 64;

// Below this a cell's fixed costs (fetching its rows, waiting for its turn) show: the grid is no finer for
// parallelism's sake.
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

constexpr std::size_t kBatch = 64;

void prefetch_for_write(const void* address) {
#if defined(__GNUC__) || defined(__clang__)
  __builtin_prefetch(address, 1);
#else
  (void)address;
#endif
}

/// Puts the ratings of a cell into random order, in groups that share no row as far as that goes. One per thread.
class Grouping {
 public:
  /// Returns how many ratings, from the first on, are in groups; the others follow.
  std::int64_t arrange(Rating* ratings, float* weights, std::int64_t n, SplitMix64 random) {
    return weights != nullptr ? arrange_cell<true>(ratings, weights, n, random)
                              : arrange_cell<false>(ratings, weights, n, random);
  }

 private:
  static constexpr int kAttempts = 4;

  /// A shuffle (Fisher and Yates) that draws again where the drawn rating does not fit into the present group.
  template <bool kWeighted>
  std::int64_t arrange_cell(Rating* ratings, float* weights, std::int64_t n, SplitMix64& random) {
    const auto swap_ratings = [&](std::int64_t a, std::int64_t b) {
      // Whole, as one number: field by field, the next load of the whole would have to wait for the stores.
      const std::uint64_t at_a = load(ratings + a), at_b = load(ratings + b);
      store(ratings + a, at_b);
      store(ratings + b, at_a);
      if constexpr (kWeighted) std::swap(weights[a], weights[b]);
    };
    std::int64_t end = n;  // from there on: ratings that found no group
    for (std::int64_t grouped = 0;; grouped += kGroup) {
      const std::uint32_t group = next_group();
      for (std::int64_t at = grouped; at < grouped + kGroup; ++at) {
        for (int attempt = 0;; ++attempt) {
          if (at >= end) {
            for (std::int64_t k = n - grouped; k > 1; --k) {
              swap_ratings(grouped + k - 1,
                           grouped + static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(k))));
            }
            return grouped;
          }
          const std::int64_t other = at + static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(end - at)));
          const auto drawn = std::bit_cast<Rating>(load(ratings + other));
          std::uint32_t &user = users_[drawn.user], &item = items_[drawn.item];
          if (user != group && item != group) {
            user = item = group;
            swap_ratings(at, other);
            break;
          }
          if (attempt == kAttempts) {
            swap_ratings(other, --end);
            attempt = 0;
          }
        }
      }
    }
  }

  static std::uint64_t load(const Rating* from) {
    std::uint64_t bits;
    std::memcpy(&bits, from, sizeof(bits));
    return bits;
  }
  static void store(Rating* to, std::uint64_t bits) { std::memcpy(to, &bits, sizeof(bits)); }

  std::uint32_t next_group() {
    if (++last_ == 0) {
      std::fill(users_.begin(), users_.end(), 0);
      std::fill(items_.begin(), items_.end(), 0);
      last_ = 1;
    }
    return last_;
  }

  /// The group each row of a block was last put into, over all cells of this thread. 256 KiB each, of which a cell uses
  /// as much as its blocks have rows.
  std::vector<std::uint32_t> users_ = std::vector<std::uint32_t>(kMaxBlockRows, 0), items_ = users_;
  std::uint32_t last_ = 0;
};

}  // namespace

bool users_are_outer(const Survey& rated) {
  const auto heaviest = [](const std::vector<std::uint32_t>& counts) {
    return *std::max_element(counts.begin(), counts.end());
  };
  const std::uint32_t user = heaviest(rated.user_counts), item = heaviest(rated.item_counts);
  return user < item || (user == item && rated.user_counts.size() >= rated.item_counts.size());
}

Grid choose_grid(std::int32_t n_users, std::int32_t n_items, std::int64_t n_ratings, std::int64_t row_bytes,
                 bool users_outer) {
  const auto for_threads = static_cast<std::int64_t>(std::sqrt(static_cast<double>(n_ratings) / kRatingsPerCell));
  const auto blocks_for = [&](std::int64_t n_rows, bool outer) {
    const std::int64_t rows = std::max((outer ? kOuterBytes : kInnerBytes) / row_bytes, kFewestRows);
    return std::clamp<std::int64_t>(std::max(for_threads, (n_rows + rows - 1) / rows), 1, n_rows);
  };
  std::int64_t users = blocks_for(n_users, users_outer), items = blocks_for(n_items, !users_outer);
  while (std::max(users, items) > 1 && users * items > std::max<std::int64_t>(1, n_ratings / kFewestPerCell)) {
    std::int64_t& larger = users > items ? users : items;
    larger = (larger + 1) / 2;
  }
  // At least so many that 16 bits can number a block's rows, with room for uneven cuts, and at most as many as 16 bits
  // can number.
  const auto bounded = [](std::int64_t blocks, std::int64_t n_rows) {
    return static_cast<std::int32_t>(std::min(std::max(blocks, n_rows / (kMaxBlockRows / 2) + 1), kMaxBlockRows - 1));
  };
  return {bounded(users, n_users), bounded(items, n_items), users_outer};
}

RowPartition partition_rows(const std::vector<std::uint32_t>& counts, std::int32_t n_blocks, std::uint64_t seed,
                            std::uint64_t purpose) {
  const auto n_rows = static_cast<std::uint32_t>(counts.size());
  std::vector<std::int32_t> order(n_rows);
  std::iota(order.begin(), order.end(), 0);
  SplitMix64(seed, purpose, 0).shuffle(order.data(), n_rows);

  // A row's size is its share of the ratings for the most part, or the steps of an epoch would be uneven, and for the
  // rest its share of the rows: by ratings alone nearly all rows of a long tail could come into one block. Ratings
  // beyond a row's one place in each group are updated one by one, which takes about twice as long: they count twice.
  const double total =
      static_cast<double>(std::max<std::int64_t>(1, std::accumulate(counts.begin(), counts.end(), std::int64_t{0})));
  const double in_groups = 1.0 / static_cast<double>(kGroup) / n_blocks;
  const auto size_of = [&](std::int32_t row) {
    const double share = static_cast<double>(counts[static_cast<std::size_t>(row)]) / total;
    return 0.8 * (share + std::max(0.0, share - in_groups)) + 0.2 / n_rows;
  };
  RowPartition result;
  result.position.resize(n_rows);
  result.begin.push_back(0);
  double left = 0, size = 0;  // of the rows from the present block on; of that block so far
  for (const std::int32_t row : order) left += size_of(row);
  for (std::uint32_t p = 0; p < n_rows; ++p) {
    const auto row = static_cast<std::size_t>(order[p]);
    const double row_size = size_of(order[p]);
    const std::int64_t rows_in_block = static_cast<std::int64_t>(p) - result.begin.back();
    // What is left is shared anew after each block, so that one heavy row does not shrink the blocks after it.
    const std::int32_t blocks_left = n_blocks - result.blocks();  // the present one included
    const bool full = blocks_left > 1 && size + row_size / 2 >= left / blocks_left;
    if (rows_in_block > 0 && (full || rows_in_block == kMaxBlockRows)) {
      result.begin.push_back(static_cast<std::int32_t>(p));
      left -= size;
      size = 0;
    }
    size += row_size;
    result.position[row] = static_cast<std::int32_t>(p);
  }
  result.begin.push_back(static_cast<std::int32_t>(n_rows));
  return result;
}

BlockedRatings make_blocks(const RatingsView& ratings, const Survey& rated, Grid grid, double shift, double scale,
                           double weight_scale, std::uint64_t seed, ThreadTeam& team) {
  BlockedRatings blocked;
  blocked.users_outer = grid.users_outer;
  blocked.users = partition_rows(rated.user_counts, grid.user_blocks, seed, kUserOrder);
  blocked.items = partition_rows(rated.item_counts, grid.item_blocks, seed, kItemOrder);
  const std::vector<Place> user_places = places_of(blocked.users), item_places = places_of(blocked.items);
  const std::int64_t n_cells = static_cast<std::int64_t>(blocked.users.blocks()) * blocked.items.blocks();
  const std::int64_t n = ratings.size();
  const bool weighted = !ratings.weights.empty();
  const auto n_item_blocks = static_cast<std::size_t>(blocked.items.blocks());
  const auto cell_of = [&](std::size_t r) {
    return user_places[static_cast<std::size_t>(ratings.users[r])].block * n_item_blocks +
           item_places[static_cast<std::size_t>(ratings.items[r])].block;
  };
  const auto counts_for_nothing = [&](std::size_t r) { return weighted && !(ratings.weights[r] > 0); };

  // A counting sort: each part of the input counts its ratings per cell; the sums over cells, then parts, are the
  // places they go to. It keeps the input's order inside a cell, whatever the number of parts.
  const std::int64_t parts = std::min<std::int64_t>(team.size(), std::max<std::int64_t>(1, n / ThreadTeam::kSlice));
  std::vector<std::vector<std::int64_t>> next(static_cast<std::size_t>(parts));
  // f(begin, end) for a part, a slice at a time.
  const auto each_slice_of = [&](std::int64_t part, int thread, const auto& f) {
    const std::int64_t end = n * (part + 1) / parts;
    for (std::int64_t begin = n * part / parts; begin < end; begin += ThreadTeam::kSlice) {
      if (team.poll(thread)) return;
      f(static_cast<std::size_t>(begin), static_cast<std::size_t>(std::min(end, begin + ThreadTeam::kSlice)));
    }
  };
  team.run(parts, [&](std::int64_t part, int thread) {
    std::vector<std::int64_t>& counts = next[static_cast<std::size_t>(part)];
    counts.assign(static_cast<std::size_t>(n_cells), 0);
    each_slice_of(part, thread, [&](std::size_t begin, std::size_t end) {
      for (std::size_t r = begin; r < end; ++r) {
        if (!counts_for_nothing(r)) ++counts[cell_of(r)];
      }
    });
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
  // Each rating goes to another place in memory, and most places are not in any cache: those of a batch are asked for
  // together.
  team.run(parts, [&](std::int64_t part, int thread) {
    std::vector<std::int64_t>& to = next[static_cast<std::size_t>(part)];
    each_slice_of(part, thread, [&](std::size_t begin, std::size_t end) {
      std::size_t cells[kBatch];
      Rating placed[kBatch];
      for (; begin < end; begin += kBatch) {
        const std::size_t size = std::min(kBatch, end - begin);
        for (std::size_t j = 0; j < size; ++j) {
          const std::size_t r = begin + j;
          const Place user = user_places[static_cast<std::size_t>(ratings.users[r])];
          const Place item = item_places[static_cast<std::size_t>(ratings.items[r])];
          cells[j] = user.block * n_item_blocks + item.block;
          prefetch_for_write(blocked.ratings.data() + to[cells[j]]);
          placed[j] = {user.row, item.row,
                       static_cast<float>((static_cast<double>(ratings.values[r]) - shift) / scale)};
        }
        for (std::size_t j = 0; j < size; ++j) {
          if (counts_for_nothing(begin + j)) continue;
          const std::int64_t place = to[cells[j]]++;
          blocked.ratings[place] = placed[j];
          if (weighted) {
            blocked.weights[place] = static_cast<float>(static_cast<double>(ratings.weights[begin + j]) * weight_scale);
          }
        }
      }
    });
  });

  // Files are often sorted by user or time; SGD wants the ratings of a cell in random order.
  blocked.grouped.assign(static_cast<std::size_t>(n_cells), 0);
  std::vector<Grouping> groupings(static_cast<std::size_t>(team.size()));
  team.run(n_cells, [&](std::int64_t cell, int thread) {
    const auto c = static_cast<std::size_t>(cell);
    const std::int64_t begin = blocked.offsets[c];
    blocked.grouped[c] = groupings[static_cast<std::size_t>(thread)].arrange(
        blocked.ratings.data() + begin, weighted ? blocked.weights.data() + begin : nullptr,
        blocked.offsets[c + 1] - begin, SplitMix64(seed, kBlockShuffle, static_cast<std::uint64_t>(cell)));
  });
  return blocked;
}

}  // namespace warpfactor
