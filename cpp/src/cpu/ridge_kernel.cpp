// SPDX-License-Identifier: Apache-2.0
// The ridge regression of one row (see RidgeRow), compiled once per instruction set as sgd_kernel.cpp is.
#define WARPFACTOR_JOIN2(a, b) a##b
#define WARPFACTOR_JOIN(a, b) WARPFACTOR_JOIN2(a, b)
#define WARPFACTOR_RULE_NAMESPACE WARPFACTOR_JOIN(isa_, WARPFACTOR_KERNEL_ISA)

#include "cpu/ridge_kernel.hpp"

#include "cpu/vec.hpp"
#include "update_rule.hpp"

namespace warpfactor {
namespace WARPFACTOR_RULE_NAMESPACE {
namespace {

/// p.q of aligned rows that are zero beyond n.
template <class T>
WARPFACTOR_INLINE T product(const T* p, const T* q, std::int64_t n) {
  return Vec<T>{products_of(p, q, padded_stride<T>(n))}.sum();
}

/// The products of a row with eight others, `stride` apart, all of them aligned and zero beyond n.
template <class T>
WARPFACTOR_INLINE Eight<T> products(const T* row, const T* others, std::int64_t stride, std::int64_t n) {
  typename Vec<T>::Raw sums[kGroup];
  WARPFACTOR_UNROLL_8
  for (int g = 0; g < kGroup; ++g) sums[g] = products_of(row, others + g * stride, n);
  return Eight<T>::sums(sums);
}

/// Products of `kRows` rows with eight others at once: so many sums stay in registers, and each vector that is loaded
/// serves several of them.
template <class T, int kRows>
WARPFACTOR_INLINE void add_tile(const T* rows, const T* others, std::int64_t stride, std::int64_t n, T* to,
                                std::int64_t to_stride) {
  using V = Vec<T>;
  typename V::Raw sums[kRows][kGroup];
  for (int r = 0; r < kRows; ++r) {
    WARPFACTOR_UNROLL_8
    for (int g = 0; g < kGroup; ++g) sums[r][g] = V::zero().as_raw();
  }
  for (std::int64_t at = 0; at < n; at += V::lanes) {
    WARPFACTOR_UNROLL_8
    for (int g = 0; g < kGroup; ++g) {
      const auto other = V::load_raw(others + g * stride + at);
      for (int r = 0; r < kRows; ++r) sums[r][g] = sums[r][g] + V::load_raw(rows + r * stride + at) * other;
    }
  }
  for (int r = 0; r < kRows; ++r) {
    T* const target = to + r * to_stride;
    (Eight<T>::load(target) + Eight<T>::sums(sums[r])).store(target);
  }
}

/// to += the products of all rows with each other, on and below the diagonal. All `n_rows` can be read, a multiple of
/// kGroup.
template <class T>
void add_products(const T* rows, std::int64_t n_rows, std::int64_t stride, std::int64_t length, T* to,
                  std::int64_t to_stride) {
  constexpr int kRows = kVectorBytes == 64 ? 2 : 1;  // as many sums as there are registers for
  const std::int64_t n = padded_stride<T>(length);
  for (std::int64_t i = 0; i < n_rows; i += kRows) {
    for (std::int64_t j = 0; j <= i; j += kGroup) {
      add_tile<T, kRows>(rows + i * stride, rows + j * stride, stride, n, to + i * to_stride + j, to_stride);
    }
  }
}

template <class T>
void fill(T* to, std::int64_t n, T value) {
  for (std::int64_t at = 0; at < n; ++at) to[at] = value;
}

/// Solves S y = x, in place, for the symmetric S of `order` rows, of which what is on and below the diagonal is read.
/// By Cholesky's decomposition S = L L^T, column by column: what a column needs of L is to its left, and L is zero to
/// its right, so that products may run over whole vectors. `root`, rows as those of S, is L; x is zero beyond `order`.
template <class T>
void solve(const T* s, T* root_rows, T* x, std::int64_t order, std::int64_t stride) {
  using V = Vec<T>;
  const std::int64_t n_rows = (order + kGroup - 1) / kGroup * kGroup;
  fill(root_rows, n_rows * stride, T(0));
  for (std::int64_t column = 0; column < order; ++column) {
    const T* const own = root_rows + column * stride;
    T inverse = 0;
    for (std::int64_t first = column / kGroup * kGroup; first < order; first += kGroup) {
      alignas(kVectorBytes) T known[kGroup] = {};
      if (column > 0) {
        products(own, root_rows + first * stride, stride, padded_stride<T>(column)).store(known);
      }
      if (inverse == 0) {
        // The penalties keep S definite; this keeps a root of what rounding leaves of a small difference.
        const T diagonal = s[column * stride + column], rest = diagonal - known[column - first],
                least = diagonal * T(1e-6);
        inverse = 1 / root(rest > least ? rest : least);
      }
      const std::int64_t end = order - first < kGroup ? order - first : kGroup;
      for (std::int64_t g = first < column ? column - first : 0; g < end; ++g) {
        const std::int64_t at = (first + g) * stride + column;
        root_rows[at] = first + g == column ? 1 / inverse : (s[at] - known[g]) * inverse;
      }
    }
  }
  // L y = x. Of y what is to come does not count: L is zero there.
  for (std::int64_t i = 0; i < order; ++i) {
    const T* const own = root_rows + i * stride;
    const T given = x[i];
    x[i] = 0;
    x[i] = (i > 0 ? given - product(own, x, i) : given) / own[i];
  }
  // L^T x = y.
  for (std::int64_t i = order - 1; i >= 0; --i) {
    const T* const own = root_rows + i * stride;
    const T solved = x[i] / own[i];
    for (std::int64_t p = 0; p < i; p += V::lanes) {
      V::store_raw(x + p, (V::load(x + p) - solved * V::load(own + p)).as_raw());
    }
    x[i] = solved;
  }
}

/// values -= bias_mean + means . q
template <class T>
void subtract_prior(const RidgeRow<T>& row) {
  for (std::int64_t n = 0; n < row.n_ratings; n += kGroup) {
    alignas(kVectorBytes) T scores[kGroup];
    products(row.means, row.others + n * row.stride, row.stride, row.stride).store(scores);
    for (std::int64_t g = 0; g < kGroup && n + g < row.n_ratings; ++g) row.values[n + g] -= scores[g] + row.bias_mean;
  }
}

/// By the matrix of the ratings, where they are fewer than the row's numbers. With D the penalties:
///   x - m = D^-1 Q^T y,    (W^-1 + Q D^-1 Q^T) y = v - Q m.
template <class T>
void solve_by_ratings(const RidgeRow<T>& row) {
  using V = Vec<T>;
  const RidgeSize<T> size(row.n_ratings, row.n_factors);
  T *const s = row.scratch, *const y = s + 2 * size.rows * size.stride;
  fill(s, size.rows * size.stride, T(0));
  add_products(row.others, size.rows, row.stride, row.stride, s, size.stride);
  const T factor = 1 / row.strength, bias = row.has_bias ? 1 / row.bias_strength : T(0);
  for (std::int64_t i = 0; i < row.n_ratings; ++i) {
    T* const own = s + i * size.stride;
    for (std::int64_t j = 0; j <= i; j += V::lanes) V::store_raw(own + j, (bias + factor * V::load(own + j)).as_raw());
    own[i] += row.weights == nullptr ? T(1) : 1 / row.weights[i];
  }
  fill(y, size.stride, T(0));
  for (std::int64_t i = 0; i < row.n_ratings; ++i) y[i] = row.values[i];
  solve(s, s + size.rows * size.stride, y, row.n_ratings, size.stride);
  for (std::int64_t f = 0; f < row.stride; f += V::lanes) {
    V sum = V::zero();
    for (std::int64_t i = 0; i < row.n_ratings; ++i) sum = sum + y[i] * V::load(row.others + i * row.stride + f);
    V::store_raw(row.factors + f, (V::load(row.means + f) + factor * sum).as_raw());
  }
  T sum = 0;
  for (std::int64_t i = 0; i < row.n_ratings; ++i) sum += y[i];
  *row.bias = row.bias_mean + bias * sum;
}

/// By the matrix of the row's numbers:  (D + Q^T W Q) (x - m) = Q^T W (v - Q m). The right side is made as one more row
/// of the matrix.
template <class T>
void solve_by_factors(const RidgeRow<T>& row) {
  using V = Vec<T>;
  const RidgeSize<T> size(row.n_ratings, row.n_factors);
  const std::int64_t k = row.n_factors, order = k + (row.has_bias ? 1 : 0);
  T *const s = row.scratch, *const x = s + 2 * size.rows * size.stride, *const columns = x + size.stride;
  fill(s, size.rows * size.stride, T(0));
  for (std::int64_t first = 0; first < row.n_ratings; first += kRidgeChunk) {
    const std::int64_t n = row.n_ratings - first < kRidgeChunk ? row.n_ratings - first : kRidgeChunk;
    fill(columns, size.rows * kRidgeChunk, T(0));
    for (std::int64_t i = 0; i < n; ++i) {
      const T weight = row.weights == nullptr ? T(1) : root(row.weights[first + i]);
      const T* const other = row.others + (first + i) * row.stride;
      for (std::int64_t f = 0; f < k; ++f) columns[f * kRidgeChunk + i] = weight * other[f];
      columns[order * kRidgeChunk + i] = weight * row.values[first + i];
      if (row.has_bias) columns[k * kRidgeChunk + i] = weight;
    }
    add_products(columns, size.rows, kRidgeChunk, n, s, size.stride);
  }
  fill(x, size.stride, T(0));
  for (std::int64_t f = 0; f < order; ++f) {
    s[f * size.stride + f] += f < k ? row.strength : row.bias_strength;
    x[f] = s[order * size.stride + f];
  }
  solve(s, s + size.rows * size.stride, x, order, size.stride);
  *row.bias = row.bias_mean + (row.has_bias ? x[k] : T(0));
  fill(x + k, size.stride - k, T(0));
  for (std::int64_t f = 0; f < row.stride; f += V::lanes) {
    V::store_raw(row.factors + f, (V::load(row.means + f) + V::load(x + f)).as_raw());
  }
}

template <class T>
void ridge(const RidgeRow<T>& row) {
  subtract_prior(row);
  if (RidgeSize<T>(row.n_ratings, row.n_factors).by_ratings) {
    solve_by_ratings(row);
  } else {
    solve_by_factors(row);
  }
}

}  // namespace

void solve_ridge(const RidgeRow<float>& row) { ridge(row); }
void solve_ridge(const RidgeRow<double>& row) { ridge(row); }

}  // namespace WARPFACTOR_RULE_NAMESPACE
}  // namespace warpfactor
