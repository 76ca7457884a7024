// SPDX-License-Identifier: Apache-2.0
#include "standardize.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "text.hpp"
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

[[noreturn]] void reject(const std::string& what) { throw std::invalid_argument(what); }

struct Labels {
  bool minus = false, zero = false;
};

/// Finds out which labels there are, and refuses anything else. `known` are those of the training ratings.
Labels labels_of(const RatingsView& ratings, const char* argument, Loss loss, const Labels* known) {
  Labels labels = known != nullptr ? *known : Labels{};
  for (std::size_t r = 0; r < ratings.values.size(); ++r) {
    const float value = ratings.values[r];
    if (value == 1) continue;
    const bool minus = value == -1, zero = value == 0;
    const bool other_pair = (minus && labels.zero) || (zero && labels.minus);
    if ((!minus && !zero) || other_pair) {
      reject(std::string(argument) + ".values[" + text(r) + "] is " + text(value) + "; the " + name_of(loss) +
             " loss takes labels, all of them -1 or 1, or all 0 or 1" +
             (other_pair ? std::string(minus ? ", and there is a 0 before" : ", and there is a -1 before") : "") +
             ": map the ratings to labels, or use another loss");
    }
    labels.minus |= minus;
    labels.zero |= zero;
  }
  return labels;
}

void require_counts(const RatingsView& ratings, const char* argument) {
  const auto bad = std::find_if(ratings.values.begin(), ratings.values.end(), [](float value) { return value < 0; });
  if (bad != ratings.values.end()) {
    reject(std::string(argument) + ".values[" + text(bad - ratings.values.begin()) + "] is " + text(*bad) +
           "; the poisson loss takes ratings of at least 0: drop it, or use another loss");
  }
}

}  // namespace

const char* name_of(Loss loss) {
  switch (loss) {
    case Loss::squared: return "squared";
    case Loss::absolute: return "absolute";
    case Loss::huber: return "huber";
    case Loss::logistic: return "logistic";
    case Loss::squared_hinge: return "squared_hinge";
    case Loss::poisson: return "poisson";
    case Loss::custom: return "custom";
  }
  reject("loss has an unknown value");
}

double Standardization::mean_error(double mean_loss, double mean_square) const {
  switch (loss.loss) {
    case Loss::logistic:
    case Loss::custom:
    case Loss::poisson: return mean_loss;
    case Loss::squared_hinge: return std::sqrt(2 * mean_loss);
    default: return std::sqrt(mean_square);
  }
}

Standardization standardize(const RatingsView& ratings, const Survey& rated, const RatingsView& validation,
                            const TrainParams& params, double learning_rate, bool given) {
  Standardization z;
  z.weight_scale = static_cast<double>(rated.counted) / rated.weight;
  z.loss.loss = params.loss;
  z.loss.delta = params.huber_delta;
  const bool nonnegative = params.nonnegative || params.loss == Loss::poisson;
  z.lowest = nonnegative ? 0 : -kInfinity;
  const double k = params.n_factors, init = params.init_scale;
  double usual_error = 1;
  // Root mean square of the predictions that random factors start with; with a common sign the products add up.
  double start = nonnegative ? init * init * k : init * init * std::sqrt(k);

  switch (params.loss) {
    case Loss::logistic:
    case Loss::squared_hinge: {
      const Labels labels = labels_of(ratings, "ratings", params.loss, nullptr);
      labels_of(validation, "validation", params.loss, &labels);
      if (rated.deviation == 0) {
        reject("ratings are all " + text(rated.mean) + "; the " + name_of(params.loss) +
               " loss needs ratings of both labels");
      }
      if (labels.zero) {
        z.shift = z.scale = 0.5;
        if (params.loss == Loss::squared_hinge) {  // whose prediction, the score, is compared with the 0 or 1 as given
          z.loss.answer_scale = 2;
          z.loss.answer_shift = -1;
        }
      }
      if (params.loss == Loss::logistic) {
        const double share = labels.zero ? rated.mean : (rated.mean + 1) / 2;
        z.global_mean = z.loss.offset = params.biases ? std::log(share / (1 - share)) : 0.0;
        z.link = labels.zero ? Link::probability : Link::signed_probability;
      }
      usual_error = std::max(1.0, std::abs(z.loss.offset));
      z.max_slope = given ? kInfinity : kClippedDeviations * std::max(usual_error, start);
      break;
    }
    case Loss::poisson: {
      require_counts(ratings, "ratings");
      require_counts(validation, "validation");
      if (params.normalize && rated.mean > 0) z.scale = rated.mean;
      z.model_scale = z.loss_scale = z.scale;
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
    case Loss::squared:
    case Loss::absolute:
    case Loss::huber:
    case Loss::custom: {
      z.shift = z.global_mean = params.biases && !nonnegative ? rated.mean : 0.0;
      const double size = std::hypot(rated.deviation, rated.mean - z.shift);
      if (params.normalize && size > 0) z.scale = std::max(rated.deviation, size / kMostDeviations);
      z.model_scale = z.scale;
      z.loss_scale = params.loss == Loss::absolute ? z.scale : z.scale * z.scale;
      if (params.biases && nonnegative) z.start_bias = std::max(rated.mean, 0.0) / 2 / z.scale;
      usual_error = size / z.scale;
      // Without biases the first errors are as large as the mean.
      const double widest =
          std::max({kClippedDeviations * rated.deviation, 2 * size, kClippedDeviations * start * z.scale});
      z.max_slope = given || params.loss == Loss::absolute ? kInfinity : widest / z.scale;
      if (params.loss == Loss::custom) {
        // It sees ratings and predictions as the caller knows them; only the model is in z units.
        z.start_score = params.biases && !nonnegative ? rated.mean : nonnegative ? std::max(rated.mean, 0.0) : 0.0;
        if (nonnegative && !params.biases && !given) z.start_factor = std::sqrt(z.start_score / z.scale / k);
        if (given && !params.biases) z.start_score = 0;  // the factors that are given come to it
        z.loss.answer_scale = z.scale;
        z.loss.answer_shift = z.shift;
        z.shift = 0;
        z.scale = z.loss_scale = 1;
      }
      break;
    }
  }
  // Adam's steps, and those of the absolute loss, are about as long as the rate, however small the errors are.
  const double stepped = init + learning_rate, jolt = 2 * learning_rate + stepped * stepped * std::sqrt(k);
  z.furthest_error = params.loss == Loss::custom
                         ? std::numeric_limits<double>::max()  // nothing is known about its size
                         : kDivergedDeviations * std::max({usual_error, start, jolt});
  return z;
}

LossTerm loss_term(Loss loss, double rating, double score, double huber_delta) {
  LossShape<double> shape;
  shape.loss = loss;
  shape.delta = huber_delta;
  shape.floor = kPoissonFloor;
  const rule::LossTerms<double> terms = rule::loss_terms(rating, score, shape);
  return {loss == Loss::squared ? terms.reported / 2 : terms.reported, terms.slope};
}

}  // namespace warpfactor
