// SPDX-License-Identifier: Apache-2.0
// NumPy arrays <-> spans and vectors, and what every group of bindings shares.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <vector>

#include "buffer.hpp"
#include "gil.hpp"

namespace warpfactor::python {

namespace py = pybind11;

/// One element type exactly: a conversion would be a copy of the ratings that nobody asked for.
template <class T>
using Array = py::array_t<T, py::array::c_style>;

template <class T>
std::span<const T> view(const Array<T>& array) {
  return {array.data(), static_cast<std::size_t>(array.size())};
}

template <class T>
std::span<const T> view(const std::optional<Array<T>>& array) {
  return array ? view(*array) : std::span<const T>{};
}

template <class T>
std::span<T> mutable_view(Array<T>& array) {
  return {array.mutable_data(), static_cast<std::size_t>(array.size())};
}

/// A NumPy array that takes over the vector's memory.
template <class T>
py::array_t<T> adopt(std::vector<T>&& values, std::vector<py::ssize_t> shape) {
  auto owned = std::make_unique<std::vector<T>>(std::move(values));
  T* data = owned->data();
  py::capsule free(owned.get(), [](void* vector) { delete static_cast<std::vector<T>*>(vector); });
  owned.release();
  return py::array_t<T>(std::move(shape), data, free);
}

/// The same of a buffer, which is one column.
template <class T>
py::array_t<T> adopt(Buffer<T>&& values) {
  auto owned = std::make_unique<Buffer<T>>(std::move(values));
  T* data = owned->data();
  const auto n = static_cast<py::ssize_t>(owned->size());
  py::capsule free(owned.get(), [](void* buffer) { delete static_cast<Buffer<T>*>(buffer); });
  owned.release();
  return py::array_t<T>(n, data, free);
}

/// To be polled by long work that runs without the GIL: true once a signal handler (Ctrl-C) has raised. Handlers run in
/// Python's main thread alone, so elsewhere there is nothing to poll for. Needs the GIL.
inline std::function<bool()> signal_poll() {
  const py::module_ threading = py::module_::import("threading");
  if (!call_python(threading.attr("current_thread")).is(call_python(threading.attr("main_thread")))) return {};
  return [] {
    const WithGil gil;
    return until_the_end([] { return PyErr_CheckSignals(); }) != 0;
  };
}

void bind_answers(py::module_& m);
void bind_blocks(py::module_& m);
void bind_descent(py::module_& m);
void bind_fold_in(py::module_& m);
void bind_ids(py::module_& m);
void bind_memory(py::module_& m);
void bind_metrics(py::module_& m);
void bind_runtime(py::module_& m);
void bind_model(py::module_& m);
void bind_sample(py::module_& m);
void bind_train(py::module_& m);

}  // namespace warpfactor::python
