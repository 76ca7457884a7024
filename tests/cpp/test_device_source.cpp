// SPDX-License-Identifier: Apache-2.0
// Training on a device, which here is the kernels' twin on the host, from ratings in a scratch file: the same plan and
// the same bits as from memory, within the memory that was stated, and nothing left behind.
#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "check.hpp"
#include "counted_new.hpp"
#include "device/device_plan.hpp"
#include "device/file_upload.hpp"
#include "device/plan_file.hpp"
#include "in_chunks.hpp"
#include "rating_source.hpp"
#include "twin_device.hpp"

#ifndef _WIN32
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>

namespace {

using namespace in_chunks;
using synthetic::same_bits;
using warpfactor::Device;

#if defined(WARPFACTOR_SANITIZED)
constexpr std::int32_t kTrained = 6000;
const std::vector<std::optional<Stream>> kLate{Stream::copy};
#else
constexpr std::int32_t kTrained = 20'000;
const std::vector<std::optional<Stream>> kLate{std::nullopt, Stream::compute, Stream::copy};
#endif

TrainParams on_device() {
  TrainParams params;
  params.device = Device::cuda;
  params.n_factors = 5;
  params.n_epochs = 3;  // prior means move after the second
  params.n_threads = 2;
  params.reg = 0.04;
  return params;
}

// The plan.

/// The bytes of extents, as an upload would make them.
std::vector<char> bytes_of(const std::vector<Extent>& extents) {
  std::vector<char> bytes(static_cast<std::size_t>(extents.back().to + extents.back().bytes));
  for (const Extent& extent : extents) {
    char* const to = bytes.data() + extent.to;
    if (extent.file != nullptr) {
      extent.file->read(extent.offset, to, extent.bytes);
    } else {
      std::copy_n(extent.memory, extent.bytes, to);
    }
  }
  return bytes;
}

template <class T>
bool same(const char* bytes, const T* expected, std::int64_t n) {
  return n == 0 || std::memcmp(bytes, expected, static_cast<std::size_t>(n) * sizeof(T)) == 0;
}

void check_chunk(const PassPlan& filed, const PassPlan& plan, const Chunk& chunk) {
  const std::vector<char> bytes = bytes_of(extents_of(filed, chunk));
  const ChunkLayout at = chunk.layout(plan.weighted());
  const PassPlan::Wave& wave = plan.waves[static_cast<std::size_t>(chunk.wave)];
  const auto segment = static_cast<std::size_t>(wave.first_segment + chunk.first_segment);
  CHECK(same(bytes.data(), plan.entries.data() + wave.first_entry + chunk.first_entry, chunk.n_entries));
  if (plan.weighted()) {
    CHECK(same(bytes.data() + at.weights, plan.weights.data() + wave.first_entry + chunk.first_entry, chunk.n_entries));
  }
  CHECK(same(bytes.data() + at.segment_rows, plan.segment_rows.data() + segment, chunk.n_segments));
  CHECK(same(bytes.data() + at.segment_begin, plan.segment_begin.data() + segment, chunk.n_segments + 1));
  CHECK(same(bytes.data() + at.task_begin, plan.task_begin.data() + wave.first_task + chunk.first_task,
             chunk.n_tasks + 1));
}

void check_plan(const Data& data, Parallel parallel, std::int64_t buffer, int n_threads) {
  const Folder folder;
  ThreadTeam team(n_threads, {});
  const Survey rated = survey(data.view(), "ratings", team);
  Standardization z;
  z.shift = 3;
  z.scale = 0.5;
  z.weight_scale = 2;
  const PlanTables tables = make_plan_tables(rated, parallel, 5, team);
  const PassPlan plan = make_pass_plan(data.view(), rated, z, tables, team);
  const RatingChunks chunks = chunks_of(data, 0);
  const ScratchFolder scratch{folder.path, buffer};
  RatingSource source(chunks, scratch, {});
  source.fetch([](bool) { return std::int64_t{0}; });
  const PassPlan filed = make_plan_in_file(source, rated, z, tables, team);

  CHECK_EQ(filed.users_own, plan.users_own);
  CHECK_EQ(filed.max_tiles, plan.max_tiles);
  CHECK_EQ(filed.weighted(), plan.weighted());
  CHECK(filed.task_begin == plan.task_begin);
  CHECK_EQ(filed.waves.size(), plan.waves.size());
  for (std::size_t w = 0; w < plan.waves.size(); ++w) {
    CHECK_EQ(filed.waves[w].first_entry, plan.waves[w].first_entry);
    CHECK_EQ(filed.waves[w].first_segment, plan.waves[w].first_segment);
    CHECK_EQ(filed.waves[w].first_task, plan.waves[w].first_task);
  }
  // The whole, and chunks that end inside of waves.
  const Chunk whole = whole_of(plan);
  const PlanExtents arrays = extents_of(filed);
  CHECK(same(bytes_of(arrays.entries).data(), plan.entries.data(), plan.entries.size()));
  if (plan.weighted()) CHECK(same(bytes_of(arrays.weights).data(), plan.weights.data(), plan.weights.size()));
  CHECK(same(bytes_of(arrays.segment_rows).data(), plan.segment_rows.data(), whole.n_segments));
  CHECK(same(bytes_of(arrays.segment_begin).data(), plan.segment_begin.data(), whole.n_segments));
  CHECK(same(bytes_of(arrays.task_begin).data(), plan.task_begin.data(), whole.n_tasks));
  const std::int64_t shares = parallel == Parallel::blocked ? 6 : 20;  // a block and a long segment are not parted
  for (const std::int64_t most :
       {whole.bytes(plan.weighted()) / 3 + 5000, whole.bytes(plan.weighted()) / shares + 5000}) {
    const std::vector<Chunk> of_memory = make_chunks(plan, most), of_file = make_chunks(filed, most);
    CHECK_EQ(of_memory.size(), of_file.size());
    for (std::size_t n = 0; n < of_memory.size(); ++n) {
      CHECK_EQ(of_file[n].first_task, of_memory[n].first_task);
      CHECK_EQ(of_file[n].first_entry, of_memory[n].first_entry);
      check_chunk(filed, plan, of_memory[n]);
    }
  }
}

TEST(the_plan_in_a_file_is_that_in_memory) {
  for (const bool weighted : {false, true}) {
    const Data data = ratings_of(weighted);
    for (const Parallel parallel : {Parallel::blocked, Parallel::hogwild}) {
      // The smallest buffer has four threads sort each of hogwild's waves in several drawers, and one thread none.
      for (const auto& [buffer, n_threads] : {std::pair{kSmall, 4}, {kSmall, 1}, {std::int64_t{64} << 20, 2}}) {
        check::context = std::string(weighted ? "weighted" : "unweighted") +
                         (parallel == Parallel::blocked ? ", blocked" : "") + ", a buffer of " +
                         std::to_string(buffer) + ", " + std::to_string(n_threads) + " threads";
        check_plan(data, parallel, buffer, n_threads);
      }
    }
  }
  check::context = "few";
  for (const auto& [users, items, n] :
       {std::tuple{1, 1, 30}, {1, 50, 400}, {50, 1, 400}, {3000, 5, 8000}, {40, 40, 1}}) {
    for (const Parallel parallel : {Parallel::blocked, Parallel::hogwild})
      check_plan(Data(users, items, n), parallel, kSmall, 2);
  }
  check::context.clear();
}

// Training.

/// Bytes that the scratch files of this process take.
std::int64_t on_disk(const std::string& folder) {
  std::int64_t bytes = 0;
  std::error_code error;
  for (const auto& each : std::filesystem::directory_iterator("/proc/self/fd", error)) {
    const std::string target = std::filesystem::read_symlink(each.path(), error).string();
    struct stat about = {};
    if (!error && target.starts_with(folder) && ::stat(each.path().c_str(), &about) == 0)
      bytes += about.st_blocks * 512;
  }
  return bytes;
}

/// Returns whether epochs had something on the disk.
template <class T>
bool compare(const Data& data, const TrainParams& params, TrainOptions<T> options,
             const std::vector<std::int64_t>& buffers) {
  bool streamed = false;
  const Folder folder;
  const std::string what = check::context;
  const TrainResult<T> expected = train<T>(data.view(), params, options);
  const std::int64_t files = open_files();
  options.on_epoch = [&](const EpochReport&) {
    streamed |= on_disk(folder.path) > 0;
    return false;
  };
  for (const std::int64_t buffer : buffers) {
    for (const std::optional<Stream>& late : kLate) {
      check::context = what + ", a buffer of " + std::to_string(buffer);
      twin_limits.late = late;
      twin_most_taken = 0;
      const TrainResult<T> found = train<T>(chunks_of(data, 0), {folder.path, buffer}, params, options);
      if (params.device_memory > 0) CHECK(twin_most_taken <= params.device_memory);
      CHECK(same_bits(found.model, expected.model));
      CHECK(found.model.user_counts == expected.model.user_counts);
      CHECK_EQ(found.best_epoch, expected.best_epoch);
      CHECK_EQ(found.history.size(), expected.history.size());
      for (std::size_t e = 0; e < expected.history.size(); ++e) {
        CHECK_EQ(found.history[e].train_loss, expected.history[e].train_loss);
        if (options.validation.size() > 0) CHECK_EQ(found.history[e].valid_loss, expected.history[e].valid_loss);
      }
      CHECK(folder.empty());
      CHECK_EQ(open_files(), files);
    }
  }
  twin_limits = {};
  check::context = what;
  return streamed;
}

/// Bytes of device memory with which a share of the ratings and lists fits.
std::int64_t budget(const Data& data, TrainParams params, double share) {
  params.device_memory = 1;  // biases lie close to each other then
  RatingCounts counts;
  counts.n_ratings = static_cast<std::int64_t>(data.values.size());
  counts.n_users = data.n_users;
  counts.n_items = data.n_items;
  counts.weighted = !data.weights.empty();
  const FitMemory memory = fit_memory<float>(counts, params);
  return memory.device_least() + static_cast<std::int64_t>(share * static_cast<double>(memory.device_streamed));
}

TEST(a_device_streams_the_bits_of_memory) {
  for (const bool weighted : {false, true}) {
    const Data data = ratings_of(weighted, kTrained);
    for (const bool means : {false, true}) {
      for (const Parallel parallel : {Parallel::blocked, Parallel::hogwild}) {
        TrainParams params = on_device();
        params.parallel = parallel;
        params.implicit_feedback = means ? ImplicitFeedback::both : ImplicitFeedback::none;
        params.n_epochs = means ? 3 : 2;
        for (const double share : {2.0, 0.55, 0.35}) {
          params.device_memory = budget(data, params, share);
          check::context = std::string(weighted ? "weighted" : "unweighted") + (means ? ", prior means" : "") +
                           (parallel == Parallel::blocked ? ", blocked, " : ", ") + std::to_string(share);
          // Two buffers of which one is filled in pieces, and one that holds a chunk.
          const bool streamed = compare<float>(data, params, {}, {kSmall, 64 << 20});
          CHECK_EQ(streamed, share < 1);
        }
      }
    }
  }
  check::context.clear();
}

TEST(whatever_trains_on_a_device_streams) {
  const Data data = ratings_of(true, kTrained), held_out(kUsers, kItems, 3000, 0.3, 4),
             clicks(kUsers, kItems, 4000, 0, 9);
  TrainOptions<float> options;
  check::context = "validation, early stopping, pairs, half";
  options.validation = held_out.view();
  options.implicit.users = clicks.users;
  options.implicit.items = clicks.items;
  TrainParams params = on_device();
  params.parallel = Parallel::blocked;
  params.half = true;
  params.patience = 1;
  params.n_epochs = 8;
  compare<float>(data, params, options, {kSmall});

  check::context = "adam, doubles, no biases";
  params = on_device();
  params.optimizer = Optimizer::adam;
  params.biases = false;
  params.n_epochs = 2;
  compare<double>(data, params, {}, {kSmall});

  check::context = "open strengths";
  params = on_device();
  params.reg.reset();
  compare<float>(data, params, {}, {kSmall});
  check::context.clear();
}

TEST(what_does_not_stream_is_refused_with_the_reason) {
  const Data data = ratings_of(false, 3000);
  const Folder folder;
  TrainParams params = on_device();
  params.optimizer = Optimizer::gd;
  const auto run = [&] { return train<float>(chunks_of(data, 0), {folder.path, kSmall}, params, {}); };
  CHECK_THROWS(std::invalid_argument, "optimizer is gd; it must be another one with ratings in a scratch file", run());
  params = on_device();
  params.batch_size = 10;
  CHECK_THROWS(std::invalid_argument, "batch_size is 10; it must be 0 with ratings in a scratch file", run());
  params = on_device();
  params.device_memory = 20'000;
  CHECK_THROWS(CudaError, "out of memory on the device", run());
  CHECK(folder.empty());
}

// What is taken of memory and disk.

TEST(the_disk_and_the_buffer_hold_what_was_said) {
  for (const bool means : {false, true}) {
    const Data data = ratings_of(true);
    const Folder folder;
    TrainParams params = on_device();
    params.implicit_feedback = means ? ImplicitFeedback::both : ImplicitFeedback::none;
    params.n_epochs = 1;
    params.n_factors = 1;
    std::int64_t most = 0;
    TrainOptions<float> options;
    options.interrupted = [&] {
      most = std::max(most, on_disk(folder.path));
      return false;
    };
    (void)train<float>(chunks_of(data, 0), {folder.path, kSmall}, params, options);
    check::context = std::to_string(most) + " bytes of disk";
    CHECK(most > kRatings * (16 + 12));  // as they came, and as they are trained on
    CHECK(most <= scratch_bytes(kRatings, true, params));
  }
  check::context.clear();
}

// What goes wrong.

TEST(every_pass_over_a_device_s_file_can_be_interrupted) {
  TrainParams params = on_device();
  params.implicit_feedback = ImplicitFeedback::both;
  params.n_epochs = 0;
  check_interrupts(ratings_of(false), params, 6);
}

TEST(a_disk_that_fills_up_while_the_plan_is_written_is_an_exception) {
  const Data data = ratings_of(false);
  const Folder folder;
  const std::int64_t files = open_files();
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit before = {};
  CHECK_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  // As they come they take 12 bytes each, on their way to the plan 16.
  for (const std::int64_t bytes : {std::int64_t{12} * kRatings, std::int64_t{16} * kRatings - 1}) {
    rlimit small = before;
    small.rlim_cur = static_cast<rlim_t>(bytes);
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
    TrainParams params = on_device();
    params.implicit_feedback = ImplicitFeedback::none;
    CHECK_THROWS(ScratchError, "scratch is " + folder.path + ", where a file cannot be written",
                 train<float>(chunks_of(data, 0), {folder.path, kSmall}, params, {}));
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  }
  std::signal(SIGXFSZ, handler);
  CHECK(folder.empty());
  CHECK_EQ(open_files(), files);
}

#if defined(__linux__)
TEST(a_file_that_cannot_be_read_back_ends_the_epoch_with_an_exception) {
  const Data data = ratings_of(false, kTrained);
  const Folder folder;
  const std::int64_t files = open_files();
  TrainParams params = on_device();
  params.implicit_feedback = ImplicitFeedback::none;
  params.device_memory = budget(data, params, 0.5);
  TrainOptions<float> options;
  int epochs = 0;
  options.on_epoch = [&](const EpochReport&) {
    ++epochs;
    CHECK(on_disk(folder.path) > 0);
    for (const auto& each : std::filesystem::directory_iterator("/proc/self/fd")) {
      std::error_code error;
      if (!std::filesystem::read_symlink(each.path(), error).string().starts_with(folder.path)) continue;
      const int file = ::open(each.path().c_str(), O_RDWR);
      CHECK(file >= 0);
      CHECK_EQ(::ftruncate(file, 1000), 0);
      ::close(file);
    }
    return false;
  };
  for (const std::optional<Stream>& late : kLate) {
    twin_limits.late = late;
    epochs = 0;
    CHECK_THROWS(ScratchError, "scratch is " + folder.path + ", where a file cannot be read back",
                 train<float>(chunks_of(data, 0), {folder.path, kSmall}, params, options));
    CHECK_EQ(epochs, 1);
    CHECK_EQ(open_files(), files);
  }
  twin_limits = {};
}
#endif

}  // namespace

#endif
