// SPDX-License-Identifier: Apache-2.0
// Ratings that are on the device as they were given, from where it makes the plan of a fit.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "device/accelerator.hpp"
#include "device/device_memory.hpp"
#include "device/device_plan.hpp"
#include "device/staging.hpp"
#include "memory_plan.hpp"
#include "standardize.hpp"
#include "survey.hpp"
#include "threads.hpp"

namespace warpfactor {

/// A plan's arrays on the device.
struct PlanBuffers {
  DeviceBuffer<Entry> entries;
  DeviceBuffer<float> weights;
  DeviceBuffer<std::int32_t> segment_rows;
  DeviceBuffer<std::uint32_t> segment_begin, task_begin;
};

/// A plan without its arrays on the host.
struct PlanOnDevice {
  PassPlan plan;
  PlanBuffers arrays;
};

/// Who rated what (Incidence), with the lists on the device.
struct ListsOnDevice {
  std::vector<std::int64_t> user_begin, item_begin;
  DeviceBuffer<std::int32_t> users, items;
};

/// The host passes over the ratings once: it checks them and copies them to pinned memory. The rest is the device's: it
/// counts the rows, sorts, and cuts waves, segments and tasks, to the same bits as make_pass_plan(). It keeps nothing
/// on the host.
class DeviceRatings {
 public:
  /// Whether the device can number so many ratings.
  static bool can_number(std::int64_t n) noexcept { return n <= (std::int64_t{1} << 31) - 1; }
  /// What the ratings take of the device, as they are given.
  static std::int64_t given_bytes(std::int64_t n, bool weighted) noexcept { return n * (weighted ? 16 : 12); }
  /// What making a plan takes beside them, with so many segments; `temporary`: Accelerator::sorting_bytes().
  static std::int64_t planning_bytes(std::int64_t n, std::int64_t n_rows, std::int64_t n_segments,
                                     std::int64_t temporary) noexcept;

  /// Takes the ratings up. Throws std::invalid_argument as survey() does.
  DeviceRatings(Accelerator& device, DeviceMemory& memory, const RatingsView& ratings, const char* argument,
                Staging& staging, ThreadTeam& team);
  ~DeviceRatings();
  DeviceRatings(const DeviceRatings&) = delete;
  DeviceRatings& operator=(const DeviceRatings&) = delete;

  /// Once.
  [[nodiscard]] Survey survey() noexcept { return std::move(rated_); }
  /// What planning takes beside the ratings, and the segments.
  [[nodiscard]] std::int64_t planning_bytes();

  /// What distinct_pairs() lists. Nothing if the device has too little memory for it, or for planning after it.
  std::optional<ListsOnDevice> lists();

  /// The plan, and gives the ratings back. Nothing, with the ratings given back too, if the device has too little
  /// memory for making it, or for it and what else is to come: `beside` bytes, and so many for each task.
  std::optional<PlanOnDevice> plan(const PlanTables& tables, const RatingUnits& units, std::int64_t beside,
                                   std::int64_t for_task);

 private:
  struct Sorting;
  /// A plan as it grows.
  struct Making;
  void take(const RatingsView& ratings, const char* argument, Staging& staging, ThreadTeam& team);
  void give_back();
  std::optional<ListsOnDevice> make_lists();
  std::optional<PlanOnDevice> make_plan(const PlanTables& tables, const RatingUnits& units, std::int64_t beside,
                                        std::int64_t for_task);
  std::int64_t number_chosen(const PrepareChoice& choice, std::int64_t n, std::uint32_t* to,
                             const DeviceBuffer<char>& temporary, Making& making);
  /// False if there is no room for the segments.
  bool cut(const PlanTables& tables, const Sorting& sorted, Making& making);

  Accelerator& device_;
  DeviceMemory& memory_;
  std::int64_t n_, counted_ = 0;
  std::int32_t n_users_, n_items_;
  Survey rated_;
  DeviceBuffer<std::int32_t> users_, items_;
  DeviceBuffer<float> values_, weights_;
  DeviceBuffer<std::uint32_t> user_counts_, item_counts_;  ///< while they are counted
};

/// What a device takes to make the plan, with the ratings as they are given, as far as sizes tell.
std::int64_t planned_device_ratings(const RatingCounts& counts, Parallel parallel);

}  // namespace warpfactor
