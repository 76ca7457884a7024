// SPDX-License-Identifier: Apache-2.0
// Who rated what: for each row of a side the rows of the other side.
#pragma once

#include <cstdint>
#include <vector>

#include "buffer.hpp"
#include "memory_plan.hpp"
#include "threads.hpp"
#include "warpfactor/types.hpp"

namespace warpfactor {

/// Compressed rows in the external order: row r has the others others[begin[r]] .. others[begin[r + 1] - 1].
struct IncidentRows {
  std::vector<std::int64_t> begin;
  Buffer<std::int32_t> others;
  Buffer<float> weights;  ///< parallel to `others`; empty: all 1

  [[nodiscard]] std::int64_t rows() const noexcept { return static_cast<std::int64_t>(begin.size()) - 1; }
};
struct Incidence {
  IncidentRows users, items;
};

/// The pairs of the ratings of a weight above 0 and of `pairs`, which have no ratings and may be empty, each pair once,
/// in the order of their first occurrence. Indices must be valid.
Incidence distinct_pairs(const RatingsView& ratings, const RatingsView& pairs, ThreadTeam& team);

/// All ratings of a weight above 0, with their weights, in the order given.
Incidence incidence_of(const RatingsView& ratings, ThreadTeam& team);

/// Ranges of rows with about `n_others` others each: range n has the rows cuts[n] .. cuts[n + 1]. `begin`: as above.
std::vector<std::int64_t> ranges_of(const std::vector<std::int64_t>& begin, std::int64_t n_others);

/// Tells what distinct_pairs() takes, and what of it stays; the users' and the items' lists are a part each.
void plan_distinct_pairs(MemoryPlan& plan, const RatingCounts& counts);
inline constexpr const char *kUserListsPart = "who rated what, users", *kItemListsPart = "who rated what, items";
/// The same of incidence_of(), all in one part.
void plan_incidence_of(MemoryPlan& plan, const char* part, const RatingCounts& counts);
/// Bytes of a side's lists of so many others, without weights.
std::int64_t lists_bytes(std::int64_t n_rows, std::int64_t n_others);

}  // namespace warpfactor
