// SPDX-License-Identifier: Apache-2.0
// The ratings of some users, by all threads.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "rating_source.hpp"
#include "threads.hpp"

namespace warpfactor {

/// Adds the ratings with a weight above 0 of those users whom `taken` names, in the order given. `weights` only where
/// the ratings have some. The arrays grow beyond what they have reserved if they must.
template <class Taken>
void add_ratings_of(const RatingSource& ratings, const Taken& taken, ThreadTeam& team, std::vector<std::int32_t>& users,
                    std::vector<std::int32_t>& items, std::vector<float>& values, std::vector<float>& weights) {
  std::vector<char> is_taken(static_cast<std::size_t>(ratings.n_users()));
  team.run_slices(ratings.n_users(), [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t user = begin; user < end; ++user) {
      is_taken[static_cast<std::size_t>(user)] = taken(static_cast<std::int32_t>(user)) ? 1 : 0;
    }
  });
  ratings.for_each_part([&](const RatingsView& part, std::int64_t) {
    const auto each_taken = [&](std::int64_t begin, std::int64_t end, const auto& f) {
      for (auto r = static_cast<std::size_t>(begin); r < static_cast<std::size_t>(end); ++r) {
        if (is_taken[static_cast<std::size_t>(part.users[r])] != 0 && (part.weights.empty() || part.weights[r] > 0)) {
          f(r);
        }
      }
    };
    std::vector<std::size_t> to(static_cast<std::size_t>(part.size() / ThreadTeam::kSlice + 1), 0);  // of each slice
    team.run_slices(part.size(), [&](std::int64_t begin, std::int64_t end, int thread) {
      if (team.poll(thread)) return;
      each_taken(begin, end, [&](std::size_t) { ++to[static_cast<std::size_t>(begin / ThreadTeam::kSlice)]; });
    });
    std::size_t total = users.size();
    for (std::size_t& slice : to) total += std::exchange(slice, total);
    users.resize(total);
    items.resize(total);
    values.resize(total);
    if (!part.weights.empty()) weights.resize(total);
    team.run_slices(part.size(), [&](std::int64_t begin, std::int64_t end, int thread) {
      if (team.poll(thread)) return;
      std::size_t at = to[static_cast<std::size_t>(begin / ThreadTeam::kSlice)];
      each_taken(begin, end, [&](std::size_t r) {
        users[at] = part.users[r];
        items[at] = part.items[r];
        values[at] = part.values[r];
        if (!part.weights.empty()) weights[at] = part.weights[r];
        ++at;
      });
    });
  });
}

}  // namespace warpfactor
