// SPDX-License-Identifier: Apache-2.0
#include <pybind11/stl.h>

#include "arrays.hpp"
#include "warpfactor/runtime.hpp"

namespace warpfactor::python {

void bind_runtime(py::module_& m) {
  m.def("available_threads", &available_threads, "Processors this process may use (affinity and container limits).");
  m.def("instruction_set", &instruction_set, "The instruction set in use; WARPFACTOR_ISA forces one.");
  m.def("built_instruction_sets", &built_instruction_sets, "The instruction sets this build has kernels for.");
  m.def(
      "cuda_status",
      [] {
        const CudaStatus status = cuda_status();
        return py::make_tuple(status.built, status.usable, status.reason);
      },
      "(built, usable, why not).");
}

}  // namespace warpfactor::python
