// SPDX-License-Identifier: Apache-2.0
// Who rated what, against plain loops.
#include "incidence.hpp"

#include <algorithm>

#include "check.hpp"
#include "synthetic.hpp"

namespace {

using namespace synthetic;

/// Many pairs come twice, some rows have none, and some ratings do not count.
struct Input {
  Data ratings, clicks;

  explicit Input(bool weighted) : ratings(60, 50, 900), clicks(60, 50, 400, 0.0, 1) {
    for (Data* data : {&ratings, &clicks}) {
      for (std::int32_t& user : data->users) user = user == 7 ? 8 : user;
      for (std::int32_t& item : data->items) item = item == 11 ? 12 : item;
    }
    if (!weighted) return;
    for (std::size_t r = 0; r < ratings.users.size(); ++r) {
      ratings.weights.push_back(r % 4 == 1 ? 0.0F : static_cast<float>(1 + r % 3));
    }
  }
  [[nodiscard]] RatingsView pairs() const {
    RatingsView view;
    view.users = clicks.users;
    view.items = clicks.items;
    return view;
  }
};

struct Entry {
  std::int32_t own, other;
  float weight;
};

/// All that count, in the order given.
std::vector<Entry> entries(const RatingsView& ratings, bool of_users) {
  std::vector<Entry> all;
  for (std::size_t r = 0; r < ratings.users.size(); ++r) {
    const float weight = ratings.weights.empty() ? 1.0F : ratings.weights[r];
    if (weight <= 0) continue;
    all.push_back(
        {of_users ? ratings.users[r] : ratings.items[r], of_users ? ratings.items[r] : ratings.users[r], weight});
  }
  return all;
}

void check_rows(const IncidentRows& rows, std::int32_t n_rows, const std::vector<Entry>& all, bool distinct) {
  CHECK_EQ(rows.rows(), n_rows);
  CHECK_EQ(rows.begin.front(), 0);
  for (std::int32_t row = 0; row < n_rows; ++row) {
    std::vector<Entry> expected;
    for (const Entry& entry : all) {
      const bool seen = std::any_of(expected.begin(), expected.end(),
                                    [&](const Entry& before) { return before.other == entry.other; });
      if (entry.own == row && !(distinct && seen)) expected.push_back(entry);
    }
    const std::int64_t begin = rows.begin[static_cast<std::size_t>(row)];
    CHECK_EQ(rows.begin[static_cast<std::size_t>(row) + 1] - begin, static_cast<std::int64_t>(expected.size()));
    for (std::size_t n = 0; n < expected.size(); ++n) {
      const std::int64_t at = begin + static_cast<std::int64_t>(n);
      CHECK_EQ(rows.others[at], expected[n].other);
      if (rows.weights.size() > 0) CHECK_EQ(rows.weights[at], expected[n].weight);
    }
  }
}

TEST(distinct_pairs_are_each_rows_others_once_in_their_first_order) {
  for (const bool weighted : {false, true}) {
    for (const bool clicked : {false, true}) {
      const Input input(weighted);
      for (const int threads : {1, 2, 5}) {
        check::context =
            std::to_string(threads) + " threads" + (weighted ? ", weighted" : "") + (clicked ? ", with pairs" : "");
        ThreadTeam team(threads);
        const Incidence found = distinct_pairs(input.ratings.view(), clicked ? input.pairs() : RatingsView{}, team);
        for (const bool of_users : {true, false}) {
          std::vector<Entry> all = entries(input.ratings.view(), of_users);
          if (clicked) {
            const std::vector<Entry> more = entries(input.pairs(), of_users);
            all.insert(all.end(), more.begin(), more.end());
          }
          check_rows(of_users ? found.users : found.items, of_users ? 60 : 50, all, true);
        }
        CHECK_EQ(found.users.weights.size(), 0);
        CHECK_EQ(found.users.begin[7], found.users.begin[8]);
        CHECK_EQ(found.items.begin[11], found.items.begin[12]);
        CHECK_EQ(found.users.begin.back(), found.items.begin.back());
      }
    }
  }
}

TEST(an_incidence_has_all_ratings_that_count_with_their_weights) {
  for (const bool weighted : {false, true}) {
    const Input input(weighted);
    for (const int threads : {1, 2, 5}) {
      check::context = std::to_string(threads) + " threads" + (weighted ? ", weighted" : "");
      ThreadTeam team(threads);
      const Incidence found = incidence_of(input.ratings.view(), team);
      check_rows(found.users, 60, entries(input.ratings.view(), true), false);
      check_rows(found.items, 50, entries(input.ratings.view(), false), false);
      CHECK_EQ(found.users.weights.size() > 0, weighted);
    }
  }
}

TEST(ranges_have_about_as_many_others_as_asked) {
  SplitMix64 random(4);
  for (const std::int64_t wanted : {1, 10, 1000}) {
    check::context = std::to_string(wanted) + " others";
    std::vector<std::int64_t> begin{0};
    for (int row = 0; row < 500; ++row) {
      const std::int64_t few = static_cast<std::int64_t>(random.below(9));
      begin.push_back(begin.back() + (row % 50 == 3 ? 3000 : row > 400 ? 0 : few));
    }
    const std::vector<std::int64_t> cuts = ranges_of(begin, wanted);
    CHECK_EQ(cuts.front(), 0);
    CHECK_EQ(cuts.back(), 500);
    for (std::size_t n = 1; n < cuts.size(); ++n) {
      CHECK(cuts[n] > cuts[n - 1]);
      // Without its last row it would have had too few; rows without others are not left to one task.
      const auto first = static_cast<std::size_t>(cuts[n - 1]), last = static_cast<std::size_t>(cuts[n]) - 1;
      CHECK(begin[last] - begin[first] < wanted);
      CHECK(cuts[n] - cuts[n - 1] <= 8 * wanted + 8);
    }
  }
}

}  // namespace
