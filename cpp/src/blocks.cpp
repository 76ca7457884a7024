// SPDX-License-Identifier: Apache-2.0
#include "blocks.hpp"

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
// what L1 holds, were no faster, and with few rows in a block its ratings share rows too often to be grouped.
constexpr std::int64_t kOuterBytes = 256 * 1024, kInnerBytes = 128 * 1024;
constexpr std::int64_t kFewestRows = 64;

// The ratings of a cell are worked off for so many rows of the inner block at a time, a band: up to some hundred
// factors those rows stay in L1, and what comes from L2 is the rows of the outer block. Together with rows sorted by
// their number of ratings that took 1.11 (k = 64) and 1.14 (k = 128) times as many ratings a second; at k = 32 nothing
// changed. With fewer rows in a band than that, ratings share rows too often to be grouped soon.
constexpr std::int64_t kBandBytes = 8 * 1024;
constexpr std::int64_t kFewestBandRows = 32;

// Below this a cell's fixed costs (fetching its rows, waiting for its turn) show: the grid is no finer for
// parallelism's sake.
constexpr std::int64_t kRatingsPerCell = 4096;

// Nor for the cache's sake below this: where rows are many and ratings few, a row is hardly used twice in a cell
// anyway.
constexpr std::int64_t kFewestPerCell = 256;

// What is sorted at a time in make_blocks is to stay in L2.
constexpr std::int64_t kRatingsPerRun = 32768;

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
  Runs(BlockedRatings& blocked, const RatingsView& ratings, double shift, double scale, double weight_scale,
       ThreadTeam& team)
      : spans(blocked.inner(), blocks_per_span(blocked, ratings.size())) {
    // All by value and at hand, or the compiler would have to load it again after each rating stored.
    struct Columns {
      const std::int32_t *outer, *inner;
      const float *values, *weights;
      const Place *outer_places, *inner_places;
      std::size_t n_spans;
      bool users_outer;

      bool counts(std::size_t r) const { return weights == nullptr || weights[r] > 0; }
      Place outer_place(std::size_t r) const { return outer_places[outer[r]]; }
      Place inner_place(std::size_t r) const { return inner_places[inner[r]]; }
      void prefetch_at(std::size_t r) const {
        prefetch(outer + r);
        prefetch(inner + r);
        prefetch(values + r);
      }
      std::size_t run(Place of_outer, Place of_inner) const { return of_outer.block * n_spans + of_inner.block; }
    };
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
                          users_outer};
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
    team.run(parts, [&](std::int64_t part, int thread) {
      each_slice_of(
          part, thread,
          [columns, to = next[static_cast<std::size_t>(part)].data(), out = blocked.ratings.data(),
           out_weights = blocked.weights.data(), shift, per_unit = 1 / scale, weight_scale,
           last = blocked.ratings.size() - 1](std::size_t from, std::size_t end) {
            constexpr std::int64_t kLine = 64 / sizeof(Rating);
            constexpr std::size_t kInputLine = 64 / sizeof(float), kInputAhead = 256;
            for (std::size_t r = from; r < end; ++r) {
              if (!columns.counts(r)) continue;
              const Place outer = columns.outer_place(r), inner = columns.inner_place(r);
              const std::int64_t place = to[columns.run(outer, inner)]++;
              const auto value = static_cast<float>((static_cast<double>(columns.values[r]) - shift) * per_unit);
              const Rating rating =
                  columns.users_outer ? Rating{outer.row, inner.row, value} : Rating{inner.row, outer.row, value};
              const auto bits = std::bit_cast<std::uint64_t>(rating);  // one store; as a struct it would be two
              std::memcpy(out + place, &bits, sizeof(bits));
              prefetch(out + std::min(place + kLine, last));  // where this run goes on
              if (r % kInputLine == 0) columns.prefetch_at(std::min(r + kInputAhead, end - 1));
              if (columns.weights != nullptr) {
                out_weights[place] = static_cast<float>(static_cast<double>(columns.weights[r]) * weight_scale);
              }
            }
          });
    });
  }

 private:
  static std::int64_t blocks_per_span(const BlockedRatings& blocked, std::int64_t n_ratings) {
    const std::int64_t n_cells = std::int64_t{blocked.outer().blocks()} * blocked.inner().blocks();
    return std::max<std::int64_t>(1, kRatingsPerRun / std::max<std::int64_t>(1, n_ratings / n_cells));
  }
};

/// Where each inner row's ratings go inside its span, by internal row.
struct Bands {
  std::vector<BandPlace> places;
  std::vector<std::int32_t> first;  ///< band of each inner block, over all of them, and their number at the end

  Bands(const RowPartition& rows, const Spans& spans, std::int32_t band_rows) : places(rows.position.size()), first{0} {
    for (std::int64_t span = 0; span < spans.size(); ++span) {
      const auto s = static_cast<std::size_t>(span);
      const std::int32_t base = first.back();
      for (auto b = static_cast<std::size_t>(spans.first_block[s]);
           b < static_cast<std::size_t>(spans.first_block[s + 1]); ++b) {
        const std::int32_t n_rows = rows.begin[b + 1] - rows.begin[b];
        for (std::int32_t row = 0; row < n_rows; ++row) {
          places[static_cast<std::size_t>(rows.begin[b] + row)] = {
              static_cast<std::uint16_t>(first.back() - base + row / band_rows), static_cast<std::uint16_t>(row)};
        }
        first.push_back(first.back() + (n_rows - 1) / band_rows + 1);
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
};

/// Puts the ratings of a run into the order in which they are worked off. One per thread.
class Arranger {
 public:
  /// Sorts the run by band, into memory of its own, in the order that it has. `places`: of the span's rows, from its
  /// first on. Returns where each of the `n_bands` bands ends.
  std::span<std::int64_t> sort(const Rating* ratings, const float* weights, std::int64_t n, const BandPlace* places,
                               std::int32_t n_bands, bool users_outer) {
    const auto size = static_cast<std::size_t>(n);
    if (ratings_.size() < size) ratings_.resize(size);
    if (weights != nullptr && weights_.size() < size) weights_.resize(size);
    const auto place_of = [=](const Rating& rating) { return places[users_outer ? rating.item : rating.user]; };
    // First the number of each band's ratings one further on, then where each band begins, then where it ends.
    ends_.assign(static_cast<std::size_t>(n_bands) + 1, 0);
    std::int64_t* const ends = ends_.data();
    for (std::int64_t r = 0; r < n; ++r) ++ends[place_of(ratings[r]).band + 1];
    std::partial_sum(ends_.begin(), ends_.end(), ends_.begin());
    Rating* const sorted = ratings_.data();
    for (std::int64_t r = 0; r < n; ++r) {
      const Rating rating = ratings[r];
      const BandPlace place = place_of(rating);
      const std::int64_t to = ends[place.band]++;
      sorted[to] =
          users_outer ? Rating{rating.user, place.row, rating.value} : Rating{place.row, rating.item, rating.value};
      if (weights != nullptr) weights_[static_cast<std::size_t>(to)] = weights[r];
    }
    return {ends_.data(), static_cast<std::size_t>(n_bands)};
  }

  /// Writes the sorted ratings from `first` on, a cell, to `to`: in random order inside each band, in groups that share
  /// no row as far as that goes. `ends`: where each band ends, from `first` on. Returns how many ratings, from the
  /// first on, are in groups; the others follow.
  std::int64_t deal(std::int64_t first, std::span<const std::int64_t> ends, SplitMix64 random, Rating* to,
                    float* to_weights) {
    return to_weights != nullptr ? deal_cell<true>(first, ends, random, to, to_weights)
                                 : deal_cell<false>(first, ends, random, to, to_weights);
  }

 private:
  static constexpr int kAttempts = 4;

  /// A shuffle (Fisher and Yates) that draws again where the drawn rating does not fit into the present group. Ratings
  /// that found no group in their band have another chance in the next.
  template <bool kWeighted>
  std::int64_t deal_cell(std::int64_t first, std::span<const std::int64_t> ends, SplitMix64& random, Rating* to,
                         float* to_weights) {
    // What is not dealt yet lies from the place to be filled next on.
    Rating* const rest = ratings_.data() + first;
    float* const rest_weights = kWeighted ? weights_.data() + first : nullptr;
    const auto take = [&](std::int64_t at, std::int64_t from) {
      copy(rest + from, to + at);
      copy(rest + at, rest + from);
      if constexpr (kWeighted) {
        to_weights[at] = rest_weights[from];
        rest_weights[from] = rest_weights[at];
      }
    };
    const auto draw = [&](std::int64_t begin, std::int64_t end) {
      return begin + static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(end - begin)));
    };
    std::size_t band = 0;
    std::int64_t end = ends[0];  // from there on: ratings that found no group, and the bands to come
    for (std::int64_t grouped = 0;; grouped += kGroup) {
      const std::uint32_t group = next_group();
      for (std::int64_t at = grouped; at < grouped + kGroup; ++at) {
        for (int attempt = 0;; ++attempt) {
          while (at >= end && band + 1 < ends.size()) {
            end = ends[++band];
            attempt = 0;
          }
          if (at >= end) {  // no group is left to fill: back with what is in the last one
            std::copy(to + grouped, to + at, rest + grouped);
            if constexpr (kWeighted) std::copy(to_weights + grouped, to_weights + at, rest_weights + grouped);
            for (std::int64_t last = grouped; last < ends.back(); ++last) take(last, draw(last, ends.back()));
            return grouped;
          }
          const std::int64_t drawn = draw(at, end);
          const auto rating = std::bit_cast<Rating>(load(rest + drawn));
          std::uint32_t &user = users_[rating.user], &item = items_[rating.item];
          if (user != group && item != group) {
            user = item = group;
            take(at, drawn);
            break;
          }
          if (attempt == kAttempts) {
            --end;
            std::swap(rest[drawn], rest[end]);
            if constexpr (kWeighted) std::swap(rest_weights[drawn], rest_weights[end]);
            attempt = 0;
          }
        }
      }
    }
  }

  // Whole, as one number: field by field, the next load of the whole would have to wait for the stores.
  static std::uint64_t load(const Rating* from) {
    std::uint64_t bits;
    std::memcpy(&bits, from, sizeof(bits));
    return bits;
  }
  static void copy(const Rating* from, Rating* to) {
    const std::uint64_t bits = load(from);
    std::memcpy(to, &bits, sizeof(bits));
  }

  std::uint32_t next_group() {
    if (++last_ == 0) {
      std::fill(users_.begin(), users_.end(), 0);
      std::fill(items_.begin(), items_.end(), 0);
      last_ = 1;
    }
    return last_;
  }

  std::vector<Rating> ratings_;
  std::vector<float> weights_;
  std::vector<std::int64_t> ends_;
  /// The group each row of a block was last put into, over all cells of this thread. 256 KiB each, of which a cell uses
  /// as much as its blocks have rows.
  std::vector<std::uint32_t> users_ = std::vector<std::uint32_t>(kMaxBlockRows, 0), items_ = users_;
  std::uint32_t last_ = 0;
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
                            std::uint64_t purpose) {
  const auto n_rows = static_cast<std::uint32_t>(counts.size());
  std::vector<std::int32_t> order(n_rows);
  std::iota(order.begin(), order.end(), 0);
  SplitMix64(seed, purpose, 0).shuffle(order.data(), n_rows);

  // A row's size is its share of the ratings for the most part, or the steps of an epoch would be uneven, and for the
  // rest its share of the rows: by ratings alone nearly all rows of a long tail could come into one block. Ratings
  // beyond a row's one place in each group are updated one by one, which takes about twice as long: they count twice.
  const double total =
      static_cast<double>(std::max<std::int64_t>(1, std::accumulate(counts.begin(), counts.end(), std::int64_t{0})));
  const double in_groups = 1.0 / static_cast<double>(kGroup) / n_blocks;
  const auto size_of = [&](std::int32_t row) {
    const double share = static_cast<double>(counts[static_cast<std::size_t>(row)]) / total;
    return 0.8 * (share + std::max(0.0, share - in_groups)) + 0.2 / n_rows;
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
  // Inside a block by the number of ratings, so that the rows of a band have about as many each: a row that had most of
  // its band's ratings would find few others to share a group with.
  std::vector<std::uint64_t> keys(n_rows);  // the most ratings first, then by the place so far, which is the low half
  for (std::uint32_t p = 0; p < n_rows; ++p) {
    keys[p] = static_cast<std::uint64_t>(~counts[static_cast<std::size_t>(order[p])]) << 32 | p;
  }
  for (std::size_t b = 0; b + 1 < result.begin.size(); ++b) {
    std::sort(keys.begin() + result.begin[b], keys.begin() + result.begin[b + 1]);
  }
  for (std::uint32_t p = 0; p < n_rows; ++p) {
    result.position[static_cast<std::size_t>(order[keys[p] & 0xffffffffu])] = static_cast<std::int32_t>(p);
  }
  return result;
}

BlockedRatings make_blocks(const RatingsView& ratings, const Survey& rated, Grid grid, double shift, double scale,
                           double weight_scale, std::uint64_t seed, ThreadTeam& team) {
  BlockedRatings blocked;
  blocked.users_outer = grid.users_outer;
  blocked.users = partition_rows(rated.user_counts, grid.user_blocks, seed, kUserOrder);
  blocked.items = partition_rows(rated.item_counts, grid.item_blocks, seed, kItemOrder);
  blocked.ratings = Buffer<Rating>(rated.counted);
  blocked.weights = Buffer<float>(ratings.weights.empty() ? 0 : rated.counted);
  const Runs runs(blocked, ratings, shift, scale, weight_scale, team);

  // Run by run to the bands of its cells, and those into groups and random order: files are often sorted by user or
  // time, which SGD does not want.
  const Bands bands(blocked.inner(), runs.spans, grid.band_rows);
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
    const std::span<std::int64_t> ends =
        arranger.sort(target, weights, size, bands.places.data() + runs.spans.begin[span],
                      bands.in_span(runs.spans, span), grid.users_outer);
    std::int64_t cell_begin = 0;
    for (std::int32_t block = runs.spans.first_block[span], band = 0; block < runs.spans.first_block[span + 1];
         ++block) {
      if (team.poll(thread)) return;
      const auto c = static_cast<std::size_t>(outer * n_inner + block);
      const std::int32_t n_bands = bands.in_block(block);
      const std::span<std::int64_t> cell_ends =
          ends.subspan(static_cast<std::size_t>(band), static_cast<std::size_t>(n_bands));
      for (std::int64_t& end : cell_ends) end -= cell_begin;
      blocked.offsets[c] = begin + cell_begin;
      blocked.grouped[c] =
          arranger.deal(cell_begin, cell_ends, SplitMix64(seed, kBlockShuffle, static_cast<std::uint64_t>(c)),
                        target + cell_begin, weights != nullptr ? weights + cell_begin : nullptr);
      cell_begin += cell_ends.back();
      band += n_bands;
    }
  });
  return blocked;
}

}  // namespace warpfactor
