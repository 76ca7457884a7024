// SPDX-License-Identifier: Apache-2.0
// What one pass over the caller's ratings tells: that each is valid, their moments, and how many each row has.
#pragma once

#include <cstdint>
#include <vector>

#include "threads.hpp"
#include "warpfactor/types.hpp"

namespace warpfactor {

/// Ratings of weight 0 are checked but count for nothing.
struct Survey {
  std::int64_t counted = 0;                             ///< ratings of a weight above 0
  double weight = 0;                                    ///< sum of the weights
  double mean = 0;                                      ///< weighted
  double deviation = 0;                                 ///< standard deviation, weighted; 0 if all ratings are equal
  std::vector<std::uint32_t> user_counts, item_counts;  ///< ratings of each row
};

/// Throws std::invalid_argument, calling the ratings `argument`. The result's bits do not depend on the team's size.
Survey survey(const RatingsView& ratings, const char* argument, ThreadTeam& team);

}  // namespace warpfactor
