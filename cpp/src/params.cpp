// SPDX-License-Identifier: Apache-2.0
#include "warpfactor/params.hpp"

#include <cmath>
#include <iterator>
#include <type_traits>

#include "require.hpp"

namespace warpfactor {
namespace {

static_assert([] {
  for (int n = 0; n < kLossCount; ++n) {
    if (static_cast<int>(kLosses[n].loss) != n) return false;
  }
  return true;
}());

/// The type of the member that a Param's variant points to.
template <class V>
V type_of_member(V TrainParams::*);
template <class M>
using TypeOf = decltype(type_of_member(std::declval<M>()));

bool within(const Range& range, double x) {
  return std::isfinite(x) && (range.low_open ? x > range.low : x >= range.low) &&
         (range.high_open ? x < range.high : x <= range.high);
}

template <class V>
constexpr bool is_optional = false;
template <class V>
constexpr bool is_optional<std::optional<V>> = true;

template <class V>
void require_in(const Param& param, const std::string& name, const V& value) {
  if constexpr (std::is_enum_v<V>) {
    if (name_of(value) == nullptr) reject(name, static_cast<int>(value), allowed_text(param));
  } else if constexpr (std::is_same_v<V, PerSide>) {
    const bool both = value.users == value.items || (std::isnan(value.users) && std::isnan(value.items));
    require_in(param, both ? name : name + ".users", value.users);
    require_in(param, name + ".items", value.items);
  } else if constexpr (is_optional<V>) {
    if (value) require_in(param, name, *value);
  } else if (!within(param.range, static_cast<double>(value))) {
    reject(name, value, allowed_text(param));
  }
}

template <class V>
std::string allowed_of(const Range& range) {
  if constexpr (std::is_enum_v<V>) {
    std::string all;
    for (const Named<V>& each : names(V{})) all += (all.empty() ? "one of " : ", ") + std::string(each.name);
    return all;
  } else if constexpr (std::is_same_v<V, bool>) {
    return "true or false";
  } else if constexpr (std::is_same_v<V, std::uint64_t>) {
    return "from 0 to 2^64 - 1";
  } else {
    const bool limited = std::isfinite(range.high);
    if (limited && !range.low_open && !range.high_open) return "from " + text(range.low) + " to " + text(range.high);
    const std::string from = (range.low_open ? "above " : "at least ") + text(range.low);
    if (limited) return from + " and " + (range.high_open ? "below " : "at most ") + text(range.high);
    return (std::is_integral_v<V> ? "" : "finite and ") + from;
  }
}

}  // namespace

std::string allowed_text(const Param& param) {
  const std::string note = *param.note == '\0' ? "" : std::string(" (") + param.note + ")";
  return std::visit([&](auto member) { return allowed_of<TypeOf<decltype(member)>>(param.range); }, param.member) +
         note;
}

void require_in_range(const TrainParams& params) {
  for (const Param& param : kParams) {
    std::visit([&](auto member) { require_in(param, param.name, params.*member); }, param.member);
  }
}

}  // namespace warpfactor
