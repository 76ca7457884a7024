// SPDX-License-Identifier: Apache-2.0
#include "serving/stored_params.hpp"

#include <algorithm>
#include <limits>
#include <optional>
#include <string_view>
#include <type_traits>

#include "serving/json.hpp"

namespace warpfactor {
namespace {

constexpr std::int64_t kInt32Max = std::numeric_limits<std::int32_t>::max();

std::string stored(double value) { return json::number(value); }
std::string stored(const PerSide& sides) {
  if (sides.users == sides.items) return json::number(sides.users);
  return std::string("[").append(json::number(sides.users)).append(", ").append(json::number(sides.items)).append("]");
}
template <class V>
std::string stored(V value) {
  if constexpr (std::is_same_v<V, bool>) {
    return value ? "true" : "false";
  } else if constexpr (std::is_enum_v<V>) {
    return json::quoted(name_of(value));
  } else {
    return std::to_string(value);
  }
}

template <class V>
std::string stored(const std::optional<V>& value) {
  return value ? stored(*value) : "null";
}

/// What Python calls a parameter that may be left open.
std::string_view python_name(std::string_view name) { return name == "init_scale" ? "init" : name; }

}  // namespace

template <class T>
std::string stored_params(const TrainParams& params) {
  std::string all = "{";
  const auto put = [&all](std::string_view name, const std::string& value) {
    if (all.size() > 1) all += ", ";
    all.append(json::quoted(name)).append(": ").append(value);
  };
  for (const Param& param : kParams) {
    const std::string_view name = param.name;
    const std::string value = std::visit([&](auto member) { return stored(params.*member); }, param.member);
    // What Python calls otherwise, or says in another way.
    if (name == "seed") {
      put("random_state", value);
    } else if (name == "patience") {
      put("early_stopping", params.patience == 0 ? "false" : value);
    } else if (name == "device") {
      put(name, params.device == Device::cpu ? value : json::quoted("cuda:" + std::to_string(params.device_index)));
    } else if (name == "half") {
      put("dtype", json::quoted(params.half ? "float16" : sizeof(T) == sizeof(float) ? "float32" : "float64"));
    } else if (name == "n_threads" || name == "batch_size" || name == "device_memory") {
      put(name, value == "0" ? "null" : value);
    } else if (name != "device_index" && !(name == "loss" && params.loss == Loss::custom)) {
      put(python_name(name), value);
    }
  }
  return all + "}";
}

std::string stored_choice(const TrainParams& given, const TrainParams& chosen) {
  std::string all = "{";
  for (const Param& param : kParams) {
    const auto value_in = [&](const TrainParams& params) {
      return std::visit([&](auto member) { return stored(params.*member); }, param.member);
    };
    const std::string value = value_in(chosen);
    if (value == value_in(given)) continue;
    if (all.size() > 1) all += ", ";
    all.append(json::quoted(python_name(param.name))).append(": ").append(value);
  }
  return all + "}";
}

std::map<std::string, std::string> param_texts(const TrainParams& params) {
  std::map<std::string, std::string> texts;
  for (const Param& param : kParams) {
    texts[param.name] = std::visit([&](auto member) { return stored(params.*member); }, param.member);
  }
  return texts;
}

void take_choice(TrainParams& params, const std::map<std::string, std::string>& texts) {
  const auto take = [](auto& to, const json::Value& value) {
    using V = std::decay_t<decltype(to)>;
    if constexpr (std::is_same_v<V, std::optional<std::int32_t>>) {  // n_epochs, which early stopping may lower
      to = static_cast<std::int32_t>(std::clamp<std::int64_t>(value.integer(), -1, to.value_or(kInt32Max)));
    } else if constexpr (std::is_same_v<V, std::optional<double>>) {
      if (!to) to = value.number();
    } else if constexpr (std::is_same_v<V, std::optional<PerSide>>) {
      // Both sides' strengths are one number where they are alike.
      if (!to) {
        to = value.is_number() ? PerSide(value.number())
                               : PerSide(value.array().at(0).number(), value.array().at(1).number());
      }
    } else if constexpr (std::is_same_v<V, ImplicitFeedback>) {
      if (to != ImplicitFeedback::automatic) return;
      const std::optional<ImplicitFeedback> named = value_of<ImplicitFeedback>(value.string());
      if (!named) throw json::Error("implicit_feedback is unknown");
      to = *named;
    }
  };
  for (const Param& param : kParams) {
    const auto found = texts.find(param.name);
    if (found == texts.end()) throw json::Error(std::string("there is no ") + param.name);
    const json::Value value = json::parse(found->second);
    if (!value.is_null()) std::visit([&](auto member) { take(params.*member, value); }, param.member);
  }
}

template std::string stored_params<float>(const TrainParams&);
template std::string stored_params<double>(const TrainParams&);

}  // namespace warpfactor
