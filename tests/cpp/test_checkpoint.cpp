// SPDX-License-Identifier: Apache-2.0
// Training that was cut off and goes on from its checkpoint, on the CPU and on the kernels' twin.
#include <filesystem>
#include <fstream>
#include <iterator>

#include "check.hpp"
#include "synthetic.hpp"

namespace {

using namespace synthetic;
using warpfactor::Device;
namespace fs = std::filesystem;

struct CutOff {};

/// A path that is free, and free again at the end.
struct Temporary {
  fs::path path = fs::temp_directory_path() / ("warpfactor-checkpoint-" + std::to_string(++number));
  Temporary() { fs::remove(path); }
  ~Temporary() { fs::remove(path); }
  static inline int number = 0;
};

TrainParams small() {
  TrainParams params;
  params.n_factors = 20;
  params.n_epochs = 7;
  params.n_threads = 2;
  params.reg = 0.02;
  params.patience = 2;
  params.learning_rate = 0.05;
  return params;
}

/// Trains with a checkpoint after each epoch, and ends in epoch `epoch` by an exception.
template <class T>
void cut_off(const Data& data, const TrainParams& params, TrainOptions<T> options, const fs::path& path, int epoch) {
  options.checkpoints.path = path;
  options.on_epoch = [=](const EpochReport& report) -> bool {
    if (report.epoch == epoch) throw CutOff{};
    return false;
  };
  try {
    train<T>(data.view(), params, options);
    CHECK(false);
  } catch (const CutOff&) {
  }
}

template <class T>
void check_same(const TrainResult<T>& a, const TrainResult<T>& b) {
  CHECK(a.model.user_factors == b.model.user_factors);
  CHECK(a.model.item_factors == b.model.item_factors);
  CHECK(a.model.user_biases == b.model.user_biases);
  CHECK(a.model.item_biases == b.model.item_biases);
  CHECK_EQ(a.best_epoch, b.best_epoch);
  CHECK(a.learning_rates == b.learning_rates);
  CHECK_EQ(a.history.size(), b.history.size());
}

template <class T>
void check_goes_on(const TrainParams& params, bool validating) {
  const Data data(90, 60, 3000, 1.0), held_out(90, 60, 600, 1.0, 1);
  TrainOptions<T> options;
  if (validating) options.validation = held_out.view();
  const TrainResult<T> whole = train<T>(data.view(), params, options);
  for (const int epoch : {2, 3, 6}) {
    const Temporary file;
    cut_off(data, params, options, file.path, epoch);
    options.checkpoints.resume = file.path;
    check_same(train<T>(data.view(), params, options), whole);
    options.checkpoints = {};
  }
}

TrainParams with(Optimizer optimizer, TrainParams params = small()) {
  params.optimizer = optimizer;
  return params;
}

TEST(plain_steps_go_on_to_the_same_bits) { check_goes_on<float>(small(), false); }
TEST(early_stopping_goes_on_to_the_same_bits) { check_goes_on<float>(small(), true); }
TEST(adam_goes_on_to_the_same_bits) { check_goes_on<double>(with(Optimizer::adam), true); }
TEST(momentum_goes_on_to_the_same_bits) {
  TrainParams params = small();
  params.momentum = 0.5;
  check_goes_on<float>(params, true);
}
TEST(batches_go_on_to_the_same_bits) {
  TrainParams params = with(Optimizer::adagrad);
  params.batch_size = 200;
  check_goes_on<double>(params, false);
}

#if defined(WARPFACTOR_WITH_TWIN)
TrainParams on_device(TrainParams params) {
  params.device = Device::cuda;
  params.parallel = Parallel::blocked;
  return params;
}
TEST(a_device_goes_on) {
  check_goes_on<float>(on_device(small()), true);
  check_goes_on<double>(on_device(with(Optimizer::adam)), false);
  TrainParams half = on_device(small());
  half.half = true;
  check_goes_on<float>(half, false);
}
/// What a device has begun the CPU ends, and the other way round: rounding apart, as without a break.
TEST(another_device_goes_on) {
  const Data data(90, 60, 3000, 1.0);
  for (const bool first : {true, false}) {
    const TrainParams one = first ? small() : on_device(small()), other = first ? on_device(small()) : small();
    const Temporary file;
    cut_off<float>(data, one, {}, file.path, 4);
    TrainOptions<float> options;
    std::string told;
    options.checkpoints.resume = file.path;
    options.checkpoints.warn = [&](const std::string& text) { told += text; };
    const TrainResult<float> result = train<float>(data.view(), other, options);
    CHECK(told.find("device is ") != std::string::npos);
    CHECK_EQ(result.history.size(), 7u);
    CHECK_CLOSE(result.history.back().train_rmse, train<float>(data.view(), one).history.back().train_rmse, 0.02);
  }
}
#endif

TEST(what_differs_is_named) {
  const Data data(90, 60, 3000, 1.0), other(90, 60, 3000, 1.0, 5);
  const Temporary file;
  cut_off<float>(data, small(), {}, file.path, 3);
  TrainOptions<float> options;
  options.checkpoints.resume = file.path;
  TrainParams params = small();
  params.n_factors = 21;
  params.seed = 9;
  CHECK_THROWS(std::invalid_argument, "n_factors is 21 (in the checkpoint 20), seed is 9 (in the checkpoint 0)",
               train<float>(data.view(), params, options));
  CHECK_THROWS(std::invalid_argument, "ratings are 3000 (checksums ", train<float>(other.view(), small(), options));
  options.checkpoints.context["loss"] = "mine";
  CHECK_THROWS(std::invalid_argument, "loss is mine (in the checkpoint none)",
               train<float>(data.view(), small(), options));
  TrainOptions<double> wide;
  wide.checkpoints.resume = file.path;
  CHECK_THROWS(std::invalid_argument, "dtype is float64 (in the checkpoint float32)",
               train<double>(data.view(), small(), wide));
}

TEST(facts_tell_how_far_it_is) {
  const Data data(90, 60, 3000, 1.0);
  const Temporary file;
  TrainParams params = small();
  params.seed = 0xfedcba9876543210u;
  cut_off<float>(data, params, {}, file.path, 3);
  CHECK_EQ(checkpoint_facts(file.path).history.size(), 2u);
  CHECK_EQ(checkpoint_facts(file.path).seed, params.seed);
  CHECK(!checkpoint_facts(file.path).finished);
  TrainOptions<float> options;
  options.checkpoints.path = options.checkpoints.resume = file.path;
  train<float>(data.view(), params, options);
  CHECK(checkpoint_facts(file.path).finished);
  CHECK_THROWS(ModelFileError, "is a checkpoint, the state of a training, and no model", load<float>(file.path));
}

TEST(a_checkpoint_that_is_none_is_refused) {
  const Temporary file;
  CHECK_THROWS(ModelFileError, "there is no checkpoint", checkpoint_facts(file.path));
  std::ofstream(file.path) << "user,item,rating\n1,2,3\n";
  CHECK_THROWS(ModelFileError, "is damaged, or no checkpoint", checkpoint_facts(file.path));
  CHECK_THROWS(ModelFileError, "is no file", checkpoint_facts(fs::temp_directory_path()));
}

TEST(one_that_cannot_be_written_ends_training_unless_somebody_is_told) {
  const Data data(90, 60, 3000, 1.0);
  const Temporary file;
  TrainOptions<float> options;
  options.checkpoints.path = file.path / "there is no such folder" / "c";
  CHECK_THROWS(ModelFileError, "cannot be written", train<float>(data.view(), small(), options));
  int told = 0;
  options.checkpoints.warn = [&](const std::string&) { ++told; };
  options.checkpoints.every = 3;
  train<float>(data.view(), small(), options);
  CHECK_EQ(told, 3);
  options.checkpoints.every = 0;
  CHECK_THROWS(std::invalid_argument, "every is 0", train<float>(data.view(), small(), options));
}

}  // namespace
