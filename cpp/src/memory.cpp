// SPDX-License-Identifier: Apache-2.0
// The steps of train(), as far as they take memory.
#include "warpfactor/memory.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include "backend.hpp"
#include "bias_variances.hpp"
#include "device/device_backend.hpp"
#include "incidence.hpp"
#include "memory_plan.hpp"
#include "optimizer.hpp"
#include "row_pulls.hpp"
#include "strengths.hpp"
#include "survey.hpp"
#include "threads.hpp"
#include "warpfactor/train.hpp"

namespace warpfactor {
namespace {

std::int64_t sum_of(const std::vector<MemoryPart>& parts) {
  return std::accumulate(parts.begin(), parts.end(), std::int64_t{0},
                         [](std::int64_t sum, const MemoryPart& part) { return sum + part.bytes; });
}

/// The parameters with what they leave open, where that takes memory. What only the ratings decide is taken to be what
/// takes more.
TrainParams resolved(const RatingCounts& counts, const TrainParams& given) {
  TrainParams params = given;
  const bool per_row = has_usual_pulls(params, counts.custom_penalty);
  if (params.implicit_feedback == ImplicitFeedback::automatic) {
    params.implicit_feedback = per_row ? ImplicitFeedback::both : ImplicitFeedback::none;
  }
  if (per_row && !params.reg_row) params.reg_row = kUsualStrengths.reg_row;
  return params;
}

template <class T>
void plan_train(MemoryPlan& plan, const RatingCounts& counts, const TrainParams& given, FitMemory* device) {
  const TrainParams params = resolved(counts, given);
  const int n_threads = team_size(params.n_threads, counts.n_ratings / ThreadTeam::kSlice);
  plan_survey(plan, counts, n_threads);
  const bool per_row = has_usual_pulls(params, counts.custom_penalty);
  if (per_row && !counts.initial && leave_strengths_open(given) && !traits_of(params.optimizer).all_together &&
      params.n_epochs != 0) {
    plan_search<T>(plan, counts, given);
  }
  if (per_row && !given.reg_bias_row) plan_bias_variances(plan, counts);
  if (has_means(params, true) || has_means(params, false)) plan_distinct_pairs(plan, counts);
  plan.free("pairs without a rating");
  if (params.device == Device::cuda) {
    plan_device_upload<T>(plan, counts, params, *device);
  } else {
    plan_cpu_upload<T>(plan, counts, params);
  }
}

}  // namespace

std::int64_t MemoryPhase::bytes() const noexcept { return sum_of(parts); }
std::int64_t FitMemory::peak() const noexcept {
  std::int64_t most = 0;
  for (const MemoryPhase& phase : phases) most = std::max(most, phase.bytes());
  return most;
}
std::int64_t FitMemory::device_bytes() const noexcept { return sum_of(device); }
std::int64_t FitMemory::device_least() const noexcept { return device_bytes() - device_streamed; }

template <class T>
FitMemory fit_memory(const RatingCounts& counts, const TrainParams& given) {
  require_in_range(given);
  FitMemory memory;
  MemoryPlan plan;
  plan.begin("preparing");
  plan_train<T>(plan, counts, given, &memory);
  plan.begin("epochs");
  if (given.device == Device::cpu) plan_cpu_epochs<T>(plan, counts, resolved(counts, given));
  if (given.device == Device::cpu) plan_cpu_release(plan);
  plan.begin("finishing");
  // The model: factors, biases, counts and the numbers of the rows.
  plan.take("model", counts.all_rows() * ((std::int64_t{given.n_factors} + 1) * static_cast<std::int64_t>(sizeof(T)) +
                                          static_cast<std::int64_t>(sizeof(std::uint32_t) + sizeof(std::int64_t))));
  if (given.device == Device::cuda) plan_device_download<T>(plan, counts, given);
  memory.phases = std::move(plan).phases();
  return memory;
}

template FitMemory fit_memory<float>(const RatingCounts&, const TrainParams&);
template FitMemory fit_memory<double>(const RatingCounts&, const TrainParams&);

}  // namespace warpfactor
