// SPDX-License-Identifier: Apache-2.0
// The order in which the cells of an epoch run: the whole of what makes `blocked` free of races.
#include <algorithm>
#include <set>
#include <utility>

#include "check.hpp"
#include "epoch_order.hpp"

namespace {

using warpfactor::EpochOrder;

void for_each_shape(void (*f)(const EpochOrder&, std::int32_t, std::int32_t)) {
  for (std::int32_t users = 1; users <= 12; ++users) {
    for (std::int32_t items = 1; items <= 12; ++items) {
      for (std::int32_t epoch = 0; epoch < 3; ++epoch) {
        check::context =
            std::to_string(users) + " x " + std::to_string(items) + " blocks, epoch " + std::to_string(epoch);
        f(EpochOrder(users, items, 42, epoch), users, items);
      }
    }
  }
}

TEST(every_cell_runs_exactly_once) {
  for_each_shape([](const EpochOrder& order, std::int32_t users, std::int32_t items) {
    CHECK_EQ(order.size(), static_cast<std::int64_t>(users) * items);
    std::set<std::pair<std::int32_t, std::int32_t>> cells;
    for (std::int64_t place = 0; place < order.size(); ++place) {
      const EpochOrder::Cell cell = order.at(place);
      CHECK(cell.user_block >= 0 && cell.user_block < users && cell.item_block >= 0 && cell.item_block < items);
      cells.insert({cell.user_block, cell.item_block});
    }
    CHECK_EQ(static_cast<std::int64_t>(cells.size()), order.size());
  });
}

TEST(a_cell_waits_for_the_latest_cells_that_share_its_users_or_items) {
  for_each_shape([](const EpochOrder& order, std::int32_t, std::int32_t) {
    for (std::int64_t place = 0; place < order.size(); ++place) {
      const EpochOrder::Cell cell = order.at(place);
      std::int64_t same_users = -1, same_items = -1;
      for (std::int64_t earlier = 0; earlier < place; ++earlier) {
        if (order.at(earlier).user_block == cell.user_block) same_users = earlier;
        if (order.at(earlier).item_block == cell.item_block) same_items = earlier;
      }
      CHECK_EQ(std::min(cell.after_minor, cell.after_major), std::min(same_users, same_items));
      CHECK_EQ(std::max(cell.after_minor, cell.after_major), std::max(same_users, same_items));
    }
  });
}

TEST(the_cells_of_a_step_share_no_row) {
  for_each_shape([](const EpochOrder& order, std::int32_t users, std::int32_t items) {
    const std::int64_t width = std::min(users, items);
    for (std::int64_t step = 0; step < order.size(); step += width) {
      std::set<std::int32_t> user_blocks, item_blocks;
      for (std::int64_t place = step; place < step + width; ++place) {
        user_blocks.insert(order.at(place).user_block);
        item_blocks.insert(order.at(place).item_block);
      }
      CHECK_EQ(static_cast<std::int64_t>(user_blocks.size()), width);
      CHECK_EQ(static_cast<std::int64_t>(item_blocks.size()), width);
    }
  });
}

std::vector<std::pair<std::int32_t, std::int32_t>> cells_of(std::uint64_t seed, std::int32_t epoch) {
  const EpochOrder order(9, 4, seed, epoch);
  std::vector<std::pair<std::int32_t, std::int32_t>> cells;
  for (std::int64_t place = 0; place < order.size(); ++place) {
    cells.emplace_back(order.at(place).user_block, order.at(place).item_block);
  }
  return cells;
}

TEST(the_order_depends_on_the_seed_and_the_epoch_alone) {
  CHECK(cells_of(1, 1) == cells_of(1, 1));
  CHECK(cells_of(1, 1) != cells_of(1, 2));
  CHECK(cells_of(1, 1) != cells_of(2, 1));
}

}  // namespace
