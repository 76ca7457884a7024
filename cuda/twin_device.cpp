// SPDX-License-Identifier: Apache-2.0
#include "twin_device.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <new>
#include <numeric>
#include <stdexcept>
#include <utility>
#include <vector>

#include "kernels.cuh"
#include "warpfactor/types.hpp"

namespace warpfactor {
namespace {

using rule::HostWarp;
using rule::kWarp;

constexpr std::align_val_t kAlignment{256};

template <class S, class A, int kLanes, int kQuads, PassKind kKind>
void run_pass(const PassArgs<S, A>& args, std::int64_t n_warps) {
  using Pass = rule::SgdPass<HostWarp, S, A, kLanes, kQuads, kKind>;
  std::vector<std::unique_ptr<Pass>> at_work;
  for (std::int64_t w = 0; w < n_warps; ++w) at_work.push_back(std::make_unique<Pass>(HostWarp(w, n_warps), args));
  while (!at_work.empty()) {
    std::erase_if(at_work, [](const std::unique_ptr<Pass>& pass) { return !pass->fetch(); });
    for (const std::unique_ptr<Pass>& pass : at_work) pass->update();
  }
}

template <class Work, class Args>
void run_warps(const Args& args, std::int64_t n_warps) {
  for (std::int64_t w = 0; w < n_warps; ++w) Work(HostWarp(w, n_warps), args).run();
}

template <class S, class A, int kLanes, int kQuads>
void run_tile(Kernel kernel, std::int64_t n_tiles, const void* args) {
  constexpr std::int64_t kTiles = kWarp / kLanes;
  const std::int64_t n_warps = (n_tiles + kTiles - 1) / kTiles;
  const auto& pass = *static_cast<const PassArgs<S, A>*>(args);
  const auto& batch = *static_cast<const BatchArgs<S, A>*>(args);
  const auto& evaluated = *static_cast<const EvaluateArgs<S, A>*>(args);
  switch (kernel) {
    case Kernel::pass: return run_pass<S, A, kLanes, kQuads, PassKind::plain>(pass, n_warps);
    case Kernel::pulled_pass: return run_pass<S, A, kLanes, kQuads, PassKind::pulled>(pass, n_warps);
    case Kernel::general_pass: return run_pass<S, A, kLanes, kQuads, PassKind::general>(pass, n_warps);
    case Kernel::momentum_pass: return run_pass<S, A, kLanes, kQuads, PassKind::momentum>(pass, n_warps);
    case Kernel::adagrad_row_pass: return run_pass<S, A, kLanes, kQuads, PassKind::adagrad_row>(pass, n_warps);
    case Kernel::adagrad_element_pass: return run_pass<S, A, kLanes, kQuads, PassKind::adagrad_element>(pass, n_warps);
    case Kernel::adam_pass: return run_pass<S, A, kLanes, kQuads, PassKind::adam>(pass, n_warps);
    case Kernel::batch_gradients:
      return run_warps<rule::BatchGradients<HostWarp, S, A, kLanes, kQuads>>(batch, n_warps);
    case Kernel::batch_steps: return run_warps<rule::BatchSteps<HostWarp, S, A, kLanes, kQuads>>(batch, n_warps);
    case Kernel::evaluate: return run_warps<rule::Evaluate<HostWarp, S, A, kLanes, kQuads>>(evaluated, n_warps);
    default: break;  // done by warps
  }
}

/// The kernels of a step of prior means.
template <class S, class A>
void run_means(Kernel kernel, std::int64_t n_warps, const MeansArgs<S, A>& args) {
  for (std::int64_t w = 0; w < n_warps; ++w) {
    rule::MeansStep<HostWarp, S, A> step(HostWarp(w, n_warps), args);
    switch (kernel) {
      case Kernel::means_residual: step.residual(); break;
      case Kernel::means_gradient: step.gradient(); break;
      case Kernel::means_products: step.products(); break;
      case Kernel::means_solve: step.solve(); break;
      case Kernel::means_move: step.move(); break;
      default: break;
    }
  }
}

template <class S, class A>
void run(Kernel kernel, Tile tile, std::int64_t n_tiles, const void* args) {
#define WARPFACTOR_RUN_TILE(n_lanes, n_quads)                       \
  if (tile.lanes == n_lanes && tile.quads == n_quads) {             \
    return run_tile<S, A, n_lanes, n_quads>(kernel, n_tiles, args); \
  }
  if constexpr (sizeof(S) == sizeof(Half)) {
    WARPFACTOR_HALF_TILES(WARPFACTOR_RUN_TILE)
  } else {
    WARPFACTOR_TILES(WARPFACTOR_RUN_TILE)
  }
#undef WARPFACTOR_RUN_TILE
}

void require_sorting_bytes(std::int64_t n, std::int64_t bytes) {
  if (bytes < sorting_bytes_of(n)) throw std::logic_error("too little temporary memory to sort");
}

}  // namespace

void* TwinDevice::allocate(std::int64_t bytes) {
  if (bytes > free_) {
    throw CudaError("out of memory on the device: " + std::to_string(bytes) + " bytes asked, " + std::to_string(free_) +
                    " free");
  }
  struct Free {
    void operator()(void* memory) const noexcept { ::operator delete(memory, kAlignment); }
  };
  std::unique_ptr<void, Free> held(::operator new(static_cast<std::size_t>(bytes), kAlignment));
  void* const memory = held.get();
  sizes_[memory] = bytes;
  held.release();
  std::memset(memory, 0xff, static_cast<std::size_t>(bytes));  // so that a read of memory never written shows
  free_ -= bytes;
  twin_most_taken = std::max(twin_most_taken, bytes_ - free_);
  return memory;
}

void TwinDevice::release(void* memory) noexcept {
  run_all(Stream::copy);
  run_all(Stream::compute);
  free_ += sizes_[memory];
  sizes_.erase(memory);
  ::operator delete(memory, kAlignment);
}

bool TwinDevice::pin(const void* memory, std::int64_t bytes) {
  pinned_[static_cast<const char*>(memory)] = bytes;
  return true;
}
void TwinDevice::unpin(const void* memory) noexcept {
  run_all(Stream::copy);
  run_all(Stream::compute);
  pinned_.erase(static_cast<const char*>(memory));
}

void TwinDevice::submit(Stream stream, Work work) {
  queue(stream).push_back(std::move(work));
  if (late_ != stream) run_all(stream);
}
void TwinDevice::run_one(Stream stream) {
  const Work work = std::move(queue(stream).front());
  queue(stream).pop_front();
  work();
}
void TwinDevice::run_all(Stream stream) {
  while (!queue(stream).empty()) run_one(stream);
}

void TwinDevice::upload(void* to, const void* from, std::int64_t bytes, Stream stream) {
  const auto* const source = static_cast<const char*>(from);
  auto pinned = pinned_.upper_bound(source);
  const bool in_place = pinned != pinned_.begin() && source < (--pinned)->first + pinned->second;
  if (in_place) {
    submit(stream, [=] { std::memcpy(to, source, static_cast<std::size_t>(bytes)); });
  } else {
    submit(stream,
           [to, kept = std::vector<char>(source, source + bytes)] { std::memcpy(to, kept.data(), kept.size()); });
  }
}
void TwinDevice::download(void* to, const void* from, std::int64_t bytes) {
  run_all(Stream::compute);
  std::memcpy(to, from, static_cast<std::size_t>(bytes));
}
void TwinDevice::copy(void* to, const void* from, std::int64_t bytes, Stream stream) {
  submit(stream, [=] { std::memcpy(to, from, static_cast<std::size_t>(bytes)); });
}
void TwinDevice::zero(void* to, std::int64_t bytes, Stream stream) {
  submit(stream, [=] { std::memset(to, 0, static_cast<std::size_t>(bytes)); });
}

void TwinDevice::mark(int number, Stream stream) {
  const std::int64_t mark = marks_[static_cast<std::size_t>(number)] = ++last_mark_;
  marked_[static_cast<std::size_t>(number)] = stream;
  submit(stream, [this, mark] { reached_.insert(mark); });
}
void TwinDevice::wait(int number, Stream stream) {
  const std::int64_t mark = marks_[static_cast<std::size_t>(number)];
  if (mark == 0) return;
  const Stream other = stream == Stream::compute ? Stream::copy : Stream::compute;
  submit(stream, [this, mark, other] {
    while (!reached_.contains(mark)) run_one(other);
  });
}
bool TwinDevice::reached(int number) {
  const std::int64_t mark = marks_[static_cast<std::size_t>(number)];
  while (mark != 0 && !reached_.contains(mark)) run_one(marked_[static_cast<std::size_t>(number)]);
  return true;
}
bool TwinDevice::idle(Stream stream) {
  run_all(stream);
  return true;
}

void TwinDevice::launch(Kernel kernel, Storage storage, Tile tile, std::int64_t n_tiles, const void* args) {
  if (n_tiles < 1 || n_tiles * tile.lanes % kThreads != 0) throw std::logic_error("tiles make no whole CUDA blocks");
  const auto with = [&]<class Args>(const Args& given, auto start) {
    submit(Stream::compute, [=, kept = given] { start(&kept); });
  };
  const auto of = [&]<class S, class A>(S, A) {
    const auto start = [=](const void* kept) { run<S, A>(kernel, tile, n_tiles, kept); };
    switch (kernel) {
      case Kernel::pass:
      case Kernel::pulled_pass:
      case Kernel::general_pass:
      case Kernel::momentum_pass:
      case Kernel::adagrad_row_pass:
      case Kernel::adagrad_element_pass:
      case Kernel::adam_pass: return with(*static_cast<const PassArgs<S, A>*>(args), start);
      case Kernel::batch_gradients:
      case Kernel::batch_steps: return with(*static_cast<const BatchArgs<S, A>*>(args), start);
      case Kernel::evaluate: return with(*static_cast<const EvaluateArgs<S, A>*>(args), start);
      case Kernel::sum:
        return with(*static_cast<const SumArgs*>(args), [n_tiles](const SumArgs* kept) {
          for (std::int64_t w = 0; w < n_tiles; ++w) rule::sum_pairs(HostWarp(w, n_tiles), *kept);
        });
      case Kernel::sum_rows:
        return with(*static_cast<const SumRowsArgs<A>*>(args),
                    [n_tiles](const SumRowsArgs<A>* kept) { run_warps<rule::SumRows<HostWarp, A>>(*kept, n_tiles); });
      case Kernel::means_residual:
      case Kernel::means_gradient:
      case Kernel::means_products:
      case Kernel::means_solve:
      case Kernel::means_move:
        return with(*static_cast<const MeansArgs<S, A>*>(args),
                    [kernel, n_tiles](const MeansArgs<S, A>* kept) { run_means<S, A>(kernel, n_tiles, *kept); });
    }
  };
  switch (storage) {
    case Storage::f16: return of(Half{}, 0.0f);
    case Storage::f32: return of(0.0f, 0.0f);
    case Storage::f64: return of(0.0, 0.0);
  }
}

void TwinDevice::count(const CountArgs& args) {
  submit(Stream::compute, [args] {
    for (std::int64_t r = 0; r < args.n; ++r) {
      if (args.weights == nullptr || args.weights[r] > 0) ++args.counts[args.rows[r]];
    }
  });
}
void TwinDevice::prepare(const PrepareStep& step, std::int64_t n) {
  submit(Stream::compute, [step, n] {
    std::visit(
        [n](const auto& each) {
          for (std::int64_t number = 0; number < n; ++number) each(number);
        },
        step);
  });
}

/// By one byte after the other, as CUB does it.
bool TwinDevice::sort(const SortArgs& args) {
  require_sorting_bytes(args.n, args.temporary_bytes);
  const int passes = (args.bits + 7) / 8;
  submit(Stream::compute, [args, passes] {
    const std::uint64_t* from = args.keys;
    const std::uint32_t* numbers = args.numbers;
    std::uint64_t* to = args.other_keys;
    std::uint32_t* to_numbers = args.other_numbers;
    for (int pass = 0; pass < passes; ++pass) {
      const int bits = std::min(8, args.bits - 8 * pass);
      const auto digit = [&](std::int64_t at) {
        return static_cast<std::size_t>(from[at] >> 8 * pass & ((std::uint64_t{1} << bits) - 1));
      };
      std::array<std::int64_t, 257> next{};
      for (std::int64_t at = 0; at < args.n; ++at) ++next[digit(at) + 1];
      std::partial_sum(next.begin(), next.end(), next.begin());
      for (std::int64_t at = 0; at < args.n; ++at) {
        const std::int64_t place = next[digit(at)]++;
        to[place] = from[at];
        to_numbers[place] = numbers[at];
      }
      from = std::exchange(to, const_cast<std::uint64_t*>(from));
      numbers = std::exchange(to_numbers, const_cast<std::uint32_t*>(numbers));
    }
  });
  return passes % 2 == 1;
}
void TwinDevice::choose(const PrepareChoice& choice, const ChooseArgs& args) {
  require_sorting_bytes(args.n, args.temporary_bytes);
  submit(Stream::compute, [choice, args] {
    std::visit(
        [&args](const auto& taken) {
          std::uint32_t count = 0;
          for (std::uint32_t number = 0; number < args.n; ++number) {
            if (taken(number)) args.to[count++] = number;
          }
          *args.count = count;
        },
        choice);
  });
}

template <class A>
void twin_best(const BestArgs<A>& args) {
  const HostWarp warp(0, 1);
  for (std::int64_t row = 0; row < args.n_rows; ++row) {
    if (args.n <= kWarp) {
      rule::best_of_row<HostWarp, A, 1>(warp, args, row);
    } else if (args.n <= 4 * kWarp) {
      rule::best_of_row<HostWarp, A, 4>(warp, args, row);
    } else {
      rule::best_of_row<HostWarp, A, 32>(warp, args, row);
    }
  }
}

template void twin_best<float>(const BestArgs<float>&);
template void twin_best<double>(const BestArgs<double>&);

}  // namespace warpfactor
