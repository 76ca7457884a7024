// SPDX-License-Identifier: Apache-2.0
#include <pybind11/functional.h>
#include <pybind11/native_enum.h>
#include <pybind11/stl.h>

#include <array>
#include <optional>

#include "arrays.hpp"
#include "warpfactor/train.hpp"

namespace warpfactor::python {
namespace {

struct RatingArrays {
  Array<std::int32_t> users, items;
  Array<float> values;
  std::optional<Array<float>> weights;
};

RatingsView view(const RatingArrays& arrays, std::int32_t n_users, std::int32_t n_items) {
  RatingsView ratings;
  ratings.users = python::view(arrays.users);
  ratings.items = python::view(arrays.items);
  ratings.values = python::view(arrays.values);
  ratings.weights = python::view(arrays.weights);
  ratings.n_users = n_users;
  ratings.n_items = n_items;
  return ratings;
}

py::dict to_dict(const EpochReport& report) {
  py::dict entry;
  entry["epoch"] = report.epoch;
  entry["seconds"] = report.seconds;
  entry["learning_rate"] = report.learning_rate;
  entry["train_rmse"] = report.train_rmse;
  entry["train_loss"] = report.train_loss;
  entry["valid_rmse"] = report.valid_rmse;
  entry["valid_loss"] = report.valid_loss;
  return entry;
}

template <class T>
py::dict train_as(const RatingArrays& arrays, std::int32_t n_users, std::int32_t n_items, const TrainParams& params,
                  const std::optional<RatingArrays>& validation, const std::optional<Array<T>>& user_factors,
                  const std::optional<Array<T>>& item_factors, const py::object& on_epoch, std::uintptr_t loss,
                  std::uintptr_t penalty, const std::array<std::uintptr_t, 4>& device_kernels) {
  TrainOptions<T> options;
  options.device_kernels = device_kernels;
  options.loss = reinterpret_cast<LossFunction<T>>(loss);
  options.penalty = reinterpret_cast<PenaltyFunction<T>>(penalty);
  if (validation) options.validation = view(*validation, n_users, n_items);
  options.user_factors = python::view(user_factors);
  options.item_factors = python::view(item_factors);
  options.interrupted = signal_poll();
  if (!on_epoch.is_none()) {
    options.on_epoch = [&on_epoch](const EpochReport& report) {
      const py::gil_scoped_acquire gil;
      return on_epoch(to_dict(report)).template cast<bool>();
    };
  }
  const RatingsView ratings = view(arrays, n_users, n_items);
  TrainResult<T> result;
  {
    const py::gil_scoped_release no_gil;
    result = train<T>(ratings, params, options);
  }
  Model<T>& model = result.model;
  py::list history;
  for (const EpochReport& report : result.history) history.append(to_dict(report));
  py::dict out;
  out["user_factors"] = adopt(std::move(model.user_factors), {n_users, model.n_factors});
  out["item_factors"] = adopt(std::move(model.item_factors), {n_items, model.n_factors});
  out["user_biases"] = adopt(std::move(model.user_biases), {n_users});
  out["item_biases"] = adopt(std::move(model.item_biases), {n_items});
  out["global_mean"] = model.global_mean;
  out["rating_mean"] = model.rating_mean;
  out["user_counts"] = adopt(std::move(model.user_counts), {n_users});
  out["item_counts"] = adopt(std::move(model.item_counts), {n_items});
  out["start_bias"] = model.start_bias;
  out["link"] = model.link;
  out["history"] = history;
  out["best_epoch"] = result.best_epoch;
  out["n_threads"] = result.n_threads;
  out["instruction_set"] = result.instruction_set;
  return out;
}

/// A PerSide member as the pair (users, items).
auto side_getter(PerSide TrainParams::* member) {
  return [member](const TrainParams& params) { return std::pair{(params.*member).users, (params.*member).items}; };
}
auto side_setter(PerSide TrainParams::* member) {
  return [member](TrainParams& params, const std::pair<double, double>& sides) {
    params.*member = PerSide(sides.first, sides.second);
  };
}

py::tuple loss_terms(Loss loss, const Array<double>& ratings, const Array<double>& scores, double huber_delta) {
  if (ratings.size() != scores.size()) throw std::invalid_argument("ratings and scores differ in length");
  Array<double> losses(ratings.size()), slopes(ratings.size());
  double *const to_losses = losses.mutable_data(), *const to_slopes = slopes.mutable_data();
  for (py::ssize_t n = 0; n < ratings.size(); ++n) {
    const LossTerm term = loss_term(loss, ratings.data()[n], scores.data()[n], huber_delta);
    to_losses[n] = term.loss;
    to_slopes[n] = term.slope;
  }
  return py::make_tuple(losses, slopes);
}

}  // namespace

void bind_train(py::module_& m) {
  py::native_enum<Loss>(m, "Loss", "enum.Enum")
      .value("squared", Loss::squared)
      .value("absolute", Loss::absolute)
      .value("huber", Loss::huber)
      .value("logistic", Loss::logistic)
      .value("squared_hinge", Loss::squared_hinge)
      .value("poisson", Loss::poisson)
      .value("custom", Loss::custom)
      .finalize();
  py::native_enum<Link>(m, "Link", "enum.Enum")
      .value("identity", Link::identity)
      .value("probability", Link::probability)
      .value("signed_probability", Link::signed_probability)
      .finalize();
  py::native_enum<Optimizer>(m, "Optimizer", "enum.Enum")
      .value("sgd", Optimizer::sgd)
      .value("adagrad", Optimizer::adagrad)
      .value("adam", Optimizer::adam)
      .value("gd", Optimizer::gd)
      .finalize();
  py::native_enum<AdagradPer>(m, "AdagradPer", "enum.Enum")
      .value("row", AdagradPer::row)
      .value("element", AdagradPer::element)
      .finalize();
  py::native_enum<Schedule>(m, "Schedule", "enum.Enum")
      .value("constant", Schedule::constant)
      .value("inverse_time", Schedule::inverse_time)
      .value("linear", Schedule::linear)
      .value("cosine", Schedule::cosine)
      .finalize();
  py::native_enum<Parallel>(m, "Parallel", "enum.Enum")
      .value("auto", Parallel::automatic)
      .value("blocked", Parallel::blocked)
      .value("hogwild", Parallel::hogwild)
      .finalize();
  py::native_enum<Device>(m, "Device", "enum.Enum").value("cpu", Device::cpu).value("cuda", Device::cuda).finalize();

  py::class_<TrainParams>(m, "TrainParams", "What a user may set, with the project's defaults.")
      .def(py::init<>())
      .def_readwrite("n_factors", &TrainParams::n_factors)
      .def_readwrite("n_epochs", &TrainParams::n_epochs)
      .def_readwrite("learning_rate", &TrainParams::learning_rate)
      .def_property("reg", side_getter(&TrainParams::reg), side_setter(&TrainParams::reg))
      .def_property("reg_bias", side_getter(&TrainParams::reg_bias), side_setter(&TrainParams::reg_bias))
      .def_readwrite("l1_ratio", &TrainParams::l1_ratio)
      .def_readwrite("nonnegative", &TrainParams::nonnegative)
      .def_readwrite("biases", &TrainParams::biases)
      .def_readwrite("loss", &TrainParams::loss)
      .def_readwrite("huber_delta", &TrainParams::huber_delta)
      .def_readwrite("normalize", &TrainParams::normalize)
      .def_readwrite("init_scale", &TrainParams::init_scale)
      .def_readwrite("optimizer", &TrainParams::optimizer)
      .def_readwrite("warmup_epochs", &TrainParams::warmup_epochs)
      .def_readwrite("warmup_factors", &TrainParams::warmup_factors)
      .def_readwrite("batch_size", &TrainParams::batch_size)
      .def_readwrite("momentum", &TrainParams::momentum)
      .def_readwrite("adagrad_per", &TrainParams::adagrad_per)
      .def_readwrite("beta_1", &TrainParams::beta_1)
      .def_readwrite("beta_2", &TrainParams::beta_2)
      .def_readwrite("epsilon", &TrainParams::epsilon)
      .def_readwrite("schedule", &TrainParams::schedule)
      .def_readwrite("parallel", &TrainParams::parallel)
      .def_readwrite("device", &TrainParams::device)
      .def_readwrite("device_index", &TrainParams::device_index)
      .def_readwrite("device_memory", &TrainParams::device_memory)
      .def_readwrite("half", &TrainParams::half)
      .def_readwrite("n_threads", &TrainParams::n_threads)
      .def_readwrite("seed", &TrainParams::seed)
      .def_readwrite("patience", &TrainParams::patience);

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

  const char* doc = "Factorize; returns a dict of arrays. Initial factors of both sides or of none.";
  m.def("train_float32", &train_as<float>, doc, py::arg("ratings"), py::arg("n_users"), py::arg("n_items"),
        py::arg("params"), py::arg("validation") = py::none(), py::arg("user_factors").noconvert() = py::none(),
        py::arg("item_factors").noconvert() = py::none(), py::arg("on_epoch") = py::none(), py::arg("loss") = 0,
        py::arg("penalty") = 0, py::arg("device_kernels") = std::array<std::uintptr_t, 4>{});
  m.def("train_float64", &train_as<double>, doc, py::arg("ratings"), py::arg("n_users"), py::arg("n_items"),
        py::arg("params"), py::arg("validation") = py::none(), py::arg("user_factors").noconvert() = py::none(),
        py::arg("item_factors").noconvert() = py::none(), py::arg("on_epoch") = py::none(), py::arg("loss") = 0,
        py::arg("penalty") = 0, py::arg("device_kernels") = std::array<std::uintptr_t, 4>{});
}

}  // namespace warpfactor::python
