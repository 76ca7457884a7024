// SPDX-License-Identifier: Apache-2.0
// Ratings that come in chunks, and a folder for what train() keeps of them. POSIX systems alone have scratch files.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "check.hpp"
#include "synthetic.hpp"
#include "warpfactor/source.hpp"

namespace in_chunks {

using namespace warpfactor;
using synthetic::Data;

// More than three parts of the smallest buffer, and several drawers.
inline constexpr std::int32_t kUsers = 3000, kItems = 2000, kRatings = 230'000;
inline constexpr std::int64_t kSmall = kLeastBufferBytes;

/// A folder of its own, empty at first.
struct Folder {
  std::string path;
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "warpfactor-test-XXXXXX").string();
    CHECK(mkdtemp(name.data()) != nullptr);
    path = name;
  }
  ~Folder() { std::filesystem::remove_all(path); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  [[nodiscard]] bool empty() const { return std::filesystem::is_empty(path); }
};

inline std::int64_t open_files() {
  std::error_code error;
  std::filesystem::directory_iterator files("/proc/self/fd", error);
  return error ? 0 : std::distance(std::filesystem::begin(files), std::filesystem::end(files));
}

/// Chunks of a size, or of sizes up to 9,999 with empty ones among them if it is 0.
inline RatingChunks chunks_of(const Data& data, std::int64_t size, int* passes = nullptr) {
  RatingChunks chunks{data.n_users, data.n_items, static_cast<std::int64_t>(data.values.size())};
  chunks.for_each = [&data, size, passes](const auto& take) {
    if (passes != nullptr) ++*passes;
    SplitMix64 random(3);
    const std::size_t n = data.values.size();
    for (std::size_t from = 0; from < n;) {
      const std::size_t wanted = size > 0                ? static_cast<std::size_t>(size)
                                 : random.below(10) == 0 ? 0
                                                         : random.below(10'000);
      const std::size_t more = std::min(wanted, n - from);
      // Copies, which are gone after the call.
      const std::vector<std::int32_t> users(data.users.begin() + static_cast<std::ptrdiff_t>(from),
                                            data.users.begin() + static_cast<std::ptrdiff_t>(from + more)),
          items(data.items.begin() + static_cast<std::ptrdiff_t>(from),
                data.items.begin() + static_cast<std::ptrdiff_t>(from + more));
      const std::vector<float> values(data.values.begin() + static_cast<std::ptrdiff_t>(from),
                                      data.values.begin() + static_cast<std::ptrdiff_t>(from + more));
      std::vector<float> weights;
      if (!data.weights.empty())
        weights.assign(data.weights.begin() + static_cast<std::ptrdiff_t>(from),
                       data.weights.begin() + static_cast<std::ptrdiff_t>(from + more));
      take({users, items, values, weights, data.n_users, data.n_items});
      from += more;
    }
  };
  return chunks;
}

inline Data ratings_of(bool weighted, std::int32_t n = kRatings) {
  Data data(kUsers, kItems, n, 0.3);
  SplitMix64 random(8);
  for (std::int32_t r = 0; r < n / 5; ++r) {  // a heavy row of each side, with pairs more than once
    data.items[static_cast<std::size_t>(r * 5)] = 7;
    if (r % 4 == 0) data.users[static_cast<std::size_t>(r * 5)] = 11;
  }
  for (std::int32_t& user : data.users) user = user == 5 ? 6 : user;  // a row without ratings
  if (weighted) {
    for (std::int32_t r = 0; r < n; ++r) data.weights.push_back(static_cast<float>(random.below(4)) / 2);
  }
  return data;
}

/// Interrupts a fit from chunks in each of so many passes. It must leave neither a file nor one open.
inline void check_interrupts(const Data& data, const TrainParams& params, int n_passes) {
  const Folder folder;
  const std::int64_t files = open_files();
  int calls = 0, limit = std::numeric_limits<int>::max();
  TrainOptions<float> options;
  options.interrupted = [&] { return ++calls > limit; };
  const auto run = [&] { return train<float>(chunks_of(data, 1000), {folder.path, kSmall}, params, options); };
  run();
  const int all = calls, sure = 4 * n_passes;  // once for each of four parts; in between it is asked by the clock
  CHECK(all >= sure);
  for (limit = 0; limit < sure; limit += 3) {
    calls = 0;
    CHECK_THROWS(Interrupted, "interrupted", run());
    CHECK(folder.empty());
    CHECK_EQ(open_files(), files);
  }
}

}  // namespace in_chunks
