// SPDX-License-Identifier: Apache-2.0
#include "warpfactor/descent.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/batches.hpp"
#include "cpu/tuning.hpp"
#include "require.hpp"
#include "threads.hpp"

namespace warpfactor {
namespace {

void require_indices(std::span<const std::int32_t> indices, std::int32_t n, const char* name) {
  const auto bad = std::find_if(indices.begin(), indices.end(), [n](std::int32_t i) { return i < 0 || i >= n; });
  if (bad != indices.end()) reject(element(name, bad - indices.begin()), *bad, "from 0 to " + text(n - 1));
}

template <class T>
void require_finite(std::span<const T> values, const char* name) {
  const auto bad = std::find_if(values.begin(), values.end(), [](T v) { return !std::isfinite(v); });
  if (bad != values.end()) reject(element(name, bad - values.begin()), *bad, "finite");
}

template <class T>
void validate(const EntriesView<T>& entries, std::span<T> P, std::span<T> Q_transposed, std::int32_t n_factors,
              std::int64_t n_steps, double alpha, double beta) {
  if (entries.rows.size() != entries.values.size() || entries.columns.size() != entries.values.size()) {
    reject("D has " + text(entries.rows.size()) + " row numbers, " + text(entries.columns.size()) +
           " column numbers and " + text(entries.values.size()) + " values; the lengths must be equal");
  }
  if (entries.values.empty()) reject("D has no entry; it must have at least one");
  require_indices(entries.rows, entries.n_rows, "D.rows");
  require_indices(entries.columns, entries.n_columns, "D.columns");
  require_finite(entries.values, "D.values");
  require(n_factors >= 1, "n_factors", n_factors, "at least 1");
  const auto require_size = [&](std::size_t size, std::int32_t n, const char* name) {
    if (size != static_cast<std::size_t>(n) * static_cast<std::size_t>(n_factors)) {
      reject(std::string(name) + " has " + text(size) + " elements; it must have " + text(n) + " x " + text(n_factors));
    }
  };
  require_size(P.size(), entries.n_rows, "P");
  require_size(Q_transposed.size(), entries.n_columns, "Q_transposed");
  require_finite<T>(P, "P");
  require_finite<T>(Q_transposed, "Q_transposed");
  require(n_steps >= 0, "n_steps", n_steps, "at least 0");
  require(alpha > 0 && std::isfinite(alpha), "alpha", alpha, "finite and above 0");
  require(beta >= 0 && std::isfinite(beta), "beta", beta, "finite and at least 0");
}

template <class T>
Buffer<T> padded(std::span<const T> rows, std::int64_t n_factors, std::int64_t stride) {
  const std::int64_t n_rows = static_cast<std::int64_t>(rows.size()) / n_factors;
  Buffer<T> out(n_rows * stride);
  for (std::int64_t row = 0; row < n_rows; ++row) {
    T* const end = std::copy_n(rows.data() + row * n_factors, n_factors, out.data() + row * stride);
    std::fill_n(end, stride - n_factors, T(0));
  }
  return out;
}

template <class T>
void unpad(const Buffer<T>& rows, std::int64_t n_factors, std::int64_t stride, std::span<T> out) {
  for (std::int64_t row = 0; row * n_factors < static_cast<std::int64_t>(out.size()); ++row) {
    std::copy_n(rows.data() + row * stride, n_factors, out.data() + row * n_factors);
  }
}

/// What n_steps steps make of the rows without an entry, which no batch has: the penalty alone moves them.
template <class T>
void shrink_rest(Buffer<T>& rows, std::int64_t stride, const std::vector<std::int32_t>& with_entries, double decay,
                 std::int64_t n_steps) {
  const T shrunk = static_cast<T>(std::pow(1 - decay, static_cast<double>(n_steps)));
  std::int64_t row = 0;
  const auto shrink_until = [&](std::int64_t end) {
    for (std::int64_t f = row * stride; f < end * stride; ++f) rows[f] *= shrunk;
    row = end + 1;
  };
  for (const std::int32_t there : with_entries) shrink_until(there);
  shrink_until(rows.size() / stride);
}

}  // namespace

template <class T>
void descend(const EntriesView<T>& entries, std::span<T> P, std::span<T> Q_transposed, std::int32_t n_factors,
             std::int64_t n_steps, double alpha, double beta, std::int32_t n_threads,
             const std::function<bool()>& interrupted) {
  validate(entries, P, Q_transposed, n_factors, n_steps, alpha, beta);
  const Kernels<T>& kernels = kernel_table().kernels<T>();
  const std::int64_t stride = padded_stride<T>(n_factors);
  const auto n = static_cast<std::int64_t>(entries.values.size());
  ThreadTeam team(team_size(n_threads, n * stride / kWorkPerThread), interrupted);
  const BatchInput<T> input{entries.rows, entries.columns, entries.values};
  const Batches<T> batches = make_batches<T>(input, n, 0, team);
  Buffer<T> p = padded<T>(P, n_factors, stride), q = padded<T>(Q_transposed, n_factors, stride);
  BatchModel<T> model{};
  model.users.factors = p.data();
  model.items.factors = q.data();
  model.n_factors = n_factors;
  model.stride = stride;
  model.penalty_once = true;
  BatchStepper<T> stepper(kernels, batches, model, team);

  // The rule's loss is (r - x)^2 / 2, and its penalty beta' / 2 * w^2: twice the rate and half the penalty.
  const T infinite = std::numeric_limits<T>::infinity();
  StepSizes<T> sizes{};
  sizes.rule = StepRule::plain;
  sizes.learning_rate = static_cast<T>(2 * alpha);
  sizes.reg = {static_cast<T>(beta / 2), static_cast<T>(beta / 2)};
  sizes.max_weight = sizes.max_slope = infinite;
  sizes.lowest = -infinite;

  for (std::int64_t step = 0; step < n_steps; ++step) {
    const PassSums sums = stepper.run_blocked({0}, sizes);
    if (!std::isfinite(sums.loss)) {
      throw DivergedError(static_cast<std::int32_t>(std::min<std::int64_t>(step + 1, INT32_MAX)),
                          "descent diverged by step " + text(step + 1) + " with alpha " + text(alpha) +
                              ": lower alpha, for example to " + text(alpha / 4));
    }
  }
  shrink_rest(p, stride, batches.users.rows, alpha * beta, n_steps);
  shrink_rest(q, stride, batches.items.rows, alpha * beta, n_steps);
  const auto finite = [](const Buffer<T>& rows) {
    return std::all_of(rows.data(), rows.data() + rows.size(), [](T v) { return std::isfinite(v); });
  };
  if (!finite(p) || !finite(q)) {
    throw DivergedError(
        static_cast<std::int32_t>(std::min<std::int64_t>(n_steps, INT32_MAX)),
        "descent diverged with alpha " + text(alpha) + ": lower alpha, for example to " + text(alpha / 4));
  }
  unpad(p, n_factors, stride, P);
  unpad(q, n_factors, stride, Q_transposed);
}

template void descend<float>(const EntriesView<float>&, std::span<float>, std::span<float>, std::int32_t, std::int64_t,
                             double, double, std::int32_t, const std::function<bool()>&);
template void descend<double>(const EntriesView<double>&, std::span<double>, std::span<double>, std::int32_t,
                              std::int64_t, double, double, std::int32_t, const std::function<bool()>&);

}  // namespace warpfactor
