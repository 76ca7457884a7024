// SPDX-License-Identifier: Apache-2.0
// The order in which a device takes ratings, for steps of one rating, and the chunks in which ratings go to a device
// whose memory does not hold them all.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "buffer.hpp"
#include "cpu/batches.hpp"
#include "device/kernel_args.hpp"
#include "device/prepare.hpp"
#include "memory_plan.hpp"
#include "scratch.hpp"
#include "standardize.hpp"
#include "survey.hpp"
#include "threads.hpp"

namespace warpfactor {

/// The arrays of a plan by entry and by segment, where memory does not hold them: one after the other in a file, those
/// of segments with a gap after each wave, as nobody knows before how many segments it has. Offsets are in bytes.
struct PlanFile {
  ScratchFile file;  ///< not open: they are in memory
  bool weighted = false;
  std::int64_t weights_at = 0, segment_rows_at = 0, segment_begin_at = 0;
  std::vector<std::int64_t> first_segment;  ///< of each wave, in both arrays of segments
  /// By task, as task_begin: where it begins, counted from the wave's first entry.
  std::vector<std::uint32_t> task_entry;
};

/// An epoch is a number of waves, one after the other. Rows of both sides are cut into stripes. Wave w takes, for each
/// stripe u of the own side, the block with stripe (u + w) mod n of the other side (a stratum of DSGD): a wave uses
/// each row of the own side in one block, and a popular row of the other side in only a few tasks. A wave's ratings are
/// in segments and tasks, as in PassArgs.
///
/// Parallel::blocked: a task is a whole block, and there are as many in each wave as there are waves, n: task u is that
/// of own stripe u, and empty where there are no ratings. No two tasks of a wave share a row of either side, so the
/// result does not depend on who runs first. Parallel::hogwild: few waves of many short tasks. Rows of the own side are
/// still never shared. Tasks that are near each other in the list are of different stripes.
struct PassPlan {
  /// Where a wave begins in the arrays. For each wave the arrays of segments and tasks have one element more, so that
  /// segment_begin and task_begin end with the wave's end.
  struct Wave {
    std::int64_t first_entry = 0, first_segment = 0, first_task = 0;
  };

  bool users_own = true;
  Buffer<Entry> entries;
  Buffer<float> weights;                     ///< parallel to `entries`; empty: all 1
  std::vector<std::int32_t> segment_rows;    ///< by segment; each wave's last is not used
  std::vector<std::uint32_t> segment_begin;  ///< counted from the wave's first entry
  std::vector<std::uint32_t> task_begin;     ///< counted from the wave's first segment
  std::vector<Wave> waves;                   ///< and the end of the last one
  PlanFile filed;                            ///< entries, weights and segments, if they are in a file

  /// Frees the arrays, in memory or in the file; waves stay.
  void forget_arrays();
  [[nodiscard]] bool weighted() const noexcept { return weights.size() > 0 || filed.weighted; }
  [[nodiscard]] std::int64_t n_waves() const noexcept { return static_cast<std::int64_t>(waves.size()) - 1; }
  [[nodiscard]] std::int64_t n_tasks(std::int64_t wave) const noexcept {
    return waves[static_cast<std::size_t>(wave) + 1].first_task - waves[static_cast<std::size_t>(wave)].first_task - 1;
  }
  /// Tiles that may work at once without spoiling the result: of many tiles on one row only the last to write counts.
  std::int64_t max_tiles = 1;
};

/// What a plan is made by, of each row and in all: whoever makes it, from the ratings in any way, makes the same.
struct PlanTables {
  bool users_own = true, blocked = false;
  std::int64_t n_waves = 1;
  std::int64_t max_tiles = 1;                    ///< as in PassPlan
  std::vector<std::int32_t> turns, own_stripes;  ///< by own row: its turn in a wave, and its stripe
  std::vector<std::int32_t> other_stripes;       ///< by other row
  std::vector<std::int32_t> row_at;              ///< own row, by turn
  std::vector<std::int32_t> first_turn;          ///< blocked: by own stripe, of n_waves, and the end
  std::int32_t turn_bits = 1, hash_bits = 1;
  std::uint64_t start = 0;

  /// Of these tables.
  [[nodiscard]] PlanKeys keys() const {
    return {turns.data(),
            own_stripes.data(),
            other_stripes.data(),
            static_cast<std::int32_t>(n_waves),
            turn_bits,
            hash_bits,
            start};
  }
  /// Of a rating's key.
  [[nodiscard]] int key_bits() const noexcept;
};
PlanTables make_plan_tables(const Survey& rated, Parallel parallel, std::uint64_t seed, ThreadTeam& team);

/// A rating before it is sorted inside its wave.
struct WaveRating {
  std::uint32_t turn;  ///< of the row of the own side
  std::uint32_t hash;  ///< PlanKeys::hash
  Entry entry;
};

/// A wave's segments and tasks, as in PassPlan.
struct WaveLists {
  std::vector<std::int32_t> rows;
  std::vector<std::uint32_t> segments, tasks;
};
/// Cuts a wave's segments into tasks, one after the other.
class TaskCutter {
 public:
  /// Of a wave with so many ratings and segments.
  TaskCutter(const PlanTables& tables, std::int64_t n_ratings, std::int64_t n_segments)
      : cut_{tables.blocked, task_work(n_ratings, n_segments, tables.max_tiles)},
        n_stripes_(tables.blocked ? tables.n_waves : 0) {}
  /// The next segment, of a row of this stripe, which begins at the wave's entry `at`. Adds the tasks that begin with
  /// it.
  void add(std::int64_t at, std::int32_t stripe, std::vector<std::uint32_t>& tasks);
  /// Adds the end, and before it the tasks that there must be.
  void end(std::vector<std::uint32_t>& tasks) const;

 private:
  TaskCut cut_;
  std::int64_t n_stripes_;  ///< each of which is a task; 0: those with ratings
  std::int64_t n_segments_ = 0, before_ = 0;
  std::int32_t stripe_before_ = 0;
};
/// Writes the tasks of segments that are there.
void cut_into_tasks(const PlanTables& tables, WaveLists& lists);

/// Arranges waves, one after the other, in memory that it keeps.
class WaveArranger {
 public:
  /// From a wave's ratings, in the order given, to its entries and lists, which are empty before. `weights`: nullptr
  /// for none.
  void arrange(const PlanTables& tables, const WaveRating* ratings, const float* weights, std::int64_t n,
               Entry* entries, float* arranged_weights, WaveLists& lists);

 private:
  std::vector<std::uint32_t> end_;                                ///< by turn
  std::vector<std::uint64_t> keys_;                               ///< hash and number of a rating, by turn
  std::vector<std::pair<std::uint32_t, std::uint64_t>> by_turn_;  ///< of few ratings: the turn, and that
};

/// Stores values as (value - shift) / scale and weights times weight_scale; leaves out ratings of weight 0. The result
/// depends on the input and the seed, not on the team's size.
PassPlan make_pass_plan(const RatingsView& ratings, const Survey& rated, const RatingUnits& z, const PlanTables& tables,
                        ThreadTeam& team);
inline PassPlan make_pass_plan(const RatingsView& ratings, const Survey& rated, const RatingUnits& z, Parallel parallel,
                               std::uint64_t seed, ThreadTeam& team) {
  return make_pass_plan(ratings, rated, z, make_plan_tables(rated, parallel, seed, team), team);
}

/// Where the arrays of a chunk lie in a slot, in bytes: the entries first.
struct ChunkLayout {
  std::int64_t weights = 0, segment_rows = 0, segment_begin = 0, task_begin = 0, bytes = 0;
};

/// Consecutive tasks of a wave, copied to the device together.
struct Chunk {
  std::int64_t wave = 0;
  std::int64_t first_task = 0, n_tasks = 0;        ///< in the wave
  std::int64_t first_segment = 0, n_segments = 0;  ///< likewise
  std::int64_t first_entry = 0, n_entries = 0;     ///< likewise

  /// On the device, with each array aligned.
  [[nodiscard]] ChunkLayout layout(bool weighted) const noexcept;
  [[nodiscard]] std::int64_t bytes(bool weighted) const noexcept { return layout(weighted).bytes; }
  static std::int64_t aligned_bytes(std::int64_t bytes) noexcept;
};

/// The whole plan as if it were one chunk.
Chunk whole_of(const PassPlan& plan);
/// A chunk for each wave with ratings.
std::vector<Chunk> whole_waves(const PassPlan& plan);
/// The plan in chunks of at most `max_bytes`, in order. Throws CudaError with the bytes needed if one task takes more.
std::vector<Chunk> make_chunks(const PassPlan& plan, std::int64_t max_bytes);

/// Consecutive rows of one side of a batch with their ratings, copied to the device together.
struct BatchChunk {
  bool of_users = true;
  std::int64_t batch = 0;
  std::int64_t first_row = 0, n_rows = 0;  ///< of Batches::Side::rows
  std::int64_t first_entry = 0, n_entries = 0;

  /// Of `begin`, others, values (of `value_bytes` each) and weights, with each array aligned.
  [[nodiscard]] std::int64_t bytes(std::int64_t value_bytes, bool weighted) const noexcept;
};

/// By batch: the users' side, then the items', in chunks of at most `max_bytes`. Throws as make_chunks().
template <class T>
std::vector<std::vector<BatchChunk>> make_batch_chunks(const Batches<T>& batches, std::int64_t max_bytes);

/// The sizes of a plan, about, and at least of its largest chunk where it has as many as can be.
struct PassPlanSizes {
  std::int64_t n_waves = 1, n_segments = 0, n_tasks = 0;
};
PassPlanSizes pass_plan_sizes(const RatingCounts& counts, Parallel parallel);
/// Tells what make_plan_tables() takes of the host, in the part "sorting".
void plan_plan_tables(MemoryPlan& plan, const RatingCounts& counts);
/// Tells what that and make_pass_plan() take of the host, in the part "sorting", and of it what stays.
void plan_pass_plan(MemoryPlan& plan, const RatingCounts& counts, Parallel parallel, int n_threads);

}  // namespace warpfactor
