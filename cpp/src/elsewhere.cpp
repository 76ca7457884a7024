// SPDX-License-Identifier: Apache-2.0
#include "elsewhere.hpp"

#include <algorithm>
#include <cmath>

#include "bias_variances.hpp"
#include "strengths.hpp"

namespace warpfactor {

bool is_sampled(std::int32_t user, std::int64_t counted, std::uint64_t seed) {
  return is_estimated_from(user, counted) || is_searched(user, counted, seed);
}

PartMoments joined(std::span<const PartMoments> parts) {
  PartMoments all;
  double square = 0;
  for (const PartMoments& part : parts) {
    if (part.counted == 0) continue;
    // Chan, Golub, LeVeque 1979: exact where sums of squares would cancel.
    const double total = all.weight + part.weight, apart = part.mean - all.mean;
    square += part.deviation * part.deviation * part.weight + apart * apart * (all.weight / total) * part.weight;
    all.mean += apart * (part.weight / total);
    all.low = all.counted == 0 ? part.low : std::min(all.low, part.low);
    all.high = all.counted == 0 ? part.high : std::max(all.high, part.high);
    all.weight = total;
    all.counted += part.counted;
  }
  // Equal ratings have no deviation, where rounding would leave one.
  if (all.low < all.high) all.deviation = std::sqrt(square / all.weight);
  return all;
}

}  // namespace warpfactor
