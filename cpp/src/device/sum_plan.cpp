// SPDX-License-Identifier: Apache-2.0
#include "device/sum_plan.hpp"

#include <algorithm>

#include "device/tuning.hpp"

namespace warpfactor {

SumPlan make_sum_plan(const IncidentRows& side) {
  SumPlan plan;
  plan.begin.push_back(0);
  plan.long_begin.push_back(0);
  std::int64_t n_long_parts = 0;
  for (std::int64_t row = 0; row < side.rows(); ++row) {
    const std::int64_t end = side.begin[static_cast<std::size_t>(row) + 1];
    const bool is_long = end - plan.begin.back() > kPartOthers;
    do {
      plan.begin.push_back(std::min(plan.begin.back() + kPartOthers, end));
      plan.to.push_back(static_cast<std::int32_t>(is_long ? ~n_long_parts++ : row));
    } while (plan.begin.back() < end);
    if (is_long) {
      plan.long_begin.push_back(n_long_parts);
      plan.long_rows.push_back(static_cast<std::int32_t>(row));
    }
  }
  return plan;
}

std::vector<std::int64_t> chunks_of(const SumPlan& plan, std::int64_t n_others) {
  std::vector<std::int64_t> cuts{0};
  for (std::int64_t part = 0; part < plan.n_parts(); ++part) {
    const auto from = static_cast<std::size_t>(cuts.back()), end = static_cast<std::size_t>(part) + 1;
    if (plan.begin[end] - plan.begin[from] > n_others) cuts.push_back(part);
  }
  cuts.push_back(plan.n_parts());
  return cuts;
}

}  // namespace warpfactor
