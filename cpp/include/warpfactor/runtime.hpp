// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpfactor/standard.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace warpfactor {

/// Processors this process may really use: affinity and container (cgroup) limits counted, at least 1.
std::int32_t available_threads();

/// The instruction set of answers. WARPFACTOR_ISA forces one; an unknown name, or one that this build or processor
/// lacks, throws std::invalid_argument.
std::string instruction_set();

/// The one that each rating's step of SGD runs with at this rank, by a table of processors: not everywhere are the
/// widest vectors the fastest. The same on every processor of a kind. Throws likewise.
std::string training_instruction_set(std::int32_t n_factors, bool in_double = false);

/// Why these, in words. Throws likewise.
std::string instruction_set_reason();

/// The instruction sets this build holds kernels for, narrowest first.
std::vector<std::string> built_instruction_sets();

/// Those of them that this processor has.
std::vector<std::string> usable_instruction_sets();

struct CudaStatus {
  bool built = false;   ///< this build holds the CUDA part
  bool usable = false;  ///< and training on the device would work
  std::string reason;   ///< why not, and what to do; empty when usable
};

/// Never throws; does not need a driver.
CudaStatus cuda_status();

}  // namespace warpfactor
