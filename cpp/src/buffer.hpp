// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <type_traits>

namespace warpfactor {

/// A fixed number of trivial T, aligned to a cache line and not initialized: threads that fill it touch its pages
/// first.
template <class T>
class Buffer {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  Buffer() = default;
  explicit Buffer(std::int64_t size) : size_(size) {
    if (size > 0) {
      data_.reset(static_cast<T*>(::operator new(static_cast<std::size_t>(size) * sizeof(T), std::align_val_t{64})));
    }
  }
  [[nodiscard]] T* data() noexcept { return data_.get(); }
  [[nodiscard]] const T* data() const noexcept { return data_.get(); }
  [[nodiscard]] std::int64_t size() const noexcept { return size_; }
  T& operator[](std::int64_t n) noexcept { return data_.get()[n]; }
  const T& operator[](std::int64_t n) const noexcept { return data_.get()[n]; }

 private:
  struct Free {
    void operator()(T* data) const noexcept { ::operator delete(data, std::align_val_t{64}); }
  };
  std::unique_ptr<T[], Free> data_;
  std::int64_t size_ = 0;
};

}  // namespace warpfactor
