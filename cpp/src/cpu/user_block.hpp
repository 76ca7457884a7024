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
#include "warpfactor/train.hpp"

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

/// The order of an epoch. Blocks of users come in halves of halves, so that neighbours, which one process holds, come
/// one after the other. Blocks of items come in any order, a few at a time (a round): one half of the users takes one
/// half of the round's items, then the other, and the other half of the users the other way round, so that two
/// processes have work at the same time.
/// More rounds mean that blocks learn more from each other within an epoch, and that workers wait more often.
struct BlockOrder {
  std::vector<std::int32_t> users, items;
  std::int32_t n_groups = 1;  ///< of users, in their order: the halves
  std::int32_t n_rounds = 1;  ///< of items, in their order
};
BlockOrder block_order(std::int32_t n_blocks, std::uint64_t seed, std::int32_t epoch);

/// What the trainer has decided, for those who train.
struct BlockPlan {
  TrainParams params;  ///< resolved
  Standardization z;
};

/// The packed rows that training starts from. `factors`: n_factors apart, in z units, as the biases. `weights`: what
/// the ratings of each row weigh, which is their number where they have no weights.
template <class T>
Buffer<T> packed(const BlockPlan& plan, bool of_users, std::span<const T> factors, std::span<const T> biases,
                 std::span<const double> weights);
/// Factors and biases of packed rows, as above.
template <class T>
void unpack(const BlockPlan& plan, std::span<const T> rows, std::span<T> factors, std::span<T> biases);

/// What a block is given beside its ratings; every part is optional.
template <class T>
struct BlockOptions {
  RatingsView pairs{};                   ///< without a rating, in the rows of the ratings: see TrainOptions::implicit
  LossFunction<T> loss = nullptr;        ///< for Loss::custom, which needs it
  PenaltyFunction<T> penalty = nullptr;  ///< see TrainOptions::penalty
  std::function<bool()> interrupted{};   ///< see TrainOptions::interrupted
};

template <class T>
class UserBlock {
 public:
  /// `ratings` are in internal rows, the users' counted from the block's first; all weights are above 0. `cut`: of the
  /// users only the block's stripes, counted likewise. Throws std::invalid_argument for ratings that the loss cannot
  /// take.
  UserBlock(const RatingsView& ratings, Cut cut, const BlockPlan& plan, std::int32_t number, std::int32_t n_threads,
            BlockOptions<T> options = {});

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
  LossFunction<T> loss_;
  PenaltyFunction<T> penalty_;
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
  std::vector<float> valid_values_, valid_weights_;      ///< the weights may be empty: all 1
};

}  // namespace warpfactor
