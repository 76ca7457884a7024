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

/// Ratings are updated this many at a time where they share no row: their dot products do not wait for each other's
/// steps, and one row of vector lanes computes all their slopes. 8 took 1.1 (k = 32) and 1.2 (k = 64, 128) times as
/// many ratings a second as 4, and 16 fewer again (fewer such groups can be formed).
inline constexpr std::int64_t kGroup = 8;

/// A run of ratings of one block, and the rows of that block. The padding lanes of the factors are zero and stay zero.
template <class T>
struct SgdBlock {
  T* user_factors;  ///< the block's first user row, aligned to kRowAlignment
  T* item_factors;
  T* user_biases;  ///< nullptr in a model without biases
  T* item_biases;
  T* user_squares;  ///< adagrad's accumulators, one per row; nullptr: plain SGD
  T* item_squares;
  std::int64_t stride;  ///< padded_stride(n_factors)
  const Rating* ratings;
  const float* weights;  ///< nullptr: all one
  std::int64_t n_ratings;
  std::int64_t n_grouped;  ///< the first of them, a multiple of kGroup, are in groups that share no row inside a group
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

/// errors[n] = values[n] - own . rows[indices[n]]; padded rows, aligned to kRowAlignment.
template <class T>
struct RowErrors {
  const T* own;
  const T* rows;
  const std::int32_t* indices;
  const T* values;
  std::int64_t stride;
  std::int64_t n;
  T* errors;
};

/// sum = factors[0] * rows[indices[0]] + .. + factors[n - 1] * rows[indices[n - 1]], in that order; padded rows.
template <class T>
struct RowSum {
  const T* rows;
  const std::int32_t* indices;
  const T* factors;
  std::int64_t stride;
  std::int64_t n;
  T* sum;
};

/// Weighted sums over the ratings of a run, each rating taken just before its own step.
struct PassSums {
  double loss = 0;     ///< as LossTerms::reported
  double squares = 0;  ///< as LossTerms::square; with the squared loss the same number
};

template <class T>
struct Kernels {
  PassSums (*sgd)(const SgdBlock<T>&);  ///< one SGD pass over the run
  void (*predict_pairs)(const PairBatch<T>&);
  void (*score_rows)(const RowScores<T>&);
  double (*row_errors)(const RowErrors<T>&);  ///< returns the sum of the squared errors
  void (*row_sum)(const RowSum<T>&);
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
