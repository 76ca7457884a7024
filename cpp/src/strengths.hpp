// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "survey.hpp"
#include "warpfactor/train.hpp"

namespace warpfactor {

/// Strengths of the penalties on the factors. Training tries several on held-out ratings and takes the best.
struct Strengths {
  double reg, reg_row, reg_implicit;
  bool biases_alone = false;  ///< the factors stay zero
};

/// Where a search begins, and what is taken without one.
inline constexpr Strengths kUsualStrengths{0.04, 8, 2};

/// Whether the parameters leave the strengths open: reg, reg_row and reg_implicit, all of them.
bool leave_strengths_open(const TrainParams& params);

/// Climbs from kUsualStrengths by the RMSE (the loss, where training goes by that) on ratings held out. `params` are
/// resolved, but for the strengths. The choice does not depend on the number of threads or the device.
///
/// Of more than kSearched ratings a random share of the users is taken, with all of their ratings. A tenth of the
/// ratings is held out; where they are few, three times another tenth. Fits have few factors. A step is taken if it is
/// better by more than kBetter: first reg_row down or up by factors of two, then weaker prior means, then more of reg
/// and less of reg_row or the other way round; last, if factors do not help at all, the biases alone.
template <class T>
Strengths choose_strengths(const RatingsView& ratings, const Survey& rated, const TrainParams& params,
                           const TrainOptions<T>& options);

}  // namespace warpfactor
