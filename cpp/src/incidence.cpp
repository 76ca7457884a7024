// SPDX-License-Identifier: Apache-2.0
#include "incidence.hpp"

#include <algorithm>
#include <bit>
#include <numeric>

#include "drawers.hpp"
#include "require.hpp"

namespace warpfactor {
namespace {

/// Ratings as the pairs of one side.
struct OwnAndOther {
  std::span<const std::int32_t> own, other;
  std::span<const float> weights;
  std::span<const std::int32_t> own_numbers, other_numbers;

  OwnAndOther(const RatingsView& ratings, const RowNumbers& numbers, bool of_users)
      : own(of_users ? ratings.users : ratings.items),
        other(of_users ? ratings.items : ratings.users),
        weights(ratings.weights),
        own_numbers(of_users ? numbers.users : numbers.items),
        other_numbers(of_users ? numbers.items : numbers.users) {}
  [[nodiscard]] bool counts(std::size_t r) const { return weights.empty() || weights[r] > 0; }
  [[nodiscard]] std::int32_t own_row(std::size_t r) const { return numbered(own_numbers, own[r]); }
  [[nodiscard]] std::int32_t other_row(std::size_t r) const { return numbered(other_numbers, other[r]); }

  static std::int32_t numbered(std::span<const std::int32_t> numbers, std::int32_t row) {
    return numbers.empty() ? row : numbers[static_cast<std::size_t>(row)];
  }
};

/// Calls f(r, own, other) for each rating r that counts.
template <class F>
void for_each_pair(const RatingsView& ratings, const RowNumbers& numbers, bool of_users, const F& f) {
  const OwnAndOther pairs(ratings, numbers, of_users);
  for (std::size_t r = 0; r < pairs.own.size(); ++r) {
    if (pairs.counts(r)) f(r, pairs.own_row(r), pairs.other_row(r));
  }
}

IncidentRows rows_of(const RatingsView& ratings, const RatingsView& pairs, const RowNumbers& numbers, bool of_users) {
  IncidentRows side;
  side.begin.assign(static_cast<std::size_t>(of_users ? ratings.n_users : ratings.n_items) + 1, 0);
  for (const RatingsView* each : {&ratings, &pairs}) {
    for_each_pair(*each, numbers, of_users, [&](std::size_t, std::int32_t own, std::int32_t) {
      ++side.begin[static_cast<std::size_t>(own) + 1];
    });
  }
  std::partial_sum(side.begin.begin(), side.begin.end(), side.begin.begin());
  side.others = Buffer<std::int32_t>(side.begin.back());
  if (!ratings.weights.empty()) side.weights = Buffer<float>(side.begin.back());
  std::vector<std::int64_t> next(side.begin.begin(), side.begin.end() - 1);
  for (const RatingsView* each : {&ratings, &pairs}) {
    for_each_pair(*each, numbers, of_users, [&](std::size_t r, std::int32_t own, std::int32_t other) {
      const std::int64_t to = next[static_cast<std::size_t>(own)]++;
      side.others[to] = other;
      if (side.weights.size() > 0) side.weights[to] = each->weights.empty() ? 1.0F : each->weights[r];
    });
  }
  return side;
}

/// Leaves each other of a row once, the first time.
void make_distinct(IncidentRows& side, std::int32_t n_others) {
  std::vector<std::int64_t> row_of_last(static_cast<std::size_t>(n_others), -1);
  std::int64_t to = 0, begin = 0;
  for (std::int64_t row = 0; row < side.rows(); ++row) {
    const std::int64_t end = side.begin[static_cast<std::size_t>(row) + 1];
    for (std::int64_t from = begin; from < end; ++from) {
      const std::int32_t other = side.others[from];
      std::int64_t& last = row_of_last[static_cast<std::size_t>(other)];
      if (last == row) continue;
      last = row;
      side.others[to++] = other;
    }
    begin = end;
    side.begin[static_cast<std::size_t>(row) + 1] = to;
  }
  side.weights = {};
}

/// A pair of a side, on its way to the row's list.
struct Pair {
  std::int32_t own, other;
};

/// Takes others that a list has already.
class Seen {
 public:
  /// For a list of at most `n` others.
  void clear(std::int64_t n) {
    shift_ = 64 - static_cast<int>(std::bit_width(static_cast<std::uint64_t>(2 * n)));
    others_.assign(std::size_t{1} << (64 - shift_), -1);
  }
  /// Returns whether it is new.
  bool add(std::int32_t other) {
    const std::size_t last = others_.size() - 1;
    // Fibonacci hashing; at most half of the places are taken.
    std::size_t at = static_cast<std::size_t>(static_cast<std::uint64_t>(other) * 0x9e3779b97f4a7c15u >> shift_);
    while (others_[at] >= 0) {
      if (others_[at] == other) return false;
      at = (at + 1) & last;
    }
    others_[at] = other;
    return true;
  }

 private:
  std::vector<std::int32_t> others_;
  int shift_ = 0;
};

/// What sorting a drawer holds in memory for a pair: itself, its other, and at most four places in Seen.
constexpr std::int64_t kSortedPairBytes = sizeof(Pair) + sizeof(std::int32_t) + 4 * sizeof(std::int32_t);

/// The lists of some rows, from the pairs of a drawer.
class DrawerLists {
 public:
  /// The distinct others of the rows first .. last - 1; how many each has goes to `counts`.
  void sort(const Drawers<Pair>& drawers, std::int64_t drawer, std::int64_t first, std::int64_t last,
            std::int64_t* counts) {
    const std::int64_t n = drawers.records(drawer);
    if (pairs_.size() < n) pairs_ = Buffer<Pair>(n);
    if (others_.size() < n) others_ = Buffer<std::int32_t>(n);
    drawers.take(drawer, pairs_.data());
    next_.assign(static_cast<std::size_t>(last - first) + 1, 0);
    for (std::int64_t r = 0; r < n; ++r) ++next_[static_cast<std::size_t>(pairs_[r].own - first) + 1];
    std::partial_sum(next_.begin(), next_.end(), next_.begin());
    for (std::int64_t r = 0; r < n; ++r) {
      others_[next_[static_cast<std::size_t>(pairs_[r].own - first)]++] = pairs_[r].other;
    }
    size_ = 0;
    std::int64_t begin = 0;
    for (std::int64_t row = 0; row < last - first; ++row) {  // next_[row] is where row ends now
      const std::int64_t end = next_[static_cast<std::size_t>(row)], before = size_;
      if (begin < end) seen_.clear(end - begin);
      for (; begin < end; ++begin) {
        if (seen_.add(others_[begin])) others_[size_++] = others_[begin];
      }
      counts[row] = size_ - before;
    }
  }
  [[nodiscard]] std::int64_t size() const noexcept { return size_; }
  [[nodiscard]] const std::int32_t* others() const noexcept { return others_.data(); }

 private:
  Buffer<Pair> pairs_;
  Buffer<std::int32_t> others_;
  std::vector<std::int64_t> next_;
  std::int64_t size_ = 0;
  Seen seen_;
};

IncidentRows rows_in_file(const RatingSource& ratings, const RatingsView& pairs, const Survey& rated,
                          const RowNumbers& numbers, bool of_users, ThreadTeam& team) {
  const ScratchFolder& scratch = *ratings.scratch();
  const std::vector<std::uint32_t>& counts = of_users ? rated.user_counts : rated.item_counts;
  const std::span<const std::int32_t> own_numbers = of_users ? numbers.users : numbers.items;
  std::vector<std::int64_t> begin(counts.size() + 1, 0);  // with those that are not distinct
  for (std::size_t row = 0; row < counts.size(); ++row) {
    begin[static_cast<std::size_t>(OwnAndOther::numbered(own_numbers, static_cast<std::int32_t>(row))) + 1] =
        counts[row];
  }
  for_each_pair(pairs, numbers, of_users,
                [&](std::size_t, std::int32_t own, std::int32_t) { ++begin[static_cast<std::size_t>(own) + 1]; });
  std::partial_sum(begin.begin(), begin.end(), begin.begin());

  const std::int64_t most = scratch.buffer_bytes / kSortedPairBytes;
  const std::vector<std::int64_t> rows = runs_of(begin, most / team.size());  // of each drawer
  std::vector<std::int64_t> drawer_begin;
  for (const std::int64_t row : rows) drawer_begin.push_back(begin[static_cast<std::size_t>(row)]);
  std::vector<std::int32_t> drawer_of(counts.size());
  for (std::size_t drawer = 0; drawer + 1 < rows.size(); ++drawer) {
    std::fill(drawer_of.begin() + rows[drawer], drawer_of.begin() + rows[drawer + 1],
              static_cast<std::int32_t>(drawer));
  }
  begin = {};
  Drawers<Pair> drawers(scratch.path, std::move(drawer_begin));
  const auto add = [&](const RatingsView& part) {
    const OwnAndOther of(part, numbers, of_users);
    drawers.add(
        static_cast<std::int64_t>(of.own.size()),
        [&](std::size_t r) {
          return of.counts(r) ? drawer_of[static_cast<std::size_t>(of.own_row(r))] : std::int32_t{-1};
        },
        [&](std::size_t r) { return Pair{of.own_row(r), of.other_row(r)}; }, team);
  };
  ratings.for_each_part([&](const RatingsView& part, std::int64_t) { add(part); });
  add(pairs);
  drawers.close();
  drawer_of = {};

  IncidentRows side;
  side.file = ScratchFile(scratch.path);
  side.begin.assign(counts.size() + 1, 0);
  // As many drawers at a time as there are threads; then it is known where each goes.
  const std::int64_t at_once = drawers.at_once(team, kSortedPairBytes, scratch);
  std::vector<DrawerLists> lists(static_cast<std::size_t>(at_once));
  std::vector<std::int64_t> to(lists.size());
  std::int64_t written = 0;
  for (std::int64_t drawer = 0; drawer < drawers.size(); drawer += at_once) {
    const std::int64_t n = std::min(at_once, drawers.size() - drawer);
    team.run(n, [&](std::int64_t at, int) {
      const auto d = static_cast<std::size_t>(drawer + at);
      lists[static_cast<std::size_t>(at)].sort(drawers, drawer + at, rows[d], rows[d + 1],
                                               side.begin.data() + rows[d] + 1);
    });
    for (std::size_t at = 0; at < static_cast<std::size_t>(n); ++at) {
      to[at] = written;
      written += lists[at].size();
    }
    team.run(n, [&](std::int64_t at, int) {
      const DrawerLists& of = lists[static_cast<std::size_t>(at)];
      constexpr std::int64_t kBytes = sizeof(std::int32_t);
      side.file.write(to[static_cast<std::size_t>(at)] * kBytes, of.others(), of.size() * kBytes);
    });
  }
  std::partial_sum(side.begin.begin(), side.begin.end(), side.begin.begin());
  return side;
}

}  // namespace

void IncidentLists::take(const IncidentRows& rows, std::int64_t first, std::int64_t last) {
  const std::int64_t* const begin = rows.begin.data() + first;
  if (!rows.file.is_open()) {
    others_ = rows.others.data();
    begin_ = begin;
    return;
  }
  constexpr std::int64_t kBytes = sizeof(std::int32_t);
  begins_.assign(begin, begin + (last - first) + 1);
  const std::int64_t offset = begins_.front();
  for (std::int64_t& each : begins_) each -= offset;
  if (static_cast<std::int64_t>(read_.size()) < begins_.back()) read_.resize(static_cast<std::size_t>(begins_.back()));
  rows.file.read(offset * kBytes, read_.data(), begins_.back() * kBytes);
  others_ = read_.data();
  begin_ = begins_.data();
}

Incidence distinct_pairs_in_files(const RatingSource& ratings, const RatingsView& pairs, const Survey& rated,
                                  ThreadTeam& team, const RowNumbers& numbers) {
  Incidence incidence;
  incidence.users = rows_in_file(ratings, pairs, rated, numbers, true, team);
  incidence.items = rows_in_file(ratings, pairs, rated, numbers, false, team);
  return incidence;
}

Incidence distinct_pairs(const RatingsView& ratings, const RatingsView& pairs, ThreadTeam& team,
                         const RowNumbers& numbers) {
  Incidence incidence;
  team.run(2, [&](std::int64_t side, int) {
    IncidentRows& rows = side == 0 ? incidence.users : incidence.items;
    rows = rows_of(ratings, pairs, numbers, side == 0);
    make_distinct(rows, side == 0 ? ratings.n_items : ratings.n_users);
  });
  return incidence;
}

Incidence incidence_of(const RatingsView& ratings, ThreadTeam& team) {
  Incidence incidence;
  team.run(2, [&](std::int64_t side, int) {
    (side == 0 ? incidence.users : incidence.items) = rows_of(ratings, {}, {}, side == 0);
  });
  return incidence;
}

std::vector<std::int64_t> ranges_of(const std::vector<std::int64_t>& begin, std::int64_t n_others) {
  std::vector<std::int64_t> cuts{0};
  const auto n_rows = static_cast<std::int64_t>(begin.size()) - 1;
  for (std::int64_t row = 1; row <= n_rows; ++row) {
    const std::int64_t from = begin[static_cast<std::size_t>(cuts.back())];
    // An empty row costs something too.
    const std::int64_t work = begin[static_cast<std::size_t>(row)] - from + (row - cuts.back()) / 8;
    if (work >= n_others || row == n_rows) cuts.push_back(row);
  }
  return cuts;
}

std::int64_t lists_bytes(std::int64_t n_rows, std::int64_t n_others) {
  return (n_rows + 1) * static_cast<std::int64_t>(sizeof(std::int64_t)) +
         n_others * static_cast<std::int64_t>(sizeof(std::int32_t));
}

void plan_distinct_pairs(MemoryPlan& plan, const RatingCounts& counts) {
  const std::int64_t n = counts.n_ratings + counts.n_implicit,
                     weights = counts.weighted ? 2 * n * static_cast<std::int64_t>(sizeof(float)) : 0;
  if (counts.buffer_bytes > 0) {
    const auto pair = static_cast<std::int64_t>(sizeof(Pair)), other = static_cast<std::int64_t>(sizeof(std::int32_t));
    const std::int64_t most = std::min(counts.buffer_bytes / kSortedPairBytes, n);
    for (const bool users : {true, false}) {
      const std::int64_t begins = lists_bytes(counts.rows(users), 0);
      // Where each row begins and which is its drawer, and a part on its way; then the pairs of drawers.
      plan.touch("sorting", begins + counts.rows(users) * other +
                                std::min(part_ratings(counts.buffer_bytes), counts.n_ratings) * pair);
      plan.take(users ? kUserListsPart : kItemListsPart, begins);
      plan.touch("sorting", most * (pair + other));
    }
    return;
  }
  plan.take(kUserListsPart, lists_bytes(counts.n_users, n));
  plan.take(kItemListsPart, lists_bytes(counts.n_items, n));
  // Beside them where to write next, and then the row of each other's last: 8 bytes a row, both sides at once.
  plan.touch("sorting", weights + counts.all_rows() * static_cast<std::int64_t>(sizeof(std::int64_t)));
}

void plan_incidence_of(MemoryPlan& plan, const char* part, const RatingCounts& counts) {
  const std::int64_t n = counts.n_ratings, rows = counts.all_rows() * static_cast<std::int64_t>(sizeof(std::int64_t)),
                     weights = counts.weighted ? 2 * n * static_cast<std::int64_t>(sizeof(float)) : 0;
  plan.take(part, lists_bytes(counts.n_users, n) + lists_bytes(counts.n_items, n) + weights);
  plan.touch(part, rows);
}

}  // namespace warpfactor
