// SPDX-License-Identifier: Apache-2.0
// The inner loops of the Gibbs sampler (warpfactor/sample.hpp), compiled once per instruction set as sgd_kernel.cpp is.
#define WARPFACTOR_JOIN2(a, b) a##b
#define WARPFACTOR_JOIN(a, b) WARPFACTOR_JOIN2(a, b)
#define WARPFACTOR_RULE_NAMESPACE WARPFACTOR_JOIN(isa_, WARPFACTOR_KERNEL_ISA)

#include "cpu/gibbs_kernel.hpp"

#include "cpu/vec.hpp"
#include "update_rule.hpp"

namespace warpfactor {
namespace WARPFACTOR_RULE_NAMESPACE {
namespace {

/// In each 16 bytes of the results, one factor of all the kQuarter rows: result m holds the factors m, m + kQuarter,
/// m + 2 kQuarter, ... of what was loaded.
template <class T>
struct Transposed {
  static constexpr int kQuarter = Vec<T>::kQuarter, lanes = Vec<T>::lanes;

#if WARPFACTOR_HAS_SHUFFLE
  using Raw = typename Vec<T>::Raw;
  Raw of[kQuarter];

  WARPFACTOR_INLINE explicit Transposed(const Raw (&rows)[kQuarter]) {
    constexpr auto all = std::make_index_sequence<static_cast<std::size_t>(lanes)>();
    if constexpr (kQuarter == 4) {
      const Raw a = mixed<0, 1>(rows[0], rows[1], all), b = mixed<2, 1>(rows[0], rows[1], all),
                c = mixed<0, 1>(rows[2], rows[3], all), d = mixed<2, 1>(rows[2], rows[3], all);
      of[0] = mixed<0, 2>(a, c, all);
      of[1] = mixed<2, 2>(a, c, all);
      of[2] = mixed<0, 2>(b, d, all);
      of[3] = mixed<2, 2>(b, d, all);
    } else {
      of[0] = mixed<0, 1>(rows[0], rows[1], all);
      of[1] = mixed<1, 1>(rows[0], rows[1], all);
    }
  }
  /// Writes each 16 bytes to its column.
  WARPFACTOR_INLINE void store(T* to, std::int64_t column_stride) const {
    for (int m = 0; m < kQuarter; ++m) store_quarters(of[m], to + m * column_stride, column_stride);
  }

 private:
  typedef T Quarter __attribute__((vector_size(16), aligned(alignof(T)), may_alias));

  /// In each 16 bytes: `n` elements of x from its element `first` on, as many of y, and so on in turn.
  template <int first, int n, std::size_t... lane>
  WARPFACTOR_INLINE static Raw mixed(Raw x, Raw y, std::index_sequence<lane...>) {
    return __builtin_shufflevector(x, y, source<first, n>(static_cast<int>(lane))...);
  }
  template <int first, int n>
  static constexpr int source(int lane) {
    const int at = lane % kQuarter, begin = lane - at;
    return (at / n % 2 == 0 ? 0 : lanes) + begin + first + at / (2 * n) * n + at % n;
  }
  WARPFACTOR_INLINE static void store_quarters(Raw v, T* to, std::int64_t column_stride) {
    store_quarter<0>(v, to);
    if constexpr (lanes > kQuarter) store_quarter<1>(v, to + kQuarter * column_stride);
    if constexpr (lanes > 2 * kQuarter) {
      store_quarter<2>(v, to + 2 * kQuarter * column_stride);
      store_quarter<3>(v, to + 3 * kQuarter * column_stride);
    }
  }
  template <int quarter>
  WARPFACTOR_INLINE static void store_quarter(Raw v, T* to) {
    constexpr int at = quarter * kQuarter;
    if constexpr (lanes == kQuarter) {
      *reinterpret_cast<Quarter*>(to) = v;
    } else if constexpr (kQuarter == 4) {
      *reinterpret_cast<Quarter*>(to) = __builtin_shufflevector(v, v, at, at + 1, at + 2, at + 3);
    } else {
      *reinterpret_cast<Quarter*>(to) = __builtin_shufflevector(v, v, at, at + 1);
    }
  }
#else  // through memory
  alignas(kVectorBytes) T of[kQuarter][lanes];

  explicit Transposed(const typename Vec<T>::Raw (&rows)[kQuarter]) {
    for (int q = 0; q < kQuarter; ++q) Vec<T>::store_raw(of[q], rows[q]);
  }
  void store(T* to, std::int64_t column_stride) const {
    for (int l = 0; l < lanes; ++l) {
      for (int q = 0; q < kQuarter; ++q) to[l * column_stride + q] = of[q][l];
    }
  }
#endif
};

/// Fills `roots` and `errors`, for the row as it is.
template <class T>
void first_errors(const RowDraw<T>& row) {
  using V = Vec<T>;
  const std::int64_t n = row.n_ratings;
  for (std::int64_t j = 0; j < n; j += kGroup) {
    if (j + 2 * kGroup <= n) {
      for (std::int64_t ahead = j + kGroup; ahead < j + 2 * kGroup; ++ahead) {
        const char* const next = reinterpret_cast<const char*>(row.other_factors + row.others[ahead] * row.stride);
        for (std::int64_t at = 0; at < row.stride * static_cast<std::int64_t>(sizeof(T)); at += kRowAlignment) {
          prefetch(next + at);
        }
      }
    }
    typename V::Raw products[kGroup];
    WARPFACTOR_UNROLL_8
    for (int g = 0; g < kGroup; ++g) {
      products[g] = products_of(row.factors, row.other_factors + row.others[j + g] * row.stride, row.stride);
    }
    Eight<T>::sums(products).store(row.errors + j);
  }
  for (std::int64_t j = 0; j < n; ++j) {
    const std::int32_t other = row.others[j];
    const T weight = row.weights == nullptr ? T(1) : root(static_cast<T>(row.weights[j]));
    row.roots[j] = weight * row.other_roots[other];
    row.errors[j] = row.roots[j] * (row.values[j] - *row.bias - row.other_biases[other] - row.errors[j]);
  }
  for (std::int64_t j = n; j < row.column_stride; ++j) row.roots[j] = row.errors[j] = T(0);
}

/// Makes the columns of the factors first .. first + n - 1, times each rating's root, and the sums of their squares.
template <class T>
void make_columns(const RowDraw<T>& row, std::int64_t first, std::int64_t n, T* squares) {
  using V = Vec<T>;
  constexpr int kQuarter = V::kQuarter;
  for (std::int64_t f = 0; f < n; f += V::lanes) V::store_raw(squares + f, V::zero().as_raw());
  const std::int64_t last = row.n_ratings - 1;
  for (std::int64_t j = 0; j < row.n_ratings; j += kQuarter) {
    const T* from[kQuarter];
    T roots[kQuarter];
    for (int q = 0; q < kQuarter; ++q) {  // beyond the last rating the roots are zero
      const std::int64_t at = j + q < last ? j + q : last;
      from[q] = row.other_factors + row.others[at] * row.stride + first;
      roots[q] = row.roots[j + q];
    }
    for (std::int64_t f = 0; f < n; f += V::lanes) {
      typename V::Raw rows[kQuarter];
      V sum = V::load(squares + f);
      for (int q = 0; q < kQuarter; ++q) {
        const V scaled = roots[q] * V::load(from[q] + f);
        sum = sum + scaled * scaled;
        rows[q] = scaled.as_raw();
      }
      V::store_raw(squares + f, sum.as_raw());
      Transposed<T>(rows).store(row.columns + f * row.column_stride + j, row.column_stride);
    }
  }
  // A pass goes over whole vectors.
  for (std::int64_t f = 0; f < n; ++f) {
    T* const column = row.columns + f * row.column_stride;
    for (std::int64_t j = (row.n_ratings + kQuarter - 1) / kQuarter * kQuarter; j < row.column_stride; ++j) {
      column[j] = T(0);
    }
  }
}

/// errors += by * moved, and the sum of errors * column; of the squared errors without a column.
template <class T, bool kSquared>
WARPFACTOR_INLINE T pass(T* errors, const T* moved, T by, const T* column, std::int64_t n) {
  using V = Vec<T>;
  const auto step = [&](std::int64_t j) WARPFACTOR_INLINE_LAMBDA {
    const V error = V::load(errors + j) + by * V::load(moved + j);
    V::store_raw(errors + j, error.as_raw());
    return kSquared ? error * error : error * V::load(column + j);
  };
  V sums[4] = {V::zero(), V::zero(), V::zero(), V::zero()};
  std::int64_t j = 0;
  for (; j + 4 * V::lanes <= n; j += 4 * V::lanes) {
    for (int part = 0; part < 4; ++part) sums[part] = sums[part] + step(j + part * V::lanes);
  }
  for (; j < n; j += V::lanes) sums[0] = sums[0] + step(j);
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])).sum();
}

template <class T>
T draw(const RowDraw<T>& row) {
  using V = Vec<T>;
  const std::int64_t n = (row.n_ratings + V::lanes - 1) / V::lanes * V::lanes;
  const T noise = row.noise_precision;
  T* const squares = row.numbers;
  T* const variances = squares + row.stride;
  T* const deviates = variances + row.stride;
  first_errors(row);

  // The bias is a factor whose column are the roots.
  const T* moved = row.roots;
  T root_squares = 0, products = 0;
  {
    V a = V::zero(), b = V::zero();
    for (std::int64_t j = 0; j < n; j += V::lanes) {
      const V column = V::load(row.roots + j);
      a = a + column * column;
      b = b + column * V::load(row.errors + j);
    }
    root_squares = a.sum();
    products = b.sum();
  }
  const T bias_precision = noise * root_squares + row.bias_precision;
  const T bias = (noise * (products + root_squares * *row.bias) + row.bias_precision * row.bias_mean) / bias_precision +
                 row.normals[row.stride] / root(bias_precision);
  T by = *row.bias - bias, squared = 0;
  *row.bias = bias;

  for (std::int64_t first = 0; first < row.n_factors; first += row.columns_at_once) {
    const std::int64_t rest = row.stride - first, made = rest < row.columns_at_once ? rest : row.columns_at_once;
    make_columns(row, first, made, squares);
    for (std::int64_t f = 0; f < made; f += V::lanes) {
      const V variance = T(1) / (noise * V::load(squares + f) + V::load(row.precisions + first + f));
      V::store_raw(variances + f, variance.as_raw());
      V::store_raw(deviates + f, (V::load(row.normals + first + f) * root(variance)).as_raw());
    }
    const std::int64_t end = row.n_factors - first < made ? row.n_factors - first : made;
    for (std::int64_t f = 0; f < end; ++f) {
      const T* const column = row.columns + f * row.column_stride;
      T& factor = row.factors[first + f];
      products = pass<T, false>(row.errors, moved, by, column, n);
      const T drawn =
          variances[f] * (noise * (products + squares[f] * factor) + row.precisions[first + f] * row.means[first + f]) +
          deviates[f];
      by = factor - drawn;
      factor = drawn;
      moved = column;
    }
    squared = pass<T, true>(row.errors, moved, by, moved, n);  // the columns are made anew
    by = 0;
  }
  return squared;
}

/// kWidth vectors of columns; 0: a single column.
template <class T, int kWidth>
void coefficients(const CoefficientDraw<T>& draw) {
  using V = Vec<T>;
  if constexpr (kWidth == 0) {
    T sums[4] = {};
    std::int64_t n = 0;
    for (; n + 4 <= draw.n_rows; n += 4) {
      for (int part = 0; part < 4; ++part) sums[part] += draw.residuals[draw.rows[n + part]];
    }
    for (; n < draw.n_rows; ++n) sums[0] += draw.residuals[draw.rows[n]];
    const T sum = (sums[0] + sums[1]) + (sums[2] + sums[3]), precision = draw.precisions[0],
            all = precision * draw.square_sum + draw.own_precisions[0], old = draw.coefficients[0],
            drawn = precision * (sum + draw.square_sum * old) / all + draw.normals[0] / root(all), by = old - drawn;
    draw.coefficients[0] = drawn;
    for (n = 0; n < draw.n_rows; ++n) {
      const std::int32_t row = draw.rows[n];
      draw.residuals[row] += by * draw.squares[row];
    }
  } else {
    constexpr int kLanes = V::lanes, width = kWidth * kLanes;
    V even[kWidth], odd[kWidth], by[kWidth];
    for (int v = 0; v < kWidth; ++v) even[v] = odd[v] = V::zero();
    std::int64_t n = 0;
    for (; n + 2 <= draw.n_rows; n += 2) {
      const T* const a = draw.residuals + std::int64_t{draw.rows[n]} * width;
      const T* const b = draw.residuals + std::int64_t{draw.rows[n + 1]} * width;
      for (int v = 0; v < kWidth; ++v) {
        even[v] = even[v] + V::load(a + v * kLanes);
        odd[v] = odd[v] + V::load(b + v * kLanes);
      }
    }
    if (n < draw.n_rows) {
      const T* const a = draw.residuals + std::int64_t{draw.rows[n]} * width;
      for (int v = 0; v < kWidth; ++v) even[v] = even[v] + V::load(a + v * kLanes);
    }
    for (int v = 0; v < kWidth; ++v) {
      const std::int64_t at = v * kLanes;
      const V precision = V::load(draw.precisions + at), old = V::load(draw.coefficients + at),
              variance = T(1) / (draw.square_sum * precision + V::load(draw.own_precisions + at)),
              drawn = variance * precision * (even[v] + odd[v] + draw.square_sum * old) +
                      V::load(draw.normals + at) * root(variance);
      by[v] = old - drawn;
      V::store_raw(draw.coefficients + at, drawn.as_raw());
    }
    for (n = 0; n < draw.n_rows; ++n) {
      const std::int64_t row = draw.rows[n];
      T* const to = draw.residuals + row * width;
      for (int v = 0; v < kWidth; ++v) {
        V::store_raw(to + v * kLanes, (V::load(to + v * kLanes) + draw.squares[row] * by[v]).as_raw());
      }
    }
  }
}

template <class T>
void draw_columns(const CoefficientDraw<T>& draw) {
  if (draw.width == 1) {
    coefficients<T, 0>(draw);
  } else {
    coefficients<T, static_cast<int>(padded_stride<T>(1)) / Vec<T>::lanes>(draw);
  }
}

}  // namespace

float draw_row(const RowDraw<float>& row) { return draw(row); }
double draw_row(const RowDraw<double>& row) { return draw(row); }
void draw_coefficients(const CoefficientDraw<float>& draw) { draw_columns(draw); }
void draw_coefficients(const CoefficientDraw<double>& draw) { draw_columns(draw); }

}  // namespace WARPFACTOR_RULE_NAMESPACE
}  // namespace warpfactor
