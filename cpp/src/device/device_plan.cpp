// SPDX-License-Identifier: Apache-2.0
#include "device/device_plan.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <string>

#include "cpu/blocks.hpp"
#include "device/plan_file.hpp"
#include "device/tuning.hpp"
#include "random.hpp"

namespace warpfactor {
namespace {

constexpr std::int64_t kAlignment = 256;

[[noreturn]] void no_room(std::int64_t least, std::int64_t max_bytes) {
  throw CudaError("out of memory on the device: beside the model there is room for two chunks of the ratings with " +
                  std::to_string(std::max<std::int64_t>(max_bytes, 0)) + " bytes each, and one takes " +
                  std::to_string(least) + " bytes: allow " + std::to_string(2 * (least - max_bytes)) +
                  " bytes of device_memory more, or use fewer factors, or device='cpu'");
}

std::int32_t stripes_of_blocked(std::int64_t n_ratings) {
  return std::clamp(static_cast<std::int32_t>(std::sqrt(static_cast<double>(n_ratings) / kMinRatingsPerBlock)), 1,
                    kMaxStripes);
}

/// Hogwild: the tiles that may work at once.
std::int64_t most_tiles(std::int64_t n_ratings, double most_rated) {
  return std::max<std::int64_t>(
      1, std::min(n_ratings / kRatingsOfTile,
                  static_cast<std::int64_t>(kTilesOnRow * static_cast<double>(n_ratings) / most_rated)));
}

/// The stripe of each row.
std::vector<std::int32_t> stripes_of(const RowPartition& partition) {
  std::vector<std::int32_t> at(partition.position.size()), stripes(partition.position.size());
  for (std::int32_t b = 0; b < partition.stripes(); ++b) {
    std::fill(at.begin() + partition.begin[static_cast<std::size_t>(b)],
              at.begin() + partition.begin[static_cast<std::size_t>(b) + 1], b);
  }
  for (std::size_t row = 0; row < stripes.size(); ++row)
    stripes[row] = at[static_cast<std::size_t>(partition.position[row])];
  return stripes;
}

/// The turn of each row in a wave: one stripe after the other, or interleaved: the first row of each stripe, then the
/// second.
std::vector<std::int32_t> turns_of(const RowPartition& partition, bool interleaved) {
  if (!interleaved) return partition.position;
  std::vector<std::int32_t> turn_at(partition.position.size());
  std::int32_t next = 0, longest = 0;
  for (std::size_t b = 0; b + 1 < partition.begin.size(); ++b) {
    longest = std::max(longest, partition.begin[b + 1] - partition.begin[b]);
  }
  for (std::int32_t n = 0; n < longest; ++n) {
    for (std::size_t b = 0; b + 1 < partition.begin.size(); ++b) {
      const std::int32_t at = partition.begin[b] + n;
      if (at < partition.begin[b + 1]) turn_at[static_cast<std::size_t>(at)] = next++;
    }
  }
  std::vector<std::int32_t> turns(partition.position.size());
  for (std::size_t row = 0; row < turns.size(); ++row) {
    turns[row] = turn_at[static_cast<std::size_t>(partition.position[row])];
  }
  return turns;
}

/// The ratings by wave, in the order given.
struct WaveRatings {
  Buffer<WaveRating> ratings;
  Buffer<float> weights;
  std::vector<std::int64_t> begin;  ///< of each wave, and the end
};

WaveRatings sort_into_waves(const RatingsView& ratings, const Survey& rated, const RatingUnits& z,
                            const PlanTables& tables, ThreadTeam& team) {
  const PlanKeys keys = tables.keys();
  const std::int64_t n_waves = tables.n_waves, n = ratings.size(),
                     n_slices = std::clamp<std::int64_t>(n >> 16, 1, 4 * team.size());
  const std::span<const std::int32_t> own = tables.users_own ? ratings.users : ratings.items,
                                      other = tables.users_own ? ratings.items : ratings.users;
  const auto slice_begin = [&](std::int64_t slice) { return n * slice / n_slices; };
  const auto counts = [&](std::size_t r) { return ratings.weights.empty() || ratings.weights[r] > 0; };
  std::vector<std::int64_t> next(static_cast<std::size_t>(n_slices * n_waves),
                                 0);  // by slice and wave: first counts, then where to write
  team.run(n_slices, [&](std::int64_t slice, int thread) {
    if (team.poll(thread)) return;
    std::int64_t* const next_of_slice = next.data() + slice * n_waves;
    for (auto r = static_cast<std::size_t>(slice_begin(slice)); r < static_cast<std::size_t>(slice_begin(slice + 1));
         ++r) {
      if (counts(r)) ++next_of_slice[keys.wave(own[r], other[r])];
    }
  });
  WaveRatings by_wave;
  std::int64_t total = 0;
  for (std::int64_t wave = 0; wave < n_waves; ++wave) {
    by_wave.begin.push_back(total);
    for (std::int64_t slice = 0; slice < n_slices; ++slice) {
      total += std::exchange(next[static_cast<std::size_t>(slice * n_waves + wave)], total);
    }
  }
  by_wave.begin.push_back(total);
  by_wave.ratings = Buffer<WaveRating>(rated.counted);
  by_wave.weights = Buffer<float>(ratings.weights.empty() ? 0 : rated.counted);
  team.run(n_slices, [&](std::int64_t slice, int thread) {
    if (team.poll(thread)) return;
    std::int64_t* const next_of_slice = next.data() + slice * n_waves;
    for (auto r = static_cast<std::size_t>(slice_begin(slice)); r < static_cast<std::size_t>(slice_begin(slice + 1));
         ++r) {
      if (!counts(r)) continue;
      const std::int64_t to = next_of_slice[keys.wave(own[r], other[r])]++;
      const double value = z.standardized(static_cast<double>(ratings.values[r]));
      by_wave.ratings[to] = {static_cast<std::uint32_t>(tables.turns[static_cast<std::size_t>(own[r])]),
                             static_cast<std::uint32_t>(keys.hash(static_cast<std::int64_t>(r))),
                             {other[r], static_cast<float>(value)}};
      if (by_wave.weights.size() > 0) {
        by_wave.weights[to] = z.weight(ratings.weights[r]);
      }
    }
  });
  return by_wave;
}

int bits_of(std::int64_t x) { return static_cast<int>(std::bit_width(static_cast<std::uint64_t>(x))); }

}  // namespace

void WaveArranger::arrange(const PlanTables& tables, const WaveRating* ratings, const float* weights, std::int64_t n,
                           Entry* entries, float* arranged_weights, WaveLists& lists) {
  const auto n_turns = static_cast<std::int64_t>(tables.turns.size());
  std::int64_t at = 0;
  const auto add = [&](std::int64_t turn, std::int64_t end) {
    lists.rows.push_back(tables.row_at[static_cast<std::size_t>(turn)]);
    lists.segments.push_back(static_cast<std::uint32_t>(at));
    for (; at < end; ++at) {
      const auto r = static_cast<std::int64_t>(keys_[static_cast<std::size_t>(at)] & 0xffffffffu);
      entries[at] = ratings[r].entry;
      if (weights != nullptr) arranged_weights[at] = weights[r];
    }
  };
  // A key is the hash, and the number of the rating: those of equal hashes stay in the order given.
  keys_.resize(static_cast<std::size_t>(n));
  if (n < n_turns / 8) {
    by_turn_.clear();
    for (std::int64_t r = 0; r < n; ++r) {
      by_turn_.emplace_back(ratings[r].turn, std::uint64_t{ratings[r].hash} << 32 | static_cast<std::uint64_t>(r));
    }
    std::sort(by_turn_.begin(), by_turn_.end());
    std::transform(by_turn_.begin(), by_turn_.end(), keys_.begin(), [](const auto& each) { return each.second; });
    for (std::size_t end = 1; end <= by_turn_.size(); ++end) {
      const std::uint32_t turn = by_turn_[end - 1].first;
      if (end == by_turn_.size() || by_turn_[end].first != turn) add(turn, static_cast<std::int64_t>(end));
    }
  } else {
    end_.assign(static_cast<std::size_t>(n_turns) + 1, 0);
    for (std::int64_t r = 0; r < n; ++r) ++end_[ratings[r].turn + 1];
    std::partial_sum(end_.begin(), end_.end(), end_.begin());
    for (std::int64_t r = 0; r < n; ++r) {
      keys_[end_[ratings[r].turn]++] = std::uint64_t{ratings[r].hash} << 32 | static_cast<std::uint64_t>(r);
    }
    for (std::int64_t turn = 0; turn < n_turns; ++turn) {
      const std::int64_t end = end_[static_cast<std::size_t>(turn)];
      if (end == at) continue;
      std::sort(keys_.begin() + at, keys_.begin() + end);
      add(turn, end);
    }
  }
  lists.segments.push_back(static_cast<std::uint32_t>(n));
  lists.rows.push_back(0);
  cut_into_tasks(tables, lists);
}

void TaskCutter::add(std::int64_t at, std::int32_t stripe, std::vector<std::uint32_t>& tasks) {
  const auto segment = static_cast<std::uint32_t>(n_segments_);
  if (n_stripes_ > 0) {
    while (static_cast<std::int32_t>(tasks.size()) <= stripe) tasks.push_back(segment);
  } else if (n_segments_ == 0 || cut_(n_segments_, before_, at, stripe_before_, stripe)) {
    tasks.push_back(segment);
  }
  ++n_segments_;
  before_ = at;
  stripe_before_ = stripe;
}

void TaskCutter::end(std::vector<std::uint32_t>& tasks) const {
  const std::size_t n_tasks = n_stripes_ > 0 ? static_cast<std::size_t>(n_stripes_) : tasks.size();
  tasks.resize(n_tasks + 1, static_cast<std::uint32_t>(n_segments_));
}

void cut_into_tasks(const PlanTables& tables, WaveLists& lists) {
  const std::size_t n = lists.segments.size() - 1;
  TaskCutter cutter(tables, lists.segments.back(), static_cast<std::int64_t>(n));
  for (std::size_t s = 0; s < n; ++s) {
    cutter.add(lists.segments[s], tables.own_stripes[static_cast<std::size_t>(lists.rows[s])], lists.tasks);
  }
  cutter.end(lists.tasks);
}

int PlanTables::key_bits() const noexcept { return bits_of(n_waves) + turn_bits + hash_bits; }

PlanTables make_plan_tables(const Survey& rated, Parallel parallel, std::uint64_t seed, ThreadTeam& team) {
  PlanTables tables;
  tables.blocked = parallel == Parallel::blocked;
  // Hogwild: one tile works on a row of the own side for a while, so the own side is the one without heavy rows.
  // Blocked: no row is shared, so the own side is the one with heavy rows, which stay in a tile's registers for many
  // ratings.
  tables.users_own = users_are_outer(rated) != tables.blocked;
  const std::vector<std::uint32_t>&own_counts = tables.users_own ? rated.user_counts : rated.item_counts,
        &other_counts = tables.users_own ? rated.item_counts : rated.user_counts;
  const auto n_stripes = tables.blocked ? stripes_of_blocked(rated.counted) : kWaves;
  const RowPartition own =
                         partition_rows(own_counts, n_stripes, seed, tables.users_own ? kUserOrder : kItemOrder, team),
                     other = partition_rows(other_counts, n_stripes, seed, tables.users_own ? kItemOrder : kUserOrder,
                                            team);
  tables.n_waves = tables.blocked ? std::max(own.stripes(), other.stripes()) : other.stripes();
  tables.own_stripes = stripes_of(own);
  tables.other_stripes = stripes_of(other);
  tables.turns = turns_of(own, !tables.blocked);
  tables.row_at.resize(tables.turns.size());
  for (std::size_t row = 0; row < tables.turns.size(); ++row) {
    tables.row_at[static_cast<std::size_t>(tables.turns[row])] = static_cast<std::int32_t>(row);
  }
  if (tables.blocked) {
    tables.first_turn = own.begin;
    tables.first_turn.resize(static_cast<std::size_t>(tables.n_waves) + 1, own.begin.back());
  }
  const std::uint32_t most_own = *std::max_element(own_counts.begin(), own_counts.end()),
                      most_other = *std::max_element(other_counts.begin(), other_counts.end());
  tables.max_tiles = tables.blocked ? kMaxStripes : most_tiles(rated.counted, most_other);
  // A segment of m ratings has about m^2 / 2^(hash_bits + 1) pairs of equal hashes, which stay in the order given: in
  // the longest segments there is one to eight ratings. A device sorts by whole bytes.
  tables.turn_bits = std::max(1, bits_of(static_cast<std::int64_t>(tables.turns.size()) - 1));
  const int rest = bits_of(tables.n_waves) + tables.turn_bits, least = bits_of(most_own / tables.n_waves) + 2;
  tables.hash_bits = std::min({(rest + least + 7) / 8 * 8 - rest, 64 - rest, 32});
  tables.start = SplitMix64(seed, kDeviceShuffle, 0).next();
  return tables;
}

PassPlan make_pass_plan(const RatingsView& ratings, const Survey& rated, const RatingUnits& z, const PlanTables& tables,
                        ThreadTeam& team) {
  PassPlan plan;
  plan.users_own = tables.users_own;
  plan.max_tiles = tables.max_tiles;
  const WaveRatings by_wave = sort_into_waves(ratings, rated, z, tables, team);
  plan.entries = Buffer<Entry>(rated.counted);
  plan.weights = Buffer<float>(by_wave.weights.size());
  std::vector<WaveLists> lists(static_cast<std::size_t>(tables.n_waves));
  std::vector<WaveArranger> arrangers(static_cast<std::size_t>(team.size()));
  team.run(tables.n_waves, [&](std::int64_t wave, int thread) {
    if (team.poll(thread)) return;
    WaveLists& list = lists[static_cast<std::size_t>(wave)];
    const std::int64_t begin = by_wave.begin[static_cast<std::size_t>(wave)],
                       n = by_wave.begin[static_cast<std::size_t>(wave) + 1] - begin;
    const WaveRating* const from = by_wave.ratings.data() + begin;
    arrangers[static_cast<std::size_t>(thread)].arrange(
        tables, from, plan.weights.size() > 0 ? by_wave.weights.data() + begin : nullptr, n,
        plan.entries.data() + begin, plan.weights.data() + begin, list);
  });
  for (std::int64_t wave = 0; wave <= tables.n_waves; ++wave) {
    plan.waves.push_back({by_wave.begin[static_cast<std::size_t>(wave)],
                          static_cast<std::int64_t>(plan.segment_rows.size()),
                          static_cast<std::int64_t>(plan.task_begin.size())});
    if (wave == tables.n_waves) break;
    WaveLists& list = lists[static_cast<std::size_t>(wave)];
    plan.segment_rows.insert(plan.segment_rows.end(), list.rows.begin(), list.rows.end());
    plan.segment_begin.insert(plan.segment_begin.end(), list.segments.begin(), list.segments.end());
    plan.task_begin.insert(plan.task_begin.end(), list.tasks.begin(), list.tasks.end());
    list = {};
  }
  return plan;
}

std::int64_t Chunk::aligned_bytes(std::int64_t bytes) noexcept {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}
ChunkLayout Chunk::layout(bool weighted) const noexcept {
  ChunkLayout at;
  const auto take = [&](std::int64_t size) { return std::exchange(at.bytes, at.bytes + aligned_bytes(size)); };
  take(n_entries * static_cast<std::int64_t>(sizeof(Entry)));
  at.weights = take(weighted ? n_entries * static_cast<std::int64_t>(sizeof(float)) : 0);
  at.segment_rows = take((n_segments + 1) * 4);
  at.segment_begin = take((n_segments + 1) * 4);
  at.task_begin = take((n_tasks + 1) * 4);
  return at;
}

void PassPlan::forget_arrays() {
  weights = Buffer<float>();
  entries = Buffer<Entry>();
  segment_rows = {};
  segment_begin = {};
  task_begin = {};
  filed = {};
}

Chunk whole_of(const PassPlan& plan) {
  Chunk whole;
  whole.n_entries = plan.waves.back().first_entry;
  whole.n_segments = plan.waves.back().first_segment;
  whole.n_tasks = plan.waves.back().first_task;
  return whole;
}

std::vector<Chunk> whole_waves(const PassPlan& plan) {
  std::vector<Chunk> chunks;
  for (std::int64_t wave = 0; wave < plan.n_waves(); ++wave) {
    const PassPlan::Wave &at = plan.waves[static_cast<std::size_t>(wave)],
                         &next = plan.waves[static_cast<std::size_t>(wave) + 1];
    Chunk chunk;
    chunk.wave = wave;
    chunk.n_tasks = plan.n_tasks(wave);
    chunk.n_segments = next.first_segment - at.first_segment - 1;
    chunk.n_entries = next.first_entry - at.first_entry;
    if (chunk.n_entries > 0) chunks.push_back(chunk);
  }
  return chunks;
}

std::vector<Chunk> make_chunks(const PassPlan& plan, std::int64_t max_bytes) {
  const bool weighted = plan.weighted();
  std::vector<Chunk> chunks;
  for (std::int64_t wave = 0; wave < plan.n_waves(); ++wave) {
    const PassPlan::Wave& at = plan.waves[static_cast<std::size_t>(wave)];
    const std::uint32_t* const tasks = plan.task_begin.data() + at.first_task;
    const std::int64_t n_tasks = plan.n_tasks(wave);
    /// The entry that a task begins with.
    const auto entry_of = [&](std::int64_t task) -> std::int64_t {
      if (plan.filed.file.is_open()) return plan.filed.task_entry[static_cast<std::size_t>(at.first_task + task)];
      return plan.segment_begin[static_cast<std::size_t>(at.first_segment + tasks[task])];
    };
    const auto of_tasks = [&](std::int64_t first, std::int64_t end) {
      Chunk chunk;
      chunk.wave = wave;
      chunk.first_task = first;
      chunk.n_tasks = end - first;
      chunk.first_segment = tasks[first];
      chunk.n_segments = tasks[end] - tasks[first];
      chunk.first_entry = entry_of(first);
      chunk.n_entries = entry_of(end) - chunk.first_entry;
      return chunk;
    };
    for (std::int64_t first = 0; first < n_tasks;) {
      if (const std::int64_t least = of_tasks(first, first + 1).bytes(weighted); least > max_bytes) {
        no_room(least, max_bytes);
      }
      // The longest chunk that fits, by bisection.
      std::int64_t fits = first + 1, too_long = n_tasks + 1;
      while (too_long - fits > 1) {
        const std::int64_t middle = fits + (too_long - fits) / 2;
        (of_tasks(first, middle).bytes(weighted) <= max_bytes ? fits : too_long) = middle;
      }
      chunks.push_back(of_tasks(first, fits));
      first = fits;
    }
  }
  return chunks;
}

std::int64_t BatchChunk::bytes(std::int64_t value_bytes, bool weighted) const noexcept {
  return Chunk::aligned_bytes((n_rows + 1) * static_cast<std::int64_t>(sizeof(std::int64_t))) +
         Chunk::aligned_bytes(n_entries * static_cast<std::int64_t>(sizeof(std::int32_t))) +
         Chunk::aligned_bytes(n_entries * value_bytes) +
         (weighted ? Chunk::aligned_bytes(n_entries * static_cast<std::int64_t>(sizeof(float))) : 0);
}

template <class T>
std::vector<std::vector<BatchChunk>> make_batch_chunks(const Batches<T>& batches, std::int64_t max_bytes) {
  std::vector<std::vector<BatchChunk>> chunks(static_cast<std::size_t>(batches.n_batches));
  for (std::int64_t b = 0; b < batches.n_batches; ++b) {
    for (const bool of_users : {true, false}) {
      const auto& side = of_users ? batches.users : batches.items;
      const bool weighted = side.weights.size() > 0;
      const auto of_tasks = [&](std::int64_t first, std::int64_t end) {
        BatchChunk chunk;
        chunk.of_users = of_users;
        chunk.batch = b;
        chunk.first_row = side.tasks[static_cast<std::size_t>(first)];
        chunk.n_rows = side.tasks[static_cast<std::size_t>(end)] - chunk.first_row;
        chunk.first_entry = side.begin[static_cast<std::size_t>(chunk.first_row)];
        chunk.n_entries = side.begin[static_cast<std::size_t>(chunk.first_row + chunk.n_rows)] - chunk.first_entry;
        return chunk;
      };
      const std::int64_t end = side.batch_tasks[static_cast<std::size_t>(b) + 1];
      for (std::int64_t first = side.batch_tasks[static_cast<std::size_t>(b)]; first < end;) {
        BatchChunk chunk = of_tasks(first, first + 1);
        if (const std::int64_t least = chunk.bytes(sizeof(T), weighted); least > max_bytes) no_room(least, max_bytes);
        std::int64_t next = first + 1;
        for (; next < end; ++next) {
          const BatchChunk longer = of_tasks(first, next + 1);
          if (longer.bytes(sizeof(T), weighted) > max_bytes) break;
          chunk = longer;
        }
        chunks[static_cast<std::size_t>(b)].push_back(chunk);
        first = next;
      }
    }
  }
  return chunks;
}

template std::vector<std::vector<BatchChunk>> make_batch_chunks(const Batches<float>&, std::int64_t);
template std::vector<std::vector<BatchChunk>> make_batch_chunks(const Batches<double>&, std::int64_t);

PassPlanSizes pass_plan_sizes(const RatingCounts& counts, Parallel parallel) {
  PassPlanSizes sizes;
  const bool blocked = parallel == Parallel::blocked;
  sizes.n_waves = blocked ? stripes_of_blocked(counts.n_ratings) : kWaves;
  // A row is a segment of each wave that it has ratings in. Which side is the own one only the ratings tell.
  const std::int64_t of_wave = (counts.n_ratings + sizes.n_waves - 1) / sizes.n_waves;
  for (const bool users : {true, false}) {
    sizes.n_segments =
        std::max(sizes.n_segments, rows_among(counts, users, of_wave, static_cast<double>(sizes.n_waves)));
  }
  sizes.n_segments += sizes.n_waves;
  // The least that task_work() may come to.
  const std::int64_t of_task =
      std::clamp(of_wave / most_tiles(counts.n_ratings, 1), kLeastTaskRatings, kMostTaskRatings / 2);
  sizes.n_tasks = sizes.n_waves * (blocked ? sizes.n_waves : 1) +
                  (blocked ? 0 : TaskCut::work(counts.n_ratings, sizes.n_segments) / of_task) + sizes.n_waves;
  return sizes;
}

void plan_plan_tables(MemoryPlan& plan, const RatingCounts& counts) {
  const std::int64_t most = std::max(counts.n_users, counts.n_items);
  plan_partition(plan, counts.n_users);
  plan_partition(plan, counts.n_items);
  plan.take("sorting", counts.all_rows() * 4 + 2 * most * 4);  // stripes, turns
  plan.free("order of the rows");
}

void plan_pass_plan(MemoryPlan& plan, const RatingCounts& counts, Parallel parallel, int n_threads) {
  const PassPlanSizes sizes = pass_plan_sizes(counts, parallel);
  if (counts.buffer_bytes > 0) {
    plan_plan_tables(plan, counts);
    plan_plan_in_file(plan, counts, n_threads);
    plan.take("ratings for the device", sizes.n_tasks * 8);
    return plan.free("sorting");
  }
  const std::int64_t n = counts.n_ratings, weight = counts.weighted ? 4 : 0,
                     most = std::max(counts.n_users, counts.n_items), segment = 2 * 4;
  plan_plan_tables(plan, counts);
  plan.take("sorting", n * (static_cast<std::int64_t>(sizeof(WaveRating)) + weight));  // by wave
  plan.take("ratings for the device", n * (static_cast<std::int64_t>(sizeof(Entry)) + weight));
  // Each thread sorts a wave; the lists of the waves grow as they go, and are then put together.
  plan.touch("sorting", n_threads * (n / sizes.n_waves * 8 + most * 4) + 2 * sizes.n_segments * segment);
  plan.take("ratings for the device", sizes.n_segments * segment + sizes.n_tasks * 4);
  plan.free("sorting");
}

}  // namespace warpfactor
