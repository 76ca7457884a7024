// SPDX-License-Identifier: Apache-2.0
// The losses over validation ratings.
#pragma once

#include <cstdint>

#include "cpu/kernel_table.hpp"
#include "threads.hpp"
#include "warpfactor/types.hpp"

namespace warpfactor {

/// Validation ratings in z units, and the rows that they are of.
template <class T>
struct EvaluatedRatings {
  PairBatch<T> pairs;    ///< `out` is not used
  const float* values;   ///< of each pair
  const float* weights;  ///< nullptr: all 1
};

/// Sums of the weighted losses and squared errors; their bits do not depend on the team's size. `custom`: the loss, if
/// it is a custom one.
template <class T>
PassSums losses_of(const Kernels<T>& kernels, const EvaluatedRatings<T>& ratings, const LossShape<double>& shape,
                   LossFunction<T> custom, ThreadTeam& team);

}  // namespace warpfactor
