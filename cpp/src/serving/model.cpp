// SPDX-License-Identifier: Apache-2.0
#include "warpfactor/model.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "cpu/kernel_table.hpp"
#include "require.hpp"
#include "threads.hpp"

namespace warpfactor {
namespace {

template <class T>
void validate(const ModelView<T>& model) {
  require_size(model.user_factors.size(), static_cast<std::int64_t>(model.n_users) * model.n_factors, "user_factors");
  require_size(model.item_factors.size(), static_cast<std::int64_t>(model.n_items) * model.n_factors, "item_factors");
  if (!model.user_biases.empty()) require_size(model.user_biases.size(), model.n_users, "user_biases");
  if (!model.item_biases.empty()) require_size(model.item_biases.size(), model.n_items, "item_biases");
  if (!model.user_counts.empty()) require_size(model.user_counts.size(), model.n_users, "user_counts");
  if (!model.item_counts.empty()) require_size(model.item_counts.size(), model.n_items, "item_counts");
}

void validate_rows(std::span<const std::int32_t> rows, std::int32_t n, const char* name) {
  for (const std::int32_t row : rows) {
    if (row < -1 || row >= n) {
      reject(std::string(name) + " holds " + text(row) + "; it must be from -1 (unknown) to " + text(n - 1));
    }
  }
}

/// The row itself, or -1 if it is unknown.
std::int32_t known(std::int32_t row, std::span<const std::uint32_t> counts) {
  return row >= 0 && !counts.empty() && counts[static_cast<std::size_t>(row)] == 0 ? -1 : row;
}

/// The prediction of a score that the kernels computed for a pair with so many unknown rows. In double, so that it is
/// the nearest T on every machine.
template <class T>
T answer(const ModelView<T>& model, T score, int n_unknown) {
  if (n_unknown > 0) {
    if (!model.biases) return static_cast<T>(model.rating_mean);
    if (model.start_bias != 0) score = static_cast<T>(static_cast<double>(score) + n_unknown * model.start_bias);
  }
  if (model.link == Link::identity) return score;
  const double probability = 1 / (1 + std::exp(-static_cast<double>(score)));
  return static_cast<T>(model.link == Link::probability ? probability : 2 * probability - 1);
}

template <class T>
struct Scored {
  T score;
  std::int32_t item;
};

template <class T>
bool before(const Scored<T>& a, const Scored<T>& b) {
  return a.score > b.score || (a.score == b.score && a.item < b.item);
}

/// The n best of scores[0 .. n_items) without the excluded, in a heap whose front is the worst kept.
template <class T>
void select(const std::vector<T>& scores, const std::vector<bool>& excluded, std::int32_t n,
            std::vector<Scored<T>>& best) {
  best.clear();
  for (std::int32_t item = 0; item < static_cast<std::int32_t>(scores.size()); ++item) {
    const Scored<T> candidate{scores[static_cast<std::size_t>(item)], item};
    if (static_cast<std::int32_t>(best.size()) == n && !before(candidate, best.front())) continue;
    if (excluded[static_cast<std::size_t>(item)]) continue;
    if (static_cast<std::int32_t>(best.size()) == n) {
      std::pop_heap(best.begin(), best.end(), before<T>);
      best.back() = candidate;
    } else {
      best.push_back(candidate);
    }
    std::push_heap(best.begin(), best.end(), before<T>);
  }
  std::sort_heap(best.begin(), best.end(), before<T>);
}

/// A query of `search`: the row to multiply with (nullptr: none), what is added to all scores, and what to leave out.
template <class T>
struct Query {
  const T* row;
  T offset;
  std::span<const std::int32_t> left_out;
};

/// The n best known items of each query; finish(q, score) makes of its score what is put out.
template <class T, class QueryOf, class Finish>
void search(const ModelView<T>& model, const T* rows, const T* biases, std::int64_t n_queries, std::int32_t n,
            std::span<std::int32_t> items, std::span<T> out, ThreadTeam& team, const QueryOf& query_of,
            const Finish& finish) {
  const KernelTable& kernels = kernel_table();
  const auto n_items = static_cast<std::size_t>(model.n_items);
  std::vector<bool> unknown(n_items, false);
  for (std::size_t item = 0; item < model.item_counts.size(); ++item) unknown[item] = model.item_counts[item] == 0;
  const auto body = [&](std::int64_t begin, std::int64_t end, int) {
    std::vector<T> scores(n_items);
    std::vector<bool> excluded = unknown;
    std::vector<Scored<T>> best;
    best.reserve(static_cast<std::size_t>(std::min(n, model.n_items)));
    for (std::int64_t q = begin; q < end; ++q) {
      const Query<T> query = query_of(q);
      kernels.kernels<T>().score_rows(
          {query.row, rows, biases, query.offset, model.n_factors, model.n_items, scores.data()});
      for (const std::int32_t item : query.left_out) {
        if (item >= 0) excluded[static_cast<std::size_t>(item)] = true;
      }
      select(scores, excluded, n, best);
      for (const std::int32_t item : query.left_out) {
        if (item >= 0) excluded[static_cast<std::size_t>(item)] = unknown[static_cast<std::size_t>(item)];
      }
      for (std::size_t slot = 0; slot < static_cast<std::size_t>(n); ++slot) {
        const std::size_t at = static_cast<std::size_t>(q) * static_cast<std::size_t>(n) + slot;
        const bool filled = slot < best.size() && std::isfinite(best[slot].score);
        items[at] = filled ? best[slot].item : -1;
        out[at] = filled ? finish(q, best[slot].score) : std::numeric_limits<T>::quiet_NaN();
      }
    }
  };
  team.run_slices(n_queries, body, 16);
}

/// The item biases of the lower confidence bounds.
template <class T>
std::vector<T> lowered_biases(const ModelView<T>& model, double confidence) {
  if (model.item_deviations.empty() && model.n_items > 0) {
    reject("options.confidence is " + text(confidence) +
           ", which needs the model's item_deviations: put what item_deviations() returns into the view");
  }
  require_size(model.item_deviations.size(), model.n_items, "item_deviations");
  std::vector<T> biases(model.item_biases.begin(), model.item_biases.end());
  biases.resize(static_cast<std::size_t>(model.n_items));
  for (std::size_t item = 0; item < biases.size(); ++item) {
    biases[item] -= static_cast<T>(confidence) * model.item_deviations[item];
  }
  return biases;
}

int search_team_size(const AnswerOptions& options, std::int64_t n_queries) {
  return team_size(options.n_threads, (n_queries + 15) / 16);
}

template <class T>
void validate_search(const ModelView<T>& model, std::int64_t n_queries, std::int32_t n, std::size_t n_items,
                     const char* items, std::size_t n_scores, const char* scores) {
  validate(model);
  if (n < 1) reject("n is " + text(n) + "; it must be at least 1");
  require_size(n_items, n_queries * n, items);
  require_size(n_scores, n_queries * n, scores);
}

/// The sum of squares in the order of numpy.add.reduce, so that cosines have the bits they have always had.
template <class T>
T sum_of_squares(const T* values, std::int64_t n) {
  if (n < 8) {
    T sum = 0;
    for (std::int64_t i = 0; i < n; ++i) sum += values[i] * values[i];
    return sum;
  }
  if (n > 128) {
    const std::int64_t half = n / 2 / 8 * 8;
    return sum_of_squares(values, half) + sum_of_squares(values + half, n - half);
  }
  T sums[8];
  for (std::int64_t i = 0; i < 8; ++i) sums[i] = values[i] * values[i];
  std::int64_t from = 8;
  for (; from + 8 <= n; from += 8) {
    for (std::int64_t i = 0; i < 8; ++i) sums[i] += values[from + i] * values[from + i];
  }
  T sum = ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
  for (; from < n; ++from) sum += values[from] * values[from];
  return sum;
}

}  // namespace

template <class T>
void predict(const ModelView<T>& model, std::span<const std::int32_t> users, std::span<const std::int32_t> items,
             std::span<T> out, const AnswerOptions& options) {
  validate(model);
  const auto n = static_cast<std::int64_t>(users.size());
  require_size(items.size(), n, "items");
  require_size(out.size(), n, "out");
  validate_rows(users, model.n_users, "users");
  validate_rows(items, model.n_items, "items");
  if (options.unknown == Unknown::raise) {
    for (std::size_t pair = 0; pair < users.size(); ++pair) {
      const bool user = known(users[pair], model.user_counts) < 0;
      if (user || known(items[pair], model.item_counts) < 0) {
        reject("pair " + text(pair) + " has " + (user ? "a user" : "an item") +
               " without training ratings: leave it out, or use Unknown::mean or Unknown::nan");
      }
    }
  }
  const KernelTable& kernels = kernel_table();
  constexpr std::int64_t kSlice = 8192;
  ThreadTeam team(team_size(options.n_threads, n / kSlice), options.interrupted);
  const auto body = [&](std::int64_t begin, std::int64_t end, int) {
    const auto known_of = [&](std::span<const std::int32_t> rows, std::span<const std::uint32_t> counts) {
      std::vector<std::int32_t> codes(rows.begin() + begin, rows.begin() + end);
      for (std::int32_t& code : codes) code = known(code, counts);
      return codes;
    };
    const std::vector<std::int32_t> some_users = known_of(users, model.user_counts),
                                    some_items = known_of(items, model.item_counts);
    T* const some = out.data() + begin;
    kernels.kernels<T>().predict_pairs({model.user_factors.data(), model.item_factors.data(),
                                        model.user_biases.empty() ? nullptr : model.user_biases.data(),
                                        model.item_biases.empty() ? nullptr : model.item_biases.data(),
                                        static_cast<T>(model.global_mean), model.n_factors, model.n_factors,
                                        some_users.data(), some_items.data(), end - begin, some});
    for (std::size_t r = 0; r < some_users.size(); ++r) {
      const int n_unknown = (some_users[r] < 0 ? 1 : 0) + (some_items[r] < 0 ? 1 : 0);
      some[r] = n_unknown > 0 && options.unknown == Unknown::nan ? std::numeric_limits<T>::quiet_NaN()
                                                                 : answer(model, some[r], n_unknown);
    }
  };
  team.run_slices(n, body, kSlice);
}

template <class T>
void recommend(const ModelView<T>& model, std::span<const std::int32_t> users, std::int32_t n, const RowListsView& seen,
               std::span<std::int32_t> items, std::span<T> predictions, const AnswerOptions& options) {
  const auto n_queries = static_cast<std::int64_t>(users.size());
  validate_search(model, n_queries, n, items.size(), "items", predictions.size(), "predictions");
  validate_rows(users, model.n_users, "users");
  require(options.confidence >= 0 && std::isfinite(options.confidence), "options.confidence", options.confidence,
          "a finite number of at least 0");
  for (std::size_t q = 0; options.unknown != Unknown::mean && q < users.size(); ++q) {
    if (known(users[q], model.user_counts) < 0) {
      reject("users[" + text(q) + "] is " + text(users[q]) +
             ", which has no training ratings: leave it out, or use Unknown::mean");
    }
  }
  if (!seen.indptr.empty()) {
    require_size(seen.indptr.size(), static_cast<std::int64_t>(model.n_users) + 1, "seen.indptr");
    for (const std::int32_t user : users) {  // all of the lists may be a thousand times as long
      if (known(user, model.user_counts) < 0) continue;
      const std::int64_t from = seen.indptr[static_cast<std::size_t>(user)],
                         to = seen.indptr[static_cast<std::size_t>(user) + 1];
      if (from < 0 || to < from || to > static_cast<std::int64_t>(seen.items.size())) {
        reject("seen.indptr has " + text(from) + " and " + text(to) + " at user " + text(user) +
               "; it must rise from 0 to the length of seen.items, " + text(seen.items.size()));
      }
      validate_rows(seen.items.subspan(static_cast<std::size_t>(from), static_cast<std::size_t>(to - from)),
                    model.n_items, "seen.items");
    }
  }
  const std::vector<T> lowered = options.confidence > 0 ? lowered_biases(model, options.confidence) : std::vector<T>();
  const std::span<const T> biases = options.confidence > 0 ? std::span<const T>(lowered) : model.item_biases;
  ThreadTeam team(search_team_size(options, n_queries), options.interrupted);
  const auto user_of = [&](std::int64_t q) { return known(users[static_cast<std::size_t>(q)], model.user_counts); };
  search(
      model, model.item_factors.data(), biases.empty() ? nullptr : biases.data(), n_queries, n, items, predictions,
      team,
      [&](std::int64_t q) {
        Query<T> query{nullptr, static_cast<T>(model.global_mean), {}};
        const std::int32_t user = user_of(q);
        if (user < 0) return query;
        const auto row = static_cast<std::size_t>(user);
        query.row = model.user_factors.data() + static_cast<std::int64_t>(user) * model.n_factors;
        if (!model.user_biases.empty()) query.offset += model.user_biases[row];
        if (!seen.indptr.empty()) {
          query.left_out = seen.items.subspan(static_cast<std::size_t>(seen.indptr[row]),
                                              static_cast<std::size_t>(seen.indptr[row + 1] - seen.indptr[row]));
        }
        return query;
      },
      [&](std::int64_t q, T score) { return answer(model, score, user_of(q) < 0 ? 1 : 0); });
}

template <class T>
void similar_items(const ModelView<T>& model, std::span<const std::int32_t> items, std::int32_t n,
                   std::span<std::int32_t> similar, std::span<T> cosines, const AnswerOptions& options) {
  const auto n_queries = static_cast<std::int64_t>(items.size());
  validate_search(model, n_queries, n, similar.size(), "similar", cosines.size(), "cosines");
  validate_rows(items, model.n_items, "items");
  for (std::size_t q = 0; q < items.size(); ++q) {
    if (known(items[q], model.item_counts) < 0) {
      reject("items[" + text(q) + "] is " + text(items[q]) + ", which has no training ratings: leave it out");
    }
  }
  if (items.empty()) return;
  constexpr std::int64_t kSlice = 4096;
  ThreadTeam team(std::max(search_team_size(options, n_queries), team_size(options.n_threads, model.n_items / kSlice)),
                  options.interrupted);
  std::vector<T> unit(model.item_factors.size());
  team.run_slices(
      model.n_items,
      [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t item = begin; item < end; ++item) {
          const T* const from = model.item_factors.data() + item * model.n_factors;
          // The smallest normal number keeps a row of zeros zero instead of NaN.
          const T length = std::max(std::sqrt(sum_of_squares(from, model.n_factors)), std::numeric_limits<T>::min());
          std::transform(from, from + model.n_factors, unit.data() + item * model.n_factors,
                         [length](T value) { return value / length; });
        }
      },
      kSlice);
  search(
      model, unit.data(), static_cast<const T*>(nullptr), n_queries, n, similar, cosines, team,
      [&](std::int64_t q) {
        const auto at = static_cast<std::size_t>(q);
        return Query<T>{unit.data() + static_cast<std::int64_t>(items[at]) * model.n_factors, 0, items.subspan(at, 1)};
      },
      [](std::int64_t, T cosine) { return cosine; });
}

template <class T>
T Model<T>::predict(std::int32_t user, std::int32_t item) const {
  T prediction;
  warpfactor::predict<T>(view(), {&user, 1}, {&item, 1}, {&prediction, 1});
  return prediction;
}

std::span<const std::int32_t> RowLists::operator[](std::int32_t user) const {
  const auto row = static_cast<std::size_t>(user);
  return {items.data() + indptr[row], items.data() + indptr[row + 1]};
}

RowLists group_by_user(std::span<const std::int32_t> users, std::span<const std::int32_t> items, std::int32_t n_users) {
  if (n_users < 0) reject("n_users is " + text(n_users) + "; it must be at least 0");
  require_size(items.size(), static_cast<std::int64_t>(users.size()), "items");
  RowLists lists;
  std::vector<std::int64_t>& indptr = lists.indptr;
  indptr.assign(static_cast<std::size_t>(n_users) + 1, 0);
  for (const std::int32_t user : users) {
    if (user < 0 || user >= n_users) {
      reject("users holds " + text(user) + "; it must be from 0 to " + text(n_users - 1));
    }
    ++indptr[static_cast<std::size_t>(user) + 1];
  }
  for (std::size_t u = 0; u < static_cast<std::size_t>(n_users); ++u) indptr[u + 1] += indptr[u];
  std::vector<std::int64_t> next(indptr.begin(), indptr.end() - 1);
  lists.items.resize(users.size());
  for (std::size_t r = 0; r < users.size(); ++r) {
    lists.items[static_cast<std::size_t>(next[static_cast<std::size_t>(users[r])]++)] = items[r];
  }
  constexpr std::int64_t kSlice = 256;
  ThreadTeam team(team_size(0, n_users / kSlice));
  team.run_slices(
      n_users,
      [&](std::int64_t begin, std::int64_t end, int) {
        for (auto u = static_cast<std::size_t>(begin); u < static_cast<std::size_t>(end); ++u) {
          std::sort(lists.items.begin() + indptr[u], lists.items.begin() + indptr[u + 1]);
        }
      },
      kSlice);
  std::int64_t used = 0;
  for (std::size_t u = 0; u < static_cast<std::size_t>(n_users); ++u) {
    const auto first = lists.items.begin() + indptr[u], last = lists.items.begin() + indptr[u + 1];
    const auto unique_end = std::unique(first, last);
    const auto to = lists.items.begin() + used;
    indptr[u] = used;
    used += unique_end - first;
    if (to != first) std::copy(first, unique_end, to);
  }
  indptr.back() = used;
  lists.items.resize(static_cast<std::size_t>(used));
  return lists;
}

#define WARPFACTOR_DEFINE_FOR(T)                                                                                    \
  template void predict<T>(const ModelView<T>&, std::span<const std::int32_t>, std::span<const std::int32_t>,       \
                           std::span<T>, const AnswerOptions&);                                                     \
  template void recommend<T>(const ModelView<T>&, std::span<const std::int32_t>, std::int32_t, const RowListsView&, \
                             std::span<std::int32_t>, std::span<T>, const AnswerOptions&);                          \
  template void similar_items<T>(const ModelView<T>&, std::span<const std::int32_t>, std::int32_t,                  \
                                 std::span<std::int32_t>, std::span<T>, const AnswerOptions&);                      \
  template struct Model<T>;
WARPFACTOR_DEFINE_FOR(float)
WARPFACTOR_DEFINE_FOR(double)
#undef WARPFACTOR_DEFINE_FOR

}  // namespace warpfactor
