// SPDX-License-Identifier: Apache-2.0
// What the kernels offer, as plain function pointers: one table per instruction set, picked once by dispatch.cpp.
#pragma once

#include <cstdint>

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

/// A rating inside its block: rows relative to the block's first user and item. 8 bytes.
struct Rating {
  std::uint16_t user;
  std::uint16_t item;
  float value;
};
static_assert(sizeof(Rating) == 8);

/// Ratings are updated this many at a time, their dot products all taken before their steps, which are then taken one
/// after the other: nothing waits, and one row of vector lanes computes all the slopes. When groups
/// shared no row, 8 took 1.1 (k = 32) and 1.2 (k = 64, 128) times as many ratings a second as 4, and 16 fewer again.
inline constexpr std::int64_t kGroup = 8;

/// The rows of one side and what the optimizer remembers of them. The padding lanes of the factors are zero and stay
/// zero.
template <class T>
struct SideRows {
  T* factors;  ///< the first row, aligned to kRowAlignment
  T* biases;   ///< nullptr in a model without biases
  /// One for each factor and bias, where the rule remembers something (see `stepped`): momentum and adagrad_element the
  /// first, adam both.
  T *first, *second, *bias_first, *bias_second;
  T* row_numbers;  ///< kRowNumbers a row; adagrad_row: the sum of squares; adam: the two averages of ones
};
inline constexpr std::int64_t kRowNumbers = 2;

/// A run of ratings of one block, and the rows of that block.
template <class T>
struct SgdBlock {
  SideRows<T> users, items;
  std::int64_t active_factors;  ///< the first so many of a row's factors take part
  std::int64_t width;           ///< padded_stride(active_factors): those that the kernel works on
  std::int64_t stride;          ///< from row to row: padded_stride(n_factors)
  const Rating* ratings;
  const float* weights;  ///< nullptr: all one
  std::int64_t n_ratings;
  std::int64_t n_grouped;  ///< the first of them, a multiple of kGroup, are taken in groups
  StepSizes<T> sizes;
};

/// Some rows of one side with their ratings of a batch: row rows[r] has the ratings begin[r] .. begin[r + 1].
template <class T>
struct BatchRows {
  SideRows<T> own, other;
  bool of_users;
  bool once;  ///< whether a row's penalty counts once, and not once for each of its ratings
  std::int64_t active_factors, width, stride;  ///< as in SgdBlock
  const std::int32_t* rows;
  const std::int64_t* begin;
  std::int64_t n_rows;
  /// Of each rating, the other side's row, the value, and the weight (nullptr: all one). After the last rating there
  /// are kGroup - 1 more of each that may be read, of any row.
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

/// Weighted sums over the ratings of a run, each rating taken before its own step, and in a group
/// before the group's first step.
struct PassSums {
  double loss = 0;     ///< as LossTerms::reported
  double squares = 0;  ///< as LossTerms::square; with the squared loss the same number
};

template <class T>
struct Kernels {
  PassSums (*sgd)(const SgdBlock<T>&);  ///< one SGD pass over the run
  void (*predict_pairs)(const PairBatch<T>&);
  void (*score_rows)(const RowScores<T>&);
  PassSums (*batch_gradients)(const BatchRows<T>&);  ///< the gradients; sums only over the users' rows, else zeros
  void (*batch_steps)(const BatchRows<T>&);          ///< from the gradients
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
