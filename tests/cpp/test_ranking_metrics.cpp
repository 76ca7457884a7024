// SPDX-License-Identifier: Apache-2.0
// Metrics of ranked lists and scores, against plain loops over their formulas.
#include "serving/ranking_metrics.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "check.hpp"

namespace {

using namespace warpfactor;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// Ranked lists and relevant items; every third list ends early, and every fourth row has no relevant item.
struct Case {
  std::int64_t n_rows, length;
  std::vector<std::int32_t> lists;
  RowLists relevant{{0}, {}};
  std::vector<double> gains;

  Case(std::int64_t rows, std::int64_t width, std::int32_t n_items) : n_rows(rows), length(width) {
    std::mt19937 draws(7);
    std::vector<std::int32_t> items(static_cast<std::size_t>(n_items));
    std::iota(items.begin(), items.end(), 0);
    for (std::int64_t row = 0; row < rows; ++row) {
      std::shuffle(items.begin(), items.end(), draws);
      for (std::int64_t j = 0; j < width; ++j) {
        lists.push_back(row % 3 == 1 && j > width / 2 ? -1 : items[static_cast<std::size_t>(j)]);
      }
      std::shuffle(items.begin(), items.end(), draws);
      const auto n = static_cast<std::ptrdiff_t>(row % 4 == 3 ? 0 : 1 + draws() % 9);
      std::sort(items.begin(), items.begin() + n);
      for (std::ptrdiff_t r = 0; r < n; ++r) {
        relevant.items.push_back(items[static_cast<std::size_t>(r)]);
        gains.push_back(0.5 + static_cast<double>(draws() % 5));
      }
      relevant.indptr.push_back(static_cast<std::int64_t>(relevant.items.size()));
    }
  }

  [[nodiscard]] double gain(std::int64_t row, std::int64_t place) const {
    const std::int32_t item = lists[static_cast<std::size_t>(row * length + place)];
    for (std::int64_t r = relevant.indptr[static_cast<std::size_t>(row)];
         r < relevant.indptr[static_cast<std::size_t>(row) + 1]; ++r) {
      if (relevant.items[static_cast<std::size_t>(r)] == item) return gains[static_cast<std::size_t>(r)];
    }
    return 0;
  }

  [[nodiscard]] std::vector<double> values(std::span<const std::int32_t> cutoffs, std::int32_t n_threads = 1) const {
    std::vector<double> out(kRankingMetrics.size() * cutoffs.size() * static_cast<std::size_t>(n_rows), -1);
    ranking_metrics({n_rows, length, lists}, {relevant, gains}, cutoffs, out, n_threads);
    return out;
  }
};

double discounted(const std::vector<double>& gains) {
  double sum = 0;
  for (std::size_t j = 0; j < gains.size(); ++j) sum += gains[j] / std::log2(static_cast<double>(j) + 2);
  return sum;
}

/// The metrics of one row at k, in the order of kRankingMetrics.
std::vector<double> by_formula(const Case& given, std::int64_t row, std::int32_t k) {
  std::vector<double> of_row(given.gains.begin() + given.relevant.indptr[static_cast<std::size_t>(row)],
                             given.gains.begin() + given.relevant.indptr[static_cast<std::size_t>(row) + 1]);
  if (of_row.empty()) return std::vector<double>(kRankingMetrics.size(), kNaN);
  std::vector<double> listed, hits;
  for (std::int64_t j = 0; j < std::min<std::int64_t>(k, given.length); ++j) {
    listed.push_back(given.gain(row, j));
    hits.push_back(listed.back() > 0 ? 1 : 0);
  }
  std::sort(of_row.begin(), of_row.end(), std::greater<>());
  const auto n_relevant = static_cast<double>(of_row.size());
  of_row.resize(std::min(of_row.size(), static_cast<std::size_t>(k)));
  const double n_hits = std::accumulate(hits.begin(), hits.end(), 0.0);
  double precisions = 0, reciprocal = 0, so_far = 0;
  for (std::size_t j = 0; j < hits.size(); ++j) {
    so_far += hits[j];
    precisions += hits[j] * so_far / static_cast<double>(j + 1);
    if (reciprocal == 0 && hits[j] > 0) reciprocal = 1 / static_cast<double>(j + 1);
  }
  return {n_hits / k,
          n_hits / n_relevant,
          n_hits > 0 ? 1.0 : 0.0,
          discounted(hits) / discounted(std::vector<double>(of_row.size(), 1.0)),
          discounted(listed) / discounted(of_row),
          precisions / n_relevant,
          reciprocal};
}

TEST(metrics_of_lists_are_those_of_their_formulas) {
  const std::vector<std::int32_t> cutoffs{10, 1, 3, 50};  // in no order, and beyond the lists
  const Case given(40, 12, 30);
  const std::vector<double> values = given.values(cutoffs);
  std::size_t at = 0;
  for (std::size_t m = 0; m < kRankingMetrics.size(); ++m) {
    for (const std::int32_t k : cutoffs) {
      for (std::int64_t row = 0; row < given.n_rows; ++row, ++at) {
        check::context =
            std::string(kRankingMetrics[m]) + ", k = " + std::to_string(k) + ", row " + std::to_string(row);
        const double wanted = by_formula(given, row, k)[m];
        if (std::isnan(wanted)) {
          CHECK(std::isnan(values[at]));
        } else {
          // Sums of at most 12 terms below 5, each rounded: 12 * 5 * 2^-52.
          CHECK_CLOSE(values[at], wanted, 2e-14);
        }
      }
    }
  }
  check::context.clear();
}

TEST(metrics_of_a_list_by_hand) {
  // The second and the fourth of four are relevant, and a third item is nowhere.
  const std::vector<std::int32_t> list{5, 2, 9, 4}, cutoffs{4};
  const RowLists relevant{{0, 3}, {2, 4, 77}};
  const std::vector<double> gains{3, 1, 2};
  std::vector<double> out(kRankingMetrics.size());
  ranking_metrics({1, 4, list}, {relevant, gains}, cutoffs, out, 1);
  const double ideal = 1 + 1 / std::log2(3.0) + 0.5;
  const std::vector<double> wanted{0.5,
                                   2.0 / 3,
                                   1,
                                   (1 / std::log2(3.0) + 1 / std::log2(5.0)) / ideal,
                                   (3 / std::log2(3.0) + 1 / std::log2(5.0)) / (3 + 2 / std::log2(3.0) + 0.5),
                                   (0.5 + 0.5) / 3,
                                   0.5};
  for (std::size_t m = 0; m < wanted.size(); ++m) CHECK_CLOSE(out[m], wanted[m], 1e-15);
}

TEST(threads_change_no_bit_of_the_metrics) {
  const std::vector<std::int32_t> cutoffs{5, 10};
  const Case given(2000, 10, 40);
  const std::vector<double> alone = given.values(cutoffs), together = given.values(cutoffs, 4);
  for (std::size_t n = 0; n < alone.size(); ++n) {
    CHECK(alone[n] == together[n] || (std::isnan(alone[n]) && std::isnan(together[n])));
  }
}

TEST(metrics_reject_what_does_not_fit_together) {
  const std::vector<std::int32_t> cutoffs{5}, none{0};
  const RowLists relevant{{0, 2}, {1, 3}}, unsorted{{0, 2}, {3, 1}}, twice{{0, 2}, {3, 3}}, negative{{0, 2}, {-4, 3}};
  const std::vector<double> gains{1, 1};
  const std::vector<std::int32_t> list{1, 7, 1};
  std::vector<double> out(kRankingMetrics.size());
  const auto run = [&](const RowLists& lists, std::span<const double> of_items, std::span<const std::int32_t> at) {
    ranking_metrics({1, 3, list}, {lists, of_items}, at, out, 1);
  };
  CHECK_THROWS(std::invalid_argument, "list 0 has an item twice", run(relevant, gains, cutoffs));
  CHECK_THROWS(std::invalid_argument, "cutoffs is 0; it must be at least 1", run(relevant, gains, none));
  CHECK_THROWS(std::invalid_argument, "gains has 1 elements", run(relevant, std::span(gains).first(1), cutoffs));
  CHECK_THROWS(std::invalid_argument, "sorted and distinct", run(unsorted, gains, cutoffs));
  CHECK_THROWS(std::invalid_argument, "sorted and distinct", run(twice, gains, cutoffs));
  CHECK_THROWS(std::invalid_argument, "relevant holds item -4", run(negative, gains, cutoffs));
  CHECK_THROWS(std::invalid_argument, "relevant (offsets) has 3", run(RowLists{{0, 1, 2}, {1, 3}}, gains, cutoffs));
  CHECK_THROWS(std::invalid_argument, "offsets from 0 to 1", run(RowLists{{0, 1}, {1, 3}}, gains, cutoffs));
}

TEST(the_auc_is_the_share_of_pairs_in_order) {
  constexpr std::int32_t kItems = 25;
  constexpr std::int64_t kUsers = 30;
  std::mt19937 draws(3);
  std::vector<float> scores;
  RowLists excluded{{0}, {}}, relevant{{0}, {}};
  for (std::int64_t row = 0; row < kUsers; ++row) {
    for (std::int32_t item = 0; item < kItems; ++item) {
      // Few distinct scores, so that many are tied.
      scores.push_back(item % 11 == 5 ? std::numeric_limits<float>::quiet_NaN() : static_cast<float>(draws() % 6));
      if (draws() % 4 == 0) excluded.items.push_back(item);
      if (row % 5 != 4 && draws() % 3 == 0) relevant.items.push_back(item);  // some of both, and of neither
    }
    excluded.indptr.push_back(static_cast<std::int64_t>(excluded.items.size()));
    relevant.indptr.push_back(static_cast<std::int64_t>(relevant.items.size()));
  }
  std::vector<double> out(kUsers);
  for (const std::int32_t n_threads : {1, 3}) {
    ranking_auc<float>(scores, kUsers, kItems, excluded, relevant, out, n_threads);
    for (std::int32_t row = 0; row < kUsers; ++row) {
      double sum = 0, pairs = 0;
      const auto has = [&](const RowLists& lists, std::int32_t item) {
        const std::span<const std::int32_t> items = lists[row];
        return std::find(items.begin(), items.end(), item) != items.end();
      };
      const auto score = [&](std::int32_t item) { return scores[static_cast<std::size_t>(row * kItems + item)]; };
      const auto is_candidate = [&](std::int32_t item) { return !has(excluded, item) && !std::isnan(score(item)); };
      for (std::int32_t i = 0; i < kItems; ++i) {
        for (std::int32_t j = 0; j < kItems; ++j) {
          if (!is_candidate(i) || !is_candidate(j) || !has(relevant, i) || has(relevant, j)) continue;
          pairs += 1;
          sum += score(i) > score(j) ? 1 : score(i) == score(j) ? 0.5 : 0;
        }
      }
      const double value = out[static_cast<std::size_t>(row)];
      CHECK(pairs > 0 ? value == sum / pairs : std::isnan(value));
    }
  }
  // Of so many relevant items that each other one is searched for among them.
  std::vector<double> many;
  RowLists first_half{{0}, {}};
  for (std::int32_t item = 0; item < 600; ++item) {
    many.push_back(static_cast<double>(draws() % 50));
    if (item < 300) first_half.items.push_back(item);
  }
  first_half.indptr.push_back(300);
  std::int64_t twice = 0;
  for (std::size_t i = 0; i < 300; ++i) {
    for (std::size_t j = 300; j < 600; ++j) twice += many[i] > many[j] ? 2 : many[i] == many[j] ? 1 : 0;
  }
  out.resize(1);
  ranking_auc<double>(many, 1, 600, {}, first_half, out, 1);
  CHECK_EQ(out[0], static_cast<double>(twice) / (2.0 * 300 * 300));
  // Without lists of what is left out, and of doubles.
  const std::vector<double> some{3, 1, 2};
  std::vector<double> auc(1);
  ranking_auc<double>(some, 1, 3, {}, RowLists{{0, 1}, {2}}, auc, 1);
  CHECK_EQ(auc[0], 0.5);
  CHECK_THROWS(std::invalid_argument, "relevant holds item 3; it must be from 0 to 2",
               ranking_auc<double>(some, 1, 3, {}, RowLists{{0, 1}, {3}}, auc, 1));
  CHECK_THROWS(std::invalid_argument, "scores has 3 elements; it must have 4",
               ranking_auc<double>(some, 1, 4, {}, RowLists{{0, 1}, {2}}, auc, 1));
}

TEST(lists_of_scores_are_sorted_with_ties_by_column) {
  constexpr float kNone = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> scores{1, 3, kNone, 3, 2, kNone, kNone, 5, kNone, kNone};
  std::vector<std::int32_t> lists(6);
  for (const std::int32_t n_threads : {1, 2}) {
    ranked_lists<float>(scores, 2, 5, 3, lists, n_threads);
    CHECK(lists == (std::vector<std::int32_t>{1, 3, 4, 2, -1, -1}));
  }
  CHECK_THROWS(std::invalid_argument, "length is 0", ranked_lists<float>(scores, 2, 5, 0, {}, 1));
  CHECK_THROWS(std::invalid_argument, "lists has 6 elements; it must have 4",
               ranked_lists<float>(scores, 2, 5, 2, lists, 1));
}

TEST(metrics_of_nobody_and_of_empty_lists) {
  std::vector<double> out;
  const std::vector<std::int32_t> cutoffs{3};
  ranking_metrics({0, 5, {}}, {RowLists{{0}, {}}, {}}, cutoffs, out, 0);
  out.resize(kRankingMetrics.size());
  const std::vector<double> gains{1};
  const RowLists relevant{{0, 1}, {4}};
  ranking_metrics({1, 0, {}}, {relevant, gains}, cutoffs, out, 0);
  for (const double value : out) CHECK_EQ(value, 0.0);
}

}  // namespace
