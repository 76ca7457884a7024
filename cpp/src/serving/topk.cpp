// SPDX-License-Identifier: Apache-2.0
#include "warpfactor/topk.hpp"

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "cpu/kernel_table.hpp"
#include "threads.hpp"

namespace warpfactor {
namespace {

template <class T>
const T* row_of(std::span<const T> factors, std::int64_t row, std::int64_t n_factors) {
  return factors.data() + row * n_factors;
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

void require_size(std::size_t size, std::int64_t wanted, const char* name) {
  if (static_cast<std::int64_t>(size) != wanted) {
    throw std::invalid_argument(std::string(name) + " has " + std::to_string(size) + " elements; it must have " +
                                std::to_string(wanted));
  }
}

template <class T>
void validate(const FactorsView<T>& model) {
  require_size(model.user_factors.size(), static_cast<std::int64_t>(model.n_users) * model.n_factors, "user_factors");
  require_size(model.item_factors.size(), static_cast<std::int64_t>(model.n_items) * model.n_factors, "item_factors");
  if (!model.user_biases.empty()) require_size(model.user_biases.size(), model.n_users, "user_biases");
  if (!model.item_biases.empty()) require_size(model.item_biases.size(), model.n_items, "item_biases");
}

void validate_rows(std::span<const std::int32_t> rows, std::int32_t n, const char* name) {
  for (const std::int32_t row : rows) {
    if (row < -1 || row >= n) {
      throw std::invalid_argument(std::string(name) + " holds " + std::to_string(row) +
                                  "; it must be from -1 (unknown) to " + std::to_string(n - 1));
    }
  }
}

}  // namespace

template <class T>
void predict(const FactorsView<T>& model, std::span<const std::int32_t> users, std::span<const std::int32_t> items,
             std::span<T> out, std::int32_t n_threads, const std::function<bool()>& interrupted) {
  validate(model);
  const auto n = static_cast<std::int64_t>(users.size());
  require_size(items.size(), n, "items");
  require_size(out.size(), n, "out");
  validate_rows(users, model.n_users, "users");
  validate_rows(items, model.n_items, "items");
  const KernelTable& kernels = kernel_table();
  constexpr std::int64_t kSlice = 8192;
  ThreadTeam team(team_size(n_threads, n / kSlice), interrupted);
  team.run_slices(
      n,
      [&](std::int64_t begin, std::int64_t end, int) {
        kernels.kernels<T>().predict_pairs({model.user_factors.data(), model.item_factors.data(),
                                            model.user_biases.empty() ? nullptr : model.user_biases.data(),
                                            model.item_biases.empty() ? nullptr : model.item_biases.data(),
                                            model.global_mean, model.n_factors, model.n_factors, users.data() + begin,
                                            items.data() + begin, end - begin, out.data() + begin});
      },
      kSlice);
}

template <class T>
void recommend(const FactorsView<T>& model, std::span<const std::int32_t> users, std::int32_t n,
               const RowLists& exclude, std::span<std::int32_t> items, std::span<T> scores, std::int32_t n_threads,
               const std::function<bool()>& interrupted) {
  validate(model);
  if (n < 1) throw std::invalid_argument("n is " + std::to_string(n) + "; it must be at least 1");
  const auto n_queries = static_cast<std::int64_t>(users.size());
  require_size(items.size(), n_queries * n, "items");
  require_size(scores.size(), n_queries * n, "scores");
  validate_rows(users, model.n_users, "users");
  if (!exclude.indptr.empty()) {
    require_size(exclude.indptr.size(), n_queries + 1, "exclude.indptr");
    require_size(exclude.indices.size(), exclude.indptr.back(), "exclude.indices");
    if (!std::is_sorted(exclude.indptr.begin(), exclude.indptr.end()) || exclude.indptr.front() < 0) {
      throw std::invalid_argument("exclude.indptr must rise from 0");
    }
    validate_rows(exclude.indices, model.n_items, "exclude.indices");
  }
  const KernelTable& kernels = kernel_table();
  constexpr std::int64_t kQueriesPerTask = 16;
  ThreadTeam team(team_size(n_threads, (n_queries + kQueriesPerTask - 1) / kQueriesPerTask), interrupted);
  team.run_slices(
      n_queries,
      [&](std::int64_t begin, std::int64_t end, int) {
        const auto n_items = static_cast<std::size_t>(model.n_items);
        std::vector<T> row_scores(n_items);
        std::vector<bool> excluded(n_items, false);
        std::vector<Scored<T>> best;
        best.reserve(static_cast<std::size_t>(std::min(n, model.n_items)));
        for (std::int64_t q = begin; q < end; ++q) {
          const std::int32_t user = users[static_cast<std::size_t>(q)];
          T offset = model.global_mean;
          if (user >= 0 && !model.user_biases.empty()) offset += model.user_biases[static_cast<std::size_t>(user)];
          kernels.kernels<T>().score_rows({user >= 0 ? row_of(model.user_factors, user, model.n_factors) : nullptr,
                                           model.item_factors.data(),
                                           model.item_biases.empty() ? nullptr : model.item_biases.data(), offset,
                                           model.n_factors, model.n_items, row_scores.data()});
          std::span<const std::int32_t> out_of_question;
          if (!exclude.indptr.empty()) {
            const std::int64_t from = exclude.indptr[static_cast<std::size_t>(q)],
                               to = exclude.indptr[static_cast<std::size_t>(q) + 1];
            out_of_question =
                exclude.indices.subspan(static_cast<std::size_t>(from), static_cast<std::size_t>(to - from));
          }
          for (const std::int32_t item : out_of_question) {
            if (item >= 0) excluded[static_cast<std::size_t>(item)] = true;
          }
          select(row_scores, excluded, n, best);
          for (const std::int32_t item : out_of_question) {
            if (item >= 0) excluded[static_cast<std::size_t>(item)] = false;
          }
          for (std::int64_t slot = 0; slot < n; ++slot) {
            const bool filled = slot < static_cast<std::int64_t>(best.size());
            items[static_cast<std::size_t>(q * n + slot)] = filled ? best[static_cast<std::size_t>(slot)].item : -1;
            scores[static_cast<std::size_t>(q * n + slot)] =
                filled ? best[static_cast<std::size_t>(slot)].score : std::numeric_limits<T>::quiet_NaN();
          }
        }
      },
      kQueriesPerTask);
}

std::int64_t group_by_user(std::span<const std::int32_t> users, std::span<const std::int32_t> items,
                           std::span<std::int64_t> indptr, std::span<std::int32_t> indices) {
  require_size(items.size(), static_cast<std::int64_t>(users.size()), "items");
  require_size(indices.size(), static_cast<std::int64_t>(users.size()), "indices");
  if (indptr.empty()) throw std::invalid_argument("indptr must have n_users + 1 places");
  const std::size_t n_users = indptr.size() - 1;
  std::fill(indptr.begin(), indptr.end(), 0);
  for (const std::int32_t user : users) {
    if (user < 0 || static_cast<std::size_t>(user) >= n_users) {
      throw std::invalid_argument("users holds " + std::to_string(user) + ", which is out of range");
    }
    ++indptr[static_cast<std::size_t>(user) + 1];
  }
  for (std::size_t u = 0; u < n_users; ++u) indptr[u + 1] += indptr[u];
  std::vector<std::int64_t> next(indptr.begin(), indptr.end() - 1);
  for (std::size_t r = 0; r < users.size(); ++r) {
    indices[static_cast<std::size_t>(next[static_cast<std::size_t>(users[r])]++)] = items[r];
  }
  std::int64_t used = 0;
  for (std::size_t u = 0; u < n_users; ++u) {
    const auto first = indices.begin() + indptr[u], last = indices.begin() + indptr[u + 1];
    std::sort(first, last);
    const auto unique_end = std::unique(first, last);
    const auto to = indices.begin() + used;
    indptr[u] = used;
    used += unique_end - first;
    if (to != first) std::copy(first, unique_end, to);
  }
  indptr[n_users] = used;
  return used;
}

template void predict<float>(const FactorsView<float>&, std::span<const std::int32_t>, std::span<const std::int32_t>,
                             std::span<float>, std::int32_t, const std::function<bool()>&);
template void predict<double>(const FactorsView<double>&, std::span<const std::int32_t>, std::span<const std::int32_t>,
                              std::span<double>, std::int32_t, const std::function<bool()>&);
template void recommend<float>(const FactorsView<float>&, std::span<const std::int32_t>, std::int32_t, const RowLists&,
                               std::span<std::int32_t>, std::span<float>, std::int32_t, const std::function<bool()>&);
template void recommend<double>(const FactorsView<double>&, std::span<const std::int32_t>, std::int32_t,
                                const RowLists&, std::span<std::int32_t>, std::span<double>, std::int32_t,
                                const std::function<bool()>&);

}  // namespace warpfactor
