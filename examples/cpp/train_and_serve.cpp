// SPDX-License-Identifier: Apache-2.0
// Trains a model on a file of ratings, saves it, and recommends to the users whose ids come on standard input:
//
//   printf 'ann\nbob\n' | train_and_serve ratings.csv model.safetensors
//
// A line of the file is user,item,rating; a first line whose rating is no number is taken for a header. `warpfactor
// recommend model.safetensors --user ann` gives the same lists.
#include <warpfactor/model.hpp>
#include <warpfactor/train.hpp>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

/// Ratings as three columns, and the ids that their codes stand for.
struct Table {
  std::vector<std::int32_t> users, items;
  std::vector<float> values;
  warpfactor::Ids user_ids, item_ids;
};

/// Replaces ids by codes: positions in the sorted, distinct ids, as Ids has them.
warpfactor::Ids number(const std::vector<std::string>& column, std::vector<std::int32_t>& codes) {
  std::vector<std::string> ids = column;
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  for (const std::string& id : column) {
    codes.push_back(static_cast<std::int32_t>(std::lower_bound(ids.begin(), ids.end(), id) - ids.begin()));
  }
  return warpfactor::Ids(ids);
}

Table read(const char* path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error(std::string(path) + " cannot be read");
  Table table;
  std::vector<std::string> users, items;
  std::string line;
  for (int n = 1; std::getline(file, line); ++n) {
    const std::size_t first = line.find(','), second = line.find(',', first + 1);
    try {
      if (first == std::string::npos || second == std::string::npos) throw std::invalid_argument("commas");
      table.values.push_back(std::stof(line.substr(second + 1)));
    } catch (const std::logic_error&) {  // of stof, or the one above
      if (n == 1) continue;              // the header
      throw std::runtime_error(std::string(path) + ", line " + std::to_string(n) + " is no user,item,rating");
    }
    users.push_back(line.substr(0, first));
    items.push_back(line.substr(first + 1, second - first - 1));
  }
  table.user_ids = number(users, table.users);
  table.item_ids = number(items, table.items);
  return table;
}

/// Every tenth rating for validation, the others to train on.
struct Part {
  std::vector<std::int32_t> users, items;
  std::vector<float> values;

  [[nodiscard]] warpfactor::RatingsView view(const Table& of) const {
    return {
        .users = users, .items = items, .values = values, .n_users = of.user_ids.size(), .n_items = of.item_ids.size()};
  }
};

warpfactor::Model<float> train(const Table& table) {
  Part training, validation;
  for (std::size_t n = 0; n < table.values.size(); ++n) {
    Part& part = n % 10 == 9 ? validation : training;
    part.users.push_back(table.users[n]);
    part.items.push_back(table.items[n]);
    part.values.push_back(table.values[n]);
  }
  warpfactor::TrainParams params;  // all defaults; what they leave open is chosen by the ratings
  params.seed = 1;                 // the same seed gives the same model, with any number of threads
  warpfactor::TrainOptions<float> options;
  options.validation = validation.view(table);  // the best epoch is kept
  warpfactor::TrainResult<float> result = warpfactor::train<float>(training.view(table), params, options);
  const warpfactor::EpochReport& best = result.history[static_cast<std::size_t>(result.best_epoch - 1)];
  std::fprintf(stderr, "trained on %zu ratings: epoch %d of %zu, validation RMSE %.4f\n", training.values.size(),
               result.best_epoch, result.history.size(), best.valid_rmse);
  // What the ids are, and what users know already, the training does not need; the model's file and `recommend` do.
  result.model.user_ids = table.user_ids;
  result.model.item_ids = table.item_ids;
  result.model.seen = warpfactor::group_by_user(table.users, table.items, table.user_ids.size());
  return std::move(result.model);
}

void recommend(const warpfactor::Model<float>& model, const std::string& id) {
  const std::int32_t user = model.user_ids.find_text(id);  // -1: unknown, and gets what most people like
  std::int32_t items[5];
  float ratings[5];
  warpfactor::recommend<float>(model.view(), {&user, 1}, 5, model.seen, items, ratings);
  std::printf("%s%s", id.c_str(), user < 0 ? " (unknown)" : "");
  for (int n = 0; n < 5 && items[n] >= 0; ++n) {
    std::printf("\t%s %.3f", model.item_ids.to_string(items[n]).c_str(), static_cast<double>(ratings[n]));
  }
  std::printf("\n");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: train_and_serve RATINGS.csv MODEL.safetensors < user ids, one a line\n");
    return 2;
  }
  try {
    warpfactor::save(train(read(argv[1])), argv[2]);
    // Here the service would be another process, which only loads.
    const auto model = warpfactor::load<float>(argv[2]);
    for (std::string id; std::getline(std::cin, id);) recommend(model, id);
  } catch (const std::exception& error) {  // each says what to do
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
