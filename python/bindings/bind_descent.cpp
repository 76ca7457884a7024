// SPDX-License-Identifier: Apache-2.0
#include "arrays.hpp"
#include "warpfactor/descent.hpp"

namespace warpfactor::python {
namespace {

template <class T>
void bind_descend(py::module_& m) {
  m.def(
      "descend",
      [](const Array<std::int32_t>& rows, const Array<std::int32_t>& columns, const Array<T>& values, Array<T>& P,
         Array<T>& Q_transposed, std::int64_t n_steps, double alpha, double beta, std::int32_t n_threads) {
        if (P.ndim() != 2 || Q_transposed.ndim() != 2 || P.shape(1) != Q_transposed.shape(1)) {
          throw std::invalid_argument("P and Q_transposed must be 2-D with the same number of columns");
        }
        const EntriesView<T> entries{python::view(rows), python::view(columns), python::view(values),
                                     static_cast<std::int32_t>(P.shape(0)),
                                     static_cast<std::int32_t>(Q_transposed.shape(0))};
        const auto n_factors = static_cast<std::int32_t>(P.shape(1));
        const std::span<T> p = mutable_view(P), q = mutable_view(Q_transposed);
        const std::function<bool()> interrupted = signal_poll();
        const WithoutGil no_gil;
        descend<T>(entries, p, q, n_factors, n_steps, alpha, beta, n_threads, interrupted);
      },
      "Full-batch gradient descent, in place.", py::arg("rows").noconvert(), py::arg("columns").noconvert(),
      py::arg("values").noconvert(), py::arg("P").noconvert(), py::arg("Q_transposed").noconvert(), py::arg("n_steps"),
      py::arg("alpha"), py::arg("beta"), py::arg("n_threads") = 0);
}

}  // namespace

void bind_descent(py::module_& m) {
  bind_descend<float>(m);
  bind_descend<double>(m);
}

}  // namespace warpfactor::python
