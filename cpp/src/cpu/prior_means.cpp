// SPDX-License-Identifier: Apache-2.0
#include "cpu/prior_means.hpp"

#include <algorithm>
#include <cmath>

#include "cpu/tuning.hpp"

namespace warpfactor {
namespace {

template <class T>
Buffer<T> zeros(std::int64_t size) {
  Buffer<T> buffer(size);
  std::fill_n(buffer.data(), size, T(0));
  return buffer;
}

/// Sums by column: of the products of two kinds of numbers, z and d, with each other and with the gradient g.
struct ColumnSums {
  std::vector<double> gz, gd, zz, zd, dd;
  explicit ColumnSums(std::int64_t columns = 0)
      : gz(static_cast<std::size_t>(columns), 0.0), gd(gz), zz(gz), zd(gz), dd(gz) {}
  void add(std::size_t column, double z, double d, double weight) {
    zz[column] += weight * z * z;
    zd[column] += weight * z * d;
    dd[column] += weight * d * d;
  }
  void add(const ColumnSums& other) {
    for (std::size_t c = 0; c < gz.size(); ++c) {
      gz[c] += other.gz[c];
      gd[c] += other.gd[c];
      zz[c] += other.zz[c];
      zd[c] += other.zd[c];
      dd[c] += other.dd[c];
    }
  }
};

}  // namespace

InternalLists::InternalLists(IncidentRows rows, const std::vector<std::int32_t>& position,
                             const std::vector<std::int32_t>& other_position, ThreadTeam& team) {
  if (position.empty() && other_position.empty()) {
    begin = std::move(rows.begin);
    others = std::move(rows.others);
    ranges = ranges_of(begin, kTaskOthers);
    return;
  }
  const std::int64_t n = rows.rows();
  const auto internal = [](const std::vector<std::int32_t>& of, std::int64_t row) {
    return of.empty() ? row : static_cast<std::int64_t>(of[static_cast<std::size_t>(row)]);
  };
  begin.assign(static_cast<std::size_t>(n) + 1, 0);
  for (std::int64_t row = 0; row < n; ++row) {
    begin[static_cast<std::size_t>(internal(position, row)) + 1] =
        rows.begin[static_cast<std::size_t>(row) + 1] - rows.begin[static_cast<std::size_t>(row)];
  }
  for (std::size_t row = 0; row < static_cast<std::size_t>(n); ++row) begin[row + 1] += begin[row];
  others = Buffer<std::int32_t>(begin.back());
  team.run_slices(
      n,
      [&](std::int64_t first, std::int64_t last, int) {
        for (std::int64_t row = first; row < last; ++row) {
          std::int64_t to = begin[static_cast<std::size_t>(internal(position, row))];
          for (std::int64_t at = rows.begin[static_cast<std::size_t>(row)];
               at < rows.begin[static_cast<std::size_t>(row) + 1]; ++at) {
            others[to++] = static_cast<std::int32_t>(internal(other_position, rows.others[at]));
          }
        }
      },
      kRowSlice);
  ranges = ranges_of(begin, kTaskOthers);
}

template <class T>
MeansWork<T>::MeansWork(std::int64_t n_rows, std::int64_t stride)
    : rows(zeros<T>(n_rows * stride)), numbers(zeros<T>(n_rows)) {}

template <class T>
PriorMeans<T>::PriorMeans(const Kernels<T>& kernels, const InternalLists& own, const InternalLists& other,
                          MeansWork<T>& own_work, MeansWork<T>& other_work, std::int64_t stride, double rho,
                          double rho_bias, ThreadTeam& team)
    : kernels_(kernels),
      own_(own, own_work),
      other_(other, other_work),
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
  team.run_slices(
      m,
      [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t r = begin; r < end; ++r) {
          const auto row = static_cast<std::size_t>(r);
          for (std::int64_t at = other.begin[row]; at < other.begin[row + 1]; ++at) {
            const double x = static_cast<double>(scale_[static_cast<std::size_t>(other.others[at])]);
            other_.diagonal[row] += x * x;
          }
        }
      },
      kRowSlice);
}

template <class T>
void PriorMeans<T>::sum_others(Side& of, const Side& from, std::int64_t width, ThreadTeam& team) const {
  team.run(static_cast<std::int64_t>(of.lists.ranges.size()) - 1, [&](std::int64_t range, int thread) {
    if (team.poll(thread)) return;
    const std::int64_t first = of.lists.ranges[static_cast<std::size_t>(range)],
                       last = of.lists.ranges[static_cast<std::size_t>(range) + 1];
    kernels_.sum_rows({from.work.rows.data(), from.work.numbers.data(), of.lists.others.data(),
                       of.lists.begin.data() + first, last - first, width, stride_,
                       of.work.rows.data() + first * stride_, of.work.numbers.data() + first});
  });
}

template <class T>
void PriorMeans<T>::step(const T* factors, const T* biases, T* means, RowPull<T>* pulls, std::int64_t width,
                         ThreadTeam& team) {
  const std::int64_t n = own_.size(), m = other_.size(), columns = width + 1;
  const auto last = static_cast<std::size_t>(width);
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
  std::vector<ColumnSums> parts(static_cast<std::size_t>((m + kRowSlice - 1) / kRowSlice));
  team.run_slices(
      m,
      [&](std::int64_t begin, std::int64_t end, int) {
        ColumnSums sums(columns);
        const auto take = [&](std::size_t column, double rho, double diagonal, T& work, T y, T step) {
          const double g = static_cast<double>(work) - rho * static_cast<double>(y), z = g / (diagonal + rho),
                       d = static_cast<double>(step);
          sums.gz[column] += g * z;
          sums.gd[column] += g * d;
          sums.add(column, z, d, rho);
          work = static_cast<T>(z);
        };
        for (std::int64_t j = begin; j < end; ++j) {
          const double diagonal = other_.diagonal[static_cast<std::size_t>(j)];
          for (std::int64_t f = 0; f < width; ++f) {
            const std::int64_t at = j * stride_ + f;
            take(static_cast<std::size_t>(f), rho_, diagonal, other_.work.rows[at], other_.rows[at],
                 other_.step_rows[at]);
          }
          take(last, rho_bias_, diagonal, other_.work.numbers[j], other_.numbers[j], other_.step_numbers[j]);
        }
        parts[static_cast<std::size_t>(begin / kRowSlice)] = std::move(sums);
      },
      kRowSlice);
  ColumnSums sums(columns);
  for (const ColumnSums& part : parts) sums.add(part);
  sum_others(own_, other_, width, team);
  parts.assign(static_cast<std::size_t>((n + kRowSlice - 1) / kRowSlice), ColumnSums());
  team.run_slices(
      n,
      [&](std::int64_t begin, std::int64_t end, int) {
        ColumnSums part(columns);
        const auto take = [&](std::size_t column, T x, T& work, T step) {
          work *= x;
          part.add(column, static_cast<double>(work), static_cast<double>(step), 1);
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
  for (const ColumnSums& part : parts) sums.add(part);
  // The least along z and d together.
  std::vector<T> along_z(static_cast<std::size_t>(columns)), along_d(along_z);
  for (std::size_t c = 0; c < along_z.size(); ++c) {
    const double zz = sums.zz[c], zd = sums.zd[c], dd = sums.dd[c], determinant = zz * dd - zd * zd;
    if (determinant > kIndependent * zz * dd) {
      along_z[c] = static_cast<T>((sums.gz[c] * dd - sums.gd[c] * zd) / determinant);
      along_d[c] = static_cast<T>((sums.gd[c] * zz - sums.gz[c] * zd) / determinant);
    } else {
      along_z[c] = static_cast<T>(zz > 0 ? sums.gz[c] / zz : 0);
      along_d[c] = T(0);
    }
  }
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

template struct MeansWork<float>;
template struct MeansWork<double>;
template class PriorMeans<float>;
template class PriorMeans<double>;

template <class T>
void plan_prior_means(MemoryPlan& plan, const RatingCounts& counts, std::int64_t stride, bool of_users, bool of_items) {
  const char* const part = "prior means";
  const std::int64_t n = counts.distinct(), users = counts.n_users, items = counts.n_items;
  for (const bool own : {true, false}) {
    const std::int64_t bytes = lists_bytes(counts.rows(own), n);
    plan.take("who rated what", bytes);
    plan.free(own ? kUserListsPart : kItemListsPart);
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
