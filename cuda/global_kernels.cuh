// SPDX-License-Identifier: Apache-2.0
// The kernels as functions that CUDA can launch. One .cu file for each storage instantiates global_kernel(), so that
// they compile side by side. Kernels with a custom loss or penalty are compiled at run time, one by one.
#pragma once

#if !defined(__CUDACC_RTC__)
#include "device/accelerator.hpp"
#endif
#include "kernels.cuh"

namespace warpfactor {

namespace global {

// Few thread blocks at once would leave the memory idle. A kernel may use the registers of one of so many as spill
// nothing: benchmarks/device_code.py shows both, and how many ratings are then at work. Not measured on a device;
// before a tile read a row ahead, with seven blocks of 68 registers and k = 128 in half storage, an H200 was 42 %
// occupied.
constexpr int blocks_at_once(PassKind kind, int quads, bool in_double) {
  return quads > 2 || in_double    ? 1
         : kind == PassKind::plain ? (quads == 1 ? 7 : 6)
         : kind == PassKind::adam  ? (quads == 1 ? 4 : 3)
                                   : (quads == 1 ? 5 : 4);
}
template <class S, class A, int kLanes, int kQuads, PassKind kKind>
__global__ void __launch_bounds__(kThreads, blocks_at_once(kKind, kQuads, sizeof(S) == 8))
    pass(const __grid_constant__ PassArgs<S, A> args) {
  rule::SgdPass<rule::DeviceWarp, S, A, kLanes, kQuads, kKind> work(rule::DeviceWarp(), args);
  while (work.fetch()) work.update();
}
template <class S, class A, int kLanes, int kQuads>
__global__ void __launch_bounds__(kThreads) batch_gradients(const __grid_constant__ BatchArgs<S, A> args) {
  rule::BatchGradients<rule::DeviceWarp, S, A, kLanes, kQuads>(rule::DeviceWarp(), args).run();
}
template <class S, class A, int kLanes, int kQuads>
__global__ void __launch_bounds__(kThreads) batch_steps(const __grid_constant__ BatchArgs<S, A> args) {
  rule::BatchSteps<rule::DeviceWarp, S, A, kLanes, kQuads>(rule::DeviceWarp(), args).run();
}
template <class S, class A, int kLanes, int kQuads>
__global__ void __launch_bounds__(kThreads) evaluate(const __grid_constant__ EvaluateArgs<S, A> args) {
  rule::Evaluate<rule::DeviceWarp, S, A, kLanes, kQuads>(rule::DeviceWarp(), args).run();
}
template <class S, class A>
__global__ void __launch_bounds__(kThreads) sum_rows(const __grid_constant__ SumRowsArgs<A> args) {
  rule::SumRows<rule::DeviceWarp, A>(rule::DeviceWarp(), args).run();
}
template <class S, class A>
__global__ void __launch_bounds__(kThreads) means_residual(const __grid_constant__ MeansArgs<S, A> args) {
  rule::MeansStep<rule::DeviceWarp, S, A>(rule::DeviceWarp(), args).residual();
}
template <class S, class A>
__global__ void __launch_bounds__(kThreads) means_gradient(const __grid_constant__ MeansArgs<S, A> args) {
  rule::MeansStep<rule::DeviceWarp, S, A>(rule::DeviceWarp(), args).gradient();
}
template <class S, class A>
__global__ void __launch_bounds__(kThreads) means_products(const __grid_constant__ MeansArgs<S, A> args) {
  rule::MeansStep<rule::DeviceWarp, S, A>(rule::DeviceWarp(), args).products();
}
template <class S, class A>
__global__ void __launch_bounds__(kThreads) means_solve(const __grid_constant__ MeansArgs<S, A> args) {
  rule::MeansStep<rule::DeviceWarp, S, A>(rule::DeviceWarp(), args).solve();
}
template <class S, class A>
__global__ void __launch_bounds__(kThreads) means_move(const __grid_constant__ MeansArgs<S, A> args) {
  rule::MeansStep<rule::DeviceWarp, S, A>(rule::DeviceWarp(), args).move();
}

}  // namespace global

#if !defined(__CUDACC_RTC__)

/// A kernel as cudaLaunchKernel takes it; nullptr if it is not built.
template <class S, class A>
const void* global_kernel(Kernel kernel, Tile tile);

template <class S, class A, int kLanes, int kQuads>
const void* global_tile_kernel(Kernel kernel) {
  const auto address = [](auto* function) { return reinterpret_cast<const void*>(function); };
  switch (kernel) {
    case Kernel::pass: return address(&global::pass<S, A, kLanes, kQuads, PassKind::plain>);
    case Kernel::pulled_pass: return address(&global::pass<S, A, kLanes, kQuads, PassKind::pulled>);
    case Kernel::general_pass: return address(&global::pass<S, A, kLanes, kQuads, PassKind::general>);
    case Kernel::momentum_pass: return address(&global::pass<S, A, kLanes, kQuads, PassKind::momentum>);
    case Kernel::adagrad_row_pass: return address(&global::pass<S, A, kLanes, kQuads, PassKind::adagrad_row>);
    case Kernel::adagrad_element_pass: return address(&global::pass<S, A, kLanes, kQuads, PassKind::adagrad_element>);
    case Kernel::adam_pass: return address(&global::pass<S, A, kLanes, kQuads, PassKind::adam>);
    case Kernel::batch_gradients: return address(&global::batch_gradients<S, A, kLanes, kQuads>);
    case Kernel::batch_steps: return address(&global::batch_steps<S, A, kLanes, kQuads>);
    case Kernel::evaluate: return address(&global::evaluate<S, A, kLanes, kQuads>);
    default: return nullptr;
  }
}
/// Of those that warps do, whatever the rank.
template <class S, class A>
const void* global_warp_kernel(Kernel kernel) {
  switch (kernel) {
    case Kernel::sum_rows: return reinterpret_cast<const void*>(&global::sum_rows<S, A>);
    case Kernel::means_residual: return reinterpret_cast<const void*>(&global::means_residual<S, A>);
    case Kernel::means_gradient: return reinterpret_cast<const void*>(&global::means_gradient<S, A>);
    case Kernel::means_products: return reinterpret_cast<const void*>(&global::means_products<S, A>);
    case Kernel::means_solve: return reinterpret_cast<const void*>(&global::means_solve<S, A>);
    case Kernel::means_move: return reinterpret_cast<const void*>(&global::means_move<S, A>);
    default: return nullptr;
  }
}

#define WARPFACTOR_GLOBAL_KERNEL(n_lanes, n_quads)             \
  if (tile.lanes == n_lanes && tile.quads == n_quads) {        \
    return global_tile_kernel<S, A, n_lanes, n_quads>(kernel); \
  }
/// `TILES` is WARPFACTOR_TILES, or that of half storage.
#define WARPFACTOR_DEFINE_GLOBAL_KERNELS(Storage, Arithmetic, TILES)                          \
  template <class S, class A>                                                                 \
  const void* global_kernel(Kernel kernel, Tile tile) {                                       \
    if (const void* found = global_warp_kernel<S, A>(kernel); found != nullptr) return found; \
    TILES(WARPFACTOR_GLOBAL_KERNEL)                                                           \
    return nullptr;                                                                           \
  }                                                                                           \
  template const void* global_kernel<Storage, Arithmetic>(Kernel, Tile);

#endif  // !__CUDACC_RTC__

}  // namespace warpfactor
