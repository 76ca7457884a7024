// SPDX-License-Identifier: Apache-2.0
// Normal and gamma numbers of one random stream: the same from a seed on every platform with the same exp and log,
// unlike the distributions of <random>.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>

#include "random.hpp"

namespace warpfactor {

/// The layers of the ziggurat (Marsaglia, Tsang 2000) for the normal density exp(-x^2 / 2): equal areas, the layer
/// n >= 1 from x = 0 to edges[n], layer 0 the rest with the tail beyond kTail.
struct Ziggurat {
  static constexpr int kLayers = 128;
  static constexpr double kTail = 3.442619855899, kArea = 9.91256303526217e-3;
  std::array<double, kLayers + 1> edges{}, densities{};

  Ziggurat() {
    edges[0] = kArea / std::exp(-0.5 * kTail * kTail);
    edges[1] = kTail;
    for (std::size_t n = 2; n < kLayers; ++n) {
      edges[n] = std::sqrt(-2 * std::log(kArea / edges[n - 1] + std::exp(-0.5 * edges[n - 1] * edges[n - 1])));
    }
    for (std::size_t n = 0; n <= kLayers; ++n) densities[n] = std::exp(-0.5 * edges[n] * edges[n]);
  }
};

class Draws {
 public:
  explicit Draws(SplitMix64 random) : random_(random) {}

  /// Standard normal. The layer and the position in it come from different bits (Doornik 2005).
  double normal() {
    const Ziggurat& table = ziggurat();
    for (;;) {
      const std::uint64_t bits = random_.next();
      const auto layer = static_cast<std::size_t>(bits & (Ziggurat::kLayers - 1));
      const double x = static_cast<double>(static_cast<std::int64_t>(bits) >> 10) * 0x1p-53 * table.edges[layer];
      if (std::abs(x) < table.edges[layer + 1]) return x;
      if (layer == 0) return std::copysign(tail(), x);
      const double low = table.densities[layer], high = table.densities[layer + 1];
      if (low + uniform() * (high - low) < std::exp(-0.5 * x * x)) return x;
    }
  }
  template <class T>
  void normals(T* to, std::int64_t n) {
    for (std::int64_t at = 0; at < n; ++at) to[at] = static_cast<T>(normal());
  }

  /// Gamma of this shape, at least 1, and the scale 1 (Marsaglia, Tsang 2000, "A simple method for generating gamma
  /// variables").
  double gamma(double shape) {
    const double d = shape - 1.0 / 3, c = 1 / std::sqrt(9 * d);
    for (;;) {
      const double x = normal(), root = 1 + c * x;
      if (root <= 0) continue;
      const double v = root * root * root;
      if (std::log(uniform()) < 0.5 * x * x + d * (1 - v + std::log(v))) return d * v;
    }
  }

 private:
  static const Ziggurat& ziggurat() {
    static const Ziggurat table;
    return table;
  }
  /// In 0 .. 1, neither end included.
  double uniform() { return (static_cast<double>(random_.next() >> 11) + 0.5) * 0x1p-53; }
  /// A number beyond kTail.
  double tail() {
    for (;;) {
      const double x = -std::log(uniform()) / Ziggurat::kTail, y = -std::log(uniform());
      if (2 * y >= x * x) return Ziggurat::kTail + x;
    }
  }

  SplitMix64 random_;
};

}  // namespace warpfactor
