// SPDX-License-Identifier: Apache-2.0
// What fit_memory() says is what train() takes.
#include "warpfactor/memory.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "check.hpp"
#include "counted_new.hpp"
#include "survey.hpp"
#include "synthetic.hpp"
#include "twin_device.hpp"
#include "warpfactor/sample.hpp"
#include "warpfactor/source.hpp"
#include "warpfactor/train.hpp"

namespace {

using namespace warpfactor;
using synthetic::Data;

// No array of 4 MiB: Buffer aligns those to huge pages, and asks for memory to do so that it never touches.
constexpr std::int32_t kUsers = 9'000, kItems = 3'000, kRatings = 250'000;

/// Ratings with a long tail: a row's share falls as the root of its number.
Data long_tailed(std::int32_t n_users, std::int32_t n_items, std::int32_t n, std::uint64_t seed = 0) {
  Data data(n_users, n_items, n, 0.3, seed);
  SplitMix64 random(seed, 2, 2);
  const auto row = [&](std::int32_t rows) {
    const double u = static_cast<double>(random.next() >> 11) * 0x1p-53;
    return static_cast<std::int32_t>(u * u * rows);
  };
  for (std::size_t r = 0; r < data.values.size(); ++r) {
    data.users[r] = row(n_users);
    data.items[r] = row(n_items);
  }
  return data;
}

struct Case {
  const char* name;
  std::function<void(TrainParams&)> set;
  bool weighted = false;
  std::int32_t n_validation = 0, n_implicit = 0;
  double most = 1.15;
};

/// All strengths given: a search would take most of the time.
TrainParams params_of(const Case& of) {
  TrainParams params;
  params.n_factors = 40;  // 48 in memory
  params.n_epochs = 3;
  params.reg = params.reg_row = PerSide(0.04);
  params.n_threads = 3;
  of.set(params);
  if (params.device == Device::cuda) params.n_epochs = 0;  // the twin is slow, and epochs take nothing more
  return params;
}

void check_ratio(const char* where, const std::vector<MemoryPhase>& phases, std::int64_t told, std::int64_t taken,
                 double most) {
  const double ratio = static_cast<double>(told) / static_cast<double>(taken);
  if (ratio >= 0.95 && ratio <= most) return;
  std::string parts;
  for (const MemoryPhase& phase : phases) {
    parts += "\n" + phase.name + " " + std::to_string(phase.bytes());
    for (const MemoryPart& part : phase.parts) parts += "\n    " + part.name + " " + std::to_string(part.bytes);
  }
  check::fail(__FILE__, __LINE__,
              check::in_context(std::string(where) + ": told " + std::to_string(told) + " bytes, taken " +
                                std::to_string(taken) + ", ratio " + std::to_string(ratio) + parts));
}

template <class T>
void check_case(const Case& of) {
  check::context = std::string(of.name) + ", " + std::to_string(8 * sizeof(T)) + " bits";
  Data data = long_tailed(kUsers, kItems, kRatings);
  const Data held_out = long_tailed(kUsers, kItems, std::max(of.n_validation, 1), 1),
             clicks = long_tailed(kUsers, kItems, std::max(of.n_implicit, 1), 2);
  if (of.weighted) data.weights.assign(data.values.size(), 0.5F);
  const TrainParams params = params_of(of);
  TrainOptions<T> options;
  if (of.n_validation > 0) options.validation = held_out.view();
  if (of.n_implicit > 0) options.implicit = clicks.view();
  RatingCounts counts;
  counts.n_ratings = kRatings;
  counts.n_users = kUsers;
  counts.n_items = kItems;
  counts.weighted = of.weighted;
  counts.n_validation = of.n_validation;
  counts.n_implicit = of.n_implicit;
  std::vector<std::uint32_t> users(kUsers), items(kItems);
  for (std::size_t r = 0; r < data.values.size(); ++r) {
    ++users[static_cast<std::size_t>(data.users[r])];
    ++items[static_cast<std::size_t>(data.items[r])];
  }
  counts.user_counts = users;
  counts.item_counts = items;
  std::int64_t taken = 0;
  {
    const std::int64_t before = counted_new::bytes;
    counted_new::reset_most();
    twin_most_taken = 0;
    const TrainResult<T> result = train<T>(data.view(), params, options);
    taken = counted_new::most - before;
  }
  const FitMemory told = fit_memory<T>(counts, params);
  if (params.device == Device::cpu) {
    check_ratio("host", told.phases, told.peak(), taken, of.most);
  } else {
    // The twin's memory is the host's. That both have their peaks at once is the most that can be.
    check_ratio("host and twin", told.phases, told.peak() + told.device_bytes(), taken, 1.5);
    check_ratio("device", {{"device", told.device}}, told.device_bytes(), twin_most_taken, of.most);
    CHECK(told.device_least() < told.device_bytes());
  }
  // Of counts alone it may only be more.
  counts.user_counts = counts.item_counts = {};
  CHECK(fit_memory<T>(counts, params).peak() >= told.peak());
}

/// With what the counts of the rows say.
struct Counted {
  RatingCounts counts;
  std::vector<std::uint32_t> users, items;

  explicit Counted(const Data& data) : users(kUsers), items(kItems) {
    counts.n_ratings = kRatings;
    counts.n_users = kUsers;
    counts.n_items = kItems;
    counts.weighted = !data.weights.empty();
    for (std::size_t r = 0; r < data.values.size(); ++r) {
      ++users[static_cast<std::size_t>(data.users[r])];
      ++items[static_cast<std::size_t>(data.items[r])];
    }
    counts.user_counts = users;
    counts.item_counts = items;
  }
};

/// A fit from a scratch file, whose memory is the buffer's and the rows'.
template <class T>
void check_streamed(const Case& of, std::int64_t buffer) {
  check::context = std::string(of.name) + ", from a file, " + std::to_string(8 * sizeof(T)) + " bits";
  Data data = long_tailed(kUsers, kItems, kRatings);
  const Data held_out = long_tailed(kUsers, kItems, std::max(of.n_validation, 1), 1);
  if (of.weighted) data.weights.assign(data.values.size(), 0.5F);
  const TrainParams params = params_of(of);
  TrainOptions<T> options;
  if (of.n_validation > 0) options.validation = held_out.view();
  Counted counted(data);
  counted.counts.n_validation = of.n_validation;
  counted.counts.buffer_bytes = buffer;
  RatingChunks chunks;
  chunks.n_users = kUsers;
  chunks.n_items = kItems;
  chunks.n_ratings = kRatings;
  chunks.for_each = [&](const std::function<void(const RatingsView&)>& take) { take(data.view()); };
  const ScratchFolder scratch{std::filesystem::temp_directory_path().string(), buffer};
  const std::int64_t before = counted_new::bytes;
  counted_new::reset_most();
  twin_most_taken = 0;
  {
    const TrainResult<T> result = train<T>(chunks, scratch, params, options);
  }
  const FitMemory told = fit_memory<T>(counted.counts, params);
  const std::int64_t taken = counted_new::most - before;
  if (params.device == Device::cpu) {
    check_ratio("from a file", told.phases, told.peak(), taken, of.most);
  } else {  // as in check_case()
    check_ratio("from a file, host and twin", told.phases, told.peak() + told.device_bytes(), taken, 1.5);
    check_ratio("from a file, device", {{"device", told.device}}, told.device_bytes(), twin_most_taken, of.most);
  }
}

struct SampleCase {
  const char* name;
  std::function<void(SampleParams&)> set;
  bool weighted = false;
  std::int32_t n_validation = 0;
};

template <class T>
void check_sample(const SampleCase& of) {
  check::context = std::string("samples, ") + of.name + ", " + std::to_string(8 * sizeof(T)) + " bits";
  Data data = long_tailed(kUsers, kItems, kRatings);
  const Data held_out = long_tailed(kUsers, kItems, std::max(of.n_validation, 1), 1);
  if (of.weighted) data.weights.assign(data.values.size(), 0.5F);
  SampleParams params;
  params.n_factors = 12;
  params.n_burn_in = 4;
  params.n_samples = 8;
  params.n_threads = 3;
  of.set(params);
  SampleOptions options;
  if (of.n_validation > 0) options.validation = held_out.view();
  Counted counted(data);
  counted.counts.n_validation = of.n_validation;
  const std::int64_t before = counted_new::bytes;
  counted_new::reset_most();
  {
    const SampleResult<T> result = sample<T>(data.view(), params, options);
  }
  const FitMemory told = sample_memory<T>(counted.counts, params);
  check_ratio("samples", told.phases, told.peak(), counted_new::most - before, 1.15);
}

const std::vector<SampleCase> kSampleCases{
    {"usual", [](SampleParams&) {}},
    {"weighted", [](SampleParams&) {}, true, 25'000},
    {"means of users", [](SampleParams& p) { p.implicit_feedback = ImplicitFeedback::users; }},
    {"no means, even noise",
     [](SampleParams& p) { p.implicit_feedback = ImplicitFeedback::none, p.noise = Noise::even; }},
    {"ended before the means", [](SampleParams& p) { p.n_burn_in = 0, p.n_samples = 5; }},
};

const std::vector<Case> kCases{
    {"usual", [](TrainParams&) {}},
    {"usual, weighted", [](TrainParams&) {}, true},
    {"validation", [](TrainParams&) {}, false, 25'000},
    {"validation without a copy", [](TrainParams& p) { p.patience = 0; }, true, 25'000},
    {"clicks", [](TrainParams&) {}, false, 0, 60'000},
    {"means of users", [](TrainParams& p) { p.implicit_feedback = ImplicitFeedback::users; }},
    {"no means", [](TrainParams& p) { p.implicit_feedback = ImplicitFeedback::none; }},
    {"hogwild", [](TrainParams& p) { p.parallel = Parallel::hogwild; }},
    {"no biases",
     [](TrainParams& p) {
       p.biases = false;
       p.reg_row.reset();
     }},
    {"nonnegative",
     [](TrainParams& p) {
       p.nonnegative = true;
       p.reg_row.reset();
     }},
    {"momentum", [](TrainParams& p) { p.momentum = 0.5; }},
    {"adam", [](TrainParams& p) { p.optimizer = Optimizer::adam; }, false, 25'000},
    {"adagrad by row", [](TrainParams& p) { p.optimizer = Optimizer::adagrad; }},
    {"adagrad by element",
     [](TrainParams& p) { p.optimizer = Optimizer::adagrad, p.adagrad_per = AdagradPer::element; }},
    {"small batches", [](TrainParams& p) { p.batch_size = 500; }},
    {"small batches without means",
     [](TrainParams& p) { p.batch_size = 500, p.implicit_feedback = ImplicitFeedback::none, p.n_factors = 4; }},
    {"large batches, weighted", [](TrainParams& p) { p.batch_size = 50'000; }, true},
    {"batches of hogwild", [](TrainParams& p) { p.batch_size = 5000, p.parallel = Parallel::hogwild; }},
    {"full batch", [](TrainParams& p) { p.optimizer = Optimizer::gd, p.implicit_feedback = ImplicitFeedback::none; }},
    {"few factors", [](TrainParams& p) { p.n_factors = 2; }},
    {"few factors without means",
     [](TrainParams& p) { p.n_factors = 2, p.implicit_feedback = ImplicitFeedback::none; }},
    // Whether the last pair of strengths is compared on more ratings, the ratings decide.
    {"searched", [](TrainParams& p) { p.reg.reset(), p.reg_row.reset(), p.n_factors = 8; }, false, 0, 0, 2.5},
    {"device", [](TrainParams& p) { p.device = Device::cuda; }, false, 25'000},
    {"device, blocked", [](TrainParams& p) { p.device = Device::cuda, p.parallel = Parallel::blocked; }, true},
    {"device, adam, no means",
     [](TrainParams& p) {
       p.device = Device::cuda, p.optimizer = Optimizer::adam, p.implicit_feedback = ImplicitFeedback::none;
     }},
    {"device, batches", [](TrainParams& p) { p.device = Device::cuda, p.batch_size = 5000; }},
};

TEST(a_fit_takes_what_was_told) {
  for (const Case& each : kCases) {
    if (check::takes_case()) check_case<float>(each);
    const bool searched = std::string(each.name).find("searched") != std::string::npos;
    if (!searched && check::takes_case()) check_case<double>(each);
  }
}

TEST(where_a_device_has_no_room_to_sort_the_host_is_told_to_do_it) {
  RatingCounts counts;
  counts.n_ratings = 40'000'000;  // a small device_memory would have the biases nearer to each other
  counts.n_users = 50'000;
  counts.n_items = 10'000;
  TrainParams params;
  params.device = Device::cuda;
  const auto bytes_of = [](const std::vector<MemoryPart>& parts, const std::string& name) {
    const auto at = std::find_if(parts.begin(), parts.end(), [&](const MemoryPart& part) { return part.name == name; });
    return at == parts.end() ? 0 : at->bytes;
  };
  for (const ImplicitFeedback means : {ImplicitFeedback::none, ImplicitFeedback::both}) {
    params.implicit_feedback = means;
    params.device_memory = 0;
    const FitMemory there = fit_memory<float>(counts, params);
    const std::int64_t sorting = bytes_of(there.device, "sorting of the ratings");
    // Keys and numbers twice, and the ratings as given, less what of the plan lies there afterwards.
    CHECK(sorting > 20 * counts.n_ratings && sorting < 32 * counts.n_ratings);
    params.device_memory = there.device_bytes();
    CHECK_EQ(fit_memory<float>(counts, params).peak(), there.peak());
    params.device_memory = there.device_bytes() - sorting;  // the ratings have room, sorting has none
    const FitMemory here = fit_memory<float>(counts, params);
    CHECK_EQ(bytes_of(here.device, "sorting of the ratings"), 0);
    CHECK_EQ(here.device_bytes(), there.device_bytes() - sorting);
    CHECK_EQ(here.device_least(), there.device_least());
    CHECK(here.peak() > there.peak() + 16 * counts.n_ratings);
  }
}

TEST(a_fit_from_a_file_takes_what_was_told) {
  constexpr std::int64_t kBuffer = kLeastBufferBytes;
  for (const char* const name : {"usual, weighted", "validation", "no means", "momentum", "few factors without means",
                                 "device", "device, blocked", "device, adam, no means"}) {
    const auto at =
        std::find_if(kCases.begin(), kCases.end(), [&](const Case& each) { return name == std::string(each.name); });
    CHECK(at != kCases.end());
    if (check::takes_case()) check_streamed<float>(*at, kBuffer);
  }
  check_streamed<double>(kCases.front(), 2 * kBuffer);
}

TEST(samples_take_what_was_told) {
  for (const SampleCase& each : kSampleCases) {
    if (check::takes_case()) check_sample<float>(each);
  }
  check_sample<double>(kSampleCases.front());
}

TEST(what_would_do_is_offered_where_it_would) {
  RatingCounts counts;
  counts.n_ratings = 1'000'000'000;
  counts.n_users = 1'000'000;
  counts.n_items = 100'000;
  TrainParams params;
  params.n_factors = 16;
  params.implicit_feedback = ImplicitFeedback::none;
  const auto named = [](const std::vector<MemoryPart>& parts, const std::string& name) {
    return std::find_if(parts.begin(), parts.end(),
                        [&](const MemoryPart& each) { return each.name.starts_with(name); });
  };
  const std::int64_t whole = fit_memory<float>(counts, params).peak();
  const std::vector<MemoryPart> found = smaller_fits<float>(counts, params, whole / 3);
  const auto scratch = named(found, "scratch=FOLDER");
  CHECK(scratch != found.end());
  CHECK(scratch->bytes <= whole / 3);
  RatingCounts streamed = counts;
  streamed.buffer_bytes = ScratchFolder{}.buffer_bytes;
  CHECK(scratch->bytes == fit_memory<float>(streamed, params).peak());
  // With less room there is less of a buffer, and without enough of it nothing is offered.
  const std::vector<MemoryPart> less = smaller_fits<float>(counts, params, scratch->bytes / 2);
  CHECK(named(less, "scratch=FOLDER with buffer=") != less.end());
  const std::vector<MemoryPart> none = smaller_fits<float>(counts, params, 10'000'000);
  CHECK(named(none, "scratch") == none.end());
  params.batch_size = 1000;
  const std::vector<MemoryPart> batches = smaller_fits<float>(counts, params, whole / 3);
  CHECK(named(batches, "scratch") == batches.end());
}

TEST(parameters_out_of_range_are_refused) {
  RatingCounts counts;
  counts.n_ratings = 10;
  counts.n_users = counts.n_items = 3;
  TrainParams params;
  params.n_factors = 0;
  CHECK_THROWS(std::invalid_argument, "n_factors", fit_memory<float>(counts, params));
}

}  // namespace
