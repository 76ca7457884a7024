// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

#include "random.hpp"

namespace warpfactor {

/// The order of an epoch's cells. The side with more blocks ("major", M of them) is walked diagonally against the other
/// ("minor", m): step s pairs minor block j with major block (j + s) mod M, so the m cells of a step share no row.
/// Which block stands at which place is drawn anew each epoch from the seed. Cells are handed out in this order; a cell
/// may run once the cells before it that share its users or its items are done, which are two known places of the
/// order.
class EpochOrder {
 public:
  struct Cell {
    std::int32_t user_block, item_block;
    std::int64_t after_minor, after_major;  ///< places of the cells to wait for; -1: none
  };

  EpochOrder(std::int32_t user_blocks, std::int32_t item_blocks, std::uint64_t seed, std::int32_t epoch)
      : users_major_(user_blocks >= item_blocks),
        major_(static_cast<std::size_t>(std::max(user_blocks, item_blocks))),
        minor_(static_cast<std::size_t>(std::min(user_blocks, item_blocks))) {
    std::iota(major_.begin(), major_.end(), 0);
    std::iota(minor_.begin(), minor_.end(), 0);
    SplitMix64 random(seed, kEpochOrder, static_cast<std::uint64_t>(epoch));
    random.shuffle(major_.data(), static_cast<std::uint32_t>(major_.size()));
    random.shuffle(minor_.data(), static_cast<std::uint32_t>(minor_.size()));
  }

  [[nodiscard]] std::int64_t size() const { return static_cast<std::int64_t>(major_.size() * minor_.size()); }

  [[nodiscard]] Cell at(std::int64_t place) const {
    const auto big = static_cast<std::int64_t>(major_.size()), small = static_cast<std::int64_t>(minor_.size());
    const std::int64_t step = place / small, j = place % small;
    const std::int32_t in_major = major_[static_cast<std::size_t>((j + step) % big)];
    const std::int32_t in_minor = minor_[static_cast<std::size_t>(j)];
    // Major block (j + s) met minor block j + 1 a step ago; from the last minor block on it has been round the other
    // side.
    const std::int64_t major_step = j + 1 < small ? step - 1 : step - (big - small) - 1;
    const std::int64_t major_j = j + 1 < small ? j + 1 : 0;
    return {users_major_ ? in_major : in_minor, users_major_ ? in_minor : in_major, step > 0 ? place - small : -1,
            major_step >= 0 ? major_step * small + major_j : -1};
  }

 private:
  bool users_major_;
  std::vector<std::int32_t> major_, minor_;
};

}  // namespace warpfactor
