// SPDX-License-Identifier: Apache-2.0
// A program that embeds warpfactor: it trains on ratings that it owns, stops early, saves and loads models, recommends
// by its own ids, and handles errors. It checks what it gets on the way, and exits with 1 if something is wrong.
//
//   embed train FOLDER    train three models, save them to FOLDER, and write down what they answer
//   embed load FOLDER     load the models in FOLDER that Python has saved, and compare answers with those written down
//
// check_files.py does the same in Python.
#include <warpfactor/model.hpp>
#include <warpfactor/runtime.hpp>
#include <warpfactor/train.hpp>
#include <warpfactor/version.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

namespace wf = warpfactor;
namespace fs = std::filesystem;

namespace {

void check(bool condition, const std::string& what) {
  if (!condition) throw std::runtime_error("failed: " + what);
}

/// Ratings as a program may have them: three columns, and the names of the rows.
struct Shop {
  std::vector<std::string> customers;  // sorted, as Ids needs them
  std::vector<std::int64_t> products;
  std::vector<std::int32_t> users, items;
  std::vector<float> values;

  [[nodiscard]] wf::RatingsView ratings() const {
    return {.users = users,
            .items = items,
            .values = values,
            .n_users = static_cast<std::int32_t>(customers.size()),
            .n_items = static_cast<std::int32_t>(products.size())};
  }
};

/// 40 customers and 30 products, the last of each without ratings; values are what `rate` makes of 1 to 5 stars.
template <class Rate>
Shop shop(const Rate& rate) {
  Shop shop;
  for (int n = 0; n < 40; ++n) shop.customers.push_back("customer " + std::to_string(100 + n));
  for (int n = 0; n < 30; ++n) shop.products.push_back(1000 + 7 * n);
  for (std::int32_t user = 0; user < 39; ++user) {
    for (std::int32_t item = 0; item < 29; ++item) {
      if ((user * 7 + item * 3) % 5 == 0) continue;  // not rated
      shop.users.push_back(user);
      shop.items.push_back(item);
      shop.values.push_back(rate(1 + static_cast<float>((user % 3) + (item % 3))));
    }
  }
  return shop;
}

/// What a model answers about its first rows and about unknown ones, as lines of text with all digits.
template <class T>
std::string answers(const wf::Model<T>& model) {
  std::string lines;
  const auto line = [&](const char* what, const std::string& of, const std::string& item, T value) {
    char digits[40];
    std::snprintf(digits, sizeof digits, "%.17g", static_cast<double>(value));
    lines += std::string(what) + "\t" + of + "\t" + item + "\t" + digits + "\n";
  };
  const std::int32_t n_users = std::min(model.n_users, 8), n_items = std::min(model.n_items, 8);
  for (std::int32_t user = -1; user < n_users; ++user) {
    const std::string name = user < 0 ? "unknown" : model.user_ids.to_string(user);
    for (std::int32_t item = 0; item < n_items; ++item) {
      line("predict", name, model.item_ids.to_string(item), model.predict(user, item));
    }
    std::array<std::int32_t, 5> best;
    std::array<T, 5> predictions;
    wf::recommend<T>(model.view(), {&user, 1}, 5, model.seen, best, predictions);
    for (std::size_t slot = 0; slot < best.size() && best[slot] >= 0; ++slot) {
      check(predictions[slot] == model.predict(user, best[slot]), "recommend's predictions are those of predict");
      line("recommend", name, model.item_ids.to_string(best[slot]), predictions[slot]);
    }
  }
  for (std::int32_t item = 0; item < n_items; ++item) {
    std::array<std::int32_t, 3> similar;
    std::array<T, 3> cosines;
    wf::similar_items<T>(model.view(), {&item, 1}, 3, similar, cosines);
    for (std::size_t slot = 0; slot < similar.size() && similar[slot] >= 0; ++slot) {
      line("similar", model.item_ids.to_string(item), model.item_ids.to_string(similar[slot]), cosines[slot]);
    }
  }
  return lines;
}

std::string text_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  check(file.is_open(), path.string() + " can be opened");
  return {std::istreambuf_iterator<char>(file), {}};
}

/// Trains, saves, loads again, recommends by ids, and handles an error.
template <class T>
void train_and_save(const Shop& shop, wf::Loss loss, const fs::path& folder, const std::string& name) {
  wf::TrainParams params;
  params.loss = loss;
  params.n_factors = 4;
  params.n_epochs = 200;
  params.seed = 7;
  wf::TrainOptions<T> options;
  options.on_epoch = [](const wf::EpochReport& report) { return report.train_rmse < 0.2; };  // near enough: stop
  wf::TrainResult<T> result = wf::train<T>(shop.ratings(), params, options);
  wf::Model<T>& model = result.model;
  check(result.history.size() > 1 && result.history.size() < 200, "the callback stopped " + name);
  check(model.training.n_ratings == static_cast<std::int64_t>(shop.values.size()), "the model knows its ratings");

  model.user_ids = wf::Ids(shop.customers);
  model.item_ids = wf::Ids(shop.products);
  model.seen = wf::group_by_user(shop.users, shop.items, model.n_users);
  wf::save(model, folder / (name + ".safetensors"));
  std::ofstream(folder / (name + ".answers"), std::ios::binary) << answers(model);

  const wf::Model<T> loaded = wf::load<T>(folder / (name + ".safetensors"));
  check(answers(loaded) == answers(model), "a loaded model answers as the saved one does");
  const std::int32_t user = loaded.user_ids.find("customer 103"), nobody = loaded.user_ids.find("nobody");
  check(user == 3 && nobody == -1, "ids are found");
  std::array<std::int32_t, 30> best;
  std::array<T, 30> predictions;
  wf::recommend<T>(loaded.view(), {&user, 1}, 30, loaded.seen, best, predictions);
  const std::size_t n_left = 29 - loaded.seen[user].size();
  for (std::size_t slot = 0; slot < best.size(); ++slot) {
    check((best[slot] >= 0) == (slot < n_left), "what is recommended is known and was not rated");
    check(slot >= n_left || std::ranges::count(loaded.seen[user], best[slot]) == 0, "nothing rated is recommended");
  }
  check(loaded.predict(nobody, 2) == loaded.predict(39, 2), "an unknown id gets what a row without ratings gets");
  double error = 0;
  for (std::size_t r = 0; r < shop.values.size(); ++r) {
    const double apart = shop.values[r] - static_cast<double>(loaded.predict(shop.users[r], shop.items[r]));
    error += apart * apart / static_cast<double>(shop.values.size());
  }
  check(std::sqrt(error) < 0.35, "the predictions of " + name + " come near the ratings");
  std::printf("%s: %zu epochs (%s), RMSE %.3f; to customer 103: product %s, %.3f\n", name.c_str(),
              result.history.size(), result.instruction_set.c_str(), std::sqrt(error),
              loaded.item_ids.to_string(best[0]).c_str(), static_cast<double>(predictions[0]));
}

template <class Error, class F>
void check_error(const F& f, const std::string& part) {
  try {
    f();
  } catch (const Error& error) {
    check(std::string(error.what()).find(part) != std::string::npos, std::string(error.what()) + " has " + part);
    return;
  }
  check(false, "an error with " + part);
}

void train(const fs::path& folder) {
  fs::create_directories(folder);
  const Shop stars = shop([](float value) { return value; });
  train_and_save<float>(stars, wf::Loss::squared, folder, "squared");
  train_and_save<double>(stars, wf::Loss::squared, folder, "float64");
  train_and_save<float>(shop([](float value) { return value > 3 ? 1.0f : 0.0f; }), wf::Loss::logistic, folder,
                        "logistic");
  train_and_save<float>(shop([](float value) { return value - 1; }), wf::Loss::poisson, folder, "poisson");

  wf::TrainParams params;
  params.n_factors = 0;
  check_error<std::invalid_argument>([&] { (void)wf::train<float>(stars.ratings(), params); }, "n_factors is 0");
  check_error<wf::ModelFileError>([&] { (void)wf::load<float>(folder / "none"); }, "there is no model file");
  check_error<wf::ModelFileError>([&] { (void)wf::load<float>(folder / "float64.safetensors"); }, "use load<double>");
  std::ofstream(folder / "damaged", std::ios::binary) << text_of(folder / "squared.safetensors").substr(0, 2000);
  check_error<wf::ModelFileError>([&] { (void)wf::load<float>(folder / "damaged"); }, "is damaged");
}

template <class T>
void load_and_compare(const fs::path& folder, const std::string& name) {
  const wf::Model<T> model = wf::load<T>(folder / (name + ".safetensors"));
  check(answers(model) == text_of(folder / (name + ".answers")), "answers of " + name + " are those of Python");
  wf::save(model, folder / (name + ".again"));
  const wf::Model<T> again = wf::load<T>(folder / (name + ".again"));
  check(answers(again) == answers(model), "saved again, " + name + " is the same");
  // The members of an ensemble choose each for itself.
  const bool told = name == "ensemble" || model.chosen.find("learning_rate") != std::string::npos;
  check(again.chosen == model.chosen && told, "saved again, " + name + " tells what training chose");
  check(again.members == model.members, "saved again, " + name + " has the same members");
  check(model.members.empty() == (name != "ensemble"), "the ensemble alone has members");
  std::printf("%s: %d x %d, the answers of Python\n", name.c_str(), model.n_users, model.n_items);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const std::string what = argc == 3 ? argv[1] : "";
    std::printf("warpfactor %s\n", WARPFACTOR_VERSION);
    if (what == "train") {
      train(argv[2]);
    } else if (what == "load") {
      for (const char* name : {"squared", "logistic", "poisson", "uuid", "ensemble"})
        load_and_compare<float>(argv[2], name);
      load_and_compare<double>(argv[2], "float64");
    } else {
      std::fprintf(stderr, "usage: embed train|load FOLDER\n");
      return 2;
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
