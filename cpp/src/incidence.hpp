// SPDX-License-Identifier: Apache-2.0
// Who rated what: for each row of a side the rows of the other side.
#pragma once

#include <cstdint>
#include <vector>

#include "buffer.hpp"
#include "memory_plan.hpp"
#include "rating_source.hpp"
#include "survey.hpp"
#include "threads.hpp"
#include "warpfactor/types.hpp"

namespace warpfactor {

/// Compressed rows: row r has the others others[begin[r]] .. others[begin[r + 1] - 1].
struct IncidentRows {
  std::vector<std::int64_t> begin{0};
  Buffer<std::int32_t> others;  ///< empty if they are in the file
  Buffer<float> weights;        ///< parallel to `others`; empty: all 1
  ScratchFile file;

  [[nodiscard]] std::int64_t rows() const noexcept { return static_cast<std::int64_t>(begin.size()) - 1; }
};
struct Incidence {
  IncidentRows users, items;
};

/// The lists of consecutive rows, from memory or from the file. One per thread.
class IncidentLists {
 public:
  /// Those of the rows first .. last - 1. Row first + n has the others()[begin()[n]] .. others()[begin()[n + 1] - 1],
  /// until the next call.
  void take(const IncidentRows& rows, std::int64_t first, std::int64_t last);
  [[nodiscard]] const std::int32_t* others() const noexcept { return others_; }
  [[nodiscard]] const std::int64_t* begin() const noexcept { return begin_; }

 private:
  const std::int32_t* others_ = nullptr;
  const std::int64_t* begin_ = nullptr;
  std::vector<std::int32_t> read_;
  std::vector<std::int64_t> begins_;
};

/// Numbers of the rows in another order than the external one, by external row; empty: the external order.
struct RowNumbers {
  std::span<const std::int32_t> users, items;
};

/// The pairs of the ratings of a weight above 0 and of `pairs`, which have no ratings and may be empty, each pair once,
/// in the order of their first occurrence. Indices must be valid.
Incidence distinct_pairs(const RatingsView& ratings, const RatingsView& pairs, ThreadTeam& team,
                         const RowNumbers& numbers = {});

/// The same for ratings in a scratch file, with the lists in files too. `rated`: the survey of the ratings.
Incidence distinct_pairs_in_files(const RatingSource& ratings, const RatingsView& pairs, const Survey& rated,
                                  ThreadTeam& team, const RowNumbers& numbers);

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
