// SPDX-License-Identifier: Apache-2.0
// Blocks of users that several processes would hold: each rating is trained once, to the same bits by any number of
// threads, and the prior means take the steps that they take on one machine.
#include "cpu/user_block.hpp"

#include <deque>
#include <limits>
#include <set>

#include "check.hpp"
#include "synthetic.hpp"

namespace {

using namespace synthetic;

constexpr std::int32_t kBlocks = 3, kUsers = 400, kItems = 300, kFactors = 12;
constexpr std::int64_t kRatings = 30'000;

BlockPlan plan_with(ImplicitFeedback implicit) {
  BlockPlan plan;
  plan.params.n_factors = kFactors;
  plan.params.n_epochs = 4;
  plan.params.implicit_feedback = implicit;
  plan.params.reg = plan.params.reg_bias = 0.04;
  plan.params.reg_row = plan.params.reg_bias_row = implicit == ImplicitFeedback::none ? 0 : 4;
  plan.params.reg_implicit = 2;
  plan.params.init_scale = 0.1;
  plan.z.shift = 3;
  plan.z.max_slope = 100;
  plan.z.lowest = -std::numeric_limits<double>::infinity();
  return plan;
}

/// Blocks of random ratings, with the first rows of both sides.
struct Blocks {
  BlockPlan plan;
  std::vector<std::int32_t> users, items;  ///< internal rows
  std::vector<float> values;
  Cut cut;
  std::deque<UserBlock<float>> blocks;  // which cannot be moved
  std::vector<Buffer<float>> item_rows;
  std::vector<float> user_factors, item_factors;  ///< by internal row

  Blocks(ImplicitFeedback implicit, std::int32_t n_threads) : plan(plan_with(implicit)) {
    SplitMix64 random(1);
    Survey rated;
    rated.user_counts.assign(kUsers, 0);
    rated.item_counts.assign(kItems, 0);
    for (std::int64_t r = 0; r < kRatings; ++r) {
      users.push_back(static_cast<std::int32_t>(below(random, kUsers)));
      items.push_back(static_cast<std::int32_t>(below(random, kItems)));
      values.push_back(static_cast<float>(1 + below(random, 5)));
      ++rated.user_counts[static_cast<std::size_t>(users.back())];
      ++rated.item_counts[static_cast<std::size_t>(items.back())];
    }
    rated.counted = kRatings;
    ThreadTeam team(1);
    cut = cut_sides(rated, plan.params, kBlocks, sizeof(float), team);
    for (std::size_t r = 0; r < values.size(); ++r) {
      users[r] = cut.users.position[static_cast<std::size_t>(users[r])];
      items[r] = cut.items.position[static_cast<std::size_t>(items[r])];
    }
    const auto start = [&](std::int64_t n) {
      std::vector<float> factors(static_cast<std::size_t>(n * kFactors));
      for (float& each : factors) each = static_cast<float>(0.1 * noise(random));
      return factors;
    };
    user_factors = start(kUsers);
    item_factors = start(kItems);
    const auto counts = [](const std::vector<std::uint32_t>& of, const SideCut& side) {
      std::vector<double> internal(of.size());
      for (std::size_t row = 0; row < of.size(); ++row)
        internal[static_cast<std::size_t>(side.position[row])] = of[row];
      return internal;
    };
    const auto user_counts = counts(rated.user_counts, cut.users), item_counts = counts(rated.item_counts, cut.items);
    const auto rows = [&](const std::vector<float>& factors, const std::vector<double>& of, bool of_users,
                          std::int32_t first, std::int32_t last) {
      const auto n = static_cast<std::size_t>(last - first), at = static_cast<std::size_t>(first);
      const std::vector<float> biases(n, 0.0F);
      return packed<float>(plan, of_users, std::span(factors).subspan(at * kFactors, n * kFactors), biases,
                           std::span(of).subspan(at, n));
    };
    for (std::int32_t block = 0; block < kBlocks; ++block) {
      const std::int32_t first = first_row(cut.users, block), last = first_row(cut.users, block + 1);
      std::vector<std::int32_t> own_users, own_items;
      std::vector<float> own_values;
      for (std::size_t r = 0; r < values.size(); ++r) {
        if (users[r] < first || users[r] >= last) continue;
        own_users.push_back(users[r] - first);
        own_items.push_back(items[r]);
        own_values.push_back(values[r]);
      }
      Cut own = cut;
      own.users.begin.clear();
      for (std::int32_t s = cut.users.first_stripe[static_cast<std::size_t>(block)];
           s <= cut.users.first_stripe[static_cast<std::size_t>(block) + 1]; ++s) {
        own.users.begin.push_back(cut.users.begin[static_cast<std::size_t>(s)] - first);
      }
      blocks.emplace_back(RatingsView{own_users, own_items, own_values, {}, last - first, kItems}, std::move(own), plan,
                          block, n_threads);
      const Buffer<float> user_rows = rows(user_factors, user_counts, true, first, last);
      std::copy_n(user_rows.data(), user_rows.size(), blocks.back().rows().data());
      item_rows.push_back(
          rows(item_factors, item_counts, false, first_row(cut.items, block), first_row(cut.items, block + 1)));
    }
  }
  static std::int32_t first_row(const SideCut& side, std::int32_t block) {
    return side.begin[static_cast<std::size_t>(side.first_stripe[static_cast<std::size_t>(block)])];
  }

  /// The loss of an epoch.
  double run(std::int32_t epoch, double learning_rate) {
    double loss = 0;
    const BlockOrder order = block_order(kBlocks, plan.params.seed, epoch);
    for (const std::int32_t item_block : order.items) {
      Buffer<float>& of_items = item_rows[static_cast<std::size_t>(item_block)];
      const std::span<float> rows{of_items.data(), static_cast<std::size_t>(of_items.size())};
      for (const std::int32_t block : order.users) {
        loss += blocks[static_cast<std::size_t>(block)].run(item_block, rows, epoch, learning_rate, kFactors).loss;
      }
    }
    return loss;
  }
  [[nodiscard]] std::vector<float> all() {
    std::vector<float> numbers;
    for (UserBlock<float>& block : blocks) numbers.insert(numbers.end(), block.rows().begin(), block.rows().end());
    for (const Buffer<float>& rows : item_rows) numbers.insert(numbers.end(), rows.data(), rows.data() + rows.size());
    return numbers;
  }
};

TEST(an_epoch_sees_each_rating_once) {
  Blocks blocks(ImplicitFeedback::none, 1);
  double expected = 0;
  for (std::size_t r = 0; r < blocks.values.size(); ++r) {
    double x = 0;
    for (std::size_t f = 0; f < kFactors; ++f) {
      x += static_cast<double>(blocks.user_factors[static_cast<std::size_t>(blocks.users[r]) * kFactors + f]) *
           static_cast<double>(blocks.item_factors[static_cast<std::size_t>(blocks.items[r]) * kFactors + f]);
    }
    const double error = static_cast<double>(blocks.values[r]) - 3 - x;
    expected += error * error;
  }
  // At a rate of 1e-12 no row moves by more than 1e-12 times its 150 ratings' slopes of at most 4. What is left is
  // rounding: of scores to some float steps, and of their squared errors, at most 9 each, summed as float in groups.
  CHECK_CLOSE(blocks.run(0, 1e-12), expected, 40 * kRatings * 9 * 6e-8);
}

TEST(the_bits_do_not_depend_on_the_number_of_threads) {
  for (const ImplicitFeedback implicit : {ImplicitFeedback::none, ImplicitFeedback::both}) {
    Blocks one(implicit, 1), four(implicit, 4);
    for (std::int32_t epoch = 0; epoch < 3; ++epoch) {
      CHECK_EQ(one.run(epoch, 0.05), four.run(epoch, 0.05));
    }
    CHECK(one.all() == four.all());
  }
}

TEST(neighbouring_users_stay_together_and_items_come_in_any_order) {
  std::set<std::vector<std::int32_t>> of_users, of_items;
  for (std::int32_t epoch = 0; epoch < 40; ++epoch) {
    const BlockOrder order = block_order(8, 3, epoch);
    CHECK_EQ(std::set<std::int32_t>(order.users.begin(), order.users.end()).size(), std::size_t{8});
    CHECK_EQ(std::set<std::int32_t>(order.items.begin(), order.items.end()).size(), std::size_t{8});
    // 2, 4 or 8 workers hold as many neighbours each, which come one after the other.
    for (const std::size_t together : {4U, 2U}) {
      for (std::size_t first = 0; first < 8; first += together) {
        for (std::size_t n = first; n < first + together; ++n) {
          CHECK_EQ(order.users[n] / static_cast<std::int32_t>(together),
                   order.users[first] / static_cast<std::int32_t>(together));
        }
      }
    }
    of_users.insert(order.users);
    of_items.insert(order.items);
  }
  // Of 2^7 orders 40 draws take 34 different ones on average, with a deviation of 2; of 8! none comes twice.
  CHECK(of_users.size() >= 24);
  CHECK_EQ(of_items.size(), std::size_t{40});
  CHECK_EQ(block_order(1, 3, 0).users.size(), std::size_t{1});
}

TEST(labels_are_checked_where_the_ratings_are) {
  BlockPlan plan = plan_with(ImplicitFeedback::none);
  plan.params.loss = Loss::logistic;
  plan.z.shift = plan.z.scale = 0.5;
  const std::vector<std::int32_t> rows{0, 0};
  const std::vector<float> values{1, 0.5};
  const Cut cut{{{}, {0, 1}, {0, 1}}, {{}, {0, 1}, {0, 1}}, true, 64};
  CHECK_THROWS(std::invalid_argument, "a label with the logistic loss",
               UserBlock<float>({rows, rows, values, {}, 1, 1}, cut, plan, 0, 1));
}

}  // namespace
