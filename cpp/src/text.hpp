// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <sstream>
#include <string>
#include <type_traits>

namespace warpfactor {

/// A value as the error messages print it.
template <class V>
std::string text(const V& value) {
  if constexpr (std::is_floating_point_v<V>) {
    if (std::isnan(value)) return "nan";  // a stream may say -nan
  }
  std::ostringstream out;
  out << value;
  return out.str();
}

}  // namespace warpfactor
