// SPDX-License-Identifier: Apache-2.0
// An account of memory to be taken. Beside what allocates stands a function plan_...() that tells the same sizes to it,
// in the same order.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "warpfactor/memory.hpp"

namespace warpfactor {

class MemoryPlan {
 public:
  /// What is taken stays taken.
  void begin(std::string phase) {
    phases_.push_back({std::move(phase), {}});
    most_ = -1;
    look();
  }
  void take(const char* part, std::int64_t bytes) {
    const auto at =
        std::find_if(now_.begin(), now_.end(), [part](const MemoryPart& each) { return each.name == part; });
    if (at == now_.end()) {
      now_.push_back({part, bytes});
    } else {
      at->bytes += bytes;
    }
    total_ += bytes;
    look();
  }
  void free(const char* part, std::int64_t bytes) { take(part, -bytes); }
  /// All of a part.
  void free(const char* part) {
    for (const MemoryPart& each : now_) {
      if (each.name == part) return free(part, std::int64_t{each.bytes});
    }
  }
  /// Taken and given back.
  void touch(const char* part, std::int64_t bytes) {
    take(part, bytes);
    free(part, bytes);
  }
  [[nodiscard]] std::int64_t total() const noexcept { return total_; }
  [[nodiscard]] std::vector<MemoryPhase> phases() && { return std::move(phases_); }

 private:
  void look() {
    if (phases_.empty() || total_ <= most_) return;
    most_ = total_;
    phases_.back().parts.clear();
    std::copy_if(now_.begin(), now_.end(), std::back_inserter(phases_.back().parts),
                 [](const MemoryPart& part) { return part.bytes > 0; });
  }

  std::vector<MemoryPart> now_;
  std::vector<MemoryPhase> phases_;
  std::int64_t total_ = 0, most_ = -1;
};

/// Of how many rows on average some ratings are that are drawn from all n: a row of c ratings has none of them with the
/// probability (1 - drawn / n)^c. `times`: the draws that are added up.
inline std::int64_t rows_among(const RatingCounts& of, bool users, std::int64_t drawn, double times = 1) {
  const auto n = static_cast<double>(std::max<std::int64_t>(of.n_ratings, 1));
  const double left = std::log1p(-std::clamp(static_cast<double>(drawn) / n, 0.0, 1.0));
  const auto share = [left](double count) { return count > 0 ? -std::expm1(count * left) : 0; };
  double rows = 0;
  if (of.counts(users).empty()) {
    const double most = std::min(static_cast<double>(of.rows(users)), n);
    rows = most > 0 ? most * share(n / most) : 0;
  } else {
    for (const std::uint32_t count : of.counts(users)) rows += share(static_cast<double>(count));
  }
  return static_cast<std::int64_t>(std::ceil(times * rows));
}

/// Throws NotEnoughMemory if what takes `least` at least certainly takes more memory than is available. `smaller`: what
/// would take no more than so many bytes.
void require_available(const FitMemory& least,
                       const std::function<std::vector<MemoryPart>(std::int64_t bytes)>& smaller);
/// The same of train<T>().
template <class T>
void require_memory(const RatingCounts& counts, const TrainParams& params);

}  // namespace warpfactor
