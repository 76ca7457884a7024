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

/// Queries and registers of rows of a panel that are scored together. 2026-11-28, AMD EPYC (Zen 5), one thread, G
/// multiplications/s at k = 32 / 64 / 128, avx512: 83 / 114 / 123, avx2: 50 / 62 / 66, baseline: 19 / 22 / 23. One
/// query and four registers: 83 / 93 / 97, 38 / 44 / 47, 21 / 23 / 25; two and two: 79 / 113 / 120, 49 / 57 / 62, 19 /
/// 22 / 22.
constexpr int kPanelQueries = 3, kPanelVectors = 2;

/// Keeps a register that is used several times from being loaded each time: GCC takes it for free, but a core has no
/// more loads in a cycle than multiplications. Two queries and two registers, k = 128, avx512: 120 G/s instead of 84.
#if (defined(__GNUC__) || defined(__clang__)) && defined(__AVX512F__)
#define WARPFACTOR_KEEP(raw) __asm__("" : "+v"(raw))
#elif (defined(__GNUC__) || defined(__clang__)) && defined(__x86_64__)
#define WARPFACTOR_KEEP(raw) __asm__("" : "+x"(raw))
#else
#define WARPFACTOR_KEEP(raw)
#endif

/// p.q for any n and any alignment.
template <class T>
inline T dot(const T* p, const T* q, std::int64_t n) {
  using V = Vec<T>;
  V even = V::zero(), odd = V::zero();
  std::int64_t f = 0;
  for (; f + 2 * V::lanes <= n; f += 2 * V::lanes) {
    even = plus_product(even, V::load(p + f), V::load(q + f));
    odd = plus_product(odd, V::load(p + f + V::lanes), V::load(q + f + V::lanes));
  }
  T total = (even + odd).sum();
  for (; f < n; ++f) total = plus_product(total, p[f], q[f]);
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

/// The scores of kQueries queries with the rows of kVectors registers. Each lane is one row and takes the steps of
/// dot() in their order: the sums that lie side by side in a register of dot() come one after the other here.
template <class T, int kQueries, int kVectors>
class PanelLanes {
 public:
  using V = Vec<T>;
  struct Sums {
    V of[kQueries][kVectors];
  };

  WARPFACTOR_INLINE PanelLanes(const PanelScores<T>& scores, std::int64_t query, std::int64_t row)
      : n_(scores.n_factors), queries_(scores.queries + query * n_) {
    for (int v = 0; v < kVectors; ++v) {
      const std::int64_t first = row + v * V::lanes;
      rows_[v] = scores.panel + first / kLine * kLine * n_ + first % kLine;
    }
  }

  WARPFACTOR_INLINE Sums dots() const {
    constexpr std::int64_t kTwo = 2 * V::lanes;
    const std::int64_t whole = n_ / kTwo * kTwo;
    Sums total = whole > 0 ? folded(whole) : zeros();
    for (std::int64_t f = whole; f < n_; ++f) add_products(total, f);
    return total;
  }

 private:
  static constexpr std::int64_t kLine = padded_stride<T>(1);  // rows whose numbers lie side by side

  static WARPFACTOR_INLINE Sums zeros() {
    Sums sums;
    for (int q = 0; q < kQueries; ++q) {
      for (int v = 0; v < kVectors; ++v) sums.of[q][v] = V::zero();
    }
    return sums;
  }
  static WARPFACTOR_INLINE Sums added(const Sums& a, const Sums& b) {
    Sums sums;
    for (int q = 0; q < kQueries; ++q) {
      for (int v = 0; v < kVectors; ++v) sums.of[q][v] = a.of[q][v] + b.of[q][v];
    }
    return sums;
  }
  /// Adds the products of factor f.
  WARPFACTOR_INLINE void add_products(Sums& sums, std::int64_t f) const {
    V rows[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      rows[v] = V::load(rows_[v] + f * kLine);
      WARPFACTOR_KEEP(rows[v].raw);
    }
    for (int q = 0; q < kQueries; ++q) {
      const T factor = queries_[q * n_ + f];
      for (int v = 0; v < kVectors; ++v) sums.of[q][v] = plus_product(sums.of[q][v], factor, rows[v]);
    }
  }
  /// What lane kLane of dot() holds before it is folded.
  template <int kLane>
  WARPFACTOR_INLINE Sums lane(std::int64_t whole) const {
    Sums even = zeros(), odd = zeros();
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
      return one_after_the_other(whole, std::make_integer_sequence<int, V::lanes>());
    }
  }
  template <int... lanes>
  WARPFACTOR_INLINE Sums one_after_the_other(std::int64_t whole, std::integer_sequence<int, lanes...>) const {
    Sums total = zeros();
    ((total = added(total, lane<lanes>(whole))), ...);
    return total;
  }

  const std::int64_t n_;
  const T* queries_;
  const T* rows_[kVectors];
};

template <class T, int kQueries, int kVectors>
WARPFACTOR_INLINE void score_tile(const PanelScores<T>& scores, std::int64_t query, std::int64_t row) {
  using V = Vec<T>;
  const auto dots = PanelLanes<T, kQueries, kVectors>(scores, query, row).dots();
  for (int v = 0; v < kVectors; ++v) {
    const std::int64_t at = row + v * V::lanes;
    const V bias = V::load(scores.biases + at);
    for (int q = 0; q < kQueries; ++q) {
      const V score = (scores.offsets[query + q] + bias) + dots.of[q][v];
      V::store_raw(scores.out + (query + q) * scores.n_rows + at, score.as_raw());
    }
  }
}

/// The rows stay in L1 while all queries pass. The loop is in one function with the tile: alone, GCC 12 keeps the
/// tile's sums in memory, which takes half of the speed.
template <class T, int kVectors>
WARPFACTOR_NOINLINE void score_vectors(const PanelScores<T>& scores, std::int64_t row) {
  std::int64_t query = 0;
  for (; query + kPanelQueries <= scores.n_queries; query += kPanelQueries) {
    score_tile<T, kPanelQueries, kVectors>(scores, query, row);
  }
  for (; query < scores.n_queries; ++query) score_tile<T, 1, kVectors>(scores, query, row);
}

template <class T>
void score_all_of(const PanelScores<T>& scores) {
  constexpr std::int64_t kLanes = Vec<T>::lanes, kRows = kPanelVectors * kLanes;
  std::int64_t row = 0;
  for (; row + kRows <= scores.n_rows; row += kRows) score_vectors<T, kPanelVectors>(scores, row);
  for (; row < scores.n_rows; row += kLanes) score_vectors<T, 1>(scores, row);
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
