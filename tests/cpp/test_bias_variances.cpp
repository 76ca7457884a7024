// SPDX-License-Identifier: Apache-2.0
// The variances of biases and noise, against a plain version and against those that made the ratings.
#include "bias_variances.hpp"

#include <algorithm>

#include "check.hpp"
#include "synthetic.hpp"

namespace {

using namespace synthetic;

/// Ratings 2 + b_u + b_i + noise of these deviations.
struct Biased : Data {
  Biased(std::int32_t n_users_, std::int32_t n_items_, std::int32_t n, double of_users, double of_items,
         double of_noise)
      : Data(n_users_, n_items_, n) {
    SplitMix64 random(5);
    std::vector<double> b, c;
    for (std::int32_t u = 0; u < n_users; ++u) b.push_back(of_users * noise(random));
    for (std::int32_t i = 0; i < n_items; ++i) c.push_back(of_items * noise(random));
    for (std::size_t r = 0; r < values.size(); ++r) {
      values[r] = static_cast<float>(2 + b[static_cast<std::size_t>(users[r])] + c[static_cast<std::size_t>(items[r])] +
                                     of_noise * noise(random));
    }
  }
  void weigh() {
    for (std::size_t r = 0; r < values.size(); ++r) {
      weights.push_back(r % 7 == 2 ? 0.0F : static_cast<float>(1 + r % 3));
    }
  }
  [[nodiscard]] std::int64_t counted() const {
    return weights.empty() ? static_cast<std::int64_t>(values.size())
                           : std::count_if(weights.begin(), weights.end(), [](float w) { return w > 0; });
  }
};

/// One round after the other over the ratings, as the header says it.
BiasVariances plainly(const Data& data, const RatingUnits& units) {
  struct Row {
    double count = 0, left = 0, mean = 0, variance = 0;
    bool rated = false;
  };
  std::vector<Row> users(static_cast<std::size_t>(data.n_users)), items(static_cast<std::size_t>(data.n_items));
  double total = 0, squares = 0, n = 0;
  const auto each = [&](const auto& f) {
    for (std::size_t r = 0; r < data.values.size(); ++r) {
      const double w = data.weights.empty() ? 1.0 : static_cast<double>(units.weight(data.weights[r]));
      if (w > 0) {
        f(users[static_cast<std::size_t>(data.users[r])], items[static_cast<std::size_t>(data.items[r])],
          units.standardized(static_cast<double>(data.values[r])), w);
      }
    }
  };
  each([&](Row& user, Row& item, double z, double w) {
    user.count += w;
    item.count += w;
    user.rated = item.rated = true;
    total += w * z;
    squares += w * z * z;
    n += w;
  });
  double mu = total / n;
  const double all = squares / n - mu * mu, least = 1e-4 * all;
  BiasVariances v{all / 2, all / 4, all / 4, mu};
  const auto estimate = [&](std::vector<Row>& rows, double variance) {
    for (Row& row : rows) {
      if (!row.rated) continue;
      row.mean = row.left / (row.count + v.noise / variance);
      row.variance = v.noise / (row.count + v.noise / variance);
    }
  };
  const auto centre = [](std::vector<Row>& rows, double& variance) {
    double sum = 0, count = 0, square = 0;
    for (const Row& row : rows) sum += row.rated ? row.mean : 0, count += row.rated ? 1 : 0;
    for (Row& row : rows) {
      if (!row.rated) continue;
      row.mean -= sum / count;
      square += row.mean * row.mean + row.variance;
    }
    variance = square / count;
    return sum / count;
  };
  for (int round = 0; round < 100; ++round) {
    const BiasVariances before = v;
    for (Row& row : items) row.left = 0;
    each([&](Row& user, Row& item, double z, double w) { item.left += w * (z - mu - user.mean); });
    estimate(items, v.items);
    for (Row& row : users) row.left = 0;
    each([&](Row& user, Row& item, double z, double w) { user.left += w * (z - mu - item.mean); });
    estimate(users, v.users);
    double off = 0, errors = 0, variances = 0;
    each([&](Row& user, Row& item, double z, double w) {
      const double e = z - mu - user.mean - item.mean;
      off += w * e;
      errors += w * e * e;
      variances += w * (user.variance + item.variance);
    });
    off /= n;
    v.noise = std::max(errors / n - off * off + variances / n, least);
    mu += off + centre(items, v.items) + centre(users, v.users);
    v.users = std::max(v.users, least);
    v.items = std::max(v.items, least);
    const auto moved = [](double a, double b) { return std::abs(a / b - 1); };
    if (std::max({moved(v.noise, before.noise), moved(v.users, before.users), moved(v.items, before.items)}) < 1e-3) {
      break;
    }
  }
  v.mu = mu;
  return v;
}

BiasVariances found(const Biased& data, const RatingUnits& units, int threads = 2) {
  ThreadTeam team(threads);
  return bias_variances(data.view(), units, data.counted(), team);
}

void check_same(const BiasVariances& mine, const BiasVariances& expected, double relative) {
  CHECK_CLOSE(mine.noise, expected.noise, relative * expected.noise);
  CHECK_CLOSE(mine.users, expected.users, relative * expected.users);
  CHECK_CLOSE(mine.items, expected.items, relative * expected.items);
  CHECK_CLOSE(mine.mu, expected.mu, relative * std::sqrt(expected.noise));
}

TEST(the_estimate_is_that_of_the_plain_version) {
  // Rounding: sums of up to 4,000 terms in another order, over at most 100 rounds.
  for (const bool weighted : {false, true}) {
    for (const double of_users : {0.0, 0.3, 2.0}) {
      check::context = "deviation of users " + std::to_string(of_users) + (weighted ? ", weighted" : "");
      Biased data(90, 70, 4000, of_users, 0.6, 0.8);
      RatingUnits units{.shift = 1.5, .scale = 1.25, .weight_scale = 1};
      if (weighted) {
        data.weigh();
        units.weight_scale = 0.75;
      }
      check_same(found(data, units), plainly(data, units), 1e-8);
    }
  }
}

TEST(the_estimate_is_near_the_variances_that_made_the_ratings) {
  const Biased data(4000, 3000, 200'000, 0.5, 0.4, 0.8);
  const RatingUnits units{.shift = 2, .scale = 2, .weight_scale = 1};
  const BiasVariances mine = found(data, units);
  // The variance of n normal numbers is known to a relative sqrt(2 / n), and the bias of a row with m ratings as if it
  // had noise of a variance of .64 / m more; four times that.
  CHECK_CLOSE(4 * mine.noise, 0.64, 4 * 0.64 * std::sqrt(2.0 / 200'000));
  CHECK_CLOSE(4 * mine.users, 0.25, 4 * (0.25 + 0.64 / 50) * std::sqrt(2.0 / 4000));
  CHECK_CLOSE(4 * mine.items, 0.16, 4 * (0.16 + 0.64 / 67) * std::sqrt(2.0 / 3000));
}

TEST(a_variance_that_is_none_ends_at_its_floor) {
  const Biased data(300, 200, 40'000, 0.0, 0.0, 0.8);
  const BiasVariances mine = found(data, {});
  CHECK(mine.users < 0.01 * mine.noise && mine.users > 0);
  CHECK(mine.items < 0.01 * mine.noise && mine.items > 0);
}

TEST(the_bits_do_not_depend_on_the_number_of_threads) {
  Biased data(9000, 5000, 150'000, 0.5, 0.4, 0.8);
  for (const bool weighted : {false, true}) {
    if (weighted) data.weigh();
    const BiasVariances alone = found(data, {}, 1);
    for (const int threads : {2, 5}) {
      check::context = std::to_string(threads) + " threads";
      const BiasVariances mine = found(data, {}, threads);
      CHECK_EQ(mine.noise, alone.noise);
      CHECK_EQ(mine.users, alone.users);
      CHECK_EQ(mine.items, alone.items);
      CHECK_EQ(mine.mu, alone.mu);
    }
  }
}

TEST(equal_ratings_one_user_and_one_item_give_finite_ratios) {
  for (const double value : {0.0, 3.7, -1e6}) {
    Biased data(20, 10, 100, 0, 0, 0);
    std::fill(data.values.begin(), data.values.end(), static_cast<float>(value));
    check::context = "all ratings " + std::to_string(value);
    const BiasVariances mine = found(data, {});
    CHECK(std::isfinite(mine.noise / mine.users) && mine.noise / mine.users > 0);
    CHECK(std::isfinite(mine.noise / mine.items) && mine.noise / mine.items > 0);
  }
  for (const auto& [n_users, n_items] : {std::pair{1, 50}, std::pair{50, 1}, std::pair{1, 1}}) {
    check::context = std::to_string(n_users) + " users, " + std::to_string(n_items) + " items";
    const Biased data(n_users, n_items, 1000, 0.5, 0.5, 0.8);
    const BiasVariances mine = found(data, {});
    check_same(mine, plainly(data, {}), 1e-8);
    CHECK(std::isfinite(mine.noise / mine.users) && mine.noise / mine.users > 0);
    CHECK(std::isfinite(mine.noise / mine.items) && mine.noise / mine.items > 0);
  }
}

TEST(one_rating_gives_finite_ratios) {
  const Biased data(1, 1, 1, 0.5, 0.5, 0.8);
  const BiasVariances mine = found(data, {});
  CHECK(std::isfinite(mine.noise / mine.users) && mine.noise / mine.users > 0);
}

TEST(of_many_ratings_a_share_of_the_users_tells_nearly_the_same) {
  constexpr std::int32_t kRatings = 3 << 19;  // half as many again as are looked at
  const Biased data(30'000, 2000, kRatings, 0.5, 0.4, 0.8);
  static_assert(kRatings > kEmRatings);
  ThreadTeam team(2);
  const BiasVariances sample = bias_variances(data.view(), {}, kRatings, team),
                      whole = bias_variances(data.view(), {}, kEmRatings, team);  // as if there were not so many
  CHECK(sample.users != whole.users);
  // Both estimates, of 20,000 and of 30,000 users, with a relative sqrt(2 / n) each; four times that. The items are
  // the same, known from 524 and 786 ratings each.
  CHECK_CLOSE(sample.users, whole.users, 4 * 0.26 * (std::sqrt(2.0 / 20'000) + std::sqrt(2.0 / 30'000)));
  CHECK_CLOSE(sample.noise, whole.noise, 4 * 0.64 * 2 * std::sqrt(2.0 / 1'000'000));
  CHECK_CLOSE(sample.items, whole.items, 0.05 * whole.items);
}

}  // namespace
