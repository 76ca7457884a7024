// SPDX-License-Identifier: Apache-2.0
#include "survey.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "prefetch.hpp"
#include "require.hpp"

namespace warpfactor {

/// Chan, Golub, LeVeque 1979: exact where sums of squares would cancel.
void RatingMoments::add(const RatingMoments& other) {
  if (other.weight <= 0) return;
  const double total = weight + other.weight, apart = other.mean - mean;
  square += other.square + apart * apart * (weight / total) * other.weight;
  mean += apart * (other.weight / total);
  weight = total;
  counted += other.counted;
  low = std::min(low, other.low);
  high = std::max(high, other.high);
}

namespace {

using Moments = RatingMoments;

/// Throws unless rating r is valid. `lowest`: of an index; `first`: the number of the view's first rating.
void require_valid(const RatingsView& ratings, const char* argument, std::size_t r, std::int32_t lowest,
                   std::int64_t first = 0) {
  const std::int64_t at = first + static_cast<std::int64_t>(r);
  const auto name = [&](const char* part) { return element(std::string(argument) + "." + part, at); };
  const auto require_index = [&](const char* part, std::int32_t index, std::int32_t n) {
    if (index < lowest || index >= n) reject(name(part), index, "from " + text(lowest) + " to " + text(n - 1));
  };
  require_index("users", ratings.users[r], ratings.n_users);
  require_index("items", ratings.items[r], ratings.n_items);
  if (!std::isfinite(ratings.values[r])) reject(name("values"), ratings.values[r], "finite, so drop that entry");
  if (ratings.weights.empty()) return;
  const float weight = ratings.weights[r];
  if (!(weight >= 0) || !std::isfinite(weight)) reject(name("weights"), weight, "finite and at least 0");
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

/// The smallest and the largest value, likewise.
void widen(const float* values, std::int64_t n, float& low, float& high) {
  constexpr std::int64_t kAtOnce = 16;
  float lows[kAtOnce], highs[kAtOnce];
  std::fill_n(lows, kAtOnce, low);
  std::fill_n(highs, kAtOnce, high);
  std::int64_t r = 0;
  for (; r + kAtOnce <= n; r += kAtOnce) {
    for (std::int64_t j = 0; j < kAtOnce; ++j) {
      lows[j] = values[r + j] < lows[j] ? values[r + j] : lows[j];
      highs[j] = values[r + j] > highs[j] ? values[r + j] : highs[j];
    }
  }
  for (; r < n; ++r) {
    lows[0] = std::min(lows[0], values[r]);
    highs[0] = std::max(highs[0], values[r]);
  }
  low = *std::min_element(lows, lows + kAtOnce);
  high = *std::max_element(highs, highs + kAtOnce);
}

/// What survey_chunk goes over several times is to stay in L1.
constexpr std::int64_t kChunk = RatingCheck::kRange;
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

/// Short loops over plain arrays, which the compiler turns into vector code. Without counters (nullptr) rows are not
/// counted.
Moments survey_chunk(const RatingsView& ratings, const char* argument, std::int64_t first, std::int64_t begin,
                     std::int64_t end, std::uint32_t* user_counts, std::uint32_t* item_counts) {
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
  for (std::int64_t r = begin; (!valid || !std::isfinite(sum)) && r < end; ++r) {
    require_valid(ratings, argument, static_cast<std::size_t>(r), 0, first);
  }

  Moments chunk;
  if (weights == nullptr) {
    const std::int64_t ahead = std::min(kChunk, ratings.size() - end);  // while counting, the next chunk is fetched
    for (std::int64_t r = 0; user_counts != nullptr && r < n; ++r) {
      if (r % kLine == 0 && r < ahead) {
        prefetch(users + n + r);
        prefetch(items + n + r);
        prefetch(values + n + r);
      }
      ++user_counts[users[r]];
      ++item_counts[items[r]];
    }
    widen(values, n, chunk.low, chunk.high);
    chunk.counted = n;
    chunk.weight = static_cast<double>(n);
    chunk.mean = sum / chunk.weight;
    chunk.square = sum_of(n, [=, mean = chunk.mean](std::int64_t r) {
      const double apart = static_cast<double>(values[r]) - mean;
      return apart * apart;
    });
    return chunk;
  }
  for (std::int64_t r = 0; r < n; ++r) {
    if (weights[r] == 0) continue;
    if (user_counts != nullptr) {
      ++user_counts[users[r]];
      ++item_counts[items[r]];
    }
    ++chunk.counted;
    chunk.low = std::min(chunk.low, values[r]);
    chunk.high = std::max(chunk.high, values[r]);
  }
  chunk.weight = sum_of(n, [=](std::int64_t r) { return static_cast<double>(weights[r]); });
  if (chunk.weight <= 0) return chunk;
  chunk.mean =
      sum_of(n, [=](std::int64_t r) { return static_cast<double>(weights[r]) * static_cast<double>(values[r]); }) /
      chunk.weight;
  chunk.square = sum_of(n, [=, mean = chunk.mean](std::int64_t r) {
    const double apart = static_cast<double>(values[r]) - mean;
    return static_cast<double>(weights[r]) * apart * apart;
  });
  return chunk;
}

/// In how many shares ratings are counted. More than a few copies of the counters cost more to add up than they save.
/// No counter of a share may overflow.
std::int64_t shares_of(int n_threads, std::int64_t n_ratings) {
  const std::int64_t slices = (n_ratings + ThreadTeam::kSlice - 1) / ThreadTeam::kSlice;
  return std::max(std::min<std::int64_t>({n_threads, 8, std::max<std::int64_t>(slices, 1)}),
                  n_ratings / std::numeric_limits<std::uint32_t>::max() + 1);
}

Moments survey_slice(const RatingsView& ratings, const char* argument, std::int64_t first, std::int64_t begin,
                     std::int64_t end, std::uint32_t* user_counts, std::uint32_t* item_counts) {
  Moments slice;
  for (std::int64_t from = begin; from < end; from += kChunk) {
    slice.add(survey_chunk(ratings, argument, first, from, std::min(end, from + kChunk), user_counts, item_counts));
  }
  return slice;
}

void require_lengths(const RatingsView& ratings, const char* argument) {
  const std::size_t n = ratings.values.size();
  if (ratings.users.size() == n && ratings.items.size() == n &&
      (ratings.weights.empty() || ratings.weights.size() == n)) {
    return;
  }
  reject(std::string(argument) + " has " + text(ratings.users.size()) + " users, " + text(ratings.items.size()) +
         " items, " + text(n) + " values and " + text(ratings.weights.size()) +
         " weights; the lengths must be equal (weights may be left out)");
}

[[noreturn]] void reject_weights(const char* argument) {
  reject(std::string(argument) + ".weights are all 0; at least one must be above 0");
}

void require_a_weight(std::span<const float> weights, const char* argument) {
  if (weights.empty() || std::ranges::any_of(weights, [](float weight) { return weight > 0; })) return;
  reject_weights(argument);
}

/// What slices tell, in their order.
Survey survey_of(const std::vector<Moments>& slices, const char* argument, bool weighted) {
  Moments all;
  for (const Moments& slice : slices) all.add(slice);
  if (all.counted == 0 && weighted) reject_weights(argument);
  Survey result;
  result.counted = all.counted;
  result.weight = all.weight;
  result.mean = all.mean;
  result.low = all.low;
  result.high = all.high;
  const double variance = all.weight > 0 ? all.square / all.weight : 0.0;
  // Ratings are float32: what is left below this is rounding, the ratings are all equal.
  result.deviation = variance > 1e-28 * all.mean * all.mean ? std::sqrt(variance) : 0.0;
  return result;
}

}  // namespace

RatingCheck::RatingCheck(const RatingsView& ratings, const char* argument)
    : ratings_(ratings),
      argument_(argument),
      moments_(static_cast<std::size_t>((ratings.size() + kRange - 1) / kRange)) {
  require_lengths(ratings, argument);
}
void RatingCheck::look(std::int64_t begin, std::int64_t end) {
  for (; begin < end; begin += kRange) {
    moments_[static_cast<std::size_t>(begin / kRange)] =
        survey_chunk(ratings_, argument_, 0, begin, std::min(ratings_.size(), begin + kRange), nullptr, nullptr);
  }
}
Survey RatingCheck::survey() const {
  // Slice by slice, as the other survey: the same bits.
  constexpr auto kRanges = static_cast<std::size_t>(ThreadTeam::kSlice / kRange);
  std::vector<Moments> slices((moments_.size() + kRanges - 1) / kRanges);
  for (std::size_t range = 0; range < moments_.size(); ++range) slices[range / kRanges].add(moments_[range]);
  return survey_of(slices, argument_, !ratings_.weights.empty());
}

void plan_survey(MemoryPlan& plan, const RatingCounts& counts, int n_threads) {
  const std::int64_t parts = shares_of(n_threads, counts.n_ratings),
                     copy = counts.all_rows() * static_cast<std::int64_t>(sizeof(std::uint32_t));
  plan.take("counts of the rows", parts * copy);
  plan.free("counts of the rows", (parts - 1) * copy);
  plan.take("validation ratings", counts.n_validation * (counts.validation_weighted ? 16 : 12));
  plan.take("pairs without a rating", counts.n_implicit * 8);
}

bool require_shapes(const RatingSource& ratings, const RatingsView& validation, bool is_sample) {
  require(ratings.n_users() >= 1, "n_users", ratings.n_users(), "at least 1");
  require(ratings.n_items() >= 1, "n_items", ratings.n_items(), "at least 1");
  if (ratings.size() == 0 && !is_sample) reject("ratings is empty; it must have at least one rating");
  const bool validating = !validation.users.empty() || !validation.items.empty() || !validation.values.empty();
  if (validating && (validation.n_users != ratings.n_users() || validation.n_items != ratings.n_items())) {
    reject("validation is " + text(validation.n_users) + " x " + text(validation.n_items) +
           "; it must have the shape of the ratings, " + text(ratings.n_users()) + " x " + text(ratings.n_items()));
  }
  return validating;
}

void add_counts(std::vector<std::uint32_t>& to, const std::vector<std::uint32_t>& more, const char* side) {
  for (std::size_t row = 0; row < to.size(); ++row) {
    to[row] += more[row];
    if (to[row] < more[row]) [[unlikely]] {
      reject(std::string("a ") + side + " (row " + text(row) + ") has more than " +
             text(std::numeric_limits<std::uint32_t>::max()) + " ratings, which is the most that a row may have");
    }
  }
}

Survey survey(const RatingSource& ratings, const char* argument, ThreadTeam& team) {
  constexpr std::int64_t kSlice = ThreadTeam::kSlice;
  const auto n_users = static_cast<std::size_t>(ratings.n_users()),
             n_items = static_cast<std::size_t>(ratings.n_items());
  const std::int64_t all_slices = (ratings.size() + kSlice - 1) / kSlice;
  std::vector<Moments> moments(static_cast<std::size_t>(all_slices));
  const std::int64_t shares = shares_of(team.size(), ratings.size());
  std::vector<std::vector<std::uint32_t>> users(static_cast<std::size_t>(shares)),
      items(static_cast<std::size_t>(shares));
  ratings.for_each_part([&](const RatingsView& part, std::int64_t first) {
    require_lengths(part, argument);
    const std::int64_t slices = (part.size() + kSlice - 1) / kSlice;
    team.run(shares, [&](std::int64_t share, int thread) {
      std::vector<std::uint32_t>& user_counts = users[static_cast<std::size_t>(share)];
      std::vector<std::uint32_t>& item_counts = items[static_cast<std::size_t>(share)];
      user_counts.resize(n_users, 0);  // once: this thread is the first to touch them
      item_counts.resize(n_items, 0);
      for (std::int64_t s = slices * share / shares; s < slices * (share + 1) / shares; ++s) {
        if (team.poll(thread)) return;
        moments[static_cast<std::size_t>(first / kSlice + s)] =
            survey_slice(part, argument, first, s * kSlice, std::min(part.size(), (s + 1) * kSlice), user_counts.data(),
                         item_counts.data());
      }
    });
  });

  Survey result = survey_of(moments, argument, ratings.weighted());
  result.user_counts = std::move(users[0]);
  result.item_counts = std::move(items[0]);
  for (std::size_t part = 1; part < users.size(); ++part) {
    add_counts(result.user_counts, users[part], "user");
    add_counts(result.item_counts, items[part], "item");
  }
  return result;
}

RatingsView KnownRatings::of(const RatingsView& given, const char* argument, const Survey& rated) {
  require_lengths(given, argument);
  const auto known = [](const std::vector<std::uint32_t>& counts, std::int32_t row) {
    return row >= 0 && counts[static_cast<std::size_t>(row)] > 0;
  };
  const auto taken = [&](std::size_t r) {
    return known(rated.user_counts, given.users[r]) && known(rated.item_counts, given.items[r]);
  };
  std::size_t n = 0;
  for (std::size_t r = 0; r < given.values.size(); ++r) {
    require_valid(given, argument, r, -1);
    n += taken(r) ? 1 : 0;
  }
  if (n == 0) {
    reject(std::string(argument) + ": none of its " + text(given.size()) +
           " ratings has a user and an item with training ratings; are its ids those of the ratings?");
  }
  if (n == given.values.size()) {
    require_a_weight(given.weights, argument);
    return given;
  }
  users.reserve(n);
  items.reserve(n);
  values.reserve(n);
  weights.reserve(given.weights.empty() ? 0 : n);
  for (std::size_t r = 0; r < given.values.size(); ++r) {
    if (!taken(r)) continue;
    users.push_back(given.users[r]);
    items.push_back(given.items[r]);
    values.push_back(given.values[r]);
    if (!given.weights.empty()) weights.push_back(given.weights[r]);
  }
  require_a_weight(weights, argument);
  return {users, items, values, weights, given.n_users, given.n_items};
}

KnownPairs::KnownPairs(const RatingsView& pairs, const RatingSource& ratings, const Survey& rated) {
  if (pairs.users.size() != pairs.items.size()) {
    reject("implicit has " + text(pairs.users.size()) + " users and " + text(pairs.items.size()) +
           " items; it must have as many of both");
  }
  const auto check = [](std::span<const std::int32_t> rows, const char* name, std::int32_t n) {
    const auto bad = std::find_if(rows.begin(), rows.end(), [n](std::int32_t row) { return row < 0 || row >= n; });
    if (bad != rows.end()) reject(element(name, bad - rows.begin()), *bad, "from 0 to " + text(n - 1));
  };
  check(pairs.users, "implicit.users", ratings.n_users());
  check(pairs.items, "implicit.items", ratings.n_items());
  users.reserve(pairs.users.size());
  items.reserve(pairs.users.size());
  for (std::size_t n = 0; n < pairs.users.size(); ++n) {
    const std::int32_t user = pairs.users[n], item = pairs.items[n];
    if (rated.user_counts[static_cast<std::size_t>(user)] == 0) continue;
    if (rated.item_counts[static_cast<std::size_t>(item)] == 0) continue;
    users.push_back(user);
    items.push_back(item);
  }
  if (users.empty() && !pairs.users.empty()) {
    reject("implicit holds no pair of a user and an item that both have ratings");
  }
}

RatingsView KnownPairs::view() const {
  RatingsView pairs;
  pairs.users = users;
  pairs.items = items;
  return pairs;
}

}  // namespace warpfactor
