// SPDX-License-Identifier: Apache-2.0
// Pinned host memory through which what is large goes up to a device, and back.
#pragma once

#include <algorithm>
#include <cstring>
#include <functional>
#include <thread>
#include <utility>

#include "buffer.hpp"
#include "device/accelerator.hpp"
#include "device/tuning.hpp"
#include "threads.hpp"

namespace warpfactor {

/// A few pinned buffers. One is filled on the host while those before it go up on the copy stream: a copy from memory
/// that is not pinned would block, at a fraction of the rate. Where the system refuses to pin, copies block and are
/// right all the same.
class Staging {
 public:
  /// `bytes` of a buffer. `poll` is called while a buffer is waited for, and may throw. One at a time for a device: its
  /// marks are taken.
  Staging(Accelerator& device, std::int64_t bytes, std::function<void()> poll = {})
      : device_(device), poll_(std::move(poll)), bytes_(bytes), memory_(device, kStagingBuffers * bytes) {}

  /// For so many bytes that go up in all. At least 64 KiB.
  [[nodiscard]] static std::int64_t buffer_bytes(std::int64_t all) noexcept {
    return std::clamp<std::int64_t>((all + kStagingBuffers - 1) / kStagingBuffers, kLeast, kStagingBytes);
  }
  /// What a Staging for so many bytes takes of the host.
  [[nodiscard]] static std::int64_t planned_bytes(std::int64_t all) noexcept {
    return kStagingBuffers * buffer_bytes(all);
  }

  [[nodiscard]] std::int64_t bytes() const noexcept { return bytes_; }

  /// fill(memory, send) writes to a pinned buffer, and calls send(to, from, n) for what goes from there to the device.
  /// The copies are done when the copy stream is, and before what is submitted to the compute stream after join().
  template <class Fill>
  void piece(const Fill& fill) {
    fill(free_buffer(), [&](void* to, const void* from, std::int64_t n) {
      if (n > 0) device_.upload(to, from, n, Stream::copy);
    });
    device_.mark(mark_of(next_), Stream::copy);
    next_ = (next_ + 1) % kStagingBuffers;
  }
  /// fill(memory, at, n) writes the bytes at .. at + n of `bytes` to pinned memory, from where they go to to + at. It
  /// is called for one piece after the other, each a multiple of `step` bytes but for the last.
  template <class Fill>
  void through(void* to, std::int64_t bytes, const Fill& fill, std::int64_t step = 1) {
    const std::int64_t most = bytes_ / step * step;
    for (std::int64_t at = 0; at < bytes; at += most) {
      const std::int64_t n = std::min(most, bytes - at);
      piece([&](char* memory, const auto& send) {
        fill(memory, at, n);
        send(static_cast<char*>(to) + at, memory, n);
      });
    }
  }
  /// An array in memory, copied by all threads.
  void copy(void* to, const void* from, std::int64_t bytes, ThreadTeam& team) {
    through(to, bytes, [&](char* memory, std::int64_t at, std::int64_t n) {
      const char* const source = static_cast<const char*>(from) + at;
      team.run_slices(
          n,
          [&](std::int64_t begin, std::int64_t end, int) {
            std::memcpy(memory + begin, source + begin, static_cast<std::size_t>(end - begin));
          },
          kStagingSlice);
    });
  }
  /// The other way: drain(memory, at, n) reads the bytes at .. at + n of `bytes` from pinned memory.
  template <class Drain>
  void back(const void* from, std::int64_t bytes, const Drain& drain, std::int64_t step) {
    const std::int64_t most = bytes_ / step * step;
    for (std::int64_t at = 0; at < bytes; at += most) {
      const std::int64_t n = std::min(most, bytes - at);
      char* const memory = free_buffer();
      device_.download(memory, static_cast<const char*>(from) + at, n);
      drain(memory, at, n);
    }
  }
  /// Work that is submitted to the compute stream from now on comes after the copies so far.
  void join() { device_.wait(mark_of((next_ + kStagingBuffers - 1) % kStagingBuffers), Stream::compute); }

 private:
  /// All buffers at once: two that share a page could not both be pinned.
  struct PinnedMemory {
    PinnedMemory(Accelerator& of, std::int64_t bytes)
        : device(of), memory(bytes), pinned(of.pin(memory.data(), bytes)) {}
    ~PinnedMemory() {
      if (pinned) device.unpin(memory.data());  // waits for its copies
    }
    PinnedMemory(const PinnedMemory&) = delete;
    PinnedMemory& operator=(const PinnedMemory&) = delete;

    Accelerator& device;
    Buffer<char> memory;
    bool pinned;
  };

  static constexpr std::int64_t kLeast = std::int64_t{64} << 10;

  static int mark_of(int buffer) { return kStagingMark + buffer; }

  /// Waits until the copy from the next buffer is done.
  char* free_buffer() {
    while (!device_.reached(mark_of(next_))) {
      if (poll_) poll_();
      std::this_thread::yield();
    }
    return memory_.memory.data() + next_ * bytes_;
  }

  Accelerator& device_;
  std::function<void()> poll_;
  std::int64_t bytes_;
  PinnedMemory memory_;
  int next_ = 0;
};

}  // namespace warpfactor
