// SPDX-License-Identifier: Apache-2.0
// The CUDA device: memory, streams, launches; and whether this machine can use it.
#include <cuda.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <stdexcept>
#include <string>

#include "answer_device.hpp"
#include "cuda_check.hpp"
#include "device/device_backend.hpp"
#include "device/registry.hpp"
#include "global_kernels.cuh"
#include "prepare_ratings.hpp"
#include "warpfactor/runtime.hpp"

namespace warpfactor {

// Each storage's file defines its own.
extern template const void* global_kernel<Half, float>(Kernel, Tile);
extern template const void* global_kernel<float, float>(Kernel, Tile);
extern template const void* global_kernel<double, double>(Kernel, Tile);

namespace {

constexpr int kLeastMajor = 8;  // compute capability of the oldest architecture that is built

__global__ void __launch_bounds__(kThreads) sum_pairs(const __grid_constant__ SumArgs args) {
  rule::sum_pairs(rule::DeviceWarp(), args);
}

template <class A, int kSlots>
__global__ void __launch_bounds__(kThreads) best_of_rows(const __grid_constant__ BestArgs<A> args) {
  const rule::DeviceWarp warp;
  for (std::int64_t row = warp.number(); row < args.n_rows; row += warp.count()) {
    rule::best_of_row<rule::DeviceWarp, A, kSlots>(warp, args, row);
  }
}

/// A function of the driver. The driver is not linked, because the library must load on machines without one.
template <class Function>
Function driver_function(const char* name) {
  void* found = nullptr;
  cudaDriverEntryPointQueryResult result{};
#if CUDART_VERSION >= 13000
  cuda_check(cudaGetDriverEntryPointByVersion(name, &found, 12000, cudaEnableDefault, &result), "asking the driver");
#else
  cuda_check(cudaGetDriverEntryPoint(name, &found, cudaEnableDefault, &result), "asking the driver");
#endif
  if (found == nullptr) throw CudaError(std::string("the NVIDIA driver has no ") + name + ": update it");
  return reinterpret_cast<Function>(found);
}

struct Driver {
  CUresult (*get_context)(CUcontext*) = driver_function<decltype(get_context)>("cuCtxGetCurrent");
  CUresult (*set_context)(CUcontext) = driver_function<decltype(set_context)>("cuCtxSetCurrent");
  CUresult (*blocks_at_once)(int*, CUfunction, int, std::size_t) =
      driver_function<decltype(blocks_at_once)>("cuOccupancyMaxActiveBlocksPerMultiprocessor");
  CUresult (*launch)(CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream, void**,
                     void**) = driver_function<decltype(launch)>("cuLaunchKernel");
};
const Driver& driver() {
  static const Driver functions;
  return functions;
}

/// Makes the device the calling thread's current one while it lives, and then restores the context from before, if
/// there was one. It saves the context, not the device: to go back to a device would make a context on it even if
/// nobody used it.
class CurrentDevice {
 public:
  explicit CurrentDevice(int index) : before_(context()) {
    if (const cudaError_t error = cudaSetDevice(index); error != cudaSuccess) {
      restore();
      cuda_check(error, "opening the device");
    }
  }
  ~CurrentDevice() { restore(); }
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;

 private:
  static CUcontext context() {
    CUcontext current = nullptr;
    (void)driver().get_context(&current);
    return current;
  }
  void restore() noexcept {
    if (before_ != nullptr) (void)driver().set_context(before_);
  }

  const CUcontext before_;
};

/// Why the device cannot be used; empty if it can. Does not open it, which takes time and some of its memory.
std::string device_problem(std::int32_t index) {
  int driver_version = 0;
  if (cudaDriverGetVersion(&driver_version) != cudaSuccess || driver_version == 0) {
    return "no NVIDIA driver is installed: install one, or use device='cpu'";
  }
  int devices = 0;
  const cudaError_t error = cudaGetDeviceCount(&devices);
  (void)cudaGetLastError();
  if (error == cudaErrorInsufficientDriver) {
    return "the NVIDIA driver supports CUDA " + std::to_string(driver_version / 1000) + "." +
           std::to_string(driver_version % 1000 / 10) + " and warpfactor was built with " +
           std::to_string(CUDART_VERSION / 1000) + "." + std::to_string(CUDART_VERSION % 1000 / 10) +
           ": update the driver, or use device='cpu'";
  }
  if (error == cudaErrorInitializationError) {
    return "CUDA cannot start in this process; after a fork it never can: start processes by \"spawn\", or use "
           "device='cpu'";
  }
  if (error != cudaSuccess || devices == 0) {
    return std::string("no CUDA device is visible (") + cudaGetErrorString(error) +
           "): check nvidia-smi and CUDA_VISIBLE_DEVICES, or use device='cpu'";
  }
  if (index >= devices) {
    return "there is no CUDA device " + std::to_string(index) + ": this machine has " + std::to_string(devices) +
           ", counted from 0";
  }
  int major = 0;
  if (cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, index) != cudaSuccess || major < kLeastMajor) {
    (void)cudaGetLastError();
    return "CUDA device " + std::to_string(index) + " is of compute capability " + std::to_string(major) +
           ".x, and warpfactor's kernels need " + std::to_string(kLeastMajor) + ".0: use another, or device='cpu'";
  }
  return "";
}

struct CudaStream {
  cudaStream_t handle = nullptr;
  CudaStream() = default;
  CudaStream(const CudaStream&) = delete;
  CudaStream& operator=(const CudaStream&) = delete;
  ~CudaStream() {
    if (handle != nullptr) (void)cudaStreamDestroy(handle);
  }
  void make() { cuda_check(cudaStreamCreateWithFlags(&handle, cudaStreamNonBlocking), "making a stream"); }
};

struct CudaMark {
  cudaEvent_t handle = nullptr;
  CudaMark() = default;
  CudaMark(const CudaMark&) = delete;
  CudaMark& operator=(const CudaMark&) = delete;
  ~CudaMark() {
    if (handle != nullptr) (void)cudaEventDestroy(handle);
  }
  void make() { cuda_check(cudaEventCreateWithFlags(&handle, cudaEventDisableTiming), "making an event"); }
};

class CudaDevice final : public Accelerator {
 public:
  explicit CudaDevice(std::int32_t index) : index_(index) {
    const CurrentDevice current(index_);
    int major = 0, minor = 0;
    cuda_check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, index_), "asking the device");
    cuda_check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, index_), "asking the device");
    cuda_check(cudaDeviceGetAttribute(&multiprocessors_, cudaDevAttrMultiProcessorCount, index_), "asking the device");
    architecture_ = "sm_" + std::to_string(10 * major + minor);
    cudaFuncAttributes attributes{};
    cuda_check(cudaFuncGetAttributes(&attributes, address(Kernel::sum, Storage::f32, {})),
               "looking for kernels that were built for the device");
    for (CudaStream& stream : streams_) stream.make();
    for (CudaMark& mark : marks_) mark.make();
  }
  ~CudaDevice() override {
    try {
      const CurrentDevice current(index_);
      for (CudaStream& stream : streams_) (void)cudaStreamSynchronize(stream.handle);
    } catch (const CudaError&) {  // a destructor must not throw
    }
  }
  CudaDevice(const CudaDevice&) = delete;
  CudaDevice& operator=(const CudaDevice&) = delete;

  void* allocate(std::int64_t bytes) override {
    const CurrentDevice current(index_);
    void* memory = nullptr;
    const cudaError_t error = cudaMalloc(&memory, static_cast<std::size_t>(bytes));
    if (error == cudaErrorMemoryAllocation) {
      (void)cudaGetLastError();
      throw CudaError("out of memory on CUDA device " + std::to_string(index_) + ": " + std::to_string(bytes) +
                      " bytes asked, " + std::to_string(free_bytes()) +
                      " free: free some, use fewer factors, or set device_memory, so that ratings are streamed");
    }
    cuda_check(error, "allocating memory");
    return memory;
  }
  void release(void* memory) noexcept override {
    (void)cudaFree(memory);
  }  // cudaFree works whichever device is current
  std::int64_t free_bytes() override {
    const CurrentDevice current(index_);
    std::size_t free = 0, total = 0;
    cuda_check(cudaMemGetInfo(&free, &total), "asking for the free memory");
    return static_cast<std::int64_t>(free);
  }
  bool pin(const void* memory, std::int64_t bytes) override {
    const CurrentDevice current(index_);
    const cudaError_t error =
        cudaHostRegister(const_cast<void*>(memory), static_cast<std::size_t>(bytes), cudaHostRegisterDefault);
    (void)cudaGetLastError();
    return error == cudaSuccess;
  }
  void unpin(const void* memory) noexcept override {
    for (const CudaStream& stream : streams_) (void)cudaStreamSynchronize(stream.handle);
    (void)cudaHostUnregister(const_cast<void*>(memory));
  }

  void upload(void* to, const void* from, std::int64_t bytes, Stream stream) override {
    const CurrentDevice current(index_);
    cuda_check(cudaMemcpyAsync(to, from, static_cast<std::size_t>(bytes), cudaMemcpyHostToDevice, stream_of(stream)),
               "copying to the device");
  }
  void download(void* to, const void* from, std::int64_t bytes) override {
    const CurrentDevice current(index_);
    cudaStream_t stream = stream_of(Stream::compute);
    cuda_check(cudaMemcpyAsync(to, from, static_cast<std::size_t>(bytes), cudaMemcpyDeviceToHost, stream),
               "copying from the device");
    cuda_check(cudaStreamSynchronize(stream), "copying from the device");
  }
  void copy(void* to, const void* from, std::int64_t bytes, Stream stream) override {
    const CurrentDevice current(index_);
    cuda_check(cudaMemcpyAsync(to, from, static_cast<std::size_t>(bytes), cudaMemcpyDeviceToDevice, stream_of(stream)),
               "copying on the device");
  }
  void zero(void* to, std::int64_t bytes, Stream stream) override {
    const CurrentDevice current(index_);
    cuda_check(cudaMemsetAsync(to, 0, static_cast<std::size_t>(bytes), stream_of(stream)), "clearing memory");
  }

  void mark(int number, Stream stream) override {
    const CurrentDevice current(index_);
    cuda_check(cudaEventRecord(marks_[static_cast<std::size_t>(number)].handle, stream_of(stream)),
               "recording an event");
  }
  void wait(int number, Stream stream) override {
    const CurrentDevice current(index_);
    cuda_check(cudaStreamWaitEvent(stream_of(stream), marks_[static_cast<std::size_t>(number)].handle, 0),
               "waiting for an event");
  }
  bool reached(int number) override {
    const CurrentDevice current(index_);
    return is_done(cudaEventQuery(marks_[static_cast<std::size_t>(number)].handle));
  }
  bool idle(Stream stream) override {
    const CurrentDevice current(index_);
    return is_done(cudaStreamQuery(stream_of(stream)));
  }

  std::int64_t tiles_at_once(Kernel kernel, Storage storage, Tile tile) override {
    const CurrentDevice current(index_);
    int blocks = 0;
    if (const CUfunction replaced = replaced_[static_cast<std::size_t>(kernel)]; replaced != nullptr) {
      if (driver().blocks_at_once(&blocks, replaced, kThreads, 0) != CUDA_SUCCESS) blocks = 1;
    } else {
      cuda_check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, address(kernel, storage, tile), kThreads, 0),
                 "asking how many blocks fit");
    }
    return static_cast<std::int64_t>(std::max(blocks, 1)) * multiprocessors_ * (kThreads / tile.lanes);
  }

  void launch(Kernel kernel, Storage storage, Tile tile, std::int64_t n_tiles, const void* args) override {
    const CurrentDevice current(index_);
    if (n_tiles < 1 || n_tiles * tile.lanes % kThreads != 0) throw std::logic_error("tiles make no whole CUDA blocks");
    const auto n_blocks = static_cast<unsigned>(n_tiles * tile.lanes / kThreads);
    void* parameters[] = {const_cast<void*>(args)};
    cudaStream_t stream = stream_of(Stream::compute);
    if (const CUfunction replaced = replaced_[static_cast<std::size_t>(kernel)]; replaced != nullptr) {
      const CUresult result = driver().launch(replaced, n_blocks, 1, 1, kThreads, 1, 1, 0, stream, parameters, nullptr);
      if (result != CUDA_SUCCESS) {
        throw CudaError("CUDA failed while starting the kernel of a custom loss (error " + std::to_string(result) +
                        ")");
      }
      return;
    }
    cuda_check(cudaLaunchKernel(address(kernel, storage, tile), dim3(n_blocks), dim3(kThreads), parameters, 0, stream),
               "starting a kernel");
  }

  void replace(Kernel kernel, std::uintptr_t function) override {
    if (function == 0) {
      throw std::invalid_argument(
          "a loss or penalty of your own needs kernels that were compiled with it (device_kernels): give them, or use "
          "device='cpu'");
    }
    replaced_[static_cast<std::size_t>(kernel)] = reinterpret_cast<CUfunction>(function);
  }

  void count(const CountArgs& args) override {
    const CurrentDevice current(index_);
    cuda_count(args, stream_of(Stream::compute));
  }
  void prepare(const PrepareStep& step, std::int64_t n) override {
    const CurrentDevice current(index_);
    cuda_prepare(step, n, stream_of(Stream::compute));
  }
  std::int64_t sorting_bytes(std::int64_t n) override {
    const CurrentDevice current(index_);
    return cuda_sorting_bytes(n);
  }
  bool sort(const SortArgs& args) override {
    const CurrentDevice current(index_);
    return cuda_sort(args, stream_of(Stream::compute));
  }
  void choose(const PrepareChoice& choice, const ChooseArgs& args) override {
    const CurrentDevice current(index_);
    cuda_choose(choice, args, stream_of(Stream::compute));
  }

  std::string architecture() const override { return architecture_; }

 private:
  static bool is_done(cudaError_t answer) {
    if (answer == cudaErrorNotReady) {
      (void)cudaGetLastError();
      return false;
    }
    cuda_check(answer, "running the kernels");
    return true;
  }
  cudaStream_t stream_of(Stream stream) const { return streams_[stream == Stream::compute ? 0 : 1].handle; }

  static const void* address(Kernel kernel, Storage storage, Tile tile) {
    if (kernel == Kernel::sum) return reinterpret_cast<const void*>(&sum_pairs);
    switch (storage) {
      case Storage::f16: return global_kernel<Half, float>(kernel, tile);
      case Storage::f32: return global_kernel<float, float>(kernel, tile);
      case Storage::f64: return global_kernel<double, double>(kernel, tile);
    }
    return nullptr;
  }

  const std::int32_t index_;
  int multiprocessors_ = 1;
  std::string architecture_;
  std::array<CudaStream, 2> streams_;
  std::array<CudaMark, kMarks> marks_;
  std::array<CUfunction, kKernels> replaced_{};
};

CudaStatus status() {
  const std::string problem = device_problem(0);
  int devices = 0;
  if (!problem.empty() && cudaGetDeviceCount(&devices) == cudaSuccess) {
    for (int index = 1; index < devices; ++index) {
      if (device_problem(index).empty()) return {true, true, ""};  // one can be used, though not the first
    }
  }
  (void)cudaGetLastError();
  return {true, problem.empty(), problem};
}

template <class T>
std::unique_ptr<Backend<T>> make_backend(const TrainParams& params, std::function<bool()> interrupted) {
  if (const std::string problem = device_problem(params.device_index); !problem.empty()) throw CudaError(problem);
  return make_device_backend<T>(std::make_unique<CudaDevice>(params.device_index), params, std::move(interrupted));
}

template <class T>
void select_best(const BestArgs<T>& args, std::uintptr_t stream) {
  constexpr int kWarps = kThreads / rule::kWarp;
  if (args.n_rows == 0) return;
  const auto n_blocks = static_cast<unsigned>(std::min<std::int64_t>((args.n_rows + kWarps - 1) / kWarps, 1 << 20));
  auto* const on = reinterpret_cast<cudaStream_t>(stream);
  if (args.n <= rule::kWarp) {
    best_of_rows<T, 1><<<n_blocks, kThreads, 0, on>>>(args);
  } else if (args.n <= 4 * rule::kWarp) {
    best_of_rows<T, 4><<<n_blocks, kThreads, 0, on>>>(args);
  } else {
    best_of_rows<T, 32><<<n_blocks, kThreads, 0, on>>>(args);
  }
  cuda_check(cudaGetLastError(), "selecting the best scores");
}

}  // namespace

/// Called by cuda/register_cuda.cpp.
void link_cuda() {
  register_cuda({status,
                 false,
                 device_find_codes,
                 {make_backend<float>, select_best<float>, device_answers<float>()},
                 {make_backend<double>, select_best<double>, device_answers<double>()}});
}

}  // namespace warpfactor
