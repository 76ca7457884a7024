// SPDX-License-Identifier: Apache-2.0
// The kernels of one instruction set (CTest runs this penalty_once for each, through WARPFACTOR_ISA) against plain
// loops in extended precision. How far a kernel may be off is not guessed: the loops carry a bound of the rounding
// error along (a running error analysis, Higham 2002, section 3.3).
#include <algorithm>
#include <limits>
#include <span>
#include <tuple>
#include <utility>
#include <vector>

#include "buffer.hpp"
#include "check.hpp"
#include "cpu/kernel_table.hpp"
#include "random.hpp"
#include "standardize.hpp"

namespace {

using namespace warpfactor;
using Real = long double;  // at least double

constexpr int kRanks[] = {1, 2, 7, 15, 16, 17, 31, 33, 48, 64, 65, 100, 128, 1000, 1024};
constexpr int kSomeRanks[] = {1, 7, 16, 17, 64, 100};
constexpr int kFewRanks[] = {7, 17, 33};  // one, two and more vectors
constexpr int kMostFactors[] = {1024};
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
/// b.error must be below |b.value|.
Bounded operator/(const Bounded& a, const Bounded& b) {
  const Real least = std::abs(b.value) - b.error;
  return {a.value / b.value, a.error / least + std::abs(a.value / b.value) * b.error / least};
}
Bounded root_of(const Bounded& a) {
  return {std::sqrt(a.value), std::sqrt(a.value) - std::sqrt(std::max(0.0L, a.value - a.error))};
}

template <class T>
constexpr Real kUnit = static_cast<Real>(std::numeric_limits<T>::epsilon()) / 2;

/// Uniform in [-1, 1], exact in float.
float uniform(SplitMix64& random) {
  return static_cast<float>(static_cast<std::int32_t>(random.next() >> 40) - (1 << 23)) / static_cast<float>(1 << 23);
}

/// What stands in the way of a factor or bias after its step.
enum class Limits { none, l1, l1_and_zero };

/// How the penalties pull: all rows alike to zero, each row by its own strength to zero (its bias to a mean), or to its
/// prior means.
enum class Pulls { alike, rows, means };

constexpr StepRule kRules[] = {StepRule::plain, StepRule::momentum, StepRule::adagrad_row, StepRule::adagrad_element,
                               StepRule::adam};
constexpr StepRule kGeneralRules[] = {StepRule::momentum, StepRule::adagrad_row, StepRule::adagrad_element,
                                      StepRule::adam};

const char* name_of_rule(StepRule rule) {
  switch (rule) {
    case StepRule::plain: return "plain";
    case StepRule::momentum: return "momentum";
    case StepRule::adagrad_row: return "adagrad by row";
    case StepRule::adagrad_element: return "adagrad by element";
    case StepRule::adam: return "adam";
  }
  return "";
}

struct Case {
  bool biased = false, weighted = false;
  StepRule rule = StepRule::plain;
  Loss loss = Loss::squared;
  Limits limits = Limits::none;
  bool own_penalty = false;  ///< the custom penalty in place of L2
  std::int64_t beyond = 0;   ///< numbers of a row that take no part
  Pulls pulls = Pulls::alike;

  [[nodiscard]] bool labels() const { return loss == Loss::logistic || loss == Loss::squared_hinge; }
  [[nodiscard]] std::string text(const char* type, int k) const {
    return std::string(kernel_table().instruction_set) + ", " + type + ", k = " + std::to_string(k) + ", " +
           name_of_rule(rule) + (biased ? ", biased" : "") + (weighted ? ", weighted" : "") + ", " + name_of(loss) +
           (limits == Limits::none ? ""
            : limits == Limits::l1 ? ", L1"
                                   : ", L1 and non-negative") +
           (own_penalty ? ", own penalty" : "") + (beyond > 0 ? ", part of the rows" : "") +
           (pulls == Pulls::alike  ? ""
            : pulls == Pulls::rows ? ", pulls of rows"
                                   : ", prior means");
  }
};

/// The custom loss of these tests: sqrt(1 + e^2) - 1 with e = x - r. Its slope is at most 1, and so is the slope's.
template <class T>
void own_loss(const T* ratings, const T* scores, T* losses, T* slopes) {
  for (int n = 0; n < 8; ++n) {
    const T e = scores[n] - ratings[n], size = std::sqrt(T(1) + e * e);
    losses[n] = size - T(1);
    slopes[n] = e / size;
  }
}
/// The custom penalty of these tests, by its slope h'(w) = 1/2 + w / (1 + w^2), whose slope is at most 1. Nothing but
/// the kernel keeps it from padding lanes, where it is not 0.
std::int64_t penalized_factors = 0;  // of a row; what follows them must be zeros, and not another row
template <class T>
void own_penalty(const T* values, T* slopes, std::int64_t n) {
  CHECK(n > 0 && n % 16 == 0);
  for (std::int64_t f = std::max<std::int64_t>(2, penalized_factors); f < n; ++f) CHECK_EQ(values[f], T(0));
  for (std::int64_t f = 0; f < n; ++f) slopes[f] = T(0.5) + values[f] / (T(1) + values[f] * values[f]);
}

/// One side's rows and what the optimizer remembers of them.
template <class T>
struct RowsOf {
  Buffer<T> factors, first, second, means;
  std::vector<T> biases, bias_first, bias_second, numbers;
  std::vector<RowPull<T>> pulls;

  RowsOf(std::int64_t n_rows, std::int64_t stride)
      : factors(n_rows * stride), first(n_rows * stride), second(n_rows * stride), means(n_rows * stride) {}

  SideRows<T> view(const Case& tried) {
    return {factors.data(),
            tried.biased ? biases.data() : nullptr,
            first.data(),
            second.data(),
            bias_first.data(),
            bias_second.data(),
            numbers.data(),
            tried.pulls == Pulls::alike ? nullptr : pulls.data(),
            tried.pulls == Pulls::means ? means.data() : nullptr};
  }
};

template <class T>
struct Problem {
  std::int64_t k, width, stride;
  RowsOf<T> users, items;
  std::vector<Rating> ratings;
  std::vector<float> weights;

  explicit Problem(std::int64_t n_factors, const Case& tried = {})
      : k(n_factors),
        width(padded_stride<T>(n_factors)),
        stride(width + tried.beyond),
        users(kUsers, stride),
        items(kItems, stride) {
    SplitMix64 random(7, 0, static_cast<std::uint64_t>(k));
    const bool counts = tried.loss == Loss::poisson;
    const auto number = [&] {
      const float drawn = uniform(random);
      return counts ? std::abs(drawn) : drawn;
    };
    // Rows of about unit length whatever their width, so that the updates matter and nothing grows.
    const T scale = static_cast<T>(1.7 / std::sqrt(static_cast<double>(k)));
    for (RowsOf<T>* rows : {&users, &items}) {
      for (std::int64_t n = 0; n < rows->factors.size(); ++n) {
        rows->factors[n] = n % stride < k || n % stride >= width ? scale * number() : 0;
      }
    }
    for (std::int64_t n = 0; n < kUsers; ++n) users.biases.push_back(number());
    for (std::int64_t n = 0; n < kItems; ++n) items.biases.push_back(number());
    // What is remembered is not 0, as if there had been steps before. Sums of squares are above 0, the averages of ones
    // (adam) between 0 and 1.
    const bool sums = tried.rule == StepRule::adagrad_element;
    const auto remembered = [&](T size) { return sums ? T(1) + uniform(random) : size * uniform(random); };
    for (RowsOf<T>* rows : {&users, &items}) {
      for (std::int64_t n = 0; n < rows->factors.size(); ++n) {
        rows->first[n] = n % stride < k ? remembered(scale) : T(0);
        rows->second[n] = n % stride < k ? T(1.5) + uniform(random) : T(0);
      }
      for (std::size_t n = 0; n < rows->biases.size(); ++n) {
        rows->bias_first.push_back(remembered(1));
        rows->bias_second.push_back(T(1.5) + uniform(random));
        rows->numbers.push_back(T(0.5) + T(0.25) * uniform(random));
        rows->numbers.push_back(T(0.5) + T(0.25) * uniform(random));
      }
    }
    // Some rows are pulled by more than a step may take. What is beyond the width must not be read.
    SplitMix64 pulling(8, 0, static_cast<std::uint64_t>(k));
    for (RowsOf<T>* rows : {&users, &items}) {
      for (std::int64_t n = 0; n < rows->means.size(); ++n) {
        rows->means[n] = n % stride < k ? scale * uniform(pulling) : n % stride < width ? T(0) : T(1e30F);
      }
      for (std::size_t n = 0; n < rows->biases.size(); ++n) {
        const T far = T(n % 3 == 1 ? 40 : 1);
        rows->pulls.push_back({far * (T(0.5) + T(0.4) * uniform(pulling)), far * (T(0.6) + T(0.4) * uniform(pulling)),
                               T(uniform(pulling)), T(0)});
      }
    }
    while (ratings.size() < kRatings) {
      const auto user = static_cast<std::uint16_t>(random.below(kUsers));
      const auto item = static_cast<std::uint16_t>(random.below(kItems));
      float value = 2 * number();
      if (tried.labels()) value = value < 0 ? -1 : 1;
      if (counts && value < 0.5f) value = 0;
      if (user == kIdleUser || item == kIdleItem) continue;
      // The ratings of the first group share no row. In the second some may; in the third all are of one item.
      if (ratings.size() < kGroup && std::any_of(ratings.begin(), ratings.end(), [&](const Rating& other) {
            return other.user == user || other.item == item;
          })) {
        continue;
      }
      if (ratings.size() / kGroup == 2 && item != ratings[kGroup].item) continue;
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
std::vector<Bounded> exact(const Buffer<T>& values) {
  return exact(values.data(), values.size());
}
template <class T>
std::vector<Bounded> exact(const std::vector<T>& values) {
  return exact(values.data(), static_cast<std::int64_t>(values.size()));
}

template <class T>
constexpr T kMaxWeight = T(1.5);  // weights are 1 to 2, and 0

/// The step sizes of a case: all strengths differ, so that none can be taken for another.
template <class T>
StepSizes<T> sizes_of(const Case& tried, std::int64_t k) {
  StepSizes<T> sizes{};
  sizes.rule = tried.rule;
  sizes.learning_rate = T(0.0625);
  sizes.reg = {T(0.1), T(0.07)};
  sizes.reg_bias = {T(0.03), T(0.05)};
  sizes.penalty = tried.own_penalty ? own_penalty<T> : nullptr;
  penalized_factors = k;
  sizes.max_pull = T(1);  // above it, what the bounds allow for would grow with each step
  sizes.max_weight = kMaxWeight<T>;
  // Caps some slopes and not others, where slopes have more than two values.
  sizes.max_slope = tried.loss == Loss::poisson || tried.loss == Loss::absolute ? T(2) : T(0.75);
  sizes.per_element = T(1) / static_cast<T>(k + (tried.biased ? 1 : 0));
  // Far from 1, so that a wrong average shows; with binary fractions 1 - beta is exact.
  sizes.momentum = T(0.625);
  sizes.beta_1 = T(0.75);
  sizes.rest_1 = T(0.25);
  sizes.beta_2 = T(0.875);
  sizes.rest_2 = T(0.125);
  sizes.epsilon = T(0.03125);
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
  if (tried.loss == Loss::custom) {
    sizes.loss.answer_scale = T(1.25);
    sizes.loss.answer_shift = T(0.375);
    sizes.loss.slope_scale = T(1.5);
    sizes.loss.function = own_loss<T>;
  }
  sizes.proximal = tried.limits != Limits::none;
  if (sizes.proximal && !tried.own_penalty) {
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
  if (shape.loss == Loss::custom) {
    x = Bounded{static_cast<Real>(shape.answer_shift)} + Bounded{static_cast<Real>(shape.answer_scale)} * x;
    x.error += 4 * u * (x.most() + 1);
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
    case Loss::custom: {
      const Real size = std::sqrt(1 + miss.value * miss.value), scale = static_cast<Real>(shape.slope_scale);
      return {{size - 1, miss.error + 8 * u * (size + miss.error)},
              {scale * miss.value / size, scale * (miss.error + 8 * u)},
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

/// The value as before, after so many operations in T.
template <class T>
Bounded rounded(Bounded b, Real operations = 4) {
  b.error += operations * kUnit<T> * b.most();
  return b;
}

/// One side as the steps change it.
template <class T>
struct SideReference {
  std::vector<Bounded> factors, first, second, biases, bias_first, bias_second, numbers;

  explicit SideReference(const RowsOf<T>& rows)
      : factors(exact(rows.factors)),
        first(exact(rows.first)),
        second(exact(rows.second)),
        biases(exact(rows.biases)),
        bias_first(exact(rows.bias_first)),
        bias_second(exact(rows.bias_second)),
        numbers(exact(rows.numbers)) {}
};

/// The step of one row from its gradients, by the formulas of types.hpp.
template <class T>
class StepReference {
 public:
  int zeros = 0;

  void step(SideReference<T>& side, std::size_t row, std::int64_t k, std::int64_t stride,
            const std::vector<Bounded>& gradients, const Bounded& bias_gradient, bool biased, const Bounded& weight,
            T l1, T l1_bias, const StepSizes<T>& sizes) {
    Bounded rate{static_cast<Real>(sizes.learning_rate)}, average_1, average_2;
    Bounded *const numbers = side.numbers.data() + row * kRowNumbers, one{1};
    const auto average = [&](Bounded& of, T beta) {
      const Bounded old{static_cast<Real>(beta)}, rest{1 - static_cast<Real>(beta)};
      return of = rounded<T>(old * of + rest);
    };
    if (sizes.rule == StepRule::adagrad_row) {
      rate = rounded<T>(rate / root_of(one + numbers[0]), 8);
      Bounded sum = biased ? bias_gradient * bias_gradient : Bounded{};
      for (std::int64_t f = 0; f < k; ++f) sum = sum + gradients[at(f)] * gradients[at(f)];
      const Bounded share{1 / static_cast<Real>(k + (biased ? 1 : 0))};
      numbers[0] = rounded<T>(numbers[0] + rounded<T>(share * sum, static_cast<Real>(stride + 8)));
    } else if (sizes.rule == StepRule::adam) {
      average_1 = average(numbers[0], sizes.beta_1);
      average_2 = average(numbers[1], sizes.beta_2);
    }
    const auto move = [&](Bounded& w, const Bounded& gradient, Bounded& first, Bounded& second, T penalty) {
      Bounded along = gradient, own_rate = rate;
      if (sizes.rule == StepRule::momentum) {
        const Bounded kept = Bounded{static_cast<Real>(sizes.momentum)} * first;
        first = kept + gradient;
        first.error += 4 * kUnit<T> * (kept.most() + gradient.most());
        along = first;
      } else if (sizes.rule == StepRule::adagrad_element) {
        own_rate = rounded<T>(rate / root_of(one + first), 8);
        first = rounded<T>(first + gradient * gradient);
      } else if (sizes.rule == StepRule::adam) {
        const Bounded kept = Bounded{static_cast<Real>(sizes.beta_1)} * first,
                      added = Bounded{1 - static_cast<Real>(sizes.beta_1)} * gradient;
        first = kept + added;
        first.error += 4 * kUnit<T> * (kept.most() + added.most());
        second = rounded<T>(Bounded{static_cast<Real>(sizes.beta_2)} * second +
                                Bounded{1 - static_cast<Real>(sizes.beta_2)} * (gradient * gradient),
                            8);
        along = rounded<T>(first / average_1);
        const Bounded epsilon{static_cast<Real>(sizes.epsilon)};
        own_rate = rounded<T>(rate / (root_of(rounded<T>(second / average_2)) + epsilon), 8);
      }
      const Bounded step = own_rate * along, before = w;
      w = w - step;
      w.error += 8 * kUnit<T> * (before.most() + step.most());
      Bounded threshold = rounded<T>(own_rate * weight * Bounded{static_cast<Real>(penalty)}, 8);
      if (sizes.rule == StepRule::adam) threshold.value = std::min(threshold.value, rate.value);
      settle(w, threshold, sizes);
    };
    for (std::int64_t f = 0; f < k; ++f) {
      const std::size_t n = row * at(stride) + at(f);
      move(side.factors[n], gradients[at(f)], side.first[n], side.second[n], l1);
    }
    if (biased) move(side.biases[row], bias_gradient, side.bias_first[row], side.bias_second[row], l1_bias);
  }

 private:
  static std::size_t at(std::int64_t n) { return static_cast<std::size_t>(n); }

  /// Soft threshold and lower limit, which move two numbers no farther apart.
  void settle(Bounded& w, const Bounded& threshold, const StepSizes<T>& sizes) {
    if (!sizes.proximal) return;
    const Real size = std::max(0.0L, std::abs(w.value) - threshold.value), before = w.most();
    w.value = std::max(w.value < 0 ? -size : size, static_cast<Real>(sizes.lowest));
    w.error += threshold.error + 4 * kUnit<T> * (before + threshold.most());
    zeros += w.value == 0 ? 1 : 0;
  }
};

/// What pulls a parameter back to zero.
template <class T>
Bounded pull_of(const Bounded& w, const StepSizes<T>& sizes) {
  if (sizes.penalty == nullptr) return w;
  return {0.5L + w.value / (1 + w.value * w.value), w.error + 8 * kUnit<T>};
}

/// What the penalties add to the gradient of a parameter, of a row that may have a pull of its own.
template <class T>
class PullReference {
 public:
  PullReference(const RowsOf<T>& rows, std::int64_t row, std::int64_t stride, T reg, T reg_bias, const Case& tried,
                const StepSizes<T>& sizes)
      : pull_(rows.pulls[static_cast<std::size_t>(row)]),
        means_(rows.means.data() + row * stride),
        reg_(reg),
        reg_bias_(reg_bias),
        pulls_(tried.pulls),
        sizes_(sizes) {}

  [[nodiscard]] Bounded of_factor(std::int64_t f, const Bounded& w, const Bounded& weight) const {
    const Real mean = pulls_ == Pulls::means ? static_cast<Real>(means_[f]) : 0;
    return added(w, weight, pulls_ == Pulls::alike ? reg_ : pull_.factors, mean);
  }
  [[nodiscard]] Bounded of_bias(const Bounded& b, const Bounded& weight) const {
    if (pulls_ == Pulls::alike) return added(b, weight, reg_bias_, 0);
    return added(b, weight, pull_.bias, static_cast<Real>(pull_.bias_mean));
  }

 private:
  /// The rounding is of the strength times the parameter and times the mean, which need not cancel in a kernel.
  [[nodiscard]] Bounded added(const Bounded& w, const Bounded& weight, T strength, Real mean) const {
    Bounded pull = weight * Bounded{static_cast<Real>(strength)};
    if (pulls_ == Pulls::alike) return pull * pull_of(w, sizes_);
    pull = clipped(pull, static_cast<Real>(sizes_.max_pull));
    Bounded sum = pull * (w - Bounded{mean});
    sum.error += 8 * kUnit<T> * pull.most() * (w.most() + std::abs(mean));
    return sum;
  }

  const RowPull<T> pull_;
  const T* means_;
  T reg_, reg_bias_;
  Pulls pulls_;
  const StepSizes<T>& sizes_;
};

template <class T>
Bounded score_of(const Bounded* p, const Bounded* q, std::int64_t k, std::int64_t stride, bool biased, const Bounded& b,
                 const Bounded& c) {
  Bounded x;
  Real magnitude = 0;
  for (std::int64_t f = 0; f < k; ++f) {
    x = x + p[f] * q[f];
    magnitude += p[f].most() * q[f].most();
  }
  if (biased) {
    x = x + b + c;
    magnitude += b.most() + c.most();
  }
  x.error += static_cast<Real>(stride + 8) * kUnit<T> * magnitude;
  return x;
}

/// Weighted sums of losses and of squared errors.
template <class T>
struct SumReference {
  Bounded loss, squares;
  Real additions = 0;  ///< in T and not in double, at most

  void add(const Terms& terms, Real weight) {
    const auto added = [&](Bounded& sum, const Bounded& term) {
      sum = sum + Bounded{weight * term.value, weight * (term.error + 2 * kUnit<T> * term.most())};
    };
    added(loss, terms.reported);
    added(squares, terms.square);
  }
  void check(const PassSums& sums, Loss of) const {
    const Real adding = additions * kUnit<T> + 1e-13L;  // all terms are above 0
    CHECK_CLOSE(sums.loss, loss.value, loss.error + adding * loss.most());
    CHECK_CLOSE(sums.squares, squares.value, squares.error + adding * squares.most());
    if (of == Loss::squared) CHECK_EQ(sums.loss, sums.squares);
  }
};

/// The SGD pass by its formulas: both rows' gradients are taken before either row moves, and the scores of a group
/// before any of its rows moves.
template <class T>
struct Reference {
  int clips = 0;
  SideReference<T> users, items;
  SumReference<T> sums;
  StepReference<T> steps;

  Reference(const Problem<T>& problem, const Case& tried, const StepSizes<T>& sizes)
      : users(problem.users), items(problem.items) {
    const std::int64_t k = problem.k, stride = problem.stride;
    std::vector<Bounded> by_user(static_cast<std::size_t>(k)), by_item(by_user);
    std::vector<Bounded> scores(problem.ratings.size());
    const auto score = [&](std::size_t r) {
      const Rating& rating = problem.ratings[r];
      scores[r] = score_of<T>(users.factors.data() + rating.user * stride, items.factors.data() + rating.item * stride,
                              k, stride, tried.biased, users.biases[rating.user], items.biases[rating.item]);
    };
    for (std::size_t r = 0; r < problem.ratings.size(); ++r) {
      if (r >= kGrouped) {
        score(r);
      } else if (r % kGroup == 0) {
        for (std::size_t j = 0; j < kGroup; ++j) score(r + j);
      }
      const Rating& rating = problem.ratings[r];
      const Bounded* p = users.factors.data() + rating.user * stride;
      const Bounded* q = items.factors.data() + rating.item * stride;
      const Bounded b = users.biases[rating.user], c = items.biases[rating.item];
      const Bounded x = scores[r];
      const Terms terms = terms_of(static_cast<Real>(rating.value), x, sizes.loss);
      Real weight = tried.weighted ? static_cast<Real>(problem.weights[r]) : 1;
      sums.add(terms, weight);
      weight = std::min(weight, static_cast<Real>(sizes.max_weight));
      const Bounded capped = clipped(terms.slope, static_cast<Real>(sizes.max_slope));
      clips += capped.value != terms.slope.value ? 1 : 0;
      const Bounded slope = Bounded{weight} * capped;
      const auto gradient = [&](const Bounded& other, const Bounded& pull) {
        const Bounded push = slope * other;
        Bounded sum = push + pull;
        sum.error += 8 * kUnit<T> * (push.most() + pull.most());
        return sum;
      };
      const PullReference<T> user(problem.users, rating.user, stride, sizes.reg.user, sizes.reg_bias.user, tried,
                                  sizes),
          item(problem.items, rating.item, stride, sizes.reg.item, sizes.reg_bias.item, tried, sizes);
      for (std::int64_t f = 0; f < k; ++f) {
        by_user[static_cast<std::size_t>(f)] = gradient(q[f], user.of_factor(f, p[f], {weight}));
        by_item[static_cast<std::size_t>(f)] = gradient(p[f], item.of_factor(f, q[f], {weight}));
      }
      const Bounded one{1}, by_user_bias = gradient(one, user.of_bias(b, {weight})),
                            by_item_bias = gradient(one, item.of_bias(c, {weight}));
      steps.step(users, rating.user, k, stride, by_user, by_user_bias, tried.biased, {weight}, sizes.l1.user,
                 sizes.l1_bias.user, sizes);
      steps.step(items, rating.item, k, stride, by_item, by_item_bias, tried.biased, {weight}, sizes.l1.item,
                 sizes.l1_bias.item, sizes);
    }
  }
};

/// Whether the test's cap is met by some slopes and not by others.
bool sizes_cap_some(Loss loss) { return loss != Loss::poisson && loss != Loss::absolute; }

template <class T>
void check_all(const T* values, const std::vector<Bounded>& expected) {
  for (std::size_t n = 0; n < expected.size(); ++n) CHECK_CLOSE(values[n], expected[n].value, expected[n].error);
}

/// What the rule has no use for must not be touched: there the bound is 0, as it is in the padding lanes.
template <class T>
void check_side(const RowsOf<T>& rows, const SideReference<T>& expected) {
  check_all(rows.factors.data(), expected.factors);
  check_all(rows.first.data(), expected.first);
  check_all(rows.second.data(), expected.second);
  check_all(rows.biases.data(), expected.biases);
  check_all(rows.bias_first.data(), expected.bias_first);
  check_all(rows.bias_second.data(), expected.bias_second);
  check_all(rows.numbers.data(), expected.numbers);
}

/// A bound must be able to tell a wrong kernel from rounding: far below what one factor of one rating contributes.
template <class T>
void check_narrow(const std::vector<Bounded>& expected, Real factor = 1) {
  Real widest = 0;
  for (const Bounded& b : expected) widest = std::max(widest, b.error);
  CHECK(widest < factor * (sizeof(T) == 4 ? 1e-3L : 1e-12L));
}

template <class T>
SgdArgs<T> args_of(Problem<T>& problem, const Case& tried) {
  SgdArgs<T> args{};
  args.users = problem.users.view(tried);
  args.items = problem.items.view(tried);
  args.active_factors = problem.k;
  args.width = problem.width;
  args.stride = problem.stride;
  args.sizes = sizes_of<T>(tried, problem.k);
  return args;
}

template <class T>
void check_sgd(int k, const Case& tried) {
  Problem<T> problem(k, tried);
  const Problem<T> before(k, tried);
  SgdArgs<T> args = args_of(problem, tried);
  args.ratings = problem.ratings.data();
  args.weights = tried.weighted ? problem.weights.data() : nullptr;
  args.n_ratings = static_cast<std::int64_t>(problem.ratings.size());
  args.n_grouped = kGrouped;
  const Reference<T> expected(problem, tried, args.sizes);
  const PassSums sums = kernel_table().kernels<T>().sgd(args);

  check_narrow<T>(expected.users.factors);
  // Both kinds of slope are in the test, and of what the threshold makes.
  if (sizes_cap_some(tried.loss)) CHECK(expected.clips > 0 && expected.clips < args.n_ratings);
  if (tried.limits != Limits::none && k > 1) {
    CHECK(expected.steps.zeros > 0 && expected.steps.zeros < args.n_ratings * (2 * k + 2));
  }
  expected.sums.check(sums, tried.loss);
  check_side(problem.users, expected.users);
  check_side(problem.items, expected.items);
  for (std::int64_t f = 0; f < problem.stride; ++f) {
    const std::int64_t user = kIdleUser * problem.stride + f, item = kIdleItem * problem.stride + f;
    CHECK_EQ(problem.users.factors[user], before.users.factors[user]);
    CHECK_EQ(problem.items.factors[item], before.items.factors[item]);
  }
}

void check_sgd_all(std::span<const int> ranks, std::span<const StepRule> rules, Case tried) {
  for (const int k : ranks) {
    for (const StepRule rule : rules) {
      for (const bool biased : {false, true}) {
        for (const bool weighted : {false, true}) {
          if (!check::takes_case()) continue;
          tried.rule = rule;
          tried.biased = biased;
          tried.weighted = weighted;
          check::context = tried.text("float", k);
          check_sgd<float>(k, tried);
          check::context = tried.text("double", k);
          check_sgd<double>(k, tried);
        }
      }
    }
  }
}

constexpr Loss kRealLosses[] = {Loss::absolute, Loss::huber, Loss::logistic, Loss::squared_hinge, Loss::custom};
constexpr StepRule kPlainAndAdam[] = {StepRule::plain, StepRule::adam};

TEST(sgd_agrees_with_the_formulas) { check_sgd_all(kRanks, std::span(kRules).first(1), {}); }
TEST(every_rule_agrees_with_its_formulas) {
  check_sgd_all(kSomeRanks, kGeneralRules, {});
  check_sgd_all(kMostFactors, kGeneralRules, {});
}
TEST(sgd_agrees_with_the_formulas_of_every_loss) {
  for (const Loss loss : kRealLosses) check_sgd_all(kFewRanks, kPlainAndAdam, {.loss = loss});
}
TEST(every_rule_agrees_with_its_formulas_with_an_l1_penalty) {
  check_sgd_all(kSomeRanks, kRules, {.limits = Limits::l1});
  for (const Loss loss : kRealLosses) {
    check_sgd_all(kFewRanks, std::span(kRules).first(1), {.loss = loss, .limits = Limits::l1});
  }
}
TEST(every_rule_agrees_with_its_formulas_without_negative_numbers) {
  check_sgd_all(kSomeRanks, kRules, {.limits = Limits::l1_and_zero});
}
TEST(every_rule_agrees_with_the_formulas_of_the_poisson_loss) {
  check_sgd_all(kFewRanks, kRules, {.loss = Loss::poisson, .limits = Limits::l1_and_zero});
}
TEST(every_rule_agrees_with_its_formulas_with_a_custom_loss_and_penalty) {
  check_sgd_all(kSomeRanks, kRules, {.loss = Loss::custom, .own_penalty = true});
  check_sgd_all(kFewRanks, kRules, {.limits = Limits::l1_and_zero, .own_penalty = true});
}

TEST(every_rule_leaves_alone_what_is_beyond_the_width) {
  constexpr int kPart[] = {16, 32, 48, 64, 112, 128, 7};
  check_sgd_all(kPart, kRules, {.beyond = 16});
  check_sgd_all(kFewRanks, kRules, {.loss = Loss::huber, .limits = Limits::l1, .beyond = 48});
  check_sgd_all(kFewRanks, kRules, {.own_penalty = true, .beyond = 16});
}

constexpr Pulls kOwnPulls[] = {Pulls::rows, Pulls::means};

TEST(sgd_pulls_each_row_by_its_own_strength_to_its_own_means) {
  for (const Pulls pulls : kOwnPulls) {
    check_sgd_all(kRanks, std::span(kRules).first(1), {.pulls = pulls});
    for (const Loss loss : kRealLosses) {
      check_sgd_all(kFewRanks, std::span(kRules).first(1), {.loss = loss, .pulls = pulls});
    }
    check_sgd_all(kFewRanks, std::span(kRules).first(1), {.loss = Loss::poisson, .pulls = pulls});
    check_sgd_all(kSomeRanks, std::span(kRules).first(1), {.beyond = 16, .pulls = pulls});
  }
}
TEST(every_rule_pulls_each_row_by_its_own_strength_to_its_own_means) {
  for (const Pulls pulls : kOwnPulls) {
    check_sgd_all(kSomeRanks, kGeneralRules, {.pulls = pulls});
    check_sgd_all(kFewRanks, kPlainAndAdam, {.loss = Loss::huber, .pulls = pulls});
    check_sgd_all(kFewRanks, kRules, {.beyond = 16, .pulls = pulls});
  }
  check_sgd_all(kFewRanks, kRules, {.limits = Limits::l1, .pulls = Pulls::rows});
  check_sgd_all(kFewRanks, kRules, {.limits = Limits::l1_and_zero, .pulls = Pulls::rows});
}

TEST(sgd_over_no_ratings_changes_nothing) {
  for (const StepRule rule : kRules) {
    Problem<float> problem(8);
    const Problem<float> before(8);
    SgdArgs<float> args = args_of(problem, {.rule = rule});
    CHECK_EQ(kernel_table().f32.sgd(args).loss, 0.0);
    CHECK(std::equal(before.users.factors.data(), before.users.factors.data() + before.users.factors.size(),
                     problem.users.factors.data()));
  }
}

/// The two kernels of a step by batches: rows in any order with these many ratings, which cover a whole group of
/// eight, parts of one, and several, and more than are added up in T.
constexpr std::int64_t kRowRatings[] = {3, 1, 8, 0, 7, 20, 9, 16, 300};

template <class T>
void check_batch(int k, const Case& tried, bool of_users, bool penalty_once) {
  Problem<T> problem(k, tried);
  const std::int64_t stride = problem.stride, width = problem.width;
  RowsOf<T>&own = of_users ? problem.users : problem.items, &other = of_users ? problem.items : problem.users;
  const std::size_t n_own = own.biases.size(), n_other = other.biases.size();
  std::vector<std::int32_t> rows, others;
  std::vector<std::int64_t> begin{5};  // the part's first rating is not the batch's
  std::vector<T> values;
  std::vector<float> weights;
  for (std::size_t r = 0; r < std::size(kRowRatings); ++r) {
    rows.push_back(static_cast<std::int32_t>((3 * r + 1) % n_own));
    begin.push_back(begin.back() + kRowRatings[r]);
  }
  // The ratings of the problem, over and over: their values fit the loss.
  SplitMix64 random(11, 0, static_cast<std::uint64_t>(k));
  for (std::int64_t n = 0; n < begin.back(); ++n) {
    const auto at = static_cast<std::size_t>(n) % problem.ratings.size();
    others.push_back(static_cast<std::int32_t>(random.below(n_other)));
    values.push_back(static_cast<T>(problem.ratings[at].value));
    weights.push_back(problem.weights[at]);
  }
  // What may be read after the last rating, and must not count, whatever a loss makes of it.
  for (int j = 0; j < kGroup; ++j) {
    others.push_back(j);
    values.push_back(tried.loss == Loss::squared ? T(100) : std::numeric_limits<T>::quiet_NaN());
    weights.push_back(7);
  }
  const auto n_rows = static_cast<std::int64_t>(rows.size());
  Buffer<T> gradients(n_rows * stride);
  std::vector<T> bias_gradients(rows.size()), row_weights(rows.size());

  BatchRows<T> batch{};
  batch.own = own.view(tried);
  batch.other = other.view(tried);
  batch.of_users = of_users;
  batch.penalty_once = penalty_once;
  batch.active_factors = k;
  batch.width = width;
  batch.stride = stride;
  batch.rows = rows.data();
  batch.begin = begin.data();
  batch.n_rows = n_rows;
  batch.others = others.data();
  batch.values = values.data();
  batch.weights = tried.weighted ? weights.data() : nullptr;
  batch.gradients = gradients.data();
  batch.bias_gradients = bias_gradients.data();
  batch.row_weights = row_weights.data();
  batch.sizes = sizes_of<T>(tried, k);
  const StepSizes<T>& sizes = batch.sizes;

  const PassSums found = kernel_table().kernels<T>().batch_gradients(batch);
  SideReference<T> side(own);
  const SideReference<T> across(other);
  check_side(own, side);  // no row has moved
  check_side(other, across);
  SumReference<T> sums;
  sums.additions = 32;  // 256 ratings, eight sums
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const auto row = static_cast<std::size_t>(rows[r]);
    std::vector<Bounded> gradient(static_cast<std::size_t>(width));
    std::vector<Real> magnitudes(gradient.size(), 0);
    Bounded bias_gradient;
    Real bias_magnitude = 0, weight_sum = 0;
    for (std::int64_t n = begin[r]; n < begin[r + 1]; ++n) {
      const auto at = static_cast<std::size_t>(n), rated = static_cast<std::size_t>(others[at]);
      const Bounded *p = side.factors.data() + rows[r] * stride, *q = across.factors.data() + others[at] * stride;
      const Bounded x = score_of<T>(p, q, k, stride, tried.biased, side.biases[row], across.biases[rated]);
      const Terms terms = terms_of(static_cast<Real>(values[at]), x, sizes.loss);
      Real weight = tried.weighted ? static_cast<Real>(weights[at]) : 1;
      if (of_users) sums.add(terms, weight);
      weight = std::min(weight, static_cast<Real>(sizes.max_weight));
      weight_sum += weight;
      const Bounded slope = rounded<T>(Bounded{weight} * clipped(terms.slope, static_cast<Real>(sizes.max_slope)), 2);
      bias_gradient = bias_gradient + slope;
      bias_magnitude += slope.most();
      for (std::int64_t f = 0; f < width; ++f) {
        const Bounded part = slope * q[f];
        gradient[static_cast<std::size_t>(f)] = gradient[static_cast<std::size_t>(f)] + part;
        magnitudes[static_cast<std::size_t>(f)] += part.most();
      }
    }
    const Real u = kUnit<T>, n_terms = static_cast<Real>(kRowRatings[r] + 8);
    for (std::size_t f = 0; f < gradient.size(); ++f) gradient[f].error += n_terms * u * magnitudes[f];
    check_narrow<T>(gradient, kRowRatings[r] > 100 ? 10 : 1);
    for (std::size_t f = 0; f < gradient.size(); ++f) {
      CHECK_CLOSE(gradients[static_cast<std::int64_t>(r) * stride + static_cast<std::int64_t>(f)], gradient[f].value,
                  gradient[f].error);
    }
    if (tried.biased)
      CHECK_CLOSE(bias_gradients[r], bias_gradient.value, bias_gradient.error + n_terms * u * bias_magnitude);
    CHECK_CLOSE(row_weights[r], penalty_once ? 1 : weight_sum, n_terms * u * weight_sum);
  }
  sums.check(found, tried.loss);

  // The steps, from the gradients as they were found.
  StepReference<T> steps;
  const auto own_of = [&](const Sides<T>& sides) { return of_users ? sides.user : sides.item; };
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const auto row = static_cast<std::size_t>(rows[r]);
    const Bounded weight{static_cast<Real>(row_weights[r])};
    const PullReference<T> own_pull(own, rows[r], stride, own_of(sizes.reg), own_of(sizes.reg_bias), tried, sizes);
    const auto with_pull = [&](T gradient, const Bounded& pull) {
      const Bounded push{static_cast<Real>(gradient)};
      Bounded sum = push + pull;
      sum.error += 4 * kUnit<T> * (push.most() + pull.most());
      return sum;
    };
    std::vector<Bounded> gradient;
    for (std::int64_t f = 0; f < k; ++f) {
      const Bounded& w = side.factors[row * static_cast<std::size_t>(stride) + static_cast<std::size_t>(f)];
      gradient.push_back(
          with_pull(gradients[static_cast<std::int64_t>(r) * stride + f], own_pull.of_factor(f, w, weight)));
    }
    steps.step(side, row, k, stride, gradient, with_pull(bias_gradients[r], own_pull.of_bias(side.biases[row], weight)),
               tried.biased, weight, own_of(sizes.l1), own_of(sizes.l1_bias), sizes);
  }
  kernel_table().kernels<T>().batch_steps(batch);
  check_narrow<T>(side.factors);
  check_side(own, side);
  check_side(other, across);
}

void check_batches(std::span<const int> ranks, std::span<const StepRule> rules, Case tried) {
  for (const int k : ranks) {
    for (const StepRule rule : rules) {
      for (const bool biased : {false, true}) {
        for (const bool weighted : {false, true}) {
          if (!check::takes_case()) continue;
          tried.rule = rule;
          tried.biased = biased;
          tried.weighted = weighted;
          const bool of_users = biased != weighted, penalty_once = weighted;
          const std::string side = of_users ? ", users" : ", items";
          check::context = tried.text("float", k) + side;
          check_batch<float>(k, tried, of_users, penalty_once);
          check::context = tried.text("double", k) + side;
          check_batch<double>(k, tried, !of_users, !penalty_once);
        }
      }
    }
  }
}

// Rows of one, two and more vectors, with each instruction set and type.
TEST(batch_gradients_agree_with_plain_loops) { check_batches(kRanks, std::span(kRules).first(1), {}); }
TEST(batch_steps_agree_with_the_formulas_of_every_rule) {
  check_batches(kSomeRanks, kGeneralRules, {});
  check_batches(kFewRanks, kRules, {.limits = Limits::l1});
  check_batches(kFewRanks, kRules, {.limits = Limits::l1_and_zero});
}
TEST(batch_gradients_agree_with_the_formulas_of_every_loss) {
  for (const Loss loss : kRealLosses) check_batches(kFewRanks, std::span(kRules).first(1), {.loss = loss});
  check_batches(kFewRanks, kPlainAndAdam, {.loss = Loss::poisson, .limits = Limits::l1_and_zero});
}
TEST(batches_leave_alone_what_is_beyond_the_width) {
  check_batches(kSomeRanks, kRules, {.beyond = 16});
  check_batches(kFewRanks, kRules, {.loss = Loss::custom, .own_penalty = true, .beyond = 16});
}
TEST(batches_take_a_custom_loss_and_penalty) {
  check_batches(kFewRanks, kRules, {.loss = Loss::custom, .own_penalty = true});
}

TEST(batches_pull_each_row_by_its_own_strength_to_its_own_means) {
  for (const Pulls pulls : kOwnPulls) {
    check_batches(kRanks, std::span(kRules).first(1), {.pulls = pulls});
    check_batches(kSomeRanks, kGeneralRules, {.pulls = pulls});
    check_batches(kFewRanks, kRules, {.loss = Loss::huber, .beyond = 16, .pulls = pulls});
  }
  check_batches(kFewRanks, kRules, {.limits = Limits::l1_and_zero, .pulls = Pulls::rows});
}

/// Sums of rows of a list: none, one, few, more than are fetched ahead, one row several times.
template <class T>
void check_sum_rows(std::int64_t k, std::int64_t beyond) {
  constexpr std::int64_t kSummed[] = {3, 0, 1, 40, 8, 0, 9, 17};
  const Problem<T> problem(k, {.beyond = beyond});
  const std::int64_t stride = problem.stride, width = problem.width;
  constexpr auto kRows = static_cast<std::int64_t>(std::size(kSummed));
  std::vector<std::int32_t> others(5, kUsers - 1);  // the first row of the call is not the list's
  std::vector<std::int64_t> begin{5};
  SplitMix64 random(12, 0, static_cast<std::uint64_t>(k));
  for (const std::int64_t n : kSummed) {
    begin.push_back(begin.back() + n);
    while (static_cast<std::int64_t>(others.size()) < begin.back()) {
      others.push_back(static_cast<std::int32_t>(random.below(kUsers)));
    }
  }
  Buffer<T> out(kRows * stride);
  std::fill_n(out.data(), out.size(), T(-7));
  std::vector<T> numbers(kRows, T(-7));
  kernel_table().kernels<T>().sum_rows({problem.users.factors.data(), problem.users.biases.data(), others.data(),
                                        begin.data(), kRows, width, stride, out.data(), numbers.data()});
  for (std::int64_t r = 0; r < kRows; ++r) {
    const auto sum_of = [&](const auto& value) {
      Bounded sum;
      Real magnitude = 0;
      for (std::int64_t n = begin[static_cast<std::size_t>(r)]; n < begin[static_cast<std::size_t>(r) + 1]; ++n) {
        const Real each = static_cast<Real>(value(others[static_cast<std::size_t>(n)]));
        sum.value += each;
        magnitude += std::abs(each);
      }
      sum.error = static_cast<Real>(kSummed[r]) * kUnit<T> * magnitude;
      return sum;
    };
    for (std::int64_t f = 0; f < stride; ++f) {
      const Bounded sum = sum_of([&](std::int32_t row) { return problem.users.factors[row * stride + f]; });
      if (f < width) CHECK_CLOSE(out[r * stride + f], sum.value, sum.error);
      if (f >= width) CHECK_EQ(out[r * stride + f], T(-7));
    }
    const Bounded sum = sum_of([&](std::int32_t row) { return problem.users.biases[static_cast<std::size_t>(row)]; });
    CHECK_CLOSE(numbers[static_cast<std::size_t>(r)], sum.value, sum.error);
  }
}
TEST(rows_of_a_list_are_summed) {
  for (const int k : kRanks) {
    for (const std::int64_t beyond : {0, 16}) {
      if (!check::takes_case()) continue;
      check::context = "float, k = " + std::to_string(k) + (beyond > 0 ? ", part of the rows" : "");
      check_sum_rows<float>(k, beyond);
      check::context = "double, k = " + std::to_string(k) + (beyond > 0 ? ", part of the rows" : "");
      check_sum_rows<double>(k, beyond);
    }
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
  const Unpadded<T> users(problem.users.factors, kUsers, k, problem.stride),
      items(problem.items.factors, kItems, k, problem.stride);
  const T mean = T(3.5);
  const auto expected = [&](std::int64_t user, std::int64_t item, bool biased) {
    Real value = static_cast<Real>(mean), magnitude = std::abs(value);
    const auto add = [&](Real term) {
      value += term;
      magnitude += std::abs(term);
    };
    if (biased && user >= 0) add(static_cast<Real>(problem.users.biases[static_cast<std::size_t>(user)]));
    if (biased && item >= 0) add(static_cast<Real>(problem.items.biases[static_cast<std::size_t>(item)]));
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
    const T* user_biases = biased ? problem.users.biases.data() : nullptr;
    const T* item_biases = biased ? problem.items.biases.data() : nullptr;
    std::vector<T> plain(user_ids.size()), padded(user_ids.size());
    const auto n = static_cast<std::int64_t>(user_ids.size());
    kernels.predict_pairs({users.rows, items.rows, user_biases, item_biases, mean, k, k, user_ids.data(),
                           item_ids.data(), n, plain.data()});
    kernels.predict_pairs({problem.users.factors.data(), problem.items.factors.data(), user_biases, item_biases, mean,
                           problem.stride, problem.stride, user_ids.data(), item_ids.data(), n, padded.data()});
    for (std::size_t r = 0; r < plain.size(); ++r) {
      const Bounded x = expected(user_ids[r], item_ids[r], biased);
      CHECK_CLOSE(plain[r], x.value, x.error);
      CHECK_CLOSE(padded[r], x.value, x.error);
    }
    for (std::int32_t user = -1; user < kUsers; ++user) {
      T offset = mean;
      if (biased && user >= 0) offset += problem.users.biases[static_cast<std::size_t>(user)];
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
    if (!check::takes_case()) continue;
    check::context = "float, k = " + std::to_string(k);
    check_predictions<float>(k);
    check::context = "double, k = " + std::to_string(k);
    check_predictions<double>(k);
  }
}

/// Panels against rows: the same bits, so that lists do not depend on how many are asked for at once.
template <class T>
void check_panel(int k) {
  SplitMix64 random(static_cast<std::uint64_t>(k));
  constexpr std::int64_t kLine = padded_stride<T>(1), n_rows = 3 * kLine;
  for (const std::int64_t n_queries : {1, 3, 4, 9}) {
    std::vector<T> queries(static_cast<std::size_t>(n_queries * k)), offsets(static_cast<std::size_t>(n_queries)),
        rows(static_cast<std::size_t>(n_rows * k));
    Buffer<T> panel(n_rows * k), biases(n_rows), out(n_queries * n_rows);
    for (auto* const values : {&queries, &offsets, &rows}) {
      for (T& value : *values) value = static_cast<T>(uniform(random)) / 3;  // no longer exact in T
    }
    for (std::int64_t row = 0; row < n_rows; ++row) {
      biases[row] = static_cast<T>(uniform(random)) / 3;
      const std::int64_t line = row / kLine * kLine;
      for (std::int64_t f = 0; f < k; ++f) {
        panel[line * k + f * kLine + row % kLine] = rows[static_cast<std::size_t>(row * k + f)];
      }
    }
    const Kernels<T>& kernels = kernel_table().kernels<T>();
    kernels.score_panel(
        {queries.data(), offsets.data(), n_queries, panel.data(), biases.data(), k, n_rows, out.data()});
    for (std::int64_t q = 0; q < n_queries; ++q) {
      std::vector<T> expected(static_cast<std::size_t>(n_rows));
      kernels.score_rows({queries.data() + q * k, rows.data(), biases.data(), offsets[static_cast<std::size_t>(q)], k,
                          n_rows, expected.data()});
      for (std::int64_t row = 0; row < n_rows; ++row) {
        CHECK_EQ(out[q * n_rows + row], expected[static_cast<std::size_t>(row)]);
      }
    }
  }
}

TEST(panels_give_the_bits_of_rows) {
  for (int k = 1; k <= 130; ++k) {
    if (!check::takes_case()) continue;
    check::context = "float, k = " + std::to_string(k);
    check_panel<float>(k);
    check::context = "double, k = " + std::to_string(k);
    check_panel<double>(k);
  }
}

template <class T>
void check_first_above() {
  const Kernels<T>& kernels = kernel_table().kernels<T>();
  constexpr std::int64_t kValues = 300;
  std::vector<T> values(kValues, T(1));
  values[5] = std::numeric_limits<T>::quiet_NaN();
  values[70] = -std::numeric_limits<T>::infinity();
  for (const std::int64_t at : {0, 1, 63, 64, 65, 255, 256, 299}) {
    const auto place = static_cast<std::size_t>(at);
    const T before = std::exchange(values[place], T(2));
    for (const std::int64_t from : {std::int64_t{0}, at / 2, at, at + 1}) {
      CHECK_EQ(kernels.first_above(values.data(), from, kValues, T(1)), from <= at ? at : kValues);
      CHECK_EQ(kernels.first_above(values.data(), from, at, T(1)), std::max(from, at));  // it lies beyond the end
    }
    values[place] = before;
  }
}

TEST(the_first_value_above_a_limit_is_found_past_nan_and_infinity) {
  check_first_above<float>();
  check_first_above<double>();
}

TEST(rows_are_padded_to_whole_cache_lines) {
  for (std::int64_t k = 1; k <= 1024; ++k) {
    for (const auto& [stride, size] : {std::pair{padded_stride<float>(k), 4}, std::pair{padded_stride<double>(k), 8}}) {
      CHECK(stride >= k && stride * size % kRowAlignment == 0 && (stride - k) * size < kRowAlignment);
    }
  }
}

}  // namespace
