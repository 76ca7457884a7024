// SPDX-License-Identifier: Apache-2.0
#include "cpu/blocks.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <numeric>
#include <span>
#include <type_traits>
#include <utility>

#include "cpu/tuning.hpp"
#include "drawers.hpp"
#include "prefetch.hpp"
#include "random.hpp"

namespace warpfactor {
namespace {

constexpr std::int64_t kMaxStripeRows = 65536;  // 16-bit row numbers inside a stripe

/// A row as its stripe (or span of stripes) and its number inside that. 4 bytes, so that the table stays in cache.
struct StripeRow {
  std::uint16_t stripe;
  std::uint16_t row;
};

/// A row as its band, numbered over all stripes of a span, and its number inside its stripe.
struct BandRow {
  std::uint16_t band;
  std::uint16_t row;
};

/// By external row.
std::vector<StripeRow> stripe_rows_of(const std::vector<std::int32_t>& position,
                                      const std::vector<std::int32_t>& begin) {
  std::vector<StripeRow> by_position(position.size());
  for (std::size_t b = 0; b + 1 < begin.size(); ++b) {
    for (std::int32_t p = begin[b]; p < begin[b + 1]; ++p) {
      by_position[static_cast<std::size_t>(p)] = {static_cast<std::uint16_t>(b),
                                                  static_cast<std::uint16_t>(p - begin[b])};
    }
  }
  std::vector<StripeRow> rows(position.size());
  for (std::size_t row = 0; row < rows.size(); ++row) {
    rows[row] = by_position[static_cast<std::size_t>(position[row])];
  }
  return rows;
}

/// Spans of at most `max_stripes` neighbouring stripes, and of no more rows than 16 bits can number. Span s has the
/// stripes first_stripe[s] .. first_stripe[s + 1] and the rows begin[s] .. begin[s + 1].
struct Spans {
  std::vector<std::int32_t> first_stripe{0}, begin{0};

  Spans(const RowPartition& rows, std::int64_t max_stripes) {
    for (std::int32_t b = 1; b <= rows.stripes(); ++b) {
      const auto at = static_cast<std::size_t>(b);
      if (b == rows.stripes() || b - first_stripe.back() == max_stripes ||
          rows.begin[at + 1] - begin.back() > kMaxStripeRows) {
        first_stripe.push_back(b);
        begin.push_back(rows.begin[at]);
      }
    }
  }
  [[nodiscard]] std::int64_t size() const { return static_cast<std::int64_t>(begin.size()) - 1; }
};

/// A rating on its way to a bucket in a file.
struct FiledRating {
  std::uint32_t bucket;
  Rating rating;  ///< with the inner row numbered inside its span
};
struct FiledWeightedRating {
  std::uint32_t bucket;
  Rating rating;
  float weight;
};

/// The first of two rounds of sorting: ratings into buckets, one for each outer stripe and span of inner stripes.
/// Thousands of blocks written to at once would take a cache miss for each rating.
class Buckets {
 public:
  Spans spans;
  std::vector<std::int64_t> begin;  ///< of bucket outer_stripe * spans.size() + span, and the end

  Buckets(const BlockedRatings& blocked, std::int64_t n_ratings)
      : spans(blocked.inner(), stripes_per_span(blocked, n_ratings)),
        begin(static_cast<std::size_t>(blocked.outer().stripes() * spans.size()) + 1, 0),
        users_outer_(blocked.users_outer),
        outer_rows_(stripe_rows_of(blocked.outer().position, blocked.outer().begin)),
        inner_rows_(stripe_rows_of(blocked.inner().position, spans.begin)) {}
  [[nodiscard]] std::int64_t size() const noexcept { return static_cast<std::int64_t>(begin.size()) - 1; }

  /// Fills the blocked ratings and weights, with inner rows numbered inside their span.
  void fill(BlockedRatings& blocked, const RatingsView& ratings, const RatingUnits& units, ThreadTeam& team) {
    const Columns columns = columns_of(ratings);
    const auto n_buckets = static_cast<std::size_t>(size());
    const std::int64_t n = ratings.size();

    // A counting sort. Each task counts the ratings of its part of the input by bucket; sums over buckets, then tasks,
    // say where each task writes. So a bucket keeps the input's order for any number of tasks.
    const std::int64_t n_tasks = std::min<std::int64_t>(team.size(), std::max<std::int64_t>(1, n / ThreadTeam::kSlice));
    std::vector<std::vector<std::int64_t>> next(static_cast<std::size_t>(n_tasks));
    count(columns, n, next, team);
    std::int64_t total = 0;
    for (std::size_t bucket = 0; bucket < n_buckets; ++bucket) {
      begin[bucket] = total;
      for (auto& counts : next) total += std::exchange(counts[bucket], total);
    }
    begin.back() = total;
    const Target target{blocked.ratings.data(), blocked.weights.data(), blocked.ratings.size() - 1, units};
    const auto write = columns.weights != nullptr
                           ? (users_outer_ ? write_chunk<true, true> : write_chunk<false, true>)
                           : (users_outer_ ? write_chunk<true, false> : write_chunk<false, false>);
    each_slice(n, n_tasks, team, [&](std::int64_t task, std::size_t from, std::size_t end) {
      std::int64_t* const to = next[static_cast<std::size_t>(task)].data();
      for (; from < end; from += kConvertedAtOnce)
        write(columns, from, std::min(kConvertedAtOnce, end - from), target, to);
    });
  }

  /// Finds where the buckets begin, of ratings in a file.
  void find_begins(const RatingSource& ratings, ThreadTeam& team) {
    std::vector<std::vector<std::int64_t>> counts(static_cast<std::size_t>(team.size()));
    ratings.for_each_part(
        [&](const RatingsView& part, std::int64_t) { count(columns_of(part), part.size(), counts, team); });
    for (std::size_t bucket = 0; bucket + 1 < begin.size(); ++bucket) {
      begin[bucket + 1] = begin[bucket];
      for (const auto& of_task : counts) begin[bucket + 1] += of_task[bucket];
    }
  }

  /// Files the ratings in drawers of whole buckets, in the order of the buckets: drawer_of[b] is that of bucket b.
  template <class Filed>
  void file(Drawers<Filed>& drawers, const std::vector<std::int32_t>& drawer_of, const RatingSource& ratings,
            const RatingUnits& units, ThreadTeam& team) const {
    ratings.for_each_part([&](const RatingsView& part, std::int64_t) {
      const Columns columns = columns_of(part);
      drawers.add(
          part.size(),
          [&](std::size_t r) {
            return columns.counts(r) ? drawer_of[columns.bucket(columns.outer_row(r), columns.inner_row(r))]
                                     : std::int32_t{-1};
          },
          [&](std::size_t r) {
            const StripeRow outer = columns.outer_row(r), inner = columns.inner_row(r);
            const auto value = static_cast<float>(units.standardized(static_cast<double>(columns.values[r])));
            Filed filed;
            filed.bucket = static_cast<std::uint32_t>(columns.bucket(outer, inner));
            filed.rating = users_outer_ ? Rating{outer.row, inner.row, value} : Rating{inner.row, outer.row, value};
            if constexpr (std::is_same_v<Filed, FiledWeightedRating>) filed.weight = units.weight(columns.weights[r]);
            return filed;
          },
          team);
    });
  }

 private:
  struct Columns {
    const std::int32_t *outer, *inner;
    const float *values, *weights;
    const StripeRow *outer_rows, *inner_rows;
    std::size_t n_spans, last;  // the number of spans, and of the last rating

    bool counts(std::size_t r) const { return weights == nullptr || weights[r] > 0; }
    StripeRow outer_row(std::size_t r) const { return outer_rows[outer[r]]; }
    StripeRow inner_row(std::size_t r) const { return inner_rows[inner[r]]; }
    std::size_t bucket(StripeRow of_outer, StripeRow of_inner) const {
      return of_outer.stripe * n_spans + of_inner.stripe;
    }
  };
  struct Target {
    Rating* ratings;
    float* weights;
    std::int64_t last;  ///< rating
    RatingUnits units;
  };

  /// Writes the `n` ratings from `first` on, each to to[its bucket], which is then raised. Arguments are values:
  /// through references the compiler would load them again after each rating stored.
  template <bool kUsersOuter, bool kWeighted>
  static void write_chunk(const Columns columns, std::size_t first, std::size_t n, const Target target,
                          std::int64_t* to) {
    constexpr std::int64_t kLine = 64 / sizeof(Rating);
    constexpr std::size_t kInputLine = 64 / sizeof(float);
    float values[kConvertedAtOnce];  // a separate loop, which the compiler turns into vector code
    for (std::size_t r = 0; r < n; ++r) {
      values[r] = static_cast<float>(target.units.standardized(static_cast<double>(columns.values[first + r])));
    }
    for (std::size_t r = 0; r < n; ++r) {
      if (r % kInputLine == 0) {
        const std::size_t ahead = std::min(first + r + kInputAhead, columns.last);
        prefetch(columns.outer + ahead);
        prefetch(columns.inner + ahead);
        prefetch(columns.values + ahead);
      }
      if (kWeighted && !columns.counts(first + r)) continue;
      const StripeRow outer = columns.outer_row(first + r), inner = columns.inner_row(first + r);
      std::int64_t& next = to[columns.bucket(outer, inner)];
      const std::int64_t at = next;
      next = at + 1;
      const auto bits = std::bit_cast<std::uint64_t>(kUsersOuter ? Rating{outer.row, inner.row, values[r]}
                                                                 : Rating{inner.row, outer.row, values[r]});
      std::memcpy(target.ratings + at, &bits, sizeof(bits));         // one store; as a struct it would be two
      prefetch(target.ratings + std::min(at + kLine, target.last));  // the bucket's next line
      if constexpr (kWeighted) {
        target.weights[at] = target.units.weight(columns.weights[first + r]);
      }
    }
  }

  [[nodiscard]] Columns columns_of(const RatingsView& ratings) const {
    return {(users_outer_ ? ratings.users : ratings.items).data(),
            (users_outer_ ? ratings.items : ratings.users).data(),
            ratings.values.data(),
            ratings.weights.empty() ? nullptr : ratings.weights.data(),
            outer_rows_.data(),
            inner_rows_.data(),
            static_cast<std::size_t>(spans.size()),
            static_cast<std::size_t>(ratings.size() - 1)};
  }

  /// Calls f(task, begin, end) for each slice of a task's share of 0 .. n - 1.
  template <class F>
  static void each_slice(std::int64_t n, std::int64_t n_tasks, ThreadTeam& team, const F& f) {
    team.run(n_tasks, [&](std::int64_t task, int thread) {
      const std::int64_t end = n * (task + 1) / n_tasks;
      for (std::int64_t from = n * task / n_tasks; from < end; from += ThreadTeam::kSlice) {
        if (team.poll(thread)) return;
        f(task, static_cast<std::size_t>(from), static_cast<std::size_t>(std::min(end, from + ThreadTeam::kSlice)));
      }
    });
  }

  /// Adds to each task's counts, by bucket, those of its share.
  void count(const Columns columns, std::int64_t n, std::vector<std::vector<std::int64_t>>& counts,
             ThreadTeam& team) const {
    for (auto& of_task : counts) of_task.resize(static_cast<std::size_t>(size()), 0);
    each_slice(n, static_cast<std::int64_t>(counts.size()), team,
               [&](std::int64_t task, std::size_t from, std::size_t end) {
                 std::int64_t* const to = counts[static_cast<std::size_t>(task)].data();
                 for (std::size_t r = from; r < end; ++r) {
                   if (columns.counts(r)) ++to[columns.bucket(columns.outer_row(r), columns.inner_row(r))];
                 }
               });
  }

  static std::int64_t stripes_per_span(const BlockedRatings& blocked, std::int64_t n_ratings) {
    const std::int64_t n_blocks = std::int64_t{blocked.outer().stripes()} * blocked.inner().stripes();
    const std::int64_t per_bucket = std::max(kRatingsPerBucket, n_ratings / kMaxBuckets);
    return std::max<std::int64_t>(1, per_bucket / std::max<std::int64_t>(1, n_ratings / n_blocks));
  }

  bool users_outer_;
  std::vector<StripeRow> outer_rows_, inner_rows_;  ///< by external row
};

/// The bands of the inner side. A stripe's bands are numbered so that those whose ratings are updated one by one come
/// last.
struct Bands {
  std::vector<BandRow> rows;            ///< by internal row
  std::vector<std::int32_t> first;      ///< the first band of each inner stripe, and the number of bands
  std::vector<std::int32_t> n_grouped;  ///< by inner stripe: the bands whose ratings are updated in groups

  /// `counts`: ratings of each row.
  Bands(const RowPartition& partition, const std::vector<std::uint32_t>& counts, const Spans& spans,
        std::int32_t band_rows)
      : rows(partition.position.size()), first{0} {
    const std::vector<std::uint32_t> by_position = in_order(partition, counts);
    std::vector<std::int32_t> grouped, one_by_one;  // where the bands of a stripe begin
    for (std::int64_t span = 0; span < spans.size(); ++span) {
      const auto s = static_cast<std::size_t>(span);
      const std::int32_t base = first.back();
      for (auto b = static_cast<std::size_t>(spans.first_stripe[s]);
           b < static_cast<std::size_t>(spans.first_stripe[s + 1]); ++b) {
        grouped.clear();
        one_by_one.clear();
        const std::int32_t end = partition.begin[b + 1];
        for (std::int32_t from = partition.begin[b]; from < end; from += std::min(band_rows, end - from)) {
          const bool alone = one_row_dominates(by_position, from, from + std::min(band_rows, end - from));
          (alone ? one_by_one : grouped).push_back(from);
        }
        n_grouped.push_back(static_cast<std::int32_t>(grouped.size()));
        grouped.insert(grouped.end(), one_by_one.begin(), one_by_one.end());
        std::int32_t band = first.back() - base;
        for (const std::int32_t from : grouped) {
          for (std::int32_t row = from; row < from + std::min(band_rows, end - from); ++row) {
            rows[static_cast<std::size_t>(row)] = {static_cast<std::uint16_t>(band),
                                                   static_cast<std::uint16_t>(row - partition.begin[b])};
          }
          ++band;
        }
        first.push_back(base + band);
      }
    }
  }
  [[nodiscard]] std::int32_t in_stripe(std::int32_t stripe) const {
    return first[static_cast<std::size_t>(stripe) + 1] - first[static_cast<std::size_t>(stripe)];
  }
  [[nodiscard]] std::int32_t in_span(const Spans& spans, std::size_t span) const {
    return first[static_cast<std::size_t>(spans.first_stripe[span + 1])] -
           first[static_cast<std::size_t>(spans.first_stripe[span])];
  }

  /// The counts by internal row.
  static std::vector<std::uint32_t> in_order(const RowPartition& rows, const std::vector<std::uint32_t>& counts) {
    std::vector<std::uint32_t> by_position(counts.size());
    for (std::size_t row = 0; row < counts.size(); ++row) {
      by_position[static_cast<std::size_t>(rows.position[row])] = counts[row];
    }
    return by_position;
  }
  /// Whether one of the internal rows from `begin` to `end` has more than kGroupedShare of their ratings.
  static bool one_row_dominates(const std::vector<std::uint32_t>& by_position, std::int32_t begin, std::int32_t end) {
    std::uint64_t sum = 0, most = 0;
    for (std::int32_t row = begin; row < end; ++row) {
      const std::uint64_t count = by_position[static_cast<std::size_t>(row)];
      sum += count;
      most = std::max(most, count);
    }
    return static_cast<double>(most) > kGroupedShare * static_cast<double>(sum);
  }
};

/// Puts the ratings of a bucket into their final order. One per thread.
class Arranger {
 public:
  /// Has room for buckets of so many ratings from now on. Grown from bucket to bucket, memory would hold the old copy
  /// and the new one, and how much depended on which thread met which bucket.
  void make_room(std::int64_t largest, bool weighted) {
    if (ratings_.size() < largest) ratings_ = Buffer<Rating>(largest);
    if (weighted && weights_.size() < largest) weights_ = Buffer<float>(largest);
  }

  /// Sorts the bucket, for which there must be room, by band and shuffles it well enough for SGD. The bucket is cut
  /// into sections; in each round every section gives one rating, in an order that changes. A section is walked from a
  /// random start in far steps, so that neighbours in a file sorted by user, item or time come far apart, inside a band
  /// too. `rows`: those of the span. Returns where each of the `n_bands` bands ends.
  std::span<const std::int64_t> arrange(Rating* ratings, float* weights, std::int64_t n, const BandRow* rows,
                                        std::int32_t n_bands, bool users_outer, SplitMix64 random) {
    ends_.assign(static_cast<std::size_t>(n_bands) + 1, 0);
    if (n == 0) return {ends_.data(), static_cast<std::size_t>(n_bands)};
    if (weights != nullptr) {
      std::copy_n(weights, n, weights_.data());
      users_outer ? arrange_bucket<true, true>(ratings, weights, n, rows, random)
                  : arrange_bucket<false, true>(ratings, weights, n, rows, random);
    } else {
      users_outer ? arrange_bucket<true, false>(ratings, weights, n, rows, random)
                  : arrange_bucket<false, false>(ratings, weights, n, rows, random);
    }
    return {ends_.data(), static_cast<std::size_t>(n_bands)};
  }

 private:
  /// A step that visits all of 0 .. n - 1, modulo n, and reaches x + 1 about 0.38 n steps after x. By the golden
  /// section no other near neighbour of x comes soon either.
  static std::int64_t far_step(std::int64_t n) {
    auto apart = std::max<std::int64_t>(1, std::llround(0.381966 * static_cast<double>(n)));
    while (std::gcd(apart, n) != 1) ++apart;
    std::int64_t step = 1;
    while (step * apart % n != 1 % n) ++step;
    return step;
  }

  template <bool kUsersOuter, bool kWeighted>
  void arrange_bucket(Rating* ratings, float* weights, std::int64_t n, const BandRow* rows, SplitMix64& random) {
    const auto row_of = [rows](std::uint64_t bits) {
      const auto rating = std::bit_cast<Rating>(bits);
      return rows[kUsersOuter ? rating.item : rating.user];
    };
    // ends[b + 1] first counts the ratings of band b; ends[b] is then where band b begins, and at last where it ends.
    std::int64_t* const ends = ends_.data();
    Rating* const copy = ratings_.data();
    constexpr std::int64_t kLine = 64 / sizeof(Rating);
    for (std::int64_t r = 0; r < n; ++r) {
      if (r % kLine == 0) prefetch(ratings + std::min<std::int64_t>(r + kBucketAhead, n - 1));
      const std::uint64_t bits = load(ratings + r);
      store(bits, copy + r);
      ++ends[row_of(bits).band + 1];
    }
    std::partial_sum(ends_.begin(), ends_.end(), ends_.begin());

    const std::int64_t length = (n + std::int64_t{kSections} - 1) / std::int64_t{kSections};
    std::int64_t begin[kSections], first[kSections];
    for (std::size_t s = 0; s < kSections; ++s) {
      begin[s] = static_cast<std::int64_t>(s) * length;
      first[s] = static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(length)));
    }
    random.shuffle(begin, kSections);
    const std::int64_t step = far_step(length);
    std::int64_t walked = 0;
    for (std::int64_t round = 0; round < length; ++round, walked = (walked + step) % length) {
      const std::size_t turn = random.next() % kSections;
      for (std::size_t s = 0; s < kSections; ++s) {
        const std::size_t section = s ^ turn;
        const std::int64_t in_section = first[section] + walked;
        const std::int64_t from = begin[section] + (in_section < length ? in_section : in_section - length);
        if (from >= n) continue;  // the last sections may be shorter
        std::uint64_t bits = load(copy + from);
        const BandRow row = row_of(bits);
        const std::int64_t to = ends[row.band]++;
        auto rating = std::bit_cast<Rating>(bits);
        (kUsersOuter ? rating.item : rating.user) = row.row;
        store(std::bit_cast<std::uint64_t>(rating), ratings + to);
        if constexpr (kWeighted) weights[to] = weights_[from];
      }
    }
  }

  // As one number: after stores field by field, the next load of the whole would have to wait for them.
  static std::uint64_t load(const Rating* from) {
    std::uint64_t bits;
    std::memcpy(&bits, from, sizeof(bits));
    return bits;
  }
  static void store(std::uint64_t bits, Rating* to) { std::memcpy(to, &bits, sizeof(bits)); }

  Buffer<Rating> ratings_;  ///< a copy of the bucket before it is sorted
  Buffer<float> weights_;
  std::vector<std::int64_t> ends_;
};

/// The second round: each bucket by the bands of its blocks.
class SecondRound {
 public:
  SecondRound(BlockedRatings& blocked, const Buckets& buckets, const Survey& rated, const Grid& grid,
              std::uint64_t seed)
      : blocked_(blocked),
        buckets_(buckets),
        seed_(seed),
        bands_(blocked.inner(), grid.users_outer ? rated.item_counts : rated.user_counts, buckets.spans,
               grid.band_rows) {
    const std::vector<std::uint32_t> outer_counts =
        Bands::in_order(blocked.outer(), grid.users_outer ? rated.user_counts : rated.item_counts);
    for (std::size_t b = 0; b + 1 < blocked.outer().begin.size(); ++b) {
      one_by_one_.push_back(
          Bands::one_row_dominates(outer_counts, blocked.outer().begin[b], blocked.outer().begin[b + 1]));
    }
    for (std::size_t bucket = 0; bucket + 1 < buckets.begin.size(); ++bucket) {
      largest_ = std::max(largest_, buckets.begin[bucket + 1] - buckets.begin[bucket]);
    }
    const auto n_blocks = static_cast<std::size_t>(blocked.outer().stripes() * blocked.inner().stripes());
    blocked.offsets.assign(n_blocks + 1, rated.counted);
    blocked.grouped.assign(n_blocks, 0);
  }

  /// Arranges a bucket's ratings and weights (nullptr: none), and notes its blocks.
  void arrange(std::int64_t bucket, Rating* ratings, float* weights, Arranger& arranger) {
    const std::int64_t n_inner = blocked_.inner().stripes(), n_spans = buckets_.spans.size(), outer = bucket / n_spans;
    const auto span = static_cast<std::size_t>(bucket % n_spans);
    const std::int64_t begin = buckets_.begin[static_cast<std::size_t>(bucket)];
    const std::int64_t size = buckets_.begin[static_cast<std::size_t>(bucket) + 1] - begin;
    const Spans& spans = buckets_.spans;
    arranger.make_room(largest_, weights != nullptr);
    const std::span<const std::int64_t> ends =
        arranger.arrange(ratings, weights, size, bands_.rows.data() + spans.begin[span], bands_.in_span(spans, span),
                         blocked_.users_outer, SplitMix64(seed_, kBlockShuffle, static_cast<std::uint64_t>(bucket)));
    std::int64_t block_begin = 0;
    std::int32_t band = 0;
    for (std::int32_t stripe = spans.first_stripe[span]; stripe < spans.first_stripe[span + 1]; ++stripe) {
      const auto c = static_cast<std::size_t>(outer * n_inner + stripe);
      const std::int32_t n_grouped =
          one_by_one_[static_cast<std::size_t>(outer)] ? 0 : bands_.n_grouped[static_cast<std::size_t>(stripe)];
      if (n_grouped > 0) {
        const std::int64_t grouped = ends[static_cast<std::size_t>(band + n_grouped) - 1] - block_begin;
        blocked_.grouped[c] = grouped / kGroup * kGroup;
      }
      blocked_.offsets[c] = begin + block_begin;
      band += bands_.in_stripe(stripe);
      block_begin = ends[static_cast<std::size_t>(band) - 1];
    }
  }

 private:
  BlockedRatings& blocked_;
  const Buckets& buckets_;
  std::uint64_t seed_;
  std::int64_t largest_ = 0;  ///< ratings of the largest bucket
  Bands bands_;
  std::vector<bool> one_by_one_;  ///< by outer stripe: whether its ratings are updated one by one
};

constexpr std::int64_t kRatingBytes = sizeof(Rating), kWeightBytes = sizeof(float);

/// A drawer's ratings while they are arranged. One per thread.
template <class Filed>
class DrawerOfRatings {
 public:
  /// What it holds for a rating: that as it was filed, in its bucket, and its copy in the Arranger.
  static constexpr bool kWeighted = std::is_same_v<Filed, FiledWeightedRating>;
  static constexpr std::int64_t kBytes = sizeof(Filed) + 2 * (kRatingBytes + (kWeighted ? kWeightBytes : 0));

  /// Arranges the buckets first .. last - 1 of a drawer, and writes them to the file of the blocked ratings.
  void arrange(const Drawers<Filed>& drawers, std::int64_t drawer, const Buckets& buckets, std::int64_t first,
               std::int64_t last, SecondRound& round, const BlockedRatings& blocked, std::int64_t n_ratings) {
    const std::int64_t n = drawers.records(drawer), begin = drawers.begin(drawer);
    if (filed_.size() < n) {
      filed_ = Buffer<Filed>(n);
      ratings_ = Buffer<Rating>(n);
      if (kWeighted) weights_ = Buffer<float>(n);
    }
    drawers.take(drawer, filed_.data());
    next_.assign(buckets.begin.begin() + first, buckets.begin.begin() + last);
    for (std::int64_t r = 0; r < n; ++r) {
      const Filed& filed = filed_[r];
      const std::int64_t to = next_[static_cast<std::size_t>(filed.bucket - first)]++ - begin;
      ratings_[to] = filed.rating;
      if constexpr (kWeighted) weights_[to] = filed.weight;
    }
    for (std::int64_t bucket = first; bucket < last; ++bucket) {
      const std::int64_t at = buckets.begin[static_cast<std::size_t>(bucket)] - begin;
      round.arrange(bucket, ratings_.data() + at, kWeighted ? weights_.data() + at : nullptr, arranger_);
    }
    blocked.file.write(begin * kRatingBytes, ratings_.data(), n * kRatingBytes);
    if (kWeighted) {
      blocked.file.write(n_ratings * kRatingBytes + begin * kWeightBytes, weights_.data(), n * kWeightBytes);
    }
  }

 private:
  Buffer<Filed> filed_;
  Buffer<Rating> ratings_;
  Buffer<float> weights_;
  std::vector<std::int64_t> next_;
  Arranger arranger_;
};

/// Both rounds, from a file to a file.
template <class Filed>
void block_in_file(BlockedRatings& blocked, Buckets& buckets, const RatingSource& ratings, const Survey& rated,
                   const Grid& grid, const RatingUnits& units, std::uint64_t seed, ThreadTeam& team) {
  const ScratchFolder& scratch = *ratings.scratch();
  buckets.find_begins(ratings, team);
  const std::int64_t most = scratch.buffer_bytes / DrawerOfRatings<Filed>::kBytes / team.size();
  const std::vector<std::int64_t> of_drawer = runs_of(buckets.begin, most);
  std::vector<std::int64_t> drawer_begin;
  for (const std::int64_t bucket : of_drawer) {
    drawer_begin.push_back(buckets.begin[static_cast<std::size_t>(bucket)]);
  }
  Drawers<Filed> drawers(scratch.path, std::move(drawer_begin));
  const std::int64_t at_once = drawers.at_once(team, DrawerOfRatings<Filed>::kBytes, scratch);
  {
    std::vector<std::int32_t> drawer_of(static_cast<std::size_t>(buckets.size()));
    for (std::size_t drawer = 0; drawer + 1 < of_drawer.size(); ++drawer) {
      std::fill(drawer_of.begin() + of_drawer[drawer], drawer_of.begin() + of_drawer[drawer + 1],
                static_cast<std::int32_t>(drawer));
    }
    buckets.file(drawers, drawer_of, ratings, units, team);
  }
  drawers.close();
  blocked.file = ScratchFile(scratch.path);
  SecondRound round(blocked, buckets, rated, grid, seed);
  std::vector<DrawerOfRatings<Filed>> each(static_cast<std::size_t>(at_once));
  for (std::int64_t drawer = 0; drawer < drawers.size(); drawer += at_once) {
    team.run(std::min(at_once, drawers.size() - drawer), [&](std::int64_t at, int) {
      const auto d = static_cast<std::size_t>(drawer + at);
      each[static_cast<std::size_t>(at)].arrange(drawers, drawer + at, buckets, of_drawer[d], of_drawer[d + 1], round,
                                                 blocked, rated.counted);
    });
  }
}

}  // namespace

bool users_are_outer(const Survey& rated) {
  const auto heaviest = [](const std::vector<std::uint32_t>& counts) {
    return *std::max_element(counts.begin(), counts.end());
  };
  const std::uint32_t user = heaviest(rated.user_counts), item = heaviest(rated.item_counts);
  return user < item || (user == item && rated.user_counts.size() >= rated.item_counts.size());
}

Grid choose_grid(std::int32_t n_users, std::int32_t n_items, std::int64_t n_ratings, std::int64_t row_bytes,
                 bool users_outer) {
  const auto for_threads = static_cast<std::int64_t>(std::sqrt(static_cast<double>(n_ratings) / kMinRatingsForThreads));
  const auto stripes_for = [&](std::int64_t n_rows, bool outer) {
    const std::int64_t rows = std::max((outer ? kOuterStripeBytes : kInnerStripeBytes) / row_bytes, kMinStripeRows);
    return std::clamp<std::int64_t>(std::max(for_threads, (n_rows + rows - 1) / rows), 1, n_rows);
  };
  std::int64_t users = stripes_for(n_users, users_outer), items = stripes_for(n_items, !users_outer);
  while (std::max(users, items) > 1 && users * items > std::max<std::int64_t>(1, n_ratings / kMinRatingsForCache)) {
    std::int64_t& larger = users > items ? users : items;
    larger = (larger + 1) / 2;
  }
  // 16 bits number the rows of a stripe, with room for uneven cuts, and the stripes.
  const auto bounded = [](std::int64_t stripes, std::int64_t n_rows) {
    return static_cast<std::int32_t>(
        std::min(std::max(stripes, n_rows / (kMaxStripeRows / 2) + 1), kMaxStripeRows - 1));
  };
  return {bounded(users, n_users), bounded(items, n_items), users_outer,
          static_cast<std::int32_t>(std::clamp(kBandBytes / row_bytes, kMinBandRows, kMaxStripeRows))};
}

RowPartition partition_rows(const std::vector<std::uint32_t>& counts, std::int32_t n_stripes, std::uint64_t seed,
                            std::uint64_t purpose, ThreadTeam& team) {
  const auto n_rows = static_cast<std::uint32_t>(counts.size());
  std::vector<std::int32_t> order(n_rows);
  std::iota(order.begin(), order.end(), 0);
  SplitMix64(seed, purpose, 0).shuffle(order.data(), n_rows);

  // A row's size is mostly its share of the ratings, or tasks would be uneven. The rest is its share of the rows.
  const double total =
      static_cast<double>(std::max<std::int64_t>(1, std::accumulate(counts.begin(), counts.end(), std::int64_t{0})));
  const auto size_of = [&](std::int32_t row) {
    const double share = static_cast<double>(counts[static_cast<std::size_t>(row)]) / total;
    return kSizeByRatings * (share * n_stripes > kGroupedShare ? kOneByOneCost * share : share) + kSizeByRows / n_rows;
  };
  RowPartition result;
  result.position.resize(n_rows);
  result.begin.push_back(0);
  double left = 0, size = 0;  // sizes: of the rows from the current stripe on, and of the current stripe so far
  for (const std::int32_t row : order) left += size_of(row);
  for (std::uint32_t p = 0; p < n_rows; ++p) {
    const double row_size = size_of(order[p]);
    const std::int64_t rows_in_stripe = static_cast<std::int64_t>(p) - result.begin.back();
    // The target is set anew after each stripe, so that one heavy row does not shrink the stripes after it.
    const std::int32_t stripes_left = n_stripes - result.stripes();  // with the current one
    const bool full = stripes_left > 1 && size + row_size / 2 >= left / stripes_left;
    if (rows_in_stripe > 0 && (full || rows_in_stripe == kMaxStripeRows)) {
      result.begin.push_back(static_cast<std::int32_t>(p));
      left -= size;
      size = 0;
    }
    size += row_size;
  }
  result.begin.push_back(static_cast<std::int32_t>(n_rows));
  // Rows of similar counts share a band, so that few ratings of a group are of the same row.
  std::vector<std::uint64_t> keys(n_rows);  // high half: most ratings first; low half: position so far
  for (std::uint32_t p = 0; p < n_rows; ++p) {
    keys[p] = static_cast<std::uint64_t>(~counts[static_cast<std::size_t>(order[p])]) << 32 | p;
  }
  team.run(result.stripes(), [&](std::int64_t stripe, int) {
    const auto b = static_cast<std::size_t>(stripe);
    std::sort(keys.begin() + result.begin[b], keys.begin() + result.begin[b + 1]);
  });
  for (std::uint32_t p = 0; p < n_rows; ++p) {
    result.position[static_cast<std::size_t>(order[keys[p] & 0xffffffffu])] = static_cast<std::int32_t>(p);
  }
  return result;
}

void BlockWindow::read(const BlockedRatings& blocked, std::int64_t begin, std::int64_t end) {
  if (read_ratings_.size() < end - begin) {
    read_ratings_ = Buffer<Rating>(room_);
    if (blocked.has_weights) read_weights_ = Buffer<float>(room_);
  }
  begin_ = begin;
  end_ = end;
  blocked.file.read(begin * kRatingBytes, read_ratings_.data(), (end - begin) * kRatingBytes);
  if (blocked.has_weights) {
    blocked.file.read(blocked.offsets.back() * kRatingBytes + begin * kWeightBytes, read_weights_.data(),
                      (end - begin) * kWeightBytes);
  }
}

void BlockWindow::take_stripe(const BlockedRatings& blocked, std::int32_t outer_stripe) {
  if (!blocked.file.is_open()) return;
  const std::int64_t begin = blocked.offsets[blocked.block(outer_stripe, 0)],
                     end = blocked.offsets[blocked.block(outer_stripe + 1, 0)];
  if (end - begin <= room_) read(blocked, begin, end);
}

void BlockWindow::show(const BlockedRatings& blocked, std::int64_t begin, std::int64_t n) {
  if (!blocked.file.is_open()) {
    ratings_ = blocked.ratings.data() + begin;
    weights_ = blocked.has_weights ? blocked.weights.data() + begin : nullptr;
    return;
  }
  if (begin < begin_ || begin + n > end_) read(blocked, begin, begin + n);
  ratings_ = read_ratings_.data() + (begin - begin_);
  weights_ = blocked.has_weights ? read_weights_.data() + (begin - begin_) : nullptr;
}

void will_need_stripe(const BlockedRatings& blocked, std::int32_t outer_stripe, std::int64_t most) {
  const std::int64_t begin = blocked.offsets[blocked.block(outer_stripe, 0)],
                     n = std::min(most, blocked.offsets[blocked.block(outer_stripe + 1, 0)] - begin);
  blocked.file.will_need(begin * kRatingBytes, n * kRatingBytes);
  if (!blocked.has_weights) return;
  blocked.file.will_need(blocked.offsets.back() * kRatingBytes + begin * kWeightBytes, n * kWeightBytes);
}

BlockedRatings make_blocks(const RatingSource& ratings, const Survey& rated, Grid grid, const RatingUnits& units,
                           std::uint64_t seed, ThreadTeam& team) {
  return make_blocks(ratings, rated, grid, partition_rows(rated.user_counts, grid.user_stripes, seed, kUserOrder, team),
                     partition_rows(rated.item_counts, grid.item_stripes, seed, kItemOrder, team), units, seed, team);
}

BlockedRatings make_blocks(const RatingSource& ratings, const Survey& rated, Grid grid, RowPartition users,
                           RowPartition items, const RatingUnits& units, std::uint64_t seed, ThreadTeam& team) {
  BlockedRatings blocked;
  blocked.users_outer = grid.users_outer;
  blocked.has_weights = ratings.weighted();
  blocked.users = std::move(users);
  blocked.items = std::move(items);
  Buckets buckets(blocked, ratings.size());
  if (ratings.scratch() != nullptr) {
    const auto block = ratings.weighted() ? block_in_file<FiledWeightedRating> : block_in_file<FiledRating>;
    block(blocked, buckets, ratings, rated, grid, units, seed, team);
    return blocked;
  }
  blocked.ratings = Buffer<Rating>(rated.counted);
  blocked.weights = Buffer<float>(ratings.weighted() ? rated.counted : 0);
  buckets.fill(blocked, ratings.in_memory(), units, team);
  SecondRound round(blocked, buckets, rated, grid, seed);
  std::vector<Arranger> arrangers(static_cast<std::size_t>(team.size()));
  team.run(buckets.size(), [&](std::int64_t bucket, int thread) {
    const std::int64_t begin = buckets.begin[static_cast<std::size_t>(bucket)];
    round.arrange(bucket, blocked.ratings.data() + begin,
                  blocked.has_weights ? blocked.weights.data() + begin : nullptr,
                  arrangers[static_cast<std::size_t>(thread)]);
  });
  return blocked;
}

void plan_partition(MemoryPlan& plan, std::int64_t n_rows) {
  plan.take("order of the rows", n_rows * static_cast<std::int64_t>(sizeof(std::int32_t)));
  plan.touch("sorting", n_rows * static_cast<std::int64_t>(sizeof(std::int32_t) + sizeof(std::uint64_t)));
}

void plan_blocks(MemoryPlan& plan, const RatingCounts& counts, const Grid& grid, int n_threads) {
  const char* const part = "ratings in blocks";
  const std::int64_t n = counts.n_ratings, inner = counts.rows(!grid.users_outer),
                     n_blocks = std::int64_t{grid.user_stripes} * grid.item_stripes,
                     rating = static_cast<std::int64_t>(sizeof(Rating)) + (counts.weighted ? 4 : 0);
  plan_partition(plan, counts.n_users);
  plan_partition(plan, counts.n_items);
  const bool filed = counts.buffer_bytes > 0;
  if (!filed) plan.take(part, n * rating);
  // First each row's stripe, of all and of the larger side once more; where each task writes into which bucket.
  const std::int64_t per_bucket = std::max(kRatingsPerBucket, n / kMaxBuckets),
                     n_buckets = std::max<std::int64_t>(n / per_bucket,
                                                        grid.users_outer ? grid.user_stripes : grid.item_stripes);
  const auto stripe_row = static_cast<std::int64_t>(sizeof(StripeRow)), place = std::int64_t{sizeof(std::int64_t)};
  plan.touch("sorting", (counts.all_rows() + std::max(counts.n_users, counts.n_items)) * stripe_row);
  // Those of a file go to drawers a part at a time. A drawer's are there as they were filed and in their buckets.
  const auto filed_rating =
      static_cast<std::int64_t>(counts.weighted ? sizeof(FiledWeightedRating) : sizeof(FiledRating));
  const std::int64_t to_drawers = filed ? std::min(part_ratings(counts.buffer_bytes), n) * filed_rating : 0;
  plan.touch("sorting", counts.all_rows() * stripe_row + (n_threads + 1) * n_buckets * place + to_drawers);
  // Then, beside the stripes, the bands, and a copy of a bucket for each thread.
  plan.take(part, n_blocks * 2 * place);
  const std::int64_t in_drawers = filed ? std::min(counts.buffer_bytes / (filed_rating + 2 * rating), n) : 0,
                     at_once = in_drawers < n ? n_threads : 1;
  plan.touch("sorting", (2 * counts.all_rows() + inner) * stripe_row +
                            (filed ? at_once : n_threads) * std::min(per_bucket, n) * rating +
                            in_drawers * (filed_rating + rating));
}

void plan_windows(MemoryPlan& plan, const RatingCounts& counts, const Grid& grid, int n_threads) {
  if (counts.buffer_bytes == 0) return;
  // By its share of the ratings and its share of the rows, a stripe has at most so many times its share of the ratings.
  constexpr double kLargest = 1 / kSizeByRatings;
  const std::int64_t stripes = grid.users_outer ? grid.user_stripes : grid.item_stripes,
                     bytes = kRatingBytes + (counts.weighted ? kWeightBytes : 0);
  const auto largest = static_cast<std::int64_t>(kLargest * static_cast<double>(counts.n_ratings / stripes));
  plan.take("windows on the ratings", std::min<std::int64_t>(n_threads, stripes) * bytes *
                                          window_ratings(counts.buffer_bytes, largest, n_threads, bytes));
}

std::int64_t window_ratings(std::int64_t buffer_bytes, std::int64_t largest_stripe, int n_threads,
                            std::int64_t rating_bytes) {
  return std::min(
      {largest_stripe, kMostInWindow, std::max(ThreadTeam::kSlice, buffer_bytes / n_threads / rating_bytes)});
}

}  // namespace warpfactor
