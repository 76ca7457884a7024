// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "warpfactor/params.hpp"

namespace warpfactor {

/// The parameters as a model file holds them: a JSON object of the Python estimator's, by its names. A custom loss is
/// left out: its formula is not known here.
template <class T>
std::string stored_params(const TrainParams& params);

}  // namespace warpfactor
