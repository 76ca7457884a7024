// SPDX-License-Identifier: Apache-2.0
// What the device's kernels are given: plain data, and which kernel is for which rank.
#pragma once

#include "device/half.hpp"
#include "step_sizes.hpp"

namespace warpfactor {

inline constexpr int kThreads = 128;  ///< of a CUDA block

/// A kernel's work is done by tiles: parts of a warp, each of which holds the rows of one rating at a time, `chunks`
/// times four factors in each of its lanes.
struct Tile {
  std::int32_t lanes;   ///< a power of two up to 32
  std::int32_t chunks;  ///< a tile holds rows of up to 4 * lanes * chunks factors
};

/// The tiles that are compiled, X(lanes, chunks). With half storage a rating takes fewer lanes, each of which then
/// reads as many bytes as with float: by the instructions counted in the binary for sm_90, 97 a rating and warp at k =
/// 128, and 147 with 32 lanes.
#if defined(WARPFACTOR_SANITIZED)  // where the others would take minutes to compile, and are the same source
#define WARPFACTOR_TILES(X) X(8, 1) X(32, 8)
#define WARPFACTOR_HALF_TILES(X) X(4, 2) X(32, 8)
#else
#define WARPFACTOR_TILES(X) X(8, 1) X(16, 1) X(32, 1) X(32, 2) X(32, 4) X(32, 8)
#define WARPFACTOR_HALF_TILES(X) X(4, 2) X(8, 2) X(16, 2) X(32, 2) X(32, 4) X(32, 8)
#endif

/// The smallest that holds so many factors.
template <class S>
constexpr Tile tile_of(std::int64_t n_factors) {
#define WARPFACTOR_TILE_FITS(lanes, chunks) \
  if (n_factors <= 4 * lanes * chunks) return {lanes, chunks};
  if constexpr (sizeof(S) == sizeof(Half)) {
    WARPFACTOR_HALF_TILES(WARPFACTOR_TILE_FITS)
  } else {
    WARPFACTOR_TILES(WARPFACTOR_TILE_FITS)
  }
#undef WARPFACTOR_TILE_FITS
  return {0, 0};
}
static_assert(tile_of<float>(kMostFactors).lanes > 0 && tile_of<Half>(kMostFactors).lanes > 0);

/// The length of a row in memory: whole sectors of 32 bytes, which is what the device reads and writes at a time.
template <class S>
constexpr std::int64_t device_stride(std::int64_t n_factors) {
  constexpr std::int64_t sector = 32 / static_cast<std::int64_t>(sizeof(S));
  return (n_factors + sector - 1) / sector * sector;
}

/// The rows of one side and what the optimizer remembers of them, as in SideRows. Factors are stored as S, all else as
/// A, in which the arithmetic is done. What is between n_factors and the stride is zero and stays zero.
template <class S, class A>
struct TileRows {
  S* factors;
  A* biases;
  A *first, *second, *bias_first, *bias_second;
  A* row_numbers;
};

inline constexpr std::int64_t kTileRowNumbers = 2;  ///< as kRowNumbers

/// A rating, of the row whose segment it is in.
struct Entry {
  std::int32_t other;  ///< the other side's row
  float value;
};
static_assert(sizeof(Entry) == 8);

/// One pass over some ratings, each a step of its own. A segment is a row of the own side with ratings of it, one after
/// the other; a task, some segments; a tile takes one task after the other. Two tasks at a time must not share a row of
/// the own side. Where they share one of the other side, the last to write it wins.
template <class S, class A>
struct PassArgs {
  TileRows<S, A> own, other;
  bool own_is_user;
  std::int32_t active_factors;  ///< the first so many of a row's factors take part
  std::int64_t width, stride;   ///< device_stride(active_factors), and from row to row: device_stride(n_factors)
  const Entry* entries;
  const float* weights;  ///< nullptr: all one
  const std::int32_t* segment_rows;
  const std::uint32_t* segment_begin;  ///< one more than segments: the first entry of each, counted from first_entry
  const std::uint32_t* task_begin;     ///< one more than tasks: the first segment of each, counted from first_segment
  std::int64_t first_entry, first_segment;
  std::int64_t n_tasks;
  std::int64_t n_tiles;      ///< that take them; the others of the launch have nothing to do
  std::uint32_t* next_task;  ///< where tiles fetch the number of their next task; 0 at the start
  double* task_sums;         ///< of each task the loss, then the squared errors
  StepSizes<A> sizes;
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
  std::int64_t first_entry;  ///< from which `begin` counts; the next three begin there
  const std::int32_t* others;
  const A* values;
  const float* weights;  ///< nullptr: all one
  A* gradients;          ///< n_rows x stride
  A* bias_gradients;
  A* row_weights;
  double* row_sums;  ///< of each row the loss, then the squared errors; only of the users' rows
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
  const float* weights;  ///< nullptr: all one
  std::int64_t n_ratings;
  double* tile_sums;  ///< of each tile that runs the loss, then the squared errors
  StepSizes<A> sizes;
};

/// Pairs of numbers, added up: out[w] gets its part of those of `in`, by warp.
struct SumArgs {
  const double* in;
  std::int64_t n;
  double* out;
  bool more;  ///< whether they are added to what is there
};

/// The n best of each row of scores, best first, of equals the first; nothing that is minus infinity or no number.
template <class A>
struct BestArgs {
  const A* scores;
  std::int64_t n_rows, row_stride;
  std::int32_t n_columns;
  std::int32_t n;         ///< up to 32 * slots
  std::int32_t* columns;  ///< n_rows x n; -1 where there are no more
  A* best;                ///< n_rows x n; NaN where there are no more
};

}  // namespace warpfactor
