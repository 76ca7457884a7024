// SPDX-License-Identifier: Apache-2.0
#include <pybind11/functional.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <string>

#include "arrays.hpp"
#include "optimizer.hpp"
#include "ratings.hpp"
#include "warpfactor/source.hpp"
#include "warpfactor/train.hpp"

namespace warpfactor::python {
namespace {

DeviceKernels kernels_of(const std::map<std::string, std::uintptr_t>& functions) {
  DeviceKernels kernels;
  for (const auto& [name, function] : functions) {
    if (name == "pass") {
      kernels.pass = function;
    } else if (name == "pulled_pass") {
      kernels.pulled_pass = function;
    } else if (name == "batch_gradients") {
      kernels.batch_gradients = function;
    } else if (name == "batch_steps") {
      kernels.batch_steps = function;
    } else if (name == "evaluate") {
      kernels.evaluate = function;
    } else {
      throw py::key_error(name);
    }
  }
  return kernels;
}

py::dict facts_of(const std::filesystem::path& path) {
  CheckpointFacts facts;
  {
    const WithoutGil no_gil;
    facts = checkpoint_facts(path);
  }
  py::dict out;
  out["finished"] = facts.finished;
  out["seed"] = facts.seed;
  out["version"] = facts.version;
  py::list history;
  for (const EpochReport& report : facts.history) history.append(to_dict(report));
  out["history"] = history;
  return out;
}

/// Calls `take` with each (users, items, values, weights or None) of a fresh iterator that `chunks` returns. Needs no
/// GIL; takes it while a chunk is made.
void pull_chunks(const py::object& chunks, std::int32_t n_users, std::int32_t n_items,
                 const std::function<void(const RatingsView&)>& take) {
  const auto array = [](const py::handle& given, const char* name, auto element) {
    using E = decltype(element);
    if (!py::isinstance<Array<E>>(given)) {
      throw py::type_error(std::string("chunks: ") + name + " must be contiguous arrays of " +
                           std::string(py::str(py::dtype::of<E>())));
    }
    return py::reinterpret_borrow<Array<E>>(given);
  };
  const WithGil gil;
  const py::object all = py::iter(call_python(chunks));
  for (;;) {
    const auto chunk = py::reinterpret_steal<py::object>(until_the_end([&all] { return PyIter_Next(all.ptr()); }));
    if (!chunk) {
      if (PyErr_Occurred() != nullptr) throw py::error_already_set();
      return;
    }
    const auto parts = py::cast<py::tuple>(chunk);
    if (parts.size() != 4) throw py::value_error("chunks must give (users, items, values, weights or None)");
    RatingArrays arrays{array(parts[0], "users", std::int32_t{}), array(parts[1], "items", std::int32_t{}),
                        array(parts[2], "values", float{}), std::nullopt};
    if (!parts[3].is_none()) arrays.weights = array(parts[3], "weights", float{});
    const RatingsView ratings = view(arrays, n_users, n_items);
    const WithoutGil no_gil;
    take(ratings);
  }
}

/// What train() takes beside the ratings, as Python gives it. `train(options)` runs without the GIL.
template <class T, class Train>
py::dict train_with(std::int32_t n_users, std::int32_t n_items, const std::optional<RatingArrays>& validation,
                    const std::optional<Array<T>>& user_factors, const std::optional<Array<T>>& item_factors,
                    const py::object& on_epoch, std::uintptr_t loss, std::uintptr_t penalty,
                    const std::map<std::string, std::uintptr_t>& device_kernels,
                    const std::optional<PairArrays>& implicit, const std::optional<Array<T>>& user_biases,
                    const std::optional<Array<T>>& item_biases, double global_mean, const py::object& on_snapshot,
                    const std::vector<double>& learning_rates, const std::optional<py::dict>& checkpoints,
                    const Train& train) {
  TrainOptions<T> options;
  options.checkpoints = checkpoints_of(checkpoints);
  options.device_kernels = kernels_of(device_kernels);
  options.loss = reinterpret_cast<LossFunction<T>>(loss);
  options.penalty = reinterpret_cast<PenaltyFunction<T>>(penalty);
  if (validation) options.validation = view(*validation, n_users, n_items);
  options.implicit = view(implicit);
  options.user_factors = python::view(user_factors);
  options.item_factors = python::view(item_factors);
  options.user_biases = python::view(user_biases);
  options.item_biases = python::view(item_biases);
  options.global_mean = global_mean;
  options.interrupted = signal_poll();
  take_watchers(options, on_epoch, on_snapshot);
  options.learning_rates = learning_rates;
  TrainResult<T> result;
  {
    const WithoutGil no_gil;
    result = train(options);
  }
  return with_choice(std::move(result));
}

template <class T>
py::dict train_as(const RatingArrays& arrays, std::int32_t n_users, std::int32_t n_items, const TrainParams& params,
                  const std::optional<RatingArrays>& validation, const std::optional<Array<T>>& user_factors,
                  const std::optional<Array<T>>& item_factors, const py::object& on_epoch, std::uintptr_t loss,
                  std::uintptr_t penalty, const std::map<std::string, std::uintptr_t>& device_kernels,
                  const std::optional<PairArrays>& implicit, const std::optional<Array<T>>& user_biases,
                  const std::optional<Array<T>>& item_biases, double global_mean, const py::object& on_snapshot,
                  const std::vector<double>& learning_rates, const std::optional<py::dict>& checkpoints) {
  return train_with<T>(
      n_users, n_items, validation, user_factors, item_factors, on_epoch, loss, penalty, device_kernels, implicit,
      user_biases, item_biases, global_mean, on_snapshot, learning_rates, checkpoints,
      [&](const TrainOptions<T>& options) { return train<T>(view(arrays, n_users, n_items), params, options); });
}

template <class T>
py::dict train_chunks_as(const py::object& chunks, std::int32_t n_users, std::int32_t n_items, std::int64_t n_ratings,
                         const std::string& scratch, std::int64_t buffer_bytes, std::int64_t freed_bytes,
                         const TrainParams& params, const std::optional<RatingArrays>& validation,
                         const std::optional<Array<T>>& user_factors, const std::optional<Array<T>>& item_factors,
                         const py::object& on_epoch, std::uintptr_t loss, std::uintptr_t penalty,
                         const std::map<std::string, std::uintptr_t>& device_kernels,
                         const std::optional<PairArrays>& implicit, const std::optional<Array<T>>& user_biases,
                         const std::optional<Array<T>>& item_biases, double global_mean, const py::object& on_snapshot,
                         const std::vector<double>& learning_rates, const std::optional<py::dict>& checkpoints) {
  return train_with<T>(n_users, n_items, validation, user_factors, item_factors, on_epoch, loss, penalty,
                       device_kernels, implicit, user_biases, item_biases, global_mean, on_snapshot, learning_rates,
                       checkpoints, [&](const TrainOptions<T>& options) {
                         const RatingChunks source{
                             n_users, n_items, n_ratings,
                             [&](const auto& take) { pull_chunks(chunks, n_users, n_items, take); }, freed_bytes};
                         return train<T>(source, {scratch, buffer_bytes}, params, options);
                       });
}

template <class T>
TrainParams found_strengths(const RatingArrays& arrays, std::int32_t n_users, std::int32_t n_items,
                            const TrainParams& params, int n_divisions, std::uintptr_t loss, std::uintptr_t penalty) {
  TrainOptions<T> options;
  options.loss = reinterpret_cast<LossFunction<T>>(loss);
  options.penalty = reinterpret_cast<PenaltyFunction<T>>(penalty);
  options.interrupted = signal_poll();
  const WithoutGil no_gil;
  return with_found_strengths<T>(view(arrays, n_users, n_items), params, options, n_divisions);
}

/// The parameter of this name.
const Param& param_of(const std::string& name) {
  for (const Param& param : kParams) {
    if (param.name == name) return param;
  }
  throw py::key_error(name);
}

template <class V>
constexpr bool is_optional = false;
template <class V>
constexpr bool is_optional<std::optional<V>> = true;

template <class V>
py::object to_python(const V& value) {
  if constexpr (std::is_enum_v<V>) {
    return py::str(name_of(value));
  } else if constexpr (std::is_same_v<V, PerSide>) {
    return py::make_tuple(value.users, value.items);
  } else if constexpr (is_optional<V>) {
    return value ? to_python(*value) : py::none();
  } else {
    return py::cast(value);
  }
}

/// Throws TypeError for another type, and ValueError for a number that the parameter's type cannot hold.
template <class V>
V from_python(const std::string& name, const py::object& given) {
  const auto wrong = [&](const char* type) {
    return py::type_error(name + " is " + std::string(py::repr(given)) + "; it must be " + type);
  };
  const bool flag = py::isinstance<py::bool_>(given);
  const bool number = !flag && (py::isinstance<py::int_>(given) || py::isinstance<py::float_>(given));
  if constexpr (is_optional<V>) {
    return given.is_none() ? V{} : V{from_python<typename V::value_type>(name, given)};
  } else if constexpr (std::is_enum_v<V>) {
    if (!py::isinstance<py::str>(given)) throw wrong("a str");
    return enum_of<V>(name, given.cast<std::string>());
  } else if constexpr (std::is_same_v<V, bool>) {
    if (!flag) throw wrong("a bool");
    return given.cast<bool>();
  } else if constexpr (std::is_same_v<V, double>) {
    if (!number) throw wrong("a number");
    return given.cast<double>();
  } else if constexpr (std::is_same_v<V, PerSide>) {
    if (!py::isinstance<py::tuple>(given) || py::len(given) != 2) throw wrong("a pair of numbers");
    const auto pair = py::reinterpret_borrow<py::tuple>(given);
    return {from_python<double>(name, pair[0]), from_python<double>(name, pair[1])};
  } else {
    if (flag || !py::isinstance<py::int_>(given)) throw wrong("an int");
    try {
      return given.cast<V>();
    } catch (const py::cast_error&) {
      throw py::value_error(name + " is " + std::string(py::repr(given)) + "; it must be from " +
                            std::to_string(std::numeric_limits<V>::min()) + " to " +
                            std::to_string(std::numeric_limits<V>::max()));
    }
  }
}

py::object get_param(const TrainParams& params, const std::string& name) {
  return std::visit([&](auto member) { return to_python(params.*member); }, param_of(name).member);
}
void set_param(TrainParams& params, const std::string& name, const py::object& value) {
  std::visit([&]<class V>(V TrainParams::* member) { params.*member = from_python<V>(name, value); },
             param_of(name).member);
}

/// What a parameter is when it is not left open.
template <class V>
struct Value {
  using Type = V;
};
template <class V>
struct Value<std::optional<V>> {
  using Type = V;
};

/// A row of the table for Python.
py::dict describe(const Param& param) {
  py::dict row;
  row["name"] = param.name;
  row["default"] = get_param({}, param.name);
  row["choices"] = py::list();
  const Range& range = param.range;
  const auto end = [](double at) -> py::object { return std::isfinite(at) ? py::object(py::float_(at)) : py::none(); };
  row["low"] = end(range.low);
  row["high"] = end(range.high);
  row["low_open"] = range.low_open;
  row["high_open"] = range.high_open;
  std::visit(
      [&]<class M>(M TrainParams::*) {
        using V = typename Value<M>::Type;
        row["optional"] = is_optional<M>;
        if constexpr (std::is_enum_v<V>) {
          row["kind"] = "choice";
          py::list choices;
          for (const Named<V>& each : names(V{})) choices.append(each.name);
          row["choices"] = choices;
        } else if constexpr (std::is_same_v<V, bool>) {
          row["kind"] = "flag";
        } else if constexpr (std::is_same_v<V, PerSide>) {
          row["kind"] = "pair";
        } else if constexpr (std::is_integral_v<V>) {
          row["kind"] = "int";  // whose ends are ints, of the type if the table has none
          const auto whole = [](double at, V of_type) {
            return std::isfinite(at) ? py::int_(static_cast<V>(at)) : py::int_(of_type);
          };
          row["low"] = whole(range.low, std::numeric_limits<V>::min());
          row["high"] = whole(range.high, std::numeric_limits<V>::max());
        } else {
          row["kind"] = "float";
        }
      },
      param.member);
  row["allowed"] = allowed_text(param);
  row["help"] = param.help;
  return row;
}

py::dict describe(const LossTraits& loss) {
  py::dict row;
  row["name"] = loss.name;
  row["labels"] = loss.labels();
  row["nonnegative"] = loss.nonnegative;
  row["link"] = name_of(loss.link);
  return row;
}

/// Every row of a table.
template <class Rows>
py::list describe_all(const Rows& rows) {
  py::list all;
  for (const auto& row : rows) all.append(describe(row));
  return all;
}

py::tuple loss_terms(const std::string& loss, const Array<double>& ratings, const Array<double>& scores,
                     double huber_delta) {
  if (ratings.size() != scores.size()) throw std::invalid_argument("ratings and scores differ in length");
  const Loss kind = enum_of<Loss>("loss", loss);
  Array<double> losses(ratings.size()), slopes(ratings.size());
  double *const to_losses = losses.mutable_data(), *const to_slopes = slopes.mutable_data();
  for (py::ssize_t n = 0; n < ratings.size(); ++n) {
    const LossTerm term = loss_term(kind, ratings.data()[n], scores.data()[n], huber_delta);
    to_losses[n] = term.loss;
    to_slopes[n] = term.slope;
  }
  return py::make_tuple(losses, slopes);
}

}  // namespace

void bind_train(py::module_& m) {
  py::class_<TrainParams>(m, "TrainParams", "What a user may set, by name, with the project's defaults.")
      .def(py::init<>())
      .def("__getitem__", &get_param, py::arg("name"))
      .def("__setitem__", &set_param, py::arg("name"), py::arg("value"));
  m.def("check_params", py::overload_cast<const TrainParams&, bool>(&check_params),
        "Raise ValueError where training would, whatever the ratings.", py::arg("params"), py::arg("custom_penalty"));
  m.def("parameters", [] { return describe_all(kParams); }, "A dict for each parameter of training, in order.");
  m.def("losses", [] { return describe_all(kLosses); }, "A dict for each loss.");
  m.def("usual_epochs", &usual_epochs, "The epochs of a training where n_epochs is left open.", py::arg("n_ratings"));
  m.def("most_epochs", &most_epochs, "The most epochs that a training runs.", py::arg("params"), py::arg("n_ratings"),
        py::arg("validating"));
  m.def("pass_kind", &pass_kind_of, "What a device's pass over ratings must be able to do.", py::arg("params"),
        py::arg("penalty"));

  py::class_<RatingArrays>(m, "RatingArrays", "COO ratings: int32 users and items, float32 values and weights.")
      .def(py::init([](Array<std::int32_t> users, Array<std::int32_t> items, Array<float> values,
                       std::optional<Array<float>> weights) {
             return RatingArrays{std::move(users), std::move(items), std::move(values), std::move(weights)};
           }),
           py::arg("users").noconvert(), py::arg("items").noconvert(), py::arg("values").noconvert(),
           py::arg("weights").noconvert() = py::none());

  m.def("loss_terms", &loss_terms, "(l(r, x), dl/dx) of each rating and score, in the units of training.",
        py::arg("loss"), py::arg("ratings").noconvert(), py::arg("scores").noconvert(), py::arg("huber_delta") = 1.0);

  m.def(
      "epoch_batches",
      [](const RatingArrays& arrays, const TrainParams& params, std::int32_t epoch) {
        return epoch_batches(view(arrays, 0, 0), params, epoch);
      },
      "The ratings of each step of an epoch (0-based), as their numbers.", py::arg("ratings"), py::arg("params"),
      py::arg("epoch"));

  const char* found = "The parameters with what a search finds, if they leave the strengths open.";
  m.def("found_strengths_float32", &found_strengths<float>, found, py::arg("ratings"), py::arg("n_users"),
        py::arg("n_items"), py::arg("params"), py::arg("n_divisions"), py::arg("loss") = 0, py::arg("penalty") = 0);
  m.def("found_strengths_float64", &found_strengths<double>, found, py::arg("ratings"), py::arg("n_users"),
        py::arg("n_items"), py::arg("params"), py::arg("n_divisions"), py::arg("loss") = 0, py::arg("penalty") = 0);

  m.def("checkpoint_facts", &facts_of, "What a checkpoint says of its training: finished, seed, version, history.",
        py::arg("path"));

  const char* doc = "Factorize; returns a dict of arrays. Initial factors of both sides or of none.";
  const char* chunks_doc =
      "Factorize ratings kept in the folder `scratch`. `chunks()` returns an iterator over (users, items, values, "
      "weights or None), which gives back `freed_bytes` of the same disk.";
  const auto define = [&]<class T>(T, const char* name, const char* chunks_name) {
    const auto with_options = [&](const char* as, auto function, const char* told, const auto&... of_ratings) {
      m.def(as, function, told, of_ratings..., py::arg("params"), py::arg("validation") = py::none(),
            py::arg("user_factors").noconvert() = py::none(), py::arg("item_factors").noconvert() = py::none(),
            py::arg("on_epoch") = py::none(), py::arg("loss") = 0, py::arg("penalty") = 0,
            py::arg("device_kernels") = py::dict(), py::arg("implicit") = py::none(),
            py::arg("user_biases").noconvert() = py::none(), py::arg("item_biases").noconvert() = py::none(),
            py::arg("global_mean") = 0.0, py::arg("on_snapshot") = py::none(),
            py::arg("learning_rates") = std::vector<double>{}, py::arg("checkpoints") = py::none());
    };
    with_options(name, &train_as<T>, doc, py::arg("ratings"), py::arg("n_users"), py::arg("n_items"));
    with_options(chunks_name, &train_chunks_as<T>, chunks_doc, py::arg("chunks"), py::arg("n_users"),
                 py::arg("n_items"), py::arg("n_ratings"), py::arg("scratch"), py::arg("buffer_bytes"),
                 py::arg("freed_bytes"));
  };
  define(float{}, "train_float32", "train_chunks_float32");
  define(double{}, "train_float64", "train_chunks_float64");
  m.def(
      "check_scratch",
      [](std::int64_t buffer_bytes, const TrainParams& params) { validate({"", buffer_bytes}, params); },
      "Raise ValueError if train_chunks cannot take these.", py::arg("buffer_bytes"), py::arg("params"));
  m.def("scratch_bytes", &scratch_bytes, "The most that train_chunks takes in its folder at a time.",
        py::arg("n_ratings"), py::arg("weighted"), py::arg("params"));
}

}  // namespace warpfactor::python
