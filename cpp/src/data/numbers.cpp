// SPDX-License-Identifier: Apache-2.0
#include "data/numbers.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "threads.hpp"

namespace warpfactor {

template <class T>
FloatColumn to_floats(const T* first, std::int64_t n, std::int64_t step, std::int32_t n_threads) {
  constexpr std::int64_t kSlice = ThreadTeam::kSlice;
  FloatColumn column{Buffer<float>(n), -1};
  float* const to = column.values.data();
  std::vector<std::uint8_t> bad(static_cast<std::size_t>((n + kSlice - 1) / kSlice), 0);
  ThreadTeam team(team_size(n_threads, static_cast<std::int64_t>(bad.size())));
  team.run_slices(n, [&](std::int64_t begin, std::int64_t end, int) {
    // By the exponent, which is full in infinity and NaN: the compiler makes vectors of that.
    constexpr std::uint32_t kExponent = 0x7f800000u;
    std::uint32_t any = 0;
    const auto take = [&](std::int64_t row, T value) {
      to[row] = static_cast<float>(value);
      any |= (std::bit_cast<std::uint32_t>(to[row]) & kExponent) == kExponent ? 1u : 0u;
    };
    if (step == 1) {
      for (std::int64_t row = begin; row < end; ++row) take(row, first[row]);
    } else {
      for (std::int64_t row = begin; row < end; ++row) take(row, first[row * step]);
    }
    bad[static_cast<std::size_t>(begin / kSlice)] = static_cast<std::uint8_t>(any);
  });
  const auto slice = std::find(bad.begin(), bad.end(), std::uint8_t{1});
  if (slice != bad.end()) {
    column.first_bad = (slice - bad.begin()) * kSlice;
    while (std::isfinite(to[column.first_bad])) ++column.first_bad;
  }
  return column;
}
template FloatColumn to_floats(const float*, std::int64_t, std::int64_t, std::int32_t);
template FloatColumn to_floats(const double*, std::int64_t, std::int64_t, std::int32_t);

}  // namespace warpfactor
