// SPDX-License-Identifier: Apache-2.0
// Full-batch descent on the entries of a masked matrix.
#include <cmath>
#include <vector>

#include "check.hpp"
#include "random.hpp"
#include "warpfactor/descent.hpp"

namespace {

using namespace warpfactor;

template <class T>
struct Matrix {
  std::int32_t n_rows, n_columns, k;
  std::vector<std::int32_t> rows, columns;
  std::vector<T> values, P, Q;

  Matrix(std::int32_t n_rows_, std::int32_t n_columns_, std::int32_t k_, std::int32_t n)
      : n_rows(n_rows_), n_columns(n_columns_), k(k_) {
    SplitMix64 random(11);
    const auto below = [&](std::int32_t bound) {
      return static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(bound)));
    };
    for (std::int32_t at = 0; at < n; ++at) {
      rows.push_back(below(n_rows - 1));  // the last row and column have no entry
      columns.push_back(below(n_columns - 1));
      values.push_back(static_cast<T>(1 + below(5)));
    }
    for (std::int32_t f = 0; f < n_rows * k; ++f) P.push_back(static_cast<T>(below(1000)) / T(1000));
    for (std::int32_t f = 0; f < n_columns * k; ++f) Q.push_back(static_cast<T>(below(1000)) / T(1000));
  }
  [[nodiscard]] EntriesView<T> entries() const { return {rows, columns, values, n_rows, n_columns}; }
};

/// One step by the formulas, in long double.
template <class T>
void step(const Matrix<T>& m, std::vector<long double>& P, std::vector<long double>& Q, long double alpha,
          long double beta) {
  const auto k = static_cast<std::size_t>(m.k);
  std::vector<long double> by_P(P.size()), by_Q(Q.size());
  for (std::size_t n = 0; n < m.values.size(); ++n) {
    const auto p = static_cast<std::size_t>(m.rows[n]) * k, q = static_cast<std::size_t>(m.columns[n]) * k;
    long double error = static_cast<long double>(m.values[n]);
    for (std::size_t f = 0; f < k; ++f) error -= P[p + f] * Q[q + f];
    for (std::size_t f = 0; f < k; ++f) {
      by_P[p + f] -= 2 * error * Q[q + f];
      by_Q[q + f] -= 2 * error * P[p + f];
    }
  }
  for (std::size_t f = 0; f < P.size(); ++f) P[f] -= alpha * (by_P[f] + beta * P[f]);
  for (std::size_t f = 0; f < Q.size(); ++f) Q[f] -= alpha * (by_Q[f] + beta * Q[f]);
}

template <class T>
void check_steps(std::int32_t k, long double tolerance) {
  Matrix<T> m(23, 17, k, 150);
  std::vector<long double> P(m.P.begin(), m.P.end()), Q(m.Q.begin(), m.Q.end());
  for (int n = 0; n < 10; ++n) step(m, P, Q, 0.001L, 0.3L);
  descend<T>(m.entries(), m.P, m.Q, k, 10, 0.001, 0.3);
  for (std::size_t f = 0; f < P.size(); ++f) CHECK_CLOSE(m.P[f], P[f], tolerance);
  for (std::size_t f = 0; f < Q.size(); ++f) CHECK_CLOSE(m.Q[f], Q[f], tolerance);
}

TEST(steps_follow_the_gradients) {
  for (const std::int32_t k : {1, 5, 16, 40}) {
    check::context = "k = " + std::to_string(k);
    check_steps<double>(k, 1e-13L);
    check_steps<float>(k, 1e-4L);
  }
}

TEST(the_same_bits_for_any_number_of_threads) {
  const Matrix<float> start(700, 500, 24, 200000);  // enough work for several threads, and several parts
  Matrix<float> alone = start;
  descend<float>(start.entries(), alone.P, alone.Q, start.k, 3, 1e-5, 0.1, 1);
  CHECK(alone.P != start.P);
  for (const int threads : {2, 3, 5}) {
    Matrix<float> shared = start;
    descend<float>(start.entries(), shared.P, shared.Q, start.k, 3, 1e-5, 0.1, threads);
    CHECK(shared.P == alone.P && shared.Q == alone.Q);
  }
}

TEST(factors_are_as_they_were_where_it_throws) {
  const Matrix<double> start(300, 200, 4, 5000);
  Matrix<double> m = start;
  CHECK_THROWS(DivergedError, "lower alpha", descend<double>(m.entries(), m.P, m.Q, m.k, 100, 1.0, 0.0));
  CHECK_THROWS(Interrupted, "interrupted",
               descend<double>(m.entries(), m.P, m.Q, m.k, 1000000000, 1e-9, 0.0, 2, [] { return true; }));
  CHECK_THROWS(std::invalid_argument, "alpha is 0", descend<double>(m.entries(), m.P, m.Q, m.k, 1, 0.0, 0.0));
  CHECK_THROWS(std::invalid_argument, "P has 1200 elements; it must have 300 x 5",
               descend<double>(m.entries(), m.P, m.Q, 5, 1, 0.1, 0.0));
  m.rows[7] = 300;
  CHECK_THROWS(std::invalid_argument, "D.rows[7] is 300; it must be from 0 to 299",
               descend<double>(m.entries(), m.P, m.Q, m.k, 1, 0.1, 0.0));
  CHECK(m.P == start.P && m.Q == start.Q);
}

}  // namespace
