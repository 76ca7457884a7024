// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>

#include "warpfactor/params.hpp"

namespace warpfactor {

/// The parameters as a model file holds them: a JSON object of the Python estimator's, by its names. A custom loss is
/// left out: its formula is not known here.
template <class T>
std::string stored_params(const TrainParams& params);

/// What training chose where the given parameters leave it open, as a JSON object.
std::string stored_choice(const TrainParams& given, const TrainParams& chosen);

/// Each parameter by its name in the core, as JSON: "null" where it is left open.
std::map<std::string, std::string> param_texts(const TrainParams& params);
/// Sets what the parameters leave open, and n_epochs, to what the texts say. Throws json::Error.
void take_choice(TrainParams& params, const std::map<std::string, std::string>& texts);

}  // namespace warpfactor
