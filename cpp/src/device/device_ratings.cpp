// SPDX-License-Identifier: Apache-2.0
#include "device/device_ratings.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

#include "device/tuning.hpp"

namespace warpfactor {
namespace {

constexpr std::int64_t kPair = sizeof(std::uint64_t) + sizeof(std::uint32_t);  // a key and a number
constexpr std::int64_t kTables = 4 * 4;   // of a row: turn, stripe, own row by turn
constexpr std::int64_t kSegment = 3 * 4;  // row, begin, and a task at most

}  // namespace

struct DeviceRatings::Making {
  PlanOnDevice made;
  DeviceBuffer<std::int32_t> turns, own_stripes, other_stripes, row_at, first_turn;
  DeviceBuffer<std::int64_t> first_entry, first_segment, first_task;
  DeviceBuffer<std::uint64_t> keys, other_keys;
  DeviceBuffer<std::uint32_t> numbers, other_numbers, chosen;
  DeviceBuffer<char> temporary;
  PlanKeys plan{};
};

std::int64_t DeviceRatings::planning_bytes(std::int64_t n, std::int64_t n_rows, std::int64_t n_segments,
                                           std::int64_t temporary) noexcept {
  return 2 * n * kPair + temporary + n_rows * kTables + n_segments * kSegment;
}
std::int64_t DeviceRatings::planning_bytes() { return planning_bytes(n_, n_rows_, 0, device_.sorting_bytes(n_)); }

DeviceRatings::DeviceRatings(Accelerator& device, DeviceMemory& memory, const RatingsView& ratings,
                             const char* argument, Staging& staging, ThreadTeam& team)
    : device_(device), memory_(memory), n_(ratings.size()), n_rows_(std::int64_t{ratings.n_users} + ratings.n_items) {
  try {
    take(ratings, argument, staging, team);
  } catch (...) {
    give_back();
    throw;
  }
}
DeviceRatings::~DeviceRatings() { give_back(); }

void DeviceRatings::give_back() {
  memory_.give_back(users_);
  memory_.give_back(items_);
  memory_.give_back(values_);
  memory_.give_back(weights_);
  memory_.give_back(user_counts_);
  memory_.give_back(item_counts_);
}

void DeviceRatings::take(const RatingsView& ratings, const char* argument, Staging& staging, ThreadTeam& team) {
  RatingCheck check(ratings, argument);
  const bool weighted = !ratings.weights.empty();
  users_ = memory_.allocate<std::int32_t>(n_);
  items_ = memory_.allocate<std::int32_t>(n_);
  values_ = memory_.allocate<float>(n_);
  weights_ = memory_.allocate<float>(weighted ? n_ : 0);
  user_counts_ = memory_.zeros<std::uint32_t>(ratings.n_users);
  item_counts_ = memory_.zeros<std::uint32_t>(ratings.n_items);
  constexpr std::int64_t kRange = RatingCheck::kRange, kField = 4;
  const std::int64_t rating = given_bytes(1, weighted);
  const std::int64_t most = staging.bytes() / rating / kRange * kRange;
  for (std::int64_t first = 0; first < n_; first += most) {
    const std::int64_t n = std::min(most, n_ - first);
    staging.piece([&](char* memory, const auto& send) {
      team.run_slices(
          n,
          [&](std::int64_t begin, std::int64_t end, int thread) {
            if (team.poll(thread)) return;
            check.look(first + begin, first + end);
            const auto copy = [&](std::int64_t field, const auto& from) {
              std::memcpy(memory + (field * n + begin) * kField, from.data() + first + begin,
                          static_cast<std::size_t>((end - begin) * kField));
            };
            copy(0, ratings.users);
            copy(1, ratings.items);
            copy(2, ratings.values);
            if (weighted) copy(3, ratings.weights);
          },
          kCheckedRatings);
      send(users_.data() + first, memory, n * kField);
      send(items_.data() + first, memory + n * kField, n * kField);
      send(values_.data() + first, memory + 2 * n * kField, n * kField);
      if (weighted) send(weights_.data() + first, memory + 3 * n * kField, n * kField);
    });
    staging.join();
    const float* const weights = weighted ? weights_.data() + first : nullptr;
    device_.count({users_.data() + first, weights, n, user_counts_.data()});
    device_.count({items_.data() + first, weights, n, item_counts_.data()});
  }
  rated_ = check.survey();
  counted_ = rated_.counted;
  rated_.user_counts.resize(static_cast<std::size_t>(ratings.n_users));
  rated_.item_counts.resize(static_cast<std::size_t>(ratings.n_items));
  user_counts_.download(rated_.user_counts.data());
  item_counts_.download(rated_.item_counts.data());
  memory_.give_back(user_counts_);
  memory_.give_back(item_counts_);
}

std::int64_t DeviceRatings::number_chosen(const PrepareChoice& choice, std::int64_t n, std::uint32_t* to,
                                          Making& making) {
  device_.choose(choice, {n, to, making.chosen.data(), making.temporary.data(), making.temporary.bytes()});
  std::uint32_t count = 0;
  making.chosen.download(&count);
  return count;
}

bool DeviceRatings::cut(const PlanTables& tables, const std::uint64_t* keys, std::uint32_t* begins,
                        std::uint32_t* task_segments, Making& making) {
  PlanBuffers& arrays = making.made.arrays;
  const PlanKeys& plan = making.plan;
  const std::int64_t n_waves = tables.n_waves, counted = counted_;
  const std::int64_t n_segments = number_chosen(SegmentBegins{keys, plan.hash_bits}, counted, begins, making);
  const std::int64_t of_stripes = tables.blocked && kEmptyTasks ? 4 * n_waves * n_waves : 0;
  if (kSegment * (n_segments + n_waves) + of_stripes > memory_.left()) return false;
  std::int64_t *const first_entry = making.first_entry.data(), *const first_segment = making.first_segment.data(),
                      *const first_task = making.first_task.data();
  const std::int32_t* const row_at = making.row_at.data();
  device_.prepare(WaveStep{plan, keys, counted, begins, n_segments, first_entry, first_segment}, n_waves + 1);
  arrays.segment_rows = memory_.allocate<std::int32_t>(n_segments + n_waves);
  arrays.segment_begin = memory_.allocate<std::uint32_t>(n_segments + n_waves);
  device_.prepare(SegmentStep{plan, keys, begins, n_segments, first_entry, first_segment, row_at,
                              arrays.segment_rows.data(), arrays.segment_begin.data()},
                  n_segments + n_waves);
  std::vector<std::int64_t> entry(static_cast<std::size_t>(n_waves) + 1), segment(entry), task(entry);
  if (tables.blocked && kEmptyTasks) {
    arrays.task_begin = memory_.allocate<std::uint32_t>(n_waves * (n_waves + 1));
    device_.prepare(
        StripeTaskStep{plan, keys, begins, first_segment, making.first_turn.data(), arrays.task_begin.data()},
        n_waves * (n_waves + 1));
    for (std::int64_t wave = 0; wave <= n_waves; ++wave) task[static_cast<std::size_t>(wave)] = wave * n_waves;
  } else {
    const std::int64_t n_tasks = number_chosen(
        TaskBegins{plan, tables.blocked, tables.max_tiles, keys, begins, first_entry, first_segment, row_at},
        n_segments, task_segments, making);
    device_.prepare(WaveTaskStep{task_segments, n_tasks, first_segment, first_task}, n_waves + 1);
    arrays.task_begin = memory_.allocate<std::uint32_t>(n_tasks + n_waves);
    device_.prepare(
        TaskStep{plan, keys, begins, task_segments, n_tasks, first_segment, first_task, arrays.task_begin.data()},
        n_tasks + n_waves);
    making.first_task.download(task.data());
  }
  making.first_entry.download(entry.data());
  making.first_segment.download(segment.data());
  for (std::size_t wave = 0; wave < entry.size(); ++wave) {
    // Each wave before has one segment and one task more: where it ends.
    const auto ends = static_cast<std::int64_t>(wave);
    making.made.plan.waves.push_back({entry[wave], segment[wave] + ends, task[wave] + ends});
  }
  return true;
}

std::optional<PlanOnDevice> DeviceRatings::plan(const PlanTables& tables, const RatingUnits& units, std::int64_t beside,
                                                std::int64_t for_task) {
  if (planning_bytes() > memory_.left()) {
    give_back();
    return std::nullopt;
  }
  Making making;
  making.made.plan.users_own = tables.users_own;
  making.made.plan.max_tiles = tables.max_tiles;
  const auto uploaded = [&](const std::vector<std::int32_t>& table) {
    return memory_.uploaded(table.data(), static_cast<std::int64_t>(table.size()));
  };
  making.turns = uploaded(tables.turns);
  making.own_stripes = uploaded(tables.own_stripes);
  making.other_stripes = uploaded(tables.other_stripes);
  making.row_at = uploaded(tables.row_at);
  if (tables.blocked && kEmptyTasks) making.first_turn = uploaded(tables.first_turn);
  for (DeviceBuffer<std::int64_t>* firsts : {&making.first_entry, &making.first_segment, &making.first_task}) {
    *firsts = memory_.allocate<std::int64_t>(tables.n_waves + 1);
  }
  making.chosen = memory_.allocate<std::uint32_t>(1);
  making.keys = memory_.allocate<std::uint64_t>(n_);
  making.other_keys = memory_.allocate<std::uint64_t>(n_);
  making.numbers = memory_.allocate<std::uint32_t>(n_);
  making.other_numbers = memory_.allocate<std::uint32_t>(n_);
  making.temporary = memory_.allocate<char>(device_.sorting_bytes(n_));
  making.plan = tables.keys();
  making.plan.turns = making.turns.data();
  making.plan.own_stripes = making.own_stripes.data();
  making.plan.other_stripes = making.other_stripes.data();

  const DeviceBuffer<std::int32_t>&own = tables.users_own ? users_ : items_,
        &other = tables.users_own ? items_ : users_;
  device_.prepare(
      KeyStep{making.plan, own.data(), other.data(), weights_.data(), making.keys.data(), making.numbers.data()}, n_);
  const bool second =
      device_.sort({making.keys.data(), making.other_keys.data(), making.numbers.data(), making.other_numbers.data(),
                    n_, tables.key_bits(), making.temporary.data(), making.temporary.bytes()});
  if (second) {
    std::swap(making.keys, making.other_keys);
    std::swap(making.numbers, making.other_numbers);
  }
  // The second arrays are free now: segments into one, tasks into the other.
  const bool is_cut = cut(tables, making.keys.data(), making.other_numbers.data(),
                          reinterpret_cast<std::uint32_t*>(making.other_keys.data()), making);
  memory_.give_back(making.keys);
  memory_.give_back(making.other_keys);
  memory_.give_back(making.other_numbers);
  memory_.give_back(making.temporary);
  memory_.give_back(making.chosen);
  for (DeviceBuffer<std::int32_t>* table :
       {&making.turns, &making.own_stripes, &making.other_stripes, &making.row_at, &making.first_turn}) {
    memory_.give_back(*table);
  }
  for (DeviceBuffer<std::int64_t>* firsts : {&making.first_entry, &making.first_segment, &making.first_task}) {
    memory_.give_back(*firsts);
  }

  PlanBuffers& arrays = making.made.arrays;
  const std::int64_t counted = counted_, weights = weights_.size() > 0 ? counted : 0;
  const std::int64_t entries = counted * static_cast<std::int64_t>(sizeof(Entry)) + 4 * weights,
                     freed = making.numbers.bytes() + given_bytes(n_, weights > 0),
                     more = beside + for_task * arrays.task_begin.size();
  const bool fits = is_cut && entries <= memory_.left() && entries + more <= memory_.left() + freed;
  if (fits) {
    arrays.entries = memory_.allocate<Entry>(counted);
    arrays.weights = memory_.allocate<float>(weights);
    device_.prepare(EntryStep{making.numbers.data(), other.data(), values_.data(), weights_.data(), units.shift,
                              units.scale, units.weight_scale, arrays.entries.data(), arrays.weights.data()},
                    counted);
  }
  memory_.give_back(making.numbers);
  give_back();
  if (fits) return std::move(making.made);
  memory_.give_back(arrays.segment_rows);
  memory_.give_back(arrays.segment_begin);
  memory_.give_back(arrays.task_begin);
  return std::nullopt;
}

std::int64_t planned_device_ratings(const RatingCounts& counts, Parallel parallel) {
  const std::int64_t n = counts.n_ratings;
  return DeviceRatings::given_bytes(n, counts.weighted) +
         DeviceRatings::planning_bytes(n, counts.all_rows(), pass_plan_sizes(counts, parallel).n_segments,
                                       sorting_bytes_of(n));
}

}  // namespace warpfactor
