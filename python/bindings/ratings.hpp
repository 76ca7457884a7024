// SPDX-License-Identifier: Apache-2.0
// Ratings and reports between Python and the core, for the bindings of all that trains.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "arrays.hpp"
#include "warpfactor/model.hpp"
#include "warpfactor/params.hpp"

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

/// The value of this name; throws std::invalid_argument, calling it `argument`.
template <class E>
E enum_of(const std::string& argument, const std::string& name) {
  const std::optional<E> value = value_of<E>(name);
  if (value) return *value;
  std::string all;
  for (const Named<E>& each : names(E{})) all += (all.empty() ? "" : ", ") + std::string(each.name);
  throw std::invalid_argument(argument + " is " + name + "; it must be one of " + all);
}

}  // namespace warpfactor::python
