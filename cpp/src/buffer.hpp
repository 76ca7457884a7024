// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

namespace warpfactor {

/// A fixed number of trivial T, aligned to a cache line and not initialized: threads that fill it touch its pages
/// first.
template <class T>
class Buffer {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  Buffer() = default;
  explicit Buffer(std::int64_t size) : size_(size) {
    if (size <= 0) return;
    // By hand, because aligned operator new is missing where Python's own macOS builds still want to run.
    constexpr std::size_t kAlignment = 64;
    if (static_cast<std::uint64_t>(size) > (PTRDIFF_MAX - kAlignment) / sizeof(T)) throw std::bad_alloc();
    std::size_t bytes = static_cast<std::size_t>(size) * sizeof(T) + kAlignment;
    memory_.reset(::operator new(bytes));
    void* aligned = memory_.get();
    data_ = static_cast<T*>(std::align(kAlignment, bytes - kAlignment, aligned, bytes));
  }
  Buffer(Buffer&& other) noexcept { *this = std::move(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    memory_ = std::move(other.memory_);
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
    return *this;
  }
  [[nodiscard]] T* data() noexcept { return data_; }
  [[nodiscard]] const T* data() const noexcept { return data_; }
  [[nodiscard]] std::int64_t size() const noexcept { return size_; }
  T& operator[](std::int64_t n) noexcept { return data_[n]; }
  const T& operator[](std::int64_t n) const noexcept { return data_[n]; }

 private:
  struct Free {
    void operator()(void* memory) const noexcept { ::operator delete(memory); }
  };
  std::unique_ptr<void, Free> memory_;
  T* data_ = nullptr;
  std::int64_t size_ = 0;
};

}  // namespace warpfactor
