// SPDX-License-Identifier: Apache-2.0
// CUB sorts and chooses; the rest is a kernel for each step, with a thread for each number.
#include "prepare_ratings.hpp"

#include <thrust/iterator/counting_iterator.h>

#include <algorithm>
#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_select.cuh>

#include "cuda_check.hpp"

namespace warpfactor {
namespace {

constexpr int kStepThreads = 256;                            // of a block; not measured
constexpr std::int64_t kMostBlocks = std::int64_t{1} << 16;  // beyond, a thread takes several numbers
constexpr unsigned kAllLanes = 0xffffffffu;

template <class Step>
__global__ void __launch_bounds__(kStepThreads) each_number(const __grid_constant__ Step step, std::int64_t n) {
  const std::int64_t threads = static_cast<std::int64_t>(gridDim.x) * kStepThreads;
  for (std::int64_t at = static_cast<std::int64_t>(blockIdx.x) * kStepThreads + threadIdx.x; at < n; at += threads) {
    step(at);
  }
}

/// Neighbouring ratings of one row, which files sorted by row are made of, are added at once.
__global__ void __launch_bounds__(kStepThreads) count_rows(const __grid_constant__ CountArgs args) {
  const std::int64_t threads = static_cast<std::int64_t>(gridDim.x) * kStepThreads;
  const unsigned lane = threadIdx.x % 32;
  // Whole warps go round together.
  for (std::int64_t at = static_cast<std::int64_t>(blockIdx.x) * kStepThreads + threadIdx.x; at - lane < args.n;
       at += threads) {
    const bool counts = at < args.n && (args.weights == nullptr || args.weights[at] > 0);
    const std::int32_t row = counts ? args.rows[at] : -1, before = __shfl_up_sync(kAllLanes, row, 1);
    const bool begins = lane == 0 || row != before;
    const unsigned all = __ballot_sync(kAllLanes, begins), after = lane == 31 ? 0 : all >> (lane + 1);
    if (begins && counts) {
      atomicAdd(args.counts + row, after != 0 ? static_cast<unsigned>(__ffs(static_cast<int>(after))) : 32 - lane);
    }
  }
}

unsigned blocks_of(std::int64_t n) {
  return static_cast<unsigned>(std::clamp<std::int64_t>((n + kStepThreads - 1) / kStepThreads, 1, kMostBlocks));
}

template <class Choice>
cudaError_t choose(const Choice& choice, const ChooseArgs& args, std::size_t& bytes, cudaStream_t stream) {
  return cub::DeviceSelect::If(args.temporary, bytes, thrust::counting_iterator<std::uint32_t>(0), args.to, args.count,
                               static_cast<int>(args.n), choice, stream);
}

}  // namespace

void cuda_count(const CountArgs& args, cudaStream_t stream) {
  if (args.n == 0) return;
  count_rows<<<blocks_of(args.n), kStepThreads, 0, stream>>>(args);
  cuda_check(cudaGetLastError(), "starting a kernel");
}

void cuda_prepare(const PrepareStep& step, std::int64_t n, cudaStream_t stream) {
  if (n == 0) return;
  std::visit([&](const auto& each) { each_number<<<blocks_of(n), kStepThreads, 0, stream>>>(each, n); }, step);
  cuda_check(cudaGetLastError(), "starting a kernel");
}

std::int64_t cuda_sorting_bytes(std::int64_t n) {
  cub::DoubleBuffer<std::uint64_t> keys;
  cub::DoubleBuffer<std::uint32_t> numbers;
  std::size_t sort = 0, segments = 0, tasks = 0;
  ChooseArgs args{};
  args.n = n;
  cuda_check(cub::DeviceRadixSort::SortPairs(nullptr, sort, keys, numbers, static_cast<int>(n)), "asking CUB");
  cuda_check(choose(SegmentBegins{}, args, segments, nullptr), "asking CUB");
  cuda_check(choose(TaskBegins{}, args, tasks, nullptr), "asking CUB");
  return static_cast<std::int64_t>(std::max({sort, segments, tasks}));
}

bool cuda_sort(const SortArgs& args, cudaStream_t stream) {
  cub::DoubleBuffer<std::uint64_t> keys(args.keys, args.other_keys);
  cub::DoubleBuffer<std::uint32_t> numbers(args.numbers, args.other_numbers);
  auto bytes = static_cast<std::size_t>(args.temporary_bytes);
  cuda_check(cub::DeviceRadixSort::SortPairs(args.temporary, bytes, keys, numbers, static_cast<int>(args.n), 0,
                                             args.bits, stream),
             "sorting the ratings");
  return keys.selector == 1;
}

void cuda_choose(const PrepareChoice& choice, const ChooseArgs& args, cudaStream_t stream) {
  auto bytes = static_cast<std::size_t>(args.temporary_bytes);
  std::visit([&](const auto& taken) { cuda_check(choose(taken, args, bytes, stream), "cutting the ratings"); }, choice);
}

}  // namespace warpfactor
