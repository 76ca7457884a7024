// SPDX-License-Identifier: Apache-2.0
// The CPU's backend: threads, and which of them takes which block when.
#include <algorithm>
#include <numeric>
#include <optional>

#include "backend.hpp"
#include "buffer.hpp"
#include "cpu/batches.hpp"
#include "cpu/block_pass.hpp"
#include "cpu/blocks.hpp"
#include "cpu/evaluation.hpp"
#include "cpu/kernel_table.hpp"
#include "cpu/prior_means.hpp"
#include "cpu/processors.hpp"
#include "cpu/tuning.hpp"
#include "epoch_order.hpp"
#include "huge_pages.hpp"
#include "optimizer.hpp"
#include "prefetch.hpp"
#include "row_pulls.hpp"
#include "threads.hpp"
#include "update_rule.hpp"

namespace warpfactor {
namespace {

/// Factor rows and biases of one side, in internal order, rows padded with zeros.
template <class T>
struct Rows {
  Buffer<T> factors;
  Buffer<T> biases;  ///< empty in a model without biases
  Buffer<T> first, second, bias_first, bias_second,
      row_numbers;           ///< as in SideRows; empty if the rule has no such state
  Buffer<RowPull<T>> pulls;  ///< empty: all rows alike
  Buffer<T> means;           ///< empty: zero

  /// From row `row` on.
  SideRows<T> from(std::int64_t row, std::int64_t stride) {
    const auto at = [](Buffer<T>& buffer, std::int64_t n) { return buffer.size() > 0 ? buffer.data() + n : nullptr; };
    return {at(factors, row * stride),
            at(biases, row),
            at(first, row * stride),
            at(second, row * stride),
            at(bias_first, row),
            at(bias_second, row),
            at(row_numbers, row * kRowNumbers),
            pulls.size() > 0 ? pulls.data() + row : nullptr,
            at(means, row * stride)};
  }
};

template <class T>
class CpuBackend final : public Backend<T> {
 public:
  CpuBackend(std::int32_t n_threads, std::function<bool()> interrupted)
      : kernels_(&kernel_table()), n_threads_(n_threads), interrupted_(std::move(interrupted)) {}

  void upload(const RatingSource& ratings, const Survey& rated, const Standardization& z, const Start<T>& start,
              const TrainParams& params, const TrainOptions<T>& options, const RatingsView& pairs) override {
    params_ = params;
    loss_ = params.loss == Loss::custom ? options.loss : nullptr;
    penalty_ = options.penalty;
    z_ = z;
    n_factors_ = params.n_factors;
    from_disk_ = ratings.scratch() != nullptr;
    stride_ = padded_stride<T>(n_factors_);
    kernels_ = &training_table(stride_ * static_cast<std::int64_t>(sizeof(T)));
    total_weight_ = static_cast<double>(rated.counted);  // weights have a mean of 1
    if (batch_size(params, rated.counted) > 0) {
      make_batch_stepper(ratings, rated, start);
    } else {
      take_blocks(ratings, rated, start);
    }
    take_means(ratings, rated, pairs);
    take_validation(options.validation);
  }

  MeanLoss run_epoch(std::int32_t epoch, double learning_rate, std::int32_t active_factors) override {
    const StepSizes<T> sizes = step_sizes<T>(params_, z_, learning_rate, active_factors, loss_, penalty_);
    const PassSums sums =
        batch_stepper_ ? run_batches(epoch, sizes, active_factors) : run_blocks(epoch, sizes, active_factors);
    return mean_of(sums, total_weight_);
  }
  void update_means(std::int32_t active_factors) override {
    const std::int64_t width = padded_stride<T>(active_factors);
    const auto update = [&](std::optional<PriorMeans<T>>& prior, Rows<T>& rows) {
      if (!prior) return;
      prior->step(rows.factors.data(), biases(rows), rows.means.data(), rows.pulls.data(), width, *team_);
    };
    update(user_means_, users_);
    update(item_means_, items_);
  }
  MeanLoss evaluate() override {
    const PairBatch<T> pairs{users_.factors.data(),
                             items_.factors.data(),
                             biases(users_),
                             biases(items_),
                             static_cast<T>(z_.loss.offset),
                             stride_,
                             stride_,
                             valid_users_.data(),
                             valid_items_.data(),
                             valid_values_.size(),
                             nullptr};
    const float* const weights = valid_weights_.size() > 0 ? valid_weights_.data() : nullptr;
    return mean_of(losses_of<T>(kernels_->kernels<T>(), {pairs, valid_values_.data(), weights}, z_.loss, loss_, *team_),
                   valid_weight_);
  }

  void keep() override {
    copy(users_, kept_users_);
    copy(items_, kept_items_);
  }
  void restore() override {
    copy(kept_users_, users_);
    copy(kept_items_, items_);
  }

  void visit_state(StateAccess access, bool kept, const StateVisit<T>& visit) override {
    if (kept && access == StateAccess::write) keep();  // makes room for it
    const auto show = [&](const std::string& name, Rows<T>& rows, const RowPartition& partition) {
      const std::int64_t n = rows.factors.size() / stride_;
      const auto each = [&](const char* what, Buffer<T>& numbers, std::int64_t width, std::int64_t stride) {
        if (numbers.size() > 0) visit({name + what, numbers.data(), n, width, stride, partition.position});
      };
      each("factors", rows.factors, n_factors_, stride_);
      each("biases", rows.biases, 1, 1);
      each("first", rows.first, n_factors_, stride_);
      each("second", rows.second, n_factors_, stride_);
      each("bias_first", rows.bias_first, 1, 1);
      each("bias_second", rows.bias_second, 1, 1);
      each("row_numbers", rows.row_numbers, kRowNumbers, kRowNumbers);
      each("means", rows.means, n_factors_, stride_);
      if (rows.means.size() > 0) {
        constexpr auto apart = static_cast<std::int64_t>(sizeof(RowPull<T>) / sizeof(T));
        visit({name + "bias_means", &rows.pulls.data()->bias_mean, n, 1, apart, partition.position});
      }
    };
    show("user_", users_, blocked_.users);
    show("item_", items_, blocked_.items);
    if (kept) {
      show("kept_user_", kept_users_, blocked_.users);
      show("kept_item_", kept_items_, blocked_.items);
    }
    const std::span<const std::int32_t> users = blocked_.users.position, items = blocked_.items.position;
    if (user_means_) user_means_->visit_state("user_means_", users, items, n_factors_, visit);
    if (item_means_) item_means_->visit_state("item_means_", items, users, n_factors_, visit);
  }

  void release() override {
    blocked_.ratings = {};  // no longer needed, and the largest things here
    blocked_.weights = {};
    for (Rows<T>* rows : {&users_, &items_}) {
      Rows<T> left;
      left.factors = std::move(rows->factors);
      left.biases = std::move(rows->biases);
      *rows = std::move(left);
    }
    blocked_.file = {};
    windows_ = std::vector<BlockWindow>();
    released_ = true;
    batch_stepper_.reset();
    batches_ = {};
    kept_users_ = {};
    kept_items_ = {};
    user_means_.reset();
    item_means_.reset();
    incidence_ = {};
    user_work_ = {};
    item_work_ = {};
  }

  void download(Model<T>& model) override {
    if (released_ && from_disk_) {
      give(users_, blocked_.users.position, model.user_factors, model.user_biases);
      give(items_, blocked_.items.position, model.item_factors, model.item_biases);
    } else {
      store(users_, blocked_.users, model.user_factors, model.user_biases);
      store(items_, blocked_.items, model.item_factors, model.item_biases);
    }
  }

  [[nodiscard]] std::int32_t n_threads() const override { return team_ ? team_->size() : 1; }
  [[nodiscard]] std::string instruction_set() const override { return kernels_->instruction_set; }

 private:
  /// For steps of one rating.
  void take_blocks(const RatingSource& ratings, const Survey& rated, const Start<T>& start) {
    const std::int64_t arrays = has_means(params_, true) || has_means(params_, false) ? 2 : 1;
    const Grid grid = choose_grid(ratings.n_users(), ratings.n_items(), rated.counted,
                                  arrays * stride_ * static_cast<std::int64_t>(sizeof(T)), users_are_outer(rated));
    // No more threads than can work at once: under blocked on blocks that share no row, under hogwild on any blocks.
    const std::int64_t at_once = params_.parallel == Parallel::hogwild
                                     ? static_cast<std::int64_t>(grid.user_stripes) * grid.item_stripes
                                     : std::min(grid.user_stripes, grid.item_stripes);
    team_.emplace(team_size(n_threads_, at_once), interrupted_);
    blocked_ = make_blocks(ratings, rated, grid, z_, params_.seed, *team_);
    load(users_, ratings.n_users(), blocked_.users.position, start.user);
    load(items_, ratings.n_items(), blocked_.items.position, start.item);
    take_pulls(ratings, rated);
    open_windows(ratings.scratch());
    block_sums_.assign(blocked_.grouped.size(), PassSums{});
  }

  /// For steps of many ratings.
  void make_batch_stepper(const RatingSource& source, const Survey& rated, const Start<T>& start) {
    const RatingsView& ratings = source.in_memory();
    team_.emplace(team_size(n_threads_, rated.counted * stride_ / kWorkPerThread), interrupted_);
    const BatchInput<float> input{ratings.users, ratings.items, ratings.values, ratings.weights, z_};
    batches_ = make_batches<T>(input, batch_size(params_, rated.counted), params_.seed, *team_);
    load(users_, ratings.n_users, {}, start.user);
    load(items_, ratings.n_items, {}, start.item);
    take_pulls(source, rated);
    const BatchModel<T> rows{users_.from(0, stride_), items_.from(0, stride_), n_factors_, stride_, false};
    batch_stepper_.emplace(kernels_->kernels<T>(), batches_, rows, *team_);
  }

  /// The threads' windows on the blocked ratings share the buffer, if these are in a file.
  void open_windows(const ScratchFolder* scratch) {
    std::int64_t largest = 0;
    for (std::int32_t stripe = 0; stripe < blocked_.outer().stripes(); ++stripe) {
      largest = std::max(largest,
                         blocked_.offsets[blocked_.block(stripe + 1, 0)] - blocked_.offsets[blocked_.block(stripe, 0)]);
    }
    if (scratch != nullptr) {
      const auto bytes = static_cast<std::int64_t>(sizeof(Rating) + (blocked_.has_weights ? sizeof(float) : 0));
      window_room_ = window_ratings(scratch->buffer_bytes, largest, team_->size(), bytes);
      const std::int64_t mean = std::max<std::int64_t>(1, blocked_.offsets.back() / blocked_.outer().stripes());
      turns_ahead_ = std::max<std::int64_t>(team_->size(), kReadAhead / mean);
    }
    for (int thread = 0; thread < team_->size(); ++thread) windows_.emplace_back(window_room_);
  }

  void take_pulls(const RatingSource& ratings, const Survey& rated) {
    if (!has_row_pulls(params_)) return;
    const bool means = has_means(params_, true) || has_means(params_, false);
    const auto take = [&](Rows<T>& rows, bool of_users, const RowPartition& partition) {
      const std::vector<RowPull<T>> pulls = row_pulls<T>(ratings, rated, params_, z_, z_.start_bias, of_users);
      rows.pulls = Buffer<RowPull<T>>(static_cast<std::int64_t>(pulls.size()));
      for (std::size_t row = 0; row < pulls.size(); ++row) {
        rows.pulls[position(partition, static_cast<std::int32_t>(row))] = pulls[row];
      }
      rows.means = zeros(means ? rows.pulls.size() * stride_ : 0);
    };
    take(users_, true, blocked_.users);
    take(items_, false, blocked_.items);
  }

  void take_means(const RatingSource& ratings, const Survey& rated, const RatingsView& pairs) {
    if (!has_means(params_, true) && !has_means(params_, false)) return;
    const RowNumbers numbers{blocked_.users.position, blocked_.items.position};
    incidence_ = ratings.scratch() != nullptr ? distinct_pairs_in_files(ratings, pairs, rated, *team_, numbers)
                                              : distinct_pairs(ratings.in_memory(), pairs, *team_, numbers);
    user_work_ = MeansWork<T>(incidence_.users.rows(), stride_);
    item_work_ = MeansWork<T>(incidence_.items.rows(), stride_);
    const auto make = [&](std::optional<PriorMeans<T>>& prior, bool of_users) {
      if (!has_means(params_, of_users)) return;
      prior.emplace(kernels_->kernels<T>(), of_users ? incidence_.users : incidence_.items,
                    of_users ? incidence_.items : incidence_.users, of_users ? user_work_ : item_work_,
                    of_users ? item_work_ : user_work_, stride_, *params_.reg_implicit,
                    kBiasRho * *params_.reg_implicit, *team_);
    };
    make(user_means_, true);
    make(item_means_, false);
  }

  void take_validation(const RatingsView& validation) {
    const std::int64_t n = validation.size();
    valid_users_ = Buffer<std::int32_t>(n);
    valid_items_ = Buffer<std::int32_t>(n);
    valid_values_ = Buffer<float>(n);
    valid_weights_ = Buffer<float>(static_cast<std::int64_t>(validation.weights.size()));
    team_->run_slices(n, [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t r = begin; r < end; ++r) {
        const auto from = static_cast<std::size_t>(r);
        valid_users_[r] = position(blocked_.users, validation.users[from]);
        valid_items_[r] = position(blocked_.items, validation.items[from]);
        valid_values_[r] = static_cast<float>(z_.standardized(static_cast<double>(validation.values[from])));
        if (valid_weights_.size() > 0) valid_weights_[r] = validation.weights[from];
      }
    });
    valid_weight_ = weight_of(validation);
  }

  PassSums run_blocks(std::int32_t epoch, const StepSizes<T>& sizes, std::int64_t active_factors) {
    const EpochOrder order(blocked_.outer().stripes(), blocked_.inner().stripes(), params_.seed, epoch);
    pass_over_blocks(
        order.outer_turns(), order.inner_turns(), params_.parallel != Parallel::hogwild, *team_,
        [&](std::int64_t outer_turn, int thread) {
          if (blocked_.file.is_open()) read_ahead(order, outer_turn);
          windows_[static_cast<std::size_t>(thread)].take_stripe(blocked_, order.outer_stripe(outer_turn));
        },
        [&](std::int64_t outer_turn, std::int64_t inner_turn, int thread) {
          return take_block(order.outer_stripe(outer_turn), order.inner_stripe(inner_turn), sizes, active_factors,
                            thread,
                            block_sums_[static_cast<std::size_t>(outer_turn * order.inner_turns() + inner_turn)]);
        });
    return total(block_sums_);
  }

  /// The disk works on the turns to come while the threads do on those before; the first turn begins with all of them.
  void read_ahead(const EpochOrder& order, std::int64_t outer_turn) const {
    const std::int64_t last = std::min(order.outer_turns() - 1, outer_turn + turns_ahead_);
    for (std::int64_t turn = outer_turn == 0 ? 0 : outer_turn + turns_ahead_; turn <= last; ++turn) {
      will_need_stripe(blocked_, order.outer_stripe(turn), window_room_);
    }
  }

  PassSums run_batches(std::int32_t epoch, const StepSizes<T>& sizes, std::int64_t active_factors) {
    batch_stepper_->use_factors(active_factors);
    const std::vector<std::int32_t> order = shuffled(batches_.n_batches, params_.seed, epoch);
    // With fewer batches than threads, threads of hogwild would have nothing to do.
    const bool hogwild = params_.parallel == Parallel::hogwild && batches_.n_batches >= team_->size();
    return hogwild ? batch_stepper_->run_hogwild(order, sizes) : batch_stepper_->run_blocked(order, sizes);
  }

  static MeanLoss mean_of(const PassSums& sums, double weight) { return {sums.loss / weight, sums.squares / weight}; }

  /// The internal row of an external one.
  static std::int32_t position(const RowPartition& partition, std::int32_t row) {
    return partition.position.empty() ? row : partition.position[static_cast<std::size_t>(row)];
  }

  static double weight_of(const RatingsView& ratings) {
    if (ratings.weights.empty()) return static_cast<double>(ratings.size());
    return std::accumulate(ratings.weights.begin(), ratings.weights.end(), 0.0);
  }
  static T* biases(Rows<T>& rows) { return rows.biases.size() > 0 ? rows.biases.data() : nullptr; }

  bool take_block(std::int32_t outer_stripe, std::int32_t inner_stripe, const StepSizes<T>& sizes,
                  std::int64_t active_factors, int thread, PassSums& sums) {
    const auto user = static_cast<std::size_t>(blocked_.users_outer ? outer_stripe : inner_stripe);
    const auto item = static_cast<std::size_t>(blocked_.users_outer ? inner_stripe : outer_stripe);
    const std::size_t block = blocked_.block(outer_stripe, inner_stripe);
    const std::int64_t first_user = blocked_.users.begin[user], first_item = blocked_.items.begin[item];
    SgdArgs<T> args{};
    args.users = users_.from(first_user, stride_);
    args.items = items_.from(first_item, stride_);
    args.active_factors = active_factors;
    args.width = padded_stride<T>(active_factors);
    args.stride = stride_;
    args.sizes = sizes;
    return run_block(kernels_->kernels<T>(), blocked_, block, windows_[static_cast<std::size_t>(thread)], args, *team_,
                     thread, sums);
  }

  /// In the internal order that `positions` gives; empty: in the external order.
  void load(Rows<T>& rows, std::int64_t n_rows, const std::vector<std::int32_t>& positions,
            const typename Start<T>::Row& start) {
    rows.factors = Buffer<T>(n_rows * stride_);
    rows.biases = Buffer<T>(params_.biases ? n_rows : 0);
    const Remembered remembered = remembered_by(step_rule(params_));
    rows.row_numbers = zeros(remembered.row_numbers ? n_rows * kRowNumbers : 0);
    rows.first = zeros(remembered.first ? n_rows * stride_ : 0);
    rows.second = zeros(remembered.second ? n_rows * stride_ : 0);
    rows.bias_first = zeros(remembered.first ? n_rows : 0);
    rows.bias_second = zeros(remembered.second ? n_rows : 0);
    team_->run_slices(
        n_rows,
        [&](std::int64_t begin, std::int64_t end, int) {
          for (std::int64_t row = begin; row < end; ++row) {
            const std::int64_t to = positions.empty() ? row : positions[static_cast<std::size_t>(row)];
            T* const target = rows.factors.data() + to * stride_;
            const T bias = start(row, target);
            std::fill_n(target + n_factors_, stride_ - n_factors_, T(0));
            if (params_.biases) rows.biases[to] = bias;
          }
        },
        kRowSlice);
  }

  static Buffer<T> zeros(std::int64_t size) {
    Buffer<T> buffer(size);
    std::fill_n(buffer.data(), size, T(0));
    return buffer;
  }

  void store(const Rows<T>& rows, const RowPartition& partition, std::vector<T>& factors, std::vector<T>& row_biases) {
    const std::size_t n = row_biases.size() * static_cast<std::size_t>(n_factors_);
    factors.reserve(n);  // resize() then fills pages of which there are few
    want_huge_pages(factors.data(), n * sizeof(T));
    factors.resize(n);
    team_->run_slices(
        static_cast<std::int64_t>(row_biases.size()),
        [&](std::int64_t begin, std::int64_t end, int) {
          for (std::int64_t row = begin; row < end; ++row) {
            const std::int64_t from = position(partition, static_cast<std::int32_t>(row));
            std::copy_n(rows.factors.data() + from * stride_, n_factors_, factors.data() + row * n_factors_);
            if (params_.biases) row_biases[static_cast<std::size_t>(row)] = rows.biases[from];
          }
        },
        kRowSlice);
  }

  /// As store(), but the memory of `rows` goes as that of `factors` comes, so that there are never two copies: for
  /// fits from a disk, whose ratings are not what takes the memory. Slower: 11 M rows of 32 took 2.7 s in place of
  /// 0.8. `positions` are used up: they tell which rows are in their place.
  void give(Rows<T>& rows, std::vector<std::int32_t>& positions, std::vector<T>& factors, std::vector<T>& row_biases) {
    T* const all = rows.factors.data();
    Buffer<T> held(stride_);
    const auto place_of = [&](std::int64_t row) -> std::int32_t& { return positions[static_cast<std::size_t>(row)]; };
    // Each turn of the loop moves the rows of a circle: to the place that has become free the row that belongs there.
    const auto n_positions = static_cast<std::int64_t>(positions.size());
    for (std::int64_t first = 0; first < n_positions; ++first) {
      if (place_of(first) == first) continue;
      std::copy_n(all + first * stride_, stride_, held.data());
      const T bias = params_.biases ? rows.biases[first] : T(0);
      std::int64_t ahead = first;
      const auto fetch = [&] {
        if (ahead = place_of(ahead); ahead == first) return false;
        for (std::int64_t f = 0; f < stride_; f += 64 / std::int64_t{sizeof(T)}) {
          prefetch(all + ahead * stride_ + f);
        }
        if (params_.biases) prefetch(rows.biases.data() + ahead);
        return true;
      };
      bool more = true;
      for (int row = 0; row < kRowsAhead && more; ++row) more = fetch();
      for (std::int64_t free = first;;) {
        if (more) more = fetch();
        const std::int64_t from = std::exchange(place_of(free), static_cast<std::int32_t>(free));
        std::copy_n(from == first ? held.data() : all + from * stride_, stride_, all + free * stride_);
        if (params_.biases) rows.biases[free] = from == first ? bias : rows.biases[from];
        if (from == first) break;
        free = from;
      }
    }
    positions = {};
    const auto n_rows = static_cast<std::int64_t>(row_biases.size());
    const std::int64_t at_once = std::max<std::int64_t>(1, kBytesGiven / (stride_ * std::int64_t{sizeof(T)}));
    factors.reserve(row_biases.size() * static_cast<std::size_t>(n_factors_));
    for (std::int64_t begin = 0; begin < n_rows; begin += at_once) {
      const std::int64_t end = std::min(begin + at_once, n_rows);
      for (std::int64_t row = begin; row < end; ++row) {
        const T* const from = all + row * stride_;
        factors.insert(factors.end(), from, from + n_factors_);
      }
      rows.factors.forget(begin * stride_, end * stride_);
    }
    if (params_.biases) std::copy_n(rows.biases.data(), n_rows, row_biases.begin());
    rows = {};
  }

  void copy(const Rows<T>& from, Rows<T>& to) {
    if (to.factors.size() != from.factors.size()) {
      to.factors = Buffer<T>(from.factors.size());
      to.biases = Buffer<T>(from.biases.size());
    }
    team_->run_slices(from.factors.size(), [&](std::int64_t begin, std::int64_t end, int) {
      std::copy(from.factors.data() + begin, from.factors.data() + end, to.factors.data() + begin);
    });
    std::copy_n(from.biases.data(), from.biases.size(), to.biases.data());
  }

  const KernelTable* kernels_;
  std::int32_t n_threads_;
  std::function<bool()> interrupted_;
  TrainParams params_;
  std::int64_t n_factors_ = 0, stride_ = 0;
  bool from_disk_ = false, released_ = false;
  std::optional<ThreadTeam> team_;
  LossFunction<T> loss_ = nullptr;
  PenaltyFunction<T> penalty_ = nullptr;
  BlockedRatings blocked_;            ///< empty for steps of many ratings
  std::vector<BlockWindow> windows_;  ///< on them, by thread
  std::int64_t window_room_ = 0, turns_ahead_ = 0;
  Batches<T> batches_;                            ///< empty for steps of one rating
  std::optional<BatchStepper<T>> batch_stepper_;  ///< likewise
  Rows<T> users_, items_, kept_users_, kept_items_;
  Incidence incidence_;                                   ///< by internal rows; empty without implicit feedback
  MeansWork<T> user_work_, item_work_;                    ///< empty without implicit feedback
  std::optional<PriorMeans<T>> user_means_, item_means_;  ///< none without implicit feedback
  /// By outer and inner turn, added up in that order: the bits of the sum do not depend on threads.
  std::vector<PassSums> block_sums_;
  double total_weight_ = 0;
  Standardization z_;
  Buffer<std::int32_t> valid_users_, valid_items_;  ///< internal rows
  Buffer<float> valid_values_, valid_weights_;
  double valid_weight_ = 0;
};

}  // namespace

template <class T>
std::unique_ptr<Backend<T>> make_cpu_backend(std::int32_t n_threads, std::function<bool()> interrupted) {
  return std::make_unique<CpuBackend<T>>(n_threads, std::move(interrupted));
}

template std::unique_ptr<Backend<float>> make_cpu_backend<float>(std::int32_t, std::function<bool()>);
template std::unique_ptr<Backend<double>> make_cpu_backend<double>(std::int32_t, std::function<bool()>);

namespace {

/// The grid of ratings of which only counts are known: its size hardly depends on which side is the outer one.
template <class T>
Grid planned_grid(const RatingCounts& counts, const TrainParams& params) {
  const std::int64_t arrays = has_means(params, true) || has_means(params, false) ? 2 : 1;
  return choose_grid(counts.n_users, counts.n_items, counts.n_ratings,
                     arrays * padded_stride<T>(params.n_factors) * static_cast<std::int64_t>(sizeof(T)),
                     counts.n_users >= counts.n_items);
}

template <class T>
int batch_threads(const RatingCounts& counts, const TrainParams& params) {
  return team_size(params.n_threads, counts.n_ratings * padded_stride<T>(params.n_factors) / kWorkPerThread);
}

}  // namespace

template <class T>
void plan_cpu_upload(MemoryPlan& plan, const RatingCounts& counts, const TrainParams& params) {
  constexpr auto number = static_cast<std::int64_t>(sizeof(T));
  const std::int64_t stride = padded_stride<T>(params.n_factors), rows = counts.all_rows();
  const std::int64_t size = batch_size(params, counts.n_ratings);
  if (size > 0) {
    plan_batches<T>(plan, counts, size, batch_threads<T>(counts, params));
  } else {
    const Grid grid = planned_grid<T>(counts, params);
    plan_blocks(plan, counts, grid, team_size(params.n_threads, std::min(grid.user_stripes, grid.item_stripes)));
  }
  plan.take("factors and biases", rows * (stride + (params.biases ? 1 : 0)) * number);
  const Remembered remembered = remembered_by(step_rule(params));
  const std::int64_t states = (remembered.first ? 1 : 0) + (remembered.second ? 1 : 0);
  plan.take("optimizer state", rows * (states * (stride + 1) + (remembered.row_numbers ? kRowNumbers : 0)) * number);
  const bool of_users = has_means(params, true), of_items = has_means(params, false);
  if (has_row_pulls(params)) {
    for (const bool users : {true, false}) {
      plan_row_pulls<T>(plan, counts.rows(users));
      const std::int64_t pulls = counts.rows(users) * static_cast<std::int64_t>(sizeof(RowPull<T>));
      plan.take("pulls of the rows", pulls);
      plan.touch("pulls of the rows", pulls);  // in the external order
      if (of_users || of_items) plan.take("prior means", counts.rows(users) * stride * number);
    }
  }
  if (of_users || of_items) plan_prior_means<T>(plan, counts, stride, of_users, of_items);
  plan.take("validation ratings", counts.n_validation * (counts.validation_weighted ? 16 : 12));
}

template <class T>
void plan_cpu_epochs(MemoryPlan& plan, const RatingCounts& counts, const TrainParams& params) {
  constexpr auto number = static_cast<std::int64_t>(sizeof(T));
  const std::int64_t stride = padded_stride<T>(params.n_factors), n = counts.n_ratings;
  const std::int64_t size = batch_size(params, n);
  if (size > 0) {
    const std::int64_t n_batches = n / size + (n % size > 0 ? 1 : 0), n_threads = batch_threads<T>(counts, params);
    const std::int64_t at_once = params.parallel == Parallel::hogwild && n_batches >= n_threads ? n_threads : 1;
    plan.take("gradients of a batch", at_once * batch_rows(counts, size).most * (stride + 2) * number);
  } else {
    const Grid grid = planned_grid<T>(counts, params);
    plan.take("ratings in blocks",
              std::int64_t{grid.user_stripes} * grid.item_stripes * static_cast<std::int64_t>(sizeof(PassSums)));
    plan_windows(plan, counts, grid, team_size(params.n_threads, std::min(grid.user_stripes, grid.item_stripes)));
  }
  if (counts.n_validation > 0 && params.patience > 0) {
    plan.take("copy of the best epoch", counts.all_rows() * (stride + (params.biases ? 1 : 0)) * number);
  }
}

void plan_cpu_release(MemoryPlan& plan) {
  for (const char* part :
       {"ratings in blocks", "windows on the ratings", "ratings in batches", "gradients of a batch", "optimizer state",
        "pulls of the rows", "prior means", "who rated what", "copy of the best epoch"}) {
    plan.free(part);
  }
}

template void plan_cpu_upload<float>(MemoryPlan&, const RatingCounts&, const TrainParams&);
template void plan_cpu_upload<double>(MemoryPlan&, const RatingCounts&, const TrainParams&);
template void plan_cpu_epochs<float>(MemoryPlan&, const RatingCounts&, const TrainParams&);
template void plan_cpu_epochs<double>(MemoryPlan&, const RatingCounts&, const TrainParams&);

}  // namespace warpfactor
