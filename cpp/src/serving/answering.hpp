// SPDX-License-Identifier: Apache-2.0
// What all answers of a model share: checks of its parts, and the way from a score to a prediction.
#pragma once

#include <cmath>
#include <cstdint>
#include <span>
#include <string>

#include "require.hpp"
#include "warpfactor/model.hpp"

namespace warpfactor {

template <class T>
void validate_parts(const ModelView<T>& model) {
  require_size(model.user_factors.size(), static_cast<std::int64_t>(model.n_users) * model.n_factors, "user_factors");
  require_size(model.item_factors.size(), static_cast<std::int64_t>(model.n_items) * model.n_factors, "item_factors");
  if (!model.user_biases.empty()) require_size(model.user_biases.size(), model.n_users, "user_biases");
  if (!model.item_biases.empty()) require_size(model.item_biases.size(), model.n_items, "item_biases");
  if (!model.user_counts.empty()) require_size(model.user_counts.size(), model.n_users, "user_counts");
  if (!model.item_counts.empty()) require_size(model.item_counts.size(), model.n_items, "item_counts");
}

inline void validate_rows(std::span<const std::int32_t> rows, std::int32_t n, const char* name) {
  for (const std::int32_t row : rows) {
    if (row < -1 || row >= n) {
      reject(std::string(name) + " holds " + text(row) + "; it must be from -1 (unknown) to " + text(n - 1));
    }
  }
}

/// The row itself, or -1 if it is unknown.
inline std::int32_t known(std::int32_t row, std::span<const std::uint32_t> counts) {
  return row >= 0 && !counts.empty() && counts[static_cast<std::size_t>(row)] == 0 ? -1 : row;
}

/// The prediction of a score that the kernels computed for a pair with so many unknown rows. In double, so that it is
/// the nearest T on every machine.
template <class T>
T answer(const ModelView<T>& model, T score, int n_unknown) {
  if (n_unknown > 0) {
    if (!model.biases) return static_cast<T>(model.rating_mean);
    if (model.start_bias != 0) score = static_cast<T>(static_cast<double>(score) + n_unknown * model.start_bias);
  }
  if (model.link == Link::identity) return score;
  const double probability = 1 / (1 + std::exp(-static_cast<double>(score)));
  return static_cast<T>(model.link == Link::probability ? probability : 2 * probability - 1);
}

}  // namespace warpfactor
