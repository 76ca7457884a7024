// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <numeric>
#include <vector>

#include "random.hpp"

namespace warpfactor {

/// 0 .. n - 1 (batches or waves) in the order of an epoch.
inline std::vector<std::int32_t> shuffled(std::int64_t n, std::uint64_t seed, std::int32_t epoch) {
  std::vector<std::int32_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  SplitMix64 random(seed, kEpochOrder, static_cast<std::uint64_t>(epoch));
  random.shuffle(order.data(), static_cast<std::uint32_t>(order.size()));
  return order;
}

/// The order of an epoch's blocks: all blocks of one outer stripe, then those of the next, always against the inner
/// stripes in the same order. A turn is a position in the order of a side's stripes. One thread takes an outer stripe,
/// whose rows then stay in its cache; the thread with the next outer turn follows at least one block behind. So a block
/// waits for one other alone: that of the outer turn before and the same inner turn. All that came before on either
/// side has been waited for already. The orders are drawn anew from the seed for each epoch.
class EpochOrder {
 public:
  EpochOrder(std::int32_t outer_stripes, std::int32_t inner_stripes, std::uint64_t seed, std::int32_t epoch)
      : outer_(static_cast<std::size_t>(outer_stripes)), inner_(static_cast<std::size_t>(inner_stripes)) {
    std::iota(outer_.begin(), outer_.end(), 0);
    std::iota(inner_.begin(), inner_.end(), 0);
    SplitMix64 random(seed, kEpochOrder, static_cast<std::uint64_t>(epoch));
    random.shuffle(outer_.data(), static_cast<std::uint32_t>(outer_.size()));
    random.shuffle(inner_.data(), static_cast<std::uint32_t>(inner_.size()));
  }

  [[nodiscard]] std::int64_t outer_turns() const { return static_cast<std::int64_t>(outer_.size()); }
  [[nodiscard]] std::int64_t inner_turns() const { return static_cast<std::int64_t>(inner_.size()); }
  [[nodiscard]] std::int32_t outer_stripe(std::int64_t turn) const { return outer_[static_cast<std::size_t>(turn)]; }
  [[nodiscard]] std::int32_t inner_stripe(std::int64_t turn) const { return inner_[static_cast<std::size_t>(turn)]; }

 private:
  std::vector<std::int32_t> outer_, inner_;
};

}  // namespace warpfactor
