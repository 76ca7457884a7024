// SPDX-License-Identifier: Apache-2.0
#include "warpfactor/sample.hpp"

#include <pybind11/functional.h>
#include <pybind11/stl.h>

#include <optional>

#include "ratings.hpp"

namespace warpfactor::python {
namespace {

template <class T>
py::dict sample_as(const RatingArrays& arrays, std::int32_t n_users, std::int32_t n_items, const SampleParams& params,
                   const std::optional<RatingArrays>& validation, const py::object& on_sweep,
                   const std::optional<PairArrays>& implicit) {
  SampleOptions options;
  options.implicit = view(implicit);
  if (validation) options.validation = view(*validation, n_users, n_items);
  options.interrupted = signal_poll();
  if (!on_sweep.is_none()) {
    options.on_sweep = [&on_sweep](const EpochReport& report) {
      const WithGil gil;
      return call_python(on_sweep, to_dict(report)).template cast<bool>();
    };
  }
  const RatingsView ratings = view(arrays, n_users, n_items);
  SampleResult<T> result;
  {
    const WithoutGil no_gil;
    result = sample<T>(ratings, params, options);
  }
  const auto or_none = [](std::vector<T>&& values) {
    const auto n = static_cast<py::ssize_t>(values.size());
    return values.empty() ? py::object(py::none()) : py::object(adopt(std::move(values), {n}));
  };
  py::dict out = to_dict(std::move(result.model));
  out["n_kept"] = result.n_kept;
  out["user_bias_offsets"] = adopt(std::move(result.user_bias_offsets), {n_users, result.n_kept});
  out["item_bias_offsets"] = adopt(std::move(result.item_bias_offsets), {n_items, result.n_kept});
  out["noise_variance"] = result.noise_variance;
  out["user_noise"] = or_none(std::move(result.user_noise));
  out["item_noise"] = or_none(std::move(result.item_noise));
  return out;
}

/// The names of an enum's values.
template <class E>
py::list all_names(E) {
  py::list all;
  for (const Named<E>& each : names(E{})) all.append(each.name);
  return all;
}

}  // namespace

void bind_sample(py::module_& m) {
  py::class_<SampleParams>(m, "SampleParams", "What a user may set of the sampler, with the project's defaults.")
      .def(py::init<>())
      .def_readwrite("n_factors", &SampleParams::n_factors)
      .def_readwrite("n_burn_in", &SampleParams::n_burn_in)
      .def_readwrite("n_samples", &SampleParams::n_samples)
      .def_readwrite("n_kept", &SampleParams::n_kept)
      .def_property(
          "noise", [](const SampleParams& params) { return name_of(params.noise); },
          [](SampleParams& params, const std::string& name) { params.noise = enum_of<Noise>("noise", name); })
      .def_property(
          "implicit_feedback", [](const SampleParams& params) { return name_of(params.implicit_feedback); },
          [](SampleParams& params, const std::string& name) {
            params.implicit_feedback = enum_of<ImplicitFeedback>("implicit_feedback", name);
          })
      .def_readwrite("n_threads", &SampleParams::n_threads)
      .def_readwrite("seed", &SampleParams::seed);
  m.def("check_params", py::overload_cast<const SampleParams&>(&check_params),
        "Raise ValueError where sampling would, whatever the ratings.", py::arg("params"));
  m.def("kept_samples", &kept_samples, "The samples that the model holds.", py::arg("params"));
  m.attr("noise_kinds") = all_names(Noise{});
  m.attr("implicit_feedback_kinds") = all_names(ImplicitFeedback{});
  m.attr("most_kept_factors") = kMostKeptFactors;

  const char* doc = "Sample a Bayesian factorization; returns a dict of arrays.";
  m.def("sample_float32", &sample_as<float>, doc, py::arg("ratings"), py::arg("n_users"), py::arg("n_items"),
        py::arg("params"), py::arg("validation") = py::none(), py::arg("on_sweep") = py::none(),
        py::arg("implicit") = py::none());
  m.def("sample_float64", &sample_as<double>, doc, py::arg("ratings"), py::arg("n_users"), py::arg("n_items"),
        py::arg("params"), py::arg("validation") = py::none(), py::arg("on_sweep") = py::none(),
        py::arg("implicit") = py::none());
}

}  // namespace warpfactor::python
