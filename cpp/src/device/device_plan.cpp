// SPDX-License-Identifier: Apache-2.0
#include "device/device_plan.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "cpu/blocks.hpp"
#include "random.hpp"

namespace warpfactor {
namespace {

// Hogwild: fewer waves would leave a popular row to more tiles at once, more would make segments shorter, and a
// segment's row is read and written once.
constexpr std::int32_t kWaves = 8;
// Hogwild: ratings of a task at least, so that fetching it costs little and the last ones of a wave do not take long.
constexpr std::uint32_t kTaskRatings = 256;
constexpr std::uint32_t kSegmentRatings = 3;  ///< that going to another segment costs about as much time as

// Blocked: as many tiles at once as a card runs well with, if each gets at least kCellRatings a wave on average.
constexpr std::int32_t kMostBlocks = 1024;
constexpr double kCellRatings = 32;

// How many tiles may take the most popular row at once on average, and how many ratings each tile must have in an
// epoch. In the twin, whose races are the worst there can be, the test RMSE of MovieLens 1M (800,167 ratings, k = 64)
// is 0.8411 by blocked, and by hogwild 0.8414 with 16 tiles, 0.8418 with 100 and 0.8436 with 390. An item with a tenth
// of 630,000 generated ratings was no worse off with 58 tiles at a time on its row than with one (0.57 and 0.61).
constexpr double kTilesOnRow = 64;
constexpr std::int64_t kRatingsOfTile = 4000;

constexpr std::int64_t kAlignment = 256;

[[noreturn]] void no_room(std::int64_t least, std::int64_t most_bytes) {
  throw CudaError("out of memory on the device: beside the model there is room for two chunks of the ratings with " +
                  std::to_string(std::max<std::int64_t>(most_bytes, 0)) + " bytes each, and one takes " +
                  std::to_string(least) + " bytes: allow " + std::to_string(2 * (least - most_bytes)) +
                  " bytes of device_memory more, or use fewer factors, or device='cpu'");
}

/// The block of each row.
std::vector<std::int32_t> blocks_of(const RowPartition& partition) {
  std::vector<std::int32_t> at(partition.position.size()), blocks(partition.position.size());
  for (std::int32_t b = 0; b < partition.blocks(); ++b) {
    std::fill(at.begin() + partition.begin[static_cast<std::size_t>(b)],
              at.begin() + partition.begin[static_cast<std::size_t>(b) + 1], b);
  }
  for (std::size_t row = 0; row < blocks.size(); ++row)
    blocks[row] = at[static_cast<std::size_t>(partition.position[row])];
  return blocks;
}

/// Where each row comes in a wave: the blocks one after the other, or a row of each of them in turn.
std::vector<std::int32_t> places_of(const RowPartition& partition, bool in_turn) {
  if (!in_turn) return partition.position;
  std::vector<std::int32_t> place_at(partition.position.size());
  std::int32_t next = 0, longest = 0;
  for (std::size_t b = 0; b + 1 < partition.begin.size(); ++b) {
    longest = std::max(longest, partition.begin[b + 1] - partition.begin[b]);
  }
  for (std::int32_t n = 0; n < longest; ++n) {
    for (std::size_t b = 0; b + 1 < partition.begin.size(); ++b) {
      const std::int32_t at = partition.begin[b] + n;
      if (at < partition.begin[b + 1]) place_at[static_cast<std::size_t>(at)] = next++;
    }
  }
  std::vector<std::int32_t> places(partition.position.size());
  for (std::size_t row = 0; row < places.size(); ++row) {
    places[row] = place_at[static_cast<std::size_t>(partition.position[row])];
  }
  return places;
}

/// A rating on its way to its wave.
struct Dealt {
  std::int32_t place;  ///< of its row of the own side
  Entry entry;
};

/// The ratings by wave, in the order given.
struct DealtRatings {
  Buffer<Dealt> ratings;
  Buffer<float> weights;
  std::vector<std::int64_t> begin;  ///< of each wave, and the end
};

template <class WaveOf>
DealtRatings deal(const RatingsView& ratings, const Survey& rated, const Standardization& z, bool users_own,
                  const std::vector<std::int32_t>& places, std::int64_t n_waves, const WaveOf& wave_of,
                  ThreadTeam& team) {
  const std::int64_t n = ratings.size(), n_slices = std::clamp<std::int64_t>(n >> 16, 1, 4 * team.size());
  const auto slice_begin = [&](std::int64_t slice) { return n * slice / n_slices; };
  const auto counts = [&](std::size_t r) { return ratings.weights.empty() || ratings.weights[r] > 0; };
  std::vector<std::int64_t> next(static_cast<std::size_t>(n_slices * n_waves), 0);  // by slice and wave
  team.run(n_slices, [&](std::int64_t slice, int thread) {
    if (team.poll(thread)) return;
    std::int64_t* const mine = next.data() + slice * n_waves;
    for (auto r = static_cast<std::size_t>(slice_begin(slice)); r < static_cast<std::size_t>(slice_begin(slice + 1));
         ++r) {
      if (counts(r)) ++mine[wave_of(r)];
    }
  });
  DealtRatings dealt;
  std::int64_t total = 0;
  for (std::int64_t wave = 0; wave < n_waves; ++wave) {
    dealt.begin.push_back(total);
    for (std::int64_t slice = 0; slice < n_slices; ++slice) {
      total += std::exchange(next[static_cast<std::size_t>(slice * n_waves + wave)], total);
    }
  }
  dealt.begin.push_back(total);
  dealt.ratings = Buffer<Dealt>(rated.counted);
  dealt.weights = Buffer<float>(ratings.weights.empty() ? 0 : rated.counted);
  const std::span<const std::int32_t> own = users_own ? ratings.users : ratings.items,
                                      other = users_own ? ratings.items : ratings.users;
  team.run(n_slices, [&](std::int64_t slice, int thread) {
    if (team.poll(thread)) return;
    std::int64_t* const mine = next.data() + slice * n_waves;
    for (auto r = static_cast<std::size_t>(slice_begin(slice)); r < static_cast<std::size_t>(slice_begin(slice + 1));
         ++r) {
      if (!counts(r)) continue;
      const std::int64_t to = mine[wave_of(r)]++;
      const double value = z.standardized(static_cast<double>(ratings.values[r]));
      dealt.ratings[to] = {places[static_cast<std::size_t>(own[r])], {other[r], static_cast<float>(value)}};
      if (dealt.weights.size() > 0) {
        dealt.weights[to] = z.weight(ratings.weights[r]);
      }
    }
  });
  return dealt;
}

/// What a thread needs to arrange a wave.
struct Desk {
  std::vector<std::uint32_t> next;      // by place
  std::vector<std::uint64_t> keys;      // place, number of the rating
  std::vector<std::int32_t> positions;  // the wave's ratings, by place
};

/// The numbers of a wave's ratings by place, those of a place in the order given.
void sort_by_place(const Dealt* ratings, std::int64_t n, std::int64_t n_places, Desk& desk) {
  desk.positions.resize(static_cast<std::size_t>(n));
  if (n < n_places / 8) {
    desk.keys.resize(static_cast<std::size_t>(n));
    for (std::int64_t r = 0; r < n; ++r) {
      desk.keys[static_cast<std::size_t>(r)] =
          static_cast<std::uint64_t>(ratings[r].place) << 32 | static_cast<std::uint64_t>(r);
    }
    std::sort(desk.keys.begin(), desk.keys.end());
    for (std::size_t r = 0; r < desk.keys.size(); ++r) {
      desk.positions[r] = static_cast<std::int32_t>(desk.keys[r] & 0xffffffffu);
    }
    return;
  }
  desk.next.assign(static_cast<std::size_t>(n_places) + 1, 0);
  for (std::int64_t r = 0; r < n; ++r) ++desk.next[static_cast<std::size_t>(ratings[r].place) + 1];
  std::partial_sum(desk.next.begin(), desk.next.end(), desk.next.begin());
  for (std::int64_t r = 0; r < n; ++r) {
    desk.positions[desk.next[static_cast<std::size_t>(ratings[r].place)]++] = static_cast<std::int32_t>(r);
  }
}

}  // namespace

PassPlan make_pass_plan(const RatingsView& ratings, const Survey& rated, const Standardization& z, Parallel parallel,
                        std::uint64_t seed, ThreadTeam& team) {
  const bool apart = parallel == Parallel::blocked;
  PassPlan plan;
  // Hogwild: the row of the own side is one tile's work for a while, so that side is the one without heavy rows.
  // Blocked: both sides' rows are one tile's in a wave; those with many ratings stay in its registers, and the others
  // make steps of one or two ratings.
  plan.users_own = users_are_outer(rated) != apart;
  const std::vector<std::uint32_t>&own_counts = plan.users_own ? rated.user_counts : rated.item_counts,
        &other_counts = plan.users_own ? rated.item_counts : rated.user_counts;
  const auto n_ratings = static_cast<double>(rated.counted);
  const auto n_blocks =
      apart ? std::clamp(static_cast<std::int32_t>(std::sqrt(n_ratings / kCellRatings)), 1, kMostBlocks) : kWaves;
  const RowPartition own = partition_rows(own_counts, n_blocks, seed, plan.users_own ? kUserOrder : kItemOrder, team),
                     other =
                         partition_rows(other_counts, n_blocks, seed, plan.users_own ? kItemOrder : kUserOrder, team);
  const std::int64_t n_waves = apart ? std::max(own.blocks(), other.blocks()) : other.blocks();
  const std::vector<std::int32_t> own_blocks = blocks_of(own), other_blocks = blocks_of(other),
                                  places = places_of(own, !apart);
  std::vector<std::int32_t> row_at(places.size());  // by place
  for (std::size_t row = 0; row < places.size(); ++row) {
    row_at[static_cast<std::size_t>(places[row])] = static_cast<std::int32_t>(row);
  }
  const std::span<const std::int32_t> own_rows = plan.users_own ? ratings.users : ratings.items,
                                      other_rows = plan.users_own ? ratings.items : ratings.users;
  const auto wave_of = [&](std::size_t r) {
    const std::int64_t behind = other_blocks[static_cast<std::size_t>(other_rows[r])] -
                                own_blocks[static_cast<std::size_t>(own_rows[r])] % n_waves;
    return behind < 0 ? behind + n_waves : behind;
  };
  const DealtRatings dealt = deal(ratings, rated, z, plan.users_own, places, n_waves, wave_of, team);

  plan.entries = Buffer<Entry>(rated.counted);
  plan.weights = Buffer<float>(dealt.weights.size());
  struct Parts {
    std::vector<std::int32_t> rows;
    std::vector<std::uint32_t> segments, tasks;
  };
  std::vector<Parts> parts(static_cast<std::size_t>(n_waves));
  std::vector<Desk> desks(static_cast<std::size_t>(team.size()));
  team.run(n_waves, [&](std::int64_t wave, int thread) {
    if (team.poll(thread)) return;
    Desk& desk = desks[static_cast<std::size_t>(thread)];
    Parts& part = parts[static_cast<std::size_t>(wave)];
    const std::int64_t begin = dealt.begin[static_cast<std::size_t>(wave)],
                       n = dealt.begin[static_cast<std::size_t>(wave) + 1] - begin;
    const Dealt* const from = dealt.ratings.data() + begin;
    sort_by_place(from, n, static_cast<std::int64_t>(places.size()), desk);
    SplitMix64 random(seed, kDeviceShuffle, static_cast<std::uint64_t>(wave));
    std::uint32_t task = 0;  // where the present one begins
    for (std::int64_t at = 0; at < n;) {
      const std::int32_t place = from[desk.positions[static_cast<std::size_t>(at)]].place;
      const std::int32_t row = row_at[static_cast<std::size_t>(place)];
      std::int64_t end = at;
      while (end < n && from[desk.positions[static_cast<std::size_t>(end)]].place == place) ++end;
      // Files are often sorted by item or time, which SGD does not want.
      random.shuffle(desk.positions.data() + at, static_cast<std::uint32_t>(end - at));
      const bool first = part.tasks.empty();
      const bool new_task =
          first ||
          (apart ? own_blocks[static_cast<std::size_t>(row)] != own_blocks[static_cast<std::size_t>(part.rows.back())]
                 : static_cast<std::uint32_t>(at) - task + kSegmentRatings * (part.rows.size() - part.tasks.back()) >=
                       kTaskRatings);
      if (new_task) {
        part.tasks.push_back(static_cast<std::uint32_t>(part.rows.size()));
        task = static_cast<std::uint32_t>(at);
      }
      part.rows.push_back(row);
      part.segments.push_back(static_cast<std::uint32_t>(at));
      for (; at < end; ++at) {
        const std::int64_t r = desk.positions[static_cast<std::size_t>(at)];
        plan.entries[begin + at] = from[r].entry;
        if (plan.weights.size() > 0) plan.weights[begin + at] = dealt.weights[begin + r];
      }
    }
    part.tasks.push_back(static_cast<std::uint32_t>(part.rows.size()));
    part.segments.push_back(static_cast<std::uint32_t>(n));
    part.rows.push_back(0);
  });
  for (std::int64_t wave = 0; wave <= n_waves; ++wave) {
    plan.waves.push_back({dealt.begin[static_cast<std::size_t>(wave)],
                          static_cast<std::int64_t>(plan.segment_rows.size()),
                          static_cast<std::int64_t>(plan.task_begin.size())});
    if (wave == n_waves) break;
    Parts& part = parts[static_cast<std::size_t>(wave)];
    plan.segment_rows.insert(plan.segment_rows.end(), part.rows.begin(), part.rows.end());
    plan.segment_begin.insert(plan.segment_begin.end(), part.segments.begin(), part.segments.end());
    plan.task_begin.insert(plan.task_begin.end(), part.tasks.begin(), part.tasks.end());
    part = {};
  }
  const double busiest = *std::max_element(other_counts.begin(), other_counts.end());
  plan.most_tiles =
      apart ? kMostBlocks
            : std::max<std::int64_t>(1, std::min(rated.counted / kRatingsOfTile,
                                                 static_cast<std::int64_t>(kTilesOnRow * n_ratings / busiest)));
  return plan;
}

std::int64_t Piece::aligned_bytes(std::int64_t bytes) noexcept {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}
std::int64_t Piece::bytes(bool weighted) const noexcept {
  return aligned_bytes(n_entries * static_cast<std::int64_t>(sizeof(Entry))) +
         (weighted ? aligned_bytes(n_entries * static_cast<std::int64_t>(sizeof(float))) : 0) +
         2 * aligned_bytes((n_segments + 1) * 4) + aligned_bytes((n_tasks + 1) * 4);
}

std::vector<Piece> make_pieces(const PassPlan& plan, std::int64_t most_bytes) {
  const bool weighted = plan.weights.size() > 0;
  std::vector<Piece> pieces;
  for (std::int64_t wave = 0; wave < plan.n_waves(); ++wave) {
    const PassPlan::Wave& at = plan.waves[static_cast<std::size_t>(wave)];
    const std::uint32_t* const tasks = plan.task_begin.data() + at.first_task;
    const std::uint32_t* const segments = plan.segment_begin.data() + at.first_segment;
    const std::int64_t n_tasks = plan.n_tasks(wave);
    const auto of_tasks = [&](std::int64_t first, std::int64_t end) {
      Piece piece;
      piece.wave = wave;
      piece.first_task = first;
      piece.n_tasks = end - first;
      piece.first_segment = tasks[first];
      piece.n_segments = tasks[end] - tasks[first];
      piece.first_entry = segments[tasks[first]];
      piece.n_entries = segments[tasks[end]] - segments[tasks[first]];
      return piece;
    };
    for (std::int64_t first = 0; first < n_tasks;) {
      if (const std::int64_t least = of_tasks(first, first + 1).bytes(weighted); least > most_bytes) {
        no_room(least, most_bytes);
      }
      // The longest piece that fits, by bisection.
      std::int64_t fits = first + 1, too_long = n_tasks + 1;
      while (too_long - fits > 1) {
        const std::int64_t middle = fits + (too_long - fits) / 2;
        (of_tasks(first, middle).bytes(weighted) <= most_bytes ? fits : too_long) = middle;
      }
      pieces.push_back(of_tasks(first, fits));
      first = fits;
    }
  }
  return pieces;
}

std::int64_t BatchPiece::bytes(std::int64_t value_bytes, bool weighted) const noexcept {
  return Piece::aligned_bytes((n_rows + 1) * static_cast<std::int64_t>(sizeof(std::int64_t))) +
         Piece::aligned_bytes(n_entries * static_cast<std::int64_t>(sizeof(std::int32_t))) +
         Piece::aligned_bytes(n_entries * value_bytes) +
         (weighted ? Piece::aligned_bytes(n_entries * static_cast<std::int64_t>(sizeof(float))) : 0);
}

template <class T>
std::vector<std::vector<BatchPiece>> make_batch_pieces(const Batches<T>& batches, std::int64_t most_bytes) {
  std::vector<std::vector<BatchPiece>> pieces(static_cast<std::size_t>(batches.n_batches));
  for (std::int64_t b = 0; b < batches.n_batches; ++b) {
    for (const bool of_users : {true, false}) {
      const auto& side = of_users ? batches.users : batches.items;
      const bool weighted = side.weights.size() > 0;
      const auto of_parts = [&](std::int64_t first, std::int64_t end) {
        BatchPiece piece;
        piece.of_users = of_users;
        piece.batch = b;
        piece.first_row = side.parts[static_cast<std::size_t>(first)];
        piece.n_rows = side.parts[static_cast<std::size_t>(end)] - piece.first_row;
        piece.first_entry = side.begin[static_cast<std::size_t>(piece.first_row)];
        piece.n_entries = side.begin[static_cast<std::size_t>(piece.first_row + piece.n_rows)] - piece.first_entry;
        return piece;
      };
      const std::int64_t end = side.batch_parts[static_cast<std::size_t>(b) + 1];
      for (std::int64_t first = side.batch_parts[static_cast<std::size_t>(b)]; first < end;) {
        BatchPiece piece = of_parts(first, first + 1);
        if (const std::int64_t least = piece.bytes(sizeof(T), weighted); least > most_bytes) no_room(least, most_bytes);
        std::int64_t next = first + 1;
        for (; next < end; ++next) {
          const BatchPiece longer = of_parts(first, next + 1);
          if (longer.bytes(sizeof(T), weighted) > most_bytes) break;
          piece = longer;
        }
        pieces[static_cast<std::size_t>(b)].push_back(piece);
        first = next;
      }
    }
  }
  return pieces;
}

template std::vector<std::vector<BatchPiece>> make_batch_pieces(const Batches<float>&, std::int64_t);
template std::vector<std::vector<BatchPiece>> make_batch_pieces(const Batches<double>&, std::int64_t);

}  // namespace warpfactor
