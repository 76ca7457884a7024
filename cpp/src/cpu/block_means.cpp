// SPDX-License-Identifier: Apache-2.0
#include "cpu/block_means.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <tuple>

#include "cpu/means_rule.hpp"
#include "cpu/tuning.hpp"

namespace warpfactor {
namespace {

constexpr std::int64_t kSums = 5;
static_assert(sizeof(ColumnSums) == kSums * sizeof(double));

template <class T>
void fill_zero(T* to, std::int64_t n) {
  std::fill_n(to, n, T(0));
}

}  // namespace

template <class T>
template <class F>
std::vector<double> MeansStep<T>::sums(const F& of_row) {
  const std::int64_t n = layout_.n_rows();
  const auto columns = static_cast<std::size_t>(width_ + 1);
  std::vector<std::vector<ColumnSums>> parts(static_cast<std::size_t>((n + kRowSlice - 1) / kRowSlice));
  team_.run_slices(
      n,
      [&](std::int64_t begin, std::int64_t end, int) {
        std::vector<ColumnSums> part(columns);
        for (std::int64_t row = begin; row < end; ++row) of_row(row, part.data());
        parts[static_cast<std::size_t>(begin / kRowSlice)] = std::move(part);
      },
      kRowSlice);
  std::vector<ColumnSums> sums(columns);
  for (const auto& part : parts) {
    for (std::size_t c = 0; c < columns; ++c) sums[c].add(part[c]);
  }
  std::vector<double> all(columns * kSums);
  std::memcpy(all.data(), sums.data(), all.size() * sizeof(double));
  return all;
}

template <class T>
void MeansStep<T>::leave(const T* rows) {
  using P = PackedRows<T>;
  const T *const factors = rows_.at(rows, P::factors), *const means = rows_.at(rows, P::means),
                 *const biases = rows_.at(rows, P::biases), *const x = layout_.at(means_, PackedMeans<T>::scale);
  const auto* const pulls = reinterpret_cast<const RowPull<T>*>(rows_.at(rows, P::pulls));
  T *const work = layout_.at(means_, PackedMeans<T>::work), *const numbers =
                                                                layout_.at(means_, PackedMeans<T>::work_number);
  team_.run_slices(
      layout_.n_rows(),
      [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t u = begin; u < end; ++u) {
          const std::int64_t at = u * layout_.stride();
          for (std::int64_t f = at; f < at + width_; ++f) work[f] = x[u] * (factors[f] - means[f]);
          numbers[u] = biases == nullptr ? T(0) : x[u] * (biases[u] - pulls[u].bias_mean);
        }
      },
      kRowSlice);
}

template <class T>
std::vector<double> MeansStep<T>::precondition() {
  using P = PackedMeans<T>;
  T *const work = layout_.at(means_, P::work), *const numbers = layout_.at(means_, P::work_number);
  const T *const y = layout_.at(means_, P::y), *const d = layout_.at(means_, P::y_step),
                 *const y_number = layout_.at(means_, P::y_number),
                 *const d_number = layout_.at(means_, P::y_step_number),
                 *const diagonals = layout_.at(means_, P::diagonal);
  return sums([&](std::int64_t j, ColumnSums* to) {
    const auto diagonal = static_cast<double>(diagonals[j]);
    for (std::int64_t f = 0; f < width_; ++f) {
      const std::int64_t at = j * layout_.stride() + f;
      warpfactor::precondition(rho_, diagonal, work[at], y[at], d[at], to[f]);
    }
    warpfactor::precondition(kBiasRho * rho_, diagonal, numbers[j], y_number[j], d_number[j], to[width_]);
  });
}

template <class T>
std::vector<double> MeansStep<T>::scale_work() {
  using P = PackedMeans<T>;
  T *const work = layout_.at(means_, P::work), *const numbers = layout_.at(means_, P::work_number);
  const T *const d = layout_.at(means_, P::own_step), *const d_number = layout_.at(means_, P::own_step_number),
                 *const x = layout_.at(means_, P::scale);
  return sums([&](std::int64_t u, ColumnSums* to) {
    const auto take = [&](ColumnSums& column, T& worked, T step) {
      worked *= x[u];
      column.add(static_cast<double>(worked), static_cast<double>(step), 1);
    };
    for (std::int64_t f = 0; f < width_; ++f) {
      take(to[f], work[u * layout_.stride() + f], d[u * layout_.stride() + f]);
    }
    take(to[width_], numbers[u], d_number[u]);
  });
}

template <class T>
template <class F>
void MeansStep<T>::move(std::span<const T> along_z, std::span<const T> along_d, int step, int step_number,
                        const F& to) {
  using P = PackedMeans<T>;
  T *const d = layout_.at(means_, static_cast<typename P::Section>(step)),
           *const d_number = layout_.at(means_, static_cast<typename P::Section>(step_number)),
           *const z = layout_.at(means_, P::work), *const z_number = layout_.at(means_, P::work_number);
  const auto last = static_cast<std::size_t>(width_);
  team_.run_slices(
      layout_.n_rows(),
      [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t row = begin; row < end; ++row) {
          const std::int64_t at = row * layout_.stride();
          for (std::int64_t f = 0; f < width_; ++f) {
            const auto column = static_cast<std::size_t>(f);
            d[at + f] = along_z[column] * z[at + f] + along_d[column] * d[at + f];
          }
          d_number[row] = along_z[last] * z_number[row] + along_d[last] * d_number[row];
          to(row, d + at, d_number[row]);
        }
      },
      kRowSlice);
}

template <class T>
void MeansStep<T>::move_coefficients(std::span<const T> along_z, std::span<const T> along_d) {
  using P = PackedMeans<T>;
  T *const y = layout_.at(means_, P::y), *const y_number = layout_.at(means_, P::y_number);
  move(along_z, along_d, P::y_step, P::y_step_number, [&](std::int64_t row, const T* d, T d_number) {
    for (std::int64_t f = 0; f < width_; ++f) y[row * layout_.stride() + f] += d[f];
    y_number[row] += d_number;
  });
}

template <class T>
void MeansStep<T>::move_means(T* rows, std::span<const T> along_z, std::span<const T> along_d) {
  using P = PackedMeans<T>;
  T* const means = rows_.at(rows, PackedRows<T>::means);
  RowPull<T>* const pulls = rows_.pulls_at(rows);
  move(along_z, along_d, P::own_step, P::own_step_number, [&](std::int64_t row, const T* d, T d_number) {
    for (std::int64_t f = 0; f < width_; ++f) means[row * layout_.stride() + f] += d[f];
    pulls[row].bias_mean += d_number;
  });
}

template <class T>
std::vector<T> least_along(std::span<const double> sums) {
  const std::size_t columns = sums.size() / kSums;
  std::vector<T> along(2 * columns, T(0));
  for (std::size_t c = 0; c < columns; ++c) {
    const double* const s = sums.data() + c * kSums;
    const ColumnSums of_column{s[0], s[1], s[2], s[3], s[4]};
    std::tie(along[c], along[columns + c]) = least_along<T>(of_column);
  }
  return along;
}

template <class T>
BlockMeans<T>::BlockMeans(const RatingsView& ratings, const RatingsView& pairs, std::vector<std::int32_t> first_items,
                          std::int32_t n_factors, const KernelTable& kernels, ThreadTeam& team)
    : incidence_(distinct_pairs(ratings, pairs, team)),
      first_items_(std::move(first_items)),
      n_factors_(n_factors),
      layout_(n_factors, ratings.n_users),
      packed_(layout_.size()),
      kernels_(kernels.kernels<T>()),
      team_(team) {
  fill_zero(packed_.data(), packed_.size());
  for (std::int64_t user = 0; user < layout_.n_rows(); ++user) {
    layout_.at(packed_.data(), PackedMeans<T>::scale)[user] = static_cast<T>(user_scale(user));
  }
}

template <class T>
double BlockMeans<T>::user_scale(std::int64_t user) const {
  const auto at = static_cast<std::size_t>(user);
  const std::int64_t count = incidence_.users.begin[at + 1] - incidence_.users.begin[at];
  return count > 0 ? 1 / std::sqrt(static_cast<double>(count)) : 0;
}

template <class T>
std::vector<std::int64_t> BlockMeans<T>::item_counts() const {
  std::vector<std::int64_t> counts(static_cast<std::size_t>(incidence_.items.rows()));
  for (std::size_t item = 0; item < counts.size(); ++item) {
    counts[item] = incidence_.items.begin[item + 1] - incidence_.items.begin[item];
  }
  return counts;
}

template <class T>
std::vector<double> BlockMeans<T>::item_diagonal() const {
  std::vector<double> diagonal(static_cast<std::size_t>(incidence_.items.rows()), 0.0);
  for (std::size_t item = 0; item < diagonal.size(); ++item) {
    for (std::int64_t at = incidence_.items.begin[item]; at < incidence_.items.begin[item + 1]; ++at) {
      const double x = user_scale(incidence_.items.others[at]);
      diagonal[item] += x * x;
    }
  }
  return diagonal;
}

template <class T>
void BlockMeans<T>::begin(std::span<const double> item_scales) {
  T* const diagonal = layout_.at(packed_.data(), PackedMeans<T>::diagonal);
  for (std::int64_t user = 0; user < layout_.n_rows(); ++user) {
    const auto row = static_cast<std::size_t>(user);
    double sum = 0;
    for (std::int64_t at = incidence_.users.begin[row]; at < incidence_.users.begin[row + 1]; ++at) {
      const double x = item_scales[static_cast<std::size_t>(incidence_.users.others[at])];
      sum += x * x;
    }
    diagonal[user] = static_cast<T>(sum);
  }
}

template <class T>
void BlockMeans<T>::sum_rows(const T* rows, const T* numbers, const IncidentRows& of, std::int64_t first,
                             std::int64_t last, std::int64_t width, T* out, T* out_numbers) {
  constexpr std::int64_t kRowsOfTask = 256;  // not measured
  team_.run_slices(
      last - first,
      [&](std::int64_t begin, std::int64_t end, int thread) {
        if (team_.poll(thread)) return;
        kernels_.sum_rows({rows, numbers, of.others.data(), of.begin.data() + first + begin, end - begin, width,
                           layout_.stride(), out + begin * layout_.stride(), out_numbers + begin});
      },
      kRowsOfTask);
}

template <class T>
void BlockMeans<T>::add_to_items(std::int32_t item_block, T* item_work, std::int64_t width) {
  using P = PackedMeans<T>;
  const auto block = static_cast<std::size_t>(item_block);
  const std::int64_t first = first_items_[block], n = n_items(item_block), stride = layout_.stride();
  const P items(n_factors_, n);
  Buffer<T> sums(n * stride), numbers(n);
  fill_zero(sums.data(), sums.size());
  sum_rows(layout_.at(packed_.data(), P::work), layout_.at(packed_.data(), P::work_number), incidence_.items, first,
           first + n, width, sums.data(), numbers.data());
  T *const work = items.at(item_work, P::work), *const work_number = items.at(item_work, P::work_number);
  for (std::int64_t at = 0; at < n * stride; ++at) work[at] += sums[at];
  for (std::int64_t row = 0; row < n; ++row) work_number[row] += numbers[row];
}

template <class T>
void BlockMeans<T>::sum_items(std::span<const T* const> items, std::int64_t width) {
  using P = PackedMeans<T>;
  const std::int64_t all = first_items_.back(), stride = layout_.stride();
  Buffer<T> rows(all * stride), numbers(all);
  team_.run(static_cast<std::int64_t>(items.size()), [&](std::int64_t block, int) {
    const auto at = static_cast<std::size_t>(block);
    const std::int64_t first = first_items_[at], n = n_items(static_cast<std::int32_t>(block));
    const P layout(n_factors_, n);
    std::copy_n(layout.at(items[at], P::work), n * stride, rows.data() + first * stride);
    std::copy_n(layout.at(items[at], P::work_number), n, numbers.data() + first);
  });
  sum_rows(rows.data(), numbers.data(), incidence_.users, 0, layout_.n_rows(), width,
           layout_.at(packed_.data(), P::work), layout_.at(packed_.data(), P::work_number));
}

template class MeansStep<float>;
template class MeansStep<double>;
template class BlockMeans<float>;
template class BlockMeans<double>;
template std::vector<float> least_along(std::span<const double>);
template std::vector<double> least_along(std::span<const double>);

}  // namespace warpfactor
