// SPDX-License-Identifier: Apache-2.0
#include "cpu/prior_means.hpp"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "cpu/means_rule.hpp"
#include "cpu/tuning.hpp"

namespace warpfactor {
namespace {

template <class T>
Buffer<T> zeros(std::int64_t size) {
  Buffer<T> buffer(size);
  std::fill_n(buffer.data(), size, T(0));
  return buffer;
}

void add(std::vector<ColumnSums>& to, const std::vector<ColumnSums>& more) {
  for (std::size_t c = 0; c < to.size(); ++c) to[c].add(more[c]);
}

}  // namespace

template <class T>
MeansWork<T>::MeansWork(std::int64_t n_rows, std::int64_t stride)
    : rows(zeros<T>(n_rows * stride)), numbers(zeros<T>(n_rows)) {}

template <class T>
PriorMeans<T>::Side::Side(const IncidentRows& of, MeansWork<T>& with)
    : incident(of), work(with), ranges(ranges_of(of.begin, kTaskOthers)) {}

template <class T>
PriorMeans<T>::PriorMeans(const Kernels<T>& kernels, const IncidentRows& own, const IncidentRows& other,
                          MeansWork<T>& own_work, MeansWork<T>& other_work, std::int64_t stride, double rho,
                          double rho_bias, ThreadTeam& team)
    : kernels_(kernels),
      own_(own, own_work),
      other_(other, other_work),
      lists_(static_cast<std::size_t>(team.size())),
      stride_(stride),
      rho_(rho),
      rho_bias_(rho_bias) {
  const std::int64_t n = own_.size(), m = other_.size();
  other_.rows = zeros<T>(m * stride);
  other_.numbers = zeros<T>(m);
  for (Side* side : {&own_, &other_}) {
    side->step_rows = zeros<T>(side->size() * stride);
    side->step_numbers = zeros<T>(side->size());
  }
  scale_.assign(static_cast<std::size_t>(n), T(0));
  for (std::size_t row = 0; row < scale_.size(); ++row) {
    const std::int64_t count = own.begin[row + 1] - own.begin[row];
    if (count > 0) scale_[row] = static_cast<T>(1 / std::sqrt(static_cast<double>(count)));
  }
  other_.diagonal.assign(static_cast<std::size_t>(m), 0.0);
  for_each_range(other_, team, [&](std::int64_t first, std::int64_t last, const IncidentLists& lists) {
    for (std::int64_t row = first; row < last; ++row) {
      double& diagonal = other_.diagonal[static_cast<std::size_t>(row)];
      for (std::int64_t at = lists.begin()[row - first]; at < lists.begin()[row - first + 1]; ++at) {
        const double x = static_cast<double>(scale_[static_cast<std::size_t>(lists.others()[at])]);
        diagonal += x * x;
      }
    }
  });
}

template <class T>
template <class F>
void PriorMeans<T>::for_each_range(const Side& side, ThreadTeam& team, const F& f) {
  const IncidentRows& incident = side.incident;
  const auto n_ranges = static_cast<std::int64_t>(side.ranges.size()) - 1;
  const auto begin_of = [&](std::int64_t range) {
    return incident.begin[static_cast<std::size_t>(side.ranges[static_cast<std::size_t>(std::min(range, n_ranges))])];
  };
  team.run(n_ranges, [&](std::int64_t range, int thread) {
    if (team.poll(thread)) return;
    const std::int64_t first = side.ranges[static_cast<std::size_t>(range)],
                       last = side.ranges[static_cast<std::size_t>(range) + 1];
    IncidentLists& lists = lists_[static_cast<std::size_t>(thread)];
    lists.take(incident, first, last);
    if (incident.file.is_open()) {  // ranges are begun in order
      constexpr std::int64_t kBytes = sizeof(std::int32_t);
      const std::int64_t from = begin_of(range + kRangesAhead);
      incident.file.will_need(from * kBytes, (begin_of(range + kRangesAhead + 1) - from) * kBytes);
    }
    f(first, last, lists);
  });
}

template <class T>
void PriorMeans<T>::sum_others(Side& of, const Side& from, std::int64_t width, ThreadTeam& team) {
  for_each_range(of, team, [&](std::int64_t first, std::int64_t last, const IncidentLists& lists) {
    kernels_.sum_rows({from.work.rows.data(), from.work.numbers.data(), lists.others(), lists.begin(), last - first,
                       width, stride_, of.work.rows.data() + first * stride_, of.work.numbers.data() + first});
  });
}

template <class T>
void PriorMeans<T>::step(const T* factors, const T* biases, T* means, RowPull<T>* pulls, std::int64_t width,
                         ThreadTeam& team) {
  const std::int64_t n = own_.size(), m = other_.size();
  const auto last = static_cast<std::size_t>(width), columns = last + 1;
  // x_u times what the means leave of the rows.
  team.run_slices(
      n,
      [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t u = begin; u < end; ++u) {
          const T x = scale_[static_cast<std::size_t>(u)];
          for (std::int64_t f = u * stride_; f < u * stride_ + width; ++f) {
            own_.work.rows[f] = x * (factors[f] - means[f]);
          }
          own_.work.numbers[u] = biases == nullptr ? T(0) : x * (biases[u] - pulls[u].bias_mean);
        }
      },
      kRowSlice);
  sum_others(other_, own_, width, team);
  // The gradient g, and z in its place.
  std::vector<std::vector<ColumnSums>> parts(static_cast<std::size_t>((m + kRowSlice - 1) / kRowSlice));
  team.run_slices(
      m,
      [&](std::int64_t begin, std::int64_t end, int) {
        std::vector<ColumnSums> part(columns);
        for (std::int64_t j = begin; j < end; ++j) {
          const double diagonal = other_.diagonal[static_cast<std::size_t>(j)];
          for (std::int64_t f = 0; f < width; ++f) {
            const std::int64_t at = j * stride_ + f;
            precondition(rho_, diagonal, other_.work.rows[at], other_.rows[at], other_.step_rows[at],
                         part[static_cast<std::size_t>(f)]);
          }
          precondition(rho_bias_, diagonal, other_.work.numbers[j], other_.numbers[j], other_.step_numbers[j],
                       part[last]);
        }
        parts[static_cast<std::size_t>(begin / kRowSlice)] = std::move(part);
      },
      kRowSlice);
  std::vector<ColumnSums> sums(columns);
  for (const auto& part : parts) add(sums, part);
  sum_others(own_, other_, width, team);
  parts.assign(static_cast<std::size_t>((n + kRowSlice - 1) / kRowSlice), {});
  team.run_slices(
      n,
      [&](std::int64_t begin, std::int64_t end, int) {
        std::vector<ColumnSums> part(columns);
        const auto take = [&](std::size_t column, T x, T& work, T step) {
          work *= x;
          part[column].add(static_cast<double>(work), static_cast<double>(step), 1);
        };
        for (std::int64_t u = begin; u < end; ++u) {
          const T x = scale_[static_cast<std::size_t>(u)];
          for (std::int64_t f = 0; f < width; ++f) {
            take(static_cast<std::size_t>(f), x, own_.work.rows[u * stride_ + f], own_.step_rows[u * stride_ + f]);
          }
          take(last, x, own_.work.numbers[u], own_.step_numbers[u]);
        }
        parts[static_cast<std::size_t>(begin / kRowSlice)] = std::move(part);
      },
      kRowSlice);
  for (const auto& part : parts) add(sums, part);
  std::vector<T> along_z(columns), along_d(columns);
  for (std::size_t c = 0; c < columns; ++c) std::tie(along_z[c], along_d[c]) = least_along<T>(sums[c]);
  const auto move = [&](Side& side, std::int64_t row, T* rows) {
    T *const d = side.step_rows.data() + row * stride_, *const z = side.work.rows.data() + row * stride_;
    T* const to = rows + row * stride_;
    for (std::int64_t f = 0; f < width; ++f) {
      d[f] = along_z[static_cast<std::size_t>(f)] * z[f] + along_d[static_cast<std::size_t>(f)] * d[f];
      to[f] += d[f];
    }
    side.step_numbers[row] = along_z[last] * side.work.numbers[row] + along_d[last] * side.step_numbers[row];
    return side.step_numbers[row];
  };
  team.run_slices(
      m,
      [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t j = begin; j < end; ++j) other_.numbers[j] += move(other_, j, other_.rows.data());
      },
      kRowSlice);
  team.run_slices(
      n,
      [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t u = begin; u < end; ++u) pulls[u].bias_mean += move(own_, u, means);
      },
      kRowSlice);
}

template <class T>
void PriorMeans<T>::visit_state(const std::string& name, std::span<const std::int32_t> own_position,
                                std::span<const std::int32_t> other_position, std::int64_t n_factors,
                                const StateVisit<T>& visit) {
  const auto show = [&](const char* what, Side& side, Buffer<T>& rows, Buffer<T>& numbers,
                        std::span<const std::int32_t> position) {
    visit({name + what, rows.data(), side.size(), n_factors, stride_, position});
    visit({name + what + "_of_bias", numbers.data(), side.size(), 1, 1, position});
  };
  show("coefficients", other_, other_.rows, other_.numbers, other_position);
  show("step", own_, own_.step_rows, own_.step_numbers, own_position);
  show("coefficients_step", other_, other_.step_rows, other_.step_numbers, other_position);
}

template struct MeansWork<float>;
template struct MeansWork<double>;
template class PriorMeans<float>;
template class PriorMeans<double>;

template <class T>
void plan_prior_means(MemoryPlan& plan, const RatingCounts& counts, std::int64_t stride, bool of_users, bool of_items) {
  const char* const part = "prior means";
  const std::int64_t n = counts.distinct(), users = counts.n_users, items = counts.n_items;
  plan_distinct_pairs(plan, counts);
  for (const bool own : {true, false}) {
    plan.free(own ? kUserListsPart : kItemListsPart);
    plan.take("who rated what", lists_bytes(counts.rows(own), counts.buffer_bytes > 0 ? 0 : n));
  }
  const auto number = static_cast<std::int64_t>(sizeof(T));
  plan.take(part, (users + items) * (stride + 1) * number);  // the work
  const auto take = [&](std::int64_t own, std::int64_t other) {
    plan.take(part, (own + 2 * other) * (stride + 1) * number + own * number +
                        other * static_cast<std::int64_t>(sizeof(double)));
  };
  if (of_users) take(users, items);
  if (of_items) take(items, users);
}
template void plan_prior_means<float>(MemoryPlan&, const RatingCounts&, std::int64_t, bool, bool);
template void plan_prior_means<double>(MemoryPlan&, const RatingCounts&, std::int64_t, bool, bool);

}  // namespace warpfactor
