// SPDX-License-Identifier: Apache-2.0
// Scores of pairs, of rows and of panels of rows, compiled once per instruction set as sgd_kernel.cpp is.
#define WARPFACTOR_JOIN2(a, b) a##b
#define WARPFACTOR_JOIN(a, b) WARPFACTOR_JOIN2(a, b)
#define WARPFACTOR_RULE_NAMESPACE WARPFACTOR_JOIN(isa_, WARPFACTOR_KERNEL_ISA)

#include "cpu/score_kernel.hpp"

#include "cpu/vec.hpp"
#include "update_rule.hpp"

namespace warpfactor {
namespace WARPFACTOR_RULE_NAMESPACE {
namespace {

/// p.q for any n and any alignment.
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
void predict(const PairBatch<T>& batch) {
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
void score_all(const RowScores<T>& scores) {
  for (std::int64_t r = 0; r < scores.n_rows; ++r) {
    T x = scores.offset;
    if (scores.biases != nullptr) x += scores.biases[r];
    if (scores.query != nullptr) x += dot(scores.query, scores.rows + r * scores.n_factors, scores.n_factors);
    scores.out[r] = x;
  }
}

/// The scores of kQueries queries with the rows of one register. Each lane is one row and takes the steps of dot() in
/// their order: the sums that lie side by side in a register of dot() come one after the other here.
template <class T, int kQueries>
class PanelLanes {
 public:
  using V = Vec<T>;
  static constexpr std::int64_t kLine = padded_stride<T>(1);  // rows whose numbers lie side by side

  WARPFACTOR_INLINE PanelLanes(const PanelScores<T>& scores, std::int64_t query, std::int64_t row)
      : scores_(scores),
        queries_(scores.queries + query * scores.n_factors),
        rows_(scores.panel + row / kLine * kLine * scores.n_factors + row % kLine) {}

  struct Sums {
    V of[kQueries];
  };

  WARPFACTOR_INLINE Sums dots() const {
    constexpr std::int64_t kTwo = 2 * V::lanes;
    const std::int64_t n = scores_.n_factors, whole = n / kTwo * kTwo;
    Sums total;
    if (whole > 0) {
      total = folded(whole);
    } else {
      for (int q = 0; q < kQueries; ++q) total.of[q] = V::zero();
    }
    for (std::int64_t f = whole; f < n; ++f) add_products(total, f);
    return total;
  }

 private:
  /// Adds the products of factor f.
  WARPFACTOR_INLINE void add_products(Sums& sums, std::int64_t f) const {
    const V row = V::load(rows_ + f * kLine);
    for (int q = 0; q < kQueries; ++q) sums.of[q] = sums.of[q] + queries_[q * scores_.n_factors + f] * row;
  }
  static WARPFACTOR_INLINE Sums added(const Sums& a, const Sums& b) {
    Sums sums;
    for (int q = 0; q < kQueries; ++q) sums.of[q] = a.of[q] + b.of[q];
    return sums;
  }
  /// What lane kLane of dot() holds before it is folded.
  template <int kLane>
  WARPFACTOR_INLINE Sums lane(std::int64_t whole) const {
    Sums even, odd;
    for (int q = 0; q < kQueries; ++q) even.of[q] = odd.of[q] = V::zero();
    for (std::int64_t f = kLane; f < whole; f += 2 * V::lanes) {
      add_products(even, f);
      add_products(odd, f + V::lanes);
    }
    return added(even, odd);
  }
  /// Lane kLane once only kLeft lanes are left.
  template <int kLane, int kLeft>
  WARPFACTOR_INLINE Sums folded_lane(std::int64_t whole) const {
    if constexpr (kLeft == V::lanes) {
      return lane<kLane>(whole);
    } else {
      return added(folded_lane<kLane, 2 * kLeft>(whole), folded_lane<kLane + kLeft, 2 * kLeft>(whole));
    }
  }
  /// As Vec::sum().
  WARPFACTOR_INLINE Sums folded(std::int64_t whole) const {
    constexpr int kLeft = V::kQuarter;
    if constexpr (kLeft == 4) {
      return added(added(folded_lane<0, 4>(whole), folded_lane<2, 4>(whole)),
                   added(folded_lane<1, 4>(whole), folded_lane<3, 4>(whole)));
    } else if constexpr (kLeft == 2) {
      return added(folded_lane<0, 2>(whole), folded_lane<1, 2>(whole));
    } else {
      Sums total;
      for (int q = 0; q < kQueries; ++q) total.of[q] = V::zero();
      return one_after_the_other(total, whole, std::make_integer_sequence<int, V::lanes>());
    }
  }
  template <int... lanes>
  WARPFACTOR_INLINE Sums one_after_the_other(Sums total, std::int64_t whole,
                                             std::integer_sequence<int, lanes...>) const {
    ((total = added(total, lane<lanes>(whole))), ...);
    return total;
  }

  const PanelScores<T>& scores_;
  const T *queries_, *rows_;
};

template <class T, int kQueries>
WARPFACTOR_NOINLINE void score_line(const PanelScores<T>& scores, std::int64_t query, std::int64_t line) {
  using V = Vec<T>;
  for (std::int64_t row = line; row < line + PanelLanes<T, kQueries>::kLine; row += V::lanes) {
    const auto dots = PanelLanes<T, kQueries>(scores, query, row).dots();
    const V bias = V::load(scores.biases + row);
    for (int q = 0; q < kQueries; ++q) {
      V::store_raw(scores.out + (query + q) * scores.n_rows + row,
                   ((scores.offsets[query + q] + bias) + dots.of[q]).as_raw());
    }
  }
}

/// A line of rows stays in L1 while all queries pass.
template <class T>
void score_all_of(const PanelScores<T>& scores) {
  constexpr int kTogether = 4;
  for (std::int64_t line = 0; line < scores.n_rows; line += padded_stride<T>(1)) {
    std::int64_t query = 0;
    for (; query + kTogether <= scores.n_queries; query += kTogether) score_line<T, kTogether>(scores, query, line);
    for (; query < scores.n_queries; ++query) score_line<T, 1>(scores, query, line);
  }
}

template <class T>
std::int64_t first(const T* values, std::int64_t from, std::int64_t n, T limit) {
  constexpr std::int64_t kAtOnce = 64;
  for (; from + kAtOnce <= n; from += kAtOnce) {
    int any = 0;  // without a branch, so that the compiler takes vectors
    for (std::int64_t at = from; at < from + kAtOnce; ++at) any |= values[at] > limit ? 1 : 0;
    if (any != 0) break;
  }
  while (from < n && !(values[from] > limit)) ++from;
  return from;
}

}  // namespace

void predict_pairs(const PairBatch<float>& batch) { predict(batch); }
void score_rows(const RowScores<float>& scores) { score_all(scores); }
void score_panel(const PanelScores<float>& scores) { score_all_of(scores); }
std::int64_t first_above(const float* values, std::int64_t from, std::int64_t n, float limit) {
  return first(values, from, n, limit);
}
void predict_pairs(const PairBatch<double>& batch) { predict(batch); }
void score_rows(const RowScores<double>& scores) { score_all(scores); }
void score_panel(const PanelScores<double>& scores) { score_all_of(scores); }
std::int64_t first_above(const double* values, std::int64_t from, std::int64_t n, double limit) {
  return first(values, from, n, limit);
}

}  // namespace WARPFACTOR_RULE_NAMESPACE
}  // namespace warpfactor
