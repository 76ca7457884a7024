// SPDX-License-Identifier: Apache-2.0
// Training from chunks of ratings, over a scratch file: the same bits as in memory, and nothing left behind.
#include "warpfactor/source.hpp"

#include <algorithm>
#include <filesystem>
#include <numeric>
#include <string>
#include <vector>

#include "check.hpp"
#include "in_chunks.hpp"

#ifndef _WIN32
#include <sys/resource.h>

#include <csignal>

namespace {

using namespace in_chunks;
using synthetic::same_bits;

TrainParams usual() {
  TrainParams params;
  params.n_factors = 5;
  params.n_epochs = 3;
  params.reg = 0.04;
  return params;
}

template <class T>
void compare(const Data& data, const TrainParams& params, const TrainOptions<T>& options,
             const std::vector<std::int64_t>& sizes, const std::vector<std::int64_t>& buffers,
             const std::vector<int>& threads) {
  const Folder folder;
  const std::string what = check::context;
  const TrainResult<T> expected = train<T>(data.view(), params, options);
  const std::int64_t files = open_files();
  for (const std::int64_t size : sizes) {
    for (const std::int64_t buffer : buffers) {
      for (const int n : threads) {
        if (!check::takes_case()) continue;
        check::context = what + ", chunks of " + std::to_string(size) + ", a buffer of " + std::to_string(buffer) +
                         ", " + std::to_string(n) + " threads";
        TrainParams streamed = params;
        streamed.n_threads = n;
        int passes = 0;
        const TrainResult<T> found = train<T>(chunks_of(data, size, &passes), {folder.path, buffer}, streamed, options);
        CHECK_EQ(passes, 1);
        CHECK(same_bits(found.model, expected.model));
        CHECK(found.model.user_counts == expected.model.user_counts);
        CHECK(found.model.item_counts == expected.model.item_counts);
        CHECK_EQ(found.history.size(), expected.history.size());
        for (std::size_t e = 0; e < expected.history.size(); ++e) {
          CHECK_EQ(found.history[e].train_loss, expected.history[e].train_loss);
          if (options.validation.size() > 0) CHECK_EQ(found.history[e].valid_loss, expected.history[e].valid_loss);
        }
        CHECK(folder.empty());
        CHECK_EQ(open_files(), files);
      }
    }
  }
  check::context = what;
}

TEST(chunks_give_the_bits_of_all_ratings_at_once) {
  for (const bool weighted : {false, true}) {
    const Data data = ratings_of(weighted);
    for (const bool means : {false, true}) {
      check::context = std::string(weighted ? "weighted" : "unweighted") + (means ? ", prior means" : "");
      TrainParams params = usual();
      params.implicit_feedback = means ? ImplicitFeedback::both : ImplicitFeedback::none;
      compare<float>(data, params, {}, {0}, {kSmall, 64 << 20}, {1, 2, 4});
      if (weighted == means) compare<float>(data, params, {}, {1, 65'536, 65'537, kRatings}, {kSmall}, {2});
      if (!weighted) compare<double>(data, params, {}, {0}, {kSmall}, {2});
    }
  }
}

TEST(the_few_ratings_of_one_part_are_trained_on_too) {
  const Data data = ratings_of(true, 3000);
  check::context = "few";
  compare<float>(data, usual(), {}, {0, 1, 3000}, {kSmall}, {1, 3});
}

TEST(all_that_training_reads_of_the_ratings_is_streamed) {
  const Data data = ratings_of(false), held_out(kUsers, kItems, 5000, 0.3, 4), clicks(kUsers, kItems, 30'000, 0, 9);
  TrainOptions<float> options;
  TrainParams params = usual();
  check::context = "open strengths, validation, pairs";
  options.validation = held_out.view();
  options.implicit.users = clicks.users;
  options.implicit.items = clicks.items;
  params.reg.reset();
  compare<float>(data, params, options, {0}, {kSmall}, {2});

  check::context = "adagrad, no biases";
  params = usual();
  params.optimizer = Optimizer::adagrad;
  params.biases = false;
  compare<float>(data, params, {}, {0}, {kSmall}, {2});

  check::context = "prior means of users alone, hogwild of one thread";
  params = usual();
  params.implicit_feedback = ImplicitFeedback::users;
  params.parallel = Parallel::hogwild;
  params.n_threads = 1;  // two would race in memory too
  compare<float>(data, params, {}, {0}, {kSmall}, {1});

  check::context = "labels";
  params = usual();
  params.loss = Loss::logistic;
  Data labels = data;
  for (float& value : labels.values) value = value > 3 ? 1.0F : 0.0F;
  compare<float>(labels, params, {}, {0}, {kSmall}, {2});

  check::context = "counts";
  params.loss = Loss::poisson;
  compare<float>(labels, params, {}, {0}, {kSmall}, {2});

  check::context = "a loss of one's own, from given factors";
  params = usual();
  params.loss = Loss::custom;
  options = {};
  options.loss = [](const float* ratings, const float* scores, float* losses, float* slopes) {
    for (int n = 0; n < 8; ++n) {
      losses[n] = (scores[n] - ratings[n]) * (scores[n] - ratings[n]) / 2;
      slopes[n] = scores[n] - ratings[n];
    }
  };
  const TrainResult<float> before = train<float>(data.view(), usual(), {});
  options.user_factors = before.model.user_factors;
  options.item_factors = before.model.item_factors;
  compare<float>(data, params, options, {0}, {kSmall}, {2});

  check::context = "on from a model";
  options.loss = nullptr;
  options.user_biases = before.model.user_biases;
  options.item_biases = before.model.item_biases;
  options.global_mean = before.model.global_mean;
  compare<float>(data, usual(), options, {0}, {kSmall}, {2});
}

TEST(samples_of_many_ratings_are_those_of_memory) {
  check::context = "more ratings than variances are estimated from";
  const Data data = ratings_of(false, 1'300'000);
  TrainParams params = usual();
  params.n_factors = 2;
  params.n_epochs = 1;
  compare<float>(data, params, {}, {100'000}, {8 << 20}, {2});
}

/// Ratings of which a third each belongs to three items.
Data heavy(std::int32_t n) {
  Data data(kUsers, 3, n, 0.3);
  return data;
}

TEST(a_heavy_row_needs_a_buffer_that_holds_it) {
  const Data data = heavy(600'000);
  const Folder folder;
  for (const bool means : {false, true}) {
    TrainParams params = usual();
    params.n_threads = 2;
    params.implicit_feedback = means ? ImplicitFeedback::both : ImplicitFeedback::none;
    const auto with = [&](std::int64_t buffer) {
      return train<float>(chunks_of(data, 0), {folder.path, buffer}, params, {});
    };
    check::context = std::string("heavy rows") + (means ? ", prior means" : "");
    if (means) CHECK_THROWS(std::invalid_argument, "buffer_bytes is 4194304; it must be at least", with(kSmall));
    compare<float>(data, params, {}, {0}, {16 << 20}, {2});
  }
  CHECK(folder.empty());
}

TEST(a_stripe_that_no_window_holds_is_read_in_slices) {
  check::context = "heavy stripes";
  Data data(kUsers, kItems, 300'000, 0.3);
  SplitMix64 random(5);
  // Of the smallest buffer four threads have windows of 131,072 ratings.
  for (std::size_t r = 0; r < data.users.size(); ++r) {
    if (random.below(100) < 47) data.users[r] = 11;
    if (random.below(100) < 47) data.items[r] = 7;
  }
  compare<float>(data, usual(), {}, {0}, {kSmall}, {4});
}

TEST(chunks_that_do_not_fit_together_are_refused) {
  const Folder folder;
  const std::int64_t files = open_files();
  const Data data = ratings_of(false);
  const auto with = [&](const RatingChunks& chunks, TrainParams params = usual(), std::int64_t buffer = kSmall) {
    return train<float>(chunks, {folder.path, buffer}, params, {});
  };
  RatingChunks chunks = chunks_of(data, 0);
  chunks.n_ratings = kRatings - 1;
  CHECK_THROWS(std::invalid_argument,
               "n_ratings is 229999; it must be the number of ratings that the chunks hold, which is more",
               with(chunks));
  chunks.n_ratings = kRatings + 1;
  CHECK_THROWS(std::invalid_argument,
               "n_ratings is 230001; it must be the number of ratings that the chunks hold, which is 230000",
               with(chunks));
  chunks.n_ratings = 0;
  CHECK_THROWS(std::invalid_argument, "ratings is empty", with(chunks));

  Data bad = data;
  bad.users[200'000] = kUsers;
  CHECK_THROWS(std::invalid_argument, "ratings.users[200000] is 3000; it must be from 0 to 2999",
               with(chunks_of(bad, 0)));
  bad = data;
  bad.values[210'000] = -1;
  TrainParams counts = usual();
  counts.loss = Loss::poisson;
  for (float& value : bad.values) value = &value == &bad.values[210'000] ? -1.0F : 1.0F;
  CHECK_THROWS(std::invalid_argument, "ratings.values[210000] is -1", with(chunks_of(bad, 0), counts));

  chunks = chunks_of(data, 0);
  chunks.for_each = [&](const auto& take) {
    const std::vector<float> weights(kRatings, 1.0F);
    RatingsView part = data.view();
    part.users = part.users.first(100);
    part.items = part.items.first(100);
    part.values = part.values.first(100);
    take(part);
    part.weights = std::span(weights).first(100);
    take(part);
  };
  CHECK_THROWS(std::invalid_argument, "the chunk from ratings[100] on has weights", with(chunks));
  chunks.for_each = [&](const auto& take) {
    RatingsView part = data.view();
    part.users = part.users.first(99);
    take(part);
  };
  CHECK_THROWS(std::invalid_argument, "a chunk has 99 users, 230000 items", with(chunks));
  chunks.for_each = [&](const auto& take) {
    take(data.view());
    throw std::runtime_error("the source broke");
  };
  CHECK_THROWS(std::runtime_error, "the source broke", with(chunks));

  const Data zeros = [] {
    Data all = ratings_of(true);
    std::fill(all.weights.begin(), all.weights.end(), 0.0F);
    return all;
  }();
  CHECK_THROWS(std::invalid_argument, "ratings.weights are all 0", with(chunks_of(zeros, 0)));

  TrainParams params = usual();
  params.optimizer = Optimizer::gd;
  CHECK_THROWS(std::invalid_argument, "optimizer is gd; it must be another one", with(chunks_of(data, 0), params));
  params = usual();
  params.batch_size = 10;
  CHECK_THROWS(std::invalid_argument, "batch_size is 10; it must be 0", with(chunks_of(data, 0), params));
  params = usual();
  params.n_threads = 2;
  CHECK_THROWS(std::invalid_argument, "buffer_bytes is 4194303; it must be at least 4194304 with 2 threads",
               with(chunks_of(data, 0), params, kSmall - 1));
  params.n_threads = 6;
  CHECK_THROWS(std::invalid_argument, "buffer_bytes is 4194304; it must be at least 6291456 with 6 threads",
               with(chunks_of(data, 0), params));
  CHECK(folder.empty());
  CHECK_EQ(open_files(), files);
}

TEST(a_folder_without_room_is_told_before_it_is_filled) {
  const Data data = ratings_of(false);
  const Folder folder;
  CHECK_THROWS(ScratchError, "scratch is /nonexistent, where no file can be made; it must be an existing folder",
               train<float>(chunks_of(data, 0), {"/nonexistent", kSmall}, usual(), {}));
  RatingChunks chunks = chunks_of(data, 0);
  chunks.n_ratings = std::int64_t{1} << 50;
  CHECK_THROWS(ScratchError,
               "bytes are free; it must have " + std::to_string(scratch_bytes(chunks.n_ratings, false, usual())),
               train<float>(chunks, {folder.path, kSmall}, usual(), {}));
  CHECK(scratch_bytes(1, true, usual()) > scratch_bytes(1, false, usual()));
  CHECK(folder.empty());
}

TEST(a_disk_that_fills_up_is_an_exception) {
  const Data data = ratings_of(false);
  const Folder folder;
  const std::int64_t files = open_files();
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit before = {};
  CHECK_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  // The ratings as they come take 12 bytes each, on their way to blocks likewise, and in them 8.
  for (const std::int64_t bytes : {std::int64_t{4096}, std::int64_t{12} * kRatings - 1}) {
    rlimit small = before;
    small.rlim_cur = static_cast<rlim_t>(bytes);
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
    CHECK_THROWS(ScratchError, "scratch is " + folder.path + ", where a file cannot be written",
                 train<float>(chunks_of(data, 0), {folder.path, kSmall}, usual(), {}));
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  }
  std::signal(SIGXFSZ, handler);
  CHECK(folder.empty());
  CHECK_EQ(open_files(), files);
}

TEST(every_pass_can_be_interrupted) {
  TrainParams params = usual();
  params.reg.reset();
  params.n_epochs = 2;
  params.implicit_feedback = ImplicitFeedback::both;
  check_interrupts(ratings_of(false), params, 7);
}

}  // namespace

#endif
