// SPDX-License-Identifier: Apache-2.0
// The pieces that the device's kernels are made of, and the small kernels, on the host's twin of a warp.
#include <algorithm>
#include <limits>
#include <numeric>

#include "check.hpp"
#include "kernels.cuh"
#include "random.hpp"
#include "twin_device.hpp"
#include "warpfactor/types.hpp"

namespace {

using namespace warpfactor;

TEST(half_numbers_come_back_as_they_are) {
  for (std::uint32_t bits = 0; bits < 0x10000u; ++bits) {
    const Half half{static_cast<std::uint16_t>(bits)};
    const float x = to_number(half);
    if (std::isnan(x)) {
      CHECK((bits & 0x7c00u) == 0x7c00u && (bits & 0x3ffu) != 0);
      CHECK(std::isnan(to_number(to_half(x))));
    } else {
      CHECK_EQ(to_half(x).bits, half.bits);
    }
  }
  CHECK_EQ(to_number(Half{0x3c00}), 1.0f);
  CHECK_EQ(to_number(Half{0xc000}), -2.0f);
  CHECK_EQ(to_number(Half{0x0001}), 0x1p-24f);
  CHECK_EQ(to_number(Half{0x7bff}), 65504.0f);
}

TEST(floats_become_the_nearest_half_of_two_equally_near_the_even_one) {
  for (std::uint32_t bits = 0; bits < 0x7c00u - 1; ++bits) {
    const Half low{static_cast<std::uint16_t>(bits)}, high{static_cast<std::uint16_t>(bits + 1)};
    const float a = to_number(low), b = to_number(high), middle = a + (b - a) / 2;  // exact
    CHECK_EQ(to_half(middle).bits, bits % 2 == 0 ? low.bits : high.bits);
    CHECK_EQ(to_half(std::nextafter(middle, 0.0f)).bits, low.bits);
    CHECK_EQ(to_half(std::nextafter(middle, 1e9f)).bits, high.bits);
    CHECK_EQ(to_half(-middle).bits, (bits % 2 == 0 ? low.bits : high.bits) | 0x8000u);
  }
  CHECK_EQ(to_half(65519.996f).bits, 0x7bffu);
  CHECK_EQ(to_half(65520.0f).bits, 0x7c00u);
  CHECK_EQ(to_half(std::numeric_limits<float>::infinity()).bits, 0x7c00u);
  CHECK_EQ(to_half(1e-9f).bits, 0u);
}

template <class S>
void check_tiles() {
  std::int32_t held = 0;  // by the tile of the rank before
  for (std::int32_t k = 1; k <= 1024; ++k) {
    const Tile tile = tile_of<S>(k);
    const std::int32_t holds = 4 * tile.lanes * tile.quads;
    CHECK(holds >= k);
    CHECK(holds == held || held < k);  // no larger than it must be
    CHECK(rule::kWarp % tile.lanes == 0);
    const std::int64_t stride = device_stride<S>(k);
    CHECK(stride >= k && stride <= holds);
    CHECK_EQ(stride * static_cast<std::int64_t>(sizeof(S)) % 32, 0);
    held = holds;
  }
}

TEST(a_tile_holds_rows_of_its_rank_and_is_the_smallest_that_does) {
  check_tiles<Half>();
  check_tiles<float>();
  check_tiles<double>();
}

TEST(sums_over_a_tile_are_in_all_of_its_lanes) {
  using rule::HostWarp;
  const auto lanes = rule::Lanes<double>::each([](int l) { return 1.0 + l * l; });
  for (int l = 0; l < rule::kWarp; ++l) {
    double eight = 0, all = 0;
    for (int m = 0; m < rule::kWarp; ++m) {
      if (m / 8 == l / 8) eight += lanes.v[m];
      all += lanes.v[m];
    }
    CHECK_EQ((HostWarp::sum<8>(lanes)).v[l], eight);
    CHECK_EQ((HostWarp::sum<32>(lanes)).v[l], all);
  }
}

TEST(each_tile_that_wants_one_gets_a_number_of_its_own) {
  const auto wanted = rule::Lanes<bool>::each([](int l) { return l / 8 != 2; });
  std::uint32_t counter = 5;
  const auto numbers = rule::HostWarp::next<8>(&counter, wanted);
  CHECK_EQ(counter, 8u);
  for (int l = 0; l < rule::kWarp; ++l) {
    if (wanted.v[l]) CHECK_EQ(numbers.v[l], 5 + (l / 8 > 2 ? 2 : l / 8));
  }
}

TEST(pairs_are_added_up_by_warps) {
  TwinDevice device{TwinLimits{}};
  for (const std::int64_t n : {0, 1, 31, 32, 33, 1000, 4097}) {
    std::vector<double> pairs(static_cast<std::size_t>(2 * n));
    std::iota(pairs.begin(), pairs.end(), 1.0);
    std::vector<double> out(8, 100.0);
    double first = 0, second = 0;
    for (std::size_t r = 0; r < pairs.size(); r += 2) {
      first += pairs[r];
      second += pairs[r + 1];
    }
    SumArgs args{pairs.data(), n, out.data(), false};
    device.launch(Kernel::sum, Storage::f32, {32, 1}, 4, &args);
    CHECK_EQ(out[0] + out[2] + out[4] + out[6], first);
    CHECK_EQ(out[1] + out[3] + out[5] + out[7], second);
    args.more = true;
    device.launch(Kernel::sum, Storage::f32, {32, 1}, 4, &args);
    CHECK_EQ(out[1] + out[3] + out[5] + out[7], 2 * second);
  }
}

template <class A>
void check_best(std::int32_t n_columns, std::int32_t n, bool ties) {
  SplitMix64 random(static_cast<std::uint64_t>(n_columns * 7 + n));
  constexpr std::int64_t kRows = 3;
  const std::int64_t stride = n_columns + 5;
  const A infinity = std::numeric_limits<A>::infinity();
  std::vector<A> scores(static_cast<std::size_t>(kRows * stride), infinity);  // what is beyond a row must not be seen
  for (std::int64_t r = 0; r < kRows; ++r) {
    for (std::int32_t c = 0; c < n_columns; ++c) {
      A& x = scores[static_cast<std::size_t>(r * stride + c)];
      x = ties ? static_cast<A>(random.below(4)) : static_cast<A>(static_cast<double>(random.next() >> 11) * 0x1p-53);
      if (random.below(5) == 0) x = -infinity;
      if (random.below(9) == 0) x = std::numeric_limits<A>::quiet_NaN();
    }
  }
  std::vector<std::int32_t> columns(static_cast<std::size_t>(kRows * n), -7);
  std::vector<A> best(columns.size(), A(-7));
  twin_best(BestArgs<A>{scores.data(), kRows, stride, n_columns, n, columns.data(), best.data()});
  for (std::int64_t r = 0; r < kRows; ++r) {
    const A* const row = scores.data() + r * stride;
    std::vector<std::int32_t> expected;
    for (std::int32_t c = 0; c < n_columns; ++c) {
      if (row[c] > -infinity) expected.push_back(c);
    }
    std::stable_sort(expected.begin(), expected.end(), [&](std::int32_t a, std::int32_t b) { return row[a] > row[b]; });
    for (std::int32_t place = 0; place < n; ++place) {
      const auto at = static_cast<std::size_t>(r * n + place);
      if (place < static_cast<std::int32_t>(expected.size())) {
        const std::int32_t c = expected[static_cast<std::size_t>(place)];
        CHECK_EQ(columns[at], c);
        CHECK_EQ(best[at], row[c]);
      } else {
        CHECK_EQ(columns[at], -1);
        CHECK(std::isnan(best[at]));
      }
    }
  }
}

TEST(the_best_of_a_row_are_those_of_a_stable_sort) {
  for (const std::int32_t n_columns : {1, 5, 31, 32, 33, 200, 1500}) {
    for (const std::int32_t n : {1, 2, 10, 31, 32, 33, 64, 128, 129, 1000, 1024}) {
      check::context = std::to_string(n) + " of " + std::to_string(n_columns);
      check_best<float>(n_columns, n, false);
      check_best<double>(n_columns, n, true);
    }
  }
  check::context.clear();
}

TEST(a_device_without_room_says_how_much_was_asked_and_is_free) {
  TwinDevice device{TwinLimits{64, 1000, {}}};
  const DeviceBuffer<double> some(device, 100);
  CHECK_THROWS(CudaError, "400 bytes asked, 200 free", DeviceBuffer<float>(device, 100));
  CHECK_EQ(device.free_bytes(), 200);
}

}  // namespace
