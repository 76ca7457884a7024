// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace warpfactor {

/// A fixed number of trivial T, aligned to a cache line and not initialized, so that the threads that fill it are the
/// first to touch its pages.
template <class T>
class Buffer {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  Buffer() = default;
  explicit Buffer(std::int64_t size) : size_(size) {
    if (size <= 0) return;
    // By hand: the oldest macOS that Python's own builds support has no aligned operator new.
    if (static_cast<std::uint64_t>(size) > (PTRDIFF_MAX - kHugePage) / sizeof(T)) throw std::bad_alloc();
    const std::size_t used = static_cast<std::size_t>(size) * sizeof(T);
    const std::size_t alignment = used >= 2 * kHugePage ? kHugePage : kCacheLine;
    std::size_t space = used + alignment;
    memory_.reset(::operator new(space));
    void* aligned = memory_.get();
    data_ = static_cast<T*>(std::align(alignment, used, aligned, space));
#if defined(__linux__)
    // Ratings are written to hundreds of buckets at once and factor rows read in any order: more pages than there are
    // TLB entries for small ones. Notes, 2026-11-21: epochs 5 % (k = 32) and 9 % (k = 128) faster. The kernel may
    // decline.
    if (alignment == kHugePage) (void)madvise(aligned, used / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
  }
  Buffer(Buffer&& other) noexcept { *this = std::move(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    memory_ = std::move(other.memory_);
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
    return *this;
  }
  /// Gives the pages that lie in [begin, end) back to the system, where that can be done; what they held is lost.
  void forget(std::int64_t begin, std::int64_t end) noexcept {
#if defined(__linux__)
    constexpr std::uintptr_t page = 1 << 16;  // the largest there is
    const auto up = [](std::uintptr_t address) { return (address + page - 1) / page * page; };
    const std::uintptr_t from = up(reinterpret_cast<std::uintptr_t>(data_ + begin)),
                         to = reinterpret_cast<std::uintptr_t>(data_ + end) / page * page;
    if (to > from) (void)madvise(reinterpret_cast<void*>(from), to - from, MADV_DONTNEED);
#else
    (void)begin, (void)end;
#endif
  }
  [[nodiscard]] T* data() noexcept { return data_; }
  [[nodiscard]] const T* data() const noexcept { return data_; }
  [[nodiscard]] std::int64_t size() const noexcept { return size_; }
  T& operator[](std::int64_t n) noexcept { return data_[n]; }
  const T& operator[](std::int64_t n) const noexcept { return data_[n]; }

 private:
  static constexpr std::size_t kCacheLine = 64, kHugePage = std::size_t{2} << 20;

  struct Free {
    void operator()(void* memory) const noexcept { ::operator delete(memory); }
  };
  std::unique_ptr<void, Free> memory_;
  T* data_ = nullptr;
  std::int64_t size_ = 0;
};

}  // namespace warpfactor
