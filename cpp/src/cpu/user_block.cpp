// SPDX-License-Identifier: Apache-2.0
#include "cpu/user_block.hpp"

#include <algorithm>
#include <numeric>

#include "cpu/block_pass.hpp"
#include "cpu/evaluation.hpp"
#include "cpu/processors.hpp"
#include "cpu/tuning.hpp"
#include "epoch_order.hpp"
#include "prefetch.hpp"
#include "random.hpp"
#include "require.hpp"
#include "row_pulls.hpp"
#include "update_rule.hpp"

namespace warpfactor {
namespace {

SideCut cut_side(const std::vector<std::uint32_t>& counts, std::int32_t n_stripes, std::int32_t n_blocks,
                 std::uint64_t seed, std::uint64_t purpose, ThreadTeam& team) {
  RowPartition rows = partition_rows(counts, n_stripes, seed, purpose, team);
  SideCut cut;
  const std::int64_t stripes = rows.stripes();
  for (std::int64_t block = 0; block <= n_blocks; ++block) {
    cut.first_stripe.push_back(static_cast<std::int32_t>(stripes * block / n_blocks));
  }
  cut.position = std::move(rows.position);
  cut.begin = std::move(rows.begin);
  return cut;
}

// Fewer take fewer calls and cost accuracy: see BlockOrder.
constexpr std::int32_t kMostRounds = 4;

/// Appends first .. last - 1: one half and then the other, either of them first, and each half in the same way.
void add_halves(std::vector<std::int32_t>& to, std::int32_t first, std::int32_t last, SplitMix64& random) {
  if (last - first == 1) return to.push_back(first);
  const std::int32_t middle = first + (last - first + 1) / 2;
  const bool second_first = random.below(2) == 1;
  if (second_first) add_halves(to, middle, last, random);
  add_halves(to, first, middle, random);
  if (!second_first) add_halves(to, middle, last, random);
}

/// 0 .. n - 1
std::vector<std::int32_t> numbered(std::int64_t n) {
  std::vector<std::int32_t> all(static_cast<std::size_t>(n));
  std::iota(all.begin(), all.end(), 0);
  return all;
}

/// What standardize() checks of all ratings, of which it saw a sample here.
void require_ratings(const RatingsView& ratings, const BlockPlan& plan) {
  const LossTraits& traits = traits_of(plan.params.loss);
  for (const float value : ratings.values) {
    const double z = plan.z.standardized(static_cast<double>(value));
    if (traits.units == LossUnits::labels && z != -1 && z != 1) {
      reject("a rating", value,
             std::string("a label with the ") + traits.name +
                 " loss, all of them -1 or 1, or all 0 or 1: map the "
                 "ratings to labels, or use another loss");
    }
    if (traits.units == LossUnits::counts && value < 0) {
      reject("a rating", value,
             std::string("at least 0 with the ") + traits.name + " loss: drop it, or use another loss");
    }
  }
}

Survey survey_of(const RatingsView& ratings, ThreadTeam& team) {
  if (ratings.size() > 0) return survey(ratings, "ratings", team);
  Survey none;
  none.user_counts.assign(static_cast<std::size_t>(ratings.n_users), 0);
  none.item_counts.assign(static_cast<std::size_t>(ratings.n_items), 0);
  return none;
}

}  // namespace

Cut cut_sides(const Survey& rated, const TrainParams& params, std::int32_t n_blocks, std::int64_t number_bytes,
              ThreadTeam& team) {
  const std::int64_t arrays = params.implicit_feedback == ImplicitFeedback::none ? 1 : 2,
                     row_bytes = padded_stride<char>(params.n_factors * number_bytes) * arrays;
  const bool users_outer = users_are_outer(rated);
  const Grid grid =
      choose_grid(static_cast<std::int32_t>(rated.user_counts.size()),
                  static_cast<std::int32_t>(rated.item_counts.size()), rated.counted, row_bytes, users_outer);
  const auto stripes = [n_blocks](std::int32_t chosen) { return (chosen + n_blocks - 1) / n_blocks * n_blocks; };
  Cut cut;
  cut.users_outer = users_outer;
  cut.band_rows = grid.band_rows;
  cut.users = cut_side(rated.user_counts, stripes(grid.user_stripes), n_blocks, params.seed, kUserOrder, team);
  cut.items = cut_side(rated.item_counts, stripes(grid.item_stripes), n_blocks, params.seed, kItemOrder, team);
  return cut;
}

BlockOrder block_order(std::int32_t n_blocks, std::uint64_t seed, std::int32_t epoch) {
  BlockOrder order{{}, shuffled(n_blocks, seed, epoch)};
  SplitMix64 random(seed, kUserOrder, static_cast<std::uint64_t>(epoch) + 1);
  add_halves(order.users, 0, n_blocks, random);
  order.n_groups = std::min(2, n_blocks);
  order.n_rounds = std::min(kMostRounds, n_blocks / order.n_groups);
  return order;
}

template <class T>
Buffer<T> packed(const BlockPlan& plan, bool of_users, std::span<const T> factors, std::span<const T> biases,
                 std::span<const double> weights) {
  using P = PackedRows<T>;
  const auto n = static_cast<std::int64_t>(weights.size());
  const std::int64_t k = plan.params.n_factors;
  const P layout(plan.params, n);
  Buffer<T> rows(layout.size());
  std::fill_n(rows.data(), rows.size(), T(0));
  for (std::int64_t row = 0; row < n; ++row) {
    std::copy_n(factors.data() + row * k, k, layout.at(rows.data(), P::factors) + row * layout.stride());
  }
  if (T* const to = layout.at(rows.data(), P::biases)) std::copy(biases.begin(), biases.end(), to);
  if (RowPull<T>* const to = layout.pulls_at(rows.data())) {
    std::vector<double> in_units(weights.begin(), weights.end());  // of weights that have a mean of 1
    for (double& weight : in_units) weight *= plan.z.weight_scale;
    const std::vector<RowPull<T>> pulls = row_pulls<T>(in_units, plan.params, plan.z.start_bias, of_users);
    std::copy(pulls.begin(), pulls.end(), to);
  }
  return rows;
}

template <class T>
void unpack(const BlockPlan& plan, std::span<const T> rows, std::span<T> factors, std::span<T> biases) {
  using P = PackedRows<T>;
  const auto n = static_cast<std::int64_t>(biases.size());
  const std::int64_t k = plan.params.n_factors;
  const P layout(plan.params, n);
  for (std::int64_t row = 0; row < n; ++row) {
    std::copy_n(layout.at(rows.data(), P::factors) + row * layout.stride(), k, factors.data() + row * k);
  }
  const T* const from = layout.at(rows.data(), P::biases);
  for (std::int64_t row = 0; row < n; ++row) {
    biases[static_cast<std::size_t>(row)] = from == nullptr ? static_cast<T>(plan.z.start_bias) : from[row];
  }
}

template <class T>
UserBlock<T>::UserBlock(const RatingsView& ratings, Cut cut, const BlockPlan& plan, std::int32_t number,
                        std::int32_t n_threads, BlockOptions<T> options)
    : kernels_(training_table(padded_stride<T>(plan.params.n_factors) * static_cast<std::int64_t>(sizeof(T)))),
      plan_(plan),
      loss_(plan.params.loss == Loss::custom ? options.loss : nullptr),
      penalty_(options.penalty),
      number_(number),
      n_users_(ratings.n_users),
      first_stripe_(std::move(cut.items.first_stripe)),
      team_(team_size(n_threads, ratings.size() / kMinRatingsForThreads), std::move(options.interrupted)),
      layout_(plan.params, ratings.n_users),
      rows_(layout_.size()) {
  require_ratings(ratings, plan);
  const Survey rated = survey_of(ratings, team_);
  Grid grid;
  grid.users_outer = cut.users_outer;
  grid.band_rows = cut.band_rows;
  SplitMix64 random(plan.params.seed, kBlockShuffle, static_cast<std::uint64_t>(number));
  RowPartition users{numbered(ratings.n_users), std::move(cut.users.begin)},
      items{numbered(ratings.n_items), std::move(cut.items.begin)};
  if (ratings.size() > 0) {
    blocked_ = make_blocks(ratings, rated, grid, std::move(users), std::move(items), plan.z, random.next(), team_);
  } else {
    blocked_.users_outer = grid.users_outer;
    blocked_.users = std::move(users);
    blocked_.items = std::move(items);
    const auto n_blocks =
        static_cast<std::size_t>(blocked_.users.stripes()) * static_cast<std::size_t>(blocked_.items.stripes());
    blocked_.offsets.assign(n_blocks + 1, 0);
    blocked_.grouped.assign(n_blocks, 0);
  }
  // The rows are internal ones already.
  blocked_.users.position = {};
  blocked_.items.position = {};
  if (plan.params.implicit_feedback != ImplicitFeedback::none) {
    std::vector<std::int32_t> first_items;
    for (const std::int32_t stripe : first_stripe_) {
      first_items.push_back(blocked_.items.begin[static_cast<std::size_t>(stripe)]);
    }
    means_.emplace(ratings, options.pairs, std::move(first_items), plan.params.n_factors, kernels_, team_);
  }
}

template <class T>
PackedRows<T> UserBlock<T>::layout_of(std::int32_t item_block, std::size_t size) const {
  const auto at = static_cast<std::size_t>(item_block);
  const std::int64_t n = blocked_.items.begin[static_cast<std::size_t>(first_stripe_[at + 1])] -
                         blocked_.items.begin[static_cast<std::size_t>(first_stripe_[at])];
  PackedRows<T> layout(plan_.params, n);
  if (static_cast<std::int64_t>(size) != layout.size()) {
    reject("items has " + text(size) + " numbers; block " + text(item_block) + " has " + text(layout.size()));
  }
  return layout;
}

template <class T>
PassSums UserBlock<T>::run(std::int32_t item_block, std::span<T> items, std::int32_t epoch, double learning_rate,
                           std::int32_t active_factors) {
  const PackedRows<T> item_layout = layout_of(item_block, items.size());
  const auto at = static_cast<std::size_t>(item_block);
  const std::int32_t first = first_stripe_[at], n_item_stripes = first_stripe_[at + 1] - first,
                     n_user_stripes = blocked_.users.stripes();
  const bool users_outer = blocked_.users_outer;
  // All blocks of items meet the block's users in one order, and all users these items, as on one machine.
  const auto drawn = [&](std::int32_t n, RandomPurpose purpose, std::int32_t block) {
    SplitMix64 random(plan_.params.seed, purpose, static_cast<std::uint64_t>(block + 1) << 32);
    return shuffled(n, random.next(), epoch);
  };
  const std::vector<std::int32_t> user_order = drawn(n_user_stripes, kUserOrder, number_),
                                  item_order = drawn(n_item_stripes, kItemOrder, item_block);
  const std::vector<std::int32_t>&outer_order = users_outer ? user_order : item_order,
        &inner_order = users_outer ? item_order : user_order;
  const auto outer_turns = static_cast<std::int64_t>(outer_order.size()),
             inner_turns = static_cast<std::int64_t>(inner_order.size());
  SgdArgs<T> args{};
  args.active_factors = active_factors;
  args.width = padded_stride<T>(active_factors);
  args.stride = layout_.stride();
  args.sizes = step_sizes<T>(plan_.params, plan_.z, learning_rate, active_factors, loss_, penalty_);

  std::vector<PassSums> sums(static_cast<std::size_t>(outer_turns * inner_turns));
  pass_over_blocks(
      outer_turns, inner_turns, true, team_,
      [&](std::int64_t outer_turn, int) {
        if (users_outer) fetch_users(outer_order[static_cast<std::size_t>(outer_turn)]);
      },
      [&](std::int64_t outer_turn, std::int64_t inner_turn, int thread) {
        const std::int32_t outer = outer_order[static_cast<std::size_t>(outer_turn)],
                           inner = inner_order[static_cast<std::size_t>(inner_turn)];
        const std::int32_t user = users_outer ? outer : inner, item = first + (users_outer ? inner : outer);
        SgdArgs<T> own = args;
        own.users = layout_.from(rows_.data(), blocked_.users.begin[static_cast<std::size_t>(user)]);
        own.items = item_layout.from(items.data(), blocked_.items.begin[static_cast<std::size_t>(item)] -
                                                       blocked_.items.begin[static_cast<std::size_t>(first)]);
        BlockWindow window;  // the ratings are in memory
        return run_block(kernels_.kernels<T>(), blocked_,
                         users_outer ? blocked_.block(user, item) : blocked_.block(item, user), window, own, team_,
                         thread, sums[static_cast<std::size_t>(outer_turn * inner_turns + inner_turn)]);
      });
  return total(sums);
}

template <class T>
void UserBlock<T>::fetch_users(std::int32_t stripe) const {
  constexpr std::int64_t kLine = 64 / static_cast<std::int64_t>(sizeof(T));
  const auto at = static_cast<std::size_t>(stripe);
  const T* const factors = layout_.at(rows_.data(), PackedRows<T>::factors);
  const std::int64_t end = blocked_.users.begin[at + 1] * layout_.stride();
  for (std::int64_t n = blocked_.users.begin[at] * layout_.stride(); n < end; n += kLine) prefetch(factors + n);
}

template <class T>
void UserBlock<T>::take_validation(const RatingsView& validation) {
  const auto n_blocks = first_stripe_.size() - 1;
  std::vector<std::int32_t> first_items;
  for (const std::int32_t stripe : first_stripe_) {
    first_items.push_back(blocked_.items.begin[static_cast<std::size_t>(stripe)]);
  }
  const auto block_of = [&](std::int32_t item) {
    const auto above = std::upper_bound(first_items.begin(), first_items.end(), item);
    return static_cast<std::size_t>(above - first_items.begin()) - 1;
  };
  valid_begin_.assign(n_blocks + 1, 0);
  for (const std::int32_t item : validation.items) ++valid_begin_[block_of(item) + 1];
  std::partial_sum(valid_begin_.begin(), valid_begin_.end(), valid_begin_.begin());
  const std::size_t n = validation.values.size();
  valid_users_.resize(n);
  valid_items_.resize(n);
  valid_values_.resize(n);
  valid_weights_.resize(validation.weights.size());
  std::vector<std::int64_t> next(valid_begin_);
  for (std::size_t r = 0; r < n; ++r) {
    const std::size_t block = block_of(validation.items[r]);
    const auto to = static_cast<std::size_t>(next[block]++);
    valid_users_[to] = validation.users[r];
    valid_items_[to] = validation.items[r] - first_items[block];
    valid_values_[to] = static_cast<float>(plan_.z.standardized(static_cast<double>(validation.values[r])));
    if (!valid_weights_.empty()) valid_weights_[to] = validation.weights[r];
  }
}

template <class T>
PassSums UserBlock<T>::evaluate(std::int32_t item_block, std::span<const T> items) {
  using P = PackedRows<T>;
  if (valid_begin_.empty()) return {};
  const P item_layout = layout_of(item_block, items.size());
  const std::int64_t first = valid_begin_[static_cast<std::size_t>(item_block)],
                     n = valid_begin_[static_cast<std::size_t>(item_block) + 1] - first;
  const PairBatch<T> pairs{layout_.at(rows_.data(), P::factors),
                           item_layout.at(items.data(), P::factors),
                           layout_.at(rows_.data(), P::biases),
                           item_layout.at(items.data(), P::biases),
                           static_cast<T>(plan_.z.loss.offset),
                           layout_.stride(),
                           layout_.stride(),
                           valid_users_.data() + first,
                           valid_items_.data() + first,
                           n,
                           nullptr};
  const float* const weights = valid_weights_.empty() ? nullptr : valid_weights_.data() + first;
  return losses_of<T>(kernels_.kernels<T>(), {pairs, valid_values_.data() + first, weights}, plan_.z.loss, loss_,
                      team_);
}

template class UserBlock<float>;
template class UserBlock<double>;
template Buffer<float> packed(const BlockPlan&, bool, std::span<const float>, std::span<const float>,
                              std::span<const double>);
template Buffer<double> packed(const BlockPlan&, bool, std::span<const double>, std::span<const double>,
                               std::span<const double>);
template void unpack(const BlockPlan&, std::span<const float>, std::span<float>, std::span<float>);
template void unpack(const BlockPlan&, std::span<const double>, std::span<double>, std::span<double>);

}  // namespace warpfactor
