// SPDX-License-Identifier: Apache-2.0
#include "incidence.hpp"

#include <numeric>

namespace warpfactor {
namespace {

/// Calls f(own, other) for each pair that counts.
template <class F>
void for_each_pair(const RatingsView& ratings, bool of_users, const F& f) {
  const auto &own = of_users ? ratings.users : ratings.items, &other = of_users ? ratings.items : ratings.users;
  for (std::size_t r = 0; r < own.size(); ++r) {
    if (ratings.weights.empty() || ratings.weights[r] > 0) f(own[r], other[r]);
  }
}

IncidentRows rows_of(const RatingsView& ratings, const RatingsView& pairs, bool of_users, std::int64_t n_rows) {
  IncidentRows side;
  side.begin.assign(static_cast<std::size_t>(n_rows) + 1, 0);
  const auto count = [&](std::int32_t own, std::int32_t) { ++side.begin[static_cast<std::size_t>(own) + 1]; };
  for_each_pair(ratings, of_users, count);
  for_each_pair(pairs, of_users, count);
  std::partial_sum(side.begin.begin(), side.begin.end(), side.begin.begin());
  side.others = Buffer<std::int32_t>(side.begin.back());
  std::vector<std::int64_t> next(side.begin.begin(), side.begin.end() - 1);
  const auto put = [&](std::int32_t own, std::int32_t other) {
    side.others[next[static_cast<std::size_t>(own)]++] = other;
  };
  for_each_pair(ratings, of_users, put);
  for_each_pair(pairs, of_users, put);
  return side;
}

}  // namespace

Incidence incidence_of(const RatingsView& ratings, const RatingsView& pairs, ThreadTeam& team) {
  Incidence incidence;
  team.run(2, [&](std::int64_t side, int) {
    (side == 0 ? incidence.users : incidence.items) =
        rows_of(ratings, pairs, side == 0, side == 0 ? ratings.n_users : ratings.n_items);
  });
  return incidence;
}

std::vector<std::int64_t> ranges_of(const IncidentRows& side, std::int64_t n_others) {
  std::vector<std::int64_t> cuts{0};
  for (std::int64_t row = 1; row <= side.rows(); ++row) {
    const std::int64_t from = side.begin[static_cast<std::size_t>(cuts.back())];
    // An empty row costs something too.
    const std::int64_t work = side.begin[static_cast<std::size_t>(row)] - from + (row - cuts.back()) / 8;
    if (work >= n_others || row == side.rows()) cuts.push_back(row);
  }
  return cuts;
}

}  // namespace warpfactor
