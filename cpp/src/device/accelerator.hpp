// SPDX-License-Identifier: Apache-2.0
// What the device backend asks of a device: memory, copies, and kernels by name. CudaDevice (cuda_device.cu) is the one
// that people use; TwinDevice (twin_device.cpp) runs the same kernels on the host, for tests.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "device/kernel_args.hpp"
#include "device/prepare.hpp"
#include "device/tuning.hpp"

namespace warpfactor {

/// The type that factors are stored as, which fixes that of the arithmetic: S and A of the kernels.
enum class Storage { f16, f32, f64 };

template <class S>
constexpr Storage storage_of() {
  return sizeof(S) == 2 ? Storage::f16 : sizeof(S) == 4 ? Storage::f32 : Storage::f64;
}

/// The kernels and their arguments.
enum class Kernel {
  // PassArgs, one for each PassKind.
  pass,
  pulled_pass,
  general_pass,
  momentum_pass,
  adagrad_row_pass,
  adagrad_element_pass,
  adam_pass,
  batch_gradients,  ///< BatchArgs
  batch_steps,      ///< BatchArgs
  evaluate,         ///< EvaluateArgs
  sum,              ///< SumArgs, by warps of any storage
  // The next ones by warps as well.
  sum_rows,        ///< SumRowsArgs
  means_residual,  ///< MeansArgs: what the means leave of the rows
  means_gradient,  ///< MeansArgs: z, from the sums of what is left
  means_products,  ///< MeansArgs: X z, from the sums of z
  means_solve,     ///< MeansArgs: how far to go
  means_move,      ///< MeansArgs
};
inline constexpr int kKernels = 17;

constexpr Kernel kernel_of(PassKind kind) {
  return static_cast<Kernel>(static_cast<int>(Kernel::pass) + static_cast<int>(kind));
}
static_assert(kernel_of(PassKind::plain) == Kernel::pass && kernel_of(PassKind::pulled) == Kernel::pulled_pass &&
              kernel_of(PassKind::adam) == Kernel::adam_pass);

/// A stream does its work in order. The two streams wait for each other only by marks.
enum class Stream { compute, copy };

/// See Accelerator::mark. The first four are those of Slots, the others those of Staging.
inline constexpr int kStagingMark = 4, kMarks = kStagingMark + kStagingBuffers;

/// Errors are thrown as CudaError, except by release() and unpin().
class Accelerator {
 public:
  virtual ~Accelerator() = default;

  /// Aligned to 256 bytes. Throws with the bytes asked and free.
  virtual void* allocate(std::int64_t bytes) = 0;
  virtual void release(void* memory) noexcept = 0;
  [[nodiscard]] virtual std::int64_t free_bytes() = 0;
  /// Pins host memory, so that copies from it overlap with work. unpin() it before it is freed. False if the system
  /// refuses.
  [[nodiscard]] virtual bool pin(const void* memory, std::int64_t bytes) = 0;
  virtual void unpin(const void* memory) noexcept = 0;

  /// The caller may change unpinned host memory after the return, pinned memory once the copy is done.
  virtual void upload(void* to, const void* from, std::int64_t bytes, Stream stream) = 0;
  /// Done on return.
  virtual void download(void* to, const void* from, std::int64_t bytes) = 0;
  virtual void copy(void* to, const void* from, std::int64_t bytes, Stream stream) = 0;
  virtual void zero(void* to, std::int64_t bytes, Stream stream) = 0;

  /// mark() sets one of kMarks marks at the end of a stream's work; wait() makes the other stream wait for it.
  virtual void mark(int number, Stream stream) = 0;
  virtual void wait(int number, Stream stream) = 0;
  /// Whether the work before a mark is done; true if it was never set.
  [[nodiscard]] virtual bool reached(int number) = 0;
  /// Whether all work on a stream is done.
  [[nodiscard]] virtual bool idle(Stream stream) = 0;

  /// Tiles that run at the same time.
  [[nodiscard]] virtual std::int64_t tiles_at_once(Kernel kernel, Storage storage, Tile tile) = 0;
  /// Starts a kernel on the compute stream; `args` is copied. The tiles make whole CUDA blocks.
  virtual void launch(Kernel kernel, Storage storage, Tile tile, std::int64_t n_tiles, const void* args) = 0;
  /// Uses a kernel compiled with a custom loss or penalty instead of the built-in one.
  virtual void replace(Kernel kernel, std::uintptr_t function) = 0;

  // Preparation of ratings (prepare.hpp): on the compute stream, on arrays of the device; arguments are copied.

  virtual void count(const CountArgs& args) = 0;
  virtual void prepare(const PrepareStep& step, std::int64_t n) = 0;
  /// The temporary memory that sort() and choose() want for n pairs or numbers.
  [[nodiscard]] virtual std::int64_t sorting_bytes(std::int64_t n) = 0;
  /// Returns whether the sorted pairs are in the second arrays.
  [[nodiscard]] virtual bool sort(const SortArgs& args) = 0;
  virtual void choose(const PrepareChoice& choice, const ChooseArgs& args) = 0;

  /// For people, such as "sm_90".
  [[nodiscard]] virtual std::string architecture() const = 0;
};

/// Memory on a device.
template <class T>
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  DeviceBuffer(Accelerator& device, std::int64_t size) : device_(&device), size_(size) {
    if (size > 0) data_ = static_cast<T*>(device.allocate(size * static_cast<std::int64_t>(sizeof(T))));
  }
  DeviceBuffer(DeviceBuffer&& other) noexcept { *this = std::move(other); }
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~DeviceBuffer() {
    if (data_ != nullptr) device_->release(data_);
  }
  /// nullptr if it is empty.
  [[nodiscard]] T* data() const noexcept { return data_; }
  [[nodiscard]] std::int64_t size() const noexcept { return size_; }
  [[nodiscard]] std::int64_t bytes() const noexcept { return size_ * static_cast<std::int64_t>(sizeof(T)); }

  void upload(const T* from, std::int64_t n, Stream stream = Stream::compute) {
    if (n > 0) device_->upload(data_, from, n * static_cast<std::int64_t>(sizeof(T)), stream);
  }
  void download(T* to) const {
    if (size_ > 0) device_->download(to, data_, bytes());
  }
  void zero() {
    if (size_ > 0) device_->zero(data_, bytes(), Stream::compute);
  }

 private:
  Accelerator* device_ = nullptr;
  T* data_ = nullptr;
  std::int64_t size_ = 0;
};

}  // namespace warpfactor
