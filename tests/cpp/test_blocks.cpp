// SPDX-License-Identifier: Apache-2.0
// From COO triples to the blocks that the kernels walk.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <numeric>
#include <vector>

#include "check.hpp"
#include "cpu/blocks.hpp"
#include "random.hpp"

namespace {

using namespace warpfactor;

constexpr std::int64_t kMostRows = 65536;

struct Triples {
  std::int32_t n_users, n_items;
  std::vector<std::int32_t> users, items;
  std::vector<float> values, weights;

  /// Values are the entries' numbers, so that a rating can be told from every other.
  Triples(std::int32_t users_, std::int32_t items_, std::int32_t n, bool skewed = false)
      : n_users(users_), n_items(items_) {
    SplitMix64 random(3);
    for (std::int32_t r = 0; r < n; ++r) {
      users.push_back(skewed && r % 2 == 0
                          ? users_ / 3
                          : static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(users_))));
      items.push_back(static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(items_))));
      values.push_back(static_cast<float>(r));
      weights.push_back(static_cast<float>(r % 5));
    }
  }
  [[nodiscard]] RatingsView view(bool weighted = true) const {
    return {users,   items,  values, weighted ? std::span<const float>(weights) : std::span<const float>{},
            n_users, n_items};
  }
};

BlockedRatings blocks_of(const RatingsView& ratings, Grid grid, double shift, double scale, double weight_scale,
                         std::uint64_t seed, ThreadTeam& team) {
  return make_blocks(ratings, survey(ratings, "ratings", team), grid, {shift, scale, weight_scale}, seed, team);
}

void check_partition(const RowPartition& rows, std::int64_t n_rows) {
  CHECK_EQ(static_cast<std::int64_t>(rows.position.size()), n_rows);
  CHECK_EQ(rows.begin.front(), 0);
  CHECK_EQ(static_cast<std::int64_t>(rows.begin.back()), n_rows);
  for (std::size_t b = 0; b + 1 < rows.begin.size(); ++b) {
    const std::int64_t size = static_cast<std::int64_t>(rows.begin[b + 1]) - rows.begin[b];
    CHECK(size >= 1 && size <= kMostRows);
  }
  std::vector<int> taken(rows.position.size(), 0);
  for (const std::int32_t position : rows.position) {
    CHECK(position >= 0 && position < n_rows);
    ++taken[static_cast<std::size_t>(position)];
  }
  CHECK(std::all_of(taken.begin(), taken.end(), [](int times) { return times == 1; }));
}

void check_blocks(const Triples& triples, const BlockedRatings& blocked, double shift, double scale,
                  double weight_scale) {
  check_partition(blocked.users, triples.n_users);
  check_partition(blocked.items, triples.n_items);
  const auto counts = [&](std::size_t r) { return blocked.weights.size() == 0 || triples.weights[r] > 0; };
  std::int64_t n = 0;
  for (std::size_t r = 0; r < triples.values.size(); ++r) n += counts(r) ? 1 : 0;
  CHECK_EQ(blocked.ratings.size(), n);
  CHECK_EQ(static_cast<std::int64_t>(blocked.offsets.size()),
           static_cast<std::int64_t>(blocked.users.stripes()) * blocked.items.stripes() + 1);
  CHECK_EQ(blocked.offsets.front(), 0);
  CHECK_EQ(blocked.offsets.back(), n);
  CHECK(std::is_sorted(blocked.offsets.begin(), blocked.offsets.end()));

  std::vector<int> seen(triples.values.size(), 0);
  CHECK_EQ(blocked.grouped.size() + 1, blocked.offsets.size());
  for (std::size_t block = 0; block < blocked.grouped.size(); ++block) {
    CHECK(blocked.grouped[block] % kGroup == 0 && blocked.grouped[block] >= 0);
    CHECK(blocked.grouped[block] <= blocked.offsets[block + 1] - blocked.offsets[block]);
  }
  for (std::int32_t ub = 0; ub < blocked.users.stripes(); ++ub) {
    for (std::int32_t ib = 0; ib < blocked.items.stripes(); ++ib) {
      const std::size_t block = blocked.users_outer ? blocked.block(ub, ib) : blocked.block(ib, ub);
      for (std::int64_t at = blocked.offsets[block]; at < blocked.offsets[block + 1]; ++at) {
        const Rating& rating = blocked.ratings[at];
        const auto r = static_cast<std::size_t>(std::lround(static_cast<double>(rating.value) * scale + shift));
        CHECK(r < seen.size());
        if (r >= seen.size()) return;
        ++seen[r];
        CHECK_EQ(blocked.users.position[static_cast<std::size_t>(triples.users[r])],
                 blocked.users.begin[static_cast<std::size_t>(ub)] + rating.user);
        CHECK_EQ(blocked.items.position[static_cast<std::size_t>(triples.items[r])],
                 blocked.items.begin[static_cast<std::size_t>(ib)] + rating.item);
        if (blocked.weights.size() > 0) {
          CHECK_EQ(blocked.weights[at], static_cast<float>(triples.weights[r] * weight_scale));
        }
      }
    }
  }
  for (std::size_t r = 0; r < seen.size(); ++r) CHECK_EQ(seen[r], counts(r) ? 1 : 0);
}

bool same(const BlockedRatings& a, const BlockedRatings& b) {
  return a.users.position == b.users.position && a.items.position == b.items.position && a.offsets == b.offsets &&
         a.grouped == b.grouped && a.ratings.size() == b.ratings.size() && a.weights.size() == b.weights.size() &&
         std::memcmp(a.ratings.data(), b.ratings.data(), static_cast<std::size_t>(a.ratings.size()) * sizeof(Rating)) ==
             0 &&
         std::memcmp(a.weights.data(), b.weights.data(), static_cast<std::size_t>(a.weights.size()) * sizeof(float)) ==
             0;
}

TEST(every_rating_lands_once_in_its_block) {
  for (const bool skewed : {false, true}) {
    const Triples triples(700, 300, 20000, skewed);
    for (const Grid grid : {Grid{1, 1}, Grid{3, 5}, Grid{16, 2}, Grid{700, 300}, Grid{3, 5, true, 16},
                            Grid{2, 3, false, 9}, Grid{3, 1, false, 1}}) {
      check::context = std::to_string(grid.user_stripes) + " x " + std::to_string(grid.item_stripes);
      ThreadTeam team(2);
      check_blocks(triples, blocks_of(triples.view(), grid, 0.0, 1.0, 0.5, 9, team), 0.0, 1.0, 0.5);
      check_blocks(triples, blocks_of(triples.view(false), grid, 100.0, 0.5, 1.0, 9, team), 100.0, 0.5, 1.0);
    }
  }
}

TEST(extreme_shapes_are_cut_too) {
  for (const auto& [users, items, n] : {std::tuple{1, 1, 1}, std::tuple{1, 50, 200}, std::tuple{50, 1, 200},
                                        std::tuple{1000, 1000, 3}, std::tuple{200000, 2, 1000}}) {
    check::context = std::to_string(users) + " x " + std::to_string(items) + ", " + std::to_string(n) + " ratings";
    const Triples triples(users, items, n);
    ThreadTeam team(2);
    check_blocks(
        triples,
        blocks_of(triples.view(false), choose_grid(users, items, n, 256, users >= items), 0.0, 1.0, 1.0, 0, team), 0.0,
        1.0, 1.0);
  }
}

TEST(the_layout_is_the_same_for_any_number_of_threads) {
  const Triples triples(900, 500, 6 * static_cast<std::int32_t>(ThreadTeam::kSlice) + 17);  // enough for several parts
  ThreadTeam alone(1);
  const BlockedRatings expected = blocks_of(triples.view(), {7, 5, true, 16}, 1.5, 2.0, 1.0, 11, alone);
  check_blocks(triples, expected, 1.5, 2.0, 1.0);
  for (const int threads : {2, 3, 5}) {
    check::context = std::to_string(threads) + " threads";
    ThreadTeam team(threads);
    CHECK(same(expected, blocks_of(triples.view(), {7, 5, true, 16}, 1.5, 2.0, 1.0, 11, team)));
  }
}

TEST(more_inner_rows_than_16_bits_can_number_are_cut_into_spans) {
  const Triples triples(200000, 40, 30000);
  for (const Grid grid : {Grid{5, 2, false, 16}, Grid{7, 3, false, 65536}}) {
    ThreadTeam team(2);
    check_blocks(triples, blocks_of(triples.view(false), grid, 0.0, 1.0, 1.0, 3, team), 0.0, 1.0, 1.0);
  }
}

TEST(the_layout_depends_on_the_seed) {
  const Triples triples(900, 500, 5000);
  ThreadTeam team(1);
  CHECK(!same(blocks_of(triples.view(), {7, 5}, 0.0, 1.0, 1.0, 11, team),
              blocks_of(triples.view(), {7, 5}, 0.0, 1.0, 1.0, 12, team)));
}

TEST(ratings_of_a_sorted_file_are_in_random_order_inside_a_block) {
  Triples triples(100, 100, 10000);
  ThreadTeam team(1);
  const BlockedRatings blocked = blocks_of(triples.view(false), {1, 1}, 0.0, 1.0, 1.0, 5, team);
  std::int64_t rising = 0;
  for (std::int64_t r = 1; r < blocked.ratings.size(); ++r) {
    rising += blocked.ratings[r - 1].value < blocked.ratings[r].value ? 1 : 0;
  }
  CHECK_CLOSE(static_cast<double>(rising), 5000.0, 5 * std::sqrt(10000.0 / 12));  // 5 standard deviations
}

TEST(what_were_neighbours_come_far_apart) {
  // One user's ratings after the other's, 16 each; in groups of 8 from a thousand users two of the same one are rare.
  constexpr std::int32_t kRated = 16;
  Triples triples(1000, 400, 1000 * kRated);
  for (std::size_t r = 0; r < triples.users.size(); ++r) triples.users[r] = static_cast<std::int32_t>(r) / kRated;
  for (const bool users_outer : {true, false}) {
    ThreadTeam team(1);
    const BlockedRatings blocked = blocks_of(triples.view(false), {1, 1, users_outer}, 0.0, 1.0, 1.0, 5, team);
    std::int64_t pairs = 0;
    for (std::int64_t r = 0; r < blocked.grouped[0]; ++r) {
      for (std::int64_t before = r / kGroup * kGroup; before < r; ++before) {
        pairs += blocked.ratings[r].user == blocked.ratings[before].user ? 1 : 0;
      }
    }
    CHECK_EQ(blocked.grouped[0], 1000 * kRated);
    CHECK(pairs <= 112);  // by chance 28 pairs in each of 2,000 groups, one of 1,000 users: 56
  }
}

TEST(neighbours_come_far_apart_in_many_bands_too) {
  // Sorted by the inner side, whose rows have 8 ratings each, in bands of 32 rows: by chance a group has 28 pairs of
  // ratings, of which 7 of 255 are of the same row.
  constexpr std::int32_t kRated = 8, kRows = 4000, kBandRows = 32;
  Triples triples(kRows, 3000, kRows * kRated);
  for (std::size_t r = 0; r < triples.users.size(); ++r) triples.users[r] = static_cast<std::int32_t>(r) / kRated;
  ThreadTeam team(1);
  const BlockedRatings blocked = blocks_of(triples.view(false), {1, 1, false, kBandRows}, 0.0, 1.0, 1.0, 5, team);
  std::int64_t pairs = 0;
  for (std::int64_t r = 0; r < blocked.grouped[0]; ++r) {
    for (std::int64_t before = r / kGroup * kGroup; before < r; ++before) {
      pairs += blocked.ratings[r].user == blocked.ratings[before].user ? 1 : 0;
    }
  }
  CHECK_EQ(blocked.grouped[0], kRows * kRated);
  CHECK(static_cast<double>(pairs) < 28.0 * 7 / 255 * static_cast<double>(blocked.grouped[0]) / kGroup);
}

TEST(a_block_is_worked_off_band_by_band) {
  constexpr std::int32_t kBandRows = 20;
  for (const bool users_outer : {true, false}) {
    check::context = users_outer ? "users outside" : "items outside";
    const Triples triples(400, 400, 40000);
    ThreadTeam team(1);
    const BlockedRatings blocked =
        blocks_of(triples.view(false), {2, 2, users_outer, kBandRows}, 0.0, 1.0, 1.0, 5, team);
    for (std::size_t block = 0; block < blocked.grouped.size(); ++block) {
      const std::size_t stripe = block % static_cast<std::size_t>(blocked.inner().stripes());
      const std::int32_t in_last = (blocked.inner().begin[stripe + 1] - blocked.inner().begin[stripe]) % kBandRows;
      const bool few_in_last = in_last > 0 && in_last < 3;  // of which one has more than four tenths
      CHECK(few_in_last || blocked.offsets[block + 1] - blocked.offsets[block] - blocked.grouped[block] < kGroup);
      int band = 0;
      for (std::int64_t at = blocked.offsets[block]; at < blocked.offsets[block + 1]; ++at) {
        const int own = (users_outer ? blocked.ratings[at].item : blocked.ratings[at].user) / kBandRows;
        CHECK(own >= band);
        band = own;
      }
    }
  }
}

TEST(the_rows_of_a_stripe_come_by_their_number_of_ratings) {
  std::vector<std::uint32_t> counts(300);
  for (std::size_t row = 0; row < counts.size(); ++row) counts[row] = static_cast<std::uint32_t>(row * 7 % 31);
  ThreadTeam team(2);
  const RowPartition rows = partition_rows(counts, 4, 0, kItemOrder, team);
  std::vector<std::uint32_t> by_position(counts.size());
  for (std::size_t row = 0; row < counts.size(); ++row) {
    by_position[static_cast<std::size_t>(rows.position[row])] = counts[row];
  }
  for (std::size_t b = 0; b + 1 < rows.begin.size(); ++b) {
    CHECK(
        std::is_sorted(by_position.begin() + rows.begin[b], by_position.begin() + rows.begin[b + 1], std::greater<>()));
  }
}

std::int64_t grouped_of(const Triples& triples, Grid grid) {
  ThreadTeam team(1);
  const BlockedRatings blocked = blocks_of(triples.view(false), grid, 0.0, 1.0, 1.0, 5, team);
  return std::accumulate(blocked.grouped.begin(), blocked.grouped.end(), std::int64_t{0});
}

TEST(the_ratings_of_an_even_matrix_are_in_groups) {
  const std::int64_t grouped = grouped_of(Triples(400, 200, 20000), {2, 2});
  CHECK(grouped > 20000 - 4 * kGroup && grouped <= 20000);
}

TEST(ratings_most_of_which_are_of_few_rows_are_in_no_group) {
  CHECK_EQ(grouped_of(Triples(1000, 1, 5000), {1, 1}), 0);
  CHECK_EQ(grouped_of(Triples(1, 1000, 5000), {1, 1}), 0);
  CHECK_EQ(grouped_of(Triples(2, 1000, 5000), {1, 1}), 0);
  CHECK_EQ(grouped_of(Triples(8, 8, 7), {1, 1}), 0);
}

TEST(a_row_with_half_of_the_ratings_takes_only_its_stripe_or_band_out_of_the_groups) {
  const Triples triples(200, 100, 8000, true);  // a user
  CHECK_EQ(grouped_of(triples, {1, 1}), 0);
  const std::int64_t others = 4000 / 200 * 199;
  for (const Grid grid : {Grid{4, 1, true}, Grid{1, 1, false, 10}}) {  // its stripe of four; its band of twenty
    const std::int64_t grouped = grouped_of(triples, grid);
    CHECK(grouped > others / 2 && grouped < others);
    ThreadTeam team(1);
    const BlockedRatings blocked = blocks_of(triples.view(false), grid, 0.0, 1.0, 1.0, 5, team);
    check_blocks(triples, blocked, 0.0, 1.0, 1.0);
    for (std::size_t block = 0; block < blocked.grouped.size(); ++block) {
      for (std::int64_t at = blocked.offsets[block]; at < blocked.offsets[block] + blocked.grouped[block]; ++at) {
        CHECK(triples.users[static_cast<std::size_t>(blocked.ratings[at].value)] != 200 / 3);
      }
    }
  }
}

TEST(the_side_with_the_heaviest_row_is_the_inner_one) {
  Survey rated;
  rated.user_counts = {1, 2, 3, 4};
  rated.item_counts = {9, 1};
  CHECK(users_are_outer(rated));
  rated.user_counts = {1, 9, 0, 0};
  rated.item_counts = {5, 5};
  CHECK(!users_are_outer(rated));
}

TEST(a_stripe_never_holds_more_rows_than_16_bits_can_number) {
  for (const std::int32_t wanted : {1, 2, 7}) {
    ThreadTeam team(2);
    const RowPartition rows = partition_rows(std::vector<std::uint32_t>(200001, 1), wanted, 0, kUserOrder, team);
    check_partition(rows, 200001);
    CHECK(rows.stripes() >= 4);
  }
}

TEST(stripes_have_similar_shares_even_with_a_row_that_holds_half_of_the_ratings) {
  constexpr std::int32_t kStripes = 10;
  std::vector<std::uint32_t> counts(5000, 10);
  counts[1234] = 50000;
  ThreadTeam team(2);
  const RowPartition rows = partition_rows(counts, kStripes, 4, kItemOrder, team);
  check_partition(rows, 5000);
  CHECK_EQ(rows.stripes(), kStripes);
  std::vector<std::int64_t> ratings(kStripes, 0);
  for (std::size_t row = 0; row < counts.size(); ++row) {
    if (row == 1234) continue;
    const auto next = std::upper_bound(rows.begin.begin(), rows.begin.end(), rows.position[row]);
    ratings[static_cast<std::size_t>(next - rows.begin.begin() - 1)] += counts[row];
  }
  // By size the other rows are 0.6 (0.8 of the ratings' half, 0.2 of the rows) and the big one is 0.8; a stripe before
  // it takes a tenth of both, so up to 0.14 / 0.6 of the others' ratings.
  CHECK(static_cast<double>(*std::max_element(ratings.begin(), ratings.end())) <= 50000 * 0.14 / 0.6 * 1.01);
}

TEST(the_grid_fits_the_rows) {
  for (const std::int32_t n_users : {1, 2, 100, 70000, 3000000, 2000000000}) {
    for (const std::int32_t n_items : {1, 3, 1000, 500000}) {
      for (const std::int64_t n_ratings : {std::int64_t{1}, std::int64_t{100000}, std::int64_t{1000000000}}) {
        for (const std::int64_t row_bytes : {64, 256, 8192}) {
          const Grid grid = choose_grid(n_users, n_items, n_ratings, row_bytes, true);
          check::context = std::to_string(n_users) + " x " + std::to_string(n_items) + ", " + std::to_string(n_ratings);
          CHECK(grid.user_stripes >= 1 && grid.user_stripes <= n_users);
          CHECK(grid.item_stripes >= 1 && grid.item_stripes <= n_items);
          CHECK(grid.user_stripes <= kMostRows && grid.item_stripes <= kMostRows);  // stripes have 16-bit numbers too
          // Big enough for 16-bit rows where stripes are even, with room to spare.
          // Blocks are worth their counters, unless 16-bit rows need them.
          const std::int64_t blocks = static_cast<std::int64_t>(grid.user_stripes) * grid.item_stripes;
          CHECK(blocks <=
                std::max<std::int64_t>(1, n_ratings / 256) + (n_users / 32768 + 1LL) * (n_items / 32768 + 1LL) +
                    (n_users / 32768 + 1LL) * grid.item_stripes + (n_items / 32768 + 1LL) * grid.user_stripes);
          CHECK(n_users / grid.user_stripes <= kMostRows && n_items / grid.item_stripes <= kMostRows);
        }
      }
    }
  }
}

TEST(an_interrupted_team_leaves_the_next_one_usable) {
  const Triples triples(100, 100, 2 * static_cast<std::int32_t>(ThreadTeam::kSlice));
  ThreadTeam team(2);
  CHECK_THROWS(std::runtime_error, "stop", team.run(8, [](std::int64_t task, int) {
    if (task == 3) throw std::runtime_error("stop");
  }));
  check_blocks(triples, blocks_of(triples.view(), {2, 2}, 0.0, 1.0, 1.0, 1, team), 0.0, 1.0, 1.0);
}

}  // namespace
