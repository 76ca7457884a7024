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
inline Vec<T> products_of(const T* p, const T* q, std::int64_t n) {
  using V = Vec<T>;
  V even = V::load(p) * V::load(q);
  std::int64_t f = V::lanes;
  if (n < 4 * V::lanes) {
    for (; f < n; f += V::lanes) even = even + V::load(p + f) * V::load(q + f);
    return even;
  }
  V odd = V::load(p + f) * V::load(q + f);
  for (f += V::lanes; f + V::lanes < n; f += 2 * V::lanes) {
    even = even + V::load(p + f) * V::load(q + f);
    odd = odd + V::load(p + f + V::lanes) * V::load(q + f + V::lanes);
  }
  if (f < n) even = even + V::load(p + f) * V::load(q + f);
  return even + odd;
}

/// One pass over a block. kStride: the row length known at compile time, 0: taken from the block.
template <class T, int kStride, bool kBiased, bool kWeighted>
class Pass {
 public:
  explicit Pass(const SgdBlock<T>& block) : block_(block), stride_(kStride > 0 ? kStride : block.stride) {}

  double run() const {
    double losses[kGroup] = {};
    for (std::int64_t r = 0; r < block_.n_grouped; r += kGroup) {
      // A group ahead is far enough for a row from L2 to arrive in time, and too near for it to be evicted before use.
      if (r + kGroup < block_.n_grouped) prefetch_rows(block_.ratings + r + kGroup);
      update_group(r, losses);
    }
    double loss = 0;
    for (const double part : losses) loss += part;
    for (std::int64_t r = block_.n_grouped; r < block_.n_ratings; ++r) loss += update_one(r);
    return loss;
  }

 private:
  using V = Vec<T>;

  T* user_row(const Rating& rating) const { return block_.user_factors + rating.user * stride(); }
  T* item_row(const Rating& rating) const { return block_.item_factors + rating.item * stride(); }
  std::int64_t stride() const { return kStride > 0 ? kStride : stride_; }

  void prefetch_rows(const Rating* ratings) const {
    constexpr std::int64_t kLine = kRowAlignment / static_cast<std::int64_t>(sizeof(T));
    for (std::int64_t j = 0; j < kGroup; ++j) {
      const T *p = user_row(ratings[j]), *q = item_row(ratings[j]);
      for (std::int64_t f = 0; f < stride(); f += kLine) {
        prefetch(p + f);
        prefetch(q + f);
      }
    }
  }

  void update_rows(T* p, T* q, T slope, T keep) const {
    for (std::int64_t f = 0; f < stride(); f += V::lanes) {
      const V user = V::load(p + f), item = V::load(q + f);
      stepped_factor(user, item, slope, keep).store(p + f);
      stepped_factor(item, user, slope, keep).store(q + f);
    }
  }

  /// Eight ratings that share no row. All rows are read before the first is written, which changes nothing but time.
  void update_group(std::int64_t r, double* losses) const {
    const Rating* const ratings = block_.ratings + r;
    const StepSizes<T>& sizes = block_.sizes;
    T *p[kGroup], *q[kGroup];
    V products[kGroup];
    WARPFACTOR_UNROLL_8
    for (int j = 0; j < kGroup; ++j) {
      p[j] = user_row(ratings[j]);
      q[j] = item_row(ratings[j]);
      products[j] = products_of(p[j], q[j], stride());
    }
    alignas(kRowAlignment) T scratch[kGroup], kept[kGroup];
    V::sums(products, scratch);
    Eight<T> prediction = Eight<T>::load(scratch), user_bias, item_bias;
    if constexpr (kBiased) {
      user_bias = Eight<T>::each([&](int j) { return block_.user_biases[ratings[j].user]; });
      item_bias = Eight<T>::each([&](int j) { return block_.item_biases[ratings[j].item]; });
      prediction = prediction + (user_bias + item_bias);
    }
    const Eight<T> value = Eight<T>::each([&](int j) { return static_cast<T>(ratings[j].value); });
    Eight<T> reported = SquaredLoss::reported(value, prediction);
    const auto finish = [&](const auto& step) {
      if constexpr (kBiased) {
        user_bias = stepped_bias(user_bias, step);
        item_bias = stepped_bias(item_bias, step);
      }
      step.slope.store(scratch);
    };
    T keep = T(1) - sizes.learning_rate * sizes.reg;
    if constexpr (kWeighted) {
      const Eight<T> weight = Eight<T>::each([&](int j) { return static_cast<T>(block_.weights[r + j]); });
      reported = weight * reported;
      const auto step = make_step<SquaredLoss>(value, prediction,
                                               sizes.learning_rate * at_most(weight, sizes.max_weight), sizes);
      step.keep_factors.store(kept);
      finish(step);
    } else {
      finish(make_step<SquaredLoss>(value, prediction, sizes.learning_rate, sizes));
    }
    alignas(kRowAlignment) T other[kGroup];
    reported.store(other);
    for (int j = 0; j < kGroup; ++j) losses[j] += static_cast<double>(other[j]);
    if constexpr (kBiased) {
      alignas(kRowAlignment) T user_biases[kGroup], item_biases[kGroup];
      user_bias.store(user_biases);
      item_bias.store(item_biases);
      WARPFACTOR_UNROLL_8
      for (int j = 0; j < kGroup; ++j) {
        block_.user_biases[ratings[j].user] = user_biases[j];
        block_.item_biases[ratings[j].item] = item_biases[j];
      }
    }
    WARPFACTOR_UNROLL_8
    for (int j = 0; j < kGroup; ++j) {
      if constexpr (kWeighted) keep = kept[j];
      update_rows(p[j], q[j], scratch[j], keep);
    }
  }

  double update_one(std::int64_t r) const {
    const Rating rating = block_.ratings[r];
    const StepSizes<T>& sizes = block_.sizes;
    T *p = user_row(rating), *q = item_row(rating);
    T prediction = products_of(p, q, stride()).sum();
    if constexpr (kBiased) prediction += block_.user_biases[rating.user] + block_.item_biases[rating.item];
    const T value = static_cast<T>(rating.value);
    const T weight = kWeighted ? static_cast<T>(block_.weights[r]) : T(1);
    const auto step =
        make_step<SquaredLoss>(value, prediction, sizes.learning_rate * at_most(weight, sizes.max_weight), sizes);
    if constexpr (kBiased) {
      T& user_bias = block_.user_biases[rating.user];
      T& item_bias = block_.item_biases[rating.item];
      user_bias = stepped_bias(user_bias, step);
      item_bias = stepped_bias(item_bias, step);
    }
    update_rows(p, q, step.slope, step.keep_factors);
    return static_cast<double>(weight * SquaredLoss::reported(value, prediction));
  }

  const SgdBlock<T> block_;  // a copy: nothing that is written can alias it
  const std::int64_t stride_;
};

template <class T, int kStride, bool kBiased, bool kWeighted>
double sgd_run(const SgdBlock<T>& block) {
  return Pass<T, kStride, kBiased, kWeighted>(block).run();
}

template <class T, int kStride>
double sgd_stride(const SgdBlock<T>& block) {
  if (block.user_biases != nullptr) {
    return block.weights != nullptr ? sgd_run<T, kStride, true, true>(block) : sgd_run<T, kStride, true, false>(block);
  }
  return block.weights != nullptr ? sgd_run<T, kStride, false, true>(block) : sgd_run<T, kStride, false, false>(block);
}

/// The common widths get a loop of their own, which the compiler unrolls.
template <class T>
double sgd(const SgdBlock<T>& block) {
  switch (block.stride) {
    case 16: return sgd_stride<T, 16>(block);
    case 32: return sgd_stride<T, 32>(block);
    case 48: return sgd_stride<T, 48>(block);
    case 64: return sgd_stride<T, 64>(block);
    case 128: return sgd_stride<T, 128>(block);
    default: return sgd_stride<T, 0>(block);
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

}  // namespace

const KernelTable kKernels = {
    WARPFACTOR_TEXT(WARPFACTOR_KERNEL_ISA),
    kVectorBytes,
    {sgd<float>, predict_pairs<float>, score_rows<float>},
    {sgd<double>, predict_pairs<double>, score_rows<double>},
};

}  // namespace WARPFACTOR_RULE_NAMESPACE
}  // namespace warpfactor
