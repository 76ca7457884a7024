// SPDX-License-Identifier: Apache-2.0
// The inner loops. Compiled once per instruction set, each time into the namespace isa_<name>: everything here is
// either in that namespace or a built-in, so that no wide-vector code can be linked into the rest of the program.
#define WARPFACTOR_JOIN2(a, b) a##b
#define WARPFACTOR_JOIN(a, b) WARPFACTOR_JOIN2(a, b)
#define WARPFACTOR_TEXT2(a) #a
#define WARPFACTOR_TEXT(a) WARPFACTOR_TEXT2(a)
#define WARPFACTOR_RULE_NAMESPACE WARPFACTOR_JOIN(isa_, WARPFACTOR_KERNEL_ISA)

#include "cpu/gibbs_kernel.hpp"
#include "cpu/kernel_table.hpp"
#include "cpu/ridge_kernel.hpp"
#include "cpu/score_kernel.hpp"
#include "cpu/tuning.hpp"
#include "cpu/vec.hpp"
#include "update_rule.hpp"

namespace warpfactor {
namespace WARPFACTOR_RULE_NAMESPACE {
namespace {

/// The terms of eight ratings, by any loss. The loss is chosen at run time, in a function that all variants of the pass
/// share, because a variant for each loss would cost seconds of compiling.
template <class T>
WARPFACTOR_NOINLINE void group_terms(const Eight<T>& value, const Eight<T>& score, const LossShape<T>& shape,
                                     LossTerms<Eight<T>>& terms) {
  if (shape.loss != Loss::custom) {
    terms = loss_terms(value, shape.offset + score, shape);
    return;
  }
  terms = custom_terms(value, score, shape,
                       [&](const Eight<T>& r, const Eight<T>& answer, Eight<T>& loss, Eight<T>& slope) {
                         alignas(kRowAlignment) T ratings[kGroup], answers[kGroup], losses[kGroup], slopes[kGroup];
                         r.store(ratings);
                         answer.store(answers);
                         shape.function(ratings, answers, losses, slopes);
                         loss = Eight<T>::load(losses);
                         slope = Eight<T>::load(slopes);
                       });
}

/// The terms of one rating, by any loss.
template <class T>
WARPFACTOR_NOINLINE LossTerms<T> other_loss(const LossShape<T>& shape, T value, T score) {
  if (shape.loss != Loss::custom) return loss_terms(value, score + shape.offset, shape);
  LossTerms<Eight<T>> terms;
  group_terms(Eight<T>::all(value), Eight<T>::all(score), shape, terms);
  alignas(kRowAlignment) T reported[kGroup], slopes[kGroup], squares[kGroup];
  terms.reported.store(reported);
  terms.slope.store(slopes);
  terms.square.store(squares);
  return {reported[0], slopes[0], squares[0]};
}

/// Adds the losses of eight ratings to sums[0 .. 7] and their squared errors to sums[8 .. 15].
template <class T>
WARPFACTOR_INLINE void add_terms(const LossTerms<Eight<T>>& terms, double* sums) {
  alignas(kRowAlignment) T reported[kGroup], squares[kGroup];
  terms.reported.store(reported);
  terms.square.store(squares);
  for (int j = 0; j < kGroup; ++j) {
    sums[j] += static_cast<double>(reported[j]);
    sums[kGroup + j] += static_cast<double>(squares[j]);
  }
}

PassSums total(const double* sums) {
  PassSums all;
  for (int j = 0; j < kGroup; ++j) {
    all.loss += sums[j];
    all.squares += sums[kGroup + j];
  }
  return all;
}

/// The weights of eight ratings.
template <class T>
WARPFACTOR_INLINE Eight<T> weights_of(const float* weights) {
  return weights == nullptr ? Eight<T>::all(T(1)) : Eight<T>::each([&](int j) { return static_cast<T>(weights[j]); });
}

/// The slopes of the group that begins at rating `r`. Adds its losses and squared errors to `sums`. kWidth: as for
/// Pass.
template <class T, int kWidth>
WARPFACTOR_NOINLINE void group_slopes(const SgdArgs<T>& args, std::int64_t r, T* slopes, double* sums) {
  using Numbers = Eight<T>;
  const std::int64_t width = kWidth > 0 ? kWidth : args.width;
  const Rating* const ratings = args.ratings + r;
  typename Vec<T>::Raw products[kGroup];
  WARPFACTOR_UNROLL_8
  for (int j = 0; j < kGroup; ++j) {
    products[j] = products_of(args.users.factors + ratings[j].user * args.stride,
                              args.items.factors + ratings[j].item * args.stride, width);
  }
  Numbers score = Numbers::sums(products);
  if (args.users.biases != nullptr) {
    score = score + Numbers::each(
                        [&](int j) { return args.users.biases[ratings[j].user] + args.items.biases[ratings[j].item]; });
  }
  LossTerms<Numbers> terms;
  group_terms(Numbers::each([&](int j) { return static_cast<T>(ratings[j].value); }), score, args.sizes.loss, terms);
  if (args.weights != nullptr) {
    const Numbers weight = weights_of<T>(args.weights + r);
    terms.reported = weight * terms.reported;
    terms.square = weight * terms.square;
  }
  add_terms(terms, sums);
  terms.slope.store(slopes);
}

/// The score of one rating.
template <class T>
WARPFACTOR_INLINE T score_of(const SgdArgs<T>& args, const Rating& rating) {
  const T x = Vec<T>{products_of(args.users.factors + rating.user * args.stride,
                                 args.items.factors + rating.item * args.stride, args.width)}
                  .sum();
  return args.users.biases == nullptr ? x : x + (args.users.biases[rating.user] + args.items.biases[rating.item]);
}

template <class T>
WARPFACTOR_INLINE void prefetch_pair(const T* p, const T* q, std::int64_t width) {
  constexpr std::int64_t kLine = kRowAlignment / static_cast<std::int64_t>(sizeof(T));
  for (std::int64_t f = 0; f < width; f += kLine) {
    prefetch(p + f);
    prefetch(q + f);
  }
}
template <class T>
WARPFACTOR_INLINE void prefetch_rows(const SgdArgs<T>& args, const Rating& rating, std::int64_t width) {
  prefetch_pair(args.users.factors + rating.user * args.stride, args.items.factors + rating.item * args.stride, width);
}
template <class T>
WARPFACTOR_INLINE void prefetch_means(const SgdArgs<T>& args, const Rating& rating, std::int64_t width) {
  prefetch_pair(args.users.means + rating.user * args.stride, args.items.means + rating.item * args.stride, width);
}

/// How the penalties pull: all rows alike to zero, each row by its own strength to zero, or to its prior means.
enum class Pulls { alike, rows, means };

/// Plain SGD with L2 penalties over a block's ratings: what most people train. kWidth: the width if it is known at
/// compile time, else 0. With a loss other than the squared one, a function of its own computes a group's slopes before
/// the group's update: a call inside the update, even if never made, cost the squared loss 1 to 4 % of its speed.
template <class T, int kWidth, bool kBiased, bool kWeighted, bool kSquared, Pulls kPulls>
class Pass {
 public:
  explicit Pass(const SgdArgs<T>& args)
      : args_(args), even_step_(make_step(T(0), args.sizes.learning_rate, args.sizes)) {}

  PassSums run() const {
    double group_sums[2 * kGroup] = {};  // losses, then squared errors if those differ
    alignas(kRowAlignment) T slopes[kGroup];
    for (std::int64_t r = 0; r < args_.n_grouped; r += kGroup) {
      if constexpr (!kSquared) group_slopes<T, kWidth>(args_, r, slopes, group_sums);
      // One group ahead a row from L2 arrives in time and is not evicted before its use.
      update_group(r, args_.ratings + (r + kGroup < args_.n_grouped ? r + kGroup : r), slopes, group_sums);
    }
    PassSums sums = total(group_sums);
    for (std::int64_t r = args_.n_grouped; r < args_.n_ratings; ++r) {
      if (r + kFetchAhead < args_.n_ratings) fetch(args_.ratings[r + kFetchAhead]);
      update_one(r, sums);
    }
    if constexpr (kSquared) sums.squares = sums.loss;
    return sums;
  }

 private:
  using V = Vec<T>;
  using Raw = typename V::Raw;
  using Numbers = Eight<T>;  // one for each rating of a group

  T* user_row(const Rating& rating) const { return args_.users.factors + rating.user * args_.stride; }
  T* item_row(const Rating& rating) const { return args_.items.factors + rating.item * args_.stride; }
  std::int64_t width() const { return kWidth > 0 ? kWidth : args_.width; }
  WARPFACTOR_INLINE void fetch(const Rating& rating) const {
    prefetch_rows(args_, rating, width());
    if constexpr (kPulls == Pulls::means) prefetch_means(args_, rating, width());
  }

  WARPFACTOR_INLINE void update_rows(T* p, T* q, T scaled_slope, Sides<T> keep) const {
    for (std::int64_t f = 0; f < width(); f += V::lanes) {
      const Raw user = V::load_raw(p + f), item = V::load_raw(q + f);
      V::store_raw(p + f, stepped_factor(user, item, scaled_slope, keep.user));
      V::store_raw(q + f, stepped_factor(item, user, scaled_slope, keep.item));
    }
  }
  /// The biases and the rows of a rating of this weight, each by the row's own pull.
  WARPFACTOR_INLINE void update_pulled(const Rating& rating, T scaled_slope, T weight) const {
    const StepSizes<T>& sizes = args_.sizes;
    const RowPull<T> user = args_.users.pulls[rating.user], item = args_.items.pulls[rating.item];
    const auto share = [&](T strength) { return sizes.learning_rate * limited_pull(weight * strength, sizes); };
    if constexpr (kBiased) {
      T &user_bias = args_.users.biases[rating.user], &item_bias = args_.items.biases[rating.item];
      user_bias += share(user.bias) * (user.bias_mean - user_bias) - scaled_slope;
      item_bias += share(item.bias) * (item.bias_mean - item_bias) - scaled_slope;
    }
    const Sides<T> pull{share(user.factors), share(item.factors)};
    T *const p = user_row(rating), *const q = item_row(rating);
    const T slope = moved(scaled_slope);
    if constexpr (kPulls == Pulls::rows) {
      update_rows(p, q, slope, {T(1) - pull.user, T(1) - pull.item});
    } else {
      const T *const p_means = args_.users.means + rating.user * args_.stride, *const q_means =
                                                                                   args_.items.means +
                                                                                   rating.item * args_.stride;
      const T user_keep = T(1) - pull.user, item_keep = T(1) - pull.item;
      for (std::int64_t f = 0; f < width(); f += V::lanes) {
        const Raw own = V::load_raw(p + f), other = V::load_raw(q + f);
        V::store_raw(p + f, stepped_factor(own, other, slope, user_keep) + pull.user * V::load_raw(p_means + f));
        V::store_raw(q + f, stepped_factor(other, own, slope, item_keep) + pull.item * V::load_raw(q_means + f));
      }
    }
  }

  /// A group: all dot products, then the steps one after the other, so that a step starts from where the step before
  /// left a row that they share. A function of its own: inlined into a longer one, GCC 12 runs out of registers and
  /// stores each vector twice, which took a fifth of the speed at 64 and 128 factors.
  WARPFACTOR_NOINLINE void update_group(std::int64_t r, const Rating* next, const T* slopes_given, double* sums) const {
    const Rating* const ratings = args_.ratings + r;
    const StepSizes<T>& sizes = args_.sizes;
    T *p[kGroup], *q[kGroup];
    Raw products[kGroup];
    WARPFACTOR_UNROLL_8
    for (int j = 0; j < kGroup; ++j) {
      fetch(next[j]);
      p[j] = user_row(ratings[j]);
      q[j] = item_row(ratings[j]);
      if constexpr (kSquared) products[j] = products_of(p[j], q[j], width());
    }
    Numbers weight, slope;
    if constexpr (kWeighted) weight = weights_of<T>(args_.weights + r);
    if constexpr (kSquared) {
      Numbers prediction = Numbers::sums(products);
      if constexpr (kBiased) {
        prediction = prediction + Numbers::each([&](int j) {
                       return args_.users.biases[ratings[j].user] + args_.items.biases[ratings[j].item];
                     });
      }
      const Numbers value = Numbers::each([&](int j) { return static_cast<T>(ratings[j].value); });
      Numbers reported = SquaredLoss::reported(value, prediction);
      if constexpr (kWeighted) reported = weight * reported;
      alignas(kRowAlignment) T loss[kGroup];
      reported.store(loss);
      for (int j = 0; j < kGroup; ++j) sums[j] += static_cast<double>(loss[j]);
      slope = SquaredLoss::slope(value, prediction);
    } else {
      slope = Numbers::load(slopes_given);
    }
    slope = capped(slope, sizes);
    alignas(kRowAlignment) T scaled[kGroup];
    if constexpr (kPulls != Pulls::alike) {
      alignas(kRowAlignment) T weights[kGroup];
      if constexpr (kWeighted) {
        const Numbers counted = at_most(weight, sizes.max_weight);
        counted.store(weights);
        (sizes.learning_rate * counted * slope).store(scaled);
      } else {
        (sizes.learning_rate * slope).store(scaled);
      }
      WARPFACTOR_UNROLL_8
      for (int j = 0; j < kGroup; ++j) update_pulled(ratings[j], scaled[j], kWeighted ? weights[j] : T(1));
    } else if constexpr (kWeighted) {
      const auto step = make_step(slope, sizes.learning_rate * at_most(weight, sizes.max_weight), sizes);
      alignas(kRowAlignment) T factor_keeps[2][kGroup], bias_keeps[2][kGroup];
      step.scaled_slope.store(scaled);
      step.keep_factors.user.store(factor_keeps[0]);
      step.keep_factors.item.store(factor_keeps[1]);
      step.keep_biases.user.store(bias_keeps[0]);
      step.keep_biases.item.store(bias_keeps[1]);
      for (int j = 0; j < kGroup; ++j) step_biases(ratings[j], scaled[j], {bias_keeps[0][j], bias_keeps[1][j]});
      WARPFACTOR_UNROLL_8
      for (int j = 0; j < kGroup; ++j) update_rows(p[j], q[j], scaled[j], {factor_keeps[0][j], factor_keeps[1][j]});
    } else {
      (sizes.learning_rate * slope).store(scaled);
      WARPFACTOR_UNROLL_8
      for (int j = 0; j < kGroup; ++j) step_biases(ratings[j], scaled[j], even_step_.keep_biases);
      WARPFACTOR_UNROLL_8
      for (int j = 0; j < kGroup; ++j) update_rows(p[j], q[j], moved(scaled[j]), even_step_.keep_factors);
    }
  }

  void step_biases(const Rating& rating, T scaled_slope, Sides<T> keep) const {
    if constexpr (kBiased) {
      T &user = args_.users.biases[rating.user], &item = args_.items.biases[rating.item];
      user = stepped_bias(user, scaled_slope, keep.user);
      item = stepped_bias(item, scaled_slope, keep.item);
    }
  }

  void update_one(std::int64_t r, PassSums& sums) const {
    const Rating rating = args_.ratings[r];
    const StepSizes<T>& sizes = args_.sizes;
    T *p = user_row(rating), *q = item_row(rating);
    T prediction = V{products_of(p, q, width())}.sum();
    if constexpr (kBiased) prediction += args_.users.biases[rating.user] + args_.items.biases[rating.item];
    const T value = static_cast<T>(rating.value);
    const T weight = kWeighted ? static_cast<T>(args_.weights[r]) : T(1);
    T reported, slope;
    if constexpr (kSquared) {
      reported = SquaredLoss::reported(value, prediction);
      slope = SquaredLoss::slope(value, prediction);
    } else {
      const LossTerms<T> terms = other_loss(sizes.loss, value, prediction);
      reported = terms.reported;
      slope = terms.slope;
      sums.squares += static_cast<double>(weight * terms.square);
    }
    sums.loss += static_cast<double>(weight * reported);
    if constexpr (kPulls != Pulls::alike) {
      const T counted = at_most(weight, sizes.max_weight);
      update_pulled(rating, sizes.learning_rate * counted * capped(slope, sizes), counted);
      return;
    }
    const T rate = sizes.learning_rate * at_most(weight, sizes.max_weight);
    const auto step = make_step(capped(slope, sizes), rate, sizes);
    step_biases(rating, step.scaled_slope, step.keep_biases);
    update_rows(p, q, moved(step.scaled_slope), step.keep_factors);
  }

  /// The slope by which rows move. For the roofline benchmark this file is compiled with rows that wait for no slope:
  /// the same loads, arithmetic and stores, but nothing depends on a dot product.
  T moved(T scaled_slope) const {
#if defined(WARPFACTOR_INDEPENDENT_ROWS)
    (void)scaled_slope;
    return T(0) * args_.sizes.reg.user;
#else
    return scaled_slope;
#endif
  }

  const SgdArgs<T> args_;       // a copy: nothing that is written can alias it
  const Step<T, T> even_step_;  ///< what the steps of all ratings share if none has a weight
};

// Factors of a trained row at most. Batches without a custom penalty may have more (matrix_factorization_bgd).
constexpr std::int64_t kMaxStride = kMostFactors;

/// The slopes of the custom penalty at a row's `n` parameters, and zeros up to the next multiple of 16, for which
/// `slopes` has room. `values` ends after `width` parameters.
template <class T>
WARPFACTOR_NOINLINE void penalty_slopes(PenaltyFunction<T> penalty, const T* values, std::int64_t n, std::int64_t width,
                                        T* slopes) {
  constexpr std::int64_t kAtOnce = 16;
  const std::int64_t padded = (n + kAtOnce - 1) / kAtOnce * kAtOnce,
                     whole = padded <= width ? padded : padded - kAtOnce;
  if (whole > 0) penalty(values, slopes, whole);
  if (whole < padded) {  // a row of doubles may end in the middle of 16; the next row follows
    alignas(kRowAlignment) T rest[kAtOnce] = {};
    for (std::int64_t f = whole; f < n; ++f) rest[f - whole] = values[f];
    penalty(rest, slopes + whole, kAtOnce);
  }
  for (std::int64_t f = n; f < padded; ++f) slopes[f] = 0;
}

/// What a penalty's strength is multiplied with in a gradient: the parameters themselves (L2), or the slopes of the
/// custom penalty, which are written to `slopes`.
template <class T>
WARPFACTOR_INLINE const T* pulls_of(const StepSizes<T>& sizes, const T* values, std::int64_t n, std::int64_t width,
                                    T* slopes) {
  if (sizes.penalty == nullptr) [[likely]]
    return values;
  penalty_slopes(sizes.penalty, values, n, width, slopes);
  return slopes;
}

/// The same of a row, which may have a pull of its own.
template <class T>
WARPFACTOR_INLINE const T* pulls_of_row(const SideRows<T>& side, std::int64_t row, std::int64_t stride,
                                        const StepSizes<T>& sizes, std::int64_t n, std::int64_t width, T* slopes) {
  const T* const values = side.factors + row * stride;
  if (side.means == nullptr) [[likely]]
    return pulls_of(sizes, values, n, width, slopes);
  using V = Vec<T>;
  const T* const means = side.means + row * stride;
  for (std::int64_t f = 0; f < width; f += V::lanes) {
    V::store_raw(slopes + f, V::load_raw(values + f) - V::load_raw(means + f));
  }
  return slopes;
}
/// How strongly a row is pulled by ratings of this weight; `alike`: where rows have no pulls of their own.
template <class T>
WARPFACTOR_INLINE T factor_pull(const SideRows<T>& side, std::int64_t row, T weight, T alike,
                                const StepSizes<T>& sizes) {
  return side.pulls == nullptr ? weight * alike : limited_pull(weight * side.pulls[row].factors, sizes);
}

/// The gradient of a row's bias: the slope, plus what the penalty adds for ratings of this weight.
template <class T>
WARPFACTOR_INLINE T bias_gradient(const SideRows<T>& side, std::int64_t row, const StepSizes<T>& sizes, T slope,
                                  T weight, T alike) {
  const T bias = side.biases[row];
  if (side.pulls != nullptr) {
    const RowPull<T>& pull = side.pulls[row];
    return gradient(bias - pull.bias_mean, T(1), slope, limited_pull(weight * pull.bias, sizes));
  }
  const T reg = weight * alike;
  if (sizes.penalty == nullptr) [[likely]]
    return gradient(bias, T(1), slope, reg);
  alignas(kRowAlignment) T biases[16] = {bias}, pulls[16];
  penalty_slopes(sizes.penalty, biases, 1, 16, pulls);
  return gradient(pulls[0], T(1), slope, reg);
}

/// One step of a row by any rule: its factors, a vector at a time, then its bias.
template <StepRule kRule, class T>
class RowStep {
 public:
  using V = Vec<T>;

  /// `weight`: how often the penalty counts.
  WARPFACTOR_INLINE RowStep(const SideRows<T>& side, std::int64_t row, std::int64_t stride, T weight, T l1, T l1_bias,
                            const StepSizes<T>& sizes)
      : side_(side),
        sizes_(sizes),
        row_(row),
        first_(kFirst ? side.first + row * stride : nullptr),
        second_(kSecond ? side.second + row * stride : nullptr),
        numbers_(kNumbers ? side.row_numbers + row * kRowNumbers : nullptr),
        rate_(row_rate<kRule>(numbers_, weight, l1, l1_bias, sizes)) {}

  /// The factors from f on after the step.
  WARPFACTOR_INLINE V factors(std::int64_t f, V w, V gradient) {
    V first = V::zero(), second = V::zero();
    if constexpr (kFirst) first = V::load(first_ + f);
    if constexpr (kSecond) second = V::load(second_ + f);
    const V moved = stepped<kRule>(w, gradient, first, second, rate_, rate_.l1_factors, sizes_);
    if constexpr (kFirst) V::store_raw(first_ + f, first.as_raw());
    if constexpr (kSecond) V::store_raw(second_ + f, second.as_raw());
    if constexpr (kRule == StepRule::adagrad_row) squares_ = squares_ + gradient * gradient;
    return moved;
  }

  WARPFACTOR_INLINE void finish(T bias_gradient) {
    T square = 0, none = 0;
    if (side_.biases != nullptr) {
      T& bias = side_.biases[row_];
      bias = stepped<kRule>(bias, bias_gradient, kFirst ? side_.bias_first[row_] : none,
                            kSecond ? side_.bias_second[row_] : none, rate_, rate_.l1_bias, sizes_);
      square = bias_gradient * bias_gradient;
    }
    if constexpr (kRule == StepRule::adagrad_row) {
      numbers_[0] = adagrad_sum(numbers_[0], squares_.sum() + square, sizes_);
    }
  }

 private:
  static constexpr bool kFirst = kRemembered<kRule>.first, kSecond = kRemembered<kRule>.second,
                        kNumbers = kRemembered<kRule>.row_numbers;

  const SideRows<T>& side_;
  const StepSizes<T> sizes_;  // a copy: nothing that is written can alias it
  const std::int64_t row_;
  T *const first_, *const second_, *const numbers_;
  RowRate<T> rate_;
  V squares_ = V::zero();
};

/// Steps of one rating over a block's ratings, by any rule, with any penalty.
template <class T, StepRule kRule>
class GeneralPass {
 public:
  explicit GeneralPass(const SgdArgs<T>& args) : args_(args) {}

  PassSums run() const {
    double group_sums[2 * kGroup] = {};
    alignas(kRowAlignment) T slopes[kGroup];
    for (std::int64_t r = 0; r < args_.n_grouped; r += kGroup) {
      if (r + kGroup < args_.n_grouped) {
        for (int j = 0; j < kGroup; ++j) prefetch_rows(args_, args_.ratings[r + kGroup + j], args_.width);
      }
      group_slopes<T, 0>(args_, r, slopes, group_sums);
      for (int j = 0; j < kGroup; ++j) update(r + j, slopes[j]);
    }
    PassSums sums = total(group_sums);
    for (std::int64_t r = args_.n_grouped; r < args_.n_ratings; ++r) {
      const Rating rating = args_.ratings[r];
      const LossTerms<T> terms = other_loss(args_.sizes.loss, static_cast<T>(rating.value), score_of(args_, rating));
      const T weight = args_.weights == nullptr ? T(1) : static_cast<T>(args_.weights[r]);
      sums.loss += static_cast<double>(weight * terms.reported);
      sums.squares += static_cast<double>(weight * terms.square);
      update(r, terms.slope);
    }
    return sums;
  }

 private:
  /// Both rows' gradients are taken before either row moves.
  WARPFACTOR_NOINLINE void update(std::int64_t r, T slope) const {
    const Rating rating = args_.ratings[r];
    const StepSizes<T>& sizes = args_.sizes;
    const std::int64_t stride = args_.stride, width = args_.width;
    const T weight = args_.weights == nullptr ? T(1) : at_most(static_cast<T>(args_.weights[r]), sizes.max_weight);
    T* const p = args_.users.factors + rating.user * stride;
    T* const q = args_.items.factors + rating.item * stride;
    slope = weight * capped(slope, sizes);
    alignas(kRowAlignment) T user_slopes[kMaxStride], item_slopes[kMaxStride];
    const T* const user_pulls =
        pulls_of_row(args_.users, rating.user, stride, sizes, args_.active_factors, width, user_slopes);
    const T* const item_pulls =
        pulls_of_row(args_.items, rating.item, stride, sizes, args_.active_factors, width, item_slopes);
    const Sides<T> reg{factor_pull(args_.users, rating.user, weight, sizes.reg.user, sizes),
                       factor_pull(args_.items, rating.item, weight, sizes.reg.item, sizes)};
    RowStep<kRule, T> user(args_.users, rating.user, stride, weight, sizes.l1.user, sizes.l1_bias.user, sizes);
    RowStep<kRule, T> item(args_.items, rating.item, stride, weight, sizes.l1.item, sizes.l1_bias.item, sizes);
    for (std::int64_t f = 0; f < width; f += V::lanes) {
      const V own = V::load(p + f), other = V::load(q + f);
      const V by_user = gradient(V::load(user_pulls + f), other, slope, reg.user);
      const V by_item = gradient(V::load(item_pulls + f), own, slope, reg.item);
      V::store_raw(p + f, user.factors(f, own, by_user).as_raw());
      V::store_raw(q + f, item.factors(f, other, by_item).as_raw());
    }
    Sides<T> by_bias{};
    if (args_.users.biases != nullptr) {
      by_bias = {bias_gradient(args_.users, rating.user, sizes, slope, weight, sizes.reg_bias.user),
                 bias_gradient(args_.items, rating.item, sizes, slope, weight, sizes.reg_bias.item)};
    }
    user.finish(by_bias.user);
    item.finish(by_bias.item);
  }

  using V = Vec<T>;
  const SgdArgs<T> args_;  // a copy: nothing that is written can alias it
};

template <class T, int kWidth, bool kWeighted, bool kSquared = true, Pulls kPulls = Pulls::alike>
PassSums plain_pass(const SgdArgs<T>& args) {
  return args.users.biases != nullptr ? Pass<T, kWidth, true, kWeighted, kSquared, kPulls>(args).run()
                                      : Pass<T, kWidth, false, kWeighted, kSquared, kPulls>(args).run();
}

#if defined(WARPFACTOR_SANITIZED)
constexpr bool kWidths = false;  // under a sanitizer these copies of the same source take minutes to compile
#else
constexpr bool kWidths = true;
#endif

/// Where rows have pulls of their own. Fewer widths: each costs compiling.
template <class T, Pulls kPulls>
PassSums pulled_pass(const SgdArgs<T>& args) {
  const bool weighted = args.weights != nullptr;
  if (args.sizes.loss.loss != Loss::squared) {
    return weighted ? plain_pass<T, 0, true, false, kPulls>(args) : plain_pass<T, 0, false, false, kPulls>(args);
  }
  if (weighted) return plain_pass<T, 0, true, true, kPulls>(args);
  if constexpr (kWidths) {
    switch (args.width) {
      case 32: return plain_pass<T, 32, false, true, kPulls>(args);
      case 64: return plain_pass<T, 64, false, true, kPulls>(args);
      case 128: return plain_pass<T, 128, false, true, kPulls>(args);
      default: break;
    }
  }
  return plain_pass<T, 0, false, true, kPulls>(args);
}

/// Common widths get a copy of the pass that the compiler unrolls, for what most people train only: each copy costs
/// seconds of compiling on every machine that builds this.
template <class T>
PassSums sgd(const SgdArgs<T>& args) {
  if (!is_plain(args.sizes)) {
    return with_rule(args.sizes.rule, [&](auto rule) { return GeneralPass<T, decltype(rule)::kRule>(args).run(); });
  }
  if (args.users.pulls != nullptr)
    return args.users.means != nullptr ? pulled_pass<T, Pulls::means>(args) : pulled_pass<T, Pulls::rows>(args);
  if (args.sizes.loss.loss != Loss::squared) {
    if (args.weights != nullptr) return plain_pass<T, 0, true, false>(args);
    if constexpr (kWidths && sizeof(T) == sizeof(float)) {
      if (args.width == 32) return plain_pass<T, 32, false, false>(args);
      if (args.width == 64) return plain_pass<T, 64, false, false>(args);
      if (args.width == 128) return plain_pass<T, 128, false, false>(args);
    }
    return plain_pass<T, 0, false, false>(args);
  }
  if (args.weights != nullptr) return plain_pass<T, 0, true>(args);
  if constexpr (kWidths) {
    switch (args.width) {
      case 16: return plain_pass<T, 16, false>(args);
      case 32: return plain_pass<T, 32, false>(args);
      case 48: return plain_pass<T, 48, false>(args);
      case 64: return plain_pass<T, 64, false>(args);
      case 128: return plain_pass<T, 128, false>(args);
      default: break;
    }
  }
  return plain_pass<T, 0, false>(args);
}

/// The gradient of one row over its ratings of a batch, without penalties. kVectors: the number of vectors of a row if
/// eight rows fit into the registers, else 0. kSquared: as for Pass.
template <class T, int kVectors, bool kSquared>
WARPFACTOR_INLINE void row_gradient(const BatchRows<T>& batch, std::int64_t r, double* sums) {
  using V = Vec<T>;
  using Raw = typename V::Raw;
  using Numbers = Eight<T>;
  const std::int64_t begin = batch.begin[r], end = batch.begin[r + 1];
  const std::int64_t width = kVectors > 0 ? kVectors * V::lanes : batch.width, stride = batch.stride;
  const T max_slope = batch.sizes.max_slope, max_weight = batch.sizes.max_weight;
  const T *const other_factors = batch.other.factors, *const other_biases = batch.other.biases;
  const float* const weights = batch.weights;
  const T* const own = batch.own.factors + batch.rows[r] * stride;
  T* const gradient = batch.gradients + r * stride;
  constexpr int kKept = kVectors > 0 ? kVectors : 1;
  Raw own_part[kKept], even[kKept] = {}, odd[kKept] = {};  // two sums, as in products_of
  if constexpr (kVectors > 0) {
    for (int v = 0; v < kVectors; ++v) own_part[v] = V::load_raw(own + v * V::lanes);
  } else {
    for (std::int64_t f = 0; f < width; f += V::lanes) V::store_raw(gradient + f, Raw{});
  }
  const T own_bias = other_biases == nullptr ? T(0) : batch.own.biases[batch.rows[r]];
  const Numbers zero = Numbers::all(T(0));
  Numbers slope_sum = zero, weight_sum = zero;
  T slope_rest = 0, weight_rest = 0;
  LossTerms<Numbers> terms_sum{zero, zero, zero};  // of up to 256 ratings, few enough to add up in T

  // Eight ratings from `at` on. At the row's end those of the next row are read too, with weight 0.
  const auto add_group = [&]<bool kFull>(std::int64_t at, int n) WARPFACTOR_INLINE_LAMBDA {
    const std::int32_t* const others = batch.others + at;
    const T* rows[kGroup];
    Raw parts[kGroup][kKept], products[kGroup];
    WARPFACTOR_UNROLL_8
    for (int j = 0; j < kGroup; ++j) {
      rows[j] = other_factors + others[j] * stride;
      if constexpr (kVectors > 0) {
        for (int v = 0; v < kVectors; ++v) parts[j][v] = V::load_raw(rows[j] + v * V::lanes);
        products[j] = own_part[0] * parts[j][0];
        for (int v = 1; v < kVectors; ++v) products[j] = products[j] + own_part[v] * parts[j][v];
      } else {
        products[j] = products_of(own, rows[j], width);
      }
    }
    Numbers score = Numbers::sums(products);
    if (other_biases != nullptr) {
      score = score + Numbers::each([&](int j) { return own_bias + other_biases[others[j]]; });
    }
    Numbers value = Numbers::load(batch.values + at);
    if constexpr (!kFull && !kSquared) {  // a loss of another row's rating may be NaN, and 0 * NaN is not 0
      alignas(kRowAlignment) T values[kGroup], scores[kGroup];
      value.store(values);
      score.store(scores);
      for (int j = n; j < kGroup; ++j) {
        values[j] = values[0];
        scores[j] = scores[0];
      }
      value = Numbers::load(values);
      score = Numbers::load(scores);
    }
    LossTerms<Numbers> terms;
    if constexpr (kSquared) {
      terms.slope = SquaredLoss::slope(value, score);
      terms.reported = terms.slope * terms.slope;
      terms.square = zero;
    } else {
      group_terms(value, score, batch.sizes.loss, terms);
    }
    Numbers slope = capped(terms.slope, max_slope);
    if (!kFull || weights != nullptr) {
      const Numbers weight = Numbers::each([&](int j) {
        return !kFull && j >= n ? T(0) : weights == nullptr ? T(1) : static_cast<T>(weights[at + j]);
      });
      terms.reported = weight * terms.reported;
      terms.square = weight * terms.square;
      const Numbers counted = at_most(weight, max_weight);
      weight_sum = weight_sum + counted;
      slope = counted * slope;
    }
    if (batch.of_users) {
      terms_sum.reported = terms_sum.reported + terms.reported;
      if constexpr (!kSquared) terms_sum.square = terms_sum.square + terms.square;
    }
    if (other_biases != nullptr) slope_sum = slope_sum + slope;
    alignas(kRowAlignment) T slopes[kGroup];
    slope.store(slopes);
    if constexpr (kVectors > 0) {
      WARPFACTOR_UNROLL_8
      for (int j = 0; j < kGroup; ++j) {
        Raw* const sum = j % 2 == 0 ? even : odd;
        for (int v = 0; v < kVectors; ++v) sum[v] = sum[v] + slopes[j] * parts[j][v];
      }
    } else {
      for (std::int64_t f = 0; f < width; f += V::lanes) {
        Raw part = V::load_raw(gradient + f);
        WARPFACTOR_UNROLL_8
        for (int j = 0; j < kGroup; ++j) part = part + slopes[j] * V::load_raw(rows[j] + f);
        V::store_raw(gradient + f, part);
      }
    }
  };
  // One rating: most rows of small batches have no more.
  const auto add_one = [&](std::int64_t at) {
    const T* const row = other_factors + batch.others[at] * stride;
    T score = V{products_of(own, row, width)}.sum();
    if (other_biases != nullptr) score += own_bias + other_biases[batch.others[at]];
    const T weight = weights == nullptr ? T(1) : static_cast<T>(weights[at]), counted = at_most(weight, max_weight);
    LossTerms<T> terms;
    if constexpr (kSquared) {
      terms.slope = SquaredLoss::slope(batch.values[at], score);
      terms.reported = terms.square = terms.slope * terms.slope;
    } else {
      terms = other_loss(batch.sizes.loss, batch.values[at], score);
    }
    if (batch.of_users) {
      sums[0] += static_cast<double>(weight * terms.reported);
      sums[kGroup] += static_cast<double>(weight * terms.square);
    }
    const T slope = counted * capped(terms.slope, max_slope);
    slope_rest += slope;
    weight_rest += counted;
    for (int v = 0; v < kVectors; ++v) even[v] = even[v] + slope * V::load_raw(row + v * V::lanes);
    for (std::int64_t f = 0; kVectors == 0 && f < width; f += V::lanes) {
      V::store_raw(gradient + f, V::load_raw(gradient + f) + slope * V::load_raw(row + f));
    }
  };
  const auto flush = [&] {
    if constexpr (kSquared) terms_sum.square = terms_sum.reported;
    add_terms(terms_sum, sums);
    terms_sum = {zero, zero, zero};
  };
  std::int64_t at = begin;
  for (; at + kGroup <= end; at += kGroup) {
    add_group.template operator()<true>(at, kGroup);
    if (batch.of_users && (at - begin) % 256 == 256 - kGroup) flush();
  }
  if (end - at > kMaxSingles) {
    add_group.template operator()<false>(at, static_cast<int>(end - at));
  } else {
    for (; at < end; ++at) add_one(at);
  }
  if (batch.of_users) flush();

  if constexpr (kVectors > 0) {
    for (int v = 0; v < kVectors; ++v) V::store_raw(gradient + v * V::lanes, even[v] + odd[v]);
  }
  batch.bias_gradients[r] = other_biases == nullptr ? T(0) : slope_sum.sum() + slope_rest;
  batch.row_weights[r] = batch.penalty_once   ? T(1)
                         : weights == nullptr ? static_cast<T>(end - begin)
                                              : weight_sum.sum() + weight_rest;
}

template <class T, int kVectors, bool kSquared>
PassSums row_gradients(const BatchRows<T>& batch) {
  double sums[2 * kGroup] = {};
  for (std::int64_t r = 0; r < batch.n_rows; ++r) row_gradient<T, kVectors, kSquared>(batch, r, sums);
  return total(sums);
}

template <class T>
PassSums batch_gradients(const BatchRows<T>& batch) {
  if (batch.sizes.loss.loss != Loss::squared) return row_gradients<T, 0, false>(batch);
  switch (batch.width / Vec<T>::lanes) {
    case 1: return row_gradients<T, 1, true>(batch);
    case 2: return row_gradients<T, 2, true>(batch);
    default: return row_gradients<T, 0, true>(batch);
  }
}

template <class T, StepRule kRule>
void row_steps(const BatchRows<T>& batch) {
  const StepSizes<T>& sizes = batch.sizes;
  const auto own = [&](const Sides<T>& sides) { return batch.of_users ? sides.user : sides.item; };
  const T reg = own(sizes.reg), reg_bias = own(sizes.reg_bias), l1 = own(sizes.l1), l1_bias = own(sizes.l1_bias);
  using V = Vec<T>;
  alignas(kRowAlignment) T slopes[kMaxStride];
  for (std::int64_t r = 0; r < batch.n_rows; ++r) {
    const std::int64_t row = batch.rows[r];
    const T* const gradients = batch.gradients + r * batch.stride;
    T* const factors = batch.own.factors + row * batch.stride;
    const T weight = batch.row_weights[r], penalty = factor_pull(batch.own, row, weight, reg, sizes);
    const T* const pulls = pulls_of_row(batch.own, row, batch.stride, sizes, batch.active_factors, batch.width, slopes);
    RowStep<kRule, T> step(batch.own, row, batch.stride, weight, l1, l1_bias, sizes);
    for (std::int64_t f = 0; f < batch.width; f += V::lanes) {
      const V by_factors = V::load(gradients + f) + penalty * V::load(pulls + f);
      V::store_raw(factors + f, step.factors(f, V::load(factors + f), by_factors).as_raw());
    }
    step.finish(batch.own.biases == nullptr
                    ? T(0)
                    : bias_gradient(batch.own, row, sizes, batch.bias_gradients[r], weight, reg_bias));
  }
}

template <class T>
void batch_steps(const BatchRows<T>& batch) {
  with_rule(batch.sizes.rule, [&](auto rule) { row_steps<T, decltype(rule)::kRule>(batch); });
}

/// kVectors vectors of each row, from factor f on. Rows are read in random order, so the next ones are fetched ahead.
template <class T, int kVectors>
WARPFACTOR_INLINE void sum_columns(const RowSums<T>& sums, std::int64_t r, std::int64_t f) {
  using V = Vec<T>;
  typename V::Raw sum[kVectors] = {};
  const std::int64_t end = sums.begin[r + 1];
  for (std::int64_t n = sums.begin[r]; n < end; ++n) {
    const T* const row = sums.rows + sums.others[n] * sums.stride + f;
    const T* const ahead = sums.rows + sums.others[n + kRowsAhead < end ? n + kRowsAhead : n] * sums.stride + f;
    for (int v = 0; v < kVectors; ++v) {
      if (v * V::lanes * static_cast<std::int64_t>(sizeof(T)) % kRowAlignment == 0) prefetch(ahead + v * V::lanes);
      sum[v] = sum[v] + V::load_raw(row + v * V::lanes);
    }
  }
  for (int v = 0; v < kVectors; ++v) V::store_raw(sums.out + r * sums.stride + f + v * V::lanes, sum[v]);
}

template <class T>
void sum_rows(const RowSums<T>& sums) {
  constexpr std::int64_t kLanes = Vec<T>::lanes;
  for (std::int64_t r = 0; r < sums.n_rows; ++r) {
    std::int64_t f = 0;
    for (; f + 8 * kLanes <= sums.width; f += 8 * kLanes) sum_columns<T, 8>(sums, r, f);
    if (f + 4 * kLanes <= sums.width) {
      sum_columns<T, 4>(sums, r, f);
      f += 4 * kLanes;
    }
    for (; f < sums.width; f += kLanes) sum_columns<T, 1>(sums, r, f);
    T numbers[2] = {};  // two sums, so that additions need not wait for each other
    for (std::int64_t n = sums.begin[r]; n < sums.begin[r + 1]; ++n) {
      numbers[(n - sums.begin[r]) % 2] += sums.numbers[sums.others[n]];
    }
    sums.out_numbers[r] = numbers[0] + numbers[1];
  }
}

}  // namespace

const KernelTable kKernels = {
    WARPFACTOR_TEXT(WARPFACTOR_KERNEL_ISA),
    kVectorBytes,
    {sgd<float>, predict_pairs, score_rows, score_panel, first_above, batch_gradients<float>, batch_steps<float>,
     sum_rows<float>, draw_row, draw_coefficients, solve_ridge},
    {sgd<double>, predict_pairs, score_rows, score_panel, first_above, batch_gradients<double>, batch_steps<double>,
     sum_rows<double>, draw_row, draw_coefficients, solve_ridge},
};

}  // namespace WARPFACTOR_RULE_NAMESPACE
}  // namespace warpfactor
