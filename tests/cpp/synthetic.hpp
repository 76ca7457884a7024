// SPDX-License-Identifier: Apache-2.0
// Ratings with a known low-rank structure.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "random.hpp"
#include "warpfactor/train.hpp"

namespace synthetic {

using namespace warpfactor;

inline std::uint32_t below(SplitMix64& random, std::int32_t n) {
  return static_cast<std::uint32_t>(random.below(static_cast<std::uint64_t>(n)));
}

/// Standard deviation 1, near enough to normal: the sum of 12 uniforms.
inline double noise(SplitMix64& random) {
  double sum = -6;
  for (int n = 0; n < 12; ++n) sum += static_cast<double>(random.next() >> 11) * 0x1p-53;
  return sum;
}

/// r = 3 + b_u + b_i + p.q + noise, with p.q and the biases of standard deviation 1 and 0.5.
struct Data {
  std::int32_t n_users, n_items;
  std::vector<std::int32_t> users, items;
  std::vector<float> values, weights;

  Data(std::int32_t users_, std::int32_t items_, std::int32_t n, double noise_deviation = 0.0, std::uint64_t seed = 0,
       bool biased = true)
      : n_users(users_), n_items(items_) {
    constexpr std::int32_t kRank = 4;
    SplitMix64 random(17);  // the structure; the seed draws which of it is seen
    std::vector<double> p, q, b, c;
    for (std::int32_t u = 0; u < n_users * kRank; ++u) p.push_back(noise(random) / std::sqrt(std::sqrt(4.0)));
    for (std::int32_t i = 0; i < n_items * kRank; ++i) q.push_back(noise(random) / std::sqrt(std::sqrt(4.0)));
    for (std::int32_t u = 0; u < n_users; ++u) b.push_back(biased ? 0.5 * noise(random) : 0.0);
    for (std::int32_t i = 0; i < n_items; ++i) c.push_back(biased ? 0.5 * noise(random) : 0.0);
    SplitMix64 draw(seed, 1, 1);
    for (std::int32_t r = 0; r < n; ++r) {
      const std::size_t u = below(draw, n_users), i = below(draw, n_items);
      double value = (biased ? 3.0 : 0.0) + b[u] + c[i];
      for (std::size_t f = 0; f < kRank; ++f) value += p[u * kRank + f] * q[i * kRank + f];
      users.push_back(static_cast<std::int32_t>(u));
      items.push_back(static_cast<std::int32_t>(i));
      values.push_back(static_cast<float>(value + noise_deviation * noise(draw)));
    }
  }
  [[nodiscard]] RatingsView view() const { return {users, items, values, weights, n_users, n_items}; }
};

template <class T>
double rmse(const Model<T>& model, const Data& data) {
  double sum = 0;
  for (std::size_t r = 0; r < data.values.size(); ++r) {
    const double error =
        static_cast<double>(data.values[r]) - static_cast<double>(model.predict(data.users[r], data.items[r]));
    sum += error * error;
  }
  return std::sqrt(sum / static_cast<double>(data.values.size()));
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

template <class T>
bool same_bits(const Model<T>& a, const Model<T>& b) {
  return same_bits(a.user_factors, b.user_factors) && same_bits(a.item_factors, b.item_factors) &&
         same_bits(a.user_biases, b.user_biases) && same_bits(a.item_biases, b.item_biases) &&
         a.global_mean == b.global_mean;
}

template <class T>
bool finite(const Model<T>& model) {
  const auto all = [](const std::vector<T>& v) {
    return std::all_of(v.begin(), v.end(), [](T x) { return std::isfinite(x); });
  };
  return all(model.user_factors) && all(model.item_factors) && all(model.user_biases) && all(model.item_biases) &&
         std::isfinite(model.global_mean);
}

}  // namespace synthetic
