// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpfactor/standard.hpp"

#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>

namespace warpfactor {

/// Ratings as borrowed COO triples: entry n says that user `users[n]` gave item `items[n]` the rating `values[n]`.
/// The memory is neither copied nor written to; it must stay valid during the call it is passed to.
struct RatingsView {
  std::span<const std::int32_t> users;  ///< 0 .. n_users - 1
  std::span<const std::int32_t> items;  ///< 0 .. n_items - 1
  std::span<const float> values;        ///< finite
  std::span<const float> weights{};     ///< finite and >= 0; empty: every rating weighs 1
  std::int32_t n_users = 0;
  std::int32_t n_items = 0;

  [[nodiscard]] std::int64_t size() const noexcept { return static_cast<std::int64_t>(values.size()); }
};

/// Training left the region where the numbers mean anything.
class DivergedError : public std::runtime_error {
 public:
  DivergedError(std::int32_t epoch, const std::string& what) : std::runtime_error(what), epoch_(epoch) {}
  [[nodiscard]] std::int32_t epoch() const noexcept { return epoch_; }  ///< 1-based

 private:
  std::int32_t epoch_;
};

/// The CUDA device cannot do what was asked; the text says why and what to do.
class CudaError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The caller's `interrupted` hook returned true.
class Interrupted : public std::runtime_error {
 public:
  Interrupted() : std::runtime_error("interrupted") {}
};

}  // namespace warpfactor
