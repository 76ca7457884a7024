// SPDX-License-Identifier: Apache-2.0
// Prediction, recommendation and the grouping of seen items.
#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>
#include <vector>

#include "check.hpp"
#include "random.hpp"
#include "warpfactor/topk.hpp"
#include "warpfactor/types.hpp"

namespace {

using namespace warpfactor;

/// Small whole numbers: every sum is exact in float, so that ties are ties in any order of addition.
template <class T>
struct Factors {
  std::int32_t n_users, n_items, k;
  std::vector<T> users, items, user_biases, item_biases;

  Factors(std::int32_t users_, std::int32_t items_, std::int32_t k_, bool biased = true)
      : n_users(users_), n_items(items_), k(k_) {
    SplitMix64 random(1);
    const auto fill = [&](std::vector<T>& values, std::int64_t n) {
      for (std::int64_t i = 0; i < n; ++i) values.push_back(static_cast<T>(random.below(5)) - T(2));
    };
    fill(users, static_cast<std::int64_t>(n_users) * k);
    fill(items, static_cast<std::int64_t>(n_items) * k);
    if (biased) {
      fill(user_biases, n_users);
      fill(item_biases, n_items);
    }
  }
  [[nodiscard]] FactorsView<T> view() const {
    return {n_users, n_items, k, T(3), users, items, user_biases, item_biases};
  }
  [[nodiscard]] T score(std::int32_t user, std::int32_t item) const {
    T x = 3;
    if (user >= 0 && !user_biases.empty()) x += user_biases[static_cast<std::size_t>(user)];
    if (item >= 0 && !item_biases.empty()) x += item_biases[static_cast<std::size_t>(item)];
    for (std::int32_t f = 0; user >= 0 && item >= 0 && f < k; ++f) {
      x += users[static_cast<std::size_t>(user * k + f)] * items[static_cast<std::size_t>(item * k + f)];
    }
    return x;
  }
};

template <class T>
void check_recommend(const Factors<T>& model, const std::vector<std::int32_t>& users, std::int32_t n,
                     const std::vector<std::vector<std::int32_t>>& excluded, std::int32_t n_threads) {
  std::vector<std::int64_t> indptr;
  std::vector<std::int32_t> indices;
  if (!excluded.empty()) {
    indptr.push_back(0);
    for (const auto& row : excluded) {
      indices.insert(indices.end(), row.begin(), row.end());
      indptr.push_back(static_cast<std::int64_t>(indices.size()));
    }
  }
  const std::size_t slots = users.size() * static_cast<std::size_t>(n);
  std::vector<std::int32_t> items(slots, 12345);
  std::vector<T> scores(slots, T(12345));
  recommend<T>(model.view(), users, n, {indptr, indices}, items, scores, n_threads);
  for (std::size_t q = 0; q < users.size(); ++q) {
    std::vector<std::int32_t> expected;
    for (std::int32_t item = 0; item < model.n_items; ++item) {
      if (excluded.empty() || std::find(excluded[q].begin(), excluded[q].end(), item) == excluded[q].end()) {
        expected.push_back(item);
      }
    }
    std::stable_sort(expected.begin(), expected.end(), [&](std::int32_t a, std::int32_t b) {
      return model.score(users[q], a) > model.score(users[q], b);
    });
    for (std::size_t slot = 0; slot < static_cast<std::size_t>(n); ++slot) {
      const std::size_t at = q * static_cast<std::size_t>(n) + slot;
      if (slot < expected.size()) {
        CHECK_EQ(items[at], expected[slot]);
        CHECK_EQ(scores[at], model.score(users[q], expected[slot]));
      } else {
        CHECK_EQ(items[at], -1);
        CHECK(std::isnan(scores[at]));
      }
    }
  }
}

template <class T>
void check_recommend_all() {
  for (const std::int32_t k : {1, 5, 33}) {
    for (const bool biased : {false, true}) {
      const Factors<T> model(40, 57, k, biased);
      std::vector<std::int32_t> users{-1, 3, 3, -1};
      for (std::int32_t u = 0; u < model.n_users; ++u) users.push_back(u);
      SplitMix64 random(2);
      std::vector<std::vector<std::int32_t>> excluded(users.size());
      for (std::size_t q = 0; q < users.size(); ++q) {
        for (std::uint64_t left = random.below(40); left > 0; --left) {
          excluded[q].push_back(static_cast<std::int32_t>(random.below(57)));  // repeats happen, and do no harm
        }
        excluded[q].push_back(-1);  // an item unknown to the model
      }
      for (std::int32_t item = 0; item < 57; ++item) excluded[4].push_back(item);  // nothing left
      for (const std::int32_t n : {1, 10, 57, 60}) {
        for (const std::int32_t threads : {1, 3}) {
          check::context = "k = " + std::to_string(k) + ", n = " + std::to_string(n);
          check_recommend(model, users, n, {}, threads);
          check_recommend(model, users, n, excluded, threads);
        }
      }
    }
  }
}

TEST(recommend_agrees_with_sorting_everything_in_float) { check_recommend_all<float>(); }
TEST(recommend_agrees_with_sorting_everything_in_double) { check_recommend_all<double>(); }

TEST(ties_go_to_the_lower_index) {
  Factors<float> model(1, 30, 2, false);
  std::fill(model.items.begin(), model.items.end(), 1.0f);
  std::vector<std::int32_t> items(5);
  std::vector<float> scores(5);
  recommend<float>(model.view(), std::vector<std::int32_t>{0}, 5, {}, items, scores);
  CHECK(items == (std::vector<std::int32_t>{0, 1, 2, 3, 4}));
}

TEST(recommend_for_nobody_is_nothing) {
  const Factors<float> model(3, 4, 2);
  recommend<float>(model.view(), {}, 5, {}, {}, {});
}

TEST(predict_agrees_with_the_formula) {
  const Factors<float> model(50, 60, 17);
  std::vector<std::int32_t> users, items;
  SplitMix64 random(4);
  for (int r = 0; r < 40000; ++r) {  // enough for several threads
    users.push_back(static_cast<std::int32_t>(random.below(51)) - 1);
    items.push_back(static_cast<std::int32_t>(random.below(61)) - 1);
  }
  for (const std::int32_t threads : {1, 2, 4}) {
    std::vector<float> out(users.size());
    predict<float>(model.view(), users, items, out, threads);
    for (std::size_t r = 0; r < users.size(); ++r) CHECK_EQ(out[r], model.score(users[r], items[r]));
  }
}

TEST(group_by_user_sorts_and_drops_repeats) {
  SplitMix64 random(8);
  for (const std::uint32_t n : {0u, 1u, 50u, 3000u}) {
    constexpr std::int32_t kUsers = 20;
    std::vector<std::int32_t> users, items;
    std::map<std::int32_t, std::set<std::int32_t>> expected;
    for (std::uint32_t r = 0; r < n; ++r) {
      users.push_back(static_cast<std::int32_t>(random.below(kUsers - 3)));  // the last three have nothing
      items.push_back(static_cast<std::int32_t>(random.below(25)));
      expected[users.back()].insert(items.back());
    }
    std::vector<std::int64_t> indptr(kUsers + 1, -7);
    std::vector<std::int32_t> indices(n);
    const std::int64_t used = group_by_user(users, items, indptr, indices);
    CHECK_EQ(indptr.front(), 0);
    CHECK_EQ(indptr.back(), used);
    for (std::int32_t u = 0; u < kUsers; ++u) {
      const auto row = static_cast<std::size_t>(u);
      const std::vector<std::int32_t> got(indices.begin() + indptr[row], indices.begin() + indptr[row + 1]);
      CHECK(got == std::vector<std::int32_t>(expected[u].begin(), expected[u].end()));
    }
  }
}

TEST(bad_arguments_are_named) {
  const Factors<float> model(3, 4, 2);
  const FactorsView<float> view = model.view();
  const std::vector<std::int32_t> one{0}, two{0, 1}, high{3}, low{-2}, item_high{4};
  std::vector<float> out(1);
  std::vector<std::int32_t> items(1);
  using Bad = std::invalid_argument;
  CHECK_THROWS(Bad, "items has 2", predict<float>(view, one, two, out));
  CHECK_THROWS(Bad, "out has 1", predict<float>(view, two, two, out));
  CHECK_THROWS(Bad, "users holds 3", predict<float>(view, high, one, out));
  CHECK_THROWS(Bad, "users holds -2", predict<float>(view, low, one, out));
  CHECK_THROWS(Bad, "items holds 4", predict<float>(view, one, item_high, out));
  for (const char* name : {"user_factors", "item_factors", "user_biases", "item_biases"}) {
    FactorsView<float> wrong = view;
    if (std::string(name) == "user_factors") wrong.user_factors = wrong.user_factors.first(5);
    if (std::string(name) == "item_factors") wrong.item_factors = wrong.item_factors.first(5);
    if (std::string(name) == "user_biases") wrong.user_biases = wrong.user_biases.first(2);
    if (std::string(name) == "item_biases") wrong.item_biases = wrong.item_biases.first(2);
    CHECK_THROWS(Bad, name, predict<float>(wrong, one, one, out));
    CHECK_THROWS(Bad, name, recommend<float>(wrong, one, 1, {}, items, out));
  }
  CHECK_THROWS(Bad, "n is 0", recommend<float>(view, one, 0, {}, {}, {}));
  CHECK_THROWS(Bad, "n is -1", recommend<float>(view, one, -1, {}, {}, {}));
  CHECK_THROWS(Bad, "items has 1", recommend<float>(view, one, 2, {}, items, out));
  CHECK_THROWS(Bad, "scores has 0", recommend<float>(view, one, 1, {}, items, {}));
  CHECK_THROWS(Bad, "users holds 3", recommend<float>(view, high, 1, {}, items, out));
  const std::vector<std::int64_t> short_indptr{0}, indptr{0, 1}, falling{1, 0}, negative{-1, 0};
  CHECK_THROWS(Bad, "exclude.indptr", recommend<float>(view, one, 1, {short_indptr, {}}, items, out));
  CHECK_THROWS(Bad, "exclude.indices", recommend<float>(view, one, 1, {indptr, two}, items, out));
  CHECK_THROWS(Bad, "exclude.indices holds 4", recommend<float>(view, one, 1, {indptr, item_high}, items, out));
  CHECK_THROWS(Bad, "exclude.indptr must rise", recommend<float>(view, one, 1, {falling, {}}, items, out));
  CHECK_THROWS(Bad, "exclude.indptr must rise", recommend<float>(view, one, 1, {negative, {}}, items, out));
  std::vector<std::int64_t> rows(2);
  CHECK_THROWS(Bad, "users holds 3", group_by_user(high, one, rows, items));
  CHECK_THROWS(Bad, "users holds -2", group_by_user(low, one, rows, items));
  CHECK_THROWS(Bad, "items has 2", group_by_user(one, two, rows, items));
  CHECK_THROWS(Bad, "indices has 0", group_by_user(one, one, rows, {}));
  CHECK_THROWS(Bad, "indptr", group_by_user(one, one, {}, items));
}

TEST(an_interrupt_ends_prediction) {
  const Factors<float> model(10, 5000, 64);
  const std::vector<std::int32_t> users(50000, 1);
  std::vector<std::int32_t> items(users.size());
  std::vector<float> scores(users.size());
  CHECK_THROWS(Interrupted, "interrupted",
               recommend<float>(model.view(), users, 1, {}, items, scores, 2, [] { return true; }));
}

}  // namespace
