// SPDX-License-Identifier: Apache-2.0
#include "warpfactor/descent.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "buffer.hpp"
#include "kernel_table.hpp"
#include "text.hpp"
#include "threads.hpp"

namespace warpfactor {
namespace {

// A thread is worth waking for this many factors to multiply and add in a step.
constexpr std::int64_t kWorkPerThread = 1 << 16;

/// The entries in compressed rows: row r has entries begin[r] .. begin[r + 1], in the order in which they were given.
struct Compressed {
  std::vector<std::int64_t> begin;
  std::vector<std::int64_t> from;        ///< the number of each entry among those given
  std::vector<std::int32_t> indices;     ///< the other side's row
  std::vector<std::int64_t> part_begin;  ///< rows cut into parts of about as many entries each

  Compressed(std::span<const std::int32_t> rows, std::span<const std::int32_t> others, std::int32_t n_rows,
             std::int64_t n_parts)
      : begin(static_cast<std::size_t>(n_rows) + 1, 0), from(rows.size()), indices(rows.size()) {
    for (const std::int32_t row : rows) ++begin[static_cast<std::size_t>(row) + 1];
    std::partial_sum(begin.begin(), begin.end(), begin.begin());
    std::vector<std::int64_t> next(begin.begin(), begin.end() - 1);
    for (std::size_t n = 0; n < rows.size(); ++n) {
      const auto to = static_cast<std::size_t>(next[static_cast<std::size_t>(rows[n])]++);
      from[to] = static_cast<std::int64_t>(n);
      indices[to] = others[n];
    }
    for (std::int64_t part = 0; part < n_parts; ++part) {
      const auto first = std::lower_bound(begin.begin(), begin.end() - 1, begin.back() * part / n_parts);
      part_begin.push_back(part == 0 ? 0 : first - begin.begin());
    }
    part_begin.push_back(n_rows);
  }
};

[[noreturn]] void reject(const std::string& message) { throw std::invalid_argument(message); }

void require_indices(std::span<const std::int32_t> indices, std::int32_t n, const char* name) {
  const auto bad = std::find_if(indices.begin(), indices.end(), [n](std::int32_t i) { return i < 0 || i >= n; });
  if (bad != indices.end()) {
    reject(std::string(name) + "[" + text(bad - indices.begin()) + "] is " + text(*bad) + "; it must be from 0 to " +
           text(n - 1));
  }
}

template <class T>
void require_finite(std::span<const T> values, const char* name) {
  const auto bad = std::find_if(values.begin(), values.end(), [](T v) { return !std::isfinite(v); });
  if (bad != values.end()) {
    reject(std::string(name) + "[" + text(bad - values.begin()) + "] is " + text(*bad) + "; it must be finite");
  }
}

template <class T>
void validate(const EntriesView<T>& entries, std::span<T> P, std::span<T> Q_transposed, std::int32_t n_factors,
              std::int64_t n_steps, double alpha, double beta) {
  if (entries.rows.size() != entries.values.size() || entries.columns.size() != entries.values.size()) {
    reject("D has " + text(entries.rows.size()) + " row numbers, " + text(entries.columns.size()) +
           " column numbers and " + text(entries.values.size()) + " values; the lengths must be equal");
  }
  if (entries.values.empty()) reject("D has no entry; give at least one");
  require_indices(entries.rows, entries.n_rows, "D.rows");
  require_indices(entries.columns, entries.n_columns, "D.columns");
  require_finite(entries.values, "D.values");
  if (n_factors < 1) reject("n_factors is " + text(n_factors) + "; it must be at least 1");
  const auto require_size = [&](std::size_t size, std::int32_t n, const char* name) {
    if (size != static_cast<std::size_t>(n) * static_cast<std::size_t>(n_factors)) {
      reject(std::string(name) + " has " + text(size) + " elements; it must have " + text(n) + " x " + text(n_factors));
    }
  };
  require_size(P.size(), entries.n_rows, "P");
  require_size(Q_transposed.size(), entries.n_columns, "Q_transposed");
  require_finite<T>(P, "P");
  require_finite<T>(Q_transposed, "Q_transposed");
  if (n_steps < 0) reject("n_steps is " + text(n_steps) + "; it must be at least 0");
  if (!(alpha > 0) || !std::isfinite(alpha)) reject("alpha is " + text(alpha) + "; it must be finite and above 0");
  if (!(beta >= 0) || !std::isfinite(beta)) reject("beta is " + text(beta) + "; it must be finite and at least 0");
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
  // Enough for threads to share the work evenly, and for Ctrl-C not to wait for the end of a long step.
  const std::int64_t n_parts = n / ThreadTeam::kSlice + (team.size() == 1 ? 1 : 4 * team.size());
  const Compressed by_row(entries.rows, entries.columns, entries.n_rows, n_parts),
      by_column(entries.columns, entries.rows, entries.n_columns, n_parts);

  // Errors come about row by row and are wanted column by column as well.
  std::vector<T> values(entries.values.size()), errors(entries.values.size());
  std::vector<std::int64_t> place_in_column(entries.values.size()), to(entries.values.size());
  for (std::size_t at = 0; at < to.size(); ++at) {
    place_in_column[static_cast<std::size_t>(by_column.from[at])] = static_cast<std::int64_t>(at);
  }
  for (std::size_t at = 0; at < to.size(); ++at) {
    values[at] = entries.values[static_cast<std::size_t>(by_row.from[at])];
    to[at] = place_in_column[static_cast<std::size_t>(by_row.from[at])];
  }

  Buffer<T> p = padded<T>(P, n_factors, stride), q = padded<T>(Q_transposed, n_factors, stride);
  Buffer<T> new_p(p.size());
  // P <- P + (2 alpha * sum - alpha beta * P), with the sum of error * other row. Not (1 - alpha beta) * P, which in
  // float32 would round most of a small penalty away.
  const T pull = static_cast<T>(2 * alpha), decay = static_cast<T>(alpha * beta);
  std::vector<double> part_loss(static_cast<std::size_t>(n_parts));
  struct Desk {
    Buffer<T> sum;
    std::vector<T> errors;
  };
  std::vector<Desk> desks(static_cast<std::size_t>(team.size()));
  for (Desk& desk : desks) desk.sum = Buffer<T>(stride);

  for (std::int64_t step = 0; step < n_steps; ++step) {
    team.run(n_parts, [&](std::int64_t part, int thread) {
      if (team.poll(thread)) return;
      Desk& desk = desks[static_cast<std::size_t>(thread)];
      double loss = 0;
      const auto part_at = static_cast<std::size_t>(part);
      for (std::int64_t row = by_row.part_begin[part_at]; row < by_row.part_begin[part_at + 1]; ++row) {
        const std::int64_t begin = by_row.begin[static_cast<std::size_t>(row)];
        const std::int64_t size = by_row.begin[static_cast<std::size_t>(row) + 1] - begin;
        if (static_cast<std::int64_t>(desk.errors.size()) < size) desk.errors.resize(static_cast<std::size_t>(size));
        const T* const own = p.data() + row * stride;
        loss += kernels.row_errors(
            {own, q.data(), by_row.indices.data() + begin, values.data() + begin, stride, size, desk.errors.data()});
        kernels.row_sum({q.data(), by_row.indices.data() + begin, desk.errors.data(), stride, size, desk.sum.data()});
        T* const target = new_p.data() + row * stride;
        for (std::int64_t f = 0; f < stride; ++f) target[f] = own[f] + (pull * desk.sum[f] - decay * own[f]);
        for (std::int64_t at = 0; at < size; ++at) {
          errors[static_cast<std::size_t>(to[static_cast<std::size_t>(begin + at)])] =
              desk.errors[static_cast<std::size_t>(at)];
        }
      }
      part_loss[part_at] = loss;
    });
    const double loss = std::accumulate(part_loss.begin(), part_loss.end(), 0.0);
    if (!std::isfinite(loss)) {
      throw DivergedError(static_cast<std::int32_t>(std::min<std::int64_t>(step + 1, INT32_MAX)),
                          "descent diverged by step " + text(step + 1) + " with alpha " + text(alpha) +
                              ": lower alpha, for example to " + text(alpha / 4));
    }
    team.run(n_parts, [&](std::int64_t part, int thread) {
      if (team.poll(thread)) return;
      Desk& desk = desks[static_cast<std::size_t>(thread)];
      const auto part_at = static_cast<std::size_t>(part);
      for (std::int64_t column = by_column.part_begin[part_at]; column < by_column.part_begin[part_at + 1]; ++column) {
        const std::int64_t begin = by_column.begin[static_cast<std::size_t>(column)];
        const std::int64_t size = by_column.begin[static_cast<std::size_t>(column) + 1] - begin;
        kernels.row_sum(
            {p.data(), by_column.indices.data() + begin, errors.data() + begin, stride, size, desk.sum.data()});
        T* const own = q.data() + column * stride;
        for (std::int64_t f = 0; f < stride; ++f) own[f] += pull * desk.sum[f] - decay * own[f];
      }
    });
    std::swap(p, new_p);
  }
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
