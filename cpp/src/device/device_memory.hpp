// SPDX-License-Identifier: Apache-2.0
// What a fit takes of a device's memory, and how it streams through it what does not fit.
#pragma once

#include <algorithm>
#include <array>
#include <optional>
#include <string>

#include "device/accelerator.hpp"
#include "device/tuning.hpp"
#include "warpfactor/memory.hpp"
#include "warpfactor/types.hpp"

namespace warpfactor {

/// The memory that a fit may take: `device_memory` bytes, or what is free if that is 0 or less is free.
class DeviceMemory {
 public:
  DeviceMemory(Accelerator& device, std::int64_t device_memory) : device_(device), device_memory_(device_memory) {
    const std::int64_t free = device_.free_bytes();
    left_ = std::max(free - kReserve, free / 2);
    limited_ = device_memory > 0 && device_memory < left_;
    if (limited_) left_ = device_memory;
  }
  [[nodiscard]] std::int64_t left() const noexcept { return left_; }

  /// Throws CudaError if this is certainly less than a fit takes.
  void require(const FitMemory& least) const {
    if (kCertainShare * static_cast<double>(least.device_least()) <= static_cast<double>(left_)) return;
    std::string parts;
    for (const MemoryPart& part : least.device) {
      if (part.name != "ratings" && part.name != "who rated what" && part.name != "sorting of the ratings") {
        parts += (parts.empty() ? "" : ", ") + part.name + " " + bytes_text(part.bytes);
      }
    }
    throw CudaError("out of memory on the device: the fit takes at least " + bytes_text(least.device_least()) +
                    " beside the ratings (" + parts + "), and " + bytes_text(std::max<std::int64_t>(left_, 0)) +
                    " are free (" + room() + "): allow or free more, use fewer factors, or device='cpu'");
  }

  /// Throws CudaError with the bytes asked and left.
  template <class T>
  DeviceBuffer<T> allocate(std::int64_t size) {
    const std::int64_t bytes = size * static_cast<std::int64_t>(sizeof(T));
    if (bytes > left_) {
      throw CudaError("out of memory on the device: " + std::to_string(bytes) + " bytes asked, " +
                      std::to_string(std::max<std::int64_t>(left_, 0)) + " free (" + room() +
                      "): allow or free more, use fewer factors, or device='cpu'");
    }
    left_ -= bytes;
    return DeviceBuffer<T>(device_, size);
  }
  /// What `work` returns, an optional; nothing if the device itself refuses memory that should be free, since others
  /// use it too. Then `work` must have let go of all that it allocated, and nothing else.
  template <class Work>
  auto attempt(const Work& work) -> decltype(work()) {
    const std::int64_t before = left_;
    try {
      return work();
    } catch (const CudaError&) {
      left_ = before;
      return std::nullopt;
    }
  }
  template <class T>
  void give_back(DeviceBuffer<T>& buffer) {
    left_ += buffer.bytes();
    buffer = {};
  }
  template <class T>
  DeviceBuffer<T> uploaded(const T* from, std::int64_t size) {
    DeviceBuffer<T> buffer = allocate<T>(size);
    buffer.upload(from, size);
    return buffer;
  }
  template <class T>
  DeviceBuffer<T> zeros(std::int64_t size) {
    DeviceBuffer<T> buffer = allocate<T>(size);
    buffer.zero();
    return buffer;
  }

 private:
  /// Of the least that a fit takes by its sizes, what it certainly takes. Not measured.
  static constexpr double kCertainShare = 0.95;

  [[nodiscard]] std::string room() const {
    return limited_ ? "device_memory is " + std::to_string(device_memory_) + " bytes" : "all that is free";
  }

  Accelerator& device_;
  std::int64_t device_memory_, left_ = 0;
  bool limited_ = false;
};

/// Two buffers, the slots. One is filled on the copy stream while the compute stream works on the other.
class Slots {
 public:
  explicit Slots(Accelerator& device) : device_(device) {}
  /// Once; before, bytes() is 0.
  void allocate(DeviceMemory& memory, std::int64_t bytes) {
    for (DeviceBuffer<char>& slot : slots_) slot = memory.allocate<char>(bytes);
  }
  [[nodiscard]] std::int64_t bytes() const noexcept { return slots_[0].bytes(); }

  /// copy_to(slot) fills a slot, run() works on it.
  template <class Copy, class Run>
  void through(const Copy& copy_to, const Run& run) {
    const int filled = next_, emptied = next_ + 2;  // marks
    device_.wait(emptied, Stream::copy);
    copy_to(slots_[static_cast<std::size_t>(next_)]);
    device_.mark(filled, Stream::copy);
    device_.wait(filled, Stream::compute);
    run();
    device_.mark(emptied, Stream::compute);
    next_ = 1 - next_;
  }

 private:
  Accelerator& device_;
  std::array<DeviceBuffer<char>, 2> slots_;
  int next_ = 0;
};

}  // namespace warpfactor
