// SPDX-License-Identifier: Apache-2.0
// What a FitMemory tells. Apart from memory.cpp, which knows all backends: a library of the device's code needs no
// CPU's.
#include <algorithm>
#include <array>
#include <cstdio>
#include <iterator>
#include <numeric>
#include <string>
#include <vector>

#include "warpfactor/memory.hpp"

namespace warpfactor {
namespace {

std::int64_t sum_of(const std::vector<MemoryPart>& parts) {
  return std::accumulate(parts.begin(), parts.end(), std::int64_t{0},
                         [](std::int64_t sum, const MemoryPart& part) { return sum + part.bytes; });
}

}  // namespace

std::int64_t MemoryPhase::bytes() const noexcept { return sum_of(parts); }
std::int64_t FitMemory::peak() const noexcept {
  std::int64_t most = 0;
  for (const MemoryPhase& phase : phases) most = std::max(most, phase.bytes());
  return most;
}
std::int64_t FitMemory::device_bytes() const noexcept { return sum_of(device); }
std::int64_t FitMemory::device_least() const noexcept { return device_bytes() - device_streamed; }

NotEnoughMemory::NotEnoughMemory(const std::string& message) : message_(message) {}
const char* NotEnoughMemory::what() const noexcept { return message_.c_str(); }

std::string bytes_text(std::int64_t bytes) {
  static constexpr const char* kUnits[] = {"bytes", "kB", "MB", "GB", "TB", "PB", "EB"};
  auto number = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (; number >= 999.5 && unit + 1 < std::size(kUnits); ++unit) number /= 1000;
  std::array<char, 32> text{};
  const int decimals = unit == 0 || number >= 99.95 ? 0 : number >= 9.995 ? 1 : 2;
  std::snprintf(text.data(), text.size(), "%.*f %s", decimals, number, kUnits[unit]);
  return text.data();
}

}  // namespace warpfactor
