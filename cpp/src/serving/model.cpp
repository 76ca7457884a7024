// SPDX-License-Identifier: Apache-2.0
#include "warpfactor/model.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "cpu/kernel_table.hpp"
#include "require.hpp"
#include "serving/answering.hpp"
#include "threads.hpp"

namespace warpfactor {

template <class T>
void predict(const ModelView<T>& model, std::span<const std::int32_t> users, std::span<const std::int32_t> items,
             std::span<T> out, const AnswerOptions& options) {
  validate_parts(model);
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

#define WARPFACTOR_DEFINE_FOR(T)                                                                              \
  template void predict<T>(const ModelView<T>&, std::span<const std::int32_t>, std::span<const std::int32_t>, \
                           std::span<T>, const AnswerOptions&);                                               \
  template struct Model<T>;
WARPFACTOR_DEFINE_FOR(float)
WARPFACTOR_DEFINE_FOR(double)
#undef WARPFACTOR_DEFINE_FOR

}  // namespace warpfactor
