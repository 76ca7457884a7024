// SPDX-License-Identifier: Apache-2.0
// What a build with CUDA can say of the machine it runs on. The training kernels are not here yet; asking for them is
// an error that says so, never a silent fall-back to the CPU.
#include <cuda_runtime_api.h>

#include <string>

#include "backend.hpp"
#include "update_rule.hpp"  // nvcc must be able to compile the rule for the device
#include "warpfactor/runtime.hpp"

namespace warpfactor {

// Instantiates the rule in device code, so that a change which nvcc cannot compile fails the build and not a later
// issue.
__global__ void rule_compiles_for_the_device(const float* rating, float* factor, const float* other, float* bias,
                                             StepSizes<float> sizes) {
  const rule::LossTerms<float> terms = rule::loss_terms(rating[0], bias[0], sizes.loss);
  const rule::Step<float, float> step = rule::make_step(rule::capped(terms.slope, sizes), sizes.learning_rate, sizes);
  const float moved = rule::stepped_factor(factor[threadIdx.x], other[threadIdx.x], step.slope, step.keep_factors.user);
  const rule::RowRate<float> row{sizes.learning_rate * rule::adagrad_scale<float>(bias[2]), sizes.l1.user,
                                 sizes.l1_bias.user, bias[4], bias[5]};
  const float slope = rule::gradient(bias[0], 1.0f, step.slope, sizes.reg_bias.user);
  factor[threadIdx.x] = rule::stepped<StepRule::adam>(moved, slope, bias[6], bias[7], row, row.l1_factors, sizes);
  bias[0] = rule::stepped_bias(bias[0], step.slope, step.keep_biases.user);
  bias[3] += terms.reported + terms.square;
}

namespace {

std::string device_problem() {
  int driver = 0;
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) {
    return "no NVIDIA driver is installed: install one, or use device='cpu'";
  }
  int devices = 0;
  const cudaError_t error = cudaGetDeviceCount(&devices);
  if (error == cudaErrorInsufficientDriver) {
    return "the NVIDIA driver supports CUDA " + std::to_string(driver / 1000) + "." +
           std::to_string(driver % 1000 / 10) + " and warpfactor was built with " +
           std::to_string(CUDART_VERSION / 1000) + "." + std::to_string(CUDART_VERSION % 1000 / 10) +
           ": update the driver, or use device='cpu'";
  }
  if (error != cudaSuccess || devices == 0) {
    return std::string("no CUDA device is visible (") + cudaGetErrorString(error) +
           "): check nvidia-smi and CUDA_VISIBLE_DEVICES, or use device='cpu'";
  }
  return "this version of warpfactor has no CUDA training kernels yet: use device='cpu'";
}

}  // namespace

CudaStatus cuda_status() { return {true, false, device_problem()}; }

template <class T>
std::unique_ptr<Backend<T>> make_cuda_backend(std::int32_t, std::function<bool()>) {
  throw CudaError(device_problem());
}

template std::unique_ptr<Backend<float>> make_cuda_backend<float>(std::int32_t, std::function<bool()>);
template std::unique_ptr<Backend<double>> make_cuda_backend<double>(std::int32_t, std::function<bool()>);

}  // namespace warpfactor
