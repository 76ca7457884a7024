// SPDX-License-Identifier: Apache-2.0
#include "serving/ranking_metrics.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "require.hpp"
#include "threads.hpp"

namespace warpfactor {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
/// Rows that a thread takes at a time; not measured.
constexpr std::int64_t kRows = 256, kScoredRows = 4;

std::span<const std::int32_t> row_of(const RowListsView& lists, std::int64_t row) {
  if (lists.indptr.empty()) return {};
  const auto at = static_cast<std::size_t>(row);
  return lists.items.subspan(static_cast<std::size_t>(lists.indptr[at]),
                             static_cast<std::size_t>(lists.indptr[at + 1] - lists.indptr[at]));
}

void validate_lists(const RowListsView& lists, std::int64_t n_rows, std::int32_t n_items, const std::string& name) {
  require_size(lists.indptr.size(), n_rows + 1, (name + " (offsets)").c_str());
  if (lists.indptr.front() != 0 || lists.indptr.back() != static_cast<std::int64_t>(lists.items.size()) ||
      !std::is_sorted(lists.indptr.begin(), lists.indptr.end())) {
    reject(name + " has offsets from " + text(lists.indptr.front()) + " to " + text(lists.indptr.back()) +
           "; they must rise from 0 to the number of items, " + text(lists.items.size()));
  }
  for (const std::int32_t item : lists.items) {
    if (item < 0 || item >= n_items) {
      reject(name + " holds item " + text(item) + "; it must be from 0 to " + text(n_items - 1));
    }
  }
}

void validate_sorted(const RowListsView& lists, std::int64_t n_rows, const char* name) {
  for (std::int64_t row = 0; row < n_rows; ++row) {
    const std::span<const std::int32_t> items = row_of(lists, row);
    if (std::adjacent_find(items.begin(), items.end(), std::greater_equal<>()) != items.end()) {
      reject(std::string(name) + " has items of row " + text(row) +
             " that do not rise; they must be sorted and distinct");
    }
  }
}

/// Sums over the first items of a list, as its items come.
struct ListSums {
  double hits = 0, dcg = 0, graded_dcg = 0, precisions = 0, first_hit = 0;
};

/// Sums up to each rank of what an ideal list has there; the last one also stands for all ranks after it.
struct IdealSums {
  std::vector<double> gains;  ///< of one row, highest first
  std::vector<double> graded_dcg;

  void take(std::span<const double> of_row, const std::vector<double>& discounts) {
    gains.assign(of_row.begin(), of_row.end());
    const std::size_t n = std::min(gains.size(), discounts.size());
    std::partial_sort(gains.begin(), gains.begin() + static_cast<std::ptrdiff_t>(n), gains.end(), std::greater<>());
    graded_dcg.assign(n + 1, 0.0);
    for (std::size_t j = 0; j < n; ++j) graded_dcg[j + 1] = graded_dcg[j] + gains[j] * discounts[j];
  }
};

/// Up to so many wanted scores it is faster to compare each with all others, many at a time, than to search for each
/// other one; not measured.
constexpr std::size_t kFewWanted = 128;

/// Twice the number of pairs in which the wanted score is the higher one, with equal ones as half: an exact integer.
/// Sorts `wanted`.
template <class T>
std::int64_t twice_in_order(std::vector<T>& wanted, const std::vector<T>& others) {
  std::int64_t twice = 0;
  if (wanted.size() <= kFewWanted) {
    for (const T score : wanted) {
      std::int32_t below = 0, equal = 0;
      for (const T other : others) {
        below += other < score ? 1 : 0;
        equal += other == score ? 1 : 0;
      }
      twice += 2 * static_cast<std::int64_t>(below) + equal;
    }
    return twice;
  }
  std::sort(wanted.begin(), wanted.end());
  for (const T other : others) {
    const auto [from, to] = std::equal_range(wanted.begin(), wanted.end(), other);
    twice += (wanted.end() - to) + (wanted.end() - from);
  }
  return twice;
}

}  // namespace

void ranking_metrics(const RankedListsView& lists, const RelevantView& relevant, std::span<const std::int32_t> cutoffs,
                     std::span<double> out, std::int32_t n_threads) {
  const std::int64_t n_rows = lists.n_rows;
  const std::size_t n_cutoffs = cutoffs.size();
  require_size(lists.items.size(), n_rows * lists.length, "lists");
  validate_lists(relevant.lists, n_rows, std::numeric_limits<std::int32_t>::max(), "relevant");
  validate_sorted(relevant.lists, n_rows, "relevant");
  require_size(relevant.gains.size(), static_cast<std::int64_t>(relevant.lists.items.size()), "gains");
  require_size(out.size(), static_cast<std::int64_t>(kRankingMetrics.size() * n_cutoffs) * n_rows, "out");
  for (const std::int32_t k : cutoffs) require(k >= 1, "cutoffs", k, "at least 1");
  if (cutoffs.empty() || n_rows == 0) return;

  // Nothing comes after the end of a list, but an ideal list may be longer.
  const auto most = static_cast<std::size_t>(*std::max_element(cutoffs.begin(), cutoffs.end()));
  std::int64_t longest = 0;
  for (std::size_t row = 0; row < static_cast<std::size_t>(n_rows); ++row) {
    longest = std::max(longest, relevant.lists.indptr[row + 1] - relevant.lists.indptr[row]);
  }
  const std::size_t n_ranks = std::min(most, static_cast<std::size_t>(std::max(longest, lists.length)));
  std::vector<double> discounts(n_ranks), ideal_dcg(n_ranks + 1, 0.0);
  for (std::size_t j = 0; j < n_ranks; ++j) {
    discounts[j] = 1 / std::log2(static_cast<double>(j) + 2);
    ideal_dcg[j + 1] = ideal_dcg[j] + discounts[j];
  }
  // Cutoffs in rising order, so that one walk over a list serves them all.
  std::vector<std::size_t> order(n_cutoffs);
  for (std::size_t c = 0; c < n_cutoffs; ++c) order[c] = c;
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return cutoffs[a] < cutoffs[b]; });

  const auto body = [&](std::int64_t begin, std::int64_t end, int) {
    IdealSums ideal;
    std::vector<char> met;
    for (std::int64_t row = begin; row < end; ++row) {
      const std::span<const std::int32_t> wanted = row_of(relevant.lists, row);
      const auto put = [&](std::size_t metric, std::size_t cutoff, double value) {
        out[(metric * n_cutoffs + cutoff) * static_cast<std::size_t>(n_rows) + static_cast<std::size_t>(row)] = value;
      };
      if (wanted.empty()) {
        for (std::size_t m = 0; m < kRankingMetrics.size(); ++m) {
          for (std::size_t c = 0; c < n_cutoffs; ++c) put(m, c, kNaN);
        }
        continue;
      }
      const auto gains = relevant.gains.subspan(
          static_cast<std::size_t>(relevant.lists.indptr[static_cast<std::size_t>(row)]), wanted.size());
      ideal.take(gains, discounts);
      met.assign(wanted.size(), 0);
      const auto n_wanted = static_cast<double>(wanted.size());
      const std::span<const std::int32_t> list =
          lists.items.subspan(static_cast<std::size_t>(row * lists.length), static_cast<std::size_t>(lists.length));
      ListSums sums;
      std::size_t j = 0;
      for (const std::size_t c : order) {
        const auto k = static_cast<std::size_t>(cutoffs[c]);
        for (; j < std::min(k, list.size()); ++j) {
          const auto found = std::lower_bound(wanted.begin(), wanted.end(), list[j]);
          if (found == wanted.end() || *found != list[j]) continue;
          const auto at = static_cast<std::size_t>(found - wanted.begin());
          if (std::exchange(met[at], 1)) {
            reject("list " + text(row) + " has an item twice, at position " + text(j) +
                   " again; each item may be there once: drop its repeats");
          }
          const auto rank = static_cast<double>(j + 1);
          sums.hits += 1;
          sums.dcg += discounts[j];
          sums.graded_dcg += gains[at] * discounts[j];
          sums.precisions += sums.hits / rank;
          if (sums.first_hit == 0) sums.first_hit = rank;
        }
        const std::size_t best = std::min(k, wanted.size());
        put(0, c, sums.hits / static_cast<double>(k));
        put(1, c, sums.hits / n_wanted);
        put(2, c, sums.hits > 0 ? 1 : 0);
        put(3, c, sums.dcg / ideal_dcg[best]);
        put(4, c, sums.graded_dcg / ideal.graded_dcg[best]);
        put(5, c, sums.precisions / n_wanted);
        put(6, c, sums.first_hit > 0 ? 1 / sums.first_hit : 0);
      }
    }
  };
  ThreadTeam team(team_size(n_threads, (n_rows + kRows - 1) / kRows));
  team.run_slices(n_rows, body, kRows);
}

template <class T>
void ranked_lists(std::span<const T> scores, std::int64_t n_rows, std::int32_t n_items, std::int32_t length,
                  std::span<std::int32_t> lists, std::int32_t n_threads) {
  require(length >= 1, "length", length, "at least 1");
  require_size(scores.size(), n_rows * n_items, "scores");
  require_size(lists.size(), n_rows * length, "lists");
  const auto body = [&](std::int64_t begin, std::int64_t end, int) {
    std::vector<std::int32_t> best;  // a heap whose front is the worst kept
    for (std::int64_t row = begin; row < end; ++row) {
      const T* const of_row = scores.data() + row * n_items;
      const auto before = [of_row](std::int32_t a, std::int32_t b) {
        return of_row[a] > of_row[b] || (of_row[a] == of_row[b] && a < b);
      };
      best.clear();
      std::int32_t column = 0;
      for (; column < n_items && static_cast<std::int32_t>(best.size()) < length; ++column) {
        if (!std::isnan(of_row[column])) best.push_back(column);
      }
      std::make_heap(best.begin(), best.end(), before);
      T worst = best.empty() ? T(0) : of_row[best.front()];
      for (; column < n_items; ++column) {
        if (!(of_row[column] > worst)) continue;  // NaN, or a tie with an earlier column
        std::pop_heap(best.begin(), best.end(), before);
        best.back() = column;
        std::push_heap(best.begin(), best.end(), before);
        worst = of_row[best.front()];
      }
      std::sort_heap(best.begin(), best.end(), before);
      const auto list = lists.begin() + static_cast<std::ptrdiff_t>(row * length);
      std::fill(std::copy(best.begin(), best.end(), list), list + length, -1);
    }
  };
  ThreadTeam team(team_size(n_threads, (n_rows + kScoredRows - 1) / kScoredRows));
  team.run_slices(n_rows, body, kScoredRows);
}

template <class T>
void ranking_auc(std::span<const T> scores, std::int64_t n_rows, std::int32_t n_items, const RowListsView& excluded,
                 const RowListsView& relevant, std::span<double> out, std::int32_t n_threads) {
  require_size(scores.size(), n_rows * n_items, "scores");
  validate_lists(relevant, n_rows, n_items, "relevant");
  if (!excluded.indptr.empty()) validate_lists(excluded, n_rows, n_items, "excluded");
  require_size(out.size(), n_rows, "out");
  const auto body = [&](std::int64_t begin, std::int64_t end, int) {
    // Of each item: 0: a candidate, 1: left out, 2: relevant.
    std::vector<char> kind(static_cast<std::size_t>(n_items), 0);
    std::vector<T> wanted, others;
    for (std::int64_t row = begin; row < end; ++row) {
      const std::span<const T> of_row =
          scores.subspan(static_cast<std::size_t>(row * n_items), static_cast<std::size_t>(n_items));
      const std::span<const std::int32_t> left_out = row_of(excluded, row), relevant_items = row_of(relevant, row);
      for (const std::int32_t item : relevant_items) kind[static_cast<std::size_t>(item)] = 2;
      for (const std::int32_t item : left_out) kind[static_cast<std::size_t>(item)] = 1;
      wanted.clear();
      for (const std::int32_t item : relevant_items) {
        const auto at = static_cast<std::size_t>(item);
        if (kind[at] == 2 && !std::isnan(of_row[at])) wanted.push_back(of_row[at]);
      }
      others.clear();
      for (std::size_t item = 0; !wanted.empty() && item < of_row.size(); ++item) {
        if (kind[item] == 0 && !std::isnan(of_row[item])) others.push_back(of_row[item]);
      }
      const std::int64_t twice = twice_in_order(wanted, others);
      const double pairs = static_cast<double>(wanted.size()) * static_cast<double>(others.size());
      out[static_cast<std::size_t>(row)] = pairs > 0 ? static_cast<double>(twice) / (2 * pairs) : kNaN;
      for (const std::int32_t item : relevant_items) kind[static_cast<std::size_t>(item)] = 0;
      for (const std::int32_t item : left_out) kind[static_cast<std::size_t>(item)] = 0;
    }
  };
  ThreadTeam team(team_size(n_threads, (n_rows + kScoredRows - 1) / kScoredRows));
  team.run_slices(n_rows, body, kScoredRows);
}

#define WARPFACTOR_DEFINE_FOR(T)                                                                                       \
  template void ranked_lists<T>(std::span<const T>, std::int64_t, std::int32_t, std::int32_t, std::span<std::int32_t>, \
                                std::int32_t);                                                                         \
  template void ranking_auc<T>(std::span<const T>, std::int64_t, std::int32_t, const RowListsView&,                    \
                               const RowListsView&, std::span<double>, std::int32_t);
WARPFACTOR_DEFINE_FOR(float)
WARPFACTOR_DEFINE_FOR(double)
#undef WARPFACTOR_DEFINE_FOR

}  // namespace warpfactor
