// SPDX-License-Identifier: Apache-2.0
// The kernels of one instruction set (CTest runs this once for each, through WARPFACTOR_ISA) against plain loops in
// extended precision. How far a kernel may be off is not guessed: the loops carry a bound of the rounding error along
// (a running error analysis, Higham 2002, section 3.3).
#include <algorithm>
#include <limits>
#include <span>
#include <tuple>
#include <vector>

#include "buffer.hpp"
#include "check.hpp"
#include "kernel_table.hpp"
#include "random.hpp"
#include "standardize.hpp"

namespace {

using namespace warpfactor;
using Real = long double;  // at least double

constexpr int kRanks[] = {1, 2, 7, 15, 16, 17, 31, 33, 48, 64, 65, 100, 128, 1000, 1024};
constexpr int kSomeRanks[] = {1, 7, 16, 17, 64, 100};
constexpr std::int64_t kUsers = 10, kItems = 9;
constexpr std::int64_t kIdleUser = 4, kIdleItem = 3;  // without a rating
constexpr std::int64_t kRatings = 60, kGrouped = 3 * kGroup;

/// A value and how far the kernel's may be from it.
struct Bounded {
  Real value = 0, error = 0;
  [[nodiscard]] Real most() const { return std::abs(value) + error; }
};

Bounded operator*(const Bounded& a, const Bounded& b) {
  return {a.value * b.value, a.most() * b.most() - std::abs(a.value * b.value)};
}
Bounded operator+(const Bounded& a, const Bounded& b) { return {a.value + b.value, a.error + b.error}; }
Bounded operator-(const Bounded& a, const Bounded& b) { return {a.value - b.value, a.error + b.error}; }

template <class T>
constexpr Real kUnit = static_cast<Real>(std::numeric_limits<T>::epsilon()) / 2;

/// Uniform in [-1, 1], exact in float.
float uniform(SplitMix64& random) {
  return static_cast<float>(static_cast<std::int32_t>(random.next() >> 40) - (1 << 23)) / static_cast<float>(1 << 23);
}

/// What stands in the way of a factor or bias after its step.
enum class Limits { none, l1, l1_and_zero };

struct Case {
  bool biased, weighted, adagrad;
  Loss loss = Loss::squared;
  Limits limits = Limits::none;

  [[nodiscard]] bool labels() const { return loss == Loss::logistic || loss == Loss::squared_hinge; }
};

template <class T>
struct Problem {
  std::int64_t k, stride;
  Buffer<T> users, items;
  std::vector<T> user_biases, item_biases, user_squares, item_squares;
  std::vector<Rating> ratings;
  std::vector<float> weights;

  explicit Problem(std::int64_t n_factors, const Case& tried = {})
      : k(n_factors), stride(padded_stride<T>(n_factors)), users(kUsers * stride), items(kItems * stride) {
    SplitMix64 random(7, 0, static_cast<std::uint64_t>(k));
    const bool counts = tried.loss == Loss::poisson;
    const auto number = [&] {
      const float drawn = uniform(random);
      return counts ? std::abs(drawn) : drawn;
    };
    // Rows of about unit length whatever their width, so that the updates matter and nothing grows.
    const T scale = static_cast<T>(1.7 / std::sqrt(static_cast<double>(k)));
    for (Buffer<T>* rows : {&users, &items}) {
      for (std::int64_t n = 0; n < rows->size(); ++n) (*rows)[n] = n % stride < k ? scale * number() : T(0);
    }
    for (std::int64_t n = 0; n < kUsers; ++n) user_biases.push_back(number());
    for (std::int64_t n = 0; n < kItems; ++n) item_biases.push_back(number());
    for (std::int64_t n = 0; n < kUsers; ++n) user_squares.push_back(T(1) + uniform(random));
    for (std::int64_t n = 0; n < kItems; ++n) item_squares.push_back(T(1) + uniform(random));
    while (ratings.size() < kRatings) {
      const auto user = static_cast<std::uint16_t>(random.below(kUsers));
      const auto item = static_cast<std::uint16_t>(random.below(kItems));
      float value = 2 * number();
      if (tried.labels()) value = value < 0 ? -1 : 1;
      if (counts && value < 0.5f) value = 0;
      if (user == kIdleUser || item == kIdleItem) continue;
      // Among the first ratings none shares a row with another one of its group.
      const auto group = ratings.begin() + static_cast<std::ptrdiff_t>(ratings.size() / kGroup * kGroup);
      if (ratings.size() < kGrouped && std::any_of(group, ratings.end(), [&](const Rating& other) {
            return other.user == user || other.item == item;
          })) {
        continue;
      }
      ratings.push_back({user, item, value});
      weights.push_back(ratings.size() % 9 == 0 ? 0.0f : 1 + uniform(random));
    }
  }
};

template <class T>
std::vector<Bounded> exact(const T* values, std::int64_t n) {
  std::vector<Bounded> all(static_cast<std::size_t>(n));
  for (std::size_t at = 0; at < all.size(); ++at) all[at].value = static_cast<Real>(values[at]);
  return all;
}

template <class T>
constexpr T kMaxWeight = T(1.5);  // weights are 1 to 2, and 0

/// The step sizes of a case: all strengths differ, so that none can be taken for another.
template <class T>
StepSizes<T> sizes_of(const Case& tried, std::int64_t k) {
  StepSizes<T> sizes{};
  sizes.learning_rate = T(0.0625);
  sizes.reg = {T(0.1), T(0.07)};
  sizes.reg_bias = {T(0.03), T(0.05)};
  sizes.max_weight = kMaxWeight<T>;
  // Caps some slopes and not others, where slopes have more than two values.
  sizes.max_slope = tried.loss == Loss::poisson || tried.loss == Loss::absolute ? T(2) : T(0.75);
  sizes.per_element = T(1) / static_cast<T>(k + (tried.biased ? 1 : 0));
  sizes.loss.loss = tried.loss;
  if (tried.loss == Loss::squared_hinge) sizes.max_slope = T(1);
  if (tried.loss == Loss::logistic) {  // whose slope is -1 to 1
    sizes.max_slope = T(0.5);
    sizes.loss.offset = T(0.25);
  }
  sizes.loss.delta = T(1);
  sizes.loss.floor = T(0.125);
  if (tried.loss == Loss::squared_hinge) {
    sizes.loss.answer_scale = T(2);
    sizes.loss.answer_shift = T(-1);
  }
  sizes.proximal = tried.limits != Limits::none;
  if (sizes.proximal) {
    const T scale = T(1) / static_cast<T>(std::sqrt(static_cast<double>(k)));
    sizes.l1 = {T(0.5) * scale, T(0.3) * scale};
    sizes.l1_bias = {T(0.4), T(0.2)};
  }
  sizes.lowest = tried.limits == Limits::l1_and_zero ? T(0) : -std::numeric_limits<T>::infinity();
  return sizes;
}

/// The losses by their formulas, with u the unit roundoff. A term's error is that of the score times the steepest slope
/// there, and the rounding of a handful of operations. The math library's functions are off by an ulp or two.
struct Terms {
  Bounded reported, slope, square;
};

template <class T>
Terms terms_of(Real r, const Bounded& score, const LossShape<T>& shape) {
  const Real u = kUnit<T>;
  Bounded x = score;
  if (shape.offset != T(0)) {
    x.value += static_cast<Real>(shape.offset);
    x.error += 2 * u * x.most();
  }
  const Bounded miss{x.value - r, x.error + u * (x.most() + 2)};
  const auto squared = [&](const Bounded& error) {
    return Bounded{error.value * error.value, error.most() * error.most() * (1 + 8 * u) - error.value * error.value};
  };
  const Real delta = static_cast<Real>(shape.delta), floor = static_cast<Real>(shape.floor);
  switch (shape.loss) {
    case Loss::squared: return {squared(miss), miss, squared(miss)};
    case Loss::absolute: {
      const bool certain = std::abs(miss.value) > miss.error;
      const Real sign = miss.value > 0 ? 1 : -1;
      return {{std::abs(miss.value), miss.error + 4 * u * miss.most()}, {sign, certain ? 0 : 2.0L}, squared(miss)};
    }
    case Loss::huber: {
      const Real inner = std::clamp(miss.value, -delta, delta), size = std::abs(miss.value);
      const Real loss = size <= delta ? size * size / 2 : delta * (size - delta / 2);
      return {{loss, delta * miss.error + 8 * u * delta * miss.most()}, {inner, miss.error}, squared(miss)};
    }
    case Loss::logistic: {
      const Real margin = r * x.value, answer = 2 / (1 + std::exp(-x.value)) - 1;
      return {{std::log1p(std::exp(-margin)), x.error + 16 * u * (1 + x.most())},
              {-r / (1 + std::exp(margin)), x.error / 4 + 16 * u},
              squared({r - answer, x.error / 2 + 16 * u})};
    }
    case Loss::squared_hinge: {
      const Real lacking = std::max(0.0L, 1 - r * x.value), error = x.error + 4 * u * (1 + x.most());
      const Bounded label{2 * x.value - 1 - r, 2 * x.error + 8 * u * (2 + 2 * x.most())};
      Bounded loss = squared({lacking, error});
      loss = {loss.value / 2, loss.error / 2};
      return {loss, {-r * lacking, error}, squared(label)};
    }
    case Loss::poisson: {
      const Real touching = std::max(x.value, floor), nearest = std::max(x.value - x.error, floor);
      const Real ratio = r / touching, steepest = 1 + r / nearest;
      const Real log_part = r > 0 ? r * std::log(ratio) : 0;
      return {{log_part - ratio * (x.value - touching) - r + x.value,
               steepest * x.error + 16 * u * (std::abs(log_part) + r * (1 + steepest) + x.most())},
              {1 - ratio, r * x.error / (nearest * nearest) + 8 * u * steepest},
              squared(miss)};
    }
  }
  return {};
}

/// Both ends of the interval, clipped: clipping is exact.
Bounded clipped(const Bounded& b, Real cap) {
  const Real value = std::clamp(b.value, -cap, cap), low = std::clamp(b.value - b.error, -cap, cap),
             high = std::clamp(b.value + b.error, -cap, cap);
  return {value, std::max(high - value, value - low)};
}

/// The SGD pass by its formulas; 8 u covers the handful of operations of each formula.
template <class T>
struct Reference {
  int clips = 0, zeros = 0;
  std::vector<Bounded> users, items, user_biases, item_biases, user_squares, item_squares;
  Bounded loss, squares;

  Reference(const Problem<T>& problem, const Case& tried, const StepSizes<T>& sizes)
      : users(exact(problem.users.data(), problem.users.size())),
        items(exact(problem.items.data(), problem.items.size())),
        user_biases(exact(problem.user_biases.data(), kUsers)),
        item_biases(exact(problem.item_biases.data(), kItems)),
        user_squares(exact(problem.user_squares.data(), kUsers)),
        item_squares(exact(problem.item_squares.data(), kItems)) {
    const Real u = kUnit<T>;
    for (std::size_t r = 0; r < problem.ratings.size(); ++r) {
      const Rating& rating = problem.ratings[r];
      Bounded* p = users.data() + rating.user * problem.stride;
      Bounded* q = items.data() + rating.item * problem.stride;
      Bounded& b = user_biases[rating.user];
      Bounded& c = item_biases[rating.item];
      Bounded x;
      Real magnitude = 0;
      for (std::int64_t f = 0; f < problem.k; ++f) {
        x.value += p[f].value * q[f].value;
        x.error += p[f].most() * q[f].most() - std::abs(p[f].value * q[f].value);
        magnitude += p[f].most() * q[f].most();
      }
      if (tried.biased) {
        x.value += b.value + c.value;
        x.error += b.error + c.error;
        magnitude += b.most() + c.most();
      }
      x.error += static_cast<Real>(problem.stride + 8) * u * magnitude;
      const Terms terms = terms_of(static_cast<Real>(rating.value), x, sizes.loss);
      const Real weight = tried.weighted ? static_cast<Real>(problem.weights[r]) : 1;
      const auto add = [&](Bounded& sum, const Bounded& term) {
        sum = sum + Bounded{weight * term.value, weight * (term.error + 2 * u * term.most())};
      };
      add(loss, terms.reported);
      add(squares, terms.square);

      const Real rate = static_cast<Real>(sizes.learning_rate) * std::min(weight, static_cast<Real>(sizes.max_weight));
      const Bounded capped = clipped(terms.slope, static_cast<Real>(sizes.max_slope));
      clips += capped.value != terms.slope.value ? 1 : 0;
      if (tried.adagrad) {
        step_adagrad(problem, rating, tried.biased, rate / static_cast<Real>(sizes.learning_rate), capped, sizes);
        continue;
      }
      const Bounded slope{rate * capped.value, rate * capped.error + 8 * u * rate * capped.most()};
      const auto step = [&](Bounded& w, const Bounded& slope_part, T penalty, T l1) {
        const Bounded keep{1 - rate * static_cast<Real>(penalty), 8 * u * (1 + rate * static_cast<Real>(penalty))};
        const Real value = keep.value * w.value - slope_part.value;
        const Real kept_most = keep.most() * w.most();
        w.error =
            kept_most - std::abs(keep.value * w.value) + slope_part.error + 8 * u * (kept_most + slope_part.most());
        w.value = value;
        settle(w, {rate * static_cast<Real>(l1), 4 * u * rate * static_cast<Real>(l1)}, sizes);
      };
      const auto product = [](const Bounded& s, const Bounded& w) {
        return Bounded{s.value * w.value, s.most() * w.most() - std::abs(s.value * w.value)};
      };
      for (std::int64_t f = 0; f < problem.k; ++f) {
        const Bounded user_part = product(slope, q[f]), item_part = product(slope, p[f]);
        step(p[f], user_part, sizes.reg.user, sizes.l1.user);
        step(q[f], item_part, sizes.reg.item, sizes.l1.item);
      }
      if (tried.biased) {
        step(b, slope, sizes.reg_bias.user, sizes.l1_bias.user);
        step(c, slope, sizes.reg_bias.item, sizes.l1_bias.item);
      }
    }
  }

 private:
  /// Soft threshold and lower limit, which move two numbers no farther apart.
  void settle(Bounded& w, const Bounded& threshold, const StepSizes<T>& sizes) {
    if (!sizes.proximal) return;
    const Real size = std::max(0.0L, std::abs(w.value) - threshold.value), before = w.most();
    w.value = std::max(w.value < 0 ? -size : size, static_cast<Real>(sizes.lowest));
    w.error += threshold.error + 4 * kUnit<T> * (before + threshold.most());
    zeros += w.value == 0 ? 1 : 0;
  }
  void step_adagrad(const Problem<T>& problem, const Rating& rating, bool biased, Real weight, const Bounded& slope,
                    const StepSizes<T>& sizes);
};

/// By the formulas of update_rule.hpp: both rows' gradients are taken before either row moves.
template <class T>
void Reference<T>::step_adagrad(const Problem<T>& problem, const Rating& rating, bool biased, Real weight,
                                const Bounded& slope, const StepSizes<T>& sizes) {
  const Real u = kUnit<T>, learning_rate = static_cast<Real>(sizes.learning_rate);
  const auto rounded = [&](Bounded b, Real operations) {
    b.error += operations * u * b.most();
    return b;
  };
  struct Side {
    Bounded *row, *bias, *squares;
    Bounded sum{};
  };
  Side user{users.data() + rating.user * problem.stride, &user_biases[rating.user], &user_squares[rating.user]};
  Side item{items.data() + rating.item * problem.stride, &item_biases[rating.item], &item_squares[rating.item]};
  const auto rate_of = [&](const Side& side) {
    const Real root = std::sqrt(1 + side.squares->value);
    // d/dG 1/sqrt(1 + G) is at most 1/2 for G >= 0.
    return rounded({learning_rate * weight / root, learning_rate * weight * side.squares->error / 2}, 8);
  };
  const Bounded user_rate = rate_of(user), item_rate = rate_of(item);
  const auto move = [&](Bounded& w, const Bounded& gradient, const Bounded& rate, Side& side, T l1) {
    side.sum = side.sum + gradient * gradient;
    const Bounded step = rate * gradient, before = w;
    w = w - step;
    w.error += 4 * u * (before.most() + step.most());
    settle(w, rounded(rate * Bounded{static_cast<Real>(l1)}, 4), sizes);
  };
  const auto gradient = [&](const Bounded& w, const Bounded& other, T penalty) {
    const Bounded pull = slope * other, shrink = Bounded{static_cast<Real>(penalty)} * w;
    Bounded sum = pull + shrink;
    sum.error += 4 * u * (pull.most() + shrink.most());
    return sum;
  };
  for (std::int64_t f = 0; f < problem.k; ++f) {
    const Bounded by_user = gradient(user.row[f], item.row[f], sizes.reg.user),
                  by_item = gradient(item.row[f], user.row[f], sizes.reg.item);
    move(user.row[f], by_user, user_rate, user, sizes.l1.user);
    move(item.row[f], by_item, item_rate, item, sizes.l1.item);
  }
  if (biased) {
    const Bounded one{1};
    move(*user.bias, gradient(*user.bias, one, sizes.reg_bias.user), user_rate, user, sizes.l1_bias.user);
    move(*item.bias, gradient(*item.bias, one, sizes.reg_bias.item), item_rate, item, sizes.l1_bias.item);
  }
  for (Side* side : {&user, &item}) {
    const Real share = weight * weight / static_cast<Real>(problem.k + (biased ? 1 : 0));
    *side->squares = *side->squares + rounded(Bounded{share} * side->sum, static_cast<Real>(problem.stride + 8));
    side->squares->error += 2 * u * side->squares->most();
  }
}

/// Whether the test's cap is met by some slopes and not by others.
bool sizes_cap_some(Loss loss) { return loss != Loss::poisson && loss != Loss::absolute; }

template <class T>
void check_all(const T* values, const std::vector<Bounded>& expected) {
  for (std::size_t n = 0; n < expected.size(); ++n) CHECK_CLOSE(values[n], expected[n].value, expected[n].error);
}

template <class T>
void check_sgd(int k, const Case& tried) {
  Problem<T> problem(k, tried);
  const Problem<T> before(k, tried);
  SgdBlock<T> block{};
  block.user_factors = problem.users.data();
  block.item_factors = problem.items.data();
  block.user_biases = tried.biased ? problem.user_biases.data() : nullptr;
  block.item_biases = tried.biased ? problem.item_biases.data() : nullptr;
  block.user_squares = tried.adagrad ? problem.user_squares.data() : nullptr;
  block.item_squares = tried.adagrad ? problem.item_squares.data() : nullptr;
  block.stride = problem.stride;
  block.ratings = problem.ratings.data();
  block.weights = tried.weighted ? problem.weights.data() : nullptr;
  block.n_ratings = static_cast<std::int64_t>(problem.ratings.size());
  block.n_grouped = kGrouped;
  block.sizes = sizes_of<T>(tried, k);
  const Reference<T> expected(problem, tried, block.sizes);
  const PassSums sums = kernel_table().kernels<T>().sgd(block);

  // The bound must be able to tell a wrong kernel from rounding: far below what one factor of one rating contributes.
  Real widest = 0;
  for (const Bounded& b : expected.users) widest = std::max(widest, b.error);
  CHECK(widest < (sizeof(T) == 4 ? 1e-3L : 1e-12L));

  // Both kinds of slope are in the test, and of what the threshold makes.
  if (sizes_cap_some(tried.loss)) CHECK(expected.clips > 0 && expected.clips < block.n_ratings);
  if (tried.limits != Limits::none && k > 1)
    CHECK(expected.zeros > 0 && expected.zeros < block.n_ratings * (2 * k + 2));
  CHECK_CLOSE(sums.loss, expected.loss.value, expected.loss.error + 1e-13L * expected.loss.value);
  CHECK_CLOSE(sums.squares, expected.squares.value, expected.squares.error + 1e-13L * expected.squares.value);
  if (tried.loss == Loss::squared) CHECK_EQ(sums.loss, sums.squares);
  check_all(problem.users.data(), expected.users);  // padding lanes too: their value and bound are 0
  check_all(problem.items.data(), expected.items);
  check_all(problem.user_biases.data(), expected.user_biases);
  check_all(problem.item_biases.data(), expected.item_biases);
  check_all(problem.user_squares.data(), expected.user_squares);
  check_all(problem.item_squares.data(), expected.item_squares);
  for (std::int64_t f = 0; f < problem.stride; ++f) {
    CHECK_EQ(problem.users[kIdleUser * problem.stride + f], before.users[kIdleUser * problem.stride + f]);
    CHECK_EQ(problem.items[kIdleItem * problem.stride + f], before.items[kIdleItem * problem.stride + f]);
  }
}

template <class T>
void check_sgd_all(const char* type, std::span<const int> ranks, Loss loss, Limits limits) {
  for (const int k : ranks) {
    for (const bool biased : {false, true}) {
      for (const bool weighted : {false, true}) {
        for (const bool adagrad : {false, true}) {
          check::context = std::string(kernel_table().instruction_set) + ", " + type + ", k = " + std::to_string(k) +
                           (biased ? ", biased" : "") + (weighted ? ", weighted" : "") + (adagrad ? ", adagrad" : "") +
                           ", " + name_of(loss) +
                           (limits == Limits::none ? ""
                            : limits == Limits::l1 ? ", L1"
                                                   : ", L1 and non-negative");
          check_sgd<T>(k, {biased, weighted, adagrad, loss, limits});
        }
      }
    }
  }
}

template <class T>
void check_sgd_limits(const char* type, Limits limits) {
  for (const Loss loss : {Loss::squared, Loss::absolute, Loss::huber, Loss::logistic, Loss::squared_hinge}) {
    check_sgd_all<T>(type, kSomeRanks, loss, limits);
  }
}

TEST(sgd_agrees_with_the_formulas_in_float) { check_sgd_all<float>("float", kRanks, Loss::squared, Limits::none); }
TEST(sgd_agrees_with_the_formulas_in_double) { check_sgd_all<double>("double", kRanks, Loss::squared, Limits::none); }
TEST(sgd_agrees_with_the_formulas_of_every_loss) {
  check_sgd_limits<float>("float", Limits::none);
  check_sgd_limits<double>("double", Limits::none);
}
TEST(sgd_agrees_with_the_formulas_of_every_loss_with_an_l1_penalty) {
  check_sgd_limits<float>("float", Limits::l1);
  check_sgd_limits<double>("double", Limits::l1);
}
TEST(sgd_agrees_with_the_formulas_of_every_loss_without_negative_numbers) {
  check_sgd_limits<float>("float", Limits::l1_and_zero);
  check_sgd_limits<double>("double", Limits::l1_and_zero);
}
TEST(sgd_agrees_with_the_formulas_of_the_poisson_loss) {
  check_sgd_all<float>("float", kSomeRanks, Loss::poisson, Limits::l1_and_zero);
  check_sgd_all<double>("double", kSomeRanks, Loss::poisson, Limits::l1_and_zero);
}

TEST(sgd_over_no_ratings_changes_nothing) {
  Problem<float> problem(8);
  const Problem<float> before(8);
  SgdBlock<float> block{};
  block.user_factors = problem.users.data();
  block.item_factors = problem.items.data();
  block.stride = problem.stride;
  block.sizes = sizes_of<float>({}, 8);
  CHECK_EQ(kernel_table().f32.sgd(block).loss, 0.0);
  CHECK(std::equal(before.users.data(), before.users.data() + before.users.size(), problem.users.data()));
}

/// The two kernels of a full-batch step, over lists of rows in which some come twice.
template <class T>
void check_row_kernels(int k) {
  const Problem<T> problem(k);
  const Real u = kUnit<T>;
  for (const std::int64_t n : {0, 1, 13}) {
    std::vector<std::int32_t> indices;
    std::vector<T> values;
    SplitMix64 random(5, 0, static_cast<std::uint64_t>(n));
    for (std::int64_t at = 0; at < n; ++at) {
      indices.push_back(static_cast<std::int32_t>(random.below(kItems)));
      values.push_back(T(2) * uniform(random));
    }
    std::vector<T> errors(values.size());
    const T* const own = problem.users.data() + 2 * problem.stride;
    const double squares = kernel_table().kernels<T>().row_errors(
        {own, problem.items.data(), indices.data(), values.data(), problem.stride, n, errors.data()});
    Real expected_squares = 0;
    for (std::size_t at = 0; at < indices.size(); ++at) {
      const T* const row = problem.items.data() + indices[at] * problem.stride;
      Real error = static_cast<Real>(values[at]), magnitude = std::abs(error);
      for (std::int64_t f = 0; f < problem.stride; ++f) {
        const Real product = static_cast<Real>(own[f]) * static_cast<Real>(row[f]);
        error -= product;
        magnitude += std::abs(product);
      }
      CHECK_CLOSE(errors[at], error, static_cast<Real>(problem.stride + 2) * u * magnitude);
      expected_squares += static_cast<Real>(errors[at]) * static_cast<Real>(errors[at]);
    }
    CHECK_CLOSE(squares, expected_squares, 1e-14L * expected_squares);

    Buffer<T> sum(problem.stride);
    kernel_table().kernels<T>().row_sum(
        {problem.items.data(), indices.data(), values.data(), problem.stride, n, sum.data()});
    for (std::int64_t f = 0; f < problem.stride; ++f) {
      Real value = 0, magnitude = 0;
      for (std::size_t at = 0; at < indices.size(); ++at) {
        const Real term =
            static_cast<Real>(values[at]) * static_cast<Real>(problem.items[indices[at] * problem.stride + f]);
        value += term;
        magnitude += std::abs(term);
      }
      CHECK_CLOSE(sum[f], value, static_cast<Real>(n + 1) * u * magnitude);
    }
  }
}

TEST(row_errors_and_row_sum_agree_with_plain_loops) {
  for (const int k : kRanks) {
    check::context = std::string(kernel_table().instruction_set) + ", k = " + std::to_string(k);
    check_row_kernels<float>(k);
    check_row_kernels<double>(k);
  }
}

/// Rows without padding at an address aligned for nothing wider than T, as the caller of predict() may pass them.
template <class T>
struct Unpadded {
  std::vector<T> memory;
  const T* rows;

  Unpadded(const Buffer<T>& padded, std::int64_t n_rows, std::int64_t k, std::int64_t stride)
      : memory(static_cast<std::size_t>(n_rows * k + 1)), rows(memory.data() + 1) {
    for (std::int64_t row = 0; row < n_rows; ++row) {
      std::copy_n(padded.data() + row * stride, k, memory.data() + 1 + row * k);
    }
  }
};

template <class T>
void check_predictions(int k) {
  const Problem<T> problem(k);
  const Unpadded<T> users(problem.users, kUsers, k, problem.stride), items(problem.items, kItems, k, problem.stride);
  const T mean = T(3.5);
  const auto expected = [&](std::int64_t user, std::int64_t item, bool biased) {
    Real value = static_cast<Real>(mean), magnitude = std::abs(value);
    const auto add = [&](Real term) {
      value += term;
      magnitude += std::abs(term);
    };
    if (biased && user >= 0) add(static_cast<Real>(problem.user_biases[static_cast<std::size_t>(user)]));
    if (biased && item >= 0) add(static_cast<Real>(problem.item_biases[static_cast<std::size_t>(item)]));
    for (std::int64_t f = 0; user >= 0 && item >= 0 && f < k; ++f) {
      add(static_cast<Real>(users.rows[user * k + f]) * static_cast<Real>(items.rows[item * k + f]));
    }
    return Bounded{value, static_cast<Real>(k + 4) * kUnit<T> * magnitude};
  };
  std::vector<std::int32_t> user_ids, item_ids;
  for (std::int32_t user = -1; user < kUsers; ++user) {
    for (std::int32_t item = -1; item < kItems; ++item) {
      user_ids.push_back(user);
      item_ids.push_back(item);
    }
  }
  const Kernels<T>& kernels = kernel_table().kernels<T>();
  for (const bool biased : {false, true}) {
    const T* user_biases = biased ? problem.user_biases.data() : nullptr;
    const T* item_biases = biased ? problem.item_biases.data() : nullptr;
    std::vector<T> plain(user_ids.size()), padded(user_ids.size());
    const auto n = static_cast<std::int64_t>(user_ids.size());
    kernels.predict_pairs({users.rows, items.rows, user_biases, item_biases, mean, k, k, user_ids.data(),
                           item_ids.data(), n, plain.data()});
    kernels.predict_pairs({problem.users.data(), problem.items.data(), user_biases, item_biases, mean, problem.stride,
                           problem.stride, user_ids.data(), item_ids.data(), n, padded.data()});
    for (std::size_t r = 0; r < plain.size(); ++r) {
      const Bounded x = expected(user_ids[r], item_ids[r], biased);
      CHECK_CLOSE(plain[r], x.value, x.error);
      CHECK_CLOSE(padded[r], x.value, x.error);
    }
    for (std::int32_t user = -1; user < kUsers; ++user) {
      T offset = mean;
      if (biased && user >= 0) offset += problem.user_biases[static_cast<std::size_t>(user)];
      std::vector<T> scores(kItems);
      kernels.score_rows(
          {user >= 0 ? users.rows + user * k : nullptr, items.rows, item_biases, offset, k, kItems, scores.data()});
      for (std::int32_t item = 0; item < kItems; ++item) {
        const Bounded x = expected(user, item, biased);
        CHECK_CLOSE(scores[static_cast<std::size_t>(item)], x.value, x.error);
      }
    }
  }
}

TEST(predictions_agree_with_the_formula) {
  for (const int k : kRanks) {
    check::context = "float, k = " + std::to_string(k);
    check_predictions<float>(k);
    check::context = "double, k = " + std::to_string(k);
    check_predictions<double>(k);
  }
}

TEST(rows_are_padded_to_whole_cache_lines) {
  for (std::int64_t k = 1; k <= 1024; ++k) {
    for (const auto& [stride, size] : {std::pair{padded_stride<float>(k), 4}, std::pair{padded_stride<double>(k), 8}}) {
      CHECK(stride >= k && stride * size % kRowAlignment == 0 && (stride - k) * size < kRowAlignment);
    }
  }
}

}  // namespace
