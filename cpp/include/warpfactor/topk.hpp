// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "warpfactor/types.hpp"

namespace warpfactor {

/// Borrowed factors of a model: rows of n_factors without padding. Empty biases count as zero.
template <class T>
struct FactorsView {
  std::int32_t n_users = 0;
  std::int32_t n_items = 0;
  std::int32_t n_factors = 0;
  T global_mean = 0;
  std::span<const T> user_factors;
  std::span<const T> item_factors;
  std::span<const T> user_biases{};
  std::span<const T> item_biases{};
};

/// Column indices of each row, in the compressed-row layout: row r holds indices[indptr[r]] .. indices[indptr[r+1]-1].
struct RowLists {
  std::span<const std::int64_t> indptr;
  std::span<const std::int32_t> indices;
};

/// out[n] = r^(users[n], items[n]); an index of -1 stands for an unknown row: no factors, bias 0.
template <class T>
void predict(const FactorsView<T>& model, std::span<const std::int32_t> users, std::span<const std::int32_t> items,
             std::span<T> out, std::int32_t n_threads = 0, const std::function<bool()>& interrupted = {});

/// For each of `users` (-1: unknown) the n items of the highest r^, best first, ties by lower index, without those in
/// `exclude` (row m belongs to users[m]; empty indptr: nothing is excluded). Row m of items and scores has n slots;
/// slots beyond the eligible items hold -1 and NaN.
template <class T>
void recommend(const FactorsView<T>& model, std::span<const std::int32_t> users, std::int32_t n,
               const RowLists& exclude, std::span<std::int32_t> items, std::span<T> scores, std::int32_t n_threads = 0,
               const std::function<bool()>& interrupted = {});

/// The items of each user as row lists, sorted and without repeats, from COO pairs. `indptr` has n_users + 1 places and
/// `indices` as many as there are pairs; returns how many of them are used.
std::int64_t group_by_user(std::span<const std::int32_t> users, std::span<const std::int32_t> items,
                           std::span<std::int64_t> indptr, std::span<std::int32_t> indices);

}  // namespace warpfactor
