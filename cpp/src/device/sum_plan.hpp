// SPDX-License-Identifier: Apache-2.0
// The sums of rows over the lists of an incidence, cut into parts of about the same work, for a device.
#pragma once

#include <cstdint>
#include <vector>

#include "incidence.hpp"

namespace warpfactor {

/// Part n of the lists, of SumRowsArgs. A list of up to kPartOthers others is one part. A longer one, such as that of
/// an item with a large share of the ratings, has several, whose sums are added up once they are there. So the bits of
/// a sum depend on its list alone.
struct SumPlan {
  std::vector<std::int64_t> begin;       ///< by part, and the end
  std::vector<std::int32_t> to;          ///< by part: its row, or ~n if it is the n-th part of long lists
  std::vector<std::int64_t> long_begin;  ///< by long list: its first part of long lists, and the end
  std::vector<std::int32_t> long_rows;   ///< by long list: its row

  [[nodiscard]] std::int64_t n_parts() const noexcept { return static_cast<std::int64_t>(to.size()); }
  [[nodiscard]] std::int64_t n_long() const noexcept { return static_cast<std::int64_t>(long_rows.size()); }
  [[nodiscard]] std::int64_t n_long_parts() const noexcept { return long_begin.back(); }
};

/// Lists without others have a part, too, since a row's sum must be written.
SumPlan make_sum_plan(const IncidentRows& side);

/// Ranges of consecutive parts with at most `n_others` others, which must be kPartOthers at least: range n has the
/// parts cuts[n] .. cuts[n + 1].
std::vector<std::int64_t> chunks_of(const SumPlan& plan, std::int64_t n_others);

}  // namespace warpfactor
