// SPDX-License-Identifier: Apache-2.0
#include <pybind11/stl.h>

#include <cstdlib>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "arrays.hpp"
#include "data/id_encoder.hpp"
#include "data/numbers.hpp"

namespace warpfactor::python {
namespace {

py::array_t<std::int32_t> adopt_codes(Codes&& codes) {
  const auto n = static_cast<py::ssize_t>(codes.size());
  if (n == 0) return py::array_t<std::int32_t>(0);
  std::int32_t* data = codes.release();
  py::capsule free;
  try {
    free = py::capsule(data, [](void* memory) { std::free(memory); });
  } catch (...) {
    std::free(data);
    throw;
  }
  return py::array_t<std::int32_t>(n, data, free);
}

py::list strings(const EncodedIds& ids) {
  const std::size_t n = ids.offsets.empty() ? 0 : ids.offsets.size() - 1;
  py::list list(n);
  for (std::size_t rank = 0; rank < n; ++rank) {
    const auto start = static_cast<std::size_t>(ids.offsets[rank]),
               stop = static_cast<std::size_t>(ids.offsets[rank + 1]);
    PyObject* text = PyUnicode_DecodeUTF8(ids.text.data() + start, static_cast<Py_ssize_t>(stop - start), nullptr);
    if (text == nullptr) throw py::error_already_set();
    PyList_SET_ITEM(list.ptr(), static_cast<Py_ssize_t>(rank), text);
  }
  return list;
}

py::tuple codes_and_ids(EncodedIds&& ids) {
  if (!ids.integers) {
    py::list texts = strings(ids);
    return py::make_tuple(adopt_codes(std::move(ids.codes)), std::move(texts));
  }
  const auto n = static_cast<py::ssize_t>(ids.values.size());
  auto values = adopt(std::move(ids.values), {n});
  return py::make_tuple(adopt_codes(std::move(ids.codes)), std::move(values));
}

using Held = std::optional<py::buffer_info>;

Held request(const std::optional<py::buffer>& buffer) {
  if (!buffer) return {};
  return buffer->request();
}

std::span<const char> bytes_of(const Held& held) {
  if (!held || held->size == 0) return {};
  return {static_cast<const char*>(held->ptr), static_cast<std::size_t>(held->size * held->itemsize)};
}

void add_chunk(TextEncoder& encoder, const std::optional<py::buffer>& validity,
               const std::optional<py::buffer>& offsets, const std::optional<py::buffer>& text, std::int64_t first,
               std::int64_t n_rows, bool wide) {
  const Held bits = request(validity), ends = request(offsets), held_text = request(text);
  const std::span<const char> all = bytes_of(held_text);
  const TextChunk chunk{n_rows, first, wide, bytes_of(bits), bytes_of(ends), std::string_view(all.data(), all.size())};
  const WithoutGil no_gil;
  encoder.add(chunk);
}

/// A column of any strides.
template <class T>
IdColumn<T> column_of(const py::array_t<T, 0>& values) {
  constexpr py::ssize_t kSize = sizeof(T);
  if (values.ndim() != 1 || values.strides(0) % kSize != 0 ||
      reinterpret_cast<std::uintptr_t>(values.data()) % alignof(T) != 0) {
    throw py::value_error("values must be one column of whole, aligned numbers");
  }
  return {values.data(), values.size(), values.strides(0) / kSize};
}

template <class Id>
void bind_encode_integers(py::module_& m) {
  m.def(
      "encode_integers",
      [](const py::array_t<Id, 0>& values, std::int32_t n_threads) {
        const IdColumn<Id> column = column_of(values);
        EncodedIds ids;
        {
          const WithoutGil no_gil;
          ids = encode_integers(column, n_threads);
        }
        return codes_and_ids(std::move(ids));
      },
      "(codes, ids): the codes of integers, and the sorted ids.", py::arg("values").noconvert(),
      py::arg("n_threads") = 0);
  m.def(
      "encode_columns",
      [](const py::array_t<Id, 0>& first, const py::array_t<Id, 0>& second, std::int32_t n_threads) {
        const IdColumn<Id> columns[] = {column_of(first), column_of(second)};
        if (columns[0].n != columns[1].n) throw py::value_error("the columns must be of one length");
        std::vector<EncodedIds> ids;
        {
          const WithoutGil no_gil;
          ids = encode_columns(std::span<const IdColumn<Id>>(columns), n_threads);
        }
        return py::make_tuple(codes_and_ids(std::move(ids[0])), codes_and_ids(std::move(ids[1])));
      },
      "Two columns as encode_integers() has one, in passes over both.", py::arg("first").noconvert(),
      py::arg("second").noconvert(), py::arg("n_threads") = 0);
}

template <class T>
void bind_to_floats(py::module_& m) {
  m.def(
      "to_floats",
      [](const py::array_t<T, 0>& values, std::int32_t n_threads) {
        const IdColumn<T> column = column_of(values);
        FloatColumn floats;
        {
          const WithoutGil no_gil;
          floats = to_floats(column.first, column.n, column.step, n_threads);
        }
        return py::make_tuple(adopt(std::move(floats.values)), floats.first_bad);
      },
      "(values, first_bad): a new array of float32, and the first position that is not finite in it; -1: none.",
      py::arg("values").noconvert(), py::arg("n_threads") = 0);
}

}  // namespace

void bind_ids(py::module_& m) {
  py::class_<TextEncoder>(m, "TextEncoder", "Encodes a column of texts, chunk by chunk, in one thread at a time.")
      .def(py::init([](bool integers, bool strip, bool empty_is_missing, bool streaming, std::int32_t n_threads) {
             return TextEncoder({integers, strip, empty_is_missing, streaming, n_threads});
           }),
           py::kw_only(), py::arg("integers") = true, py::arg("strip") = false, py::arg("empty_is_missing") = true,
           py::arg("streaming") = false, py::arg("n_threads") = 0)
      .def("reserve", &TextEncoder::reserve, "Make room for so many rows in all.", py::arg("n_rows"))
      .def("add", &add_chunk, "Encode a chunk, given by Arrow's buffers; nothing of it is kept.", py::arg("validity"),
           py::arg("offsets"), py::arg("text"), py::arg("first"), py::arg("n_rows"), py::arg("wide"))
      .def(
          "add_integers",
          [](TextEncoder& encoder, const Array<std::int64_t>& values) {
            const std::span<const std::int64_t> ids = python::view(values);
            const WithoutGil no_gil;
            encoder.add_integers(ids);
          },
          "Encode integers; only if it streams.", py::arg("values").noconvert())
      .def(
          "take_codes", [](TextEncoder& encoder) { return adopt_codes(encoder.take_codes()); },
          "The codes of all rows since the last call, -1 for missing ids; only if it streams.")
      .def(
          "finish",
          [](TextEncoder& encoder) {
            EncodedIds ids;
            {
              const WithoutGil no_gil;
              ids = encoder.finish();
            }
            return codes_and_ids(std::move(ids));
          },
          "(codes, ids): the sorted ids are an int64 array or a list of str. The encoder cannot be used again.")
      .def_property_readonly("streams", &TextEncoder::streams)
      .def_property_readonly("are_integers", &TextEncoder::are_integers)
      .def_property_readonly("n_ids", &TextEncoder::n_ids)
      .def_property_readonly("n_bytes", &TextEncoder::n_bytes)
      .def_property_readonly("n_missing", &TextEncoder::n_missing)
      .def_property_readonly("first_missing", &TextEncoder::first_missing);
  bind_encode_integers<std::int32_t>(m);
  bind_encode_integers<std::int64_t>(m);
  bind_to_floats<float>(m);
  bind_to_floats<double>(m);
}

}  // namespace warpfactor::python
