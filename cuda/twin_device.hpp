// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>

#include "accelerator.hpp"

namespace warpfactor {

/// What the twin device is like; for tests to change.
struct TwinLimits {
  std::int64_t tiles_at_once = 64;
  std::int64_t bytes = std::int64_t{1} << 40;  ///< allocations beyond these fail
};
inline TwinLimits twin_limits;
/// The most bytes that were taken at once since it was last set to 0.
inline std::int64_t twin_most_taken = 0;

/// A device that is the host: the kernels run over HostWarp, on the calling thread, and each call is done on return.
/// Tests see with it what the kernels and the backend do, not how fast. All warps of a pass go on in step: each reads
/// its rating's rows before any writes, which is as bad as races can be on a device with as many tiles.
class TwinDevice final : public Accelerator {
 public:
  explicit TwinDevice(const TwinLimits& limits)
      : tiles_at_once_(limits.tiles_at_once), bytes_(limits.bytes), free_(limits.bytes) {}

  void* allocate(std::int64_t bytes) override;
  void release(void* memory) noexcept override;
  std::int64_t free_bytes() override { return free_; }
  bool pin(const void*, std::int64_t) override { return true; }
  void unpin(const void*) noexcept override {}
  void upload(void* to, const void* from, std::int64_t bytes, Stream) override;
  void download(void* to, const void* from, std::int64_t bytes) override;
  void copy(void* to, const void* from, std::int64_t bytes, Stream) override;
  void zero(void* to, std::int64_t bytes, Stream) override;
  void mark(int, Stream) override {}
  void wait(int, Stream) override {}
  bool idle(Stream) override { return true; }
  std::int64_t tiles_at_once(Kernel, Storage, Tile) override { return tiles_at_once_; }
  void launch(Kernel kernel, Storage storage, Tile tile, std::int64_t n_tiles, const void* args) override;
  void replace(Kernel, std::uintptr_t) override {}  // what the caller compiled for a device is no code of the host's
  std::string architecture() const override { return "twin"; }

 private:
  const std::int64_t tiles_at_once_, bytes_;
  std::int64_t free_;
  std::map<void*, std::int64_t> sizes_;
};

/// BestArgs over host memory.
template <class A>
void twin_best(const BestArgs<A>& args);

}  // namespace warpfactor
