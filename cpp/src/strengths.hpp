// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "survey.hpp"
#include "warpfactor/train.hpp"

namespace warpfactor {

/// Strengths of the penalties on the factors, and how wide the factors start: what training chooses by trying.
struct Strengths {
  double reg, reg_row, reg_implicit, init_scale;
};

/// Where a search begins, and what is taken without one.
inline constexpr Strengths kUsualStrengths{0.04, 8, 2, 0.05};

/// Whether the parameters leave all of the strengths open.
bool leave_strengths_open(const TrainParams& params);

/// Climbs from kUsualStrengths by the RMSE (the loss, where training goes by that) on a tenth of the ratings, held out;
/// where they are few, on three tenths one after the other. `params` are resolved, but for the strengths. Of more than
/// kSearched ratings a random share of the users is taken, with all of their ratings. A step is taken if it is better
/// by more than kBetter: first reg_row down or up by factors of two, then weaker prior means and narrower factors at
/// the start, then more of reg and less of reg_row or the other way round; last, if factors do not help at all,
/// init_scale 0, which leaves the biases alone. The choice does not depend on the number of threads or the device.
template <class T>
Strengths choose_strengths(const RatingsView& ratings, const Survey& rated, const TrainParams& params,
                           const TrainOptions<T>& options);

}  // namespace warpfactor
