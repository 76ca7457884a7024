// SPDX-License-Identifier: Apache-2.0
// Errors about what the caller gave, in one wording: "X is V; it must be ..., so ...".
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "text.hpp"

namespace warpfactor {

[[noreturn]] inline void reject(const std::string& what) { throw std::invalid_argument(what); }

/// `allowed`: what the argument must be, and the fix where that does not tell it.
template <class V>
[[noreturn]] void reject(const std::string& name, const V& value, const std::string& allowed) {
  reject(name + " is " + text(value) + "; it must be " + allowed);
}

template <class V>
void require(bool condition, const char* name, const V& value, const char* allowed) {
  if (!condition) [[unlikely]]
    reject(name, value, allowed);
}

inline void require_size(std::size_t size, std::int64_t wanted, const char* name) {
  if (static_cast<std::int64_t>(size) != wanted) {
    reject(std::string(name) + " has " + text(size) + " elements; it must have " + text(wanted));
  }
}

/// The name of an element of an array.
inline std::string element(const std::string& array, std::int64_t at) { return array + "[" + text(at) + "]"; }

}  // namespace warpfactor
