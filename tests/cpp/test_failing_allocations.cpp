// SPDX-License-Identifier: Apache-2.0
// Whichever allocation fails, the call throws std::bad_alloc, has given everything back, and the next one has the same
// bits.
#include <algorithm>
#include <cstring>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "check.hpp"
#include "counted_new.hpp"
#include "data/id_encoder.hpp"
#include "serving/ranking_metrics.hpp"
#include "synthetic.hpp"
#include "twin_device.hpp"
#include "warpfactor/descent.hpp"
#include "warpfactor/fold_in.hpp"
#include "warpfactor/memory.hpp"
#include "warpfactor/model.hpp"
#include "warpfactor/sample.hpp"
#include "warpfactor/train.hpp"

namespace {

using namespace synthetic;
using warpfactor::Device;

#if defined(WARPFACTOR_SANITIZED)
constexpr std::int64_t kTries = 12;
#else
constexpr std::int64_t kTries = 60;
#endif

/// Calls `call` with its first allocation failing, and so on to its last; of many only some, more of the first. `call`
/// returns what it found.
void check_whole(const std::string& name, const std::function<std::string()>& call) {
  check::context = name;
  const std::string expected = call();  // what is made once in a process is made here
  counted_new::fail_at(0);
  CHECK(call() == expected);
  const std::int64_t n_calls = counted_new::calls;
  CHECK(n_calls > 0);
  std::int64_t tried = 0;
  for (std::int64_t fails = 1; fails <= n_calls; fails += 1 + fails / 4 * 4 / kTries + n_calls / (4 * kTries)) {
    check::context = name + ", allocation " + std::to_string(fails) + " of " + std::to_string(n_calls);
    std::string ended = "returned";
    ended.reserve(1000);
    const std::int64_t before = counted_new::bytes;
    counted_new::fail_at(fails);
    try {
      (void)call();
    } catch (const std::bad_alloc&) {
      ended = "bad_alloc";
    } catch (const std::exception& error) {
      ended.assign(error.what(), std::min<std::size_t>(std::strlen(error.what()), 900));
    }
    const std::int64_t left = counted_new::bytes - before;
    counted_new::fail_at(0);
    // With more threads there may be fewer allocations another time.
    if (ended != "returned" || fails < n_calls / 2) CHECK_EQ(ended, std::string("bad_alloc"));
    CHECK_EQ(left, std::int64_t{0});
    ++tried;
  }
  CHECK(tried >= std::min<std::int64_t>(n_calls, 3));
  check::context = name + ", afterwards";
  CHECK(call() == expected);
}

template <class V>
void add_bits(std::string& to, const std::vector<V>& values) {
  to.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(V));
}
template <class T>
std::string bits(const Model<T>& model) {
  std::string all = std::to_string(model.global_mean);
  for (const auto* each : {&model.user_factors, &model.item_factors, &model.user_biases, &model.item_biases}) {
    add_bits(all, *each);
  }
  return all;
}

TrainParams small() {
  TrainParams params;
  params.n_factors = 5;
  params.n_epochs = 3;
  params.n_threads = 3;
  params.reg = params.reg_row = PerSide(0.04);
  return params;
}

const Data kData(60, 40, 600, 0.3), kHeldOut(60, 40, 80, 0.3, 1), kClicks(60, 40, 100, 0.3, 2);

template <class T>
std::string trained(const TrainParams& params, bool validated = false, bool clicks = false) {
  TrainOptions<T> options;
  if (validated) options.validation = kHeldOut.view();
  if (clicks) options.implicit = kClicks.view();
  return bits(train<T>(kData.view(), params, options).model);
}

TEST(a_fit_ends_whole) {
  check_whole("usual", [] { return trained<float>(small(), true, true); });
  check_whole("double", [] { return trained<double>(small()); });
  check_whole("searched", [] {
    TrainParams params = small();
    params.reg.reset();
    params.reg_row.reset();
    params.n_epochs = 1;
    return trained<float>(params);
  });
  for (const Optimizer optimizer : {Optimizer::adagrad, Optimizer::adam, Optimizer::gd}) {
    check_whole(name_of(optimizer), [optimizer] {
      TrainParams params = small();
      params.optimizer = optimizer;
      return trained<float>(params, true);
    });
  }
  check_whole("batches", [] {
    TrainParams params = small();
    params.batch_size = 50;
    return trained<float>(params);
  });
}

TEST(threads_that_wait_for_each_other_end_too) {
  // Enough ratings for several blocks, so that one thread fails while others wait for its blocks.
  const Data data(2000, 900, 60'000, 0.3);
  check_whole("blocks", [&data] {
    TrainParams params = small();
    params.n_epochs = 1;
    return bits(train<float>(data.view(), params, {}).model);
  });
}

TEST(a_fit_on_a_device_ends_whole) {
  for (const std::int64_t batch : {0, 50}) {
    check_whole("device, batches of " + std::to_string(batch), [batch] {
      TrainParams params = small();
      params.device = Device::cuda;
      params.batch_size = batch;
      params.n_epochs = 1;
      return trained<float>(params, true);
    });
  }
}

TEST(sampling_ends_whole) {
  check_whole("sample", [] {
    SampleParams params;
    params.n_factors = 3;
    params.n_samples = 4;
    params.n_burn_in = 2;
    params.n_threads = 2;
    return bits(sample<float>(kData.view(), params, {}).model);
  });
}

TEST(answers_end_whole) {
  Model<float> model = train<float>(kData.view(), small(), {}).model;
  model.seen = group_by_user(kData.users, kData.items, model.n_users);
  std::vector<std::int32_t> users(static_cast<std::size_t>(model.n_users));
  for (std::size_t user = 0; user < users.size(); ++user) users[user] = static_cast<std::int32_t>(user);
  AnswerOptions options;
  options.n_threads = 3;
  check_whole("predict", [&] {
    std::vector<float> out(kHeldOut.values.size());
    predict(model.view(), kHeldOut.users, kHeldOut.items, std::span<float>(out), options);
    std::string all;
    add_bits(all, out);
    return all;
  });
  for (const double diversity : {0.0, 0.5}) {
    check_whole("recommend", [&] {
      AnswerOptions diverse = options;
      diverse.diversity = diversity;
      std::vector<std::int32_t> items(users.size() * 5);
      std::vector<float> scores(items.size());
      recommend(model.view(), users, 5, model.seen, std::span<std::int32_t>(items), std::span<float>(scores), diverse);
      std::string all;
      add_bits(all, items);
      return all;
    });
  }
  check_whole("score_items, similar_items, uncertainty", [&] {
    std::vector<float> scores(users.size() * 3), cosines(6);
    std::vector<std::int32_t> items{1, 2, 3}, similar(6);
    score_items(model.view(), users, items, std::span<float>(scores), options);
    similar_items(model.view(), std::span<const std::int32_t>(items), 2, std::span<std::int32_t>(similar),
                  std::span<float>(cosines), options);
    std::string all;
    add_bits(all, scores);
    add_bits(all, similar);
    add_bits(all, model.uncertainty().user_lengths);
    return all;
  });
  check_whole("group_by_user", [&] {
    std::string all;
    add_bits(all, group_by_user(kData.users, kData.items, model.n_users).items);
    return all;
  });
  check_whole("fold_in", [&] {
    const PriorCoefficients<float> y = prior_coefficients<float>(model.view(), Side::users, model.seen, 2, options);
    const FoldedRows<float> rows =
        fold_in<float>(model.view(), Side::users, kHeldOut.view(), {}, PriorCoefficientsView<float>(y), {}, options);
    std::string all;
    add_bits(all, rows.factors);
    return all;
  });
  check_whole("ranking_metrics", [&] {
    std::vector<std::int32_t> lists(users.size() * 4);
    std::vector<float> scores(users.size() * 40, 0.5F);
    for (std::size_t at = 0; at < scores.size(); ++at) scores[at] = static_cast<float>(at * 7 % 40);
    ranked_lists<float>(scores, model.n_users, 40, 4, lists, 3);
    const std::vector<double> gains(model.seen.items.size(), 1);
    const std::vector<std::int32_t> cutoffs{1, 4};
    std::vector<double> out(kRankingMetrics.size() * cutoffs.size() * users.size());
    ranking_metrics({model.n_users, 4, lists}, {model.seen, gains}, cutoffs, out, 3);
    std::vector<double> auc(users.size());
    ranking_auc<float>(scores, model.n_users, 40, {}, model.seen, auc, 3);
    std::string all;
    add_bits(all, out);
    add_bits(all, auc);
    return all;
  });
  const std::filesystem::path path = std::filesystem::temp_directory_path() / "warpfactor_failing_allocations";
  check_whole("save", [&] {
    save(model, path);
    return std::to_string(std::filesystem::file_size(path));
  });
  check_whole("load", [&] { return bits(load<float>(path)); });
  std::filesystem::remove(path);
}

TEST(ids_are_encoded_whole) {
  for (const char* prefix : {"", "x"}) {
    check_whole(std::string("ids ") + prefix, [prefix] {
      std::string text;
      std::vector<std::int32_t> offsets{0};
      for (int row = 0; row < 500; ++row) {
        text += prefix + std::to_string(row * 37 % 101);
        offsets.push_back(static_cast<std::int32_t>(text.size()));
      }
      TextChunk chunk;
      chunk.n_rows = 500;
      chunk.offsets = {reinterpret_cast<const char*>(offsets.data()), offsets.size() * sizeof(std::int32_t)};
      chunk.text = text;
      TextEncoder encoder({.n_threads = 3});
      encoder.add(chunk);
      const EncodedIds ids = encoder.finish();
      std::string all = ids.text;
      add_bits(all, ids.values);
      return all;
    });
  }
}

TEST(descent_ends_whole) {
  check_whole("descend", [] {
    std::vector<double> values(kData.values.begin(), kData.values.end()), P(60 * 3, 0.1), Q(40 * 3, 0.1);
    descend<double>({kData.users, kData.items, values, 60, 40}, P, Q, 3, 4, 1e-4, 0.02, 2, {});
    std::string all;
    add_bits(all, P);
    return all;
  });
}

TEST(an_estimate_ends_whole) {
  check_whole("fit_memory", [] {
    RatingCounts counts;
    counts.n_ratings = 1000;
    counts.n_users = counts.n_items = 30;
    return std::to_string(fit_memory<float>(counts, small()).peak());
  });
}

}  // namespace
