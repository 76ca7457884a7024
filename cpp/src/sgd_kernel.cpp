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

/// p.q over `n` elements, a multiple of the row alignment: four sums, so that additions need not wait for each other.
template <class T>
inline T dot_padded(const T* p, const T* q, std::int64_t n) {
  using V = Vec<T>;
  constexpr std::int64_t kLanes = V::lanes;
  V a = V::zero(), b = V::zero(), c = V::zero(), d = V::zero();
  std::int64_t f = 0;
  for (; f + 4 * kLanes <= n; f += 4 * kLanes) {
    a = a + V::load(p + f) * V::load(q + f);
    b = b + V::load(p + f + kLanes) * V::load(q + f + kLanes);
    c = c + V::load(p + f + 2 * kLanes) * V::load(q + f + 2 * kLanes);
    d = d + V::load(p + f + 3 * kLanes) * V::load(q + f + 3 * kLanes);
  }
  if (f < n) a = a + V::load(p + f) * V::load(q + f);
  if (f + kLanes < n) b = b + V::load(p + f + kLanes) * V::load(q + f + kLanes);
  if (f + 2 * kLanes < n) c = c + V::load(p + f + 2 * kLanes) * V::load(q + f + 2 * kLanes);
  return ((a + b) + (c + d)).sum();
}

/// kStride: the row length known at compile time, 0: taken from the block.
template <class T, int kStride, bool kBiased, bool kWeighted>
double sgd_run(const SgdBlock<T>& block) {
  using V = Vec<T>;
  const std::int64_t stride = kStride > 0 ? kStride : block.stride;
  const StepSizes<T> sizes = block.sizes;
  const Rating* const ratings = block.ratings;
  const std::int64_t n = block.n_ratings;
  // Far enough ahead that a row from L2 arrives in time, near enough that it is not evicted before use.
  constexpr std::int64_t kAhead = 6;
  double loss = 0;
  for (std::int64_t r = 0; r < n; ++r) {
    if (r + kAhead < n) {
      const Rating next = ratings[r + kAhead];
      const T* p_next = block.user_factors + next.user * stride;
      const T* q_next = block.item_factors + next.item * stride;
      for (std::int64_t f = 0; f < stride; f += kRowAlignment / static_cast<std::int64_t>(sizeof(T))) {
        prefetch(p_next + f);
        prefetch(q_next + f);
      }
    }
    const Rating rating = ratings[r];
    T* p = block.user_factors + rating.user * stride;
    T* q = block.item_factors + rating.item * stride;
    T prediction = dot_padded<T>(p, q, stride);
    if constexpr (kBiased) prediction += block.user_biases[rating.user] + block.item_biases[rating.item];
    const T value = static_cast<T>(rating.value);
    const T weight = kWeighted ? static_cast<T>(block.weights[r]) : T(1);
    loss += static_cast<double>(weight * SquaredLoss::reported(value, prediction));
    const Step<T> step = make_step<SquaredLoss, T>(value, prediction, weight, sizes);
    if constexpr (kBiased) {
      T& user_bias = block.user_biases[rating.user];
      T& item_bias = block.item_biases[rating.item];
      user_bias = stepped_bias(user_bias, step);
      item_bias = stepped_bias(item_bias, step);
    }
    for (std::int64_t f = 0; f < stride; f += V::lanes) {
      const V user = V::load(p + f), item = V::load(q + f);
      stepped_factor(user, item, step).store(p + f);
      stepped_factor(item, user, step).store(q + f);
    }
  }
  return loss;
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
