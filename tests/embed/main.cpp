// SPDX-License-Identifier: Apache-2.0
// Trains on ratings that this program owns, without handing over a copy, and predicts one that is missing.
#include <warpfactor/runtime.hpp>
#include <warpfactor/train.hpp>
#include <warpfactor/version.hpp>

#include <cmath>
#include <cstdio>
#include <vector>

int main() {
  // User u gives item i the rating 2 + u/2 + i/4; the pair (3, 3) is left out.
  std::vector<std::int32_t> users, items;
  std::vector<float> values;
  for (std::int32_t pair = 0; pair < 24; ++pair) {
    if (pair == 3 * 4 + 3) continue;
    users.push_back(pair / 4);
    items.push_back(pair % 4);
    values.push_back(2 + static_cast<float>(pair / 4) / 2 + static_cast<float>(pair % 4) / 4);
  }
  warpfactor::TrainParams params;
  params.n_factors = 2;
  params.n_epochs = 200;
  params.reg = params.reg_bias = 0.001;
  const auto result =
      warpfactor::train<float>({.users = users, .items = items, .values = values, .n_users = 6, .n_items = 4}, params);

  const float predicted = result.model.predict(3, 3), expected = 2 + 1.5f + 0.75f;
  std::printf("warpfactor %s (%s): rating (3, 3) is %.2f, predicted %.2f, RMSE of the last epoch %.4f\n",
              WARPFACTOR_VERSION, result.instruction_set.c_str(), expected, predicted,
              result.history.back().train_rmse);
  return std::abs(predicted - expected) < 0.5f && result.history.back().train_rmse < 0.1 ? 0 : 1;
}
