// SPDX-License-Identifier: Apache-2.0
// Prior means from who rated what, against a dense version in double.
#include "cpu/prior_means.hpp"

#include <limits>
#include <numeric>

#include "check.hpp"
#include "synthetic.hpp"

namespace {

using namespace synthetic;

constexpr double kRho = 1.5, kRhoBias = 4;

/// Conjugate gradients of a ridge regression, by the formulas of prior_means.hpp. Column `width` is of the biases.
struct Dense {
  std::size_t n, m, columns;
  std::vector<double> X;     ///< n x m
  std::vector<double> y, d;  ///< m x columns
  double worst = 1;          ///< condition of the steps' pairs of equations, at most

  Dense(const IncidentRows& rows, std::size_t others, std::size_t width)
      : n(static_cast<std::size_t>(rows.rows())),
        m(others),
        columns(width + 1),
        X(n * m, 0.0),
        y(m * columns, 0.0),
        d(y) {
    for (std::size_t u = 0; u < n; ++u) {
      const auto count = static_cast<double>(rows.begin[u + 1] - rows.begin[u]);
      for (std::int64_t at = rows.begin[u]; at < rows.begin[u + 1]; ++at) {
        X[u * m + static_cast<std::size_t>(rows.others[at])] = 1 / std::sqrt(count);
      }
    }
  }
  [[nodiscard]] double rho(std::size_t column) const { return column + 1 == columns ? kRhoBias : kRho; }
  [[nodiscard]] double mean(std::size_t u, std::size_t c) const {
    double sum = 0;
    for (std::size_t j = 0; j < m; ++j) sum += X[u * m + j] * y[j * columns + c];
    return sum;
  }
  /// The gradient of half of what is minimized, downwards.
  [[nodiscard]] std::vector<double> gradient(const std::vector<double>& rows, std::size_t c) const {
    std::vector<double> g(m);
    for (std::size_t j = 0; j < m; ++j) g[j] = -rho(c) * y[j * columns + c];
    for (std::size_t u = 0; u < n; ++u) {
      const double left = rows[u * columns + c] - mean(u, c);
      for (std::size_t j = 0; j < m; ++j) g[j] += X[u * m + j] * left;
    }
    return g;
  }
  /// `rows`: n x columns, the biases last.
  void step(const std::vector<double>& rows, std::size_t first, std::size_t last) {
    for (std::size_t c = first; c < last; ++c) {
      const std::vector<double> g = gradient(rows, c);
      std::vector<double> z(m), along(m), xz(n, 0.0), xd(n, 0.0);
      double gz = 0, gd = 0, zz = 0, zd = 0, dd = 0;
      for (std::size_t j = 0; j < m; ++j) {
        double diagonal = rho(c);
        for (std::size_t u = 0; u < n; ++u) diagonal += X[u * m + j] * X[u * m + j];
        z[j] = g[j] / diagonal;
        along[j] = d[j * columns + c];
        gz += g[j] * z[j];
        gd += g[j] * along[j];
        zz += rho(c) * z[j] * z[j];
        zd += rho(c) * z[j] * along[j];
        dd += rho(c) * along[j] * along[j];
        for (std::size_t u = 0; u < n; ++u) {
          xz[u] += X[u * m + j] * z[j];
          xd[u] += X[u * m + j] * along[j];
        }
      }
      for (std::size_t u = 0; u < n; ++u) {
        zz += xz[u] * xz[u];
        zd += xz[u] * xd[u];
        dd += xd[u] * xd[u];
      }
      const double determinant = zz * dd - zd * zd;
      const bool both = dd > 0;
      if (both) worst = std::max(worst, zz * dd / determinant);
      const double a = both     ? (gz * dd - gd * zd) / determinant
                       : zz > 0 ? gz / zz
                                : 0,
                   b = both ? (gd * zz - gz * zd) / determinant : 0;
      for (std::size_t j = 0; j < m; ++j) {
        d[j * columns + c] = a * z[j] + b * along[j];
        y[j * columns + c] += d[j * columns + c];
      }
    }
  }
};

std::vector<std::int32_t> shuffled(std::int32_t n, std::uint64_t seed) {
  std::vector<std::int32_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  SplitMix64 random(seed);
  for (std::size_t at = order.size(); at > 1; --at) std::swap(order[at - 1], order[random.below(at)]);
  return order;
}

/// The rows as training has them: in internal order, padded.
template <class T>
struct Rows {
  std::int64_t stride;
  Buffer<T> factors, means;
  std::vector<T> biases;
  std::vector<RowPull<T>> pulls;

  Rows(std::int64_t n, std::int64_t k)
      : stride(padded_stride<T>(k)),
        factors(n * stride),
        means(n * stride),
        biases(static_cast<std::size_t>(n)),
        pulls(static_cast<std::size_t>(n), RowPull<T>{T(1), T(2), T(0), T(0)}) {
    std::fill_n(means.data(), means.size(), T(0));
    std::fill_n(factors.data(), factors.size(), T(0));
  }
  void draw(std::int64_t k, std::uint64_t seed) {
    SplitMix64 random(seed);
    for (std::size_t row = 0; row < biases.size(); ++row) {
      for (std::int64_t f = 0; f < k; ++f) {
        factors[static_cast<std::int64_t>(row) * stride + f] = static_cast<T>(noise(random));
      }
      biases[row] = static_cast<T>(noise(random));
    }
  }
};

template <class T>
void check_steps(std::int64_t k, bool biased, bool moved) {
  const std::int32_t n = 40, m = 30;
  Data data(n, m, 300);
  for (std::int32_t& user : data.users) user = user == 5 ? 6 : user;  // a row without ratings
  ThreadTeam team(2);
  const Incidence incidence = distinct_pairs(data.view(), {}, team);
  const std::vector<std::int32_t> own = moved ? shuffled(n, 1) : std::vector<std::int32_t>{},
                                  other = moved ? shuffled(m, 2) : std::vector<std::int32_t>{};
  Rows<T> rows(n, k);
  const Incidence internal = distinct_pairs(data.view(), {}, team, {own, other});
  MeansWork<T> user_work(n, rows.stride), item_work(m, rows.stride);
  PriorMeans<T> means(kernel_table().kernels<T>(), internal.users, internal.items, user_work, item_work, rows.stride,
                      kRho, kRhoBias, team);
  const auto width = static_cast<std::size_t>(k);
  Dense dense(incidence.users, static_cast<std::size_t>(m), width);
  for (int step = 0; step < 5; ++step) {
    rows.draw(k, static_cast<std::uint64_t>(step));  // other rows each time, as if an epoch had moved them
    std::vector<double> external(static_cast<std::size_t>(n) * (width + 1));
    for (std::int32_t u = 0; u < n; ++u) {
      const std::int64_t row = moved ? own[static_cast<std::size_t>(u)] : u;
      double* const to = external.data() + static_cast<std::size_t>(u) * (width + 1);
      for (std::int64_t f = 0; f < k; ++f) to[f] = static_cast<double>(rows.factors[row * rows.stride + f]);
      to[k] = biased ? static_cast<double>(rows.biases[static_cast<std::size_t>(row)]) : 0;
    }
    // A warm-up: the first steps are of the first sixteen columns and of the biases.
    const std::int64_t active = k > 16 && step < 2 ? 16 : k;
    means.step(rows.factors.data(), biased ? rows.biases.data() : nullptr, rows.means.data(), rows.pulls.data(),
               padded_stride<T>(active), team);
    dense.step(external, 0, static_cast<std::size_t>(active));
    dense.step(external, width, width + 1);
    // Each number is a sum of at most n terms of about its size, and both equations magnify what is off by their
    // condition; over the steps this adds up.
    const double tolerance =
        (step + 1) * (n + 8.0) * static_cast<double>(std::numeric_limits<T>::epsilon()) * dense.worst * 3;
    for (std::int32_t u = 0; u < n; ++u) {
      const std::int64_t row = moved ? own[static_cast<std::size_t>(u)] : u;
      for (std::int64_t f = 0; f < rows.stride; ++f) {
        const double expected = f < k ? dense.mean(static_cast<std::size_t>(u), static_cast<std::size_t>(f)) : 0;
        CHECK_CLOSE(rows.means[row * rows.stride + f], expected, f < k ? tolerance : 0);
      }
      const RowPull<T>& pull = rows.pulls[static_cast<std::size_t>(row)];
      CHECK_CLOSE(pull.bias_mean, dense.mean(static_cast<std::size_t>(u), width), tolerance);
      CHECK_EQ(pull.factors, T(1));
      CHECK_EQ(pull.bias, T(2));
      if (u == 5) CHECK_EQ(pull.bias_mean, T(0));
      if (!biased) CHECK_EQ(pull.bias_mean, T(0));
    }
  }
  CHECK(dense.worst < 100);  // or the tolerance would tell nothing
}

TEST(steps_agree_with_the_dense_version) {
  for (const std::int64_t k : {1, 7, 16, 33, 64}) {
    for (const bool biased : {false, true}) {
      for (const bool moved : {false, true}) {
        const std::string what = ", k = " + std::to_string(k) + (biased ? ", biased" : "") + (moved ? ", moved" : "");
        check::context = "float" + what;
        check_steps<float>(k, biased, moved);
        check::context = "double" + what;
        check_steps<double>(k, biased, moved);
      }
    }
  }
}

TEST(with_rows_that_stay_the_steps_end_at_the_least) {
  const std::int32_t n = 40, m = 30;
  const std::int64_t k = 3;
  const Data data(n, m, 300);
  ThreadTeam team(1);
  const Incidence incidence = distinct_pairs(data.view(), {}, team);
  Rows<double> rows(n, k);
  rows.draw(k, 3);
  MeansWork<double> user_work(n, rows.stride), item_work(m, rows.stride);
  PriorMeans<double> means(kernel_table().kernels<double>(), incidence.users, incidence.items, user_work, item_work,
                           rows.stride, kRho, kRhoBias, team);
  // In exact numbers conjugate gradients end after as many steps as there are unknowns.
  for (int step = 0; step < 2 * m; ++step) {
    means.step(rows.factors.data(), rows.biases.data(), rows.means.data(), rows.pulls.data(), rows.stride, team);
  }
  // At the least, X' (p - X y) = rho y, so that X X' (p - mean) = rho mean.
  Dense dense(incidence.users, static_cast<std::size_t>(m), static_cast<std::size_t>(k));
  for (std::int64_t c = 0; c <= k; ++c) {
    const auto mean = [&](std::int64_t u) {
      return c < k ? rows.means[u * rows.stride + c] : rows.pulls[static_cast<std::size_t>(u)].bias_mean;
    };
    const auto row = [&](std::int64_t u) {
      return c < k ? rows.factors[u * rows.stride + c] : rows.biases[static_cast<std::size_t>(u)];
    };
    for (std::int64_t u = 0; u < n; ++u) {
      double sum = 0;
      for (std::int64_t v = 0; v < n; ++v) {
        double shared = 0;
        for (std::size_t j = 0; j < dense.m; ++j) {
          shared +=
              dense.X[static_cast<std::size_t>(u) * dense.m + j] * dense.X[static_cast<std::size_t>(v) * dense.m + j];
        }
        sum += shared * (row(v) - mean(v));
      }
      CHECK_CLOSE(sum, dense.rho(static_cast<std::size_t>(c)) * mean(u), 1e-9);
    }
  }
}

template <class T>
void check_threads() {
  const std::int32_t n = 9000, m = 5000;  // several slices and tasks of each side
  const std::int64_t k = 20;
  const Data data(n, m, 120'000);
  std::vector<T> first;
  for (const int threads : {1, 2, 5}) {
    check::context = std::to_string(sizeof(T) * 8) + " bits, " + std::to_string(threads) + " threads";
    ThreadTeam team(threads);
    const Incidence incidence = distinct_pairs(data.view(), {}, team);
    Rows<T> rows(n, k);
    rows.draw(k, 3);
    MeansWork<T> user_work(n, rows.stride), item_work(m, rows.stride);
    PriorMeans<T> means(kernel_table().kernels<T>(), incidence.users, incidence.items, user_work, item_work,
                        rows.stride, kRho, kRhoBias, team);
    for (int step = 0; step < 3; ++step) {
      means.step(rows.factors.data(), rows.biases.data(), rows.means.data(), rows.pulls.data(), rows.stride, team);
    }
    std::vector<T> found(rows.means.data(), rows.means.data() + rows.means.size());
    for (const RowPull<T>& pull : rows.pulls) found.push_back(pull.bias_mean);
    CHECK(std::any_of(found.begin(), found.end(), [](T x) { return x != 0; }));
    if (first.empty()) first = found;
    CHECK(same_bits(first, found));
  }
}
TEST(the_bits_do_not_depend_on_the_number_of_threads) {
  check_threads<float>();
  check_threads<double>();
}

}  // namespace
