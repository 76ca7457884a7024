// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "warpfactor/types.hpp"

namespace warpfactor {

/// The known entries of a matrix D, as borrowed COO triples: values[n] is at (rows[n], columns[n]).
template <class T>
struct EntriesView {
  std::span<const std::int32_t> rows;     ///< 0 .. n_rows - 1
  std::span<const std::int32_t> columns;  ///< 0 .. n_columns - 1
  std::span<const T> values;              ///< finite
  std::int32_t n_rows = 0;
  std::int32_t n_columns = 0;
};

/// Full-batch gradient descent on D ~ P Q over the known entries: `n_steps` steps of size `alpha` on
///   sum_n (d_n - p_n . q_n)^2 + beta / 2 * (|P|^2 + |Q|^2),
/// both gradients of a step taken at the same P and Q. P is n_rows x n_factors, row-major; Q_transposed is n_columns x
/// n_factors. Both are changed in place, unless this throws. The result's bits do not depend on the number of threads.
/// Defined for T = float and double.
/// Throws std::invalid_argument, DivergedError (with the step for the epoch), Interrupted, std::bad_alloc.
template <class T>
void descend(const EntriesView<T>& entries, std::span<T> P, std::span<T> Q_transposed, std::int32_t n_factors,
             std::int64_t n_steps, double alpha, double beta, std::int32_t n_threads = 0,
             const std::function<bool()>& interrupted = {});

}  // namespace warpfactor
