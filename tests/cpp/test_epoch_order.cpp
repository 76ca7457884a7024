// SPDX-License-Identifier: Apache-2.0
// The order of blocks, and that waiting for one block is enough.
#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "check.hpp"
#include "epoch_order.hpp"

namespace {

using namespace warpfactor;

std::vector<std::int32_t> outer_stripes(const EpochOrder& order) {
  std::vector<std::int32_t> stripes;
  for (std::int64_t outer_turn = 0; outer_turn < order.outer_turns(); ++outer_turn)
    stripes.push_back(order.outer_stripe(outer_turn));
  return stripes;
}

std::vector<std::int32_t> inner_stripes(const EpochOrder& order) {
  std::vector<std::int32_t> stripes;
  for (std::int64_t inner_turn = 0; inner_turn < order.inner_turns(); ++inner_turn)
    stripes.push_back(order.inner_stripe(inner_turn));
  return stripes;
}

bool is_permutation_of(std::vector<std::int32_t> stripes, std::int32_t n) {
  std::sort(stripes.begin(), stripes.end());
  for (std::size_t b = 0; b < stripes.size(); ++b) {
    if (stripes[b] != static_cast<std::int32_t>(b)) return false;
  }
  return static_cast<std::int32_t>(stripes.size()) == n;
}

TEST(every_block_runs_exactly_once) {
  for (std::int32_t outer = 1; outer <= 12; ++outer) {
    for (std::int32_t inner = 1; inner <= 12; ++inner) {
      for (std::int32_t epoch = 0; epoch < 3; ++epoch) {
        check::context = std::to_string(outer) + " x " + std::to_string(inner) + ", epoch " + std::to_string(epoch);
        const EpochOrder order(outer, inner, 42, epoch);
        CHECK(is_permutation_of(outer_stripes(order), outer));
        CHECK(is_permutation_of(inner_stripes(order), inner));
      }
    }
  }
}

// In rounds, each block runs whose predecessors are done: the one before in its own outer turn, and the one that it
// waits for. No two blocks of a round may share a row, and each side's blocks must come in the order of one thread.
TEST(blocks_wait_for_the_outer_turn_before_and_so_share_no_row) {
  constexpr std::int32_t kOuter = 7, kInner = 5;
  const EpochOrder order(kOuter, kInner, 3, 0);
  std::vector<std::int64_t> blocks_done(kOuter, 0);
  std::vector<std::int64_t> outer_done(kInner, 0);  // by inner_turn: how many places have run it
  std::int64_t blocks = 0;
  for (int round = 0; blocks < kOuter * kInner; ++round) {
    CHECK(round < kOuter + kInner);  // as many rounds as a wavefront takes
    if (round >= kOuter + kInner) return;
    std::vector<std::int64_t> running;
    for (std::int64_t outer_turn = 0; outer_turn < kOuter; ++outer_turn) {
      const auto at = static_cast<std::size_t>(outer_turn);
      const bool ready = outer_turn == 0 || blocks_done[at - 1] > blocks_done[at];
      if (blocks_done[at] < kInner && ready) running.push_back(outer_turn);
    }
    std::vector<bool> taken(kInner, false);
    for (const std::int64_t outer_turn : running) {
      const auto inner_turn = static_cast<std::size_t>(blocks_done[static_cast<std::size_t>(outer_turn)]++);
      CHECK(!taken[inner_turn]);
      taken[inner_turn] = true;
      CHECK_EQ(outer_done[inner_turn]++, outer_turn);
      ++blocks;
    }
  }
}

TEST(the_order_depends_on_the_seed_and_the_epoch_alone) {
  const auto stripes = [](std::uint64_t seed, std::int32_t epoch) {
    return std::pair{outer_stripes(EpochOrder(9, 14, seed, epoch)), inner_stripes(EpochOrder(9, 14, seed, epoch))};
  };
  CHECK(stripes(1, 1) == stripes(1, 1));
  CHECK(stripes(1, 1).first != stripes(1, 2).first && stripes(1, 1).second != stripes(1, 2).second);
  CHECK(stripes(1, 1).first != stripes(2, 1).first && stripes(1, 1).second != stripes(2, 1).second);
}

}  // namespace
