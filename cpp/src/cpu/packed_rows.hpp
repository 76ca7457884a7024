// SPDX-License-Identifier: Apache-2.0
// All that training keeps of some rows, in one array, so that it can be sent and kept elsewhere.
#pragma once

#include <cstdint>
#include <utility>

#include "cpu/kernel_table.hpp"
#include "optimizer.hpp"
#include "row_pulls.hpp"

namespace warpfactor {

/// Where in the array what lies: one section after the other, each on a cache line of its own.
template <class T>
class PackedRows {
 public:
  enum Section { factors, means, first, second, biases, bias_first, bias_second, row_numbers, pulls, kSections };

  PackedRows(const TrainParams& params, std::int64_t n_rows) : stride_(padded_stride<T>(params.n_factors)) {
    const Remembered remembered = remembered_by(step_rule(params));
    const bool pulled = has_row_pulls(params), prior = has_means(params, true) || has_means(params, false);
    const std::int64_t rows = n_rows * stride_;
    const std::int64_t sizes[kSections] = {rows,
                                           prior ? rows : 0,
                                           remembered.first ? rows : 0,
                                           remembered.second ? rows : 0,
                                           params.biases ? n_rows : 0,
                                           remembered.first ? n_rows : 0,
                                           remembered.second ? n_rows : 0,
                                           remembered.row_numbers ? n_rows * kRowNumbers : 0,
                                           pulled ? n_rows * kPullNumbers : 0};
    for (int section = 0; section < kSections; ++section) {
      begin_[section + 1] = begin_[section] + padded_stride<T>(sizes[section]);
    }
  }

  [[nodiscard]] std::int64_t stride() const noexcept { return stride_; }
  [[nodiscard]] std::int64_t size() const noexcept { return begin_[kSections]; }

  /// nullptr if there is no such section.
  template <class P>
  [[nodiscard]] P* at(P* data, Section section) const noexcept {
    return begin_[section] < begin_[section + 1] ? data + begin_[section] : nullptr;
  }
  [[nodiscard]] RowPull<T>* pulls_at(T* data) const noexcept { return reinterpret_cast<RowPull<T>*>(at(data, pulls)); }

  /// From row `row` on.
  [[nodiscard]] SideRows<T> from(T* data, std::int64_t row) const noexcept {
    const auto part = [&](Section section, std::int64_t n) {
      T* const begin = at(data, section);
      return begin == nullptr ? nullptr : begin + n;
    };
    RowPull<T>* const pull = pulls_at(data);
    return {part(factors, row * stride_),
            part(biases, row),
            part(first, row * stride_),
            part(second, row * stride_),
            part(bias_first, row),
            part(bias_second, row),
            part(row_numbers, row * kRowNumbers),
            pull == nullptr ? nullptr : pull + row,
            part(means, row * stride_)};
  }

 private:
  static constexpr std::int64_t kPullNumbers = sizeof(RowPull<T>) / sizeof(T);

  std::int64_t stride_;
  std::int64_t begin_[kSections + 1] = {};
};

}  // namespace warpfactor
