// SPDX-License-Identifier: Apache-2.0
// Bayesian matrix factorization: the draws, each conditional distribution, and what the samples are folded into.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>
#include <numeric>
#include <vector>

#include "bayes/draws.hpp"
#include "buffer.hpp"
#include "check.hpp"
#include "cpu/kernel_table.hpp"
#include "synthetic.hpp"
#include "warpfactor/sample.hpp"

namespace {

using namespace warpfactor;
using synthetic::Data;
using synthetic::same_bits;

/// Mean and standard error of the mean of numbers that depend on their neighbours: by means of batches so long that
/// these hardly do.
struct Estimate {
  double mean, error;

  explicit Estimate(const std::vector<double>& numbers) : mean(0), error(0) {
    constexpr std::size_t kBatches = 50;
    const std::size_t length = numbers.size() / kBatches;
    std::array<double, kBatches> means{};
    for (std::size_t b = 0; b < kBatches; ++b) {
      const auto from = numbers.begin() + static_cast<std::ptrdiff_t>(b * length);
      means[b] = std::accumulate(from, from + static_cast<std::ptrdiff_t>(length), 0.0) / static_cast<double>(length);
      mean += means[b] / kBatches;
    }
    for (const double each : means) error += (each - mean) * (each - mean);
    error = std::sqrt(error / (kBatches - 1) / kBatches);
  }
};

/// Of some hundred comparisons in all, one is off by more with a chance below 10^-4 (of the t distribution with 49
/// degrees of freedom); the seeds are fixed.
constexpr double kErrors = 6;

TEST(normal_numbers_are_normal) {
  Draws draws(SplitMix64(3, 1, 4));
  constexpr int n = 1000000;
  std::vector<double> numbers(n);
  draws.normals(numbers.data(), n);
  std::sort(numbers.begin(), numbers.end());
  double furthest = 0;
  for (int at = 0; at < n; ++at) {
    const double below = 0.5 * std::erfc(-numbers[static_cast<std::size_t>(at)] / std::sqrt(2.0));
    furthest = std::max(
        {furthest, std::abs(below - static_cast<double>(at) / n), std::abs(below - static_cast<double>(at + 1) / n)});
  }
  // Kolmogorov-Smirnov: P(sqrt(n) D > x) is about 2 exp(-2 x^2), here 1e-6.
  CHECK(furthest < std::sqrt(std::log(2e6) / 2 / n));
  const auto beyond = [&](double x) {
    return static_cast<double>(
        std::count_if(numbers.begin(), numbers.end(), [x](double z) { return std::abs(z) > x; }));
  };
  for (const double x : {2.0, 3.0, 3.442619855899, 4.0}) {  // the wedges and the tail, where D sees little
    const double expected = n * std::erfc(x / std::sqrt(2.0));
    CHECK_CLOSE(beyond(x), expected, 5 * std::sqrt(expected));
  }
}

TEST(gamma_numbers_have_the_moments_of_their_shape) {
  for (const double shape : {1.0, 1.5, 10.0, 5000.0}) {
    Draws draws(SplitMix64(5, 2, static_cast<std::uint64_t>(shape)));
    constexpr int n = 200000;
    double sum = 0, squares = 0;
    for (int at = 0; at < n; ++at) {
      const double x = draws.gamma(shape) - shape;
      sum += x;
      squares += x * x;
    }
    // Variance a; the square's, of a gamma number, 2 a^2 + 6 a.
    CHECK_CLOSE(sum / n, 0, 5 * std::sqrt(shape / n));
    CHECK_CLOSE(squares / n, shape, 5 * std::sqrt((2 * shape * shape + 6 * shape) / n));
  }
}

/// A row's ratings of some rows of the other side, with a prior. The rows have noise precisions and the ratings
/// weights.
template <class T>
struct RowProblem {
  std::int64_t k, n, stride = padded_stride<T>(k), columns_at_once;
  std::int32_t n_others = 40;
  Buffer<T> others{n_others * stride}, factors{stride}, precisions{stride}, normals{stride + 1}, columns, errors, roots,
      numbers{3 * stride};
  std::vector<T> biases, other_roots, values, means;
  std::vector<std::int32_t> rated;
  std::vector<float> weights;
  T bias = T(0);
  RowDraw<T> draw{};

  RowProblem(std::int64_t k_, std::int64_t n_, std::int64_t at_once) : k(k_), n(n_), columns_at_once(at_once) {
    SplitMix64 random(29, 1, static_cast<std::uint64_t>(k * 1000 + n));
    const auto number = [&] { return static_cast<T>(synthetic::noise(random)); };
    std::fill_n(others.data(), others.size(), T(0));
    std::fill_n(factors.data(), stride, T(0));
    for (std::int32_t i = 0; i < n_others; ++i) {
      for (std::int64_t f = 0; f < k; ++f) others[i * stride + f] = number();
      biases.push_back(number());
      other_roots.push_back(T(0.5) + static_cast<T>(random.below(100)) / T(100));
    }
    for (std::int64_t j = 0; j < n; ++j) {
      rated.push_back(static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(n_others))));
      values.push_back(number());
      weights.push_back(0.25F + static_cast<float>(random.below(100)) / 50);
    }
    rated.resize(static_cast<std::size_t>(n) + 8, 0);
    for (std::int64_t f = 0; f < stride; ++f) precisions[f] = T(1) + static_cast<T>(f % 5);
    for (std::int64_t f = 0; f < k; ++f) means.push_back(number());
    const std::int64_t column_stride = (n + 15) / 16 * 16;
    columns = Buffer<T>(columns_at_once * column_stride);
    errors = Buffer<T>(column_stride);
    roots = Buffer<T>(column_stride);
    draw = {others.data(),
            biases.data(),
            other_roots.data(),
            k,
            stride,
            rated.data(),
            values.data(),
            weights.data(),
            n,
            factors.data(),
            &bias,
            means.data(),
            precisions.data(),
            T(0.5),
            T(3),
            T(1.75),
            normals.data(),
            columns_at_once,
            column_stride,
            columns.data(),
            errors.data(),
            roots.data(),
            numbers.data()};
  }

  /// The posterior of (p, b) is N(A^-1 h, A^-1): A, row by row, and h, in double.
  void posterior(std::vector<double>& A, std::vector<double>& h) const {
    const auto size = static_cast<std::size_t>(k) + 1;
    A.assign(size * size, 0);
    h.assign(size, 0);
    for (std::size_t f = 0; f < size; ++f) {
      const bool of_bias = f + 1 == size;
      A[f * size + f] = of_bias ? 3.0 : static_cast<double>(precisions[static_cast<std::int64_t>(f)]);
      h[f] = A[f * size + f] * (of_bias ? 0.5 : static_cast<double>(means[f]));
    }
    for (std::size_t j = 0; j < static_cast<std::size_t>(n); ++j) {
      const auto i = static_cast<std::size_t>(rated[j]);
      const double root = static_cast<double>(other_roots[i]);
      const double precision = 1.75 * root * root * static_cast<double>(weights[j]);
      std::vector<double> x(size, 1);
      for (std::size_t f = 0; f + 1 < size; ++f) {
        x[f] = static_cast<double>(others[static_cast<std::int64_t>(i) * stride + static_cast<std::int64_t>(f)]);
      }
      for (std::size_t f = 0; f < size; ++f) {
        for (std::size_t g = 0; g < size; ++g) A[f * size + g] += precision * x[f] * x[g];
        h[f] += precision * x[f] * (static_cast<double>(values[j]) - static_cast<double>(biases[i]));
      }
    }
  }
};

/// Gauss elimination of A x = h; A is positive definite.
std::vector<double> solved(std::vector<double> A, std::vector<double> h) {
  const std::size_t size = h.size();
  for (std::size_t p = 0; p < size; ++p) {
    for (std::size_t row = p + 1; row < size; ++row) {
      const double by = A[row * size + p] / A[p * size + p];
      for (std::size_t c = p; c < size; ++c) A[row * size + c] -= by * A[p * size + c];
      h[row] -= by * h[p];
    }
  }
  for (std::size_t p = size; p-- > 0;) {
    for (std::size_t c = p + 1; c < size; ++c) h[p] -= A[p * size + c] * h[c];
    h[p] /= A[p * size + p];
  }
  return h;
}

template <class T>
void check_row_mean(double tolerance) {
  for (const std::int64_t k : {1, 7, 16, 37}) {
    for (const std::int64_t n : {1, 5, 16, 33, 200}) {
      for (const bool few_columns : {false, true}) {
        if (!check::takes_case()) continue;
        check::context = "k = " + std::to_string(k) + ", n = " + std::to_string(n);
        const std::int64_t line = padded_stride<T>(1);
        RowProblem<T> problem(k, n, few_columns ? line : padded_stride<T>(k));
        std::fill_n(problem.normals.data(), problem.normals.size(), T(0));
        T squares = 0;
        const Kernels<T>& kernels = kernel_table().kernels<T>();
        for (int sweep = 0; sweep < 4000; ++sweep) squares = kernels.draw_row(problem.draw);
        std::vector<double> A, h;
        problem.posterior(A, h);
        const std::vector<double> mean = solved(A, h);
        for (std::size_t f = 0; f + 1 < mean.size(); ++f) {
          CHECK_CLOSE(problem.factors[static_cast<std::int64_t>(f)], mean[f], tolerance);
        }
        CHECK_CLOSE(problem.bias, mean.back(), tolerance);
        double expected = 0;
        for (std::size_t j = 0; j < static_cast<std::size_t>(n); ++j) {
          const std::int64_t i = problem.rated[j];
          double error = static_cast<double>(problem.values[j]) -
                         static_cast<double>(problem.biases[static_cast<std::size_t>(i)]) - mean.back();
          for (std::size_t f = 0; f + 1 < mean.size(); ++f) {
            error -= mean[f] * static_cast<double>(problem.others[i * problem.stride + static_cast<std::int64_t>(f)]);
          }
          const double root = static_cast<double>(problem.other_roots[static_cast<std::size_t>(i)]);
          const double weight = root * root * static_cast<double>(problem.weights[j]);
          expected += weight * error * error;
          // The root of a weight is at most 2, and an error's own tolerance that of k + 1 numbers times q's, below 4.
          CHECK_CLOSE(problem.errors[static_cast<std::int64_t>(j)], std::sqrt(weight) * error,
                      8 * static_cast<double>(k + 1) * tolerance);
        }
        CHECK_CLOSE(squares, expected, 100 * static_cast<double>(n + k) * tolerance);
      }
    }
  }
  check::context.clear();
}

// Without noise the sweeps are those of Gauss and Seidel, which end at the mean of the posterior. Rounding: a sum of
// 200 terms of order 1 is off by about 15 eps, and A's condition number is below 100.
TEST(a_row_is_drawn_about_the_mean_of_its_posterior) {
  check_row_mean<double>(1500 * std::numeric_limits<double>::epsilon());
  check_row_mean<float>(1500 * static_cast<double>(std::numeric_limits<float>::epsilon()));
}

TEST(a_row_is_drawn_with_the_covariance_of_its_posterior) {
  constexpr int kDraws = 100000;
  RowProblem<double> problem(3, 6, padded_stride<double>(3));
  std::vector<double> A, h;
  problem.posterior(A, h);
  const std::vector<double> mean = solved(A, h);
  const std::size_t size = mean.size();
  std::vector<std::vector<double>> products(size * size, std::vector<double>(kDraws));
  std::vector<std::vector<double>> numbers(size, std::vector<double>(kDraws));
  Draws draws(SplitMix64(8, 1, 1));
  for (std::size_t n = 0; n < kDraws; ++n) {
    draws.normals(problem.normals.data(), problem.normals.size());
    kernel_table().f64.draw_row(problem.draw);
    for (std::size_t f = 0; f < size; ++f) {
      numbers[f][n] = f + 1 == size ? problem.bias : problem.factors[static_cast<std::int64_t>(f)];
    }
    for (std::size_t f = 0; f < size; ++f) {
      for (std::size_t g = 0; g < size; ++g) {
        products[f * size + g][n] = (numbers[f][n] - mean[f]) * (numbers[g][n] - mean[g]);
      }
    }
  }
  for (std::size_t f = 0; f < size; ++f) {
    const Estimate about(numbers[f]);
    CHECK_CLOSE(about.mean, mean[f], kErrors * about.error);
    std::vector<double> unit(size, 0);
    unit[f] = 1;
    const std::vector<double> column = solved(A, unit);
    for (std::size_t g = 0; g < size; ++g) {
      const Estimate covariance(products[f * size + g]);
      CHECK_CLOSE(covariance.mean, column[g], kErrors * covariance.error);
    }
  }
}

template <class T>
void check_coefficients(std::int64_t width, double tolerance) {
  SplitMix64 random(31);
  constexpr std::int64_t kRows = 50;
  Buffer<T> residuals(kRows * width), coefficients(width), precisions(width), own(width), normals(width);
  std::vector<T> squares;
  for (std::int64_t at = 0; at < residuals.size(); ++at) residuals[at] = static_cast<T>(synthetic::noise(random));
  for (std::int64_t row = 0; row < kRows; ++row) squares.push_back(T(1) / static_cast<T>(1 + random.below(9)));
  for (std::int64_t c = 0; c < width; ++c) {
    coefficients[c] = static_cast<T>(synthetic::noise(random));
    precisions[c] = static_cast<T>(1 + random.below(5));
    own[c] = static_cast<T>(1 + random.below(5));
    normals[c] = static_cast<T>(synthetic::noise(random));
  }
  for (const std::vector<std::int32_t>& rows : {std::vector<std::int32_t>{4}, {0, 7, 9, 11, 30}, {1, 2, 3, 5, 8, 49}}) {
    double square_sum = 0;
    for (const std::int32_t row : rows) square_sum += static_cast<double>(squares[static_cast<std::size_t>(row)]);
    std::vector<double> expected(residuals.data(), residuals.data() + residuals.size()), drawn;
    for (std::int64_t c = 0; c < width; ++c) {
      double sum = 0;
      for (const std::int32_t row : rows) sum += expected[static_cast<std::size_t>(row * width + c)];
      const auto precision = static_cast<double>(precisions[c]), old = static_cast<double>(coefficients[c]);
      const double all = precision * square_sum + static_cast<double>(own[c]);
      drawn.push_back(precision * (sum + square_sum * old) / all + static_cast<double>(normals[c]) / std::sqrt(all));
      for (const std::int32_t row : rows) {
        expected[static_cast<std::size_t>(row * width + c)] +=
            (old - drawn.back()) * static_cast<double>(squares[static_cast<std::size_t>(row)]);
      }
    }
    CoefficientDraw<T> draw{width,
                            rows.data(),
                            static_cast<std::int64_t>(rows.size()),
                            squares.data(),
                            static_cast<T>(square_sum),
                            residuals.data(),
                            coefficients.data(),
                            precisions.data(),
                            own.data(),
                            normals.data()};
    kernel_table().kernels<T>().draw_coefficients(draw);
    for (std::int64_t c = 0; c < width; ++c) {
      CHECK_CLOSE(coefficients[c], drawn[static_cast<std::size_t>(c)], tolerance);
    }
    for (std::int64_t at = 0; at < residuals.size(); ++at) {
      CHECK_CLOSE(residuals[at], expected[static_cast<std::size_t>(at)], tolerance);
    }
  }
}

// Sums of six numbers below 6, and some ten roundings of numbers that are no larger.
TEST(coefficients_are_drawn_by_their_formula) {
  for (const bool single : {false, true}) {
    check_coefficients<float>(single ? 1 : padded_stride<float>(1),
                              100 * static_cast<double>(std::numeric_limits<float>::epsilon()));
    check_coefficients<double>(single ? 1 : padded_stride<double>(1), 100 * std::numeric_limits<double>::epsilon());
  }
}

SampleParams short_run(std::int32_t n_factors, std::int32_t n_burn_in = 12, std::int32_t n_samples = 8) {
  SampleParams params;
  params.n_factors = n_factors;
  params.n_burn_in = n_burn_in;
  params.n_samples = n_samples;
  return params;
}

template <class T>
bool same_result(const SampleResult<T>& a, const SampleResult<T>& b) {
  return same_bits(a.model, b.model) && same_bits(a.user_bias_offsets, b.user_bias_offsets) &&
         same_bits(a.item_bias_offsets, b.item_bias_offsets) && same_bits(a.user_noise, b.user_noise) &&
         same_bits(a.item_noise, b.item_noise) && a.noise_variance == b.noise_variance &&
         std::equal(a.history.begin(), a.history.end(), b.history.begin(), b.history.end(),
                    [](const EpochReport& x, const EpochReport& y) { return x.train_rmse == y.train_rmse; });
}

template <class T>
void check_threads(bool weighted) {
  Data data(400, 300, 20000, 0.5);
  SplitMix64 random(3);
  for (std::size_t r = 0; weighted && r < data.values.size(); ++r) {
    data.weights.push_back(static_cast<float>(random.below(4)));
  }
  SampleParams params = short_run(20);
  params.n_threads = 1;
  const SampleResult<T> alone = sample<T>(data.view(), params);
  CHECK_EQ(alone.n_threads, 1);
  for (const int threads : {2, 5}) {
    params.n_threads = threads;
    const SampleResult<T> shared = sample<T>(data.view(), params);
    CHECK_EQ(shared.n_threads, threads);
    CHECK(same_result(alone, shared));
  }
  params.seed = 1;
  CHECK(!same_result(alone, sample<T>(data.view(), params)));
}

TEST(the_bits_do_not_depend_on_the_number_of_threads) {
  check_threads<float>(false);
  check_threads<double>(true);
}

/// The model's predictions are those whose errors the reports tell, where all samples are kept.
template <class T>
void check_fold(SampleParams params, double tolerance) {
  const Data data(60, 50, 1200, 0.5), held_out(60, 50, 300, 0.5, 1);
  params.n_kept = params.n_samples;
  SampleOptions options;
  options.validation = held_out.view();
  const SampleResult<T> result = sample<T>(data.view(), params, options);
  CHECK_EQ(result.n_kept, params.n_samples);
  CHECK_EQ(result.model.n_factors, params.n_samples * params.n_factors);
  CHECK_EQ(result.history.size(), static_cast<std::size_t>(params.n_samples + params.n_burn_in));
  CHECK_CLOSE(synthetic::rmse(result.model, held_out), result.history.back().valid_rmse, tolerance);
  CHECK_CLOSE(synthetic::rmse(result.model, data), result.history.back().train_rmse, tolerance);
  CHECK(result.history.back().valid_rmse < 0.9);  // the noise is 0.5, and all ratings' deviation 1.2

  // Each sample's predictions come from its block and its biases, and their mean is the model's.
  const auto kept = static_cast<std::size_t>(result.n_kept), k = static_cast<std::size_t>(params.n_factors);
  const Model<T>& model = result.model;
  for (std::int32_t pair = 0; pair < 50; ++pair) {
    const auto u = static_cast<std::size_t>(pair), i = static_cast<std::size_t>(49 - pair);
    double mean = 0;
    for (std::size_t s = 0; s < kept; ++s) {
      double x = model.global_mean + static_cast<double>(model.user_biases[u]) +
                 static_cast<double>(model.item_biases[i]) +
                 static_cast<double>(result.user_bias_offsets[u * kept + s]) +
                 static_cast<double>(result.item_bias_offsets[i * kept + s]);
      for (std::size_t f = s * k; f < (s + 1) * k; ++f) {
        x += static_cast<double>(kept) * static_cast<double>(model.user_factors[u * kept * k + f]) *
             static_cast<double>(model.item_factors[i * kept * k + f]);
      }
      mean += x / static_cast<double>(kept);
    }
    CHECK_CLOSE(mean, model.predict(pair, 49 - pair), tolerance);
  }
}

// Scores of order 1 from up to 96 products of order 1, and sums of 8 samples: some hundred roundings.
TEST(the_model_predicts_the_mean_of_the_samples) {
  for (const ImplicitFeedback who :
       {ImplicitFeedback::none, ImplicitFeedback::users, ImplicitFeedback::items, ImplicitFeedback::both}) {
    for (const Noise noise : {Noise::even, Noise::rows}) {
      SampleParams params = short_run(12);
      params.implicit_feedback = who;
      params.noise = noise;
      check_fold<float>(params, 200 * static_cast<double>(std::numeric_limits<float>::epsilon()));
      check_fold<double>(params, 200 * std::numeric_limits<double>::epsilon());
    }
  }
}

TEST(the_noise_is_found) {
  const Data data(300, 200, 20000, 0.5);
  SampleParams params = short_run(6, 60, 40);
  params.implicit_feedback = ImplicitFeedback::none;
  for (const Noise noise : {Noise::even, Noise::rows}) {
    params.noise = noise;
    const SampleResult<float> result = sample<float>(data.view(), params);
    // The noise of 20,000 ratings less 500 rows of 7 numbers is known to sqrt(2 / 16500) of itself, 1.1 %. Rows that
    // differ by chance in 40 to 100 ratings take some of it for noise of their own: the prior's, 20, are a third.
    double variance = result.noise_variance;
    if (noise == Noise::rows) {
      const auto mean = [](const std::vector<float>& v) {
        return std::accumulate(v.begin(), v.end(), 0.0) / static_cast<double>(v.size());
      };
      variance *= mean(result.user_noise) * mean(result.item_noise);
    } else {
      CHECK(result.user_noise.empty() && result.item_noise.empty());
    }
    CHECK_CLOSE(variance, 0.25, (noise == Noise::even ? 5 * 0.011 : 0.1) * 0.25);
  }
}

TEST(noisy_rows_are_told_from_others) {
  Data data(200, 100, 12000, 0.3);
  SplitMix64 random(5);
  for (std::size_t r = 0; r < data.values.size(); ++r) {
    if (data.users[r] % 2 == 1) data.values[r] += static_cast<float>(1.2 * synthetic::noise(random));
  }
  const SampleResult<float> result = sample<float>(data.view(), short_run(4, 60, 20));
  for (std::size_t u = 0; u + 1 < 200; u += 2) CHECK(result.user_noise[u] < result.user_noise[u + 1]);
}

TEST(rows_without_ratings_are_predicted_as_the_mean_row) {
  Data data(61, 51, 1500, 0.5);
  for (std::int32_t& u : data.users) u = u == 60 ? 0 : u;
  for (std::int32_t& i : data.items) i = i == 50 ? 1 : i;
  const SampleResult<double> result = sample<double>(data.view(), short_run(5));
  const Model<double>& model = result.model;
  const auto width = static_cast<std::size_t>(model.n_factors);
  CHECK_EQ(model.user_counts[60], 0U);
  CHECK(std::all_of(model.user_factors.begin() + static_cast<std::ptrdiff_t>(60 * width), model.user_factors.end(),
                    [](double f) { return f == 0; }));
  CHECK_EQ(model.user_biases[60], 0.0);
  CHECK_EQ(model.predict(60, 50), model.global_mean);
  CHECK_EQ(model.predict(-1, 3), model.predict(60, 3));
  CHECK_CLOSE(result.user_noise[60], 10.0 / 9, 1e-15);
  // An unknown user's prediction is about what the item's raters gave.
  double sum = 0, n = 0;
  for (std::size_t r = 0; r < data.values.size(); ++r) {
    if (data.items[r] == 3) sum += static_cast<double>(data.values[r]), n += 1;
  }
  CHECK_CLOSE(model.predict(60, 3), sum / n, 5 * 1.2 / std::sqrt(n));
}

TEST(ratings_of_weight_0_are_left_out_and_the_scale_of_weights_is_none) {
  const Data data(50, 40, 900, 0.5);
  Data more = data, scaled = data;
  more.weights.assign(more.values.size(), 1.0F);
  for (std::int32_t r = 0; r < 100; ++r) {
    more.users.push_back(r % 50);
    more.items.push_back(r % 40);
    more.values.push_back(1e6F);
    more.weights.push_back(0.0F);
  }
  scaled.weights.assign(scaled.values.size(), 4.0F);
  const SampleResult<float> plain = sample<float>(data.view(), short_run(4));
  CHECK(same_result(plain, sample<float>(more.view(), short_run(4))));
  CHECK(same_result(plain, sample<float>(scaled.view(), short_run(4))));
}

TEST(equal_ratings_are_predicted) {
  Data data(20, 20, 100);
  std::fill(data.values.begin(), data.values.end(), 3.5F);
  const SampleResult<float> result = sample<float>(data.view(), short_run(4));
  CHECK(synthetic::finite(result.model));
  CHECK(synthetic::rmse(result.model, data) < 0.5);
  data.users = {0};
  data.items = {0};
  data.values = {2.0F};
  CHECK(synthetic::finite(sample<float>(data.view(), short_run(3)).model));
}

TEST(sampling_ends_when_the_caller_says_so) {
  const Data data(50, 40, 900, 0.5);
  SampleParams params = short_run(4, 5, 20);
  params.n_kept = 10;
  SampleOptions options;
  for (const auto& [last, kept] : {std::pair{3, 1}, {5, 1}, {9, 2}, {24, 9}}) {
    options.on_sweep = [last = last](const EpochReport& report) { return report.epoch == last; };
    const SampleResult<float> result = sample<float>(data.view(), params, options);
    CHECK_EQ(result.history.size(), static_cast<std::size_t>(last));
    CHECK_EQ(result.n_kept, kept);
    CHECK_EQ(result.model.n_factors, 4 * kept);
    CHECK_EQ(result.model.user_factors.size(), static_cast<std::size_t>(50 * 4 * kept));
    CHECK_EQ(result.item_bias_offsets.size(), static_cast<std::size_t>(40 * kept));
    CHECK(synthetic::rmse(result.model, data) < 1.2);
  }
  options.on_sweep = {};
  options.interrupted = [] { return true; };
  CHECK_THROWS(Interrupted, "interrupted", sample<float>(Data(500, 400, 60000).view(), short_run(64, 500), options));
}

TEST(a_file_keeps_what_is_known_of_the_samples) {
  SampleParams params = short_run(3);
  params.n_kept = 4;
  const SampleResult<float> result = sample<float>(Data(50, 40, 900, 0.5).view(), params);
  const std::filesystem::path path = std::filesystem::temp_directory_path() / "warpfactor_test_sample.safetensors";
  save(result.model, path);
  const Model<float> again = load<float>(path);
  std::filesystem::remove(path);
  CHECK(same_bits(again, result.model));
  CHECK(again.members == result.model.members);
  CHECK_EQ(again.members.size(), 7U);
  const StoredArray& offsets = again.members.at("members.user_offsets");
  CHECK(offsets.type == "F32" && offsets.shape == std::vector<std::int64_t>({50, 4}));
  std::vector<float> numbers(200);
  std::memcpy(numbers.data(), offsets.bytes.data(), offsets.bytes.size());
  CHECK(same_bits(numbers, result.user_bias_offsets));
  CHECK_EQ(again.params, result.model.params);
  CHECK(std::isnan(again.history.at(0).learning_rate));
}

TEST(usually_kept_samples_fit_a_model) {
  SampleParams params;
  CHECK_EQ(kept_samples(params), 64);
  params.n_factors = 100;
  CHECK_EQ(kept_samples(params), 20);
  params.n_factors = 1024;
  CHECK_EQ(kept_samples(params), 2);
  params.n_samples = 1;
  CHECK_EQ(kept_samples(params), 1);
}

TEST(bad_parameters_and_ratings_are_refused) {
  Data data(5, 4, 30);
  const auto run = [&](auto change) {
    SampleParams params = short_run(2, 1, 2);
    change(params);
    return sample<float>(data.view(), params);
  };
  const auto refused = [&](const char* text, auto change) { CHECK_THROWS(std::invalid_argument, text, run(change)); };
  refused("n_factors is 0; it must be from 1 to 1024", [](SampleParams& p) { p.n_factors = 0; });
  refused("n_factors is 1025", [](SampleParams& p) { p.n_factors = 1025; });
  refused("n_samples is 0; it must be at least 1", [](SampleParams& p) { p.n_samples = 0; });
  refused("n_burn_in is -1", [](SampleParams& p) { p.n_burn_in = -1; });
  refused("n_samples is 2147483647", [](SampleParams& p) { p.n_samples = INT32_MAX; });
  refused("n_kept is -1", [](SampleParams& p) { p.n_kept = -1; });
  refused("n_kept is 3; it must be at most n_samples, which is 2", [](SampleParams& p) { p.n_kept = 3; });
  refused("n_kept is 5; it must be at most 4 with n_factors 1000", [](SampleParams& p) {
    p.n_factors = 1000;
    p.n_samples = p.n_kept = 5;
  });
  refused("n_threads is -2", [](SampleParams& p) { p.n_threads = -2; });
  refused("noise is 7", [](SampleParams& p) { p.noise = static_cast<Noise>(7); });
  refused("implicit_feedback is 9", [](SampleParams& p) { p.implicit_feedback = static_cast<ImplicitFeedback>(9); });

  const auto nothing = [](SampleParams&) {};
  data.values[3] = std::numeric_limits<float>::infinity();
  refused("ratings.values[3] is inf", nothing);
  data.values[3] = 1;
  data.users[7] = 5;
  refused("ratings.users[7] is 5; it must be from 0 to 4", nothing);
  data.users[7] = 0;
  data.weights.assign(data.values.size(), 0.0F);
  refused("ratings.weights are all 0", nothing);
  data.weights.clear();
  Data other(6, 4, 10);
  SampleOptions options;
  options.validation = other.view();
  CHECK_THROWS(std::invalid_argument, "validation is 6 x 4; it must have the shape of the ratings, 5 x 4",
               sample<float>(data.view(), short_run(2), options));
  data = Data(5, 4, 0);
  refused("ratings is empty", nothing);
}

}  // namespace
