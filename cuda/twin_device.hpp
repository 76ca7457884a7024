// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>

#include "device/accelerator.hpp"

namespace warpfactor {

/// The twin's properties, which tests change.
struct TwinLimits {
  std::int64_t tiles_at_once = 64;
  std::int64_t bytes = std::int64_t{1} << 40;  ///< allocations beyond these fail
  std::optional<Stream> late{};                ///< the stream whose work is delayed until something waits for it
};
inline TwinLimits twin_limits;
/// The most bytes allocated at a time since a test set it to 0.
inline std::int64_t twin_most_taken = 0;

/// The host in a device's place, for tests of what kernels and backend do, not of speed. Kernels run over HostWarp on
/// the calling thread. Work is done on return; on a late stream only when something waits for it, so that a missing
/// wait shows. All warps of a pass go in step and read their rows before any of them writes: as bad as races can be on
/// a device with as many tiles.
class TwinDevice final : public Accelerator {
 public:
  explicit TwinDevice(const TwinLimits& limits)
      : tiles_at_once_(limits.tiles_at_once), bytes_(limits.bytes), late_(limits.late), free_(limits.bytes) {}

  void* allocate(std::int64_t bytes) override;
  void release(void* memory) noexcept override;
  std::int64_t free_bytes() override { return free_; }
  bool pin(const void* memory, std::int64_t bytes) override;
  void unpin(const void* memory) noexcept override;
  void upload(void* to, const void* from, std::int64_t bytes, Stream stream) override;
  void download(void* to, const void* from, std::int64_t bytes) override;
  void copy(void* to, const void* from, std::int64_t bytes, Stream stream) override;
  void zero(void* to, std::int64_t bytes, Stream stream) override;
  void mark(int number, Stream stream) override;
  void wait(int number, Stream stream) override;
  bool reached(int number) override;
  bool idle(Stream stream) override;
  std::int64_t tiles_at_once(Kernel, Storage, Tile) override { return tiles_at_once_; }
  void launch(Kernel kernel, Storage storage, Tile tile, std::int64_t n_tiles, const void* args) override;
  void replace(Kernel, std::uintptr_t) override {}  // code compiled for a device cannot run here
  void count(const CountArgs& args) override;
  void prepare(const PrepareStep& step, std::int64_t n) override;
  std::int64_t sorting_bytes(std::int64_t n) override { return sorting_bytes_of(n); }
  bool sort(const SortArgs& args) override;
  void choose(const PrepareChoice& choice, const ChooseArgs& args) override;
  std::string architecture() const override { return "twin"; }

 private:
  using Work = std::function<void()>;
  void submit(Stream stream, Work work);
  void run_one(Stream stream);
  void run_all(Stream stream);
  std::deque<Work>& queue(Stream stream) { return queues_[stream == Stream::compute ? 0 : 1]; }

  const std::int64_t tiles_at_once_, bytes_;
  const std::optional<Stream> late_;
  std::array<std::deque<Work>, 2> queues_;
  std::array<std::int64_t, kMarks> marks_{};  ///< what each was last set to; 0: never
  std::array<Stream, kMarks> marked_{};       ///< on which stream
  std::int64_t last_mark_ = 0;
  std::set<std::int64_t> reached_;
  std::map<const char*, std::int64_t> pinned_;  ///< sizes by address
  std::int64_t free_;
  std::map<void*, std::int64_t> sizes_;
};

/// Selects the best scores (BestArgs), in host memory.
template <class A>
void twin_best(const BestArgs<A>& args);

}  // namespace warpfactor
