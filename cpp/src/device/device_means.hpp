// SPDX-License-Identifier: Apache-2.0
// Prior means from who rated what, on a device.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "buffer.hpp"
#include "device/device_memory.hpp"
#include "device/device_ratings.hpp"
#include "device/file_upload.hpp"
#include "device/sum_plan.hpp"
#include "device/tuning.hpp"
#include "incidence.hpp"
#include "memory_plan.hpp"
#include "threads.hpp"

namespace warpfactor {

inline constexpr Tile kWholeWarp{32, 1};

/// The steps of PriorMeans (cpu/prior_means.hpp), of one side's rows or of both sides'. The bits depend on the data
/// alone. The numbers are A whatever the factors are stored as: the steps get small.
///
/// What it keeps for each row is on the device from the start. The lists of who rated what are 4 bytes a rating and
/// side; if they do not fit beside the ratings they are streamed in each step, from memory or from the files that they
/// are in.
template <class S, class A>
class DeviceMeans {
 public:
  /// `stride`: device_stride of the factors. `lists`: those of the incidence if they are on the device; then it has
  /// only where they begin.
  DeviceMeans(Accelerator& device, DeviceMemory& memory, const Incidence& incidence, std::int64_t stride, bool of_users,
              bool of_items, double rho, double rho_bias, ThreadTeam& team, std::optional<ListsOnDevice> lists)
      : device_(device), stride_(stride), rho_(rho), rho_bias_(rho_bias), has_lists_(lists.has_value()) {
    std::int64_t n_partial = 0;
    for (const bool users : {true, false}) {
      const IncidentRows& rows = users ? incidence.users : incidence.items;
      Side& side = users ? users_ : items_;
      side.n_rows = rows.rows();
      side.plan = make_sum_plan(rows);
      const SumPlan& plan = side.plan;
      side.begin = memory.uploaded(plan.begin.data(), plan.n_parts() + 1);
      side.to = memory.uploaded(plan.to.data(), plan.n_parts());
      side.long_begin = memory.uploaded(plan.long_begin.data(), plan.n_long() + 1);
      side.long_rows = memory.uploaded(plan.long_rows.data(), plan.n_long());
      side.work = memory.allocate<A>(side.n_rows * row_size());
      side.slices = n_slices(side.n_rows, stride);
      side.sums = memory.allocate<double>(kMeansSums * 4 * quads(stride) * side.slices);
      n_partial = std::max(n_partial, plan.n_long_parts());
    }
    if (lists) {
      users_.others = std::move(lists->users);
      items_.others = std::move(lists->items);
    }
    partial_ = memory.allocate<A>(n_partial * row_size());
    along_ = memory.allocate<A>(2 * 4 * quads(stride));
    if (of_users) fit(users_, items_, memory, incidence.users, incidence.items, team);
    if (of_items) fit(items_, users_, memory, incidence.items, incidence.users, team);
  }

  /// What it takes of the device beside the lists; nothing is said of pairs that occur twice.
  static std::int64_t planned_bytes(const RatingCounts& counts, std::int64_t stride, bool of_users, bool of_items) {
    constexpr auto number = static_cast<std::int64_t>(sizeof(A)),
                   place = static_cast<std::int64_t>(sizeof(std::int64_t));
    const std::int64_t n = counts.n_ratings + counts.n_implicit, row = (stride + 4) * number;
    std::int64_t bytes = 2 * 4 * quads(stride) * number, most_long = 0;
    for (const bool users : {true, false}) {
      const std::int64_t rows = counts.rows(users), n_long = n / kPartOthers, n_parts = rows + n_long;
      bytes += n_parts * (place + 4) + n_long * (place + 4) + rows * row;
      bytes += kMeansSums * 4 * quads(stride) * n_slices(rows, stride) * static_cast<std::int64_t>(sizeof(double));
      most_long = std::max(most_long, n_long);
      if (users ? of_users : of_items) {
        bytes += rows * (row + number) + counts.rows(!users) * (2 * row + static_cast<std::int64_t>(sizeof(double)));
      }
    }
    return bytes + most_long * row;
  }

  /// The memory that there should be for the lists where the ratings are resident, in slots or for all.
  [[nodiscard]] std::int64_t wanted_bytes() const {
    if (has_lists_) return 0;
    const std::int64_t most = std::max(bytes_of(users_), bytes_of(items_));
    return std::min(bytes_of(users_) + bytes_of(items_), 2 * std::max(most / kListsPart, least_slot()));
  }
  /// The bytes of a slot, at least.
  [[nodiscard]] std::int64_t least_slot() const {
    if (has_lists_) return 0;
    return std::min(std::max(bytes_of(users_), bytes_of(items_)), kPartOthers * kOtherBytes);
  }

  /// Takes the lists where there is room for them. If not, they stay on the host and go through the slots, for which
  /// what is left is taken if they have no memory yet. `pin` is called with host memory to copy from, and its bytes;
  /// `files`: for lists in files, which are taken over.
  template <class Pin>
  void take_lists(Incidence& incidence, DeviceMemory& memory, Slots& slots, FileUploads* files, const Pin& pin) {
    if (has_lists_) {
      users_.plan = items_.plan = {{}, {}, {0}, {}};
      return;
    }
    const bool resident = bytes_of(users_) + bytes_of(items_) <= memory.left();
    files_ = files;
    if (!resident && slots.bytes() == 0) {
      slots.allocate(memory, std::min(std::max(bytes_of(users_), bytes_of(items_)), memory.left() / 2));
    }
    for (const bool users : {true, false}) {
      IncidentRows& rows = users ? incidence.users : incidence.items;
      const std::int32_t* const others = rows.others.data();
      Side& side = users ? users_ : items_;
      const std::int64_t size = side.plan.begin.back();
      if (resident && !rows.file.is_open()) {
        side.others = memory.uploaded(others, size);
        side.plan = {{}, {}, {0}, {}};
        continue;
      }
      side.file = std::move(rows.file);
      if (resident) {
        side.others = memory.allocate<std::int32_t>(size);
        files->upload(reinterpret_cast<char*>(side.others.data()), side.extents(0, size));
        side.file = {};
        side.plan = {{}, {}, {0}, {}};
        continue;
      }
      side.chunks = chunks_of(side.plan, slots.bytes() / kOtherBytes);
      if (side.file.is_open()) continue;
      side.kept = Buffer<std::int32_t>(size);
      std::copy_n(others, size, side.kept.data());
      pin(side.kept.data(), side.kept.size());
    }
  }

  /// What the steps remember: visit(name, buffer, rows, numbers from row to row), of the names of PriorMeans. A row has
  /// its factors first and its bias after the stride.
  template <class Visit>
  void visit_state(const Visit& visit) {
    const auto show = [&](const std::string& name, Side& side, const Side& other) {
      if (side.scale.size() == 0) return;
      visit(name + "coefficients", side.other_rows, other.n_rows, row_size());
      visit(name + "step", side.step, side.n_rows, row_size());
      visit(name + "coefficients_step", side.other_step, other.n_rows, row_size());
    };
    show("user_means_", users_, items_);
    show("item_means_", items_, users_);
  }

  /// A step of the users' or the items' means, whose rows are `own`: of the first `width` factors, and of the biases.
  /// `poll` is called now and then.
  void step(bool of_users, const TileRows<S, A>& own, std::int64_t width, Slots& slots,
            const std::function<void()>& poll) {
    Side &side = of_users ? users_ : items_, &other = of_users ? items_ : users_;
    if (side.scale.size() == 0) return;
    MeansArgs<S, A> args{};
    args.own = own;
    args.n_own = side.n_rows;
    args.n_other = other.n_rows;
    args.stride = stride_;
    args.quads = quads(width);
    args.own_work = side.work.data();
    args.own_step = side.step.data();
    args.other_rows = side.other_rows.data();
    args.other_work = other.work.data();
    args.other_step = side.other_step.data();
    args.scale = side.scale.data();
    args.diagonal = side.diagonal.data();
    args.rho = rho_;
    args.rho_bias = rho_bias_;
    args.own_slices = side.slices;
    args.other_slices = other.slices;
    args.own_sums = side.sums.data();
    args.other_sums = other.sums.data();
    args.along = along_.data();
    launch(Kernel::means_residual, args.n_own * args.quads, &args);
    sum_others(other, side.work, args.quads, slots, poll);
    launch(Kernel::means_gradient, args.other_slices * args.quads, &args);
    sum_others(side, other.work, args.quads, slots, poll);
    launch(Kernel::means_products, args.own_slices * args.quads, &args);
    launch(Kernel::means_solve, kWholeWarp.lanes * 4 * args.quads, &args);
    launch(Kernel::means_move, std::max(args.n_own, args.n_other) * args.quads, &args);
    poll();
  }

 private:
  static constexpr std::int64_t kOtherBytes = sizeof(std::int32_t);

  /// A side's rows, their lists, and what belongs to its own means, if it has some. Those are named as in MeansArgs.
  struct Side {
    std::int64_t n_rows = 0, slices = 1;
    SumPlan plan;  ///< empty once the lists are resident
    DeviceBuffer<std::int64_t> begin, long_begin;
    DeviceBuffer<std::int32_t> to, long_rows;
    /// Empty if they are streamed: then they are `kept`, or in the file, and go in `chunks`.
    DeviceBuffer<std::int32_t> others;
    Buffer<std::int32_t> kept;
    ScratchFile file;
    std::vector<std::int64_t> chunks;
    DeviceBuffer<A> work;
    DeviceBuffer<double> sums;
    DeviceBuffer<A> scale, step, other_rows, other_step;
    DeviceBuffer<double> diagonal;

    /// The others first .. first + size - 1 in the file.
    [[nodiscard]] std::vector<Extent> extents(std::int64_t first, std::int64_t size) const {
      if (size == 0) return {};
      return {{0, size * kOtherBytes, &file, first * kOtherBytes, nullptr}};
    }
    /// Those of a chunk; of none if there is no such.
    [[nodiscard]] std::vector<Extent> extents_of(std::size_t chunk) const {
      if (chunk + 1 >= chunks.size()) return {};
      const std::int64_t first = plan.begin[static_cast<std::size_t>(chunks[chunk])];
      return extents(first, plan.begin[static_cast<std::size_t>(chunks[chunk + 1])] - first);
    }
  };

  [[nodiscard]] std::int64_t row_size() const { return stride_ + 4; }
  static std::int64_t quads(std::int64_t width) { return width / 4 + 1; }
  static std::int64_t n_slices(std::int64_t n_rows, std::int64_t stride) {
    return std::clamp<std::int64_t>((n_rows + kSumSliceRows - 1) / kSumSliceRows, 1,
                                    std::max<std::int64_t>(kMostSliceQuads / quads(stride), 1));
  }
  static std::int64_t bytes_of(const Side& side) { return side.plan.begin.back() * kOtherBytes; }

  void fit(Side& side, const Side& other, DeviceMemory& memory, const IncidentRows& own_rows,
           const IncidentRows& other_rows, ThreadTeam& team) {
    side.step = memory.zeros<A>(side.n_rows * row_size());
    side.other_rows = memory.zeros<A>(other.n_rows * row_size());
    side.other_step = memory.zeros<A>(other.n_rows * row_size());
    std::vector<A> scale(static_cast<std::size_t>(side.n_rows), A(0));
    for (std::int64_t row = 0; row < side.n_rows; ++row) {
      const auto r = static_cast<std::size_t>(row);
      const std::int64_t count = own_rows.begin[r + 1] - own_rows.begin[r];
      if (count > 0) scale[r] = static_cast<A>(1 / std::sqrt(static_cast<double>(count)));
    }
    side.scale = memory.uploaded(scale.data(), side.n_rows);
    // Part by part, so that the bits do not depend on where the lists are.
    const SumPlan& plan = other.plan;
    std::vector<double> sums(static_cast<std::size_t>(plan.n_parts()));
    if (has_lists_) {
      DeviceBuffer<double> on_device = memory.allocate<double>(plan.n_parts());
      device_.prepare(SquaresStep<A>{other.others.data(), other.begin.data(), side.scale.data(), on_device.data()},
                      plan.n_parts());
      on_device.download(sums.data());
      memory.give_back(on_device);
    } else if (other_rows.file.is_open()) {
      sum_squares_from_file(other_rows, plan, scale, sums, team);
    } else {
      const SquaresStep<A> step{other_rows.others.data(), plan.begin.data(), scale.data(), sums.data()};
      team.run_slices(
          plan.n_parts(),
          [&](std::int64_t begin, std::int64_t end, int) {
            for (std::int64_t part = begin; part < end; ++part) step(part);
          },
          kConvertedRows);
    }
    std::vector<double> diagonal(static_cast<std::size_t>(other.n_rows), 0.0);
    std::size_t part = 0;
    for (std::size_t row = 0; row < diagonal.size(); ++row) {
      do {
        diagonal[row] += sums[part++];
      } while (plan.begin[part] < other_rows.begin[row + 1]);
    }
    side.diagonal = memory.uploaded(diagonal.data(), other.n_rows);
  }

  /// The sums of SquaresStep, of lists in a file.
  static void sum_squares_from_file(const IncidentRows& rows, const SumPlan& plan, const std::vector<A>& scale,
                                    std::vector<double>& sums, ThreadTeam& team) {
    struct Read {
      std::vector<std::int32_t> others;
      std::vector<std::int64_t> begin;
    };
    std::vector<Read> reads(static_cast<std::size_t>(team.size()));
    const auto sum = [&](std::int64_t first, std::int64_t end, int thread) {
      if (team.poll(thread)) return;
      auto& [others, begin] = reads[static_cast<std::size_t>(thread)];
      begin.assign(plan.begin.begin() + first, plan.begin.begin() + end + 1);
      const std::int64_t offset = begin.front();
      for (std::int64_t& each : begin) each -= offset;
      others.resize(static_cast<std::size_t>(begin.back()));
      rows.file.read(offset * kOtherBytes, others.data(), begin.back() * kOtherBytes);
      const SquaresStep<A> step{others.data(), begin.data(), scale.data(), sums.data() + first};
      for (std::int64_t part = 0; part < end - first; ++part) step(part);
    };
    team.run_slices(plan.n_parts(), sum, kListParts);
  }

  /// Of each of the side's rows the sum of its others' work, into its work.
  void sum_others(Side& side, const DeviceBuffer<A>& from, std::int64_t quads, Slots& slots,
                  const std::function<void()>& poll) {
    SumRowsArgs<A> args{};
    args.rows = from.data();
    args.others = side.others.data();
    args.begin = side.begin.data();
    args.to = side.to.data();
    args.n_parts = side.to.size();
    args.stride = stride_;
    args.quads = quads;
    args.out = side.work.data();
    args.partial = partial_.data();
    if (side.chunks.empty()) {
      launch(Kernel::sum_rows, args.n_parts * quads, &args);
    } else {
      for (std::size_t n = 0; n + 1 < side.chunks.size(); ++n) {
        SumRowsArgs<A> some = args;
        const std::int64_t first = side.chunks[n], end = side.chunks[n + 1];
        some.first_other = side.plan.begin[static_cast<std::size_t>(first)];
        const std::int64_t size = side.plan.begin[static_cast<std::size_t>(end)] - some.first_other;
        some.begin += first;
        some.to += first;
        some.n_parts = end - first;
        slots.through(
            [&](const DeviceBuffer<char>& slot) {
              some.others = reinterpret_cast<const std::int32_t*>(slot.data());
              if (side.file.is_open()) {
                files_->upload(slot.data(), side.extents_of(n), side.extents_of(n + 1));
              } else if (size > 0) {
                device_.upload(slot.data(), side.kept.data() + some.first_other, size * kOtherBytes, Stream::copy);
              }
            },
            [&] { launch(Kernel::sum_rows, some.n_parts * quads, &some); });
        poll();
      }
    }
    if (side.long_rows.size() == 0) return;
    args.rows = partial_.data();
    args.others = nullptr;
    args.begin = side.long_begin.data();
    args.to = side.long_rows.data();
    args.n_parts = side.long_rows.size();
    launch(Kernel::sum_rows, args.n_parts * quads, &args);
  }

  /// With so many lanes that have work, or as many as run at once.
  void launch(Kernel kernel, std::int64_t lanes, const void* args) {
    constexpr std::int64_t kWarps = kThreads / kWholeWarp.lanes;
    const std::int64_t wanted = (lanes + kWholeWarp.lanes - 1) / kWholeWarp.lanes,
                       most = std::max(kWarps, device_.tiles_at_once(kernel, storage_of<S>(), kWholeWarp));
    const std::int64_t warps = (std::clamp<std::int64_t>(wanted, 1, most) + kWarps - 1) / kWarps * kWarps;
    device_.launch(kernel, storage_of<S>(), kWholeWarp, warps, args);
  }

  Accelerator& device_;
  FileUploads* files_ = nullptr;
  const std::int64_t stride_;
  const double rho_, rho_bias_;
  const bool has_lists_;  ///< on the device from the start; the host has none
  Side users_, items_;
  DeviceBuffer<A> partial_, along_;
};

}  // namespace warpfactor
