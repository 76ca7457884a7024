// SPDX-License-Identifier: Apache-2.0
// Replaces the program's operator new and delete: bytes are counted, and an allocation can be made to fail. To be
// included by one source file of a program.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

// Inlined into a new-expression, the header would lie outside of what the compiler knows to be its memory.
#if defined(__GNUC__)
#define COUNTED_NEW_APART [[gnu::noinline]]
#else
#define COUNTED_NEW_APART
#endif

namespace counted_new {

inline std::atomic<std::int64_t> bytes{0}, most{0}, calls{0};
/// The number of the allocation from now on (from 1) that fails, and all after it until it is set anew; 0: none.
inline std::atomic<std::int64_t> fails_at{0};

inline void fail_at(std::int64_t call) {
  calls = 0;
  fails_at = call;
}
inline void reset_most() { most = bytes.load(); }

/// What stands before each piece of memory.
struct Header {
  std::size_t size;
  void* whole;
};

COUNTED_NEW_APART inline void* allocate(std::size_t size, std::size_t alignment) {
  const std::int64_t call = ++calls, failing = fails_at;
  if (failing > 0 && call >= failing) throw std::bad_alloc();
  alignment = std::max(alignment, alignof(std::max_align_t));
  void* const whole = size > SIZE_MAX / 2 ? nullptr : std::malloc(size + sizeof(Header) + alignment);
  if (whole == nullptr) throw std::bad_alloc();
  const auto first = reinterpret_cast<std::uintptr_t>(whole) + sizeof(Header);
  const std::uintptr_t at = (first + alignment - 1) / alignment * alignment;
  auto* const header = reinterpret_cast<Header*>(at - sizeof(Header));
  *header = {size, whole};
  const std::int64_t now = bytes += static_cast<std::int64_t>(size);
  std::int64_t before = most;
  while (now > before && !most.compare_exchange_weak(before, now)) {
  }
  return reinterpret_cast<void*>(at);
}

/// For those that ask for memory as std::stable_sort does. Without it a sanitizer's own would serve them.
COUNTED_NEW_APART inline void* allocate_or_null(std::size_t size, std::size_t alignment) noexcept {
  try {
    return allocate(size, alignment);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

COUNTED_NEW_APART inline void release(void* memory) noexcept {
  if (memory == nullptr) return;
  const auto* const header = reinterpret_cast<const Header*>(static_cast<const char*>(memory) - sizeof(Header));
  bytes -= static_cast<std::int64_t>(header->size);
  std::free(header->whole);
}

}  // namespace counted_new

void* operator new(std::size_t size) { return counted_new::allocate(size, 1); }
void* operator new[](std::size_t size) { return counted_new::allocate(size, 1); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return counted_new::allocate(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
  return counted_new::allocate(size, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return counted_new::allocate_or_null(size, 1); }
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept {
  return counted_new::allocate_or_null(size, 1);
}
void* operator new(std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return counted_new::allocate_or_null(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return counted_new::allocate_or_null(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept { counted_new::release(memory); }
void operator delete[](void* memory) noexcept { counted_new::release(memory); }
void operator delete(void* memory, std::size_t) noexcept { counted_new::release(memory); }
void operator delete[](void* memory, std::size_t) noexcept { counted_new::release(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { counted_new::release(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { counted_new::release(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { counted_new::release(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { counted_new::release(memory); }
