// SPDX-License-Identifier: Apache-2.0
// How good ranked lists and scores are, for many users at once.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "warpfactor/model.hpp"

namespace warpfactor {

/// Ranked lists of item codes, best first: a row of `length` slots for each user, those after its last item -1.
struct RankedListsView {
  std::int64_t n_rows = 0;
  std::int64_t length = 0;
  std::span<const std::int32_t> items{};  ///< n_rows x length
};

/// The relevant items of each row, sorted and distinct, and how relevant each is.
struct RelevantView {
  RowListsView lists{};             ///< of the rows: n_rows + 1 offsets
  std::span<const double> gains{};  ///< one for each item of the lists, above 0
};

/// What ranking_metrics() computes, in this order. Names as in Python.
inline constexpr std::array<std::string_view, 7> kRankingMetrics{"precision",   "recall", "hit_rate", "ndcg",
                                                                 "graded_ndcg", "map",    "mrr"};

/// out[m][c][row] = metric m of the first cutoffs[c] items of the row's list. With R relevant items, h_j = 1 where the
/// j-th is relevant, else 0, and g_j its gain or 0:
///   precision   sum_{j<=k} h_j / k, also where a list is shorter
///   recall      sum_{j<=k} h_j / R
///   hit_rate    1 if any h_j = 1 with j <= k
///   ndcg        sum_{j<=k} h_j / log2(j + 1), divided by its highest value: of min(k, R) relevant items in front
///   graded_ndcg likewise with g_j in place of h_j; in front are the items of the highest gains
///   map         sum_{j<=k} h_j (sum_{l<=j} h_l / j) / R
///   mrr         1 / the least j <= k with h_j = 1; 0 if there is none
/// as trec_eval has them (P, recall, success, ndcg_cut, map_cut, recip_rank). NaN for a row without relevant items.
/// Throws std::invalid_argument if parts do not fit together, a cutoff is below 1, or a relevant item is twice in a
/// list.
void ranking_metrics(const RankedListsView& lists, const RelevantView& relevant, std::span<const std::int32_t> cutoffs,
                     std::span<double> out, std::int32_t n_threads);

/// Row r of `lists` = the `length` columns of the highest scores of row r, best first, ties by lower column; -1 in
/// slots beyond those whose score is no NaN. T: float or double.
template <class T>
void ranked_lists(std::span<const T> scores, std::int64_t n_rows, std::int32_t n_items, std::int32_t length,
                  std::span<std::int32_t> lists, std::int32_t n_threads);

/// out[row] = the share of the pairs of a relevant and another candidate in which the relevant one has the higher
/// score; equal scores count as half. Candidates are the items of a finite or infinite score that are not in the row's
/// list of `excluded` (no offsets: none are). NaN where a row has no relevant candidate, or no other one. T: float or
/// double.
template <class T>
void ranking_auc(std::span<const T> scores, std::int64_t n_rows, std::int32_t n_items, const RowListsView& excluded,
                 const RowListsView& relevant, std::span<double> out, std::int32_t n_threads);

}  // namespace warpfactor
