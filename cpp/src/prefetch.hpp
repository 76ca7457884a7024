// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace warpfactor {

/// Asks for the cache line at `address`, which need not be valid, ahead of its use.
inline void prefetch([[maybe_unused]] const void* address) {
#if defined(__GNUC__)
  __builtin_prefetch(address);
#endif
}

}  // namespace warpfactor
