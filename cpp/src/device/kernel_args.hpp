// SPDX-License-Identifier: Apache-2.0
// The arguments of the device's kernels, as plain data, and which kernel serves which rank.
#pragma once

#include "device/half.hpp"
#include "step_sizes.hpp"

namespace warpfactor {

inline constexpr int kThreads = 128;  ///< of a thread block; not measured

/// Tiles do a kernel's work. A tile is a part of a warp that holds the rows of one rating at a time, in each of its
/// lanes `quads` times four factors.
struct Tile {
  std::int32_t lanes;  ///< a power of two up to 32
  std::int32_t quads;  ///< a tile holds rows of up to 4 * lanes * quads factors
};

/// The tiles that are compiled, X(lanes, quads). With half storage a tile has fewer lanes, each of which reads as many
/// bytes as with float. Counted in the binary for sm_90, k = 128: 97 instructions a rating and warp, with 32 lanes 147.
#if defined(WARPFACTOR_SANITIZED)  // the others, which are the same source, would take minutes to compile
#define WARPFACTOR_TILES(X) X(8, 1) X(32, 8)
#define WARPFACTOR_HALF_TILES(X) X(4, 2) X(32, 8)
#else
#define WARPFACTOR_TILES(X) X(8, 1) X(16, 1) X(32, 1) X(32, 2) X(32, 4) X(32, 8)
#define WARPFACTOR_HALF_TILES(X) X(4, 2) X(8, 2) X(16, 2) X(32, 2) X(32, 4) X(32, 8)
#endif

/// Bytes of a row that a lane holds while they are on their way; longer rows keep a lane busy enough. Not measured.
inline constexpr int kAheadBytes = 32;

/// The smallest tile that holds so many factors.
template <class S>
constexpr Tile tile_of(std::int64_t n_factors) {
#define WARPFACTOR_TILE_FITS(lanes, quads) \
  if (n_factors <= 4 * lanes * quads) return {lanes, quads};
  if constexpr (sizeof(S) == sizeof(Half)) {
    WARPFACTOR_HALF_TILES(WARPFACTOR_TILE_FITS)
  } else {
    WARPFACTOR_TILES(WARPFACTOR_TILE_FITS)
  }
#undef WARPFACTOR_TILE_FITS
  return {0, 0};
}
static_assert(tile_of<float>(kMostFactors).lanes > 0 && tile_of<Half>(kMostFactors).lanes > 0);

/// The length of a row in memory: whole sectors of 32 bytes, the least that the device reads or writes.
template <class S>
constexpr std::int64_t device_stride(std::int64_t n_factors) {
  constexpr std::int64_t sector = 32 / static_cast<std::int64_t>(sizeof(S));
  return (n_factors + sector - 1) / sector * sector;
}

/// The rows of one side and the optimizer's state, as in SideRows. Factors are stored as S, all else as A, the type of
/// the arithmetic. Factors from n_factors to the stride are zero and stay zero. A row's bias, the bias's state and the
/// row's numbers lie side by side; `spacing` is how far apart those of two rows are, so that few rows share a cache
/// line.
template <class S, class A>
struct TileRows {
  S* factors;
  A *first, *second;
  A *biases, *bias_first, *bias_second, *row_numbers;
  std::int32_t spacing;
  A* pulls;  ///< of each row the four numbers of a RowPull; nullptr: StepSizes::reg and reg_bias pull all rows to zero
  /// The factors' prior means, rows like those of the factors; nullptr: zero. They are A whatever the factors are:
  /// their steps get small, and half storage would round them away.
  A* means;
};

inline constexpr std::int64_t kTileRowNumbers = 2;  ///< as kRowNumbers

/// A rating of the row whose segment it is in.
struct Entry {
  std::int32_t other;  ///< the other side's row
  float value;
};
static_assert(sizeof(Entry) == 8);

template <PassKind kKind>
inline constexpr StepRule kRuleOf = kKind == PassKind::momentum          ? StepRule::momentum
                                    : kKind == PassKind::adagrad_row     ? StepRule::adagrad_row
                                    : kKind == PassKind::adagrad_element ? StepRule::adagrad_element
                                    : kKind == PassKind::adam            ? StepRule::adam
                                                                         : StepRule::plain;

/// Of a wave in PassArgs::waves: its number, then where it begins in the arrays.
struct PassWave {
  std::uint32_t number, first_entry, first_segment, first_task;
};

/// Steps of one rating over some ratings. A segment is consecutive ratings of one row of the own side; a task is
/// consecutive segments of different rows; a tile takes one task after the other. Two tasks at work must not share a
/// row of the own side. If they share one of the other side, the last to write it wins.
///
/// A launch takes some tasks of one wave or, with `waves`, all tasks of an epoch in order: n_stripes of them in each
/// wave, of which task t of wave w is the block of the stripes t and (t + w) mod n_stripes. A task then waits until the
/// tasks of the wave before that had its two stripes are done. Tiles get tasks in order, so there is always one to be
/// done that waits for none, however few tiles are at work.
template <class S, class A>
struct PassArgs {
  TileRows<S, A> own, other;
  std::int32_t active_factors;  ///< the first so many factors of a row are trained: all, or fewer in a warm-up
  std::int64_t width, stride;   ///< device_stride(active_factors), and from row to row: device_stride(n_factors)
  const Entry* entries;
  const float* weights;  ///< nullptr: all 1
  const std::int32_t* segment_rows;
  const std::uint32_t* segment_begin;  ///< by segment, and the end
  const std::uint32_t* task_begin;     ///< by task, and the end
  std::uint32_t entry_shift;    ///< from what segment_begin counts to a place in `entries`; modulo 2^32, like the next
  std::uint32_t segment_shift;  ///< from what task_begin counts to a place in the segments
  const PassWave* waves;        ///< in the order of the epoch; nullptr: the arrays and shifts are those of one wave
  std::uint32_t* done;  ///< with `waves`, by stripe of the own side: how many waves it is through; 0 at the start
  std::uint32_t n_stripes;
  std::int64_t n_tasks;
  std::int64_t n_tiles;      ///< that take tasks; the launch may have more, which do nothing
  std::uint32_t* next_task;  ///< the counter from which tiles fetch their next task; 0 at the start
  double* task_sums;         ///< by task: the loss, then the squared errors
  StepSizes<A> sizes;        ///< its sides are those of the pass: `user` is the own side, `item` the other
};

/// Some rows of one side with their ratings of a batch, as BatchRows.
template <class S, class A>
struct BatchArgs {
  TileRows<S, A> own, other;
  bool of_users;
  std::int32_t active_factors;
  std::int64_t width, stride;  ///< as in PassArgs
  const std::int32_t* rows;
  const std::int64_t* begin;
  std::int64_t n_rows;
  std::int64_t first_entry;  ///< `begin` counts from there, and the next three arrays begin there
  const std::int32_t* others;
  const A* values;
  const float* weights;  ///< nullptr: all 1
  A* gradients;          ///< n_rows x stride
  A* bias_gradients;
  A* row_weights;
  double* row_sums;  ///< by row: the loss, then the squared errors; users' rows only
  StepSizes<A> sizes;
};

/// The losses over ratings that are not trained on.
template <class S, class A>
struct EvaluateArgs {
  TileRows<S, A> users, items;
  std::int32_t n_factors;
  std::int64_t stride;
  const std::int32_t* user_rows;
  const std::int32_t* item_rows;
  const float* values;
  const float* weights;  ///< nullptr: all 1
  std::int64_t n_ratings;
  double* tile_sums;  ///< by tile: the loss, then the squared errors
  StepSizes<A> sizes;
};

/// Sums of rows over lists of them, a part of a list at a time: part n has the others begin[n] .. begin[n + 1]. Rows
/// have `stride` columns for factors, and four more of which the first is the bias's; `quads` of four columns are
/// summed: the first ones, and last the bias's.
template <class A>
struct SumRowsArgs {
  const A* rows;
  const std::int32_t* others;  ///< from number first_other on; nullptr: part n has the rows begin[n] .. begin[n + 1]
  const std::int64_t* begin;
  const std::int32_t* to;  ///< by part: a row of `out`, or of `partial` if it is negative, ~to
  std::int64_t n_parts, first_other;
  std::int64_t stride, quads;
  A *out, *partial;
};

/// A step of one side's prior means, as PriorMeans makes it. The arrays of the step have rows as in SumRowsArgs.
template <class S, class A>
struct MeansArgs {
  TileRows<S, A> own;  ///< its means and the bias means of its pulls are moved
  std::int64_t n_own, n_other;
  std::int64_t stride, quads;
  A *own_work, *own_step;                   ///< X z, X d
  A *other_rows, *other_work, *other_step;  ///< y, z, d
  const A* scale;                           ///< of each own row: n_u^(-1/2)
  const double* diagonal;                   ///< of each other row
  double rho, rho_bias;
  /// Sums over rows are taken by slice: slice s has the rows from s * r on, where r is n / n_slices, rounded up. Its
  /// sums lie at (kind * 4 * quads + column) * n_slices + s.
  std::int64_t own_slices, other_slices;
  double *own_sums, *other_sums;
  A* along;  ///< how far to go along z, of each column, then along d
};
/// The kinds of sums: of the other side's rows all, of the own side's the last three.
inline constexpr int kMeansSums = 5, kOwnMeansSums = 3;

/// Adds up `n` pairs of numbers: warp w writes the sum of its pairs to pair w of `out`.
struct SumArgs {
  const double* in;
  std::int64_t n;
  double* out;
  bool more;  ///< add to what is there
};

/// The n best of each row of scores, best first; of equals the first column. Never minus infinity or NaN.
template <class A>
struct BestArgs {
  const A* scores;
  std::int64_t n_rows, row_stride;
  std::int32_t n_columns;
  std::int32_t n;         ///< up to 32 * slots
  std::int32_t* columns;  ///< n_rows x n; -1 if there are no more
  A* best;                ///< n_rows x n; NaN if there are no more
};

}  // namespace warpfactor
