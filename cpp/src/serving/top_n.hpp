// SPDX-License-Identifier: Apache-2.0
// The best of many scores, of one query, or of many queries whose scores are products of rows.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "buffer.hpp"
#include "cpu/kernel_table.hpp"

namespace warpfactor {

/// Items to choose from, whose rows lie side by side: by rising number, so that ties go to the lower one.
template <class T>
struct ItemRows {
  const T* rows;
  const T* biases;            ///< nullptr: zero
  const std::int32_t* items;  ///< nullptr: 0 .. n - 1
  std::int32_t n;

  [[nodiscard]] std::int32_t item(std::int32_t at) const { return items == nullptr ? at : items[at]; }
};

template <class T>
struct Scored {
  T score;
  std::int32_t at;
};

/// The n best of what is offered by rising position. -infinity and NaN are never among them.
template <class T>
class TopN {
 public:
  /// Empties it.
  void begin(std::int32_t n) {
    n_ = static_cast<std::size_t>(n);
    best_.clear();
    limit_ = n > 0 ? -std::numeric_limits<T>::infinity() : std::numeric_limits<T>::infinity();
  }
  /// A score that is not above this changes nothing.
  [[nodiscard]] T limit() const noexcept { return limit_; }

  /// Offers the scores of positions first .. first + n - 1.
  void offer(const Kernels<T>& kernels, const T* scores, std::int32_t first, std::int64_t n) {
    for (std::int64_t at = kernels.first_above(scores, 0, n, limit_); at < n;
         at = kernels.first_above(scores, at + 1, n, limit_)) {
      put({scores[at], first + static_cast<std::int32_t>(at)});
    }
  }

  /// The best first.
  [[nodiscard]] std::vector<Scored<T>>& sorted() {
    std::sort_heap(best_.begin(), best_.end(), before);
    return best_;
  }

 private:
  static bool before(const Scored<T>& a, const Scored<T>& b) {
    return a.score > b.score || (a.score == b.score && a.at < b.at);
  }
  void put(const Scored<T>& candidate) {
    if (best_.size() < n_) {
      best_.push_back(candidate);
      std::push_heap(best_.begin(), best_.end(), before);
    } else {
      replace_worst(candidate);
    }
    if (best_.size() == n_) limit_ = best_.front().score;
  }
  /// In one walk down; pop_heap and push_heap take two.
  void replace_worst(const Scored<T>& candidate) {
    std::size_t at = 0;
    for (std::size_t child = 1; child < n_; child = 2 * at + 1) {
      if (child + 1 < n_ && before(best_[child], best_[child + 1])) ++child;
      if (!before(candidate, best_[child])) break;
      best_[at] = best_[child];
      at = child;
    }
    best_[at] = candidate;
  }

  std::size_t n_ = 0;
  T limit_ = 0;
  std::vector<Scored<T>> best_;  // a heap whose front is the worst kept
};

/// Sorted positions that a walk over all positions leaves out as it comes to them.
struct LeftOut {
  std::vector<std::int32_t> positions;
  std::size_t next = 0;

  void begin() {
    positions.clear();
    next = 0;
  }
  template <class T>
  void add(std::span<const std::int32_t> items, const ItemRows<T>& from) {
    for (const std::int32_t item : items) {
      if (item < 0) continue;
      if (from.items == nullptr) {
        positions.push_back(item);
      } else {
        const auto* const end = from.items + from.n;
        const auto* const found = std::lower_bound(from.items, end, item);
        if (found != end && *found == item) positions.push_back(static_cast<std::int32_t>(found - from.items));
      }
    }
  }
  void sort() {
    if (!std::is_sorted(positions.begin(), positions.end())) std::sort(positions.begin(), positions.end());
  }
  [[nodiscard]] bool has(std::int32_t position) const {
    return std::binary_search(positions.begin(), positions.end(), position);
  }
  /// Marks those of first .. first + n - 1.
  template <class T>
  void mark(T* scores, std::int64_t first, std::int64_t n) {
    for (; next < positions.size() && positions[next] < first + n; ++next) {
      scores[positions[next] - first] = -std::numeric_limits<T>::infinity();
    }
  }
};

/// Bytes of item rows in a panel. It and the scores of kQueriesAtOnce queries lie in L2, or in L3 where that is small:
/// the panel is read in order, by tiles that stay in L1. 2026-11-28, AMD EPYC (Zen 5), k = 128: panels of 64 KiB took 3
/// % longer; 32 queries instead of 64 took 5 % longer in the kernel.
inline constexpr std::int64_t kPanelBytes = 256 * 1024, kQueriesAtOnce = 60;
/// A panel's rows are a multiple of this, and at most so many times as many. Not measured.
inline constexpr std::int64_t kPanelStep = 64, kMostPanelSteps = 8;
/// Queries of a task at most: each makes panels of all items, which took a tenth of the time with 256 queries. Fewer
/// than the least are scored one by one, which is not measured.
inline constexpr std::int64_t kMostQueries = 1024, kFewestQueries = 8;
/// Places of lists that a task holds at most. Not measured.
inline constexpr std::int64_t kMostKept = 1 << 18;

/// The best items of some queries at a time: items panel by panel, and of each panel the scores of a few queries, of
/// which the best are taken before the next are made.
template <class T>
class PanelSearch {
 public:
  PanelSearch(const Kernels<T>& kernels, const ItemRows<T>& from, const std::vector<bool>& shut, std::int64_t n_factors,
              std::int32_t n)
      : kernels_(kernels), from_(from), shut_(shut), n_factors_(n_factors), n_(n) {
    const std::int64_t fitting =
        kPanelBytes / static_cast<std::int64_t>(sizeof(T)) / std::max<std::int64_t>(n_factors, 1);
    panel_rows_ = std::clamp(fitting / kPanelStep, std::int64_t{1}, kMostPanelSteps) * kPanelStep;
    panel_rows_ = std::min(panel_rows_, padded_stride<T>(std::max(from.n, 1)));
    panel_ = Buffer<T>(panel_rows_ * std::max<std::int64_t>(n_factors, 1));
    biases_ = Buffer<T>(panel_rows_);
    scores_ = Buffer<T>(panel_rows_ * kQueriesAtOnce);
  }

  /// Queries of a task; 0: so few that each is better scored alone. Lists do not depend on it.
  static std::int64_t queries_at_once(std::int64_t n_queries, int n_threads, std::int32_t n) {
    const std::int64_t even = n_queries / (std::int64_t{n_threads} * 4);  // tasks of about the same size
    const std::int64_t most = std::min(kMostQueries, kMostKept / std::max<std::int64_t>(n, 1));
    const std::int64_t queries = std::min(std::max(even, 2 * kFewestQueries), most);
    return std::min(n_queries, queries) < kFewestQueries ? 0 : queries;
  }

  /// begin(q, row) writes the row of a query and returns its offset; left_out(q, take) as in search(); done(q, best)
  /// gets the best, best first. Ends early, without a call of done(), once stop() is true.
  template <class Begin, class LeaveOut, class Stop, class Done>
  void run(std::int64_t first_query, std::int64_t last_query, const Begin& begin, const LeaveOut& left_out,
           const Stop& stop, const Done& done) {
    const auto n_queries = static_cast<std::size_t>(last_query - first_query);
    if (best_.size() < n_queries) {
      best_.resize(n_queries);
      left_out_.resize(n_queries);
    }
    queries_.resize(n_queries * static_cast<std::size_t>(n_factors_));
    offsets_.resize(n_queries);
    for (std::size_t at = 0; at < n_queries; ++at) {
      const std::int64_t q = first_query + static_cast<std::int64_t>(at);
      offsets_[at] = begin(q, queries_.data() + at * static_cast<std::size_t>(n_factors_));
      best_[at].begin(n_);
      left_out_[at].begin();
      left_out(q, [&](std::span<const std::int32_t> items) { left_out_[at].add(items, from_); });
      left_out_[at].sort();
    }
    for (std::int64_t first = 0; first < from_.n; first += panel_rows_) {
      if (stop()) return;
      const std::int64_t n = std::min<std::int64_t>(panel_rows_, from_.n - first);
      fill_panel(first, n);
      for (std::int64_t at = 0; at < static_cast<std::int64_t>(n_queries); at += kQueriesAtOnce) {
        const std::int64_t n_together =
            std::min<std::int64_t>(kQueriesAtOnce, static_cast<std::int64_t>(n_queries) - at);
        kernels_.score_panel({queries_.data() + at * n_factors_, offsets_.data() + at, n_together, panel_.data(),
                              biases_.data(), n_factors_, panel_rows_, scores_.data()});
        for (std::int64_t query = 0; query < n_together; ++query) {
          T* const scores = scores_.data() + query * panel_rows_;
          left_out_[static_cast<std::size_t>(at + query)].mark(scores, first, n);
          best_[static_cast<std::size_t>(at + query)].offer(kernels_, scores, static_cast<std::int32_t>(first), n);
        }
      }
    }
    for (std::size_t at = 0; at < n_queries; ++at) {
      done(first_query + static_cast<std::int64_t>(at), best_[at].sorted());
    }
  }

 private:
  /// Items that are shut get a bias that no score makes up for.
  void fill_panel(std::int64_t first, std::int64_t n) {
    constexpr std::int64_t kLine = padded_stride<T>(1);
    for (std::int64_t line = 0; line < panel_rows_; line += kLine) {
      const T* rows[kLine];
      for (std::int64_t at = 0; at < kLine; ++at) {
        const std::int64_t row = line + at;
        rows[at] = from_.rows + (first + std::min(row, n - 1)) * n_factors_;
        biases_[row] = row < n ? bias(first + row) : T(0);
      }
      T* to = panel_.data() + line * n_factors_;
      for (std::int64_t f = 0; f < n_factors_; ++f, to += kLine) {
        for (std::int64_t at = 0; at < kLine; ++at) to[at] = rows[at][f];
      }
    }
  }
  [[nodiscard]] T bias(std::int64_t at) const {
    if (shut_[static_cast<std::size_t>(from_.item(static_cast<std::int32_t>(at)))]) {
      return -std::numeric_limits<T>::infinity();
    }
    return from_.biases == nullptr ? T(0) : from_.biases[at];
  }

  const Kernels<T>& kernels_;
  const ItemRows<T> from_;
  const std::vector<bool>& shut_;
  const std::int64_t n_factors_;
  const std::int32_t n_;
  std::int64_t panel_rows_;
  Buffer<T> panel_, biases_, scores_;
  std::vector<T> queries_, offsets_;
  std::vector<TopN<T>> best_;
  std::vector<LeftOut> left_out_;
};

}  // namespace warpfactor
