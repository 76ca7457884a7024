// SPDX-License-Identifier: Apache-2.0
// A service that answers while its model is replaced: threads read user ids from standard input and write lists, and
// one more thread looks every 20 ms whether the model's file is another one.
//
//   reloading_service model.safetensors 4 < user ids, one a line
//
// save() and warpfactor.save put a file in its place whole, so that a reader finds the old one or the new one. A file
// that cannot be read (somebody else's tool wrote it) leaves the service with the model that it has.
#include <warpfactor/model.hpp>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <iostream>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace fs = std::filesystem;
using Model = warpfactor::Model<float>;

namespace {

/// The model in use. Whoever answers holds it as long as the answer takes: it goes when the last one is done.
class Current {
 public:
  explicit Current(std::shared_ptr<const Model> model) : model_(std::move(model)) {}

  [[nodiscard]] std::shared_ptr<const Model> get() const {
    const std::lock_guard lock(mutex_);
    return model_;
  }
  void set(std::shared_ptr<const Model> model) {
    const std::lock_guard lock(mutex_);
    model_.swap(model);  // the old one goes outside of the lock, when `model` does
  }

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const Model> model_;
};

/// What changes when a file is replaced.
using Stamp = std::pair<fs::file_time_type, std::uintmax_t>;

Stamp stamp_of(const fs::path& path) {
  std::error_code missing;  // between two versions, with tools that remove first
  const auto time = fs::last_write_time(path, missing);
  const auto size = fs::file_size(path, missing);
  return {time, size};
}

std::shared_ptr<const Model> load(const fs::path& path) {
  auto model = std::make_shared<const Model>(warpfactor::load<float>(path));
  std::fprintf(stderr, "loaded: %d users, %d items, %lld ratings\n", model->n_users, model->n_items,
               static_cast<long long>(model->training.n_ratings));
  return model;
}

void reload_when_changed(const fs::path& path, Stamp stamp, Current& current, const std::atomic<bool>& done) {
  while (!done) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    const Stamp now = stamp_of(path);
    if (now == stamp) continue;
    stamp = now;
    try {
      current.set(load(path));
    } catch (const std::exception& error) {
      std::fprintf(stderr, "kept the old model: %s\n", error.what());
    }
  }
}

std::string answer(const Model& model, const std::string& id) {
  const std::int32_t user = model.user_ids.find_text(id);
  std::int32_t items[3];
  float ratings[3];
  warpfactor::AnswerOptions options;
  options.n_threads = 1;  // many users at a time, each on the thread that asks
  warpfactor::recommend<float>(model.view(), {&user, 1}, 3, model.seen, items, ratings, options);
  std::string line = id;
  for (int n = 0; n < 3 && items[n] >= 0; ++n) {
    char rating[32];
    std::snprintf(rating, sizeof rating, " %.4f", static_cast<double>(ratings[n]));
    line.append("\t").append(model.item_ids.to_string(items[n])).append(rating);
  }
  return line + "\n";
}

}  // namespace

int main(int argc, char** argv) {
  const int n_threads = argc == 3 ? std::atoi(argv[2]) : 1;
  if (argc < 2 || argc > 3 || n_threads < 1) {
    std::fprintf(stderr, "usage: reloading_service MODEL.safetensors [THREADS] < user ids, one a line\n");
    return 2;
  }
  try {
    const fs::path path = argv[1];
    const Stamp stamp = stamp_of(path);  // before the file is read: a later one is seen
    Current current(load(path));
    std::atomic<bool> done = false;
    std::thread watcher([&] { reload_when_changed(path, stamp, current, done); });
    std::mutex in, out;
    const auto serve = [&] {
      for (std::string id;;) {
        {
          const std::lock_guard lock(in);
          if (!std::getline(std::cin, id)) return;
        }
        const std::string line = answer(*current.get(), id);
        const std::lock_guard lock(out);
        std::fputs(line.c_str(), stdout);
        std::fflush(stdout);
      }
    };
    std::vector<std::thread> threads;
    for (int n = 0; n < n_threads; ++n) threads.emplace_back(serve);
    for (std::thread& thread : threads) thread.join();
    done = true;
    watcher.join();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
