// SPDX-License-Identifier: Apache-2.0
#include "survey.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "prefetch.hpp"
#include "text.hpp"

namespace warpfactor {
namespace {

[[noreturn]] void reject(const char* argument, const char* part, std::int64_t at, const std::string& value,
                         const std::string& rule) {
  throw std::invalid_argument(std::string(argument) + "." + part + "[" + text(at) + "] is " + value + "; " + rule);
}

[[noreturn]] void reject_index(const char* argument, const char* part, std::int64_t at, std::int32_t index,
                               std::int32_t n) {
  reject(argument, part, at, text(index), "it must be from 0 to " + text(n - 1));
}

/// Weight, mean and summed squared distance from it, of some of the ratings.
struct Moments {
  std::int64_t counted = 0;
  double weight = 0, mean = 0, square = 0;

  /// Chan, Golub, LeVeque 1979: exact where sums of squares would cancel.
  void add(const Moments& other) {
    if (other.weight <= 0) return;
    const double total = weight + other.weight, apart = other.mean - mean;
    square += other.square + apart * apart * (weight / total) * other.weight;
    mean += apart * (other.weight / total);
    weight = total;
    counted += other.counted;
  }
};

/// Throws at the first rating that is not valid.
void reject_first_bad(const RatingsView& ratings, const char* argument, std::int64_t begin, std::int64_t end) {
  for (std::int64_t at = begin; at < end; ++at) {
    const auto r = static_cast<std::size_t>(at);
    const std::int32_t user = ratings.users[r], item = ratings.items[r];
    if (user < 0 || user >= ratings.n_users) reject_index(argument, "users", at, user, ratings.n_users);
    if (item < 0 || item >= ratings.n_items) reject_index(argument, "items", at, item, ratings.n_items);
    if (!std::isfinite(ratings.values[r])) {
      reject(argument, "values", at, text(ratings.values[r]), "ratings must be finite, so drop that entry");
    }
    if (ratings.weights.empty()) continue;
    const float weight = ratings.weights[r];
    if (!(weight >= 0) || !std::isfinite(weight)) {
      reject(argument, "weights", at, text(weight), "weights must be finite and at least 0");
    }
  }
}

/// The sum of f(0) .. f(n - 1), in several sums so that additions need not wait for each other.
template <class F>
double sum_of(std::int64_t n, const F& f) {
  constexpr std::int64_t kSums = 8;
  double sums[kSums] = {};
  std::int64_t r = 0;
  for (; r + kSums <= n; r += kSums) {
    for (std::int64_t j = 0; j < kSums; ++j) sums[j] += f(r + j);
  }
  for (; r < n; ++r) sums[0] += f(r);
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

/// What survey_piece goes over several times is to stay in L1.
constexpr std::int64_t kPiece = 2048;
constexpr std::int64_t kLine = 64 / sizeof(float);

/// 0 if all of the indices are from 0 to last, or else the sign bit.
std::uint32_t out_of_range(const std::int32_t* indices, std::int64_t n, std::int32_t last) {
  std::uint32_t bad = 0;
  for (std::int64_t r = 0; r < n; ++r) {
    const auto index = static_cast<std::uint32_t>(indices[r]);
    bad |= index | (static_cast<std::uint32_t>(last) - index);
  }
  return bad & 0x80000000u;
}

/// Short loops over plain arrays, which the compiler turns into vector code.
Moments survey_piece(const RatingsView& ratings, const char* argument, std::int64_t begin, std::int64_t end,
                     std::uint32_t* user_counts, std::uint32_t* item_counts) {
  const std::int64_t n = end - begin;
  const std::int32_t* const users = ratings.users.data() + begin;
  const std::int32_t* const items = ratings.items.data() + begin;
  const float* const values = ratings.values.data() + begin;
  const float* const weights = ratings.weights.empty() ? nullptr : ratings.weights.data() + begin;
  constexpr float kMost = std::numeric_limits<float>::max();
  bool valid = (out_of_range(users, n, ratings.n_users - 1) | out_of_range(items, n, ratings.n_items - 1)) == 0;
  for (std::int64_t r = 0; weights != nullptr && r < n; ++r) valid &= weights[r] >= 0 && weights[r] <= kMost;
  // Finite if all values are.
  const double sum = sum_of(n, [=](std::int64_t r) { return static_cast<double>(values[r]); });
  if (!valid || !std::isfinite(sum)) reject_first_bad(ratings, argument, begin, end);

  Moments piece;
  if (weights == nullptr) {
    const std::int64_t ahead = std::min(kPiece, ratings.size() - end);  // while counting, the next piece is fetched
    for (std::int64_t r = 0; r < n; ++r) {
      if (r % kLine == 0 && r < ahead) {
        prefetch(users + n + r);
        prefetch(items + n + r);
        prefetch(values + n + r);
      }
      ++user_counts[users[r]];
      ++item_counts[items[r]];
    }
    piece.counted = n;
    piece.weight = static_cast<double>(n);
    piece.mean = sum / piece.weight;
    piece.square = sum_of(n, [=, mean = piece.mean](std::int64_t r) {
      const double apart = static_cast<double>(values[r]) - mean;
      return apart * apart;
    });
    return piece;
  }
  for (std::int64_t r = 0; r < n; ++r) {
    if (weights[r] == 0) continue;
    ++user_counts[users[r]];
    ++item_counts[items[r]];
    ++piece.counted;
  }
  piece.weight = sum_of(n, [=](std::int64_t r) { return static_cast<double>(weights[r]); });
  if (piece.weight <= 0) return piece;
  piece.mean =
      sum_of(n, [=](std::int64_t r) { return static_cast<double>(weights[r]) * static_cast<double>(values[r]); }) /
      piece.weight;
  piece.square = sum_of(n, [=, mean = piece.mean](std::int64_t r) {
    const double apart = static_cast<double>(values[r]) - mean;
    return static_cast<double>(weights[r]) * apart * apart;
  });
  return piece;
}

Moments survey_slice(const RatingsView& ratings, const char* argument, std::int64_t begin, std::int64_t end,
                     std::uint32_t* user_counts, std::uint32_t* item_counts) {
  Moments slice;
  for (std::int64_t from = begin; from < end; from += kPiece) {
    slice.add(survey_piece(ratings, argument, from, std::min(end, from + kPiece), user_counts, item_counts));
  }
  return slice;
}

}  // namespace

Survey survey(const RatingsView& ratings, const char* argument, ThreadTeam& team) {
  const std::size_t n = ratings.values.size();
  if (ratings.users.size() != n || ratings.items.size() != n ||
      (!ratings.weights.empty() && ratings.weights.size() != n)) {
    throw std::invalid_argument(std::string(argument) + " has " + text(ratings.users.size()) + " users, " +
                                text(ratings.items.size()) + " items, " + text(n) + " values and " +
                                text(ratings.weights.size()) +
                                " weights; the lengths must be equal (weights may be left out)");
  }
  const auto n_users = static_cast<std::size_t>(ratings.n_users), n_items = static_cast<std::size_t>(ratings.n_items);
  const std::int64_t slices = (ratings.size() + ThreadTeam::kSlice - 1) / ThreadTeam::kSlice;
  std::vector<Moments> moments(static_cast<std::size_t>(slices));
  // More than a few copies of the counters cost more to add up than they save.
  const std::int64_t parts = std::min<std::int64_t>({team.size(), 8, std::max<std::int64_t>(slices, 1)});
  std::vector<std::vector<std::uint32_t>> users(static_cast<std::size_t>(parts)),
      items(static_cast<std::size_t>(parts));
  team.run(parts, [&](std::int64_t part, int thread) {
    std::vector<std::uint32_t>& user_counts = users[static_cast<std::size_t>(part)];
    std::vector<std::uint32_t>& item_counts = items[static_cast<std::size_t>(part)];
    user_counts.assign(n_users, 0);
    item_counts.assign(n_items, 0);
    for (std::int64_t s = slices * part / parts; s < slices * (part + 1) / parts; ++s) {
      if (team.poll(thread)) return;
      moments[static_cast<std::size_t>(s)] =
          survey_slice(ratings, argument, s * ThreadTeam::kSlice,
                       std::min(ratings.size(), (s + 1) * ThreadTeam::kSlice), user_counts.data(), item_counts.data());
    }
  });

  Moments all;
  for (const Moments& slice : moments) all.add(slice);
  Survey result;
  result.counted = all.counted;
  result.weight = all.weight;
  result.mean = all.mean;
  const double variance = all.weight > 0 ? all.square / all.weight : 0.0;
  // Ratings are float32: what is left below this is rounding, the ratings are all equal.
  result.deviation = variance > 1e-28 * all.mean * all.mean ? std::sqrt(variance) : 0.0;
  result.user_counts = std::move(users[0]);
  result.item_counts = std::move(items[0]);
  for (std::size_t part = 1; part < users.size(); ++part) {
    for (std::size_t row = 0; row < n_users; ++row) result.user_counts[row] += users[part][row];
    for (std::size_t row = 0; row < n_items; ++row) result.item_counts[row] += items[part][row];
  }
  return result;
}

}  // namespace warpfactor
