// SPDX-License-Identifier: Apache-2.0
// The lock-free schedule. A file of its own, which a ThreadSanitizer build leaves out: its race is the algorithm.
#include "check.hpp"
#include "synthetic.hpp"

namespace {

using namespace synthetic;

template <class T>
void check_hogwild() {
  const Data data(400, 300, 40000, 0.1), held_out(400, 300, 5000, 0.1, 1);
  TrainParams params;
  params.n_factors = 8;
  params.reg = 0.01;
  params.n_threads = 2;
  const double blocked = rmse(train<T>(data.view(), params).model, held_out);
  params.parallel = Parallel::hogwild;
  const TrainResult<T> result = train<T>(data.view(), params);
  CHECK(finite(result.model));
  CHECK_EQ(result.n_threads, 2);
  CHECK_CLOSE(rmse(result.model, held_out), blocked, 0.05 * blocked);
}

TEST(hogwild_learns_as_well_as_blocked_in_float) { check_hogwild<float>(); }
TEST(hogwild_learns_as_well_as_blocked_in_double) { check_hogwild<double>(); }

TEST(hogwild_on_one_thread_is_blocked_on_one_thread) {
  const Data data(200, 100, 20000);
  TrainParams params;
  params.n_threads = 1;
  params.n_epochs = 3;
  const TrainResult<float> blocked = train<float>(data.view(), params);
  params.parallel = Parallel::hogwild;
  CHECK(same_bits(blocked.model, train<float>(data.view(), params).model));
}

TEST(hogwild_learns_as_well_by_batches) {
  const Data data(400, 300, 40000, 0.1), held_out(400, 300, 5000, 0.1, 1);
  for (const Optimizer optimizer : {Optimizer::sgd, Optimizer::adagrad, Optimizer::adam}) {
    for (const std::int64_t batch_size : {10, 300}) {
      if (!check::takes_case()) continue;
      check::context =
          "optimizer " + std::to_string(static_cast<int>(optimizer)) + ", batches of " + std::to_string(batch_size);
      TrainParams params;
      params.n_factors = 8;
      params.reg = 0.01;
      params.optimizer = optimizer;
      params.batch_size = batch_size;
      params.n_epochs = 8;
      params.n_threads = 1;
      const TrainResult<float> blocked = train<float>(data.view(), params);
      params.parallel = Parallel::hogwild;
      CHECK(same_bits(blocked.model, train<float>(data.view(), params).model));
      params.n_threads = 3;
      const TrainResult<float> result = train<float>(data.view(), params);
      CHECK(finite(result.model));
      CHECK_EQ(result.n_threads, 3);
      const double error = rmse(blocked.model, held_out);
      // Three batches of 300 at a time touch most of the 400 users: with Adam that is worth up to 9 % on two
      // processors, where the ratings' own deviation is three times the error.
      CHECK_CLOSE(rmse(result.model, held_out), error, 0.2 * error);
      CHECK_CLOSE(result.history.back().train_rmse, blocked.history.back().train_rmse,
                  0.2 * blocked.history.back().train_rmse);
    }
  }
}

TEST(hogwild_obeys_an_interrupt) {
  const Data data(200, 100, 20000);
  TrainParams params;
  params.parallel = Parallel::hogwild;
  params.n_threads = 2;
  params.n_epochs = 1000000;
  TrainOptions<float> options;
  options.interrupted = [] { return true; };
  for (const std::int64_t batch_size : {0, 1, 100}) {
    params.batch_size = batch_size;
    CHECK_THROWS(Interrupted, "interrupted", train<float>(data.view(), params, options));
  }
}

}  // namespace
