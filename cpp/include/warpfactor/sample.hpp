// SPDX-License-Identifier: Apache-2.0
// Bayesian matrix factorization: samples of the posterior by Gibbs sampling, and the mean of their predictions.
#pragma once

#include <array>
#include <functional>
#include <vector>

#include "warpfactor/memory.hpp"
#include "warpfactor/model.hpp"
#include "warpfactor/params.hpp"
#include "warpfactor/types.hpp"

namespace warpfactor {

/// Whether all ratings are equally noisy, or each row has a noise of its own.
enum class Noise {
  even,  ///< r ~ N(x, 1 / (alpha w)) for a rating of weight w
  rows,  ///< r ~ N(x, 1 / (alpha w a_u a_i)) with a_u, a_i ~ Gamma(10, rate 10), of mean 1
};

/// The largest rank of a model of samples.
inline constexpr std::int32_t kMostKeptFactors = 4096;

/// What a user may set. With z the standardized ratings and x = b_u + b_i + p_u.q_i the model is
///   z ~ N(x, .) as in Noise,  p_u ~ N(m_u, diag(1 / lambda)),  b_u ~ N(a_u, 1 / lambda_b)
/// and likewise for the items. Without who rated what m_u is the same for all users; with it (Koren 2008, SVD++)
///   m_u = m + n_u^(-1/2) sum of y_j over the n_u items that the user rated,  y_j ~ N(0, diag(1 / rho))
/// and a_u likewise from one number more per item. m, a, lambda, rho and alpha are sampled too (Salakhutdinov and Mnih
/// 2008), with vague normal and gamma priors.
struct SampleParams {
  std::int32_t n_factors = 32;
  std::int32_t n_burn_in = 40;   ///< sweeps over all parameters before the first sample
  std::int32_t n_samples = 240;  ///< sweeps after them, each a sample
  /// Samples that the model is made of, evenly spaced, the last one included: its rank is n_kept times n_factors. 0:
  /// 64, or fewer where they would take a rank above 2048.
  std::int32_t n_kept = 0;
  Noise noise = Noise::rows;
  ImplicitFeedback implicit_feedback = ImplicitFeedback::automatic;  ///< automatic: both
  std::int32_t n_threads = 0;                                        ///< 0: available_threads()
  std::uint64_t seed = 0;
};

constexpr auto names(Noise) { return std::array{Named{Noise::even, "even"}, Named{Noise::rows, "rows"}}; }
/// Throws std::invalid_argument where sample() would, whatever the ratings.
void check_params(const SampleParams& params);
/// The samples that SampleParams::n_kept stands for.
std::int32_t kept_samples(const SampleParams& params);

/// What a caller may give beside the ratings; every part is optional.
struct SampleOptions {
  RatingsView validation{};                            ///< as TrainOptions::validation
  RatingsView implicit{};                              ///< as TrainOptions::implicit
  std::function<bool(const EpochReport&)> on_sweep{};  ///< after each sweep, calling thread; true stops the sampling
  std::function<bool()> interrupted{};  ///< polled on the calling thread every 50 ms; true throws Interrupted
};

template <class T>
struct SampleResult {
  /// Predicts the mean of the kept samples' predictions: sample s is factors s * k .. (s + 1) * k - 1, scaled by the
  /// root of n_kept, and the biases are averaged. In each sample the means over all rows with ratings are moved into
  /// the biases and the global mean, so that a row without ratings, whose factors and bias are zero, is predicted as
  /// the mean row.
  Model<T> model;
  std::int32_t n_kept = 0;
  /// By row and kept sample: what the sample's bias is above the model's; of the users with what its global mean is
  /// above the model's.
  std::vector<T> user_bias_offsets, item_bias_offsets;
  /// Mean over the kept samples of 1 / alpha, in squared rating units, and of each row's 1 / a; with Noise::even the
  /// latter are empty. The noise's variance of a rating (u, i) of mean weight is about their product.
  double noise_variance = 0;
  std::vector<T> user_noise, item_noise;
  /// A report for each sweep, the burn-in included. RMSEs are those of the sample during the burn-in, and of the mean
  /// of the samples so far after it. There is no learning rate: NaN.
  std::vector<EpochReport> history;
  std::int32_t n_threads = 1;
  std::string instruction_set;
};

/// Samples the model above by Gibbs sampling, row by row and in a row coordinate by coordinate. All rows of a side are
/// drawn side by side. The bits of the result do not depend on the number of threads. Weights are scaled to a mean of
/// 1; ratings of weight 0 are left out. Defined for T = float and double.
/// Throws std::invalid_argument (bad input, names the argument), DivergedError, Interrupted, std::bad_alloc.
template <class T>
SampleResult<T> sample(const RatingsView& ratings, const SampleParams& params, const SampleOptions& options = {});

/// What sample<T>() takes, as fit_memory().
template <class T>
FitMemory sample_memory(const RatingCounts& counts, const SampleParams& params, MemoryBound bound = MemoryBound::most);

/// Changes of one parameter, in Python's words, with which it would take no more than so many bytes, as smaller_fits().
template <class T>
std::vector<MemoryPart> smaller_samples(const RatingCounts& counts, const SampleParams& params, std::int64_t bytes,
                                        MemoryBound bound = MemoryBound::most);

}  // namespace warpfactor
