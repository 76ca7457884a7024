// SPDX-License-Identifier: Apache-2.0
#include "incidence.hpp"

#include <numeric>

namespace warpfactor {
namespace {

/// Calls f(r, own, other) for each rating r that counts.
template <class F>
void for_each_pair(const RatingsView& ratings, bool of_users, const F& f) {
  const auto &own = of_users ? ratings.users : ratings.items, &other = of_users ? ratings.items : ratings.users;
  for (std::size_t r = 0; r < own.size(); ++r) {
    if (ratings.weights.empty() || ratings.weights[r] > 0) f(r, own[r], other[r]);
  }
}

IncidentRows rows_of(const RatingsView& ratings, const RatingsView& pairs, bool of_users) {
  IncidentRows side;
  side.begin.assign(static_cast<std::size_t>(of_users ? ratings.n_users : ratings.n_items) + 1, 0);
  for (const RatingsView* each : {&ratings, &pairs}) {
    for_each_pair(*each, of_users, [&](std::size_t, std::int32_t own, std::int32_t) {
      ++side.begin[static_cast<std::size_t>(own) + 1];
    });
  }
  std::partial_sum(side.begin.begin(), side.begin.end(), side.begin.begin());
  side.others = Buffer<std::int32_t>(side.begin.back());
  if (!ratings.weights.empty()) side.weights = Buffer<float>(side.begin.back());
  std::vector<std::int64_t> next(side.begin.begin(), side.begin.end() - 1);
  for (const RatingsView* each : {&ratings, &pairs}) {
    for_each_pair(*each, of_users, [&](std::size_t r, std::int32_t own, std::int32_t other) {
      const std::int64_t to = next[static_cast<std::size_t>(own)]++;
      side.others[to] = other;
      if (side.weights.size() > 0) side.weights[to] = each->weights.empty() ? 1.0F : each->weights[r];
    });
  }
  return side;
}

/// Leaves each other of a row once, the first time.
void make_distinct(IncidentRows& side, std::int32_t n_others) {
  std::vector<std::int64_t> row_of_last(static_cast<std::size_t>(n_others), -1);
  std::int64_t to = 0, begin = 0;
  for (std::int64_t row = 0; row < side.rows(); ++row) {
    const std::int64_t end = side.begin[static_cast<std::size_t>(row) + 1];
    for (std::int64_t from = begin; from < end; ++from) {
      const std::int32_t other = side.others[from];
      std::int64_t& last = row_of_last[static_cast<std::size_t>(other)];
      if (last == row) continue;
      last = row;
      side.others[to++] = other;
    }
    begin = end;
    side.begin[static_cast<std::size_t>(row) + 1] = to;
  }
  side.weights = {};
}

}  // namespace

Incidence distinct_pairs(const RatingsView& ratings, const RatingsView& pairs, ThreadTeam& team) {
  Incidence incidence;
  team.run(2, [&](std::int64_t side, int) {
    IncidentRows& rows = side == 0 ? incidence.users : incidence.items;
    rows = rows_of(ratings, pairs, side == 0);
    make_distinct(rows, side == 0 ? ratings.n_items : ratings.n_users);
  });
  return incidence;
}

Incidence incidence_of(const RatingsView& ratings, ThreadTeam& team) {
  Incidence incidence;
  team.run(2, [&](std::int64_t side, int) {
    (side == 0 ? incidence.users : incidence.items) = rows_of(ratings, {}, side == 0);
  });
  return incidence;
}

std::vector<std::int64_t> ranges_of(const std::vector<std::int64_t>& begin, std::int64_t n_others) {
  std::vector<std::int64_t> cuts{0};
  const auto n_rows = static_cast<std::int64_t>(begin.size()) - 1;
  for (std::int64_t row = 1; row <= n_rows; ++row) {
    const std::int64_t from = begin[static_cast<std::size_t>(cuts.back())];
    // An empty row costs something too.
    const std::int64_t work = begin[static_cast<std::size_t>(row)] - from + (row - cuts.back()) / 8;
    if (work >= n_others || row == n_rows) cuts.push_back(row);
  }
  return cuts;
}

std::int64_t lists_bytes(std::int64_t n_rows, std::int64_t n_others) {
  return (n_rows + 1) * static_cast<std::int64_t>(sizeof(std::int64_t)) +
         n_others * static_cast<std::int64_t>(sizeof(std::int32_t));
}

void plan_distinct_pairs(MemoryPlan& plan, const RatingCounts& counts) {
  const std::int64_t n = counts.n_ratings + counts.n_implicit,
                     weights = counts.weighted ? 2 * n * static_cast<std::int64_t>(sizeof(float)) : 0;
  plan.take(kUserListsPart, lists_bytes(counts.n_users, n));
  plan.take(kItemListsPart, lists_bytes(counts.n_items, n));
  // Beside them where to write next, and then the row of each other's last: 8 bytes a row, both sides at once.
  plan.touch("sorting", weights + counts.all_rows() * static_cast<std::int64_t>(sizeof(std::int64_t)));
}

void plan_incidence_of(MemoryPlan& plan, const char* part, const RatingCounts& counts) {
  const std::int64_t n = counts.n_ratings, rows = counts.all_rows() * static_cast<std::int64_t>(sizeof(std::int64_t)),
                     weights = counts.weighted ? 2 * n * static_cast<std::int64_t>(sizeof(float)) : 0;
  plan.take(part, lists_bytes(counts.n_users, n) + lists_bytes(counts.n_items, n) + weights);
  plan.touch(part, rows);
}

}  // namespace warpfactor
