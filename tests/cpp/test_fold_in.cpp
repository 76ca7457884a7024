// SPDX-License-Identifier: Apache-2.0
// Fold-in against a dense ridge regression in double.
#include "warpfactor/fold_in.hpp"

#include <limits>
#include <map>
#include <set>
#include <type_traits>

#include "check.hpp"
#include "synthetic.hpp"

namespace {

using namespace synthetic;

/// Solves A x = b by Gauss's elimination; A is symmetric and definite.
std::vector<double> solved(std::vector<std::vector<double>> A, std::vector<double> b) {
  const std::size_t n = b.size();
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = i + 1; j < n; ++j) {
      const double by = A[j][i] / A[i][i];
      for (std::size_t c = i; c < n; ++c) A[j][c] -= by * A[i][c];
      b[j] -= by * b[i];
    }
  }
  for (std::size_t i = n; i-- > 0;) {
    for (std::size_t c = i + 1; c < n; ++c) b[i] -= A[i][c] * b[c];
    b[i] /= A[i][i];
  }
  return b;
}

template <class T>
struct Problem {
  std::int32_t n_users = 6, n_items, k;
  std::vector<T> factors, biases, y, y_biases, user_factors;
  std::vector<std::int32_t> users, items;
  std::vector<float> values, weights;
  FoldInStrengths strengths{0.04, 0.01, 3, 2, 2, 0.8};
  bool has_biases;

  Problem(std::int32_t n_items_, std::int32_t n_factors, bool weighted, bool biased)
      : n_items(n_items_), k(n_factors), has_biases(biased) {
    SplitMix64 random(3);
    const auto some = [&](std::vector<T>& to, std::int32_t n, double scale) {
      for (std::int32_t at = 0; at < n; ++at) to.push_back(static_cast<T>(scale * noise(random)));
    };
    some(factors, n_items * k, 0.3);
    some(biases, n_items, biased ? 0.5 : 0.0);
    some(y, n_items * k, 0.1);
    some(y_biases, n_items, 0.1);
    // From one rating to more than there are numbers in a row: both matrices.
    for (std::int32_t user = 0; user < n_users; ++user) {
      for (std::int32_t n = 0; n < 1 + user * n_items / 5; ++n) {
        users.push_back(user);
        items.push_back(static_cast<std::int32_t>(below(random, n_items)));
        values.push_back(static_cast<float>(3 + noise(random)));
        if (weighted) weights.push_back(static_cast<float>(random.below(3)));
      }
    }
    if (weighted) weights[0] = 1;
    user_factors.resize(static_cast<std::size_t>(n_users * k));
  }
  [[nodiscard]] ModelView<T> model() const {
    ModelView<T> view;
    view.n_users = n_users;
    view.n_items = n_items;
    view.n_factors = k;
    view.user_factors = user_factors;
    view.item_factors = factors;
    view.item_biases = biases;
    view.global_mean = has_biases ? 3 : 0;
    view.biases = has_biases;
    return view;
  }
  [[nodiscard]] RatingsView ratings() const { return {users, items, values, weights, n_users, n_items}; }
  [[nodiscard]] PriorCoefficientsView<T> coefficients() const { return {y, y_biases}; }

  /// The factors and the bias of a user, and the condition of the equations, at most.
  std::vector<double> expected(std::int32_t user, double& condition) const {
    const auto size = static_cast<std::size_t>(k + (has_biases ? 1 : 0));
    std::set<std::int32_t> met;
    double n = 0;
    for (std::size_t r = 0; r < users.size(); ++r) {
      if (users[r] != user || (!weights.empty() && weights[r] == 0)) continue;
      met.insert(items[r]);
      n += weights.empty() ? 1.0 : static_cast<double>(weights[r]);
    }
    std::vector<double> mean(size, 0.0), right(size, 0.0);
    for (const std::int32_t item : met) {
      for (std::size_t f = 0; f < size; ++f) {
        const auto i = static_cast<std::size_t>(item);
        const T each = f < static_cast<std::size_t>(k) ? y[i * static_cast<std::size_t>(k) + f] : y_biases[i];
        mean[f] += static_cast<double>(each) / std::sqrt(static_cast<double>(met.size()));
      }
    }
    std::vector<std::vector<double>> A(size, std::vector<double>(size, 0.0));
    double least = std::numeric_limits<double>::infinity(), trace = 0;
    for (std::size_t f = 0; f < size; ++f) {
      const bool factor = f < static_cast<std::size_t>(k);
      A[f][f] = factor ? (strengths.reg * n + strengths.reg_row) * strengths.score_scale
                       : strengths.reg_bias * n + strengths.reg_bias_row;
      least = std::min(least, A[f][f]);
      right[f] = A[f][f] * mean[f];
    }
    for (std::size_t r = 0; r < users.size(); ++r) {
      if (users[r] != user) continue;
      const double weight = weights.empty() ? 1.0 : static_cast<double>(weights[r]);
      const auto i = static_cast<std::size_t>(items[r]);
      std::vector<double> q(size, 1.0);
      for (std::size_t f = 0; f < static_cast<std::size_t>(k); ++f) {
        q[f] = static_cast<double>(factors[i * static_cast<std::size_t>(k) + f]);
      }
      const double value = static_cast<double>(values[r]) - model().global_mean - static_cast<double>(biases[i]);
      for (std::size_t f = 0; f < size; ++f) {
        right[f] += weight * value * q[f];
        for (std::size_t g = 0; g < size; ++g) A[f][g] += weight * q[f] * q[g];
      }
    }
    for (std::size_t f = 0; f < size; ++f) trace += A[f][f];
    condition = trace / least;
    return solved(A, right);
  }
};

template <class T>
void compare(const Problem<T>& problem) {
  const FoldedRows<T> rows =
      fold_in<T>(problem.model(), Side::users, problem.ratings(), problem.strengths, problem.coefficients());
  for (std::int32_t user = 0; user < problem.n_users; ++user) {
    double condition = 0;
    const std::vector<double> expected = problem.expected(user, condition);
    // Of a Cholesky solution of n equations: n condition eps, of numbers of about 1 (Higham, theorem 10.3).
    const double tolerance =
        condition * static_cast<double>(problem.k + 1) * static_cast<double>(std::numeric_limits<T>::epsilon());
    const auto first = static_cast<std::size_t>(user * problem.k);
    for (std::size_t f = 0; f < static_cast<std::size_t>(problem.k); ++f) {
      CHECK_CLOSE(rows.factors[first + f], expected[f], tolerance);
    }
    const T bias = rows.biases[static_cast<std::size_t>(user)];
    CHECK_CLOSE(bias, problem.has_biases ? expected.back() : 0.0, tolerance);
  }
  for (const std::int32_t threads : {1, 3}) {
    const FoldedRows<T> again = fold_in<T>(problem.model(), Side::users, problem.ratings(), problem.strengths,
                                           problem.coefficients(), {}, {.n_threads = threads});
    CHECK(again.factors == rows.factors && again.biases == rows.biases);
  }
}

TEST(rows_are_those_of_a_dense_ridge_regression) {
  for (const std::int32_t k : {1, 5, 16, 40}) {
    for (const bool weighted : {false, true}) {
      for (const bool biased : {false, true}) {
        check::context = "k = " + std::to_string(k) + (weighted ? ", weighted" : "") + (biased ? ", biased" : "");
        compare(Problem<float>(60, k, weighted, biased));
        compare(Problem<double>(60, k, weighted, biased));
      }
    }
  }
  check::context.clear();
}

TEST(many_ratings_are_summed_in_chunks) { compare(Problem<double>(900, 7, false, true)); }

TEST(items_are_folded_in_as_users_are) {
  const Problem<double> problem(30, 6, true, true);
  ModelView<double> turned = problem.model();
  std::swap(turned.n_users, turned.n_items);
  std::swap(turned.user_factors, turned.item_factors);
  std::swap(turned.user_biases, turned.item_biases);
  RatingsView ratings = problem.ratings();
  std::swap(ratings.users, ratings.items);
  std::swap(ratings.n_users, ratings.n_items);
  const auto users =
      fold_in<double>(problem.model(), Side::users, problem.ratings(), problem.strengths, problem.coefficients());
  const auto items = fold_in<double>(turned, Side::items, ratings, problem.strengths, problem.coefficients());
  CHECK(users.factors == items.factors && users.biases == items.biases);
}

TEST(earlier_ratings_count_as_if_they_were_given_again) {
  // In two parts, the second by what the first has left of the rows: the same as both at once.
  const Problem<double> problem(25, 6, false, true);
  const RatingsView all = problem.ratings();
  const std::size_t n = all.values.size();
  std::vector<std::int32_t> users[2], items[2];
  std::vector<float> values[2];
  for (std::size_t r = 0; r < n; ++r) {
    users[r % 2].push_back(all.users[r]);
    items[r % 2].push_back(all.items[r]);
    values[r % 2].push_back(all.values[r]);
  }
  // Each pair once, so that a list of who rated what has them all.
  std::map<std::pair<std::int32_t, std::int32_t>, int> times;
  for (std::size_t r = 0; r < users[0].size(); ++r) ++times[{users[0][r], items[0][r]}];
  std::vector<std::int32_t> once_users, once_items;
  std::vector<float> once_values;
  for (std::size_t r = 0; r < users[0].size(); ++r) {
    if (times[{users[0][r], items[0][r]}] > 1) continue;
    once_users.push_back(users[0][r]);
    once_items.push_back(items[0][r]);
    once_values.push_back(values[0][r]);
  }
  const auto fold = [&](const std::vector<std::int32_t>& of_users, const std::vector<std::int32_t>& of_items,
                        const std::vector<float>& of_values, const EarlierRows<double>& earlier) {
    const RatingsView ratings{of_users, of_items, of_values, {}, problem.n_users, problem.n_items};
    return fold_in<double>(problem.model(), Side::users, ratings, problem.strengths, problem.coefficients(), earlier);
  };
  const FoldedRows<double> first = fold(once_users, once_items, once_values, {});
  const RowLists lists = group_by_user(once_users, once_items, problem.n_users);
  std::vector<std::uint32_t> counts;
  for (std::size_t user = 0; user < static_cast<std::size_t>(problem.n_users); ++user) {
    counts.push_back(static_cast<std::uint32_t>(lists.indptr[user + 1] - lists.indptr[user]));
  }
  const FoldedRows<double> second = fold(users[1], items[1], values[1], {first.factors, first.biases, counts, lists});
  once_users.insert(once_users.end(), users[1].begin(), users[1].end());
  once_items.insert(once_items.end(), items[1].begin(), items[1].end());
  once_values.insert(once_values.end(), values[1].begin(), values[1].end());
  const FoldedRows<double> both = fold(once_users, once_items, once_values, {});
  // Two solutions of equations of a condition below a thousand.
  for (std::size_t at = 0; at < both.factors.size(); ++at) CHECK_CLOSE(second.factors[at], both.factors[at], 1e-11);
  for (std::size_t at = 0; at < both.biases.size(); ++at) CHECK_CLOSE(second.biases[at], both.biases[at], 1e-11);
}

TEST(a_trained_model_folds_its_own_users_in_near_where_it_has_them) {
  const Data data(200, 60, 6000, 0.5);
  TrainParams params;
  params.n_factors = 4;
  params.n_threads = 1;
  Model<float> model = train<float>(data.view(), params).model;
  CHECK_THROWS(std::invalid_argument, "seen is empty", fold_in<float>(model, Side::users, data.view()));
  model.seen = group_by_user(data.users, data.items, data.n_users);
  for (const Side side : {Side::users, Side::items}) {
    const FoldedRows<float> rows = fold_in<float>(model, side, data.view());
    Model<float> folded = model;
    (side == Side::users ? folded.user_factors : folded.item_factors) = rows.factors;
    (side == Side::users ? folded.user_biases : folded.item_biases) = rows.biases;
    // The least given the other side cannot fit the ratings much worse than what training has found.
    CHECK(rmse(folded, data) < 1.02 * rmse(model, data));
  }
}

TEST(bad_input_is_refused) {
  using Bad = std::invalid_argument;
  Problem<float> problem(10, 3, true, true);
  const auto fold = [&] {
    return fold_in<float>(problem.model(), Side::users, problem.ratings(), problem.strengths, problem.coefficients());
  };
  problem.items[1] = 10;
  CHECK_THROWS(Bad, "ratings.items[1] is 10; it must be from 0 to 9", fold());
  problem.items[1] = 0;
  problem.values[2] = std::numeric_limits<float>::quiet_NaN();
  CHECK_THROWS(Bad, "ratings.values[2] is nan; it must be finite", fold());
  problem.values[2] = 1;
  problem.weights[0] = -1;
  CHECK_THROWS(Bad, "ratings.weights[0] is -1", fold());
  problem.weights[0] = 1;
  problem.strengths.score_scale = 0;
  CHECK_THROWS(Bad, "strengths.score_scale is 0", fold());
  problem.strengths.score_scale = 1;
  problem.y.pop_back();
  CHECK_THROWS(Bad, "coefficients.factors has 29 elements; it must have 30", fold());

  const Data data(20, 10, 100);
  TrainParams params;
  params.n_factors = 2;
  params.n_epochs = 1;
  params.loss = Loss::absolute;
  CHECK_THROWS(Bad, "no closed form", fold_in_strengths(train<float>(data.view(), params).model, Side::users));
  params.loss = Loss::squared;
  params.nonnegative = true;
  CHECK_THROWS(Bad, "nonnegative", fold_in_strengths(train<float>(data.view(), params).model, Side::users));
  Model<float> model;
  model.training.score_scale = 1;
  CHECK_THROWS(Bad, "does not tell the reg", fold_in_strengths(model, Side::users));
}

}  // namespace
