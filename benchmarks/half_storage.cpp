// SPDX-License-Identifier: Apache-2.0
// Plain SGD with the rows of factors stored as float, half or bfloat16, and arithmetic in float: does storage of half
// the bytes pay on this processor, and what does it cost in quality? half_storage.py writes the ratings, runs this and
// prints the table.
//
//   warpfactor_half_storage FOLDER N_USERS N_ITEMS N_FACTORS N_EPOCHS RATE REG REG_BIAS THREADS
//
// FOLDER holds train and test ratings as {train,test}_{users,items,values}.bin: int32, int32, float32. For each variant
// it prints a line: name, M updates/s of the median epoch, test RMSE. The variants take turns epoch by epoch.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <numbers>
#include <string>
#include <vector>

#define WARPFACTOR_RULE_NAMESPACE half_storage
#include "cpu/vec.hpp"

#include "cpu/block_pass.hpp"
#include "cpu/blocks.hpp"
#include "cpu/kernel_table.hpp"
#include "epoch_order.hpp"
#include "random.hpp"
#include "survey.hpp"
#include "threads.hpp"

#if defined(__AVX2__) && defined(__F16C__)
#include <immintrin.h>

namespace {

using namespace warpfactor;
using namespace warpfactor::half_storage;
using V = Vec<float>;
using Raw = V::Raw;

// A register of bits, and one of half as many bytes.
#if defined(__AVX512F__) && defined(__AVX512BW__)
using Bits = __m512i;
using Short = __m256i;
Bits of(Raw x) { return _mm512_castps_si512(__m512(x)); }
Raw to_float(Bits bits) { return Raw(_mm512_castsi512_ps(bits)); }
Bits plus(Bits a, Bits b) { return _mm512_add_epi32(a, b); }
Bits both(Bits a, Bits b) { return _mm512_and_si512(a, b); }
Bits exclusive(Bits a, Bits b) { return _mm512_xor_si512(a, b); }
template <int n>
Bits left(Bits a) {
  return _mm512_slli_epi32(a, n);
}
template <int n>
Bits right(Bits a) {
  return _mm512_srli_epi32(a, n);
}
Bits all(std::uint32_t x) { return _mm512_set1_epi32(static_cast<int>(x)); }
/// The upper 16 bits of `high` and the lower ones of `low`.
Bits joined(Bits high, Bits low) { return _mm512_mask_blend_epi16(0xaaaaaaaau, low, high); }
Bits load_bits(const std::uint16_t* from) { return _mm512_load_si512(from); }
void store_bits(std::uint16_t* to, Bits x) { _mm512_store_si512(to, x); }
Raw load_half(const std::uint16_t* from) {
  return Raw(_mm512_maskz_cvtph_ps(0xffff, _mm256_load_si256(reinterpret_cast<const Short*>(from))));
}
template <int kRounding>
void store_half(std::uint16_t* to, Raw x) {
  _mm256_store_si256(reinterpret_cast<Short*>(to),
                     _mm512_maskz_cvtps_ph(0xffff, __m512(x), kRounding | _MM_FROUND_NO_EXC));
}
#else
using Bits = __m256i;
using Short = __m128i;
Bits of(Raw x) { return _mm256_castps_si256(__m256(x)); }
Raw to_float(Bits bits) { return Raw(_mm256_castsi256_ps(bits)); }
Bits plus(Bits a, Bits b) { return _mm256_add_epi32(a, b); }
Bits both(Bits a, Bits b) { return _mm256_and_si256(a, b); }
Bits exclusive(Bits a, Bits b) { return _mm256_xor_si256(a, b); }
template <int n>
Bits left(Bits a) {
  return _mm256_slli_epi32(a, n);
}
template <int n>
Bits right(Bits a) {
  return _mm256_srli_epi32(a, n);
}
Bits all(std::uint32_t x) { return _mm256_set1_epi32(static_cast<int>(x)); }
Bits joined(Bits high, Bits low) { return _mm256_blend_epi16(low, high, 0xaa); }
Bits load_bits(const std::uint16_t* from) { return _mm256_load_si256(reinterpret_cast<const Bits*>(from)); }
void store_bits(std::uint16_t* to, Bits x) { _mm256_store_si256(reinterpret_cast<Bits*>(to), x); }
Raw load_half(const std::uint16_t* from) {
  return Raw(_mm256_cvtph_ps(_mm_load_si128(reinterpret_cast<const Short*>(from))));
}
template <int kRounding>
void store_half(std::uint16_t* to, Raw x) {
  _mm_store_si128(reinterpret_cast<Short*>(to), _mm256_cvtps_ph(__m256(x), kRounding));
}
#endif

/// Random bits for stochastic rounding: xorshift (Marsaglia 2003), one generator in each lane, drawn once for a rating
/// and turned for each of its registers. Drawn for each register they took half of the speed.
struct RandomBits {
  Bits state;
  explicit RandomBits(std::uint64_t seed) {
    SplitMix64 random(seed);
    alignas(64) std::uint32_t lanes[sizeof(Bits) / 4];
    for (std::uint32_t& lane : lanes) lane = static_cast<std::uint32_t>(random.next()) | 1u;
    std::memcpy(&state, lanes, sizeof(state));
  }
  WARPFACTOR_INLINE Bits next() {
    state = exclusive(state, left<13>(state));
    state = exclusive(state, right<17>(state));
    return state = exclusive(state, left<5>(state));
  }
  WARPFACTOR_INLINE static Bits turned(Bits bits) { return exclusive(left<5>(bits), right<27>(bits)); }
};

/// The numbers of a row come two registers at a time, in any order that is the same for all rows.
struct Two {
  Raw a, b;
};

struct FloatRows {
  using Number = float;
  static constexpr bool kRandom = false;
  WARPFACTOR_INLINE static Two load(const float* from) { return {V::load_raw(from), V::load_raw(from + V::lanes)}; }
  WARPFACTOR_INLINE static void store(float* to, Two x, Bits) {
    V::store_raw(to, x.a);
    V::store_raw(to + V::lanes, x.b);
  }
};
struct HalfRows {
  using Number = std::uint16_t;
  static constexpr bool kRandom = false;
  WARPFACTOR_INLINE static Two load(const Number* from) { return {load_half(from), load_half(from + V::lanes)}; }
  WARPFACTOR_INLINE static void store(Number* to, Two x, Bits) {
    store_half<_MM_FROUND_TO_NEAREST_INT>(to, x.a);
    store_half<_MM_FROUND_TO_NEAREST_INT>(to + V::lanes, x.b);
  }
};
/// A number goes to the half above as often as it is near to it: 13 random bits are added below the last place.
struct RandomHalfRows : HalfRows {
  static constexpr bool kRandom = true;
  WARPFACTOR_INLINE static void store(Number* to, Two x, Bits random) {
    store_half<_MM_FROUND_TO_ZERO>(to, to_float(plus(of(x.a), both(random, all(0x1fff)))));
    store_half<_MM_FROUND_TO_ZERO>(to + V::lanes, to_float(plus(of(x.b), right<19>(random))));
  }
};
/// Two bfloat16 lie in a word, so that a shift and a mask make two registers of floats: fewer instructions than
/// widening takes.
struct BfloatRows {
  using Number = std::uint16_t;
  static constexpr bool kRandom = false;
  WARPFACTOR_INLINE static Two load(const Number* from) {
    const Bits words = load_bits(from);
    return {to_float(left<16>(words)), to_float(both(words, all(0xffff0000u)))};
  }
  WARPFACTOR_INLINE static void store(Number* to, Two x, Bits) {
    const Bits half = all(0x8000);
    store_bits(to, joined(plus(of(x.b), half), right<16>(plus(of(x.a), half))));
  }
};
struct RandomBfloatRows : BfloatRows {
  static constexpr bool kRandom = true;
  WARPFACTOR_INLINE static void store(Number* to, Two x, Bits random) {
    const Bits a = plus(of(x.a), both(random, all(0xffff))), b = plus(of(x.b), right<16>(random));
    store_bits(to, joined(b, right<16>(a)));
  }
};

struct Steps {
  float rate, reg, reg_bias;
};
template <class Number>
struct Block {
  Number *users, *items;
  float *user_biases, *item_biases;
  const Rating* ratings;
  std::int64_t n, n_grouped;
};

/// By groups of eight as sgd_kernel.cpp has them; rating by rating, whose rows then stay in registers between the dot
/// product and the step; and a probe that learns nothing: groups whose rows are always the same few, in L1.
enum class Way { groups, one_by_one, in_l1, library };

/// A block's ratings.
template <class Rows, int kWidth, Way kWay>
class Kernel {
 public:
  using Number = typename Rows::Number;
  Kernel(const Block<Number>& block, const Steps& steps, RandomBits& random)
      : block_(block),
        rate_(steps.rate),
        keep_(1 - steps.rate * steps.reg),
        keep_bias_(1 - steps.rate * steps.reg_bias),
        random_(random) {}

  void run() {
    std::int64_t r = 0;
    if constexpr (kWay != Way::one_by_one) {
      for (; r < block_.n_grouped; r += kGroup) group(r, r + kGroup < block_.n_grouped ? r + kGroup : r);
    }
    for (; r < block_.n; ++r) {
      fetch(block_.ratings[std::min(r + kFetchAhead, block_.n - 1)]);
      one(block_.ratings[r]);
    }
  }

 private:
  static constexpr int kTwo = 2 * V::lanes, kTwos = kWidth / kTwo;
  static std::int64_t row(std::uint16_t number) { return kWay == Way::in_l1 ? number % 32 : number; }
  Number* user(const Rating& rating) const { return block_.users + row(rating.user) * kWidth; }
  Number* item(const Rating& rating) const { return block_.items + row(rating.item) * kWidth; }
  WARPFACTOR_INLINE void fetch(const Rating& rating) const {
    const Number *const p = user(rating), *const q = item(rating);
    for (int f = 0; f < kWidth; f += 64 / static_cast<int>(sizeof(Number))) {
      prefetch(p + f);
      prefetch(q + f);
    }
  }
  WARPFACTOR_INLINE void step_biases(const Rating& rating, float scaled) {
    float &of_user = block_.user_biases[rating.user], &of_item = block_.item_biases[rating.item];
    of_user = keep_bias_ * of_user - scaled;
    of_item = keep_bias_ * of_item - scaled;
  }

  WARPFACTOR_NOINLINE void group(std::int64_t r, std::int64_t ahead) {
    const Rating *const ratings = block_.ratings + r, *const next = block_.ratings + ahead;
    Number *p[kGroup], *q[kGroup];
    Raw products[kGroup];
    WARPFACTOR_UNROLL_8
    for (int j = 0; j < kGroup; ++j) {
      fetch(next[j]);
      p[j] = user(ratings[j]);
      q[j] = item(ratings[j]);
      Raw even{}, odd{};
      for (int f = 0; f < kWidth; f += kTwo) {
        const Two own = Rows::load(p[j] + f), other = Rows::load(q[j] + f);
        even += own.a * other.a;
        odd += own.b * other.b;
      }
      products[j] = even + odd;
    }
    const auto score = Eight<float>::sums(products) + Eight<float>::each([&](int j) {
                         return block_.user_biases[ratings[j].user] + block_.item_biases[ratings[j].item];
                       });
    alignas(64) float scaled[kGroup];
    (rate_ * (score - Eight<float>::each([&](int j) { return ratings[j].value; }))).store(scaled);
    WARPFACTOR_UNROLL_8
    for (int j = 0; j < kGroup; ++j) step_biases(ratings[j], scaled[j]);
    WARPFACTOR_UNROLL_8
    for (int j = 0; j < kGroup; ++j) {
      Bits random = drawn();
      for (int f = 0; f < kWidth; f += kTwo) {
        step(p[j] + f, q[j] + f, Rows::load(p[j] + f), Rows::load(q[j] + f), scaled[j], random);
      }
    }
  }

  WARPFACTOR_NOINLINE void one(const Rating& rating) {
    Number *const p = user(rating), *const q = item(rating);
    Two own[kTwos], other[kTwos];
    Raw even{}, odd{};
    for (int v = 0; v < kTwos; ++v) {
      own[v] = Rows::load(p + v * kTwo);
      other[v] = Rows::load(q + v * kTwo);
      even += own[v].a * other[v].a;
      odd += own[v].b * other[v].b;
    }
    const float score = V{even + odd}.sum() + block_.user_biases[rating.user] + block_.item_biases[rating.item];
    const float scaled = rate_ * (score - rating.value);
    step_biases(rating, scaled);
    Bits random = drawn();
    for (int v = 0; v < kTwos; ++v) step(p + v * kTwo, q + v * kTwo, own[v], other[v], scaled, random);
  }

  WARPFACTOR_INLINE Bits drawn() {
    if constexpr (Rows::kRandom) return random_.next();
    return Bits{};
  }
  WARPFACTOR_INLINE void step(Number* p, Number* q, Two own, Two other, float scaled, Bits& random) const {
    Rows::store(p, {keep_ * own.a - scaled * other.a, keep_ * own.b - scaled * other.b}, random);
    if constexpr (Rows::kRandom) random = RandomBits::turned(random);
    Rows::store(q, {keep_ * other.a - scaled * own.a, keep_ * other.b - scaled * own.b}, random);
    if constexpr (Rows::kRandom) random = RandomBits::turned(random);
  }

  const Block<Number> block_;
  const float rate_, keep_, keep_bias_;
  RandomBits& random_;
};

struct Triples {
  std::vector<std::int32_t> users, items;
  std::vector<float> values;
  std::int32_t n_users, n_items;
  [[nodiscard]] RatingsView view() const { return {users, items, values, {}, n_users, n_items}; }
};

template <class T>
std::vector<T> read(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) {
    std::fprintf(stderr, "%s cannot be read\n", path.c_str());
    std::exit(2);
  }
  std::vector<T> numbers(static_cast<std::size_t>(file.tellg()) / sizeof(T));
  file.seekg(0);
  file.read(reinterpret_cast<char*>(numbers.data()), static_cast<std::streamsize>(numbers.size() * sizeof(T)));
  return numbers;
}

Triples read_triples(const std::string& start, std::int32_t n_users, std::int32_t n_items) {
  return {read<std::int32_t>(start + "_users.bin"), read<std::int32_t>(start + "_items.bin"),
          read<float>(start + "_values.bin"), n_users, n_items};
}

/// Ratings in blocks for rows of so many bytes.
struct Layout {
  BlockedRatings blocked;
  Layout(const Triples& train, std::int64_t row_bytes, const RatingUnits& units, ThreadTeam& team) {
    const Survey rated = survey(train.view(), "train", team);
    blocked =
        make_blocks(train.view(), rated,
                    choose_grid(train.n_users, train.n_items, train.view().size(), row_bytes, users_are_outer(rated)),
                    units, 0, team);
  }
};

/// A variant with its rows, which takes part epoch by epoch.
class Variant {
 public:
  explicit Variant(std::string name) : name_(std::move(name)) {}
  virtual ~Variant() = default;
  virtual void epoch(std::int32_t number, const Steps& steps, ThreadTeam& team) = 0;
  [[nodiscard]] virtual double rmse(const Triples& test, const RatingUnits& units) const = 0;
  [[nodiscard]] const std::string& name() const { return name_; }
  std::vector<double> seconds;

 private:
  std::string name_;
};

template <class Rows, int kWidth, Way kWay>
class Trained final : public Variant {
 public:
  using Number = typename Rows::Number;
  static constexpr int kTwo = 2 * V::lanes;
  Trained(std::string name, const Layout& layout, int n_threads)
      : Variant(std::move(name)),
        blocked_(layout.blocked),
        users_(static_cast<std::int64_t>(blocked_.users.position.size()) * kWidth),
        items_(static_cast<std::int64_t>(blocked_.items.position.size()) * kWidth),
        user_biases_(blocked_.users.position.size(), 0.0f),
        item_biases_(blocked_.items.position.size(), 0.0f) {
    for (int thread = 0; thread < n_threads; ++thread) random_.emplace_back(static_cast<std::uint64_t>(thread) + 1);
    // By external row, so that all variants begin with the same numbers.
    SplitMix64 random(2);
    const auto fill = [&](const RowPartition& rows, Buffer<Number>& factors) {
      for (const std::int32_t position : rows.position) {
        alignas(64) float numbers[kTwo];
        for (int f = 0; f < kWidth; f += kTwo) {
          for (float& number : numbers) {
            number = 0.01f * 1.73205f * (static_cast<float>(random.next() >> 40) * 0x1p-23f - 1);
          }
          Rows::store(factors.data() + std::int64_t{position} * kWidth + f,
                      {V::load_raw(numbers), V::load_raw(numbers + V::lanes)}, Bits{});
        }
      }
    };
    fill(blocked_.users, users_);
    fill(blocked_.items, items_);
  }

  void epoch(std::int32_t number, const Steps& steps, ThreadTeam& team) override {
    const auto began = std::chrono::steady_clock::now();
    const EpochOrder order(blocked_.outer().stripes(), blocked_.inner().stripes(), 0, number);
    pass_over_blocks(
        order.outer_turns(), order.inner_turns(), true, team, [](std::int64_t, int) {},
        [&](std::int64_t outer_turn, std::int64_t inner_turn, int thread) {
          const std::int32_t outer = order.outer_stripe(outer_turn), inner = order.inner_stripe(inner_turn);
          const std::size_t at = blocked_.block(outer, inner);
          const std::int64_t user =
                                 blocked_.users.begin[static_cast<std::size_t>(blocked_.users_outer ? outer : inner)],
                             item =
                                 blocked_.items.begin[static_cast<std::size_t>(blocked_.users_outer ? inner : outer)];
          const Block<Number> block{users_.data() + user * kWidth,
                                    items_.data() + item * kWidth,
                                    user_biases_.data() + user,
                                    item_biases_.data() + item,
                                    blocked_.ratings.data() + blocked_.offsets[at],
                                    blocked_.offsets[at + 1] - blocked_.offsets[at],
                                    blocked_.grouped[at]};
          take(block, steps, thread);
          return true;
        });
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count());
  }

  [[nodiscard]] double rmse(const Triples& test, const RatingUnits& units) const override {
    double sum = 0;
    for (std::size_t r = 0; r < test.values.size(); ++r) {
      const std::int64_t user = blocked_.users.position[static_cast<std::size_t>(test.users[r])],
                         item = blocked_.items.position[static_cast<std::size_t>(test.items[r])];
      Raw dot{};
      for (int f = 0; f < kWidth; f += kTwo) {
        const Two own = Rows::load(users_.data() + user * kWidth + f),
                  other = Rows::load(items_.data() + item * kWidth + f);
        dot += own.a * other.a + own.b * other.b;
      }
      const double z = V{dot}.sum() + user_biases_[static_cast<std::size_t>(user)] +
                       item_biases_[static_cast<std::size_t>(item)],
                   error = units.shift + units.scale * z - static_cast<double>(test.values[r]);
      sum += error * error;
    }
    return std::sqrt(sum / static_cast<double>(test.values.size()));
  }

 private:
  void take(const Block<Number>& block, const Steps& steps, int thread) {
    if constexpr (kWay == Way::library) {
      SgdArgs<float> args{};
      args.users.factors = block.users;
      args.items.factors = block.items;
      args.users.biases = block.user_biases;
      args.items.biases = block.item_biases;
      args.active_factors = args.width = args.stride = kWidth;
      args.ratings = block.ratings;
      args.n_ratings = block.n;
      args.n_grouped = block.n_grouped;
      args.sizes.learning_rate = steps.rate;
      args.sizes.reg = {steps.reg, steps.reg};
      args.sizes.reg_bias = {steps.reg_bias, steps.reg_bias};
      args.sizes.max_weight = args.sizes.max_pull = 6;
      args.sizes.max_slope = 1e30f;
      args.sizes.lowest = -1e30f;
      kernel_table().f32.sgd(args);
    } else {
      Kernel<Rows, kWidth, kWay>(block, steps, random_[static_cast<std::size_t>(thread)]).run();
    }
  }

  const BlockedRatings& blocked_;
  Buffer<Number> users_, items_;
  std::vector<float> user_biases_, item_biases_;
  std::vector<RandomBits> random_;
};

template <int kWidth>
int run(const char* const* arguments) {
  const std::string folder = arguments[0];
  const auto n_users = static_cast<std::int32_t>(std::atoi(arguments[1])),
             n_items = static_cast<std::int32_t>(std::atoi(arguments[2]));
  const int n_epochs = std::atoi(arguments[4]), n_threads = std::atoi(arguments[8]);
  const auto rate = std::atof(arguments[5]);
  const auto reg = static_cast<float>(std::atof(arguments[6])), reg_bias = static_cast<float>(std::atof(arguments[7]));
  ThreadTeam team(n_threads);
  const Triples train = read_triples(folder + "/train", n_users, n_items),
                test = read_triples(folder + "/test", n_users, n_items);
  const Survey rated = survey(train.view(), "train", team);
  const RatingUnits units{rated.mean, rated.deviation, 1};
  const Layout floats(train, kWidth * 4, units, team), shorts(train, kWidth * 2, units, team);
  std::vector<std::unique_ptr<Variant>> variants;
  const auto add = [&]<class Rows, Way kWay>(const char* name) {
    const Layout& layout = sizeof(typename Rows::Number) == sizeof(float) ? floats : shorts;
    variants.push_back(std::make_unique<Trained<Rows, kWidth, kWay>>(name, layout, n_threads));
  };
  add.template operator()<FloatRows, Way::library>("float, the library");
  add.template operator()<FloatRows, Way::groups>("float");
  add.template operator()<FloatRows, Way::one_by_one>("float, one by one");
  add.template operator()<FloatRows, Way::in_l1>("float, rows in L1");
  add.template operator()<HalfRows, Way::groups>("half");
  add.template operator()<HalfRows, Way::one_by_one>("half, one by one");
  add.template operator()<HalfRows, Way::in_l1>("half, rows in L1");
  add.template operator()<RandomHalfRows, Way::groups>("half, stochastic");
  add.template operator()<BfloatRows, Way::groups>("bfloat16");
  add.template operator()<BfloatRows, Way::one_by_one>("bfloat16, one by one");
  add.template operator()<BfloatRows, Way::in_l1>("bfloat16, rows in L1");
  add.template operator()<RandomBfloatRows, Way::groups>("bfloat16, stochastic");
  for (int epoch = 0; epoch < n_epochs; ++epoch) {
    const double falls = 0.5 * (1 + std::cos(std::numbers::pi * epoch / n_epochs));
    const Steps steps{static_cast<float>(rate * falls), reg, reg_bias};
    for (const auto& variant : variants) variant->epoch(epoch, steps, team);
  }
  for (const auto& variant : variants) {
    std::vector<double>& seconds = variant->seconds;
    std::sort(seconds.begin(), seconds.end());
    std::printf("%s\t%.1f\t%.5f\n", variant->name().c_str(),
                static_cast<double>(train.values.size()) / seconds[seconds.size() / 2] / 1e6,
                variant->rmse(test, units));
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 10) {
    std::fprintf(stderr, "usage: %s FOLDER N_USERS N_ITEMS N_FACTORS N_EPOCHS RATE REG REG_BIAS THREADS\n", argv[0]);
    return 2;
  }
  switch (std::atoi(argv[4])) {
    case 32: return run<32>(argv + 1);
    case 64: return run<64>(argv + 1);
    case 128: return run<128>(argv + 1);
    default: std::fprintf(stderr, "N_FACTORS is %s; it must be 32, 64 or 128\n", argv[4]); return 2;
  }
}

#else

int main() {
  std::fprintf(stderr, "this build has no AVX2 with F16C: build it with -march=native on a processor that has them\n");
  return 2;
}

#endif
