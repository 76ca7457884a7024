// SPDX-License-Identifier: Apache-2.0
// The steps of train(), as far as they take memory.
#include "warpfactor/memory.hpp"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "backend.hpp"
#include "bias_variances.hpp"
#include "device/device_backend.hpp"
#include "incidence.hpp"
#include "memory_plan.hpp"
#include "optimizer.hpp"
#include "rating_source.hpp"
#include "row_pulls.hpp"
#include "strengths.hpp"
#include "survey.hpp"
#include "threads.hpp"
#include "warpfactor/source.hpp"
#include "warpfactor/train.hpp"

namespace warpfactor {
namespace {

/// Of the least that a fit takes by its sizes, what it certainly takes: allocators share and reuse.
constexpr double kCertain = 0.95;
/// Asking the system takes as long as a small fit, of which there may be thousands. Not measured.
constexpr std::int64_t kAlwaysTried = std::int64_t{64} << 20;

bool is_searched(const RatingCounts& counts, const TrainParams& given) {
  return has_usual_pulls(given, counts.custom_penalty) && !counts.initial && leave_strengths_open(given) &&
         !traits_of(given.optimizer).all_together && given.n_epochs != 0;
}

/// The parameters with what they leave open, where that takes memory.
TrainParams resolved(const RatingCounts& counts, const TrainParams& given, MemoryBound bound) {
  TrainParams params = given;
  const bool per_row = has_usual_pulls(params, counts.custom_penalty);
  if (params.implicit_feedback == ImplicitFeedback::automatic) {
    const bool means = per_row && (bound == MemoryBound::most || !is_searched(counts, given));
    params.implicit_feedback = means ? ImplicitFeedback::both : ImplicitFeedback::none;
  }
  if (per_row && !params.reg_row) params.reg_row = kUsualStrengths.reg_row;
  return params;
}

template <class T>
void plan_train(MemoryPlan& plan, const RatingCounts& counts, const TrainParams& given, const TrainParams& params,
                MemoryBound bound, FitMemory& memory) {
  const int n_threads = team_size(params.n_threads, counts.n_ratings / ThreadTeam::kSlice);
  plan.take("ratings of a part", part_bytes(counts));
  plan_survey(plan, counts, n_threads);
  if (bound == MemoryBound::least) plan.free("validation ratings");  // if all are of known rows, none are copied
  const bool per_row = has_usual_pulls(params, counts.custom_penalty);
  if (bound == MemoryBound::most && is_searched(counts, given)) plan_search<T>(plan, counts, given);
  if (per_row && !given.reg_bias_row) plan_bias_variances(plan, counts);
  if (params.device == Device::cuda) {
    plan_device_upload<T>(plan, counts, params, memory);
  } else {
    plan_cpu_upload<T>(plan, counts, params);
  }
  plan.free("pairs without a rating");
  plan.free("ratings of a part");
}

}  // namespace

template <class T>
FitMemory fit_memory(const RatingCounts& given_counts, const TrainParams& given, MemoryBound bound) {
  require_in_range(given);
  RatingCounts counts = given_counts;
  if (bound == MemoryBound::least) counts.n_distinct = 0;
  const TrainParams params = resolved(counts, given, bound);
  FitMemory memory;
  MemoryPlan plan;
  plan.begin("preparing");
  plan_train<T>(plan, counts, given, params, bound, memory);
  plan.begin("epochs");
  if (given.device == Device::cpu) plan_cpu_epochs<T>(plan, counts, params);
  if (given.device == Device::cpu) plan_cpu_release(plan);
  plan.free(kUploadsPart);
  plan.begin("finishing");
#if defined(__linux__)
  // Of a fit from a disk the rows become the model page by page, if the buffers are large.
  if (bound == MemoryBound::least && counts.buffer_bytes > 0) plan.free("factors and biases");
#endif
  // The model: factors, biases, counts and the numbers of the rows.
  plan.take("model", counts.all_rows() * ((std::int64_t{given.n_factors} + 1) * static_cast<std::int64_t>(sizeof(T)) +
                                          static_cast<std::int64_t>(sizeof(std::uint32_t) + sizeof(std::int64_t))));
  if (given.device == Device::cuda) plan_device_download<T>(plan, counts, given);
  memory.phases = std::move(plan).phases();
  return memory;
}

template <class T>
std::vector<MemoryPart> smaller_fits(const RatingCounts& counts, const TrainParams& params, std::int64_t bytes,
                                     MemoryBound bound, std::int64_t freed) {
  std::vector<MemoryPart> found;
  /// Whether it fits.
  const auto offer = [&](const std::string& change, std::int64_t peak) {
    if (peak <= bytes) found.push_back({change, peak});
    return peak <= bytes;
  };
  const auto peak_with = [&](const auto& set) {
    TrainParams changed = params;
    set(changed);
    return fit_memory<T>(counts, changed, bound).peak();
  };
  for (std::int32_t k = params.n_factors / 2; k >= 8; k /= 2) {
    if (offer("n_factors=" + std::to_string(k), peak_with([k](TrainParams& p) { p.n_factors = k; }))) break;
  }
  if (sizeof(T) == sizeof(double)) offer("dtype='float32'", fit_memory<float>(counts, params, bound).peak());
  if (params.implicit_feedback != ImplicitFeedback::none) {
    offer("implicit_feedback='none'", peak_with([](TrainParams& p) { p.implicit_feedback = ImplicitFeedback::none; }));
  }
  if (params.optimizer != Optimizer::sgd || params.momentum > 0) {
    offer("optimizer='sgd'", peak_with([](TrainParams& p) {
            p.optimizer = Optimizer::sgd;
            p.momentum = 0;
          }));
  }
  if (params.batch_size > 0) {
    offer("batch_size=None", peak_with([](TrainParams& p) { p.batch_size = 0; }));
  }
  if (counts.n_validation > 0 && params.patience > 0) {
    offer("early_stopping=False", peak_with([](TrainParams& p) { p.patience = 0; }));
  }
  if (counts.buffer_bytes == 0 && trains_from_scratch(params)) {
    RatingCounts streamed = counts;
    const std::int64_t usual = ScratchFolder{}.buffer_bytes, least = least_buffer(params);
    for (streamed.buffer_bytes = usual; streamed.buffer_bytes >= least; streamed.buffer_bytes /= 2) {
      const bool as_usual = streamed.buffer_bytes == usual;
      const std::string change =
          as_usual ? "scratch=FOLDER" : "scratch=FOLDER with buffer=" + std::to_string(streamed.buffer_bytes);
      if (offer(change, fit_memory<T>(streamed, params, bound).peak() - freed)) break;
    }
  }
  return found;
}

void require_available(const FitMemory& least,
                       const std::function<std::vector<MemoryPart>(std::int64_t bytes)>& smaller) {
  const char* const checked = std::getenv("WARPFACTOR_CHECK_MEMORY");
  if (checked != nullptr && std::string(checked) == "0") return;
  if (least.peak() < kAlwaysTried) return;
  const AvailableMemory available = available_memory();
  if (available.bytes < 0) return;
  if (kCertain * static_cast<double>(least.peak()) <= static_cast<double>(available.bytes)) return;
  const auto most = std::max_element(least.phases.begin(), least.phases.end(),
                                     [](const MemoryPhase& a, const MemoryPhase& b) { return a.bytes() < b.bytes(); });
  std::vector<MemoryPart> parts = most->parts;
  std::sort(parts.begin(), parts.end(), [](const MemoryPart& a, const MemoryPart& b) { return a.bytes > b.bytes; });
  std::string listed;
  for (std::size_t n = 0; n < std::min<std::size_t>(parts.size(), 3); ++n) {
    listed += (n == 0 ? "" : ", ") + parts[n].name + " " + bytes_text(parts[n].bytes);
  }
  std::string fixes;
  for (const MemoryPart& each : smaller(available.bytes)) {
    fixes += (fixes.empty() ? "" : ", ") + each.name + " (" + bytes_text(each.bytes) + ")";
  }
  throw NotEnoughMemory(
      "the fit takes at least " + bytes_text(most->bytes()) + " of memory (" + listed + "), and " +
      bytes_text(available.bytes) + " are available (" + available.limit + "): use " +
      (fixes.empty() ? "several of fewer factors, float32 and fewer ratings, or a larger machine" : fixes) +
      "; WARPFACTOR_CHECK_MEMORY=0 in the environment tries all the same");
}

template <class T>
void require_memory(const RatingCounts& given, const TrainParams& params) {
  RatingCounts counts = given;  // how much of a buffer is used, the ratings decide
  if (counts.buffer_bytes > 0) counts.buffer_bytes = std::min(counts.buffer_bytes, least_buffer(params));
  require_available(fit_memory<T>(counts, params, MemoryBound::least),
                    [&](std::int64_t bytes) { return smaller_fits<T>(counts, params, bytes, MemoryBound::least); });
}

template FitMemory fit_memory<float>(const RatingCounts&, const TrainParams&, MemoryBound);
template FitMemory fit_memory<double>(const RatingCounts&, const TrainParams&, MemoryBound);
template std::vector<MemoryPart> smaller_fits<float>(const RatingCounts&, const TrainParams&, std::int64_t, MemoryBound,
                                                     std::int64_t);
template std::vector<MemoryPart> smaller_fits<double>(const RatingCounts&, const TrainParams&, std::int64_t,
                                                      MemoryBound, std::int64_t);
template void require_memory<float>(const RatingCounts&, const TrainParams&);
template void require_memory<double>(const RatingCounts&, const TrainParams&);

}  // namespace warpfactor
