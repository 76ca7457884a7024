// SPDX-License-Identifier: Apache-2.0
// Every tuning constant of the CPU, with the measurement that chose it. "Notes" are benchmarks/results/*-notes.md: two
// virtual processors of an Intel Xeon (Cascade Lake), 9.0 M ratings of MovieLens 10M's shape unless a line says more.
// The words are CONTRIBUTING's glossary.
#pragma once

#include <cstdint>

namespace warpfactor {

/// Ratings of a group: all dot products first, then the steps one after the other. Notes, 2026-11-22: 93, 59, 29 M
/// updates/s at k = 32, 64, 128 with one thread; groups of 4 gave 80, 47, 26, groups of 16 gave 88, 52, 24.
inline constexpr std::int64_t kGroup = 8;

/// A group takes its slopes before its steps, so a row with many ratings in it overshoots at a high learning rate. At
/// this share of a band's (or stripe's) ratings a row has three of a group's eight on average; above it, ratings are
/// updated one by one. Netflix's shape, k = 64, one thread, shares 0.25, 0.4, 0.5: 68 %, 93 %, nearly all ratings in
/// groups; 51, 56, 60 M updates/s.
inline constexpr double kGroupedShare = 0.4;

/// Bytes of factors in a stripe: an outer one stays in a core's L2 (256 KiB to 2 MiB) while each inner one passes once.
/// Notes: outer stripes of 384 or 512 KiB and inner ones of 64 to 256 KiB were no faster. Small inner stripes bring
/// several ratings of a group to one row.
inline constexpr std::int64_t kOuterStripeBytes = 256 * 1024, kInnerStripeBytes = 128 * 1024;
inline constexpr std::int64_t kMinStripeRows = 64;  ///< not measured

/// Bytes of inner factors in a band, which stay in L1 up to some hundred factors. Notes: bands, with rows sorted by
/// their number of ratings, took two threads from 114 to 127 M updates/s at k = 64 and from 58 to 66 at k = 128;
/// nothing changed at k = 32. Bands of 4 or 16 KiB were no faster.
inline constexpr std::int64_t kBandBytes = 8 * 1024;
inline constexpr std::int64_t kMinBandRows = 32;  ///< 16 were no faster

/// Ratings of a block on average, at least: the first where stripes are made small for the threads' sake, since a block
/// costs a wait and cold rows; the second where they are made small for the cache's sake. Not measured.
inline constexpr std::int64_t kMinRatingsForThreads = 4096, kMinRatingsForCache = 256;

/// A stripe's size is so much of its share of the ratings and so much of its share of the rows: by ratings alone nearly
/// all rows of a long tail could fall into one stripe. Not measured.
inline constexpr double kSizeByRatings = 0.8, kSizeByRows = 0.2;
/// How many times as long a rating takes that is updated one by one, about. Notes: 65 instead of 93 M updates/s at
/// k = 32; the number itself is not measured.
inline constexpr double kOneByOneCost = 2;

/// Ratings of a bucket: it is sorted inside L2, unless that would mean too many buckets to write to at once. 60 M
/// ratings, ns a rating: 15.6 with 1,900 buckets, 13.0 with 500. 9.0 M: buckets of 65,536 and more were 4 to 8 %
/// slower.
inline constexpr std::int64_t kRatingsPerBucket = 32768, kMaxBuckets = 512;

/// Ratings whose values are converted at a time, in L1, and how far ahead of them the input is fetched. Fetching input
/// and output together saved 1.35 ns a rating (notes); the lengths are not measured.
inline constexpr std::size_t kConvertedAtOnce = 512, kInputAhead = 256;

/// How many ratings ahead a bucket is fetched while it is copied. The distance is not measured.
inline constexpr std::int64_t kBucketAhead = 512;

/// Sections of a bucket from which the shuffle takes ratings in turn. Not measured for speed; test_blocks.cpp holds how
/// rarely neighbours of a sorted file meet in a group.
inline constexpr std::size_t kSections = 256;

/// How many ratings ahead rows are fetched where ratings are updated one by one. Without fetching: 28 instead of 49 M
/// updates/s at k = 32, 12 instead of 20 at k = 128 (notes, 2026-11-21). The distance is not measured.
inline constexpr std::int64_t kFetchAhead = 6;

/// Ratings that a thread's window on a scratch file holds at most, and how many ratings ahead an epoch is read from it.
/// Not measured.
inline constexpr std::int64_t kMostInWindow = 1 << 23, kReadAhead = 1 << 22;

/// Rows that a task copies or fills. Not measured.
inline constexpr std::int64_t kRowSlice = 4096;
/// Of factors that are handed to the model before their own memory is given back. Not measured.
inline constexpr std::int64_t kBytesGiven = std::int64_t{16} << 20;

/// How many rows ahead a row is fetched where rows are summed or moved in the order of a list. Not measured.
inline constexpr std::int64_t kRowsAhead = 8;
/// Others of the rows that a task sums. Not measured.
inline constexpr std::int64_t kTaskOthers = 1 << 14;
/// How many of these tasks ahead the lists are read from a scratch file: 2 MB. Not measured.
inline constexpr std::int64_t kRangesAhead = 32;

// Steps of many ratings.

/// Ratings of a task, about. Not measured.
inline constexpr std::int64_t kTaskRatings = 2048;
/// Ratings times stride below which one thread takes a batch alone, since waking another takes longer. Not measured.
inline constexpr std::int64_t kSharedWork = 1 << 17;
/// Ratings times stride of an epoch (of a step, in matrix_factorization_bgd) for which a thread more is started. Not
/// measured.
inline constexpr std::int64_t kWorkPerThread = 1 << 16;
/// At most so many ratings at a row's end are taken one by one, and more as a group that is filled up. Not measured.
inline constexpr std::int64_t kMaxSingles = 2;

}  // namespace warpfactor
