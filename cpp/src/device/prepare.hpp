// SPDX-License-Identifier: Apache-2.0
// How ratings become a plan, rating by rating and segment by segment. make_pass_plan() calls these functions on the
// host; a device runs the steps, each for all numbers at once.
#pragma once

#include <cstdint>
#include <variant>

#include "device/kernel_args.hpp"
#include "device/tuning.hpp"
#include "update_rule.hpp"

namespace warpfactor {

/// The key that a plan's ratings are sorted by: the wave, the turn of the own row in it, and last a hash of the
/// rating's number, because files are often sorted by item or time, and SGD wants random order. Of equal keys the first
/// rating comes first.
struct PlanKeys {
  const std::int32_t *turns, *own_stripes;  ///< by own row
  const std::int32_t* other_stripes;        ///< by other row
  std::int32_t n_waves;
  std::int32_t turn_bits, hash_bits;
  std::uint64_t start;  ///< of the sequence of the hashes

  [[nodiscard]] WARPFACTOR_HD std::int32_t wave(std::int32_t own, std::int32_t other) const {
    const std::int32_t behind = other_stripes[other] - own_stripes[own] % n_waves;
    return behind < 0 ? behind + n_waves : behind;
  }
  /// Number r of a sequence of SplitMix64.
  [[nodiscard]] WARPFACTOR_HD std::uint64_t hash(std::int64_t r) const {
    std::uint64_t z = start + 0x9e3779b97f4a7c15u * (static_cast<std::uint64_t>(r) + 1);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (z ^ (z >> 31)) >> (64 - hash_bits);
  }
  [[nodiscard]] WARPFACTOR_HD std::uint64_t key(std::int32_t own, std::int32_t other, std::int64_t r) const {
    return (static_cast<std::uint64_t>(wave(own, other)) << turn_bits | static_cast<std::uint32_t>(turns[own]))
               << hash_bits |
           hash(r);
  }
  [[nodiscard]] WARPFACTOR_HD std::int64_t wave_of(std::uint64_t key) const {
    return static_cast<std::int64_t>(key >> (turn_bits + hash_bits));
  }
  [[nodiscard]] WARPFACTOR_HD std::int64_t turn_of(std::uint64_t key) const {
    return static_cast<std::int64_t>(key >> hash_bits & ((std::uint64_t{1} << turn_bits) - 1));
  }
};

/// Where a wave's list of segments is cut into tasks. blocked: where the own row's stripe changes. Else where the work
/// of the wave so far passes a multiple of a task's: tasks are as long on average, and no cut waits for the one before.
struct TaskCut {
  bool blocked;
  std::int64_t task_work;  ///< of the wave: see task_work()

  /// Before segment s of the wave, its second or a later one; `at` and `before` are where it and the one before begin.
  [[nodiscard]] WARPFACTOR_HD bool operator()(std::int64_t s, std::int64_t before, std::int64_t at,
                                              std::int32_t stripe_before, std::int32_t stripe) const {
    if (blocked) return stripe != stripe_before;
    return work(at, s) / task_work != work(before, s - 1) / task_work;
  }

  /// Of so many ratings and segments, in ratings.
  [[nodiscard]] WARPFACTOR_HD static std::int64_t work(std::int64_t ratings, std::int64_t segments) {
    return ratings + static_cast<std::int64_t>(kSegmentCost) * segments;
  }
};

/// The work of a task of hogwild on average, at least, in a wave of so many ratings and segments: each of the tiles
/// gets the same number of tasks, because a wave takes as long as the tile with the most.
WARPFACTOR_HD inline std::int64_t task_work(std::int64_t ratings, std::int64_t segments, std::int64_t max_tiles) {
  const std::int64_t of_tile = (TaskCut::work(ratings, segments) + max_tiles - 1) / max_tiles,
                     tasks = (of_tile + kMostTaskRatings - 1) / kMostTaskRatings,
                     work = tasks > 1 ? (of_tile + tasks - 1) / tasks : of_tile;
  return work > kLeastTaskRatings ? work : kLeastTaskRatings;
}

/// Adds to `counts` how many of the ratings each row has.
struct CountArgs {
  const std::int32_t* rows;
  const float* weights;  ///< nullptr: all count; else those above 0
  std::int64_t n;
  std::uint32_t* counts;
};

/// Sorts `n` pairs by the lowest `bits` of their keys; those of equal keys stay in order. There is a second array of
/// each, as long, and temporary memory of Accelerator::sorting_bytes().
struct SortArgs {
  std::uint64_t *keys, *other_keys;
  std::uint32_t *numbers, *other_numbers;
  std::int64_t n;
  int bits;
  void* temporary;
  std::int64_t temporary_bytes;
};

// The steps, in order; each is called for all numbers of a range.

/// Of each rating; those of weight 0 get the last wave, which there is not.
struct KeyStep {
  PlanKeys plan;
  const std::int32_t *own, *other;
  const float* weights;  ///< nullptr: all 1
  std::uint64_t* keys;
  std::uint32_t* numbers;

  WARPFACTOR_HD void operator()(std::int64_t r) const {
    const bool counts = weights == nullptr || weights[r] > 0;
    keys[r] = counts ? plan.key(own[r], other[r], r)
                     : static_cast<std::uint64_t>(plan.n_waves) << (plan.turn_bits + plan.hash_bits);
    numbers[r] = static_cast<std::uint32_t>(r);
  }
};

/// Whether a segment begins at a sorted rating.
struct SegmentBegins {
  const std::uint64_t* keys;
  std::int32_t hash_bits;

  WARPFACTOR_HD bool operator()(std::uint32_t at) const {
    return at == 0 || keys[at] >> hash_bits != keys[at - 1] >> hash_bits;
  }
};

/// The first of n ascending numbers, or what `of` makes of them, that is not below x; n if there is none.
template <class Of, class X>
WARPFACTOR_HD std::int64_t first_from(std::int64_t n, const Of& of, X x) {
  std::int64_t low = 0, high = n;
  while (low < high) {
    const std::int64_t middle = low + (high - low) / 2;
    if (of(middle) < x) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

/// Of each wave, and of the end: its first rating and segment.
struct WaveStep {
  PlanKeys plan;
  const std::uint64_t* keys;
  std::int64_t n;
  const std::uint32_t* begins;  ///< of the segments
  std::int64_t n_segments;
  std::int64_t *first_entry, *first_segment;

  WARPFACTOR_HD void operator()(std::int64_t wave) const {
    const auto* const sorted = keys;
    const auto* const segments = begins;
    const std::uint64_t least = static_cast<std::uint64_t>(wave) << (plan.turn_bits + plan.hash_bits);
    const std::int64_t first = first_from(n, [sorted](std::int64_t at) { return sorted[at]; }, least);
    first_entry[wave] = first;
    first_segment[wave] =
        first_from(n_segments, [segments](std::int64_t s) { return static_cast<std::int64_t>(segments[s]); }, first);
  }
};

/// Of each segment, counted through all waves: its row and begin; and of each wave, whose numbers follow: its end.
struct SegmentStep {
  PlanKeys plan;
  const std::uint64_t* keys;
  const std::uint32_t* begins;
  std::int64_t n_segments;
  const std::int64_t *first_entry, *first_segment;
  const std::int32_t* row_at;  ///< by turn
  std::int32_t* rows;
  std::uint32_t* segment_begin;

  WARPFACTOR_HD void operator()(std::int64_t n) const {
    if (n >= n_segments) {
      const std::int64_t wave = n - n_segments, to = first_segment[wave + 1] + wave;
      rows[to] = 0;
      segment_begin[to] = static_cast<std::uint32_t>(first_entry[wave + 1] - first_entry[wave]);
      return;
    }
    const std::uint64_t key = keys[begins[n]];
    const std::int64_t wave = plan.wave_of(key);
    rows[n + wave] = row_at[plan.turn_of(key)];
    segment_begin[n + wave] = static_cast<std::uint32_t>(begins[n] - first_entry[wave]);
  }
};

/// Whether a task begins with a segment, counted through all waves.
struct TaskBegins {
  PlanKeys plan;
  bool blocked;
  std::int64_t max_tiles;
  const std::uint64_t* keys;
  const std::uint32_t* begins;
  const std::int64_t *first_entry, *first_segment;
  const std::int32_t* row_at;

  WARPFACTOR_HD bool operator()(std::uint32_t n) const {
    const std::uint64_t key = keys[begins[n]];
    const std::int64_t wave = plan.wave_of(key), s = n - first_segment[wave];
    if (s == 0) return true;
    const std::uint64_t before = keys[begins[n - 1]];
    const TaskCut cut{blocked, task_work(first_entry[wave + 1] - first_entry[wave],
                                         first_segment[wave + 1] - first_segment[wave], max_tiles)};
    return cut(s, begins[n - 1] - first_entry[wave], begins[n] - first_entry[wave],
               plan.own_stripes[row_at[plan.turn_of(before)]], plan.own_stripes[row_at[plan.turn_of(key)]]);
  }
};

/// Of each wave, and of the end: its first task.
struct WaveTaskStep {
  const std::uint32_t* task_segments;  ///< each task's first
  std::int64_t n_tasks;
  const std::int64_t* first_segment;
  std::int64_t* first_task;

  WARPFACTOR_HD void operator()(std::int64_t wave) const {
    const auto* const segments = task_segments;
    first_task[wave] = first_from(
        n_tasks, [segments](std::int64_t t) { return static_cast<std::int64_t>(segments[t]); }, first_segment[wave]);
  }
};

/// Of each task, counted through all waves: its first segment in the wave; and of each wave, whose numbers follow: its
/// end.
struct TaskStep {
  PlanKeys plan;
  const std::uint64_t* keys;
  const std::uint32_t *begins, *task_segments;
  std::int64_t n_tasks;
  const std::int64_t *first_segment, *first_task;
  std::uint32_t* task_begin;

  WARPFACTOR_HD void operator()(std::int64_t n) const {
    if (n >= n_tasks) {
      const std::int64_t wave = n - n_tasks;
      task_begin[first_task[wave + 1] + wave] =
          static_cast<std::uint32_t>(first_segment[wave + 1] - first_segment[wave]);
      return;
    }
    const std::int64_t wave = plan.wave_of(keys[begins[task_segments[n]]]);
    task_begin[n + wave] = static_cast<std::uint32_t>(task_segments[n] - first_segment[wave]);
  }
};

/// Of each wave, one after the other, and in it of each stripe of the own side, and of the end: its first segment in
/// the wave. In place of the last two, where each stripe is a task, with ratings or without.
struct StripeTaskStep {
  PlanKeys plan;
  const std::uint64_t* keys;
  const std::uint32_t* begins;
  const std::int64_t* first_segment;
  const std::int32_t* first_turn;  ///< of each stripe, and the end
  std::uint32_t* task_begin;

  WARPFACTOR_HD void operator()(std::int64_t n) const {
    const std::int64_t of_wave = plan.n_waves + 1, wave = n / of_wave, first = first_segment[wave];
    const auto* const sorted = keys;
    const auto* const segments = begins + first;
    // The end is one more than the turns' bits hold where the own rows are a power of two: it carries into the wave.
    const std::uint64_t least =
        (static_cast<std::uint64_t>(wave) << plan.turn_bits) + static_cast<std::uint64_t>(first_turn[n % of_wave]);
    const int bits = plan.hash_bits;
    task_begin[n] = static_cast<std::uint32_t>(first_from(
        first_segment[wave + 1] - first, [=](std::int64_t s) { return sorted[segments[s]] >> bits; }, least));
  }
};

/// Of each place of the plan: its entry and weight.
struct EntryStep {
  const std::uint32_t* numbers;  ///< of the ratings, sorted
  const std::int32_t* other;
  const float *values, *weights;      ///< as given; weights: nullptr for all 1
  double shift, scale, weight_scale;  ///< as RatingUnits
  Entry* entries;
  float* scaled_weights;

  WARPFACTOR_HD void operator()(std::int64_t at) const {
    const std::uint32_t r = numbers[at];
    entries[at] = {other[r], static_cast<float>((static_cast<double>(values[r]) - shift) / scale)};
    if (weights != nullptr) scaled_weights[at] = static_cast<float>(static_cast<double>(weights[r]) * weight_scale);
  }
};

// The steps to the lists of who rated what.

/// Of each rating: the key of its pair of rows, and whether it counts, 1 or 0; those that do not get a row that there
/// is not.
struct PairStep {
  const std::int32_t *own, *other;
  const float* weights;  ///< nullptr: all 1
  std::int32_t n_own;
  std::int32_t other_bits;
  std::uint64_t* keys;
  std::uint32_t* numbers;
  float* counts;

  WARPFACTOR_HD void operator()(std::int64_t r) const {
    const bool is_counted = weights == nullptr || weights[r] > 0;
    keys[r] =
        static_cast<std::uint64_t>(is_counted ? own[r] : n_own) << other_bits | static_cast<std::uint32_t>(other[r]);
    numbers[r] = static_cast<std::uint32_t>(r);
    counts[r] = is_counted ? 1.0F : 0.0F;
  }
};

/// Of each place of the sorted pairs: a rating of the pair before does not count.
struct RepeatStep {
  const std::uint64_t* keys;
  const std::uint32_t* numbers;
  float* counts;

  WARPFACTOR_HD void operator()(std::int64_t at) const {
    if (at > 0 && keys[at] == keys[at - 1]) counts[numbers[at]] = 0;
  }
};

/// Of each rating: its row as the key, and its other row; those that do not count come last.
struct ListStep {
  const std::int32_t *own, *other;
  const float* counts;
  std::int32_t n_own;
  std::uint64_t* keys;
  std::uint32_t* others;

  WARPFACTOR_HD void operator()(std::int64_t r) const {
    keys[r] = static_cast<std::uint64_t>(counts[r] > 0 ? own[r] : n_own);
    others[r] = static_cast<std::uint32_t>(other[r]);
  }
};

/// Of each part of a side's lists (SumPlan): the sum of the squares that `of` has for its others.
template <class A>
struct SquaresStep {
  const std::int32_t* others;
  const std::int64_t* begin;  ///< by part, and the end
  const A* of;
  double* sums;

  WARPFACTOR_HD void operator()(std::int64_t part) const {
    double sum = 0;
    for (std::int64_t at = begin[part]; at < begin[part + 1]; ++at) {
      const auto x = static_cast<double>(of[others[at]]);
#if defined(__CUDA_ARCH__)
      sum = __dadd_rn(sum, __dmul_rn(x, x));  // not fused: the bits of the host
#else
      sum += x * x;
#endif
    }
    sums[part] = sum;
  }
};

using PrepareStep = std::variant<KeyStep, WaveStep, SegmentStep, WaveTaskStep, TaskStep, StripeTaskStep, EntryStep,
                                 PairStep, RepeatStep, ListStep, SquaresStep<float>, SquaresStep<double>>;
/// Which numbers of a range are taken.
using PrepareChoice = std::variant<SegmentBegins, TaskBegins>;

/// Writes the numbers of 0 .. n - 1 that are taken, ascending, to `to`, and how many they are to `count`.
struct ChooseArgs {
  std::int64_t n;
  std::uint32_t *to, *count;
  void* temporary;
  std::int64_t temporary_bytes;
};

/// About what Accelerator::sorting_bytes() says. CUB keeps 256 counters for each of its tiles of a few thousand pairs.
inline constexpr std::int64_t sorting_bytes_of(std::int64_t n) noexcept { return n / 4 + (std::int64_t{64} << 10); }

}  // namespace warpfactor
