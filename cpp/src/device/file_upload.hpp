// SPDX-License-Identifier: Apache-2.0
// What a device gets of scratch files, so that the host holds no more of it than two pinned buffers.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <utility>
#include <vector>

#include "device/staging.hpp"
#include "device/tuning.hpp"
#include "scratch.hpp"
#include "threads.hpp"

namespace warpfactor {

/// Bytes of an array or a slot on the device, and where they come from.
struct Extent {
  std::int64_t to = 0, bytes = 0;     ///< from the array's begin on
  const ScratchFile* file = nullptr;  ///< nullptr: they are in memory
  std::int64_t offset = 0;            ///< in the file
  const char* memory = nullptr;
};

/// Extents on their way to a device, in the order in which they lie there. All threads read into one pinned buffer
/// while the device takes the other, and meanwhile the disk works on what comes next.
class FileUploads {
 public:
  /// `all`: the most bytes of an upload. `most`: the bytes of the host that may be taken. `team` must outlive this.
  FileUploads(Accelerator& device, std::int64_t all, std::int64_t most, ThreadTeam& team, std::function<void()> poll)
      : staging_(device, std::min(Staging::buffer_bytes(all), most / kStagingBuffers), std::move(poll)),
        ahead_(Staging::buffer_bytes(all)),
        team_(team) {}

  /// What it takes of the host.
  [[nodiscard]] static std::int64_t planned_bytes(std::int64_t all, std::int64_t most) noexcept {
    return std::min(Staging::planned_bytes(all), most);
  }

  /// Copies the extents, of which the last ends at `bytes`, to `to`, on the copy stream; gaps between them hold
  /// anything. `next`: what is uploaded after this. Throws ScratchError, Interrupted.
  void upload(char* to, const std::vector<Extent>& extents, const std::vector<Extent>& next = {}) {
    if (extents.empty()) return;
    const std::int64_t bytes = extents.back().to + extents.back().bytes;
    staging_.through(to, bytes, [&](char* into, std::int64_t at, std::int64_t n) {
      read(extents, into, at, n);
      const std::int64_t left = bytes - (at + n);
      if (left > 0) {
        for_each_slice(extents, at + n, std::min(n, left), will_need);
      } else if (!next.empty()) {
        for_each_slice(next, 0, ahead_, will_need);
      }
    });
  }
  /// See Staging::join().
  void join() { staging_.join(); }

 private:
  /// Calls f(extent, offset in it, bytes) for slices of the extents between at and at + n.
  template <class F>
  static void for_each_slice(const std::vector<Extent>& extents, std::int64_t at, std::int64_t n, const F& f) {
    for (const Extent& extent : extents) {
      const std::int64_t end = std::min(at + n, extent.to + extent.bytes);
      for (std::int64_t from = std::max(at, extent.to); from < end; from += kStagingSlice) {
        f(extent, from - extent.to, std::min(kStagingSlice, end - from));
      }
    }
  }
  static void will_need(const Extent& extent, std::int64_t from, std::int64_t n) {
    if (extent.file != nullptr) extent.file->will_need(extent.offset + from, n);
  }

  void read(const std::vector<Extent>& extents, char* into, std::int64_t at, std::int64_t n) {
    struct Slice {
      const Extent* extent;
      std::int64_t from, bytes;
    };
    std::vector<Slice> slices;
    for_each_slice(extents, at, n, [&](const Extent& extent, std::int64_t from, std::int64_t bytes) {
      slices.push_back({&extent, from, bytes});
    });
    team_.run(static_cast<std::int64_t>(slices.size()), [&](std::int64_t number, int) {
      const Slice& slice = slices[static_cast<std::size_t>(number)];
      const Extent& extent = *slice.extent;
      char* const to = into + (extent.to + slice.from - at);
      if (extent.file != nullptr) {
        extent.file->read(extent.offset + slice.from, to, slice.bytes);
      } else {
        std::memcpy(to, extent.memory + slice.from, static_cast<std::size_t>(slice.bytes));
      }
    });
  }

  Staging staging_;
  std::int64_t ahead_;
  ThreadTeam& team_;
};

}  // namespace warpfactor
