// SPDX-License-Identifier: Apache-2.0
// The order of cells, and that waiting for one cell is enough.
#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "check.hpp"
#include "epoch_order.hpp"

namespace {

using namespace warpfactor;

std::vector<std::int32_t> outer_blocks(const EpochOrder& order) {
  std::vector<std::int32_t> blocks;
  for (std::int64_t place = 0; place < order.places(); ++place) blocks.push_back(order.outer_block(place));
  return blocks;
}

std::vector<std::int32_t> inner_blocks(const EpochOrder& order) {
  std::vector<std::int32_t> blocks;
  for (std::int64_t step = 0; step < order.steps(); ++step) blocks.push_back(order.inner_block(step));
  return blocks;
}

bool is_permutation_of(std::vector<std::int32_t> blocks, std::int32_t n) {
  std::sort(blocks.begin(), blocks.end());
  for (std::size_t b = 0; b < blocks.size(); ++b) {
    if (blocks[b] != static_cast<std::int32_t>(b)) return false;
  }
  return static_cast<std::int32_t>(blocks.size()) == n;
}

TEST(every_cell_runs_exactly_once) {
  for (std::int32_t outer = 1; outer <= 12; ++outer) {
    for (std::int32_t inner = 1; inner <= 12; ++inner) {
      for (std::int32_t epoch = 0; epoch < 3; ++epoch) {
        check::context = std::to_string(outer) + " x " + std::to_string(inner) + ", epoch " + std::to_string(epoch);
        const EpochOrder order(outer, inner, 42, epoch);
        CHECK(is_permutation_of(outer_blocks(order), outer));
        CHECK(is_permutation_of(inner_blocks(order), inner));
      }
    }
  }
}

// Cells run as soon as the cell they wait for and the one before on the same place are done, in rounds: all that can
// run together do. No two of a round may share a row, and on each side they must come in the order of one thread.
TEST(waiting_for_the_same_step_of_the_place_before_keeps_cells_apart_and_in_order) {
  constexpr std::int32_t kOuter = 7, kInner = 5;
  const EpochOrder order(kOuter, kInner, 3, 0);
  std::vector<std::int64_t> steps_done(kOuter, 0);
  std::vector<std::int64_t> places_done(kInner, 0);  // by step: how many places have run it
  std::int64_t cells = 0;
  for (int round = 0; cells < kOuter * kInner; ++round) {
    CHECK(round < kOuter + kInner);  // as many rounds as a wavefront takes
    if (round >= kOuter + kInner) return;
    std::vector<std::int64_t> running;
    for (std::int64_t place = 0; place < kOuter; ++place) {
      const auto at = static_cast<std::size_t>(place);
      const bool ready = place == 0 || steps_done[at - 1] > steps_done[at];
      if (steps_done[at] < kInner && ready) running.push_back(place);
    }
    std::vector<bool> taken(kInner, false);
    for (const std::int64_t place : running) {
      const auto step = static_cast<std::size_t>(steps_done[static_cast<std::size_t>(place)]++);
      CHECK(!taken[step]);
      taken[step] = true;
      CHECK_EQ(places_done[step]++, place);
      ++cells;
    }
  }
}

TEST(the_order_depends_on_the_seed_and_the_epoch_alone) {
  const auto blocks = [](std::uint64_t seed, std::int32_t epoch) {
    return std::pair{outer_blocks(EpochOrder(9, 14, seed, epoch)), inner_blocks(EpochOrder(9, 14, seed, epoch))};
  };
  CHECK(blocks(1, 1) == blocks(1, 1));
  CHECK(blocks(1, 1).first != blocks(1, 2).first && blocks(1, 1).second != blocks(1, 2).second);
  CHECK(blocks(1, 1).first != blocks(2, 1).first && blocks(1, 1).second != blocks(2, 1).second);
}

}  // namespace
