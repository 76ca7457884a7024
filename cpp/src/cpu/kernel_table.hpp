// SPDX-License-Identifier: Apache-2.0
// What the kernels offer, as plain function pointers: one table per instruction set, picked once by dispatch.cpp.
#pragma once

#include <cstdint>

#include "cpu/tuning.hpp"
#include "step_sizes.hpp"

namespace warpfactor {

/// Factor rows are padded to whole multiples of this many bytes (a cache line, and the widest vector register).
inline constexpr std::int64_t kRowAlignment = 64;

/// The padded length of a row of k factors.
template <class T>
constexpr std::int64_t padded_stride(std::int64_t k) {
  constexpr std::int64_t lanes = kRowAlignment / static_cast<std::int64_t>(sizeof(T));
  return (k + lanes - 1) / lanes * lanes;
}

/// A rating inside its block: its rows counted from the first rows of the block's stripes. 8 bytes.
struct Rating {
  std::uint16_t user;
  std::uint16_t item;
  float value;
};
static_assert(sizeof(Rating) == 8);

/// The rows of one side, with the optimizer's state. The padding of the factors is zero and stays zero.
template <class T>
struct SideRows {
  T* factors;  ///< the first row, aligned to kRowAlignment
  T* biases;   ///< nullptr in a model without biases
  /// The optimizer's state of each factor and bias, as `stepped` uses it: momentum and adagrad_element have the first,
  /// adam both; else nullptr.
  T *first, *second, *bias_first, *bias_second;
  T* row_numbers;  ///< its state of a row, kRowNumbers each; adagrad_row: the sum of squares; adam: the averages of
                   ///< ones
  /// Of each row; nullptr: StepSizes::reg and reg_bias pull all rows to zero.
  const RowPull<T>* pulls;
  const T* means;  ///< the factors' prior means, rows like those of the factors; nullptr, on both sides: zero
};
inline constexpr std::int64_t kRowNumbers = 2;

/// Some consecutive ratings of a block, and the rows of its stripes.
template <class T>
struct SgdArgs {
  SideRows<T> users, items;
  std::int64_t active_factors;  ///< the first so many factors of a row are trained: all, or fewer in a warm-up
  std::int64_t width;           ///< padded_stride(active_factors): the factors that the kernel works on
  std::int64_t stride;          ///< from row to row: padded_stride(n_factors)
  const Rating* ratings;
  const float* weights;  ///< nullptr: all 1
  std::int64_t n_ratings;
  std::int64_t n_grouped;  ///< the first so many, a multiple of kGroup, are updated in groups
  StepSizes<T> sizes;
};

/// Some rows of one side with their ratings of a batch: row rows[r] has the ratings begin[r] .. begin[r + 1].
template <class T>
struct BatchRows {
  SideRows<T> own, other;
  bool of_users;
  bool penalty_once;                           ///< a row's penalty counts once, not once for each of its ratings
  std::int64_t active_factors, width, stride;  ///< as in SgdArgs
  const std::int32_t* rows;
  const std::int64_t* begin;
  std::int64_t n_rows;
  /// By rating: the other side's row, the value, the weight (nullptr: all 1). kGroup - 1 more of each can be read after
  /// the last; their rows are valid.
  const std::int32_t* others;
  const T* values;
  const float* weights;
  T* gradients;       ///< n_rows x stride, aligned; the sums over the row's ratings of the batch, in the first width
  T* bias_gradients;  ///< n_rows
  T* row_weights;     ///< n_rows: how often the row's penalty counts
  StepSizes<T> sizes;
};

/// Pairs to predict: unpadded or padded rows, any alignment. An index of -1 is an unknown row: no factors, no bias.
template <class T>
struct PairBatch {
  const T* user_factors;
  const T* item_factors;
  const T* user_biases;  ///< nullptr: zero
  const T* item_biases;
  T global_mean;
  std::int64_t stride;
  std::int64_t n_factors;
  const std::int32_t* users;
  const std::int32_t* items;
  std::int64_t n_pairs;
  T* out;
};

/// One query row against all rows: out[r] = offset + biases[r] + query . rows[r].
template <class T>
struct RowScores {
  const T* query;  ///< nullptr: only offset and biases
  const T* rows;
  const T* biases;  ///< nullptr: zero
  T offset;
  std::int64_t n_factors;
  std::int64_t n_rows;
  T* out;
};

/// Some query rows against a panel of rows, with the bits of RowScores:
///   out[q][r] = offsets[q] + biases[r] + queries[q] . row r.
/// A panel is made of whole lines of rows, padded_stride(1) at a time: number f of all of them, then number f + 1, so
/// that a register holds one number of several rows, and no sum runs across a register.
template <class T>
struct PanelScores {
  const T* queries;  ///< n_queries rows of n_factors
  const T* offsets;  ///< n_queries
  std::int64_t n_queries;
  const T* panel;   ///< aligned, like `biases` and `out`
  const T* biases;  ///< n_rows
  std::int64_t n_factors;
  std::int64_t n_rows;  ///< a multiple of padded_stride(1)
  T* out;               ///< n_queries x n_rows
};

/// One row of one side, to be drawn anew given the other side's rows, one coordinate after the other (see sample.hpp).
/// A rating's noise precision is noise_precision * weight * other_roots^2.
template <class T>
struct RowDraw {
  const T* other_factors;  ///< rows of `stride`, aligned, zero beyond n_factors
  const T* other_biases;
  const T* other_roots;  ///< the roots of the rows' noise precisions
  std::int64_t n_factors, stride;
  /// By rating. kGroup - 1 more of `others` can be read after the last; they are valid rows.
  const std::int32_t* others;
  const T* values;
  const float* weights;    ///< nullptr: all 1
  std::int64_t n_ratings;  ///< >= 1
  T* factors;              ///< the row's, aligned
  T* bias;
  const T* means;       ///< of the prior, n_factors
  const T* precisions;  ///< of the prior, `stride`, aligned
  T bias_mean, bias_precision;
  T noise_precision;
  const T* normals;  ///< standard normal numbers: `stride`, aligned, and the bias's
  /// Scratch, aligned. A column is one factor of all the row's ratings; so many columns are made at a time, a multiple
  /// of padded_stride(1).
  std::int64_t columns_at_once;
  std::int64_t column_stride;  ///< a multiple of padded_stride(1), >= n_ratings
  T* columns;                  ///< columns_at_once x column_stride
  T* errors;   ///< column_stride; on return each rating's error times its root below, beyond n_ratings zero
  T* roots;    ///< column_stride; on return the root of each rating's precision, without noise_precision
  T* numbers;  ///< 3 x stride
};

/// The coefficients y_j of one row j in the prior means of the other side's rows that it met (see sample.hpp), some
/// columns of them, to be drawn anew. Row u's residual of a column is x_u (p_u - m_u) with x_u = n_u^-1/2.
template <class T>
struct CoefficientDraw {
  std::int64_t width;        ///< columns: 1, or padded_stride(1)
  const std::int32_t* rows;  ///< those that row j met
  std::int64_t n_rows;
  const T* squares;         ///< x_u^2 of each row
  T square_sum;             ///< of c^2 x_u^2 over the rows, with c how often a row is in `rows`
  T* residuals;             ///< of each row, `width`; changed as the coefficients are
  T* coefficients;          ///< width
  const T* precisions;      ///< width; of p_u about m_u
  const T* own_precisions;  ///< width; of y_j about 0
  const T* normals;         ///< width
};

/// One row of one side, given the other side's rows q_n that it has ratings v_n of: the least of
///   sum_n w_n (v_n - b - p.q_n)^2 + strength |p - means|^2 + bias_strength (b - bias_mean)^2.
template <class T>
struct RidgeRow {
  const T* others;  ///< aligned, `stride` apart, zero beyond n_factors; room for whole groups, zero beyond n_ratings
  std::int64_t n_factors, stride;
  std::int64_t n_ratings;  ///< >= 1
  T* values;               ///< v; changed
  const T* weights;        ///< above 0; nullptr: all 1
  const T* means;          ///< `stride`, aligned, zero beyond n_factors
  T bias_mean;
  bool has_bias;  ///< false: the bias stays bias_mean
  T strength, bias_strength;
  T* scratch;  ///< RidgeSize::scratch, aligned
  T* factors;  ///< `stride`, aligned
  T* bias;
};

/// Ratings whose columns are made at a time: a power of two, so that they stay in L2. Not measured.
inline constexpr std::int64_t kRidgeChunk = 256;

/// What matrix a ridge regression takes: of the ratings with each other, or of the row's numbers and the right side.
template <class T>
struct RidgeSize {
  bool by_ratings;
  std::int64_t rows;     ///< of the matrix, in whole groups
  std::int64_t stride;   ///< of the matrix
  std::int64_t scratch;  ///< numbers

  RidgeSize(std::int64_t n_ratings, std::int64_t n_factors) noexcept : by_ratings(n_ratings <= n_factors) {
    rows = ((by_ratings ? n_ratings : n_factors + 2) + kGroup - 1) / kGroup * kGroup;
    stride = padded_stride<T>(rows);
    scratch = 2 * rows * stride + stride + (by_ratings ? 0 : rows * kRidgeChunk);
  }
};

/// Weighted sums over ratings. Each rating's losses are taken before its own step; in a group, before the group's
/// first.
struct PassSums {
  double loss = 0;     ///< as LossTerms::reported
  double squares = 0;  ///< as LossTerms::square; with the squared loss the same as `loss`
};

/// Sums of rows: out[r] = the sum of rows[others[n]] over begin[r] <= n < begin[r + 1].
template <class T>
struct RowSums {
  const T* rows;     ///< aligned, `stride` apart
  const T* numbers;  ///< one of each row, summed likewise
  const std::int32_t* others;
  const std::int64_t* begin;
  std::int64_t n_rows, width, stride;
  T* out;  ///< n_rows, aligned, `stride` apart
  T* out_numbers;
};

template <class T>
struct Kernels {
  PassSums (*sgd)(const SgdArgs<T>&);  ///< one step for each rating
  void (*predict_pairs)(const PairBatch<T>&);
  void (*score_rows)(const RowScores<T>&);
  void (*score_panel)(const PanelScores<T>&);
  /// Where the first value above `limit` is from `from` on; `n`: there is none. NaN is above nothing.
  std::int64_t (*first_above)(const T* values, std::int64_t from, std::int64_t n, T limit);
  PassSums (*batch_gradients)(const BatchRows<T>&);  ///< writes the gradients; the sums are 0 for items' rows
  void (*batch_steps)(const BatchRows<T>&);          ///< takes the steps from the gradients
  void (*sum_rows)(const RowSums<T>&);
  T (*draw_row)(const RowDraw<T>&);  ///< the sum of the squared errors, weighted as in `errors`
  void (*draw_coefficients)(const CoefficientDraw<T>&);
  void (*solve_ridge)(const RidgeRow<T>&);
};

struct KernelTable {
  const char* instruction_set;
  int vector_bytes;  ///< as the compiler saw it in that translation unit
  Kernels<float> f32;
  Kernels<double> f64;

  template <class T>
  [[nodiscard]] const Kernels<T>& kernels() const {
    if constexpr (sizeof(T) == sizeof(float)) {
      return f32;
    } else {
      return f64;
    }
  }
};

namespace isa_baseline {
extern const KernelTable kKernels;
}
namespace isa_avx2 {
extern const KernelTable kKernels;
}
namespace isa_avx512 {
extern const KernelTable kKernels;
}

/// The table for this processor, or the one WARPFACTOR_ISA names. Throws std::invalid_argument (see runtime.hpp).
const KernelTable& kernel_table();

}  // namespace warpfactor
