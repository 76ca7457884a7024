// SPDX-License-Identifier: Apache-2.0
// A step of the prior means (see prior_means.hpp) whose users and items are divided into blocks: the same step of
// conjugate gradients, up to the order of sums. What a side keeps for it lies in one array, which can be sent.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cpu/kernel_table.hpp"
#include "cpu/packed_rows.hpp"
#include "incidence.hpp"
#include "threads.hpp"

namespace warpfactor {

/// What some rows keep for the prior means, their own and those of the other side.
template <class T>
class PackedMeans {
 public:
  enum Section {
    work,  ///< first, with its number: they alone travel
    work_number,
    own_step,  ///< of the rows' own prior means: X d
    y,         ///< the coefficients, of the other side's prior means
    y_step,    ///< d
    own_step_number,
    y_number,
    y_step_number,
    scale,     ///< n^(-1/2), of the row's others; 0 without
    diagonal,  ///< the sum of 1 / n over the row's others
    kSections
  };

  PackedMeans(std::int32_t n_factors, std::int64_t n_rows) : stride_(padded_stride<T>(n_factors)), n_rows_(n_rows) {
    for (int section = 0; section < kSections; ++section) {
      const bool rows = section == work || section == own_step || section == y || section == y_step;
      begin_[section + 1] = begin_[section] + padded_stride<T>(rows ? n_rows * stride_ : n_rows);
    }
  }
  [[nodiscard]] std::int64_t stride() const noexcept { return stride_; }
  [[nodiscard]] std::int64_t n_rows() const noexcept { return n_rows_; }
  [[nodiscard]] std::int64_t size() const noexcept { return begin_[kSections]; }
  /// Of the part that travels.
  [[nodiscard]] std::int64_t work_size() const noexcept { return begin_[own_step]; }
  template <class P>
  [[nodiscard]] P* at(P* data, Section section) const noexcept {
    return data + begin_[section];
  }

 private:
  std::int64_t stride_, n_rows_;
  std::int64_t begin_[kSections + 1] = {};
};

/// The parts of a step, of the rows of one block of one side. `means` is the block's packed means. Sums have five
/// numbers for each column, the factors and last the bias: g z, g d, z z, z d, d d.
template <class T>
class MeansStep {
 public:
  MeansStep(const TrainParams& params, std::int64_t n_rows, std::int64_t width, T* means, ThreadTeam& team)
      : layout_(params.n_factors, n_rows),
        rows_(params, n_rows),
        rho_(*params.reg_implicit),
        width_(width),
        means_(means),
        team_(team) {}

  /// work = x times what the prior means leave of the rows. For the side whose prior means move.
  void leave(const T* rows);
  /// Of the gradient in `work` makes z. For the other side.
  std::vector<double> precondition();
  /// work = x times work. For the side whose prior means move.
  std::vector<double> scale_work();
  /// d = along_z z + along_d d, for the coefficients, or for the prior means in `rows`.
  void move_coefficients(std::span<const T> along_z, std::span<const T> along_d);
  void move_means(T* rows, std::span<const T> along_z, std::span<const T> along_d);

 private:
  template <class F>
  std::vector<double> sums(const F& of_row);
  template <class F>
  void move(std::span<const T> along_z, std::span<const T> along_d, int step, int step_number, const F& to);

  PackedMeans<T> layout_;
  PackedRows<T> rows_;
  double rho_;
  std::int64_t width_;
  T* means_;
  ThreadTeam& team_;
};

/// The factors of z and of d at the least along both, from the sums over both sides; along_z first.
template <class T>
std::vector<T> least_along(std::span<const double> sums);

/// Who rated what in a block of users.
template <class T>
class BlockMeans {
 public:
  /// In internal rows; `pairs` have no rating. `first_items`: of each block of items, and their number.
  BlockMeans(const RatingsView& ratings, const RatingsView& pairs, std::vector<std::int32_t> first_items,
             std::int32_t n_factors, const KernelTable& kernels, ThreadTeam& team);

  /// By internal item: how many of the block's users rated it, and the sum of 1 / n of those users.
  [[nodiscard]] std::vector<std::int64_t> item_counts() const;
  [[nodiscard]] std::vector<double> item_diagonal() const;
  /// The users' packed means to start from. `item_scales`: x of each internal item.
  void begin(std::span<const double> item_scales);
  [[nodiscard]] std::span<T> packed() noexcept { return {packed_.data(), static_cast<std::size_t>(packed_.size())}; }

  /// Adds the work of the block's users to that of the items that they rated.
  void add_to_items(std::int32_t item_block, T* item_work, std::int64_t width);
  /// Sets the work of the users to the sum of that of their items; `items`: the work of all blocks of items.
  void sum_items(std::span<const T* const> items, std::int64_t width);

  [[nodiscard]] std::int64_t n_items(std::int32_t block) const {
    return first_items_[static_cast<std::size_t>(block) + 1] - first_items_[static_cast<std::size_t>(block)];
  }

 private:
  [[nodiscard]] double user_scale(std::int64_t user) const;
  void sum_rows(const T* rows, const T* numbers, const IncidentRows& of, std::int64_t first, std::int64_t last,
                std::int64_t width, T* out, T* out_numbers);

  Incidence incidence_;
  std::vector<std::int32_t> first_items_;
  std::int32_t n_factors_;
  PackedMeans<T> layout_;
  Buffer<T> packed_;
  const Kernels<T>& kernels_;
  ThreadTeam& team_;
};

}  // namespace warpfactor
