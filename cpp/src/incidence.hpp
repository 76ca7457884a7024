// SPDX-License-Identifier: Apache-2.0
// Who rated what, without the ratings: for each row of a side the rows of the other side.
#pragma once

#include <cstdint>
#include <vector>

#include "buffer.hpp"
#include "threads.hpp"
#include "warpfactor/types.hpp"

namespace warpfactor {

/// Compressed rows in the external order: row r has the others others[begin[r]] .. others[begin[r + 1] - 1], in the
/// order of the ratings. A pair that occurs twice counts twice.
struct IncidentRows {
  std::vector<std::int64_t> begin;
  Buffer<std::int32_t> others;

  [[nodiscard]] std::int64_t rows() const noexcept { return static_cast<std::int64_t>(begin.size()) - 1; }
  [[nodiscard]] std::int64_t count(std::int64_t row) const {
    return begin[static_cast<std::size_t>(row) + 1] - begin[static_cast<std::size_t>(row)];
  }
};
struct Incidence {
  IncidentRows users, items;
};

/// Of the ratings of a weight above 0 and of `pairs`, which have no ratings and may be empty. Indices must be valid.
Incidence incidence_of(const RatingsView& ratings, const RatingsView& pairs, ThreadTeam& team);

/// Ranges of rows with about `n_others` others each: range n has the rows cuts[n] .. cuts[n + 1].
std::vector<std::int64_t> ranges_of(const IncidentRows& side, std::int64_t n_others);

}  // namespace warpfactor
