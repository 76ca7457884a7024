// SPDX-License-Identifier: Apache-2.0
// The trainer's backend on a device: what lies where in its memory, and which kernel runs when.
#include "device/device_backend.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <limits>
#include <optional>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "cpu/batches.hpp"
#include "device/device_means.hpp"
#include "device/device_memory.hpp"
#include "device/device_plan.hpp"
#include "device/device_ratings.hpp"
#include "device/file_upload.hpp"
#include "device/plan_file.hpp"
#include "device/staging.hpp"
#include "device/tuning.hpp"
#include "epoch_order.hpp"
#include "optimizer.hpp"
#include "require.hpp"
#include "row_pulls.hpp"
#include "update_rule.hpp"

namespace warpfactor {
namespace {

static_assert(kTileRowNumbers == kRowNumbers);
/// Of PassArgs::waves and `done`.
constexpr auto kBytesOfWave = static_cast<std::int64_t>(sizeof(PassWave) + sizeof(std::uint32_t));
static_assert(sizeof(RowPull<float>) == 4 * sizeof(float) && sizeof(RowPull<double>) == 4 * sizeof(double));

/// How far apart the numbers of two rows lie, in numbers: `per_row` of them, or more that spread to up to `most` bytes.
/// It is a power of two, so that no row's numbers lie in two cache lines.
template <class A>
std::int64_t number_spacing(std::int64_t per_row, std::int64_t n_rows, std::int64_t most) {
  constexpr auto bytes = static_cast<std::int64_t>(sizeof(A));
  if (per_row == 0) return 0;
  auto spacing = static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(per_row)));
  while (2 * spacing * bytes <= kBiasSpacing && n_rows * 2 * spacing * bytes <= most) spacing *= 2;
  return spacing;
}

template <class S, class A>
class DeviceBackend final : public Backend<A> {
 public:
  DeviceBackend(std::unique_ptr<Accelerator> accelerator, std::int32_t n_threads, std::function<bool()> interrupted)
      : device_(std::move(accelerator)),
        n_threads_(n_threads),
        interrupted_(std::move(interrupted)),
        slots_(*device_) {}
  ~DeviceBackend() override { unpin(); }
  DeviceBackend(const DeviceBackend&) = delete;
  DeviceBackend& operator=(const DeviceBackend&) = delete;

  std::optional<Survey> take(const RatingSource& source, const char* argument, const TrainParams& params,
                             ThreadTeam& team) override {
    const std::int64_t n = source.size();
    if (source.scratch() != nullptr || batch_size(params, n) > 0 || !DeviceRatings::can_number(n)) return std::nullopt;
    const RatingsView& ratings = source.in_memory();
    const bool weighted = source.weighted();
    const std::int64_t n_rows = std::int64_t{ratings.n_users} + ratings.n_items;
    memory_.emplace(*device_, params.device_memory);
    const std::int64_t all = DeviceRatings::given_bytes(n, weighted) +
                             DeviceRatings::planning_bytes(n, n_rows, 0, device_->sorting_bytes(n));
    if (all > memory_->left()) return std::nullopt;
    try {
      given_.emplace(*device_, *memory_, ratings, argument, staging(DeviceRatings::given_bytes(n, weighted)), team);
    } catch (const CudaError&) {  // somebody else took the memory; if there is more to it, upload() says so
      return std::nullopt;
    }
    return given_->survey();
  }

  void require_device_memory(const FitMemory& least, const TrainParams& params) override {
    // Beside what certainly is taken there must be room to make the plan.
    if (given_ && least.device_least() + given_->planning_bytes() > memory_->left()) given_.reset();
    if (!given_) DeviceMemory(*device_, params.device_memory).require(least);
  }

  void upload(const RatingSource& ratings, const Survey& rated, const Standardization& z, const Start<A>& start,
              const TrainParams& params, const TrainOptions<A>& options, const RatingsView& pairs) override {
    params_ = params;
    z_ = z;
    loss_ = params.loss == Loss::custom ? options.loss : nullptr;
    penalty_ = options.penalty;
    replace_kernels(options);
    n_factors_ = params.n_factors;
    stride_ = device_stride<S>(n_factors_);
    tile_ = active_tile_ = tile_of<S>(n_factors_);
    total_weight_ = static_cast<double>(rated.counted);  // weights have a mean of 1
    if (!given_) memory_.emplace(*device_, params.device_memory);
    team_.emplace(team_size(n_threads_, ratings.size() / ThreadTeam::kSlice), interrupted_);

    Incidence incidence;
    std::optional<ListsOnDevice> lists;
    if (has_means(params, true) || has_means(params, false)) {
      if (given_ && pairs.users.empty()) lists = given_->lists();
      if (lists) {
        incidence.users.begin = std::move(lists->user_begin);
        incidence.items.begin = std::move(lists->item_begin);
      } else if (ratings.scratch() != nullptr) {
        incidence = distinct_pairs_in_files(ratings, pairs, rated, *team_, {});
      } else {
        incidence = distinct_pairs(ratings.in_memory(), pairs, *team_);
      }
    }

    load(users_, ratings.n_users(), start.user);
    load(items_, ratings.n_items(), start.item);
    take_pulls(ratings, rated, incidence, std::move(lists));
    if (options.validation.size() > 0) {
      upload_validation(options.validation);
      if (params.patience > 0) {
        allocate_like(kept_users_, users_);
        allocate_like(kept_items_, items_);
      }
    }
    sums_ = allocate<double>(2 * kSumWarps);
    if (batch_size(params, rated.counted) > 0) {
      upload_batches(ratings.in_memory(), rated);
    } else {
      upload_plan(ratings, rated);
    }
    if (means_) {
      means_->take_lists(incidence, *memory_, slots_, files_ ? &*files_ : nullptr,
                         [&](auto* of, std::int64_t size) { pin(of, size); });
    }
    wait();
    staging_.reset();
  }

  MeanLoss run_epoch(std::int32_t epoch, double learning_rate, std::int32_t active_factors) override {
    use_factors(active_factors);
    const StepSizes<A> sizes = step_sizes<A>(params_, z_, learning_rate, active_factors, loss_, penalty_);
    if (plan_) {
      run_waves(epoch, sizes);
    } else {
      run_batches(epoch, sizes);
    }
    return mean_of_sums(total_weight_);
  }

  void update_means(std::int32_t active_factors) override {
    if (!means_) return;
    for (const bool users : {true, false}) {
      means_->step(users, (users ? users_ : items_).view(), device_stride<S>(active_factors), slots_, [&] { poll(); });
    }
  }
  MeanLoss evaluate() override {
    EvaluateArgs<S, A> args{};
    args.users = users_.view();
    args.items = items_.view();
    args.n_factors = n_factors_;
    args.stride = stride_;
    args.user_rows = valid_users_.data();
    args.item_rows = valid_items_.data();
    args.values = valid_values_.data();
    args.weights = valid_weights_.data();
    args.n_ratings = valid_values_.size();
    args.tile_sums = tile_sums_.data();
    args.sizes = step_sizes<A>(params_, z_, 1.0, n_factors_, loss_, penalty_);
    const std::int64_t n_tiles = tile_sums_.size() / 2;
    device_->launch(Kernel::evaluate, storage_of<S>(), tile_, n_tiles, &args);
    add_up(tile_sums_.data(), n_tiles, false);
    return mean_of_sums(valid_weight_);
  }

  void keep() override {
    copy(users_, kept_users_);
    copy(items_, kept_items_);
  }
  void restore() override {
    copy(kept_users_, users_);
    copy(kept_items_, items_);
  }

  void visit_state(StateAccess access, bool kept, const StateVisit<A>& visit) override {
    if (kept && access == StateAccess::write) keep();  // what a backend of another kind does not keep stays as it is
    const auto show = [&](const std::string& name, Rows& rows, const Rows& like, bool copied) {
      const std::int64_t n = rows.factors.size() / stride_;
      const auto each = [&](const char* what, auto& buffer, std::int64_t at, std::int64_t width, std::int64_t stride) {
        if (buffer.size() == 0) return;
        on_host(access, buffer,
                [&](A* data) { visit({name + what, data == nullptr ? data : data + at, n, width, stride}); });
      };
      each("factors", rows.factors, 0, n_factors_, stride_);
      each("first", rows.first, 0, n_factors_, stride_);
      each("second", rows.second, 0, n_factors_, stride_);
      each("means", rows.means, 0, n_factors_, stride_);
      if (rows.means.size() > 0) each("bias_means", rows.pulls, 2, 1, 4);
      if (rows.numbers.size() == 0) return;
      on_host(access, rows.numbers, [&](A* data) {
        constexpr std::array kNames{"biases", "bias_first", "bias_second", "row_numbers"};
        for (std::size_t part = 0; part < kNames.size(); ++part) {
          if (like.at[part] < 0) continue;
          // Of the copy the CPU keeps the biases alone.
          visit({name + kNames[part],
                 data == nullptr ? data : data + like.at[part],
                 n,
                 part == 3 ? kTileRowNumbers : 1,
                 like.spacing,
                 {},
                 copied && part > 0});
        }
      });
    };
    show("user_", users_, users_, false);
    show("item_", items_, items_, false);
    if (kept) {
      show("kept_user_", kept_users_, users_, true);
      show("kept_item_", kept_items_, items_, true);
    }
    if (means_) {
      means_->visit_state([&](const std::string& name, DeviceBuffer<A>& buffer, std::int64_t n, std::int64_t row_size) {
        on_host(access, buffer, [&](A* data) {
          visit({name, data, n, n_factors_, row_size});
          visit({name + "_of_bias", data == nullptr ? data : data + stride_, n, 1, row_size});
        });
      });
    }
    wait();
  }

  void release() override {
    unpin();
    files_.reset();
  }

  void download(Model<A>& model) override {
    store(users_, model.user_factors, model.user_biases);
    store(items_, model.item_factors, model.item_biases);
    staging_.reset();
  }

  [[nodiscard]] std::int32_t n_threads() const override { return team_ ? team_->size() : 1; }
  [[nodiscard]] std::string instruction_set() const override { return device_->architecture(); }

 private:
  /// Factors and biases of one side, and the optimizer's state of them.
  struct Rows {
    DeviceBuffer<S> factors;
    DeviceBuffer<A> first, second;
    DeviceBuffer<A> numbers;   ///< of each row: its bias, then the optimizer's state of the bias and of the row
    std::int64_t spacing = 0;  ///< from one row's numbers to the next row's
    std::array<std::int64_t, 4>
        at{};                      ///< bias, its first and second, row_numbers in a row's numbers; -1: there is none
    DeviceBuffer<A> pulls, means;  ///< as in TileRows

    [[nodiscard]] TileRows<S, A> view() const {
      const auto place = [&](std::size_t n) { return at[n] < 0 ? nullptr : numbers.data() + at[n]; };
      return {factors.data(), first.data(), second.data(), place(0),
              place(1),       place(2),     place(3),      static_cast<std::int32_t>(spacing),
              pulls.data(),   means.data()};
    }
  };
  /// One side of all batches; except for the rows, only if the batches are resident.
  struct BatchSide {
    DeviceBuffer<std::int32_t> rows, others;
    DeviceBuffer<std::int64_t> begin;
    DeviceBuffer<A> values;
    DeviceBuffer<float> weights;
    std::vector<std::int64_t> first_row;  ///< of each batch, and the end
  };
  /// The plan's arrays on the device, or those of a chunk of it.
  struct PlanArrays {
    Entry* entries = nullptr;
    float* weights = nullptr;
    std::int32_t* segment_rows = nullptr;
    std::uint32_t *segment_begin = nullptr, *task_begin = nullptr;
  };

  void replace_kernels(const TrainOptions<A>& options) {
    if (loss_ == nullptr && penalty_ == nullptr) return;
    const DeviceKernels& own = options.device_kernels;
    // The pass is compiled for what the parameters ask for.
    for (const Kernel kernel : {Kernel::pass, Kernel::general_pass, Kernel::momentum_pass, Kernel::adagrad_row_pass,
                                Kernel::adagrad_element_pass, Kernel::adam_pass}) {
      device_->replace(kernel, own.pass);
    }
    device_->replace(Kernel::pulled_pass, own.pulled_pass != 0 ? own.pulled_pass : own.pass);
    device_->replace(Kernel::batch_gradients, own.batch_gradients);
    device_->replace(Kernel::batch_steps, own.batch_steps);
    device_->replace(Kernel::evaluate, own.evaluate);
  }

  /// Pinned memory through which so many bytes go up.
  Staging& staging(std::int64_t bytes) {
    const std::int64_t wanted = Staging::buffer_bytes(bytes);
    if (!staging_ || staging_->bytes() < wanted) {
      staging_.reset();
      staging_.emplace(*device_, wanted, [this] { poll(); });
    }
    return *staging_;
  }
  template <class T>
  DeviceBuffer<T> allocate(std::int64_t size) {
    return memory_->allocate<T>(size);
  }
  template <class T>
  DeviceBuffer<T> uploaded(const T* from, std::int64_t size) {
    return memory_->uploaded(from, size);
  }
  DeviceBuffer<A> zeros(std::int64_t size) { return memory_->zeros<A>(size); }

  void load(Rows& rows, std::int64_t n_rows, const typename Start<A>::Row& start) {
    std::vector<A> biases(static_cast<std::size_t>(n_rows));
    rows.factors = allocate<S>(n_rows * stride_);
    const std::int64_t row_bytes = stride_ * static_cast<std::int64_t>(sizeof(S));
    staging(n_rows * row_bytes)
        .through(
            rows.factors.data(), n_rows * row_bytes,
            [&](char* memory, std::int64_t at, std::int64_t bytes) {
              const std::int64_t first = at / row_bytes;
              team_->run_slices(
                  bytes / row_bytes,
                  [&](std::int64_t begin, std::int64_t end, int) {
                    std::vector<A> factors(static_cast<std::size_t>(stride_), A(0));
                    for (std::int64_t row = begin; row < end; ++row) {
                      biases[static_cast<std::size_t>(first + row)] = start(first + row, factors.data());
                      std::transform(factors.begin(), factors.end(), reinterpret_cast<S*>(memory) + row * stride_,
                                     to_storage);
                    }
                  },
                  kConvertedRows);
            },
            row_bytes);
    const Remembered remembered = remembered_by(step_rule(params_));
    if (remembered.first) rows.first = zeros(n_rows * stride_);
    if (remembered.second) rows.second = zeros(n_rows * stride_);
    std::int64_t per_row = 0;
    const auto take = [&](bool wanted, std::int64_t size) {
      return wanted ? std::exchange(per_row, per_row + size) : -1;
    };
    rows.at = {take(params_.biases, 1), take(params_.biases && remembered.first, 1),
               take(params_.biases && remembered.second, 1), take(remembered.row_numbers, kTileRowNumbers)};
    rows.spacing = spacing_of(per_row, n_rows);
    std::vector<A> numbers(static_cast<std::size_t>(n_rows * rows.spacing), A(0));
    for (std::size_t row = 0; params_.biases && row < biases.size(); ++row) {
      numbers[row * static_cast<std::size_t>(rows.spacing)] = biases[row];
    }
    rows.numbers = uploaded(numbers.data(), n_rows * rows.spacing);
    wait();  // before `numbers` are freed
  }

  /// For rows with pulls of their own.
  void take_pulls(const RatingSource& ratings, const Survey& rated, const Incidence& incidence,
                  std::optional<ListsOnDevice> lists) {
    if (!has_row_pulls(params_)) return;
    const bool of_users = has_means(params_, true), of_items = has_means(params_, false);
    for (const bool users : {true, false}) {
      const std::vector<RowPull<A>> pulls = row_pulls<A>(ratings, rated, params_, z_, z_.start_bias, users);
      Rows& rows = users ? users_ : items_;
      const auto n_rows = static_cast<std::int64_t>(pulls.size());
      rows.pulls = uploaded(&pulls.data()->factors, 4 * n_rows);
      if (of_users || of_items) rows.means = zeros(n_rows * stride_);
    }
    if (!of_users && !of_items) return;
    means_.emplace(*device_, *memory_, incidence, stride_, of_users, of_items, *params_.reg_implicit,
                   kBiasRho * *params_.reg_implicit, *team_, std::move(lists));
  }

  [[nodiscard]] std::int64_t spacing_of(std::int64_t per_row, std::int64_t n_rows) const {
    return number_spacing<A>(per_row, n_rows, std::min(kSpreadBiases, memory_->left() / kSpreadBiasesPart));
  }

  void store(const Rows& rows, std::vector<A>& factors, std::vector<A>& row_biases) {
    factors.resize(row_biases.size() * static_cast<std::size_t>(n_factors_));
    const std::int64_t row_bytes = stride_ * static_cast<std::int64_t>(sizeof(S));
    staging(rows.factors.bytes())
        .back(
            rows.factors.data(), rows.factors.bytes(),
            [&](const char* memory, std::int64_t at, std::int64_t bytes) {
              const S* const padded = reinterpret_cast<const S*>(memory);
              A* const to = factors.data() + at / row_bytes * n_factors_;
              team_->run_slices(
                  bytes / row_bytes,
                  [&](std::int64_t begin, std::int64_t end, int) {
                    for (std::int64_t row = begin; row < end; ++row) {
                      std::transform(padded + row * stride_, padded + row * stride_ + n_factors_, to + row * n_factors_,
                                     from_storage);
                    }
                  },
                  kConvertedRows);
            },
            row_bytes);
    if (!params_.biases) return;
    Buffer<A> numbers(rows.numbers.size());
    rows.numbers.download(numbers.data());
    for (std::size_t row = 0; row < row_biases.size(); ++row) {
      row_biases[row] = numbers[static_cast<std::int64_t>(row) * rows.spacing];
    }
  }

  static S to_storage(A x) {
    if constexpr (std::is_same_v<S, Half>) {
      return to_half(x);
    } else {
      return x;
    }
  }
  static A from_storage(S x) {
    if constexpr (std::is_same_v<S, Half>) {
      return to_number(x);
    } else {
      return x;
    }
  }

  /// Lends a buffer's numbers to `work` on the host, and takes them back; nullptr where only shapes are asked for.
  template <class N, class Work>
  void on_host(StateAccess access, DeviceBuffer<N>& buffer, const Work& work) {
    if (access == StateAccess::shapes) return work(static_cast<A*>(nullptr));
    wait();
    Buffer<N> stored(buffer.size());
    buffer.download(stored.data());
    if constexpr (std::is_same_v<N, A>) {
      work(stored.data());
    } else {
      Buffer<A> numbers(buffer.size());
      std::transform(stored.data(), stored.data() + stored.size(), numbers.data(), from_storage);
      work(numbers.data());
      std::transform(numbers.data(), numbers.data() + numbers.size(), stored.data(), to_storage);
    }
    if (access != StateAccess::write) return;
    buffer.upload(stored.data(), stored.size());
    wait();  // before `stored` is freed
  }

  void allocate_like(Rows& to, const Rows& like) {
    to.factors = allocate<S>(like.factors.size());
    to.numbers = allocate<A>(like.numbers.size());
  }
  void copy(const Rows& from, const Rows& to) {
    device_->copy(to.factors.data(), from.factors.data(), from.factors.bytes(), Stream::compute);
    if (from.numbers.size() > 0) {
      device_->copy(to.numbers.data(), from.numbers.data(), from.numbers.bytes(), Stream::compute);
    }
  }

  void upload_validation(const RatingsView& validation) {
    const std::int64_t n = validation.size();
    Buffer<float> values(n);
    valid_weight_ = 0;
    for (std::int64_t r = 0; r < n; ++r) {
      const auto from = static_cast<std::size_t>(r);
      values[r] = static_cast<float>(z_.standardized(static_cast<double>(validation.values[from])));
      valid_weight_ += validation.weights.empty() ? 1.0 : static_cast<double>(validation.weights[from]);
    }
    valid_users_ = uploaded(validation.users.data(), n);
    valid_items_ = uploaded(validation.items.data(), n);
    valid_values_ = uploaded(values.data(), n);
    if (!validation.weights.empty()) valid_weights_ = uploaded(validation.weights.data(), n);
    tile_sums_ = allocate<double>(2 * tiles(Kernel::evaluate, n));
    wait();  // before `values` is freed
  }

  void use_factors(std::int32_t active_factors) {
    if (active_factors == active_factors_) return;
    active_factors_ = active_factors;
    // Kernels with custom functions are compiled for whole rows; they skip what lies beyond the width.
    active_tile_ = loss_ != nullptr || penalty_ != nullptr ? tile_ : tile_of<S>(active_factors);
    tiles_at_once_ = {};
  }

  /// Tiles for `work` rows or tasks: no more than run at once, and whole thread blocks of them.
  std::int64_t tiles(Kernel kernel, std::int64_t work) {
    const std::int64_t per_block = kThreads / active_tile_.lanes;
    std::int64_t& at_once = tiles_at_once_[static_cast<std::size_t>(kernel)];
    if (at_once == 0) at_once = device_->tiles_at_once(kernel, storage_of<S>(), active_tile_);
    const std::int64_t most = std::max(per_block, at_once);
    return (std::clamp<std::int64_t>(work, 1, most) + per_block - 1) / per_block * per_block;
  }

  // Steps of one rating.

  void upload_plan(const RatingSource& ratings, const Survey& rated) {
    const Parallel parallel = params_.parallel == Parallel::blocked ? Parallel::blocked : Parallel::hogwild;
    const PlanTables tables = make_plan_tables(rated, parallel, params_.seed, *team_);
    weighted_ = ratings.weighted();
    const std::int64_t for_lists = means_ ? means_->wanted_bytes() : 0;
    if (given_) {
      constexpr std::int64_t kForTask = 2 * sizeof(double);
      const std::int64_t beside = tables.n_waves * (4 + (tables.blocked ? kBytesOfWave : 0));
      std::optional<PlanOnDevice> made = given_->plan(tables, z_, for_lists + beside, kForTask);
      given_.reset();
      if (made) {
        plan_.emplace(std::move(made->plan));
        take_task_sums(made->arrays.task_begin.size());
        return keep_resident(std::move(made->arrays), tables.blocked);
      }
    }
    const ScratchFolder* const scratch = ratings.scratch();
    plan_.emplace(scratch != nullptr ? make_plan_in_file(ratings, rated, z_, tables, *team_)
                                     : make_pass_plan(ratings.in_memory(), rated, z_, tables, *team_));
    const PassPlan& plan = *plan_;
    const Chunk whole = whole_of(plan);
    take_task_sums(whole.n_tasks);
    const std::int64_t all =
        whole.n_entries * static_cast<std::int64_t>(sizeof(Entry) + (weighted_ ? sizeof(float) : 0)) +
        (2 * whole.n_segments + whole.n_tasks) * static_cast<std::int64_t>(sizeof(std::uint32_t));
    // Two neighbouring chunks of a wave do not fit into one slot together, so there are at most so many chunks.
    const std::int64_t left = memory_->left();
    const std::int64_t max_chunks = plan.n_waves() + 5 * (all + kAlignments) / std::max<std::int64_t>(left, 1) + 64;
    const std::int64_t of_counters = max_chunks * static_cast<std::int64_t>(sizeof(std::uint32_t)) +
                                     (tables.blocked ? plan.n_waves() * kBytesOfWave : 0);
    const bool resident = all + of_counters + kAlignments + for_lists <= left;
    std::int64_t most = all;  // of an upload
    if (!resident) {
      chunks_ = make_chunks(plan, (left - of_counters) / 2);
      next_tasks_ = allocate<std::uint32_t>(static_cast<std::int64_t>(chunks_.size()));
      most = 0;
      for (const Chunk& chunk : chunks_) most = std::max(most, chunk.bytes(weighted_));
    }
    if (scratch != nullptr) files_.emplace(*device_, most, scratch->buffer_bytes, *team_, [this] { poll(); });
    if (resident) {
      PlanBuffers arrays = files_ ? uploaded_from_file(plan, whole) : uploaded_plan(plan);
      plan_->forget_arrays();
      return keep_resident(std::move(arrays), tables.blocked);
    }
    allocate_slots(most);
    pin(plan.entries.data(), plan.entries.size());
    pin(plan.weights.data(), plan.weights.size());
  }
  PlanBuffers uploaded_plan(const PassPlan& plan) {
    PlanBuffers arrays;
    const auto take = [&]<class T>(DeviceBuffer<T>& array, const T* from, std::int64_t size) {
      array = allocate<T>(size);
      staging(array.bytes()).copy(array.data(), from, array.bytes(), *team_);
    };
    take(arrays.entries, plan.entries.data(), plan.entries.size());
    take(arrays.weights, plan.weights.data(), plan.weights.size());
    take(arrays.segment_rows, plan.segment_rows.data(), static_cast<std::int64_t>(plan.segment_rows.size()));
    take(arrays.segment_begin, plan.segment_begin.data(), static_cast<std::int64_t>(plan.segment_begin.size()));
    take(arrays.task_begin, plan.task_begin.data(), static_cast<std::int64_t>(plan.task_begin.size()));
    return arrays;
  }
  PlanBuffers uploaded_from_file(const PassPlan& plan, const Chunk& whole) {
    PlanBuffers arrays;
    const PlanExtents from = extents_of(plan);
    const auto take = [&]<class T>(DeviceBuffer<T>& array, const std::vector<Extent>& extents, std::int64_t size) {
      array = allocate<T>(size);
      files_->upload(reinterpret_cast<char*>(array.data()), extents);
    };
    take(arrays.entries, from.entries, whole.n_entries);
    if (weighted_) take(arrays.weights, from.weights, whole.n_entries);
    take(arrays.segment_rows, from.segment_rows, whole.n_segments);
    take(arrays.segment_begin, from.segment_begin, whole.n_segments);
    take(arrays.task_begin, from.task_begin, whole.n_tasks);
    return arrays;
  }
  void take_task_sums(std::int64_t n_tasks) {
    task_sums_ = allocate<double>(2 * n_tasks);  // the elements between two waves stay 0
    task_sums_.zero();
  }
  /// Each wave is one chunk; or, blocked, all of them are one launch, whose places are 32-bit numbers.
  void keep_resident(PlanBuffers&& arrays, bool blocked) {
    whole_plan_ = std::move(arrays);
    resident_ = {whole_plan_.entries.data(), whole_plan_.weights.data(), whole_plan_.segment_rows.data(),
                 whole_plan_.segment_begin.data(), whole_plan_.task_begin.data()};
    chunks_ = whole_waves(*plan_);
    next_tasks_ = allocate<std::uint32_t>(static_cast<std::int64_t>(chunks_.size()));
    if (blocked && whole_plan_.entries.size() < std::numeric_limits<std::int32_t>::max()) {
      waves_ = allocate<PassWave>(plan_->n_waves());
      stripes_done_ = allocate<std::uint32_t>(plan_->n_waves());
    }
  }

  /// For chunks of ratings, and afterwards for those of the lists.
  void allocate_slots(std::int64_t bytes) {
    slots_.allocate(*memory_, std::max(bytes, means_ ? means_->least_slot() : 0));
  }
  template <class T>
  void pin(const T* memory, std::int64_t size) {
    if (size == 0) return;
    // Some systems refuse to pin much memory. Then copies block the thread that starts them, and are right all the
    // same.
    pinned_.reserve(pinned_.size() + 1);  // memory that is pinned and not in the list would stay so
    if (device_->pin(memory, size * static_cast<std::int64_t>(sizeof(T)))) pinned_.push_back(memory);
  }
  void unpin() {
    for (const void* memory : pinned_) device_->unpin(memory);
    pinned_.clear();
  }

  void run_waves(std::int32_t epoch, const StepSizes<A>& sizes) {
    next_tasks_.zero();
    if (waves_.size() > 0) {
      run_all_waves(epoch, sizes);
      add_up(task_sums_.data(), task_sums_.size() / 2, false);
      return;
    }
    const std::vector<std::size_t> order = order_of_chunks(epoch);
    for (std::size_t turn = 0; turn < order.size(); ++turn) {
      const std::size_t n = order[turn];
      if (resident_) {
        run_chunk(n, *resident_, true, sizes);
        poll();
        continue;
      }
      PlanArrays arrays;
      slots_.through(
          [&](const DeviceBuffer<char>& slot) {
            arrays = lay_out(slot, chunks_[n]);
            if (files_) {
              files_->upload(
                  slot.data(), extents_of(*plan_, chunks_[n]),
                  turn + 1 < order.size() ? extents_of(*plan_, chunks_[order[turn + 1]]) : std::vector<Extent>());
            } else {
              copy_chunk(arrays, chunks_[n]);
            }
          },
          [&] { run_chunk(n, arrays, false, sizes); });
      poll();
    }
    add_up(task_sums_.data(), task_sums_.size() / 2, false);
  }

  /// The chunks of an epoch: the waves in an order of its own, and each wave's chunks one after the other.
  [[nodiscard]] std::vector<std::size_t> order_of_chunks(std::int32_t epoch) const {
    std::vector<std::size_t> first_chunk(static_cast<std::size_t>(plan_->n_waves()) + 1, chunks_.size()), order;
    for (std::size_t n = chunks_.size(); n-- > 0;) first_chunk[static_cast<std::size_t>(chunks_[n].wave)] = n;
    for (const std::int32_t wave : shuffled(plan_->n_waves(), params_.seed, epoch)) {
      for (std::size_t n = first_chunk[static_cast<std::size_t>(wave)]; n < chunks_.size() && chunks_[n].wave == wave;
           ++n) {
        order.push_back(n);
      }
    }
    return order;
  }

  /// Where a chunk's arrays lie in a slot.
  PlanArrays lay_out(const DeviceBuffer<char>& slot, const Chunk& chunk) const {
    const ChunkLayout at = chunk.layout(weighted_);
    PlanArrays arrays;
    arrays.entries = reinterpret_cast<Entry*>(slot.data());
    if (weighted_) arrays.weights = reinterpret_cast<float*>(slot.data() + at.weights);
    arrays.segment_rows = reinterpret_cast<std::int32_t*>(slot.data() + at.segment_rows);
    arrays.segment_begin = reinterpret_cast<std::uint32_t*>(slot.data() + at.segment_begin);
    arrays.task_begin = reinterpret_cast<std::uint32_t*>(slot.data() + at.task_begin);
    return arrays;
  }
  void copy_chunk(const PlanArrays& to, const Chunk& chunk) {
    const PassPlan::Wave& wave = plan_->waves[static_cast<std::size_t>(chunk.wave)];
    copy_in(to, wave.first_entry + chunk.first_entry, chunk.n_entries, wave.first_segment + chunk.first_segment,
            chunk.n_segments + 1, wave.first_task + chunk.first_task, chunk.n_tasks + 1);
  }
  void copy_in(const PlanArrays& to, std::int64_t entry, std::int64_t n_entries, std::int64_t segment,
               std::int64_t n_segments, std::int64_t task, std::int64_t n_tasks) {
    const auto copy_array = [&]<class T>(T* array, const T* from, std::int64_t size) {
      if (size > 0) device_->upload(array, from, size * static_cast<std::int64_t>(sizeof(T)), Stream::copy);
    };
    copy_array(to.entries, plan_->entries.data() + entry, n_entries);
    if (weighted_) copy_array(to.weights, plan_->weights.data() + entry, n_entries);
    copy_array(to.segment_rows, plan_->segment_rows.data() + segment, n_segments);
    copy_array(to.segment_begin, plan_->segment_begin.data() + segment, n_segments);
    copy_array(to.task_begin, plan_->task_begin.data() + task, n_tasks);
  }

  /// `whole`: the arrays are the whole plan's, not the chunk's.
  void run_chunk(std::size_t number, const PlanArrays& arrays, bool whole, const StepSizes<A>& sizes) {
    const Chunk& chunk = chunks_[number];
    const PassPlan::Wave& wave = plan_->waves[static_cast<std::size_t>(chunk.wave)];
    PassArgs<S, A> args = pass_args(arrays, sizes);
    if (whole) {
      // Tiles read as many neighbouring entries at once as fit into whole sectors, from where the arrays begin.
      constexpr std::int64_t kTogether = 32;
      const std::int64_t first = wave.first_entry / kTogether * kTogether;
      args.entries += first;
      if (weighted_) args.weights += first;
      args.entry_shift = static_cast<std::uint32_t>(wave.first_entry - first);
      args.segment_rows += wave.first_segment;
      args.segment_begin += wave.first_segment;
      args.task_begin += wave.first_task + chunk.first_task;
    } else {
      args.entry_shift = static_cast<std::uint32_t>(-chunk.first_entry);
      args.segment_shift = static_cast<std::uint32_t>(-chunk.first_segment);
    }
    args.n_tasks = chunk.n_tasks;
    args.n_tiles = std::min(chunk.n_tasks, plan_->max_tiles);
    args.next_task = next_tasks_.data() + number;
    args.task_sums += 2 * (wave.first_task + chunk.first_task);
    launch_pass(args);
  }

  /// An epoch of blocked in one launch.
  void run_all_waves(std::int32_t epoch, const StepSizes<A>& sizes) {
    std::vector<PassWave> waves;
    for (const std::int32_t number : shuffled(plan_->n_waves(), params_.seed, epoch)) {
      const PassPlan::Wave& wave = plan_->waves[static_cast<std::size_t>(number)];
      waves.push_back({static_cast<std::uint32_t>(number), static_cast<std::uint32_t>(wave.first_entry),
                       static_cast<std::uint32_t>(wave.first_segment), static_cast<std::uint32_t>(wave.first_task)});
    }
    waves_.upload(waves.data(), plan_->n_waves());
    stripes_done_.zero();
    PassArgs<S, A> args = pass_args(*resident_, sizes);
    args.waves = waves_.data();
    args.done = stripes_done_.data();
    args.n_stripes = static_cast<std::uint32_t>(plan_->n_waves());
    args.n_tasks = plan_->n_waves() * plan_->n_waves();
    args.n_tiles = plan_->n_waves();
    args.next_task = next_tasks_.data();
    launch_pass(args);
  }

  /// What all launches of an epoch have in common.
  PassArgs<S, A> pass_args(const PlanArrays& arrays, const StepSizes<A>& sizes) const {
    PassArgs<S, A> args{};
    args.own = (plan_->users_own ? users_ : items_).view();
    args.other = (plan_->users_own ? items_ : users_).view();
    args.active_factors = active_factors_;
    args.width = device_stride<S>(active_factors_);
    args.stride = stride_;
    args.entries = arrays.entries;
    args.weights = weighted_ ? arrays.weights : nullptr;
    args.segment_rows = arrays.segment_rows;
    args.segment_begin = arrays.segment_begin;
    args.task_begin = arrays.task_begin;
    args.task_sums = task_sums_.data();
    args.sizes = sizes;
    if (!plan_->users_own) {
      for (Sides<A>* sides : {&args.sizes.reg, &args.sizes.reg_bias, &args.sizes.l1, &args.sizes.l1_bias}) {
        std::swap(sides->user, sides->item);
      }
    }
    return args;
  }
  void launch_pass(const PassArgs<S, A>& args) {
    const Kernel kernel = kernel_of(pass_kind(args.sizes.rule, rule::is_plain(args.sizes), args.own.pulls != nullptr));
    device_->launch(kernel, storage_of<S>(), active_tile_, tiles(kernel, args.n_tiles), &args);
  }

  // Steps of many ratings.

  void upload_batches(const RatingsView& ratings, const Survey& rated) {
    const BatchInput<float> input{ratings.users, ratings.items, ratings.values, ratings.weights, z_};
    batches_.emplace(make_batches<A>(input, batch_size(params_, rated.counted), params_.seed, *team_));
    weighted_ = batches_->users.weights.size() > 0;
    std::int64_t max_rows = 0, max_users = 0, streamed = 0;
    for (const bool of_users : {true, false}) {
      const auto& from = of_users ? batches_->users : batches_->items;
      BatchSide& side = of_users ? batch_users_ : batch_items_;
      side.rows = uploaded(from.rows.data(), static_cast<std::int64_t>(from.rows.size()));
      for (const std::int64_t task : from.batch_tasks) {
        side.first_row.push_back(from.tasks[static_cast<std::size_t>(task)]);
      }
      BatchChunk whole;
      whole.n_rows = static_cast<std::int64_t>(from.rows.size());
      whole.n_entries = from.others.size();
      streamed += whole.bytes(sizeof(A), weighted_);
    }
    for (std::int64_t b = 0; b < batches_->n_batches; ++b) {
      max_users = std::max(max_users, rows_of(batch_users_, b));
      max_rows = std::max(max_rows, rows_of(batch_users_, b) + rows_of(batch_items_, b));
    }
    gradients_ = allocate<A>(max_rows * stride_);
    bias_gradients_ = allocate<A>(max_rows);
    row_weights_ = allocate<A>(max_rows);
    row_sums_ = allocate<double>(2 * max_users);
    if (streamed + (means_ ? means_->wanted_bytes() : 0) <= memory_->left()) {
      for (const bool of_users : {true, false}) {
        auto& from = of_users ? batches_->users : batches_->items;
        BatchSide& side = of_users ? batch_users_ : batch_items_;
        side.begin = uploaded(from.begin.data(), static_cast<std::int64_t>(from.begin.size()));
        side.others = uploaded(from.others.data(), from.others.size());
        side.values = uploaded(from.values.data(), from.values.size());
        side.weights = uploaded(from.weights.data(), from.weights.size());
      }
      wait();  // before the batches' arrays are freed
      const std::int64_t n_batches = batches_->n_batches;
      batches_.emplace();
      batches_->n_batches = n_batches;
      return;
    }
    batch_chunks_ = make_batch_chunks(*batches_, memory_->left() / 2);
    std::int64_t most = 0;
    for (const std::vector<BatchChunk>& chunks : batch_chunks_) {
      for (const BatchChunk& chunk : chunks) most = std::max(most, chunk.bytes(sizeof(A), weighted_));
    }
    allocate_slots(most);
    for (const auto* side : {&batches_->users, &batches_->items}) {
      pin(side->others.data(), side->others.size());
      pin(side->values.data(), side->values.size());
      pin(side->weights.data(), side->weights.size());
    }
    wait();
  }

  static std::int64_t rows_of(const BatchSide& side, std::int64_t batch) {
    return side.first_row[static_cast<std::size_t>(batch) + 1] - side.first_row[static_cast<std::size_t>(batch)];
  }

  void run_batches(std::int32_t epoch, const StepSizes<A>& sizes) {
    sums_.zero();
    for (const std::int32_t b : shuffled(batches_->n_batches, params_.seed, epoch)) {
      // All gradients are taken before any row moves.
      const BatchArgs<S, A> of_users = batch_args(true, b, sizes), of_items = batch_args(false, b, sizes);
      if (batch_chunks_.empty()) {
        run_rows(Kernel::batch_gradients, of_users);
        run_rows(Kernel::batch_gradients, of_items);
      } else {
        for (const BatchChunk& chunk : batch_chunks_[static_cast<std::size_t>(b)]) {
          BatchArgs<S, A> args = chunk.of_users ? of_users : of_items;
          const std::int64_t before =
              chunk.first_row - (chunk.of_users ? batch_users_ : batch_items_).first_row[static_cast<std::size_t>(b)];
          args.rows += before;
          args.n_rows = chunk.n_rows;
          args.gradients += before * stride_;
          args.bias_gradients += before;
          args.row_weights += before;
          args.row_sums += 2 * before;
          slots_.through([&](const DeviceBuffer<char>& slot) { copy_chunk(slot, chunk, args); },
                         [&] { run_rows(Kernel::batch_gradients, args); });
          poll();
        }
      }
      run_rows(Kernel::batch_steps, of_users);
      run_rows(Kernel::batch_steps, of_items);
      add_up(row_sums_.data(), of_users.n_rows, true);
      poll();
    }
  }

  /// Copies a chunk into a slot and points `args` to it.
  void copy_chunk(const DeviceBuffer<char>& slot, const BatchChunk& chunk, BatchArgs<S, A>& args) {
    const auto& from = chunk.of_users ? batches_->users : batches_->items;
    std::int64_t at = 0;
    const auto copy_array = [&]<class T>(const T*& array, const T* data, std::int64_t first, std::int64_t size) {
      const std::int64_t bytes = size * static_cast<std::int64_t>(sizeof(T));
      device_->upload(slot.data() + at, data + first, bytes, Stream::copy);
      array = reinterpret_cast<const T*>(slot.data() + at);
      at += Chunk::aligned_bytes(bytes);
    };
    copy_array(args.begin, from.begin.data(), chunk.first_row, chunk.n_rows + 1);
    copy_array(args.others, from.others.data(), chunk.first_entry, chunk.n_entries);
    copy_array(args.values, from.values.data(), chunk.first_entry, chunk.n_entries);
    if (weighted_) copy_array(args.weights, from.weights.data(), chunk.first_entry, chunk.n_entries);
    args.first_entry = chunk.first_entry;
  }

  BatchArgs<S, A> batch_args(bool of_users, std::int64_t batch, const StepSizes<A>& sizes) const {
    const BatchSide& side = of_users ? batch_users_ : batch_items_;
    const std::int64_t first = side.first_row[static_cast<std::size_t>(batch)],
                       first_gradient = of_users ? 0 : rows_of(batch_users_, batch);
    BatchArgs<S, A> args{};
    args.own = (of_users ? users_ : items_).view();
    args.other = (of_users ? items_ : users_).view();
    args.of_users = of_users;
    args.active_factors = active_factors_;
    args.width = device_stride<S>(active_factors_);
    args.stride = stride_;
    args.rows = side.rows.data() + first;
    args.begin = side.begin.data() + first;
    args.n_rows = rows_of(side, batch);
    args.others = side.others.data();
    args.values = side.values.data();
    args.weights = side.weights.data();
    args.gradients = gradients_.data() + first_gradient * stride_;
    args.bias_gradients = bias_gradients_.data() + first_gradient;
    args.row_weights = row_weights_.data() + first_gradient;
    args.row_sums = row_sums_.data();
    args.sizes = sizes;
    return args;
  }
  void run_rows(Kernel kernel, const BatchArgs<S, A>& args) {
    device_->launch(kernel, storage_of<S>(), active_tile_, tiles(kernel, args.n_rows), &args);
  }

  /// Adds up pairs into sums_; `more`: on top of what is there.
  void add_up(const double* pairs, std::int64_t n, bool more) {
    const SumArgs args{pairs, n, sums_.data(), more};
    device_->launch(Kernel::sum, storage_of<S>(), kWholeWarp, kSumWarps, &args);
  }
  MeanLoss mean_of_sums(double weight) {
    wait();
    std::array<double, 2 * kSumWarps> sums{};
    sums_.download(sums.data());
    MeanLoss mean{0, 0};
    for (std::size_t w = 0; w < kSumWarps; ++w) {
      mean.loss += sums[2 * w];
      mean.square += sums[2 * w + 1];
    }
    return {mean.loss / weight, mean.square / weight};
  }

  /// Waits until the device has done all work.
  void wait() {
    poll();
    while (!device_->idle(Stream::copy) || !device_->idle(Stream::compute)) {
      std::this_thread::sleep_for(std::chrono::microseconds(20));
      poll();
    }
  }
  /// Asks now and then whether training is interrupted.
  void poll() {
    if (!interrupted_ || Clock::now() - asked_ < std::chrono::milliseconds(50)) return;
    asked_ = Clock::now();
    if (interrupted_()) throw Interrupted();
  }

  using Clock = std::chrono::steady_clock;
  static constexpr std::int64_t kAlignments =
      2048;  // bytes by which a chunk may be longer than its arrays, because each is aligned

  std::unique_ptr<Accelerator> device_;  // first: it must outlive the buffers
  std::int32_t n_threads_;
  std::function<bool()> interrupted_;
  Clock::time_point asked_ = Clock::now();  ///< when `interrupted_` was called last
  TrainParams params_;
  Standardization z_;
  LossFunction<A> loss_ = nullptr;
  PenaltyFunction<A> penalty_ = nullptr;
  std::int32_t n_factors_ = 0;
  std::int64_t stride_ = 0;
  Tile tile_{};                      ///< of a whole row
  std::int32_t active_factors_ = 0;  ///< the factors that this epoch trains
  Tile active_tile_{};
  std::array<std::int64_t, kKernels> tiles_at_once_{};  ///< by kernel, for active_tile_; 0: not yet known
  double total_weight_ = 0;
  std::optional<DeviceMemory> memory_;
  std::optional<ThreadTeam> team_;
  std::optional<Staging> staging_;      ///< while something goes through it
  std::optional<DeviceRatings> given_;  ///< from take() until the plan is made
  Rows users_, items_, kept_users_, kept_items_;
  DeviceBuffer<double> sums_;  ///< kSumWarps pairs

  std::optional<PassPlan> plan_;  ///< for steps of one rating; without its arrays once they are resident
  bool weighted_ = false;
  std::vector<Chunk> chunks_;
  PlanBuffers whole_plan_;  ///< empty if it is streamed
  std::optional<PlanArrays> resident_;
  Slots slots_;                       ///< for chunks of the plan, of the batches or of the lists
  std::optional<FileUploads> files_;  ///< for what is in scratch files
  std::optional<DeviceMeans<S, A>> means_;
  DeviceBuffer<double> task_sums_;
  DeviceBuffer<std::uint32_t> next_tasks_;  ///< by chunk
  // If an epoch is one launch, else empty:
  DeviceBuffer<PassWave> waves_;              ///< in the order of an epoch
  DeviceBuffer<std::uint32_t> stripes_done_;  ///< see PassArgs::done
  std::vector<const void*> pinned_;

  std::optional<Batches<A>> batches_;  ///< for steps of many ratings; without its arrays once they are resident
  std::vector<std::vector<BatchChunk>> batch_chunks_;  ///< by batch; empty if the batches are resident
  BatchSide batch_users_, batch_items_;
  DeviceBuffer<A> gradients_, bias_gradients_, row_weights_;  ///< of a batch's users, then its items
  DeviceBuffer<double> row_sums_;                             ///< of its users

  DeviceBuffer<std::int32_t> valid_users_, valid_items_;
  DeviceBuffer<float> valid_values_, valid_weights_;
  DeviceBuffer<double> tile_sums_;
  double valid_weight_ = 0;
};

}  // namespace

template <class T>
std::unique_ptr<Backend<T>> make_device_backend(std::unique_ptr<Accelerator> accelerator, const TrainParams& params,
                                                std::function<bool()> interrupted) {
  if constexpr (std::is_same_v<T, float>) {
    if (params.half) {
      return std::make_unique<DeviceBackend<Half, float>>(std::move(accelerator), params.n_threads,
                                                          std::move(interrupted));
    }
  }
  return std::make_unique<DeviceBackend<T, T>>(std::move(accelerator), params.n_threads, std::move(interrupted));
}

template std::unique_ptr<Backend<float>> make_device_backend(std::unique_ptr<Accelerator>, const TrainParams&,
                                                             std::function<bool()>);
template std::unique_ptr<Backend<double>> make_device_backend(std::unique_ptr<Accelerator>, const TrainParams&,
                                                              std::function<bool()>);

namespace {

/// See plan_device_upload(), with the type that the factors are stored as.
template <class S, class A>
void plan_upload_as(MemoryPlan& plan, const RatingCounts& counts, const TrainParams& params, FitMemory& memory) {
  constexpr auto stored = static_cast<std::int64_t>(sizeof(S)), number = static_cast<std::int64_t>(sizeof(A));
  const std::int64_t stride = device_stride<S>(params.n_factors), n = counts.n_ratings,
                     weight = counts.weighted ? 4 : 0, n_lists = n + counts.n_implicit;
  const int n_threads = team_size(params.n_threads, n / ThreadTeam::kSlice);
  std::vector<MemoryPart>& device = memory.device;
  const Remembered remembered = remembered_by(step_rule(params));
  const std::int64_t states = (remembered.first ? 1 : 0) + (remembered.second ? 1 : 0),
                     per_row = (params.biases ? 1 + states : 0) + (remembered.row_numbers ? kTileRowNumbers : 0);
  const std::int64_t most =
      params.device_memory > 0 ? std::min(kSpreadBiases, params.device_memory / kSpreadBiasesPart) : kSpreadBiases;
  const bool of_users = has_means(params, true), of_items = has_means(params, false);
  // What the device does of what else the host does, as take(), lists() and plan() decide it.
  const Parallel parallel = params.parallel == Parallel::blocked ? Parallel::blocked : Parallel::hogwild;
  const PassPlanSizes sizes = pass_plan_sizes(counts, parallel);
  const std::int64_t losses = sizes.n_tasks * 2 * 8;
  std::int64_t planning = 0;
  bool lists = false;
  if (batch_size(params, n) == 0 && DeviceRatings::can_number(n) && counts.buffer_bytes == 0) {
    // The losses of the tasks are allocated after it.
    const std::int64_t most = planned_device_ratings(counts, parallel) - losses;
    const auto has_room = [&](std::int64_t bytes) {
      if (params.device_memory == 0) return true;
      TrainParams unlimited = params;
      unlimited.device_memory = 0;
      MemoryPlan host;
      FitMemory all;
      plan_upload_as<S, A>(host, counts, unlimited, all);
      return all.device_least() + bytes <= params.device_memory;
    };
    lists = (of_users || of_items) && counts.n_implicit == 0 && has_room(most + 2 * n_lists * 4);
    if (lists || has_room(most)) planning = most;
  }
  if (lists) {
    plan.take(kUserListsPart, lists_bytes(counts.n_users, 0));
    plan.take(kItemListsPart, lists_bytes(counts.n_items, 0));
  } else if (of_users || of_items) {
    plan_distinct_pairs(plan, counts);
  }
  // Pinned from take(), where the device takes the ratings, or from upload() on.
  const char* const pinned = "pinned buffers";
  plan.take(pinned, Staging::planned_bytes(std::max(std::max(counts.n_users, counts.n_items) * stride * stored,
                                                    DeviceRatings::given_bytes(n, counts.weighted))));
  std::int64_t factors = 0, numbers = 0;
  for (const bool users : {true, false}) {
    const std::int64_t rows = counts.rows(users), spread = rows * number_spacing<A>(per_row, rows, most) * number;
    factors += rows * stride * stored;
    numbers += spread;
    plan.touch("factors for the device", rows * number + spread);
  }
  device.push_back({"factors and biases", factors + numbers});
  device.push_back({"optimizer state", counts.all_rows() * states * stride * number});
  if (has_row_pulls(params)) {
    plan_row_pulls<A>(plan, std::max(counts.n_users, counts.n_items));
    device.push_back({"pulls of the rows", counts.all_rows() * static_cast<std::int64_t>(sizeof(RowPull<A>))});
  }
  if (of_users || of_items) {
    device.push_back({"prior means", counts.all_rows() * stride * number +
                                         DeviceMeans<S, A>::planned_bytes(counts, stride, of_users, of_items)});
  }
  if (counts.n_validation > 0) {
    plan.touch("validation ratings", counts.n_validation * 4);
    device.push_back({"validation ratings", counts.n_validation * (counts.validation_weighted ? 16 : 12)});
    if (params.patience > 0) device.push_back({"copy of the best epoch", factors + numbers});
  }
  std::int64_t ratings = 0;
  const std::int64_t size = batch_size(params, n);
  if (size > 0) {
    plan_batches<A>(plan, counts, size, n_threads);
    const BatchRowCounts rows = batch_rows(counts, size);
    device.push_back({"rows of the batches", (rows.users + rows.items) * 4});
    device.push_back({"gradients of a batch", rows.most * ((stride + 2) * number + 2 * 8)});
    ratings = (rows.users + rows.items) * 8 + 2 * n * (4 + number + weight);
  } else {
    if (planning > 0) {
      plan_plan_tables(plan, counts);
      plan.free("sorting");
    } else {
      plan_pass_plan(plan, counts, parallel, n_threads);
    }
    device.push_back({"losses of the tasks", losses});
    if (parallel == Parallel::blocked) device.push_back({"order of the tasks", sizes.n_waves * kBytesOfWave});
    ratings = n * (static_cast<std::int64_t>(sizeof(Entry)) + weight) + (2 * sizes.n_segments + sizes.n_tasks) * 4;
    if (counts.buffer_bytes > 0) plan.take(kUploadsPart, FileUploads::planned_bytes(ratings, counts.buffer_bytes));
  }
  device.push_back({"ratings", ratings});
  memory.device_streamed = ratings;
  std::int64_t later = ratings;
  if (of_users || of_items) {
    device.push_back({"who rated what", 2 * n_lists * 4});
    memory.device_streamed += 2 * n_lists * 4;
    if (!lists) later += 2 * n_lists * 4;
  }
  if (const std::int64_t sorting = planning - later; sorting > 0) {
    device.push_back({"sorting of the ratings", sorting});
    memory.device_streamed += sorting;
  }
  std::erase_if(device, [](const MemoryPart& part) { return part.bytes == 0; });
  plan.free(kUserListsPart);
  plan.free(kItemListsPart);
  plan.free(pinned);
  // On the device from now on, if it has room.
  plan.free("ratings for the device");
  plan.free("ratings in batches");
}

}  // namespace

template <class T>
void plan_device_upload(MemoryPlan& plan, const RatingCounts& counts, const TrainParams& params, FitMemory& memory) {
  if constexpr (std::is_same_v<T, float>) {
    if (params.half) return plan_upload_as<Half, float>(plan, counts, params, memory);
  }
  plan_upload_as<T, T>(plan, counts, params, memory);
}

template <class T>
void plan_device_download(MemoryPlan& plan, const RatingCounts& counts, const TrainParams& params) {
  const std::int64_t most = std::max(counts.n_users, counts.n_items),
                     stored = params.half ? 2 : static_cast<std::int64_t>(sizeof(T));
  plan.touch("factors from the device",
             Staging::planned_bytes(most * (params.n_factors + 16) * stored) + most * 4 * stored);
}

template void plan_device_upload<float>(MemoryPlan&, const RatingCounts&, const TrainParams&, FitMemory&);
template void plan_device_upload<double>(MemoryPlan&, const RatingCounts&, const TrainParams&, FitMemory&);
template void plan_device_download<float>(MemoryPlan&, const RatingCounts&, const TrainParams&);
template void plan_device_download<double>(MemoryPlan&, const RatingCounts&, const TrainParams&);

}  // namespace warpfactor
