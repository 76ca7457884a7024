// SPDX-License-Identifier: Apache-2.0
// The fitted model: predictions, recommendations, similar items, ids, the grouping of seen items. The file:
// test_model_file.
#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>
#include <vector>

#include "check.hpp"
#include "random.hpp"
#include "synthetic.hpp"
#include "warpfactor/model.hpp"
#include "warpfactor/train.hpp"

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
  [[nodiscard]] ModelView<T> view() const {
    ModelView<T> model{n_users, n_items, k, users, items, user_biases, item_biases};
    model.global_mean = 3;
    return model;
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
                     const std::vector<std::vector<std::int32_t>>& seen, std::int32_t n_threads) {
  RowLists lists;
  if (!seen.empty()) lists.indptr.push_back(0);
  for (const auto& row : seen) {
    lists.items.insert(lists.items.end(), row.begin(), row.end());
    lists.indptr.push_back(static_cast<std::int64_t>(lists.items.size()));
  }
  const std::size_t slots = users.size() * static_cast<std::size_t>(n);
  std::vector<std::int32_t> items(slots, 12345);
  std::vector<T> scores(slots, T(12345));
  recommend<T>(model.view(), users, n, lists, items, scores, {.n_threads = n_threads});
  for (std::size_t q = 0; q < users.size(); ++q) {
    std::vector<std::int32_t> expected;
    for (std::int32_t item = 0; item < model.n_items; ++item) {
      const bool out =
          users[q] >= 0 && !seen.empty() && std::count(lists[users[q]].begin(), lists[users[q]].end(), item) > 0;
      if (!out) expected.push_back(item);
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
      std::vector<std::vector<std::int32_t>> seen(40);
      for (auto& row : seen) {
        for (std::uint64_t left = random.below(40); left > 0; --left) {
          row.push_back(static_cast<std::int32_t>(random.below(57)));  // repeats happen, and do no harm
        }
        row.push_back(-1);  // an item unknown to the model
      }
      for (std::int32_t item = 0; item < 57; ++item) seen[4].push_back(item);  // nothing left
      for (const std::int32_t n : {1, 10, 57, 60}) {
        for (const std::int32_t threads : {1, 3}) {
          check::context = "k = " + std::to_string(k) + ", n = " + std::to_string(n);
          check_recommend(model, users, n, {}, threads);
          check_recommend(model, users, n, seen, threads);
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

/// The items in the order of score - z deviation, all small whole numbers and halves: exact in float.
template <class T>
void check_bounds(bool biased, bool by_user) {
  check::context = biased ? "with biases" : "without biases";
  const Factors<T> factors(20, 30, 5, biased);
  // The length of user u is (u % 3)^2, so that with the second variances all deviations are whole or halves too.
  std::vector<T> deviations, variances, lengths;
  for (int item = 0; item < 30; ++item) {
    deviations.push_back(static_cast<T>((item * 7) % 5) / 2);
    variances.push_back(deviations.back() * deviations.back());
  }
  for (int user = 0; user <= 20; ++user) lengths.push_back(static_cast<T>((user % 3) * (user % 3)));
  const std::vector<T> none(30);
  ModelView<T> model = factors.view();
  if (by_user) {
    model.uncertainty = {none, variances, lengths};
  } else {
    model.uncertainty.bias_variances = variances;
  }
  std::vector<std::int32_t> users{-1};
  for (std::int32_t user = 0; user < 20; ++user) users.push_back(user);
  const RowLists seen = group_by_user(std::vector<std::int32_t>{3, 3}, std::vector<std::int32_t>{4, 9}, 20);
  for (const double times : {-4.0, -1.0, 0.0, 2.0}) {
    std::vector<std::int32_t> items(users.size() * 30);
    std::vector<T> bounds(items.size());
    recommend<T>(model, users, 30, seen, items, bounds,
                 {.confidence = std::max(-times, 0.0), .exploration = std::max(times, 0.0)});
    for (std::size_t q = 0; q < users.size(); ++q) {
      const auto bound = [&](std::int32_t item) {
        const std::int32_t row = users[q] < 0 ? 20 : users[q];
        const T root = by_user ? static_cast<T>(row % 3) : 1;
        return factors.score(users[q], item) +
               static_cast<T>(times) * root * deviations[static_cast<std::size_t>(item)];
      };
      std::vector<std::int32_t> expected;
      for (std::int32_t item = 0; item < 30; ++item) {
        if (users[q] != 3 || (item != 4 && item != 9)) expected.push_back(item);
      }
      std::stable_sort(expected.begin(), expected.end(),
                       [&](std::int32_t a, std::int32_t b) { return bound(a) > bound(b); });
      for (std::size_t slot = 0; slot < 30; ++slot) {
        CHECK_EQ(items[q * 30 + slot], slot < expected.size() ? expected[slot] : -1);
        if (slot < expected.size()) CHECK_EQ(bounds[q * 30 + slot], bound(expected[slot]));
      }
    }
  }
}

TEST(recommend_ranks_by_bounds) {
  for (const bool biased : {false, true}) {
    for (const bool by_user : {false, true}) {
      check_bounds<float>(biased, by_user);
      check_bounds<double>(biased, by_user);
    }
  }
}

/// The lists of some queries by sorting all scores; score(q, item), and whether q may get the item.
template <class Score, class May>
void check_lists(const std::vector<std::int32_t>& items, const std::vector<float>& scores, std::size_t n,
                 std::int32_t n_items, const Score& score, const May& may) {
  for (std::size_t q = 0; q < items.size() / n; ++q) {
    std::vector<std::int32_t> expected;
    for (std::int32_t item = 0; item < n_items; ++item) {
      if (may(q, item)) expected.push_back(item);
    }
    std::stable_sort(expected.begin(), expected.end(),
                     [&](std::int32_t a, std::int32_t b) { return score(q, a) > score(q, b); });
    for (std::size_t slot = 0; slot < n; ++slot) {
      CHECK_EQ(items[q * n + slot], slot < expected.size() ? expected[slot] : -1);
      if (slot < expected.size()) CHECK_EQ(scores[q * n + slot], score(q, expected[slot]));
    }
  }
}

TEST(recommend_chooses_from_what_may_be_chosen) {
  const Factors<float> factors(20, 30, 5);
  const std::vector<std::int32_t> users{4, -1, 17, 3};
  const RowLists seen = group_by_user(std::vector<std::int32_t>{3, 3, 4}, std::vector<std::int32_t>{4, 9, 12}, 20);
  const auto is_seen = [&](std::size_t q, std::int32_t item) {
    return (users[q] == 3 && (item == 4 || item == 9)) || (users[q] == 4 && item == 12);
  };
  const auto score = [&](std::size_t q, std::int32_t item) { return factors.score(users[q], item); };
  std::vector<std::int32_t> items(users.size() * 8);
  std::vector<float> scores(items.size());
  for (const std::int32_t step : {1, 2, 7}) {  // all items, half of them, and few: gathered
    bool allowed[30] = {};
    for (std::int32_t item = 0; item < 30; item += step) allowed[item] = true;
    recommend<float>(factors.view(), users, 8, seen, items, scores, {.allowed = allowed});
    check_lists(items, scores, 8, 30, score,
                [&](std::size_t q, std::int32_t item) { return allowed[item] && !is_seen(q, item); });
  }
  // Unsorted, with repeats, with no item and without any; what is left out may be in none of them.
  const RowLists only{{0, 6, 6, 9, 12}, {9, 4, -1, 9, 12, 2, 5, 29, 0, 4, 9, 8}};
  const RowLists without{{0, 2, 3, 3, 4}, {2, -1, 7, 8}};
  recommend<float>(factors.view(), users, 8, seen, items, scores, {.only = only, .without = without});
  const auto lists = [](const RowLists& from, std::size_t q, std::int32_t item) {
    const auto row = from[static_cast<std::int32_t>(q)];
    return std::find(row.begin(), row.end(), item) != row.end();
  };
  check_lists(items, scores, 8, 30, score, [&](std::size_t q, std::int32_t item) {
    return lists(only, q, item) && !lists(without, q, item) && !is_seen(q, item);
  });
}

TEST(recommend_to_groups_combines_the_scores_of_their_members) {
  const Factors<float> factors(20, 30, 5);
  const std::vector<std::int32_t> users{4, 7, -1, 11, 2, -1};
  const std::vector<std::int64_t> groups{0, 3, 5, 6};
  const std::vector<std::vector<std::int32_t>> known{{4, 7}, {11, 2}, {-1}};
  const RowLists seen = group_by_user(std::vector<std::int32_t>{4, 7}, std::vector<std::int32_t>{1, 2}, 20);
  std::vector<std::int32_t> items(3 * 30);
  std::vector<float> scores(items.size());
  for (const GroupRule rule : {GroupRule::mean, GroupRule::min, GroupRule::max}) {
    recommend<float>(factors.view(), users, 30, seen, items, scores, {.groups = groups, .group_rule = rule});
    check_lists(
        items, scores, 30, 30,
        [&](std::size_t q, std::int32_t item) {
          float first = factors.score(known[q].front(), item), last = factors.score(known[q].back(), item);
          if (rule == GroupRule::mean) return (first + last) / 2;
          return rule == GroupRule::min ? std::min(first, last) : std::max(first, last);
        },
        [](std::size_t q, std::int32_t item) { return q != 0 || (item != 1 && item != 2); });
  }
}

TEST(score_items_are_the_scores_of_lists) {
  const Factors<float> factors(20, 30, 5);
  ModelView<float> model = factors.view();
  const std::vector<std::uint32_t> counts{0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
  model.user_counts = counts;
  model.start_bias = 0.5;
  const std::vector<std::int32_t> users{4, 0, -1}, items{9, -1, 9, 3};
  std::vector<float> scores(12);
  score_items<float>(model, users, items, scores);
  for (std::size_t m = 0; m < 3; ++m) {
    for (std::size_t j = 0; j < 4; ++j) {
      const float unknown = (m > 0 ? 0.5f : 0.0f) + (items[j] < 0 ? 0.5f : 0.0f);
      CHECK_EQ(scores[m * 4 + j], factors.score(m == 0 ? 4 : -1, items[j]) + unknown);
    }
  }
  score_items<float>(model, users, items, scores, {.unknown = Unknown::nan});
  CHECK(std::isnan(scores[1]) && std::isnan(scores[4]) && scores[0] == factors.score(4, 9));
  CHECK_THROWS(std::invalid_argument, "users[1] is 0",
               score_items<float>(model, users, items, scores, {.unknown = Unknown::raise}));
  CHECK_THROWS(std::invalid_argument, "out has 12", score_items<float>(model, users, users, scores));
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
    predict<float>(model.view(), users, items, out, {.n_threads = threads});
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
    const RowLists lists = group_by_user(users, items, kUsers);
    CHECK_EQ(lists.indptr.size(), std::size_t(kUsers + 1));
    CHECK_EQ(lists.indptr.back(), static_cast<std::int64_t>(lists.items.size()));
    for (std::int32_t u = 0; u < kUsers; ++u) {
      const std::vector<std::int32_t> got(lists[u].begin(), lists[u].end());
      CHECK(got == std::vector<std::int32_t>(expected[u].begin(), expected[u].end()));
    }
  }
}

TEST(bad_arguments_are_named) {
  const Factors<float> model(3, 4, 2);
  const ModelView<float> view = model.view();
  const std::vector<std::int32_t> one{0}, two{0, 1}, high{3}, low{-2}, item_high{4};
  std::vector<float> out(1);
  std::vector<std::int32_t> items(1), two_items(2);
  using Bad = std::invalid_argument;
  CHECK_THROWS(Bad, "items has 2", predict<float>(view, one, two, out));
  CHECK_THROWS(Bad, "out has 1", predict<float>(view, two, two, out));
  CHECK_THROWS(Bad, "users holds 3", predict<float>(view, high, one, out));
  CHECK_THROWS(Bad, "users holds -2", predict<float>(view, low, one, out));
  CHECK_THROWS(Bad, "items holds 4", predict<float>(view, one, item_high, out));
  for (const char* name : {"user_factors", "item_factors", "user_biases", "item_biases"}) {
    ModelView<float> wrong = view;
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
  CHECK_THROWS(Bad, "predictions has 0", recommend<float>(view, one, 1, {}, items, {}));
  CHECK_THROWS(Bad, "users holds 3", recommend<float>(view, high, 1, {}, items, out));
  const std::vector<std::int64_t> short_indptr{0}, indptr{0, 1, 1, 1}, falling{1, 0, 0, 0}, negative{-1, 0, 0, 0},
      beyond{0, 3, 3, 3};
  CHECK_THROWS(Bad, "seen.indptr has 1", recommend<float>(view, one, 1, {short_indptr, {}}, items, out));
  CHECK_THROWS(Bad, "seen.items holds 4", recommend<float>(view, one, 1, {indptr, item_high}, items, out));
  for (const auto& wrong : {falling, negative, beyond}) {
    CHECK_THROWS(Bad, "at user 0; it must rise", recommend<float>(view, one, 1, {wrong, two}, items, out));
  }
  for (const double wrong : {-1.0, std::nan(""), std::numeric_limits<double>::infinity()}) {
    CHECK_THROWS(Bad, "it must be a finite number of at least 0",
                 recommend<float>(view, one, 1, {}, items, out, {.confidence = wrong}));
  }
  CHECK_THROWS(Bad, "options.confidence is 2, which needs the model's uncertainty",
               recommend<float>(view, one, 1, {}, items, out, {.confidence = 2}));
  ModelView<float> short_of = view;
  short_of.uncertainty.bias_variances = out;
  CHECK_THROWS(Bad, "uncertainty.bias_variances has 1 elements; it must have 4",
               recommend<float>(short_of, one, 1, {}, items, out, {.confidence = 2}));
  CHECK_THROWS(Bad, "options.exploration is 2, which needs",
               recommend<float>(view, one, 1, {}, items, out, {.exploration = 2}));
  CHECK_THROWS(Bad, "are both above 0",
               recommend<float>(view, one, 1, {}, items, out, {.confidence = 1, .exploration = 1}));
  CHECK_THROWS(Bad, "options.diversity is 2", recommend<float>(view, one, 1, {}, items, out, {.diversity = 2}));
  const bool flags[3] = {};
  CHECK_THROWS(Bad, "options.allowed has 3", recommend<float>(view, one, 1, {}, items, out, {.allowed = flags}));
  const std::vector<std::int64_t> one_list{0, 1}, no_group{0, 0}, open_groups{0, 3};
  CHECK_THROWS(Bad, "options.only.indptr has 4",
               recommend<float>(view, one, 1, {}, items, out, {.only = {indptr, two}}));
  CHECK_THROWS(Bad, "options.without.items holds 4",
               recommend<float>(view, one, 1, {}, items, out, {.without = {one_list, item_high}}));
  for (const auto& wrong : {no_group, open_groups}) {
    CHECK_THROWS(Bad, "options.groups[1] is", recommend<float>(view, one, 1, {}, items, out, {.groups = wrong}));
  }
  const std::vector<float> four(4);
  short_of.uncertainty = {four, out, four};
  CHECK_THROWS(Bad, "uncertainty.factor_variances has 1 elements; it must have 4",
               recommend<float>(short_of, one, 1, {}, items, out, {.confidence = 2}));
  short_of.uncertainty = {four, four, out};
  CHECK_THROWS(Bad, "uncertainty.user_lengths has 1 elements; it must have 4",
               recommend<float>(short_of, one, 1, {}, items, out, {.confidence = 2}));
  CHECK_THROWS(Bad, "user_counts has 0", uncertainty<float>(view, 1));
  const std::vector<std::uint32_t> rated{1, 1, 1, 1};
  short_of.user_counts = std::span(rated).first(3);
  CHECK_THROWS(Bad, "item_counts has 0", uncertainty<float>(short_of, 1));
  short_of.item_counts = rated;
  CHECK_EQ(uncertainty<float>(short_of, 1).user_lengths.size(), 4U);
  CHECK_THROWS(Bad, "train_rmse is -1", uncertainty<float>(short_of, -1));
  CHECK_THROWS(Bad, "train_rmse is nan", uncertainty<float>(short_of, std::nan("")));
  CHECK_THROWS(Bad, "items holds 4", similar_items<float>(view, item_high, 1, items, out));
  CHECK_THROWS(Bad, "cosines has 1", similar_items<float>(view, two, 1, two_items, out));
  CHECK_THROWS(Bad, "users holds 3", group_by_user(high, one, 3));
  CHECK_THROWS(Bad, "users holds -2", group_by_user(low, one, 3));
  CHECK_THROWS(Bad, "items has 2", group_by_user(one, two, 3));
  CHECK_THROWS(Bad, "n_users is -1", group_by_user({}, {}, -1));
}

TEST(an_interrupt_ends_prediction) {
  const Factors<float> model(10, 5000, 64);
  const std::vector<std::int32_t> users(50000, 1);
  std::vector<std::int32_t> items(users.size());
  std::vector<float> scores(users.size());
  CHECK_THROWS(Interrupted, "interrupted",
               recommend<float>(model.view(), users, 1, {}, items, scores,
                                {.n_threads = 2, .interrupted = [] { return true; }}));
}

/// Trained on ratings of 30 users and 20 items; the last two rows of both sides have none.
template <class T>
Model<T> trained(Loss loss, bool biases = true) {
  synthetic::Data data(28, 18, 400, 0.1);
  for (float& value : data.values) {
    if (loss == Loss::logistic) value = value > 3 ? 1.0f : 0.0f;
    if (loss == Loss::poisson) value = std::max(0.0f, std::round(value));
  }
  RatingsView ratings = data.view();
  ratings.n_users = 30;
  ratings.n_items = 20;
  TrainParams params;
  params.n_factors = 5;
  params.n_epochs = 5;
  params.loss = loss;
  params.biases = biases;
  return train<T>(ratings, params).model;
}

/// x of the header, in double.
template <class T>
double score(const Model<T>& model, std::int32_t user, std::int32_t item) {
  double x = model.global_mean;
  x += user < 0 ? model.start_bias : static_cast<double>(model.user_biases[static_cast<std::size_t>(user)]);
  x += item < 0 ? model.start_bias : static_cast<double>(model.item_biases[static_cast<std::size_t>(item)]);
  for (std::int32_t f = 0; user >= 0 && item >= 0 && f < model.n_factors; ++f) {
    x += static_cast<double>(model.user_factors[static_cast<std::size_t>(user * model.n_factors + f)]) *
         static_cast<double>(model.item_factors[static_cast<std::size_t>(item * model.n_factors + f)]);
  }
  return x;
}

template <class T>
void check_one_formula(Loss loss, bool biases) {
  check::context = "loss " + std::to_string(static_cast<int>(loss)) + (biases ? "" : " without biases");
  const Model<T> model = trained<T>(loss, biases);
  const double tolerance = 20 * static_cast<double>(std::numeric_limits<T>::epsilon()) * 8;
  CHECK(model.link == (loss == Loss::logistic ? Link::probability : Link::identity));
  CHECK(loss != Loss::poisson || !biases || model.start_bias > 0);
  CHECK(model.user_counts[0] > 0 && model.user_counts[29] == 0 && model.item_counts[19] == 0);
  std::vector<std::int32_t> users, items;
  for (std::int32_t user = -1; user < 30; ++user) {
    for (std::int32_t item = -1; item < 20; ++item) {
      users.push_back(user);
      items.push_back(item);
    }
  }
  std::vector<T> predicted(users.size()), with_nan(users.size());
  predict<T>(model.view(), users, items, predicted);
  predict<T>(model.view(), users, items, with_nan, {.unknown = Unknown::nan});
  for (std::size_t r = 0; r < users.size(); ++r) {
    CHECK_EQ(model.predict(users[r], items[r]), predicted[r]);
    // Rows 28 and up were not trained: whatever is said of them is what is said of -1.
    const std::int32_t user = users[r] < 28 ? users[r] : -1, item = items[r] < 18 ? items[r] : -1;
    const bool unknown = user < 0 || item < 0;
    double expected = score(model, user, item);
    if (loss == Loss::logistic) expected = 1 / (1 + std::exp(-expected));
    if (unknown && !biases) expected = model.rating_mean;
    CHECK_CLOSE(predicted[r], expected, tolerance);
    if (unknown) {
      CHECK(std::isnan(with_nan[r]));
      CHECK_THROWS(
          std::invalid_argument, user < 0 ? "a user" : "an item",
          predict<T>(model.view(), {&users[r], 1}, {&items[r], 1}, {&with_nan[r], 1}, {.unknown = Unknown::raise}));
    } else {
      CHECK_EQ(with_nan[r], predicted[r]);
    }
  }

  const std::vector<std::int32_t> all{-1, 0, 7, 27, 28, 29};
  std::vector<std::int32_t> best(all.size() * 20);
  std::vector<T> predictions(best.size());
  recommend<T>(model.view(), all, 20, {}, best, predictions);
  for (std::size_t slot = 0; slot < best.size(); ++slot) {
    if (slot % 20 >= 18) {  // the two items without ratings never appear
      CHECK_EQ(best[slot], -1);
      CHECK(std::isnan(predictions[slot]));
    } else {
      CHECK_EQ(predictions[slot], model.predict(all[slot / 20], best[slot]));
      CHECK(slot % 20 == 0 || predictions[slot - 1] >= predictions[slot]);
    }
  }
  for (const std::int32_t user : {-1, 28}) {
    for (const Unknown unknown : {Unknown::nan, Unknown::raise}) {
      CHECK_THROWS(std::invalid_argument, "users[0] is " + std::to_string(user),
                   recommend<T>(model.view(), {&user, 1}, 1, {}, {best.data(), 1}, {predictions.data(), 1},
                                {.unknown = unknown}));
    }
  }
  CHECK_THROWS(std::invalid_argument, "users holds 30", model.predict(30, 0));
  CHECK_THROWS(std::invalid_argument, "items holds -2", model.predict(0, -2));
}

TEST(all_ways_to_predict_are_one_formula_in_float) {
  for (const Loss loss : {Loss::squared, Loss::logistic, Loss::poisson}) {
    for (const bool biases : {true, false}) check_one_formula<float>(loss, biases);
  }
}
TEST(all_ways_to_predict_are_one_formula_in_double) {
  for (const Loss loss : {Loss::squared, Loss::logistic, Loss::poisson}) {
    for (const bool biases : {true, false}) check_one_formula<double>(loss, biases);
  }
}

TEST(the_uncertainty_of_a_model_is_that_of_the_epoch_that_it_is_of) {
  Model<float> model = trained<float>(Loss::squared);
  model.training.n_epochs = 3;  // as if later ones had been worse
  const std::vector<float> variances = model.uncertainty().factor_variances;
  CHECK(variances == uncertainty<float>(model.view(), model.history[2].train_rmse).factor_variances);
  CHECK(variances != uncertainty<float>(model.view(), model.history[4].train_rmse).factor_variances);
  model.history.clear();
  CHECK_THROWS(std::invalid_argument, "history has no epoch 3", model.uncertainty());
}

TEST(an_item_of_more_ratings_is_better_known) {
  for (const Loss loss : {Loss::squared, Loss::logistic, Loss::poisson}) {
    for (const bool biases : {true, false}) {
      const Model<double> model = trained<double>(loss, biases);
      const Uncertainty<double> unknown = model.uncertainty();
      // A search for the strengths may leave one of the two at nothing.
      const auto variance = [&](std::size_t item) {
        return unknown.bias_variances[item] + unknown.factor_variances[item];
      };
      for (std::size_t a = 0; a < 20; ++a) {
        CHECK(variance(a) > 0);
        for (std::size_t b = 0; b < 20; ++b) {
          CHECK_EQ(variance(a) > variance(b), model.item_counts[a] < model.item_counts[b]);
        }
      }
    }
  }
}

TEST(what_a_user_rated_is_left_out_whatever_the_order_of_the_queries) {
  const Model<float> model = trained<float>(Loss::squared);
  const std::vector<std::int32_t> rated_by{3, 3, 9, 28}, rated{4, 1, 2, 5};
  const RowLists seen = group_by_user(rated_by, rated, model.n_users);
  const std::vector<std::int32_t> users{9, 28, 3, 3, -1, 0};
  std::vector<std::int32_t> items(users.size() * 18);
  std::vector<float> predictions(items.size());
  recommend<float>(model.view(), users, 18, seen, items, predictions);
  for (std::size_t q = 0; q < users.size(); ++q) {
    for (std::int32_t item = 0; item < 18; ++item) {
      const auto from = items.begin() + static_cast<std::ptrdiff_t>(q) * 18;
      const bool out = (users[q] == 9 && item == 2) || (users[q] == 3 && (item == 1 || item == 4));
      CHECK_EQ(std::count(from, from + 18, item), out ? 0 : 1);  // to the unknown user 28 nothing is seen
    }
  }
}

TEST(similar_items_agree_with_cosines_of_all_pairs) {
  const Model<double> model = trained<double>(Loss::squared);
  const auto cosine = [&](std::int32_t a, std::int32_t b) {
    double ab = 0, aa = 0, bb = 0;
    for (std::int32_t f = 0; f < model.n_factors; ++f) {
      const double x = model.item_factors[static_cast<std::size_t>(a * model.n_factors + f)],
                   y = model.item_factors[static_cast<std::size_t>(b * model.n_factors + f)];
      ab += x * y;
      aa += x * x;
      bb += y * y;
    }
    return ab / std::sqrt(aa * bb);
  };
  const std::vector<std::int32_t> items{5, 0, 17};
  std::vector<std::int32_t> similar(items.size() * 18);
  std::vector<double> cosines(similar.size());
  for (const std::int32_t threads : {1, 2}) {
    similar_items<double>(model.view(), items, 18, similar, cosines, {.n_threads = threads});
    for (std::size_t q = 0; q < items.size(); ++q) {
      std::set<std::int32_t> found;
      for (std::size_t slot = q * 18; slot < q * 18 + 17; ++slot) {
        found.insert(similar[slot]);
        CHECK(similar[slot] >= 0 && similar[slot] < 18 && similar[slot] != items[q]);
        CHECK_CLOSE(cosines[slot], cosine(items[q], similar[slot]), 1e-14);
        CHECK(slot == q * 18 || cosines[slot - 1] >= cosines[slot]);
      }
      CHECK_EQ(found.size(), std::size_t(17));
      CHECK_EQ(similar[q * 18 + 17], -1);  // 18 known items, and it is left out itself
      CHECK(std::isnan(cosines[q * 18 + 17]));
    }
  }
  for (const std::int32_t unknown : {-1, 18}) {
    CHECK_THROWS(std::invalid_argument, "items[0] is " + std::to_string(unknown),
                 similar_items<double>(model.view(), {&unknown, 1}, 1, {similar.data(), 1}, {cosines.data(), 1}));
  }
}

TEST(ids_are_found_by_what_they_are) {
  const Ids numbers(std::vector<std::int64_t>{-5, 0, 7, 900});
  CHECK_EQ(numbers.find(-5), 0);
  CHECK_EQ(numbers.find(900u), 3);
  CHECK_EQ(numbers.find(8), -1);
  CHECK_EQ(numbers.find(std::numeric_limits<std::uint64_t>::max()), -1);
  CHECK_EQ(std::get<std::int64_t>(numbers.at(2)), 7);
  CHECK_EQ(numbers.to_string(0), "-5");
  const Ids large(std::vector<std::uint64_t>{3, 1ull << 63});
  CHECK_EQ(large.find(1ull << 63), 1);
  CHECK_EQ(large.find(-1), -1);
  CHECK_EQ(std::get<std::uint64_t>(large.at(1)), 1ull << 63);
  const Ids texts(std::vector<std::string>{"", "Zoe", "ann", "\u00e9ric"});
  CHECK_EQ(texts.find(""), 0);
  CHECK_EQ(texts.find("ann"), 2);
  CHECK_EQ(texts.find("an"), -1);
  CHECK_EQ(texts.find("\xff"), -1);
  CHECK_EQ(texts.to_string(1), "Zoe");
  CHECK_EQ(texts.size(), 4);
  const std::string uuid = "0e37df36-f698-11e6-8dd4-cb9ced3df976";
  CHECK_EQ(Ids(std::vector<std::string>{uuid}, Ids::Kind::uuids).find(uuid), 0);
  CHECK_EQ(Ids().size(), 0);
  CHECK_EQ(Ids().find(1), -1);
  CHECK_EQ(Ids::numbered(3).find(2), 2);

  // As people type them, of whatever kind they are; only the text that to_string() has is one's own.
  for (const Ids* ids : {&numbers, &large, &texts}) {
    for (std::int32_t code = 0; code < ids->size(); ++code) CHECK_EQ(ids->find_text(ids->to_string(code)), code);
  }
  for (const char* none :
       {"", "8", "007", "+7", " 7", "7 ", "7.0", "-0", "9223372036854775808", "ann", "99999999999999999999"}) {
    CHECK_EQ(numbers.find_text(none), -1);
  }
  CHECK_EQ(large.find_text("-3"), -1);
  CHECK_EQ(texts.find_text("an"), -1);
  CHECK_EQ(Ids().find_text("1"), -1);

  using Bad = std::invalid_argument;
  CHECK_THROWS(Bad, "look it up as a number", numbers.find("7"));
  CHECK_THROWS(Bad, "look it up as text", texts.find(7));
  CHECK_THROWS(std::out_of_range, "code is 4", texts.at(4));
  CHECK_THROWS(std::out_of_range, "code is -1", numbers.at(-1));
  CHECK_THROWS(Bad, "7 follows 7 at position 1", Ids(std::vector<std::int64_t>{7, 7}));
  CHECK_THROWS(Bad, "'a' follows 'b'", Ids(std::vector<std::string>{"b", "a"}));
  CHECK_THROWS(Bad, "position 1 is not valid UTF-8", Ids(std::vector<std::string>{"a", "\xc3"}));
  CHECK_THROWS(Bad, "no UUID", Ids(std::vector<std::string>{"0E37df36-f698-11e6-8dd4-cb9ced3df976"}, Ids::Kind::uuids));
  CHECK_THROWS(Bad, "offsets", Ids("abc", {0, 4}, Ids::Kind::strings));
  CHECK_THROWS(Bad, "offsets", Ids("abc", {0, 2, 1, 3}, Ids::Kind::strings));
}

TEST(an_unknown_row_of_a_squared_hinge_model_has_the_score_0) {
  // Its predictions are scores, and the mean of labels 0 and 1 would stand for the upper label.
  const std::vector<std::int32_t> users{0, 0, 1, 1}, items{0, 1, 0, 1};
  const std::vector<float> labels{1, 0, 1, 1};
  TrainParams params;
  params.loss = Loss::squared_hinge;
  params.n_factors = 2;
  for (const bool biases : {false, true}) {
    params.biases = biases;
    const Model<float> model = train<float>({users, items, labels, {}, 2, 2}, params).model;
    CHECK_EQ(model.predict(-1, -1), 0.0f);
    if (!biases) CHECK_EQ(model.predict(0, -1), 0.0f);
  }
}

}  // namespace
