// SPDX-License-Identifier: Apache-2.0
#include "cpu/blocks.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <numeric>
#include <span>
#include <utility>

#include "prefetch.hpp"
#include "random.hpp"

namespace warpfactor {
namespace {

constexpr std::int64_t kMaxBlockRows = 65536;  // 16-bit row numbers inside a block

// A block of the outer side stays in a core's L2 cache (256 KiB to 2 MiB) while a thread walks over the inner side,
// whose blocks are read from further away once each and are to fit into L2 beside it. Smaller inner blocks, down to
// what L1 holds, were no faster, and with few rows in a block many of a group's ratings share one.
constexpr std::int64_t kOuterBytes = 256 * 1024, kInnerBytes = 128 * 1024;
constexpr std::int64_t kFewestRows = 64;

// The ratings of a cell are worked off for so many rows of the inner block at a time, a band: up to some hundred
// factors those rows stay in L1, and what comes from L2 is the rows of the outer block. Together with rows sorted by
// their number of ratings that took 1.11 (k = 64) and 1.14 (k = 128) times as many ratings a second; at k = 32 nothing
// changed. With fewer rows in a band than that, many of a group's ratings share one.
constexpr std::int64_t kBandBytes = 8 * 1024;
constexpr std::int64_t kFewestBandRows = 32;

// Below this a cell's fixed costs (fetching its rows, waiting for its turn) show: the grid is no finer for
// parallelism's sake.
constexpr std::int64_t kRatingsPerCell = 4096;

// Nor for the cache's sake below this: where rows are many and ratings few, a row is hardly used twice in a cell
// anyway.
constexpr std::int64_t kFewestPerCell = 256;

// What is arranged at a time in make_blocks is to stay in L2, unless ratings would have to be written to too many
// places at once: 60 M of them took 15.6 ns each with 1,900 runs, 13.0 with 500.
constexpr std::int64_t kRatingsPerRun = 32768, kMostRuns = 512;

// The dot products of a group are all taken before its steps, so that a row with several ratings in it takes too long a
// step where the learning rate is high. A row with at most this share of what a group is drawn from has three places
// in it on average; where one has more, ratings are updated one by one. (Of 100 M ratings of Netflix's shape, k = 64,
// 68 % are in groups with a share of 0.25, 93 % with 0.4, nearly all with 0.5: 51, 56 and 60 M updates a second with
// one thread.)
constexpr double kGroupedShare = 0.4;

/// Where a row's ratings go: its block (or span of blocks), and its number inside that. 4 bytes, so that the table
/// stays in cache.
struct Place {
  std::uint16_t block;
  std::uint16_t row;
};

/// The same inside a span: the band, numbered over all blocks of the span, and the row's number inside its block.
struct BandPlace {
  std::uint16_t band;
  std::uint16_t row;
};

/// The place of each external row.
std::vector<Place> places_of(const std::vector<std::int32_t>& position, const std::vector<std::int32_t>& begin) {
  std::vector<Place> by_position(position.size());
  for (std::size_t b = 0; b + 1 < begin.size(); ++b) {
    for (std::int32_t p = begin[b]; p < begin[b + 1]; ++p) {
      by_position[static_cast<std::size_t>(p)] = {static_cast<std::uint16_t>(b),
                                                  static_cast<std::uint16_t>(p - begin[b])};
    }
  }
  std::vector<Place> places(position.size());
  for (std::size_t row = 0; row < places.size(); ++row) {
    places[row] = by_position[static_cast<std::size_t>(position[row])];
  }
  return places;
}

/// At most `most_blocks` neighbouring blocks taken together, as far as 16 bits can number their rows. first_block[s] ..
/// first_block[s + 1]: the blocks of span s; begin: its first row, and the number of rows at the end.
struct Spans {
  std::vector<std::int32_t> first_block{0}, begin{0};

  Spans(const RowPartition& rows, std::int64_t most_blocks) {
    for (std::int32_t b = 1; b <= rows.blocks(); ++b) {
      const auto at = static_cast<std::size_t>(b);
      if (b == rows.blocks() || b - first_block.back() == most_blocks ||
          rows.begin[at + 1] - begin.back() > kMaxBlockRows) {
        first_block.push_back(b);
        begin.push_back(rows.begin[at]);
      }
    }
  }
  [[nodiscard]] std::int64_t size() const { return static_cast<std::int64_t>(begin.size()) - 1; }
};

/// The ratings by outer block and span, which is the first of two rounds: there are thousands of cells, and to write to
/// so many places at once would take a cache miss for each rating.
struct Runs {
  Spans spans;
  std::vector<std::int64_t> begin;  ///< of run outer_block * spans.size() + span, and their number at the end

  /// Fills the blocked ratings and weights, with inner rows numbered inside their span.
  Runs(BlockedRatings& blocked, const RatingsView& ratings, const RatingUnits& units, ThreadTeam& team)
      : spans(blocked.inner(), blocks_per_span(blocked, ratings.size())) {
    const bool users_outer = blocked.users_outer;
    const std::vector<Place> outer_places = places_of(blocked.outer().position, blocked.outer().begin),
                             inner_places = places_of(blocked.inner().position, spans.begin);
    const Columns columns{(users_outer ? ratings.users : ratings.items).data(),
                          (users_outer ? ratings.items : ratings.users).data(),
                          ratings.values.data(),
                          ratings.weights.empty() ? nullptr : ratings.weights.data(),
                          outer_places.data(),
                          inner_places.data(),
                          static_cast<std::size_t>(spans.size()),
                          static_cast<std::size_t>(ratings.size() - 1)};
    const auto n_runs = static_cast<std::size_t>(blocked.outer().blocks() * spans.size());
    const std::int64_t n = ratings.size();

    // A counting sort: each part of the input counts its ratings per run; the sums over runs, then parts, are the
    // places they go to. It keeps the input's order inside a run, whatever the number of parts.
    const std::int64_t parts = std::min<std::int64_t>(team.size(), std::max<std::int64_t>(1, n / ThreadTeam::kSlice));
    std::vector<std::vector<std::int64_t>> next(static_cast<std::size_t>(parts));
    // f(begin, end) for a part, a slice at a time.
    const auto each_slice_of = [&](std::int64_t part, int thread, const auto& f) {
      const std::int64_t end = n * (part + 1) / parts;
      for (std::int64_t from = n * part / parts; from < end; from += ThreadTeam::kSlice) {
        if (team.poll(thread)) return;
        f(static_cast<std::size_t>(from), static_cast<std::size_t>(std::min(end, from + ThreadTeam::kSlice)));
      }
    };
    team.run(parts, [&](std::int64_t part, int thread) {
      std::vector<std::int64_t>& counts = next[static_cast<std::size_t>(part)];
      counts.assign(n_runs, 0);
      each_slice_of(part, thread, [columns, to = counts.data()](std::size_t from, std::size_t end) {
        for (std::size_t r = from; r < end; ++r) {
          if (columns.counts(r)) ++to[columns.run(columns.outer_place(r), columns.inner_place(r))];
        }
      });
    });
    begin.resize(n_runs + 1);
    std::int64_t total = 0;
    for (std::size_t run = 0; run < n_runs; ++run) {
      begin[run] = total;
      for (auto& counts : next) total += std::exchange(counts[run], total);
    }
    begin.back() = total;
    const Target target{blocked.ratings.data(), blocked.weights.data(), blocked.ratings.size() - 1, units};
    const auto write = columns.weights != nullptr
                           ? (users_outer ? write_piece<true, true> : write_piece<false, true>)
                           : (users_outer ? write_piece<true, false> : write_piece<false, false>);
    team.run(parts, [&](std::int64_t part, int thread) {
      std::int64_t* const to = next[static_cast<std::size_t>(part)].data();
      each_slice_of(part, thread, [&](std::size_t from, std::size_t end) {
        for (; from < end; from += kPiece) write(columns, from, std::min(kPiece, end - from), target, to);
      });
    });
  }

 private:
  struct Columns {
    const std::int32_t *outer, *inner;
    const float *values, *weights;
    const Place *outer_places, *inner_places;
    std::size_t n_spans, last;  // the number of spans, and of the last rating

    bool counts(std::size_t r) const { return weights == nullptr || weights[r] > 0; }
    Place outer_place(std::size_t r) const { return outer_places[outer[r]]; }
    Place inner_place(std::size_t r) const { return inner_places[inner[r]]; }
    std::size_t run(Place of_outer, Place of_inner) const { return of_outer.block * n_spans + of_inner.block; }
  };
  struct Target {
    Rating* ratings;
    float* weights;
    std::int64_t last;  ///< rating
    RatingUnits units;
  };
  static constexpr std::size_t kPiece = 512;

  /// The `n` ratings from `first` on, each to the place to[its run], which moves on. The arguments are values, or the
  /// compiler would have to load them again after each rating stored.
  template <bool kUsersOuter, bool kWeighted>
  static void write_piece(const Columns columns, std::size_t first, std::size_t n, const Target target,
                          std::int64_t* to) {
    constexpr std::int64_t kLine = 64 / sizeof(Rating);
    constexpr std::size_t kInputLine = 64 / sizeof(float), kInputAhead = 256;
    float values[kPiece];  // in a loop of its own, which the compiler turns into vector code
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
      const Place outer = columns.outer_place(first + r), inner = columns.inner_place(first + r);
      std::int64_t& next = to[columns.run(outer, inner)];
      const std::int64_t place = next;
      next = place + 1;
      const auto bits = std::bit_cast<std::uint64_t>(kUsersOuter ? Rating{outer.row, inner.row, values[r]}
                                                                 : Rating{inner.row, outer.row, values[r]});
      std::memcpy(target.ratings + place, &bits, sizeof(bits));         // one store; as a struct it would be two
      prefetch(target.ratings + std::min(place + kLine, target.last));  // where this run goes on
      if constexpr (kWeighted) {
        target.weights[place] = target.units.weight(columns.weights[first + r]);
      }
    }
  }

  static std::int64_t blocks_per_span(const BlockedRatings& blocked, std::int64_t n_ratings) {
    const std::int64_t n_cells = std::int64_t{blocked.outer().blocks()} * blocked.inner().blocks();
    const std::int64_t per_run = std::max(kRatingsPerRun, n_ratings / kMostRuns);
    return std::max<std::int64_t>(1, per_run / std::max<std::int64_t>(1, n_ratings / n_cells));
  }
};

/// Where each inner row's ratings go inside its span, by internal row. A block's bands are numbered so that those whose
/// ratings are updated one by one come last.
struct Bands {
  std::vector<BandPlace> places;
  std::vector<std::int32_t> first;      ///< band of each inner block, over all of them, and their number at the end
  std::vector<std::int32_t> n_grouped;  ///< of each inner block, how many bands come before those

  /// `counts`: ratings of each row.
  Bands(const RowPartition& rows, const std::vector<std::uint32_t>& counts, const Spans& spans, std::int32_t band_rows)
      : places(rows.position.size()), first{0} {
    const std::vector<std::uint32_t> by_position = in_order(rows, counts);
    std::vector<std::int32_t> grouped, others;  // where the bands of a block begin
    for (std::int64_t span = 0; span < spans.size(); ++span) {
      const auto s = static_cast<std::size_t>(span);
      const std::int32_t base = first.back();
      for (auto b = static_cast<std::size_t>(spans.first_block[s]);
           b < static_cast<std::size_t>(spans.first_block[s + 1]); ++b) {
        grouped.clear();
        others.clear();
        const std::int32_t end = rows.begin[b + 1];
        for (std::int32_t from = rows.begin[b]; from < end; from += std::min(band_rows, end - from)) {
          const bool apart = one_has_most(by_position, from, from + std::min(band_rows, end - from));
          (apart ? others : grouped).push_back(from);
        }
        n_grouped.push_back(static_cast<std::int32_t>(grouped.size()));
        grouped.insert(grouped.end(), others.begin(), others.end());
        std::int32_t band = first.back() - base;
        for (const std::int32_t from : grouped) {
          for (std::int32_t row = from; row < from + std::min(band_rows, end - from); ++row) {
            places[static_cast<std::size_t>(row)] = {static_cast<std::uint16_t>(band),
                                                     static_cast<std::uint16_t>(row - rows.begin[b])};
          }
          ++band;
        }
        first.push_back(base + band);
      }
    }
  }
  [[nodiscard]] std::int32_t in_block(std::int32_t block) const {
    return first[static_cast<std::size_t>(block) + 1] - first[static_cast<std::size_t>(block)];
  }
  [[nodiscard]] std::int32_t in_span(const Spans& spans, std::size_t span) const {
    return first[static_cast<std::size_t>(spans.first_block[span + 1])] -
           first[static_cast<std::size_t>(spans.first_block[span])];
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
  static bool one_has_most(const std::vector<std::uint32_t>& by_position, std::int32_t begin, std::int32_t end) {
    std::uint64_t sum = 0, most = 0;
    for (std::int32_t row = begin; row < end; ++row) {
      const std::uint64_t count = by_position[static_cast<std::size_t>(row)];
      sum += count;
      most = std::max(most, count);
    }
    return static_cast<double>(most) > kGroupedShare * static_cast<double>(sum);
  }
};

/// Puts the ratings of a run into the order in which they are worked off. One per thread.
class Arranger {
 public:
  /// Sorts the run by band, and shuffles it well enough for SGD: the run is cut into sections, of which each in turn,
  /// in an order that changes, gives one rating. A section is walked from a random place of its own on, in far steps.
  /// So what were neighbours, in a file sorted by user or item or time, come far apart, also inside a band. `places`:
  /// of the span's rows, from its first on. Returns where each of the `n_bands` bands ends.
  std::span<const std::int64_t> arrange(Rating* ratings, float* weights, std::int64_t n, const BandPlace* places,
                                        std::int32_t n_bands, bool users_outer, SplitMix64 random) {
    ends_.assign(static_cast<std::size_t>(n_bands) + 1, 0);
    if (n == 0) return {ends_.data(), static_cast<std::size_t>(n_bands)};
    if (static_cast<std::int64_t>(ratings_.size()) < n) ratings_.resize(static_cast<std::size_t>(n));
    if (weights != nullptr) {
      weights_.assign(weights, weights + n);
      users_outer ? arrange_run<true, true>(ratings, weights, n, places, random)
                  : arrange_run<false, true>(ratings, weights, n, places, random);
    } else {
      users_outer ? arrange_run<true, false>(ratings, weights, n, places, random)
                  : arrange_run<false, false>(ratings, weights, n, places, random);
    }
    return {ends_.data(), static_cast<std::size_t>(n_bands)};
  }

 private:
  static constexpr std::size_t kSections = 256;

  /// A step that, modulo n, goes through all of 0 .. n - 1 and comes from each number to the next one after about 0.38
  /// n steps: by the golden section, after which none of the numbers near it comes soon either.
  static std::int64_t far_step(std::int64_t n) {
    auto apart = std::max<std::int64_t>(1, std::llround(0.381966 * static_cast<double>(n)));
    while (std::gcd(apart, n) != 1) ++apart;
    std::int64_t step = 1;
    while (step * apart % n != 1 % n) ++step;
    return step;
  }

  template <bool kUsersOuter, bool kWeighted>
  void arrange_run(Rating* ratings, float* weights, std::int64_t n, const BandPlace* places, SplitMix64& random) {
    const auto place_of = [places](std::uint64_t bits) {
      const auto rating = std::bit_cast<Rating>(bits);
      return places[kUsersOuter ? rating.item : rating.user];
    };
    // First the number of each band's ratings one further on, then where each band begins, then where it ends.
    std::int64_t* const ends = ends_.data();
    Rating* const run = ratings_.data();
    for (std::int64_t r = 0; r < n; ++r) {
      const std::uint64_t bits = load(ratings + r);
      store(bits, run + r);
      ++ends[place_of(bits).band + 1];
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
        std::uint64_t bits = load(run + from);
        const BandPlace place = place_of(bits);
        const std::int64_t to = ends[place.band]++;
        auto rating = std::bit_cast<Rating>(bits);
        (kUsersOuter ? rating.item : rating.user) = place.row;
        store(std::bit_cast<std::uint64_t>(rating), ratings + to);
        if constexpr (kWeighted) weights[to] = weights_[static_cast<std::size_t>(from)];
      }
    }
  }

  // Whole, as one number: field by field, the next load of the whole would have to wait for the stores.
  static std::uint64_t load(const Rating* from) {
    std::uint64_t bits;
    std::memcpy(&bits, from, sizeof(bits));
    return bits;
  }
  static void store(std::uint64_t bits, Rating* to) { std::memcpy(to, &bits, sizeof(bits)); }

  std::vector<Rating> ratings_;  ///< the run as it came
  std::vector<float> weights_;
  std::vector<std::int64_t> ends_;
};

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
  const auto for_threads = static_cast<std::int64_t>(std::sqrt(static_cast<double>(n_ratings) / kRatingsPerCell));
  const auto blocks_for = [&](std::int64_t n_rows, bool outer) {
    const std::int64_t rows = std::max((outer ? kOuterBytes : kInnerBytes) / row_bytes, kFewestRows);
    return std::clamp<std::int64_t>(std::max(for_threads, (n_rows + rows - 1) / rows), 1, n_rows);
  };
  std::int64_t users = blocks_for(n_users, users_outer), items = blocks_for(n_items, !users_outer);
  while (std::max(users, items) > 1 && users * items > std::max<std::int64_t>(1, n_ratings / kFewestPerCell)) {
    std::int64_t& larger = users > items ? users : items;
    larger = (larger + 1) / 2;
  }
  // At least so many that 16 bits can number a block's rows, with room for uneven cuts, and at most as many as 16 bits
  // can number.
  const auto bounded = [](std::int64_t blocks, std::int64_t n_rows) {
    return static_cast<std::int32_t>(std::min(std::max(blocks, n_rows / (kMaxBlockRows / 2) + 1), kMaxBlockRows - 1));
  };
  return {bounded(users, n_users), bounded(items, n_items), users_outer,
          static_cast<std::int32_t>(std::clamp(kBandBytes / row_bytes, kFewestBandRows, kMaxBlockRows))};
}

RowPartition partition_rows(const std::vector<std::uint32_t>& counts, std::int32_t n_blocks, std::uint64_t seed,
                            std::uint64_t purpose, ThreadTeam& team) {
  const auto n_rows = static_cast<std::uint32_t>(counts.size());
  std::vector<std::int32_t> order(n_rows);
  std::iota(order.begin(), order.end(), 0);
  SplitMix64(seed, purpose, 0).shuffle(order.data(), n_rows);

  // A row's size is its share of the ratings for the most part, or the steps of an epoch would be uneven, and for the
  // rest its share of the rows: by ratings alone nearly all rows of a long tail could come into one block. Where
  // ratings are updated one by one, which takes about twice as long, they count twice.
  const double total =
      static_cast<double>(std::max<std::int64_t>(1, std::accumulate(counts.begin(), counts.end(), std::int64_t{0})));
  const auto size_of = [&](std::int32_t row) {
    const double share = static_cast<double>(counts[static_cast<std::size_t>(row)]) / total;
    return 0.8 * (share * n_blocks > kGroupedShare ? 2 * share : share) + 0.2 / n_rows;
  };
  RowPartition result;
  result.position.resize(n_rows);
  result.begin.push_back(0);
  double left = 0, size = 0;  // of the rows from the present block on; of that block so far
  for (const std::int32_t row : order) left += size_of(row);
  for (std::uint32_t p = 0; p < n_rows; ++p) {
    const double row_size = size_of(order[p]);
    const std::int64_t rows_in_block = static_cast<std::int64_t>(p) - result.begin.back();
    // What is left is shared anew after each block, so that one heavy row does not shrink the blocks after it.
    const std::int32_t blocks_left = n_blocks - result.blocks();  // the present one included
    const bool full = blocks_left > 1 && size + row_size / 2 >= left / blocks_left;
    if (rows_in_block > 0 && (full || rows_in_block == kMaxBlockRows)) {
      result.begin.push_back(static_cast<std::int32_t>(p));
      left -= size;
      size = 0;
    }
    size += row_size;
  }
  result.begin.push_back(static_cast<std::int32_t>(n_rows));
  // Inside a block by the number of ratings, so that the rows of a band have about as many each, and groups few ratings
  // of the same one.
  std::vector<std::uint64_t> keys(n_rows);  // the most ratings first, then by the place so far, which is the low half
  for (std::uint32_t p = 0; p < n_rows; ++p) {
    keys[p] = static_cast<std::uint64_t>(~counts[static_cast<std::size_t>(order[p])]) << 32 | p;
  }
  team.run(result.blocks(), [&](std::int64_t block, int) {
    const auto b = static_cast<std::size_t>(block);
    std::sort(keys.begin() + result.begin[b], keys.begin() + result.begin[b + 1]);
  });
  for (std::uint32_t p = 0; p < n_rows; ++p) {
    result.position[static_cast<std::size_t>(order[keys[p] & 0xffffffffu])] = static_cast<std::int32_t>(p);
  }
  return result;
}

BlockedRatings make_blocks(const RatingsView& ratings, const Survey& rated, Grid grid, const RatingUnits& units,
                           std::uint64_t seed, ThreadTeam& team) {
  BlockedRatings blocked;
  blocked.users_outer = grid.users_outer;
  blocked.users = partition_rows(rated.user_counts, grid.user_blocks, seed, kUserOrder, team);
  blocked.items = partition_rows(rated.item_counts, grid.item_blocks, seed, kItemOrder, team);
  blocked.ratings = Buffer<Rating>(rated.counted);
  blocked.weights = Buffer<float>(ratings.weights.empty() ? 0 : rated.counted);
  const Runs runs(blocked, ratings, units, team);

  // Run by run to the bands of its cells.
  const std::vector<std::uint32_t>& inner_counts = grid.users_outer ? rated.item_counts : rated.user_counts;
  const std::vector<std::uint32_t> outer_counts =
      Bands::in_order(blocked.outer(), grid.users_outer ? rated.user_counts : rated.item_counts);
  std::vector<bool> apart;  // of each outer block, whether its ratings are updated one by one
  for (std::size_t b = 0; b + 1 < blocked.outer().begin.size(); ++b) {
    apart.push_back(Bands::one_has_most(outer_counts, blocked.outer().begin[b], blocked.outer().begin[b + 1]));
  }
  const Bands bands(blocked.inner(), inner_counts, runs.spans, grid.band_rows);
  const std::int64_t n_inner = blocked.inner().blocks(), n_spans = runs.spans.size();
  const auto n_cells = static_cast<std::size_t>(blocked.outer().blocks() * n_inner);
  blocked.offsets.assign(n_cells + 1, rated.counted);
  blocked.grouped.assign(n_cells, 0);
  std::vector<Arranger> arrangers(static_cast<std::size_t>(team.size()));
  team.run(blocked.outer().blocks() * n_spans, [&](std::int64_t run, int thread) {
    const std::int64_t outer = run / n_spans;
    const auto span = static_cast<std::size_t>(run % n_spans);
    const std::int64_t begin = runs.begin[static_cast<std::size_t>(run)];
    const std::int64_t size = runs.begin[static_cast<std::size_t>(run) + 1] - begin;
    Rating* const target = blocked.ratings.data() + begin;
    float* const weights = blocked.weights.size() > 0 ? blocked.weights.data() + begin : nullptr;
    Arranger& arranger = arrangers[static_cast<std::size_t>(thread)];
    const std::span<const std::int64_t> ends = arranger.arrange(
        target, weights, size, bands.places.data() + runs.spans.begin[span], bands.in_span(runs.spans, span),
        grid.users_outer, SplitMix64(seed, kBlockShuffle, static_cast<std::uint64_t>(run)));
    std::int64_t cell_begin = 0;
    std::int32_t band = 0;
    for (std::int32_t block = runs.spans.first_block[span]; block < runs.spans.first_block[span + 1]; ++block) {
      const auto c = static_cast<std::size_t>(outer * n_inner + block);
      const std::int32_t n_grouped =
          apart[static_cast<std::size_t>(outer)] ? 0 : bands.n_grouped[static_cast<std::size_t>(block)];
      if (n_grouped > 0) {
        const std::int64_t grouped = ends[static_cast<std::size_t>(band + n_grouped) - 1] - cell_begin;
        blocked.grouped[c] = grouped / kGroup * kGroup;
      }
      blocked.offsets[c] = begin + cell_begin;
      band += bands.in_block(block);
      cell_begin = ends[static_cast<std::size_t>(band) - 1];
    }
  });
  return blocked;
}

}  // namespace warpfactor
