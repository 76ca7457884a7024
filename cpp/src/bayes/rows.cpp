// SPDX-License-Identifier: Apache-2.0
#include "bayes/rows.hpp"

#include <algorithm>
#include <cmath>

namespace warpfactor {
namespace {

// Standard deviation of the first factors. From a wide start the chain stays long in modes that fit the noise.
constexpr double kStartDeviation = 0.1;
constexpr double kStartBiasPrecision = 10;

// Bytes of a row's columns beyond which fewer are made at a time, and the fewest. Not measured.
constexpr std::int64_t kColumnBytes = 16 << 20;

// Rows whose sums one task takes. Not measured.
constexpr std::int64_t kSumSlice = 1024;

// A thread's scratch has room for a row of so many times the ratings of the largest that it has met.
constexpr std::int64_t kRoomShare = 4;
std::int64_t with_room(std::int64_t size) { return size + size / kRoomShare; }

/// Numbers of a column of so many ratings, and how many of a row's columns are made at a time.
struct ColumnSizes {
  std::int64_t stride, at_once;
};
template <class T>
ColumnSizes columns_of(std::int64_t n_ratings, std::int64_t factor_stride) {
  constexpr std::int64_t kLine = padded_stride<T>(1);
  // An odd number of cache lines: columns a power of two apart would fall into few sets of the cache.
  const std::int64_t stride = ((n_ratings + kLine - 1) / kLine | 1) * kLine,
                     fitting = kColumnBytes / static_cast<std::int64_t>(sizeof(T)) / stride;
  return {stride, std::clamp(fitting / kLine * kLine, kLine, factor_stride)};
}

}  // namespace

template <class T>
Rows<T>::Rows(const typename Batches<T>::Side& rated, std::int32_t n_rows, std::int32_t n_factors, bool noise_by_row,
              RandomPurpose purpose, const Streams& streams, ThreadTeam& team)
    : kernels_(kernel_table().kernels<T>()),
      rated_(rated),
      n_factors_(n_factors),
      stride_(padded_stride<T>(n_factors)),
      noise_by_row_(noise_by_row),
      purpose_(purpose),
      means_(stride_),
      precisions_(stride_),
      factors_(n_rows * stride_),
      biases_(n_rows),
      roots_(n_rows) {
  const auto k = static_cast<std::size_t>(n_factors);
  prior_.means.assign(k + 1, 0);
  prior_.precisions.assign(k + 1, 1 / (kStartDeviation * kStartDeviation));
  prior_.precisions[k] = kStartBiasPrecision;
  std::fill_n(factors_.data(), factors_.size(), T(0));
  std::fill_n(biases_.data(), n_rows, T(0));
  std::fill_n(roots_.data(), n_rows, T(1));
  team.run_slices(static_cast<std::int64_t>(rated_.rows.size()), [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t at = begin; at < end; ++at) {
      const std::int64_t row = rated_.rows[static_cast<std::size_t>(at)];
      Draws draws = streams.of(purpose_, row);
      T* const to = factors_.data() + row * stride_;
      for (std::int32_t f = 0; f < n_factors_; ++f) to[f] = static_cast<T>(kStartDeviation * draws.normal());
    }
  });
}

template <class T>
std::vector<double> Rows<T>::means(ThreadTeam& team) const {
  const auto k = static_cast<std::size_t>(n_factors_);
  const auto n_rated = static_cast<std::int64_t>(rated_.rows.size());
  std::vector<double> sums(static_cast<std::size_t>((n_rated + kSumSlice - 1) / kSumSlice) * (k + 1), 0);
  const auto slice_sums = [&](std::int64_t begin, std::int64_t end, int) {
    double* const sum = sums.data() + static_cast<std::size_t>(begin / kSumSlice) * (k + 1);
    for (std::int64_t at = begin; at < end; ++at) {
      const std::int64_t row = rated_.rows[static_cast<std::size_t>(at)];
      const T* const p = factors(row);
      for (std::size_t f = 0; f < k; ++f) sum[f] += static_cast<double>(p[f]);
      sum[k] += static_cast<double>(bias(row));
    }
  };
  team.run_slices(n_rated, slice_sums, kSumSlice);
  std::vector<double> means(k + 1, 0);
  for (std::size_t at = 0; at < sums.size(); ++at) means[at % (k + 1)] += sums[at] / static_cast<double>(n_rated);
  return means;
}

template <class T>
void Rows<T>::add_own_means() {
  own_means_ = Buffer<T>(factors_.size());
  own_bias_means_ = Buffer<T>(biases_.size());
  const auto k = static_cast<std::size_t>(n_factors_);
  std::fill_n(own_means_.data(), own_means_.size(), T(0));
  for (std::int64_t row = 0; row < biases_.size(); ++row) {
    std::transform(prior_.means.begin(), prior_.means.begin() + n_factors_, own_means(row),
                   [](double mean) { return static_cast<T>(mean); });
  }
  std::fill_n(own_bias_means_.data(), own_bias_means_.size(), static_cast<T>(prior_.means[k]));
}

template <class T>
double Rows<T>::draw_rows(const Rows& other, double alpha, const Streams& streams, T* residuals,
                          std::vector<RowScratch<T>>& scratches, ThreadTeam& team) {
  for (std::int64_t f = 0; f < stride_; ++f) {
    const bool factor = f < n_factors_;
    means_[f] = factor ? static_cast<T>(prior_.means[static_cast<std::size_t>(f)]) : T(0);
    precisions_[f] = factor ? static_cast<T>(prior_.precisions[static_cast<std::size_t>(f)]) : T(1);
  }
  const auto n_tasks = static_cast<std::int64_t>(rated_.tasks.size()) - 1;
  std::vector<double> sums(static_cast<std::size_t>(n_tasks));
  team.run(n_tasks, [&](std::int64_t task, int thread) {
    const auto number = static_cast<std::size_t>(task);
    double sum = 0;
    for (std::int64_t at = rated_.tasks[number]; at < rated_.tasks[number + 1]; ++at) {
      if (team.poll(thread)) return;
      Draws draws = streams.of(purpose_, rated_.rows[static_cast<std::size_t>(at)]);
      sum += draw_row(at, other, alpha, draws, residuals, scratches[static_cast<std::size_t>(thread)]);
    }
    sums[number] = sum;
  });
  double all = 0;
  for (const double sum : sums) all += sum;
  return all;
}

template <class T>
double Rows<T>::draw_row(std::int64_t at, const Rows& other, double alpha, Draws& draws, T* residuals,
                         RowScratch<T>& scratch) {
  const std::int64_t row = rated_.rows[static_cast<std::size_t>(at)],
                     begin = rated_.begin[static_cast<std::size_t>(at)],
                     n = rated_.begin[static_cast<std::size_t>(at) + 1] - begin;
  const ColumnSizes sizes = columns_of<T>(n, stride_);
  RowDraw<T> draw{};
  draw.other_factors = other.factors_.data();
  draw.other_biases = other.biases_.data();
  draw.other_roots = other.roots_.data();
  draw.n_factors = n_factors_;
  draw.stride = stride_;
  draw.others = rated_.others.data() + begin;
  draw.values = rated_.values.data() + begin;
  draw.weights = rated_.weights.size() > 0 ? rated_.weights.data() + begin : nullptr;
  draw.n_ratings = n;
  draw.factors = factors_.data() + row * stride_;
  draw.bias = biases_.data() + row;
  draw.means = has_own_means() ? own_means(row) : means_.data();
  draw.precisions = precisions_.data();
  draw.bias_mean = has_own_means() ? own_bias_mean(row) : static_cast<T>(prior_.means.back());
  draw.bias_precision = static_cast<T>(prior_.precisions.back());
  draw.noise_precision = static_cast<T>(alpha * noise_precision(row));
  draw.column_stride = sizes.stride;
  draw.columns_at_once = sizes.at_once;
  const auto at_least = [](Buffer<T>& buffer, std::int64_t size) {
    if (buffer.size() < size) buffer = Buffer<T>(with_room(size));
    return buffer.data();
  };
  draw.columns = at_least(scratch.columns, draw.columns_at_once * draw.column_stride);
  draw.errors = at_least(scratch.errors, draw.column_stride);
  draw.roots = at_least(scratch.roots, draw.column_stride);
  draw.numbers = at_least(scratch.numbers, 3 * stride_);
  T* const normals = at_least(scratch.normals, stride_ + 1);
  draws.normals(normals, n_factors_);
  std::fill(normals + n_factors_, normals + stride_, T(0));
  draws.normals(normals + stride_, 1);
  draw.normals = normals;

  const double squares = static_cast<double>(kernels_.draw_row(draw));
  if (residuals != nullptr) {
    for (std::int64_t j = 0; j < n; ++j) {
      residuals[begin + j] = draw.roots[j] > T(0) ? draw.errors[j] / draw.roots[j] : T(0);
    }
  }
  if (!noise_by_row_) return squares;
  const double shape = kPriorNoise + static_cast<double>(n) / 2, rate = kPriorNoise + alpha * squares / 2;
  roots_[row] = static_cast<T>(std::sqrt(draws.gamma(shape) / rate));
  return noise_precision(row) * squares;
}

template <class T>
void Rows<T>::draw_prior(Draws& draws, ThreadTeam& team) {
  const auto k = static_cast<std::size_t>(n_factors_);
  const auto n_rated = static_cast<std::int64_t>(rated_.rows.size());
  const auto n_slices = static_cast<std::size_t>((n_rated + kSumSlice - 1) / kSumSlice);
  // By slice: the sums over rows of what is above the mean, then of its squares.
  std::vector<double> sums(n_slices * 2 * (k + 1), 0);
  const auto slice_sums = [&](std::int64_t begin, std::int64_t end, int) {
    double* const first = sums.data() + static_cast<std::size_t>(begin / kSumSlice) * 2 * (k + 1);
    double* const second = first + k + 1;
    for (std::int64_t at = begin; at < end; ++at) {
      const std::int64_t row = rated_.rows[static_cast<std::size_t>(at)];
      const T* const p = factors(row);
      const T* const m = has_own_means() ? own_means(row) : nullptr;
      const auto add = [&](std::size_t f, double above) {
        first[f] += above;
        second[f] += above * above;
      };
      for (std::size_t f = 0; f < k; ++f) {
        add(f, static_cast<double>(p[f]) - (m != nullptr ? static_cast<double>(m[f]) : prior_.means[f]));
      }
      add(k,
          static_cast<double>(bias(row)) - (m != nullptr ? static_cast<double>(own_bias_mean(row)) : prior_.means[k]));
    }
  };
  team.run_slices(n_rated, slice_sums, kSumSlice);
  std::vector<double> moved(k + 1);
  const auto n = static_cast<double>(n_rated);
  for (std::size_t f = 0; f <= k; ++f) {
    double sum = 0, squares = 0;
    for (std::size_t slice = 0; slice < n_slices; ++slice) {
      sum += sums[slice * 2 * (k + 1) + f];
      squares += sums[slice * 2 * (k + 1) + k + 1 + f];
    }
    // lambda ~ Gamma(1/2, rate 1/2) and m ~ N(0, 1 / lambda): lambda given m, then m given lambda.
    double &mean = prior_.means[f], &precision = prior_.precisions[f];
    precision = draws.gamma((n + 2) / 2) / ((1 + mean * mean + squares) / 2);
    const double drawn = (sum + n * mean) / (n + 1) + draws.normal() / std::sqrt((n + 1) * precision);
    moved[f] = drawn - mean;
    mean = drawn;
  }
  if (!has_own_means()) return;
  const auto move = [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t at = begin; at < end; ++at) {
      const std::int64_t row = rated_.rows[static_cast<std::size_t>(at)];
      T* const m = own_means(row);
      for (std::size_t f = 0; f < k; ++f) m[f] += static_cast<T>(moved[f]);
      own_bias_mean(row) += static_cast<T>(moved[k]);
    }
  };
  team.run_slices(n_rated, move, kSumSlice);
}

template class Rows<float>;
template class Rows<double>;

template <class T>
void plan_rows(MemoryPlan& plan, std::int64_t n_rows, std::int32_t n_factors) {
  plan.take("factors and biases", n_rows * (padded_stride<T>(n_factors) + 2) * static_cast<std::int64_t>(sizeof(T)));
}

template <class T>
void plan_own_means(MemoryPlan& plan, std::int64_t n_rows, std::int32_t n_factors) {
  plan.take("prior means", n_rows * (padded_stride<T>(n_factors) + 1) * static_cast<std::int64_t>(sizeof(T)));
}

template <class T>
void plan_row_scratch(MemoryPlan& plan, const RatingCounts& counts, std::int32_t n_factors, int n_threads) {
  std::int64_t largest = 0;
  for (const bool users : {true, false}) {
    const std::span<const std::uint32_t> of_rows = counts.counts(users);
    largest = std::max<std::int64_t>(
        largest, of_rows.empty() ? (counts.n_ratings + counts.rows(users) - 1) / std::max(counts.rows(users), 1)
                                 : *std::max_element(of_rows.begin(), of_rows.end()));
  }
  const ColumnSizes sizes = columns_of<T>(largest, padded_stride<T>(n_factors));
  plan.take("columns of a row, in each thread",
            n_threads * with_room((sizes.at_once + 2) * sizes.stride) * static_cast<std::int64_t>(sizeof(T)));
}

template void plan_rows<float>(MemoryPlan&, std::int64_t, std::int32_t);
template void plan_rows<double>(MemoryPlan&, std::int64_t, std::int32_t);
template void plan_own_means<float>(MemoryPlan&, std::int64_t, std::int32_t);
template void plan_own_means<double>(MemoryPlan&, std::int64_t, std::int32_t);
template void plan_row_scratch<float>(MemoryPlan&, const RatingCounts&, std::int32_t, int);
template void plan_row_scratch<double>(MemoryPlan&, const RatingCounts&, std::int32_t, int);

}  // namespace warpfactor
