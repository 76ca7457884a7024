// SPDX-License-Identifier: Apache-2.0
// A block of users that one of several processes holds, with all ratings of those users. The blocks of items are
// elsewhere: each comes as an array of packed rows, is trained against the block's users, and goes on to the next
// block.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "buffer.hpp"
#include "cpu/block_means.hpp"
#include "cpu/blocks.hpp"
#include "cpu/kernel_table.hpp"
#include "cpu/packed_rows.hpp"
#include "standardize.hpp"
#include "threads.hpp"
#include "warpfactor/params.hpp"

namespace warpfactor {

/// One side, cut into blocks of stripes. Depends on the data's shape and the seed alone.
struct SideCut {
  std::vector<std::int32_t> position;      ///< internal row of each external row
  std::vector<std::int32_t> begin;         ///< first internal row of each stripe, and the number of rows
  std::vector<std::int32_t> first_stripe;  ///< of each block, and the number of stripes
};
struct Cut {
  SideCut users, items;
  bool users_outer = true;
  std::int32_t band_rows = 0;
};
/// Of the survey the counts and `counted` are read. `number_bytes`: of a factor.
Cut cut_sides(const Survey& rated, const TrainParams& params, std::int32_t n_blocks, std::int64_t number_bytes,
              ThreadTeam& team);

/// The order of an epoch: each block of items passes all blocks of users in their order, and each block of users all
/// blocks of items in theirs. The users' order is round a ring from a random start in a random direction, so that a
/// block of items rarely leaves a process that holds neighbours. In DSGD's order, where each block of users begins with
/// another block of items, 2 M ratings had an RMSE 0.0025 higher after 6 epochs; with the same start and direction
/// in each epoch 0.0013, in this order 0.0000 (scratch, 2026-11-28).
struct BlockOrder {
  std::vector<std::int32_t> users, items;
};
BlockOrder block_order(std::int32_t n_blocks, std::uint64_t seed, std::int32_t epoch);

/// What the trainer has decided, for those who train.
struct BlockPlan {
  TrainParams params;  ///< resolved
  Standardization z;
};

/// The packed rows that training starts from. `factors`: n_factors apart, in z units, as the biases. `counts`: ratings
/// of each row.
template <class T>
Buffer<T> packed(const BlockPlan& plan, bool of_users, std::span<const T> factors, std::span<const T> biases,
                 std::span<const std::uint32_t> counts);
/// Factors and biases of packed rows, as above.
template <class T>
void unpack(const BlockPlan& plan, std::span<const T> rows, std::span<T> factors, std::span<T> biases);

template <class T>
class UserBlock {
 public:
  /// `ratings` are in internal rows, the users' counted from the block's first. `cut`: of the users only the block's
  /// stripes, counted likewise. Throws std::invalid_argument for ratings that the loss cannot take.
  UserBlock(const RatingsView& ratings, Cut cut, const BlockPlan& plan, std::int32_t number, std::int32_t n_threads,
            std::function<bool()> interrupted);

  /// The rows of the users, packed, and what their prior means keep (see BlockMeans); may be set.
  [[nodiscard]] std::span<T> rows() noexcept { return {rows_.data(), static_cast<std::size_t>(rows_.size())}; }
  [[nodiscard]] std::int64_t n_users() const noexcept { return n_users_; }

  /// One pass over the ratings of a block of items, whose packed rows are moved, as are the users'.
  PassSums run(std::int32_t item_block, std::span<T> items, std::int32_t epoch, double learning_rate,
               std::int32_t active_factors);

  /// In internal rows, as the ratings.
  void take_validation(const RatingsView& validation);
  PassSums evaluate(std::int32_t item_block, std::span<const T> items);

  /// nullptr without implicit feedback.
  [[nodiscard]] BlockMeans<T>* means() noexcept { return means_ ? &*means_ : nullptr; }
  [[nodiscard]] ThreadTeam& team() noexcept { return team_; }
  [[nodiscard]] const BlockPlan& plan() const noexcept { return plan_; }

 private:
  /// Has the processor fetch a stripe's factors one after the other. Between two of its turns the rows have left the
  /// cache, and fetched where ratings ask for them each would be waited for.
  void fetch_users(std::int32_t stripe) const;
  /// The layout of the block's packed rows, which are so many numbers.
  [[nodiscard]] PackedRows<T> layout_of(std::int32_t item_block, std::size_t size) const;

  const KernelTable& kernels_;
  BlockPlan plan_;
  std::int32_t number_;
  std::int64_t n_users_;
  std::vector<std::int32_t> first_stripe_;  ///< of each block of items, and the number of stripes
  ThreadTeam team_;
  BlockedRatings blocked_;
  PackedRows<T> layout_;
  Buffer<T> rows_;
  std::optional<BlockMeans<T>> means_;
  /// By block of items: the validation ratings from valid_begin_[block] on.
  std::vector<std::int64_t> valid_begin_;
  std::vector<std::int32_t> valid_users_, valid_items_;  ///< rows counted from the first of their block
  std::vector<float> valid_values_;
};

}  // namespace warpfactor
