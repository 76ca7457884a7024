// SPDX-License-Identifier: Apache-2.0
#include <pybind11/stl.h>

#include "arrays.hpp"
#include "device/build_id.hpp"
#include "device/registry.hpp"
#include "warpfactor/runtime.hpp"
#include "warpfactor/version.hpp"

namespace warpfactor::python {
namespace {

template <class T>
void best_items_as(std::uintptr_t scores, std::int64_t n_rows, std::int32_t n_columns, std::int64_t row_stride,
                   std::int32_t n, std::uintptr_t columns, std::uintptr_t best, std::uintptr_t stream) {
  BestArgs<T> args{};
  args.scores = reinterpret_cast<const T*>(scores);
  args.n_rows = n_rows;
  args.row_stride = row_stride;
  args.n_columns = n_columns;
  args.n = n;
  args.columns = reinterpret_cast<std::int32_t*>(columns);
  args.best = reinterpret_cast<T*>(best);
  cuda_select_best(args, stream);
}

/// Looks for the device's code in the wheel warpfactor-cuda, unless it is built in; returns where it comes from.
std::string find_cuda() {
  if (registered_cuda() != nullptr) return "built in";
  const py::object find = py::module_::import("warpfactor.cuda_library").attr("find");
  const auto found = find(WARPFACTOR_VERSION, kBuildId).cast<std::tuple<std::uintptr_t, std::string, std::string>>();
  const auto& [address, source, problem] = found;
  if (address != 0) register_cuda(*reinterpret_cast<const CudaLibrary*>(address));
  if (!problem.empty()) explain_missing_cuda(problem);
  return source;
}

}  // namespace

void bind_runtime(py::module_& m) {
  m.def("available_threads", &available_threads, "Processors this process may use (affinity and container limits).");
  m.def("instruction_set", &instruction_set, "The instruction set in use; WARPFACTOR_ISA forces one.");
  m.def("training_instruction_set", &training_instruction_set, "The instruction set that trains this rank.",
        py::arg("n_factors"), py::arg("in_double") = false);
  m.def("instruction_set_reason", &instruction_set_reason, "Why these instruction sets, in words.");
  m.def("usable_instruction_sets", &usable_instruction_sets,
        "Those instruction sets that this build has kernels for and this processor runs.");
  m.def("built_instruction_sets", &built_instruction_sets, "The instruction sets this build has kernels for.");
  m.def(
      "cuda_status",
      [] {
        const CudaStatus status = cuda_status();
        return py::make_tuple(status.built, status.usable, status.reason);
      },
      "(built, usable, why not).");
  m.def("cuda_is_twin", &cuda_is_twin, "Whether the host stands in for the CUDA device, for tests.");
  m.attr("cuda_source") = find_cuda();
  m.attr("most_selected") = kMostSelected;
  m.def(
      "best_items",
      [](std::uintptr_t scores, std::int64_t n_rows, std::int32_t n_columns, std::int64_t row_stride, std::int32_t n,
         std::uintptr_t items, std::uintptr_t best, bool is_double, std::uintptr_t stream) {
        if (n < 1 || n > kMostSelected) {
          throw std::invalid_argument("n is " + std::to_string(n) + "; it must be from 1 to " +
                                      std::to_string(kMostSelected));
        }
        const WithoutGil no_gil;
        (is_double ? best_items_as<double> : best_items_as<float>)(scores, n_rows, n_columns, row_stride, n, items,
                                                                   best, stream);
      },
      "The n best of each row of scores on the device, best first; arrays as addresses.", py::arg("scores"),
      py::arg("n_rows"), py::arg("n_columns"), py::arg("row_stride"), py::arg("n"), py::arg("items_out"),
      py::arg("scores_out"), py::arg("is_double"), py::arg("stream"));
}

}  // namespace warpfactor::python
