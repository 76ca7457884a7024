// SPDX-License-Identifier: Apache-2.0
// Training on ratings that other processes hold: the trainer decides, from what they tell of the ratings; a backend has
// them do the work.
#pragma once

#include <memory>
#include <span>

#include "backend.hpp"
#include "survey.hpp"
#include "warpfactor/train.hpp"

namespace warpfactor {

template <class T>
struct Elsewhere {
  Survey rated;  ///< of all ratings
  std::unique_ptr<Backend<T>> backend;
};

/// As train(). `sample`: the ratings of those users whom is_sampled() names, which is all that training looks at
/// itself; n_users and n_items are those of all ratings. A custom loss is scaled by the sample.
template <class T>
TrainResult<T> train_elsewhere(const RatingsView& sample, const TrainParams& params, const TrainOptions<T>& options,
                               Elsewhere<T> elsewhere);

/// Whether training on `counted` ratings looks at those of this user before the first epoch.
bool is_sampled(std::int32_t user, std::int64_t counted, std::uint64_t seed);

/// What one of several parts of the ratings tells. The parts of a fit are told of in a fixed order, so that their sums
/// have the same bits wherever they lie.
struct PartMoments {
  std::int64_t counted = 0;
  double weight = 0, mean = 0, deviation = 0;
  float low = 0, high = 0;
};
PartMoments joined(std::span<const PartMoments> parts);

}  // namespace warpfactor
