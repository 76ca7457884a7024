// SPDX-License-Identifier: Apache-2.0
// The rule as nvcc compiles it for the host, beside what GCC makes of it in the library, and beside its formulas.
#include <cmath>

#include "check.hpp"
#include "device/kernel_args.hpp"
#include "lanes.cuh"
#include "standardize.hpp"

namespace {

using namespace warpfactor;

TEST(losses_are_those_of_the_library) {
  for (const Loss loss :
       {Loss::squared, Loss::absolute, Loss::huber, Loss::logistic, Loss::squared_hinge, Loss::poisson}) {
    check::context = name_of(loss);
    const bool labels = loss == Loss::logistic || loss == Loss::squared_hinge;
    for (const double rating : {-1.0, 1.0, 0.0, 2.5}) {
      if ((labels && std::abs(rating) != 1) || (loss == Loss::poisson && rating < 0)) continue;
      for (const double score : {-3.0, -0.5, 0.1, 0.9, 1.0, 4.0}) {
        if (loss == Loss::poisson && score < 0) continue;
        LossShape<double> shape;
        shape.loss = loss;
        shape.delta = 0.7;
        shape.floor = 1e-6;
        const rule::LossTerms<double> terms = rule::loss_terms(rating, score, shape);
        const LossTerm expected = loss_term(loss, rating, score, 0.7);
        const double reported = loss == Loss::squared ? 2 * expected.loss : expected.loss;
        CHECK_CLOSE(terms.reported, reported, 1e-12 * (1 + std::abs(reported)));
        CHECK_CLOSE(terms.slope, expected.slope, 1e-12 * (1 + std::abs(expected.slope)));
      }
    }
  }
  check::context.clear();
}

StepSizes<double> sizes_of(StepRule rule) {
  StepSizes<double> sizes{};
  sizes.rule = rule;
  sizes.learning_rate = 0.1;
  sizes.momentum = 0.8;
  sizes.beta_1 = 0.9;
  sizes.beta_2 = 0.99;
  sizes.rest_1 = 0.1;
  sizes.rest_2 = 0.01;
  sizes.epsilon = 1e-8;
  sizes.per_element = 0.25;
  sizes.lowest = -1e300;
  return sizes;
}

template <StepRule kRule>
double step(double w, double gradient, double& first, double& second, double (&numbers)[2]) {
  const StepSizes<double> sizes = sizes_of(kRule);
  const rule::RowRate<double> rate = rule::row_rate<kRule>(numbers, 1.0, 0.0, 0.0, sizes);
  return rule::stepped<kRule>(w, gradient, first, second, rate, 0.0, sizes);
}

TEST(steps_are_those_of_the_formulas) {
  const double w = 0.5, g = 0.3;
  double first = 0.2, second = 0.04, numbers[2] = {2.0, 0.0};
  CHECK_CLOSE(step<StepRule::plain>(w, g, first, second, numbers), w - 0.1 * g, 1e-15);
  CHECK_CLOSE(step<StepRule::momentum>(w, g, first, second, numbers), w - 0.1 * (0.8 * 0.2 + g), 1e-15);
  CHECK_CLOSE(first, 0.8 * 0.2 + g, 1e-15);
  CHECK_CLOSE(step<StepRule::adagrad_row>(w, g, first, second, numbers), w - 0.1 / std::sqrt(3.0) * g, 1e-15);
  first = 0.6;
  CHECK_CLOSE(step<StepRule::adagrad_element>(w, g, first, second, numbers), w - 0.1 / std::sqrt(1.6) * g, 1e-15);
  CHECK_CLOSE(first, 0.6 + g * g, 1e-15);
  first = second = 0;
  numbers[0] = numbers[1] = 0;
  // The first step of Adam is the rate, in the gradient's direction.
  CHECK_CLOSE(step<StepRule::adam>(w, g, first, second, numbers), w - 0.1, 1e-8);
  CHECK_CLOSE(first, 0.1 * g, 1e-15);
  CHECK_CLOSE(second, 0.01 * g * g, 1e-15);
}

TEST(halves_and_strides_are_those_of_the_library) {
  for (std::uint32_t bits = 0; bits < 0x7c00u; bits += 7) {
    const Half half{static_cast<std::uint16_t>(bits)};
    CHECK_EQ(to_half(to_number(half)).bits, half.bits);
  }
  CHECK_EQ(sizeof(Entry), 8u);
  CHECK_EQ(device_stride<Half>(33), 48);
}

}  // namespace
