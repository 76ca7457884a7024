// SPDX-License-Identifier: Apache-2.0
// What the programs in this folder draw rows by.
#pragma once

#include <cstdint>
#include <vector>

#include "random.hpp"

namespace warpfactor::benchmark {

/// Rows drawn with weights 1 / (rank + flat): a long tail whose head is no heavier than `flat` allows.
class LongTail {
 public:
  LongTail(std::int32_t n_rows, double flat) : of_(1 << 22) {
    std::vector<double> sums(static_cast<std::size_t>(n_rows));
    double total = 0;
    for (std::size_t row = 0; row < sums.size(); ++row) sums[row] = total += 1 / (static_cast<double>(row) + flat);
    std::size_t row = 0;
    for (std::size_t at = 0; at < of_.size(); ++at) {
      while (sums[row] < total * (static_cast<double>(at) + 0.5) / static_cast<double>(of_.size())) ++row;
      of_[at] = static_cast<std::int32_t>(row);
    }
  }
  std::int32_t draw(SplitMix64& random) const { return of_[random.next() >> 42]; }

 private:
  std::vector<std::int32_t> of_;  ///< the row at each of 2^22 quantiles
};

}  // namespace warpfactor::benchmark
