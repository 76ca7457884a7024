// SPDX-License-Identifier: Apache-2.0
#include <pybind11/stl.h>

#include "arrays.hpp"
#include "serving/ranking_metrics.hpp"

namespace warpfactor::python {
namespace {

using Offsets = Array<std::int64_t>;
using Codes = Array<std::int32_t>;

template <class T>
void bind_scores(py::module_& m) {
  m.def(
      "ranked_lists",
      [](const Array<T>& scores, std::int32_t length, std::int32_t n_threads) {
        if (scores.ndim() != 2) throw std::invalid_argument("scores must be 2-D");
        Codes lists({scores.shape(0), static_cast<py::ssize_t>(length)});
        const std::span<std::int32_t> target = mutable_view(lists);
        const auto n_items = static_cast<std::int32_t>(scores.shape(1));
        const py::ssize_t n_rows = scores.shape(0);
        {
          const WithoutGil no_gil;
          ranked_lists<T>(python::view(scores), n_rows, n_items, length, target, n_threads);
        }
        return lists;
      },
      "The columns of the highest scores of each row, of shape (n_rows, length); -1 in empty slots.",
      py::arg("scores").noconvert(), py::arg("length"), py::arg("n_threads") = 0);
  m.def(
      "ranking_auc",
      [](const Array<T>& scores, const std::optional<Offsets>& excluded_indptr,
         const std::optional<Codes>& excluded_items, const Offsets& indptr, const Codes& items,
         std::int32_t n_threads) {
        if (scores.ndim() != 2) throw std::invalid_argument("scores must be 2-D");
        Array<double> out(scores.shape(0));
        const std::span<double> target = mutable_view(out);
        const auto n_items = static_cast<std::int32_t>(scores.shape(1));
        const py::ssize_t n_rows = scores.shape(0);
        {
          const WithoutGil no_gil;
          ranking_auc<T>(python::view(scores), n_rows, n_items,
                         {python::view(excluded_indptr), python::view(excluded_items)},
                         {python::view(indptr), python::view(items)}, target, n_threads);
        }
        return out;
      },
      "The area under the ROC curve of each row of scores, of shape (n_rows,).", py::arg("scores").noconvert(),
      py::arg("excluded_indptr"), py::arg("excluded_items"), py::arg("indptr"), py::arg("items"),
      py::arg("n_threads") = 0);
}

}  // namespace

void bind_metrics(py::module_& m) {
  m.attr("RANKING_METRICS") =
      py::tuple(py::cast(std::vector<std::string>(kRankingMetrics.begin(), kRankingMetrics.end())));
  m.def(
      "ranking_metrics",
      [](const Codes& lists, const Offsets& indptr, const Codes& items, const Array<double>& gains,
         const Codes& cutoffs, std::int32_t n_threads) {
        if (lists.ndim() != 2) throw std::invalid_argument("lists must be 2-D");
        Array<double> out({static_cast<py::ssize_t>(kRankingMetrics.size()), cutoffs.size(), lists.shape(0)});
        const std::span<double> target = mutable_view(out);
        const RankedListsView ranked{lists.shape(0), lists.shape(1), python::view(lists)};
        {
          const WithoutGil no_gil;
          ranking_metrics(ranked, {{python::view(indptr), python::view(items)}, python::view(gains)},
                          python::view(cutoffs), target, n_threads);
        }
        return out;
      },
      "Each of RANKING_METRICS at each cutoff for each row of lists, of shape (n_metrics, n_cutoffs, n_rows).",
      py::arg("lists").noconvert(), py::arg("indptr").noconvert(), py::arg("items").noconvert(),
      py::arg("gains").noconvert(), py::arg("cutoffs").noconvert(), py::arg("n_threads") = 0);
  bind_scores<float>(m);
  bind_scores<double>(m);
}

}  // namespace warpfactor::python
