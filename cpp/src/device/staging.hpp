// SPDX-License-Identifier: Apache-2.0
// Pinned host memory through which what is large goes up to a device.
#pragma once

#include <algorithm>
#include <array>
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
      : device_(device), poll_(std::move(poll)) {
    for (Buffer<char>& buffer : buffers_) buffer = Buffer<char>(bytes);
    for (std::size_t n = 0; n < buffers_.size(); ++n) pinned_[n] = device_.pin(buffers_[n].data(), bytes);
  }
  ~Staging() {
    for (std::size_t n = 0; n < buffers_.size(); ++n) {
      if (pinned_[n]) device_.unpin(buffers_[n].data());  // waits for its copies
    }
  }
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  /// For so many bytes that go up in all.
  [[nodiscard]] static std::int64_t buffer_bytes(std::int64_t all) noexcept {
    return std::clamp<std::int64_t>((all + kStagingBuffers - 1) / kStagingBuffers, kLeast, kStagingBytes);
  }
  /// What a Staging for so many bytes takes of the host.
  [[nodiscard]] static std::int64_t planned_bytes(std::int64_t all) noexcept {
    return kStagingBuffers * buffer_bytes(all);
  }

  /// fill(memory, at, n) writes the bytes at .. at + n of `bytes` to pinned memory, from where they go to to + at. It is
  /// called for one piece after the other, of at most a buffer's size, a multiple of `step` bytes but for the last. The
  /// copies are done when the copy stream is, or what was submitted to the compute stream after join().
  template <class Fill>
  void through(void* to, std::int64_t bytes, const Fill& fill, std::int64_t step = 1) {
    const std::int64_t most = buffers_[0].size() / step * step;
    for (std::int64_t at = 0; at < bytes; at += most) {
      const std::int64_t n = std::min(most, bytes - at);
      char* const memory = free_buffer();
      fill(memory, at, n);
      device_.upload(static_cast<char*>(to) + at, memory, n, Stream::copy);
      device_.mark(mark_of(next_), Stream::copy);
      next_ = (next_ + 1) % kStagingBuffers;
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
  /// Work that is submitted to the compute stream from now on comes after the copies so far.
  void join() { device_.wait(mark_of((next_ + kStagingBuffers - 1) % kStagingBuffers), Stream::compute); }

 private:
  static constexpr std::int64_t kLeast = 4096;

  static int mark_of(int buffer) { return kStagingMark + buffer; }

  /// Waits until the copy from the next buffer is done.
  char* free_buffer() {
    while (!device_.reached(mark_of(next_))) {
      if (poll_) poll_();
      std::this_thread::yield();
    }
    return buffers_[static_cast<std::size_t>(next_)].data();
  }

  Accelerator& device_;
  std::function<void()> poll_;
  std::array<Buffer<char>, kStagingBuffers> buffers_;
  std::array<bool, kStagingBuffers> pinned_{};
  int next_ = 0;
};

}  // namespace warpfactor
