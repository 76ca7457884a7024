// SPDX-License-Identifier: Apache-2.0
// Ratings and reports between Python and the core, for the bindings of all that trains.
#pragma once

// Every file that casts a path must see its caster: else two of them define the same template differently, and which of
// them is linked decides whether a path can be cast.
#include <pybind11/stl/filesystem.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "arrays.hpp"
#include "warpfactor/model.hpp"
#include "warpfactor/params.hpp"
#include "warpfactor/train.hpp"

namespace warpfactor::python {

struct RatingArrays {
  Array<std::int32_t> users, items;
  Array<float> values;
  std::optional<Array<float>> weights;
};

inline RatingsView view(const RatingArrays& arrays, std::int32_t n_users, std::int32_t n_items) {
  RatingsView ratings;
  ratings.users = python::view(arrays.users);
  ratings.items = python::view(arrays.items);
  ratings.values = python::view(arrays.values);
  ratings.weights = python::view(arrays.weights);
  ratings.n_users = n_users;
  ratings.n_items = n_items;
  return ratings;
}

using PairArrays = std::pair<Array<std::int32_t>, Array<std::int32_t>>;

/// Pairs without ratings; empty if there are none.
inline RatingsView view(const std::optional<PairArrays>& pairs) {
  RatingsView all;
  if (pairs) {
    all.users = python::view(pairs->first);
    all.items = python::view(pairs->second);
  }
  return all;
}

inline py::dict to_dict(const EpochReport& report) {
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

inline py::list to_list(const std::vector<EpochReport>& reports) {
  py::list history;
  for (const EpochReport& report : reports) history.append(to_dict(report));
  return history;
}

/// A trained model's arrays, which are taken from it, and what is known of its training.
template <class T>
py::dict to_dict(Model<T>&& model) {
  py::dict out;
  out["user_factors"] = adopt(std::move(model.user_factors), {model.n_users, model.n_factors});
  out["item_factors"] = adopt(std::move(model.item_factors), {model.n_items, model.n_factors});
  out["user_biases"] = adopt(std::move(model.user_biases), {model.n_users});
  out["item_biases"] = adopt(std::move(model.item_biases), {model.n_items});
  out["global_mean"] = model.global_mean;
  out["rating_mean"] = model.rating_mean;
  out["user_counts"] = adopt(std::move(model.user_counts), {model.n_users});
  out["item_counts"] = adopt(std::move(model.item_counts), {model.n_items});
  out["start_bias"] = model.start_bias;
  out["link"] = name_of(model.link);
  out["loss"] = name_of(model.loss);
  out["n_ratings"] = model.training.n_ratings;
  out["rating_min"] = model.training.rating_min;
  out["rating_max"] = model.training.rating_max;
  out["score_scale"] = model.training.score_scale;
  out["history"] = to_list(model.history);
  out["best_epoch"] = model.training.n_epochs;
  out["n_threads"] = model.training.n_threads;
  out["instruction_set"] = model.training.instruction_set;
  return out;
}

/// What train() returns; its arrays are taken from it. Needs pybind11/stl.h.
template <class T>
py::dict with_choice(TrainResult<T> result) {
  py::dict out = to_dict(std::move(result.model));
  out["chosen"] = result.chosen;
  out["learning_rates"] = result.learning_rates;
  return out;
}

/// Where training is kept and goes on from. The dict is borrowed.
inline Checkpoints checkpoints_of(const std::optional<py::dict>& given) {
  Checkpoints checkpoints;
  if (!given) return checkpoints;
  const auto path = [&](const char* name) {
    const py::object value = (*given)[name];
    return value.is_none() ? std::filesystem::path() : value.cast<std::filesystem::path>();
  };
  checkpoints.path = path("path");
  checkpoints.resume = path("resume");
  checkpoints.every = (*given)["every"].cast<std::int32_t>();
  checkpoints.context = (*given)["context"].cast<std::map<std::string, std::string>>();
  // Borrowed, as options are copied without Python's lock: the dict outlives them.
  checkpoints.warn = [warn = py::handle(py::object((*given)["warn"]))](const std::string& text) {
    const WithGil gil;
    call_python(py::reinterpret_borrow<py::object>(warn), text);
  };
  return checkpoints;
}

/// Has training tell Python of each epoch; None is not told. Both objects are borrowed.
template <class T>
void take_watchers(TrainOptions<T>& options, const py::object& on_epoch, const py::object& on_snapshot) {
  if (!on_epoch.is_none()) {
    options.on_epoch = [&on_epoch](const EpochReport& report) {
      const WithGil gil;
      return call_python(on_epoch, to_dict(report)).template cast<bool>();
    };
  }
  if (on_snapshot.is_none()) return;
  options.on_snapshot = [&on_snapshot](const EpochReport& report, const std::function<TrainResult<T>()>& snapshot) {
    const WithGil gil;
    call_python(on_snapshot, to_dict(report), py::cpp_function([&] {
                  std::optional<TrainResult<T>> taken;
                  {
                    const WithoutGil no_gil;
                    taken = snapshot();
                  }
                  return with_choice(std::move(*taken));
                }));
  };
}

/// The value of this name; throws std::invalid_argument, calling it `argument`.
template <class E>
E enum_of(const std::string& argument, const std::string& name) {
  const std::optional<E> value = value_of<E>(name);
  if (value) return *value;
  std::string all;
  for (const Named<E>& each : names(E{})) all.append(all.empty() ? "" : ", ").append(each.name);
  throw std::invalid_argument(argument + " is " + name + "; it must be one of " + all);
}

}  // namespace warpfactor::python
