// SPDX-License-Identifier: Apache-2.0
// The device's code as a library of its own, for the wheel warpfactor-cuda. It uses no Python, so that one wheel is for
// all of them; python/warpfactor/cuda_library.py loads it, compares the first two, and hands the third to the core.
#include "device/build_id.hpp"
#include "device/registry.hpp"
#include "warpfactor/version.hpp"

#if defined(_WIN32)
#define WARPFACTOR_SHOWN __declspec(dllexport)
#else
#define WARPFACTOR_SHOWN __attribute__((visibility("default")))
#endif

namespace warpfactor {
void link_cuda();
}

extern "C" {

WARPFACTOR_SHOWN const char* warpfactor_cuda_version() { return WARPFACTOR_VERSION; }
WARPFACTOR_SHOWN const char* warpfactor_cuda_build_id() { return warpfactor::kBuildId; }
/// A warpfactor::CudaLibrary, which is valid as long as this library is loaded.
WARPFACTOR_SHOWN const void* warpfactor_cuda_library() {
  warpfactor::link_cuda();
  return warpfactor::registered_cuda();
}

}  // extern "C"
