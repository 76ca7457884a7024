// SPDX-License-Identifier: Apache-2.0
#include "standardize.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "optimizer.hpp"
#include "require.hpp"
#include "update_rule.hpp"

namespace warpfactor {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// A model that predicts nothing but the mean has an RMSE of one standard deviation.
constexpr double kDivergedDeviations = 10;

// Without biases the factors must carry the mean too: beyond this many standard deviations it, not the deviation, sets
// the scale, or the first steps would be too long.
constexpr double kMostDeviations = 5;

// Gradient clipping: beyond this many standard deviations an error lengthens a step no further. One mistyped rating of
// 55 among ones to fives is enough to send unclipped factors to infinity. Likewise beyond this multiple of the error
// that a score of 0 makes with labels.
constexpr double kClippedDeviations = 5;

// poisson's slope 1 - r / x has no limit near x = 0; below this share of the mean rating it grows no further.
constexpr double kPoissonFloor = 1e-6;

struct Labels {
  bool minus = false, zero = false;
};

/// Finds out which labels there are, and refuses anything else. `known` are those of the training ratings.
Labels labels_of(const RatingSource& ratings, const char* argument, Loss loss, const Labels* known) {
  Labels labels = known != nullptr ? *known : Labels{};
  ratings.for_each_part([&](const RatingsView& part, std::int64_t first) {
    for (std::size_t r = 0; r < part.values.size(); ++r) {
      const float value = part.values[r];
      if (value == 1) continue;
      const bool minus = value == -1, zero = value == 0;
      const bool other_pair = (minus && labels.zero) || (zero && labels.minus);
      if ((!minus && !zero) || other_pair) {
        reject(element(std::string(argument) + ".values", first + static_cast<std::int64_t>(r)), value,
               std::string("a label with the ") + traits_of(loss).name + " loss, all of them -1 or 1, or all 0 or 1" +
                   (other_pair ? (minus ? " (there is a 0 before)" : " (there is a -1 before)") : "") +
                   ": map the ratings to labels, or use another loss");
      }
      labels.minus |= minus;
      labels.zero |= zero;
    }
  });
  return labels;
}

void require_counts(const RatingSource& ratings, const char* argument, Loss loss) {
  ratings.for_each_part([&](const RatingsView& part, std::int64_t first) {
    const auto bad = std::find_if(part.values.begin(), part.values.end(), [](float value) { return value < 0; });
    if (bad != part.values.end()) {
      reject(element(std::string(argument) + ".values", first + (bad - part.values.begin())), *bad,
             std::string("at least 0 with the ") + traits_of(loss).name + " loss: drop it, or use another loss");
    }
  });
}

}  // namespace

double Standardization::mean_error(double mean_loss, double mean_square) const {
  switch (traits_of(loss.loss).measure) {
    case LossMeasure::loss: return mean_loss;
    case LossMeasure::root_loss: return std::sqrt(2 * mean_loss);
    case LossMeasure::rmse: break;
  }
  return std::sqrt(mean_square);
}

void Standardization::centre(double mean) {
  global_mean = mean;
  if (loss.loss == Loss::custom) {
    loss.answer_shift = start_score = mean;
  } else {
    shift = mean;
  }
}

Standardization standardize(const RatingSource& ratings, const Survey& rated, const RatingsView& validation,
                            const TrainParams& params, double learning_rate, bool given) {
  Standardization z;
  z.weight_scale = static_cast<double>(rated.counted) / rated.weight;
  z.loss.loss = params.loss;
  z.loss.delta = params.huber_delta;
  const LossTraits& traits = traits_of(params.loss);
  const bool nonnegative = is_nonnegative(params);
  z.lowest = nonnegative ? 0 : -kInfinity;
  const double k = params.n_factors, init = *params.init_scale;
  double usual_error = 1;
  // Root mean square of the predictions that random factors start with; with a common sign the products add up.
  double start = nonnegative ? init * init * k : init * init * std::sqrt(k);

  z.link = traits.link;
  switch (traits.units) {
    case LossUnits::labels: {
      const Labels labels = labels_of(ratings, "ratings", params.loss, nullptr);
      labels_of(validation, "validation", params.loss, &labels);
      if (rated.deviation == 0) {
        reject("ratings are all " + text(rated.mean) + "; they must have both labels with the " + traits.name +
               " loss");
      }
      if (labels.zero) {
        z.shift = z.scale = 0.5;
        if (z.link == Link::identity) {  // whose prediction, the score, is compared with the 0 or 1 as given
          z.loss.answer_scale = 2;
          z.loss.answer_shift = -1;
        }
      }
      if (z.link == Link::probability) {
        const double share = labels.zero ? rated.mean : (rated.mean + 1) / 2;
        z.global_mean = z.loss.offset = params.biases ? std::log(share / (1 - share)) : 0.0;
        if (!labels.zero) z.link = Link::signed_probability;
      }
      usual_error = std::max(1.0, std::abs(z.loss.offset));
      z.max_slope = given ? kInfinity : kClippedDeviations * std::max(usual_error, start);
      break;
    }
    case LossUnits::counts: {
      require_counts(ratings, "ratings", params.loss);
      require_counts(validation, "validation", params.loss);
      if (params.normalize && rated.mean > 0) z.scale = rated.mean;
      z.model_scale = z.scale;
      const double mean = rated.mean / z.scale, deviation = rated.deviation / z.scale;
      z.loss.floor = kPoissonFloor * (mean > 0 ? mean : 1);
      if (params.biases) {
        z.start_bias = mean / 2;
      } else {
        z.start_factor = std::sqrt(mean / k);
      }
      start += z.start_factor * z.start_factor * k;
      usual_error = std::hypot(deviation, mean);
      z.max_slope = kClippedDeviations * (mean > 0 ? std::max(1.0, deviation / mean) : 1);
      break;
    }
    case LossUnits::scores: {
      z.shift = z.global_mean = params.biases && !nonnegative ? rated.mean : 0.0;
      const double size = std::hypot(rated.deviation, rated.mean - z.shift);
      if (params.normalize && size > 0) z.scale = std::max(rated.deviation, size / kMostDeviations);
      z.model_scale = z.scale;
      if (params.biases && nonnegative) z.start_bias = std::max(rated.mean, 0.0) / 2 / z.scale;
      usual_error = size / z.scale;
      // Without biases the first errors are as large as the mean.
      const double widest =
          std::max({kClippedDeviations * rated.deviation, 2 * size, kClippedDeviations * start * z.scale});
      z.max_slope = given ? kInfinity : widest / z.scale;
      if (params.loss == Loss::custom) {
        // It sees ratings and predictions as the caller knows them; only the model is in z units.
        z.start_score = params.biases && !nonnegative ? rated.mean : nonnegative ? std::max(rated.mean, 0.0) : 0.0;
        if (nonnegative && !params.biases && !given) z.start_factor = std::sqrt(z.start_score / z.scale / k);
        if (given && !params.biases) z.start_score = 0;  // the factors that are given come to it
        z.loss.answer_scale = z.scale;
        z.loss.answer_shift = z.shift;
        z.shift = 0;
        z.scale = 1;
      }
      break;
    }
  }
  if (traits.bounded) z.max_slope = kInfinity;
  for (int n = 0; n < traits.degree; ++n) z.loss_scale *= z.model_scale;
  // Adam's steps, and those of the absolute loss, are about as long as the rate, however small the errors are.
  const double stepped = init + learning_rate, jolt = 2 * learning_rate + stepped * stepped * std::sqrt(k);
  z.furthest_error = params.loss == Loss::custom
                         ? std::numeric_limits<double>::max()  // nothing is known about its size
                         : kDivergedDeviations * std::max({usual_error, start, jolt});
  return z;
}

LossTerm loss_term(Loss loss, double rating, double score, double huber_delta) {
  if (loss == Loss::custom || name_of(loss) == nullptr) {
    reject("loss", static_cast<int>(loss), "one of the enum, and not custom");
  }
  LossShape<double> shape;
  shape.loss = loss;
  shape.delta = huber_delta;
  shape.floor = kPoissonFloor;
  const rule::LossTerms<double> terms = rule::loss_terms(rating, score, shape);
  return {loss == Loss::squared ? terms.reported / 2 : terms.reported, terms.slope};
}

}  // namespace warpfactor
