// SPDX-License-Identifier: Apache-2.0
#include "device/device_ratings.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#include "device/tuning.hpp"

namespace warpfactor {
namespace {

/// Of the numbers up to x.
int bits_of(std::int64_t x) { return static_cast<int>(std::bit_width(static_cast<std::uint64_t>(x))); }

constexpr std::int64_t kPair = sizeof(std::uint64_t) + sizeof(std::uint32_t);  // a key and a number
constexpr std::int64_t kTables = 4 * 4;   // of a row: turn, stripe, own row by turn
constexpr std::int64_t kSegment = 3 * 4;  // row, begin, and a task at most

}  // namespace

/// Keys and numbers, twice, as a sort takes them.
struct DeviceRatings::Sorting {
  Sorting(Accelerator& on, DeviceMemory& of, std::int64_t n) : device(on), memory(of) {
    keys = memory.allocate<std::uint64_t>(n);
    other_keys = memory.allocate<std::uint64_t>(n);
    numbers = memory.allocate<std::int32_t>(n);
    other_numbers = memory.allocate<std::int32_t>(n);
    temporary = memory.allocate<char>(device.sorting_bytes(n));
  }
  static std::uint32_t* unsigned_of(const DeviceBuffer<std::int32_t>& buffer) {
    return reinterpret_cast<std::uint32_t*>(buffer.data());
  }

  void sort(int bits) {
    const bool second = device.sort({keys.data(), other_keys.data(), unsigned_of(numbers), unsigned_of(other_numbers),
                                     keys.size(), bits, temporary.data(), temporary.bytes()});
    if (!second) return;
    std::swap(keys, other_keys);
    std::swap(numbers, other_numbers);
  }
  void give_back_all_but_numbers() {
    memory.give_back(keys);
    memory.give_back(other_keys);
    memory.give_back(other_numbers);
    memory.give_back(temporary);
  }

  Accelerator& device;
  DeviceMemory& memory;
  DeviceBuffer<std::uint64_t> keys, other_keys;
  DeviceBuffer<std::int32_t> numbers, other_numbers;
  DeviceBuffer<char> temporary;
};

struct DeviceRatings::Making {
  PlanOnDevice made;
  DeviceBuffer<std::int32_t> turns, own_stripes, other_stripes, row_at, first_turn;
  DeviceBuffer<std::int64_t> first_entry, first_segment, first_task;
  DeviceBuffer<std::uint32_t> chosen;
  PlanKeys plan{};
};

std::int64_t DeviceRatings::planning_bytes(std::int64_t n, std::int64_t n_rows, std::int64_t n_segments,
                                           std::int64_t temporary) noexcept {
  return 2 * n * kPair + temporary + n_rows * kTables + n_segments * kSegment;
}
std::int64_t DeviceRatings::planning_bytes() {
  return planning_bytes(n_, std::int64_t{n_users_} + n_items_, 0, device_.sorting_bytes(n_));
}

DeviceRatings::DeviceRatings(Accelerator& device, DeviceMemory& memory, const RatingsView& ratings,
                             const char* argument, Staging& staging, ThreadTeam& team)
    : device_(device), memory_(memory), n_(ratings.size()), n_users_(ratings.n_users), n_items_(ratings.n_items) {
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

std::optional<ListsOnDevice> DeviceRatings::lists() {
  return memory_.attempt([&] { return make_lists(); });
}
std::optional<PlanOnDevice> DeviceRatings::plan(const PlanTables& tables, const RatingUnits& units, std::int64_t beside,
                                                std::int64_t for_task) {
  std::optional<PlanOnDevice> made = memory_.attempt([&] { return make_plan(tables, units, beside, for_task); });
  give_back();
  return made;
}

std::optional<ListsOnDevice> DeviceRatings::make_lists() {
  constexpr std::int64_t kLists = 2 * sizeof(std::int32_t), kKept = sizeof(std::int32_t) + sizeof(float);
  const std::int64_t rows = 4 * (std::int64_t{n_users_} + n_items_),
                     listing = planning_bytes(n_, 0, 0, device_.sorting_bytes(n_)) + n_ * kKept + rows;
  if (std::max(listing, n_ * kLists + planning_bytes()) > memory_.left()) return std::nullopt;
  ListsOnDevice made;
  DeviceBuffer<float> counts = memory_.allocate<float>(n_);
  Sorting sorting(device_, memory_, n_);
  const int item_bits = bits_of(n_items_);
  // The first rating of a pair counts, the others do not.
  device_.prepare(PairStep{users_.data(), items_.data(), weights_.data(), n_users_, item_bits, sorting.keys.data(),
                           Sorting::unsigned_of(sorting.numbers), counts.data()},
                  n_);
  sorting.sort(bits_of(n_users_) + item_bits);
  device_.prepare(RepeatStep{sorting.keys.data(), Sorting::unsigned_of(sorting.numbers), counts.data()}, counted_);
  for (const bool of_users : {true, false}) {
    const DeviceBuffer<std::int32_t>&own = of_users ? users_ : items_, &other = of_users ? items_ : users_;
    const std::int32_t n_own = of_users ? n_users_ : n_items_;
    device_.prepare(ListStep{own.data(), other.data(), counts.data(), n_own, sorting.keys.data(),
                             Sorting::unsigned_of(sorting.numbers)},
                    n_);
    sorting.sort(bits_of(n_own));
    std::swap(of_users ? made.users : made.items, sorting.numbers);
    if (of_users) sorting.numbers = memory_.allocate<std::int32_t>(n_);
    DeviceBuffer<std::uint32_t> of_rows = memory_.zeros<std::uint32_t>(n_own);
    device_.count({own.data(), counts.data(), n_, of_rows.data()});
    std::vector<std::uint32_t> sizes(static_cast<std::size_t>(n_own));
    of_rows.download(sizes.data());
    memory_.give_back(of_rows);
    std::vector<std::int64_t>& begin = of_users ? made.user_begin : made.item_begin;
    begin.push_back(0);
    for (const std::uint32_t size : sizes) begin.push_back(begin.back() + size);
  }
  sorting.give_back_all_but_numbers();
  memory_.give_back(counts);
  return made;
}

std::int64_t DeviceRatings::number_chosen(const PrepareChoice& choice, std::int64_t n, std::uint32_t* to,
                                          const DeviceBuffer<char>& temporary, Making& making) {
  device_.choose(choice, {n, to, making.chosen.data(), temporary.data(), temporary.bytes()});
  std::uint32_t count = 0;
  making.chosen.download(&count);
  return count;
}

bool DeviceRatings::cut(const PlanTables& tables, const Sorting& sorted, Making& making) {
  // The second arrays are free: segments into one, tasks into the other.
  const std::uint64_t* const keys = sorted.keys.data();
  std::uint32_t *const begins = Sorting::unsigned_of(sorted.other_numbers), *const task_segments =
                                                                                reinterpret_cast<std::uint32_t*>(
                                                                                    sorted.other_keys.data());
  PlanBuffers& arrays = making.made.arrays;
  const PlanKeys& plan = making.plan;
  const std::int64_t n_waves = tables.n_waves, counted = counted_;
  const std::int64_t n_segments =
      number_chosen(SegmentBegins{keys, plan.hash_bits}, counted, begins, sorted.temporary, making);
  const std::int64_t of_stripes = tables.blocked ? 4 * n_waves * n_waves : 0;
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
  if (tables.blocked) {
    arrays.task_begin = memory_.allocate<std::uint32_t>(n_waves * (n_waves + 1));
    device_.prepare(
        StripeTaskStep{plan, keys, begins, first_segment, making.first_turn.data(), arrays.task_begin.data()},
        n_waves * (n_waves + 1));
    for (std::int64_t wave = 0; wave <= n_waves; ++wave) task[static_cast<std::size_t>(wave)] = wave * n_waves;
  } else {
    const std::int64_t n_tasks = number_chosen(
        TaskBegins{plan, tables.blocked, tables.max_tiles, keys, begins, first_entry, first_segment, row_at},
        n_segments, task_segments, sorted.temporary, making);
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

std::optional<PlanOnDevice> DeviceRatings::make_plan(const PlanTables& tables, const RatingUnits& units,
                                                     std::int64_t beside, std::int64_t for_task) {
  if (planning_bytes() > memory_.left()) return std::nullopt;
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
  if (tables.blocked) making.first_turn = uploaded(tables.first_turn);
  for (DeviceBuffer<std::int64_t>* firsts : {&making.first_entry, &making.first_segment, &making.first_task}) {
    *firsts = memory_.allocate<std::int64_t>(tables.n_waves + 1);
  }
  making.chosen = memory_.allocate<std::uint32_t>(1);
  Sorting sorting(device_, memory_, n_);
  making.plan = tables.keys();
  making.plan.turns = making.turns.data();
  making.plan.own_stripes = making.own_stripes.data();
  making.plan.other_stripes = making.other_stripes.data();

  const DeviceBuffer<std::int32_t>&own = tables.users_own ? users_ : items_,
        &other = tables.users_own ? items_ : users_;
  device_.prepare(KeyStep{making.plan, own.data(), other.data(), weights_.data(), sorting.keys.data(),
                          Sorting::unsigned_of(sorting.numbers)},
                  n_);
  sorting.sort(tables.key_bits());
  const bool is_cut = cut(tables, sorting, making);
  sorting.give_back_all_but_numbers();
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
                     freed = sorting.numbers.bytes() + given_bytes(n_, weights > 0),
                     more = beside + for_task * arrays.task_begin.size();
  const bool fits = is_cut && entries <= memory_.left() && entries + more <= memory_.left() + freed;
  if (fits) {
    arrays.entries = memory_.allocate<Entry>(counted);
    arrays.weights = memory_.allocate<float>(weights);
    device_.prepare(
        EntryStep{Sorting::unsigned_of(sorting.numbers), other.data(), values_.data(), weights_.data(), units.shift,
                  units.scale, units.weight_scale, arrays.entries.data(), arrays.weights.data()},
        counted);
  }
  memory_.give_back(sorting.numbers);
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
