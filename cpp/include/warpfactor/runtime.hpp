// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpfactor/standard.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace warpfactor {

/// Processors this process may really use: affinity and container (cgroup) limits counted, at least 1.
std::int32_t available_threads();

/// The instruction set the kernels run with. WARPFACTOR_ISA forces one; an unknown name, or one that this build or
/// processor lacks, throws std::invalid_argument.
std::string instruction_set();

/// The instruction sets this build holds kernels for, narrowest first.
std::vector<std::string> built_instruction_sets();

struct CudaStatus {
  bool built = false;   ///< this build holds the CUDA part
  bool usable = false;  ///< and training on the device would work
  std::string reason;   ///< why not, and what to do; empty when usable
};

/// Never throws; does not need a driver.
CudaStatus cuda_status();

}  // namespace warpfactor
