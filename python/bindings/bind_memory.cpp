// SPDX-License-Identifier: Apache-2.0
#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "arrays.hpp"
#include "warpfactor/memory.hpp"
#include "warpfactor/sample.hpp"

namespace warpfactor::python {
namespace {

using NamedBytes = std::vector<std::pair<std::string, std::int64_t>>;

NamedBytes pairs_of(const std::vector<MemoryPart>& parts) {
  NamedBytes all;
  for (const MemoryPart& part : parts) all.emplace_back(part.name, part.bytes);
  return all;
}

/// RatingCounts with the arrays that they borrow.
struct CountsWithArrays {
  RatingCounts counts;
  std::optional<Array<std::uint32_t>> users, items;
};

}  // namespace

void bind_memory(py::module_& m) {
  py::class_<CountsWithArrays>(m, "RatingCounts", "What is to be known of the ratings of a fit.")
      .def(py::init([](std::int64_t n_ratings, std::int32_t n_users, std::int32_t n_items, bool weighted,
                       std::int64_t n_validation, std::int64_t n_implicit, bool initial, bool custom_penalty,
                       std::optional<Array<std::uint32_t>> users, std::optional<Array<std::uint32_t>> items,
                       std::int64_t buffer) {
             CountsWithArrays of{{}, std::move(users), std::move(items)};
             of.counts.n_ratings = n_ratings;
             of.counts.n_users = n_users;
             of.counts.n_items = n_items;
             of.counts.weighted = weighted;
             of.counts.n_validation = n_validation;
             of.counts.n_implicit = n_implicit;
             of.counts.initial = initial;
             of.counts.custom_penalty = custom_penalty;
             of.counts.user_counts = view(of.users);
             of.counts.item_counts = view(of.items);
             of.counts.buffer_bytes = buffer;
             return of;
           }),
           py::arg("n_ratings"), py::arg("n_users"), py::arg("n_items"), py::arg("weighted") = false,
           py::arg("n_validation") = 0, py::arg("n_implicit") = 0, py::arg("initial") = false,
           py::arg("custom_penalty") = false, py::arg("user_counts").noconvert() = py::none(),
           py::arg("item_counts").noconvert() = py::none(), py::arg("buffer") = 0);
  const auto told = [](const FitMemory& memory) {
    std::vector<std::pair<std::string, NamedBytes>> phases;
    for (const MemoryPhase& phase : memory.phases) phases.emplace_back(phase.name, pairs_of(phase.parts));
    return py::make_tuple(phases, pairs_of(memory.device), memory.device_streamed);
  };
  const char* const memory_doc =
      "What a fit takes at most: (phases of the host, parts of the device, bytes of them that may be streamed).";
  m.def(
      "fit_memory",
      [told](const CountsWithArrays& of, const TrainParams& params, bool is_double) {
        return told(is_double ? fit_memory<double>(of.counts, params) : fit_memory<float>(of.counts, params));
      },
      memory_doc, py::arg("counts"), py::arg("params"), py::arg("is_double"));
  m.def(
      "fit_memory",
      [told](const CountsWithArrays& of, const SampleParams& params, bool is_double) {
        return told(is_double ? sample_memory<double>(of.counts, params) : sample_memory<float>(of.counts, params));
      },
      memory_doc, py::arg("counts"), py::arg("params"), py::arg("is_double"));
  const char* const smaller_doc =
      "Changes of one parameter with which the fit takes no more than so many bytes, and what it then takes. freed: "
      "bytes of the ratings, which a fit from disk does not hold.";
  m.def(
      "smaller_fits",
      [](const CountsWithArrays& of, const TrainParams& params, bool is_double, std::int64_t bytes,
         std::int64_t freed) {
        return pairs_of(is_double ? smaller_fits<double>(of.counts, params, bytes, MemoryBound::most, freed)
                                  : smaller_fits<float>(of.counts, params, bytes, MemoryBound::most, freed));
      },
      smaller_doc, py::arg("counts"), py::arg("params"), py::arg("is_double"), py::arg("bytes"), py::arg("freed") = 0);
  m.def(
      "smaller_fits",
      [](const CountsWithArrays& of, const SampleParams& params, bool is_double, std::int64_t bytes, std::int64_t) {
        return pairs_of(is_double ? smaller_samples<double>(of.counts, params, bytes)
                                  : smaller_samples<float>(of.counts, params, bytes));
      },
      smaller_doc, py::arg("counts"), py::arg("params"), py::arg("is_double"), py::arg("bytes"), py::arg("freed") = 0);
  m.def(
      "available_memory",
      [] {
        const AvailableMemory available = available_memory();
        return py::make_tuple(available.bytes, available.limit);
      },
      "(bytes that this process may still take, -1 if not known; what limits it).");
  m.def("bytes_text", &bytes_text, "Bytes for people.", py::arg("bytes"));
}

}  // namespace warpfactor::python
