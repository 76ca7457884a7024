// SPDX-License-Identifier: Apache-2.0
// A pass plan that lies in a scratch file, of ratings that memory does not hold.
#pragma once

#include <cstdint>
#include <vector>

#include "device/device_plan.hpp"
#include "device/file_upload.hpp"
#include "memory_plan.hpp"
#include "rating_source.hpp"
#include "standardize.hpp"
#include "survey.hpp"
#include "threads.hpp"

namespace warpfactor {

/// The plan that the same ratings have in memory, of which waves and tasks alone are in memory.
PassPlan make_plan_in_file(const RatingSource& ratings, const Survey& rated, const RatingUnits& units,
                           const PlanTables& tables, ThreadTeam& team);
/// Tells what it takes of the host beside the tables by row.
void plan_plan_in_file(MemoryPlan& plan, const RatingCounts& counts, int n_threads);

/// Where the bytes of a chunk of such a plan come from, as ChunkLayout has them.
std::vector<Extent> extents_of(const PassPlan& plan, const Chunk& chunk);
/// Where each of the plan's arrays comes from.
struct PlanExtents {
  std::vector<Extent> entries, weights, segment_rows, segment_begin, task_begin;
};
PlanExtents extents_of(const PassPlan& plan);

}  // namespace warpfactor
