// SPDX-License-Identifier: Apache-2.0
#include "bayes/drawn_means.hpp"

#include <algorithm>
#include <cmath>

namespace warpfactor {
namespace {

// rho at the start, and the rate of its prior Gamma(1/2, rate kRate): coefficients are small.
constexpr double kStartPrecision = 100, kRate = 0.005;

}  // namespace

template <class T>
DrawnMeans<T>::DrawnMeans(Rows<T>& rows, const IncidentRows& rated, const Rows<T>& others, const IncidentRows& met,
                          RandomPurpose purpose, ThreadTeam& team)
    : kernels_(kernel_table().kernels<T>()),
      rows_(rows),
      others_(others),
      met_(met),
      purpose_(purpose),
      n_rows_(rows.biases().size()),
      n_others_(others.biases().size()),
      n_tiles_(rows.stride() / kTile),
      roots_(static_cast<std::size_t>(n_rows_), T(0)),
      squares_(static_cast<std::size_t>(n_rows_), T(0)),
      residuals_(start(n_tiles_, n_rows_) + n_rows_),
      coefficients_(start(n_tiles_, n_others_) + n_others_),
      own_precisions_(static_cast<std::size_t>(n_tiles_ * kTile + 1), kStartPrecision),
      coefficient_sums_(own_precisions_.size(), 0) {
  for (const std::int32_t row : rows.rated_rows()) {
    const auto at = static_cast<std::size_t>(row);
    const auto n = static_cast<double>(rated.begin[at + 1] - rated.begin[at]);
    roots_[at] = static_cast<T>(1 / std::sqrt(n));
    squares_[at] = static_cast<T>(1 / n);
  }
  square_sums_.resize(static_cast<std::size_t>(n_others_));
  team.run_slices(
      n_others_,
      [&](std::int64_t begin, std::int64_t end, int) {
        for (auto at = static_cast<std::size_t>(begin); at < static_cast<std::size_t>(end); ++at) {
          double sum = 0;
          for (std::int64_t r = met.begin[at]; r < met.begin[at + 1]; ++r) {
            sum += static_cast<double>(squares_[static_cast<std::size_t>(met.others[r])]);
          }
          square_sums_[at] = static_cast<T>(sum);
        }
      },
      1024);
  std::fill_n(coefficients_.data(), coefficients_.size(), T(0));
  rows.add_own_means();
}

template <class T>
void DrawnMeans<T>::begin(ThreadTeam& team) {
  const std::vector<std::int32_t>& rated = rows_.rated_rows();
  const std::int64_t k = rows_.n_factors();
  team.run_slices(
      static_cast<std::int64_t>(rated.size()),
      [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t at = begin; at < end; ++at) {
          const std::int64_t row = rated[static_cast<std::size_t>(at)];
          const T root = roots_[static_cast<std::size_t>(row)];
          const T* const p = rows_.factors(row);
          const T* const m = rows_.own_means(row);
          for (std::int64_t tile = 0; tile < n_tiles_; ++tile) {
            T* const to = residuals_.data() + start(tile, n_rows_) + row * kTile;
            for (std::int64_t c = 0; c < kTile; ++c) {
              const std::int64_t f = tile * kTile + c;
              to[c] = f < k ? root * (p[f] - m[f]) : T(0);
            }
          }
          residuals_[start(n_tiles_, n_rows_) + row] = root * (rows_.bias(row) - rows_.own_bias_mean(row));
        }
      },
      1024);
}

template <class T>
void DrawnMeans<T>::run(std::int64_t tile, int thread, const Streams& streams, ThreadTeam& team) {
  const std::int64_t columns = width(tile), first = tile * kTile;
  const std::int64_t k = rows_.n_factors();
  alignas(kRowAlignment) T precisions[kTile], own_precisions[kTile], normals[kTile];
  for (std::int64_t c = 0; c < columns; ++c) {
    const std::int64_t f = tile == n_tiles_ ? k : std::min(first + c, k - 1);  // beyond k the coefficients stay unused
    precisions[c] = static_cast<T>(rows_.prior().precisions[static_cast<std::size_t>(f)]);
    own_precisions[c] = static_cast<T>(own_precisions_[static_cast<std::size_t>(first + c)]);
  }
  double sums[kTile] = {};
  CoefficientDraw<T> draw{};
  draw.width = columns;
  draw.squares = squares_.data();
  draw.residuals = residuals_.data() + start(tile, n_rows_);
  draw.precisions = precisions;
  draw.own_precisions = own_precisions;
  draw.normals = normals;
  for (const std::int32_t row : others_.rated_rows()) {
    if (team.poll(thread)) return;
    const auto at = static_cast<std::size_t>(row);
    streams.of(purpose_, tile, row).normals(normals, columns);
    draw.rows = met_.others.data() + met_.begin[at];
    draw.n_rows = met_.begin[at + 1] - met_.begin[at];
    draw.square_sum = square_sums_[at];
    draw.coefficients = coefficients_.data() + start(tile, n_others_) + row * columns;
    kernels_.draw_coefficients(draw);
    for (std::int64_t c = 0; c < columns; ++c) {
      const double y = static_cast<double>(draw.coefficients[c]);
      sums[c] += y * y;
    }
  }
  std::copy_n(sums, columns, coefficient_sums_.begin() + first);
}

template <class T>
void DrawnMeans<T>::end(Draws& draws, ThreadTeam& team) {
  const double shape = (1 + static_cast<double>(others_.rated_rows().size())) / 2;
  for (std::size_t c = 0; c < own_precisions_.size(); ++c) {
    own_precisions_[c] = draws.gamma(shape) / (kRate + coefficient_sums_[c] / 2);
  }
  const std::vector<std::int32_t>& rated = rows_.rated_rows();
  const std::int64_t k = rows_.n_factors();
  team.run_slices(
      static_cast<std::int64_t>(rated.size()),
      [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t at = begin; at < end; ++at) {
          const std::int64_t row = rated[static_cast<std::size_t>(at)];
          const T inverse = 1 / roots_[static_cast<std::size_t>(row)];
          const T* const p = rows_.factors(row);
          T* const m = rows_.own_means(row);
          for (std::int64_t f = 0; f < k; ++f) {
            m[f] = p[f] - inverse * residuals_[start(f / kTile, n_rows_) + row * kTile + f % kTile];
          }
          rows_.own_bias_mean(row) = rows_.bias(row) - inverse * residuals_[start(n_tiles_, n_rows_) + row];
        }
      },
      1024);
}

template class DrawnMeans<float>;
template class DrawnMeans<double>;

template <class T>
void plan_drawn_means(MemoryPlan& plan, std::int64_t n_rows, std::int64_t n_others, std::int32_t n_factors) {
  const std::int64_t stride = padded_stride<T>(n_factors);
  plan.take("prior means", (n_rows * (stride + 3) + n_others * (stride + 2)) * static_cast<std::int64_t>(sizeof(T)));
  plan_own_means<T>(plan, n_rows, n_factors);
}
template void plan_drawn_means<float>(MemoryPlan&, std::int64_t, std::int64_t, std::int32_t);
template void plan_drawn_means<double>(MemoryPlan&, std::int64_t, std::int64_t, std::int32_t);

}  // namespace warpfactor
