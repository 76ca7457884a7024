// SPDX-License-Identifier: Apache-2.0
#include "device/plan_file.hpp"

#include <algorithm>
#include <numeric>
#include <type_traits>
#include <utility>

#include "buffer.hpp"
#include "drawers.hpp"

namespace warpfactor {
namespace {

constexpr std::int64_t kEntryBytes = sizeof(Entry), kNumberBytes = 4;

/// Segments that are read back at a time, to cut them into tasks. Not measured.
constexpr std::int64_t kSegmentsAtOnce = 1 << 16;

/// A rating on its way to its place in the plan. Its key is two numbers, so that there is no gap behind it.
struct FiledEntry {
  std::uint32_t key_high, key_low;
  Entry entry;

  [[nodiscard]] std::uint64_t key() const noexcept { return static_cast<std::uint64_t>(key_high) << 32 | key_low; }
};
struct FiledWeightedEntry : FiledEntry {
  float weight;
};

template <class Filed>
constexpr bool kIsWeighted = std::is_same_v<Filed, FiledWeightedEntry>;

/// Counters for each record of a drawer, at most; where more would be needed, records are compared. Not measured.
constexpr std::int64_t kCounters = 4;
/// What sorting a drawer holds for a record: itself, its number, counters, its entry, and a segment of its own.
template <class Filed>
constexpr std::int64_t kSortedBytes = sizeof(Filed) + (1 + kCounters) * kNumberBytes + kEntryBytes +
                                      (kIsWeighted<Filed> ? kNumberBytes : 0) + 2 * kNumberBytes;

/// A wave as far as it has been made.
struct WaveInFile {
  std::int64_t n_segments = 0;
  std::vector<std::uint32_t> task_begin, task_entry;
};

/// What is the same for all drawers.
struct PlanMaking {
  const PlanTables& tables;
  PlanKeys keys;
  const std::vector<std::int64_t>& first_entry;  ///< of each wave, and the end
  const PlanFile& to;
  std::vector<WaveInFile>& waves;
};

/// The place in the plan of a drawer's records. One for each that is sorted at the same time.
template <class Filed>
class PlanDrawer {
 public:
  /// For drawers of at most so many records.
  explicit PlanDrawer(std::int64_t most)
      : filed_(most), entries_(most), weights_(kIsWeighted<Filed> ? most : 0), numbers_(most) {}

  void arrange(const Drawers<Filed>& drawers, std::int64_t drawer, const PlanMaking& plan) {
    const std::int64_t n = drawers.records(drawer), begin = drawers.begin(drawer);
    if (n == 0) return;
    drawers.take(drawer, filed_.data());
    sort_by_segment(n, plan.keys.hash_bits);
    std::int64_t wave = plan.keys.wave_of(filed_[numbers_[0]].key());
    for (std::int64_t at = 0; at < n;) {
      const std::uint64_t key = filed_[numbers_[at]].key();
      const std::int64_t end = end_of_segment(at, n, plan.keys.hash_bits);
      // Of equal keys the first rating comes first.
      std::sort(numbers_.data() + at, numbers_.data() + end, [this](std::uint32_t a, std::uint32_t b) {
        return std::pair(filed_[a].key(), a) < std::pair(filed_[b].key(), b);
      });
      if (plan.keys.wave_of(key) != wave) write_segments(std::exchange(wave, plan.keys.wave_of(key)), plan);
      add_segment(plan.tables.row_at[static_cast<std::size_t>(plan.keys.turn_of(key))],
                  begin + at - plan.first_entry[static_cast<std::size_t>(wave)], wave, plan);
      for (; at < end; ++at) {
        const Filed& filed = filed_[numbers_[at]];
        entries_[at] = filed.entry;
        if constexpr (kIsWeighted<Filed>) weights_[at] = filed.weight;
      }
    }
    write_segments(wave, plan);
    plan.to.file.write(begin * kEntryBytes, entries_.data(), n * kEntryBytes);
    if (kIsWeighted<Filed>) {
      plan.to.file.write(plan.to.weights_at + begin * kNumberBytes, weights_.data(), n * kNumberBytes);
    }
  }

 private:
  [[nodiscard]] std::int64_t end_of_segment(std::int64_t at, std::int64_t n, std::int32_t hash_bits) const {
    const std::uint64_t segment = filed_[numbers_[at]].key() >> hash_bits;
    while (at < n && filed_[numbers_[at]].key() >> hash_bits == segment) ++at;
    return at;
  }

  /// Numbers the records by wave and turn; those of a segment in any order.
  void sort_by_segment(std::int64_t n, std::int32_t hash_bits) {
    const auto segment_of = [this, hash_bits](std::int64_t r) { return filed_[r].key() >> hash_bits; };
    std::uint64_t low = segment_of(0), high = low;
    for (std::int64_t r = 1; r < n; ++r) {
      low = std::min(low, segment_of(r));
      high = std::max(high, segment_of(r));
    }
    if (high - low >= static_cast<std::uint64_t>(kCounters * n)) {
      std::iota(numbers_.data(), numbers_.data() + n, std::uint32_t{0});
      std::sort(numbers_.data(), numbers_.data() + n,
                [&](std::uint32_t a, std::uint32_t b) { return segment_of(a) < segment_of(b); });
      return;
    }
    next_.assign(static_cast<std::size_t>(high - low) + 1, 0);
    for (std::int64_t r = 0; r < n; ++r) ++next_[static_cast<std::size_t>(segment_of(r) - low)];
    std::exclusive_scan(next_.begin(), next_.end(), next_.begin(), std::uint32_t{0});
    for (std::int64_t r = 0; r < n; ++r) {
      numbers_[next_[static_cast<std::size_t>(segment_of(r) - low)]++] = static_cast<std::uint32_t>(r);
    }
  }

  /// Adds a wave's next segment, which begins at its entry `at`.
  void add_segment(std::int32_t row, std::int64_t at, std::int64_t wave, const PlanMaking& plan) {
    rows_.push_back(row);
    begins_.push_back(static_cast<std::uint32_t>(at));
    ++plan.waves[static_cast<std::size_t>(wave)].n_segments;
  }

  /// Writes the last segments that were added, which are the wave's.
  void write_segments(std::int64_t wave, const PlanMaking& plan) {
    const auto n = static_cast<std::int64_t>(rows_.size());
    const std::int64_t first = plan.to.first_segment[static_cast<std::size_t>(wave)] +
                               plan.waves[static_cast<std::size_t>(wave)].n_segments - n;
    plan.to.file.write(plan.to.segment_rows_at + first * kNumberBytes, rows_.data(), n * kNumberBytes);
    plan.to.file.write(plan.to.segment_begin_at + first * kNumberBytes, begins_.data(), n * kNumberBytes);
    rows_.clear();
    begins_.clear();
  }

  Buffer<Filed> filed_;
  Buffer<Entry> entries_;
  Buffer<float> weights_;
  Buffer<std::uint32_t> numbers_;
  std::vector<std::uint32_t> next_;
  std::vector<std::int32_t> rows_;
  std::vector<std::uint32_t> begins_;
};

/// The ratings of a part, as the plan has them.
struct PlannedPart {
  std::span<const std::int32_t> own, other;
  std::span<const float> values, weights;
  std::int64_t first;  ///< the number of the first one

  PlannedPart(const RatingsView& part, bool users_own, std::int64_t first_rating)
      : own(users_own ? part.users : part.items),
        other(users_own ? part.items : part.users),
        values(part.values),
        weights(part.weights),
        first(first_rating) {}
  [[nodiscard]] bool counts(std::size_t r) const { return weights.empty() || weights[r] > 0; }
};

/// The drawers of a plan: cells of a wave and a range of turns. Those of a wave that one drawer does not hold are
/// sorted one after the other, as nobody knows how many segments come before.
struct PlanCells {
  std::int64_t n_buckets = 1;
  std::vector<std::int32_t> bucket_of;  ///< by own row
  std::vector<std::int32_t> drawer_of;  ///< by cell: wave * n_buckets + bucket
  std::vector<std::int64_t> drawer_begin, wave_begin;
  std::vector<std::int64_t>
      groups;  ///< the first drawer of each run of drawers that are of one wave, or hold whole waves

  [[nodiscard]] std::size_t cell(std::int64_t wave, std::int32_t own) const {
    return static_cast<std::size_t>(wave * n_buckets + bucket_of[static_cast<std::size_t>(own)]);
  }

  /// With about `most` records in a drawer.
  PlanCells(const RatingSource& ratings, const Survey& rated, const PlanTables& tables, std::int64_t most,
            ThreadTeam& team)
      : bucket_of(tables.row_at.size()) {
    const std::vector<std::uint32_t>& own_counts = tables.users_own ? rated.user_counts : rated.item_counts;
    const PlanKeys keys = tables.keys();
    const std::int64_t counted = rated.counted;
    // Twice as many as needed if a wave's ratings were dealt evenly.
    n_buckets = std::clamp<std::int64_t>(2 * counted / std::max<std::int64_t>(keys.n_waves * most, 1), 1,
                                         static_cast<std::int64_t>(own_counts.size()));
    std::int64_t before = 0;
    for (const std::int32_t row : tables.row_at) {
      const auto at = static_cast<std::size_t>(row);
      // In floating point, as the product may be beyond 64 bits; ascending all the same.
      const double share = static_cast<double>(before) / static_cast<double>(counted);
      bucket_of[at] = static_cast<std::int32_t>(
          std::min(static_cast<std::int64_t>(share * static_cast<double>(n_buckets)), n_buckets - 1));
      before += own_counts[at];
    }
    const std::int64_t n_cells = keys.n_waves * n_buckets;
    std::vector<std::vector<std::int64_t>> counts(static_cast<std::size_t>(team.size()),
                                                  std::vector<std::int64_t>(static_cast<std::size_t>(n_cells), 0));
    ratings.for_each_part([&](const RatingsView& part, std::int64_t first) {
      const PlannedPart of(part, tables.users_own, first);
      team.run_slices(part.size(), [&](std::int64_t begin, std::int64_t end, int thread) {
        std::int64_t* const to = counts[static_cast<std::size_t>(thread)].data();
        for (auto r = static_cast<std::size_t>(begin); r < static_cast<std::size_t>(end); ++r) {
          if (of.counts(r)) ++to[cell(keys.wave(of.own[r], of.other[r]), of.own[r])];
        }
      });
    });
    std::vector<std::int64_t> cell_begin(static_cast<std::size_t>(n_cells) + 1, 0);
    for (std::size_t c = 0; c < static_cast<std::size_t>(n_cells); ++c) {
      cell_begin[c + 1] = cell_begin[c];
      for (const auto& of_thread : counts) cell_begin[c + 1] += of_thread[c];
    }
    cut(cell_begin, keys.n_waves, most);
  }

 private:
  void cut(const std::vector<std::int64_t>& cell_begin, std::int64_t n_waves, std::int64_t most) {
    for (std::int64_t wave = 0; wave <= n_waves; ++wave) {
      wave_begin.push_back(cell_begin[static_cast<std::size_t>(wave * n_buckets)]);
    }
    drawer_of.resize(cell_begin.size() - 1);
    const std::vector<std::int64_t> runs = runs_of(wave_begin, most);
    for (std::size_t run = 0; run + 1 < runs.size(); ++run) {
      const auto first = cell_begin.begin() + runs[run] * n_buckets,
                 end = cell_begin.begin() + runs[run + 1] * n_buckets;
      groups.push_back(static_cast<std::int64_t>(drawer_begin.size()));
      std::vector<std::int64_t> cells{0, end - first};
      if (*end - *first > most) cells = runs_of({first, end + 1}, most);
      for (std::size_t n = 0; n + 1 < cells.size(); ++n) {
        const std::int64_t base = first - cell_begin.begin();
        std::fill(drawer_of.begin() + base + cells[n], drawer_of.begin() + base + cells[n + 1],
                  static_cast<std::int32_t>(drawer_begin.size()));
        drawer_begin.push_back(first[cells[n]]);
      }
    }
    groups.push_back(static_cast<std::int64_t>(drawer_begin.size()));
    drawer_begin.push_back(cell_begin.back());
  }
};

/// Cuts a wave, whose segments are in the file, into tasks.
void cut_in_file(std::int64_t wave, const PlanMaking& plan) {
  const auto w = static_cast<std::size_t>(wave);
  WaveInFile& of = plan.waves[w];
  const std::int64_t n_entries = plan.first_entry[w + 1] - plan.first_entry[w];
  TaskCutter cutter(plan.tables, n_entries, of.n_segments);
  std::vector<std::int32_t> rows;
  std::vector<std::uint32_t> begins;
  for (std::int64_t first = 0; first < of.n_segments; first += kSegmentsAtOnce) {
    const std::int64_t n = std::min(kSegmentsAtOnce, of.n_segments - first),
                       at = (plan.to.first_segment[w] + first) * kNumberBytes;
    rows.resize(static_cast<std::size_t>(n));
    begins.resize(static_cast<std::size_t>(n));
    plan.to.file.read(plan.to.segment_rows_at + at, rows.data(), n * kNumberBytes);
    plan.to.file.read(plan.to.segment_begin_at + at, begins.data(), n * kNumberBytes);
    for (std::size_t s = 0; s < rows.size(); ++s) {
      cutter.add(begins[s], plan.keys.own_stripes[rows[s]], of.task_begin);
      of.task_entry.resize(of.task_begin.size(), begins[s]);
    }
  }
  cutter.end(of.task_begin);
  of.task_entry.resize(of.task_begin.size(), static_cast<std::uint32_t>(n_entries));
}

template <class Filed>
void make_in_file(PassPlan& plan, const RatingSource& ratings, const Survey& rated, const RatingUnits& units,
                  const PlanTables& tables, ThreadTeam& team) {
  const ScratchFolder& scratch = *ratings.scratch();
  const PlanKeys keys = tables.keys();
  const std::int64_t most = scratch.buffer_bytes / kSortedBytes<Filed> / team.size();
  PlanCells cells(ratings, rated, tables, most, team);
  Drawers<Filed> drawers(scratch.path, cells.drawer_begin);
  const std::int64_t at_once = drawers.at_once(team, kSortedBytes<Filed>, scratch);
  ratings.for_each_part([&](const RatingsView& part, std::int64_t first) {
    const PlannedPart of(part, tables.users_own, first);
    drawers.add(
        part.size(),
        [&](std::size_t r) {
          return of.counts(r) ? cells.drawer_of[cells.cell(keys.wave(of.own[r], of.other[r]), of.own[r])]
                              : std::int32_t{-1};
        },
        [&](std::size_t r) {
          const std::uint64_t key = keys.key(of.own[r], of.other[r], of.first + static_cast<std::int64_t>(r));
          Filed filed;
          filed.key_high = static_cast<std::uint32_t>(key >> 32);
          filed.key_low = static_cast<std::uint32_t>(key);
          filed.entry = {of.other[r], static_cast<float>(units.standardized(static_cast<double>(of.values[r])))};
          if constexpr (kIsWeighted<Filed>) filed.weight = units.weight(of.weights[r]);
          return filed;
        },
        team);
  });
  drawers.close();
  cells.bucket_of = {};
  cells.drawer_of = {};

  PlanFile& to = plan.filed;
  to.weighted = kIsWeighted<Filed>;
  const std::int64_t n = cells.wave_begin.back(), n_rows = static_cast<std::int64_t>(tables.row_at.size());
  std::int64_t room = 0;  // of segments: a wave has one for each of its ratings or rows, and its end
  for (std::int64_t wave = 0; wave < keys.n_waves; ++wave) {
    const auto w = static_cast<std::size_t>(wave);
    to.first_segment.push_back(room);
    room += std::min(cells.wave_begin[w + 1] - cells.wave_begin[w], n_rows) + 1;
  }
  to.weights_at = n * kEntryBytes;
  to.segment_rows_at = to.weights_at + (kIsWeighted<Filed> ? n * kNumberBytes : 0);
  to.segment_begin_at = to.segment_rows_at + room * kNumberBytes;
  to.file = ScratchFile(scratch.path);
  std::vector<WaveInFile> waves(static_cast<std::size_t>(keys.n_waves));
  const PlanMaking making{tables, keys, cells.wave_begin, to, waves};
  const auto n_groups = static_cast<std::int64_t>(cells.groups.size()) - 1;
  std::int64_t largest = 0;
  for (std::int64_t drawer = 0; drawer < drawers.size(); ++drawer) largest = std::max(largest, drawers.records(drawer));
  std::vector<PlanDrawer<Filed>> each;
  for (std::int64_t d = 0; d < std::min(at_once, n_groups); ++d) each.emplace_back(largest);
  for (std::int64_t group = 0; group < n_groups; group += at_once) {
    team.run(std::min(at_once, n_groups - group), [&](std::int64_t at, int thread) {
      for (std::int64_t drawer = cells.groups[static_cast<std::size_t>(group + at)];
           drawer < cells.groups[static_cast<std::size_t>(group + at) + 1]; ++drawer) {
        if (team.poll(thread)) return;
        each[static_cast<std::size_t>(at)].arrange(drawers, drawer, making);
      }
    });
  }

  each.clear();
  team.run(keys.n_waves, [&](std::int64_t wave, int thread) {
    if (!team.poll(thread)) cut_in_file(wave, making);
  });

  PassPlan::Wave next;
  for (std::int64_t wave = 0; wave < keys.n_waves; ++wave) {
    const auto w = static_cast<std::size_t>(wave);
    WaveInFile& of = waves[w];
    const auto n_entries = static_cast<std::uint32_t>(cells.wave_begin[w + 1] - cells.wave_begin[w]);
    const std::int32_t no_row = 0;
    const std::int64_t end = (to.first_segment[w] + of.n_segments) * kNumberBytes;
    to.file.write(to.segment_rows_at + end, &no_row, kNumberBytes);
    to.file.write(to.segment_begin_at + end, &n_entries, kNumberBytes);
    plan.waves.push_back(next);
    plan.task_begin.insert(plan.task_begin.end(), of.task_begin.begin(), of.task_begin.end());
    to.task_entry.insert(to.task_entry.end(), of.task_entry.begin(), of.task_entry.end());
    next.first_entry += n_entries;
    next.first_segment += of.n_segments + 1;
    next.first_task += static_cast<std::int64_t>(of.task_begin.size());
    of.task_begin = of.task_entry = {};
  }
  plan.waves.push_back(next);
}

}  // namespace

PassPlan make_plan_in_file(const RatingSource& ratings, const Survey& rated, const RatingUnits& units,
                           const PlanTables& tables, ThreadTeam& team) {
  PassPlan plan;
  plan.users_own = tables.users_own;
  plan.max_tiles = tables.max_tiles;
  const auto make = ratings.weighted() ? make_in_file<FiledWeightedEntry> : make_in_file<FiledEntry>;
  make(plan, ratings, rated, units, tables, team);
  return plan;
}

void plan_plan_in_file(MemoryPlan& plan, const RatingCounts& counts, int n_threads) {
  const std::int64_t n = counts.n_ratings, most = std::max(counts.n_users, counts.n_items),
                     filed =
                         static_cast<std::int64_t>(counts.weighted ? sizeof(FiledWeightedEntry) : sizeof(FiledEntry)),
                     sorted = counts.weighted ? kSortedBytes<FiledWeightedEntry> : kSortedBytes<FiledEntry>;
  // A part on its way to drawers, beside each row's range of turns; then the records of drawers.
  plan.touch("sorting", most * kNumberBytes + std::min(part_ratings(counts.buffer_bytes), n) * filed);
  const std::int64_t of_thread = std::min(counts.buffer_bytes / sorted / n_threads, n);
  plan.touch("sorting", std::min(of_thread * n_threads, n) * sorted);
}

std::vector<Extent> extents_of(const PassPlan& plan, const Chunk& chunk) {
  const ChunkLayout at = chunk.layout(plan.weighted());
  const PlanFile& from = plan.filed;
  const auto w = static_cast<std::size_t>(chunk.wave);
  const std::int64_t entry = plan.waves[w].first_entry + chunk.first_entry,
                     segment = (from.first_segment[w] + chunk.first_segment) * kNumberBytes,
                     segments = (chunk.n_segments + 1) * kNumberBytes;
  std::vector<Extent> extents{{0, chunk.n_entries * kEntryBytes, &from.file, entry * kEntryBytes, nullptr}};
  if (plan.weighted()) {
    extents.push_back(
        {at.weights, chunk.n_entries * kNumberBytes, &from.file, from.weights_at + entry * kNumberBytes, nullptr});
  }
  extents.push_back({at.segment_rows, segments, &from.file, from.segment_rows_at + segment, nullptr});
  extents.push_back({at.segment_begin, segments, &from.file, from.segment_begin_at + segment, nullptr});
  const std::uint32_t* const tasks = plan.task_begin.data() + plan.waves[w].first_task + chunk.first_task;
  extents.push_back(
      {at.task_begin, (chunk.n_tasks + 1) * kNumberBytes, nullptr, 0, reinterpret_cast<const char*>(tasks)});
  return extents;
}

PlanExtents extents_of(const PassPlan& plan) {
  const Chunk whole = whole_of(plan);
  const PlanFile& from = plan.filed;
  PlanExtents extents;
  extents.entries = {{0, whole.n_entries * kEntryBytes, &from.file, 0, nullptr}};
  if (plan.weighted()) extents.weights = {{0, whole.n_entries * kNumberBytes, &from.file, from.weights_at, nullptr}};
  for (std::size_t w = 0; w + 1 < plan.waves.size(); ++w) {
    const std::int64_t first = plan.waves[w].first_segment * kNumberBytes,
                       n = plan.waves[w + 1].first_segment * kNumberBytes - first,
                       at = from.first_segment[w] * kNumberBytes;
    extents.segment_rows.push_back({first, n, &from.file, from.segment_rows_at + at, nullptr});
    extents.segment_begin.push_back({first, n, &from.file, from.segment_begin_at + at, nullptr});
  }
  extents.task_begin = {
      {0, whole.n_tasks * kNumberBytes, nullptr, 0, reinterpret_cast<const char*>(plan.task_begin.data())}};
  return extents;
}

}  // namespace warpfactor
