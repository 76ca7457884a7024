// SPDX-License-Identifier: Apache-2.0
#include <pybind11/stl.h>

#include <optional>

#include "arrays.hpp"
#include "warpfactor/topk.hpp"

namespace warpfactor::python {
namespace {

template <class T>
FactorsView<T> factors(const Array<T>& user_factors, const Array<T>& item_factors,
                       const std::optional<Array<T>>& user_biases, const std::optional<Array<T>>& item_biases,
                       T global_mean) {
  if (user_factors.ndim() != 2 || item_factors.ndim() != 2 || user_factors.shape(1) != item_factors.shape(1)) {
    throw std::invalid_argument("user_factors and item_factors must be 2-D with the same number of columns");
  }
  FactorsView<T> view;
  view.n_users = static_cast<std::int32_t>(user_factors.shape(0));
  view.n_items = static_cast<std::int32_t>(item_factors.shape(0));
  view.n_factors = static_cast<std::int32_t>(user_factors.shape(1));
  view.global_mean = global_mean;
  view.user_factors = python::view(user_factors);
  view.item_factors = python::view(item_factors);
  view.user_biases = python::view(user_biases);
  view.item_biases = python::view(item_biases);
  return view;
}

template <class T>
Array<T> predict_as(const Array<T>& user_factors, const Array<T>& item_factors,
                    const std::optional<Array<T>>& user_biases, const std::optional<Array<T>>& item_biases,
                    T global_mean, const Array<std::int32_t>& users, const Array<std::int32_t>& items,
                    std::int32_t n_threads) {
  const FactorsView<T> model = factors(user_factors, item_factors, user_biases, item_biases, global_mean);
  Array<T> out(users.size());
  const std::span<T> target = mutable_view(out);
  const std::function<bool()> interrupted = signal_poll();
  {
    const py::gil_scoped_release no_gil;
    predict<T>(model, python::view(users), python::view(items), target, n_threads, interrupted);
  }
  return out;
}

template <class T>
py::tuple recommend_as(const Array<T>& user_factors, const Array<T>& item_factors,
                       const std::optional<Array<T>>& user_biases, const std::optional<Array<T>>& item_biases,
                       T global_mean, const Array<std::int32_t>& users, std::int32_t n,
                       const std::optional<Array<std::int64_t>>& exclude_indptr,
                       const std::optional<Array<std::int32_t>>& exclude_indices, std::int32_t n_threads) {
  const FactorsView<T> model = factors(user_factors, item_factors, user_biases, item_biases, global_mean);
  if (n < 1) {
    throw std::invalid_argument("n is " + std::to_string(n) + "; it must be at least 1");
  }
  Array<std::int32_t> items({users.size(), static_cast<py::ssize_t>(n)});
  Array<T> scores({users.size(), static_cast<py::ssize_t>(n)});
  const std::span<std::int32_t> item_target = mutable_view(items);
  const std::span<T> score_target = mutable_view(scores);
  const RowLists exclude{python::view(exclude_indptr), python::view(exclude_indices)};
  const std::function<bool()> interrupted = signal_poll();
  {
    const py::gil_scoped_release no_gil;
    recommend<T>(model, python::view(users), n, exclude, item_target, score_target, n_threads, interrupted);
  }
  return py::make_tuple(items, scores);
}

template <class T>
void bind_as(py::module_& m) {
  m.def("predict", &predict_as<T>, "r^ of each pair; index -1 is an unknown row.", py::arg("user_factors").noconvert(),
        py::arg("item_factors").noconvert(), py::arg("user_biases").noconvert(), py::arg("item_biases").noconvert(),
        py::arg("global_mean"), py::arg("users").noconvert(), py::arg("items").noconvert(), py::arg("n_threads") = 0);
  m.def("recommend", &recommend_as<T>, "The n best items of each user and their r^; empty slots hold -1 and NaN.",
        py::arg("user_factors").noconvert(), py::arg("item_factors").noconvert(), py::arg("user_biases").noconvert(),
        py::arg("item_biases").noconvert(), py::arg("global_mean"), py::arg("users").noconvert(), py::arg("n"),
        py::arg("exclude_indptr").noconvert() = py::none(), py::arg("exclude_indices").noconvert() = py::none(),
        py::arg("n_threads") = 0);
}

}  // namespace

void bind_topk(py::module_& m) {
  bind_as<float>(m);
  bind_as<double>(m);
  m.def(
      "group_by_user",
      [](const Array<std::int32_t>& users, const Array<std::int32_t>& items, std::int32_t n_users) {
        std::vector<std::int64_t> indptr(static_cast<std::size_t>(n_users) + 1);
        std::vector<std::int32_t> indices(static_cast<std::size_t>(users.size()));
        {
          const py::gil_scoped_release no_gil;
          indices.resize(static_cast<std::size_t>(group_by_user(view(users), view(items), indptr, indices)));
        }
        const auto n_pairs = static_cast<py::ssize_t>(indices.size());
        return py::make_tuple(adopt(std::move(indptr), {static_cast<py::ssize_t>(n_users) + 1}),
                              adopt(std::move(indices), {n_pairs}));
      },
      "(indptr, indices): each user's items, sorted, without repeats.", py::arg("users").noconvert(),
      py::arg("items").noconvert(), py::arg("n_users"));
}

}  // namespace warpfactor::python
