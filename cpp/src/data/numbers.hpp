// SPDX-License-Identifier: Apache-2.0
// Columns of numbers to 32-bit floats.
#pragma once

#include <cstdint>

#include "buffer.hpp"

namespace warpfactor {

struct FloatColumn {
  Buffer<float> values;
  std::int64_t first_bad = -1;  ///< the first row that is not finite in float; -1: none
};

/// `step`: from row to row, in T: float or double.
template <class T>
[[nodiscard]] FloatColumn to_floats(const T* first, std::int64_t n, std::int64_t step, std::int32_t n_threads = 0);

}  // namespace warpfactor
