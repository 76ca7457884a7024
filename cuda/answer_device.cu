// SPDX-License-Identifier: Apache-2.0
// The kernels that answer, as functions that CUDA can launch.
#include "answer_device.hpp"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cfloat>

#include "answer_kernels.cuh"
#include "cuda_check.hpp"

namespace warpfactor {
namespace {

using rule::DeviceWarp;

// Threads of a block of the kernels that wait for memory alone; not measured.
constexpr int kAnswerThreads = 256;
constexpr int kSearchThreads = rule::kBlockWarps * rule::kWarp;
// Two blocks on a multiprocessor hide each other's waits, with up to 128 registers a thread.
constexpr int kSearchesAtOnce = 2;

__global__ void __launch_bounds__(kAnswerThreads) find_codes(const __grid_constant__ FindArgs args) {
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  for (std::int64_t at = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; at < args.n; at += step) {
    rule::find_code(args, at);
  }
}

template <class A>
__global__ void __launch_bounds__(kAnswerThreads) predict_pairs(const __grid_constant__ PredictArgs<A> args) {
  rule::predict_pairs(DeviceWarp(), args);
}

template <class A>
__global__ void __launch_bounds__(kAnswerThreads) unit_rows(const __grid_constant__ UnitRowsArgs<A> args) {
  rule::scale_rows(DeviceWarp(), args, sizeof(A) == sizeof(float) ? A(FLT_MIN) : A(DBL_MIN));
}

template <class A, rule::Moved kMoved>
__global__ void __launch_bounds__(kSearchThreads, kSearchesAtOnce)
    search_tiles(const __grid_constant__ SearchArgs<A> args) {
  extern __shared__ __align__(16) unsigned char shared[];
  using Block = rule::DeviceBlock<rule::SearchState<DeviceWarp, A>>;
  Block block;
  rule::TiledSearch<Block, A, kMoved>(args, *reinterpret_cast<rule::SearchShared<A>*>(shared), blockIdx.x).run(block);
}

template <class A>
__global__ void __launch_bounds__(kSearchThreads) search_listed(const __grid_constant__ SearchArgs<A> args) {
  __shared__ rule::LeftOut left_out[rule::kBlockWarps][2];
  const DeviceWarp warp;
  rule::ListedSearch<DeviceWarp, A> search(args, left_out[threadIdx.x / rule::kWarp]);
  for (std::int64_t query = warp.number(); query < args.n_queries; query += warp.count()) search.run(warp, query);
}

template <class A>
__global__ void __launch_bounds__(kAnswerThreads) finish_lists(const __grid_constant__ FinishArgs<A> args) {
  const DeviceWarp warp;
  for (std::int64_t query = warp.number(); query < args.n_queries; query += warp.count()) {
    rule::finish_list(warp, args, query);
  }
}

/// Blocks for n pieces of work, of which a block takes so many at a time, and goes on with more.
unsigned blocks_for(std::int64_t n, std::int64_t at_once) {
  return static_cast<unsigned>(std::clamp<std::int64_t>((n + at_once - 1) / at_once, 1, 1 << 20));
}

cudaStream_t stream_at(std::uintptr_t stream) { return reinterpret_cast<cudaStream_t>(stream); }

template <class A>
void predict(const PredictArgs<A>& args, std::uintptr_t stream) {
  if (args.n == 0) return;
  predict_pairs<A><<<blocks_for(args.n, kAnswerThreads / 8), kAnswerThreads, 0, stream_at(stream)>>>(args);
  cuda_check(cudaGetLastError(), "predicting pairs");
}

template <class A>
void scale(const UnitRowsArgs<A>& args, std::uintptr_t stream) {
  if (args.n == 0) return;
  unit_rows<A><<<blocks_for(args.n, kAnswerThreads / rule::kWarp), kAnswerThreads, 0, stream_at(stream)>>>(args);
  cuda_check(cudaGetLastError(), "scaling rows");
}

template <class A>
void search(const SearchArgs<A>& args, std::uintptr_t stream) {
  if (args.n_queries == 0) return;
  if (args.only.indptr != nullptr) {
    search_listed<A><<<blocks_for(args.n_queries, rule::kBlockWarps), kSearchThreads, 0, stream_at(stream)>>>(args);
  } else {
    constexpr int kBytes = sizeof(rule::SearchShared<A>);
    using rule::Moved;
    const auto kernel = args.times == A(0) ? search_tiles<A, Moved::not_at_all>
                        : args.drawn       ? search_tiles<A, Moved::by_draws>
                                           : search_tiles<A, Moved::by_bounds>;
    cuda_check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes),
               "asking for shared memory");
    const std::int64_t n_blocks = (args.n_queries + rule::kBlockQueries - 1) / rule::kBlockQueries * args.n_splits;
    if (n_blocks > 0x7fffffff) throw CudaError("too many lists for one search");
    kernel<<<static_cast<unsigned>(n_blocks), kSearchThreads, kBytes, stream_at(stream)>>>(args);
  }
  cuda_check(cudaGetLastError(), "searching for the best items");
}

template <class A>
void finish(const FinishArgs<A>& args, std::uintptr_t stream) {
  if (args.n_queries == 0) return;
  finish_lists<A>
      <<<blocks_for(args.n_queries, kAnswerThreads / rule::kWarp), kAnswerThreads, 0, stream_at(stream)>>>(args);
  cuda_check(cudaGetLastError(), "putting lists out");
}

}  // namespace

template <class A>
AnswerFunctions<A> device_answers() {
  return {predict<A>, scale<A>, search<A>, finish<A>};
}
template AnswerFunctions<float> device_answers<float>();
template AnswerFunctions<double> device_answers<double>();

void device_find_codes(const FindArgs& args, std::uintptr_t stream) {
  if (args.n == 0) return;
  find_codes<<<blocks_for(args.n, kAnswerThreads), kAnswerThreads, 0, stream_at(stream)>>>(args);
  cuda_check(cudaGetLastError(), "looking ids up");
}

}  // namespace warpfactor
