// SPDX-License-Identifier: Apache-2.0
// The inner loops. Compiled once per instruction set, each time into the namespace isa_<name>: everything here is
// either in that namespace or a built-in, so that no wide-vector code can be linked into the rest of the program.
#define WARPFACTOR_JOIN2(a, b) a##b
#define WARPFACTOR_JOIN(a, b) WARPFACTOR_JOIN2(a, b)
#define WARPFACTOR_TEXT2(a) #a
#define WARPFACTOR_TEXT(a) WARPFACTOR_TEXT2(a)
#define WARPFACTOR_RULE_NAMESPACE WARPFACTOR_JOIN(isa_, WARPFACTOR_KERNEL_ISA)

#include "kernel_table.hpp"
#include "update_rule.hpp"
#include "vec.hpp"

namespace warpfactor {
namespace WARPFACTOR_RULE_NAMESPACE {
namespace {

/// Lanes that add up to p.q, over `n` elements, a multiple of the row alignment. Two sums where rows are long, so that
/// additions need not wait for each other.
template <class T>
WARPFACTOR_INLINE typename Vec<T>::Raw products_of(const T* p, const T* q, std::int64_t n) {
  using V = Vec<T>;
  typename V::Raw even = V::load_raw(p) * V::load_raw(q);
  std::int64_t f = V::lanes;
  if (n < 4 * V::lanes) {
    for (; f < n; f += V::lanes) even = even + V::load_raw(p + f) * V::load_raw(q + f);
    return even;
  }
  typename V::Raw odd = V::load_raw(p + f) * V::load_raw(q + f);
  for (f += V::lanes; f + V::lanes < n; f += 2 * V::lanes) {
    even = even + V::load_raw(p + f) * V::load_raw(q + f);
    odd = odd + V::load_raw(p + f + V::lanes) * V::load_raw(q + f + V::lanes);
  }
  if (f < n) even = even + V::load_raw(p + f) * V::load_raw(q + f);
  return even + odd;
}

/// The losses other than the squared one are functions of their own, one for all variants of the pass: the loss is
/// chosen at run time, because a variant for each would cost seconds of compiling.
template <class T>
WARPFACTOR_NOINLINE LossTerms<T> other_loss(LossShape<T> shape, T value, T score) {
  return loss_terms(value, score + shape.offset, shape);
}

/// The slopes of a group's ratings, which begin at `r`; their losses and then their squared errors are added to `sums`.
/// Called before the group's update and not in it, where the scores would be there already: a call there cost the
/// squared loss, too, 1 to 4 % of its speed: a function that calls none needs less of the stack.
template <class T>
WARPFACTOR_NOINLINE void other_losses(const SgdBlock<T>& block, std::int64_t r, T* slopes, double* sums) {
  using Numbers = Eight<T>;
  const Rating* const ratings = block.ratings + r;
  typename Vec<T>::Raw products[kGroup];
  for (int j = 0; j < kGroup; ++j) {
    products[j] = products_of(block.user_factors + ratings[j].user * block.stride,
                              block.item_factors + ratings[j].item * block.stride, block.stride);
  }
  Numbers score = block.sizes.loss.offset + Numbers::sums(products);
  if (block.user_biases != nullptr) {
    score = score + Numbers::each(
                        [&](int j) { return block.user_biases[ratings[j].user] + block.item_biases[ratings[j].item]; });
  }
  const Numbers value = Numbers::each([&](int j) { return static_cast<T>(ratings[j].value); });
  LossTerms<Numbers> terms = loss_terms(value, score, block.sizes.loss);
  if (block.weights != nullptr) {
    const Numbers weight = Numbers::each([&](int j) { return static_cast<T>(block.weights[r + j]); });
    terms.reported = weight * terms.reported;
    terms.square = weight * terms.square;
  }
  alignas(kRowAlignment) T reported[kGroup], square[kGroup];
  terms.reported.store(reported);
  terms.square.store(square);
  terms.slope.store(slopes);
  for (int j = 0; j < kGroup; ++j) {
    sums[j] += static_cast<double>(reported[j]);
    sums[kGroup + j] += static_cast<double>(square[j]);
  }
}

/// One pass over a block. kStride: the row length known at compile time, 0: taken from the block. kProximal: with an L1
/// penalty or a lower limit; then weights may be there or not.
template <class T, int kStride, bool kBiased, bool kWeighted, bool kAdagrad, bool kProximal>
class Pass {
  static_assert(kWeighted || !kProximal);

 public:
  explicit Pass(const SgdBlock<T>& block)
      : block_(block),
        stride_(kStride > 0 ? kStride : block.stride),
        even_step_(make_step(T(0), block.sizes.learning_rate, block.sizes)) {}

  PassSums run() const {
    double parts[2 * kGroup] = {};  // losses, then squared errors where those are something else
    const bool squared = block_.sizes.loss.loss == Loss::squared;
    alignas(kRowAlignment) T slopes[kGroup];
    for (std::int64_t r = 0; r < block_.n_grouped; r += kGroup) {
      if (!squared) other_losses(block_, r, slopes, parts);
      // A group ahead is far enough for a row from L2 to arrive in time, and too near for it to be evicted before use.
      update_group(r, block_.ratings + (r + kGroup < block_.n_grouped ? r + kGroup : r), squared ? nullptr : slopes,
                   parts);
    }
    PassSums sums;
    for (int j = 0; j < kGroup; ++j) {
      sums.loss += parts[j];
      sums.squares += parts[kGroup + j];
    }
    for (std::int64_t r = block_.n_grouped; r < block_.n_ratings; ++r) {
      if (r + kAhead < block_.n_ratings) prefetch_rows(block_.ratings[r + kAhead]);
      update_one(r, sums);
    }
    if (squared) sums.squares = sums.loss;
    return sums;
  }

 private:
  using V = Vec<T>;
  using Raw = typename V::Raw;
  using Numbers = Eight<T>;                  // one for each rating of a group
  static constexpr std::int64_t kAhead = 6;  // ratings, where they are updated one by one

  T* user_row(const Rating& rating) const { return block_.user_factors + rating.user * stride(); }
  T* item_row(const Rating& rating) const { return block_.item_factors + rating.item * stride(); }
  std::int64_t stride() const { return kStride > 0 ? kStride : stride_; }
  T limited(T weight) const { return at_most(weight, block_.sizes.max_weight); }

  WARPFACTOR_INLINE void prefetch_rows(const Rating& rating) const {
    constexpr std::int64_t kLine = kRowAlignment / static_cast<std::int64_t>(sizeof(T));
    const T *p = user_row(rating), *q = item_row(rating);
    for (std::int64_t f = 0; f < stride(); f += kLine) {
      prefetch(p + f);
      prefetch(q + f);
    }
  }

  /// What a step has made of factors or of a bias, within the L1 penalty and the lower limit.
  WARPFACTOR_INLINE Raw settled(Raw w, T threshold) const {
    if constexpr (kProximal) {
      return proximal(V{w}, threshold, block_.sizes.lowest).as_raw();
    } else {
      return w;
    }
  }
  template <class B, class R>
  WARPFACTOR_INLINE B settled_bias(const B& b, const R& rate, T l1) const {
    if constexpr (kProximal) {
      return proximal(b, l1 * rate, block_.sizes.lowest);
    } else {
      return b;
    }
  }

  WARPFACTOR_INLINE void update_rows(T* p, T* q, T slope, Sides<T> keep, T rate) const {
    const Sides<T> l1 = block_.sizes.l1;
    for (std::int64_t f = 0; f < stride(); f += V::lanes) {
      const Raw user = V::load_raw(p + f), item = V::load_raw(q + f);
      V::store_raw(p + f, settled(stepped_factor(user, item, slope, keep.user), rate * l1.user));
      V::store_raw(q + f, settled(stepped_factor(item, user, slope, keep.item), rate * l1.item));
    }
  }

  /// Adagrad: each row at a rate of its own. Hands back lanes that add up to the squares of the gradients.
  WARPFACTOR_INLINE void update_rows(T* p, T* q, T slope, T user_rate, T item_rate, Raw& user_squares,
                                     Raw& item_squares) const {
    const Sides<T> reg = block_.sizes.reg, l1 = block_.sizes.l1;
    user_squares = item_squares = Raw{};
    for (std::int64_t f = 0; f < stride(); f += V::lanes) {
      const Raw user = V::load_raw(p + f), item = V::load_raw(q + f);
      const Raw user_gradient = gradient(user, item, slope, reg.user);
      const Raw item_gradient = gradient(item, user, slope, reg.item);
      V::store_raw(p + f, settled(user - user_rate * user_gradient, user_rate * l1.user));
      V::store_raw(q + f, settled(item - item_rate * item_gradient, item_rate * l1.item));
      user_squares = user_squares + user_gradient * user_gradient;
      item_squares = item_squares + item_gradient * item_gradient;
    }
  }

  /// Eight ratings that share no row. All rows are read before the first is written, which changes nothing but time. A
  /// function of its own: inlined into a longer one, GCC 12 runs out of registers and stores each vector a second time,
  /// which took a fifth of the speed at 64 and 128 factors. Slopes are given unless the loss is the squared one.
  WARPFACTOR_NOINLINE void update_group(std::int64_t r, const Rating* next, const T* slopes_given, double* sums) const {
    const Rating* const ratings = block_.ratings + r;
    const StepSizes<T>& sizes = block_.sizes;
    T *p[kGroup], *q[kGroup];
    Raw products[kGroup];
    WARPFACTOR_UNROLL_8
    for (int j = 0; j < kGroup; ++j) {
      prefetch_rows(next[j]);
      p[j] = user_row(ratings[j]);
      q[j] = item_row(ratings[j]);
      products[j] = products_of(p[j], q[j], stride());
    }
    const auto of_users = [&](const T* values) {
      return Numbers::each([&](int j) { return values[ratings[j].user]; });
    };
    const auto of_items = [&](const T* values) {
      return Numbers::each([&](int j) { return values[ratings[j].item]; });
    };
    Numbers prediction = Numbers::sums(products), user_bias, item_bias;
    if constexpr (kBiased) {
      user_bias = of_users(block_.user_biases);
      item_bias = of_items(block_.item_biases);
      prediction = prediction + (user_bias + item_bias);
    }
    const Numbers value = Numbers::each([&](int j) { return static_cast<T>(ratings[j].value); });
    Numbers weight, limited_weight;
    if constexpr (kWeighted) {
      weight = kProximal && block_.weights == nullptr
                   ? Numbers::all(T(1))
                   : Numbers::each([&](int j) { return static_cast<T>(block_.weights[r + j]); });
      limited_weight = at_most(weight, sizes.max_weight);
    }
    Numbers slope;
    if (slopes_given == nullptr) [[likely]] {
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
    if constexpr (kAdagrad) {
      const Numbers user_sums = of_users(block_.user_squares), item_sums = of_items(block_.item_squares);
      Numbers user_rate = sizes.learning_rate * adagrad_scale(user_sums, T(1));
      Numbers item_rate = sizes.learning_rate * adagrad_scale(item_sums, T(1));
      Numbers share = Numbers::all(sizes.per_element);
      if constexpr (kWeighted) {
        user_rate = limited_weight * user_rate;
        item_rate = limited_weight * item_rate;
        share = limited_weight * limited_weight * share;
      }
      alignas(kRowAlignment) T slopes[kGroup], user_rates[kGroup], item_rates[kGroup];
      slope.store(slopes);
      user_rate.store(user_rates);
      item_rate.store(item_rates);
      Raw user_squares[kGroup], item_squares[kGroup];
      WARPFACTOR_UNROLL_8
      for (int j = 0; j < kGroup; ++j) {
        update_rows(p[j], q[j], slopes[j], user_rates[j], item_rates[j], user_squares[j], item_squares[j]);
      }
      Numbers user_square = Numbers::sums(user_squares), item_square = Numbers::sums(item_squares);
      if constexpr (kBiased) {
        const Numbers user_gradient = bias_gradient(user_bias, slope, sizes.reg_bias.user);
        const Numbers item_gradient = bias_gradient(item_bias, slope, sizes.reg_bias.item);
        scatter(ratings, settled_bias(user_bias - user_rate * user_gradient, user_rate, sizes.l1_bias.user),
                settled_bias(item_bias - item_rate * item_gradient, item_rate, sizes.l1_bias.item), block_.user_biases,
                block_.item_biases);
        user_square = user_square + user_gradient * user_gradient;
        item_square = item_square + item_gradient * item_gradient;
      }
      scatter(ratings, user_sums + share * user_square, item_sums + share * item_square, block_.user_squares,
              block_.item_squares);
    } else if constexpr (kWeighted) {
      const Numbers rate = sizes.learning_rate * limited_weight;
      const auto step = make_step(slope, rate, sizes);
      alignas(kRowAlignment) T slopes[kGroup], user_keeps[kGroup], item_keeps[kGroup], rates[kGroup];
      step.slope.store(slopes);
      step.keep_factors.user.store(user_keeps);
      step.keep_factors.item.store(item_keeps);
      rate.store(rates);
      step_biases(ratings, user_bias, item_bias, step, rate);
      WARPFACTOR_UNROLL_8
      for (int j = 0; j < kGroup; ++j) {
        update_rows(p[j], q[j], slopes[j], {user_keeps[j], item_keeps[j]}, rates[j]);
      }
    } else {
      const Step<Numbers, T> step{sizes.learning_rate * slope, even_step_.keep_factors, even_step_.keep_biases};
      alignas(kRowAlignment) T slopes[kGroup];
      step.slope.store(slopes);
      step_biases(ratings, user_bias, item_bias, step, sizes.learning_rate);
      WARPFACTOR_UNROLL_8
      for (int j = 0; j < kGroup; ++j) {
        update_rows(p[j], q[j], moved(slopes[j]), step.keep_factors, sizes.learning_rate);
      }
    }
  }

  template <class S, class R>
  void step_biases(const Rating* ratings, const Numbers& user_bias, const Numbers& item_bias, const S& step,
                   const R& rate) const {
    if constexpr (kBiased) {
      const Sides<T> l1 = block_.sizes.l1_bias;
      scatter(ratings, settled_bias(stepped_bias(user_bias, step.slope, step.keep_biases.user), rate, l1.user),
              settled_bias(stepped_bias(item_bias, step.slope, step.keep_biases.item), rate, l1.item),
              block_.user_biases, block_.item_biases);
    }
  }

  /// A number for each rating's user and one for its item, to where those are.
  void scatter(const Rating* ratings, const Numbers& of_users, const Numbers& of_items, T* to_users,
               T* to_items) const {
    alignas(kRowAlignment) T users[kGroup], items[kGroup];
    of_users.store(users);
    of_items.store(items);
    WARPFACTOR_UNROLL_8
    for (int j = 0; j < kGroup; ++j) {
      to_users[ratings[j].user] = users[j];
      to_items[ratings[j].item] = items[j];
    }
  }

  void update_one(std::int64_t r, PassSums& sums) const {
    const Rating rating = block_.ratings[r];
    const StepSizes<T>& sizes = block_.sizes;
    T *p = user_row(rating), *q = item_row(rating);
    T prediction = V{products_of(p, q, stride())}.sum();
    if constexpr (kBiased) prediction += block_.user_biases[rating.user] + block_.item_biases[rating.item];
    const T value = static_cast<T>(rating.value);
    const T weight = kWeighted && (!kProximal || block_.weights != nullptr) ? static_cast<T>(block_.weights[r]) : T(1);
    T reported, slope;
    if (sizes.loss.loss == Loss::squared) [[likely]] {
      reported = SquaredLoss::reported(value, prediction);
      slope = SquaredLoss::slope(value, prediction);
    } else {
      const LossTerms<T> terms = other_loss(sizes.loss, value, prediction);
      reported = terms.reported;
      slope = terms.slope;
      sums.squares += static_cast<double>(weight * terms.square);
    }
    sums.loss += static_cast<double>(weight * reported);
    slope = capped(slope, sizes);
    const T rate = sizes.learning_rate * limited(weight);
    if constexpr (kAdagrad) {
      T &user_sum = block_.user_squares[rating.user], &item_sum = block_.item_squares[rating.item];
      const T user_rate = rate * adagrad_scale(user_sum, T(1)), item_rate = rate * adagrad_scale(item_sum, T(1));
      Raw user_squares, item_squares;
      update_rows(p, q, slope, user_rate, item_rate, user_squares, item_squares);
      T user_square = V{user_squares}.sum(), item_square = V{item_squares}.sum();
      if constexpr (kBiased) {
        T &user_bias = block_.user_biases[rating.user], &item_bias = block_.item_biases[rating.item];
        const T user_gradient = bias_gradient(user_bias, slope, sizes.reg_bias.user);
        const T item_gradient = bias_gradient(item_bias, slope, sizes.reg_bias.item);
        user_bias = settled_bias(user_bias - user_rate * user_gradient, user_rate, sizes.l1_bias.user);
        item_bias = settled_bias(item_bias - item_rate * item_gradient, item_rate, sizes.l1_bias.item);
        user_square += user_gradient * user_gradient;
        item_square += item_gradient * item_gradient;
      }
      const T share = limited(weight) * limited(weight) * sizes.per_element;
      user_sum += share * user_square;
      item_sum += share * item_square;
    } else {
      const auto step = make_step(slope, rate, sizes);
      if constexpr (kBiased) {
        T &user_bias = block_.user_biases[rating.user], &item_bias = block_.item_biases[rating.item];
        user_bias = settled_bias(stepped_bias(user_bias, step.slope, step.keep_biases.user), rate, sizes.l1_bias.user);
        item_bias = settled_bias(stepped_bias(item_bias, step.slope, step.keep_biases.item), rate, sizes.l1_bias.item);
      }
      update_rows(p, q, moved(step.slope), step.keep_factors, rate);
    }
  }

  /// The slope by which rows move. The roofline benchmark compiles this file with rows that wait for no slope: it
  /// loads, computes and stores the same, but nothing depends on a dot product.
  T moved(T slope) const {
#if defined(WARPFACTOR_INDEPENDENT_ROWS)
    (void)slope;
    return T(0) * block_.sizes.reg.user;
#else
    return slope;
#endif
  }

  const SgdBlock<T> block_;  // a copy: nothing that is written can alias it
  const std::int64_t stride_;
  const Step<T, T> even_step_;  ///< what the steps of all ratings have in common, where they weigh the same
};

template <class T, int kStride, bool kWeighted, bool kAdagrad, bool kProximal = false>
PassSums sgd_pass(const SgdBlock<T>& block) {
  return block.user_biases != nullptr ? Pass<T, kStride, true, kWeighted, kAdagrad, kProximal>(block).run()
                                      : Pass<T, kStride, false, kWeighted, kAdagrad, kProximal>(block).run();
}

/// The common widths get a loop of their own, which the compiler unrolls, for what most people train: each costs
/// seconds of compiling on every machine that builds this.
template <class T>
PassSums sgd(const SgdBlock<T>& block) {
  const bool adagrad = block.user_squares != nullptr;
  if (block.sizes.proximal) {
    return adagrad ? sgd_pass<T, 0, true, true, true>(block) : sgd_pass<T, 0, true, false, true>(block);
  }
  if (adagrad) {
    return block.weights != nullptr ? sgd_pass<T, 0, true, true>(block) : sgd_pass<T, 0, false, true>(block);
  }
  if (block.weights != nullptr) return sgd_pass<T, 0, true, false>(block);
  switch (block.stride) {
    case 16: return sgd_pass<T, 16, false, false>(block);
    case 32: return sgd_pass<T, 32, false, false>(block);
    case 48: return sgd_pass<T, 48, false, false>(block);
    case 64: return sgd_pass<T, 64, false, false>(block);
    case 128: return sgd_pass<T, 128, false, false>(block);
    default: return sgd_pass<T, 0, false, false>(block);
  }
}

/// p.q over any n, any alignment.
template <class T>
inline T dot(const T* p, const T* q, std::int64_t n) {
  using V = Vec<T>;
  V even = V::zero(), odd = V::zero();
  std::int64_t f = 0;
  for (; f + 2 * V::lanes <= n; f += 2 * V::lanes) {
    even = even + V::load(p + f) * V::load(q + f);
    odd = odd + V::load(p + f + V::lanes) * V::load(q + f + V::lanes);
  }
  T total = (even + odd).sum();
  for (; f < n; ++f) total += p[f] * q[f];
  return total;
}

template <class T>
void predict_pairs(const PairBatch<T>& batch) {
  for (std::int64_t r = 0; r < batch.n_pairs; ++r) {
    const std::int64_t user = batch.users[r], item = batch.items[r];
    T x = batch.global_mean;
    if (user >= 0 && batch.user_biases != nullptr) x += batch.user_biases[user];
    if (item >= 0 && batch.item_biases != nullptr) x += batch.item_biases[item];
    if (user >= 0 && item >= 0) {
      x += dot(batch.user_factors + user * batch.stride, batch.item_factors + item * batch.stride, batch.n_factors);
    }
    batch.out[r] = x;
  }
}

template <class T>
void score_rows(const RowScores<T>& scores) {
  for (std::int64_t r = 0; r < scores.n_rows; ++r) {
    T x = scores.offset;
    if (scores.biases != nullptr) x += scores.biases[r];
    if (scores.query != nullptr) x += dot(scores.query, scores.rows + r * scores.n_factors, scores.n_factors);
    scores.out[r] = x;
  }
}

template <class T>
double row_errors(const RowErrors<T>& row) {
  using V = Vec<T>;
  double squares = 0;
  for (std::int64_t n = 0; n < row.n; ++n) {
    const T error = row.values[n] - V{products_of(row.own, row.rows + row.indices[n] * row.stride, row.stride)}.sum();
    row.errors[n] = error;
    squares += static_cast<double>(error) * static_cast<double>(error);
  }
  return squares;
}

/// The part of a sum that kVectors registers hold, from factor `f` on.
template <class T, int kVectors>
WARPFACTOR_INLINE void row_sum_part(const RowSum<T>& row, std::int64_t f) {
  using V = Vec<T>;
  typename V::Raw sums[kVectors] = {};
  for (std::int64_t n = 0; n < row.n; ++n) {
    const T* const from = row.rows + row.indices[n] * row.stride + f;
    for (int v = 0; v < kVectors; ++v) sums[v] = sums[v] + row.factors[n] * V::load_raw(from + v * V::lanes);
  }
  for (int v = 0; v < kVectors; ++v) V::store_raw(row.sum + f + v * V::lanes, sums[v]);
}

template <class T>
void row_sum(const RowSum<T>& row) {
  constexpr std::int64_t lanes = Vec<T>::lanes;
  std::int64_t f = 0;
  for (; f + 4 * lanes <= row.stride; f += 4 * lanes) row_sum_part<T, 4>(row, f);
  for (; f + 2 * lanes <= row.stride; f += 2 * lanes) row_sum_part<T, 2>(row, f);
  for (; f < row.stride; f += lanes) row_sum_part<T, 1>(row, f);
}

}  // namespace

const KernelTable kKernels = {
    WARPFACTOR_TEXT(WARPFACTOR_KERNEL_ISA),
    kVectorBytes,
    {sgd<float>, predict_pairs<float>, score_rows<float>, row_errors<float>, row_sum<float>},
    {sgd<double>, predict_pairs<double>, score_rows<double>, row_errors<double>, row_sum<double>},
};

}  // namespace WARPFACTOR_RULE_NAMESPACE
}  // namespace warpfactor
