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

// Few thread blocks at once would leave the memory idle. Up to two quads, a kernel may use the registers of one of
// seven thread blocks. H200, k = 128, half storage: 68 registers, occupancy 42 %; other limits are not measured.
template <class S, class A, int kLanes, int kQuads, bool kGeneral>
__global__ void __launch_bounds__(kThreads, kGeneral || kQuads > 2 || sizeof(S) == 8 ? 1 : 7)
    pass(const __grid_constant__ PassArgs<S, A> args) {
  rule::SgdPass<rule::DeviceWarp, S, A, kLanes, kQuads, kGeneral> work(rule::DeviceWarp(), args);
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

}  // namespace global

#if !defined(__CUDACC_RTC__)

/// A kernel as cudaLaunchKernel takes it; nullptr if it is not built.
template <class S, class A>
const void* global_kernel(Kernel kernel, Tile tile);

#define WARPFACTOR_GLOBAL_KERNEL(n_lanes, n_quads)                                                                  \
  if (tile.lanes == n_lanes && tile.quads == n_quads) {                                                             \
    switch (kernel) {                                                                                               \
      case Kernel::pass: return reinterpret_cast<const void*>(&global::pass<S, A, n_lanes, n_quads, false>);        \
      case Kernel::general_pass: return reinterpret_cast<const void*>(&global::pass<S, A, n_lanes, n_quads, true>); \
      case Kernel::batch_gradients:                                                                                 \
        return reinterpret_cast<const void*>(&global::batch_gradients<S, A, n_lanes, n_quads>);                     \
      case Kernel::batch_steps: return reinterpret_cast<const void*>(&global::batch_steps<S, A, n_lanes, n_quads>); \
      case Kernel::evaluate: return reinterpret_cast<const void*>(&global::evaluate<S, A, n_lanes, n_quads>);       \
      case Kernel::sum: break;                                                                                      \
    }                                                                                                               \
  }
/// `TILES` is WARPFACTOR_TILES, or that of half storage.
#define WARPFACTOR_DEFINE_GLOBAL_KERNELS(Storage, Arithmetic, TILES) \
  template <class S, class A>                                        \
  const void* global_kernel(Kernel kernel, Tile tile) {              \
    TILES(WARPFACTOR_GLOBAL_KERNEL)                                  \
    return nullptr;                                                  \
  }                                                                  \
  template const void* global_kernel<Storage, Arithmetic>(Kernel, Tile);

#endif  // !__CUDACC_RTC__

}  // namespace warpfactor
