// SPDX-License-Identifier: Apache-2.0
// The kernels that answer, written over the warp of lanes.cuh: W is DeviceWarp on the device and HostWarp in the twin.
// Lists are found as scores are made, tile by tile in registers, so that no score is ever written to the device's
// memory.
#pragma once

#include "device/answer_args.hpp"
#include "kernels.cuh"

#if defined(__CUDACC__)
#include <cuda_pipeline.h>
#endif

// For loops whose body is long and seldom met: the kernel is to stay in the instruction cache.
#if defined(__CUDACC__)
#define WARPFACTOR_ROLLED _Pragma("unroll 1")
#else
#define WARPFACTOR_ROLLED
#endif

namespace warpfactor {
namespace WARPFACTOR_RULE_NAMESPACE {

inline constexpr int kBlockWarps = 8;   ///< of a thread block that searches
inline constexpr int kWarpQueries = 8;  ///< that a warp scores together
inline constexpr int kBlockQueries = kBlockWarps * kWarpQueries;
inline constexpr int kSlice = 16;  ///< factors that are in shared memory at a time
/// Items that a lane scores for each of its warp's queries: 64 scores in registers, or 32 in double.
template <class A>
inline constexpr int kLaneItems = 32 / static_cast<int>(sizeof(A));
template <class A>
inline constexpr int kTileItems = kWarp * kLaneItems<A>;
/// With 16 bytes between them, the 16 bytes that eight lanes read of eight items lie in different banks.
template <class A>
inline constexpr int kSliceStride = kSlice + 16 / static_cast<int>(sizeof(A));

/// One code of FindArgs.
WARPFACTOR_HD WARPFACTOR_INLINE std::int32_t code_of(const FindArgs& args, std::int64_t number) {
  const char* const at = args.ids + number * args.stride;
  std::int64_t id = 0;
  bool high = false;  // of uint64: beyond int64
  switch (args.type) {
    case IdType::i8: id = *reinterpret_cast<const std::int8_t*>(at); break;
    case IdType::i16: id = *reinterpret_cast<const std::int16_t*>(at); break;
    case IdType::i32: id = *reinterpret_cast<const std::int32_t*>(at); break;
    case IdType::i64: id = *reinterpret_cast<const std::int64_t*>(at); break;
    case IdType::u8: id = *reinterpret_cast<const std::uint8_t*>(at); break;
    case IdType::u16: id = *reinterpret_cast<const std::uint16_t*>(at); break;
    case IdType::u32: id = *reinterpret_cast<const std::uint32_t*>(at); break;
    case IdType::u64:
      id = *reinterpret_cast<const std::int64_t*>(at);
      high = id < 0;
      break;
  }
  const bool below = id < 0 && !high;
  if (args.is_unsigned ? below : high) return -1;
  std::int64_t code = 0;
  if (args.vocabulary == nullptr) {
    // Unsigned, as the difference may be beyond int64.
    const std::uint64_t after = static_cast<std::uint64_t>(id) - static_cast<std::uint64_t>(args.first);
    if (id < args.first || after >= static_cast<std::uint64_t>(args.n_ids)) return -1;
    code = static_cast<std::int64_t>(after);
  } else {
    // Of uint64, the highest bit turned over, the order is that of int64.
    const std::uint64_t turned = args.is_unsigned ? std::uint64_t{1} << 63 : 0;
    const auto key = static_cast<std::int64_t>(static_cast<std::uint64_t>(id) ^ turned);
    std::int64_t to = args.n_ids;
    while (code < to) {
      const std::int64_t middle = (code + to) / 2;
      if (static_cast<std::int64_t>(static_cast<std::uint64_t>(args.vocabulary[middle]) ^ turned) < key) {
        code = middle + 1;
      } else {
        to = middle;
      }
    }
    if (code == args.n_ids || args.vocabulary[code] != id) return -1;
  }
  return args.known[code] ? static_cast<std::int32_t>(code) : -1;
}
WARPFACTOR_HD WARPFACTOR_INLINE void find_code(const FindArgs& args, std::int64_t number) {
  const std::int32_t code = code_of(args, number);
  args.codes[number] = code;
  if (code < 0 && args.missing != nullptr) *args.missing = 1;
}

#if defined(__CUDACC__)
#define WARPFACTOR_DRAW inline __host__ __device__ __noinline__
#else
#define WARPFACTOR_DRAW inline
#endif
/// SplitMix64's number of a state (Steele, Lea, Flood 2014).
WARPFACTOR_HD WARPFACTOR_INLINE std::uint64_t mixed(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}
/// A standard normal number of a pair, that of `ScoreMoves` of the CPU: by Box and Muller (1958).
WARPFACTOR_DRAW double normal_number(std::uint64_t first_draw, std::uint64_t pair) {
  constexpr std::uint64_t kStep = 0x9E3779B97F4A7C15u;
  constexpr double kUnit = 0x1p-53;
  const std::uint64_t state = mixed(pair + first_draw);
  const double first = static_cast<double>((mixed(state + kStep) >> 11) + 1) * kUnit;  // above 0
  const double second = static_cast<double>(mixed(state + 2 * kStep) >> 11) * kUnit;
#if defined(__CUDA_ARCH__)
  return sqrt(-2 * log(first)) * cospi(2 * second);
#else
  return root(-2 * logarithm(first)) * __builtin_cos(2 * 3.14159265358979323846 * second);
#endif
}

// What a warp does with shared memory, and with memory that it alone writes.

#if defined(__CUDACC__)
template <class T>
WARPFACTOR_LANES_FUNCTION T read(const T* from, std::int64_t at, bool in = true) {
  return in ? from[at] : T();
}
template <class T>
WARPFACTOR_LANES_FUNCTION void write(T* to, std::int64_t at, T x, bool in = true) {
  if (in) to[at] = x;
}
/// Writes what is the same in all lanes.
template <class T>
WARPFACTOR_LANES_FUNCTION void write_one(const DeviceWarp& w, T& to, T x) {
  if (w.lane() == 0) to = x;
}
/// Four numbers that are aligned to 16 bytes.
template <class A>
WARPFACTOR_LANES_FUNCTION void read4(const A* from, int at, A (&to)[4]) {
  if constexpr (sizeof(A) == 4) {
    const float4 four = *reinterpret_cast<const float4*>(from + at);
    to[0] = four.x, to[1] = four.y, to[2] = four.z, to[3] = four.w;
  } else {
    const double2 low = *reinterpret_cast<const double2*>(from + at),
                  high = *reinterpret_cast<const double2*>(from + at + 2);
    to[0] = low.x, to[1] = low.y, to[2] = high.x, to[3] = high.y;
  }
}
/// Copies a quad of a row that has `left` factors from there on to shared memory, with zeros in place of the others.
/// `whole`: rows are made of aligned quads, which are copied while the thread goes on.
template <class A>
WARPFACTOR_LANES_FUNCTION void fill4(A* to, int at, const A* from, std::int64_t source, int left, bool whole) {
  if (whole) {
    constexpr int kCopied = 16 / static_cast<int>(sizeof(A));
#pragma unroll
    for (int j = 0; j < 4; j += kCopied) {
      __pipeline_memcpy_async(to + at + j, left > 0 ? from + source + j : from, 16, left > 0 ? 0 : 16);
    }
  } else {
#pragma unroll
    for (int j = 0; j < 4; ++j) to[at + j] = j < left ? from[source + j] : A(0);
  }
}

template <class A>
WARPFACTOR_LANES_FUNCTION A normal_numbers(std::uint64_t first_draw, std::uint64_t before, int item, A) {
  return static_cast<A>(normal_number(first_draw, before + static_cast<std::uint64_t>(item)));
}

/// The warps of a thread block, which take a step each and then wait for each other; what a warp keeps from step to
/// step is a State.
template <class State>
class DeviceBlock {
 public:
  using Warp = DeviceWarp;
  template <class Step>
  __device__ __forceinline__ void each(const Step& step) {
    step(warp_, state_);
    __pipeline_commit();
    __pipeline_wait_prior(0);
    __syncthreads();
  }

 private:
  DeviceWarp warp_;
  State state_;
};
#endif

#if !defined(__CUDACC_RTC__)
template <class T, class At>
Lanes<T> read(const T* from, const Lanes<At>& at, const Lanes<bool>& in = true) {
  return Lanes<T>::each([&](int l) { return in.v[l] ? from[at.v[l]] : T(); });
}
template <class T, class At>
void write(T* to, const Lanes<At>& at, const Lanes<T>& x, const Lanes<bool>& in = true) {
  for (int l = 0; l < kWarp; ++l) {
    if (in.v[l]) to[at.v[l]] = x.v[l];
  }
}
template <class T>
void write_one(const HostWarp&, T& to, T x) {
  to = x;
}
template <class A>
void read4(const A* from, const Lanes<int>& at, Lanes<A> (&to)[4]) {
  for (int l = 0; l < kWarp; ++l) {
    for (int j = 0; j < 4; ++j) to[j].v[l] = from[at.v[l] + j];
  }
}
#if !defined(__CUDACC__)
template <class A>
void read4(const A* from, int at, A (&to)[4]) {
  for (int j = 0; j < 4; ++j) to[j] = from[at + j];
}
#endif
template <class A>
Lanes<A> normal_numbers(std::uint64_t first_draw, std::uint64_t before, const Lanes<int>& item, A) {
  return Lanes<A>::each(
      [&](int l) { return static_cast<A>(normal_number(first_draw, before + static_cast<std::uint64_t>(item.v[l]))); });
}
template <class A>
void fill4(A* to, const Lanes<int>& at, const A* from, const Lanes<std::int64_t>& source, const Lanes<int>& left,
           bool) {
  for (int l = 0; l < kWarp; ++l) {
    for (int j = 0; j < 4; ++j) to[at.v[l] + j] = j < left.v[l] ? from[source.v[l] + j] : A(0);
  }
}
#endif

template <class A>
WARPFACTOR_HD WARPFACTOR_INLINE A minus_infinity() {
  return -A(__builtin_huge_valf());
}

/// What a score predicts.
template <class A, class F>
WARPFACTOR_LANES_FUNCTION F linked(const F& score, AnswerLink link) {
  if (link == AnswerLink::identity) return score;
  const F probability = F(A(1)) / (F(A(1)) + exponential(F(A(0)) - score));
  return link == AnswerLink::probability ? probability : F(A(2)) * probability - F(A(1));
}

/// The predictions of PredictArgs: eight lanes take a pair, so that a row of 32 factors is one access of whole lines.
template <class W, class A>
WARPFACTOR_LANES_FUNCTION void predict_pairs(const W& w, const PredictArgs<A>& args) {
  using F = typename W::template Of<A>;
  using I = typename W::template Of<std::int32_t>;
  using N = typename W::template Of<std::int64_t>;
  using Mask = typename W::Mask;
  constexpr int kLanes = 8, kPairs = kWarp / kLanes;
  const bool whole = args.n_factors % 4 == 0;
  const I part = I(w.lane()) % I(kLanes);
  for (std::int64_t from = w.number() * kPairs; from < args.n; from += w.count() * kPairs) {
    const N pair = N(from) + N(I(w.lane()) / I(kLanes));
    const Mask in = pair < N(args.n);
    const bool all_items = args.n_columns > 0;
    const N columns(all_items ? args.n_columns : 1);
    const I user = W::template select<std::int32_t>(in, w.load(args.users, pair / columns, in), I(-1)),
            item =
                W::template select<std::int32_t>(in, w.load(args.items, all_items ? pair % columns : pair, in), I(-1));
    const Mask has_user = user >= I(0), has_item = item >= I(0), both = has_user & has_item;
    const N user_at = N(user) * N(args.n_factors), item_at = N(item) * N(args.n_factors);
    F sum(A(0));
    if (whole) {
      for (std::int64_t f = 0; f < args.n_factors; f += 4 * kLanes) {
        const N at = N(f) + N(part) * N(4);
        const Mask here = both & (at < N(args.n_factors));
        F p[4] = {F(A(0)), F(A(0)), F(A(0)), F(A(0))}, q[4] = {F(A(0)), F(A(0)), F(A(0)), F(A(0))};
        W::template load4<true>(args.user_factors, user_at + at, here, p);
        W::template load4<true>(args.item_factors, item_at + at, here, q);
        WARPFACTOR_UNROLL
        for (int j = 0; j < 4; ++j) sum = sum + p[j] * q[j];
      }
    } else {
      for (std::int64_t f = 0; f < args.n_factors; f += kLanes) {
        const N at = N(f) + N(part);
        const Mask here = both & (at < N(args.n_factors));
        sum = sum + w.load_constant(args.user_factors, user_at + at, here) *
                        w.load_constant(args.item_factors, item_at + at, here);
      }
    }
    F score = W::template sum<kLanes>(sum) + F(args.shape.mean);
    score =
        score +
        W::template select<A>(has_user, w.load_constant(args.user_biases, N(user), has_user),
                              F(args.shape.start_bias)) +
        W::template select<A>(has_item, w.load_constant(args.item_biases, N(item), has_item), F(args.shape.start_bias));
    F predicted = linked<A>(score, args.shape.link);
    if (args.nan_if_unknown) {
      predicted = W::template select<A>(both, predicted, F(A(__builtin_nanf(""))));
    } else if (!args.shape.biases) {
      predicted = W::template select<A>(both, predicted, F(args.shape.rating_mean));
    }
    w.store(args.predicted, pair, predicted, in & (part == I(0)));
  }
}

/// A warp for each row.
template <class W, class A>
WARPFACTOR_LANES_FUNCTION void scale_rows(const W& w, const UnitRowsArgs<A>& args, A tiny) {
  using F = typename W::template Of<A>;
  using N = typename W::template Of<std::int64_t>;
  using Mask = typename W::Mask;
  for (std::int64_t row = w.number(); row < args.n; row += w.count()) {
    F sum(A(0));
    for (std::int64_t f = 0; f < args.n_factors; f += kWarp) {
      const N at = N(f) + N(w.lane());
      const F x = w.load_constant(args.rows, N(row * args.n_factors) + at, at < N(args.n_factors));
      sum = sum + x * x;
    }
    const F length = at_least(root(W::template sum<kWarp>(sum)), F(tiny));
    for (std::int64_t f = 0; f < args.n_factors; f += kWarp) {
      const N at = N(f) + N(w.lane());
      const Mask in = at < N(args.n_factors);
      w.store(args.unit, N(row * args.n_factors) + at,
              w.load_constant(args.rows, N(row * args.n_factors) + at, in) / length, in);
    }
  }
}

/// Rising items that a list leaves out, 32 of them at a time, met by a search that asks for rising items.
struct LeftOut {
  std::int64_t next, end;
  std::int32_t items[kWarp];

  template <class W>
  WARPFACTOR_LANES_FUNCTION void open(const W& w, const ItemLists& lists, std::int64_t row) {
    const bool none = lists.indptr == nullptr || row < 0;
    const std::int64_t last = none ? 0 : lists.indptr[row + 1];
    write_one(w, end, last);
    take(w, lists, none ? 0 : lists.indptr[row], last);
  }
  template <class W>
  WARPFACTOR_LANES_FUNCTION bool has(const W& w, const ItemLists& lists, std::int32_t item) {
    using I = typename W::template Of<std::int32_t>;
    if (lists.indptr == nullptr) return false;
    WARPFACTOR_ROLLED
    for (;;) {
      const I here = read(items, w.lane());
      if (W::any(here == I(item))) return true;
      if (W::from_lane(here, kWarp - 1) >= item) return false;
      take(w, lists, next, end);
    }
  }

 private:
  template <class W>
  WARPFACTOR_LANES_FUNCTION void take(const W& w, const ItemLists& lists, std::int64_t from, std::int64_t last) {
    using I = typename W::template Of<std::int32_t>;
    using N = typename W::template Of<std::int64_t>;
    const N at = N(from) + N(w.lane());
    const typename W::Mask in = at < N(last);
    const I taken =
        W::template select<std::int32_t>(in, w.load_constant(lists.items, at, in), I(0x7fffffff));  // above all items
    w.sync();
    write(items, w.lane(), taken);
    write_one(w, next, from + kWarp);
    w.sync();
  }
};

/// A query's list in memory that its warp alone writes: sorted, and of equals the first to come first.
template <class W, class A>
struct ListInMemory {
  using F = typename W::template Of<A>;
  using I = typename W::template Of<std::int32_t>;
  using N = typename W::template Of<std::int64_t>;
  using Mask = typename W::Mask;

  A* best;
  std::int32_t* found;
  std::int32_t n;

  WARPFACTOR_LANES_FUNCTION void clear(const W& w) const {
    WARPFACTOR_ROLLED
    for (std::int32_t from = 0; from < n; from += kWarp) {
      const N at = N(std::int64_t{from}) + N(w.lane());
      write(best, at, F(minus_infinity<A>()), at < N(std::int64_t{n}));
      write(found, at, I(-1), at < N(std::int64_t{n}));
    }
    w.sync();
  }
  /// Inserts an item whose score is above the last; returns the last score then.
  WARPFACTOR_LANES_FUNCTION A insert(const W& w, A score, std::int32_t item) const {
    A worst = score;
    const std::int32_t last = (n - 1) / kWarp;
    WARPFACTOR_ROLLED
    for (std::int32_t s = last; s >= 0; --s) {
      const N at = N(std::int64_t{s} * kWarp) + N(w.lane());
      const Mask in = at < N(std::int64_t{n}), after = in & (at > N(std::int64_t{0}));
      const F here = read(best, at, in), before = read(best, at - N(std::int64_t{1}), after);
      const I item_here = read(found, at, in), item_before = read(found, at - N(std::int64_t{1}), after);
      // Scores of at least this one stay; the others move on by one.
      const Mask stays = here >= F(score), first = (before >= F(score)) | !after;
      const F now = W::template select<A>(stays, here, W::template select<A>(first, F(score), before));
      const I item_now = W::template select<std::int32_t>(
          stays, item_here, W::template select<std::int32_t>(first, I(item), item_before));
      w.sync();
      write(best, at, now, in);
      write(found, at, item_now, in);
      if (s == last) worst = W::from_lane(now, (n - 1) % kWarp);
      w.sync();
      if (W::from_lane(here, 0) >= score) break;  // the places before stay as they are
    }
    return worst;
  }
  /// Offers an item in each lane, by rising items; returns the last score then. `left_out(item)`: whether an item is.
  template <class Leave>
  WARPFACTOR_LANES_FUNCTION A offer(const W& w, const F& score, const I& item, A worst, const Leave& left_out) const {
    std::uint32_t better = W::ballot(score > F(worst));
    WARPFACTOR_ROLLED
    while (better != 0) {
      const int lane = first_bit(better);
      better &= better - 1;
      const A x = W::from_lane(score, lane);
      if (!(x > worst)) continue;
      const std::int32_t which = W::from_lane(item, lane);
      if (!left_out(which)) worst = insert(w, x, which);
    }
    return worst;
  }
};

/// What is the same in both ways to search.
template <class W, class A>
class SearchWork {
 public:
  using F = typename W::template Of<A>;
  using I = typename W::template Of<std::int32_t>;
  using N = typename W::template Of<std::int64_t>;
  using Mask = typename W::Mask;

  WARPFACTOR_LANES_FUNCTION explicit SearchWork(const SearchArgs<A>& args) : args_(args) {}

 protected:
  WARPFACTOR_LANES_FUNCTION ListInMemory<W, A> list_of(std::int64_t query, std::int64_t part) const {
    const std::int64_t at = (part * args_.n_queries + query) * args_.n;
    return {args_.best + at, args_.found + at, args_.n};
  }
  WARPFACTOR_LANES_FUNCTION void open(const W& w, LeftOut (&left_out)[2], std::int32_t code, std::int64_t query) const {
    left_out[0].open(w, args_.seen, code);
    left_out[1].open(w, args_.without, query);
  }
  WARPFACTOR_LANES_FUNCTION bool leaves_out(const W& w, LeftOut (&left_out)[2], std::int32_t code,
                                            std::int32_t item) const {
    return (args_.not_itself && item == code) || left_out[0].has(w, args_.seen, item) ||
           left_out[1].has(w, args_.without, item);
  }
  /// What is added to a score, but for `times`. kDrawn: args_.drawn.
  template <bool kDrawn>
  WARPFACTOR_LANES_FUNCTION F deviation(std::int32_t code, const I& item, const F& bias, const F& factor) const {
    const std::int64_t user = code < 0 ? args_.n_users : code;
    const F deviation = root(bias + F(args_.user_lengths[user]) * factor);
    if constexpr (!kDrawn) return deviation;
    const std::uint64_t before = static_cast<std::uint64_t>(user) * static_cast<std::uint64_t>(args_.n_items);
    return deviation * normal_numbers(args_.first_draw, before, item, A(0));
  }

  const SearchArgs<A>& args_;
};

/// Shared memory of a thread block that searches all items.
template <class A>
struct alignas(16) SearchShared {
  // Two stages: one is filled while the other is read.
  A items[2][kTileItems<A> * kSliceStride<A>];
  A queries[2][kBlockQueries * kSlice];
  A scores[kBlockWarps][kTileItems<A>];  ///< of one query
  A worst[kBlockQueries];                ///< the last score of each list
  std::int32_t codes[kBlockQueries];
  LeftOut left_out[kBlockQueries][2];
};

/// How scores are moved by their deviations.
enum class Moved { not_at_all, by_bounds, by_draws };

/// What a warp keeps: the scores of a tile.
template <class W, class A>
struct SearchState {
  typename W::template Of<A> score[kWarpQueries][kLaneItems<A>];
};

/// A thread block for 64 queries and a part of the items. The items go by in tiles; a warp scores those of a tile for
/// its eight queries in registers, and looks which of them are above the last of a list. Few are. kMoved: whether
/// scores are moved by their deviations.
template <class Block, class A, Moved kMoved>
class TiledSearch : SearchWork<typename Block::Warp, A> {
 public:
  using W = typename Block::Warp;
  using State = SearchState<W, A>;
  using Base = SearchWork<W, A>;
  using F = typename Base::F;
  using I = typename Base::I;
  using N = typename Base::N;
  using Mask = typename Base::Mask;

  WARPFACTOR_LANES_FUNCTION TiledSearch(const SearchArgs<A>& args, SearchShared<A>& shared, std::int64_t block)
      : Base(args), shared_(shared), whole_(args.n_factors % 4 == 0) {
    const std::int32_t n_tiles = (args.n_items + kTileItems<A> - 1) / kTileItems<A>,
                       tiles = (n_tiles + args.n_splits - 1) / args.n_splits;
    part_ = block % args.n_splits;
    first_query_ = block / args.n_splits * kBlockQueries;
    const std::int64_t begin = part_ * tiles * kTileItems<A>, end = begin + std::int64_t{tiles} * kTileItems<A>;
    begin_ = static_cast<std::int32_t>(begin < args.n_items ? begin : args.n_items);
    end_ = static_cast<std::int32_t>(end < args.n_items ? end : args.n_items);
  }

  WARPFACTOR_LANES_FUNCTION void run(Block& block) {
    const auto n_slices = static_cast<std::int32_t>((args_.n_factors + kSlice - 1) / kSlice);
    block.each([&](const W& w, State&) { start(w); });
    block.each([&](const W& w, State&) { fill(w, begin_, 0, 0); });
    int stage = 0;
    for (std::int32_t item = begin_; item < end_; item += kTileItems<A>) {
      for (std::int32_t slice = 0; slice < n_slices; ++slice) {
        block.each([&](const W& w, State& state) {
          const bool is_last = slice + 1 == n_slices;
          const std::int32_t next_item = is_last ? item + kTileItems<A> : item;
          if (next_item < end_) fill(w, next_item, is_last ? 0 : slice + 1, 1 - stage);
          if (query_of(w, 0) >= args_.n_queries) return;
          if (slice == 0) begin_scores(w, state, item);
          multiply(w, state, stage);
          if (is_last) select(w, state, item);
        });
        stage = 1 - stage;
      }
    }
  }

 private:
  using Base::args_;

  static WARPFACTOR_LANES_FUNCTION int warp_of(const W& w) { return static_cast<int>(w.number() % kBlockWarps); }
  static WARPFACTOR_LANES_FUNCTION int row_of(const W& w, int u) { return warp_of(w) * kWarpQueries + u; }
  WARPFACTOR_LANES_FUNCTION std::int64_t query_of(const W& w, int u) const { return first_query_ + row_of(w, u); }

  WARPFACTOR_LANES_FUNCTION void start(const W& w) {
    WARPFACTOR_ROLLED
    for (int u = 0; u < kWarpQueries; ++u) {
      const std::int64_t query = query_of(w, u);
      const bool there = query < args_.n_queries;
      const std::int32_t code = there ? args_.queries[query] : -1;
      write_one(w, shared_.codes[row_of(w, u)], code);
      write_one(w, shared_.worst[row_of(w, u)], minus_infinity<A>());
      this->open(w, shared_.left_out[row_of(w, u)], code, there ? query : -1);
      if (there) this->list_of(query, part_).clear(w);
    }
  }

  /// Brings a slice of a tile's items, and of the queries, to shared memory.
  WARPFACTOR_LANES_FUNCTION void fill(const W& w, std::int32_t first_item, std::int32_t slice, int stage) {
    constexpr int kThreadsHere = kBlockWarps * kWarp, kQuads = kSlice / 4;
    const std::int64_t k = args_.n_factors, first_factor = std::int64_t{slice} * kSlice;
    const I thread = I(warp_of(w) * kWarp) + I(w.lane());
    const I quad = thread % I(kQuads);
    const I left = I(static_cast<std::int32_t>(k - first_factor)) - I(4) * quad;
    const N factor = N(first_factor) + N(I(4) * quad);
    WARPFACTOR_UNROLL
    for (int r = 0; r < kTileItems<A> * kQuads / kThreadsHere; ++r) {
      const I row = thread / I(kQuads) + I(r * kThreadsHere / kQuads);
      const I item = I(first_item) + row;
      fill4(shared_.items[stage], row * I(kSliceStride<A>) + I(4) * quad, args_.item_factors, N(item) * N(k) + factor,
            W::template select<std::int32_t>(item < I(end_), left, I(0)), whole_);
    }
    static_assert(kBlockQueries * kQuads == kThreadsHere, "a quad for each thread");
    const I row = thread / I(kQuads);
    const I code = read(shared_.codes, row);
    fill4(shared_.queries[stage], row * I(kSlice) + I(4) * quad, args_.user_factors, N(code) * N(k) + factor,
          W::template select<std::int32_t>(code >= I(0), left, I(0)), whole_);
  }

  WARPFACTOR_LANES_FUNCTION void begin_scores(const W& w, State& state, std::int32_t first_item) const {
    WARPFACTOR_UNROLL
    for (int j = 0; j < kLaneItems<A>; ++j) {
      const I item = I(first_item + j * kWarp) + I(w.lane());
      const Mask in = item < I(end_);
      const F bias = W::template select<A>(in, w.load_constant(args_.item_biases, N(item), in), F(minus_infinity<A>()));
      WARPFACTOR_UNROLL
      for (int u = 0; u < kWarpQueries; ++u) state.score[u][j] = bias;
    }
  }

  WARPFACTOR_LANES_FUNCTION void multiply(const W& w, State& state, int stage) const {
    const A* const queries = shared_.queries[stage] + row_of(w, 0) * kSlice;
    const A* const items = shared_.items[stage];
    WARPFACTOR_ROLLED
    for (int q = 0; q < kSlice; q += 4) {
      F item[kLaneItems<A>][4];
      WARPFACTOR_UNROLL
      for (int j = 0; j < kLaneItems<A>; ++j) {
        read4(items, (I(w.lane()) + I(j * kWarp)) * I(kSliceStride<A>) + I(q), item[j]);
      }
      WARPFACTOR_UNROLL
      for (int u = 0; u < kWarpQueries; ++u) {
        A query[4];
        read4(queries, u * kSlice + q, query);
        WARPFACTOR_UNROLL
        for (int f = 0; f < 4; ++f) {
          WARPFACTOR_UNROLL
          for (int j = 0; j < kLaneItems<A>; ++j) {
            state.score[u][j] = state.score[u][j] + F(query[f]) * item[j][f];
          }
        }
      }
    }
  }

  WARPFACTOR_LANES_FUNCTION void select(const W& w, State& state, std::int32_t first_item) {
    if constexpr (kMoved != Moved::not_at_all) move(w, state, first_item);
    std::uint32_t hit = 0;  // the queries that have a score above the last of their lists
    WARPFACTOR_UNROLL
    for (int u = 0; u < kWarpQueries; ++u) {
      const F worst(shared_.worst[row_of(w, u)]);
      Mask better = state.score[u][0] > worst;
      WARPFACTOR_UNROLL
      for (int j = 1; j < kLaneItems<A>; ++j) better = better | (state.score[u][j] > worst);
      hit |= static_cast<std::uint32_t>(W::any(better)) << u;
    }
    WARPFACTOR_ROLLED
    while (hit != 0) {
      const int u = first_bit(hit);
      hit &= hit - 1;
      if (query_of(w, u) >= args_.n_queries) break;
      // By way of shared memory, so that what follows is there once for all scores of the lane.
      WARPFACTOR_UNROLL
      for (int v = 0; v < kWarpQueries; ++v) {
        if (v != u) continue;
        WARPFACTOR_UNROLL
        for (int j = 0; j < kLaneItems<A>; ++j) {
          write(shared_.scores[warp_of(w)], I(j * kWarp) + I(w.lane()), state.score[v][j]);
        }
      }
      w.sync();
      offered(w, u, first_item);
      w.sync();
    }
  }
  WARPFACTOR_LANES_FUNCTION void offered(const W& w, int u, std::int32_t first_item) {
    const int row = row_of(w, u);
    const std::int32_t code = shared_.codes[row];
    LeftOut(&left_out)[2] = shared_.left_out[row];
    const ListInMemory<W, A> list = this->list_of(first_query_ + row, part_);
    A worst = shared_.worst[row];
    WARPFACTOR_ROLLED
    for (std::int32_t from = 0; from < kTileItems<A>; from += kWarp) {
      const F score = read(shared_.scores[warp_of(w)], I(from) + I(w.lane()));
      worst = list.offer(w, score, I(first_item + from) + I(w.lane()), worst,
                         [&](std::int32_t item) { return this->leaves_out(w, left_out, code, item); });
    }
    w.sync();
    write_one(w, shared_.worst[row], worst);
  }
  WARPFACTOR_LANES_FUNCTION void move(const W& w, State& state, std::int32_t first_item) const {
    WARPFACTOR_UNROLL
    for (int j = 0; j < kLaneItems<A>; ++j) {
      const I item = I(first_item + j * kWarp) + I(w.lane());
      const Mask in = item < I(end_);
      const F bias = w.load_constant(args_.bias_variances, N(item), in),
              factor = w.load_constant(args_.factor_variances, N(item), in);
      WARPFACTOR_UNROLL
      for (int u = 0; u < kWarpQueries; ++u) {
        const F deviation =
            this->template deviation<kMoved == Moved::by_draws>(shared_.codes[row_of(w, u)], item, bias, factor);
        state.score[u][j] = state.score[u][j] + F(args_.times) * deviation;
      }
    }
  }

  SearchShared<A>& shared_;
  const bool whole_;  ///< rows are made of aligned quads
  std::int64_t part_, first_query_;
  std::int32_t begin_, end_;
};

/// A warp for each query, which has items of its own to choose from: a lane scores one of them at a time.
template <class W, class A>
class ListedSearch : SearchWork<W, A> {
 public:
  using Base = SearchWork<W, A>;
  using F = typename Base::F;
  using I = typename Base::I;
  using N = typename Base::N;
  using Mask = typename Base::Mask;

  WARPFACTOR_LANES_FUNCTION ListedSearch(const SearchArgs<A>& args, LeftOut (&left_out)[2])
      : Base(args), left_out_(left_out), whole_(args.n_factors % 4 == 0) {}

  WARPFACTOR_LANES_FUNCTION void run(const W& w, std::int64_t query) {
    const std::int32_t code = args_.queries[query];
    const ListInMemory<W, A> list = this->list_of(query, 0);
    list.clear(w);
    this->open(w, left_out_, code, query);
    A worst = minus_infinity<A>();
    const std::int64_t end = args_.only.indptr[query + 1];
    for (std::int64_t from = args_.only.indptr[query]; from < end; from += kWarp) {
      const N at = N(from) + N(w.lane());
      const Mask in = at < N(end);
      const I item = w.load_constant(args_.only.items, at, in);
      F score = W::template select<A>(in, score_of(w, code, item, in), F(minus_infinity<A>()));
      if (args_.times != A(0)) {
        const F bias = w.load_constant(args_.bias_variances, N(item), in),
                factor = w.load_constant(args_.factor_variances, N(item), in);
        score = score + F(args_.times) * (args_.drawn ? this->template deviation<true>(code, item, bias, factor)
                                                      : this->template deviation<false>(code, item, bias, factor));
      }
      worst = list.offer(w, score, item, worst,
                         [&](std::int32_t which) { return this->leaves_out(w, left_out_, code, which); });
    }
  }

 private:
  using Base::args_;

  WARPFACTOR_LANES_FUNCTION F score_of(const W& w, std::int32_t code, const I& item, const Mask& in) const {
    F score = w.load_constant(args_.item_biases, N(item), in);
    if (code < 0) return score;
    const A* const p = args_.user_factors + code * args_.n_factors;
    const N row = N(item) * N(args_.n_factors);
    if (whole_) {
      for (std::int64_t f = 0; f < args_.n_factors; f += 4) {
        F q[4] = {F(A(0)), F(A(0)), F(A(0)), F(A(0))};
        W::template load4<true>(args_.item_factors, row + N(f), in, q);
        WARPFACTOR_UNROLL
        for (int j = 0; j < 4; ++j) score = score + F(p[f + j]) * q[j];
      }
    } else {
      for (std::int64_t f = 0; f < args_.n_factors; ++f) {
        score = score + F(p[f]) * w.load_constant(args_.item_factors, row + N(f), in);
      }
    }
    return score;
  }

  LeftOut (&left_out_)[2];
  const bool whole_;
};

/// Joins the parts of a query's list, and puts it out.
template <class W, class A>
WARPFACTOR_LANES_FUNCTION void finish_list(const W& w, const FinishArgs<A>& args, std::int64_t query) {
  using F = typename W::template Of<A>;
  using I = typename W::template Of<std::int32_t>;
  using N = typename W::template Of<std::int64_t>;
  using Mask = typename W::Mask;
  const std::int64_t n = args.n, begin = query * n;
  const ListInMemory<W, A> list{args.best + begin, args.found + begin, args.n};
  if (args.n_splits > 1) {
    A worst = list.best[n - 1];
    // Parts are of rising items, and each is sorted: of equals the lower item is met first.
    for (std::int64_t from = n; from < n * args.n_splits; from += kWarp) {
      const N entry = N(from) + N(w.lane());
      const Mask in = entry < N(n * args.n_splits);
      const N at = (entry / N(n) * N(args.n_queries) + N(query)) * N(n) + entry % N(n);
      const F score = W::template select<A>(in, read(args.best, at, in), F(minus_infinity<A>()));
      worst = list.offer(w, score, read(args.found, at, in), worst, [](std::int32_t) { return false; });
    }
  }
  const std::int32_t code = args.queries[query];
  A offset = args.shape.mean;
  if (args.user_biases != nullptr && code >= 0) offset = args.user_biases[code] + args.shape.mean;
  if (code < 0) offset = offset + args.shape.start_bias;
  const std::int64_t length = args.lengths == nullptr ? n : args.lengths[query];
  for (std::int64_t from = 0; from < n; from += kWarp) {
    const N place = N(from) + N(w.lane()), at = N(begin) + place;
    const Mask in = place < N(n);
    const I item = read(args.found, at, in);
    const F score = read(args.best, at, in) + F(offset);
    // x - x is NaN where x is not finite.
    const Mask filled = in & (item >= I(0)) & (score - score == F(A(0))) & (place < N(length));
    F predicted = linked<A>(score, args.shape.link);
    if (code < 0 && !args.shape.biases) predicted = F(args.shape.rating_mean);
    write(args.score_out, at, W::template select<A>(filled, predicted, F(A(__builtin_nanf("")))), in);
    if (!args.has_ids) {
      write(args.code_out, at, W::template select<std::int32_t>(filled, item, I(-1)), in);
    } else {
      const N id = args.ids == nullptr ? N(args.first_id) + N(item) : w.load_constant(args.ids, N(item), filled);
      write(args.id_out, at, W::template select<std::int64_t>(filled, id, N(args.empty_id)), in);
    }
  }
}

}  // namespace WARPFACTOR_RULE_NAMESPACE
}  // namespace warpfactor
