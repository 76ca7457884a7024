// SPDX-License-Identifier: Apache-2.0
// Compiled into each program that links warpfactor::cuda, so that its linker takes the CUDA library in.
namespace warpfactor {
void link_cuda();
namespace {
[[maybe_unused]] const bool linked = (link_cuda(), true);
}
}  // namespace warpfactor
