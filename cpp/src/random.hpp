// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <utility>

namespace warpfactor {

/// SplitMix64 (Steele, Lea, Flood 2014): the same sequence from a seed on every platform, unlike the distributions of
/// <random>. Streams for different purposes come from mixing a purpose and an index into the seed.
class SplitMix64 {
 public:
  explicit SplitMix64(std::uint64_t seed) noexcept : state_(seed) {}
  SplitMix64(std::uint64_t seed, std::uint64_t purpose, std::uint64_t index) noexcept
      : state_(mix(mix(seed + 0x9e3779b97f4a7c15u * (purpose + 1)) + index)) {}

  std::uint64_t next() noexcept { return mix(state_ += 0x9e3779b97f4a7c15u); }

  /// Uniform in 0 .. bound - 1 (bound >= 1), up to a bias below bound / 2^32, or / 2^64 for a bound beyond that.
  std::uint64_t below(std::uint64_t bound) noexcept {
    return bound <= 0xffffffffu ? ((next() >> 32) * bound) >> 32 : next() % bound;
  }

  template <class T>
  void shuffle(T* first, std::uint32_t n) noexcept {
    for (std::uint32_t k = n; k > 1; --k) std::swap(first[k - 1], first[below(k)]);
  }

 private:
  static std::uint64_t mix(std::uint64_t z) noexcept {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  std::uint64_t state_;
};

/// The purposes that draw random numbers, so that no two of them share a stream.
enum RandomPurpose : std::uint64_t {
  kUserOrder,
  kItemOrder,
  kBlockShuffle,
  kEpochOrder,
  kUserInit,
  kItemInit,
  kBatchOrder,
  kDeviceShuffle,
  kSweep,
  kUserDraws,
  kItemDraws,
  kUserCoefficients,
  kItemCoefficients,
  kHyperparameters,
  kStrengthUsers,
  kStrengthTest,
  kExploration
};

}  // namespace warpfactor
