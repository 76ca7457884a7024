// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <numeric>
#include <vector>

#include "random.hpp"

namespace warpfactor {

/// The numbers from 0 to n - 1, batches or waves, in the order of an epoch.
inline std::vector<std::int32_t> shuffled(std::int64_t n, std::uint64_t seed, std::int32_t epoch) {
  std::vector<std::int32_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  SplitMix64 random(seed, kEpochOrder, static_cast<std::uint64_t>(epoch));
  random.shuffle(order.data(), static_cast<std::uint32_t>(order.size()));
  return order;
}

/// The order of an epoch's cells: the blocks of the outer side one after the other, and for each of them all blocks of
/// the inner side, in the same order for all. A thread takes a block of the outer side, whose rows then stay in its
/// cache, and walks over the inner side; the thread with the next block of the outer side follows at least one step
/// behind. So a cell waits for one other alone, the same step of the place before: whatever came before that on either
/// side has been waited for already. Which block stands at which place is drawn anew each epoch from the seed.
class EpochOrder {
 public:
  EpochOrder(std::int32_t outer_blocks, std::int32_t inner_blocks, std::uint64_t seed, std::int32_t epoch)
      : outer_(static_cast<std::size_t>(outer_blocks)), inner_(static_cast<std::size_t>(inner_blocks)) {
    std::iota(outer_.begin(), outer_.end(), 0);
    std::iota(inner_.begin(), inner_.end(), 0);
    SplitMix64 random(seed, kEpochOrder, static_cast<std::uint64_t>(epoch));
    random.shuffle(outer_.data(), static_cast<std::uint32_t>(outer_.size()));
    random.shuffle(inner_.data(), static_cast<std::uint32_t>(inner_.size()));
  }

  [[nodiscard]] std::int64_t places() const { return static_cast<std::int64_t>(outer_.size()); }
  [[nodiscard]] std::int64_t steps() const { return static_cast<std::int64_t>(inner_.size()); }
  [[nodiscard]] std::int32_t outer_block(std::int64_t place) const { return outer_[static_cast<std::size_t>(place)]; }
  [[nodiscard]] std::int32_t inner_block(std::int64_t step) const { return inner_[static_cast<std::size_t>(step)]; }

 private:
  std::vector<std::int32_t> outer_, inner_;
};

}  // namespace warpfactor
