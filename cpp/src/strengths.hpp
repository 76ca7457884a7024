// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "memory_plan.hpp"
#include "survey.hpp"
#include "threads.hpp"
#include "warpfactor/train.hpp"

namespace warpfactor {

/// What training chooses by trying: strengths of the penalties on the factors, and how the factors start and move.
struct Strengths {
  double reg, reg_row, reg_implicit, init_scale;
  std::int32_t n_epochs = 0;  ///< 0: as without a choice
  double learning_rate = 0;   ///< likewise
  bool per_row = true;        ///< false: nothing counts per row, and there are no prior means
};

/// Where a search begins, and what is taken without one.
inline constexpr Strengths kUsualStrengths{0.04, 8, 2, 0.05};

/// The biases' penalty per rating where nothing counts per row.
inline constexpr double kBiasesPerRating = 0.05;

/// Whether the parameters leave all of the strengths open.
bool leave_strengths_open(const TrainParams& params);

/// Whether a search among `counted` ratings may look at those of this user.
bool is_searched(std::int32_t user, std::int64_t counted, std::uint64_t seed);

/// The parameters with what `strengths` say, where `given` leaves it open.
TrainParams with_strengths(TrainParams params, const Strengths& strengths, const TrainParams& given);

/// Climbs by the RMSE (the loss, where training goes by that) on a tenth of the ratings, held out, as a mean over
/// `n_divisions` such divisions; over at least three where ratings are few. `params` are `given` with all but the
/// strengths resolved. Of more than
/// kSearched ratings a random share of the users is taken, with all of their ratings.
///
/// It begins at the best of kUsualStrengths and of two sets for ratings whose choice says little of taste, with prior
/// means near zero and factors that start narrow: one for a weak signal, one for a strong one. Each step is taken if it
/// is better by more than kBetter: reg_row down by factors of two, or up; more of reg and less of reg_row, or the other
/// way round; from the set for a strong signal half the learning rate, and no penalties per row at all. Last, if
/// factors do not help, init_scale 0 leaves the biases alone. For other steps than plain SGD's it climbs by those, and
/// then compares what it found with kUsualStrengths by the model's own steps. The choice does not depend on the number
/// of threads or the device.
template <class T>
Strengths choose_strengths(const RatingSource& ratings, const Survey& rated, const TrainParams& given,
                           const TrainParams& params, const TrainOptions<T>& options, int n_divisions,
                           ThreadTeam& team);

/// Tells what choose_strengths() takes; nothing of it stays.
template <class T>
void plan_search(MemoryPlan& plan, const RatingCounts& counts, const TrainParams& given);

}  // namespace warpfactor
