// SPDX-License-Identifier: Apache-2.0
// Ratings -> waves, tasks and segments for a device.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <stdexcept>
#include <tuple>
#include <type_traits>
#include <utility>

#include "check.hpp"
#include "device/device_plan.hpp"
#include "device/device_ratings.hpp"
#include "device/prepare.hpp"
#include "device/sum_plan.hpp"
#include "device/tuning.hpp"
#include "epoch_order.hpp"
#include "incidence.hpp"
#include "synthetic.hpp"
#include "twin_device.hpp"

namespace {

using namespace synthetic;

struct Planned {
  PassPlan plan;
  Survey rated;
};

Planned plan_of(const RatingsView& ratings, Parallel parallel, std::uint64_t seed = 0, int threads = 2) {
  ThreadTeam team(threads, {});
  Survey rated = survey(ratings, "ratings", team);
  Standardization z;
  z.shift = 3;
  z.scale = 0.5;
  z.weight_scale = 2;
  return {make_pass_plan(ratings, rated, z, parallel, seed, team), rated};
}

using Triple = std::tuple<std::int32_t, std::int32_t, float, float>;  // user, item, value, weight

/// Each task's ratings, by wave.
std::vector<std::vector<std::vector<Triple>>> unrolled(const PassPlan& plan) {
  std::vector<std::vector<std::vector<Triple>>> waves;
  for (std::int64_t w = 0; w < plan.n_waves(); ++w) {
    const PassPlan::Wave& wave = plan.waves[static_cast<std::size_t>(w)];
    const std::uint32_t *const tasks = plan.task_begin.data() + wave.first_task, *const segments =
                                                                                     plan.segment_begin.data() +
                                                                                     wave.first_segment;
    auto& of_wave = waves.emplace_back();
    for (std::int64_t t = 0; t < plan.n_tasks(w); ++t) {
      auto& task = of_wave.emplace_back();
      // Only with blocked, where a task is a place in the wave, are some empty.
      CHECK(tasks[t] < tasks[t + 1] || (tasks[t] == tasks[t + 1] && plan.n_tasks(w) == plan.n_waves()));
      for (std::uint32_t s = tasks[t]; s < tasks[t + 1]; ++s) {
        const std::int32_t own = plan.segment_rows[static_cast<std::size_t>(wave.first_segment + s)];
        CHECK(segments[s] < segments[s + 1]);
        for (std::uint32_t e = segments[s]; e < segments[s + 1]; ++e) {
          const Entry entry = plan.entries[wave.first_entry + e];
          const float weight = plan.weights.size() > 0 ? plan.weights[wave.first_entry + e] : 1.0f;
          task.emplace_back(plan.users_own ? own : entry.other, plan.users_own ? entry.other : own, entry.value,
                            weight);
        }
      }
    }
  }
  return waves;
}

std::vector<Triple> sorted_triples(const PassPlan& plan) {
  std::vector<Triple> all;
  for (const auto& wave : unrolled(plan)) {
    for (const auto& task : wave) all.insert(all.end(), task.begin(), task.end());
  }
  std::sort(all.begin(), all.end());
  return all;
}

void check_all_there(const Data& data, Parallel parallel) {
  const Planned planned = plan_of(data.view(), parallel);
  std::vector<Triple> expected;
  for (std::size_t r = 0; r < data.values.size(); ++r) {
    const float weight = data.weights.empty() ? 1.0f : 2 * data.weights[r];
    if (weight > 0) expected.emplace_back(data.users[r], data.items[r], (data.values[r] - 3) / 0.5f, weight);
  }
  std::sort(expected.begin(), expected.end());
  const std::vector<Triple> found = sorted_triples(planned.plan);
  CHECK_EQ(found.size(), expected.size());
  for (std::size_t r = 0; r < std::min(found.size(), expected.size()); ++r) {
    CHECK_EQ(std::get<0>(found[r]), std::get<0>(expected[r]));
    CHECK_EQ(std::get<1>(found[r]), std::get<1>(expected[r]));
    CHECK_CLOSE(std::get<2>(found[r]), std::get<2>(expected[r]), 1e-5);
    CHECK_EQ(std::get<3>(found[r]), std::get<3>(expected[r]));
  }
  CHECK_EQ(planned.plan.task_begin.size(), static_cast<std::size_t>(planned.plan.waves.back().first_task));
  CHECK_EQ(planned.plan.segment_begin.size(), planned.plan.segment_rows.size());
  CHECK_EQ(planned.plan.entries.size(), planned.plan.waves.back().first_entry);
}

std::vector<Data> shapes() {
  std::vector<Data> all{Data(300, 200, 20000, 0.3), Data(5, 3000, 8000), Data(3000, 5, 8000), Data(1, 50, 400),
                        Data(50, 1, 400),           Data(1, 1, 30),      Data(40, 40, 1)};
  Data hot(400, 300, 12000);
  for (std::size_t r = 0; r < hot.items.size(); r += 2) hot.items[r] = 7;
  all.push_back(hot);
  Data weighted(200, 100, 5000);
  for (std::size_t r = 0; r < weighted.values.size(); ++r) weighted.weights.push_back(static_cast<float>(r % 4));
  all.push_back(weighted);
  return all;
}

/// The host's plan and the same made on the twin, from ratings that go up in several pieces.
void check_made_on_device(const Data& data, Parallel parallel, std::uint64_t seed, std::optional<Stream> late) {
  const RatingsView ratings = data.view();
  ThreadTeam team(2, {});
  const Survey rated = survey(ratings, "ratings", team);
  Standardization z;
  z.shift = 3.1;
  z.scale = 0.7;
  z.weight_scale = 1.3;
  const PlanTables tables = make_plan_tables(rated, parallel, seed, team);
  const PassPlan plan = make_pass_plan(ratings, rated, z, tables, team);
  TwinLimits limits;
  limits.late = late;
  TwinDevice device(limits);
  DeviceMemory memory(device, 0);
  const std::int64_t before = memory.left();
  {
    Staging staging(device, 1 << 16);
    DeviceRatings given(device, memory, ratings, "ratings", staging, team);
    const Survey taken = given.survey();
    CHECK(taken.user_counts == rated.user_counts && taken.item_counts == rated.item_counts);
    CHECK_EQ(taken.counted, rated.counted);
    CHECK(taken.mean == rated.mean && taken.deviation == rated.deviation && taken.weight == rated.weight);
    CHECK(taken.low == rated.low && taken.high == rated.high);
    std::optional<PlanOnDevice> made = given.plan(tables, z, 0, 0);
    CHECK(made.has_value());
    if (!made) return;
    const auto check_same = [](const auto& buffer, const auto& expected, std::int64_t size) {
      CHECK_EQ(buffer.size(), size);
      if (buffer.size() != size || size == 0) return;
      std::vector<char> found(static_cast<std::size_t>(buffer.bytes()));
      buffer.download(reinterpret_cast<std::remove_cvref_t<decltype(*buffer.data())>*>(found.data()));
      CHECK(std::memcmp(found.data(), expected.data(), found.size()) == 0);
    };
    check_same(made->arrays.entries, plan.entries, plan.entries.size());
    check_same(made->arrays.weights, plan.weights, plan.weights.size());
    check_same(made->arrays.segment_rows, plan.segment_rows, static_cast<std::int64_t>(plan.segment_rows.size()));
    check_same(made->arrays.segment_begin, plan.segment_begin, static_cast<std::int64_t>(plan.segment_begin.size()));
    check_same(made->arrays.task_begin, plan.task_begin, static_cast<std::int64_t>(plan.task_begin.size()));
    CHECK_EQ(made->plan.users_own, plan.users_own);
    CHECK_EQ(made->plan.max_tiles, plan.max_tiles);
    CHECK_EQ(made->plan.waves.size(), plan.waves.size());
    for (std::size_t w = 0; w < std::min(plan.waves.size(), made->plan.waves.size()); ++w) {
      CHECK_EQ(made->plan.waves[w].first_entry, plan.waves[w].first_entry);
      CHECK_EQ(made->plan.waves[w].first_segment, plan.waves[w].first_segment);
      CHECK_EQ(made->plan.waves[w].first_task, plan.waves[w].first_task);
    }
    memory.give_back(made->arrays.entries);
    memory.give_back(made->arrays.weights);
    memory.give_back(made->arrays.segment_rows);
    memory.give_back(made->arrays.segment_begin);
    memory.give_back(made->arrays.task_begin);
  }
  CHECK_EQ(memory.left(), before);
}

TEST(a_device_makes_the_plan_of_the_host_to_the_bit) {
  std::vector<Data> all = shapes();
  Data sparse(2000, 1500, 900);  // most rows are empty
  all.push_back(sparse);
  Data sorted(300, 200, 20000);  // as files are
  std::sort(sorted.users.begin(), sorted.users.end());
  all.push_back(sorted);
  Data alone(600, 400, 15000);  // one row has all ratings of a side, and rows before and after it have none
  std::fill(alone.users.begin(), alone.users.end(), 311);
  all.push_back(alone);
  // As many rows as the bits of a turn can number.
  for (const auto& [n_users, n_items] : {std::pair{512, 256}, {64, 300}, {300, 64}, {2, 400}, {400, 2}}) {
    all.emplace_back(n_users, n_items, 8000);
  }
  for (const Data& data : all) {
    for (const Parallel parallel : {Parallel::blocked, Parallel::hogwild}) {
      for (const std::uint64_t seed : {0, 1, 77}) {
        check::context = std::to_string(data.n_users) + " x " + std::to_string(data.n_items) + ", " +
                         (parallel == Parallel::blocked ? "blocked" : "hogwild") + ", seed " + std::to_string(seed);
        check_made_on_device(data, parallel, seed, std::nullopt);
      }
      check_made_on_device(data, parallel, 5, Stream::copy);
      check_made_on_device(data, parallel, 5, Stream::compute);
    }
  }
  check::context.clear();
}

TEST(a_device_lists_who_rated_what_as_the_host_does) {
  std::vector<Data> all = shapes();  // of which most have pairs that occur more than once
  all.emplace_back(2000, 1500, 900);
  for (const Data& data : all) {
    for (const std::optional<Stream>& late : std::vector<std::optional<Stream>>{{}, Stream::copy, Stream::compute}) {
      check::context = std::to_string(data.n_users) + " x " + std::to_string(data.n_items);
      const RatingsView ratings = data.view();
      ThreadTeam team(2, {});
      const Incidence expected = distinct_pairs(ratings, {}, team);
      TwinLimits limits;
      limits.late = late;
      TwinDevice device(limits);
      DeviceMemory memory(device, 0);
      const std::int64_t before = memory.left();
      Staging staging(device, 1 << 16);
      {
        DeviceRatings given(device, memory, ratings, "ratings", staging, team);
        std::optional<ListsOnDevice> lists = given.lists();
        CHECK(lists.has_value());
        if (!lists) continue;
        for (const bool users : {true, false}) {
          const IncidentRows& rows = users ? expected.users : expected.items;
          DeviceBuffer<std::int32_t>& others = users ? lists->users : lists->items;
          CHECK((users ? lists->user_begin : lists->item_begin) == rows.begin);
          std::vector<std::int32_t> found(static_cast<std::size_t>(others.size()));
          others.download(found.data());
          CHECK(static_cast<std::int64_t>(found.size()) >= rows.begin.back());
          CHECK(std::equal(found.begin(), found.begin() + rows.begin.back(), rows.others.data()));
          memory.give_back(others);
        }
      }
      CHECK_EQ(memory.left(), before);
    }
  }
  check::context.clear();
}

TEST(a_device_without_room_to_sort_leaves_the_plan_to_the_host) {
  const Data data(300, 200, 20000);
  const RatingsView ratings = data.view();
  ThreadTeam team(2, {});
  const Survey rated = survey(ratings, "ratings", team);
  const PlanTables tables = make_plan_tables(rated, Parallel::hogwild, 0, team);
  TwinDevice device(TwinLimits{});
  const std::int64_t given = DeviceRatings::given_bytes(20000, false);
  std::set<bool> made;
  for (std::int64_t more = 0; more <= 60 * 20000; more += 3 * 20000) {
    DeviceMemory memory(device, given + 2000 + more);
    const std::int64_t before = memory.left();
    Staging staging(device, 1 << 16);
    DeviceRatings on_device(device, memory, ratings, "ratings", staging, team);
    twin_most_taken = 0;
    const auto plan = on_device.plan(tables, Standardization{}, 0, 0);
    CHECK(twin_most_taken <= before);
    made.insert(plan.has_value());
    if (!plan) CHECK_EQ(memory.left(), before);
  }
  CHECK_EQ(made.size(), 2u);
}

TEST(memory_that_others_take_meanwhile_leaves_the_plan_to_the_host) {
  const Data data(300, 200, 20000);
  const RatingsView ratings = data.view();
  ThreadTeam team(2, {});
  const PlanTables tables = make_plan_tables(survey(ratings, "ratings", team), Parallel::hogwild, 0, team);
  std::set<bool> planned, listed;
  for (std::int64_t others = 0; others < 55 * 20000; others += 2 * 20000) {
    TwinLimits limits;
    limits.bytes = 4000000;
    TwinDevice device(limits);
    DeviceMemory memory(device, 0);
    Staging staging(device, 1 << 16);
    DeviceRatings given(device, memory, ratings, "ratings", staging, team);
    const std::int64_t before = memory.left();
    void* const taken = device.allocate(device.free_bytes() - 55 * 20000 + others);
    std::optional<ListsOnDevice> lists = given.lists();
    listed.insert(lists.has_value());
    if (!lists) CHECK_EQ(memory.left(), before);
    if (lists) {
      memory.give_back(lists->users);
      memory.give_back(lists->items);
    }
    const auto plan = given.plan(tables, Standardization{}, 0, 0);
    planned.insert(plan.has_value());
    if (!plan) CHECK_EQ(memory.left(), before + DeviceRatings::given_bytes(20000, false));
    device.release(taken);
  }
  CHECK_EQ(planned.size(), 2u);
  CHECK_EQ(listed.size(), 2u);
}

TEST(a_device_refuses_the_ratings_that_a_survey_refuses) {
  Data data(300, 200, 20000);
  ThreadTeam team(2, {});
  TwinDevice device(TwinLimits{});
  DeviceMemory memory(device, 0);
  const std::int64_t before = memory.left();
  Staging staging(device, 1 << 16);
  const auto refused = [&](const char* text) {
    CHECK_THROWS(std::invalid_argument, text, survey(data.view(), "ratings", team));
    CHECK_THROWS(std::invalid_argument, text, DeviceRatings(device, memory, data.view(), "ratings", staging, team));
    CHECK_EQ(memory.left(), before);
  };
  const auto with = [&](auto& of, auto bad, const char* text) {
    const auto good = std::exchange(of, bad);
    refused(text);
    of = good;
  };
  with(data.users[15000], 300, "ratings.users[15000] is 300");
  with(data.items[19999], -1, "ratings.items[19999] is -1");
  with(data.values[0], std::numeric_limits<float>::quiet_NaN(), "ratings.values[0] is nan");
  data.weights.assign(20000, 0.0F);
  refused("weights are all 0");
  with(data.weights[3], -1.0F, "ratings.weights[3] is -1");
}

TEST(ratings_of_a_row_come_in_random_order) {
  // Given with rising values, half of a row's neighbours still rise, as in any random order.
  Data data(1, 400, 100000);
  for (std::size_t r = 0; r < data.values.size(); ++r) data.values[r] = static_cast<float>(r);
  for (const Parallel parallel : {Parallel::blocked, Parallel::hogwild}) {
    const PassPlan plan = plan_of(data.view(), parallel).plan;
    const auto own = [&](const Triple& rating) { return plan.users_own ? std::get<0>(rating) : std::get<1>(rating); };
    std::int64_t rising = 0, all = 0;
    for (const auto& wave : unrolled(plan)) {
      for (const auto& task : wave) {
        for (std::size_t r = 1; r < task.size(); ++r) {
          if (own(task[r]) != own(task[r - 1])) continue;
          rising += std::get<2>(task[r]) > std::get<2>(task[r - 1]) ? 1 : 0;
          ++all;
        }
      }
    }
    // The rises of n neighbours in random order have the mean n / 2 and the variance n / 12: six deviations.
    const auto n = static_cast<double>(all);
    CHECK(n > 90000);
    CHECK(std::abs(static_cast<double>(rising) - n / 2) < 6 * std::sqrt(n / 12));
  }
}

TEST(every_rating_is_in_one_task_of_one_wave) {
  for (const Data& data : shapes()) {
    for (const Parallel parallel : {Parallel::blocked, Parallel::hogwild}) {
      check::context = std::to_string(data.n_users) + " x " + std::to_string(data.n_items);
      check_all_there(data, parallel);
    }
  }
  check::context.clear();
}

TEST(two_tasks_of_a_wave_share_no_row_of_the_own_side_and_with_blocked_none_of_the_other) {
  for (const Data& data : shapes()) {
    for (const Parallel parallel : {Parallel::blocked, Parallel::hogwild}) {
      const Planned planned = plan_of(data.view(), parallel);
      for (const auto& wave : unrolled(planned.plan)) {
        std::map<std::int32_t, std::size_t> own_task, other_task;
        for (std::size_t t = 0; t < wave.size(); ++t) {
          for (const auto& [user, item, value, weight] : wave[t]) {
            const std::int32_t own = planned.plan.users_own ? user : item, other = planned.plan.users_own ? item : user;
            CHECK_EQ(own_task.try_emplace(own, t).first->second, t);
            if (parallel == Parallel::blocked) CHECK_EQ(other_task.try_emplace(other, t).first->second, t);
          }
        }
      }
    }
  }
}

TEST(in_a_task_the_ratings_of_a_row_come_together) {
  const Data data(300, 200, 20000);
  for (const auto& wave : unrolled(plan_of(data.view(), Parallel::hogwild).plan)) {
    for (const auto& task : wave) {
      std::set<std::int32_t> over;
      for (std::size_t r = 1; r < task.size(); ++r) {
        if (std::get<0>(task[r]) != std::get<0>(task[r - 1])) over.insert(std::get<0>(task[r - 1]));
        CHECK(!over.contains(std::get<0>(task[r])));
      }
    }
  }
}

TEST(the_plan_depends_on_the_seed_and_not_on_the_threads) {
  Data data(3000, 2000, 300000);
  for (const Parallel parallel : {Parallel::blocked, Parallel::hogwild}) {
    const auto alone = unrolled(plan_of(data.view(), parallel, 5, 1).plan);
    CHECK(alone == unrolled(plan_of(data.view(), parallel, 5, 4).plan));
    CHECK(alone != unrolled(plan_of(data.view(), parallel, 6, 1).plan));
  }
}

TEST(the_waves_of_an_epoch_are_all_waves_in_another_order) {
  std::vector<std::int32_t> first = shuffled(100, 3, 0), second = shuffled(100, 3, 1);
  CHECK(first != second);
  CHECK(first == shuffled(100, 3, 0));
  std::sort(first.begin(), first.end());
  std::sort(second.begin(), second.end());
  CHECK(first == second);
  CHECK_EQ(first.front(), 0);
  CHECK_EQ(first.back(), 99);
}

TEST(few_tiles_take_a_popular_row_at_once) {
  Data data(3000, 200, 200000);
  CHECK_EQ(plan_of(data.view(), Parallel::hogwild).plan.max_tiles, 200000 / kRatingsOfTile);
  Data popular(3000, 200, 1000000);
  for (std::size_t r = 0; r < popular.items.size(); r += 2) popular.items[r] = 0;
  const std::int64_t most = plan_of(popular.view(), Parallel::hogwild).plan.max_tiles;
  CHECK(most >= 120 && most <= 128);  // 64 of them on the item that has half of the ratings
}

TEST(tiles_get_as_many_tasks_each_of_about_the_same_work) {
  for (const std::int64_t tiles : {1, 7, 100, 4000}) {
    const std::int64_t limit = task_work(120000, 3000, tiles), work = 120000 + 3 * 3000;
    CHECK(limit >= kLeastTaskRatings && limit <= std::max(kLeastTaskRatings, kMostTaskRatings));
    const std::int64_t tasks = (work + limit - 1) / limit, of_tile = (tasks + tiles - 1) / tiles;
    if (limit > kLeastTaskRatings) CHECK(of_tile * tiles - tasks < of_tile + tiles * of_tile / 16);
  }
  const Data data(3000, 2000, 300000);
  const Planned planned = plan_of(data.view(), Parallel::hogwild);
  for (std::int64_t w = 0; w < planned.plan.n_waves(); ++w) {
    // No task is left for a second round, and hardly a tile without one.
    CHECK(planned.plan.n_tasks(w) % planned.plan.max_tiles == 0 ||
          planned.plan.n_tasks(w) % planned.plan.max_tiles > planned.plan.max_tiles * 3 / 4);
  }
}

TEST(a_wave_of_blocked_has_a_task_for_each_stripe) {
  for (const Data& data : shapes()) {
    const PassPlan plan = plan_of(data.view(), Parallel::blocked).plan;
    for (std::int64_t w = 0; w < plan.n_waves(); ++w) CHECK_EQ(plan.n_tasks(w), plan.n_waves());
  }
}

TEST(chunks_are_all_tasks_in_order_and_fit) {
  Data data(900, 700, 60000);
  for (std::size_t r = 0; r < data.values.size(); ++r) data.weights.push_back(1.0f);
  const PassPlan plan = plan_of(data.view(), Parallel::hogwild).plan;
  const std::int64_t whole = make_chunks(plan, std::int64_t{1} << 40)[0].bytes(true);
  for (const std::int64_t most : {whole, whole / 2, whole / 5, std::int64_t{16000}}) {
    const std::vector<Chunk> chunks = make_chunks(plan, most);
    std::size_t n = 0;
    for (std::int64_t w = 0; w < plan.n_waves(); ++w) {
      const PassPlan::Wave &wave = plan.waves[static_cast<std::size_t>(w)],
                           &next = plan.waves[static_cast<std::size_t>(w) + 1];
      std::int64_t task = 0, segment = 0, entry = 0;
      for (; n < chunks.size() && chunks[n].wave == w; ++n) {
        CHECK_EQ(chunks[n].first_task, task);
        CHECK_EQ(chunks[n].first_segment, segment);
        CHECK_EQ(chunks[n].first_entry, entry);
        CHECK(chunks[n].n_tasks > 0);
        CHECK(chunks[n].bytes(true) <= most);
        task += chunks[n].n_tasks;
        segment += chunks[n].n_segments;
        entry += chunks[n].n_entries;
      }
      CHECK_EQ(task, plan.n_tasks(w));
      CHECK_EQ(segment, next.first_segment - wave.first_segment - 1);
      CHECK_EQ(entry, next.first_entry - wave.first_entry);
    }
    CHECK_EQ(n, chunks.size());
  }
  CHECK_THROWS(CudaError, "bytes", make_chunks(plan, 1000));
}

TEST(chunks_of_batches_are_all_rows_in_order_and_fit) {
  const Data data(900, 70, 30000);
  ThreadTeam team(2, {});
  const BatchInput<float> input{data.users, data.items, data.values};
  const Batches<float> batches = make_batches<float>(input, 9000, 3, team);
  for (const std::int64_t most : {std::int64_t{1} << 30, std::int64_t{40000}, std::int64_t{25000}}) {
    const auto chunks = make_batch_chunks(batches, most);
    CHECK_EQ(static_cast<std::int64_t>(chunks.size()), batches.n_batches);
    for (std::size_t b = 0; b < chunks.size(); ++b) {
      std::size_t n = 0;
      for (const bool of_users : {true, false}) {
        const auto& side = of_users ? batches.users : batches.items;
        const auto row_at = [&](std::size_t batch) {
          return side.tasks[static_cast<std::size_t>(side.batch_tasks[batch])];
        };
        std::int64_t row = row_at(b), entry = side.begin[static_cast<std::size_t>(row)];
        for (; n < chunks[b].size() && chunks[b][n].of_users == of_users; ++n) {
          const BatchChunk& chunk = chunks[b][n];
          CHECK_EQ(chunk.first_row, row);
          CHECK_EQ(chunk.first_entry, entry);
          CHECK(chunk.n_rows > 0);
          CHECK(chunk.bytes(sizeof(float), false) <= most);
          row += chunk.n_rows;
          entry += chunk.n_entries;
          CHECK_EQ(side.begin[static_cast<std::size_t>(row)], entry);
        }
        CHECK_EQ(row, row_at(b + 1));
      }
      CHECK_EQ(n, chunks[b].size());
    }
  }
  CHECK_THROWS(CudaError, "bytes", make_batch_chunks(batches, 1000));
}

TEST(lists_are_cut_into_parts_of_a_few_hundred_others) {
  IncidentRows side;
  side.begin = {0};
  for (const std::int64_t n : std::vector<std::int64_t>{0, 3, kPartOthers, kPartOthers + 1, 0, 5 * kPartOthers, 1}) {
    side.begin.push_back(side.begin.back() + n);
  }
  const SumPlan plan = make_sum_plan(side);
  const std::int64_t n_parts = 1 + 1 + 1 + 2 + 1 + 5 + 1;
  CHECK_EQ(plan.n_parts(), n_parts);
  CHECK_EQ(plan.begin.size(), static_cast<std::size_t>(n_parts) + 1);
  CHECK_EQ(plan.begin.back(), side.begin.back());
  CHECK(plan.long_rows == (std::vector<std::int32_t>{3, 5}));
  CHECK(plan.long_begin == (std::vector<std::int64_t>{0, 2, 7}));
  CHECK_EQ(plan.n_long_parts(), 7);
  std::int32_t n_long = 0;
  for (std::size_t part = 0; part < plan.to.size(); ++part) {
    const std::int64_t size = plan.begin[part + 1] - plan.begin[part];
    CHECK(size <= kPartOthers);
    if (plan.to[part] >= 0) {  // the whole list
      const auto row = static_cast<std::size_t>(plan.to[part]);
      CHECK_EQ(plan.begin[part], side.begin[row]);
      CHECK_EQ(plan.begin[part + 1], side.begin[row + 1]);
    } else {
      CHECK_EQ(plan.to[part], ~n_long++);
    }
  }
  for (const std::int64_t most : {kPartOthers, 2 * kPartOthers + 1, 100 * kPartOthers}) {
    const std::vector<std::int64_t> cuts = chunks_of(plan, most);
    CHECK_EQ(cuts.front(), 0);
    CHECK_EQ(cuts.back(), plan.n_parts());
    for (std::size_t n = 0; n + 1 < cuts.size(); ++n) {
      const auto first = static_cast<std::size_t>(cuts[n]), end = static_cast<std::size_t>(cuts[n + 1]);
      CHECK(first < end && plan.begin[end] - plan.begin[first] <= most);
    }
    if (most == 100 * kPartOthers) CHECK_EQ(cuts.size(), 2u);
  }
}

}  // namespace
