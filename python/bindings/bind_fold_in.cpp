// SPDX-License-Identifier: Apache-2.0
#include <pybind11/stl.h>

#include <optional>
#include <string>

#include "arrays.hpp"
#include "ratings.hpp"
#include "warpfactor/fold_in.hpp"

namespace warpfactor::python {
namespace {

template <class T>
using SideArrays = std::pair<Array<T>, Array<T>>;  // factors and biases

/// A view of factors and biases.
template <class T>
ModelView<T> view_of_sides(const SideArrays<T>& users, const SideArrays<T>& items, double global_mean, bool biases) {
  ModelView<T> model;
  if (users.first.ndim() != 2 || items.first.ndim() != 2 || users.first.shape(1) != items.first.shape(1)) {
    throw std::invalid_argument("users and items must have 2-D factors with the same number of columns");
  }
  model.n_users = static_cast<std::int32_t>(users.first.shape(0));
  model.n_items = static_cast<std::int32_t>(items.first.shape(0));
  model.n_factors = static_cast<std::int32_t>(users.first.shape(1));
  model.user_factors = python::view(users.first);
  model.item_factors = python::view(items.first);
  model.user_biases = python::view(users.second);
  model.item_biases = python::view(items.second);
  model.global_mean = global_mean;
  model.biases = biases;
  return model;
}

/// Rows of which only the number counts.
template <class T>
SideArrays<T> no_values(py::ssize_t n_rows, py::ssize_t n_factors) {
  const std::vector<py::ssize_t> shape{n_rows, n_factors};
  return {Array<T>(shape), Array<T>(n_rows)};
}

template <class T>
py::tuple to_tuple(std::vector<T>&& factors, std::vector<T>&& biases) {
  const auto n = static_cast<py::ssize_t>(biases.size()), k = n > 0 ? static_cast<py::ssize_t>(factors.size()) / n : 0;
  return py::make_tuple(adopt(std::move(factors), {n, k}), adopt(std::move(biases), {n}));
}

template <class T>
void bind_fold_in_of(py::module_& m) {
  m.def(
      "prior_coefficients",
      [](const SideArrays<T>& rows, std::int32_t n_others, const Array<std::int64_t>& indptr,
         const Array<std::int32_t>& others, double reg_implicit, bool biases, std::int32_t n_threads) {
        const py::ssize_t k = rows.first.ndim() == 2 ? rows.first.shape(1) : 0;
        const SideArrays<T> none = no_values<T>(n_others, k);
        const ModelView<T> model = view_of_sides<T>(rows, none, 0, biases);
        const RowListsView lists{python::view(indptr), python::view(others)};
        const AnswerOptions options{.n_threads = n_threads, .interrupted = signal_poll()};
        PriorCoefficients<T> y;
        {
          const WithoutGil no_gil;
          y = prior_coefficients<T>(model, Side::users, lists, reg_implicit, options);
        }
        return to_tuple(std::move(y.factors), std::move(y.biases));
      },
      "(y, y of the biases) of each of the others, of which the rows' prior means are made; row r met the others "
      "others[indptr[r]] .. others[indptr[r + 1] - 1].",
      py::arg("rows"), py::arg("n_others"), py::arg("indptr").noconvert(), py::arg("others").noconvert(),
      py::arg("reg_implicit"), py::arg("biases"), py::arg("n_threads") = 0);
  m.def(
      "fold_in",
      [](const SideArrays<T>& others, const RatingArrays& arrays, std::int32_t n_rows, const FoldInStrengths& strengths,
         double global_mean, bool biases, const std::optional<SideArrays<T>>& coefficients,
         const std::optional<SideArrays<T>>& earlier, const std::optional<Array<std::uint32_t>>& earlier_counts,
         const std::optional<Array<std::int64_t>>& earlier_indptr,
         const std::optional<Array<std::int32_t>>& earlier_others, std::int32_t n_threads) {
        const py::ssize_t k = others.first.ndim() == 2 ? others.first.shape(1) : 0;
        const SideArrays<T> none = no_values<T>(0, k);
        const ModelView<T> model = view_of_sides<T>(none, others, global_mean, biases);
        const RatingsView ratings = view(arrays, n_rows, model.n_items);
        PriorCoefficientsView<T> y;
        if (coefficients) y = {python::view(coefficients->first), python::view(coefficients->second)};
        EarlierRows<T> before;
        if (earlier) {
          before.factors = python::view(earlier->first);
          before.biases = python::view(earlier->second);
          before.counts = python::view(earlier_counts);
          before.others = {python::view(earlier_indptr), python::view(earlier_others)};
        }
        const AnswerOptions options{.n_threads = n_threads, .interrupted = signal_poll()};
        FoldedRows<T> rows;
        {
          const WithoutGil no_gil;
          rows = fold_in<T>(model, Side::users, ratings, strengths, y, before, options);
        }
        return to_tuple(std::move(rows.factors), std::move(rows.biases));
      },
      "(factors, biases) of rows from their ratings of others: users of the ratings are the rows, items the others.",
      py::arg("others"), py::arg("ratings"), py::arg("n_rows"), py::arg("strengths"), py::arg("global_mean"),
      py::arg("biases"), py::arg("coefficients") = py::none(), py::arg("earlier") = py::none(),
      py::arg("earlier_counts").noconvert() = py::none(), py::arg("earlier_indptr").noconvert() = py::none(),
      py::arg("earlier_others").noconvert() = py::none(), py::arg("n_threads") = 0);
}

}  // namespace

void bind_fold_in(py::module_& m) {
  py::class_<FoldInStrengths>(m, "FoldInStrengths", "What a side's rows were pulled with in training.")
      .def_readonly("reg", &FoldInStrengths::reg)
      .def_readonly("reg_bias", &FoldInStrengths::reg_bias)
      .def_readonly("reg_row", &FoldInStrengths::reg_row)
      .def_readonly("reg_bias_row", &FoldInStrengths::reg_bias_row)
      .def_readonly("reg_implicit", &FoldInStrengths::reg_implicit)
      .def_readonly("score_scale", &FoldInStrengths::score_scale)
      .def_readonly_static("least", &FoldInStrengths::kLeast);
  m.def(
      "fold_in_strengths",
      [](const std::string& params, const std::string& chosen, const std::string& loss, double score_scale,
         bool has_members, bool users) {
        const ToldTraining told{params, chosen, enum_of<Loss>("loss", loss), score_scale, has_members};
        return fold_in_strengths(told, users ? Side::users : Side::items);
      },
      "What a model's rows were pulled with, by what its file tells; ValueError where a row has no closed form.",
      py::arg("params"), py::arg("chosen"), py::arg("loss"), py::arg("score_scale"), py::arg("has_members"),
      py::arg("users"));
  bind_fold_in_of<float>(m);
  bind_fold_in_of<double>(m);
}

}  // namespace warpfactor::python
